//! Every state, every reason, every warning: each is provoked on a chain of its own.

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;

use super::*;
use crate::ledger::reasons::ExitReason;
use crate::ledger::records::TokenRecord;
use crate::ledger::tables::{Blocks, Supply, Tokens};
use crate::ledger::tests::scenario::*;
use crate::protocol::manifest::{Manifest, SignedManifest};
use crate::protocol::token::{Layer, TokenMetadata};
use crate::protocol::ttxo::Ttxo;
use crate::protocol::withdrawal_output::SpendPath::{self, Key, Script};
use crate::protocol::{Amount, DisplayTxid};
use crate::scan::messages::BondOutput;

const OUTPUT_0: u32 = 0;

/// A chain in which anna owns TTXOs 1 and 2, and ben TTXO 3.
fn declared() -> (Chain, [Ttxo; 3]) {
    let mut chain = Chain::new();
    let set = [ttxo(1, "anna", 10), ttxo(2, "anna", 20), ttxo(3, "ben", 30)];
    chain.activate(1, &set);
    (chain, set)
}

fn output(tx: &Tx, vout: u32) -> L1OutPoint {
    L1OutPoint { txid: tx.txid().into(), vout }
}

fn wanted(confirmations: u32) -> Policy {
    Policy { confirmations, ..Policy::default() }
}

fn judge(chain: &Chain, output: L1OutPoint, policy: &Policy, mempool: Option<Unconfirmed>) -> Assessment {
    let mut claims = Claims::new(&chain.state, &chain.rules.entities, chain.tip());
    let assessment = claims.assess(output, policy, mempool).unwrap();
    let again = claims.assess(output, policy, mempool).unwrap();
    assert_eq!(assessment, again, "what is kept between outputs changes nothing");
    check_form(&assessment);
    assessment
}

/// What holds for every verdict.
fn check_form(assessment: &Assessment) {
    for row in &assessment.checks {
        assert!(!row.sentence.is_empty() && !row.sentence.ends_with('.'), "{row:?}");
        assert_eq!(row.reason.map_or(row.outcome, Reason::outcome), row.outcome, "{row:?}");
        match &row.check {
            Check::Bond { required_sats, found_sats } => {
                assert_eq!(found_sats >= required_sats, row.outcome == Outcome::Pass, "{row:?}");
            }
            Check::Script { required, found } => {
                let good = required.is_some() && required == found;
                assert_eq!(good, row.outcome == Outcome::Pass, "{row:?}");
            }
            _ => {}
        }
    }
    let waits = !assessment.waits.is_empty();
    assert_eq!(waits, assessment.verdict == Verdict::Wait, "{assessment:#?}");
    let failed = assessment.checks.iter().any(|row| row.outcome == Outcome::Fail);
    assert_eq!(failed, assessment.verdict == Verdict::Refuse, "{assessment:#?}");
}

fn now(chain: &Chain, output: L1OutPoint) -> (Verdict, Reason) {
    let assessment = judge(chain, output, &wanted(1), None);
    (assessment.verdict, assessment.reason)
}

fn row(assessment: &Assessment, is: impl Fn(&Check) -> bool) -> &Finding {
    assessment.checks.iter().find(|row| is(&row.check)).expect("there is such a check")
}

#[test]
fn an_exit_is_honoured_once_it_is_claimed_and_not_before() {
    let (mut chain, [a, ..]) = declared();
    let exit = Tx::new("exit").exit(key("alpha"), &[&a]);
    let (place, txid) = (output(&exit, OUTPUT_0), exit.txid());
    assert_eq!(now(&chain, place), (Verdict::Refuse, Reason::NoExit));
    chain.one(exit);
    let announced = chain.tip().height.0;
    let pending = judge(&chain, place, &wanted(1), None);
    assert_eq!((pending.verdict, pending.reason), (Verdict::Wait, Reason::NotMatured));
    let matures = u64::from(announced) + LOCKTIME;
    let lock = Waiting {
        reason: Reason::NotMatured,
        ends_by: Party::Blocks,
        height: Some(matures),
        blocks_left: Some(3),
    };
    let owner =
        Waiting { reason: Reason::NotClaimed, ends_by: Party::Owner, height: None, blocks_left: None };
    assert_eq!(pending.waits, [lock, owner]);
    chain.empty(2);
    assert_eq!(judge(&chain, place, &wanted(1), None).waits[0].blocks_left, Some(1));
    chain.empty(1);
    assert_eq!(now(&chain, place), (Verdict::Wait, Reason::NotClaimed));
    chain.empty(50);
    assert_eq!(now(&chain, place), (Verdict::Wait, Reason::NotClaimed), "however long it has matured");
    chain.one(Tx::new("claim").spend(txid, OUTPUT_0, Script));
    assert_eq!(now(&chain, place), (Verdict::Honour, Reason::Claimed));
}

