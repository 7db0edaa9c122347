//! Block bytes to messages: in parallel, without state.
//!
//! A block goes in as bytes together with the hash that it must have; out comes the little that BTKN
//! cares about ([`BlockMessages`]), or a [`BlockFault`]. The header hash, the Merkle root over every
//! txid and the length are checked for every block, the witness commitment for every block that has
//! witnesses, so a damaged file can't change the state. A block whose coinbase commits to witnesses and
//! that comes without any is refused too: a source that leaves witnesses out would hide messages. Not
//! checked: scripts, amounts, and everything else that makes a block valid; whoever chose the chain
//! vouches for that.
//!
//! Transactions are walked in place. Only those that carry a message or spend a watched output are
//! decoded, which on today's chain is a handful per block.

mod batch;
mod block;
mod integrity;
pub mod messages;
mod transaction;
mod watch;

#[cfg(test)]
mod tests;

use bitcoin::{BlockHash, TxMerkleNode};

pub use batch::{RawBlock, named_outpoints, scan_batch};
pub use messages::BlockMessages;
pub use watch::WatchSet;

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
