//! What the state at an old height costs beside the state at the tip, and what blocks without messages
//! cost to write.
//!
//! `cargo bench --bench history`. A token has many holders; every block changes the balances of some, and
//! a counter. Then balances are looked up and listed: at the tip, ten blocks below it, and far below it,
//! where most of them have changed since.

use std::hint::black_box;

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::SecretKey;
use btkn_indexer::ledger::keys::{BlockKey, EntityIndex, KeyPart, Only};
use btkn_indexer::ledger::records::{Balance, BlockRecord, TipRecord, Unit};
use btkn_indexer::ledger::tables::{
    Balances, BlockHeights, Blocks, ChangeSet, Counters, Holders, Table, Tip,
};
use btkn_indexer::ledger::{Entities, EntityConfig, EntityKey, Overlay, Rules, View};
use btkn_indexer::protocol::curve::SECP;
use btkn_indexer::protocol::{Amount, Height, Network, OwnerKey, StateHash, TokenId, hashes};
use btkn_indexer::store::{Store, StoreView};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;

const START: Height = Height(100);
const TOKEN: TokenId = TokenId([7; 32]);
const ENTITY: EntityIndex = EntityIndex(0);
/// Holders of the token.
const HOLDERS: u32 = 20_000;
/// Blocks after the one that made them.
const BLOCKS: u32 = 2_000;
/// Balances that each of those changes.
const CHANGES: u32 = 20;
/// Blocks of a run.
const RUN: u32 = 100;

fn owner(n: u32) -> OwnerKey {
    let mut bytes = [2; 33];
    bytes[1..].copy_from_slice(&hashes::sha256(&n.to_le_bytes()));
    OwnerKey::from_slice(&bytes).expect("33 bytes")
}

fn block_hash(height: Height) -> BlockHash {
    BlockHash::from_byte_array(hashes::sha256(&height.0.to_be_bytes()))
}

fn put_balance<V: View>(state: &mut Overlay<V>, owner: OwnerKey, amount: u128) {
    let balance = Balance { available: Amount(amount), ..Balance::default() };
    state.put::<Balances>((owner, TOKEN, ENTITY), balance).expect("a row");
    state.put::<Holders>((TOKEN, owner, ENTITY), Unit).expect("a row");
}

/// The changes of a block, as those of the ledger are: the block itself, and what `write` adds.
fn block<V: View>(state: V, height: Height, write: impl FnOnce(&mut Overlay<V>)) -> ChangeSet {
    let mut state = Overlay::new(state);
    let (hash, state_hash) = (block_hash(height), StateHash(hashes::sha256(&height.0.to_le_bytes())));
    let record = BlockRecord { hash, time: height.0, state_hash, events: String::new() };
    state.put::<Blocks>(height, record).expect("a row");
    state.put::<BlockHeights>(BlockKey::from(hash), height).expect("a row");
    state.put::<Tip>(Only, TipRecord { height, hash, time: height.0, state_hash }).expect("a row");
    write(&mut state);
    state.into_changes()
}

fn open(dir: &TempDir) -> Store {
    let key = SecretKey::from_slice(&[1; 32]).expect("a key").public_key(&SECP).into();
    let keys = vec![EntityKey { key, from_height: START }];
    let entities = Entities::new(vec![EntityConfig { name: "operators".into(), keys }]).expect("an entity");
    let rules = Rules { network: Network::Regtest, start_height: START, entities };
    Store::open(dir.path(), &rules).expect("a store")
}

/// Applies blocks from `from` on in one run; each changes `changes` balances.
fn run(view: &StoreView<'_>, from: Height, blocks: u32, changes: u32) -> Vec<(Height, ChangeSet)> {
    let mut pending = Overlay::new(view);
    let mut run = Vec::new();
    for height in (from.0..from.0 + blocks).map(Height) {
        let changes = block(&pending, height, |state| {
            for n in 0..changes {
                let number = height.0.wrapping_mul(CHANGES).wrapping_add(n).wrapping_mul(2_654_435_761);
                put_balance(state, owner(number % HOLDERS), u128::from(height.0));
            }
            if changes > 0 {
                state.put::<Counters>(0, u64::from(height.0)).expect("a row");
            }
        });
        pending.absorb(&changes);
        run.push((height, changes));
    }
    run
}

