//! The state as of the last applied block, kept for the answers until something is written.
//!
//! Each thread has its own. What is looked at and counted for every answer is then in the cache of one
//! processor; handed to and fro between two, it takes as long as reading the rows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::answer::{self, Basis};
use super::error::ApiError;
use super::types::AsOf;
use crate::ledger::Entities;
use crate::ledger::keys::Only;
use crate::ledger::records::TipRecord;
use crate::ledger::tables::Tip;
use crate::ledger::view::View;
use crate::store::{Moment, Store, StoreView};

/// So many threads have one of their own; those after them share.
const SLOTS: usize = 8;

self_cell::self_cell! {
    /// A view that keeps its store open.
    struct Held {
        owner: Arc<Store>,
        // It keeps iterators behind a lock.
        #[not_covariant]
        dependent: StoreView,
    }
}

/// The state as of the last applied block, at one moment.
pub struct Now {
    moment: Moment,
    held: Held,
    basis: Arc<Basis>,
}

impl Now {
    /// Now; `None` before the first block.
    fn of(store: Arc<Store>) -> Result<Option<Now>, ApiError> {
        let held = Held::new(store, |store| store.view());
        let read = held.with_dependent(|store, view| {
            let Some(tip) = view.get::<Tip>(&Only)? else { return Ok(None) };
            let basis = Basis::read(view, tip, &store.rules().entities)?;
            Ok::<_, ApiError>(Some((view.moment(), Arc::new(basis))))
        });
        Ok(read?.map(|(moment, basis)| Now { moment, held, basis }))
    }

    /// Looks at the rows.
    pub fn look<T>(&self, look: impl for<'a> FnOnce(&StoreView<'a>) -> T) -> T {
        self.held.with_dependent(|_, view| look(view))
    }

    /// What answers rest on.
    pub fn basis(&self) -> &Arc<Basis> {
        &self.basis
    }

    /// The block.
    pub fn tip(&self) -> &TipRecord {
        &self.basis.tip
    }

    /// The block, and the active snapshot of each of the entities.
    pub fn as_of(&self, entities: &Entities) -> AsOf {
        answer::as_of(self.tip(), &self.basis.active, entities)
    }
}

/// What the threads saw last.
#[derive(Default)]
pub struct Seen([Slot; SLOTS]);

/// Apart from its neighbours, for processors fetch lines of a cache in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Slot(Mutex<Option<Arc<Now>>>);

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Now>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// The state as of the last applied block; `None` before the first.
    pub fn now(&self, store: &Arc<Store>) -> Result<Option<Arc<Now>>, ApiError> {
        let moment = store.moment();
        let slot = &self.0[number_of_thread() % SLOTS];
        if let Some(now) = slot.lock().as_ref().filter(|now| now.moment == moment) {
            return Ok(Some(Arc::clone(now)));
        }
        let now = Now::of(Arc::clone(store))?.map(Arc::new);
        slot.lock().clone_from(&now);
        Ok(now)
    }

    /// Lets go of the state before a write: RocksDB keeps for it what the write replaced.
    pub fn let_go(&self) {
        for slot in &self.0 {
            *slot.lock() = None;
        }
    }
}

fn number_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}
