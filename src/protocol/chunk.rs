//! A chunk: the TTXOs that a snapshot creates and spends, with the tokens and owners they refer to.

use std::collections::BTreeMap;

use super::cbor::{self, CborError, Fields, Problem, Reader};
use super::curve::first_off_curve;
use super::hashes::sha256;
use super::token::{Layer, TokenError, TokenMetadata};
use super::ttxo::Ttxo;
use super::{Amount, ChunkHash, Network, OwnerKey, PubKey, SparkOutPoint, SparkTxHash, TokenId};

/// The highest withdraw bond, in satoshis: all bitcoin there can be.
pub const MAX_BOND: u64 = 2_100_000_000_000_000;
/// The highest relative locktime, in blocks.
pub const MAX_LOCKTIME: u64 = 65_535;

/// SHA-256 of a chunk body as inscribed.
pub fn hash(body: &[u8]) -> ChunkHash {
    ChunkHash(sha256(body))
}

/// The content of a chunk, with all indexes resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The tokens of its table, used or not.
    pub tokens: Vec<ChunkToken>,
    /// What it adds to the set.
    pub created: Vec<Ttxo>,
    /// What it takes from the set.
    pub spent: Vec<SparkOutPoint>,
}

/// An entry of the table of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkToken {
    /// The identifier alone.
    Id(TokenId),
    /// Metadata, which proves itself: the identifier is computed from it.
    Full {
        /// The identifier of the metadata on the layer.
        id: TokenId,
        /// What the issuer fixed.
        metadata: TokenMetadata,
        /// Where it was created.
        layer: Layer,
    },
}

impl ChunkToken {
    /// The identifier that the entry stands for.
    pub fn id(&self) -> TokenId {
        match self {
            ChunkToken::Id(id) | ChunkToken::Full { id, .. } => *id,
        }
    }
}

/// Why bytes are no chunk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedChunk {
    /// The encoding, a type, a size or a range.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// A version that this project does not know.
    #[error("chunk of version {0}, only version 1 is known")]
    Version(u64),
    /// A token in full that cannot exist.
    #[error("token {index}: {error}")]
    Token {
        /// Its index in the table.
        index: usize,
        /// What is wrong with it.
        error: TokenError,
    },
    /// An owner key that is no point of the curve.
    #[error("owner {0} is not a point of the curve")]
    Owner(usize),
    /// A revocation commitment that is no point of the curve.
    #[error("the revocation commitment of created TTXO {0} is not a point of the curve")]
    Revocation(usize),
}

/// Whether the keys of a chunk are checked to be points of the curve.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Points {
    Check,
    /// They were checked before.
    Trust,
}

impl Chunk {
    /// Decodes a body as inscribed and checks every limit of a chunk.
    ///
    /// Whether a TTXO is created twice, and all that depends on other chunks or on the state, is not
    /// looked at. The network enters the identifiers of tokens given in full.
    pub fn decode(body: &[u8], network: Network) -> Result<Self, MalformedChunk> {
        Self::read(body, network, Points::Check)
    }

    /// Decodes a body that [`Chunk::decode`] has accepted before, to the same chunk. That its keys are points
    /// is not checked again, which is nearly all of the work.
    pub fn decode_again(body: &[u8], network: Network) -> Result<Self, MalformedChunk> {
        Self::read(body, network, Points::Trust)
    }

    fn read(body: &[u8], network: Network, points: Points) -> Result<Self, MalformedChunk> {
        let fields = Fields::<6>::read(body)?;
        match fields.value(0).uint(u64::MAX, "an unsigned version")? {
            1 => {}
            version => return Err(MalformedChunk::Version(version)),
        }
        let mut index = 0..;
        let tokens = fields
            .value(1)
            .list(34, "an array of tokens", |r| read_token(r, index.next().unwrap_or(usize::MAX), network))?;
        let owners = fields
            .value(2)
            .list(35, "an array of owner keys", |r| r.byte_array("an owner key of 33 bytes").map(PubKey))?;
        if points == Points::Check
            && let Some(index) = first_off_curve(&owners, |owner| owner)
        {
            return Err(MalformedChunk::Owner(index));
        }
        let terms = read_terms(&mut fields.value(3))?;
        let tables = Tables { ids: tokens.iter().map(ChunkToken::id).collect(), owners, terms };
        let created = fields.value(4).list(74, "an array of created TTXOs", |r| tables.read_created(r))?;
        if points == Points::Check
            && let Some(index) = first_off_curve(&created, |ttxo| &ttxo.revocation)
        {
            return Err(MalformedChunk::Revocation(index));
        }
        let spent = fields.value(5).list(36, "an array of spent TTXOs", |r| {
            r.array_of(2, "a spent TTXO as [hash, vout]")?;
            read_outpoint(r)
        })?;
        Ok(Chunk { tokens, created, spent })
    }

