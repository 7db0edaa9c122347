//! Every vector of `fixtures/vectors/vectors.json`: identifiers, addresses, messages, scripts.
//!
//! The other file is tested beside it, in `snapshot_vectors_tests`. A vector of a kind that is not
//! known here fails the test.

use bitcoin::hex::FromHex;
use bitcoin::secp256k1::{Keypair, Message, PublicKey, SecretKey, XOnlyPublicKey, schnorr};
use bitcoin::taproot::{LeafVersion, TapLeafHash};
use bitcoin::{ScriptBuf, Transaction};
use serde_json::Value;

use super::announcement::AnnouncementError;
use super::curve::SECP;
use super::op_return::{self, OpReturn};
use super::token::{Layer, TokenError};
use super::withdrawal::{WithdrawalError, owner_message};
use super::withdrawal_output::{self as output, SpendPath};
use super::{Amount, Network, OwnerKey, PubKey, Signature, TokenId, address, hashes, token, withdrawal};

const VECTORS: &str = include_str!("../../fixtures/vectors/vectors.json");

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

fn network(name: &str) -> Network {
    match name {
        "mainnet" => Network::Mainnet,
        "testnet" => Network::Testnet,
        "signet" => Network::Signet,
        "regtest" | "local" => Network::Regtest,
        other => panic!("unknown network {other}"),
    }
}

#[test]
fn every_vector_passes() {
    let file: Value = serde_json::from_str(VECTORS).expect("JSON");
    let vectors = file["vectors"].as_array().expect("a list");
    assert_eq!(vectors.len(), 88);
    for vector in vectors {
        let id = text(vector, "id");
        let (input, expected) = (&vector["input"], &vector["expected"]);
        match text(vector, "kind") {
            "token_identifier_v1" => token_identifier(id, input, expected),
            "token_identifier_bech32m" => token_bech32m(id, input, expected),
            "spark_address" => spark_address(id, input, expected),
            "spark_announcement_script" => announcement(id, input, expected),
            "btkn_withdrawal_script" => withdrawal(id, input, expected),
            "withdrawal_output_script" => withdrawal_output(id, input, expected),
            "lrc20_legacy_announcement" => legacy(id, input, expected),
            "bitcoin_transaction" => transaction(id, input, expected),
            "owner_signature_message" => owner_signature(id, input, expected),
            "private_keys_for_derived_vectors" => test_keys(id, expected),
            "tag_sha256" => tags(id, input, expected),
            kind => panic!("{id}: unknown kind {kind}"),
        }
    }
}

fn metadata(value: &Value) -> token::TokenMetadata {
    token::TokenMetadata {
        issuer: parsed(value, "issuer_public_key"),
        name: text(value, "name").to_owned(),
        ticker: text(value, "ticker").to_owned(),
        decimals: number(value, "decimals") as u8,
        max_supply: Amount(text(value, "max_supply").parse().expect("a number")),
        freezable: value["is_freezable"].as_bool().expect("a flag"),
    }
}

fn token_identifier(id: &str, input: &Value, expected: &Value) {
    let network = network(text(input, "network"));
    let layer = match &input["creation_entity_public_key"] {
        Value::Null => Layer::L1,
        _ => Layer::Spark(parsed(input, "creation_entity_public_key")),
    };
    let metadata = metadata(input);
    assert_eq!(metadata.check(), Ok(()), "{id}");
    assert_eq!(metadata.max_supply.0.to_be_bytes()[..], bytes(input, "max_supply_be16"), "{id}");
    assert_eq!(u64::from(network.magic()), number(input, "network_magic_u32"), "{id}");
    assert_eq!(network.magic().to_be_bytes()[..], bytes(input, "network_magic_hashed_bytes"), "{id}");
    let token = metadata.identifier(network, layer);
    assert_eq!(token, parsed(expected, "token_identifier"), "{id}");
    assert_eq!(address::encode_token(token, network), text(expected, "bech32m"), "{id}");
    assert_eq!(address::parse_token(text(expected, "bech32m"), network), Ok(token), "{id}");
}

fn token_bech32m(id: &str, input: &Value, expected: &Value) {
    let address = expected.as_str().expect("text");
    let token: TokenId = parsed(input, "token_identifier");
    let network = match text(input, "hrp") {
        "btkn" => Network::Mainnet,
        "btknt" => Network::Testnet,
        "btkns" => Network::Signet,
        "btknrt" | "btknl" => Network::Regtest,
        hrp => panic!("{id}: unknown prefix {hrp}"),
    };
    if let Some(name) = input["network"].as_str() {
        assert_eq!(self::network(name), network, "{id}");
    }
    assert_eq!(address::parse_token(address, network), Ok(token), "{id}");
    // The local form is read, never written.
    assert_eq!(address::encode_token(token, network) == address, text(input, "hrp") != "btknl", "{id}");
}

