//! What no block has confirmed: shown, apart from the state, and never in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::{Block, Transaction, TxIn};
use btkn_indexer::chain::{Auth, Node, NodeConfig, NodeMempool};
use btkn_indexer::ledger::View;
use btkn_indexer::ledger::keys::L1OutPoint;
use btkn_indexer::ledger::tables::{Exits, Watched};
use btkn_indexer::mempool::{Contents, Published, State, Watcher, preview};
use btkn_indexer::protocol::Network;
use btkn_indexer::scan::VerifyBlocks;
use btkn_indexer::stop::Stop;
use btkn_indexer::store::Store;
use btkn_indexer::sync::status::SyncStatus;
use btkn_indexer::sync::{End, Options, Sync};
use btkn_testkit::fake_node::{FakeNode, Fault, Rule};
use btkn_testkit::{BondSpend, Exit, Regtest, Spark, Token};
use serde_json::{Value, json};

use crate::kit::{Bench, Server, fixture, fixture_bench, fixture_blocks, node_args};

/// Blocks that the fixture has before anything of interest.
const START: usize = 112;

/// Where the test kit's chain is ready to be used.
const START_HEIGHT: u32 = 102;

/// A database that follows a fake node, and one who watches its mempool.
struct Follower {
    node: FakeNode,
    store: Arc<Store>,
    sync: Sync,
    watcher: Watcher,
    published: Published,
    _bench: Bench,
}

impl Follower {
    /// Follows a node with these blocks of the fixture.
    fn new(blocks: &[Block]) -> Self {
        let (bench, node) = (fixture_bench(), FakeNode::start(blocks));
        bench.sync("rules", &node_args(&node.url(), &node.cookie_file()));
        let rules = Store::open_read_only(&bench.data_dir("rules")).unwrap().rules().clone();
        let store = Arc::new(Store::open(&bench.data_dir("followed"), &rules).unwrap());
        let config =
            NodeConfig { url: node.url(), auth: Auth::Cookie(node.cookie_file()), network: Network::Regtest };
        let (status, _) = tokio::sync::watch::channel(SyncStatus::starting());
        let options = Options {
            threads: 1,
            verify_blocks: VerifyBlocks::default(),
            batch_blocks: 64,
            undo_blocks: None,
        };
        let source = Box::new(Node::new(config.clone()).unwrap());
        let mut sync = Sync::new(store.clone(), source, options, status, Stop::new()).unwrap();
        assert_eq!(sync.catch_up().unwrap(), End::Done);
        let mempool = NodeMempool::new(config).unwrap();
        let (watcher, published) = Watcher::new(mempool, store.clone(), Stop::new());
        Follower { node, store, sync, watcher, published, _bench: bench }
    }

    fn set_mempool<'a>(&self, txs: impl IntoIterator<Item = &'a Transaction>) {
        self.node.change(|state| state.set_mempool(txs));
    }

    /// What is published after a look.
    fn look(&mut self) -> Arc<Contents> {
        self.watcher.look();
        self.published.borrow().clone()
    }

    /// Applies blocks on top of those that the node has.
    fn push(&mut self, blocks: &[Block]) {
        self.node.change(|state| blocks.iter().for_each(|block| state.push(block)));
        assert_eq!(self.sync.catch_up().unwrap(), End::Done);
    }

    /// Whether an input spends an output that the state watches.
    fn watches(&self, input: &TxIn) -> bool {
        let output = L1OutPoint::from(input.previous_output);
        let view = self.store.view();
        view.scan::<Watched>(&(output, 0, 0), &(output, u32::MAX, u8::MAX)).next().is_some()
    }

    /// What all that is kept would do, in lines like those of events.
    fn previewed(&self, contents: &Contents) -> Vec<String> {
        let (view, rules) = (self.store.view(), self.store.rules());
        let outcomes = contents.kept.keys().flat_map(|txid| preview(&view, rules, contents, *txid).unwrap());
        let mut lines: Vec<_> = outcomes.map(|o| format!("{} {}", o.exit, o.after.state)).collect();
        lines.sort();
        lines
    }
}

