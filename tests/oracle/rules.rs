//! The rules a second time, for comparison: naive, from the text of the specification alone.
//!
//! It keeps history (accepted manifests, activations with their whole sets, announcements, spends) and
//! works everything else out from it whenever it is asked. Of the crate it uses the decoders of messages
//! and the input types of the scanner, and nothing of the ledger.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::hashes::{Hash, sha256};
use bitcoin::{OutPoint, Txid};
use btkn_indexer::protocol::chunk::{Chunk, ChunkToken};
use btkn_indexer::protocol::envelope::EnvelopeKind;
use btkn_indexer::protocol::manifest::{Manifest, SignedManifest, SnapshotKind};
use btkn_indexer::protocol::token::{Layer, TokenMetadata};
use btkn_indexer::protocol::ttxo::Ttxo;
use btkn_indexer::protocol::withdrawal_output::SpendPath;
use btkn_indexer::protocol::{ManifestId, Network, PubKey, SparkOutPoint, TokenId};
use btkn_indexer::scan::messages::{
    BondOutput, EnvelopeMessage, MalformedKind, OutputContent, OutputMessage, TxMessages,
};

/// Section 1.
#[derive(Clone, Debug)]
pub struct Config {
    pub network: Network,
    pub start: u32,
    /// Keys of each entity with their from-heights.
    pub entities: Vec<Vec<(PubKey, u32)>>,
}

impl Config {
    pub fn id(&self, entity: usize) -> PubKey {
        self.entities[entity].iter().min_by_key(|(_, from)| *from).expect("an entity has a key").0
    }

    pub fn valid_key(&self, entity: usize, height: u32) -> Option<PubKey> {
        let keys = self.entities[entity].iter().filter(|(_, from)| *from <= height);
        keys.max_by_key(|(_, from)| *from).map(|(key, _)| *key)
    }

    pub fn entity_of(&self, key: PubKey, height: u32) -> Option<usize> {
        (0..self.entities.len()).find(|entity| self.valid_key(*entity, height) == Some(key))
    }
}

/// Chain order. Within a transaction: envelopes (part 1) before outputs (part 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    pub height: u32,
    pub tx: u32,
    pub part: u8,
    pub index: u32,
    pub sub: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Pending,
    Active,
    Replaced,
    Failed(&'static str),
    Superseded,
}

/// An accepted manifest.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub entity: usize,
    pub id: ManifestId,
    pub manifest: Manifest,
    pub at: At,
    pub inscription: String,
    pub taken: Vec<Option<Vec<u8>>>,
    pub state: State,
    pub decided: Option<u32>,
    pub resurrected: Option<usize>,
}

/// A snapshot that activated, with its resulting set.
#[derive(Clone, Debug)]
pub struct Activation {
    pub accepted: usize,
    pub entity: usize,
    pub at: At,
    pub set: BTreeMap<SparkOutPoint, Ttxo>,
    pub tokens: Vec<ChunkToken>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Unresolved,
    Invalid { reason: &'static str, judged: u32 },
    Valid { judged: u32, reinstated: Option<u64> },
}

#[derive(Clone, Debug)]
pub struct Record {
    pub vout: u16,
    pub ttxo: SparkOutPoint,
    pub bond: Option<BondOutput>,
    pub verdict: Verdict,
}

/// A withdrawal announcement of a followed entity.
#[derive(Clone, Debug)]
pub struct Announcement {
    pub entity: usize,
    pub at: At,
    pub txid: Txid,
    pub records: Vec<Record>,
}

#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub outpoint: OutPoint,
    pub txid: Txid,
    pub input: u32,
    pub path: SpendPath,
    pub height: u32,
}

#[derive(Clone, Debug)]
pub struct Announced {
    pub metadata: TokenMetadata,
    pub at: At,
    pub txid: Txid,
}

#[derive(Clone, Debug)]
pub struct BlockDone {
    pub hash: bitcoin::BlockHash,
    pub state_hash: [u8; 32],
    pub events: String,
}

#[derive(Clone, Debug)]
pub struct Oracle {
    pub config: Config,
    pub blocks: Vec<BlockDone>,
    pub accepted: Vec<Accepted>,
    pub activations: Vec<Activation>,
    pub announcements: Vec<Announcement>,
    pub spends: Vec<Spent>,
    pub announced: Vec<Announced>,
    /// Entity, sequence, first accepted, the other one.
    pub evidence: Vec<(usize, u64, ManifestId, ManifestId)>,
    pub counters: BTreeMap<&'static str, u64>,
    lines: Vec<String>,
}

