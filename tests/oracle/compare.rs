//! Everything that the ledger and the oracle both know, in a form that prints well when it differs.

use std::collections::{BTreeMap, BTreeSet};

use btkn_indexer::ledger::keys::{EntityIndex, KeyPart, Only, Place};
use btkn_indexer::ledger::records::{Counter, ExitState, SnapshotState};
use btkn_indexer::ledger::tables::{self as t, Table, TableVisitor};
use btkn_indexer::ledger::{Rules, View};
use btkn_indexer::protocol::chunk::ChunkToken;
use btkn_indexer::protocol::token::{Layer, TokenMetadata};
use btkn_indexer::protocol::{Height, PubKey, TokenId};

use super::readers;
use super::rules::{Announced, At, Oracle, State, Verdict, leaf};

/// Keys and values as text.
pub type Rows = BTreeMap<String, String>;

/// What is compared, as the ledger has it and as the oracle has it.
pub type Topic = (&'static str, Rows, Rows);

/// All rows of a table.
pub fn all<T: Table>(view: &impl View) -> Vec<(T::Key, T::Value)> {
    let rows = view.scan::<T>(&T::Key::LOWEST, &T::Key::HIGHEST);
    rows.map(|row| row.expect("a row that decodes")).collect()
}

/// The state by topic, as the ledger has it and as the oracle has it.
pub fn topics(view: &impl View, rules: &Rules, oracle: &Oracle) -> Vec<Topic> {
    let ledger = Ledger { view, rules };
    let mut topics = vec![
        ("tip", ledger.tip(), tip(oracle)),
        ("events", ledger.blocks(), blocks(oracle)),
        ("snapshots", ledger.snapshots(), snapshots(oracle)),
        ("active snapshots", ledger.active(), active(oracle)),
        ("chunks", ledger.chunks(), chunks(oracle)),
        ("evidence", ledger.evidence(), evidence(oracle)),
        ("TTXOs", ledger.ttxos(), ttxos(oracle)),
        ("declared sets", ledger.declared(), declared(oracle)),
        ("exits", ledger.exits(), exits(oracle)),
        ("watched outputs", ledger.watched(), watched(oracle)),
        ("balances", ledger.balances(), balances(oracle)),
        ("supply", ledger.supply(), supply(oracle)),
        ("tokens", ledger.tokens(), tokens(oracle)),
        ("counters", ledger.counters(), counters(oracle)),
    ];
    topics.extend(readers::topics(view, rules, oracle));
    topics
}

struct Ledger<'a, V> {
    view: &'a V,
    rules: &'a Rules,
}

