//! Turns plans into messages that fit the state of the moment, so that most of them have an effect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{Keypair, Message};
use bitcoin::{BlockHash, OutPoint, Txid};
use btkn_indexer::protocol::announcement::TokenAnnouncement;
use btkn_indexer::protocol::chunk::{Chunk, ChunkToken};
use btkn_indexer::protocol::curve::SECP;
use btkn_indexer::protocol::envelope::{EnvelopeKind, EnvelopeMessage};
use btkn_indexer::protocol::manifest::{Manifest, SignedManifest, SnapshotKind};
use btkn_indexer::protocol::token::{Layer, TokenMetadata};
use btkn_indexer::protocol::ttxo::Ttxo;
use btkn_indexer::protocol::withdrawal::{WithdrawalAnnouncement, WithdrawalRecord};
use btkn_indexer::protocol::withdrawal_output::{SpendPath, output_key};
use btkn_indexer::protocol::{
    Amount, ChunkHash, ManifestId, Network, NodeHash, PubKey, Signature, SparkOutPoint, SparkTxHash, TokenId,
};
use btkn_indexer::scan::messages::{
    BondOutput, MalformedKind, OutputContent, OutputMessage, Spend, TxMessages,
};

use super::plan::{Base, Bond, Deliver, Flaw, KeyChoice, Op, Publish, SequenceChoice, TTXOS, Withdraw};
use super::rules::{Config, Oracle, root, sha};

pub const NETWORK: Network = Network::Regtest;

/// A manifest that was made, with its chunks and the set it stands for.
struct Draft {
    entity: usize,
    key: u8,
    id: ManifestId,
    sequence: u64,
    body: Vec<u8>,
    chunks: Vec<Vec<u8>>,
    set: BTreeMap<SparkOutPoint, Ttxo>,
}

impl Draft {
    /// The same manifest under another signature, which its id does not cover.
    fn signed_again(&self) -> Vec<u8> {
        let Ok(mut signed) = SignedManifest::decode(&self.body) else { return self.body.clone() };
        let message = Message::from_digest(signed.id.0);
        let signature = SECP.sign_schnorr_with_aux_rand(&message, &keypair(self.key), &[7; 32]);
        signed.signature = Signature(signature.serialize());
        signed.encode()
    }
}

/// What outlives a reorganisation: manifests can confirm again.
pub struct Builder {
    drafts: Vec<Draft>,
    made: u32,
    /// Outputs that announcements named, whether or not they are on the present chain.
    bonds: Vec<OutPoint>,
}

/// A transaction in the making.
struct Draw<'a> {
    oracle: &'a Oracle,
    tx: TxMessages,
    inscriptions: u32,
    bonds: BTreeMap<u16, Option<BondOutput>>,
}

pub fn keypair(number: u8) -> Keypair {
    Keypair::from_seckey_slice(&SECP, &[number; 32]).expect("a key")
}

fn public(number: u8) -> PubKey {
    static KEYS: LazyLock<Vec<PubKey>> =
        LazyLock::new(|| (1..=250).map(|n| keypair(n).public_key().into()).collect());
    KEYS[usize::from(number) - 1]
}

/// Number of an entity's key.
pub fn entity_key(entity: usize, key: usize) -> u8 {
    (10 * entity + key + 1) as u8
}

const UNFOLLOWED: u8 = 99;

pub fn config(start: u32, entities: &[Vec<u32>]) -> Config {
    // Some keys are valid, and some already replaced, before the first block that is applied.
    let first = start.saturating_sub(3);
    let keys = |(entity, from): (usize, &Vec<u32>)| {
        let key = |(key, offset): (usize, &u32)| (public(entity_key(entity, key)), first + offset);
        from.iter().enumerate().map(key).collect()
    };
    Config { network: NETWORK, start, entities: entities.iter().enumerate().map(keys).collect() }
}

fn metadata(number: usize) -> TokenMetadata {
    TokenMetadata {
        issuer: public(200 + number as u8 % 2),
        name: format!("Token {number}"),
        ticker: format!("TK{number}"),
        decimals: number as u8,
        max_supply: Amount(if number == 1 { 30 } else { 0 }),
        freezable: number == 2,
    }
}

