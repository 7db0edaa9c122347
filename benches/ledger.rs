//! A snapshot with many TTXOs, and a delta on top of it: applied, committed, and taken back.
//!
//! `cargo bench --bench ledger`. The delta is the same in every case, the set below it is not: what a
//! block costs, and what it costs to take it back, should follow from the block and not from the database.
//! Prints the length of the undo records too.

use std::time::{Duration, Instant};

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{Keypair, PublicKey, SecretKey};
use bitcoin::{BlockHash, Txid};
use btkn_indexer::ledger::{Entities, EntityConfig, EntityKey, Rules, apply_block};
use btkn_indexer::protocol::chunk::{self, Chunk};
use btkn_indexer::protocol::chunk_split::split;
use btkn_indexer::protocol::curve::SECP;
use btkn_indexer::protocol::envelope::{EnvelopeKind, EnvelopeMessage};
use btkn_indexer::protocol::manifest::{Manifest, SignedManifest, SnapshotKind};
use btkn_indexer::protocol::ttxo::Ttxo;
use btkn_indexer::protocol::{
    Amount, Height, Network, PubKey, SparkOutPoint, SparkTxHash, TokenId, hashes, merkle,
};
use btkn_indexer::scan::BlockMessages;
use btkn_indexer::scan::messages::TxMessages;
use btkn_indexer::store::Store;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;

const START: Height = Height(100);
/// The largest body that fits in a standard transaction, roughly.
const CHUNK_BYTES: usize = 390_000;
/// TTXOs of the sets that the delta is applied to.
const SETS: [u64; 2] = [2_000, 50_000];
/// TTXOs that the delta creates; it spends half as many.
const DELTA: u64 = 1_000;

fn keypair(n: u64) -> Keypair {
    let secret = SecretKey::from_slice(&hashes::sha256(&n.to_be_bytes())).expect("a key");
    Keypair::from_secret_key(&SECP, &secret)
}

fn key(n: u64) -> PubKey {
    PublicKey::from_keypair(&keypair(n)).into()
}

fn entity() -> Keypair {
    keypair(u64::MAX)
}

/// TTXO number `n`, one of a thousand owners and of five tokens.
fn ttxo(n: u64) -> Ttxo {
    Ttxo {
        outpoint: SparkOutPoint { tx_hash: SparkTxHash(hashes::sha256(&n.to_le_bytes())), vout: 0 },
        owner: key(n % 1_000),
        revocation: key(1_000 + n),
        bond: 10_000,
        locktime: 1_000,
        token: TokenId([(n % 5) as u8; 32]),
        amount: Amount(u128::from(n) + 1),
    }
}

fn sorted(numbers: impl Iterator<Item = u64>) -> Vec<Ttxo> {
    let mut set: Vec<Ttxo> = numbers.map(ttxo).collect();
    set.sort_by_key(|ttxo| ttxo.outpoint);
    set
}

/// A store that follows one entity, block by block.
struct Chain {
    _dir: TempDir,
    store: Store,
}

impl Chain {
    fn new() -> Self {
        let keys = vec![EntityKey { key: PublicKey::from_keypair(&entity()).into(), from_height: Height(0) }];
        let entities =
            Entities::new(vec![EntityConfig { name: "operators".into(), keys }]).expect("an entity");
        let rules = Rules { network: Network::Regtest, start_height: START, entities };
        let dir = TempDir::new().expect("a directory");
        let chain = Chain { store: Store::open(dir.path(), &rules).expect("a store"), _dir: dir };
        chain.apply(Vec::new());
        chain
    }

    /// Applies and commits a block with these envelopes.
    fn apply(&self, envelopes: Vec<EnvelopeMessage>) -> Height {
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
        let applied = apply_block(self.store.view(), self.store.rules(), &block).expect("a block that fits");
        self.store.commit(&[(height, applied.changes)]).expect("a commit");
        height
    }

