//! The chain as the block files of a node.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use bitcoin::Block;
use bitcoin::consensus::serialize;
use btkn_indexer::chain::blk_file::XorKey;
use serde::{Deserialize, Serialize};

use super::{BenchChain, Options};
use crate::noise::Noise;

/// Core goes on to the next file before this length.
const MAX_FILE: u64 = 128 << 20;

/// Core allocates its files ahead in steps of this length.
const ALLOCATED_AHEAD: u64 = 16 << 20;

/// Blocks that wait for others to be written before them: a node gets blocks from many peers at once.
const IN_FLIGHT: usize = 24;

/// What is in a directory of block files; stands in its `facts.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The seed.
    pub seed: u64,
    /// Key of the entity, in hex.
    pub entity: String,
    /// Height of the last block.
    pub height: u32,
    /// Its hash, in hex.
    pub hash: String,
    /// Length of all blocks.
    pub bytes: u64,
    /// Height of the first block of traffic, which is the first block of a new file.
    pub traffic_from: u32,
    /// Length of the blocks from there on.
    pub traffic_bytes: u64,
    /// Files before it.
    pub files_before: u32,
    /// Files in all.
    pub files: u32,
    /// From where to start to watch how much.
    pub levels: Vec<Level>,
}

impl Facts {
    /// Whether they are those of a chain with these options and with this many bytes of traffic.
    pub fn is_of(&self, options: Options, bytes: u64) -> bool {
        let watched = self.levels.last().map_or(0, |level| level.watched as usize);
        let large_enough = (bytes..bytes + 10_000_000).contains(&self.traffic_bytes);
        self.seed == options.seed && watched == options.watched && large_enough
    }

    /// Of a directory that [`write`] has made; `None` if there is none yet.
    pub fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(dir.join("facts.json")).ok()?).ok()
    }
}

/// A height to start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// The first block to apply.
    pub start_height: u32,
    /// Outputs that are watched by the first block of traffic.
    pub watched: u32,
}

/// Writes block files with at least `bytes` of traffic into `<dir>/blocks`, as Bitcoin Core 28 and later
/// do, with `<dir>/facts.json` beside them. Replaces another such chain, and nothing else.
pub fn write(dir: &Path, options: Options, bytes: u64) -> Facts {
    if Facts::read(dir).is_some() {
        fs::remove_dir_all(dir).expect("the chain that is there can be removed");
    }
    let unfinished = dir.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).expect("what is left of an earlier run can be removed");
    }
    let facts = write_into(&unfinished, options, bytes);
    fs::rename(&unfinished, dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    facts
}

fn write_into(dir: &Path, options: Options, bytes: u64) -> Facts {
    let mut chain = BenchChain::new(options);
    let mut noise = Noise::new("order of blocks", options.seed);
    let blocks_dir = dir.join("blocks");
    fs::create_dir_all(&blocks_dir).expect("the directory can be made");
    let mut files = Files::new(blocks_dir, &mut noise);
    let mut facts = Facts {
        seed: options.seed,
        entity: chain.entity().to_string(),
        height: 0,
        hash: String::new(),
        bytes: 0,
        traffic_from: 0,
        traffic_bytes: 0,
        files_before: 0,
        files: 0,
        levels: Vec::new(),
    };
    let mut waiting: Vec<Vec<u8>> = Vec::new();
    // Outputs named up to each height of the second part.
    let mut named = Vec::new();
    for height in 0.. {
        let block = chain.mine();
        let record = record(&block);
        facts.bytes += record.len() as u64;
        if chain.traffic_from() == Some(height) {
            waiting.drain(..).for_each(|record| files.append(record));
            files.next();
            (facts.traffic_from, facts.files_before) = (height, files.number);
        }
        match chain.traffic_from() {
            Some(_) => facts.traffic_bytes += record.len() as u64,
            None => named.push(chain.named() as u32),
        }
        waiting.push(record);
        if height == 0 || waiting.len() > IN_FLIGHT {
            files.append(waiting.swap_remove(noise.below(waiting.len())));
        }
        if facts.traffic_bytes >= bytes {
            (facts.height, facts.hash) = (height, block.block_hash().to_string());
            break;
        }
    }
    waiting.drain(..).for_each(|record| files.append(record));
    facts.files = files.finish();
    facts.levels = levels(&named);
    let text = serde_json::to_vec_pretty(&facts).expect("facts are JSON");
    fs::write(dir.join("facts.json"), text).expect("the file can be written");
    facts
}

/// From where to start to watch nothing, about a tenth, and all.
fn levels(named: &[u32]) -> Vec<Level> {
    let all = *named.last().expect("there is a genesis block");
    let mut levels = vec![Level { start_height: named.len() as u32, watched: 0 }];
    for watched in [all / 10, all] {
        let below = all - watched;
        let last = named.iter().rposition(|named| *named <= below).expect("nothing is named at first");
        let level = Level { start_height: last as u32 + 1, watched: all - named[last] };
        levels.extend((watched > 0).then_some(level));
    }
    levels
}

/// A block as it stands in a file, before the key is applied.
fn record(block: &Block) -> Vec<u8> {
    let bytes = serialize(block);
    let len = u32::try_from(bytes.len()).expect("a block of less than 4 GiB");
    [&bitcoin::Network::Regtest.magic().to_bytes()[..], &len.to_le_bytes(), &bytes].concat()
}

struct Files {
    dir: PathBuf,
    key: XorKey,
    number: u32,
    file: BufWriter<File>,
    len: u64,
}

impl Files {
    fn new(dir: PathBuf, noise: &mut Noise) -> Self {
        let key = noise.array();
        fs::write(dir.join("xor.dat"), key).expect("the key can be written");
        let file = create(&dir, 0);
        Files { dir, key: XorKey::new(key), number: 0, file, len: 0 }
    }

    fn append(&mut self, mut record: Vec<u8>) {
        if self.len + record.len() as u64 > MAX_FILE {
            self.next();
        }
        self.key.apply(self.len, &mut record);
        self.file.write_all(&record).expect("the file can be written");
        self.len += record.len() as u64;
    }

    fn next(&mut self) {
        self.file.flush().expect("the file can be written");
        self.number += 1;
        self.file = create(&self.dir, self.number);
        self.len = 0;
    }

    /// Allocates the last file ahead, and returns how many there are.
    fn finish(mut self) -> u32 {
        self.file.flush().expect("the file can be written");
        let len = self.len.next_multiple_of(ALLOCATED_AHEAD);
        self.file.get_ref().set_len(len).expect("the file can be made longer");
        self.number + 1
    }
}

fn create(dir: &Path, number: u32) -> BufWriter<File> {
    let path = dir.join(format!("blk{number:05}.dat"));
    BufWriter::with_capacity(1 << 20, File::create(path).expect("the file can be made"))
}
