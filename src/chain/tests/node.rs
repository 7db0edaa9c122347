//! A node over RPC.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;

use super::super::{Auth, Node, NodeConfig, Source};
use super::fake_node::{FIRST_COOKIE, FakeNode, Fault, SECOND_COOKIE};
use super::*;

/// A node with six blocks, and a client of it that finds the cookie in a file.
struct Pair {
    fake: FakeNode,
    node: Node,
    blocks: Vec<Block>,
    cookie: PathBuf,
    _dir: TempDir,
}

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cookie = dir.path().join(".cookie");
        fs::write(&cookie, FIRST_COOKIE.0).unwrap();
        let blocks = mine_chain(5);
        let fake = FakeNode::start(blocks.clone());
        let node = client(&fake.url, Auth::Cookie(cookie.clone()), Network::Regtest);
        Pair { fake, node, blocks, cookie, _dir: dir }
    }
}

fn client(url: &str, auth: Auth, network: Network) -> Node {
    Node::new(NodeConfig { url: url.to_owned(), auth, network }).unwrap()
}

#[test]
fn chain_and_blocks() {
    let Pair { mut node, blocks, _dir, .. } = Pair::new();
    let all = ids(&blocks);
    assert_eq!(node.hashes(Height(0), 10).unwrap(), [], "before anything is known of the chain");
    assert_eq!(node.refresh().unwrap(), all[5]);
    assert!(node.describe().starts_with("Bitcoin Core 28.1.0 at http://127.0.0.1:"), "{}", node.describe());
    let hashes: Vec<_> = all.iter().map(|id| id.hash).collect();
    assert_eq!(node.hashes(Height(0), 100).unwrap(), hashes);
    assert_eq!(node.hashes(Height(2), 3).unwrap(), hashes[2..5]);
    assert_eq!(node.hashes(Height(6), 3).unwrap(), []);
    assert_eq!(node.hashes(Height(u32::MAX), usize::MAX).unwrap(), []);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut buf = vec![1; 10_000];
                for (id, block) in all.iter().zip(&blocks) {
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
    fake.change(|state| state.blocks.truncate(3));
    let hashes: Vec<_> = blocks[..3].iter().map(Block::block_hash).collect();
    assert_eq!(node.hashes(Height(0), 10).unwrap(), hashes);
}

#[test]
fn nodes_that_do_not_serve() {
    type Change = fn(&FakeNode);
    let cases: &[(&str, Change, &str, &str)] = &[
        ("old", |fake| fake.change(|s| s.version = 270_200), "fatal", "runs version 27.2.0; Bitcoin Core 28"),
        ("mainnet", |fake| fake.change(|s| s.chain = "main"), "fatal", "is on mainnet, not on regtest"),
        ("testnet4", |fake| fake.change(|s| s.chain = "testnet4"), "fatal", "is on testnet4, not on regtest"),
        ("credentials", |fake| fake.change(|s| s.authorization = "x"), "fatal", ".cookie (HTTP 401)"),
        ("starting", |fake| fake.fault("*", Fault::Rpc(-28, "Loading…")), "retry", "is starting: Loading…"),
        ("odd error", |fake| fake.fault("*", Fault::Rpc(-9, "Odd")), "retry", "error -9: Odd"),
        ("busy", |fake| fake.fault("*", Fault::Http(503)), "retry", "HTTP 503"),
        ("forbidden", |fake| fake.fault("*", Fault::Http(403)), "fatal", "rpcwhitelist"),
        ("not found", |fake| fake.fault("*", Fault::Http(404)), "fatal", "does not look like the RPC"),
        ("web server", |fake| fake.fault("*", Fault::Page), "fatal", "does not look like the RPC"),
        ("hangs up", |fake| fake.fault("*", Fault::Close), "retry", "no answer from a node at http://127"),
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
fn a_signet_of_its_own_is_another_network() {
    let Pair { fake, cookie, _dir, .. } = Pair::new();
    fake.change(|state| state.chain = "signet");
    let mut node = client(&fake.url, Auth::Cookie(cookie), Network::Signet);
    assert!(node.refresh().is_ok());
    fake.change(|state| state.signet_challenge = Some("51"));
    fake.fault("getblockhash", Fault::Close);
    assert!(node.hashes(Height(0), 1).is_err(), "the connection breaks, so the node is looked at again");
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
    fs::write(&cookie, format!("{}\n", FIRST_COOKIE.0)).unwrap();
    node.refresh().unwrap();
    // The node restarts: the old cookie is refused, the new one is in the file.
    fake.change(|state| state.authorization = SECOND_COOKIE.1);
    fs::write(&cookie, SECOND_COOKIE.0).unwrap();
    node.refresh().unwrap();
    fs::write(&cookie, "").unwrap();
    node.refresh().expect("connections that stand do not need the file");
    fake.fault("getblockchaininfo", Fault::Close);
    assert_eq!(told(node.refresh().unwrap_err()).0, "retry");
    let (kind, text) = told(node.refresh().unwrap_err());
    assert_eq!(kind, "fatal");
    assert!(text.contains("is not the cookie file"), "{text}");
}

#[test]
fn user_and_password() {
    let Pair { fake, _dir, .. } = Pair::new();
    fake.change(|state| state.authorization = "Basic dTpw");
    let auth = |password: &str| Auth::UserPass { user: "u".into(), password: password.into() };
    assert!(client(&fake.url, auth("p"), Network::Regtest).refresh().is_ok());
    let (kind, text) = told(client(&fake.url, auth("q"), Network::Regtest).refresh().unwrap_err());
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
        (Fault::Rpc(-1, "Block not found on disk"), "retry", "not found on disk"),
    ];
    for (fault, kind, reason) in cases {
        fake.fault("getblock", fault);
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
            fake.fault("waitfornewblock", Fault::Rpc(-32601, "Method not found"));
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
                fake.change(|state| state.blocks.push(mine(&blocks[5], 9)));
            });
            assert!(timed(tip.hash, 60_000) < slow, "a new block");
        });
        let polls = fake.calls("waitfornewblock");
        assert!(if long_poll { polls >= 2 } else { polls == 1 }, "{polls}");
    }
}
