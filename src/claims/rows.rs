//! Which checks an exit is put to, and what each of them finds.

use bitcoin::hex::DisplayHex;

use super::check::{Check, ConfirmedSpend, Depth, Finding};
use super::codes::Reason;
use super::{Claims, Policy, Unconfirmed};
use crate::ledger::exits::maturity;
use crate::ledger::keys::ExitId;
use crate::ledger::reasons::ExitReason;
use crate::ledger::records::{BondSpend, ExitRecord, ExitState, TtxoRecord};
use crate::ledger::tables::{Active, Snapshots, Supply, Tokens, Ttxos};
use crate::ledger::view::{ReadError, View};
use crate::protocol::token::Layer;
use crate::protocol::withdrawal_output::{self, SpendPath};
use crate::protocol::{Amount, Height};

/// The only check of an output that no exit names.
pub(super) fn not_announced(mempool: Option<Unconfirmed>) -> Finding {
    let coming = mempool.is_some_and(|mempool| mempool.announced);
    let reason = if coming { Reason::AnnouncementUnconfirmed } else { Reason::NoExit };
    Finding::new(Check::Announced { exit_id: None, block_height: None }, Some(reason))
}

impl<V: View> Claims<'_, V> {
    /// Every check of an exit. `others` are exits that stand on the same output beside it.
    pub(super) fn rows(
        &mut self,
        id: ExitId,
        exit: &ExitRecord,
        others: Vec<ExitId>,
        policy: &Policy,
        mempool: Option<Unconfirmed>,
    ) -> Result<Vec<Finding>, ReadError> {
        let announced = Check::Announced { exit_id: Some(id), block_height: Some(exit.place.height) };
        let mut rows = vec![Finding::new(announced, None)];
        self.rule_rows(id, exit, &mut rows)?;
        match exit.state {
            ExitState::Invalid(_) => {}
            ExitState::Unresolved => unresolved_rows(exit, mempool, &mut rows),
            _ => self.life_rows(exit, mempool, &mut rows)?,
        }
        rows.push(self.depth_row(|depth| Check::AnnouncementDepth { depth }, exit.place.height, policy));
        if let Some(judged) = exit.judged {
            rows.push(self.depth_row(|depth| Check::JudgementDepth { depth }, judged, policy));
        }
        if let (ExitState::Claimed, Some(spend)) = (exit.state, exit.spend) {
            rows.push(self.depth_row(|depth| Check::ClaimDepth { depth }, spend.height, policy));
        }
        let several = (!others.is_empty()).then_some(Reason::SeveralExits);
        rows.push(Finding::new(Check::OtherExits { standing: others }, several));
        if exit.state.is_valid() {
            self.doubt_rows(exit, &mut rows)?;
        }
        rows.push(Finding::unknown(Check::OwnerSignature { verifiable: false }));
        Ok(rows)
    }

    /// The rules of judgement, in their order, up to the first that the ledger found broken.
    fn rule_rows(&mut self, id: ExitId, exit: &ExitRecord, rows: &mut Vec<Finding>) -> Result<(), ReadError> {
        let broken = match exit.state {
            ExitState::Invalid(reason) => Some(reason),
            _ => None,
        };
        let distinct = Check::DistinctOutputs { vout: exit.bitcoin_vout };
        if broken == Some(ExitReason::DuplicateVout) {
            rows.push(Finding::new(distinct, Some(Reason::DuplicateVout)));
            return Ok(());
        }
        rows.extend([Finding::new(distinct, None), self.declaration_row(exit)?]);
        if exit.state == ExitState::Unresolved {
            return Ok(());
        }
        let ttxo = self.view.expect::<Ttxos>(&(exit.entity, exit.ttxo))?;
        for rule in ExitReason::ALL.iter().filter(|rule| **rule != ExitReason::DuplicateVout) {
            let fails = broken == Some(*rule);
            let check = self.rule(*rule, fails, (id, exit), &ttxo)?;
            rows.push(Finding::new(check, fails.then(|| (*rule).into())));
            if fails {
                break;
            }
        }
        Ok(())
    }

    fn rule(
        &self,
        rule: ExitReason,
        fails: bool,
        (id, exit): (ExitId, &ExitRecord),
        ttxo: &TtxoRecord,
    ) -> Result<Check, ReadError> {
        Ok(match rule {
            ExitReason::DuplicateVout => Check::DistinctOutputs { vout: exit.bitcoin_vout },
            ExitReason::MixedOwners if fails => Check::OneOwner { owners: self.differing_owners(exit)? },
            ExitReason::MixedOwners => Check::OneOwner { owners: vec![ttxo.owner] },
            ExitReason::AlreadyExited if fails => Check::FirstExit { earlier: self.earlier_exit(id, exit)? },
            ExitReason::AlreadyExited => Check::FirstExit { earlier: None },
            ExitReason::SpentOnSpark if fails => {
                Check::UnspentOnSpark { dropped_by: self.dropped_before(exit, ttxo)? }
            }
            ExitReason::SpentOnSpark => Check::UnspentOnSpark { dropped_by: None },
            ExitReason::VoutOutOfRange => Check::OutputExists { vout: exit.bitcoin_vout },
            // Only passes: where it fails, the exit that took the output decides, not this one.
            ExitReason::OutputTaken => Check::OutputFree { vout: exit.bitcoin_vout },
            ExitReason::InsufficientBond => {
                let found_sats = exit.bond.map_or(0, |bond| bond.value);
                Check::Bond { required_sats: ttxo.bond, found_sats }
            }
            ExitReason::ScriptMismatch => Check::Script {
                required: withdrawal_output::output_key(&ttxo.revocation, ttxo.locktime, &ttxo.owner)
                    .map(taproot_script),
                found: exit.bond.and_then(|bond| bond.taproot_key).map(taproot_script),
            },
        })
    }

    fn declaration_row(&mut self, exit: &ExitRecord) -> Result<Finding, ReadError> {
        let declared_by = match self.ttxo(exit)? {
            Some(ttxo) => self.declared_by(exit, &ttxo)?,
            None => None,
        };
        let waits = exit.state == ExitState::Unresolved;
        let (undeclared, pending_snapshots) = match waits {
            true => (self.undeclared(exit)?, self.pending_snapshots(exit.entity)?),
            false => (Vec::new(), Vec::new()),
        };
        let check = Check::Declaration { ttxo: exit.ttxo, declared_by, undeclared, pending_snapshots };
        Ok(Finding::new(check, waits.then_some(Reason::Unresolved)))
    }

    /// What became of a valid exit.
    fn life_rows(
        &self,
        exit: &ExitRecord,
        mempool: Option<Unconfirmed>,
        rows: &mut Vec<Finding>,
    ) -> Result<(), ReadError> {
        let reinstated = exit.reinstated.map(|_| Reason::Reinstated);
        rows.push(Finding::new(Check::Reinstatement { snapshot_sequence: exit.reinstated }, reinstated));
        rows.push(revocation_row(exit));
        if exit.state == ExitState::Revoked {
            return Ok(());
        }
        rows.push(mempool_row(exit, mempool));
        let ttxo = self.view.expect::<Ttxos>(&(exit.entity, exit.ttxo))?;
        let matures_height = maturity(exit, &ttxo);
        let blocks_left = matures_height.saturating_sub(self.tip.height.0.into());
        let locked = (exit.state == ExitState::Pending).then_some(Reason::NotMatured);
        rows.push(Finding::new(
            Check::Locktime { blocks: ttxo.locktime, matures_height, blocks_left },
            locked,
        ));
        rows.push(claim_row(exit));
        Ok(())
    }

    fn depth_row(&self, check: fn(Depth) -> Check, block_height: Height, policy: &Policy) -> Finding {
        let (confirmations, wanted) = (self.confirmations(block_height), policy.confirmations);
        let shallow = (confirmations < wanted).then_some(Reason::TooFewConfirmations);
        Finding::new(check(Depth { block_height, confirmations, wanted }), shallow)
    }

    /// What the rules don't weigh, and an issuer should.
    fn doubt_rows(&mut self, exit: &ExitRecord, rows: &mut Vec<Finding>) -> Result<(), ReadError> {
        let ttxo = self.view.expect::<Ttxos>(&(exit.entity, exit.ttxo))?;
        rows.push(self.later_declaration_row(exit, &ttxo)?);
        rows.push(self.earlier_spend_row(exit, &ttxo)?);
        if let Some(by) = self.declared_by(exit, &ttxo)? {
            let (of_sequence, of_entity) = self.equivocations(exit.entity, by.snapshot_sequence)?;
            let found = (of_sequence > 0).then_some(Reason::Equivocation);
            let snapshot_sequence = by.snapshot_sequence;
            rows.push(Finding::new(Check::Equivocation { snapshot_sequence, of_sequence, of_entity }, found));
        }
        self.token_rows(exit, &ttxo, rows)
    }

    fn later_declaration_row(&self, exit: &ExitRecord, ttxo: &TtxoRecord) -> Result<Finding, ReadError> {
        let active = match self.view.get::<Active>(&exit.entity)? {
            Some(active) => Some(self.view.expect::<Snapshots>(&active.manifest)?),
            None => None,
        };
        let (declared, anchor_height) = (ttxo.is_declared(), active.map(|active| active.anchor_height));
        let aware = anchor_height.is_some_and(|anchor| anchor >= exit.place.height);
        let snapshot_sequence = active.map(|active| active.sequence);
        let check = Check::LaterDeclaration { declared, snapshot_sequence, anchor_height };
        Ok(Finding::new(check, (declared && aware).then_some(Reason::DeclaredAfterExit)))
    }

    /// An entity whose anchor is the block of the announcement, or above it, dropped the TTXO because it left.
    fn earlier_spend_row(&self, exit: &ExitRecord, ttxo: &TtxoRecord) -> Result<Finding, ReadError> {
        let dropped_by = self.dropped_after(exit, ttxo)?;
        let announced_time = self.block_time(exit.place.height)?;
        let before = dropped_by.is_some_and(|by| {
            by.anchor_height < exit.place.height && by.spark_time_ms / 1000 < u64::from(announced_time)
        });
        let check = Check::EarlierSpend { dropped_by, announced_time };
        Ok(Finding::new(check, before.then_some(Reason::DroppedBeforeExit)))
    }

    fn token_rows(
        &self,
        exit: &ExitRecord,
        ttxo: &TtxoRecord,
        rows: &mut Vec<Finding>,
    ) -> Result<(), ReadError> {
        let token = self.view.expect::<Tokens>(&ttxo.token)?;
        let declared = self.view.get::<Supply>(&(ttxo.token, exit.entity))?.unwrap_or(Amount::ZERO);
        let max_supply = token.metadata.as_ref().map(|metadata| metadata.max_supply);
        let check = Check::Supply { declared, max_supply };
        rows.push(match max_supply {
            None => Finding::unknown(check),
            Some(max) => {
                let over = max != Amount::ZERO && declared > max;
                Finding::new(check, over.then_some(Reason::OverMaxSupply))
            }
        });
        let creation_entity = match token.layer {
            Some(Layer::Spark(key)) => Some(key),
            Some(Layer::L1) | None => None,
        };
        let keys = self.entities.get(exit.entity).map_or(&[][..], |entity| entity.keys.as_slice());
        let check = Check::TokenEntity { creation_entity };
        rows.push(match creation_entity {
            None => Finding::unknown(check),
            Some(key) => {
                let foreign = !keys.iter().any(|known| known.key == key);
                Finding::new(check, foreign.then_some(Reason::ForeignEntity))
            }
        });
        Ok(())
    }
}