/// The three tokens: announced on L1, made on Spark, and known by its identifier alone.
fn token(number: usize) -> ChunkToken {
    let layer = if number == 0 { Layer::L1 } else { Layer::Spark(public(entity_key(0, 0))) };
    let metadata = metadata(number);
    let id = metadata.identifier(NETWORK, layer);
    if number == 2 { ChunkToken::Id(id) } else { ChunkToken::Full { id, metadata, layer } }
}

/// The TTXOs of this world, the same for every entity. The amounts of the third token do not all fit.
pub fn ttxo(number: usize) -> Ttxo {
    let owners = [public(210), public(210), public(210), public(211), PubKey::BURN];
    let amounts = [8, u128::MAX - 8, 1, 1 << 127];
    let third = number % 3 == 2;
    let amount = if third { amounts[number / 3 % 4] } else { 10 + number as u128 };
    Ttxo {
        outpoint: SparkOutPoint {
            tx_hash: SparkTxHash(sha(&[&[number as u8 / 4 * 7]])),
            vout: (number % 4) as u32,
        },
        owner: owners[number * 7 % 5],
        revocation: public(220 + number as u8 % 2),
        bond: [0, 1000, 2000][number % 3],
        locktime: (number * 5 % 7) as u64,
        token: token(number % 3).id(),
        amount: Amount(amount),
    }
}

/// An entry counted back from the end.
fn back<T>(list: &[T], steps: usize) -> Option<&T> {
    list.len().checked_sub(1).map(|last| &list[last - steps % list.len()])
}

impl Builder {
    pub fn new() -> Self {
        Builder { drafts: Vec::new(), made: 0, bonds: Vec::new() }
    }

    fn unique(&mut self, what: &str) -> [u8; 32] {
        self.made += 1;
        sha(&[what.as_bytes(), &self.made.to_be_bytes()])
    }

    pub fn block_hash(&mut self) -> BlockHash {
        BlockHash::from_byte_array(self.unique("block"))
    }

    /// A transaction at an index of the block that the oracle is applying.
    pub fn transaction(&mut self, oracle: &Oracle, index: u32, ops: &[Op]) -> TxMessages {
        let txid = Txid::from_byte_array(self.unique("tx"));
        let tx = TxMessages { index, txid, spends: Vec::new(), envelopes: Vec::new(), outputs: Vec::new() };
        let mut draw = Draw { oracle, tx, inscriptions: 0, bonds: BTreeMap::new() };
        for op in ops {
            self.op(&mut draw, op);
        }
        for (vout, bond) in &draw.bonds {
            if bond.is_some() {
                self.bonds.push(OutPoint { txid, vout: (*vout).into() });
            }
        }
        draw.tx
    }

    fn op(&mut self, draw: &mut Draw<'_>, op: &Op) {
        match op {
            Op::Publish(publish) => {
                if let Some((entity, flaw)) = publish.also {
                    let also = Publish { entity, flaw, deliver: Deliver::None, ..publish.clone() };
                    self.publish(draw, &also);
                }
                self.publish(draw, publish);
            }
            Op::Manifest { draft, signed_again } => {
                if let Some(draft) = back(&self.drafts, *draft) {
                    let body = if *signed_again { draft.signed_again() } else { draft.body.clone() };
                    draw.inscribe(EnvelopeKind::Manifest, body);
                }
            }
            Op::Chunk(steps, chunk) => {
                if let Some(chunk) = back(&self.drafts, *steps).and_then(|draft| back(&draft.chunks, *chunk))
                {
                    draw.inscribe(EnvelopeKind::Chunk, chunk.clone());
                }
            }
            Op::Wanted(steps) => self.wanted(draw, *steps),
            Op::Flood { entity, many, falling } => self.flood(draw, *entity, *many, *falling),
            Op::Token(number) => {
                let content = OutputContent::Token(TokenAnnouncement { metadata: metadata(*number) });
                draw.say(content);
            }
            Op::Noise(kind) => draw.noise(*kind),
            Op::Withdraw(withdraw) => {
                let ttxos = draw.pick_ttxos(withdraw, withdraw.entity);
                draw.withdraw(withdraw, withdraw.entity, &ttxos);
                match withdraw.again {
                    Some((entity, true)) => draw.withdraw(withdraw, entity, &ttxos),
                    Some((entity, false)) => {
                        let others = draw.pick_ttxos(withdraw, entity);
                        draw.withdraw(withdraw, entity, &others[1..]);
                    }
                    None => {}
                }
            }
            Op::Spend { pick, by_key } => self.spend(draw, *pick, *by_key),
        }
    }

