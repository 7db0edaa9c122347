//! A `blocks` directory: which block files there are, what is new in them, and the bytes of a block.
//!
//! Nothing is kept in memory of the files but how far each was read, so growth is picked up where the last
//! look ended; with a [`Keeper`], also that of an earlier process. Files may be written to while they are read. A block that is only half there does not count
//! until it is whole; the last block of a file that is still being written to is therefore decoded
//! and checked, while for all others the header and the length in front of it are trusted until
//! somebody asks for the block.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bitcoin::consensus::encode;
use bitcoin::p2p::Magic;
use bitcoin::{Block, BlockHash};
use bitcoin_slices::{Parse, bsl};
use rayon::prelude::*;

use super::SourceError;
use super::blk_file::{self, Format, RECORD_HEADER, Record, Scan, XorKey};
use super::positions::{self, Keeper, Kept, Known, Row};
use crate::protocol::Network;

/// Bytes between blocks that are rather read than skipped, when reading ahead.
const READ_AHEAD_GAP: u64 = 1 << 20;

/// A file that changed so recently may change again without a new time stamp.
const SETTLED: Duration = Duration::from_secs(2);

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// Number of the file.
    pub file: u32,
    /// Length of the block in bytes.
    pub size: u32,
    /// Where it begins in the file.
    pub offset: u64,
}

/// What a look at the directory found.
#[derive(Debug)]
pub(super) struct Changes {
    /// Everything that was read before is void: files went away, shrank, or did not hold what they did.
    pub reset: bool,
    /// Files with something new in them, ascending.
    pub files: Vec<u32>,
}

/// The directory.
pub(super) struct BlockDir {
    dir: PathBuf,
    network: Network,
    format: Format,
    seen: BTreeMap<u32, Seen>,
    /// Set by a reader who found something else than the index says.
    stale: AtomicBool,
    /// Whether the directory was found to be a good one; what is missing after that may come back.
    opened: bool,
    /// Keeps what is found for the next start.
    keeper: Option<Arc<dyn Keeper>>,
    /// Whether what was kept was asked for.
    recalled: bool,
    /// Incomplete records that were reported already.
    reported: HashSet<(u32, u64)>,
}

/// How far a file was read.
#[derive(Clone, Debug)]
struct Seen {
    /// Its state when it was; `None` if that may have changed unnoticed.
    stamp: Option<Stamp>,
    resume: u64,
}

/// Changes whenever a file does: files are allocated ahead, so their length alone does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Length in bytes.
    pub len: u64,
    /// Time of the last change.
    pub modified: SystemTime,
}

impl Stamp {
    fn settled(self) -> Option<Self> {
        let age = SystemTime::now().duration_since(self.modified);
        age.is_ok_and(|age| age >= SETTLED).then_some(self)
    }
}

impl BlockDir {
    /// Looks at the directory without indexing it. Refuses what can't be a block directory of the
    /// network, saying what to do.
    pub fn open(dir: &Path, network: Network) -> Result<Self, SourceError> {
        let mut blocks = Self {
            dir: dir.to_owned(),
            network,
            format: Format {
                magic: network.to_bitcoin().magic(),
                key: read_key(dir)?,
                max_target: network.to_bitcoin().params().max_attainable_target,
            },
            seen: BTreeMap::new(),
            stale: AtomicBool::new(false),
            opened: false,
            keeper: None,
            recalled: false,
            reported: HashSet::new(),
        };
        let files = blocks.list()?;
        if files.is_empty() {
            return Err(SourceError::Fatal(no_files_advice(dir)));
        }
        blocks.check_network(files.keys().copied())?;
        blocks.opened = true;
        Ok(blocks)
    }

