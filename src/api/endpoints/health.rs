//! `/health/live` and `/health/ready`

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::answer::uncached;
use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::health;
use crate::api::query::Params;
use crate::ledger::keys::Only;
use crate::ledger::tables::Tip;
use crate::ledger::view::View;

/// That it is well.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Health {
    /// `live` or `ready`.
    pub status: &'static str,
}

/// Whether the process answers at all
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "server",
    responses((status = 200, description = "It does", body = Health)),
    extensions(("x-example" = json!("/health/live"))),
)]
pub async fn live(params: Params) -> Result<Response, ApiError> {
    params.refuse_rest()?;
    Ok(uncached(Json(Health { status: "live" })))
}

/// Whether reads of the state are answered from the best chain
///
/// Red by itself when the source of blocks falls silent, the tip stops moving while blocks are to be applied, a
/// deep reorganisation is under way, or the database cannot be read. The code says which, the message why.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "server",
    responses((status = 200, description = "They are", body = Health)),
    extensions(
        ("x-errors" = json!([
            "starting", "catching_up", "reorganising", "sync_failed", "no_blocks", "source_silent", "stuck",
            "store_error", "busy",
        ])),
        ("x-example" = json!("/health/ready")),
    ),
)]
pub async fn ready(State(app): State<App>, params: Params) -> Result<Response, ApiError> {
    params.refuse_rest()?;
    let sync = app.sync_status();
    app.blocking(move |app| {
        let tip = app.store().view().get::<Tip>(&Only)?;
        health::check(&sync, tip.as_ref(), std::time::Instant::now())
    })
    .await?;
    Ok(uncached(Json(Health { status: "ready" })))
}
