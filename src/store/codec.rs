//! Rows as bytes: the height of the block that wrote the row, four bytes, big-endian; then the value, as
//! CBOR.

use crate::ledger::ReadError;
use crate::ledger::keys::KeyPart;
use crate::ledger::tables::{Table, Value};
use crate::protocol::Height;

/// A row as it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    /// The block since which it stands so.
    pub since: Height,
    value: &'a [u8],
}

impl<'a> Stored<'a> {
    /// Takes bytes apart; they came from the column family `family`.
    pub fn read(family: &'static str, bytes: &'a [u8]) -> Result<Self, ReadError> {
        let broken = || ReadError { table: family, reason: "a row is shorter than its height".into() };
        let (since, value) = bytes.split_at_checked(Height::LEN).ok_or_else(broken)?;
        Ok(Stored { since: Height::take(since).ok_or_else(broken)?, value })
    }

    /// The value.
    pub fn decode<T: Table>(&self) -> Result<T::Value, ReadError> {
        minicbor::decode(self.value)
            .map_err(|e| ReadError { table: T::NAME, reason: format!("a value does not decode: {e}") })
    }
}

/// Puts a row in place of what `out` holds.
pub(super) fn encode<V: Value>(since: Height, value: &V, out: &mut Vec<u8>) {
    out.clear();
    since.put(out);
    minicbor::encode(value, out).expect("writing CBOR to memory cannot fail");
}
