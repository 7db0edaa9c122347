//! Nodes that misbehave, in every way that a fake node knows: what passes is waited out and told once,
//! what cannot pass ends with what to do about it, and a wrong block is never applied. Whatever happened,
//! the state is in the end that of a fresh sync from a good node.

use std::fs::File;
use std::process::Child;
use std::time::{Duration, Instant};

use bitcoin::consensus::serialize;
use bitcoin::{Block, BlockHash};
use btkn_testkit::fake_node::{FakeNode, Fault, Rule};
use serde_json::Value;

use crate::kit::{Bench, PATIENCE, Server, fixture_bench, fixture_blocks, for_all, node_args};
use crate::mini_chain;

/// Blocks that the two chains do not share.
const FORK_DEPTH: usize = 12;

/// Blocks that come while a server follows.
const NEWS: usize = 8;

/// Two chains of one length and the block whose bytes are tampered with.
struct Chains {
    /// The fixture, which ends a few blocks after one with a message in a witness.
    good: Vec<Block>,
    /// The same without its last blocks, and empty ones in their place.
    other: Vec<Block>,
    /// The height of the block with the message; among the news.
    message: usize,
}

impl Chains {
    fn new() -> Self {
        let mut good = fixture_blocks();
        let message = good.iter().rposition(has_message).unwrap();
        good.truncate(message + 4);
        let mut other = good[..good.len() - FORK_DEPTH].to_vec();
        let fork = other.len() - 1;
        let tip = good.len() as u32 - 1;
        other.extend(mini_chain::branch(&good[fork], fork as u32, tip, 7));
        Chains { good, other, message }
    }

    fn block(&self) -> &Block {
        &self.good[self.message]
    }

    fn hash(&self) -> BlockHash {
        self.block().block_hash()
    }

    /// The bytes of the block with the message after a change.
    fn changed(&self, change: impl FnOnce(&mut Block)) -> Fault {
        let mut block = self.block().clone();
        change(&mut block);
        Fault::block(&serialize(&block))
    }
}

/// Whether a witness holds the mark of a message.
fn has_message(block: &Block) -> bool {
    let witnesses = block.txdata.iter().flat_map(|tx| &tx.input).flat_map(|input| input.witness.iter());
    witnesses.into_iter().any(|item| item.windows(4).any(|bytes| bytes == b"btkn"))
}

fn flip_witness(block: &mut Block) {
    let inputs = block.txdata.iter_mut().flat_map(|tx| &mut tx.input);
    let input = inputs.into_iter().find(|input| input.witness.iter().any(|item| item.len() > 100)).unwrap();
    let mut items = input.witness.to_vec();
    let script = items.iter_mut().max_by_key(|item| item.len()).unwrap();
    *script.last_mut().unwrap() ^= 1;
    input.witness = items.into();
}

fn strip_witnesses(block: &mut Block) {
    block.txdata.iter_mut().flat_map(|tx| &mut tx.input).for_each(|input| input.witness.clear());
}

