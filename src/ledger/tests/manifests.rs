//! Acceptance of manifests, equivocation, the limit on pending ones, chunks.

use super::scenario::*;
use crate::ledger::records::Counter;
use crate::ledger::tables::*;
use crate::ledger::view::View;
use crate::protocol::Height;
use crate::protocol::manifest::{Manifest, SignedManifest, SnapshotKind};

/// A manifest without chunks for an empty set; never ready, because it is a delta on nothing.
fn waiting(chain: &Chain, sequence: u64) -> Manifest {
    let mut manifest = chain.manifest(SnapshotKind::Delta, sequence, &[], &[]);
    manifest.parent = Some(crate::protocol::ManifestId([7; 32]));
    manifest
}

#[test]
fn the_first_four_checks_count_and_store_nothing() {
    type Spoil = fn(&mut Manifest);
    let cases: [(&str, Counter, Spoil); 2] = [
        ("wrong network", Counter::WrongNetwork, |m| m.network_magic = 1),
        ("unknown entity", Counter::UnknownEntity, |m| m.entity = key("beta")),
    ];
    for (name, counter, spoil) in cases {
        let mut chain = Chain::new();
        chain.empty(1);
        let mut manifest = waiting(&chain, 1);
        spoil(&mut manifest);
        assert!(chain.one(Tx::new("t").manifest(&sign(&manifest, vec![]))).is_empty(), "{name}");
        assert_eq!(chain.state.get::<Counters>(&(counter as u8)).unwrap(), Some(1), "{name}");
        assert!(Snapshots::rows(chain.state.changes()).is_empty(), "{name}");
    }
}

#[test]
fn a_malformed_manifest_and_a_bad_signature_are_counted() {
    let mut chain = Chain::new();
    chain.empty(1);
    let forged = SignedManifest::sign(&waiting(&chain, 1), &keypair("somebody else"));
    let lines = chain.one(Tx::new("t").manifest_body(vec![0x80]).manifest_body(forged.encode()));
    assert!(lines.is_empty());
    for counter in [Counter::MalformedManifest, Counter::BadSignature] {
        assert_eq!(chain.state.get::<Counters>(&(counter as u8)).unwrap(), Some(1), "{counter:?}");
    }
}

#[test]
fn each_reason_to_reject() {
    type Spoil = fn(&mut Manifest);
    let cases: [(&str, Spoil); 7] = [
        ("bad_anchor", |m| m.anchor_height = u64::from(START) - 1),
        ("bad_anchor", |m| m.anchor_height += 1),
        ("bad_anchor", |m| m.anchor_height = u64::MAX),
        ("bad_anchor", |m| m.anchor_hash = [9; 32]),
        ("stale_sequence", |m| m.sequence = 5),
        ("sequence_gap", |m| m.sequence = 1_000_006),
        ("missing_parent", |m| m.parent = None),
    ];
    for (reason, spoil) in cases {
        let mut chain = Chain::new();
        chain.activate(5, &[]);
        let mut manifest = waiting(&chain, 6);
        spoil(&mut manifest);
        let lines = chain.one(Tx::new("t").manifest(&sign(&manifest, vec![])));
        assert_eq!(last_words(&lines, "manifest_rejected"), [reason]);
    }
}

#[test]
fn the_first_failing_check_names_the_reason() {
    let mut chain = Chain::new();
    chain.activate(5, &[]);
    let mut manifest = waiting(&chain, 5);
    manifest.anchor_hash = [9; 32];
    let lines = chain.one(Tx::new("t").manifest(&sign(&manifest, vec![])));
    assert_eq!(last_words(&lines, "manifest_rejected"), ["bad_anchor"]);
}

#[test]
fn the_bounds_of_a_sequence_are_inclusive() {
    let mut chain = Chain::new();
    chain.empty(1);
    for (sequence, accepted) in [(0, true), (1_000_000, true), (1_000_001, false)] {
        let lines = chain.one(Tx::new("t").manifest(&sign(&waiting(&chain, sequence), vec![])));
        assert_eq!(kinds(&lines), [if accepted { "manifest" } else { "manifest_rejected" }], "{sequence}");
    }
}

