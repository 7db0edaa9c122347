//! What happened to the TTXOs of an owner: one row for each snapshot and token that declared or dropped
//! some, and one for each step of an exit.
//!
//! The rows follow from the records of TTXOs and exits, which say when each of their changes was. So the
//! rows of a block are those of the records that it changed, at its height; and all rows together can be
//! found again from all records.

use std::cmp::Reverse;

use minicbor::{Decode, Encode};
use rayon::prelude::*;

use super::exits::maturity;
use super::keys::{EntityIndex, ExitId};
use super::records::{ExitRecord, ExitState, TtxoRecord};
use super::tables::{Activities, Table};
use crate::protocol::{Amount, Height, OwnerKey, TokenId};

/// Something that happened to TTXOs of an owner. Within a block in the order of the variants and fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Activity {
    /// A snapshot was activated that declared or dropped some.
    #[n(0)]
    Snapshot {
        /// The entity.
        #[n(0)]
        entity: EntityIndex,
        /// Sequence of the snapshot.
        #[n(1)]
        sequence: u64,
        /// The token.
        #[n(2)]
        token: TokenId,
        /// What it declared.
        #[n(3)]
        declared: Flow,
        /// What it dropped.
        #[n(4)]
        dropped: Flow,
    },
    /// An exit of one went a step further.
    #[n(1)]
    Exit {
        /// The exit.
        #[n(0)]
        exit: ExitId,
        /// The token.
        #[n(1)]
        token: TokenId,
        /// What happened.
        #[n(2)]
        step: ExitStep,
    },
}

/// TTXOs that went the same way: how many, and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Flow {
    /// How many.
    #[n(0)]
    pub count: u64,
    /// Their sum; an activation fails where it does not fit.
    #[n(1)]
    pub amount: Amount,
}

impl Flow {
    fn add(self, more: Flow) -> Flow {
        Flow { count: self.count + more.count, amount: Amount(self.amount.0.saturating_add(more.amount.0)) }
    }
}

/// A step in the life of an exit, in the order in which they can come in one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum ExitStep {
    /// It was judged; its state by the end of that block.
    #[n(0)]
    Judged(#[n(0)] ExitState),
    /// The owner may claim from now on.
    #[n(1)]
    Matured,
    /// Its bond was spent; the state that this gave it.
    #[n(2)]
    Spent(#[n(0)] ExitState),
    /// The snapshot of this sequence reinstated its TTXO.
    #[n(3)]
    Reinstated(#[n(0)] u64),
}

/// What a snapshot did to the TTXOs of one owner and token.
type SnapshotKey = (OwnerKey, Reverse<Height>, EntityIndex, u64, TokenId);

/// Collects activities from records.
#[derive(Debug, Default)]
pub struct Collector {
    /// Declared, and dropped; one for each TTXO until they are added up.
    snapshots: Vec<(SnapshotKey, (Flow, Flow))>,
    exits: Vec<(OwnerKey, Reverse<Height>, Activity)>,
}

impl Collector {
    /// Adds the changes of a TTXO's declaration from a height on.
    pub fn ttxo(&mut self, entity: EntityIndex, ttxo: &TtxoRecord, from: Height) {
        let changes = ttxo.history.iter().enumerate().rev();
        for (i, change) in changes.take_while(|(_, change)| change.place.height >= from) {
            let key = (ttxo.owner, Reverse(change.place.height), entity, change.sequence, ttxo.token);
            let flow = Flow { count: 1, amount: ttxo.amount };
            let flows = if i % 2 == 0 { (flow, Flow::default()) } else { (Flow::default(), flow) };
            self.snapshots.push((key, flows));
        }
    }

    /// Adds the steps of an exit from a height on. `reinstated` is when it was reinstated, if that is of
    /// interest.
    pub fn exit(
        &mut self,
        id: ExitId,
        exit: &ExitRecord,
        ttxo: &TtxoRecord,
        reinstated: Option<Height>,
        from: Height,
    ) {
        let steps = steps(exit, ttxo, reinstated);
        for (height, step) in steps.into_iter().flatten().filter(|(height, _)| *height >= from) {
            let activity = Activity::Exit { exit: id, token: ttxo.token, step };
            self.exits.push((ttxo.owner, Reverse(height), activity));
        }
    }

    /// The rows, in the order of their keys.
    pub fn rows(mut self) -> impl Iterator<Item = (<Activities as Table>::Key, Activity)> {
        self.snapshots.par_sort_unstable_by_key(|(key, _)| *key);
        let mut all = self.exits;
        for of_one in self.snapshots.chunk_by(|(one, _), (other, _)| one == other) {
            let (owner, height, entity, sequence, token) = of_one[0].0;
            let add =
                |sums: (Flow, Flow), (_, more): &(_, (Flow, Flow))| (sums.0.add(more.0), sums.1.add(more.1));
            let (declared, dropped) = of_one.iter().fold(Default::default(), add);
            all.push((owner, height, Activity::Snapshot { entity, sequence, token, declared, dropped }));
        }
        all.par_sort_unstable();
        let mut last = None;
        all.into_iter().map(move |(owner, height, activity)| {
            let number = match last {
                Some((of, at, number)) if (of, at) == (owner, height) => number + 1,
                _ => 0,
            };
            last = Some((owner, height, number));
            ((owner, height, number), activity)
        })
    }
}

/// The steps of an exit so far. None while it has no owner.
fn steps(
    exit: &ExitRecord,
    ttxo: &TtxoRecord,
    reinstated: Option<Height>,
) -> [Option<(Height, ExitStep)>; 4] {
    let Some(judged) = exit.judged.filter(|_| exit.state.knows_ttxo()) else { return [None; 4] };
    if !exit.state.is_valid() {
        return [Some((judged, ExitStep::Judged(exit.state))), None, None, None];
    }
    let matures = maturity(exit, ttxo);
    let first = match exit.spend.filter(|spend| spend.height <= judged) {
        Some(spend) => spend.state(),
        None if u64::from(judged.0) >= matures => ExitState::Matured,
        None => ExitState::Pending,
    };
    // If it was ever pending at the end of a block, and is not any more, it may have matured in between.
    let matured = u32::try_from(matures).ok().map(Height).filter(|matures| {
        let unspent = exit.spend.is_none_or(|spend| spend.height > *matures);
        *matures > judged && exit.state != ExitState::Pending && unspent
    });
    // What was spent before it was judged is no news after that.
    let spend = exit.spend.filter(|spend| spend.height >= judged);
    [
        Some((judged, ExitStep::Judged(first))),
        matured.map(|height| (height, ExitStep::Matured)),
        spend.map(|spend| (spend.height, ExitStep::Spent(spend.state()))),
        reinstated.zip(exit.reinstated.map(ExitStep::Reinstated)),
    ]
}
