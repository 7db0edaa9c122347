//! Blocks into the database, and out of it again, each as a whole: in one write, or, where it is big, in
//! [several](super::unfinished) that count once the last one is done.

use std::collections::BTreeMap;

use rocksdb::{ColumnFamily, Direction, IteratorMode, ReadOptions, WriteBatch};

use super::codec::{self, Stored};
use super::history::{self, HISTORY};
use super::undo::{self, Group, Record, UNDO};
use super::{Store, StoreError, view};
use crate::kill::{self, Window};
use crate::ledger::ReadError;
use crate::ledger::keys::KeyPart;
use crate::ledger::tables::{self, Change, ChangeSet, Table, TableVisitor};
use crate::protocol::Height;

impl Store {
    /// Writes consecutive blocks, with their undo records and the values that they replaced. A run of blocks
    /// is one atomic step, up to a big block, which is one by itself.
    pub fn commit(&self, blocks: &[(Height, ChangeSet)]) -> Result<(), StoreError> {
        self.clear_unfinished()?;
        for run in blocks.chunk_by(|(_, one), (_, next)| !is_big(one) && !is_big(next)) {
            self.commit_run(run)?;
        }
        Ok(())
    }

    fn commit_run(&self, blocks: &[(Height, ChangeSet)]) -> Result<(), StoreError> {
        let mut commit = Commit::new(self, blocks)?;
        tables::visit_tables(&mut commit)?;
        let batch = commit.finish();
        kill::at(Window::CommitBefore);
        self.write_last(batch)?;
        #[cfg(feature = "kill-points")]
        self.say_what_is_written();
        kill::at(Window::CommitAfter);
        #[cfg(feature = "kill-points")]
        self.kill_in_background();
        Ok(())
    }

    /// Takes back the last applied block, whose height is given: every row is as it was before it.
    /// Returns the rows that changed; their `before` is not filled in. What it was is kept for a while, see
    /// [`stale_block`](Store::stale_block).
    pub fn undo(&self, height: Height) -> Result<ChangeSet, StoreError> {
        kill::at(Window::UndoBefore);
        self.clear_unfinished()?;
        let parts = self.parts(height)?.len();
        if parts == 0 {
            return Err(StoreError::NoUndo(height));
        }
        let mut batch = WriteBatch::default();
        self.keep_stale(&mut batch, [height])?;
        if parts > 1 {
            // From here on it is not there for anyone.
            self.write_step(height, std::mem::take(&mut batch))?;
        }
        let changes = self.take_back(height, batch)?;
        #[cfg(feature = "kill-points")]
        self.say_what_is_written();
        kill::at(Window::UndoAfter);
        Ok(changes)
    }

    /// Takes back what is there of a block, part by part of its record; each part goes with its rows. The
    /// first goes with what `batch` holds.
    pub(super) fn take_back(&self, height: Height, mut batch: WriteBatch) -> Result<ChangeSet, StoreError> {
        let mut changes = ChangeSet::default();
        let mut parts = self.parts(height)?.into_iter().peekable();
        while let Some(part) = parts.next() {
            self.take_back_part(height, &part, &mut batch, &mut changes)?;
            if parts.peek().is_some() {
                self.write_step(height, std::mem::take(&mut batch))?;
                kill::at(Window::UndoStep);
            }
        }
        kill::at(Window::UndoWrite);
        self.write_last(batch)?;
        Ok(changes)
    }

    /// Takes back one part, given by its key.
    pub(super) fn take_back_part(
        &self,
        height: Height,
        key: &[u8],
        batch: &mut WriteBatch,
        changes: &mut ChangeSet,
    ) -> Result<(), StoreError> {
        let records = self.family(UNDO)?;
        let part = self.db.get_pinned_cf(records, key).map_err(|e| self.failed(e))?;
        for group in undo::groups(&part.ok_or(StoreError::NoUndo(height))?)? {
            let mut restore = Restore { store: self, group, height, batch, changes, found: false };
            tables::visit_tables(&mut restore)?;
            if !restore.found {
                return Err(undo::unknown_table(group.table).into());
            }
        }
        batch.delete_cf(records, key);
        Ok(())
    }

    /// The keys of the parts of the record of a block.
    fn parts(&self, height: Height) -> Result<Vec<Box<[u8]>>, StoreError> {
        let range = (undo::part_key(height, 0), undo::part_key(height, u32::MAX));
        let options = view::up_to(ReadOptions::default(), range.1);
        let from = IteratorMode::From(&range.0, Direction::Forward);
        let parts = self.db.iterator_cf_opt(self.family(UNDO)?, options, from);
        parts.map(|part| part.map(|(key, _)| key).map_err(|e| self.failed(e))).collect()
    }
}

/// Rows of a block that make it too big for one write.
fn is_big(changes: &ChangeSet) -> bool {
    changes.len() >= kill::size(100_000, 30)
}

/// A run of blocks on the way into the database, table by table.
pub(super) struct Commit<'a> {
    store: &'a Store,
    blocks: &'a [(Height, ChangeSet)],
    /// The record of each block.
    records: Vec<Record>,
    undo: &'a ColumnFamily,
    history: &'a ColumnFamily,
    batch: WriteBatch,
}

impl<'a> Commit<'a> {
    pub fn new(store: &'a Store, blocks: &'a [(Height, ChangeSet)]) -> Result<Self, StoreError> {
        Ok(Commit {
            store,
            blocks,
            records: blocks.iter().map(|(height, _)| Record::new(*height)).collect(),
            undo: store.family(UNDO)?,
            history: store.family(HISTORY)?,
            batch: WriteBatch::default(),
        })
    }

