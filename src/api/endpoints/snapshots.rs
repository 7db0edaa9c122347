//! `/v1/snapshots` and `/v1/snapshots/{sequence}`

use axum::extract::{Path, State};
use axum::response::Response;
use bitcoin::BlockHash;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::app::App;
use crate::api::cursor::List;
use crate::api::error::{ApiError, Code};
use crate::api::names::{self, SnapshotKindName, SnapshotStateName};
use crate::api::page::{Page, Pager};
use crate::api::parse;
use crate::api::query::{Ask, PageRequest, Params};
use crate::api::reader::Reader;
use crate::api::schemas;
use crate::api::types::{Answer, BlockPlace, EntityName};
use crate::ledger::keys::{EntityIndex, KeyPart, Place};
use crate::ledger::reasons::FailReason;
use crate::ledger::records::{SnapshotRecord, SnapshotState};
use crate::ledger::tables::{self, Pending, Sequences};
use crate::ledger::view::{ReadError, View};
use crate::protocol::{Height, ManifestId, NodeHash};

/// A list of snapshots.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Snapshots {
    /// Ordered by entity, then sequence, then place in the chain.
    pub snapshots: Vec<Snapshot>,
    /// Continues the list; `null` at its end.
    pub next_cursor: Option<String>,
}

/// A snapshot whose manifest was accepted.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Snapshot {
    /// The entity.
    #[serde(flatten)]
    pub entity: EntityName,
    /// Its sequence.
    pub sequence: u64,
    /// Its manifest.
    pub manifest_id: ManifestId,
    /// The inscription of its manifest, `<txid>i<n>`.
    pub inscription_id: String,
    /// The block in which its manifest was accepted.
    #[serde(flatten)]
    pub block: BlockPlace,
    /// Full or delta.
    pub kind: SnapshotKindName,
    /// Where it stands.
    pub state: SnapshotStateName,
    /// Why it failed.
    pub reason: Option<FailReason>,
    /// Height at which it activated, failed or was superseded.
    pub decided_height: Option<Height>,
    /// The manifest that it builds on; `null` for one that builds on none.
    pub parent: Option<ManifestId>,
    /// The block as of which the entity speaks.
    pub anchor: Anchor,
    /// Spark time of the snapshot, Unix milliseconds, as its manifest says.
    pub spark_time_ms: u64,
    /// Number of TTXOs in its set, as its manifest says.
    pub count: u64,
    /// Root of its set, as its manifest says.
    pub root: NodeHash,
    /// Number of chunks that its manifest lists.
    pub chunks: u16,
    /// How many of them have been seen.
    pub chunks_seen: u16,
    /// TTXOs that it declares although a standing exit had taken them off Spark by its anchor.
    pub resurrected: Option<u64>,
}

/// The anchor of a snapshot.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Anchor {
    /// Its height.
    pub height: Height,
    /// Its hash.
    #[schema(value_type = schemas::BlockHash)]
    pub block_hash: BlockHash,
}

/// Snapshots
///
/// All accepted manifests, by entity, then sequence, then place in the chain.
#[utoipa::path(
    get,
    path = "/v1/snapshots",
    tag = "snapshots",
    params(
        ("entity" = Option<schemas::EntityParam>, Query, description = "Only those of this entity: id, or name"),
        PageRequest,
        Ask,
    ),
    responses((status = 200, description = "A page of the list", body = Answer<Snapshots>)),
    extensions(
        ("x-errors" = json!(["entity_not_found"])),
        ("x-example" = json!("/v1/snapshots?entity=operators&limit=2")),
    ),
)]
pub async fn snapshots(State(app): State<App>, mut params: Params) -> Result<Response, ApiError> {
    let (entity, page) = (entity(&app, &mut params)?, params.page()?);
    app.state(params.finish()?, move |reader| reader.snapshots(entity, &page)).await
}

/// Snapshots of a sequence
///
/// Several rows mean several entities, or an entity that signed more than one manifest for a sequence.
#[utoipa::path(
    get,
    path = "/v1/snapshots/{sequence}",
    tag = "snapshots",
    params(
        ("sequence" = schemas::SequenceParam, Path, description = "The sequence"),
        ("entity" = Option<schemas::EntityParam>, Query, description = "Only those of this entity: id, or name"),
        PageRequest,
        Ask,
    ),
    responses((status = 200, description = "A page of the list", body = Answer<Snapshots>)),
    extensions(
        ("x-errors" = json!(["bad_sequence", "entity_not_found", "snapshot_not_found"])),
        ("x-example" = json!("/v1/snapshots/12")),
    ),
)]
pub async fn snapshots_of_sequence(
    State(app): State<App>,
    Path(sequence): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let sequence = parse::number(&sequence).ok_or_else(|| ApiError::of(Code::BadSequence))?;
    let (entity, page) = (entity(&app, &mut params)?, params.page()?);
    let ask = params.finish()?;
    app.state(ask, move |reader| reader.snapshots_of_sequence(sequence, entity, &page)).await
}

