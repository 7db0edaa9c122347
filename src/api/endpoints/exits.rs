//! `/v1/exits` and `/v1/exits/{outpoint}`

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use bitcoin::{OutPoint, Txid};
use serde::Serialize;
use utoipa::ToSchema;

use super::exit_filter::{self, ExitsOf};
use super::mempool::UnconfirmedExit;
use crate::api::app::{App, StateReader};
use crate::api::cursor::List;
use crate::api::error::{ApiError, Code};
use crate::api::names::{self, ExitStateName, OwnerSignature};
use crate::api::page::{Page, table_page};
use crate::api::parse;
use crate::api::query::{Ask, PageRequest, Params};
use crate::api::reader::Reader;
use crate::api::schemas;
use crate::api::types::{Answer, BlockPlace, EntityName, Holding, Spend};
use crate::ledger::keys::{ExitId, KeyPart, L1OutPoint};
use crate::ledger::reasons::ExitReason;
use crate::ledger::records::ExitRecord;
use crate::ledger::tables::{self, ExitsByOutput, Ttxos};
use crate::ledger::view::{ReadError, View};
use crate::mempool::Contents;
use crate::protocol::{Height, SparkOutPoint};

/// Most unconfirmed rows about one output.
const MAX_UNCONFIRMED: usize = 100;

/// A list of exits.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Exits {
    /// In the order of their announcements in the chain.
    pub exits: Vec<Exit>,
    /// Continues the list; `null` at its end.
    pub next_cursor: Option<String>,
}

/// The exits of an L1 output, and what waits in the mempool of the node.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OutputExits {
    /// The exits.
    #[serde(flatten)]
    pub page: Exits,
    /// What unconfirmed transactions would do to them, as in `/v1/mempool`: no part of the state that `as_of`
    /// names. `null` where the answer is of an earlier block, or continues a list.
    pub unconfirmed: Option<Vec<UnconfirmedExit>>,
}

/// An exit: one record of a withdrawal announcement of a followed entity.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Exit {
    /// `<txid>:<announcing_vout>:<record>`, as in event lines.
    pub exit_id: String,
    /// The announcing transaction.
    #[schema(value_type = schemas::Txid)]
    pub txid: Txid,
    /// Index of the L1 output that carries the bond.
    pub vout: u16,
    /// Index of the announcing output.
    pub announcing_vout: u32,
    /// Index of the record in the announcement.
    pub record: u8,
    /// The block of the announcement.
    #[serde(flatten)]
    pub block: BlockPlace,
    /// The entity.
    #[serde(flatten)]
    pub entity: EntityName,
    /// The TTXO that it names.
    pub ttxo: SparkOutPoint,
    /// What the TTXO holds; `null` where no activated snapshot has declared it.
    pub holding: Option<Holding>,
    /// Where it stands.
    pub state: ExitStateName,
    /// Why it is invalid.
    pub reason: Option<ExitReason>,
    /// Whether it is valid and no snapshot has reinstated its TTXO.
    pub stands: bool,
    /// Sequence of the snapshot that made its TTXO live again.
    pub reinstated_by: Option<u64>,
    /// Height of the block in which it was judged; `null` while unresolved.
    pub judged_height: Option<Height>,
    /// First height at which the owner may claim; `null` unless valid.
    pub matures_height: Option<u64>,
    /// Satoshis in the output; `null` where the transaction has no such output.
    pub bond: Option<u64>,
    /// What is known of the owner's signature.
    pub owner_signature: OwnerSignature,
    /// The spend of the output.
    pub spent_by: Option<Spend>,
}

/// Exits
///
/// All exits of followed entities, in the order of the chain; or those of one TTXO, owner, token or entity, or
/// those that a block will mature. Those of an owner, a token or an entity, and those of a state, are ordered by
/// state (unresolved, pending, matured, revoked, claimed, invalid), then as in the chain; exits of a TTXO, and
/// of a state alone, by entity first. An exit has an owner and a token once it was judged.
#[utoipa::path(
    get,
    path = "/v1/exits",
    tag = "exits",
    params(ExitsOf, PageRequest, Ask),
    responses((status = 200, description = "A page of the list", body = Answer<Exits>)),
    extensions(
        ("x-errors" = json!(["bad_ttxo", "bad_owner", "bad_token", "entity_not_found", "bad_parameter"])),
        ("x-example" = json!("/v1/exits?state=matured&limit=2")),
    ),
)]
pub async fn exits(State(app): State<App>, mut params: Params) -> Result<Response, ApiError> {
    let page = params.page()?;
    let of = ExitsOf::take(&app, &mut params)?;
    app.state(params.finish()?, move |reader| reader.exits_of(&of, &page)).await
}