impl<V: View> Ledger<'_, V> {
    fn name(&self, entity: EntityIndex) -> PubKey {
        self.rules.entities.get(entity).expect("an entity of the configuration").id()
    }

    fn tip(&self) -> Rows {
        let tip = self.view.get::<t::Tip>(&Only).expect("a readable tip");
        tip.map(|tip| (tip.height.to_string(), format!("{} {}", tip.hash, tip.state_hash)))
            .into_iter()
            .collect()
    }

    fn blocks(&self) -> Rows {
        let block = |(height, block): (Height, btkn_indexer::ledger::records::BlockRecord)| {
            (height.to_string(), format!("{}\n{}", block.hash, block.events))
        };
        all::<t::Blocks>(self.view).into_iter().map(block).collect()
    }

    fn snapshots(&self) -> Rows {
        let mut rows = Rows::new();
        for (id, record) in all::<t::Snapshots>(self.view) {
            let state = match record.state {
                SnapshotState::Pending => "pending".into(),
                SnapshotState::Active => "active".into(),
                SnapshotState::Replaced => "replaced".into(),
                SnapshotState::Failed(reason) => format!("failed {}", reason.as_str()),
                SnapshotState::Superseded => "superseded".into(),
            };
            let inscription = format!("{}i{}", record.txid, record.inscription);
            let fate = format!(
                "{state} decided {:?} resurrected {:?}",
                record.decided.map(|height| height.0),
                record.resurrected
            );
            let said = (record.sequence, record.count, record.root, record.anchor_height.0);
            let row =
                format!("{} {} {inscription} {said:?} {fate}", self.name(record.entity), at(record.accepted));
            rows.insert(id.to_string(), row);
        }
        rows
    }

    fn active(&self) -> Rows {
        let rows = all::<t::Active>(self.view).into_iter();
        rows.map(|(entity, active)| {
            let active = format!("{} {} {}", active.manifest, active.sequence, active.count);
            (self.name(entity).to_string(), active)
        })
        .collect()
    }

    fn chunks(&self) -> Rows {
        let mut rows = Rows::new();
        for (entity, place) in all::<t::Pending>(self.view).into_iter().map(|(key, _)| key) {
            rows.insert(format!("{} {} pending", self.name(entity), at(place)), String::new());
        }
        for ((hash, _), wanted) in all::<t::Wanted>(self.view) {
            rows.insert(format!("{} {} {hash}", wanted.manifest, wanted.index), "wanted".into());
        }
        for ((hash, manifest), holder) in all::<t::ChunkHolders>(self.view) {
            rows.insert(format!("{manifest} {} {hash}", holder.index), "held".into());
        }
        for (hash, chunk) in all::<t::ChunkBodies>(self.view) {
            rows.insert(hash.to_string(), format!("{:02x?}", chunk.body));
        }
        rows
    }

    fn evidence(&self) -> Rows {
        let mut rows = Rows::new();
        for ((entity, low, high), record) in all::<t::Equivocations>(self.view) {
            assert!(low < high, "evidence is kept under the lower id first");
            let key = format!("{} {} {} {}", self.name(entity), record.sequence, record.first, record.second);
            rows.insert(key, String::new());
        }
        rows
    }

    fn ttxos(&self) -> Rows {
        let mut rows = Rows::new();
        for ((entity, outpoint), record) in all::<t::Ttxos>(self.view) {
            let history: Vec<_> =
                record.history.iter().map(|change| (at(change.place), change.sequence)).collect();
            let row = format!("{:?} {history:?}", record.ttxo(outpoint));
            rows.insert(format!("{} {outpoint}", self.name(entity)), row);
        }
        rows
    }

    fn declared(&self) -> Rows {
        let rows = all::<t::Declared>(self.view).into_iter();
        rows.map(|((entity, ttxo), leaf)| (format!("{} {ttxo}", self.name(entity)), leaf.to_string()))
            .collect()
    }

    fn exits(&self) -> Rows {
        let mut rows = Rows::new();
        for (id, record) in all::<t::Exits>(self.view) {
            let state = match record.state {
                ExitState::Unresolved => "unresolved".into(),
                ExitState::Pending => "pending".into(),
                ExitState::Matured => "matured".into(),
                ExitState::Revoked => "revoked".into(),
                ExitState::Claimed => "claimed".into(),
                ExitState::Invalid(reason) => format!("invalid:{}", reason.as_str()),
            };
            let spend = record.spend.filter(|_| record.state.is_valid());
            let row = format!(
                "{} {} vout {} {} {state} judged {:?} reinstated {:?} spend {:?}",
                self.name(record.entity),
                record.ttxo,
                record.bitcoin_vout,
                at(record.place),
                record.judged.map(|height| height.0),
                record.reinstated,
                spend.map(|spend| (spend.txid, spend.input, spend.height.0, spend.path)),
            );
            rows.insert(id.to_string(), row);
        }
        for ((entity, ttxo), exit) in all::<t::Standing>(self.view) {
            rows.insert(format!("{} {ttxo} stands", self.name(entity)), exit.to_string());
        }
        rows
    }

    /// Outputs that do not exist cannot be spent, watched or not.
    fn watched(&self) -> Rows {
        let mut exists = BTreeSet::new();
        for (exit, record) in all::<t::Exits>(self.view) {
            if record.bond.is_some() {
                exists.insert((exit.txid, u32::from(record.bitcoin_vout)));
            }
        }
        let watched = all::<t::Watched>(self.view).into_iter().map(|((outpoint, _, _), _)| outpoint);
        let watched = watched.filter(|outpoint| exists.contains(&(outpoint.txid, outpoint.vout)));
        watched.map(|outpoint| (outpoint.to_string(), String::new())).collect()
    }

    fn balances(&self) -> Rows {
        let mut rows = Rows::new();
        for ((owner, token, entity), sums) in all::<t::Balances>(self.view) {
            let sums = [sums.available.0, sums.exiting.capped().0, sums.claimed.capped().0];
            if sums != [0; 3] {
                rows.insert(format!("{} {owner} {token}", self.name(entity)), format!("{sums:?}"));
            }
        }
        for (token, owner, entity) in all::<t::Holders>(self.view).into_iter().map(|(key, _)| key) {
            rows.insert(format!("{} {token} {owner}", self.name(entity)), "holder".into());
        }
        rows
    }

    fn supply(&self) -> Rows {
        let rows = all::<t::Supply>(self.view).into_iter().filter(|(_, total)| total.0 > 0);
        rows.map(|((token, entity), total)| (format!("{} {token}", self.name(entity)), total.to_string()))
            .collect()
    }

    fn tokens(&self) -> Rows {
        let mut rows = Rows::new();
        for (id, record) in all::<t::Tokens>(self.view) {
            if let (Some(metadata), Some(layer)) = (record.metadata, record.layer) {
                rows.insert(id.to_string(), known(&metadata, layer, record.announced_as));
            }
        }
        for (id, record) in all::<t::Announcements>(self.view) {
            rows.insert(format!("{id} announced"), format!("{} {}", record.txid, at(record.place)));
        }
        rows
    }

    fn counters(&self) -> Rows {
        let mut counters: BTreeMap<&str, u64> = BTreeMap::new();
        for (number, count) in all::<t::Counters>(self.view) {
            // The table has a row more, for the numbers of notices.
            let counter = Counter::ALL.into_iter().find(|counter| *counter as u8 == number);
            let Some(counter) = counter else { continue };
            let name = match counter {
                Counter::MalformedToken => "malformed_token",
                Counter::MalformedWithdrawal => "malformed_withdrawal",
                Counter::RepeatedToken | Counter::SecondTokenOfTransaction => "token_without_effect",
                Counter::ForeignWithdrawal => "foreign_withdrawal",
                Counter::MalformedManifest => "malformed_manifest",
                Counter::WrongNetwork => "wrong_network",
                Counter::UnknownEntity => "unknown_entity",
                Counter::BadSignature => "bad_signature",
                Counter::UnwantedChunk => "unwanted_chunk",
                _ => "legacy",
            };
            *counters.entry(name).or_default() += count;
        }
        counters.into_iter().map(|(name, count)| (name.into(), count.to_string())).collect()
    }
}

