//! A Bitcoin Core node that is made up: just enough HTTP and JSON-RPC for an indexer, and every fault that
//! a test asks for.
//!
//! A [`FakeNode`] hands out the blocks that it is given and takes them on trust. A [`Fault`] replaces
//! answers, or the way in which they are sent, for the calls that a [`Rule`] names; it stays until it is
//! lifted, or for as many calls as the rule says. Requests are answered one thread per connection, so
//! that a connection that hangs keeps no other waiting.
//!
//! It knows nothing of consensus: which chain is best is what the test says.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use bitcoin::consensus::encode;
use bitcoin::hex::DisplayHex;
use bitcoin::{Block, BlockHash};
use serde_json::{Value, json};
use tempfile::TempDir;

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

/// What the node answers, or does, instead of what it should.
#[derive(Clone)]
pub enum Fault {
    /// A JSON-RPC error.
    Rpc(i32, &'static str),
    /// An HTTP status with a line of text.
    Http(u16, &'static str),
    /// A web page, with status 200.
    Page,
    /// This result, whatever was asked.
    Result(Value),
    /// Closes the connection without an answer.
    Close,
    /// Closes it in the middle of the answer's headers.
    CloseInHead,
    /// Closes it in the middle of the answer's body.
    CloseInBody,
    /// Sends half of the JSON, as if that were all of it.
    HalfBody,
    /// Sends the headers and then nothing, until the fault is lifted.
    SilentBody,
    /// Answers nothing, and keeps the connection open until the fault is lifted.
    Silent,
    /// Sends the right answer in pieces of so many bytes, with a pause after each.
    Drip(usize, Duration),
    /// Does this to the node, then answers as it should.
    Change(Arc<dyn Fn(&mut State) + Send + Sync>),
}

impl Fault {
    /// These bytes in place of a block.
    pub fn block(bytes: &[u8]) -> Self {
        Fault::Result(json!(bytes.to_lower_hex_string()))
    }

    /// Does this to the node before each answer.
    pub fn change(change: impl Fn(&mut State) + Send + Sync + 'static) -> Self {
        Fault::Change(Arc::new(change))
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Rpc(code, message) => return write!(f, "Rpc({code}, {message:?})"),
            Fault::Http(status, _) => return write!(f, "Http({status})"),
            Fault::Page => "Page",
            Fault::Result(_) => "Result(..)",
            Fault::Close => "Close",
            Fault::CloseInHead => "CloseInHead",
            Fault::CloseInBody => "CloseInBody",
            Fault::HalfBody => "HalfBody",
            Fault::SilentBody => "SilentBody",
            Fault::Silent => "Silent",
            Fault::Drip(..) => "Drip(..)",
            Fault::Change(_) => "Change(..)",
        })
    }
}

/// Which calls a fault is for.
#[derive(Clone, Debug)]
pub struct Rule {
    method: Option<&'static str>,
    param: Option<Value>,
    left: Option<u32>,
}

impl Rule {
    /// Every call.
    pub fn all() -> Self {
        Rule { method: None, param: None, left: None }
    }

    /// Calls of one method.
    pub fn on(method: &'static str) -> Self {
        Rule { method: Some(method), ..Rule::all() }
    }

    /// Of these, those whose first parameter is this one.
    pub fn of(self, param: impl Into<Value>) -> Self {
        Rule { param: Some(param.into()), ..self }
    }

    /// Calls of `getblock` for one block.
    pub fn block(hash: BlockHash) -> Self {
        Rule::on("getblock").of(hash.to_string())
    }

    /// Of these, the next `count`.
    pub fn times(self, count: u32) -> Self {
        Rule { left: Some(count), ..self }
    }

    fn matches(&self, call: &Value) -> bool {
        self.left != Some(0)
            && self.method.is_none_or(|method| call["method"] == method)
            && self.param.as_ref().is_none_or(|param| call["params"][0] == *param)
    }
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
    /// Every block that it ever had.
    blocks: BTreeMap<BlockHash, Vec<u8>>,
    /// The best chain by height.
    best: Vec<BlockHash>,
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

    /// The hash of the best block.
    pub fn tip(&self) -> BlockHash {
        *self.best.last().expect("a node has at least the genesis block")
    }

    /// The fault for a call; counts what it is used for.
    fn fault(&mut self, call: &Value) -> Option<Fault> {
        let (rule, fault) = self.faults.iter_mut().find(|(rule, _)| rule.matches(call))?;
        if let Some(left) = &mut rule.left {
            *left -= 1;
        }
        self.hits += 1;
        Some(fault.clone())
    }

