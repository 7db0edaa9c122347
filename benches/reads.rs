//! Point reads from the store, beside RocksDB without it and a map in memory.
//!
//! `cargo bench --bench reads`. One element is one row, decoded; the keys come in random order.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};

use btkn_indexer::ledger::View;
use btkn_indexer::ledger::keys::{ExitId, KeyPart};
use btkn_indexer::ledger::tables::Exits;
use btkn_indexer::store::Store;
use btkn_testkit::bench_chain::{Facts, Options, write};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rocksdb::DB;

/// Rows of the table that is read.
const ROWS: usize = 100_000;

/// Bytes of a row in the database without the store.
const ROW_BYTES: usize = 100;

/// A database with exits that wait.
fn database(dir: &Path) -> Store {
    let chain = dir.join("chain");
    let facts: Facts = write(&chain, Options { watched: ROWS, ..Options::default() }, 1);
    let data = dir.join("data");
    let mut command = Command::new(env!("CARGO_BIN_EXE_btkn"));
    command.args(["sync", "--network", "regtest", "--entity", &format!("operators={}", facts.entity)]);
    command.arg("--blocks-dir").arg(chain.join("blocks")).arg("--data-dir").arg(&data);
    let status = command.stdout(Stdio::null()).env("BTKN_LOG", "warn").status();
    assert!(status.expect("btkn starts").success());
    Store::open_read_only(&data).expect("a database")
}

/// The same keys without the store.
fn bare(dir: &Path, keys: &[ExitId]) -> DB {
    let db = DB::open_default(dir.join("bare")).expect("a database");
    for key in keys {
        db.put(key.to_key(), [7; ROW_BYTES]).expect("a row can be written");
    }
    db.flush().expect("it can be flushed");
    db
}

fn reads(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = database(dir.path());
    let view = store.view();
    let rows = view.scan::<Exits>(&ExitId::LOWEST, &ExitId::HIGHEST);
    let mut keys: Vec<ExitId> = rows.map(|row| row.expect("a row").0).collect();
    assert!(keys.len() >= ROWS);
    // Txids are hashes: sorted by their end, they are in no order that RocksDB knows.
    keys.sort_by_key(|key| key.to_key().into_iter().rev().collect::<Vec<u8>>());

    let mut group = criterion.benchmark_group("point reads");
    group.throughput(Throughput::Elements(1));
    let mut next = keys.iter().cycle();
    group.bench_function("a row of the store", |bencher| {
        bencher.iter(|| {
            let key = next.next().expect("a cycle has no end");
            black_box(view.get::<Exits>(key)).expect("a row that decodes")
        });
    });
    let mut next = keys.iter().cycle();
    group.bench_function("a row that is not there", |bencher| {
        bencher.iter(|| {
            let key = next.next().expect("a cycle has no end");
            let absent = ExitId { output: key.output + 1_000, ..*key };
            black_box(view.get::<Exits>(&absent)).expect("an answer")
        });
    });
    let db = bare(dir.path(), &keys);
    let mut next = keys.iter().cycle();
    group.bench_function("limit: RocksDB alone", |bencher| {
        bencher.iter(|| black_box(db.get_pinned(next.next().expect("a cycle has no end").to_key())));
    });
    let map: HashMap<Vec<u8>, [u8; ROW_BYTES]> =
        keys.iter().map(|key| (key.to_key(), [7; ROW_BYTES])).collect();
    let mut next = keys.iter().cycle();
    group.bench_function("limit: a map in memory", |bencher| {
        bencher.iter(|| black_box(map.get(&next.next().expect("a cycle has no end").to_key())));
    });
    group.finish();
}

criterion_group!(benches, reads);
criterion_main!(benches);
