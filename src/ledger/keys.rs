//! Keys of tables: fixed-length bytes whose order is the order of the values.
//!
//! Integers are big-endian. The derived order of every key type equals the order of its bytes, which the
//! merge of pending changes with stored rows relies on; a test holds it.

use std::cmp::Reverse;
use std::fmt;

use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, OutPoint};
use unicode_normalization::UnicodeNormalization;

use crate::protocol::{
    Amount, ChunkHash, DisplayTxid, Height, ManifestId, OwnerKey, ParseHexError, SparkOutPoint, SparkTxHash,
    TokenId,
};

/// A part of a key.
pub trait KeyPart: Sized + Clone + Ord + fmt::Debug {
    /// Length in bytes.
    const LEN: usize;
    /// Length in bytes of what keys have in common whose rows are read together: an owner, say, a token or an
    /// output. It is the shortest beginning of a tuple that is as long as a hash, for shorter ones are shared
    /// by too many. 0 for a key that has none.
    const GROUP: usize = 0;
    /// The lowest value.
    const LOWEST: Self;
    /// The highest value.
    const HIGHEST: Self;

    /// Appends exactly `LEN` bytes.
    fn put(&self, out: &mut Vec<u8>);

    /// From exactly `LEN` bytes.
    fn take(bytes: &[u8]) -> Option<Self>;

    /// The bytes of a whole key.
    fn to_key(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        self.put(&mut out);
        out
    }
}

macro_rules! integer_part {
    ($($int:ty),*) => {$(
        impl KeyPart for $int {
            const LEN: usize = size_of::<$int>();
            const LOWEST: Self = <$int>::MIN;
            const HIGHEST: Self = <$int>::MAX;

            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn take(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(<$int>::from_be_bytes)
            }
        }
    )*};
}
integer_part!(u8, u16, u32, u64, u128);

macro_rules! bytes_part {
    ($($name:ty),*) => {$(
        impl KeyPart for $name {
            const LEN: usize = <$name>::LEN;
            const LOWEST: Self = <$name>::MIN;
            const HIGHEST: Self = <$name>::MAX;

            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_bytes());
            }

            fn take(bytes: &[u8]) -> Option<Self> {
                <$name>::from_slice(bytes)
            }
        }
    )*};
}
bytes_part!(OwnerKey, TokenId, ManifestId, ChunkHash, SparkTxHash, DisplayTxid, BlockKey, Folded);

/// The fields of a struct, or the elements of a tuple, one after the other.
macro_rules! compound_part {
    ($name:ty { $($field:ident: $part:ty),+ }) => {
        impl KeyPart for $name {
            const LEN: usize = 0 $(+ <$part as KeyPart>::LEN)+;
            const LOWEST: Self = Self { $($field: <$part as KeyPart>::LOWEST),+ };
            const HIGHEST: Self = Self { $($field: <$part as KeyPart>::HIGHEST),+ };

            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)+
            }

            fn take(bytes: &[u8]) -> Option<Self> {
                let mut rest = bytes;
                $(let $field = take_front::<$part>(&mut rest)?;)+
                rest.is_empty().then_some(Self { $($field),+ })
            }
        }
    };
    (($($element:ident),+)) => {
        impl<$($element: KeyPart),+> KeyPart for ($($element,)+) {
            const LEN: usize = 0 $(+ $element::LEN)+;
            const GROUP: usize = group(&[$($element::LEN),+]);
            const LOWEST: Self = ($($element::LOWEST,)+);
            const HIGHEST: Self = ($($element::HIGHEST,)+);

            #[allow(non_snake_case)]
            fn put(&self, out: &mut Vec<u8>) {
                let ($($element,)+) = self;
                $($element.put(out);)+
            }

            #[allow(non_snake_case)]
            fn take(bytes: &[u8]) -> Option<Self> {
                let mut rest = bytes;
                $(let $element = take_front::<$element>(&mut rest)?;)+
                rest.is_empty().then_some(($($element,)+))
            }
        }
    };
}

/// The group of a tuple with elements of these lengths.
const fn group(mut lengths: &[usize]) -> usize {
    let mut group = 0;
    while let [first, rest @ ..] = lengths {
        if group >= TokenId::LEN {
            return group;
        }
        group += *first;
        lengths = rest;
    }
    0
}

