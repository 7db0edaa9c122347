//! What may be forgotten: a table of bytes beside the state, for what can be found out again.
//!
//! It is no part of the state: blocks do not change it, taking one back or starting over leaves it as it
//! is, and no two databases need to agree about it. Whoever keeps something here must notice when it no
//! longer holds. A power failure may take what was written last.

use rocksdb::{IteratorMode, ReadOptions};

use super::{Store, StoreError};

/// Column family of what may be forgotten.
pub(super) const CACHE: &str = "cache";

/// A key and what is kept under it.
pub type CacheRow = (Box<[u8]>, Box<[u8]>);

impl Store {
    /// Everything that is kept, in the order of the keys.
    pub fn cache_rows(&self) -> Result<impl Iterator<Item = Result<CacheRow, StoreError>>, StoreError> {
        let mut options = ReadOptions::default();
        // Rows that are read once are not worth their place in memory.
        options.fill_cache(false);
        let rows = self.db.iterator_cf_opt(self.family(CACHE)?, options, IteratorMode::Start);
        Ok(rows.map(|row| row.map_err(|e| self.failed(e))))
    }

    /// Keeps `value` under `key`, in place of what was there.
    pub fn cache_put(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.db.put_cf(self.family(CACHE)?, key, value).map_err(|e| self.failed(e))
    }

    /// Forgets what is kept under `key`, if anything is.
    pub fn cache_delete(&self, key: &[u8]) -> Result<(), StoreError> {
        self.db.delete_cf(self.family(CACHE)?, key).map_err(|e| self.failed(e))
    }
}