    /// Adds rows to the record of a block. Writes what there is of a big block whenever a part of its record
    /// is complete: then the record lists every row that is written.
    fn record<T: Table>(&mut self, block: usize, rows: &mut undo::Rows) -> Result<(), StoreError> {
        let Commit { store, blocks, records, undo, batch, .. } = self;
        let complete = records[block].add(T::NUMBER, rows, |key, part| batch.put_cf(*undo, key, part));
        let (height, changes) = &blocks[block];
        if complete && is_big(changes) {
            store.write_step(*height, std::mem::take(batch))?;
            kill::at(Window::CommitStep);
        }
        Ok(())
    }

    /// What is not written yet.
    fn finish(mut self) -> WriteBatch {
        for record in self.records {
            record.end(|key, part| self.batch.put_cf(self.undo, key, part));
        }
        self.batch
    }
}

impl TableVisitor for Commit<'_> {
    type Error = StoreError;

    fn table<T: Table>(&mut self) -> Result<(), StoreError> {
        let mut table = CommitTable::<T>::new(self.store, self.history)?;
        let blocks = self.blocks;
        for (n, (height, changes)) in blocks.iter().enumerate() {
            let (rows, more_blocks) = (T::rows(changes), n + 1 < blocks.len());
            for (row, change) in rows {
                table.write(&mut self.batch, *height, row, change)?;
                if more_blocks {
                    table.written.insert(row, *height);
                }
                if table.rows.are_many() {
                    self.record::<T>(n, &mut table.rows)?;
                }
            }
            if !rows.is_empty() {
                self.record::<T>(n, &mut table.rows)?;
            }
        }
        Ok(())
    }
}

/// One table of a run.
struct CommitTable<'a, T: Table> {
    store: &'a Store,
    family: &'a ColumnFamily,
    history: &'a ColumnFamily,
    /// The block of this run that wrote a row last; none for rows of the last block, which nothing follows.
    written: BTreeMap<&'a T::Key, Height>,
    /// Rows of the block at hand that are not in its record yet.
    rows: undo::Rows,
    key: Vec<u8>,
    history_key: Vec<u8>,
    value: Vec<u8>,
}

impl<'a, T: Table> CommitTable<'a, T> {
    fn new(store: &'a Store, history: &'a ColumnFamily) -> Result<Self, StoreError> {
        Ok(CommitTable {
            store,
            family: store.family(T::NAME)?,
            history,
            written: BTreeMap::new(),
            rows: undo::Rows::default(),
            key: Vec::new(),
            history_key: Vec::new(),
            value: Vec::new(),
        })
    }

    fn write(
        &mut self,
        batch: &mut WriteBatch,
        height: Height,
        row: &T::Key,
        change: &Change<T::Value>,
    ) -> Result<(), StoreError> {
        self.key.clear();
        row.put(&mut self.key);
        let mut weight = 0;
        if let Some(before) = &change.before {
            history::put_key(T::NUMBER, &self.key, height, &mut self.history_key);
            match self.written.get(row) {
                Some(since) => {
                    codec::encode(*since, &**before, &mut self.value);
                    batch.put_cf(self.history, &self.history_key, &self.value);
                    weight += self.value.len();
                }
                None => {
                    let stored = self.store.db.get_pinned_cf(self.family, &self.key);
                    let stored = stored.map_err(|e| self.store.failed(e))?;
                    let stored = stored.ok_or_else(|| ReadError::missing::<T>(row))?;
                    batch.put_cf(self.history, &self.history_key, &stored);
                    weight += stored.len();
                }
            }
        }
        match &change.after {
            Some(after) => {
                codec::encode(height, after, &mut self.value);
                batch.put_cf(self.family, &self.key, &self.value);
                weight += self.value.len();
            }
            None => batch.delete_cf(self.family, &self.key),
        }
        self.rows.push(&self.key, change.before.is_none(), weight);
        Ok(())
    }
}

/// Rows of one table on the way back to what they held before a block.
struct Restore<'a> {
    store: &'a Store,
    group: Group<'a>,
    height: Height,
    batch: &'a mut WriteBatch,
    changes: &'a mut ChangeSet,
    found: bool,
}

impl TableVisitor for Restore<'_> {
    type Error = StoreError;

    fn table<T: Table>(&mut self) -> Result<(), StoreError> {
        if T::NUMBER != self.group.table {
            return Ok(());
        }
        self.found = true;
        let (family, history) = (self.store.family(T::NAME)?, self.store.family(HISTORY)?);
        let mut history_key = Vec::new();
        for (key, is_new) in self.group.rows() {
            let row = view::key::<T>(key)?;
            let mut after = None;
            if is_new {
                self.batch.delete_cf(family, key);
            } else {
                history::put_key(T::NUMBER, key, self.height, &mut history_key);
                let before = self.store.db.get_pinned_cf(history, &history_key);
                let before = before.map_err(|e| self.store.failed(e))?;
                let before = before.ok_or_else(|| history::missing::<T>(&row, self.height))?;
                self.batch.put_cf(family, key, &before);
                self.batch.delete_cf(history, &history_key);
                after = Some(Stored::read(HISTORY, &before)?.decode::<T>()?);
            }
            T::rows_mut(self.changes).insert(row, Change { before: None, after });
        }
        Ok(())
    }
}
