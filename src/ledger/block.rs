//! One block: its transactions in order, then its maturities, then its state hash.

use std::collections::BTreeMap;

use bitcoin::{BlockHash, Txid};

use super::entities::Entities;
use super::events::{self, Event};
use super::keys::{BlockKey, EntityIndex, L1OutPoint, Only};
use super::records::{BlockRecord, Counter, Notice, TipRecord};
use super::tables::{BlockHeights, Blocks, ChangeSet, Counters, Notices, Tip};
use super::view::{Overlay, ReadError, View};
use crate::protocol::envelope::EnvelopeKind;
use crate::protocol::{Height, Network, PubKey, StateHash};
use crate::scan::messages::{BlockMessages, OutputContent, TxMessages};

/// What indexers must agree on to be comparable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The network.
    pub network: Network,
    /// The first block that is applied.
    pub start_height: Height,
    /// The followed entities.
    pub entities: Entities,
}

/// Why a block could not be applied. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Its parent is not the last applied block: the chain was reorganised, or blocks were skipped.
    #[error("block {block} does not follow the last applied block")]
    NotNext {
        /// The block.
        block: BlockHash,
    },
    /// The state could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What a block did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Every row that it changed.
    pub changes: ChangeSet,
    /// The new tip.
    pub tip: TipRecord,
    /// What happened, in the order that the state hash commits to.
    pub events: Vec<Event>,
}

/// Applies the block after the tip of `view`, or the block at the start height to an empty state.
pub fn apply_block<V: View>(view: V, rules: &Rules, messages: &BlockMessages) -> Result<Applied, ApplyError> {
    let (height, previous) = match view.get::<Tip>(&Only)? {
        Some(tip) if tip.hash == messages.prev_hash => (tip.height.next(), tip.state_hash),
        Some(_) => return Err(ApplyError::NotNext { block: messages.hash }),
        None => (rules.start_height, StateHash::MIN),
    };
    let (state, events, taken) = (Overlay::new(view), Vec::new(), BTreeMap::new());
    let mut block = Block { state, rules, height, events, taken };
    for tx in &messages.txs {
        block.transaction(tx)?;
    }
    block.mature_exits()?;
    let tip = block.finish(messages, previous)?;
    block.index_changes()?;
    Ok(Applied { changes: block.state.into_changes(), tip, events: block.events })
}

/// A block while it is applied.
pub(super) struct Block<'r, V> {
    pub state: Overlay<V>,
    pub rules: &'r Rules,
    pub height: Height,
    pub events: Vec<Event>,
    /// Outputs that judgements of this block asked about: whether a valid exit of the entity names them.
    pub taken: BTreeMap<(EntityIndex, L1OutPoint), bool>,
}

impl<V: View> Block<'_, V> {
    fn transaction(&mut self, tx: &TxMessages) -> Result<(), ReadError> {
        for spend in &tx.spends {
            self.bond_spent(tx.txid, spend)?;
        }
        for envelope in &tx.envelopes {
            match envelope.kind {
                EnvelopeKind::Manifest => self.manifest(tx, envelope)?,
                EnvelopeKind::Chunk => self.chunk(tx, envelope)?,
            }
        }
        let mut token_seen = false;
        for output in &tx.outputs {
            match &output.content {
                OutputContent::Token(announcement) => {
                    self.token_announced(tx, output.vout, announcement, token_seen)?;
                    token_seen = true;
                }
                OutputContent::Withdrawal { announcement, bonds } => {
                    self.withdrawal_announced(tx, output.vout, announcement, bonds)?;
                }
                OutputContent::Legacy(kind) => {
                    if let Some(counter) = Counter::legacy(*kind) {
                        self.count(counter)?;
                    }
                }
                OutputContent::Malformed { kind, reason } => {
                    self.count((*kind).into())?;
                    self.notice(tx.txid, output.vout, reason.clone())?;
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, messages: &BlockMessages, previous: StateHash) -> Result<TipRecord, ReadError> {
        let lines = events::lines(&self.events);
        let state_hash = events::state_hash(previous, messages.hash, &lines);
        let (hash, time, height) = (messages.hash, messages.time, self.height);
        let tip = TipRecord { height, hash, time, state_hash };
        self.state.put::<Blocks>(height, BlockRecord { hash, time, state_hash, events: lines })?;
        self.state.put::<BlockHeights>(BlockKey::from(hash), height)?;
        self.state.put::<Tip>(Only, tip)?;
        Ok(tip)
    }

    pub fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    pub fn count(&mut self, counter: Counter) -> Result<(), ReadError> {
        let key = counter as u8;
        let count = self.state.get::<Counters>(&key)?.unwrap_or(0);
        self.state.put::<Counters>(key, count.saturating_add(1))
    }

    /// Keeps a malformed or repeated message in the bounded list that people can query.
    pub fn notice(&mut self, txid: Txid, vout: u32, reason: String) -> Result<(), ReadError> {
        let number = self.state.get::<Counters>(&NOTICES)?.unwrap_or(0);
        self.state.put::<Counters>(NOTICES, number.saturating_add(1))?;
        let slot = u16::try_from(number % u64::from(Notice::KEPT)).expect("below a u16");
        self.state.put::<Notices>(slot, Notice { number, height: self.height, txid, vout, reason })
    }

    /// The id of an entity, for events.
    pub fn entity_id(&self, entity: EntityIndex) -> Result<PubKey, ReadError> {
        let unknown =
            || ReadError { table: "active", reason: format!("entity {} is not configured", entity.0) };
        self.rules.entities.get(entity).map(|entity| entity.id()).ok_or_else(unknown)
    }
}

/// The counter that numbers notices; no [`Counter`] has this number.
const NOTICES: u8 = 255;
