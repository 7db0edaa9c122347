//! Newtypes for the values that must never be mixed up.
//!
//! Byte strings are kept in the order in which the protocol hashes and transmits them. Bitcoin's own
//! hashes keep the types of the `bitcoin` crate, whose `Display` reverses them as people expect.

use std::fmt;
use std::str::FromStr;

use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::secp256k1::PublicKey;

/// Height of a block in its chain; the genesis block has height 0.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    minicbor::Encode,
    minicbor::Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct Height(#[n(0)] pub u32);

impl Height {
    /// The height of the next block. Saturates; 2^32 blocks are 80,000 years.
    pub fn next(self) -> Self {
        Height(self.0.saturating_add(1))
    }

    /// The height of the parent, or `None` for the genesis block.
    pub fn prev(self) -> Option<Self> {
        self.0.checked_sub(1).map(Height)
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An amount of a token in base units (the smallest unit; decimals are for display only).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub u128);

impl Amount {
    /// Nothing.
    pub const ZERO: Amount = Amount(0);

    /// The sum, or `None` above 2^128 - 1.
    pub fn checked_add(self, other: Amount) -> Option<Amount> {
        self.0.checked_add(other.0).map(Amount)
    }

    /// The difference, or `None` below zero.
    pub fn checked_sub(self, other: Amount) -> Option<Amount> {
        self.0.checked_sub(other.0).map(Amount)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl serde::Serialize for Amount {
    /// A decimal string: 128 bits do not survive JSON numbers.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(itoa::Buffer::new().format(self.0))
    }
}

impl<C> minicbor::Encode<C> for Amount {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0.to_be_bytes())?;
        Ok(())
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Amount {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes: [u8; 16] =
            d.bytes()?.try_into().map_err(|_| minicbor::decode::Error::message("an amount is 16 bytes"))?;
        Ok(Amount(u128::from_be_bytes(bytes)))
    }
}

/// Text that is not the hex form of the expected value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {what} as {digits} hex digits")]
pub struct ParseHexError {
    /// What was expected, with its article.
    pub what: &'static str,
    /// How many hex digits it has.
    pub digits: usize,
}

macro_rules! byte_newtype {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;
            /// The lowest value, for ranges.
            pub const MIN: $name = $name([0; $len]);
            /// The highest value, for ranges.
            pub const MAX: $name = $name([0xff; $len]);

            /// The bytes, in protocol order.
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// From a slice of exactly the right length.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.as_hex(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseHexError;

            fn from_str(s: &str) -> Result<Self, ParseHexError> {
                <[u8; $len]>::from_hex(s)
                    .map($name)
                    .map_err(|_| ParseHexError { what: $what, digits: 2 * $len })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut digits = [0; 2 * $len];
                let digits = faster_hex::hex_encode(&self.0, &mut digits).map_err(serde::ser::Error::custom)?;
                serializer.serialize_str(digits)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?;
                Ok(())
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(
                d: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> Result<Self, minicbor::decode::Error> {
                $name::from_slice(d.bytes()?)
                    .ok_or_else(|| minicbor::decode::Error::message(concat!("expected ", $what)))
            }
        }
    };
}

byte_newtype!(
    /// A compressed secp256k1 public key (33 bytes). Whether it is a point of the curve is checked by
    /// the decoders that require it; see [`PubKey::is_on_curve`].
    PubKey, 33, "a compressed public key"
);
byte_newtype!(
    /// Version 1 token identifier: 32 bytes in the order in which SHA-256 produces them.
    TokenId, 32, "a token identifier"
);
byte_newtype!(
    /// Id of a manifest: `tagged("BTKN/manifest", manifest_bytes)`, also the message that is signed.
    ManifestId, 32, "a manifest id"
);
byte_newtype!(
    /// SHA-256 of a chunk body as it was inscribed.
    ChunkHash, 32, "a chunk hash"
);
byte_newtype!(
    /// A leaf or inner node of the tree over a declared set.
    NodeHash, 32, "a tree hash"
);
byte_newtype!(
    /// The commitment to everything that happened up to and including a block.
    StateHash, 32, "a state hash"
);
byte_newtype!(
    /// Hash of a Spark token transaction in its natural order (never reversed).
    SparkTxHash, 32, "a Spark transaction hash"
);
byte_newtype!(
    /// A 64-byte BIP-340 signature.
    Signature, 64, "a signature"
);

byte_newtype!(
    /// A Bitcoin transaction id in display order, so that values sort as their texts do.
    DisplayTxid, 32, "a txid"
);

impl From<bitcoin::Txid> for DisplayTxid {
    fn from(txid: bitcoin::Txid) -> Self {
        let mut bytes = bitcoin::hashes::Hash::to_byte_array(txid);
        bytes.reverse();
        DisplayTxid(bytes)
    }
}

impl From<DisplayTxid> for bitcoin::Txid {
    fn from(txid: DisplayTxid) -> Self {
        let mut bytes = txid.0;
        bytes.reverse();
        bitcoin::hashes::Hash::from_byte_array(bytes)
    }
}

/// A public key that owns TTXOs.
pub type OwnerKey = PubKey;

impl PubKey {
    /// The burn key: the byte 02, 33 times. What it owns is burned supply.
    pub const BURN: PubKey = PubKey([2; 33]);

    /// Whether the bytes are a point of the curve in compressed form.
    pub fn is_on_curve(&self) -> bool {
        PublicKey::from_slice(&self.0).is_ok()
    }

    /// The x coordinate (32 bytes, big-endian).
    pub fn x_only(&self) -> [u8; 32] {
        let mut x = [0; 32];
        x.copy_from_slice(&self.0[1..]);
        x
    }
}

impl From<PublicKey> for PubKey {
    fn from(key: PublicKey) -> Self {
        PubKey(key.serialize())
    }
}

/// A token output on Spark: the hash of the transaction that made it and its index there.
///
/// Ordered as the tree over a declared set orders its leaves: hash, then index, as big-endian bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
pub struct SparkOutPoint {
    /// Hash of the final Spark token transaction.
    #[n(0)]
    pub tx_hash: SparkTxHash,
    /// Output index.
    #[n(1)]
    pub vout: u32,
}

impl SparkOutPoint {
    /// The lowest value, for ranges.
    pub const MIN: SparkOutPoint = SparkOutPoint { tx_hash: SparkTxHash::MIN, vout: 0 };
    /// The highest value, for ranges.
    pub const MAX: SparkOutPoint = SparkOutPoint { tx_hash: SparkTxHash::MAX, vout: u32::MAX };
}

impl fmt::Display for SparkOutPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.tx_hash, self.vout)
    }
}

