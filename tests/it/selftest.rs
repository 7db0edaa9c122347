//! `btkn selftest`: passes here, leaves nothing behind, and says clearly what it finds wrong.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use btkn_indexer::selftest::{Options, SelftestError, run};
use btkn_indexer::stop::Stop;

use crate::cli::{KEY, Place, assert_done, assert_fails, stdout};

/// Everything below a directory, with the sizes of files.
fn content(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let metadata = entry.metadata().unwrap();
        found.push((entry.path(), metadata.len()));
        if metadata.is_dir() {
            found.extend(content(&entry.path()));
        }
    }
    found.sort();
    found
}

#[test]
fn it_passes_beside_a_database_and_leaves_nothing_behind() {
    let place = Place::new();
    assert_done(&place.sync(&[]));
    let before = content(&place.path("data"));
    // Not the user's own chain, however it is configured.
    let mut command = place.command(&["selftest", "--data-dir", "data", "--rounds", "1"]);
    let output = command.env("BTKN_BLOCKS_DIR", "nowhere").env("BTKN_NETWORK", "signet").output().unwrap();
    assert_done(&output);
    let text = stdout(&output);
    assert!(text.contains("reorganisations  2, "), "{text}");
    assert!(text.contains("\nPASSED in "), "{text}");
    let kills = text.lines().find_map(|line| line.strip_prefix("kills")).unwrap();
    assert!(!kills.contains(" 0 at work"), "{text}");
    assert_eq!(content(&place.path("data")), before);
}

#[test]
fn a_directory_that_was_not_there_is_gone_again() {
    let place = Place::new();
    assert_done(&place.run(&["selftest", "--data-dir", "not/there/yet", "--rounds", "0"]));
    assert!(!place.path("not").exists());
}

#[test]
fn a_directory_that_cannot_be_written_to_is_told() {
    let place = Place::new();
    std::fs::write(place.path("file"), "").unwrap();
    for dir in ["file", "file/within", "/proc/btkn"] {
        let output = place.run(&["selftest", "--data-dir", dir, "--rounds", "1"]);
        assert_fails(&output, 1, "cannot be used");
        assert_fails(&output, 1, "--data-dir");
    }
    assert!(place.path("file").is_file());
}

/// Runs the test with a program that is `btkn` with something wrong; returns what was said about it.
fn with_program(script: &str) -> SelftestError {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    let script = script.replace("BTKN", env!("CARGO_BIN_EXE_btkn"));
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let data_dir = dir.path().join("data");
    let options = Options { program, data_dir: data_dir.clone(), rounds: 1, kills: 3, keep: false };
    let failed = run(&options, &Stop::new()).unwrap_err();
    assert!(!data_dir.exists(), "nothing is left behind");
    failed
}

#[test]
fn each_thing_that_is_wrong_is_named() {
    let other = format!("exec BTKN \"$@\" --entity other={KEY}");
    let cases = [
        (
            "a state that is another",
            "[ $1 = dump ] && exec echo '{}'; exec BTKN \"$@\"".into(),
            "NOT PASSED: ",
        ),
        (
            "blocks with other events after a kill",
            format!("case \"$*\" in *sync*killed*) {other};; esac; exec BTKN \"$@\""),
            "NOT PASSED: after ",
        ),
        ("no lock", "BTKN \"$@\" || exit 0".into(), "a second process is not kept out"),
        ("a program that fails", "[ $1 = sync ] && { echo oh dear >&2; exit 1; }".into(), "oh dear"),
    ];
    for (name, script, expected) in cases {
        let failed = with_program(&script).to_string();
        assert!(failed.contains(expected), "{name}: {failed}");
    }
}

#[test]
fn a_request_to_stop_ends_it_and_nothing_stays() {
    let dir = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_btkn").into();
    let options = Options { program, data_dir: dir.path().join("data"), rounds: 5, kills: 3, keep: false };
    let stop = Stop::new();
    stop.request();
    assert!(matches!(run(&options, &stop), Err(SelftestError::Stopped)));
    assert!(!options.data_dir.exists());
}
