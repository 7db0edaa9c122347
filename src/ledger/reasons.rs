//! The reasons for which the rules refuse something, by the names that the protocol gives them.

use std::fmt;

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $number:literal $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, minicbor::Encode, minicbor::Decode)]
        #[cbor(index_only)]
        pub enum $name {
            $($(#[$vdoc])* #[n($number)] $variant,)+
        }

        impl $name {
            /// Every reason, in the order in which they are checked.
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// Its name in event lines and answers.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)+
                }
            }

            /// By its name.
            pub fn named(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

reasons! {
    /// Why a manifest with a good signature is rejected.
    RejectReason {
        /// Its id was accepted before.
        0 DuplicateManifest = "duplicate_manifest",
        /// Its anchor is not a block of this chain between the start height and this block.
        1 BadAnchor = "bad_anchor",
        /// Its sequence is not above the active snapshot's.
        2 StaleSequence = "stale_sequence",
        /// Its sequence is too far ahead.
        3 SequenceGap = "sequence_gap",
        /// It is a delta and names no parent.
        4 MissingParent = "missing_parent",
    }
}

reasons! {
    /// Why a snapshot fails at activation.
    FailReason {
        /// A chunk breaks the format.
        0 MalformedChunk = "malformed_chunk",
        /// A full snapshot lists a spent TTXO.
        1 SpentInFull = "spent_in_full",
        /// A TTXO is created twice, or was declared already.
        2 DuplicateTtxo = "duplicate_ttxo",
        /// A spent TTXO is not declared, or is spent twice.
        3 UnknownSpent = "unknown_spent",
        /// A TTXO was declared before with another field.
        4 MutatedTtxo = "mutated_ttxo",
        /// The declared total of a token exceeds 2^128 - 1.
        5 AmountOverflow = "amount_overflow",
        /// The set has another size than the manifest says.
        6 CountMismatch = "count_mismatch",
        /// The set has another root than the manifest says.
        7 RootMismatch = "root_mismatch",
    }
}

reasons! {
    /// Why an exit is invalid.
    ExitReason {
        /// Its announcement names an L1 output twice.
        0 DuplicateVout = "duplicate_vout",
        /// The TTXOs of its announcement have more than one owner.
        1 MixedOwners = "mixed_owners",
        /// Another exit of its TTXO was judged valid before and still stands.
        2 AlreadyExited = "already_exited",
        /// Its TTXO had been dropped from the declared set.
        3 SpentOnSpark = "spent_on_spark",
        /// Its transaction has no such output.
        4 VoutOutOfRange = "vout_out_of_range",
        /// A valid exit names the same L1 output.
        5 OutputTaken = "output_taken",
        /// The output's value is below the TTXO's bond.
        6 InsufficientBond = "insufficient_bond",
        /// The output's script is not the TTXO's withdrawal script.
        7 ScriptMismatch = "script_mismatch",
    }
}
