//! Following a real Bitcoin Core: new blocks, reorganisations, the end.

use std::time::Duration;

use bitcoin::Transaction;
use btkn_testkit::{Exit, NodeOptions, Regtest, Spark, Token};

use crate::kit::{Bench, Server, node_args};

/// Blocks start to count where the test kit's chain is ready to be used.
const START: u32 = 103;

/// Transactions that inscribe a snapshot and announce an exit, to stand in one block, and the addresses
/// of both in the API.
fn snapshot_and_exit(chain: &mut Regtest, spark: &mut Spark, exit: &Exit) -> (Vec<Transaction>, [String; 2]) {
    let snapshot = spark.delta(chain.tip());
    let [commit, reveal] = chain.inscribe(&[snapshot.envelopes()]);
    let withdrawal = chain.withdraw(spark, std::slice::from_ref(exit));
    let paths = [
        format!("/v1/snapshots/{}", snapshot.manifest().sequence),
        format!("/v1/exits/{}", withdrawal.outpoint(0)),
    ];
    (vec![commit, reveal, withdrawal.tx], paths)
}

#[test]
fn reorganisations_remove_and_restore_a_snapshot_and_an_exit() {
    for rest in ["-rest=0", "-rest=1"] {
        reorganisations(Regtest::with(NodeOptions::new().arg(rest)));
    }
}

fn reorganisations(mut chain: Regtest) {
    let mut spark = Spark::new("operators");
    let gold = spark.issue(&Token::new("Gold", "GLD"));
    let (first, second) = (spark.mint(gold, "alice", 1_000), spark.mint(gold, "alice", 500));
    chain.mine_to(btkn_indexer::protocol::Height(START + 1));
    let full = spark.full(chain.tip());
    chain.publish(&full);

    let bench = Bench::new(START, spark.key());
    let node = node_args(&chain.rpc_url(), &chain.cookie_file());
    let server = Server::start(bench.command("run", "following", &node));
    server.wait_for_tip(&chain.tip().hash.to_string());
    let exits = [Exit::of(&first), Exit::of(&second)];
    for (depth, exit) in [1u32, 6, 100].into_iter().zip([&exits[0], &exits[1], &exits[0]]) {
        spark.mint(gold, "bob", u128::from(depth));
        let (txs, paths) = snapshot_and_exit(&mut chain, &mut spark, exit);
        chain.mine(&txs);
        let winner = chain.mine_empty(depth - 1);
        server.wait_for_tip(&winner.hash.to_string());
        assert_eq!(paths.each_ref().map(|path| server.get(path).0), [200, 200], "depth {depth}");
        let with_both = bench.dump("following");

        let abandoned = chain.reorg(depth, &[]);
        let other = chain.tip();
        server.wait_for_tip(&other.hash.to_string());
        assert_eq!(paths.each_ref().map(|path| server.get(path).0), [404, 404], "depth {depth}");
        let fresh = format!("fresh-{depth}");
        bench.sync(&fresh, &node);
        assert_eq!(bench.dump("following"), bench.dump(&fresh), "depth {depth}");
        assert_eq!(bench.events("following"), bench.events(&fresh), "depth {depth}");

        // The branch that lost wins again.
        chain.invalidate(chain.block(abandoned.height).hash);
        chain.reconsider(abandoned.hash);
        assert_eq!(chain.tip().hash, winner.hash);
        server.wait_for_tip(&winner.hash.to_string());
        assert_eq!(bench.dump("following"), with_both, "depth {depth}");
    }
    let (took, _) = server.end("-INT");
    assert!(took < Duration::from_secs(5), "it took {took:?} to stop");
}

#[test]
fn a_new_block_shows_in_the_api() {
    let mut chain = Regtest::new();
    let mut spark = Spark::new("operators");
    let token = Token::new("Gold", "GLD");
    let gold = spark.issue(&token);
    spark.mint(gold, "alice", 1_000);
    let bench = Bench::new(START, spark.key());
    let node = node_args(&chain.rpc_url(), &chain.cookie_file());
    chain.mine_empty(1);
    let server = Server::start(bench.command("run", "following", &node));
    server.wait_for_tip(&chain.tip().hash.to_string());
    let alice = btkn_testkit::pubkey("alice");
    let balances = || server.get(&format!("/v1/owners/{alice}/balances")).1["balances"].clone();
    assert_eq!(balances(), serde_json::json!([]));
    let snapshot = spark.full(chain.tip());
    let block = chain.publish(&snapshot);
    server.wait_for_tip(&block.hash.to_string());
    assert_eq!(balances()[0]["available"], "1000");
    let (status, shown) = server.get(&format!("/v1/blocks/{}", block.height));
    assert_eq!(status, 200);
    let events: Vec<_> = shown["events"].as_array().unwrap().iter().map(|e| e.to_string()).collect();
    assert!(events.iter().any(|e| e.contains("snapshot ")), "{events:?}");
}

#[test]
fn a_node_that_goes_away_is_waited_for() {
    let mut chain = Regtest::new();
    let spark = Spark::new("operators");
    let bench = Bench::new(START, spark.key());
    let node = node_args(&chain.rpc_url(), &chain.cookie_file());
    chain.mine_empty(1);
    let server = Server::start(bench.command("run", "following", &node));
    server.wait_for_tip(&chain.tip().hash.to_string());
    chain.stop();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(server.get("/v1/tokens").0, 200, "what is known is still served");
    chain.start_again();
    let block = chain.mine_empty(1);
    server.wait_for_tip(&block.hash.to_string());
}

#[test]
fn a_node_that_comes_back_with_or_without_rest_is_followed_on() {
    let mut chain = Regtest::with(NodeOptions::new().arg("-rest"));
    let spark = Spark::new("operators");
    let bench = Bench::new(START, spark.key());
    let node = node_args(&chain.rpc_url(), &chain.cookie_file());
    chain.mine_empty(1);
    let server = Server::start(bench.command("run", "following", &node));
    server.wait_for_tip(&chain.tip().hash.to_string());
    for (option, text) in [("-rest=0", "serves no longer"), ("-rest=1", "blocks come over REST")] {
        chain.stop();
        chain.start_again_with(option);
        let block = chain.mine_empty(1);
        server.wait_for_tip(&block.hash.to_string());
        // The log comes through a pipe, and may be read a moment later.
        server.wait_for(text, |_| !server.logged(text).is_empty());
    }
}
