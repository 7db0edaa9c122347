//! Decoding never allocates more than a small multiple of its input, whatever the input claims.
//!
//! The allocator of this test program counts. Tried are the corpora of the fuzz targets, inputs that
//! claim lengths they do not have, and inputs that are as dense as the format allows: the most items in
//! the fewest bytes. The counter is that of the whole process, so everything runs in one test.

mod dense;

use std::fs;
use std::hint::black_box;
use std::path::Path;

use bitcoin::consensus::encode;
use bitcoin::hashes::{Hash, sha256d};
use bitcoin::{BlockHash, Witness};
use btkn_indexer::api::cursor::{self, List};
use btkn_indexer::chain::{BlockFiles, Source};
use btkn_indexer::protocol::chunk::Chunk;
use btkn_indexer::protocol::manifest::SignedManifest;
use btkn_indexer::protocol::{Network, TokenId, address, envelope, op_return};
use btkn_indexer::scan::{RawBlock, WatchSet, scan_batch};
use btkn_testkit::fuzz::reference::transaction_of;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// An input with its name.
type Named = (String, Vec<u8>);

/// What a decoder may allocate: `factor` bytes for each byte of input and `fixed` bytes besides, all that
/// is alive at one moment added up. While a vector grows, its old and its new place both count.
struct Limit {
    /// Name of the corpus.
    corpus: &'static str,
    factor: usize,
    fixed: usize,
    /// Decodes; returns the peak above what was allocated before.
    measure: fn(&[u8]) -> usize,
    dense: fn() -> Vec<Named>,
}

const KIB: usize = 1 << 10;

const LIMITS: &[Limit] = &[
    Limit { corpus: "manifest", factor: 4, fixed: KIB, measure: manifest, dense: dense::manifests },
    Limit { corpus: "chunk", factor: 8, fixed: KIB, measure: chunk, dense: dense::chunks },
    Limit { corpus: "announcement", factor: 2, fixed: KIB, measure: script, dense: dense::scripts },
    Limit { corpus: "withdrawal", factor: 2, fixed: KIB, measure: script, dense: dense::scripts },
    Limit { corpus: "address", factor: 2, fixed: KIB, measure: text, dense: dense::texts },
    Limit { corpus: "cursor", factor: 2, fixed: KIB, measure: text, dense: dense::texts },
    Limit { corpus: "envelope", factor: 24, fixed: KIB, measure: tapscript, dense: dense::tapscripts },
    Limit { corpus: "block", factor: 16, fixed: 24 * KIB, measure: block, dense: dense::blocks },
    Limit { corpus: "block_file", factor: 4, fixed: 1024 * KIB, measure: block_file, dense: dense::files },
];

#[test]
fn decoding_allocates_at_most_a_small_multiple_of_its_input() {
    // Threads and tables that are made once.
    for (_, bytes) in dense::blocks() {
        block(&bytes);
    }
    for (_, bytes) in dense::chunks() {
        chunk(&bytes);
    }
    let mut broken = Vec::new();
    for limit in LIMITS {
        let mut worst = (0.0, String::new());
        let corpus = corpus(limit.corpus);
        assert!(corpus.len() >= 20, "the corpus of {} has {} inputs", limit.corpus, corpus.len());
        let dense = (limit.dense)();
        assert!(dense.iter().any(|(_, input)| input.len() > 100_000), "none of {} is long", limit.corpus);
        for (name, input) in corpus.iter().chain(&dense) {
            let peak = (limit.measure)(input);
            let factor = peak.saturating_sub(limit.fixed) as f64 / input.len().max(1) as f64;
            if factor > worst.0 {
                worst = (factor, name.clone());
            }
            if peak > limit.fixed + limit.factor * input.len() {
                broken.push(format!("{} {name}: {peak} for {} bytes", limit.corpus, input.len()));
            }
        }
        println!("{}: {:.1} of {} for {}", limit.corpus, worst.0, limit.factor, worst.1);
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What fuzzing reached, and what it found.
fn corpus(target: &str) -> Vec<Named> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let dirs = ["corpus", "regressions"].map(|kind| dir.join(kind).join(target));
    let files = dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten();
    let files = files.map(|entry| entry.unwrap().path());
    files.map(|file| (file.display().to_string(), fs::read(&file).unwrap())).collect()
}

fn peak<T>(decode: impl FnOnce() -> T) -> usize {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    drop(black_box(decode()));
    ALLOCATOR.peak_usage() - before
}

fn manifest(body: &[u8]) -> usize {
    peak(|| SignedManifest::decode(body))
}

fn chunk(body: &[u8]) -> usize {
    peak(|| Chunk::decode(body, Network::Regtest))
}

fn script(script: &[u8]) -> usize {
    peak(|| op_return::parse(script))
}

fn text(text: &[u8]) -> usize {
    let Ok(text) = std::str::from_utf8(text) else { return 0 };
    let token = peak(|| address::parse_token(text, Network::Mainnet));
    let owner = peak(|| address::parse_owner(text, Network::Mainnet));
    let cursor = peak(|| cursor::decode::<TokenId>(List::Tokens, text));
    token.max(owner).max(cursor)
}

fn tapscript(script: &[u8]) -> usize {
    let tx = encode::deserialize(script)
        .unwrap_or_else(|_| transaction_of(Witness::from_slice(&[script, &[0xc0; 33]]), Vec::new()));
    peak(|| envelope::messages(&tx))
}

fn block(bytes: &[u8]) -> usize {
    let header = &bytes[..bytes.len().min(80)];
    let hash = BlockHash::from_raw_hash(sha256d::Hash::hash(header));
    peak(|| scan_batch(&[RawBlock { hash, bytes }], &WatchSet::new()))
}

/// The whole way: the directory is opened, and its file indexed.
fn block_file(content: &[u8]) -> usize {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("blk00000.dat"), content).unwrap();
    peak(|| {
        let mut source = BlockFiles::open(dir.path(), Network::Regtest)?;
        source.refresh()
    })
}
