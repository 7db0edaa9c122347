//! One block file of Bitcoin Core: finding the blocks in it and reading one, without trusting it.
//!
//! A file is a run of records, `magic (4) | size (4, little-endian) | block`, all of it XORed with the
//! key in `xor.dat` where there is one. Between, after and instead of records there may be anything:
//! zeros that were allocated ahead, a record that a crash cut short, remains of an older one. So, as
//! Core does when it reindexes, a reader looks for the next magic and takes what follows it for a
//! record only if it is plausible: a possible size and a header with proof of work.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bitcoin::block::Header;
use bitcoin::consensus::encode;
use bitcoin::p2p::Magic;
use bitcoin::{BlockHash, Target};
use memchr::memmem;

/// Magic and size in front of every block.
pub const RECORD_HEADER: u64 = 8;

/// A block header.
const BLOCK_HEADER: u64 = 80;

/// The largest serialised block that consensus allows.
pub const MAX_BLOCK: u32 = 4_000_000;

/// Read at once where the next record lies elsewhere: large blocks are hopped over.
const HOP: usize = 4 << 10;

/// Read at once where records (or garbage) follow one another.
const RUN: usize = 256 << 10;

/// The key that Bitcoin Core 28 and later XOR their block files with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XorKey([u8; 8]);

impl XorKey {
    /// A key from the content of `xor.dat`.
    pub fn new(bytes: [u8; 8]) -> Self {
        XorKey(bytes)
    }

    /// The content of `xor.dat`.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0
    }

    /// Applies the key (or takes it off) to bytes that stand at `offset` of a file.
    pub fn apply(&self, offset: u64, bytes: &mut [u8]) {
        if self.0 == [0; 8] {
            return;
        }
        let mut key = self.0;
        key.rotate_left((offset % 8) as usize);
        let word = u64::from_ne_bytes(key);
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for chunk in words {
            *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(key) {
            *byte ^= key;
        }
    }
}

/// What the files of one network look like.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// What every record begins with.
    pub magic: Magic,
    /// What all of it is XORed with.
    pub key: XorKey,
    /// The easiest target of the network; headers that claim an easier one are no headers.
    pub max_target: Target,
}

impl Format {
    /// A header with its hash, if it has proof of work under a target that the network allows.
    pub(super) fn read_header(&self, bytes: &[u8; BLOCK_HEADER as usize]) -> Option<(Header, BlockHash)> {
        let header: Header = encode::deserialize(bytes).ok()?;
        let target = header.target();
        if target > self.max_target {
            return None;
        }
        header.validate_pow(target).ok().map(|hash| (header, hash))
    }
}

/// A block found in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its hash, which meets the target in its header.
    pub hash: BlockHash,
    /// Its header.
    pub header: Header,
    /// Where the block itself begins in the file.
    pub offset: u64,
    /// Length of the block in bytes.
    pub size: u32,
}

/// What a scan of a file, or of its new part, found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The blocks, in file order.
    pub records: Vec<Record>,
    /// Where the next scan starts: behind the last block.
    pub resume: u64,
    /// A record behind the last block that the file ends within: offset and size of its block.
    pub cut_short: Option<(u64, u32)>,
}

/// Finds the blocks in a file from `start` on, reading little more than their headers.
pub fn scan(file: &File, format: &Format, start: u64) -> io::Result<Scan> {
    let len = file.metadata()?.len();
    let mut window = Window::new(file, format.key);
    let mut scan = Scan { resume: start, ..Scan::default() };
    let mut at = start;
    while let Some(found) = window.find(format.magic.to_bytes(), at)? {
        // Wherever the magic turns out to be a coincidence, the search goes on right behind its start.
        at = found + 1;
        let Some((header, hash, size)) = read_record(&mut window, format, found)? else { continue };
        let offset = found + RECORD_HEADER;
        if offset + u64::from(size) > len {
            scan.cut_short.get_or_insert((offset, size));
            continue;
        }
        scan.records.push(Record { hash, header, offset, size });
        scan.cut_short = None;
        at = offset + u64::from(size);
        scan.resume = at;
    }
    Ok(scan)
}

/// The header, hash and size of the record at `at`, if that is what stands there.
fn read_record(
    window: &mut Window<'_>,
    format: &Format,
    at: u64,
) -> io::Result<Option<(Header, BlockHash, u32)>> {
    let bytes = window.at(at, (RECORD_HEADER + BLOCK_HEADER) as usize)?;
    let Some((prefix, rest)) = bytes.split_first_chunk::<8>() else { return Ok(None) };
    let Some(header) = rest.first_chunk() else { return Ok(None) };
    let size = u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]);
    if u64::from(size) <= BLOCK_HEADER || size > MAX_BLOCK {
        return Ok(None);
    }
    Ok(format.read_header(header).map(|(header, hash)| (header, hash, size)))
}

