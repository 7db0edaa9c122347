//! Activation: the new declared set of an entity, its checks, and what follows from it.
//!
//! A snapshot is checked completely before anything changes; one that fails changes nothing but its own
//! state. Then, in this order: TTXOs are dropped and declared, manifests that fell behind are superseded,
//! exits are reinstated, announcements that waited for these TTXOs are judged again.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::balances::Moves;
use super::block::Block;
use super::events::Event;
use super::keys::{EntityIndex, Place};
use super::new_set::{Failure, NewSet};
use super::records::*;
use super::tables::*;
use super::view::{ReadError, View};
use crate::protocol::manifest::SnapshotKind;
use crate::protocol::ttxo::Ttxo;
use crate::protocol::{Amount, Height, ManifestId, NodeHash, SparkOutPoint};

/// A snapshot while it activates.
pub(super) struct Activation {
    /// Its sequence.
    pub sequence: u64,
    /// Height of its anchor.
    pub anchor_height: Height,
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
        let set = match self.check_set(entity, &signed, active) {
            Ok(set) => set,
            Err(Failure::Read(e)) => return Err(e),
            Err(Failure::Rule(reason)) => {
                self.end_pending(entity, accepted, pending.id, SnapshotState::Failed(reason))?;
                self.event(Event::SnapshotFailed { entity: id, sequence, id: pending.id, reason });
                return Ok(());
            }
        };
        self.end_pending(entity, accepted, pending.id, SnapshotState::Active)?;
        self.replace_active(entity, active, pending, set.count)?;
        for (token, metadata, layer) in &set.learned {
            self.learn_token(*token, metadata, *layer, None)?;
        }
        let line = self.events.len();
        let (count, root) = (set.count, signed.manifest.root);
        self.event(Event::Snapshot { entity: id, sequence, id: pending.id, count, root, resurrected: 0 });
        let fresh = self.change_set(entity, Declaration { place, sequence }, set)?;
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

    /// Writes the new set; returns the TTXOs that were declared for the first time, in order.
    fn change_set(
        &mut self,
        entity: EntityIndex,
        declaration: Declaration,
        set: NewSet,
    ) -> Result<Vec<SparkOutPoint>, ReadError> {
        let exited: BTreeSet<SparkOutPoint> = self
            .standing_exits(entity)
            .map(|row| row.map(|((_, ttxo), _)| ttxo))
            .collect::<Result<_, _>>()?;
        let mut moves = Moves::default();
        for (outpoint, record, leaf) in set.dropped {
            if !exited.contains(&outpoint) {
                moves.take((record.owner, record.token), record.amount);
            }
            self.state.replace::<Declared>((entity, outpoint), Some(leaf), None);
            self.redeclared(entity, outpoint, record, declaration);
        }
        for (outpoint, record, leaf) in set.again {
            if !exited.contains(&outpoint) {
                moves.give((record.owner, record.token), record.amount);
            }
            self.state.replace::<Declared>((entity, outpoint), None, Some(leaf));
            self.redeclared(entity, outpoint, record, declaration);
        }
        // Nobody can have exited with what was never declared.
        for ttxo in &set.fresh {
            moves.give((ttxo.owner, ttxo.token), ttxo.amount);
        }
        moves.apply(&mut self.state, entity)?;
        for (token, total) in set.supply {
            self.name_token(token)?;
            match total {
                Amount::ZERO => self.state.delete::<Supply>((token, entity))?,
                total => self.state.put::<Supply>((token, entity), total)?,
            }
        }
        Ok(self.declare_fresh(entity, declaration, set.fresh, set.fresh_leaves))
    }

    /// Stores a change of the declaration of a known TTXO.
    fn redeclared(
        &mut self,
        entity: EntityIndex,
        outpoint: SparkOutPoint,
        record: TtxoRecord,
        declaration: Declaration,
    ) {
        let mut after = record.clone();
        after.history.push(declaration);
        self.state.replace::<Ttxos>((entity, outpoint), Some(record), Some(after));
    }

    /// Stores TTXOs that were never declared before; returns their outpoints.
    fn declare_fresh(
        &mut self,
        entity: EntityIndex,
        declaration: Declaration,
        ttxos: Vec<Ttxo>,
        leaves: Vec<NodeHash>,
    ) -> Vec<SparkOutPoint> {
        let outpoints: Vec<SparkOutPoint> = ttxos.iter().map(|ttxo| ttxo.outpoint).collect();
        let mut owned: Vec<_> = ttxos.iter().map(|ttxo| (ttxo.owner, entity, ttxo.outpoint)).collect();
        let record = |ttxo: Ttxo| {
            let record = TtxoRecord { history: vec![declaration], ..TtxoRecord::from(&ttxo) };
            ((entity, ttxo.outpoint), record)
        };
        let declared = outpoints.iter().map(|outpoint| (entity, *outpoint)).zip(leaves);
        let (records, (owned, declared)) = rayon::join(
            || new_rows::<Ttxos>(ttxos.into_iter().map(record)),
            || {
                owned.par_sort_unstable();
                let owned = owned.into_iter().map(|key| (key, Unit));
                (new_rows::<OwnerTtxos>(owned), new_rows::<Declared>(declared))
            },
        );
        self.state.replace_all::<Ttxos>(records);
        self.state.replace_all::<OwnerTtxos>(owned);
        self.state.replace_all::<Declared>(declared);
        outpoints
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
