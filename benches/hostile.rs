//! What hostile blocks cost: `btkn sync` on chains of them, beside one of ordinary blocks.
//!
//! `cargo bench --bench hostile` prints one row per case: processor time per block (of all threads, so
//! that a busy machine disturbs it little), that relative to a full ordinary block of the same run, the
//! process's peak memory, and the bytes that a block leaves on the disk once everything is in table files.
//! `BLOCKS` (64 by default, as many as a batch has) is the length of each chain, `CASE` a part of the names
//! of the cases to measure. Linux only: times and memory are read from /proc.

use std::path::Path;
use std::process::{Command, Stdio};

use btkn_testkit::hostile::{self, Case, FULL, ORDINARY, Scene};
use btkn_testkit::measure::{Use, wait};
use btkn_testkit::write_blocks;

/// TTXOs that the scene declares: enough for every announcement of a block to name another.
const TTXOS: usize = 7_000;

/// What one chain cost.
struct Cost {
    use_of: Use,
    disk: u64,
}

fn main() {
    let blocks = std::env::var("BLOCKS").ok().and_then(|text| text.parse().ok()).unwrap_or(64);
    let wanted = std::env::var("CASE").unwrap_or_default();
    let scene = Scene::new(TTXOS);
    let none = measure(&scene, None, 0);
    let ordinary = measure(&scene, Some(&ORDINARY), blocks);
    println!(
        "| {blocks} blocks that are full of | ms of one core a block | times ordinary | peak memory, MiB | disk, bytes a block |"
    );
    println!("|---|---|---|---|---|");
    let print = |case: &Case, cost: &Cost| {
        let per_block =
            |cost: &Cost| (cost.use_of.cpu - none.use_of.cpu).max(0.0) * 1000.0 / f64::from(blocks);
        let ratio = per_block(cost) / per_block(&ordinary);
        let disk = cost.disk.saturating_sub(none.disk) / u64::from(blocks);
        let (time, peak) = (per_block(cost), cost.use_of.peak / 1024);
        println!("| {} | {time:.1} | {ratio:.1} | {peak} | {disk} |", case.name);
    };
    print(&ORDINARY, &ordinary);
    for case in hostile::cases().iter().filter(|case| case.name.contains(&wanted)) {
        print(case, &measure(&scene, Some(case), blocks));
    }
}

/// Syncs the scene and a chain behind it into a new database.
fn measure(scene: &Scene, case: Option<&Case>, blocks: u32) -> Cost {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let blocks_dir = write_blocks(dir.path(), &scene.blocks);
    if let Some(case) = case {
        write_blocks(dir.path(), &case.chain(scene, FULL, blocks));
    }
    let data_dir = dir.path().join("data");
    let entity = format!("operators={}", scene.spark.key());
    let sync = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_btkn"));
        command.args(["sync", "--network", "regtest", "--entity", &entity, "--json", "--threads", "2"]);
        command.arg("--blocks-dir").arg(&blocks_dir).arg("--data-dir").arg(&data_dir);
        command.stdout(Stdio::null()).env("BTKN_LOG", "warn");
        command.spawn().expect("btkn starts")
    };
    let use_of = wait(&mut sync(), None);
    // Opening it again moves what is in the log to table files.
    wait(&mut sync(), None);
    Cost { use_of, disk: size(&data_dir) }
}

fn size(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("the directory can be read");
    entries
        .map(|entry| {
            let entry = entry.expect("the directory can be read");
            let metadata = entry.metadata().expect("the entry is there");
            if metadata.is_dir() { size(&entry.path()) } else { metadata.len() }
        })
        .sum()
}
