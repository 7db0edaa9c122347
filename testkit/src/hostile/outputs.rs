//! Outputs, inputs without witnesses, and the ordinary block.

use bitcoin::secp256k1::constants::GENERATOR_X;
use bitcoin::{ScriptBuf, Transaction, TxIn, TxOut, Witness};
use btkn_indexer::protocol::announcement::TokenAnnouncement;
use btkn_indexer::protocol::op_return::{TOKEN_HEADER, WITHDRAWAL_HEADER};
use btkn_indexer::protocol::withdrawal::{WithdrawalAnnouncement, WithdrawalRecord};
use btkn_indexer::protocol::{PubKey, Signature, SparkOutPoint, SparkTxHash};

use super::{Scene, fill, input, names, output, payment, push, reveal, transaction};
use crate::keys::pubkey;
use crate::noise::Noise;
use crate::spark::Token;

/// Most records of an announcement.
const RECORDS: usize = 255;

/// Outputs in a transaction that has many.
const MANY: usize = 2_000;

pub(super) fn ordinary(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    fill(noise, weight, |noise| {
        let input = if noise.below(10) == 0 {
            let mut script = b"\x00\x63\x03ord\x01\x01\x09image/png\x00".to_vec();
            noise.bytes(4_000).chunks(520).for_each(|part| push(&mut script, part));
            script.push(0x68);
            reveal(noise, script)
        } else {
            let witness = Witness::from_slice(&[noise.bytes(72), noise.bytes(33)]);
            TxIn { witness, ..input(noise) }
        };
        let taproot = |noise: &mut Noise| [&[0x51, 0x20][..], &noise.array::<32>()].concat();
        let outputs = (0..2).map(|n| output(10_000 + n, taproot(noise))).collect();
        transaction(vec![input], outputs)
    })
}

/// Transactions that have up to [`MANY`] outputs each.
fn of_outputs(
    noise: &mut Noise,
    weight: usize,
    mut make: impl FnMut(&mut Noise) -> TxOut,
) -> Vec<Transaction> {
    let (mut txs, mut left) = (Vec::new(), weight);
    loop {
        let mut outputs = Vec::new();
        let mut used = 300;
        while outputs.len() < MANY {
            let made = make(noise);
            let weight = made.weight().to_wu() as usize;
            if used + weight > left {
                break;
            }
            used += weight;
            outputs.push(made);
        }
        if outputs.is_empty() {
            return txs;
        }
        left -= used;
        txs.push(transaction(vec![input(noise)], outputs));
    }
}

/// Scripts that begin like a message and are none.
pub(super) fn near_misses(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    of_outputs(noise, weight, |noise| {
        let script: &[u8] = noise.pick(&[
            // Kinds that do not exist, in full and cut off.
            &b"\x6a\x06BTKN\x00\x05"[..],
            b"\x6a\x06BTKN\x04\x00",
            b"\x6a\x05BTKN\x00",
            b"\x6a\x04BTKN",
            b"\x6a\x07LRC20\x00\x07",
            b"\x6a\x07LRC20\x01\x00",
            b"\x6a\x06LRC20\x00",
            b"\x6a\x05LRC20",
            // Other letters.
            b"\x6a\x06btkn\x00\x04",
            b"\x6a\x07lrc20\x00\x00",
            // Longer headers than needed, of something that is no message.
            b"\x6a\x4c\x06BTKN\x00\x05",
            b"\x6a\x4d\x04\x00BTKN",
            b"\x6a\x4e\x05\x00\x00\x00LRC20",
            // The right header, but not in the only push, or in a push of another length.
            b"\x6a\x06BTKN\x00\x04\x00",
            b"\x6a\x06BTKN\x00\x04\x06BTKN\x00\x04",
            b"\x6a\x00\x06BTKN\x00\x04",
            b"\x6a\x07BTKN\x00\x04",
            b"\x6a\x4c\x07BTKN\x00\x04",
            b"\x6a\x4d\xff\xffBTKN\x00\x04",
            b"\x6a\x4e\xff\xff\xff\xffLRC20\x00\x00",
            b"\x06BTKN\x00\x04",
            b"\x6a\x6a\x06BTKN\x00\x04",
        ]);
        output(0, script)
    })
}

