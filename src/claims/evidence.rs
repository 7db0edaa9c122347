//! What a verdict reads beside the exit itself: where its TTXO was declared and dropped, what else the
//! entity signed, which exit came before.

use super::Claims;
use super::check::{DeclaredBy, Dropped, EarlierExit, PendingSnapshot};
use crate::ledger::keys::{EntityIndex, ExitId, KeyPart, L1OutPoint, Place};
use crate::ledger::records::{Declaration, ExitRecord, SnapshotRecord, SnapshotState, TtxoRecord, exit_id};
use crate::ledger::tables::{
    Blocks, Equivocations, ExitOrder, Exits, ExitsByTtxo, Pending, Sequences, Snapshots, Standing, Ttxos,
    Withdrawals,
};
use crate::ledger::view::{ReadError, View};
use crate::protocol::{Height, ManifestId, OwnerKey, SparkOutPoint};

/// Exits of a TTXO that are looked through for the one that came before. Anyone can announce thousands.
const EXITS_SEARCHED: usize = 1000;

impl<V: View> Claims<'_, V> {
    /// Height of the last block that made a refusal or a claim what it is; `None` for what is undecided.
    pub(super) fn decided(&self, exit: &ExitRecord) -> Result<Option<Height>, ReadError> {
        let reinstated = match exit.reinstated {
            Some(sequence) => self.activated(exit.entity, sequence)?.and_then(|(_, record)| record.decided),
            None => None,
        };
        let spent = exit.spend.map(|spend| spend.height);
        let blocks = [exit.judged, spent, reinstated];
        // An output that does not exist, or a revocation, decides before any judgement.
        let announced = exit.bond.is_none().then_some(exit.place.height);
        Ok(blocks.into_iter().flatten().max().or(announced))
    }

    /// The snapshot of an entity that activated under a sequence.
    pub(super) fn activated(
        &self,
        entity: EntityIndex,
        sequence: u64,
    ) -> Result<Option<(ManifestId, SnapshotRecord)>, ReadError> {
        let (from, to) = ((entity, sequence, Place::LOWEST), (entity, sequence, Place::HIGHEST));
        for row in self.view.scan::<Sequences>(&from, &to) {
            let (_, id) = row?;
            let record = self.view.expect::<Snapshots>(&id)?;
            if matches!(record.state, SnapshotState::Active | SnapshotState::Replaced) {
                return Ok(Some((id, record)));
            }
        }
        Ok(None)
    }

    /// The declaration on which an exit rests: the last before its announcement, or else the first.
    pub(super) fn declared_by(
        &self,
        exit: &ExitRecord,
        ttxo: &TtxoRecord,
    ) -> Result<Option<DeclaredBy>, ReadError> {
        let declarations = || ttxo.history.iter().step_by(2);
        let before = declarations().take_while(|change| change.place < exit.place).last();
        let Some(declaration) = before.or_else(|| declarations().next()) else { return Ok(None) };
        let Some((manifest_id, record)) = self.activated(exit.entity, declaration.sequence)? else {
            return Ok(None);
        };
        let block_height = declaration.place.height;
        Ok(Some(DeclaredBy {
            snapshot_sequence: declaration.sequence,
            manifest_id,
            block_height,
            age_blocks: self.tip.height.0.saturating_sub(block_height.0),
            spark_time_ms: record.as_of_ms,
            age_seconds: u64::from(self.tip.time).saturating_sub(record.as_of_ms / 1000),
            after_announcement: before.is_none(),
        }))
    }

    /// The drop that an exit came too late for: the last before its announcement.
    pub(super) fn dropped_before(
        &self,
        exit: &ExitRecord,
        ttxo: &TtxoRecord,
    ) -> Result<Option<Dropped>, ReadError> {
        let drops = ttxo.history.iter().skip(1).step_by(2);
        let last = drops.take_while(|change| change.place < exit.place).last();
        self.dropped(exit.entity, last)
    }

    /// The first drop after the announcement.
    pub(super) fn dropped_after(
        &self,
        exit: &ExitRecord,
        ttxo: &TtxoRecord,
    ) -> Result<Option<Dropped>, ReadError> {
        let mut drops = ttxo.history.iter().skip(1).step_by(2);
        self.dropped(exit.entity, drops.find(|change| change.place > exit.place))
    }

    fn dropped(
        &self,
        entity: EntityIndex,
        change: Option<&Declaration>,
    ) -> Result<Option<Dropped>, ReadError> {
        let Some(change) = change else { return Ok(None) };
        let snapshot = self.activated(entity, change.sequence)?;
        Ok(snapshot.map(|(_, record)| Dropped {
            snapshot_sequence: change.sequence,
            block_height: change.place.height,
            spark_time_ms: record.as_of_ms,
            anchor_height: record.anchor_height,
        }))
    }

    /// TTXOs of an announcement that nobody has declared.
    pub(super) fn undeclared(&mut self, exit: &ExitRecord) -> Result<Vec<SparkOutPoint>, ReadError> {
        if let Some(undeclared) = self.undeclared.get(&exit.place) {
            return Ok(undeclared.clone());
        }
        let mut undeclared = Vec::new();
        for ttxo in self.named_ttxos(exit.place)? {
            if !self.view.has::<Ttxos>(&(exit.entity, ttxo))? {
                undeclared.push(ttxo);
            }
        }
        self.undeclared.insert(exit.place, undeclared.clone());
        Ok(undeclared)
    }

    /// The TTXOs that an announcement names, each once, in its order.
    fn named_ttxos(&self, place: Place) -> Result<Vec<SparkOutPoint>, ReadError> {
        let withdrawal = self.view.expect::<Withdrawals>(&place)?;
        let mut ttxos = Vec::new();
        for record in 0..withdrawal.records {
            let ttxo = self.view.expect::<Exits>(&exit_id(&withdrawal, place, record))?.ttxo;
            if !ttxos.contains(&ttxo) {
                ttxos.push(ttxo);
            }
        }
        Ok(ttxos)
    }

    /// The first two owners that differ among the TTXOs of an announcement.
    pub(super) fn differing_owners(&self, exit: &ExitRecord) -> Result<Vec<OwnerKey>, ReadError> {
        let mut owners = Vec::new();
        for ttxo in self.named_ttxos(exit.place)? {
            let owner = self.view.expect::<Ttxos>(&(exit.entity, ttxo))?.owner;
            if !owners.contains(&owner) {
                owners.push(owner);
            }
            if owners.len() == 2 {
                break;
            }
        }
        Ok(owners)
    }

    /// Snapshots of an entity that have not activated yet.
    pub(super) fn pending_snapshots(&self, entity: EntityIndex) -> Result<Vec<PendingSnapshot>, ReadError> {
        let rows = self.view.scan::<Pending>(&(entity, Place::LOWEST), &(entity, Place::HIGHEST));
        rows.map(|row| {
            let (_, pending) = row?;
            Ok(PendingSnapshot {
                snapshot_sequence: pending.sequence,
                manifest_id: pending.id,
                chunks_missing: pending.missing,
            })
        })
        .collect()
    }

    /// The exit that stood when this one was judged: of the valid exits of its TTXO that were judged before,
    /// the last.
    pub(super) fn earlier_exit(
        &self,
        id: ExitId,
        exit: &ExitRecord,
    ) -> Result<Option<EarlierExit>, ReadError> {
        let order = |id: ExitId, exit: &ExitRecord| (exit.judged, exit.place, id.record);
        let key = |order| (exit.entity, exit.ttxo, order);
        if let Some(standing) = self.view.get::<Standing>(&(exit.entity, exit.ttxo))? {
            let other = self.view.expect::<Exits>(&standing)?;
            if order(standing, &other) < order(id, exit) {
                return Ok(Some(earlier(standing, &other)));
            }
        }
        let mut last: Option<(ExitId, ExitRecord)> = None;
        let rows = self.view.scan::<ExitsByTtxo>(&key(ExitOrder::LOWEST), &key(ExitOrder::HIGHEST));
        for row in rows.take(EXITS_SEARCHED) {
            let ((_, _, (place, record)), _) = row?;
            let withdrawal = self.view.expect::<Withdrawals>(&place)?;
            let other_id = exit_id(&withdrawal, place, record);
            let other = self.view.expect::<Exits>(&other_id)?;
            let before = other.state.is_valid() && order(other_id, &other) < order(id, exit);
            if before && last.as_ref().is_none_or(|(id, exit)| order(*id, exit) < order(other_id, &other)) {
                last = Some((other_id, other));
            }
        }
        Ok(last.map(|(id, exit)| earlier(id, &exit)))
    }

    /// Pieces of evidence against an entity: about a sequence, and in all.
    pub(super) fn equivocations(
        &mut self,
        entity: EntityIndex,
        sequence: u64,
    ) -> Result<(usize, usize), ReadError> {
        if !self.equivocations.contains_key(&entity) {
            let (from, to) = (
                (entity, ManifestId::LOWEST, ManifestId::LOWEST),
                (entity, ManifestId::HIGHEST, ManifestId::HIGHEST),
            );
            let rows = self.view.scan::<Equivocations>(&from, &to);
            let sequences: Result<Vec<u64>, _> = rows.map(|row| Ok(row?.1.sequence)).collect();
            self.equivocations.insert(entity, sequences?);
        }
        let all = self.equivocations.get(&entity).map_or(&[][..], Vec::as_slice);
        Ok((all.iter().filter(|of| **of == sequence).count(), all.len()))
    }

    /// Header time of an applied block, Unix seconds.
    pub(super) fn block_time(&self, height: Height) -> Result<u32, ReadError> {
        Ok(self.view.expect::<Blocks>(&height)?.time)
    }

    /// The TTXO of an exit; `None` while nobody has declared it.
    pub(super) fn ttxo(&self, exit: &ExitRecord) -> Result<Option<TtxoRecord>, ReadError> {
        self.view.get::<Ttxos>(&(exit.entity, exit.ttxo))
    }
}

fn earlier(id: ExitId, exit: &ExitRecord) -> EarlierExit {
    let outpoint = L1OutPoint { txid: id.txid, vout: exit.bitcoin_vout.into() };
    EarlierExit { exit_id: id, outpoint }
}
