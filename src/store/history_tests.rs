//! The state at any height, against stores that were stopped there; and what must not pass for a past.

use std::collections::BTreeMap;

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use tempfile::TempDir;

use super::history::HISTORY;
use super::tests::{apply, content, rules};
use super::undo::UNDO;
use super::*;
use crate::ledger::keys::KeyPart;
use crate::ledger::tables::{Balances, Blocks, ChangeSet, Counters, OwnerTtxos};
use crate::ledger::tests::vectors::published_chain;
use crate::ledger::view::RowIter;
use crate::ledger::{Overlay, ReadError};
use crate::protocol::{PubKey, SparkOutPoint, StateHash};

/// Every row of every table, as text.
pub(super) fn rows(view: &impl View) -> BTreeMap<(&'static str, String), String> {
    struct Rows<'a, V>(&'a V, BTreeMap<(&'static str, String), String>);
    impl<V: View> TableVisitor for Rows<'_, V> {
        type Error = ReadError;

        fn table<T: Table>(&mut self) -> Result<(), ReadError> {
            for row in self.0.scan::<T>(&T::Key::LOWEST, &T::Key::HIGHEST) {
                let (key, value) = row?;
                assert_eq!(self.0.get::<T>(&key)?.as_ref(), Some(&value), "{} {key:?}", T::NAME);
                self.1.insert((T::NAME, format!("{key:?}")), format!("{value:?}"));
            }
            Ok(())
        }
    }
    let mut rows = Rows(view, BTreeMap::new());
    tables::visit_tables(&mut rows).unwrap();
    rows.1
}

pub(super) fn violations(store: &Store) -> Vec<(&'static str, String)> {
    let mut violations = Vec::new();
    store.audit(&mut |table, what| violations.push((table, what))).unwrap();
    violations
}

/// A store with the published chain.
fn published() -> (TempDir, Store) {
    let (rules, blocks) = published_chain();
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), &rules).unwrap();
    apply(&store, &blocks, 4);
    (dir, store)
}

#[test]
fn the_state_after_every_block_is_that_of_a_store_that_was_stopped_there() {
    let (_dir, store) = published();
    let (rules, blocks) = published_chain();
    let dir = TempDir::new().unwrap();
    let stopped = Store::open(dir.path(), &rules).unwrap();
    for block in &blocks {
        apply(&stopped, std::slice::from_ref(block), 1);
        let height = stopped.tip().unwrap().unwrap().height;
        let past = store.view().at(height).unwrap();
        assert_eq!(rows(&past), rows(&stopped.view()), "at {height}");
        assert_eq!(past.get::<Tip>(&Only).unwrap().unwrap().height, height);
    }
}

#[test]
fn heights_without_a_state_are_refused_by_name() {
    let (_dir, store) = published();
    let (tip, start) = (store.tip().unwrap().unwrap().height, store.rules().start_height);
    let at = |height| store.view().at(Height(height)).map(|_| ());
    assert!(matches!(at(tip.0 + 1), Err(HeightError::Above { tip: Some(last), .. }) if last == tip));
    assert!(matches!(at(start.0 - 1), Err(HeightError::BeforeStart { .. })));
    store.forget_undo_below(Height(start.0 + 5)).unwrap();
    let oldest = Height(start.0 + 4);
    assert_eq!(store.view().oldest().unwrap(), oldest);
    assert!(matches!(at(start.0 + 3), Err(HeightError::Forgotten { oldest: found, .. }) if found == oldest));
    assert!(at(oldest.0).is_ok());
    store.reset(None).unwrap();
    assert!(matches!(at(oldest.0), Err(HeightError::Above { tip: None, .. })));
}

