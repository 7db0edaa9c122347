//! Blocks that somebody fills to do harm: near misses, rubbish in the shape of messages, and messages
//! that nobody has to sign. Valid as far as the indexer looks; the same seed gives the same block.
//!
//! [`cases`] lists what is known to be worth trying, [`ORDINARY`] is what they are compared with.

mod messages;
mod outputs;
mod witnesses;

use bitcoin::absolute::LockTime;
use bitcoin::block::Header;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash;
use bitcoin::{
    Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness, transaction,
};
use btkn_indexer::chain::BlockId;
use btkn_indexer::protocol::Height;
use btkn_indexer::protocol::ttxo::Ttxo;

use crate::mined::{OVERHEAD, mine_on};
use crate::noise::Noise;
use crate::snapshot::Snapshot;
use crate::spark::{Spark, Token};

/// Weight of a full block.
pub const FULL: usize = 4_000_000;

/// What a block is full of.
#[derive(Clone, Copy)]
pub struct Case {
    /// A name in a few words.
    pub name: &'static str,
    /// Tables that it may add rows to, beyond those of every block ([`Case::ALWAYS`]): by the rules it
    /// holds something that has to be kept.
    pub keeps: &'static [&'static str],
    make: fn(&Scene, &mut Noise, usize) -> Vec<Transaction>,
}

impl Case {
    /// Tables that every block may change: its own record, the counters, and the ring of notices.
    pub const ALWAYS: &'static [&'static str] = &["tip", "blocks", "block_heights", "counters", "notices"];

    const fn new(
        name: &'static str,
        keeps: &'static [&'static str],
        make: fn(&Scene, &mut Noise, usize) -> Vec<Transaction>,
    ) -> Self {
        Case { name, keeps, make }
    }

    /// A block of about this weight on top of another.
    pub fn block(&self, scene: &Scene, seed: u64, weight: usize, parent: &Header, height: u32) -> Block {
        let mut noise = Noise::new(self.name, seed);
        let block = mine_on(parent, height, Vec::new(), (self.make)(scene, &mut noise, weight - OVERHEAD));
        assert!(block.weight().to_wu() <= weight as u64, "{}: {}", self.name, block.weight());
        block
    }

    /// A chain of such blocks behind the scene's, seeds counting from 0.
    pub fn chain(&self, scene: &Scene, weight: usize, count: u32) -> Vec<Block> {
        let mut blocks = Vec::new();
        let first = scene.blocks.len() as u32;
        for (seed, height) in (0..).zip(first..first + count) {
            let parent = blocks.last().unwrap_or(&scene.blocks[scene.blocks.len() - 1]);
            let block = self.block(scene, seed, weight, &parent.header, height);
            blocks.push(block);
        }
        blocks
    }
}

/// What most blocks are like: payments, and a picture in every tenth transaction.
pub const ORDINARY: Case = Case::new("ordinary", &[], outputs::ordinary);

/// Tables of withdrawals that are not judged valid.
const EXITS: &[&str] = &[
    "withdrawals",
    "exits",
    "exits_by_output",
    "exits_by_ttxo",
    "exits_by_entity",
    "exits_by_owner",
    "exits_by_token",
    "activities",
    "unresolved",
    "watched",
];

/// The hostile ones.
pub fn cases() -> &'static [Case] {
    const CASES: &[Case] = &[
        Case::new("near misses in OP_RETURN", &[], outputs::near_misses),
        Case::new("malformed messages in OP_RETURN", &[], outputs::malformed),
        Case::new("names in script_sigs", &[], outputs::script_sigs),
        Case::new("one transaction of inputs", &[], outputs::many_inputs),
        Case::new("one transaction of outputs", &[], outputs::many_outputs),
        Case::new("withdrawals of unknown entities", &[], outputs::foreign_withdrawals),
        Case::new("names in witness items", &[], witnesses::items),
        Case::new("names in tapscripts", &[], witnesses::tapscripts),
        Case::new("names in other inscriptions", &[], witnesses::other_inscriptions),
        Case::new("one witness of one item", &[], witnesses::one_item),
        Case::new("tiny envelopes in one transaction", &[], witnesses::tiny_envelopes),
        Case::new("tiny envelopes, one a transaction", &[], witnesses::tiny_envelopes_apart),
        Case::new("empty envelopes beside a message", &[], witnesses::empty_envelopes),
        Case::new("a chunk in pushes of one byte", &[], witnesses::one_byte_pushes),
        Case::new("an envelope of distinct fields", &[], witnesses::distinct_fields),
        Case::new("manifests of unknown entities", &[], messages::foreign_manifests),
        Case::new("manifests with bad signatures", &[], messages::bad_signatures),
        Case::new("malformed manifests", &[], messages::malformed_manifests),
        Case::new("manifests that list too much", &[], messages::oversized_manifests),
        Case::new("small chunks that nobody listed", &[], messages::small_chunks),
        Case::new("a large chunk that nobody listed", &[], messages::large_chunk),
        Case::new("replayed manifests", &[], messages::replayed_manifests),
        Case::new("withdrawals of undeclared TTXOs", EXITS, outputs::undeclared_withdrawals),
        Case::new("one output named by thousands", EXITS, outputs::one_output_named),
        Case::new(
            "token announcements",
            &["tokens", "announcements", "token_names", "issuer_tokens"],
            outputs::tokens,
        ),
    ];
    CASES
}