pub fn at(place: Place) -> String {
    format!("{}/{}/{}/{}", place.height, place.tx, place.index, place.sub)
}

pub fn at_of(at: At) -> String {
    format!("{}/{}/{}/{}", at.height, at.tx, at.index, at.sub)
}

fn known(metadata: &TokenMetadata, layer: Layer, announced: Option<TokenId>) -> String {
    format!("{metadata:?} {layer:?} announced as {announced:?}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn entities(oracle: &Oracle) -> impl Iterator<Item = (usize, PubKey)> + '_ {
    (0..oracle.config.entities.len()).map(|entity| (entity, oracle.config.id(entity)))
}

fn tip(oracle: &Oracle) -> Rows {
    let tip = oracle.blocks.last();
    tip.map(|tip| (oracle.tip().to_string(), format!("{} {}", tip.hash, hex(&tip.state_hash))))
        .into_iter()
        .collect()
}

fn blocks(oracle: &Oracle) -> Rows {
    let blocks = (oracle.config.start..).zip(&oracle.blocks);
    blocks.map(|(height, block)| (height.to_string(), format!("{}\n{}", block.hash, block.events))).collect()
}

fn snapshots(oracle: &Oracle) -> Rows {
    let mut rows = Rows::new();
    for accepted in &oracle.accepted {
        let state = match accepted.state {
            State::Pending => "pending".into(),
            State::Active => "active".into(),
            State::Replaced => "replaced".into(),
            State::Failed(reason) => format!("failed {reason}"),
            State::Superseded => "superseded".into(),
        };
        let fate = format!("{state} decided {:?} resurrected {:?}", accepted.decided, accepted.resurrected);
        let manifest = &accepted.manifest;
        let said = (manifest.sequence, manifest.count, manifest.root, manifest.anchor_height);
        let name = oracle.config.id(accepted.entity);
        let row = format!("{name} {} {} {said:?} {fate}", at_of(accepted.at), accepted.inscription);
        rows.insert(accepted.id.to_string(), row);
    }
    rows
}

fn active(oracle: &Oracle) -> Rows {
    let active = |(entity, name): (usize, PubKey)| {
        let active = oracle.active(entity)?;
        let accepted = &oracle.accepted[active.accepted];
        let row = format!("{} {} {}", accepted.id, accepted.manifest.sequence, active.set.len());
        Some((name.to_string(), row))
    };
    entities(oracle).filter_map(active).collect()
}

fn chunks(oracle: &Oracle) -> Rows {
    let mut rows = Rows::new();
    for accepted in oracle.accepted.iter().filter(|accepted| accepted.state == State::Pending) {
        let name = oracle.config.id(accepted.entity);
        rows.insert(format!("{name} {} pending", at_of(accepted.at)), String::new());
        for (index, (hash, taken)) in accepted.manifest.chunks.iter().zip(&accepted.taken).enumerate() {
            let state = if taken.is_some() { "held" } else { "wanted" };
            rows.insert(format!("{} {index} {hash}", accepted.id), state.into());
            if let Some(body) = taken {
                rows.insert(hash.to_string(), format!("{body:02x?}"));
            }
        }
    }
    rows
}

fn evidence(oracle: &Oracle) -> Rows {
    let key = |(entity, sequence, first, second): &(usize, u64, _, _)| {
        format!("{} {sequence} {first} {second}", oracle.config.id(*entity))
    };
    oracle.evidence.iter().map(|evidence| (key(evidence), String::new())).collect()
}

fn ttxos(oracle: &Oracle) -> Rows {
    let mut rows = Rows::new();
    for (entity, name) in entities(oracle) {
        for (outpoint, ttxo) in oracle.ever(entity) {
            let changes = oracle.changes(entity, outpoint);
            let change = |(activation, _): &(&super::rules::Activation, bool)| {
                (at_of(activation.at), oracle.accepted[activation.accepted].manifest.sequence)
            };
            let history: Vec<_> = changes.iter().map(change).collect();
            rows.insert(format!("{name} {outpoint}"), format!("{ttxo:?} {history:?}"));
        }
    }
    rows
}

fn declared(oracle: &Oracle) -> Rows {
    let mut rows = Rows::new();
    for (entity, name) in entities(oracle) {
        for (outpoint, ttxo) in oracle.declared(entity) {
            rows.insert(format!("{name} {outpoint}"), hex(&leaf(&ttxo)));
        }
    }
    rows
}

fn exits(oracle: &Oracle) -> Rows {
    let mut rows = Rows::new();
    for (a, announcement) in oracle.announcements.iter().enumerate() {
        for (r, record) in announcement.records.iter().enumerate() {
            let (judged, reinstated) = match record.verdict {
                Verdict::Unresolved => (None, None),
                Verdict::Invalid { judged, .. } => (Some(judged), None),
                Verdict::Valid { judged, reinstated } => (Some(judged), reinstated),
            };
            let valid = matches!(record.verdict, Verdict::Valid { .. } | Verdict::Unresolved);
            let spend = oracle.spend_of(a, r).filter(|_| valid && record.verdict != Verdict::Unresolved);
            let row = format!(
                "{} {} vout {} {} {} judged {judged:?} reinstated {reinstated:?} spend {:?}",
                oracle.config.id(announcement.entity),
                record.ttxo,
                record.vout,
                at_of(announcement.at),
                oracle.exit_state(a, r, oracle.tip()),
                spend.map(|spend| (spend.txid, spend.input, spend.height, spend.path)),
            );
            rows.insert(oracle.exit_name(a, r), row);
        }
    }
    for (entity, name) in entities(oracle) {
        for outpoint in oracle.ever(entity).into_keys() {
            if let Some((a, r)) = oracle.standing(entity, outpoint) {
                rows.insert(format!("{name} {outpoint} stands"), oracle.exit_name(a, r));
            }
        }
    }
    rows
}

/// Outputs of exits that are valid or unresolved, as long as they are unspent.
fn watched(oracle: &Oracle) -> Rows {
    let mut rows = Rows::new();
    for (a, announcement) in oracle.announcements.iter().enumerate() {
        for (r, record) in announcement.records.iter().enumerate() {
            let invalid = matches!(record.verdict, Verdict::Invalid { .. });
            if !invalid && record.bond.is_some() && oracle.spend_of(a, r).is_none() {
                rows.insert(format!("{}:{}", announcement.txid, record.vout), String::new());
            }
        }
    }
    rows
}

fn balances(oracle: &Oracle) -> Rows {
    let mut rows = Rows::new();
    for ((name, owner, token), sums) in oracle.balances() {
        rows.insert(format!("{name} {owner} {token}"), format!("{sums:?}"));
        rows.insert(format!("{name} {token} {owner}"), "holder".into());
    }
    rows
}

fn supply(oracle: &Oracle) -> Rows {
    let supply = oracle.supply().into_iter();
    supply.map(|((name, token), total)| (format!("{name} {token}"), total.to_string())).collect()
}

/// Every identifier that an announcement gives its metadata: one for L1 and one for every key of every
/// entity.
fn identifiers<'a>(
    oracle: &'a Oracle,
    announced: &'a Announced,
) -> impl Iterator<Item = (TokenId, Layer)> + 'a {
    let keys = oracle.config.entities.iter().flatten().map(|(key, _)| Layer::Spark(*key));
    let network = oracle.config.network;
    keys.chain([Layer::L1]).map(move |layer| (announced.metadata.identifier(network, layer), layer))
}

