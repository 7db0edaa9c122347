//! A model of the off-chain side: who holds which token outputs, written down as snapshots.

use std::collections::BTreeMap;

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::Keypair;
use btkn_indexer::chain::BlockId;
use btkn_indexer::protocol::chunk::{Chunk, ChunkToken};
use btkn_indexer::protocol::manifest::{Manifest, SnapshotKind};
use btkn_indexer::protocol::token::{Layer, TokenMetadata};
use btkn_indexer::protocol::ttxo::Ttxo;
use btkn_indexer::protocol::{
    Amount, ManifestId, Network, OwnerKey, PubKey, SparkOutPoint, SparkTxHash, TokenId, merkle,
};

use crate::keys::{burn_or, keypair, pubkey, seed};
use crate::snapshot::Snapshot;

/// Metadata of a token, built step by step. The issuer's key comes from the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(TokenMetadata);

impl Token {
    /// A token without decimals, of unlimited supply, that cannot be frozen.
    pub fn new(name: &str, ticker: &str) -> Self {
        Token(TokenMetadata {
            issuer: pubkey(&format!("issuer/{name}")),
            name: name.to_owned(),
            ticker: ticker.to_owned(),
            decimals: 0,
            max_supply: Amount::ZERO,
            freezable: false,
        })
    }

    /// Sets the number of decimals.
    pub fn decimals(mut self, decimals: u8) -> Self {
        self.0.decimals = decimals;
        self
    }

    /// Sets the maximum supply, in base units.
    pub fn max_supply(mut self, amount: u128) -> Self {
        self.0.max_supply = Amount(amount);
        self
    }

    /// Lets the issuer freeze it.
    pub fn freezable(mut self) -> Self {
        self.0.freezable = true;
        self
    }

    /// The metadata.
    pub fn metadata(&self) -> &TokenMetadata {
        &self.0
    }

    /// Its identifier where it was created on L1.
    pub fn l1_id(&self) -> TokenId {
        self.0.identifier(Network::Regtest, Layer::L1)
    }
}

/// The operators of a Spark entity and the token outputs that they know of.
///
/// A snapshot that this makes is taken as the parent of the next one. For an experiment that is not to
/// count (a snapshot that fails, a branch that is given up), work on a clone.
#[derive(Clone, Debug)]
pub struct Spark {
    label: String,
    key: Keypair,
    tokens: Vec<ChunkToken>,
    owners: BTreeMap<OwnerKey, Keypair>,
    set: BTreeMap<SparkOutPoint, Ttxo>,
    published: BTreeMap<SparkOutPoint, Ttxo>,
    parent: Option<ManifestId>,
    sequence: u64,
    transactions: u64,
    /// Withdraw bond of what is made from now on, in satoshis.
    pub bond: u64,
    /// Relative locktime of what is made from now on, in blocks.
    pub locktime: u64,
    /// The most entries (created or spent) that go into one chunk.
    pub per_chunk: usize,
}

impl Spark {
    /// An entity with the key of a label and nothing in it.
    pub fn new(label: &str) -> Self {
        Spark {
            label: label.to_owned(),
            key: keypair(label),
            tokens: Vec::new(),
            owners: BTreeMap::new(),
            set: BTreeMap::new(),
            published: BTreeMap::new(),
            parent: None,
            sequence: 0,
            transactions: 0,
            bond: 10_000,
            locktime: 10,
            per_chunk: 1_000,
        }
    }

    /// The entity's present key.
    pub fn key(&self) -> PubKey {
        PubKey::from(self.key.public_key())
    }

    /// The key pair, to sign something else with it.
    pub fn keypair(&self) -> Keypair {
        self.key
    }

    /// Changes to the key of another label.
    pub fn rotate(&mut self, label: &str) {
        self.key = keypair(label);
    }

    /// The key of a holder of this model, where it has been seen.
    pub(crate) fn holder(&self, owner: &OwnerKey) -> Option<Keypair> {
        self.owners.get(owner).copied()
    }

    /// Registers a token that this entity created; chunks give its metadata.
    pub fn issue(&mut self, token: &Token) -> TokenId {
        self.register(token, Layer::Spark(self.key()))
    }

    /// Registers a token that was created on L1; chunks give its metadata.
    pub fn issue_on_l1(&mut self, token: &Token) -> TokenId {
        self.register(token, Layer::L1)
    }

    fn register(&mut self, token: &Token, layer: Layer) -> TokenId {
        let metadata = token.metadata().clone();
        let id = metadata.identifier(Network::Regtest, layer);
        self.tokens.push(ChunkToken::Full { id, metadata, layer });
        id
    }

    /// Registers a token of which chunks give the identifier alone.
    pub fn issue_bare(&mut self, id: TokenId) -> TokenId {
        self.tokens.push(ChunkToken::Id(id));
        id
    }

    /// Makes a token output out of nothing. The owner is a label; `burn` is the burn key.
    pub fn mint(&mut self, token: TokenId, owner: &str, amount: u128) -> Ttxo {
        let tx_hash = self.next_transaction();
        self.create(tx_hash, 0, token, owner, amount)
    }

