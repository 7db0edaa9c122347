//! One chain from files, RPC, REST, and a node with its files: the state is the same, however the blocks arrive.

use std::sync::Arc;

use btkn_indexer::chain::{Auth, BlockFiles, Node, NodeConfig, NodeWithFiles, Source};
use btkn_indexer::protocol::Network;
use btkn_indexer::scan::VerifyBlocks;
use btkn_indexer::stop::Stop;
use btkn_indexer::store::Store;
use btkn_indexer::sync::status::SyncStatus;
use btkn_indexer::sync::{End, Options, Sync};
use btkn_testkit::NodeOptions;

use crate::kit::{Bench, fixture, fixture_bench, node_args};

/// Syncs a database of the bench, which exists already, with other options than the command line has.
fn sync_in_process(bench: &Bench, name: &str, source: Box<dyn Source>, threads: usize, batch_blocks: usize) {
    let rules = Store::open_read_only(&bench.data_dir("files")).unwrap().rules().clone();
    let store = Arc::new(Store::open(&bench.data_dir(name), &rules).unwrap());
    let (status, _) = tokio::sync::watch::channel(SyncStatus::starting());
    let options = Options { threads, batch_blocks, undo_blocks: None, verify_blocks: VerifyBlocks::Merkle };
    let mut sync = Sync::new(store, source, options, status, Stop::new()).unwrap();
    assert_eq!(sync.catch_up().unwrap(), End::Done);
}

#[test]
fn files_rpc_rest_and_both_give_the_same_state_at_every_height() {
    let bench = fixture_bench();
    let blocks_dir = fixture("blocks").display().to_string();
    let summary = bench.sync("files", &["--blocks-dir".into(), blocks_dir]);
    let expected = (bench.events("files"), bench.dump("files"));
    let facts: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(fixture("facts.json")).unwrap()).unwrap();
    assert_eq!(
        (&summary["height"], &summary["block_hash"]),
        (&facts["tip"]["height"], &facts["tip"]["hash"])
    );

    let node = NodeOptions::new().blocks_from(fixture("blocks")).start();
    let with_rest = NodeOptions::new().blocks_from(fixture("blocks")).arg("-rest").start();
    let rpc = node_args(&node.rpc_url(), &node.cookie_file());
    let rest = node_args(&with_rest.rpc_url(), &with_rest.cookie_file());
    let both =
        [&["--bitcoin-dir".to_owned(), node.data_dir().display().to_string()], rpc.as_slice()].concat();
    for (source, args) in [("rpc", &rpc), ("rest", &rest), ("both", &both)] {
        for threads in ["1", "4"] {
            let name = format!("{source}-{threads}");
            bench.sync(&name, &[args.as_slice(), &["--threads".into(), threads.into()]].concat());
            assert_eq!((bench.events(&name), bench.dump(&name)), expected, "{name}");
        }
    }

    let config_of = |node: &btkn_testkit::Node| NodeConfig {
        url: node.rpc_url(),
        auth: Auth::Cookie(node.cookie_file()),
        network: Network::Regtest,
    };
    let config = config_of(&node);
    for batch in [1, 7] {
        let sources: [(&str, Box<dyn Source>); 4] = [
            ("files", Box::new(BlockFiles::open(&fixture("blocks"), Network::Regtest).unwrap())),
            ("rpc", Box::new(Node::new(config.clone()).unwrap())),
            ("rest", Box::new(Node::new(config_of(&with_rest)).unwrap())),
            ("both", Box::new(NodeWithFiles::open(node.data_dir(), config.clone()).unwrap())),
        ];
        for (source, open) in sources {
            let name = format!("{source}-batches-of-{batch}");
            sync_in_process(&bench, &name, open, 2, batch);
            assert_eq!((bench.events(&name), bench.dump(&name)), expected, "{name}");
        }
    }
}

#[test]
fn a_node_says_at_the_start_over_which_interface_blocks_come() {
    let bench = fixture_bench();
    for (arg, text) in [("-rest=0", "rest=1 in its bitcoin.conf"), ("-rest=1", "blocks come over REST")] {
        let node = NodeOptions::new().blocks_from(fixture("blocks")).arg(arg).start();
        let args = node_args(&node.rpc_url(), &node.cookie_file());
        let output = bench.command("sync", arg, &args).output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        let told = log.lines().filter(|line| line.contains("blocks come over")).collect::<Vec<_>>();
        assert!(output.status.success() && matches!(told[..], [one] if one.contains(text)), "{arg}: {log}");
    }
}

#[test]
fn the_fixture_is_what_it_is_said_to_be() {
    let bench = fixture_bench();
    bench.sync("files", &["--blocks-dir".into(), fixture("blocks").display().to_string()]);
    let golden = std::fs::read_to_string(fixture("expected.json")).unwrap();
    assert_eq!(bench.dump("files"), golden, "the dump of the fixture has changed");
    for state in ["pending", "matured", "revoked", "claimed", "unresolved"] {
        assert!(golden.contains(&format!("\"state\":\"{state}\"")), "no exit is {state}");
    }
}
