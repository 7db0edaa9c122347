//! Exits: each reason, each state, late judgement, reinstatement, balances along the way.

use super::scenario::*;
use crate::ledger::keys::EntityIndex;
use crate::ledger::records::Counter;
use crate::ledger::tables::*;
use crate::ledger::view::View;
use crate::protocol::ttxo::Ttxo;
use crate::protocol::withdrawal_output::SpendPath::{Key, Script};
use crate::scan::messages::BondOutput;

const ALPHA: EntityIndex = EntityIndex(0);

/// A chain in which anna owns TTXOs 1 and 2, and ben TTXO 3.
fn declared() -> (Chain, [Ttxo; 3]) {
    let mut chain = Chain::new();
    let set = [ttxo(1, "anna", 10), ttxo(2, "anna", 20), ttxo(3, "ben", 30)];
    chain.activate(1, &set);
    (chain, set)
}

fn alpha() -> crate::protocol::PubKey {
    key("alpha")
}

fn states(lines: &[String]) -> Vec<&str> {
    last_words(lines, "exit")
}

fn watched(chain: &Chain) -> usize {
    Watched::rows(chain.state.changes()).values().filter(|change| change.after.is_some()).count()
}

#[test]
fn an_exit_matures_after_its_locktime_and_is_claimed() {
    let (mut chain, [a, ..]) = declared();
    let exit = Tx::new("exit").exit(alpha(), &[&a]);
    let txid = exit.txid();
    assert_eq!(states(&chain.one(exit)), ["pending"]);
    assert_eq!(chain.balance("anna"), (20, 10, 0));
    assert!(chain.empty(2).is_empty());
    assert_eq!(kinds(&chain.empty(1)), ["exit_matured"], "in the block at height h + L");
    assert_eq!(chain.balance("anna"), (20, 10, 0));
    let lines = chain.one(Tx::new("claim").spend(txid, 0, Script));
    assert_eq!(last_words(&lines, "exit_spent"), ["claimed"]);
    assert_eq!(chain.balance("anna"), (20, 0, 10));
    assert_eq!(watched(&chain), 0);
    assert!(chain.empty(5).is_empty());
}

#[test]
fn a_key_path_spend_revokes_at_any_height() {
    for blocks_before in [0, 1, 5] {
        let (mut chain, [a, ..]) = declared();
        let exit = Tx::new("exit").exit(alpha(), &[&a]);
        let txid = exit.txid();
        chain.one(exit);
        chain.empty(blocks_before);
        let lines = chain.one(Tx::new("justice").spend(txid, 0, Key));
        assert_eq!(last_words(&lines, "exit_spent"), ["revoked"]);
        assert_eq!(chain.balance("anna"), (20, 0, 0), "revoked is no balance");
        assert!(chain.empty(5).is_empty(), "and does not mature");
    }
}

#[test]
fn an_exit_spent_in_the_block_in_which_it_would_mature_does_not_mature() {
    let (mut chain, [a, ..]) = declared();
    let exit = Tx::new("exit").exit(alpha(), &[&a]);
    let txid = exit.txid();
    chain.one(exit);
    chain.empty(2);
    assert_eq!(kinds(&chain.one(Tx::new("claim").spend(txid, 0, Script))), ["exit_spent"]);
}

#[test]
fn a_spend_in_the_same_block_as_the_announcement_counts() {
    let (mut chain, [a, ..]) = declared();
    let exit = Tx::new("exit").exit(alpha(), &[&a]);
    let txid = exit.txid();
    let lines = chain.block(vec![exit, Tx::new("justice").spend(txid, 0, Key)]);
    assert_eq!(kinds(&lines), ["exit", "exit_spent"]);
}

#[test]
fn an_exit_without_locktime_is_matured_at_once() {
    let mut chain = Chain::new();
    let a = Ttxo { locktime: 0, ..ttxo(1, "anna", 10) };
    chain.activate(1, &[a]);
    assert_eq!(states(&chain.one(Tx::new("exit").exit(alpha(), &[&a]))), ["matured"]);
    assert!(chain.empty(3).is_empty());
}

