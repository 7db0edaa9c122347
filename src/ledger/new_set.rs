//! The declared set that a snapshot asks for: its content, and every check before it may be the active one.
//!
//! All that an activation needs to know of the state is read here, and each row once: the declared set is
//! walked along once beside the content, both sorted, and its leaves are taken from the table; so a delta
//! hashes the records of what it creates and the inner nodes of the tree, and reads the records of what it
//! spends.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rayon::prelude::*;

use super::block::Block;
use super::keys::EntityIndex;
use super::reasons::FailReason;
use super::records::*;
use super::tables::*;
use super::view::{InOrder, Overlay, ReadError, RowIter, View};
use crate::protocol::chunk::Chunk;
use crate::protocol::manifest::{SignedManifest, SnapshotKind};
use crate::protocol::merkle;
use crate::protocol::token::{Layer, TokenMetadata};
use crate::protocol::ttxo::Ttxo;
use crate::protocol::{Amount, NodeHash, SparkOutPoint, TokenId};

/// How many chunks are decoded at a time, in parallel. A few megabytes of bodies.
const CHUNKS_AT_ONCE: usize = 16;

/// What a snapshot that passed every check does to the declared set.
pub(super) struct NewSet {
    /// TTXOs that were never declared before, in the order of their outpoints.
    pub fresh: Vec<Ttxo>,
    /// Their leaves.
    pub fresh_leaves: Vec<NodeHash>,
    /// TTXOs that were declared once, are not now, and will be again, in the same order.
    pub again: Vec<(SparkOutPoint, TtxoRecord, NodeHash)>,
    /// TTXOs that are no longer declared, with their leaves, in the same order.
    pub dropped: Vec<(SparkOutPoint, TtxoRecord, NodeHash)>,
    /// Declared totals that change.
    pub supply: BTreeMap<TokenId, Amount>,
    /// Tokens whose metadata its chunks give.
    pub learned: Vec<(TokenId, TokenMetadata, Layer)>,
    /// Size of the resulting set.
    pub count: u64,
}

/// A check that failed, or a state that could not be read.
pub(super) enum Failure {
    Rule(FailReason),
    Read(ReadError),
}

impl From<ReadError> for Failure {
    fn from(e: ReadError) -> Self {
        Failure::Read(e)
    }
}

impl From<FailReason> for Failure {
    fn from(reason: FailReason) -> Self {
        Failure::Rule(reason)
    }
}

/// What the chunks of a snapshot hold.
#[derive(Default)]
struct Content {
    learned: Vec<(TokenId, TokenMetadata, Layer)>,
    created: Vec<Ttxo>,
    spent: Vec<SparkOutPoint>,
}

/// How the content of a snapshot compares with the declared set.
struct Comparison {
    /// For each created TTXO whether it is not declared yet.
    new: Vec<bool>,
    /// Declared TTXOs that the new set does not have, with their leaves.
    dropped: Vec<(SparkOutPoint, NodeHash)>,
    /// Size of the new set.
    count: u64,
    /// Root of the new set.
    root: NodeHash,
}

