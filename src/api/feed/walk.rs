//! Reading the feed: from a place in it, what was taken back since, then what came after.
//!
//! A place in a block that has left the best chain leads back to the fork, block by block: the events of
//! each that lie before the place are taken back, the newest block first. From the fork on the best chain
//! is followed. What is read depends on the place and the chain alone, so whoever goes on from the last
//! place that he has kept misses nothing and gets nothing twice.

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;

use super::position::Position;
use crate::ledger::events::Event;
use crate::ledger::records::BlockRecord;
use crate::ledger::tables::{BlockHeights, Blocks};
use crate::ledger::{ReadError, View};
use crate::protocol::Height;
use crate::store::{StaleBlock, Store, StoreError};

/// Blocks that are read at once in search of events.
const MAX_BLOCKS: usize = 10_000;

/// An event with its number in its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Its number.
    pub index: u32,
    /// What happened.
    pub event: Event,
}

/// Something that whoever follows the feed has to take note of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The place after it.
    pub position: Position,
    /// Height of its block.
    pub height: Height,
    /// Hash of its block.
    pub block: BlockHash,
    /// Header time of its block, Unix seconds.
    pub time: u32,
    /// What it is.
    pub what: What,
}

/// What an item tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Something happened.
    Event(Numbered),
    /// The block left the best chain: these of its events are no longer so. The last one first.
    Rollback(Vec<Numbered>),
}

/// A part of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What is in it, in order.
    pub items: Vec<Item>,
    /// The place after it.
    pub position: Position,
    /// Whether there may be more to read at once.
    pub more: bool,
}

/// Why the feed cannot be read from a place.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// Its block is not known.
    #[error("the block of this place is not known")]
    Unknown,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReadError> for WalkError {
    fn from(error: ReadError) -> Self {
        WalkError::Store(error.into())
    }
}

/// What is wanted of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Kinds of events; all of them, if empty.
    pub kinds: Vec<String>,
    /// Most items of a part.
    pub limit: usize,
}

impl Wanted {
    fn wants(&self, line: &str) -> bool {
        let kind = line.split(' ').next().unwrap_or_default();
        self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted == kind)
    }

    /// The wanted events of a block between two numbers.
    fn events(
        &self,
        height: Height,
        block: &BlockRecord,
        numbers: std::ops::Range<u32>,
    ) -> impl DoubleEndedIterator<Item = Result<Numbered, ReadError>> {
        let lines: Vec<(u32, &str)> = (0..numbers.end).zip(block.events.lines()).collect();
        let wanted = lines.into_iter().skip(numbers.start as usize).filter(|(_, line)| self.wants(line));
        wanted.map(move |(index, line)| {
            let event = Event::parse(line, height).ok_or_else(|| ReadError {
                table: "blocks",
                reason: format!("block {height} has an event that cannot be read: {line}"),
            });
            Ok(Numbered { index, event: event? })
        })
    }
}

/// Reads the feed from a place. `view` must be one of `store`.
pub fn read(
    store: &Store,
    view: &impl View,
    mut position: Position,
    wanted: &Wanted,
) -> Result<Part, WalkError> {
    let mut items = Vec::new();
    let mut blocks = 0;
    let (first, mut skip) = loop {
        if position.block == BlockHash::all_zeros() {
            position = Position::start();
            break (store.rules().start_height, 0);
        }
        if let Some(height) = view.get::<BlockHeights>(&position.block.into())? {
            break (height, position.next);
        }
        let Some(stale) = store.stale_block(position.block)? else {
            // The way down ends here, for now at least. What was found on it holds.
            let found = !items.is_empty();
            return if found { Ok(Part { items, position, more: true }) } else { Err(WalkError::Unknown) };
        };
        if items.len() == wanted.limit || blocks == MAX_BLOCKS {
            return Ok(Part { items, position, more: true });
        }
        blocks += 1;
        let taken_back = rollback(&stale, position, wanted)?;
        position = Position::after(stale.parent);
        items.extend(taken_back);
    };
    for row in view.scan::<Blocks>(&first, &Height(u32::MAX)) {
        let (height, block) = row?;
        for event in wanted.events(height, &block, skip..u32::MAX) {
            if items.len() == wanted.limit {
                return Ok(Part { items, position, more: true });
            }
            let event = event?;
            position = Position { block: block.hash, next: event.index + 1 };
            let (hash, time) = (block.hash, block.time);
            items.push(Item { position, height, block: hash, time, what: What::Event(event) });
        }
        position = Position::after(block.hash);
        skip = 0;
        blocks += 1;
        if blocks >= MAX_BLOCKS {
            return Ok(Part { items, position, more: true });
        }
    }
    Ok(Part { items, position, more: false })
}

/// What a block that left the chain takes back of what lies before a place in it; nothing, if that is none.
fn rollback(stale: &StaleBlock, position: Position, wanted: &Wanted) -> Result<Option<Item>, ReadError> {
    let StaleBlock { height, parent, block, .. } = stale;
    let events = wanted.events(*height, block, 0..position.next).rev().collect::<Result<Vec<_>, _>>()?;
    Ok((!events.is_empty()).then(|| Item {
        position: Position::after(*parent),
        height: *height,
        block: block.hash,
        time: block.time,
        what: What::Rollback(events),
    }))
}
