//! `/v1/diff`

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::answer::Basis;
use crate::api::app::{App, StateReader};
use crate::api::at;
use crate::api::cursor::{self, List};
use crate::api::error::{ApiError, Code};
use crate::api::page::{Page, Pager};
use crate::api::parse::{self, BlockName};
use crate::api::query::{Ask, PageRequest, Params};
use crate::api::reader::Reader;
use crate::api::schemas;
use crate::api::types::{Answer, AsOf, Owner, Sums, TokenName};
use crate::ledger::keys::{EntityIndex, KeyPart};
use crate::ledger::records::Balance;
use crate::ledger::tables::{Balances, Table};
use crate::ledger::view::{ReadError, View};
use crate::protocol::{OwnerKey, TokenId};

/// Balances that differ between two blocks.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Diff {
    /// What the balances before rest on; those after rest on `as_of`.
    pub from: AsOf,
    /// Ordered by owner, then token, then entity.
    pub changes: Vec<BalanceChange>,
    /// Continues the list; `null` at its end. A page before it may have fewer rows than `limit`, or none.
    pub next_cursor: Option<String>,
}

/// A balance that differs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BalanceChange {
    /// Whose.
    #[serde(flatten)]
    pub owner: Owner,
    /// Of which token.
    #[serde(flatten)]
    #[schema(value_type = TokenName)]
    pub token: Arc<TokenName>,
    /// The sums as of `from`.
    pub before: Sums,
    /// The sums as of `as_of`.
    pub after: Sums,
}

/// Whose balances are compared.
#[derive(Clone, Copy, Debug)]
enum Of {
    Token(TokenId),
    Owner(OwnerKey),
}

type Key = <Balances as Table>::Key;

/// Balances that a request compares at most, however few of them differ. Few in tests, to get there.
const WINDOW: usize = if cfg!(test) { 5 } else { 20_000 };

/// Changes between two blocks
///
/// The balances of a token's holders, or of an owner, that are not the same after the block `to` as after the
/// block `from`. What is the same is left out; a balance that is not there is zero.
#[utoipa::path(
    get,
    path = "/v1/diff",
    tag = "tokens",
    params(
        ("from" = String, Query, description = "Height or hash of the earlier block"),
        ("to" = Option<String>, Query, description = "Height or hash of the later block; the last applied one if left out"),
        ("token" = Option<schemas::TokenParam>, Query, description = "Of this token; or give `owner`"),
        ("owner" = Option<schemas::OwnerParam>, Query, description = "Of this owner; or give `token`"),
        ("allow_stale" = Option<bool>, Query, description = "Answer also while blocks of the best chain are still to be applied"),
        PageRequest,
    ),
    responses((status = 200, description = "A page of the list", body = Answer<Diff>)),
    extensions(
        ("x-errors" = json!(["bad_owner", "bad_token", "token_not_found"])),
        ("x-example" = json!("/v1/diff?from=111&owner=0356bfba743a7a6e85cabdcf9d7e88d10010ed9a22aa01c78061d8fdcfdf874ce8&limit=2")),
    ),
)]
pub async fn diff(State(app): State<App>, mut params: Params) -> Result<Response, ApiError> {
    let page = params.page()?;
    let [from, to, token, owner] = ["from", "to", "token", "owner"].map(|name| params.take(name));
    let ask = params.finish_without_block()?;
    let bad = |message: &str| ApiError::new(Code::BadParameter, message);
    let from = parse::block(&from.ok_or_else(|| bad("from must name a block, by its height or hash"))?)?;
    let to = to.map(|to| parse::block(&to)).transpose()?;
    let of = match (token, owner) {
        (Some(token), None) => Of::Token(parse::token(&app, &token)?),
        (None, Some(owner)) => Of::Owner(parse::owner(&app, &owner)?),
        _ => return Err(bad("give either token or owner")),
    };
    let (height, block) = match to {
        Some(BlockName::Height(height)) => (Some(height), None),
        Some(BlockName::Hash(hash)) => (None, Some(hash)),
        None => (None, None),
    };
    // Not where the request is: many rows may have to be looked at to find a few that differ.
    let ask = Ask { height, block, rows: WINDOW, ..ask };
    app.state(ask, move |reader| reader.diff(from, of, &page)).await
}

impl StateReader<'_> {
    fn diff(&self, from: BlockName, of: Of, page: &PageRequest) -> Result<Diff, ApiError> {
        let before = self.before(from)?;
        let pager = Pager::open(&self.tip, List::Diff, (&Key::LOWEST, &Key::HIGHEST), page)?;
        let mut keys = self.keys_that_may_differ(&before, of, pager.from)?;
        let rest = if keys.len() > WINDOW { keys.pop_last() } else { None };
        let rows = keys.into_iter().filter_map(|key| {
            let change = self.change(&before, key).transpose()?;
            Some(change.map(|change| (key, change)))
        });
        let Page { rows: changes, next_cursor } = pager.collect(rows)?;
        let further = || rest.map(|key| cursor::encode(List::Diff, self.tip.hash, &key));
        Ok(Diff { from: before.as_of(), changes, next_cursor: next_cursor.or_else(further) })
    }

    /// The state after an earlier block.
    fn before(&self, from: BlockName) -> Result<Self, ApiError> {
        if matches!(from, BlockName::Height(height) if height > self.tip.height) {
            let message = format!("from must not be above to, which is at height {}", self.tip.height);
            return Err(ApiError::new(Code::BadParameter, message));
        }
        let tip = at::find(&self.view, &self.tip, from)?;
        let view = self.view.at(tip.height)?;
        let basis = Arc::new(Basis::read(&view, tip, self.entities)?);
        Ok(Reader { view, tip, basis, network: self.network, entities: self.entities })
    }

    /// The lowest keys from `first` on, one more than [`WINDOW`] if there are, of rows that may differ.
    fn keys_that_may_differ(&self, before: &Self, of: Of, first: Key) -> Result<BTreeSet<Key>, ApiError> {
        let most = WINDOW + 1;
        match of {
            Of::Token(token) => {
                self.known_token(token)?;
                let wanted = |key: &Key| key.1 == token && *key >= first;
                Ok(self.view.changed::<Balances>(before.tip.height, self.tip.height, most, wanted)?)
            }
            Of::Owner(owner) => {
                let lowest = first.max((owner, TokenId::LOWEST, EntityIndex::LOWEST));
                let highest = (owner, TokenId::HIGHEST, EntityIndex::HIGHEST);
                let mut keys = BTreeSet::new();
                for view in [&before.view, &self.view] {
                    for row in view.scan::<Balances>(&lowest, &highest).take(most) {
                        keys.insert(row?.0);
                    }
                }
                Ok(keys.into_iter().take(most).collect())
            }
        }
    }

    /// The row of a balance, if it differs.
    fn change(&self, before: &Self, key: Key) -> Result<Option<BalanceChange>, ReadError> {
        let (owner, token, entity) = key;
        let balance = |reader: &Self| reader.view.get::<Balances>(&key).map(Option::unwrap_or_default);
        let (old, new): (Balance, Balance) = (balance(before)?, balance(self)?);
        if old == new {
            return Ok(None);
        }
        Ok(Some(BalanceChange {
            owner: self.owner(owner),
            token: self.token(token)?,
            before: before.sums(entity, old)?,
            after: self.sums(entity, new)?,
        }))
    }
}