impl fmt::Debug for SparkOutPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not `<64 hex digits>:<index>`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected <spark transaction hash, 64 hex digits>:<output index>")]
pub struct ParseSparkOutPointError;

impl FromStr for SparkOutPoint {
    type Err = ParseSparkOutPointError;

    fn from_str(s: &str) -> Result<Self, ParseSparkOutPointError> {
        let (hash, vout) = s.split_once(':').ok_or(ParseSparkOutPointError)?;
        // One text for each value, as for outpoints of Bitcoin.
        let plain = vout == "0" || !vout.starts_with(['0', '+']);
        match (hash.parse(), vout.parse()) {
            (Ok(tx_hash), Ok(vout)) if plain => Ok(SparkOutPoint { tx_hash, vout }),
            _ => Err(ParseSparkOutPointError),
        }
    }
}

impl serde::Serialize for SparkOutPoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The Bitcoin networks on which BTKN exists. Testnet means testnet3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The production network.
    Mainnet,
    /// Testnet3.
    Testnet,
    /// The default signet.
    Signet,
    /// A local chain for tests.
    Regtest,
}

impl Network {
    /// The number that token identifiers and manifests carry; big-endian when hashed.
    pub fn magic(self) -> u32 {
        u32::from_le_bytes(self.to_bitcoin().magic().to_bytes())
    }

    /// The same network in the `bitcoin` crate.
    pub fn to_bitcoin(self) -> bitcoin::Network {
        match self {
            Network::Mainnet => bitcoin::Network::Bitcoin,
            Network::Testnet => bitcoin::Network::Testnet,
            Network::Signet => bitcoin::Network::Signet,
            Network::Regtest => bitcoin::Network::Regtest,
        }
    }

    /// Lower-case name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Network::Mainnet => "mainnet",
            Network::Testnet => "testnet",
            Network::Signet => "signet",
            Network::Regtest => "regtest",
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_is_the_number_that_identifiers_hash() {
        let magics =
            [Network::Mainnet, Network::Testnet, Network::Signet, Network::Regtest].map(Network::magic);
        assert_eq!(magics, [0xd9b4_bef9, 0x0709_110b, 0x40cf_030a, 0xdab5_bffa]);
    }

    #[test]
    fn spark_outpoint_text_is_strict() {
        let hash = "11".repeat(32);
        assert!(format!("{hash}:7").parse::<SparkOutPoint>().is_ok());
        for bad in [
            "",
            ":",
            "11:0",
            &hash,
            &format!("{hash}:"),
            &format!("{hash}:+1"),
            &format!("{hash}:-1"),
            &format!("{hash}:01"),
            &format!("{hash}:00"),
            &format!("{hash}:4294967296"),
        ] {
            assert!(bad.parse::<SparkOutPoint>().is_err(), "{bad}");
        }
    }
}
