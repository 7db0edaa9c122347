//! Cursors of the feed: a place in the list of all events.
//!
//! A cursor names the block up to which events were taken, and how many of that block's. So it means the
//! same wherever the chain goes, and on every server that knows the block. As text it is lower-case hex of
//! a version, a number that no list has, the hash in internal byte order and the count, big-endian.

use std::fmt;
use std::str::FromStr;

use bitcoin::BlockHash;
use bitcoin::hashes::Hash;
use bitcoin::hex::{DisplayHex, FromHex};

/// The first bytes of a cursor.
const HEAD: [u8; 2] = [1, 0xff];

/// A place in the list of all events: before the event of number `next` in `block`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The block; zeros before the first.
    pub block: BlockHash,
    /// How many of its events come before.
    pub next: u32,
}

/// Text that is no cursor of the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPosition;

impl Position {
    /// After all events of a block, or before the first block where that is zeros.
    pub fn after(block: BlockHash) -> Position {
        Position { block, next: u32::MAX }
    }

    /// Before everything.
    pub fn start() -> Position {
        Position::after(BlockHash::all_zeros())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&HEAD[..], self.block.as_byte_array(), &self.next.to_be_bytes()].concat();
        f.write_str(&bytes.to_lower_hex_string())
    }
}

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let bytes = <[u8; 38]>::from_hex(text).map_err(|_| NoPosition)?;
        let (head, rest) = bytes.split_at(HEAD.len());
        let (block, next) = rest.split_at(32);
        let block = BlockHash::from_slice(block).ok().filter(|_| head == HEAD).ok_or(NoPosition)?;
        let next = next.try_into().map(u32::from_be_bytes).map_err(|_| NoPosition)?;
        Ok(Position { block, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::cursor::{self, List};

    #[test]
    fn cursors_round_trip_and_others_are_refused() {
        let position = Position { block: BlockHash::from_byte_array([7; 32]), next: 9 };
        let text = position.to_string();
        assert_eq!(text.parse(), Ok(position));
        let of_a_list = cursor::encode(List::Exits, position.block, &9u32);
        assert_eq!(of_a_list.len(), text.len());
        for bad in ["", "zz", &text[2..], &format!("{text}00"), &of_a_list, &text.replacen("01", "02", 1)] {
            assert_eq!(bad.parse::<Position>(), Err(NoPosition), "{bad}");
        }
    }
}
