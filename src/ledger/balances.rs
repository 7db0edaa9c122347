//! Balances: which sum a TTXO counts in, and how the sums follow its changes.

use std::fmt;

use minicbor::{Decode, Encode};
use rayon::prelude::*;

use super::keys::EntityIndex;
use super::records::{Balance, ExitState, TtxoRecord, Unit};
use super::tables::{Balances, Change, Holders, Table};
use super::view::{InOrder, Overlay, ReadError, View};
use crate::protocol::{Amount, OwnerKey, TokenId};

/// A sum of amounts that may exceed 128 bits. Reported as 2^128 - 1 where it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct WideAmount {
    /// Multiples of 2^128.
    #[n(0)]
    high: u64,
    /// The rest.
    #[n(1)]
    low: Amount,
}

impl WideAmount {
    /// What is reported: the sum, or 2^128 - 1 above that.
    pub fn capped(self) -> Amount {
        if self.high > 0 { Amount(u128::MAX) } else { self.low }
    }

    /// The sum; `None` above 2^192 - 1.
    pub(super) fn add(self, amount: Amount) -> Option<WideAmount> {
        let (low, carry) = self.low.0.overflowing_add(amount.0);
        Some(WideAmount { high: self.high.checked_add(u64::from(carry))?, low: Amount(low) })
    }

    /// The difference; `None` below zero.
    pub(super) fn sub(self, amount: Amount) -> Option<WideAmount> {
        let (low, borrow) = self.low.0.overflowing_sub(amount.0);
        Some(WideAmount { high: self.high.checked_sub(u64::from(borrow))?, low: Amount(low) })
    }
}

impl fmt::Display for WideAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.capped().fmt(f)
    }
}

/// The sum that a TTXO counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Live: declared, no valid exit stands.
    Available,
    /// Its standing exit is pending or matured.
    Exiting,
    /// Its standing exit is claimed.
    Claimed,
    /// None: a tombstone, or its standing exit is revoked.
    Nothing,
}

impl Share {
    /// The share of a TTXO with this declaration and this standing exit.
    pub fn of(declared: bool, standing: Option<ExitState>) -> Share {
        match standing {
            None if declared => Share::Available,
            None => Share::Nothing,
            Some(ExitState::Pending | ExitState::Matured) => Share::Exiting,
            Some(ExitState::Claimed) => Share::Claimed,
            Some(_) => Share::Nothing,
        }
    }
}

/// Moves the amount of a TTXO from one sum of its owner to another.
pub fn move_share<V: View>(
    state: &mut Overlay<V>,
    entity: EntityIndex,
    ttxo: &TtxoRecord,
    from: Share,
    to: Share,
) -> Result<(), ReadError> {
    if from == to {
        return Ok(());
    }
    let key = (ttxo.owner, ttxo.token, entity);
    let old = state.get::<Balances>(&key)?;
    let new = old.unwrap_or_default().without(from, ttxo.amount).and_then(|b| b.with(to, ttxo.amount));
    let new = new.ok_or_else(|| does_not_add_up((ttxo.owner, ttxo.token)))?;
    write_balance(state, key, old, new);
    Ok(())
}

/// What a snapshot adds to and takes from the available sums of one entity. It is summed up, so that each
/// balance is read and written once.
#[derive(Debug, Default)]
pub struct Moves(Vec<Move>);

#[derive(Clone, Copy, Debug)]
struct Move {
    of: (OwnerKey, TokenId),
    taken: Amount,
    given: Amount,
}

impl Moves {
    /// Takes an amount from a sum.
    pub fn take(&mut self, of: (OwnerKey, TokenId), amount: Amount) {
        self.0.push(Move { of, taken: amount, given: Amount::ZERO });
    }

    /// Adds an amount to a sum.
    pub fn give(&mut self, of: (OwnerKey, TokenId), amount: Amount) {
        self.0.push(Move { of, taken: Amount::ZERO, given: amount });
    }

