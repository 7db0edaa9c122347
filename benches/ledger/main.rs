//! A snapshot with many TTXOs, and a delta on top of it: applied, committed, and taken back.
//!
//! `cargo bench --bench ledger`. The delta is the same in every case, the set below it is not: what a
//! block costs, and what it costs to take it back, should follow from the block and not from the database.
//! Prints the length of the undo records too. Then comes a snapshot of `TTXOS` (a million by default; 0 to
//! leave it out), see `large.rs`.

mod chain;
mod large;

use std::time::Duration;

use btkn_indexer::protocol::SparkOutPoint;
use btkn_indexer::protocol::chunk_split::split;
use btkn_testkit::Population;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use tempfile::TempDir;

use chain::{Chain, Inscriptions};

/// As in the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The largest body that fits in a standard transaction, roughly.
const CHUNK_BYTES: usize = 390_000;
/// TTXOs of the sets that the delta is applied to.
const SETS: [u64; 2] = [2_000, 50_000];
/// TTXOs that the delta creates; it spends half as many.
const DELTA: u64 = 1_000;
const POPULATION: Population = Population { owners: 1_000, tokens: 5 };

fn snapshots(c: &mut Criterion) {
    let (_dir, empty) = new_chain();
    let (height, _) = empty.apply(Vec::new());
    println!("undo record of a block without messages: {} bytes", empty.undo_bytes(height));
    for count in SETS {
        let (_dir, full) = new_chain();
        let set = POPULATION.ttxos(0..count);
        let first = full.snapshot(None, &split(&[], &set, &[], CHUNK_BYTES), &set);
        let mut group = c.benchmark_group("full");
        group.sample_size(10).throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("activate", count), |b| {
            b.iter_custom(|rounds| alternate(rounds, &full, &first).0);
        });
        group.finish();
        let (height, _) = full.apply(first.block());
        assert_eq!(full.active_sequence(), Some(1));
        println!("undo record of a full snapshot: {} bytes/TTXO", full.undo_bytes(height) / count);

        let created = POPULATION.ttxos(count..count + DELTA);
        let spent: Vec<SparkOutPoint> = set.iter().take((DELTA / 2) as usize).map(|t| t.outpoint).collect();
        let mut after: Vec<_> = set[spent.len()..].iter().chain(&created).copied().collect();
        after.sort_by_key(|ttxo| ttxo.outpoint);
        let delta = full.snapshot(Some(first.id), &split(&[], &created, &spent, CHUNK_BYTES), &after);
        let mut group = c.benchmark_group("delta");
        group.sample_size(20).throughput(Throughput::Elements(DELTA + DELTA / 2));
        group.bench_function(BenchmarkId::new("activate", count), |b| {
            b.iter_custom(|rounds| alternate(rounds, &full, &delta).0);
        });
        group.bench_function(BenchmarkId::new("undo", count), |b| {
            b.iter_custom(|rounds| alternate(rounds, &full, &delta).1);
        });
        group.finish();
        let (height, _) = full.apply(delta.block());
        assert_eq!(full.active_sequence(), Some(2));
        println!("undo record of a delta: {} bytes/entry", full.undo_bytes(height) / (DELTA + DELTA / 2));
    }
}

fn new_chain() -> (TempDir, Chain) {
    let dir = TempDir::new().expect("a directory");
    let chain = Chain::open(dir.path());
    (dir, chain)
}

/// Applies a block and takes it back in turn; the time that each took.
fn alternate(rounds: u64, chain: &Chain, snapshot: &Inscriptions) -> (Duration, Duration) {
    let (mut applying, mut undoing) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..rounds {
        applying += chain.apply(snapshot.block()).1.total();
        undoing += chain.undo();
    }
    (applying, undoing)
}

criterion_group!(benches, snapshots);

fn main() {
    if large::step() {
        return;
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
    let count = std::env::var("TTXOS").map_or(Ok(1_000_000), |text| text.parse());
    match count.expect("TTXOS is a number") {
        0 => {}
        count => large::run(count),
    }
}