fn spark_address(id: &str, input: &Value, expected: &Value) {
    let address = expected.as_str().expect("text");
    let owner: OwnerKey = parsed(input, "identity_public_key");
    let (network, written) = match text(input, "hrp") {
        "spark" => (Network::Mainnet, true),
        "sparkt" => (Network::Testnet, true),
        "sparks" => (Network::Signet, true),
        "sparkrt" => (Network::Regtest, true),
        "sp" => (Network::Mainnet, false),
        "sprt" | "sparkl" => (Network::Regtest, false),
        hrp => panic!("{id}: unknown prefix {hrp}"),
    };
    assert_eq!(address::parse_owner(address, network), Ok(owner), "{id}");
    assert_eq!(address::encode_owner(owner, network) == address, written, "{id}");
    let again = address::encode_owner(owner, network);
    assert_eq!(address::parse_owner(&again, network), Ok(owner), "{id}");
    assert_eq!(bytes(input, "payload_hex")[2..], owner.0, "{id}");
}

fn announcement(id: &str, input: &Value, expected: &Value) {
    let found = op_return::parse(&bytes(input, "script"));
    match text(expected, "outcome") {
        "accept" => {
            let Some(OpReturn::Token(Ok(announcement))) = found else { panic!("{id}: {found:?}") };
            let network = network(text(expected, "network"));
            let entity = "0205fe807e8fe1f368df955cc291f16d840b7f28374b0ed80b80c3e2e0921a0674";
            let spark = Layer::Spark(entity.parse().expect("a key"));
            let metadata = &announcement.metadata;
            assert_eq!(*metadata, self::metadata(expected), "{id}");
            let on_l1: TokenId = parsed(expected, "l1_token_identifier");
            assert_eq!(metadata.identifier(network, Layer::L1), on_l1, "{id}");
            let on_spark: TokenId = parsed(expected, "spark_token_identifier_with_prod_entity");
            assert_eq!(metadata.identifier(network, spark), on_spark, "{id}");
            let again = op_return::parse(announcement.script().as_bytes());
            assert_eq!(again, Some(OpReturn::Token(Ok(announcement))), "{id}");
        }
        "ignore" if id == "ann_neg_kind_0001" => assert_eq!(found, Some(OpReturn::Legacy(1)), "{id}"),
        "ignore" => assert_eq!(found, None, "{id}"),
        "malformed" => {
            let issuer = PubKey::from_slice(&bytes(input, "payload")[7..40]).expect("33 bytes");
            let error = match id {
                "ann_neg_trailing" => AnnouncementError::Trailing(1),
                "ann_neg_truncated" => AnnouncementError::Truncated("the freezable flag"),
                "ann_neg_bad_key_prefix" | "ann_neg_key_not_on_curve" => {
                    TokenError::IssuerNotOnCurve(issuer).into()
                }
                "ann_neg_name_21" => TokenError::NameLength(21).into(),
                "ann_neg_ticker_2" => TokenError::TickerLength(2).into(),
                "ann_neg_name_bad_utf8" | "ann_neg_name_overlong" => AnnouncementError::NameText,
                _ => panic!("{id}: no error is known for this vector"),
            };
            assert_eq!(found, Some(OpReturn::Token(Err(error))), "{id}");
        }
        outcome => panic!("{id}: unknown outcome {outcome}"),
    }
}

fn withdrawal(id: &str, input: &Value, expected: &Value) {
    let script = bytes(input, "script");
    let found = op_return::parse(&script);
    match text(expected, "outcome") {
        "accept" => {
            let Some(OpReturn::Withdrawal(Ok(announcement))) = found else { panic!("{id}: {found:?}") };
            assert_eq!(announcement.entity, parsed(expected, "se_entity_public_key"), "{id}");
            assert_eq!(announcement.owner_signature, parsed(expected, "owner_signature"), "{id}");
            withdrawal_records(id, &announcement.records, expected["outputs"].as_array().expect("a list"));
            assert_eq!(announcement.script().into_bytes(), script, "{id}");
        }
        // Which records stand is for the ledger; as a message it is well-formed.
        "partial" => {
            let Some(OpReturn::Withdrawal(Ok(announcement))) = found else { panic!("{id}: {found:?}") };
            assert_eq!(announcement.records.len(), 2, "{id}");
            assert_eq!(announcement.records[0].ttxo, announcement.records[1].ttxo, "{id}");
        }
        "ignore" if id == "wd_neg_lrc20_prefix" => assert_eq!(found, Some(OpReturn::Legacy(4)), "{id}"),
        "ignore" => assert_eq!(found, None, "{id}"),
        "malformed" => {
            let entity = PubKey::from_slice(&bytes(input, "payload")[6..39]).expect("33 bytes");
            let error = match id {
                "wd_neg_short_record" => WithdrawalError::Records { count: 1, expected: 38, found: 37 },
                "wd_neg_count2_one_record" => WithdrawalError::Records { count: 2, expected: 76, found: 38 },
                "wd_neg_bad_se_key" => WithdrawalError::EntityNotOnCurve(entity),
                "wd_neg_no_sig" => WithdrawalError::Truncated("the end of the owner signature"),
                _ => panic!("{id}: no error is known for this vector"),
            };
            assert_eq!(found, Some(OpReturn::Withdrawal(Err(error))), "{id}");
        }
        outcome => panic!("{id}: unknown outcome {outcome}"),
    }
}