#[test]
fn a_manifest_counts_once() {
    let mut chain = Chain::new();
    chain.empty(1);
    let snapshot = sign(&waiting(&chain, 1), vec![]);
    chain.one(Tx::new("t").manifest(&snapshot));
    let lines = chain.one(Tx::new("u").manifest(&snapshot));
    assert_eq!(last_words(&lines, "manifest_rejected"), ["duplicate_manifest"]);
}

#[test]
fn equivocation_is_recorded_once_per_pair_and_also_of_a_rejected_manifest() {
    let mut chain = Chain::new();
    chain.empty(1);
    let first = sign(&waiting(&chain, 1), vec![]);
    let mut other = waiting(&chain, 1);
    other.as_of_ms += 1;
    let second = sign(&other, vec![]);
    other.anchor_hash = [9; 32];
    let rejected = sign(&other, vec![]);
    assert_eq!(kinds(&chain.one(Tx::new("a").manifest(&first))), ["manifest"]);
    assert_eq!(kinds(&chain.one(Tx::new("b").manifest(&second))), ["manifest", "equivocation"]);
    assert_eq!(kinds(&chain.one(Tx::new("c").manifest(&rejected))), ["manifest_rejected", "equivocation"]);
    for again in [&first, &second, &rejected] {
        assert_eq!(kinds(&chain.one(Tx::new("d").manifest(again))), ["manifest_rejected"]);
    }
}

#[test]
fn a_manifest_rejected_before_the_first_accepted_of_its_sequence_is_evidence_later() {
    let mut chain = Chain::new();
    chain.empty(1);
    let mut manifest = waiting(&chain, 1);
    manifest.anchor_hash = [9; 32];
    let early = sign(&manifest, vec![]);
    assert_eq!(kinds(&chain.one(Tx::new("a").manifest(&early))), ["manifest_rejected"]);
    chain.one(Tx::new("b").manifest(&sign(&waiting(&chain, 1), vec![])));
    assert_eq!(kinds(&chain.one(Tx::new("c").manifest(&early))), ["manifest_rejected", "equivocation"]);
}

#[test]
fn the_65th_pending_manifest_supersedes_the_lowest_sequence_even_itself() {
    let mut chain = Chain::new();
    chain.empty(1);
    let snapshots: Vec<_> = (10..75).map(|sequence| sign(&waiting(&chain, sequence), vec![])).collect();
    let tx = snapshots[..64].iter().fold(Tx::new("many"), |tx, s| tx.manifest(s));
    assert!(chain.one(tx).iter().all(|line| line.starts_with("manifest ")));
    let lines = chain.one(Tx::new("one more").manifest(&snapshots[64]));
    assert_eq!(kinds(&lines), ["manifest", "snapshot_superseded"]);
    assert!(lines[1].ends_with(&snapshots[0].id().to_string()));
    let lowest = sign(&waiting(&chain, 1), vec![]);
    let lines = chain.one(Tx::new("lowest").manifest(&lowest));
    assert_eq!(kinds(&lines), ["manifest", "snapshot_superseded"]);
    assert!(lines[1].ends_with(&lowest.id().to_string()));
}

#[test]
fn of_equal_sequences_the_limit_supersedes_the_first_accepted() {
    let mut chain = Chain::new();
    chain.empty(1);
    let twin = |as_of_ms| {
        let mut manifest = waiting(&chain, 1);
        manifest.as_of_ms = as_of_ms;
        sign(&manifest, vec![])
    };
    let mut snapshots = vec![twin(1), twin(2)];
    snapshots.extend((10..73).map(|sequence| sign(&waiting(&chain, sequence), vec![])));
    let tx = snapshots.iter().fold(Tx::new("many"), |tx, s| tx.manifest(s));
    let lines = chain.one(tx);
    let superseded: Vec<_> = lines.iter().filter(|line| line.starts_with("snapshot_superseded")).collect();
    assert_eq!(superseded.len(), 1);
    assert!(superseded[0].ends_with(&snapshots[0].id().to_string()));
}

