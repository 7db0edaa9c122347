//! Blocks that must be refused, by name.

use bitcoin::Witness;
use bitcoin::hashes::Hash;

use super::super::BlockFault;
use super::*;
use crate::protocol::envelope::{EnvelopeKind, reveal_script};

/// A block with five transactions, the last of which reveals a message.
fn block() -> Block {
    let mut txs: Vec<_> = (0..4).map(plain_tx).collect();
    let script = reveal_script(EnvelopeKind::Chunk, &[1, 2, 3], None);
    txs[3].input[0].witness = Witness::from_slice(&[script.as_bytes(), &[0xc0; 33]]);
    assemble(0, BlockHash::all_zeros(), txs)
}

fn scan(hash: BlockHash, bytes: &[u8]) -> Result<BlockMessages, BlockFault> {
    let mut results = scan_batch(&[RawBlock { hash, bytes }], &WatchSet::new());
    assert_eq!(results.len(), 1);
    results.remove(0)
}

fn strip(block: &mut Block) {
    block.txdata.iter_mut().flat_map(|tx| &mut tx.input).for_each(|input| input.witness.clear());
}

fn strip_but_coinbase(block: &mut Block) {
    let coinbase = block.txdata[0].clone();
    strip(block);
    block.txdata[0] = coinbase;
}

#[test]
fn miners_who_made_ready_for_segwit_committed_to_witnesses_that_no_block_had() {
    let mut block = block();
    strip(&mut block);
    for (time, fine) in [(1_480_000_000, true), (1_504_223_999, true), (1_504_224_000, false)] {
        block.header.time = time;
        let scanned = scan(block.block_hash(), &encode::serialize(&block));
        assert_eq!(scanned.is_ok(), fine, "{time}: {scanned:?}");
    }
    // Without a commitment there is nothing to miss.
    block.txdata[0].output.truncate(1);
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    assert!(scan(block.block_hash(), &encode::serialize(&block)).is_ok());
}

#[test]
fn the_block_itself_is_fine() {
    let block = block();
    let messages = scan(block.block_hash(), &encode::serialize(&block)).unwrap();
    assert_eq!(messages.txs.len(), 1);
    assert_eq!((messages.txs[0].index, messages.txs[0].envelopes[0].body.as_slice()), (4, &[1u8, 2, 3][..]));
}

#[test]
fn refused_blocks() {
    let hash = block().block_hash();
    let intact = encode::serialize(&block());
    let changed = |change: &dyn Fn(&mut Block)| {
        let mut block = block();
        change(&mut block);
        encode::serialize(&block)
    };
    let last_value = intact.len() - 1;
    let undecodable = |part: &str| format!("does not decode: {part}");
    let merkle = "do not match the Merkle root".to_owned();
    let witness = "witnesses do not match".to_owned();
    let stripped = changed(&|block| strip(block));
    let cases: Vec<(&str, Vec<u8>, String)> = vec![
        ("no witness at all", stripped, "came without its witnesses".to_owned()),
        ("the coinbase's witness alone", changed(&|block| strip_but_coinbase(block)), witness.clone()),
        ("empty", vec![], undecodable("0 bytes are too few")),
        ("half a header", intact[..40].to_vec(), undecodable("40 bytes are too few")),
        ("a header alone", intact[..80].to_vec(), undecodable("transaction 0, at byte 0")),
        ("cut short", intact[..last_value].to_vec(), undecodable("transaction 4, at byte ")),
        ("a byte too many", [&intact[..], &[0]].concat(), undecodable("1 bytes after the last")),
        ("another header", changed(&|block| block.header.nonce ^= 1), "hashes to".to_owned()),
        ("no transactions", [&intact[..80], &[0]].concat(), merkle.clone()),
        ("another value", changed(&|block| block.txdata[2].output[0].value *= 2), merkle.clone()),
        ("a transaction less", changed(&|block| drop(block.txdata.pop())), merkle.clone()),
        ("two swapped", changed(&|block| block.txdata.swap(1, 2)), merkle.clone()),
        // Five leaves and the fifth once more have the root of five.
        ("the last one twice", changed(&|block| block.txdata.push(block.txdata[4].clone())), merkle),
        (
            "another body",
            changed(&|block| {
                let script = reveal_script(EnvelopeKind::Chunk, &[1, 2, 4], None);
                block.txdata[4].input[0].witness = Witness::from_slice(&[script.as_bytes(), &[0xc0; 33]]);
            }),
            witness.clone(),
        ),
        (
            "a message added to another transaction",
            changed(&|block| block.txdata[1].input[0].witness = block.txdata[4].input[0].witness.clone()),
            witness.clone(),
        ),
        (
            "a message made unreadable",
            changed(&|block| {
                let script = reveal_script(EnvelopeKind::Chunk, &[1, 2, 3], None).into_bytes();
                let script: Vec<u8> = script.iter().map(|&b| if b == b'k' { b'l' } else { b }).collect();
                block.txdata[4].input[0].witness = Witness::from_slice(&[&script[..], &[0xc0; 33]]);
            }),
            witness.clone(),
        ),
        (
            "no reserved value",
            changed(&|block| block.txdata[0].input[0].witness = Witness::from_slice(&[[1u8; 32]])),
            witness,
        ),
    ];
    for (name, bytes, reason) in cases {
        let error = scan(hash, &bytes).expect_err(name).to_string();
        assert!(error.contains(&reason) && error.contains(&hash.to_string()), "{name}: {error}");
    }
}

#[test]
fn the_witness_of_a_spend_is_proven_too() {
    let mut txs = vec![plain_tx(1)];
    txs[0].input[0].witness = Witness::from_slice(&[[0xab; 64]]);
    let watched: WatchSet = [txs[0].input[0].previous_output].into_iter().collect();
    let mut block = assemble(0, BlockHash::all_zeros(), txs);
    let hash = block.block_hash();
    let scan = |bytes: &[u8]| scan_batch(&[RawBlock { hash, bytes }], &watched).remove(0);

    let spend = scan(&encode::serialize(&block)).unwrap().txs[0].spends[0];
    assert_eq!(spend.path, SpendPath::Key);
    block.txdata[1].input[0].witness = Witness::from_slice(&[[0xab; 64]; 3]);
    assert_eq!(scan(&encode::serialize(&block)), Err(BlockFault::WitnessCommitment { block: hash }));
}

#[test]
fn a_fault_leaves_other_blocks_of_the_batch_alone() {
    let chain = Chain::of((0..3).map(|n| vec![plain_tx(n)]).collect());
    let mut raw = chain.raw();
    raw[1].bytes = &raw[1].bytes[..100];
    let results = scan_batch(&raw, &WatchSet::new());
    assert!(results[0].is_ok() && results[1].is_err() && results[2].is_ok());
}