    /// A chunk that some pending manifest lacks.
    fn wanted(&self, draw: &mut Draw<'_>, steps: usize) {
        let mut missing = Vec::new();
        for draft in &self.drafts {
            let waits = draw.oracle.accepted.iter().find(|accepted| accepted.id == draft.id);
            let taken = waits.filter(|accepted| accepted.state == super::rules::State::Pending);
            // A draft of this very transaction is not known to the oracle yet, and may well want it.
            let fresh = draw.tx.envelopes.iter().any(|envelope| envelope.body == draft.body);
            for (index, chunk) in draft.chunks.iter().enumerate() {
                let inscribed = draw.tx.envelopes.iter().any(|envelope| envelope.body == *chunk);
                let lacks = taken.is_some_and(|accepted| accepted.taken.get(index) == Some(&None));
                if (lacks || fresh) && !inscribed {
                    missing.push(chunk);
                }
            }
        }
        if let Some(chunk) = back(&missing, steps) {
            draw.inscribe(EnvelopeKind::Chunk, (*chunk).clone());
        }
    }

    fn spend(&self, draw: &mut Draw<'_>, pick: usize, by_key: bool) {
        let oracle = draw.oracle;
        let on_chain: BTreeSet<Txid> = oracle.announcements.iter().map(|a| a.txid).collect();
        let unspent = |outpoint: &&OutPoint| {
            on_chain.contains(&outpoint.txid)
                && oracle.spends.iter().all(|spent| spent.outpoint != **outpoint)
                && draw.tx.spends.iter().all(|spend| spend.outpoint != **outpoint)
        };
        let unspent: Vec<_> = self.bonds.iter().filter(unspent).collect();
        if let Some(outpoint) = back(&unspent, pick) {
            let path = if by_key { SpendPath::Key } else { SpendPath::Script };
            let input = draw.tx.spends.last().map_or(0, |spend| spend.input + 1 + pick as u32 % 2);
            draw.tx.spends.push(Spend { input, outpoint: **outpoint, path });
        }
    }

    fn flood(&mut self, draw: &mut Draw<'_>, entity: usize, many: usize, falling: bool) {
        let entity = entity % draw.oracle.config.entities.len();
        let key = draw.entity_key(entity, KeyChoice::Valid);
        let from = draw.oracle.active_sequence(entity).unwrap_or(0) + 1;
        for number in 0..many {
            let step = if falling { many - number } else { number } as u64;
            let mut manifest = draw.manifest(key, 0);
            manifest.sequence = from + step / 2;
            manifest.chunks = vec![ChunkHash(self.unique("nothing"))];
            draw.inscribe(EnvelopeKind::Manifest, SignedManifest::sign(&manifest, &keypair(key)).encode());
        }
    }

    fn sequence(&self, oracle: &Oracle, entity: usize, choice: SequenceChoice) -> u64 {
        let active = oracle.active_sequence(entity);
        let drafts: Vec<_> = self.drafts.iter().filter(|draft| draft.entity == entity).collect();
        match choice {
            SequenceChoice::Next => {
                let highest = drafts.iter().map(|draft| draft.sequence + 1).max().unwrap_or(0);
                // Drafts may be of another branch, out of reach on this one.
                let next = highest.max(active.map_or(0, |active| active + 1));
                next.min(active.unwrap_or(0) + 1_000_000)
            }
            SequenceChoice::AboveActive(step) => active.unwrap_or(0) + step,
            SequenceChoice::Same(steps) => back(&drafts, steps).map_or(0, |draft| draft.sequence),
            SequenceChoice::Gap(beyond) => active.unwrap_or(0) + 1_000_000 + beyond,
        }
    }

