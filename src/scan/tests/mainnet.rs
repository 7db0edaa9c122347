//! Blocks of mainnet: what the scanner finds in them is what decoding everything finds.

use bitcoin::consensus::encode;
use bitcoin::{Block, BlockHash};
use ord::ParsedEnvelope;

use super::{Chain, naive};
use crate::scan::{WatchSet, scan_batch};

/// See fixtures/mainnet/README.md.
fn block_951658() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/mainnet/951658.bin");
    std::fs::read(path).unwrap()
}

fn decode(bytes: &[u8]) -> Block {
    encode::deserialize(bytes).unwrap()
}

fn assert_scanned_as_decoded(bytes: Vec<u8>, watched: &WatchSet) -> usize {
    let hash: BlockHash = decode(&bytes).block_hash();
    let chain = Chain(vec![(hash, bytes)]);
    let scanned: Vec<_> = scan_batch(&chain.raw(), watched).into_iter().map(Result::unwrap).collect();
    assert_eq!(scanned, naive(&chain, watched));
    scanned.iter().flat_map(|block| &block.txs).map(|tx| tx.spends.len() + tx.envelopes.len()).sum()
}

#[test]
fn real_blocks_hold_nothing_for_us() {
    let blocks = [block_951658(), bitcoin_test_data::blocks::mainnet_702861().to_vec()];
    for (bytes, txs) in blocks.into_iter().zip([374, 2_500]) {
        assert_eq!(decode(&bytes).txdata.len(), txs);
        assert_eq!(assert_scanned_as_decoded(bytes, &WatchSet::new()), 0);
    }
}

#[test]
fn every_spend_in_a_real_block_is_found() {
    for bytes in [block_951658(), bitcoin_test_data::blocks::mainnet_702861().to_vec()] {
        let block = decode(&bytes);
        let spent = block.txdata.iter().skip(1).flat_map(|tx| &tx.input).map(|input| input.previous_output);
        // Every third, so that others stand beside them.
        let watched: WatchSet = spent.step_by(3).collect();
        assert_eq!(assert_scanned_as_decoded(bytes, &watched), watched.len());
    }
}

/// One of ours before each real inscription, in the same script: among other people's envelopes, and
/// whatever theirs look like, both find the same.
#[test]
fn a_message_before_each_real_inscription_is_found() {
    let mut block = decode(&block_951658());
    let inscriptions: usize = block.txdata.iter().map(|tx| ParsedEnvelope::from_transaction(tx).len()).sum();
    assert_eq!(inscriptions, 86);
    let mut marked = 0;
    for tx in &mut block.txdata {
        for input in &mut tx.input {
            let mut items = input.witness.to_vec();
            for item in &mut items {
                let Some(place) = memchr::memmem::find(item, b"\x00\x63\x03ord") else { continue };
                let ours =
                    b"\x00\x63\x03ord\x01\x01\x22application/vnd.btkn.manifest+cbor\x01\x07\x04btkn\x00\x03abc\x68";
                item.splice(place..place, ours.iter().copied());
                marked += 1;
            }
            input.witness = bitcoin::Witness::from_slice(&items);
        }
    }
    assert!(marked > 80, "{marked}");
    let txs = block.txdata.split_off(1);
    let mut chain = Chain::of(vec![txs]);
    let (_, bytes) = chain.0.remove(0);
    let found = assert_scanned_as_decoded(bytes, &WatchSet::new());
    assert_eq!(found, marked);
}
