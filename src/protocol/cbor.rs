//! The strict subset of CBOR (RFC 8949) in which message bodies are written.
//!
//! Any well-formed encoding with definite lengths is read, not only the shortest. Refused: indefinite
//! lengths, nesting deeper than 16, trailing bytes, tags, text that is not UTF-8, and in the outermost
//! map a key that is no unsigned integer, an unknown key below 64, or the same key twice. Values of
//! keys from 64 up are skipped: in them only well-formedness, definite lengths and nesting count.
//!
//! The reader works on the input in place and never panics. What is allocated is bounded by the length
//! of the input, whatever lengths the input claims.

use std::collections::BTreeSet;
use std::convert::Infallible;

/// How deep arrays, maps and tags may nest, the outermost one included.
pub const MAX_NESTING: u8 = 16;

/// The first map key of those that are ignored.
pub const FIRST_IGNORED_KEY: u64 = 64;

/// Why bytes are not what was expected, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {problem}")]
pub struct CborError {
    /// Offset of the item that is at fault.
    pub offset: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The input ends inside an item.
    #[error("the input ends inside an item")]
    Truncated,
    /// Bytes that no CBOR item starts with.
    #[error("not well-formed CBOR")]
    NotWellFormed,
    /// An item of indefinite length, or the code that ends one.
    #[error("indefinite lengths are not allowed")]
    IndefiniteLength,
    /// Arrays, maps and tags are nested too deep.
    #[error("nested deeper than {MAX_NESTING} levels")]
    TooDeep,
    /// Bytes follow the outermost item.
    #[error("bytes follow the message")]
    Trailing,
    /// Another type.
    #[error("expected {0}")]
    Expected(&'static str),
    /// The right type with a length or value out of range.
    #[error("out of range: expected {0}")]
    OutOfRange(&'static str),
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// A map key that is below 64 and not known.
    #[error("unknown key {0}")]
    UnknownKey(u64),
    /// A map key that was there before.
    #[error("key {0} appears twice")]
    DuplicateKey(u64),
    /// A map key that must be there.
    #[error("key {0} is missing")]
    MissingKey(u64),
}

/// Encodes with minicbor, whose writer for vectors cannot fail.
pub fn to_vec<F>(write: F) -> Vec<u8>
where
    F: FnOnce(&mut minicbor::Encoder<Vec<u8>>) -> Result<(), minicbor::encode::Error<Infallible>>,
{
    let mut encoder = minicbor::Encoder::new(Vec::new());
    write(&mut encoder).expect("writing to a vector does not fail");
    encoder.into_writer()
}

const UINT: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

const FALSE: u64 = 20;
const TRUE: u64 = 21;
const NULL: u64 = 22;

/// The head of an item: its major type, and the value or length that follows from the head alone.
#[derive(Clone, Copy)]
struct Head {
    major: u8,
    argument: u64,
    /// Whether a major type 7 item is a float rather than a simple value.
    float: bool,
}

/// Reads items one after the other.
#[derive(Clone, Debug)]
pub struct Reader<'b> {
    input: &'b [u8],
    position: usize,
}

impl<'b> Reader<'b> {
    /// A reader at the start of the input.
    pub fn new(input: &'b [u8]) -> Self {
        Reader { input, position: 0 }
    }

    /// Checks that everything was read.
    pub fn finish(&self) -> Result<(), CborError> {
        if self.position == self.input.len() { Ok(()) } else { Err(self.error(Problem::Trailing)) }
    }

    /// An error at the current position.
    pub fn error(&self, problem: Problem) -> CborError {
        CborError { offset: self.position, problem }
    }

    /// Whether the next item is a byte string.
    pub fn is_bytes(&self) -> bool {
        self.input.get(self.position).is_some_and(|byte| byte >> 5 == BYTES)
    }

    /// Reads an unsigned integer of at most `max`; `expected` names the range for people.
    pub fn uint(&mut self, max: u64, expected: &'static str) -> Result<u64, CborError> {
        let value = self.typed(UINT, expected, |_, argument| Ok(argument))?;
        if value.1 <= max { Ok(value.1) } else { Err(out_of_range(value.0, expected)) }
    }

