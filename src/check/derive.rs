//! What follows from the primary tables (blocks, manifests, snapshots, TTXOs, exits) for the others.

use std::collections::{BTreeMap, BTreeSet};

use super::{Report, all};
use crate::ledger::balances::Share;
use crate::ledger::exits::maturity;
use crate::ledger::keys::{EntityIndex, L1OutPoint};
use crate::ledger::records::*;
use crate::ledger::tables::*;
use crate::ledger::{ReadError, Rules, View};
use crate::protocol::chunk::{self, Chunk};
use crate::protocol::manifest::SignedManifest;
use crate::protocol::merkle::RootBuilder;
use crate::protocol::{Amount, Height, ManifestId, NodeHash};

/// Accepted manifests: their order, what is active, what is pending and waits for which chunks.
pub(super) fn check_snapshots(view: &impl View, rules: &Rules, report: &mut Report) -> Result<(), ReadError> {
    let (mut sequences, mut active, mut pending) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let (mut wanted, mut held) = (BTreeMap::new(), BTreeSet::new());
    for row in all::<Snapshots>(view) {
        let (id, snapshot) = row?;
        let SnapshotRecord { entity, sequence, accepted, .. } = snapshot;
        sequences.insert((entity, sequence, accepted), id);
        let Some(signed) = manifest(view, report, id)? else { continue };
        if snapshot.state == SnapshotState::Active {
            let count = snapshot.count;
            active.insert(entity, ActiveSnapshot { manifest: id, sequence, count });
            check_root(view, report, entity, snapshot.root, count)?;
        }
        if snapshot.state != SnapshotState::Pending {
            continue;
        }
        let mut missing = 0;
        for (index, hash) in (0..=u16::MAX).zip(&signed.manifest.chunks) {
            if view.has::<ChunkHolders>(&(*hash, id))? {
                held.insert((*hash, id));
            } else {
                missing += 1;
                wanted.insert((*hash, accepted), WantedChunk { manifest: id, entity, index });
            }
        }
        let (kind, parent) = (snapshot.kind, signed.manifest.parent);
        pending.insert((entity, accepted), PendingManifest { id, sequence, kind, parent, missing });
    }
    report.compare::<Sequences>(view, sequences)?;
    report.compare::<Active>(view, active)?;
    report.compare::<Pending>(view, pending)?;
    report.compare::<Wanted>(view, wanted)?;
    check_chunks(view, rules, report, &held)
}

fn manifest(
    view: &impl View,
    report: &mut Report,
    id: ManifestId,
) -> Result<Option<SignedManifest>, ReadError> {
    let signed = view.get::<Manifests>(&id)?.and_then(|record| SignedManifest::decode(&record.body.0).ok());
    let good = signed.filter(|signed| signed.id == id && signed.verify_signature());
    if good.is_none() {
        report
            .violation(Manifests::NAME, format!("manifest {id} is missing, or its id or signature is wrong"));
    }
    Ok(good)
}

fn check_root(
    view: &impl View,
    report: &mut Report,
    entity: EntityIndex,
    root: NodeHash,
    count: u64,
) -> Result<(), ReadError> {
    let mut builder = RootBuilder::new();
    for row in all::<Declared>(view) {
        let ((of, _), leaf) = row?;
        if of == entity {
            builder.push(leaf);
        }
    }
    if builder.count() != count || builder.finish() != root {
        let what =
            format!("the declared set of entity {} is not the one that its manifest commits to", entity.0);
        report.violation(Declared::NAME, what);
    }
    Ok(())
}

fn check_chunks(
    view: &impl View,
    rules: &Rules,
    report: &mut Report,
    held: &BTreeSet<<ChunkHolders as Table>::Key>,
) -> Result<(), ReadError> {
    let mut hashes = BTreeSet::new();
    for row in all::<ChunkHolders>(view) {
        let (key, _) = row?;
        report.rows += 1;
        hashes.insert(key.0);
        if !held.contains(&key) {
            report.violation(ChunkHolders::NAME, format!("{key:?} holds for no pending manifest"));
        }
    }
    for row in all::<ChunkBodies>(view) {
        let (hash, chunk) = row?;
        report.rows += 1;
        if !hashes.remove(&hash) || chunk::hash(&chunk.body) != hash {
            report.violation(ChunkBodies::NAME, format!("chunk {hash} is held by nobody, or not that chunk"));
        }
        if Chunk::decode(&chunk.body, rules.network).is_ok() != chunk.decodes {
            report.violation(ChunkBodies::NAME, format!("chunk {hash} was not judged as it decodes"));
        }
    }
    for hash in hashes {
        report.violation(ChunkBodies::NAME, format!("chunk {hash} is missing"));
    }
    Ok(())
}