    fn publish(&mut self, draw: &mut Draw<'_>, publish: &Publish) {
        let entity = publish.entity % draw.oracle.config.entities.len();
        let key = draw.entity_key(entity, publish.key);
        let mut manifest = draw.manifest(key, publish.anchor);
        manifest.sequence = self.sequence(draw.oracle, entity, publish.sequence);
        let base = self.base(draw.oracle, entity, publish.delta);
        if let Some((parent, _)) = &base {
            manifest.kind = SnapshotKind::Delta;
            manifest.parent = Some(*parent);
        }
        let old = base.map(|(_, set)| set).unwrap_or_default();
        let content = Content::new(&old, publish, manifest.kind);
        let chunks = content.chunks(publish);
        manifest.chunks = chunks.iter().map(|chunk| ChunkHash(sha(&[chunk]))).collect();
        manifest.count = content.set.len() as u64;
        manifest.root = NodeHash(root(&content.set));
        spoil(&mut manifest, publish.flaw, draw.oracle);
        let mut signed = SignedManifest::sign(&manifest, &keypair(key));
        if publish.flaw == Flaw::Signature {
            signed.signature.0[40] ^= 1;
        }
        let mut body = signed.encode();
        if publish.flaw == Flaw::Malformed {
            body.push(0);
        }
        let (id, sequence, set) = (signed.id, manifest.sequence, content.set);
        draw.deliver(publish.deliver, &body, &chunks);
        self.drafts.push(Draft { entity, key, id, sequence, body, chunks, set });
    }

    /// The parent of a delta and its set; nothing for a full snapshot.
    fn base(
        &self,
        oracle: &Oracle,
        entity: usize,
        delta: Option<Base>,
    ) -> Option<(ManifestId, BTreeMap<SparkOutPoint, Ttxo>)> {
        match delta? {
            Base::Active => {
                let active = oracle.active(entity)?;
                Some((oracle.accepted[active.accepted].id, active.set.clone()))
            }
            Base::Draft(steps) => {
                let drafts: Vec<_> = self.drafts.iter().filter(|draft| draft.entity == entity).collect();
                back(&drafts, steps).map(|draft| (draft.id, draft.set.clone()))
            }
        }
    }
}

/// What the chunks of a snapshot say, and the set that should come of it.
struct Content {
    created: Vec<Ttxo>,
    spent: Vec<SparkOutPoint>,
    set: BTreeMap<SparkOutPoint, Ttxo>,
}

impl Content {
    fn new(old: &BTreeMap<SparkOutPoint, Ttxo>, publish: &Publish, kind: SnapshotKind) -> Self {
        let mut content = Content { created: Vec::new(), spent: Vec::new(), set: old.clone() };
        let picks: BTreeSet<usize> = publish.picks.iter().copied().collect();
        for pick in picks {
            let ttxo = ttxo(pick);
            if content.set.remove(&ttxo.outpoint).is_some() {
                content.spent.push(ttxo.outpoint);
            } else {
                content.set.insert(ttxo.outpoint, ttxo);
                content.created.push(ttxo);
            }
        }
        let pick = publish.picks.first().copied().unwrap_or(0);
        content.spoil(old, publish.flaw, kind, ttxo(pick));
        content
    }

    fn spoil(&mut self, old: &BTreeMap<SparkOutPoint, Ttxo>, flaw: Flaw, kind: SnapshotKind, some: Ttxo) {
        match flaw {
            Flaw::SpentInFull if kind == SnapshotKind::Full => self.spent.push(some.outpoint),
            Flaw::CreatedTwice => self.created.extend(self.created.first().copied()),
            Flaw::CreatedAgain => self.created.extend(old.values().next().copied()),
            Flaw::SpentAndCreated => {
                if let Some(ttxo) = old.values().find(|ttxo| !self.spent.contains(&ttxo.outpoint)) {
                    self.created.push(*ttxo);
                    self.spent.push(ttxo.outpoint);
                }
            }
            Flaw::SpentTwice => self.spent.extend(self.spent.first().copied()),
            Flaw::SpentUnknown => {
                let unknown = (0..TTXOS).map(ttxo).find(|ttxo| !old.contains_key(&ttxo.outpoint));
                self.spent.extend(unknown.map(|ttxo| ttxo.outpoint));
            }
            Flaw::Mutated(field) => {
                if let Some(ttxo) = self.created.first_mut() {
                    match field {
                        0 => ttxo.amount.0 ^= 4,
                        1 => ttxo.owner = public(212),
                        2 => ttxo.revocation = public(222),
                        3 => ttxo.bond += 1,
                        4 => ttxo.locktime += 1,
                        _ => ttxo.token = TokenId([7; 32]),
                    }
                    self.set.insert(ttxo.outpoint, *ttxo);
                }
            }
            _ => {}
        }
    }

