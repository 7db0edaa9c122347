//! What a request, or a client, may take.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// Limits of the server. In the configuration file they are the table `limits`; durations are whole
/// seconds there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// Requests that are answered at once; further ones get 503 `busy`.
    pub requests: usize,
    /// Requests that read the store at once; further ones get 503 `busy`.
    pub reads: usize,
    /// Streams of events at once; further ones get 503 `too_many_streams`.
    pub streams: usize,
    /// Bytes of the path and query; above it 414 `uri_too_long`.
    pub uri_bytes: usize,
    /// Bytes of all headers together; above it 431 `headers_too_large`.
    pub header_bytes: usize,
    /// Bytes of a body; above it 413 `payload_too_large`.
    pub body_bytes: usize,
    /// Time for a request from its last header to its answer; above it 408 `timeout`.
    #[serde(rename = "request-seconds", deserialize_with = "seconds")]
    pub request_time: Duration,
    /// Time for a client to send its headers, also those of a further request; then the connection is
    /// closed.
    #[serde(rename = "header-seconds", deserialize_with = "seconds")]
    pub header_time: Duration,
    /// Time for a client to take any byte of its answer; then the connection is closed.
    #[serde(rename = "write-seconds", deserialize_with = "seconds")]
    pub write_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 1024,
            requests: 512,
            reads: 64,
            streams: 64,
            uri_bytes: 4 << 10,
            header_bytes: 16 << 10,
            body_bytes: 256 << 10,
            request_time: Duration::from_secs(30),
            header_time: Duration::from_secs(20),
            write_time: Duration::from_secs(20),
        }
    }
}

impl Limits {
    /// The limit, by its name in the configuration file, that is zero and would let nothing through.
    pub fn zero(&self) -> Option<&'static str> {
        let limits = [
            ("connections", self.connections == 0),
            ("requests", self.requests == 0),
            ("reads", self.reads == 0),
            ("streams", self.streams == 0),
            ("uri-bytes", self.uri_bytes == 0),
            ("header-bytes", self.header_bytes == 0),
            ("request-seconds", self.request_time.is_zero()),
            ("header-seconds", self.header_time.is_zero()),
            ("write-seconds", self.write_time.is_zero()),
        ];
        limits.into_iter().find_map(|(name, is_zero)| is_zero.then_some(name))
    }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u32::deserialize(deserializer).map(|seconds| Duration::from_secs(seconds.into()))
}
