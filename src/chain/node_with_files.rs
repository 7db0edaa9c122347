//! A node on this machine: it decides the chain, its block files hold the bytes.
//!
//! Reading files spares the node, and us, the trip of every block through JSON. They are indexed by
//! block hash alone, newest file first and only as far back as blocks are asked for; what the node says
//! of the chain is not doubted. A block that is not in the files, or in one that cannot be read, comes over
//! REST or RPC.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bitcoin::BlockHash;

use super::block_dir::{BlockDir, Location};
use super::node::{Node, NodeConfig, network_dir};
use super::{BlockId, Keeper, Source, SourceError};
use crate::protocol::Height;

/// A node and its data directory.
pub struct NodeWithFiles {
    node: Node,
    files: RwLock<Files>,
    /// Whether it was said that files cannot be read.
    unreadable: AtomicBool,
}

struct Files {
    dir: BlockDir,
    locations: HashMap<BlockHash, Location>,
}

impl Files {
    /// Reads a block from where it is known to be; false if it is not, or not any more.
    fn read_known(&self, hash: &BlockHash, buf: &mut Vec<u8>) -> Result<bool, SourceError> {
        let Some(&location) = self.locations.get(hash) else { return Ok(false) };
        match self.dir.read(*hash, location, buf) {
            Ok(()) => Ok(true),
            Err(SourceError::Retry(reason)) => {
                tracing::debug!("{reason}");
                Ok(false)
            }
            Err(fatal) => Err(fatal),
        }
    }

    /// Reads what has not been read yet, newest file first, until a block turns up. Runs on this
    /// thread alone: callers hold the lock, and a thread pool could hand them work that waits for it.
    fn search(&mut self, hash: &BlockHash) -> Result<(), SourceError> {
        for (record, location) in self.dir.recall()? {
            self.locations.entry(record.hash).or_insert(location);
        }
        let changes = self.dir.changes()?;
        if changes.reset {
            self.locations.clear();
        }
        let mut unread = changes.files.iter().rev();
        while !self.locations.contains_key(hash)
            && let Some(&file) = unread.next()
        {
            for (record, location) in self.dir.scan_one(file)? {
                self.locations.entry(record.hash).or_insert(location);
            }
        }
        Ok(())
    }
}

impl NodeWithFiles {
    /// Opens the data directory of a node (the one with `bitcoin.conf` and, for mainnet, `blocks`)
    /// and prepares to talk to the node.
    ///
    /// # Errors
    /// Fatal where the directory holds no block files of the network, and for a URL that can't be
    /// one of a node.
    pub fn open(bitcoin_dir: &Path, config: NodeConfig) -> Result<Self, SourceError> {
        let blocks = network_dir(bitcoin_dir, config.network).join("blocks");
        if !blocks.is_dir() {
            return Err(SourceError::Fatal(format!(
                "{} is not the data directory of a {} node: there is no {} in it. If the node keeps its blocks \
                 elsewhere (-blocksdir), use its RPC address and cookie file instead",
                bitcoin_dir.display(),
                config.network,
                blocks.strip_prefix(bitcoin_dir).unwrap_or(&blocks).display()
            )));
        }
        let dir = BlockDir::open(&blocks, config.network)?;
        let files = RwLock::new(Files { dir, locations: HashMap::new() });
        Ok(NodeWithFiles { node: Node::for_few_blocks(config)?, files, unreadable: AtomicBool::new(false) })
    }

    /// Reads a block from the files; false if they do not have it, or cannot be read: the node has it too.
    fn fetch_from_files(&self, block: BlockId, buf: &mut Vec<u8>) -> bool {
        match self.try_files(block, buf) {
            Ok(found) => found,
            Err(error) => {
                if !self.unreadable.swap(true, Ordering::Relaxed) {
                    tracing::warn!("{error}; asking the node for what is not readable");
                }
                false
            }
        }
    }

    fn try_files(&self, block: BlockId, buf: &mut Vec<u8>) -> Result<bool, SourceError> {
        {
            let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
            if files.read_known(&block.hash, buf)? {
                return Ok(true);
            }
        }
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        files.search(&block.hash)?;
        files.read_known(&block.hash, buf)
    }
}

impl Source for NodeWithFiles {
    fn describe(&self) -> String {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        format!("{}, blocks from {}", self.node.describe(), files.dir.path().display())
    }

    fn refresh(&mut self) -> Result<BlockId, SourceError> {
        self.node.refresh()
    }

    fn hashes(&self, from: Height, count: usize) -> Result<Vec<BlockHash>, SourceError> {
        self.node.hashes(from, count)
    }

    fn fetch(&self, block: BlockId, buf: &mut Vec<u8>) -> Result<(), SourceError> {
        if self.fetch_from_files(block, buf) { Ok(()) } else { self.node.fetch(block, buf) }
    }

    fn can_read_ahead(&self) -> bool {
        true
    }

    fn read_ahead(&self, blocks: &[BlockId]) {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let known = blocks.iter().filter_map(|block| files.locations.get(&block.hash));
        files.dir.read_ahead(known.copied().collect());
    }

    fn keep_with(&mut self, keeper: Arc<dyn Keeper>) {
        self.files.get_mut().unwrap_or_else(PoisonError::into_inner).dir.keep_with(keeper);
    }

    fn locate(&self, block: BlockId) -> String {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        match files.locations.get(&block.hash) {
            Some(&location) => files.dir.describe(location),
            None => self.node.locate(block),
        }
    }

    fn wait(&self, known: BlockHash, timeout: Duration) -> Result<(), SourceError> {
        self.node.wait(known, timeout)
    }
}
