//! What handlers share: the store, the progress of synchronisation, and how a read of the state is
//! answered.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{Semaphore, watch};

use super::Limits;
use super::answer::Basis;
use super::at;
use super::error::{ApiError, Code};
use super::metrics::Metrics;
use super::now::{Now, Seen};
use super::query::Ask;
use super::reader::Reader;
use crate::ledger::records::TipRecord;
use crate::mempool::{self, Contents, Published};
use crate::protocol::Network;
use crate::stop::Stop;
use crate::store::{Store, StoreView};
use crate::sync::status::{Phase, SyncStatus};

/// Seconds after which a read that came too early is worth another try.
const RETRY_AFTER: u32 = 5;

/// Answers of at most so many rows are read where the request is, which takes some microseconds for each
/// row. Handing it to a thread that may wait takes longer than most of them.
const ROWS_IN_PLACE: usize = 100;

/// What handlers share. Clones are cheap: each request takes some.
#[derive(Clone)]
pub struct App(Arc<Shared>);

#[derive(Clone)]
struct Shared {
    store: Arc<Store>,
    sync: watch::Receiver<SyncStatus>,
    reads: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    limits: Limits,
    metrics: Arc<Metrics>,
    /// What answers are read from until something is written.
    seen: Arc<Seen>,
    stop: Stop,
    mempool: Published,
}

/// What the state is read from.
pub type StateReader<'a> = Reader<'a, StoreView<'a>>;

impl App {
    /// An API over a store, which somebody else may be writing to.
    pub fn new(store: Arc<Store>, sync: watch::Receiver<SyncStatus>, limits: Limits) -> Self {
        let shared = Shared {
            store,
            sync,
            reads: Arc::new(Semaphore::new(limits.reads)),
            streams: Arc::new(Semaphore::new(limits.streams)),
            limits,
            metrics: Arc::new(Metrics::new()),
            seen: Arc::default(),
            stop: Stop::new(),
            mempool: mempool::unavailable("this server asks no node"),
        };
        App(Arc::new(shared))
    }

    /// The same with a mempool to show.
    pub fn with_mempool(self, mempool: Published) -> Self {
        App(Arc::new(Shared { mempool, ..Arc::unwrap_or_clone(self.0) }))
    }

    /// What is known of the mempool.
    pub fn mempool(&self) -> Arc<Contents> {
        self.0.mempool.borrow().clone()
    }

    /// Ends streams when a stop is requested.
    pub fn stopping_with(self, stop: Stop) -> Self {
        App(Arc::new(Shared { stop, ..Arc::unwrap_or_clone(self.0) }))
    }

    /// Whether streams are to end.
    pub fn stop(&self) -> &Stop {
        &self.0.stop
    }

    /// One permit for each stream.
    pub fn streams(&self) -> &Arc<Semaphore> {
        &self.0.streams
    }

    /// The network whose addresses are read and written.
    pub fn network(&self) -> Network {
        self.0.store.rules().network
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The store, for whoever reads it later.
    pub fn shared_store(&self) -> Arc<Store> {
        Arc::clone(&self.0.store)
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// What is counted while requests are answered.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Progress of synchronisation, as of now.
    pub fn sync_status(&self) -> SyncStatus {
        self.0.sync.borrow().clone()
    }

    /// The state as of the last applied block; `None` before the first.
    pub fn now(&self) -> Result<Option<Arc<Now>>, ApiError> {
        self.0.seen.now(&self.0.store)
    }

    /// Lets go of the state before a write: RocksDB keeps for it what the write replaced.
    pub fn let_go(&self) {
        self.0.seen.let_go();
    }

    /// Runs something that reads the store on a thread that may block. Only so many run at once.
    pub async fn blocking<T, F>(&self, work: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
    {
        let permit = Arc::clone(&self.0.reads)
            .try_acquire_owned()
            .map_err(|_| ApiError::retry(Code::Busy, Code::Busy.meaning(), 1))?;
        let app = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let result = work(&app);
            drop(permit);
            result
        });
        task.await.unwrap_or_else(|panicked| Err(ApiError::internal(panicked)))
    }

    /// Answers a read of the state: what `read` finds, with the block that it rests on in body and
    /// headers, an entity tag, and 304 for a client that has the answer already.
    pub async fn state<T, F>(&self, ask: Ask, read: F) -> Result<Response, ApiError>
    where
        T: Serialize,
        F: FnOnce(&StateReader<'_>) -> Result<T, ApiError> + Send + 'static,
    {
        if ask.rows <= ROWS_IN_PLACE {
            return self.read_state(&ask, read);
        }
        self.blocking(move |app| app.read_state(&ask, read)).await
    }

    fn read_state<T: Serialize>(
        &self,
        ask: &Ask,
        read: impl FnOnce(&StateReader<'_>) -> Result<T, ApiError>,
    ) -> Result<Response, ApiError> {
        // Before the view is taken, so that "synced" is never said of an older block.
        let sync = self.sync_status();
        let now = self.now()?.ok_or_else(|| not_yet("no block has been applied yet"))?;
        now.look(|view| {
            let tip = now.tip();
            let mut reader = reader(view.clone(), Arc::clone(now.basis()));
            let answered = if !sync.close(tip.height) && !ask.allow_stale {
                Err(not_yet(behind(sync.phase, tip)))
            } else {
                at::resolve(ask, view, tip).and_then(|at| {
                    if at.hash != tip.hash {
                        reader = reader_of(view, at)?;
                    }
                    reader.basis.answer(ask, at::is_deep(at.height, tip.height), read(&reader)?)
                })
            };
            let mut response = answered.unwrap_or_else(IntoResponse::into_response);
            reader.basis.set_headers(response.headers_mut(), sync.synced());
            Ok(response)
        })
    }
}

fn reader(view: StoreView<'_>, basis: Arc<Basis>) -> StateReader<'_> {
    let rules = view.rules();
    Reader { tip: basis.tip, basis, network: rules.network, entities: &rules.entities, view }
}

/// The state as of a block before the last one, at the moment that `now` shows.
fn reader_of<'a>(now: &StoreView<'a>, at: TipRecord) -> Result<StateReader<'a>, ApiError> {
    let view = now.at(at.height)?;
    let basis = Basis::read(&view, at, &view.rules().entities)?;
    Ok(reader(view, Arc::new(basis)))
}

/// Why the state is not that of the best chain, and what to do.
fn behind(phase: Phase, tip: &TipRecord) -> String {
    let why = match phase {
        Phase::Starting => "the source of blocks has not answered yet",
        Phase::Failed => "synchronisation gave up; /v1/status says why",
        Phase::Reorganising => "blocks that left the best chain are being undone",
        Phase::CatchingUp | Phase::Following => "still catching up",
    };
    let height = tip.height;
    format!("{why}; ask again later, or add allow_stale=true for the state at height {height}")
}

fn not_yet(message: impl Into<String>) -> ApiError {
    ApiError::retry(Code::CatchingUp, message, RETRY_AFTER)
}