/// Metadata comes from announcements that count and from activated snapshots.
pub fn metadata(oracle: &Oracle) -> BTreeMap<TokenId, (TokenMetadata, Layer)> {
    let mut metadata = BTreeMap::new();
    for announced in &oracle.announced {
        for (id, layer) in identifiers(oracle, announced) {
            metadata.insert(id, (announced.metadata.clone(), layer));
        }
    }
    for token in oracle.activations.iter().flat_map(|activation| &activation.tokens) {
        if let ChunkToken::Full { id, metadata: given, layer } = token {
            metadata.insert(*id, (given.clone(), *layer));
        }
    }
    metadata
}

fn tokens(oracle: &Oracle) -> Rows {
    let mut announced: BTreeMap<TokenId, TokenId> = BTreeMap::new();
    let mut rows = Rows::new();
    for announcement in &oracle.announced {
        let l1 = oracle.l1_id(&announcement.metadata);
        announced.extend(identifiers(oracle, announcement).map(|(id, _)| (id, l1)));
        rows.insert(format!("{l1} announced"), format!("{} {}", announcement.txid, at_of(announcement.at)));
    }
    for (id, (metadata, layer)) in metadata(oracle) {
        rows.insert(id.to_string(), known(&metadata, layer, announced.get(&id).copied()));
    }
    rows
}

fn counters(oracle: &Oracle) -> Rows {
    oracle.counters.iter().map(|(name, count)| (name.to_string(), count.to_string())).collect()
}

/// Whether two states hold the same rows in every table; otherwise the name of one that differs.
pub fn same_rows(one: &impl View, other: &impl View) -> Result<(), &'static str> {
    struct Tables<'a, A, B>(&'a A, &'a B);
    impl<A: View, B: View> TableVisitor for Tables<'_, A, B> {
        type Error = &'static str;

        fn table<T: Table>(&mut self) -> Result<(), Self::Error> {
            if all::<T>(self.0) == all::<T>(self.1) { Ok(()) } else { Err(T::NAME) }
        }
    }
    btkn_indexer::ledger::tables::visit_tables(&mut Tables(one, other))
}
