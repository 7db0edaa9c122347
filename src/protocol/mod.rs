//! The BTKN protocol as bytes and values: messages, identifiers, addresses, scripts, Merkle trees.
//!
//! Everything here is pure: no I/O, no chain, no state. Decoders accept exactly what `schema/`
//! says and name what they refuse; encoders produce the form that this project publishes.
//! Nothing in this module uses any other module of the crate.

pub mod primitives;

pub use primitives::*;
