//! Block bytes to messages: in parallel, without state.
//!
//! A block goes in as bytes together with the hash that it must have; out comes the little that BTKN
//! cares about ([`BlockMessages`]), or a [`BlockFault`]. How much of a block is proven is the user's choice,
//! [`VerifyBlocks`]; that its header has the right hash, and that the rest decodes to the last byte, always
//! is. Not checked: scripts, amounts, and everything else that makes a block valid; whoever chose the
//! chain vouches for that.
//!
//! Transactions are walked in place. Only those that carry a message or spend a watched output are
//! decoded, which on today's chain is a handful per block. What is hashed is hashed on the same walk.

mod batch;
mod block;
mod integrity;
pub mod messages;
pub mod pipeline;
mod recent;
mod sha256;
mod transaction;
mod watch;

#[cfg(test)]
mod tests;

use bitcoin::{BlockHash, TxMerkleNode};

pub use batch::scan_batch;
pub use block::{RawBlock, Scanner};
pub use messages::{BlockMessages, named_outpoints};
pub use transaction::scan_transaction;
pub use watch::WatchSet;

/// How much of every block is proven before it is believed.
///
/// Whatever is chosen: the header has the hash that the chain has at its height and names the block before;
/// a block that comes without the witnesses to which its coinbase commits is refused; and a block in which a
/// message was found, or in which the name that every snapshot message carries twice stands in a witness, is
/// proven in full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyBlocks {
    /// Nothing: the source is trusted. A flipped bit can hide a message.
    None,
    /// Proof of work, and the Merkle root over all txids: nothing in a transaction but its witnesses can be
    /// wrong. No damage to a single bit, and none that leaves the metaprotocol or the content type of an
    /// inscription, can hide a message.
    #[default]
    Merkle,
    /// Also the commitment to all witnesses: not a byte can be wrong.
    Full,
}

/// Why the bytes of a block were refused. The caller knows, and adds, where they came from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockFault {
    /// These are the bytes of another block.
    #[error("the header found there hashes to {found}, not to {expected}")]
    HeaderHash {
        /// The hash that the chain has at this height.
        expected: BlockHash,
        /// The hash of the header that was read.
        found: BlockHash,
    },
    /// The bytes are no block, or not exactly one.
    #[error("block {block} does not decode: {reason}")]
    Undecodable {
        /// Which block it was to be.
        block: BlockHash,
        /// What is wrong.
        reason: String,
    },
    /// Nobody did the work that its header claims, or it claims less than the network asks at least.
    #[error("the header of block {block} has no proof of work")]
    ProofOfWork {
        /// Which block.
        block: BlockHash,
    },
    /// The transactions are not those that the header commits to.
    #[error("block {block}: its transactions do not match the Merkle root {committed} of its header")]
    MerkleRoot {
        /// Which block.
        block: BlockHash,
        /// The root in its header.
        committed: TxMerkleNode,
    },
    /// There are no witnesses, and the coinbase commits to some.
    #[error(
        "block {block} came without its witnesses, to which its coinbase transaction commits: the source leaves \
         them out, and messages with them (a node does so under -rpcserialversion=0)"
    )]
    NoWitnesses {
        /// Which block.
        block: BlockHash,
    },
    /// The witnesses are not those that the coinbase commits to.
    #[error("block {block}: its witnesses do not match the commitment in its coinbase transaction")]
    WitnessCommitment {
        /// Which block.
        block: BlockHash,
    },
}
