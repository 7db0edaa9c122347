//! A node over RPC and REST.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;

use super::super::{Auth, Node, NodeConfig, Source};
use super::*;
use btkn_testkit::fake_node::{Cookie, FakeNode, Fault, Rule};

/// A node with six blocks, and a client of it that finds the cookie in a file.
struct Pair {
    fake: FakeNode,
    node: Node,
    blocks: Vec<Block>,
    cookie: PathBuf,
    _dir: TempDir,
}

impl Pair {
    /// A pair whose node serves REST.
    fn with_rest() -> Self {
        let pair = Pair::new();
        pair.fake.change(|state| state.rest = true);
        pair
    }

    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cookie = dir.path().join(".cookie");
        fs::write(&cookie, Cookie::FIRST.text).unwrap();
        let blocks = mine_chain(5);
        let fake = FakeNode::start(&blocks);
        let node = client(&fake.url(), Auth::Cookie(cookie.clone()), Network::Regtest);
        Pair { fake, node, blocks, cookie, _dir: dir }
    }
}

fn client(url: &str, auth: Auth, network: Network) -> Node {
    Node::new(NodeConfig { url: url.to_owned(), auth, network }).unwrap()
}

#[test]
fn chain_and_blocks() {
    for (pair, interface) in [(Pair::new(), "RPC"), (Pair::with_rest(), "REST")] {
        let over_rest = interface == "REST";
        let Pair { fake, mut node, blocks, _dir, .. } = pair;
        chain_and_blocks_of(&mut node, &blocks, interface);
        assert_eq!(fake.calls("rest/block") > 0, over_rest);
        assert_eq!(fake.calls("getblock") > 1, !over_rest);
    }
}

fn chain_and_blocks_of(node: &mut Node, blocks: &[Block], interface: &str) {
    let all = ids(blocks);
    assert_eq!(node.hashes(Height(0), 10).unwrap(), [], "before anything is known of the chain");
    assert_eq!(node.refresh().unwrap(), all[5]);
    let shown = node.describe();
    assert!(shown.starts_with("Bitcoin Core 28.1.0 at http://127.0.0.1:"), "{shown}");
    assert!(shown.ends_with(&format!("({interface})")), "{shown}");
    let hashes: Vec<_> = all.iter().map(|id| id.hash).collect();
    assert_eq!(node.hashes(Height(0), 100).unwrap(), hashes);
    assert_eq!(node.hashes(Height(2), 3).unwrap(), hashes[2..5]);
    assert_eq!(node.hashes(Height(6), 3).unwrap(), []);
    assert_eq!(node.hashes(Height(u32::MAX), usize::MAX).unwrap(), []);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut buf = vec![1; 10_000];
                for (id, block) in all.iter().zip(blocks) {
                    node.fetch(*id, &mut buf).unwrap();
                    assert_eq!(buf, encode::serialize(block));
                }
            });
        }
    });
    let missing = BlockId { height: Height(9), hash: BlockHash::all_zeros() };
    assert_eq!(told(node.fetch(missing, &mut Vec::new()).unwrap_err()).0, "retry");
}

#[test]
fn a_chain_that_got_shorter_ends_the_hashes() {
    let Pair { fake, mut node, blocks, _dir, .. } = Pair::new();
    node.refresh().unwrap();
    fake.change(|state| state.truncate(3));
    let hashes: Vec<_> = blocks[..3].iter().map(Block::block_hash).collect();
    assert_eq!(node.hashes(Height(0), 10).unwrap(), hashes);
}

fn all(fake: &FakeNode, fault: Fault) {
    fake.fault(Rule::all(), fault);
}

/// The first block of a chain that is not Bitcoin's.
fn another_genesis() -> Block {
    let mut genesis = genesis();
    genesis.header.nonce += 1;
    genesis
}