/// Whether a block that was found in a file is still there, judging by what stands in front of it and by its
/// header.
pub(super) fn holds(file: &File, format: &Format, record: &Record) -> io::Result<bool> {
    const LEN: usize = (RECORD_HEADER + BLOCK_HEADER) as usize;
    let start = record.offset - RECORD_HEADER;
    if record.offset + u64::from(record.size) > file.metadata()?.len() {
        return Ok(false);
    }
    let mut found = [0; LEN];
    file.read_exact_at(&mut found, start)?;
    format.key.apply(start, &mut found);
    let (magic, size, header) = (format.magic.to_bytes(), record.size.to_le_bytes(), &record.header);
    Ok(found[..4] == magic && found[4..8] == size && found[8..] == encode::serialize(header)[..])
}

/// Bytes that are read at a time: the key is taken off them while they are in the processor's cache.
const READ: usize = 256 << 10;

/// Replaces the content of `buf` with `size` bytes from `offset` of a file, the key taken off.
pub fn read(path: &Path, key: XorKey, mut offset: u64, size: u32, buf: &mut Vec<u8>) -> io::Result<()> {
    buf.resize(size as usize, 0);
    let file = File::open(path)?;
    for part in buf.chunks_mut(READ) {
        file.read_exact_at(part, offset)?;
        key.apply(offset, part);
        offset += part.len() as u64;
    }
    Ok(())
}

/// Has the system read a part of a file soon, where it can be asked to.
#[cfg(target_os = "linux")]
pub(super) fn read_ahead(path: &Path, offset: u64, len: u64) -> io::Result<()> {
    use rustix::fs::{Advice, fadvise};
    Ok(fadvise(File::open(path)?, offset, std::num::NonZeroU64::new(len), Advice::WillNeed)?)
}

/// Has the system read a part of a file soon, where it can be asked to.
#[cfg(not(target_os = "linux"))]
pub(super) fn read_ahead(_: &Path, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

/// The first bytes of a file, the key taken off; fewer where it is shorter.
pub(super) fn first_bytes(file: &File, key: XorKey, count: usize) -> io::Result<Vec<u8>> {
    Ok(Window::new(file, key).at(0, count)?.to_vec())
}

/// A part of a file in memory, the key taken off.
struct Window<'f> {
    file: &'f File,
    key: XorKey,
    start: u64,
    buf: Vec<u8>,
}

impl<'f> Window<'f> {
    fn new(file: &'f File, key: XorKey) -> Self {
        Window { file, key, start: 0, buf: Vec::new() }
    }

    /// At least `count` bytes from `offset` on; fewer only at the end of the file.
    fn at(&mut self, offset: u64, count: usize) -> io::Result<&[u8]> {
        let end = self.start + self.buf.len() as u64;
        if offset < self.start || offset + count as u64 > end {
            let nearby = (self.start..=end + HOP as u64).contains(&offset);
            self.fill(offset, if nearby { RUN } else { HOP }.max(count))?;
        }
        Ok(&self.buf[(offset - self.start) as usize..])
    }

    fn fill(&mut self, offset: u64, count: usize) -> io::Result<()> {
        self.buf.resize(count, 0);
        let mut filled = 0;
        while filled < count {
            match self.file.read_at(&mut self.buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.buf.truncate(filled);
        self.start = offset;
        self.key.apply(offset, &mut self.buf);
        Ok(())
    }

    /// Where the next magic stands at or after `offset`.
    fn find(&mut self, magic: [u8; 4], mut offset: u64) -> io::Result<Option<u64>> {
        loop {
            let bytes = self.at(offset, magic.len())?;
            if bytes.len() < magic.len() {
                return Ok(None);
            }
            if let Some(place) = memmem::find(bytes, &magic) {
                return Ok(Some(offset + place as u64));
            }
            // The last three bytes may be the start of one.
            offset += (bytes.len() - (magic.len() - 1)) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_repeats_from_the_start_of_the_file() {
        let key = XorKey::new([1, 2, 3, 4, 5, 6, 7, 8]);
        let mut whole = [0u8; 64];
        key.apply(0, &mut whole);
        assert_eq!(whole[..10], [1, 2, 3, 4, 5, 6, 7, 8, 1, 2]);
        for start in 0..20 {
            for end in start..40 {
                let mut part = vec![0; end - start];
                key.apply(start as u64, &mut part);
                assert_eq!(part, whole[start..end], "{start}..{end}");
            }
        }
    }
}
