//! Whether undo records, history and rows tell of the same blocks.
//!
//! Every row that a record lists as changed has its value before that block in the history, and there are
//! no other values. The values of a row follow each other in time. And each listed row began to hold a
//! value with that block, or ceased to be there.

use std::collections::BTreeMap;

use rocksdb::{IteratorMode, ReadOptions};

use super::codec::Stored;
use super::history::{self, HISTORY};
use super::undo::{self, UNDO};
use super::view;
use super::{Store, StoreError};
use crate::ledger::ReadError;
use crate::ledger::keys::KeyPart;
use crate::ledger::tables::{self, Table, TableVisitor};
use crate::protocol::Height;

/// What is kept to take blocks back, and to read the state before them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Blocks that can be taken back.
    pub blocks: u64,
    /// Bytes of their undo records and of the values that they replaced, before compression.
    pub bytes: u64,
}

impl Store {
    /// Tests what is kept of the past against itself and against the rows. Calls `found` for everything
    /// that does not fit, with the table and what is wrong.
    pub fn audit(&self, found: &mut dyn FnMut(&'static str, String)) -> Result<Kept, StoreError> {
        let mut audit = Audit {
            store: self,
            tip: self.tip()?.map(|tip| tip.height),
            undo_from: self.undo_from()?,
            unfinished: self.with_unfinished(|unfinished| unfinished),
            counts: BTreeMap::new(),
            kept: Kept::default(),
            found,
        };
        audit.records()?;
        tables::visit_tables(&mut audit)?;
        Ok(audit.kept)
    }
}

/// What was counted of one table.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Rows that records list.
    listed: u64,
    /// Those of them that were there before.
    changed: u64,
    /// Values in the history.
    past: u64,
    /// Values, past and present, that blocks with a record began.
    begun: u64,
    /// Times that a row ceased to be there.
    removed: u64,
}

struct Audit<'a> {
    store: &'a Store,
    tip: Option<Height>,
    undo_from: Height,
    /// What is there of this block is none of the state.
    unfinished: Option<Height>,
    counts: BTreeMap<u8, Counts>,
    kept: Kept,
    found: &'a mut dyn FnMut(&'static str, String),
}

impl Audit<'_> {
    /// One record for each block from the first that can be taken back up to the tip.
    fn records(&mut self) -> Result<(), StoreError> {
        let mut next = (self.undo_from, 0);
        for row in self.store.db.iterator_cf(self.store.family(UNDO)?, IteratorMode::Start) {
            let (key, part) = row.map_err(|e| self.store.failed(e))?;
            let (height, number) = <(Height, u32)>::take(&key)
                .ok_or_else(|| ReadError { table: UNDO, reason: "a key has the wrong length".into() })?;
            if height < self.undo_from {
                (self.found)(UNDO, format!("the record of block {height} was to be forgotten"));
            } else if self.unfinished == Some(height) {
                continue;
            } else if self.tip.is_none_or(|tip| height > tip) {
                (self.found)(UNDO, format!("there is a record of block {height}, which was never applied"));
            } else {
                if number == 0 {
                    self.without_record(next.0, height);
                    next = (height.next(), 1);
                    self.kept.blocks += 1;
                } else if (height.next(), number) == next {
                    next.1 += 1;
                } else {
                    (self.found)(UNDO, format!("the record of block {height} lacks a part before {number}"));
                }
                self.kept.bytes += (key.len() + part.len()) as u64;
                self.record(height, &part)?;
            }
        }
        if let Some(tip) = self.tip {
            self.without_record(next.0, tip.next());
        }
        Ok(())
    }

    fn without_record(&mut self, from: Height, end: Height) {
        for height in from.0..end.0 {
            (self.found)(UNDO, format!("block {height} has no undo record"));
        }
    }

    fn record(&mut self, height: Height, part: &[u8]) -> Result<(), StoreError> {
        let family = self.store.family(HISTORY)?;
        let mut key = Vec::new();
        for group in undo::groups(part)? {
            let counts = self.counts.entry(group.table).or_default();
            for (row, is_new) in group.rows() {
                counts.listed += 1;
                if is_new {
                    continue;
                }
                counts.changed += 1;
                history::put_key(group.table, row, height, &mut key);
                match self.store.db.get_pinned_cf(family, &key).map_err(|e| self.store.failed(e))? {
                    Some(value) => self.kept.bytes += (key.len() + value.len()) as u64,
                    None => {
                        let what = format!("a row of table {} lacks its value before {height}", group.table);
                        (self.found)(HISTORY, what);
                    }
                }
            }
        }
        Ok(())
    }

    /// Tests the values of a row, oldest first, each with the block that began it and the one that ended it.
    fn values<T: Table>(&mut self, row: &[u8], values: &[(Height, Option<Height>)]) -> Result<(), ReadError> {
        let mut wrong = Vec::new();
        let counts = self.counts.entry(T::NUMBER).or_default();
        let applied = |height: Height| self.tip.is_some_and(|tip| height <= tip);
        let finished = |height: &Height| self.unfinished != Some(*height);
        let mut before = None;
        for (since, end) in values.iter().filter(|(since, _)| finished(since)) {
            let (since, end) = (*since, end.filter(finished));
            if !applied(since) || since < self.store.rules.start_height {
                wrong.push(format!("stands since block {since}, which was never applied"));
            }
            if before.is_some_and(|before| since < before) || end.is_some_and(|end| end <= since) {
                wrong.push(format!("holds a value since block {since} that another value overlaps"));
            }
            if let Some(end) = end {
                counts.past += 1;
                if !applied(end) || end < self.undo_from {
                    wrong.push(format!("has a value before block {end}, which can't be taken back"));
                }
            }
            counts.begun += u64::from(since >= self.undo_from);
            counts.removed += u64::from(before.is_some_and(|before| before != since));
            before = end;
        }
        counts.removed += u64::from(before.is_some());
        if !wrong.is_empty() {
            let row = view::key::<T>(row)?;
            wrong.into_iter().for_each(|wrong| (self.found)(T::NAME, format!("{row:?} {wrong}")));
        }
        Ok(())
    }
}