const MAX_PENDING: usize = 64;
const MAX_STEP: u64 = 1_000_000;

impl Oracle {
    pub fn new(config: Config) -> Self {
        Oracle {
            config,
            blocks: Vec::new(),
            accepted: Vec::new(),
            activations: Vec::new(),
            announcements: Vec::new(),
            spends: Vec::new(),
            announced: Vec::new(),
            evidence: Vec::new(),
            counters: BTreeMap::new(),
            lines: Vec::new(),
        }
    }

    /// Height of the block that is being applied.
    pub fn height(&self) -> u32 {
        self.config.start + self.blocks.len() as u32
    }

    /// Height of the last block; it means nothing where there is none.
    pub fn tip(&self) -> u32 {
        self.height().saturating_sub(1)
    }

    /// Applies the next transaction of the block.
    pub fn transaction(&mut self, tx: &TxMessages) {
        for spend in &tx.spends {
            let spent = Spent {
                outpoint: spend.outpoint,
                txid: tx.txid,
                input: spend.input,
                path: spend.path,
                height: self.height(),
            };
            self.spent(spent);
        }
        for envelope in &tx.envelopes {
            self.envelope(tx, envelope);
        }
        let mut first_token = true;
        for output in &tx.outputs {
            self.output(tx, output, &mut first_token);
        }
    }

    /// Ends the block: maturities, then its state hash.
    pub fn end_block(&mut self, hash: bitcoin::BlockHash) {
        self.maturities();
        let events: String = self.lines.drain(..).map(|line| line + "\n").collect();
        let previous = self.blocks.last().map_or([0; 32], |block| block.state_hash);
        let inner = sha(&[events.as_bytes()]);
        let state_hash = sha(&[&previous, hash.as_byte_array(), &inner]);
        self.blocks.push(BlockDone { hash, state_hash, events });
    }

    pub(super) fn line(&mut self, line: String) {
        self.lines.push(line);
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counters.entry(what).or_default() += 1;
    }

    fn envelope(&mut self, tx: &TxMessages, envelope: &EnvelopeMessage) {
        let at = At {
            height: self.height(),
            tx: tx.index,
            part: 1,
            index: envelope.input,
            sub: envelope.envelope,
        };
        let inscription = format!("{}i{}", tx.txid, envelope.inscription);
        match envelope.kind {
            EnvelopeKind::Manifest => self.manifest(at, inscription, &envelope.body),
            EnvelopeKind::Chunk => self.chunk(at, &inscription, &envelope.body),
        }
    }

    fn output(&mut self, tx: &TxMessages, output: &OutputMessage, first_token: &mut bool) {
        let at = At { height: self.height(), tx: tx.index, part: 2, index: output.vout, sub: 0 };
        match &output.content {
            OutputContent::Token(token) => {
                let first = std::mem::take(first_token);
                let id = token.metadata.identifier(self.config.network, Layer::L1);
                let known = self.announced.iter().any(|a| self.l1_id(&a.metadata) == id);
                if known || !first {
                    return self.count("token_without_effect");
                }
                self.announced.push(Announced { metadata: token.metadata.clone(), at, txid: tx.txid });
                self.line(format!("token {id} {} {}", tx.txid, output.vout));
            }
            OutputContent::Withdrawal { announcement, bonds } => {
                self.withdrawal(at, tx.txid, announcement, bonds)
            }
            OutputContent::Legacy(_) => self.count("legacy"),
            OutputContent::Malformed { kind: MalformedKind::Token, .. } => self.count("malformed_token"),
            OutputContent::Malformed { kind: MalformedKind::Withdrawal, .. } => {
                self.count("malformed_withdrawal")
            }
        }
    }

    pub fn l1_id(&self, metadata: &TokenMetadata) -> TokenId {
        metadata.identifier(self.config.network, Layer::L1)
    }

    // --- sections 4 to 6 ---

    pub fn active(&self, entity: usize) -> Option<&Activation> {
        self.activations.iter().rev().find(|a| a.entity == entity)
    }

