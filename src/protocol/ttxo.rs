//! A TTXO, a token output on Spark, and its 166-byte record: the form that is hashed into a leaf.

use super::hashes;
use super::{Amount, NodeHash, OwnerKey, PubKey, SparkOutPoint, SparkTxHash, TokenId};

/// A token output on Spark as a snapshot declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Ttxo {
    /// Which output it is.
    #[n(0)]
    pub outpoint: SparkOutPoint,
    /// Who owns it.
    #[n(1)]
    pub owner: OwnerKey,
    /// Revocation commitment: the internal key of its withdrawal output on L1.
    #[n(2)]
    pub revocation: PubKey,
    /// What an L1 output must carry at least to withdraw it, in satoshis.
    #[n(3)]
    pub bond: u64,
    /// How long the owner waits after a withdrawal, in blocks.
    #[n(4)]
    pub locktime: u64,
    /// Which token.
    #[n(5)]
    pub token: TokenId,
    /// How much of it.
    #[n(6)]
    pub amount: Amount,
}

impl Ttxo {
    /// Length of a record in bytes.
    pub const RECORD_LEN: usize = 166;

    /// The record: all fields at fixed places, integers big-endian.
    pub fn record(&self) -> [u8; Self::RECORD_LEN] {
        let mut record = [0; Self::RECORD_LEN];
        let mut rest = &mut record[..];
        let mut put = |bytes: &[u8]| {
            let (field, tail) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            field.copy_from_slice(bytes);
            rest = tail;
        };
        put(&self.outpoint.tx_hash.0);
        put(&self.outpoint.vout.to_be_bytes());
        put(&self.owner.0);
        put(&self.revocation.0);
        put(&self.bond.to_be_bytes());
        put(&self.locktime.to_be_bytes());
        put(&self.token.0);
        put(&self.amount.0.to_be_bytes());
        record
    }

    /// Reads a record. Every 166 bytes are a record: whether keys are points and amounts in range is
    /// for the decoder of the message that declared it.
    pub fn from_record(record: &[u8; Self::RECORD_LEN]) -> Self {
        fn field<const N: usize>(record: &[u8; Ttxo::RECORD_LEN], at: usize) -> [u8; N] {
            let mut bytes = [0; N];
            bytes.copy_from_slice(&record[at..at + N]);
            bytes
        }
        Ttxo {
            outpoint: SparkOutPoint {
                tx_hash: SparkTxHash(field(record, 0)),
                vout: u32::from_be_bytes(field(record, 32)),
            },
            owner: PubKey(field(record, 36)),
            revocation: PubKey(field(record, 69)),
            bond: u64::from_be_bytes(field(record, 102)),
            locktime: u64::from_be_bytes(field(record, 110)),
            token: TokenId(field(record, 118)),
            amount: Amount(u128::from_be_bytes(field(record, 150))),
        }
    }

    /// The leaf of this TTXO in the tree over a declared set.
    pub fn leaf(&self) -> NodeHash {
        NodeHash(hashes::leaf(&self.record()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_record_round_trips(bytes in proptest::collection::vec(any::<u8>(), 166)) {
            let record: [u8; 166] = bytes.try_into().expect("166 bytes");
            prop_assert_eq!(Ttxo::from_record(&record).record(), record);
        }
    }
}
