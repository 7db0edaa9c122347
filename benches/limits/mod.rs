//! What a machine can do with a block: each step as bare as it can be written. Shared by the benchmarks,
//! so that each can show its figures beside these of the same run.

use std::collections::HashSet;
use std::hint::black_box;
use std::ops::ControlFlow;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::{Block, OutPoint, Txid};
use bitcoin_slices::{Visit, Visitor, bsl};
use memchr::memmem;
use ord::ParsedEnvelope;

/// Which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Copying a block into a buffer that is used again.
    Copy,
    /// The same and taking the key off.
    Xor,
    /// A walk that looks at inputs and outputs.
    Visit,
    /// The key taken off, the walk, and a search for the name of the metaprotocol.
    Inner,
    /// The walk, and every txid.
    Txids,
    /// Decoding.
    Decode,
    /// Decoding, and looking for envelopes in every transaction.
    Ord,
}

impl Step {
    /// All of them, with their names.
    pub const ALL: [(Step, &'static str); 7] = [
        (Step::Copy, "copy into a reused buffer"),
        (Step::Xor, "the same, the 8-byte key taken off"),
        (Step::Visit, "`bitcoin_slices` visitor: 1,000 watched outpoints, prefixes of OP_RETURN"),
        (Step::Inner, "key taken off, that visitor, `memmem` for `btkn`: the inner rate"),
        (Step::Txids, "that visitor, with every txid hashed"),
        (Step::Decode, "decode into `bitcoin::Block`"),
        (Step::Ord, "decode, then `ord`'s envelope parser on every transaction"),
    ];

    /// What a thread does with each block.
    pub fn worker(self, watched: &Watched) -> Worker<'_> {
        let mut buffer = vec![0; 4 << 20];
        match self {
            Step::Copy => Box::new(move |block| {
                buffer[..block.len()].copy_from_slice(block);
                black_box(&buffer);
            }),
            Step::Xor => Box::new(move |block| {
                xor(block, &mut buffer);
                black_box(&buffer);
            }),
            Step::Visit => Box::new(move |block| visit(block, watched, false)),
            Step::Inner => Box::new(move |block| {
                xor(block, &mut buffer);
                let block = &buffer[..block.len()];
                visit(block, watched, false);
                black_box(memmem::find_iter(block, b"btkn").count());
            }),
            Step::Txids => Box::new(move |block| visit(block, watched, true)),
            Step::Decode => Box::new(|block| {
                black_box(decode(block));
            }),
            Step::Ord => Box::new(|block| {
                let block = decode(block);
                let found = block.txdata.iter().map(|tx| ParsedEnvelope::from_transaction(tx).len());
                black_box(found.sum::<usize>());
            }),
        }
    }
}

/// Does something with a block.
pub type Worker<'a> = Box<dyn FnMut(&[u8]) + 'a>;

fn xor(block: &[u8], buffer: &mut [u8]) {
    // A key that the compiler does not know; zero, so that what comes out is a block still.
    let key = black_box(0_u64);
    let (from, _) = block.as_chunks::<8>();
    let (to, _) = buffer.as_chunks_mut::<8>();
    for (to, from) in to.iter_mut().zip(from) {
        *to = (u64::from_ne_bytes(*from) ^ key).to_ne_bytes();
    }
}

fn decode(block: &[u8]) -> Block {
    bitcoin::consensus::deserialize(block).expect("a block")
}

/// Outpoints that no block spends, behind a bitmap of 8 kB.
pub struct Watched {
    bitmap: Vec<u64>,
    members: HashSet<OutPoint>,
}

impl Watched {
    /// So many of them.
    pub fn new(count: u32) -> Self {
        let txid = |n: u32| Txid::from_byte_array(sha256::Hash::hash(&n.to_le_bytes()).to_byte_array());
        let members: HashSet<OutPoint> = (0..count).map(|n| OutPoint { txid: txid(n), vout: 0 }).collect();
        let mut bitmap = vec![0; 1 << 10];
        for n in 0..count {
            let bit = place(txid(n).as_byte_array());
            bitmap[bit / 64] |= 1 << (bit % 64);
        }
        Watched { bitmap, members }
    }
}

/// A bit of the bitmap.
fn place(txid: &[u8]) -> usize {
    usize::from(u16::from_le_bytes([txid[0], txid[1]]))
}

fn visit(block: &[u8], watched: &Watched, txids: bool) {
    struct Walk<'a> {
        watched: &'a Watched,
        txids: bool,
        found: usize,
    }
    impl Visitor for Walk<'_> {
        fn visit_tx_in(&mut self, _: usize, input: &bsl::TxIn<'_>) -> ControlFlow<()> {
            let bit = place(input.prevout().txid());
            if self.watched.bitmap[bit / 64] & (1 << (bit % 64)) != 0 {
                let txid = Txid::from_slice(input.prevout().txid()).expect("32 bytes");
                let outpoint = OutPoint { txid, vout: input.prevout().vout() };
                self.found += usize::from(self.watched.members.contains(&outpoint));
            }
            ControlFlow::Continue(())
        }

        fn visit_tx_out(&mut self, _: usize, output: &bsl::TxOut<'_>) -> ControlFlow<()> {
            let script = output.script_pubkey();
            let message = script.starts_with(b"\x6a\x06BTKN") || script.starts_with(b"\x6a\x4cBTKN");
            self.found += usize::from(message);
            ControlFlow::Continue(())
        }

        fn visit_transaction(&mut self, tx: &bsl::Transaction<'_>) -> ControlFlow<()> {
            if self.txids {
                black_box(tx.txid());
            }
            ControlFlow::Continue(())
        }
    }
    let mut walk = Walk { watched, txids, found: 0 };
    bsl::Block::visit(block, &mut walk).expect("a block");
    black_box(walk.found);
}
