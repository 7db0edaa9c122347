//! Runs of `btkn sync`: what each took, and that all of them came to the same state.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bitcoin::BlockHash;
use btkn_indexer::chain::{BlockFiles, BlockId, Source};
use btkn_indexer::protocol::{Height, Network};
use btkn_testkit::Node;
use btkn_testkit::bench_chain::{Facts, Level};
use btkn_testkit::measure::{self, Use};
use tempfile::TempDir;

use super::limits::Step;
use super::node;
use super::rates::Limits;

/// Numbers of threads that are tried.
const THREADS: [usize; 2] = [1, 2];

/// Ways to verify blocks, as the command line names them.
const MODES: [&str; 3] = ["none", "merkle", "full"];

/// A row of a table.
pub struct Row {
    /// How many threads.
    pub threads: usize,
    /// How blocks were verified.
    pub mode: &'static str,
    /// Whether the files came from the disk.
    pub cold: bool,
    /// How many outputs were watched from the first block on.
    pub watched: u32,
    /// What it used; the median of several runs, by their length.
    pub used: Use,
    /// GB/s of block bytes.
    pub rate: f64,
    /// Blocks a second.
    pub blocks: f64,
    /// The limit that it is compared with, in GB/s.
    pub limit: f64,
}

/// The chain, and what is done with it.
pub struct Bench<'a> {
    dir: &'a Path,
    facts: &'a Facts,
    times: usize,
    /// The state hash that each start height ends with.
    ends: RefCell<BTreeMap<u32, String>>,
}

impl<'a> Bench<'a> {
    /// Measurements on the chain in a directory, each done so many times.
    pub fn new(dir: &'a Path, facts: &'a Facts, times: usize) -> Self {
        Bench { dir, facts, times: times.max(1), ends: RefCell::default() }
    }

    /// The directory with the block files.
    pub fn blocks_dir(&self) -> PathBuf {
        self.dir.join("blocks")
    }

    /// The block files that hold the traffic.
    pub fn block_files(&self) -> Vec<PathBuf> {
        let numbers = self.facts.files_before..self.facts.files;
        numbers.map(|number| self.blocks_dir().join(file_name(number))).collect()
    }

    /// The state hash at the end, for each height from which the chain was applied.
    pub fn ends(&self) -> BTreeMap<u32, String> {
        self.ends.borrow().clone()
    }

    /// The first blocks of traffic.
    pub fn blocks(&self, count: usize) -> Vec<Vec<u8>> {
        let mut source = BlockFiles::open(&self.blocks_dir(), Network::Regtest).expect("block files");
        source.refresh().expect("a chain");
        let from = self.facts.traffic_from;
        let hashes = source.hashes(Height(from), count).expect("hashes");
        let block = |(height, hash)| {
            let mut bytes = Vec::new();
            source.fetch(BlockId { height: Height(height), hash }, &mut bytes).expect("a block");
            bytes
        };
        (from..).zip(hashes).map(block).collect()
    }

    /// Hashes of all blocks of traffic.
    fn hashes(&self) -> Vec<BlockHash> {
        let mut source = BlockFiles::open(&self.blocks_dir(), Network::Regtest).expect("block files");
        source.refresh().expect("a chain");
        source.hashes(Height(self.facts.traffic_from), usize::MAX).expect("hashes")
    }

    /// From block files, in every mode: from the page cache and from the disk.
    pub fn block_files_in_every_mode(&self, limits: &Limits) -> Vec<Row> {
        let source = Arguments::files(&self.blocks_dir());
        let mut rows = Vec::new();
        for cold in [false, true] {
            for mode in modes() {
                for threads in THREADS {
                    let run = || {
                        if cold {
                            self.forget_files()
                        } else {
                            self.read_files()
                        }
                        self.sync(&tempdir_in(self.dir), self.nothing_watched(), &source, mode, threads)
                    };
                    let rate = limits.of(step_of(mode), threads);
                    let limit = if cold { rate.min(limits.disk) } else { rate };
                    rows.push(Row { cold, limit, ..self.row(run, mode, threads) });
                }
            }
        }
        rows
    }

