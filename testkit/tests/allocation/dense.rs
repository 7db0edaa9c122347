//! Inputs with many items in few bytes, and inputs that claim more than they hold.

use bitcoin::block::Header;
use bitcoin::consensus::encode;
use bitcoin::constants::genesis_block;
use bitcoin::{ScriptBuf, Witness};
use btkn_indexer::protocol::PubKey;
use btkn_indexer::protocol::envelope::{EnvelopeKind, reveal_script};
use btkn_indexer::protocol::withdrawal::{WithdrawalAnnouncement, WithdrawalRecord};
use btkn_indexer::protocol::{Signature, SparkOutPoint};
use btkn_testkit::fuzz::reference::{block_of, transaction_of};

use super::Named;

/// Length of a dense input, about: what a standard transaction can carry.
const LONG: usize = 400_000;

/// As many of these in a row as fit.
fn many(item: &[u8]) -> Vec<u8> {
    item.repeat(LONG / item.len())
}

fn named(cases: Vec<(&str, Vec<u8>)>) -> Vec<Named> {
    cases.into_iter().map(|(name, input)| (name.to_owned(), input)).collect()
}

/// The head of a CBOR item, in nine bytes.
fn head(major: u8, argument: u64) -> Vec<u8> {
    [&[major << 5 | 27][..], &argument.to_be_bytes()].concat()
}

