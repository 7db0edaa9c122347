//! What the rows of the tables say.
//!
//! Values are encoded as CBOR arrays with numbered fields, so that a later version can add fields and
//! still read what an earlier one wrote.

use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Txid};
use minicbor::{Decode, Decoder, Encode, Encoder};

use super::balances::WideAmount;
use super::keys::{EntityIndex, ExitId, ExitKind, Place};
use super::reasons::{ExitReason, FailReason};
use crate::protocol::manifest::SnapshotKind;
use crate::protocol::token::{Layer, TokenMetadata};
use crate::protocol::ttxo::Ttxo;
use crate::protocol::withdrawal_output::SpendPath;
use crate::protocol::{
    Amount, Height, ManifestId, NodeHash, OwnerKey, PubKey, Signature, SparkOutPoint, StateHash, TokenId,
};

/// A row whose key says everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Unit;

/// Bytes of any length.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Body(#[cbor(n(0), with = "minicbor::bytes")] pub Vec<u8>);

/// The last applied block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TipRecord {
    /// Its height.
    #[n(0)]
    pub height: Height,
    /// Its hash.
    #[cbor(n(1), with = "hash32")]
    pub hash: BlockHash,
    /// Header time, Unix seconds.
    #[n(2)]
    pub time: u32,
    /// State hash after it.
    #[n(3)]
    pub state_hash: StateHash,
}

/// An applied block.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BlockRecord {
    /// Its hash.
    #[cbor(n(0), with = "hash32")]
    pub hash: BlockHash,
    /// Header time, Unix seconds.
    #[n(1)]
    pub time: u32,
    /// State hash after it.
    #[n(2)]
    pub state_hash: StateHash,
    /// Its events: lines that each end with a line feed, exactly as they are hashed.
    #[n(3)]
    pub events: String,
}

/// What is counted and not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Counter {
    /// Token announcements that are malformed.
    MalformedToken = 0,
    /// Withdrawal announcements that are malformed.
    MalformedWithdrawal = 1,
    /// Token announcements whose identifier was announced before.
    RepeatedToken = 2,
    /// Well-formed token announcements after the first of their transaction.
    SecondTokenOfTransaction = 3,
    /// Withdrawal announcements of entities that are not followed.
    ForeignWithdrawal = 4,
    /// Manifests that do not decode.
    MalformedManifest = 5,
    /// Manifests of another network.
    WrongNetwork = 6,
    /// Manifests of entities that are not followed, or under a key that is not valid at that height.
    UnknownEntity = 7,
    /// Manifests whose signature does not verify.
    BadSignature = 8,
    /// Chunks that no pending manifest waits for.
    UnwantedChunk = 9,
    /// Messages of the older protocol, kinds 1 to 6.
    Legacy1 = 11,
    /// Kind 2.
    Legacy2 = 12,
    /// Kind 3.
    Legacy3 = 13,
    /// Kind 4.
    Legacy4 = 14,
    /// Kind 5.
    Legacy5 = 15,
    /// Kind 6.
    Legacy6 = 16,
}

impl Counter {
    /// All of them.
    pub const ALL: [Counter; 16] = [
        Counter::MalformedToken,
        Counter::MalformedWithdrawal,
        Counter::RepeatedToken,
        Counter::SecondTokenOfTransaction,
        Counter::ForeignWithdrawal,
        Counter::MalformedManifest,
        Counter::WrongNetwork,
        Counter::UnknownEntity,
        Counter::BadSignature,
        Counter::UnwantedChunk,
        Counter::Legacy1,
        Counter::Legacy2,
        Counter::Legacy3,
        Counter::Legacy4,
        Counter::Legacy5,
        Counter::Legacy6,
    ];

    /// The counter of a kind of the older protocol; `None` for kinds it does not have.
    pub fn legacy(kind: u8) -> Option<Counter> {
        match kind {
            1 => Some(Counter::Legacy1),
            2 => Some(Counter::Legacy2),
            3 => Some(Counter::Legacy3),
            4 => Some(Counter::Legacy4),
            5 => Some(Counter::Legacy5),
            6 => Some(Counter::Legacy6),
            _ => None,
        }
    }
}

