//! Token identifiers and owners as people write them: bech32m, or hex.
//!
//! The form with the network's first prefix is written. Reading accepts every prefix of the network,
//! in lower or in upper case, and hex digits. Text of another network is refused by name.

use bech32::{Bech32m, Hrp, primitives::decode::CheckedHrpstring};

use super::{Network, OwnerKey, PubKey, TokenId};

const NETWORKS: [Network; 4] = [Network::Mainnet, Network::Testnet, Network::Signet, Network::Regtest];

/// No address that is written here is longer.
const MAX_LENGTH: usize = 80;

/// A plain Spark address is a Protocol Buffers message whose only field, number 1, is the key.
const SPARK_ADDRESS_HEADER: [u8; 2] = [0x0a, 33];

fn token_prefixes(network: Network) -> &'static [&'static str] {
    match network {
        Network::Mainnet => &["btkn"],
        Network::Testnet => &["btknt"],
        Network::Signet => &["btkns"],
        Network::Regtest => &["btknrt", "btknl"],
    }
}

fn owner_prefixes(network: Network) -> &'static [&'static str] {
    match network {
        Network::Mainnet => &["spark", "sp"],
        Network::Testnet => &["sparkt", "spt"],
        Network::Signet => &["sparks", "sps"],
        Network::Regtest => &["sparkrt", "sprt", "sparkl", "spl"],
    }
}

/// Text that names no token or no owner here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither hex digits of the right number nor a known prefix.
    #[error("expected {what}: {digits} hex digits, or an address that starts with {prefix}1")]
    Unrecognised {
        /// What was expected, with its article.
        what: &'static str,
        /// How many hex digits it has.
        digits: usize,
        /// The prefix that is written on this network.
        prefix: &'static str,
    },
    /// An address of another network.
    #[error(
        "this is an address of {found}; this index follows {expected}, where addresses start with {prefix}1"
    )]
    WrongNetwork {
        /// The network of the address.
        found: Network,
        /// The network that was asked for.
        expected: Network,
        /// The prefix that is written there.
        prefix: &'static str,
    },
    /// The known prefix, but not bech32m.
    #[error("{what} with a mistake in it: {reason}")]
    Checksum {
        /// What it set out to be, with its article.
        what: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// Sound bech32m over something else.
    #[error("the address does not hold {0}")]
    Content(&'static str),
    /// A key that is no compressed point of the curve.
    #[error("{0} is not a compressed public key: it must start with 02 or 03 and be a point of the curve")]
    NotOnCurve(PubKey),
}

/// The bech32m form of a token identifier.
pub fn encode_token(token: TokenId, network: Network) -> String {
    encode(token_prefixes(network)[0], &token.0)
}

/// Reads a token identifier: 64 hex digits, or the bech32m form of the network.
pub fn parse_token(text: &str, network: Network) -> Result<TokenId, AddressError> {
    if let Ok(token) = text.parse() {
        return Ok(token);
    }
    let form = Form { what: "a token identifier", digits: 64, prefixes: token_prefixes };
    let data = form.decode(text, network)?;
    TokenId::from_slice(&data).ok_or(AddressError::Content("a token identifier of 32 bytes"))
}

/// The Spark address of an owner.
pub fn encode_owner(owner: OwnerKey, network: Network) -> String {
    let mut payload = [0; SPARK_ADDRESS_HEADER.len() + PubKey::LEN];
    let (header, key) = payload.split_at_mut(SPARK_ADDRESS_HEADER.len());
    header.copy_from_slice(&SPARK_ADDRESS_HEADER);
    key.copy_from_slice(&owner.0);
    encode(owner_prefixes(network)[0], &payload)
}

/// Reads an owner: 66 hex digits, or a plain Spark address of the network in its present or older
/// form. The key is a point of the curve.
pub fn parse_owner(text: &str, network: Network) -> Result<OwnerKey, AddressError> {
    must_be_on_curve(parse_owner_key(text, network)?)
}

/// The same, but the key is any bytes of the right number.
pub fn parse_owner_key(text: &str, network: Network) -> Result<OwnerKey, AddressError> {
    if let Ok(owner) = text.parse() {
        return Ok(owner);
    }
    let form = Form { what: "an owner", digits: 66, prefixes: owner_prefixes };
    let data = form.decode(text, network)?;
    data.strip_prefix(&SPARK_ADDRESS_HEADER)
        .and_then(PubKey::from_slice)
        .ok_or(AddressError::Content("just a public key (an invoice, for example, holds more)"))
}

/// The same owner, if it can be one.
pub fn must_be_on_curve(owner: OwnerKey) -> Result<OwnerKey, AddressError> {
    if owner.is_on_curve() { Ok(owner) } else { Err(AddressError::NotOnCurve(owner)) }
}

fn encode(prefix: &'static str, data: &[u8]) -> String {
    let mut text = String::with_capacity(MAX_LENGTH);
    bech32::encode_lower_to_fmt::<Bech32m, _>(&mut text, Hrp::parse_unchecked(prefix), data)
        .expect("35 bytes are within the length that the checksum covers");
    text
}

/// One of the two kinds of addresses.
struct Form {
    what: &'static str,
    digits: usize,
    prefixes: fn(Network) -> &'static [&'static str],
}

