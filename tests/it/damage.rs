//! Damaged and unfinished block files, and nodes that are not what they should be: a clear error, no
//! change, and it goes on once the cause is gone.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use bitcoin::consensus::serialize;
use btkn_testkit::{Regtest, Spark};

use crate::cli::{Place, assert_done, assert_fails, last_json, stderr};
use crate::kit::{Bench, btkn, node_args, output};
use crate::mini_chain;

/// Flips a bit of the byte at `offset`.
fn flip(file: &Path, offset: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[offset] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

/// Where the records of the blocks begin in the file: magic and size, then the block.
fn offset_of_record(height: usize) -> usize {
    mini_chain::blocks(8)[..height].iter().map(|block| 8 + serialize(block).len()).sum()
}

#[test]
fn a_block_that_does_not_match_its_merkle_root_is_named_with_file_and_offset() {
    let place = Place::new();
    let file = place.blocks.join("blk00000.dat");
    let (start, end) = (offset_of_record(5), offset_of_record(6));
    flip(&file, end - 1);
    let failed = place.sync(&[]);
    assert_fails(&failed, 1, "blk00000.dat");
    assert!(stderr(&failed).contains(&format!("offset {}", start + 8)), "{}", stderr(&failed));
    assert!(stderr(&failed).contains("Merkle root"), "{}", stderr(&failed));

    let events = place.run(&["events", "--data-dir", "data"]);
    assert_eq!(String::from_utf8_lossy(&events.stdout).lines().count(), 5, "the blocks before it are kept");
    flip(&file, end - 1);
    let synced = place.sync(&["--json"]);
    assert_done(&synced);
    let summary = last_json(&synced);
    assert_eq!((&summary["height"], &summary["blocks"]), (&8.into(), &4.into()));
}

#[test]
fn a_truncated_last_block_is_left_out_until_it_is_complete() {
    let place = Place::new();
    let file = place.blocks.join("blk00000.dat");
    let whole = std::fs::read(&file).unwrap();
    OpenOptions::new().write(true).open(&file).unwrap().set_len(whole.len() as u64 - 10).unwrap();
    let synced = place.sync(&["--json"]);
    assert_done(&synced);
    assert_eq!(last_json(&synced)["height"], 7);
    assert!(stderr(&synced).contains("blk00000.dat"), "{}", stderr(&synced));
    std::fs::write(&file, whole).unwrap();
    let synced = place.sync(&["--json"]);
    assert_eq!((&last_json(&synced)["height"], &last_json(&synced)["blocks"]), (&8.into(), &1.into()));
}

#[test]
fn a_node_of_another_network_and_wrong_credentials_are_told() {
    let chain = Regtest::new();
    let bench = Bench::new(103, Spark::new("operators").key());
    let node = node_args(&chain.rpc_url(), &chain.cookie_file());
    let fails = |command: &mut std::process::Command, text: &str| {
        let failed = command.output().unwrap();
        assert_fails(&failed, 1, text);
        stderr(&failed)
    };
    let entity = format!("a={}", crate::cli::KEY);
    let data = bench.data_dir("signet").display().to_string();
    let signet = ["sync", "--network", "signet", "--entity", &entity, "--data-dir", &data];
    let message = fails(btkn(&signet).args(&node), "regtest");
    assert!(message.contains("signet"), "{message}");

    let url = &node[..2];
    let mut wrong = bench.command("sync", "wrong", url);
    let message = fails(wrong.envs([("BTKN_RPC_USER", "alice"), ("BTKN_RPC_PASSWORD", "sesame")]), "RPC");
    assert!(!message.contains("sesame"), "{message}");
    for name in ["signet", "wrong"] {
        assert_eq!(bench.events(name), "", "nothing was applied");
    }
    // Once the mistake is corrected, nothing that it left behind is in the way.
    for name in ["signet", "wrong"] {
        output(&mut bench.command("sync", name, &node));
    }
}

#[test]
fn a_node_that_is_away_at_the_start_is_waited_for_and_this_is_said_once() {
    let mut chain = Regtest::new();
    let bench = Bench::new(103, Spark::new("operators").key());
    chain.mine_empty(3);
    let tip = chain.tip();
    chain.stop();
    let node = node_args(&chain.rpc_url(), &chain.cookie_file());
    let mut command = bench.command("sync", "late", &node);
    let mut child = command.arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let first = log.find(|line| line.contains("WARN")).unwrap();
    assert!(first.contains("trying again until it passes"), "{first}");
    std::thread::sleep(std::time::Duration::from_secs(2));
    chain.start_again();
    // What the node says may change while it starts (away, no cookie, warming up); each is said once.
    let message = |line: &str| line.split_once("WARN").map(|(_, message)| message.to_owned());
    let mut said: Vec<String> = log.filter_map(|line| message(&line)).collect();
    said.push(message(&first).unwrap());
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success());
    let count = said.len();
    said.sort();
    said.dedup();
    assert_eq!(said.len(), count, "something was said twice: {said:#?}");
    let summary: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(summary["block_hash"], tip.hash.to_string());
    output(&mut bench.command("sync", "late", &node));
}
