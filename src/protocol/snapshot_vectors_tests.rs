//! Every vector of `fixtures/vectors/snapshot-vectors.json` that concerns bytes: records, roots,
//! proofs, manifests, chunks and the envelope. The part `chain` is for the ledger.

use bitcoin::Transaction;
use bitcoin::hex::FromHex;
use bitcoin::secp256k1::Keypair;
use serde_json::Value;

use super::chunk::{self, Chunk, ChunkToken};
use super::curve::SECP;
use super::envelope::{self, EnvelopeKind, RevealOutput};
use super::manifest::{Manifest, SignedManifest, SnapshotKind};
use super::merkle::{self, AbsenceProof, InclusionProof, Neighbour};
use super::token::{Layer, TokenMetadata};
use super::ttxo::Ttxo;
use super::{Amount, ChunkHash, ManifestId, Network, NodeHash, PubKey, SparkOutPoint, hashes};

const VECTORS: &str = include_str!("../../fixtures/vectors/snapshot-vectors.json");

fn vectors() -> Value {
    serde_json::from_str(VECTORS).expect("JSON")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no list {key} in {value}"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key} in {value}"))
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no number {key} in {value}"))
}

fn bytes(value: &Value, key: &str) -> Vec<u8> {
    Vec::from_hex(text(value, key)).expect("hex")
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value, key: &str) -> T {
    text(value, key).parse().expect("hex of the right length")
}

fn nullable<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value, key: &str) -> Option<T> {
    (!value[key].is_null()).then(|| parsed(value, key))
}

fn amount(value: &Value, key: &str) -> Amount {
    Amount(text(value, key).parse().expect("a number"))
}

fn outpoint(value: &Value) -> SparkOutPoint {
    SparkOutPoint { tx_hash: parsed(value, "hash"), vout: number(value, "vout") as u32 }
}

fn ttxo(value: &Value) -> Ttxo {
    Ttxo {
        outpoint: outpoint(value),
        owner: parsed(value, "owner"),
        revocation: parsed(value, "revocation"),
        bond: number(value, "bond"),
        locktime: number(value, "locktime"),
        token: parsed(value, "token"),
        amount: amount(value, "amount"),
    }
}

fn record(value: &Value) -> [u8; Ttxo::RECORD_LEN] {
    bytes(value, "record").try_into().expect("166 bytes")
}

fn proof(value: &Value) -> InclusionProof {
    InclusionProof {
        leaf_index: number(value, "leaf_index"),
        tree_size: number(value, "tree_size"),
        siblings: list(value, "siblings")
            .iter()
            .map(|sibling| sibling.as_str().expect("text").parse().expect("a hash"))
            .collect(),
    }
}

#[test]
fn no_part_of_the_file_is_unknown() {
    let file = vectors();
    let mut parts: Vec<&str> = file.as_object().expect("an object").keys().map(String::as_str).collect();
    parts.sort_unstable();
    let known = [
        "absence",
        "accepted",
        "chain",
        "chunks",
        "description",
        "envelope",
        "malformed",
        "manifests",
        "records",
        "roots",
    ];
    assert_eq!(parts, known);
}

#[test]
fn records() {
    let file = vectors();
    let records = list(&file["records"], "list");
    assert_eq!(records.len(), 9);
    for expected in records {
        let ttxo = ttxo(expected);
        assert_eq!(ttxo.record(), record(expected), "{}", ttxo.outpoint);
        assert_eq!(Ttxo::from_record(&record(expected)), ttxo, "{}", ttxo.outpoint);
        assert_eq!(ttxo.leaf(), parsed(expected, "leaf"), "{}", ttxo.outpoint);
    }
    assert!(records.windows(2).all(|pair| outpoint(&pair[0]) < outpoint(&pair[1])));
}