    /// The result of a call, or the code and text of an error.
    fn answer(&self, call: &Value) -> Result<Value, (i32, &'static str)> {
        let param = &call["params"][0];
        match call["method"].as_str().unwrap_or_default() {
            "getnetworkinfo" => Ok(json!({"version": self.version, "subversion": "/Fake/"})),
            "getblockchaininfo" => Ok(json!({
                "chain": self.chain,
                "blocks": self.best.len() - 1,
                "bestblockhash": self.tip(),
                "signet_challenge": self.signet_challenge,
            })),
            "getbestblockhash" => Ok(json!(self.tip())),
            "getblockhash" => {
                let height = param.as_u64().and_then(|height| usize::try_from(height).ok());
                let hash = height.and_then(|height| self.best.get(height));
                hash.map(|hash| json!(hash)).ok_or((-8, "Block height out of range"))
            }
            "getblock" => {
                let hash = param.as_str().and_then(|hash| hash.parse().ok());
                let block = hash.and_then(|hash: BlockHash| self.blocks.get(&hash));
                block.map(|block| json!(block.to_lower_hex_string())).ok_or((-5, "Block not found"))
            }
            "waitfornewblock" => Ok(json!({"hash": self.tip(), "height": self.best.len() - 1})),
            _ => Err((-32601, "Method not found")),
        }
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
            blocks: BTreeMap::new(),
            best: Vec::new(),
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

    /// How often a method was called.
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
    answer_requests(stream, state);
    lock(state).connections.retain(|connection| connection.peer_addr().is_ok_and(|other| other != peer));
    // Clones of it would keep it open. One that has ended already is as good as one that ends now.
    let _ = stream.shutdown(Shutdown::Both);
}

/// Answers requests until the client, a fault or the end closes the connection.
fn answer_requests(mut stream: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (authorization, body) = read_request(&mut reader)?;
        if lock(state).authorization != authorization {
            stream.write_all(&http(401, "")).ok()?;
            continue;
        }
        let request: Value = serde_json::from_slice(&body).ok()?;
        let Answer { status, body, manner } = answer(&request, state);
        let bytes = http(status, &body);
        let head = bytes.len() - body.len();
        match manner {
            None => stream.write_all(&bytes).ok()?,
            Some(Fault::Drip(count, pause)) => {
                for piece in bytes.chunks(count) {
                    stream.write_all(piece).ok()?;
                    thread::sleep(pause);
                }
            }
            Some(Fault::CloseInHead) => return stream.write_all(&bytes[..head / 2]).ok(),
            Some(Fault::CloseInBody) => return stream.write_all(&bytes[..head + body.len() / 2]).ok(),
            Some(Fault::HalfBody) => stream.write_all(&http(status, &body[..body.len() / 2])).ok()?,
            Some(Fault::SilentBody) => {
                stream.write_all(&bytes[..head]).ok()?;
                return until_lifted(state);
            }
            Some(Fault::Silent) => return until_lifted(state),
            Some(_) => return None,
        }
    }
}

/// Waits for the end of all faults; the connection is to be closed then.
fn until_lifted(state: &Mutex<State>) -> Option<()> {
    while !{
        let state = lock(state);
        state.dropped || state.faults.is_empty()
    } {
        thread::sleep(POLL);
    }
    None
}

/// What is sent, and in which manner if not as it should.
struct Answer {
    status: u16,
    body: String,
    manner: Option<Fault>,
}

fn answer(request: &Value, state: &Mutex<State>) -> Answer {
    let calls = request.as_array().cloned().unwrap_or_else(|| vec![request.clone()]);
    let (mut answers, mut status, mut manner) = (Vec::new(), 200, None);
    for call in &calls {
        let (result, fault) = answer_one(call, state);
        match fault {
            Some(Fault::Http(status, text)) => {
                return Answer { status, body: text.to_owned(), manner: None };
            }
            Some(Fault::Page) => {
                let body = "<html><body>It works!</body></html>".to_owned();
                return Answer { status: 200, body, manner: None };
            }
            other => manner = manner.or(other),
        }
        answers.push(match result {
            Ok(result) => json!({"result": result, "error": null, "id": call["id"]}),
            Err((code, message)) => {
                status = 500;
                json!({"result": null, "error": {"code": code, "message": message}, "id": call["id"]})
            }
        });
    }
    match request.is_array() {
        true => Answer { status: 200, body: Value::Array(answers).to_string(), manner },
        false => Answer { status, body: answers.remove(0).to_string(), manner },
    }
}

/// The result of a call, and the fault that concerns the whole answer.
fn answer_one(call: &Value, shared: &Mutex<State>) -> (Result<Value, (i32, &'static str)>, Option<Fault>) {
    let method = call["method"].as_str().unwrap_or_default();
    let mut state = lock(shared);
    *state.calls.entry(method.to_owned()).or_default() += 1;
    let fault = state.fault(call);
    match fault {
        Some(Fault::Rpc(code, message)) => return (Err((code, message)), None),
        Some(Fault::Result(result)) => return (Ok(result), None),
        Some(Fault::Change(change)) => {
            change(&mut state);
            return (state.answer(call), None);
        }
        _ => {}
    }
    if method == "waitfornewblock" && fault.is_none() {
        let known = state.tip();
        drop(state);
        let millis = call["params"][0].as_u64().unwrap_or(0);
        wait_for_new_block(shared, known, Duration::from_millis(millis));
        state = lock(shared);
    }
    (state.answer(call), fault)
}

fn wait_for_new_block(state: &Mutex<State>, known: BlockHash, timeout: Duration) {
    let end = Instant::now() + timeout;
    while Instant::now() < end && {
        let state = lock(state);
        state.tip() == known && !state.dropped
    } {
        thread::sleep(POLL);
    }
}

/// The authorization and the body of the next request.
fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<(String, Vec<u8>)> {
    let (mut authorization, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = value.trim().to_owned(),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((authorization, body))
}

fn http(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
