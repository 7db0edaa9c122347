//! Messages that are made to do harm: what they leave behind, and what looking at them costs.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use bitcoin::Block;
use bitcoin::consensus::encode;
use btkn_testkit::hostile::{Case, Scene, cases};
use btkn_testkit::mine_on;

use super::scenario::*;
use crate::ledger::records::{Counter, Notice};
use crate::ledger::tables::*;
use crate::ledger::view::{Empty, Overlay, RowIter, View};
use crate::ledger::{
    Applied, Entities, EntityConfig, EntityKey, ReadError, Rules, apply_block, manifests::MAX_PENDING,
};
use crate::protocol::Height;
use crate::protocol::ttxo::Ttxo;
use crate::scan::{RawBlock, WatchSet, named_outpoints, scan_batch};

/// The state after the blocks of a scene and some more.
struct State {
    rules: Rules,
    state: Overlay<Empty>,
    watched: WatchSet,
}

impl State {
    fn of(scene: &Scene) -> Self {
        let key = EntityKey { key: scene.spark.key().to_string().parse().unwrap(), from_height: Height(0) };
        let entities =
            Entities::new(vec![EntityConfig { name: "operators".into(), keys: vec![key] }]).unwrap();
        let rules = Rules { network: NETWORK, start_height: Height(0), entities };
        let mut state = State { rules, state: Overlay::new(Empty), watched: WatchSet::new() };
        for block in &scene.blocks {
            state.apply(block);
        }
        assert_eq!(rows::<Active>(&state), 1, "the scene has published a snapshot");
        state
    }

    fn apply(&mut self, block: &Block) -> Applied {
        let (hash, bytes) = (block.block_hash(), encode::serialize(block));
        let scanned = scan_batch(&[RawBlock { hash, bytes: &bytes }], &self.watched).remove(0).unwrap();
        self.watched.extend(named_outpoints(&scanned));
        let applied = apply_block(&self.state, &self.rules, &scanned).unwrap();
        self.state.absorb(&applied.changes);
        applied
    }

    fn counted(&self) -> u64 {
        Counter::ALL.iter().filter_map(|counter| self.state.get::<Counters>(&(*counter as u8)).unwrap()).sum()
    }
}

/// How many rows a table has.
fn rows<T: Table>(state: &State) -> usize {
    T::rows(state.state.changes()).values().filter(|change| change.after.is_some()).count()
}

/// How many rows were changed in each table that was changed.
fn changed(changes: &ChangeSet) -> BTreeMap<&'static str, usize> {
    struct Count<'a>(&'a ChangeSet, BTreeMap<&'static str, usize>);
    impl TableVisitor for Count<'_> {
        type Error = std::convert::Infallible;

        fn table<T: Table>(&mut self) -> Result<(), Self::Error> {
            let count = T::rows(self.0).len();
            (count > 0).then(|| self.1.insert(T::NAME, count));
            Ok(())
        }
    }
    let mut count = Count(changes, BTreeMap::new());
    let Ok(()) = visit_tables(&mut count);
    count.1
}

#[test]
fn hostile_blocks_change_counters_and_the_ring_of_notices_alone() {
    let scene = Scene::new(50);
    for case in cases() {
        let mut state = State::of(&scene);
        let mut events = 0;
        for block in case.chain(&scene, 100_000, 2) {
            let before = state.counted();
            let applied = state.apply(&block);
            let changed = changed(&applied.changes);
            let others: BTreeSet<_> =
                changed.keys().filter(|table| !Case::ALWAYS.contains(table)).copied().collect();
            assert!(others.iter().all(|table| case.keeps.contains(table)), "{}: {changed:?}", case.name);
            assert_eq!(others.is_empty(), case.keeps.is_empty(), "{}: {changed:?}", case.name);
            let ring = changed.get(Notices::NAME).copied().unwrap_or(0);
            assert!(ring <= usize::from(Notice::KEPT), "{}: {ring} notices", case.name);
            events += applied.events.len();
            // What is kept or counted was a message; the others must not be taken for one.
            let is_message = state.counted() > before || !applied.events.is_empty();
            assert_eq!(is_message, !SILENT.contains(&case.name), "{}: {changed:?}", case.name);
        }
        let has_events = !case.keeps.is_empty() || case.name == "replayed manifests";
        assert_eq!(events > 0, has_events, "{}", case.name);
    }
    let known = |name: &&&str| cases().iter().any(|case| case.name == **name);
    assert_eq!(SILENT.iter().filter(known).count(), SILENT.len(), "every name is that of a case");
}

/// Cases without any message.
const SILENT: &[&str] = &[
    "near misses in OP_RETURN",
    "names in script_sigs",
    "one transaction of inputs",
    "names in witness items",
    "names in tapscripts",
    "names in other inscriptions",
    "one witness of one item",
];

/// Counts the rows that are read from a view.
struct Counting<'a, V> {
    base: &'a V,
    reads: Cell<u64>,
}

impl<V: View> View for Counting<'_, V> {
    fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Value>, ReadError> {
        self.reads.set(self.reads.get() + 1);
        self.base.get::<T>(key)
    }

    fn scan<T: Table>(&self, from: &T::Key, to: &T::Key) -> RowIter<'_, T> {
        self.reads.set(self.reads.get() + 1);
        let count = || self.reads.set(self.reads.get() + 1);
        Box::new(self.base.scan::<T>(from, to).inspect(move |_| count()))
    }
}

