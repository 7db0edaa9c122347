//! JSON-RPC to Bitcoin Core: connections, credentials, and which errors are worth a retry.
//!
//! A connection serves one call at a time, so there is a pool of them that grows to as many as there
//! are threads calling. The cookie file is read whenever a connection is made, because a node writes
//! a new one at every start. Credentials never appear in errors, logs or `Debug` output.
//!
//! What does not look like a node is refused when it is met first. Where a node was before, it is waited
//! for: a web page is then a proxy that is in trouble, or a port that somebody else took for a while.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bitcoincore_rpc::jsonrpc::error::RpcError;
use bitcoincore_rpc::jsonrpc::{self, Client, Response};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::SourceError;
use super::http::{self, HttpError, Line};
use crate::protocol::Network;

/// The node is starting and not ready to answer.
const RPC_IN_WARMUP: i32 = -28;

/// There is no such method.
pub(super) const RPC_METHOD_NOT_FOUND: i32 = -32601;

/// How to log in to a node.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    /// With the cookie that the node writes into this file.
    Cookie(PathBuf),
    /// With a user and a password from its configuration.
    UserPass {
        /// `rpcuser`, or the user of an `rpcauth` line.
        user: String,
        /// The password.
        password: String,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Auth::Cookie(path) => f.debug_tuple("Cookie").field(path).finish(),
            Auth::UserPass { .. } => f.write_str("UserPass(..)"),
        }
    }
}

/// Why a call brought no result.
pub(super) enum Failure {
    /// No usable answer came.
    Source(SourceError),
    /// The node does not let this user or address make the call.
    Forbidden,
    /// The node answered with an error.
    Answer(RpcError),
}

/// A connection, with room for answers that are too long to be copied about.
struct Connection {
    client: Client,
    line: Line,
    answer: Vec<u8>,
}

/// An answer of which the result is left where it lies.
#[derive(Deserialize)]
struct Borrowed<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<RpcError>,
}

impl Connection {
    fn new(line: Line) -> Self {
        Connection { client: Client::with_transport(line.clone()), line, answer: Vec::new() }
    }

    /// Calls a method and decodes its result from hex; returns the error that the node answers with.
    fn bytes(
        &mut self,
        method: &str,
        params: &RawValue,
        bytes: &mut Vec<u8>,
    ) -> Result<Option<RpcError>, jsonrpc::Error> {
        let request = self.client.build_request(method, Some(params));
        let Borrowed { result, error } = self.line.send(&request, &mut self.answer)?;
        if error.is_none() {
            decode_hex(result.map_or("", RawValue::get), bytes);
        }
        Ok(error)
    }
}

/// Replaces the content of `bytes` with what the hex digits between two quotes stand for; with nothing,
/// if that is not what `json` is.
fn decode_hex(json: &str, bytes: &mut Vec<u8>) {
    let digits = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or("").as_bytes();
    http::set_length(bytes, digits.len() / 2);
    if faster_hex::hex_decode(digits, bytes).is_err() {
        bytes.clear();
    }
}

/// A node's RPC interface.
pub(super) struct Rpc {
    url: String,
    auth: Auth,
    idle: Mutex<Vec<Connection>>,
    /// Whether a node was seen there.
    known: AtomicBool,
}

impl Rpc {
    /// Checks the URL; connects at the first call.
    pub fn new(url: &str, auth: Auth, network: Network) -> Result<Self, SourceError> {
        Ok(Rpc { url: complete_url(url, network)?, auth, idle: Mutex::default(), known: false.into() })
    }

