//! The carrier of the short messages: an OP_RETURN output with exactly one data push.

use bitcoin::ScriptBuf;

use super::announcement::{AnnouncementError, TokenAnnouncement};
use super::withdrawal::{WithdrawalAnnouncement, WithdrawalError};

/// Prefix and kind of a token announcement.
pub const TOKEN_HEADER: &[u8] = b"LRC20\x00\x00";
/// Prefix and kind of a withdrawal announcement.
pub const WITHDRAWAL_HEADER: &[u8] = b"BTKN\x00\x04";
/// Prefix of token announcements and of the older protocol's kinds.
pub const LRC20_PREFIX: &[u8] = b"LRC20";

const OP_RETURN: u8 = 0x6a;

/// A message in an output script: prefix and kind matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpReturn {
    /// A token announcement, or why it is malformed.
    Token(Result<TokenAnnouncement, AnnouncementError>),
    /// A withdrawal announcement, or why it is malformed.
    Withdrawal(Result<WithdrawalAnnouncement, WithdrawalError>),
    /// A kind of the older protocol, 1 to 6. Its body is not looked at.
    Legacy(u8),
}

/// The message in an output script; `None` where there is none.
pub fn parse(script: &[u8]) -> Option<OpReturn> {
    let payload = single_push(script)?;
    if let Some(body) = payload.strip_prefix(WITHDRAWAL_HEADER) {
        return Some(OpReturn::Withdrawal(WithdrawalAnnouncement::decode(body)));
    }
    match payload.strip_prefix(LRC20_PREFIX)? {
        [0, 0, body @ ..] => Some(OpReturn::Token(TokenAnnouncement::decode(body))),
        [0, kind @ 1..=6, ..] => Some(OpReturn::Legacy(*kind)),
        _ => None,
    }
}

/// The payload of a script that is OP_RETURN and exactly one data push, whose header may be longer
/// than it needs to be, that ends where the script ends.
pub fn single_push(script: &[u8]) -> Option<&[u8]> {
    let (&OP_RETURN, rest) = script.split_first()? else { return None };
    let (len, payload) = match *rest {
        [len @ 0x01..=0x4b, ..] => (usize::from(len), &rest[1..]),
        [0x4c, len, ..] => (usize::from(len), &rest[2..]),
        [0x4d, a, b, ..] => (usize::from(u16::from_le_bytes([a, b])), &rest[3..]),
        [0x4e, a, b, c, d, ..] => (usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?, &rest[5..]),
        _ => return None,
    };
    (payload.len() == len).then_some(payload)
}

/// OP_RETURN and one push of the payload, with the shortest header for its length.
///
/// An empty payload gets OP_PUSHDATA1, since a lone OP_0 is no data push here.
pub fn push_script(payload: &[u8]) -> ScriptBuf {
    let mut script = Vec::with_capacity(payload.len() + 6);
    script.push(OP_RETURN);
    match payload.len() {
        len @ 1..=0x4b => script.push(len as u8),
        len @ (0 | 0x4c..=0xff) => script.extend_from_slice(&[0x4c, len as u8]),
        len @ 0x100..=0xffff => {
            script.push(0x4d);
            script.extend_from_slice(&(len as u16).to_le_bytes());
        }
        len => {
            script.push(0x4e);
            script.extend_from_slice(&(len as u32).to_le_bytes());
        }
    }
    script.extend_from_slice(payload);
    ScriptBuf::from_bytes(script)
}

impl TokenAnnouncement {
    /// The output script that announces the token.
    pub fn script(&self) -> ScriptBuf {
        push_script(&[TOKEN_HEADER, &self.encode()].concat())
    }
}

impl WithdrawalAnnouncement {
    /// The output script that announces the withdrawal.
    pub fn script(&self) -> ScriptBuf {
        push_script(&[WITHDRAWAL_HEADER, &self.encode()].concat())
    }
}
