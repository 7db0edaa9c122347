//! What no block has confirmed yet: withdrawal announcements, revocations and claims in the mempool of the
//! node.
//!
//! A hint beside the state and never a part of it: nothing here is written to the store, reaches an event
//! or a state hash, or holds up synchronisation. A node keeps what it likes in its mempool, and what is
//! there may be replaced, dropped, or never be mined.
//!
//! [`watch`] asks the node about once a second, and after each block at once, which transactions there are,
//! looks at each of them once, and publishes those that matter ([`Contents`]). What they would do to the
//! state is for [`preview`] to say, by the rules of the ledger and against the state as it is then.
//!
//! Memory is bounded: eight bytes for each transaction of the mempool, and at most [`MAX_ITEMS`] exits
//! and spends.

mod look;
mod preview;
mod seen;
mod watcher;

use std::collections::BTreeMap;
use std::sync::Arc;

use bitcoin::{OutPoint, Txid};
use tokio::sync::watch;

use crate::scan::messages::TxMessages;

pub use preview::{Outcome, preview};
pub use watcher::{Watcher, watch};

/// Announced exits and spends that are kept; what comes on top of them is left out.
pub const MAX_ITEMS: usize = 20_000;

/// What is known of the mempool.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Whether and how it is watched.
    pub state: State,
    /// When the node last said what is in it, Unix seconds.
    pub checked: Option<u64>,
    /// How many transactions the node had in it then.
    pub transactions: usize,
    /// Those of them that matter.
    pub kept: BTreeMap<Txid, Arc<Unconfirmed>>,
    /// Another number whenever that is something else.
    pub revision: u64,
    /// Whether there is more that would matter, but for [`MAX_ITEMS`].
    pub is_full: bool,
}

/// Whether the mempool is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It cannot be; the text says why.
    Unavailable(&'static str),
    /// Not yet: blocks come first.
    Waiting,
    /// It is.
    Watched,
    /// The node does not answer; the text says what it is about.
    Failing(String),
}

/// A transaction that no block has confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unconfirmed {
    /// The announcements and spends in it.
    pub messages: TxMessages,
    /// When it was first seen here, Unix seconds.
    pub first_seen: u64,
}

impl Unconfirmed {
    /// The outputs that it spends or names as bonds.
    pub fn outputs(&self) -> impl Iterator<Item = OutPoint> {
        let spent = self.messages.spends.iter().map(|spend| spend.outpoint);
        spent.chain(self.messages.named_outpoints())
    }
}

impl Contents {
    /// Before anything is known.
    pub fn new(state: State) -> Self {
        Contents { state, checked: None, transactions: 0, kept: BTreeMap::new(), revision: 0, is_full: false }
    }
}

impl Contents {
    /// Whether anything that is kept spends an output, or names it as a bond.
    pub fn concerns(&self, outpoint: OutPoint) -> bool {
        self.kept.values().any(|kept| kept.outputs().any(|output| output == outpoint))
    }
}

/// Where [`Contents`] are published. The publisher alone writes; everyone else only looks.
pub type Published = watch::Receiver<Arc<Contents>>;

/// What is said where there is no mempool to watch.
pub fn unavailable(reason: &'static str) -> Published {
    // Whoever receives it keeps the last value, and needs no sender for that.
    watch::channel(Arc::new(Contents::new(State::Unavailable(reason)))).1
}
