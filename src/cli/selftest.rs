//! `btkn selftest`.

use std::io::{self, Write};

use super::args::SelftestArgs;
use super::{Failure, stop_on_interrupt};
use crate::config::Surroundings;
use crate::selftest::{self, Options, SelftestError};

/// Kills and compares in the data directory, and prints what was found.
pub fn selftest(args: &SelftestArgs) -> Result<(), Failure> {
    let stop = stop_on_interrupt()?;
    let surroundings = Surroundings { variable: &|name| std::env::var_os(name) };
    let layers = surroundings.layers(args.place.options(), args.place.config.as_deref())?;
    let data_dir = surroundings.data_dir(&layers)?;
    let program = std::env::current_exe().map_err(|e| SelftestError::Start(e.to_string()))?;
    let (rounds, kills, keep) = (args.rounds, Options::KILLS, args.keep);
    let report = selftest::run(&Options { program, data_dir, rounds, kills, keep }, &stop)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{report}")?;
    Ok(out.flush()?)
}
