//! Block files that change under the hands of a server that follows them: what may come back is waited for,
//! told, and taken up; what a user has to see to ends it with a message.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bitcoin::Block;
use btkn_testkit::fake_node::FakeNode;

use crate::cli::{KEY, Place, assert_done, stderr};
use crate::kit::{Server, for_all, node_args};
use crate::mini_chain;
use crate::small_disk::without_privileges;

/// The first block file.
fn first(place: &Place) -> PathBuf {
    place.blocks.join("blk00000.dat")
}

fn run(place: &Place) -> std::process::Command {
    let entity = format!("a={KEY}");
    place.command(&[&["run"], place.sync_options(&entity).as_slice()].concat())
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Replaces the block files by others with these blocks, under a key.
fn rewrite(place: &Place, blocks: &[Block], key: [u8; 8]) {
    std::fs::remove_file(first(place)).unwrap();
    mini_chain::append(&place.blocks, blocks);
    let mut bytes = std::fs::read(first(place)).unwrap();
    bytes.iter_mut().zip(key.into_iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    std::fs::write(first(place), bytes).unwrap();
    std::fs::write(place.blocks.join("xor.dat"), key).unwrap();
}

/// Writes the first file again, with one block more.
fn mend(place: &Place) {
    std::fs::create_dir_all(&place.blocks).unwrap();
    let _ = std::fs::remove_file(first(place));
    mini_chain::append(&place.blocks, &mini_chain::blocks(9));
}

/// Name; what is done to the files; the problem that is told, if it is one; how it ends.
type Case = (&'static str, fn(&Place), Option<&'static str>, fn(&Place));

const CASES: &[Case] = &[
    (
        "a file vanishes",
        |place| std::fs::remove_file(first(place)).unwrap(),
        Some("hold no block of regtest"),
        mend,
    ),
    (
        "a file is empty for a moment",
        |place| drop(OpenOptions::new().write(true).truncate(true).open(first(place)).unwrap()),
        Some("hold no block of regtest"),
        mend,
    ),
    (
        "a file is replaced by a shorter one",
        |place| {
            std::fs::remove_file(first(place)).unwrap();
            mini_chain::append(&place.blocks, &mini_chain::blocks(5));
        },
        None,
        mend,
    ),
    (
        "the directory vanishes",
        |place| std::fs::rename(&place.blocks, place.path("elsewhere")).unwrap(),
        Some("there is no directory"),
        mend,
    ),
    (
        "another key",
        |place| rewrite(place, &mini_chain::blocks(8), [7; 8]),
        None,
        |place| {
            rewrite(place, &mini_chain::blocks(9), [9; 8]);
        },
    ),
    (
        "a key that is not theirs",
        |place| std::fs::write(place.blocks.join("xor.dat"), [3; 8]).unwrap(),
        Some("xor.dat is missing or not theirs"),
        |place| {
            std::fs::remove_file(place.blocks.join("xor.dat")).unwrap();
            mend(place);
        },
    ),
    (
        "half a key",
        |place| std::fs::write(place.blocks.join("xor.dat"), [3; 4]).unwrap(),
        Some("has 4 bytes where a key has 8"),
        |place| {
            std::fs::remove_file(place.blocks.join("xor.dat")).unwrap();
            mend(place);
        },
    ),
    (
        "a new block that is damaged",
        |place| {
            mini_chain::append(&place.blocks, &mini_chain::blocks(9)[9..]);
            let mut bytes = std::fs::read(first(place)).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(first(place), bytes).unwrap();
        },
        None,
        mend,
    ),
];

#[test]
fn files_that_change_while_they_are_followed_are_waited_for() {
    let fresh = Place::new();
    mini_chain::append(&fresh.blocks, &mini_chain::blocks(9)[9..]);
    assert_done(&fresh.sync(&[]));
    let state = |place: &Place| {
        assert_done(&place.run(&["check", "--data-dir", "data"]));
        ["events", "dump"].map(|command| place.run(&[command, "--data-dir", "data"]).stdout)
    };
    for_all(
        CASES,
        |(name, ..)| (*name).to_owned(),
        |(name, change, problem, mend)| {
            let place = Place::new();
            let server = Server::start(run(&place));
            server.wait_for("the tip", |status| status["synced"] == true);
            change(&place);
            match problem {
                Some(text) => {
                    let told = |status: &serde_json::Value| {
                        status["sync"]["problem"].as_str().is_some_and(|problem| problem.contains(text))
                    };
                    server.wait_for(text, told);
                }
                // Two looks at the files.
                None => std::thread::sleep(std::time::Duration::from_secs(2)),
            }
            let status = server.get("/v1/status").1;
            assert_eq!(status["as_of"]["height"], 8, "{name}: nothing is taken back");
            let warnings = server.logged("WARN");
            assert!(warnings.len() <= 2, "{name}: that files changed, and what is wrong: {warnings:#?}");
            mend(&place);
            let status = server.wait_for("the next block", |status| status["as_of"]["height"] == 9);
            assert!(status["sync"]["problem"].is_null(), "{name}: {status}");
            server.end("-INT");
            assert_eq!(state(&place), state(&fresh), "{name}");
        },
    );
}

#[test]
fn files_that_may_not_be_read_end_it_and_say_so() {
    const ADVICE: [&str; 3] = ["blk0000", "Permission denied", "run btkn as its user"];
    let place = Place::new();
    chmod(&first(&place), 0o000);
    let entity = format!("a={KEY}");
    let sync = || place.command(&[&["sync"], place.sync_options(&entity).as_slice()].concat());
    let failed = without_privileges(sync()).output().unwrap();
    let advised = |log: &str| ADVICE.iter().all(|text| log.lines().last().unwrap().contains(text));
    assert!(failed.status.code() == Some(1) && advised(&stderr(&failed)), "{failed:?}");
    chmod(&first(&place), 0o600);

    // Core starts another file, which only its own user may read.
    let server = Server::start(without_privileges(run(&place)));
    server.wait_for("the tip", |status| status["as_of"]["height"] == 8);
    let second = place.blocks.join("blk00001.dat");
    std::fs::write(&second, "").unwrap();
    chmod(&second, 0o000);
    let (code, log) = server.failed();
    assert!(code == Some(1) && advised(&log), "{log}");
    chmod(&second, 0o600);
    assert_done(&without_privileges(sync()).output().unwrap());
}

#[test]
fn a_node_is_asked_for_blocks_whose_files_may_not_be_read() {
    let place = Place::new();
    let chain = mini_chain::blocks(12);
    let node = FakeNode::start(&chain[..9]);
    let dir = place.path("node/regtest");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::rename(&place.blocks, dir.join("blocks")).unwrap();
    let bitcoin_dir = place.path("node").display().to_string();
    let entity = format!("a={KEY}");
    let options = ["run", "--network", "regtest", "--entity", &entity, "--data-dir", "data"];
    let mut command = place.command(&options);
    command.args(["--bitcoin-dir", &bitcoin_dir]).args(node_args(&node.url(), &node.cookie_file()));
    let server = Server::start(without_privileges(command));
    server.wait_for("the tip", |status| status["as_of"]["height"] == 8);
    assert_eq!(node.calls("getblock"), 0, "all of it is in the files");
    let second = dir.join("blocks/blk00001.dat");
    std::fs::write(&second, "").unwrap();
    chmod(&second, 0o000);
    for block in &chain[9..] {
        node.change(|state| state.push(block));
        server.wait_for_tip(&block.block_hash().to_string());
    }
    assert_eq!(node.calls("getblock"), 4);
    let warnings = server.logged("WARN");
    assert!(warnings.len() == 1 && warnings[0].contains("blk00001.dat"), "{warnings:#?}");
    server.end("-INT");
}
