//! That the random chains bring about what the rules speak of: every event, every reason, and the
//! places where rules meet. A generator that stops doing so would let any ledger pass.

use std::collections::{BTreeMap, BTreeSet};

use btkn_indexer::protocol::manifest::SnapshotKind;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::plan::{Step, plan};
use super::rules::{Oracle, Verdict};
use super::{Run, build};

/// What must be seen in the chains of a fixed seed.
const REQUIRED: &[&str] = &[
    "chunk",
    "chunk for several entities",
    "chunk for several manifests",
    "counted bad_signature",
    "counted foreign_withdrawal",
    "counted legacy",
    "counted malformed_manifest",
    "counted malformed_token",
    "counted malformed_withdrawal",
    "counted token_without_effect",
    "counted unknown_entity",
    "counted unwanted_chunk",
    "counted wrong_network",
    "delta activated",
    "equivocation",
    "equivocation of a rejected manifest",
    "exit claimed",
    "exit invalid:already_exited",
    "exit invalid:duplicate_vout",
    "exit invalid:insufficient_bond",
    "exit invalid:mixed_owners",
    "exit invalid:output_taken",
    "exit invalid:script_mismatch",
    "exit invalid:spent_on_spark",
    "exit invalid:vout_out_of_range",
    "exit matured",
    "exit of a TTXO that another exit was reinstated for",
    "exit pending",
    "exit revoked",
    "exit unresolved",
    "exit_matured",
    "exit_reinstated",
    "exit_reinstated at once",
    "exit_spent claimed",
    "exit_spent revoked",
    "late verdict: invalid",
    "late verdict: valid",
    "limit supersedes the new manifest",
    "manifest",
    "manifest_rejected bad_anchor",
    "manifest_rejected duplicate_manifest",
    "manifest_rejected missing_parent",
    "manifest_rejected sequence_gap",
    "manifest_rejected stale_sequence",
    "one output of two exits spent",
    "reinstated at the anchor",
    "revoked above the anchor",
    "several snapshots by one message",
    "snapshot",
    "snapshot after a failed one",
    "snapshot with resurrected",
    "snapshot_failed amount_overflow",
    "snapshot_failed count_mismatch",
    "snapshot_failed duplicate_ttxo",
    "snapshot_failed malformed_chunk",
    "snapshot_failed mutated_ttxo",
    "snapshot_failed root_mismatch",
    "snapshot_failed spent_in_full",
    "snapshot_failed unknown_spent",
    "snapshot_superseded",
    "spent where it would mature",
    "sum at the limit",
    "token",
    "tombstone declared again",
];

/// What the chains of one seed show, by how often.
fn seen(chains: usize) -> BTreeMap<String, usize> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut seen = Seen::default();
    for _ in 0..chains {
        let plan = plan().new_tree(&mut runner).expect("a plan").current();
        let mut run = Run::new(Oracle::new(build::config(plan.start, &plan.entities)), 0);
        for step in &plan.steps {
            // Reorganisations only forget what happened.
            if let Step::Block(txs) = step {
                run.oracle_block(txs);
                seen.balances(run.oracle());
            }
        }
        seen.lines(run.oracle());
        seen.counters(run.oracle());
        seen.exits(run.oracle());
        seen.declarations(run.oracle());
    }
    seen.0
}

#[derive(Default)]
struct Seen(BTreeMap<String, usize>);

impl Seen {
    fn see(&mut self, what: &str) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    fn lines(&mut self, oracle: &Oracle) {
        for block in &oracle.blocks {
            let lines: Vec<Vec<&str>> = block.events.lines().map(|line| line.split(' ').collect()).collect();
            for words in &lines {
                let last = words[words.len() - 1];
                match words[0] {
                    kind @ ("exit" | "exit_spent" | "manifest_rejected" | "snapshot_failed") => {
                        self.see(&format!("{kind} {last}"));
                    }
                    kind => self.see(kind),
                }
                if words[0] == "snapshot" && last != "0" {
                    self.see("snapshot with resurrected");
                }
            }
            for pair in lines.windows(2) {
                self.pair(oracle, &pair[0], &pair[1]);
            }
        }
    }

