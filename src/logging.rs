//! Log lines: to standard error, so that standard output stays for results.
//!
//! A progress bar that is drawn on [`screen`] steps aside for every line, so that neither spoils the other.
//!
//! The variable `BTKN_LOG` chooses what is written, in the usual filter language (`debug`,
//! `info,btkn_indexer::chain=trace`); without it, `info`. `BTKN_LOG_FORMAT=json` writes every line as a JSON
//! object, for programs.

use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;

use indicatif::{MultiProgress, ProgressDrawTarget};
use tracing_subscriber::EnvFilter;

/// The variable that holds the filter.
pub const FILTER_VARIABLE: &str = "BTKN_LOG";

/// The variable that holds the format.
pub const FORMAT_VARIABLE: &str = "BTKN_LOG_FORMAT";

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BadLog {
    /// The filter variable does not hold a filter.
    #[error("{FILTER_VARIABLE}: {0}; try error, warn, info, debug or trace")]
    Filter(String),
    /// The format variable does not hold a format.
    #[error("{FORMAT_VARIABLE}: {0:?} is no format; use text (as if it were not set) or json")]
    Format(String),
}

/// Starts logging for the whole process. To be called once, before anything logs.
pub fn start() -> Result<(), BadLog> {
    let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let filter = match variable(FILTER_VARIABLE) {
        Some(text) => EnvFilter::try_new(text).map_err(|error| BadLog::Filter(error.to_string()))?,
        None => EnvFilter::new("info"),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Lines).with_target(false);
    match variable(FORMAT_VARIABLE).as_deref() {
        None | Some("text") => lines.with_ansi(io::stderr().is_terminal()).init(),
        Some("json") => lines.json().flatten_event(true).with_span_list(false).init(),
        Some(other) => return Err(BadLog::Format(other.to_owned())),
    }
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