#[test]
fn each_reason_to_be_invalid() {
    type Records = Vec<(u16, crate::protocol::SparkOutPoint, Option<BondOutput>)>;
    let (a, b, c) = (ttxo(1, "anna", 10), ttxo(2, "anna", 20), ttxo(3, "ben", 30));
    let good = |ttxo: &Ttxo| Some(good_bond(ttxo));
    let cheap = Some(BondOutput { value: BOND - 1, ..good_bond(&a) });
    let other_script = Some(BondOutput { taproot_key: None, ..good_bond(&a) });
    let cases: [(&[&str], Records); 7] = [
        (
            &["invalid:duplicate_vout", "invalid:duplicate_vout"],
            vec![(0, a.outpoint, good(&a)), (0, b.outpoint, good(&b))],
        ),
        (
            &["invalid:mixed_owners", "invalid:mixed_owners"],
            vec![(0, a.outpoint, good(&a)), (1, c.outpoint, good(&c))],
        ),
        (&["pending", "invalid:already_exited"], vec![(0, a.outpoint, good(&a)), (1, a.outpoint, good(&a))]),
        (&["invalid:vout_out_of_range"], vec![(5, a.outpoint, None)]),
        (&["invalid:insufficient_bond"], vec![(0, a.outpoint, cheap)]),
        (&["invalid:script_mismatch"], vec![(0, a.outpoint, other_script)]),
        (&["invalid:script_mismatch", "pending"], vec![(0, a.outpoint, good(&b)), (1, b.outpoint, good(&b))]),
    ];
    for (expected, records) in cases {
        let (mut chain, _) = declared();
        let lines = chain.one(Tx::new("exit").withdraw(alpha(), &records));
        assert_eq!(states(&lines), expected);
        let valid = expected.iter().filter(|state| **state == "pending").count();
        assert_eq!(watched(&chain), valid, "only the outputs of valid exits are watched");
    }
}

#[test]
fn a_bond_above_the_minimum_is_enough() {
    let (mut chain, [a, ..]) = declared();
    let bond = BondOutput { value: BOND + 1, ..good_bond(&a) };
    let lines = chain.one(Tx::new("exit").withdraw(alpha(), &[(0, a.outpoint, Some(bond))]));
    assert_eq!(states(&lines), ["pending"]);
}

#[test]
fn the_first_failing_rule_names_the_reason() {
    let (mut chain, [a, ..]) = declared();
    let bad = BondOutput { value: 0, taproot_key: None };
    let lines = chain.one(Tx::new("exit").withdraw(alpha(), &[(0, a.outpoint, Some(bad))]));
    assert_eq!(states(&lines), ["invalid:insufficient_bond"]);
    chain.activate(2, &[]);
    let lines = chain.one(Tx::new("late").withdraw(alpha(), &[(7, a.outpoint, None)]));
    assert_eq!(states(&lines), ["invalid:spent_on_spark"]);
}

#[test]
fn an_output_backs_one_exit_only() {
    let mut chain = Chain::new();
    // The same keys and terms give two TTXOs the same withdrawal script.
    let a = ttxo(1, "anna", 10);
    let b = Ttxo { outpoint: ttxo(2, "anna", 20).outpoint, ..a };
    chain.activate(1, &[a, b]);
    let tx = Tx::new("exit").exit(alpha(), &[&a]).exit(alpha(), &[&b]);
    assert_eq!(states(&chain.one(tx)), ["pending", "invalid:output_taken"]);
}

#[test]
fn a_spent_ttxo_cannot_exit() {
    let (mut chain, [a, b, c]) = declared();
    chain.activate(2, &[b, c]);
    assert_eq!(states(&chain.one(Tx::new("exit").exit(alpha(), &[&a]))), ["invalid:spent_on_spark"]);
}

#[test]
fn a_foreign_entity_is_counted_and_dropped() {
    let (mut chain, [a, ..]) = declared();
    assert!(chain.one(Tx::new("exit").exit(key("beta"), &[&a])).is_empty());
    assert_eq!(chain.state.get::<Counters>(&(Counter::ForeignWithdrawal as u8)).unwrap(), Some(1));
}

