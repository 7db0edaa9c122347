//! The BTKN protocol as bytes and values: messages, identifiers, addresses, scripts, Merkle trees.
//!
//! Everything here is pure: no I/O, no chain, no state. Decoders accept exactly what `schema/`
//! says and name what they refuse; encoders produce the form that this project publishes.
//! Nothing in this module uses any other module of the crate.

pub mod address;
pub mod announcement;
pub mod cbor;
pub mod chunk;
pub mod chunk_split;
pub mod curve;
pub mod envelope;
pub mod hashes;
pub mod manifest;
pub mod merkle;
pub mod op_return;
pub mod primitives;
pub mod token;
pub mod ttxo;
pub mod withdrawal;
pub mod withdrawal_output;

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod snapshot_vectors_tests;
#[cfg(test)]
mod vectors_tests;

pub use primitives::*;