    /// Bodies, no two equal.
    fn chunks(&self, publish: &Publish) -> Vec<Vec<u8>> {
        let mut chunks = vec![Chunk::default(); publish.chunks];
        for (index, ttxo) in self.created.iter().enumerate() {
            chunks[index % publish.chunks].created.push(*ttxo);
        }
        for (index, outpoint) in self.spent.iter().rev().enumerate() {
            chunks[index % publish.chunks].spent.push(*outpoint);
        }
        if publish.metadata {
            for (number, chunk) in chunks.iter_mut().enumerate() {
                chunk.tokens = vec![token(number % 2)];
            }
        }
        let mut bodies: Vec<Vec<u8>> = Vec::new();
        for chunk in &chunks {
            let empty = chunk.created.is_empty() && chunk.spent.is_empty() && chunk.tokens.is_empty();
            let body = chunk.encode();
            if !empty && !bodies.contains(&body) {
                bodies.push(body);
            }
        }
        if publish.flaw == Flaw::BadChunk {
            bodies.push(vec![0xa0]);
        }
        bodies
    }
}

/// What is wrong with the manifest itself.
fn spoil(manifest: &mut Manifest, flaw: Flaw, oracle: &Oracle) {
    match flaw {
        Flaw::Network => manifest.network_magic ^= 1,
        Flaw::AnchorHash => manifest.anchor_hash[0] ^= 1,
        Flaw::AnchorAtBlock => manifest.anchor_height = oracle.height().into(),
        Flaw::AnchorBelowStart => {
            manifest.anchor_height = u64::from(oracle.config.start).saturating_sub(1);
        }
        Flaw::NoParent => manifest.parent = None,
        Flaw::Count => manifest.count += 1,
        Flaw::Root => manifest.root.0[31] ^= 1,
        _ => {}
    }
}

