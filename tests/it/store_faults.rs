//! Faults of the disk and of the database: told with a file name and what to do, exit code 1, nothing lost;
//! once the cause is gone it goes on, and ends in the same state.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use btkn_indexer::store::FORMAT;
use btkn_testkit::fake_node::{FakeNode, Fault, Rule};
use rocksdb::{DB, Options};

use crate::cli::{assert_done, stderr, stdout};
use crate::kit::{Bench, Server, btkn, fixture, fixture_bench, fixture_blocks, for_all, node_args, output};
use crate::small_disk::{SmallDisk, without_privileges};

/// The fixture as a source, and what its state is.
struct Stage {
    bench: Bench,
    source: Vec<String>,
    expected: (String, String),
}

impl Stage {
    /// With a database of the name `good`, most of it in files.
    fn new() -> Self {
        let bench = fixture_bench();
        let source = vec!["--blocks-dir".to_owned(), fixture("blocks").display().to_string()];
        // The second start writes what the first one left in the log to files.
        bench.sync("good", &source);
        bench.sync("good", &source);
        let expected = (bench.events("good"), bench.dump("good"));
        Stage { bench, source, expected }
    }

    /// A copy of the good database.
    fn copy(&self, name: &str) -> PathBuf {
        let copy = self.bench.data_dir(name);
        let copied = Command::new("cp").arg("-a").args([&self.bench.data_dir("good"), &copy]).status();
        assert!(copied.unwrap().success());
        copy
    }

    fn sync(&self, name: &str) -> Command {
        self.bench.command("sync", name, &self.source)
    }

    /// Goes on and ends as if nothing had happened.
    fn ends_well(&self, name: &str) {
        output(&mut self.sync(name));
        assert_eq!((self.bench.events(name), self.bench.dump(name)), self.expected, "{name}");
    }
}

fn read(command: &str, data_dir: &Path) -> Command {
    btkn(&[command, "--data-dir", data_dir.to_str().unwrap()])
}

/// It says all this in its last line and ends with exit code 1.
fn fails(name: &str, output: &Output, texts: &[&str]) {
    let log = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{name}: {log}");
    let error = log.lines().last().unwrap_or_default();
    assert!(error.starts_with("error: "), "{name}: {log}");
    for text in texts {
        assert!(error.contains(text), "{name}: {text:?} is not in {error}");
    }
    assert!(!log.contains("panicked"), "{name}: {log}");
}

const FULL: [&str; 2] = ["there is no room for the database in", "make room and start btkn again"];

/// Starts a command whose end is waited for elsewhere.
fn spawn(mut command: Command) -> std::process::Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_full_disk_at_the_first_start() {
    let (stage, disk) = (Stage::new(), SmallDisk::new());
    let data = disk.path("data").display().to_string();
    disk.fill(None);
    for start in ["first", "second"] {
        let failed = disk.command(stage.sync(&data), true).output().unwrap();
        fails(start, &failed, &FULL);
    }
    disk.free();
    stage.ends_well(&data);
}

#[test]
fn a_disk_that_gets_full_in_the_middle_of_a_sync() {
    let (stage, disk) = (Stage::new(), SmallDisk::new());
    let data = disk.path("data").display().to_string();
    let blocks = fixture_blocks();
    let node = FakeNode::start(&blocks);
    let args = node_args(&node.url(), &node.cookie_file());
    // The batch of this block waits until the disk is full.
    let hold = &blocks[250];
    node.fault(Rule::block(hold.block_hash()), Fault::Rpc(-1, "Block not found on disk"));
    let child = spawn(disk.command(stage.bench.command("sync", &data, &args), false));
    node.wait_for_hits(2);
    disk.fill(Some(child.id()));
    node.lift();
    fails("sync", &child.wait_with_output().unwrap(), &FULL);
    let lines = |name: &str| stage.bench.events(name).lines().count();
    if disk.is_mounted() {
        let failed = disk.command(stage.bench.command("sync", &data, &args), true).output().unwrap();
        fails("while it is full", &failed, &FULL);
        assert!(lines(&data) >= 100, "what was applied is kept, and can be read");
    }
    disk.free();
    let kept = lines(&data);
    assert!((100..lines("good")).contains(&kept), "{kept}");
    stage.ends_well(&data);
}