impl TableVisitor for Audit<'_> {
    type Error = StoreError;

    /// Goes through all values of a table, past and present, row by row.
    fn table<T: Table>(&mut self) -> Result<(), StoreError> {
        let store = self.store;
        let once = |mut options: ReadOptions| {
            options.fill_cache(false);
            options
        };
        let mut rows = store.db.raw_iterator_cf_opt(store.family(T::NAME)?, once(ReadOptions::default()));
        let mut past = store.db.raw_iterator_cf_opt(store.family(HISTORY)?, once(history::across_rows()));
        rows.seek_to_first();
        past.seek([T::NUMBER]);
        let (mut row, mut values) = (Vec::new(), Vec::new());
        loop {
            let present = history::item(&rows, T::NAME)?;
            let entry = history::item(&past, HISTORY)?.and_then(|(key, value)| {
                history::split_key(key).filter(|(table, _, _)| *table == T::NUMBER).map(|key| (key, value))
            });
            let first = match (present, entry) {
                (None, None) => break,
                (Some((key, _)), None) | (None, Some(((_, key, _), _))) => key,
                (Some((key, _)), Some(((_, past, _), _))) => key.min(past),
            };
            if values.is_empty() || first != row {
                self.values::<T>(&row, &values)?;
                values.clear();
                row.clear();
                row.extend_from_slice(first);
            }
            match entry {
                Some(((_, key, end), value)) if key == row => {
                    values.push((Stored::read(HISTORY, value)?.since, Some(end)));
                    past.next();
                }
                _ => {
                    if let Some((_, value)) = present {
                        values.push((Stored::read(T::NAME, value)?.since, None));
                    }
                    rows.next();
                }
            }
        }
        self.values::<T>(&row, &values)?;
        let Counts { listed, changed, past, begun, removed } =
            self.counts.get(&T::NUMBER).copied().unwrap_or_default();
        if changed != past {
            (self.found)(HISTORY, format!("{past} values of {}, and records list {changed}", T::NAME));
        }
        if listed != begun + removed {
            let what = format!("rows changed {} times, and records list {listed}", begun + removed);
            (self.found)(T::NAME, what);
        }
        Ok(())
    }
}
