//! What a source keeps, in the database.

use std::sync::Arc;

use crate::chain::Keeper;
use crate::store::Store;

/// The cache of the database, as a source sees it.
pub(super) struct InStore(pub Arc<Store>);

impl Keeper for InStore {
    fn each(&self, row: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), String> {
        let rows = self.0.cache_rows().map_err(|e| e.to_string())?;
        for kept in rows {
            let (key, value) = kept.map_err(|e| e.to_string())?;
            row(&key, &value);
        }
        Ok(())
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), String> {
        self.0.cache_put(key, value).map_err(|e| e.to_string())
    }

    fn delete(&self, key: &[u8]) -> Result<(), String> {
        self.0.cache_delete(key).map_err(|e| e.to_string())
    }
}
