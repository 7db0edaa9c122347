//! A token announcement: the payload after `LRC20` `0000` in an OP_RETURN output.

use super::token::{TokenError, TokenMetadata};
use super::{Amount, PubKey};

/// Somebody announced a token. It says nothing about who did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenAnnouncement {
    /// The announced token.
    pub metadata: TokenMetadata,
}

/// Why bytes are no token announcement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnouncementError {
    /// The payload ends inside a field.
    #[error("the payload ends before {0}")]
    Truncated(&'static str),
    /// Bytes follow the last field.
    #[error("{0} bytes follow the freezable flag")]
    Trailing(usize),
    /// The name is not UTF-8.
    #[error("the name is not UTF-8")]
    NameText,
    /// The ticker is not UTF-8.
    #[error("the ticker is not UTF-8")]
    TickerText,
    /// The fields are there but break a limit.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl TokenAnnouncement {
    /// Decodes the payload after the kind. The metadata has passed [`TokenMetadata::check`].
    pub fn decode(payload: &[u8]) -> Result<Self, AnnouncementError> {
        let mut rest = payload;
        let issuer = PubKey(take(&mut rest, "the end of the issuer key")?);
        let name = text(&mut rest, "the end of the name")?;
        let ticker = text(&mut rest, "the end of the ticker")?;
        let [decimals] = take(&mut rest, "the decimals")?;
        let max_supply = Amount(u128::from_be_bytes(take(&mut rest, "the end of the maximum supply")?));
        let [freezable] = take(&mut rest, "the freezable flag")?;
        if !rest.is_empty() {
            return Err(AnnouncementError::Trailing(rest.len()));
        }
        // Lengths come before the text checks, so that the reason names the length that broke the
        // layout rather than what the wrong bytes happened to spell.
        if !TokenMetadata::NAME_BYTES.contains(&name.len()) {
            return Err(TokenError::NameLength(name.len()).into());
        }
        if !TokenMetadata::TICKER_BYTES.contains(&ticker.len()) {
            return Err(TokenError::TickerLength(ticker.len()).into());
        }
        let name = std::str::from_utf8(name).map_err(|_| AnnouncementError::NameText)?.to_owned();
        let ticker = std::str::from_utf8(ticker).map_err(|_| AnnouncementError::TickerText)?.to_owned();
        let metadata =
            TokenMetadata { issuer, name, ticker, decimals, max_supply, freezable: freezable != 0 };
        metadata.check()?;
        Ok(TokenAnnouncement { metadata })
    }

    /// The payload after the kind.
    ///
    /// Lengths are one byte each: metadata that fails [`TokenMetadata::check`] gives bytes that no
    /// decoder accepts.
    pub fn encode(&self) -> Vec<u8> {
        let TokenMetadata { issuer, name, ticker, decimals, max_supply, freezable } = &self.metadata;
        let mut payload = Vec::with_capacity(53 + name.len() + ticker.len());
        payload.extend_from_slice(&issuer.0);
        for text in [name, ticker] {
            payload.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            payload.extend_from_slice(text.as_bytes());
        }
        payload.push(*decimals);
        payload.extend_from_slice(&max_supply.0.to_be_bytes());
        payload.push(u8::from(*freezable));
        payload
    }
}

fn take<const N: usize>(rest: &mut &[u8], before: &'static str) -> Result<[u8; N], AnnouncementError> {
    let (field, tail) = rest.split_first_chunk::<N>().ok_or(AnnouncementError::Truncated(before))?;
    *rest = tail;
    Ok(*field)
}

fn text<'a>(rest: &mut &'a [u8], before: &'static str) -> Result<&'a [u8], AnnouncementError> {
    let [len] = take(rest, before)?;
    let (field, tail) =
        rest.split_at_checked(usize::from(len)).ok_or(AnnouncementError::Truncated(before))?;
    *rest = tail;
    Ok(field)
}
