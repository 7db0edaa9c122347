//! Block files alone.

use std::fs;
use std::time::{Duration, Instant};

use bitcoin::hashes::Hash;

use super::super::{BlockFiles, Source};
use super::*;
use crate::stop::Stop;

fn open(disk: &Disk) -> BlockFiles {
    BlockFiles::open(disk.path(), Network::Regtest).unwrap()
}

/// The whole best chain, after checking that every block of it can be fetched and located.
fn best_chain(source: &mut BlockFiles, blocks: &[Block]) -> Vec<BlockId> {
    let tip = source.refresh().unwrap();
    let hashes = source.hashes(Height(0), 1000).unwrap();
    let chain: Vec<_> =
        (0..).map(Height).zip(hashes).map(|(height, hash)| BlockId { height, hash }).collect();
    assert_eq!(chain.last(), Some(&tip));
    let mut buf = vec![0xee; 1_000];
    for id in &chain {
        source.fetch(*id, &mut buf).unwrap();
        let block = blocks.iter().find(|block| block.block_hash() == id.hash).unwrap();
        assert_eq!(buf, encode::serialize(block));
        assert!(source.locate(*id).contains(".dat at offset "), "{}", source.locate(*id));
    }
    chain
}

#[test]
fn layouts_of_files() {
    let blocks = mine_chain(6);
    let stale = mine(&blocks[3], 100);
    let orphan = mine(&stale, 101);
    let rival = mine(&blocks[5], 102);
    let r: Vec<Vec<u8>> = blocks.iter().map(record).collect();
    let garbage = [0x55; 1000];
    // A magic that is not followed by a block, with an impossible and with a possible size.
    let decoy = [&r[1][..4], &[0xff; 100]].concat();
    let small_decoy = [&r[1][..8], &[0x66; 90]].concat();
    let cut = &r[6][..r[6].len() - 1];

    type Files = Vec<(u32, Vec<u8>)>;
    let cases: Vec<(&str, Files, usize)> = vec![
        ("one file", vec![(0, r.concat())], 6),
        ("several files, a number left out", vec![(0, r[..3].concat()), (7, r[3..].concat())], 6),
        ("backwards", vec![(0, r.iter().rev().cloned().collect::<Vec<_>>().concat())], 6),
        ("files backwards", vec![(0, r[4..].concat()), (1, r[..4].concat())], 6),
        ("a stale branch", vec![(0, [r[..4].concat(), record(&stale), r[4..].concat()].concat())], 6),
        ("a stale branch last", vec![(0, [r.concat(), record(&stale), record(&orphan)].concat())], 6),
        ("a later rival of equal work", vec![(0, [r.concat(), record(&rival)].concat())], 6),
        ("every block twice", vec![(0, r.concat()), (1, r.concat())], 6),
        ("blocks linked to nothing", vec![(0, [r[..3].concat(), r[4..].concat()].concat())], 2),
        ("garbage in front, between and behind", vec![(0, r.join(&garbage[..])), (1, garbage.to_vec())], 6),
        ("magics that mean nothing", vec![(0, r.join(&[decoy, small_decoy].concat()[..]))], 6),
        ("half a magic at the end", vec![(0, [r.concat(), r[1][..3].to_vec()].concat())], 6),
        ("half a header at the end", vec![(0, [r[..6].concat(), r[6][..50].to_vec()].concat())], 5),
        ("half a block at the end", vec![(0, [r[..6].concat(), cut.to_vec()].concat())], 5),
        (
            "half a block at the end of an old file",
            vec![(0, [r[..4].concat(), r[4][..100].to_vec()].concat()), (1, r[5..].concat())],
            3,
        ),
        (
            "half a block and then zeros",
            vec![(0, [r[..6].concat(), cut[..150].to_vec(), vec![0; 500]].concat())],
            5,
        ),
        (
            "half a block, and whole later",
            vec![(0, [r[..6].concat(), cut.to_vec()].concat()), (1, r[6].clone())],
            6,
        ),
        ("an empty file", vec![(0, vec![]), (1, r.concat()), (2, vec![])], 6),
        ("far apart", vec![(0, r.join(&vec![0x77; 300_000][..]))], 6),
    ];
    for key in [None, Some([0; 8]), Some(KEY)] {
        for allocated in [0, 20_000] {
            for (name, files, height) in &cases {
                let disk = Disk::new(key);
                for (number, content) in files {
                    disk.write(*number, content);
                    disk.allocate(*number, allocated);
                }
                let chain = best_chain(&mut open(&disk), &blocks);
                assert_eq!(chain, ids(&blocks)[..=*height], "{name}, key {key:?}, allocated {allocated}");
            }
        }
    }
}

