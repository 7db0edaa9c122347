//! What can be done about a database that is damaged: it is found, and set aside. Nothing is repaired: a
//! state that lacks rows is worse than none, and the blocks bring all of it back.

use std::path::{Path, PathBuf};

use rocksdb::{DB, IteratorMode, ReadOptions};

use super::{DATABASE, Store, StoreError, family_names};

/// Directory in the data directory that a database is kept in once it is set aside.
pub(super) const ASIDE: &str = "db.old";

impl Store {
    /// Moves the database in `data_dir` aside, whatever its condition, so that [`open`](Store::open) makes
    /// a new one. Returns where it is now; `None` where there was none.
    ///
    /// # Errors
    /// Where a process has it open, and where one was set aside before: nothing is ever overwritten.
    pub fn set_aside(data_dir: &Path) -> Result<Option<PathBuf>, StoreError> {
        let (database, aside) = (data_dir.join(DATABASE), data_dir.join(ASIDE));
        if !database.exists() {
            return Ok(None);
        }
        if aside.exists() {
            return Err(StoreError::Aside(aside));
        }
        // RocksDB takes its lock before it looks at anything else, and changes nothing in a database that is
        // opened without its tables.
        if let Err(e) = DB::open(&rocksdb::Options::default(), &database)
            && let locked @ StoreError::Locked(_) = StoreError::of_rocksdb(data_dir, e)
        {
            return Err(locked);
        }
        std::fs::rename(database, &aside).map_err(|e| StoreError::of_system(data_dir, &e))?;
        Ok(Some(aside))
    }

    /// Reads every row of every table; returns the tables where that fails, with what RocksDB said, which
    /// names the file.
    pub fn unreadable_tables(&self) -> Vec<(&'static str, String)> {
        let mut unreadable = Vec::new();
        for name in family_names() {
            let Some(family) = self.db.cf_handle(name) else {
                unreadable.push((name, "the table does not exist".to_owned()));
                continue;
            };
            let mut options = ReadOptions::default();
            // Rows that are read once are not worth their place in memory.
            options.fill_cache(false);
            let rows = self.db.iterator_cf_opt(family, options, IteratorMode::Start);
            if let Some(e) = rows.filter_map(Result::err).next() {
                unreadable.push((name, e.into_string()));
            }
        }
        unreadable
    }
}
