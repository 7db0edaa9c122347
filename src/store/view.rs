//! Reading the tables: as they are now, and as they were after any block whose state is kept.

use std::marker::PhantomData;
use std::ops::DerefMut;
use std::sync::Arc;

use rocksdb::{ColumnFamily, DB, DBRawIterator, ReadOptions, Snapshot};

use super::codec::Stored;
use super::error::HeightError;
use super::history::{self, HISTORY, RowsBefore};
use super::idle::{Idle, Lent};
use super::{Store, retention};
use crate::ledger::keys::{KeyPart, Only};
use crate::ledger::tables::{Table, Tip};
use crate::ledger::view::{Row, RowIter};
use crate::ledger::{ReadError, Rules, View};
use crate::protocol::Height;

/// The state as of one moment, after one block; later commits do not show in it.
///
/// Clones look at the same moment.
#[derive(Clone)]
pub struct StoreView<'a> {
    store: &'a Store,
    held: Arc<Held<'a>>,
    /// The block before which it shows the state; `None` for the state after the last one.
    before: Option<Height>,
}

/// A snapshot, and how rows are read from it: made once, for all of them.
struct Held<'a> {
    idle: Idle<'a>,
    options: ReadOptions,
    snapshot: Snapshot<'a>,
}

/// Tells whether two views show the same: those with equal moments do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub(super) sequence: u64,
    pub(super) before: Option<Height>,
}

impl<'a> StoreView<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        store.with_unfinished(|before| {
            let (mut options, snapshot) = (ReadOptions::default(), store.db.snapshot());
            options.set_snapshot(&snapshot);
            StoreView { store, held: Arc::new(Held { idle: Idle::default(), options, snapshot }), before }
        })
    }

    /// The rules that made the state.
    pub fn rules(&self) -> &'a Rules {
        &self.store.rules
    }

    /// Which moment it shows.
    pub fn moment(&self) -> Moment {
        Moment { sequence: self.held.snapshot.sequence_number(), before: self.before }
    }

    /// The same moment, and the state after the block at `height`, which was the last one or came before
    /// it. Every table is as it was then; what came later is not there.
    pub fn at(&self, height: Height) -> Result<StoreView<'a>, HeightError> {
        let tip = self.get::<Tip>(&Only)?.map(|tip| tip.height);
        let Some(tip) = tip.filter(|tip| height <= *tip) else {
            return Err(HeightError::Above { height, tip });
        };
        let start = self.store.rules.start_height;
        if height < start {
            return Err(HeightError::BeforeStart { height, start });
        }
        let oldest = self.oldest()?;
        if height < oldest {
            return Err(HeightError::Forgotten { height, oldest });
        }
        let before = if height == tip { self.before } else { Some(height.next()) };
        Ok(StoreView { before, ..self.clone() })
    }

    /// The lowest block whose state can be read: the one below the lowest that can be taken back.
    pub fn oldest(&self) -> Result<Height, ReadError> {
        let from = self.held.snapshot.get(retention::UNDO_FROM).map_err(|e| failed("undo", e))?;
        let start = self.store.rules.start_height;
        Ok(match from {
            Some(bytes) => Height(retention::decode_undo_from(&bytes)?.0.saturating_sub(1)).max(start),
            None => start,
        })
    }

    pub(super) fn iterator(
        &self,
        name: &'static str,
        options: ReadOptions,
    ) -> Result<DBRawIterator<'_>, ReadError> {
        Ok(self.held.snapshot.raw_iterator_cf_opt(family(&self.store.db, name)?, options))
    }

    /// An iterator for rows of one group, or for the history of one row, to be sent there.
    fn lend(&self, name: &'static str) -> Result<Lent<'_, 'a>, ReadError> {
        self.held.idle.lend(name, || {
            let mut options = ReadOptions::default();
            options.set_prefix_same_as_start(true);
            options.set_snapshot(&self.held.snapshot);
            let db: &'a DB = &self.store.db;
            Ok(db.raw_iterator_cf_opt(family(db, name)?, options))
        })
    }

    fn rows_before<T: Table>(
        &self,
        from: &T::Key,
        to: &T::Key,
        before: Height,
    ) -> Result<RowsBefore<'_, T>, ReadError> {
        let (from, to) = (from.to_key(), to.to_key());
        let rows = self.iterator(T::NAME, range::<T>(&from, to.clone()))?;
        let mut last = Vec::with_capacity(1 + T::Key::LEN + Height::LEN);
        history::put_key(T::NUMBER, &to, Height(u32::MAX), &mut last);
        let past = self.iterator(HISTORY, up_to(history::across_rows(), last))?;
        Ok(RowsBefore::new(rows, past, &from, before))
    }
}

