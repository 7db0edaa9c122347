//! Which branch of the blocks that were found is best.
//!
//! The rule is Bitcoin's: of the blocks whose ancestors are all there down to the genesis block, the one
//! with most work behind it is the tip; of several with equal work the one that was complete first
//! stays. Blocks arrive in any order. Whether targets were right for their height and blocks are
//! valid is not checked: whoever wrote the files did.

use std::collections::{HashMap, VecDeque};

use bitcoin::block::Header;
use bitcoin::{BlockHash, Work};

use super::BlockId;
use crate::protocol::Height;

/// The tree of blocks over one genesis block, with the best branch laid out by height.
///
/// A million blocks take about 200 MB, so nodes refer to each other by 32-bit index.
pub(super) struct HeaderChain<L> {
    genesis: BlockHash,
    nodes: Vec<Node<L>>,
    by_hash: HashMap<BlockHash, u32>,
    /// Blocks whose parent is not linked (yet), by that parent, in order of arrival.
    waiting: HashMap<BlockHash, Vec<u32>>,
    /// The best branch; its index is the height, its values are indexes of `nodes`.
    best: Vec<u32>,
}

struct Node<L> {
    hash: BlockHash,
    location: L,
    /// Its own work until it is linked, then that of the whole branch up to it.
    work: Work,
    link: Option<Link>,
}

/// The place of a block that is linked to the genesis block.
#[derive(Clone, Copy)]
struct Link {
    height: u32,
    /// Its parent; the genesis block stands for its own.
    parent: u32,
}

impl<L> HeaderChain<L> {
    /// An empty tree.
    pub fn new(genesis: BlockHash) -> Self {
        HeaderChain {
            genesis,
            nodes: Vec::new(),
            by_hash: HashMap::new(),
            waiting: HashMap::new(),
            best: Vec::new(),
        }
    }

    /// Adds a block whose hash is that of the header and meets its target. Of two copies the first
    /// is kept.
    pub fn insert(&mut self, hash: BlockHash, header: &Header, location: L) {
        if self.by_hash.contains_key(&hash) {
            return;
        }
        let index = self.nodes.len() as u32;
        self.by_hash.insert(hash, index);
        self.nodes.push(Node { hash, location, work: header.work(), link: None });
        let parent = self.by_hash.get(&header.prev_blockhash).copied();
        if hash == self.genesis {
            self.link_with_descendants(index, None);
        } else if let Some(parent) = parent.filter(|&parent| self.node(parent).link.is_some()) {
            self.link_with_descendants(index, Some(parent));
        } else {
            self.waiting.entry(header.prev_blockhash).or_default().push(index);
        }
    }

    /// The tip of the best branch, if the genesis block was seen.
    pub fn tip(&self) -> Option<BlockId> {
        let &tip = self.best.last()?;
        Some(BlockId { height: Height(self.best.len() as u32 - 1), hash: self.node(tip).hash })
    }

    /// Hashes of the best branch from a height on, up to its end.
    pub fn hashes_from(&self, from: Height) -> impl Iterator<Item = BlockHash> {
        self.best.iter().skip(from.0 as usize).map(|&index| self.node(index).hash)
    }

    /// Where a block is, whatever its branch.
    pub fn location(&self, hash: &BlockHash) -> Option<&L> {
        self.by_hash.get(hash).map(|&index| &self.node(index).location)
    }

    /// How many blocks there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// How many blocks are not linked to the genesis block.
    pub fn unlinked(&self) -> usize {
        self.nodes.iter().filter(|node| node.link.is_none()).count()
    }

    fn node(&self, index: u32) -> &Node<L> {
        &self.nodes[index as usize]
    }

    /// Links a block and all that waited for it, breadth first and in order of arrival.
    fn link_with_descendants(&mut self, index: u32, parent: Option<u32>) {
        let mut queue = VecDeque::from([(index, parent)]);
        while let Some((index, parent)) = queue.pop_front() {
            let below = parent.map(|parent| self.node(parent)).and_then(|node| Some((node.link?, node.work)));
            let node = &mut self.nodes[index as usize];
            let height = below.map_or(0, |(link, _)| link.height + 1);
            if let Some((_, work)) = below {
                node.work = work + node.work;
            }
            node.link = Some(Link { height, parent: parent.unwrap_or(index) });
            let children = self.waiting.remove(&node.hash).unwrap_or_default();
            queue.extend(children.into_iter().map(|child| (child, Some(index))));
            self.offer(index);
        }
    }