#[test]
fn a_view_of_the_past_goes_back_further_and_not_forward() {
    let (_dir, store) = published();
    let start = store.rules().start_height.0;
    let past = store.view().at(Height(start + 4)).unwrap();
    assert_eq!(rows(&past.at(Height(start + 4)).unwrap()), rows(&past));
    let further = past.at(Height(start + 2)).unwrap();
    assert_eq!(rows(&further), rows(&store.view().at(Height(start + 2)).unwrap()));
    assert!(matches!(past.at(Height(start + 5)), Err(HeightError::Above { .. })));
}

#[test]
fn the_rows_that_blocks_changed_are_those_that_differ_in_between() {
    let (_dir, store) = published();
    let (view, start, tip) = (store.view(), store.rules().start_height, store.tip().unwrap().unwrap().height);
    let mut balances = 0;
    for (from, to) in (start.0..=tip.0).flat_map(|from| (from..=tip.0).map(move |to| (from, to))) {
        let (from, to) = (Height(from), Height(to));
        let all = |view: &StoreView<'_>| -> BTreeMap<_, _> {
            let range = (<Balances as Table>::Key::LOWEST, <Balances as Table>::Key::HIGHEST);
            view.scan::<Balances>(&range.0, &range.1).map(Result::unwrap).collect()
        };
        let (before, after) = (all(&view.at(from).unwrap()), all(&view.at(to).unwrap()));
        let changed = view.changed::<Balances>(from, to, usize::MAX, |_| true).unwrap();
        for key in before.keys().chain(after.keys()) {
            assert!(
                before.get(key) == after.get(key) || changed.contains(key),
                "{key:?} from {from} to {to}"
            );
        }
        balances += changed.len();
        assert_eq!(from == to, view.changed::<Tip>(from, to, 1, |_| true).unwrap().is_empty());
    }
    assert!(balances > 0);
    assert!(matches!(
        view.changed::<Balances>(start, tip.next(), 1, |_| true),
        Err(HeightError::Above { .. })
    ));
}

#[test]
fn what_was_forgotten_leaves_no_value_behind() {
    let (_dir, store) = published();
    let tip = store.tip().unwrap().unwrap().height;
    store.forget_undo_below(tip.next()).unwrap();
    for family in [UNDO, HISTORY] {
        assert_eq!(content(&store).keys().filter(|(name, _)| *name == family).count(), 0, "{family}");
    }
    assert_eq!(violations(&store), []);
}

#[test]
fn a_past_that_does_not_fit_is_found() {
    let first = |store: &Store, family| {
        content(store)
            .into_iter()
            .find(|((name, _), _)| *name == family)
            .map(|((_, key), value)| (key, value))
    };
    type Damage = (&'static str, &'static str, fn(&mut Vec<u8>, &mut Vec<u8>));
    let damages: [Damage; 6] = [
        (HISTORY, "history: a value is gone", |key, _| key.clear()),
        (HISTORY, "history: a value of a block that was never applied", |key, _| {
            let end = key.len() - 4;
            key[end..].fill(0xfe);
        }),
        (HISTORY, "tip: a value that begins after its end", |_, value| value[..4].fill(0xfe)),
        (UNDO, "undo: a record is gone", |key, _| key.clear()),
        (UNDO, "undo: a record of a block that was never applied", |key, _| key[..4].fill(0xfe)),
        ("block_heights", "block_heights: a row of a block that was never applied", |_, value| {
            value[..4].fill(0xfe);
        }),
    ];
    for (family, what, damage) in damages {
        let (_dir, store) = published();
        assert_eq!(violations(&store), []);
        let (old_key, old_value) = first(&store, family).unwrap();
        let (mut key, mut value) = (old_key.clone(), old_value);
        damage(&mut key, &mut value);
        let handle = store.db.cf_handle(family).unwrap();
        if key != old_key {
            store.db.delete_cf(handle, &old_key).unwrap();
        }
        if !key.is_empty() {
            store.db.put_cf(handle, key, value).unwrap();
        }
        let found = violations(&store);
        let named = what.split(':').next().unwrap();
        assert!(found.iter().any(|(table, _)| *table == named), "{what}: {found:?}");
    }
}

