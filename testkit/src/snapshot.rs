//! A snapshot that is ready to be inscribed, and ways to break it.

use bitcoin::secp256k1::Keypair;
use btkn_indexer::protocol::chunk::{self, Chunk};
use btkn_indexer::protocol::manifest::{Manifest, SignedManifest};
use btkn_indexer::protocol::{ChunkHash, ManifestId};

use crate::inscribe::Envelope;

/// A manifest, its signer, and its chunks.
///
/// [`Spark`](crate::Spark) makes correct ones; the `with_…` methods change one thing each and sign anew.
#[derive(Clone, Debug)]
pub struct Snapshot {
    manifest: Manifest,
    signer: Keypair,
    bodies: Vec<Vec<u8>>,
}

impl Snapshot {
    /// A snapshot of these chunks; the manifest's list of chunk hashes is filled in.
    pub fn new(mut manifest: Manifest, signer: Keypair, chunks: &[Chunk]) -> Self {
        let bodies: Vec<Vec<u8>> = chunks.iter().map(Chunk::encode).collect();
        manifest.chunks = hashes(&bodies);
        Snapshot { manifest, signer, bodies }
    }

    /// What the manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The signed manifest.
    pub fn signed(&self) -> SignedManifest {
        SignedManifest::sign(&self.manifest, &self.signer)
    }

    /// Its id.
    pub fn id(&self) -> ManifestId {
        self.signed().id
    }

    /// The bodies of the chunks.
    pub fn bodies(&self) -> &[Vec<u8>] {
        &self.bodies
    }

    /// Changes the manifest.
    pub fn with(mut self, change: impl FnOnce(&mut Manifest)) -> Self {
        change(&mut self.manifest);
        self
    }

    /// Signs with another key than that of the entity.
    pub fn with_signer(mut self, signer: Keypair) -> Self {
        self.signer = signer;
        self
    }

    /// Replaces the bodies of the chunks, and their hashes in the manifest.
    pub fn with_bodies(mut self, bodies: Vec<Vec<u8>>) -> Self {
        self.manifest.chunks = hashes(&bodies);
        self.bodies = bodies;
        self
    }

    /// Replaces the chunks, and their hashes in the manifest; count and root stay as they are.
    pub fn with_chunks(self, chunks: &[Chunk]) -> Self {
        self.with_bodies(chunks.iter().map(Chunk::encode).collect())
    }

    /// The envelope of the manifest.
    pub fn manifest_envelope(&self) -> Envelope {
        Envelope::manifest(self.signed().encode())
    }

    /// The envelopes of the chunks, in order.
    pub fn chunk_envelopes(&self) -> Vec<Envelope> {
        self.bodies.iter().map(|body| Envelope::chunk(body.clone())).collect()
    }

    /// All envelopes, the manifest first.
    pub fn envelopes(&self) -> Vec<Envelope> {
        let mut envelopes = vec![self.manifest_envelope()];
        envelopes.extend(self.chunk_envelopes());
        envelopes
    }
}

fn hashes(bodies: &[Vec<u8>]) -> Vec<ChunkHash> {
    bodies.iter().map(|body| chunk::hash(body)).collect()
}
