//! Whole blocks: the scanner, which walks over the bytes, against a full decode.

use std::collections::BTreeSet;

use bitcoin::block::Header;
use bitcoin::consensus::encode;
use bitcoin::hashes::Hash;
use bitcoin::{Block, BlockHash, OutPoint, Transaction, Witness};
use btkn_indexer::scan::{BlockFault, BlockMessages, RawBlock, WatchSet, named_outpoints, scan_batch};

use super::reference;
use crate::mined::mine_on;

/// The input is a block. Spends of every second input's outpoint are watched.
///
/// Laws: the scanner calls bytes undecodable exactly where the `bitcoin` crate does, refuses a block
/// exactly if its Merkle root or its witness commitment is wrong, and otherwise reports what a full decode
/// gives. Since a random change breaks the commitments, the same transactions are also put into a block
/// that commits to them, which must be accepted, followed by one that spends what they announce.
pub fn block(data: &[u8]) {
    let hash = data.get(..80).and_then(|bytes| encode::deserialize::<Header>(bytes).ok());
    let hash = hash.map_or(BlockHash::all_zeros(), |header| header.block_hash());
    let decoded = encode::deserialize::<Block>(data);
    let watched = decoded.as_ref().map(watched).unwrap_or_default();
    let set: WatchSet = watched.iter().copied().collect();
    let scanned = scan_batch(&[RawBlock { hash, bytes: data }], &set).remove(0);
    match &decoded {
        Ok(block) => check_verdict(block, &watched, &scanned),
        Err(error) => {
            assert!(
                matches!(scanned, Err(BlockFault::Undecodable { .. })),
                "not decodable ({error}), but the scanner says {scanned:?}"
            );
        }
    }
    if let Ok(block) = decoded {
        check_repaired(block.txdata, watched);
    }
}

/// Whether no transaction spends itself or one after it. In a valid block none does, and the scanner,
/// which looks for spends of what a block names in the whole block, makes use of that.
fn is_in_order(txs: &[Transaction]) -> bool {
    let mut later = BTreeSet::new();
    txs.iter().rev().all(|tx| {
        later.insert(tx.compute_txid());
        tx.input.iter().all(|input| !later.contains(&input.previous_output.txid))
    })
}

/// The outpoint of every second input.
fn watched(block: &Block) -> BTreeSet<OutPoint> {
    let inputs = block.txdata.iter().flat_map(|tx| &tx.input);
    inputs.step_by(2).map(|input| input.previous_output).collect()
}

/// Compares a verdict with what a full decode says.
fn check_verdict(block: &Block, watched: &BTreeSet<OutPoint>, scanned: &Result<BlockMessages, BlockFault>) {
    let repeated = has_repeated(&block.txdata);
    let expected = reference::messages(block, &mut watched.clone());
    let has_witness = block.txdata.iter().any(|tx| tx.input.iter().any(|input| !input.witness.is_empty()));
    let spends = expected.txs.iter().any(|tx| !tx.spends.is_empty());
    match scanned {
        // Equal subtrees are refused, whatever the root says; they take equal transactions.
        Err(BlockFault::MerkleRoot { .. }) => assert!(repeated || !block.check_merkle_root(), "sound root"),
        Err(BlockFault::WitnessCommitment { .. }) => {
            // A spend that matters shows a witness. Where one does not, witnesses were left out.
            let missing = spends && !has_witness;
            assert!(repeated || missing || !block.check_witness_commitment(), "sound commitment");
        }
        Err(BlockFault::NoWitnesses { .. }) => assert!(!has_witness, "there are witnesses"),
        Err(fault) => panic!("the block decodes, but the scanner says: {fault}"),
        Ok(found) => {
            assert!(block.check_merkle_root(), "the Merkle root is wrong");
            assert!(block.check_witness_commitment(), "the witness commitment is wrong");
            if is_in_order(&block.txdata) {
                assert_eq!(found, &expected, "a full decode gives others");
            }
        }
    }
}

/// Puts the transactions into a sound block, adds one after it that spends what they name, and expects
/// what a full decode gives.
fn check_repaired(mut txs: Vec<Transaction>, watched: BTreeSet<OutPoint>) {
    // What is left out is in no valid block: a second coinbase, transactions without inputs, repeated ones.
    let mut seen = BTreeSet::new();
    txs.retain(|tx| !tx.input.is_empty() && !tx.is_coinbase() && seen.insert(tx.compute_txid()));
    if !is_in_order(&txs) {
        return;
    }
    let first = reference::block_of(txs);
    let set: WatchSet = watched.iter().copied().collect();
    let bytes = encode::serialize(&first);
    let alone = scan_batch(&[RawBlock { hash: first.block_hash(), bytes: &bytes }], &set).remove(0);
    let alone = alone.expect("the block is sound");
    let spender = spender(&alone);
    let second = mine_on(&first.header, 2, Vec::new(), spender.into_iter().collect());
    let second_bytes = encode::serialize(&second);
    let batch = [
        RawBlock { hash: first.block_hash(), bytes: &bytes },
        RawBlock { hash: second.block_hash(), bytes: &second_bytes },
    ];
    let scanned: Vec<BlockMessages> =
        scan_batch(&batch, &set).into_iter().map(|result| result.expect("the block is sound")).collect();
    let mut watched = watched;
    let expected = [reference::messages(&first, &mut watched), reference::messages(&second, &mut watched)];
    assert_eq!(scanned, expected, "a full decode gives others");
}

/// A transaction that spends the outputs that a block names.
fn spender(block: &BlockMessages) -> Option<Transaction> {
    let mut tx = reference::transaction_of(Witness::from_slice(&[[1; 64]]), Vec::new());
    let input = tx.input.pop()?;
    let named: BTreeSet<OutPoint> = named_outpoints(block).collect();
    tx.input =
        named.into_iter().map(|previous_output| bitcoin::TxIn { previous_output, ..input.clone() }).collect();
    (!tx.input.is_empty()).then_some(tx)
}

fn has_repeated(txs: &[Transaction]) -> bool {
    let ids: BTreeSet<_> = txs.iter().map(Transaction::compute_txid).collect();
    ids.len() < txs.len()
}
