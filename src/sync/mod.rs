//! From blocks to state: catch up, follow, reorganise, stop.
//!
//! A [`Sync`] owns the way from a [`Source`] to the [`Store`]: it fetches and scans batches of blocks in
//! parallel, applies them in order, commits them, and takes blocks back one by one when the best chain no
//! longer holds them. What passes by itself (a node that is away, a chain that changed in between) is
//! tried again for ever, with growing pauses and one log line per change; what cannot pass ends with an
//! error that says what to do. Whenever it stops, the store holds a state that some block left.

mod back_off;
mod batch;
mod fork;
mod positions;
mod progress;
pub mod status;
pub mod totals;

use std::num::NonZeroU32;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use tokio::sync::watch;

use crate::chain::{BlockId, Source, SourceError};
use crate::kill::{self, Window};
use crate::ledger::ReadError;
use crate::ledger::records::TipRecord;
use crate::protocol::{Height, StateHash};
use crate::scan::{BlockFault, VerifyBlocks, WatchSet};
use crate::stop::Stop;
use crate::store::{Store, StoreError};

use back_off::BackOff;
use progress::Progress;
use status::{Phase, SyncStatus};

/// How long one wait for a new block lasts, so that a request to stop is soon seen.
const WAIT: Duration = Duration::from_millis(500);

/// Why synchronisation ended before it was done.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The source can't go on.
    #[error("{0}")]
    Source(String),
    /// A block is damaged.
    #[error(
        "{place}: {fault}. Nothing was changed by it. Restore the file from a good copy, or let the node \
         download its blocks again, then start btkn again"
    )]
    Damaged {
        /// Where its bytes came from.
        place: String,
        /// What is wrong with it.
        fault: BlockFault,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReadError> for SyncError {
    fn from(e: ReadError) -> Self {
        SyncError::Store(StoreError::Read(e))
    }
}

/// What ends a step before its time.
enum Interrupt {
    /// Try again: the text says why.
    Retry(String),
    /// Somebody asked to stop.
    Stopped,
    /// It cannot go on.
    Fatal(SyncError),
}

impl<E: Into<SyncError>> From<E> for Interrupt {
    fn from(e: E) -> Self {
        Interrupt::Fatal(e.into())
    }
}

impl From<SourceError> for Interrupt {
    fn from(e: SourceError) -> Self {
        match e {
            SourceError::Retry(reason) => Interrupt::Retry(reason),
            SourceError::Fatal(reason) => Interrupt::Fatal(SyncError::Source(reason)),
        }
    }
}

/// How to synchronise.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that scan.
    pub threads: usize,
    /// How much of every block is proven.
    pub verify_blocks: VerifyBlocks,
    /// Blocks after which the source is asked for its best chain again. Changes speed, never a result.
    pub batch_blocks: usize,
    /// Blocks whose undo records are kept, counted from the tip; all, if `None`. A reorganisation that
    /// goes deeper rebuilds the state from the start height.
    pub undo_blocks: Option<NonZeroU32>,
}

impl Options {
    /// Blocks in a batch unless a test asks for another number: about a second's work.
    pub const BATCH_BLOCKS: usize = 2_000;
}

/// What was done.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Summary {
    /// Height of the tip; `None` if the chain does not reach the start height yet.
    pub height: Option<Height>,
    /// Its hash.
    pub block_hash: Option<BlockHash>,
    /// State hash after it.
    pub state_hash: Option<StateHash>,
    /// Blocks that were applied.
    pub blocks: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

/// How a synchronisation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The state is that of the source's best block.
    Done,
    /// Somebody asked to stop.
    Stopped,
}

/// The way from a source to the store.
pub struct Sync {
    store: Arc<Store>,
    source: Box<dyn Source>,
    watched: RwLock<WatchSet>,
    options: Options,
    status: watch::Sender<SyncStatus>,
    stop: Stop,
    progress: Progress,
    /// A block whose bytes were found wrong when it was last read.
    suspect: Option<BlockHash>,
    back_off: BackOff,
    started: Instant,
}

impl Sync {
    /// Prepares to bring `store` up to date from `source`.
    pub fn new(
        store: Arc<Store>,
        mut source: Box<dyn Source>,
        options: Options,
        status: watch::Sender<SyncStatus>,
        stop: Stop,
    ) -> Result<Sync, SyncError> {
        source.keep_with(Arc::new(positions::InStore(store.clone())));
        let watched = RwLock::new(batch::load_watched(&store)?);
        let (progress, started) = (Progress::new(), Instant::now());
        Ok(Sync {
            store,
            source,
            watched,
            options,
            status,
            stop,
            progress,
            suspect: None,
            back_off: BackOff::default(),
            started,
        })
    }

    /// Applies blocks until the state is that of the source's best block.
    pub fn catch_up(&mut self) -> Result<End, SyncError> {
        self.catch_up_until(|_| Ok(false))
    }

    /// Like [`catch_up`](Self::catch_up), but ends as soon as `enough` says so; it is asked after each
    /// batch of blocks.
    pub fn catch_up_until(
        &mut self,
        enough: impl FnMut(&Store) -> Result<bool, StoreError>,
    ) -> Result<End, SyncError> {
        let end = self.advance(enough);
        self.progress.finish();
        self.note_end(end)
    }

