//! The messages in OP_RETURN outputs.

use bitcoin::consensus::encode;
use bitcoin::{ScriptBuf, Witness};
use btkn_indexer::protocol::announcement::TokenAnnouncement;
use btkn_indexer::protocol::op_return::{
    self, OpReturn, TOKEN_HEADER, WITHDRAWAL_HEADER, push_script, single_push,
};
use btkn_indexer::protocol::withdrawal::WithdrawalAnnouncement;
use btkn_indexer::protocol::{Network, token::Layer};
use btkn_indexer::scan::{BlockMessages, RawBlock, WatchSet, named_outpoints, scan_batch};

use super::reference;

/// The input is an output script if it starts with OP_RETURN, and what follows the kind of a token
/// announcement otherwise.
///
/// Laws: what is accepted keeps its limits and encodes to the same payload, but for the flag, of which any
/// value but 0 means 1; a payload has no sound proper prefix and no sound continuation; the scanner finds
/// what is in the script, and nothing else.
pub fn announcement(data: &[u8]) {
    let script = script_of(TOKEN_HEADER, data);
    let Some(OpReturn::Token(Ok(found))) = check_script(&script) else { return };
    let payload = payload(&script, TOKEN_HEADER);
    let (flag, fields) = payload.split_last().expect("an announcement has a flag");
    let encoded = found.encode();
    assert_eq!(encoded, [fields, &[u8::from(*flag != 0)]].concat());
    assert_eq!(TokenAnnouncement::decode(&encoded).as_ref(), Ok(&found));
    assert!(TokenAnnouncement::decode(fields).is_err(), "a prefix decodes");
    assert!(TokenAnnouncement::decode(&[payload, &[0]].concat()).is_err(), "a continuation decodes");
    assert_eq!(op_return::parse(found.script().as_bytes()), Some(OpReturn::Token(Ok(found.clone()))));

    found.metadata.check().expect("an accepted token keeps its limits");
    let id = |network| found.metadata.identifier(network, Layer::L1);
    assert_ne!(id(Network::Mainnet), id(Network::Regtest));
}

/// The input is an output script if it starts with OP_RETURN, and what follows the kind of a withdrawal
/// announcement otherwise.
///
/// Laws: what is accepted encodes to the same payload; a payload has no sound proper prefix and no sound
/// continuation; the scanner finds what is in the script, and nothing else, with one bond per record.
pub fn withdrawal(data: &[u8]) {
    let script = script_of(WITHDRAWAL_HEADER, data);
    let Some(OpReturn::Withdrawal(Ok(found))) = check_script(&script) else { return };
    let payload = payload(&script, WITHDRAWAL_HEADER);
    assert_eq!(found.encode(), payload);
    assert!(found.entity.is_on_curve());
    let (_, prefix) = payload.split_last().expect("an announcement is not empty");
    assert!(WithdrawalAnnouncement::decode(prefix).is_err(), "a prefix decodes");
    assert!(WithdrawalAnnouncement::decode(&[payload, &[0]].concat()).is_err(), "a continuation decodes");
    assert_eq!(op_return::parse(found.script().as_bytes()), Some(OpReturn::Withdrawal(Ok(found))));
}

fn script_of(header: &[u8], data: &[u8]) -> Vec<u8> {
    match data {
        [0x6a, ..] => data.to_vec(),
        _ => push_script(&[header, data].concat()).into_bytes(),
    }
}

fn payload<'a>(script: &'a [u8], header: &[u8]) -> &'a [u8] {
    single_push(script).and_then(|payload| payload.strip_prefix(header)).expect("it was parsed")
}

/// What is in the script, after checking the push around it and that the scanner sees the same.
fn check_script(script: &[u8]) -> Option<OpReturn> {
    if let Some(payload) = single_push(script) {
        let shortest = push_script(payload);
        assert_eq!(single_push(shortest.as_bytes()), Some(payload));
        assert!(payload.is_empty() || shortest.len() <= script.len());
    }
    // Output 0 is a bond that records can name, output 2 one that does not exist.
    let bond = ScriptBuf::from_bytes([&[0x51, 0x20][..], &[7; 32]].concat());
    let outputs = vec![bond, ScriptBuf::from_bytes(script.to_vec())];
    let tx = reference::transaction_of(Witness::from_slice(&[[1; 64]]), outputs);
    let found = scan(&tx);
    let scanned: Vec<_> = found.txs.iter().flat_map(|tx| tx.outputs.clone()).collect();
    assert_eq!(scanned, reference::outputs(&tx), "the scanner finds others");
    let parsed = op_return::parse(script);
    assert_eq!(scanned.len(), usize::from(parsed.is_some()));
    if let Some(OpReturn::Withdrawal(Ok(announcement))) = &parsed {
        assert_eq!(named_outpoints(&found).count(), announcement.records.len());
    }
    parsed
}

fn scan(tx: &bitcoin::Transaction) -> BlockMessages {
    let block = reference::block_of(vec![tx.clone()]);
    let bytes = encode::serialize(&block);
    let raw = RawBlock { hash: block.block_hash(), bytes: &bytes };
    scan_batch(&[raw], &WatchSet::new()).remove(0).expect("the block is sound")
}
