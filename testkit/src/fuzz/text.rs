//! What people and programs send as text: addresses, identifiers, cursors.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use bech32::{Bech32m, Fe32, Fe32IterExt, Hrp};
use bitcoin::hashes::Hash;
use bitcoin::hex::DisplayHex;
use btkn_indexer::api::cursor::{self, List};
use btkn_indexer::ledger::keys::{EntityIndex, KeyPart, L1OutPoint, Place};
use btkn_indexer::ledger::tables::{Balances, ExitsByOutput, Holders, OwnerTtxos, Sequences, Table, Tokens};
use btkn_indexer::protocol::{DisplayTxid, Network, OwnerKey, SparkOutPoint, TokenId, address};

const NETWORKS: [Network; 4] = [Network::Mainnet, Network::Testnet, Network::Signet, Network::Regtest];

/// Prefixes that some network reads, and two that none does.
const PREFIXES: [&str; 17] = [
    "btkn", "btknt", "btkns", "btknrt", "btknl", "spark", "sp", "sparkt", "spt", "sparks", "sps", "sparkrt",
    "sprt", "sparkl", "spl", "bc", "btknx",
];

/// The first byte chooses a network. The rest is read as text, and once more as 5-bit groups that get a
/// prefix and a sound checksum, which no random text would have.
///
/// Laws: what is read is written in a form that reads as the same value on this network and on no other;
/// text in the form that is written is the very text that is written, but for its case. The other names
/// in paths of the API read as what they are written as.
pub fn address(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let network = NETWORKS[usize::from(choice % 4)];
    let text = String::from_utf8_lossy(rest);
    check_text(&text, network);
    let groups = rest.iter().map(|byte| Fe32::try_from(byte % 32).expect("5 bits"));
    let prefix = PREFIXES[usize::from(choice / 4) % PREFIXES.len()];
    let sound: String = groups.with_checksum::<Bech32m>(&Hrp::parse_unchecked(prefix)).chars().collect();
    check_text(&sound, network);
}

fn check_text(text: &str, network: Network) {
    if let Ok(token) = address::parse_token(text, network) {
        let written = |network| address::encode_token(token, network);
        check_written(text, token, network, written, address::parse_token);
    }
    if let Ok(owner) = address::parse_owner(text, network) {
        assert!(owner.is_on_curve());
        let written = |network| address::encode_owner(owner, network);
        check_written(text, owner, network, written, address::parse_owner);
    }
    check_name::<TokenId>(text);
    check_name::<OwnerKey>(text);
    check_name::<DisplayTxid>(text);
    check_name::<SparkOutPoint>(text);
    check_name::<L1OutPoint>(text);
}

fn check_written<T: PartialEq + Debug + Display + Copy, E: PartialEq + Debug>(
    text: &str,
    value: T,
    network: Network,
    written: impl Fn(Network) -> String,
    parse: impl Fn(&str, Network) -> Result<T, E>,
) {
    let own = written(network);
    assert_eq!(parse(&own, network), Ok(value));
    assert_eq!(parse(&own.to_uppercase(), network), Ok(value));
    assert_eq!(parse(&value.to_string(), network), Ok(value));
    for other in NETWORKS.into_iter().filter(|other| *other != network) {
        assert!(parse(&own, other).is_err(), "{own} is read on {other}");
    }
    // Older prefixes are read and not written; all forms have the value in common.
    let lower = text.to_ascii_lowercase();
    let same_prefix =
        lower.rsplit_once('1').map(|(prefix, _)| prefix) == own.rsplit_once('1').map(|(p, _)| p);
    assert!(!same_prefix || lower == own, "{text} reads as {own}");
}

fn check_name<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let written = value.to_string();
        assert_eq!(written, text.to_ascii_lowercase());
        assert_eq!(written.parse::<T>().ok(), Some(value));
    }
}

/// The input is a cursor as text, and once more the bytes that a cursor holds.
///
/// Laws: what is read for a list is written as the same text, but for its case; no other list reads it;
/// it names the block and the key that its bytes hold.
pub fn cursor(data: &[u8]) {
    check_cursor(&String::from_utf8_lossy(data));
    check_cursor(&data.to_lower_hex_string());
}

fn check_cursor(text: &str) {
    let read = [
        check_list::<<Tokens as Table>::Key>(List::Tokens, text),
        check_list::<<Holders as Table>::Key>(List::Holders, text),
        check_list::<<Balances as Table>::Key>(List::Balances, text),
        check_list::<<OwnerTtxos as Table>::Key>(List::OwnerTtxos, text),
        check_list::<(Place, u8)>(List::Exits, text),
        check_list::<<ExitsByOutput as Table>::Key>(List::OutputExits, text),
        check_list::<(EntityIndex, SparkOutPoint, (Place, u8))>(List::TtxoExits, text),
        check_list::<<Sequences as Table>::Key>(List::Snapshots, text),
    ];
    assert!(read.into_iter().filter(|read| *read).count() <= 1, "two lists read {text}");
}

fn check_list<K: KeyPart>(list: List, text: &str) -> bool {
    let Some((block, key)) = cursor::decode::<K>(list, text) else { return false };
    let written = cursor::encode(list, block, &key);
    assert_eq!(written, text.to_ascii_lowercase());
    assert_eq!(written.len(), 2 * (2 + block.as_byte_array().len() + K::LEN));
    assert_eq!(K::take(&key.to_key()), Some(key));
    true
}
