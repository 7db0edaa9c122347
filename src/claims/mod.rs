//! Redemption verdicts: may an issuer honour an exit that somebody presents as a claim?
//!
//! [`Claims::assess`] answers honour, wait or refuse for an L1 output, from a consistent view of the state
//! and nothing else: no clock but the time of the block that it rests on, no network, no database types.
//! The same state and the same [`Policy`] give the same verdict on every machine, at every height.
//!
//! A verdict is a fold over its checks, and each check shows its inputs, so that anyone can follow it:
//!
//! - one that fails refuses: the rules say that this exit is none, and no later block changes that;
//! - else one that waits holds it: something is still missing;
//! - else a warning that the issuer has not accepted holds it: the rules don't weigh it, a person should;
//! - else it is honoured.
//!
//! **Honour needs a claim.** A pending or matured exit can be revoked at any height; only the owner's
//! claim, which spends the bond by the script path, ends that, and a claimed exit is never reinstated.
//! So honour is said of a claimed exit alone, and only where the announcement, the judgement and the claim
//! all have the wanted confirmations: if any of these blocks leaves the chain, the claim may be gone.
//!
//! Several exits may name one output. The one that stands decides; its verdict is that of the output.
//!
//! `schema/verdicts.md` says what each code means, and what a verdict cannot know.

pub mod check;
pub mod codes;
mod evidence;
mod rows;
mod sentence;

use std::collections::{BTreeMap, BTreeSet};

pub use check::{Check, Finding, UnconfirmedSpend};
pub use codes::{Outcome, Party, Reason, Verdict};

use crate::ledger::entities::Entities;
use crate::ledger::keys::{EntityIndex, ExitId, L1OutPoint, Place};
use crate::ledger::records::{ExitRecord, ExitState, TipRecord};
use crate::ledger::tables::{Exits, ExitsByOutput};
use crate::ledger::view::{ReadError, View};
use crate::protocol::{Height, SparkOutPoint};

/// Confirmations that are wanted where the issuer does not say: what Bitcoin software has long called deep.
pub const DEFAULT_CONFIRMATIONS: u32 = 6;

/// The most that can be wanted.
pub const MAX_CONFIRMATIONS: u32 = 1000;

/// Exits beside the deciding one that a verdict lists.
pub const OTHERS_SHOWN: usize = 100;

/// What the issuer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Confirmations that each block which the verdict rests on must have; 1 is the last block.
    pub confirmations: u32,
    /// Warnings that the issuer has weighed and accepts.
    pub accept: BTreeSet<Reason>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { confirmations: DEFAULT_CONFIRMATIONS, accept: BTreeSet::new() }
    }
}

/// What the mempool of a node says about an output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unconfirmed {
    /// Whether a withdrawal announcement of a followed entity in it names the output.
    pub announced: bool,
    /// A spend of the output in it.
    pub spend: Option<UnconfirmedSpend>,
}

/// The verdict about an L1 output, with everything that it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// The output.
    pub output: L1OutPoint,
    /// Honour, wait or refuse.
    pub verdict: Verdict,
    /// The code of the check that decided.
    pub reason: Reason,
    /// The verdict in one sentence.
    pub sentence: String,
    /// Whether it stays as it is unless a block with the wanted confirmations leaves the chain.
    pub settled: bool,
    /// What it waits for; empty unless it does.
    pub waits: Vec<Waiting>,
    /// Every check that was made.
    pub checks: Vec<Finding>,
    /// The exit that decided; `None` if no exit names the output.
    pub exit: Option<(ExitId, ExitRecord)>,
    /// The first [`OTHERS_SHOWN`] other exits that name the output.
    pub others: Vec<(ExitId, ExitRecord)>,
    /// How many there are.
    pub others_count: usize,
}

/// Something that a verdict waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Waiting {
    /// The code of the check that waits.
    pub reason: Reason,
    /// Who or what can end it.
    pub ends_by: Party,
    /// The first height at which it can have ended; `null` where the chain does not say.
    pub height: Option<u64>,
    /// Blocks from the one that the verdict rests on to that height.
    pub blocks_left: Option<u64>,
}

/// Judges claims against one view of the state. Keeps what it has read for the next output.
#[derive(Debug)]
pub struct Claims<'a, V> {
    view: V,
    entities: &'a Entities,
    tip: TipRecord,
    undeclared: BTreeMap<Place, Vec<SparkOutPoint>>,
    equivocations: BTreeMap<EntityIndex, Vec<u64>>,
}

impl<'a, V: View> Claims<'a, V> {
    /// Over a view whose last block is `tip`.
    pub fn new(view: V, entities: &'a Entities, tip: TipRecord) -> Self {
        Claims { view, entities, tip, undeclared: BTreeMap::new(), equivocations: BTreeMap::new() }
    }