#[test]
fn every_beginning_of_a_file_ends_the_chain_at_its_last_whole_block() {
    let blocks = mine_chain(2);
    let whole: Vec<u8> = blocks.iter().map(record).collect::<Vec<_>>().concat();
    let first = record(&blocks[0]).len();
    let second = first + record(&blocks[1]).len();
    for allocated in [0, 300] {
        let disk = Disk::new(Some(KEY));
        for len in (first..whole.len()).step_by(7) {
            disk.write(0, &whole[..len]);
            disk.allocate(0, allocated);
            let tip = open(&disk).refresh().unwrap();
            let height = if len >= second { 1 } else { 0 };
            assert_eq!(tip.height.0, height, "{len} bytes, {allocated} allocated");
        }
    }
}

#[test]
fn growth_is_picked_up() {
    let blocks = mine_chain(5);
    let all = ids(&blocks);
    let records: Vec<_> = blocks.iter().map(record).collect();
    for allocated in [0, 5_000] {
        let disk = Disk::new(Some(KEY));
        let mut at = 0;
        disk.allocate(0, allocated);
        for part in &records[..3] {
            disk.write_at(0, at, part);
            at += part.len();
        }
        let mut source = open(&disk);
        assert_eq!(best_chain(&mut source, &blocks), all[..=2]);
        // Half of a block, then the rest of it.
        disk.write_at(0, at, &records[3][..130]);
        assert_eq!(best_chain(&mut source, &blocks), all[..=2]);
        disk.write_at(0, at, &records[3]);
        assert_eq!(best_chain(&mut source, &blocks), all[..=3]);
        // A new file, whose blocks come the wrong way round.
        disk.write(1, &records[5]);
        assert_eq!(best_chain(&mut source, &blocks), all[..=3]);
        disk.write_at(1, records[5].len(), &records[4]);
        assert_eq!(best_chain(&mut source, &blocks), all[..=5]);
    }
}

#[test]
fn a_heavier_branch_takes_over() {
    let blocks = mine_chain(4);
    let disk = Disk::new(None);
    disk.write(0, &blocks.iter().map(record).collect::<Vec<_>>().concat());
    let mut source = open(&disk);
    assert_eq!(best_chain(&mut source, &blocks), ids(&blocks));

    let mut rival = blocks[..2].to_vec();
    for number in 50..54 {
        rival.push(mine(&rival[rival.len() - 1], number));
    }
    disk.write(1, &rival[2..5].iter().map(record).collect::<Vec<_>>().concat());
    assert_eq!(source.refresh().unwrap().hash, blocks[4].block_hash(), "a tie");
    disk.write(2, &record(&rival[5]));
    assert_eq!(best_chain(&mut source, &rival), ids(&rival));
    assert_eq!(source.hashes(Height(4), 1).unwrap(), [rival[4].block_hash()]);
    assert_eq!(source.hashes(Height(6), 10).unwrap(), []);
}

#[test]
fn files_rewritten_under_the_index_are_read_again() {
    let blocks = mine_chain(3);
    let records: Vec<_> = blocks.iter().map(record).collect();
    let disk = Disk::new(None);
    disk.write(0, &records.concat());
    let mut source = open(&disk);
    source.refresh().unwrap();

    // The same blocks at other places, in a file that did not shrink.
    let moved = [&records[0][..], &[0x55; 11], &records[1..].concat()].concat();
    disk.write(0, &moved);
    let mut buf = Vec::new();
    let block = ids(&blocks)[2];
    let (kind, text) = told(source.fetch(block, &mut buf).unwrap_err());
    let offset = records[0].len() + records[1].len() + 8;
    assert_eq!(kind, "retry");
    assert!(text.contains(&format!("blk00000.dat at offset {offset}: block {}", block.hash)), "{text}");
    assert_eq!(best_chain(&mut source, &blocks), ids(&blocks));

    disk.write(0, &records[..2].concat());
    assert_eq!(told(source.fetch(block, &mut buf).unwrap_err()).0, "retry");
    assert_eq!(best_chain(&mut source, &blocks), ids(&blocks)[..=1], "a file that shrank");
}