macro_rules! wrapped_part {
    ($name:ident, $int:ty) => {
        impl KeyPart for $name {
            const LEN: usize = <$int as KeyPart>::LEN;
            const LOWEST: Self = $name(<$int>::MIN);
            const HIGHEST: Self = $name(<$int>::MAX);

            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }

            fn take(bytes: &[u8]) -> Option<Self> {
                <$int as KeyPart>::take(bytes).map($name)
            }
        }
    };
}

fn take_front<P: KeyPart>(rest: &mut &[u8]) -> Option<P> {
    let (front, back) = rest.split_at_checked(P::LEN)?;
    *rest = back;
    P::take(front)
}

compound_part!((A, B));
compound_part!((A, B, C));
compound_part!((A, B, C, D));
wrapped_part!(Amount, u128);
wrapped_part!(Height, u32);
wrapped_part!(EntityIndex, u16);
compound_part!(SparkOutPoint { tx_hash: SparkTxHash, vout: u32 });
compound_part!(L1OutPoint { txid: DisplayTxid, vout: u32 });
compound_part!(ExitId { txid: DisplayTxid, output: u32, record: u8 });
compound_part!(Place { height: Height, tx: u32, part: u8, index: u32, sub: u32 });

/// In descending order: the bytes of the value, inverted.
impl<P: KeyPart> KeyPart for Reverse<P> {
    const LEN: usize = P::LEN;
    const LOWEST: Self = Reverse(P::HIGHEST);
    const HIGHEST: Self = Reverse(P::LOWEST);

    fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.0.put(out);
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }

    fn take(bytes: &[u8]) -> Option<Self> {
        let inverted: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
        P::take(&inverted).map(Reverse)
    }
}

/// A kind of thing as one byte, in the order of the variants.
macro_rules! enum_part {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
        }

        impl $name {
            /// All of them, in ascending order.
            pub const ALL: &[$name] = &[$($name::$variant),+];
        }

        impl KeyPart for $name {
            const LEN: usize = 1;
            const LOWEST: Self = Self::ALL[0];
            const HIGHEST: Self = Self::ALL[Self::ALL.len() - 1];

            fn put(&self, out: &mut Vec<u8>) {
                out.push(*self as u8);
            }

            fn take(bytes: &[u8]) -> Option<Self> {
                let [number] = bytes else { return None };
                Self::ALL.get(usize::from(*number)).copied()
            }
        }
    };
}

enum_part! {
    /// The state of an exit, without the reason for which it is invalid.
    ExitKind {
        /// Some TTXO of its announcement was never declared.
        Unresolved,
        /// Valid; the owner must wait.
        Pending,
        /// Valid; the owner may claim.
        Matured,
        /// Valid; the bond was spent by the key path.
        Revoked,
        /// Valid; the bond was spent by the script path.
        Claimed,
        /// Not valid.
        Invalid,
    }
}

enum_part! {
    /// What a token is searched by.
    NameKind {
        /// Its ticker.
        Ticker,
        /// Its name.
        Name,
    }
}

/// The only key of a table with one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Only;

impl KeyPart for Only {
    const LEN: usize = 0;
    const LOWEST: Self = Only;
    const HIGHEST: Self = Only;

    fn put(&self, _: &mut Vec<u8>) {}

    fn take(bytes: &[u8]) -> Option<Self> {
        bytes.is_empty().then_some(Only)
    }
}

/// A followed entity, by its place among the entity ids in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct EntityIndex(#[n(0)] pub u16);

/// A block hash in internal byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockKey([u8; 32]);

impl BlockKey {
    const LEN: usize = 32;
    const MIN: BlockKey = BlockKey([0; 32]);
    const MAX: BlockKey = BlockKey([0xff; 32]);

    fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(BlockKey)
    }
}

impl From<BlockHash> for BlockKey {
    fn from(hash: BlockHash) -> Self {
        BlockKey(hash.to_byte_array())
    }
}

/// A name or ticker as it is searched for: every character in lower case as Unicode maps it by itself,
/// UTF-8, zeros up to the end. What begins with a text before begins with it after, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Folded([u8; 32]);

