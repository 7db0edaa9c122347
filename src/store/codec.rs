//! Values as CBOR bytes.

use crate::ledger::ReadError;
use crate::ledger::tables::{Table, Value};

pub(super) fn encode<V: Value>(value: &V) -> Vec<u8> {
    minicbor::to_vec(value).expect("writing CBOR to memory cannot fail")
}

pub(super) fn decode<T: Table>(bytes: &[u8]) -> Result<T::Value, ReadError> {
    minicbor::decode(bytes)
        .map_err(|e| ReadError { table: T::NAME, reason: format!("a value does not decode: {e}") })
}