#[test]
fn an_announcement_with_an_unknown_ttxo_waits_as_a_whole() {
    let (mut chain, [a, b, c]) = declared();
    let late = ttxo(4, "anna", 40);
    let lines = chain.one(Tx::new("exit").exit(alpha(), &[&a, &late]));
    assert_eq!(states(&lines), ["unresolved", "unresolved"]);
    assert_eq!(watched(&chain), 2);
    assert_eq!(chain.balance("anna"), (30, 0, 0));
    let parent = chain.state.get::<Active>(&ALPHA).unwrap().unwrap().manifest;
    let delta = chain.delta(2, parent, &[late], &[], &[a, b, c, late]);
    let lines = chain.one(Tx::new("delta").snapshot(&delta));
    assert_eq!(kinds(&lines), ["manifest", "chunk", "snapshot", "exit", "exit"]);
    assert_eq!(states(&lines), ["pending", "pending"]);
    assert_eq!(chain.balance("anna"), (20, 50, 0));
}

#[test]
fn duplicate_vouts_are_final_even_with_an_unknown_ttxo() {
    let (mut chain, [a, ..]) = declared();
    let unknown = ttxo(4, "anna", 40);
    let records = [(0, a.outpoint, None), (0, unknown.outpoint, None)];
    let lines = chain.one(Tx::new("exit").withdraw(alpha(), &records));
    assert_eq!(states(&lines), ["invalid:duplicate_vout", "invalid:duplicate_vout"]);
}

#[test]
fn an_announcement_that_still_names_an_unknown_ttxo_stays_unresolved_without_a_line() {
    let (mut chain, [a, b, c]) = declared();
    let (d, e) = (ttxo(4, "anna", 40), ttxo(5, "anna", 50));
    chain.one(Tx::new("exit").exit(alpha(), &[&d, &e]));
    let snapshot = chain.full(2, &[a, b, c, d]);
    assert_eq!(kinds(&chain.one(Tx::new("s").snapshot(&snapshot))), ["manifest", "chunk", "snapshot"]);
    let snapshot = chain.full(3, &[a, b, c, d, e]);
    assert_eq!(states(&chain.one(Tx::new("t").snapshot(&snapshot))), ["pending", "pending"]);
    let left = Unresolved::rows(chain.state.changes()).values().filter(|c| c.after.is_some()).count();
    assert_eq!(left, 0);
}

#[test]
fn an_exit_judged_late_is_written_in_the_state_it_then_has() {
    for (path, blocks, expected) in
        [(None, 1, "pending"), (None, 4, "matured"), (Some(Script), 0, "claimed"), (Some(Key), 0, "revoked")]
    {
        let mut chain = Chain::new();
        chain.activate(1, &[]);
        let a = ttxo(1, "anna", 10);
        let exit = Tx::new("exit").exit(alpha(), &[&a]);
        let txid = exit.txid();
        let snapshot = chain.full(2, &[a]);
        chain.one(exit);
        if let Some(path) = path {
            assert!(chain.one(Tx::new("spend").spend(txid, 0, path)).is_empty(), "no line while unresolved");
        }
        chain.empty(blocks);
        let lines = chain.one(Tx::new("s").snapshot(&snapshot));
        assert_eq!(kinds(&lines), ["manifest", "chunk", "snapshot", "exit"], "{expected}");
        assert_eq!(states(&lines), [expected]);
        let further = chain.empty(5);
        assert_eq!(kinds(&further), if expected == "pending" { vec!["exit_matured"] } else { vec![] });
    }
}

#[test]
fn a_late_judgement_looks_at_the_announcements_own_place() {
    // b is dropped after the announcement, which waits for the unknown c: b exits all the same.
    let mut chain = Chain::new();
    let (b, c) = (ttxo(2, "anna", 20), ttxo(3, "anna", 30));
    chain.activate(1, &[b]);
    chain.one(Tx::new("exit").exit(alpha(), &[&b, &c]));
    chain.activate(2, &[]);
    let snapshot = chain.full(3, &[c]);
    assert_eq!(states(&chain.one(Tx::new("s").snapshot(&snapshot))), ["pending", "pending"]);
    assert_eq!(chain.balance("anna"), (0, 50, 0));
}

