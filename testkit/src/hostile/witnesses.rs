//! Witnesses: the names where they mean nothing, and envelopes that are no messages.

use bitcoin::{Transaction, TxIn, Witness};

use super::{Scene, fill, input, names, payment, push, reveal, transaction};
use crate::noise::Noise;

/// Start of an envelope.
const OPEN: &[u8] = b"\x00\x63\x03ord";

/// Its end, OP_ENDIF.
const CLOSE: u8 = 0x68;

/// The fields of a chunk.
const CHUNK: &[u8] = b"\x01\x01\x1fapplication/vnd.btkn.chunk+cbor\x01\x07\x04btkn";

/// One transaction whose only witness is a tapscript of a length that fills the weight.
fn one_script(
    noise: &mut Noise,
    weight: usize,
    make: impl FnOnce(&mut Noise, usize) -> Vec<u8>,
) -> Vec<Transaction> {
    let script = make(noise, weight - 500);
    vec![transaction(vec![reveal(noise, script)], vec![payment(1)])]
}

pub(super) fn items(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    fill(noise, weight, |noise| {
        let count = 1 + noise.below(20_000);
        let items: Vec<&[u8]> =
            (0..count).map(|_| noise.pick(&[&b"btkn"[..], b"BTKN", b"LRC20", b"\x04btkn"])).collect();
        transaction(vec![TxIn { witness: Witness::from_slice(&items), ..input(noise) }], vec![payment(1)])
    })
}

pub(super) fn tapscripts(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    fill(noise, weight, |noise| {
        let mut script = Vec::new();
        for _ in 0..noise.below(3_000) {
            // Pushed and dropped; after an empty push and after OP_IF too, as an envelope would begin.
            let part: &[u8] = noise.pick(&[&b"\x04btkn\x75"[..], b"\x00\x04btkn", b"\x00\x63\x04btkn\x68"]);
            script.extend_from_slice(part);
        }
        transaction(vec![reveal(noise, script)], vec![payment(1)])
    })
}

pub(super) fn other_inscriptions(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    fill(noise, weight, |noise| {
        let mut script = [OPEN, b"\x01\x01\x0atext/plain\x01\x07\x06brc-20\x00"].concat();
        let len = noise.below(30_000);
        names(noise, len).chunks(520).for_each(|part| push(&mut script, part));
        script.push(CLOSE);
        transaction(vec![reveal(noise, script)], vec![payment(1)])
    })
}

pub(super) fn one_item(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    one_script(noise, weight, |noise, len| {
        let mut script = Vec::with_capacity(len);
        push(&mut script, &names(noise, len - 10));
        script
    })
}

/// What is nearly a message, or not at all, up to its end.
const TINY: &[&[&[u8]]] = &[
    // Nothing, the name alone, the name without and with a body but of no type.
    &[OPEN],
    &[OPEN, b"\x01\x07\x04btkn"],
    &[OPEN, b"\x01\x07\x04btkn\x00"],
    &[OPEN, b"\x01\x07\x04btkn\x00\x01x\x02yz"],
    // A type without the name, a type that is another.
    &[OPEN, b"\x01\x01\x1fapplication/vnd.btkn.chunk+cbor\x00"],
    &[OPEN, b"\x01\x07\x04btkn\x01\x01\x0atext/plain\x00"],
    // A message but for one thing: no body, a repeated field, half a field, an unknown even one.
    &[OPEN, CHUNK],
    &[OPEN, CHUNK, b"\x01\x07\x04btkn\x00"],
    &[OPEN, CHUNK, b"\x01\x03"],
    &[OPEN, CHUNK, b"\x01\x16\x01x\x00"],
    &[OPEN, CHUNK, b"\x01\x09\x02br\x00"],
    &[OPEN, CHUNK, b"\x01\x0b\x00\x00"],
    // Numbers as tags and in the body, false starts in front.
    &[OPEN, b"\x57\x04btkn\x4f\x60\x00\x51"],
    &[b"\x00", OPEN, b"\x57\x04btkn\x00"],
    &[b"\x00\x63", OPEN, b"\x57\x04btkn\x00"],
    &[b"\x00\x63\x03ord\xac", OPEN, b"\x57\x04btkn\x00"],
    // What breaks it is an opcode: this one is no envelope.
    &[OPEN, b"\x57\x04btkn\x00\x75"],
    // A message, with an empty and with a garbage body.
    &[OPEN, CHUNK, b"\x00"],
    &[OPEN, CHUNK, b"\x00\x05junk!"],
];

fn tiny(noise: &mut Noise, script: &mut Vec<u8>) {
    TINY[noise.below(TINY.len())].iter().for_each(|part| script.extend_from_slice(part));
    script.push(CLOSE);
}

pub(super) fn tiny_envelopes(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    one_script(noise, weight, |noise, len| {
        let mut script = Vec::with_capacity(len);
        while script.len() + 100 < len {
            tiny(noise, &mut script);
        }
        script
    })
}

pub(super) fn tiny_envelopes_apart(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    fill(noise, weight, |noise| {
        let mut script = Vec::new();
        tiny(noise, &mut script);
        transaction(vec![reveal(noise, script)], vec![payment(1)])
    })
}

/// The most envelopes that fit, behind one that is a message.
pub(super) fn empty_envelopes(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    one_script(noise, weight, |_, len| {
        let mut script = [OPEN, CHUNK, b"\x00", &[CLOSE]].concat();
        let empty = [OPEN, &[CLOSE]].concat();
        for _ in 0..(len - script.len()) / empty.len() {
            script.extend_from_slice(&empty);
        }
        script
    })
}

/// A message whose body is as many pushes as fit.
pub(super) fn one_byte_pushes(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    one_script(noise, weight, |noise, len| {
        let mut script = [OPEN, CHUNK, b"\x00"].concat();
        while script.len() + 1 < len {
            script.push(0x51 + noise.below(16) as u8);
        }
        script.push(CLOSE);
        script
    })
}

/// A message with as many other fields as fit, no two alike.
pub(super) fn distinct_fields(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    one_script(noise, weight, |_, len| {
        let mut script = [OPEN, CHUNK].concat();
        for n in 0u32.. {
            if script.len() + 10 > len {
                break;
            }
            // Odd, so that nobody has to understand it.
            let [a, b, c, _] = (n << 1 | 1).to_le_bytes();
            script.extend_from_slice(&[3, a, b, c, 0x51]);
        }
        script.extend_from_slice(&[0, CLOSE]);
        script
    })
}
