use std::sync::Arc;

use bitcoin::BlockHash;
use bitcoin::hashes::{Hash, sha256};
use proptest::collection::vec;
use proptest::prelude::*;

use super::position::Position;
use super::walk::{Item, Part, WalkError, Wanted, What, read};
use crate::ledger::apply_block;
use crate::ledger::tests::scenario::{Chain, Tx, key, ttxo};
use crate::protocol::Height;
use crate::scan::BlockMessages;
use crate::store::Store;

/// A store whose chain goes wherever a test wants it.
pub struct World {
    pub store: Arc<Store>,
    /// The best chain.
    pub blocks: Vec<BlockMessages>,
    made: u32,
    dir: tempfile::TempDir,
    chain: Chain,
}

impl World {
    pub fn new() -> World {
        let (dir, chain) = (tempfile::tempdir().unwrap(), Chain::new());
        let store = Arc::new(Store::open(dir.path(), &chain.rules).unwrap());
        World { store, blocks: Vec::new(), made: 0, dir, chain }
    }

    /// A block on top, with so many events, which no other block has.
    pub fn block(&mut self, events: u8) {
        self.made += 1;
        let label = format!("block {}", self.made);
        let records: Vec<_> = (0..events)
            .map(|n| (n.into(), ttxo(1000 * self.made + u32::from(n), "nobody", 1).outpoint, None))
            .collect();
        let tx = Tx::new(&label).withdraw(key("alpha"), &records);
        let mut messages = self.chain.messages(if events > 0 { vec![tx] } else { vec![] });
        messages.hash = BlockHash::from_byte_array(sha256::Hash::hash(label.as_bytes()).to_byte_array());
        messages.prev_hash = self.blocks.last().map_or(BlockHash::all_zeros(), |below| below.hash);
        self.apply(&messages);
        self.blocks.push(messages);
    }

    fn apply(&self, messages: &BlockMessages) {
        let applied = apply_block(self.store.view(), self.store.rules(), messages).unwrap();
        self.store.commit(&[(applied.tip.height, applied.changes)]).unwrap();
    }

    /// Takes blocks back; returns them, the lowest first.
    pub fn undo(&mut self, depth: usize) -> Vec<BlockMessages> {
        let left = self.blocks.len().saturating_sub(depth);
        let stale = self.blocks.split_off(left);
        for _ in &stale {
            self.store.undo(self.store.tip().unwrap().unwrap().height).unwrap();
        }
        stale
    }

    /// Takes blocks back by dropping everything, and applies the rest again.
    pub fn start_over(&mut self, depth: usize) {
        let left = self.blocks.len().saturating_sub(depth);
        self.blocks.truncate(left);
        let start = self.store.rules().start_height;
        self.store.reset(Some(Height(start.0 + left as u32))).unwrap();
        self.blocks.iter().for_each(|messages| self.apply(messages));
    }

    /// Blocks that were taken back come again.
    pub fn redo(&mut self, blocks: Vec<BlockMessages>) {
        for messages in blocks {
            self.apply(&messages);
            self.blocks.push(messages);
        }
    }

    pub fn restart(self) -> World {
        let World { store, blocks, made, dir, chain } = self;
        assert_eq!(Arc::strong_count(&store), 1, "nobody else has it open");
        drop(store);
        let store = Arc::new(Store::open(dir.path(), &chain.rules).unwrap());
        World { store, blocks, made, dir, chain }
    }

    /// Every event of the best chain.
    pub fn events(&self) -> Vec<Applied> {
        let all = Wanted { kinds: vec![], limit: usize::MAX };
        let part = read(&self.store, &self.store.view(), Position::start(), &all).unwrap();
        assert!(!part.more);
        let event = |item: Item| match item.what {
            What::Event(event) => (item.block, event.index, event.event.to_string()),
            What::Rollback(_) => panic!("from the start nothing is taken back"),
        };
        part.items.into_iter().map(event).collect()
    }
}

/// An event that a consumer has applied.
pub type Applied = (BlockHash, u32, String);

/// Someone who keeps what he has seen and how far he got in one place.
struct Consumer {
    applied: Vec<Applied>,
    position: Position,
}

