//! `/v1/tokens`, `/v1/tokens/{token}` and its holders

use std::cmp::Reverse;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use bitcoin::Txid;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::app::App;
use crate::api::cursor::List;
use crate::api::error::{ApiError, Code};
use crate::api::names::{self, LayerName};
use crate::api::page::{Page, table_page};
use crate::api::parse;
use crate::api::query::{Ask, PageRequest, Params};
use crate::api::reader::Reader;
use crate::api::schemas;
use crate::api::types::{Answer, BlockPlace, EntityName, Owner, Sums, TokenName};
use crate::ledger::keys::{EntityIndex, Folded, KeyPart, NameKind};
use crate::ledger::records::TokenRecord;
use crate::ledger::tables::{
    self, Announcements, Balances, HolderCounts, HoldersByAmount, IssuerTokens, Totals,
};
use crate::ledger::view::{ReadError, View};
use crate::protocol::{Amount, OwnerKey, PubKey, TokenId, address};

/// A list of tokens.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Tokens {
    /// Ordered by identifier; where `ticker` or `name` is given, by that first.
    #[schema(value_type = Vec<Token>)]
    pub tokens: Vec<Arc<Token>>,
    /// Continues the list; `null` at its end.
    pub next_cursor: Option<String>,
}

/// A token.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Token {
    /// Which token.
    #[serde(flatten)]
    #[schema(value_type = TokenName)]
    pub token: Arc<TokenName>,
    /// Proven by the identifier, which is a hash of it; `null` while neither an announcement nor an activated
    /// snapshot states it.
    pub metadata: Option<Metadata>,
    /// The announcement on L1 that carries this metadata; `null` where there is none. It proves nothing about
    /// who made it.
    pub announcement: Option<Announcement>,
    /// Owners with a balance, each counted once.
    pub holders: u64,
    /// Whether any row of `supply` exceeds the maximum.
    pub over_max_supply: bool,
    /// One row per entity.
    pub supply: Vec<Supply>,
}

/// Metadata of a token.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Metadata {
    /// Issuer key.
    pub issuer: PubKey,
    /// Name.
    pub name: String,
    /// Ticker.
    pub ticker: String,
    /// Decimals, for display.
    pub decimals: u8,
    /// Maximum supply in base units; "0" for unlimited.
    pub max_supply: Amount,
    /// Whether its issuer may freeze it.
    pub freezable: bool,
    /// Where the identifier says that the token was created.
    pub layer: Option<LayerName>,
    /// The entity key under which it was created; `null` on L1.
    pub creation_entity: Option<PubKey>,
}

/// An announcement on L1.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Announcement {
    /// The identifier that the announcement itself defines, that of the L1 layer.
    pub token_id: TokenId,
    /// The same in bech32m.
    pub token_address: String,
    /// Its transaction.
    #[schema(value_type = schemas::Txid)]
    pub txid: Txid,
    /// Its output.
    pub vout: u32,
    /// Its block.
    #[serde(flatten)]
    pub block: BlockPlace,
}

/// Supply of a token, as an entity declares it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Supply {
    /// The entity.
    #[serde(flatten)]
    pub entity: EntityName,
    /// Total of the declared set: what is burned, and what has exited but is still declared, included.
    pub declared: Amount,
    /// What the burn key has available.
    pub burned: Amount,
    /// On the way to L1: a valid exit stands, pending or matured. A sum above 2^128 - 1 is shown as that.
    pub exiting: Amount,
    /// Withdrawn to L1 by its owners.
    pub claimed: Amount,
    /// Of exits that were revoked and not reinstated: nobody holds it.
    pub revoked: Amount,
    /// Owners with a balance under this entity.
    pub holders: u64,
    /// Whether the declared total exceeds a known maximum other than 0.
    pub over_max_supply: bool,
}

/// Owners of a token.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Holders {
    /// Which token.
    #[serde(flatten)]
    #[schema(value_type = TokenName)]
    pub token: Arc<TokenName>,
    /// Ordered as asked for.
    pub holders: Vec<Holder>,
    /// Continues the list; `null` at its end.
    pub next_cursor: Option<String>,
}

/// What an owner holds of a token.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Holder {
    /// The owner.
    #[serde(flatten)]
    pub owner: Owner,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// Which tokens. At most one of them.
#[derive(Clone, Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TokensOf {
    /// Only tokens whose ticker begins with this, in upper or lower case.
    pub ticker: Option<String>,
    /// Only tokens whose name begins with this, in upper or lower case.
    pub name: Option<String>,
    /// Only tokens of this issuer key.
    pub issuer: Option<PubKey>,
}

