//! What the scanner hands to the ledger: the few things in a block that BTKN cares about.
//!
//! These values carry no state and no judgement. They are in chain order: transactions by their index
//! in the block; within one, spends by input, then envelopes by input and place, then outputs.

use bitcoin::{BlockHash, OutPoint, Txid};

use crate::protocol::announcement::TokenAnnouncement;
pub use crate::protocol::envelope::{EnvelopeKind, EnvelopeMessage};
use crate::protocol::withdrawal::WithdrawalAnnouncement;
use crate::protocol::withdrawal_output::SpendPath;

/// Everything in one block that can change the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockMessages {
    /// Hash of the block.
    pub hash: BlockHash,
    /// Hash of its parent, as its header says.
    pub prev_hash: BlockHash,
    /// Header time, Unix seconds.
    pub time: u32,
    /// Only transactions that say or spend something.
    pub txs: Vec<TxMessages>,
}

/// The messages of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxMessages {
    /// Index in the block; the coinbase is 0.
    pub index: u32,
    /// Its txid.
    pub txid: Txid,
    /// Spends of watched outputs.
    pub spends: Vec<Spend>,
    /// BTKN envelopes in its witnesses.
    pub envelopes: Vec<EnvelopeMessage>,
    /// BTKN and LRC20 messages in its OP_RETURN outputs.
    pub outputs: Vec<OutputMessage>,
}

/// An input that spends a watched output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spend {
    /// Index of the input.
    pub input: u32,
    /// The watched output.
    pub outpoint: OutPoint,
    /// Which Taproot path its witness shows.
    pub path: SpendPath,
}

impl TxMessages {
    /// The L1 outputs that its withdrawal announcements name, existing or not.
    pub fn named_outpoints(&self) -> impl Iterator<Item = OutPoint> {
        let records = self.outputs.iter().flat_map(|output| match &output.content {
            OutputContent::Withdrawal { announcement, .. } => announcement.records.as_slice(),
            _ => &[],
        });
        records.map(move |record| OutPoint { txid: self.txid, vout: u32::from(record.bitcoin_vout) })
    }
}

/// The L1 outputs that the withdrawal announcements of a block name, existing or not.
pub fn named_outpoints(block: &BlockMessages) -> impl Iterator<Item = OutPoint> {
    block.txs.iter().flat_map(TxMessages::named_outpoints)
}

/// A message in an OP_RETURN output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputMessage {
    /// Index of the output.
    pub vout: u32,
    /// What it says.
    pub content: OutputContent,
}

/// What an OP_RETURN output says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputContent {
    /// A well-formed token announcement.
    Token(TokenAnnouncement),
    /// A well-formed withdrawal announcement, with the output that each of its records names.
    Withdrawal {
        /// The announcement.
        announcement: WithdrawalAnnouncement,
        /// One entry per record, in order; `None` where the transaction has no such output.
        bonds: Vec<Option<BondOutput>>,
    },
    /// A kind of the older protocol (1 to 6) under the prefix `LRC20`; counted, not applied.
    Legacy(u8),
    /// Prefix and kind matched, the rest did not.
    Malformed {
        /// Which message it set out to be.
        kind: MalformedKind,
        /// What is wrong with it, for people.
        reason: String,
    },
}

/// The messages that can be malformed in an OP_RETURN output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedKind {
    /// A token announcement.
    Token,
    /// A withdrawal announcement.
    Withdrawal,
}

/// An output that a withdrawal record names as its bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BondOutput {
    /// Its value in satoshis.
    pub value: u64,
    /// The output key (x-only) where the script is `5120 <key>`; `None` for any other script, which
    /// can't match a withdrawal script.
    pub taproot_key: Option<[u8; 32]>,
}
