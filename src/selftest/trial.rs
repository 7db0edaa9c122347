//! One pass through the steps of the chain, with or without kills, and what is looked at in between.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bitcoin::BlockHash;

use super::SelftestError;
use super::chain::{self, Step};
use crate::check;
use crate::ledger::View;
use crate::ledger::keys::KeyPart;
use crate::ledger::records::BlockRecord;
use crate::ledger::tables::Blocks;
use crate::protocol::Height;
use crate::stop::Stop;
use crate::store::{Store, StoreError};

/// How often a child is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// A child that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// The least part of the usual time, as its inverse, within which children are killed.
const SOONEST: u32 = 256;

/// Bytes of a child's messages that are shown when it fails.
const SHOWN: usize = 2_000;

/// Where children run, and what they run.
pub(super) struct Place<'a> {
    pub program: &'a Path,
    pub scratch: &'a Path,
    pub stop: &'a Stop,
}

/// The block records that are right, by block.
pub(super) type Expected = HashMap<BlockHash, (Height, BlockRecord)>;

/// How a child ended.
enum End {
    Exited(ExitStatus),
    Killed,
}

/// When a child is to be killed.
#[derive(Clone, Copy)]
enum Kill {
    Never,
    /// So long after it was started.
    AfterStart(Duration),
    /// So long after it had opened its database. A start takes longer than the work that follows, so
    /// that few moments would fall into it otherwise.
    AfterOpen(Duration),
}

/// What a child did.
struct Run {
    end: End,
    /// When it had opened its database.
    opened: Option<Duration>,
    time: Duration,
    /// What it said.
    messages: String,
}

/// How long a step takes without disturbance.
pub(super) struct Times {
    all: Duration,
    /// From the opened database to the end.
    work: Duration,
}

/// Kills of a pass.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kills {
    /// Those of a process that had not opened its database yet.
    pub at_start: u32,
    /// The others.
    pub at_work: u32,
    /// Those of the latter that left the blocks of a step done in part.
    pub in_between: u32,
}

