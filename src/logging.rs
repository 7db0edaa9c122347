//! Log lines: to standard error, so that standard output stays for results.
//!
//! The variable `BTKN_LOG` chooses what is written, in the usual filter language (`debug`,
//! `info,btkn_indexer::chain=trace`); without it, `info`.

use std::io::IsTerminal;

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
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    Ok(())
}
