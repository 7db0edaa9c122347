//! Consecutive blocks, fetched and scanned on several threads, handed on in order.
//!
//! Each thread fetches a block and scans it at once, while its bytes are in the processor's cache; the
//! blocks that are under way at a time, and what was found in them, are bounded. The results do not depend on
//! the number of threads or on their luck: a spend is reported of every output that is watched when its
//! block is handed on, and of every output that blocks before it, or itself, name in a well-formed
//! announcement. An announcement is not judged here: the ledger drops spends of outputs that it does not
//! follow. No input is reported twice.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;

use bitcoin::BlockHash;

use super::block::{RawBlock, Scanner, Scratch, Watched};
use super::messages::{BlockMessages, named_outpoints};
use super::recent::Recent;
use super::{BlockFault, WatchSet};

/// How far scanning may be ahead of the block that is handed on next: in blocks, and in bytes of blocks in
/// which something was found.
const WINDOW: usize = 128;
const WINDOW_BYTES: usize = 32 << 20;

/// How far reading ahead may be ahead of scanning, in blocks, and how many are asked for at once.
const READ_AHEAD: usize = 48;
const READ_AHEAD_STEP: usize = 12;

/// The blocks to scan. Called from several threads.
pub trait Blocks: Sync {
    /// Why a block could not be fetched.
    type Error: Send;

    /// How many there are.
    fn count(&self) -> usize;

    /// The hash that the bytes of a block must have.
    fn hash(&self, index: usize) -> BlockHash;

    /// The bytes of a block, in `buf` if they are not at hand.
    fn fetch<'a>(&'a self, index: usize, buf: &'a mut Vec<u8>) -> Result<&'a [u8], Self::Error>;

    /// Whether [`read_ahead`](Self::read_ahead) does anything.
    fn can_read_ahead(&self) -> bool {
        false
    }

    /// Hears on a thread of its own which blocks will be fetched next, in ascending order.
    fn read_ahead(&self, _blocks: Range<usize>) {}
}

/// How to scan.
#[derive(Clone, Copy, Debug)]
pub struct Workers {
    /// Blocks that are scanned at a time.
    pub scanning: usize,
    /// Blocks that are fetched or scanned at a time: more, where fetching is mostly waiting.
    pub under_way: usize,
}

/// A scanned block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// What is in it.
    pub messages: BlockMessages,
    /// Its length in bytes.
    pub bytes: usize,
}

/// Why a block could not be scanned.
#[derive(Debug)]
pub enum Failure<E> {
    /// Its bytes did not come.
    Fetch(E),
    /// Its bytes were refused.
    Fault(BlockFault),
}

/// Scans `blocks` for messages, and for spends of what is `watched`. `consume` is handed the results in
/// order, and may change the watched set meanwhile; where it ends early, so does the rest. No block is begun
/// after a failure: a node that is away is not waited for block by block.
pub fn scan_in_order<B: Blocks, T>(
    blocks: &B,
    scanner: Scanner,
    watched: &RwLock<WatchSet>,
    workers: Workers,
    consume: impl FnOnce(&mut Ordered<'_, B>) -> T,
) -> T {
    let work = Work { blocks, scanner, watched, queue: Queue::new(blocks.count(), workers.scanning) };
    let threads = if blocks.count() > 1 { workers.under_way.max(1).min(blocks.count()) } else { 0 };
    thread::scope(|scope| {
        // Lets the other threads end, however this one does.
        let _closing = Closing { queue: &work.queue, always: true };
        let work = &work;
        let named = |name: String| thread::Builder::new().name(name);
        let spawn = |n: usize| named(format!("scan-{n}")).spawn_scoped(scope, || work.run()).is_ok();
        // A block alone is quickest done here; so are all where no thread can be had.
        let started = (0..threads).filter(|n| spawn(*n)).count() > 0;
        if started && blocks.can_read_ahead() {
            // Without it, blocks come all the same.
            let _ = named("read-ahead".into()).spawn_scoped(scope, || work.run_ahead());
        }
        let here = (!started).then(Desk::default);
        consume(&mut Ordered { work, here, spare: Desk::default(), recent: Recent::default(), next: 0 })
    })
}

/// The scanned blocks, in order.
pub struct Ordered<'w, B: Blocks> {
    work: &'w Work<'w, B>,
    /// Memory to scan on this thread, where no other does.
    here: Option<Desk>,
    /// Memory to scan a block once more.
    spare: Desk,
    recent: Recent,
    next: usize,
}

