//! What synchronisation has done since the process started, for those who watch over it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts that only grow. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Totals(Arc<Mutex<Counts>>);

/// The counts at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Blocks applied.
    pub blocks: u64,
    /// Their events, by kind.
    pub events: BTreeMap<&'static str, u64>,
    /// Reorganisations.
    pub reorganisations: u64,
    /// Blocks taken back by them.
    pub undone: u64,
    /// Blocks taken back by the last one.
    pub last_depth: u32,
    /// Blocks taken back by the deepest one.
    pub deepest: u32,
}

impl Totals {
    /// The counts as of now.
    pub fn read(&self) -> Counts {
        self.counts(|counts| counts.clone())
    }

    /// Counts blocks that were committed, and their events by kind.
    pub(super) fn applied(&self, blocks: usize, events: &[&'static str]) {
        self.counts(|counts| {
            counts.blocks += blocks as u64;
            for kind in events {
                *counts.events.entry(kind).or_default() += 1;
            }
        });
    }

    /// Counts a reorganisation of so many blocks.
    pub(super) fn reorganised(&self, depth: u32) {
        self.counts(|counts| {
            counts.reorganisations += 1;
            counts.undone += u64::from(depth);
            counts.last_depth = depth;
            counts.deepest = counts.deepest.max(depth);
        });
    }

    fn counts<T>(&self, work: impl FnOnce(&mut Counts) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