/// What is to be seen of a fault.
#[derive(Clone, Copy)]
enum Outcome {
    /// It is told once and waited out. So many answers are spoilt before it is lifted.
    Passes(&'static str, u32),
    /// It ends the process.
    Stops(&'static str),
    /// It makes no difference but for the time it takes; so many answers are spoilt.
    Harmless(u32),
    /// The node says one thing and then another, as often as this, and may well be told off a few times.
    Restless(u32),
    /// Blocks come over RPC from then on, which is told once.
    Falls(&'static str),
}
use Outcome::{Falls, Harmless, Passes, Restless, Stops};

/// Where a node serves blocks when it meets a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interface {
    Rpc,
    Rest,
}
use Interface::{Rest, Rpc};

struct Case {
    name: &'static str,
    /// What is done to the node.
    fault: fn(&FakeNode, &Chains),
    /// When it is there from the start; `None` if it makes no sense then.
    early: Option<Outcome>,
    /// When it comes while a server follows.
    late: Outcome,
    /// With which interfaces it is tried.
    interfaces: &'static [Interface],
}

/// A fault that has nothing to do with how blocks come.
const fn case(name: &'static str, fault: fn(&FakeNode, &Chains), outcome: Outcome) -> Case {
    Case { name, fault, early: Some(outcome), late: outcome, interfaces: &[Rpc] }
}

/// A fault of blocks, over whichever interface they come.
const fn of_blocks(name: &'static str, fault: fn(&FakeNode, &Chains), outcome: Outcome) -> Case {
    Case { interfaces: &[Rpc, Rest], ..case(name, fault, outcome) }
}

/// A fault that only REST has.
const fn of_rest(name: &'static str, fault: fn(&FakeNode, &Chains), outcome: Outcome) -> Case {
    Case { interfaces: &[Rest], ..case(name, fault, outcome) }
}

fn all(node: &FakeNode, fault: Fault) {
    node.fault(Rule::all(), fault);
}

fn blocks(node: &FakeNode, fault: Fault) {
    node.fault(Rule::blocks(), fault);
}

fn over_rest(node: &FakeNode, fault: Fault) {
    node.fault(Rule::on("rest/block"), fault);
}

fn message(node: &FakeNode, chains: &Chains, fault: Fault) {
    node.fault(Rule::block(chains.hash()), fault);
}

/// Switches between the two chains before every answer.
fn restless(chains: &Chains) -> Fault {
    let both = [chains.good.clone(), chains.other.clone()];
    Fault::change(move |state| {
        let next = usize::from(state.tip() == both[0][both[0].len() - 1].block_hash());
        state.set_chain(&both[next]);
    })
}

/// Makes a chain the best one before the next answer to such a call.
fn switch(node: &FakeNode, calls: Rule, chain: &[Block]) {
    let chain = chain.to_vec();
    node.fault(calls.times(1), Fault::change(move |state| state.set_chain(&chain)));
}

fn another_coin(node: &FakeNode) {
    // Whoever was connected meets the new one at the next connection.
    node.refuse();
    node.lift();
    let genesis = "ab".repeat(32);
    node.fault(Rule::on("getblockhash").of(0), Fault::Result(genesis.into()));
}

const SILENT: Outcome = Passes("no answer in time", 1);
const CLOSED: Outcome = Passes("no answer from a node", 4);
const FOREIGN: &str = "does not look like the RPC interface";
const CHANGED: &str = "the best chain changed while it was read";

/// Those that take long come first.
const CASES: &[Case] = &[
    case("never answers", |node, _| all(node, Fault::Silent), SILENT),
    of_blocks("falls silent in a block", |node, _| blocks(node, Fault::SilentBody), SILENT),
    of_blocks("restless tip", |node, chains| blocks(node, restless(chains)), Restless(12)),
    case(
        "hashes that change between two calls",
        |node, chains| node.fault(Rule::on("getblockhash"), restless(chains)),
        Restless(40),
    ),
    case("refuses connections", |node, _| node.refuse(), Passes("no answer from a node", 0)),
    case("closes at once", |node, _| all(node, Fault::Close), CLOSED),
    case("closes in the head", |node, _| all(node, Fault::CloseInHead), CLOSED),
    of_blocks("closes in a block", |node, _| blocks(node, Fault::CloseInBody), CLOSED),
    case("half a block", |node, _| blocks(node, Fault::HalfBody), CLOSED),
    of_blocks(
        "answers in small pieces",
        |node, _| all(node, Fault::Drip(1_000, Duration::from_millis(2))),
        Harmless(20),
    ),
    of_blocks("fails now and then", |node, _| node.fault(Rule::blocks().times(1), Fault::Close), Harmless(1)),
    case(
        "work queue",
        |node, _| all(node, Fault::Http(503, "Work queue depth exceeded")),
        Passes("HTTP 503", 3),
    ),
    case("warming up", |node, _| all(node, Fault::Rpc(-28, "Loading…")), Passes("is starting: Loading…", 3)),
    Case {
        name: "web page",
        fault: |node, _| all(node, Fault::Page),
        early: Some(Stops(FOREIGN)),
        late: Passes(FOREIGN, 3),
        interfaces: &[Rpc, Rest],
    },
    case("another coin", |node, _| another_coin(node), Stops("follows another chain")),
    of_blocks(
        "pruned",
        |node, chains| message(node, chains, Fault::Rpc(-1, "Block not available (pruned data)")),
        Stops("use a node that does not prune"),
    ),
    of_blocks(
        "not on its disk",
        |node, chains| message(node, chains, Fault::Rpc(-1, "Block not found on disk")),
        Passes("restart it with -reindex", 3),
    ),
    of_blocks(
        "another block",
        |node, chains| message(node, chains, Fault::block(&serialize(&chains.good[chains.message - 1]))),
        Stops("hashes to"),
    ),
    of_blocks(
        "another block, once",
        |node, chains| {
            let other = Fault::block(&serialize(&chains.good[chains.message - 1]));
            node.fault(Rule::block(chains.hash()).times(1), other);
        },
        Harmless(1),
    ),
    of_blocks(
        "another transaction",
        |node, chains| message(node, chains, chains.changed(|block| block.txdata[0].version.0 ^= 1)),
        Stops("do not match the Merkle root"),
    ),
    of_blocks(
        "a bit of a message",
        |node, chains| message(node, chains, chains.changed(flip_witness)),
        Stops("witnesses do not match the commitment"),
    ),
    of_blocks(
        "no witnesses",
        |node, chains| message(node, chains, chains.changed(strip_witnesses)),
        Stops("came without its witnesses"),
    ),
    of_blocks(
        "a block cut short",
        |node, chains| {
            let bytes = serialize(chains.block());
            message(node, chains, Fault::block(&bytes[..bytes.len() - 5]));
        },
        Stops("does not decode"),
    ),
    of_blocks(
        "bytes after the block",
        |node, chains| {
            message(node, chains, Fault::block(&[&serialize(chains.block())[..], &[0]].concat()));
        },
        Stops("1 bytes after the last transaction"),
    ),
    of_blocks(
        "no hex",
        |node, chains| message(node, chains, Fault::Result("block".into())),
        Stops("too few for a header"),
    ),
    case(
        "a link to another parent",
        |node, chains| {
            let odd = chains.other[chains.message].block_hash().to_string();
            node.fault(Rule::on("getblockhash").of(chains.message), Fault::Result(odd.into()));
            // At once and last: a server that follows must see neither the other chain nor news without fault.
            node.change(|state| {
                state.set_chain(&chains.other);
                state.set_chain(&chains.good);
            });
        },
        Passes(CHANGED, 3),
    ),
    Case {
        name: "a tip that goes back",
        fault: |node, chains| {
            let count = chains.good.len() - NEWS - 3;
            // As often as it is asked.
            node.fault(Rule::on("getblockchaininfo"), Fault::change(move |state| state.truncate(count)));
            node.fault(Rule::on("getbestblockhash"), Fault::change(move |state| state.truncate(count)));
        },
        early: None,
        late: Harmless(4),
        interfaces: &[Rpc],
    },
    of_blocks(
        "a branch that wins and loses while blocks are read",
        |node, chains| {
            switch(node, Rule::blocks(), &chains.other);
            switch(node, Rule::blocks(), &chains.good);
        },
        Restless(2),
    ),
    case(
        "a branch that wins between the hashes and the blocks",
        |node, chains| {
            switch(node, Rule::on("getblockhash"), &chains.other);
            switch(node, Rule::on("getbestblockhash"), &chains.good);
        },
        Restless(1),
    ),
    Case {
        name: "REST is switched off",
        fault: |node, _| node.change(|state| state.rest = false),
        // From the start, it is as if it had never been on.
        early: Some(Harmless(0)),
        late: Falls("HTTP 404"),
        interfaces: &[Rest],
    },
    of_rest("REST has no room", |node, _| over_rest(node, Fault::Http(503, "Work queue")), Falls("HTTP 503")),
    of_rest("REST closes in a block", |node, _| over_rest(node, Fault::CloseInBody), Falls("disconnected")),
    of_rest(
        "REST has another block",
        |node, chains| over_rest(node, Fault::block(&serialize(&chains.good[1]))),
        Falls("not what was asked for"),
    ),
    of_rest(
        "REST fails now and then",
        |node, _| node.fault(Rule::on("rest/block").times(1), Fault::Http(503, "Work queue")),
        Harmless(1),
    ),
    of_rest("REST in chunks", |node, _| over_rest(node, Fault::Chunked(100)), Harmless(NEWS as u32)),
    // As many bytes as the answer says that there are: only what reads the block can see it.
    of_rest("REST has half a block", |node, _| over_rest(node, Fault::HalfBody), Stops("does not decode")),
];

/// What is the same for all cases.
struct Stage {
    bench: Bench,
    chains: Chains,
    /// Events and dump of the good chain, of a fresh sync from a good node.
    expected: (String, String),
}

impl Stage {
    fn new() -> Self {
        let (bench, chains) = (fixture_bench(), Chains::new());
        let node = FakeNode::start(&chains.good);
        bench.sync("fresh", &args(&node));
        let expected = (bench.events("fresh"), bench.dump("fresh"));
        Stage { bench, chains, expected }
    }

    /// Once the node is good again, so is the state.
    fn ends_well(&self, name: &str, node: &FakeNode) {
        node.lift();
        node.set_chain(&self.chains.good);
        self.bench.sync(name, &args(node));
        assert_eq!((self.bench.events(name), self.bench.dump(name)), self.expected, "{name}");
    }
}

fn args(node: &FakeNode) -> Vec<String> {
    node_args(&node.url(), &node.cookie_file())
}

fn wait(what: &str, mut happened: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn wait_for_exit(child: &mut Child) -> Option<i32> {
    let mut code = None;
    let end = Instant::now() + PATIENCE;
    while code.is_none() {
        code = child.try_wait().unwrap();
        assert!(Instant::now() < end, "it is still there after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    code.and_then(|status| status.code())
}

fn warnings(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("WARN")).collect()
}

/// A trial of a case: when the fault comes, and over which interface blocks come then.
#[derive(Clone, Copy)]
struct Trial {
    case: &'static Case,
    outcome: Outcome,
    late: bool,
    interface: Interface,
}

impl Trial {
    /// All trials, those first that take long.
    fn all() -> Vec<Trial> {
        let mut all = Vec::new();
        for case in CASES {
            let outcomes = [(case.early, false), (Some(case.late), true)];
            for &interface in case.interfaces {
                let trials = outcomes.into_iter().filter_map(|(outcome, late)| Some((outcome?, late)));
                all.extend(trials.map(|(outcome, late)| Trial { case, outcome, late, interface }));
            }
        }
        all
    }

    fn name(&self) -> String {
        let Trial { case, late, interface, .. } = self;
        format!("{} over {interface:?}: {}", if *late { "run" } else { "sync" }, case.name)
    }

    /// The node, before it goes wrong.
    fn node(&self, blocks: &[Block]) -> FakeNode {
        let node = FakeNode::start(blocks);
        node.change(|state| state.rest = self.interface == Rest);
        node
    }
}

/// A sync that meets the fault from its start.
fn sync_with(stage: &Stage, trial: Trial) {
    let (name, Trial { case, outcome, .. }) = (&trial.name(), trial);
    let node = trial.node(&stage.chains.good);
    (case.fault)(&node, &stage.chains);
    let log_file = stage.bench.dir.path().join(format!("{name}.log"));
    let log = || std::fs::read_to_string(&log_file).unwrap();
    let mut command = stage.bench.command("sync", name, &args(&node));
    let mut child = command
        .stdout(File::create("/dev/null").unwrap())
        .stderr(File::create(&log_file).unwrap())
        .spawn()
        .unwrap();
    match outcome {
        Stops(text) => {
            assert_eq!(wait_for_exit(&mut child), Some(1), "{name}: {}", log());
            let log = log();
            let error = log.lines().last().unwrap();
            assert!(error.starts_with("error: ") && error.contains(text), "{name}: {log}");
        }
        Passes(text, count) => {
            wait(name, || warnings(&log()).iter().any(|line| line.contains(text)));
            node.wait_for_hits(count);
            node.lift();
            assert_eq!(wait_for_exit(&mut child), Some(0), "{name}: {}", log());
            let log = log();
            assert_eq!(warnings(&log).len(), 1, "{name}, told once: {log}");
            assert!(log.contains("answers again"), "{name}: {log}");
        }
        Harmless(count) => {
            assert_eq!(wait_for_exit(&mut child), Some(0), "{name}: {}", log());
            assert!(node.hits() >= count, "{name}: {} hits", node.hits());
            assert_eq!(warnings(&log()).len(), 0, "{name}: {}", log());
        }
        Falls(text) => {
            assert_eq!(wait_for_exit(&mut child), Some(0), "{name}: {}", log());
            let log = log();
            assert!(matches!(&warnings(&log)[..], [told] if fell(told, text)), "{name}: {log}");
        }
        Restless(count) => {
            // It may end in a moment at which nothing seems to be left to do.
            wait(name, || node.hits() >= count || child.try_wait().unwrap().is_some());
            node.lift();
            node.set_chain(&stage.chains.good);
            assert_eq!(wait_for_exit(&mut child), Some(0), "{name}: {}", log());
            assert!(warnings(&log()).len() < 8, "{name}: {}", log());
        }
    }
    stage.ends_well(name, &node);
}

/// Whether a line of the log says that REST was given up for this reason.
fn fell(line: &str, reason: &str) -> bool {
    line.contains("serves no longer") && line.contains(reason)
}

/// A server that follows when the fault comes, and with it new blocks.
fn run_with(stage: &Stage, trial: Trial) {
    let (name, Trial { case, outcome, .. }) = (&trial.name(), trial);
    let chains = &stage.chains;
    let node = trial.node(&chains.good[..chains.good.len() - NEWS]);
    let server = Server::start(stage.bench.command("run", name, &args(&node)));
    server.wait_for_tip(&node.change(|state| state.tip()).to_string());
    (case.fault)(&node, chains);
    node.set_chain(&chains.good);
    match outcome {
        Stops(text) => {
            let (code, log) = server.failed();
            assert_eq!(code, Some(1), "{name}: {log}");
            let error = log.lines().last().unwrap();
            assert!(error.starts_with("error: ") && error.contains(text), "{name}: {log}");
            stage.ends_well(name, &node);
            return;
        }
        Passes(text, count) => {
            let told = |status: &Value| status["sync"]["problem"].as_str().is_some_and(|p| p.contains(text));
            let status = server.wait_for(text, told);
            let (code, ready) = server.get("/health/ready");
            // Where the tip is known and more than a few blocks away, readers are sent away and told why.
            let behind = status["sync"]["source_height"] == chains.good.len() - 1;
            let told = ready["error"]["message"].as_str().is_some_and(|message| message.contains(text));
            assert!(if behind { code == 503 && told } else { code == 200 || told }, "{name}: {code} {ready}");
            node.wait_for_hits(count);
            // The log comes through a pipe, and may be read a moment later.
            wait(name, || !server.logged("WARN").is_empty());
            assert_eq!(server.logged("WARN").len(), 1, "{name}: {:?}", server.logged(""));
        }
        Harmless(count) => {
            node.wait_for_hits(count);
            assert_eq!(server.logged("WARN").len(), 0, "{name}: {:?}", server.logged(""));
        }
        Falls(text) => {
            server.wait_for_tip(&chains.good[chains.good.len() - 1].block_hash().to_string());
            wait(name, || !server.logged("WARN").is_empty());
            let told = server.logged("WARN");
            assert!(matches!(&told[..], [told] if fell(told, text)), "{name}: {:?}", server.logged(""));
        }
        Restless(count) => {
            // It may come to rest, on either chain.
            let tip = || node.change(|state| state.tip()).to_string();
            wait(name, || {
                let status = server.get("/v1/status").1;
                node.hits() >= count || status["synced"] == true && status["as_of"]["block_hash"] == tip()
            });
            assert!(server.logged("WARN").len() < 8, "{name}: {:?}", server.logged(""));
        }
    }
    node.lift();
    node.set_chain(&chains.good);
    server.wait_for_tip(&chains.good[chains.good.len() - 1].block_hash().to_string());
    let status = server.wait_for("no problem", |status| status["sync"]["problem"].is_null());
    assert_eq!((server.get("/health/ready").0, &status["synced"]), (200, &true.into()), "{name}");
    server.end("-INT");
    stage.ends_well(name, &node);
}

#[test]
fn every_fault_of_a_node_is_waited_out_or_told_and_no_wrong_block_is_applied() {
    let stage = Stage::new();
    for_all(&Trial::all(), Trial::name, |trial| match trial.late {
        false => sync_with(&stage, *trial),
        true => run_with(&stage, *trial),
    });
}
