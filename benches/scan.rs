//! The scanner beside what it replaces: decoding every transaction and asking ord about each.
//!
//! `cargo bench --bench scan`. Throughput is in raw block bytes; compare the two within one run.

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version as BlockVersion};
use bitcoin::hashes::{Hash, sha256};
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode,
    TxOut, Txid, Witness,
};
use btkn_indexer::protocol::envelope;
use btkn_indexer::scan::{RawBlock, WatchSet, scan_batch};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Bytes that look random and are the same in every run.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let block = |n: u64| sha256::Hash::hash(&[seed.to_le_bytes(), n.to_le_bytes()].concat()).to_byte_array();
    (0u64..).flat_map(block).take(len).collect()
}

/// A spend of a segwit output to two others; every tenth carries an inscription of 4 kB.
fn transaction(seed: u64) -> Transaction {
    let txid = Txid::from_slice(&noise(seed, 32)).expect("32 bytes");
    let witness = if seed.is_multiple_of(10) {
        let image = noise(seed + 1, 4_000);
        let mut script = vec![0x00, 0x63, 3, b'o', b'r', b'd', 1, 1, 9];
        script.extend_from_slice(b"image/png\x00");
        for push in image.chunks(520) {
            script.push(0x4d);
            script.extend_from_slice(&(push.len() as u16).to_le_bytes());
            script.extend_from_slice(push);
        }
        script.push(0x68);
        Witness::from_slice(&[noise(seed + 2, 64), script, noise(seed + 3, 33)])
    } else {
        Witness::from_slice(&[noise(seed + 2, 72), noise(seed + 3, 33)])
    };
    let output = |n: u64| TxOut {
        value: Amount::from_sat(10_000 + n),
        script_pubkey: ScriptBuf::from_bytes([&[0x51, 0x20][..], &noise(seed + n, 32)].concat()),
    };
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint { txid, vout: 1 },
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness,
        }],
        output: vec![output(4), output(5)],
    }
}

fn block(transactions: u64) -> (BlockHash, Vec<u8>) {
    let mut block = Block {
        header: Header {
            version: BlockVersion::TWO,
            prev_blockhash: BlockHash::all_zeros(),
            merkle_root: TxMerkleNode::all_zeros(),
            time: 0,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        },
        txdata: (0..transactions).map(|n| transaction(n * 16)).collect(),
    };
    block.header.merkle_root = block.compute_merkle_root().expect("there are transactions");
    (block.block_hash(), bitcoin::consensus::serialize(&block))
}

fn scan(criterion: &mut Criterion) {
    let (hash, bytes) = block(2_500);
    let mut watched = WatchSet::new();
    for n in 0..1_000u64 {
        let txid = Txid::from_slice(&noise(n << 32, 32)).expect("32 bytes");
        watched.insert(OutPoint { txid, vout: 0 });
    }
    let mut group = criterion.benchmark_group("one block");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("scan, 1,000 outputs watched", |bencher| {
        bencher.iter(|| scan_batch(&[RawBlock { hash, bytes: &bytes }], &watched));
    });
    group.bench_function("decode, ord on every transaction", |bencher| {
        bencher.iter(|| {
            let block: Block = bitcoin::consensus::deserialize(&bytes).expect("it was serialised above");
            block.txdata.iter().map(|tx| envelope::messages(tx).len()).sum::<usize>()
        });
    });
    group.finish();
}

criterion_group!(benches, scan);
criterion_main!(benches);
