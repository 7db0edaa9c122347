//! Outputs that were named a short while ago, when blocks after that were already being scanned.
//!
//! A block is scanned for spends of the outputs that are watched at that moment. What blocks before it
//! name only then is found here: each scanned block leaves the starts of the txids that its inputs name, and
//! one that spends a recent name is read again. So it does not matter in which order blocks are scanned.

use std::collections::{HashMap, VecDeque};

use bitcoin::OutPoint;
use bitcoin::hashes::Hash;

use super::watch::{self, WatchSet};

/// Recent names, by the number of the block that gave them.
#[derive(Debug, Default)]
pub(super) struct Recent {
    names: VecDeque<(usize, OutPoint)>,
    set: WatchSet,
    /// How many names begin like this: one input in thousands passes the bitmap of the set by chance, and
    /// reading a block again for it would be dear.
    prefixes: HashMap<u32, usize>,
}

impl Recent {
    /// Adds what a block names. Blocks come in order.
    pub fn add(&mut self, block: usize, outputs: impl Iterator<Item = OutPoint>) {
        for output in outputs.filter(|output| self.set.insert(*output)).collect::<Vec<_>>() {
            *self.prefixes.entry(prefix(&output)).or_default() += 1;
            self.names.push_back((block, output));
        }
    }

    /// Forgets the names of blocks before this one.
    pub fn forget_before(&mut self, block: usize) {
        while self.names.front().is_some_and(|(named, _)| *named < block)
            && let Some((_, output)) = self.names.pop_front()
        {
            self.set.remove(&output);
            let prefix = prefix(&output);
            match self.prefixes.get_mut(&prefix) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.prefixes.remove(&prefix)),
            }
        }
    }

    /// Whether a block whose inputs name txids with these starts may spend one of the names.
    pub fn may_be_spent_by(&self, prevouts: &[u32]) -> bool {
        !self.set.is_empty()
            && prevouts.iter().any(|prefix| self.set.may_hold(*prefix) && self.prefixes.contains_key(prefix))
    }

    /// The names.
    pub fn set(&self) -> &WatchSet {
        &self.set
    }
}

fn prefix(output: &OutPoint) -> u32 {
    watch::prefix(output.txid.as_byte_array())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::Txid;

    fn output(n: u8) -> OutPoint {
        OutPoint { txid: Txid::from_byte_array([n; 32]), vout: 0 }
    }

    #[test]
    fn names_are_known_until_their_block_is_forgotten() {
        let mut recent = Recent::default();
        let spends = |recent: &Recent, n| recent.may_be_spent_by(&[7, prefix(&output(n))]);
        assert!(!spends(&recent, 1));
        recent.add(0, [output(1), output(2), OutPoint { vout: 1, ..output(1) }].into_iter());
        recent.add(1, [output(3)].into_iter());
        assert!(spends(&recent, 1) && spends(&recent, 3) && !spends(&recent, 4));
        recent.forget_before(1);
        assert!(!spends(&recent, 1) && !spends(&recent, 2) && spends(&recent, 3));
        assert_eq!(recent.set().len(), 1);
        recent.forget_before(9);
        assert!(!spends(&recent, 3) && recent.prefixes.is_empty());
    }
}
