//! A batch: blocks are fetched and scanned in parallel, applied in order, and committed in runs.

use std::ops::Range;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use bitcoin::{BlockHash, OutPoint};

use super::progress::Progress;
use super::totals::Totals;
use super::{Interrupt, Step, Sync, SyncError};
use crate::chain::{BlockId, Source};
use crate::kill::{self, Window};
use crate::ledger::keys::KeyPart;
use crate::ledger::records::TipRecord;
use crate::ledger::tables::{ChangeSet, Table, Watched};
use crate::ledger::{ApplyError, Event, Overlay, ReadError, View, apply_block};
use crate::protocol::Height;
use crate::scan::pipeline::{Blocks, Failure, Ordered, Scanned, Workers, scan_in_order};
use crate::scan::{BlockFault, Scanner, WatchSet};
use crate::stop::Stop;
use crate::store::Store;

/// Changed rows and events after which a run of blocks is committed, to bound its memory.
const RUN_ROWS: usize = 20_000;
const RUN_ROWS_SMALL: usize = 40;

/// Time after which a run of blocks is committed, so that readers see the state move and a kill costs little.
const RUN_TIME: Duration = Duration::from_secs(1);

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
        let scanning = self.options.threads;
        let workers = Workers { scanning, under_way: scanning.max(self.source.in_flight()) };
        let scanner = Scanner::new(self.options.verify_blocks, self.store.rules().network);
        let batch = Batch { source: self.source.as_ref(), blocks: &blocks, stop: &self.stop };
        let mut applying = Applying {
            store: &self.store,
            watched: &self.watched,
            undo_blocks: self.options.undo_blocks.map(std::num::NonZero::get),
            stop: &self.stop,
            progress: &mut self.progress,
            totals: self.status.borrow().totals.clone(),
            best: best.height,
            parent: tip.map(|tip| tip.hash),
            done: 0,
        };
        let end = scan_in_order(&batch, scanner, &self.watched, workers, |scanned| applying.all(scanned));
        let done = applying.done;
        if done > 0 {
            self.suspect = None;
        }
        match end {
            Ok(()) => Ok(Step::Applied),
            Err(End::Read(fatal)) => Err(fatal.into()),
            Err(End::Interrupted(stopped @ Interrupt::Stopped)) => Err(stopped),
            // So a source that fails now and then still brings every batch some blocks further; a block that
            // did not come, or is not good, is met again as the first of a batch.
            Err(_) if done > 0 => Ok(Step::Applied),
            Err(End::Interrupted(interrupt)) => Err(interrupt),
            Err(End::Fault(fault)) => Err(self.doubt(blocks[0], fault)),
        }
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
}

/// The blocks of a batch, as the scanner asks for them.
struct Batch<'a> {
    source: &'a dyn Source,
    blocks: &'a [BlockId],
    stop: &'a Stop,
}

impl Blocks for Batch<'_> {
    type Error = Interrupt;

    fn count(&self) -> usize {
        self.blocks.len()
    }

    fn hash(&self, index: usize) -> BlockHash {
        self.blocks[index].hash
    }

    fn fetch<'a>(&'a self, index: usize, buf: &'a mut Vec<u8>) -> Result<&'a [u8], Interrupt> {
        if self.stop.requested() {
            return Err(Interrupt::Stopped);
        }
        self.source.fetch(self.blocks[index], buf)?;
        kill::at(Window::BlockFetched);
        Ok(buf)
    }

    fn can_read_ahead(&self) -> bool {
        self.source.can_read_ahead()
    }

    fn read_ahead(&self, blocks: Range<usize>) {
        self.source.read_ahead(&self.blocks[blocks]);
    }
}

/// Why no more blocks of a batch are applied.
enum End {
    /// The block that comes next is not good.
    Fault(BlockFault),
    /// It did not come, or does not fit.
    Interrupted(Interrupt),
    /// The store failed.
    Read(SyncError),
}

impl<E: Into<SyncError>> From<E> for End {
    fn from(e: E) -> Self {
        End::Read(e.into())
    }
}

/// Applies scanned blocks in order and commits them in runs.
struct Applying<'a> {
    store: &'a Store,
    watched: &'a RwLock<WatchSet>,
    undo_blocks: Option<u32>,
    stop: &'a Stop,
    progress: &'a mut Progress,
    totals: Totals,
    /// Height of the source's best block.
    best: Height,
    /// The last applied block.
    parent: Option<BlockHash>,
    /// Blocks of the batch that have been committed.
    done: usize,
}

