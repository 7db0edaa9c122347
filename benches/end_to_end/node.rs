//! A node that serves the chain, and curl as the measure of how fast it can.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use btkn_testkit::{Node, NodeOptions};

/// A node with a copy of these block files and REST switched on; it validates all of them first.
pub fn start(blocks_dir: &Path) -> Node {
    eprintln!("a node reads the chain");
    let started = Instant::now();
    let node = NodeOptions::new()
        .blocks_from(blocks_dir)
        .arg("-rest=1")
        .arg("-dbcache=2000")
        .patience(Duration::from_secs(1_800))
        .start();
    eprintln!("the node has read it in {:.0} s", started.elapsed().as_secs_f64());
    node
}

/// Seconds in which curl fetches these blocks over REST, over so many connections at once.
pub fn curl(node: &Node, hashes: &[BlockHash], connections: usize) -> f64 {
    let mut list = tempfile::NamedTempFile::new().expect("a temporary file");
    for hash in hashes {
        let url = format!("{}/rest/block/{hash}.bin", node.rpc_url());
        writeln!(list, "url = {url}\noutput = /dev/null").expect("the file can be written");
    }
    let started = Instant::now();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--parallel", "--parallel-max", &connections.to_string(), "--config"]);
    let status = curl.arg(list.path()).stdout(Stdio::null()).status().expect("there is curl");
    assert!(status.success(), "curl: {status}");
    started.elapsed().as_secs_f64()
}
