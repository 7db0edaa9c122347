//! A chain of message blocks for tests of the rules: no bytes, no proof of work, just what the scanner
//! would have found.

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{Keypair, SECP256K1, SecretKey};
use bitcoin::{BlockHash, OutPoint, Txid};

use crate::ledger::keys::{EntityIndex, Only};
use crate::ledger::records::TipRecord;
use crate::ledger::tables::{Balances, Tip};
use crate::ledger::view::{Empty, Overlay, View};
use crate::ledger::{Entities, EntityConfig, EntityKey, Rules, apply_block};
use crate::protocol::chunk::{self, Chunk};
use crate::protocol::envelope::EnvelopeKind;
use crate::protocol::manifest::{Manifest, SignedManifest, SnapshotKind};
use crate::protocol::merkle;
use crate::protocol::ttxo::Ttxo;
use crate::protocol::withdrawal::{WithdrawalAnnouncement, WithdrawalRecord};
use crate::protocol::withdrawal_output::{self, SpendPath};
use crate::protocol::{
    Amount, Height, ManifestId, Network, OwnerKey, PubKey, Signature, SparkOutPoint, SparkTxHash, TokenId,
};
use crate::scan::messages::*;

pub const NETWORK: Network = Network::Regtest;
pub const START: u32 = 100;
/// Locktime of every test TTXO, in blocks.
pub const LOCKTIME: u64 = 3;
/// Bond of every test TTXO, in satoshis.
pub const BOND: u64 = 10_000;

fn hash(label: &str) -> [u8; 32] {
    sha256::Hash::hash(label.as_bytes()).to_byte_array()
}

pub fn keypair(label: &str) -> Keypair {
    Keypair::from_secret_key(SECP256K1, &SecretKey::from_slice(&hash(label)).unwrap())
}

pub fn key(label: &str) -> PubKey {
    keypair(label).public_key().into()
}

pub fn token(n: u8) -> TokenId {
    TokenId([n; 32])
}

/// TTXO number `n` of `owner`, with `amount` of token 1.
pub fn ttxo(n: u32, owner: &str, amount: u128) -> Ttxo {
    Ttxo {
        outpoint: SparkOutPoint { tx_hash: SparkTxHash(hash(&format!("spark {n}"))), vout: n },
        owner: key(owner),
        revocation: key(&format!("revocation {n}")),
        bond: BOND,
        locktime: LOCKTIME,
        token: token(1),
        amount: Amount(amount),
    }
}

/// A snapshot ready to be inscribed.
#[derive(Clone)]
pub struct Snapshot {
    pub signed: SignedManifest,
    pub chunks: Vec<Vec<u8>>,
}

impl Snapshot {
    pub fn id(&self) -> ManifestId {
        self.signed.id
    }
}

/// The messages of one transaction.
pub struct Tx(TxMessages);

impl Tx {
    pub fn new(label: &str) -> Self {
        let txid = Txid::from_byte_array(hash(label));
        Tx(TxMessages { index: 0, txid, spends: vec![], envelopes: vec![], outputs: vec![] })
    }

    pub fn txid(&self) -> Txid {
        self.0.txid
    }

    fn envelope(mut self, kind: EnvelopeKind, body: Vec<u8>) -> Self {
        let n = self.0.envelopes.len() as u32;
        self.0.envelopes.push(EnvelopeMessage { input: n, envelope: 0, inscription: n, kind, body });
        self
    }

    pub fn manifest_body(self, body: Vec<u8>) -> Self {
        self.envelope(EnvelopeKind::Manifest, body)
    }

    pub fn manifest(self, snapshot: &Snapshot) -> Self {
        self.manifest_body(snapshot.signed.encode())
    }

    pub fn chunk(self, body: &[u8]) -> Self {
        self.envelope(EnvelopeKind::Chunk, body.to_vec())
    }

    /// Manifest and all chunks.
    pub fn snapshot(self, snapshot: &Snapshot) -> Self {
        snapshot.chunks.iter().fold(self.manifest(snapshot), |tx, body| tx.chunk(body))
    }

