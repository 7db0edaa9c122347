//! Values as CBOR bytes.

use crate::ledger::ReadError;
use crate::ledger::tables::{Table, Value};

pub(super) fn encode<V: Value>(value: &V) -> Vec<u8> {
    match minicbor::to_vec(value) {
        Ok(bytes) => bytes,
        Err(e) => unreachable!("writing CBOR to memory cannot fail: {e}"),
    }
}

pub(super) fn decode<T: Table>(bytes: &[u8]) -> Result<T::Value, ReadError> {
    minicbor::decode(bytes).map_err(|e| ReadError { table: T::NAME, reason: format!("a value does not decode: {e}") })
}
