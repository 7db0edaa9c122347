//! Reading blocks from block files in the page cache, beside reading the bare bytes.
//!
//! `cargo bench --bench files`. Throughput is in block bytes; compare within one run.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;

use btkn_indexer::chain::{BlockFiles, BlockId, Source};
use btkn_indexer::protocol::{Height, Network};
use btkn_testkit::bench_chain::{Facts, Options, write};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

mod limits;

use limits::{Step, Watched};

/// Length of the traffic.
const BYTES: u64 = 100_000_000;

fn open(dir: &Path) -> BlockFiles {
    let mut source = BlockFiles::open(dir, Network::Regtest).expect("block files");
    source.refresh().expect("a chain");
    source
}

/// The blocks of traffic.
fn traffic(source: &BlockFiles, facts: &Facts) -> Vec<BlockId> {
    let hashes = source.hashes(Height(facts.traffic_from), usize::MAX).expect("hashes");
    (facts.traffic_from..).map(Height).zip(hashes).map(|(height, hash)| BlockId { height, hash }).collect()
}

fn files(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let chain = dir.path().join("chain");
    let facts = write(&chain, Options::default(), BYTES);
    let blocks_dir = chain.join("blocks");
    let mut group = criterion.benchmark_group("block files in the page cache");
    group.sample_size(20).throughput(Throughput::Bytes(facts.traffic_bytes));

    let source = open(&blocks_dir);
    let blocks = traffic(&source, &facts);
    let mut buffer = Vec::new();
    group.bench_function("fetch, block by block", |bencher| {
        bencher.iter(|| {
            for block in &blocks {
                source.fetch(*block, &mut buffer).expect("a block");
                black_box(&buffer);
            }
        });
    });
    let sizes: Vec<usize> = blocks.iter().map(|block| fetched(&source, *block).len()).collect();
    let file = File::open(blocks_dir.join("blk00001.dat")).expect("the file of the traffic");
    let mut buffer = vec![0; 4 << 20];
    group.bench_function("limit: pread", |bencher| {
        bencher.iter(|| {
            let mut offset = 0;
            for size in &sizes {
                file.read_exact_at(&mut buffer[..*size], offset).expect("the file can be read");
                offset += *size as u64;
                black_box(&buffer);
            }
        });
    });
    let bytes: Vec<Vec<u8>> = blocks.iter().map(|block| fetched(&source, *block)).collect();
    for (step, name) in Step::ALL.iter().take(2) {
        let watched = Watched::new(0);
        let mut work = step.worker(&watched);
        group.bench_function(format!("limit: {name}"), |bencher| {
            bencher.iter(|| bytes.iter().for_each(|block| work(block)));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("finding out where every block is");
    group.sample_size(20).throughput(Throughput::Elements(u64::from(facts.height) + 1));
    group.bench_function("headers of all files", |bencher| bencher.iter(|| open(&blocks_dir)));
    group.finish();
}

fn fetched(source: &BlockFiles, block: BlockId) -> Vec<u8> {
    let mut bytes = Vec::new();
    source.fetch(block, &mut bytes).expect("a block");
    bytes
}

criterion_group!(benches, files);
criterion_main!(benches);
