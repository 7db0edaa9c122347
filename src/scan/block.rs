//! One block: a single walk over its bytes that proves them and picks the transactions that matter.

use std::iter::Peekable;
use std::ops::{ControlFlow, Range};

use bitcoin::block::Header;
use bitcoin::consensus::encode::{self, VarInt};
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, OutPoint, Target, Transaction, TxMerkleNode, Txid};
use bitcoin_slices::{Visit, Visitor, bsl};
use memchr::memmem;

use super::messages::{BlockMessages, TxMessages};
use super::sha256::Pairing;
use super::watch::{self, WatchSet};
use super::{BlockFault, VerifyBlocks, integrity, transaction};
use crate::protocol::Network;
use crate::protocol::envelope::METAPROTOCOL;

/// SegWit was active on every network by this time, Unix seconds: 1 September 2017. From then on, a block
/// whose coinbase commits to witnesses has at least that of the coinbase. Before, miners made ready for it
/// committed to witnesses that no block had.
const SEGWIT_ACTIVE: u32 = 1_504_224_000;

/// Shortest serialised transaction that decodes, which bounds how many a block can hold.
const MIN_TX_BYTES: usize = 10;

/// The bytes of a block and the hash that they must have.
#[derive(Clone, Copy, Debug)]
pub struct RawBlock<'a> {
    /// The hash that the chain has at this height.
    pub hash: BlockHash,
    /// The serialised block, nothing before or after it.
    pub bytes: &'a [u8],
}

/// Outputs whose spends are looked for: those known before a run of blocks, and those that blocks of the run
/// name themselves.
#[derive(Clone, Copy)]
pub(super) struct Watched<'a> {
    pub before: &'a WatchSet,
    pub named: &'a WatchSet,
}

impl Watched<'_> {
    /// The watched output that an input with these fields spends.
    pub fn find(&self, txid: &[u8], vout: u32) -> Option<OutPoint> {
        self.before.find(txid, vout).or_else(|| self.named.find(txid, vout))
    }
}

/// Reads blocks, with as much proof as the user wants.
#[derive(Clone, Copy, Debug)]
pub struct Scanner {
    verify: VerifyBlocks,
    /// The easiest target that a header may claim; `None` for blocks that nobody mined.
    max_target: Option<Target>,
}

/// Memory that one thread uses for one block after the other.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    txids: Vec<[u8; 32]>,
    wtxids: Vec<[u8; 32]>,
    /// What is being hashed.
    txid_pairs: Pairing,
    wtxid_pairs: Pairing,
    /// The start of the txid that each input of the block names; see [`watch::prefix`].
    pub prevouts: Vec<u32>,
}

impl Scratch {
    /// Ready for a block of so many transactions.
    fn clear(&mut self, txs: usize) {
        self.txids.clear();
        self.txids.reserve(txs);
        self.wtxids.clear();
        // Of a block that did not decode something may be left.
        self.txid_pairs.clear();
        self.wtxid_pairs.clear();
        self.prevouts.clear();
    }
}

impl Scanner {
    /// For the blocks of a network.
    pub fn new(verify: VerifyBlocks, network: Network) -> Self {
        Scanner { verify, max_target: Some(network.to_bitcoin().params().max_attainable_target) }
    }

    /// For blocks that nobody mined: all is checked but their proof of work.
    pub fn of_unmined_blocks() -> Self {
        Scanner { verify: VerifyBlocks::Full, max_target: None }
    }

    /// Scans one block. Sees spends of watched outputs alone, not of those that the block itself names.
    pub(super) fn scan(
        &self,
        block: &RawBlock<'_>,
        watched: Watched<'_>,
        scratch: &mut Scratch,
    ) -> Result<BlockMessages, BlockFault> {
        match self.verify {
            VerifyBlocks::None => self.walk::<false, false>(block, watched, scratch),
            VerifyBlocks::Merkle => self.walk::<true, false>(block, watched, scratch),
            VerifyBlocks::Full => self.walk::<true, true>(block, watched, scratch),
        }
    }

