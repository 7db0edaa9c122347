//! A batch: fetch and scan blocks in parallel, apply them in order, commit.

use std::sync::{Mutex, PoisonError};

use bitcoin::{BlockHash, OutPoint};
use rayon::prelude::*;

use super::{Interrupt, Step, Sync, SyncError};
use crate::chain::BlockId;
use crate::kill::{self, Window};
use crate::ledger::keys::KeyPart;
use crate::ledger::records::TipRecord;
use crate::ledger::tables::{ChangeSet, Table, Watched};
use crate::ledger::{ApplyError, Overlay, ReadError, View, apply_block};
use crate::protocol::Height;
use crate::scan::{BlockFault, BlockMessages, RawBlock, WatchSet, scan_batch};
use crate::store::Store;

/// Changed rows and events after which a run of blocks is committed, to bound its memory.
const RUN_ROWS: usize = 20_000;

impl Sync {
    /// Applies the blocks of the best chain from `next` on, as many as a batch holds.
    pub(super) fn apply_batch(
        &mut self,
        next: Height,
        best: BlockId,
        tip: Option<TipRecord>,
    ) -> Result<Step, Interrupt> {
        let hashes = self.source.hashes(next, self.options.batch_blocks)?;
        if hashes.is_empty() {
            return Err(Interrupt::Retry(format!("{} has lost block {next}", self.source.describe())));
        }
        let blocks: Vec<BlockId> =
            (next.0..).map(Height).zip(hashes).map(|(height, hash)| BlockId { height, hash }).collect();
        let mut buffers = std::mem::take(&mut self.buffers);
        let scanned = self.fetch(&blocks, &mut buffers).and_then(|fetched| {
            kill::at(Window::BatchFetched);
            self.scan(&blocks[..fetched], &buffers)
        });
        let bytes = buffers.iter().take(blocks.len()).map(|buffer| buffer.len() as u64).collect::<Vec<_>>();
        self.buffers = buffers;
        let messages = scanned?;
        kill::at(Window::BatchScanned);
        self.apply(&messages, &bytes, tip.map(|tip| tip.hash), best)?;
        Ok(Step::Applied)
    }

