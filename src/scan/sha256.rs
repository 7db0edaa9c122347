//! Double SHA-256 of many short messages, two at a time.
//!
//! Hashing is most of what proving a block costs. The SHA instructions of x86-64 wait for each other along
//! one message, and half of the processor with them; two messages of the same length side by side fill the
//! gaps. Where there are no such instructions, messages are hashed one by one.

use bitcoin::hashes::{Hash, HashEngine, sha256d};

/// A double SHA-256.
pub(super) type Digest = [u8; 32];

/// Bytes that SHA-256 takes at a time.
const BLOCK: usize = 64;

/// The longest messages that wait for another one, in blocks with their padding: nearly all transactions
/// without their witnesses. What is longer is hashed alone, for which its length makes up.
const LONGEST: usize = 8;

/// A padded message.
type Padded = [[u8; BLOCK]; LONGEST];

/// Hashes messages that come one by one, in pairs of the same length.
#[derive(Debug)]
pub(super) struct Pairing {
    /// By their length in blocks, messages that wait for another one: where their hash goes.
    waiting: [Option<usize>; LONGEST + 1],
    messages: Box<[Padded; LONGEST + 1]>,
}

impl Default for Pairing {
    fn default() -> Self {
        Pairing { waiting: [None; LONGEST + 1], messages: Box::new([[[0; BLOCK]; LONGEST]; LONGEST + 1]) }
    }
}

impl Pairing {
    /// Puts the hash of the message into `digests[place]`, now or until [`finish`](Self::finish).
    pub fn add(&mut self, parts: [&[u8]; 3], place: usize, digests: &mut [Digest]) {
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        // The padding is a one, zeros, and the length in 8 bytes.
        let blocks = (len + 9).div_ceil(BLOCK);
        if blocks > LONGEST || !pairs::are_fast() {
            digests[place] = alone(parts);
            return;
        }
        match self.waiting[blocks].take() {
            None => {
                pad(parts, len, blocks, &mut self.messages[blocks]);
                self.waiting[blocks] = Some(place);
            }
            Some(other) => {
                let mut message = [[0; BLOCK]; LONGEST];
                pad(parts, len, blocks, &mut message);
                let pair = [&self.messages[blocks][..blocks], &message[..blocks]];
                [digests[other], digests[place]] = pairs::hash(pair);
            }
        }
    }

    /// Hashes what still waits.
    pub fn finish(&mut self, digests: &mut [Digest]) {
        for blocks in 0..=LONGEST {
            if let Some(place) = self.waiting[blocks].take() {
                let message = &self.messages[blocks][..blocks];
                [digests[place], _] = pairs::hash([message, message]);
            }
        }
    }

    /// Forgets what still waits.
    pub fn clear(&mut self) {
        self.waiting = [None; LONGEST + 1];
    }
}

/// Lays out a message of so many bytes in so many blocks, as SHA-256 pads it.
fn pad(parts: [&[u8]; 3], len: usize, blocks: usize, out: &mut Padded) {
    let out = &mut out.as_flattened_mut()[..blocks * BLOCK];
    let mut end = 0;
    for part in parts {
        out[end..end + part.len()].copy_from_slice(part);
        end += part.len();
    }
    let bits = out.len() - 8;
    out[end] = 0x80;
    out[end + 1..bits].fill(0);
    out[bits..].copy_from_slice(&(len as u64 * 8).to_be_bytes());
}

fn alone(parts: [&[u8]; 3]) -> Digest {
    let mut engine = sha256d::Hash::engine();
    parts.iter().for_each(|part| engine.input(part));
    sha256d::Hash::from_engine(engine).to_byte_array()
}

/// The hash of two digests side by side: their parent in a Merkle tree.
pub(super) fn parent(left: &Digest, right: &Digest) -> Digest {
    alone([left, right, &[]])
}

/// Replaces a level of a Merkle tree, an even number of nodes, by their parents.
pub(super) fn replace_by_parents(level: &mut Vec<Digest>) {
    let mut parents = level.len() / 2;
    let all = parents;
    let mut done = 0;
    if pairs::are_fast() {
        while parents >= 2 {
            let four = &level[2 * done..2 * done + 4];
            [level[done], level[done + 1]] = pairs::hash_nodes([[&four[0], &four[1]], [&four[2], &four[3]]]);
            (done, parents) = (done + 2, parents - 2);
        }
    }
    for i in done..all {
        level[i] = parent(&level[2 * i], &level[2 * i + 1]);
    }
    level.truncate(all);
}

#[cfg(target_arch = "x86_64")]
#[path = "sha256/pairs.rs"]
mod pairs;

#[cfg(not(target_arch = "x86_64"))]
mod pairs {
    use super::{BLOCK, Digest, parent};

    /// Whether pairs gain anything.
    pub fn are_fast() -> bool {
        false
    }

    /// Is not asked for where pairs gain nothing.
    pub fn hash(_: [&[[u8; BLOCK]]; 2]) -> [Digest; 2] {
        [[0; 32]; 2]
    }

    /// The parents of two pairs of nodes.
    pub fn hash_nodes(nodes: [[&Digest; 2]; 2]) -> [Digest; 2] {
        nodes.map(|[left, right]| parent(left, right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_message_gets_its_own_hash(messages in vec(vec(any::<u8>(), 0..600), 0..40)) {
            let mut digests = vec![[0; 32]; messages.len()];
            let mut pairing = Pairing::default();
            for (place, message) in messages.iter().enumerate() {
                let (first, rest) = message.split_at(message.len() / 3);
                let (second, third) = rest.split_at(rest.len() / 2);
                pairing.add([first, second, third], place, &mut digests);
            }
            pairing.finish(&mut digests);
            let expected: Vec<_> =
                messages.iter().map(|message| sha256d::Hash::hash(message).to_byte_array()).collect();
            prop_assert_eq!(digests, expected);
        }

        #[test]
        fn parents_are_hashes_of_pairs(pairs in vec(any::<[[u8; 32]; 2]>(), 0..12)) {
            let mut level: Vec<Digest> = pairs.iter().flatten().copied().collect();
            replace_by_parents(&mut level);
            let expected: Vec<_> =
                pairs.iter().map(|pair| sha256d::Hash::hash(&pair.concat()).to_byte_array()).collect();
            prop_assert_eq!(level, expected);
        }
    }

    #[test]
    fn lengths_around_every_block_border() {
        for len in (0..=LONGEST * BLOCK + 70).filter(|len| (len + 12) % BLOCK < 24) {
            let messages = [vec![7u8; len], vec![9u8; len]];
            let mut digests = [[0; 32]; 2];
            let mut pairing = Pairing::default();
            messages.iter().zip(0..).for_each(|(m, place)| pairing.add([m, &[], &[]], place, &mut digests));
            pairing.finish(&mut digests);
            assert_eq!(digests, messages.map(|m| sha256d::Hash::hash(&m).to_byte_array()), "{len}");
        }
    }
}