/// A message that was malformed or repeated, kept for people to look at.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Notice {
    /// How many notices came before it.
    #[n(0)]
    pub number: u64,
    /// Height of its block.
    #[n(1)]
    pub height: Height,
    /// Its transaction.
    #[cbor(n(2), with = "hash32")]
    pub txid: Txid,
    /// Its output.
    #[n(3)]
    pub vout: u32,
    /// What is wrong with it.
    #[n(4)]
    pub reason: String,
}

impl Notice {
    /// How many are kept.
    pub const KEPT: u16 = 1000;
}

/// What is known about a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct TokenRecord {
    /// Its metadata and layer, once an announcement or a snapshot gave them.
    #[n(0)]
    pub metadata: Option<TokenMetadata>,
    /// The layer that its identifier was computed for; known with the metadata.
    #[n(1)]
    pub layer: Option<Layer>,
    /// Identifier of the L1 announcement that carries this metadata.
    #[n(2)]
    pub announced_as: Option<TokenId>,
}

/// A token announcement that counts.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AnnouncementRecord {
    /// Its place.
    #[n(0)]
    pub place: Place,
    /// Its transaction.
    #[cbor(n(1), with = "hash32")]
    pub txid: Txid,
}

/// The active snapshot of an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ActiveSnapshot {
    /// Its manifest.
    #[n(0)]
    pub manifest: ManifestId,
    /// Its sequence.
    #[n(1)]
    pub sequence: u64,
    /// Size of the declared set.
    #[n(2)]
    pub count: u64,
}

/// An accepted manifest, as signed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ManifestRecord {
    /// The inscribed body: signed manifest and signature.
    #[n(0)]
    pub body: Body,
}

/// The states of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum SnapshotState {
    /// Accepted; waits for chunks or for its turn.
    #[n(0)]
    Pending,
    /// Its set is the declared set.
    #[n(1)]
    Active,
    /// Was active.
    #[n(2)]
    Replaced,
    /// Broke a rule at activation.
    #[n(3)]
    Failed(#[n(0)] FailReason),
    /// Another one made it useless before it was complete.
    #[n(4)]
    Superseded,
}

/// What became of an accepted manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotRecord {
    /// Its entity.
    #[n(0)]
    pub entity: EntityIndex,
    /// Its sequence.
    #[n(1)]
    pub sequence: u64,
    /// Full or delta.
    #[n(2)]
    pub kind: SnapshotKind,
    /// Where it was accepted.
    #[n(3)]
    pub accepted: Place,
    /// The transaction of its inscription.
    #[cbor(n(4), with = "hash32")]
    pub txid: Txid,
    /// The `n` of its inscription id.
    #[n(5)]
    pub inscription: u32,
    /// Its state.
    #[n(6)]
    pub state: SnapshotState,
    /// Height at which it activated, failed or was superseded.
    #[n(7)]
    pub decided: Option<Height>,
    /// Number of TTXOs in its set, as its manifest says.
    #[n(8)]
    pub count: u64,
    /// Root of its set, as its manifest says.
    #[n(9)]
    pub root: NodeHash,
    /// How many chunks its manifest lists.
    #[n(10)]
    pub chunks: u16,
    /// How many of them have been taken; final when it is no longer pending.
    #[n(11)]
    pub chunks_taken: u16,
    /// Height of its anchor.
    #[n(12)]
    pub anchor_height: Height,
    /// Spark time of the snapshot, Unix milliseconds, as its manifest says.
    #[n(13)]
    pub as_of_ms: u64,
    /// TTXOs of its set that a standing exit, confirmed at or below the anchor, had taken off Spark.
    #[n(14)]
    pub resurrected: Option<u64>,
}

/// What readiness needs to know of a pending manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PendingManifest {
    /// Its id.
    #[n(0)]
    pub id: ManifestId,
    /// Its sequence.
    #[n(1)]
    pub sequence: u64,
    /// Full or delta.
    #[n(2)]
    pub kind: SnapshotKind,
    /// Its parent.
    #[n(3)]
    pub parent: Option<ManifestId>,
    /// How many chunks it still waits for.
    #[n(4)]
    pub missing: u16,
}

/// A chunk that a manifest waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WantedChunk {
    /// The manifest.
    #[n(0)]
    pub manifest: ManifestId,
    /// Its entity.
    #[n(1)]
    pub entity: EntityIndex,
    /// Index of the chunk in the manifest.
    #[n(2)]
    pub index: u16,
}

