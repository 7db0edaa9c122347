//! From a node's new block to the answer of the API: median and 99th percentile over 200 blocks of 1.5 MB.
//!
//! `make bench-latency` runs it and writes its table into docs/performance.md. A real node gets one block
//! after the other (`submitblock`), while another thread asks `btkn run` for its tip as fast as it answers.
//! Measured from the moment at which the node has said that it took the block. `$BLOCKS` is their number.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bitcoin::consensus::encode::serialize_hex;
use btkn_testkit::bench_chain::{BenchChain, Options};
use btkn_testkit::measure::machine;
use btkn_testkit::{Node, NodeOptions};
use serde_json::Value;

#[path = "end_to_end/document.rs"]
mod document;

/// Weight of a block of traffic that has 1.5 MB.
const WEIGHT: usize = 3_270_000;

/// Pause between two requests to the API.
const PAUSE: Duration = Duration::from_micros(200);

/// How long a block may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let count = std::env::var("BLOCKS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let mut text = format!("Measured on: {}.\n\n", machine());
    text += "| source | blocks | MB each | the node's own work, ms | median, ms | 99th percentile, ms | longest, ms |\n";
    text += "|---|---|---|---|---|---|---|\n";
    for source in ["RPC", "REST", "files beside the node"] {
        let row = measure(source, count).row(source);
        println!("{row}");
        text += &row;
        text.push('\n');
    }
    document::replace(Path::new(document::PERFORMANCE), "tip latency", &text);
}

/// Times in milliseconds.
struct Times {
    /// From when a block was handed to the node until it said that it took it.
    node: Vec<f64>,
    /// From then until the API answered with it; 0 where it did so before.
    answer: Vec<f64>,
    /// Bytes of all blocks.
    bytes: usize,
}

impl Times {
    fn row(mut self, source: &str) -> String {
        self.node.sort_by(f64::total_cmp);
        self.answer.sort_by(f64::total_cmp);
        let count = self.answer.len();
        let at = |times: &[f64], part: usize| times[(count * part / 100).min(count - 1)];
        let size = self.bytes as f64 / count as f64 / 1e6;
        let (node, median, high) = (at(&self.node, 50), at(&self.answer, 50), at(&self.answer, 99));
        let longest = at(&self.answer, 100);
        format!("| {source} | {count} | {size:.2} | {node:.0} | {median:.1} | {high:.1} | {longest:.1} |")
    }
}

fn measure(source: &str, count: usize) -> Times {
    let rest = if source == "REST" { "-rest=1" } else { "-rest=0" };
    let node = NodeOptions::new().arg(rest).arg("-dbcache=500").start();
    let mut chain = BenchChain::new(Options { weight: WEIGHT, ..Options::default() });
    let mut bytes = 0;
    // The genesis block is there; the next ones are empty but for the coins, and are caught up with.
    let mut submit = |chain: &mut BenchChain| {
        let block = chain.next().expect("the chain has no end");
        bytes = block.total_size();
        let (hash, hex) = (block.block_hash().to_string(), serialize_hex(&block));
        node.set_time(block.header.time.into());
        let asked = Instant::now();
        let refused: Option<String> = node.rpc("submitblock", &[hex.into()]);
        assert_eq!(refused, None, "block {hash}");
        (hash, asked.elapsed(), bytes)
    };
    chain.next();
    let mut tip = String::new();
    while chain.traffic_from().is_none() {
        (tip, ..) = submit(&mut chain);
    }
    let server = Server::start(source == "files beside the node", &node, &chain);
    let (send, answers) = mpsc::channel();
    let url = format!("{}/v1/status", server.url);
    std::thread::spawn(move || watch(&url, &send));
    wait_for(&answers, &tip);
    let mut times = Times { node: Vec::new(), answer: Vec::new(), bytes: 0 };
    for _ in 0..count {
        let (hash, took, bytes) = submit(&mut chain);
        let taken = Instant::now();
        let answered = wait_for(&answers, &hash);
        times.node.push(took.as_secs_f64() * 1e3);
        times.answer.push(answered.saturating_duration_since(taken).as_secs_f64() * 1e3);
        times.bytes += bytes;
        // Long enough for the program to be at rest again, and never the same.
        std::thread::sleep(Duration::from_millis(20 + times.bytes as u64 % 60));
    }
    times
}

/// Tells of every new tip that the API answers with, and when it did.
fn watch(url: &str, tips: &mpsc::Sender<(String, Instant)>) {
    let agent = ureq::Agent::new_with_defaults();
    let mut last = String::new();
    loop {
        // The server ends with the measurement.
        let Ok(mut response) = agent.get(url).call() else { return };
        let Ok(status) = response.body_mut().read_json::<Value>() else { return };
        let now = Instant::now();
        let tip = status["as_of"]["block_hash"].as_str().unwrap_or_default();
        if tip != last {
            last = tip.to_owned();
            if tips.send((last.clone(), now)).is_err() {
                return;
            }
        }
        std::thread::sleep(PAUSE);
    }
}

fn wait_for(answers: &mpsc::Receiver<(String, Instant)>, hash: &str) -> Instant {
    loop {
        let (tip, at) = answers.recv_timeout(PATIENCE).expect("the API answers with the block in time");
        if tip == hash {
            return at;
        }
    }
}

/// A `btkn run` that ends with the measurement.
struct Server {
    child: Child,
    url: String,
    _data: tempfile::TempDir,
}

impl Server {
    fn start(with_files: bool, node: &Node, chain: &BenchChain) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_btkn"));
        command.args(["run", "--network", "regtest", "--listen", "127.0.0.1:0"]);
        command.args(["--entity", &format!("operators={}", chain.entity())]);
        command.arg("--data-dir").arg(data.path());
        command.args(["--rpc-url", &node.rpc_url()]).arg("--rpc-cookie-file").arg(node.cookie_file());
        if with_files {
            command.arg("--bitcoin-dir").arg(node.data_dir());
        }
        let mut child = command.stderr(Stdio::piped()).spawn().expect("btkn starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let url = loop {
            let line = lines.next().expect("it says where it serves").expect("its log can be read");
            if let Some((_, url)) = line.split_once("serving on ") {
                break url.split([',', ' ']).next().unwrap_or_default().to_owned();
            }
        };
        // Somebody has to read the rest, or the program stops when the pipe is full.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Server { child, url, _data: data }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
