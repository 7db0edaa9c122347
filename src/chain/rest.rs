//! The REST interface of Bitcoin Core: blocks as they are, several at once, without a login.
//!
//! It is off unless the node's configuration says `rest=1`, and on the port of RPC then. It is never
//! needed: what it does not deliver, RPC does, whose errors say more.

use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use bitcoin::hashes::{Hash, sha256d};

use super::http::{Http, HttpError};

/// Requests that may be under way at once: enough to keep the node busy while answers travel, and less than
/// it queues (16 in version 28, by default).
pub(super) const AT_ONCE: usize = 8;

/// A block has at most 4 million bytes.
const MAX_BLOCK: u64 = 4_000_000;

/// The part of a block that its hash is taken from.
const HEADER: usize = 80;

/// Where REST did not serve, it is asked again after this time: what was in its way may have passed.
const AGAIN: Duration = Duration::from_secs(600);

/// A node's REST interface.
pub(super) struct Rest {
    /// `http://host:port`
    origin: String,
    http: Http,
}

impl Rest {
    /// That of the node whose RPC interface has this URL.
    pub fn beside(rpc_url: &str) -> Self {
        let host = rpc_url.find("://").map_or(0, |at| at + 3);
        let end = rpc_url[host..].find('/').map_or(rpc_url.len(), |at| host + at);
        Rest { origin: rpc_url[..end].to_owned(), http: Http::new(AT_ONCE) }
    }

    /// Asks for the header of a block that every node of the network has, pruned or not.
    pub fn probe(&self, genesis: BlockHash) -> Result<(), HttpError> {
        let mut header = Vec::new();
        self.get(&format!("headers/{genesis}.bin?count=1"), HEADER as u64, &mut header)?;
        is_header_of(genesis, &header)
    }

    /// Replaces the content of `buf` with a serialised block, of which no more is known to be right than
    /// its header.
    pub fn block(&self, hash: BlockHash, buf: &mut Vec<u8>) -> Result<(), HttpError> {
        self.get(&format!("block/{hash}.bin"), MAX_BLOCK, buf)?;
        is_header_of(hash, buf)
    }

    fn get(&self, path: &str, limit: u64, buf: &mut Vec<u8>) -> Result<(), HttpError> {
        match self.http.get(&format!("{}/rest/{path}", self.origin), limit, buf)? {
            200 => Ok(()),
            status => Err(HttpError::Status(status)),
        }
    }
}

fn is_header_of(hash: BlockHash, bytes: &[u8]) -> Result<(), HttpError> {
    let header = bytes.get(..HEADER).map(|header| BlockHash::from_raw_hash(sha256d::Hash::hash(header)));
    match header == Some(hash) {
        true => Ok(()),
        false => Err(HttpError::Foreign("the answer is not what was asked for".to_owned())),
    }
}

/// Whether REST is used, and what was said about it.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// `None` before it was asked for the first time.
    used: Option<bool>,
    /// When it last failed to serve.
    failed: Option<Instant>,
}

impl Choice {
    /// Whether it is used.
    pub fn is_rest(&self) -> bool {
        self.used == Some(true)
    }

    /// Whether it is time to ask it again.
    pub fn is_due(&self, now: Instant) -> bool {
        self.failed.is_some_and(|failed| now.saturating_duration_since(failed) >= AGAIN)
    }

    /// Notes whether it serves; returns whether it did before if that is news.
    pub fn note(&mut self, serves: bool, now: Instant) -> Option<bool> {
        self.failed = (!serves).then_some(now);
        let before = self.used.replace(serves);
        (before != Some(serves)).then_some(before == Some(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_at_the_root_of_the_host_of_rpc() {
        for (rpc, rest) in [
            ("http://127.0.0.1:8332/", "http://127.0.0.1:8332"),
            ("http://[::1]:1/wallet/a", "http://[::1]:1"),
            ("http://node", "http://node"),
        ] {
            assert_eq!(Rest::beside(rpc).origin, rest);
        }
    }

    #[test]
    fn news_is_told_once_and_rest_that_failed_is_asked_again_later() {
        let (mut choice, start) = (Choice::default(), Instant::now());
        assert!(!choice.is_rest() && !choice.is_due(start));
        assert_eq!(choice.note(false, start), Some(false), "not there at the start");
        assert_eq!(choice.note(false, start), None);
        assert!(!choice.is_rest() && !choice.is_due(start + AGAIN / 2) && choice.is_due(start + AGAIN));
        assert_eq!(choice.note(true, start + AGAIN), Some(false));
        assert!(choice.is_rest() && !choice.is_due(start + AGAIN * 9));
        assert_eq!(choice.note(false, start + AGAIN * 9), Some(true), "it was there before");
        assert!(!choice.is_rest());
    }
}