    pub fn active_sequence(&self, entity: usize) -> Option<u64> {
        self.active(entity).map(|a| self.accepted[a.accepted].manifest.sequence)
    }

    /// The declared set.
    pub fn declared(&self, entity: usize) -> BTreeMap<SparkOutPoint, Ttxo> {
        self.active(entity).map(|a| a.set.clone()).unwrap_or_default()
    }

    fn manifest(&mut self, at: At, inscription: String, body: &[u8]) {
        let Ok(signed) = SignedManifest::decode(body) else { return self.count("malformed_manifest") };
        if signed.manifest.network_magic != self.config.network.magic() {
            return self.count("wrong_network");
        }
        let Some(entity) = self.config.entity_of(signed.manifest.entity, at.height) else {
            return self.count("unknown_entity");
        };
        if !signed.verify_signature() {
            return self.count("bad_signature");
        }
        let name = self.config.id(entity);
        let id = signed.id;
        let sequence = signed.manifest.sequence;
        let first = self.accepted.iter().find(|a| a.entity == entity && a.manifest.sequence == sequence);
        let first = first.map(|a| a.id);
        let rejection = self.rejection(entity, &signed, at.height);
        if let Some(reason) = rejection {
            self.line(format!("manifest_rejected {name} {id} {inscription} {reason}"));
        } else {
            self.line(format!("manifest {name} {sequence} {id} {inscription}"));
            self.accepted.push(Accepted {
                entity,
                id,
                at,
                inscription,
                taken: vec![None; signed.manifest.chunks.len()],
                manifest: signed.manifest,
                state: State::Pending,
                decided: None,
                resurrected: None,
            });
            let pending = self.pending(entity);
            if pending.len() > MAX_PENDING {
                let lowest = pending.into_iter().min_by_key(|i| (self.accepted[*i].manifest.sequence, *i));
                self.supersede(lowest.expect("there are more than 64"));
            }
        }
        if let Some(first) = first.filter(|first| *first != id) {
            let known = self
                .evidence
                .iter()
                .any(|(e, _, a, b)| *e == entity && BTreeSet::from([*a, *b]) == BTreeSet::from([first, id]));
            if !known {
                self.evidence.push((entity, sequence, first, id));
                self.line(format!("equivocation {name} {sequence} {first} {id}"));
            }
        }
        if rejection.is_none() {
            self.activate_ready(entity, at);
        }
    }

