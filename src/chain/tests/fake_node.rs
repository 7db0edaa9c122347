//! A node that is made up: just enough HTTP and JSON-RPC for the client, with faults on request.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bitcoin::Block;
use bitcoin::consensus::encode;
use serde_json::{Value, json};

/// Cookies as they stand in the file, and the header that they make.
pub const FIRST_COOKIE: (&str, &str) = ("__cookie__:first", "Basic X19jb29raWVfXzpmaXJzdA==");
pub const SECOND_COOKIE: (&str, &str) = ("__cookie__:second", "Basic X19jb29raWVfXzpzZWNvbmQ=");

/// What a node answers to a call instead of what it should.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A JSON-RPC error.
    Rpc(i32, &'static str),
    /// An HTTP status without a body.
    Http(u16),
    /// A web page.
    Page,
    /// Nothing.
    Close,
}

/// The state of the node; tests change it as they go.
pub struct State {
    pub version: u32,
    pub chain: &'static str,
    pub signet_challenge: Option<&'static str>,
    pub blocks: Vec<Block>,
    /// The `Authorization` header that is let in.
    pub authorization: &'static str,
    /// Faults by method; `*` for all.
    pub faults: BTreeMap<&'static str, Fault>,
    /// How often each method was called.
    pub calls: BTreeMap<String, u32>,
}

impl State {
    fn best(&self) -> Option<String> {
        self.blocks.last().map(|block| block.block_hash().to_string())
    }
}

pub struct FakeNode {
    pub url: String,
    pub state: Arc<Mutex<State>>,
}

impl FakeNode {
    /// Starts to listen on a free port, for as long as the test runs.
    pub fn start(blocks: Vec<Block>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            version: 280_100,
            chain: "regtest",
            signet_challenge: None,
            blocks,
            authorization: FIRST_COOKIE.1,
            faults: BTreeMap::new(),
            calls: BTreeMap::new(),
        }));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                thread::spawn(move || serve(stream, &state));
            }
        });
        FakeNode { url, state }
    }

    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    pub fn fault(&self, method: &'static str, fault: Fault) {
        self.change(|state| {
            state.faults.insert(method, fault);
        });
    }

    pub fn calls(&self, method: &str) -> u32 {
        self.state.lock().unwrap().calls.get(method).copied().unwrap_or(0)
    }
}

/// Answers requests on a connection until the client, or a fault, closes it.
fn serve(stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let (authorization, body) = read_request(&mut reader)?;
        let allowed = state.lock().unwrap().authorization == authorization;
        if !allowed {
            respond(&mut stream, 401, "")?;
            continue;
        }
        let request: Value = serde_json::from_slice(&body).ok()?;
        let calls = request.as_array().cloned().unwrap_or_else(|| vec![request.clone()]);
        let mut answers = Vec::new();
        let mut status = 200;
        for call in &calls {
            match answer(call, state) {
                Ok(result) => answers.push(json!({"result": result, "error": null, "id": call["id"]})),
                Err(Fault::Rpc(code, message)) => {
                    status = 500;
                    let error = json!({"code": code, "message": message});
                    answers.push(json!({"result": null, "error": error, "id": call["id"]}));
                }
                Err(Fault::Http(code)) => return respond(&mut stream, code, ""),
                Err(Fault::Page) => return respond(&mut stream, 200, "<html>Hello</html>"),
                Err(Fault::Close) => return None,
            }
        }
        if request.is_array() {
            respond(&mut stream, 200, &Value::Array(answers).to_string())?;
        } else {
            respond(&mut stream, status, &answers.remove(0).to_string())?;
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut authorization = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("Authorization: ") {
            authorization = value.to_owned();
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((authorization, body))
}

fn respond(stream: &mut TcpStream, status: u16, body: &str) -> Option<()> {
    let head = format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()
}

fn answer(call: &Value, shared: &Mutex<State>) -> Result<Value, Fault> {
    let method = call["method"].as_str().unwrap();
    let param = &call["params"][0];
    let mut state = shared.lock().unwrap();
    *state.calls.entry(method.to_owned()).or_default() += 1;
    if let Some(fault) = state.faults.get(method).or(state.faults.get("*")) {
        return Err(fault.clone());
    }
    match method {
        "getnetworkinfo" => Ok(json!({"version": state.version, "subversion": "/Fake/"})),
        "getblockchaininfo" => Ok(json!({
            "chain": state.chain,
            "blocks": state.blocks.len() - 1,
            "bestblockhash": state.best(),
            "signet_challenge": state.signet_challenge,
        })),
        "getbestblockhash" => Ok(json!(state.best())),
        "getblockhash" => match state.blocks.get(param.as_u64().unwrap() as usize) {
            Some(block) => Ok(json!(block.block_hash().to_string())),
            None => Err(Fault::Rpc(-8, "Block height out of range")),
        },
        "getblock" => {
            let hash = param.as_str().unwrap();
            let block = state.blocks.iter().find(|block| block.block_hash().to_string() == hash);
            block.map(|block| json!(encode::serialize_hex(block))).ok_or(Fault::Rpc(-5, "Block not found"))
        }
        "waitfornewblock" => {
            let known = state.best();
            drop(state);
            let end = Instant::now() + Duration::from_millis(param.as_u64().unwrap());
            while shared.lock().unwrap().best() == known && Instant::now() < end {
                thread::sleep(Duration::from_millis(5));
            }
            Ok(json!({"hash": shared.lock().unwrap().best(), "height": 0}))
        }
        _ => Err(Fault::Rpc(-32601, "Method not found")),
    }
}
