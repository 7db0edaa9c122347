//! What those who run a server look at: figures, ids of requests, limits at work.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;

use super::regtest::Regtest;
use super::{BLOCKS, Fixture};
use crate::api::error::{ApiError, Code};
use crate::api::metrics::Metrics;
use crate::api::{Limits, conventions, serve};

/// The value of a series.
fn figure(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

async fn figures(fixture: &Fixture) -> String {
    let (status, headers, text) = fixture.text(Request::get("/metrics").body(Body::empty()).unwrap()).await;
    assert_eq!(status, 200, "{text}");
    assert!(headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    text
}

#[tokio::test]
async fn figures_count_requests_by_the_template_of_their_path() {
    let fixture = Fixture::new(BLOCKS);
    let key = "02".repeat(33);
    for path in [
        format!("/v1/owners/{key}/balances"),
        format!("/v1/owners/{key}/balances?limit=2"),
        "/v1/owners/x/balances".into(),
        "/v1/nothing".into(),
    ] {
        fixture.get(&path).await;
    }
    let text = figures(&fixture).await;
    let requests = |route: &str, status| {
        let series =
            format!("btkn_http_requests_total{{method=\"GET\",route=\"{route}\",status=\"{status}\"}}");
        figure(&text, &series)
    };
    assert_eq!(requests("/v1/owners/{owner}/balances", 200), Some(2.0), "{text}");
    assert_eq!(requests("/v1/owners/{owner}/balances", 400), Some(1.0));
    assert_eq!(requests("other", 404), Some(1.0));
    let seconds = "btkn_http_request_seconds_count{route=\"/v1/owners/{owner}/balances\"}";
    assert_eq!(figure(&text, seconds), Some(3.0));
    assert_eq!(figure(&text, "btkn_http_requests_in_flight"), Some(1.0), "the one that asks");
    assert!(!text.contains(&key), "what strangers ask for makes no series");
}

#[tokio::test]
async fn figures_tell_the_tip_and_the_database() {
    let fixture = Fixture::new(BLOCKS);
    let text = figures(&fixture).await;
    assert_eq!(figure(&text, "btkn_tip_height"), Some(118.0));
    assert_eq!(figure(&text, "btkn_synced"), Some(1.0));
    assert!(figure(&text, "btkn_rocksdb_block_cache_capacity").is_some_and(|bytes| bytes > 0.0), "{text}");
    assert!(figure(&text, "btkn_rocksdb_estimate_num_keys").is_some_and(|keys| keys > 0.0));
    assert!(figures(&Fixture::new(0)).await.contains("btkn_synced 1"), "also before the first block");
}

#[tokio::test]
async fn figures_count_what_was_in_the_blocks() {
    let regtest = Regtest::open();
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let text = super::text(&regtest.app, request).await.2;
    assert_eq!(figure(&text, "btkn_blocks_applied_total"), Some(220.0));
    assert_eq!(figure(&text, "btkn_events_total{kind=\"equivocation\"}"), Some(1.0), "{text}");
    assert!(figure(&text, "btkn_events_total{kind=\"exit\"}").is_some_and(|exits| exits > 20.0));
    assert_eq!(figure(&text, "btkn_messages_without_effect_total{kind=\"bad_signature\"}"), Some(1.0));
    assert_eq!(figure(&text, "btkn_lag_blocks"), Some(0.0));
}

#[tokio::test]
async fn a_request_keeps_its_id_or_gets_one() {
    let fixture = Fixture::new(1);
    let with = |id: &str| Request::get("/v1/nothing").header("x-request-id", id).body(Body::empty()).unwrap();
    assert_eq!(fixture.send(with("mine-1")).await.header("x-request-id"), "mine-1", "on errors, too");
    let long = "x".repeat(200);
    assert_ne!(fixture.send(with(&long)).await.header("x-request-id"), long);
    let ids = [fixture.get("/v1/tokens").await, fixture.get("/v1/tokens").await];
    let ids = ids.each_ref().map(|reply| reply.header("x-request-id"));
    assert!(ids[0] != ids[1] && !ids[0].is_empty(), "{ids:?}");
}

/// Lines of a log, for a test to look at.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_fails_is_logged_with_the_id_of_its_request_and_not_told() {
    let lines = Lines::default();
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_writer({
        let lines = lines.clone();
        move || lines.clone()
    });
    let _log = tracing::subscriber::set_default(log.finish());
    let panics = || async {
        if true {
            panic!("a bug")
        }
    };
    let fails = || async { Err::<(), _>(ApiError::internal("a full disk")) };
    let routes = Router::new().route("/panics", get(panics)).route("/fails", get(fails));
    let routes = conventions::add(routes, Limits::default(), Arc::new(Metrics::new()));
    for (path, cause) in [("/panics", "a handler panicked: a bug"), ("/fails", "a full disk")] {
        let request = Request::get(path).header("x-request-id", &path[1..]).body(Body::empty()).unwrap();
        let response = routes.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 500);
        let body = axum::body::to_bytes(response.into_body(), 1 << 10).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["message"], Code::InternalError.meaning());
        let log = String::from_utf8(std::mem::take(&mut *lines.0.lock().unwrap())).unwrap();
        let line: Value = serde_json::from_str(log.trim()).expect("one line");
        assert_eq!((&line["level"], &line["message"]), (&json!("ERROR"), &json!(cause)));
        assert_eq!((&line["id"], &line["path"]), (&json!(path[1..]), &json!(path)));
    }
}

