//! States and kinds by the names that answers and dumps give them; a reason stands in a field of its own.

use crate::ledger::records::{ExitState, SnapshotState};
use crate::protocol::manifest::SnapshotKind;

/// The state of an exit and, for an invalid one, the reason.
pub fn exit_state(state: ExitState) -> (&'static str, Option<&'static str>) {
    match state {
        ExitState::Unresolved => ("unresolved", None),
        ExitState::Pending => ("pending", None),
        ExitState::Matured => ("matured", None),
        ExitState::Revoked => ("revoked", None),
        ExitState::Claimed => ("claimed", None),
        ExitState::Invalid(reason) => ("invalid", Some(reason.as_str())),
    }
}

/// The state of a snapshot and, for a failed one, the reason.
pub fn snapshot_state(state: SnapshotState) -> (&'static str, Option<&'static str>) {
    match state {
        SnapshotState::Pending => ("pending", None),
        SnapshotState::Active => ("active", None),
        SnapshotState::Replaced => ("replaced", None),
        SnapshotState::Failed(reason) => ("failed", Some(reason.as_str())),
        SnapshotState::Superseded => ("superseded", None),
    }
}

/// Full or delta.
pub fn snapshot_kind(kind: SnapshotKind) -> &'static str {
    match kind {
        SnapshotKind::Full => "full",
        SnapshotKind::Delta => "delta",
    }
}