/// What can be said of an exit before it is resolved: what it lacks for good, and what became of its output.
fn unresolved_rows(exit: &ExitRecord, mempool: Option<Unconfirmed>, rows: &mut Vec<Finding>) {
    let missing = exit.bond.is_none().then_some(Reason::VoutOutOfRange);
    rows.push(Finding::new(Check::OutputExists { vout: exit.bitcoin_vout }, missing));
    rows.extend([revocation_row(exit), mempool_row(exit, mempool)]);
    if exit.spend.is_some_and(|spend| spend.path == SpendPath::Script) {
        rows.push(claim_row(exit));
    }
}

/// A spend by the key path ends an exit, resolved or not: whoever resolves it later finds it revoked.
fn revocation_row(exit: &ExitRecord) -> Finding {
    let spent_by = spend_by(exit, SpendPath::Key);
    Finding::new(Check::Revocation { spent_by }, spent_by.map(|_| Reason::Revoked))
}

fn claim_row(exit: &ExitRecord) -> Finding {
    let spent_by = spend_by(exit, SpendPath::Script);
    let unclaimed = spent_by.is_none().then_some(Reason::NotClaimed);
    Finding::new(Check::Claim { spent_by }, unclaimed)
}

/// A spend in the mempool that is not the one that has confirmed holds the verdict: by the key path it is a
/// revocation; and beside a confirmed claim, it shows that the node is on another branch than this state.
fn mempool_row(exit: &ExitRecord, mempool: Option<Unconfirmed>) -> Finding {
    let Some(mempool) = mempool else { return Finding::unknown(Check::Mempool { spent_by: None }) };
    let confirmed = exit.spend.map(|spend| spend.txid.into());
    let spent_by = mempool.spend.filter(|spend| Some(spend.txid) != confirmed);
    let reason = spent_by.map(|spend| match spend.path {
        SpendPath::Key => Reason::RevocationUnconfirmed,
        SpendPath::Script => Reason::ClaimUnconfirmed,
    });
    Finding::new(Check::Mempool { spent_by }, reason)
}

fn spend_by(exit: &ExitRecord, path: SpendPath) -> Option<ConfirmedSpend> {
    let spend = exit.spend.filter(|spend: &BondSpend| spend.path == path)?;
    Some(ConfirmedSpend { txid: spend.txid.into(), vin: spend.input, block_height: spend.height })
}

/// `OP_1 <output key>` in hex.
fn taproot_script(key: [u8; 32]) -> String {
    format!("5120{}", key.as_hex())
}
