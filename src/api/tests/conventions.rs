//! What holds for every path: what answers rest on, errors, limits, caching, cursors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use axum::routing::get;
use bitcoin::hashes::Hash;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;

use super::super::metrics::Metrics;
use super::super::{Limits, conventions, router, serve};
use super::{BLOCKS, Fixture};
use crate::chain::BlockId;
use crate::protocol::{Height, Network, PubKey, address};
use crate::sync::status::{CLOSE, Phase};

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
async fn a_long_answer_is_compressed_for_who_takes_it_under_a_tag_of_its_own() {
    let fixture = Fixture::new(BLOCKS);
    let ask = |encoding: &str, tag: &str| {
        let request =
            Request::get("/v1/exits").header("accept-encoding", encoding).header("if-none-match", tag);
        request.body(Body::empty()).unwrap()
    };
    let plain = fixture.send(ask("identity", "")).await;
    let response = router(fixture.app.clone()).oneshot(ask("gzip, br", "")).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert_eq!(response.headers()["vary"], "accept-encoding");
    let tag = response.headers()["etag"].to_str().unwrap().to_owned();
    assert_ne!(tag, plain.header("etag"));
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let unpacked: Value = serde_json::from_reader(flate2::read::GzDecoder::new(&bytes[..])).unwrap();
    assert_eq!(unpacked, plain.body);
    let again = fixture.send(ask("gzip", &tag)).await;
    assert_eq!((again.status, again.header("etag")), (StatusCode::NOT_MODIFIED, tag.as_str()));
    assert_eq!(fixture.get("/v1/blocks/111").await.header("content-encoding"), "", "not worth it");
}

#[tokio::test]
async fn a_list_is_that_of_the_block_at_which_it_was_begun() {
    let whole = Fixture::new(BLOCKS - 1).pages("/v1/exits", "exits", 100).await;
    let fixture = Fixture::new(BLOCKS - 1);
    let page = fixture.ok("/v1/exits?limit=1").await;
    let mut rows = page["exits"].as_array().unwrap().clone();
    fixture.apply(BLOCKS - 1);
    let mut next = page["next_cursor"].as_str().map(str::to_owned);
    while let Some(cursor) = next {
        let reply = fixture.get(&format!("/v1/exits?limit=1&cursor={cursor}")).await;
        assert_eq!((reply.status, reply.header("btkn-height")), (StatusCode::OK, "117"), "{}", reply.body);
        assert_eq!(reply.body["as_of"], page["as_of"]);
        rows.extend_from_slice(reply.body["exits"].as_array().unwrap());
        next = reply.body["next_cursor"].as_str().map(str::to_owned);
    }
    assert_eq!(rows, whole);
    let path = format!("/v1/exits?limit=1&cursor={}", page["next_cursor"].as_str().unwrap());
    for height in [118, 117] {
        fixture.app.store().undo(Height(height)).unwrap();
        let reply = fixture.get(&path).await;
        let gone = (reply.status, reply.code()) == (StatusCode::GONE, "cursor_reorged");
        assert_eq!(gone, height == 117, "only the block that the cursor names counts: {}", reply.body);
    }
}

#[tokio::test]
async fn a_read_at_a_height_is_the_read_that_was_made_there() {
    let paths = ["/v1/tokens", "/v1/exits", "/v1/snapshots", "/v1/entities", "/v1/blocks/111"];
    let fixture = Fixture::new(BLOCKS);
    for (blocks, height) in (1..=BLOCKS).zip(111..) {
        let then = Fixture::new(blocks);
        for path in paths {
            let was = then.get(path).await;
            let hash = was.header("btkn-block-hash");
            for at in [format!("height={height}"), format!("block={hash}")] {
                let now = fixture.get(&format!("{path}?{at}")).await;
                assert_eq!((now.status, &now.body), (StatusCode::OK, &was.body), "{path} at {at}");
                assert_eq!(
                    (now.header("btkn-height"), now.header("etag")),
                    (&*height.to_string(), was.header("etag"))
                );
            }
        }
    }
    let (hash, first) = ("ab".repeat(32), fixture.ok("/v1/exits?limit=1&height=116").await);
    let cursor = first["next_cursor"].as_str().unwrap();
    assert_eq!(
        fixture.ok(&format!("/v1/exits?limit=1&height=116&cursor={cursor}")).await["as_of"]["height"],
        116
    );
    for (status, code, query) in [
        (404, "block_not_found", "height=119".to_owned()),
        (404, "block_not_found", "height=110".into()),
        (404, "block_not_found", format!("block={hash}")),
        (400, "bad_block", "block=117".into()),
        (400, "bad_parameter", "height=-1".into()),
        (400, "bad_parameter", "height=4294967296".into()),
        (400, "bad_parameter", format!("height=117&block={hash}")),
        (400, "bad_cursor", format!("height=117&cursor={cursor}")),
    ] {
        let reply = fixture.get(&format!("/v1/exits?{query}")).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (status, code), "{query}: {}", reply.body);
    }
}