    /// `TXIDS` and `WTXIDS` say what is hashed on the way.
    fn walk<const TXIDS: bool, const WTXIDS: bool>(
        &self,
        block: &RawBlock<'_>,
        watched: Watched<'_>,
        scratch: &mut Scratch,
    ) -> Result<BlockMessages, BlockFault> {
        let RawBlock { hash, bytes } = *block;
        let undecodable = |reason: String| BlockFault::Undecodable { block: hash, reason };
        let mut walk = Walk::<TXIDS, WTXIDS>::new(bytes, watched, scratch);
        let parsed = bsl::Block::visit(bytes, &mut walk);

        // A wrong header is the better explanation for whatever follows it.
        let Some(header) = walk.header.take() else {
            return Err(undecodable(format!("{} bytes are too few for a header", bytes.len())));
        };
        let found = header.block_hash();
        if found != hash {
            return Err(BlockFault::HeaderHash { expected: hash, found });
        }
        if TXIDS && !self.has_proof_of_work(&header) {
            return Err(BlockFault::ProofOfWork { block: hash });
        }
        let surplus = match &parsed {
            Ok(parsed) => parsed.remaining().len(),
            Err(error) => return Err(undecodable(walk.explain(error))),
        };
        if surplus != 0 {
            return Err(undecodable(format!("{surplus} bytes after the last transaction")));
        }
        let Walk { has_witness, marked, commits, picked, coinbase, .. } = walk;
        scratch.txid_pairs.finish(&mut scratch.txids);
        scratch.wtxid_pairs.finish(&mut scratch.wtxids);
        if TXIDS {
            check_merkle_root(&header, hash, &mut scratch.txids)?;
        }
        if commits && !has_witness && header.time >= SEGWIT_ACTIVE {
            return Err(BlockFault::NoWitnesses { block: hash });
        }

        let read = |picked: &Picked| picked.read(bytes, watched).map_err(undecodable);
        let txs = picked.iter().filter_map(|picked| read(picked).transpose());
        let txs = txs.collect::<Result<Vec<TxMessages>, BlockFault>>()?;
        // Where a message was read, or where its name stands and a damaged byte may be what hides it, all is
        // proven, whatever the user wants.
        let matters = marked || !txs.is_empty();
        if matters && !TXIDS {
            integrity::hash_transactions::<false>(bytes, &mut scratch.txid_pairs, &mut scratch.txids);
            check_merkle_root(&header, hash, &mut scratch.txids)?;
        }
        // A spend that matters has a witness, so without one some were left out.
        let must_have = has_witness || txs.iter().any(|tx| !tx.spends.is_empty());
        if (WTXIDS || matters) && must_have {
            if !WTXIDS {
                integrity::hash_transactions::<true>(bytes, &mut scratch.wtxid_pairs, &mut scratch.wtxids);
            }
            if !integrity::commitment_holds(&bytes[coinbase], &mut scratch.wtxids) {
                return Err(BlockFault::WitnessCommitment { block: hash });
            }
        }
        Ok(BlockMessages { hash, prev_hash: header.prev_blockhash, time: header.time, txs })
    }

    /// Whether the hash of a header meets its target, and that is one of the network's.
    fn has_proof_of_work(&self, header: &Header) -> bool {
        let Some(max_target) = self.max_target else { return true };
        let target = header.target();
        target <= max_target && header.validate_pow(target).is_ok()
    }
}

fn check_merkle_root(header: &Header, block: BlockHash, txids: &mut Vec<[u8; 32]>) -> Result<(), BlockFault> {
    let committed = header.merkle_root;
    let root = integrity::merkle_root(txids).map(TxMerkleNode::from_byte_array);
    if root == Some(committed) { Ok(()) } else { Err(BlockFault::MerkleRoot { block, committed }) }
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
struct Walk<'a, const TXIDS: bool, const WTXIDS: bool> {
    watched: Watched<'a>,
    bytes: &'a [u8],
    scratch: &'a mut Scratch,
    header: Option<Header>,
    /// Places of the metaprotocol's name in the block, ascending.
    marks: Peekable<memmem::FindIter<'a, 'static>>,
    /// Transactions so far.
    txs: u32,
    /// Where the current transaction begins.
    offset: usize,
    /// Whether a part of the current transaction asks for it to be decoded.
    wanted: bool,
    /// Whether some transaction so far has witnesses.
    has_witness: bool,
    /// Whether the metaprotocol's name stands in a transaction with witnesses.
    marked: bool,
    /// Whether the coinbase commits to witnesses.
    commits: bool,
    coinbase: Range<usize>,
    picked: Vec<Picked>,
}