impl Consumer {
    fn new() -> Self {
        Consumer { applied: Vec::new(), position: Position::start() }
    }

    fn take(&mut self, item: Item) {
        match item.what {
            What::Event(event) => self.applied.push((item.block, event.index, event.event.to_string())),
            What::Rollback(events) => {
                for event in events {
                    let last = self.applied.pop();
                    assert_eq!(last, Some((item.block, event.index, event.event.to_string())));
                }
            }
        }
        self.position = item.position;
    }

    /// Reads a part, and is killed after so many items of it.
    fn read(&mut self, world: &World, limit: usize, killed_after: usize) -> Result<bool, WalkError> {
        let wanted = Wanted { kinds: vec![], limit };
        let Part { items, position, more } = read(&world.store, &world.store.view(), self.position, &wanted)?;
        assert!(items.len() <= limit);
        let whole = killed_after >= items.len();
        items.into_iter().take(killed_after).for_each(|item| self.take(item));
        if whole {
            self.position = position;
        }
        Ok(more || !whole)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Block(u8),
    Undo(usize),
    UndoAndRedo(usize),
    StartOver(usize),
    Restart,
    Read { limit: usize, killed_after: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4u8).prop_map(Step::Block),
        2 => (1..5usize).prop_map(Step::Undo),
        1 => (1..5usize).prop_map(Step::UndoAndRedo),
        1 => (1..5usize).prop_map(Step::StartOver),
        1 => Just(Step::Restart),
        6 => (1..6usize, 0..6usize).prop_map(|(limit, killed_after)| Step::Read { limit, killed_after }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_the_chain_does_every_event_is_seen_once(steps in vec(step(), 1..60)) {
        let (mut world, mut consumer) = (World::new(), Consumer::new());
        for step in steps {
            match step {
                Step::Block(events) => world.block(events),
                Step::Undo(depth) => drop(world.undo(depth)),
                Step::UndoAndRedo(depth) => {
                    let blocks = world.undo(depth);
                    world.redo(blocks);
                }
                Step::StartOver(depth) => world.start_over(depth),
                Step::Restart => world = world.restart(),
                Step::Read { limit, killed_after } => {
                    consumer.read(&world, limit, killed_after).unwrap();
                }
            }
        }
        while consumer.read(&world, 3, usize::MAX).unwrap() {}
        prop_assert_eq!(consumer.applied, world.events());
    }
}

#[test]
fn a_filter_counts_for_what_is_taken_back_too() {
    let mut world = World::new();
    world.block(2);
    world.block(1);
    let of = |kind: &str| Wanted { kinds: vec![kind.to_owned()], limit: 10 };
    let read = |world: &World, from, wanted: &Wanted| {
        super::walk::read(&world.store, &world.store.view(), from, wanted).unwrap()
    };
    let exits = read(&world, Position::start(), &of("exit"));
    let tokens = read(&world, Position::start(), &of("token"));
    assert_eq!((exits.items.len(), tokens.items.len()), (3, 0));
    assert_eq!((exits.position, exits.more), (tokens.position, false), "both are at the tip");
    world.undo(2);
    let taken_back = read(&world, exits.position, &of("exit"));
    let blocks: Vec<_> =
        taken_back.items.iter().map(|item| item.height.0 - world.store.rules().start_height.0).collect();
    assert_eq!(blocks, [1, 0], "the newest block first");
    assert_eq!(taken_back.position, Position::start());
    let nothing = read(&world, exits.position, &of("token"));
    assert_eq!((nothing.items.len(), nothing.position), (0, Position::start()));
}

#[test]
fn a_block_that_nobody_knows_is_no_place_to_go_on_from() {
    let mut world = World::new();
    world.block(1);
    let nowhere = Position::after(BlockHash::from_byte_array([9; 32]));
    let wanted = Wanted { kinds: vec![], limit: 1 };
    let unknown = read(&world.store, &world.store.view(), nowhere, &wanted);
    assert!(matches!(unknown, Err(WalkError::Unknown)), "{unknown:?}");
}
