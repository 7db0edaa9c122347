use std::collections::BTreeMap;
use std::path::Path;

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;
use rocksdb::{IteratorMode, Options};
use tempfile::TempDir;

use super::*;
use crate::ledger::keys::BlockKey;
use crate::ledger::records::BlockRecord;
use crate::ledger::tables::{BlockHeights, Blocks};
use crate::ledger::tests::vectors::published_chain;
use crate::ledger::{Entities, EntityConfig, EntityKey, Overlay, apply_block};
use crate::protocol::Network;
use crate::scan::BlockMessages;

/// Every row of every column family that belongs to the state, as bytes.
pub(super) type Content = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

pub(super) fn content(store: &Store) -> Content {
    let rows = |name: &'static str| {
        let family = store.db.cf_handle(name).unwrap();
        let rows = store.db.iterator_cf(family, IteratorMode::Start).map(Result::unwrap);
        rows.map(move |(key, value)| ((name, key.to_vec()), value.to_vec()))
    };
    let beside = [CACHE, STALE];
    family_names().into_iter().filter(|name| !beside.contains(name)).flat_map(rows).collect()
}

/// Applies blocks in runs of `run` blocks.
pub(super) fn apply(store: &Store, blocks: &[BlockMessages], run: usize) {
    for blocks in blocks.chunks(run) {
        let view = store.view();
        let mut pending = Overlay::new(&view);
        let mut changes = Vec::new();
        for block in blocks {
            let applied = apply_block(&pending, store.rules(), block).unwrap();
            pending.absorb(&applied.changes);
            changes.push((applied.tip.height, applied.changes));
        }
        store.commit(&changes).unwrap();
    }
}

fn entity(name: &str, byte: u8, from_height: u32) -> EntityConfig {
    let key = bitcoin::secp256k1::SecretKey::from_slice(&[byte; 32]).unwrap();
    let key = key.public_key(bitcoin::secp256k1::SECP256K1).into();
    EntityConfig { name: name.into(), keys: vec![EntityKey { key, from_height: Height(from_height) }] }
}

pub(super) fn rules() -> Rules {
    let entities = Entities::new(vec![entity("alpha", 1, 0)]).unwrap();
    Rules { network: Network::Regtest, start_height: Height(7), entities }
}

fn refusal(data_dir: &Path, rules: &Rules) -> String {
    match Store::open(data_dir, rules) {
        Ok(_) => panic!("it opened"),
        Err(e) => e.to_string(),
    }
}

#[test]
fn undoing_every_block_restores_every_byte() {
    let (rules, blocks) = published_chain();
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), &rules).unwrap();
    let mut before = Vec::new();
    for block in &blocks {
        before.push(content(&store));
        apply(&store, std::slice::from_ref(block), 1);
    }
    while let Some(expected) = before.pop() {
        let tip = store.tip().unwrap().unwrap();
        store.undo(tip.height).unwrap();
        assert_eq!(content(&store), expected, "after undoing block {}", tip.height);
    }
    assert_eq!(store.tip().unwrap(), None);
}

