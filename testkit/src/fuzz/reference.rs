//! The scanner's work done the long way: every transaction decoded, every envelope parsed by `ord`.

use std::collections::BTreeSet;

use bitcoin::absolute::LockTime;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash;
use bitcoin::{
    Amount, Block, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, transaction,
};
use btkn_indexer::protocol::envelope::{EnvelopeKind, EnvelopeMessage, METAPROTOCOL};
use btkn_indexer::protocol::op_return::{self, OpReturn};
use btkn_indexer::protocol::withdrawal_output::SpendPath;
use btkn_indexer::scan::messages::{
    BlockMessages, BondOutput, MalformedKind, OutputContent, OutputMessage, Spend, TxMessages,
};

use crate::mined::mine_on;

/// The BTKN envelopes of a transaction, by the letter of `schema/snapshots.md`.
pub fn envelopes(tx: &Transaction) -> Vec<EnvelopeMessage> {
    let mut messages = Vec::new();
    for (inscription, found) in (0..).zip(ord::ParsedEnvelope::from_transaction(tx)) {
        let payload = found.payload;
        let flagged = payload.duplicate_field || payload.incomplete_field || payload.unrecognized_even_field;
        let kind = [EnvelopeKind::Manifest, EnvelopeKind::Chunk]
            .into_iter()
            .find(|kind| payload.content_type.as_deref() == Some(kind.content_type().as_bytes()));
        let plain = payload.content_encoding.is_none() && payload.delegate.is_none();
        let named = payload.metaprotocol.as_deref() == Some(METAPROTOCOL);
        if let (Some(kind), Some(body), true) = (kind, payload.body, plain && named && !flagged) {
            let (input, envelope) = (found.input, found.offset);
            messages.push(EnvelopeMessage { input, envelope, inscription, kind, body });
        }
    }
    messages
}

/// Everything in a block that matters. `watched` is what is watched before it; afterwards it also holds
/// what the block names.
pub fn messages(block: &Block, watched: &mut BTreeSet<OutPoint>) -> BlockMessages {
    let txs = (0u32..).zip(&block.txdata).filter_map(|(index, tx)| transaction(tx, index, watched));
    BlockMessages {
        hash: block.block_hash(),
        prev_hash: block.header.prev_blockhash,
        time: block.header.time,
        txs: txs.collect(),
    }
}

fn transaction(tx: &Transaction, index: u32, watched: &mut BTreeSet<OutPoint>) -> Option<TxMessages> {
    let txid = tx.compute_txid();
    let mut spends = Vec::new();
    for (input, txin) in (0u32..).zip(&tx.input) {
        let outpoint = txin.previous_output;
        if watched.contains(&outpoint) {
            spends.push(Spend { input, outpoint, path: SpendPath::of_witness(&txin.witness) });
        }
    }
    let outputs = outputs(tx);
    for output in &outputs {
        if let OutputContent::Withdrawal { announcement, .. } = &output.content {
            let vouts = announcement.records.iter().map(|record| u32::from(record.bitcoin_vout));
            watched.extend(vouts.map(|vout| OutPoint { txid, vout }));
        }
    }
    let envelopes = envelopes(tx);
    let silent = spends.is_empty() && envelopes.is_empty() && outputs.is_empty();
    (!silent).then_some(TxMessages { index, txid, spends, envelopes, outputs })
}

/// The messages in the outputs of a transaction.
pub fn outputs(tx: &Transaction) -> Vec<OutputMessage> {
    let mut messages = Vec::new();
    for (vout, output) in (0u32..).zip(&tx.output) {
        let content = match op_return::parse(output.script_pubkey.as_bytes()) {
            None => continue,
            Some(OpReturn::Legacy(kind)) => OutputContent::Legacy(kind),
            Some(OpReturn::Token(Ok(announcement))) => OutputContent::Token(announcement),
            Some(OpReturn::Token(Err(error))) => {
                OutputContent::Malformed { kind: MalformedKind::Token, reason: error.to_string() }
            }
            Some(OpReturn::Withdrawal(Ok(announcement))) => {
                let vouts = announcement.records.iter().map(|record| usize::from(record.bitcoin_vout));
                let bonds = vouts.map(|vout| tx.output.get(vout).map(bond)).collect();
                OutputContent::Withdrawal { announcement, bonds }
            }
            Some(OpReturn::Withdrawal(Err(error))) => {
                OutputContent::Malformed { kind: MalformedKind::Withdrawal, reason: error.to_string() }
            }
        };
        messages.push(OutputMessage { vout, content });
    }
    messages
}

fn bond(output: &TxOut) -> BondOutput {
    let script = output.script_pubkey.as_bytes();
    let taproot_key = match script {
        [0x51, 0x20, key @ ..] => key.try_into().ok(),
        _ => None,
    };
    BondOutput { value: output.value.to_sat(), taproot_key }
}

/// A transaction with one input, which shows this witness, and these output scripts.
pub fn transaction_of(witness: Witness, outputs: Vec<ScriptBuf>) -> Transaction {
    let output = |script_pubkey| TxOut { value: Amount::from_sat(1_000), script_pubkey };
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint { txid: bitcoin::Txid::all_zeros(), vout: 0 },
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness,
        }],
        output: outputs.into_iter().map(output).collect(),
    }
}

/// A block of these transactions, sound in all that the scanner checks.
pub fn block_of(txs: Vec<Transaction>) -> Block {
    mine_on(&genesis_block(Network::Regtest).header, 1, Vec::new(), txs)
}
