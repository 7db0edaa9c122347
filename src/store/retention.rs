//! How far back blocks can be taken back, and starting over when that is not far enough.

use rocksdb::WriteBatch;

use super::{Store, StoreError, UNDO, undo_key};
use crate::kill::{self, Window};
use crate::ledger::ReadError;
use crate::ledger::keys::KeyPart;
use crate::ledger::tables::{self, Table, TableVisitor};
use crate::protocol::Height;

/// The key in the default column family of the lowest block that may still have an undo record, as four
/// bytes, big-endian. Missing means the start height: nothing was forgotten yet.
const UNDO_FROM: &[u8] = b"undo-from";

/// Above every key of every table: those are shorter, and none begins with so many of these.
const ABOVE_ALL_KEYS: [u8; 128] = [0xff; 128];

impl Store {
    /// The lowest block that can be taken back, once it is the tip.
    pub fn undo_from(&self) -> Result<Height, StoreError> {
        let Some(bytes) = self.db.get(UNDO_FROM).map_err(|e| self.failed(e))? else {
            return Ok(self.rules.start_height);
        };
        let broken = || ReadError { table: UNDO, reason: "its lowest height does not decode".into() };
        Ok(Height::take(&bytes).ok_or_else(broken)?)
    }

    /// Length of the undo record of a block in bytes, before compression; `None` if it has none.
    pub fn undo_len(&self, height: Height) -> Result<Option<u64>, StoreError> {
        let mut len = None;
        for part in 0u32.. {
            let key = undo_key(height, part);
            let Some(bytes) = self.db.get_pinned_cf(self.family(UNDO)?, &key).map_err(|e| self.failed(e))?
            else {
                break;
            };
            len = Some(len.unwrap_or(0) + (key.len() + bytes.len()) as u64);
        }
        Ok(len)
    }

    /// Drops the undo records of all blocks below `from`. What was dropped never comes back.
    pub fn forget_undo_below(&self, from: Height) -> Result<(), StoreError> {
        let oldest = self.undo_from()?;
        if from <= oldest {
            return Ok(());
        }
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(self.family(UNDO)?, undo_key(oldest, 0), undo_key(from, 0));
        batch.put(UNDO_FROM, from.to_key());
        kill::at(Window::ForgetWrite);
        self.write(batch)?;
        kill::at(Window::ForgetAfter);
        Ok(())
    }

    /// Drops all blocks in one atomic step, however many there are: what is left is as good as new.
    /// Readers that hold a [`view`](Store::view) keep what they see; compaction gives the space back.
    /// Those from `stale` on have left the best chain, and are kept like blocks that are undone.
    pub fn reset(&self, stale: Option<Height>) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        if let (Some(stale), Some(tip)) = (stale, self.tip()?) {
            let newest = Height((tip.height.0 + 1).saturating_sub(Self::STALE_KEPT));
            let heights = (stale.max(newest).0..=tip.height.0).rev().map(Height);
            self.keep_stale(&mut batch, heights)?;
        }
        tables::visit_tables(&mut DropRows { store: self, batch: &mut batch })?;
        batch.delete_range_cf(self.family(UNDO)?, [].as_slice(), &ABOVE_ALL_KEYS);
        batch.delete(UNDO_FROM);
        kill::at(Window::ResetWrite);
        self.write(batch)?;
        #[cfg(feature = "kill-points")]
        self.say_what_is_written();
        Ok(())
    }
}

struct DropRows<'a> {
    store: &'a Store,
    batch: &'a mut WriteBatch,
}

impl TableVisitor for DropRows<'_> {
    type Error = StoreError;

    fn table<T: Table>(&mut self) -> Result<(), StoreError> {
        const { assert!(T::Key::LEN < ABOVE_ALL_KEYS.len()) };
        let family = self.store.family(T::NAME)?;
        self.batch.delete_range_cf(family, [].as_slice(), &ABOVE_ALL_KEYS);
        Ok(())
    }
}
