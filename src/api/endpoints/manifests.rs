//! `/v1/manifests/{manifest_id}`, its chunks, and evidence of equivocation

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::snapshots::Snapshot;
use crate::api::app::App;
use crate::api::cursor::List;
use crate::api::error::{ApiError, Code};
use crate::api::page::{Page, Pager, table_page};
use crate::api::parse;
use crate::api::query::{Ask, PageRequest, Params};
use crate::api::reader::Reader;
use crate::api::schemas;
use crate::api::types::{Answer, BlockPlace, EntityName};
use crate::ledger::keys::{EntityIndex, KeyPart};
use crate::ledger::records::{EquivocationRecord, SnapshotRecord, SnapshotState};
use crate::ledger::tables::{ChunkHolders, Equivocations, Manifests, Snapshots, Table};
use crate::ledger::view::{ReadError, View};
use crate::protocol::manifest::SignedManifest;
use crate::protocol::{ChunkHash, ManifestId, PubKey, Signature};

/// An accepted manifest, as it was signed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ManifestDetail {
    /// The snapshot.
    #[serde(flatten)]
    pub snapshot: Snapshot,
    /// The entity key that signed it.
    pub signed_by: PubKey,
    /// The number of the network in it.
    pub network_magic: u32,
    /// BIP-340 signature of the manifest id under `signed_by`.
    pub signature: Signature,
}

/// Chunks of a manifest.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Chunks {
    /// In the order in which the manifest lists them.
    pub chunks: Vec<Chunk>,
    /// Continues the list; `null` at its end.
    pub next_cursor: Option<String>,
}

/// A chunk that a manifest lists.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Chunk {
    /// Its index.
    pub index: u16,
    /// Its hash.
    pub chunk_hash: ChunkHash,
    /// Whether it has been inscribed in time; `null` where nobody knows any more, because the snapshot was
    /// superseded.
    pub seen: Option<bool>,
    /// Its inscription, `<txid>i<n>`, while the snapshot is pending.
    pub inscription_id: Option<String>,
}

/// Evidence against entities.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EquivocationList {
    /// Ordered by entity, then manifest ids.
    pub equivocations: Vec<Equivocation>,
    /// Continues the list; `null` at its end.
    pub next_cursor: Option<String>,
}

/// Two manifests that an entity signed under one sequence. The inscriptions hold both, with their signatures.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Equivocation {
    /// The entity.
    #[serde(flatten)]
    pub entity: EntityName,
    /// The sequence.
    pub sequence: u64,
    /// The first that was accepted under it.
    pub first_manifest_id: ManifestId,
    /// Its inscription, `<txid>i<n>`.
    pub first_inscription_id: String,
    /// The other one, accepted or not.
    pub second_manifest_id: ManifestId,
    /// Its inscription.
    pub second_inscription_id: String,
    /// The block in which the other one was found.
    #[serde(flatten)]
    pub block: BlockPlace,
}

/// A manifest: what an entity signed, and what became of it
#[utoipa::path(
    get,
    path = "/v1/manifests/{manifest_id}",
    tag = "snapshots",
    params(("manifest_id" = ManifestId, Path, description = "Id of the manifest"), Ask),
    responses((status = 200, description = "The manifest", body = Answer<ManifestDetail>)),
    extensions(
        ("x-errors" = json!(["bad_manifest_id", "snapshot_not_found"])),
        ("x-example" = json!("/v1/manifests/c5c2600ca0eb1f4b1c61801afe0dbf00ee035fbf80c8555a0414bafc52229a04")),
    ),
)]
pub async fn manifest(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let id = parse::manifest(&id)?;
    app.state(params.finish()?, move |reader| reader.manifest_detail(id)).await
}

/// Chunks of a manifest, and which are missing
///
/// With `missing=true`, only those that a pending snapshot still waits for.
#[utoipa::path(
    get,
    path = "/v1/manifests/{manifest_id}/chunks",
    tag = "snapshots",
    params(
        ("manifest_id" = ManifestId, Path, description = "Id of the manifest"),
        ("missing" = Option<bool>, Query, description = "Only chunks that are missing"),
        PageRequest,
        Ask,
    ),
    responses((status = 200, description = "A page of the list", body = Answer<Chunks>)),
    extensions(
        ("x-errors" = json!(["bad_manifest_id", "snapshot_not_found"])),
        ("x-example" = json!("/v1/manifests/318eaabb8eff208dd4ba592a7a4c56123a7878f1d51f4689b89adf1c1caca683/chunks?missing=true&height=153&limit=2")),
    ),
)]
pub async fn manifest_chunks(
    State(app): State<App>,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let (id, page) = (parse::manifest(&id)?, params.page()?);
    let missing = params.flag("missing")?;
    app.state(params.finish()?, move |reader| reader.chunks(id, missing, &page)).await
}