#[tokio::test]
async fn no_more_requests_than_allowed_are_answered_at_once() {
    let limits = Limits { requests: 1, ..Limits::default() };
    let gate = Arc::new(tokio::sync::Notify::new());
    let opened = Arc::clone(&gate);
    let waits = move || async move { opened.notified().await };
    let routes = Router::new().route("/waits", get(waits)).route("/quick", get(|| async {}));
    let routes = conventions::add(routes, limits, Arc::new(Metrics::new()));
    let ask = |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        routes.clone().oneshot(request)
    };
    let first = tokio::spawn(ask("/waits"));
    tokio::task::yield_now().await;
    let second = ask("/quick").await.unwrap();
    assert_eq!((second.status().as_u16(), &second.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    gate.notify_one();
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    assert_eq!(ask("/quick").await.unwrap().status(), 200, "the next one has room");
}

#[tokio::test]
async fn clients_that_send_half_a_body_or_too_many_headers_get_their_error_and_others_their_answers() {
    let (request_time, header_time) = (Duration::from_millis(200), Duration::from_secs(1));
    let limits = Limits { request_time, header_time, ..Limits::default() };
    let fixture = Fixture::with_limits(BLOCKS, limits);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = crate::stop::Stop::new();
    let serving = tokio::spawn(serve(listener, fixture.app.clone(), stop.clone()));
    let post = "POST /v1/balances HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let flood = (0..90).map(|n| format!("x-{n}: {}\r\n", "y".repeat(200))).collect::<String>();
    let cases = [
        ("a body that does not come", format!("{post}content-length: 100\r\n\r\n{{"), " 408 ", "timeout"),
        (
            "chunks that stop",
            format!("{post}transfer-encoding: chunked\r\n\r\n5\r\n{{\"own"),
            " 408 ",
            "timeout",
        ),
        (
            "many headers",
            format!("GET /v1/tokens HTTP/1.1\r\nhost: x\r\n{flood}\r\n"),
            " 431 ",
            "headers_too_large",
        ),
        (
            "a body that is too long",
            format!("{post}content-length: 999999999\r\n\r\n"),
            " 413 ",
            "payload_too_large",
        ),
    ];
    for (what, sent, status, code) in cases {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let mut buffer = [0; 4096];
        while !answer.contains("}}") {
            let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer));
            let read = read.await.expect("there is an answer").unwrap();
            assert!(read > 0, "{what}: the connection ended: {answer}");
            answer.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        assert!(answer.contains(status) && answer.contains(code), "{what}: {answer}");
    }
    // No HTTP at all, and a head that even the parser refuses: the connection ends, and the server goes on.
    for sent in [
        "\u{0}\u{1}\u{2}\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000)),
    ] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(sent.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap();
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    }
    let url = format!("http://{address}/v1/tokens");
    let body = tokio::task::spawn_blocking(move || ureq::get(&url).call().unwrap().status()).await.unwrap();
    assert_eq!(body, 200);
    stop.request();
    serving.await.unwrap();
}

#[tokio::test]
async fn answers_between_two_blocks_share_snapshots_and_the_next_block_lets_them_go() {
    let fixture = Fixture::new(BLOCKS - 1);
    let snapshots = || {
        let figures = fixture.app.store().figures().unwrap();
        figures.into_iter().find(|(name, _)| *name == "num-snapshots").unwrap().1
    };
    let stop = crate::stop::Stop::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serving = tokio::spawn(serve(listener, fixture.app.clone(), stop.clone()));
    // The server begins to watch what is written.
    tokio::task::yield_now().await;
    let before = fixture.ok("/v1/tokens").await;
    assert_eq!(before, fixture.ok("/v1/tokens").await);
    assert_eq!(snapshots(), 1);
    // So many rows are read by another thread, which keeps one of its own.
    fixture.ok("/v1/tokens?limit=1000").await;
    assert!((1..=2).contains(&snapshots()), "{}", snapshots());
    fixture.apply(BLOCKS - 1);
    tokio::time::timeout(Duration::from_secs(10), async {
        while snapshots() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the snapshots are let go");
    let after = fixture.ok("/v1/tokens").await;
    assert_ne!(before["as_of"]["block_hash"], after["as_of"]["block_hash"]);
    stop.request();
    serving.await.unwrap();
}
