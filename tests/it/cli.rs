//! `btkn sync`, `events` and `dump`: what they print, how they end, and what they leave behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::mini_chain;

/// A key on the curve; nobody signs anything with it here.
pub const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
pub const OTHER_KEY: &str = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5";

/// A directory with a chain of 8 blocks above the genesis block.
pub struct Place {
    dir: tempfile::TempDir,
    pub blocks: PathBuf,
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let blocks = mini_chain::write(dir.path(), &mini_chain::blocks(8));
        Place { dir, blocks }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program, with nothing of this process's environment but the temporary directory as home.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_btkn"));
        command.args(arguments).env_clear().env("HOME", self.dir.path()).current_dir(self.dir.path());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The options that `sync` and `run` need.
    pub fn sync_options<'a>(&self, entity: &'a str) -> Vec<&'a str> {
        vec!["--network", "regtest", "--entity", entity, "--blocks-dir", "blocks", "--data-dir", "data"]
    }

    pub fn sync(&self, more: &[&str]) -> Output {
        let entity = format!("a={KEY}");
        self.run(&[&["sync"], self.sync_options(&entity).as_slice(), more].concat())
    }
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn last_json(output: &Output) -> Value {
    let text = stdout(output);
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

pub fn assert_done(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
}

pub fn assert_fails(output: &Output, code: i32, text: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    assert!(stderr(output).contains(text), "{text:?} is not in: {}", stderr(output));
    assert_eq!(stdout(output), "");
}

fn is_empty_or_missing(dir: &Path) -> bool {
    std::fs::read_dir(dir).map_or(true, |mut content| content.next().is_none())
}

#[test]
fn help_shows_a_newcomer_the_way() {
    let place = Place::new();
    let help = place.run(&["--help"]);
    assert_done(&help);
    for text in ["btkn run --bitcoin-dir", "btkn sync --blocks-dir", "Exit codes", "BTKN_RPC_PASSWORD"] {
        assert!(stdout(&help).contains(text), "{text}");
    }
    for command in ["sync", "run", "events", "dump"] {
        assert_done(&place.run(&[command, "--help"]));
    }
    assert_eq!(place.run(&[]).status.code(), Some(2));
}

#[test]
fn wrong_usage_is_told_and_changes_nothing() {
    let place = Place::new();
    let (a, a7, b) = (&*format!("a={KEY}"), &*format!("a={KEY}@7"), &*format!("b={KEY}"));
    let other = &*format!("a={OTHER_KEY}");
    let off_curve = &*format!("a=02{}05", "00".repeat(31));
    let base: &[&str] = &["--network", "regtest", "--data-dir", "data"];
    let files: &[&str] = &["--blocks-dir", "blocks"];
    let cases: &[(&str, &[&str], &str)] = &[
        ("unknown option", &["--block-dir", "blocks"], "--block-dir"),
        ("unknown network", &["--network", "main"], "main"),
        ("no entity", files, "--entity NAME=PUBKEY"),
        ("entity without key", &["--entity", "a", "--blocks-dir", "b"], "no '='"),
        ("entity without name", &["--entity", "=02", "--blocks-dir", "b"], "the name must have"),
        ("short key", &["--entity", "a=02", "--blocks-dir", "b"], "66 hex digits"),
        ("key off the curve", &["--entity", off_curve, "--blocks-dir", "b"], "not on the curve"),
        ("bad height", &["--entity", &format!("{a}@x"), "--blocks-dir", "b"], "height after '@'"),
        ("key twice", &["--entity", a, "--entity", a7, "--blocks-dir", "b"], "listed twice"),
        ("key under two names", &["--entity", a, "--entity", b, "--blocks-dir", "b"], "listed twice"),
        (
            "two keys from one height",
            &["--entity", a, "--entity", other, "--blocks-dir", "b"],
            "two keys from height 0",
        ),
        ("no source", &["--entity", a], "no source of blocks"),
        ("two sources", &["--entity", a, "--blocks-dir", "b", "--rpc-url", "http://h"], "contradict"),
        ("bad URL", &["--entity", a, "--rpc-url", "h:8332"], "--rpc-url"),
        ("no login", &["--entity", a, "--rpc-url", "http://h"], "no login"),
        ("login in the URL", &["--entity", a, "--rpc-url", "http://u:pw@h"], "BTKN_RPC_PASSWORD"),
        ("no threads", &["--entity", a, "--blocks-dir", "b", "--threads", "0"], "at least 1"),
        ("missing file", &["--config", "none.toml"], "none.toml"),
    ];
    for (name, options, text) in cases {
        let base = if options.contains(&"--network") { &base[2..] } else { base };
        let output = place.run(&[&["sync"], base, options].concat());
        assert_fails(&output, 2, text);
        assert!(!stderr(&output).contains("pw@"), "{name}: a password is not repeated");
        assert!(is_empty_or_missing(&place.path("data")), "{name}");
    }
    assert_fails(&place.run(&["events", "--from", "5", "--to", "4"]), 2, "--from 5 is above --to 4");
}

#[test]
fn what_fails_at_run_time_is_told_and_changes_nothing() {
    let place = Place::new();
    std::fs::create_dir(place.path("empty")).unwrap();
    std::fs::create_dir(place.path("foreign")).unwrap();
    std::fs::write(place.path("foreign/letter.txt"), "dear reader").unwrap();
    let a = &*format!("a={KEY}");
    let base: &[&str] = &["sync", "--network", "regtest", "--entity", a];
    let cases: &[(&[&str], &str)] = &[
        (&["--data-dir", "data", "--blocks-dir", "nowhere"], "nowhere"),
        (&["--data-dir", "data", "--blocks-dir", "empty"], "empty"),
        (&["--data-dir", "data", "--blocks-dir", "foreign"], "foreign"),
        (&["--data-dir", "foreign", "--blocks-dir", "blocks"], "--data-dir"),
        (&["--data-dir", "data", "--bitcoin-dir", "nowhere"], "nowhere"),
    ];
    for (options, text) in cases {
        assert_fails(&place.run(&[base, options].concat()), 1, text);
    }
    assert_fails(&place.run(&["events", "--data-dir", "empty"]), 1, "btkn sync");
    assert_fails(&place.run(&["dump", "--data-dir", "nowhere"]), 1, "btkn sync");
    assert!(is_empty_or_missing(&place.path("empty")));
}

#[test]
fn sync_events_and_dump_tell_the_same_story() {
    let place = Place::new();
    let synced = place.sync(&["--json", "--threads", "1"]);
    assert_done(&synced);
    let summary = last_json(&synced);
    let tip = mini_chain::blocks(8).pop().unwrap();
    assert_eq!((&summary["height"], &summary["blocks"]), (&8.into(), &9.into()));
    assert_eq!(summary["block_hash"], tip.block_hash().to_string());
    assert!(summary["bytes"].as_u64() > Some(9 * 80) && summary["seconds"].is_number());

    let events = place.run(&["events", "--data-dir", "data"]);
    assert_done(&events);
    let lines: Vec<Value> = stdout(&events).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines.iter().map(|line| line["height"].as_u64().unwrap()).collect::<Vec<_>>(),
        (0..=8).collect::<Vec<_>>()
    );
    assert_eq!(lines[8]["state_hash"], summary["state_hash"]);
    let announced = &lines[mini_chain::TOKEN_HEIGHT as usize]["events"];
    assert!(announced[0].as_str().unwrap().starts_with("token "), "{announced}");

    let some = place.run(&["events", "--data-dir", "data", "--from", "3", "--to", "4"]);
    assert_eq!(stdout(&some).lines().count(), 2);
    assert!(stdout(&events).contains(&stdout(&some)));

    let dumped = place.run(&["dump", "--data-dir", "data"]);
    assert_done(&dumped);
    let dump: Value = serde_json::from_slice(&dumped.stdout).unwrap();
    for name in ["height", "block_hash", "state_hash"] {
        assert_eq!(dump[name], summary[name]);
    }
    // The announced identifier, and the one on Spark under the entity's key.
    assert_eq!(dump["tokens"].as_array().unwrap().len(), 2);

    let again = place.sync(&["--json", "--threads", "4"]);
    assert_eq!(last_json(&again)["blocks"], 0, "nothing is applied twice");
    assert_eq!(place.run(&["dump", "--data-dir", "data"]).stdout, dumped.stdout);
}

