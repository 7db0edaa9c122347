//! One block: a single walk over its bytes that proves them and picks the transactions that matter.

use std::iter::Peekable;
use std::ops::{ControlFlow, Range};

use bitcoin::consensus::encode::{self, VarInt};
use bitcoin::hashes::{Hash, sha256d};
use bitcoin::{BlockHash, Transaction, TxMerkleNode, Txid};
use bitcoin_slices::{Visit, Visitor, bsl};
use memchr::memmem;

use super::messages::{BlockMessages, TxMessages};
use super::watch::WatchSet;
use super::{BlockFault, RawBlock, integrity, transaction};
use crate::protocol::envelope::METAPROTOCOL;

/// SegWit was active on every network by this time, Unix seconds: 1 September 2017. From then on, a block
/// whose coinbase commits to witnesses has at least that of the coinbase. Before, miners made ready for it
/// committed to witnesses that no block had.
const SEGWIT_ACTIVE: u32 = 1_504_224_000;

/// Shortest serialised transaction that decodes, which bounds how many a block can hold.
const MIN_TX_BYTES: usize = 10;

/// What is watched while a batch is scanned: the outputs known before it, and those it names itself.
#[derive(Clone, Copy)]
pub(super) struct Watched<'a> {
    pub before: &'a WatchSet,
    pub named: &'a WatchSet,
}

impl Watched<'_> {
    /// The watched output that an input with these fields spends.
    pub fn find(&self, txid: &[u8], vout: u32) -> Option<bitcoin::OutPoint> {
        self.before.find(txid, vout).or_else(|| self.named.find(txid, vout))
    }
}

/// Scans one block. Sees spends of watched outputs alone, not of those that the block itself names.
pub(super) fn scan(block: &RawBlock<'_>, watched: Watched<'_>) -> Result<BlockMessages, BlockFault> {
    let RawBlock { hash: expected, bytes } = *block;
    let undecodable = |reason: String| BlockFault::Undecodable { block: expected, reason };
    let mut walk = Walk::new(bytes, watched);
    let parsed = bsl::Block::visit(bytes, &mut walk);

    // A wrong header is the better explanation for whatever follows it.
    let Some(header) = walk.header.take() else {
        return Err(undecodable(format!("{} bytes are too few for a header", bytes.len())));
    };
    if header.hash != expected {
        return Err(BlockFault::HeaderHash { expected, found: header.hash });
    }
    let surplus = match &parsed {
        Ok(parsed) => parsed.remaining().len(),
        Err(error) => return Err(undecodable(walk.explain(error))),
    };
    if surplus != 0 {
        return Err(undecodable(format!("{surplus} bytes after the last transaction")));
    }
    if integrity::merkle_root(&mut walk.txids) != Some(header.merkle_root) {
        let committed = TxMerkleNode::from_byte_array(header.merkle_root);
        return Err(BlockFault::MerkleRoot { block: expected, committed });
    }

    if walk.commits && !walk.has_witness && header.time >= SEGWIT_ACTIVE {
        return Err(BlockFault::NoWitnesses { block: expected });
    }

    let txs = walk.picked.iter().map(|picked| picked.read(bytes, watched)).collect::<Result<Vec<_>, _>>();
    let txs: Vec<TxMessages> = txs.map_err(undecodable)?.into_iter().flatten().collect();
    // Txids leave witnesses out. All of them are proven, also where nothing was read from one: a damaged
    // byte may be what hides a message. A spend that matters has one, so without it some were left out.
    let has_witness = walk.has_witness || txs.iter().any(|tx| !tx.spends.is_empty());
    if has_witness && !integrity::witness_commitment_holds(bytes) {
        return Err(BlockFault::WitnessCommitment { block: expected });
    }
    Ok(BlockMessages { hash: expected, prev_hash: header.prev_hash, time: header.time, txs })
}

/// Whether some input of the block spends a member of the set. Proves nothing about the bytes.
pub(super) fn spends_any(bytes: &[u8], set: &WatchSet) -> bool {
    struct Inputs<'a>(&'a WatchSet, bool);
    impl Visitor for Inputs<'_> {
        fn visit_tx_in(&mut self, _: usize, input: &bsl::TxIn<'_>) -> ControlFlow<()> {
            self.1 = self.0.find(input.prevout().txid(), input.prevout().vout()).is_some();
            if self.1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    let mut inputs = Inputs(set, false);
    // The outcome of the walk says no more than the flag: a break is a hit, and bytes that do not
    // decode were refused when the block was scanned.
    let _ = bsl::Block::visit(bytes, &mut inputs);
    inputs.1
}

