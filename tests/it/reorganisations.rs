//! Reorganisations of any depth, with all undo records and with a limited number of them.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bitcoin::{Block, BlockHash};
use btkn_indexer::chain::{BlockFiles, BlockId, Source, SourceError};
use btkn_indexer::check::check;
use btkn_indexer::ledger::records::TipRecord;
use btkn_indexer::ledger::{Entities, EntityConfig, EntityKey, Rules};
use btkn_indexer::protocol::{Height, Network, PubKey};
use btkn_indexer::scan::VerifyBlocks;
use btkn_indexer::stop::Stop;
use btkn_indexer::store::Store;
use btkn_indexer::sync::status::SyncStatus;
use btkn_indexer::sync::{End, Options, Sync};
use btkn_indexer::verify::{Outcome, verify};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::mini_chain;

const START: Height = Height(2);

fn rules() -> Rules {
    let keys = vec![EntityKey { key: PubKey::BURN, from_height: Height(0) }];
    let entities = Entities::new(vec![EntityConfig { name: "a".into(), keys }]).unwrap();
    Rules { network: Network::Regtest, start_height: START, entities }
}

/// What a reader of the status saw whenever a block was fetched.
type Seen = Arc<Mutex<Vec<SyncStatus>>>;

fn sync(blocks: &Path, store: &Arc<Store>, undo_blocks: Option<u32>) -> (Sync, Seen) {
    sync_until(Stop::new(), blocks, store, undo_blocks)
}

fn sync_until(stop: Stop, blocks: &Path, store: &Arc<Store>, undo_blocks: Option<u32>) -> (Sync, Seen) {
    let seen = Seen::default();
    let (sender, status) = watch::channel(SyncStatus::starting());
    let files = BlockFiles::open(blocks, Network::Regtest).unwrap();
    let source = Box::new(Watched { files, status, seen: seen.clone() });
    let options = Options {
        threads: 1,
        batch_blocks: 8,
        undo_blocks: undo_blocks.and_then(NonZeroU32::new),
        verify_blocks: VerifyBlocks::Merkle,
    };
    (Sync::new(store.clone(), source, options, sender, stop).unwrap(), seen)
}

/// Block files that grow, and a database that follows them.
struct Following {
    dir: TempDir,
    chain: Vec<Block>,
    branches: u64,
    store: Arc<Store>,
    sync: Sync,
    seen: Seen,
}

impl Following {
    fn new(undo_blocks: Option<u32>) -> Self {
        let dir = TempDir::new().unwrap();
        let chain = mini_chain::blocks(40);
        let blocks = mini_chain::write(dir.path(), &chain);
        let store = Arc::new(Store::open(&dir.path().join("data"), &rules()).unwrap());
        let (sync, seen) = sync(&blocks, &store, undo_blocks);
        let mut following = Following { dir, chain, branches: 0, store, sync, seen };
        following.catch_up();
        following
    }

    fn blocks(&self) -> PathBuf {
        self.dir.path().join("blocks")
    }

    fn catch_up(&mut self) {
        self.seen.lock().unwrap().clear();
        assert_eq!(self.sync.catch_up().unwrap(), End::Done);
        let tip = self.store.tip().unwrap().unwrap();
        assert_eq!(tip.hash, self.chain.last().unwrap().block_hash());
    }

    /// Another branch, one block longer than the chain, replaces its last `depth` blocks. Returns how many
    /// blocks were fetched for it.
    fn reorganise(&mut self, depth: usize) -> usize {
        self.replace(depth);
        self.catch_up();
        self.seen.lock().unwrap().len()
    }

    /// Writes a better branch without following it.
    fn replace(&mut self, depth: usize) {
        self.branches += 1;
        let height = self.chain.len() as u32;
        self.chain.truncate(self.chain.len() - depth);
        let fork = self.chain.len() as u32 - 1;
        let branch = mini_chain::branch(&self.chain[fork as usize], fork, height, self.branches);
        mini_chain::append(&self.blocks(), &branch);
        self.chain.extend(branch);
    }

    /// The database is as good as one that only ever saw the present chain.
    fn assert_as_fresh(&self, what: &str) {
        let report = check(&self.store).unwrap();
        assert!(report.violations.is_empty(), "{what}: {:#?}", report.violations);
        let fresh = TempDir::new().unwrap();
        let blocks = mini_chain::write(fresh.path(), &self.chain);
        let derived = Arc::new(Store::open(&fresh.path().join("data"), &rules()).unwrap());
        let (mut sync, _) = sync(&blocks, &derived, None);
        let outcome = verify(&self.store, &mut sync, &derived).unwrap();
        assert!(matches!(outcome, Outcome::Equal(_)), "{what}: {outcome:?}");
    }
}

/// Block files that write down what the status is while they are read.
struct Watched {
    files: BlockFiles,
    status: watch::Receiver<SyncStatus>,
    seen: Seen,
}