/// Messages of every kind that set out well and go wrong, and those of the older protocol.
pub(super) fn malformed(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    of_outputs(noise, weight, |noise| {
        let mut payload = noise.pick(&[TOKEN_HEADER, WITHDRAWAL_HEADER, b"LRC20\x00\x03"]).to_vec();
        if noise.below(4) == 0 {
            let len = noise.below(160);
            payload.extend(noise.bytes(len));
        }
        let mut script = vec![0x6a];
        push(&mut script, &payload);
        output(0, script)
    })
}

pub(super) fn script_sigs(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    fill(noise, weight, |noise| {
        let script_sig = ScriptBuf::from_bytes(names(noise, 1_500));
        transaction(vec![TxIn { script_sig, ..input(noise) }], vec![payment(1)])
    })
}

/// The last input names the metaprotocol, so that the whole transaction has to be read.
pub(super) fn many_inputs(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    let count = (weight - 1_000) / (41 * 4 + 1);
    let mut inputs: Vec<TxIn> = (0..count).map(|_| input(noise)).collect();
    inputs.push(reveal(noise, b"\x04btkn".to_vec()));
    vec![transaction(inputs, vec![payment(1)])]
}

/// The last output is a message, so that the whole transaction has to be read.
pub(super) fn many_outputs(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    let count = (weight - 1_000) / (9 * 4);
    let mut outputs: Vec<TxOut> = (0..count).map(|n| payment(n as u64)).collect();
    outputs.push(output(0, &b"\x6a\x06BTKN\x00\x04"[..]));
    vec![transaction(vec![input(noise)], outputs)]
}

fn withdrawal(entity: PubKey, records: Vec<WithdrawalRecord>) -> TxOut {
    let announcement = WithdrawalAnnouncement { entity, owner_signature: Signature([5; 64]), records };
    output(0, announcement.script().into_bytes())
}

fn record(noise: &mut Noise, bitcoin_vout: usize) -> WithdrawalRecord {
    let ttxo = SparkOutPoint { tx_hash: SparkTxHash(noise.array()), vout: 0 };
    WithdrawalRecord { bitcoin_vout: bitcoin_vout as u16, ttxo }
}

pub(super) fn foreign_withdrawals(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    let mut generator = [2; 33];
    generator[1..].copy_from_slice(&GENERATOR_X);
    of_outputs(noise, weight, |noise| {
        let records = if noise.below(2) == 0 { 1 } else { 1 + noise.below(RECORDS) };
        withdrawal(PubKey(generator), (0..records).map(|vout| record(noise, vout)).collect())
    })
}

/// As many records as a block can hold, each with an output that exists.
pub(super) fn undeclared_withdrawals(scene: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    let room = weight.saturating_sub(500) / 4;
    let records = RECORDS.min(room / 60);
    let mut outputs: Vec<TxOut> = (0..records).map(|_| payment(10_000)).collect();
    let len = 125 + records * WithdrawalRecord::LEN;
    for _ in 0..(room - records * 9) / len {
        outputs.push(withdrawal(scene.spark.key(), (0..records).map(|vout| record(noise, vout)).collect()));
    }
    vec![transaction(vec![input(noise)], outputs)]
}

/// Each names another declared TTXO and the same output, whose value is too low.
pub(super) fn one_output_named(scene: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    let mut outputs = vec![payment(1)];
    let mut left = weight - 500;
    for ttxo in scene.ttxos.iter().cycle() {
        let made =
            withdrawal(scene.spark.key(), vec![WithdrawalRecord { bitcoin_vout: 0, ttxo: ttxo.outpoint }]);
        let Some(rest) = left.checked_sub(made.weight().to_wu() as usize) else { break };
        left = rest;
        outputs.push(made);
    }
    vec![transaction(vec![input(noise)], outputs)]
}

/// One a transaction, which is as many as count.
pub(super) fn tokens(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    let issuer = pubkey("issuer");
    fill(noise, weight, |noise| {
        let name: String = noise.bytes(10).iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        let mut metadata = Token::new(&name, "TIC").metadata().clone();
        metadata.issuer = issuer;
        let announcement = TokenAnnouncement { metadata };
        transaction(vec![input(noise)], vec![output(0, announcement.script().into_bytes())])
    })
}
