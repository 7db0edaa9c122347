//! Block files alone: recovery from a cold disk, no node running.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use bitcoin::blockdata::constants::genesis_block;

use super::block_dir::{BlockDir, Location};
use super::header_chain::HeaderChain;
use super::{BlockId, Keeper, Source, SourceError};
use crate::protocol::{Height, Network};
use crate::stop::Stop;

/// How often the files are looked at while waiting.
const POLL: Duration = Duration::from_secs(1);

/// Files indexed between two looks at the stop flag: 2 GB of blocks, of which little more than the
/// headers is read.
const FILES_AT_ONCE: usize = 16;

/// How often a long indexing says how far it is.
const REPORT: Duration = Duration::from_secs(10);

/// The `blocks` directory of a Bitcoin Core node, running or not, as the only source.
///
/// The best chain is the one with most work among the blocks linked to the genesis block, first seen
/// first. Proof of work is checked, validity is not: a block that the node holds invalid but wrote
/// down would be followed if it had most work.
pub struct BlockFiles {
    dir: BlockDir,
    genesis: BlockHash,
    chain: HeaderChain<Location>,
    reported_unlinked: bool,
    /// Whether there was a best chain already.
    had_tip: bool,
    stop: Stop,
}

impl BlockFiles {
    /// Opens a directory with `blkNNNNN.dat` files (and `xor.dat`, if the node wrote one). They are
    /// indexed at the first [`refresh`](Source::refresh).
    ///
    /// # Errors
    /// Fatal for a directory that is missing, has no block files, or is of another network.
    pub fn open(dir: &Path, network: Network) -> Result<Self, SourceError> {
        let genesis = genesis_block(network.to_bitcoin()).block_hash();
        Ok(BlockFiles {
            dir: BlockDir::open(dir, network)?,
            genesis,
            chain: HeaderChain::new(genesis),
            reported_unlinked: false,
            had_tip: false,
            stop: Stop::new(),
        })
    }

    /// Makes indexing, which takes minutes on a full mainnet disk, end early once a stop is
    /// requested. A `refresh` that did reports [`SourceError::Retry`]; the next one goes on from there.
    pub fn stopping_with(self, stop: Stop) -> Self {
        BlockFiles { stop, ..self }
    }

    /// Indexes these files; true if there was something new in them.
    fn index(&mut self, files: &[u32]) -> Result<bool, SourceError> {
        let known = self.chain.len();
        let mut reported = Instant::now();
        for (done, files_at_once) in files.chunks(FILES_AT_ONCE).enumerate() {
            if self.stop.requested() {
                return Err(SourceError::Retry("indexing the block files was interrupted".to_owned()));
            }
            if reported.elapsed() >= REPORT {
                reported = Instant::now();
                tracing::info!("indexed {} of {} block files", done * FILES_AT_ONCE, files.len());
            }
            for (record, location) in self.dir.scan(files_at_once)? {
                self.chain.insert(record.hash, &record.header, location);
            }
        }
        Ok(self.chain.len() > known)
    }

    fn no_tip_advice(&self) -> String {
        if self.chain.len() == 0 {
            return self.dir.no_blocks_advice();
        }
        format!(
            "the block files in {} do not begin with the genesis block (a pruned node?): block files alone \
             need every block header from there on. Use --bitcoin-dir with the node running, or a node \
             that does not prune",
            self.dir.path().display()
        )
    }

    /// Blocks without known ancestors are not on any chain; on a full disk there are none.
    fn report_unlinked(&mut self) {
        let unlinked = self.chain.unlinked();
        if unlinked > 0 && !self.reported_unlinked {
            self.reported_unlinked = true;
            tracing::warn!(
                dir = %self.dir.path().display(),
                "{unlinked} blocks are not linked to the others, because blocks between are missing; \
                 leaving them out until those appear"
            );
        }
    }
}

impl Source for BlockFiles {
    fn describe(&self) -> String {
        format!("block files in {}", self.dir.path().display())
    }

    fn refresh(&mut self) -> Result<BlockId, SourceError> {
        for (record, location) in self.dir.recall()? {
            self.chain.insert(record.hash, &record.header, location);
        }
        let changes = self.dir.changes()?;
        if changes.reset {
            self.chain = HeaderChain::new(self.genesis);
        }
        if self.chain.len() == 0 && !self.had_tip {
            tracing::info!(dir = %self.dir.path().display(), files = changes.files.len(), "indexing block files");
        }
        let grew = self.index(&changes.files)?;
        let Some(tip) = self.chain.tip() else {
            let advice = self.no_tip_advice();
            // Where a chain was, it may come back: files are being copied, or a disk is gone for a moment.
            return Err(if self.had_tip { SourceError::Retry(advice) } else { SourceError::Fatal(advice) });
        };
        self.had_tip = true;
        if grew {
            self.report_unlinked();
        }
        Ok(tip)
    }

    fn hashes(&self, from: Height, count: usize) -> Result<Vec<BlockHash>, SourceError> {
        Ok(self.chain.hashes_from(from).take(count).collect())
    }

    fn fetch(&self, block: BlockId, buf: &mut Vec<u8>) -> Result<(), SourceError> {
        let Some(&location) = self.chain.location(&block.hash) else {
            let dir = self.dir.path().display();
            return Err(SourceError::Retry(format!(
                "block {} is not in the block files in {dir}",
                block.hash
            )));
        };
        self.dir.read(block.hash, location, buf)
    }

    fn can_read_ahead(&self) -> bool {
        true
    }

    fn read_ahead(&self, blocks: &[BlockId]) {
        self.dir.read_ahead(
            blocks.iter().filter_map(|block| self.chain.location(&block.hash)).copied().collect(),
        );
    }

    fn keep_with(&mut self, keeper: Arc<dyn Keeper>) {
        self.dir.keep_with(keeper);
    }

    fn locate(&self, block: BlockId) -> String {
        match self.chain.location(&block.hash) {
            Some(&location) => self.dir.describe(location),
            None => self.dir.path().display().to_string(),
        }
    }

    fn wait(&self, known: BlockHash, timeout: Duration) -> Result<(), SourceError> {
        let deadline = Instant::now() + timeout;
        while self.chain.tip().is_none_or(|tip| tip.hash == known) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(POLL));
            if self.dir.has_changed()? {
                break;
            }
        }
        Ok(())
    }
}