/// A chunk that a pending manifest has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ChunkHolder {
    /// Index of the chunk in the manifest.
    #[n(0)]
    pub index: u16,
    /// The transaction of its inscription.
    #[cbor(n(1), with = "hash32")]
    pub txid: Txid,
    /// The `n` of its inscription id.
    #[n(2)]
    pub inscription: u32,
}

/// The body of a chunk that pending manifests hold.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ChunkBody {
    /// Whether it is a chunk. One that is not makes its snapshots fail when they would activate.
    #[n(0)]
    pub decodes: bool,
    /// As inscribed.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub body: Vec<u8>,
}

/// Two manifests of an entity under one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EquivocationRecord {
    /// The sequence.
    #[n(0)]
    pub sequence: u64,
    /// The first accepted of that sequence.
    #[n(1)]
    pub first: ManifestId,
    /// The other one, accepted or not.
    #[n(2)]
    pub second: ManifestId,
    /// Transaction of the inscription of the second; that of the first is in its snapshot record.
    #[cbor(n(3), with = "hash32")]
    pub second_txid: Txid,
    /// The `n` of the second's inscription id.
    #[n(4)]
    pub second_inscription: u32,
    /// Height at which it was found.
    #[n(5)]
    pub height: Height,
}

/// A change of a TTXO's declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Declaration {
    /// Where it happened: the message that completed the snapshot.
    #[n(0)]
    pub place: Place,
    /// Sequence of the snapshot, which names it among the activated ones of the entity.
    #[n(1)]
    pub sequence: u64,
}

/// A TTXO that was declared at least once.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TtxoRecord {
    /// Its owner.
    #[n(0)]
    pub owner: OwnerKey,
    /// Revocation commitment.
    #[n(1)]
    pub revocation: PubKey,
    /// Withdraw bond, satoshis.
    #[n(2)]
    pub bond: u64,
    /// Withdraw relative locktime, blocks.
    #[n(3)]
    pub locktime: u64,
    /// Its token.
    #[n(4)]
    pub token: TokenId,
    /// Its amount, base units.
    #[n(5)]
    pub amount: Amount,
    /// When it was declared, dropped, declared again and so on, in turn.
    #[n(6)]
    pub history: Vec<Declaration>,
}

impl TtxoRecord {
    /// Whether it is in the declared set.
    pub fn is_declared(&self) -> bool {
        self.history.len() % 2 == 1
    }

    /// Whether the last change of its declaration before `place` was a drop.
    pub fn was_dropped_before(&self, place: Place) -> bool {
        let changes = self.history.iter().take_while(|change| change.place < place).count();
        changes > 0 && changes % 2 == 0
    }

    /// The fields that a snapshot declared.
    pub fn ttxo(&self, outpoint: SparkOutPoint) -> Ttxo {
        Ttxo {
            outpoint,
            owner: self.owner,
            revocation: self.revocation,
            bond: self.bond,
            locktime: self.locktime,
            token: self.token,
            amount: self.amount,
        }
    }
}

impl From<&Ttxo> for TtxoRecord {
    /// With no history yet.
    fn from(ttxo: &Ttxo) -> Self {
        TtxoRecord {
            owner: ttxo.owner,
            revocation: ttxo.revocation,
            bond: ttxo.bond,
            locktime: ttxo.locktime,
            token: ttxo.token,
            amount: ttxo.amount,
            history: Vec::new(),
        }
    }
}

/// A withdrawal announcement of a followed entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WithdrawalRecord {
    /// Its transaction.
    #[cbor(n(0), with = "hash32")]
    pub txid: Txid,
    /// Its entity.
    #[n(1)]
    pub entity: EntityIndex,
    /// The owner's signature, which version 1 cannot verify.
    #[n(2)]
    pub owner_signature: Signature,
    /// How many records it has.
    #[n(3)]
    pub records: u8,
}

/// The states of an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum ExitState {
    /// Some TTXO of its announcement was never declared.
    #[n(0)]
    Unresolved,
    /// Valid; the owner must wait.
    #[n(1)]
    Pending,
    /// Valid; the owner may claim.
    #[n(2)]
    Matured,
    /// Valid; the bond was spent by the key path.
    #[n(3)]
    Revoked,
    /// Valid; the bond was spent by the script path.
    #[n(4)]
    Claimed,
    /// Not valid.
    #[n(5)]
    Invalid(#[n(0)] ExitReason),
}

