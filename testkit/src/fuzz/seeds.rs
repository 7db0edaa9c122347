//! Inputs to start from: the test vectors, the regtest chain, and a few that are made here.

use std::collections::BTreeMap;
use std::path::Path;

use bitcoin::consensus::encode;
use bitcoin::hashes::Hash;
use bitcoin::hex::FromHex;
use bitcoin::{Block, BlockHash, Transaction};
use btkn_indexer::api::cursor::{self, List};
use btkn_indexer::chain::{BlockFiles, BlockId, Source};
use btkn_indexer::ledger::keys::{EntityIndex, KeyPart, Place};
use btkn_indexer::ledger::tables::{Balances, ExitsByOutput, Holders, OwnerTtxos, Sequences, Table, Tokens};
use btkn_indexer::protocol::chunk::{Chunk, ChunkToken};
use btkn_indexer::protocol::envelope::{self, EnvelopeKind, reveal_script};
use btkn_indexer::protocol::op_return::{LRC20_PREFIX, WITHDRAWAL_HEADER, single_push};
use btkn_indexer::protocol::{Height, Network, SparkOutPoint, address};
use serde_json::Value;

/// Seeds by the name of their target.
pub type Seeds = BTreeMap<&'static str, Vec<Vec<u8>>>;

/// Longest seed, in bytes: mutations of longer ones rarely hit what matters.
const MAX_LEN: usize = 3_000;

/// All seeds. `fixtures` is the directory of that name in the repository.
pub fn seeds(fixtures: &Path) -> Seeds {
    let mut seeds = Seeds::new();
    let vectors = |name: &str| -> Value {
        let text = std::fs::read(fixtures.join("vectors").join(name)).expect("the vectors are there");
        serde_json::from_slice(&text).expect("they are JSON")
    };
    of_message_vectors(&mut seeds, &vectors("vectors.json"));
    of_snapshot_vectors(&mut seeds, &vectors("snapshot-vectors.json"));
    of_chain(&mut seeds, &fixtures.join("regtest/blocks"));
    envelopes(&mut seeds);
    cursors(&mut seeds);
    for inputs in seeds.values_mut() {
        inputs.retain(|input| input.len() <= MAX_LEN);
        inputs.sort();
        inputs.dedup();
    }
    seeds
}

fn add(seeds: &mut Seeds, target: &'static str, input: Vec<u8>) {
    seeds.entry(target).or_default().push(input);
}

