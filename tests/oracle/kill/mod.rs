//! `btkn` is killed again and again while its chain grows and reorganises; nothing may ever be lost or
//! wrong.
//!
//! The real program runs as a child on block files that grow in between. It is killed with SIGKILL, from
//! outside at random moments and by itself at the windows of [`Window::ALL`] or a random while after one
//! of them: in the midst of a write, a flush, a merge of files, an undo, or the recovery from the kill
//! before. Whatever is left must open, must be the state of a block on the way from the last one that was
//! seen to the best one, in every row as the oracle has it after that block, and must not contradict
//! itself. Then the next child goes on from there. A round ends at the tip of the fixture, with the
//! fixture's state and the rows of a database that was never killed.
//!
//! `KILLS` sets how many kills there are at least, `SEED` repeats a run as far as timing allows. A failure
//! prints the seed, the last things that were done, and where the files are.

mod child;
mod report;
mod way;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bitcoin::BlockHash;
use btkn_indexer::check;
use btkn_indexer::kill::Window;
use btkn_indexer::ledger::View;
use btkn_indexer::ledger::tables::Blocks;
use btkn_indexer::protocol::Height;
use btkn_indexer::store::{Store, StoreError};
use tempfile::TempDir;

use crate::chain::{Chain, Fork, fixture};
use crate::compare;
use crate::random::Random;
use child::{End, Errand, Running};
use report::{Report, say};

/// Windows in an undo of one block.
const UNDO: [Window; 5] =
    [Window::UndoStep, Window::UndoBefore, Window::UndoWrite, Window::UndoAfter, Window::UndoNext];

