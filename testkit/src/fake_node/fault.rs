//! What can go wrong with a node, and for which calls.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::BlockHash;
use bitcoin::hex::DisplayHex;
use serde_json::{Value, json};

use super::State;

/// What the node answers, or does, instead of what it should.
#[derive(Clone)]
pub enum Fault {
    /// A JSON-RPC error. Over REST, the status that Core has for it, and the text.
    Rpc(i32, &'static str),
    /// An HTTP status with a line of text.
    Http(u16, &'static str),
    /// A web page, with status 200.
    Page,
    /// This result, whatever was asked. Over REST, the bytes that it stands for in hex.
    Result(Value),
    /// Closes the connection without an answer.
    Close,
    /// Closes it in the middle of the answer's headers.
    CloseInHead,
    /// Closes it in the middle of the answer's body.
    CloseInBody,
    /// Sends half of the body, as if that were all of it.
    HalfBody,
    /// Sends the headers and then nothing, until the fault is lifted.
    SilentBody,
    /// Answers nothing, and keeps the connection open until the fault is lifted.
    Silent,
    /// Sends the right answer in pieces of so many bytes, with a pause after each.
    Drip(usize, Duration),
    /// Sends the right body in chunks of so many bytes, without saying how long it is.
    Chunked(usize),
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
            Fault::Chunked(_) => "Chunked(_)",
            Fault::Change(_) => "Change(..)",
        })
    }
}

/// Which calls a fault is for. A request over REST counts as a call of `rest/block` (or what else it
/// asks for), with the hash as its parameter.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Any of these; empty for all.
    methods: Vec<&'static str>,
    param: Option<Value>,
    /// How often it still applies, if not for ever.
    pub(super) left: Option<u32>,
}

impl Rule {
    /// Every call.
    pub fn all() -> Self {
        Rule { methods: Vec::new(), param: None, left: None }
    }

    /// Calls of one method.
    pub fn on(method: &'static str) -> Self {
        Rule { methods: vec![method], ..Rule::all() }
    }

    /// Calls for blocks, over either interface.
    pub fn blocks() -> Self {
        Rule { methods: vec!["getblock", "rest/block"], ..Rule::all() }
    }

    /// Of these, those whose first parameter is this one.
    pub fn of(self, param: impl Into<Value>) -> Self {
        Rule { param: Some(param.into()), ..self }
    }

    /// Calls for one block, over either interface.
    pub fn block(hash: BlockHash) -> Self {
        Rule::blocks().of(hash.to_string())
    }

    /// Of these, the next `count`.
    pub fn times(self, count: u32) -> Self {
        Rule { left: Some(count), ..self }
    }

    pub(super) fn matches(&self, call: &Value) -> bool {
        self.left != Some(0)
            && (self.methods.is_empty() || self.methods.iter().any(|method| call["method"] == *method))
            && self.param.as_ref().is_none_or(|param| call["params"][0] == *param)
    }
}