    /// Writes the new balances.
    pub fn apply<V: View>(self, state: &mut Overlay<V>, entity: EntityIndex) -> Result<(), ReadError> {
        let sums = self.sums()?;
        let key = |(owner, token): (OwnerKey, TokenId)| (owner, token, entity);
        let mut old = Vec::with_capacity(sums.len());
        if let (Some(first), Some(last)) = (sums.first(), sums.last()) {
            let mut balances =
                InOrder::<Balances, _>::new(&*state, &key(first.of), &key(last.of), sums.len());
            for sum in &sums {
                old.push(balances.get(&key(sum.of))?);
            }
        }
        let (mut balances, mut holders) = (Vec::with_capacity(sums.len()), Vec::new());
        for (Move { of, taken, given }, old) in sums.into_iter().zip(old) {
            let rest = old.unwrap_or_default().without(Share::Available, taken);
            let new = rest.and_then(|rest| rest.with(Share::Available, given));
            let (balance, holder) = rows(key(of), old, new.ok_or_else(|| does_not_add_up(of))?);
            balances.push(balance);
            holders.extend(holder);
        }
        holders.par_sort_unstable_by_key(|(key, _)| *key);
        // Maps that are built at once take less time and memory than those that grow row by row.
        state.replace_all::<Balances>(balances.into_iter().collect());
        state.replace_all::<Holders>(holders.into_iter().collect());
        Ok(())
    }

    /// One for each owner and token, in their order.
    fn sums(mut self) -> Result<Vec<Move>, ReadError> {
        self.0.par_sort_unstable_by_key(|step| step.of);
        let add = |sum: Move, step: &Move| {
            let (taken, given) = (sum.taken.checked_add(step.taken), sum.given.checked_add(step.given));
            let (Some(taken), Some(given)) = (taken, given) else { return Err(does_not_add_up(sum.of)) };
            Ok(Move { of: sum.of, taken, given })
        };
        let of_one = |steps: &[Move]| steps[1..].iter().try_fold(steps[0], add);
        self.0.chunk_by(|one, other| one.of == other.of).map(of_one).collect()
    }
}

fn does_not_add_up((owner, token): (OwnerKey, TokenId)) -> ReadError {
    let reason = format!("the balance of {owner} in {token} does not hold what moves out of it");
    ReadError { table: Balances::NAME, reason }
}

/// How a row of a table changes.
type RowChange<T> = (<T as Table>::Key, Change<<T as Table>::Value>);

/// How a balance changes, and with it the owners of its token.
fn rows(
    key: <Balances as Table>::Key,
    old: Option<Balance>,
    new: Balance,
) -> (RowChange<Balances>, Option<RowChange<Holders>>) {
    let (owner, token, entity) = key;
    let new = Some(new).filter(|new| *new != Balance::default());
    let holder = Change { before: old.map(|_| Box::new(Unit)), after: new.map(|_| Unit) };
    let holder = (old.is_some() != new.is_some()).then_some(((token, owner, entity), holder));
    ((key, Change { before: old.map(Box::new), after: new }), holder)
}

/// Writes a balance and keeps the owners of its token in step.
fn write_balance<V: View>(
    state: &mut Overlay<V>,
    key: <Balances as Table>::Key,
    old: Option<Balance>,
    new: Balance,
) {
    let (balance, holder) = rows(key, old, new);
    state.replace_all::<Balances>([balance].into());
    state.replace_all::<Holders>(holder.into_iter().collect());
}

impl Balance {
    /// What the owner holds and has not claimed, capped at 2^128 - 1.
    pub fn holding(&self) -> Amount {
        self.exiting.add(self.available).map_or(Amount(u128::MAX), WideAmount::capped)
    }

    /// With an amount added to one of its sums; `None` if that overflows.
    pub(crate) fn with(mut self, share: Share, amount: Amount) -> Option<Balance> {
        match share {
            Share::Available => self.available = self.available.checked_add(amount)?,
            Share::Exiting => self.exiting = self.exiting.add(amount)?,
            Share::Claimed => self.claimed = self.claimed.add(amount)?,
            Share::Nothing => {}
        }
        Some(self)
    }

    fn without(mut self, share: Share, amount: Amount) -> Option<Balance> {
        match share {
            Share::Available => self.available = self.available.checked_sub(amount)?,
            Share::Exiting => self.exiting = self.exiting.sub(amount)?,
            Share::Claimed => self.claimed = self.claimed.sub(amount)?,
            Share::Nothing => {}
        }
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_sums_are_exact_and_capped_when_shown() {
        let max = Amount(u128::MAX);
        let sum = WideAmount::default().add(max).and_then(|s| s.add(Amount(5))).unwrap();
        assert_eq!(sum.to_string(), u128::MAX.to_string());
        let back = sum.sub(max).unwrap();
        assert_eq!(back.to_string(), "5");
        assert_eq!(back.sub(Amount(6)), None);
    }
}