#[test]
fn nodes_that_do_not_serve() {
    type Change = fn(&FakeNode);
    let cases: &[(&str, Change, &str, &str)] = &[
        ("old", |fake| fake.change(|s| s.version = 270_200), "fatal", "runs version 27.2.0; Bitcoin Core 28"),
        ("mainnet", |fake| fake.change(|s| s.chain = "main"), "fatal", "is on mainnet, not on regtest"),
        ("testnet4", |fake| fake.change(|s| s.chain = "testnet4"), "fatal", "is on testnet4, not on regtest"),
        ("credentials", |fake| fake.change(|s| s.authorization = "x"), "fatal", ".cookie (HTTP 401)"),
        ("another coin", |fake| fake.set_chain(&[another_genesis()]), "fatal", "follows another chain"),
        ("starting", |fake| all(fake, Fault::Rpc(-28, "Loading…")), "retry", "is starting: Loading…"),
        ("odd error", |fake| all(fake, Fault::Rpc(-9, "Odd")), "retry", "error -9: Odd"),
        ("other RPC", |fake| all(fake, Fault::Rpc(-32601, "No such")), "fatal", "does not look like the RPC"),
        ("queue full", |fake| all(fake, Fault::Http(503, "Work queue")), "retry", "-rpcworkqueue"),
        ("too many", |fake| all(fake, Fault::Http(429, "")), "retry", "HTTP 429"),
        ("gateway", |fake| all(fake, Fault::Http(502, "<html>")), "retry", "HTTP 502"),
        ("forbidden", |fake| all(fake, Fault::Http(403, "")), "fatal", "rpcwhitelist"),
        ("not found", |fake| all(fake, Fault::Http(404, "")), "fatal", "does not look like the RPC"),
        ("moved", |fake| all(fake, Fault::Http(302, "")), "fatal", "does not look like the RPC"),
        ("web server", |fake| all(fake, Fault::Page), "fatal", "does not look like the RPC"),
        ("other result", |fake| all(fake, Fault::Result(7.into())), "fatal", "does not look like the RPC"),
        ("hangs up", |fake| all(fake, Fault::Close), "retry", "no answer from a node at http://127"),
        ("hangs up in the head", |fake| all(fake, Fault::CloseInHead), "retry", "no answer from a node"),
        ("hangs up in the body", |fake| all(fake, Fault::CloseInBody), "retry", "no answer from a node"),
        ("cuts the body", |fake| all(fake, Fault::HalfBody), "retry", "no answer from a node"),
        ("refuses", |fake| fake.refuse(), "retry", "no answer from a node"),
    ];
    for (name, change, kind, reason) in cases {
        let Pair { fake, mut node, _dir, .. } = Pair::new();
        change(&fake);
        let (found, text) = told(node.refresh().expect_err(name));
        assert_eq!(found, *kind, "{name}: {text}");
        assert!(text.contains(reason), "{name}: {text}");
    }
}

#[test]
fn what_stands_in_for_a_node_is_waited_out_where_a_node_was_before() {
    let Pair { fake, mut node, blocks, _dir, .. } = Pair::new();
    node.refresh().unwrap();
    for fault in [Fault::Page, Fault::Http(404, ""), Fault::Rpc(-32601, "No such"), Fault::Result(7.into())] {
        all(&fake, fault.clone());
        let (kind, text) = told(node.refresh().unwrap_err());
        assert_eq!(kind, "retry", "{fault:?}: {text}");
        fake.lift();
        assert_eq!(node.refresh().unwrap().hash, blocks[5].block_hash(), "{fault:?}");
    }
}

#[test]
fn an_answer_in_small_pieces_is_put_together() {
    let Pair { fake, mut node, blocks, _dir, .. } = Pair::new();
    node.refresh().unwrap();
    fake.fault(Rule::on("getblock"), Fault::Drip(7, Duration::from_millis(1)));
    let mut buf = Vec::new();
    node.fetch(ids(&blocks)[4], &mut buf).unwrap();
    assert_eq!(buf, encode::serialize(&blocks[4]));
}

