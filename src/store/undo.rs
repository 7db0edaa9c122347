//! Undo records: the rows that a block changed. What they held before is in the [history](super::history),
//! under the height of the block.
//!
//! A record is split into parts, so that neither a single value nor what is written at once grows with the
//! size of a snapshot. A part is a
//! CBOR sequence of groups: number of a table, how many rows of it are new, how many are changed or
//! removed, and their keys, one after the other, the new ones first.

use minicbor::{Decoder, Encoder};

use crate::kill;
use crate::ledger::ReadError;
use crate::ledger::keys::KeyPart;
use crate::protocol::Height;

/// Column family of undo records: height and part, both big-endian, to groups of keys.
pub(super) const UNDO: &str = "undo";

/// A part ends at the first row that makes its keys, together with the values of their rows before and
/// after the block, at least this long, in bytes. So it is also a good step of a block that takes several.
fn part_len() -> usize {
    kill::size(4 << 20, 2_000)
}

/// Where a part of the record of a block is kept.
pub(super) fn part_key(height: Height, part: u32) -> Vec<u8> {
    (height, part).to_key()
}

/// Rows of one table that a block changed, until they are in its record.
#[derive(Debug, Default)]
pub(super) struct Rows {
    new: Keys,
    changed: Keys,
    weight: usize,
}

#[derive(Debug, Default)]
struct Keys {
    count: u32,
    bytes: Vec<u8>,
}

impl Keys {
    fn clear(&mut self) {
        self.count = 0;
        self.bytes.clear();
    }
}

impl Rows {
    /// Adds a row, whose values before and after the block are so long.
    pub fn push(&mut self, key: &[u8], is_new: bool, values: usize) {
        self.weight += key.len() + values;
        let keys = if is_new { &mut self.new } else { &mut self.changed };
        keys.count += 1;
        keys.bytes.extend_from_slice(key);
    }

    /// Whether they fill a part.
    pub fn are_many(&self) -> bool {
        self.weight >= part_len()
    }

    fn write(&mut self, table: u8, out: &mut Vec<u8>) {
        let Rows { new, changed, weight } = self;
        if new.count + changed.count == 0 {
            return;
        }
        let mut encoder = Encoder::new(&mut *out);
        let head = encoder.u8(table).and_then(|e| e.u32(new.count)).and_then(|e| e.u32(changed.count));
        head.and_then(|e| e.bytes_len((new.bytes.len() + changed.bytes.len()) as u64))
            .map(|_| ())
            .expect("writing CBOR to memory cannot fail");
        out.extend_from_slice(&new.bytes);
        out.extend_from_slice(&changed.bytes);
        new.clear();
        changed.clear();
        *weight = 0;
    }
}

/// The record of a block while it is written.
#[derive(Debug)]
pub(super) struct Record {
    height: Height,
    /// Parts that are complete.
    parts: u32,
    part: Vec<u8>,
    /// Of the rows in `part`.
    weight: usize,
}

impl Record {
    /// An empty one.
    pub fn new(height: Height) -> Self {
        Record { height, parts: 0, part: Vec::new(), weight: 0 }
    }

    /// Adds the rows of a table, and empties them. A part that is complete is handed to `put`, with its key;
    /// returns whether one is.
    pub fn add(&mut self, table: u8, rows: &mut Rows, put: impl FnOnce(&[u8], &[u8])) -> bool {
        self.weight += rows.weight;
        rows.write(table, &mut self.part);
        let complete = self.weight >= part_len();
        if complete {
            put(&part_key(self.height, self.parts), &self.part);
            self.parts += 1;
            self.part.clear();
            self.weight = 0;
        }
        complete
    }

    /// Hands out the last part; there is at least one.
    pub fn end(self, put: impl FnOnce(&[u8], &[u8])) {
        if !self.part.is_empty() || self.parts == 0 {
            put(&part_key(self.height, self.parts), &self.part);
        }
    }
}

/// Rows of one table in a part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group<'a> {
    /// Number of the table.
    pub table: u8,
    new: usize,
    count: usize,
    keys: &'a [u8],
}

impl<'a> Group<'a> {
    /// The keys, each with whether its row is new.
    pub fn rows(&self) -> impl Iterator<Item = (&'a [u8], bool)> {
        let Group { new, count, keys, .. } = *self;
        let len = keys.len() / count.max(1);
        (0..count).map(move |n| (&keys[n * len..(n + 1) * len], n < new))
    }
}

/// A record names a table that does not exist.
pub(super) fn unknown_table(number: u8) -> ReadError {
    ReadError { table: UNDO, reason: format!("there is no table {number}") }
}

/// The groups of a part.
pub(super) fn groups(part: &[u8]) -> Result<Vec<Group<'_>>, ReadError> {
    let broken = |reason: String| ReadError { table: UNDO, reason };
    let mut decoder = Decoder::new(part);
    let mut groups = Vec::new();
    while decoder.position() < part.len() {
        let mut group = || -> Result<Group<'_>, minicbor::decode::Error> {
            let (table, new, changed) = (decoder.u8()?, decoder.u32()? as usize, decoder.u32()? as usize);
            Ok(Group { table, new, count: new + changed, keys: decoder.bytes()? })
        };
        let group = group().map_err(|e| broken(e.to_string()))?;
        if group.count == 0 || group.keys.len() % group.count != 0 {
            return Err(broken(format!("{} bytes are no {} keys", group.keys.len(), group.count)));
        }
        groups.push(group);
    }
    Ok(groups)
}