#[tokio::test]
async fn answers_about_deep_blocks_may_be_kept_for_ever() {
    let regtest = super::regtest::Regtest::open();
    for (query, forever) in
        [("", false), ("?height=231", false), ("?height=230", true), ("?height=111", true)]
    {
        let reply = regtest.get(&format!("/v1/tokens{query}")).await;
        assert_eq!(reply.header("cache-control").contains("immutable"), forever, "{query}");
    }
    assert_eq!(regtest.get("/v1/tokens/00?height=111").await.header("cache-control"), "no-store");
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

    fixture.status.send_modify(|status| {
        let hash = bitcoin::BlockHash::from_byte_array([7; 32]);
        status.source_tip = Some(BlockId { height: Height(113 + CLOSE), hash });
    });
    let reply = fixture.get("/v1/tokens").await;
    assert_eq!((reply.status, reply.header("btkn-synced")), (StatusCode::OK, "false"), "a few blocks behind");

    let empty = Fixture::new(0);
    let reply = empty.get("/v1/tokens?allow_stale=true").await;
    assert_eq!((reply.status, reply.code()), (StatusCode::SERVICE_UNAVAILABLE, "catching_up"));
    assert_eq!(empty.ok("/v1/status").await["as_of"], Value::Null);
}

#[tokio::test]
async fn refusals_say_why_the_state_is_old() {
    let fixture = Fixture::new(3);
    for (phase, why) in [
        (Phase::CatchingUp, "still catching up"),
        (Phase::Starting, "the source of blocks has not answered yet"),
        (Phase::Reorganising, "blocks that left the best chain are being undone"),
        (Phase::Failed, "synchronisation gave up"),
    ] {
        fixture.phase(phase);
        let reply = fixture.get("/v1/tokens").await;
        assert_eq!((reply.status, reply.code()), (StatusCode::SERVICE_UNAVAILABLE, "catching_up"));
        let message = reply.body["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with(why) && message.contains("at height 113"), "{message}");
    }
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
    // No point of the curve has this x coordinate.
    let off_curve = format!("02{:064x}", 5);
    let known = fixture.list("supply")[0]["token"].as_str().unwrap().to_owned();
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
        (400, "bad_owner", format!("/v1/owners/{off_curve}/ttxos")),
        (400, "bad_owner", format!("/v1/owners/{off_curve}/balances")),
        (400, "bad_owner", format!("/v1/owners/{off_curve}/balances?token={known}")),
        (400, "bad_block", "/v1/blocks/tip".into()),
        (400, "bad_block", "/v1/blocks/4294967296".into()),
        (400, "bad_ttxo", format!("/v1/ttxos/{hash}")),
        (400, "bad_ttxo", "/v1/exits?ttxo=1".into()),
        (400, "bad_outpoint", format!("/v1/exits/{hash}")),
        (400, "bad_sequence", "/v1/snapshots/latest".into()),
        (400, "bad_cursor", "/v1/tokens?cursor=00".into()),
        (400, "bad_parameter", "/v1/tokens?limit=0".into()),
        (400, "unknown_parameter", "/v1/tokens?hieght=111".into()),
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
    assert_eq!(reply.header("access-control-expose-headers"), "*");
    assert!(reply.header("allow").contains("GET"));
    let preflight = Request::options("/v1/tokens")
        .header("origin", "https://example.com")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "if-none-match");
    let reply = fixture.send(preflight.body(Body::empty()).unwrap()).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.header("access-control-allow-methods").contains("GET"));
    assert_eq!(reply.header("access-control-allow-headers"), "*");
    let preflight = Request::options("/v1/balances")
        .header("origin", "https://example.com")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type");
    let reply = fixture.send(preflight.body(Body::empty()).unwrap()).await;
    assert!(reply.header("access-control-allow-methods").contains("POST"));
    assert_eq!(reply.header("access-control-allow-headers"), "*");
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
            Request::get("/v1/tokens").header("content-length", 300_000),
            Body::from(vec![b' '; 300_000]),
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
    let reply = Fixture::with_limits(1, limits).get("/v1/tokens?limit=1000").await;
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
    let routes = conventions::add(routes, limits, Arc::new(Metrics::new()));
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

#[tokio::test]
async fn a_client_that_does_not_send_its_headers_is_cut_off() {
    let limits = Limits { header_time: Duration::from_millis(100), ..Limits::default() };
    let fixture = Fixture::with_limits(0, limits);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = crate::stop::Stop::new();
    let serving = tokio::spawn(serve(listener, fixture.app.clone(), stop.clone()));
    // Nothing at all, half a request, and a whole one without another after it.
    for sent in ["", "GET /health/live HTTP/1.1\r\nHost: x", "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut rest = String::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut rest));
        read.await.expect("the server closes the connection").unwrap();
        assert_eq!(rest.contains("live"), sent.ends_with("\r\n\r\n"), "{sent:?}: {rest}");
    }
    stop.request();
    serving.await.unwrap();
}

/// Fields of flattened parts must not hide each other: serde would write a name twice.
#[tokio::test]
async fn no_object_has_a_name_twice() {
    fn names(value: &Value) -> usize {
        match value {
            Value::Object(fields) => fields.len() + fields.values().map(names).sum::<usize>(),
            Value::Array(values) => values.iter().map(names).sum(),
            _ => 0,
        }
    }
    let fixture = Fixture::new(BLOCKS);
    let owner = fixture.list("balances")[1]["owner"].as_str().unwrap().to_owned();
    let token = fixture.list("supply")[0]["token"].as_str().unwrap().to_owned();
    let paths = [
        "/v1/status".to_owned(),
        "/v1/blocks/112".into(),
        "/v1/tokens".into(),
        format!("/v1/tokens/{token}/holders"),
        format!("/v1/owners/{owner}/balances"),
        format!("/v1/owners/{owner}/ttxos"),
        "/v1/exits".into(),
        "/v1/snapshots".into(),
    ];
    for path in paths {
        let text = fixture.text(Request::get(&path).body(Body::empty()).unwrap()).await.2;
        let parsed: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(text.matches("\":").count(), names(&parsed), "{path}");
    }
}
