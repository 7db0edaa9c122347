//! `/v1/blocks/{block}`

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::app::App;
use crate::api::at;
use crate::api::error::ApiError;
use crate::api::parse::{self, BlockName};
use crate::api::query::{Ask, Params};
use crate::api::reader::Reader;
use crate::api::schemas;
use crate::api::types::{Answer, BlockPlace};
use crate::ledger::tables::{BlockHeights, Blocks};
use crate::ledger::view::View;
use crate::protocol::StateHash;

/// An applied block.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Block {
    /// Which block.
    #[serde(flatten)]
    pub block: BlockPlace,
    /// State hash after it.
    pub state_hash: StateHash,
    /// Its event lines in order, without line feeds, as the state hash commits to them.
    pub events: Vec<String>,
}

/// A block: what happened in it
///
/// Its state hash and its event lines. Their words are explained in `schema/state-hash.md`.
#[utoipa::path(
    get,
    path = "/v1/blocks/{block}",
    tag = "chain",
    params(("block" = schemas::BlockParam, Path, description = "Height, or hash"), Ask),
    responses((status = 200, description = "The block", body = Answer<Block>)),
    extensions(
        ("x-errors" = json!(["bad_block", "block_not_found"])),
        ("x-example" = json!("/v1/blocks/135")),
    ),
)]
pub async fn block(
    State(app): State<App>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let name = parse::block(&name)?;
    app.state(params.finish()?, move |reader| reader.one_block(name)).await
}

impl<V: View> Reader<'_, V> {
    fn one_block(&self, name: BlockName) -> Result<Block, ApiError> {
        let unknown = || at::unknown_block(name, &self.tip);
        let height = match name {
            BlockName::Height(height) => height,
            BlockName::Hash(hash) => self.view.get::<BlockHeights>(&hash.into())?.ok_or_else(unknown)?,
        };
        let block = self.view.get::<Blocks>(&height)?.ok_or_else(unknown)?;
        Ok(Block {
            block: BlockPlace { block_height: height, block_hash: block.hash, block_time: block.time },
            state_hash: block.state_hash,
            events: block.events.lines().map(str::to_owned).collect(),
        })
    }
}