#[test]
fn what_rest_does_not_deliver_comes_over_rpc() {
    let junk = || Fault::block(&[7; 500]);
    let endless = || Fault::block(&vec![0; 4_000_001]);
    let once = || Rule::on("rest/block").times(1);
    let blocks = || Rule::on("rest/block");
    // Fault, whether REST serves afterwards.
    let cases = [
        ("small pieces", blocks(), Fault::Drip(7, Duration::from_millis(1)), true),
        ("chunks", blocks(), Fault::Chunked(50), true),
        ("closes", blocks(), Fault::Close, false),
        ("closes once", once(), Fault::Close, true),
        ("closes in the head", blocks(), Fault::CloseInHead, false),
        ("closes in the body", blocks(), Fault::CloseInBody, false),
        ("closes in the body once", once(), Fault::CloseInBody, true),
        ("not found", blocks(), Fault::Http(404, "Not found"), false),
        ("not found once", once(), Fault::Http(404, "Not found"), true),
        ("forbidden", blocks(), Fault::Http(403, ""), false),
        ("busy", blocks(), Fault::Http(503, "Work queue depth exceeded"), false),
        ("busy once", once(), Fault::Http(503, "Work queue depth exceeded"), true),
        ("web page", blocks(), Fault::Page, false),
        ("moved", blocks(), Fault::Http(302, ""), false),
        ("another block", blocks(), junk(), false),
        ("another block once", once(), junk(), true),
        ("too short for a header", blocks(), Fault::block(&[0; 79]), false),
        ("too long for a block", blocks(), endless(), false),
        ("switched off", blocks(), Fault::change(|state| state.rest = false), false),
    ];
    for (name, rule, fault, serves) in cases {
        let Pair { fake, mut node, blocks, _dir, .. } = Pair::with_rest();
        node.refresh().unwrap();
        fake.fault(rule, fault);
        let mut buf = vec![1; 3];
        for index in [4, 2] {
            node.fetch(ids(&blocks)[index], &mut buf).unwrap();
            assert_eq!(buf, encode::serialize(&blocks[index]), "{name}");
        }
        assert!(fake.hits() > 0, "{name}");
        assert_eq!(node.describe().ends_with("(REST)"), serves, "{name}");
        // Where RPC does not deliver either, it says why.
        fake.lift();
        fake.fault(Rule::blocks(), Fault::Rpc(-1, "Block not available (pruned data)"));
        let (kind, text) = told(node.fetch(ids(&blocks)[3], &mut buf).unwrap_err());
        assert!(kind == "fatal" && text.contains("has pruned block 3"), "{name}: {text}");
    }
}

#[test]
fn rest_that_answers_no_probe_is_not_used() {
    for fault in
        [Fault::Http(404, ""), Fault::Http(403, ""), Fault::Page, Fault::block(&[0; 80]), Fault::Close]
    {
        let Pair { fake, mut node, _dir, .. } = Pair::with_rest();
        fake.fault(Rule::on("rest/headers"), fault.clone());
        node.refresh().unwrap();
        assert!(node.describe().ends_with("(RPC)"), "{fault:?}");
        // A node that was away may come back with REST.
        fake.lift();
        fake.fault(Rule::all().times(2), Fault::Close);
        assert!(node.refresh().is_err());
        node.refresh().unwrap();
        assert!(node.describe().ends_with("(REST)"), "{fault:?}");
    }
}

#[test]
fn a_connection_that_the_node_closed_meanwhile_is_made_again() {
    let Pair { fake, mut node, _dir, .. } = Pair::new();
    node.refresh().unwrap();
    fake.refuse();
    fake.lift();
    node.refresh().expect("the first try on a new connection");
    // One that breaks while a request is under way, once.
    fake.fault(Rule::all().times(1), Fault::Close);
    node.refresh().expect("the second try, on a new connection");
    assert_eq!(fake.hits(), 1);
}

#[test]
fn a_signet_of_its_own_is_another_network() {
    let Pair { fake, cookie, _dir, .. } = Pair::new();
    fake.change(|state| state.chain = "signet");
    fake.set_chain(&[genesis_block(bitcoin::Network::Signet)]);
    let mut node = client(&fake.url(), Auth::Cookie(cookie), Network::Signet);
    assert!(node.refresh().is_ok());
    fake.change(|state| state.signet_challenge = Some("51"));
    fake.fault(Rule::on("getblockhash"), Fault::Close);
    assert!(node.hashes(Height(0), 1).is_err(), "the connection breaks, so the node is looked at again");
    fake.lift();
    let (kind, text) = told(node.refresh().unwrap_err());
    assert_eq!(kind, "fatal");
    assert!(text.contains("a signet of its own, not on signet"), "{text}");
}