/// What a random history does.
#[derive(Clone, Debug)]
enum Step {
    /// A block that sets or removes rows.
    Block(Vec<(u8, Option<u8>)>),
    /// As many blocks are taken back.
    Undo(usize),
    /// All but so many blocks can't be taken back any more.
    Forget(usize),
    /// What is there so far gets files of its own.
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (0..6u8, proptest::option::weighted(0.7, any::<u8>()));
    let step = prop_oneof![
        12 => vec(write, 0..5).prop_map(Step::Block),
        2 => (1..4usize).prop_map(Step::Undo),
        1 => (3..12usize).prop_map(Step::Forget),
        1 => Just(Step::Flush),
    ];
    vec(step, 1..60)
}

/// The rows of a random history after each block.
type States = Vec<BTreeMap<u8, u8>>;

/// Two of them are a group.
fn long_key(key: u8) -> <OwnerTtxos as Table>::Key {
    let (_, entity, outpoint) = <OwnerTtxos as Table>::Key::LOWEST;
    let outpoint = SparkOutPoint { vout: u32::from(key % 2), ..outpoint };
    (PubKey::from_slice(&[key / 2; 33]).unwrap(), entity, outpoint)
}

fn of_long_key((owner, _, outpoint): &<OwnerTtxos as Table>::Key) -> u8 {
    owner.as_bytes()[0] * 2 + outpoint.vout as u8
}

fn flush_all(store: &Store) {
    for name in family_names() {
        store.db.flush_cf(store.db.cf_handle(name).unwrap()).unwrap();
    }
}

/// The changes of a block: the rows, in a table with short keys and in one with long ones.
fn block(pending: &Overlay<&StoreView<'_>>, height: Height, writes: &[(u8, Option<u8>)]) -> ChangeSet {
    use crate::ledger::records::{BlockRecord, TipRecord, Unit};
    let mut state = Overlay::new(pending);
    for (key, value) in writes {
        match value {
            Some(value) => {
                state.put::<Counters>(*key, u64::from(*value)).unwrap();
                state.put::<OwnerTtxos>(long_key(*key), Unit).unwrap();
            }
            None => {
                state.delete::<Counters>(*key).unwrap();
                state.delete::<OwnerTtxos>(long_key(*key)).unwrap();
            }
        }
    }
    let (hash, state_hash) = (BlockHash::from_byte_array([height.0 as u8; 32]), StateHash::MIN);
    state.put::<Blocks>(height, BlockRecord { hash, time: 0, state_hash, events: String::new() }).unwrap();
    state.put::<Tip>(Only, TipRecord { height, hash, time: 0, state_hash }).unwrap();
    state.into_changes()
}

fn commit(store: &Store, states: &mut States, run: &mut Vec<Vec<(u8, Option<u8>)>>) {
    let view = store.view();
    let mut pending = Overlay::new(&view);
    let mut blocks = Vec::new();
    for writes in run.drain(..) {
        let height = Height(store.rules().start_height.0 + states.len() as u32);
        let changes = block(&pending, height, &writes);
        pending.absorb(&changes);
        blocks.push((height, changes));
        let mut state = states.last().cloned().unwrap_or_default();
        for (key, value) in writes {
            match value {
                Some(value) => state.insert(key, value),
                None => state.remove(&key),
            };
        }
        states.push(state);
    }
    store.commit(&blocks).unwrap();
}

