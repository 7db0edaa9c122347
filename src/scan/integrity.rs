//! Merkle trees of a block, as consensus defines them.

use std::ops::ControlFlow;

use bitcoin::consensus::encode;
use bitcoin_slices::{Visit, Visitor, bsl};

use super::sha256::{self, Pairing};

/// Root over txids or wtxids, in internal byte order. `None` for no leaves at all and for a tree
/// whose last nodes repeat those before them: such a block has the root of a shorter one
/// (CVE-2012-2459), so the root says nothing about it. Uses `hashes` as its work space.
pub(super) fn merkle_root(hashes: &mut Vec<[u8; 32]>) -> Option<[u8; 32]> {
    while hashes.len() > 1 {
        if hashes.chunks_exact(2).any(|pair| pair[0] == pair[1]) {
            return None;
        }
        if let Some(last) = hashes.last().copied().filter(|_| !hashes.len().is_multiple_of(2)) {
            hashes.push(last);
        }
        sha256::replace_by_parents(hashes);
    }
    hashes.first().copied()
}

/// Whether the witnesses of a block are those that its coinbase, given in bytes, commits to. Uses the wtxids
/// of all its transactions, that of the coinbase included, as its work space.
///
/// A block without a commitment must not have any witness: to be asked only about blocks that have.
pub(super) fn commitment_holds(coinbase: &[u8], wtxids: &mut Vec<[u8; 32]>) -> bool {
    let coinbase = encode::deserialize(coinbase).ok();
    let Some((committed, reserved)) = coinbase.as_ref().and_then(commitment) else { return false };
    if let Some(first) = wtxids.first_mut() {
        // The coinbase holds the commitment, so its own leaf is fixed at zero.
        *first = [0; 32];
    }
    merkle_root(wtxids).is_some_and(|root| sha256::parent(&root, &reserved) == committed)
}

/// Puts the txids of a block that decodes in place of what `hashes` holds; with `WITNESSES`, its wtxids, that
/// of the coinbase included.
pub(super) fn hash_transactions<const WITNESSES: bool>(
    block: &[u8],
    pairs: &mut Pairing,
    hashes: &mut Vec<[u8; 32]>,
) {
    struct Walk<'a, const WITNESSES: bool> {
        pairs: &'a mut Pairing,
        hashes: &'a mut Vec<[u8; 32]>,
    }
    impl<const WITNESSES: bool> Visitor for Walk<'_, WITNESSES> {
        fn visit_transaction(&mut self, tx: &bsl::Transaction<'_>) -> ControlFlow<()> {
            let (a, b, c) = if WITNESSES { (tx.as_ref(), &[][..], &[][..]) } else { tx.txid_preimage() };
            self.hashes.push([0; 32]);
            self.pairs.add([a, b, c], self.hashes.len() - 1, self.hashes);
            ControlFlow::Continue(())
        }
    }
    hashes.clear();
    pairs.clear();
    // It decodes; else what is found so far has another root.
    let _ = bsl::Block::visit(block, &mut Walk::<WITNESSES> { pairs, hashes });
    pairs.finish(hashes);
}

/// What the script of an output that commits to witnesses begins with; 32 bytes follow.
const COMMITMENT: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

/// Whether the script of an output of a coinbase transaction commits to witnesses.
pub(super) fn is_commitment(script: &[u8]) -> bool {
    script.len() >= COMMITMENT.len() + 32 && script.starts_with(&COMMITMENT)
}

/// The commitment in a coinbase transaction and the reserved value in its witness.
fn commitment(coinbase: &bitcoin::Transaction) -> Option<([u8; 32], [u8; 32])> {
    let scripts = coinbase.output.iter().rev().map(|output| output.script_pubkey.as_bytes());
    let committed =
        scripts.filter_map(|script| script.strip_prefix(&COMMITMENT)?.first_chunk::<32>()).next()?;
    let witness = &coinbase.input.first()?.witness;
    let reserved = witness.nth(0)?.try_into().ok()?;
    (witness.len() == 1).then_some((*committed, reserved))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::Txid;
    use bitcoin::hashes::Hash;
    use bitcoin::merkle_tree::calculate_root;

    fn leaves(count: u8) -> Vec<[u8; 32]> {
        (0..count).map(|n| [n; 32]).collect()
    }

    #[test]
    fn the_root_is_that_of_the_bitcoin_crate() {
        for count in 1..40 {
            let expected = calculate_root(leaves(count).into_iter().map(Txid::from_byte_array));
            assert_eq!(merkle_root(&mut leaves(count)), expected.map(Txid::to_byte_array), "{count} leaves");
        }
        assert_eq!(merkle_root(&mut Vec::new()), None);
    }

    #[test]
    fn repeated_subtrees_are_refused_at_every_level() {
        // 6 leaves and these 6 followed by their last 2 have the same root; so have 3 and 3 + 1.
        for (honest, repeated) in [(3u8, 1), (6, 2), (12, 4), (5, 1)] {
            let mut mutated = leaves(honest);
            mutated.extend_from_within(usize::from(honest - repeated)..);
            let same_root = calculate_root(mutated.iter().copied().map(Txid::from_byte_array));
            assert_eq!(same_root.map(Txid::to_byte_array), merkle_root(&mut leaves(honest)));
            assert_eq!(merkle_root(&mut mutated), None, "{honest} leaves, the last {repeated} repeated");
        }
    }
}