#[test]
fn every_block_that_a_claim_rests_on_has_the_wanted_confirmations() {
    let (mut chain, [a, ..]) = declared();
    let exit = Tx::new("exit").exit(key("alpha"), &[&a]);
    let (place, txid) = (output(&exit, OUTPUT_0), exit.txid());
    chain.one(exit);
    chain.empty(3);
    chain.one(Tx::new("claim").spend(txid, OUTPUT_0, Script));
    let claimed = u64::from(chain.tip().height.0);
    for confirmations in 1..=6 {
        let verdict = |wanted_: u32| judge(&chain, place, &wanted(wanted_), None);
        let (enough, one_more) = (verdict(confirmations), verdict(confirmations + 1));
        assert_eq!((enough.verdict, enough.settled), (Verdict::Honour, true), "{confirmations}");
        assert_eq!((one_more.verdict, one_more.settled), (Verdict::Wait, false), "{confirmations}");
        assert_eq!(one_more.reason, Reason::TooFewConfirmations);
        assert_eq!(one_more.waits[0].height, Some(claimed + u64::from(confirmations)));
        assert_eq!(one_more.waits[0].blocks_left, Some(1));
        chain.empty(1);
    }
    assert_eq!(judge(&chain, place, &Policy::default(), None).verdict, Verdict::Honour);
}

#[test]
fn a_snapshot_that_resolved_a_claimed_exit_must_be_as_deep_as_the_claim() {
    let mut chain = Chain::new();
    chain.activate(1, &[]);
    let a = ttxo(1, "anna", 10);
    let exit = Tx::new("exit").exit(key("alpha"), &[&a]);
    let (place, txid) = (output(&exit, OUTPUT_0), exit.txid());
    let snapshot = chain.full(2, &[a]);
    chain.one(exit);
    chain.empty(3);
    chain.one(Tx::new("claim").spend(txid, OUTPUT_0, Script));
    chain.empty(20);
    chain.one(Tx::new("s").snapshot(&snapshot));
    let shallow = judge(&chain, place, &wanted(6), None);
    assert_eq!((shallow.verdict, shallow.reason), (Verdict::Wait, Reason::TooFewConfirmations));
    let waiting: Vec<_> = shallow.checks.iter().filter(|row| row.outcome == Outcome::Wait).collect();
    assert!(matches!(waiting[..], [Finding { check: Check::JudgementDepth { .. }, .. }]), "{waiting:?}");
    let declared_by = match &row(&shallow, |check| matches!(check, Check::Declaration { .. })).check {
        Check::Declaration { declared_by, .. } => declared_by.unwrap(),
        _ => unreachable!(),
    };
    assert!(declared_by.after_announcement);
    assert_eq!((declared_by.snapshot_sequence, declared_by.age_blocks), (2, 0));
    chain.empty(5);
    assert_eq!(judge(&chain, place, &wanted(6), None).verdict, Verdict::Honour);
}

#[test]
fn a_revoked_exit_is_refused_at_any_height() {
    for blocks in [0, 1, 20] {
        let (mut chain, [a, ..]) = declared();
        let exit = Tx::new("exit").exit(key("alpha"), &[&a]);
        let (place, txid) = (output(&exit, OUTPUT_0), exit.txid());
        chain.one(exit);
        chain.empty(blocks);
        chain.one(Tx::new("justice").spend(txid, OUTPUT_0, Key));
        let refused = judge(&chain, place, &wanted(3), None);
        assert_eq!((refused.verdict, refused.reason), (Verdict::Refuse, Reason::Revoked));
        assert!(!refused.settled, "a shallow revocation may leave the chain");
        chain.empty(2);
        assert!(judge(&chain, place, &wanted(3), None).settled);
    }
}

