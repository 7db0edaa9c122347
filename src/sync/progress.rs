//! Progress for people: a bar on a terminal, a log line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::logging;
use crate::protocol::Height;

/// Between two log lines.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Fewer blocks than this are not worth a bar: the tip moves block by block.
const WORTH_A_BAR: u32 = 10;

/// Counts blocks and shows how far they are.
pub(super) struct Progress {
    blocks: u64,
    bytes: u64,
    bar: Option<ProgressBar>,
    last: Instant,
    since_last: (u64, u64),
}

impl Progress {
    pub fn new() -> Self {
        Progress { blocks: 0, bytes: 0, bar: None, last: Instant::now(), since_last: (0, 0) }
    }

    /// Blocks and bytes applied so far.
    pub fn totals(&self) -> (u64, u64) {
        (self.blocks, self.bytes)
    }

    /// A block of `bytes` bytes was applied.
    pub fn applied(&mut self, height: Height, best: Height, bytes: u64) {
        self.blocks += 1;
        self.bytes += bytes;
        self.since_last.0 += 1;
        self.since_last.1 += bytes;
        if std::io::stderr().is_terminal() {
            self.show_bar(height, best);
        } else if self.last.elapsed() >= LOG_EVERY {
            self.log(height, best);
        }
    }

    /// Catching up has ended; the bar goes away.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.last = Instant::now();
        self.since_last = (0, 0);
    }

    fn show_bar(&mut self, height: Height, best: Height) {
        if self.bar.is_none() {
            if best.0.saturating_sub(height.0) < WORTH_A_BAR {
                return;
            }
            self.bar = Some(new_bar(height, best));
        }
        if let Some(bar) = &self.bar {
            bar.set_length(u64::from(best.0));
            bar.set_position(u64::from(height.0));
            bar.set_message(megabytes_per_second(self.since_last.1, self.last.elapsed()));
        }
    }

    fn log(&mut self, height: Height, best: Height) {
        let time = self.last.elapsed();
        let per_second = self.since_last.0 as f64 / time.as_secs_f64();
        let left = f64::from(best.0.saturating_sub(height.0)) / per_second.max(f64::MIN_POSITIVE);
        tracing::info!(
            "height {height} of {best}, {per_second:.0} blocks/s, {}, about {left:.0} s left",
            megabytes_per_second(self.since_last.1, time),
        );
        self.last = Instant::now();
        self.since_last = (0, 0);
    }
}

fn megabytes_per_second(bytes: u64, time: Duration) -> String {
    format!("{:.1} MB/s", bytes as f64 / 1e6 / time.as_secs_f64().max(1e-3))
}

fn new_bar(height: Height, best: Height) -> ProgressBar {
    let template = "{bar:30} height {pos} of {len}, {blocks_per_second} blocks/s, {msg}, {eta} left";
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("blocks_per_second", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{:.0}", state.per_sec());
        });
    let bar = logging::screen().add(ProgressBar::new(u64::from(best.0)));
    bar.set_style(style);
    bar.set_position(u64::from(height.0));
    bar.reset_eta();
    bar
}
