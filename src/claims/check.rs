//! The checks that a verdict is made of, each with what it looked at.

use super::codes::{Outcome, Reason};
use super::sentence;
use crate::ledger::keys::{ExitId, L1OutPoint};
use crate::protocol::withdrawal_output::SpendPath;
use crate::protocol::{Amount, DisplayTxid, Height, ManifestId, OwnerKey, PubKey, SparkOutPoint};

/// A check and what it found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Finding {
    /// What was checked, and its inputs.
    pub check: Check,
    /// What it found.
    pub outcome: Outcome,
    /// The code of what it found; `null` where the outcome is `pass` or `unknown`.
    pub reason: Option<Reason>,
    /// The same in a sentence for people.
    pub sentence: String,
}

impl Finding {
    /// A check that found something, or found nothing wrong.
    pub fn new(check: Check, reason: Option<Reason>) -> Self {
        Finding::with(check, reason, reason.map_or(Outcome::Pass, Reason::outcome))
    }

    /// A check that cannot be made.
    pub fn unknown(check: Check) -> Self {
        Finding::with(check, None, Outcome::Unknown)
    }

    fn with(check: Check, reason: Option<Reason>, outcome: Outcome) -> Self {
        let sentence = sentence::of_check(&check, outcome);
        Finding { check, outcome, reason, sentence }
    }
}

/// What is checked, in the order in which it is shown, with what it looks at.
///
/// The first nine are the rules of judgement in the order of the rules. After the first that fails, the
/// ledger looked no further, and neither is there a row for it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Check {
    /// A withdrawal announcement of a followed entity names the output.
    Announced {
        /// The exit that decides; `null` where there is none.
        exit_id: Option<ExitId>,
        /// The block of its announcement.
        block_height: Option<Height>,
    },
    /// The announcement names no L1 output twice.
    DistinctOutputs {
        /// The output of the announcing transaction.
        vout: u16,
    },
    /// Activated snapshots have declared every TTXO that the announcement names.
    Declaration {
        /// The TTXO of this exit.
        ttxo: SparkOutPoint,
        /// The snapshot on which the exit rests; `null` while none has declared the TTXO.
        declared_by: Option<DeclaredBy>,
        /// TTXOs of the announcement that no activated snapshot has declared. One snapshot, or several,
        /// that declare them resolve the exit.
        undeclared: Vec<SparkOutPoint>,
        /// Where some are undeclared: snapshots of the entity that have not activated yet.
        pending_snapshots: Vec<PendingSnapshot>,
    },
    /// The TTXOs of the announcement have one owner.
    OneOwner {
        /// The owner, or the first two that differ.
        owners: Vec<OwnerKey>,
    },
    /// No other exit of the TTXO was valid before and stood.
    FirstExit {
        /// That exit.
        earlier: Option<EarlierExit>,
    },
    /// No snapshot had dropped the TTXO before the announcement.
    UnspentOnSpark {
        /// The snapshot that had.
        dropped_by: Option<Dropped>,
    },
    /// The announcing transaction has the output.
    OutputExists {
        /// The output.
        vout: u16,
    },
    /// No other valid exit of the entity is backed by the output.
    OutputFree {
        /// The output.
        vout: u16,
    },
    /// The output holds the TTXO's bond.
    Bond {
        /// Satoshis that the TTXO asks for.
        required_sats: u64,
        /// Satoshis in the output.
        found_sats: u64,
    },
    /// The output has the TTXO's withdrawal script.
    Script {
        /// That script, in hex; `null` where the TTXO's revocation commitment gives none.
        required: Option<String>,
        /// The script of the output, in hex; `null` where it is not Taproot.
        found: Option<String>,
    },
    /// No snapshot has put the tokens back on Spark after a revocation.
    Reinstatement {
        /// Sequence of the snapshot that has.
        snapshot_sequence: Option<u64>,
    },
    /// The output has not been spent by the key path.
    Revocation {
        /// The spend.
        spent_by: Option<ConfirmedSpend>,
    },
    /// No spend of the output is in the mempool.
    Mempool {
        /// The spend that is.
        spent_by: Option<UnconfirmedSpend>,
    },
    /// The TTXO's lock has ended: the owner can claim.
    Locktime {
        /// Blocks of the lock.
        blocks: u64,
        /// The first height at which a claim can confirm.
        matures_height: u64,
        /// Blocks from here to there; 0 if it has ended.
        blocks_left: u64,
    },
    /// The owner has claimed the output by the script path.
    Claim {
        /// The claim.
        spent_by: Option<ConfirmedSpend>,
    },
    /// The announcement is deep enough in the chain.
    AnnouncementDepth {
        /// How deep.
        depth: Depth,
    },
    /// So is the block that judged the exit: later than the announcement where a snapshot resolved it.
    JudgementDepth {
        /// How deep.
        depth: Depth,
    },
    /// So is the claim.
    ClaimDepth {
        /// How deep.
        depth: Depth,
    },
    /// No exit of another entity stands on the same output.
    OtherExits {
        /// Those that do.
        standing: Vec<ExitId>,
    },
    /// The active snapshot, where it was anchored after the exit, does not declare the TTXO.
    LaterDeclaration {
        /// Whether the active snapshot declares it.
        declared: bool,
        /// Sequence of the active snapshot.
        snapshot_sequence: Option<u64>,
        /// Height of its anchor: the block as of which the entity speaks.
        anchor_height: Option<Height>,
    },
    /// No snapshot that speaks of a time before the block of the announcement lacks the TTXO.
    EarlierSpend {
        /// The first snapshot after the announcement that lacks the TTXO.
        dropped_by: Option<Dropped>,
        /// Header time of the block of the announcement, Unix seconds.
        announced_time: u32,
    },
    /// The entity signed one manifest only under the sequence that declared the TTXO.
    Equivocation {
        /// That sequence.
        snapshot_sequence: u64,
        /// Pieces of evidence about it.
        of_sequence: usize,
        /// Pieces of evidence about any sequence of the entity.
        of_entity: usize,
    },
    /// The entity has not declared more of the token than its maximum supply.
    Supply {
        /// Declared total, base units.
        declared: Amount,
        /// Maximum supply, base units, 0 for none; `null` while the token's metadata is unknown.
        max_supply: Option<Amount>,
    },
    /// The token was created under a key of the entity.
    TokenEntity {
        /// The key; `null` where the metadata is unknown or the token was created on L1.
        creation_entity: Option<PubKey>,
    },
    /// The owner's signature of the announcement.
    OwnerSignature {
        /// Whether anybody can verify it: version 1 snapshots lack what the signed message is made of.
        verifiable: bool,
    },
}

