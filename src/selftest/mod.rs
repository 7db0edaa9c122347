//! A short kill-and-compare on a user's own disk.
//!
//! A regtest chain with every state of a snapshot and an exit is part of the program. It is synced once
//! without disturbance, and again by processes that are killed at random moments, while the best chain
//! keeps changing. After every kill the database is opened, checked against itself, and compared block by
//! block; in the end the whole state must be the known one.
//!
//! It shows, for the directory in which it is run: that what was committed is whole after the death of
//! the process; that a second process is kept out; that renaming and flushing work; that RocksDB works
//! there. It does not show what a power failure does: what the process has written is in the memory of the
//! operating system then, and whether a disk keeps what it was asked to flush cannot be tested from here.

mod chain;
mod disk;
mod trial;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::ledger::ReadError;
use crate::stop::Stop;
use crate::store::StoreError;

pub use disk::Disk;
use trial::Place;

/// Name of the directory in which a test works, before its process number.
const SCRATCH: &str = "btkn-selftest-";

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program to test; this one.
    pub program: PathBuf,
    /// Where a database is, or will be. Is made if it is not there; nothing in it is touched.
    pub data_dir: PathBuf,
    /// How often a branch wins and loses again.
    pub rounds: usize,
    /// Most kills each time that the chain changes.
    pub kills: u32,
    /// Whether to leave the directory of the test there.
    pub keep: bool,
}

impl Options {
    /// Rounds of a test that says something and takes seconds.
    pub const ROUNDS: usize = 10;

    /// Kills each time that the chain changes, which it does twice a round.
    pub const KILLS: u32 = 3;
}

/// Why the test was not passed. The texts say what it means.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// The directory cannot be written to.
    #[error(
        "{path} cannot be used: {reason}. Choose another --data-dir, or make room and give btkn the right to write there"
    )]
    Unusable {
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Renaming does not do what it should.
    #[error("on this file system a rename does not replace what it should; a database there is not safe")]
    Rename,
    /// Two processes could open one database.
    #[error(
        "on this file system a second process is not kept out of an open database; lock files do not work there, so choose another --data-dir"
    )]
    NoLock,
    /// The chain that is part of the program cannot be read.
    #[error("the chain of the test cannot be read from {0}")]
    Chain(String),
    /// The program cannot be started.
    #[error("a process for the test cannot be started: {0}")]
    Start(String),
    /// The program does not end.
    #[error("a process did not end within {0:?}")]
    Hangs(Duration),
    /// The program failed where nothing disturbed it.
    #[error("{what} failed: {messages}")]
    Failed {
        /// The command.
        what: String,
        /// What it said.
        messages: String,
    },
    /// The state is not what it should be.
    #[error(
        "NOT PASSED: {when}, {what}. A database in this place is not safe; please report this with --keep"
    )]
    Differs {
        /// After what.
        when: String,
        /// What was found.
        what: String,
    },
    /// The database could not be read.
    #[error("NOT PASSED: {0}")]
    Store(#[from] StoreError),
    /// Somebody asked to stop.
    #[error("stopped before it was done; nothing was left behind")]
    Stopped,
}

impl From<ReadError> for SelftestError {
    fn from(e: ReadError) -> Self {
        SelftestError::Store(StoreError::Read(e))
    }
}

impl SelftestError {
    fn unusable(path: &Path, e: &io::Error) -> Self {
        SelftestError::Unusable { path: path.into(), reason: e.to_string() }
    }

    fn failed(what: &str, messages: &str) -> Self {
        SelftestError::Failed { what: what.into(), messages: messages.into() }
    }

    fn differs(when: &str, what: &str) -> Self {
        SelftestError::Differs { when: when.into(), what: what.into() }
    }
}

