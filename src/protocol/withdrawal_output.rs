//! The L1 output that carries a withdrawal's bond, and how its spend tells who took it.
//!
//! A Taproot output: the internal key is the x coordinate of the revocation commitment, the only leaf
//! lets the owner claim after a relative lock. Key path: revocation. Script path: the owner's claim.

use bitcoin::key::TapTweak;
use bitcoin::script::Builder;
use bitcoin::secp256k1::{Parity, XOnlyPublicKey};
use bitcoin::taproot::{LeafVersion, TapLeafHash, TapNodeHash};
use bitcoin::{ScriptBuf, Witness, opcodes};

use super::curve::SECP;
use super::{OwnerKey, PubKey};

/// The leaf: `<locktime> OP_CSV OP_DROP <owner x-only> OP_CHECKSIG`.
pub fn leaf_script(locktime: u64, owner: &OwnerKey) -> ScriptBuf {
    let builder = Builder::new();
    // Not Builder::push_int: it takes an i64, and a script number here is any u64.
    let builder = match locktime {
        0 => builder.push_opcode(opcodes::OP_0),
        1..=16 => builder.push_int(i64::try_from(locktime).unwrap_or(0)),
        _ => {
            let mut number = locktime.to_le_bytes().to_vec();
            while number.last() == Some(&0) {
                number.pop();
            }
            // The highest bit is the sign.
            if number.last().is_some_and(|byte| byte & 0x80 != 0) {
                number.push(0);
            }
            let push = bitcoin::script::PushBytesBuf::try_from(number).unwrap_or_default();
            builder.push_slice(push)
        }
    };
    builder
        .push_opcode(opcodes::all::OP_CSV)
        .push_opcode(opcodes::all::OP_DROP)
        .push_slice(owner.x_only())
        .push_opcode(opcodes::all::OP_CHECKSIG)
        .into_script()
}

/// The x-only output key; `None` where the revocation commitment's x is not on the curve.
pub fn output_key(revocation: &PubKey, locktime: u64, owner: &OwnerKey) -> Option<[u8; 32]> {
    tweak(revocation, locktime, owner).map(|(key, _)| key)
}

/// The script of the output, `5120 <output key>`; `None` where there is no output key.
pub fn script_pubkey(revocation: &PubKey, locktime: u64, owner: &OwnerKey) -> Option<ScriptBuf> {
    let key = output_key(revocation, locktime, owner)?;
    Some(Builder::new().push_opcode(opcodes::all::OP_PUSHNUM_1).push_slice(key).into_script())
}

/// The control block that reveals the leaf (33 bytes); `None` where there is no output key.
pub fn control_block(revocation: &PubKey, locktime: u64, owner: &OwnerKey) -> Option<[u8; 33]> {
    let (_, parity) = tweak(revocation, locktime, owner)?;
    let mut block = [0; 33];
    block[0] = LeafVersion::TapScript.to_consensus() | parity.to_u8();
    block[1..].copy_from_slice(&revocation.x_only());
    Some(block)
}

fn tweak(revocation: &PubKey, locktime: u64, owner: &OwnerKey) -> Option<([u8; 32], Parity)> {
    let internal = XOnlyPublicKey::from_slice(&revocation.x_only()).ok()?;
    let leaf = TapLeafHash::from_script(&leaf_script(locktime, owner), LeafVersion::TapScript);
    let (key, parity) = internal.tap_tweak(&SECP, Some(TapNodeHash::from(leaf)));
    Some((key.serialize(), parity))
}

/// Which way a Taproot output was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, minicbor::Encode, minicbor::Decode)]
#[serde(rename_all = "snake_case")]
pub enum SpendPath {
    /// By the key: a revocation.
    #[n(0)]
    Key,
    /// By the script: the owner's claim.
    #[n(1)]
    Script,
}

impl SpendPath {
    /// Reads the path off the witness of the spending input.
    pub fn of_witness(witness: &Witness) -> Self {
        Self::of_stack(witness.len(), witness.last().unwrap_or_default())
    }

    /// The same from the number of witness elements and the last of them.
    ///
    /// An annex (a last element that starts with 0x50, where there are at least two) does not count.
    /// One element is the key path, more are the script path. A spend of a Taproot output cannot have
    /// an empty witness; that is called the key path, being no script path.
    pub fn of_stack(elements: usize, last: &[u8]) -> Self {
        let annex = elements >= 2 && last.first() == Some(&0x50);
        if elements - usize::from(annex) >= 2 { SpendPath::Script } else { SpendPath::Key }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spend_path_follows_the_witness() {
        let cases: &[(&str, &[&[u8]], SpendPath)] = &[
            ("empty", &[], SpendPath::Key),
            ("signature", &[&[1; 64]], SpendPath::Key),
            ("lone element that looks like an annex", &[&[0x50]], SpendPath::Key),
            ("signature and annex", &[&[1; 64], &[0x50, 1]], SpendPath::Key),
            ("annex after an annex", &[&[0x50], &[0x50]], SpendPath::Key),
            ("empty last element", &[&[1; 64], &[]], SpendPath::Script),
            ("script and control block", &[&[1], &[0xc0; 33]], SpendPath::Script),
            ("claim", &[&[1; 64], &[1], &[0xc0; 33]], SpendPath::Script),
            ("claim and annex", &[&[1; 64], &[1], &[0xc0; 33], &[0x50]], SpendPath::Script),
        ];
        for (case, stack, path) in cases {
            assert_eq!(SpendPath::of_witness(&Witness::from_slice(stack)), *path, "{case}");
        }
    }

    #[test]
    fn locktime_is_a_minimal_script_number() {
        let cases: &[(u64, &[u8])] = &[
            (0, &[0x00]),
            (1, &[0x51]),
            (16, &[0x60]),
            (17, &[0x01, 0x11]),
            (127, &[0x01, 0x7f]),
            (128, &[0x02, 0x80, 0x00]),
            (256, &[0x02, 0x00, 0x01]),
            (32_768, &[0x03, 0x00, 0x80, 0x00]),
            (u64::MAX, &[0x09, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00]),
        ];
        for (locktime, prefix) in cases {
            let script = leaf_script(*locktime, &PubKey::BURN);
            assert!(script.as_bytes().starts_with(prefix), "{locktime}: {script:x}");
            assert_eq!(script.len(), prefix.len() + 36, "{locktime}");
        }
    }

    #[test]
    fn no_output_key_off_the_curve() {
        let mut revocation = PubKey([0; 33]);
        revocation.0[0] = 2;
        revocation.0[32] = 5;
        assert_eq!(output_key(&revocation, 1, &PubKey::BURN), None);
        assert_eq!(script_pubkey(&revocation, 1, &PubKey::BURN), None);
        assert_eq!(control_block(&revocation, 1, &PubKey::BURN), None);
    }
}
