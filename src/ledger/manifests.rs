//! Acceptance of manifests, equivocation, and the limit on pending ones.

use bitcoin::hashes::Hash;

use super::block::Block;
use super::chunks::drop_chunks;
use super::events::{Event, Inscription};
use super::keys::{EntityIndex, KeyPart, Place};
use super::reasons::RejectReason;
use super::records::*;
use super::tables::*;
use super::view::{ReadError, View};
use crate::protocol::manifest::{Manifest, SignedManifest, SnapshotKind};
use crate::protocol::{Height, ManifestId};
use crate::scan::messages::{EnvelopeMessage, TxMessages};

/// How many pending manifests an entity may have.
pub const MAX_PENDING: usize = 64;

/// How far above the active snapshot's sequence a new one may be.
pub const MAX_SEQUENCE_GAP: u64 = 1_000_000;

impl<V: View> Block<'_, V> {
    pub(super) fn manifest(&mut self, tx: &TxMessages, envelope: &EnvelopeMessage) -> Result<(), ReadError> {
        let (signed, entity) = match self.authenticate(&envelope.body) {
            Ok(good) => good,
            Err(counter) => return self.count(counter),
        };
        let place = Place::envelope(self.height, tx.index, envelope.input, envelope.envelope);
        let inscription = Inscription { txid: tx.txid, index: envelope.inscription };
        let first = self.first_of_sequence(entity, signed.manifest.sequence)?;
        let rejected = self.check(entity, &signed)?;
        let id = self.entity_id(entity)?;
        match rejected {
            Some(reason) => {
                self.event(Event::ManifestRejected { entity: id, id: signed.id, inscription, reason })
            }
            None => self.accept(entity, &signed, &envelope.body, place, inscription)?,
        }
        if let Some(first) = first.filter(|first| *first != signed.id) {
            self.equivocation(entity, first, &signed, inscription)?;
        }
        if rejected.is_none() {
            self.activate_ready(entity, place)?;
        }
        Ok(())
    }

    /// The first four checks; what fails them is counted and never stored.
    fn authenticate(&self, body: &[u8]) -> Result<(SignedManifest, EntityIndex), Counter> {
        let signed = SignedManifest::decode(body).map_err(|_| Counter::MalformedManifest)?;
        if signed.manifest.network_magic != self.rules.network.magic() {
            return Err(Counter::WrongNetwork);
        }
        let entity = self.rules.entities.by_key(&signed.manifest.entity, self.height);
        let entity = entity.ok_or(Counter::UnknownEntity)?;
        if !signed.verify_signature() {
            return Err(Counter::BadSignature);
        }
        Ok((signed, entity))
    }

    /// The remaining checks: the first reason that applies, or `None` if the manifest is accepted.
    fn check(&self, entity: EntityIndex, signed: &SignedManifest) -> Result<Option<RejectReason>, ReadError> {
        let manifest = &signed.manifest;
        if self.state.has::<Snapshots>(&signed.id)? {
            return Ok(Some(RejectReason::DuplicateManifest));
        }
        if !self.anchor_is_good(manifest)? {
            return Ok(Some(RejectReason::BadAnchor));
        }
        let active = self.state.get::<Active>(&entity)?.map(|active| active.sequence);
        if active.is_some_and(|active| manifest.sequence <= active) {
            return Ok(Some(RejectReason::StaleSequence));
        }
        if manifest.sequence > active.unwrap_or(0).saturating_add(MAX_SEQUENCE_GAP) {
            return Ok(Some(RejectReason::SequenceGap));
        }
        if manifest.kind == SnapshotKind::Delta && manifest.parent.is_none() {
            return Ok(Some(RejectReason::MissingParent));
        }
        Ok(None)
    }

    fn anchor_is_good(&self, manifest: &Manifest) -> Result<bool, ReadError> {
        let Ok(height) = u32::try_from(manifest.anchor_height).map(Height) else { return Ok(false) };
        if height < self.rules.start_height || height >= self.height {
            return Ok(false);
        }
        let block = self.state.expect::<Blocks>(&height)?;
        Ok(block.hash.to_byte_array() == manifest.anchor_hash)
    }

    fn first_of_sequence(&self, entity: EntityIndex, sequence: u64) -> Result<Option<ManifestId>, ReadError> {
        let (from, to) = ((entity, sequence, Place::LOWEST), (entity, sequence, Place::HIGHEST));
        Ok(self.state.scan::<Sequences>(&from, &to).next().transpose()?.map(|(_, id)| id))
    }

    fn accept(
        &mut self,
        entity: EntityIndex,
        signed: &SignedManifest,
        body: &[u8],
        place: Place,
        inscription: Inscription,
    ) -> Result<(), ReadError> {
        let SignedManifest { manifest, id, .. } = signed;
        let sequence = manifest.sequence;
        let chunks = u16::try_from(manifest.chunks.len()).expect("the decoder allows at most 65,535 chunks");
        let record = SnapshotRecord {
            entity,
            sequence,
            kind: manifest.kind,
            accepted: place,
            txid: inscription.txid,
            inscription: inscription.index,
            state: SnapshotState::Pending,
            decided: None,
            count: manifest.count,
            root: manifest.root,
            chunks,
            chunks_taken: 0,
            anchor_height: Height(
                u32::try_from(manifest.anchor_height).expect("checked to be a block's height"),
            ),
            as_of_ms: manifest.as_of_ms,
            resurrected: None,
        };
        self.state.put::<Manifests>(*id, ManifestRecord { body: Body(body.to_vec()) })?;
        self.state.put::<Snapshots>(*id, record)?;
        self.state.put::<Sequences>((entity, sequence, place), *id)?;
        let pending = PendingManifest {
            id: *id,
            sequence,
            kind: manifest.kind,
            parent: manifest.parent,
            missing: chunks,
        };
        self.state.put::<Pending>((entity, place), pending)?;
        for (index, hash) in (0..=u16::MAX).zip(&manifest.chunks) {
            self.state.put::<Wanted>((*hash, place), WantedChunk { manifest: *id, entity, index })?;
        }
        let entity_id = self.entity_id(entity)?;
        self.event(Event::Manifest { entity: entity_id, sequence, id: *id, inscription });
        self.keep_pending_limit(entity)
    }

    /// Beyond the limit, the pending manifest with the lowest sequence (the first accepted, if equal) goes.
    fn keep_pending_limit(&mut self, entity: EntityIndex) -> Result<(), ReadError> {
        let pending = self.pending(entity)?;
        if pending.len() <= MAX_PENDING {
            return Ok(());
        }
        match pending.iter().min_by_key(|(place, manifest)| (manifest.sequence, *place)) {
            Some((place, manifest)) => self.supersede(entity, *place, manifest),
            None => Ok(()),
        }
    }

    /// The pending manifests of an entity, in the order of their acceptance.
    pub(super) fn pending(&self, entity: EntityIndex) -> Result<Vec<(Place, PendingManifest)>, ReadError> {
        self.state
            .scan::<Pending>(&(entity, Place::LOWEST), &(entity, Place::HIGHEST))
            .map(|row| row.map(|((_, place), manifest)| (place, manifest)))
            .collect()
    }

    pub(super) fn supersede(
        &mut self,
        entity: EntityIndex,
        place: Place,
        manifest: &PendingManifest,
    ) -> Result<(), ReadError> {
        self.end_pending(entity, place, manifest.id, SnapshotState::Superseded)?;
        let entity = self.entity_id(entity)?;
        self.event(Event::SnapshotSuperseded { entity, sequence: manifest.sequence, id: manifest.id });
        Ok(())
    }

    /// Gives a pending manifest its final state and lets go of the chunks held only for it.
    pub(super) fn end_pending(
        &mut self,
        entity: EntityIndex,
        place: Place,
        id: ManifestId,
        state: SnapshotState,
    ) -> Result<SignedManifest, ReadError> {
        let signed = self.read_manifest(&id)?;
        drop_chunks(&mut self.state, place, &signed)?;
        self.state.delete::<Pending>((entity, place))?;
        let record = self.state.expect::<Snapshots>(&id)?;
        self.state.put::<Snapshots>(id, SnapshotRecord { state, decided: Some(self.height), ..record })?;
        Ok(signed)
    }

    /// An accepted manifest, decoded again from the body that is kept.
    pub(super) fn read_manifest(&self, id: &ManifestId) -> Result<SignedManifest, ReadError> {
        let record = self.state.expect::<Manifests>(id)?;
        SignedManifest::decode(&record.body.0)
            .map_err(|e| ReadError { table: Manifests::NAME, reason: format!("manifest {id}: {e}") })
    }

    /// Evidence against the first accepted manifest of a sequence, once per pair in either order.
    fn equivocation(
        &mut self,
        entity: EntityIndex,
        first: ManifestId,
        signed: &SignedManifest,
        inscription: Inscription,
    ) -> Result<(), ReadError> {
        let key = (entity, first.min(signed.id), first.max(signed.id));
        if self.state.has::<Equivocations>(&key)? {
            return Ok(());
        }
        let sequence = signed.manifest.sequence;
        let record = EquivocationRecord {
            sequence,
            first,
            second: signed.id,
            second_txid: inscription.txid,
            second_inscription: inscription.index,
            height: self.height,
        };
        self.state.put::<Equivocations>(key, record)?;
        let entity = self.entity_id(entity)?;
        self.event(Event::Equivocation { entity, sequence, first, second: signed.id });
        Ok(())
    }
}
