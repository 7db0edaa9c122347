//! The tree over a declared set: RFC 6962 with the hashes of this protocol, and proofs against it.
//!
//! Leaves are sorted by Spark outpoint, so two neighbouring leaves prove what is not between them.
//! Leaves and branches are hashed under different tags: a branch can never be passed off as a leaf.

use rayon::prelude::*;

use super::hashes;
use super::ttxo::Ttxo;
use super::{NodeHash, SparkOutPoint};

/// The root of the empty set.
pub const EMPTY_ROOT: NodeHash = NodeHash([0; 32]);

/// The parent of two nodes.
pub fn branch(left: &NodeHash, right: &NodeHash) -> NodeHash {
    NodeHash(hashes::branch(&left.0, &right.0))
}

/// Computes a root from leaves in order, in memory logarithmic in their number.
#[derive(Clone, Debug, Default)]
pub struct RootBuilder {
    // Roots of the complete subtrees so far, the largest first: one for each bit set in `count`.
    peaks: Vec<NodeHash>,
    count: u64,
}

impl RootBuilder {
    /// No leaves yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many leaves there are so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Adds the next leaf.
    pub fn push(&mut self, leaf: NodeHash) {
        let mut node = leaf;
        for _ in 0..self.count.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = branch(&left, &node);
            }
        }
        self.peaks.push(node);
        self.count += 1;
    }

    /// The root over the leaves.
    pub fn finish(self) -> NodeHash {
        self.peaks.into_iter().rev().reduce(|right, left| branch(&left, &right)).unwrap_or(EMPTY_ROOT)
    }
}

/// The root over leaves in order.
pub fn root(leaves: impl IntoIterator<Item = NodeHash>) -> NodeHash {
    let mut builder = RootBuilder::new();
    leaves.into_iter().for_each(|leaf| builder.push(leaf));
    builder.finish()
}

/// Leaves of the subtrees that are hashed in parallel: a power of two, so that they are subtrees, and enough
/// of them to be worth a thread's while.
const SUBTREE: usize = 1 << 12;

/// The same root over leaves that are all in memory, hashed on all threads.
///
/// Inner nodes are not kept from one set to the next: the tree is cut by position, and a leaf that comes or
/// goes moves all that follow it, so that nearly every inner node is another one. What lasts is leaves.
pub fn root_of(leaves: &[NodeHash]) -> NodeHash {
    let subtrees: Vec<NodeHash> =
        leaves.par_chunks(SUBTREE).map(|leaves| root(leaves.iter().copied())).collect();
    root(subtrees)
}

/// Proof that a leaf stands at an index of a tree.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct InclusionProof {
    /// Index of the leaf, from 0.
    pub leaf_index: u64,
    /// Number of leaves in the tree.
    pub tree_size: u64,
    /// Hashes of the siblings on the way from the leaf to the root.
    pub siblings: Vec<NodeHash>,
}

impl InclusionProof {
    /// Whether the proof leads from the leaf to the root.
    ///
    /// The tree size is part of the proof's shape, not committed to by the root: whoever needs it
    /// compares it with the count in the manifest.
    pub fn verify(&self, leaf: &NodeHash, root: &NodeHash) -> bool {
        self.root_from(leaf).as_ref() == Some(root)
    }

    /// The root that the proof leads to; `None` where index, size and number of siblings don't fit.
    pub fn root_from(&self, leaf: &NodeHash) -> Option<NodeHash> {
        let mut index = self.leaf_index;
        // The index of the last node of the current level: a node there may have no sibling.
        let mut last = self.tree_size.checked_sub(1)?;
        if index > last {
            return None;
        }
        let mut siblings = self.siblings.iter();
        let mut node = *leaf;
        while last > 0 {
            if index & 1 == 1 {
                node = branch(siblings.next()?, &node);
            } else if index < last {
                node = branch(&node, siblings.next()?);
            }
            index >>= 1;
            last >>= 1;
        }
        siblings.next().is_none().then_some(node)
    }
}

/// Proves the inclusion of the leaf at `index`; `None` where there is no such leaf.
///
/// Hashes the whole tree once.
pub fn prove(leaves: &[NodeHash], index: usize) -> Option<InclusionProof> {
    if index >= leaves.len() {
        return None;
    }
    let mut siblings = Vec::new();
    let (mut low, mut high) = (0, leaves.len());
    while high - low > 1 {
        let split = low + (high - low).next_power_of_two() / 2;
        if index < split {
            siblings.push(root(leaves[split..high].iter().copied()));
            high = split;
        } else {
            siblings.push(root(leaves[low..split].iter().copied()));
            low = split;
        }
    }
    siblings.reverse();
    Some(InclusionProof { leaf_index: index as u64, tree_size: leaves.len() as u64, siblings })
}

/// A TTXO of the set and the proof that it is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The TTXO.
    pub ttxo: Ttxo,
    /// Its place.
    pub proof: InclusionProof,
}

/// Proof that a Spark outpoint is not in a set: what stands directly before and after its place.
///
/// Without a left neighbour the right one is the first leaf; without a right one the left is the last
/// leaf; without either the set is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsenceProof {
    /// The greatest TTXO below the outpoint.
    pub left: Option<Neighbour>,
    /// The least TTXO above the outpoint.
    pub right: Option<Neighbour>,
}

impl AbsenceProof {
    /// Whether the proof shows that a set with this root does not hold the outpoint, given that its
    /// leaves are sorted, as those of every activated snapshot are.
    pub fn verify(&self, outpoint: &SparkOutPoint, root: &NodeHash) -> bool {
        let holds = |n: &Neighbour| n.proof.verify(&n.ttxo.leaf(), root);
        match (&self.left, &self.right) {
            (None, None) => *root == EMPTY_ROOT,
            (Some(left), None) => {
                left.ttxo.outpoint < *outpoint
                    && left.proof.leaf_index.checked_add(1) == Some(left.proof.tree_size)
                    && holds(left)
            }
            (None, Some(right)) => {
                right.ttxo.outpoint > *outpoint && right.proof.leaf_index == 0 && holds(right)
            }
            (Some(left), Some(right)) => {
                left.ttxo.outpoint < *outpoint
                    && right.ttxo.outpoint > *outpoint
                    && left.proof.leaf_index.checked_add(1) == Some(right.proof.leaf_index)
                    && left.proof.tree_size == right.proof.tree_size
                    && holds(left)
                    && holds(right)
            }
        }
    }

    /// Proves that the outpoint is absent from a set sorted by outpoint; `None` where it is present.
    ///
    /// Hashes the whole tree up to twice.
    pub fn prove(set: &[Ttxo], outpoint: &SparkOutPoint) -> Option<AbsenceProof> {
        let place = set.binary_search_by_key(outpoint, |ttxo| ttxo.outpoint).err()?;
        let leaves: Vec<NodeHash> = set.iter().map(Ttxo::leaf).collect();
        let neighbour =
            |index: usize| Some(Neighbour { ttxo: *set.get(index)?, proof: prove(&leaves, index)? });
        Some(AbsenceProof { left: place.checked_sub(1).and_then(neighbour), right: neighbour(place) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subtrees_hashed_apart_give_the_same_root() {
        let leaves: Vec<NodeHash> =
            (0..5 * SUBTREE as u32).map(|n| NodeHash(hashes::sha256(&n.to_be_bytes()))).collect();
        for subtrees in 0..5 {
            for count in [0, 1, 2, SUBTREE - 1].map(|rest| subtrees * SUBTREE + rest) {
                let leaves = &leaves[..count];
                assert_eq!(root_of(leaves), root(leaves.iter().copied()), "{count} leaves");
            }
        }
    }
}
