//! Every path against the state after the published vector chain.

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use bitcoin::hex::FromHex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

use super::*;
use crate::ledger::keys::KeyPart;
use crate::ledger::tables::{Table, Watched};
use crate::ledger::{Entities, EntityConfig, Rules, View, apply_block};
use crate::protocol::{Network, PubKey, SparkOutPoint, TokenId, address};
use crate::scan::{RawBlock, WatchSet, scan_batch};
use crate::store::Store;
use crate::sync::status::{Phase, SyncStatus};

/// Blocks of the vector chain.
const BLOCKS: usize = 8;

/// The API over a store that holds the first blocks of the vector chain.
struct Fixture {
    chain: Value,
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
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/vectors/snapshot-vectors.json");
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["chain"].take()
}

fn rules(chain: &Value) -> Rules {
    let config = &chain["config"];
    let entities: Vec<EntityConfig> = serde_json::from_value(config["entities"].clone()).unwrap();
    Rules {
        network: Network::Regtest,
        start_height: serde_json::from_value(config["start_height"].clone()).unwrap(),
        entities: Entities::new(entities).unwrap(),
    }
}

/// Applies one block the way synchronisation does.
fn apply(store: &Store, expected: &Value, block: &Value) {
    let mut watched = WatchSet::new();
    type Key = <Watched as Table>::Key;
    for row in store.view().scan::<Watched>(&Key::LOWEST, &Key::HIGHEST) {
        watched.insert(row.unwrap().0.0.into());
    }
    let bytes = Vec::from_hex(block.as_str().unwrap()).unwrap();
    let hash = expected["block_hash"].as_str().unwrap().parse().unwrap();
    let messages = scan_batch(&[RawBlock { hash, bytes: &bytes }], &watched).remove(0).unwrap();
    let applied = apply_block(&store.view(), store.rules(), &messages).unwrap();
    store.commit(&[(applied.tip.height, applied.changes)]).unwrap();
}

impl Fixture {
    fn new(blocks: usize) -> Fixture {
        Fixture::with_limits(blocks, Limits::default())
    }

