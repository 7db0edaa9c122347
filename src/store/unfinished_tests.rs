//! Big blocks, which are written and taken back in steps: whole or not there at all, wherever that ends.

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;
use tempfile::TempDir;

use super::commit::Commit;
use super::history_tests::{rows, violations};
use super::tests::{content, rules};
use super::*;
use crate::ledger::Overlay;
use crate::ledger::keys::{EntityIndex, KeyPart};
use crate::ledger::records::{BlockRecord, Unit};
use crate::ledger::tables::{Blocks, ChangeSet, Counters, OwnerTtxos};
use crate::protocol::{PubKey, SparkOutPoint, SparkTxHash, StateHash};

/// Rows of a big block: their keys and values take three steps.
const ROWS: u32 = 150_000;

/// The block on top of a state: it writes rows and changes counters.
fn block(state: impl View, new_rows: u32) -> (Height, ChangeSet) {
    let height = state.get::<Tip>(&Only).unwrap().map_or(rules().start_height, |tip| tip.height.next());
    let mut state = Overlay::new(state);
    for n in 0..new_rows {
        let outpoint = SparkOutPoint { tx_hash: SparkTxHash([n as u8; 32]), vout: n };
        state.put::<OwnerTtxos>((PubKey([2; 33]), EntityIndex(0), outpoint), Unit).unwrap();
    }
    for counter in 0..5 {
        state.put::<Counters>(counter, u64::from(height.0)).unwrap();
    }
    let hash = BlockHash::from_byte_array([height.0 as u8; 32]);
    let state_hash = StateHash::MIN;
    state.put::<Blocks>(height, BlockRecord { hash, time: 0, state_hash, events: String::new() }).unwrap();
    state.put::<Tip>(Only, TipRecord { height, hash, time: 0, state_hash }).unwrap();
    (height, state.into_changes())
}

/// A store with one small block, and a big one that fits on it.
fn before_a_big_block(dir: &TempDir) -> (Store, (Height, ChangeSet)) {
    let store = Store::open(dir.path(), &rules()).unwrap();
    store.commit(&[block(store.view(), 3)]).unwrap();
    let big = block(store.view(), ROWS);
    (store, big)
}

fn steps(store: &Store, height: Height) -> usize {
    let from = undo::part_key(height, 0);
    content(store).keys().filter(|(name, key)| *name == UNDO && **key >= *from).count()
}

/// Writes all of a block but the last step, as a process does that is killed before it.
fn commit_in_part(store: &Store, block: &(Height, ChangeSet)) {
    let mut commit = Commit::new(store, std::slice::from_ref(block)).unwrap();
    tables::visit_tables(&mut commit).unwrap();
}

#[test]
fn a_big_block_is_written_in_steps_and_taken_back() {
    let dir = TempDir::new().unwrap();
    let (store, big) = before_a_big_block(&dir);
    let (before, rows_before) = (content(&store), rows(&store.view()));
    store.commit(std::slice::from_ref(&big)).unwrap();
    assert_eq!(steps(&store, big.0), 3);
    assert_eq!(violations(&store), []);
    assert_eq!(store.view().get::<Counters>(&4).unwrap(), Some(big.0.0.into()));
    let last = (PubKey([0xff; 33]), EntityIndex::HIGHEST, SparkOutPoint::HIGHEST);
    let view = store.view();
    let written = view.scan::<OwnerTtxos>(&<OwnerTtxos as Table>::Key::LOWEST, &last).count();
    assert_eq!(written, ROWS as usize);
    assert_eq!(rows(&view.at(Height(big.0.0 - 1)).unwrap()), rows_before);
    assert_eq!(store.undo(big.0).unwrap().len(), big.1.len());
    assert_eq!(content(&store), before);
}

#[test]
fn a_block_that_is_there_in_part_shows_nowhere_and_goes_away() {
    let dir = TempDir::new().unwrap();
    let (store, big) = before_a_big_block(&dir);
    let (before, rows_before) = (content(&store), rows(&store.view()));
    commit_in_part(&store, &big);
    assert_ne!(content(&store), before, "steps of it are there");
    let reader = Store::open_read_only(dir.path()).unwrap();
    for store in [&store, &reader] {
        assert_eq!(store.tip().unwrap().unwrap().height.next(), big.0);
        assert_eq!(rows(&store.view()), rows_before);
        assert_eq!(violations(store), []);
        assert!(matches!(store.view().at(big.0), Err(HeightError::Above { .. })));
    }
    drop((reader, store));
    let store = Store::open(dir.path(), &rules()).unwrap();
    assert_eq!(content(&store), before);
}

#[test]
fn a_commit_after_one_that_failed_begins_anew() {
    let dir = TempDir::new().unwrap();
    let (store, big) = before_a_big_block(&dir);
    commit_in_part(&store, &big);
    store.commit(std::slice::from_ref(&big)).unwrap();
    let other = TempDir::new().unwrap();
    let (never_failed, _) = before_a_big_block(&other);
    never_failed.commit(&[big]).unwrap();
    assert!(content(&store) == content(&never_failed));
}

#[test]
fn a_run_with_a_big_block_in_it_is_as_block_by_block() {
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (store, one_by_one) = (Store::open(dir.path(), &rules()), Store::open(other.path(), &rules()));
    let (store, one_by_one) = (store.unwrap(), one_by_one.unwrap());
    let view = store.view();
    let mut pending = Overlay::new(&view);
    let mut run = Vec::new();
    for new_rows in [3, 4, ROWS, 5, 6] {
        let block = block(&pending, new_rows);
        one_by_one.commit(std::slice::from_ref(&block)).unwrap();
        pending.absorb(&block.1);
        run.push(block);
    }
    store.commit(&run).unwrap();
    assert!(content(&store) == content(&one_by_one));
}

#[test]
fn an_undo_that_ends_in_the_middle_is_finished_by_the_next_start() {
    let dir = TempDir::new().unwrap();
    let (store, big) = before_a_big_block(&dir);
    let (before, rows_before) = (content(&store), rows(&store.view()));
    store.commit(std::slice::from_ref(&big)).unwrap();
    store.write_step(big.0, WriteBatch::default()).unwrap();
    let part = undo::part_key(big.0, 0);
    let mut step = WriteBatch::default();
    store.take_back_part(big.0, &part, &mut step, &mut ChangeSet::default()).unwrap();
    store.write_step(big.0, step).unwrap();
    assert_eq!(rows(&store.view()), rows_before);
    assert_eq!(violations(&store), []);
    drop(store);
    let store = Store::open(dir.path(), &rules()).unwrap();
    assert_eq!(content(&store), before);
    assert_eq!(steps(&store, big.0), 0);
}
