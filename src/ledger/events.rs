//! Events of a block, their lines, and the state hash that commits to them.

use std::fmt;

use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::{BlockHash, Txid};

use super::keys::ExitId;
use super::reasons::{FailReason, RejectReason};
use super::records::{BondSpend, ExitState};
use crate::protocol::withdrawal_output::SpendPath;
use crate::protocol::{ManifestId, NodeHash, PubKey, SparkOutPoint, StateHash, TokenId};

/// Names an inscription: `<txid>i<n>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inscription {
    /// The transaction that reveals it.
    pub txid: Txid,
    /// Its index among all envelopes of the transaction.
    pub index: u32,
}

impl fmt::Display for Inscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}i{}", self.txid, self.index)
    }
}

/// Something that a block did to the state. `Display` is the line that the state hash commits to,
/// without its line feed. `entity` is always the id of the entity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are those of the lines, in their order
pub enum Event {
    Token { token: TokenId, txid: Txid, vout: u32 },
    Manifest { entity: PubKey, sequence: u64, id: ManifestId, inscription: Inscription },
    ManifestRejected { entity: PubKey, id: ManifestId, inscription: Inscription, reason: RejectReason },
    Equivocation { entity: PubKey, sequence: u64, first: ManifestId, second: ManifestId },
    Chunk { manifest: ManifestId, index: u16, inscription: Inscription },
    Snapshot { entity: PubKey, sequence: u64, id: ManifestId, count: u64, root: NodeHash, resurrected: u64 },
    SnapshotFailed { entity: PubKey, sequence: u64, id: ManifestId, reason: FailReason },
    SnapshotSuperseded { entity: PubKey, sequence: u64, id: ManifestId },
    Exit { exit: ExitId, bitcoin_vout: u16, ttxo: SparkOutPoint, state: ExitState },
    ExitReinstated { exit: ExitId, ttxo: SparkOutPoint },
    ExitSpent { exit: ExitId, spend: BondSpend },
    ExitMatured { exit: ExitId },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Token { token, txid, vout } => write!(f, "token {token} {txid} {vout}"),
            Event::Manifest { entity, sequence, id, inscription } => {
                write!(f, "manifest {entity} {sequence} {id} {inscription}")
            }
            Event::ManifestRejected { entity, id, inscription, reason } => {
                write!(f, "manifest_rejected {entity} {id} {inscription} {reason}")
            }
            Event::Equivocation { entity, sequence, first, second } => {
                write!(f, "equivocation {entity} {sequence} {first} {second}")
            }
            Event::Chunk { manifest, index, inscription } => {
                write!(f, "chunk {manifest} {index} {inscription}")
            }
            Event::Snapshot { entity, sequence, id, count, root, resurrected } => {
                write!(f, "snapshot {entity} {sequence} {id} {count} {root} {resurrected}")
            }
            Event::SnapshotFailed { entity, sequence, id, reason } => {
                write!(f, "snapshot_failed {entity} {sequence} {id} {reason}")
            }
            Event::SnapshotSuperseded { entity, sequence, id } => {
                write!(f, "snapshot_superseded {entity} {sequence} {id}")
            }
            Event::Exit { exit, bitcoin_vout, ttxo, state } => {
                write!(f, "exit {exit} {bitcoin_vout} {ttxo} {state}")
            }
            Event::ExitReinstated { exit, ttxo } => write!(f, "exit_reinstated {exit} {ttxo}"),
            Event::ExitSpent { exit, spend } => {
                write!(f, "exit_spent {exit} {}:{} {}", spend.txid, spend.input, spend.state())
            }
            Event::ExitMatured { exit } => write!(f, "exit_matured {exit}"),
        }
    }
}

impl fmt::Display for ExitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitState::Unresolved => f.write_str("unresolved"),
            ExitState::Pending => f.write_str("pending"),
            ExitState::Matured => f.write_str("matured"),
            ExitState::Revoked => f.write_str("revoked"),
            ExitState::Claimed => f.write_str("claimed"),
            ExitState::Invalid(reason) => write!(f, "invalid:{reason}"),
        }
    }
}

impl BondSpend {
    /// The state that it gives a valid exit.
    pub fn state(&self) -> ExitState {
        match self.path {
            SpendPath::Key => ExitState::Revoked,
            SpendPath::Script => ExitState::Claimed,
        }
    }
}

/// The lines of a block, each ended by a line feed.
pub fn lines(events: &[Event]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

/// `SHA256(previous || block hash || SHA256(lines))`; `previous` is [`StateHash::MIN`] (zeros) at the
/// start height.
pub fn state_hash(previous: StateHash, block: BlockHash, lines: &str) -> StateHash {
    let mut engine = sha256::Hash::engine();
    engine.input(&previous.0);
    engine.input(block.as_byte_array());
    engine.input(sha256::Hash::hash(lines.as_bytes()).as_byte_array());
    StateHash(sha256::Hash::from_engine(engine).to_byte_array())
}