impl TokensOf {
    fn take(params: &mut Params) -> Result<TokensOf, ApiError> {
        let (ticker, name) = (params.take("ticker"), params.take("name"));
        let issuer = params.take("issuer").map(|text| {
            text.parse()
                .map_err(|_| ApiError::new(Code::BadParameter, "issuer must be a key of 66 hex digits"))
        });
        let issuer: Option<PubKey> = issuer.transpose()?;
        if [ticker.is_some(), name.is_some(), issuer.is_some()].iter().filter(|given| **given).count() > 1 {
            let message = "give at most one of ticker, name and issuer";
            return Err(ApiError::new(Code::BadParameter, message));
        }
        Ok(TokensOf { ticker, name, issuer })
    }
}

/// How holders are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HolderOrder {
    /// By owner key, then entity.
    #[default]
    Key,
    /// By what they hold and have not claimed, the most first.
    Amount,
}

/// Tokens
///
/// All tokens that an announcement or an activated snapshot names, by identifier; or those that are found by
/// `ticker`, `name` or `issuer`.
#[utoipa::path(
    get,
    path = "/v1/tokens",
    tag = "tokens",
    params(TokensOf, PageRequest, Ask),
    responses((status = 200, description = "A page of the list", body = Answer<Tokens>)),
    extensions(("x-example" = json!("/v1/tokens?ticker=rs&limit=2"))),
)]
pub async fn tokens(State(app): State<App>, mut params: Params) -> Result<Response, ApiError> {
    let page = params.page()?;
    let of = TokensOf::take(&mut params)?;
    app.state(params.finish()?, move |reader| reader.tokens(&of, &page)).await
}

/// A token
///
/// One announcement gives names to several identifiers: its own on L1, and one on Spark for every key of every
/// followed entity; wallets use the latter.
#[utoipa::path(
    get,
    path = "/v1/tokens/{token}",
    tag = "tokens",
    params(("token" = schemas::TokenParam, Path, description = "Identifier or bech32m form"), Ask),
    responses((status = 200, description = "The token", body = Answer<Token>)),
    extensions(
        ("x-errors" = json!(["bad_token", "token_not_found"])),
        ("x-example" = json!("/v1/tokens/btknrt1htm5fdma33xpxslagzm6rpv35xqpedean6dy2u6c9ucynjeepf6qr6u6vn")),
    ),
)]
pub async fn token(
    State(app): State<App>,
    Path(token): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let token = parse::token(&app, &token)?;
    app.state(params.finish()?, move |reader| reader.one_token(token)).await
}

/// Owners of a token
///
/// All owners with a balance, by owner key or by amount; one row for each entity under which they have one.
#[utoipa::path(
    get,
    path = "/v1/tokens/{token}/holders",
    tag = "tokens",
    params(
        ("token" = schemas::TokenParam, Path, description = "Identifier or bech32m form"),
        ("order" = Option<HolderOrder>, Query,
            description = "`key` (unless given): by owner key; `amount`: the greatest first, claimed amounts left out"),
        PageRequest,
        Ask,
    ),
    responses((status = 200, description = "A page of the list", body = Answer<Holders>)),
    extensions(
        ("x-errors" = json!(["bad_token", "token_not_found"])),
        ("x-example" = json!(
            "/v1/tokens/baf744b77d8c4c1343fd40b7a18591a1801cb73d9e9a4573582f3049cb390a74/holders?order=amount&limit=2"
        )),
    ),
)]
pub async fn holders(
    State(app): State<App>,
    Path(token): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let (token, page) = (parse::token(&app, &token)?, params.page()?);
    let order = params.take("order").map(|text| {
        names::parse(&text).ok_or_else(|| ApiError::new(Code::BadParameter, "order must be key or amount"))
    });
    let order = order.transpose()?.unwrap_or_default();
    app.state(params.finish()?, move |reader| reader.holders(token, order, &page)).await
}