#[test]
fn kills_lose_nothing() {
    let number = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let number = |name: &str| number(name).map(|text| text.parse().expect("SEED and KILLS are numbers"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let seed = number("SEED").unwrap_or(now.as_micros() as u64 % 1_000_000_000);
    let kills = number("KILLS").unwrap_or(100);
    say(&format!("SEED={seed} KILLS={kills}"));
    let mut harness = Harness::new(seed);
    while harness.report.kills() < kills || harness.report.missing().next().is_some() {
        let missing: Vec<_> = harness.report.missing().collect();
        assert!(harness.turns < 10 * kills + 1000, "never reached: {missing:?}");
        harness.turn();
    }
    harness.report.print(seed);
}

struct Harness {
    random: Random,
    chain: Chain,
    dir: TempDir,
    round: u32,
    turns: u64,
    /// Of how many blocks undo records are kept in this round; of all, if `None`.
    undo_blocks: Option<u32>,
    /// The lowest block that could be undone when the state was seen last.
    undo_from: u32,
    /// The block whose state was seen last, or written by a child.
    tip: Option<BlockHash>,
    /// The best blocks since then, the present one included.
    bests: Vec<BlockHash>,
    report: Report,
    history: Vec<String>,
}

impl Harness {
    fn new(seed: u64) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let round = dir.path().join("0");
        let chain = Chain::new(&round);
        let bests = vec![chain.best()];
        let (mut random, report, history) = (Random::new(seed), Report::new(), Vec::new());
        let undo_blocks = Some(random.within(4..=20));
        let (round, turns, undo_from, tip) = (0, 0, 0, None);
        Harness { random, chain, dir, round, turns, undo_blocks, undo_from, tip, bests, report, history }
    }

    fn round_dir(&self) -> PathBuf {
        self.dir.path().join(self.round.to_string())
    }

    fn data_dir(&self) -> PathBuf {
        self.round_dir().join("data")
    }

    /// One child, from its start to its end.
    fn turn(&mut self) {
        self.turns += 1;
        if self.chain.is_complete() && self.tip == Some(self.chain.best()) {
            self.finish_round();
        }
        if self.random.percent(75) {
            self.grow();
        }
        let errand = self.errand();
        self.history.push(errand.to_string());
        let child =
            Running::start(errand.clone(), &self.round_dir(), &self.chain.blocks_dir, &self.data_dir());
        if errand.follows {
            // It has two looks at the block files in a second.
            child.sleep_until(Duration::from_millis(300));
            self.grow();
        }
        let (end, log) = child.end();
        self.history.push(format!("{end:?}"));
        self.report.note(&errand, end, &log);
        // What was written is there, whatever came after it.
        self.tip = child::written(&log).unwrap_or(self.tip);
        // Now and then the next kill comes before anybody has looked.
        if end == End::Done || self.random.percent(80) {
            self.check();
        }
        if end == End::Done {
            assert_eq!(self.tip, Some(self.chain.best()), "it has caught up");
        }
    }

    fn grow(&mut self) {
        if !self.chain.is_complete() {
            let never = |window| self.report.hits(window) == 0;
            let wanted = match self.undo_blocks {
                Some(_) if never(Window::ResetWrite) || never(Window::ResetDone) => Some(Fork::Deep),
                _ if UNDO.into_iter().chain([Window::UndoDone]).any(never) => Some(Fork::Shallow),
                _ => None,
            };
            let what = self.chain.grow(&mut self.random, wanted);
            self.history.push(what);
            self.bests.push(self.chain.best());
        }
    }

    /// What the next child is to do, and where it ends.
    fn errand(&mut self) -> Errand {
        let follows = self.random.percent(4);
        let errand = Errand { follows, undo_blocks: self.undo_blocks, window: None, outside: None };
        let windows = self.within_reach();
        // What was never hit comes first: it may not be within reach for long.
        let never = windows.iter().find(|(window, _)| self.report.hits(*window) == 0);
        if let Some((window, most)) = never.filter(|_| self.random.percent(80)) {
            let outside = (*window == Window::Waiting).then_some(Duration::from_millis(1500));
            let window = (*window, self.random.within(1..=*most), None);
            return Errand { window: Some(window), follows: outside.is_some(), outside, ..errand };
        }
        if self.random.percent(20) {
            let after = Duration::from_micros(self.random.within(0..=400_000).into());
            return Errand { outside: Some(after), ..errand };
        }
        if self.random.percent(8) {
            // In recovery from the kill before, most likely, if there is one to recover from.
            let delay = self.random.within(0..=60_000);
            return Errand { window: Some((Window::OpenBefore, 1, Some(delay))), follows: false, ..errand };
        }
        let rarest = windows.iter().copied().min_by_key(|(window, _)| self.report.hits(*window));
        let (window, most) = match rarest.filter(|_| self.random.percent(50)) {
            Some(rarest) => rarest,
            None => *self.random.pick(&windows),
        };
        let nth = self.random.within(1..=most);
        let delay = self.random.percent(35).then(|| 1 << self.random.within(4..=16));
        let delay = delay.map(|longest| self.random.within(0..=longest));
        let follows = follows || window == Window::Waiting;
        let outside = follows.then(|| Duration::from_millis(self.random.within(400..=1500).into()));
        Errand { follows, window: Some((window, nth, delay)), outside, ..errand }
    }

    /// The windows that the next child reaches, and how often, more or less; the rarest first.
    fn within_reach(&self) -> Vec<(Window, u32)> {
        let (undone, applied) = way::distance(&self.chain, self.tip);
        let mut windows = Vec::new();
        if !self.data_dir().join("db").exists() {
            windows.extend([(Window::CreateEmpty, 1), (Window::CreateNamed, 1)]);
        }
        let lowest = self.chain.height(self.tip) + 1 - undone;
        if undone > 0 && lowest < self.undo_from {
            windows.extend([(Window::ResetWrite, 1), (Window::ResetDone, 1)]);
        } else if undone > 0 {
            windows.push((Window::UndoDone, 1));
            windows.extend(UNDO.map(|window| (window, undone)));
        }
        if applied > 0 {
            if self.undo_blocks.is_some() {
                windows.extend([(Window::ForgetWrite, 1), (Window::ForgetAfter, 1)]);
            }
            let batches = applied.div_ceil(8);
            windows.extend([(Window::Flush, batches), (Window::Compaction, batches)]);
            let blocks = [Window::BlockFetched, Window::BlockScanned, Window::BlockApplied];
            windows.extend(blocks.map(|window| (window, applied)));
            let commits = [Window::CommitStep, Window::CommitBefore, Window::CommitAfter, Window::RunDone];
            windows.extend(commits.map(|window| (window, batches)));
        }
        let always = [Window::OpenBefore, Window::OpenRecovered, Window::OpenDone];
        windows.extend(always.map(|window| (window, 1)));
        windows.extend([(Window::EndBefore, 1), (Window::EndAfter, 1), (Window::Waiting, 1)]);
        windows
    }

    /// How many of the last blocks can certainly be undone.
    fn kept(&self) -> Option<u32> {
        let highest = self.bests.iter().map(|best| self.chain.height(Some(*best))).max().unwrap_or(0);
        let highest = highest.max(self.chain.height(self.tip));
        self.undo_blocks.map(|blocks| blocks.min((highest + 1).saturating_sub(self.undo_from)))
    }

    /// Compares what is on the disk with the oracle.
    fn check(&mut self) {
        let store = match Store::open_read_only(&self.data_dir()) {
            Err(StoreError::Missing(_)) => {
                assert_eq!(self.tip, None, "the database has gone");
                return;
            }
            opened => opened.expect("a database that opens"),
        };
        let tip = store.tip().expect("a readable tip").map(|tip| tip.hash);
        let on_the_way = way::on_the_way(&self.chain, self.tip, &self.bests, self.kept());
        assert!(on_the_way.contains(&tip), "it went from {:?} to {tip:?}", self.tip);
        let report = check::check(&store).expect("a readable database");
        assert_eq!(report.count, 0, "btkn check finds {:#?}", report.violations);
        self.chain.state(tip, |rules, oracle| {
            for (topic, ledger, oracle) in compare::topics(&store.view(), rules, oracle) {
                assert_eq!(ledger, oracle, "{topic} differ");
            }
        });
        self.check_past(&store);
        self.report.checks += 1;
        self.undo_from = store.undo_from().expect("a readable height").0;
        self.tip = tip;
        self.bests = vec![self.chain.best()];
    }

    /// Compares the state after some block below the tip with the oracle.
    fn check_past(&mut self, store: &Store) {
        let view = store.view();
        let Some(tip) = store.tip().expect("a readable tip") else { return };
        let oldest = view.oldest().expect("a readable height");
        let height = Height(self.random.within(oldest.0.min(tip.height.0)..=tip.height.0));
        let past = view.at(height).expect("a state that is kept");
        let block = past.get::<Blocks>(&height).expect("a readable block").expect("a block");
        self.chain.state(Some(block.hash), |rules, oracle| {
            for (topic, ledger, oracle) in compare::topics(&past, rules, oracle) {
                assert_eq!(ledger, oracle, "{topic} differ after block {height}, read at {}", tip.height);
            }
        });
    }

    /// At the end of the chain: the state is the fixture's, and a database that was never killed has the
    /// same rows. Then begins again from nothing.
    fn finish_round(&mut self) {
        self.history.push(format!("round {} is over", self.round));
        let fresh = self.round_dir().join("never killed");
        let errand = Errand { follows: false, undo_blocks: None, window: None, outside: None };
        let (end, _) = Running::start(errand, &self.round_dir(), &self.chain.blocks_dir, &fresh).end();
        assert_eq!(end, End::Done);
        let open = |dir| Store::open_read_only(dir).expect("a database");
        let (killed, fresh) = (open(&self.data_dir()), open(&fresh));
        let (killed_view, fresh_view) = (killed.view(), fresh.view());
        assert_eq!(compare::same_rows(&killed_view, &fresh_view), Ok(()));
        let tip = killed.tip().expect("a readable tip").expect("a block").height;
        for height in (killed_view.oldest().expect("a readable height").0..tip.0).map(Height) {
            let killed = killed_view.at(height).expect("a state that is kept");
            let fresh = fresh_view.at(height).expect("a state that is kept");
            assert_eq!(compare::same_rows(&killed, &fresh), Ok(()), "the state after block {height}");
        }
        let golden = std::fs::read_to_string(fixture("expected.json")).expect("the fixture's state");
        assert_eq!(child::dump(&self.data_dir()), golden, "the fixture's state");
        drop((killed_view, fresh_view));
        drop((killed, fresh));
        std::fs::remove_dir_all(self.round_dir()).expect("a directory of ours");
        self.round += 1;
        self.report.rounds += 1;
        self.chain.start_over(&self.round_dir());
        (self.tip, self.bests, self.undo_from) = (None, vec![self.chain.best()], 0);
        // Every other round undoes whatever comes; the others start over when it goes too deep.
        self.undo_blocks = self.round.is_multiple_of(2).then(|| self.random.within(4..=40));
        self.history.clear();
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            let last = self.history.iter().rev().take(30).rev();
            let last: String = last.map(|line| format!("  {line}\n")).collect();
            say(&format!("{}the last of it:\n{last}files: {}", self.report, self.round_dir().display()));
        }
    }
}
