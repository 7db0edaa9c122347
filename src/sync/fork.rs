//! Reorganisations: blocks that the best chain no longer holds are taken back, newest first.
//!
//! Any depth, down to the block at the start height. Where undo records are kept for a limited number of
//! blocks only, a deeper one drops everything and starts over, without anyone's help.

use std::sync::RwLock;

use super::status::{CLOSE, Phase};
use super::{Interrupt, Sync, batch, short};
use crate::chain::BlockId;
use crate::kill::{self, Window};
use crate::ledger::View;
use crate::ledger::records::TipRecord;
use crate::ledger::tables::Blocks;
use crate::protocol::Height;

/// Hashes that are asked for at once on the way down to the fork.
const LOOK_BACK: u32 = 100;

impl Sync {
    /// Undoes blocks until the tip is in the best chain; returns the tip that is left.
    ///
    /// A source that is merely behind (it is still loading, or lost its newest blocks) undoes nothing:
    /// only another block at the same height does.
    pub(super) fn leave_stale_branch(
        &mut self,
        tip: TipRecord,
        best: BlockId,
    ) -> Result<Option<TipRecord>, Interrupt> {
        let start = self.store.rules().start_height;
        let common = tip.height.min(best.height);
        if common < start {
            let source = self.source.describe();
            return Err(Interrupt::Retry(format!(
                "{source} has no block {start} yet, which the database starts at"
            )));
        }
        let fork = self.fork_below(common)?;
        if fork == Some(common) {
            return Ok(Some(tip));
        }
        let lowest = fork.map_or(start, Height::next);
        let kept_from = self.store.undo_from()?;
        if lowest < kept_from {
            self.start_over(lowest, kept_from, &tip)?;
        } else {
            self.undo_down_to(lowest, &tip)?;
        }
        self.status.borrow().totals.reorganised(tip.height.0 - lowest.0 + 1);
        Ok(self.store.tip()?)
    }

    /// Undoes the blocks from the tip down to `lowest`, each in a step of its own.
    fn undo_down_to(&mut self, lowest: Height, tip: &TipRecord) -> Result<(), Interrupt> {
        let depth = tip.height.0 - lowest.0 + 1;
        // A shallow one is over in a moment; what is in between is as true as any block behind the tip.
        self.phase(if depth > CLOSE { Phase::Reorganising } else { Phase::CatchingUp });
        tracing::info!(
            "reorganisation: {depth} blocks from {} down to height {lowest} are undone",
            short(tip)
        );
        for height in (lowest.0..=tip.height.0).rev().map(Height) {
            if self.stop.requested() {
                return Err(Interrupt::Stopped);
            }
            let changes = self.store.undo(height)?;
            batch::follow_changes(&self.watched, &self.store, &changes)?;
            kill::at(Window::UndoNext);
        }
        kill::at(Window::UndoDone);
        Ok(())
    }

    /// Drops every block, because the records that would undo the stale ones are not kept any more.
    fn start_over(&mut self, lowest: Height, kept_from: Height, tip: &TipRecord) -> Result<(), Interrupt> {
        self.phase(Phase::Reorganising);
        let start = self.store.rules().start_height;
        let reason = format!(
            "a reorganisation from {} down to height {lowest} goes below block {kept_from}, the oldest that \
             --undo-blocks still lets undo; the state is rebuilt from height {start}",
            short(tip)
        );
        tracing::warn!("{reason}");
        self.problem(Some(reason));
        self.store.reset(Some(lowest))?;
        kill::at(Window::ResetDone);
        self.watched = RwLock::default();
        Ok(())
    }

    /// The highest height at or below `from` at which the store and the best chain hold the same block.
    /// `None` if not even the block at the start height is the same.
    fn fork_below(&self, from: Height) -> Result<Option<Height>, Interrupt> {
        let start = self.store.rules().start_height;
        let view = self.store.view();
        let (mut top, mut look_back) = (from, 0);
        loop {
            let bottom = Height(top.0.saturating_sub(look_back)).max(start);
            let count = (top.0 - bottom.0 + 1) as usize;
            let hashes = self.source.hashes(bottom, count)?;
            if hashes.len() != count {
                return Err(Interrupt::Retry("the best chain changed while it was read".into()));
            }
            let blocks = (bottom.0..).map(Height).zip(hashes).collect::<Vec<_>>();
            for (height, hash) in blocks.into_iter().rev() {
                if view.expect::<Blocks>(&height)?.hash == hash {
                    return Ok(Some(height));
                }
            }
            if bottom == start {
                return Ok(None);
            }
            (top, look_back) = (Height(bottom.0 - 1), LOOK_BACK);
        }
    }
}
