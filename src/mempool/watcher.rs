//! Asks the node, looks at what is new, publishes what matters.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bitcoin::{OutPoint, Txid};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::look::{self, Scope};
use super::seen::Seen;
use super::{Contents, MAX_ITEMS, Published, State, Unconfirmed};
use crate::chain::{NodeMempool, SourceError};
use crate::ledger::keys::{BlockKey, KeyPart, Only, Place};
use crate::ledger::records::{TipRecord, exit_id};
use crate::ledger::tables::{BlockHeights, Exits, Tip, Withdrawals};
use crate::ledger::{ReadError, View};
use crate::scan::WatchSet;
use crate::scan::messages::TxMessages;
use crate::stop::Stop;
use crate::store::Store;
use crate::sync::status::SyncStatus;

/// The shortest time between two questions, unless a block comes.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// The share of its time that the node is to spend on answers.
const SHARE: u32 = 20;

/// The time after a question that the node did not answer.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Transactions that are looked at between two requests to stop.
const AT_ONCE: usize = 64;

/// Transactions that are looked at between two publications, so that a full mempool shows step by step.
const STEP: usize = 512;

/// More blocks than this since the last time, and everything is looked at again.
const FEW_BLOCKS: u32 = 100;

/// Why a look at the mempool ended before its time.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Node(#[from] SourceError),
    #[error(transparent)]
    Store(#[from] ReadError),
    #[error("the process is asked to stop")]
    Stopped,
}

/// Looks at the mempool of a node.
pub struct Watcher {
    node: NodeMempool,
    store: Arc<Store>,
    stop: Stop,
    published: watch::Sender<Arc<Contents>>,
    contents: Contents,
    seen: Seen,
    /// Outputs that kept announcements name.
    named: WatchSet,
    /// Exits and spends that are kept.
    items: usize,
    /// Outputs whose spends may have been looked at before it was known that they matter.
    unasked: Vec<OutPoint>,
    /// The last applied block when the mempool was last looked at.
    tip: Option<TipRecord>,
}

impl Watcher {
    /// Prepares to watch for a store that is brought up to date from the same node, until a stop is requested.
    pub fn new(node: NodeMempool, store: Arc<Store>, stop: Stop) -> (Self, Published) {
        let contents = Contents::new(State::Waiting);
        let (published, receiver) = watch::channel(Arc::new(contents.clone()));
        let watcher = Watcher {
            node,
            store,
            stop,
            published,
            contents,
            seen: Seen::default(),
            named: WatchSet::new(),
            items: 0,
            unasked: Vec::new(),
            tip: None,
        };
        (watcher, receiver)
    }

    /// Brings what is published up to date; false if that did not work.
    pub fn look(&mut self) -> bool {
        let problem = match self.try_look() {
            Ok(()) => None,
            Err(Problem::Stopped) => return true,
            Err(problem) => Some(problem.to_string()),
        };
        if let Some(problem) = &problem {
            // Whoever synchronises from the node says it aloud.
            tracing::debug!("mempool: {problem}");
        }
        let ok = problem.is_none();
        self.publish(problem.map_or(State::Watched, State::Failing));
        ok
    }

    fn publish(&mut self, state: State) {
        self.contents.state = state;
        self.published.send_replace(Arc::new(self.contents.clone()));
    }

    fn try_look(&mut self) -> Result<(), Problem> {
        let listed = self.node.txids()?;
        let store = Arc::clone(&self.store);
        let view = store.view();
        let Some(tip) = view.get::<Tip>(&Only)? else { return Ok(()) };
        let scope = Scope { entities: &store.rules().entities, next: tip.height.next() };
        if self.contents.is_full && self.items < MAX_ITEMS / 2 {
            self.seen.clear();
            self.contents.is_full = false;
        }
        let named = self.outputs_named_since(&view, &tip)?;
        self.unasked.extend(named);
        let unseen = self.seen.unseen(&listed);
        self.forget(&listed);
        for txids in unseen.chunks(STEP) {
            self.look_at(txids, &view, scope)?;
            if self.contents.revision != self.published.borrow().revision {
                self.publish(State::Watched);
            }
        }
        while !self.unasked.is_empty() {
            let asked = self.unasked.len();
            let spenders = self.node.spenders(&self.unasked)?;
            self.look_at(&spenders, &view, scope)?;
            self.unasked.drain(..asked);
        }
        self.tip = Some(tip);
        Ok(())
    }