    /// With outputs that have to be watched from the first block of traffic on; the limit is the rate
    /// without any.
    pub fn with_watched_outputs(&self) -> Vec<Row> {
        let view = View::new(self.dir, self.facts);
        let source = Arguments::files(view.dir.path());
        let mut prepared = Vec::new();
        for level in &self.facts.levels {
            let data = tempdir_in(self.dir);
            if level.watched > 0 {
                eprintln!("preparing a database that watches {} outputs", level.watched);
                // Opening it again moves what is in its log to table files.
                for _ in 0..2 {
                    self.sync(&data, *level, &source, "none", 2);
                }
            }
            prepared.push((*level, data));
        }
        view.complete();
        let mut rows = Vec::new();
        for mode in modes().into_iter().filter(|mode| *mode != "full") {
            for threads in THREADS {
                let mut limit = 0.0;
                for (level, data) in &prepared {
                    let run = || {
                        let copy = tempdir_in(self.dir);
                        copy_dir(data.path(), copy.path());
                        self.read_files();
                        self.sync(&copy, *level, &source, mode, threads)
                    };
                    let row = self.row(run, mode, threads);
                    if level.watched == 0 {
                        limit = row.rate;
                    }
                    rows.push(Row { watched: level.watched, limit, ..row });
                }
            }
        }
        rows
    }

    /// From a node that offers REST; the limit is what curl fetches over as many connections.
    pub fn over_rest(&self, node: &Node) -> Vec<Row> {
        let hashes = self.hashes();
        let mut limits = BTreeMap::new();
        let mut rows = self.node_in_every_mode(node);
        for row in &mut rows {
            let connections = row.used.connections.max(1);
            let curl = || node::curl(node, &hashes, connections);
            let seconds = *limits.entry(connections).or_insert_with(|| median(self.times, curl, |s| *s));
            row.limit = self.facts.traffic_bytes as f64 / seconds / 1e9;
        }
        rows
    }

    /// From a node that offers RPC alone.
    pub fn over_rpc(&self, node: &Node) -> Vec<Row> {
        self.node_in_every_mode(node)
    }

    fn node_in_every_mode(&self, node: &Node) -> Vec<Row> {
        let source = Arguments::node(node);
        let mut rows = Vec::new();
        for mode in modes().into_iter().filter(|mode| *mode != "full") {
            for threads in THREADS {
                let run = || self.sync(&tempdir_in(self.dir), self.nothing_watched(), &source, mode, threads);
                rows.push(self.row(run, mode, threads));
            }
        }
        rows
    }

    fn nothing_watched(&self) -> Level {
        *self.facts.levels.first().expect("the chain can be started at the traffic")
    }

    fn row(&self, run: impl Fn() -> Use, mode: &'static str, threads: usize) -> Row {
        let used = median(self.times, run, |used| used.wall);
        let rate = self.facts.traffic_bytes as f64 / used.wall / 1e9;
        let blocks = f64::from(self.facts.height + 1 - self.facts.traffic_from) / used.wall;
        eprintln!("{rate:6.2} GB/s  {mode}, {threads} threads: {used:?}");
        Row { threads, mode, cold: false, watched: 0, used, rate, blocks, limit: 0.0 }
    }

    /// One run, into a database that is there or not. It has to end at the tip with the state of the
    /// others.
    fn sync(&self, data: &TempDir, level: Level, source: &Arguments, mode: &str, threads: usize) -> Use {
        let mut command = Command::new(env!("CARGO_BIN_EXE_btkn"));
        command.args(["sync", "--network", "regtest", "--json", "--threads", &threads.to_string()]);
        command.args(["--entity", &format!("operators={}", self.facts.entity)]);
        command.args(["--start-height", &level.start_height.to_string()]);
        command.arg("--data-dir").arg(data.path()).args(&source.args);
        if modes() != [DEFAULT] {
            command.args(["--verify-blocks", mode]);
        }
        let output = tempfile::tempfile().expect("a temporary file");
        command.stdout(output.try_clone().expect("a second handle")).env("BTKN_LOG", "warn");
        let used = measure::wait(&mut command.spawn().expect("btkn starts"), source.port);
        let (height, state) = summary(output);
        if height == u64::from(self.facts.height) {
            let mut ends = self.ends.borrow_mut();
            let before = ends.entry(level.start_height).or_insert_with(|| state.clone());
            assert_eq!(*before, state, "{command:?} came to another state than the run before it");
        } else {
            assert_eq!(height, u64::from(self.facts.traffic_from) - 1, "{command:?} ended too early");
        }
        used
    }