#[test]
fn a_drop_before_the_announcement_counts_even_if_it_is_declared_again_before_the_judgement() {
    let mut chain = Chain::new();
    let (b, c) = (ttxo(2, "anna", 20), ttxo(3, "anna", 30));
    chain.activate(1, &[b]);
    chain.activate(2, &[]);
    chain.one(Tx::new("exit").exit(alpha(), &[&b, &c]));
    chain.activate(3, &[b]);
    let snapshot = chain.full(4, &[b, c]);
    let lines = chain.one(Tx::new("s").snapshot(&snapshot));
    assert_eq!(states(&lines), ["invalid:spent_on_spark", "pending"]);
}

#[test]
fn late_announcements_are_judged_in_chain_order() {
    let mut chain = Chain::new();
    chain.activate(1, &[]);
    let a = ttxo(1, "anna", 10);
    let (first, second) = (Tx::new("first").exit(alpha(), &[&a]), Tx::new("second").exit(alpha(), &[&a]));
    let first_txid = first.txid().to_string();
    chain.block(vec![first, second]);
    let snapshot = chain.full(2, &[a]);
    let lines = chain.one(Tx::new("s").snapshot(&snapshot));
    assert_eq!(states(&lines), ["pending", "invalid:already_exited"]);
    assert!(lines[3].contains(&first_txid));
}

#[test]
fn an_exit_beats_later_snapshots_and_counts_as_resurrected() {
    let (mut chain, [a, b, c]) = declared();
    chain.one(Tx::new("exit").exit(alpha(), &[&a]));
    let not_yet = chain.full(2, &[a, b, c]);
    assert_eq!(not_yet.signed.manifest.anchor_height, u64::from(chain.next_height() - 1));
    let lines = chain.one(Tx::new("s").snapshot(&not_yet));
    assert_eq!(last_words(&lines, "snapshot"), ["1"], "the exit confirmed in the anchor block");
    assert_eq!(chain.balance("anna"), (20, 10, 0));
    chain.activate(3, &[b, c]);
    assert_eq!(chain.balance("anna"), (20, 10, 0), "dropped or not, the exit stands");
}

#[test]
fn an_exit_above_the_anchor_is_not_resurrected() {
    let (mut chain, [a, b, c]) = declared();
    let early = chain.full(2, &[a, b, c]);
    chain.one(Tx::new("exit").exit(alpha(), &[&a]));
    assert_eq!(last_words(&chain.one(Tx::new("s").snapshot(&early)), "snapshot"), ["0"]);
}

#[test]
fn a_snapshot_that_knew_of_the_revocation_reinstates() {
    let (mut chain, [a, b, c]) = declared();
    let exit = Tx::new("exit").exit(alpha(), &[&a]);
    let txid = exit.txid();
    chain.one(exit);
    let unaware = chain.full(2, &[a, b, c]);
    chain.one(Tx::new("justice").spend(txid, 0, Key));
    let aware = chain.full(3, &[a, b, c]);
    assert_eq!(kinds(&chain.one(Tx::new("s").snapshot(&unaware))), ["manifest", "chunk", "snapshot"]);
    assert_eq!(chain.balance("anna"), (20, 0, 0));
    let lines = chain.one(Tx::new("t").snapshot(&aware));
    assert_eq!(kinds(&lines), ["manifest", "chunk", "snapshot", "exit_reinstated"]);
    assert_eq!(last_words(&lines, "snapshot"), ["0"], "counted after the reinstatement");
    assert_eq!(chain.balance("anna"), (30, 0, 0));
    assert_eq!(states(&chain.one(Tx::new("again").exit(alpha(), &[&a]))), ["pending"], "it may exit again");
}

