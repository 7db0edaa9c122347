//! Readers while blocks are applied and taken back: what they are told.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use btkn_indexer::protocol::Height;
use btkn_testkit::{Regtest, Spark, Token};
use serde_json::Value;

use crate::kit::{Bench, Server, node_args};

/// Blocks start to count where the test kit's chain is ready to be used.
const START: u32 = 103;

/// Rounds of blocks that come and go.
const ROUNDS: usize = 6;

/// Whether an answer is one of those that a reader has to expect at any time: the state of a block, or, while it is
/// not that of the best chain, 503 with a code of its own.
fn is_expected((status, body): &(u16, Value)) -> bool {
    *status == 200 || (*status == 503 && body["error"]["code"] == "catching_up")
}

/// Asks again while the state is not that of the best chain.
fn answer(server: &Server, path: &str) -> (u16, Value) {
    loop {
        let answer = server.get(path);
        if answer.0 != 503 {
            return answer;
        }
        assert!(is_expected(&answer), "{path}: {answer:?}");
    }
}

/// Owners and entities of a list of holders that is read page by page; `None` if its block left the chain.
/// Returns the hash of the block, too.
fn page_through(server: &Server, path: &str) -> Option<(Vec<Value>, String)> {
    let (mut rows, mut cursor, mut block) = (Vec::new(), String::new(), None);
    loop {
        let (status, page) = answer(server, &format!("{path}?limit=2{cursor}"));
        if status == 410 {
            assert_eq!(page["error"]["code"], "cursor_reorged");
            return None;
        }
        assert_eq!(status, 200, "{page}");
        let at = page["as_of"]["block_hash"].as_str().unwrap().to_owned();
        assert_eq!(block.get_or_insert(at.clone()), &at, "every page is of the block of the first one");
        rows.extend_from_slice(page["holders"].as_array().unwrap());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Some((rows, at)),
        }
    }
}

/// Reads lists of holders to their ends until told to stop; returns how many were compared with the list of their
/// block that is read at once.
fn compare_lists(server: &Server, path: &str, done: &AtomicBool) -> usize {
    let mut compared = 0;
    while !done.load(Ordering::Relaxed) {
        let Some((rows, block)) = page_through(server, path) else { continue };
        let owners: BTreeSet<_> = rows.iter().map(|row| row["owner"].as_str().unwrap()).collect();
        assert_eq!(owners.len(), rows.len(), "no row twice");
        let (status, whole) = answer(server, &format!("{path}?limit=1000&block={block}"));
        if status == 200 {
            assert_eq!(whole["holders"].as_array(), Some(&rows));
            compared += 1;
        }
    }
    compared
}

#[test]
fn readers_see_whole_states_or_are_asked_to_wait_while_blocks_come_and_go() {
    let mut chain = Regtest::new();
    let mut spark = Spark::new("operators");
    let gold = spark.issue(&Token::new("Gold", "GLD"));
    let owners: Vec<String> = (0..9).map(|n| format!("owner {n}")).collect();
    for owner in &owners {
        spark.mint(gold, owner, 1_000);
    }
    chain.mine_to(Height(START + 1));
    chain.publish(&spark.full(chain.tip()));
    chain.mine_empty(3);
    let bench = Bench::new(START, spark.key());
    let node = node_args(&chain.rpc_url(), &chain.cookie_file());
    let server = Server::start(bench.command("run", "followed", &node));
    server.wait_for_tip(&chain.tip().hash.to_string());

    let token = format!("/v1/tokens/{gold}");
    let balances = format!("/v1/owners/{}/balances", btkn_testkit::pubkey("owner 0"));
    let (holders, blocks) = (format!("{token}/holders"), "/v1/blocks?limit=20".to_owned());
    let paths = [token, holders.clone(), balances, blocks, "/v1/exits".into(), "/v1/status".into()];
    let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ask = || {
        while !done.load(Ordering::Relaxed) {
            for path in &paths {
                let answer = server.get(path);
                assert!(is_expected(&answer), "{path}: {answer:?}");
                asked.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let compared = std::thread::scope(|scope| {
        let _stop = StopAtTheEnd(&done);
        let readers = [scope.spawn(ask), scope.spawn(ask)];
        let lists = scope.spawn(|| compare_lists(&server, &holders, &done));
        for owner in owners.iter().take(ROUNDS) {
            spark.mint(gold, &format!("neighbour of {owner}"), 5);
            spark.mint(gold, owner, 7);
            chain.publish(&spark.delta(chain.tip()));
            chain.mine_empty(2);
            server.wait_for_tip(&chain.tip().hash.to_string());
            // The branch without the snapshot wins, then the one with it again.
            let lost = chain.reorg(4, &[]);
            server.wait_for_tip(&chain.tip().hash.to_string());
            chain.invalidate(chain.block(lost.height).hash);
            chain.reconsider(lost.hash);
            server.wait_for_tip(&chain.tip().hash.to_string());
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        lists.join().unwrap()
    });
    let asked = asked.into_inner();
    assert!(asked > 100 && compared > ROUNDS, "{asked} answers, {compared} lists");
}

/// Ends the readers also where the test fails.
struct StopAtTheEnd<'a>(&'a AtomicBool);

impl Drop for StopAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
