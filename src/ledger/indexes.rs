//! Rows for readers alone: other orders of what the rules keep, and sums over it.
//!
//! Once the rules are done with a block, what it changed is gone through once. A row of an index follows
//! from one row of another table, so that its value before and after the block follow from that row before
//! and after: what a block adds is what undoing it removes. The index rows are part of the same change
//! set. `btkn check` derives them again from whole tables, with the same functions.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::activity::Collector;
use super::balances::WideAmount;
use super::block::Block;
use super::keys::{EntityIndex, ExitId, ExitKind, Folded, NameKind};
use super::records::*;
use super::tables::*;
use super::view::{ReadError, View};
use crate::protocol::{Amount, OwnerKey, PubKey, TokenId};

/// What became of a token under an entity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct TokenTotals {
    /// Owners with a balance.
    #[n(0)]
    pub holders: u64,
    /// Sum of the TTXOs whose standing exit is pending or matured.
    #[n(1)]
    pub exiting: WideAmount,
    /// Of those whose standing exit is claimed.
    #[n(2)]
    pub claimed: WideAmount,
    /// Of those whose standing exit is revoked: nobody holds them, unless they are reinstated.
    #[n(3)]
    pub revoked: WideAmount,
}

impl TokenTotals {
    /// The sum that an exit counts in, if it does.
    fn sum_of(&mut self, exit: &ExitRecord) -> Option<&mut WideAmount> {
        match exit.state {
            _ if exit.reinstated.is_some() => None,
            ExitState::Pending | ExitState::Matured => Some(&mut self.exiting),
            ExitState::Claimed => Some(&mut self.claimed),
            ExitState::Revoked => Some(&mut self.revoked),
            ExitState::Unresolved | ExitState::Invalid(_) => None,
        }
    }

    /// Adds the TTXO of an exit; `None` where the sum is too large even for a wide one.
    pub fn add_exit(&mut self, exit: &ExitRecord, amount: Amount) -> Option<()> {
        let Some(sum) = self.sum_of(exit) else { return Some(()) };
        *sum = sum.add(amount)?;
        Some(())
    }

    fn remove_exit(&mut self, exit: &ExitRecord, amount: Amount) -> Option<()> {
        let Some(sum) = self.sum_of(exit) else { return Some(()) };
        *sum = sum.sub(amount)?;
        Some(())
    }
}

/// Where a balance stands among those of its token.
pub fn holder_by_amount(
    (owner, token, entity): <Balances as Table>::Key,
    balance: &Balance,
) -> <HoldersByAmount as Table>::Key {
    (token, Reverse(balance.holding()), owner, entity)
}

/// What a token is found by in `token_names`; nothing where only its identifier is known.
pub fn token_names(token: TokenId, record: &TokenRecord) -> Option<[<TokenNames as Table>::Key; 2]> {
    let metadata = record.metadata.as_ref()?;
    Some([
        (NameKind::Ticker, Folded::new(&metadata.ticker), token),
        (NameKind::Name, Folded::new(&metadata.name), token),
    ])
}

/// What a token is found by in `issuer_tokens`.
pub fn issuer_token(token: TokenId, record: &TokenRecord) -> Option<(PubKey, TokenId)> {
    record.metadata.as_ref().map(|metadata| (metadata.issuer, token))
}

/// Where an exit stands among those of its owner, its token or its entity, whichever `of` is.
pub fn exit_of<P>(of: P, id: ExitId, exit: &ExitRecord) -> (P, ExitKind, ExitOrder) {
    (of, exit.state.kind(), (exit.place, id.record))
}

/// Changes to a table that nothing but this module writes.
struct Index<T: Table>(Vec<(T::Key, Change<T::Value>)>);

impl<T: Table> Index<T> {
    fn new() -> Self {
        Index(Vec::new())
    }

    /// A row of another table changed, and with it the row that follows from it here. Its value must
    /// follow from its key.
    fn moves(&mut self, before: Option<T::Key>, after: Option<T::Key>, value: T::Value) {
        if before == after {
            return;
        }
        if let Some(key) = before {
            self.0.push((key, Change { before: Some(Box::new(value.clone())), after: None }));
        }
        if let Some(key) = after {
            self.0.push((key, Change { before: None, after: Some(value) }));
        }
    }

    fn rows(self) -> Rows<T> {
        self.0.into_iter().collect()
    }
}

/// A count or sum that changes: what it was and what it is. Zero stands for no row.
struct Tally<T: Table>(BTreeMap<T::Key, (T::Value, T::Value)>);

impl<T: Table<Value: Default>> Tally<T> {
    fn new() -> Self {
        Tally(BTreeMap::new())
    }

    /// The value under a key, to be changed.
    fn of(&mut self, state: &impl View, key: T::Key) -> Result<&mut T::Value, ReadError> {
        use std::collections::btree_map::Entry;
        let entry = match self.0.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let before = state.get::<T>(entry.key())?.unwrap_or_default();
                entry.insert((before.clone(), before))
            }
        };
        Ok(&mut entry.1)
    }

    fn rows(self) -> Rows<T> {
        let row = |value: T::Value| (value != T::Value::default()).then_some(value);
        let changes = self.0.into_iter().map(|(key, (before, after))| {
            (key, Change { before: row(before).map(Box::new), after: row(after) })
        });
        changes.collect()
    }
}