#[test]
fn a_key_signs_only_while_it_is_valid() {
    let mut chain = Chain::with(&[("alpha", &[("old", 0), ("alpha", START + 3)])]);
    chain.empty(1);
    let early = sign(&waiting(&chain, 1), vec![]);
    assert!(chain.one(Tx::new("early").manifest(&early)).is_empty(), "not valid yet at height {}", START + 1);
    chain.empty(1);
    let lines = chain.one(Tx::new("in time").manifest(&early));
    assert_eq!(kinds(&lines), ["manifest"]);
    assert!(lines[0].contains(&key("old").to_string()), "events name the entity by its first key");
}

#[test]
fn a_chunk_counts_only_after_a_manifest_that_lists_it_and_only_once() {
    let mut chain = Chain::new();
    chain.empty(1);
    let (a, b) = (ttxo(1, "anna", 5), ttxo(2, "anna", 6));
    let chunks: Vec<_> = [a, b]
        .map(|t| crate::protocol::chunk::Chunk { created: vec![t], ..Default::default() }.encode())
        .into();
    let snapshot = sign(&chain.manifest(SnapshotKind::Full, 1, &chunks, &[a, b]), chunks.clone());
    assert!(chain.one(Tx::new("too early").chunk(&chunks[0])).is_empty());
    assert_eq!(kinds(&chain.one(Tx::new("m").manifest(&snapshot))), ["manifest"]);
    assert_eq!(kinds(&chain.one(Tx::new("c").chunk(&chunks[1]).chunk(&chunks[1]))), ["chunk"]);
    assert_eq!(kinds(&chain.one(Tx::new("d").chunk(&chunks[0]))), ["chunk", "snapshot"]);
    assert_eq!(chain.state.get::<Counters>(&(Counter::UnwantedChunk as u8)).unwrap(), Some(2));
    assert_eq!(chain.balance("anna"), (11, 0, 0));
    let held = ChunkBodies::rows(chain.state.changes()).values().filter(|c| c.after.is_some()).count();
    assert_eq!(held, 0, "bodies are dropped when the last manifest that holds them is decided");
}

#[test]
fn one_chunk_serves_every_pending_manifest_in_the_order_of_acceptance() {
    let mut chain = Chain::with(&[("alpha", &[("alpha", 0)]), ("beta", &[("beta", 0)])]);
    chain.empty(1);
    let set = [ttxo(1, "anna", 5)];
    let alpha = chain.full(1, &set);
    let mut manifest = chain.manifest(SnapshotKind::Full, 1, &alpha.chunks, &set);
    manifest.entity = key("beta");
    let beta = SignedManifest::sign(&manifest, &keypair("beta"));
    chain.one(Tx::new("m").manifest_body(beta.encode()).manifest(&alpha));
    let lines = chain.one(Tx::new("c").chunk(&alpha.chunks[0]));
    assert_eq!(kinds(&lines), ["chunk", "chunk", "snapshot", "snapshot"]);
    assert!(lines[0].contains(&beta.id.to_string()) && lines[2].contains(&key("beta").to_string()));
    assert!(lines[1].contains(&alpha.id().to_string()) && lines[3].contains(&key("alpha").to_string()));
}

#[test]
fn a_manifest_anchors_in_any_earlier_block_from_the_start_height_on() {
    let mut chain = Chain::new();
    chain.empty(1);
    let anchored_at_start = sign(&waiting(&chain, 1), vec![]);
    assert_eq!(anchored_at_start.signed.manifest.anchor_height, u64::from(START));
    chain.empty(4);
    assert_eq!(kinds(&chain.one(Tx::new("t").manifest(&anchored_at_start))), ["manifest"]);
    assert_eq!(chain.tip().height, Height(START + 5));
}
