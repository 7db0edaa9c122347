//! A node with coins: transactions, blocks and reorganisations on demand.

use std::borrow::Borrow;
use std::ops::{Deref, DerefMut};

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{BlockHash, Transaction};
use btkn_indexer::chain::BlockId;
use btkn_indexer::protocol::Height;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::coins::Purse;
use crate::node::{Node, NodeOptions};

/// Seconds between blocks.
const SPACING: u64 = 600;

/// A regtest node and the coins that it mined.
///
/// Transactions are not broadcast, unless a test does it: they are handed to [`Regtest::mine`], which puts them
/// into a block as they are and in that order. Rules of relay, such as standardness and fees, do not apply.
pub struct Regtest {
    node: Node,
    pub(crate) purse: Purse,
    /// How often the chain was cut: blocks of different branches at one height must differ.
    branch: u64,
}

impl Deref for Regtest {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl DerefMut for Regtest {
    fn deref_mut(&mut self) -> &mut Node {
        &mut self.node
    }
}

impl Default for Regtest {
    fn default() -> Self {
        Self::new()
    }
}

impl Regtest {
    /// Height of a new chain's tip: 101 blocks make the first reward spendable, and one more splits it.
    pub const FIRST_TIP: Height = Height(102);

    /// A node with 102 blocks and many coins.
    pub fn new() -> Self {
        Self::with(NodeOptions::new())
    }

    /// The same with options.
    pub fn with(options: NodeOptions) -> Self {
        let mut chain = Self::empty(options);
        chain.mine_empty(101);
        let split = chain.split(100);
        chain.mine([split]);
        chain
    }

    /// A node as it starts: nothing but the genesis block, or the blocks that the options bring.
    pub fn empty(options: NodeOptions) -> Self {
        Regtest { node: options.start(), purse: Purse::default(), branch: 0 }
    }

    /// The tip of the node's best chain.
    pub fn tip(&self) -> BlockId {
        self.block(self.height())
    }

    /// Height of the tip.
    pub fn height(&self) -> Height {
        Height(self.rpc("getblockcount", &[]))
    }

    /// The block of the best chain at a height.
    pub fn block(&self, height: Height) -> BlockId {
        let hash: BlockHash = self.rpc("getblockhash", &[height.0.into()]);
        BlockId { height, hash }
    }

    /// Mines one block with these transactions, in this order, and returns it.
    pub fn mine(&mut self, txs: impl IntoIterator<Item = impl Borrow<Transaction>>) -> BlockId {
        #[derive(Deserialize)]
        struct Generated {
            hash: BlockHash,
        }
        let txs: Vec<String> = txs.into_iter().map(|tx| serialize_hex(tx.borrow())).collect();
        let height = self.height().next();
        self.set_time(Node::START_TIME + u64::from(height.0) * SPACING + self.branch);
        let to = Purse::address().to_string();
        let block: Generated = self.rpc("generateblock", &[json!(to), json!(txs)]);
        self.purse.forget();
        BlockId { height, hash: block.hash }
    }

    /// Puts a transaction into the node's mempool, by the rules of relay.
    pub fn broadcast(&self, tx: &Transaction) {
        let _: Value = self.rpc("sendrawtransaction", &[json!(serialize_hex(tx))]);
    }

    /// Mines blocks without transactions and returns the last one, or the tip where `count` is 0.
    pub fn mine_empty(&mut self, count: u32) -> BlockId {
        for _ in 0..count {
            self.mine(&[] as &[Transaction]);
        }
        self.tip()
    }

    /// Mines blocks without transactions up to a height.
    pub fn mine_to(&mut self, height: Height) -> BlockId {
        let tip = self.height();
        assert!(tip <= height, "the tip is at {tip} already, above {height}");
        self.mine_empty(height.0 - tip.0)
    }

    /// Gives up a block and everything on top of it; the tip is its parent then.
    pub fn invalidate(&mut self, hash: BlockHash) {
        let _: Value = self.rpc("invalidateblock", &[json!(hash)]);
        self.branch += 1;
        self.purse.forget();
    }

    /// Takes a block that was given up into consideration again.
    pub fn reconsider(&mut self, hash: BlockHash) {
        let _: Value = self.rpc("reconsiderblock", &[json!(hash)]);
        self.purse.forget();
    }

    /// Replaces the last `depth` blocks by `depth + 1` others, with the given transactions in the first
    /// of them (one list per block) and none in the rest. Returns the first block that was given up,
    /// with which [`Regtest::reconsider`] brings the old branch back once the new one is given up.
    pub fn reorg(&mut self, depth: u32, blocks: &[&[Transaction]]) -> BlockId {
        let tip = self.height();
        assert!(0 < depth && depth <= tip.0, "a reorganisation of depth {depth} at height {tip}");
        let first = self.block(Height(tip.0 - depth + 1));
        self.invalidate(first.hash);
        for txs in blocks {
            self.mine(*txs);
        }
        let made = u32::try_from(blocks.len()).expect("few blocks");
        self.mine_empty((depth + 1).saturating_sub(made));
        first
    }

    /// The serialised block.
    pub fn raw_block(&self, hash: BlockHash) -> Vec<u8> {
        use bitcoin::hex::FromHex;
        let hex: String = self.rpc("getblock", &[json!(hash), json!(0)]);
        Vec::from_hex(&hex).expect("the node answers in hex")
    }
}