/// The list may end in text that says how many records are left out of it.
fn withdrawal_records(id: &str, records: &[withdrawal::WithdrawalRecord], expected: &[Value]) {
    let (listed, more) = match expected.split_last() {
        Some((Value::String(more), listed)) => {
            let more = more.strip_prefix("... ").and_then(|more| more.strip_suffix(" more"));
            (listed, more.expect("a number of records").parse().expect("a number"))
        }
        _ => (expected, 0),
    };
    assert_eq!(records.len(), listed.len() + more, "{id}");
    for (record, expected) in records.iter().zip(listed) {
        assert_eq!(u64::from(record.bitcoin_vout), number(expected, "bitcoin_vout"), "{id}");
        assert_eq!(record.ttxo.tx_hash, parsed(expected, "spark_tx_hash"), "{id}");
        assert_eq!(u64::from(record.ttxo.vout), number(expected, "spark_tx_vout"), "{id}");
    }
}

fn withdrawal_output(id: &str, input: &Value, expected: &Value) {
    let revocation: PubKey = parsed(input, "revocation_commitment");
    let owner: OwnerKey = parsed(input, "owner_public_key");
    let locktime = number(input, "withdraw_relative_block_locktime");
    let leaf = output::leaf_script(locktime, &owner);
    assert_eq!(leaf.as_bytes(), bytes(expected, "tapscript"), "{id}");
    let version = LeafVersion::TapScript;
    assert_eq!([version.to_consensus()][..], bytes(expected, "leaf_version"), "{id}");
    assert_eq!(TapLeafHash::from_script(&leaf, version).to_string(), text(expected, "tapleaf_hash"), "{id}");
    assert_eq!(revocation.x_only()[..], bytes(expected, "internal_key_xonly"), "{id}");
    let key = output::output_key(&revocation, locktime, &owner).expect("a key");
    assert_eq!(key[..], bytes(expected, "output_key_xonly"), "{id}");
    let script = output::script_pubkey(&revocation, locktime, &owner).expect("a script");
    assert_eq!(script.as_bytes(), bytes(expected, "script_pubkey"), "{id}");
    let block = output::control_block(&revocation, locktime, &owner).expect("a control block");
    assert_eq!(block[..], bytes(expected, "control_block"), "{id}");
}

/// The older protocol's kinds 1 to 6 are recognised and not read. Its kind 0 is read as the token
/// announcement that replaced it: with 32-byte keys that fails, with 33-byte keys it succeeds and the
/// supply comes out big-endian.
fn legacy(id: &str, input: &Value, expected: &Value) {
    let payload = bytes(input, "payload");
    let script = match input.get("script") {
        Some(_) => bytes(input, "script"),
        None => op_return::push_script(&payload).into_bytes(),
    };
    assert_eq!(op_return::single_push(&script), Some(&payload[..]), "{id}");
    if input.get("yuv_prefixed_script").is_some() {
        assert_eq!(op_return::parse(&bytes(input, "yuv_prefixed_script")), None, "{id}");
    }
    let found = op_return::parse(&script);
    match (text(expected, "kind"), id) {
        ("0000", "lrc20_token_pubkey_1" | "lrc20_token_pubkey_2") => {
            assert!(matches!(found, Some(OpReturn::Token(Err(_)))), "{id}: {found:?}");
        }
        ("0000", "lrc20d_token_pubkey_le") => {
            let Some(OpReturn::Token(Ok(announcement))) = found else { panic!("{id}: {found:?}") };
            let supply = announcement.metadata.max_supply.0;
            assert_eq!(u128::from(number(expected, "max_supply")), supply.swap_bytes(), "{id}");
            assert!(text(expected, "note").contains(&supply.to_string()), "{id}");
        }
        (kind @ ("0001" | "0002" | "0003" | "0005" | "0006"), _) => {
            let kind = kind.parse().expect("a digit");
            assert_eq!(found, Some(OpReturn::Legacy(kind)), "{id}");
        }
        (kind, _) => panic!("{id}: nothing is known of kind {kind}"),
    }
}

