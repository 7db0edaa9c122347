//! Reorganisations: blocks that the best chain no longer holds are taken back, newest first.

use super::status::{CLOSE, Phase};
use super::{Interrupt, Sync, SyncError, batch, short};
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
        let fork = match self.fork_below(tip.height.min(best.height))? {
            Some(fork) => fork,
            None => return Err(self.other_chain()?),
        };
        if fork == tip.height || fork == best.height {
            return Ok(Some(tip));
        }
        let depth = tip.height.0 - fork.0;
        // A shallow one is over in a moment; what is in between is as true as any block behind the tip.
        self.phase(if depth > CLOSE { Phase::Reorganising } else { Phase::CatchingUp });
        tracing::info!("reorganisation: {depth} blocks from {} back to height {fork}", short(&tip));
        for height in (fork.0 + 1..=tip.height.0).rev().map(Height) {
            if self.stop.requested() {
                return Err(Interrupt::Stopped);
            }
            let changes = self.store.undo(height)?;
            batch::follow_changes(&mut self.watched, &self.store, &changes)?;
            kill::at(Window::UndoNext);
        }
        kill::at(Window::UndoDone);
        Ok(self.store.tip()?)
    }

    /// The highest height at or below `from` at which the store and the best chain hold the same block.
    fn fork_below(&self, from: Height) -> Result<Option<Height>, Interrupt> {
        let start = self.store.rules().start_height;
        if from < start {
            return Ok(None);
        }
        let view = self.store.view();
        let (mut top, mut look_back) = (from, 0);
        loop {
            let bottom = Height(top.0.saturating_sub(look_back)).max(start);
            let hashes = self.source.hashes(bottom, (top.0 - bottom.0 + 1) as usize)?;
            for (height, hash) in (bottom.0..).map(Height).zip(&hashes).collect::<Vec<_>>().into_iter().rev()
            {
                if view.expect::<Blocks>(&height)?.hash == *hash {
                    return Ok(Some(height));
                }
            }
            if bottom == start {
                return Ok(None);
            }
            (top, look_back) = (Height(bottom.0 - 1), LOOK_BACK);
        }
    }

    /// The error for a source whose chain does not hold the first block of the store; or a reason to wait,
    /// if it has not come that far.
    fn other_chain(&self) -> Result<Interrupt, Interrupt> {
        let height = self.store.rules().start_height;
        let stored = self.store.view().expect::<Blocks>(&height)?.hash;
        Ok(match self.source.hashes(height, 1)?.first() {
            Some(found) if *found == stored => {
                Interrupt::Retry("the best chain changed while it was read".into())
            }
            Some(found) => SyncError::OtherChain { height, stored, found: *found }.into(),
            None => Interrupt::Retry(format!(
                "{} has no block {height} yet, which the database starts at",
                self.source.describe()
            )),
        })
    }
}
