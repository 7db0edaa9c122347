//! How fast `btkn sync` recovers the state, from every source and in every mode, beside what the machine
//! can do.
//!
//! `make bench` runs it. It makes the chain of `btkn_testkit::bench_chain` in `$BENCH_DIR` unless it is there
//! (`$BENCH_MB` megabytes of traffic, 2,000 if not set), measures the limits on its blocks, syncs it in many
//! ways, and writes the tables into docs/performance.md. `cargo bench --bench end_to_end -- WHAT...` does a part
//! of it: `chain` makes the chain and ends; `files`, `watched`, `rest` and `rpc` measure that alone and write
//! no document. `$RUNS` (3) is how often each row is measured; the median counts.
//!
//! Every run from one start height must end with the same state hash, whatever the source, mode and number
//! of threads; otherwise the benchmark fails.

mod document;
#[path = "../limits/mod.rs"]
mod limits;
mod node;
mod rates;
mod report;
mod runs;

use std::path::{Path, PathBuf};

use btkn_testkit::bench_chain::{Facts, Options, write};
use btkn_testkit::measure::machine;

use rates::Limits;
use report::Report;
use runs::Bench;

/// Outputs that the chain makes an indexer watch if it starts at the lowest height.
const WATCHED: usize = 1_000_000;

fn main() {
    // Cargo adds arguments of its own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let dir = PathBuf::from(std::env::var_os("BENCH_DIR").expect("BENCH_DIR says where the chain is"));
    let facts = chain(&dir);
    if wanted == ["chain"] {
        return;
    }
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == part);
    let bench = Bench::new(&dir, &facts, number("RUNS", 3));
    let limits = Limits::measure(&bench.blocks(250), &bench.block_files());
    let mut report = Report::new(&machine(), &facts, &limits);
    if wants("files") {
        report.files(&bench.block_files_in_every_mode(&limits));
    }
    if wants("watched") {
        report.watched(&bench.with_watched_outputs());
    }
    if wants("rest") || wants("rpc") {
        let mut node = node::start(&bench.blocks_dir());
        if wants("rest") {
            report.rest(&bench.over_rest(&node));
        }
        if wants("rpc") {
            node.stop();
            node.start_again_with("-rest=0");
            report.rpc(&bench.over_rpc(&node));
        }
    }
    report.state_hashes(bench.ends());
    if wanted.is_empty() {
        document::replace(Path::new(document::PERFORMANCE), "end to end", &report.text());
    }
}

/// The chain in a directory, made now if it is not there.
fn chain(dir: &Path) -> Facts {
    let bytes = number("BENCH_MB", 2_000) as u64 * 1_000_000;
    let options = Options { watched: WATCHED, ..Options::default() };
    if let Some(facts) = Facts::read(dir).filter(|facts| facts.is_of(options, bytes)) {
        eprintln!("{}: {} blocks are there", dir.display(), facts.height + 1);
        return facts;
    }
    eprintln!("{}: making {bytes} bytes of blocks", dir.display());
    let facts = write(dir, options, bytes);
    eprintln!("{} blocks, {} bytes, {} files", facts.height + 1, facts.bytes, facts.files);
    facts
}

/// A number from the environment.
fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
