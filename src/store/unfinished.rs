//! Blocks that are too big for one write.
//!
//! RocksDB holds a write in memory twice over, as it was put together and as rows that are not in files
//! yet: for a block with a million TTXOs, that is more than a gigabyte. So such a block is written in
//! several steps, and taken back in several. From the first step to the last, its height stands under a
//! key of its own, which comes and goes in one write with what the step does. As long as it is there, views
//! show the state before that block, which the history has; and a start that finds it takes back what is
//! there of the block. So it is a whole block or none here, too.

use std::sync::PoisonError;

use rocksdb::{DB, FlushOptions, WriteBatch};

use super::{Store, StoreError, options};
use crate::ledger::ReadError;
use crate::ledger::keys::KeyPart;
use crate::ledger::tables::ChangeSet;
use crate::protocol::Height;

/// The key in the default column family of the block that is there in part, as four bytes, big-endian.
const UNFINISHED: &[u8] = b"unfinished";

/// Which block is there in part.
pub(super) fn load(db: &DB) -> Result<Option<Height>, ReadError> {
    let failed = |reason| ReadError { table: "unfinished", reason };
    let Some(bytes) = db.get(UNFINISHED).map_err(|e| failed(e.into_string()))? else { return Ok(None) };
    Height::take(&bytes).map(Some).ok_or_else(|| failed("a height does not decode".into()))
}

impl Store {
    /// Calls `look` while no block can begin or cease to be there in part.
    pub(super) fn with_unfinished<T>(&self, look: impl FnOnce(Option<Height>) -> T) -> T {
        look(*self.unfinished.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a step that others follow. The first one is in the log, so that nothing of the block can be
    /// there without a sign of it.
    pub(super) fn write_step(&self, height: Height, mut batch: WriteBatch) -> Result<(), StoreError> {
        if self.with_unfinished(|unfinished| unfinished.is_some()) {
            return self.db.write_opt(batch, &options::write_step()).map_err(|e| self.failed(e));
        }
        let mut unfinished = self.unfinished.write().unwrap_or_else(PoisonError::into_inner);
        batch.put(UNFINISHED, height.to_key());
        self.write(batch)?;
        *unfinished = Some(height);
        Ok(())
    }

    /// Writes the only step, or the last one.
    pub(super) fn write_last(&self, mut batch: WriteBatch) -> Result<(), StoreError> {
        if self.with_unfinished(|unfinished| unfinished.is_none()) {
            return self.write(batch);
        }
        self.write_files()?;
        let mut unfinished = self.unfinished.write().unwrap_or_else(PoisonError::into_inner);
        batch.delete(UNFINISHED);
        self.write(batch)?;
        *unfinished = None;
        Ok(())
    }

    /// Moves all rows from memory to files.
    fn write_files(&self) -> Result<(), StoreError> {
        let families = self.families().collect::<Result<Vec<_>, _>>()?;
        self.db.flush_cfs_opt(&families, &FlushOptions::default()).map_err(|e| self.failed(e))
    }

    /// Takes back the block that is there in part, if one is.
    pub(super) fn clear_unfinished(&self) -> Result<(), StoreError> {
        match self.with_unfinished(|unfinished| unfinished) {
            Some(height) => self.take_back(height, WriteBatch::default()).map(|_: ChangeSet| ()),
            None => Ok(()),
        }
    }
}
