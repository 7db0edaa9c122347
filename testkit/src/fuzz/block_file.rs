//! Block files: the reader against a plain loop over the bytes, and the source on top of it.

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::PathBuf;

use bitcoin::block::Header;
use bitcoin::consensus::encode;
use bitcoin::constants::genesis_block;
use bitcoin::{BlockHash, Target};
use btkn_indexer::chain::blk_file::{self, Format, MAX_BLOCK, RECORD_HEADER, Record, Scan, XorKey};
use btkn_indexer::chain::{BlockFiles, BlockId, Source};
use btkn_indexer::protocol::{Height, Network};
use memchr::memmem;
use tempfile::TempDir;

const NETWORK: bitcoin::Network = bitcoin::Network::Regtest;

/// A byte of flags; if bit 0 is set, the 8 bytes of a key; if bit 1 is set, two little-endian numbers of
/// 16 bits: where to cut the content, and how many times 16 bytes of zeros to put there, so that short
/// inputs make files that are longer than what is read at once. The rest is the content of a block file of
/// regtest before the key is applied.
///
/// Laws: the reader finds the records that a plain loop over the bytes finds, each inside the file and
/// behind the one before; it goes on from any of them as it would have without a stop, and on a file that
/// is cut short it finds what is whole. The source on top of it gives a chain from the genesis block on,
/// whose blocks are in the file and have the hashes that they were asked for by.
pub fn block_file(data: &[u8]) {
    let Some(input) = Input::read(data) else { return };
    thread_local!(static PLACE: RefCell<Place> = RefCell::new(Place::new()));
    PLACE.with_borrow_mut(|place| {
        place.write(&input);
        check_records(place, &input);
        check_source(place, &input.plain);
    });
}

struct Input {
    key: [u8; 8],
    /// The content of the file, the key taken off.
    plain: Vec<u8>,
}

impl Input {
    fn read(data: &[u8]) -> Option<Self> {
        let (flags, mut rest) = data.split_first()?;
        let mut key = [0; 8];
        if flags & 1 != 0 {
            (key, rest) = rest.split_first_chunk().map(|(key, rest)| (*key, rest))?;
        }
        let mut plain = rest.to_vec();
        if flags & 2 != 0 {
            let ([a, b, c, d], content) = rest.split_first_chunk::<4>()?;
            let cut = usize::from(u16::from_le_bytes([*a, *b])).min(content.len());
            let hole = 16 * usize::from(u16::from_le_bytes([*c, *d]));
            plain = [&content[..cut], &vec![0; hole], &content[cut..]].concat();
        }
        Some(Input { key, plain })
    }
}

/// A directory with one block file, in memory where the system has a place for that.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Place { dir: dir.expect("a temporary directory") }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("blk00000.dat")
    }

    fn write(&self, input: &Input) {
        let mut bytes = input.plain.clone();
        XorKey::new(input.key).apply(0, &mut bytes);
        fs::write(self.file(), bytes).expect("the file can be written");
        fs::write(self.dir.path().join("xor.dat"), input.key).expect("the key can be written");
    }

    fn scan(&self, format: &Format, start: u64) -> Scan {
        let file = File::open(self.file()).expect("the file is there");
        blk_file::scan(&file, format, start).expect("the file can be read")
    }
}

fn check_records(place: &Place, input: &Input) {
    let format = Format {
        magic: NETWORK.magic(),
        key: XorKey::new(input.key),
        max_target: NETWORK.params().max_attainable_target,
    };
    let plain = &input.plain;
    let whole = place.scan(&format, 0);
    assert_eq!(whole, plain_scan(plain, format.max_target), "a plain loop finds others");
    let mut end = 0;
    for record in &whole.records {
        let (offset, size) = (record.offset, u64::from(record.size));
        assert!(offset >= end + RECORD_HEADER && offset + size <= plain.len() as u64, "{record:?}");
        end = offset + size;
        let mut bytes = Vec::new();
        blk_file::read(&place.file(), format.key, offset, record.size, &mut bytes).expect("it is there");
        assert_eq!(bytes, plain[offset as usize..end as usize]);
    }
    let Some(middle) = whole.records.get(whole.records.len() / 2) else { return };
    let later = place.scan(&format, middle.offset + u64::from(middle.size));
    assert_eq!(later.records, whole.records[whole.records.len() / 2 + 1..]);
    assert_eq!(later.cut_short, whole.cut_short);

    let cut = File::options().write(true).open(place.file()).expect("the file is there");
    cut.set_len(middle.offset + 1).expect("the file can be cut");
    let earlier = place.scan(&format, 0);
    let kept = whole.records.len() / 2;
    assert_eq!(earlier.records.get(..kept), Some(&whole.records[..kept]), "of a file that is cut short");
    place.write(input);
}

/// The scan of a whole file, byte by byte.
fn plain_scan(plain: &[u8], max_target: Target) -> Scan {
    let magic = NETWORK.magic().to_bytes();
    let mut scan = Scan::default();
    let mut at = 0;
    while let Some(found) = plain.get(at..).and_then(|rest| memmem::find(rest, &magic)) {
        let start = at + found;
        at = start + 1;
        let Some((header, hash, size)) = plain_record(&plain[start..], max_target) else { continue };
        let offset = start + RECORD_HEADER as usize;
        if plain.len() - offset < size as usize {
            scan.cut_short = scan.cut_short.or(Some((offset as u64, size)));
            continue;
        }
        scan.records.push(Record { hash, header, offset: offset as u64, size });
        scan.cut_short = None;
        at = offset + size as usize;
        scan.resume = at as u64;
    }
    scan
}

fn plain_record(bytes: &[u8], max_target: Target) -> Option<(Header, BlockHash, u32)> {
    let size = u32::from_le_bytes(*bytes.get(4..8)?.first_chunk()?);
    let header: Header = encode::deserialize(bytes.get(8..88)?).ok()?;
    let possible = size > 80 && size <= MAX_BLOCK && header.target() <= max_target;
    let hash = header.block_hash();
    (possible && header.target().is_met_by(hash)).then_some((header, hash, size))
}

fn check_source(place: &Place, plain: &[u8]) {
    let Ok(mut source) = BlockFiles::open(place.dir.path(), Network::Regtest) else { return };
    let Ok(tip) = source.refresh() else { return };
    let hashes = source.hashes(Height(0), usize::MAX).expect("the chain is known");
    assert_eq!(hashes.first(), Some(&genesis_block(NETWORK).block_hash()));
    assert_eq!(hashes.last(), Some(&tip.hash));
    assert_eq!(hashes.len() as u64, u64::from(tip.height.0) + 1);
    let mut parent = None;
    let mut bytes = Vec::new();
    for (height, hash) in (0..).zip(hashes) {
        source.fetch(BlockId { height: Height(height), hash }, &mut bytes).expect("it is in the file");
        let header: Header = encode::deserialize(&bytes[..80]).expect("a block begins with its header");
        assert_eq!(header.block_hash(), hash);
        assert!(parent.is_none_or(|parent| header.prev_blockhash == parent));
        assert!(memmem::find(plain, &bytes).is_some(), "the block is not in the file");
        parent = Some(hash);
    }
    assert_eq!(source.refresh().expect("nothing changed"), tip);
}