impl<B: Blocks> Ordered<'_, B> {
    /// The next block; `None` after the last, and after a failure where no later block had been begun.
    pub fn next_block(&mut self) -> Option<Result<Scanned, Failure<B::Error>>> {
        let index = self.next;
        let Done { known, outcome } = match &mut self.here {
            _ if index == self.work.blocks.count() => return None,
            Some(desk) => self.work.scan(index, self.work.queue.known(), desk),
            None => self.work.queue.take(index)?,
        };
        self.next += 1;
        Some(outcome.and_then(|found| self.complete(index, known, found)))
    }

    /// To be called once the watched set holds all that is to be watched of what the blocks handed on so
    /// far name.
    pub fn watching_all(&mut self) {
        self.work.queue.set_known(self.next);
    }

    /// Adds spends of what was named since the block was scanned, and by itself.
    fn complete(&mut self, index: usize, known: usize, found: Found) -> Result<Scanned, Failure<B::Error>> {
        self.recent.forget_before(known);
        self.recent.add(index, named_outpoints(&found.scanned.messages));
        if !self.recent.may_be_spent_by(&found.prevouts) {
            return Ok(found.scanned);
        }
        self.work.scan_for(index, self.recent.set(), &mut self.spare)
    }
}

/// What the threads share.
struct Work<'a, B: Blocks> {
    blocks: &'a B,
    scanner: Scanner,
    watched: &'a RwLock<WatchSet>,
    queue: Queue<B::Error>,
}

/// Memory of one thread.
#[derive(Default)]
struct Desk {
    buf: Vec<u8>,
    scratch: Scratch,
}

/// A block that was scanned for spends of what was watched at that moment.
struct Found {
    scanned: Scanned,
    prevouts: Box<[u32]>,
}

/// What became of a block.
struct Done<E> {
    /// The names of the blocks before this one were watched when it was scanned, where that mattered.
    known: usize,
    outcome: Result<Found, Failure<E>>,
}

impl<B: Blocks> Work<'_, B> {
    fn run(&self) {
        let _closing = Closing { queue: &self.queue, always: false };
        let mut desk = Desk::default();
        while let Some((index, known)) = self.queue.begin() {
            let done = self.scan(index, known, &mut desk);
            self.queue.end(index, done);
        }
    }

    fn run_ahead(&self) {
        let mut from = 0;
        while let Some(range) = self.queue.wait_ahead(from) {
            from = range.end;
            self.blocks.read_ahead(range);
        }
    }

    fn scan(&self, index: usize, known: usize, desk: &mut Desk) -> Done<B::Error> {
        let nothing = WatchSet::new();
        let outcome = self.scan_for(index, &nothing, desk);
        let outcome =
            outcome.map(|scanned| Found { scanned, prevouts: desk.scratch.prevouts.as_slice().into() });
        Done { known, outcome }
    }

    /// Fetches and scans a block for spends of what is watched now, and of what is named besides.
    fn scan_for(
        &self,
        index: usize,
        named: &WatchSet,
        desk: &mut Desk,
    ) -> Result<Scanned, Failure<B::Error>> {
        let bytes = self.blocks.fetch(index, &mut desk.buf).map_err(Failure::Fetch)?;
        let _slot = self.queue.slot();
        let before = self.watched.read().unwrap_or_else(PoisonError::into_inner);
        let (raw, watched) =
            (RawBlock { hash: self.blocks.hash(index), bytes }, Watched { before: &before, named });
        let messages = self.scanner.scan(&raw, watched, &mut desk.scratch).map_err(Failure::Fault)?;
        Ok(Scanned { messages, bytes: bytes.len() })
    }
}

/// Which blocks are under way, and those that are ready to be handed on.
struct Queue<E> {
    state: Mutex<State<E>>,
    changed: Condvar,
    count: usize,
}

struct State<E> {
    /// The next block to begin.
    begun: usize,
    /// The next block to hand on.
    handed_on: usize,
    /// Blocks from `handed_on` on that are ready.
    ready: VecDeque<Option<Done<E>>>,
    /// Bytes of those in which something was found.
    ready_bytes: usize,
    /// The watched set holds the names of all blocks before this one.
    known: usize,
    /// How many more may be scanned at a time.
    slots: usize,
    /// Whether some block could not be fetched, or is not good.
    failed: bool,
    closed: bool,
}

