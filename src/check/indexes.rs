//! What follows from whole tables for the rows that only readers need.

use std::collections::BTreeMap;

use super::{Report, all};
use crate::ledger::activity::Collector;
use crate::ledger::indexes::{TokenTotals, exit_of, holder_by_amount, issuer_token, token_names};
use crate::ledger::records::*;
use crate::ledger::tables::*;
use crate::ledger::{ReadError, View};
use crate::protocol::{Height, OwnerKey, TokenId};

/// What tokens are found by.
pub(super) fn check_tokens(view: &impl View, report: &mut Report) -> Result<(), ReadError> {
    let (mut names, mut issuers) = (BTreeMap::new(), BTreeMap::new());
    for row in all::<Tokens>(view) {
        let (token, record) = row?;
        names.extend(token_names(token, &record).into_iter().flatten().map(|key| (key, Unit)));
        issuers.extend(issuer_token(token, &record).map(|key| (key, Unit)));
    }
    report.compare::<TokenNames>(view, names)?;
    report.compare::<IssuerTokens>(view, issuers)
}

/// Balances by amount, exits by what they are filtered by, and what both add up to.
pub(super) fn check_holders_and_exits(view: &impl View, report: &mut Report) -> Result<(), ReadError> {
    let mut totals: BTreeMap<<Totals as Table>::Key, TokenTotals> = BTreeMap::new();
    let mut counts: BTreeMap<TokenId, u64> = BTreeMap::new();
    let mut last: Option<(OwnerKey, TokenId)> = None;
    let mut by_amount = BTreeMap::new();
    for row in all::<Balances>(view) {
        let (key, balance) = row?;
        let (owner, token, entity) = key;
        by_amount.insert(holder_by_amount(key, &balance), Unit);
        totals.entry((token, entity)).or_default().holders += 1;
        // Entities of one owner and token are neighbours.
        if last.replace((owner, token)) != Some((owner, token)) {
            *counts.entry(token).or_default() += 1;
        }
    }
    let (mut by_owner, mut by_token, mut by_entity) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for row in all::<Exits>(view) {
        let (id, exit) = row?;
        by_entity.insert(exit_of(exit.entity, id, &exit), id);
        let ttxo = view.get::<Ttxos>(&(exit.entity, exit.ttxo))?;
        let Some(ttxo) = ttxo.filter(|_| exit.state.knows_ttxo()) else { continue };
        by_owner.insert(exit_of(ttxo.owner, id, &exit), id);
        by_token.insert(exit_of(ttxo.token, id, &exit), id);
        let sums = totals.entry((ttxo.token, exit.entity)).or_default();
        if sums.add_exit(&exit, ttxo.amount).is_none() {
            report.violation(Totals::NAME, format!("the exits of {} overflow", ttxo.token));
        }
    }
    totals.retain(|_, totals| *totals != TokenTotals::default());
    report.compare::<HoldersByAmount>(view, by_amount)?;
    report.compare::<HolderCounts>(view, counts)?;
    report.compare::<Totals>(view, totals)?;
    report.compare::<ExitsByOwner>(view, by_owner)?;
    report.compare::<ExitsByToken>(view, by_token)?;
    report.compare::<ExitsByEntity>(view, by_entity)
}

/// What happened to whom, from the beginning.
pub(super) fn check_activities(view: &impl View, report: &mut Report) -> Result<(), ReadError> {
    let mut activated = BTreeMap::new();
    for row in all::<Snapshots>(view) {
        let (_, snapshot) = row?;
        if matches!(snapshot.state, SnapshotState::Active | SnapshotState::Replaced) {
            activated.insert((snapshot.entity, snapshot.sequence), snapshot.decided);
        }
    }
    let (mut activities, beginning) = (Collector::default(), Height(0));
    for row in all::<Ttxos>(view) {
        let ((entity, _), ttxo) = row?;
        activities.ttxo(entity, &ttxo, beginning);
    }
    for row in all::<Exits>(view) {
        let (id, exit) = row?;
        let Some(ttxo) = view.get::<Ttxos>(&(exit.entity, exit.ttxo))? else { continue };
        let reinstated = exit.reinstated.and_then(|sequence| *activated.get(&(exit.entity, sequence))?);
        activities.exit(id, &exit, &ttxo, reinstated, beginning);
    }
    report.compare::<Activities>(view, activities.rows().collect())
}
