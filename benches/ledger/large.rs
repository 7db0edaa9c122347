//! A full snapshot of a million TTXOs, and a delta of ten thousand on top of it.
//!
//! Chunks come in blocks of their own, as they would on a chain, where ten of them fill one. What is
//! measured is the block that completes a snapshot, from its messages to the end of the commit, and taking
//! it back. Each step runs in a process of its own, on two threads, on a database that was just opened, so
//! that its memory is that of this step.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use btkn_indexer::protocol::SparkOutPoint;
use btkn_indexer::protocol::chunk_split::split;
use btkn_indexer::protocol::envelope::EnvelopeKind;
use btkn_testkit::Population;

use super::CHUNK_BYTES;
use super::chain::{Chain, Inscriptions};

/// In whose presence a process measures one step: `apply` or `undo`, and the directory.
const STEP: &str = "LEDGER_BENCH_STEP";
const DIRECTORY: &str = "LEDGER_BENCH_DIRECTORY";

/// The block to be applied, in the directory of a step: bodies, each behind its length.
const BLOCK: &str = "block";

/// As many chunks as fit in a block.
const CHUNKS_PER_BLOCK: usize = 10;

/// TTXOs that the delta creates; it spends half as many.
const DELTA: u64 = 10_000;

/// A million TTXOs of 100,000 owners.
const POPULATION: Population = Population { owners: 100_000, tokens: 100 };

/// Runs one step if this process was started for it.
pub fn step() -> bool {
    let (Ok(step), Ok(dir)) = (std::env::var(STEP), std::env::var(DIRECTORY)) else { return false };
    let dir = Path::new(&dir);
    let chain = Chain::open(dir);
    let opened = peak_memory();
    let times = match step.as_str() {
        "undo" => format!("| | | {} |", seconds(chain.undo())),
        _ => {
            let (_, cost) = chain.apply(read_block(dir));
            format!("| {} | {} | {} |", seconds(cost.apply), seconds(cost.commit), seconds(cost.total()))
        }
    };
    println!("| {step} {times} {} | {opened} |", peak_memory());
    true
}

/// Measures a full snapshot of `count` TTXOs and a delta.
pub fn run(count: u64) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let set = POPULATION.ttxos(0..count);
    let chain = Chain::open(dir.path());
    let full = chain.snapshot(None, &split(&[], &set, &[], CHUNK_BYTES), &set);
    let last = publish_all_but_the_last(&chain, &full);
    drop(chain);
    println!("\n{count} TTXOs of {} owners, then a delta that creates {DELTA}:\n", POPULATION.owners);
    println!(
        "| step | rules, s | commit, s | both, s | peak memory, MiB | before, MiB |\n|---|---|---|---|---|---|"
    );
    write_block(dir.path(), &last);
    for step in ["apply full", "undo", "apply full"] {
        start(step, dir.path());
    }
    let chain = Chain::open(dir.path());
    assert_eq!(chain.active_sequence(), Some(1));
    let created = POPULATION.ttxos(count..count + DELTA);
    let spent: Vec<SparkOutPoint> =
        set.iter().step_by((2 * count / DELTA).max(1) as usize).map(|t| t.outpoint).collect();
    let mut after: Vec<_> =
        set.into_iter().filter(|ttxo| spent.binary_search(&ttxo.outpoint).is_err()).collect();
    after.extend(&created);
    after.sort_by_key(|ttxo| ttxo.outpoint);
    let delta = chain.snapshot(Some(full.id), &split(&[], &created, &spent, CHUNK_BYTES), &after);
    drop(chain);
    write_block(dir.path(), &delta.block());
    for step in ["apply delta", "undo", "apply delta"] {
        start(step, dir.path());
    }
    assert_eq!(Chain::open(dir.path()).active_sequence(), Some(2));
}

/// Publishes a snapshot but for its last block, which is returned.
fn publish_all_but_the_last(chain: &Chain, snapshot: &Inscriptions) -> Vec<(EnvelopeKind, Vec<u8>)> {
    let mut blocks: Vec<_> = snapshot.block().chunks(CHUNKS_PER_BLOCK).map(<[_]>::to_vec).collect();
    let last = blocks.pop().expect("a manifest");
    let costs: Vec<Duration> = blocks.into_iter().map(|block| chain.apply(block).1.total()).collect();
    if let Some(slowest) = costs.iter().max() {
        println!("{} blocks of chunks, the slowest in {} s", costs.len(), seconds(*slowest));
    }
    last
}

fn start(step: &str, dir: &Path) {
    let itself = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(itself);
    command.env(STEP, step).env(DIRECTORY, dir).env("RAYON_NUM_THREADS", "2");
    assert!(command.status().expect("it starts").success(), "{step}");
}

fn write_block(dir: &Path, bodies: &[(EnvelopeKind, Vec<u8>)]) {
    let mut bytes = Vec::new();
    for (kind, body) in bodies {
        bytes.push(u8::from(*kind == EnvelopeKind::Chunk));
        bytes.extend((body.len() as u64).to_le_bytes());
        bytes.extend(body);
    }
    std::fs::write(dir.join(BLOCK), bytes).expect("a file");
}

fn read_block(dir: &Path) -> Vec<(EnvelopeKind, Vec<u8>)> {
    let bytes = std::fs::read(dir.join(BLOCK)).expect("a file");
    let mut bodies = Vec::new();
    let mut rest = &bytes[..];
    while let Some((head, tail)) = rest.split_first_chunk::<9>() {
        let kind = if head[0] == 1 { EnvelopeKind::Chunk } else { EnvelopeKind::Manifest };
        let len = u64::from_le_bytes(head[1..].try_into().expect("eight bytes"));
        let (body, tail) = tail.split_at(len as usize);
        bodies.push((kind, body.to_vec()));
        rest = tail;
    }
    bodies
}

fn seconds(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64())
}

/// The most memory that this process has had, in MiB. Linux only.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}