impl ExitState {
    /// Whether the exit was judged valid.
    pub fn is_valid(self) -> bool {
        !matches!(self, ExitState::Unresolved | ExitState::Invalid(_))
    }

    /// Whether the TTXOs that its announcement names were looked at, so that they were declared, and the
    /// exit has an owner and a token.
    pub fn knows_ttxo(self) -> bool {
        !matches!(self, ExitState::Unresolved | ExitState::Invalid(ExitReason::DuplicateVout))
    }

    /// Without the reason.
    pub fn kind(self) -> ExitKind {
        match self {
            ExitState::Unresolved => ExitKind::Unresolved,
            ExitState::Pending => ExitKind::Pending,
            ExitState::Matured => ExitKind::Matured,
            ExitState::Revoked => ExitKind::Revoked,
            ExitState::Claimed => ExitKind::Claimed,
            ExitState::Invalid(_) => ExitKind::Invalid,
        }
    }
}

/// A spend of a bond output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BondSpend {
    /// The spending transaction.
    #[cbor(n(0), with = "hash32")]
    pub txid: Txid,
    /// Its input.
    #[n(1)]
    pub input: u32,
    /// Height of its block.
    #[n(2)]
    pub height: Height,
    /// Which Taproot path it took.
    #[n(3)]
    pub path: SpendPath,
}

/// An output that a record names as its bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BondRecord {
    /// Value in satoshis.
    #[n(0)]
    pub value: u64,
    /// Output key (x-only) of a Taproot output.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub taproot_key: Option<[u8; 32]>,
}

/// An exit: one record of a withdrawal announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ExitRecord {
    /// Its entity.
    #[n(0)]
    pub entity: EntityIndex,
    /// Place of its announcement.
    #[n(1)]
    pub place: Place,
    /// The TTXO that it names.
    #[n(2)]
    pub ttxo: SparkOutPoint,
    /// The output of its transaction that carries the bond.
    #[n(3)]
    pub bitcoin_vout: u16,
    /// That output; `None` if there is none.
    #[n(4)]
    pub bond: Option<BondRecord>,
    /// Its state.
    #[n(5)]
    pub state: ExitState,
    /// Height of the block in which it was judged; `None` while unresolved.
    #[n(6)]
    pub judged: Option<Height>,
    /// How its bond was spent.
    #[n(7)]
    pub spend: Option<BondSpend>,
    /// Sequence of the snapshot that reinstated its TTXO, after which it no longer stands.
    #[n(8)]
    pub reinstated: Option<u64>,
}

/// Sums for an owner, a token and an entity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Balance {
    /// Live TTXOs.
    #[n(0)]
    pub available: Amount,
    /// TTXOs whose standing exit is pending or matured.
    #[n(1)]
    pub exiting: WideAmount,
    /// TTXOs whose standing exit is claimed.
    #[n(2)]
    pub claimed: WideAmount,
}

/// CBOR form of Bitcoin's 32-byte hashes: bytes in internal order.
pub(crate) mod hash32 {
    use super::*;

    pub fn encode<Ctx, H, W>(
        hash: &H,
        e: &mut Encoder<W>,
        _: &mut Ctx,
    ) -> Result<(), minicbor::encode::Error<W::Error>>
    where
        H: Hash<Bytes = [u8; 32]>,
        W: minicbor::encode::Write,
    {
        e.bytes(hash.as_byte_array())?;
        Ok(())
    }

    pub fn decode<'b, Ctx, H>(d: &mut Decoder<'b>, _: &mut Ctx) -> Result<H, minicbor::decode::Error>
    where
        H: Hash<Bytes = [u8; 32]>,
    {
        let bytes = d.bytes()?;
        H::from_slice(bytes).map_err(|_| minicbor::decode::Error::message("expected a hash of 32 bytes"))
    }
}

/// Identifies an exit in events and indexes.
pub fn exit_id(withdrawal: &WithdrawalRecord, place: Place, record: u8) -> ExitId {
    ExitId { txid: withdrawal.txid.into(), output: place.index, record }
}