pub(super) fn family<'a>(db: &'a DB, name: &'static str) -> Result<&'a ColumnFamily, ReadError> {
    db.cf_handle(name).ok_or_else(|| ReadError { table: name, reason: "the table does not exist".into() })
}

pub(super) fn failed(table: &'static str, e: rocksdb::Error) -> ReadError {
    ReadError { table, reason: e.into_string() }
}

/// A key from its bytes.
pub(super) fn key<T: Table>(bytes: &[u8]) -> Result<T::Key, ReadError> {
    let broken = || ReadError { table: T::NAME, reason: "a key has the wrong length".into() };
    T::Key::take(bytes).ok_or_else(broken)
}

/// Ends an iterator after `last`.
pub(super) fn up_to(mut options: ReadOptions, mut last: Vec<u8>) -> ReadOptions {
    // The bound is exclusive: the first byte string after the last key.
    last.push(0);
    options.set_iterate_upper_bound(last);
    options
}

/// Whether all keys from `from` to `to` are of one group.
fn is_in_group<T: Table>(from: &[u8], to: &[u8]) -> bool {
    let group = T::Key::GROUP;
    group > 0 && from.get(..group) == to.get(..group)
}

/// Options of an iterator that goes from `from` to `to`. Rows of one group are looked for only in files that
/// may have some of it, which their filters know.
fn range<T: Table>(from: &[u8], to: Vec<u8>) -> ReadOptions {
    let across = !is_in_group::<T>(from, &to);
    let mut options = up_to(ReadOptions::default(), to);
    options.set_total_order_seek(across);
    options
}

impl View for StoreView<'_> {
    fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Value>, ReadError> {
        let (db, key) = (&self.store.db, key.to_key());
        let bytes = db.get_pinned_cf_opt(family(db, T::NAME)?, &key, &self.held.options);
        let bytes = bytes.map_err(|e| failed(T::NAME, e))?;
        let row = bytes.as_deref().map(|bytes| Stored::read(T::NAME, bytes)).transpose()?;
        match (row, self.before) {
            (Some(row), before) if before.is_none_or(|before| row.since < before) => {
                row.decode::<T>().map(Some)
            }
            (_, None) => Ok(None),
            (_, Some(before)) => history::find::<T>(&mut *self.lend(HISTORY)?, &key, before),
        }
    }

    fn scan<T: Table>(&self, from: &T::Key, to: &T::Key) -> RowIter<'_, T> {
        if let Some(before) = self.before {
            return match self.rows_before::<T>(from, to, before) {
                Ok(rows) => Box::new(rows),
                Err(e) => Box::new(std::iter::once(Err(e))),
            };
        }
        let (from, to) = (from.to_key(), to.to_key());
        let rows: Result<RowIter<'_, T>, ReadError> = if is_in_group::<T>(&from, &to) {
            self.lend(T::NAME).map(|rows| Rows::<T, _>::boxed(rows, &from, to))
        } else {
            let rows = self.iterator(T::NAME, range::<T>(&from, to.clone()));
            rows.map(|rows| Rows::<T, _>::boxed(Box::new(rows), &from, to))
        };
        rows.unwrap_or_else(|e| Box::new(std::iter::once(Err(e))))
    }
}

/// The rows of a table as they are now, from an iterator that may go on behind them. No row is copied before
/// it is decoded.
struct Rows<T, I> {
    /// Stands at the next row.
    rows: I,
    last: Vec<u8>,
    ended: bool,
    table: PhantomData<T>,
}

impl<'a, T: Table, I: DerefMut<Target = DBRawIterator<'a>>> Rows<T, I> {
    fn boxed<'v>(mut rows: I, from: &[u8], last: Vec<u8>) -> RowIter<'v, T>
    where
        I: 'v,
    {
        rows.seek(from);
        Box::new(Rows { rows, last, ended: false, table: PhantomData::<T> })
    }
}

impl<'a, T: Table, I: DerefMut<Target = DBRawIterator<'a>>> Iterator for Rows<T, I> {
    type Item = Row<T>;

    fn next(&mut self) -> Option<Row<T>> {
        if self.ended {
            return None;
        }
        let row = match history::item(&self.rows, T::NAME) {
            Ok(item) => {
                item.filter(|(key, _)| *key <= &self.last[..]).map(|(key, value)| row::<T>(key, value))
            }
            Err(e) => Some(Err(e)),
        };
        match row {
            Some(Ok(_)) => self.rows.next(),
            _ => self.ended = true,
        }
        row
    }
}

fn row<T: Table>(bytes: &[u8], value: &[u8]) -> Row<T> {
    Ok((key::<T>(bytes)?, Stored::read(T::NAME, value)?.decode::<T>()?))
}
