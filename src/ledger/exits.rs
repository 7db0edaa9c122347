//! Exits: announcements, their judgement, spends of bonds, maturities, reinstatement.
//!
//! An exit that was judged valid **stands** (table `standing`) until a snapshot reinstates its TTXO.
//! The outputs of unresolved and valid exits are watched until they are spent.

use std::collections::BTreeSet;

use super::activation::Activation;
use super::balances::{Share, move_share};
use super::block::Block;
use super::events::Event;
use super::keys::{EntityIndex, ExitId, KeyPart, L1OutPoint, Place};
use super::reasons::ExitReason;
use super::records::*;
use super::tables::*;
use super::view::{ReadError, RowIter, View};
use crate::protocol::withdrawal::WithdrawalAnnouncement;
use crate::protocol::withdrawal_output;
use crate::protocol::{Height, SparkOutPoint};
use crate::scan::messages::{BondOutput, Spend, TxMessages};

/// Rows that are read in vain before a jump, which costs about as much as they do.
const ROWS_BEFORE_JUMP: u32 = 16;

/// An exit with its id, while its announcement is judged.
type Exit = (ExitId, ExitRecord);

impl<V: View> Block<'_, V> {
    pub(super) fn withdrawal_announced(
        &mut self,
        tx: &TxMessages,
        vout: u32,
        announcement: &WithdrawalAnnouncement,
        bonds: &[Option<BondOutput>],
    ) -> Result<(), ReadError> {
        let Some(entity) = self.rules.entities.by_key(&announcement.entity, self.height) else {
            return self.count(Counter::ForeignWithdrawal);
        };
        let place = Place::output(self.height, tx.index, vout);
        let records =
            u8::try_from(announcement.records.len()).expect("the decoder allows at most 255 records");
        let owner_signature = announcement.owner_signature;
        let withdrawal = WithdrawalRecord { txid: tx.txid, entity, owner_signature, records };
        self.state.put::<Withdrawals>(place, withdrawal)?;
        let mut exits = Vec::with_capacity(announcement.records.len());
        for ((index, record), bond) in (0..=u8::MAX).zip(&announcement.records).zip(bonds) {
            let bond = bond.map(|b| BondRecord { value: b.value, taproot_key: b.taproot_key });
            let exit = ExitRecord {
                entity,
                place,
                ttxo: record.ttxo,
                bitcoin_vout: record.bitcoin_vout,
                bond,
                state: ExitState::Unresolved,
                judged: None,
                spend: None,
                reinstated: None,
            };
            exits.push((exit_id(&withdrawal, place, index), exit));
        }
        self.index_exits(&exits)?;
        let mut vouts = BTreeSet::new();
        if !exits.iter().all(|(_, exit)| vouts.insert(exit.bitcoin_vout)) {
            return self.all_invalid(exits, ExitReason::DuplicateVout);
        }
        if !self.judge(&mut exits, None)? {
            for (id, exit) in exits {
                self.leave_unresolved(id, exit)?;
            }
        }
        Ok(())
    }

    fn index_exits(&mut self, exits: &[Exit]) -> Result<(), ReadError> {
        for (id, exit) in exits {
            let output = output_of(*id, exit);
            self.state.put::<ExitsByOutput>((output, id.output, id.record), Unit)?;
            let order = (exit.place, id.record);
            self.state.put::<ExitsByTtxo>((exit.entity, exit.ttxo, order), Unit)?;
        }
        Ok(())
    }

    fn leave_unresolved(&mut self, id: ExitId, exit: ExitRecord) -> Result<(), ReadError> {
        if exit.bond.is_some() {
            self.state.put::<Watched>((output_of(id, &exit), id.output, id.record), Unit)?;
        }
        if !self.state.has::<Ttxos>(&(exit.entity, exit.ttxo))? {
            self.state.put::<Unresolved>((exit.entity, exit.ttxo, exit.place), Unit)?;
        }
        self.write_exit(id, exit)
    }

    /// Stores an exit and writes its line.
    fn write_exit(&mut self, id: ExitId, exit: ExitRecord) -> Result<(), ReadError> {
        let (bitcoin_vout, ttxo, state) = (exit.bitcoin_vout, exit.ttxo, exit.state);
        self.state.put::<Exits>(id, exit)?;
        self.event(Event::Exit { exit: id, bitcoin_vout, ttxo, state });
        Ok(())
    }

    fn all_invalid(&mut self, exits: Vec<Exit>, reason: ExitReason) -> Result<(), ReadError> {
        for (id, exit) in exits {
            self.write_judged(id, exit, ExitState::Invalid(reason))?;
        }
        Ok(())
    }

    /// Judges an announcement as a whole. `false` where some TTXO of it was never declared; nothing has
    /// changed then. `activation` is the one that causes a late judgement.
    fn judge(&mut self, exits: &mut Vec<Exit>, activation: Option<&Activation>) -> Result<bool, ReadError> {
        let mut ttxos = Vec::with_capacity(exits.len());
        for (_, exit) in exits.iter() {
            match self.state.get::<Ttxos>(&(exit.entity, exit.ttxo))? {
                Some(ttxo) => ttxos.push(ttxo),
                None => return Ok(false),
            }
        }
        let exits = std::mem::take(exits);
        if ttxos.windows(2).any(|pair| pair[0].owner != pair[1].owner) {
            self.all_invalid(exits, ExitReason::MixedOwners)?;
            return Ok(true);
        }
        for ((id, exit), ttxo) in exits.into_iter().zip(ttxos) {
            match self.fault(id, &exit, &ttxo)? {
                Some(reason) => self.write_judged(id, exit, ExitState::Invalid(reason))?,
                None => self.make_valid(id, exit, &ttxo, activation)?,
            }
        }
        Ok(true)
    }

    /// The first rule that an exit breaks, if it does.
    fn fault(
        &mut self,
        id: ExitId,
        exit: &ExitRecord,
        ttxo: &TtxoRecord,
    ) -> Result<Option<ExitReason>, ReadError> {
        if self.state.has::<Standing>(&(exit.entity, exit.ttxo))? {
            return Ok(Some(ExitReason::AlreadyExited));
        }
        if ttxo.was_dropped_before(exit.place) {
            return Ok(Some(ExitReason::SpentOnSpark));
        }
        let Some(bond) = exit.bond else { return Ok(Some(ExitReason::VoutOutOfRange)) };
        if self.output_taken(id, exit)? {
            return Ok(Some(ExitReason::OutputTaken));
        }
        if bond.value < ttxo.bond {
            return Ok(Some(ExitReason::InsufficientBond));
        }
        let expected = withdrawal_output::output_key(&ttxo.revocation, ttxo.locktime, &ttxo.owner);
        Ok((expected.is_none() || bond.taproot_key != expected).then_some(ExitReason::ScriptMismatch))
    }

    /// Whether another exit of this entity that was judged valid names the same L1 output. Thousands may
    /// name one output, so its exits are read once in a block.
    fn output_taken(&mut self, id: ExitId, exit: &ExitRecord) -> Result<bool, ReadError> {
        let output = output_of(id, exit);
        if let Some(taken) = self.taken.get(&(exit.entity, output)) {
            return Ok(*taken);
        }
        let mut taken = false;
        for row in self.state.scan::<ExitsByOutput>(&(output, 0, 0), &(output, u32::MAX, u8::MAX)) {
            let ((_, output, record), _) = row?;
            // The exits of an announcement are all indexed before the first of them is written.
            let other = self.state.get::<Exits>(&ExitId { txid: id.txid, output, record })?;
            taken = other.is_some_and(|other| other.entity == exit.entity && other.state.is_valid());
            if taken {
                break;
            }
        }
        self.taken.insert((exit.entity, output), taken);
        Ok(taken)
    }

    fn write_judged(&mut self, id: ExitId, mut exit: ExitRecord, state: ExitState) -> Result<(), ReadError> {
        exit.state = state;
        exit.judged = Some(self.height);
        let watched = (output_of(id, &exit), id.output, id.record);
        if state.is_valid() && exit.spend.is_none() {
            self.state.put::<Watched>(watched, Unit)?;
        } else {
            self.state.delete::<Watched>(watched)?;
        }
        self.write_exit(id, exit)
    }

    fn make_valid(
        &mut self,
        id: ExitId,
        exit: ExitRecord,
        ttxo: &TtxoRecord,
        activation: Option<&Activation>,
    ) -> Result<(), ReadError> {
        let matures = maturity(&exit, ttxo);
        let state = match exit.spend {
            Some(spend) => spend.state(),
            None if u64::from(self.height.0) >= matures => ExitState::Matured,
            None => ExitState::Pending,
        };
        if let (ExitState::Pending, Ok(height)) = (state, u32::try_from(matures)) {
            self.state.put::<Maturing>((Height(height), id), Unit)?;
        }
        self.state.put::<Standing>((exit.entity, exit.ttxo), id)?;
        self.taken.insert((exit.entity, output_of(id, &exit)), true);
        let declared = ttxo.is_declared();
        let (before, after) = (Share::of(declared, None), Share::of(declared, Some(state)));
        move_share(&mut self.state, exit.entity, ttxo, before, after)?;
        self.write_judged(id, exit, state)?;
        match activation {
            Some(activation) => self.reinstate_if_due(exit.entity, exit.ttxo, id, activation),
            None => Ok(()),
        }
    }

    /// A bond was spent. Of a valid exit this is an event; of an unresolved one it is remembered.
    pub(super) fn bond_spent(&mut self, txid: bitcoin::Txid, spend: &Spend) -> Result<(), ReadError> {
        let output = L1OutPoint::from(spend.outpoint);
        let watched: Vec<_> = self
            .state
            .scan::<Watched>(&(output, 0, 0), &(output, u32::MAX, u8::MAX))
            .collect::<Result<_, _>>()?;
        for (key, Unit) in watched {
            self.state.delete::<Watched>(key)?;
            let id = ExitId { txid: output.txid, output: key.1, record: key.2 };
            let mut exit = self.state.expect::<Exits>(&id)?;
            let spend = BondSpend { txid, input: spend.input, height: self.height, path: spend.path };
            exit.spend = Some(spend);
            if exit.state.is_valid() {
                self.spend_valid(id, &mut exit, spend)?;
            }
            self.state.put::<Exits>(id, exit)?;
        }
        Ok(())
    }

    fn spend_valid(&mut self, id: ExitId, exit: &mut ExitRecord, spend: BondSpend) -> Result<(), ReadError> {
        let ttxo = self.state.expect::<Ttxos>(&(exit.entity, exit.ttxo))?;
        let before = exit.state;
        exit.state = spend.state();
        if let (ExitState::Pending, Ok(height)) = (before, u32::try_from(maturity(exit, &ttxo))) {
            self.state.delete::<Maturing>((Height(height), id))?;
        }
        let declared = ttxo.is_declared();
        let (from, to) = (Share::of(declared, Some(before)), Share::of(declared, Some(exit.state)));
        move_share(&mut self.state, exit.entity, &ttxo, from, to)?;
        self.event(Event::ExitSpent { exit: id, spend });
        Ok(())
    }

    /// The maturities of this block, in the order of the exits' ids.
    pub(super) fn mature_exits(&mut self) -> Result<(), ReadError> {
        let (from, to) = ((self.height, ExitId::LOWEST), (self.height, ExitId::HIGHEST));
        let due: Vec<_> = self.state.scan::<Maturing>(&from, &to).collect::<Result<_, _>>()?;
        for (key, Unit) in due {
            let (_, id) = key;
            self.state.delete::<Maturing>(key)?;
            let exit = self.state.expect::<Exits>(&id)?;
            self.state.put::<Exits>(id, ExitRecord { state: ExitState::Matured, ..exit })?;
            self.event(Event::ExitMatured { exit: id });
        }
        Ok(())
    }

    /// The exits that stand, by their TTXOs.
    pub(super) fn standing_exits(&self, entity: EntityIndex) -> RowIter<'_, Standing> {
        self.state.scan::<Standing>(&(entity, SparkOutPoint::MIN), &(entity, SparkOutPoint::MAX))
    }

    /// Reinstates, by TTXO, every revoked exit whose TTXO a snapshot declares with knowledge of it.
    pub(super) fn reinstate_exits(
        &mut self,
        entity: EntityIndex,
        activation: &Activation,
    ) -> Result<(), ReadError> {
        let standing: Vec<_> = self.standing_exits(entity).collect::<Result<_, _>>()?;
        for ((_, ttxo), id) in standing {
            self.reinstate_if_due(entity, ttxo, id, activation)?;
        }
        Ok(())
    }

    fn reinstate_if_due(
        &mut self,
        entity: EntityIndex,
        outpoint: SparkOutPoint,
        id: ExitId,
        activation: &Activation,
    ) -> Result<(), ReadError> {
        let exit = self.state.expect::<Exits>(&id)?;
        let revoked = exit.state == ExitState::Revoked
            && exit.spend.is_some_and(|spend| spend.height <= activation.anchor_height);
        if !revoked || !self.state.has::<Declared>(&(entity, outpoint))? {
            return Ok(());
        }
        let ttxo = self.state.expect::<Ttxos>(&(entity, outpoint))?;
        self.state.delete::<Standing>((entity, outpoint))?;
        self.state.put::<Exits>(id, ExitRecord { reinstated: Some(activation.sequence), ..exit })?;
        let (from, to) = (Share::of(true, Some(exit.state)), Share::of(true, None));
        move_share(&mut self.state, entity, &ttxo, from, to)?;
        self.event(Event::ExitReinstated { exit: id, ttxo: outpoint });
        Ok(())
    }

    /// Judges again, in chain order, the announcements that name a TTXO declared just now for the first
    /// time. Those TTXOs come in order.
    pub(super) fn resolve_exits(
        &mut self,
        entity: EntityIndex,
        fresh: &[SparkOutPoint],
        activation: &Activation,
    ) -> Result<(), ReadError> {
        let named = self.unresolved_naming(entity, fresh)?;
        let places: BTreeSet<Place> = named.iter().map(|(_, _, place)| *place).collect();
        for key in named {
            self.state.delete::<Unresolved>(key)?;
        }
        for place in places {
            let withdrawal = self.state.expect::<Withdrawals>(&place)?;
            let mut exits = Vec::with_capacity(usize::from(withdrawal.records));
            for record in 0..withdrawal.records {
                let id = exit_id(&withdrawal, place, record);
                exits.push((id, self.state.expect::<Exits>(&id)?));
            }
            self.judge(&mut exits, Some(activation))?;
        }
        Ok(())
    }
}

