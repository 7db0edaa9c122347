//! `/v1/blocks` and `/v1/blocks/{block}`

use std::cmp::Reverse;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::app::App;
use crate::api::at;
use crate::api::cursor::List;
use crate::api::error::ApiError;
use crate::api::page::{Page, Pager};
use crate::api::parse::{self, BlockName};
use crate::api::query::{Ask, PageRequest, Params};
use crate::api::reader::Reader;
use crate::api::schemas;
use crate::api::types::{Answer, BlockPlace};
use crate::ledger::records::BlockRecord;
use crate::ledger::tables::{self, BlockHeights};
use crate::ledger::view::{ReadError, View};
use crate::protocol::{Height, StateHash};

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

/// A list of blocks.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Blocks {
    /// The last one first.
    pub blocks: Vec<Block>,
    /// Continues the list; `null` at its end.
    pub next_cursor: Option<String>,
}

/// Blocks: what happened in them
///
/// All that have been applied, down to the start height, the last one first. Most hold nothing of BTKN;
/// `/v1/events` lists what happened alone.
#[utoipa::path(
    get,
    path = "/v1/blocks",
    tag = "chain",
    params(PageRequest, Ask),
    responses((status = 200, description = "A page of the list", body = Answer<Blocks>)),
    extensions(("x-example" = json!("/v1/blocks?limit=3"))),
)]
pub async fn blocks(State(app): State<App>, mut params: Params) -> Result<Response, ApiError> {
    let (page, start) = (params.page()?, app.store().rules().start_height);
    let ask = Ask { rows: page.limit, ..params.finish()? };
    app.state(ask, move |reader| reader.blocks(start, &page)).await
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
    fn blocks(&self, start: Height, page: &PageRequest) -> Result<Blocks, ApiError> {
        let range = (&Reverse(self.tip.height), &Reverse(start));
        let pager = Pager::open(&self.tip, List::Blocks, range, page)?;
        let rows = (start.0..=pager.from.0.0).rev().map(Height).map(|height| {
            let block = self.view.expect::<tables::Blocks>(&height)?;
            Ok::<_, ReadError>((Reverse(height), Block::new(height, &block)))
        });
        let Page { rows, next_cursor } = pager.collect(rows)?;
        Ok(Blocks { blocks: rows, next_cursor })
    }

    fn one_block(&self, name: BlockName) -> Result<Block, ApiError> {
        let unknown = || at::unknown_block(name, &self.tip);
        let height = match name {
            BlockName::Height(height) => height,
            BlockName::Hash(hash) => self.view.get::<BlockHeights>(&hash.into())?.ok_or_else(unknown)?,
        };
        let block = self.view.get::<tables::Blocks>(&height)?.ok_or_else(unknown)?;
        Ok(Block::new(height, &block))
    }
}

impl Block {
    fn new(height: Height, block: &BlockRecord) -> Block {
        Block {
            block: BlockPlace { block_height: height, block_hash: block.hash, block_time: block.time },
            state_hash: block.state_hash,
            events: block.events.lines().map(str::to_owned).collect(),
        }
    }
}
