//! The coins of the chain, and what ordinary people do with them.
//!
//! How often which kind of output, input and transaction occurs is roughly what mainnet block 951,658 has
//! (see fixtures/mainnet); inscriptions are more frequent here, as they are in other blocks.

use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, WitnessProgram};

use crate::coins::{spend, transaction};
use crate::inscribe::Envelope;
use crate::noise::Noise;

/// Part of the bytes of a block that are tapscripts with envelopes.
pub(super) const INSCRIBED_PERCENT: usize = 30;

/// What unlocks a coin. Each kind is as long as one of mainnet's, and can be spent by anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// As P2WPKH: a program of 20 bytes, spent with a signature and a key.
    Short,
    /// As P2TR and P2WSH: a program of 32 bytes, spent with whatever these are spent with.
    Long,
    /// As P2WPKH inside P2SH.
    Nested,
    /// As P2PKH: a script that drops a signature and a key.
    Legacy,
}

impl Kind {
    /// Of a coin with this script; `None` for scripts that payments do not spend.
    fn of(script: &[u8]) -> Option<Self> {
        match script {
            [0x52, 20, ..] => Some(Kind::Short),
            [0x52, 32, ..] => Some(Kind::Long),
            [0xa9, 20, ..] => Some(Kind::Nested),
            [0x6d, 20, ..] => Some(Kind::Legacy),
            _ => None,
        }
    }

    fn script(self, noise: &mut Noise) -> ScriptBuf {
        match self {
            Kind::Short => program(&noise.array::<20>()),
            Kind::Long => program(&noise.array::<32>()),
            Kind::Nested => ScriptBuf::new_p2sh(&nested().script_hash()),
            Kind::Legacy => {
                // OP_2DROP for signature and key, then the push that looks like the hash of a key; dropped
                // in turn, with a one left over.
                let hash = noise.array::<20>();
                ScriptBuf::from_bytes([&[0x6d, 20][..], &hash, &[0x75, 0x51, 0x61]].concat())
            }
        }
    }
}

fn program(bytes: &[u8]) -> ScriptBuf {
    let program = WitnessProgram::new(bitcoin::WitnessVersion::V2, bytes).expect("20 or 32 bytes");
    ScriptBuf::new_witness_program(&program)
}

/// The program inside every nested coin: one address, as that of an exchange.
fn nested() -> ScriptBuf {
    program(&[0x11; 20])
}

#[derive(Clone, Copy, Debug)]
struct Coin {
    outpoint: OutPoint,
    value: u64,
    kind: Kind,
}

/// Every coin that payments can spend.
#[derive(Default)]
pub(super) struct Coins(Vec<Coin>);

impl Coins {
    /// Makes the outputs of a transaction spendable.
    pub(super) fn absorb(&mut self, tx: &Transaction) {
        let txid = tx.compute_txid();
        let coins = (0..).zip(&tx.output).filter_map(|(vout, output)| {
            let kind = Kind::of(output.script_pubkey.as_bytes())?;
            Some(Coin { outpoint: OutPoint { txid, vout }, value: output.value.to_sat(), kind })
        });
        self.0.extend(coins);
    }

    /// An output of some kind.
    pub(super) fn output(&self, noise: &mut Noise, value: u64) -> TxOut {
        let kind = match noise.below(100) {
            0..60 => Kind::Short,
            60..86 => Kind::Long,
            86..93 => Kind::Nested,
            _ => Kind::Legacy,
        };
        TxOut { value: Amount::from_sat(value), script_pubkey: kind.script(noise) }
    }

    /// A transaction that begins with these outputs, from a coin that is worth them; the change is last.
    pub(super) fn pay(&mut self, noise: &mut Noise, mut outputs: Vec<TxOut>) -> Transaction {
        let amount = outputs.iter().map(|output| output.value.to_sat()).sum();
        let coin = self.take(noise, |coin| coin.value >= amount);
        outputs.push(self.output(noise, coin.value - amount));
        transaction(vec![input(noise, coin)], outputs)
    }

    /// A payment like most others.
    pub(super) fn payment(&mut self, noise: &mut Noise) -> Transaction {
        let (inputs, outputs) = match noise.below(1_000) {
            // Exchanges collect and pay out.
            0..4 => (10 + noise.below(60), 1),
            4..16 => (1, 10 + noise.below(60)),
            16..60 => (2 + noise.below(4), 2),
            60..120 => (1, 3 + noise.below(3)),
            120..400 => (1, 1),
            _ => (1, 2),
        };
        let coins: Vec<Coin> = (0..inputs).map(|_| self.take(noise, |_| true)).collect();
        let total: u64 = coins.iter().map(|coin| coin.value).sum();
        let share = total / outputs as u64;
        let mut made: Vec<TxOut> = (1..outputs).map(|_| self.output(noise, share)).collect();
        made.push(self.output(noise, total - share * (outputs as u64 - 1)));
        if noise.below(100) < 40 {
            let place = noise.below(made.len() + 1);
            made.insert(place, op_return(noise));
        }
        transaction(coins.into_iter().map(|coin| input(noise, coin)).collect(), made)
    }

