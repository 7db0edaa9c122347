//! The command line: arguments to configuration, configuration to one of the commands.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed at run
//! time, 2 wrong usage.

pub mod args;
mod dump;
mod run;
mod selftest;
mod verify;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::chain::SourceError;
use crate::config::{Config, ConfigError, Options, Surroundings, unknown_variables};
use crate::ledger::{ReadError, View};
use crate::protocol::Height;
use crate::selftest::SelftestError;
use crate::stop::Stop;
use crate::store::{Store, StoreError};
use crate::sync::SyncError;
use crate::verify::Difference;
use crate::{api, check, ledger, logging};

use args::{Arguments, Command, EventsArgs, PlaceArgs};

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("--from {from} is above --to {to}: there are no blocks in between")]
    Range { from: Height, to: Height },
    #[error(transparent)]
    Log(#[from] logging::BadLog),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Sync(#[from] SyncError),
    #[error(transparent)]
    Selftest(#[from] SelftestError),
    #[error("stopped before it was done; start it again and it goes on from there")]
    Stopped,
    #[error("stopped before it was done, up to where nothing differed")]
    StoppedVerifying,
    #[error("{0}")]
    Differs(Difference),
    #[error("cannot serve on {address}: {source}; choose another --listen")]
    Listen { address: std::net::SocketAddr, source: io::Error },
    #[error("cannot start: {0}")]
    Start(String),
    #[error(
        "the database contradicts itself in {count} places, or cannot be read there; start `btkn sync` or \
         `btkn run` once with --rebuild: that keeps it, for a report, as db.old and recovers the state from the \
         blocks"
    )]
    Inconsistent { count: u64 },
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl From<ReadError> for Failure {
    fn from(e: ReadError) -> Self {
        Failure::Store(e.into())
    }
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Failure::Config(_) | Failure::Range { .. } | Failure::Log(_) => 2,
            _ => 1,
        }
    }
}

/// Runs the command that the arguments of the process ask for.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match dispatch(&arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // Nothing is left to do if even this cannot be written.
            let _ = writeln!(io::stderr(), "error: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn dispatch(command: &Command) -> Result<(), Failure> {
    logging::start()?;
    let variables: Vec<_> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    for name in unknown_variables(variables.iter().map(String::as_str)) {
        tracing::warn!("the variable {name} is none of btkn's and has no effect; see btkn --help");
    }
    match command {
        Command::Sync { args, rebuild } => run::sync(&configure(args.options(), &args.place)?, *rebuild),
        Command::Run { args, rebuild } => run::run(&configure(args.options(), &args.sync.place)?, *rebuild),
        Command::Events(args) => events(args),
        Command::Dump(place) => {
            let store = open_to_read(place)?;
            dump::dump(&store.view(), store.rules(), &mut BufWriter::new(io::stdout().lock()))
        }
        Command::Verify(args) => {
            let config = configure(args.sync.options(), &args.sync.place)?;
            verify::verify(&config, args.scratch_dir.as_deref())
        }
        Command::Check(place) => check_database(&open_to_read(place)?),
        Command::Openapi => Ok(io::stdout().lock().write_all(api::openapi::text().as_bytes())?),
        Command::Selftest(args) => selftest::selftest(args),
    }
}

fn configure(options: Options, place: &PlaceArgs) -> Result<Config, Failure> {
    let surroundings = Surroundings { variable: &|name| std::env::var_os(name) };
    let layers = surroundings.layers(options, place.config.as_deref())?;
    Ok(Config::resolve(&layers, &surroundings)?)
}

fn open_to_read(place: &PlaceArgs) -> Result<Store, Failure> {
    let surroundings = Surroundings { variable: &|name| std::env::var_os(name) };
    let layers = surroundings.layers(place.options(), place.config.as_deref())?;
    Ok(Store::open_read_only(&surroundings.data_dir(&layers)?)?)
}

fn check_database(store: &Store) -> Result<(), Failure> {
    let report = check::check(store)?;
    let mut out = BufWriter::new(io::stdout().lock());
    for violation in &report.violations {
        writeln!(out, "{violation}")?;
    }
    if report.count > 0 {
        out.flush()?;
        return Err(Failure::Inconsistent { count: report.count });
    }
    let height = store.tip()?.map_or("nothing applied yet".into(), |tip| format!("height {}", tip.height));
    writeln!(out, "{height}: {} rows, all as they should be", report.rows)?;
    let (blocks, kilobytes) = (report.kept.blocks, report.kept.bytes as f64 / 1e3);
    writeln!(
        out,
        "{blocks} blocks can be taken back; what that needs takes {kilobytes:.1} kB before compression"
    )?;
    Ok(out.flush()?)
}

/// What `btkn events` prints for a block.
#[derive(serde::Serialize)]
struct BlockEvents<'a> {
    height: Height,
    block_hash: bitcoin::BlockHash,
    state_hash: crate::protocol::StateHash,
    events: Vec<&'a str>,
}

fn events(args: &EventsArgs) -> Result<(), Failure> {
    let (from, to) = (args.from.unwrap_or(Height(0)), args.to.unwrap_or(Height(u32::MAX)));
    if from > to {
        return Err(Failure::Range { from, to });
    }
    let store = open_to_read(&args.place)?;
    print_events(&store.view(), from, to, &mut BufWriter::new(io::stdout().lock()))
}

fn print_events(view: &impl View, from: Height, to: Height, out: &mut impl Write) -> Result<(), Failure> {
    for row in view.scan::<ledger::tables::Blocks>(&from, &to) {
        let (height, block) = row?;
        let events = block.events.lines().collect();
        let line = BlockEvents { height, block_hash: block.hash, state_hash: block.state_hash, events };
        write_json(out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

fn write_json(out: &mut impl Write, value: &impl serde::Serialize) -> io::Result<()> {
    // Kinds of errors survive, so that a closed pipe is told from a full disk.
    serde_json::to_writer(out, value).map_err(io::Error::from)
}

/// How long what is under way may take to end. A node that hangs, or a very large snapshot, takes longer;
/// then the process ends all the same: what is committed stays, and nothing is ever half written.
const STOP_GRACE: Duration = Duration::from_millis(900);

/// A flag that the first interrupt of the user raises; a second one ends the process at once.
fn stop_on_interrupt() -> Result<Stop, Failure> {
    let stop = Stop::new();
    let raised = stop.clone();
    let handler = move || {
        if raised.requested() {
            std::process::exit(130);
        }
        raised.request();
        std::thread::spawn(|| {
            std::thread::sleep(STOP_GRACE);
            tracing::warn!(
                "ended without waiting for what was under way; every block applied so far is kept"
            );
            std::process::exit(1);
        });
        // Last, because it waits for whoever reads the log.
        tracing::info!("stopping; once more ends the process at once");
    };
    ctrlc::set_handler(handler).map_err(|error| Failure::Start(error.to_string()))?;
    Ok(stop)
}
