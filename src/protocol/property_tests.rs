//! Properties that hold for all values: what is encoded decodes to itself, proofs agree with a naive
//! tree, and no bytes make a decoder panic.

use bitcoin::secp256k1::{Keypair, SecretKey};
use proptest::collection::vec;
use proptest::prelude::*;

use super::announcement::TokenAnnouncement;
use super::cbor::Fields;
use super::chunk::{Chunk, ChunkToken, MAX_BOND, MAX_LOCKTIME};
use super::chunk_split::split;
use super::curve::SECP;
use super::manifest::{Manifest, SignedManifest, SnapshotKind};
use super::merkle::{self, AbsenceProof, RootBuilder};
use super::op_return::{self, OpReturn};
use super::token::{Layer, TokenMetadata};
use super::ttxo::Ttxo;
use super::withdrawal::{WithdrawalAnnouncement, WithdrawalRecord};
use super::*;

fn key_pair() -> impl Strategy<Value = Keypair> {
    any::<[u8; 32]>().prop_filter_map("a secret key", |bytes| {
        SecretKey::from_slice(&bytes).ok().map(|key| Keypair::from_secret_key(&SECP, &key))
    })
}

fn key() -> impl Strategy<Value = PubKey> {
    key_pair().prop_map(|key| key.public_key().into())
}

fn network() -> impl Strategy<Value = Network> {
    prop::sample::select(vec![Network::Mainnet, Network::Testnet, Network::Signet, Network::Regtest])
}

fn outpoint() -> impl Strategy<Value = SparkOutPoint> {
    (any::<[u8; 32]>(), any::<u32>())
        .prop_map(|(hash, vout)| SparkOutPoint { tx_hash: SparkTxHash(hash), vout })
}

fn metadata() -> impl Strategy<Value = TokenMetadata> {
    let text = ("[ -~]{3,20}", "[ -~]{3,6}");
    (key(), text, any::<u8>(), any::<u128>(), any::<bool>()).prop_map(
        |(issuer, (name, ticker), decimals, max_supply, freezable)| TokenMetadata {
            issuer,
            name,
            ticker,
            decimals,
            max_supply: Amount(max_supply),
            freezable,
        },
    )
}

fn layer() -> impl Strategy<Value = Layer> {
    prop_oneof![Just(Layer::L1), key().prop_map(Layer::Spark)]
}

/// Amounts of every length.
fn amount() -> impl Strategy<Value = Amount> {
    (1..=u128::MAX, 0u32..128).prop_map(|(amount, shift)| Amount((amount >> shift).max(1)))
}

fn tokens() -> impl Strategy<Value = Vec<ChunkToken>> {
    let full = (metadata(), layer()).prop_map(|(metadata, layer)| ChunkToken::Full {
        id: metadata.identifier(Network::Regtest, layer),
        metadata,
        layer,
    });
    vec(prop_oneof![full, any::<[u8; 32]>().prop_map(|id| ChunkToken::Id(TokenId(id)))], 1..4)
}

/// Tokens, and TTXOs of them that share a few owners and terms.
fn content() -> impl Strategy<Value = (Vec<ChunkToken>, Vec<Ttxo>)> {
    let terms = prop_oneof![3 => Just((10_000, 1_000)), 1 => (0..=MAX_BOND, 0..=MAX_LOCKTIME)];
    let created = (outpoint(), any::<prop::sample::Index>(), any::<prop::sample::Index>(), terms, amount());
    (tokens(), vec(key(), 1..4), vec(created, 0..24)).prop_map(|(tokens, keys, created)| {
        let ttxo = |(outpoint, token, owner, (bond, locktime), amount): (
            _,
            prop::sample::Index,
            prop::sample::Index,
            _,
            _,
        )| Ttxo {
            outpoint,
            owner: *owner.get(&keys),
            revocation: *token.get(&keys),
            bond,
            locktime,
            token: token.get(&tokens).id(),
            amount,
        };
        let created = created.into_iter().map(ttxo).collect();
        (tokens, created)
    })
}

