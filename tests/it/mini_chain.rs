//! A regtest chain of a few blocks, made without a node and written as Bitcoin Core writes block files.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::serialize;
use bitcoin::constants::genesis_block;
use bitcoin::{
    Amount as Bitcoins, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, transaction,
};
use btkn_indexer::protocol::announcement::TokenAnnouncement;
use btkn_indexer::protocol::token::TokenMetadata;
use btkn_indexer::protocol::{Amount, PubKey};

/// The height of the block whose coinbase announces [`token`].
pub const TOKEN_HEIGHT: u32 = 3;

/// The token that the chain announces.
pub fn token() -> TokenMetadata {
    TokenMetadata {
        issuer: PubKey::BURN,
        name: "Mini".into(),
        ticker: "MIN".into(),
        decimals: 2,
        max_supply: Amount(0),
        freezable: false,
    }
}

/// Blocks 0 to `height`.
pub fn blocks(height: u32) -> Vec<Block> {
    let mut blocks = vec![genesis_block(bitcoin::Network::Regtest)];
    for height in 1..=height {
        let parent = &blocks[blocks.len() - 1];
        blocks.push(mine(parent, height, 0));
    }
    blocks
}

/// Blocks on top of `parent`, which is block `above`, up to `height`; other ones for each `salt`.
pub fn branch(parent: &Block, above: u32, height: u32, salt: i64) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for height in above + 1..=height {
        blocks.push(mine(blocks.last().unwrap_or(parent), height, salt));
    }
    blocks
}

fn mine(parent: &Block, height: u32, salt: i64) -> Block {
    let mut output = vec![TxOut { value: Bitcoins::from_sat(50), script_pubkey: ScriptBuf::new() }];
    if height == TOKEN_HEIGHT {
        let script_pubkey = TokenAnnouncement { metadata: token() }.script();
        output.push(TxOut { value: Bitcoins::ZERO, script_pubkey });
    }
    let coinbase = Transaction {
        version: transaction::Version::ONE,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: ScriptBuf::builder().push_int(i64::from(height)).push_int(salt).into_script(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output,
    };
    let header = Header {
        version: Version::from_consensus(4),
        prev_blockhash: parent.block_hash(),
        merkle_root: coinbase.compute_txid().to_raw_hash().into(),
        time: parent.header.time + 600,
        bits: parent.header.bits,
        nonce: 0,
    };
    let mut block = Block { header, txdata: vec![coinbase] };
    while block.header.validate_pow(block.header.target()).is_err() {
        block.header.nonce += 1;
    }
    block
}

/// Writes blocks into `<dir>/blocks/blk00000.dat` and returns that `blocks` directory.
pub fn write(dir: &Path, blocks: &[Block]) -> PathBuf {
    let blocks_dir = dir.join("blocks");
    std::fs::create_dir_all(&blocks_dir).unwrap();
    append(&blocks_dir, blocks);
    blocks_dir
}

/// Appends blocks to `blk00000.dat`.
pub fn append(blocks_dir: &Path, blocks: &[Block]) {
    let path = blocks_dir.join("blk00000.dat");
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    for block in blocks {
        let mut record = bitcoin::Network::Regtest.magic().to_bytes().to_vec();
        let bytes = serialize(block);
        record.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
        record.extend_from_slice(&bytes);
        file.write_all(&record).unwrap();
    }
}
