//! What a token is: its metadata, the layer it was created on, and its version 1 identifier.

use unicode_normalization::is_nfc;

use super::hashes::sha256;
use super::{Amount, Network, PubKey, TokenId};

/// What the issuer fixed when the token was created. All of it enters the identifier.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct TokenMetadata {
    /// The issuer's key; whoever holds it can mint.
    #[n(0)]
    pub issuer: PubKey,
    /// Name: 3 to 20 bytes of UTF-8 in normal form C.
    #[n(1)]
    pub name: String,
    /// Ticker: 3 to 6 bytes of UTF-8 in normal form C.
    #[n(2)]
    pub ticker: String,
    /// Decimal places for display.
    #[n(3)]
    pub decimals: u8,
    /// The most that may ever be minted, in base units; zero means unlimited.
    #[n(4)]
    pub max_supply: Amount,
    /// Whether the issuer may freeze balances.
    #[n(5)]
    pub freezable: bool,
}

/// Where a token was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
pub enum Layer {
    /// By an announcement on Bitcoin.
    #[n(0)]
    L1,
    /// On Spark, under the creation entity's key.
    #[n(1)]
    Spark(#[n(0)] PubKey),
}

/// Metadata that no token can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The issuer is not a compressed point of the curve.
    #[error("the issuer key {0} is not a point of the curve")]
    IssuerNotOnCurve(PubKey),
    /// The creation entity is not a compressed point of the curve.
    #[error("the creation entity {0} is not a point of the curve")]
    EntityNotOnCurve(PubKey),
    /// The name is too short or too long.
    #[error("the name has {0} bytes, not 3 to 20")]
    NameLength(usize),
    /// The ticker is too short or too long.
    #[error("the ticker has {0} bytes, not 3 to 6")]
    TickerLength(usize),
    /// The name is text, but not in normal form C.
    #[error("the name is not in Unicode normal form C")]
    NameForm,
    /// The ticker is text, but not in normal form C.
    #[error("the ticker is not in Unicode normal form C")]
    TickerForm,
}

impl TokenMetadata {
    /// Lengths of a name in bytes.
    pub const NAME_BYTES: std::ops::RangeInclusive<usize> = 3..=20;
    /// Lengths of a ticker in bytes.
    pub const TICKER_BYTES: std::ops::RangeInclusive<usize> = 3..=6;

    /// Checks the limits of an announcement: the issuer is on the curve, name and ticker have a
    /// permitted length and are in normal form C. The first violation is returned.
    pub fn check(&self) -> Result<(), TokenError> {
        if !self.issuer.is_on_curve() {
            return Err(TokenError::IssuerNotOnCurve(self.issuer));
        }
        if !Self::NAME_BYTES.contains(&self.name.len()) {
            return Err(TokenError::NameLength(self.name.len()));
        }
        if !is_nfc(&self.name) {
            return Err(TokenError::NameForm);
        }
        if !Self::TICKER_BYTES.contains(&self.ticker.len()) {
            return Err(TokenError::TickerLength(self.ticker.len()));
        }
        if !is_nfc(&self.ticker) {
            return Err(TokenError::TickerForm);
        }
        Ok(())
    }

    /// The version 1 identifier: SHA-256 over the SHA-256 of each of nine fields, in order.
    ///
    /// It is defined for any metadata; whether such a token can exist is for [`TokenMetadata::check`].
    pub fn identifier(&self, network: Network, layer: Layer) -> TokenId {
        let mut layer_bytes = [0; 34];
        let layer_bytes = match layer {
            Layer::L1 => &[1][..],
            Layer::Spark(entity) => {
                layer_bytes[0] = 2;
                layer_bytes[1..].copy_from_slice(&entity.0);
                &layer_bytes[..]
            }
        };
        let fields: [&[u8]; 9] = [
            &[1],
            &self.issuer.0,
            self.name.as_bytes(),
            self.ticker.as_bytes(),
            &[self.decimals],
            &self.max_supply.0.to_be_bytes(),
            &[u8::from(self.freezable)],
            &network.magic().to_be_bytes(),
            layer_bytes,
        ];
        TokenId(sha256(&fields.map(sha256).concat()))
    }
}

impl Layer {
    /// Checks that a creation entity is a point of the curve.
    pub fn check(&self) -> Result<(), TokenError> {
        match self {
            Layer::Spark(entity) if !entity.is_on_curve() => Err(TokenError::EntityNotOnCurve(*entity)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(name: &str, ticker: &str) -> TokenMetadata {
        TokenMetadata {
            issuer: PubKey::BURN,
            name: name.into(),
            ticker: ticker.into(),
            decimals: 0,
            max_supply: Amount::ZERO,
            freezable: false,
        }
    }

    #[test]
    fn limits_are_checked_at_both_ends() {
        let twenty = "a".repeat(20);
        let cases: &[(&str, &str, &str, Result<(), TokenError>)] = &[
            ("shortest", "abc", "XYZ", Ok(())),
            ("longest", &twenty, "ABCDEF", Ok(())),
            ("one character of three bytes", "\u{20ac}", "\u{20ac}", Ok(())),
            ("composed", "\u{e9}t\u{e9}", "ABC", Ok(())),
            ("name of 2", "ab", "XYZ", Err(TokenError::NameLength(2))),
            ("name of 21", "aaaaaaaaaaaaaaaaaaaaa", "XYZ", Err(TokenError::NameLength(21))),
            ("ticker of 2", "abc", "XY", Err(TokenError::TickerLength(2))),
            ("ticker of 7", "abc", "ABCDEFG", Err(TokenError::TickerLength(7))),
            ("decomposed name", "e\u{301}te", "XYZ", Err(TokenError::NameForm)),
            ("decomposed ticker", "abc", "e\u{301}", Err(TokenError::TickerForm)),
            ("singleton", "\u{212b}bc", "XYZ", Err(TokenError::NameForm)),
        ];
        for (case, name, ticker, expected) in cases {
            assert_eq!(&metadata(name, ticker).check(), expected, "{case}");
        }
        let mut bad_issuer = metadata("abc", "XYZ");
        bad_issuer.issuer.0[0] = 4;
        assert_eq!(bad_issuer.check(), Err(TokenError::IssuerNotOnCurve(bad_issuer.issuer)));
    }

    #[test]
    fn every_field_enters_the_identifier() {
        let base = metadata("abc", "XYZ");
        let changes: [fn(&mut TokenMetadata); 6] = [
            |m| m.issuer.0[0] = 3,
            |m| m.name.push('d'),
            |m| m.ticker.push('d'),
            |m| m.decimals = 1,
            |m| m.max_supply = Amount(1),
            |m| m.freezable = true,
        ];
        let mut seen = vec![base.identifier(Network::Regtest, Layer::L1)];
        for change in changes {
            let mut changed = base.clone();
            change(&mut changed);
            seen.push(changed.identifier(Network::Regtest, Layer::L1));
        }
        seen.push(base.identifier(Network::Signet, Layer::L1));
        seen.push(base.identifier(Network::Regtest, Layer::Spark(PubKey::BURN)));
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }
}
