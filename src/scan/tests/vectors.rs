//! The published chain of test vectors: what its events rest on is what the scanner finds.

use std::collections::BTreeSet;

use bitcoin::hex::FromHex;

use super::*;

fn vectors() -> serde_json::Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/vectors/snapshot-vectors.json");
    let mut all: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    all["chain"].take()
}

fn strings(value: &serde_json::Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

fn chain(vectors: &serde_json::Value) -> Chain {
    let blocks = strings(&vectors["blocks"]).into_iter().map(|hex| Vec::from_hex(hex).unwrap());
    let expected = vectors["expected"].as_array().unwrap();
    let hash = |i: usize| expected[i]["block_hash"].as_str().unwrap().parse().unwrap();
    Chain(blocks.enumerate().map(|(i, bytes)| (hash(i), bytes)).collect())
}

/// The places of messages and spends that an event line names.
fn places(event: &str) -> Vec<String> {
    let words: Vec<&str> = event.split(' ').collect();
    match words[0] {
        "token" => vec![format!("output {}:{}", words[2], words[3])],
        "manifest" => vec![format!("envelope {}", words[4])],
        "manifest_rejected" | "chunk" => vec![format!("envelope {}", words[3])],
        "exit_spent" => vec![format!("spend {} {}", words[2], words[3])],
        "exit" => vec![format!("output {}", words[1].rsplit_once(':').unwrap().0)],
        _ => vec![],
    }
}

fn found(tx: &TxMessages) -> Vec<String> {
    let txid = tx.txid;
    let path = |path| if path == SpendPath::Key { "revoked" } else { "claimed" };
    let outputs = tx.outputs.iter().map(|output| format!("output {txid}:{}", output.vout));
    let envelopes = tx.envelopes.iter().map(|found| format!("envelope {txid}i{}", found.inscription));
    let spends = tx.spends.iter().map(|spend| format!("spend {txid}:{} {}", spend.input, path(spend.path)));
    outputs.chain(envelopes).chain(spends).collect()
}

#[test]
fn every_event_rests_on_something_found() {
    let vectors = vectors();
    let chain = chain(&vectors);
    let scanned = good(scan_batch(&chain.raw(), &WatchSet::new()));
    assert_eq!(scanned, naive(&chain, &WatchSet::new()));

    let found: BTreeSet<String> = scanned.iter().flat_map(|block| &block.txs).flat_map(found).collect();
    let events = vectors["expected"].as_array().unwrap().iter().flat_map(|block| strings(&block["events"]));
    let places: BTreeSet<String> = events.flat_map(places).collect();
    assert!(places.len() > 15, "{places:?}");
    let missing: Vec<_> = places.difference(&found).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
