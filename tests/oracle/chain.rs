//! A chain that grows and reorganises, in block files, with the state that the oracle has after each
//! block.
//!
//! The main chain is the fixture's, which holds every kind of message, byte for byte. Stale branches fork
//! off at any height: their transactions are a random choice of those that the main chain has further up,
//! in their order. A branch becomes the best one and loses again; the end is always the fixture's tip.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::{Amount, Block, BlockHash, ScriptBuf, Transaction, TxOut};
use btkn_indexer::chain::{BlockFiles, BlockId, Source};
use btkn_indexer::config::{Config, Options, Surroundings};
use btkn_indexer::ledger::Rules;
use btkn_indexer::protocol::{Height, Network};
use btkn_indexer::scan::{RawBlock, WatchSet, named_outpoints, scan_batch};
use btkn_testkit::{append_blocks, mine_on};

use super::random::Random;
use super::rules::{self, Oracle};

/// Blocks of the main chain from which a stale branch takes its transactions.
const BORROWED_FROM: usize = 40;

/// How far below the start height branches may part.
const BELOW_START: u32 = 3;

/// A block and what is known of it.
struct Known {
    height: u32,
    block: Block,
    after: Option<Rc<After>>,
}

/// After a block: the state, and the outputs whose spends matter from here on.
struct After {
    oracle: Oracle,
    watched: WatchSet,
}

/// How far down a branch parts from the main chain.
#[derive(Clone, Copy, Debug)]
pub enum Fork {
    Shallow,
    Deep,
}

/// The chain.
pub struct Chain {
    pub blocks_dir: PathBuf,
    pub rules: Rules,
    known: BTreeMap<BlockHash, Known>,
    /// The fixture, from the genesis block on.
    main: Vec<BlockHash>,
    /// Transactions of the fixture by height, without the coinbases.
    txs: Vec<Vec<Transaction>>,
    /// How many blocks of the fixture are written.
    written: usize,
    /// Tips of branches that forked off.
    stale: Vec<BlockHash>,
    best: BlockHash,
    /// Blocks of stale branches that were made; what makes each of them another one.
    made: u64,
}

pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/regtest").join(path)
}

/// What the fixture is followed with.
fn fixture_rules() -> Rules {
    let surroundings = Surroundings { variable: &|_| None };
    let anywhere = Options { data_dir: Some("unused".into()), ..Options::default() };
    let layers = surroundings.layers(anywhere, Some(&fixture("btkn.toml")));
    let config = Config::resolve(&layers.expect("the fixture's configuration"), &surroundings);
    config.expect("a valid configuration").rules
}

/// The blocks of the fixture, from the genesis block on.
fn fixture_blocks() -> Vec<Block> {
    let mut files = BlockFiles::open(&fixture("blocks"), Network::Regtest).expect("the fixture's blocks");
    let tip = files.refresh().expect("a best chain");
    let hashes = files.hashes(Height(0), tip.height.0 as usize + 1).expect("its hashes");
    let fetch = |(height, hash): (u32, BlockHash)| {
        let mut bytes = Vec::new();
        files.fetch(BlockId { height: Height(height), hash }, &mut bytes).expect("a block");
        deserialize(&bytes).expect("a block")
    };
    (0..).zip(hashes).map(fetch).collect()
}

impl Chain {
    /// The fixture up to the start height, in `dir/blocks`.
    pub fn new(dir: &Path) -> Self {
        let rules = fixture_rules();
        let (mut known, mut main, mut txs) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (height, block) in (0..).zip(fixture_blocks()) {
            txs.push(block.txdata[1..].to_vec());
            main.push(block.block_hash());
            known.insert(block.block_hash(), Known { height, block, after: None });
        }
        let best = main[0];
        let blocks_dir = dir.to_owned();
        let stale = Vec::new();
        let mut chain = Chain { blocks_dir, rules, known, main, txs, written: 0, stale, best, made: 0 };
        chain.start_over(dir);
        chain
    }

    /// Begins again in another directory; what is known of blocks stays known, but for stale ones.
    pub fn start_over(&mut self, dir: &Path) {
        self.blocks_dir = dir.join("blocks");
        std::fs::create_dir_all(&self.blocks_dir).expect("a directory for blocks");
        let main: std::collections::BTreeSet<_> = self.main.iter().collect();
        self.known.retain(|hash, _| main.contains(hash));
        self.stale.clear();
        self.written = 0;
        self.best = self.main[0];
        self.extend_main(self.start() + 1);
    }

    fn start(&self) -> usize {
        self.rules.start_height.0 as usize
    }

    fn block(&self, hash: &BlockHash) -> &Known {
        &self.known[hash]
    }

    /// The best block: the one with the greatest height, of several the one that was written first.
    pub fn best(&self) -> BlockHash {
        self.best
    }

    pub fn best_height(&self) -> u32 {
        self.block(&self.best).height
    }

    /// The height of a block; the one below the start height, if there is none.
    #[cfg_attr(not(feature = "kill-points"), expect(dead_code, reason = "for the kill test alone"))]
    pub fn height(&self, tip: Option<BlockHash>) -> u32 {
        tip.map_or(self.rules.start_height.0 - 1, |tip| self.block(&tip).height)
    }

    /// Whether the whole fixture is written, and best.
    pub fn is_complete(&self) -> bool {
        self.best == self.main[self.main.len() - 1]
    }

