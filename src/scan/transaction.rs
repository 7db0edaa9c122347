//! What one decoded transaction says and spends.

use bitcoin::hashes::Hash;
use bitcoin::{Transaction, TxOut, Txid};

use super::WatchSet;
use super::block::Watched;
use super::messages::{BondOutput, MalformedKind, OutputContent, OutputMessage, Spend, TxMessages};
use crate::protocol::envelope;
use crate::protocol::op_return::{self, LRC20_PREFIX, OpReturn, WITHDRAWAL_HEADER};
use crate::protocol::withdrawal::WithdrawalAnnouncement;
use crate::protocol::withdrawal_output::SpendPath;

/// Whether an output script may carry a message: cheap, and never false for one that does.
pub(super) fn may_be_message(script: &[u8]) -> bool {
    const OP_RETURN: u8 = 0x6a;
    script.first() == Some(&OP_RETURN)
        && op_return::single_push(script)
            .is_some_and(|push| push.starts_with(LRC20_PREFIX) || push.starts_with(WITHDRAWAL_HEADER))
}

/// The messages of a transaction that no block has confirmed, and its spends of watched outputs; `None`
/// where it says and spends nothing. Its index is 0.
pub fn scan_transaction(tx: &Transaction, txid: Txid, watched: &WatchSet) -> Option<TxMessages> {
    messages(tx, 0, txid, Watched { before: watched, named: &WatchSet::new() })
}

/// The messages of a transaction; `None` where it says and spends nothing.
pub(super) fn messages(tx: &Transaction, index: u32, txid: Txid, watched: Watched<'_>) -> Option<TxMessages> {
    let spends = spends(tx, watched);
    let envelopes = envelope::messages(tx);
    let outputs = outputs(tx);
    let silent = spends.is_empty() && envelopes.is_empty() && outputs.is_empty();
    (!silent).then_some(TxMessages { index, txid, spends, envelopes, outputs })
}

fn spends(tx: &Transaction, watched: Watched<'_>) -> Vec<Spend> {
    let inputs = (0u32..).zip(&tx.input);
    inputs
        .filter_map(|(input, txin)| {
            let prevout = txin.previous_output;
            let outpoint = watched.find(prevout.txid.as_byte_array(), prevout.vout)?;
            Some(Spend { input, outpoint, path: SpendPath::of_witness(&txin.witness) })
        })
        .collect()
}

/// The messages in its outputs.
pub(super) fn outputs(tx: &Transaction) -> Vec<OutputMessage> {
    // Counted first: while a vector of this size grows, it takes three times its final size.
    let may_be = tx.output.iter().filter(|output| may_be_message(output.script_pubkey.as_bytes()));
    let mut messages = Vec::with_capacity(may_be.count());
    for (vout, output) in (0u32..).zip(&tx.output) {
        messages.extend(content(tx, output).map(|content| OutputMessage { vout, content }));
    }
    messages
}

fn content(tx: &Transaction, output: &TxOut) -> Option<OutputContent> {
    let malformed = |kind, reason: String| OutputContent::Malformed { kind, reason };
    Some(match op_return::parse(output.script_pubkey.as_bytes())? {
        OpReturn::Token(Ok(announcement)) => OutputContent::Token(announcement),
        OpReturn::Token(Err(error)) => malformed(MalformedKind::Token, error.to_string()),
        OpReturn::Withdrawal(Ok(announcement)) => {
            let bonds = bonds(tx, &announcement);
            OutputContent::Withdrawal { announcement, bonds }
        }
        OpReturn::Withdrawal(Err(error)) => malformed(MalformedKind::Withdrawal, error.to_string()),
        OpReturn::Legacy(kind) => OutputContent::Legacy(kind),
    })
}

fn bonds(tx: &Transaction, announcement: &WithdrawalAnnouncement) -> Vec<Option<BondOutput>> {
    let outputs = announcement.records.iter().map(|record| tx.output.get(usize::from(record.bitcoin_vout)));
    outputs.map(|output| output.map(bond)).collect()
}

fn bond(output: &TxOut) -> BondOutput {
    const PUSH_OF_TAPROOT_KEY: [u8; 2] = [0x51, 0x20];
    let key = output.script_pubkey.as_bytes().strip_prefix(&PUSH_OF_TAPROOT_KEY);
    BondOutput { value: output.value.to_sat(), taproot_key: key.and_then(|key| key.try_into().ok()) }
}
