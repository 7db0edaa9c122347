//! Reading the tables.

use rocksdb::{ColumnFamily, DB, Direction, IteratorMode, ReadOptions, Snapshot};

use super::codec;
use crate::ledger::keys::KeyPart;
use crate::ledger::tables::Table;
use crate::ledger::view::RowIter;
use crate::ledger::{ReadError, View};

/// The state as of one moment; later commits do not show in it.
pub struct StoreView<'a> {
    db: &'a DB,
    snapshot: Snapshot<'a>,
}

impl<'a> StoreView<'a> {
    pub(super) fn new(db: &'a DB) -> Self {
        StoreView { db, snapshot: db.snapshot() }
    }
}

pub(super) fn family<'a>(db: &'a DB, name: &'static str) -> Result<&'a ColumnFamily, ReadError> {
    db.cf_handle(name).ok_or_else(|| ReadError { table: name, reason: "the table does not exist".into() })
}

fn failed<T: Table>(e: rocksdb::Error) -> ReadError {
    ReadError { table: T::NAME, reason: e.into_string() }
}

impl View for StoreView<'_> {
    fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Value>, ReadError> {
        let family = family(self.db, T::NAME)?;
        match self.snapshot.get_pinned_cf(family, key.to_key()).map_err(failed::<T>)? {
            Some(bytes) => codec::decode::<T>(&bytes).map(Some),
            None => Ok(None),
        }
    }

    fn scan<T: Table>(&self, from: &T::Key, to: &T::Key) -> RowIter<'_, T> {
        let family = match family(self.db, T::NAME) {
            Ok(family) => family,
            Err(e) => return Box::new(std::iter::once(Err(e))),
        };
        let mut options = ReadOptions::default();
        // The bound is exclusive: the first byte string after `to`.
        let mut bound = to.to_key();
        bound.push(0);
        options.set_iterate_upper_bound(bound);
        let start = from.to_key();
        let rows =
            self.snapshot.iterator_cf_opt(family, options, IteratorMode::From(&start, Direction::Forward));
        Box::new(rows.map(|row| {
            let (key, value) = row.map_err(failed::<T>)?;
            let key = T::Key::take(&key)
                .ok_or_else(|| ReadError { table: T::NAME, reason: "a key has the wrong length".into() })?;
            Ok((key, codec::decode::<T>(&value)?))
        }))
    }
}
