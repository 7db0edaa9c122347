//! `btkn` as a child that is killed, by itself or from outside.

use std::fmt;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use btkn_indexer::kill::{MARK, WRITTEN, Window};

use crate::chain::fixture;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is asked of a child.
#[derive(Clone, Debug)]
pub struct Errand {
    /// Whether it follows the chain and serves, rather than end at the tip.
    pub follows: bool,
    /// Where it kills itself: the window, how many times it is reached, and microseconds after that.
    pub window: Option<(Window, u32, Option<u32>)>,
    /// Of how many blocks it keeps undo records; of all, if `None`.
    pub undo_blocks: Option<u32>,
    /// When it is killed from outside.
    pub outside: Option<Duration>,
}

impl fmt::Display for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.follows { "run" } else { "sync" })?;
        if let Some(blocks) = self.undo_blocks {
            write!(f, " --undo-blocks {blocks}")?;
        }
        if let Some((window, nth, delay)) = self.window {
            write!(f, ", at {} {nth}", window.name())?;
            delay.map_or(Ok(()), |delay| write!(f, " and {delay} us"))?;
        }
        self.outside.map_or(Ok(()), |after| write!(f, ", from outside after {after:?}"))
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It did what it was asked to before anything killed it.
    Done,
    /// It killed itself at a window, or a while after it.
    Itself(Window),
    /// It was killed from outside.
    Outside,
}

/// The program, with nothing in its environment that could change what it does.
fn btkn() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_btkn"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BTKN_")) {
        command.env_remove(name);
    }
    command
}

/// What `btkn dump` prints.
pub fn dump(data_dir: &Path) -> String {
    let output = btkn().args(["dump", "--data-dir"]).arg(data_dir).output().expect("btkn starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("JSON")
}

/// The state that a child wrote last, if it wrote any: that of a block, or none.
pub fn written(log: &str) -> Option<Option<BlockHash>> {
    // The kill may have come in the midst of a line.
    let lines = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let hash = lines.rev().find_map(|line| line.strip_prefix(WRITTEN))?;
    Some((hash != "none").then(|| hash.parse().expect("a hash")))
}

/// A child at work.
pub struct Running {
    child: Child,
    errand: Errand,
    started: Instant,
    log: std::path::PathBuf,
}

impl Running {
    /// Starts it on these blocks and this data. What it logs goes to `dir/log`.
    pub fn start(errand: Errand, dir: &Path, blocks_dir: &Path, data_dir: &Path) -> Self {
        let log = dir.join("log");
        let mut command = btkn();
        command.env("BTKN_KILL_SMALL", "true");
        if let Some((window, nth, delay)) = errand.window {
            let delay = delay.map_or(String::new(), |delay| format!(":{delay}"));
            command.env("BTKN_KILL", format!("{}:{nth}{delay}", window.name()));
        }
        command.arg(if errand.follows { "run" } else { "sync" });
        if errand.follows {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.arg("--config").arg(fixture("btkn.toml"));
        command.arg("--blocks-dir").arg(blocks_dir).arg("--data-dir").arg(data_dir);
        if let Some(blocks) = errand.undo_blocks {
            command.arg("--undo-blocks").arg(blocks.to_string());
        }
        command.args(["--threads", "2"]).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&log).expect("a log file"));
        let child = command.spawn().expect("btkn starts");
        Running { child, errand, started: Instant::now(), log }
    }

    /// Sleeps until this long after its start.
    pub fn sleep_until(&self, after: Duration) {
        std::thread::sleep(after.saturating_sub(self.started.elapsed()));
    }

    /// Waits for its end. Anything but a kill or success is a failed test.
    pub fn end(mut self) -> (End, String) {
        let mut end = End::Done;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                break status;
            }
            let elapsed = self.started.elapsed();
            if end == End::Done && self.errand.outside.is_some_and(|after| elapsed >= after) {
                end = End::Outside;
                self.child.kill().expect("a child of ours");
            }
            assert!(elapsed < PATIENCE, "{} takes more than {PATIENCE:?}:\n{}", self.errand, self.log());
            std::thread::sleep(Duration::from_micros(500));
        };
        let log = self.log();
        if status.success() {
            return (End::Done, log);
        }
        assert_eq!(status.signal(), Some(9), "{}: {status}\n{log}", self.errand);
        if log.lines().any(|line| line.starts_with(MARK)) {
            let (window, _, _) = self.errand.window.expect("it was asked to");
            end = End::Itself(window);
        }
        assert_ne!(end, End::Done, "{}: something else killed it\n{log}", self.errand);
        (end, log)
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
