//! A chain to measure with: blocks of the size and shape of mainnet's, as many as are asked for.
//!
//! It is valid for a real node on regtest, from the genesis block on, and made without one, a hundred
//! blocks a second. Nearly every coin pays to a witness program of version 2, which anybody can spend with
//! any witness (BIP 141 leaves versions 2 to 16 to later soft forks), so that signatures and keys are random
//! bytes of the usual lengths. Bonds of exits are real Taproot outputs with real signatures.
//!
//! The chain has three parts:
//!
//! 1. heights 0 to 100: one coinbase with all the coins, and empty blocks until they can be spent;
//! 2. withdrawals that name [`Options::watched`] outputs which nobody will spend, so that an indexer that
//!    starts below has to look out for them, and one that starts above has not;
//! 3. the traffic: payments, inscriptions and OP_RETURNs up to [`Options::weight`], and now and then
//!    everything that BTKN has to say.
//!
//! The same options give the same chain.

mod files;
mod messages;
mod payments;

use bitcoin::block::Header;
use bitcoin::constants::genesis_block;
use bitcoin::{Block, Transaction};
use btkn_indexer::chain::BlockId;
use btkn_indexer::protocol::{Height, PubKey};

use crate::mined::{OVERHEAD, mine_at};
use crate::node::Node;
use crate::noise::Noise;
use messages::Operators;
use payments::Coins;

pub use files::{Facts, Level, write};

/// Blocks that must be on top of a coinbase before it is spent.
const MATURITY: u32 = 100;

/// Coins of the first coinbase.
const COINS: usize = 12_000;

/// Their value in satoshis; all of them are a little less than the first subsidy.
const COIN: u64 = 416_000;

/// Seconds between blocks.
const SPACING: u32 = 600;

/// What the chain follows from.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Of all that is random.
    pub seed: u64,
    /// Outputs, at least, that the second part makes an indexer watch.
    pub watched: usize,
    /// Weight up to which blocks of traffic are filled.
    pub weight: usize,
}

impl Default for Options {
    /// Blocks of about 1.65 MB, and nothing to watch.
    fn default() -> Self {
        Options { seed: 1, watched: 0, weight: 3_600_000 }
    }
}

/// The chain, block by block; it has no end.
pub struct BenchChain {
    options: Options,
    noise: Noise,
    coins: Coins,
    operators: Operators,
    /// The transaction whose outputs are all the coins, until they can be spent.
    first: Option<Transaction>,
    tip: Option<Tip>,
    named: usize,
    traffic_from: Option<u32>,
}

#[derive(Clone, Copy)]
struct Tip {
    height: u32,
    header: Header,
}

impl BenchChain {
    /// A chain of which no block is made yet.
    pub fn new(options: Options) -> Self {
        BenchChain {
            options,
            noise: Noise::new("bench chain", options.seed),
            coins: Coins::default(),
            operators: Operators::new(options.weight),
            first: None,
            tip: None,
            named: 0,
            traffic_from: None,
        }
    }

    /// Blocks of traffic alone, for measurements in memory: the first `count` of a chain.
    pub fn traffic(options: Options, count: usize) -> Vec<Block> {
        let mut chain = BenchChain::new(options);
        let mut blocks = Vec::with_capacity(count);
        while blocks.len() < count {
            let block = chain.mine();
            blocks.extend(chain.traffic_from.map(|_| block));
        }
        blocks
    }

    /// The key of the entity whose messages are in the chain.
    pub fn entity(&self) -> PubKey {
        self.operators.key()
    }

    /// Outputs that withdrawals of the second part have named so far.
    pub fn named(&self) -> usize {
        self.named
    }

    /// Height of the first block of traffic, once it is mined.
    pub fn traffic_from(&self) -> Option<u32> {
        self.traffic_from
    }

    fn mine(&mut self) -> Block {
        let block = match self.tip {
            None => genesis_block(bitcoin::Network::Regtest),
            Some(tip) => self.mine_on(tip),
        };
        let height = self.tip.map_or(0, |tip| tip.height + 1);
        self.tip = Some(Tip { height, header: block.header });
        block
    }

    fn mine_on(&mut self, tip: Tip) -> Block {
        let height = tip.height + 1;
        let time = Node::START_TIME as u32 + height * SPACING;
        if height == 1 {
            let outputs = (0..COINS).map(|_| self.coins.output(&mut self.noise, COIN)).collect();
            let block = mine_at(&tip.header, time, height, outputs, Vec::new());
            self.first = block.txdata.first().cloned();
            return block;
        }
        if height > MATURITY
            && let Some(first) = self.first.take()
        {
            self.coins.absorb(&first);
        }
        let txs = if height <= MATURITY {
            Vec::new()
        } else if self.traffic_from.is_none() && self.named < self.options.watched {
            self.withdrawals()
        } else {
            self.busy(height, tip)
        };
        mine_at(&tip.header, time, height, Vec::new(), txs)
    }

    /// A block of withdrawals that name outputs to be watched.
    fn withdrawals(&mut self) -> Vec<Transaction> {
        let mut body = Body::new(self.options.weight);
        while self.named < self.options.watched {
            let records = messages::RECORDS.min(self.options.watched - self.named);
            let outputs = self.operators.unresolved(&mut self.noise, records);
            let tx = self.coins.pay(&mut self.noise, outputs);
            if !body.add_if_it_fits(&mut self.coins, tx) {
                break;
            }
            self.named += records;
        }
        body.txs
    }

    /// A block of payments and messages.
    fn busy(&mut self, height: u32, tip: Tip) -> Vec<Transaction> {
        let number = height - *self.traffic_from.get_or_insert(height);
        let anchor = BlockId { height: Height(tip.height), hash: tip.header.block_hash() };
        let messages = self.operators.speak(&mut self.noise, &mut self.coins, number, anchor);
        let mut body = Body::new(self.options.weight);
        body.left -= messages.iter().map(|tx| tx.weight().to_wu() as usize).sum::<usize>();
        let mut messages = messages.into_iter();
        let (mut bytes, mut inscribed) = (0, 0);
        loop {
            // A message after every few hundred payments.
            if body.txs.len() % 256 == 255
                && let Some(tx) = messages.next()
            {
                body.add(&mut self.coins, tx);
            }
            let (tx, envelope) = match inscribed * 100 < bytes * payments::INSCRIBED_PERCENT {
                true => self.coins.inscription(&mut self.noise),
                false => (self.coins.payment(&mut self.noise), 0),
            };
            bytes += tx.total_size();
            inscribed += envelope;
            if !body.add_if_it_fits(&mut self.coins, tx) {
                break;
            }
        }
        messages.for_each(|tx| body.add(&mut self.coins, tx));
        body.txs
    }
}

impl Iterator for BenchChain {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        Some(self.mine())
    }
}

/// Transactions of a block, up to a weight.
struct Body {
    txs: Vec<Transaction>,
    left: usize,
}

impl Body {
    fn new(weight: usize) -> Self {
        Body { txs: Vec::new(), left: weight - OVERHEAD }
    }

    /// Adds a transaction and makes its outputs spendable.
    fn add(&mut self, coins: &mut Coins, tx: Transaction) {
        coins.absorb(&tx);
        self.txs.push(tx);
    }

    /// The same where there is room; false, and the coins that it spends are lost, where there is none.
    fn add_if_it_fits(&mut self, coins: &mut Coins, tx: Transaction) -> bool {
        let left = self.left.checked_sub(tx.weight().to_wu() as usize);
        self.left = left.unwrap_or(self.left);
        if left.is_some() {
            self.add(coins, tx);
        }
        left.is_some()
    }
}