fn transaction(id: &str, input: &Value, expected: &Value) {
    let tx: Transaction = bitcoin::consensus::deserialize(&bytes(input, "raw_tx")).expect("a transaction");
    assert_eq!(tx.compute_txid().to_string(), text(input, "txid"), "{id}");
    let message = |key| op_return::parse(tx.output[number(expected, key) as usize].script_pubkey.as_bytes());
    let witness = &tx.input[0].witness;
    match id {
        "tx_announcement" => {
            assert!(matches!(message("op_return_vout"), Some(OpReturn::Token(Ok(_)))), "{id}");
        }
        "tx_withdrawal" => {
            let Some(OpReturn::Withdrawal(Ok(announcement))) = message("op_return_vout") else {
                panic!("{id}")
            };
            let [record] = announcement.records[..] else { panic!("{id}: one record") };
            assert_eq!(u64::from(record.bitcoin_vout), number(expected, "withdrawal_vout"), "{id}");
            assert_eq!(record.ttxo.tx_hash, parsed(expected, "spark_tx_hash"), "{id}");
            assert_eq!(u64::from(record.ttxo.vout), number(expected, "spark_tx_vout"), "{id}");
            let bond = &tx.output[usize::from(record.bitcoin_vout)];
            assert_eq!(bond.value.to_sat(), number(expected, "bond_sats"), "{id}");
            assert_eq!(bond.script_pubkey, ScriptBuf::from(bytes(expected, "script_pubkey")), "{id}");
        }
        "tx_justice" => {
            assert_eq!(text(expected, "path"), "key");
            assert_eq!(SpendPath::of_witness(witness), SpendPath::Key, "{id}");
            assert_eq!(witness.len() as u64, number(expected, "witness_items"), "{id}");
            assert_eq!(witness[0].len() as u64, number(expected, "witness_0_len"), "{id}");
            assert_eq!(tx.input[0].previous_output.to_string(), text(expected, "spends"), "{id}");
        }
        "tx_claim_csv" => {
            assert_eq!(text(expected, "path"), "script");
            assert_eq!(SpendPath::of_witness(witness), SpendPath::Script, "{id}");
            assert_eq!(witness.len() as u64, number(expected, "witness_items"), "{id}");
            assert_eq!(witness[1], bytes(expected, "tapscript"), "{id}");
            assert_eq!(witness[2], bytes(expected, "control_block"), "{id}");
            assert_eq!(tx.input[0].previous_output.to_string(), text(expected, "spends"), "{id}");
        }
        _ => panic!("{id}: nothing is known of this transaction"),
    }
}

fn owner_signature(id: &str, input: &Value, expected: &Value) {
    let signatures: Vec<Signature> = input["se_withdrawal_signatures"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|signature| signature.as_str().expect("text").parse().expect("a signature"))
        .collect();
    assert_eq!(text(expected, "tag"), hashes::TAG_WITHDRAWAL, "{id}");
    let message = owner_message(&signatures);
    assert_eq!(message[..], bytes(expected, "message"), "{id}");
    // The tag of an integration test elsewhere gives another message: it is not accepted here.
    let joined = signatures.iter().flat_map(|signature| signature.0).collect::<Vec<u8>>();
    let other = hashes::tagged("BTKN_BATCH_EXIT", &joined);
    assert_eq!(other[..], bytes(expected, "message_with_integration_test_tag_BTKN_BATCH_EXIT"), "{id}");

    let owner: OwnerKey = parsed(input, "owner_public_key");
    let key = Keypair::from_seckey_slice(&SECP, &bytes(input, "owner_private_key")).expect("a key");
    let message = Message::from_digest(message);
    let signature = SECP.sign_schnorr_no_aux_rand(&message, &key);
    assert_eq!(signature.serialize()[..], bytes(expected, "signature"), "{id}");
    let signature = schnorr::Signature::from_slice(&bytes(expected, "signature")).expect("64 bytes");
    let key = XOnlyPublicKey::from_slice(&owner.x_only()).expect("a point");
    assert!(SECP.verify_schnorr(&signature, &message, &key).is_ok(), "{id}");
}

fn test_keys(id: &str, expected: &Value) {
    for name in ["owner", "revocation_a", "revocation_b", "se"] {
        let secret = SecretKey::from_slice(&bytes(expected, &format!("{name}_sk"))).expect("a key");
        let public = PubKey::from(PublicKey::from_secret_key(&SECP, &secret));
        assert_eq!(public, parsed(expected, &format!("{name}_pk")), "{id} {name}");
    }
}

fn tags(id: &str, input: &Value, expected: &Value) {
    let (tags, expected) = (input.as_array().expect("a list"), expected.as_array().expect("a list"));
    assert_eq!(tags.len(), expected.len(), "{id}");
    for (tag, hash) in tags.iter().zip(expected) {
        let tag = hashes::sha256(tag.as_str().expect("text").as_bytes());
        assert_eq!(TokenId(tag).to_string(), hash.as_str().expect("text"), "{id}");
    }
}
