//! The scanner on real and on generated blocks, beside what the machine can do with the same bytes and what
//! decoding everything costs; then on blocks that are made to do harm.
//!
//! `cargo bench --bench scan`. Throughput is in raw block bytes; compare within one run.

use bitcoin::consensus::encode;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::{Block, BlockHash, OutPoint, Txid};
use btkn_indexer::protocol::Network;
use btkn_indexer::scan::{RawBlock, Scanner, VerifyBlocks, WatchSet};
use btkn_testkit::bench_chain::{BenchChain, Options};
use btkn_testkit::hostile::{FULL, ORDINARY, Scene, cases};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};

mod limits;

use limits::{Step, Watched};

/// A serialised block and its hash.
struct Raw {
    hash: BlockHash,
    bytes: Vec<u8>,
}

impl From<&Block> for Raw {
    fn from(block: &Block) -> Self {
        Raw { hash: block.block_hash(), bytes: encode::serialize(block) }
    }
}

impl From<&[u8]> for Raw {
    fn from(bytes: &[u8]) -> Self {
        Raw::from(&encode::deserialize::<Block>(bytes).expect("a block"))
    }
}

/// So many outputs that no block spends.
fn watched(count: u32) -> WatchSet {
    let txid = |n: u32| Txid::from_byte_array(sha256::Hash::hash(&n.to_le_bytes()).to_byte_array());
    (0..count).map(|n| OutPoint { txid: txid(n), vout: 0 }).collect()
}

/// The generated blocks are of regtest, whose work every real block has too.
fn scanner(verify: VerifyBlocks) -> Scanner {
    Scanner::new(verify, Network::Regtest)
}

fn bench_scan(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    block: &Raw,
    verify: VerifyBlocks,
    watched: &WatchSet,
) {
    let scanner = scanner(verify);
    group.throughput(Throughput::Bytes(block.bytes.len() as u64));
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let scanned = scanner.scan_all(&[RawBlock { hash: block.hash, bytes: &block.bytes }], watched);
            assert!(scanned.iter().all(Result::is_ok));
            scanned
        });
    });
}

/// The ways to verify blocks.
const MODES: [(&str, VerifyBlocks); 3] =
    [("none", VerifyBlocks::None), ("merkle", VerifyBlocks::Merkle), ("full", VerifyBlocks::Full)];

/// See fixtures/mainnet/README.md.
const BLOCK_951658: &[u8] = include_bytes!("../fixtures/mainnet/951658.bin");

fn usual_blocks(criterion: &mut Criterion) {
    let generated = BenchChain::traffic(Options::default(), 1).remove(0);
    let blocks = [
        ("a generated block", Raw::from(&generated)),
        ("mainnet 951658", Raw::from(BLOCK_951658)),
        ("mainnet 702861", Raw::from(bitcoin_test_data::blocks::mainnet_702861())),
    ];
    for (name, block) in &blocks {
        let mut group = criterion.benchmark_group(*name);
        group.sample_size(20);
        for (name, verify) in MODES {
            bench_scan(&mut group, &format!("{name}, nothing watched"), block, verify, &WatchSet::new());
        }
        for count in [1_000, 100_000, 1_000_000] {
            let (watched, name) = (watched(count), format!("none, {count} outputs watched"));
            bench_scan(&mut group, &name, block, VerifyBlocks::None, &watched);
        }
        let watched = Watched::new(1_000);
        for (step, name) in Step::ALL {
            let mut work = step.worker(&watched);
            group.bench_function(format!("limit: {name}"), |bencher| bencher.iter(|| work(&block.bytes)));
        }
        group.finish();
    }
}

fn hostile_blocks(criterion: &mut Criterion) {
    let (scene, watched) = (Scene::new(7_000), watched(1_000));
    let mut group = criterion.benchmark_group("a full block, 1,000 outputs watched");
    group.sample_size(20);
    for case in std::iter::once(&ORDINARY).chain(cases()) {
        let block = Raw::from(&case.chain(&scene, FULL, 1).remove(0));
        bench_scan(&mut group, case.name, &block, VerifyBlocks::Merkle, &watched);
    }
    group.finish();
}

criterion_group!(benches, usual_blocks, hostile_blocks);
criterion_main!(benches);
