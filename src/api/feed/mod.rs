//! The feed: what happened, as one list without an end that a consumer follows from where he got to.
//!
//! Every item comes with a cursor. A consumer who writes what he makes of an item and its cursor in one
//! transaction, and goes on from the cursor that he has written, sees every event of the best chain once,
//! whenever he or the server is stopped and however the chain is reorganised: what he has seen of blocks
//! that left the chain is taken back first. That needs the blocks that left; the store keeps the last
//! [`STALE_KEPT`](crate::store::Store::STALE_KEPT).

mod position;
pub mod rows;
mod stream;
mod walk;

use super::app::App;
use super::error::{ApiError, Code};
use crate::ledger::keys::Only;
use crate::ledger::records::TipRecord;
use crate::ledger::tables::{Blocks, Tip};
use crate::ledger::view::View;
use crate::protocol::Height;

pub use position::Position;
pub use stream::stream;
pub use walk::{Part, Wanted};

use walk::WalkError;

/// Seconds after which a read that came too early is worth another try.
const RETRY_AFTER: u32 = 5;

/// Where to begin.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// At a place that was reached before.
    Place(Position),
    /// With the first event of this block or a later one.
    Block(Height),
}

/// Reads a part of the feed, and the block up to which it was known at that moment.
pub fn read(app: &App, from: Origin, wanted: &Wanted) -> Result<(Part, TipRecord), ApiError> {
    let view = app.store().view();
    let tip = view.get::<Tip>(&Only)?.ok_or_else(|| not_yet("no block has been applied yet"))?;
    let place = match from {
        Origin::Place(place) => place,
        Origin::Block(height) if height <= app.store().rules().start_height => Position::start(),
        Origin::Block(height) => match view.get::<Blocks>(&Height(height.0 - 1))? {
            Some(below) => Position::after(below.hash),
            None => {
                let message =
                    format!("block {height} cannot be the next one: the last one is {}", tip.height);
                return Err(ApiError::new(Code::BlockNotFound, message));
            }
        },
    };
    match walk::read(app.store(), &view, place, wanted) {
        Ok(part) => Ok((part, tip)),
        Err(WalkError::Store(error)) => Err(error.into()),
        // A block that is not there may come, unless all of the best chain were there when it was looked for.
        Err(WalkError::Unknown) if app.sync_status().synced() && app.store().tip()? == Some(tip) => {
            Err(ApiError::of(Code::CursorUnknown))
        }
        Err(WalkError::Unknown) => {
            let message = format!(
                "the block of this cursor is not applied, and others of the best chain are not yet either; the \
                 last one is {}",
                tip.height
            );
            Err(not_yet(message))
        }
    }
}

fn not_yet(message: impl Into<String>) -> ApiError {
    ApiError::retry(Code::CatchingUp, message, RETRY_AFTER)
}

#[cfg(test)]
pub mod tests;