    /// The directory's path.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Lists the directory and says which files to scan.
    pub fn changes(&mut self) -> Result<Changes, SourceError> {
        let files = self.list()?;
        let shrunk =
            |(number, seen): (&u32, &Seen)| files.get(number).is_none_or(|now| now.len < seen.resume);
        let key = self.key()?;
        let stale = self.stale.swap(false, Ordering::Relaxed);
        let reset = stale || key != self.format.key || self.seen.iter().any(shrunk);
        if reset {
            tracing::warn!(dir = %self.dir.display(), "block files were rewritten or removed; reading them again");
            self.seen.clear();
            self.format.key = key;
            self.forget_kept();
        }
        let news = files.iter().filter(|(number, stamp)| self.is_news(**number, stamp));
        Ok(Changes { reset, files: news.map(|(number, _)| *number).collect() })
    }

    /// Keeps what is found in files from now on.
    pub fn keep_with(&mut self, keeper: Arc<dyn Keeper>) {
        self.keeper = Some(keeper);
        self.recalled = false;
    }

    /// Once, what was kept of the files before: their blocks in the order of the files, and in each of their
    /// places.
    pub fn recall(&mut self) -> Result<Vec<(Record, Location)>, SourceError> {
        let Some(keeper) = self.keeper.clone().filter(|_| !self.recalled) else { return Ok(Vec::new()) };
        let stamps = self.list()?;
        self.recalled = true;
        let Kept { files, mut useless } = match positions::load(keeper.as_ref(), &self.format) {
            Ok(loaded) => loaded,
            Err(reason) => {
                self.cannot_keep(&reason);
                return Ok(Vec::new());
            }
        };
        let mut found = Vec::new();
        for (number, known) in files {
            let stamp = stamps.get(&number).copied();
            if !stamp.is_some_and(|stamp| self.is_as_kept(number, stamp, &known)) {
                useless.extend(known.starts.iter().map(|start| positions::key(number, *start)));
                continue;
            }
            self.seen.insert(number, Seen { stamp: known.stamp, resume: known.resume });
            found.extend(known.records.into_iter().map(|record| (record, locate(number, &record))));
        }
        self.keeping(|keeper| useless.iter().try_for_each(|key| keeper.delete(key)));
        Ok(found)
    }

    /// Whether a file holds what was kept of it.
    fn is_as_kept(&self, number: u32, stamp: Stamp, known: &Known) -> bool {
        if known.stamp == Some(stamp) {
            return true;
        }
        let check = || positions::still_there(&File::open(self.path_of(number))?, &self.format, known);
        // A file that cannot be read is told of when it is scanned.
        stamp.len >= known.resume && check().unwrap_or(false)
    }

    fn keep(&self, number: u32, start: u64, row: &Row) {
        self.keeping(|keeper| {
            keeper.put(&positions::key(number, start), &positions::encode(&self.format, row))
        });
    }

    fn forget_kept(&self) {
        self.keeping(|keeper| {
            let mut keys = Vec::new();
            keeper.each(&mut |key, _| keys.push(key.to_vec()))?;
            keys.iter().try_for_each(|key| keeper.delete(key))
        });
    }

    fn keeping(&self, action: impl FnOnce(&dyn Keeper) -> Result<(), String>) {
        if let Some(keeper) = &self.keeper
            && let Err(reason) = action(keeper.as_ref())
        {
            self.cannot_keep(&reason);
        }
    }

    fn cannot_keep(&self, reason: &str) {
        tracing::warn!(
            "where blocks stand in {} is not kept, and has to be found again at the next start: {reason}",
            self.dir.display()
        );
    }

    /// Whether [`changes`](Self::changes) would find anything.
    pub fn has_changed(&self) -> Result<bool, SourceError> {
        let files = self.list()?;
        let news = files.iter().any(|(number, stamp)| self.is_news(*number, stamp));
        let stale = self.stale.load(Ordering::Relaxed);
        Ok(news || stale || files.len() < self.seen.len() || self.key()? != self.format.key)
    }

