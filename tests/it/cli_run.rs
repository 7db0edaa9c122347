//! `btkn run`: it serves, answers while it is read from outside, and ends when it is told to.

use std::time::Duration;

use serde_json::Value;

use super::cli::{KEY, Place, stdout};
use super::kit::Server;
use super::mini_chain;

fn start(place: &Place) -> Server {
    let entity = format!("a={KEY}");
    Server::start(place.command(&[&["run"], place.sync_options(&entity).as_slice()].concat()))
}

#[test]
fn it_serves_what_it_synced_and_stops_when_asked() {
    let place = Place::new();
    let running = start(&place);
    let status = running.wait_for("catching up", |status| status["synced"] == true);
    assert_eq!(status["as_of"]["height"], 8);
    let tokens = running.get("/v1/tokens").1;
    assert_eq!(tokens["tokens"][0]["metadata"]["name"], mini_chain::token().name);
    assert_eq!(running.get("/health/ready").1["status"], "ready");

    let dump = place.run(&["dump", "--data-dir", "data"]);
    let dump: Value = serde_json::from_str(&stdout(&dump)).expect("dump reads what run has open");
    assert_eq!(dump["state_hash"], status["as_of"]["state_hash"]);

    let (time, last) = running.end("-INT");
    assert!(time < Duration::from_secs(5), "{time:?}");
    assert_eq!(last["height"], 8);
}

#[test]
fn it_follows_block_files_that_grow_and_ends_on_sigterm() {
    let place = Place::new();
    let running = start(&place);
    running.wait_for("catching up", |status| status["synced"] == true);
    mini_chain::append(&place.blocks, &mini_chain::blocks(9)[9..]);
    running.wait_for("the next block", |status| status["as_of"]["height"] == 9);
    assert_eq!(running.end("-TERM").1["height"], 9);
}

#[test]
fn an_address_in_use_is_told() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let entity = format!("a={KEY}");
    let output =
        place.run(&[&["run"], place.sync_options(&entity).as_slice(), &["--listen", &address]].concat());
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(&address) && text.contains("--listen"), "{text}");
}
