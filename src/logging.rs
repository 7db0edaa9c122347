//! Log lines: to standard error, so that standard output stays for results.
//!
//! A progress bar that is drawn on [`screen`] steps aside for every line, so that neither spoils the other.
//!
//! The variable `BTKN_LOG` chooses what is written, in the usual filter language (`debug`,
//! `info,btkn_indexer::chain=trace`); without it, `info`.

use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;

use indicatif::{MultiProgress, ProgressDrawTarget};
use tracing_subscriber::EnvFilter;

/// The variable that holds the filter.
pub const FILTER_VARIABLE: &str = "BTKN_LOG";

/// The filter variable does not hold a filter.
#[derive(Debug, thiserror::Error)]
#[error("{FILTER_VARIABLE}: {0}; try error, warn, info, debug or trace")]
pub struct BadFilter(String);

/// Starts logging for the whole process. To be called once, before anything logs.
pub fn start() -> Result<(), BadFilter> {
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(text) if !text.is_empty() => {
            EnvFilter::try_new(text).map_err(|error| BadFilter(error.to_string()))?
        }
        _ => EnvFilter::new("info"),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Lines)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
    Ok(())
}

/// Standard error, as progress bars see it. Nothing is drawn where it is no terminal.
pub fn screen() -> &'static MultiProgress {
    /// Redrawn so often per second.
    const HERTZ: u8 = 5;
    static SCREEN: LazyLock<MultiProgress> =
        LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(HERTZ)));
    &SCREEN
}

/// Standard error, as log lines see it.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        screen().suspend(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
