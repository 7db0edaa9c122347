//! Ordinals envelopes, and the pair of transactions that inscribes them.
//!
//! The envelopes are written here from scratch, field by field, so that tests can also write wrong ones
//! and do not read with the code that wrote.

use bitcoin::opcodes::OP_FALSE;
use bitcoin::opcodes::all::{OP_CHECKSIG, OP_ENDIF, OP_IF};
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::taproot::{LeafVersion, TapLeafHash, TaprootBuilder, TaprootSpendInfo};
use bitcoin::{Amount, ScriptBuf, Sequence, Transaction, TxOut};
use btkn_indexer::chain::BlockId;

use crate::coins::{FEE, Purse, spend, transaction};
use crate::keys::{SECP, keypair, sign};
use crate::regtest::Regtest;
use crate::snapshot::Snapshot;

/// Value of each output that a reveal spends.
const COMMITTED: Amount = Amount::from_sat(10_000);

/// An ordinals envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    fields: Vec<(u8, Vec<u8>)>,
    body: Option<Vec<u8>>,
}

impl Envelope {
    /// Tag of the content type.
    pub const CONTENT_TYPE: u8 = 1;
    /// Tag of the metadata.
    pub const METADATA: u8 = 5;
    /// Tag of the metaprotocol.
    pub const METAPROTOCOL: u8 = 7;
    /// Tag of the content encoding.
    pub const CONTENT_ENCODING: u8 = 9;
    /// Tag of the delegate.
    pub const DELEGATE: u8 = 11;

    /// An envelope with a body and no field.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Envelope { fields: Vec::new(), body: Some(body.into()) }
    }

    /// The envelope of a manifest.
    pub fn manifest(body: impl Into<Vec<u8>>) -> Self {
        Self::btkn("application/vnd.btkn.manifest+cbor", body)
    }

    /// The envelope of a chunk.
    pub fn chunk(body: impl Into<Vec<u8>>) -> Self {
        Self::btkn("application/vnd.btkn.chunk+cbor", body)
    }

    fn btkn(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new(body).field(Self::CONTENT_TYPE, content_type).field(Self::METAPROTOCOL, "btkn")
    }

    /// Adds a field, also one that is there already.
    pub fn field(mut self, tag: u8, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((tag, value.as_ref().to_vec()));
        self
    }

    /// Takes the body away.
    pub fn without_body(mut self) -> Self {
        self.body = None;
        self
    }

    /// The envelope alone, as it stands in a tapscript.
    pub fn script(&self) -> ScriptBuf {
        self.write(Builder::new()).into_script()
    }

    fn write(&self, mut script: Builder) -> Builder {
        script = script.push_opcode(OP_FALSE).push_opcode(OP_IF).push_slice(b"ord");
        for (tag, value) in &self.fields {
            script = script.push_slice([*tag]).push_slice(push_bytes(value));
        }
        if let Some(body) = &self.body {
            script = script.push_opcode(OP_FALSE);
            for part in body.chunks(520) {
                script = script.push_slice(push_bytes(part));
            }
        }
        script.push_opcode(OP_ENDIF)
    }
}

fn push_bytes(bytes: &[u8]) -> PushBytesBuf {
    PushBytesBuf::try_from(bytes.to_vec()).expect("less than 4 GiB")
}

/// The script of one input of a reveal transaction.
fn reveal_script(envelopes: &[Envelope]) -> ScriptBuf {
    let key = keypair("inscriber").x_only_public_key().0;
    let script = Builder::new().push_slice(key.serialize()).push_opcode(OP_CHECKSIG);
    envelopes.iter().fold(script, |script, envelope| envelope.write(script)).into_script()
}

fn commitment(script: &ScriptBuf) -> TaprootSpendInfo {
    let key = keypair("inscriber").x_only_public_key().0;
    let tree = TaprootBuilder::new().add_leaf(0, script.clone()).expect("one leaf at the root");
    tree.finalize(&SECP, key).expect("one leaf is a complete tree")
}

impl Regtest {
    /// Commit and reveal transaction for envelopes: the `n`th list goes into input `n` of the reveal
    /// transaction, whose id names the inscriptions. The two have to be mined in this order.
    pub fn inscribe(&mut self, inputs: &[Vec<Envelope>]) -> [Transaction; 2] {
        let scripts: Vec<ScriptBuf> = inputs.iter().map(|envelopes| reveal_script(envelopes)).collect();
        let spends: Vec<TaprootSpendInfo> = scripts.iter().map(commitment).collect();
        let committed: Vec<TxOut> = spends
            .iter()
            .map(|info| TxOut {
                value: COMMITTED,
                script_pubkey: ScriptBuf::new_p2tr_tweaked(info.output_key()),
            })
            .collect();
        let commit = self.pay(committed.clone());
        let txid = commit.compute_txid();
        let inputs = (0..scripts.len())
            .map(|vout| spend(bitcoin::OutPoint::new(txid, vout as u32), Sequence::MAX))
            .collect();
        let value = COMMITTED * scripts.len() as u64 - FEE;
        let mut reveal = transaction(inputs, vec![TxOut { value, script_pubkey: Purse::script() }]);
        for (input, (script, info)) in scripts.iter().zip(&spends).enumerate() {
            let leaf = TapLeafHash::from_script(script, LeafVersion::TapScript);
            let hash = SighashCache::new(&reveal)
                .taproot_script_spend_signature_hash(
                    input,
                    &Prevouts::All(&committed),
                    leaf,
                    TapSighashType::Default,
                )
                .expect("the input exists");
            let control = info
                .control_block(&(script.clone(), LeafVersion::TapScript))
                .expect("the leaf is in the tree");
            let witness = &mut reveal.input[input].witness;
            witness.push(sign(&keypair("inscriber"), *hash.as_ref()).0);
            witness.push(script);
            witness.push(control.serialize());
        }
        [commit, reveal]
    }

    /// Inscribes a snapshot, manifest first, all in one input, and mines it in one block.
    pub fn publish(&mut self, snapshot: &Snapshot) -> BlockId {
        let txs = self.inscribe(&[snapshot.envelopes()]);
        self.mine(&txs)
    }
}