    /// Reads what is new in these files, in parallel; in the order of the files, and of the blocks in each.
    pub fn scan(&mut self, files: &[u32]) -> Result<Vec<(Record, Location)>, SourceError> {
        let last = self.last_file()?;
        let scans: Vec<_> = files.par_iter().map(|&number| self.scan_file(number, number == last)).collect();
        let mut found = Vec::new();
        for (&number, scan) in files.iter().zip(scans) {
            self.absorb(number, scan, &mut found)?;
        }
        Ok(found)
    }

    /// Reads what is new in one file, on this thread alone: safe to call with a lock held.
    pub fn scan_one(&mut self, number: u32) -> Result<Vec<(Record, Location)>, SourceError> {
        let scan = self.scan_file(number, number == self.last_file()?);
        let mut found = Vec::new();
        self.absorb(number, scan, &mut found)?;
        Ok(found)
    }

    /// Has blocks read by the system that will be asked for soon.
    pub fn read_ahead(&self, mut blocks: Vec<Location>) {
        blocks.sort_unstable_by_key(|at| (at.file, at.offset));
        let near = |a: &Location, b: &Location| {
            a.file == b.file && b.offset < a.offset + u64::from(a.size) + READ_AHEAD_GAP
        };
        for run in blocks.chunk_by(near) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let len = last.offset + u64::from(last.size) - first.offset;
            // Whoever reads the block hears of what is wrong.
            let _ = blk_file::read_ahead(&self.path_of(first.file), first.offset, len);
        }
    }

    /// Replaces the content of `buf` with a block, after checking that it is still where it was.
    pub fn read(&self, hash: BlockHash, at: Location, buf: &mut Vec<u8>) -> Result<(), SourceError> {
        let moved = |what: String| {
            self.stale.store(true, Ordering::Relaxed);
            let place = self.describe(at);
            SourceError::Retry(format!("{place}: {what}; the block files are going to be read again"))
        };
        match blk_file::read(&self.path_of(at.file), self.format.key, at.offset, at.size, buf) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => {
                return Err(moved(format!("block {hash} is gone ({error})")));
            }
            Err(error) => return Err(self.unreadable(at.file, &error)),
        }
        let found = buf.get(..80).and_then(|bytes| encode::deserialize::<bitcoin::block::Header>(bytes).ok());
        match found.map(|header| header.block_hash()) {
            Some(found) if found == hash => Ok(()),
            _ => Err(moved(format!("block {hash} was there and is not any more"))),
        }
    }

    /// File and offset, for people.
    pub fn describe(&self, at: Location) -> String {
        format!("{} at offset {}", self.path_of(at.file).display(), at.offset)
    }

    /// What to say when no file holds a single block of the network.
    pub fn no_blocks_advice(&self) -> String {
        format!(
            "the block files in {} hold no block of {}: they are empty, of another network, or xor.dat is \
             missing or not theirs",
            self.dir.display(),
            self.network
        )
    }

    /// The key as it is now: a node that begins anew draws another one.
    fn key(&self) -> Result<XorKey, SourceError> {
        read_key(&self.dir).map_err(|error| SourceError::Retry(error.to_string()))
    }

    fn is_news(&self, number: u32, stamp: &Stamp) -> bool {
        self.seen.get(&number).and_then(|seen| seen.stamp) != Some(*stamp)
    }

    /// The file that Core writes to, as a rule.
    fn last_file(&self) -> Result<u32, SourceError> {
        Ok(self.list()?.keys().next_back().copied().unwrap_or(0))
    }

    fn path_of(&self, number: u32) -> PathBuf {
        self.dir.join(format!("blk{number:05}.dat"))
    }

    fn unreadable(&self, number: u32, error: &io::Error) -> SourceError {
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "; Bitcoin Core lets nobody else read its files: run btkn as its user, or give btkn's user the \
                 right to read the directory and every file in it, also those that are yet to come"
            }
            _ => "",
        };
        SourceError::Fatal(format!("can't read {}: {error}{advice}", self.path_of(number).display()))
    }

    /// The block files, by number.
    fn list(&self) -> Result<BTreeMap<u32, Stamp>, SourceError> {
        list(&self.dir).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let text = format!("there is no directory {}", self.dir.display());
                if self.opened { SourceError::Retry(text) } else { SourceError::Fatal(text) }
            }
            _ => SourceError::Fatal(format!("can't read the directory {}: {error}", self.dir.display())),
        })
    }

    fn scan_file(&self, number: u32, is_last: bool) -> io::Result<(Stamp, Scan)> {
        let file = File::open(self.path_of(number))?;
        // Taken before reading: what is written meanwhile shows as a later change.
        let metadata = file.metadata()?;
        let stamp = Stamp { len: metadata.len(), modified: metadata.modified()? };
        let start = self.seen.get(&number).map_or(0, |seen| seen.resume);
        let mut scan = blk_file::scan(&file, &self.format, start)?;
        // Core cuts a file to its length when it goes on to the next one.
        let being_written = is_last || scan.resume < stamp.len;
        if being_written && let Some(record) = scan.records.pop_if(|last| !self.is_whole(number, last)) {
            scan.resume = record.offset - RECORD_HEADER;
            scan.cut_short = Some((record.offset, record.size));
        }
        Ok((stamp, scan))
    }

    /// Takes note of a scan and appends what it found.
    fn absorb(
        &mut self,
        number: u32,
        scan: io::Result<(Stamp, Scan)>,
        found: &mut Vec<(Record, Location)>,
    ) -> Result<(), SourceError> {
        let (stamp, scan) = match scan {
            Ok(scan) => scan,
            // A node that prunes deleted it since it was listed; the next look at the directory tells.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.unreadable(number, &error)),
        };
        if let Some((offset, size)) = scan.cut_short {
            self.report_incomplete(number, offset, size);
        }
        let (stamp, start) = (stamp.settled(), self.seen.get(&number).map_or(0, |seen| seen.resume));
        self.seen.insert(number, Seen { stamp, resume: scan.resume });
        if scan.resume > start {
            self.keep(number, start, &Row { stamp, resume: scan.resume, records: scan.records.clone() });
        }
        found.extend(scan.records.into_iter().map(|record| (record, locate(number, &record))));
        Ok(())
    }

    /// Whether a block is there down to its last byte.
    fn is_whole(&self, number: u32, record: &Record) -> bool {
        let mut bytes = Vec::new();
        let path = self.path_of(number);
        // Walked over first: decoding believes counts, up to megabytes, before it sees what they count.
        blk_file::read(&path, self.format.key, record.offset, record.size, &mut bytes).is_ok()
            && bsl::Block::parse(&bytes).is_ok()
            && encode::deserialize::<Block>(&bytes)
                .is_ok_and(|block| block.check_merkle_root() && block.check_witness_commitment())
    }

    fn report_incomplete(&mut self, file: u32, offset: u64, size: u32) {
        if self.reported.insert((file, offset)) {
            let place = self.describe(Location { file, offset, size });
            tracing::warn!(
                "{place}: a block of {size} bytes is incomplete or damaged; leaving it out until it is whole"
            );
        }
    }

    /// Refuses files that begin with the magic of another network.
    fn check_network(&self, files: impl Iterator<Item = u32>) -> Result<(), SourceError> {
        for number in files {
            let open = || blk_file::first_bytes(&File::open(self.path_of(number))?, self.format.key, 4);
            let bytes = open().map_err(|error| self.unreadable(number, &error))?;
            let Some(magic) = bytes.first_chunk::<4>().filter(|bytes| **bytes != [0; 4]) else { continue };
            return match network_of(Magic::from_bytes(*magic)) {
                Some(found) if found != self.network.to_bitcoin() => Err(SourceError::Fatal(format!(
                    "the block files in {} are of {}, not of {}: choose the other network or the other \
                     directory",
                    self.dir.display(),
                    network_name(found),
                    self.network
                ))),
                _ => Ok(()),
            };
        }
        Ok(())
    }
}