    /// The tokens that the chunk gives in full.
    pub fn learned(&self) -> impl Iterator<Item = (TokenId, &TokenMetadata, Layer)> {
        self.tokens.iter().filter_map(|token| match token {
            ChunkToken::Id(_) => None,
            ChunkToken::Full { id, metadata, layer } => Some((*id, metadata, *layer)),
        })
    }

    /// The body to inscribe, integers in their shortest form, keys in order.
    ///
    /// Tokens keep their order; those of created TTXOs that are missing are added by their identifier.
    /// Owners stand in the order of first use. The default bond and locktime are those that save most.
    pub fn encode(&self) -> Vec<u8> {
        let mut tokens = Index::default();
        let mut owners = Index::default();
        for token in &self.tokens {
            tokens.push(token.id());
        }
        let places: Vec<(u64, u64)> =
            self.created.iter().map(|ttxo| (owners.place(ttxo.owner), tokens.place(ttxo.token))).collect();
        let terms = usual_terms(&self.created);
        cbor::to_vec(|e| {
            e.map(6)?.u8(0)?.u8(1)?;
            e.u8(1)?.array(tokens.keys.len() as u64)?;
            for (at, id) in tokens.keys.iter().enumerate() {
                if let Some(ChunkToken::Full { metadata, layer, .. }) = self.tokens.get(at) {
                    write_token(e, metadata, layer)?;
                } else {
                    e.bytes(&id.0)?;
                }
            }
            e.u8(2)?.array(owners.keys.len() as u64)?;
            for owner in &owners.keys {
                e.bytes(&owner.0)?;
            }
            e.u8(3)?.array(2)?.u64(terms.0)?.u64(terms.1)?;
            e.u8(4)?.array(self.created.len() as u64)?;
            for (ttxo, (owner, token)) in self.created.iter().zip(&places) {
                let own_terms = (ttxo.bond, ttxo.locktime) != terms;
                e.array(6 + u64::from(own_terms))?
                    .bytes(&ttxo.outpoint.tx_hash.0)?
                    .u32(ttxo.outpoint.vout)?;
                e.u64(*owner)?.bytes(&ttxo.revocation.0)?.u64(*token)?;
                write_amount(e, ttxo.amount)?;
                if own_terms {
                    e.array(2)?.u64(ttxo.bond)?.u64(ttxo.locktime)?;
                }
            }
            e.u8(5)?.array(self.spent.len() as u64)?;
            for outpoint in &self.spent {
                e.array(2)?.bytes(&outpoint.tx_hash.0)?.u32(outpoint.vout)?;
            }
            Ok(())
        })
    }
}

/// The bond and locktime that save most bytes as the default of a chunk with these TTXOs.
pub(super) fn usual_terms(created: &[Ttxo]) -> (u64, u64) {
    let mut saved = BTreeMap::new();
    for ttxo in created {
        *saved.entry((ttxo.bond, ttxo.locktime)).or_insert(0) += terms_size((ttxo.bond, ttxo.locktime));
    }
    saved.into_iter().max_by_key(|(_, saved)| *saved).map_or((0, 0), |(terms, _)| terms)
}

/// Bytes of a `[bond, locktime]`.
pub(super) fn terms_size((bond, locktime): (u64, u64)) -> usize {
    1 + uint_size(bond) + uint_size(locktime)
}

