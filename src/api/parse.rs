//! Names in a request: tokens, owners, blocks, outpoints, entities. Each has its own error.

use std::str::FromStr;

use bitcoin::{BlockHash, OutPoint};

use super::App;
use super::error::{ApiError, Code};
use crate::ledger::Entities;
use crate::ledger::keys::EntityIndex;
use crate::protocol::address::{self, AddressError};
use crate::protocol::{Height, ManifestId, OwnerKey, PubKey, SparkOutPoint, TokenId};

/// How a request names a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockName {
    /// By its height in the best chain.
    Height(Height),
    /// By its hash.
    Hash(BlockHash),
}

/// A number in decimal digits and nothing else.
pub fn number<N: FromStr>(text: &str) -> Option<N> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// A block by its height or its hash.
pub fn block(text: &str) -> Result<BlockName, ApiError> {
    match number(text) {
        Some(height) => Ok(BlockName::Height(Height(height))),
        None => hash(text).map(BlockName::Hash),
    }
}

/// A block by its hash.
pub fn hash(text: &str) -> Result<BlockHash, ApiError> {
    text.parse().map_err(|_| ApiError::of(Code::BadBlock))
}

/// A token in any of its forms.
pub fn token(app: &App, text: &str) -> Result<TokenId, ApiError> {
    address::parse_token(text, app.network())
        .map_err(|error| ApiError::new(Code::BadToken, error.to_string()))
}

/// An owner in any of its forms.
pub fn owner(app: &App, text: &str) -> Result<OwnerKey, ApiError> {
    must_be_owner(owner_key(app, text)?)
}

/// The same, but it has yet to be seen whether [it is one](must_be_owner).
pub fn owner_key(app: &App, text: &str) -> Result<OwnerKey, ApiError> {
    address::parse_owner_key(text, app.network()).map_err(bad_owner)
}

/// Refuses a key that is no point of the curve. To find that out takes longer than to read a few rows; and
/// no row is of such a key, for a chunk with one does not count.
pub fn must_be_owner(key: OwnerKey) -> Result<OwnerKey, ApiError> {
    address::must_be_on_curve(key).map_err(bad_owner)
}

fn bad_owner(error: AddressError) -> ApiError {
    ApiError::new(Code::BadOwner, error.to_string())
}

/// A TTXO.
pub fn ttxo(text: &str) -> Result<SparkOutPoint, ApiError> {
    text.parse::<SparkOutPoint>().map_err(|error| ApiError::new(Code::BadTtxo, error.to_string()))
}

/// An L1 output.
pub fn outpoint(text: &str) -> Result<OutPoint, ApiError> {
    text.parse::<OutPoint>().map_err(|_| ApiError::of(Code::BadOutpoint))
}

/// A manifest.
pub fn manifest(text: &str) -> Result<ManifestId, ApiError> {
    text.parse().map_err(|_| ApiError::of(Code::BadManifestId))
}

/// A followed entity, by its id or its name.
pub fn entity(app: &App, text: &str) -> Result<EntityIndex, ApiError> {
    let message = || format!("no followed entity has the id or the name '{text}'; /v1/entities lists them");
    find(&app.store().rules().entities, text).ok_or_else(|| ApiError::new(Code::EntityNotFound, message()))
}

fn find(entities: &Entities, text: &str) -> Option<EntityIndex> {
    let id = text.parse::<PubKey>().ok();
    let by_id = entities.iter().find(|(_, entity)| Some(entity.id()) == id);
    by_id.or_else(|| entities.iter().find(|(_, entity)| entity.name == text)).map(|(index, _)| index)
}