    /// The verdict about an output. `mempool` is what a node has seen of it that is in no block; `None`
    /// where nobody looks, or where the view is not that of the node's own tip.
    pub fn assess(
        &mut self,
        output: L1OutPoint,
        policy: &Policy,
        mempool: Option<Unconfirmed>,
    ) -> Result<Assessment, ReadError> {
        let named = self.named(output)?;
        let (checks, since) = match &named.deciding {
            Some((id, exit)) => {
                let standing = named.other_standing(*id);
                (self.rows(*id, exit, standing, policy, mempool)?, self.decided(exit)?)
            }
            None => (vec![rows::not_announced(mempool)], None),
        };
        let (verdict, decisive) = fold(&checks, policy);
        let reason = decisive.and_then(|row| row.reason).unwrap_or(Reason::Claimed);
        let decided = decisive.map_or("", |row| row.sentence.as_str());
        let deep = since.is_some_and(|height| self.confirmations(height) >= policy.confirmations);
        Ok(Assessment {
            output,
            verdict,
            reason,
            sentence: sentence::of_verdict(verdict, decided),
            settled: deep && verdict != Verdict::Wait,
            waits: if verdict == Verdict::Wait { self.waits(&checks, policy) } else { Vec::new() },
            exit: named.deciding,
            others_count: named.count - usize::from(named.deciding.is_some()),
            others: named.others(),
            checks,
        })
    }

    /// The exits that name an output. Thousands may.
    fn named(&self, output: L1OutPoint) -> Result<Named, ReadError> {
        let mut named = Named::default();
        for row in self.view.scan::<ExitsByOutput>(&(output, 0, 0), &(output, u32::MAX, u8::MAX)) {
            let ((_, announcing, record), _) = row?;
            let id = ExitId { txid: output.txid, output: announcing, record };
            named.add(id, self.view.expect::<Exits>(&id)?);
        }
        Ok(named)
    }

    fn confirmations(&self, height: Height) -> u32 {
        (self.tip.height.0 + 1).saturating_sub(height.0)
    }

    fn waits(&self, checks: &[Finding], policy: &Policy) -> Vec<Waiting> {
        let holding = checks.iter().filter(|row| holds(row, policy));
        let waiting = holding.filter_map(|row| {
            let (reason, height) = (row.reason?, first_height(&row.check));
            let blocks_left = height.map(|height| height.saturating_sub(self.tip.height.0.into()));
            Some(Waiting { reason, ends_by: reason.ends_by()?, height, blocks_left })
        });
        waiting.collect()
    }
}

/// The verdict that checks lead to, and the one that decided.
fn fold<'r>(checks: &'r [Finding], policy: &Policy) -> (Verdict, Option<&'r Finding>) {
    let first = |outcome| checks.iter().find(|row| row.outcome == outcome);
    if let Some(row) = first(Outcome::Fail) {
        return (Verdict::Refuse, Some(row));
    }
    let warning = || checks.iter().find(|row| holds(row, policy));
    match first(Outcome::Wait).or_else(warning) {
        Some(row) => (Verdict::Wait, Some(row)),
        None => (Verdict::Honour, checks.iter().find(|row| matches!(row.check, Check::Claim { .. }))),
    }
}

/// Whether a check keeps a verdict from being honour.
fn holds(row: &Finding, policy: &Policy) -> bool {
    match row.outcome {
        Outcome::Wait => true,
        Outcome::Warn => row.reason.is_some_and(|reason| !policy.accept.contains(&reason)),
        Outcome::Pass | Outcome::Fail | Outcome::Unknown => false,
    }
}

/// The first height at which a check that waits can have another outcome, if the chain says.
fn first_height(check: &Check) -> Option<u64> {
    match check {
        Check::Locktime { matures_height, .. } => Some(*matures_height),
        Check::AnnouncementDepth { depth }
        | Check::JudgementDepth { depth }
        | Check::ClaimDepth { depth } => Some(u64::from(depth.block_height.0) + u64::from(depth.wanted) - 1),
        _ => None,
    }
}

/// The exits that name an output: the one that decides, and some others.
#[derive(Debug, Default)]
struct Named {
    deciding: Option<(ExitId, ExitRecord)>,
    first: Vec<(ExitId, ExitRecord)>,
    standing: Vec<ExitId>,
    count: usize,
}

impl Named {
    fn add(&mut self, id: ExitId, exit: ExitRecord) {
        self.count += 1;
        if self.first.len() <= OTHERS_SHOWN {
            self.first.push((id, exit));
        }
        if stands(&exit) {
            self.standing.push(id);
        }
        if self.deciding.as_ref().is_none_or(|(_, best)| weight(&exit) < weight(best)) {
            self.deciding = Some((id, exit));
        }
    }

    fn other_standing(&self, deciding: ExitId) -> Vec<ExitId> {
        self.standing.iter().filter(|id| **id != deciding).copied().collect()
    }

    fn others(self) -> Vec<(ExitId, ExitRecord)> {
        let deciding = self.deciding.map(|(id, _)| id);
        let others = self.first.into_iter().filter(|(id, _)| Some(*id) != deciding);
        others.take(OTHERS_SHOWN).collect()
    }
}

fn stands(exit: &ExitRecord) -> bool {
    exit.state.is_valid() && exit.reinstated.is_none()
}

/// Which of the exits of an output decides: the lightest, and of those the first announced.
fn weight(exit: &ExitRecord) -> u8 {
    match exit.state {
        ExitState::Invalid(_) => 3,
        ExitState::Unresolved => 1,
        _ if exit.reinstated.is_some() => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