/// A test that was passed.
#[derive(Clone, Debug)]
pub struct Report {
    /// Where.
    pub data_dir: PathBuf,
    /// What the file system is like.
    pub disk: Disk,
    /// Processes that were killed before they had opened the database.
    pub kills_at_start: u32,
    /// Processes that were killed afterwards.
    pub kills_at_work: u32,
    /// Those of the latter that left the work done in part.
    pub kills_in_between: u32,
    /// How often another branch became the best one.
    pub reorganisations: usize,
    /// Most blocks that one of them took back.
    pub deepest: usize,
    /// Blocks whose events and state hashes were compared, those of branches included.
    pub blocks: usize,
    /// How long it took.
    pub time: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Disk { file_system, room, sync } = &self.disk;
        let file_system = file_system.as_deref().unwrap_or("unknown file system");
        let (room, sync) = (room >> 20, sync.as_secs_f64() * 1e3);
        writeln!(f, "directory        {} ({file_system})", self.data_dir.display())?;
        writeln!(f, "room             {room} MiB written and removed")?;
        writeln!(f, "flush to disk    {sync:.2} ms")?;
        writeln!(f, "rename           works")?;
        writeln!(f, "file lock        a second process is kept out")?;
        writeln!(f, "reorganisations  {}, up to {} blocks deep", self.reorganisations, self.deepest)?;
        let (start, work, between) = (self.kills_at_start, self.kills_at_work, self.kills_in_between);
        writeln!(
            f,
            "kills            {start} at the start, {work} at work, {between} of these between two writes"
        )?;
        writeln!(f, "compared         {} blocks after each kill, the whole state at the end", self.blocks)?;
        write!(f, "PASSED in {:.1} s: no kill left anything but whole blocks", self.time.as_secs_f64())
    }
}

/// Runs the test, and removes what it made unless it shall be kept.
pub fn run(options: &Options, stop: &Stop) -> Result<Report, SelftestError> {
    let started = Instant::now();
    let scratch = Scratch::make(options)?;
    let outcome = test(options, &scratch.dir, stop, started);
    scratch.remove(options.keep);
    outcome
}

fn test(options: &Options, scratch: &Path, stop: &Stop, started: Instant) -> Result<Report, SelftestError> {
    let disk = disk::examine(scratch)?;
    let steps = chain::steps(scratch, options.rounds)?;
    let config = scratch.join("btkn.toml");
    std::fs::write(&config, chain::CONFIG).map_err(|e| SelftestError::unusable(scratch, &e))?;
    let place = Place { program: &options.program, scratch, stop };

    tracing::info!("syncing without disturbance");
    let (times, expected) = place.undisturbed("plain", &steps)?;
    place.locks("plain")?;
    let blocks_dir = scratch.join("blocks");
    std::fs::remove_dir_all(&blocks_dir).map_err(|e| SelftestError::unusable(&blocks_dir, &e))?;
    tracing::info!("syncing again, with kills");
    let kills = place.disturbed("killed", &steps, &times, &expected, options.kills)?;
    Ok(Report {
        data_dir: options.data_dir.clone(),
        disk,
        kills_at_start: kills.at_start,
        kills_at_work: kills.at_work,
        kills_in_between: kills.in_between,
        reorganisations: steps.iter().filter(|step| step.undone > 0).count(),
        deepest: steps.iter().map(|step| step.undone).max().unwrap_or(0),
        blocks: expected.len(),
        time: started.elapsed(),
    })
}

/// The directory of a test.
struct Scratch {
    dir: PathBuf,
    /// The directories that had to be made for it, the innermost first.
    made: Vec<PathBuf>,
}

impl Scratch {
    fn make(options: &Options) -> Result<Scratch, SelftestError> {
        let data_dir = &options.data_dir;
        let missing = data_dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists());
        let made = missing.map(Path::to_path_buf).collect();
        let dir = data_dir.join(format!("{SCRATCH}{}", std::process::id()));
        let scratch = Scratch { dir, made };
        match std::fs::create_dir_all(data_dir).and_then(|()| std::fs::create_dir(&scratch.dir)) {
            Ok(()) => Ok(scratch),
            Err(e) => {
                scratch.remove_made();
                Err(SelftestError::unusable(data_dir, &e))
            }
        }
    }

    fn remove(&self, keep: bool) {
        if keep {
            tracing::warn!("the directory of the test stays: {}", self.dir.display());
            return;
        }
        if let Err(e) = std::fs::remove_dir_all(&self.dir) {
            tracing::warn!("{} cannot be removed: {e}", self.dir.display());
        }
        self.remove_made();
    }

    fn remove_made(&self) {
        for dir in &self.made {
            // Not empty if somebody has begun to use it.
            let _ = std::fs::remove_dir(dir);
        }
    }
}
