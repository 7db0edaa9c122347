//! The ledger against an oracle: a second implementation of the rules, naive on purpose, on random
//! chains. After every block both must agree on everything that either of them knows.
//!
//! `PROPTEST_CASES` sets how many chains are tried. A failure shrinks to a short plan, which is printed
//! with the first topic that differs.

mod build;
mod chain;
mod compare;
mod coverage;
mod exits;
#[cfg(feature = "kill-points")]
mod kill;
mod laws;
mod past;
mod plan;
mod random;
mod readers;
mod rules;

use btkn_indexer::ledger::view::Empty;
use btkn_indexer::ledger::{
    ChangeSet, Entities, EntityConfig, EntityKey, Overlay, Rules, View, apply_block, events,
};
use btkn_indexer::protocol::Height;
use btkn_indexer::scan::messages::BlockMessages;
use btkn_indexer::store::{Store, StoreView};
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestCaseResult};

use build::Builder;
use plan::{Op, Plan, Step};
use rules::Oracle;

proptest! {
    #![proptest_config(Cases { max_shrink_iters: 3000, ..Cases::with_cases(cases()) })]

    #[test]
    fn ledger_and_oracle_agree(plan in plan::plan()) {
        run(&plan)?;
    }
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(192)
}

/// Both implementations, with their states after each block.
struct Run {
    rules: Rules,
    builder: Builder,
    /// After each block, the first being the state before any.
    oracles: Vec<Oracle>,
    /// All changes up to and including each block.
    changes: Vec<ChangeSet>,
    disk: Option<Disk>,
}

/// A store, and blocks that are not committed yet.
struct Disk {
    store: Store,
    run: Vec<(Height, ChangeSet)>,
    /// How many blocks are committed at once.
    run_length: usize,
    _dir: tempfile::TempDir,
}

impl Disk {
    fn open(rules: &Rules, run_length: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path(), rules).expect("a new store");
        Disk { store, run: Vec::new(), run_length, _dir: dir }
    }

    /// The state after the last block, committed or not.
    fn view(&self) -> Overlay<StoreView<'_>> {
        let mut view = Overlay::new(self.store.view());
        self.run.iter().for_each(|(_, changes)| view.absorb(changes));
        view
    }

    fn add(&mut self, height: Height, changes: ChangeSet) {
        self.run.push((height, changes));
        if self.run.len() >= self.run_length {
            self.commit();
        }
    }

    fn commit(&mut self) {
        self.store.commit(&std::mem::take(&mut self.run)).expect("a commit");
    }

    fn undo(&mut self, height: Height) {
        self.commit();
        self.store.undo(height).expect("an undo");
    }
}

fn run(plan: &Plan) -> TestCaseResult {
    let config = build::config(plan.start, &plan.entities);
    let mut run = Run::new(Oracle::new(config), plan.run);
    for step in &plan.steps {
        match step {
            Step::Block(txs) => run.block(txs)?,
            Step::Reorg(depth) => run.step_back(*depth)?,
        }
    }
    Ok(())
}

impl Run {
    fn new(oracle: Oracle, run_length: usize) -> Self {
        let config = &oracle.config;
        let entity = |(number, keys): (usize, &Vec<_>)| EntityConfig {
            name: format!("entity {number}"),
            keys: keys
                .iter()
                .map(|(key, from)| EntityKey { key: *key, from_height: Height(*from) })
                .collect(),
        };
        let entities = config.entities.iter().enumerate().map(entity).collect();
        let entities = Entities::new(entities).expect("entities that obey the rules");
        let rules = Rules { network: config.network, start_height: Height(config.start), entities };
        let disk = (run_length > 0).then(|| Disk::open(&rules, run_length));
        let builder = Builder::new();
        Run { rules, builder, oracles: vec![oracle], changes: vec![ChangeSet::default()], disk }
    }

    fn oracle(&self) -> &Oracle {
        self.oracles.last().expect("there is always the state before any block")
    }

    fn state(&self) -> Overlay<Empty> {
        let mut state = Overlay::new(Empty);
        state.absorb(self.changes.last().expect("there is always the state before any block"));
        state
    }

    fn block(&mut self, txs: &[Vec<Op>]) -> TestCaseResult {
        let messages = self.oracle_block(txs);
        self.apply(&messages)?;
        self.compare()
    }

    /// Makes a block and applies it to the oracle.
    fn oracle_block(&mut self, txs: &[Vec<Op>]) -> BlockMessages {
        let mut oracle = self.oracle().clone();
        let prev_hash = oracle.blocks.last().map_or_else(|| self.builder.block_hash(), |block| block.hash);
        let hash = self.builder.block_hash();
        let mut messages = BlockMessages { hash, prev_hash, time: 0, txs: Vec::new() };
        for (index, ops) in (1..).zip(txs) {
            let tx = self.builder.transaction(&oracle, index * 2, ops);
            oracle.transaction(&tx);
            messages.txs.push(tx);
        }
        oracle.end_block(hash);
        self.oracles.push(oracle);
        messages
    }

    fn apply(&mut self, messages: &BlockMessages) -> TestCaseResult {
        let applied = match &self.disk {
            Some(disk) => apply_block(disk.view(), &self.rules, messages),
            None => apply_block(self.state(), &self.rules, messages),
        };
        let applied = applied.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let done = self.oracle().blocks.last().expect("a block was applied");
        let (height, lines) = (applied.tip.height, events::lines(&applied.events));
        prop_assert!(
            lines == done.events,
            "events of block {height} differ:\nledger:\n{lines}oracle:\n{}",
            done.events
        );
        prop_assert_eq!(applied.tip.state_hash.0, done.state_hash);
        if let Some(disk) = &mut self.disk {
            disk.add(applied.tip.height, applied.changes.clone());
        }
        let mut changes = self.changes.last().expect("there is always one").clone();
        changes.absorb(&applied.changes);
        self.changes.push(changes);
        Ok(())
    }

    fn step_back(&mut self, depth: usize) -> TestCaseResult {
        let depth = depth.min(self.changes.len() - 1);
        for _ in 0..depth {
            let tip = Height(self.oracle().tip());
            if let Some(disk) = &mut self.disk {
                disk.undo(tip);
            }
            self.oracles.pop();
            self.changes.pop();
        }
        self.compare()
    }

    fn compare(&self) -> TestCaseResult {
        match &self.disk {
            Some(disk) => {
                self.compare_view(&disk.view())?;
                prop_assert_eq!(compare::same_rows(&disk.view(), &self.state()), Ok(()));
                Ok(())
            }
            None => self.compare_view(&self.state()),
        }
    }

    fn compare_view(&self, view: &impl View) -> TestCaseResult {
        for (topic, ledger, oracle) in compare::topics(view, &self.rules, self.oracle()) {
            let only = |one: &std::collections::BTreeMap<String, String>, other: &_| {
                let differs = |(key, value): &(&String, &String)| {
                    std::collections::BTreeMap::get(other, *key) != Some(*value)
                };
                one.iter().filter(differs).map(|(k, v)| format!("\n    {k}: {v}")).collect::<String>()
            };
            prop_assert!(
                ledger == oracle,
                "{} differ:\n  ledger: {}\n  oracle: {}",
                topic,
                only(&ledger, &oracle),
                only(&oracle, &ledger)
            );
        }
        Ok(())
    }
}
