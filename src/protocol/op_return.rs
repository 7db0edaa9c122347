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

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, script, and its payload.
    type Case<'a> = (&'a str, &'a [u8], Option<&'a [u8]>);

    #[test]
    fn one_push_to_the_end_of_the_script() {
        let cases: &[Case] = &[
            ("empty script", &[], None),
            ("bare OP_RETURN", &[0x6a], None),
            ("no OP_RETURN", &[0x01, 0xaa], None),
            ("direct push", &[0x6a, 0x01, 0xaa], Some(&[0xaa])),
            ("direct push that is too long", &[0x6a, 0x02, 0xaa], None),
            ("byte after the push", &[0x6a, 0x01, 0xaa, 0x00], None),
            ("OP_PUSHDATA1, not minimal", &[0x6a, 0x4c, 0x01, 0xaa], Some(&[0xaa])),
            ("OP_PUSHDATA1, empty", &[0x6a, 0x4c, 0x00], Some(&[])),
            ("OP_PUSHDATA1 without length", &[0x6a, 0x4c], None),
            ("OP_PUSHDATA2, little-endian", &[0x6a, 0x4d, 0x01, 0x00, 0xaa], Some(&[0xaa])),
            ("OP_PUSHDATA2, big-endian", &[0x6a, 0x4d, 0x00, 0x01, 0xaa], None),
            ("OP_PUSHDATA2 without length", &[0x6a, 0x4d, 0x00], None),
            ("OP_PUSHDATA4", &[0x6a, 0x4e, 0x01, 0x00, 0x00, 0x00, 0xaa], Some(&[0xaa])),
            ("OP_PUSHDATA4 of the highest length", &[0x6a, 0x4e, 0xff, 0xff, 0xff, 0xff], None),
            ("OP_PUSHDATA4 without length", &[0x6a, 0x4e, 0x00, 0x00, 0x00], None),
            ("OP_0", &[0x6a, 0x00], None),
            ("OP_1NEGATE", &[0x6a, 0x4f], None),
            ("OP_1", &[0x6a, 0x51], None),
        ];
        for (case, script, payload) in cases {
            assert_eq!(single_push(script), *payload, "{case}");
        }
    }

    #[test]
    fn prefix_and_kind_decide_what_is_a_message() {
        let cases: &[(&str, &[u8], Option<OpReturn>)] = &[
            ("kind 1", b"LRC20\x00\x01", Some(OpReturn::Legacy(1))),
            ("kind 6", b"LRC20\x00\x06 and anything", Some(OpReturn::Legacy(6))),
            ("kind 7", b"LRC20\x00\x07", None),
            ("kind 256", b"LRC20\x01\x00", None),
            ("half a kind", b"LRC20\x00", None),
            ("lower case", b"lrc20\x00\x01", None),
            ("withdrawal of another kind", b"BTKN\x00\x03", None),
            ("other case", b"btkn\x00\x04", None),
            (
                "token without a body",
                b"LRC20\x00\x00",
                Some(OpReturn::Token(Err(AnnouncementError::Truncated("the end of the issuer key")))),
            ),
            (
                "withdrawal without a body",
                b"BTKN\x00\x04",
                Some(OpReturn::Withdrawal(Err(WithdrawalError::Truncated("the end of the entity key")))),
            ),
        ];
        for (case, payload, expected) in cases {
            assert_eq!(parse(push_script(payload).as_bytes()), *expected, "{case}");
        }
    }
}
