//! A run of blocks at once: every core scans blocks of its own, and nothing gets lost between them.

use bitcoin::{BlockHash, OutPoint};
use rayon::prelude::*;

use super::block::{self, Watched};
use super::messages::{BlockMessages, OutputContent};
use super::{BlockFault, WatchSet};

/// The bytes of a block and the hash that they must have.
#[derive(Clone, Copy, Debug)]
pub struct RawBlock<'a> {
    /// The hash that the chain has at this height.
    pub hash: BlockHash,
    /// The serialised block, nothing before or after it.
    pub bytes: &'a [u8],
}

/// Scans consecutive blocks on the current rayon pool; one result per block, in the same order.
///
/// Spends are reported of two kinds of outputs: those in `watched`, and those that a well-formed
/// withdrawal announcement in one of `blocks` names, in a later block or later in the same one. So the
/// caller adds to `watched` what it wants to hear about after the batch, and the messages that
/// follow from them do not depend on how the chain was cut into batches. An announcement is not
/// judged here: the ledger drops spends of outputs that it does not follow. No input is reported twice.
///
/// Each block is judged by itself. Whoever applies them in order stops at the first fault; results
/// after it may lack spends of outputs that the faulty block names.
pub fn scan_batch(blocks: &[RawBlock<'_>], watched: &WatchSet) -> Vec<Result<BlockMessages, BlockFault>> {
    let none = WatchSet::new();
    let alone = Watched { before: watched, named: &none };
    let mut results: Vec<_> = blocks.par_iter().map(|raw| block::scan(raw, alone)).collect();

    let mut named = WatchSet::new();
    let mut first_naming = blocks.len();
    for (i, messages) in results.iter().enumerate().filter_map(|(i, result)| Some((i, result.as_ref().ok()?)))
    {
        for outpoint in named_outpoints(messages).filter(|outpoint| !watched.contains(outpoint)) {
            named.insert(outpoint);
            first_naming = first_naming.min(i);
        }
    }
    if named.is_empty() {
        return results;
    }
    // Spends of what this very batch announces are rare, and looking for them is cheap next to the
    // hashing of a full scan, which only blocks with such a spend get again.
    let both = Watched { before: watched, named: &named };
    let later = results[first_naming..].par_iter_mut().zip(&blocks[first_naming..]);
    later.filter(|(result, raw)| result.is_ok() && block::spends_any(raw.bytes, &named)).for_each(
        |(result, raw)| {
            *result = block::scan(raw, both);
        },
    );
    results
}

/// The L1 outputs that the withdrawal announcements of a block name, existing or not.
pub fn named_outpoints(block: &BlockMessages) -> impl Iterator<Item = OutPoint> {
    block.txs.iter().flat_map(|tx| {
        tx.outputs.iter().flat_map(|output| {
            let records = match &output.content {
                OutputContent::Withdrawal { announcement, .. } => announcement.records.as_slice(),
                _ => &[],
            };
            records.iter().map(|record| OutPoint { txid: tx.txid, vout: u32::from(record.bitcoin_vout) })
        })
    })
}