fn locate(file: u32, record: &Record) -> Location {
    Location { file, offset: record.offset, size: record.size }
}

/// The network whose block files begin with this magic. Not asked of the `bitcoin` crate, whose
/// answer leaves testnet4 out.
fn network_of(magic: Magic) -> Option<bitcoin::Network> {
    use bitcoin::Network::{Bitcoin, Regtest, Signet, Testnet, Testnet4};
    [Bitcoin, Testnet, Testnet4, Signet, Regtest].into_iter().find(|network| network.magic() == magic)
}

fn network_name(network: bitcoin::Network) -> String {
    match network {
        bitcoin::Network::Bitcoin => Network::Mainnet.to_string(),
        other => other.to_string(),
    }
}

fn list(dir: &Path) -> io::Result<BTreeMap<u32, Stamp>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(number) = name.to_str().and_then(file_number) else { continue };
        // Follows links: people keep old block files on other disks.
        let metadata = match fs::metadata(entry.path()) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        files.insert(number, Stamp { len: metadata.len(), modified: metadata.modified()? });
    }
    Ok(files)
}

/// The number in `blk00123.dat`.
fn file_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("blk")?.strip_suffix(".dat")?;
    let number: u32 = digits.parse().ok()?;
    (format!("{number:05}") == digits).then_some(number)
}

