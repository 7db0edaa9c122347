//! Drives a real Bitcoin Core in regtest, for the tests and the fixture of btkn-indexer.
//!
//! [`Regtest`] is a node with coins: it makes transactions, signs them itself (the node has no wallet),
//! and mines them in the order that the test wants. [`Spark`] is a model of what happens off chain:
//! it mints and moves token outputs and writes them down as snapshots. All keys come from labels and
//! the node's clock stands still unless blocks are mined, so the same calls make the same chain.
//!
//! ```no_run
//! use btkn_testkit::{Exit, Regtest, Spark, Token};
//!
//! let mut chain = Regtest::new();
//! let mut spark = Spark::new("operators");
//! let gold = spark.issue(&Token::new("Gold", "GLD"));
//! let coin = spark.mint(gold, "alice", 1_000);
//!
//! let snapshot = spark.full(chain.tip());
//! chain.publish(&snapshot);
//!
//! let exit = chain.withdraw(&spark, &[Exit::of(&coin)]);
//! chain.mine([&exit.tx]);
//! let justice = chain.justice(&exit, 0);
//! chain.mine([&justice]);
//! chain.reorg(2, &[]);
//! ```
//!
//! [`fake_node`] stands in for a node that misbehaves; [`hostile`] makes blocks that are meant to do harm;
//! [`fuzz`] holds what the fuzz targets run; [`bench_chain`] makes gigabytes of realistic blocks to measure with.
//!
//! Everything here panics with a message when something does not work: a test has no better answer.
#![allow(clippy::missing_panics_doc)]

pub mod bench_chain;
mod coins;
pub mod fake_node;
pub mod fuzz;
pub mod hostile;
mod inscribe;
mod keys;
pub mod measure;
mod mined;
mod node;
mod noise;
mod regtest;
mod snapshot;
mod spark;
mod ttxos;
mod withdraw;

pub use inscribe::Envelope;
pub use keys::{burn_or, keypair, pubkey};
pub use mined::{append_blocks, mine_on, write_blocks};
pub use node::{Node, NodeOptions, bitcoind};
pub use regtest::Regtest;
pub use snapshot::Snapshot;
pub use spark::{Spark, Token};
pub use ttxos::Population;
pub use withdraw::{BondSpend, Exit, Withdrawal};