#[test]
fn what_is_previewed_is_what_the_next_block_does() {
    let blocks = fixture_blocks();
    let mut follower = Follower::new(&blocks[..START]);
    let (mut compared, mut kinds) = (0, BTreeSet::new());
    for block in &blocks[START..] {
        follower.set_mempool(&block.txdata[1..]);
        let contents = follower.look();
        assert_eq!(contents.state, State::Watched);
        assert_eq!(contents.transactions, block.txdata.len() - 1);
        let before = follower.store.tip().unwrap();
        let (view, rules) = (follower.store.view(), follower.store.rules());
        let mut outcomes = Vec::new();
        for txid in contents.kept.keys() {
            outcomes.extend(preview(&view, rules, &contents, *txid).unwrap());
        }
        assert_eq!(follower.store.tip().unwrap(), before, "looking changes nothing");
        drop(view);
        follower.push(std::slice::from_ref(block));
        // One who announces a TTXO that the same block declares is judged by the snapshot, which is not known.
        for outcome in outcomes {
            let exit = follower.store.view().get::<Exits>(&outcome.exit).unwrap().unwrap();
            assert_eq!((exit.state, exit.spend), (outcome.after.state, outcome.after.spend), "{outcome:?}");
            kinds.insert(exit.state.to_string());
            compared += 1;
        }
        // The mempool was not asked since; what it holds is no news any more.
        assert_eq!(follower.previewed(&contents), Vec::<String>::new());
    }
    assert!(compared > 20 && kinds.len() >= 5, "{compared} {kinds:?}");
}

#[test]
fn spends_are_seen_whatever_comes_first() {
    let blocks = fixture_blocks();
    let txs = |blocks: &[Block]| blocks.iter().flat_map(|b| b.txdata[1..].to_vec()).collect::<Vec<_>>();
    let mut follower = Follower::new(&blocks[..START]);
    let all = txs(&blocks[START..]);
    // All at once: announcements and the spends of their bonds, in no order.
    follower.set_mempool(&all);
    let spends = |contents: &Contents| {
        let kept = contents.kept.iter().filter(|(_, kept)| !kept.messages.spends.is_empty());
        kept.map(|(txid, _)| *txid).collect::<Vec<_>>()
    };
    let at_once = spends(&follower.look());
    assert!(at_once.len() > 3, "{at_once:?}");

    // One after the other, spends first, as blocks that announce what they spend come in.
    let mut follower = Follower::new(&blocks[..START]);
    let (spending, rest): (Vec<_>, Vec<_>) =
        all.iter().cloned().partition(|tx| at_once.contains(&tx.compute_txid()));
    follower.set_mempool(&spending);
    assert_eq!(spends(&follower.look()), [], "nobody knows yet what they spend");
    follower.set_mempool(spending.iter().chain(&rest));
    assert_eq!(spends(&follower.look()), at_once, "announcements that came later");

    // Blocks bring the announcements.
    let mut follower = Follower::new(&blocks[..START]);
    follower.set_mempool(&spending);
    follower.look();
    let mut found = 0;
    for block in &blocks[START..] {
        follower.push(std::slice::from_ref(block));
        let contents = follower.look();
        for tx in spending.iter().filter(|tx| tx.input.iter().any(|input| follower.watches(input))) {
            assert!(contents.kept.contains_key(&tx.compute_txid()), "{}", tx.compute_txid());
            found += 1;
        }
    }
    assert!(found > 3, "{found}");
}

#[test]
fn a_mempool_that_cannot_be_read_is_told_and_disturbs_nothing() {
    let blocks = fixture_blocks();
    let (bench, node) = (fixture_bench(), FakeNode::start(&blocks[..blocks.len() - 3]));
    let server =
        Server::start(bench.command("run", "followed", &node_args(&node.url(), &node.cookie_file())));
    server.wait_for_tip(&node.change(|state| state.tip()).to_string());
    let mempool = |state: &str| {
        let told = |answer: &Value| answer["mempool"] == state;
        server.wait_for_answer("/v1/mempool", state, told)
    };
    assert_eq!(mempool("watched")["problem"], Value::Null);
    for fault in [Fault::Http(503, "Work queue"), Fault::Rpc(-32601, "Method not found"), Fault::Close] {
        node.fault(Rule::on("getrawmempool"), fault.clone());
        let answer = mempool("failing");
        assert!(answer["problem"].as_str().is_some_and(|problem| !problem.is_empty()), "{fault:?}: {answer}");
        node.lift();
        mempool("watched");
    }
    node.fault(Rule::on("getrawmempool"), Fault::Silent);
    node.wait_for_hits(node.hits() + 1);
    node.set_chain(&blocks);
    server.wait_for_tip(&blocks[blocks.len() - 1].block_hash().to_string());
    assert_eq!(server.logged("WARN"), Vec::<String>::new());
    let (took, _) = server.end("-INT");
    assert!(took < Duration::from_secs(5), "it took {took:?} to stop");
}

#[test]
fn block_files_have_no_mempool() {
    let bench = fixture_bench();
    let blocks = ["--blocks-dir".to_owned(), fixture("blocks").display().to_string()];
    let server = Server::start(bench.command("run", "files", &blocks));
    let tip = fixture_blocks().pop().unwrap().block_hash();
    server.wait_for_tip(&tip.to_string());
    let (code, answer) = server.get("/v1/mempool");
    assert_eq!((code, &answer["mempool"]), (200, &"unavailable".into()), "{answer}");
    assert!(answer["problem"].as_str().is_some_and(|problem| problem.contains("node")), "{answer}");
    assert_eq!(answer["unconfirmed"], json!([]));
}