/// The key in `xor.dat`, if there is one.
fn read_key(dir: &Path) -> Result<XorKey, SourceError> {
    let path = dir.join("xor.dat");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(XorKey::default()),
        Err(error) => return Err(SourceError::Fatal(format!("can't read {}: {error}", path.display()))),
    };
    let key = <[u8; 8]>::try_from(bytes.as_slice()).map_err(|_| {
        SourceError::Fatal(format!(
            "{} has {} bytes where a key has 8: copy it again from the node that wrote the block files",
            path.display(),
            bytes.len()
        ))
    })?;
    Ok(XorKey::new(key))
}

/// What to say about a directory without block files.
fn no_files_advice(dir: &Path) -> String {
    let inside = ["blocks", "testnet3/blocks", "signet/blocks", "regtest/blocks"];
    let hint = inside.iter().map(|inside| dir.join(inside)).find(|path| path.is_dir());
    match hint {
        Some(path) => format!("{} holds no block files; did you mean {}?", dir.display(), path.display()),
        None => format!(
            "{} holds no block files (blk00000.dat and so on): name the `blocks` directory inside the data \
             directory of a Bitcoin Core node",
            dir.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_goes_away_before_it_is_read_is_no_failure() {
        let dir = tempfile::TempDir::new().unwrap();
        for name in ["blk00000.dat", "blk00001.dat"] {
            fs::write(dir.path().join(name), [0; 100]).unwrap();
        }
        let mut blocks = BlockDir::open(dir.path(), Network::Regtest).unwrap();
        let changes = blocks.changes().unwrap();
        assert_eq!(changes.files, [0, 1]);
        fs::remove_file(dir.path().join("blk00000.dat")).unwrap();
        assert_eq!(blocks.scan(&changes.files).unwrap(), []);
        assert!(!blocks.changes().unwrap().reset, "nothing of it was ever read");
    }

    #[test]
    fn names_of_block_files() {
        let cases = [
            ("blk00000.dat", Some(0)),
            ("blk00123.dat", Some(123)),
            ("blk123456.dat", Some(123_456)),
            ("blk0.dat", None),
            ("blk000001.dat", None),
            ("blk+0001.dat", None),
            ("rev00000.dat", None),
            ("blk00000.dat.bak", None),
        ];
        for (name, number) in cases {
            assert_eq!(file_number(name), number, "{name}");
        }
    }
}
