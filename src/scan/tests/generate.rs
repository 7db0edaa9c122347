//! Random chains: a plan is drawn first, then built, since spends need the txids of what came before.

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::constants::GENERATOR_X;
use bitcoin::{
    Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness, absolute, transaction,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Chain, WatchSet};
use crate::protocol::op_return::{TOKEN_HEADER, WITHDRAWAL_HEADER};
use crate::protocol::withdrawal::{WithdrawalAnnouncement, WithdrawalRecord};
use crate::protocol::{PubKey, Signature, SparkOutPoint, SparkTxHash};

/// Blocks of transactions.
pub type Plan = Vec<Vec<TxPlan>>;

#[derive(Clone, Debug)]
pub struct TxPlan {
    inputs: Vec<(Prevout, Vec<Vec<u8>>)>,
    outputs: Vec<Vec<u8>>,
}

/// What an input spends.
#[derive(Clone, Debug)]
enum Prevout {
    /// One of a few outpoints from before the chain; half of them are watched.
    Foreign(u8),
    /// An output of an earlier transaction, counted back from here.
    Earlier { back: usize, vout: u32 },
}

/// How bytes are pushed; `Short` falls back to `Data2` above 75 bytes.
#[derive(Clone, Copy, Debug)]
enum Push {
    Short,
    Data1,
    Data2,
    Data4,
}

pub fn plan() -> impl Strategy<Value = Plan> {
    vec(vec(tx(), 0..6), 1..6)
}

/// The blocks of a plan, and the outputs watched from the start.
pub fn chain(plan: &Plan) -> (Chain, WatchSet) {
    let mut txids: Vec<Txid> = Vec::new();
    let mut blocks = Vec::new();
    for planned in plan {
        let mut txs: Vec<Transaction> = Vec::new();
        for planned in planned {
            let tx = build(planned, &txids, txids.len() as u32);
            txids.push(tx.compute_txid());
            txs.push(tx);
        }
        blocks.push(txs);
    }
    (Chain::of(blocks), (0..4).map(foreign).collect())
}

/// A coinbase whose second output has room for the witness commitment.
pub fn coinbase(height: u32) -> Transaction {
    let mut script_sig = height.to_le_bytes().to_vec();
    script_sig.insert(0, 4);
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: ScriptBuf::from_bytes(script_sig),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[0u8; 32]]),
        }],
        output: vec![TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new() }; 2],
    }
}

fn foreign(n: u8) -> OutPoint {
    OutPoint { txid: Txid::hash(&[n]), vout: u32::from(n % 2) }
}

fn build(plan: &TxPlan, earlier: &[Txid], unique: u32) -> Transaction {
    let input = plan.inputs.iter().map(|(prevout, witness)| {
        let previous_output = match *prevout {
            Prevout::Earlier { back, vout } if back < earlier.len() => {
                OutPoint { txid: earlier[earlier.len() - 1 - back], vout }
            }
            Prevout::Earlier { .. } => foreign(7),
            Prevout::Foreign(n) => foreign(n),
        };
        TxIn { previous_output, witness: Witness::from_slice(witness), ..Default::default() }
    });
    let output = plan.outputs.iter().zip(1u64..);
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::from_consensus(unique),
        input: input.collect(),
        output: output
            .map(|(script, value)| TxOut {
                value: Amount::from_sat(value),
                script_pubkey: ScriptBuf::from_bytes(script.clone()),
            })
            .collect(),
    }
}

fn tx() -> impl Strategy<Value = TxPlan> {
    let prevout = prop_oneof![
        (0u8..8).prop_map(Prevout::Foreign),
        (0usize..4, 0u32..3).prop_map(|(back, vout)| Prevout::Earlier { back, vout }),
    ];
    (vec((prevout, witness()), 1..4), vec(output_script(), 1..4))
        .prop_map(|(inputs, outputs)| TxPlan { inputs, outputs })
}

fn witness() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let signature = vec![0xab; 64];
    let reveal = (tapscript(), any::<bool>(), any::<bool>()).prop_map(|(script, signed, annex)| {
        let mut stack = if signed { vec![vec![0xcd; 64]] } else { vec![] };
        stack.push(script);
        stack.push(vec![0xc0; 33]);
        stack.extend(annex.then(|| vec![0x50, 1]));
        stack
    });
    prop_oneof![
        1 => Just(vec![]),
        1 => Just(vec![signature.clone()]),
        1 => Just(vec![signature, vec![0x50]]),
        // Where the name is, is not where it counts.
        1 => Just(vec![b"btkn".to_vec()]),
        4 => reveal,
    ]
}

/// Envelopes and near misses among other things.
fn tapscript() -> impl Strategy<Value = Vec<u8>> {
    let other = select(vec![
        vec![],
        vec![0xac],
        vec![0x00],
        vec![0x00, 0x63],
        b"\x04btkn".to_vec(),
        b"\x00\x63\x03ord".to_vec(),
        // A push that the script ends within: an error that voids the envelopes of this input.
        vec![0x4c, 0xff, 1],
    ]);
    vec(prop_oneof![6 => envelope(), 1 => other], 1..4).prop_map(|parts| parts.concat())
}

