//! The scanner beside what it replaces, decoding every transaction and looking for envelopes in each; then
//! on blocks that are made to do harm.
//!
//! `cargo bench --bench scan`. Throughput is in raw block bytes; compare within one run.

use bitcoin::hashes::{Hash, sha256};
use bitcoin::{Block, BlockHash, OutPoint, Txid};
use btkn_indexer::protocol::envelope;
use btkn_indexer::scan::{RawBlock, WatchSet, scan_batch};
use btkn_testkit::hostile::{Case, FULL, ORDINARY, Scene, cases};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn block(scene: &Scene, case: &Case) -> (BlockHash, Vec<u8>) {
    let block = case.chain(scene, FULL, 1).remove(0);
    (block.block_hash(), bitcoin::consensus::serialize(&block))
}

fn watched() -> WatchSet {
    let txid = |n: u32| Txid::from_byte_array(sha256::Hash::hash(&n.to_le_bytes()).to_byte_array());
    (0..1_000).map(|n| OutPoint { txid: txid(n), vout: 0 }).collect()
}

fn scan(criterion: &mut Criterion) {
    let (scene, watched) = (Scene::new(7_000), watched());
    let mut group = criterion.benchmark_group("a full block, 1,000 outputs watched");
    group.sample_size(20);
    for case in std::iter::once(&ORDINARY).chain(cases()) {
        let (hash, bytes) = block(&scene, case);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(case.name, |bencher| {
            bencher.iter(|| {
                let scanned = scan_batch(&[RawBlock { hash, bytes: &bytes }], &watched);
                assert!(scanned.iter().all(Result::is_ok));
                scanned
            });
        });
    }
    let (_, bytes) = block(&scene, &ORDINARY);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("ordinary, everything decoded", |bencher| {
        bencher.iter(|| {
            let block: Block = bitcoin::consensus::deserialize(&bytes).expect("it was serialised above");
            block.txdata.iter().map(|tx| envelope::messages(tx).len()).sum::<usize>()
        });
    });
    group.finish();
}

criterion_group!(benches, scan);
criterion_main!(benches);
