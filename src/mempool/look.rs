//! What one transaction of the mempool has to do with BTKN.

use bitcoin::{OutPoint, Transaction, Txid};

use crate::ledger::keys::L1OutPoint;
use crate::ledger::tables::Watched;
use crate::ledger::{Entities, ReadError, View};
use crate::protocol::Height;
use crate::scan::messages::{OutputContent, TxMessages};
use crate::scan::{WatchSet, scan_transaction};

/// Followed entities, and the height of the next block.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub entities: &'a Entities,
    pub next: Height,
}

/// The messages and spends of a transaction that matter, or `None`. Spends are those of outputs that the
/// state watches and of `named` ones.
pub(super) fn look<V: View>(
    tx: &Transaction,
    txid: Txid,
    view: &V,
    named: &WatchSet,
    scope: Scope<'_>,
) -> Result<Option<TxMessages>, ReadError> {
    let mut watched = WatchSet::new();
    for input in &tx.input {
        let output = input.previous_output;
        if named.contains(&output) || is_watched(view, output)? {
            watched.insert(output);
        }
    }
    let Some(mut messages) = scan_transaction(tx, txid, &watched) else { return Ok(None) };
    messages.envelopes = Vec::new();
    messages.outputs.retain(|output| match &output.content {
        OutputContent::Withdrawal { announcement, .. } => {
            scope.entities.by_key(&announcement.entity, scope.next).is_some()
        }
        _ => false,
    });
    let matters = !messages.spends.is_empty() || !messages.outputs.is_empty();
    Ok(matters.then_some(messages))
}

fn is_watched<V: View>(view: &V, output: OutPoint) -> Result<bool, ReadError> {
    let output = L1OutPoint::from(output);
    let mut rows = view.scan::<Watched>(&(output, 0, 0), &(output, u32::MAX, u8::MAX));
    rows.next().transpose().map(|row| row.is_some())
}

/// How many exits and spends a transaction brings.
pub(super) fn items(messages: &TxMessages) -> usize {
    messages.spends.len() + messages.named_outpoints().count()
}
