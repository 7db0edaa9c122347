use super::*;
use crate::ledger::keys::EntityIndex;
use crate::ledger::records::{Balance, ChunkBody, Unit};
use crate::ledger::tables::{
    Activities, Balances, ChunkBodies, ExitsByEntity, ExitsByOwner, ExitsByToken, HolderCounts, Holders,
    HoldersByAmount, IssuerTokens, Maturing, Standing, Supply, TokenNames, Totals, Watched,
};
use crate::ledger::tests::scenario::{Chain, Tx, sign};
use crate::ledger::tests::vectors::published_chain;
use crate::ledger::view::Empty;
use crate::ledger::{Overlay, apply_block};
use crate::protocol::chunk::Chunk;
use crate::protocol::manifest::{MAX_CHUNKS, SnapshotKind};
use crate::protocol::{Amount, ChunkHash, Height};
use crate::store::StoreView;
use tempfile::TempDir;

/// A database with the published chain, up to its tip.
fn database() -> (TempDir, Store) {
    let (rules, blocks) = published_chain();
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), &rules).unwrap();
    for block in &blocks {
        let applied = apply_block(store.view(), &rules, block).unwrap();
        store.commit(&[(applied.tip.height, applied.changes)]).unwrap();
    }
    (dir, store)
}

/// Lets the last block write rows past all rules.
fn tamper(store: &Store, write: impl FnOnce(&mut Overlay<&StoreView<'_>>)) {
    let (rules, blocks) = published_chain();
    let tip = store.tip().unwrap().unwrap();
    store.undo(tip.height).unwrap();
    let view = store.view();
    let mut state = Overlay::new(&view);
    state.absorb(&apply_block(&view, &rules, blocks.last().unwrap()).unwrap().changes);
    write(&mut state);
    store.commit(&[(tip.height, state.into_changes())]).unwrap();
}

fn first<T: Table>(store: &Store) -> (T::Key, T::Value) {
    let view = store.view();
    view.scan::<T>(&T::Key::LOWEST, &T::Key::HIGHEST).next().expect("the table has rows").unwrap()
}

/// The tables in which violations are found.
fn tables(store: &Store) -> Vec<&'static str> {
    let report = check(store).unwrap();
    assert_eq!(report.count as usize, report.violations.len());
    report.violations.iter().map(|violation| violation.table).collect()
}

#[test]
fn a_good_database_has_no_violation_at_any_height() {
    let (_dir, store) = database();
    while let Some(tip) = store.tip().unwrap() {
        let report = check(&store).unwrap();
        assert!(report.violations.is_empty(), "at {}: {:#?}", tip.height, report.violations);
        assert!(report.rows > 0);
        store.undo(tip.height).unwrap();
    }
    assert!(check(&store).unwrap().violations.is_empty());
}

#[test]
fn a_wrong_balance_is_found() {
    let (_dir, store) = database();
    let (key, balance) = first::<Balances>(&store);
    let wrong = Balance { available: balance.available.checked_add(Amount(1)).unwrap(), ..balance };
    tamper(&store, |state| state.put::<Balances>(key, wrong).unwrap());
    // Its place by amount is another one, too.
    assert_eq!(tables(&store), ["balances", "holders_by_amount", "holders_by_amount"]);
}

#[test]
fn missing_and_surplus_rows_of_indexes_are_found() {
    let (_dir, store) = database();
    let (holder, watched) = (first::<Holders>(&store).0, first::<Watched>(&store).0);
    let standing = first::<Standing>(&store).1;
    tamper(&store, |state| {
        state.delete::<Holders>(holder).unwrap();
        state.put::<Maturing>((Height(1), standing), Unit).unwrap();
        state.delete::<Watched>(watched).unwrap();
    });
    assert_eq!(tables(&store), ["watched", "maturing", "holders"]);
}

