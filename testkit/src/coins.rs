//! The coins of the test kit and plain payments with them.

use std::collections::BTreeSet;

use bitcoin::absolute::LockTime;
use bitcoin::key::TapTweak;
use bitcoin::secp256k1::Keypair;
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::transaction::Version;
use bitcoin::{
    Address, Amount, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness,
};
use btkn_indexer::protocol::announcement::TokenAnnouncement;
use btkn_indexer::protocol::token::TokenMetadata;
use serde::Deserialize;
use serde_json::json;

use crate::keys::{SECP, keypair, sign};
use crate::regtest::Regtest;

/// What every transaction of the kit pays. The kit mines its own blocks, so the rate does not matter.
pub(crate) const FEE: Amount = Amount::from_sat(1_000);

/// An output that the kit can spend.
#[derive(Clone, Debug)]
struct Coin {
    outpoint: OutPoint,
    value: Amount,
    /// From this height on a block can spend it.
    spendable_from: u32,
}

/// The coins of the kit's key.
#[derive(Default)]
pub(crate) struct Purse {
    /// The unspent outputs of the best chain, oldest first; `None` when that may have changed.
    coins: Option<Vec<Coin>>,
    /// What went into a transaction stays reserved, also where a reorganisation frees it again, so that
    /// the transaction can be mined on another branch.
    used: BTreeSet<OutPoint>,
}

impl Purse {
    fn key() -> Keypair {
        keypair("purse")
    }

    pub(crate) fn address() -> Address {
        Address::p2tr(&SECP, Self::key().x_only_public_key().0, None, Network::Regtest)
    }

    pub(crate) fn script() -> ScriptBuf {
        Self::address().script_pubkey()
    }

    /// Called whenever the best chain changes.
    pub(crate) fn forget(&mut self) {
        self.coins = None;
    }
}

#[derive(Deserialize)]
struct Scan {
    unspents: Vec<Unspent>,
}

#[derive(Deserialize)]
struct Unspent {
    txid: Txid,
    vout: u32,
    amount: f64,
    #[serde(default)]
    coinbase: bool,
    height: u32,
}

impl Regtest {
    fn coins(&mut self) -> Vec<Coin> {
        if let Some(coins) = &self.purse.coins {
            return coins.clone();
        }
        let descriptor = format!("addr({})", Purse::address());
        let scan: Scan = self.rpc("scantxoutset", &[json!("start"), json!([descriptor])]);
        let mut coins: Vec<(u32, Coin)> = scan
            .unspents
            .into_iter()
            .map(|unspent| {
                let coin = Coin {
                    outpoint: OutPoint::new(unspent.txid, unspent.vout),
                    value: Amount::from_btc(unspent.amount).expect("the node knows amounts"),
                    spendable_from: if unspent.coinbase { unspent.height + 100 } else { 0 },
                };
                (unspent.height, coin)
            })
            .collect();
        coins.sort_by_key(|(height, coin)| (*height, coin.outpoint));
        let coins: Vec<Coin> = coins.into_iter().map(|(_, coin)| coin).collect();
        self.purse.coins = Some(coins.clone());
        coins
    }

    /// Takes coins for at least `amount` that no transaction of the kit has used.
    fn take(&mut self, amount: Amount) -> Vec<Coin> {
        let next = self.height().0 + 1;
        let mut taken = Vec::new();
        let mut sum = Amount::ZERO;
        for coin in self.coins() {
            if sum >= amount {
                break;
            }
            if coin.spendable_from <= next && !self.purse.used.contains(&coin.outpoint) {
                sum += coin.value;
                taken.push(coin);
            }
        }
        assert!(sum >= amount, "out of coins at height {}: mine what was made, or more blocks", next - 1);
        self.purse.used.extend(taken.iter().map(|coin| coin.outpoint));
        taken
    }

    /// A signed transaction with these outputs, from coins of the kit; the last output is the change.
    pub fn pay(&mut self, mut outputs: Vec<TxOut>) -> Transaction {
        let amount: Amount = outputs.iter().map(|output| output.value).sum();
        let coins = self.take(amount + FEE);
        let sum: Amount = coins.iter().map(|coin| coin.value).sum();
        outputs.push(TxOut { value: sum - amount - FEE, script_pubkey: Purse::script() });
        let inputs = coins.iter().map(|coin| spend(coin.outpoint, Sequence::MAX)).collect();
        let mut tx = transaction(inputs, outputs);
        let prevouts: Vec<TxOut> =
            coins.iter().map(|coin| TxOut { value: coin.value, script_pubkey: Purse::script() }).collect();
        let key = Purse::key().tap_tweak(&SECP, None).to_keypair();
        for input in 0..tx.input.len() {
            let hash = SighashCache::new(&tx)
                .taproot_key_spend_signature_hash(input, &Prevouts::All(&prevouts), TapSighashType::Default)
                .expect("the input exists");
            tx.input[input].witness.push(sign(&key, *hash.as_ref()).0);
        }
        tx
    }

    /// A transaction that turns coins of the kit into `count` coins of 0.2 BTC each and the change.
    pub fn split(&mut self, count: usize) -> Transaction {
        self.pay(vec![TxOut { value: Amount::from_sat(20_000_000), script_pubkey: Purse::script() }; count])
    }

    /// A transaction with these scripts as its first outputs, each of value zero.
    pub fn op_return(&mut self, scripts: &[ScriptBuf]) -> Transaction {
        let output = |script: &ScriptBuf| TxOut { value: Amount::ZERO, script_pubkey: script.clone() };
        self.pay(scripts.iter().map(output).collect())
    }

    /// A transaction that announces a token; the announcement is output 0.
    pub fn announce(&mut self, metadata: &TokenMetadata) -> Transaction {
        self.op_return(&[TokenAnnouncement { metadata: metadata.clone() }.script()])
    }
}

pub(crate) fn spend(outpoint: OutPoint, sequence: Sequence) -> TxIn {
    TxIn { previous_output: outpoint, script_sig: ScriptBuf::new(), sequence, witness: Witness::new() }
}

pub(crate) fn transaction(input: Vec<TxIn>, output: Vec<TxOut>) -> Transaction {
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output }
}
