//! How values are written in answers and requests, as schemas for the document of the API.
//!
//! Types of the protocol know nothing of the API; what their texts look like is said here, once. Types of
//! other crates have a stand-in of the same name.

use std::borrow::Cow;

use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use super::endpoints::HolderOrder;
use super::names::ExitStateName;
use crate::claims::codes::{Outcome, Party, Reason, Verdict};
use crate::ledger::keys::{ExitId, L1OutPoint};
use crate::ledger::reasons::{ExitReason, FailReason};
use crate::ledger::records::Counter;
use crate::protocol::{
    Amount, ChunkHash, DisplayTxid, Height, ManifestId, NodeHash, PubKey, Signature, SparkOutPoint,
    SparkTxHash, StateHash, TokenId,
};

/// Schemas that parameters refer to, which are not collected from their annotations.
pub fn of_parameters() -> Vec<(String, RefOr<Schema>)> {
    fn one<T: ToSchema>() -> (String, RefOr<Schema>) {
        (T::name().into(), T::schema())
    }
    vec![
        one::<TokenParam>(),
        one::<OwnerParam>(),
        one::<BlockParam>(),
        one::<TtxoParam>(),
        one::<OutPointParam>(),
        one::<EntityParam>(),
        one::<SequenceParam>(),
        one::<Height>(),
        one::<BlockHash>(),
        one::<PubKey>(),
        one::<ManifestId>(),
        one::<ExitStateName>(),
        one::<HolderOrder>(),
    ]
}

macro_rules! text_schemas {
    ($($kind:ty, $name:literal, $pattern:literal, $description:literal;)+) => {$(
        impl PartialSchema for $kind {
            fn schema() -> RefOr<Schema> {
                let text = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
                text.pattern(Some($pattern)).description(Some($description)).into()
            }
        }

        impl ToSchema for $kind {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
        }
    )+};
}

macro_rules! stand_ins {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $name {}
    )+};
}

stand_ins! {
    /// A block hash in an answer.
    BlockHash;
    /// A transaction id in an answer.
    Txid;
    /// A token in a request.
    TokenParam;
    /// An owner in a request.
    OwnerParam;
    /// A block in a path.
    BlockParam;
    /// A TTXO in a request.
    TtxoParam;
    /// An L1 output in a request.
    OutPointParam;
    /// An entity in a request.
    EntityParam;
    /// A sequence in a path.
    SequenceParam;
}

