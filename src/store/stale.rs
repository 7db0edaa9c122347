//! Blocks that a reorganisation took back, beside the state.
//!
//! Whoever has seen their events is told what is no longer so; for that they are kept with the way down to
//! the fork. They are no part of the state: no two databases need to agree about them, and a new database
//! has none. Each is written in the same step in which its block is taken back. The last
//! [`Store::STALE_KEPT`] are kept. A block that came back to the best chain may be among them.

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;
use minicbor::{Decode, Encode};
use rocksdb::{IteratorMode, WriteBatch};

use super::{Store, StoreError};
use crate::ledger::keys::KeyPart;
use crate::ledger::records::{BlockRecord, hash32};
use crate::ledger::tables::Blocks;
use crate::ledger::{ReadError, View};
use crate::protocol::Height;

/// Column family of blocks that were taken back: [`BY_HASH`] and the hash to the block, [`BY_NUMBER`] and
/// a number, big-endian, to the hash. The higher the number, the later it was taken back.
pub(super) const STALE: &str = "stale_blocks";

const BY_HASH: u8 = 0;
const BY_NUMBER: u8 = 1;

/// A block that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StaleBlock {
    /// Its height.
    #[n(0)]
    pub height: Height,
    /// The block below it; zeros at the start height.
    #[cbor(n(1), with = "hash32")]
    pub parent: BlockHash,
    /// What it was.
    #[n(2)]
    pub block: BlockRecord,
    /// Its number among the blocks that were taken back.
    #[n(3)]
    number: u64,
}

impl Store {
    /// How many blocks that were taken back are kept.
    pub const STALE_KEPT: u32 = 10_000;

    /// A block that was taken back, unless that was too long ago.
    pub fn stale_block(&self, hash: BlockHash) -> Result<Option<StaleBlock>, StoreError> {
        let bytes = self.db.get_pinned_cf(self.family(STALE)?, by_hash(hash)).map_err(|e| self.failed(e))?;
        Ok(bytes.map(|bytes| minicbor::decode(&bytes).map_err(broken)).transpose()?)
    }

    /// Adds to a batch that keeps these blocks, which it takes back.
    pub(super) fn keep_stale(
        &self,
        batch: &mut WriteBatch,
        heights: impl IntoIterator<Item = Height>,
    ) -> Result<(), StoreError> {
        let (family, view) = (self.family(STALE)?, self.view());
        for (number, height) in (self.next_number()?..).zip(heights) {
            let block = view.expect::<Blocks>(&height)?;
            let below = height.prev().filter(|_| height > self.rules.start_height);
            let parent = match below {
                Some(below) => view.expect::<Blocks>(&below)?.hash,
                None => BlockHash::all_zeros(),
            };
            let hash = block.hash;
            let stale = StaleBlock { height, parent, block, number };
            let bytes = minicbor::to_vec(&stale).expect("writing CBOR to memory cannot fail");
            if let Some(oldest) = number.checked_sub(Self::STALE_KEPT.into()) {
                self.forget_stale(batch, oldest)?;
            }
            batch.put_cf(family, by_hash(hash), bytes);
            batch.put_cf(family, by_number(number), hash.as_byte_array());
        }
        Ok(())
    }

    fn forget_stale(&self, batch: &mut WriteBatch, number: u64) -> Result<(), StoreError> {
        let (family, key) = (self.family(STALE)?, by_number(number));
        let Some(hash) = self.db.get_cf(family, &key).map_err(|e| self.failed(e))? else { return Ok(()) };
        batch.delete_cf(family, key);
        let hash = BlockHash::from_slice(&hash).map_err(broken)?;
        // Taken back once more since then, it has another number too.
        if self.stale_block(hash)?.is_some_and(|stale| stale.number == number) {
            batch.delete_cf(family, by_hash(hash));
        }
        Ok(())
    }

    fn next_number(&self) -> Result<u64, StoreError> {
        let Some(row) = self.db.iterator_cf(self.family(STALE)?, IteratorMode::End).next() else {
            return Ok(0);
        };
        let (key, _) = row.map_err(|e| self.failed(e))?;
        let number = key.strip_prefix(&[BY_NUMBER]).and_then(u64::take);
        Ok(number.ok_or_else(|| broken("the last key is no number"))? + 1)
    }
}

fn by_hash(hash: BlockHash) -> Vec<u8> {
    [&[BY_HASH][..], hash.as_byte_array()].concat()
}

fn by_number(number: u64) -> Vec<u8> {
    [&[BY_NUMBER][..], &number.to_key()].concat()
}

fn broken(reason: impl ToString) -> ReadError {
    ReadError { table: STALE, reason: reason.to_string() }
}