    /// Catches up, then applies blocks as they come, until somebody asks to stop.
    pub fn follow(&mut self) -> Result<(), SyncError> {
        loop {
            if self.catch_up()? == End::Stopped {
                return Ok(());
            }
            let known = self.status.borrow().source_tip;
            kill::at(Window::Waiting);
            while known == self.status.borrow().source_tip {
                let waited = self.retrying(|sync| match known {
                    Some(tip) => {
                        sync.source.wait(tip.hash, WAIT)?;
                        sync.refresh()
                    }
                    None => sync.refresh(),
                });
                match waited {
                    Ok(Some(_)) => {}
                    Ok(None) => return Ok(()),
                    Err(e) => return self.note_end(Err(e)).map(|_| ()),
                }
            }
        }
    }

    /// What has been done so far.
    pub fn summary(&self) -> Result<Summary, SyncError> {
        let tip = self.store.tip()?;
        let (blocks, bytes) = self.progress.totals();
        Ok(Summary {
            height: tip.map(|tip| tip.height),
            block_hash: tip.map(|tip| tip.hash),
            state_hash: tip.map(|tip| tip.state_hash),
            blocks,
            bytes,
            seconds: self.started.elapsed().as_secs_f64(),
        })
    }

    fn note_end(&mut self, end: Result<End, SyncError>) -> Result<End, SyncError> {
        if let Err(e) = &end {
            let problem = Some(e.to_string());
            self.status.send_modify(|status| {
                status.phase = Phase::Failed;
                status.problem = problem;
            });
        }
        let flushed = self.store.flush();
        // What ended it says more than what went wrong after that.
        let end = end?;
        flushed?;
        Ok(end)
    }

    fn advance(
        &mut self,
        mut enough: impl FnMut(&Store) -> Result<bool, StoreError>,
    ) -> Result<End, SyncError> {
        loop {
            match self.retrying(Self::step)? {
                None => return Ok(End::Stopped),
                Some(Step::Done) => return Ok(End::Done),
                Some(Step::Applied) if enough(&self.store)? => return Ok(End::Done),
                Some(Step::Applied) => {}
            }
        }
    }

    /// Asks the source for its best block.
    fn refresh(&mut self) -> Result<BlockId, Interrupt> {
        let tip = self.source.refresh()?;
        self.status.send_modify(|status| {
            status.source_tip = Some(tip);
            status.heard = Some(Instant::now());
        });
        Ok(tip)
    }

    fn phase(&self, phase: Phase) {
        self.status.send_if_modified(|status| {
            let changed = status.phase != phase;
            status.phase = phase;
            changed
        });
    }

    /// One batch closer to the best chain.
    fn step(&mut self) -> Result<Step, Interrupt> {
        if self.stop.requested() {
            return Err(Interrupt::Stopped);
        }
        let best = self.refresh()?;
        let mut tip = self.store.tip()?;
        if let Some(stored) = tip {
            tip = self.leave_stale_branch(stored, best)?;
        }
        let next = match tip {
            Some(tip) if tip.hash == best.hash || tip.height >= best.height => return self.done(),
            Some(tip) => tip.height.next(),
            None => self.store.rules().start_height,
        };
        if next > best.height {
            return self.done();
        }
        self.phase(Phase::CatchingUp);
        self.apply_batch(next, best, tip)
    }

    fn done(&self) -> Result<Step, Interrupt> {
        self.phase(Phase::Following);
        self.problem(None);
        Ok(Step::Done)
    }

    /// Repeats `action` while the source asks for it. `None` where somebody asked to stop.
    fn retrying<T>(
        &mut self,
        mut action: impl FnMut(&mut Self) -> Result<T, Interrupt>,
    ) -> Result<Option<T>, SyncError> {
        let mut said: Option<String> = None;
        loop {
            if self.stop.requested() {
                return Ok(None);
            }
            match action(self) {
                Ok(value) => {
                    if said.is_some() {
                        tracing::info!("{} answers again", self.source.describe());
                        self.problem(None);
                    }
                    return Ok(Some(value));
                }
                Err(Interrupt::Stopped) => return Ok(None),
                Err(Interrupt::Fatal(e)) => return Err(e),
                // What was interrupted asks to be tried again; that is no news.
                Err(Interrupt::Retry(_)) if self.stop.requested() => return Ok(None),
                Err(Interrupt::Retry(reason)) => {
                    if said.as_ref() != Some(&reason) {
                        tracing::warn!("{reason}; trying again until it passes");
                        self.problem(Some(reason.clone()));
                        said = Some(reason);
                    }
                    let pause = self.back_off.next(Instant::now());
                    if self.stop.sleep(pause) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn problem(&self, problem: Option<String>) {
        self.status.send_if_modified(|status| {
            let changed = status.problem != problem;
            status.stuck = problem.as_ref().map(|_| status.stuck.unwrap_or_else(Instant::now));
            status.problem = problem;
            changed
        });
    }
}

/// What one step did.
enum Step {
    /// It applied blocks, or took some back.
    Applied,
    /// There is nothing left to do.
    Done,
}

/// A tip in a few words.
fn short(tip: &TipRecord) -> String {
    format!("{} ({})", tip.height, tip.hash)
}