/// Metadata that proves itself; every token with a supply is known.
pub(super) fn check_tokens(view: &impl View, rules: &Rules, report: &mut Report) -> Result<(), ReadError> {
    for row in all::<Tokens>(view) {
        let (token, record) = row?;
        report.rows += 1;
        let proven = match (&record.metadata, record.layer) {
            (Some(metadata), Some(layer)) => metadata.identifier(rules.network, layer) == token,
            (None, None) => record.announced_as.is_none(),
            _ => false,
        };
        if !proven {
            report.violation(Tokens::NAME, format!("the metadata of {token} does not give its identifier"));
        }
    }
    for row in all::<Supply>(view) {
        let ((token, _), _) = row?;
        if !view.has::<Tokens>(&token)? {
            report.violation(Tokens::NAME, format!("token {token} has a supply and is not known"));
        }
    }
    Ok(())
}

/// Exits: their indexes, which of them stand, what is watched, what matures, what waits.
pub(super) fn check_exits(view: &impl View, report: &mut Report) -> Result<(), ReadError> {
    let (mut by_output, mut by_ttxo) = (BTreeMap::new(), BTreeMap::new());
    let (mut standing, mut watched) = (BTreeMap::new(), BTreeMap::new());
    let (mut maturing, mut unresolved) = (BTreeMap::new(), BTreeMap::new());
    for row in all::<Exits>(view) {
        let (id, exit) = row?;
        report.rows += 1;
        let output = (L1OutPoint { txid: id.txid, vout: exit.bitcoin_vout.into() }, id.output, id.record);
        by_output.insert(output, Unit);
        by_ttxo.insert((exit.entity, exit.ttxo, (exit.place, id.record)), Unit);
        let waits = exit.state == ExitState::Unresolved;
        if exit.bond.is_some() && exit.spend.is_none() && (waits || exit.state.is_valid()) {
            watched.insert(output, Unit);
        }
        let ttxo = view.get::<Ttxos>(&(exit.entity, exit.ttxo))?;
        if waits && ttxo.is_none() {
            unresolved.insert((exit.entity, exit.ttxo, exit.place), Unit);
        }
        let Some(ttxo) = ttxo.filter(|_| exit.state.is_valid()) else { continue };
        if exit.reinstated.is_none() && standing.insert((exit.entity, exit.ttxo), id).is_some() {
            report.violation(Exits::NAME, format!("two exits of {} stand", exit.ttxo));
        }
        if let (ExitState::Pending, Ok(height)) = (exit.state, u32::try_from(maturity(&exit, &ttxo))) {
            maturing.insert((Height(height), id), Unit);
        }
    }
    report.compare::<ExitsByOutput>(view, by_output)?;
    report.compare::<ExitsByTtxo>(view, by_ttxo)?;
    report.compare::<Standing>(view, standing)?;
    report.compare::<Watched>(view, watched)?;
    report.compare::<Maturing>(view, maturing)?;
    report.compare::<Unresolved>(view, unresolved)
}

/// TTXOs: the declared set with its leaves, owners, supply, and balances as sums.
pub(super) fn check_ttxos(view: &impl View, report: &mut Report) -> Result<(), ReadError> {
    let (mut declared, mut owners) = (BTreeMap::new(), BTreeMap::new());
    let mut supply: BTreeMap<<Supply as Table>::Key, Amount> = BTreeMap::new();
    let mut balances: BTreeMap<<Balances as Table>::Key, Balance> = BTreeMap::new();
    for row in all::<Ttxos>(view) {
        let ((entity, outpoint), ttxo) = row?;
        report.rows += 1;
        owners.insert((ttxo.owner, entity, outpoint), Unit);
        if ttxo.is_declared() {
            declared.insert((entity, outpoint), ttxo.ttxo(outpoint).leaf());
            let total = supply.entry((ttxo.token, entity)).or_default();
            match total.checked_add(ttxo.amount) {
                Some(sum) => *total = sum,
                None => {
                    report.violation(Supply::NAME, format!("the total of {} exceeds 128 bits", ttxo.token))
                }
            }
        }
        let standing = match view.get::<Standing>(&(entity, outpoint))? {
            Some(id) => view.get::<Exits>(&id)?.map(|exit| exit.state),
            None => None,
        };
        let share = Share::of(ttxo.is_declared(), standing);
        let balance = balances.entry((ttxo.owner, ttxo.token, entity)).or_default();
        match balance.with(share, ttxo.amount) {
            Some(sum) => *balance = sum,
            None => report.violation(Balances::NAME, format!("a sum of {} overflows", ttxo.owner)),
        }
    }
    balances.retain(|_, balance| *balance != Balance::default());
    let holders = balances.keys().map(|(owner, token, entity)| ((*token, *owner, *entity), Unit)).collect();
    report.compare::<Declared>(view, declared)?;
    report.compare::<OwnerTtxos>(view, owners)?;
    report.compare::<Supply>(view, supply)?;
    report.compare::<Balances>(view, balances)?;
    report.compare::<Holders>(view, holders)
}
