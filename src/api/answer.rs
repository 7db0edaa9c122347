//! What an answer from the state rests on, and how it goes out: body, headers, entity tag.

use std::io::Write;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bitcoin::BlockHash;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::value::RawValue;

use super::endpoints::Token;
use super::error::ApiError;
use super::query::Ask;
use super::reader::OfTokens;
use super::types::{Answer, AsOf, BalanceSnapshot, EntitySnapshot, TokenName};
use crate::ledger::Entities;
use crate::ledger::records::{ActiveSnapshot, TipRecord};
use crate::ledger::tables::Active;
use crate::ledger::view::{ReadError, View};

/// Height of the block that an answer rests on.
pub const HEIGHT_HEADER: HeaderName = HeaderName::from_static("btkn-height");

/// Hash of the block that an answer rests on.
pub const BLOCK_HASH_HEADER: HeaderName = HeaderName::from_static("btkn-block-hash");

/// `true` if the best known block was applied.
pub const SYNCED_HEADER: HeaderName = HeaderName::from_static("btkn-synced");

/// How long a cache may keep an answer that the next block can change: long enough to absorb a crowd, too
/// short to notice.
const AT_THE_TIP: HeaderValue = HeaderValue::from_static("public, max-age=1, must-revalidate");

/// How long it may keep one that no block changes any more.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

const GZIP: HeaderValue = HeaderValue::from_static("gzip");

/// More than an answer has, so that their map never grows.
const HEADERS: usize = 16;

/// Shorter bodies are in one packet anyway, and sent as they are.
const WORTH_GZIP: usize = 4 << 10;

/// Not at all.
pub const NEVER: HeaderValue = HeaderValue::from_static("no-store");

/// What every answer of one block rests on: found and written out once, for many answers.
#[derive(Debug)]
pub struct Basis {
    /// The block.
    pub tip: TipRecord,
    /// The active snapshot of each entity, in their order.
    pub active: Vec<Option<ActiveSnapshot>>,
    /// What balances under each entity rest on, in their order.
    pub snapshots: Vec<Arc<BalanceSnapshot>>,
    /// Names of tokens as of the block.
    pub token_names: OfTokens<TokenName>,
    /// All that is shown of tokens as of the block.
    pub tokens: OfTokens<Token>,
    as_of: Box<RawValue>,
    height: HeaderValue,
    hash: HeaderValue,
    etag: HeaderValue,
    /// Of a compressed body: a strong tag is of the bytes that were sent.
    etag_gzip: HeaderValue,
}

impl Basis {
    /// What answers rest on whose state `view` shows.
    pub fn read(view: &impl View, tip: TipRecord, entities: &Entities) -> Result<Basis, ApiError> {
        let active = entities.iter().map(|(index, _)| view.get::<Active>(&index));
        let active = active.collect::<Result<Vec<_>, ReadError>>()?;
        let snapshots = entities.iter().zip(&active).map(|((_, entity), active)| {
            let snapshot_sequence = active.map(|active| active.sequence);
            Arc::new(BalanceSnapshot { entity: entity.into(), snapshot_sequence })
        });
        let snapshots = snapshots.collect();
        let as_of = serde_json::value::to_raw_value(&as_of(&tip, &active, entities));
        let text = |text: String| HeaderValue::from_str(&text).map_err(ApiError::internal);
        Ok(Basis {
            active,
            snapshots,
            token_names: OfTokens::default(),
            tokens: OfTokens::default(),
            as_of: as_of.map_err(ApiError::internal)?,
            height: HeaderValue::from(tip.height.0),
            hash: text(tip.hash.to_string())?,
            etag: text(entity_tag(tip.hash, ""))?,
            etag_gzip: text(entity_tag(tip.hash, "-gzip"))?,
            tip,
        })
    }

    /// The answer with this body, or 304 where the client has it already. `deep` is whether no block will
    /// change it any more.
    pub fn answer(&self, ask: &Ask, deep: bool, body: impl Serialize) -> Result<Response, ApiError> {
        let known = [&self.etag, &self.etag_gzip]
            .into_iter()
            .find(|etag| ask.cacheable && etag.to_str().is_ok_and(|etag| ask.has(etag)));
        let mut headers = HeaderMap::with_capacity(HEADERS);
        let (status, body, etag) = match known {
            Some(etag) => (StatusCode::NOT_MODIFIED, Vec::new(), etag),
            None => {
                headers.insert(header::CONTENT_TYPE, JSON);
                let answer = Answer { as_of: &self.as_of, body };
                let mut json = Vec::with_capacity(WORTH_GZIP);
                serde_json::to_writer(&mut json, &answer).map_err(ApiError::internal)?;
                if ask.gzip && json.len() >= WORTH_GZIP {
                    headers.insert(header::CONTENT_ENCODING, GZIP);
                    (StatusCode::OK, gzip(&json)?, &self.etag_gzip)
                } else {
                    (StatusCode::OK, json, &self.etag)
                }
            }
        };
        let caching = match (ask.cacheable, deep) {
            (false, _) => NEVER,
            (true, false) => AT_THE_TIP,
            (true, true) => FOR_EVER,
        };
        headers.insert(header::CACHE_CONTROL, caching);
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if ask.cacheable {
            headers.insert(header::ETAG, etag.clone());
        }
        let mut response = Response::new(body.into());
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        Ok(response)
    }

    /// Says in the headers of an answer what it rests on.
    pub fn set_headers(&self, headers: &mut HeaderMap, synced: bool) {
        headers.insert(HEIGHT_HEADER, self.height.clone());
        headers.insert(BLOCK_HASH_HEADER, self.hash.clone());
        headers.insert(SYNCED_HEADER, HeaderValue::from_static(if synced { "true" } else { "false" }));
    }
}

/// The block, and the active snapshot of each entity.
pub fn as_of(tip: &TipRecord, active: &[Option<ActiveSnapshot>], entities: &Entities) -> AsOf {
    let snapshots = entities.iter().zip(active).map(|((_, entity), active)| EntitySnapshot {
        entity: entity.into(),
        sequence: active.map(|active| active.sequence),
        manifest_id: active.map(|active| active.manifest),
    });
    AsOf {
        height: tip.height,
        block_hash: tip.hash,
        block_time: tip.time,
        state_hash: tip.state_hash,
        snapshots: snapshots.collect(),
    }
}

/// Under one URL, an answer changes with the block that it rests on, and with the software.
fn entity_tag(block: BlockHash, encoding: &str) -> String {
    format!("\"{block}-{}{encoding}\"", env!("CARGO_PKG_VERSION"))
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, ApiError> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).map_err(ApiError::internal)
}

/// An answer that no cache keeps.
pub fn uncached(body: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, NEVER)], body).into_response()
}
