//! What the fuzz targets run: one function per decoder, from any bytes to "the laws hold".
//!
//! Each function returns for bytes that the decoder under it treats as its documentation says, and
//! panics otherwise. So they serve twice: `fuzz/` hands them what libFuzzer makes up, and an ordinary
//! test replays the corpora that are kept in `fuzz/corpus` through them.
//!
//! A law that says no more than "does not crash" finds little. Wherever there is a second way to the
//! same answer it is taken: `ord` and a full decode against the scanner, a plain loop against the reader
//! of block files, another CBOR reader against ours, encoders against decoders. Inputs are arranged so
//! that random bytes get past checksums and commitments; what a target does to its input is said with it.

mod block;
mod block_file;
mod envelope;
mod op_return;
pub mod reference;
pub mod seeds;
mod snapshots;
mod text;

/// One fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name; also that of its program and of the directory of its corpus.
    pub name: &'static str,
    /// Tries the laws on an input and panics if one is broken.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "envelope", run: envelope::envelope },
    Target { name: "block", run: block::block },
    Target { name: "manifest", run: snapshots::manifest },
    Target { name: "chunk", run: snapshots::chunk },
    Target { name: "announcement", run: op_return::announcement },
    Target { name: "withdrawal", run: op_return::withdrawal },
    Target { name: "address", run: text::address },
    Target { name: "cursor", run: text::cursor },
    Target { name: "block_file", run: block_file::block_file },
];

/// Runs the target of this name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("there is a target of this name").run)(data);
}
