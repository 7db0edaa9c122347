//! The API over a store that holds the published vector chain, at the level of requests.

mod answers;
mod batch;
mod conventions;
mod document;
mod feed;
mod lists;
mod operations;
mod regtest;
mod schema;
mod verdicts;

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tokio::sync::watch;
use tower::ServiceExt;

use super::*;
use crate::ledger::apply_block;
use crate::ledger::tests::vectors::published_chain;
use crate::protocol::{Network, address};
use crate::scan::BlockMessages;
use crate::store::Store;
use crate::sync::status::{Phase, SyncStatus};

/// Blocks of the vector chain.
const BLOCKS: usize = 8;

/// The API over a store that holds the first blocks of the vector chain.
struct Fixture {
    chain: Value,
    blocks: Vec<BlockMessages>,
    app: App,
    status: watch::Sender<SyncStatus>,
    _dir: tempfile::TempDir,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Reply {
    fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("no code")
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn vector_chain() -> Value {
    let text = include_str!("../../../fixtures/vectors/snapshot-vectors.json");
    serde_json::from_str::<Value>(text).unwrap()["chain"].take()
}

impl Fixture {
    fn new(blocks: usize) -> Fixture {
        Fixture::with_limits(blocks, Limits::default())
    }

    fn with_limits(blocks: usize, limits: Limits) -> Fixture {
        let (rules, messages) = published_chain();
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), &rules).unwrap());
        let (status, progress) = watch::channel(SyncStatus::starting());
        let app = App::new(store, progress, limits);
        let fixture = Fixture { chain: vector_chain(), blocks: messages, app, status, _dir: dir };
        for i in 0..blocks {
            fixture.apply(i);
        }
        fixture.phase(Phase::Following);
        fixture
    }

    fn apply(&self, i: usize) {
        let store = self.app.store();
        let applied = apply_block(store.view(), store.rules(), &self.blocks[i]).unwrap();
        store.commit(&[(applied.tip.height, applied.changes)]).unwrap();
    }

    fn phase(&self, phase: Phase) {
        self.status.send_modify(|status| {
            status.phase = phase;
            status.heard = Some(Instant::now());
        });
    }

    fn list(&self, name: &str) -> Vec<Value> {
        self.chain["final"][name].as_array().unwrap().clone()
    }

    async fn text(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        text(&self.app, request).await
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        send(&self.app, request).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// The body of an answer that must be one.
    async fn ok(&self, path: &str) -> Value {
        let reply = self.get(path).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.body);
        reply.body
    }

    /// Every row of a list, read page by page.
    async fn pages(&self, path: &str, name: &str, limit: usize) -> Vec<Value> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut rows = Vec::new();
        let mut next = format!("{path}{separator}limit={limit}");
        loop {
            let page = self.ok(&next).await;
            let some = page[name].as_array().unwrap();
            assert!(some.len() <= limit, "{next}");
            rows.extend_from_slice(some);
            match page["next_cursor"].as_str() {
                Some(cursor) => next = format!("{path}{separator}limit={limit}&cursor={cursor}"),
                None => return rows,
            }
        }
    }
}

async fn text(app: &App, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
    let response = router(app.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    (parts.status, parts.headers, String::from_utf8(bytes.to_vec()).unwrap())
}

async fn send(app: &App, request: Request<Body>) -> Reply {
    let (status, headers, text) = text(app, request).await;
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
    Reply { status, headers, body }
}

fn owner_address(hex: &str) -> String {
    address::encode_owner(hex.parse().unwrap(), Network::Regtest)
}

fn token_address(hex: &str) -> String {
    address::encode_token(hex.parse().unwrap(), Network::Regtest)
}
