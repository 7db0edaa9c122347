//! `/v1/notices`

use axum::extract::State;
use axum::response::Response;
use bitcoin::Txid;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::query::{Ask, LimitRequest, Params};
use crate::api::reader::Reader;
use crate::api::schemas;
use crate::api::types::{Answer, BlockPlace};
use crate::ledger::keys::KeyPart;
use crate::ledger::tables::Notices;
use crate::ledger::view::{ReadError, View};

/// Messages that had no effect.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NoticeList {
    /// The newest first; at most 1,000 are kept.
    pub notices: Vec<NoticeRow>,
}

/// A message that was malformed or repeated, and had no effect.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NoticeRow {
    /// Its transaction.
    #[schema(value_type = schemas::Txid)]
    pub txid: Txid,
    /// Its output.
    pub vout: u32,
    /// Its block.
    #[serde(flatten)]
    pub block: BlockPlace,
    /// What is wrong with it, for people.
    pub reason: String,
}

/// Messages on L1 that had no effect
///
/// Announcements that are malformed, or that repeat another; the newest first, without cursor.
#[utoipa::path(
    get,
    path = "/v1/notices",
    tag = "chain",
    params(LimitRequest, Ask),
    responses((status = 200, description = "The newest messages", body = Answer<NoticeList>)),
    extensions(("x-example" = json!("/v1/notices"))),
)]
pub async fn notices(State(app): State<App>, mut params: Params) -> Result<Response, ApiError> {
    let LimitRequest { limit } = params.limit()?;
    app.state(params.finish()?, move |reader| Ok(reader.notices(limit)?)).await
}

impl<V: View> Reader<'_, V> {
    fn notices(&self, limit: usize) -> Result<NoticeList, ReadError> {
        let all = self.view.scan::<Notices>(&u16::LOWEST, &u16::HIGHEST);
        // A ring: the newest has the highest number, wherever it stands.
        let mut notices = all.map(|row| Ok(row?.1)).collect::<Result<Vec<_>, ReadError>>()?;
        notices.sort_by_key(|notice| std::cmp::Reverse(notice.number));
        let rows = notices.into_iter().take(limit).map(|notice| {
            Ok(NoticeRow {
                txid: notice.txid,
                vout: notice.vout,
                block: self.block(notice.height)?,
                reason: notice.reason,
            })
        });
        Ok(NoticeList { notices: rows.collect::<Result<_, ReadError>>()? })
    }
}
