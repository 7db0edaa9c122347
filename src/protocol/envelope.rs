//! The carrier of snapshots: ordinals envelopes, as the parser of `ord` finds them.
//!
//! Envelopes are found in witnesses alone, whatever the spent output is; the control block is not checked.
//! They are read in place, and only bodies of messages are copied: `ord` makes a vector of every push, so
//! that a block of one-byte pushes would take a hundred times its size. That the result is that of `ord`
//! is tested against it. This is the only module that names `ord`.

mod reader;

use bitcoin::opcodes::all::OP_PUSHNUM_1;
use bitcoin::script::Builder;
use bitcoin::secp256k1::XOnlyPublicKey;
use bitcoin::taproot::{ControlBlock, LeafVersion, TaprootBuilder, TaprootSpendInfo};
use bitcoin::{Script, ScriptBuf, Transaction};
use ord::Inscription;

use super::curve::SECP;

/// The metaprotocol field of every BTKN message. One push, so it is contiguous in the raw block.
pub const METAPROTOCOL: &[u8] = b"btkn";

/// The two messages that travel in envelopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeKind {
    /// `application/vnd.btkn.manifest+cbor`
    Manifest,
    /// `application/vnd.btkn.chunk+cbor`
    Chunk,
}

impl EnvelopeKind {
    /// Its content type.
    pub fn content_type(self) -> &'static str {
        match self {
            EnvelopeKind::Manifest => "application/vnd.btkn.manifest+cbor",
            EnvelopeKind::Chunk => "application/vnd.btkn.chunk+cbor",
        }
    }

    fn of_content_type(content_type: &[u8]) -> Option<Self> {
        [EnvelopeKind::Manifest, EnvelopeKind::Chunk]
            .into_iter()
            .find(|kind| kind.content_type().as_bytes() == content_type)
    }
}

/// A BTKN message in an ordinals envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvelopeMessage {
    /// Index of the input whose witness carries it.
    pub input: u32,
    /// Index among all envelopes of that input.
    pub envelope: u32,
    /// Index among all envelopes of the transaction: the `n` of the inscription id `<txid>i<n>`.
    pub inscription: u32,
    /// Which message it is.
    pub kind: EnvelopeKind,
    /// The body as inscribed.
    pub body: Vec<u8>,
}

/// The BTKN messages of a transaction, in order.
pub fn messages(transaction: &Transaction) -> Vec<EnvelopeMessage> {
    let mut found = Vec::new();
    let mut inscriptions = 0;
    for (input, txin) in (0u32..).zip(&transaction.input) {
        // Deprecated because it does not look at the leaf version; by the rules nobody does.
        #[expect(deprecated)]
        let Some(script) = txin.witness.tapscript() else { continue };
        let before = found.len();
        match reader::read(script, |envelope, message| {
            found.extend(message.map(|(kind, body)| EnvelopeMessage {
                input,
                envelope,
                inscription: inscriptions + envelope,
                kind,
                body,
            }));
        }) {
            Ok(envelopes) => inscriptions += envelopes,
            // A script that cannot be parsed to its end hides all envelopes of its input.
            Err(_) => found.truncate(before),
        }
    }
    found
}

/// A leaf script that carries a message.
///
/// With a key, the script ends in a signature check under it. Without one it succeeds by itself: anyone
/// who sees the reveal transaction can replace it, which is fit for tests only.
pub fn reveal_script(kind: EnvelopeKind, body: &[u8], key: Option<&XOnlyPublicKey>) -> ScriptBuf {
    let inscription = Inscription {
        content_type: Some(kind.content_type().into()),
        metaprotocol: Some(METAPROTOCOL.to_vec()),
        body: Some(body.to_vec()),
        ..Inscription::default()
    };
    let builder = inscription.append_reveal_script_to_builder(Builder::new());
    match key {
        Some(key) => builder.push_x_only_key(key).push_opcode(bitcoin::opcodes::all::OP_CHECKSIG),
        None => builder.push_opcode(OP_PUSHNUM_1),
    }
    .into_script()
}

/// The internal key that nobody can sign for: the point of BIP-341 with unknown discrete logarithm.
pub const UNSPENDABLE_KEY: [u8; 32] = [
    0x50, 0x92, 0x9b, 0x74, 0xc1, 0xa0, 0x49, 0x54, 0xb7, 0x8b, 0x4b, 0x60, 0x35, 0xe9, 0x7a, 0x5e, 0x07,
    0x8a, 0x5a, 0x0f, 0x28, 0xec, 0x96, 0xd5, 0x47, 0xbf, 0xee, 0x9a, 0xce, 0x80, 0x3a, 0xc0,
];