/// Rows that the next block of a chain reads.
fn reads(chain: &Chain, txs: Vec<Tx>) -> u64 {
    let counting = Counting { base: &chain.state, reads: Cell::new(0) };
    apply_block(&counting, &chain.rules, &chain.messages(txs)).unwrap();
    counting.reads.get()
}

/// Announcements of one transaction, one record each, that all name its output 0.
fn naming_output_0(ttxos: &[Ttxo]) -> Tx {
    let poor = crate::scan::messages::BondOutput { value: BOND - 1, taproot_key: None };
    ttxos
        .iter()
        .fold(Tx::new("crowd"), |tx, ttxo| tx.withdraw(key("alpha"), &[(0, ttxo.outpoint, Some(poor))]))
}

#[test]
fn exits_that_name_one_output_are_not_compared_with_each_other() {
    let of = |count: u32| {
        let mut chain = Chain::new();
        let set: Vec<Ttxo> = (0..count).map(|n| ttxo(n, "anna", 1)).collect();
        chain.activate(1, &[ttxo(count, "ben", 1)]);
        let lines = chain.one(naming_output_0(&set));
        assert!(lines.iter().all(|line| line.ends_with("unresolved")), "{lines:?}");
        let snapshot = chain.full(2, &set);
        let reads = reads(&chain, vec![Tx::new("snapshot").snapshot(&snapshot)]);
        let lines = chain.one(Tx::new("snapshot").snapshot(&snapshot));
        let poor =
            last_words(&lines, "exit").iter().filter(|word| **word == "invalid:insufficient_bond").count();
        assert_eq!(poor, set.len());
        reads
    };
    let (few, many) = (of(50), of(400));
    assert!(many < 10 * few, "8 times as many take {few} and {many} reads");
}

#[test]
fn an_output_that_is_taken_in_a_block_is_taken_for_the_rest_of_it() {
    let mut chain = Chain::new();
    let (a, b) = (ttxo(1, "anna", 1), ttxo(2, "anna", 2));
    chain.activate(1, &[a, b]);
    let poor = crate::scan::messages::BondOutput { value: BOND - 1, taproot_key: None };
    let crowd = Tx::new("crowd")
        .withdraw(key("alpha"), &[(0, b.outpoint, Some(poor))])
        .withdraw(key("alpha"), &[(0, a.outpoint, Some(good_bond(&a)))])
        .withdraw(key("alpha"), &[(0, b.outpoint, Some(good_bond(&b)))]);
    let lines = chain.one(crowd);
    let expected = ["invalid:insufficient_bond", "pending", "invalid:output_taken"];
    assert_eq!(last_words(&lines, "exit"), expected);
}

#[test]
fn an_activation_does_not_read_what_strangers_announced() {
    let of = |strangers: u32| {
        let mut chain = Chain::new();
        chain.activate(1, &[ttxo(0, "ben", 1)]);
        let unknown: Vec<Ttxo> = (100..100 + strangers).map(|n| ttxo(n, "carl", 1)).collect();
        chain.one(naming_output_0(&unknown));
        // One that will be declared is waited for, so that a jump has to land on it.
        let set: Vec<Ttxo> = (1..11).map(|n| ttxo(n, "anna", 1)).collect();
        let exit = Tx::new("exit").exit(key("alpha"), &[&set[7]]);
        assert_eq!(last_words(&chain.one(exit), "exit"), ["unresolved"]);
        let snapshot = chain.full(2, &set);
        let reads = reads(&chain, vec![Tx::new("snapshot").snapshot(&snapshot)]);
        let lines = chain.one(Tx::new("snapshot").snapshot(&snapshot));
        assert_eq!(last_words(&lines, "exit"), ["pending"], "{lines:?}");
        reads
    };
    let (few, many) = (of(100), of(3_000));
    assert!(many < few + 300, "100 announcements take {few} reads, 3,000 take {many}");
}

/// What an entity can make an indexer keep with manifests that are never completed is bounded by the limit
/// on pending ones.
#[test]
fn manifests_that_wait_for_ever_are_bounded_and_go_away() {
    const CHUNKS: usize = 40;
    let scene = Scene::new(1);
    let mut state = State::of(&scene);
    let waiting: Vec<_> = (10..10 + MAX_PENDING as u64 + 20).map(|n| scene.waiting(n, CHUNKS)).collect();
    let parent = &scene.blocks.last().unwrap().header;
    let block = mine_on(parent, 3, Vec::new(), waiting);
    state.apply(&block);
    assert_eq!(rows::<Pending>(&state), MAX_PENDING);
    assert_eq!(rows::<Wanted>(&state), MAX_PENDING * CHUNKS);
    assert_eq!((rows::<ChunkHolders>(&state), rows::<ChunkBodies>(&state)), (0, 0));

    // One with a higher sequence that is complete makes them all useless.
    let last = mine_on(&block.header, 4, Vec::new(), vec![scene.republish(1_000)]);
    state.apply(&last);
    assert_eq!((rows::<Pending>(&state), rows::<Wanted>(&state)), (0, 0));
    assert_eq!((rows::<ChunkHolders>(&state), rows::<ChunkBodies>(&state)), (0, 0));
}
