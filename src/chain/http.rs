//! HTTP to a node, with an end to everything: a node that answers slowly, in pieces, half, or not at
//! all never holds a caller longer than [`TIMEOUT`] in silence or [`BODY_TIMEOUT`] in all, and costs no
//! processor time meanwhile. What comes is read up to a limit, into memory that the caller uses again.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bitcoincore_rpc::jsonrpc::{self, Request, Response, Transport};
use serde::{Deserialize, Serialize};
use ureq::{Agent, Body};

/// How long a connection may be silent. A node that writes its caches to a slow disk can take a while.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long it may take to find the address of a node and to connect to it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer may take in all once it has begun: a block over a line of 30 kB/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(300);

/// The longest answer in JSON: the ids of nearly a million transactions, or eight of the largest that a block
/// can hold, two digits a byte.
const MAX_JSON: u64 = 64 << 20;

/// Why no usable answer came.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// Nobody answered, or not to the end; that may pass.
    #[error("{0}")]
    Away(String),
    /// Nothing came for too long; that may pass.
    #[error("no answer in time")]
    Silent,
    /// An HTTP status, and nothing with it that could be used.
    #[error("HTTP {0}")]
    Status(u16),
    /// The address is none.
    #[error("{0}")]
    Address(String),
    /// What answers does not speak HTTP, or too much of it, or of something else.
    #[error("{0}")]
    Foreign(String),
}

impl From<ureq::Error> for HttpError {
    fn from(error: ureq::Error) -> Self {
        use ureq::Error;
        match error {
            Error::Io(error) => HttpError::Away(error.to_string()),
            Error::Timeout(_) => HttpError::Silent,
            Error::HostNotFound => HttpError::Away("there is no host of this name".to_owned()),
            Error::ConnectionFailed | Error::BodyStalled => HttpError::Away("connection closed".to_owned()),
            Error::Http(error) => HttpError::Address(error.to_string()),
            Error::BadUri(reason) => HttpError::Address(reason),
            other => HttpError::Foreign(other.to_string()),
        }
    }
}

impl From<HttpError> for jsonrpc::Error {
    fn from(error: HttpError) -> Self {
        jsonrpc::Error::Transport(Box::new(error))
    }
}

/// Connections to a node, made when they are needed and kept for the next request.
#[derive(Clone)]
pub(super) struct Http(Agent);

impl Http {
    /// Keeps up to `connections` that nobody uses.
    pub fn new(connections: usize) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Credentials go to the node and to nobody else.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_send_request(Some(TIMEOUT))
            .timeout_send_body(Some(TIMEOUT))
            .timeout_recv_response(Some(TIMEOUT))
            .timeout_per_read(Some(TIMEOUT))
            .timeout_recv_body(Some(BODY_TIMEOUT));
        Http(config.build().into())
    }

    /// Replaces the content of `buf` with the answer to a GET, which may have `limit` bytes. Returns the
    /// status.
    pub fn get(&self, url: &str, limit: u64, buf: &mut Vec<u8>) -> Result<u16, HttpError> {
        let mut response = self.0.get(url).call()?;
        read(response.body_mut(), limit, buf)?;
        Ok(response.status().as_u16())
    }
}

/// Replaces the content of `buf` with a body.
fn read(body: &mut Body, limit: u64, buf: &mut Vec<u8>) -> Result<(), HttpError> {
    let length = body.content_length();
    if length.is_some_and(|length| length > limit) {
        return Err(too_long(limit));
    }
    let mut reader = body.as_reader();
    let done = match length.and_then(|length| usize::try_from(length).ok()) {
        Some(length) => {
            set_length(buf, length);
            // A connection is kept only once the end of an answer was seen.
            reader.read_exact(buf).and_then(|()| reader.read(&mut [0]))
        }
        None => {
            buf.clear();
            reader.take(limit.saturating_add(1)).read_to_end(buf)
        }
    };
    done.map_err(ureq::Error::from)?;
    if buf.len() as u64 > limit { Err(too_long(limit)) } else { Ok(()) }
}

fn too_long(limit: u64) -> HttpError {
    HttpError::Foreign(format!("an answer of more than {limit} bytes"))
}

/// Gives `buf` a length, for content that is about to be overwritten: only what it has to grow by is
/// set to zero, and no room is made for more.
pub(super) fn set_length(buf: &mut Vec<u8>, length: usize) {
    buf.reserve_exact(length.saturating_sub(buf.len()));
    buf.resize(length, 0);
}

/// JSON-RPC over one connection.
#[derive(Clone)]
pub(super) struct Line {
    http: Http,
    url: String,
    authorization: String,
}

impl Line {
    /// Prepares to log in at `url` with `user:password`.
    pub fn new(url: &str, login: &str) -> Self {
        Line {
            http: Http::new(1),
            url: url.to_owned(),
            authorization: format!("Basic {}", BASE64_STANDARD.encode(login)),
        }
    }

    /// Sends a request; the answer is read into `buf`, replacing what was there, and may borrow from it.
    pub fn send<'a, T: Deserialize<'a>>(
        &self,
        request: &impl Serialize,
        buf: &'a mut Vec<u8>,
    ) -> Result<T, jsonrpc::Error> {
        let status = self.post(&serde_json::to_vec(request)?, buf)?;
        // Core sends most errors as JSON under a status that says little; the rest, 401 and 503 among them,
        // as a status alone.
        match (serde_json::from_slice(buf), status) {
            (Ok(answer), _) => Ok(answer),
            (Err(error), 200) => Err(error.into()),
            (Err(_), status) => Err(HttpError::Status(status).into()),
        }
    }

    fn post(&self, request: &[u8], buf: &mut Vec<u8>) -> Result<u16, HttpError> {
        let post = self.http.0.post(&self.url).header("Authorization", &self.authorization);
        let mut response = post.content_type("application/json").send(request)?;
        read(response.body_mut(), MAX_JSON, buf)?;
        Ok(response.status().as_u16())
    }
}

impl Transport for Line {
    fn send_request(&self, request: Request<'_>) -> Result<Response, jsonrpc::Error> {
        self.send(&request, &mut Vec::new())
    }

    fn send_batch(&self, requests: &[Request<'_>]) -> Result<Vec<Response>, jsonrpc::Error> {
        self.send(&requests, &mut Vec::new())
    }

    fn fmt_target(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}
