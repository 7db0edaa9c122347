//! `/v1/ttxos/{ttxo}`

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::exit_filter::ExitsOf;
use super::exits::Exit;
use crate::api::app::App;
use crate::api::error::{ApiError, Code};
use crate::api::names::{self, DeclarationChange, ExitStateName, TtxoState};
use crate::api::parse;
use crate::api::query::{Ask, PageRequest, Params};
use crate::api::reader::Reader;
use crate::api::schemas;
use crate::api::types::{Answer, EntityName, Owner, TokenName};
use crate::ledger::keys::EntityIndex;
use crate::ledger::records::TtxoRecord;
use crate::ledger::tables::{self, Exits, Standing};
use crate::ledger::view::{ReadError, View};
use crate::protocol::{Amount, Height, PubKey, SparkOutPoint, SparkTxHash};

/// Exits of a TTXO that are shown with it. Anyone can announce more.
const EXITS_SHOWN: usize = 20;

/// A TTXO, as each entity declared it, and what was announced of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Ttxos {
    /// One row per entity that ever declared it.
    pub ttxos: Vec<Ttxo>,
    /// The first 20 exits that name it, valid or not, by entity, then in the order of their announcements.
    pub exits: Vec<Exit>,
    /// Continues the exits under `/v1/exits?ttxo=`; `null` if these are all.
    pub next_exits_cursor: Option<String>,
}

/// A TTXO that an entity declared at least once.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Ttxo {
    /// Its outpoint on Spark.
    pub ttxo: SparkOutPoint,
    /// Hash of the Spark transaction that made it.
    pub spark_tx_hash: SparkTxHash,
    /// Output index there.
    pub vout: u32,
    /// Whose declaration this is.
    #[serde(flatten)]
    pub entity: EntityName,
    /// Its owner.
    #[serde(flatten)]
    pub owner: Owner,
    /// Its token.
    #[serde(flatten)]
    #[schema(value_type = TokenName)]
    pub token: Arc<TokenName>,
    /// Its amount.
    pub amount: Amount,
    /// Where it stands.
    pub state: TtxoState,
    /// Whether it is in the declared set.
    pub declared: bool,
    /// The valid exit that stands.
    pub exit: Option<StandingExit>,
    /// Key under which a wrongful exit can be revoked.
    pub revocation_commitment: PubKey,
    /// Satoshis that an exit needs in its output.
    pub withdraw_bond: u64,
    /// Blocks that an exit must wait.
    pub withdraw_locktime: u64,
    /// When it was declared and dropped, in turn.
    pub history: Vec<DeclarationRow>,
}

/// The valid exit of a TTXO.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StandingExit {
    /// `<txid>:<announcing output>:<record>`
    pub exit_id: String,
    /// The L1 output that carries its bond, `<txid>:<vout>`.
    pub outpoint: String,
    /// Where it stands.
    pub state: ExitStateName,
}

/// A change of a TTXO's declaration.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DeclarationRow {
    /// What changed.
    pub change: DeclarationChange,
    /// Sequence of the snapshot that did it.
    pub snapshot_sequence: u64,
    /// Height of the block in which that snapshot activated.
    pub block_height: Height,
}

/// A TTXO
///
/// Its whole life: one row for each entity that ever declared it, and its exits.
#[utoipa::path(
    get,
    path = "/v1/ttxos/{ttxo}",
    tag = "ttxos",
    params(("ttxo" = schemas::TtxoParam, Path, description = "`<spark_tx_hash>:<vout>`"), Ask),
    responses((status = 200, description = "The TTXO", body = Answer<Ttxos>)),
    extensions(
        ("x-errors" = json!(["bad_ttxo", "ttxo_not_found"])),
        ("x-example" = json!("/v1/ttxos/2766b849b4060fa1dc06633f1fac65e4c88835a89e66c1d9375cba485969867d:0")),
    ),
)]
pub async fn ttxo(
    State(app): State<App>,
    Path(outpoint): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let outpoint = parse::ttxo(&outpoint)?;
    app.state(params.finish()?, move |reader| reader.ttxo(outpoint)).await
}

impl<V: View> Reader<'_, V> {
    fn ttxo(&self, outpoint: SparkOutPoint) -> Result<Ttxos, ApiError> {
        let mut ttxos = Vec::new();
        for (entity, _) in self.entities.iter() {
            if let Some(record) = self.view.get::<tables::Ttxos>(&(entity, outpoint))? {
                ttxos.push(self.ttxo_row(entity, outpoint, &record)?);
            }
        }
        if ttxos.is_empty() {
            let message = format!("no activated snapshot has ever declared the TTXO {outpoint}");
            return Err(ApiError::new(Code::TtxoNotFound, message));
        }
        let page = PageRequest { limit: EXITS_SHOWN, cursor: None };
        let exits = self.exits_of(&ExitsOf { ttxo: Some(outpoint), ..ExitsOf::default() }, &page)?;
        Ok(Ttxos { ttxos, exits: exits.exits, next_exits_cursor: exits.next_cursor })
    }

    /// A row of a list of TTXOs.
    pub fn ttxo_row(
        &self,
        entity: EntityIndex,
        outpoint: SparkOutPoint,
        record: &TtxoRecord,
    ) -> Result<Ttxo, ReadError> {
        let exit = self.standing_exit(entity, outpoint)?;
        let declared = record.is_declared();
        let turns = [DeclarationChange::Declared, DeclarationChange::Dropped].into_iter().cycle();
        let history = record.history.iter().zip(turns).map(|(declaration, change)| DeclarationRow {
            change,
            snapshot_sequence: declaration.sequence,
            block_height: declaration.place.height,
        });
        Ok(Ttxo {
            ttxo: outpoint,
            spark_tx_hash: outpoint.tx_hash,
            vout: outpoint.vout,
            entity: self.entity(entity)?,
            owner: self.owner(record.owner),
            token: self.token(record.token)?,
            amount: record.amount,
            state: match (&exit, declared) {
                (Some(_), _) => TtxoState::Exited,
                (None, true) => TtxoState::Live,
                (None, false) => TtxoState::Tombstone,
            },
            declared,
            exit,
            revocation_commitment: record.revocation,
            withdraw_bond: record.bond,
            withdraw_locktime: record.locktime,
            history: history.collect(),
        })
    }

    fn standing_exit(
        &self,
        entity: EntityIndex,
        ttxo: SparkOutPoint,
    ) -> Result<Option<StandingExit>, ReadError> {
        let Some(id) = self.view.get::<Standing>(&(entity, ttxo))? else { return Ok(None) };
        let exit = self.view.expect::<Exits>(&id)?;
        Ok(Some(StandingExit {
            exit_id: id.to_string(),
            outpoint: format!("{}:{}", id.txid, exit.bitcoin_vout),
            state: names::exit_state(exit.state).0,
        }))
    }
}