/// An array of as many of these items as fit, and the same with a count that is not true.
fn arrays(item: &[u8]) -> [(&'static str, Vec<u8>); 3] {
    let items = many(item);
    let count = (items.len() / item.len()) as u64;
    let array = |count: u64| [head(4, count), items.clone()].concat();
    [("", array(count)), (", one too few", array(count + 1)), (", 2^63 claimed", array(1 << 63))]
}

/// A map of keys 0 to `keys - 1`, with version 1 under key 0, `value` under `key`, and `others` elsewhere.
fn message(keys: u8, key: u8, value: &[u8], others: &[&[u8]]) -> Vec<u8> {
    let mut body = vec![0xa0 | keys];
    for at in 0..keys {
        body.push(at);
        body.extend_from_slice(if at == key { value } else { others[usize::from(at)] });
    }
    body
}

/// Claims of every kind under every key, in a message with nothing else in it.
fn claims(keys: u8, others: &[&[u8]]) -> Vec<Named> {
    let mut cases = Vec::new();
    for key in 0..keys {
        for major in 2..6 {
            for claim in [1 << 20, 1 << 32, 1 << 63, u64::MAX] {
                let value = [head(major, claim), vec![0; 100]].concat();
                let name = format!("{claim} claimed for type {major} under key {key}");
                cases.push((name, message(keys, key, &value, others)));
            }
        }
    }
    cases
}

/// Keys that are ignored, each with the shortest value.
fn ignored_keys() -> Vec<u8> {
    let keys = 0x0001_0000..0x0001_0000 + LONG as u32 / 6;
    let pairs: Vec<u8> = keys.flat_map(|key| [&[0x1a][..], &key.to_be_bytes(), &[0]].concat()).collect();
    [head(5, pairs.len() as u64 / 6), pairs].concat()
}

pub fn manifests() -> Vec<Named> {
    let (key, hash) = ([&[0x58, 33][..], &[2; 33]].concat(), [&[0x58, 32][..], &[3; 32]].concat());
    let anchor = [&[0x82, 0][..], &hash].concat();
    let others: [&[u8]; 11] = [&[1], &key, &[0], &[0], &[0], &[0xf6], &anchor, &[0], &[0x80], &[0], &hash];
    let sign = |manifest: &[u8]| {
        let bytes = [head(2, manifest.len() as u64), manifest.to_vec()].concat();
        [&[0x82][..], &bytes, &[0x58, 64], &[5; 64]].concat()
    };
    let mut cases = claims(11, &others);
    for (what, list) in arrays(&hash) {
        cases.push((format!("chunk hashes{what}"), message(11, 8, &list, &others)));
    }
    let distinct: Vec<u8> =
        (0..LONG as u32 / 34).flat_map(|n| [&[0x58, 32][..], &n.to_be_bytes(), &[3; 28]].concat()).collect();
    let list = [head(4, distinct.len() as u64 / 34), distinct].concat();
    cases.push(("distinct chunk hashes".to_owned(), message(11, 8, &list, &others)));
    cases.push(("ignored keys".to_owned(), ignored_keys()));
    let mut signed: Vec<Named> = cases.into_iter().map(|(name, body)| (name, sign(&body))).collect();
    signed.push(("2^63 manifests claimed".to_owned(), [&[0x82][..], &head(2, 1 << 63)].concat()));
    signed
}

pub fn chunks() -> Vec<Named> {
    let key = [&[0x58, 33][..], &PubKey::BURN.0].concat();
    let hash = [&[0x58, 32][..], &[3; 32]].concat();
    let full = [&[0x87][..], &key, b"\x63abc\x63XYZ\x00\x50", &[0; 16], &[0xf4, 0xf6]].concat();
    let created = [&[0x86][..], &hash, &[0, 0], &key, &[0, 1]].concat();
    let spent = [&[0x82][..], &hash, &[0]].concat();
    let (one_token, one_owner) = ([&[0x81][..], &hash].concat(), [&[0x81][..], &key].concat());
    let others: [&[u8]; 6] = [&[1], &one_token, &one_owner, &[0x82, 0, 0], &[0x80], &[0x80]];
    let mut cases = claims(6, &others);
    let lists: [(&str, u8, &[u8]); 5] = [
        ("identifiers", 1, &hash),
        ("tokens in full", 1, &full),
        ("owners", 2, &key),
        ("created TTXOs", 4, &created),
        ("spent TTXOs", 5, &spent),
    ];
    for (name, key, item) in lists {
        for (what, list) in arrays(item) {
            cases.push((format!("{name}{what}"), message(6, key, &list, &others)));
        }
    }
    cases.push(("ignored keys".to_owned(), ignored_keys()));
    cases
}

pub fn scripts() -> Vec<Named> {
    let long = |header: &[u8]| [&[0x6a, 0x4e][..], &(LONG as u32).to_le_bytes(), header].concat();
    let filled = |header: &[u8]| {
        let script = long(header);
        let rest = vec![0xff; LONG - header.len()];
        [script, rest].concat()
    };
    named(vec![
        ("4 GiB claimed", [&[0x6a, 0x4e][..], &[0xff; 4], b"BTKN\x00\x04"].concat()),
        ("400 kB claimed", long(b"LRC20\x00\x00")),
        ("a long withdrawal", filled(b"BTKN\x00\x04")),
        ("a long token", filled(b"LRC20\x00\x00")),
        ("255 records", withdrawal(255).into_bytes()),
    ])
}

fn withdrawal(records: usize) -> ScriptBuf {
    let record = WithdrawalRecord { bitcoin_vout: 0, ttxo: SparkOutPoint::MIN };
    let announcement = WithdrawalAnnouncement {
        entity: PubKey::BURN,
        owner_signature: Signature([0; 64]),
        records: vec![record; records],
    };
    announcement.script()
}

pub fn texts() -> Vec<Named> {
    named(vec![
        ("digits", many(b"0")),
        ("a long address", [&b"btkn1"[..], &many(b"q")].concat()),
        ("a long prefix", [&many(b"q")[..], b"1q"].concat()),
        ("separators", many(b"1")),
    ])
}

pub fn tapscripts() -> Vec<Named> {
    let message = reveal_script(EnvelopeKind::Chunk, b"", None).into_bytes();
    let (begin, end) = (&message[..message.len() - 3], &message[message.len() - 2..]);
    let within = |item: &[u8]| [begin, &many(item), &[0], end].concat();
    let tags: Vec<u8> =
        (0..LONG as u32 / 5).flat_map(|n| [3, 1, n.to_be_bytes()[2], n.to_be_bytes()[3], 0x51]).collect();
    let broken = [&many(&message)[..], &[0x4c]].concat();
    named(vec![
        ("messages", many(&message)),
        ("messages in a script that does not parse", broken),
        ("tiny envelopes", many(b"\x00\x63\x03ord\x68")),
        ("starts of envelopes", many(b"\x00\x63\x03ord")),
        ("a body of numbers", [begin, &[0], &many(b"\x51"), end].concat()),
        ("a body of empty pushes", [begin, &[0], &many(b"\x00"), end].concat()),
        ("fields with one tag", within(b"\x53\x51")),
        ("fields with many tags", [begin, &tags, &[0], end].concat()),
        ("fields without end", [begin, &tags].concat()),
        ("no message", [&b"\x00\x63\x03ord"[..], &many(b"\x51"), &[0x68]].concat()),
        ("4 GiB claimed", [begin, &[0x4e, 0xff, 0xff, 0xff, 0xff]].concat()),
    ])
}

pub fn blocks() -> Vec<Named> {
    let sound = |txs| encode::serialize(&block_of(txs));
    let outputs = |script: &[u8], len: usize| {
        let script = ScriptBuf::from_bytes(script.to_vec());
        vec![transaction_of(Witness::new(), vec![script; LONG / (9 + len)])]
    };
    let tiny = |lock_time: u32| {
        let mut tx = transaction_of(Witness::new(), vec![ScriptBuf::new()]);
        tx.lock_time = bitcoin::absolute::LockTime::from_consensus(lock_time);
        tx
    };
    let mut inputs =
        transaction_of(Witness::new(), vec![ScriptBuf::from_bytes(b"\x6a\x07LRC20\x00\x01".to_vec())]);
    inputs.input = vec![inputs.input[0].clone(); LONG / 41];
    let mut stack: Vec<&[u8]> = vec![b"btkn"];
    stack.resize(LONG, b"");
    let witness = transaction_of(Witness::from_slice(&stack), Vec::new());
    let revealed = tapscripts()[0].1.clone();
    let reveal = transaction_of(Witness::from_slice(&[&revealed[..], &[0xc0; 33]]), Vec::new());
    let mut cases = named(vec![
        ("legacy messages", sound(outputs(b"\x6a\x07LRC20\x00\x01", 9))),
        ("malformed tokens", sound(outputs(b"\x6a\x07LRC20\x00\x00", 9))),
        ("malformed withdrawals", sound(outputs(b"\x6a\x06BTKN\x00\x04", 8))),
        ("withdrawals", sound(outputs(withdrawal(1).as_bytes(), withdrawal(1).len()))),
        ("tiny transactions", sound((0..LONG as u32 / 60).map(tiny).collect())),
        ("inputs", sound(vec![inputs])),
        ("empty witness elements", sound(vec![witness])),
        ("envelopes", sound(vec![reveal])),
    ]);
    let header = encode::serialize(&genesis_block(bitcoin::Network::Regtest).header);
    for (name, count) in COMPACT_SIZES {
        cases.push((format!("{name} transactions claimed"), [&header[..], count].concat()));
        let filled = [&header[..], count, &many(&[0])].concat();
        cases.push((format!("{name} transactions claimed, and zeros"), filled));
        let inputs = [&header[..], &[1, 2, 0, 0, 0], count, &[0; 100]].concat();
        cases.push((format!("{name} inputs claimed"), inputs));
    }
    cases
}

/// Compact sizes that promise much.
const COMPACT_SIZES: [(&str, &[u8]); 4] = [
    ("65,535", b"\xfd\xff\xff"),
    ("2^32 - 1", b"\xfe\xff\xff\xff\xff"),
    ("2^32", b"\xff\x00\x00\x00\x00\x01\x00\x00\x00"),
    ("2^64 - 1", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
];

pub fn files() -> Vec<Named> {
    let genesis = genesis_block(bitcoin::Network::Regtest);
    let record = |block: &[u8]| {
        let size = (block.len() as u32).to_le_bytes();
        [&bitcoin::Network::Regtest.magic().to_bytes()[..], &size, block].concat()
    };
    let first = record(&encode::serialize(&genesis));
    // Children of the genesis block, as short as a record may be.
    let child = |time: u32| {
        let mut header = Header { prev_blockhash: genesis.block_hash(), time, ..genesis.header };
        while header.validate_pow(header.target()).is_err() {
            header.nonce += 1;
        }
        record(&[&encode::serialize(&header)[..], &[0]].concat())
    };
    let children: Vec<u8> = (0..LONG as u32 / 89).flat_map(child).collect();
    let mut cases = named(vec![
        ("short blocks", [&first[..], &children].concat()),
        ("the same block", many(&first)),
        ("magics", [&first[..], &many(&first[..4])].concat()),
        ("headers that claim 4 MB", [&first[..], &many(&claiming(&first, 4_000_000))].concat()),
        ("a record that claims 4 GB", [&first[..], &claiming(&first, u32::MAX)].concat()),
    ]);
    for (name, count) in COMPACT_SIZES {
        let header = encode::serialize(&genesis.header);
        let last = record(&[&header[..], count, &[1; 50]].concat());
        cases.push((format!("{name} transactions claimed"), [&first[..], &last].concat()));
        let last = record(&[&header[..], &[1, 2, 0, 0, 0], count, &[1; 50]].concat());
        cases.push((format!("{name} inputs claimed"), [&first[..], &last].concat()));
    }
    cases
}

/// A record whose size is this, with nothing behind its header.
fn claiming(record: &[u8], size: u32) -> Vec<u8> {
    [&record[..4], &size.to_le_bytes(), &record[8..88]].concat()
}
