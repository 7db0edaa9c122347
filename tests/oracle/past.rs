//! The state after every block that was ever applied and not taken back, read from the store after later
//! blocks, against the changes that led up to it.

use btkn_indexer::ledger::tables::{self, Table, TableVisitor};
use btkn_indexer::ledger::view::Empty;
use btkn_indexer::ledger::{Overlay, View};
use btkn_indexer::protocol::Height;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestCaseResult};

use super::plan::{self, Plan, Step};
use super::{Oracle, Run, build, cases, compare};

proptest! {
    #![proptest_config(Cases { max_shrink_iters: 300, ..Cases::with_cases(cases().div_ceil(4)) })]

    #[test]
    fn the_state_after_every_block_can_be_read(plan in plan::plan(), run in 1..5usize, kept in 1..30usize) {
        every_state(&plan, run, kept)?;
    }
}

fn every_state(plan: &Plan, run_length: usize, kept: usize) -> TestCaseResult {
    let mut run = Run::new(Oracle::new(build::config(plan.start, &plan.entities)), run_length);
    for step in &plan.steps {
        match step {
            Step::Block(txs) => {
                let messages = run.oracle_block(txs);
                run.apply(&messages)?;
            }
            Step::Reorg(depth) => {
                run.step_back(*depth)?;
                compare_past(&run, 1)?;
            }
        }
    }
    let disk = run.disk.as_mut().expect("a store");
    disk.commit();
    compare_past(&run, 1)?;
    // What is above the blocks that were forgotten can be read as before.
    let first = run.changes.len().saturating_sub(kept).max(1);
    let store = &run.disk.as_ref().expect("a store").store;
    store.forget_undo_below(Height(plan.start + first as u32)).expect("a write");
    compare_past(&run, first)
}

/// Compares the states after the blocks from the `first` on.
fn compare_past(run: &Run, first: usize) -> TestCaseResult {
    let view = run.disk.as_ref().expect("a store").store.view();
    let tip = run.state();
    for (height, changes) in (run.rules.start_height.0..).map(Height).zip(&run.changes[1..]).skip(first - 1) {
        let past = view.at(height).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let mut state = Overlay::new(Empty);
        state.absorb(changes);
        prop_assert_eq!(compare::same_rows(&past, &state), Ok(()), "at {}", height);
        prop_assert_eq!(same_lookups(&past, &state, &tip), Ok(()), "at {}", height);
    }
    Ok(())
}

/// Whether both find the same under every key that is there now, or was there then.
fn same_lookups(past: &impl View, state: &impl View, tip: &impl View) -> Result<(), &'static str> {
    struct Tables<'a, A, B, C>(&'a A, &'a B, &'a C);
    impl<A: View, B: View, C: View> TableVisitor for Tables<'_, A, B, C> {
        type Error = &'static str;

        fn table<T: Table>(&mut self) -> Result<(), Self::Error> {
            let keys = compare::all::<T>(self.1).into_iter().chain(compare::all::<T>(self.2));
            for (key, _) in keys {
                let found = self.0.get::<T>(&key).expect("a row");
                let scanned = self.0.scan::<T>(&key, &key).next().transpose().expect("a row");
                let expected = self.1.get::<T>(&key).expect("a row");
                if found != expected || scanned.map(|(_, value)| value) != expected {
                    return Err(T::NAME);
                }
            }
            Ok(())
        }
    }
    tables::visit_tables(&mut Tables(past, state, tip))
}