impl Source for Watched {
    fn describe(&self) -> String {
        self.files.describe()
    }

    fn refresh(&mut self) -> Result<BlockId, SourceError> {
        self.files.refresh()
    }

    fn hashes(&self, from: Height, count: usize) -> Result<Vec<BlockHash>, SourceError> {
        self.files.hashes(from, count)
    }

    fn fetch(&self, block: BlockId, buffer: &mut Vec<u8>) -> Result<(), SourceError> {
        self.seen.lock().unwrap().push(self.status.borrow().clone());
        self.files.fetch(block, buffer)
    }

    fn locate(&self, block: BlockId) -> String {
        self.files.locate(block)
    }

    fn wait(&self, known: BlockHash, timeout: Duration) -> Result<(), SourceError> {
        self.files.wait(known, timeout)
    }
}

#[test]
fn any_depth_is_undone_down_to_the_block_at_the_start_height_and_below_it() {
    // The chain is one block longer each time; the last three replace the start block or its parents.
    for depth in [1, 2, 7, 8, 9, 20, 38, 39, 40] {
        let mut following = Following::new(None);
        let blocks_left = following.chain.len() - depth;
        let fetched = following.reorganise(depth);
        let replaced = following.chain.len() - blocks_left.max(START.0 as usize);
        assert_eq!(fetched, replaced, "depth {depth}: only blocks of the new branch are read");
        following.assert_as_fresh(&format!("depth {depth}"));
    }
}

#[test]
fn one_reorganisation_after_the_other_ends_as_if_only_the_last_branch_had_ever_been() {
    let mut following = Following::new(None);
    for depth in [3, 1, 20, 2, 41, 5] {
        following.reorganise(depth);
        following.assert_as_fresh(&format!("after {} branches", following.branches));
    }
}

#[test]
fn within_the_kept_undo_records_a_reorganisation_is_undone() {
    for depth in [1, 9, 10] {
        let mut following = Following::new(Some(10));
        assert_eq!(following.store.undo_from().unwrap(), Height(31));
        let fetched = following.reorganise(depth);
        assert_eq!(fetched, depth + 1, "depth {depth}: nothing else is read again");
        following.assert_as_fresh(&format!("depth {depth}"));
    }
}

#[test]
fn below_the_kept_undo_records_the_state_is_rebuilt_and_readers_are_told() {
    for depth in [11, 39, 40] {
        let mut following = Following::new(Some(10));
        let fetched = following.reorganise(depth);
        assert_eq!(fetched, 40, "depth {depth}: every block from the start height on is read again");
        for status in following.seen.lock().unwrap().iter().take(30) {
            assert!(!status.close(following.store.rules().start_height), "{status:?}");
            let problem = status.problem.as_deref().unwrap();
            assert!(problem.contains("rebuilt from height 2"), "{problem}");
        }
        assert_eq!(following.store.undo_from().unwrap(), Height(32));
        following.assert_as_fresh(&format!("depth {depth}"));
        assert_eq!(following.reorganise(10), 11, "it undoes again");
        following.assert_as_fresh(&format!("depth {depth}, then 10"));
    }
}

#[test]
fn a_new_limit_counts_from_the_next_block_on_and_never_brings_records_back() {
    let mut following = Following::new(None);
    for (limit, undo_from) in [(Some(5), 37), (Some(20), 37), (None, 37), (Some(3), 42)] {
        (following.sync, following.seen) = sync(&following.blocks(), &following.store, limit);
        following.reorganise(1);
        assert_eq!(following.store.undo_from().unwrap(), Height(undo_from), "{limit:?}");
        following.assert_as_fresh(&format!("{limit:?}"));
    }
}

#[test]
fn a_stop_in_the_middle_of_a_reorganisation_leaves_a_state_from_which_the_next_start_goes_on() {
    let mut following = Following::new(None);
    following.replace(30);
    let mut stopped_at = Vec::new();
    // The moment is up to the machine: a longer one each time, until a start is left in peace.
    for patience in (0..).map(|n| Duration::from_micros(100 * n)) {
        let stop = Stop::new();
        let (mut sync, _) = sync_until(stop.clone(), &following.blocks(), &following.store, None);
        let asking = std::thread::spawn(move || {
            std::thread::sleep(patience);
            stop.request();
        });
        let end = sync.catch_up().unwrap();
        asking.join().unwrap();
        let report = check(&following.store).unwrap();
        assert!(report.violations.is_empty(), "{:#?}", report.violations);
        if end == End::Done {
            break;
        }
        stopped_at.push(following.store.tip().unwrap().unwrap());
    }
    let stale = |tip: &&TipRecord| !following.chain.iter().any(|block| block.block_hash() == tip.hash);
    let in_between = stopped_at.iter().filter(stale).filter(|tip| tip.height.0 < 40);
    assert!(in_between.count() > 0, "{stopped_at:?}");
    following.catch_up();
    following.assert_as_fresh("stopped in between");
}