#[test]
fn missing_and_wrong_rows_for_readers_are_found() {
    type Damage = (&'static str, fn(&Store));
    fn lost<T: Table>() -> Damage {
        (T::NAME, |store| {
            let key = first::<T>(store).0;
            tamper(store, |state| state.delete::<T>(key).unwrap());
        })
    }
    let cases = [
        lost::<HoldersByAmount>(),
        lost::<HolderCounts>(),
        lost::<Totals>(),
        lost::<TokenNames>(),
        lost::<IssuerTokens>(),
        lost::<ExitsByOwner>(),
        lost::<ExitsByToken>(),
        lost::<ExitsByEntity>(),
        lost::<Activities>(),
        (HolderCounts::NAME, |store| {
            let (token, count) = first::<HolderCounts>(store);
            tamper(store, |state| state.put::<HolderCounts>(token, count + 1).unwrap());
        }),
        (Totals::NAME, |store| {
            let (key, mut totals) = first::<Totals>(store);
            std::mem::swap(&mut totals.exiting, &mut totals.claimed);
            totals.holders += 1;
            tamper(store, |state| state.put::<Totals>(key, totals).unwrap());
        }),
    ];
    for (table, damage) in cases {
        let (_dir, store) = database();
        damage(&store);
        assert_eq!(tables(&store), [table]);
    }
}

#[test]
fn a_wrong_total_and_a_standing_exit_that_is_gone_are_found() {
    let (_dir, store) = database();
    let ((token, _), total) = first::<Supply>(&store);
    let standing = first::<Standing>(&store).0;
    tamper(&store, |state| {
        let wrong = total.checked_add(Amount(1)).unwrap();
        state.put::<Supply>((token, EntityIndex(0)), wrong).unwrap();
        state.delete::<Standing>(standing).unwrap();
    });
    assert_eq!(tables(&store), ["standing", "supply", "balances"]);
}

#[test]
fn a_block_that_was_changed_or_lost_is_found() {
    let (_dir, store) = database();
    let (height, mut block) = first::<Blocks>(&store);
    block.events.push_str("token nobody\n");
    tamper(&store, |state| state.put::<Blocks>(height, block).unwrap());
    assert_eq!(tables(&store), ["blocks"]);
    tamper(&store, |state| state.delete::<Blocks>(Height(114)).unwrap());
    assert!(tables(&store).iter().filter(|table| **table == "blocks").count() > 1);
}

#[test]
fn a_chunk_that_was_not_judged_as_it_decodes_is_found() {
    let mut chain = Chain::new();
    chain.empty(1);
    let chunks = vec![Chunk::default().encode(), vec![0xff]];
    let snapshot = sign(&chain.manifest(SnapshotKind::Full, 1, &chunks, &[]), chunks);
    chain.one(Tx::new("half").manifest(&snapshot).chunk(&snapshot.chunks[0]));
    let violations = |state: &Overlay<Empty>| {
        let mut report = Report::default();
        derive::check_snapshots(state, &chain.rules, &mut report).unwrap();
        report.violations
    };
    assert!(violations(&chain.state).is_empty());
    let mut state = Overlay::new(Empty);
    state.absorb(chain.state.changes());
    let body = ChunkBody { decodes: false, body: snapshot.chunks[0].clone() };
    state.put::<ChunkBodies>(snapshot.signed.manifest.chunks[0], body).unwrap();
    let found = violations(&state);
    assert_eq!(found.iter().map(|violation| violation.table).collect::<Vec<_>>(), ["chunk_bodies"]);
}

#[test]
fn a_manifest_that_lists_the_most_chunks_is_accepted_and_no_violation() {
    let mut chain = Chain::new();
    chain.empty(1);
    let mut manifest = chain.manifest(SnapshotKind::Full, 1, &[], &[]);
    let hash = |n: usize| ChunkHash(std::array::from_fn(|i| (n >> (8 * (i % 2))) as u8));
    manifest.chunks = (0..MAX_CHUNKS).map(hash).collect();
    let lines = chain.one(Tx::new("most").manifest(&sign(&manifest, Vec::new())));
    assert!(lines.len() == 1 && lines[0].starts_with("manifest "), "{lines:?}");
    let mut report = Report::default();
    derive::check_snapshots(&chain.state, &chain.rules, &mut report).unwrap();
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    assert!(report.rows as usize > MAX_CHUNKS);
}
