//! Made-up sets of TTXOs of any size, for benchmarks.
//!
//! Every TTXO follows from its number alone. A million of them with distinct keys take a second or two: keys
//! are steps along the curve, each the one before plus the generator, which is a small part of the work of
//! a key from a label.

use std::ops::Range;

use bitcoin::secp256k1::constants::ONE;
use bitcoin::secp256k1::{PublicKey, Scalar, SecretKey};
use btkn_indexer::protocol::ttxo::Ttxo;
use btkn_indexer::protocol::{Amount, PubKey, SparkOutPoint, SparkTxHash, TokenId, hashes};
use rayon::prelude::*;

use crate::keys::{SECP, seed};

/// Keys between two that are multiplied out.
const STRIDE: u64 = 1 << 12;

/// Who owns what in a made-up set: TTXOs go round all owners, and each owner has two tokens.
#[derive(Clone, Copy, Debug)]
pub struct Population {
    /// How many owners there are.
    pub owners: u64,
    /// How many tokens there are, at most 256.
    pub tokens: u64,
}

impl Population {
    /// The TTXOs with these numbers, sorted by outpoint.
    pub fn ttxos(self, numbers: Range<u64>) -> Vec<Ttxo> {
        let owners = keys("owners", 0..self.owners);
        let revocations = keys("revocations", numbers.clone());
        let ttxo = |(n, revocation): (u64, &PubKey)| {
            let (owner, round) = (n % self.owners, n / self.owners);
            Ttxo {
                outpoint: SparkOutPoint { tx_hash: SparkTxHash(hashes::sha256(&n.to_le_bytes())), vout: 0 },
                owner: owners[owner as usize],
                revocation: *revocation,
                bond: 10_000,
                locktime: 1_000,
                token: TokenId([((owner + round % 2) % self.tokens) as u8; 32]),
                amount: Amount(u128::from(n) + 1),
            }
        };
        let mut set: Vec<Ttxo> = numbers.zip(&revocations).map(ttxo).collect();
        set.par_sort_unstable_by_key(|ttxo| ttxo.outpoint);
        set
    }
}

/// Distinct keys by number, the same ones for the same label.
fn keys(label: &str, numbers: Range<u64>) -> Vec<PubKey> {
    let starts: Vec<u64> = numbers.clone().step_by(STRIDE as usize).collect();
    let walk = |start: &u64| walk(label, *start..numbers.end.min(start + STRIDE));
    starts.par_iter().flat_map_iter(walk).collect()
}

fn walk(label: &str, numbers: Range<u64>) -> impl Iterator<Item = PubKey> {
    let mut offset = [0; 32];
    offset[24..].copy_from_slice(&numbers.start.to_be_bytes());
    let offset = Scalar::from_be_bytes(offset).expect("below the order of the curve");
    let secret = SecretKey::from_slice(&seed(label)).and_then(|secret| secret.add_tweak(&offset));
    let first = PublicKey::from_secret_key(&SECP, &secret.expect("a key but for 2^-128"));
    let one = SecretKey::from_slice(&ONE).expect("a key");
    let generator = PublicKey::from_secret_key(&SECP, &one);
    let next = move |key: &PublicKey| Some(key.combine(&generator).expect("a key but for 2^-128"));
    std::iter::successors(Some(first), next).zip(numbers).map(|(key, _)| key.into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_ttxo_follows_from_its_number_alone() {
        let population = Population { owners: 10, tokens: 3 };
        let all = population.ttxos(0..STRIDE + 20);
        let some = population.ttxos(STRIDE - 5..STRIDE + 10);
        assert!(some.iter().all(|ttxo| all.contains(ttxo)));
        assert!(all.is_sorted_by_key(|ttxo| ttxo.outpoint));
        let keys: BTreeSet<PubKey> = all.iter().map(|ttxo| ttxo.revocation).collect();
        assert_eq!(keys.len(), all.len());
        assert!(keys.iter().all(PubKey::is_on_curve));
    }
}