#[test]
fn roots_and_inclusion_proofs() {
    let file = vectors();
    let leaves: Vec<NodeHash> =
        list(&file["records"], "list").iter().map(|record| ttxo(record).leaf()).collect();
    let mut proofs = 0;
    for expected in list(&file["roots"], "list") {
        let size = number(expected, "size") as usize;
        let root: NodeHash = parsed(expected, "root");
        assert_eq!(merkle::root(leaves[..size].iter().copied()), root, "{size} leaves");
        for expected in list(expected, "proofs") {
            let proof = proof(expected);
            let case = format!("leaf {} of {size}", proof.leaf_index);
            let leaf = Ttxo::from_record(&record(expected)).leaf();
            assert_eq!(leaf, parsed(expected, "leaf"), "{case}");
            assert!(proof.verify(&leaf, &root), "{case}");
            let made = merkle::prove(&leaves[..size], proof.leaf_index as usize);
            assert_eq!(made, Some(proof), "{case}");
            proofs += 1;
        }
    }
    assert_eq!(proofs, 14);
}

#[test]
fn absence() {
    let file = vectors();
    let expected = &file["absence"];
    let [left, right] = list(expected, "proofs") else { panic!("two neighbours") };
    let neighbour = |value| Some(Neighbour { ttxo: Ttxo::from_record(&record(value)), proof: proof(value) });
    let proof = AbsenceProof { left: neighbour(left), right: neighbour(right) };
    let (outpoint, root) = (outpoint(expected), parsed(expected, "root"));
    assert!(proof.verify(&outpoint, &root));
    let set: Vec<Ttxo> =
        list(&file["records"], "list").iter().map(ttxo).filter(|ttxo| ttxo.outpoint != outpoint).collect();
    assert_eq!(merkle::root(set.iter().map(Ttxo::leaf)), root);
    assert_eq!(AbsenceProof::prove(&set, &outpoint), Some(proof));
}

fn manifest(value: &Value) -> Manifest {
    Manifest {
        entity: parsed(value, "entity"),
        network_magic: number(value, "network") as u32,
        sequence: number(value, "sequence"),
        kind: match text(value, "kind") {
            "full" => SnapshotKind::Full,
            "delta" => SnapshotKind::Delta,
            kind => panic!("unknown kind {kind}"),
        },
        parent: nullable(value, "parent"),
        anchor_height: number(value, "anchor_height"),
        anchor_hash: bytes(value, "anchor_hash").try_into().expect("32 bytes"),
        as_of_ms: number(value, "as_of"),
        chunks: list(value, "chunk_hashes")
            .iter()
            .map(|hash| hash.as_str().expect("text").parse().expect("a hash"))
            .collect(),
        count: number(value, "count"),
        root: parsed(value, "root"),
    }
}

#[test]
fn manifests() {
    for expected in list(&vectors(), "manifests") {
        let case = text(expected, "description");
        let body = bytes(expected, "body");
        let signed = SignedManifest::decode(&body).expect(case);
        assert_eq!(signed.manifest, manifest(&expected["decoded"]), "{case}");
        assert_eq!(signed.id, parsed(expected, "id"), "{case}");
        assert_eq!(signed.signature, parsed(expected, "signature"), "{case}");
        assert!(signed.verify_signature(), "{case}");
        assert_eq!(signed.manifest.encode(), bytes(expected, "manifest"), "{case}");
        let key = Keypair::from_seckey_slice(&SECP, &bytes(expected, "private_key")).expect("a key");
        assert_eq!(PubKey::from(key.public_key()), signed.manifest.entity, "{case}");
        let again = SignedManifest::sign(&signed.manifest, &key);
        assert_eq!(again, signed, "{case}");
        assert_eq!(again.encode(), body, "{case}");
    }
}

fn full_token(value: &Value) -> ChunkToken {
    ChunkToken::Full {
        id: parsed(value, "token"),
        metadata: TokenMetadata {
            issuer: parsed(value, "issuer"),
            name: text(value, "name").to_owned(),
            ticker: text(value, "ticker").to_owned(),
            decimals: number(value, "decimals") as u8,
            max_supply: amount(value, "max_supply"),
            freezable: value["freezable"].as_bool().expect("a flag"),
        },
        layer: nullable(value, "creation_entity").map_or(Layer::L1, Layer::Spark),
    }
}