/// Takes the parameter `entity` out.
fn entity(app: &App, params: &mut Params) -> Result<Option<EntityIndex>, ApiError> {
    params.take("entity").map(|text| parse::entity(app, &text)).transpose()
}

impl<V: View> Reader<'_, V> {
    fn snapshots(&self, entity: Option<EntityIndex>, page: &PageRequest) -> Result<Snapshots, ApiError> {
        let (first, last) = entity.map_or((EntityIndex::LOWEST, EntityIndex::HIGHEST), |one| (one, one));
        let range = (&(first, u64::LOWEST, Place::LOWEST), &(last, u64::HIGHEST, Place::HIGHEST));
        let pager = Pager::open(&self.tip, List::Snapshots, range, page)?;
        let rows = self.view.scan::<Sequences>(&pager.from, range.1);
        self.snapshot_rows(pager.collect(rows)?)
    }

    fn snapshots_of_sequence(
        &self,
        sequence: u64,
        entity: Option<EntityIndex>,
        page: &PageRequest,
    ) -> Result<Snapshots, ApiError> {
        let key = |entity, place| (entity, sequence, place);
        let (first, last) = entity.map_or((EntityIndex::LOWEST, EntityIndex::HIGHEST), |one| (one, one));
        let range = (&key(first, Place::LOWEST), &key(last, Place::HIGHEST));
        let pager = Pager::open(&self.tip, List::Snapshots, range, page)?;
        let (from_entity, from_sequence, from_place) = pager.from;
        if from_sequence != sequence {
            return Err(ApiError::new(Code::BadCursor, "this cursor comes from another list of snapshots"));
        }
        let entities = self.entities.iter().map(|(entity, _)| entity);
        let rows = entities.filter(|entity| (from_entity..=last).contains(entity)).flat_map(|entity| {
            let place = if entity == from_entity { from_place } else { Place::LOWEST };
            self.view.scan::<Sequences>(&key(entity, place), &key(entity, Place::HIGHEST))
        });
        let answer = self.snapshot_rows(pager.collect(rows)?)?;
        if answer.snapshots.is_empty() {
            let message = format!("no manifest with sequence {sequence} has been accepted");
            return Err(ApiError::new(Code::SnapshotNotFound, message));
        }
        Ok(answer)
    }

    fn snapshot_rows(&self, page: Page<ManifestId>) -> Result<Snapshots, ApiError> {
        let rows = page.rows.into_iter().map(|id| self.snapshot_row(id));
        Ok(Snapshots { snapshots: rows.collect::<Result<_, _>>()?, next_cursor: page.next_cursor })
    }

    /// A row of a list of snapshots.
    pub fn snapshot_row(&self, id: ManifestId) -> Result<Snapshot, ReadError> {
        let record = self.view.expect::<tables::Snapshots>(&id)?;
        let (state, reason) = names::snapshot_state(record.state);
        let manifest = self.signed_manifest(id)?.manifest;
        Ok(Snapshot {
            entity: self.entity(record.entity)?,
            sequence: record.sequence,
            manifest_id: id,
            inscription_id: format!("{}i{}", record.txid, record.inscription),
            block: self.block(record.accepted.height)?,
            kind: names::snapshot_kind(record.kind),
            state,
            reason,
            decided_height: record.decided,
            parent: manifest.parent,
            anchor: Anchor {
                height: record.anchor_height,
                block_hash: self.block(record.anchor_height)?.block_hash,
            },
            spark_time_ms: record.as_of_ms,
            count: record.count,
            root: record.root,
            chunks: record.chunks,
            chunks_seen: self.chunks_seen(&record)?,
            resurrected: record.resurrected,
        })
    }

    fn chunks_seen(&self, record: &SnapshotRecord) -> Result<u16, ReadError> {
        if record.state != SnapshotState::Pending {
            return Ok(record.chunks_taken);
        }
        let pending = self.view.expect::<Pending>(&(record.entity, record.accepted))?;
        Ok(record.chunks.saturating_sub(pending.missing))
    }
}