#[test]
fn the_length_of_runs_and_a_restart_in_between_change_no_byte() {
    let (rules, blocks) = published_chain();
    let mut results = Vec::new();
    for run in [1, 3, blocks.len()] {
        let dir = TempDir::new().unwrap();
        apply(&Store::open(dir.path(), &rules).unwrap(), &blocks[..4], run);
        let store = Store::open(dir.path(), &rules).unwrap();
        apply(&store, &blocks[4..], run);
        results.push(content(&store));
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_damaged_log_costs_blocks_and_not_the_database() {
    let (rules, blocks) = published_chain();
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), &rules).unwrap();
    let mut states = vec![content(&store)];
    for block in &blocks {
        apply(&store, std::slice::from_ref(block), 1);
        states.push(content(&store));
    }
    let files: Vec<_> =
        std::fs::read_dir(dir.path().join(DATABASE)).unwrap().map(|e| e.unwrap().path()).collect();
    let log = files.iter().filter(|path| path.extension().is_some_and(|e| e == "log")).max().unwrap();
    let whole = std::fs::read(log).unwrap();
    type Damage = (&'static str, fn(&mut Vec<u8>, usize));
    let damages: [Damage; 3] = [
        ("cut off", |bytes, at| bytes.truncate(at)),
        ("zeros from here on", |bytes, at| bytes[at..].fill(0)),
        ("a flipped bit", |bytes, at| bytes[at] ^= 1),
    ];
    let mut depths = std::collections::BTreeSet::new();
    for (name, damage) in damages {
        for at in (0..whole.len()).step_by(whole.len() / 10) {
            let copy = TempDir::new().unwrap();
            std::fs::create_dir(copy.path().join(DATABASE)).unwrap();
            for file in &files {
                std::fs::copy(file, copy.path().join(DATABASE).join(file.file_name().unwrap())).unwrap();
            }
            let mut bytes = whole.clone();
            damage(&mut bytes, at);
            std::fs::write(copy.path().join(DATABASE).join(log.file_name().unwrap()), bytes).unwrap();
            let content = content(&Store::open(copy.path(), &rules).unwrap());
            let state = states.iter().position(|state| *state == content);
            assert!(state.is_some(), "{name} at {at} of {}: a state that no block left", whole.len());
            depths.insert(state);
        }
    }
    assert!(depths.len() > 3, "the damage is in the blocks: {depths:?}");
}

#[test]
fn a_block_without_an_undo_record_is_not_undone() {
    let (rules, blocks) = published_chain();
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), &rules).unwrap();
    apply(&store, &blocks[..1], 1);
    let before = content(&store);
    assert!(matches!(store.undo(Height(9)), Err(StoreError::NoUndo(Height(9)))));
    assert_eq!(content(&store), before);
}

#[test]
fn what_may_be_forgotten_outlives_blocks_and_starting_over() {
    let (rules, blocks) = published_chain();
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), &rules).unwrap();
    let empty = content(&store);
    for (key, value) in [(b"b", b"2"), (b"a", b"0"), (b"c", b"3"), (b"a", b"1")] {
        store.cache_put(key, value).unwrap();
    }
    store.cache_delete(b"c").unwrap();
    store.cache_delete(b"never there").unwrap();
    assert_eq!(content(&store), empty);
    apply(&store, &blocks[..2], 1);
    store.undo(store.tip().unwrap().unwrap().height).unwrap();
    store.reset(None).unwrap();
    drop(store);
    let store = Store::open_read_only(dir.path()).unwrap();
    let rows: Vec<_> = store.cache_rows().unwrap().map(Result::unwrap).collect();
    let row = |key: &[u8], value: &[u8]| (Box::from(key), Box::from(value));
    assert_eq!(rows, [row(b"a", b"1"), row(b"b", b"2")]);
    assert!(store.cache_put(b"d", b"4").is_err(), "a reader writes nothing");
}

#[test]
fn a_block_that_is_taken_back_is_kept_with_the_way_down() {
    let (rules, blocks) = published_chain();
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), &rules).unwrap();
    apply(&store, &blocks[..3], 1);
    let before: Vec<_> = (0..3).map(|n| stored(&store, Height(rules.start_height.0 + n))).collect();
    let kept = || blocks.iter().filter(|block| store.stale_block(block.hash).unwrap().is_some()).count();
    assert_eq!(kept(), 0);
    store.undo(Height(rules.start_height.0 + 2)).unwrap();
    assert_eq!(kept(), 1);
    store.reset(Some(Height(rules.start_height.0 + 1))).unwrap();
    assert_eq!(kept(), 2, "what is below the fork comes back");
    apply(&store, &blocks[..1], 1);
    store.undo(rules.start_height).unwrap();
    drop(store);
    let store = Store::open(dir.path(), &rules).unwrap();
    let mut parent = BlockHash::all_zeros();
    for (height, block) in (rules.start_height.0..).map(Height).zip(before) {
        let stale = store.stale_block(block.hash).unwrap().expect("it was taken back");
        assert_eq!((stale.height, stale.parent, &stale.block), (height, parent, &block));
        parent = block.hash;
    }
}

fn stored(store: &Store, height: Height) -> BlockRecord {
    store.view().expect::<Blocks>(&height).unwrap()
}

