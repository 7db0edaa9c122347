//! Bodies of manifests and chunks.

use std::collections::BTreeMap;
use std::error::Error;
use std::str::Utf8Error;

use btkn_indexer::protocol::chunk::{Chunk, ChunkToken};
use btkn_indexer::protocol::chunk_split::split;
use btkn_indexer::protocol::manifest::{Manifest, SignedManifest};
use btkn_indexer::protocol::{Network, TokenId};

/// Bytes that are one well-formed item of CBOR by another reader's judgement. It refuses text that is
/// not UTF-8 also in values that are ignored.
fn assert_is_cbor(bytes: &[u8]) {
    let mut decoder = minicbor::Decoder::new(bytes);
    match decoder.skip() {
        Ok(()) => assert_eq!(decoder.position(), bytes.len(), "another reader finds bytes after it"),
        Err(error) if error.source().is_some_and(|source| source.is::<Utf8Error>()) => {}
        Err(error) => panic!("another reader does not take it for CBOR: {error}"),
    }
}

/// The input is the body of a manifest, and once more the manifest inside it.
///
/// Laws: what decodes is well-formed CBOR, has no sound proper prefix and no sound continuation; it
/// encodes to bytes that are not longer, decode to the same value, and encode to themselves; the signed
/// bytes are kept as they were, so the body can be inscribed again under the same id.
pub fn manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::decode(data) {
        check_manifest(data, &manifest);
    }
    let Ok(signed) = SignedManifest::decode(data) else { return };
    assert_is_cbor(data);
    assert!(SignedManifest::decode(&data[..data.len() - 1]).is_err(), "a prefix decodes");
    assert!(SignedManifest::decode(&[data, &[0]].concat()).is_err(), "a continuation decodes");
    let body = signed.encode();
    assert!(body.len() <= data.len(), "{} bytes became {}", data.len(), body.len());
    assert_eq!(SignedManifest::decode(&body).as_ref(), Ok(&signed));
    // All of the body but the heads of the outer array and of its two strings is kept.
    assert_eq!(body.last_chunk::<64>(), data.last_chunk::<64>(), "the signature");
    // Whether it verifies is for others; that it can be asked is a law.
    let _ = signed.verify_signature();
}

fn check_manifest(data: &[u8], manifest: &Manifest) {
    assert_is_cbor(data);
    assert!(Manifest::decode(&data[..data.len() - 1]).is_err(), "a prefix decodes");
    assert!(Manifest::decode(&[data, &[0]].concat()).is_err(), "a continuation decodes");
    let bytes = manifest.encode();
    assert!(bytes.len() <= data.len(), "{} bytes became {}", data.len(), bytes.len());
    assert_eq!(Manifest::decode(&bytes).as_ref(), Ok(manifest));
}

/// The input is the body of a chunk; its last byte also says into how long pieces it is cut.
///
/// Laws: what decodes is well-formed CBOR, has no sound proper prefix and no sound continuation; it
/// encodes to bytes that decode to the same value and encode to themselves. On another network it has
/// the same content under other identifiers. Cut into pieces, each piece is a chunk of at most the
/// length that was asked for, and together they hold everything once, in order.
pub fn chunk(data: &[u8]) {
    let decode = |body: &[u8]| Chunk::decode(body, Network::Regtest);
    let Ok(chunk) = decode(data) else { return };
    assert_is_cbor(data);
    assert!(decode(&data[..data.len() - 1]).is_err(), "a prefix decodes");
    assert!(decode(&[data, &[0]].concat()).is_err(), "a continuation decodes");
    let body = chunk.encode();
    let again = decode(&body).expect("an encoded chunk decodes");
    assert_eq!(again, chunk);
    assert_eq!(again.encode(), body);

    let elsewhere = Chunk::decode(data, Network::Mainnet).expect("limits do not depend on the network");
    assert_eq!(elsewhere.spent, chunk.spent);
    assert_eq!(elsewhere.created.len(), chunk.created.len());
    let metadata = |chunk: &Chunk| chunk.learned().map(|(_, data, layer)| (data.clone(), layer)).collect();
    let (here, there): (Vec<_>, Vec<_>) = (metadata(&chunk), metadata(&elsewhere));
    assert_eq!(here, there);

    let limit = 512 + 16 * usize::from(data.last().copied().unwrap_or(0));
    check_pieces(&chunk, limit);
}

fn check_pieces(chunk: &Chunk, limit: usize) {
    let pieces = split(&chunk.tokens, &chunk.created, &chunk.spent, limit);
    for piece in &pieces {
        let body = piece.encode();
        assert!(body.len() <= limit, "{} bytes where at most {limit} were asked for", body.len());
        assert_eq!(Chunk::decode(&body, Network::Regtest).as_ref(), Ok(piece));
    }
    let created: Vec<_> = pieces.iter().flat_map(|piece| &piece.created).copied().collect();
    assert_eq!(created, chunk.created);
    let spent: Vec<_> = pieces.iter().flat_map(|piece| &piece.spent).copied().collect();
    assert_eq!(spent, chunk.spent);
    // A token in full may be there several times; its metadata is written once.
    let full = |tokens: &mut dyn Iterator<Item = &ChunkToken>| {
        let mut times = BTreeMap::<TokenId, usize>::new();
        for token in tokens.filter(|token| matches!(token, ChunkToken::Full { .. })) {
            *times.entry(token.id()).or_default() += 1;
        }
        times
    };
    let before = full(&mut chunk.tokens.iter());
    let after = full(&mut pieces.iter().flat_map(|piece| &piece.tokens));
    assert!(before.keys().eq(after.keys()), "tokens in full: {before:?} became {after:?}");
    assert!(after.values().all(|times| *times == 1), "a token in full is written again: {after:?}");
}