    fn with_limits(blocks: usize, limits: Limits) -> Fixture {
        let chain = vector_chain();
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), &rules(&chain)).unwrap());
        let (status, progress) = watch::channel(SyncStatus::starting());
        let fixture = Fixture { chain, app: App::new(store, progress, limits), status, _dir: dir };
        for i in 0..blocks {
            fixture.apply(i);
        }
        fixture.phase(Phase::Following);
        fixture
    }

    fn apply(&self, i: usize) {
        apply(self.app.store(), &self.chain["expected"][i], &self.chain["blocks"][i]);
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

    async fn send(&self, request: Request<Body>) -> Reply {
        let response = router(self.app.clone()).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Reply { status: parts.status, headers: parts.headers, body }
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

fn owner_address(hex: &str) -> String {
    address::encode_owner(hex.parse().unwrap(), Network::Regtest)
}

fn token_address(hex: &str) -> String {
    address::encode_token(hex.parse().unwrap(), Network::Regtest)
}

#[tokio::test]
async fn balances_are_those_of_the_vectors() {
    let fixture = Fixture::new(BLOCKS);
    let expected = fixture.list("balances");
    for row in &expected {
        let (owner, token) = (row["owner"].as_str().unwrap(), row["token"].as_str().unwrap());
        let mut seen = Vec::new();
        for owner in [owner.to_owned(), owner_address(owner)] {
            for token in [token.to_owned(), token_address(token)] {
                let body = fixture.ok(&format!("/v1/owners/{owner}/balances?token={token}")).await;
                seen.push(body["balances"][0].clone());
            }
        }
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "every form of a name means the same");
        for sum in ["available", "exiting", "claimed"] {
            assert_eq!(seen[0][sum], row[sum]);
        }
        assert_eq!(seen[0]["token_address"], token_address(token));
        assert_eq!(seen[0]["entity_name"], "alpha");
        assert_eq!(seen[0]["snapshot_sequence"], 2);
    }
    let owner = expected[1]["owner"].as_str().unwrap();
    let rows = fixture.pages(&format!("/v1/owners/{owner}/balances"), "balances", 1).await;
    let tokens: Vec<_> = rows.iter().map(|row| row["token_id"].clone()).collect();
    assert_eq!(tokens, [expected[1]["token"].clone(), expected[2]["token"].clone()]);
}

#[tokio::test]
async fn nothing_held_is_an_answer() {
    let fixture = Fixture::new(BLOCKS);
    let token = fixture.list("supply")[0]["token"].as_str().unwrap().to_owned();
    let body = fixture.ok(&format!("/v1/owners/{}/balances?token={token}", PubKey::BURN)).await;
    assert_eq!(body["balances"][0]["available"], "0");
    assert_eq!(body["is_burn"], true);
    let body = fixture.ok(&format!("/v1/owners/{}/balances", PubKey::BURN)).await;
    assert_eq!((&body["balances"], &body["next_cursor"]), (&json!([]), &Value::Null));
    let body = fixture.ok(&format!("/v1/owners/{}/ttxos", PubKey::BURN)).await;
    assert_eq!(body["ttxos"], json!([]));
}

#[tokio::test]
async fn tokens_and_their_supply_are_those_of_the_vectors() {
    let fixture = Fixture::new(BLOCKS);
    let all = fixture.pages("/v1/tokens", "tokens", 1).await;
    assert!(all.windows(2).all(|pair| pair[0]["token_id"].as_str() < pair[1]["token_id"].as_str()));
    for row in fixture.list("supply") {
        let id = row["token"].as_str().unwrap();
        let mut body = fixture.ok(&format!("/v1/tokens/{}", token_address(id))).await;
        assert_eq!(body["token_id"], id);
        assert_eq!(body["supply"][0]["declared"], row["declared"]);
        assert_eq!(body["over_max_supply"], row["over_max_supply"]);
        body.as_object_mut().unwrap().remove("as_of");
        assert!(all.contains(&body), "the list has the same row");
    }
    let announced = all.iter().find(|row| row["metadata"]["layer"] == "l1").unwrap();
    assert_eq!(announced["announcement"]["block_height"], 111);
    assert_eq!(announced["announcement"]["vout"], 0);
    assert_eq!(announced["announcement"]["token_id"], announced["token_id"]);
    assert_eq!(announced["ticker"], announced["metadata"]["ticker"]);
}

#[tokio::test]
async fn holders_are_the_owners_with_a_balance() {
    let fixture = Fixture::new(BLOCKS);
    let token = fixture.list("supply")[0]["token"].as_str().unwrap().to_owned();
    let holders = fixture.pages(&format!("/v1/tokens/{token}/holders"), "holders", 1).await;
    let expected: Vec<_> =
        fixture.list("balances").into_iter().filter(|row| row["token"] == *token).collect();
    let sums = |rows: &[Value]| -> Vec<_> {
        rows.iter()
            .map(|row| ["owner", "available", "exiting", "claimed"].map(|name| row[name].clone()))
            .collect()
    };
    assert_eq!(sums(&holders), sums(&expected));
    assert_eq!(holders[0]["owner_address"], owner_address(holders[0]["owner"].as_str().unwrap()));
}

#[tokio::test]
async fn exits_are_those_of_the_vectors() {
    let fixture = Fixture::new(BLOCKS);
    let expected = fixture.list("exits");
    for limit in [1, 2, 100] {
        let exits = fixture.pages("/v1/exits", "exits", limit).await;
        let ids = |rows: &[Value], name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
        assert_eq!(ids(&exits, "exit_id"), ids(&expected, "id"), "in chain order, {limit} to a page");
        for (exit, row) in exits.iter().zip(&expected) {
            let state = match exit["reason"].as_str() {
                Some(reason) => format!("{}:{reason}", exit["state"].as_str().unwrap()),
                None => exit["state"].as_str().unwrap().to_owned(),
            };
            assert_eq!(state, row["state"]);
            assert_eq!(exit["block_height"], row["height"]);
            assert_eq!(exit["owner_signature"], row["owner_signature"]);
            assert_eq!(exit["reinstated_by"].is_number(), row["reinstated"] == true);
            let spend = &exit["spent_by"];
            let spent_by = spend["txid"].as_str().map(|txid| format!("{txid}:{}", spend["vin"]));
            assert_eq!(json!(spent_by), row["spent_by"]);
        }
    }
}

#[tokio::test]
async fn an_exit_is_found_by_its_output_and_by_its_ttxo() {
    let fixture = Fixture::new(BLOCKS);
    for row in fixture.list("exits") {
        let (output, ttxo) = (row["outpoint"].as_str().unwrap(), row["ttxo"].as_str().unwrap());
        let found = fixture.pages(&format!("/v1/exits/{output}"), "exits", 1).await;
        assert_eq!(found.iter().map(|exit| &exit["exit_id"]).collect::<Vec<_>>(), [&row["id"]]);
        let found = fixture.pages(&format!("/v1/exits?ttxo={ttxo}"), "exits", 1).await;
        let expected: Vec<_> =
            fixture.list("exits").into_iter().filter(|exit| exit["ttxo"] == *ttxo).collect();
        assert_eq!(
            found.iter().map(|exit| &exit["exit_id"]).collect::<Vec<_>>(),
            expected.iter().map(|exit| &exit["id"]).collect::<Vec<_>>(),
        );
    }
}

#[tokio::test]
async fn a_ttxo_says_where_it_stands() {
    let fixture = Fixture::new(BLOCKS);
    let cases = [
        ("exited", "6adc63ed924d75074e1c6a99575ce63490f90bf4ccfec25f3dc9824f934e2882:0", "pending"),
        ("exited", "34b3e94ada6b0116cc2175c797ae745327ec8aefdf4b689a7c2ff76002e7ed9f:0", "claimed"),
        ("live", "978ec8e4de2261f9888fc0bfa00e6eb474b26b944e3f69ad72aecb0b11a4750c:0", "none"),
        ("tombstone", "fc1f0e9130abc0cac34beef60cf656eec71c046801b0326ac603459d6de45ce7:0", "none"),
    ];
    for (state, outpoint, exit) in cases {
        let body = fixture.ok(&format!("/v1/ttxos/{outpoint}")).await;
        let row = &body["ttxos"][0];
        assert_eq!((row["state"].as_str(), row["ttxo"].as_str()), (Some(state), Some(outpoint)));
        assert_eq!(row["exit"]["state"].as_str().unwrap_or("none"), exit);
        assert_eq!(row["declared"], state != "tombstone");
        let owner = row["owner"].as_str().unwrap();
        let owned = fixture.pages(&format!("/v1/owners/{owner}/ttxos"), "ttxos", 2).await;
        assert!(owned.contains(row), "its owner's list has the same row");
    }
    let dropped = fixture.ok(&format!("/v1/ttxos/{}", cases[3].1)).await;
    let changes: Vec<_> = dropped["ttxos"][0]["history"].as_array().unwrap().clone();
    assert_eq!(changes[0]["change"], "declared");
    assert_eq!(changes[1], json!({"change": "dropped", "snapshot_sequence": 2, "block_height": 116}));
}

#[tokio::test]
async fn snapshots_are_those_of_the_vectors() {
    let fixture = Fixture::new(BLOCKS);
    let expected = fixture.list("snapshots");
    let entity = fixture.chain["config"]["entities"][0]["keys"][0]["key"].as_str().unwrap().to_owned();
    for path in [
        "/v1/snapshots".to_owned(),
        "/v1/snapshots?entity=alpha".into(),
        format!("/v1/snapshots?entity={entity}"),
    ] {
        let snapshots = fixture.pages(&path, "snapshots", 3).await;
        assert_eq!(snapshots.len(), expected.len());
        for (snapshot, row) in snapshots.iter().zip(&expected) {
            let names = [
                ("manifest_id", "id"),
                ("sequence", "sequence"),
                ("kind", "kind"),
                ("inscription_id", "inscription"),
                ("block_height", "height"),
                ("state", "status"),
                ("reason", "reason"),
                ("count", "count"),
                ("root", "root"),
                ("chunks", "chunks"),
                ("resurrected", "resurrected"),
            ];
            for (ours, theirs) in names {
                assert_eq!(snapshot[ours], row[theirs], "{ours}");
            }
        }
    }
    let second = fixture.pages("/v1/snapshots/2", "snapshots", 1).await;
    assert_eq!(
        second.iter().map(|row| &row["manifest_id"]).collect::<Vec<_>>(),
        [&expected[1]["id"], &expected[2]["id"]]
    );
}

#[tokio::test]
async fn a_pending_snapshot_counts_its_chunks() {
    // After block 115: two manifests under sequence 2 wait for one chunk each.
    let fixture = Fixture::new(5);
    let body = fixture.ok("/v1/snapshots/2").await;
    for row in body["snapshots"].as_array().unwrap() {
        assert_eq!(
            (&row["state"], &row["chunks"], &row["chunks_seen"]),
            (&json!("pending"), &json!(1), &json!(0))
        );
    }
    assert_eq!(body["as_of"]["snapshots"][0]["sequence"], 1);
}

#[tokio::test]
async fn blocks_show_their_events() {
    let fixture = Fixture::new(BLOCKS);
    for expected in fixture.chain["expected"].as_array().unwrap() {
        let by_height = fixture.ok(&format!("/v1/blocks/{}", expected["height"])).await;
        let by_hash = fixture.ok(&format!("/v1/blocks/{}", expected["block_hash"].as_str().unwrap())).await;
        assert_eq!(by_height, by_hash);
        assert_eq!(by_height["block_height"], expected["height"]);
        assert_eq!(by_height["state_hash"], expected["state_hash"]);
        assert_eq!(by_height["events"], expected["events"]);
    }
}

#[tokio::test]
async fn answers_say_what_they_rest_on() {
    let fixture = Fixture::new(BLOCKS);
    let last = &fixture.chain["expected"][BLOCKS - 1];
    let reply = fixture.get("/v1/tokens").await;
    let as_of = &reply.body["as_of"];
    for (ours, theirs) in [("height", "height"), ("block_hash", "block_hash"), ("state_hash", "state_hash")] {
        assert_eq!(as_of[ours], last[theirs]);
    }
    assert_eq!(as_of["snapshots"][0]["sequence"], 2);
    assert_eq!(as_of["snapshots"][0]["manifest_id"], fixture.chain["final"]["active"]);
    assert_eq!(reply.header("btkn-height"), "118");
    assert_eq!(reply.header("btkn-block-hash"), last["block_hash"]);
    assert_eq!(reply.header("btkn-synced"), "true");
    assert!(reply.header("cache-control").contains("max-age=1"));
}

#[tokio::test]
async fn an_answer_that_the_client_has_is_not_sent_again() {
    let fixture = Fixture::new(BLOCKS - 1);
    let etag = fixture.get("/v1/tokens").await.header("etag").to_owned();
    let again = || Request::get("/v1/tokens").header("if-none-match", &etag).body(Body::empty()).unwrap();
    let reply = fixture.send(again()).await;
    assert_eq!((reply.status, reply.body.is_null()), (StatusCode::NOT_MODIFIED, true));
    assert_eq!(reply.header("etag"), etag);
    assert_eq!(reply.header("btkn-height"), "117");
    fixture.apply(BLOCKS - 1);
    assert_eq!(fixture.send(again()).await.status, StatusCode::OK, "the block is another");
}

#[tokio::test]
async fn a_cursor_is_good_until_the_next_block() {
    let fixture = Fixture::new(BLOCKS - 1);
    let page = fixture.ok("/v1/exits?limit=1").await;
    let path = format!("/v1/exits?limit=1&cursor={}", page["next_cursor"].as_str().unwrap());
    assert_eq!(fixture.get(&path).await.status, StatusCode::OK);
    fixture.apply(BLOCKS - 1);
    let reply = fixture.get(&path).await;
    assert_eq!((reply.status, reply.code()), (StatusCode::GONE, "cursor_expired"));

    let page = fixture.ok("/v1/exits?limit=1").await;
    let path = format!("/v1/exits?limit=1&cursor={}", page["next_cursor"].as_str().unwrap());
    let tip = fixture.app.store().tip().unwrap().unwrap();
    fixture.app.store().undo(tip.height).unwrap();
    let reply = fixture.get(&path).await;
    assert_eq!((reply.status, reply.code()), (StatusCode::GONE, "cursor_reorged"));
}

#[tokio::test]
async fn while_catching_up_only_who_asks_for_it_gets_old_state() {
    let fixture = Fixture::new(3);
    fixture.phase(Phase::CatchingUp);
    let reply = fixture.get("/v1/tokens").await;
    assert_eq!((reply.status, reply.code()), (StatusCode::SERVICE_UNAVAILABLE, "catching_up"));
    assert!(reply.header("retry-after").parse::<u32>().is_ok());
    assert_eq!(reply.header("btkn-synced"), "false");
    assert_eq!(reply.header("btkn-height"), "113");
    let reply = fixture.get("/v1/tokens?allow_stale=true").await;
    assert_eq!((reply.status, reply.header("btkn-synced")), (StatusCode::OK, "false"));
    assert_eq!(fixture.get("/v1/status").await.status, StatusCode::OK, "status always answers");

    let empty = Fixture::new(0);
    let reply = empty.get("/v1/tokens?allow_stale=true").await;
    assert_eq!((reply.status, reply.code()), (StatusCode::SERVICE_UNAVAILABLE, "catching_up"));
    assert_eq!(empty.ok("/v1/status").await["as_of"], Value::Null);
}

#[tokio::test]
async fn status_and_health_follow_synchronisation() {
    let fixture = Fixture::new(BLOCKS);
    let body = fixture.ok("/v1/status").await;
    assert_eq!((&body["synced"], &body["sync"]["state"]), (&json!(true), &json!("following")));
    assert_eq!((&body["network"], &body["start_height"]), (&json!("regtest"), &json!(111)));
    assert_eq!(body["entities"][0]["keys"], fixture.chain["config"]["entities"][0]["keys"]);
    assert_eq!(body["as_of"]["height"], 118);
    assert_eq!(fixture.ok("/health/live").await["status"], "live");
    assert_eq!(fixture.ok("/health/ready").await["status"], "ready");
    fixture.phase(Phase::Reorganising);
    let reply = fixture.get("/health/ready").await;
    assert_eq!((reply.status, reply.code()), (StatusCode::SERVICE_UNAVAILABLE, "reorganising"));
    assert_eq!(fixture.get("/health/live").await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_unknown_or_unreadable_has_its_own_code() {
    let fixture = Fixture::new(BLOCKS);
    let (key, hash) = ("02".repeat(33), "ab".repeat(32));
    let mainnet = address::encode_owner(PubKey::BURN, Network::Mainnet);
    let cases = [
        (404, "token_not_found", format!("/v1/tokens/{hash}")),
        (404, "token_not_found", format!("/v1/tokens/{hash}/holders")),
        (404, "token_not_found", format!("/v1/owners/{key}/balances?token={hash}")),
        (404, "block_not_found", "/v1/blocks/119".into()),
        (404, "block_not_found", "/v1/blocks/110".into()),
        (404, "block_not_found", format!("/v1/blocks/{hash}")),
        (404, "ttxo_not_found", format!("/v1/ttxos/{hash}:0")),
        (404, "exit_not_found", format!("/v1/exits/{hash}:0")),
        (404, "snapshot_not_found", "/v1/snapshots/9".into()),
        (404, "entity_not_found", "/v1/snapshots?entity=beta".into()),
        (404, "no_such_path", "/v1/nothing".into()),
        (404, "no_such_path", "/".into()),
        (400, "bad_token", "/v1/tokens/xyz".into()),
        (400, "bad_owner", format!("/v1/owners/{}/balances", "05".repeat(33))),
        (400, "bad_owner", format!("/v1/owners/{mainnet}/ttxos")),
        (400, "bad_block", "/v1/blocks/tip".into()),
        (400, "bad_block", "/v1/blocks/4294967296".into()),
        (400, "bad_ttxo", format!("/v1/ttxos/{hash}")),
        (400, "bad_ttxo", "/v1/exits?ttxo=1".into()),
        (400, "bad_outpoint", format!("/v1/exits/{hash}")),
        (400, "bad_sequence", "/v1/snapshots/latest".into()),
        (400, "bad_cursor", "/v1/tokens?cursor=00".into()),
        (400, "bad_parameter", "/v1/tokens?limit=0".into()),
        (400, "unknown_parameter", "/v1/tokens?height=111".into()),
        (400, "unknown_parameter", "/v1/status?x=1".into()),
        (400, "bad_cursor", format!("/v1/owners/{key}/balances?token={hash}&cursor=00")),
        (400, "duplicate_parameter", "/v1/tokens?limit=1&limit=1".into()),
        (400, "bad_request", "/v1/tokens/%ff".into()),
    ];
    for (status, code, path) in cases {
        let reply = fixture.get(&path).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (status, code), "{path}: {}", reply.body);
        assert!(!reply.body["error"]["message"].as_str().unwrap().is_empty());
        assert_eq!(reply.header("access-control-allow-origin"), "*", "{path}");
    }
}

#[tokio::test]
async fn cursors_of_another_owner_are_refused() {
    let fixture = Fixture::new(BLOCKS);
    let owner = fixture.list("balances")[1]["owner"].as_str().unwrap().to_owned();
    let page = fixture.ok(&format!("/v1/owners/{owner}/balances?limit=1")).await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let reply = fixture.get(&format!("/v1/owners/{}/balances?cursor={cursor}", PubKey::BURN)).await;
    assert_eq!((reply.status, reply.code()), (StatusCode::BAD_REQUEST, "bad_cursor"));
}

#[tokio::test]
async fn other_methods_and_preflights_are_answered_in_the_same_way() {
    let fixture = Fixture::new(0);
    let reply = fixture.send(Request::post("/v1/tokens").body(Body::empty()).unwrap()).await;
    assert_eq!((reply.status, reply.code()), (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"));
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    assert!(reply.header("allow").contains("GET"));
    let preflight = Request::options("/v1/tokens")
        .header("origin", "https://example.com")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "if-none-match");
    let reply = fixture.send(preflight.body(Body::empty()).unwrap()).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.header("access-control-allow-methods").contains("GET"));
    assert!(reply.header("access-control-allow-headers").contains("if-none-match"));
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_by_name() {
    let fixture = Fixture::new(0);
    let (long, huge) = ("x".repeat(5000), "x".repeat(20_000));
    let cases = [
        (414, "uri_too_long", Request::get(format!("/v1/tokens/{long}")), Body::empty()),
        (431, "headers_too_large", Request::get("/v1/tokens").header("x", &huge), Body::empty()),
        (
            413,
            "payload_too_large",
            Request::get("/v1/tokens").header("content-length", 20_000),
            Body::from(huge.clone()),
        ),
    ];
    for (status, code, request, body) in cases {
        let reply = fixture.send(request.body(body).unwrap()).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (status, code));
    }
}

#[tokio::test]
async fn no_more_reads_than_allowed_run_at_once() {
    let limits = Limits { reads: 0, ..Limits::default() };
    let reply = Fixture::with_limits(1, limits).get("/v1/tokens").await;
    assert_eq!(
        (reply.status, reply.code(), reply.header("retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, "busy", "1")
    );
}

#[tokio::test]
async fn slow_and_panicking_handlers_become_named_errors() {
    async fn panics() -> StatusCode {
        panic!("on purpose")
    }
    async fn sleeps() {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let limits = Limits { request_time: Duration::from_millis(10), ..Limits::default() };
    let routes = Router::new().route("/panics", get(panics)).route("/sleeps", get(sleeps));
    let routes = with_conventions(routes, limits);
    for (path, status, code) in [("/panics", 500, "internal_error"), ("/sleeps", 408, "timeout")] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = routes.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], code);
    }
}

#[tokio::test]
async fn serving_ends_within_a_second_of_a_stop() {
    let fixture = Fixture::new(1);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = crate::stop::Stop::new();
    let serving = tokio::spawn(serve(listener, fixture.app.clone(), stop.clone()));
    // A connection that stays open without a request.
    let idle = tokio::net::TcpStream::connect(address).await.unwrap();
    let url = format!("http://{address}/health/live");
    let body =
        tokio::task::spawn_blocking(move || ureq::get(&url).call().unwrap().body_mut().read_to_string());
    assert_eq!(body.await.unwrap().unwrap(), r#"{"status":"live"}"#);
    let asked = Instant::now();
    stop.request();
    serving.await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1));
    drop(idle);
}

#[test]
fn names_in_answers_are_unique() {
    // Fields of flattened structs must not hide each other: serde would write a name twice.
    let fixture_names = |value: &Value| value.as_object().unwrap().len();
    let outpoint = SparkOutPoint::MIN;
    let owner = types::Owner { owner: PubKey::BURN, owner_address: String::new(), is_burn: true };
    let token = types::TokenName {
        token_id: TokenId::MIN,
        token_address: String::new(),
        ticker: None,
        decimals: None,
    };
    let ttxo = types::Ttxo {
        ttxo: outpoint,
        spark_tx_hash: outpoint.tx_hash,
        vout: 0,
        entity: types::EntityName { entity: PubKey::BURN, entity_name: String::new() },
        owner,
        token,
        amount: crate::protocol::Amount::ZERO,
        state: types::TtxoState::Live,
        declared: true,
        exit: None,
        revocation_commitment: PubKey::BURN,
        withdraw_bond: 0,
        withdraw_locktime: 0,
        history: Vec::new(),
    };
    let text = serde_json::to_string(&ttxo).unwrap();
    let names = text.matches("\":").count();
    assert_eq!(names, fixture_names(&serde_json::from_str(&text).unwrap()));
}