#[test]
fn of_blocks_that_were_taken_back_the_last_ones_are_kept() {
    let (rules, blocks) = published_chain();
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), &rules).unwrap();
    let start = rules.start_height;
    apply(&store, &blocks[..2], 1);
    store.undo(start.next()).unwrap();
    let take_back = |times: u32| {
        let mut batch = WriteBatch::default();
        store.keep_stale(&mut batch, (0..times).map(|_| start)).unwrap();
        store.write(batch).unwrap();
    };
    let rows = || store.db.iterator_cf(store.family(stale::STALE).unwrap(), IteratorMode::Start).count();
    take_back(Store::STALE_KEPT - 1);
    assert!(store.stale_block(blocks[1].hash).unwrap().is_some());
    assert_eq!(rows(), Store::STALE_KEPT as usize + 2, "a number each, and two blocks");
    take_back(1);
    assert!(store.stale_block(blocks[1].hash).unwrap().is_none());
    take_back(5);
    assert!(store.stale_block(blocks[0].hash).unwrap().is_some(), "it was taken back again and again");
    assert_eq!(rows(), Store::STALE_KEPT as usize + 1);
}

#[test]
fn a_view_does_not_see_later_commits() {
    let (rules, blocks) = published_chain();
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), &rules).unwrap();
    apply(&store, &blocks[..1], 1);
    let view = store.view();
    apply(&store, &blocks[1..2], 1);
    assert!(!view.has::<BlockHeights>(&BlockKey::from(blocks[1].hash)).unwrap());
    assert!(store.view().has::<BlockHeights>(&BlockKey::from(blocks[1].hash)).unwrap());
}

#[test]
fn it_opens_again_and_names_of_entities_may_change() {
    let dir = TempDir::new().unwrap();
    drop(Store::open(dir.path(), &rules()).unwrap());
    let entities = Entities::new(vec![entity("another name", 1, 0)]).unwrap();
    let renamed = Rules { entities, ..rules() };
    drop(Store::open(dir.path(), &renamed).unwrap());
    assert_eq!(Store::open_read_only(dir.path()).unwrap().rules(), &renamed);
}

#[test]
fn it_refuses_another_configuration_and_says_what_differs() {
    let dir = TempDir::new().unwrap();
    apply(&Store::open(dir.path(), &rules()).unwrap(), &published_chain().1[..1], 1);
    let with = |entities: Vec<EntityConfig>| Rules { entities: Entities::new(entities).unwrap(), ..rules() };
    let cases = [
        (Rules { network: Network::Signet, ..rules() }, "it follows regtest, not signet"),
        (Rules { start_height: Height(8), ..rules() }, "it starts at height 7, not 8"),
        (with(vec![entity("alpha", 2, 0)]), "it follows the entities ["),
        (with(vec![entity("alpha", 1, 5)]), "it follows the entities ["),
        (with(vec![entity("alpha", 1, 0), entity("beta", 2, 0)]), "it follows the entities ["),
    ];
    for (other, words) in cases {
        let message = refusal(dir.path(), &other);
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(Store::open(dir.path(), &rules()).unwrap().rules(), &rules());
}

#[test]
fn a_database_without_blocks_takes_another_configuration() {
    let dir = TempDir::new().unwrap();
    drop(Store::open(dir.path(), &rules()).unwrap());
    let other = Rules { network: Network::Signet, start_height: Height(8), ..rules() };
    let store = Store::open(dir.path(), &other).unwrap();
    apply(&store, &published_chain().1[..1], 1);
    drop(store);
    assert_eq!(Store::open_read_only(dir.path()).unwrap().rules(), &other);
    assert!(refusal(dir.path(), &rules()).contains("it follows signet, not regtest"));
}

#[test]
fn it_refuses_a_newer_format() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), &rules()).unwrap();
    let newer = br#"{"format":3,"what":"nobody knows yet"}"#;
    store.db.put(identity::KEY, newer).unwrap();
    drop(store);
    assert!(refusal(dir.path(), &rules()).contains("it has format 3"));
}

#[test]
fn it_refuses_an_older_format_and_says_how_to_recover() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), &rules()).unwrap();
    store.db.put(identity::KEY, br#"{"format":1}"#).unwrap();
    drop(store);
    let message = refusal(dir.path(), &rules());
    assert!(message.contains("it has format 1") && message.contains("--rebuild"), "{message}");
    Store::set_aside(dir.path()).unwrap();
    assert_eq!(Store::open(dir.path(), &rules()).unwrap().tip().unwrap(), None);
}

