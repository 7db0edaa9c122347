//! Cursors as text: lower-case hex of a version, the number of the list, the hash of the block that the
//! list was read at (internal byte order) and the key of the row that the next page begins with.
//!
//! Whether that block is still in the chain, and whether the key lies in the part of the list that is asked
//! for, is for whoever opens the page.

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;
use bitcoin::hex::{DisplayHex, FromHex};

use super::error::{ApiError, Code};
use crate::ledger::keys::KeyPart;

/// First byte of a cursor.
const VERSION: u8 = 1;

/// Bytes before the key.
const HEAD: usize = 2 + 32;

/// The lists that have cursors. The number is part of a cursor, so that one can't be used on another list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum List {
    /// All tokens.
    Tokens = 0,
    /// Holders of a token.
    Holders = 1,
    /// Balances of an owner.
    Balances = 2,
    /// TTXOs of an owner.
    OwnerTtxos = 3,
    /// All exits.
    Exits = 4,
    /// Exits by their L1 output.
    OutputExits = 5,
    /// Exits of a TTXO.
    TtxoExits = 6,
    /// Snapshots.
    Snapshots = 7,
    /// Chunks of a manifest.
    Chunks = 8,
    /// Evidence of equivocation.
    Equivocations = 9,
    /// Tokens by ticker or name.
    TokenNames = 10,
    /// Tokens of an issuer.
    IssuerTokens = 11,
    /// Holders of a token by amount.
    HoldersByAmount = 12,
    /// Exits of an owner.
    OwnerExits = 13,
    /// Exits of a token.
    TokenExits = 14,
    /// Exits of an entity.
    EntityExits = 15,
    /// Exits in a state.
    StateExits = 16,
    /// Exits by the block that will mature them.
    Maturing = 17,
    /// What happened to the TTXOs of an owner.
    Activities = 18,
    /// Balances that differ between two blocks.
    Diff = 19,
    /// Blocks, the last one first.
    Blocks = 20,
}

/// Writes a cursor.
pub fn encode<K: KeyPart>(list: List, block: BlockHash, key: &K) -> String {
    let mut bytes = vec![VERSION, list as u8];
    bytes.extend_from_slice(block.as_byte_array());
    key.put(&mut bytes);
    bytes.to_lower_hex_string()
}

/// Reads a cursor; `None` for text that is no cursor of this list. Hex digits may be in either case.
pub fn decode<K: KeyPart>(list: List, text: &str) -> Option<(BlockHash, K)> {
    let bytes = Vec::<u8>::from_hex(text).ok()?;
    let (head, key) = bytes.split_at_checked(HEAD)?;
    if head[..2] != [VERSION, list as u8] {
        return None;
    }
    let block = BlockHash::from_slice(&head[2..]).ok()?;
    Some((block, K::take(key)?))
}

/// The block at which a list was begun, from a cursor of any list.
pub fn block(text: &str) -> Result<BlockHash, ApiError> {
    let bytes = Vec::<u8>::from_hex(text).ok();
    let head = bytes.as_deref().and_then(|bytes| bytes.get(..HEAD)).filter(|head| head[0] == VERSION);
    let hash = head.and_then(|head| BlockHash::from_slice(&head[2..]).ok());
    hash.ok_or_else(|| ApiError::of(Code::BadCursor))
}