#[test]
fn threads_make_no_difference() {
    let (one, four) = (Place::new(), Place::new());
    assert_done(&one.sync(&["--threads", "1"]));
    assert_done(&four.sync(&["--threads", "4"]));
    for command in ["events", "dump"] {
        let both = [&one, &four].map(|place| place.run(&[command, "--data-dir", "data"]).stdout);
        assert_eq!(both[0], both[1], "{command}");
    }
}

#[test]
fn a_database_is_not_used_for_anything_else() {
    let place = Place::new();
    assert_done(&place.sync(&[]));
    let before = place.run(&["dump", "--data-dir", "data"]).stdout;
    let entity = format!("a={OTHER_KEY}");
    let other_entity = place.run(&[&["sync"], place.sync_options(&entity).as_slice()].concat());
    assert_fails(&other_entity, 1, "--entity");
    assert_fails(&place.sync(&["--start-height", "5"]), 1, "--start-height");
    assert_eq!(place.run(&["dump", "--data-dir", "data"]).stdout, before);
}

#[test]
fn options_come_from_the_command_line_then_the_environment_then_the_file() {
    let place = Place::new();
    std::fs::create_dir(place.path("etc")).unwrap();
    let file = format!(
        "network = 'regtest'\nentity = ['a={KEY}']\nblocks-dir = '../blocks'\ndata-dir = '../from-file'\njson = true\n"
    );
    std::fs::write(place.path("etc/btkn.toml"), file).unwrap();

    let output = place.run(&["sync", "--config", "etc/btkn.toml"]);
    assert_done(&output);
    assert_eq!(last_json(&output)["height"], 8);
    assert!(place.path("from-file/db").exists(), "paths in the file are relative to it");

    let mut command = place.command(&["sync", "--config", "etc/btkn.toml"]);
    let output =
        command.env("BTKN_DATA_DIR", "from-environment").env("BTKN_DATADIR", "unused").output().unwrap();
    assert_done(&output);
    assert!(stderr(&output).contains("BTKN_DATADIR"), "a misspelt variable is told");
    assert!(place.path("from-environment/db").exists());

    let mut command =
        place.command(&["sync", "--config", "etc/btkn.toml", "--data-dir", "from-command-line"]);
    assert_done(&command.env("BTKN_DATA_DIR", "unused").output().unwrap());
    assert!(place.path("from-command-line/db").exists() && !place.path("unused").exists());

    std::fs::write(place.path("etc/wrong.toml"), "blocks_dir = 'blocks'\n").unwrap();
    let output = place.run(&["sync", "--config", "etc/wrong.toml"]);
    assert_fails(&output, 2, "wrong.toml");
    assert!(stderr(&output).contains("blocks_dir"), "{}", stderr(&output));
}

#[test]
fn without_a_data_directory_each_network_has_its_own_below_home() {
    let place = Place::new();
    let entity = format!("a={KEY}");
    let options = &place.sync_options(&entity)[..6];
    assert_done(&place.run(&[&["sync"], options].concat()));
    assert!(place.path(".local/share/btkn/regtest/db").exists());
    assert_done(&place.run(&["dump", "--network", "regtest"]));
}
