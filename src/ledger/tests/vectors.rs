//! The chain of the published vectors, from raw blocks to state hashes and balances.

use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{Block, BlockHash};
use serde_json::Value;

use crate::ledger::keys::{EntityIndex, ExitId};
use crate::ledger::tables::*;
use crate::ledger::view::{Empty, Overlay, View};
use crate::ledger::{Entities, EntityConfig, Rules, apply_block};
use crate::protocol::{DisplayTxid, Height, Network};
use crate::scan::{BlockMessages, RawBlock, WatchSet, scan_batch};

fn vectors() -> Value {
    let text = include_str!("../../../fixtures/vectors/snapshot-vectors.json");
    serde_json::from_str::<Value>(text).unwrap()["chain"].take()
}

fn rules(config: &Value) -> Rules {
    let entities: Vec<EntityConfig> = serde_json::from_value(config["entities"].clone()).unwrap();
    Rules {
        network: Network::Regtest,
        start_height: Height(config["start_height"].as_u64().unwrap() as u32),
        entities: Entities::new(entities).unwrap(),
    }
}

fn blocks(chain: &Value) -> Vec<(BlockHash, Vec<u8>)> {
    let decode = |block: &Value| {
        let block: Block = deserialize_hex(block.as_str().unwrap()).unwrap();
        (block.block_hash(), bitcoin::consensus::serialize(&block))
    };
    chain["blocks"].as_array().unwrap().iter().map(decode).collect()
}

/// The rules of the chain and what the scanner finds in its blocks.
pub(crate) fn published_chain() -> (Rules, Vec<BlockMessages>) {
    let chain = vectors();
    let blocks = blocks(&chain);
    let raw: Vec<_> = blocks.iter().map(|(hash, bytes)| RawBlock { hash: *hash, bytes }).collect();
    let messages = scan_batch(&raw, &WatchSet::new()).into_iter().map(Result::unwrap).collect();
    (rules(&chain["config"]), messages)
}

#[test]
fn every_block_gives_its_events_and_state_hash() {
    let chain = vectors();
    let (rules, blocks) = published_chain();
    let mut state = Overlay::new(Empty);
    let expected = chain["expected"].as_array().unwrap();
    assert_eq!(blocks.len(), expected.len());
    for (messages, expected) in blocks.iter().zip(expected) {
        let applied = apply_block(&state, &rules, messages).unwrap();
        let lines: Vec<_> = applied.events.iter().map(|event| event.to_string()).collect();
        assert_eq!(Value::from(lines), expected["events"], "events at {}", applied.tip.height);
        assert_eq!(applied.tip.height.0, expected["height"].as_u64().unwrap() as u32);
        assert_eq!(applied.tip.state_hash.to_string(), expected["state_hash"].as_str().unwrap());
        state.absorb(&applied.changes);
    }
    check_final(&state, &chain["final"]);
}

fn check_final(state: &Overlay<Empty>, expected: &Value) {
    let active = state.get::<Active>(&EntityIndex(0)).unwrap().unwrap();
    assert_eq!(active.manifest.to_string(), expected["active"].as_str().unwrap());
    for balance in expected["balances"].as_array().unwrap() {
        let text = |field: &str| balance[field].as_str().unwrap().to_owned();
        let key = (text("owner").parse().unwrap(), text("token").parse().unwrap(), EntityIndex(0));
        let found = state.get::<Balances>(&key).unwrap().unwrap();
        let sums = [found.available.to_string(), found.exiting.to_string(), found.claimed.to_string()];
        assert_eq!(sums, ["available", "exiting", "claimed"].map(text));
    }
    let rows = Balances::rows(state.changes()).values().filter(|change| change.after.is_some()).count();
    assert_eq!(rows, expected["balances"].as_array().unwrap().len());
    for supply in expected["supply"].as_array().unwrap() {
        let token = supply["token"].as_str().unwrap().parse().unwrap();
        let declared = state.get::<Supply>(&(token, EntityIndex(0))).unwrap().unwrap();
        assert_eq!(declared.to_string(), supply["declared"].as_str().unwrap());
    }
    for exit in expected["exits"].as_array().unwrap() {
        let found = state.get::<Exits>(&exit_id(exit["id"].as_str().unwrap())).unwrap().unwrap();
        assert_eq!(found.state.to_string(), exit["state"].as_str().unwrap());
        assert_eq!(found.reinstated.is_some(), exit["reinstated"].as_bool().unwrap());
        let spent_by = found.spend.map(|spend| format!("{}:{}", spend.txid, spend.input));
        assert_eq!(spent_by.as_deref(), exit["spent_by"].as_str());
        assert_eq!(found.ttxo.to_string(), exit["ttxo"].as_str().unwrap());
    }
    for snapshot in expected["snapshots"].as_array().unwrap() {
        let found =
            state.get::<Snapshots>(&snapshot["id"].as_str().unwrap().parse().unwrap()).unwrap().unwrap();
        assert_eq!(found.sequence, snapshot["sequence"].as_u64().unwrap());
        assert_eq!(
            format!("{}i{}", found.txid, found.inscription),
            snapshot["inscription"].as_str().unwrap()
        );
        assert_eq!(found.resurrected, snapshot["resurrected"].as_u64());
        assert_eq!(
            format!("{:?}", found.state).to_lowercase().split('(').next(),
            snapshot["status"].as_str()
        );
        assert_eq!(
            (found.count, found.root.to_string()),
            (snapshot["count"].as_u64().unwrap(), snapshot["root"].as_str().unwrap().to_owned(),)
        );
    }
    let evidence = Equivocations::rows(state.changes());
    assert_eq!(evidence.len(), expected["equivocations"].as_array().unwrap().len());
}

fn exit_id(text: &str) -> ExitId {
    let mut parts = text.split(':');
    let txid: DisplayTxid = parts.next().unwrap().parse().unwrap();
    let output = parts.next().unwrap().parse().unwrap();
    ExitId { txid, output, record: parts.next().unwrap().parse().unwrap() }
}