#[test]
fn a_disk_that_gets_full_while_it_serves() {
    let (stage, disk) = (Stage::new(), SmallDisk::new());
    let data = disk.path("data").display().to_string();
    let blocks = fixture_blocks();
    let node = FakeNode::start(&blocks[..300]);
    let args = node_args(&node.url(), &node.cookie_file());
    let server = Server::start(disk.command(stage.bench.command("run", &data, &args), false));
    server.wait_for_tip(&blocks[299].block_hash().to_string());
    disk.fill(Some(server.id()));
    assert_eq!(server.get("/v1/tokens").0, 200, "what is known is served");
    node.set_chain(&blocks);
    let (code, log) = server.failed();
    assert_eq!(code, Some(1), "{log}");
    let error = log.lines().last().unwrap();
    assert!(FULL.iter().all(|text| error.contains(text)), "{log}");
    disk.free();
    assert_eq!(stage.bench.events(&data).lines().count(), 300 - 111, "up to the last block that was served");
    stage.ends_well(&data);
}

#[test]
fn a_disk_that_is_read_only() {
    let stage = Stage::new();
    const DENIED: [&str; 2] = ["cannot be used", "Let the user that runs btkn read and write"];
    let mut disk = SmallDisk::new();
    if disk.is_mounted() {
        let data = disk.path("data").display().to_string();
        stage.ends_well(&data);
        disk.read_only(true);
        fails("mount", &stage.sync(&data).output().unwrap(), &[&DENIED[..], &["Read-only"]].concat());
        assert_eq!(stage.bench.dump(&data), stage.expected.1, "it can be read");
        disk.read_only(false);
        stage.ends_well(&data);
    }

    let data = stage.copy("permissions");
    let chmod = |mode: &str| {
        assert!(Command::new("chmod").args(["-R", mode]).arg(&data).status().unwrap().success());
    };
    chmod("a-w");
    let failed = without_privileges(stage.sync("permissions")).output().unwrap();
    fails("permissions", &failed, &[&DENIED[..], &["Permission denied", "permissions/db/"]].concat());
    assert_eq!(output(&mut without_privileges(read("dump", &data))), stage.expected.1, "it can be read");
    chmod("u+w");
    std::fs::set_permissions(data.join("db"), Permissions::from_mode(0o000)).unwrap();
    for mut command in [stage.sync("permissions"), read("check", &data)].map(without_privileges) {
        fails("unreadable", &command.output().unwrap(), &DENIED);
    }
    std::fs::set_permissions(data.join("db"), Permissions::from_mode(0o700)).unwrap();
    stage.ends_well("permissions");
}

#[test]
fn a_second_process_is_told_and_readers_are_let_in() {
    let stage = Stage::new();
    let data = stage.copy("shared");
    let server = Server::start(stage.bench.command("run", "shared", &stage.source));
    server.wait_for("the tip", |status| status["synced"] == true);
    let in_use = ["in use by another btkn process"];
    for command in ["sync", "run"] {
        let mut second = stage.bench.command(command, "shared", &stage.source);
        if command == "run" {
            second.args(["--listen", "127.0.0.1:0"]);
        }
        fails(command, &second.output().unwrap(), &in_use);
        fails("rebuild", &second.arg("--rebuild").output().unwrap(), &in_use);
    }
    assert_eq!((stage.bench.events("shared"), stage.bench.dump("shared")), stage.expected);
    assert!(!data.join("db.old").exists());
    assert_eq!(server.get("/health/ready").0, 200);
    server.end("-INT");
    stage.ends_well("shared");
}