    /// Has the files in the page cache.
    fn read_files(&self) {
        for path in self.block_files() {
            let mut file = File::open(path).expect("a block file");
            io::copy(&mut file, &mut io::sink()).expect("the file can be read");
        }
    }

    /// Has them nowhere but on the disk.
    fn forget_files(&self) {
        for path in self.block_files() {
            File::open(&path).and_then(|file| file.sync_all()).expect("the file can be synced");
            // GNU dd advises the kernel to drop what it keeps of a file.
            let mut dd = Command::new("dd");
            dd.arg(format!("if={}", path.display())).args(["iflag=nocache", "count=0"]);
            assert!(dd.stderr(Stdio::null()).status().expect("there is dd").success());
        }
    }
}

/// Of a program without the option.
const DEFAULT: &str = "default";

/// The modes that this program has.
fn modes() -> Vec<&'static str> {
    let help = Command::new(env!("CARGO_BIN_EXE_btkn")).args(["sync", "--help"]).output();
    let help = help.expect("btkn starts").stdout;
    match String::from_utf8_lossy(&help).contains("--verify-blocks") {
        true => MODES.to_vec(),
        false => vec![DEFAULT],
    }
}

/// The bare work that a mode is compared with.
fn step_of(mode: &str) -> Step {
    if mode == "none" { Step::Inner } else { Step::Txids }
}

/// The arguments that name a source of blocks.
struct Arguments {
    args: Vec<String>,
    port: Option<u16>,
}

impl Arguments {
    fn files(dir: &Path) -> Self {
        Arguments { args: vec!["--blocks-dir".into(), dir.display().to_string()], port: None }
    }

    fn node(node: &Node) -> Self {
        let cookie = node.cookie_file().display().to_string();
        let args = vec!["--rpc-url".into(), node.rpc_url(), "--rpc-cookie-file".into(), cookie];
        Arguments { args, port: Some(node.port()) }
    }
}

/// The block files as links in a directory of their own, first without the traffic.
struct View<'a> {
    dir: TempDir,
    blocks_dir: PathBuf,
    facts: &'a Facts,
}

impl<'a> View<'a> {
    fn new(dir: &Path, facts: &'a Facts) -> Self {
        let view = View { dir: tempdir_in(dir), blocks_dir: dir.join("blocks"), facts };
        view.link("xor.dat");
        (0..facts.files_before).for_each(|number| view.link(&file_name(number)));
        view
    }

    fn complete(&self) {
        (self.facts.files_before..self.facts.files).for_each(|number| self.link(&file_name(number)));
    }

    fn link(&self, name: &str) {
        let original = fs::canonicalize(self.blocks_dir.join(name)).expect("the file is there");
        symlink(original, self.dir.path().join(name)).expect("a link can be made");
    }
}

fn file_name(number: u32) -> String {
    format!("blk{number:05}.dat")
}

/// Height and state hash in the JSON that `btkn sync` ends with.
fn summary(mut output: File) -> (u64, String) {
    use std::io::{Read, Seek};
    let mut text = String::new();
    output.rewind().and_then(|()| output.read_to_string(&mut text)).expect("the output can be read");
    let last = text.lines().last().expect("btkn sync prints a summary");
    let summary: serde_json::Value = serde_json::from_str(last).expect("the summary is JSON");
    let state = summary["state_hash"].as_str().expect("blocks were applied").to_owned();
    (summary["height"].as_u64().expect("blocks were applied"), state)
}

fn tempdir_in(dir: &Path) -> TempDir {
    tempfile::tempdir_in(dir).expect("a temporary directory")
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the directory can be made");
    for entry in fs::read_dir(from).expect("the directory can be read") {
        let entry = entry.expect("the directory can be read");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("the entry is there").is_dir() {
            true => copy_dir(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("the file can be copied")),
        }
    }
}

/// The median of several runs.
fn median<T>(times: usize, run: impl Fn() -> T, of: impl Fn(&T) -> f64) -> T {
    let mut runs: Vec<T> = (0..times).map(|_| run()).collect();
    runs.sort_by(|a, b| of(a).total_cmp(&of(b)));
    runs.swap_remove(times / 2)
}