    /// Reads a byte string.
    pub fn bytes(&mut self, expected: &'static str) -> Result<&'b [u8], CborError> {
        self.typed(BYTES, expected, Self::take).map(|(_, bytes)| bytes)
    }

    /// Reads a byte string of exactly `N` bytes.
    pub fn byte_array<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N], CborError> {
        let (offset, bytes) = self.typed(BYTES, expected, Self::take)?;
        bytes.try_into().map_err(|_| out_of_range(offset, expected))
    }

    /// Reads text.
    pub fn text(&mut self, expected: &'static str) -> Result<&'b str, CborError> {
        let (offset, bytes) = self.typed(TEXT, expected, Self::take)?;
        std::str::from_utf8(bytes).map_err(|_| CborError { offset, problem: Problem::NotUtf8 })
    }

    /// Reads `true` or `false`.
    pub fn bool(&mut self, expected: &'static str) -> Result<bool, CborError> {
        let offset = self.position;
        match self.head()? {
            Head { major: SIMPLE, argument: FALSE, float: false } => Ok(false),
            Head { major: SIMPLE, argument: TRUE, float: false } => Ok(true),
            _ => Err(CborError { offset, problem: Problem::Expected(expected) }),
        }
    }

    /// Reads `null`, or else what `item` reads.
    pub fn nullable<T>(
        &mut self,
        item: impl FnOnce(&mut Self) -> Result<T, CborError>,
    ) -> Result<Option<T>, CborError> {
        let mut ahead = self.clone();
        match ahead.head()? {
            Head { major: SIMPLE, argument: NULL, float: false } => {
                *self = ahead;
                Ok(None)
            }
            _ => item(self).map(Some),
        }
    }

    /// Reads the head of an array and returns the number of its items.
    pub fn array(&mut self, expected: &'static str) -> Result<u64, CborError> {
        self.typed(ARRAY, expected, |_, argument| Ok(argument)).map(|(_, count)| count)
    }

    /// Reads the head of an array of exactly `count` items.
    pub fn array_of(&mut self, count: u64, expected: &'static str) -> Result<(), CborError> {
        let (offset, found) = self.typed(ARRAY, expected, |_, argument| Ok(argument))?;
        if found == count { Ok(()) } else { Err(out_of_range(offset, expected)) }
    }

    /// Reads an array whose items take at least `least` bytes each.
    pub fn list<T, E: From<CborError>>(
        &mut self,
        least: usize,
        expected: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        let count = self.array(expected)?;
        // The count is only a claim: what is left of the input bounds it.
        let possible = (self.input.len() - self.position) / least.max(1);
        let mut items = Vec::with_capacity(usize::try_from(count).unwrap_or(usize::MAX).min(possible));
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Skips one item inside `depth` levels of nesting, checking only that it is well-formed, has
    /// definite lengths and does not nest too deep.
    fn skip(&mut self, depth: u8) -> Result<(), CborError> {
        let offset = self.position;
        let head = self.head()?;
        if matches!(head.major, ARRAY | MAP | TAG) && depth >= MAX_NESTING {
            return Err(CborError { offset, problem: Problem::TooDeep });
        }
        match head.major {
            BYTES | TEXT => self.take(head.argument).map(drop)?,
            ARRAY => {
                for _ in 0..head.argument {
                    self.skip(depth + 1)?;
                }
            }
            MAP => {
                for _ in 0..head.argument {
                    self.skip(depth + 1)?;
                    self.skip(depth + 1)?;
                }
            }
            TAG => self.skip(depth + 1)?,
            _ => {}
        }
        Ok(())
    }

    fn typed<T>(
        &mut self,
        major: u8,
        expected: &'static str,
        rest: impl FnOnce(&mut Self, u64) -> Result<T, CborError>,
    ) -> Result<(usize, T), CborError> {
        let offset = self.position;
        let head = self.head()?;
        if head.major != major {
            return Err(CborError { offset, problem: Problem::Expected(expected) });
        }
        rest(self, head.argument).map(|value| (offset, value))
    }

    fn take(&mut self, len: u64) -> Result<&'b [u8], CborError> {
        let rest = &self.input[self.position..];
        let len = usize::try_from(len).ok().filter(|len| *len <= rest.len());
        let len = len.ok_or_else(|| self.error(Problem::Truncated))?;
        self.position += len;
        Ok(&rest[..len])
    }

    fn head(&mut self) -> Result<Head, CborError> {
        let offset = self.position;
        let fail = |problem| CborError { offset, problem };
        let initial = *self.input.get(offset).ok_or(fail(Problem::Truncated))?;
        self.position += 1;
        let (major, info) = (initial >> 5, initial & 0x1f);
        let argument = match info {
            0..=23 => u64::from(info),
            24..=27 => {
                let bytes = self.take(1 << (info - 24)).map_err(|e| fail(e.problem))?;
                bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
            }
            31 if !matches!(major, UINT | NEGATIVE | TAG) => return Err(fail(Problem::IndefiniteLength)),
            _ => return Err(fail(Problem::NotWellFormed)),
        };
        // Simple values below 32 must be written in the initial byte.
        if major == SIMPLE && info == 24 && argument < 32 {
            return Err(fail(Problem::NotWellFormed));
        }
        Ok(Head { major, argument, float: major == SIMPLE && info > 24 })
    }
}

/// The outermost map of a message, whose keys below `N` are all known and required.
#[derive(Clone, Debug)]
pub struct Fields<'b, const N: usize> {
    values: [Reader<'b>; N],
}

impl<'b, const N: usize> Fields<'b, N> {
    /// Reads a message that is one map, and checks everything that does not depend on which value
    /// belongs to which key.
    pub fn read(input: &'b [u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(input);
        let (_, count) = reader.typed(MAP, "a map", |_, argument| Ok(argument))?;
        let mut values: [Option<Reader<'b>>; N] = std::array::from_fn(|_| None);
        let mut ignored = BTreeSet::new();
        for _ in 0..count {
            let offset = reader.position;
            let key = reader.uint(u64::MAX, "an unsigned integer as map key")?;
            let fail = |problem| CborError { offset, problem };
            match usize::try_from(key).ok().and_then(|key| values.get_mut(key)) {
                Some(Some(_)) => return Err(fail(Problem::DuplicateKey(key))),
                Some(slot) => *slot = Some(reader.clone()),
                None if key < FIRST_IGNORED_KEY => return Err(fail(Problem::UnknownKey(key))),
                None if !ignored.insert(key) => return Err(fail(Problem::DuplicateKey(key))),
                None => {}
            }
            reader.skip(1)?;
        }
        reader.finish()?;
        if let Some(key) = values.iter().position(Option::is_none) {
            return Err(reader.error(Problem::MissingKey(key as u64)));
        }
        let values = values.map(|value| value.expect("every key was found to be there"));
        Ok(Fields { values })
    }

    /// A reader at the value of a key below `N`.
    pub fn value(&self, key: usize) -> Reader<'b> {
        self.values[key].clone()
    }
}

fn out_of_range(offset: usize, expected: &'static str) -> CborError {
    CborError { offset, problem: Problem::OutOfRange(expected) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &[u8]) -> Result<(), Problem> {
        Fields::<1>::read(body).map(drop).map_err(|error| error.problem)
    }

    /// A map of key 0 with value 0, and key 64 with this value.
    fn ignored(value: &[u8]) -> Result<(), Problem> {
        fields(&[&[0xa2, 0x00, 0x00, 0x18, 0x40][..], value].concat())
    }

    #[test]
    fn heads() {
        let cases: &[(&str, &[u8], Result<(), Problem>)] = &[
            ("unsigned in 1 byte", &[0x18, 0x00], Ok(())),
            ("negative", &[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Ok(())),
            ("text", &[0x61, 0x61], Ok(())),
            ("text that is not UTF-8", &[0x61, 0xff], Ok(())),
            ("tag", &[0xc1, 0x00], Ok(())),
            ("tag without content", &[0xc1], Err(Problem::Truncated)),
            ("half float", &[0xf9, 0x00, 0x00], Ok(())),
            ("double", &[0xfb, 0, 0, 0, 0, 0, 0, 0, 0], Ok(())),
            ("undefined", &[0xf7], Ok(())),
            ("unassigned simple value", &[0xe0], Ok(())),
            ("simple value 32", &[0xf8, 0x20], Ok(())),
            ("simple value 31 in two bytes", &[0xf8, 0x1f], Err(Problem::NotWellFormed)),
            ("reserved length 28", &[0x1c], Err(Problem::NotWellFormed)),
            ("reserved length 30", &[0x5e], Err(Problem::NotWellFormed)),
            ("unsigned of indefinite length", &[0x1f], Err(Problem::NotWellFormed)),
            ("tag of indefinite length", &[0xdf], Err(Problem::NotWellFormed)),
            ("bytes of indefinite length", &[0x5f, 0xff], Err(Problem::IndefiniteLength)),
            ("text of indefinite length", &[0x7f, 0xff], Err(Problem::IndefiniteLength)),
            ("map of indefinite length", &[0xbf, 0xff], Err(Problem::IndefiniteLength)),
            ("break code", &[0xff], Err(Problem::IndefiniteLength)),
            ("map with half a pair", &[0xa1, 0x00], Err(Problem::Truncated)),
            ("map with a map as key", &[0xa1, 0xa0, 0x00], Ok(())),
            ("bytes that are too long", &[0x42, 0x00], Err(Problem::Truncated)),
            ("head that is cut", &[0x19, 0x00], Err(Problem::Truncated)),
            ("nothing", &[], Err(Problem::Truncated)),
            ("two items", &[0x00, 0x00], Err(Problem::Trailing)),
        ];
        for (case, value, expected) in cases {
            assert_eq!(ignored(value), *expected, "{case}");
        }
    }

    #[test]
    fn nesting_counts_arrays_maps_and_tags() {
        let cases: [(&str, &[u8]); 3] = [("arrays", &[0x81]), ("maps", &[0xa1, 0x00]), ("tags", &[0xc1])];
        for (case, level) in cases {
            // The outermost map is a level too.
            assert_eq!(ignored(&[&level.repeat(15)[..], &[0]].concat()), Ok(()), "{case}");
            assert_eq!(ignored(&[&level.repeat(16)[..], &[0]].concat()), Err(Problem::TooDeep), "{case}");
        }
    }

    #[test]
    fn keys_of_the_outermost_map() {
        let cases: &[(&str, &[u8], Result<(), Problem>)] = &[
            ("known", &[0xa1, 0x00, 0x00], Ok(())),
            ("known, in eight bytes", &[0xa1, 0x1b, 0, 0, 0, 0, 0, 0, 0, 0, 0x00], Ok(())),
            ("missing", &[0xa0], Err(Problem::MissingKey(0))),
            ("unknown", &[0xa2, 0x00, 0x00, 0x01, 0x00], Err(Problem::UnknownKey(1))),
            ("unknown 63", &[0xa2, 0x00, 0x00, 0x18, 0x3f, 0x00], Err(Problem::UnknownKey(63))),
            (
                "twice, in another encoding",
                &[0xa2, 0x00, 0x00, 0x18, 0x00, 0x00],
                Err(Problem::DuplicateKey(0)),
            ),
            (
                "ignored twice",
                &[0xa3, 0x00, 0x00, 0x18, 0x40, 0x00, 0x19, 0x00, 0x40, 0x00],
                Err(Problem::DuplicateKey(64)),
            ),
            ("negative", &[0xa1, 0x20, 0x00], Err(Problem::Expected("an unsigned integer as map key"))),
            ("not a map", &[0x80], Err(Problem::Expected("a map"))),
        ];
        for (case, body, expected) in cases {
            assert_eq!(fields(body), *expected, "{case}");
        }
    }

    #[test]
    fn typed_values() {
        assert_eq!(Reader::new(&[0xf4]).bool("a flag"), Ok(false));
        assert_eq!(Reader::new(&[0xf5]).bool("a flag"), Ok(true));
        // A simple value or a float whose argument happens to be that of `true`.
        assert!(Reader::new(&[0xf9, 0x00, 0x15]).bool("a flag").is_err());
        assert!(Reader::new(&[0x15]).bool("a flag").is_err());
        assert_eq!(Reader::new(&[0xf6]).nullable(|r| r.uint(9, "a number")), Ok(None));
        assert_eq!(Reader::new(&[0x07]).nullable(|r| r.uint(9, "a number")), Ok(Some(7)));
        assert!(Reader::new(&[0x0a]).nullable(|r| r.uint(9, "a number")).is_err());
        assert!(Reader::new(&[0xf9, 0x00, 0x16]).nullable(|r| r.uint(9, "a number")).is_err());
    }
}