#[test]
fn it_refuses_a_directory_that_holds_something_else() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("precious.txt"), "do not touch").unwrap();
    assert!(refusal(dir.path(), &rules()).contains("holds no btkn database"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn it_refuses_a_foreign_rocksdb() {
    let dir = TempDir::new().unwrap();
    drop(DB::open_default(dir.path().join("db")).unwrap());
    assert!(refusal(dir.path(), &rules()).contains("holds no btkn database"));
}

#[test]
fn a_first_start_that_was_killed_is_taken_up_by_the_next() {
    let nothing: fn(&Path) = |_| {};
    type Case = (&'static str, fn(&Path));
    let cases: [Case; 5] = [
        ("before anything", nothing),
        ("before RocksDB took its lock", |dir| {
            std::fs::create_dir(dir.join(UNFINISHED)).unwrap();
            std::fs::write(dir.join(UNFINISHED).join("LOG"), "").unwrap();
        }),
        ("before the identity was written", |dir| {
            drop(DB::open(&options::database(&options::Shared::new()), dir.join(UNFINISHED)).unwrap());
        }),
        ("before the tables were made", |dir| create(dir, &rules()).unwrap()),
        ("while the tables were made", |dir| {
            create(dir, &rules()).unwrap();
            let mut db = DB::open(&Options::default(), dir.join(DATABASE)).unwrap();
            db.create_cf(UNDO, &Options::default()).unwrap();
        }),
    ];
    for (killed, leave) in cases {
        let dir = TempDir::new().unwrap();
        leave(dir.path());
        let read = Store::open_read_only(dir.path()).err().unwrap().to_string();
        assert!(read.contains("run `btkn sync` first"), "killed {killed}: {read}");
        let opened = Store::open(dir.path(), &rules()).map(|store| store.tip());
        assert!(matches!(opened, Ok(Ok(None))), "killed {killed}: {opened:?}");
        assert_eq!(Store::open_read_only(dir.path()).unwrap().rules(), &rules(), "killed {killed}");
    }
}

#[test]
fn a_first_start_that_was_killed_is_taken_up_with_other_options() {
    let dir = TempDir::new().unwrap();
    create(dir.path(), &rules()).unwrap();
    let other = Rules { network: Network::Signet, ..rules() };
    assert_eq!(Store::open(dir.path(), &other).unwrap().rules(), &other);
}

#[test]
fn a_reader_keeps_files_that_the_writer_deletes() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), &rules()).unwrap();
    let undo = store.db.cf_handle(UNDO).unwrap();
    store.db.set_options_cf(undo, &[("disable_auto_compactions", "true")]).unwrap();
    let files = || {
        let entries = std::fs::read_dir(dir.path().join(DATABASE)).unwrap();
        entries.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "sst")).count()
    };
    for number in 0u8..40 {
        store.db.put_cf(undo, [0], [number]).unwrap();
        store.db.put_cf(undo, [1, number], [number]).unwrap();
        store.db.flush_cf(undo).unwrap();
    }
    let reader = Store::open_read_only(dir.path()).unwrap();
    let (expected, many) = (content(&store), files());
    store.db.compact_range_cf(undo, None::<&[u8]>, None::<&[u8]>);
    for _ in 0..100 {
        if files() < many / 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(files() < many / 2, "the writer deletes files");
    assert_eq!(content(&reader), expected);
}

#[test]
fn a_lock_that_cannot_be_taken_for_another_reason_is_not_blamed_on_a_process() {
    let dir = TempDir::new().unwrap();
    drop(Store::open(dir.path(), &rules()).unwrap());
    let lock = dir.path().join(DATABASE).join("LOCK");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    let message = refusal(dir.path(), &rules());
    assert!(message.contains("LOCK") && !message.contains("in use"), "{message}");
}

#[test]
fn a_second_process_is_told_that_it_is_in_use_and_may_still_read() {
    let (rules, blocks) = published_chain();
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), &rules).unwrap();
    apply(&store, &blocks[..2], 1);
    let message = refusal(dir.path(), &rules);
    assert!(message.contains("in use by another btkn process"), "{message}");
    let reader = Store::open_read_only(dir.path()).unwrap();
    assert_eq!(reader.tip().unwrap(), store.tip().unwrap());
}

#[test]
fn reading_needs_a_database() {
    let dir = TempDir::new().unwrap();
    let missing = Store::open_read_only(dir.path()).err().unwrap().to_string();
    assert!(missing.contains("run `btkn sync` first"), "{missing}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
