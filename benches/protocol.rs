//! What an activation does with every TTXO: decode its chunk, hash its record, build the tree.
//!
//! `cargo bench --bench protocol`. Throughput is in TTXOs. Decoding is dominated by one square root per
//! revocation commitment, taken on all threads of rayon's pool; "decode again" is without them.

use btkn_indexer::protocol::chunk::Chunk;
use btkn_indexer::protocol::chunk_split::split;
use btkn_indexer::protocol::ttxo::Ttxo;
use btkn_indexer::protocol::{Network, NodeHash, merkle, withdrawal_output};
use btkn_testkit::Population;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const COUNT: u64 = 10_000;
/// The largest body that fits in a standard transaction, roughly.
const CHUNK_BYTES: usize = 390_000;

/// A set with a hundred owners and five tokens.
fn set() -> Vec<Ttxo> {
    Population { owners: 100, tokens: 5 }.ttxos(0..COUNT)
}

fn chunks(c: &mut Criterion) {
    let set = set();
    let chunks = split(&[], &set, &[], CHUNK_BYTES);
    let bodies: Vec<Vec<u8>> = chunks.iter().map(Chunk::encode).collect();
    let mut group = c.benchmark_group("chunk");
    group.throughput(Throughput::Elements(COUNT));
    group.bench_function("decode", |b| {
        b.iter(|| {
            let decode =
                |body: &Vec<u8>| Chunk::decode(body, Network::Regtest).expect("a chunk").created.len();
            bodies.iter().map(decode).sum::<usize>()
        });
    });
    group.bench_function("decode again", |b| {
        b.iter(|| {
            let decode =
                |body: &Vec<u8>| Chunk::decode_again(body, Network::Regtest).expect("a chunk").created.len();
            bodies.iter().map(decode).sum::<usize>()
        });
    });
    group.bench_function("encode", |b| {
        b.iter(|| chunks.iter().map(|chunk| chunk.encode().len()).sum::<usize>());
    });
    group.bench_function("split", |b| b.iter(|| split(&[], &set, &[], CHUNK_BYTES).len()));
    group.finish();
}

fn tree(c: &mut Criterion) {
    let set = set();
    let leaves: Vec<NodeHash> = set.iter().map(Ttxo::leaf).collect();
    let mut group = c.benchmark_group("tree");
    group.throughput(Throughput::Elements(COUNT));
    group.bench_function("leaves", |b| {
        b.iter(|| set.iter().map(Ttxo::leaf).fold(0, |sum, leaf| sum ^ leaf.0[0]))
    });
    group.bench_function("root", |b| b.iter(|| merkle::root(leaves.iter().copied())));
    group.bench_function("root on all threads", |b| b.iter(|| merkle::root_of(&leaves)));
    group.finish();
}

fn withdrawal(c: &mut Criterion) {
    let ttxo = set()[0];
    c.bench_function("withdrawal output key", |b| {
        b.iter(|| withdrawal_output::output_key(&ttxo.revocation, ttxo.locktime, &ttxo.owner));
    });
}

criterion_group!(benches, chunks, tree, withdrawal);
criterion_main!(benches);
