//! Regtest blocks made without a node: right in everything that the indexer checks (proof of work,
//! linkage, Merkle root, witness commitment) and in nothing else. No script was run, no coin exists.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash;
use bitcoin::{
    Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Witness,
    transaction,
};

/// Weight that [`mine_on`] adds to that of the transactions it is given, at most, as long as it is given
/// no outputs for the coinbase.
pub const OVERHEAD: usize = 2_000;

/// Mines a block with these transactions on top of `parent`, ten minutes later; `outputs` are further
/// outputs of its coinbase.
pub fn mine_on(parent: &Header, height: u32, outputs: Vec<TxOut>, txs: Vec<Transaction>) -> Block {
    mine_at(parent, parent.time + 600, height, outputs, txs)
}

/// The same with another time, in Unix seconds.
pub(crate) fn mine_at(
    parent: &Header,
    time: u32,
    height: u32,
    outputs: Vec<TxOut>,
    mut txs: Vec<Transaction>,
) -> Block {
    txs.insert(0, coinbase(height, outputs));
    let mut block = Block {
        header: Header {
            version: Version::from_consensus(4),
            prev_blockhash: parent.block_hash(),
            merkle_root: TxMerkleNode::all_zeros(),
            time,
            bits: parent.bits,
            nonce: 0,
        },
        txdata: txs,
    };
    let root = block.witness_root().expect("there is a coinbase");
    let commitment = Block::compute_witness_commitment(&root, &RESERVED);
    let script = [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], commitment.as_byte_array()].concat();
    let output = TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(script) };
    block.txdata[0].output.push(output);
    block.header.merkle_root = block.compute_merkle_root().expect("there is a coinbase");
    while block.header.validate_pow(block.header.target()).is_err() {
        block.header.nonce += 1;
    }
    block
}

/// The reserved value in the witness of the coinbase.
const RESERVED: [u8; 32] = [0; 32];

fn coinbase(height: u32, outputs: Vec<TxOut>) -> Transaction {
    let mut output = vec![TxOut { value: Amount::from_sat(50), script_pubkey: ScriptBuf::new() }];
    output.extend(outputs);
    Transaction {
        version: transaction::Version::ONE,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: ScriptBuf::builder().push_int(i64::from(height)).push_int(0).into_script(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[RESERVED]),
        }],
        output,
    }
}

/// Writes blocks into `<dir>/blocks/blk00000.dat`, as Bitcoin Core does, and returns that `blocks`
/// directory.
pub fn write_blocks(dir: &Path, blocks: &[Block]) -> PathBuf {
    let blocks_dir = dir.join("blocks");
    std::fs::create_dir_all(&blocks_dir).expect("the directory can be made");
    append_blocks(&blocks_dir, blocks);
    blocks_dir
}

/// Appends blocks to `blk00000.dat`.
pub fn append_blocks(blocks_dir: &Path, blocks: &[Block]) {
    let path = blocks_dir.join("blk00000.dat");
    let file = OpenOptions::new().create(true).append(true).open(path).expect("the file can be opened");
    let mut file = BufWriter::new(file);
    for block in blocks {
        let bytes = serialize(block);
        let len = u32::try_from(bytes.len()).expect("a block of less than 4 GiB");
        let record = [&bitcoin::Network::Regtest.magic().to_bytes()[..], &len.to_le_bytes(), &bytes];
        record.iter().try_for_each(|part| file.write_all(part)).expect("the file can be written");
    }
    file.flush().expect("the file can be written");
}
