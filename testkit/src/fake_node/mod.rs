//! A Bitcoin Core node that is made up: just enough HTTP, JSON-RPC and REST for an indexer, and every fault
//! that a test asks for.
//!
//! A [`FakeNode`] hands out the blocks that it is given and takes them on trust. A [`Fault`] replaces
//! answers, or the way in which they are sent, for the calls that a [`Rule`] names; it stays until it is
//! lifted, or for as many calls as the rule says. Requests are answered one thread per connection, so
//! that a connection that hangs keeps no other waiting.
//!
//! It knows nothing of consensus: which chain is best is what the test says.

mod answer;
mod fault;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bitcoin::consensus::encode;
use bitcoin::{Block, BlockHash, Transaction, Txid};
use serde_json::Value;
use tempfile::TempDir;

pub use fault::{Fault, Rule};

/// Between two looks at what may have changed.
const POLL: Duration = Duration::from_millis(5);

/// How long a test waits for the node's own threads.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a cookie file holds, and the header that a client makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// `user:password`
    pub text: &'static str,
    /// The value of `Authorization`.
    pub header: &'static str,
}

impl Cookie {
    /// The cookie that the node starts with.
    pub const FIRST: Cookie = Cookie { text: "__cookie__:first", header: "Basic X19jb29raWVfXzpmaXJzdA==" };
    /// Another one.
    pub const SECOND: Cookie = Cookie { text: "__cookie__:second", header: "Basic X19jb29raWVfXzpzZWNvbmQ=" };
}

/// What the node is and has; tests change it as they go.
pub struct State {
    /// Its version, as `getnetworkinfo` gives it.
    pub version: u32,
    /// The name of its chain, as Core writes it.
    pub chain: &'static str,
    /// What makes its signet.
    pub signet_challenge: Option<&'static str>,
    /// The `Authorization` header that is let in.
    pub authorization: &'static str,
    /// Whether its REST interface is on; off, unless a test switches it on, as with Core.
    pub rest: bool,
    /// Every block that it ever had.
    blocks: BTreeMap<BlockHash, Vec<u8>>,
    /// The best chain by height.
    best: Vec<BlockHash>,
    /// Transactions that no block of it holds, if a test says so.
    mempool: BTreeMap<Txid, Transaction>,
    faults: Vec<(Rule, Fault)>,
    /// How often faults took effect.
    hits: u32,
    /// How often each method was called.
    calls: BTreeMap<String, u32>,
    refusing: bool,
    listening: bool,
    dropped: bool,
    connections: Vec<TcpStream>,
}

impl State {
    /// Makes these blocks, from the genesis block on, the best chain. Those of other chains it keeps.
    pub fn set_chain(&mut self, blocks: &[Block]) {
        self.blocks.extend(blocks.iter().map(|block| (block.block_hash(), encode::serialize(block))));
        self.best = blocks.iter().map(Block::block_hash).collect();
    }

    /// Puts a block on top of the best chain.
    pub fn push(&mut self, block: &Block) {
        self.blocks.insert(block.block_hash(), encode::serialize(block));
        self.best.push(block.block_hash());
    }

    /// Leaves so many blocks of the best chain, the genesis block counted.
    pub fn truncate(&mut self, count: usize) {
        self.best.truncate(count);
    }

    /// Makes these transactions the content of the mempool.
    pub fn set_mempool<'a>(&mut self, txs: impl IntoIterator<Item = &'a Transaction>) {
        self.mempool = txs.into_iter().map(|tx| (tx.compute_txid(), tx.clone())).collect();
    }

    /// The hash of the best block.
    pub fn tip(&self) -> BlockHash {
        *self.best.last().expect("a node has at least the genesis block")
    }

    /// Counts a call, and finds the fault for it; one that changes the node does so.
    fn meet(&mut self, call: &Value) -> Option<Fault> {
        let method = call["method"].as_str().unwrap_or_default();
        *self.calls.entry(method.to_owned()).or_default() += 1;
        let (rule, fault) = self.faults.iter_mut().find(|(rule, _)| rule.matches(call))?;
        if let Some(left) = &mut rule.left {
            *left -= 1;
        }
        let fault = fault.clone();
        self.hits += 1;
        if let Fault::Change(change) = &fault {
            change(self);
        }
        Some(fault)
    }
}

/// The node. It goes away when this is dropped.
pub struct FakeNode {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    dir: TempDir,
}