fn envelope() -> impl Strategy<Value = Vec<u8>> {
    let kind = select(vec!["manifest", "chunk", "chunk", "chunky"]);
    let content_type = kind.prop_map(|kind| format!("application/vnd.btkn.{kind}+cbor").into_bytes());
    let name = prop_oneof![
        8 => Just(b"btkn".to_vec()),
        1 => select(vec![b"btkN".to_vec(), b"btknx".to_vec(), b"btk".to_vec(), vec![]]),
    ];
    let protocol = prop_oneof![9 => Just(b"ord".to_vec()), 1 => Just(b"orD".to_vec())];
    let extra = prop_oneof![
        6 => Just(vec![]),
        // Unknown odd, unknown even, encoding, delegate, a second metaprotocol, a key without value.
        3 => select(vec![
            b"\x01\x0d\x01x".to_vec(),
            b"\x01\x0c\x01x".to_vec(),
            b"\x01\x09\x02br".to_vec(),
            b"\x5b\x00".to_vec(),
            b"\x57\x04btkn".to_vec(),
            b"\x01\x0f".to_vec(),
        ]),
    ];
    let body = vec((push(), vec(any::<u8>(), 0..90)), 0..3);
    let body = prop_oneof![9 => body.prop_map(Some), 1 => Just(None)];
    let ending = prop_oneof![9 => Just(vec![0x68]), 1 => Just(vec![])];
    let fields = (field(1, content_type), field(7, name), any::<bool>(), extra);
    ((push(), protocol), fields, body, ending).prop_map(|(protocol, fields, body, ending)| {
        let (content_type, name, name_first, extra) = fields;
        let mut script = vec![0x00, 0x63];
        script.extend(pushed(protocol.0, &protocol.1));
        let fields = if name_first { [name, content_type] } else { [content_type, name] };
        script.extend(fields.concat());
        script.extend(extra);
        if let Some(parts) = body {
            script.push(0);
            script.extend(parts.iter().flat_map(|(push, part)| pushed(*push, part)));
        }
        script.extend(ending);
        script
    })
}

/// A field, its key as a push of some form or as a number opcode.
fn field(key: u8, value: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let key = prop_oneof![
        push().prop_map(move |push| pushed(push, &[key])),
        // OP_1 is 0x51.
        Just(vec![0x50 + key]),
    ];
    (key, push(), value).prop_map(|(key, push, value)| [key, pushed(push, &value)].concat())
}

fn push() -> impl Strategy<Value = Push> {
    select(vec![Push::Short, Push::Short, Push::Data1, Push::Data2, Push::Data4])
}

fn pushed(push: Push, data: &[u8]) -> Vec<u8> {
    let len = data.len();
    let mut script = match push {
        Push::Short if len <= 75 => vec![len as u8],
        Push::Data1 if len <= 255 => vec![0x4c, len as u8],
        Push::Data4 => [&[0x4e][..], &(len as u32).to_le_bytes()].concat(),
        _ => [&[0x4d][..], &(len as u16).to_le_bytes()].concat(),
    };
    script.extend_from_slice(data);
    script
}

/// Messages, near misses and ordinary scripts.
fn output_script() -> impl Strategy<Value = Vec<u8>> {
    let taproot = [&[0x51, 0x20][..], &[7; 32]].concat();
    let ordinary = select(vec![vec![], vec![0x6a], vec![0x51], taproot.clone(), taproot]);
    let after = prop_oneof![9 => Just(vec![]), 1 => Just(vec![0x00])];
    let first = prop_oneof![12 => Just(0x6au8), 1 => Just(0x00)];
    let message = (first, push(), payload(), after)
        .prop_map(|(first, push, payload, after)| [vec![first], pushed(push, &payload), after].concat());
    prop_oneof![2 => ordinary, 3 => message]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let key = generator();
    let token = [TOKEN_HEADER, &key.0, b"\x04Name\x03TIC\x06", &[0; 16], &[0]].concat();
    let records = vec(0u16..4, 1..4);
    let withdrawal = records.prop_map(move |vouts| {
        let record = |vout| {
            let ttxo = SparkOutPoint { tx_hash: SparkTxHash([9; 32]), vout: u32::from(vout) };
            WithdrawalRecord { bitcoin_vout: vout, ttxo }
        };
        let announcement = WithdrawalAnnouncement {
            entity: key,
            owner_signature: Signature([5; 64]),
            records: vouts.into_iter().map(record).collect(),
        };
        [WITHDRAWAL_HEADER, &announcement.encode()].concat()
    });
    let cut = token.clone();
    prop_oneof![
        2 => Just(token),
        4 => withdrawal,
        1 => (0..cut.len()).prop_map(move |len| cut[..len].to_vec()),
        1 => (0u8..9).prop_map(|kind| [b"LRC20\x00", &[kind][..], b"rest"].concat()),
        1 => select(vec![b"BTKN\x00\x05x".to_vec(), b"BTKN\x00\x04x".to_vec(), b"btkn".to_vec()]),
    ]
}

/// A point of the curve.
fn generator() -> PubKey {
    let mut key = [2; 33];
    key[1..].copy_from_slice(&GENERATOR_X);
    PubKey(key)
}
