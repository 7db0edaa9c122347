//! Randomness that is the same in every run.

use bitcoin::hashes::{Hash, sha256};

/// Bytes that look random and follow from a name and a number alone.
#[derive(Clone, Debug)]
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(name: &str, seed: u64) -> Self {
        let hash = sha256::Hash::hash(&[name.as_bytes(), &seed.to_le_bytes()].concat());
        Noise(u64::from_le_bytes(*hash.as_byte_array().first_chunk().expect("32 bytes")))
    }

    /// Splitmix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        *self.bytes(N).first_chunk().expect("as many as asked for")
    }
}