impl Form {
    fn decode(&self, text: &str, network: Network) -> Result<Vec<u8>, AddressError> {
        let what = self.what;
        let prefix = (self.prefixes)(network)[0];
        let unrecognised = AddressError::Unrecognised { what, digits: self.digits, prefix };
        let Some((found, _)) = text.rsplit_once('1') else { return Err(unrecognised) };
        let found = found.to_ascii_lowercase();
        let of = |network: &Network| (self.prefixes)(*network).contains(&found.as_str());
        match NETWORKS.iter().copied().find(of) {
            None => return Err(unrecognised),
            Some(other) if other != network => {
                return Err(AddressError::WrongNetwork { found: other, expected: network, prefix });
            }
            Some(_) => {}
        }
        let checked = CheckedHrpstring::new::<Bech32m>(text)
            .map_err(|error| AddressError::Checksum { what, reason: error.to_string() })?;
        let data: Vec<u8> = checked.byte_iter().collect();
        // Also refuses padding that is too long or not zero.
        let again = bech32::encode_lower::<Bech32m>(checked.hrp(), &data);
        match again {
            Ok(again) if again.eq_ignore_ascii_case(text) => Ok(data),
            _ => Err(AddressError::Checksum { what, reason: "wrong padding".to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: TokenId = TokenId([0x3f; 32]);

    /// Bech32m over 5-bit groups, whatever they hold.
    fn of_groups(prefix: &str, groups: &[u8]) -> String {
        use bech32::{Fe32, Fe32IterExt};
        let groups = groups.iter().map(|group| Fe32::try_from(*group).expect("5 bits"));
        groups.with_checksum::<Bech32m>(&Hrp::parse_unchecked(prefix)).chars().collect()
    }

    #[test]
    fn upper_case_is_read() {
        let text = encode_token(TOKEN, Network::Mainnet).to_uppercase();
        assert_eq!(parse_token(&text, Network::Mainnet), Ok(TOKEN));
        let text = encode_owner(PubKey::BURN, Network::Signet).to_uppercase();
        assert_eq!(parse_owner(&text, Network::Signet), Ok(PubKey::BURN));
        assert_eq!(parse_token(&TOKEN.to_string().to_uppercase(), Network::Mainnet), Ok(TOKEN));
    }

    #[test]
    fn every_prefix_belongs_to_one_network() {
        for network in NETWORKS {
            for prefix in owner_prefixes(network) {
                let text = encode(prefix, &[&SPARK_ADDRESS_HEADER[..], &PubKey::BURN.0].concat());
                for other in NETWORKS {
                    let expected = if other == network {
                        Ok(PubKey::BURN)
                    } else {
                        Err(AddressError::WrongNetwork {
                            found: network,
                            expected: other,
                            prefix: owner_prefixes(other)[0],
                        })
                    };
                    assert_eq!(parse_owner(&text, other), expected, "{text} on {other}");
                }
            }
        }
    }

    #[test]
    fn unreadable_tokens() {
        let good = encode_token(TOKEN, Network::Mainnet);
        let mut groups = vec![0; 52];
        groups[51] = 1;
        let cases: &[(&str, String, &str)] = &[
            ("empty", String::new(), "64 hex digits, or an address that starts with btkn1"),
            ("63 digits", "0".repeat(63), "64 hex digits"),
            ("66 digits", "0".repeat(66), "64 hex digits"),
            ("a Spark address", encode_owner(PubKey::BURN, Network::Mainnet), "expected a token identifier"),
            ("another network", encode_token(TOKEN, Network::Regtest), "an address of regtest"),
            ("a wrong character", good.replace("btkn18", "btkn19"), "a mistake in it"),
            ("mixed case", good.replace("btkn1", "BTKN1"), "a mistake in it"),
            ("31 bytes", encode("btkn", &[1; 31]), "does not hold a token identifier"),
            ("33 bytes", encode("btkn", &[1; 33]), "does not hold a token identifier"),
            ("padding that is not zero", of_groups("btkn", &groups), "wrong padding"),
        ];
        for (case, text, message) in cases {
            let error = parse_token(text, Network::Mainnet).expect_err(case).to_string();
            assert!(error.contains(message), "{case}: {error}");
        }
        assert_eq!(parse_token(&of_groups("btkn", &[0; 52]), Network::Mainnet), Ok(TokenId([0; 32])));
    }

    #[test]
    fn unreadable_owners() {
        let mut off_curve = PubKey([0; 33]);
        (off_curve.0[0], off_curve.0[32]) = (2, 5);
        let invoice = [&SPARK_ADDRESS_HEADER[..], &PubKey::BURN.0, &[0x12, 0]].concat();
        let cases: &[(&str, String, &str)] = &[
            ("empty", String::new(), "66 hex digits, or an address that starts with spark1"),
            ("an x-only key", "0".repeat(64), "66 hex digits"),
            ("a token", encode_token(TOKEN, Network::Mainnet), "expected an owner"),
            ("an invoice", encode("spark", &invoice), "does not hold just a public key"),
            (
                "another field",
                encode("spark", &[&[0x12, 33], &PubKey::BURN.0[..]].concat()),
                "just a public key",
            ),
            ("off the curve", off_curve.to_string(), "must start with 02 or 03"),
            (
                "off the curve, as an address",
                encode_owner(off_curve, Network::Mainnet),
                "a point of the curve",
            ),
            ("uncompressed prefix", format!("04{}", "02".repeat(32)), "must start with 02 or 03"),
        ];
        for (case, text, message) in cases {
            let error = parse_owner(text, Network::Mainnet).expect_err(case).to_string();
            assert!(error.contains(message), "{case}: {error}");
        }
    }
}