/// How deep a block is in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Depth {
    /// Its height.
    pub block_height: Height,
    /// How many blocks there are from it to the block that the verdict rests on, itself included.
    pub confirmations: u32,
    /// How many are wanted.
    pub wanted: u32,
}

/// A snapshot that declared a TTXO, and its age at the block that the verdict rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct DeclaredBy {
    /// Its sequence.
    pub snapshot_sequence: u64,
    /// Its manifest.
    pub manifest_id: ManifestId,
    /// The block in which it activated.
    pub block_height: Height,
    /// Blocks since then.
    pub age_blocks: u32,
    /// Spark time of the snapshot, Unix milliseconds, as its manifest says.
    pub spark_time_ms: u64,
    /// Seconds from its Spark time to the block that the verdict rests on; 0 if it lies ahead.
    pub age_seconds: u64,
    /// Whether it came after the announcement, which had to wait for it.
    pub after_announcement: bool,
}

/// A snapshot that waits for chunks or for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct PendingSnapshot {
    /// Its sequence.
    pub snapshot_sequence: u64,
    /// Its manifest.
    pub manifest_id: ManifestId,
    /// Chunks that it still waits for; 0 for a delta whose parent is not active.
    pub chunks_missing: u16,
}

/// A snapshot that dropped a TTXO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Dropped {
    /// Its sequence.
    pub snapshot_sequence: u64,
    /// The block in which it activated.
    pub block_height: Height,
    /// Its Spark time, Unix milliseconds, as its manifest says.
    pub spark_time_ms: u64,
    /// Height of its anchor: the block as of which the entity speaks.
    pub anchor_height: Height,
}

/// An exit of the same TTXO that was valid before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct EarlierExit {
    /// The exit.
    pub exit_id: ExitId,
    /// Its L1 output.
    pub outpoint: L1OutPoint,
}

/// A confirmed spend of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct ConfirmedSpend {
    /// The spending transaction.
    pub txid: DisplayTxid,
    /// Its input.
    pub vin: u32,
    /// Its block.
    pub block_height: Height,
}

/// A spend of the output that is in no block yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct UnconfirmedSpend {
    /// The spending transaction.
    pub txid: DisplayTxid,
    /// `key`: a revocation. `script`: the owner's claim.
    #[schema(value_type = String)]
    pub path: SpendPath,
}