    /// Spends token outputs of one token and makes others of the same total.
    pub fn transfer(&mut self, from: &[&Ttxo], to: &[(&str, u128)]) -> Vec<Ttxo> {
        let token = from.first().expect("something to transfer").token;
        let total: u128 = from.iter().map(|ttxo| ttxo.amount.0).sum();
        assert_eq!(total, to.iter().map(|(_, amount)| amount).sum(), "a transfer keeps the total");
        for ttxo in from {
            assert_eq!(ttxo.token, token, "a transfer is about one token");
            self.drop_output(ttxo);
        }
        let tx_hash = self.next_transaction();
        (0..)
            .zip(to)
            .map(|(vout, (owner, amount))| self.create(tx_hash, vout, token, owner, *amount))
            .collect()
    }

    /// Removes a token output, as operators do when they honour an exit.
    pub fn drop_output(&mut self, ttxo: &Ttxo) {
        self.set.remove(&ttxo.outpoint).expect("the token output is in the set");
    }

    /// Puts a token output into the set as it is: an earlier one again, or a changed one.
    pub fn put(&mut self, ttxo: Ttxo) {
        self.set.insert(ttxo.outpoint, ttxo);
    }

    /// The set as it is now, in the order of its tree.
    pub fn set(&self) -> impl Iterator<Item = &Ttxo> {
        self.set.values()
    }

    /// The total of an owner's outputs of a token.
    pub fn balance(&self, token: TokenId, owner: &str) -> u128 {
        let owner = burn_or(owner);
        self.set.values().filter(|t| t.token == token && t.owner == owner).map(|t| t.amount.0).sum()
    }

    fn next_transaction(&mut self) -> SparkTxHash {
        self.transactions += 1;
        SparkTxHash(seed(&format!("spark-tx/{}/{}", self.label, self.transactions)))
    }

    fn create(&mut self, tx_hash: SparkTxHash, vout: u32, token: TokenId, owner: &str, amount: u128) -> Ttxo {
        assert!(self.tokens.iter().any(|known| known.id() == token), "the token was issued before");
        let outpoint = SparkOutPoint { tx_hash, vout };
        let owner_key = burn_or(owner);
        if owner != "burn" {
            self.owners.insert(owner_key, keypair(owner));
        }
        let ttxo = Ttxo {
            outpoint,
            owner: owner_key,
            revocation: PubKey::from(revocation_key(outpoint).public_key()),
            bond: self.bond,
            locktime: self.locktime,
            token,
            amount: Amount(amount),
        };
        self.set.insert(outpoint, ttxo);
        ttxo
    }

    /// A full snapshot of the set, with the next sequence.
    pub fn full(&mut self, anchor: BlockId) -> Snapshot {
        let created: Vec<Ttxo> = self.set.values().cloned().collect();
        self.snapshot(anchor, SnapshotKind::Full, created, Vec::new())
    }

    /// A delta from the previous snapshot to the set, with the next sequence.
    pub fn delta(&mut self, anchor: BlockId) -> Snapshot {
        let changed = |ttxo: &&Ttxo| self.published.get(&ttxo.outpoint) != Some(ttxo);
        let created: Vec<Ttxo> = self.set.values().filter(changed).cloned().collect();
        let gone = |outpoint: &&SparkOutPoint| !self.set.contains_key(outpoint);
        let spent: Vec<SparkOutPoint> = self.published.keys().filter(gone).copied().collect();
        self.snapshot(anchor, SnapshotKind::Delta, created, spent)
    }

    fn snapshot(
        &mut self,
        anchor: BlockId,
        kind: SnapshotKind,
        created: Vec<Ttxo>,
        spent: Vec<SparkOutPoint>,
    ) -> Snapshot {
        self.sequence += 1;
        let manifest = Manifest {
            entity: self.key(),
            network_magic: Network::Regtest.magic(),
            sequence: self.sequence,
            kind,
            parent: self.parent,
            anchor_height: anchor.height.0.into(),
            anchor_hash: anchor.hash.to_byte_array(),
            as_of_ms: 1_750_000_000_000 + self.sequence * 60_000,
            chunks: Vec::new(),
            count: self.set.len() as u64,
            root: merkle::root(self.set.values().map(Ttxo::leaf)),
        };
        let snapshot = Snapshot::new(manifest, self.key, &self.chunks(created, spent));
        self.parent = Some(snapshot.id());
        self.published = self.set.clone();
        snapshot
    }

    /// Lets the next snapshots carry on from this sequence.
    pub fn skip_to_sequence(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    fn chunks(&self, created: Vec<Ttxo>, spent: Vec<SparkOutPoint>) -> Vec<Chunk> {
        let mut chunks: Vec<Chunk> = Vec::new();
        for created in created.chunks(self.per_chunk) {
            let used = |token: &&ChunkToken| created.iter().any(|ttxo| ttxo.token == token.id());
            chunks.push(Chunk {
                tokens: self.tokens.iter().filter(used).cloned().collect(),
                created: created.to_vec(),
                spent: Vec::new(),
            });
        }
        for spent in spent.chunks(self.per_chunk) {
            match chunks.last_mut() {
                Some(last) if last.created.len() + last.spent.len() + spent.len() <= self.per_chunk => {
                    last.spent.extend_from_slice(spent);
                }
                _ => chunks.push(Chunk { spent: spent.to_vec(), ..Chunk::default() }),
            }
        }
        chunks
    }
}

/// The key whose public half is the revocation commitment of a token output.
pub(crate) fn revocation_key(outpoint: SparkOutPoint) -> Keypair {
    keypair(&format!("revocation/{outpoint}"))
}
