//! `POST /v1/balances`

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::owners::Balances;
use crate::api::app::App;
use crate::api::body::Body;
use crate::api::error::{ApiError, Code};
use crate::api::parse;
use crate::api::query::{Ask, LimitRequest, PageRequest, Params};
use crate::api::reader::Reader;
use crate::api::schemas;
use crate::api::types::Answer;
use crate::ledger::view::View;
use crate::protocol::{OwnerKey, TokenId};

/// Owners in one request.
const MAX_OWNERS: usize = 1000;

/// Owners times rows of each that one request may ask for.
const MAX_ROWS: usize = 100_000;

/// Whose balances are asked for.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BalancesOf {
    /// The owners, in any form.
    #[schema(value_type = Vec<schemas::OwnerParam>, min_items = 1, max_items = 1000)]
    owners: Vec<String>,
    /// Only this token: one row for every followed entity, zeros included.
    #[schema(value_type = Option<schemas::TokenParam>)]
    #[serde(default)]
    token: Option<String>,
}

/// What several owners hold, as of one block.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BalanceBatch {
    /// One for each owner, in the order of the request. A `next_cursor` continues the list of that owner under
    /// `/v1/owners/{owner}/balances`.
    pub owners: Vec<Balances>,
}

/// Balances of up to 1,000 owners at once
///
/// All as of one block. `limit` is for each owner; owners times limit may be at most 100,000.
#[utoipa::path(
    post,
    path = "/v1/balances",
    tag = "owners",
    params(LimitRequest, Ask),
    request_body = BalancesOf,
    responses((status = 200, description = "The balances", body = Answer<BalanceBatch>)),
    extensions(
        ("x-errors" = json!(["bad_body", "bad_owner", "bad_token", "token_not_found", "unsupported_media_type"])),
        ("x-example" = json!("/v1/balances")),
        ("x-example-body" = json!({
            "owners": [
                "0356bfba743a7a6e85cabdcf9d7e88d10010ed9a22aa01c78061d8fdcfdf874ce8",
                "02ae5ee884218ae7b6bc9572c9bfda84a3eea3da6a05a6398460965b227e50ac30",
            ],
            "token": "baf744b77d8c4c1343fd40b7a18591a1801cb73d9e9a4573582f3049cb390a74",
        })),
    ),
)]
pub async fn balance_batch(
    State(app): State<App>,
    mut params: Params,
    Body(body): Body<BalancesOf>,
) -> Result<Response, ApiError> {
    let LimitRequest { limit } = params.limit()?;
    let ask = Ask { rows: body.owners.len() * limit, ..params.finish()? };
    if !(1..=MAX_OWNERS).contains(&body.owners.len()) {
        let message = format!("a request is for 1 to {MAX_OWNERS} owners, not {}", body.owners.len());
        return Err(ApiError::new(Code::BadBody, message));
    }
    if body.owners.len() * limit > MAX_ROWS {
        let message = format!("owners times limit may be at most {MAX_ROWS}: ask for fewer of either");
        return Err(ApiError::new(Code::BadParameter, message));
    }
    let token = body.token.map(|text| parse::token(&app, &text)).transpose()?;
    let owners = body.owners.iter().map(|text| parse::owner_key(&app, text));
    let owners = owners.enumerate().map(|(index, owner)| owner.map_err(|error| of_owner(index, error)));
    let owners = owners.collect::<Result<Vec<_>, _>>()?;
    app.state(ask, move |reader| reader.balances_of(&owners, token, limit)).await
}

impl<V: View> Reader<'_, V> {
    fn balances_of(
        &self,
        owners: &[OwnerKey],
        token: Option<TokenId>,
        limit: usize,
    ) -> Result<BalanceBatch, ApiError> {
        if let Some(token) = token {
            self.known_token(token)?;
        }
        let page = PageRequest { limit, cursor: None };
        let rows = owners.iter().map(|owner| match token {
            Some(token) => self.balances_of_token(*owner, token),
            None => self.balances(*owner, &page),
        });
        let rows = rows.enumerate().map(|(index, rows)| rows.map_err(|error| of_owner(index, error)));
        Ok(BalanceBatch { owners: rows.collect::<Result<_, _>>()? })
    }
}

/// Says which of the owners it is about, where it is about one.
fn of_owner(index: usize, error: ApiError) -> ApiError {
    match error.code {
        Code::BadOwner => ApiError { message: format!("owners[{index}]: {}", error.message), ..error },
        _ => error,
    }
}
