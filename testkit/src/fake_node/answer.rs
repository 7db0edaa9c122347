//! What the node answers, over RPC and over REST, and which fault comes between.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::{BlockHash, TxIn, Txid};
use serde_json::{Value, json};

use super::wire::Request;
use super::{Fault, POLL, State, lock};

/// What is sent, and in which manner if not as it should.
pub(super) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    pub manner: Option<Fault>,
}

impl Answer {
    fn plain(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Answer { status, body: body.into(), manner: None }
    }

    /// The answer that a fault gives to a whole request, if it does.
    fn of(fault: &Fault) -> Option<Self> {
        match fault {
            Fault::Http(status, text) => Some(Answer::plain(*status, *text)),
            Fault::Page => Some(Answer::plain(200, "<html><body>It works!</body></html>")),
            _ => None,
        }
    }
}

/// The code and text of an error.
type RpcError = (i32, &'static str);

/// The answer to a request; `None` where it makes no sense.
pub(super) fn answer(request: &Request, state: &Mutex<State>) -> Option<Answer> {
    match &request.get {
        Some(target) => Some(over_rest(target, state)),
        None => Some(over_rpc(&serde_json::from_slice(&request.body).ok()?, state)),
    }
}

fn over_rpc(request: &Value, state: &Mutex<State>) -> Answer {
    let calls = request.as_array().cloned().unwrap_or_else(|| vec![request.clone()]);
    let (mut answers, mut status, mut manner) = (Vec::new(), 200, None);
    for call in &calls {
        let (result, fault) = answer_one(call, state);
        if let Some(answer) = fault.as_ref().and_then(Answer::of) {
            return answer;
        }
        manner = manner.or(fault);
        answers.push(match result {
            Ok(result) => json!({"result": result, "error": null, "id": call["id"]}),
            Err((code, message)) => {
                status = 500;
                json!({"result": null, "error": {"code": code, "message": message}, "id": call["id"]})
            }
        });
    }
    match request.is_array() {
        true => Answer { status: 200, body: Value::Array(answers).to_string().into(), manner },
        false => Answer { status, body: answers.remove(0).to_string().into(), manner },
    }
}

/// The result of a call, and the fault that concerns the whole answer.
fn answer_one(call: &Value, shared: &Mutex<State>) -> (Result<Value, RpcError>, Option<Fault>) {
    let mut state = lock(shared);
    let fault = state.meet(call);
    match fault {
        Some(Fault::Rpc(code, message)) => return (Err((code, message)), None),
        Some(Fault::Result(result)) => return (Ok(result), None),
        Some(Fault::Change(_)) => return (result(&state, call), None),
        _ => {}
    }
    if call["method"] == "waitfornewblock" && fault.is_none() {
        let known = state.tip();
        drop(state);
        let millis = call["params"][0].as_u64().unwrap_or(0);
        wait_for_new_block(shared, known, Duration::from_millis(millis));
        state = lock(shared);
    }
    (result(&state, call), fault)
}

fn result(state: &State, call: &Value) -> Result<Value, RpcError> {
    let param = &call["params"][0];
    match call["method"].as_str().unwrap_or_default() {
        "getnetworkinfo" => Ok(json!({"version": state.version, "subversion": "/Fake/"})),
        "getblockchaininfo" => Ok(json!({
            "chain": state.chain,
            "blocks": state.best.len() - 1,
            "bestblockhash": state.tip(),
            "signet_challenge": state.signet_challenge,
        })),
        "getbestblockhash" => Ok(json!(state.tip())),
        "getblockhash" => {
            let height = param.as_u64().and_then(|height| usize::try_from(height).ok());
            let hash = height.and_then(|height| state.best.get(height));
            hash.map(|hash| json!(hash)).ok_or((-8, "Block height out of range"))
        }
        "getblock" => {
            let block = param.as_str().and_then(|hash| block(state, hash));
            block.map(|block| json!(block.to_lower_hex_string())).ok_or((-5, "Block not found"))
        }
        "getrawmempool" => Ok(json!(state.mempool.keys().collect::<Vec<_>>())),
        "getrawtransaction" => {
            let txid = param.as_str().and_then(|txid| txid.parse().ok());
            let tx = txid.and_then(|txid: Txid| state.mempool.get(&txid));
            tx.map(|tx| json!(serialize_hex(tx))).ok_or((-5, "No such mempool transaction"))
        }
        "gettxspendingprevout" => Ok(spenders(state, param)),
        "waitfornewblock" => Ok(json!({"hash": state.tip(), "height": state.best.len() - 1})),
        _ => Err((-32601, "Method not found")),
    }
}

fn block<'a>(state: &'a State, hash: &str) -> Option<&'a Vec<u8>> {
    hash.parse().ok().and_then(|hash: BlockHash| state.blocks.get(&hash))
}

/// For each of these outputs, which transaction of the mempool spends it.
fn spenders(state: &State, outputs: &Value) -> Value {
    let outputs = outputs.as_array().into_iter().flatten();
    let one = |output: &Value| {
        let spends = |input: &TxIn| {
            let spent = input.previous_output;
            output["txid"] == json!(spent.txid) && output["vout"] == spent.vout
        };
        let spender = state.mempool.iter().find(|(_, tx)| tx.input.iter().any(spends));
        let mut answer = output.clone();
        if let Some((txid, _)) = spender {
            answer["spendingtxid"] = json!(txid);
        }
        answer
    };
    outputs.map(one).collect()
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

fn over_rest(target: &str, shared: &Mutex<State>) -> Answer {
    let mut state = lock(shared);
    let path = target.split('?').next().unwrap_or_default();
    let (method, param) = path.trim_start_matches('/').rsplit_once('/').unwrap_or((path, ""));
    let param = param.strip_suffix(".bin").unwrap_or(param);
    let fault = state.meet(&json!({"method": method, "params": [param]}));
    if let Some(answer) = fault.as_ref().and_then(Answer::of) {
        return answer;
    }
    let found = match method {
        _ if !state.rest => None,
        "rest/block" => block(&state, param).cloned(),
        "rest/headers" => block(&state, param).map(|block| block[..80].to_vec()),
        _ => None,
    };
    match fault {
        Some(Fault::Rpc(-28, message)) => {
            Answer::plain(503, format!("Service temporarily unavailable: {message}"))
        }
        Some(Fault::Rpc(_, message)) => Answer::plain(404, message),
        Some(Fault::Result(result)) => {
            let text = result.as_str().unwrap_or_default();
            Answer::plain(200, Vec::from_hex(text).unwrap_or_else(|_| text.into()))
        }
        Some(Fault::Change(_)) | None => match found {
            Some(body) => Answer::plain(200, body),
            None => Answer::plain(404, format!("{param} not found")),
        },
        manner => Answer { status: 200, body: found.unwrap_or_default(), manner },
    }
}