impl Folded {
    /// Lower case makes 20 bytes at most 30; a test holds it.
    const LEN: usize = 32;
    const MIN: Folded = Folded([0; 32]);
    const MAX: Folded = Folded([0xff; 32]);

    fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Folded)
    }

    /// The key of a name or ticker that a token can have.
    pub fn new(text: &str) -> Folded {
        let mut bytes = Self::MIN.0;
        bytes.iter_mut().zip(fold(text).bytes()).for_each(|(to, from)| *to = from);
        Folded(bytes)
    }

    /// The first and the last key of what begins with `prefix`, in upper or lower case and any normal form;
    /// `None` if nothing does, because it is too long.
    pub fn range(prefix: &str) -> Option<(Folded, Folded)> {
        // Names and tickers are in normal form C.
        let prefix = fold(&prefix.nfc().collect::<String>());
        let (mut first, mut last) = (Self::MIN, Self::MAX);
        for bound in [&mut first, &mut last] {
            bound.0.get_mut(..prefix.len())?.copy_from_slice(prefix.as_bytes());
        }
        Some((first, last))
    }
}

/// Not `str::to_lowercase`, which looks at what stands around a sigma.
fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// An output of a Bitcoin transaction, ordered by txid in display order, then index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct L1OutPoint {
    /// The transaction.
    pub txid: DisplayTxid,
    /// Output index.
    pub vout: u32,
}

impl From<OutPoint> for L1OutPoint {
    fn from(outpoint: OutPoint) -> Self {
        L1OutPoint { txid: outpoint.txid.into(), vout: outpoint.vout }
    }
}

impl From<L1OutPoint> for OutPoint {
    fn from(outpoint: L1OutPoint) -> Self {
        OutPoint { txid: outpoint.txid.into(), vout: outpoint.vout }
    }
}

impl fmt::Display for L1OutPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.txid, self.vout)
    }
}

impl serde::Serialize for L1OutPoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::str::FromStr for L1OutPoint {
    type Err = ParseHexError;

    fn from_str(s: &str) -> Result<Self, ParseHexError> {
        let outpoint: OutPoint = s
            .parse()
            .map_err(|_| ParseHexError { what: "an outpoint <txid>:<vout>, its txid", digits: 64 })?;
        Ok(outpoint.into())
    }
}

/// An exit: one record of one withdrawal announcement. Ordered as maturities of a block are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
pub struct ExitId {
    /// The announcing transaction.
    #[n(0)]
    pub txid: DisplayTxid,
    /// Index of the announcing output.
    #[n(1)]
    pub output: u32,
    /// Index of the record in the announcement.
    #[n(2)]
    pub record: u8,
}

impl fmt::Display for ExitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.txid, self.output, self.record)
    }
}

impl serde::Serialize for ExitId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::str::FromStr for ExitId {
    type Err = ParseHexError;

    fn from_str(s: &str) -> Result<Self, ParseHexError> {
        let expected = ParseHexError { what: "an exit <txid>:<output>:<record>, its txid", digits: 64 };
        let (output, record) = s.rsplit_once(':').ok_or(expected.clone())?;
        let L1OutPoint { txid, vout } = output.parse()?;
        // One text for each value.
        let plain = record == "0" || !record.starts_with(['0', '+']);
        let record = record.parse().ok().filter(|_| plain).ok_or(expected)?;
        Ok(ExitId { txid, output: vout, record })
    }
}

/// A place in chain order: block, transaction, then within a transaction envelopes before outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, minicbor::Encode, minicbor::Decode)]
pub struct Place {
    /// Height of the block.
    #[n(0)]
    pub height: Height,
    /// Index of the transaction in the block.
    #[n(1)]
    pub tx: u32,
    /// [`Place::ENVELOPE`] or [`Place::OUTPUT`].
    #[n(2)]
    part: u8,
    /// Index of the input that carries the envelope, or of the output.
    #[n(3)]
    pub index: u32,
    /// Index of the envelope in its input; 0 for an output.
    #[n(4)]
    pub sub: u32,
}

impl Place {
    const ENVELOPE: u8 = 0;
    const OUTPUT: u8 = 1;

    /// The place of an envelope.
    pub fn envelope(height: Height, tx: u32, input: u32, envelope: u32) -> Self {
        Place { height, tx, part: Self::ENVELOPE, index: input, sub: envelope }
    }

