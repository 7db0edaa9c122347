//! What each way to verify blocks lets through, and what none of them does.

use bitcoin::Witness;
use bitcoin::hashes::Hash;

use super::super::{BlockFault, Scanner, VerifyBlocks};
use super::*;
use crate::protocol::Network;
use crate::protocol::envelope::{EnvelopeKind, reveal_script};

use VerifyBlocks::{Full, Merkle, None};

/// A block whose third transaction shows this script in its witness, with proof of work.
fn block(script: &[u8]) -> Block {
    let mut txs: Vec<_> = (0..4).map(plain_tx).collect();
    txs[1].input[0].witness = Witness::from_slice(&[script, &[0xc0; 33]]);
    let mut block = assemble(0, BlockHash::all_zeros(), txs);
    while block.header.validate_pow(block.header.target()).is_err() {
        block.header.nonce += 1;
    }
    block
}

fn message() -> Vec<u8> {
    reveal_script(EnvelopeKind::Chunk, &[1, 2, 3], Option::None).into_bytes()
}

fn scan(verify: VerifyBlocks, hash: BlockHash, bytes: &[u8]) -> Result<BlockMessages, BlockFault> {
    Scanner::new(verify, Network::Regtest).scan_all(&[RawBlock { hash, bytes }], &WatchSet::new()).remove(0)
}

/// Which ways find fault with the changed bytes of a block.
fn refused_by(block: &Block, change: impl Fn(&mut Vec<u8>)) -> Vec<VerifyBlocks> {
    let mut bytes = encode::serialize(block);
    change(&mut bytes);
    let refuses = |verify: &VerifyBlocks| scan(*verify, block.block_hash(), &bytes).is_err();
    [None, Merkle, Full].into_iter().filter(refuses).collect()
}

/// Flips a bit of the first place where these bytes stand.
fn flip(bytes: &mut [u8], needle: &[u8]) {
    let place = memchr::memmem::find(bytes, needle).expect("it is there");
    bytes[place] ^= 1;
}

#[test]
fn every_way_takes_a_sound_block_for_the_same() {
    let block = block(&message());
    let bytes = encode::serialize(&block);
    let [none, merkle, full] =
        [None, Merkle, Full].map(|verify| scan(verify, block.block_hash(), &bytes).unwrap());
    assert_eq!(none.txs.len(), 1);
    assert!(none == merkle && merkle == full);
}

#[test]
fn what_each_way_proves() {
    let quiet = block(b"nothing of ours");
    let last = |bytes: &mut Vec<u8>| bytes.last_mut().into_iter().for_each(|byte| *byte ^= 1);
    assert_eq!(refused_by(&quiet, last), [Merkle, Full], "a lock time");
    assert_eq!(refused_by(&quiet, |bytes| flip(bytes, b"nothing")), [Full], "a witness without a message");
    assert_eq!(refused_by(&quiet, |bytes| bytes[4] ^= 1), [None, Merkle, Full], "the header");
    assert_eq!(refused_by(&quiet, |bytes| bytes.truncate(bytes.len() - 1)), [None, Merkle, Full], "the end");
    assert_eq!(refused_by(&quiet, |_| {}), [], "nothing");
}

#[test]
fn no_flipped_bit_hides_a_message_or_changes_it() {
    let block = block(&message());
    let bytes = encode::serialize(&block);
    let start = memchr::memmem::find(&bytes, &message()).unwrap();
    for bit in start * 8..(start + message().len()) * 8 {
        let ways = refused_by(&block, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        assert_eq!(ways, [None, Merkle, Full], "bit {} of the script", bit - start * 8);
    }
}

#[test]
fn proof_of_work_is_asked_for_and_must_be_one_of_the_network() {
    let sound = block(b"x");
    let scan_as = |header: bitcoin::block::Header, verify, network| {
        let block = Block { header, ..sound.clone() };
        let (hash, bytes) = (block.block_hash(), encode::serialize(&block));
        let raw = [RawBlock { hash, bytes: &bytes }];
        Scanner::new(verify, network).scan_all(&raw, &WatchSet::new()).remove(0)
    };
    let mut idle = sound.header;
    while idle.validate_pow(idle.target()).is_ok() {
        idle.nonce += 1;
    }
    for verify in [Merkle, Full] {
        assert!(scan_as(sound.header, verify, Network::Regtest).is_ok());
        for (header, network) in [(idle, Network::Regtest), (sound.header, Network::Mainnet)] {
            let fault = scan_as(header, verify, network).unwrap_err();
            assert_eq!(fault, BlockFault::ProofOfWork { block: header.block_hash() });
        }
    }
    assert!(scan_as(idle, None, Network::Regtest).is_ok());
}