/// The files of a kind, largest first.
fn files(data: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data.join("db")).unwrap().map(|entry| entry.unwrap().path());
    let is_of = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(kind) || name.ends_with(kind)
    };
    let mut files: Vec<PathBuf> = entries.filter(is_of).collect();
    files.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().len()));
    files
}

fn file(data: &Path, kind: &str) -> PathBuf {
    files(data, kind).remove(0)
}

/// Flips bits of a file from the byte on that is so far into it, counted from the end if negative.
fn garble(path: &Path, from: isize, count: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let start = if from < 0 { bytes.len() - from.unsigned_abs() } else { from.unsigned_abs() };
    bytes.iter_mut().skip(start).take(count).for_each(|byte| *byte ^= 0x55);
    std::fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, percent: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() * percent / 100).unwrap();
}

/// Name, damage, the kind of file that is named, whether a start notices.
type Damage = (&'static str, fn(&Path), &'static str, bool);

const DAMAGES: &[Damage] = &[
    ("a table file is lost", |data| std::fs::remove_file(file(data, ".sst")).unwrap(), ".sst", true),
    ("a table file is cut short", |data| cut(&file(data, ".sst"), 50), ".sst", true),
    ("a bit at the end of a table file", |data| garble(&file(data, ".sst"), -10, 1), ".sst", true),
    ("a bit in a table file", |data| garble(&file(data, ".sst"), 100, 1), ".sst", false),
    ("no CURRENT", |data| std::fs::remove_file(file(data, "CURRENT")).unwrap(), "CURRENT", true),
    ("CURRENT is empty", |data| cut(&file(data, "CURRENT"), 0), "CURRENT", true),
    ("CURRENT is garbled", |data| garble(&file(data, "CURRENT"), 0, 5), "CURRENT", true),
    ("no MANIFEST", |data| std::fs::remove_file(file(data, "MANIFEST")).unwrap(), "MANIFEST", true),
    ("MANIFEST is garbled", |data| garble(&file(data, "MANIFEST"), 900, 1), "MANIFEST", true),
    ("MANIFEST is empty", |data| cut(&file(data, "MANIFEST"), 0), "MANIFEST", true),
];

#[test]
fn damaged_files_are_named_and_the_state_is_recovered_from_the_blocks() {
    let stage = Stage::new();
    for_all(
        DAMAGES,
        |(name, ..)| (*name).to_owned(),
        |&(name, damage, named, at_start)| {
            let data = stage.copy(name);
            let db = data.join("db");
            damage(&data);
            if at_start {
                let failed = stage.sync(name).output().unwrap();
                fails(name, &failed, &["is damaged", named, "--rebuild", "db.old"]);
            }
            // What shows only when it is read is named by the table and the file.
            let checked = read("check", &data).output().unwrap();
            fails(name, &checked, &["--rebuild", "db.old"]);
            assert!((stdout(&checked) + &stderr(&checked)).contains(named), "{name}: {checked:?}");
            if at_start {
                fails(name, &read("dump", &data).output().unwrap(), &["is damaged", "--rebuild"]);
            }

            // A copy in its place is as good as ever.
            let broken = data.join("broken");
            std::fs::rename(&db, &broken).unwrap();
            let copied =
                Command::new("cp").arg("-a").args([&stage.bench.data_dir("good").join("db"), &db]).status();
            assert!(copied.unwrap().success());
            stage.ends_well(name);
            std::fs::remove_dir_all(&db).unwrap();
            std::fs::rename(&broken, &db).unwrap();

            // And so is the state from the blocks. Nothing that was there is lost.
            let before = files(&data, ".sst").len();
            assert_done(&stage.sync(name).arg("--rebuild").output().unwrap());
            assert_eq!((stage.bench.events(name), stage.bench.dump(name)), stage.expected, "{name}");
            let kept =
                std::fs::read_dir(data.join("db.old")).unwrap().map(|entry| entry.unwrap().file_name());
            assert_eq!(
                kept.filter(|name| name.to_str().unwrap().ends_with(".sst")).count(),
                before,
                "{name}"
            );
            let again = stage.sync(name).arg("--rebuild").output().unwrap();
            fails(name, &again, &["db.old is there already", "without --rebuild"]);
            stage.ends_well(name);
        },
    );
}

