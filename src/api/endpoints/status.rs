//! `/v1/status`

use std::collections::BTreeMap;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bitcoin::BlockHash;
use serde::Serialize;
use utoipa::ToSchema;

use super::entities::{EntityKeys, keys_of_entities};
use crate::api::answer::uncached;
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::query::Params;
use crate::api::schemas;
use crate::api::types::AsOf;
use crate::ledger::records::Counter;
use crate::ledger::tables::Counters;
use crate::ledger::view::{ReadError, View};
use crate::protocol::Height;
use crate::sync::status::{Phase, SyncStatus};

/// The server: what it follows, and how far it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    /// Version of the software.
    pub version: &'static str,
    /// `mainnet`, `testnet`, `signet` or `regtest`.
    pub network: &'static str,
    /// First block that is applied.
    pub start_height: Height,
    /// Whether the state is that of the best block known.
    pub synced: bool,
    /// Progress of synchronisation.
    pub sync: SyncProgress,
    /// The followed entities.
    pub entities: Vec<EntityKeys>,
    /// Messages that were counted and had no other effect, by kind; kinds that never occurred are left out.
    pub counters: BTreeMap<Counter, u64>,
    /// What answers rest on; `null` before the first block.
    pub as_of: Option<AsOf>,
}

/// Progress of synchronisation.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SyncProgress {
    /// What it is doing.
    #[schema(value_type = PhaseName)]
    pub state: Phase,
    /// Height of the best block that the source of blocks knows.
    pub source_height: Option<Height>,
    /// Its hash.
    #[schema(value_type = Option<schemas::BlockHash>)]
    pub source_block_hash: Option<BlockHash>,
    /// Seconds since the source last answered.
    pub source_heard_seconds: Option<u64>,
    /// What keeps it from going on, or why the state is being rebuilt, for people.
    pub problem: Option<String>,
}

/// What synchronisation is doing: `starting` (it has not yet heard from the source of blocks), `catching_up`,
/// `reorganising` (blocks that left the best chain are being undone), `following` (the best chain is applied)
/// or `failed` (it gave up).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Phase)]
#[allow(dead_code)] // only its schema is used
enum PhaseName {
    Starting,
    CatchingUp,
    Reorganising,
    Following,
    Failed,
}

/// The server: version, network, progress, entities
///
/// Always answers, also while blocks are still to be applied.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "server",
    responses((status = 200, description = "The server", body = Status)),
    extensions(("x-errors" = json!(["store_error", "busy"])), ("x-example" = json!("/v1/status"))),
)]
pub async fn status(State(app): State<App>, params: Params) -> Result<Response, ApiError> {
    params.refuse_rest()?;
    let sync = app.sync_status();
    let status = app.blocking(move |app| {
        let rules = app.store().rules();
        let now = app.now()?;
        Ok(Status {
            version: env!("CARGO_PKG_VERSION"),
            network: rules.network.name(),
            start_height: rules.start_height,
            synced: sync.synced(),
            sync: progress(&sync),
            entities: keys_of_entities(&rules.entities),
            counters: counters(&app.store().view())?,
            as_of: now.map(|now| now.as_of(&rules.entities)),
        })
    });
    Ok(uncached(Json(status.await?)))
}

/// How often each kind of message was counted and dropped, zeros left out.
pub fn counters(view: &impl View) -> Result<BTreeMap<Counter, u64>, ReadError> {
    let mut counters = BTreeMap::new();
    for counter in Counter::ALL {
        if let Some(count) = view.get::<Counters>(&(counter as u8))? {
            counters.insert(counter, count);
        }
    }
    Ok(counters)
}

fn progress(status: &SyncStatus) -> SyncProgress {
    SyncProgress {
        state: status.phase,
        source_height: status.source_tip.map(|tip| tip.height),
        source_block_hash: status.source_tip.map(|tip| tip.hash),
        source_heard_seconds: status.heard.map(|heard| Instant::now().duration_since(heard).as_secs()),
        problem: status.problem.clone(),
    }
}
