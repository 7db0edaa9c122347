//! Tests from the outside: the real binary and, through the test kit, a real Bitcoin Core. One binary, so
//! that it is linked once.

// What fails in a helper of a test is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod bench_chain;
mod busy;
mod cli;
mod cli_run;
mod damage;
mod docs;
mod file_faults;
mod follow;
mod kit;
mod mempool;
mod mini_chain;
mod node_faults;
mod reorganisations;
mod selftest;
mod small_disk;
mod sources;
mod store_faults;
mod verify;