/// Blocks that were applied and are not committed yet.
#[derive(Default)]
struct Run {
    changes: Vec<(Height, ChangeSet)>,
    /// Their lengths in bytes.
    bytes: Vec<u64>,
    /// Changed rows and events.
    rows: usize,
    /// Kinds of their events.
    events: Vec<&'static str>,
}

impl Applying<'_> {
    fn all(&mut self, scanned: &mut Ordered<'_, Batch<'_>>) -> Result<(), End> {
        loop {
            let (run, end) = self.apply_run(scanned);
            let applied = run.changes.len();
            if applied > 0 {
                self.commit(run)?;
                scanned.watching_all();
                self.done += applied;
            }
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Applies blocks until it is time to commit them; with the end of the batch, if it is reached.
    fn apply_run(&mut self, scanned: &mut Ordered<'_, Batch<'_>>) -> (Run, Option<Result<(), End>>) {
        let (store, run_rows) = (self.store, kill::size(RUN_ROWS, RUN_ROWS_SMALL));
        let view = store.view();
        let mut pending = Overlay::new(&view);
        let (mut run, started) = (Run::default(), Instant::now());
        while run.rows < run_rows && started.elapsed() < RUN_TIME {
            if self.stop.requested() {
                return (run, Some(Err(End::Interrupted(Interrupt::Stopped))));
            }
            let block = match scanned.next_block() {
                None => return (run, Some(Ok(()))),
                Some(Ok(block)) => block,
                Some(Err(Failure::Fetch(interrupt))) => {
                    return (run, Some(Err(End::Interrupted(interrupt))));
                }
                Some(Err(Failure::Fault(fault))) => return (run, Some(Err(End::Fault(fault)))),
            };
            kill::at(Window::BlockScanned);
            if let Err(end) = self.apply(&mut pending, &block, &mut run) {
                return (run, Some(Err(end)));
            }
            kill::at(Window::BlockApplied);
        }
        (run, None)
    }

    fn apply<V: View>(
        &mut self,
        pending: &mut Overlay<V>,
        block: &Scanned,
        run: &mut Run,
    ) -> Result<(), End> {
        let messages = &block.messages;
        let retry = |reason: String| End::Interrupted(Interrupt::Retry(reason));
        if self.parent.is_some_and(|parent| parent != messages.prev_hash) {
            return Err(retry("the best chain changed while it was read".into()));
        }
        let applied = match apply_block(&*pending, self.store.rules(), messages) {
            Ok(applied) => applied,
            Err(ApplyError::Read(e)) => return Err(e.into()),
            Err(e @ ApplyError::NotNext { .. }) => return Err(retry(e.to_string())),
        };
        self.parent = Some(messages.hash);
        run.rows += applied.changes.len() + applied.events.len();
        // No block looks back at the last one of a run, which may hold a snapshot of any size.
        if run.rows < kill::size(RUN_ROWS, RUN_ROWS_SMALL) {
            pending.absorb(&applied.changes);
        }
        run.events.extend(applied.events.iter().map(Event::kind));
        run.changes.push((applied.tip.height, applied.changes));
        run.bytes.push(block.bytes as u64);
        Ok(())
    }

    fn commit(&mut self, run: Run) -> Result<(), SyncError> {
        self.store.commit(&run.changes)?;
        self.totals.applied(run.changes.len(), &run.events);
        for ((height, changes), bytes) in run.changes.iter().zip(run.bytes) {
            follow_changes(self.watched, self.store, changes)?;
            self.progress.applied(*height, self.best, bytes);
        }
        self.forget_old_undo()?;
        kill::at(Window::RunDone);
        Ok(())
    }

    /// Drops the undo records of blocks that are further from the tip than the user wants them kept.
    fn forget_old_undo(&self) -> Result<(), SyncError> {
        if let (Some(kept), Some(tip)) = (self.undo_blocks, self.store.tip()?) {
            self.store.forget_undo_below(Height((tip.height.0 + 1).saturating_sub(kept)))?;
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
    watched: &RwLock<WatchSet>,
    store: &Store,
    changes: &ChangeSet,
) -> Result<(), ReadError> {
    let rows = Watched::rows(changes);
    if rows.is_empty() {
        return Ok(());
    }
    let view = store.view();
    let mut watched = watched.write().unwrap_or_else(PoisonError::into_inner);
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