    /// Drops what is not in the mempool any more.
    fn forget(&mut self, listed: &[Txid]) {
        let contents = &mut self.contents;
        contents.transactions = listed.len();
        contents.checked = Some(now().as_secs());
        let before = contents.kept.len();
        let still: BTreeSet<&Txid> = listed.iter().filter(|txid| contents.kept.contains_key(*txid)).collect();
        contents.kept.retain(|txid, _| still.contains(txid));
        if contents.kept.len() != before {
            contents.revision = revision();
            let kept = contents.kept.values().map(|kept| &kept.messages);
            self.items = kept.clone().map(look::items).sum();
            self.named = kept.flat_map(TxMessages::named_outpoints).collect();
        }
    }

    /// Looks at transactions and keeps those that matter.
    fn look_at<V: View>(&mut self, txids: &[Txid], view: &V, scope: Scope<'_>) -> Result<(), Problem> {
        for txids in txids.chunks(AT_ONCE) {
            if self.stop.requested() {
                return Err(Problem::Stopped);
            }
            for (&txid, tx) in txids.iter().zip(self.node.transactions(txids)?) {
                // It has left, and is not listed next time.
                let Some(tx) = tx else { continue };
                self.seen.insert(txid);
                if let Some(messages) = look::look(&tx, txid, view, &self.named, scope)? {
                    self.keep(txid, messages);
                }
            }
        }
        Ok(())
    }

    /// Keeps a transaction if there is room.
    fn keep(&mut self, txid: Txid, messages: TxMessages) {
        let before = self.contents.kept.get(&txid);
        if before.is_some_and(|kept| kept.messages == messages) {
            return;
        }
        let items =
            self.items - before.map_or(0, |kept| look::items(&kept.messages)) + look::items(&messages);
        if items > MAX_ITEMS {
            self.contents.is_full = true;
            return;
        }
        if before.is_none() {
            self.named.extend(messages.named_outpoints());
            self.unasked.extend(messages.named_outpoints());
        }
        let first_seen = before.map_or_else(|| now().as_secs(), |kept| kept.first_seen);
        self.items = items;
        self.contents.revision = revision();
        self.contents.kept.insert(txid, Arc::new(Unconfirmed { messages, first_seen }));
    }

    /// The outputs that blocks since the last look name. Where those are many, or took the place of others,
    /// everything is to be looked at again instead.
    fn outputs_named_since<V: View>(&mut self, view: &V, tip: &TipRecord) -> Result<Vec<OutPoint>, Problem> {
        let Some(last) = self.tip else { return Ok(Vec::new()) };
        let blocks = tip.height.0.checked_sub(last.height.0);
        let stands = view.get::<BlockHeights>(&BlockKey::from(last.hash))? == Some(last.height);
        if !stands || blocks.is_none_or(|blocks| blocks > FEW_BLOCKS) {
            self.seen.clear();
            return Ok(Vec::new());
        }
        let mut outputs = Vec::new();
        let first = Place::envelope(last.height.next(), 0, 0, 0);
        for row in view.scan::<Withdrawals>(&first, &Place::HIGHEST) {
            let (place, withdrawal) = row?;
            for record in 0..withdrawal.records {
                let exit = view.expect::<Exits>(&exit_id(&withdrawal, place, record))?;
                outputs.push(OutPoint { txid: withdrawal.txid, vout: exit.bitcoin_vout.into() });
            }
        }
        Ok(outputs)
    }
}

/// Unix time.
fn now() -> Duration {
    // A clock before 1970 is no reason to stop.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A number that no earlier content had.
fn revision() -> u64 {
    u64::try_from(now().as_micros()).unwrap_or(u64::MAX)
}

/// Looks at the mempool while blocks are up to date: at once after each block, and about once a second.
/// Ends when whoever synchronises does.
pub async fn watch(mut watcher: Watcher, mut progress: watch::Receiver<SyncStatus>) {
    let mut known = None;
    let mut pause = PAUSE;
    loop {
        let news = |status: &SyncStatus| status.synced() && status.source_tip != known;
        if let Ok(Err(_)) = timeout(pause, progress.wait_for(news)).await {
            return;
        }
        match progress.wait_for(SyncStatus::synced).await {
            Ok(status) => known = status.source_tip,
            Err(_) => return,
        }
        let start = Instant::now();
        let looked = spawn_blocking(move || {
            let ok = watcher.look();
            (watcher, ok)
        });
        // Only a panic ends it otherwise, and that is in the log.
        let Ok((back, ok)) = looked.await else { return };
        watcher = back;
        pause = if ok { (start.elapsed() * SHARE).clamp(PAUSE, MAX_PAUSE) } else { AFTER_FAILURE };
    }
}
