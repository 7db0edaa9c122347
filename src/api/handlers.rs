//! One function for each path: parse strictly, read, answer.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bitcoin::{BlockHash, OutPoint};

use super::app::App;
use super::chain::{self, BlockName};
use super::error::ApiError;
use super::health;
use super::query::Params;
use super::reader::Reader;
use super::types;
use crate::ledger::Entities;
use crate::ledger::keys::{EntityIndex, Only};
use crate::ledger::tables::Tip;
use crate::ledger::view::View;
use crate::protocol::{Height, OwnerKey, PubKey, SparkOutPoint, TokenId, address};

/// `GET /v1/status`
pub async fn status(State(app): State<App>, params: Params) -> Result<Response, ApiError> {
    params.refuse_rest()?;
    let sync = app.sync_status();
    let status = app.blocking(move |app| {
        let (rules, view) = (app.store().rules(), app.store().view());
        let counters = chain::counters(&view)?;
        let as_of = match view.get::<Tip>(&Only)? {
            Some(tip) => {
                let reader = Reader { view, tip, network: rules.network, entities: &rules.entities };
                Some(reader.as_of()?)
            }
            None => None,
        };
        Ok(types::Status {
            version: env!("CARGO_PKG_VERSION"),
            network: rules.network.name(),
            start_height: rules.start_height,
            synced: sync.synced(),
            sync: chain::progress(&sync),
            entities: chain::entities(&rules.entities),
            counters,
            as_of,
        })
    });
    Ok(uncached(Json(status.await?)))
}

/// `GET /v1/blocks/{height or hash}`
pub async fn block(
    State(app): State<App>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let name = block_name(&name)?;
    Ok(app.state(params.finish()?, move |reader| reader.one_block(name)).await)
}

/// `GET /v1/tokens`
pub async fn tokens(State(app): State<App>, mut params: Params) -> Result<Response, ApiError> {
    let page = params.page()?;
    Ok(app.state(params.finish()?, move |reader| reader.tokens(&page)).await)
}

/// `GET /v1/tokens/{token}`
pub async fn token(
    State(app): State<App>,
    Path(token): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let token = token_id(&app, &token)?;
    Ok(app.state(params.finish()?, move |reader| reader.one_token(token)).await)
}

/// `GET /v1/tokens/{token}/holders`
pub async fn holders(
    State(app): State<App>,
    Path(token): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let (token, page) = (token_id(&app, &token)?, params.page()?);
    Ok(app.state(params.finish()?, move |reader| reader.holders(token, &page)).await)
}

/// `GET /v1/owners/{owner}/balances`
pub async fn balances(
    State(app): State<App>,
    Path(owner): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let (owner, page) = (owner_key(&app, &owner)?, params.page()?);
    if let Some(token) = params.take("token") {
        let token = token_id(&app, &token)?;
        if page.cursor.is_some() {
            return Err(ApiError::bad(
                "bad_cursor",
                "balances of one token are one page: leave the cursor out",
            ));
        }
        return Ok(app.state(params.finish()?, move |reader| reader.balances_of_token(owner, token)).await);
    }
    Ok(app.state(params.finish()?, move |reader| reader.balances(owner, &page)).await)
}

/// `GET /v1/owners/{owner}/ttxos`
pub async fn owner_ttxos(
    State(app): State<App>,
    Path(owner): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let (owner, page) = (owner_key(&app, &owner)?, params.page()?);
    Ok(app.state(params.finish()?, move |reader| reader.owner_ttxos(owner, &page)).await)
}

/// `GET /v1/ttxos/{spark_tx_hash}:{vout}`
pub async fn ttxo(
    State(app): State<App>,
    Path(outpoint): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let outpoint = spark_outpoint(&outpoint)?;
    Ok(app.state(params.finish()?, move |reader| reader.ttxo(outpoint)).await)
}

/// `GET /v1/exits`
pub async fn exits(State(app): State<App>, mut params: Params) -> Result<Response, ApiError> {
    let page = params.page()?;
    if let Some(ttxo) = params.take("ttxo") {
        let ttxo = spark_outpoint(&ttxo)?;
        return Ok(app.state(params.finish()?, move |reader| reader.exits_of_ttxo(ttxo, &page)).await);
    }
    Ok(app.state(params.finish()?, move |reader| reader.exits(&page)).await)
}

