//! Positions of blocks that are kept from one start to the next.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::super::{BlockFiles, Keeper, Source};
use super::*;

/// A keeper in memory.
#[derive(Default)]
struct Memory {
    rows: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    fails: bool,
}

impl Memory {
    fn rows(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.rows.lock().unwrap().clone()
    }

    fn work(&self) -> Result<(), String> {
        if self.fails { Err("it fails".into()) } else { Ok(()) }
    }
}

impl Keeper for Memory {
    fn each(&self, row: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), String> {
        self.rows().iter().for_each(|(key, value)| row(key, value));
        self.work()
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), String> {
        self.rows.lock().unwrap().insert(key.to_vec(), value.to_vec());
        self.work()
    }

    fn delete(&self, key: &[u8]) -> Result<(), String> {
        self.rows.lock().unwrap().remove(key);
        self.work()
    }
}

/// Writes a file that was last changed so many seconds ago.
fn write(disk: &Disk, file: u32, content: &[u8], age: u64) {
    disk.write(file, content);
    let path = disk.path().join(format!("blk{file:05}.dat"));
    let day = SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000);
    File::options().write(true).open(path).unwrap().set_modified(day - Duration::from_secs(age)).unwrap();
}

/// The tip of a source that starts with what is kept.
fn start(disk: &Disk, keeper: &Arc<Memory>) -> (BlockFiles, BlockId) {
    let mut files = BlockFiles::open(disk.path(), Network::Regtest).unwrap();
    files.keep_with(keeper.clone());
    let tip = files.refresh().unwrap();
    (files, tip)
}

/// Two files of a chain of six blocks, found and kept.
fn kept(key: Option<[u8; 8]>) -> (Disk, Vec<Block>, Arc<Memory>) {
    let (disk, blocks) = (Disk::new(key), mine_chain(6));
    let records: Vec<_> = blocks.iter().map(record).collect();
    write(&disk, 0, &records[..4].concat(), 20);
    write(&disk, 1, &records[4..].concat(), 10);
    let keeper = Arc::new(Memory::default());
    assert_eq!(start(&disk, &keeper).1, ids(&blocks)[6]);
    assert_eq!(keeper.rows().len(), 2);
    (disk, blocks, keeper)
}

#[test]
fn files_that_did_not_change_are_not_searched_again() {
    for key in [None, Some(KEY)] {
        let (disk, blocks, keeper) = kept(key);
        let rows = keeper.rows();
        // What is not read cannot be missed; what is asked for is.
        let len = blocks[..4].iter().map(|block| record(block).len()).sum();
        write(&disk, 0, &vec![0x55; len], 20);
        let (files, tip) = start(&disk, &keeper);
        assert_eq!(tip, ids(&blocks)[6]);
        files.fetch(ids(&blocks)[5], &mut Vec::new()).unwrap();
        let error = files.fetch(ids(&blocks)[2], &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("is not any more"), "{error}");
        assert_eq!(keeper.rows(), rows);
    }
}

#[test]
fn of_files_that_changed_every_header_is_looked_at() {
    for damaged in [0usize, 2] {
        let (disk, blocks, keeper) = kept(None);
        let mut content = blocks[..4].iter().map(record).collect::<Vec<_>>();
        content[damaged][20] ^= 1;
        write(&disk, 0, &content.concat(), 19);
        let mut files = BlockFiles::open(disk.path(), Network::Regtest).unwrap();
        files.keep_with(keeper.clone());
        let tip = files.refresh().ok().map(|tip| tip.height.0);
        // Block 0 is the genesis block, without which there is no chain.
        assert_eq!(tip, damaged.checked_sub(1).map(|last| last as u32));
    }
}

#[test]
fn growth_makes_further_rows() {
    let (disk, blocks, keeper) = kept(Some(KEY));
    let next = mine(&blocks[6], 7);
    let before = keeper.rows();
    let grown =
        [&blocks[4..], std::slice::from_ref(&next)].concat().iter().map(record).collect::<Vec<_>>().concat();
    write(&disk, 1, &grown, 5);
    for _ in 0..2 {
        assert_eq!(start(&disk, &keeper).1.hash, next.block_hash());
        let rows = keeper.rows();
        assert_eq!(rows.len(), 3);
        assert!(before.iter().all(|(key, value)| rows.get(key) == Some(value)), "no row was written again");
    }
}

#[test]
fn files_that_went_away_or_have_another_key_are_found_anew() {
    let (disk, blocks, keeper) = kept(None);
    fs::remove_file(disk.path().join("blk00001.dat")).unwrap();
    assert_eq!(start(&disk, &keeper).1, ids(&blocks)[3]);
    assert_eq!(keeper.rows().len(), 1, "the rows of the other file are gone");

    let other = Disk::new(Some(KEY));
    write(&other, 0, &blocks.iter().map(record).collect::<Vec<_>>().concat(), 20);
    assert_eq!(start(&other, &keeper).1, ids(&blocks)[6]);
    assert_eq!(keeper.rows().len(), 1);
}

#[test]
fn rows_that_are_damaged_or_do_not_follow_one_another_are_left_out() {
    let (disk, blocks, keeper) = kept(None);
    let sound = keeper.rows();
    let first = sound.keys().next().unwrap().clone();
    type Damage = Box<dyn Fn(&mut BTreeMap<Vec<u8>, Vec<u8>>)>;
    let cases: [(&str, Damage); 5] = [
        ("no version", Box::new(|rows| drop(rows.insert(vec![0; 12], vec![])))),
        ("no key", Box::new(|rows| drop(rows.insert(vec![7], vec![1])))),
        (
            "a hole",
            Box::new(|rows| drop(rows.insert([vec![0; 3], vec![9], vec![1; 8]].concat(), vec![1; 37]))),
        ),
        ("a flipped bit in a header", Box::new(|rows| rows.values_mut().for_each(|row| row[60] ^= 1))),
        ("cut short", Box::new(|rows| rows.values_mut().for_each(|row| row.truncate(row.len() - 1)))),
    ];
    for (name, damage) in cases {
        *keeper.rows.lock().unwrap() = sound.clone();
        damage(&mut keeper.rows.lock().unwrap());
        assert_eq!(start(&disk, &keeper).1, ids(&blocks)[6], "{name}");
        assert_eq!(keeper.rows(), sound, "{name}: what is of no use is gone, what was lost is there again");
    }
    assert!(sound.contains_key(&first));
}

#[test]
fn a_keeper_that_fails_costs_time_only() {
    let (disk, blocks, _) = kept(None);
    let keeper = Arc::new(Memory { fails: true, ..Memory::default() });
    assert_eq!(start(&disk, &keeper).1, ids(&blocks)[6]);
}
