//! What the outside may know about the progress of synchronisation.
//!
//! The one who synchronises writes it to a `tokio::sync::watch` channel; everyone else only looks.
//! It says nothing about the state itself: height and hash of the tip are in the store, in step with
//! everything else that is read there.

use std::time::Instant;

use super::totals::Totals;
use crate::chain::BlockId;
use crate::protocol::Height;

/// Blocks that the state may be behind and still be served: a new block takes a moment to be applied, and
/// that is no reason to turn readers away.
pub const CLOSE: u32 = 3;

/// What synchronisation is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It has not yet heard from the source of blocks.
    Starting,
    /// It applies blocks that are behind the tip of the source.
    CatchingUp,
    /// It undoes blocks that are no longer in the best chain.
    Reorganising,
    /// It has applied the best chain and waits for the next block.
    Following,
    /// It gave up; see [`SyncStatus::problem`].
    Failed,
}

/// Progress of synchronisation.
#[derive(Clone, Debug)]
pub struct SyncStatus {
    /// What it is doing.
    pub phase: Phase,
    /// The best block that the source knows.
    pub source_tip: Option<BlockId>,
    /// When the source last answered.
    pub heard: Option<Instant>,
    /// What keeps it from going on, for people: the source is away, or why it gave up.
    pub problem: Option<String>,
    /// Since when something has kept it from going on, without a break.
    pub stuck: Option<Instant>,
    /// What was done since the start.
    pub totals: Totals,
}

impl SyncStatus {
    /// Before anything has happened.
    pub fn starting() -> Self {
        SyncStatus {
            phase: Phase::Starting,
            source_tip: None,
            heard: None,
            problem: None,
            stuck: None,
            totals: Totals::default(),
        }
    }

    /// Whether the state is that of the source's best block, as far as is known.
    pub fn synced(&self) -> bool {
        self.phase == Phase::Following
    }

    /// Whether the state at `height` is that of the best chain, give or take [`CLOSE`] blocks that are
    /// being applied.
    pub fn close(&self, height: Height) -> bool {
        match self.phase {
            Phase::Following => true,
            Phase::CatchingUp => {
                self.source_tip.is_some_and(|tip| tip.height.0.saturating_sub(height.0) <= CLOSE)
            }
            Phase::Starting | Phase::Reorganising | Phase::Failed => false,
        }
    }
}

impl Default for SyncStatus {
    fn default() -> Self {
        SyncStatus::starting()
    }
}
