//! Merkle trees of a block, as consensus defines them.

use bitcoin::consensus::encode;
use bitcoin::hashes::{Hash, HashEngine, sha256d};
use bitcoin_slices::{Visit, Visitor, bsl};

/// Root over txids or wtxids, in internal byte order. `None` for no leaves at all and for a tree
/// whose last nodes repeat those before them: such a block has the root of a shorter one
/// (CVE-2012-2459), so the root says nothing about it. Uses `hashes` as its work space.
pub(super) fn merkle_root(hashes: &mut Vec<[u8; 32]>) -> Option<[u8; 32]> {
    while hashes.len() > 1 {
        if hashes.chunks_exact(2).any(|pair| pair[0] == pair[1]) {
            return None;
        }
        let parents = hashes.len().div_ceil(2);
        for i in 0..parents {
            let left = hashes[2 * i];
            let right = hashes.get(2 * i + 1).copied().unwrap_or(left);
            hashes[i] = double_sha256(&[&left, &right]);
        }
        hashes.truncate(parents);
    }
    hashes.first().copied()
}

/// Whether the witnesses of a block that decodes are those that its coinbase commits to.
///
/// A block without a commitment must not have any witness: to be asked only about blocks that have.
pub(super) fn witness_commitment_holds(raw: &[u8]) -> bool {
    let mut leaves = WitnessLeaves { hashes: Vec::new(), coinbase: None };
    if bsl::Block::visit(raw, &mut leaves).is_err() {
        return false;
    }
    let Some((committed, reserved)) = leaves.coinbase.and_then(commitment) else { return false };
    let Some(root) = merkle_root(&mut leaves.hashes) else { return false };
    double_sha256(&[&root, &reserved]) == committed
}

/// What the script of an output that commits to witnesses begins with; 32 bytes follow.
const COMMITMENT: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

/// Whether the script of an output of a coinbase transaction commits to witnesses.
pub(super) fn is_commitment(script: &[u8]) -> bool {
    script.len() >= COMMITMENT.len() + 32 && script.starts_with(&COMMITMENT)
}

/// The commitment in a coinbase transaction and the reserved value in its witness.
fn commitment(coinbase: bitcoin::Transaction) -> Option<([u8; 32], [u8; 32])> {
    let scripts = coinbase.output.iter().rev().map(|output| output.script_pubkey.as_bytes());
    let committed =
        scripts.filter_map(|script| script.strip_prefix(&COMMITMENT)?.first_chunk::<32>()).next()?;
    let witness = &coinbase.input.first()?.witness;
    let reserved = witness.nth(0)?.try_into().ok()?;
    (witness.len() == 1).then_some((*committed, reserved))
}

/// Collects the leaves of the witness tree and the coinbase.
struct WitnessLeaves {
    hashes: Vec<[u8; 32]>,
    coinbase: Option<bitcoin::Transaction>,
}

impl Visitor for WitnessLeaves {
    fn visit_transaction(&mut self, tx: &bsl::Transaction<'_>) -> std::ops::ControlFlow<()> {
        if self.hashes.is_empty() {
            // The coinbase holds the commitment, so its own leaf is fixed at zero.
            self.coinbase = encode::deserialize(tx.as_ref()).ok();
            self.hashes.push([0; 32]);
        } else {
            self.hashes.push(double_sha256(&[tx.as_ref()]));
        }
        std::ops::ControlFlow::Continue(())
    }
}

fn double_sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut engine = sha256d::Hash::engine();
    for part in parts {
        engine.input(part);
    }
    sha256d::Hash::from_engine(engine).to_byte_array()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::Txid;
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