fn hex(value: &Value) -> Option<Vec<u8>> {
    Vec::from_hex(value.as_str()?).ok()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn of_message_vectors(seeds: &mut Seeds, all: &Value) {
    for vector in items(&all["vectors"]) {
        let (input, expected) = (&vector["input"], &vector["expected"]);
        for script in [&input["script"], &input["yuv_prefixed_script"]].into_iter().filter_map(hex) {
            add(seeds, "announcement", script.clone());
            add(seeds, "withdrawal", script);
        }
        if let Some(tx) = hex(&input["raw_tx"]) {
            add(seeds, "envelope", tx);
        }
        let texts = [&expected["bech32m"], &expected["token_identifier"], &input["identity_public_key"]];
        for text in texts.into_iter().chain([expected]).filter_map(Value::as_str) {
            addresses(seeds, text);
        }
    }
}

/// One for each network, whatever the text is.
fn addresses(seeds: &mut Seeds, text: &str) {
    for network in 0..4 {
        add(seeds, "address", [&[network], text.as_bytes()].concat());
    }
    add(seeds, "address", [b"\0", text.as_bytes(), b":7"].concat());
}

fn of_snapshot_vectors(seeds: &mut Seeds, all: &Value) {
    for manifest in items(&all["manifests"]) {
        let inputs = [hex(&manifest["body"]), hex(&manifest["manifest"])];
        inputs.into_iter().flatten().for_each(|input| add(seeds, "manifest", input));
    }
    for chunk in items(&all["chunks"]) {
        hex(&chunk["body"]).into_iter().for_each(|input| add(seeds, "chunk", input));
    }
    for case in items(&all["malformed"]).chain(items(&all["accepted"])) {
        let target = if case["kind"] == "manifest" { "manifest" } else { "chunk" };
        hex(&case["body"]).into_iter().for_each(|input| add(seeds, target, input));
    }
    for block in items(&all["chain"]["blocks"]).filter_map(hex) {
        of_block(seeds, &block);
    }
}

/// A block, its transactions, and the messages in them.
fn of_block(seeds: &mut Seeds, bytes: &[u8]) {
    let block: Block = encode::deserialize(bytes).expect("a block of the fixtures decodes");
    add(seeds, "block", bytes.to_vec());
    for tx in &block.txdata {
        for message in envelope::messages(tx) {
            let target = if message.kind == EnvelopeKind::Manifest { "manifest" } else { "chunk" };
            if target == "chunk" {
                of_chunk(seeds, &message.body);
            }
            add(seeds, target, message.body);
            add(seeds, "envelope", encode::serialize(tx));
            let witness = &tx.input[message.input as usize].witness;
            add(seeds, "envelope", witness.nth(witness.len() - 2).unwrap_or_default().to_vec());
        }
        for output in &tx.output {
            let script = output.script_pubkey.as_bytes();
            match single_push(script) {
                Some(push) if push.starts_with(LRC20_PREFIX) => add(seeds, "announcement", script.to_vec()),
                Some(push) if push.starts_with(WITHDRAWAL_HEADER) => {
                    add(seeds, "withdrawal", script.to_vec())
                }
                _ => {}
            }
        }
    }
}

/// Tables that name a token both in full and by its identifier.
fn of_chunk(seeds: &mut Seeds, body: &[u8]) {
    let Ok(mut chunk) = Chunk::decode(body, Network::Regtest) else { return };
    let Some(token) = chunk.tokens.first().cloned() else { return };
    for ttxo in &chunk.created {
        addresses(seeds, &address::encode_owner(ttxo.owner, Network::Regtest));
    }
    chunk.tokens.insert(0, ChunkToken::Id(token.id()));
    add(seeds, "chunk", chunk.encode());
    chunk.tokens.push(token);
    add(seeds, "chunk", chunk.encode());
}

fn of_chain(seeds: &mut Seeds, dir: &Path) {
    let mut source = BlockFiles::open(dir, Network::Regtest).expect("the fixture is there");
    source.refresh().expect("it can be read");
    let hashes = source.hashes(Height(0), usize::MAX).expect("it was read");
    let mut blocks = Vec::new();
    for (height, hash) in (0..).zip(hashes) {
        let mut bytes = Vec::new();
        source.fetch(BlockId { height: Height(height), hash }, &mut bytes).expect("it is in the files");
        blocks.push(bytes);
    }
    for bytes in blocks.iter().filter(|bytes| bytes.len() <= MAX_LEN && bytes.len() > 400) {
        of_block(seeds, bytes);
    }
    block_files(seeds, &blocks);
}

/// Files with the first blocks of the chain: whole, behind garbage, cut, with a key, and with a hole in
/// the place of a part of a block.
fn block_files(seeds: &mut Seeds, blocks: &[Vec<u8>]) {
    let record = |block: &Vec<u8>, size: usize| {
        let size = (size as u32).to_le_bytes();
        [&bitcoin::Network::Regtest.magic().to_bytes()[..], &size, block].concat()
    };
    let records: Vec<Vec<u8>> = blocks.iter().take(5).map(|block| record(block, block.len())).collect();
    let run = records.concat();
    let magic = &run[..4];
    let key = [&[1][..], b"\x8a\x01\xff\x00\x7c\x33\x51\x09"].concat();
    for flags in [vec![0], key] {
        let mut file = |parts: &[&[u8]]| add(seeds, "block_file", [&flags[..], &parts.concat()].concat());
        file(&[&run]);
        file(&[&[0; 300], &run[..run.len() - 40]]);
        file(&[&records[0], magic, &records[1][..60], &records[2], &records[1], &run[..100]]);
        file(&[&records[1], &records[0], &records[1], magic]);
    }
    for (cut, hole) in [(150u16, 0x5000u16), (300, 0x4001), (1000, 0x4000), (0, 0x3ff0), (200, 1)] {
        let long = record(&blocks[0], blocks[0].len() + 16 * usize::from(hole));
        let head = [&[2][..], &cut.to_le_bytes(), &hole.to_le_bytes()].concat();
        add(seeds, "block_file", [&head[..], &long, &records[1], &records[2]].concat());
        add(seeds, "block_file", [&head[..], &run].concat());
    }
}

/// Scripts with several envelopes, broken ones, and other things between them.
fn envelopes(seeds: &mut Seeds) {
    let message = reveal_script(EnvelopeKind::Chunk, b"body", None).into_bytes();
    let between: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x00\x63",
        b"\x00\x63\x03ord",
        b"\x00\x63\x03ord\xac",
        b"\x4c",
        b"\x51\x4f",
        b"\x68",
    ];
    for part in between {
        add(seeds, "envelope", [part, &message].concat());
        add(seeds, "envelope", [&message, part, &message].concat());
    }
    let fields: [&[u8]; 6] = [
        b"\x01\x02\x00",
        b"\x01\x0c\x01x",
        b"\x01\x03\x01p\x01\x03\x01q",
        b"\x5b\x00",
        b"\x59\x01\x62",
        b"\x51",
    ];
    for field in fields {
        let mut script = message.clone();
        script.splice(6..6, field.iter().copied());
        add(seeds, "envelope", script);
    }
    let tx: Transaction = super::reference::transaction_of(
        bitcoin::Witness::from_slice(&[&message[..], &[0xc0; 33], &[0x50]]),
        Vec::new(),
    );
    add(seeds, "envelope", encode::serialize(&tx));
    add(seeds, "block", encode::serialize(&super::reference::block_of(vec![tx])));
}

/// The lowest and the highest cursor of every list.
fn cursors(seeds: &mut Seeds) {
    fn of<K: KeyPart>(seeds: &mut Seeds, list: List) {
        for (n, key) in [(0, K::LOWEST), (0xff, K::HIGHEST)] {
            let text = cursor::encode(list, BlockHash::from_byte_array([n; 32]), &key);
            add(seeds, "cursor", Vec::from_hex(&text).expect("a cursor is hex"));
            add(seeds, "cursor", text.into_bytes());
        }
    }
    of::<<Tokens as Table>::Key>(seeds, List::Tokens);
    of::<<Holders as Table>::Key>(seeds, List::Holders);
    of::<<Balances as Table>::Key>(seeds, List::Balances);
    of::<<OwnerTtxos as Table>::Key>(seeds, List::OwnerTtxos);
    of::<(Place, u8)>(seeds, List::Exits);
    of::<<ExitsByOutput as Table>::Key>(seeds, List::OutputExits);
    of::<(EntityIndex, SparkOutPoint, (Place, u8))>(seeds, List::TtxoExits);
    of::<<Sequences as Table>::Key>(seeds, List::Snapshots);
}
