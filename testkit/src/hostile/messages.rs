//! Envelopes that are messages, and that have no effect.

use bitcoin::Transaction;
use btkn_indexer::protocol::manifest::{Manifest, SignedManifest};
use btkn_indexer::protocol::{ChunkHash, Signature};

use super::{Scene, fill, payment, reveal, transaction};
use crate::inscribe::Envelope;
use crate::keys::keypair;
use crate::noise::Noise;

/// Envelopes in an input of a transaction.
const TOGETHER: usize = 20;

/// Most chunks that a manifest may list.
const MAX_CHUNKS: usize = 65_535;

/// Transactions with several envelopes each.
fn envelopes(
    noise: &mut Noise,
    weight: usize,
    mut make: impl FnMut(&mut Noise) -> Envelope,
) -> Vec<Transaction> {
    fill(noise, weight, |noise| {
        let script = (0..1 + noise.below(TOGETHER)).flat_map(|_| make(noise).script().into_bytes()).collect();
        transaction(vec![reveal(noise, script)], vec![payment(1)])
    })
}

fn manifest(scene: &Scene, noise: &mut Noise) -> Manifest {
    let signed = SignedManifest::decode(&scene.manifest).expect("the scene has made it");
    Manifest { sequence: 2 + noise.below(1_000) as u64, chunks: Vec::new(), ..signed.manifest }
}

/// Each is well signed, by somebody whom nobody follows.
pub(super) fn foreign_manifests(scene: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    let stranger = keypair("stranger");
    let mut manifest = manifest(scene, noise);
    manifest.entity = stranger.public_key().into();
    let signed: Vec<Vec<u8>> = (0..20)
        .map(|sequence| SignedManifest::sign(&Manifest { sequence, ..manifest.clone() }, &stranger).encode())
        .collect();
    envelopes(noise, weight, |noise| Envelope::manifest(signed[noise.below(signed.len())].clone()))
}

/// Each is said to be signed by the entity.
pub(super) fn bad_signatures(scene: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    envelopes(noise, weight, |noise| {
        let manifest = manifest(scene, noise);
        Envelope::manifest(encode(&manifest, &Signature(noise.array())))
    })
}

/// Two byte strings in an array, as [`SignedManifest::encode`] writes them.
fn encode(manifest: &Manifest, signature: &Signature) -> Vec<u8> {
    let manifest = manifest.encode();
    let mut bytes = vec![0x82, 0x5a];
    bytes.extend_from_slice(&(manifest.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&manifest);
    bytes.extend_from_slice(&[0x58, 64]);
    bytes.extend_from_slice(&signature.0);
    bytes
}

pub(super) fn malformed_manifests(scene: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    envelopes(noise, weight, |noise| {
        let mut bytes = scene.manifest.clone();
        match noise.below(6) {
            0 => bytes.truncate(noise.below(bytes.len())),
            1 => bytes.push(0),
            2 => {
                let place = noise.below(bytes.len());
                bytes[place] ^= 1 << noise.below(8);
            }
            // Nested to and far beyond the limit, in arrays, maps and tags.
            3 => bytes = vec![*noise.pick(&[&0x81, &0xa1, &0xc1]); 15 + noise.below(500)],
            // Lengths that nothing is behind.
            4 => {
                let kind = *noise.pick(&[&0x9bu8, &0xbb, &0x5b, &0x7b]);
                bytes = [&[0x82, kind][..], &noise.array::<8>()].concat();
            }
            _ => bytes = b"\x9f\xff".repeat(1 + noise.below(100)),
        }
        Envelope::manifest(bytes)
    })
}

/// At the limit of chunk hashes with a bad signature, above it, and with one hash twice.
pub(super) fn oversized_manifests(scene: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    let most = MAX_CHUNKS.min(weight.saturating_sub(2_000) / 34);
    let mut manifest = manifest(scene, noise);
    manifest.chunks = (0..most).map(|_| ChunkHash(noise.array())).collect();
    match noise.below(3) {
        0 => {}
        1 => manifest.chunks.extend((0..most.min(10)).map(|_| ChunkHash(noise.array()))),
        _ => manifest.chunks[most - 1] = manifest.chunks[0],
    }
    let script = Envelope::manifest(encode(&manifest, &Signature(noise.array()))).script().into_bytes();
    fill(noise, weight, |noise| transaction(vec![reveal(noise, script.clone())], vec![payment(1)]))
}

pub(super) fn small_chunks(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    envelopes(noise, weight, |noise| {
        let len = noise.below(40);
        Envelope::chunk(noise.bytes(len))
    })
}

pub(super) fn large_chunk(_: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    let body = noise.bytes(weight * 99 / 100 - 1_000);
    let script = Envelope::chunk(body).script().into_bytes();
    vec![transaction(vec![reveal(noise, script)], vec![payment(1)])]
}

/// What the entity once signed, inscribed by somebody else: an event line each, and nothing more.
pub(super) fn replayed_manifests(scene: &Scene, noise: &mut Noise, weight: usize) -> Vec<Transaction> {
    envelopes(noise, weight, |_| Envelope::manifest(scene.manifest.clone()))
}

/// A manifest of the scene's entity that lists chunks which nobody will ever show.
pub(super) fn waiting(scene: &Scene, noise: &mut Noise, sequence: u64, chunks: usize) -> Envelope {
    let mut manifest = manifest(scene, noise);
    manifest.sequence = sequence;
    manifest.parent = None;
    manifest.chunks = (0..chunks).map(|_| ChunkHash(noise.array())).collect();
    Envelope::manifest(SignedManifest::sign(&manifest, &scene.spark.keypair()).encode())
}