/// Bytes of an unsigned integer.
pub(super) fn uint_size(value: u64) -> usize {
    match value {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

/// The tables that created TTXOs refer to.
struct Tables {
    ids: Vec<TokenId>,
    owners: Vec<OwnerKey>,
    terms: (u64, u64),
}

impl Tables {
    fn read_created(&self, r: &mut Reader<'_>) -> Result<Ttxo, CborError> {
        const SHAPE: &str = "a created TTXO of 6 or 7 items";
        let start = r.clone();
        let items = r.array(SHAPE)?;
        if !(6..=7).contains(&items) {
            return Err(start.error(Problem::OutOfRange(SHAPE)));
        }
        let outpoint = read_outpoint(r)?;
        let owner = read_index(r, &self.owners, "an index into the owner keys")?;
        let revocation = PubKey(r.byte_array("a revocation commitment of 33 bytes")?);
        let token = read_index(r, &self.ids, "an index into the tokens")?;
        let amount = read_amount(r)?;
        let (bond, locktime) = if items == 7 { read_terms(r)? } else { self.terms };
        Ok(Ttxo { outpoint, owner, revocation, bond, locktime, token, amount })
    }
}

fn read_index<T: Copy>(r: &mut Reader<'_>, table: &[T], expected: &'static str) -> Result<T, CborError> {
    let start = r.clone();
    let index = r.uint(u64::MAX, expected)?;
    let entry = usize::try_from(index).ok().and_then(|index| table.get(index));
    entry.copied().ok_or(start.error(Problem::OutOfRange(expected)))
}

fn read_outpoint(r: &mut Reader<'_>) -> Result<SparkOutPoint, CborError> {
    Ok(SparkOutPoint {
        tx_hash: SparkTxHash(r.byte_array("a transaction hash of 32 bytes")?),
        vout: r.uint(u32::MAX.into(), "an output index of 32 bits")? as u32,
    })
}

fn read_terms(r: &mut Reader<'_>) -> Result<(u64, u64), CborError> {
    r.array_of(2, "[bond, locktime]")?;
    let bond = r.uint(MAX_BOND, "a bond of at most 2,100,000,000,000,000 satoshis")?;
    let locktime = r.uint(MAX_LOCKTIME, "a locktime of at most 65,535 blocks")?;
    Ok((bond, locktime))
}

fn read_amount(r: &mut Reader<'_>) -> Result<Amount, CborError> {
    const LONG: &str = "an amount of 9 to 16 bytes without a leading zero";
    const SHORT: &str = "an amount of at least 1";
    let start = r.clone();
    if !r.is_bytes() {
        return match r.uint(u64::MAX, SHORT)? {
            0 => Err(start.error(Problem::OutOfRange(SHORT))),
            amount => Ok(Amount(amount.into())),
        };
    }
    let bytes = r.bytes(LONG)?;
    if !(9..=16).contains(&bytes.len()) || bytes[0] == 0 {
        return Err(start.error(Problem::OutOfRange(LONG)));
    }
    Ok(Amount(bytes.iter().fold(0, |amount, byte| amount << 8 | u128::from(*byte))))
}

fn read_token(r: &mut Reader<'_>, index: usize, network: Network) -> Result<ChunkToken, MalformedChunk> {
    if r.is_bytes() {
        return Ok(ChunkToken::Id(TokenId(r.byte_array("a token identifier of 32 bytes")?)));
    }
    r.array_of(7, "a token as identifier or array of 7")?;
    let metadata = TokenMetadata {
        issuer: PubKey(r.byte_array("an issuer key of 33 bytes")?),
        name: r.text("a name as text")?.to_owned(),
        ticker: r.text("a ticker as text")?.to_owned(),
        decimals: r.uint(u8::MAX.into(), "decimals of at most 255")? as u8,
        max_supply: Amount(u128::from_be_bytes(r.byte_array("a maximum supply of 16 bytes")?)),
        freezable: r.bool("the freezable flag as true or false")?,
    };
    let entity = r.nullable(|r| r.byte_array("a creation entity of 33 bytes").map(PubKey))?;
    let layer = entity.map_or(Layer::L1, Layer::Spark);
    metadata.check().and(layer.check()).map_err(|error| MalformedChunk::Token { index, error })?;
    Ok(ChunkToken::Full { id: metadata.identifier(network, layer), metadata, layer })
}

type Writer = minicbor::Encoder<Vec<u8>>;
type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn write_token(e: &mut Writer, metadata: &TokenMetadata, layer: &Layer) -> Written {
    e.array(7)?.bytes(&metadata.issuer.0)?.str(&metadata.name)?.str(&metadata.ticker)?;
    e.u8(metadata.decimals)?.bytes(&metadata.max_supply.0.to_be_bytes())?.bool(metadata.freezable)?;
    match layer {
        Layer::L1 => e.null()?,
        Layer::Spark(entity) => e.bytes(&entity.0)?,
    };
    Ok(())
}

fn write_amount(e: &mut Writer, amount: Amount) -> Written {
    match u64::try_from(amount.0) {
        Ok(amount) => e.u64(amount)?,
        Err(_) => {
            let bytes = amount.0.to_be_bytes();
            e.bytes(&bytes[amount.0.leading_zeros() as usize / 8..])?
        }
    };
    Ok(())
}

/// Numbers values in the order in which they are added.
pub(super) struct Index<K> {
    places: BTreeMap<K, u64>,
    pub(super) keys: Vec<K>,
}

impl<K> Default for Index<K> {
    fn default() -> Self {
        Index { places: BTreeMap::new(), keys: Vec::new() }
    }
}

impl<K: Copy + Ord> Index<K> {
    /// Adds a value. One that was there before keeps its first place.
    pub(super) fn push(&mut self, key: K) -> u64 {
        let place = self.keys.len() as u64;
        self.keys.push(key);
        *self.places.entry(key).or_insert(place)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.places.contains_key(key)
    }

    /// The place of a value, which is added where it is new.
    pub(super) fn place(&mut self, key: K) -> u64 {
        match self.places.get(&key) {
            Some(place) => *place,
            None => self.push(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ttxo(bond: u64, locktime: u64) -> Ttxo {
        Ttxo {
            outpoint: SparkOutPoint::MIN,
            owner: PubKey::BURN,
            revocation: PubKey::BURN,
            bond,
            locktime,
            token: TokenId([1; 32]),
            amount: Amount(1),
        }
    }

    #[test]
    fn tables_may_repeat_themselves() {
        let id = ChunkToken::Id(TokenId([1; 32]));
        let other = ChunkToken::Id(TokenId([2; 32]));
        let chunk = Chunk {
            tokens: vec![other.clone(), id.clone(), other, id],
            created: vec![ttxo(1, 2), ttxo(1, 2)],
            spent: vec![SparkOutPoint::MAX, SparkOutPoint::MAX],
        };
        assert_eq!(Chunk::decode(&chunk.encode(), Network::Regtest), Ok(chunk));
    }

    #[test]
    fn tokens_of_created_ttxos_are_added() {
        let chunk = Chunk { created: vec![ttxo(1, 2)], ..Chunk::default() };
        let decoded = Chunk::decode(&chunk.encode(), Network::Regtest).expect("a chunk");
        assert_eq!(decoded.tokens, [ChunkToken::Id(TokenId([1; 32]))]);
        assert_eq!(decoded.created, chunk.created);
    }

    #[test]
    fn what_decoded_once_decodes_again_to_the_same() {
        let off_curve = Ttxo { revocation: PubKey([0; 33]), ..ttxo(1, 2) };
        let chunk = |ttxo: Ttxo| Chunk { created: vec![ttxo], ..Chunk::default() }.encode();
        let (good, bad) = (chunk(ttxo(1, 2)), chunk(off_curve));
        assert_eq!(Chunk::decode_again(&good, Network::Regtest), Chunk::decode(&good, Network::Regtest));
        assert_eq!(Chunk::decode(&bad, Network::Regtest), Err(MalformedChunk::Revocation(0)));
        let unchecked = Chunk::decode_again(&bad, Network::Regtest).expect("keys are not looked at");
        assert_eq!(unchecked.created, [off_curve]);
    }

    #[test]
    fn an_empty_chunk_is_a_chunk() {
        let body = Chunk::default().encode();
        assert_eq!(body, [0xa6, 0, 1, 1, 0x80, 2, 0x80, 3, 0x82, 0, 0, 4, 0x80, 5, 0x80]);
        assert_eq!(Chunk::decode(&body, Network::Regtest), Ok(Chunk::default()));
    }

    #[test]
    fn the_default_is_what_saves_most() {
        // Two long terms outweigh three short ones.
        let created = [ttxo(1, 1), ttxo(1, 1), ttxo(1, 1), ttxo(MAX_BOND, 1000), ttxo(MAX_BOND, 1000)];
        assert_eq!(usual_terms(&created), (MAX_BOND, 1000));
        assert_eq!(usual_terms(&created[..4]), (MAX_BOND, 1000));
        assert_eq!(usual_terms(&created[..3]), (1, 1));
        assert_eq!(usual_terms(&[]), (0, 0));
    }

    #[test]
    fn limits_hold_for_the_network_of_the_chain() {
        let metadata = TokenMetadata {
            issuer: PubKey::BURN,
            name: "abc".to_owned(),
            ticker: "XYZ".to_owned(),
            decimals: 255,
            max_supply: Amount(u128::MAX),
            freezable: true,
        };
        let id = metadata.identifier(Network::Regtest, Layer::L1);
        let chunk = Chunk {
            tokens: vec![ChunkToken::Full { id, metadata: metadata.clone(), layer: Layer::L1 }],
            ..Chunk::default()
        };
        let decode = |network| Chunk::decode(&chunk.encode(), network).expect("a chunk");
        assert_eq!(decode(Network::Regtest), chunk);
        let learned: Vec<TokenId> = decode(Network::Signet).learned().map(|(id, _, _)| id).collect();
        assert_eq!(learned, [metadata.identifier(Network::Signet, Layer::L1)]);
    }
}