impl FakeNode {
    /// Starts to listen on a free port of this machine: a regtest node of version 28.1 with these
    /// blocks, from the genesis block on, that lets [`Cookie::FIRST`] in.
    pub fn start(blocks: &[Block]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let dir = TempDir::new().expect("a temporary directory");
        std::fs::write(dir.path().join(".cookie"), Cookie::FIRST.text).expect("the cookie can be written");
        let mut state = State {
            version: 280_100,
            chain: "regtest",
            signet_challenge: None,
            authorization: Cookie::FIRST.header,
            rest: false,
            blocks: BTreeMap::new(),
            best: Vec::new(),
            mempool: BTreeMap::new(),
            faults: Vec::new(),
            hits: 0,
            calls: BTreeMap::new(),
            refusing: false,
            listening: true,
            dropped: false,
            connections: Vec::new(),
        };
        state.set_chain(blocks);
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        thread::spawn(move || listen(listener, address, &shared));
        FakeNode { address, state, dir }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where its cookie is.
    pub fn cookie_file(&self) -> PathBuf {
        self.dir.path().join(".cookie")
    }

    /// Changes the node, or looks at it.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut lock(&self.state))
    }

    /// Makes these blocks, from the genesis block on, the best chain.
    pub fn set_chain(&self, blocks: &[Block]) {
        self.change(|state| state.set_chain(blocks));
    }

    /// Adds a fault. Of several for one call the first takes effect.
    pub fn fault(&self, rule: Rule, fault: Fault) {
        self.change(|state| state.faults.push((rule, fault)));
    }

    /// Ends every fault; one that refuses connections, too.
    pub fn lift(&self) {
        self.change(|state| {
            state.faults.clear();
            state.refusing = false;
        });
        self.wait("listening", |state| state.listening);
    }

    /// Refuses connections, and breaks those that stand, until the faults are lifted.
    pub fn refuse(&self) {
        self.change(|state| {
            state.refusing = true;
            for connection in state.connections.drain(..) {
                // One that has ended already is as good as one that ends now.
                let _ = connection.shutdown(Shutdown::Both);
            }
        });
        self.wait("refusing", |state| !state.listening);
    }

    /// How often a method was called; `rest/block` and the like over REST.
    pub fn calls(&self, method: &str) -> u32 {
        self.change(|state| state.calls.get(method).copied().unwrap_or(0))
    }

    /// How often a fault took effect.
    pub fn hits(&self) -> u32 {
        self.change(|state| state.hits)
    }

    /// Waits until faults took effect so many times.
    pub fn wait_for_hits(&self, count: u32) {
        self.wait("faults to be met", |state| state.hits >= count);
    }

    fn wait(&self, what: &str, happened: impl Fn(&State) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !self.change(|state| happened(state)) {
            assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for the fake node: {what}");
            thread::sleep(POLL);
        }
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.change(|state| {
            state.dropped = true;
            for connection in state.connections.drain(..) {
                let _ = connection.shutdown(Shutdown::Both);
            }
        });
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // A test that panics while it changes the node has failed already.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts connections, with pauses while they are to be refused.
fn listen(listener: TcpListener, address: SocketAddr, state: &Arc<Mutex<State>>) {
    let mut listener = Some(listener);
    loop {
        let (refusing, dropped) = {
            let state = lock(state);
            (state.refusing, state.dropped)
        };
        if dropped {
            return;
        }
        match (&listener, refusing) {
            (Some(_), true) => listener = None,
            // Whoever took the port meanwhile gives it back soon: it is not one that anybody asks for.
            (None, false) => listener = TcpListener::bind(address).ok(),
            _ => {}
        }
        lock(state).listening = listener.is_some();
        match listener.as_ref().map(accept) {
            Some(Ok(stream)) => {
                let state = state.clone();
                thread::spawn(move || serve(&stream, &state));
            }
            _ => thread::sleep(POLL),
        }
    }
}

fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Serves a connection and closes it.
fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let (Ok(peer), Ok(kept)) = (stream.peer_addr(), stream.try_clone()) else { return };
    {
        let mut state = lock(state);
        if state.refusing || state.dropped {
            return;
        }
        state.connections.push(kept);
    }
    wire::answer_requests(stream, state);
    lock(state).connections.retain(|connection| connection.peer_addr().is_ok_and(|other| other != peer));
    // Clones of it would keep it open. One that has ended already is as good as one that ends now.
    let _ = stream.shutdown(Shutdown::Both);
}
