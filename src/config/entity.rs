//! One `NAME=PUBKEY[@FROM_HEIGHT]`, as text.

use crate::ledger::entities::EntityKey;
use crate::protocol::{Height, PubKey};

/// Longest name of an entity, in bytes.
const MAX_NAME: usize = 32;

/// What is wrong with the text of an entity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntityTextError {
    /// No `=`.
    #[error("there is no '=' between name and key")]
    NoKey,
    /// The name is empty, too long, or has other characters.
    #[error("the name must have 1 to {MAX_NAME} of the characters a-z, A-Z, 0-9, '-', '_' and '.'")]
    Name,
    /// The key does not have its 66 hex digits.
    #[error("the key must be a compressed public key of 66 hex digits, and '{0}' is not")]
    KeyText(String),
    /// The key is not a point.
    #[error("the key {0} is not on the curve; check it for typing errors")]
    NotOnCurve(PubKey),
    /// The height is not a number.
    #[error("the height after '@' must be a number from 0 to {max}, and '{0}' is not", max = u32::MAX)]
    Height(String),
}

/// Reads `NAME=PUBKEY[@FROM_HEIGHT]`: a name for people and a key on the curve. Without a height the
/// key is valid from height 0. What several of them must fulfil together is not looked at.
pub fn parse(text: &str) -> Result<(String, EntityKey), EntityTextError> {
    let (name, rest) = text.split_once('=').ok_or(EntityTextError::NoKey)?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(allowed) {
        return Err(EntityTextError::Name);
    }
    let (key, from_height) = match rest.split_once('@') {
        Some((key, height)) => (key, parse_height(height)?),
        None => (rest, Height(0)),
    };
    let key: PubKey = key.parse().map_err(|_| EntityTextError::KeyText(key.to_owned()))?;
    if !key.is_on_curve() {
        return Err(EntityTextError::NotOnCurve(key));
    }
    Ok((name.to_owned(), EntityKey { key, from_height }))
}

fn parse_height(text: &str) -> Result<Height, EntityTextError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(height) if digits => Ok(Height(height)),
        _ => Err(EntityTextError::Height(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0205fe807e8fe1f368df955cc291f16d840b7f28374b0ed80b80c3e2e0921a0674";

    #[test]
    fn accepts_both_forms() {
        let key = KEY.parse().unwrap();
        let spark = |from| ("spark".to_owned(), EntityKey { key, from_height: Height(from) });
        assert_eq!(parse(&format!("spark={KEY}")), Ok(spark(0)));
        assert_eq!(parse(&format!("spark={KEY}@890000")), Ok(spark(890_000)));
        assert_eq!(parse(&format!("spark={}", KEY.to_uppercase())), Ok(spark(0)));
    }

    #[test]
    fn names_what_is_malformed() {
        let off_curve = format!("02{}", "00".repeat(31) + "05");
        let cases = [
            ("nothing", String::new(), EntityTextError::NoKey),
            ("key alone", KEY.to_owned(), EntityTextError::NoKey),
            ("empty name", format!("={KEY}"), EntityTextError::Name),
            ("space in the name", format!("a b={KEY}"), EntityTextError::Name),
            ("long name", format!("{}={KEY}", "n".repeat(33)), EntityTextError::Name),
            ("empty key", "a=".into(), EntityTextError::KeyText(String::new())),
            ("short key", "a=02".into(), EntityTextError::KeyText("02".into())),
            ("x-only key", format!("a={}", &KEY[2..]), EntityTextError::KeyText(KEY[2..].into())),
            ("empty height", format!("a={KEY}@"), EntityTextError::Height(String::new())),
            ("signed height", format!("a={KEY}@+1"), EntityTextError::Height("+1".into())),
            ("two heights", format!("a={KEY}@1@2"), EntityTextError::Height("1@2".into())),
            ("huge height", format!("a={KEY}@4294967296"), EntityTextError::Height("4294967296".into())),
            (
                "uncompressed prefix",
                format!("a=04{}", &KEY[2..]),
                EntityTextError::NotOnCurve(format!("04{}", &KEY[2..]).parse().unwrap()),
            ),
            (
                "off the curve",
                format!("a={off_curve}"),
                EntityTextError::NotOnCurve(off_curve.parse().unwrap()),
            ),
        ];
        for (name, text, error) in cases {
            assert_eq!(parse(&text), Err(error), "{name}");
        }
    }
}
