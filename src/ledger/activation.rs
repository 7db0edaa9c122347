//! Activation: the new declared set of an entity, its checks, and what follows from it.
//!
//! A snapshot is checked completely before anything changes; one that fails changes nothing but its own
//! state. Then, in this order: TTXOs are dropped and declared, manifests that fell behind are superseded,
//! exits are reinstated, announcements that waited for these TTXOs are judged again.

use std::collections::{BTreeMap, BTreeSet};

use super::balances::{Share, move_share};
use super::block::Block;
use super::events::Event;
use super::keys::{EntityIndex, Place};
use super::reasons::FailReason;
use super::records::*;
use super::tables::*;
use super::view::{ReadError, View};
use crate::protocol::chunk::Chunk;
use crate::protocol::manifest::{SignedManifest, SnapshotKind};
use crate::protocol::merkle::RootBuilder;
use crate::protocol::ttxo::Ttxo;
use crate::protocol::{Amount, Height, ManifestId, NodeHash, SparkOutPoint, TokenId};

/// What a snapshot that passed every check does to the declared set.
struct NewSet {
    /// Newly declared TTXOs in the order of their outpoints.
    declared: Vec<Ttxo>,
    /// TTXOs that are no longer declared, in the same order.
    dropped: Vec<SparkOutPoint>,
    /// Declared totals that change.
    supply: BTreeMap<TokenId, Amount>,
    /// Size of the resulting set.
    count: u64,
}

/// A snapshot while it activates.
pub(super) struct Activation {
    /// Its sequence.
    pub sequence: u64,
    /// Height of its anchor.
    pub anchor_height: Height,
}

/// A check that failed, or a state that could not be read.
enum Failure {
    Rule(FailReason),
    Read(ReadError),
}

impl From<ReadError> for Failure {
    fn from(e: ReadError) -> Self {
        Failure::Read(e)
    }
}

impl From<FailReason> for Failure {
    fn from(reason: FailReason) -> Self {
        Failure::Rule(reason)
    }
}