#[test]
fn a_node_that_is_away_comes_back() {
    // A port where nothing listens.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Pair { cookie, .. } = Pair::new();
    let mut node = client(&format!("127.0.0.1:{port}"), Auth::Cookie(cookie.clone()), Network::Regtest);
    // `Pair` is gone, and the cookie with it.
    let (kind, text) = told(node.refresh().unwrap_err());
    assert_eq!(kind, "retry");
    assert!(text.contains("no cookie file") && text.contains(&cookie.display().to_string()), "{text}");

    let auth = Auth::UserPass { user: "u".into(), password: "secret".into() };
    let mut node = client(&format!("127.0.0.1:{port}"), auth, Network::Regtest);
    let (kind, text) = told(node.refresh().unwrap_err());
    assert_eq!(kind, "retry");
    assert!(text.contains("no answer from a node at") && !text.contains("secret"), "{text}");
}

#[test]
fn a_cookie_that_changed_is_read_again() {
    let Pair { fake, mut node, cookie, _dir, .. } = Pair::new();
    fs::remove_file(&cookie).unwrap();
    assert_eq!(told(node.refresh().unwrap_err()).0, "retry", "not there yet");
    fs::write(&cookie, format!("{}\n", Cookie::FIRST.text)).unwrap();
    node.refresh().unwrap();
    // The node restarts: the old cookie is refused, the new one is in the file.
    fake.change(|state| state.authorization = Cookie::SECOND.header);
    fs::write(&cookie, Cookie::SECOND.text).unwrap();
    node.refresh().unwrap();
    fs::write(&cookie, "").unwrap();
    node.refresh().expect("connections that stand do not need the file");
    fake.fault(Rule::on("getblockchaininfo"), Fault::Close);
    let (kind, text) = told(node.refresh().unwrap_err());
    assert_eq!(kind, "fatal");
    assert!(text.contains("is not the cookie file"), "{text}");
}

#[test]
fn user_and_password() {
    let Pair { fake, _dir, .. } = Pair::new();
    fake.change(|state| state.authorization = "Basic dTpw");
    let auth = |password: &str| Auth::UserPass { user: "u".into(), password: password.into() };
    assert!(client(&fake.url(), auth("p"), Network::Regtest).refresh().is_ok());
    let (kind, text) = told(client(&fake.url(), auth("q"), Network::Regtest).refresh().unwrap_err());
    assert_eq!(kind, "fatal");
    assert!(text.contains("BTKN_RPC_PASSWORD"), "{text}");
}

#[test]
fn pruned_blocks_are_fatal_others_may_come() {
    let Pair { fake, mut node, blocks, _dir, .. } = Pair::new();
    node.refresh().unwrap();
    let block = ids(&blocks)[3];
    let cases = [
        (Fault::Rpc(-1, "Block not available (pruned data)"), "fatal", "has pruned block 3 "),
        (Fault::Rpc(-1, "Block not available (not fully downloaded)"), "retry", "not fully downloaded"),
        (Fault::Rpc(-1, "Block not found on disk"), "retry", "restart it with -reindex"),
    ];
    for (fault, kind, reason) in cases {
        fake.lift();
        fake.fault(Rule::block(block.hash), fault);
        let (found, text) = told(node.fetch(block, &mut Vec::new()).unwrap_err());
        assert_eq!(found, kind, "{text}");
        assert!(text.contains(reason), "{text}");
    }
}

#[test]
fn waiting() {
    for long_poll in [true, false] {
        let Pair { fake, mut node, blocks, _dir, .. } = Pair::new();
        if !long_poll {
            fake.fault(Rule::on("waitfornewblock"), Fault::Rpc(-32601, "Method not found"));
        }
        let tip = node.refresh().unwrap();
        let timed = |known, timeout| {
            let start = Instant::now();
            node.wait(known, Duration::from_millis(timeout)).unwrap();
            start.elapsed()
        };
        let slow = Duration::from_secs(20);
        assert!(timed(blocks[1].block_hash(), 60_000) < slow, "another block is best already");
        assert_eq!(fake.calls("waitfornewblock"), 0);
        assert!(timed(tip.hash, 0) < slow);
        let quiet = timed(tip.hash, 300);
        assert!(quiet >= Duration::from_millis(290) && quiet < slow, "{quiet:?}");
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(100));
                fake.change(|state| state.push(&mine(&blocks[5], 9)));
            });
            assert!(timed(tip.hash, 60_000) < slow, "a new block");
        });
        let polls = fake.calls("waitfornewblock");
        assert!(if long_poll { polls >= 2 } else { polls == 1 }, "{polls}");
    }
}