impl Place<'_> {
    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// `btkn <command>` on a database of the scratch directory.
    fn command(&self, subcommand: &str, name: &str) -> Command {
        let mut command = Command::new(self.program);
        // Nothing of the user's configuration may have a say.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("BTKN_") {
                command.env_remove(variable);
            }
        }
        command.arg(subcommand).arg("--data-dir").arg(self.data_dir(name));
        command.env("BTKN_LOG", "warn").stdin(Stdio::null());
        command
    }

    /// Syncs a database with the blocks that are there.
    fn sync(&self, name: &str, kill: Kill) -> Result<Run, SelftestError> {
        let unusable = |e: io::Error| SelftestError::unusable(self.scratch, &e);
        let path = self.scratch.join("messages");
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(path)
            .map_err(unusable)?;
        let mut command = self.command("sync", name);
        command.arg("--config").arg(self.scratch.join("btkn.toml")).stdout(Stdio::null());
        command.stderr(file.try_clone().map_err(unusable)?);
        let (old_logs, started) = (self.logs(name), Instant::now());
        let mut child = command.spawn().map_err(|e| SelftestError::Start(e.to_string()))?;
        let mut opened = None;
        let end = loop {
            if let Some(status) = child.try_wait().map_err(|e| SelftestError::Start(e.to_string()))? {
                break End::Exited(status);
            }
            let time = started.elapsed();
            // Each start begins a log of its own, and writes to it as soon as the database is open.
            if opened.is_none() && self.logs(name).iter().any(|log| !old_logs.contains(log)) {
                opened = Some(time);
            }
            let due = match kill {
                Kill::Never => false,
                Kill::AfterStart(after) => time >= after,
                Kill::AfterOpen(after) => opened.is_some_and(|opened| time >= opened + after),
            };
            if due || time >= PATIENCE || self.stop.requested() {
                break self.kill(child)?;
            }
            std::thread::sleep(LOOK);
        };
        let time = started.elapsed();
        if self.stop.requested() {
            return Err(SelftestError::Stopped);
        }
        if time >= PATIENCE {
            return Err(SelftestError::Hangs(PATIENCE));
        }
        let mut messages = String::new();
        file.rewind().and_then(|()| file.read_to_string(&mut messages)).map_err(unusable)?;
        Ok(Run { end, opened, time, messages })
    }

    /// SIGKILL.
    fn kill(&self, mut child: Child) -> Result<End, SelftestError> {
        // It fails only if the process has just ended by itself.
        let _ = child.kill();
        let status = child.wait().map_err(|e| SelftestError::Start(e.to_string()))?;
        Ok(if status.code().is_some() { End::Exited(status) } else { End::Killed })
    }

    /// The logs of a database that hold something.
    fn logs(&self, name: &str) -> Vec<OsString> {
        let entries = std::fs::read_dir(self.data_dir(name).join("db")).into_iter().flatten().flatten();
        let logs = entries.filter(|entry| {
            let is_log = Path::new(&entry.file_name()).extension().is_some_and(|kind| kind == "log");
            is_log && entry.metadata().is_ok_and(|metadata| metadata.len() > 0)
        });
        logs.map(|entry| entry.file_name()).collect()
    }

    /// Syncs to the end; returns how long it took.
    fn sync_undisturbed(&self, name: &str) -> Result<Times, SelftestError> {
        let run = self.sync(name, Kill::Never)?;
        match run.end {
            End::Exited(status) if status.success() => {
                Ok(Times { all: run.time, work: run.time - run.opened.unwrap_or_default() })
            }
            _ => Err(SelftestError::failed("btkn sync", &last(&run.messages))),
        }
    }

    /// The first pass: no kills. Returns how long each step took, and the block records.
    pub fn undisturbed(&self, name: &str, steps: &[Step]) -> Result<(Vec<Times>, Expected), SelftestError> {
        let (mut times, mut expected) = (Vec::new(), Expected::new());
        for step in steps {
            chain::append(self.scratch, &step.blocks)?;
            times.push(self.sync_undisturbed(name)?);
            let store = Store::open_read_only(&self.data_dir(name))?;
            for row in blocks(&store) {
                let (height, record) = row?;
                expected.insert(record.hash, (height, record));
            }
        }
        self.dump(name, "a run without kills")?;
        Ok((times, expected))
    }

    /// The second pass: up to `kills` kills in each step, at moments spread over what the step took when
    /// it was not disturbed.
    pub fn disturbed(
        &self,
        name: &str,
        steps: &[Step],
        times: &[Times],
        expected: &Expected,
        kills: u32,
    ) -> Result<Kills, SelftestError> {
        let mut done = Kills::default();
        let mut moments = Moments::new();
        // A process that ends before it is killed is faster than the undisturbed one was: the next ones are
        // killed sooner, so that a machine that was busy in the first pass does not spare all of them.
        let mut sooner = 1u32;
        for (step, time) in steps.iter().zip(times) {
            chain::append(self.scratch, &step.blocks)?;
            let mut complete = false;
            for kill in 0..kills {
                let before = self.tip(name)?;
                let kill = match kill % 2 {
                    0 => Kill::AfterOpen(moments.within(time.work) / sooner),
                    _ => Kill::AfterStart(moments.within(time.all) / sooner),
                };
                let run = self.sync(name, kill)?;
                match run.end {
                    End::Exited(status) if !status.success() => {
                        return Err(SelftestError::failed("btkn sync", &last(&run.messages)));
                    }
                    End::Exited(_) => {
                        complete = true;
                        sooner = (sooner * 4).min(SOONEST);
                        break;
                    }
                    End::Killed => {}
                }
                let after = self.tip(name)?;
                let goal = step.blocks.last().map(|block| header_hash(block));
                match run.opened {
                    Some(_) => done.at_work += 1,
                    None => done.at_start += 1,
                }
                done.in_between += u32::from(after != before && after != goal);
                let when = format!("after kill {}", done.at_start + done.at_work);
                self.inspect(name, expected, &when)?;
            }
            if !complete {
                self.sync_undisturbed(name)?;
            }
            self.inspect(name, expected, "after the start that followed the kills")?;
        }
        self.dump(name, "after the last kill")?;
        Ok(done)
    }

    /// Opens the database as it is and compares every block of it. There is none if the process was
    /// killed before it made one.
    fn inspect(&self, name: &str, expected: &Expected, when: &str) -> Result<(), SelftestError> {
        let store = match Store::open_read_only(&self.data_dir(name)) {
            Err(StoreError::Missing(_)) => return Ok(()),
            opened => opened.map_err(|e| SelftestError::differs(when, &e.to_string()))?,
        };
        for row in blocks(&store) {
            let (height, record) = row?;
            if expected.get(&record.hash) != Some(&(height, record)) {
                return Err(SelftestError::differs(when, &format!("block {height} is not as it should be")));
            }
        }
        let report = check::check(&store)?;
        match report.violations.first() {
            Some(violation) => Err(SelftestError::differs(when, &violation.to_string())),
            None => Ok(()),
        }
    }

    fn tip(&self, name: &str) -> Result<Option<BlockHash>, SelftestError> {
        match Store::open_read_only(&self.data_dir(name)) {
            Err(StoreError::Missing(_)) => Ok(None),
            opened => Ok(opened?.tip()?.map(|tip| tip.hash)),
        }
    }

    /// The whole state must be that which the program was built with.
    fn dump(&self, name: &str, when: &str) -> Result<(), SelftestError> {
        let output = self.command("dump", name).output();
        let output = output.map_err(|e| SelftestError::Start(e.to_string()))?;
        if !output.status.success() {
            return Err(SelftestError::failed("btkn dump", &last(&String::from_utf8_lossy(&output.stderr))));
        }
        let dumped = String::from_utf8_lossy(&output.stdout);
        if dumped == chain::DUMP {
            return Ok(());
        }
        let line = dumped.lines().zip(chain::DUMP.lines()).position(|(found, expected)| found != expected);
        let line = line.map_or("its end".into(), |line| format!("line {}", line + 1));
        Err(SelftestError::differs(when, &format!("the state differs from the known one at {line}")))
    }

    /// Whether a second process is kept out of an open database.
    pub fn locks(&self, name: &str) -> Result<(), SelftestError> {
        let dir = self.data_dir(name);
        let rules = Store::open_read_only(&dir)?.rules().clone();
        let store = Store::open(&dir, &rules)?;
        let run = self.sync(name, Kill::Never)?;
        drop(store);
        let refused = matches!(run.end, End::Exited(status) if status.code() == Some(1));
        if refused && run.messages.contains("in use by another btkn process") {
            return Ok(());
        }
        Err(SelftestError::NoLock)
    }
}

fn blocks(store: &Store) -> Vec<crate::ledger::view::Row<Blocks>> {
    store.view().scan::<Blocks>(&Height::LOWEST, &Height::HIGHEST).collect()
}

fn header_hash(block: &[u8]) -> BlockHash {
    use bitcoin::hashes::{Hash, sha256d};
    BlockHash::from_raw_hash(sha256d::Hash::hash(&block[..80]))
}

/// The end of what a child said.
fn last(messages: &str) -> String {
    let skip = messages.char_indices().rev().nth(SHOWN).map_or(0, |(index, _)| index);
    messages[skip..].trim().to_owned()
}

/// Random moments. They need not be good random numbers, only other ones each time.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Moments(now.map_or(1, |time| time.as_nanos() as u64) | 1)
    }

    fn within(&mut self, time: Duration) -> Duration {
        // Xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        time.mul_f64((self.0 >> 11) as f64 / (1u64 << 53) as f64)
    }
}
