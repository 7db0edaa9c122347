//! Derives the state again from blocks and compares it with a database: block by block, then row by row.
//!
//! What is compared is everything: the hash, the events and the state hash of every block, and at the
//! tip every row of every table. Undo records, and what rows held before, are not: of how many blocks they
//! are kept is a matter of choice. `btkn check` tests them against the rows.
//! The database is only read, as of the moment it was opened; the second state goes into a store of its
//! own. Where two states differ, this does not know which is right: it says where they part.

use std::fmt;

use bitcoin::BlockHash;

use crate::ledger::keys::KeyPart;
use crate::ledger::records::{BlockRecord, TipRecord};
use crate::ledger::tables::{self, Blocks, Table, TableVisitor};
use crate::ledger::{ReadError, View};
use crate::protocol::Height;
use crate::store::{Store, StoreError};
use crate::sync::{End, Sync, SyncError};

/// Where a database and the state that follows from the source part.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// The source has another block: its chain was reorganised, or is another one.
    Chain {
        /// The height.
        height: Height,
        /// What the database holds there.
        stored: BlockHash,
        /// What the source has there.
        found: BlockHash,
    },
    /// The source does not reach the tip of the database.
    Behind {
        /// The last block of the source; `None` if it does not reach the start height.
        found: Option<Height>,
        /// The tip of the database.
        stored: Height,
    },
    /// The first block whose state hash or events differ.
    Block {
        /// The height.
        height: Height,
        /// What the database says of the block.
        stored: Box<BlockRecord>,
        /// What follows from the source.
        derived: Box<BlockRecord>,
    },
    /// Every state hash is the same, but a row is not.
    Row {
        /// The first table that differs.
        table: &'static str,
        /// The first key that differs.
        key: String,
        /// The row in the database, if there is one.
        stored: Option<String>,
        /// The row that follows from the source, if there is one.
        derived: Option<String>,
    },
}

/// What to do about a state that does not follow from the blocks.
const ADVICE: &str = "Please report this, with the database. To recover the state from the blocks, start `btkn sync` \
    or `btkn run` once with --rebuild, which keeps this database as db.old";

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Chain { height, stored, found } => write!(
                f,
                "block {height} of the database is {stored}, that of the source is {found}: let the database \
                 follow the source first (btkn sync), or name the source that it was made from"
            ),
            Difference::Behind { found: None, .. } => write!(
                f,
                "the source does not reach the start height: wait until it does, or name another source"
            ),
            Difference::Behind { found: Some(found), stored } => write!(
                f,
                "all is equal up to block {found}, where the source ends, but the database goes on to block \
                 {stored}: wait until the source has caught up, or name another source"
            ),
            Difference::Block { height, stored, derived } => {
                writeln!(f, "the first block that differs is {height}, {}", stored.hash)?;
                writeln!(f, "state hash in the database  {}", stored.state_hash)?;
                writeln!(f, "state hash from the source  {}", derived.state_hash)?;
                write_events(f, "only in the database", &stored.events, &derived.events)?;
                write_events(f, "only from the source", &derived.events, &stored.events)?;
                f.write_str(ADVICE)
            }
            Difference::Row { table, key, stored, derived } => {
                let row = |row: &Option<String>| row.clone().unwrap_or_else(|| "no such row".into());
                writeln!(f, "every state hash is equal, but the table {table} differs first at {key}")?;
                writeln!(f, "in the database  {}", row(stored))?;
                writeln!(f, "from the source  {}", row(derived))?;
                f.write_str(ADVICE)
            }
        }
    }
}

/// Events of one side that the other does not have.
fn write_events(f: &mut fmt::Formatter<'_>, what: &str, these: &str, others: &str) -> fmt::Result {
    for line in these.lines().filter(|line| !others.lines().any(|other| other == *line)) {
        writeln!(f, "{what}  {line}")?;
    }
    Ok(())
}

/// How a comparison ended.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing differs.
    Equal(Extent),
    /// Something does.
    Differs(Difference),
    /// Somebody asked to stop.
    Stopped,
}

/// What was compared.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Extent {
    /// Blocks, from the start height to the tip of the database.
    pub blocks: u64,
    /// Rows of all tables.
    pub rows: u64,
}

