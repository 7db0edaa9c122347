//! The manifest of a snapshot: what it commits to, its id and its signature.

use bitcoin::secp256k1::{Keypair, Message, XOnlyPublicKey, schnorr};

use super::cbor::{self, CborError, Fields, Reader};
use super::curve::SECP;
use super::hashes::{TAG_MANIFEST, tagged};
use super::{ChunkHash, ManifestId, NodeHash, PubKey, Signature};

/// The most chunks that a manifest can list.
pub const MAX_CHUNKS: usize = 65_535;

/// Whether a snapshot is a whole set or a change to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum SnapshotKind {
    /// The created TTXOs are the set.
    #[n(0)]
    Full,
    /// The set is that of the parent, minus the spent, plus the created TTXOs.
    #[n(1)]
    Delta,
}

/// What an entity says about one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The entity's key; 33 bytes that need not be a point (then nobody follows that entity).
    pub entity: PubKey,
    /// The number of the network, as in [`super::Network::magic`].
    pub network_magic: u32,
    /// Grows from snapshot to snapshot.
    pub sequence: u64,
    /// Full or delta.
    pub kind: SnapshotKind,
    /// The manifest that a delta changes. A full snapshot may name one too.
    pub parent: Option<ManifestId>,
    /// Height of the L1 block that the snapshot knew of.
    pub anchor_height: u64,
    /// Hash of that block in internal byte order, as in [`bitcoin::BlockHash`].
    pub anchor_hash: [u8; 32],
    /// Spark time of the snapshot, Unix milliseconds.
    pub as_of_ms: u64,
    /// Hashes of the chunks, in order, no two equal, at most [`MAX_CHUNKS`].
    pub chunks: Vec<ChunkHash>,
    /// How many TTXOs the resulting set has.
    pub count: u64,
    /// The root of the resulting set.
    pub root: NodeHash,
}

/// Why bytes are no manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedManifest {
    /// The array of manifest and signature is not one.
    #[error("signed manifest: {0}")]
    Signed(CborError),
    /// The manifest inside is not one.
    #[error("manifest: {0}")]
    Manifest(CborError),
    /// A version that this project does not know.
    #[error("manifest of version {0}, only version 1 is known")]
    Version(u64),
    /// The list of chunk hashes is too long.
    #[error("{0} chunks are listed, at most {MAX_CHUNKS} are allowed")]
    TooManyChunks(usize),
    /// A chunk hash appears twice.
    #[error("chunk hash {0} is listed twice")]
    DuplicateChunk(ChunkHash),
}

impl Manifest {
    /// Decodes the bytes that are hashed and signed.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedManifest> {
        let fields = Fields::<11>::read(bytes).map_err(MalformedManifest::Manifest)?;
        let version = fields.value(0).uint(u64::MAX, "an unsigned version");
        match version.map_err(MalformedManifest::Manifest)? {
            1 => {}
            version => return Err(MalformedManifest::Version(version)),
        }
        let manifest = Self::read(&fields).map_err(MalformedManifest::Manifest)?;
        manifest.check_chunks()?;
        Ok(manifest)
    }

    fn read(fields: &Fields<'_, 11>) -> Result<Self, CborError> {
        let any = u64::MAX;
        let mut anchor = fields.value(6);
        anchor.array_of(2, "the anchor as [height, hash]")?;
        Ok(Manifest {
            entity: PubKey(fields.value(1).byte_array("an entity key of 33 bytes")?),
            network_magic: fields.value(2).uint(u32::MAX.into(), "a network number of 32 bits")? as u32,
            sequence: fields.value(3).uint(any, "an unsigned sequence")?,
            kind: match fields.value(4).uint(1, "0 for full or 1 for delta")? {
                0 => SnapshotKind::Full,
                _ => SnapshotKind::Delta,
            },
            parent: fields.value(5).nullable(|r| r.byte_array("a parent of 32 bytes").map(ManifestId))?,
            anchor_height: anchor.uint(any, "an unsigned anchor height")?,
            anchor_hash: anchor.byte_array("an anchor hash of 32 bytes")?,
            as_of_ms: fields.value(7).uint(any, "an unsigned time")?,
            chunks: fields.value(8).list(34, "an array of chunk hashes", |r| {
                r.byte_array("a chunk hash of 32 bytes").map(ChunkHash)
            })?,
            count: fields.value(9).uint(any, "an unsigned count")?,
            root: NodeHash(fields.value(10).byte_array("a root of 32 bytes")?),
        })
    }

    fn check_chunks(&self) -> Result<(), MalformedManifest> {
        if self.chunks.len() > MAX_CHUNKS {
            return Err(MalformedManifest::TooManyChunks(self.chunks.len()));
        }
        let mut sorted = self.chunks.clone();
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(MalformedManifest::DuplicateChunk(pair[0])),
            None => Ok(()),
        }
    }

    /// The bytes that are hashed and signed, integers in their shortest form, keys in order.
    pub fn encode(&self) -> Vec<u8> {
        cbor::to_vec(|e| {
            e.map(11)?;
            e.u8(0)?.u8(1)?;
            e.u8(1)?.bytes(&self.entity.0)?;
            e.u8(2)?.u32(self.network_magic)?;
            e.u8(3)?.u64(self.sequence)?;
            e.u8(4)?.u8(match self.kind {
                SnapshotKind::Full => 0,
                SnapshotKind::Delta => 1,
            })?;
            e.u8(5)?;
            match &self.parent {
                Some(parent) => e.bytes(&parent.0)?,
                None => e.null()?,
            };
            e.u8(6)?.array(2)?.u64(self.anchor_height)?.bytes(&self.anchor_hash)?;
            e.u8(7)?.u64(self.as_of_ms)?;
            e.u8(8)?.array(self.chunks.len() as u64)?;
            for chunk in &self.chunks {
                e.bytes(&chunk.0)?;
            }
            e.u8(9)?.u64(self.count)?;
            e.u8(10)?.bytes(&self.root.0)?;
            Ok(())
        })
    }
}

