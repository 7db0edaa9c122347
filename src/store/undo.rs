//! Undo records: the rows that a block changed, with their values before it.
//!
//! A record is the block's change set read backwards. It is split into parts, so that no single value
//! grows with the size of a snapshot. A part is a CBOR sequence of `table number, key, value before or
//! null`.

use minicbor::{Decoder, Encoder};

use super::codec;
use crate::ledger::ReadError;
use crate::ledger::keys::KeyPart;
use crate::ledger::tables::{self, Change, ChangeSet, Table, TableVisitor};

/// Parts end at the first row that makes them at least this long, in bytes.
const PART_LEN: usize = 1 << 20;

/// The parts of the record that undoes `changes`; at least one.
pub(super) fn encode(changes: &ChangeSet) -> Vec<Vec<u8>> {
    let mut encode = Encode { changes, parts: vec![Vec::new()] };
    match tables::visit_tables(&mut encode) {
        Ok(()) => encode.parts,
        Err(never) => match never {},
    }
}

struct Encode<'a> {
    changes: &'a ChangeSet,
    parts: Vec<Vec<u8>>,
}

impl TableVisitor for Encode<'_> {
    type Error = std::convert::Infallible;

    fn table<T: Table>(&mut self) -> Result<(), Self::Error> {
        for (key, change) in T::rows(self.changes) {
            if self.parts.last().is_none_or(|part| part.len() >= PART_LEN) {
                self.parts.push(Vec::new());
            }
            if let Some(part) = self.parts.last_mut() {
                let before = change.before.as_deref().map(codec::encode);
                write_row(part, T::NUMBER, &key.to_key(), before.as_deref());
            }
        }
        Ok(())
    }
}

fn write_row(part: &mut Vec<u8>, number: u8, key: &[u8], before: Option<&[u8]>) {
    let mut encoder = Encoder::new(part);
    let written = encoder.u8(number).and_then(|e| e.bytes(key)).and_then(|e| match before {
        Some(bytes) => e.bytes(bytes),
        None => e.null(),
    });
    written.map(|_| ()).expect("writing CBOR to memory cannot fail");
}

/// Adds the rows of one part to `changes`, as changes to the values before the block.
pub(super) fn decode(part: &[u8], changes: &mut ChangeSet) -> Result<(), ReadError> {
    let broken = |reason: String| ReadError { table: super::UNDO, reason };
    let mut decoder = Decoder::new(part);
    while decoder.position() < part.len() {
        let mut row = || -> Result<Row<'_>, minicbor::decode::Error> {
            let number = decoder.u8()?;
            let key = decoder.bytes()?;
            let before = match decoder.datatype()? {
                minicbor::data::Type::Null => {
                    decoder.null()?;
                    None
                }
                _ => Some(decoder.bytes()?),
            };
            Ok(Row { number, key, before })
        };
        let row = row().map_err(|e| broken(e.to_string()))?;
        let mut restore = Restore { row, changes, found: false };
        tables::visit_tables(&mut restore)?;
        if !restore.found {
            return Err(broken(format!("there is no table {}", restore.row.number)));
        }
    }
    Ok(())
}

struct Row<'a> {
    number: u8,
    key: &'a [u8],
    before: Option<&'a [u8]>,
}

struct Restore<'a> {
    row: Row<'a>,
    changes: &'a mut ChangeSet,
    found: bool,
}

impl TableVisitor for Restore<'_> {
    type Error = ReadError;

    fn table<T: Table>(&mut self) -> Result<(), ReadError> {
        if T::NUMBER != self.row.number {
            return Ok(());
        }
        let key = T::Key::take(self.row.key).ok_or_else(|| ReadError {
            table: super::UNDO,
            reason: format!("a key of {} is broken", T::NAME),
        })?;
        let after = self.row.before.map(codec::decode::<T>).transpose()?;
        T::rows_mut(self.changes).insert(key, Change { before: None, after });
        self.found = true;
        Ok(())
    }
}
