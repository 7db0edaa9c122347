//! What rows held before: every value that a block replaced or removed.
//!
//! Such a value moves to the column family `history` as it was stored, under the number of its table, the
//! key of its row and the height of the block that ended it (four bytes, big-endian). So a row held, before
//! block H: what it holds now, if that was written below H; else the first value that ended at H or above,
//! if that was written below H; else nothing. A row that is new leaves nothing here.

use std::cmp::Ordering;
use std::marker::PhantomData;

use rocksdb::{DBRawIterator, ReadOptions, SliceTransform};

use super::codec::Stored;
use crate::ledger::ReadError;
use crate::ledger::keys::KeyPart;
use crate::ledger::tables::Table;
use crate::ledger::view::Row;
use crate::protocol::Height;

/// Column family of values that rows had before.
pub(super) const HISTORY: &str = "history";

/// Entries that are stepped over one by one before a seek is worth its cost.
const STEPS: usize = 4;

/// The key of the value of a row that the block at `end` ended, in place of what `out` holds.
pub(super) fn put_key(table: u8, row: &[u8], end: Height, out: &mut Vec<u8>) {
    out.clear();
    out.push(table);
    out.extend_from_slice(row);
    end.put(out);
}

/// Table, row and end of a key; `None` for one that is too short.
pub(super) fn split_key(key: &[u8]) -> Option<(u8, &[u8], Height)> {
    let (row, end) = key.split_last_chunk()?;
    let (table, row) = row.split_first()?;
    Some((*table, row, Height(u32::from_be_bytes(*end))))
}

/// Table and row of a key, as bytes.
fn of_row(key: &[u8]) -> &[u8] {
    &key[..key.len().saturating_sub(Height::LEN)]
}

/// A value that an undo record speaks of is not there.
pub(super) fn missing<T: Table>(row: &T::Key, end: Height) -> ReadError {
    let reason = format!("what {row:?} of {} held before block {end} is missing", T::NAME);
    ReadError { table: HISTORY, reason }
}

/// For the filters of files: most rows that are looked for have no history at all.
pub(super) fn prefixes() -> SliceTransform {
    SliceTransform::create("btkn.history.row", of_row, Some(|key| key.len() > Height::LEN))
}

/// Options of iterators that go from row to row. Those of one row alone may use the filters.
pub(super) fn across_rows() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_total_order_seek(true);
    options
}

/// What a row held before a block, if it no longer holds that. `history` looks at one row.
pub(super) fn find<T: Table>(
    history: &mut DBRawIterator<'_>,
    row: &[u8],
    before: Height,
) -> Result<Option<T::Value>, ReadError> {
    let mut key = Vec::with_capacity(1 + T::Key::LEN + Height::LEN);
    put_key(T::NUMBER, row, before, &mut key);
    history.seek(&key);
    match item(history, HISTORY)? {
        Some((found, bytes)) if of_row(found) == of_row(&key) => stood::<T>(bytes, before),
        _ => Ok(None),
    }
}

/// The value in `bytes`, if it was written below `before`.
fn stood<T: Table>(bytes: &[u8], before: Height) -> Result<Option<T::Value>, ReadError> {
    let stored = Stored::read(HISTORY, bytes)?;
    if stored.since < before { stored.decode::<T>().map(Some) } else { Ok(None) }
}

/// A key and a value, as bytes.
type Item<'a> = (&'a [u8], &'a [u8]);

/// What an iterator stands at.
pub(super) fn item<'a>(
    iterator: &'a DBRawIterator<'_>,
    table: &'static str,
) -> Result<Option<Item<'a>>, ReadError> {
    match iterator.item() {
        Some(item) => Ok(Some(item)),
        None => iterator.status().map(|()| None).map_err(|e| ReadError { table, reason: e.into_string() }),
    }
}

/// A row of a table.
type KeyAndValue<T> = (<T as Table>::Key, <T as Table>::Value);

