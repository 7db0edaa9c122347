//! Which transactions have been looked at.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use bitcoin::Txid;

/// The transactions of a mempool that have been looked at, by a hash of eight bytes each. It is keyed, so
/// that nobody can make two transactions that are taken for one.
#[derive(Default)]
pub(super) struct Seen {
    hasher: RandomState,
    seen: HashSet<u64>,
}

impl Seen {
    /// Forgets transactions that are not listed; returns those listed that have not been looked at.
    pub fn unseen(&mut self, listed: &[Txid]) -> Vec<Txid> {
        let (mut still, mut unseen) = (HashSet::with_capacity(self.seen.len()), Vec::new());
        for &txid in listed {
            let hash = self.hasher.hash_one(txid);
            match self.seen.contains(&hash) {
                true => _ = still.insert(hash),
                false => unseen.push(txid),
            }
        }
        self.seen = still;
        unseen
    }

    /// Notes that a transaction has been looked at; false if it had been.
    pub fn insert(&mut self, txid: Txid) -> bool {
        self.seen.insert(self.hasher.hash_one(txid))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.seen.clear();
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::Hash;

    use super::*;

    #[test]
    fn what_left_is_forgotten_and_is_new_when_it_comes_again() {
        let [a, b, c] = [1, 2, 3].map(|n| Txid::from_byte_array([n; 32]));
        let mut seen = Seen::default();
        assert_eq!(seen.unseen(&[a, b]), [a, b]);
        assert!(seen.insert(a) && !seen.insert(a));
        assert_eq!(seen.unseen(&[c, a, b]), [c, b]);
        assert_eq!(seen.unseen(&[b]), [b]);
        assert_eq!(seen.unseen(&[a]), [a]);
    }
}