impl<'a, const TXIDS: bool, const WTXIDS: bool> Walk<'a, TXIDS, WTXIDS> {
    fn new(bytes: &'a [u8], watched: Watched<'a>, scratch: &'a mut Scratch) -> Self {
        Walk {
            watched,
            bytes,
            scratch,
            header: None,
            marks: memmem::find_iter(bytes, METAPROTOCOL).peekable(),
            txs: 0,
            offset: 0,
            wanted: false,
            has_witness: false,
            marked: false,
            commits: false,
            coinbase: 0..0,
            picked: Vec::new(),
        }
    }

    /// Whether the metaprotocol's name stands somewhere in a transaction.
    fn is_marked(&mut self, range: &Range<usize>) -> bool {
        while self.marks.next_if(|&mark| mark < range.start).is_some() {}
        self.marks.peek().is_some_and(|&mark| mark < range.end)
    }

    fn explain(&self, error: &bitcoin_slices::Error) -> String {
        format!("transaction {}, at byte {} of the block: {error:?}", self.txs, self.offset)
    }
}

impl<const TXIDS: bool, const WTXIDS: bool> Visitor for Walk<'_, TXIDS, WTXIDS> {
    fn visit_block_header(&mut self, header: &bsl::BlockHeader<'_>) -> ControlFlow<()> {
        self.header = encode::deserialize(header.as_ref()).ok();
        ControlFlow::Continue(())
    }

    fn visit_block_begin(&mut self, total_transactions: usize) {
        self.scratch.clear(total_transactions.min(self.bytes.len() / MIN_TX_BYTES));
        self.offset = 80 + VarInt::from(total_transactions).size();
    }

    fn visit_tx_in(&mut self, _: usize, input: &bsl::TxIn<'_>) -> ControlFlow<()> {
        let (txid, vout) = (input.prevout().txid(), input.prevout().vout());
        self.scratch.prevouts.push(watch::prefix(txid));
        self.wanted |= self.watched.find(txid, vout).is_some();
        ControlFlow::Continue(())
    }

    fn visit_tx_out(&mut self, _: usize, output: &bsl::TxOut<'_>) -> ControlFlow<()> {
        let script = output.script_pubkey();
        self.wanted |= transaction::may_be_message(script);
        // The outputs of a transaction come before it, so this is the first one.
        self.commits |= self.txs == 0 && integrity::is_commitment(script);
        ControlFlow::Continue(())
    }

    fn visit_transaction(&mut self, tx: &bsl::Transaction<'_>) -> ControlFlow<()> {
        let range = self.offset..self.offset + tx.as_ref().len();
        self.offset = range.end;
        let wanted = std::mem::take(&mut self.wanted);
        // Where others have the number of their inputs, those with witnesses have a zero.
        let has_witness = tx.as_ref().get(4) == Some(&0);
        let marked = self.is_marked(&range) && has_witness;
        self.has_witness |= has_witness;
        self.marked |= marked;
        let picked = marked || wanted;
        if picked {
            let (index, txid) = (self.txs, Txid::from_raw_hash(tx.txid()));
            self.picked.push(Picked { index, txid, range: range.clone() });
        }
        let scratch = &mut *self.scratch;
        if TXIDS {
            let (a, b, c) = tx.txid_preimage();
            scratch.txids.push([0; 32]);
            scratch.txid_pairs.add([a, b, c], self.txs as usize, &mut scratch.txids);
        }
        if WTXIDS {
            scratch.wtxids.push([0; 32]);
            scratch.wtxid_pairs.add([tx.as_ref(), &[], &[]], self.txs as usize, &mut scratch.wtxids);
        }
        if self.txs == 0 {
            self.coinbase = range;
        }
        self.txs += 1;
        ControlFlow::Continue(())
    }
}
