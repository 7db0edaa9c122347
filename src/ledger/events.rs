//! Events of a block, their lines, and the state hash that commits to them.

use std::fmt;
use std::str::{FromStr, Split};

use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::{BlockHash, Txid};

use super::keys::ExitId;
use super::reasons::{ExitReason, FailReason, RejectReason};
use super::records::{BondSpend, ExitState};
use crate::protocol::withdrawal_output::SpendPath;
use crate::protocol::{Height, ManifestId, NodeHash, PubKey, SparkOutPoint, StateHash, TokenId};

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

impl Event {
    /// The first word of its line.
    pub fn kind(&self) -> &'static str {
        match self {
            Event::Token { .. } => "token",
            Event::Manifest { .. } => "manifest",
            Event::ManifestRejected { .. } => "manifest_rejected",
            Event::Equivocation { .. } => "equivocation",
            Event::Chunk { .. } => "chunk",
            Event::Snapshot { .. } => "snapshot",
            Event::SnapshotFailed { .. } => "snapshot_failed",
            Event::SnapshotSuperseded { .. } => "snapshot_superseded",
            Event::Exit { .. } => "exit",
            Event::ExitReinstated { .. } => "exit_reinstated",
            Event::ExitSpent { .. } => "exit_spent",
            Event::ExitMatured { .. } => "exit_matured",
        }
    }
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

impl Event {
    /// The first words of lines.
    pub const KINDS: [&str; 12] = [
        "token",
        "manifest",
        "manifest_rejected",
        "equivocation",
        "chunk",
        "snapshot",
        "snapshot_failed",
        "snapshot_superseded",
        "exit",
        "exit_reinstated",
        "exit_spent",
        "exit_matured",
    ];

    /// Reads a line of the block at a height; `None` for text that is none.
    pub fn parse(line: &str, height: Height) -> Option<Event> {
        let mut words = Words(line.split(' '));
        let event = words.event(height)?;
        words.0.next().is_none().then_some(event)
    }
}

/// The words of a line that have not been read yet.
struct Words<'a>(Split<'a, char>);

impl Words<'_> {
    fn next<T: FromStr>(&mut self) -> Option<T> {
        self.0.next()?.parse().ok()
    }

    fn event(&mut self, height: Height) -> Option<Event> {
        Some(match self.0.next()? {
            "token" => Event::Token { token: self.next()?, txid: self.next()?, vout: self.next()? },
            "manifest" => Event::Manifest {
                entity: self.next()?,
                sequence: self.next()?,
                id: self.next()?,
                inscription: self.inscription()?,
            },
            "manifest_rejected" => Event::ManifestRejected {
                entity: self.next()?,
                id: self.next()?,
                inscription: self.inscription()?,
                reason: RejectReason::named(self.0.next()?)?,
            },
            "equivocation" => Event::Equivocation {
                entity: self.next()?,
                sequence: self.next()?,
                first: self.next()?,
                second: self.next()?,
            },
            "chunk" => {
                Event::Chunk { manifest: self.next()?, index: self.next()?, inscription: self.inscription()? }
            }
            "snapshot" => Event::Snapshot {
                entity: self.next()?,
                sequence: self.next()?,
                id: self.next()?,
                count: self.next()?,
                root: self.next()?,
                resurrected: self.next()?,
            },
            "snapshot_failed" => Event::SnapshotFailed {
                entity: self.next()?,
                sequence: self.next()?,
                id: self.next()?,
                reason: FailReason::named(self.0.next()?)?,
            },
            "snapshot_superseded" => {
                Event::SnapshotSuperseded { entity: self.next()?, sequence: self.next()?, id: self.next()? }
            }
            "exit" => Event::Exit {
                exit: self.next()?,
                bitcoin_vout: self.next()?,
                ttxo: self.next()?,
                state: self.state()?,
            },
            "exit_reinstated" => Event::ExitReinstated { exit: self.next()?, ttxo: self.next()? },
            "exit_spent" => Event::ExitSpent { exit: self.next()?, spend: self.spend(height)? },
            "exit_matured" => Event::ExitMatured { exit: self.next()? },
            _ => return None,
        })
    }

    fn inscription(&mut self) -> Option<Inscription> {
        let (txid, index) = self.0.next()?.split_once('i')?;
        Some(Inscription { txid: txid.parse().ok()?, index: index.parse().ok()? })
    }

    fn state(&mut self) -> Option<ExitState> {
        Some(match self.0.next()? {
            "unresolved" => ExitState::Unresolved,
            "pending" => ExitState::Pending,
            "matured" => ExitState::Matured,
            "revoked" => ExitState::Revoked,
            "claimed" => ExitState::Claimed,
            word => ExitState::Invalid(ExitReason::named(word.strip_prefix("invalid:")?)?),
        })
    }

    fn spend(&mut self, height: Height) -> Option<BondSpend> {
        let (txid, input) = self.0.next()?.split_once(':')?;
        let path = match self.0.next()? {
            "revoked" => SpendPath::Key,
            "claimed" => SpendPath::Script,
            _ => return None,
        };
        Some(BondSpend { txid: txid.parse().ok()?, input: input.parse().ok()?, height, path })
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEIGHT: Height = Height(7);

    /// A line of every kind, with every reason and state.
    fn examples() -> Vec<String> {
        let (hash, entity) = ("ab".repeat(32), format!("02{}", "cd".repeat(32)));
        let (exit, ttxo, inscription) = (format!("{hash}:1:2"), format!("{hash}:0"), format!("{hash}i3"));
        let mut lines = vec![
            format!("token {hash} {hash} 0"),
            format!("manifest {entity} 18446744073709551615 {hash} {inscription}"),
            format!("equivocation {entity} 4 {hash} {hash}"),
            format!("chunk {hash} 65535 {inscription}"),
            format!("snapshot {entity} 4 {hash} 5 {hash} 6"),
            format!("snapshot_superseded {entity} 4 {hash}"),
            format!("exit_reinstated {exit} {ttxo}"),
            format!("exit_spent {exit} {hash}:8 revoked"),
            format!("exit_spent {exit} {hash}:8 claimed"),
            format!("exit_matured {exit}"),
        ];
        for state in ["unresolved", "pending", "matured", "revoked", "claimed"] {
            lines.push(format!("exit {exit} 9 {ttxo} {state}"));
        }
        lines.extend(ExitReason::ALL.iter().map(|reason| format!("exit {exit} 9 {ttxo} invalid:{reason}")));
        let failed = |reason| format!("snapshot_failed {entity} 4 {hash} {reason}");
        lines.extend(FailReason::ALL.iter().map(failed));
        let rejected = |reason| format!("manifest_rejected {entity} {hash} {inscription} {reason}");
        lines.extend(RejectReason::ALL.iter().map(rejected));
        lines
    }

    #[test]
    fn every_line_is_read_as_it_was_written() {
        let examples_have = |kind: &&str| examples().iter().any(|line| line.split(' ').next() == Some(kind));
        assert_eq!(Event::KINDS.iter().find(|kind| !examples_have(kind)), None);
        for line in examples() {
            let event = Event::parse(&line, HEIGHT);
            assert_eq!(event.map(|event| event.to_string()), Some(line));
        }
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for line in examples() {
            let (short, _) = line.rsplit_once(' ').unwrap();
            for bad in [short, &format!("{line} "), &format!("{line} more"), &format!(" {line}"), &line[1..]]
            {
                assert_eq!(Event::parse(bad, HEIGHT), None, "{bad:?}");
            }
        }
        assert_eq!(Event::parse("", HEIGHT), None);
    }
}
