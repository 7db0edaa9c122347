//! The rules: what the messages of a block do to the state.
//!
//! [`apply_block`] is a pure function of a view of the state, the configuration that indexers agree on
//! and the messages of the next block. It has no clock, does no I/O and knows no database; it returns
//! what changes ([`ChangeSet`]) and what happened ([`Event`]). The same input gives the same output on
//! every machine: that is what the state hash of a block attests.
//!
//! The rules are written down for people in `schema/snapshots.md`, `schema/l1-messages.md` and
//! `schema/state-hash.md`; the modules here follow them section by section:
//!
//! - [`tokens`]: token announcements
//! - [`manifests`]: acceptance of manifests, equivocation, the limit on pending ones
//! - [`chunks`]: chunks that pending manifests wait for
//! - [`new_set`]: the declared set that a snapshot asks for, and its checks
//! - [`activation`]: what an active snapshot does to TTXOs, other snapshots and exits
//! - [`exits`]: withdrawal announcements, their judgement, spends and maturities
//! - [`balances`]: sums per owner, token and entity
//! - [`events`]: event lines and the state hash
//!
//! The rules never look at what [`indexes`] and [`activity`] add to the change set for readers.

pub mod activation;
pub mod activity;
pub mod balances;
mod block;
pub mod chunks;
pub mod entities;
pub mod events;
pub mod exits;
pub mod indexes;
pub mod keys;
pub mod manifests;
pub mod new_set;
pub mod reasons;
pub mod records;
pub mod tables;
pub mod tokens;
pub mod view;

pub use block::{Applied, ApplyError, Rules, apply_block};
pub use entities::{Entities, Entity, EntityConfig, EntityKey};
pub use events::Event;
pub use tables::ChangeSet;
pub use view::{Overlay, ReadError, View};

#[cfg(test)]
pub(crate) mod tests;