impl<V: View> Block<'_, V> {
    /// Adds the rows that follow from what the block has changed.
    pub(super) fn index_changes(&mut self) -> Result<(), ReadError> {
        let mut totals = Tally::<Totals>::new();
        let mut activities = Collector::default();
        self.list_tokens();
        self.list_holders(&mut totals)?;
        self.list_exits(&mut totals, &mut activities)?;
        for ((entity, _), change) in Ttxos::rows(self.state.changes()) {
            if let Some(ttxo) = &change.after {
                activities.ttxo(*entity, ttxo, self.height);
            }
        }
        self.state.put_all::<Totals>(totals.rows());
        let activities = activities.rows().map(|(key, row)| (key, Change { before: None, after: Some(row) }));
        self.state.put_all::<Activities>(activities.collect());
        Ok(())
    }

    fn list_tokens(&mut self) {
        let (mut names, mut issuers) = (Index::<TokenNames>::new(), Index::<IssuerTokens>::new());
        for (token, change) in Tokens::rows(self.state.changes()) {
            let (before, after) = (change.before.as_deref(), change.after.as_ref());
            let issuer = |record| issuer_token(*token, record);
            issuers.moves(before.and_then(issuer), after.and_then(issuer), Unit);
            let both = |record| token_names(*token, record);
            let (before, after) = (before.and_then(both), after.and_then(both));
            for i in 0..2 {
                names.moves(before.map(|names| names[i]), after.map(|names| names[i]), Unit);
            }
        }
        self.state.put_all::<TokenNames>(names.rows());
        self.state.put_all::<IssuerTokens>(issuers.rows());
    }

    /// Balances by amount, and how many owners there are.
    fn list_holders(&mut self, totals: &mut Tally<Totals>) -> Result<(), ReadError> {
        let mut by_amount = Index::<HoldersByAmount>::new();
        let mut counts = Tally::<HolderCounts>::new();
        let mut balances = Balances::rows(self.state.changes()).iter().peekable();
        while let Some(&(&(owner, token, _), _)) = balances.peek() {
            let (mut held, mut holds, mut changed) = (false, false, Vec::new());
            // Entities of one owner and token are neighbours.
            while let Some((key, change)) = balances.next_if(|((o, t, _), _)| (*o, *t) == (owner, token)) {
                let (before, after) = (change.before.as_deref(), change.after.as_ref());
                by_amount.moves(
                    before.map(|balance| holder_by_amount(*key, balance)),
                    after.map(|balance| holder_by_amount(*key, balance)),
                    Unit,
                );
                if before.is_some() != after.is_some() {
                    step(&mut totals.of(&self.state, (token, key.2))?.holders, after.is_some())
                        .ok_or_else(|| broken::<Totals>(token))?;
                }
                held |= before.is_some();
                holds |= after.is_some();
                changed.push(key.2);
            }
            if held != holds && !self.holds_elsewhere(owner, token, &changed)? {
                step(counts.of(&self.state, token)?, holds).ok_or_else(|| broken::<HolderCounts>(token))?;
            }
        }
        self.state.put_all::<HoldersByAmount>(by_amount.rows());
        self.state.put_all::<HolderCounts>(counts.rows());
        Ok(())
    }

    /// Whether an owner has a balance of a token under another entity than these.
    fn holds_elsewhere(
        &self,
        owner: OwnerKey,
        token: TokenId,
        than: &[EntityIndex],
    ) -> Result<bool, ReadError> {
        for (entity, _) in self.rules.entities.iter() {
            if !than.contains(&entity) && self.state.has::<Balances>(&(owner, token, entity))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Exits by what they are filtered by, what they add up to, and their steps.
    fn list_exits(
        &mut self,
        totals: &mut Tally<Totals>,
        activities: &mut Collector,
    ) -> Result<(), ReadError> {
        let mut by_owner = Index::<ExitsByOwner>::new();
        let mut by_token = Index::<ExitsByToken>::new();
        let mut by_entity = Index::<ExitsByEntity>::new();
        for (id, change) in Exits::rows(self.state.changes()) {
            let Some(after) = &change.after else { continue };
            let before = change.before.as_deref();
            let entity = |exit: &ExitRecord| exit_of(exit.entity, *id, exit);
            by_entity.moves(before.map(entity), Some(entity(after)), *id);
            if !after.state.knows_ttxo() {
                continue;
            }
            // What was judged once has an owner and a token for ever.
            let known = before.filter(|before| before.state.knows_ttxo());
            let ttxo = self.state.expect::<Ttxos>(&(after.entity, after.ttxo))?;
            let owner = |exit: &ExitRecord| exit_of(ttxo.owner, *id, exit);
            by_owner.moves(known.map(owner), Some(owner(after)), *id);
            let token = |exit: &ExitRecord| exit_of(ttxo.token, *id, exit);
            by_token.moves(known.map(token), Some(token(after)), *id);
            let sums = totals.of(&self.state, (ttxo.token, after.entity))?;
            known
                .map_or(Some(()), |before| sums.remove_exit(before, ttxo.amount))
                .and_then(|()| sums.add_exit(after, ttxo.amount))
                .ok_or_else(|| broken::<Totals>(ttxo.token))?;
            let reinstated = before.is_none_or(|before| before.reinstated.is_none()).then_some(self.height);
            activities.exit(*id, after, &ttxo, reinstated, self.height);
        }
        self.state.put_all::<ExitsByOwner>(by_owner.rows());
        self.state.put_all::<ExitsByToken>(by_token.rows());
        self.state.put_all::<ExitsByEntity>(by_entity.rows());
        Ok(())
    }
}

/// Counts one more or one less.
fn step(count: &mut u64, more: bool) -> Option<()> {
    *count = if more { count.checked_add(1) } else { count.checked_sub(1) }?;
    Some(())
}

fn broken<T: Table>(token: TokenId) -> ReadError {
    ReadError { table: T::NAME, reason: format!("what is counted of {token} does not hold what leaves it") }
}
