//! Tests a database without a source of blocks: what follows from other rows must be there, as it
//! follows, and nothing else.
//!
//! The state hash of every block is computed again from the events that are kept; tables that index or
//! sum up others are derived again and compared row by row; the root of each declared set is compared
//! with the one that its entity signed; undo records and the values that rows had before must tell of the
//! same blocks, down to the one from which they are kept. What cannot be seen without the blocks is whether
//! the events themselves are right.

mod derive;
mod indexes;

use std::collections::BTreeMap;
use std::fmt;

use crate::ledger::events;
use crate::ledger::keys::{BlockKey, KeyPart, Only};
use crate::ledger::records::TipRecord;
use crate::ledger::tables::{BlockHeights, Blocks, Table, Tip};
use crate::ledger::{ReadError, View};
use crate::protocol::StateHash;
use crate::store::{Kept, Store, StoreError};

/// Violations that are described; further ones are only counted.
const DESCRIBED: usize = 100;

/// Something that does not follow from the rest of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The table in which it was found.
    pub table: &'static str,
    /// What is wrong, for people.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.table, self.what)
    }
}

/// The outcome of a check.
#[derive(Debug, Default)]
pub struct Report {
    /// The first violations.
    pub violations: Vec<Violation>,
    /// How many there are.
    pub count: u64,
    /// Rows that were compared with what they should be.
    pub rows: u64,
    /// What is kept of the past.
    pub kept: Kept,
}

impl Report {
    fn violation(&mut self, table: &'static str, what: impl Into<String>) {
        self.count += 1;
        if self.violations.len() < DESCRIBED {
            self.violations.push(Violation { table, what: what.into() });
        }
    }

    /// Compares the rows of a table with what they should be.
    fn compare<T: Table>(
        &mut self,
        view: &impl View,
        mut expected: BTreeMap<T::Key, T::Value>,
    ) -> Result<(), ReadError> {
        for row in all::<T>(view) {
            let (key, value) = row?;
            self.rows += 1;
            match expected.remove(&key) {
                Some(expected) if expected == value => {}
                Some(expected) => {
                    self.violation(
                        T::NAME,
                        format!("{key:?} is {value:?}, but {expected:?} follows from the rest"),
                    );
                }
                None => self.violation(T::NAME, format!("{key:?} follows from nothing")),
            }
        }
        for key in expected.into_keys() {
            self.violation(T::NAME, format!("{key:?} is missing"));
        }
        Ok(())
    }
}

/// Tests the database as of its last commit. Every row is read first, so that damaged files are found.
pub fn check(store: &Store) -> Result<Report, StoreError> {
    let mut report = Report::default();
    for (table, reason) in store.unreadable_tables() {
        report.violation(table, reason);
    }
    if report.count > 0 {
        // What cannot be read can't be compared.
        return Ok(report);
    }
    report.kept = store.audit(&mut |table, what| report.violation(table, what))?;
    let view = store.view();
    check_blocks(store, &view, &mut report)?;
    derive::check_snapshots(&view, store.rules(), &mut report)?;
    derive::check_tokens(&view, store.rules(), &mut report)?;
    derive::check_exits(&view, &mut report)?;
    derive::check_ttxos(&view, &mut report)?;
    indexes::check_tokens(&view, &mut report)?;
    indexes::check_holders_and_exits(&view, &mut report)?;
    indexes::check_activities(&view, &mut report)?;
    Ok(report)
}

/// The chain of blocks and state hashes, without a gap from the start height to the tip.
fn check_blocks(store: &Store, view: &impl View, report: &mut Report) -> Result<(), StoreError> {
    let mut heights = BTreeMap::new();
    let mut tip = None;
    let mut next = store.rules().start_height;
    let mut previous = StateHash::MIN;
    for row in all::<Blocks>(view) {
        let (height, block) = row?;
        if height != next {
            report.violation(Blocks::NAME, format!("block {next} is missing"));
        }
        let state_hash = events::state_hash(previous, block.hash, &block.events);
        if state_hash != block.state_hash {
            report.violation(
                Blocks::NAME,
                format!("the state hash of block {height} is not that of its events"),
            );
        }
        heights.insert(BlockKey::from(block.hash), height);
        tip = Some((
            Only,
            TipRecord { height, hash: block.hash, time: block.time, state_hash: block.state_hash },
        ));
        (next, previous) = (height.next(), block.state_hash);
        report.rows += 1;
    }
    report.compare::<BlockHeights>(view, heights)?;
    report.compare::<Tip>(view, tip.into_iter().collect())?;
    Ok(())
}

/// All rows of a table.
fn all<T: Table>(view: &impl View) -> impl Iterator<Item = crate::ledger::view::Row<T>> {
    view.scan::<T>(&T::Key::LOWEST, &T::Key::HIGHEST)
}

#[cfg(test)]
mod tests;