fn compare(store: &Store, states: &States) -> TestCaseResult {
    let (start, view) = (store.rules().start_height.0, store.view());
    prop_assert_eq!(violations(store), vec![]);
    for (height, state) in (start..).map(Height).zip(states) {
        let past = match view.at(height) {
            Ok(past) => past,
            Err(HeightError::Forgotten { oldest, .. }) if height < oldest => continue,
            Err(e) => return Err(TestCaseError::fail(e.to_string())),
        };
        for (from, to) in [(0, u8::MAX), (2, 4), (2, 3), (3, 3), (4, 5), (4, 2)] {
            let expected: Vec<_> =
                state.iter().filter(|(key, _)| (from..=to).contains(*key)).map(|(k, v)| (*k, *v)).collect();
            let found = past.scan::<Counters>(&from, &to).map(|row| row.map(|(k, v)| (k, v as u8)));
            prop_assert_eq!(found.collect::<Result<Vec<_>, _>>().unwrap(), expected.clone(), "{}", height);
            let long = past.scan::<OwnerTtxos>(&long_key(from), &long_key(to));
            let long = long.map(|row| of_long_key(&row.unwrap().0)).collect::<Vec<_>>();
            prop_assert_eq!(long, expected.iter().map(|(key, _)| *key).collect::<Vec<_>>(), "{}", height);
        }
        let changed = view
            .changed::<Counters>(height, Height(start + states.len() as u32 - 1), usize::MAX, |_| true)
            .unwrap();
        let last = states.last().unwrap();
        for key in (0..6).filter(|key| state.get(key) != last.get(key)) {
            prop_assert!(changed.contains(&key), "{} since {}", key, height);
        }
        for key in 0..8 {
            let found = past.get::<Counters>(&key).unwrap();
            prop_assert_eq!(found, state.get(&key).map(|value| u64::from(*value)), "{} at {}", key, height);
            prop_assert_eq!(past.has::<OwnerTtxos>(&long_key(key)).unwrap(), state.contains_key(&key));
        }
    }
    Ok(())
}

#[test]
fn scans_side_by_side_and_scans_left_early_do_not_disturb_each_other() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), &rules()).unwrap();
    let run = (0..6).map(|key| vec![(key, Some(key))]).collect();
    commit(&store, &mut States::new(), &mut { run });
    let view = store.view();
    let group = |first: u8| view.scan::<OwnerTtxos>(&long_key(first), &long_key(first + 1));
    let keys =
        |rows: RowIter<'_, OwnerTtxos>| -> Vec<u8> { rows.map(|row| of_long_key(&row.unwrap().0)).collect() };
    for _ in 0..3 {
        let (mut first, second) = (group(0), group(4));
        assert_eq!(of_long_key(&first.next().unwrap().unwrap().0), 0);
        assert_eq!(keys(second), [4, 5]);
        assert_eq!(keys(group(2)), [2, 3], "while the first one waits");
        assert_eq!(keys(first), [1]);
        drop(group(0));
        assert_eq!(keys(group(8)), [] as [u8; 0], "a group without rows");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rows_that_come_change_go_and_come_back_are_as_they_were(steps in steps(), length in 1..6usize, flush in any::<bool>()) {
        let dir = TempDir::new()?;
        let store = Store::open(dir.path(), &rules()).unwrap();
        let (mut states, mut run) = (States::new(), Vec::new());
        for step in steps {
            match step {
                Step::Block(writes) => run.push(writes),
                Step::Undo(depth) => {
                    commit(&store, &mut states, &mut run);
                    let kept = store.undo_from().unwrap().0 - store.rules().start_height.0;
                    for _ in 0..depth.min(states.len() - (kept as usize).min(states.len())) {
                        store.undo(store.tip().unwrap().unwrap().height).unwrap();
                        states.pop();
                    }
                    compare(&store, &states)?;
                }
                Step::Forget(kept) => {
                    commit(&store, &mut states, &mut run);
                    let from = states.len().saturating_sub(kept) as u32;
                    store.forget_undo_below(Height(store.rules().start_height.0 + from)).unwrap();
                }
                Step::Flush => {
                    commit(&store, &mut states, &mut run);
                    flush_all(&store);
                }
            }
            if run.len() >= length {
                commit(&store, &mut states, &mut run);
            }
        }
        commit(&store, &mut states, &mut run);
        if flush {
            flush_all(&store);
        }
        compare(&store, &states)?;
    }
}
