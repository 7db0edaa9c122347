//! Keys from labels: the same label is always the same key.

use std::sync::LazyLock;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{All, Keypair, Message, Secp256k1};
use btkn_indexer::protocol::{PubKey, Signature};

pub(crate) static SECP: LazyLock<Secp256k1<All>> = LazyLock::new(Secp256k1::new);

/// 32 bytes that depend on the label alone.
pub(crate) fn seed(label: &str) -> [u8; 32] {
    sha256::Hash::hash(format!("btkn-testkit/{label}").as_bytes()).to_byte_array()
}

/// The key pair of a label.
pub fn keypair(label: &str) -> Keypair {
    Keypair::from_seckey_slice(&SECP, &seed(label)).expect("a hash is a secret key but for 2^-128")
}

/// The public key of a label.
pub fn pubkey(label: &str) -> PubKey {
    PubKey::from(keypair(label).public_key())
}

/// The public key of a label, where `burn` is the burn key.
pub fn burn_or(label: &str) -> PubKey {
    if label == "burn" { PubKey::BURN } else { pubkey(label) }
}

/// A BIP-340 signature without randomness.
pub(crate) fn sign(key: &Keypair, message: [u8; 32]) -> Signature {
    Signature(SECP.sign_schnorr_no_aux_rand(&Message::from_digest(message), key).serialize())
}