impl<V: View> Block<'_, V> {
    /// Activates or fails ready manifests, lowest sequence first, until none is ready. `place` is that of
    /// the message which made this necessary.
    pub(super) fn activate_ready(&mut self, entity: EntityIndex, place: Place) -> Result<(), ReadError> {
        loop {
            let active = self.state.get::<Active>(&entity)?;
            let ready =
                self.pending(entity)?.into_iter().filter(|(_, pending)| is_ready(pending, active.as_ref()));
            match ready.min_by_key(|(accepted, pending)| (pending.sequence, *accepted)) {
                Some((accepted, pending)) => self.activate(entity, place, accepted, &pending, active)?,
                None => return Ok(()),
            }
        }
    }

    fn activate(
        &mut self,
        entity: EntityIndex,
        place: Place,
        accepted: Place,
        pending: &PendingManifest,
        active: Option<ActiveSnapshot>,
    ) -> Result<(), ReadError> {
        let signed = self.read_manifest(&pending.id)?;
        let id = self.entity_id(entity)?;
        let sequence = pending.sequence;
        let chunks = self.decode_chunks(&signed);
        let checked =
            chunks.and_then(|chunks| Ok((self.check_set(entity, &signed, &chunks, active)?, chunks)));
        let (set, chunks) = match checked {
            Ok(good) => good,
            Err(Failure::Read(e)) => return Err(e),
            Err(Failure::Rule(reason)) => {
                self.end_pending(entity, accepted, pending.id, SnapshotState::Failed(reason))?;
                self.event(Event::SnapshotFailed { entity: id, sequence, id: pending.id, reason });
                return Ok(());
            }
        };
        self.end_pending(entity, accepted, pending.id, SnapshotState::Active)?;
        self.replace_active(entity, active, pending, set.count)?;
        self.learn_tokens(&chunks)?;
        drop(chunks);
        let line = self.events.len();
        let (count, root) = (set.count, signed.manifest.root);
        self.event(Event::Snapshot { entity: id, sequence, id: pending.id, count, root, resurrected: 0 });
        let fresh = self.change_set(entity, place, sequence, set)?;
        self.supersede_stale(entity, sequence)?;
        let anchor_height = self.state.expect::<Snapshots>(&pending.id)?.anchor_height;
        let activation = Activation { sequence, anchor_height };
        self.reinstate_exits(entity, &activation)?;
        self.resolve_exits(entity, &fresh, &activation)?;
        let resurrected = self.count_resurrected(entity, anchor_height)?;
        self.events[line] =
            Event::Snapshot { entity: id, sequence, id: pending.id, count, root, resurrected };
        let record = self.state.expect::<Snapshots>(&pending.id)?;
        self.state.put::<Snapshots>(pending.id, SnapshotRecord { resurrected: Some(resurrected), ..record })
    }

    fn decode_chunks(&self, signed: &SignedManifest) -> Result<Vec<Chunk>, Failure> {
        let mut chunks = Vec::with_capacity(signed.manifest.chunks.len());
        for hash in &signed.manifest.chunks {
            let body = self.state.expect::<ChunkBodies>(hash)?;
            let chunk = Chunk::decode(&body.0, self.rules.network).map_err(|_| FailReason::MalformedChunk)?;
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    /// All checks after decoding, in the order in which a failure is named.
    fn check_set(
        &self,
        entity: EntityIndex,
        signed: &SignedManifest,
        chunks: &[Chunk],
        active: Option<ActiveSnapshot>,
    ) -> Result<NewSet, Failure> {
        let manifest = &signed.manifest;
        let full = manifest.kind == SnapshotKind::Full;
        if full && chunks.iter().any(|chunk| !chunk.spent.is_empty()) {
            return Err(FailReason::SpentInFull.into());
        }
        let mut created: Vec<Ttxo> = chunks.iter().flat_map(|chunk| &chunk.created).cloned().collect();
        created.sort_unstable_by_key(|ttxo| ttxo.outpoint);
        if created.windows(2).any(|pair| pair[0].outpoint == pair[1].outpoint) {
            return Err(FailReason::DuplicateTtxo.into());
        }
        let mut spent: Vec<SparkOutPoint> = chunks.iter().flat_map(|chunk| &chunk.spent).copied().collect();
        spent.sort_unstable();
        if !full {
            self.check_delta(entity, &created, &spent)?;
        }
        self.check_unchanged(entity, &created)?;
        let dropped = if full { self.declared_but_not_in(entity, &created)? } else { spent };
        let supply = self.check_supply(entity, full, &created, &dropped)?;
        let old_count = active.map_or(0, |active| active.count);
        let count = if full { 0 } else { old_count - dropped.len() as u64 } + created.len() as u64;
        if count != manifest.count {
            return Err(FailReason::CountMismatch.into());
        }
        if self.root(entity, full, &created, &dropped)? != manifest.root {
            return Err(FailReason::RootMismatch.into());
        }
        let mut declared = created;
        if full {
            self.retain_undeclared(entity, &mut declared)?;
        }
        Ok(NewSet { declared, dropped, supply, count })
    }

    fn check_delta(
        &self,
        entity: EntityIndex,
        created: &[Ttxo],
        spent: &[SparkOutPoint],
    ) -> Result<(), Failure> {
        for ttxo in created {
            if self.state.has::<Declared>(&(entity, ttxo.outpoint))? {
                return Err(FailReason::DuplicateTtxo.into());
            }
        }
        if spent.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(FailReason::UnknownSpent.into());
        }
        for outpoint in spent {
            if !self.state.has::<Declared>(&(entity, *outpoint))? {
                return Err(FailReason::UnknownSpent.into());
            }
        }
        Ok(())
    }

    /// A TTXO never changes, however often it is declared.
    fn check_unchanged(&self, entity: EntityIndex, created: &[Ttxo]) -> Result<(), Failure> {
        for ttxo in created {
            let known = self.state.get::<Ttxos>(&(entity, ttxo.outpoint))?;
            if known.is_some_and(|known| known.ttxo(ttxo.outpoint) != *ttxo) {
                return Err(FailReason::MutatedTtxo.into());
            }
        }
        Ok(())
    }

    fn declared_set(&self, entity: EntityIndex) -> super::view::RowIter<'_, Declared> {
        self.state.scan::<Declared>(&(entity, SparkOutPoint::MIN), &(entity, SparkOutPoint::MAX))
    }

    fn declared_but_not_in(
        &self,
        entity: EntityIndex,
        created: &[Ttxo],
    ) -> Result<Vec<SparkOutPoint>, ReadError> {
        let mut dropped = Vec::new();
        for row in self.declared_set(entity) {
            let ((_, outpoint), _) = row?;
            if created.binary_search_by_key(&outpoint, |ttxo| ttxo.outpoint).is_err() {
                dropped.push(outpoint);
            }
        }
        Ok(dropped)
    }

    fn retain_undeclared(&self, entity: EntityIndex, created: &mut Vec<Ttxo>) -> Result<(), ReadError> {
        let mut declared = self.declared_set(entity).peekable();
        let mut failed = None;
        created.retain(|ttxo| {
            while let Some(Ok(((_, outpoint), _))) = declared.peek()
                && *outpoint < ttxo.outpoint
            {
                declared.next();
            }
            match declared.peek() {
                Some(Ok(((_, outpoint), _))) => *outpoint != ttxo.outpoint,
                Some(Err(_)) => {
                    failed = declared.next().and_then(Result::err).or(failed.take());
                    true
                }
                None => true,
            }
        });
        failed.map_or(Ok(()), Err)
    }

    /// The declared totals that the new set changes. What is spent is subtracted first, so that only a
    /// total that really exceeds 128 bits fails.
    fn check_supply(
        &self,
        entity: EntityIndex,
        full: bool,
        created: &[Ttxo],
        dropped: &[SparkOutPoint],
    ) -> Result<BTreeMap<TokenId, Amount>, Failure> {
        // A full set starts from nothing, also for tokens that it no longer has.
        let before = |token: TokenId| match full {
            true => Ok(Amount::ZERO),
            false => self.state.get::<Supply>(&(token, entity)).map(Option::unwrap_or_default),
        };
        let mut totals: BTreeMap<TokenId, Amount> = BTreeMap::new();
        for outpoint in dropped {
            let ttxo = self.state.expect::<Ttxos>(&(entity, *outpoint))?;
            let total = match totals.get(&ttxo.token) {
                Some(total) => *total,
                None => before(ttxo.token)?,
            };
            let gone = if full { Amount::ZERO } else { ttxo.amount };
            let rest = total.checked_sub(gone).ok_or_else(|| ReadError {
                table: Supply::NAME,
                reason: format!("the declared total of {} is below the sum of its TTXOs", ttxo.token),
            })?;
            totals.insert(ttxo.token, rest);
        }
        for ttxo in created {
            let total = match totals.get(&ttxo.token) {
                Some(total) => *total,
                None => before(ttxo.token)?,
            };
            totals.insert(ttxo.token, total.checked_add(ttxo.amount).ok_or(FailReason::AmountOverflow)?);
        }
        Ok(totals)
    }

    /// The root of the new set. `created` and `dropped` are sorted.
    fn root(
        &self,
        entity: EntityIndex,
        full: bool,
        created: &[Ttxo],
        dropped: &[SparkOutPoint],
    ) -> Result<NodeHash, ReadError> {
        let mut root = RootBuilder::new();
        let mut created = created.iter().peekable();
        if !full {
            let mut dropped = dropped.iter().peekable();
            for row in self.declared_set(entity) {
                let ((_, outpoint), leaf) = row?;
                if dropped.next_if_eq(&&outpoint).is_some() {
                    continue;
                }
                while let Some(ttxo) = created.next_if(|ttxo| ttxo.outpoint < outpoint) {
                    root.push(ttxo.leaf());
                }
                root.push(leaf);
            }
        }
        created.for_each(|ttxo| root.push(ttxo.leaf()));
        Ok(root.finish())
    }

    fn replace_active(
        &mut self,
        entity: EntityIndex,
        old: Option<ActiveSnapshot>,
        new: &PendingManifest,
        count: u64,
    ) -> Result<(), ReadError> {
        if let Some(old) = old {
            let record = self.state.expect::<Snapshots>(&old.manifest)?;
            let state = SnapshotState::Replaced;
            self.state.put::<Snapshots>(old.manifest, SnapshotRecord { state, ..record })?;
        }
        let active = ActiveSnapshot { manifest: new.id, sequence: new.sequence, count };
        self.state.put::<Active>(entity, active)
    }

    fn learn_tokens(&mut self, chunks: &[Chunk]) -> Result<(), ReadError> {
        for (token, metadata, layer) in chunks.iter().flat_map(Chunk::learned) {
            self.learn_token(token, metadata, layer, None)?;
        }
        Ok(())
    }

    /// Writes the new set; returns the TTXOs that were declared for the first time.
    fn change_set(
        &mut self,
        entity: EntityIndex,
        place: Place,
        sequence: u64,
        set: NewSet,
    ) -> Result<BTreeSet<SparkOutPoint>, ReadError> {
        let declaration = Declaration { place, sequence };
        for outpoint in set.dropped {
            let mut record = self.state.expect::<Ttxos>(&(entity, outpoint))?;
            self.state.delete::<Declared>((entity, outpoint))?;
            record.history.push(declaration);
            self.redeclared(entity, outpoint, record)?;
        }
        let mut fresh = BTreeSet::new();
        for ttxo in set.declared {
            let outpoint = ttxo.outpoint;
            let record = self.state.get::<Ttxos>(&(entity, outpoint))?;
            let mut record = match record {
                Some(record) => record,
                None => {
                    fresh.insert(outpoint);
                    self.state.put::<OwnerTtxos>((ttxo.owner, entity, outpoint), Unit)?;
                    TtxoRecord::from(&ttxo)
                }
            };
            self.state.put::<Declared>((entity, outpoint), ttxo.leaf())?;
            record.history.push(declaration);
            self.redeclared(entity, outpoint, record)?;
        }
        for (token, total) in set.supply {
            self.name_token(token)?;
            match total {
                Amount::ZERO => self.state.delete::<Supply>((token, entity))?,
                total => self.state.put::<Supply>((token, entity), total)?,
            }
        }
        Ok(fresh)
    }

    /// Stores a TTXO whose declaration has just changed, and moves its amount.
    fn redeclared(
        &mut self,
        entity: EntityIndex,
        outpoint: SparkOutPoint,
        record: TtxoRecord,
    ) -> Result<(), ReadError> {
        let standing = self.standing_state(entity, outpoint)?;
        let (before, after) =
            (Share::of(!record.is_declared(), standing), Share::of(record.is_declared(), standing));
        move_share(&mut self.state, entity, &record, before, after)?;
        self.state.put::<Ttxos>((entity, outpoint), record)
    }

    /// Pending manifests at or below the new active sequence, by sequence, then order of acceptance.
    fn supersede_stale(&mut self, entity: EntityIndex, sequence: u64) -> Result<(), ReadError> {
        let mut stale = self.pending(entity)?;
        stale.retain(|(_, pending)| pending.sequence <= sequence);
        stale.sort_by_key(|(accepted, pending)| (pending.sequence, *accepted));
        for (accepted, pending) in stale {
            self.supersede(entity, accepted, &pending)?;
        }
        Ok(())
    }

    /// TTXOs of the set whose standing exit confirmed at or below the anchor height.
    fn count_resurrected(&self, entity: EntityIndex, anchor_height: Height) -> Result<u64, ReadError> {
        let mut count = 0;
        for row in self.standing_exits(entity) {
            let ((_, outpoint), exit) = row?;
            let confirmed = self.state.expect::<Exits>(&exit)?.place.height;
            if confirmed <= anchor_height && self.state.has::<Declared>(&(entity, outpoint))? {
                count += 1;
            }
        }
        Ok(count)
    }
}

/// Complete, and either full and above the active sequence, or a delta on the active snapshot.
fn is_ready(pending: &PendingManifest, active: Option<&ActiveSnapshot>) -> bool {
    pending.missing == 0
        && match pending.kind {
            SnapshotKind::Full => active.is_none_or(|active| pending.sequence > active.sequence),
            SnapshotKind::Delta => parent_is_active(pending.parent, active),
        }
}

fn parent_is_active(parent: Option<ManifestId>, active: Option<&ActiveSnapshot>) -> bool {
    matches!((parent, active), (Some(parent), Some(active)) if parent == active.manifest)
}
