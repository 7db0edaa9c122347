//! JSON-RPC over HTTP, with an end to everything: a node that answers slowly, in pieces, half, or not at
//! all never holds a caller longer than [`TIMEOUT`] in silence or [`BODY_TIMEOUT`] in all, and costs no
//! processor time meanwhile. What comes is read up to a limit.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bitcoincore_rpc::jsonrpc::{self, Request, Response, Transport};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::Agent;

/// How long a connection may be silent. A node that writes its caches to a slow disk can take a while.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long it may take to find the address of a node and to connect to it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer may take in all once it has begun: a block over a line of 30 kB/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(300);

/// The longest answer: a block takes two digits a byte, and there are at most 4 million bytes.
const MAX_ANSWER: u64 = 16 << 20;

/// Why no answer in JSON came.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// Nobody answered, or not to the end; that may pass.
    #[error("{0}")]
    Away(String),
    /// Nothing came for too long; that may pass.
    #[error("no answer in time")]
    Silent,
    /// An HTTP status, and no JSON with it.
    #[error("HTTP {0}")]
    Status(u16),
    /// The address is none.
    #[error("{0}")]
    Address(String),
    /// What answers does not speak HTTP, or too much of it.
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

/// A connection to a node, made at the first request, and made again when the node closed it.
pub(super) struct Http {
    agent: Agent,
    url: String,
    authorization: String,
}

impl Http {
    /// Prepares to log in at `url` with `user:password`.
    pub fn new(url: &str, login: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Credentials go to the node and to nobody else.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections_per_host(1)
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_send_request(Some(TIMEOUT))
            .timeout_send_body(Some(TIMEOUT))
            .timeout_recv_response(Some(TIMEOUT))
            .timeout_per_read(Some(TIMEOUT))
            .timeout_recv_body(Some(BODY_TIMEOUT));
        Http {
            agent: config.build().into(),
            url: url.to_owned(),
            authorization: format!("Basic {}", BASE64_STANDARD.encode(login)),
        }
    }

    fn send<T: DeserializeOwned>(&self, request: &impl Serialize) -> Result<T, jsonrpc::Error> {
        let body = serde_json::to_vec(request)?;
        let (status, answer) = self.post(&body)?;
        // Core sends most errors as JSON under a status that says little; the rest, 401 and 503 among them,
        // as a status alone.
        match (serde_json::from_slice(&answer), status) {
            (Ok(answer), _) => Ok(answer),
            (Err(error), 200) => Err(error.into()),
            (Err(_), status) => Err(HttpError::Status(status).into()),
        }
    }

    fn post(&self, body: &[u8]) -> Result<(u16, Vec<u8>), HttpError> {
        let request = self.agent.post(&self.url).header("Authorization", &self.authorization);
        let mut response = request.content_type("application/json").send(body)?;
        let answer = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec()?;
        Ok((response.status().as_u16(), answer))
    }
}

impl Transport for Http {
    fn send_request(&self, request: Request<'_>) -> Result<Response, jsonrpc::Error> {
        self.send(&request)
    }

    fn send_batch(&self, requests: &[Request<'_>]) -> Result<Vec<Response>, jsonrpc::Error> {
        self.send(&requests)
    }

    fn fmt_target(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}
