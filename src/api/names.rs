//! States and kinds by the names that answers and dumps give them; a reason stands in a field of its own.

use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ledger::keys::ExitKind;
use crate::ledger::reasons::{ExitReason, FailReason};
use crate::ledger::records::{ExitState, SnapshotState};
use crate::protocol::manifest::SnapshotKind;
use crate::protocol::token::Layer;
use crate::protocol::withdrawal_output::SpendPath;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
        }
    )+};
}

names! {
    /// Where an exit stands: `unresolved` (an output of its announcement was never declared), `pending`
    /// (valid, and the owner must wait), `matured` (the owner may claim), `revoked` (by a justice
    /// transaction), `claimed` or `invalid`.
    ExitStateName {
        /// Not judged yet.
        Unresolved,
        /// Valid; the owner must wait.
        Pending,
        /// Valid; the owner may claim.
        Matured,
        /// Valid; a justice transaction spent the bond.
        Revoked,
        /// Valid; the owner spent the bond.
        Claimed,
        /// Not valid.
        Invalid,
    }

    /// Where a snapshot stands: `pending` (accepted, not complete), `active` (its set is the declared one),
    /// `replaced` (was active), `failed` (broke a rule) or `superseded` (made useless by another one).
    SnapshotStateName {
        /// Accepted.
        Pending,
        /// Its set is the declared set.
        Active,
        /// Was active.
        Replaced,
        /// Broke a rule.
        Failed,
        /// Made useless by another one.
        Superseded,
    }

    /// Whether a snapshot states its whole set, or what changed since its parent.
    SnapshotKindName {
        /// The whole set.
        Full,
        /// What changed.
        Delta,
    }

    /// How a bond was spent: by the `key` path (a justice transaction: revocation) or the `script` path (the
    /// owner's claim).
    SpendPathName {
        /// Revocation.
        Key,
        /// Claim.
        Script,
    }

    /// What is known of the owner's signature under an exit. Version 1 snapshots lack what it takes to tell,
    /// so it is always `unverifiable`.
    OwnerSignature {
        /// Checked, and good.
        Valid,
        /// Checked, and wrong.
        Invalid,
        /// Cannot be checked.
        Unverifiable,
    }

    /// What happened, by the first word of its event line.
    EventKind {
        /// A token announcement counts.
        Token,
        /// A manifest was accepted.
        Manifest,
        /// A manifest with a good signature was rejected.
        ManifestRejected,
        /// An entity signed two manifests of one sequence.
        Equivocation,
        /// A chunk was taken for a manifest.
        Chunk,
        /// A snapshot was activated.
        Snapshot,
        /// A snapshot failed at activation.
        SnapshotFailed,
        /// A pending snapshot was superseded.
        SnapshotSuperseded,
        /// An exit was announced, or judged after it had been unresolved.
        Exit,
        /// A snapshot reinstated the TTXO of a revoked exit.
        ExitReinstated,
        /// The bond of a valid exit was spent.
        ExitSpent,
        /// The owner of a valid exit may claim from now on.
        ExitMatured,
    }

    /// Whether what an item of the feed lists happened (`event`), or is no longer so, because its block left
    /// the best chain (`rollback`).
    FeedItemType {
        /// It happened.
        Event,
        /// It is no longer so.
        Rollback,
    }

    /// Where a token was created.
    LayerName {
        /// By an announcement on Bitcoin.
        L1,
        /// On Spark.
        Spark,
    }

    /// A change of a TTXO's declaration.
    DeclarationChange {
        /// A snapshot listed it.
        Declared,
        /// A snapshot listed it no more.
        Dropped,
    }

    /// Where a TTXO stands: `live` (declared, and no valid exit stands), `exited` (a valid exit stands) or
    /// `tombstone` (was declared, is not now, and no valid exit stands).
    TtxoState {
        /// Declared, and no valid exit stands.
        Live,
        /// A valid exit stands.
        Exited,
        /// Was declared, is not now, and no valid exit stands.
        Tombstone,
    }
}

/// Reads a name as it is written in answers.
pub fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    let deserializer: StrDeserializer<'a, Error> = text.into_deserializer();
    T::deserialize(deserializer).ok()
}

/// The state of an exit and, for an invalid one, the reason.
pub fn exit_state(state: ExitState) -> (ExitStateName, Option<ExitReason>) {
    match state {
        ExitState::Unresolved => (ExitStateName::Unresolved, None),
        ExitState::Pending => (ExitStateName::Pending, None),
        ExitState::Matured => (ExitStateName::Matured, None),
        ExitState::Revoked => (ExitStateName::Revoked, None),
        ExitState::Claimed => (ExitStateName::Claimed, None),
        ExitState::Invalid(reason) => (ExitStateName::Invalid, Some(reason)),
    }
}

/// The kind of state that a name stands for.
pub fn exit_kind(name: ExitStateName) -> ExitKind {
    match name {
        ExitStateName::Unresolved => ExitKind::Unresolved,
        ExitStateName::Pending => ExitKind::Pending,
        ExitStateName::Matured => ExitKind::Matured,
        ExitStateName::Revoked => ExitKind::Revoked,
        ExitStateName::Claimed => ExitKind::Claimed,
        ExitStateName::Invalid => ExitKind::Invalid,
    }
}

/// The state of a snapshot and, for a failed one, the reason.
pub fn snapshot_state(state: SnapshotState) -> (SnapshotStateName, Option<FailReason>) {
    match state {
        SnapshotState::Pending => (SnapshotStateName::Pending, None),
        SnapshotState::Active => (SnapshotStateName::Active, None),
        SnapshotState::Replaced => (SnapshotStateName::Replaced, None),
        SnapshotState::Failed(reason) => (SnapshotStateName::Failed, Some(reason)),
        SnapshotState::Superseded => (SnapshotStateName::Superseded, None),
    }
}

/// Full or delta.
pub fn snapshot_kind(kind: SnapshotKind) -> SnapshotKindName {
    match kind {
        SnapshotKind::Full => SnapshotKindName::Full,
        SnapshotKind::Delta => SnapshotKindName::Delta,
    }
}

/// Key or script.
pub fn spend_path(path: SpendPath) -> SpendPathName {
    match path {
        SpendPath::Key => SpendPathName::Key,
        SpendPath::Script => SpendPathName::Script,
    }
}

/// The layer of a token, and the key under which it was created there.
pub fn layer(layer: Layer) -> (LayerName, Option<crate::protocol::PubKey>) {
    match layer {
        Layer::L1 => (LayerName::L1, None),
        Layer::Spark(key) => (LayerName::Spark, Some(key)),
    }
}