/// Exits of an owner
///
/// By state (unresolved ones have no owner yet), then in the order of the chain.
#[utoipa::path(
    get,
    path = "/v1/owners/{owner}/exits",
    tag = "owners",
    params(
        ("owner" = schemas::OwnerParam, Path, description = "Public key or Spark address"),
        ("state" = Option<ExitStateName>, Query, description = "Only exits in this state"),
        PageRequest,
        Ask,
    ),
    responses((status = 200, description = "A page of the list", body = Answer<Exits>)),
    extensions(
        ("x-errors" = json!(["bad_owner"])),
        ("x-example" = json!(
            "/v1/owners/0356bfba743a7a6e85cabdcf9d7e88d10010ed9a22aa01c78061d8fdcfdf874ce8/exits?limit=1"
        )),
    ),
)]
pub async fn owner_exits(
    State(app): State<App>,
    Path(owner): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let (owner, page) = (parse::owner(&app, &owner)?, params.page()?);
    let state = exit_filter::take_state(&mut params)?;
    let of = ExitsOf { owner: Some(owner), state, ..ExitsOf::default() };
    app.state(params.finish()?, move |reader| reader.exits_of(&of, &page)).await
}

/// Exits whose bond is in an L1 output
///
/// Usually one; several records can name the same output, but at most one of each entity is valid.
#[utoipa::path(
    get,
    path = "/v1/exits/{outpoint}",
    tag = "exits",
    params(
        ("outpoint" = schemas::OutPointParam, Path, description = "`<txid>:<vout>`"),
        PageRequest,
        Ask,
    ),
    responses((status = 200, description = "A page of the list", body = Answer<OutputExits>)),
    extensions(
        ("x-errors" = json!(["bad_outpoint", "exit_not_found"])),
        ("x-example" = json!(
            "/v1/exits/2ce656fdd39bda8fac8fe397ff335833be24a879ed131786908aad0d71dfefb6:0"
        )),
    ),
)]
pub async fn exits_of_output(
    State(app): State<App>,
    Path(outpoint): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let (outpoint, page) = (parse::outpoint(&outpoint)?, params.page()?);
    let mut ask = params.finish()?;
    let (mempool, store) = (ask.at_the_tip().then(|| app.mempool()), app.shared_store());
    // What waits comes and goes between two blocks.
    ask.cacheable &= !mempool.as_ref().is_some_and(|mempool| mempool.concerns(outpoint));
    let read = move |reader: &StateReader<'_>| {
        let unconfirmed = |mempool: Arc<Contents>| {
            reader.unconfirmed(store.rules(), &mempool, Some(outpoint), MAX_UNCONFIRMED)
        };
        Ok::<_, ApiError>(OutputExits {
            page: reader.exits_of_output(outpoint, &page)?,
            unconfirmed: mempool.map(unconfirmed).transpose()?,
        })
    };
    app.state(ask, read).await
}

impl<V: View> Reader<'_, V> {
    fn exits_of_output(&self, output: OutPoint, page: &PageRequest) -> Result<Exits, ApiError> {
        let output = L1OutPoint::from(output);
        let range = (&(output, u32::LOWEST, u8::LOWEST), &(output, u32::HIGHEST, u8::HIGHEST));
        let Page { rows, next_cursor } =
            table_page::<ExitsByOutput>(&self.view, &self.tip, List::OutputExits, range, page)?;
        if rows.is_empty() {
            let message =
                format!("no withdrawal announcement of a followed entity names the output {output}");
            return Err(ApiError::new(Code::ExitNotFound, message));
        }
        let id = |((_, announcing, record), _)| ExitId { txid: output.txid, output: announcing, record };
        self.exit_rows(Page { rows: rows.into_iter().map(id).collect(), next_cursor })
    }

    /// A list of exits from their ids.
    pub fn exit_rows(&self, page: Page<ExitId>) -> Result<Exits, ApiError> {
        let exits = page.rows.into_iter().map(|id| {
            let record = self.view.expect::<tables::Exits>(&id)?;
            self.exit_row(id, &record)
        });
        Ok(Exits { exits: exits.collect::<Result<_, _>>()?, next_cursor: page.next_cursor })
    }

    /// An exit as answers show it.
    pub fn exit_row(&self, id: ExitId, exit: &ExitRecord) -> Result<Exit, ReadError> {
        let ttxo = self.view.get::<Ttxos>(&(exit.entity, exit.ttxo))?;
        let locktime = ttxo.as_ref().map(|ttxo| ttxo.locktime).filter(|_| exit.state.is_valid());
        let holding = ttxo.map(|ttxo| -> Result<_, ReadError> {
            let token = self.token(ttxo.token)?;
            Ok(Holding { owner: self.owner(ttxo.owner), token, amount: ttxo.amount })
        });
        let (state, reason) = names::exit_state(exit.state);
        Ok(Exit {
            exit_id: id.to_string(),
            txid: id.txid.into(),
            vout: exit.bitcoin_vout,
            announcing_vout: id.output,
            record: id.record,
            block: self.block(exit.place.height)?,
            entity: self.entity(exit.entity)?,
            ttxo: exit.ttxo,
            holding: holding.transpose()?,
            state,
            reason,
            stands: exit.state.is_valid() && exit.reinstated.is_none(),
            reinstated_by: exit.reinstated,
            judged_height: exit.judged,
            matures_height: locktime.map(|blocks| u64::from(exit.place.height.0).saturating_add(blocks)),
            bond: exit.bond.map(|bond| bond.value),
            owner_signature: OwnerSignature::Unverifiable,
            spent_by: exit.spend.map(|spend| Spend {
                txid: spend.txid,
                vin: spend.input,
                path: names::spend_path(spend.path),
                block_height: spend.height,
            }),
        })
    }
}
