//! A store that follows one entity, block by block.

use std::path::Path;
use std::time::{Duration, Instant};

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{Keypair, PublicKey};
use bitcoin::{BlockHash, Txid};
use btkn_indexer::ledger::keys::EntityIndex;
use btkn_indexer::ledger::tables::Active;
use btkn_indexer::ledger::{Entities, EntityConfig, EntityKey, Rules, View, apply_block};
use btkn_indexer::protocol::chunk::{self, Chunk};
use btkn_indexer::protocol::envelope::{EnvelopeKind, EnvelopeMessage};
use btkn_indexer::protocol::manifest::{Manifest, SignedManifest, SnapshotKind};
use btkn_indexer::protocol::ttxo::Ttxo;
use btkn_indexer::protocol::{Height, ManifestId, Network, hashes, merkle};
use btkn_indexer::scan::BlockMessages;
use btkn_indexer::scan::messages::TxMessages;
use btkn_indexer::store::Store;

const START: Height = Height(100);

/// A chain in a data directory.
pub struct Chain {
    pub store: Store,
}

/// What a block cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The rules.
    pub apply: Duration,
    /// Writing what follows from them.
    pub commit: Duration,
}

/// The bodies of a snapshot: its manifest, then its chunks.
pub struct Inscriptions {
    pub manifest: Vec<u8>,
    pub chunks: Vec<Vec<u8>>,
    pub id: ManifestId,
}

fn entity() -> Keypair {
    btkn_testkit::keypair("operators")
}

impl Chain {
    /// Opens or makes one; there is at least one block.
    pub fn open(dir: &Path) -> Self {
        let keys = vec![EntityKey { key: PublicKey::from_keypair(&entity()).into(), from_height: Height(0) }];
        let entities =
            Entities::new(vec![EntityConfig { name: "operators".into(), keys }]).expect("an entity");
        let rules = Rules { network: Network::Regtest, start_height: START, entities };
        let chain = Chain { store: Store::open(dir, &rules).expect("a store") };
        if chain.store.tip().expect("a tip").is_none() {
            chain.apply(Vec::new());
        }
        chain
    }

    /// Applies and commits a block with these inscriptions.
    pub fn apply(&self, bodies: Vec<(EnvelopeKind, Vec<u8>)>) -> (Height, Cost) {
        let envelope =
            |(n, (kind, body))| EnvelopeMessage { input: n, envelope: 0, inscription: n, kind, body };
        let envelopes = (0u32..).zip(bodies).map(envelope).collect();
        let tip = self.store.tip().expect("a tip");
        let height = tip.map_or(START, |tip| tip.height.next());
        let hash = |n: u32| BlockHash::from_byte_array(hashes::sha256(&n.to_be_bytes()));
        let tx = TxMessages { index: 1, txid: Txid::all_zeros(), spends: vec![], envelopes, outputs: vec![] };
        let block = BlockMessages {
            hash: hash(height.0),
            prev_hash: tip.map_or(BlockHash::all_zeros(), |tip| tip.hash),
            time: height.0,
            txs: vec![tx],
        };
        let started = Instant::now();
        let applied = apply_block(self.store.view(), self.store.rules(), &block).expect("a block that fits");
        let apply = started.elapsed();
        let started = Instant::now();
        self.store.commit(&[(height, applied.changes)]).expect("a commit");
        (height, Cost { apply, commit: started.elapsed() })
    }

    /// Takes back the last block; returns how long that took.
    pub fn undo(&self) -> Duration {
        let tip = self.store.tip().expect("a tip").expect("a block");
        let started = Instant::now();
        self.store.undo(tip.height).expect("an undo");
        started.elapsed()
    }

    /// The inscriptions of a snapshot on the present tip whose set will be `set`: a full one, or a delta on
    /// its parent.
    pub fn snapshot(&self, parent: Option<ManifestId>, chunks: &[Chunk], set: &[Ttxo]) -> Inscriptions {
        let tip = self.store.tip().expect("a tip").expect("a block");
        let bodies: Vec<Vec<u8>> = chunks.iter().map(Chunk::encode).collect();
        let leaves: Vec<_> = set.iter().map(Ttxo::leaf).collect();
        let manifest = Manifest {
            entity: PublicKey::from_keypair(&entity()).into(),
            network_magic: Network::Regtest.magic(),
            sequence: if parent.is_some() { 2 } else { 1 },
            kind: if parent.is_some() { SnapshotKind::Delta } else { SnapshotKind::Full },
            parent,
            anchor_height: u64::from(tip.height.0),
            anchor_hash: tip.hash.to_byte_array(),
            as_of_ms: 1_750_000_000_000,
            chunks: bodies.iter().map(|body| chunk::hash(body)).collect(),
            count: set.len() as u64,
            root: merkle::root_of(&leaves),
        };
        let signed = SignedManifest::sign(&manifest, &entity());
        Inscriptions { manifest: signed.encode(), chunks: bodies, id: signed.id }
    }

    pub fn active_sequence(&self) -> Option<u64> {
        let active = self.store.view().get::<Active>(&EntityIndex(0)).expect("a row that decodes");
        active.map(|active| active.sequence)
    }

    /// Length of the undo record of a block.
    pub fn undo_bytes(&self, height: Height) -> u64 {
        self.store.undo_len(height).expect("a record that can be read").expect("a record")
    }
}

impl Inscriptions {
    /// All of them in one block.
    pub fn block(&self) -> Vec<(EnvelopeKind, Vec<u8>)> {
        let chunks = self.chunks.iter().map(|body| (EnvelopeKind::Chunk, body.clone()));
        std::iter::once((EnvelopeKind::Manifest, self.manifest.clone())).chain(chunks).collect()
    }
}

impl Cost {
    /// Of rules and writing together.
    pub fn total(self) -> Duration {
        self.apply + self.commit
    }
}