#[test]
fn chunks() {
    for expected in list(&vectors(), "chunks") {
        let case = text(expected, "description");
        let body = bytes(expected, "body");
        assert_eq!(chunk::hash(&body), parsed(expected, "hash"), "{case}");
        let chunk = Chunk::decode(&body, Network::Regtest).expect(case);
        let decoded = &expected["decoded"];
        let full: Vec<ChunkToken> =
            chunk.tokens.iter().filter(|token| matches!(token, ChunkToken::Full { .. })).cloned().collect();
        assert_eq!(full, list(decoded, "tokens").iter().map(full_token).collect::<Vec<_>>(), "{case}");
        assert_eq!(chunk.created, list(decoded, "created").iter().map(ttxo).collect::<Vec<_>>(), "{case}");
        assert_eq!(chunk.spent, list(decoded, "spent").iter().map(outpoint).collect::<Vec<_>>(), "{case}");
        assert_eq!(Chunk::decode(&chunk.encode(), Network::Regtest), Ok(chunk), "{case}");
    }
}

/// Kind, fault and a part of what the decoder says: each vector is refused for the fault that it has.
const FAULTS: &[(&str, &str, &str)] = &[
    ("manifest", "indefinite length map", "manifest: at byte 0: indefinite lengths"),
    ("manifest", "indefinite length array in an ignored value", "at byte 174: indefinite lengths"),
    ("manifest", "indefinite length outer array", "signed manifest: at byte 0: indefinite lengths"),
    ("manifest", "duplicate key", "key 3 appears twice"),
    ("manifest", "duplicate key in another encoding", "key 3 appears twice"),
    ("manifest", "duplicate key among the ignored", "key 70 appears twice"),
    ("manifest", "tag", "expected an unsigned time"),
    ("manifest", "tag around everything", "signed manifest: at byte 0: expected an array"),
    ("manifest", "nesting 17", "deeper than 16 levels"),
    ("manifest", "nesting 17, one of them a tag", "deeper than 16 levels"),
    ("manifest", "indefinite length text in a tag in an ignored value", "indefinite lengths"),
    ("manifest", "simple value that is not well-formed in an ignored value", "not well-formed"),
    ("manifest", "trailing byte", "manifest: at byte 172: bytes follow"),
    ("manifest", "trailing byte after the signature", "signed manifest: at byte 241: bytes follow"),
    ("manifest", "text key", "an unsigned integer as map key"),
    ("manifest", "negative key", "an unsigned integer as map key"),
    ("manifest", "unknown key 63", "unknown key 63"),
    ("manifest", "missing key 9", "key 9 is missing"),
    ("manifest", "wrong size: root of 31 bytes", "out of range: expected a root of 32 bytes"),
    ("manifest", "wrong size: signature of 63 bytes", "out of range: expected a signature of 64 bytes"),
    ("manifest", "wrong size: network of 33 bits", "out of range: expected a network number"),
    ("manifest", "wrong type: version true", "expected an unsigned version"),
    ("manifest", "version 2", "manifest of version 2"),
    ("manifest", "chunk hash twice", "is listed twice"),
    ("manifest", "manifest not wrapped in a byte string", "expected the manifest as a byte string"),
    ("chunk", "indefinite length array", "indefinite lengths"),
    ("chunk", "duplicate key", "key 5 appears twice"),
    ("chunk", "tag", "expected an array of created TTXOs"),
    ("chunk", "big number tag as amount", "expected an amount of at least 1"),
    ("chunk", "nesting 17", "deeper than 16 levels"),
    ("chunk", "trailing byte", "bytes follow"),
    ("chunk", "byte string key", "an unsigned integer as map key"),
    ("chunk", "unknown key 6", "unknown key 6"),
    ("chunk", "name is not UTF-8", "text is not UTF-8"),
    ("chunk", "name of 2 bytes", "token 0: the name has 2 bytes"),
    ("chunk", "name not in normal form C", "token 0: the name is not in Unicode normal form C"),
    ("chunk", "ticker of 7 bytes", "token 0: the ticker has 7 bytes"),
    ("chunk", "decimals 256", "decimals of at most 255"),
    ("chunk", "issuer not on the curve", "token 0: the issuer key"),
    ("chunk", "creation entity not on the curve", "token 0: the creation entity"),
    ("chunk", "unused owner not on the curve", "owner 1 is not a point"),
    ("chunk", "revocation not on the curve", "revocation commitment of created TTXO 0"),
    ("chunk", "wrong size: transaction hash of 31 bytes", "a transaction hash of 32 bytes"),
    ("chunk", "vout 2^32", "an output index of 32 bits"),
    ("chunk", "owner index out of range", "an index into the owner keys"),
    ("chunk", "token index out of range", "an index into the tokens"),
    ("chunk", "amount 0", "an amount of at least 1"),
    ("chunk", "long amount of 8 bytes", "an amount of 9 to 16 bytes"),
    ("chunk", "long amount with a leading zero", "without a leading zero"),
    ("chunk", "long amount of 17 bytes", "an amount of 9 to 16 bytes"),
    ("chunk", "locktime 65536", "at byte 201: out of range: expected a locktime"),
    ("chunk", "default locktime 65536", "at byte 118: out of range: expected a locktime"),
    ("chunk", "bond above the limit", "a bond of at most"),
];

