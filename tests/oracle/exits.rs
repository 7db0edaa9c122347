//! The rules a second time: sections 7 and 8, exits and balances.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::key::Secp256k1;
use bitcoin::opcodes::all::{OP_CHECKSIG, OP_CSV, OP_DROP};
use bitcoin::script::Builder;
use bitcoin::secp256k1::XOnlyPublicKey;
use bitcoin::taproot::TaprootBuilder;
use bitcoin::{OutPoint, Txid};
use btkn_indexer::protocol::ttxo::Ttxo;
use btkn_indexer::protocol::withdrawal::WithdrawalAnnouncement;
use btkn_indexer::protocol::withdrawal_output::SpendPath;
use btkn_indexer::protocol::{PubKey, SparkOutPoint, TokenId};
use btkn_indexer::scan::messages::BondOutput;

use super::rules::{Announcement, At, Oracle, Record, Spent, Verdict};

/// Available, exiting, claimed; each at most 2^128 - 1.
pub type Sums = [u128; 3];

impl Oracle {
    pub(super) fn withdrawal(
        &mut self,
        at: At,
        txid: Txid,
        announcement: &WithdrawalAnnouncement,
        bonds: &[Option<BondOutput>],
    ) {
        let Some(entity) = self.config.entity_of(announcement.entity, at.height) else {
            return self.count("foreign_withdrawal");
        };
        let records = announcement.records.iter().zip(bonds).map(|(record, bond)| Record {
            vout: record.bitcoin_vout,
            ttxo: record.ttxo,
            bond: *bond,
            verdict: Verdict::Unresolved,
        });
        self.announcements.push(Announcement { entity, at, txid, records: records.collect() });
        self.judge(self.announcements.len() - 1, None);
    }

    /// Judges an announcement: when it is seen, or in the course of an activation.
    pub(super) fn judge(&mut self, index: usize, activating: Option<usize>) {
        let Announcement { entity, records, .. } = self.announcements[index].clone();
        let judged = self.height();
        let vouts: BTreeSet<u16> = records.iter().map(|record| record.vout).collect();
        if vouts.len() < records.len() {
            return self.invalidate(index, "duplicate_vout");
        }
        let ttxos: Option<Vec<Ttxo>> =
            records.iter().map(|record| self.ever_declared(entity, record.ttxo)).collect();
        let Some(ttxos) = ttxos else {
            for record in 0..records.len() {
                if activating.is_none() {
                    self.exit_line(index, record);
                }
            }
            return;
        };
        if ttxos.iter().any(|ttxo| ttxo.owner != ttxos[0].owner) {
            return self.invalidate(index, "mixed_owners");
        }
        for (record, ttxo) in ttxos.iter().enumerate() {
            self.announcements[index].records[record].verdict = match self.invalid(index, record, ttxo) {
                Some(reason) => Verdict::Invalid { reason, judged },
                None => Verdict::Valid { judged, reinstated: None },
            };
            self.exit_line(index, record);
            if let Some(snapshot) = activating
                && self.is_reinstated_by(snapshot, index, record)
            {
                self.mark_reinstated(snapshot, index, record);
            }
        }
    }

    fn invalidate(&mut self, index: usize, reason: &'static str) {
        let judged = self.height();
        for record in 0..self.announcements[index].records.len() {
            self.announcements[index].records[record].verdict = Verdict::Invalid { reason, judged };
            self.exit_line(index, record);
        }
    }

