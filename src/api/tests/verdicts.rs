//! Verdicts over HTTP, on the chain of `fixtures/regtest`.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};

use super::Reply;
use super::regtest::Regtest;

/// What an issuer should do about each exit of the fixture, by the name that the fixture gives it.
const EXPECTED: [(&str, &str, &str); 28] = [
    ("alice silver", "wait", "not_claimed"),
    ("already_exited", "refuse", "already_exited"),
    ("claimed", "honour", "claimed"),
    ("duplicate_vout 0", "refuse", "duplicate_vout"),
    ("duplicate_vout 1", "refuse", "duplicate_vout"),
    ("half unresolved 0", "wait", "unresolved"),
    ("half unresolved 1", "wait", "unresolved"),
    ("insufficient_bond", "refuse", "insufficient_bond"),
    // The operators declare it although its exit has confirmed.
    ("late claimed", "wait", "declared_after_exit"),
    ("late insufficient_bond", "refuse", "insufficient_bond"),
    ("late matured", "wait", "not_claimed"),
    ("late pending", "wait", "not_matured"),
    ("late revoked", "refuse", "reinstated"),
    ("matured", "wait", "not_claimed"),
    ("mixed_owners 0", "refuse", "mixed_owners"),
    ("mixed_owners 1", "refuse", "mixed_owners"),
    // The other exit of its output, which took it, decides.
    ("output_taken", "wait", "not_claimed"),
    ("pair 0", "honour", "claimed"),
    ("pair 1", "wait", "not_claimed"),
    ("pending", "wait", "not_matured"),
    ("pending at the second entity", "wait", "not_matured"),
    ("reinstated, then claimed", "honour", "claimed"),
    ("revoked", "refuse", "revoked"),
    ("script_mismatch", "refuse", "script_mismatch"),
    ("spent_on_spark", "refuse", "spent_on_spark"),
    ("stranger", "refuse", "reinstated"),
    ("unresolved", "wait", "unresolved"),
    ("vout_out_of_range", "refuse", "vout_out_of_range"),
];

fn outputs() -> Value {
    let facts = include_str!("../../../fixtures/regtest/facts.json");
    serde_json::from_str::<Value>(facts).unwrap()["exits"].take()
}

async fn post(body: &str) -> Reply {
    let request = Request::post("/v1/verdicts").header(header::CONTENT_TYPE, "application/json");
    Regtest::open().send(request.body(Body::from(body.to_owned())).unwrap()).await
}

async fn verdict(path: &str) -> Value {
    let reply = Regtest::open().get(path).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    reply.body
}

#[tokio::test]
async fn every_exit_of_the_fixture_has_the_verdict_that_it_deserves() {
    let outputs = outputs();
    assert_eq!(outputs.as_object().unwrap().len(), EXPECTED.len());
    let mut found = Vec::new();
    for (name, ..) in EXPECTED {
        let output = outputs[name].as_str().unwrap();
        let body = verdict(&format!("/v1/exits/{output}/verdict")).await;
        let text = |key: &str| body[key].as_str().unwrap().to_owned();
        assert_eq!(format!("{}:{}", text("txid"), body["vout"]), output);
        assert_eq!(body["state"], body["exit"]["state"]);
        found.push((name, text("verdict"), text("reason")));
    }
    let found: Vec<_> =
        found.iter().map(|(name, verdict, why)| (*name, verdict.as_str(), why.as_str())).collect();
    assert_eq!(found, EXPECTED);
}

