//! Laws of the database as a whole, to the byte: what counts is the chain, and not how one came there.
//!
//! Compared are all keys and values of all column families, undo records included, as RocksDB has them;
//! all but `cache` and `stale_blocks`, which hold what is no part of the state.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bitcoin::BlockHash;
use btkn_indexer::chain::BlockFiles;
use btkn_indexer::ledger::{Overlay, Rules, apply_block};
use btkn_indexer::protocol::Height;
use btkn_indexer::scan::VerifyBlocks;
use btkn_indexer::scan::messages::BlockMessages;
use btkn_indexer::stop::Stop;
use btkn_indexer::store::Store;
use btkn_indexer::sync::status::SyncStatus;
use btkn_indexer::sync::{End, Options, Sync};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestCaseResult};
use rocksdb::{DB, IteratorMode};
use tempfile::TempDir;

use super::chain::{Chain, Fork};
use super::plan::{self, Plan, Step};
use super::random::Random;
use super::{Oracle, Run, build, cases, compare};

/// Every row of every column family that belongs to the state, as bytes.
type Content = BTreeMap<(String, Vec<u8>), Vec<u8>>;

fn content(data_dir: &Path) -> Content {
    let (path, options) = (data_dir.join("db"), rocksdb::Options::default());
    let names = DB::list_cf(&options, &path).expect("a database");
    let db = DB::open_cf_for_read_only(&options, &path, &names, false).expect("a database");
    let rows = |name: &String| {
        let family = db.cf_handle(name).expect("a column family");
        let rows = db.iterator_cf(family, IteratorMode::Start).map(|row| row.expect("a readable row"));
        rows.map(|(key, value)| ((name.clone(), key.to_vec()), value.to_vec())).collect::<Vec<_>>()
    };
    let beside = ["cache", "stale_blocks"];
    names.iter().filter(|name| !beside.contains(&name.as_str())).flat_map(rows).collect()
}

/// The keys of rows that differ.
fn differing<'a>(one: &'a Content, other: &'a Content) -> Vec<&'a (String, Vec<u8>)> {
    let missing =
        |(key, value): &(&(String, Vec<u8>), &Vec<u8>), rows: &Content| rows.get(key) != Some(*value);
    let here = one.iter().filter(|row| missing(row, other));
    here.chain(other.iter().filter(|row| missing(row, one))).map(|(key, _)| key).collect()
}

proptest! {
    #![proptest_config(Cases { max_shrink_iters: 100, ..Cases::with_cases(cases().div_ceil(16)) })]

    #[test]
    fn reorganisations_runs_and_restarts_leave_no_trace(plan in plan::plan(), habits in vec(any::<u8>(), 24)) {
        leave_no_trace(&plan, &habits)?;
    }
}

/// Applies and undoes block by block, with restarts in between. After each reorganisation, and at the end,
/// a new database with the blocks of the branch alone has the same content.
fn leave_no_trace(plan: &Plan, habits: &[u8]) -> TestCaseResult {
    let mut run = Run::new(Oracle::new(build::config(plan.start, &plan.entities)), 0);
    let dir = TempDir::new()?;
    let mut store = open(dir.path(), &run.rules);
    let mut branch: Vec<BlockMessages> = Vec::new();
    for (step, habit) in plan.steps.iter().zip(habits.iter().cycle()) {
        if habit % 4 == 0 {
            drop(store);
            store = open(dir.path(), &run.rules);
        }
        match step {
            Step::Block(txs) => {
                branch.push(run.oracle_block(txs));
                apply(&store, &branch[branch.len() - 1..]);
            }
            Step::Reorg(depth) => {
                for _ in 0..(*depth).min(branch.len()) {
                    store.undo(Height(run.oracle().tip())).expect("an undo");
                    run.oracles.pop();
                    branch.pop();
                }
                // Nobody may merge files while they are read here.
                drop(store);
                same_as_never_reorganised(dir.path(), &run.rules, &branch, 1 + usize::from(*habit) % 7)?;
                store = open(dir.path(), &run.rules);
            }
        }
    }
    drop(store);
    same_as_never_reorganised(dir.path(), &run.rules, &branch, 3)
}

fn open(dir: &Path, rules: &Rules) -> Store {
    Store::open(dir, rules).expect("our own database")
}

fn same_as_never_reorganised(
    dir: &Path,
    rules: &Rules,
    branch: &[BlockMessages],
    run: usize,
) -> TestCaseResult {
    let fresh = TempDir::new()?;
    let store = open(fresh.path(), rules);
    branch.chunks(run).for_each(|blocks| apply(&store, blocks));
    drop(store);
    let (one, other) = (content(dir), content(fresh.path()));
    prop_assert_eq!(differing(&one, &other), Vec::<&(String, Vec<u8>)>::new());
    Ok(())
}

/// Commits a run of blocks.
fn apply(store: &Store, blocks: &[BlockMessages]) {
    let view = store.view();
    let mut pending = Overlay::new(&view);
    let mut run = Vec::new();
    for block in blocks {
        let applied = apply_block(&pending, store.rules(), block).expect("a block that follows");
        pending.absorb(&applied.changes);
        run.push((applied.tip.height, applied.changes));
    }
    store.commit(&run).expect("a commit");
}

/// Brings a database up to the best block of the chain.
fn sync(data_dir: &Path, chain: &Chain, threads: usize, batch_blocks: usize) -> Option<BlockHash> {
    let store = Arc::new(open(data_dir, &chain.rules));
    let source = Box::new(BlockFiles::open(&chain.blocks_dir, chain.rules.network).expect("block files"));
    let (status, _) = tokio::sync::watch::channel(SyncStatus::starting());
    let options = Options { threads, batch_blocks, undo_blocks: None, verify_blocks: VerifyBlocks::Merkle };
    let mut sync = Sync::new(store.clone(), source, options, status, Stop::new()).expect("a thread pool");
    assert_eq!(sync.catch_up().expect("a good chain"), End::Done);
    store.tip().expect("a readable tip").map(|tip| tip.hash)
}

#[test]
fn threads_batches_and_the_way_to_a_block_change_no_byte() {
    let dir = TempDir::new().expect("a temporary directory");
    let mut chain = Chain::new(dir.path());
    let mut random = Random::new(cases().into());
    let grown = dir.path().join("grown");
    let mut steps = 0;
    while !chain.is_complete() {
        let wanted = *random.pick(&[None, Some(Fork::Shallow), Some(Fork::Deep)]);
        let what = chain.grow(&mut random, wanted);
        steps += 1;
        let (threads, batch) = (*random.pick(&[1, 2, 4]), *random.pick(&[1, 3, 8, 64]));
        let tip = sync(&grown, &chain, threads, batch);
        assert_eq!(tip, Some(chain.best()), "step {steps}: {what}");
        if !chain.is_complete() && !random.percent(15) {
            continue;
        }
        let fresh = dir.path().join("fresh");
        sync(&fresh, &chain, *random.pick(&[1, 2, 4]), *random.pick(&[1, 3, 8, 64]));
        assert_eq!(
            differing(&content(&grown), &content(&fresh)),
            Vec::<&(String, Vec<u8>)>::new(),
            "step {steps}"
        );
        let store = Store::open_read_only(&fresh).expect("a database");
        chain.state(tip, |rules, oracle| {
            for (topic, ledger, oracle) in compare::topics(&store.view(), rules, oracle) {
                assert_eq!(ledger, oracle, "{topic} differ after step {steps}");
            }
        });
        drop(store);
        std::fs::remove_dir_all(fresh).expect("a directory of ours");
    }
}