    /// A transaction that reveals an inscription, and the length of its tapscript.
    pub(super) fn inscription(&mut self, noise: &mut Noise) -> (Transaction, usize) {
        let envelope = envelope(noise).script();
        let script = tapscript(noise, &envelope);
        let len = script.len();
        let tx = self.reveal(noise, script);
        (tx, len)
    }

    /// A transaction whose only input shows this tapscript.
    pub(super) fn reveal(&mut self, noise: &mut Noise, script: ScriptBuf) -> Transaction {
        let coin = self.take(noise, |coin| coin.kind == Kind::Long);
        let control = [&[0xc0][..], &noise.array::<32>()].concat();
        let witness = Witness::from_slice(&[noise.bytes(64), script.into_bytes(), control]);
        let input = TxIn { witness, ..spend(coin.outpoint, Sequence::ENABLE_RBF_NO_LOCKTIME) };
        let output = TxOut { value: Amount::from_sat(coin.value), script_pubkey: Kind::Long.script(noise) };
        transaction(vec![input], vec![output])
    }

    /// Takes a coin that will do, wherever it comes from.
    fn take(&mut self, noise: &mut Noise, will_do: impl Fn(&Coin) -> bool) -> Coin {
        let start = noise.below(self.0.len());
        let place = (start..self.0.len()).chain(0..start).find(|place| will_do(&self.0[*place]));
        self.0.swap_remove(place.expect("there are thousands of coins of every kind and value"))
    }
}

/// A script as inscriptions have it: a check of a signature, then the envelopes.
pub(super) fn tapscript(noise: &mut Noise, envelopes: &ScriptBuf) -> ScriptBuf {
    let check = [&[32][..], &noise.array::<32>(), &[0xac]].concat();
    ScriptBuf::from_bytes([&check, envelopes.as_bytes()].concat())
}

/// The input that spends a coin, with what its kind asks for.
fn input(noise: &mut Noise, coin: Coin) -> TxIn {
    let input = spend(coin.outpoint, Sequence::ENABLE_RBF_NO_LOCKTIME);
    let signature_and_key = |noise: &mut Noise| {
        let len = 71 + noise.below(2);
        [noise.bytes(len), noise.bytes(33)]
    };
    match coin.kind {
        Kind::Short => TxIn { witness: Witness::from_slice(&signature_and_key(noise)), ..input },
        Kind::Nested => {
            let script_sig = push(Builder::new(), nested().into_bytes()).into_script();
            TxIn { script_sig, witness: Witness::from_slice(&signature_and_key(noise)), ..input }
        }
        Kind::Legacy => {
            let script = signature_and_key(noise).into_iter().fold(Builder::new(), push);
            TxIn { script_sig: script.into_script(), ..input }
        }
        Kind::Long => {
            let witness = match noise.below(12) {
                // Two of three signatures, and the script with the keys.
                0 => vec![Vec::new(), noise.bytes(72), noise.bytes(71), noise.bytes(105)],
                _ => vec![noise.bytes(64)],
            };
            TxIn { witness: Witness::from_slice(&witness), ..input }
        }
    }
}

fn push(script: Builder, bytes: Vec<u8>) -> Builder {
    script.push_slice(PushBytesBuf::try_from(bytes).expect("less than 4 GiB"))
}

/// Mostly runestones, sometimes a longer text.
fn op_return(noise: &mut Noise) -> TxOut {
    let script = match noise.below(10) {
        0 => {
            let len = 20 + noise.below(60);
            push(Builder::new().push_opcode(bitcoin::opcodes::all::OP_RETURN), noise.bytes(len)).into_script()
        }
        _ => {
            let len = 6 + noise.below(16);
            let runestone = [&[0x6a, 0x5d, len as u8][..], &noise.bytes(len)].concat();
            ScriptBuf::from_bytes(runestone)
        }
    };
    TxOut { value: Amount::ZERO, script_pubkey: script }
}

/// An inscription that is none of ours: many short texts, some pages, a few pictures.
fn envelope(noise: &mut Noise) -> Envelope {
    if noise.below(30_000) == 0 {
        // What somebody writes about us.
        return Envelope::new("btkn is not BTKN").field(Envelope::METAPROTOCOL, "brc-20");
    }
    match noise.below(1_000) {
        0..700 => {
            let (ticker, amount) = (noise.below(10_000), noise.below(1_000_000));
            let text = format!(r#"{{"p":"brc-20","op":"transfer","tick":"t{ticker:04}","amt":"{amount}"}}"#);
            Envelope::new(text).field(Envelope::CONTENT_TYPE, "text/plain;charset=utf-8")
        }
        700..950 => {
            let len = 300 + noise.below(1_500);
            Envelope::new(noise.bytes(len)).field(Envelope::CONTENT_TYPE, "text/html;charset=utf-8")
        }
        _ => {
            let len = 2_000 + noise.below(10_000);
            Envelope::new(noise.bytes(len)).field(Envelope::CONTENT_TYPE, "image/webp")
        }
    }
}