    /// The envelopes of a snapshot on the present tip whose set will be `set`.
    fn snapshot(&self, parent: Option<&SignedManifest>, chunks: &[Chunk], set: &[Ttxo]) -> Envelopes {
        let tip = self.store.tip().expect("a tip").expect("a block");
        let bodies: Vec<Vec<u8>> = chunks.iter().map(Chunk::encode).collect();
        let manifest = Manifest {
            entity: PublicKey::from_keypair(&entity()).into(),
            network_magic: Network::Regtest.magic(),
            sequence: if parent.is_some() { 2 } else { 1 },
            kind: if parent.is_some() { SnapshotKind::Delta } else { SnapshotKind::Full },
            parent: parent.map(|parent| parent.id),
            anchor_height: u64::from(tip.height.0),
            anchor_hash: tip.hash.to_byte_array(),
            as_of_ms: 1_750_000_000_000,
            chunks: bodies.iter().map(|body| chunk::hash(body)).collect(),
            count: set.len() as u64,
            root: merkle::root(set.iter().map(Ttxo::leaf)),
        };
        let signed = SignedManifest::sign(&manifest, &entity());
        let manifest = (EnvelopeKind::Manifest, signed.encode());
        let chunks = bodies.into_iter().map(|body| (EnvelopeKind::Chunk, body));
        let envelope =
            |(n, (kind, body))| EnvelopeMessage { input: n, envelope: 0, inscription: n, kind, body };
        let messages = (0u32..).zip(std::iter::once(manifest).chain(chunks)).map(envelope).collect();
        Envelopes { signed, messages }
    }

    fn active_sequence(&self) -> Option<u64> {
        use btkn_indexer::ledger::View;
        use btkn_indexer::ledger::keys::EntityIndex;
        use btkn_indexer::ledger::tables::Active;
        let active = self.store.view().get::<Active>(&EntityIndex(0)).expect("a row that decodes");
        active.map(|active| active.sequence)
    }
}

struct Envelopes {
    signed: SignedManifest,
    messages: Vec<EnvelopeMessage>,
}

fn undo_bytes(chain: &Chain, height: Height) -> u64 {
    chain.store.undo_len(height).expect("a record that can be read").expect("a record")
}

fn snapshots(c: &mut Criterion) {
    let empty = Chain::new();
    println!(
        "undo record of a block without messages: {} bytes",
        undo_bytes(&empty, empty.apply(Vec::new()))
    );
    for count in SETS {
        let full = Chain::new();
        let set = sorted(0..count);
        let envelopes = full.snapshot(None, &split(&[], &set, &[], CHUNK_BYTES), &set);
        let mut group = c.benchmark_group("full");
        group.sample_size(10).throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("activate", count), |b| {
            b.iter_custom(|rounds| {
                alternate(
                    rounds,
                    || full.apply(envelopes.messages.clone()),
                    |height| take_back(&full, height),
                )
                .0
            });
        });
        group.finish();
        let height = full.apply(envelopes.messages.clone());
        assert_eq!(full.active_sequence(), Some(1));
        println!("undo record of a full snapshot: {} bytes/TTXO", undo_bytes(&full, height) / count);

        let created = sorted(count..count + DELTA);
        let spent: Vec<SparkOutPoint> = set.iter().take((DELTA / 2) as usize).map(|t| t.outpoint).collect();
        let mut after: Vec<Ttxo> = set[spent.len()..].iter().chain(&created).copied().collect();
        after.sort_by_key(|ttxo| ttxo.outpoint);
        let chunks = split(&[], &created, &spent, CHUNK_BYTES);
        let delta = full.snapshot(Some(&envelopes.signed), &chunks, &after);
        let mut group = c.benchmark_group("delta");
        group.sample_size(20).throughput(Throughput::Elements(DELTA + DELTA / 2));
        let apply = || full.apply(delta.messages.clone());
        group.bench_function(BenchmarkId::new("activate", count), |b| {
            b.iter_custom(|rounds| alternate(rounds, apply, |height| take_back(&full, height)).0);
        });
        group.bench_function(BenchmarkId::new("undo", count), |b| {
            b.iter_custom(|rounds| alternate(rounds, apply, |height| take_back(&full, height)).1);
        });
        group.finish();
        let height = apply();
        assert_eq!(full.active_sequence(), Some(2));
        let entries = DELTA + DELTA / 2;
        println!("undo record of a delta: {} bytes/entry", undo_bytes(&full, height) / entries);
    }
}

fn take_back(chain: &Chain, height: Height) {
    chain.store.undo(height).expect("an undo");
}

/// Does and undoes in turn; the time that each took.
fn alternate(rounds: u64, apply: impl Fn() -> Height, undo: impl Fn(Height)) -> (Duration, Duration) {
    let (mut applying, mut undoing) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..rounds {
        let started = Instant::now();
        let height = apply();
        applying += started.elapsed();
        let started = Instant::now();
        undo(height);
        undoing += started.elapsed();
    }
    (applying, undoing)
}

criterion_group!(benches, snapshots);
criterion_main!(benches);
