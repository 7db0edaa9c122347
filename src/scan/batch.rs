//! Blocks that are in memory, one after the other.

use super::block::{RawBlock, Scanner, Scratch, Watched};
use super::messages::{BlockMessages, named_outpoints};
use super::recent::Recent;
use super::{BlockFault, WatchSet};

/// Scans consecutive blocks that nobody had to mine, with every other proof; see [`Scanner::scan_all`].
pub fn scan_batch(blocks: &[RawBlock<'_>], watched: &WatchSet) -> Vec<Result<BlockMessages, BlockFault>> {
    Scanner::of_unmined_blocks().scan_all(blocks, watched)
}

impl Scanner {
    /// Scans consecutive blocks on this thread; one result per block, in the same order.
    ///
    /// Spends are reported of outputs in `watched`, and of those that a well-formed withdrawal announcement
    /// in one of `blocks` names, in a later block or in the same one. Each block is judged by itself.
    /// Whoever applies them in order stops at the first fault; results after it may lack spends of outputs
    /// that the faulty block names.
    pub fn scan_all(
        &self,
        blocks: &[RawBlock<'_>],
        watched: &WatchSet,
    ) -> Vec<Result<BlockMessages, BlockFault>> {
        let (mut scratch, mut named) = (Scratch::default(), Recent::default());
        let one = |(index, block): (usize, &RawBlock<'_>)| {
            let before = Watched { before: watched, named: named.set() };
            let messages = self.scan(block, before, &mut scratch)?;
            let known = named.set().len();
            named.add(index, named_outpoints(&messages));
            if named.set().len() == known || !named.may_be_spent_by(&scratch.prevouts) {
                return Ok(messages);
            }
            self.scan(block, Watched { before: watched, named: named.set() }, &mut scratch)
        };
        blocks.iter().enumerate().map(one).collect()
    }
}
