//! The chain of a self-test: that of `fixtures/regtest`, which is part of the program, with branches of
//! empty blocks that win for a while.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::{
    Amount, Block, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, transaction,
};

use super::SelftestError;
use crate::chain::{BlockFiles, BlockId, Source, SourceError};
use crate::protocol::{self, Height};

/// Options of the chain, for `--config`; the blocks are in `blocks` beside the file.
pub(super) const CONFIG: &str = include_str!("../../fixtures/regtest/btkn.toml");

/// What `btkn dump` prints at the tip.
pub(super) const DUMP: &str = include_str!("../../fixtures/regtest/expected.json");

/// The block files, as Bitcoin Core wrote them.
const FILES: [(&str, &[u8]); 4] = [
    ("blk00000.dat", include_bytes!("../../fixtures/regtest/blocks/blk00000.dat")),
    ("blk00001.dat", include_bytes!("../../fixtures/regtest/blocks/blk00001.dat")),
    ("blk00002.dat", include_bytes!("../../fixtures/regtest/blocks/blk00002.dat")),
    ("xor.dat", include_bytes!("../../fixtures/regtest/blocks/xor.dat")),
];

/// Where messages begin: branches fork off above this block.
const FIRST_FORK: usize = 112;

/// How many blocks the branches replace, in turn.
const DEPTHS: [usize; 8] = [1, 2, 6, 1, 20, 3, 60, 10];

/// Serialised blocks that are added to the directory at once. After them another branch is the best, but
/// for the first time.
pub(super) struct Step {
    pub blocks: Vec<Vec<u8>>,
    /// Blocks that are taken back.
    pub undone: usize,
}

/// The steps of a chain with twice as many reorganisations as `rounds`. The last one ends at the tip of
/// the fixture.
pub(super) fn steps(scratch: &Path, rounds: usize) -> Result<Vec<Step>, SelftestError> {
    let chain = fixture(scratch)?;
    let mut steps = Vec::new();
    let (mut written, mut undone) = (0, 0);
    for round in 1..=rounds {
        let next = FIRST_FORK + (chain.len() - FIRST_FORK) * round / (rounds + 1);
        steps.push(Step { blocks: chain[written..next].to_vec(), undone });
        written = next;
        let depth = DEPTHS[round % DEPTHS.len()].min(next - FIRST_FORK);
        let fork = next - depth - 1;
        steps.push(Step { blocks: branch(&chain[fork], fork + 1, depth + 1), undone: depth });
        undone = depth + 1;
    }
    steps.push(Step { blocks: chain[written..].to_vec(), undone });
    Ok(steps)
}

/// The best chain in the files, from the genesis block on.
fn fixture(scratch: &Path) -> Result<Vec<Vec<u8>>, SelftestError> {
    let dir = scratch.join("fixture");
    let unusable = |e: io::Error| SelftestError::unusable(&dir, &e);
    std::fs::create_dir(&dir).map_err(unusable)?;
    for (name, bytes) in FILES {
        std::fs::write(dir.join(name), bytes).map_err(unusable)?;
    }
    let chain = read(&dir).map_err(|e| SelftestError::Chain(e.to_string()))?;
    std::fs::remove_dir_all(&dir).map_err(unusable)?;
    Ok(chain)
}

fn read(dir: &Path) -> Result<Vec<Vec<u8>>, SourceError> {
    let mut files = BlockFiles::open(dir, protocol::Network::Regtest)?;
    let tip = files.refresh()?;
    let hashes = files.hashes(Height(0), tip.height.0 as usize + 1)?;
    let mut chain = Vec::with_capacity(hashes.len());
    for (height, hash) in (0..).map(Height).zip(hashes) {
        let mut bytes = Vec::new();
        files.fetch(BlockId { height, hash }, &mut bytes)?;
        chain.push(bytes);
    }
    Ok(chain)
}

/// Empty blocks on top of a serialised one, the first of them at `height`.
fn branch(parent: &[u8], height: usize, count: usize) -> Vec<Vec<u8>> {
    let header = parent.get(..80).and_then(|bytes| deserialize::<Header>(bytes).ok());
    let mut parent = header.expect("blocks were checked when they were read");
    let mut blocks = Vec::with_capacity(count);
    for height in height..height + count {
        let block = empty_block(&parent, height);
        parent = block.header;
        blocks.push(serialize(&block));
    }
    blocks
}

/// A block with nothing but a coinbase, with the proof of work that regtest asks for.
fn empty_block(parent: &Header, height: usize) -> Block {
    let coinbase = Transaction {
        version: transaction::Version::ONE,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: ScriptBuf::builder().push_int(height as i64).push_int(0).into_script(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new() }],
    };
    let header = Header {
        version: Version::from_consensus(4),
        prev_blockhash: parent.block_hash(),
        merkle_root: coinbase.compute_txid().to_raw_hash().into(),
        time: parent.time + 1,
        bits: parent.bits,
        nonce: 0,
    };
    let mut block = Block { header, txdata: vec![coinbase] };
    while block.header.validate_pow(block.header.target()).is_err() {
        block.header.nonce += 1;
    }
    block
}

/// Appends blocks to the block file in `<dir>/blocks`.
pub(super) fn append(dir: &Path, blocks: &[Vec<u8>]) -> Result<(), SelftestError> {
    let dir = dir.join("blocks");
    let unusable = |e: io::Error| SelftestError::unusable(&dir, &e);
    std::fs::create_dir_all(&dir).map_err(unusable)?;
    let mut records = Vec::new();
    for block in blocks {
        let len = u32::try_from(block.len()).expect("blocks of the fixture are small");
        records.extend_from_slice(&Network::Regtest.magic().to_bytes());
        records.extend_from_slice(&len.to_le_bytes());
        records.extend_from_slice(block);
    }
    let file = OpenOptions::new().create(true).append(true).open(dir.join("blk00000.dat"));
    file.and_then(|mut file| file.write_all(&records)).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_makes_another_branch_the_best_one() {
        let dir = tempfile::tempdir().unwrap();
        let chain = fixture(dir.path()).unwrap();
        let tip_of = |block: &[u8]| deserialize::<Block>(block).unwrap().block_hash();
        for rounds in [1, 4, 12] {
            let place = tempfile::tempdir().unwrap();
            let (mut undone, mut height) = (0, 0);
            for step in steps(dir.path(), rounds).unwrap() {
                append(place.path(), &step.blocks).unwrap();
                let mut files =
                    BlockFiles::open(&place.path().join("blocks"), protocol::Network::Regtest).unwrap();
                let tip = files.refresh().unwrap();
                assert_eq!(tip.hash, tip_of(step.blocks.last().unwrap()), "{rounds} rounds, at {height}");
                assert!(tip.height.0 > height);
                height = tip.height.0;
                undone += usize::from(step.undone > 0);
            }
            assert_eq!(height as usize + 1, chain.len());
            assert_eq!(undone, 2 * rounds);
        }
    }
}