/// The rows of a table as they were before a block, in the order of their keys: rows that are there now
/// and rows that were there before, side by side.
pub(super) struct RowsBefore<'a, T> {
    rows: DBRawIterator<'a>,
    history: DBRawIterator<'a>,
    before: Height,
    /// Table and key of the row whose history is looked at, then room for a height.
    row: Vec<u8>,
    ended: bool,
    table: PhantomData<T>,
}

impl<'a, T: Table> RowsBefore<'a, T> {
    /// Both iterators end at the last row of the range; `from` is the first.
    pub fn new(
        mut rows: DBRawIterator<'a>,
        mut history: DBRawIterator<'a>,
        from: &[u8],
        before: Height,
    ) -> Self {
        let mut row = Vec::with_capacity(1 + T::Key::LEN + Height::LEN);
        put_key(T::NUMBER, from, Height(0), &mut row);
        rows.seek(from);
        history.seek(&row);
        RowsBefore { rows, history, before, row, ended: false, table: PhantomData }
    }

    fn next_row(&mut self) -> Result<Option<KeyAndValue<T>>, ReadError> {
        loop {
            let first = match (item(&self.rows, T::NAME)?, item(&self.history, HISTORY)?) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((row, _)), Some((entry, _))) => row.cmp(of_row(entry).get(1..).unwrap_or_default()),
            };
            let mut found = None;
            if first != Ordering::Greater {
                found = self.present()?;
            }
            if first != Ordering::Less {
                self.note_row();
                if found.is_none() {
                    found = self.past()?;
                }
                self.leave_history_of_row()?;
            }
            if first != Ordering::Greater {
                self.rows.next();
            }
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// The row that is there now, if it was the same then.
    fn present(&self) -> Result<Option<KeyAndValue<T>>, ReadError> {
        let Some((key, bytes)) = self.rows.item() else { return Ok(None) };
        let stored = Stored::read(T::NAME, bytes)?;
        if stored.since >= self.before {
            return Ok(None);
        }
        Ok(Some((super::view::key::<T>(key)?, stored.decode::<T>()?)))
    }

    /// What the row whose history comes next held then.
    fn past(&mut self) -> Result<Option<KeyAndValue<T>>, ReadError> {
        self.skip_to(self.before)?;
        match item(&self.history, HISTORY)? {
            Some((entry, bytes)) if of_row(entry) == of_row(&self.row) => {
                let Some(value) = stood::<T>(bytes, self.before)? else { return Ok(None) };
                Ok(Some((super::view::key::<T>(&of_row(&self.row)[1..])?, value)))
            }
            _ => Ok(None),
        }
    }

    fn note_row(&mut self) {
        if let Some(entry) = self.history.key() {
            self.row.clear();
            self.row.extend_from_slice(entry);
        }
    }

    fn leave_history_of_row(&mut self) -> Result<(), ReadError> {
        self.skip_to(Height(u32::MAX))
    }

    /// Goes on to the first value of the row that ended at `end` or above, or to the next row.
    fn skip_to(&mut self, end: Height) -> Result<(), ReadError> {
        let earlier = |entry: &[u8], row: &[u8]| {
            of_row(entry) == of_row(row) && split_key(entry).is_some_and(|(_, _, ended)| ended < end)
        };
        for _ in 0..STEPS {
            match item(&self.history, HISTORY)? {
                Some((entry, _)) if earlier(entry, &self.row) => self.history.next(),
                _ => return Ok(()),
            }
        }
        self.row.truncate(self.row.len().saturating_sub(Height::LEN));
        end.put(&mut self.row);
        self.history.seek(&self.row);
        Ok(())
    }
}

impl<T: Table> Iterator for RowsBefore<'_, T> {
    type Item = Row<T>;

    fn next(&mut self) -> Option<Row<T>> {
        if self.ended {
            return None;
        }
        let row = self.next_row().transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}