/// `GET /v1/exits/{txid}:{vout}`
pub async fn exits_of_output(
    State(app): State<App>,
    Path(outpoint): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let (outpoint, page) = (l1_outpoint(&outpoint)?, params.page()?);
    Ok(app.state(params.finish()?, move |reader| reader.exits_of_output(outpoint, &page)).await)
}

/// `GET /v1/snapshots`
pub async fn snapshots(State(app): State<App>, mut params: Params) -> Result<Response, ApiError> {
    let (entity, page) = (entity(&app, &mut params)?, params.page()?);
    Ok(app.state(params.finish()?, move |reader| reader.snapshots(entity, &page)).await)
}

/// `GET /v1/snapshots/{sequence}`
pub async fn snapshots_of_sequence(
    State(app): State<App>,
    Path(sequence): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let sequence = number(&sequence).ok_or_else(|| {
        ApiError::bad("bad_sequence", "a snapshot is named by its sequence, a decimal number")
    })?;
    let (entity, page) = (entity(&app, &mut params)?, params.page()?);
    let ask = params.finish()?;
    Ok(app.state(ask, move |reader| reader.snapshots_of_sequence(sequence, entity, &page)).await)
}

/// `GET /v1/notices`
pub async fn notices(State(app): State<App>, mut params: Params) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    Ok(app.state(params.finish()?, move |reader| reader.notices(limit)).await)
}

/// `GET /health/live`: this process answers.
pub async fn live(params: Params) -> Result<Response, ApiError> {
    params.refuse_rest()?;
    Ok(uncached(Json(types::Health { status: "live" })))
}

/// `GET /health/ready`: its answers are those of the best chain.
pub async fn ready(State(app): State<App>, params: Params) -> Result<Response, ApiError> {
    params.refuse_rest()?;
    let sync = app.sync_status();
    app.blocking(move |app| {
        let tip = app.store().view().get::<Tip>(&Only)?;
        health::check(&sync, tip.as_ref(), std::time::Instant::now())
    })
    .await?;
    Ok(uncached(Json(types::Health { status: "ready" })))
}

fn uncached(body: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], body).into_response()
}

fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn block_name(text: &str) -> Result<BlockName, ApiError> {
    if let Some(height) = number(text) {
        return Ok(BlockName::Height(Height(height)));
    }
    let hash = text.parse::<BlockHash>().ok().map(BlockName::Hash);
    hash.ok_or_else(|| {
        ApiError::bad("bad_block", "a block is named by its height or by its hash of 64 hex digits")
    })
}

fn token_id(app: &App, text: &str) -> Result<TokenId, ApiError> {
    address::parse_token(text, app.network()).map_err(|error| ApiError::bad("bad_token", error.to_string()))
}

fn owner_key(app: &App, text: &str) -> Result<OwnerKey, ApiError> {
    address::parse_owner(text, app.network()).map_err(|error| ApiError::bad("bad_owner", error.to_string()))
}

fn spark_outpoint(text: &str) -> Result<SparkOutPoint, ApiError> {
    text.parse::<SparkOutPoint>().map_err(|error| ApiError::bad("bad_ttxo", error.to_string()))
}

fn l1_outpoint(text: &str) -> Result<OutPoint, ApiError> {
    text.parse::<OutPoint>().map_err(|_| {
        ApiError::bad("bad_outpoint", "an output is named by <txid, 64 hex digits>:<output index>")
    })
}

/// Takes the parameter `entity` out: the id or the name of a followed entity.
fn entity(app: &App, params: &mut Params) -> Result<Option<EntityIndex>, ApiError> {
    let Some(text) = params.take("entity") else { return Ok(None) };
    let found = find_entity(&app.store().rules().entities, &text);
    let message = || format!("no followed entity has the id or the name '{text}'; /v1/status lists them");
    found.map(Some).ok_or_else(|| ApiError::unknown("entity_not_found", message()))
}

fn find_entity(entities: &Entities, text: &str) -> Option<EntityIndex> {
    let id = text.parse::<PubKey>().ok();
    let by_id = entities.iter().find(|(_, entity)| Some(entity.id()) == id);
    by_id.or_else(|| entities.iter().find(|(_, entity)| entity.name == text)).map(|(index, _)| index)
}