    /// Two lines that follow one another.
    fn pair(&mut self, oracle: &Oracle, first: &[&str], second: &[&str]) {
        match (first[0], second[0]) {
            ("manifest", "snapshot_superseded") if first[3] == second[3] => {
                self.see("limit supersedes the new manifest");
            }
            ("manifest_rejected", "equivocation") => self.see("equivocation of a rejected manifest"),
            ("chunk", "chunk") if first[3] == second[3] => {
                self.see("chunk for several manifests");
                let entity =
                    |id: &str| oracle.accepted.iter().find(|a| a.id.to_string() == id).map(|a| a.entity);
                if entity(first[1]) != entity(second[1]) {
                    self.see("chunk for several entities");
                }
            }
            ("snapshot_failed", "snapshot") => self.see("snapshot after a failed one"),
            ("exit", "exit_reinstated") if first[1] == second[1] => self.see("exit_reinstated at once"),
            ("exit_spent", "exit_spent") if first[2] == second[2] => {
                self.see("one output of two exits spent")
            }
            _ => {}
        }
    }

    fn counters(&mut self, oracle: &Oracle) {
        for name in oracle.counters.keys() {
            self.see(&format!("counted {name}"));
        }
    }

    fn exits(&mut self, oracle: &Oracle) {
        let mut reinstated = BTreeSet::new();
        for (a, announcement) in oracle.announcements.iter().enumerate() {
            for (r, record) in announcement.records.iter().enumerate() {
                let exited = (announcement.entity, record.ttxo);
                let spent = oracle.spend_of(a, r);
                match record.verdict {
                    Verdict::Unresolved => {}
                    Verdict::Invalid { judged, .. } if judged > announcement.at.height => {
                        self.see("late verdict: invalid");
                    }
                    Verdict::Invalid { .. } => {}
                    Verdict::Valid { judged, reinstated: by } => {
                        if judged > announcement.at.height {
                            self.see("late verdict: valid");
                        }
                        if reinstated.contains(&exited) {
                            self.see("exit of a TTXO that another exit was reinstated for");
                        }
                        if spent.is_some_and(|spent| {
                            judged < spent.height && u64::from(spent.height) == oracle.maturity(a, r)
                        }) {
                            self.see("spent where it would mature");
                        }
                        if by.is_some() {
                            reinstated.insert(exited);
                        }
                        self.anchors(oracle, a, r);
                    }
                }
            }
        }
    }

    /// How the anchors of snapshots lie to the block that revoked a valid exit.
    fn anchors(&mut self, oracle: &Oracle, a: usize, r: usize) {
        let announcement = &oracle.announcements[a];
        let record = &announcement.records[r];
        let Verdict::Valid { reinstated, .. } = record.verdict else { return };
        let Some(spent) = oracle.spend_of(a, r).filter(|_| oracle.exit_state(a, r, 0) == "revoked") else {
            return;
        };
        for activation in
            oracle.activations.iter().filter(|activation| activation.entity == announcement.entity)
        {
            let manifest = &oracle.accepted[activation.accepted].manifest;
            let declares = activation.set.contains_key(&record.ttxo) && activation.at.height >= spent.height;
            if reinstated == Some(manifest.sequence) && manifest.anchor_height == u64::from(spent.height) {
                self.see("reinstated at the anchor");
            }
            if declares && manifest.anchor_height + 1 == u64::from(spent.height) {
                self.see("revoked above the anchor");
            }
        }
    }

    fn declarations(&mut self, oracle: &Oracle) {
        for pair in oracle.activations.windows(2) {
            if pair[0].at == pair[1].at {
                self.see("several snapshots by one message");
            }
        }
        for activation in &oracle.activations {
            if oracle.accepted[activation.accepted].manifest.kind == SnapshotKind::Delta {
                self.see("delta activated");
            }
        }
        for entity in 0..oracle.config.entities.len() {
            for outpoint in oracle.ever(entity).into_keys() {
                if oracle.changes(entity, outpoint).len() > 2 {
                    self.see("tombstone declared again");
                }
            }
        }
    }

    fn balances(&mut self, oracle: &Oracle) {
        if oracle.balances().values().flatten().any(|sum| *sum == u128::MAX) {
            self.see("sum at the limit");
        }
    }
}

#[test]
fn chains_show_what_the_rules_speak_of() {
    let seen = seen(400);
    let missing: Vec<_> = REQUIRED.iter().filter(|what| !seen.contains_key(**what)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}\nseen: {seen:#?}");
}
