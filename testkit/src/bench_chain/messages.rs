//! What BTKN has to say in the chain: an entity that publishes, holders who leave, operators who object.

use std::collections::VecDeque;

use bitcoin::{Amount, ScriptBuf, Transaction, TxOut};
use btkn_indexer::chain::BlockId;
use btkn_indexer::protocol::announcement::TokenAnnouncement;
use btkn_indexer::protocol::ttxo::Ttxo;
use btkn_indexer::protocol::withdrawal::{WithdrawalAnnouncement, WithdrawalRecord};
use btkn_indexer::protocol::{PubKey, Signature, SparkOutPoint, SparkTxHash, TokenId};

use super::payments::{Coins, tapscript};
use crate::noise::Noise;
use crate::snapshot::Snapshot;
use crate::spark::{Spark, Token};
use crate::withdraw::{BondSpend, Draft, Exit, Withdrawal, spend_bonds};

/// Most records of an announcement.
pub(super) const RECORDS: usize = 255;

/// Value of an output that is there to be watched, in satoshis.
const WATCHED_VALUE: u64 = 330;

/// Blocks of traffic after which everything below is said once more. What is said takes the first fifth of
/// them: most blocks hold nothing that matters, as on mainnet.
const ROUND: u32 = 200;

/// Exits that are announced together.
const TOGETHER: usize = 3;

/// The entity and its holders.
pub(super) struct Operators {
    spark: Spark,
    token: TokenId,
    /// TTXOs that can still leave.
    held: VecDeque<Ttxo>,
    /// Exits on which the last word is not said, with the number of the block that announced them.
    open: VecDeque<(u32, Withdrawal)>,
    /// TTXOs of the first snapshot.
    size: usize,
    announced: u64,
}

impl Operators {
    /// An entity whose messages fit into blocks of this weight.
    pub(super) fn new(weight: usize) -> Self {
        let mut spark = Spark::new("operators");
        let token = spark.issue(&Token::new("Measure", "MEAS").decimals(6));
        let (held, open) = (VecDeque::new(), VecDeque::new());
        Operators { spark, token, held, open, size: weight / 1_500, announced: 0 }
    }

    pub(super) fn key(&self) -> PubKey {
        self.spark.key()
    }

    /// Outputs that have to be watched, and the withdrawal that names them. Its TTXOs are never declared,
    /// so that it is never judged.
    pub(super) fn unresolved(&self, noise: &mut Noise, records: usize) -> Vec<TxOut> {
        let records: Vec<WithdrawalRecord> = (0..records as u16)
            .map(|bitcoin_vout| {
                let ttxo = SparkOutPoint { tx_hash: SparkTxHash(noise.array()), vout: 0 };
                WithdrawalRecord { bitcoin_vout, ttxo }
            })
            .collect();
        let bond = |noise: &mut Noise| TxOut {
            value: Amount::from_sat(WATCHED_VALUE),
            script_pubkey: ScriptBuf::from_bytes([&[0x51, 0x20][..], &noise.array::<32>()].concat()),
        };
        let mut outputs: Vec<TxOut> = records.iter().map(|_| bond(noise)).collect();
        let owner_signature = Signature(noise.array());
        let announcement = WithdrawalAnnouncement { entity: self.key(), owner_signature, records };
        outputs.push(silent(announcement.script()));
        outputs
    }

    /// The messages of a block of traffic, in the order in which they have to stand in it.
    pub(super) fn speak(
        &mut self,
        noise: &mut Noise,
        coins: &mut Coins,
        number: u32,
        anchor: BlockId,
    ) -> Vec<Transaction> {
        let mut txs = Vec::new();
        match number % ROUND {
            2 | 22 => txs.push(coins.pay(noise, vec![self.announcement()])),
            4 => txs.push(self.snapshot(noise, coins, number == 4, anchor)),
            10 | 20 | 30 => txs.push(self.withdraw(noise, coins, number)),
            24 => txs.push(self.snapshot(noise, coins, false, anchor)),
            _ => {}
        }
        txs.extend(self.spend_bonds(noise, coins, number));
        txs
    }

    fn announcement(&mut self) -> TxOut {
        self.announced += 1;
        let token = Token::new(&format!("Token {}", self.announced), "TOK");
        silent(TokenAnnouncement { metadata: token.metadata().clone() }.script())
    }

    /// A full snapshot first, later a delta with a twentieth as many TTXOs.
    fn snapshot(&mut self, noise: &mut Noise, coins: &mut Coins, full: bool, anchor: BlockId) -> Transaction {
        let count = if full { self.size } else { self.size / 20 };
        for _ in 0..count {
            let owner = format!("holder {}", noise.below(100));
            let ttxo = self.spark.mint(self.token, &owner, 1 + noise.below(1 << 40) as u128);
            self.held.push_back(ttxo);
        }
        let snapshot = if full { self.spark.full(anchor) } else { self.spark.delta(anchor) };
        let script = tapscript(noise, &envelopes(&snapshot));
        coins.reveal(noise, script)
    }

    /// TTXOs of one holder leave together.
    fn withdraw(&mut self, noise: &mut Noise, coins: &mut Coins, number: u32) -> Transaction {
        let owner = self.held.front().expect("the first snapshot came before the first exit").owner;
        let (leaving, staying): (Vec<Ttxo>, _) = self.held.drain(..).partition(|ttxo| ttxo.owner == owner);
        let (leaving, rest) = leaving.split_at(TOGETHER.min(leaving.len()));
        self.held = staying.into();
        self.held.extend(rest);
        let exits: Vec<Exit> = leaving.iter().map(Exit::of).collect();
        let mut draft = Draft::new(&self.spark, &exits, &[]);
        let tx = coins.pay(noise, std::mem::take(&mut draft.outputs));
        self.open.push_back((number, draft.within(tx.clone())));
        tx
    }

    /// Of the exits that can be claimed now, the first is; a second was revoked before; others stay.
    fn spend_bonds(&mut self, noise: &mut Noise, coins: &mut Coins, number: u32) -> Vec<Transaction> {
        let locktime = self.spark.locktime as u32;
        let mut txs = Vec::new();
        for (announced, withdrawal) in &self.open {
            let how = match number - announced {
                3 if withdrawal.ttxos.len() > 1 => (1, BondSpend::Justice),
                age if age == locktime + 1 => (0, BondSpend::Claim),
                _ => continue,
            };
            let to = coins.output(noise, 0).script_pubkey;
            txs.push(spend_bonds(&[(withdrawal, how.0, how.1)], to));
        }
        self.open.retain(|(announced, _)| number - announced <= locktime);
        txs
    }
}

/// All envelopes of a snapshot, one after the other.
fn envelopes(snapshot: &Snapshot) -> ScriptBuf {
    let scripts = snapshot.envelopes().iter().flat_map(|envelope| envelope.script().into_bytes()).collect();
    ScriptBuf::from_bytes(scripts)
}

fn silent(script: ScriptBuf) -> TxOut {
    TxOut { value: Amount::ZERO, script_pubkey: script }
}