fn manifest(entity: PubKey) -> impl Strategy<Value = Manifest> {
    let hash = any::<[u8; 32]>;
    let delta = prop::option::of(hash());
    let numbers = (any::<u32>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    (numbers, any::<bool>(), delta, hash(), prop::collection::btree_set(hash(), 0..5), hash()).prop_map(
        move |(
            (network_magic, sequence, anchor_height, as_of_ms, count),
            full,
            parent,
            anchor,
            chunks,
            root,
        )| {
            Manifest {
                entity,
                network_magic,
                sequence,
                kind: if full { SnapshotKind::Full } else { SnapshotKind::Delta },
                parent: parent.map(ManifestId),
                anchor_height,
                anchor_hash: anchor,
                as_of_ms,
                chunks: chunks.into_iter().map(ChunkHash).collect(),
                count,
                root: NodeHash(root),
            }
        },
    )
}

/// The tree as RFC 6962 defines it.
fn naive_root(leaves: &[NodeHash]) -> NodeHash {
    match leaves {
        [] => NodeHash([0; 32]),
        [leaf] => *leaf,
        _ => {
            let mut split = 1;
            while split * 2 < leaves.len() {
                split *= 2;
            }
            merkle::branch(&naive_root(&leaves[..split]), &naive_root(&leaves[split..]))
        }
    }
}

/// A set of `count` TTXOs in order; their outpoints are 1, 3, 5, …
fn odd_set(count: u32) -> Vec<Ttxo> {
    let ttxo = |index| Ttxo {
        outpoint: SparkOutPoint { tx_hash: SparkTxHash([1; 32]), vout: 2 * index + 1 },
        owner: PubKey::BURN,
        revocation: PubKey::BURN,
        bond: 10_000,
        locktime: 1_000,
        token: TokenId([3; 32]),
        amount: Amount(1),
    };
    (0..count).map(ttxo).collect()
}

#[test]
fn every_proof_of_small_trees() {
    for count in 0..=33u32 {
        let set = odd_set(count);
        let leaves: Vec<NodeHash> = set.iter().map(Ttxo::leaf).collect();
        let root = naive_root(&leaves);
        for (index, leaf) in leaves.iter().enumerate() {
            let proof = merkle::prove(&leaves, index).expect("a leaf");
            assert!(proof.verify(leaf, &root), "{index} of {count}");
            for other in (0..leaves.len()).filter(|other| *other != index) {
                assert!(!proof.verify(&leaves[other], &root), "{other} as {index} of {count}");
                let mut moved = proof.clone();
                moved.leaf_index = other as u64;
                assert!(!moved.verify(leaf, &root), "{index} moved to {other} of {count}");
            }
        }
        assert_eq!(merkle::prove(&leaves, leaves.len()), None, "{count}");
        for vout in 0..=2 * count {
            let outpoint = SparkOutPoint { tx_hash: SparkTxHash([1; 32]), vout };
            let proof = AbsenceProof::prove(&set, &outpoint);
            assert_eq!(proof.is_none(), vout % 2 == 1, "{vout} of {count}");
            if let Some(proof) = proof {
                assert!(proof.verify(&outpoint, &root), "{vout} of {count}");
                assert!(!proof.verify(&outpoint, &NodeHash([9; 32])), "{vout} of {count}");
            }
        }
    }
}

#[test]
fn absence_proofs_with_a_gap_are_refused() {
    let set = odd_set(6);
    let root = merkle::root(set.iter().map(Ttxo::leaf));
    let at = |vout| SparkOutPoint { tx_hash: SparkTxHash([1; 32]), vout };
    let good = AbsenceProof::prove(&set, &at(4)).expect("absent");
    let low = AbsenceProof::prove(&set, &at(2)).expect("absent");
    let high = AbsenceProof::prove(&set, &at(6)).expect("absent");
    let first = AbsenceProof::prove(&set, &at(0)).expect("absent");
    let last = AbsenceProof::prove(&set, &at(12)).expect("absent");
    let proof = |left: &AbsenceProof, right: &AbsenceProof| AbsenceProof {
        left: left.left.clone(),
        right: right.right.clone(),
    };
    let cases = [
        ("neighbours", proof(&good, &good), at(4), true),
        ("a present one between", proof(&low, &high), at(4), false),
        ("present itself", proof(&low, &good), at(3), false),
        ("equal to the left", proof(&good, &good), at(3), false),
        ("equal to the right", proof(&good, &good), at(5), false),
        ("outside", proof(&good, &good), at(6), false),
        ("left end", proof(&first, &first), at(0), true),
        ("left end that is not the end", proof(&first, &good), at(0), false),
        ("right end", proof(&last, &last), at(12), true),
        ("right end that is not the end", proof(&good, &last), at(12), false),
        ("no neighbours of a set that is not empty", proof(&first, &last), at(4), false),
    ];
    for (case, proof, outpoint, expected) in cases {
        assert_eq!(proof.verify(&outpoint, &root), expected, "{case}");
    }
}

proptest! {
    #[test]
    fn token_announcements_round_trip(metadata in metadata()) {
        let announcement = TokenAnnouncement { metadata };
        let found = op_return::parse(announcement.script().as_bytes());
        prop_assert_eq!(found, Some(OpReturn::Token(Ok(announcement))));
    }

    #[test]
    fn withdrawal_announcements_round_trip(
        entity in key(),
        signature in vec(any::<u8>(), 64),
        records in vec((any::<u16>(), outpoint()), 1..=255),
    ) {
        let records = records.into_iter().map(|(bitcoin_vout, ttxo)| WithdrawalRecord { bitcoin_vout, ttxo });
        let announcement = WithdrawalAnnouncement {
            entity,
            owner_signature: Signature::from_slice(&signature).expect("64 bytes"),
            records: records.collect(),
        };
        let found = op_return::parse(announcement.script().as_bytes());
        prop_assert_eq!(found, Some(OpReturn::Withdrawal(Ok(announcement))));
    }

    #[test]
    fn a_truncated_or_longer_announcement_is_malformed(metadata in metadata(), cut in 0usize..60, extra: u8) {
        let whole = TokenAnnouncement { metadata }.encode();
        prop_assert!(TokenAnnouncement::decode(&whole[..whole.len().saturating_sub(cut + 1)]).is_err());
        prop_assert!(TokenAnnouncement::decode(&[&whole[..], &[extra]].concat()).is_err());
    }

    #[test]
    fn pushes_round_trip(len in prop_oneof![0usize..300, 65_530usize..65_540], byte: u8) {
        let payload = vec![byte; len];
        let script = op_return::push_script(&payload);
        prop_assert_eq!(op_return::single_push(script.as_bytes()), Some(&payload[..]));
        let longer = [script.as_bytes(), &[0]].concat();
        prop_assert_eq!(op_return::single_push(&longer), None);
        prop_assert_eq!(op_return::single_push(&script.as_bytes()[..script.len() - 1]), None);
    }

    #[test]
    fn addresses_round_trip(token: [u8; 32], owner in key(), network in network(), other in network()) {
        let token = TokenId(token);
        let (token_text, owner_text) =
            (address::encode_token(token, network), address::encode_owner(owner, network));
        prop_assert_eq!(address::parse_token(&token_text, network), Ok(token));
        prop_assert_eq!(address::parse_owner(&owner_text, network), Ok(owner));
        prop_assert_eq!(address::parse_token(&token.to_string(), network), Ok(token));
        prop_assert_eq!(address::parse_owner(&owner.to_string(), network), Ok(owner));
        if other != network {
            prop_assert!(address::parse_token(&token_text, other).is_err());
            prop_assert!(address::parse_owner(&owner_text, other).is_err());
        }
    }

    #[test]
    fn roots_and_proofs_agree_with_the_definition(
        leaves in vec(any::<[u8; 32]>().prop_map(NodeHash), 1..200),
        index: prop::sample::Index,
    ) {
        let root = naive_root(&leaves);
        let mut builder = RootBuilder::new();
        leaves.iter().for_each(|leaf| builder.push(*leaf));
        prop_assert_eq!(builder.count(), leaves.len() as u64);
        prop_assert_eq!(builder.finish(), root);
        let index = index.index(leaves.len());
        let proof = merkle::prove(&leaves, index).expect("a leaf");
        prop_assert!(proof.verify(&leaves[index], &root));
        let mut longer = proof.clone();
        longer.siblings.push(root);
        prop_assert!(!longer.verify(&leaves[index], &root));
        if !proof.siblings.is_empty() {
            let mut shorter = proof;
            shorter.siblings.pop();
            prop_assert!(!shorter.verify(&leaves[index], &root));
        }
    }

    #[test]
    fn records_sort_as_outpoints(a in outpoint(), b in outpoint()) {
        let ttxo = |outpoint| Ttxo { outpoint, ..odd_set(1)[0] };
        prop_assert_eq!(ttxo(a).record()[..36].cmp(&ttxo(b).record()[..36]), a.cmp(&b));
    }

    #[test]
    fn manifests_round_trip(
        (key, manifest) in key_pair().prop_flat_map(|key| (Just(key), manifest(key.public_key().into()))),
        at: prop::sample::Index,
        flip in 1u8..,
    ) {
        let signed = SignedManifest::sign(&manifest, &key);
        prop_assert!(signed.verify_signature());
        let mut body = signed.encode();
        prop_assert_eq!(SignedManifest::decode(&body), Ok(signed.clone()));
        // Whatever else still decodes is not signed any more, apart from another head of the outer array.
        let at = at.index(body.len() - 1) + 1;
        body[at] ^= flip;
        if let Ok(changed) = SignedManifest::decode(&body) {
            prop_assert!(!changed.verify_signature());
        }
    }

    #[test]
    fn chunks_round_trip((tokens, created) in content(), spent in vec(outpoint(), 0..5)) {
        let chunk = Chunk { tokens, created, spent };
        prop_assert_eq!(Chunk::decode(&chunk.encode(), Network::Regtest), Ok(chunk));
    }

    #[test]
    fn split_chunks_hold_everything_once(
        (tokens, created) in content(),
        spent in vec(outpoint(), 0..40),
        limit in 512usize..4_000,
    ) {
        let chunks = split(&tokens, &created, &spent, limit);
        for chunk in &chunks {
            let body = chunk.encode();
            prop_assert!(body.len() <= limit, "{} bytes of {limit}", body.len());
            prop_assert_eq!(&Chunk::decode(&body, Network::Regtest).expect("a chunk"), chunk);
        }
        prop_assert_eq!(chunks.iter().flat_map(|chunk| &chunk.created).copied().collect::<Vec<_>>(), created);
        prop_assert_eq!(chunks.iter().flat_map(|chunk| &chunk.spent).copied().collect::<Vec<_>>(), spent);
        let ids = |full: bool, tokens: Vec<&ChunkToken>| {
            let mut ids: Vec<TokenId> = tokens
                .into_iter()
                .filter(|token| matches!(token, ChunkToken::Full { .. }) == full)
                .map(ChunkToken::id)
                .collect();
            ids.sort();
            ids
        };
        let written = ids(true, chunks.iter().flat_map(|chunk| &chunk.tokens).collect());
        prop_assert_eq!(written, ids(true, tokens.iter().collect()));
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..400)) {
        // Nothing to assert but that each call returns.
        let _ = op_return::parse(&bytes);
        let _ = SignedManifest::decode(&bytes);
        let _ = Manifest::decode(&bytes);
        let _ = Chunk::decode(&bytes, Network::Regtest);
        let _ = Fields::<0>::read(&bytes);
    }

    #[test]
    fn damaged_chunks_do_no_harm(
        (tokens, created) in content(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut: prop::sample::Index,
    ) {
        let mut body = Chunk { tokens, created, spent: Vec::new() }.encode();
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Ok(chunk) = Chunk::decode(&body, Network::Regtest) {
            prop_assert_eq!(Chunk::decode(&chunk.encode(), Network::Regtest), Ok(chunk));
        }
        prop_assert!(Chunk::decode(&body[..cut.index(body.len())], Network::Regtest).is_err());
    }

    #[test]
    fn claimed_lengths_are_not_believed(major in 2u8..6, claim in 100u64.., tail in vec(any::<u8>(), 0..50)) {
        // A map whose keys 0 to 5 are sound up to a value that claims to be huge.
        for key in 0u8..6 {
            let mut body = vec![0xa6, key, major << 5 | 27];
            body.extend_from_slice(&claim.to_be_bytes());
            body.extend_from_slice(&tail);
            prop_assert!(Chunk::decode(&body, Network::Regtest).is_err());
        }
    }
}
