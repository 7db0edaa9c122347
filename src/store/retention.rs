//! How far back blocks can be taken back, and starting over when that is not far enough.

use rocksdb::WriteBatch;

use super::history::{self, HISTORY};
use super::undo::{self, UNDO};
use super::{Store, StoreError};
use crate::kill::{self, Window};
use crate::ledger::ReadError;
use crate::ledger::keys::KeyPart;
use crate::ledger::tables::{self, Table, TableVisitor};
use crate::protocol::Height;

/// The key in the default column family of the lowest block that may still have an undo record, as four
/// bytes, big-endian. Missing means the start height: nothing was forgotten yet.
pub(super) const UNDO_FROM: &[u8] = b"undo-from";

/// Above every key of every table: those are shorter, and none begins with so many of these.
const ABOVE_ALL_KEYS: [u8; 128] = [0xff; 128];

/// Bytes of one write that forgets: how many blocks there are to forget is up to the user.
const FORGET_LEN: usize = 1 << 20;

pub(super) fn decode_undo_from(bytes: &[u8]) -> Result<Height, ReadError> {
    let broken = || ReadError { table: UNDO, reason: "its lowest height does not decode".into() };
    Height::take(bytes).ok_or_else(broken)
}

impl Store {
    /// The lowest block that can be taken back, once it is the tip.
    pub fn undo_from(&self) -> Result<Height, StoreError> {
        let Some(bytes) = self.db.get(UNDO_FROM).map_err(|e| self.failed(e))? else {
            return Ok(self.rules.start_height);
        };
        Ok(decode_undo_from(&bytes)?)
    }

    /// Length in bytes, before compression, of what takes a block back: its undo record and the values that
    /// it replaced. `None` if it has no record.
    pub fn undo_len(&self, height: Height) -> Result<Option<u64>, StoreError> {
        let mut len = None;
        for part in 0u32.. {
            let key = undo::part_key(height, part);
            let part = self.db.get_pinned_cf(self.family(UNDO)?, &key).map_err(|e| self.failed(e))?;
            let Some(part) = part else { break };
            let mut bytes = key.len() + part.len();
            self.replaced(height, &part, |key, value| bytes += key.len() + value.len())?;
            len = Some(len.unwrap_or(0) + bytes as u64);
        }
        Ok(len)
    }

    /// Calls `each` for the values that a block replaced, by a part of its record.
    fn replaced(
        &self,
        height: Height,
        part: &[u8],
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), StoreError> {
        let family = self.family(HISTORY)?;
        let mut key = Vec::new();
        for group in undo::groups(part)? {
            for (row, _) in group.rows().filter(|(_, is_new)| !is_new) {
                history::put_key(group.table, row, height, &mut key);
                if let Some(value) = self.db.get_pinned_cf(family, &key).map_err(|e| self.failed(e))? {
                    each(&key, &value);
                }
            }
        }
        Ok(())
    }

    /// Drops the undo records of all blocks below `from`, and the values that they replaced: the state
    /// before those blocks can't be read any more. What was dropped never comes back. Where there is much
    /// of it, it goes in several steps; a kill in between leaves what the next call goes on with.
    pub fn forget_undo_below(&self, from: Height) -> Result<(), StoreError> {
        let mut oldest = self.undo_from()?;
        while oldest < from {
            let mut batch = WriteBatch::default();
            let mut next = oldest;
            while next < from && batch.size_in_bytes() < FORGET_LEN {
                self.forget_replaced(&mut batch, next)?;
                next = next.next();
            }
            let (first, end) = (undo::part_key(oldest, 0), undo::part_key(next, 0));
            batch.delete_range_cf(self.family(UNDO)?, first, end);
            batch.put(UNDO_FROM, next.to_key());
            kill::at(Window::ForgetWrite);
            self.write(batch)?;
            kill::at(Window::ForgetAfter);
            oldest = next;
        }
        Ok(())
    }

    fn forget_replaced(&self, batch: &mut WriteBatch, height: Height) -> Result<(), StoreError> {
        let (records, values) = (self.family(UNDO)?, self.family(HISTORY)?);
        for part in 0u32.. {
            let key = undo::part_key(height, part);
            let part = self.db.get_pinned_cf(records, &key).map_err(|e| self.failed(e))?;
            let Some(part) = part else { break };
            let mut key = Vec::new();
            for group in undo::groups(&part)? {
                for (row, _) in group.rows().filter(|(_, is_new)| !is_new) {
                    history::put_key(group.table, row, height, &mut key);
                    batch.delete_cf(values, &key);
                }
            }
        }
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
        for name in [UNDO, HISTORY] {
            batch.delete_range_cf(self.family(name)?, [].as_slice(), &ABOVE_ALL_KEYS);
        }
        batch.delete(UNDO_FROM);
        kill::at(Window::ResetWrite);
        self.write_last(batch)?;
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
