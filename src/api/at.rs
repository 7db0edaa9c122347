//! Which block a read of the state is as of.
//!
//! The last applied one, unless the request names another, or continues a list that was begun at another.

use bitcoin::BlockHash;

use super::error::{ApiError, Code};
use super::parse::BlockName;
use super::query::Ask;
use crate::ledger::records::TipRecord;
use crate::ledger::tables::{BlockHeights, Blocks};
use crate::ledger::view::View;
use crate::protocol::Height;

/// Blocks on top of a block after which nobody expects it to leave the chain.
const DEEP: u32 = 100;

/// Whether a block is so deep below the tip that answers about it never change.
pub fn is_deep(at: Height, tip: Height) -> bool {
    tip.0.saturating_sub(at.0) >= DEEP
}

/// The block that `ask` is about. `now` shows the last applied block, `tip`.
pub fn resolve(ask: &Ask, now: &impl View, tip: &TipRecord) -> Result<TipRecord, ApiError> {
    let begun = match ask.cursor {
        Some(block) if block != tip.hash => Some(by_hash(now, block)?.ok_or_else(|| left_the_chain(block))?),
        Some(_) => Some(*tip),
        None => None,
    };
    let named = ask.named().map(|name| find(now, tip, name)).transpose()?;
    match (begun, named) {
        (Some(begun), Some(named)) if begun.hash != named.hash => {
            let message = format!(
                "the list of this cursor was begun at block {} of height {}, which is not the block that the \
                 request names",
                begun.hash, begun.height
            );
            Err(ApiError::new(Code::BadCursor, message))
        }
        (begun, named) => Ok(begun.or(named).unwrap_or(*tip)),
    }
}

/// The block that a request names, of those that `now` shows.
pub fn find(now: &impl View, tip: &TipRecord, name: BlockName) -> Result<TipRecord, ApiError> {
    let found = match name {
        BlockName::Height(height) => by_height(now, height)?,
        BlockName::Hash(hash) => by_hash(now, hash)?,
    };
    found.ok_or_else(|| unknown_block(name, tip))
}

/// That a block is not there, and which is the last one that is.
pub fn unknown_block(name: BlockName, tip: &TipRecord) -> ApiError {
    let what = match name {
        BlockName::Height(height) => format!("height {height}"),
        BlockName::Hash(hash) => format!("hash {hash}"),
    };
    let message = format!("no block of {what} has been applied; the last one is {}", tip.height);
    ApiError::new(Code::BlockNotFound, message)
}

fn by_hash(now: &impl View, hash: BlockHash) -> Result<Option<TipRecord>, ApiError> {
    match now.get::<BlockHeights>(&hash.into())? {
        Some(height) => by_height(now, height),
        None => Ok(None),
    }
}

fn by_height(now: &impl View, height: Height) -> Result<Option<TipRecord>, ApiError> {
    let block = now.get::<Blocks>(&height)?;
    Ok(block.map(|block| TipRecord {
        height,
        hash: block.hash,
        time: block.time,
        state_hash: block.state_hash,
    }))
}

fn left_the_chain(block: BlockHash) -> ApiError {
    let message =
        format!("block {block}, at which the list was begun, left the chain; start again without cursor");
    ApiError::new(Code::CursorReorged, message)
}
