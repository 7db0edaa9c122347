//! What RocksDB says about itself, for those who watch over it.

use super::{Store, StoreError, family_names};

/// Properties of RocksDB that are summed over all tables.
const OF_TABLES: [&str; 6] = [
    "rocksdb.estimate-live-data-size",
    "rocksdb.total-sst-files-size",
    "rocksdb.cur-size-all-mem-tables",
    "rocksdb.estimate-pending-compaction-bytes",
    "rocksdb.estimate-num-keys",
    "rocksdb.estimate-table-readers-mem",
];

/// Properties of the database as a whole.
const OF_ALL: [&str; 6] = [
    "rocksdb.block-cache-usage",
    "rocksdb.block-cache-capacity",
    "rocksdb.num-running-compactions",
    "rocksdb.num-running-flushes",
    "rocksdb.num-snapshots",
    "rocksdb.background-errors",
];

impl Store {
    /// Figures by the name of the property, without `rocksdb.`. Those that RocksDB does not have are left out.
    pub fn figures(&self) -> Result<Vec<(&'static str, u64)>, StoreError> {
        let mut figures = Vec::new();
        let short = |name: &'static str| name.strip_prefix("rocksdb.").unwrap_or(name);
        for name in OF_TABLES {
            let mut sum = None;
            for family in family_names() {
                let value = self.db.property_int_value_cf(self.family(family)?, name);
                let value = value.map_err(|e| self.failed(e))?;
                sum = sum.or(value.map(|_| 0)).map(|sum: u64| sum.saturating_add(value.unwrap_or(0)));
            }
            figures.extend(sum.map(|sum| (short(name), sum)));
        }
        for name in OF_ALL {
            let value = self.db.property_int_value(name).map_err(|e| self.failed(e))?;
            figures.extend(value.map(|value| (short(name), value)));
        }
        Ok(figures)
    }
}