#[test]
fn malformed() {
    let file = vectors();
    let vectors = list(&file, "malformed");
    assert_eq!(vectors.len(), FAULTS.len());
    for (vector, (kind, fault, message)) in vectors.iter().zip(FAULTS) {
        assert_eq!((text(vector, "kind"), text(vector, "fault")), (*kind, *fault));
        assert_eq!(text(vector, "reason"), format!("malformed_{kind}"), "{fault}");
        let body = bytes(vector, "body");
        let error = match *kind {
            "manifest" => SignedManifest::decode(&body).expect_err(fault).to_string(),
            _ => Chunk::decode(&body, Network::Regtest).expect_err(fault).to_string(),
        };
        assert!(error.contains(message), "{kind}, {fault}: {error}");
    }
}

#[test]
fn accepted() {
    for vector in list(&vectors(), "accepted") {
        let case = text(vector, "description");
        let body = bytes(vector, "body");
        match text(vector, "kind") {
            "manifest" => {
                let signed = SignedManifest::decode(&body).expect(case);
                let id: ManifestId = parsed(vector, "id");
                assert_eq!(signed.id, id, "{case}");
                assert!(signed.verify_signature(), "{case}");
                assert_eq!(SignedManifest::decode(&signed.encode()), Ok(signed), "{case}");
            }
            "chunk" => {
                let chunk = Chunk::decode(&body, Network::Regtest).expect(case);
                let hash: ChunkHash = parsed(vector, "hash");
                assert_eq!(chunk::hash(&body), hash, "{case}");
                assert_eq!(Chunk::decode(&chunk.encode(), Network::Regtest), Ok(chunk), "{case}");
            }
            kind => panic!("{case}: unknown kind {kind}"),
        }
    }
}

#[test]
fn envelope_of_a_manifest() {
    let file = vectors();
    let expected = &file["envelope"];
    let tx: Transaction =
        bitcoin::consensus::deserialize(&bytes(expected, "transaction")).expect("a transaction");
    assert_eq!(tx.compute_txid().to_string(), text(expected, "txid"));
    let [message, second] = &envelope::messages(&tx)[..] else { panic!("two messages") };
    assert_eq!((second.input, second.envelope, second.inscription), (1, 0, 1));
    assert_eq!(second.kind, EnvelopeKind::Chunk);
    assert_eq!(second.body, bytes(&file["chunks"][0], "body"));
    assert_eq!((message.input, message.envelope), (0, 0));
    let id = format!("{}i{}", tx.compute_txid(), message.inscription);
    assert_eq!(id, text(expected, "inscription_id"));
    assert_eq!(message.kind, EnvelopeKind::Manifest);
    assert_eq!(message.kind.content_type(), text(expected, "content_type"));
    assert_eq!(envelope::METAPROTOCOL, text(expected, "metaprotocol").as_bytes());
    assert_eq!(hashes::sha256(&message.body)[..], bytes(expected, "body_sha256"));

    let script = envelope::reveal_script(message.kind, &message.body, None);
    assert_eq!(script.as_bytes(), bytes(expected, "script"));
    let output = RevealOutput::new(script);
    assert_eq!(output.control_block().serialize(), bytes(expected, "control_block"));
    assert_eq!(output.script_pubkey().as_bytes(), bytes(expected, "script_pubkey"));
}