impl<V: View> Block<'_, V> {
    /// The rows of `unresolved` for these TTXOs. Strangers can make that table long, so it is not read
    /// from end to end: after a few rows that are not wanted comes a jump to the next one that may be.
    fn unresolved_naming(
        &self,
        entity: EntityIndex,
        ttxos: &[SparkOutPoint],
    ) -> Result<Vec<<Unresolved as Table>::Key>, ReadError> {
        let to = (entity, SparkOutPoint::MAX, Place::HIGHEST);
        let mut named = Vec::new();
        let mut next = ttxos.first();
        while let Some(start) = next.take() {
            let mut in_vain = 0;
            for row in self.state.scan::<Unresolved>(&(entity, *start, Place::LOWEST), &to) {
                let (key, Unit) = row?;
                if ttxos.binary_search(&key.1).is_ok() {
                    named.push(key);
                    continue;
                }
                in_vain += 1;
                if in_vain == ROWS_BEFORE_JUMP {
                    next = ttxos.get(ttxos.partition_point(|ttxo| *ttxo < key.1));
                    break;
                }
            }
        }
        Ok(named)
    }
}

/// The L1 output that an exit names.
fn output_of(id: ExitId, exit: &ExitRecord) -> L1OutPoint {
    L1OutPoint { txid: id.txid, vout: u32::from(exit.bitcoin_vout) }
}

/// The height from which the owner may claim: that of the announcement plus the locktime.
pub fn maturity(exit: &ExitRecord, ttxo: &TtxoRecord) -> u64 {
    u64::from(exit.place.height.0).saturating_add(ttxo.locktime)
}