#[test]
fn a_reinstated_exit_is_refused_and_the_next_exit_of_the_ttxo_has_its_own_verdict() {
    let (mut chain, set) = declared();
    let exit = Tx::new("exit").exit(key("alpha"), &[&set[0]]);
    let (place, txid) = (output(&exit, OUTPUT_0), exit.txid());
    chain.one(exit);
    chain.one(Tx::new("justice").spend(txid, OUTPUT_0, Key));
    chain.activate(2, &set);
    let refused = judge(&chain, place, &wanted(1), None);
    assert_eq!((refused.verdict, refused.reason), (Verdict::Refuse, Reason::Reinstated));
    assert!(refused.sentence.contains("snapshot 2"), "{}", refused.sentence);
    let again = Tx::new("again").exit(key("alpha"), &[&set[0]]);
    let next = output(&again, OUTPUT_0);
    chain.one(again);
    assert_eq!(now(&chain, next), (Verdict::Wait, Reason::NotMatured));
    assert_eq!(now(&chain, place), (Verdict::Refuse, Reason::Reinstated));
}

#[test]
fn an_unresolved_exit_says_what_would_resolve_it() {
    let (mut chain, [a, b, c]) = declared();
    let (d, e) = (ttxo(4, "anna", 40), ttxo(5, "anna", 50));
    let exit = Tx::new("exit").exit(key("alpha"), &[&a, &d, &e]);
    let place = output(&exit, OUTPUT_0);
    let snapshot = chain.full(7, &[a, b, c, d, e]);
    chain.block(vec![exit, Tx::new("manifest").manifest(&snapshot)]);
    let waits = judge(&chain, place, &wanted(1), None);
    assert_eq!((waits.verdict, waits.reason), (Verdict::Wait, Reason::Unresolved));
    assert_eq!(waits.waits[0].ends_by, Party::Entity);
    match &row(&waits, |check| matches!(check, Check::Declaration { .. })).check {
        Check::Declaration { undeclared, pending_snapshots, declared_by, .. } => {
            assert_eq!(undeclared, &[d.outpoint, e.outpoint]);
            assert_eq!(declared_by.unwrap().snapshot_sequence, 1, "this one is declared; the others are not");
            let pending: Vec<_> =
                pending_snapshots.iter().map(|p| (p.snapshot_sequence, p.chunks_missing)).collect();
            assert_eq!(pending, [(7, 1)]);
        }
        _ => unreachable!(),
    }
    chain.one(Tx::new("chunk").chunk(&snapshot.chunks[0]));
    assert_eq!(now(&chain, place), (Verdict::Wait, Reason::NotMatured));
}

#[test]
fn an_exit_that_nothing_can_make_valid_is_refused_before_it_is_resolved() {
    let (mut chain, _) = declared();
    let unknown = ttxo(4, "anna", 40);
    let exit = Tx::new("exit").exit(key("alpha"), &[&unknown]);
    let (place, txid) = (output(&exit, OUTPUT_0), exit.txid());
    let nowhere = Tx::new("nowhere").withdraw(key("alpha"), &[(7, unknown.outpoint, None)]);
    let missing = output(&nowhere, 7);
    chain.block(vec![exit, nowhere]);
    assert_eq!(now(&chain, place), (Verdict::Wait, Reason::Unresolved));
    assert_eq!(now(&chain, missing), (Verdict::Refuse, Reason::VoutOutOfRange));
    chain.one(Tx::new("justice").spend(txid, OUTPUT_0, Key));
    assert_eq!(now(&chain, place), (Verdict::Refuse, Reason::Revoked));
}

