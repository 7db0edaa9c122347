//! Withdrawals from Spark to L1, and the two ways to spend their bonds.

use bitcoin::key::TapTweak;
use bitcoin::secp256k1::Keypair;
use bitcoin::sighash::{Annex, Prevouts, SighashCache, TapSighashType};
use bitcoin::taproot::{LeafVersion, TapLeafHash, TapNodeHash};
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxOut};
use btkn_indexer::protocol::Signature;
use btkn_indexer::protocol::ttxo::Ttxo;
use btkn_indexer::protocol::withdrawal::{WithdrawalAnnouncement, WithdrawalRecord, owner_message};
use btkn_indexer::protocol::withdrawal_output::{control_block, leaf_script, script_pubkey};

use crate::coins::{Purse, spend, transaction};
use crate::keys::{SECP, sign};
use crate::regtest::Regtest;
use crate::spark::{Spark, revocation_key};

/// What a bond loses to the fee when it is spent.
const BOND_FEE: Amount = Amount::from_sat(200);

/// One record of a withdrawal and the output that carries its bond. [`Exit::of`] makes a correct one.
#[derive(Clone, Debug)]
pub struct Exit {
    ttxo: Ttxo,
    value: u64,
    script: ScriptBuf,
    vout: Option<u16>,
}

impl Exit {
    /// The exit of a token output, with the bond that it asks for.
    pub fn of(ttxo: &Ttxo) -> Self {
        let script = script_pubkey(&ttxo.revocation, ttxo.locktime, &ttxo.owner)
            .expect("revocation keys of the kit are on the curve");
        Exit { ttxo: *ttxo, value: ttxo.bond, script, vout: None }
    }

    /// Puts another value into the bond's output, in satoshis.
    pub fn value(mut self, satoshis: u64) -> Self {
        self.value = satoshis;
        self
    }

    /// Puts another script into the bond's output.
    pub fn script(mut self, script: ScriptBuf) -> Self {
        self.script = script;
        self
    }

    /// Lets the record name another output of the transaction.
    pub fn vout(mut self, vout: u16) -> Self {
        self.vout = Some(vout);
        self
    }
}

/// A transaction that announces exits: the bonds are its first outputs, then comes the announcement.
#[derive(Clone, Debug)]
pub struct Withdrawal {
    /// The transaction.
    pub tx: Transaction,
    /// The token outputs, one per record.
    pub ttxos: Vec<Ttxo>,
    /// What was announced.
    pub announcement: WithdrawalAnnouncement,
    holders: Vec<Option<Keypair>>,
}

impl Withdrawal {
    /// Index of the announcing output.
    pub fn announcing_vout(&self) -> u32 {
        self.ttxos.len() as u32
    }

    /// The L1 output that a record names.
    pub fn outpoint(&self, record: usize) -> OutPoint {
        let vout = self.announcement.records[record].bitcoin_vout;
        OutPoint::new(self.tx.compute_txid(), vout.into())
    }

    /// The exit's name in event lines: `<txid>:<announcing output>:<record>`.
    pub fn exit_id(&self, record: usize) -> String {
        format!("{}:{}:{record}", self.tx.compute_txid(), self.announcing_vout())
    }

    fn bond(&self, record: usize) -> TxOut {
        let vout = usize::from(self.announcement.records[record].bitcoin_vout);
        self.tx.output.get(vout).expect("the record names an output of the transaction").clone()
    }
}

/// The outputs of a withdrawal whose transaction is yet to be made.
pub(crate) struct Draft {
    /// They have to be the first ones of the transaction.
    pub(crate) outputs: Vec<TxOut>,
    ttxos: Vec<Ttxo>,
    announcement: WithdrawalAnnouncement,
    holders: Vec<Option<Keypair>>,
}

impl Draft {
    /// The bonds of these exits, their announcement, and `more` scripts of value zero.
    pub(crate) fn new(spark: &Spark, exits: &[Exit], more: &[ScriptBuf]) -> Self {
        let announcement = spark.announcement(exits);
        let mut outputs: Vec<TxOut> = exits
            .iter()
            .map(|exit| TxOut { value: Amount::from_sat(exit.value), script_pubkey: exit.script.clone() })
            .collect();
        let silent = |script: &ScriptBuf| TxOut { value: Amount::ZERO, script_pubkey: script.clone() };
        outputs.push(silent(&announcement.script()));
        outputs.extend(more.iter().map(silent));
        let ttxos: Vec<Ttxo> = exits.iter().map(|exit| exit.ttxo).collect();
        let holders = ttxos.iter().map(|ttxo| spark.holder(&ttxo.owner)).collect();
        Draft { outputs, ttxos, announcement, holders }
    }

    /// The withdrawal, in the transaction that begins with its outputs.
    pub(crate) fn within(self, tx: Transaction) -> Withdrawal {
        let Draft { ttxos, announcement, holders, .. } = self;
        Withdrawal { tx, ttxos, announcement, holders }
    }
}

impl Spark {
    /// The announcement of these exits: the record of exit `n` names output `n` unless it was told
    /// otherwise. The owner of the first one signs over withdrawal signatures of the entity.
    pub fn announcement(&self, exits: &[Exit]) -> WithdrawalAnnouncement {
        let records: Vec<WithdrawalRecord> = (0..)
            .zip(exits)
            .map(|(index, exit)| WithdrawalRecord {
                bitcoin_vout: exit.vout.unwrap_or(index),
                ttxo: exit.ttxo.outpoint,
            })
            .collect();
        let entity_signatures: Vec<Signature> =
            exits.iter().map(|exit| sign(&self.keypair(), exit.ttxo.leaf().0)).collect();
        let owner_signature = match exits.first().and_then(|exit| self.holder(&exit.ttxo.owner)) {
            Some(owner) => sign(&owner, owner_message(&entity_signatures)),
            None => Signature([0; 64]),
        };
        WithdrawalAnnouncement { entity: self.key(), owner_signature, records }
    }
}

