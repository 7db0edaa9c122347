//! What hostile blocks cost: `btkn sync` on chains of them, beside one of ordinary blocks.
//!
//! `cargo bench --bench hostile` prints one row per case: processor time per block (of all threads, so
//! that a busy machine disturbs it little), that relative to a full ordinary block of the same run, the
//! process's peak memory, and the bytes that a block leaves on the disk once everything is in table files.
//! `BLOCKS` (64 by default, as many as a batch has) is the length of each chain, `CASE` a part of the names
//! of the cases to measure. Linux only: times and memory are read from /proc.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use btkn_testkit::hostile::{self, Case, FULL, ORDINARY, Scene};
use btkn_testkit::write_blocks;

/// TTXOs that the scene declares: enough for every announcement of a block to name another.
const TTXOS: usize = 7_000;

/// How often the memory of a process is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What one chain cost.
struct Cost {
    use_of: Use,
    disk: u64,
}

/// What a process used.
#[derive(Clone, Copy, Default)]
struct Use {
    /// Processor time of all threads, in seconds.
    seconds: f64,
    /// The most memory that it had, in KiB.
    peak: u64,
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
            |cost: &Cost| (cost.use_of.seconds - none.use_of.seconds).max(0.0) * 1000.0 / f64::from(blocks);
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
    let use_of = wait(sync());
    // Opening it again moves what is in the log to table files.
    wait(sync());
    Cost { use_of, disk: size(&data_dir) }
}

/// Waits for the end of a process, and looks at it until then.
fn wait(mut child: Child) -> Use {
    let mut seen = Use::default();
    loop {
        seen = look(child.id()).unwrap_or(seen);
        if let Some(ended) = child.try_wait().expect("the child can be waited for") {
            assert!(ended.success(), "{ended}");
            return seen;
        }
        std::thread::sleep(LOOK);
    }
}

/// What a process has used so far; `None` once it has ended.
fn look(pid: u32) -> Option<Use> {
    /// Of the clock in /proc; the same on every Linux that Rust runs on.
    const TICKS_PER_SECOND: f64 = 100.0;
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let status = read("status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let peak = peak.trim().strip_suffix(" kB")?.parse().ok()?;
    // Behind the name, which stands in parentheses, user and system time are the 12th and 13th field.
    let stat = read("stat")?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(Use { seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND, peak })
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