    pub fn output(mut self, vout: u32, content: OutputContent) -> Self {
        self.0.outputs.push(OutputMessage { vout, content });
        self
    }

    /// A withdrawal announcement in output 9 with one record per bond: its vout, TTXO and output.
    pub fn withdraw(self, entity: PubKey, records: &[(u16, SparkOutPoint, Option<BondOutput>)]) -> Self {
        let announcement = WithdrawalAnnouncement {
            entity,
            owner_signature: Signature([0; 64]),
            records: records
                .iter()
                .map(|&(bitcoin_vout, ttxo, _)| WithdrawalRecord { bitcoin_vout, ttxo })
                .collect(),
        };
        let bonds = records.iter().map(|(_, _, bond)| *bond).collect();
        let vout = 9 + self.0.outputs.len() as u32;
        self.output(vout, OutputContent::Withdrawal { announcement, bonds })
    }

    /// A correct exit of each TTXO, bonds in outputs 0, 1, …
    pub fn exit(self, entity: PubKey, ttxos: &[&Ttxo]) -> Self {
        let records: Vec<_> =
            (0u16..).zip(ttxos).map(|(vout, ttxo)| (vout, ttxo.outpoint, Some(good_bond(ttxo)))).collect();
        self.withdraw(entity, &records)
    }

    pub fn spend(mut self, txid: Txid, vout: u32, path: SpendPath) -> Self {
        let input = self.0.spends.len() as u32;
        self.0.spends.push(Spend { input, outpoint: OutPoint { txid, vout }, path });
        self
    }
}

/// The output that backs an exit of `ttxo`.
pub fn good_bond(ttxo: &Ttxo) -> BondOutput {
    let taproot_key = withdrawal_output::output_key(&ttxo.revocation, ttxo.locktime, &ttxo.owner);
    BondOutput { value: ttxo.bond, taproot_key }
}

/// A chain with the state that it led to.
pub struct Chain {
    pub rules: Rules,
    pub state: Overlay<Empty>,
    hashes: Vec<BlockHash>,
}

impl Chain {
    /// Follows the entity `alpha` from height 0.
    pub fn new() -> Self {
        Chain::with(&[("alpha", &[("alpha", 0)])])
    }

    pub fn with(entities: &[(&str, &[(&str, u32)])]) -> Self {
        let entity = |(name, keys): &(&str, &[(&str, u32)])| EntityConfig {
            name: (*name).into(),
            keys: keys.iter().map(|(k, h)| EntityKey { key: key(k), from_height: Height(*h) }).collect(),
        };
        let entities = Entities::new(entities.iter().map(entity).collect()).unwrap();
        let rules = Rules { network: NETWORK, start_height: Height(START), entities };
        Chain { rules, state: Overlay::new(Empty), hashes: vec![] }
    }

    pub fn next_height(&self) -> u32 {
        START + self.hashes.len() as u32
    }

    pub fn tip(&self) -> TipRecord {
        self.state.get::<Tip>(&Only).unwrap().unwrap()
    }

    /// The next block, with these transactions.
    pub fn messages(&self, txs: Vec<Tx>) -> BlockMessages {
        let height = self.next_height();
        BlockMessages {
            hash: BlockHash::from_byte_array(hash(&format!("block {height}"))),
            prev_hash: self.hashes.last().copied().unwrap_or(BlockHash::all_zeros()),
            time: height,
            txs: (1u32..).zip(txs).map(|(index, tx)| TxMessages { index, ..tx.0 }).collect(),
        }
    }

    /// Applies a block, twice, to see that nothing but its input decides; returns its event lines.
    pub fn block(&mut self, txs: Vec<Tx>) -> Vec<String> {
        let messages = self.messages(txs);
        let applied = apply_block(&self.state, &self.rules, &messages).unwrap();
        let again = apply_block(&self.state, &self.rules, &messages).unwrap();
        assert_eq!(applied.changes, again.changes, "applying twice gives the same changes");
        self.state.absorb(&applied.changes);
        self.hashes.push(messages.hash);
        applied.events.iter().map(|event| event.to_string()).collect()
    }

