//! The shapes that several answers share; those of one path stand beside its handler.
//!
//! Token amounts are strings ([`Amount`] sees to it); satoshis, heights and counts are numbers. A field
//! that has no value is `null`, never left out.

use std::sync::Arc;

use bitcoin::{BlockHash, Txid};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use super::names::SpendPathName;
use super::schemas;
use crate::ledger::entities::Entity;
use crate::protocol::{Amount, Height, ManifestId, OwnerKey, PubKey, StateHash, TokenId};

/// An answer from the state: what it rests on, then the answer itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Answer<'a, T> {
    /// The block and the snapshots that it rests on, written out.
    #[schema(value_type = AsOf)]
    pub as_of: &'a RawValue,
    /// The answer.
    #[serde(flatten)]
    pub body: T,
}

/// The block, and the active snapshot of each entity, that an answer rests on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AsOf {
    /// Height of the block: the last applied one, unless the request names another.
    pub height: Height,
    /// Its hash.
    #[schema(value_type = schemas::BlockHash)]
    pub block_hash: BlockHash,
    /// Its header time, Unix seconds.
    pub block_time: u32,
    /// State hash after it.
    pub state_hash: StateHash,
    /// One row per entity.
    pub snapshots: Vec<EntitySnapshot>,
}

/// The active snapshot of an entity.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EntitySnapshot {
    /// The entity.
    #[serde(flatten)]
    pub entity: EntityName,
    /// Sequence of its active snapshot; `null` where none has activated.
    pub sequence: Option<u64>,
    /// Manifest id of its active snapshot.
    pub manifest_id: Option<ManifestId>,
}

/// A value as JSON: written out once, for many rows that show it.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Written(Arc<RawValue>);

impl Written {
    /// Writes out a text, or what is shown as one.
    pub fn new(text: &impl Serialize) -> Self {
        Written(to_raw_value(text).expect("writing text to memory cannot fail").into())
    }
}

/// An entity.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EntityName {
    /// Its id: its first key.
    #[schema(value_type = PubKey)]
    pub entity: Written,
    /// What this server calls it.
    #[schema(value_type = String)]
    pub entity_name: Written,
}

impl From<&Entity> for EntityName {
    fn from(entity: &Entity) -> Self {
        EntityName { entity: Written::new(&entity.id()), entity_name: Written::new(&entity.name) }
    }
}

/// A block as the place where something happened.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BlockPlace {
    /// Its height.
    pub block_height: Height,
    /// Its hash.
    #[schema(value_type = schemas::BlockHash)]
    pub block_hash: BlockHash,
    /// Its header time, Unix seconds.
    pub block_time: u32,
}

/// An owner in both forms.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Owner {
    /// Compressed public key.
    pub owner: OwnerKey,
    /// Spark address.
    pub owner_address: String,
    /// Whether it is the burn key, whose tokens are burned supply.
    pub is_burn: bool,
}

/// A token in both forms, with what is needed to show an amount of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TokenName {
    /// Its identifier.
    #[schema(value_type = TokenId)]
    pub token_id: Written,
    /// Its identifier in bech32m form.
    #[schema(value_type = String)]
    pub token_address: Written,
    /// Ticker, once the metadata is known.
    pub ticker: Option<String>,
    /// Decimals for display, once the metadata is known.
    pub decimals: Option<u8>,
}

/// What an owner holds of a token under an entity, in base units.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Sums {
    /// The active snapshot of the entity, on which the sums rest.
    #[serde(flatten)]
    #[schema(value_type = BalanceSnapshot)]
    pub snapshot: Arc<BalanceSnapshot>,
    /// In the declared set, no valid exit.
    pub available: Amount,
    /// On the way to L1: a valid exit stands, pending or matured. A sum above 2^128 - 1 is shown as that.
    pub exiting: Amount,
    /// Withdrawn to L1 by the owner. A sum above 2^128 - 1 is shown as that.
    pub claimed: Amount,
}

/// The snapshot that a balance rests on. Entities share nothing: sums are per entity.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BalanceSnapshot {
    /// The entity.
    #[serde(flatten)]
    pub entity: EntityName,
    /// Sequence of its active snapshot; `null` where none has activated.
    pub snapshot_sequence: Option<u64>,
}

/// What a TTXO holds, and for whom.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Holding {
    /// Its owner.
    #[serde(flatten)]
    pub owner: Owner,
    /// Its token.
    #[serde(flatten)]
    #[schema(value_type = TokenName)]
    pub token: Arc<TokenName>,
    /// Its amount.
    pub amount: Amount,
}

/// The spend of an exit's output.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Spend {
    /// The spending transaction.
    #[schema(value_type = schemas::Txid)]
    pub txid: Txid,
    /// Its input.
    pub vin: u32,
    /// How it was spent.
    pub path: SpendPathName,
    /// Height of its block.
    pub block_height: Height,
}