    /// Makes a linked block the tip if it has more work than the tip has.
    fn offer(&mut self, index: u32) {
        let tip = self.best.last().copied();
        if tip.is_some_and(|tip| self.node(tip).work >= self.node(index).work) {
            return;
        }
        let mut branch = Vec::new();
        let mut cursor = index;
        let mut fork = 0;
        while let Some(link) = self.node(cursor).link {
            if self.best.get(link.height as usize) == Some(&cursor) {
                fork = link.height as usize + 1;
                break;
            }
            branch.push(cursor);
            if link.height == 0 {
                break;
            }
            cursor = link.parent;
        }
        self.best.truncate(fork);
        self.best.extend(branch.into_iter().rev());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash;
    use bitcoin::{CompactTarget, TxMerkleNode};

    /// The easiest target of regtest, and one that takes four times the work.
    const EASY: u32 = 0x207f_ffff;
    const HARD: u32 = 0x201f_ffff;

    /// Blocks by name. The chain takes hashes on trust, so they are just names here.
    fn hash(name: &str) -> BlockHash {
        BlockHash::hash(name.as_bytes())
    }

    fn header(parent: &str, bits: u32) -> Header {
        Header {
            version: bitcoin::block::Version::ONE,
            prev_blockhash: hash(parent),
            merkle_root: TxMerkleNode::all_zeros(),
            time: 0,
            bits: CompactTarget::from_consensus(bits),
            nonce: 0,
        }
    }

    fn chain(blocks: &[(&'static str, &str, u32)]) -> HeaderChain<&'static str> {
        let mut chain = HeaderChain::new(hash("g"));
        for (name, parent, bits) in blocks {
            chain.insert(hash(name), &header(parent, *bits), *name);
        }
        chain
    }

    #[test]
    fn best_branch() {
        // Name of the case, blocks as (name, parent, bits) in order of arrival, best branch.
        type Case = (&'static str, &'static [(&'static str, &'static str, u32)], &'static [&'static str]);
        let cases: &[Case] = &[
            ("nothing at all", &[], &[]),
            ("no genesis block", &[("a", "g", EASY), ("b", "a", EASY)], &[]),
            ("in order", &[("g", "", EASY), ("a", "g", EASY), ("b", "a", EASY)], &["g", "a", "b"]),
            ("backwards", &[("b", "a", EASY), ("a", "g", EASY), ("g", "", EASY)], &["g", "a", "b"]),
            (
                "a tie stays with the first",
                &[("g", "", EASY), ("a", "g", EASY), ("x", "g", EASY)],
                &["g", "a"],
            ),
            (
                "a tie goes to the branch that was complete first",
                &[("g", "", EASY), ("b", "a", EASY), ("x", "g", EASY), ("y", "x", EASY), ("a", "g", EASY)],
                &["g", "x", "y"],
            ),
            (
                "a longer branch wins",
                &[
                    ("g", "", EASY),
                    ("a", "g", EASY),
                    ("b", "a", EASY),
                    ("x", "g", EASY),
                    ("y", "x", EASY),
                    ("z", "y", EASY),
                ],
                &["g", "x", "y", "z"],
            ),
            (
                "a shorter branch with more work wins",
                &[("g", "", EASY), ("a", "g", EASY), ("b", "a", EASY), ("c", "b", EASY), ("x", "g", HARD)],
                &["g", "x"],
            ),
            (
                "and loses again",
                &[("g", "", EASY), ("a", "g", EASY), ("x", "g", HARD), ("b", "a", EASY), ("c", "b", HARD)],
                &["g", "a", "b", "c"],
            ),
            (
                "a hole ends the branch",
                &[("g", "", EASY), ("a", "g", EASY), ("c", "b", EASY), ("d", "c", EASY)],
                &["g", "a"],
            ),
            (
                "filling the hole",
                &[("g", "", EASY), ("c", "b", EASY), ("d", "c", EASY), ("a", "g", EASY), ("b", "a", EASY)],
                &["g", "a", "b", "c", "d"],
            ),
        ];
        for (name, blocks, best) in cases {
            let chain = chain(blocks);
            let expected: Vec<_> = best.iter().map(|name| hash(name)).collect();
            assert_eq!(chain.hashes_from(Height(0)).collect::<Vec<_>>(), expected, "{name}");
            let tip = expected.last().map(|&hash| (hash, expected.len() as u32 - 1));
            assert_eq!(chain.tip().map(|tip| (tip.hash, tip.height.0)), tip, "{name}");
        }
    }

    #[test]
    fn the_first_copy_of_a_block_counts_and_orphans_are_known() {
        let mut chain = chain(&[("g", "", EASY), ("a", "g", EASY), ("c", "b", EASY)]);
        chain.insert(hash("a"), &header("g", EASY), "second copy");
        assert_eq!(chain.location(&hash("a")), Some(&"a"));
        assert_eq!(chain.location(&hash("c")), Some(&"c"));
        assert_eq!((chain.len(), chain.unlinked()), (3, 1));
    }
}
