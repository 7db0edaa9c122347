//! Sources against block files written here and a node that is made up.

mod files;
mod node;
mod node_with_files;
mod positions;

use std::fs;
use std::path::{Path, PathBuf};

use bitcoin::blockdata::constants::genesis_block;
use bitcoin::consensus::encode;
use bitcoin::{
    Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, absolute, transaction,
};
use tempfile::TempDir;

use super::blk_file::XorKey;
use super::{BlockId, SourceError};
use crate::protocol::{Height, Network};

/// A key as a node might draw it.
const KEY: [u8; 8] = [0x13, 0x37, 0xc0, 0xde, 0x00, 0xff, 0x42, 0x99];

fn genesis() -> Block {
    genesis_block(Network::Regtest.to_bitcoin())
}

/// A block on top of another, told from its siblings by a number; its proof of work is real.
fn mine(parent: &Block, number: u32) -> Block {
    let mut block = parent.clone();
    block.header.prev_blockhash = parent.block_hash();
    block.header.time += 1;
    block.txdata = vec![coinbase(number)];
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    while block.header.validate_pow(block.header.target()).is_err() {
        block.header.nonce = block.header.nonce.wrapping_add(1);
    }
    block
}

/// The genesis block and `length` blocks on top of it.
fn mine_chain(length: u32) -> Vec<Block> {
    let mut blocks = vec![genesis()];
    for number in 0..length {
        blocks.push(mine(&blocks[blocks.len() - 1], number));
    }
    blocks
}

fn coinbase(number: u32) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        // Ends the block, and not in zeros: those of allocated space must not complete it.
        lock_time: absolute::LockTime::from_consensus(u32::MAX),
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            // Long, so that there is something to cut off.
            script_sig: ScriptBuf::from_bytes([number.to_le_bytes(); 25].concat()),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new() }],
    }
}

fn record(block: &Block) -> Vec<u8> {
    record_of(Network::Regtest, block)
}

fn record_of(network: Network, block: &Block) -> Vec<u8> {
    let bytes = encode::serialize(block);
    let magic = network.to_bitcoin().magic().to_bytes();
    [&magic[..], &(bytes.len() as u32).to_le_bytes(), &bytes].concat()
}

/// Identifies the blocks of a branch by their heights on it.
fn ids(blocks: &[Block]) -> Vec<BlockId> {
    let heights = (0..).map(Height);
    heights.zip(blocks).map(|(height, block)| BlockId { height, hash: block.block_hash() }).collect()
}

/// Block files in a directory of their own.
struct Disk {
    dir: TempDir,
    key: XorKey,
}

impl Disk {
    /// An empty directory, with `xor.dat` if there is a key.
    fn new(key: Option<[u8; 8]>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        if let Some(key) = key {
            fs::write(dir.path().join("xor.dat"), key).unwrap();
        }
        Disk { dir, key: key.map(XorKey::new).unwrap_or_default() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn file(&self, number: u32) -> PathBuf {
        self.path().join(format!("blk{number:05}.dat"))
    }

    /// Replaces a file.
    fn write(&self, number: u32, content: &[u8]) {
        let mut content = content.to_vec();
        self.key.apply(0, &mut content);
        fs::write(self.file(number), content).unwrap();
    }

    /// Writes into a file, which grows if need be.
    fn write_at(&self, number: u32, offset: usize, content: &[u8]) {
        let mut file = fs::read(self.file(number)).unwrap_or_default();
        let mut content = content.to_vec();
        self.key.apply(offset as u64, &mut content);
        file.resize(file.len().max(offset + content.len()), 0);
        file[offset..offset + content.len()].copy_from_slice(&content);
        fs::write(self.file(number), file).unwrap();
    }

    /// Appends zeros as they are on the disk when space was allocated ahead: not XORed.
    fn allocate(&self, number: u32, zeros: usize) {
        let mut file = fs::read(self.file(number)).unwrap_or_default();
        file.resize(file.len() + zeros, 0);
        fs::write(self.file(number), file).unwrap();
    }
}

/// Whether an error may pass by itself, and what it says.
fn told(error: SourceError) -> (&'static str, String) {
    match error {
        SourceError::Retry(text) => ("retry", text),
        SourceError::Fatal(text) => ("fatal", text),
    }
}