#[tokio::test]
async fn many_outputs_at_once_are_answered_as_one_by_one() {
    let outputs = outputs();
    let mut outputs: Vec<&str> = EXPECTED.iter().map(|(name, ..)| outputs[name].as_str().unwrap()).collect();
    outputs.sort_unstable();
    outputs.dedup();
    let body = json!({ "outpoints": outputs, "confirmations": 47 });
    let reply = post(&body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    for (output, row) in outputs.iter().zip(reply.body["verdicts"].as_array().unwrap()) {
        let mut one = verdict(&format!("/v1/exits/{output}/verdict?confirmations=47")).await;
        one.as_object_mut().unwrap().remove("as_of");
        assert_eq!(&one, row, "{output}");
    }
}

#[tokio::test]
async fn confirmations_are_counted_from_the_block_of_the_claim() {
    let outputs = outputs();
    // Claimed at height 283 of 330: 48 confirmations.
    let output = outputs["reinstated, then claimed"].as_str().unwrap();
    for (wanted, expected) in [(48, "honour"), (49, "wait")] {
        let body = verdict(&format!("/v1/exits/{output}/verdict?confirmations={wanted}")).await;
        assert_eq!((&body["verdict"], &body["confirmations"]), (&json!(expected), &json!(wanted)));
    }
}

#[tokio::test]
async fn a_warning_that_is_accepted_does_not_hold_the_verdict() {
    let outputs = outputs();
    let output = outputs["late claimed"].as_str().unwrap();
    for (accept, expected) in [("declared_after_exit,equivocation", "honour"), ("equivocation", "wait")] {
        let body = verdict(&format!("/v1/exits/{output}/verdict?accept={accept}")).await;
        assert_eq!(body["verdict"], expected, "{accept}");
        let accept: Vec<&str> = accept.split(',').collect();
        let batch = post(&json!({ "outpoints": [output], "accept": accept }).to_string()).await;
        assert_eq!(batch.body["verdicts"][0]["verdict"], expected);
    }
}

#[tokio::test]
async fn a_verdict_can_be_asked_for_as_of_every_block() {
    let outputs = outputs();
    let output = outputs["stranger"].as_str().unwrap();
    let path = |height: u32| format!("/v1/exits/{output}/verdict?height={height}&confirmations=1");
    assert_eq!(Regtest::open().get(&path(126)).await.code(), "exit_not_found");
    // Announced by a stranger, revoked, reinstated.
    for (height, expected) in
        [(127, "not_matured"), (166, "not_claimed"), (167, "revoked"), (261, "reinstated")]
    {
        let body = verdict(&path(height)).await;
        assert_eq!((&body["reason"], &body["as_of"]["height"]), (&json!(expected), &json!(height)));
    }
}

#[tokio::test]
async fn an_output_that_no_exit_names_is_not_found_alone_and_refused_among_others() {
    let output = format!("{}:0", "ab".repeat(32));
    let reply = Regtest::open().get(&format!("/v1/exits/{output}/verdict")).await;
    assert_eq!((reply.status.as_u16(), reply.code()), (404, "exit_not_found"));
    let reply = post(&json!({ "outpoints": [output] }).to_string()).await;
    let row = &reply.body["verdicts"][0];
    assert_eq!((&row["verdict"], &row["reason"]), (&json!("refuse"), &json!("no_exit")));
    assert_eq!((&row["exit"], &row["settled"]), (&Value::Null, &json!(false)));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_named() {
    let output = outputs()["claimed"].as_str().unwrap().to_owned();
    let path = |rest: &str| format!("/v1/exits/{output}/verdict?{rest}");
    for (path, code, said) in [
        (path("confirmations=0"), "bad_parameter", "1 to 1000"),
        (path("confirmations=1001"), "bad_parameter", "1 to 1000"),
        (path("confirmations=six"), "bad_parameter", "'six'"),
        (path("accept=revoked"), "bad_parameter", "'revoked'"),
        (path("accept=over_max_supply,nothing"), "bad_parameter", "'nothing'"),
        ("/v1/exits/abc:0/verdict".into(), "bad_outpoint", "<txid>:<vout>"),
    ] {
        let reply = Regtest::open().get(&path).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (400, code), "{path}");
        assert!(reply.body["error"]["message"].as_str().unwrap().contains(said), "{path}: {}", reply.body);
    }
    let many: Vec<String> = (0..1001).map(|n| format!("{n:064x}:0")).collect();
    for (body, code, said) in [
        (json!({ "outpoints": [] }), "bad_body", "1 to 1000"),
        (json!({ "outpoints": many }), "bad_body", "1001"),
        (json!({ "outpoints": [output, output] }), "bad_body", "outpoints[1]"),
        (json!({ "outpoints": [output, "x"] }), "bad_outpoint", "outpoints[1]"),
        (json!({ "outpoints": [output], "confirmations": 0 }), "bad_body", "1 to 1000"),
        (json!({ "outpoints": [output], "accept": ["claimed"] }), "bad_body", "'claimed'"),
        (json!({ "outpoints": [output], "depth": 1 }), "bad_body", "depth"),
    ] {
        let reply = post(&body.to_string()).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (400, code), "{}", reply.body);
        assert!(reply.body["error"]["message"].as_str().unwrap().contains(said), "{}", reply.body);
    }
    let reply = post(&json!({ "outpoints": &many[..1000] }).to_string()).await;
    assert_eq!(reply.status, 200, "a thousand are few enough for the limit on bodies");
}
