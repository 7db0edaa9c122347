//! The set of outputs whose spends matter.
//!
//! Every input of every block is looked up here, and nearly all lookups miss. A bitmap in front of
//! the hash set answers those: 8 kB while the set is small, 16 bits per member as it grows. Its index
//! is taken from the txid, which is a hash already; somebody who grinds txids can only make lookups
//! reach the (keyed) hash set, never make them wrong.

use std::collections::HashSet;

use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Txid};

/// Bits of the smallest bitmap: 8 kB, a part of the first-level cache.
const MIN_BITS: usize = 1 << 16;

/// Bits kept per member; one lookup in 16 of a full bitmap goes on to the hash set.
const BITS_PER_MEMBER: usize = 16;

/// The start of a txid in internal order, which names a place in bitmaps. Txids are hashes, so it is as good
/// as a hash of its own.
pub(super) fn prefix(txid: &[u8]) -> u32 {
    txid.first_chunk::<4>().map_or(0, |start| u32::from_le_bytes(*start))
}

/// A set of outpoints, made for many lookups that miss. Empty, it costs one comparison per lookup.
#[derive(Clone, Debug, Default)]
pub struct WatchSet {
    members: HashSet<OutPoint>,
    /// Bits of members and of former members; empty until the first insertion, then a power of two.
    bitmap: Vec<u64>,
}

impl WatchSet {
    /// An empty set.
    pub fn new() -> Self {
        WatchSet::default()
    }

    /// How many outpoints it holds.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Adds an outpoint; false if it was there.
    pub fn insert(&mut self, outpoint: OutPoint) -> bool {
        let added = self.members.insert(outpoint);
        if added && self.members.len() * BITS_PER_MEMBER > self.bitmap.len() * 64 {
            self.rebuild();
        } else if added {
            self.mark(&outpoint);
        }
        added
    }

    /// Removes an outpoint; false if it was not there.
    pub fn remove(&mut self, outpoint: &OutPoint) -> bool {
        // The bit stays: other members may share it. It is dropped when the bitmap is next rebuilt.
        let removed = self.members.remove(outpoint);
        if self.members.is_empty() {
            self.bitmap.clear();
        }
        removed
    }

    /// Whether it holds the outpoint.
    pub fn contains(&self, outpoint: &OutPoint) -> bool {
        self.find(outpoint.txid.as_byte_array(), outpoint.vout).is_some()
    }

    /// The members, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &OutPoint> {
        self.members.iter()
    }

    /// The member with this txid (32 bytes in internal order) and index, as they stand in an input.
    pub(super) fn find(&self, txid: &[u8], vout: u32) -> Option<OutPoint> {
        if !self.may_hold(prefix(txid)) {
            return None;
        }
        let outpoint = OutPoint { txid: Txid::from_slice(txid).ok()?, vout };
        self.members.contains(&outpoint).then_some(outpoint)
    }

    /// Whether it may hold an output of a transaction whose txid starts like this.
    pub(super) fn may_hold(&self, prefix: u32) -> bool {
        if self.bitmap.is_empty() {
            return false;
        }
        let (word, bit) = self.place(prefix);
        self.bitmap[word] & bit != 0
    }

    fn mark(&mut self, outpoint: &OutPoint) {
        let (word, bit) = self.place(prefix(outpoint.txid.as_byte_array()));
        self.bitmap[word] |= bit;
    }

    /// Word and bit of a txid. The bitmap must not be empty.
    fn place(&self, prefix: u32) -> (usize, u64) {
        let index = u64::from(prefix) & (self.bitmap.len() as u64 * 64 - 1);
        ((index / 64) as usize, 1 << (index % 64))
    }

    /// Makes a bitmap with room to double, from the members alone.
    fn rebuild(&mut self) {
        let bits = (self.members.len() * BITS_PER_MEMBER * 2).next_power_of_two().max(MIN_BITS);
        self.bitmap = vec![0; bits / 64];
        let members = std::mem::take(&mut self.members);
        #[expect(clippy::iter_over_hash_type, reason = "the bits of a bitmap have no order")]
        for outpoint in &members {
            self.mark(outpoint);
        }
        self.members = members;
    }
}

impl FromIterator<OutPoint> for WatchSet {
    fn from_iter<I: IntoIterator<Item = OutPoint>>(outpoints: I) -> Self {
        let mut set = WatchSet::new();
        set.extend(outpoints);
        set
    }
}

impl Extend<OutPoint> for WatchSet {
    fn extend<I: IntoIterator<Item = OutPoint>>(&mut self, outpoints: I) {
        for outpoint in outpoints {
            self.insert(outpoint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::sha256d;

    fn outpoint(n: u32) -> OutPoint {
        let txid = Txid::from_raw_hash(sha256d::Hash::hash(&(n / 3).to_le_bytes()));
        OutPoint { txid, vout: n % 3 }
    }

    #[test]
    fn agrees_with_a_hash_set_while_it_grows_and_shrinks() {
        let mut set = WatchSet::new();
        let mut model = HashSet::new();
        for n in 0..20_000 {
            assert_eq!(set.insert(outpoint(n * 7 % 15_000)), model.insert(outpoint(n * 7 % 15_000)));
            if n % 3 == 0 {
                let gone = outpoint(n * 11 % 15_000);
                assert_eq!(set.remove(&gone), model.remove(&gone));
            }
        }
        assert_eq!(set.len(), model.len());
        for n in 0..15_000 {
            assert_eq!(set.contains(&outpoint(n)), model.contains(&outpoint(n)), "{n}");
        }
        assert_eq!(set.iter().copied().collect::<HashSet<_>>(), model);
    }

    #[test]
    fn emptied_and_refilled() {
        let mut set: WatchSet = (0..10).map(outpoint).collect();
        for n in 0..10 {
            assert!(set.remove(&outpoint(n)));
        }
        assert!(set.is_empty() && !set.contains(&outpoint(0)));
        assert!(set.insert(outpoint(3)));
        assert!(set.contains(&outpoint(3)) && !set.contains(&outpoint(4)));
    }
}