#[test]
fn directories_that_are_refused_when_opened() {
    let blocks = mine_chain(1);
    let content: Vec<u8> = blocks.iter().map(record).collect::<Vec<_>>().concat();
    let of = |network| record_of(network, &genesis_block(network.to_bitcoin()));
    type Make = Box<dyn Fn(&Disk) -> PathBuf>;
    let cases: Vec<(&str, Make, &str)> = vec![
        ("missing", Box::new(|disk| disk.path().join("nowhere")), "there is no directory"),
        ("a file", Box::new(|disk| disk.file(0)), "can't read"),
        (
            "without block files",
            Box::new(|disk| {
                fs::remove_file(disk.file(0)).unwrap();
                disk.path().to_owned()
            }),
            "holds no block files (blk00000.dat",
        ),
        (
            "the directory above",
            Box::new(|disk| {
                fs::remove_file(disk.file(0)).unwrap();
                fs::create_dir(disk.path().join("blocks")).unwrap();
                disk.path().to_owned()
            }),
            "did you mean",
        ),
        (
            "short key",
            Box::new(|disk| {
                fs::write(disk.path().join("xor.dat"), [1; 7]).unwrap();
                disk.path().to_owned()
            }),
            "xor.dat has 7 bytes where a key has 8",
        ),
        (
            "of mainnet",
            Box::new(move |disk| {
                disk.write(0, &of(Network::Mainnet));
                disk.path().to_owned()
            }),
            "are of mainnet, not of regtest",
        ),
        (
            "of signet, after an empty file",
            Box::new(move |disk| {
                disk.write(0, &[]);
                disk.write(1, &of(Network::Signet));
                disk.path().to_owned()
            }),
            "are of signet, not of regtest",
        ),
        (
            "of testnet4",
            Box::new(|disk| {
                disk.write(0, &[0x1c, 0x16, 0x3f, 0x28]);
                disk.path().to_owned()
            }),
            "are of testnet4, not of regtest",
        ),
    ];
    for (name, make, reason) in cases {
        let disk = Disk::new(None);
        disk.write(0, &content);
        let dir = make(&disk);
        let (kind, text) = told(BlockFiles::open(&dir, Network::Regtest).err().expect(name));
        assert_eq!(kind, "fatal", "{name}");
        assert!(text.contains(reason) && text.contains(&dir.display().to_string()), "{name}: {text}");
    }
}

#[test]
fn directories_that_are_refused_when_indexed() {
    let blocks = mine_chain(3);
    let content = blocks.iter().map(record).collect::<Vec<_>>().concat();
    let mut no_work = blocks[1].clone();
    while no_work.header.validate_pow(no_work.header.target()).is_ok() {
        no_work.header.nonce += 1;
    }
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing in the files", vec![], "hold no block of regtest"),
        ("zeros", vec![0; 5000], "hold no block of regtest"),
        (
            "XORed, but the key is missing",
            content.iter().map(|byte| byte ^ 0x5a).collect(),
            "xor.dat is missing",
        ),
        ("pruned", content[record(&blocks[0]).len()..].to_vec(), "--bitcoin-dir"),
        ("only a header without work", record(&no_work), "hold no block of regtest"),
    ];
    for (name, content, reason) in cases {
        let disk = Disk::new(None);
        disk.write(0, &content);
        let (kind, text) = told(open(&disk).refresh().expect_err(name));
        assert_eq!(kind, "fatal", "{name}");
        assert!(text.contains(reason), "{name}: {text}");
    }
}

#[test]
fn indexing_ends_when_a_stop_is_requested() {
    let blocks = mine_chain(40);
    let disk = Disk::new(None);
    for (number, block) in (0..).zip(&blocks) {
        disk.write(number, &record(block));
    }
    let stop = Stop::new();
    let mut source = open(&disk).stopping_with(stop.clone());
    assert_eq!(best_chain(&mut source, &blocks), ids(&blocks));
    disk.write(41, &record(&mine(&blocks[40], 0)));
    stop.request();
    assert_eq!(told(source.refresh().unwrap_err()).0, "retry");
    let mut source = source.stopping_with(Stop::new());
    assert_eq!(source.refresh().unwrap().height, Height(41), "what was left out is not lost");
}

#[test]
fn an_unknown_block_is_not_fetched() {
    let disk = Disk::new(None);
    disk.write(0, &record(&genesis()));
    let mut source = open(&disk);
    source.refresh().unwrap();
    let unknown = BlockId { height: Height(1), hash: bitcoin::BlockHash::all_zeros() };
    assert_eq!(told(source.fetch(unknown, &mut Vec::new()).unwrap_err()).0, "retry");
    assert_eq!(source.locate(unknown), disk.path().display().to_string());
}

#[test]
fn waiting_ends_at_the_timeout_or_with_a_change() {
    let blocks = mine_chain(1);
    let disk = Disk::new(None);
    disk.write(0, &record(&blocks[0]));
    // Old enough to be settled.
    let past = std::time::SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().write(true).open(disk.file(0)).unwrap().set_modified(past).unwrap();
    let mut source = open(&disk);
    let tip = source.refresh().unwrap();

    let timed = |known, timeout| {
        let start = Instant::now();
        source.wait(known, Duration::from_millis(timeout)).unwrap();
        start.elapsed()
    };
    assert!(timed(bitcoin::BlockHash::all_zeros(), 60_000) < Duration::from_secs(5), "another tip is known");
    let quiet = timed(tip.hash, 300);
    assert!(quiet >= Duration::from_millis(300) && quiet < Duration::from_secs(5), "{quiet:?}");
    disk.write_at(0, record(&blocks[0]).len(), &record(&blocks[1]));
    assert!(timed(tip.hash, 60_000) < Duration::from_secs(20), "a change");
    assert_eq!(source.refresh().unwrap().hash, blocks[1].block_hash());
}
