//! `/v1/owners/{owner}/…`

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::ttxos::Ttxo;
use crate::api::app::{App, StateReader};
use crate::api::cursor::List;
use crate::api::error::{ApiError, Code};
use crate::api::page::{Page, table_page};
use crate::api::parse;
use crate::api::query::{Ask, PageRequest, Params};
use crate::api::reader::Reader;
use crate::api::schemas;
use crate::api::types::{Answer, Owner, Sums, TokenName};
use crate::ledger::keys::{EntityIndex, KeyPart};
use crate::ledger::records::Balance;
use crate::ledger::tables::{self, Ttxos};
use crate::ledger::view::{ReadError, View};
use crate::protocol::{OwnerKey, SparkOutPoint, TokenId};

/// What an owner holds.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Balances {
    /// Which owner.
    #[serde(flatten)]
    pub owner: Owner,
    /// Ordered by token, then entity.
    pub balances: Vec<BalanceRow>,
    /// Continues the list; `null` at its end.
    pub next_cursor: Option<String>,
}

/// A balance of an owner.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BalanceRow {
    /// The token.
    #[serde(flatten)]
    #[schema(value_type = TokenName)]
    pub token: Arc<TokenName>,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// TTXOs of an owner.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OwnerTtxos {
    /// Which owner.
    #[serde(flatten)]
    pub owner: Owner,
    /// Ordered by entity, then outpoint.
    pub ttxos: Vec<Ttxo>,
    /// Continues the list; `null` at its end.
    pub next_cursor: Option<String>,
}

/// Balances of an owner
///
/// All that are not zero, by token, then entity. With `token`, only that one: one row for every followed entity,
/// zeros included, on a single page. An owner that holds nothing is no error.
#[utoipa::path(
    get,
    path = "/v1/owners/{owner}/balances",
    tag = "owners",
    params(
        ("owner" = schemas::OwnerParam, Path, description = "Public key or Spark address"),
        ("token" = Option<schemas::TokenParam>, Query, description = "Only this token"),
        PageRequest,
        Ask,
    ),
    responses((status = 200, description = "A page of the list", body = Answer<Balances>)),
    extensions(
        ("x-errors" = json!(["bad_owner", "bad_token", "token_not_found"])),
        ("x-example" = json!(
            "/v1/owners/0356bfba743a7a6e85cabdcf9d7e88d10010ed9a22aa01c78061d8fdcfdf874ce8/balances?limit=2"
        )),
    ),
)]
pub async fn balances(
    State(app): State<App>,
    Path(owner): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let (owner, page) = (parse::owner_key(&app, &owner)?, params.page()?);
    let Some(token) = params.take("token") else {
        return app.state(params.finish()?, move |reader| reader.balances(owner, &page)).await;
    };
    let token = parse::token(&app, &token)?;
    if page.cursor.is_some() {
        let message = "balances of one token are one page: leave the cursor out";
        return Err(ApiError::new(Code::BadCursor, message));
    }
    let read = move |reader: &StateReader<'_>| {
        reader.known_token(token)?;
        reader.balances_of_token(owner, token)
    };
    app.state(params.finish()?, read).await
}

/// TTXOs of an owner
///
/// All that an activated snapshot ever declared, by entity, then outpoint.
#[utoipa::path(
    get,
    path = "/v1/owners/{owner}/ttxos",
    tag = "owners",
    params(
        ("owner" = schemas::OwnerParam, Path, description = "Public key or Spark address"),
        PageRequest,
        Ask,
    ),
    responses((status = 200, description = "A page of the list", body = Answer<OwnerTtxos>)),
    extensions(
        ("x-errors" = json!(["bad_owner"])),
        ("x-example" = json!(
            "/v1/owners/sparkrt1pgssx44lhf6r57nwsh9tmnua06ydzqqsakdz92spc7qxrk8ael0cwn8g0vle2d/ttxos?limit=1"
        )),
    ),
)]
pub async fn owner_ttxos(
    State(app): State<App>,
    Path(owner): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let (owner, page) = (parse::owner(&app, &owner)?, params.page()?);
    app.state(params.finish()?, move |reader| reader.owner_ttxos(owner, &page)).await
}

impl<V: View> Reader<'_, V> {
    /// What an owner holds, in all tokens. Without rows, it must be one.
    pub fn balances(&self, owner: OwnerKey, page: &PageRequest) -> Result<Balances, ApiError> {
        let range = (
            &(owner, TokenId::LOWEST, EntityIndex::LOWEST),
            &(owner, TokenId::HIGHEST, EntityIndex::HIGHEST),
        );
        let Page { rows, next_cursor } =
            table_page::<tables::Balances>(&self.view, &self.tip, List::Balances, range, page)?;
        let balances =
            rows.into_iter().map(|((_, token, entity), balance)| self.balance_row(token, entity, balance));
        let balances = balances.collect::<Result<Vec<_>, _>>()?;
        if balances.is_empty() {
            parse::must_be_owner(owner)?;
        }
        Ok(Balances { owner: self.owner(owner), balances, next_cursor })
    }

    /// What an owner holds of a known token: one row per entity, zeros included.
    pub fn balances_of_token(&self, owner: OwnerKey, token: TokenId) -> Result<Balances, ApiError> {
        parse::must_be_owner(owner)?;
        let balances = self.entities.iter().map(|(entity, _)| {
            let balance = self.view.get::<tables::Balances>(&(owner, token, entity))?.unwrap_or_default();
            self.balance_row(token, entity, balance)
        });
        let balances = balances.collect::<Result<_, ReadError>>()?;
        Ok(Balances { owner: self.owner(owner), balances, next_cursor: None })
    }

    fn balance_row(
        &self,
        token: TokenId,
        entity: EntityIndex,
        balance: Balance,
    ) -> Result<BalanceRow, ReadError> {
        Ok(BalanceRow { token: self.token(token)?, sums: self.sums(entity, balance)? })
    }

    fn owner_ttxos(&self, owner: OwnerKey, page: &PageRequest) -> Result<OwnerTtxos, ApiError> {
        let range = (
            &(owner, EntityIndex::LOWEST, SparkOutPoint::LOWEST),
            &(owner, EntityIndex::HIGHEST, SparkOutPoint::HIGHEST),
        );
        let Page { rows, next_cursor } =
            table_page::<tables::OwnerTtxos>(&self.view, &self.tip, List::OwnerTtxos, range, page)?;
        let ttxos = rows.into_iter().map(|((_, entity, outpoint), _)| {
            let record = self.view.expect::<Ttxos>(&(entity, outpoint))?;
            self.ttxo_row(entity, outpoint, &record)
        });
        let ttxos = ttxos.collect::<Result<_, _>>()?;
        Ok(OwnerTtxos { owner: self.owner(owner), ttxos, next_cursor })
    }
}
