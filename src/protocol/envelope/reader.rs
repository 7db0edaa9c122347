//! One walk over a tapscript that finds the envelopes in it and the messages among them.
//!
//! Takes memory for the bodies of messages, and for the places of the tags of the envelope at hand.

use std::iter::Peekable;

use bitcoin::Script;
use bitcoin::opcodes::all::{OP_ENDIF, OP_IF, OP_PUSHNUM_1, OP_PUSHNUM_16, OP_PUSHNUM_NEG1};
use bitcoin::script::{Error, Instruction, Instructions};

use super::{EnvelopeKind, METAPROTOCOL};

/// What an envelope starts with, after an empty push and OP_IF.
const PROTOCOL: &[u8] = b"ord";

/// Tags of fields that decide whether an envelope is a message.
const CONTENT_TYPE: &[u8] = &[1];
const POINTER: &[u8] = &[2];
const METAPROTOCOL_TAG: &[u8] = &[7];
const CONTENT_ENCODING: &[u8] = &[9];
const DELEGATE: &[u8] = &[11];

/// A message: what it is, and its body.
type Message = (EnvelopeKind, Vec<u8>);

/// Calls `envelope` for each envelope of a script with its index and, if it is a message, that message.
/// Returns how many there are. After an error, none counts.
pub(super) fn read(script: &Script, mut envelope: impl FnMut(u32, Option<Message>)) -> Result<u32, Error> {
    let mut instructions = script.instructions().peekable();
    let mut count = 0;
    while let Some(instruction) = instructions.next().transpose()? {
        // What is not the right one after an empty push is not used up: it may be the next empty push.
        let starts = is_push_of(&instruction, &[])
            && next_if(&mut instructions, |next| *next == Instruction::Op(OP_IF))
            && next_if(&mut instructions, |next| is_push_of(next, PROTOCOL));
        if starts && let Some(message) = read_envelope(&mut instructions)? {
            envelope(count, message);
            count += 1;
        }
    }
    Ok(count)
}

fn next_if(
    instructions: &mut Peekable<Instructions<'_>>,
    wanted: impl FnOnce(&Instruction<'_>) -> bool,
) -> bool {
    instructions.next_if(|next| next.as_ref().is_ok_and(wanted)).is_some()
}

fn is_push_of(instruction: &Instruction<'_>, bytes: &[u8]) -> bool {
    matches!(instruction, Instruction::PushBytes(push) if push.as_bytes() == bytes)
}

/// Reads to the end of an envelope that has just started. `None` where it turns out to be none.
fn read_envelope<'a>(
    instructions: &mut impl Iterator<Item = Result<Instruction<'a>, Error>>,
) -> Result<Option<Option<Message>>, Error> {
    let mut fields = Fields::default();
    let mut tag = None;
    let mut in_body = false;
    let mut message: Option<Message> = None;
    while let Some(instruction) = instructions.next().transpose()? {
        if instruction == Instruction::Op(OP_ENDIF) {
            return Ok(Some(message));
        }
        let Some(pushed) = pushed(&instruction) else { return Ok(None) };
        if in_body {
            if let Some((_, body)) = &mut message {
                body.extend_from_slice(pushed);
            }
        } else if let Some(tag) = tag.take() {
            fields.add(tag, pushed);
        } else if pushed.is_empty() {
            in_body = true;
            message = std::mem::take(&mut fields).kind().map(|kind| (kind, Vec::new()));
        } else {
            tag = Some(pushed);
        }
    }
    Ok(None)
}

/// What an instruction pushes; `None` if it is not a push. Numbers are pushes of one byte.
fn pushed<'a>(instruction: &Instruction<'a>) -> Option<&'a [u8]> {
    const NUMBERS: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    const MINUS_ONE: &[u8] = &[0x81];
    match instruction {
        Instruction::PushBytes(push) => Some(push.as_bytes()),
        Instruction::Op(op) if *op == OP_PUSHNUM_NEG1 => Some(MINUS_ONE),
        Instruction::Op(op) => {
            let numbers = OP_PUSHNUM_1.to_u8()..=OP_PUSHNUM_16.to_u8();
            let index = usize::from(op.to_u8().wrapping_sub(OP_PUSHNUM_1.to_u8()));
            numbers.contains(&op.to_u8()).then(|| &NUMBERS[index..=index])
        }
    }
}

/// The fields of an envelope, as far as they matter.
#[derive(Default)]
struct Fields<'a> {
    /// In the order of the script. There may be a million: sorting them once is quicker than a set.
    tags: Vec<&'a [u8]>,
    kind: Option<EnvelopeKind>,
    is_btkn: bool,
    /// Whether some field keeps it from being a message, whatever follows.
    rejected: bool,
}

impl<'a> Fields<'a> {
    fn add(&mut self, tag: &'a [u8], value: &[u8]) {
        if self.rejected {
            return;
        }
        match tag {
            CONTENT_TYPE => self.kind = EnvelopeKind::of_content_type(value),
            METAPROTOCOL_TAG => self.is_btkn = value == METAPROTOCOL,
            _ => {}
        }
        let other = tag == CONTENT_TYPE && self.kind.is_none() || tag == METAPROTOCOL_TAG && !self.is_btkn;
        let unrecognized_even = tag != POINTER && tag.first().is_some_and(|first| first % 2 == 0);
        let unwanted = tag == CONTENT_ENCODING || tag == DELEGATE;
        self.rejected = other || unrecognized_even || unwanted;
        self.tags.push(tag);
    }

    /// Which message it is, if it gets a body now.
    fn kind(mut self) -> Option<EnvelopeKind> {
        let kind = self.kind.filter(|_| self.is_btkn && !self.rejected)?;
        self.tags.sort_unstable();
        let repeated = self.tags.windows(2).any(|pair| pair[0] == pair[1]);
        (!repeated).then_some(kind)
    }
}
