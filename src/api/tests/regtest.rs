//! The API over the chain of `fixtures/regtest`, recovered from its block files once for all tests.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::body::Body;
use axum::http::Request;
use serde_json::Value;
use tokio::sync::watch;

use super::{Reply, send};
use crate::api::{App, Limits};
use crate::chain::BlockFiles;
use crate::config::{Config, Options, Surroundings};
use crate::stop::Stop;
use crate::store::Store;
use crate::sync::status::SyncStatus;
use crate::sync::{self, Sync};

pub(super) struct Regtest {
    pub app: App,
    status: watch::Sender<SyncStatus>,
    _dir: tempfile::TempDir,
}

impl Regtest {
    pub(super) fn open() -> &'static Regtest {
        static REGTEST: OnceLock<Regtest> = OnceLock::new();
        REGTEST.get_or_init(Regtest::recover)
    }

    fn recover() -> Regtest {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/regtest");
        let dir = tempfile::tempdir().unwrap();
        let surroundings = Surroundings { variable: &|_| None };
        let options = Options { data_dir: Some(dir.path().into()), ..Options::default() };
        let layers = surroundings.layers(options, Some(&fixture.join("btkn.toml"))).unwrap();
        let config = Config::resolve(&layers, &surroundings).unwrap();
        let source = BlockFiles::open(&fixture.join("blocks"), config.rules.network).unwrap();
        let store = Arc::new(Store::open(dir.path(), &config.rules).unwrap());
        let options = sync::Options {
            threads: 1,
            verify_blocks: config.verify_blocks,
            batch_blocks: 64,
            undo_blocks: None,
        };
        let (status, progress) = watch::channel(SyncStatus::starting());
        let mut sync =
            Sync::new(store.clone(), Box::new(source), options, status.clone(), Stop::new()).unwrap();
        sync.catch_up().unwrap();
        Regtest { app: App::new(store, progress, Limits::default()), status, _dir: dir }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Reply {
        // Seconds since then are in some answers.
        self.status.send_modify(|status| status.heard = Some(Instant::now()));
        send(&self.app, request).await
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn list(&self, path: &str, name: &str) -> Vec<Value> {
        let reply = self.get(path).await;
        assert!(reply.body["next_cursor"].is_null(), "{path} is longer than a page");
        reply.body[name].as_array().unwrap().clone()
    }

    /// Requests for everything that is in the chain.
    pub(super) async fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> =
            ["/v1/tokens", "/v1/exits?limit=1000", "/v1/snapshots", "/v1/notices", "/v1/entities"]
                .map(str::to_owned)
                .into();
        paths.extend((111..=330).map(|height| format!("/v1/blocks/{height}")));
        for token in self.list("/v1/tokens?limit=1000", "tokens").await {
            let token = token["token_address"].as_str().unwrap().to_owned();
            paths.push(format!("/v1/tokens/{token}"));
            paths.push(format!("/v1/tokens/{token}/holders"));
            for holder in self.list(&format!("/v1/tokens/{token}/holders?limit=1000"), "holders").await {
                let owner = holder["owner_address"].as_str().unwrap();
                paths.push(format!("/v1/owners/{owner}/balances"));
                paths.push(format!("/v1/owners/{owner}/balances?token={token}"));
                paths.push(format!("/v1/owners/{owner}/ttxos"));
            }
        }
        for exit in self.list("/v1/exits?limit=1000", "exits").await {
            let output = format!("{}:{}", exit["txid"].as_str().unwrap(), exit["vout"]);
            paths.push(format!("/v1/exits/{output}"));
            paths.push(format!("/v1/exits/{output}/verdict"));
            paths.push(format!("/v1/exits?ttxo={}", exit["ttxo"].as_str().unwrap()));
            if !exit["holding"].is_null() {
                paths.push(format!("/v1/ttxos/{}", exit["ttxo"].as_str().unwrap()));
            }
        }
        for snapshot in self.list("/v1/snapshots?limit=1000", "snapshots").await {
            paths.push(format!("/v1/snapshots/{}", snapshot["sequence"]));
        }
        paths.sort();
        paths.dedup();
        paths
    }
}
