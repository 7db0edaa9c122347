//! The scanner against a naive one that decodes every block and runs every parser on every
//! transaction, on random chains full of messages, near misses and odd encodings.

mod faults;
mod generate;
mod hostile;
mod mainnet;
mod pipeline;
mod proofs;
mod vectors;

use std::collections::HashSet;

use bitcoin::consensus::encode;
use bitcoin::hashes::Hash;
use bitcoin::{Block, BlockHash, OutPoint, Transaction, block, transaction};
use proptest::prelude::*;

use super::messages::{BlockMessages, OutputContent, Spend, TxMessages};
use super::{RawBlock, WatchSet, named_outpoints, scan_batch};
use crate::protocol::envelope;
use crate::protocol::withdrawal_output::SpendPath;

/// Serialised blocks with their hashes.
struct Chain(Vec<(BlockHash, Vec<u8>)>);

impl Chain {
    /// Wraps transactions into blocks, each with a coinbase that commits to their witnesses.
    fn of(blocks: Vec<Vec<Transaction>>) -> Self {
        let mut prev_blockhash = BlockHash::all_zeros();
        let blocks = (0u32..).zip(blocks).map(|(height, txs)| {
            let block = assemble(height, prev_blockhash, txs);
            prev_blockhash = block.block_hash();
            (prev_blockhash, encode::serialize(&block))
        });
        Chain(blocks.collect())
    }

    fn raw(&self) -> Vec<RawBlock<'_>> {
        self.0.iter().map(|(hash, bytes)| RawBlock { hash: *hash, bytes }).collect()
    }
}

fn assemble(height: u32, prev_blockhash: BlockHash, mut txs: Vec<Transaction>) -> Block {
    txs.insert(0, generate::coinbase(height));
    let mut block = Block {
        header: block::Header {
            version: block::Version::TWO,
            prev_blockhash,
            merkle_root: bitcoin::TxMerkleNode::all_zeros(),
            time: 1_700_000_000 + height,
            bits: bitcoin::CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        },
        txdata: txs,
    };
    let root = block.witness_root().unwrap();
    let commitment = Block::compute_witness_commitment(&root, &[0; 32]);
    let script = &mut block.txdata[0].output[1].script_pubkey;
    let mut bytes = vec![0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
    bytes.extend_from_slice(commitment.as_byte_array());
    *script = bitcoin::ScriptBuf::from_bytes(bytes);
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    block
}

/// One block after the other, everything decoded, the watch set always up to date.
fn naive(chain: &Chain, watched: &WatchSet) -> Vec<BlockMessages> {
    let mut watched: HashSet<OutPoint> = watched.iter().copied().collect();
    let block = |(_, bytes): &(BlockHash, Vec<u8>)| {
        let block: Block = encode::deserialize(bytes).unwrap();
        let txs = (0u32..).zip(&block.txdata).filter_map(|(index, tx)| naive_tx(tx, index, &mut watched));
        BlockMessages {
            hash: block.block_hash(),
            prev_hash: block.header.prev_blockhash,
            time: block.header.time,
            txs: txs.collect(),
        }
    };
    chain.0.iter().map(block).collect()
}

fn naive_tx(tx: &Transaction, index: u32, watched: &mut HashSet<OutPoint>) -> Option<TxMessages> {
    let txid = tx.compute_txid();
    let spends = (0u32..).zip(&tx.input).filter(|(_, input)| watched.contains(&input.previous_output)).map(
        |(index, input)| Spend {
            input: index,
            outpoint: input.previous_output,
            path: SpendPath::of_witness(&input.witness),
        },
    );
    let spends: Vec<_> = spends.collect();
    let outputs = super::transaction::outputs(tx);
    for output in &outputs {
        if let OutputContent::Withdrawal { announcement, .. } = &output.content {
            let vouts = announcement.records.iter().map(|record| u32::from(record.bitcoin_vout));
            watched.extend(vouts.map(|vout| OutPoint { txid, vout }));
        }
    }
    let envelopes = envelope::messages_by_ord(tx);
    let silent = spends.is_empty() && envelopes.is_empty() && outputs.is_empty();
    (!silent).then_some(TxMessages { index, txid, spends, envelopes, outputs })
}

fn good(results: Vec<Result<BlockMessages, super::BlockFault>>) -> Vec<BlockMessages> {
    results.into_iter().map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn scanning_equals_decoding_everything(plan in generate::plan(), cut in 1usize..5) {
        let (chain, watched) = generate::chain(&plan);
        let expected = naive(&chain, &watched);
        prop_assert_eq!(&good(scan_batch(&chain.raw(), &watched)), &expected, "in one batch");

        let mut known = watched;
        let mut cut_up = Vec::new();
        for batch in chain.raw().chunks(cut) {
            let scanned = good(scan_batch(batch, &known));
            known.extend(scanned.iter().flat_map(named_outpoints));
            cut_up.extend(scanned);
        }
        prop_assert_eq!(&cut_up, &expected, "in batches of {}", cut);
    }
}

/// The random chains hold what they are meant to hold; otherwise equality would say little.
#[test]
fn the_random_chains_hold_messages_of_every_kind() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let (chain, watched) = generate::chain(&generate::plan().new_tree(&mut runner).unwrap().current());
        for tx in naive(&chain, &watched).iter().flat_map(|block| &block.txs) {
            seen.extend(tx.envelopes.iter().map(|found| match (found.kind, found.input, found.envelope) {
                (envelope::EnvelopeKind::Manifest, ..) => "manifest",
                (_, 0, 0) => "chunk",
                (_, _, 0) => "chunk in a later input",
                _ => "chunk in a later envelope",
            }));
            seen.extend(tx.spends.iter().map(|spend| {
                match (watched.contains(&spend.outpoint), spend.path) {
                    (true, _) => "spend of an output watched before",
                    (false, SpendPath::Key) => "key path spend of an output named in the batch",
                    (false, SpendPath::Script) => "script path spend of an output named in the batch",
                }
            }));
            seen.extend(tx.outputs.iter().map(|output| match output.content {
                OutputContent::Token(_) => "token",
                OutputContent::Withdrawal { .. } => "withdrawal",
                OutputContent::Legacy(_) => "legacy",
                OutputContent::Malformed { .. } => "malformed",
            }));
        }
    }
    assert_eq!(seen.len(), 11, "{seen:?}");
}

/// A transaction with nothing in it that matters.
fn plain_tx(n: u32) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::from_consensus(n),
        input: vec![bitcoin::TxIn {
            previous_output: OutPoint { txid: bitcoin::Txid::hash(&n.to_le_bytes()), vout: 0 },
            ..Default::default()
        }],
        output: vec![bitcoin::TxOut { value: bitcoin::Amount::ONE_SAT, script_pubkey: Default::default() }],
    }
}