    /// The node's address, without credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// To be told once a node was found at the other end.
    pub fn is_a_node(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    /// Forgets all connections, and with them the credentials that they use.
    pub fn disconnect(&self) {
        self.idle().clear();
    }

    /// What it means that a request over HTTP brought no answer.
    pub fn failed(&self, error: HttpError) -> Failure {
        Failure::Source(self.classify(&error.into()))
    }

    /// Calls a method.
    pub fn call<T>(&self, method: &str, params: &[Value]) -> Result<T, Failure>
    where
        T: for<'a> serde::Deserialize<'a>,
    {
        let params = encode(params)?;
        let call = |connection: &mut Connection| {
            let client = &connection.client;
            client.send_request(client.build_request(method, Some(&params)))
        };
        let response = self.with_connection(call).and_then(answered)?;
        response.result().map_err(|error| Failure::Source(self.no_rpc_advice(&error.to_string())))
    }

    /// Calls a method whose result is one long string of hex digits, and replaces the content of `bytes`
    /// with what they stand for; with nothing, if the result is something else.
    pub fn call_for_bytes(&self, method: &str, params: &[Value], bytes: &mut Vec<u8>) -> Result<(), Failure> {
        let params = encode(params)?;
        match self.with_connection(|connection| connection.bytes(method, &params, bytes))? {
            None => Ok(()),
            Some(error) => Err(Failure::Answer(error)),
        }
    }

    /// Calls a method once for each list of parameters, in one request. The results are in the
    /// order of the calls.
    pub fn batch(
        &self,
        method: &str,
        calls: &[[Value; 1]],
    ) -> Result<Vec<Result<Response, Failure>>, Failure> {
        let params = calls.iter().map(|params| encode(params)).collect::<Result<Vec<_>, _>>()?;
        let responses = self.with_connection(|connection| {
            let client = &connection.client;
            let requests: Vec<_> =
                params.iter().map(|params| client.build_request(method, Some(params))).collect();
            client.send_batch(&requests)
        })?;
        let missing = || Failure::Source(SourceError::Retry(format!("{}: a batch was cut short", self.url)));
        Ok(responses.into_iter().map(|response| response.ok_or_else(missing).and_then(answered)).collect())
    }

    /// What a failure that nobody has a better use for means to the caller.
    pub fn explain(&self, failure: Failure, method: &str) -> SourceError {
        match failure {
            Failure::Source(error) => error,
            Failure::Forbidden => SourceError::Fatal(format!(
                "the node at {} does not allow `{method}` (HTTP 403): check rpcallowip, and rpcwhitelist for \
                 the RPC user, in its configuration",
                self.url
            )),
            Failure::Answer(error) if error.code == RPC_IN_WARMUP => {
                SourceError::Retry(format!("the node at {} is starting: {}", self.url, error.message))
            }
            Failure::Answer(error)
                if error.code == RPC_METHOD_NOT_FOUND && !self.known.load(Ordering::Relaxed) =>
            {
                self.no_rpc_advice(&error.message)
            }
            Failure::Answer(error) => SourceError::Retry(format!(
                "the node at {} answered `{method}` with error {}: {}",
                self.url, error.code, error.message
            )),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        // Whoever panicked with the lock held left a vector that is as good as any.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call on an idle connection, or on a new one.
    fn with_connection<T>(
        &self,
        mut call: impl FnMut(&mut Connection) -> Result<T, jsonrpc::Error>,
    ) -> Result<T, Failure> {
        let pooled = self.idle().pop();
        if let Some(mut connection) = pooled {
            match call(&mut connection) {
                // The node was restarted, which changed the cookie and ended all connections. Every call only
                // reads, so that it may be made twice.
                Err(error) if http_status(&error) == Some(401) || is_away(&error) => self.disconnect(),
                outcome => return self.settle(connection, outcome),
            }
        }
        let mut connection = self.connect().map_err(Failure::Source)?;
        let outcome = call(&mut connection);
        self.settle(connection, outcome)
    }

    fn settle<T>(&self, connection: Connection, outcome: Result<T, jsonrpc::Error>) -> Result<T, Failure> {
        let failure = match outcome {
            Ok(value) => {
                self.idle().push(connection);
                return Ok(value);
            }
            Err(error) if http_status(&error) == Some(403) => Failure::Forbidden,
            Err(error) => Failure::Source(self.classify(&error)),
        };
        self.disconnect();
        Err(failure)
    }

    fn connect(&self) -> Result<Connection, SourceError> {
        let login = match &self.auth {
            Auth::Cookie(path) => read_cookie(path)?,
            Auth::UserPass { user, password } => format!("{user}:{password}"),
        };
        Ok(Connection::new(Line::new(&self.url, &login)))
    }

    /// Whether an error of the transport is worth a retry.
    fn classify(&self, error: &jsonrpc::Error) -> SourceError {
        let url = &self.url;
        let away =
            |why: &dyn fmt::Display| SourceError::Retry(format!("no answer from a node at {url}: {why}"));
        match error {
            // Where it ends differs from one try to the next, and would be told each time.
            jsonrpc::Error::Json(error) if error.is_eof() => away(&"the answer was cut short"),
            jsonrpc::Error::Transport(inner) => match inner.downcast_ref::<HttpError>() {
                Some(error @ (HttpError::Away(_) | HttpError::Silent)) => away(error),
                Some(HttpError::Status(401)) => self.credentials_advice(),
                Some(HttpError::Status(503)) => {
                    away(&"HTTP 503; if that goes on, see -rpcworkqueue and -rpcthreads of the node")
                }
                Some(HttpError::Status(code @ (408 | 429 | 500..))) => away(&format!("HTTP {code}")),
                Some(HttpError::Address(reason)) => {
                    SourceError::Fatal(format!("{url} is no URL of a node: {reason}"))
                }
                _ => self.no_rpc_advice(&inner.to_string()),
            },
            other => self.no_rpc_advice(&other.to_string()),
        }
    }

    fn credentials_advice(&self) -> SourceError {
        let url = &self.url;
        SourceError::Fatal(match &self.auth {
            Auth::Cookie(path) => format!(
                "the node at {url} refuses the cookie in {} (HTTP 401): is that the cookie file of this very \
                 node?",
                path.display()
            ),
            Auth::UserPass { .. } => format!(
                "the node at {url} refuses the RPC user and password (HTTP 401): compare BTKN_RPC_USER and \
                 BTKN_RPC_PASSWORD, or rpc-user and rpc-password in the configuration file, with the \
                 node's configuration"
            ),
        })
    }

    fn no_rpc_advice(&self, what: &str) -> SourceError {
        let text = format!(
            "what answers at {} does not look like the RPC interface of Bitcoin Core ({what}): check address \
             and port",
            self.url
        );
        match self.known.load(Ordering::Relaxed) {
            true => SourceError::Retry(text),
            false => SourceError::Fatal(text),
        }
    }
}

/// The port of a network's RPC interface where the node's configuration names none.
pub(super) fn default_port(network: Network) -> u16 {
    match network {
        Network::Mainnet => 8332,
        Network::Testnet => 18332,
        Network::Signet => 38332,
        Network::Regtest => 18443,
    }
}

/// Turns `host`, `host:port` and `http://host[:port][/path]` into a full URL.
fn complete_url(url: &str, network: Network) -> Result<String, SourceError> {
    let refuse = |why: &str| Err(SourceError::Fatal(why.to_owned()));
    let rest = match url.split_once("://") {
        None => url,
        Some(("http", rest)) => rest,
        Some(("https", _)) => {
            return refuse(
                "Bitcoin Core does not serve RPC over https: use http:// (through a tunnel, if far away)",
            );
        }
        Some(_) => return refuse("the URL of a node begins with http://"),
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if host.contains('@') {
        // Not repeated in the message: it holds a password.
        return refuse(
            "the URL of a node must not hold credentials: put them into the configuration file or the \
             environment",
        );
    }
    if host.is_empty() {
        return refuse("the URL of a node lacks a host: write http://127.0.0.1:8332, for example");
    }
    // The last colon starts a port unless it is inside the brackets of an IPv6 address.
    let has_port = host.rfind(':') > host.rfind(']');
    let port = if has_port { String::new() } else { format!(":{}", default_port(network)) };
    Ok(format!("http://{host}{port}{}", if path.is_empty() { "/" } else { path }))
}

fn read_cookie(path: &std::path::Path) -> Result<String, SourceError> {
    let shown = path.display();
    let content = fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => SourceError::Retry(format!(
            "there is no cookie file {shown}: the node is not running, or keeps it elsewhere"
        )),
        io::ErrorKind::PermissionDenied => SourceError::Fatal(format!(
            "no permission to read the cookie file {shown}: run as the node's user, or see -rpccookieperms"
        )),
        _ => SourceError::Fatal(format!("can't read the cookie file {shown}: {error}")),
    })?;
    let cookie = content.trim_end();
    if cookie.lines().count() != 1 || !cookie.contains(':') {
        return Err(SourceError::Fatal(format!("{shown} is not the cookie file of a node")));
    }
    Ok(cookie.to_owned())
}

fn encode(params: &[Value]) -> Result<Box<RawValue>, Failure> {
    serde_json::value::to_raw_value(params)
        .map_err(|error| Failure::Source(SourceError::Fatal(format!("can't encode a request: {error}"))))
}

fn answered(mut response: Response) -> Result<Response, Failure> {
    match response.error.take() {
        Some(error) => Err(Failure::Answer(error)),
        None => Ok(response),
    }
}

fn http_error(error: &jsonrpc::Error) -> Option<&HttpError> {
    let jsonrpc::Error::Transport(inner) = error else { return None };
    inner.downcast_ref::<HttpError>()
}

fn http_status(error: &jsonrpc::Error) -> Option<u16> {
    match http_error(error)? {
        HttpError::Status(code) => Some(*code),
        _ => None,
    }
}

fn is_away(error: &jsonrpc::Error) -> bool {
    matches!(http_error(error), Some(HttpError::Away(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let cases = [
            ("127.0.0.1", "http://127.0.0.1:18443/"),
            ("127.0.0.1:80", "http://127.0.0.1:80/"),
            ("http://node", "http://node:18443/"),
            ("http://node:1/wallet/a", "http://node:1/wallet/a"),
            ("http://[::1]", "http://[::1]:18443/"),
            ("http://[::1]:7", "http://[::1]:7/"),
        ];
        for (url, complete) in cases {
            assert_eq!(complete_url(url, Network::Regtest).unwrap(), complete, "{url}");
        }
        for url in ["https://node", "ftp://node", "http://", "", "http://u:secret@node:1"] {
            let error = complete_url(url, Network::Regtest).unwrap_err();
            assert!(matches!(&error, SourceError::Fatal(text) if !text.contains("secret")), "{url}: {error}");
        }
    }

    #[test]
    fn hex_between_quotes() {
        let mut bytes = vec![7; 9];
        for (json, decoded) in [
            ("\"00Ff1a\"", &[0x00, 0xff, 0x1a][..]),
            ("\"\"", &[]),
            ("\"00f\"", &[]),
            ("\"0g\"", &[]),
            ("\"00é\"", &[]),
            ("00ff", &[]),
            ("\"", &[]),
            ("", &[]),
            ("[1]", &[]),
        ] {
            decode_hex(json, &mut bytes);
            assert_eq!(bytes, decoded, "{json}");
        }
    }

    #[test]
    fn debug_output_hides_the_password() {
        let auth = Auth::UserPass { user: "u".into(), password: "secret".into() };
        assert!(!format!("{auth:?}").contains("secret"));
    }
}
