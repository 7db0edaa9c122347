//! `btkn verify`: it passes on a good database, and names the first thing that is not as it should be.

use std::path::Path;
use std::process::Output;

use btkn_indexer::ledger::keys::KeyPart;
use btkn_indexer::ledger::tables::{Balances, Blocks, Table};
use btkn_indexer::ledger::{Overlay, View};
use btkn_indexer::protocol::{Amount, Height};
use btkn_indexer::store::{Store, StoreView};

use crate::cli::{OTHER_KEY, Place, assert_done, assert_fails, last_json, stderr};
use crate::kit::{Bench, fixture, fixture_bench};
use crate::mini_chain;

fn source() -> Vec<String> {
    vec!["--blocks-dir".into(), fixture("blocks").display().to_string()]
}

fn verify(bench: &Bench, more: &[&str]) -> Output {
    bench.command("verify", "data", &source()).args(more).output().unwrap()
}

/// Changes the database past all rules.
fn tamper(data_dir: &Path, change: impl FnOnce(&mut Overlay<StoreView<'_>>)) {
    let rules = Store::open_read_only(data_dir).unwrap().rules().clone();
    let store = Store::open(data_dir, &rules).unwrap();
    let mut overlay = Overlay::new(store.view());
    change(&mut overlay);
    let changes = overlay.changes().clone();
    store.commit(&[(Height(u32::MAX), changes)]).unwrap();
}

fn first<T: Table>(view: &impl View) -> (T::Key, T::Value) {
    view.scan::<T>(&T::Key::LOWEST, &T::Key::HIGHEST).next().unwrap().unwrap()
}

#[test]
fn what_follows_from_the_blocks_passes_and_nothing_is_left_behind() {
    let bench = fixture_bench();
    let blocks = bench.sync("data", &source())["blocks"].clone();
    let scratch = bench.data_dir("data").join("btkn-verify");
    // What a run that was killed left behind is not in the way, whatever is in it.
    let rules = Store::open_read_only(&bench.data_dir("data")).unwrap().rules().clone();
    drop(Store::open(&scratch, &rules).unwrap());
    tamper(&scratch, |left| left.put::<Balances>(KeyPart::LOWEST, Default::default()).unwrap());

    let before = bench.dump("data");
    let verified = verify(&bench, &["--json"]);
    assert_done(&verified);
    let extent = last_json(&verified);
    assert_eq!(extent["blocks"], blocks);
    assert!(extent["rows"].as_u64() > blocks.as_u64(), "{extent}");
    assert!(!scratch.exists());
    assert_eq!(bench.dump("data"), before);
}

#[test]
fn the_first_block_with_another_state_hash_is_named_with_its_events() {
    let bench = fixture_bench();
    bench.sync("data", &source());
    let heights = [Height(150), Height(200)];
    tamper(&bench.data_dir("data"), |state| {
        for height in heights {
            let mut block = state.expect::<Blocks>(&height).unwrap();
            block.events.push_str("forged 1\n");
            block.state_hash.0[0] ^= 1;
            state.put::<Blocks>(height, block).unwrap();
        }
    });
    let failed = verify(&bench, &[]);
    assert_fails(&failed, 1, "the first block that differs is 150");
    assert!(stderr(&failed).contains("only in the database  forged 1"), "{}", stderr(&failed));
}

#[test]
fn a_row_that_no_state_hash_covers_is_named() {
    let bench = fixture_bench();
    bench.sync("data", &source());
    tamper(&bench.data_dir("data"), |state| {
        let (key, mut balance) = first::<Balances>(state);
        balance.available = Amount(balance.available.0 + 1);
        state.put::<Balances>(key, balance).unwrap();
    });
    let failed = verify(&bench, &[]);
    assert_fails(&failed, 1, "the table balances differs first at");

    let missing = fixture_bench();
    missing.sync("data", &source());
    tamper(&missing.data_dir("data"), |state| {
        let (key, _) = first::<Balances>(state);
        state.delete::<Balances>(key).unwrap();
    });
    assert_fails(&verify(&missing, &[]), 1, "in the database  no such row");
}

#[test]
fn a_source_with_another_chain_or_a_shorter_one_is_told_from_a_wrong_state() {
    let place = Place::new();
    assert_done(&place.sync(&[]));
    let entity = format!("a={}", crate::cli::KEY);
    let verify = |blocks: &str, entity: &str| {
        let options =
            ["--network", "regtest", "--entity", entity, "--data-dir", "data", "--blocks-dir", blocks];
        place.run(&[["verify"].as_slice(), &options].concat())
    };
    assert_done(&verify("blocks", &entity));

    let chain = mini_chain::blocks(8);
    let other = mini_chain::write(&place.path("other"), &chain[..=5]);
    mini_chain::append(&other, &mini_chain::branch(&chain[5], 5, 9, 1));
    assert_fails(&verify("other/blocks", &entity), 1, "block 6 of the database is");
    mini_chain::write(&place.path("shorter"), &chain[..=5]);
    assert_fails(&verify("shorter/blocks", &entity), 1, "all is equal up to block 5, where the source ends");
    assert_fails(&verify("blocks", &format!("a={OTHER_KEY}")), 1, "entities");
}

#[test]
fn a_source_that_is_ahead_is_no_difference_whatever_number_of_undo_records_is_kept() {
    let place = Place::new();
    let entity = format!("a={}", crate::cli::KEY);
    assert_done(&place.sync(&["--undo-blocks", "1"]));
    mini_chain::append(&place.blocks, &mini_chain::branch(&mini_chain::blocks(8)[8], 8, 30, 0));
    let options = [place.sync_options(&entity).as_slice(), &["--undo-blocks", "1", "--json"]].concat();
    let verified = place.run(&[["verify"].as_slice(), &options].concat());
    assert_done(&verified);
    assert_eq!(last_json(&verified)["blocks"], 9);
}

#[test]
fn what_a_killed_one_left_behind_is_not_in_the_way_of_a_rebuild() {
    let bench = fixture_bench();
    bench.sync("data", &source());
    let state = bench.dump("data");
    let scratch = bench.data_dir("data").join("btkn-verify");
    std::fs::create_dir(&scratch).unwrap();
    std::fs::write(scratch.join("left"), "over").unwrap();
    assert_done(&bench.command("sync", "data", &source()).arg("--rebuild").output().unwrap());
    assert_eq!(bench.dump("data"), state);
}