#[test]
fn each_rule_that_an_exit_breaks_is_the_reason_of_its_refusal() {
    let (a, b, c) = (ttxo(1, "anna", 10), ttxo(2, "anna", 20), ttxo(3, "ben", 30));
    // The same keys and terms give two TTXOs the same withdrawal script.
    let twin = Ttxo { outpoint: ttxo(9, "anna", 1).outpoint, ..a };
    let gone = ttxo(8, "anna", 5);
    let good = |ttxo: &Ttxo| Some(good_bond(ttxo));
    let cheap = Some(BondOutput { value: BOND - 1, ..good_bond(&a) });
    let other = Some(BondOutput { taproot_key: None, ..good_bond(&a) });
    let alpha = key("alpha");
    let exit = |records: &[_]| Tx::new("exit").withdraw(alpha, records);
    let one = |ttxo: &Ttxo| Tx::new("exit").exit(alpha, &[ttxo]);
    let cases = [
        (ExitReason::DuplicateVout, exit(&[(0, a.outpoint, good(&a)), (0, b.outpoint, good(&b))]), 0),
        (ExitReason::MixedOwners, exit(&[(0, a.outpoint, good(&a)), (1, c.outpoint, good(&c))]), 1),
        (ExitReason::AlreadyExited, exit(&[(0, a.outpoint, good(&a)), (1, a.outpoint, good(&a))]), 1),
        (ExitReason::SpentOnSpark, one(&gone), 0),
        (ExitReason::VoutOutOfRange, exit(&[(5, a.outpoint, None)]), 5),
        (ExitReason::InsufficientBond, exit(&[(0, a.outpoint, cheap)]), 0),
        (ExitReason::ScriptMismatch, exit(&[(0, a.outpoint, other)]), 0),
        (ExitReason::OutputTaken, one(&a).exit(alpha, &[&twin]), 0),
    ];
    assert_eq!(cases.len(), ExitReason::ALL.len());
    for (reason, tx, vout) in cases {
        let mut chain = Chain::new();
        chain.activate(1, &[a, b, c, twin, gone]);
        chain.activate(2, &[a, b, c, twin]);
        let place = output(&tx, vout);
        chain.one(tx);
        let assessment = judge(&chain, place, &wanted(1), None);
        if reason == ExitReason::OutputTaken {
            // The exit that stands decides, whatever else names the output.
            assert_eq!((assessment.verdict, assessment.reason), (Verdict::Wait, Reason::NotMatured));
            let states: Vec<_> = assessment.others.iter().map(|(_, exit)| exit.state).collect();
            assert_eq!(states, [ExitState::Invalid(reason)]);
            continue;
        }
        assert_eq!((assessment.verdict, assessment.reason), (Verdict::Refuse, reason.into()), "{reason}");
        assert!(assessment.settled, "{reason}");
        let failed = assessment.checks.iter().find(|row| row.outcome == Outcome::Fail).unwrap();
        assert_eq!(failed.reason, Some(reason.into()));
        if reason == ExitReason::SpentOnSpark {
            assert!(failed.sentence.contains("snapshot 2"), "{}", failed.sentence);
        }
    }
}

#[test]
fn exits_of_two_entities_that_stand_on_one_output_hold_it_back() {
    let (mut chain, a) = two_entities();
    let tx = Tx::new("exit").exit(key("alpha"), &[&a]).exit(key("beta"), &[&a]);
    let place = output(&tx, OUTPUT_0);
    let txid = tx.txid();
    chain.one(tx);
    chain.empty(3);
    chain.one(Tx::new("claim").spend(txid, OUTPUT_0, Script));
    let held = judge(&chain, place, &wanted(1), None);
    assert_eq!((held.verdict, held.reason), (Verdict::Wait, Reason::SeveralExits));
    assert_eq!((held.others_count, held.waits[0].ends_by), (1, Party::Issuer));
    let accept = BTreeSet::from([Reason::SeveralExits]);
    assert_eq!(judge(&chain, place, &Policy { confirmations: 1, accept }, None).verdict, Verdict::Honour);
}

/// Alpha and beta, both of which have declared the same TTXO.
fn two_entities() -> (Chain, Ttxo) {
    let mut chain = Chain::with(&[("alpha", &[("alpha", 0)]), ("beta", &[("beta", 0)])]);
    let a = ttxo(1, "anna", 10);
    chain.activate(1, &[a]);
    let mut snapshot = chain.full(1, &[a]);
    let manifest = Manifest { entity: key("beta"), ..snapshot.signed.manifest };
    snapshot.signed = SignedManifest::sign(&manifest, &keypair("beta"));
    chain.one(Tx::new("beta").snapshot(&snapshot));
    (chain, a)
}

#[test]
fn the_earlier_exit_is_the_one_that_stood_at_the_time() {
    let (mut chain, set) = declared();
    let exit = |label: &str| Tx::new(label).exit(key("alpha"), &[&set[0]]);
    let (first, second, third) = (exit("first"), exit("second"), exit("third"));
    let (first_output, second_output) = (output(&first, 0), output(&second, 0));
    let first_txid = first.txid();
    chain.one(first);
    chain.one(second);
    chain.one(Tx::new("justice").spend(first_txid, 0, Key));
    chain.activate(2, &set);
    chain.one(third);
    let refused = judge(&chain, second_output, &wanted(1), None);
    assert_eq!((refused.verdict, refused.reason), (Verdict::Refuse, Reason::AlreadyExited));
    match row(&refused, |check| matches!(check, Check::FirstExit { .. })).check {
        Check::FirstExit { earlier } => assert_eq!(earlier.unwrap().outpoint, first_output, "not the third"),
        _ => unreachable!(),
    }
}

