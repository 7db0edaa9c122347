//! Rebuilds BTKN token balances from Bitcoin blocks alone.

pub mod api;
pub mod chain;
pub mod check;
pub mod claims;
pub mod cli;
pub mod config;
pub mod kill;
pub mod ledger;
pub mod logging;
pub mod mempool;
pub mod protocol;
pub mod scan;
pub mod selftest;
pub mod stop;
pub mod store;
pub mod sync;
pub mod verify;