    /// The place of an output.
    pub fn output(height: Height, tx: u32, vout: u32) -> Self {
        Place { height, tx, part: Self::OUTPUT, index: vout, sub: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use unicode_normalization::is_nfc;

    use crate::protocol::token::TokenMetadata;

    fn place() -> impl Strategy<Value = Place> {
        (0..3u32, 0..3u32, 0..2u8, 0..300u32, 0..300u32).prop_map(|(height, tx, part, index, sub)| Place {
            height: Height(height),
            tx,
            part,
            index,
            sub,
        })
    }

    fn exit_id() -> impl Strategy<Value = ExitId> {
        (any::<[u8; 32]>(), any::<u32>(), any::<u8>()).prop_map(|(txid, output, record)| ExitId {
            txid: DisplayTxid(txid),
            output,
            record,
        })
    }

    proptest! {
        #[test]
        fn order_of_keys_is_the_order_of_their_bytes(
            a in (place(), exit_id(), any::<u64>()),
            b in (place(), exit_id(), any::<u64>()),
        ) {
            prop_assert_eq!(a.cmp(&b), a.to_key().cmp(&b.to_key()));
        }

        #[test]
        fn descending_keys_are_in_the_opposite_order_and_round_trip(
            a in (any::<u128>(), place()),
            b in (any::<u128>(), place()),
        ) {
            let key = |(amount, place)| (Reverse(Amount(amount)), Reverse(place));
            prop_assert_eq!(key(a).to_key().cmp(&key(b).to_key()), b.cmp(&a));
            prop_assert_eq!(KeyPart::take(&key(a).to_key()), Some(key(a)));
        }

        #[test]
        fn a_token_is_found_by_every_beginning_of_its_name_in_any_case(name in "\\PC{1,20}", end in 0..20usize) {
            let name: String = name.nfc().collect();
            let Some((end, _)) = name.char_indices().nth(end) else { return Ok(()) };
            prop_assume!(name.len() <= 20 && is_nfc(&name[..end]));
            let (first, last) = Folded::range(&name[..end]).unwrap();
            prop_assert!((first..=last).contains(&Folded::new(&name)));
        }

        #[test]
        fn keys_round_trip(key in (place(), exit_id(), any::<u64>())) {
            let bytes = key.to_key();
            prop_assert_eq!(bytes.len(), <(Place, ExitId, u64) as KeyPart>::LEN);
            prop_assert_eq!(<(Place, ExitId, u64)>::take(&bytes), Some(key));
            prop_assert_eq!(<(Place, ExitId, u64)>::take(&bytes[1..]), None);
        }
    }

    #[test]
    fn lower_case_of_every_name_fits_into_a_key() {
        let longer = |c: &char| 2 * c.to_lowercase().map(char::len_utf8).sum::<usize>() > 3 * c.len_utf8();
        assert_eq!(('\0'..=char::MAX).find(longer), None);
        const { assert!(2 * Folded::LEN >= 3 * *TokenMetadata::NAME_BYTES.end()) };
    }

    #[test]
    fn case_does_not_matter_and_neither_does_what_follows() {
        let found = |prefix: &str, text: &str| {
            Folded::range(prefix).is_some_and(|(first, last)| (first..=last).contains(&Folded::new(text)))
        };
        for (prefix, text, expected) in [
            ("", "Silver", true),
            ("sil", "SILVER", true),
            ("SIL", "silver", true),
            ("silver", "Silver", true),
            ("silvers", "Silver", false),
            ("ilver", "Silver", false),
            ("\u{3a3}\u{391}\u{3a3}", "\u{3c3}\u{3b1}\u{3c3}\u{3b1}", true),
            ("e\u{301}t", "\u{c9}t\u{e9}", true),
            ("a name that is longer than any can be", "a name that is longer", false),
        ] {
            assert_eq!(found(prefix, text), expected, "{prefix:?} in {text:?}");
        }
    }

    #[test]
    fn an_envelope_comes_before_the_outputs_of_its_transaction() {
        let h = Height(5);
        assert!(Place::envelope(h, 1, 9, 9) < Place::output(h, 1, 0));
        assert!(Place::output(h, 1, 7) < Place::envelope(h, 2, 0, 0));
    }
}
