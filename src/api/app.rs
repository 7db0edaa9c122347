//! What handlers share: the store, the progress of synchronisation, and how a read of the state is
//! answered.

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{Semaphore, watch};

use super::Limits;
use super::error::ApiError;
use super::query::Ask;
use super::reader::Reader;
use super::types::Answer;
use crate::ledger::keys::Only;
use crate::ledger::records::TipRecord;
use crate::ledger::tables::Tip;
use crate::ledger::view::View;
use crate::protocol::Network;
use crate::store::{Store, StoreView};
use crate::sync::status::{Phase, SyncStatus};

/// Height of the block that an answer rests on.
pub const HEIGHT_HEADER: HeaderName = HeaderName::from_static("btkn-height");

/// Hash of the block that an answer rests on.
pub const BLOCK_HASH_HEADER: HeaderName = HeaderName::from_static("btkn-block-hash");

/// `true` if that block was the best known one.
pub const SYNCED_HEADER: HeaderName = HeaderName::from_static("btkn-synced");

/// Seconds after which a read that came too early is worth another try.
const RETRY_AFTER: u32 = 5;

/// How long a cache may keep an answer about the tip: long enough to absorb a crowd, too short to notice.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=1, must-revalidate");

/// What handlers share. Clones are cheap.
#[derive(Clone)]
pub struct App {
    store: Arc<Store>,
    sync: watch::Receiver<SyncStatus>,
    reads: Arc<Semaphore>,
    limits: Limits,
}

impl App {
    /// An API over a store, which somebody else may be writing to.
    pub fn new(store: Arc<Store>, sync: watch::Receiver<SyncStatus>, limits: Limits) -> Self {
        App { store, sync, reads: Arc::new(Semaphore::new(limits.reads)), limits }
    }

    /// The network whose addresses are read and written.
    pub fn network(&self) -> Network {
        self.store.rules().network
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Progress of synchronisation, as of now.
    pub fn sync_status(&self) -> SyncStatus {
        self.sync.borrow().clone()
    }

    /// Runs something that reads the store on a thread that may block. Only so many run at once.
    pub async fn blocking<T, F>(&self, work: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
    {
        let permit = Arc::clone(&self.reads).try_acquire_owned().map_err(|_| {
            ApiError::unavailable("busy", "the server answers as many requests as it can; try again", 1)
        })?;
        let app = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let result = work(&app);
            drop(permit);
            result
        });
        // The task panicked; the panic is in the log.
        task.await.unwrap_or_else(|_| Err(ApiError::internal()))
    }

    /// Answers a read of the state: what `read` finds, with the block that it rests on in body and
    /// headers, an entity tag, and 304 for a client that has the answer already.
    pub async fn state<T, F>(&self, ask: Ask, read: F) -> Response
    where
        T: Serialize,
        F: FnOnce(&Reader<'_, StoreView<'_>>) -> Result<T, ApiError> + Send + 'static,
    {
        let answered = self.blocking(move |app| Ok(app.read_state(&ask, read))).await;
        answered.unwrap_or_else(IntoResponse::into_response)
    }

    fn read_state<T: Serialize>(
        &self,
        ask: &Ask,
        read: impl FnOnce(&Reader<'_, StoreView<'_>>) -> Result<T, ApiError>,
    ) -> Response {
        // Before the view is taken, so that "synced" is never said of an older block.
        let sync = self.sync_status();
        let view = self.store.view();
        let tip = match view.get::<Tip>(&Only) {
            Ok(Some(tip)) => tip,
            Ok(None) => return not_yet("no block has been applied yet").into_response(),
            Err(error) => return ApiError::from(error).into_response(),
        };
        let rules = self.store.rules();
        let reader = Reader { view, tip, network: rules.network, entities: &rules.entities };
        let mut response = if sync.close(tip.height) || ask.allow_stale {
            answer(&reader, ask, read).unwrap_or_else(IntoResponse::into_response)
        } else {
            not_yet(behind(sync.phase, &tip)).into_response()
        };
        set_block_headers(response.headers_mut(), &tip, sync.synced());
        response
    }
}

fn answer<V: View, T: Serialize>(
    reader: &Reader<'_, V>,
    ask: &Ask,
    read: impl FnOnce(&Reader<'_, V>) -> Result<T, ApiError>,
) -> Result<Response, ApiError> {
    let body = read(reader)?;
    let etag = entity_tag(&reader.tip);
    let mut response = if ask.has(&etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Json(Answer { as_of: reader.as_of()?, body }).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, CACHE_CONTROL);
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    Ok(response)
}

/// Under one URL, an answer changes with the block that it rests on, and with the software.
fn entity_tag(tip: &TipRecord) -> String {
    format!("\"{}-{}\"", tip.hash, env!("CARGO_PKG_VERSION"))
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
    ApiError::unavailable("catching_up", message, RETRY_AFTER)
}

fn set_block_headers(headers: &mut HeaderMap, tip: &TipRecord, synced: bool) {
    headers.insert(HEIGHT_HEADER, HeaderValue::from(tip.height.0));
    if let Ok(hash) = HeaderValue::from_str(&tip.hash.to_string()) {
        headers.insert(BLOCK_HASH_HEADER, hash);
    }
    headers.insert(SYNCED_HEADER, HeaderValue::from_static(if synced { "true" } else { "false" }));
}
