//! What the feed tells, as answers show it: event lines taken apart into named fields.

use bitcoin::{BlockHash, Txid};
use serde::Serialize;
use utoipa::ToSchema;

use super::walk::{Item, Numbered, What};
use crate::api::names::{self, EventKind, ExitStateName, FeedItemType};
use crate::api::schemas;
use crate::ledger::Entities;
use crate::ledger::events::Event;
use crate::ledger::keys::ExitId;
use crate::protocol::{Height, ManifestId, NodeHash, PubKey, SparkOutPoint, TokenId};

/// Something that whoever follows the feed has to take note of.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FeedItem {
    /// What to store once the item is taken note of, and to go on from.
    pub cursor: String,
    /// Whether it happened, or is no longer so.
    #[serde(rename = "type")]
    pub what: FeedItemType,
    /// Height of its block.
    pub block_height: Height,
    /// Hash of its block.
    #[schema(value_type = schemas::BlockHash)]
    pub block_hash: BlockHash,
    /// Header time of its block, Unix seconds.
    pub block_time: u32,
    /// Of type `event`, the one event that happened. Of type `rollback`, events of the block that come before
    /// the place that was asked for and are no longer so, the last one first.
    pub events: Vec<EventRow>,
}

/// An event of a block. A field that its kind does not have is `null`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventRow {
    /// Its number in the block, from 0.
    pub index: u32,
    /// What happened.
    pub kind: EventKind,
    /// The line that the state hash commits to.
    pub line: String,
    /// The token that was announced, on L1.
    pub token_id: Option<TokenId>,
    /// Id of the entity.
    pub entity: Option<PubKey>,
    /// What this server calls it.
    pub entity_name: Option<String>,
    /// Sequence of the snapshot.
    pub sequence: Option<u64>,
    /// The manifest; of an equivocation, the one that was accepted first.
    pub manifest_id: Option<ManifestId>,
    /// The other manifest of an equivocation.
    pub second_manifest_id: Option<ManifestId>,
    /// The inscription of the manifest or chunk.
    pub inscription_id: Option<String>,
    /// Index of the chunk in the manifest.
    pub chunk_index: Option<u16>,
    /// Number of TTXOs in the set.
    pub count: Option<u64>,
    /// Root of the set.
    pub root: Option<NodeHash>,
    /// TTXOs that the snapshot declares although a standing exit had taken them off Spark by its anchor.
    pub resurrected: Option<u64>,
    /// The exit: `<txid>:<announcing output>:<record>`.
    pub exit_id: Option<String>,
    /// The TTXO that the exit names.
    pub ttxo: Option<SparkOutPoint>,
    /// State of the exit; of a spent one, the state that this gave it.
    pub state: Option<ExitStateName>,
    /// Why it was rejected, failed or is invalid.
    pub reason: Option<&'static str>,
    /// The transaction of the announcement of a token or exit.
    #[schema(value_type = Option<schemas::Txid>)]
    pub txid: Option<Txid>,
    /// The output that announces the token, or that carries the bond of the exit.
    pub vout: Option<u32>,
    /// The transaction that spent the bond.
    #[schema(value_type = Option<schemas::Txid>)]
    pub spending_txid: Option<Txid>,
    /// Its input.
    pub spending_vin: Option<u32>,
}

impl FeedItem {
    /// An item as it is answered.
    pub fn new(item: Item, entities: &Entities) -> FeedItem {
        let Item { position, height, block, time, what } = item;
        let (what, events) = match what {
            What::Event(event) => (FeedItemType::Event, vec![event]),
            What::Rollback(events) => (FeedItemType::Rollback, events),
        };
        FeedItem {
            cursor: position.to_string(),
            what,
            block_height: height,
            block_hash: block,
            block_time: time,
            events: events.into_iter().map(|event| EventRow::new(&event, entities)).collect(),
        }
    }
}

