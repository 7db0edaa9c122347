//! Which rows a range of blocks changed, without a look at those that it did not.

use std::collections::BTreeSet;

use super::error::HeightError;
use super::undo::{self, UNDO};
use super::view::{self, StoreView};
use crate::ledger::keys::KeyPart;
use crate::ledger::tables::Table;
use crate::protocol::Height;

impl StoreView<'_> {
    /// The keys of a table whose rows some block above `from`, up to `to`, wrote or removed: of those that
    /// are `wanted` the lowest `most`. A row may be in the end as it was. Takes time for every block in
    /// between, and for every row of the table that they changed; none for the rest of the table.
    pub fn changed<T: Table>(
        &self,
        from: Height,
        to: Height,
        most: usize,
        mut wanted: impl FnMut(&T::Key) -> bool,
    ) -> Result<BTreeSet<T::Key>, HeightError> {
        // Both states must be there to be compared.
        self.at(to)?;
        self.at(from)?;
        let options = view::up_to(Default::default(), undo::part_key(to, u32::MAX));
        let mut parts = self.iterator(UNDO, options)?;
        parts.seek(undo::part_key(from.next(), u32::LOWEST));
        let mut keys = BTreeSet::new();
        while let Some((_, part)) = super::history::item(&parts, UNDO)? {
            for group in undo::groups(part)?.into_iter().filter(|group| group.table == T::NUMBER) {
                for (key, _) in group.rows() {
                    let key = view::key::<T>(key)?;
                    if wanted(&key) {
                        keys.insert(key);
                    }
                    if keys.len() > most {
                        keys.pop_last();
                    }
                }
            }
            parts.next();
        }
        Ok(keys)
    }
}