    /// Empty blocks; returns their event lines.
    pub fn empty(&mut self, count: usize) -> Vec<String> {
        (0..count).flat_map(|_| self.block(vec![])).collect()
    }

    /// A block with one transaction.
    pub fn one(&mut self, tx: Tx) -> Vec<String> {
        self.block(vec![tx])
    }

    pub fn manifest(&self, kind: SnapshotKind, sequence: u64, chunks: &[Vec<u8>], set: &[Ttxo]) -> Manifest {
        let mut set = set.to_vec();
        set.sort_by_key(|ttxo| ttxo.outpoint);
        let anchor = self.hashes.len().saturating_sub(1);
        Manifest {
            entity: key("alpha"),
            network_magic: NETWORK.magic(),
            sequence,
            kind,
            parent: None,
            anchor_height: u64::from(START) + anchor as u64,
            anchor_hash: self.hashes.get(anchor).map_or([0; 32], |hash| hash.to_byte_array()),
            as_of_ms: 1_700_000_000_000 + sequence,
            chunks: chunks.iter().map(|body| chunk::hash(body)).collect(),
            count: set.len() as u64,
            root: merkle::root(set.iter().map(Ttxo::leaf)),
        }
    }

    /// A full snapshot in one chunk, anchored at the tip.
    pub fn full(&self, sequence: u64, set: &[Ttxo]) -> Snapshot {
        let chunks = vec![Chunk { created: set.to_vec(), ..Chunk::default() }.encode()];
        sign(&self.manifest(SnapshotKind::Full, sequence, &chunks, set), chunks)
    }

    /// A delta in one chunk on `parent`, which leads to `set`.
    pub fn delta(
        &self,
        sequence: u64,
        parent: ManifestId,
        created: &[Ttxo],
        spent: &[Ttxo],
        set: &[Ttxo],
    ) -> Snapshot {
        let spent = spent.iter().map(|ttxo| ttxo.outpoint).collect();
        let chunks = vec![Chunk { created: created.to_vec(), spent, ..Chunk::default() }.encode()];
        let mut manifest = self.manifest(SnapshotKind::Delta, sequence, &chunks, set);
        manifest.parent = Some(parent);
        sign(&manifest, chunks)
    }

    /// Makes a full snapshot of `set` active, in a block of its own.
    pub fn activate(&mut self, sequence: u64, set: &[Ttxo]) -> ManifestId {
        if self.hashes.is_empty() {
            self.empty(1);
        }
        let snapshot = self.full(sequence, set);
        let lines = self.one(Tx::new(&format!("activation {sequence}")).snapshot(&snapshot));
        assert!(lines.iter().any(|line| line.starts_with("snapshot ")), "{lines:#?}");
        snapshot.id()
    }

    /// Available, exiting and claimed amounts of token 1.
    pub fn balance(&self, owner: &str) -> (u128, u128, u128) {
        let owner: OwnerKey = key(owner);
        let balance =
            self.state.get::<Balances>(&(owner, token(1), EntityIndex(0))).unwrap().unwrap_or_default();
        (balance.available.0, balance.exiting.capped().0, balance.claimed.capped().0)
    }
}

/// Signs with the key of `alpha`.
pub fn sign(manifest: &Manifest, chunks: Vec<Vec<u8>>) -> Snapshot {
    Snapshot { signed: SignedManifest::sign(manifest, &keypair("alpha")), chunks }
}

/// The last word of each line that begins with `kind`.
pub fn last_words<'a>(lines: &'a [String], kind: &str) -> Vec<&'a str> {
    lines
        .iter()
        .filter(|line| line.split(' ').next() == Some(kind))
        .map(|line| line.rsplit(' ').next().unwrap())
        .collect()
}

/// The first words of the lines.
pub fn kinds(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.split(' ').next().unwrap()).collect()
}