/// Evidence of equivocation
///
/// Pairs of manifests that an entity signed under one sequence, which no honest entity does.
#[utoipa::path(
    get,
    path = "/v1/equivocations",
    tag = "snapshots",
    params(
        ("entity" = Option<schemas::EntityParam>, Query, description = "Only those of this entity: id, or name"),
        PageRequest,
        Ask,
    ),
    responses((status = 200, description = "A page of the list", body = Answer<EquivocationList>)),
    extensions(("x-errors" = json!(["entity_not_found"])), ("x-example" = json!("/v1/equivocations"))),
)]
pub async fn equivocations(State(app): State<App>, mut params: Params) -> Result<Response, ApiError> {
    let entity = params.take("entity").map(|text| parse::entity(&app, &text)).transpose()?;
    let page = params.page()?;
    app.state(params.finish()?, move |reader| reader.equivocations(entity, &page)).await
}

impl<V: View> Reader<'_, V> {
    fn known_manifest(&self, id: ManifestId) -> Result<(SnapshotRecord, SignedManifest), ApiError> {
        let record = self.view.get::<Snapshots>(&id)?.ok_or_else(|| {
            let message = format!("no manifest with the id {id} has been accepted");
            ApiError::new(Code::SnapshotNotFound, message)
        })?;
        Ok((record, self.signed_manifest(id)?))
    }

    fn manifest_detail(&self, id: ManifestId) -> Result<ManifestDetail, ApiError> {
        let (_, signed) = self.known_manifest(id)?;
        Ok(ManifestDetail {
            snapshot: self.snapshot_row(id)?,
            signed_by: signed.manifest.entity,
            network_magic: signed.manifest.network_magic,
            signature: signed.signature,
        })
    }

    fn chunks(&self, id: ManifestId, missing: bool, page: &PageRequest) -> Result<Chunks, ApiError> {
        let (record, signed) = self.known_manifest(id)?;
        let pager = Pager::open(&self.tip, List::Chunks, (&(id, 0), &(id, u16::MAX)), page)?;
        let listed = (0u16..).zip(&signed.manifest.chunks).skip(usize::from(pager.from.1));
        let rows = listed.map(|(index, hash)| Ok(((id, index), self.chunk(id, record.state, index, *hash)?)));
        let wanted = |row: &Result<((ManifestId, u16), Chunk), ReadError>| {
            !missing || !matches!(row, Ok((_, chunk)) if chunk.seen != Some(false))
        };
        let Page { rows, next_cursor } = pager.collect(rows.filter(wanted))?;
        Ok(Chunks { chunks: rows, next_cursor })
    }

    fn chunk(
        &self,
        manifest: ManifestId,
        state: SnapshotState,
        index: u16,
        chunk_hash: ChunkHash,
    ) -> Result<Chunk, ReadError> {
        let holder = match state {
            SnapshotState::Pending => self.view.get::<ChunkHolders>(&(chunk_hash, manifest))?,
            _ => None,
        };
        let seen = match state {
            SnapshotState::Pending => Some(holder.is_some()),
            SnapshotState::Superseded => None,
            SnapshotState::Active | SnapshotState::Replaced | SnapshotState::Failed(_) => Some(true),
        };
        let inscription_id = holder.map(|holder| format!("{}i{}", holder.txid, holder.inscription));
        Ok(Chunk { index, chunk_hash, seen, inscription_id })
    }

    fn equivocations(
        &self,
        entity: Option<EntityIndex>,
        page: &PageRequest,
    ) -> Result<EquivocationList, ApiError> {
        let (first, last) = entity.map_or((EntityIndex::LOWEST, EntityIndex::HIGHEST), |one| (one, one));
        let range = (&(first, ManifestId::MIN, ManifestId::MIN), &(last, ManifestId::MAX, ManifestId::MAX));
        let Page { rows, next_cursor } =
            table_page::<Equivocations>(&self.view, &self.tip, List::Equivocations, range, page)?;
        let rows = rows.into_iter().map(|((entity, _, _), record)| self.equivocation(entity, &record));
        Ok(EquivocationList { equivocations: rows.collect::<Result<_, _>>()?, next_cursor })
    }

    fn equivocation(
        &self,
        entity: EntityIndex,
        record: &EquivocationRecord,
    ) -> Result<Equivocation, ReadError> {
        let first = self.view.expect::<Snapshots>(&record.first)?;
        Ok(Equivocation {
            entity: self.entity(entity)?,
            sequence: record.sequence,
            first_manifest_id: record.first,
            first_inscription_id: format!("{}i{}", first.txid, first.inscription),
            second_manifest_id: record.second,
            second_inscription_id: format!("{}i{}", record.second_txid, record.second_inscription),
            block: self.block(record.height)?,
        })
    }

    /// An accepted manifest with its signature.
    pub fn signed_manifest(&self, id: ManifestId) -> Result<SignedManifest, ReadError> {
        let record = self.view.expect::<Manifests>(&id)?;
        SignedManifest::decode(&record.body.0).map_err(|error| ReadError {
            table: Manifests::NAME,
            reason: format!("manifest {id} was accepted and does not decode: {error}"),
        })
    }
}
