//! Envelopes: any witness, against `ord`.

use bitcoin::consensus::encode;
use bitcoin::{Transaction, Witness};
use btkn_indexer::protocol::envelope;
use btkn_indexer::scan::{RawBlock, WatchSet, scan_batch};

use super::reference;

/// The input is a transaction; what is none is the script of its only input.
///
/// Laws: the messages are those that `ord` finds, in order; and the scanner, which looks at the bytes of
/// a block, finds the very same.
pub fn envelope(data: &[u8]) {
    let tx = encode::deserialize::<Transaction>(data).ok().filter(|tx| !tx.input.is_empty());
    let tx = tx.unwrap_or_else(|| {
        let witness = Witness::from_slice(&[data, &[0xc0; 33]]);
        reference::transaction_of(witness, Vec::new())
    });
    let found = envelope::messages(&tx);
    assert_eq!(found, reference::envelopes(&tx), "ord finds others");

    let place = |message: &envelope::EnvelopeMessage| (message.input, message.envelope, message.inscription);
    assert!(found.windows(2).all(|pair| place(&pair[0]) < place(&pair[1])), "they are not in order");

    let block = reference::block_of(vec![tx]);
    let bytes = encode::serialize(&block);
    let raw = RawBlock { hash: block.block_hash(), bytes: &bytes };
    let scanned = scan_batch(&[raw], &WatchSet::new()).remove(0).expect("the block is sound");
    let in_block: Vec<_> = scanned.txs.into_iter().flat_map(|tx| tx.envelopes).collect();
    assert_eq!(in_block, found, "the scanner finds others");
}
