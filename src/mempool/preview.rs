//! What an unconfirmed transaction would do to the state.

use std::collections::BTreeSet;

use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Txid};

use super::Contents;
use crate::ledger::keys::{ExitId, L1OutPoint, Only};
use crate::ledger::records::{ExitRecord, ExitState};
use crate::ledger::tables::{Exits, ExitsByOutput, Table, Tip};
use crate::ledger::{ApplyError, ReadError, Rules, View, apply_block};
use crate::scan::messages::{BlockMessages, TxMessages};

/// Longer chains of unconfirmed transactions are not followed; a node at its defaults has none.
const MAX_DEPTH: usize = 64;

/// What becomes of an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The exit.
    pub exit: ExitId,
    /// As the state has it; `None` if the transaction announces it.
    pub before: Option<ExitState>,
    /// As it would be.
    pub after: ExitRecord,
}

/// What becomes of exits if the next block holds the transaction and the unconfirmed announcements that it
/// builds on, and nothing else. By the rules of the ledger, on top of `view`; empty where `view` knows the
/// transaction already, and where there is no such transaction.
///
/// # Errors
/// The state could not be read.
pub fn preview<V: View>(
    view: &V,
    rules: &Rules,
    contents: &Contents,
    txid: Txid,
) -> Result<Vec<Outcome>, ReadError> {
    let Some(tip) = view.get::<Tip>(&Only)? else { return Ok(Vec::new()) };
    let mut txs = Vec::new();
    let mut done = BTreeSet::new();
    Kept { view, contents }.collect(txid, MAX_DEPTH, &mut done, &mut txs)?;
    let block = BlockMessages { hash: BlockHash::all_zeros(), prev_hash: tip.hash, time: tip.time, txs };
    let applied = match apply_block(view, rules, &block) {
        Ok(applied) => applied,
        Err(ApplyError::Read(error)) => return Err(error),
        // Its parent is the tip of this very view.
        Err(ApplyError::NotNext { .. }) => return Ok(Vec::new()),
    };
    let concerned = |exit: &ExitId, after: &ExitRecord| {
        Txid::from(exit.txid) == txid || after.spend.is_some_and(|spend| spend.txid == txid)
    };
    let rows = Exits::rows(&applied.changes).iter().filter_map(|(exit, change)| {
        let after = change.after.filter(|after| concerned(exit, after))?;
        Some(Outcome { exit: *exit, before: change.before.as_ref().map(|before| before.state), after })
    });
    Ok(rows.collect())
}

/// Transactions that are kept and that the state does not know.
struct Kept<'a, V> {
    view: &'a V,
    contents: &'a Contents,
}

impl<V: View> Kept<'_, V> {
    /// Adds a transaction, after those whose outputs it spends.
    fn collect(
        &self,
        txid: Txid,
        depth: usize,
        done: &mut BTreeSet<Txid>,
        txs: &mut Vec<TxMessages>,
    ) -> Result<(), ReadError> {
        let Some(kept) = self.contents.kept.get(&txid) else { return Ok(()) };
        if depth == 0 || !done.insert(txid) || self.is_confirmed(txid)? {
            return Ok(());
        }
        for spend in &kept.messages.spends {
            self.collect(spend.outpoint.txid, depth - 1, done, txs)?;
        }
        let index = u32::try_from(txs.len()).unwrap_or(u32::MAX);
        txs.push(TxMessages { index, ..kept.messages.clone() });
        Ok(())
    }

    /// Whether the state knows an announcement of this transaction.
    fn is_confirmed(&self, txid: Txid) -> Result<bool, ReadError> {
        let output = |vout| L1OutPoint { txid: txid.into(), vout };
        let (from, to) = ((output(0), 0, 0), (output(u32::MAX), u32::MAX, u8::MAX));
        Ok(self.view.scan::<ExitsByOutput>(&from, &to).next().transpose()?.is_some())
    }
}
