//! Answers about blocks, snapshots and the server itself.

use std::collections::BTreeMap;
use std::time::Instant;

use bitcoin::BlockHash;

use super::cursor::List;
use super::error::ApiError;
use super::names;
use super::page::{Page, Pager};
use super::query::PageRequest;
use super::reader::{Reader, name_of};
use super::types;
use crate::ledger::entities::Entities;
use crate::ledger::keys::{EntityIndex, KeyPart, Place};
use crate::ledger::records::{Counter, SnapshotRecord, SnapshotState};
use crate::ledger::tables::{
    BlockHeights, Blocks, Counters, Manifests, Notices, Pending, Sequences, Snapshots, Table,
};
use crate::ledger::view::{ReadError, View};
use crate::protocol::manifest::{Manifest, SignedManifest};
use crate::protocol::{Height, ManifestId};
use crate::sync::status::SyncStatus;

/// How a request names a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockName {
    /// By its height in the best chain.
    Height(Height),
    /// By its hash.
    Hash(BlockHash),
}

impl<V: View> Reader<'_, V> {
    /// `/v1/blocks/{height or hash}`
    pub fn one_block(&self, name: BlockName) -> Result<types::Block, ApiError> {
        let unknown = || {
            let what = match name {
                BlockName::Height(height) => format!("height {height}"),
                BlockName::Hash(hash) => format!("hash {hash}"),
            };
            let message = format!("no block of {what} has been applied; the last one is {}", self.tip.height);
            ApiError::unknown("block_not_found", message)
        };
        let height = match name {
            BlockName::Height(height) => height,
            BlockName::Hash(hash) => self.view.get::<BlockHeights>(&hash.into())?.ok_or_else(unknown)?,
        };
        let block = self.view.get::<Blocks>(&height)?.ok_or_else(unknown)?;
        Ok(types::Block {
            block: types::BlockPlace { block_height: height, block_hash: block.hash, block_time: block.time },
            state_hash: block.state_hash,
            events: block.events.lines().map(str::to_owned).collect(),
        })
    }

    /// `/v1/snapshots`, of all entities or of one.
    pub fn snapshots(
        &self,
        entity: Option<EntityIndex>,
        page: &PageRequest,
    ) -> Result<types::Snapshots, ApiError> {
        let (first, last) = entity.map_or((EntityIndex::LOWEST, EntityIndex::HIGHEST), |one| (one, one));
        let range = (&(first, u64::LOWEST, Place::LOWEST), &(last, u64::HIGHEST, Place::HIGHEST));
        let pager = Pager::open(&self.view, &self.tip, List::Snapshots, range, page)?;
        let rows = self.view.scan::<Sequences>(&pager.from, range.1);
        self.snapshot_rows(pager.collect(rows)?)
    }

    /// `/v1/snapshots/{sequence}`: those of every entity under one sequence, or of one entity.
    pub fn snapshots_of_sequence(
        &self,
        sequence: u64,
        entity: Option<EntityIndex>,
        page: &PageRequest,
    ) -> Result<types::Snapshots, ApiError> {
        let key = |entity, place| (entity, sequence, place);
        let (first, last) = entity.map_or((EntityIndex::LOWEST, EntityIndex::HIGHEST), |one| (one, one));
        let range = (&key(first, Place::LOWEST), &key(last, Place::HIGHEST));
        let pager = Pager::open(&self.view, &self.tip, List::Snapshots, range, page)?;
        let (from_entity, from_sequence, from_place) = pager.from;
        if from_sequence != sequence {
            return Err(ApiError::bad("bad_cursor", "this cursor comes from another list of snapshots"));
        }
        let entities = self.entities.iter().map(|(entity, _)| entity);
        let rows = entities.filter(|entity| (from_entity..=last).contains(entity)).flat_map(|entity| {
            let place = if entity == from_entity { from_place } else { Place::LOWEST };
            self.view.scan::<Sequences>(&key(entity, place), &key(entity, Place::HIGHEST))
        });
        let answer = self.snapshot_rows(pager.collect(rows)?)?;
        if answer.snapshots.is_empty() {
            let message = format!("no manifest with sequence {sequence} has been accepted");
            return Err(ApiError::unknown("snapshot_not_found", message));
        }
        Ok(answer)
    }

    fn snapshot_rows(&self, page: Page<ManifestId>) -> Result<types::Snapshots, ApiError> {
        let rows = page.rows.into_iter().map(|id| self.snapshot_row(id));
        Ok(types::Snapshots { snapshots: rows.collect::<Result<_, _>>()?, next_cursor: page.next_cursor })
    }

    fn snapshot_row(&self, id: ManifestId) -> Result<types::Snapshot, ReadError> {
        let record = self.view.expect::<Snapshots>(&id)?;
        let (state, reason) = names::snapshot_state(record.state);
        let manifest = self.manifest(id)?;
        Ok(types::Snapshot {
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
            anchor: types::Anchor {
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

    fn manifest(&self, id: ManifestId) -> Result<Manifest, ReadError> {
        let record = self.view.expect::<Manifests>(&id)?;
        let signed = SignedManifest::decode(&record.body.0);
        signed.map(|signed| signed.manifest).map_err(|error| ReadError {
            table: Manifests::NAME,
            reason: format!("manifest {id} was accepted and does not decode: {error}"),
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

impl<V: View> Reader<'_, V> {
    /// `/v1/notices`: the newest first.
    pub fn notices(&self, limit: usize) -> Result<types::Notices, ApiError> {
        let all = self.view.scan::<Notices>(&u16::LOWEST, &u16::HIGHEST);
        // A ring: the newest has the highest number, wherever it stands.
        let mut notices = all.map(|row| Ok(row?.1)).collect::<Result<Vec<_>, ReadError>>()?;
        notices.sort_by_key(|notice| std::cmp::Reverse(notice.number));
        let rows = notices.into_iter().take(limit).map(|notice| {
            Ok(types::Notice {
                txid: notice.txid,
                vout: notice.vout,
                block: self.block(notice.height)?,
                reason: notice.reason,
            })
        });
        Ok(types::Notices { notices: rows.collect::<Result<_, ReadError>>()? })
    }
}

/// How often each kind of message was counted and dropped, zeros left out.
pub fn counters(view: &impl View) -> Result<BTreeMap<Counter, u64>, ReadError> {
    let mut counters = BTreeMap::new();
    for counter in Counter::ALL {
        if let Some(count) = view.get::<Counters>(&(counter as u8))? {
            counters.insert(counter, count);
        }
    }
    Ok(counters)
}

/// The followed entities with their keys.
pub fn entities(entities: &Entities) -> Vec<types::EntityStatus> {
    let rows = entities.iter().map(|(_, entity)| types::EntityStatus {
        entity: name_of(entity),
        keys: entity
            .keys
            .iter()
            .map(|key| types::EntityKeyRow { key: key.key, from_height: key.from_height })
            .collect(),
    });
    rows.collect()
}

/// Progress of synchronisation.
pub fn progress(status: &SyncStatus) -> types::SyncProgress {
    types::SyncProgress {
        state: status.phase,
        source_height: status.source_tip.map(|tip| tip.height),
        source_block_hash: status.source_tip.map(|tip| tip.hash),
        source_heard_seconds: status.heard.map(|heard| Instant::now().duration_since(heard).as_secs()),
        problem: status.problem.clone(),
    }
}
