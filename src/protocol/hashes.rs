//! SHA-256 and the tagged hashes of BIP-340.
//!
//! The state after `SHA256(tag) || SHA256(tag)`, exactly one compression block, is computed once for
//! the tags that are hashed per TTXO; the others are rare.

use std::sync::LazyLock;

use bitcoin::hashes::{Hash, HashEngine, sha256};

/// Tag of a leaf: the record of one TTXO.
pub const TAG_TTXO: &str = "BTKN/ttxo";
/// Tag of an inner node: its two children, left first.
pub const TAG_BRANCH: &str = "BTKN/branch";
/// Tag of a manifest id.
pub const TAG_MANIFEST: &str = "BTKN/manifest";
/// Tag of the message that an owner signs in a withdrawal announcement.
pub const TAG_WITHDRAWAL: &str = "BTKN_WITHDRAWAL";

static TTXO: LazyLock<sha256::HashEngine> = LazyLock::new(|| engine(TAG_TTXO));
static BRANCH: LazyLock<sha256::HashEngine> = LazyLock::new(|| engine(TAG_BRANCH));

/// One pass of SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha256::Hash::hash(bytes).to_byte_array()
}

/// `SHA256(SHA256(tag) || SHA256(tag) || message)`, the tag in ASCII.
pub fn tagged(tag: &str, message: &[u8]) -> [u8; 32] {
    match tag {
        TAG_TTXO => finish(&TTXO, &[message]),
        TAG_BRANCH => finish(&BRANCH, &[message]),
        _ => finish(&engine(tag), &[message]),
    }
}

/// `tagged("BTKN/ttxo", record)`.
pub(crate) fn leaf(record: &[u8]) -> [u8; 32] {
    finish(&TTXO, &[record])
}

/// `tagged("BTKN/branch", left || right)`.
pub(crate) fn branch(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    finish(&BRANCH, &[left, right])
}

fn engine(tag: &str) -> sha256::HashEngine {
    let tag = sha256(tag.as_bytes());
    let mut engine = sha256::HashEngine::default();
    engine.input(&tag);
    engine.input(&tag);
    engine
}

fn finish(engine: &sha256::HashEngine, parts: &[&[u8]]) -> [u8; 32] {
    let mut engine = engine.clone();
    for part in parts {
        engine.input(part);
    }
    sha256::Hash::from_engine(engine).to_byte_array()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_midstates_equal_the_definition() {
        let message = [7; 64];
        for tag in [TAG_TTXO, TAG_BRANCH, TAG_MANIFEST, ""] {
            let tag_hash = sha256(tag.as_bytes());
            let long = [&tag_hash[..], &tag_hash[..], &message[..]].concat();
            assert_eq!(tagged(tag, &message), sha256(&long), "{tag:?}");
        }
        assert_eq!(leaf(&message), tagged(TAG_TTXO, &message));
        assert_eq!(branch(&[7; 32], &[7; 32]), tagged(TAG_BRANCH, &message));
    }
}
