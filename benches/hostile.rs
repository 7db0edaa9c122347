//! What hostile blocks cost: `btkn sync` on chains of them, beside one of ordinary blocks.
//!
//! `cargo bench --bench hostile` prints one row per case: seconds per block, that relative to a full
//! ordinary block of the same run, the process's peak memory, and the bytes that a block leaves on the
//! disk once everything is in table files. `BLOCKS` (64 by default) is the length of each chain, `CASE` a
//! part of the names of the cases to measure. Linux only: peak memory is read from /proc.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use btkn_testkit::hostile::{self, Case, FULL, ORDINARY, Scene};
use btkn_testkit::write_blocks;

/// TTXOs that the scene declares: enough for every announcement of a block to name another.
const TTXOS: usize = 7_000;

/// How often the memory of a process is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What one chain cost.
struct Cost {
    seconds: f64,
    peak_kib: u64,
    disk: u64,
}

fn main() {
    let blocks = std::env::var("BLOCKS").ok().and_then(|text| text.parse().ok()).unwrap_or(64);
    let wanted = std::env::var("CASE").unwrap_or_default();
    let scene = Scene::new(TTXOS);
    let none = measure(&scene, None, 0);
    let ordinary = measure(&scene, Some(&ORDINARY), blocks);
    println!(
        "| {blocks} blocks that are full of | seconds a block | times ordinary | peak memory, MiB | disk, bytes a block |"
    );
    println!("|---|---|---|---|---|");
    let print = |case: &Case, cost: &Cost| {
        let per_block = |cost: &Cost| (cost.seconds - none.seconds).max(0.0) / f64::from(blocks);
        let ratio = per_block(cost) / per_block(&ordinary);
        let disk = cost.disk.saturating_sub(none.disk) / u64::from(blocks);
        let (seconds, peak) = (per_block(cost), cost.peak_kib / 1024);
        println!("| {} | {seconds:.4} | {ratio:.1} | {peak} | {disk} |", case.name);
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
    let started = Instant::now();
    let peak_kib = wait(sync());
    let seconds = started.elapsed().as_secs_f64();
    // Opening it again moves what is in the log to table files.
    wait(sync());
    Cost { seconds, peak_kib, disk: size(&data_dir) }
}

/// Waits for the end of a process; returns the most memory that it was seen to have used.
fn wait(mut child: Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let seen = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(seen.unwrap_or(0));
        if let Some(ended) = child.try_wait().expect("the child can be waited for") {
            assert!(ended.success(), "{ended}");
            return peak;
        }
        std::thread::sleep(LOOK);
    }
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