/// A manifest as it is inscribed: with its signature, and the very bytes that were signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedManifest {
    /// What it says.
    pub manifest: Manifest,
    /// Its id, also the message that is signed.
    pub id: ManifestId,
    /// BIP-340 signature of the id. Not verified by decoding.
    pub signature: Signature,
    // As inscribed: another encoding of the same manifest would have another id.
    bytes: Vec<u8>,
}

impl SignedManifest {
    /// Decodes a body as inscribed. The signature is not verified.
    pub fn decode(body: &[u8]) -> Result<Self, MalformedManifest> {
        let (bytes, signature) = Self::split(body).map_err(MalformedManifest::Signed)?;
        let manifest = Manifest::decode(bytes)?;
        Ok(SignedManifest { manifest, id: id(bytes), signature, bytes: bytes.to_vec() })
    }

    fn split(body: &[u8]) -> Result<(&[u8], Signature), CborError> {
        let mut reader = Reader::new(body);
        reader.array_of(2, "an array of manifest and signature")?;
        let bytes = reader.bytes("the manifest as a byte string")?;
        let signature = Signature(reader.byte_array("a signature of 64 bytes")?);
        reader.finish()?;
        Ok((bytes, signature))
    }

    /// Signs a manifest with the key pair of its entity, without auxiliary randomness: the same
    /// manifest always gives the same body.
    pub fn sign(manifest: &Manifest, entity: &Keypair) -> Self {
        let bytes = manifest.encode();
        let id = id(&bytes);
        let signature = SECP.sign_schnorr_no_aux_rand(&Message::from_digest(id.0), entity);
        SignedManifest { manifest: manifest.clone(), id, signature: Signature(signature.serialize()), bytes }
    }

    /// Whether the signature is one of the id under the x-only form of the entity's key.
    pub fn verify_signature(&self) -> bool {
        let Ok(key) = XOnlyPublicKey::from_slice(&self.manifest.entity.x_only()) else { return false };
        let Ok(signature) = schnorr::Signature::from_slice(&self.signature.0) else { return false };
        SECP.verify_schnorr(&signature, &Message::from_digest(self.id.0), &key).is_ok()
    }

    /// The body to inscribe; the body that was decoded, up to the encoding of the outer array.
    pub fn encode(&self) -> Vec<u8> {
        cbor::to_vec(|e| {
            e.array(2)?.bytes(&self.bytes)?.bytes(&self.signature.0)?;
            Ok(())
        })
    }
}

fn id(bytes: &[u8]) -> ManifestId {
    ManifestId(tagged(TAG_MANIFEST, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(chunks: usize) -> Manifest {
        let hash = |index: usize| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&index.to_be_bytes());
            ChunkHash(hash)
        };
        Manifest {
            entity: PubKey([0; 33]),
            network_magic: u32::MAX,
            sequence: u64::MAX,
            kind: SnapshotKind::Delta,
            parent: None,
            anchor_height: u64::MAX,
            anchor_hash: [1; 32],
            as_of_ms: u64::MAX,
            chunks: (0..chunks).map(hash).collect(),
            count: u64::MAX,
            root: NodeHash([2; 32]),
        }
    }

    #[test]
    fn limits_are_those_of_the_encoding() {
        for chunks in [0, MAX_CHUNKS] {
            let manifest = manifest(chunks);
            assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest), "{chunks} chunks");
        }
        let bytes = manifest(MAX_CHUNKS + 1).encode();
        assert_eq!(Manifest::decode(&bytes), Err(MalformedManifest::TooManyChunks(65_536)));
    }

    #[test]
    fn an_entity_key_off_the_curve_signs_nothing() {
        let key = Keypair::from_seckey_slice(&SECP, &[1; 32]).expect("a key");
        let mut manifest = manifest(1);
        assert!(!SignedManifest::sign(&manifest, &key).verify_signature());
        manifest.entity = key.public_key().into();
        assert!(SignedManifest::sign(&manifest, &key).verify_signature());
        // The signature is under the x coordinate: it does not tell 02 from 03.
        manifest.entity.0[0] ^= 1;
        assert!(SignedManifest::sign(&manifest, &key).verify_signature());
    }
}
