//! Activation: each check, the states of snapshots, tombstones, supply, superseding.

use super::scenario::*;
use crate::ledger::keys::EntityIndex;
use crate::ledger::reasons::FailReason;
use crate::ledger::records::{SnapshotRecord, SnapshotState};
use crate::ledger::tables::*;
use crate::ledger::view::View;
use crate::protocol::chunk::Chunk;
use crate::protocol::manifest::SnapshotKind;
use crate::protocol::ttxo::Ttxo;
use crate::protocol::{Amount, ManifestId};

const ALPHA: EntityIndex = EntityIndex(0);

fn record(chain: &Chain, id: ManifestId) -> SnapshotRecord {
    chain.state.get::<Snapshots>(&id).unwrap().unwrap()
}

fn chunk(created: &[Ttxo], spent: &[Ttxo]) -> Vec<u8> {
    let spent = spent.iter().map(|ttxo| ttxo.outpoint).collect();
    Chunk { created: created.to_vec(), spent, ..Chunk::default() }.encode()
}

/// A state in which `a` and `b` are declared; then a snapshot of this kind, chunks and resulting set.
fn outcome(kind: SnapshotKind, chunks: Vec<Vec<u8>>, set: &[Ttxo]) -> Vec<String> {
    let mut chain = Chain::new();
    let parent = chain.activate(1, &[ttxo(1, "anna", 10), ttxo(2, "ben", 20)]);
    let mut manifest = chain.manifest(kind, 2, &chunks, set);
    manifest.parent = Some(parent);
    let before = (chain.balance("anna"), chain.balance("ben"));
    let snapshot = sign(&manifest, chunks);
    let lines = chain.one(Tx::new("t").snapshot(&snapshot));
    let active = chain.state.get::<Active>(&ALPHA).unwrap().unwrap().manifest;
    match record(&chain, snapshot.id()).state {
        SnapshotState::Failed(reason) => {
            assert_eq!(last_words(&lines, "snapshot_failed"), [reason.as_str()]);
            assert_eq!(active, parent, "a failed snapshot changes nothing else");
            assert_eq!(before, (chain.balance("anna"), chain.balance("ben")));
        }
        state => assert_eq!((state, active), (SnapshotState::Active, snapshot.id())),
    }
    lines
}

#[test]
fn each_reason_to_fail() {
    use SnapshotKind::{Delta, Full};
    let (a, b, c) = (ttxo(1, "anna", 10), ttxo(2, "ben", 20), ttxo(3, "cleo", 30));
    let mutated = Ttxo { amount: Amount(11), ..a };
    let huge = Ttxo { amount: Amount(u128::MAX), ..c };
    type Case = (FailReason, SnapshotKind, Vec<Vec<u8>>, Vec<Ttxo>);
    let cases: [Case; 13] = [
        (FailReason::MalformedChunk, Full, vec![vec![0xff]], vec![]),
        (FailReason::SpentInFull, Full, vec![chunk(&[a], &[b])], vec![a]),
        (FailReason::DuplicateTtxo, Full, vec![chunk(&[a, a], &[])], vec![a]),
        (FailReason::DuplicateTtxo, Full, vec![chunk(&[a, c], &[]), chunk(&[a], &[])], vec![a, c]),
        (FailReason::DuplicateTtxo, Delta, vec![chunk(&[a], &[])], vec![a, b]),
        (FailReason::DuplicateTtxo, Delta, vec![chunk(&[a], &[a])], vec![a, b]),
        (FailReason::UnknownSpent, Delta, vec![chunk(&[], &[c])], vec![a, b]),
        (FailReason::UnknownSpent, Delta, vec![chunk(&[], &[a, a])], vec![b]),
        (FailReason::MutatedTtxo, Full, vec![chunk(&[mutated, b], &[])], vec![mutated, b]),
        (FailReason::AmountOverflow, Delta, vec![chunk(&[huge], &[])], vec![a, b, huge]),
        (FailReason::AmountOverflow, Full, vec![chunk(&[a, huge], &[])], vec![a, huge]),
        (FailReason::CountMismatch, Delta, vec![chunk(&[c], &[])], vec![a, b]),
        (FailReason::RootMismatch, Delta, vec![chunk(&[], &[a])], vec![a]),
    ];
    for (reason, kind, chunks, set) in cases {
        let lines = outcome(kind, chunks, &set);
        assert_eq!(last_words(&lines, "snapshot_failed"), [reason.as_str()], "{kind:?}");
    }
}

