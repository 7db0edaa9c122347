//! `POST /v1/balances`: what it answers, and what it refuses.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};

use super::{BLOCKS, Fixture, Reply, owner_address};

async fn post(fixture: &Fixture, query: &str, body: impl Into<Body>) -> Reply {
    let request =
        Request::post(format!("/v1/balances{query}")).header(header::CONTENT_TYPE, "application/json");
    fixture.send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn a_batch_holds_what_the_single_requests_do() {
    let fixture = Fixture::new(BLOCKS);
    let mut owners: Vec<String> =
        fixture.list("balances").iter().map(|row| row["owner"].as_str().unwrap().to_owned()).collect();
    owners.push("02".repeat(33));
    owners[0] = owner_address(&owners[0]);
    let token = fixture.list("supply")[0]["token"].clone();
    for (body, parameter) in [
        (json!({"owners": owners}), String::new()),
        (json!({"owners": owners, "token": token}), format!("token={}", token.as_str().unwrap())),
    ] {
        let reply = post(&fixture, "", body.to_string()).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!((reply.header("etag"), reply.header("btkn-height")), ("", "118"));
        let rows = reply.body["owners"].as_array().unwrap();
        assert_eq!(rows.len(), owners.len());
        for (owner, row) in owners.iter().zip(rows) {
            let mut single = fixture.ok(&format!("/v1/owners/{owner}/balances?{parameter}")).await;
            assert_eq!(single["as_of"], reply.body["as_of"]);
            single.as_object_mut().unwrap().remove("as_of");
            assert_eq!(&single, row);
        }
    }
    let short = post(&fixture, "?limit=1", json!({"owners": [owners[1]]}).to_string()).await;
    let cursor = short.body["owners"][0]["next_cursor"].as_str().unwrap();
    let rest = fixture.ok(&format!("/v1/owners/{}/balances?cursor={cursor}", owners[1])).await;
    assert_eq!(rest["balances"].as_array().unwrap().len(), 1, "the cursor continues the list of that owner");
}

#[tokio::test]
async fn a_thousand_owners_are_answered_and_one_more_is_not() {
    let fixture = Fixture::new(BLOCKS);
    let owners = |count| json!({"owners": vec![owner_address(&"02".repeat(33)); count]}).to_string();
    let reply = post(&fixture, "", owners(1000)).await;
    assert_eq!(reply.body["owners"].as_array().map(Vec::len), Some(1000), "{}", reply.body);
    for (query, count, code) in
        [("", 1001, "bad_body"), ("", 0, "bad_body"), ("?limit=101", 1000, "bad_parameter")]
    {
        let reply = post(&fixture, query, owners(count)).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (400, code), "{query} {count}");
    }
}

#[tokio::test]
async fn bodies_that_are_not_what_the_path_expects_are_refused_by_name() {
    let fixture = Fixture::new(BLOCKS);
    let key = "02".repeat(33);
    let good = json!({"owners": [key]}).to_string();
    let unknown = "ab".repeat(32);
    for (status, code, query, body) in [
        (400, "bad_body", "", String::new()),
        (400, "bad_body", "", "null".into()),
        (400, "bad_body", "", "[]".into()),
        (400, "bad_body", "", "{\"owners\": 1}".into()),
        (400, "bad_body", "", "{\"owners\": [1]}".into()),
        (400, "bad_body", "", good[..good.len() - 1].into()),
        (400, "bad_body", "", good.clone() + "x"),
        (400, "bad_body", "", json!({"owners": [key], "height": 1}).to_string()),
        (400, "bad_owner", "", json!({"owners": [key, "x"]}).to_string()),
        (400, "bad_token", "", json!({"owners": [key], "token": "x"}).to_string()),
        (404, "token_not_found", "", json!({"owners": [key], "token": unknown}).to_string()),
        (400, "unknown_parameter", "?cursor=00", good.clone()),
        (413, "payload_too_large", "", " ".repeat(300_000)),
    ] {
        let reply = post(&fixture, query, body.clone()).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (status, code), "{body:.80}: {}", reply.body);
        assert_eq!(reply.header("access-control-allow-origin"), "*");
    }
    let off_curve = format!("02{:064x}", 5);
    for bad in ["x", &off_curve] {
        let named = post(&fixture, "", json!({"owners": [key, bad]}).to_string()).await;
        assert_eq!(named.code(), "bad_owner");
        assert!(
            named.body["error"]["message"].as_str().unwrap().starts_with("owners[1]: "),
            "{}",
            named.body
        );
    }
    let no_utf8 = post(&fixture, "", vec![0xff, 0xfe]).await;
    assert_eq!((no_utf8.status.as_u16(), no_utf8.code()), (400, "bad_body"));
    for kind in ["text/plain", "application/jsonx", ""] {
        let request = Request::post("/v1/balances").header(header::CONTENT_TYPE, kind);
        let reply = fixture.send(request.body(Body::from(good.clone())).unwrap()).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (415, "unsupported_media_type"), "{kind:?}");
    }
    let charset =
        Request::post("/v1/balances").header(header::CONTENT_TYPE, "Application/JSON; charset=utf-8");
    let reply = fixture.send(charset.body(Body::from(good)).unwrap()).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_ne!(reply.body["as_of"], Value::Null);
}