#[test]
fn check_names_any_file_in_which_a_bit_is_wrong() {
    let stage = Stage::new();
    let tables = files(&stage.bench.data_dir("good"), ".sst");
    assert!(tables.len() > 10, "{} files", tables.len());
    let names: Vec<_> = tables.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    for_all(
        &names,
        |name| (*name).to_owned(),
        |name| {
            let data = stage.copy(name);
            garble(&data.join("db").join(name), 10, 1);
            let checked = read("check", &data).output().unwrap();
            fails(name, &checked, &["--rebuild"]);
            assert!(stdout(&checked).contains(name), "{checked:?}");
            assert_eq!(stdout(&checked).lines().count(), 1, "nothing else is wrong: {checked:?}");
        },
    );
}

#[test]
fn a_log_that_is_damaged_or_lost_costs_blocks_that_are_applied_again() {
    let stage = Stage::new();
    // One that holds everything, for nothing was written to files yet.
    stage.bench.sync("logged", &stage.source);
    type Case = (&'static str, fn(&Path));
    let cases: &[Case] = &[
        ("cut short", |log| cut(log, 70)),
        ("a few bytes short", |log| cut(log, 99)),
        ("empty", |log| cut(log, 0)),
        ("garbled in the middle", |log| garble(log, 60_000, 200)),
        ("garbled at the end", |log| garble(log, -20, 5)),
        ("lost", |log| std::fs::remove_file(log).unwrap()),
    ];
    for (name, damage) in cases {
        let copied = Command::new("cp")
            .arg("-a")
            .args([stage.bench.data_dir("logged"), stage.bench.data_dir(name)])
            .status();
        assert!(copied.unwrap().success());
        let log = file(&stage.bench.data_dir(name), ".log");
        assert!(log.metadata().unwrap().len() > 100_000, "the log holds the blocks");
        damage(&log);
        let blocks = stage.bench.sync(name, &stage.source)["blocks"].as_u64().unwrap();
        assert!(blocks > 0, "{name}: blocks were lost with the log, and applied again");
        stage.ends_well(name);
    }
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let stage = Stage::new();
    let data = stage.copy("newer");
    let open = || {
        let options = Options::default();
        let tables = DB::list_cf(&options, data.join("db")).unwrap();
        DB::open_cf(&options, data.join("db"), tables).unwrap()
    };
    open().create_cf("future", &Options::default()).unwrap();
    fails("unknown table", &stage.sync("newer").output().unwrap(), &["future", "newer", "version"]);
    open().drop_cf("future").unwrap();
    stage.ends_well("newer");

    let identity = open().get("identity").unwrap().unwrap();
    let text = String::from_utf8(identity.clone()).unwrap();
    let newer = text.replace(&format!("\"format\":{FORMAT}"), &format!("\"format\":{}", FORMAT + 1));
    assert_ne!(newer, text);
    open().put("identity", newer).unwrap();
    let messages =
        [&*format!("it has format {}", FORMAT + 1), "use the version that made it, or a newer one"];
    for mut command in [stage.sync("newer"), read("dump", &data), read("check", &data), read("events", &data)]
    {
        fails("newer format", &command.output().unwrap(), &messages);
    }
    open().put("identity", &identity[..20]).unwrap();
    fails("no identity", &stage.sync("newer").output().unwrap(), &["is damaged", "--rebuild"]);
    open().put("identity", identity).unwrap();
    stage.ends_well("newer");
}