    /// Fetches blocks in parallel; returns how many have come, from the first on. So a source that fails
    /// now and then still brings every batch some blocks further; a block that did not come is met again as
    /// the first of a batch. Blocks are begun in order, and none is begun after a failure: a node that is
    /// away is not waited for block by block.
    fn fetch(&self, blocks: &[BlockId], buffers: &mut [Vec<u8>]) -> Result<usize, Interrupt> {
        let (source, stop) = (self.source.as_ref(), &self.stop);
        let first: Mutex<Option<(usize, Interrupt)>> = Mutex::default();
        let failure = || first.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |(index, (block, buffer)): (usize, (&BlockId, &mut Vec<u8>))| {
            if failure().is_some() {
                return;
            }
            let fetched = match stop.requested() {
                true => Err(Interrupt::Stopped),
                false => source.fetch(*block, buffer).map_err(Interrupt::from),
            };
            if let Err(error) = fetched {
                let mut first = failure();
                if first.as_ref().is_none_or(|(lowest, _)| index < *lowest) {
                    *first = Some((index, error));
                }
            }
        };
        let in_order = blocks.iter().zip(buffers.iter_mut()).enumerate();
        self.pool.install(|| in_order.par_bridge().for_each(one));
        match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(blocks.len()),
            Some((fetched, error)) if fetched == 0 || matches!(error, Interrupt::Stopped) => Err(error),
            Some((fetched, _)) => Ok(fetched),
        }
    }

    fn scan(&mut self, blocks: &[BlockId], buffers: &[Vec<u8>]) -> Result<Vec<BlockMessages>, Interrupt> {
        let raw: Vec<RawBlock<'_>> =
            blocks.iter().zip(buffers).map(|(block, bytes)| RawBlock { hash: block.hash, bytes }).collect();
        let results = self.pool.install(|| scan_batch(&raw, &self.watched));
        let mut messages = Vec::with_capacity(results.len());
        for (block, result) in blocks.iter().zip(results) {
            match result {
                Ok(scanned) => messages.push(scanned),
                // The blocks before it are good and are applied; it is met again as the first of a batch.
                Err(_) if !messages.is_empty() => break,
                Err(fault) => return Err(self.doubt(*block, fault)),
            }
        }
        self.suspect = None;
        Ok(messages)
    }

    /// What is to be done about a block whose bytes are not those that its hash stands for: they are read
    /// once more, for a file may have been replaced under our hands; then it is damage.
    fn doubt(&mut self, block: BlockId, fault: BlockFault) -> Interrupt {
        let place = self.source.locate(block);
        match self.suspect.replace(block.hash) {
            Some(hash) if hash == block.hash => SyncError::Damaged { place, fault }.into(),
            _ => Interrupt::Retry(format!("{place}: {fault}")),
        }
    }

    /// Applies scanned blocks in order and commits them in runs.
    fn apply(
        &mut self,
        messages: &[BlockMessages],
        bytes: &[u64],
        mut parent: Option<BlockHash>,
        best: BlockId,
    ) -> Result<(), Interrupt> {
        let store = self.store.clone();
        let run_rows = kill::size(RUN_ROWS, 40);
        let mut rest = messages.iter().zip(bytes).peekable();
        while rest.peek().is_some() {
            let view = store.view();
            let mut pending = Overlay::new(&view);
            let mut run: Vec<(Height, ChangeSet)> = Vec::new();
            let (mut rows, mut sizes) = (0, Vec::new());
            while let Some((block, size)) = rest.next_if(|_| rows < run_rows && !self.stop.requested()) {
                if parent.is_some_and(|parent| parent != block.prev_hash) {
                    return Err(Interrupt::Retry("the best chain changed while it was read".into()));
                }
                let applied = match apply_block(&pending, store.rules(), block) {
                    Ok(applied) => applied,
                    Err(ApplyError::Read(e)) => return Err(e.into()),
                    Err(e @ ApplyError::NotNext { .. }) => return Err(Interrupt::Retry(e.to_string())),
                };
                parent = Some(block.hash);
                rows += applied.changes.len() + applied.events.len();
                // No block looks back at the last one of a run, which may hold a snapshot of any size.
                if rows < run_rows {
                    pending.absorb(&applied.changes);
                }
                run.push((applied.tip.height, applied.changes));
                sizes.push(*size);
                kill::at(Window::BlockApplied);
            }
            store.commit(&run)?;
            for ((height, changes), size) in run.iter().zip(sizes) {
                follow_changes(&mut self.watched, &store, changes)?;
                self.progress.applied(*height, best.height, size);
            }
            self.forget_old_undo()?;
            kill::at(Window::RunDone);
            if self.stop.requested() {
                return Err(Interrupt::Stopped);
            }
        }
        Ok(())
    }

    /// Drops the undo records of blocks that are further from the tip than the user wants them kept.
    fn forget_old_undo(&self) -> Result<(), SyncError> {
        if let (Some(kept), Some(tip)) = (self.options.undo_blocks, self.store.tip()?) {
            self.store.forget_undo_below(Height((tip.height.0 + 1).saturating_sub(kept.get())))?;
        }
        Ok(())
    }
}

/// The outputs that the store watches.
pub(super) fn load_watched(store: &Store) -> Result<WatchSet, ReadError> {
    let mut watched = WatchSet::new();
    type Key = <Watched as Table>::Key;
    for row in store.view().scan::<Watched>(&Key::LOWEST, &Key::HIGHEST) {
        let ((output, _, _), _) = row?;
        watched.insert(OutPoint::from(output));
    }
    Ok(watched)
}

/// Keeps the set in step with committed changes. Several exits may name one output.
pub(super) fn follow_changes(
    watched: &mut WatchSet,
    store: &Store,
    changes: &ChangeSet,
) -> Result<(), ReadError> {
    let rows = Watched::rows(changes);
    if rows.is_empty() {
        return Ok(());
    }
    let view = store.view();
    for (output, _, _) in rows.keys() {
        let range = ((*output, 0, 0), (*output, u32::MAX, u8::MAX));
        let still_named = view.scan::<Watched>(&range.0, &range.1).next().transpose()?.is_some();
        match still_named {
            true => watched.insert(OutPoint::from(*output)),
            false => watched.remove(&OutPoint::from(*output)),
        };
    }
    Ok(())
}
