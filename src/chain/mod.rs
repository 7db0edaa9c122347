//! Where blocks come from, and which chain is best.
//!
//! A [`Source`] answers three questions: which block hashes make up the best chain, what the bytes of
//! one of those blocks are, and when to ask again. It keeps no BTKN state and interprets no transaction.

#[doc(hidden)]
pub mod blk_file;
mod block_dir;
mod files;
mod header_chain;
mod http;
mod mempool;
mod node;
mod node_with_files;
mod positions;
mod rest;
mod rpc;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bitcoin::BlockHash;

use crate::protocol::Height;

pub use files::BlockFiles;
pub use mempool::NodeMempool;
pub use node::{Node, NodeConfig};
pub use node_with_files::NodeWithFiles;
pub use positions::Keeper;
pub use rpc::Auth;

/// A block of a chain, by height and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockId {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
}

/// Why a source could not answer.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It may pass by itself: the node is away, busy, or changed its mind about the best chain.
    #[error("{0}")]
    Retry(String),
    /// It will not pass by itself; the text says what to do.
    #[error("{0}")]
    Fatal(String),
}

/// A source of blocks.
pub trait Source: Send + Sync {
    /// Where the blocks come from, in a few words for people.
    fn describe(&self) -> String;

    /// Brings the view of the best chain up to date and returns its tip.
    fn refresh(&mut self) -> Result<BlockId, SourceError>;

    /// Hashes of up to `count` consecutive blocks of the best chain, as of now or of the last
    /// `refresh`, from `from` on; fewer (or none) where the chain ends.
    fn hashes(&self, from: Height, count: usize) -> Result<Vec<BlockHash>, SourceError>;

    /// Replaces the content of `buf` with the serialised block. Several threads may call this at once.
    fn fetch(&self, block: BlockId, buf: &mut Vec<u8>) -> Result<(), SourceError>;

    /// How many fetches may usefully be under way at once; 0 where fetching is not mostly waiting, so that
    /// more of them than there are threads to scan would gain nothing.
    fn in_flight(&self) -> usize {
        0
    }

    /// Whether [`read_ahead`](Self::read_ahead) does anything.
    fn can_read_ahead(&self) -> bool {
        false
    }

    /// Hears which blocks will be fetched soon, in this order, and may have their bytes made ready.
    fn read_ahead(&self, _blocks: &[BlockId]) {}

    /// Keeps what has to be searched for from now on, and takes over what an earlier process kept.
    fn keep_with(&mut self, _keeper: Arc<dyn Keeper>) {}

    /// Where the bytes of a block came from, for error messages: file and offset, or the node's URL.
    fn locate(&self, block: BlockId) -> String;

    /// Returns when the best chain may have changed from `known`, or after `timeout`, whichever is first.
    fn wait(&self, known: BlockHash, timeout: Duration) -> Result<(), SourceError>;
}