text_schemas! {
    PubKey, "PubKey", "^[0-9a-f]{66}$", "A compressed public key: 33 bytes in hex.";
    TokenId, "TokenId", "^[0-9a-f]{64}$", "A token identifier in hex.";
    ManifestId, "ManifestId", "^[0-9a-f]{64}$", "Id of a manifest, in hex.";
    ChunkHash, "ChunkHash", "^[0-9a-f]{64}$", "SHA-256 of the body of a chunk, in hex.";
    NodeHash, "NodeHash", "^[0-9a-f]{64}$", "Root of a set of TTXOs, in hex.";
    StateHash, "StateHash", "^[0-9a-f]{64}$",
        "Commits to everything that happened up to and including a block. Servers that show the same one agree.";
    SparkTxHash, "SparkTxHash", "^[0-9a-f]{64}$", "Hash of a Spark token transaction, in hex, not reversed.";
    Signature, "Signature", "^[0-9a-f]{128}$", "A BIP-340 signature: 64 bytes in hex.";
    SparkOutPoint, "SparkOutPoint", "^[0-9a-f]{64}:(0|[1-9][0-9]{0,9})$",
        "An output of a Spark token transaction: `<spark_tx_hash>:<vout>`.";
    Amount, "Amount", "^(0|[1-9][0-9]{0,38})$",
        "A token amount in base units, up to 2^128 - 1: a string, because JSON numbers do not hold it.";
    BlockHash, "BlockHash", "^[0-9a-f]{64}$", "A block hash in hex, as Bitcoin Core shows it.";
    Txid, "Txid", "^[0-9a-f]{64}$", "A transaction id in hex, as Bitcoin Core shows it.";
    DisplayTxid, "Txid", "^[0-9a-f]{64}$", "A transaction id in hex, as Bitcoin Core shows it.";
    L1OutPoint, "OutPoint", "^[0-9a-f]{64}:(0|[1-9][0-9]{0,9})$", "An L1 output: `<txid>:<vout>`.";
    ExitId, "ExitId", "^[0-9a-f]{64}:(0|[1-9][0-9]{0,9}):(0|[1-9][0-9]{0,2})$",
        "An exit: `<txid>:<announcing_vout>:<record>`, as in event lines.";
    TokenParam, "TokenParam",
        "^([0-9a-fA-F]{64}|(btknrt|btknl|btknt|btkns|btkn)1[02-9ac-hj-np-z]{58}|(BTKNRT|BTKNL|BTKNT|BTKNS|BTKN)1[02-9AC-HJ-NP-Z]{58})$",
        "A token: the 64 hex digits of its identifier, or its bech32m form.";
    OwnerParam, "OwnerParam",
        "^(0[23][0-9a-fA-F]{64}|sp(ark)?(rt|l|t|s)?1[02-9ac-hj-np-z]{62}|SP(ARK)?(RT|L|T|S)?1[02-9AC-HJ-NP-Z]{62})$",
        "An owner: the 66 hex digits of its public key, or a Spark address.";
    BlockParam, "BlockParam", "^([0-9]{1,10}|[0-9a-fA-F]{64})$",
        "A block: its height, or the 64 hex digits of its hash.";
    TtxoParam, "TtxoParam", "^[0-9a-fA-F]{64}:(0|[1-9][0-9]{0,9})$", "A TTXO: `<spark_tx_hash>:<vout>`.";
    OutPointParam, "OutPointParam", "^[0-9a-fA-F]{64}:(0|[1-9][0-9]{0,9})$", "An L1 output: `<txid>:<vout>`.";
    EntityParam, "EntityParam", "^.+$",
        "An entity: the 66 hex digits of its id (its first key), or the name that this server gives it.";
    SequenceParam, "SequenceParam", "^[0-9]{1,20}$", "The sequence of a snapshot, in decimal digits.";
}

impl PartialSchema for Counter {
    fn schema() -> RefOr<Schema> {
        let names = Counter::ALL.iter().map(|counter| serde_json::json!(counter));
        let names = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).enum_values(Some(names));
        names.description(Some("A kind of message that is counted and has no other effect.")).into()
    }
}

impl ToSchema for Counter {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Counter")
    }
}

impl PartialSchema for Height {
    fn schema() -> RefOr<Schema> {
        let height = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Integer))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(0))
            .maximum(Some(u32::MAX));
        height.description(Some("Height of a block; the genesis block has 0.")).into()
    }
}

impl ToSchema for Height {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Height")
    }
}

macro_rules! name_schemas {
    ($($kind:ident, $names:expr, $description:literal;)+) => {$(
        impl PartialSchema for $kind {
            fn schema() -> RefOr<Schema> {
                let names = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
                names.enum_values(Some($names)).description(Some($description)).into()
            }
        }

        impl ToSchema for $kind {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($kind))
            }
        }
    )+};
}

name_schemas! {
    ExitReason, ExitReason::ALL.iter().map(|reason| reason.as_str()), "Why an exit is invalid.";
    FailReason, FailReason::ALL.iter().map(|reason| reason.as_str()), "Why a snapshot failed.";
    Verdict, Verdict::ALL.iter().map(|verdict| verdict.as_str()), "`honour`: pay. `wait`: not yet. `refuse`: do not pay.";
    Outcome, Outcome::ALL.iter().map(|outcome| outcome.as_str()),
        "What a check found. `fail` refuses; `wait`, and a `warn` that was not accepted, hold the verdict back.";
    Party, Party::ALL.iter().map(|party| party.as_str()), "Who or what can end a wait.";
    Reason, Reason::ALL.iter().map(|reason| reason.as_str()),
        "What a check found, and why a verdict is what it is; schema/verdicts.md explains each.";
}
