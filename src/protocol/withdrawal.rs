//! A withdrawal announcement: the payload after `BTKN` `0004` in an OP_RETURN output.

use super::hashes::{TAG_WITHDRAWAL, tagged};
use super::{PubKey, Signature, SparkOutPoint, SparkTxHash};

/// An owner announces that TTXOs leave Spark for L1. How it is judged is for the ledger.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct WithdrawalAnnouncement {
    /// Key of the entity that the TTXOs belong to; a point of the curve.
    #[n(0)]
    pub entity: PubKey,
    /// The owner's signature of [`owner_message`]; any 64 bytes here.
    #[n(1)]
    pub owner_signature: Signature,
    /// What is withdrawn: 1 to 255 records.
    #[n(2)]
    pub records: Vec<WithdrawalRecord>,
}

/// One TTXO that is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct WithdrawalRecord {
    /// Index of the output of the announcing transaction that carries the bond.
    #[n(0)]
    pub bitcoin_vout: u16,
    /// The TTXO.
    #[n(1)]
    pub ttxo: SparkOutPoint,
}

/// Why bytes are no withdrawal announcement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WithdrawalError {
    /// The payload ends inside a field.
    #[error("the payload ends before {0}")]
    Truncated(&'static str),
    /// Entity key that is not a compressed point of the curve.
    #[error("the entity key {0} is not a point of the curve")]
    EntityNotOnCurve(PubKey),
    /// No records.
    #[error("the count is 0")]
    Empty,
    /// The count does not match the bytes that follow it.
    #[error("{count} records take {expected} bytes, but {found} follow the count")]
    Records {
        /// The count in the announcement.
        count: u8,
        /// The bytes that so many records take.
        expected: usize,
        /// The bytes that are there.
        found: usize,
    },
}

impl WithdrawalRecord {
    /// Length of a record in bytes.
    pub const LEN: usize = 38;
}

impl WithdrawalAnnouncement {
    /// The most records that one announcement can carry.
    pub const MAX_RECORDS: usize = 255;

    /// Decodes the payload after the kind.
    pub fn decode(payload: &[u8]) -> Result<Self, WithdrawalError> {
        let (entity, rest) =
            payload.split_first_chunk().ok_or(WithdrawalError::Truncated("the end of the entity key"))?;
        let (signature, rest) =
            rest.split_first_chunk().ok_or(WithdrawalError::Truncated("the end of the owner signature"))?;
        let (&count, rest) = rest.split_first().ok_or(WithdrawalError::Truncated("the count"))?;
        let entity = PubKey(*entity);
        if !entity.is_on_curve() {
            return Err(WithdrawalError::EntityNotOnCurve(entity));
        }
        if count == 0 {
            return Err(WithdrawalError::Empty);
        }
        let expected = usize::from(count) * WithdrawalRecord::LEN;
        if rest.len() != expected {
            return Err(WithdrawalError::Records { count, expected, found: rest.len() });
        }
        let (records, _) = rest.as_chunks::<{ WithdrawalRecord::LEN }>();
        let records = records.iter().map(WithdrawalRecord::decode).collect();
        Ok(WithdrawalAnnouncement { entity, owner_signature: Signature(*signature), records })
    }

    /// The payload after the kind.
    ///
    /// The count is one byte: with no records or more than 255 the result is bytes that no decoder
    /// accepts.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(98 + self.records.len() * WithdrawalRecord::LEN);
        payload.extend_from_slice(&self.entity.0);
        payload.extend_from_slice(&self.owner_signature.0);
        payload.push(u8::try_from(self.records.len()).unwrap_or(0));
        for record in &self.records {
            payload.extend_from_slice(&record.bitcoin_vout.to_be_bytes());
            payload.extend_from_slice(&record.ttxo.tx_hash.0);
            payload.extend_from_slice(&record.ttxo.vout.to_be_bytes());
        }
        payload
    }
}

impl WithdrawalRecord {
    fn decode(bytes: &[u8; Self::LEN]) -> Self {
        let [v0, v1, tx_hash @ .., s0, s1, s2, s3] = *bytes;
        WithdrawalRecord {
            bitcoin_vout: u16::from_be_bytes([v0, v1]),
            ttxo: SparkOutPoint { tx_hash: SparkTxHash(tx_hash), vout: u32::from_be_bytes([s0, s1, s2, s3]) },
        }
    }
}

/// The message that the owner signs: a tagged hash over the entity's withdrawal signatures of the
/// records, in their order.
pub fn owner_message(entity_signatures: &[Signature]) -> [u8; 32] {
    let mut message = Vec::with_capacity(entity_signatures.len() * Signature::LEN);
    for signature in entity_signatures {
        message.extend_from_slice(&signature.0);
    }
    tagged(TAG_WITHDRAWAL, &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_of_zero_is_malformed() {
        let mut announcement = WithdrawalAnnouncement {
            entity: PubKey::BURN,
            owner_signature: Signature([0; 64]),
            records: vec![WithdrawalRecord { bitcoin_vout: 0, ttxo: SparkOutPoint::MIN }],
        };
        let payload = announcement.encode();
        assert_eq!(WithdrawalAnnouncement::decode(&payload).as_ref(), Ok(&announcement));
        let longer = [&payload[..], &[0]].concat();
        let error = WithdrawalError::Records { count: 1, expected: 38, found: 39 };
        assert_eq!(WithdrawalAnnouncement::decode(&longer), Err(error));
        announcement.records.clear();
        assert_eq!(WithdrawalAnnouncement::decode(&announcement.encode()), Err(WithdrawalError::Empty));
    }
}