/// Who takes a bond, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BondSpend {
    /// By the key path: the operators revoke the exit.
    Justice,
    /// The same with an annex in the witness.
    JusticeWithAnnex,
    /// By the script path, once the locktime has passed: the owner claims.
    Claim,
}

impl Regtest {
    /// A withdrawal from `spark` with these records.
    pub fn withdraw(&mut self, spark: &Spark, exits: &[Exit]) -> Withdrawal {
        self.withdraw_with(spark, exits, &[])
    }

    /// The same with more output scripts of value zero behind the announcement, such as another
    /// announcement (see [`Spark::announcement`]) that names the same bonds.
    pub fn withdraw_with(&mut self, spark: &Spark, exits: &[Exit], more: &[ScriptBuf]) -> Withdrawal {
        let mut draft = Draft::new(spark, exits, more);
        let tx = self.pay(std::mem::take(&mut draft.outputs));
        draft.within(tx)
    }

    /// The transaction with which the operators revoke an exit.
    pub fn justice(&self, withdrawal: &Withdrawal, record: usize) -> Transaction {
        self.spend_bonds(&[(withdrawal, record, BondSpend::Justice)])
    }

    /// The transaction with which the owner claims an exit; it can be mined once its locktime passed.
    pub fn claim(&self, withdrawal: &Withdrawal, record: usize) -> Transaction {
        self.spend_bonds(&[(withdrawal, record, BondSpend::Claim)])
    }

    /// One transaction that spends several bonds, one per input.
    pub fn spend_bonds(&self, bonds: &[(&Withdrawal, usize, BondSpend)]) -> Transaction {
        spend_bonds(bonds, Purse::script())
    }
}

/// One transaction that spends several bonds, one per input, to a script.
pub(crate) fn spend_bonds(bonds: &[(&Withdrawal, usize, BondSpend)], to: ScriptBuf) -> Transaction {
    let prevouts: Vec<TxOut> = bonds.iter().map(|(from, record, _)| from.bond(*record)).collect();
    let inputs = bonds.iter().map(|(from, record, how)| {
        let blocks = u16::try_from(from.ttxos[*record].locktime).expect("a relative lock has 16 bits");
        let sequence = match how {
            BondSpend::Claim => Sequence::from_height(blocks),
            BondSpend::Justice | BondSpend::JusticeWithAnnex => Sequence::MAX,
        };
        spend(from.outpoint(*record), sequence)
    });
    let value: Amount = prevouts.iter().map(|bond| bond.value).sum();
    let value = value.checked_sub(BOND_FEE).unwrap_or(Amount::ZERO);
    let output = TxOut { value, script_pubkey: to };
    let mut tx = transaction(inputs.collect(), vec![output]);
    for (input, (from, record, how)) in bonds.iter().enumerate() {
        let witness = match how {
            BondSpend::Justice => justice_witness(&tx, input, &prevouts, &from.ttxos[*record], None),
            BondSpend::JusticeWithAnnex => {
                let annex = [0x50, 0xb7];
                justice_witness(&tx, input, &prevouts, &from.ttxos[*record], Some(&annex))
            }
            BondSpend::Claim => {
                let owner = from.holders[*record].expect("the owner is a holder of the model");
                claim_witness(&tx, input, &prevouts, &from.ttxos[*record], &owner)
            }
        };
        for element in witness {
            tx.input[input].witness.push(element);
        }
    }
    tx
}

fn justice_witness(
    tx: &Transaction,
    input: usize,
    prevouts: &[TxOut],
    ttxo: &Ttxo,
    annex: Option<&[u8]>,
) -> Vec<Vec<u8>> {
    let leaf = TapLeafHash::from_script(&leaf_script(ttxo.locktime, &ttxo.owner), LeafVersion::TapScript);
    let root = TapNodeHash::from(leaf);
    let key = revocation_key(ttxo.outpoint).tap_tweak(&SECP, Some(root)).to_keypair();
    let hash = SighashCache::new(tx)
        .taproot_signature_hash(
            input,
            &Prevouts::All(prevouts),
            annex.map(|bytes| Annex::new(bytes).expect("starts with 0x50")),
            None,
            TapSighashType::Default,
        )
        .expect("the input exists");
    let mut witness = vec![sign(&key, *hash.as_ref()).0.to_vec()];
    witness.extend(annex.map(<[u8]>::to_vec));
    witness
}

fn claim_witness(
    tx: &Transaction,
    input: usize,
    prevouts: &[TxOut],
    ttxo: &Ttxo,
    owner: &Keypair,
) -> Vec<Vec<u8>> {
    let script = leaf_script(ttxo.locktime, &ttxo.owner);
    let leaf = TapLeafHash::from_script(&script, LeafVersion::TapScript);
    let hash = SighashCache::new(tx)
        .taproot_script_spend_signature_hash(input, &Prevouts::All(prevouts), leaf, TapSighashType::Default)
        .expect("the input exists");
    let control = control_block(&ttxo.revocation, ttxo.locktime, &ttxo.owner)
        .expect("revocation keys of the kit are on the curve");
    vec![sign(owner, *hash.as_ref()).0.to_vec(), script.into_bytes(), control.to_vec()]
}
