//! Where blocks stand in block files, kept from one start to the next.
//!
//! What was found in a part of a file makes a row: a file that grows gets further rows, and none is ever written
//! again. A row holds the headers themselves, so it proves what it says: a header that is damaged has no
//! proof of work. A file that is as it was when its last row was made is believed to hold what its rows
//! say; in one that changed since, every header is looked at in its place. Whoever reads a block checks its
//! hash in any case.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

use bitcoin::consensus::encode;

use super::blk_file::{self, Format, Record};
use super::block_dir::Stamp;

/// A place that keeps rows. Losing them costs time and nothing else.
pub trait Keeper: Send + Sync {
    /// Calls `row` for every row with its key and its value, in the order of the keys.
    ///
    /// # Errors
    /// What went wrong, for people.
    fn each(&self, row: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), String>;

    /// Writes a row.
    ///
    /// # Errors
    /// What went wrong, for people.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), String>;

    /// Deletes a row.
    ///
    /// # Errors
    /// What went wrong, for people.
    fn delete(&self, key: &[u8]) -> Result<(), String>;
}

/// First byte of a value.
const VERSION: u8 = 1;

/// Length of a value without its records, and of a record: a header of 80 bytes, offset (8) and size (4).
const HEAD: usize = 1 + 8 + 8 + 8 + 8 + 4;
const RECORD: usize = 80 + 8 + 4;

/// What was found in a part of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The file when it was read; `None` if it may have changed at that very moment.
    pub stamp: Option<Stamp>,
    /// Where the part ends, and the next one begins.
    pub resume: u64,
    /// The blocks in it.
    pub records: Vec<Record>,
}

/// What is known of a file: its rows, which follow one another from its start.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The file when it was last read, as in [`Row`].
    pub stamp: Option<Stamp>,
    /// How far it was read.
    pub resume: u64,
    /// The blocks in it.
    pub records: Vec<Record>,
    /// Where its rows start.
    pub starts: Vec<u64>,
}

/// The key of a row: number of the file and start of the part, both big-endian.
pub(super) fn key(file: u32, start: u64) -> Vec<u8> {
    [&file.to_be_bytes()[..], &start.to_be_bytes()].concat()
}

fn read_key(key: &[u8]) -> Option<(u32, u64)> {
    let (file, start) = key.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*file), u64::from_be_bytes(start.try_into().ok()?)))
}

/// The value of a row. Integers are little-endian.
pub(super) fn encode(format: &Format, row: &Row) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + row.records.len() * RECORD);
    let since_epoch = |stamp: &Stamp| stamp.modified.duration_since(UNIX_EPOCH).ok();
    // A length of zero with a time of zero stands for no stamp: an empty file has no rows.
    let (len, modified) =
        row.stamp.and_then(|stamp| Some((stamp.len, since_epoch(&stamp)?))).unwrap_or_default();
    bytes.push(VERSION);
    bytes.extend_from_slice(&format.key.to_bytes());
    bytes.extend_from_slice(&row.resume.to_le_bytes());
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&modified.as_secs().to_le_bytes());
    bytes.extend_from_slice(&modified.subsec_nanos().to_le_bytes());
    for record in &row.records {
        bytes.extend_from_slice(&encode::serialize(&record.header));
        bytes.extend_from_slice(&record.offset.to_le_bytes());
        bytes.extend_from_slice(&record.size.to_le_bytes());
    }
    bytes
}

/// A row; `None` for bytes that are none, or one of files with another key.
fn decode(format: &Format, bytes: &[u8]) -> Option<Row> {
    let (head, records) = bytes.split_at_checked(HEAD)?;
    if head[0] != VERSION || head[1..9] != format.key.to_bytes() {
        return None;
    }
    let number = |at: usize| Some(u64::from_le_bytes(*head.get(at..)?.first_chunk::<8>()?));
    let (resume, len, secs) = (number(9)?, number(17)?, number(25)?);
    let nanos = u32::from_le_bytes(*head.get(33..)?.first_chunk::<4>()?);
    let modified = UNIX_EPOCH.checked_add(Duration::new(secs, nanos))?;
    let stamp = (len > 0).then_some(Stamp { len, modified });
    let (records, rest) = records.as_chunks::<RECORD>();
    let records = records.iter().map(|bytes| decode_record(format, bytes)).collect::<Option<_>>()?;
    rest.is_empty().then_some(Row { stamp, resume, records })
}

fn decode_record(format: &Format, bytes: &[u8; RECORD]) -> Option<Record> {
    let (header, place) = bytes.split_first_chunk::<80>()?;
    let (offset, size) = place.split_first_chunk::<8>()?;
    let (header, hash) = format.read_header(header)?;
    let size = u32::from_le_bytes(size.try_into().ok()?);
    Some(Record { hash, header, offset: u64::from_le_bytes(*offset), size })
}

/// What is kept.
pub(super) struct Kept {
    /// What is known of files, by their numbers.
    pub files: BTreeMap<u32, Known>,
    /// Keys of rows that are of no use.
    pub useless: Vec<Vec<u8>>,
}

/// Reads what is kept.
pub(super) fn load(keeper: &dyn Keeper, format: &Format) -> Result<Kept, String> {
    let (mut files, mut useless) = (BTreeMap::<u32, Known>::new(), Vec::new());
    keeper.each(&mut |key, value| {
        let place = read_key(key).filter(|(file, start)| files.entry(*file).or_default().resume == *start);
        match place.and_then(|(file, start)| Some((file, start, decode(format, value)?))) {
            Some((file, start, row)) => {
                let known = files.entry(file).or_default();
                (known.stamp, known.resume) = (row.stamp, row.resume);
                known.records.extend(row.records);
                known.starts.push(start);
            }
            None => useless.push(key.to_vec()),
        }
    })?;
    Ok(Kept { files, useless })
}

/// Whether every block that is known of a file still stands there.
pub(super) fn still_there(file: &File, format: &Format, known: &Known) -> io::Result<bool> {
    for record in &known.records {
        if !blk_file::holds(file, format, record)? {
            return Ok(false);
        }
    }
    Ok(true)
}
