//! The pipeline against the naive scanner: whatever the threads, their luck, and when the watched set grows.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Duration;

use proptest::collection::vec;

use super::super::pipeline::{Blocks, Failure, Scanned, Workers, scan_in_order};
use super::super::{BlockFault, Scanner};
use super::*;

/// A chain whose blocks come after so many microseconds each.
struct Slow<'a> {
    chain: &'a Chain,
    delays: &'a [u8],
    /// The block that does not come.
    missing: Option<usize>,
    fetched: AtomicUsize,
    ahead: Mutex<Vec<Range<usize>>>,
}

impl<'a> Slow<'a> {
    fn new(chain: &'a Chain, delays: &'a [u8]) -> Self {
        Slow { chain, delays, missing: None, fetched: AtomicUsize::new(0), ahead: Mutex::default() }
    }
}

impl Blocks for Slow<'_> {
    type Error = usize;

    fn count(&self) -> usize {
        self.chain.0.len()
    }

    fn hash(&self, index: usize) -> BlockHash {
        self.chain.0[index].0
    }

    fn fetch<'a>(&'a self, index: usize, buf: &'a mut Vec<u8>) -> Result<&'a [u8], usize> {
        let delay = self.delays[index % self.delays.len()];
        std::thread::sleep(Duration::from_micros(u64::from(delay) * 10));
        self.fetched.fetch_add(1, Ordering::Relaxed);
        buf.clone_from(&self.chain.0[index].1);
        if self.missing == Some(index) { Err(index) } else { Ok(buf) }
    }

    fn can_read_ahead(&self) -> bool {
        true
    }

    fn read_ahead(&self, blocks: Range<usize>) {
        self.ahead.lock().unwrap().push(blocks);
    }
}

fn workers(scanning: usize, under_way: usize) -> Workers {
    Workers { scanning, under_way }
}

/// Blocks in order, with names that go to the watched set after every so many blocks.
fn scan(blocks: &Slow<'_>, watched: WatchSet, workers: Workers, run: usize) -> Vec<BlockMessages> {
    let watched = RwLock::new(watched);
    scan_in_order(blocks, Scanner::of_unmined_blocks(), &watched, workers, |ordered| {
        let mut all = Vec::new();
        while let Some(next) = ordered.next_block() {
            all.push(next.unwrap().messages);
            if all.len().is_multiple_of(run) {
                let named = all[all.len() - run..].iter().flat_map(named_outpoints);
                watched.write().unwrap().extend(named);
                ordered.watching_all();
            }
        }
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn threads_and_their_luck_do_not_show(
        plan in generate::plan(),
        delays in vec(any::<u8>(), 1..8),
        threads in (1usize..4, 1usize..6),
        run in 1usize..5,
    ) {
        let (chain, watched) = generate::chain(&plan);
        let expected = naive(&chain, &watched);
        let blocks = Slow::new(&chain, &delays);
        prop_assert_eq!(scan(&blocks, watched, workers(threads.0, threads.1), run), expected);
    }
}

fn plain_chain(count: u32) -> Chain {
    Chain::of((0..count).map(|n| vec![plain_tx(n)]).collect())
}

#[test]
fn a_block_that_does_not_come_or_is_not_good_is_named_in_its_turn() {
    for missing in [None, Some(60)] {
        let (mut chain, watched) = (plain_chain(400), RwLock::default());
        chain.0[60].1.truncate(100);
        let blocks = Slow { missing, ..Slow::new(&chain, &[9, 0, 3]) };
        let scanner = Scanner::of_unmined_blocks();
        let outcomes = scan_in_order(&blocks, scanner, &watched, workers(2, 3), |ordered| {
            std::iter::from_fn(|| ordered.next_block()).collect::<Vec<_>>()
        });
        // Those that were under way at that moment come too.
        assert!((61..=61 + 128).contains(&outcomes.len()), "{} blocks", outcomes.len());
        assert_eq!(blocks.fetched.load(Ordering::Relaxed), outcomes.len());
        for (index, outcome) in outcomes.into_iter().enumerate() {
            match (index, outcome) {
                (60, Err(Failure::Fetch(60))) if missing.is_some() => {}
                (60, Err(Failure::Fault(BlockFault::Undecodable { .. }))) if missing.is_none() => {}
                (_, Ok(Scanned { messages, bytes })) if index != 60 => {
                    assert_eq!((messages.hash, bytes), (chain.0[index].0, chain.0[index].1.len()));
                }
                (_, outcome) => panic!("{index}: {outcome:?}"),
            }
        }
    }
}

#[test]
fn whoever_has_seen_enough_ends_it() {
    let chain = plain_chain(500);
    let blocks = Slow::new(&chain, &[1]);
    let watched = RwLock::default();
    let first = scan_in_order(&blocks, Scanner::of_unmined_blocks(), &watched, workers(3, 3), |ordered| {
        ordered.next_block().unwrap().unwrap().messages.hash
    });
    assert_eq!(first, chain.0[0].0);
    let fetched = blocks.fetched.load(Ordering::Relaxed);
    assert!(fetched < 150, "{fetched} blocks were fetched, though scanning is bounded");
}

#[test]
fn blocks_are_announced_once_and_in_order_before_they_are_fetched() {
    let chain = plain_chain(200);
    let blocks = Slow::new(&chain, &[20]);
    assert_eq!(scan(&blocks, WatchSet::new(), workers(2, 2), 10).len(), 200);
    let ahead = blocks.ahead.lock().unwrap();
    assert_eq!((ahead[0].start, ahead[ahead.len() - 1].end), (0, 200), "{ahead:?}");
    assert!(ahead.windows(2).all(|pair| pair[0].end == pair[1].start), "{ahead:?}");
}
