//! `/v1/entities`

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::app::App;
use crate::api::error::ApiError;
use crate::api::query::{Ask, Params};
use crate::api::reader::Reader;
use crate::api::types::{Answer, BlockPlace, EntityName};
use crate::ledger::entities::Entities;
use crate::ledger::records::ActiveSnapshot;
use crate::ledger::tables::Snapshots;
use crate::ledger::view::{ReadError, View};
use crate::protocol::{Height, ManifestId, PubKey};

/// The followed entities.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EntityList {
    /// In the order of their ids.
    pub entities: Vec<EntityStatus>,
}

/// A followed entity, and what its balances rest on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EntityStatus {
    /// The entity and its keys.
    #[serde(flatten)]
    pub keys: EntityKeys,
    /// The key that is valid at the height of the answer; `null` before the first.
    pub valid_key: Option<PubKey>,
    /// Its active snapshot; `null` where none has activated.
    pub active_snapshot: Option<ActiveSnapshotRow>,
}

/// A followed entity with its keys.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EntityKeys {
    /// The entity.
    #[serde(flatten)]
    pub entity: EntityName,
    /// Its keys, lowest from-height first.
    pub keys: Vec<EntityKeyRow>,
}

/// A key of an entity.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EntityKeyRow {
    /// The key.
    pub key: PubKey,
    /// First height at which it is valid.
    pub from_height: Height,
}

/// The active snapshot of an entity, and how old it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ActiveSnapshotRow {
    /// Its sequence.
    pub sequence: u64,
    /// Its manifest.
    pub manifest_id: ManifestId,
    /// TTXOs in its set.
    pub count: u64,
    /// The block in which it activated.
    #[serde(flatten)]
    pub block: BlockPlace,
    /// Height of its anchor, the block as of which the entity speaks.
    pub anchor_height: Height,
    /// The time on Spark that its manifest states, Unix milliseconds.
    pub spark_time_ms: u64,
    /// Blocks from its anchor to the block of the answer: what happened on Spark since is not in the balances.
    pub age_blocks: u32,
}

/// The followed entities
///
/// Their keys, and the age of the snapshot that the balances of each rest on.
#[utoipa::path(
    get,
    path = "/v1/entities",
    tag = "server",
    params(Ask),
    responses((status = 200, description = "The entities", body = Answer<EntityList>)),
    extensions(("x-example" = json!("/v1/entities"))),
)]
pub async fn entities(State(app): State<App>, params: Params) -> Result<Response, ApiError> {
    app.state(params.finish()?, |reader| Ok(reader.entity_list()?)).await
}

/// The followed entities with their keys.
pub fn keys_of_entities(entities: &Entities) -> Vec<EntityKeys> {
    let rows = entities.iter().map(|(_, entity)| EntityKeys {
        entity: entity.into(),
        keys: entity
            .keys
            .iter()
            .map(|key| EntityKeyRow { key: key.key, from_height: key.from_height })
            .collect(),
    });
    rows.collect()
}

impl<V: View> Reader<'_, V> {
    fn entity_list(&self) -> Result<EntityList, ReadError> {
        let keys = keys_of_entities(self.entities);
        let rows = self.entities.iter().zip(keys).map(|((index, entity), keys)| {
            let active = self.active(index).map(|active| self.active_row(active)).transpose()?;
            Ok(EntityStatus { keys, valid_key: entity.key_at(self.tip.height), active_snapshot: active })
        });
        Ok(EntityList { entities: rows.collect::<Result<_, ReadError>>()? })
    }

    fn active_row(&self, active: ActiveSnapshot) -> Result<ActiveSnapshotRow, ReadError> {
        let record = self.view.expect::<Snapshots>(&active.manifest)?;
        Ok(ActiveSnapshotRow {
            sequence: active.sequence,
            manifest_id: active.manifest,
            count: active.count,
            block: self.block(record.decided.unwrap_or(record.accepted.height))?,
            anchor_height: record.anchor_height,
            spark_time_ms: record.as_of_ms,
            age_blocks: self.tip.height.0.saturating_sub(record.anchor_height.0),
        })
    }
}