/// The fields of a header that are used.
struct Header {
    hash: BlockHash,
    prev_hash: BlockHash,
    merkle_root: [u8; 32],
    time: u32,
}

/// A transaction worth decoding.
struct Picked {
    index: u32,
    txid: Txid,
    range: Range<usize>,
}

impl Picked {
    /// Its messages, if it turns out to have any. The error is a reason for people.
    fn read(&self, block: &[u8], watched: Watched<'_>) -> Result<Option<TxMessages>, String> {
        let tx: Transaction = encode::deserialize(&block[self.range.clone()])
            .map_err(|error| format!("transaction {}: {error}", self.index))?;
        Ok(transaction::messages(&tx, self.index, self.txid, watched))
    }
}

/// The visitor. The parts of a transaction are visited before the transaction itself.
struct Walk<'a> {
    watched: Watched<'a>,
    header: Option<Header>,
    /// Places of the metaprotocol's name in the block, ascending.
    marks: Peekable<memmem::FindIter<'a, 'static>>,
    /// Where the current transaction begins.
    offset: usize,
    /// Whether a part of the current transaction asks for it to be decoded.
    wanted: bool,
    /// Whether some transaction so far has witnesses.
    has_witness: bool,
    /// Whether the coinbase commits to witnesses.
    commits: bool,
    bytes: &'a [u8],
    txids: Vec<[u8; 32]>,
    picked: Vec<Picked>,
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8], watched: Watched<'a>) -> Self {
        Walk {
            watched,
            header: None,
            marks: memmem::find_iter(bytes, METAPROTOCOL).peekable(),
            offset: 0,
            wanted: false,
            has_witness: false,
            commits: false,
            bytes,
            txids: Vec::new(),
            picked: Vec::new(),
        }
    }

    /// Whether the metaprotocol stands somewhere in a transaction.
    fn is_marked(&mut self, range: &Range<usize>) -> bool {
        while self.marks.next_if(|&mark| mark < range.start).is_some() {}
        self.marks.peek().is_some_and(|&mark| mark < range.end)
    }

    fn explain(&self, error: &bitcoin_slices::Error) -> String {
        format!("transaction {}, at byte {} of the block: {error:?}", self.txids.len(), self.offset)
    }
}

impl Visitor for Walk<'_> {
    fn visit_block_header(&mut self, header: &bsl::BlockHeader<'_>) -> ControlFlow<()> {
        let field = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).expect("hashes in a header have 32 bytes");
        self.header = Some(Header {
            hash: BlockHash::from_raw_hash(sha256d::Hash::hash(header.block_hash_preimage())),
            prev_hash: BlockHash::from_byte_array(field(header.prev_blockhash())),
            merkle_root: field(header.merkle_root()),
            time: header.time(),
        });
        ControlFlow::Continue(())
    }

    fn visit_block_begin(&mut self, total_transactions: usize) {
        self.txids.reserve(total_transactions.min(self.bytes.len() / MIN_TX_BYTES));
        self.offset = 80 + VarInt::from(total_transactions).size();
    }

    fn visit_tx_in(&mut self, _: usize, input: &bsl::TxIn<'_>) -> ControlFlow<()> {
        let prevout = input.prevout();
        self.wanted |= self.watched.find(prevout.txid(), prevout.vout()).is_some();
        ControlFlow::Continue(())
    }

    fn visit_tx_out(&mut self, _: usize, output: &bsl::TxOut<'_>) -> ControlFlow<()> {
        let script = output.script_pubkey();
        self.wanted |= transaction::may_be_message(script);
        // The outputs of a transaction come before it, so this is the first one.
        self.commits |= self.txids.is_empty() && integrity::is_commitment(script);
        ControlFlow::Continue(())
    }

    fn visit_transaction(&mut self, tx: &bsl::Transaction<'_>) -> ControlFlow<()> {
        let txid = tx.txid().to_byte_array();
        let range = self.offset..self.offset + tx.as_ref().len();
        self.offset = range.end;
        let wanted = std::mem::take(&mut self.wanted);
        // Where others have the number of their inputs, those with witnesses have a zero.
        let has_witness = self.bytes.get(range.start + 4) == Some(&0);
        self.has_witness |= has_witness;
        if self.is_marked(&range) && has_witness || wanted {
            let index = self.txids.len() as u32;
            self.picked.push(Picked { index, txid: Txid::from_byte_array(txid), range });
        }
        self.txids.push(txid);
        ControlFlow::Continue(())
    }
}
