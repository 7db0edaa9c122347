//! Token announcements, and metadata that snapshots bring.

use super::scenario::*;
use crate::ledger::keys::EntityIndex;
use crate::ledger::records::{Counter, Notice};
use crate::ledger::tables::*;
use crate::ledger::view::View;
use crate::protocol::announcement::TokenAnnouncement;
use crate::protocol::chunk::{Chunk, ChunkToken};
use crate::protocol::manifest::SnapshotKind;
use crate::protocol::token::{Layer, TokenMetadata};
use crate::protocol::{Amount, TokenId};
use crate::scan::messages::{MalformedKind, OutputContent};

fn metadata(name: &str) -> TokenMetadata {
    TokenMetadata {
        issuer: key("issuer"),
        name: name.into(),
        ticker: "TST".into(),
        decimals: 6,
        max_supply: Amount(1000),
        freezable: false,
    }
}

fn announce(name: &str) -> OutputContent {
    OutputContent::Token(TokenAnnouncement { metadata: metadata(name) })
}

fn id(name: &str, layer: Layer) -> TokenId {
    metadata(name).identifier(NETWORK, layer)
}

fn count(chain: &Chain, counter: Counter) -> u64 {
    chain.state.get::<Counters>(&(counter as u8)).unwrap().unwrap_or(0)
}

#[test]
fn an_announcement_is_known_under_the_identifier_of_every_key() {
    let mut chain =
        Chain::with(&[("alpha", &[("alpha", 0), ("later", 1_000_000)]), ("beta", &[("beta", 7)])]);
    let lines = chain.one(Tx::new("t").output(2, announce("Coin")));
    assert_eq!(kinds(&lines), ["token"]);
    assert_eq!(last_words(&lines, "token"), ["2"]);
    let layers = ["alpha", "later", "beta"].map(|name| Layer::Spark(key(name)));
    for layer in layers.into_iter().chain([Layer::L1]) {
        let record = chain.state.get::<Tokens>(&id("Coin", layer)).unwrap().unwrap();
        assert_eq!(record.metadata, Some(metadata("Coin")));
        assert_eq!((record.layer, record.announced_as), (Some(layer), Some(id("Coin", Layer::L1))));
    }
}

#[test]
fn the_first_announcement_of_an_identifier_counts() {
    let mut chain = Chain::new();
    chain.one(Tx::new("t").output(0, announce("Coin")));
    assert!(chain.one(Tx::new("u").output(0, announce("Coin"))).is_empty());
    assert_eq!(count(&chain, Counter::RepeatedToken), 1);
}

#[test]
fn the_first_well_formed_announcement_of_a_transaction_counts_even_if_it_is_a_repetition() {
    let mut chain = Chain::new();
    let malformed = OutputContent::Malformed { kind: MalformedKind::Token, reason: "broken".into() };
    let tx = Tx::new("t").output(0, malformed).output(1, announce("Coin")).output(2, announce("Other"));
    assert_eq!(last_words(&chain.one(tx), "token"), ["1"]);
    let tx = Tx::new("u").output(0, announce("Coin")).output(1, announce("Other"));
    assert!(chain.one(tx).is_empty());
    assert_eq!(count(&chain, Counter::SecondTokenOfTransaction), 2);
    assert_eq!(count(&chain, Counter::MalformedToken), 1);
}

#[test]
fn kinds_of_the_older_protocol_are_counted_by_kind() {
    let mut chain = Chain::new();
    let tx =
        (1..=6u8).chain([6]).fold(Tx::new("t"), |tx, k| tx.output(u32::from(k), OutputContent::Legacy(k)));
    assert!(chain.one(tx).is_empty());
    assert_eq!([Counter::Legacy1, Counter::Legacy6].map(|c| count(&chain, c)), [1, 2]);
}

#[test]
fn the_list_of_malformed_messages_is_bounded() {
    let mut chain = Chain::new();
    let reason = |n: u32| OutputContent::Malformed { kind: MalformedKind::Withdrawal, reason: n.to_string() };
    let total = u32::from(Notice::KEPT) + 5;
    chain.one((0..total).fold(Tx::new("t"), |tx, n| tx.output(n, reason(n))));
    let rows = Notices::rows(chain.state.changes());
    assert_eq!(rows.len(), usize::from(Notice::KEPT));
    let reasons: Vec<_> = rows.values().map(|c| c.after.as_ref().unwrap().reason.clone()).collect();
    assert_eq!((reasons[4].as_str(), reasons[5].as_str()), ("1004", "5"), "the oldest are replaced");
    assert_eq!(count(&chain, Counter::MalformedWithdrawal), u64::from(total));
}

#[test]
fn a_snapshot_teaches_metadata_when_it_activates_and_not_when_it_fails() {
    let mut chain = Chain::new();
    chain.empty(1);
    let token = id("Coin", Layer::Spark(key("alpha")));
    let mut ttxo = ttxo(1, "anna", 5);
    ttxo.token = token;
    let full = ChunkToken::Full { id: token, metadata: metadata("Coin"), layer: Layer::Spark(key("alpha")) };
    let chunks = vec![Chunk { tokens: vec![full], created: vec![ttxo], spent: vec![] }.encode()];
    let mut manifest = chain.manifest(SnapshotKind::Full, 1, &chunks, &[ttxo]);
    manifest.count = 2;
    chain.one(Tx::new("fails").snapshot(&sign(&manifest, chunks.clone())));
    assert_eq!(chain.state.get::<Tokens>(&token).unwrap(), None);
    let manifest = chain.manifest(SnapshotKind::Full, 2, &chunks, &[ttxo]);
    chain.one(Tx::new("activates").snapshot(&sign(&manifest, chunks)));
    let record = chain.state.get::<Tokens>(&token).unwrap().unwrap();
    assert_eq!((record.metadata, record.announced_as), (Some(metadata("Coin")), None));
    assert_eq!(chain.state.get::<Supply>(&(token, EntityIndex(0))).unwrap(), Some(Amount(5)));
    chain.one(Tx::new("t").output(0, announce("Coin")));
    let record = chain.state.get::<Tokens>(&token).unwrap().unwrap();
    assert_eq!(record.announced_as, Some(id("Coin", Layer::L1)), "an announcement later is noted");
}

#[test]
fn a_token_known_by_its_identifier_alone_has_no_metadata() {
    let mut chain = Chain::new();
    chain.activate(1, &[ttxo(1, "anna", 5)]);
    let record = chain.state.get::<Tokens>(&token(1)).unwrap().unwrap();
    assert_eq!((record.metadata, record.layer, record.announced_as), (None, None, None));
}