#[test]
fn the_first_failing_check_names_the_reason() {
    let (a, b, c) = (ttxo(1, "anna", 10), ttxo(2, "ben", 20), ttxo(3, "cleo", 30));
    let mutated = Ttxo { amount: Amount(11), ..a };
    let lines = outcome(SnapshotKind::Full, vec![chunk(&[mutated, c], &[b]), vec![0xff]], &[]);
    assert_eq!(last_words(&lines, "snapshot_failed"), ["malformed_chunk"], "whatever an earlier chunk does");
    let lines = outcome(SnapshotKind::Delta, vec![chunk(&[mutated, c], &[ttxo(9, "x", 1)])], &[]);
    assert_eq!(last_words(&lines, "snapshot_failed"), ["duplicate_ttxo"]);
}

#[test]
fn a_total_of_exactly_2_128_minus_1_is_allowed_and_what_is_spent_makes_room() {
    let (b, all) = (ttxo(2, "ben", 20), ttxo(3, "cleo", u128::MAX - 20));
    let lines = outcome(SnapshotKind::Delta, vec![chunk(&[all], &[ttxo(1, "anna", 10)])], &[b, all]);
    assert_eq!(kinds(&lines), ["manifest", "chunk", "snapshot"]);
}

#[test]
fn a_full_snapshot_drops_what_it_does_not_list_and_keeps_the_rest() {
    let mut chain = Chain::new();
    let (a, b, c) = (ttxo(1, "anna", 10), ttxo(2, "ben", 20), ttxo(3, "cleo", 30));
    let first = chain.activate(1, &[a, b]);
    let second = chain.activate(2, &[b, c]);
    assert_eq!([chain.balance("anna").0, chain.balance("ben").0, chain.balance("cleo").0], [0, 20, 30]);
    assert_eq!(record(&chain, first).state, SnapshotState::Replaced);
    assert_eq!(record(&chain, second).state, SnapshotState::Active);
    assert_eq!(chain.state.get::<Supply>(&(token(1), ALPHA)).unwrap(), Some(Amount(50)));
    let tombstone = chain.state.get::<Ttxos>(&(ALPHA, a.outpoint)).unwrap().unwrap();
    assert!(!tombstone.is_declared() && tombstone.history.len() == 2);
    chain.activate(3, &[a, b, c]);
    assert_eq!(chain.balance("anna").0, 10, "it can be declared again, with the same fields");
}

#[test]
fn a_tombstone_declared_again_with_another_field_fails() {
    let mut chain = Chain::new();
    let a = ttxo(1, "anna", 10);
    chain.activate(1, &[a]);
    chain.activate(2, &[]);
    let snapshot = chain.full(3, &[Ttxo { bond: BOND + 1, ..a }]);
    let lines = chain.one(Tx::new("t").snapshot(&snapshot));
    assert_eq!(last_words(&lines, "snapshot_failed"), ["mutated_ttxo"]);
}

#[test]
fn what_only_a_failed_snapshot_declared_was_never_declared() {
    let mut chain = Chain::new();
    chain.activate(1, &[]);
    let a = ttxo(1, "anna", 10);
    let mut manifest = chain.full(2, &[a]).signed.manifest;
    manifest.count = 7;
    let failed = sign(&manifest, vec![chunk(&[a], &[])]);
    chain.one(Tx::new("t").snapshot(&failed));
    let other = Ttxo { amount: Amount(11), ..a };
    chain.activate(3, &[other]);
    assert_eq!(chain.balance("anna").0, 11);
}

#[test]
fn an_empty_snapshot_activates_with_its_manifest() {
    let mut chain = Chain::new();
    chain.empty(1);
    let snapshot = sign(&chain.manifest(SnapshotKind::Full, 1, &[], &[]), vec![]);
    assert_eq!(kinds(&chain.one(Tx::new("t").manifest(&snapshot))), ["manifest", "snapshot"]);
}