#[test]
fn unconfirmed_until_a_block_says_so() {
    let mut chain = Regtest::new();
    let mut spark = Spark::new("operators");
    let gold = spark.issue(&Token::new("Gold", "GLD"));
    let (first, second) = (spark.mint(gold, "alice", 1_000), spark.mint(gold, "alice", 500));
    let full = spark.full(chain.tip());
    chain.publish(&full);
    let bench = Bench::new(START_HEIGHT, spark.key());
    let node = node_args(&chain.rpc_url(), &chain.cookie_file());
    let server = Server::start(bench.command("run", "followed", &node));
    server.wait_for_tip(&chain.tip().hash.to_string());
    let state = bench.dump("followed");
    let rows = |what: &[(&str, Option<&str>, &str)]| {
        let shown = |row: &Value| (row["kind"].clone(), row["state"].clone(), row["would_be"].clone());
        let mut wanted: Vec<_> =
            what.iter().map(|(kind, state, then)| (json!(kind), json!(state), json!(then))).collect();
        wanted.sort_by_key(|row| format!("{row:?}"));
        server.wait_for_answer("/v1/mempool", &format!("{what:?}"), |answer| {
            let mut rows: Vec<_> = answer["unconfirmed"].as_array().unwrap().iter().map(shown).collect();
            rows.sort_by_key(|row| format!("{row:?}"));
            rows == wanted
        })
    };
    rows(&[]);

    let exit = chain.withdraw(&spark, &[Exit::of(&first)]);
    let other = chain.withdraw(&spark, &[Exit::of(&second)]);
    let path = format!("/v1/exits/{}", exit.outpoint(0));
    chain.broadcast(&exit.tx);
    let answer = rows(&[("announcement", None, "pending")]);
    let row = &answer["unconfirmed"][0];
    assert_eq!(row["txid"], exit.tx.compute_txid().to_string());
    assert_eq!(row["exit_id"], exit.exit_id(0));
    assert_eq!(row["outpoint"], exit.outpoint(0).to_string());
    assert_eq!(row["holding"]["amount"], "1000");
    assert_eq!(server.get(&path).0, 404, "the state knows nothing of it");
    let verdict = format!("{path}/verdict?confirmations=1");
    let judged = |at: &str| {
        let (code, body) = server.get(&format!("{verdict}{at}"));
        let mempool = body["checks"].as_array().unwrap().iter().find(|row| row["check"]["code"] == "mempool");
        let outcome = mempool.map_or(json!(null), |row| row["outcome"].clone());
        (code, body["verdict"].clone(), body["reason"].clone(), outcome)
    };
    assert_eq!(judged(""), (200, json!("wait"), json!("announcement_unconfirmed"), json!(null)));
    assert_eq!(bench.dump("followed"), state, "nothing of it is stored");

    // What spends the bond waits with it, then alone.
    let justice = chain.justice(&exit, 0);
    chain.broadcast(&justice);
    rows(&[("announcement", None, "pending"), ("revocation", None, "revoked")]);
    let block = chain.mine([&exit.tx, &other.tx]);
    server.wait_for_tip(&block.hash.to_string());
    rows(&[("revocation", Some("pending"), "revoked")]);
    let (code, shown) = server.get(&path);
    assert_eq!((code, &shown["exits"][0]["state"]), (200, &json!("pending")));
    assert_eq!(shown["unconfirmed"][0]["txid"], justice.compute_txid().to_string());
    assert_eq!(judged(""), (200, json!("wait"), json!("revocation_unconfirmed"), json!("wait")));
    let named = format!("&height={}", block.height);
    assert_eq!(judged(&named), (200, json!("wait"), json!("not_matured"), json!("unknown")));
    let elsewhere = server.get(&format!("/v1/exits/{}", other.outpoint(0))).1;
    assert_eq!(elsewhere["unconfirmed"], json!([]));

    // Another spend is mined in its place.
    let both = [(&exit, 0, BondSpend::Justice), (&other, 0, BondSpend::Justice)];
    let block = chain.mine([&chain.spend_bonds(&both)]);
    server.wait_for_tip(&block.hash.to_string());
    rows(&[]);
    assert_eq!(server.get(&path).1["unconfirmed"], json!([]));
    assert_eq!(judged(""), (200, json!("refuse"), json!("revoked"), json!(null)), "it looked no further");

    // The block goes, and what is in it waits again.
    chain.invalidate(block.hash);
    chain.mine_empty(2);
    server.wait_for_tip(&chain.tip().hash.to_string());
    rows(&[("revocation", Some("pending"), "revoked"), ("revocation", Some("pending"), "revoked")]);

    bench.sync("fresh", &node);
    assert_eq!(bench.dump("followed"), bench.dump("fresh"));
    assert_eq!(bench.events("followed"), bench.events("fresh"));
}