/// What hostile blocks refer to: a chain in which an entity has published a snapshot.
pub struct Scene {
    /// The genesis block, an empty one, and one with the snapshot.
    pub blocks: Vec<Block>,
    /// The entity.
    pub spark: Spark,
    ttxos: Vec<Ttxo>,
    manifest: Vec<u8>,
}

impl Scene {
    /// A scene with this many declared TTXOs.
    pub fn new(ttxos: usize) -> Self {
        let genesis = genesis_block(bitcoin::Network::Regtest);
        let empty = mine_on(&genesis.header, 1, Vec::new(), Vec::new());
        let mut spark = Spark::new("operators");
        let gold = spark.issue(&Token::new("Gold", "GLD"));
        let ttxos = (0..ttxos).map(|n| spark.mint(gold, "alice", n as u128 + 1)).collect();
        let snapshot = spark.full(BlockId { height: Height(1), hash: empty.block_hash() });
        let manifest = snapshot.signed().encode();
        let reveal = publication(&snapshot);
        let publishing = mine_on(&empty.header, 2, Vec::new(), vec![reveal]);
        Scene { blocks: vec![genesis, empty, publishing], spark, ttxos, manifest }
    }

    /// A transaction with the same set again, as a full snapshot of another sequence.
    pub fn republish(&self, sequence: u64) -> Transaction {
        let mut spark = self.spark.clone();
        spark.skip_to_sequence(sequence - 1);
        publication(&spark.full(BlockId { height: Height(1), hash: self.blocks[1].block_hash() }))
    }

    /// A transaction with a manifest of the entity that lists chunks which nobody will ever show.
    pub fn waiting(&self, sequence: u64, chunks: usize) -> Transaction {
        let mut noise = Noise::new("waiting", sequence);
        let envelope = messages::waiting(self, &mut noise, sequence, chunks);
        transaction(vec![reveal(&mut noise, envelope.script().into_bytes())], vec![payment(1)])
    }
}

/// A transaction with all envelopes of a snapshot.
fn publication(snapshot: &Snapshot) -> Transaction {
    let script = snapshot.envelopes().iter().flat_map(|envelope| envelope.script().into_bytes()).collect();
    transaction(vec![reveal(&mut Noise::new("publication", 0), script)], vec![payment(0)])
}

/// The strings that the indexer looks for, over and over, up to a length.
fn names(noise: &mut Noise, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(noise.pick(&[&b"btkn"[..], b"BTKN", b"LRC20"]));
    }
    bytes.truncate(len);
    bytes
}

/// Transactions up to a weight.
fn fill(
    noise: &mut Noise,
    weight: usize,
    mut make: impl FnMut(&mut Noise) -> Transaction,
) -> Vec<Transaction> {
    let (mut txs, mut total) = (Vec::new(), 0);
    loop {
        let tx = make(noise);
        total += tx.weight().to_wu() as usize;
        if total > weight {
            return txs;
        }
        txs.push(tx);
    }
}

fn transaction(input: Vec<TxIn>, output: Vec<TxOut>) -> Transaction {
    Transaction { version: transaction::Version::TWO, lock_time: LockTime::ZERO, input, output }
}

fn input(noise: &mut Noise) -> TxIn {
    TxIn {
        previous_output: OutPoint { txid: Txid::from_byte_array(noise.array()), vout: noise.below(4) as u32 },
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    }
}

/// An input whose witness shows a tapscript.
fn reveal(noise: &mut Noise, script: Vec<u8>) -> TxIn {
    let control = [&[0xc0][..], &noise.array::<32>()].concat();
    TxIn { witness: Witness::from_slice(&[script, control]), ..input(noise) }
}

fn output(value: u64, script: impl Into<Vec<u8>>) -> TxOut {
    TxOut { value: Amount::from_sat(value), script_pubkey: ScriptBuf::from_bytes(script.into()) }
}

/// The shortest output.
fn payment(value: u64) -> TxOut {
    output(value, [])
}

/// A push with the shortest header.
fn push(script: &mut Vec<u8>, data: &[u8]) {
    match data.len() {
        len @ ..=75 => script.push(len as u8),
        len @ ..=255 => script.extend_from_slice(&[0x4c, len as u8]),
        len @ ..=65_535 => {
            script.push(0x4d);
            script.extend_from_slice(&(len as u16).to_le_bytes());
        }
        len => {
            script.push(0x4e);
            script.extend_from_slice(&(len as u32).to_le_bytes());
        }
    }
    script.extend_from_slice(data);
}