/// A store with the whole chain, opened again so that its rows are in files.
fn chain(dir: &TempDir) -> Store {
    let store = open(dir);
    let first =
        block(store.view(), START, |state| (0..HOLDERS).for_each(|n| put_balance(state, owner(n), 1)));
    store.commit(&[(START, first)]).expect("a commit");
    for from in (0..BLOCKS).step_by(RUN as usize).map(|n| Height(START.0 + 1 + n)) {
        let run = run(&store.view(), from, RUN, CHANGES);
        store.commit(&run).expect("a commit");
    }
    drop(store);
    open(dir)
}

fn reads(c: &mut Criterion) {
    let dir = TempDir::new().expect("a directory");
    let store = chain(&dir);
    let view = store.view();
    let tip = START.0 + BLOCKS;
    let places = [("tip", tip), ("10 below", tip - 10), ("1900 below", tip - 1900)];
    let owners: Vec<OwnerKey> = (0..HOLDERS).map(owner).collect();
    let mut group = c.benchmark_group("history");
    for (name, height) in places {
        let past = view.at(Height(height)).expect("a state that is kept");
        let mut next = owners.iter().cycle();
        group.bench_function(BenchmarkId::new("balance", name), |b| {
            b.iter(|| {
                let owner = *next.next().expect("an endless list");
                let balance = past.get::<Balances>(&(owner, TOKEN, ENTITY)).expect("a row that can be read");
                assert!(black_box(balance).is_some());
            });
        });
        let mut next = owners.iter().cycle();
        group.bench_function(BenchmarkId::new("no such balance", name), |b| {
            b.iter(|| {
                let owner = *next.next().expect("an endless list");
                let key = (owner, TOKEN, EntityIndex(1));
                assert!(past.get::<Balances>(&key).expect("a row that can be read").is_none());
            });
        });
        let mut next = owners.iter().cycle();
        group.throughput(Throughput::Elements(100));
        group.bench_function(BenchmarkId::new("list of 100 balances", name), |b| {
            b.iter(|| {
                let from = (*next.next().expect("an endless list"), TOKEN, ENTITY);
                let mut rows = past.scan::<Balances>(&from, &<Balances as Table>::Key::HIGHEST).take(100);
                assert!(rows.all(|row| black_box(row).is_ok()));
            });
        });
        group.bench_function(BenchmarkId::new("a row that every block changes", name), |b| {
            b.iter(|| black_box(past.get::<Counters>(&0).expect("a row that can be read")));
        });
    }
    group.finish();
}

/// The balances of the token that changed since a block, of two thousand blocks at most.
fn changes(c: &mut Criterion) {
    let dir = TempDir::new().expect("a directory");
    let store = chain(&dir);
    let view = store.view();
    let tip = START.0 + BLOCKS;
    let mut group = c.benchmark_group("history");
    for blocks in [10, 1900] {
        group.bench_function(BenchmarkId::new("changed balances of blocks", blocks), |b| {
            b.iter(|| {
                let of_token = |(_, token, _): &<Balances as Table>::Key| *token == TOKEN;
                let changed =
                    view.changed::<Balances>(Height(tip - blocks), Height(tip), usize::MAX, of_token);
                black_box(changed.expect("states that are kept").len())
            });
        });
    }
    group.finish();
}

fn blocks_without_messages(c: &mut Criterion) {
    const COUNT: u32 = 1_000;
    let dir = TempDir::new().expect("a directory");
    let store = open(&dir);
    let mut from = START;
    let mut group = c.benchmark_group("history");
    group.sample_size(10).throughput(Throughput::Elements(COUNT.into()));
    group.bench_function("write 1000 blocks without messages", |b| {
        b.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| {
                    let run = run(&store.view(), from, COUNT, 0);
                    from = Height(from.0 + COUNT);
                    let started = std::time::Instant::now();
                    store.commit(&run).expect("a commit");
                    started.elapsed()
                })
                .sum()
        });
    });
    group.finish();
}

criterion_group!(benches, reads, changes, blocks_without_messages);
criterion_main!(benches);
