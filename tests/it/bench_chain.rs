//! The chain that benchmarks read: a real node takes it, and everything that BTKN has to say is in it.

use bitcoin::consensus::serialize;
use btkn_testkit::NodeOptions;
use btkn_testkit::bench_chain::{BenchChain, Facts, Options, write};
use serde_json::Value;

use crate::kit::Bench;

/// Blocks of a tenth of the usual weight.
const SMALL: Options = Options { seed: 7, watched: 3_000, weight: 400_000 };

#[test]
fn a_real_node_takes_the_chain_and_an_indexer_finds_every_kind_of_message() {
    let dir = tempfile::tempdir().unwrap();
    let chain = dir.path().join("chain");
    let facts = write(&chain, SMALL, 6_500_000);
    assert_eq!(Facts::read(&chain), Some(facts.clone()));
    assert!(facts.is_of(SMALL, 6_500_000) && !facts.is_of(Options::default(), 6_500_000));

    let node = NodeOptions::new().blocks_from(chain.join("blocks")).start();
    let info: Value = node.rpc("getblockchaininfo", &[]);
    assert_eq!((&info["blocks"], &info["bestblockhash"]), (&facts.height.into(), &facts.hash.clone().into()));

    let args = ["--blocks-dir".to_owned(), chain.join("blocks").display().to_string()];
    for level in &facts.levels {
        let bench = Bench::with(level.start_height, &[format!("operators={}", facts.entity)]);
        let summary = bench.sync("files", &args);
        assert_eq!(summary["block_hash"], facts.hash.as_str());
        let (events, dump) = (bench.events("files"), bench.dump("files"));
        for state in ["pending", "matured", "revoked", "claimed"] {
            assert!(dump.contains(&format!("\"state\":\"{state}\"")), "no exit is {state}");
        }
        assert_eq!(dump.matches("\"state\":\"unresolved\"").count(), level.watched as usize);
        for kind in ["token", "manifest", "chunk", "snapshot", "exit", "exit_matured", "exit_spent"] {
            assert!(events.contains(&format!("\"{kind} ")), "no event {kind}");
        }
    }
}

#[test]
fn the_chain_follows_from_its_seed_and_looks_like_mainnet() {
    let full = Options::default();
    let blocks = BenchChain::traffic(full, 3);
    let again = BenchChain::traffic(full, 3);
    assert_eq!(blocks, again);
    let other = BenchChain::traffic(Options { seed: 2, ..full }, 1);
    assert_ne!(blocks[0].block_hash(), other[0].block_hash());

    let txs: Vec<_> = blocks.iter().flat_map(|block| &block.txdata).collect();
    let bytes: usize = blocks.iter().map(|block| serialize(block).len()).sum();
    let per_block = bytes / blocks.len();
    assert!((1_600_000..1_700_000).contains(&per_block), "{per_block} bytes a block");
    let scripts = txs.iter().flat_map(|tx| &tx.input).filter_map(|input| input.witness.nth(1));
    let inscribed: usize =
        scripts.filter(|item| memchr::memmem::find(item, b"\x03ord").is_some()).map(<[u8]>::len).sum();
    let percent = inscribed * 100 / bytes;
    assert!((28..=32).contains(&percent), "{percent} % of the bytes are inscriptions");
}
