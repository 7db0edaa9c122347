//! Two messages at once, with the SHA instructions of x86-64 (FIPS 180-4 in the layout that these ask for).

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_cvtsi128_si64, _mm_extract_epi64,
    _mm_set_epi32, _mm_set_epi64x, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32,
    _mm_shuffle_epi8, _mm_shuffle_epi32,
};

use super::{BLOCK, Digest};

/// The constants of the rounds, four at a time.
#[rustfmt::skip]
const K: [[u32; 4]; 16] = [
    [0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5], [0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5],
    [0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3], [0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174],
    [0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc], [0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da],
    [0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7], [0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967],
    [0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13], [0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85],
    [0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3], [0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070],
    [0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5], [0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3],
    [0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208], [0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2],
];

/// Sixteen words of a message.
type Words = [__m128i; 4];

/// The state of a hash: words a, b, e, f and c, d, g, h, the first of each in the highest lane.
type State = [__m128i; 2];

/// Whether the processor has the instructions.
pub fn are_fast() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("ssse3") && is_x86_feature_detected!("sse4.1")
}

/// The double hashes of two padded messages of the same length. Only where they [are fast](are_fast).
#[expect(unsafe_code, reason = "that the instructions are there has to be vouched for")]
pub fn hash(messages: [&[[u8; BLOCK]]; 2]) -> [Digest; 2] {
    debug_assert!(are_fast());
    // SAFETY: callers have asked `are_fast`.
    unsafe { hash_fast(messages) }
}

/// The parents of two pairs of nodes. Only where they [are fast](are_fast).
#[expect(unsafe_code, reason = "that the instructions are there has to be vouched for")]
pub fn hash_nodes(nodes: [[&Digest; 2]; 2]) -> [Digest; 2] {
    debug_assert!(are_fast());
    // SAFETY: callers have asked `are_fast`.
    unsafe { hash_nodes_fast(nodes) }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn hash_fast(messages: [&[[u8; BLOCK]]; 2]) -> [Digest; 2] {
    let mut states = [initial(); 2];
    for (first, second) in messages[0].iter().zip(messages[1]) {
        compress(&mut states, [read_block(first), read_block(second)]);
    }
    again(states)
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn hash_nodes_fast([first, second]: [[&Digest; 2]; 2]) -> [Digest; 2] {
    let mut states = [initial(); 2];
    compress(&mut states, [read_nodes(first), read_nodes(second)]);
    compress(&mut states, [padding_of_a_block(); 2]);
    again(states)
}

/// The hashes of two hashes.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn again(states: [State; 2]) -> [Digest; 2] {
    let block = |state: State| {
        let [low, high] = words_of(state);
        // A one behind 32 bytes, and their number of bits.
        [low, high, _mm_set_epi32(0, 0, 0, i32::MIN), _mm_set_epi32(256, 0, 0, 0)]
    };
    let mut second = [initial(); 2];
    compress(&mut second, [block(states[0]), block(states[1])]);
    [write(second[0]), write(second[1])]
}

/// What stands behind a message of exactly one block.
#[target_feature(enable = "sse2")]
fn padding_of_a_block() -> Words {
    let zero = _mm_set_epi32(0, 0, 0, 0);
    [_mm_set_epi32(0, 0, 0, i32::MIN), zero, zero, _mm_set_epi32(512, 0, 0, 0)]
}

#[target_feature(enable = "sse2")]
fn initial() -> State {
    let words = |a: u32, b: u32, c: u32, d: u32| _mm_set_epi32(a as i32, b as i32, c as i32, d as i32);
    [
        words(0x6a09e667, 0xbb67ae85, 0x510e527f, 0x9b05688c),
        words(0x3c6ef372, 0xa54ff53a, 0x1f83d9ab, 0x5be0cd19),
    ]
}

/// One block of each message.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn compress(states: &mut [State; 2], mut words: [Words; 2]) {
    let before = *states;
    for (round, k) in K.iter().enumerate() {
        let k = _mm_set_epi32(k[3] as i32, k[2] as i32, k[1] as i32, k[0] as i32);
        for (state, words) in states.iter_mut().zip(&mut words) {
            if round >= 4 {
                words[round % 4] = next_words(words, round);
            }
            let scheduled = _mm_add_epi32(words[round % 4], k);
            let [abef, cdgh] = *state;
            let cdgh = _mm_sha256rnds2_epu32(cdgh, abef, scheduled);
            let abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(scheduled, 0x0e));
            *state = [abef, cdgh];
        }
    }
    for (state, before) in states.iter_mut().zip(before) {
        *state = [_mm_add_epi32(state[0], before[0]), _mm_add_epi32(state[1], before[1])];
    }
}

/// The next four words of the message schedule, from the sixteen before.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn next_words(words: &Words, round: usize) -> __m128i {
    let [w0, w1, w2, w3] = [0, 1, 2, 3].map(|i| words[(round + i) % 4]);
    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
    _mm_sha256msg2_epu32(sum, w3)
}

#[target_feature(enable = "sse2,ssse3")]
fn read_block(bytes: &[u8; BLOCK]) -> Words {
    let (parts, _) = bytes.as_chunks::<16>();
    [read(&parts[0]), read(&parts[1]), read(&parts[2]), read(&parts[3])]
}

#[target_feature(enable = "sse2,ssse3")]
fn read_nodes([left, right]: [&Digest; 2]) -> Words {
    let ((left, _), (right, _)) = (left.as_chunks::<16>(), right.as_chunks::<16>());
    [read(&left[0]), read(&left[1]), read(&right[0]), read(&right[1])]
}

/// Four big-endian words, the first in the lowest lane.
#[target_feature(enable = "sse2,ssse3")]
fn read(bytes: &[u8; 16]) -> __m128i {
    let (halves, _) = bytes.as_chunks::<8>();
    let [low, high] = [halves[0], halves[1]].map(i64::from_le_bytes);
    swap_bytes(_mm_set_epi64x(high, low))
}

/// Reverses the bytes of each word.
#[target_feature(enable = "sse2,ssse3")]
fn swap_bytes(words: __m128i) -> __m128i {
    _mm_shuffle_epi8(words, _mm_set_epi64x(0x0c0d0e0f_08090a0b, 0x04050607_00010203))
}

/// The eight words of a state in order, the first in the lowest lane.
#[target_feature(enable = "sse2,ssse3,sse4.1")]
fn words_of([abef, cdgh]: State) -> [__m128i; 2] {
    let feba = _mm_shuffle_epi32(abef, 0x1b);
    let dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    [_mm_blend_epi16(feba, dchg, 0xf0), _mm_alignr_epi8(dchg, feba, 8)]
}

#[target_feature(enable = "sse2,ssse3,sse4.1")]
fn write(state: State) -> Digest {
    let mut digest = [0; 32];
    let (parts, _) = digest.as_chunks_mut::<8>();
    for (words, parts) in words_of(state).into_iter().zip(parts.chunks_exact_mut(2)) {
        let words = swap_bytes(words);
        parts[0] = _mm_cvtsi128_si64(words).to_le_bytes();
        parts[1] = _mm_extract_epi64(words, 1).to_le_bytes();
    }
    digest
}