#[test]
fn invalid_exits_do_not_hide_the_one_that_stands() {
    let mut chain = Chain::new();
    let a = ttxo(1, "anna", 10);
    let twins: Vec<Ttxo> = (10..250).map(|n| Ttxo { outpoint: ttxo(n, "anna", 1).outpoint, ..a }).collect();
    chain.activate(1, &[&[a][..], &twins].concat());
    let bond = Some(good_bond(&a));
    let records: Vec<_> = twins.iter().map(|ttxo| (0, ttxo.outpoint, bond)).collect();
    // One announcement names output 0 for each of them and is invalid; another names it once.
    let tx = Tx::new("exit").withdraw(key("alpha"), &records).exit(key("alpha"), &[&a]);
    let place = output(&tx, OUTPUT_0);
    chain.one(tx);
    let assessment = judge(&chain, place, &wanted(1), None);
    assert_eq!((assessment.verdict, assessment.reason), (Verdict::Wait, Reason::NotMatured));
    assert_eq!((assessment.others.len(), assessment.others_count), (OTHERS_SHOWN, 240));
}

/// A claimed exit with one confirmation, on a chain that `before` and `after` the announcement change.
fn claimed(
    before: impl FnOnce(&mut Chain, &[Ttxo; 3]),
    after: impl FnOnce(&mut Chain, &[Ttxo; 3]),
) -> (Chain, L1OutPoint) {
    let (mut chain, set) = declared();
    before(&mut chain, &set);
    let exit = Tx::new("exit").exit(key("alpha"), &[&set[0]]);
    let (place, txid) = (output(&exit, OUTPUT_0), exit.txid());
    chain.one(exit);
    after(&mut chain, &set);
    chain.empty(3);
    chain.one(Tx::new("claim").spend(txid, OUTPUT_0, Script));
    (chain, place)
}

fn set_token(chain: &mut Chain, layer: Layer, max_supply: u128) {
    let metadata = TokenMetadata {
        issuer: key("issuer"),
        name: "Anna's".into(),
        ticker: "ANNA".into(),
        decimals: 0,
        max_supply: Amount(max_supply),
        freezable: false,
    };
    let record = TokenRecord { metadata: Some(metadata), layer: Some(layer), announced_as: None };
    chain.state.put::<Tokens>(token(1), record).unwrap();
}

/// A snapshot of a long gone Spark time that no longer has the first TTXO, anchored at the tip or elsewhere.
fn drop_first(chain: &mut Chain, set: &[Ttxo; 3], anchor: Option<(u32, BlockHash)>) {
    let Snapshot { signed, chunks } = chain.full(6, &set[1..]);
    let mut manifest = Manifest { as_of_ms: 1, ..signed.manifest };
    if let Some((height, hash)) = anchor {
        (manifest.anchor_height, manifest.anchor_hash) = (height.into(), hash.to_byte_array());
    }
    chain.one(Tx::new("drop").snapshot(&sign(&manifest, chunks)));
}

#[test]
fn a_warning_holds_the_verdict_until_the_issuer_accepts_it() {
    type Step = fn(&mut Chain, &[Ttxo; 3]);
    let nothing: Step = |_, _| {};
    let cases: [(Reason, Step, Step); 5] = [
        (Reason::DeclaredAfterExit, nothing, |chain, set| {
            chain.activate(2, set);
        }),
        (Reason::DroppedBeforeExit, nothing, |chain, set| {
            let anchor = chain.state.expect::<Blocks>(&Height(START)).unwrap().hash;
            drop_first(chain, set, Some((START, anchor)));
        }),
        (
            Reason::Equivocation,
            |chain, set| {
                let other = chain.full(1, &set[1..]);
                assert_eq!(kinds(&chain.one(Tx::new("e").manifest(&other)))[1], "equivocation");
            },
            nothing,
        ),
        (Reason::OverMaxSupply, |chain, _| set_token(chain, Layer::Spark(key("alpha")), 59), nothing),
        (Reason::ForeignEntity, |chain, _| set_token(chain, Layer::Spark(key("beta")), 60), nothing),
    ];
    for (reason, before, after) in cases {
        let (chain, place) = claimed(before, after);
        let held = judge(&chain, place, &wanted(1), None);
        assert_eq!((held.verdict, held.reason), (Verdict::Wait, reason), "{:#?}", held.checks);
        assert_eq!(held.waits.len(), 1, "{reason:?}");
        assert_eq!((held.waits[0].ends_by, held.waits[0].height), (Party::Issuer, None));
        let other = if reason == Reason::Equivocation { Reason::OverMaxSupply } else { Reason::Equivocation };
        for (accepted, verdict) in [(reason, Verdict::Honour), (other, Verdict::Wait)] {
            let policy = Policy { confirmations: 1, accept: BTreeSet::from([accepted]) };
            assert_eq!(judge(&chain, place, &policy, None).verdict, verdict, "{reason:?} {accepted:?}");
        }
    }
}