    fn rejection(&self, entity: usize, signed: &SignedManifest, height: u32) -> Option<&'static str> {
        let manifest = &signed.manifest;
        if self.accepted.iter().any(|a| a.id == signed.id) {
            return Some("duplicate_manifest");
        }
        let (start, anchor) = (u64::from(self.config.start), manifest.anchor_height);
        if anchor < start || anchor >= u64::from(height) {
            return Some("bad_anchor");
        }
        if self.blocks[(anchor - start) as usize].hash.to_byte_array() != manifest.anchor_hash {
            return Some("bad_anchor");
        }
        match self.active_sequence(entity) {
            Some(active) if manifest.sequence <= active => return Some("stale_sequence"),
            Some(active) if manifest.sequence - active > MAX_STEP => return Some("sequence_gap"),
            None if manifest.sequence > MAX_STEP => return Some("sequence_gap"),
            _ => {}
        }
        (manifest.kind == SnapshotKind::Delta && manifest.parent.is_none()).then_some("missing_parent")
    }

    /// Pending manifests of an entity in the order of their acceptance.
    pub fn pending(&self, entity: usize) -> Vec<usize> {
        let pending =
            |i: &usize| self.accepted[*i].entity == entity && self.accepted[*i].state == State::Pending;
        (0..self.accepted.len()).filter(pending).collect()
    }

    fn supersede(&mut self, index: usize) {
        let height = self.height();
        let accepted = &mut self.accepted[index];
        accepted.state = State::Superseded;
        accepted.decided = Some(height);
        let (entity, sequence, id) = (accepted.entity, accepted.manifest.sequence, accepted.id);
        self.line(format!("snapshot_superseded {} {sequence} {id}", self.config.id(entity)));
    }

    fn chunk(&mut self, at: At, inscription: &str, body: &[u8]) {
        let hash = sha(&[body]);
        let mut entities = Vec::new();
        for index in 0..self.accepted.len() {
            let accepted = &mut self.accepted[index];
            let place = accepted.manifest.chunks.iter().position(|chunk| chunk.0 == hash);
            let Some(place) = place.filter(|_| accepted.state == State::Pending) else { continue };
            if accepted.taken[place].is_some() {
                continue;
            }
            accepted.taken[place] = Some(body.to_vec());
            let (entity, id) = (accepted.entity, accepted.id);
            self.line(format!("chunk {id} {place} {inscription}"));
            if !entities.contains(&entity) {
                entities.push(entity);
            }
        }
        if entities.is_empty() {
            self.count("unwanted_chunk");
        }
        for entity in entities {
            self.activate_ready(entity, at);
        }
    }

    fn activate_ready(&mut self, entity: usize, at: At) {
        loop {
            let ready = self.pending(entity).into_iter().filter(|i| self.is_ready(*i));
            let Some(next) = ready.min_by_key(|i| (self.accepted[*i].manifest.sequence, *i)) else { return };
            match self.resulting_set(next) {
                Ok((set, tokens)) => self.activate(next, at, set, tokens),
                Err(reason) => {
                    self.accepted[next].state = State::Failed(reason);
                    self.accepted[next].decided = Some(at.height);
                    let Accepted { id, manifest, .. } = &self.accepted[next];
                    let name = self.config.id(entity);
                    self.line(format!("snapshot_failed {name} {} {id} {reason}", manifest.sequence));
                }
            }
        }
    }

    fn is_ready(&self, index: usize) -> bool {
        let accepted = &self.accepted[index];
        if accepted.taken.iter().any(|chunk| chunk.is_none()) {
            return false;
        }
        let active = self.active(accepted.entity).map(|a| &self.accepted[a.accepted]);
        match accepted.manifest.kind {
            SnapshotKind::Full => active.is_none_or(|a| accepted.manifest.sequence > a.manifest.sequence),
            SnapshotKind::Delta => active.is_some_and(|a| accepted.manifest.parent == Some(a.id)),
        }
    }

    /// The set that a complete manifest results in, or why it fails.
    #[allow(clippy::type_complexity)]
    fn resulting_set(
        &self,
        index: usize,
    ) -> Result<(BTreeMap<SparkOutPoint, Ttxo>, Vec<ChunkToken>), &'static str> {
        let Accepted { entity, manifest, taken, .. } = &self.accepted[index];
        let (mut created, mut spent, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
        for body in taken.iter().flatten() {
            let chunk = Chunk::decode(body, self.config.network).map_err(|_| "malformed_chunk")?;
            created.extend(chunk.created);
            spent.extend(chunk.spent);
            tokens.extend(chunk.tokens);
        }
        let old = self.declared(*entity);
        let full = manifest.kind == SnapshotKind::Full;
        if full && !spent.is_empty() {
            return Err("spent_in_full");
        }
        let names: BTreeSet<_> = created.iter().map(|t| t.outpoint).collect();
        if names.len() < created.len() || (!full && names.iter().any(|name| old.contains_key(name))) {
            return Err("duplicate_ttxo");
        }
        let gone: BTreeSet<_> = spent.iter().copied().collect();
        if gone.len() < spent.len() || gone.iter().any(|name| !old.contains_key(name)) {
            return Err("unknown_spent");
        }
        if created.iter().any(|t| self.ever_declared(*entity, t.outpoint).is_some_and(|known| known != *t)) {
            return Err("mutated_ttxo");
        }
        let mut set = if full { BTreeMap::new() } else { old };
        set.retain(|name, _| !gone.contains(name));
        set.extend(created.into_iter().map(|t| (t.outpoint, t)));
        let mut totals: BTreeMap<TokenId, u128> = BTreeMap::new();
        for ttxo in set.values() {
            let total = totals.entry(ttxo.token).or_default();
            *total = total.checked_add(ttxo.amount.0).ok_or("amount_overflow")?;
        }
        if set.len() as u64 != manifest.count {
            return Err("count_mismatch");
        }
        if root(&set) != manifest.root.0 {
            return Err("root_mismatch");
        }
        Ok((set, tokens))
    }

    fn activate(
        &mut self,
        index: usize,
        at: At,
        set: BTreeMap<SparkOutPoint, Ttxo>,
        tokens: Vec<ChunkToken>,
    ) {
        let entity = self.accepted[index].entity;
        let is_new = |name: &SparkOutPoint| self.ever_declared(entity, *name).is_none();
        let new: BTreeSet<_> = set.keys().copied().filter(is_new).collect();
        if let Some(replaced) = self.active(entity).map(|a| a.accepted) {
            self.accepted[replaced].state = State::Replaced;
        }
        self.accepted[index].state = State::Active;
        self.accepted[index].decided = Some(at.height);
        self.activations.push(Activation { accepted: index, entity, at, set, tokens });
        let before = self.lines.len();
        let sequence = self.accepted[index].manifest.sequence;
        let mut late = self.pending(entity);
        late.retain(|i| self.accepted[*i].manifest.sequence <= sequence);
        late.sort_by_key(|i| (self.accepted[*i].manifest.sequence, *i));
        for index in late {
            self.supersede(index);
        }
        self.reinstate(index);
        for announcement in 0..self.announcements.len() {
            let a = &self.announcements[announcement];
            let unresolved = a.entity == entity && a.records[0].verdict == Verdict::Unresolved;
            if unresolved && a.records.iter().any(|record| new.contains(&record.ttxo)) {
                self.judge(announcement, Some(index));
            }
        }
        let anchor = self.accepted[index].manifest.anchor_height;
        let set = self.declared(entity);
        let resurrected = set.keys().filter(|name| {
            self.standing(entity, **name)
                .is_some_and(|(a, _)| u64::from(self.announcements[a].at.height) <= anchor)
        });
        let resurrected = resurrected.count();
        self.accepted[index].resurrected = Some(resurrected);
        let Accepted { id, manifest, .. } = &self.accepted[index];
        let name = self.config.id(entity);
        let line = format!(
            "snapshot {name} {sequence} {id} {} {} {resurrected}",
            manifest.count,
            NodeText(manifest.root.0)
        );
        self.lines.insert(before, line);
    }

    /// The fields with which some activated snapshot of the entity declared a TTXO.
    pub fn ever_declared(&self, entity: usize, name: SparkOutPoint) -> Option<Ttxo> {
        let activations = self.activations.iter().filter(|a| a.entity == entity);
        activations.filter_map(|a| a.set.get(&name)).next().copied()
    }

    /// Changes of a TTXO's declaration: by which activation, and whether it is declared from there on.
    pub fn changes(&self, entity: usize, name: SparkOutPoint) -> Vec<(&Activation, bool)> {
        let mut changes: Vec<(&Activation, bool)> = Vec::new();
        for activation in self.activations.iter().filter(|a| a.entity == entity) {
            let now = activation.set.contains_key(&name);
            if now != changes.last().is_some_and(|(_, declared)| *declared) {
                changes.push((activation, now));
            }
        }
        changes
    }
}