impl Draw<'_> {
    fn entity_key(&self, entity: usize, choice: KeyChoice) -> u8 {
        let keys = &self.oracle.config.entities[entity];
        let valid = self.oracle.config.valid_key(entity, self.oracle.height());
        match choice {
            KeyChoice::Unfollowed => UNFOLLOWED,
            KeyChoice::Any(key) => entity_key(entity, key % keys.len()),
            KeyChoice::Valid => {
                let index = keys.iter().position(|(key, _)| Some(*key) == valid).unwrap_or(0);
                entity_key(entity, index)
            }
        }
    }

    /// A full manifest with a good anchor, where there is any block to anchor at.
    fn manifest(&self, key: u8, anchor: u32) -> Manifest {
        let blocks = &self.oracle.blocks;
        let at = (blocks.len() as u32).saturating_sub(1).saturating_sub(anchor);
        let hash = blocks.get(at as usize).map_or([0; 32], |block| block.hash.to_byte_array());
        Manifest {
            entity: public(key),
            network_magic: NETWORK.magic(),
            sequence: 0,
            kind: SnapshotKind::Full,
            parent: None,
            anchor_height: (self.oracle.config.start + at).into(),
            anchor_hash: hash,
            as_of_ms: 0,
            chunks: Vec::new(),
            count: 0,
            root: NodeHash([0; 32]),
        }
    }

    fn inscribe(&mut self, kind: EnvelopeKind, body: Vec<u8>) {
        // Two envelopes in each input; every fifth envelope is not a message.
        let inscription = self.inscriptions;
        self.inscriptions += if inscription % 5 == 3 { 2 } else { 1 };
        let (input, envelope) = (inscription / 2, inscription % 2);
        self.tx.envelopes.push(EnvelopeMessage { input, envelope, inscription, kind, body });
    }

    fn deliver(&mut self, how: Deliver, manifest: &[u8], chunks: &[Vec<u8>]) {
        let mut order: Vec<&Vec<u8>> = chunks.iter().collect();
        let mut early: Vec<&Vec<u8>> = Vec::new();
        match how {
            Deliver::All => {}
            Deliver::Reversed => order.reverse(),
            Deliver::None => order.clear(),
            Deliver::First => order.truncate(1),
            Deliver::Before => std::mem::swap(&mut early, &mut order),
            Deliver::Twice => order.extend(chunks),
        }
        for chunk in early {
            self.inscribe(EnvelopeKind::Chunk, chunk.clone());
        }
        self.inscribe(EnvelopeKind::Manifest, manifest.to_vec());
        for chunk in order {
            self.inscribe(EnvelopeKind::Chunk, chunk.clone());
        }
    }

    /// Announcements stand after the outputs that carry bonds.
    fn say(&mut self, content: OutputContent) {
        let vout = self.tx.outputs.last().map_or(10, |output| output.vout + 1);
        self.tx.outputs.push(OutputMessage { vout, content });
    }

    fn noise(&mut self, kind: u8) {
        let malformed = |kind| OutputContent::Malformed { kind, reason: "made so".into() };
        match kind {
            0 => self.inscribe(EnvelopeKind::Chunk, b"nobody waits for this".to_vec()),
            1 => self.inscribe(EnvelopeKind::Manifest, Vec::new()),
            2..=7 => self.say(OutputContent::Legacy(kind - 1)),
            8 | 9 => self.say(malformed(MalformedKind::Token)),
            _ => self.say(malformed(MalformedKind::Withdrawal)),
        }
    }

    /// A TTXO for each record, and one more.
    fn pick_ttxos(&self, withdraw: &Withdraw, entity: usize) -> Vec<Ttxo> {
        let entity = entity % self.oracle.config.entities.len();
        let mut candidates: Vec<Ttxo> = (0..TTXOS).map(ttxo).collect();
        let ever: Vec<Ttxo> = self.oracle.ever(entity).into_values().collect();
        if withdraw.known && !ever.is_empty() {
            candidates = ever;
        }
        if !withdraw.mixed {
            let owner = candidates[withdraw.records[0].ttxo % candidates.len()].owner;
            candidates.retain(|ttxo| ttxo.owner == owner);
        }
        let last = withdraw.records.last().map_or(0, |exit| exit.ttxo + 1);
        let picks = withdraw.records.iter().map(|exit| exit.ttxo).chain([last]);
        picks.map(|pick| candidates[pick % candidates.len()]).collect()
    }

    /// An announcement of the given TTXOs. The first that names an output decides what it is.
    fn withdraw(&mut self, withdraw: &Withdraw, entity: usize, ttxos: &[Ttxo]) {
        let entity = entity % self.oracle.config.entities.len();
        let key = self.entity_key(entity, withdraw.key);
        let (mut records, mut bonds) = (Vec::new(), Vec::new());
        for (exit, ttxo) in withdraw.records.iter().zip(ttxos) {
            let bond = *self.bonds.entry(exit.vout).or_insert_with(|| bond(ttxo, withdraw.bond));
            records.push(WithdrawalRecord { bitcoin_vout: exit.vout, ttxo: ttxo.outpoint });
            bonds.push(bond);
        }
        let owner_signature = Signature([1; 64]);
        let announcement = WithdrawalAnnouncement { entity: public(key), owner_signature, records };
        self.say(OutputContent::Withdrawal { announcement, bonds });
    }
}

fn bond(ttxo: &Ttxo, choice: Bond) -> Option<BondOutput> {
    let key = output_key(&ttxo.revocation, ttxo.locktime, &ttxo.owner);
    let other = output_key(&ttxo.revocation, ttxo.locktime + 1, &ttxo.owner);
    let (value, taproot_key) = match choice {
        Bond::Good => (ttxo.bond, key),
        Bond::High => (ttxo.bond + 1, key),
        Bond::Low => (ttxo.bond.saturating_sub(1), key),
        Bond::OtherKey => (ttxo.bond, other),
        Bond::OtherScript => (ttxo.bond, None),
        Bond::Missing => return None,
    };
    Some(BondOutput { value, taproot_key })
}