impl<V: View> Reader<'_, V> {
    fn tokens(&self, of: &TokensOf, page: &PageRequest) -> Result<Tokens, ApiError> {
        let Page { rows, next_cursor } = match of {
            TokensOf { ticker: Some(prefix), .. } => self.token_names(NameKind::Ticker, prefix, page)?,
            TokensOf { name: Some(prefix), .. } => self.token_names(NameKind::Name, prefix, page)?,
            TokensOf { issuer: Some(issuer), .. } => {
                let range = (&(*issuer, TokenId::LOWEST), &(*issuer, TokenId::HIGHEST));
                let list = List::IssuerTokens;
                table_page::<IssuerTokens>(&self.view, &self.tip, list, range, page)?
                    .map(|((_, token), _)| token)
            }
            _ => {
                let all = (&TokenId::MIN, &TokenId::MAX);
                table_page::<tables::Tokens>(&self.view, &self.tip, List::Tokens, all, page)?
                    .map(|(token, _)| token)
            }
        };
        // A list names only tokens that there are: one without a row is damage, not a wrong request.
        let row = |token| self.token_row(token, &self.view.expect::<tables::Tokens>(&token)?);
        let tokens = rows.into_iter().map(|token| self.basis.tokens.get(token, || row(token)));
        Ok(Tokens { tokens: tokens.collect::<Result<_, ReadError>>()?, next_cursor })
    }

    fn token_names(
        &self,
        kind: NameKind,
        prefix: &str,
        page: &PageRequest,
    ) -> Result<Page<TokenId>, ApiError> {
        // What is longer than any name can be is the beginning of none.
        let Some((first, last)) = Folded::range(prefix) else { return Ok(Page::empty()) };
        let range = (&(kind, first, TokenId::LOWEST), &(kind, last, TokenId::HIGHEST));
        let rows = table_page::<tables::TokenNames>(&self.view, &self.tip, List::TokenNames, range, page)?;
        Ok(rows.map(|((_, _, token), _)| token))
    }

    fn one_token(&self, token: TokenId) -> Result<Arc<Token>, ApiError> {
        self.basis.tokens.get(token, || Ok(self.token_row(token, &self.known_token(token)?)?))
    }

    fn holders(&self, token: TokenId, order: HolderOrder, page: &PageRequest) -> Result<Holders, ApiError> {
        self.known_token(token)?;
        let Page { rows, next_cursor } = match order {
            HolderOrder::Key => {
                let range = (
                    &(token, OwnerKey::LOWEST, EntityIndex::LOWEST),
                    &(token, OwnerKey::HIGHEST, EntityIndex::HIGHEST),
                );
                let rows = table_page::<tables::Holders>(&self.view, &self.tip, List::Holders, range, page)?;
                rows.map(|((_, owner, entity), _)| (owner, entity))
            }
            HolderOrder::Amount => {
                let range = (
                    &(token, Reverse::LOWEST, OwnerKey::LOWEST, EntityIndex::LOWEST),
                    &(token, Reverse::HIGHEST, OwnerKey::HIGHEST, EntityIndex::HIGHEST),
                );
                let list = List::HoldersByAmount;
                let rows = table_page::<HoldersByAmount>(&self.view, &self.tip, list, range, page)?;
                rows.map(|((_, _, owner, entity), _)| (owner, entity))
            }
        };
        let holders = rows.into_iter().map(|(owner, entity)| {
            let balance = self.view.expect::<Balances>(&(owner, token, entity))?;
            Ok(Holder { owner: self.owner(owner), sums: self.sums(entity, balance)? })
        });
        Ok(Holders {
            token: self.token(token)?,
            holders: holders.collect::<Result<_, ReadError>>()?,
            next_cursor,
        })
    }

    fn token_row(&self, token: TokenId, record: &TokenRecord) -> Result<Token, ReadError> {
        let supply: Vec<_> = self
            .entities
            .iter()
            .map(|(index, entity)| {
                let declared = self.view.get::<tables::Supply>(&(token, index))?.unwrap_or(Amount::ZERO);
                let burned = self.view.get::<Balances>(&(PubKey::BURN, token, index))?;
                let totals = self.view.get::<Totals>(&(token, index))?.unwrap_or_default();
                Ok(Supply {
                    entity: entity.into(),
                    declared,
                    burned: burned.unwrap_or_default().available,
                    exiting: totals.exiting.capped(),
                    claimed: totals.claimed.capped(),
                    revoked: totals.revoked.capped(),
                    holders: totals.holders,
                    over_max_supply: exceeds_maximum(record, declared),
                })
            })
            .collect::<Result<_, ReadError>>()?;
        Ok(Token {
            token: self.token(token)?,
            metadata: metadata(record),
            announcement: self.announcement(record)?,
            holders: self.view.get::<HolderCounts>(&token)?.unwrap_or(0),
            over_max_supply: supply.iter().any(|row| row.over_max_supply),
            supply,
        })
    }

    fn announcement(&self, record: &TokenRecord) -> Result<Option<Announcement>, ReadError> {
        let Some(token_id) = record.announced_as else { return Ok(None) };
        let row = self.view.expect::<Announcements>(&token_id)?;
        Ok(Some(Announcement {
            token_id,
            token_address: address::encode_token(token_id, self.network),
            txid: row.txid,
            vout: row.place.index,
            block: self.block(row.place.height)?,
        }))
    }
}

fn exceeds_maximum(record: &TokenRecord, declared: Amount) -> bool {
    let maximum = record.metadata.as_ref().map(|metadata| metadata.max_supply);
    maximum.is_some_and(|maximum| maximum != Amount::ZERO && declared > maximum)
}

fn metadata(record: &TokenRecord) -> Option<Metadata> {
    let metadata = record.metadata.as_ref()?;
    let (layer, creation_entity) = record.layer.map(names::layer).unzip();
    Some(Metadata {
        issuer: metadata.issuer,
        name: metadata.name.clone(),
        ticker: metadata.ticker.clone(),
        decimals: metadata.decimals,
        max_supply: metadata.max_supply,
        freezable: metadata.freezable,
        layer,
        creation_entity: creation_entity.flatten(),
    })
}