/// The Taproot output that commits to a reveal script, and nothing else that could spend it.
#[derive(Clone, Debug)]
pub struct RevealOutput {
    spend_info: TaprootSpendInfo,
    script: ScriptBuf,
}

impl RevealOutput {
    /// Commits to a leaf script.
    pub fn new(script: ScriptBuf) -> Self {
        let internal = XOnlyPublicKey::from_slice(&UNSPENDABLE_KEY).expect("the key is a point");
        let spend_info = TaprootBuilder::with_huffman_tree([(1, script.clone())])
            .expect("one leaf is a tree")
            .finalize(&SECP, internal)
            .expect("one leaf is a whole tree");
        RevealOutput { spend_info, script }
    }

    /// The leaf script.
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// The script of the commit output.
    pub fn script_pubkey(&self) -> ScriptBuf {
        ScriptBuf::new_p2tr_tweaked(self.spend_info.output_key())
    }

    /// The control block for the witness of the reveal.
    pub fn control_block(&self) -> ControlBlock {
        self.spend_info
            .control_block(&(self.script.clone(), LeafVersion::TapScript))
            .expect("the script is the leaf")
    }
}

/// What [`messages`] must give, from `ord` itself.
#[cfg(test)]
pub(crate) fn messages_by_ord(transaction: &Transaction) -> Vec<EnvelopeMessage> {
    let kind = |found: &Inscription| {
        let flagged = found.duplicate_field || found.incomplete_field || found.unrecognized_even_field;
        let plain = found.content_encoding.is_none() && found.delegate.is_none();
        if flagged || !plain || found.metaprotocol.as_deref() != Some(METAPROTOCOL) {
            return None;
        }
        EnvelopeKind::of_content_type(found.content_type.as_deref()?)
    };
    (0..)
        .zip(ord::ParsedEnvelope::from_transaction(transaction))
        .filter_map(|(inscription, found)| {
            let (input, envelope, kind) = (found.input, found.offset, kind(&found.payload)?);
            Some(EnvelopeMessage { input, envelope, inscription, kind, body: found.payload.body? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use bitcoin::opcodes::OP_FALSE;
    use bitcoin::opcodes::all::{OP_ENDIF, OP_IF, OP_RETURN};
    use bitcoin::script::PushBytesBuf;
    use bitcoin::{OutPoint, Sequence, TxIn, Witness, absolute, transaction};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const CHUNK: &[u8] = b"application/vnd.btkn.chunk+cbor";

    /// A transaction whose inputs show these scripts.
    fn transaction(scripts: &[&Script]) -> Transaction {
        let input = |script: &&Script| TxIn {
            previous_output: OutPoint::null(),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[script.as_bytes(), &[0xc0; 33]]),
        };
        Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: scripts.iter().map(input).collect(),
            output: Vec::new(),
        }
    }

    /// An envelope with these pushes after `ord`.
    fn envelope(pushes: &[&[u8]]) -> ScriptBuf {
        let push = |bytes: &[u8]| PushBytesBuf::try_from(bytes.to_vec()).expect("short");
        let mut builder = Builder::new().push_opcode(OP_FALSE).push_opcode(OP_IF).push_slice(b"ord");
        for bytes in pushes {
            builder = builder.push_slice(push(bytes));
        }
        builder.push_opcode(OP_ENDIF).into_script()
    }

    /// Name, pushes after `ord`, and the message that they make.
    type Case<'a> = (&'a str, &'a [&'a [u8]], Option<EnvelopeKind>);

    #[test]
    fn fields_decide_what_is_a_message() {
        let manifest = EnvelopeKind::Manifest.content_type().as_bytes();
        let upper = CHUNK.to_ascii_uppercase();
        let chunk = Some(EnvelopeKind::Chunk);
        let cases: &[Case] = &[
            ("chunk", &[&[1], CHUNK, &[7], b"btkn", &[], b"body"], chunk),
            ("manifest", &[&[7], b"btkn", &[1], manifest, &[], b"body"], Some(EnvelopeKind::Manifest)),
            ("body in pieces", &[&[1], CHUNK, &[7], b"btkn", &[], b"bo", b"dy"], chunk),
            ("a parent", &[&[1], CHUNK, &[7], b"btkn", &[3], b"p", &[], b"body"], chunk),
            (
                "unknown odd field",
                &[&[1], CHUNK, &[7], b"btkn", &[21], b"x", &[], b"body"],
                Some(EnvelopeKind::Chunk),
            ),
            ("unknown even field", &[&[1], CHUNK, &[7], b"btkn", &[22], b"x", &[], b"body"], None),
            (
                "pointer, an even field that is known",
                &[&[1], CHUNK, &[7], b"btkn", &[2], &[], &[], b"body"],
                Some(EnvelopeKind::Chunk),
            ),
            ("two parents", &[&[1], CHUNK, &[7], b"btkn", &[3], b"p", &[3], b"q", &[], b"body"], None),
            ("content type twice", &[&[1], CHUNK, &[1], CHUNK, &[7], b"btkn", &[], b"body"], None),
            (
                "metadata in two pieces",
                &[&[1], CHUNK, &[7], b"btkn", &[5], b"m", &[5], b"m", &[], b"body"],
                None,
            ),
            ("incomplete field", &[&[1], CHUNK, &[7], b"btkn", &[3]], None),
            ("no body", &[&[1], CHUNK, &[7], b"btkn"], None),
            ("encoding", &[&[1], CHUNK, &[7], b"btkn", &[9], b"br", &[], b"body"], None),
            ("empty encoding", &[&[1], CHUNK, &[7], b"btkn", &[9], &[], &[], b"body"], None),
            ("delegate that is no id", &[&[1], CHUNK, &[7], b"btkn", &[11], b"x", &[], b"body"], None),
            ("no metaprotocol", &[&[1], CHUNK, &[], b"body"], None),
            ("longer metaprotocol", &[&[1], CHUNK, &[7], b"btkn ", &[], b"body"], None),
            ("no content type", &[&[7], b"btkn", &[], b"body"], None),
            ("upper case content type", &[&[1], &upper, &[7], b"btkn", &[], b"body"], None),
        ];
        for (case, pushes, expected) in cases {
            let found = messages(&transaction(&[&envelope(pushes)]));
            assert_eq!(found.first().map(|message| message.kind), *expected, "{case}");
            assert!(found.iter().all(|message| message.body == b"body"), "{case}");
        }
    }

    #[test]
    fn an_empty_body_is_a_body() {
        let found = messages(&transaction(&[&envelope(&[&[1], CHUNK, &[7], b"btkn", &[]])]));
        assert_eq!(found.len(), 1);
        assert!(found[0].body.is_empty());
    }

    #[test]
    fn all_envelopes_count() {
        let chunk = envelope(&[&[1], CHUNK, &[7], b"btkn", &[], b"body"]);
        let other = envelope(&[&[1], b"text/plain", &[], b"hello"]);
        let joined = |scripts: &[&ScriptBuf]| {
            ScriptBuf::from(scripts.iter().flat_map(|script| script.to_bytes()).collect::<Vec<u8>>())
        };
        let broken = joined(&[&chunk, &ScriptBuf::from(vec![0x4c])]);
        let tx = transaction(&[&joined(&[&other, &chunk]), &other, &broken, &joined(&[&chunk, &chunk])]);
        let places: Vec<(u32, u32, u32)> =
            messages(&tx).iter().map(|found| (found.input, found.envelope, found.inscription)).collect();
        // A script that does not parse hides all envelopes of its input.
        assert_eq!(places, [(0, 1, 1), (3, 0, 3), (3, 1, 4)]);
    }

    #[test]
    fn a_script_is_searched_once_from_front_to_back() {
        let chunk = envelope(&[&[1], CHUNK, &[7], b"btkn", &[], b"body"]);
        let cases: [(&str, &[u8], usize); 5] = [
            ("an empty push", b"\x00", 1),
            ("an empty push and OP_IF", b"\x00\x63", 1),
            ("the start of another protocol's", b"\x00\x63\x03abc", 1),
            ("a failed one, which OP_CHECKSIG ends", b"\x00\x63\x03ord\xac", 1),
            ("an open one, which takes the empty push and fails at OP_IF", b"\x00\x63\x03ord", 0),
        ];
        for (before, bytes, expected) in cases {
            let script = ScriptBuf::from([bytes, chunk.as_bytes()].concat());
            assert_eq!(messages(&transaction(&[&script])).len(), expected, "after {before}");
        }
    }

    #[test]
    fn long_bodies_round_trip() {
        let key = XOnlyPublicKey::from_slice(&UNSPENDABLE_KEY).expect("a point");
        for (len, key) in [(0, None), (519, None), (520, Some(&key)), (521, None), (400_000, Some(&key))] {
            let body = vec![OP_RETURN.to_u8(); len];
            let script = reveal_script(EnvelopeKind::Chunk, &body, key);
            let found = messages(&transaction(&[&script]));
            assert_eq!(found.len(), 1, "{len} bytes");
            assert_eq!(found[0].body, body, "{len} bytes");
            assert_eq!(found[0].kind, EnvelopeKind::Chunk, "{len} bytes");
        }
    }

    /// Pieces of scripts: chance puts together envelopes of all kinds from them, and much else.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let pieces: Vec<&[u8]> = vec![
            // The start, in three encodings; parts of it; the end.
            b"\x00\x63\x03ord",
            b"\x00\x63\x4c\x03ord",
            b"\x4d\x00\x00\x63\x4e\x03\x00\x00\x00ord",
            b"\x00",
            b"\x63",
            b"\x03ord",
            b"\x68",
            b"\x68",
            // Tags, pushed and as numbers, known and not, odd and even; of several bytes.
            b"\x01\x01",
            b"\x51",
            b"\x01\x07",
            b"\x57",
            b"\x52",
            b"\x54",
            b"\x01\x05",
            b"\x01\x09",
            b"\x01\x0b",
            b"\x02\x02\x00",
            b"\x02\x07\x00",
            b"\x4f",
            b"\x60",
            // Values, fields, a body.
            b"\x04btkn",
            b"\x4c\x04btkn",
            b"\x01\x07\x04btkn",
            b"\x57\x04btkn",
            b"\x01\x01\x1fapplication/vnd.btkn.chunk+cbor",
            b"\x51\x4c\x22application/vnd.btkn.manifest+cbor",
            b"\x00\x02ab",
            b"\x03\x15\x16\x17",
            // A whole message, other opcodes, a push that may not be all there.
            b"\x00\x63\x03ord\x51\x1fapplication/vnd.btkn.chunk+cbor\x57\x04btkn\x00\x03abc\x68",
            b"\x75",
            b"\xac",
            b"\x50",
            b"\x4c\x05",
        ];
        select(pieces).prop_map(<[u8]>::to_vec)
    }

    /// Mostly in the shape of an envelope, so that most of what follows is reached.
    fn script() -> impl Strategy<Value = Vec<u8>> {
        let fields = select(vec![
            b"\x51\x1fapplication/vnd.btkn.chunk+cbor\x57\x04btkn".to_vec(),
            b"\x01\x07\x04btkn\x01\x01\x22application/vnd.btkn.manifest+cbor".to_vec(),
            Vec::new(),
        ]);
        let loose = || vec(piece(), 0..4).prop_map(|pieces| pieces.concat());
        let framed = (loose(), fields, loose(), any::<bool>(), loose(), any::<bool>()).prop_map(
            |(before, fields, more, body, after, end)| {
                let body: &[u8] = if body { b"\x00" } else { b"" };
                let end: &[u8] = if end { b"\x68" } else { b"" };
                [&before[..], b"\x00\x63\x03ord", &fields, &more, body, &after, end].concat()
            },
        );
        let one = prop_oneof![4 => framed, 1 => loose()];
        vec(one, 0..4).prop_map(|scripts| scripts.concat())
    }

    fn witness() -> impl Strategy<Value = Witness> {
        let last = prop_oneof![6 => Just(vec![0xc0; 33]), 1 => Just(vec![]), 1 => Just(vec![0x50, 1])];
        (vec(Just(vec![1]), 0..2), script(), last, any::<bool>()).prop_map(|(first, script, last, annex)| {
            let mut stack = first;
            stack.extend([script, last]);
            stack.extend(annex.then(|| vec![0x50]));
            Witness::from_slice(&stack)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn messages_are_those_that_ord_finds(witnesses in vec(witness(), 1..4)) {
            let mut tx = transaction(&[]);
            tx.input.extend(witnesses.into_iter().map(|witness| TxIn { witness, ..TxIn::default() }));
            prop_assert_eq!(messages(&tx), messages_by_ord(&tx));
        }
    }

    /// The scripts above hold messages, also several in a transaction and behind other envelopes.
    #[test]
    fn the_random_scripts_hold_messages() {
        use proptest::strategy::ValueTree;
        use proptest::test_runner::TestRunner;

        let mut runner = TestRunner::deterministic();
        let (mut messages, mut later, mut manifests) = (0, 0, 0);
        for _ in 0..1_000 {
            let mut tx = transaction(&[]);
            let witness = witness().new_tree(&mut runner).unwrap().current();
            tx.input.push(TxIn { witness, ..TxIn::default() });
            let found = messages_by_ord(&tx);
            messages += found.len();
            later += found.iter().filter(|message| message.envelope > 0).count();
            manifests += found.iter().filter(|message| message.kind == EnvelopeKind::Manifest).count();
        }
        assert!(messages > 100 && later > 20 && manifests > 10, "{messages} {later} {manifests}");
    }
}
