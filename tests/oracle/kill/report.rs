//! Counts kills and windows.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::time::Instant;

use btkn_indexer::kill::Window;

use super::child::{End, Errand};

/// Prints a line past the capture of tests: a seed is wanted while a long run goes on, too.
pub fn say(text: &str) {
    // A closed terminal is no reason to fail.
    let _ = writeln!(std::io::stderr().lock(), "kill test: {text}");
}

/// What is logged once a database is open: a kill before that is one during recovery.
const AFTER_OPENING: &str = "indexing block files";

/// Kills between two lines about progress.
const REPORT_EVERY: u64 = 50;

/// What was done so far.
pub struct Report {
    started: Instant,
    /// Kills at a window, and kills a while after one.
    hits: BTreeMap<Window, (u64, u64)>,
    outside: u64,
    /// Kills while a database was opened.
    recoveries: u64,
    /// Children that ended by themselves.
    done: u64,
    pub checks: u64,
    pub rounds: u64,
}

impl Report {
    pub fn new() -> Self {
        let (started, hits) = (Instant::now(), BTreeMap::new());
        Report { started, hits, outside: 0, recoveries: 0, done: 0, checks: 0, rounds: 0 }
    }

    pub fn note(&mut self, errand: &Errand, end: End, log: &str) {
        match end {
            End::Done => self.done += 1,
            End::Outside => self.outside += 1,
            End::Itself(window) => {
                let (at, after) = self.hits.entry(window).or_default();
                match errand.window {
                    Some((_, _, Some(_))) => *after += 1,
                    _ => *at += 1,
                }
                let opening =
                    window == Window::OpenBefore && errand.window.is_some_and(|(.., delay)| delay.is_some());
                self.recoveries += u64::from(opening && !log.contains(AFTER_OPENING));
            }
        }
        if end != End::Done && self.kills().is_multiple_of(REPORT_EVERY) {
            let missing: Vec<_> = self.missing().collect();
            let seconds = self.started.elapsed().as_secs();
            say(&format!("{} kills, {seconds} s; not hit yet: {missing:?}", self.kills()));
        }
    }

    pub fn kills(&self) -> u64 {
        self.outside + self.hits.values().map(|(at, after)| at + after).sum::<u64>()
    }

    /// Kills right at a window.
    pub fn hits(&self, window: Window) -> u64 {
        self.hits.get(&window).map_or(0, |(at, _)| *at)
    }

    /// What was not hit yet.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        let windows = Window::ALL.iter().filter(|window| self.hits(**window) == 0);
        windows.map(|window| window.name()).chain((self.recoveries == 0).then_some("recovery"))
    }

    pub fn print(&self, seed: u64) {
        say(&format!("SEED={seed}\n{self}"));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { outside, recoveries, done, checks, rounds, .. } = self;
        let seconds = self.started.elapsed().as_secs();
        writeln!(
            f,
            "{} kills in {seconds} s: {outside} from outside, {recoveries} in recovery",
            self.kills()
        )?;
        writeln!(f, "{checks} states compared, {done} times caught up, {rounds} rounds")?;
        writeln!(f, "{:16} {:>6} {:>6}", "window", "at", "after")?;
        for window in Window::ALL {
            let (at, after) = self.hits.get(window).copied().unwrap_or_default();
            writeln!(f, "{:16} {at:6} {after:6}", window.name())?;
        }
        Ok(())
    }
}