#[test]
fn deltas_wait_for_their_parents_and_then_follow_one_after_the_other() {
    let mut chain = Chain::new();
    chain.empty(1);
    let (a, b, c) = (ttxo(1, "anna", 10), ttxo(2, "ben", 20), ttxo(3, "cleo", 30));
    let full = chain.full(1, &[a]);
    let second = chain.delta(2, full.id(), &[b], &[], &[a, b]);
    let third = chain.delta(3, second.id(), &[c], &[a], &[b, c]);
    assert_eq!(kinds(&chain.one(Tx::new("3").snapshot(&third))), ["manifest", "chunk"]);
    assert_eq!(kinds(&chain.one(Tx::new("2").snapshot(&second))), ["manifest", "chunk"]);
    let lines = chain.one(Tx::new("1").snapshot(&full));
    assert_eq!(kinds(&lines), ["manifest", "chunk", "snapshot", "snapshot", "snapshot"]);
    assert_eq!([chain.balance("anna").0, chain.balance("ben").0, chain.balance("cleo").0], [0, 20, 30]);
}

#[test]
fn of_two_ready_ones_the_lowest_sequence_goes_first_and_both_activate() {
    let mut chain = Chain::new();
    let parent = chain.activate(1, &[ttxo(1, "anna", 10)]);
    let shared = ttxo(2, "ben", 20);
    let low = chain.delta(2, parent, &[shared], &[], &[ttxo(1, "anna", 10), shared]);
    let high = {
        let mut manifest = chain.manifest(SnapshotKind::Full, 3, &low.chunks, &[shared]);
        manifest.parent = None;
        sign(&manifest, low.chunks.clone())
    };
    chain.one(Tx::new("m").manifest(&high).manifest(&low));
    let lines = chain.one(Tx::new("c").chunk(&low.chunks[0]));
    assert_eq!(kinds(&lines), ["chunk", "chunk", "snapshot", "snapshot"]);
    assert!(lines[2].contains(&low.id().to_string()) && lines[3].contains(&high.id().to_string()));
}

#[test]
fn an_activation_supersedes_pending_ones_at_or_below_it_by_sequence_then_acceptance() {
    let mut chain = Chain::new();
    chain.empty(1);
    let waiting = |sequence, as_of_ms| {
        let mut manifest = chain.manifest(SnapshotKind::Delta, sequence, &[], &[]);
        (manifest.parent, manifest.as_of_ms) = (Some(ManifestId([7; 32])), as_of_ms);
        sign(&manifest, vec![])
    };
    let pending = [waiting(5, 1), waiting(4, 2), waiting(4, 3), waiting(6, 4)];
    chain.one(pending.iter().fold(Tx::new("m"), |tx, s| tx.manifest(s)));
    let snapshot = chain.full(5, &[]);
    let lines = chain.one(Tx::new("t").snapshot(&snapshot));
    let superseded = last_words(&lines, "snapshot_superseded");
    let expected = [&pending[1], &pending[2], &pending[0]].map(|s| s.id().to_string());
    assert_eq!(superseded, expected);
    assert_eq!(record(&chain, pending[3].id()).state, SnapshotState::Pending);
    assert_eq!(record(&chain, pending[1].id()).state, SnapshotState::Superseded);
}

#[test]
fn of_two_manifests_of_one_sequence_the_first_to_activate_wins() {
    let mut chain = Chain::new();
    chain.empty(1);
    let (a, b) = (chain.full(1, &[ttxo(1, "anna", 1)]), chain.full(1, &[ttxo(2, "ben", 2)]));
    chain.one(Tx::new("m").manifest(&a).manifest(&b));
    let lines = chain.one(Tx::new("c").chunk(&b.chunks[0]));
    assert_eq!(kinds(&lines), ["chunk", "snapshot", "snapshot_superseded"]);
    assert_eq!((chain.balance("anna").0, chain.balance("ben").0), (0, 2));
    assert!(chain.one(Tx::new("late").chunk(&a.chunks[0])).is_empty(), "nobody waits for it any more");
}

#[test]
fn entities_share_nothing() {
    let mut chain = Chain::with(&[("alpha", &[("alpha", 0)]), ("beta", &[("beta", 0)])]);
    let a = ttxo(1, "anna", 10);
    chain.activate(1, &[a]);
    let mutated = Ttxo { amount: Amount(99), ..a };
    let mut manifest = chain.full(1, &[mutated]).signed.manifest;
    manifest.entity = key("beta");
    let body = crate::protocol::manifest::SignedManifest::sign(&manifest, &keypair("beta")).encode();
    let lines = chain.one(Tx::new("b").manifest_body(body).chunk(&chunk(&[mutated], &[])));
    assert_eq!(kinds(&lines), ["manifest", "chunk", "snapshot"], "not mutated: another entity's TTXO");
}