impl<V: View> Block<'_, V> {
    /// Decodes the chunks of a snapshot and makes all checks, in the order in which a failure is named.
    pub(super) fn check_set(
        &self,
        entity: EntityIndex,
        signed: &SignedManifest,
        active: Option<ActiveSnapshot>,
    ) -> Result<NewSet, Failure> {
        let Content { learned, mut created, mut spent } = self.content(signed)?;
        let full = signed.manifest.kind == SnapshotKind::Full;
        if full && !spent.is_empty() {
            return Err(FailReason::SpentInFull.into());
        }
        created.par_sort_unstable_by_key(|ttxo| ttxo.outpoint);
        if created.windows(2).any(|pair| pair[0].outpoint == pair[1].outpoint) {
            return Err(FailReason::DuplicateTtxo.into());
        }
        let mut leaves: Vec<NodeHash> = created.par_iter().map(Ttxo::leaf).collect();
        let Comparison { mut new, dropped, count, root } = if full {
            self.compare_full(entity, &created, &leaves)?
        } else {
            spent.sort_unstable();
            self.compare_delta(entity, &created, &leaves, &spent, active.map_or(0, |active| active.count))?
        };
        let mut again = Vec::new();
        for (index, record) in self.declared_before(entity, &created, &new)? {
            new[index] = false;
            again.push((created[index].outpoint, record, leaves[index]));
        }
        let dropped = self.records_of(entity, dropped)?;
        let supply = self.check_supply(entity, full, &created, &dropped)?;
        if count != signed.manifest.count {
            return Err(FailReason::CountMismatch.into());
        }
        if root != signed.manifest.root {
            return Err(FailReason::RootMismatch.into());
        }
        keep(&mut created, &new);
        keep(&mut leaves, &new);
        Ok(NewSet { fresh: created, fresh_leaves: leaves, again, dropped, supply, learned, count })
    }

    /// The content of all chunks. Whether each decodes was found out when it was taken.
    fn content(&self, signed: &SignedManifest) -> Result<Content, Failure> {
        let mut content = Content::default();
        let network = self.rules.network;
        for hashes in signed.manifest.chunks.chunks(CHUNKS_AT_ONCE) {
            let mut bodies = Vec::with_capacity(hashes.len());
            for hash in hashes {
                let chunk = self.state.expect::<ChunkBodies>(hash)?;
                if !chunk.decodes {
                    return Err(FailReason::MalformedChunk.into());
                }
                bodies.push(chunk.body);
            }
            let decode = |body: &Vec<u8>| Chunk::decode_again(body, network);
            let chunks: Result<Vec<Chunk>, _> = bodies.par_iter().map(decode).collect();
            for chunk in chunks.map_err(|e| ReadError { table: ChunkBodies::NAME, reason: e.to_string() })? {
                content.add(chunk);
            }
        }
        Ok(content)
    }

    fn declared_set(&self, entity: EntityIndex) -> RowIter<'_, Declared> {
        self.state.scan::<Declared>(&(entity, SparkOutPoint::MIN), &(entity, SparkOutPoint::MAX))
    }

    /// Compares a full set with the declared one.
    fn compare_full(
        &self,
        entity: EntityIndex,
        created: &[Ttxo],
        leaves: &[NodeHash],
    ) -> Result<Comparison, Failure> {
        let mut new = vec![true; created.len()];
        let mut dropped = Vec::new();
        let mut next = 0;
        for row in self.declared_set(entity) {
            let ((_, outpoint), leaf) = row?;
            while created.get(next).is_some_and(|ttxo| ttxo.outpoint < outpoint) {
                next += 1;
            }
            if created.get(next).is_none_or(|ttxo| ttxo.outpoint != outpoint) {
                dropped.push((outpoint, leaf));
            } else if leaves[next] != leaf {
                // A leaf commits to every field.
                return Err(FailReason::MutatedTtxo.into());
            } else {
                new[next] = false;
            }
        }
        Ok(Comparison { new, dropped, count: created.len() as u64, root: merkle::root_of(leaves) })
    }

    /// Compares what a delta creates and spends with the declared set of `count` TTXOs.
    fn compare_delta(
        &self,
        entity: EntityIndex,
        created: &[Ttxo],
        created_leaves: &[NodeHash],
        spent: &[SparkOutPoint],
        count: u64,
    ) -> Result<Comparison, Failure> {
        let mut leaves = Vec::with_capacity(count as usize + created.len());
        let mut dropped = Vec::with_capacity(spent.len());
        let mut unknown_spent = false;
        let mut created_rest = created.iter().zip(created_leaves).peekable();
        let mut spent_rest = spent.iter().peekable();
        for row in self.declared_set(entity) {
            let ((_, outpoint), leaf) = row?;
            while let Some((_, leaf)) = created_rest.next_if(|(ttxo, _)| ttxo.outpoint < outpoint) {
                leaves.push(*leaf);
            }
            if created_rest.peek().is_some_and(|(ttxo, _)| ttxo.outpoint == outpoint) {
                return Err(FailReason::DuplicateTtxo.into());
            }
            while spent_rest.next_if(|spent| **spent < outpoint).is_some() {
                unknown_spent = true;
            }
            match spent_rest.next_if_eq(&&outpoint) {
                Some(_) => dropped.push((outpoint, leaf)),
                None => leaves.push(leaf),
            }
        }
        // What is left was not met; so was what is spent twice, when it came up again.
        if unknown_spent || spent_rest.next().is_some() {
            return Err(FailReason::UnknownSpent.into());
        }
        leaves.extend(created_rest.map(|(_, leaf)| *leaf));
        let (new, root) = (vec![true; created.len()], merkle::root_of(&leaves));
        Ok(Comparison { new, dropped, count: leaves.len() as u64, root })
    }

    /// Those of the new TTXOs that were declared before, by their index, with their records. A TTXO never
    /// changes, however often it is declared.
    fn declared_before(
        &self,
        entity: EntityIndex,
        created: &[Ttxo],
        new: &[bool],
    ) -> Result<Vec<(usize, TtxoRecord)>, Failure> {
        let mut before = Vec::new();
        let mut records = self.records(entity, new.iter().filter(|new| **new).count());
        for (index, (ttxo, _)) in created.iter().zip(new).enumerate().filter(|(_, (_, new))| **new) {
            let Some(record) = records.get(&(entity, ttxo.outpoint))? else { continue };
            if record.ttxo(ttxo.outpoint) != *ttxo {
                return Err(FailReason::MutatedTtxo.into());
            }
            before.push((index, record));
        }
        Ok(before)
    }

    /// To look up about `count` TTXOs.
    fn records(&self, entity: EntityIndex, count: usize) -> InOrder<'_, Ttxos, Overlay<V>> {
        InOrder::new(&self.state, &(entity, SparkOutPoint::MIN), &(entity, SparkOutPoint::MAX), count)
    }

    fn records_of(
        &self,
        entity: EntityIndex,
        ttxos: Vec<(SparkOutPoint, NodeHash)>,
    ) -> Result<Vec<(SparkOutPoint, TtxoRecord, NodeHash)>, ReadError> {
        let mut records = self.records(entity, ttxos.len());
        let with_record = |(outpoint, leaf)| {
            let key = (entity, outpoint);
            let record = records.get(&key)?.ok_or_else(|| ReadError::missing::<Ttxos>(&key))?;
            Ok((outpoint, record, leaf))
        };
        ttxos.into_iter().map(with_record).collect()
    }

    /// The declared totals that the new set changes. What is spent is subtracted first, so that only a
    /// total that really exceeds 128 bits fails.
    fn check_supply(
        &self,
        entity: EntityIndex,
        full: bool,
        created: &[Ttxo],
        dropped: &[(SparkOutPoint, TtxoRecord, NodeHash)],
    ) -> Result<BTreeMap<TokenId, Amount>, Failure> {
        // A full set starts from nothing, also for tokens that it no longer has.
        let before = |token: TokenId| match full {
            true => Ok(Amount::ZERO),
            false => self.state.get::<Supply>(&(token, entity)).map(Option::unwrap_or_default),
        };
        let mut totals = BTreeMap::new();
        for (_, ttxo, _) in dropped {
            let total = total_of(&mut totals, ttxo.token, before)?;
            let gone = if full { Amount::ZERO } else { ttxo.amount };
            *total = total.checked_sub(gone).ok_or_else(|| ReadError {
                table: Supply::NAME,
                reason: format!("the declared total of {} is below the sum of its TTXOs", ttxo.token),
            })?;
        }
        for ttxo in created {
            let total = total_of(&mut totals, ttxo.token, before)?;
            *total = total.checked_add(ttxo.amount).ok_or(FailReason::AmountOverflow)?;
        }
        Ok(totals)
    }
}

/// The total of a token so far, which starts at what it was `before`.
fn total_of(
    totals: &mut BTreeMap<TokenId, Amount>,
    token: TokenId,
    before: impl Fn(TokenId) -> Result<Amount, ReadError>,
) -> Result<&mut Amount, ReadError> {
    Ok(match totals.entry(token) {
        Entry::Occupied(total) => total.into_mut(),
        Entry::Vacant(place) => place.insert(before(token)?),
    })
}

impl Content {
    fn add(&mut self, chunk: Chunk) {
        self.learned.extend(chunk.learned().map(|(id, metadata, layer)| (id, metadata.clone(), layer)));
        self.created.extend(chunk.created);
        self.spent.extend(chunk.spent);
    }
}

/// Keeps the items whose flag is set.
fn keep<T>(items: &mut Vec<T>, flags: &[bool]) {
    let mut flags = flags.iter();
    items.retain(|_| flags.next().is_some_and(|flag| *flag));
}