    fn invalid(&self, index: usize, record: usize, ttxo: &Ttxo) -> Option<&'static str> {
        let Announcement { entity, at, txid, records } = &self.announcements[index];
        let Record { vout, bond, .. } = records[record];
        if self.standing(*entity, ttxo.outpoint).is_some() {
            return Some("already_exited");
        }
        let changes = self.changes(*entity, ttxo.outpoint);
        let last = changes.iter().rfind(|(activation, _)| activation.at < *at);
        if last.is_some_and(|(_, declared)| !declared) {
            return Some("spent_on_spark");
        }
        let Some(bond) = bond else { return Some("vout_out_of_range") };
        let same_output = |(a, r): &(usize, usize)| {
            let other = &self.announcements[*a];
            other.entity == *entity && other.txid == *txid && other.records[*r].vout == vout
        };
        if self.valid_exits().iter().any(same_output) {
            return Some("output_taken");
        }
        if bond.value < ttxo.bond {
            return Some("insufficient_bond");
        }
        (bond.taproot_key != Some(withdrawal_key(ttxo))).then_some("script_mismatch")
    }

    /// All exits that were judged valid, reinstated ones included.
    fn valid_exits(&self) -> Vec<(usize, usize)> {
        let mut valid = Vec::new();
        for (a, announcement) in self.announcements.iter().enumerate() {
            for (r, record) in announcement.records.iter().enumerate() {
                if matches!(record.verdict, Verdict::Valid { .. }) {
                    valid.push((a, r));
                }
            }
        }
        valid
    }

    /// The valid exit of a TTXO that stands.
    pub fn standing(&self, entity: usize, ttxo: SparkOutPoint) -> Option<(usize, usize)> {
        let stands = |(a, r): &(usize, usize)| {
            let record = &self.announcements[*a].records[*r];
            self.announcements[*a].entity == entity
                && record.ttxo == ttxo
                && matches!(record.verdict, Verdict::Valid { reinstated: None, .. })
        };
        let standing: Vec<_> = self.valid_exits().into_iter().filter(stands).collect();
        assert!(standing.len() <= 1, "one exit of a TTXO stands at most");
        standing.first().copied()
    }

    /// The spend of the output that an exit names.
    pub fn spend_of(&self, a: usize, r: usize) -> Option<Spent> {
        let announcement = &self.announcements[a];
        let outpoint = OutPoint { txid: announcement.txid, vout: announcement.records[r].vout.into() };
        self.spends.iter().find(|spent| spent.outpoint == outpoint).copied()
    }

    /// State or reason of an exit as of a height.
    pub fn exit_state(&self, a: usize, r: usize, height: u32) -> String {
        let announcement = &self.announcements[a];
        let record = &announcement.records[r];
        match record.verdict {
            Verdict::Unresolved => "unresolved".into(),
            Verdict::Invalid { reason, .. } => format!("invalid:{reason}"),
            Verdict::Valid { .. } => match self.spend_of(a, r) {
                Some(Spent { path: SpendPath::Key, .. }) => "revoked".into(),
                Some(Spent { path: SpendPath::Script, .. }) => "claimed".into(),
                None if u64::from(height) < self.maturity(a, r) => "pending".into(),
                None => "matured".into(),
            },
        }
    }

    pub fn maturity(&self, a: usize, r: usize) -> u64 {
        let Announcement { entity, at, records, .. } = &self.announcements[a];
        let ttxo = self.ever_declared(*entity, records[r].ttxo).expect("a valid exit has a TTXO");
        u64::from(at.height) + ttxo.locktime
    }

    pub fn exit_name(&self, a: usize, r: usize) -> String {
        format!("{}:{}:{r}", self.announcements[a].txid, self.announcements[a].at.index)
    }

    fn exit_line(&mut self, a: usize, r: usize) {
        let Record { vout, ttxo, .. } = self.announcements[a].records[r];
        let (name, state) = (self.exit_name(a, r), self.exit_state(a, r, self.height()));
        self.line(format!("exit {name} {vout} {}:{} {state}", ttxo.tx_hash, ttxo.vout));
    }

    /// Whether the activation of a snapshot undoes an exit.
    fn is_reinstated_by(&self, snapshot: usize, a: usize, r: usize) -> bool {
        let Announcement { entity, records, .. } = &self.announcements[a];
        let accepted = &self.accepted[snapshot];
        accepted.entity == *entity
            && matches!(records[r].verdict, Verdict::Valid { reinstated: None, .. })
            && self.declared(*entity).contains_key(&records[r].ttxo)
            && self.spend_of(a, r).is_some_and(|spent| {
                spent.path == SpendPath::Key && u64::from(spent.height) <= accepted.manifest.anchor_height
            })
    }

    fn mark_reinstated(&mut self, snapshot: usize, a: usize, r: usize) {
        let sequence = self.accepted[snapshot].manifest.sequence;
        let record = &mut self.announcements[a].records[r];
        let Verdict::Valid { reinstated, .. } = &mut record.verdict else { unreachable!("it is valid") };
        *reinstated = Some(sequence);
        let ttxo = record.ttxo;
        self.line(format!("exit_reinstated {} {}:{}", self.exit_name(a, r), ttxo.tx_hash, ttxo.vout));
    }

    pub(super) fn reinstate(&mut self, snapshot: usize) {
        let mut exits = self.valid_exits();
        exits.retain(|(a, r)| self.is_reinstated_by(snapshot, *a, *r));
        exits.sort_by_key(|(a, r)| self.announcements[*a].records[*r].ttxo);
        for (a, r) in exits {
            self.mark_reinstated(snapshot, a, r);
        }
    }

    pub(super) fn spent(&mut self, spent: Spent) {
        self.spends.push(spent);
        let named = |(a, r): &(usize, usize)| {
            let announcement = &self.announcements[*a];
            announcement.txid == spent.outpoint.txid
                && u32::from(announcement.records[*r].vout) == spent.outpoint.vout
        };
        let mut exits = self.valid_exits();
        exits.retain(named);
        exits.sort_by_key(|(a, r)| (self.announcements[*a].at.index, *r));
        for (a, r) in exits {
            let state = self.exit_state(a, r, spent.height);
            self.line(format!("exit_spent {} {}:{} {state}", self.exit_name(a, r), spent.txid, spent.input));
        }
    }

    pub(super) fn maturities(&mut self) {
        let height = self.height();
        let mut exits = self.valid_exits();
        exits.retain(|(a, r)| {
            let Verdict::Valid { judged, .. } = self.announcements[*a].records[*r].verdict else {
                return false;
            };
            judged < height && self.maturity(*a, *r) == u64::from(height) && self.spend_of(*a, *r).is_none()
        });
        exits.sort_by_key(|(a, r)| {
            (self.announcements[*a].txid.to_string(), self.announcements[*a].at.index, *r)
        });
        for (a, r) in exits {
            self.line(format!("exit_matured {}", self.exit_name(a, r)));
        }
    }

    /// Every TTXO that an activated snapshot of an entity ever declared.
    pub fn ever(&self, entity: usize) -> BTreeMap<SparkOutPoint, Ttxo> {
        let activations = self.activations.iter().filter(|a| a.entity == entity);
        activations.flat_map(|a| a.set.clone()).collect()
    }

    /// Balances that are not zero, after the last block.
    pub fn balances(&self) -> BTreeMap<(PubKey, PubKey, TokenId), Sums> {
        let mut balances: BTreeMap<_, Sums> = BTreeMap::new();
        let tip = self.tip();
        for entity in 0..self.config.entities.len() {
            let declared = self.declared(entity);
            for (name, ttxo) in self.ever(entity) {
                let state = self.standing(entity, name).map(|(a, r)| self.exit_state(a, r, tip));
                let sum = match state.as_deref() {
                    None if declared.contains_key(&name) => 0,
                    Some("pending" | "matured") => 1,
                    Some("claimed") => 2,
                    _ => continue,
                };
                let sums = balances.entry((self.config.id(entity), ttxo.owner, ttxo.token)).or_default();
                // All but sums of exits stay below the limit; those are cut off at it.
                sums[sum] = sums[sum].saturating_add(ttxo.amount.0);
            }
        }
        balances
    }

    /// Declared totals that are not zero.
    pub fn supply(&self) -> BTreeMap<(PubKey, TokenId), u128> {
        let mut supply = BTreeMap::new();
        for entity in 0..self.config.entities.len() {
            for ttxo in self.declared(entity).values() {
                *supply.entry((self.config.id(entity), ttxo.token)).or_insert(0) += ttxo.amount.0;
            }
        }
        supply
    }
}

/// The output key of a TTXO's withdrawal script.
fn withdrawal_key(ttxo: &Ttxo) -> [u8; 32] {
    let script = Builder::new()
        .push_int(ttxo.locktime as i64)
        .push_opcode(OP_CSV)
        .push_opcode(OP_DROP)
        .push_slice(ttxo.owner.x_only())
        .push_opcode(OP_CHECKSIG)
        .into_script();
    let internal = XOnlyPublicKey::from_slice(&ttxo.revocation.x_only()).expect("checked when it was read");
    let tree = TaprootBuilder::new().add_leaf(0, script).expect("one leaf");
    let info = tree.finalize(&Secp256k1::verification_only(), internal).expect("a complete tree");
    info.output_key().to_x_only_public_key().serialize()
}