#[test]
fn a_claimed_exit_is_never_reinstated() {
    let (mut chain, [a, b, c]) = declared();
    let exit = Tx::new("exit").exit(alpha(), &[&a]);
    let txid = exit.txid();
    chain.one(exit);
    chain.empty(3);
    chain.one(Tx::new("claim").spend(txid, 0, Script));
    let snapshot = chain.full(2, &[a, b, c]);
    assert_eq!(kinds(&chain.one(Tx::new("s").snapshot(&snapshot))), ["manifest", "chunk", "snapshot"]);
    assert_eq!(chain.balance("anna"), (20, 0, 10));
}

#[test]
fn an_exit_resolved_as_revoked_is_reinstated_before_the_next_record_is_judged() {
    let mut chain = Chain::new();
    chain.activate(1, &[]);
    let a = ttxo(1, "anna", 10);
    let exit = Tx::new("exit").exit(alpha(), &[&a]);
    let txid = exit.txid();
    chain.block(vec![exit, Tx::new("another").exit(alpha(), &[&a])]);
    chain.one(Tx::new("justice").spend(txid, 0, Key));
    let snapshot = chain.full(2, &[a]);
    let lines = chain.one(Tx::new("s").snapshot(&snapshot));
    assert_eq!(kinds(&lines), ["manifest", "chunk", "snapshot", "exit", "exit_reinstated", "exit"]);
    assert_eq!(states(&lines), ["revoked", "pending"]);
}

#[test]
fn an_output_of_a_reinstated_exit_stays_taken() {
    let mut chain = Chain::new();
    let a = ttxo(1, "anna", 10);
    let b = Ttxo { outpoint: ttxo(2, "anna", 20).outpoint, ..a };
    let unknown = ttxo(3, "anna", 30);
    chain.activate(1, &[a, b]);
    let bond = Some(good_bond(&a));
    let tx = Tx::new("exit")
        .exit(alpha(), &[&a])
        .withdraw(alpha(), &[(0, b.outpoint, bond), (1, unknown.outpoint, Some(good_bond(&unknown)))]);
    let txid = tx.txid();
    assert_eq!(states(&chain.one(tx)), ["pending", "unresolved", "unresolved"]);
    chain.one(Tx::new("justice").spend(txid, 0, Key));
    let snapshot = chain.full(2, &[a, b, unknown]);
    let lines = chain.one(Tx::new("s").snapshot(&snapshot));
    assert_eq!(kinds(&lines), ["manifest", "chunk", "snapshot", "exit_reinstated", "exit", "exit"]);
    assert_eq!(states(&lines), ["invalid:output_taken", "pending"]);
}

#[test]
fn maturities_of_a_block_are_ordered_by_txid_as_people_read_it() {
    let (mut chain, [a, _, c]) = declared();
    let txs = vec![Tx::new("one").exit(alpha(), &[&a]), Tx::new("two").exit(alpha(), &[&c])];
    chain.block(txs);
    let lines = chain.empty(3);
    assert_eq!(kinds(&lines), ["exit_matured", "exit_matured"]);
    assert!(lines[0] < lines[1]);
}

#[test]
fn exiting_and_claimed_sums_may_exceed_128_bits_and_are_capped_when_shown() {
    // Two snapshots declare the maximum one after the other; both TTXOs exit.
    let mut chain = Chain::new();
    let (a, b) = (ttxo(1, "anna", u128::MAX), ttxo(2, "anna", u128::MAX));
    chain.activate(1, &[a]);
    chain.one(Tx::new("a").exit(alpha(), &[&a]));
    chain.activate(2, &[b]);
    chain.one(Tx::new("b").exit(alpha(), &[&b]));
    assert_eq!(chain.balance("anna"), (0, u128::MAX, 0));
}

#[test]
fn an_announcement_may_have_255_records() {
    let (mut chain, _) = declared();
    let ttxos: Vec<Ttxo> = (10..265).map(|n| ttxo(n, "anna", 1)).collect();
    let exit = Tx::new("exit").exit(alpha(), &ttxos.iter().collect::<Vec<_>>());
    assert_eq!(states(&chain.one(exit)), ["unresolved"; 255]);
    chain.activate(2, &ttxos);
    assert_eq!(chain.balance("anna"), (0, 255, 0));
}