impl<E> Queue<E> {
    fn new(count: usize, slots: usize) -> Self {
        let state = State {
            begun: 0,
            handed_on: 0,
            ready: VecDeque::new(),
            ready_bytes: 0,
            known: 0,
            slots: slots.max(1),
            failed: false,
            closed: false,
        };
        Queue { state: Mutex::new(state), changed: Condvar::new(), count }
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, condition: impl Fn(&State<E>) -> bool) -> MutexGuard<'_, State<E>> {
        let waited = self.changed.wait_while(self.lock(), |state| !state.closed && condition(state));
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// The next block to scan, and how many are known; `None` where there is none left.
    fn begin(&self) -> Option<(usize, usize)> {
        let full = |state: &State<E>| {
            !state.failed
                && state.begun < self.count
                && (state.begun >= state.handed_on + WINDOW || state.ready_bytes >= WINDOW_BYTES)
        };
        let mut state = self.wait_while(full);
        if state.closed || state.failed || state.begun == self.count {
            return None;
        }
        let index = state.begun;
        state.begun += 1;
        state.ready.push_back(None);
        if index.is_multiple_of(READ_AHEAD_STEP) {
            self.changed.notify_all();
        }
        Some((index, state.known))
    }

    fn end(&self, index: usize, done: Done<E>) {
        let mut state = self.lock();
        state.ready_bytes += done.weight();
        state.failed |= done.outcome.is_err();
        let place = index - state.handed_on;
        if let Some(slot) = state.ready.get_mut(place) {
            *slot = Some(done);
        }
        if place == 0 || state.failed {
            self.changed.notify_all();
        }
    }

    /// Waits for a block; `None` where it was never begun.
    fn take(&self, index: usize) -> Option<Done<E>> {
        debug_assert_eq!(index, self.lock().handed_on);
        let mut state = self.wait_while(|state| match state.ready.front() {
            Some(done) => done.is_none(),
            None => !state.failed,
        });
        let done = state.ready.pop_front().flatten()?;
        let was_full = state.begun == state.handed_on + WINDOW || state.ready_bytes >= WINDOW_BYTES;
        state.handed_on += 1;
        state.ready_bytes -= done.weight();
        if was_full {
            self.changed.notify_all();
        }
        Some(done)
    }

    fn known(&self) -> usize {
        self.lock().known
    }

    fn set_known(&self, known: usize) {
        self.lock().known = known;
    }

    /// Waits for leave to scan.
    fn slot(&self) -> Slot<'_, E> {
        let mut state = self.wait_while(|state| state.slots == 0);
        // At the end nobody waits, and nobody counts.
        state.slots = state.slots.saturating_sub(1);
        Slot(self)
    }

    /// The blocks from `from` on whose time to be read ahead has come; `None` at the end.
    fn wait_ahead(&self, from: usize) -> Option<Range<usize>> {
        let state = self.wait_while(|state| {
            from < self.count && !state.failed && from + READ_AHEAD_STEP > state.begun + READ_AHEAD
        });
        let end = (state.begun + READ_AHEAD).min(self.count);
        (!state.closed && !state.failed && from < end).then_some(from..end)
    }
}

impl<E> Done<E> {
    fn weight(&self) -> usize {
        match &self.outcome {
            Ok(found) if !found.scanned.messages.txs.is_empty() => found.scanned.bytes,
            _ => 0,
        }
    }
}

/// Leave to scan, given back when it is dropped.
struct Slot<'q, E>(&'q Queue<E>);

impl<E> Drop for Slot<'_, E> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.slots += 1;
        if state.slots == 1 {
            self.0.changed.notify_all();
        }
    }
}

/// Tells everyone to end when it is dropped, or when it is dropped by a panic: nobody shall wait for a block
/// that will not come.
struct Closing<'q, E> {
    queue: &'q Queue<E>,
    always: bool,
}

impl<E> Drop for Closing<'_, E> {
    fn drop(&mut self) {
        if self.always || thread::panicking() {
            self.queue.lock().closed = true;
            self.queue.changed.notify_all();
        }
    }
}