/// 32 bytes as hex.
struct NodeText([u8; 32]);

impl std::fmt::Display for NodeText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

pub fn sha(parts: &[&[u8]]) -> [u8; 32] {
    sha256::Hash::hash(&parts.concat()).to_byte_array()
}

fn tagged(tag: &str, message: &[u8]) -> [u8; 32] {
    let tag = sha(&[tag.as_bytes()]);
    sha(&[&tag, &tag, message])
}

pub fn leaf(t: &Ttxo) -> [u8; 32] {
    let record = [
        &t.outpoint.tx_hash.0[..],
        &t.outpoint.vout.to_be_bytes(),
        &t.owner.0,
        &t.revocation.0,
        &t.bond.to_be_bytes(),
        &t.locktime.to_be_bytes(),
        &t.token.0,
        &t.amount.0.to_be_bytes(),
    ]
    .concat();
    assert_eq!(record.len(), 166);
    tagged("BTKN/ttxo", &record)
}

/// The root of a set: the tree of RFC 6962.
pub fn root(set: &BTreeMap<SparkOutPoint, Ttxo>) -> [u8; 32] {
    fn tree(leaves: &[[u8; 32]]) -> [u8; 32] {
        match leaves {
            [] => [0; 32],
            [leaf] => *leaf,
            _ => {
                let mut split = 1;
                while split * 2 < leaves.len() {
                    split *= 2;
                }
                tagged("BTKN/branch", &[tree(&leaves[..split]), tree(&leaves[split..])].concat())
            }
        }
    }
    tree(&set.values().map(leaf).collect::<Vec<_>>())
}