    /// Makes it longer somehow: the best block is another one afterwards. A `wanted` fork is more likely.
    /// Returns what it did.
    pub fn grow(&mut self, random: &mut Random, wanted: Option<Fork>) -> String {
        let written = self.written as u32;
        let room = (self.main.len() as u32).saturating_sub(self.best_height() + 8);
        let on_main = self.best == self.main[self.written - 1];
        if room < 8
            || written < self.start() as u32 + 6
            || random.percent(if wanted.is_some() && on_main { 30 } else { 57 })
        {
            let overtaking = (self.best_height() + 1).saturating_sub(written - 1);
            let more = overtaking.max(1) + random.within(0..=9) * random.within(0..=1);
            self.extend_main(more as usize);
            return format!("main chain to {}", self.written - 1);
        }
        let revived = (!self.stale.is_empty() && random.percent(25)).then(|| *random.pick(&self.stale));
        let tip = revived.unwrap_or_else(|| {
            let depth = match (random.within(1..=100), wanted) {
                (1..=15, _) | (_, Some(Fork::Deep)) => random.within(1..=u32::MAX),
                (16..=60, _) | (_, Some(Fork::Shallow)) => random.within(1..=3),
                _ => random.within(1..=20),
            };
            let deepest = written - 1 - (self.start() as u32 - BELOW_START);
            self.main[(written - 2 - depth % deepest) as usize]
        });
        let fork = self.block(&tip).height;
        let more = self.best_height() + 1 + random.within(0..=2) - fork;
        self.extend_stale(tip, more, random);
        format!("{} blocks on {fork}, a stale branch, to {}", more, self.best_height())
    }

    fn extend_main(&mut self, count: usize) {
        let end = (self.written + count).min(self.main.len());
        let new: Vec<_> = self.main[self.written..end].to_vec();
        self.write(&new);
        self.written = end;
    }

    fn extend_stale(&mut self, from: BlockHash, count: u32, random: &mut Random) {
        let mut tip = from;
        let mut new = Vec::new();
        let first = self.block(&from).height as usize + 1;
        // A branch that goes on has taken its transactions already.
        let borrowed = self.txs.get(first..).filter(|_| !self.stale.contains(&from)).unwrap_or_default();
        let mut choice: Vec<Transaction> = borrowed.iter().take(BORROWED_FROM).flatten().cloned().collect();
        choice.retain(|_| random.percent(80));
        let mut choice = choice.into_iter();
        for _ in 0..count {
            self.made += 1;
            let mark = TxOut { value: Amount::from_sat(self.made), script_pubkey: ScriptBuf::new() };
            let parent = self.block(&tip);
            let height = parent.height + 1;
            let many = random.within(0..=2);
            let txs: Vec<_> = (0..many).filter_map(|_| choice.next()).collect();
            let block = mine_on(&parent.block.header, height, vec![mark], txs);
            tip = block.block_hash();
            self.known.insert(tip, Known { height, block, after: None });
            new.push(tip);
        }
        self.stale.retain(|stale| *stale != from);
        self.stale.push(tip);
        self.write(&new);
    }

    fn write(&mut self, new: &[BlockHash]) {
        let blocks: Vec<_> = new.iter().map(|hash| self.block(hash).block.clone()).collect();
        append_blocks(&self.blocks_dir, &blocks);
        for hash in new {
            if self.block(hash).height > self.best_height() {
                self.best = *hash;
            }
        }
    }

    /// Calls `look` with the rules, and the state after a block or before any.
    pub fn state(&mut self, tip: Option<BlockHash>, look: impl FnOnce(&Rules, &Oracle)) {
        match tip {
            Some(tip) => {
                let after = self.after(tip);
                look(&self.rules, &after.oracle);
            }
            None => look(&self.rules, &Oracle::new(self.config())),
        }
    }

    /// The blocks from the start height up to one.
    #[cfg_attr(not(feature = "kill-points"), expect(dead_code, reason = "for the kill test alone"))]
    pub fn branch(&self, tip: BlockHash) -> Vec<BlockHash> {
        let mut branch = Vec::new();
        let (mut hash, mut block) = (tip, self.block(&tip));
        while block.height >= self.rules.start_height.0 {
            branch.push(hash);
            hash = block.block.header.prev_blockhash;
            block = self.block(&hash);
        }
        branch.reverse();
        branch
    }

    fn config(&self) -> rules::Config {
        let rules = &self.rules;
        let entities = rules.entities.as_slice().iter();
        let keys =
            entities.map(|entity| entity.keys.iter().map(|key| (key.key, key.from_height.0)).collect());
        rules::Config { network: rules.network, start: rules.start_height.0, entities: keys.collect() }
    }

    fn after(&mut self, tip: BlockHash) -> Rc<After> {
        let mut missing = Vec::new();
        let mut hash = tip;
        let mut after = loop {
            let block = self.block(&hash);
            if block.height < self.rules.start_height.0 {
                break Rc::new(After { oracle: Oracle::new(self.config()), watched: WatchSet::new() });
            }
            if let Some(after) = &block.after {
                break after.clone();
            }
            missing.push(hash);
            hash = block.block.header.prev_blockhash;
        };
        for hash in missing.into_iter().rev() {
            after = Rc::new(after.next(hash, &serialize(&self.block(&hash).block)));
            self.known.get_mut(&hash).expect("a known block").after = Some(after.clone());
        }
        after
    }
}

impl After {
    fn next(&self, hash: BlockHash, bytes: &[u8]) -> After {
        let scanned = scan_batch(&[RawBlock { hash, bytes }], &self.watched).remove(0);
        let messages = scanned.expect("a good block");
        let mut after = After { oracle: self.oracle.clone(), watched: self.watched.clone() };
        for tx in &messages.txs {
            after.oracle.transaction(tx);
        }
        after.oracle.end_block(hash);
        after.watched.extend(named_outpoints(&messages));
        after
    }
}