#[test]
fn what_looks_like_a_warning_and_is_none() {
    // A snapshot anchored before the exit still declares it; one anchored after it drops it, as it should,
    // whatever its clock says; the maximum supply is met and not exceeded; the entity equivocated about
    // another sequence.
    let (chain, place) = claimed(
        |chain, set| {
            set_token(chain, Layer::Spark(key("alpha")), 60);
            chain.activate(5, set);
            let other = chain.full(5, &set[1..]);
            chain.one(Tx::new("e").manifest(&other));
        },
        |chain, set| drop_first(chain, set, None),
    );
    let honoured = judge(&chain, place, &wanted(1), None);
    assert_eq!((honoured.verdict, honoured.reason), (Verdict::Honour, Reason::Claimed), "{honoured:#?}");
    let found = row(&honoured, |check| matches!(check, Check::Equivocation { .. }));
    assert!(
        matches!(found.check, Check::Equivocation { snapshot_sequence: 1, of_sequence: 0, of_entity: 1 }),
        "{found:?}"
    );
    assert!(chain.state.has::<Supply>(&(token(1), EntityIndex(0))).unwrap());
}

#[test]
fn a_spend_in_the_mempool_keeps_an_exit_from_being_honoured() {
    let (mut chain, [a, ..]) = declared();
    let exit = Tx::new("exit").exit(key("alpha"), &[&a]);
    let (place, txid) = (output(&exit, OUTPUT_0), exit.txid());
    let seen = |n: u8, path: SpendPath| {
        Some(Unconfirmed {
            announced: false,
            spend: Some(UnconfirmedSpend { txid: DisplayTxid([n; 32]), path }),
        })
    };
    let now = |chain: &Chain, mempool| {
        let assessment = judge(chain, place, &wanted(1), mempool);
        (assessment.verdict, assessment.reason)
    };
    let announced = Some(Unconfirmed { announced: true, spend: None });
    assert_eq!(now(&chain, announced), (Verdict::Wait, Reason::AnnouncementUnconfirmed));
    chain.one(exit);
    assert_eq!(now(&chain, seen(1, Key)), (Verdict::Wait, Reason::RevocationUnconfirmed));
    chain.empty(3);
    assert_eq!(now(&chain, seen(1, Script)), (Verdict::Wait, Reason::ClaimUnconfirmed));
    let claim = Tx::new("claim").spend(txid, OUTPUT_0, Script);
    let claim_txid: DisplayTxid = claim.txid().into();
    chain.one(claim);
    assert_eq!(now(&chain, None), (Verdict::Honour, Reason::Claimed));
    assert_eq!(now(&chain, Some(Unconfirmed::default())), (Verdict::Honour, Reason::Claimed));
    assert_eq!(now(&chain, seen(claim_txid.0[0], Script)).0, Verdict::Wait, "another claim");
    assert_eq!(now(&chain, seen(1, Key)), (Verdict::Wait, Reason::RevocationUnconfirmed));
    let same = UnconfirmedSpend { txid: claim_txid, path: Script };
    let stale = Some(Unconfirmed { announced: false, spend: Some(same) });
    assert_eq!(now(&chain, stale), (Verdict::Honour, Reason::Claimed), "the claim itself, not yet forgotten");
}

#[test]
fn codes_are_explained_to_issuers() {
    let text = include_str!("../../schema/verdicts.md");
    let codes = Verdict::ALL.iter().map(|code| code.as_str());
    let codes = codes.chain(Outcome::ALL.iter().map(|code| code.as_str()));
    let codes = codes.chain(Party::ALL.iter().map(|code| code.as_str()));
    for code in codes.chain(Reason::ALL.iter().map(|code| code.as_str())) {
        assert!(text.contains(&format!("`{code}`")), "schema/verdicts.md does not explain {code}");
    }
}