impl EventRow {
    /// An event as it is answered.
    pub fn new(numbered: &Numbered, entities: &Entities) -> EventRow {
        let event = &numbered.event;
        let mut row = EventRow::bare(numbered.index, kind(event), event.to_string());
        match event {
            Event::Token { token, txid, vout } => {
                (row.token_id, row.txid, row.vout) = (Some(*token), Some(*txid), Some(*vout));
            }
            Event::Manifest { entity, sequence, id, inscription } => {
                row.snapshot(entities, *entity, Some(*sequence), *id);
                row.inscription_id = Some(inscription.to_string());
            }
            Event::ManifestRejected { entity, id, inscription, reason } => {
                row.snapshot(entities, *entity, None, *id);
                row.inscription_id = Some(inscription.to_string());
                row.reason = Some(reason.as_str());
            }
            Event::Equivocation { entity, sequence, first, second } => {
                row.snapshot(entities, *entity, Some(*sequence), *first);
                row.second_manifest_id = Some(*second);
            }
            Event::Chunk { manifest, index, inscription } => {
                (row.manifest_id, row.chunk_index) = (Some(*manifest), Some(*index));
                row.inscription_id = Some(inscription.to_string());
            }
            Event::Snapshot { entity, sequence, id, count, root, resurrected } => {
                row.snapshot(entities, *entity, Some(*sequence), *id);
                (row.count, row.root, row.resurrected) = (Some(*count), Some(*root), Some(*resurrected));
            }
            Event::SnapshotFailed { entity, sequence, id, reason } => {
                row.snapshot(entities, *entity, Some(*sequence), *id);
                row.reason = Some(reason.as_str());
            }
            Event::SnapshotSuperseded { entity, sequence, id } => {
                row.snapshot(entities, *entity, Some(*sequence), *id);
            }
            Event::Exit { exit, bitcoin_vout, ttxo, state } => {
                row.exit(*exit, Some(*ttxo));
                row.vout = Some((*bitcoin_vout).into());
                let (state, reason) = names::exit_state(*state);
                (row.state, row.reason) = (Some(state), reason.map(|reason| reason.as_str()));
            }
            Event::ExitReinstated { exit, ttxo } => row.exit(*exit, Some(*ttxo)),
            Event::ExitSpent { exit, spend } => {
                row.exit(*exit, None);
                row.state = Some(names::exit_state(spend.state()).0);
                (row.spending_txid, row.spending_vin) = (Some(spend.txid), Some(spend.input));
            }
            Event::ExitMatured { exit } => row.exit(*exit, None),
        }
        row
    }

    fn bare(index: u32, kind: EventKind, line: String) -> EventRow {
        EventRow {
            index,
            kind,
            line,
            token_id: None,
            entity: None,
            entity_name: None,
            sequence: None,
            manifest_id: None,
            second_manifest_id: None,
            inscription_id: None,
            chunk_index: None,
            count: None,
            root: None,
            resurrected: None,
            exit_id: None,
            ttxo: None,
            state: None,
            reason: None,
            txid: None,
            vout: None,
            spending_txid: None,
            spending_vin: None,
        }
    }

    fn snapshot(&mut self, entities: &Entities, entity: PubKey, sequence: Option<u64>, manifest: ManifestId) {
        let followed = entities.iter().find(|(_, followed)| followed.id() == entity);
        self.entity = Some(entity);
        self.entity_name = followed.map(|(_, followed)| followed.name.clone());
        self.sequence = sequence;
        self.manifest_id = Some(manifest);
    }

    fn exit(&mut self, exit: ExitId, ttxo: Option<SparkOutPoint>) {
        self.exit_id = Some(exit.to_string());
        self.txid = Some(exit.txid.into());
        self.ttxo = ttxo;
    }
}

fn kind(event: &Event) -> EventKind {
    match event {
        Event::Token { .. } => EventKind::Token,
        Event::Manifest { .. } => EventKind::Manifest,
        Event::ManifestRejected { .. } => EventKind::ManifestRejected,
        Event::Equivocation { .. } => EventKind::Equivocation,
        Event::Chunk { .. } => EventKind::Chunk,
        Event::Snapshot { .. } => EventKind::Snapshot,
        Event::SnapshotFailed { .. } => EventKind::SnapshotFailed,
        Event::SnapshotSuperseded { .. } => EventKind::SnapshotSuperseded,
        Event::Exit { .. } => EventKind::Exit,
        Event::ExitReinstated { .. } => EventKind::ExitReinstated,
        Event::ExitSpent { .. } => EventKind::ExitSpent,
        Event::ExitMatured { .. } => EventKind::ExitMatured,
    }
}