/// Compares `stored` with what follows from the source of `sync`, which fills `derived`, an empty store.
pub fn verify(stored: &Store, sync: &mut Sync, derived: &Store) -> Result<Outcome, SyncError> {
    let Some(tip) = stored.tip()? else { return Ok(Outcome::Equal(Extent::default())) };
    let mut next = stored.rules().start_height;
    let mut difference = None;
    let end = sync.catch_up_until(|derived| {
        let reached = derived.tip()?.map_or(next, |tip| tip.height.next());
        difference = compare_blocks(stored, derived, next, reached.min(tip.height.next()))?;
        next = reached;
        Ok(difference.is_some() || reached > tip.height)
    })?;
    if end == End::Stopped {
        return Ok(Outcome::Stopped);
    }
    if let Some(difference) = difference {
        return Ok(Outcome::Differs(difference));
    }
    Ok(match compare_tips(stored, derived, &tip)? {
        Ok(rows) => {
            let blocks = u64::from(tip.height.0 - stored.rules().start_height.0) + 1;
            Outcome::Equal(Extent { blocks, rows })
        }
        Err(difference) => Outcome::Differs(difference),
    })
}

/// The first block from `from` to below `end` that differs.
fn compare_blocks(
    stored: &Store,
    derived: &Store,
    from: Height,
    end: Height,
) -> Result<Option<Difference>, StoreError> {
    let (stored, derived) = (stored.view(), derived.view());
    for height in (from.0..end.0).map(Height) {
        let (mine, other) = (stored.expect::<Blocks>(&height)?, derived.expect::<Blocks>(&height)?);
        if mine.hash != other.hash {
            return Ok(Some(Difference::Chain { height, stored: mine.hash, found: other.hash }));
        }
        if mine != other {
            let (stored, derived) = (Box::new(mine), Box::new(other));
            return Ok(Some(Difference::Block { height, stored, derived }));
        }
    }
    Ok(None)
}

/// Takes the derived state back to the tip of the database, past which the last batch went, and compares
/// every row. Returns how many there are, or the first that differs.
fn compare_tips(
    stored: &Store,
    derived: &Store,
    tip: &TipRecord,
) -> Result<Result<u64, Difference>, StoreError> {
    loop {
        match derived.tip()?.map(|tip| tip.height) {
            Some(height) if height > tip.height => derived.undo(height)?,
            Some(height) if height == tip.height => break,
            found => return Ok(Err(Difference::Behind { found, stored: tip.height })),
        };
    }
    let (stored, derived) = (stored.view(), derived.view());
    let mut compare = CompareRows { stored: &stored, derived: &derived, rows: 0 };
    match tables::visit_tables(&mut compare) {
        Ok(()) => Ok(Ok(compare.rows)),
        Err(Parting::Differs(difference)) => Ok(Err(difference)),
        Err(Parting::Read(e)) => Err(e.into()),
    }
}

/// Why a comparison of rows ended early.
enum Parting {
    Differs(Difference),
    Read(ReadError),
}

impl From<ReadError> for Parting {
    fn from(e: ReadError) -> Self {
        Parting::Read(e)
    }
}

struct CompareRows<'a, A, B> {
    stored: &'a A,
    derived: &'a B,
    rows: u64,
}

impl<A: View, B: View> TableVisitor for CompareRows<'_, A, B> {
    type Error = Parting;

    fn table<T: Table>(&mut self) -> Result<(), Parting> {
        let mut stored = self.stored.scan::<T>(&T::Key::LOWEST, &T::Key::HIGHEST);
        let mut derived = self.derived.scan::<T>(&T::Key::LOWEST, &T::Key::HIGHEST);
        loop {
            match (stored.next().transpose()?, derived.next().transpose()?) {
                (None, None) => return Ok(()),
                (mine, other) if mine == other => self.rows += 1,
                (mine, other) => return Err(Parting::Differs(first_of_two::<T>(mine, other))),
            }
        }
    }
}

/// The difference that two rows show, at the same place of a table in either state, that are not equal.
fn first_of_two<T: Table>(mine: Option<(T::Key, T::Value)>, other: Option<(T::Key, T::Value)>) -> Difference {
    let first = mine.iter().chain(&other).map(|(key, _)| key.clone()).min();
    let text = |row: Option<(T::Key, T::Value)>| {
        row.filter(|(key, _)| Some(key) == first.as_ref()).map(|(_, value)| format!("{value:?}"))
    };
    let (stored, derived) = (text(mine), text(other));
    let key = first.map_or(String::new(), |key| format!("{key:?}"));
    Difference::Row { table: T::NAME, key, stored, derived }
}
