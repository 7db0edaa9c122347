//! Chunks: taken for the pending manifests that wait for them, kept until the last of those is decided.

use super::block::Block;
use super::events::{Event, Inscription};
use super::keys::{EntityIndex, KeyPart, Place};
use super::records::*;
use super::tables::*;
use super::view::{Overlay, ReadError, View};
use crate::protocol::chunk::{self, Chunk};
use crate::protocol::manifest::SignedManifest;
use crate::protocol::{ChunkHash, ManifestId};
use crate::scan::messages::{EnvelopeMessage, TxMessages};

impl<V: View> Block<'_, V> {
    /// Takes a chunk for every pending manifest that waits for it, in the order of their acceptance; then
    /// activates what has become ready, entity by entity in the same order.
    pub(super) fn chunk(&mut self, tx: &TxMessages, envelope: &EnvelopeMessage) -> Result<(), ReadError> {
        let hash = chunk::hash(&envelope.body);
        let wanted: Vec<_> = self
            .state
            .scan::<Wanted>(&(hash, Place::LOWEST), &(hash, Place::HIGHEST))
            .collect::<Result<_, _>>()?;
        if wanted.is_empty() {
            return self.count(Counter::UnwantedChunk);
        }
        if !self.state.has::<ChunkBodies>(&hash)? {
            self.keep_body(hash, &envelope.body)?;
        }
        let inscription = Inscription { txid: tx.txid, index: envelope.inscription };
        let mut entities: Vec<EntityIndex> = Vec::new();
        for ((_, accepted), wanted) in wanted {
            self.take_chunk(hash, accepted, &wanted, inscription)?;
            if !entities.contains(&wanted.entity) {
                entities.push(wanted.entity);
            }
        }
        let place = Place::envelope(self.height, tx.index, envelope.input, envelope.envelope);
        for entity in entities {
            self.activate_ready(entity, place)?;
        }
        Ok(())
    }

    /// Stores the body of a chunk, with what will be asked about it when its last sibling has come: to check
    /// all keys of a large snapshot takes seconds, which the blocks of its chunks share in this way.
    fn keep_body(&mut self, hash: ChunkHash, body: &[u8]) -> Result<(), ReadError> {
        let decodes = Chunk::decode(body, self.rules.network).is_ok();
        self.state.put::<ChunkBodies>(hash, ChunkBody { decodes, body: body.to_vec() })
    }

    fn take_chunk(
        &mut self,
        hash: ChunkHash,
        accepted: Place,
        wanted: &WantedChunk,
        inscription: Inscription,
    ) -> Result<(), ReadError> {
        let WantedChunk { manifest, entity, index } = *wanted;
        let holder = ChunkHolder { index, txid: inscription.txid, inscription: inscription.index };
        self.state.put::<ChunkHolders>((hash, manifest), holder)?;
        self.state.delete::<Wanted>((hash, accepted))?;
        let mut snapshot = self.state.expect::<Snapshots>(&manifest)?;
        snapshot.chunks_taken += 1;
        self.state.put::<Snapshots>(manifest, snapshot)?;
        let mut pending = self.state.expect::<Pending>(&(entity, accepted))?;
        pending.missing -= 1;
        self.state.put::<Pending>((entity, accepted), pending)?;
        self.event(Event::Chunk { manifest, index, inscription });
        Ok(())
    }
}

/// Forgets what a manifest waited for and held; bodies that nobody else holds are dropped.
pub(super) fn drop_chunks<V: View>(
    state: &mut Overlay<V>,
    accepted: Place,
    signed: &SignedManifest,
) -> Result<(), ReadError> {
    for hash in &signed.manifest.chunks {
        state.delete::<Wanted>((*hash, accepted))?;
        if state.has::<ChunkHolders>(&(*hash, signed.id))? {
            state.delete::<ChunkHolders>((*hash, signed.id))?;
            let (from, to) = ((*hash, ManifestId::MIN), (*hash, ManifestId::MAX));
            if state.scan::<ChunkHolders>(&from, &to).next().transpose()?.is_none() {
                state.delete::<ChunkBodies>(*hash)?;
            }
        }
    }
    Ok(())
}
