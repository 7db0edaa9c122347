//! `/v1/mempool`, and what is unconfirmed about an exit

use std::cmp::Reverse;

use axum::extract::State;
use axum::response::Response;
use bitcoin::{OutPoint, Txid};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::app::{App, StateReader};
use crate::api::error::ApiError;
use crate::api::names::{self, ExitStateName};
use crate::api::parse;
use crate::api::query::{Ask, LimitRequest, MAX_LIMIT, Params};
use crate::api::reader::Reader;
use crate::api::schemas;
use crate::api::types::{Answer, EntityName, Holding};
use crate::ledger::Rules;
use crate::ledger::reasons::ExitReason;
use crate::ledger::tables::Ttxos;
use crate::ledger::view::{ReadError, View};
use crate::mempool::{self, Contents, Outcome};
use crate::protocol::SparkOutPoint;
use crate::protocol::withdrawal_output::SpendPath;

/// What no block has confirmed, as the node's mempool has it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Unconfirmed {
    /// Whether the mempool is watched.
    pub mempool: MempoolState,
    /// Why it is not, or what the node does not answer.
    pub problem: Option<String>,
    /// When the node was last asked, Unix seconds; `null` before the first time.
    pub checked_time: Option<u64>,
    /// How many transactions it had in its mempool then.
    pub transactions: usize,
    /// Whether everything that matters in it is kept; it is not while somebody floods it.
    pub complete: bool,
    /// Those first that were seen last.
    pub unconfirmed: Vec<UnconfirmedExit>,
    /// Whether there are more than `limit`.
    pub more: bool,
}

/// Whether the mempool of the node is watched: `watched`, `waiting` (blocks come first), `failing` (the node
/// does not answer) or `unavailable` (there is no node to ask).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MempoolState {
    /// It is watched.
    Watched,
    /// Blocks come first.
    Waiting,
    /// The node does not answer.
    Failing,
    /// There is no node to ask.
    Unavailable,
}

/// What a transaction would do to an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnconfirmedKind {
    /// It announces it.
    Announcement,
    /// It spends its bond by the key path: a justice transaction.
    Revocation,
    /// It spends its bond by the script path: the owner's claim.
    Claim,
}

/// An exit that an unconfirmed transaction announces, or whose bond it spends. No part of the state: the
/// transaction may be replaced, dropped or never mined, and a snapshot may come first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UnconfirmedExit {
    /// What the transaction would do.
    pub kind: UnconfirmedKind,
    /// The transaction.
    #[schema(value_type = schemas::Txid)]
    pub txid: Txid,
    /// When it was first seen by this server, Unix seconds.
    pub first_seen_time: u64,
    /// The exit: `<txid>:<announcing_vout>:<record>`.
    pub exit_id: String,
    /// The L1 output that carries its bond: `<txid>:<vout>`.
    #[schema(value_type = schemas::OutPointParam)]
    pub outpoint: OutPoint,
    /// The entity.
    #[serde(flatten)]
    pub entity: EntityName,
    /// The TTXO that it names.
    pub ttxo: SparkOutPoint,
    /// What the TTXO holds; `null` where no activated snapshot has declared it.
    pub holding: Option<Holding>,
    /// Where the exit stands; `null` while its announcement is unconfirmed too.
    pub state: Option<ExitStateName>,
    /// Where it would stand if the next block held this transaction, and unconfirmed ones that it builds on,
    /// and nothing else.
    pub would_be: ExitStateName,
    /// Why it would be invalid.
    pub reason: Option<ExitReason>,
}

/// Unconfirmed exits
///
/// Withdrawal announcements of followed entities, and spends of their bonds, that are in the mempool of the node
/// and in no block. A hint for people who wait: never part of the state, of events or of state hashes, and gone
/// without a trace when the mempool drops them. `as_of` is the block that `would_be` builds on.
#[utoipa::path(
    get,
    path = "/v1/mempool",
    tag = "exits",
    params(
        ("outpoint" = Option<schemas::OutPointParam>, Query, description = "Only exits whose bond is in this L1 output"),
        LimitRequest,
    ),
    responses((status = 200, description = "Newest first", body = Answer<Unconfirmed>)),
    extensions(
        ("x-errors" = json!(["bad_outpoint", "catching_up", "store_error"])),
        ("x-example" = json!("/v1/mempool")),
    ),
)]
pub async fn mempool(State(app): State<App>, mut params: Params) -> Result<Response, ApiError> {
    let LimitRequest { limit } = params.limit()?;
    let outpoint = params.take("outpoint").map(|text| parse::outpoint(&text)).transpose()?;
    params.refuse_rest()?;
    let (contents, store) = (app.mempool(), app.shared_store());
    // Rows are made by the rules of the ledger, which takes longer than reading them.
    let ask = Ask { rows: MAX_LIMIT, ..Ask::default() };
    let read = move |reader: &StateReader<'_>| {
        let mut rows = reader.unconfirmed(store.rules(), &contents, outpoint, limit.saturating_add(1))?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let (mempool, problem) = state(&contents.state);
        Ok::<_, ApiError>(Unconfirmed {
            mempool,
            problem,
            checked_time: contents.checked,
            transactions: contents.transactions,
            complete: !contents.is_full,
            unconfirmed: rows,
            more,
        })
    };
    app.state(ask, read).await
}

fn state(state: &mempool::State) -> (MempoolState, Option<String>) {
    match state {
        mempool::State::Watched => (MempoolState::Watched, None),
        mempool::State::Waiting => (MempoolState::Waiting, None),
        mempool::State::Failing(problem) => (MempoolState::Failing, Some(problem.clone())),
        mempool::State::Unavailable(why) => (MempoolState::Unavailable, Some((*why).to_owned())),
    }
}

impl<V: View> Reader<'_, V> {
    /// At most `limit` rows, of one bond's output or of all, those first that were seen last.
    pub fn unconfirmed(
        &self,
        rules: &Rules,
        contents: &Contents,
        outpoint: Option<OutPoint>,
        limit: usize,
    ) -> Result<Vec<UnconfirmedExit>, ReadError> {
        let wanted = |output: OutPoint| outpoint.is_none_or(|outpoint| outpoint == output);
        let mut kept: Vec<_> = contents.kept.iter().filter(|(_, kept)| kept.outputs().any(wanted)).collect();
        kept.sort_by_key(|(_, kept)| Reverse(kept.first_seen));
        let mut rows = Vec::new();
        for (&txid, kept) in kept {
            for outcome in mempool::preview(&self.view, rules, contents, txid)? {
                let row = self.unconfirmed_row(txid, kept.first_seen, &outcome)?;
                rows.extend(Some(row).filter(|row| wanted(row.outpoint)));
            }
            if rows.len() >= limit {
                break;
            }
        }
        rows.truncate(limit);
        Ok(rows)
    }

    fn unconfirmed_row(
        &self,
        txid: Txid,
        first_seen_time: u64,
        outcome: &Outcome,
    ) -> Result<UnconfirmedExit, ReadError> {
        let Outcome { exit, before, after } = *outcome;
        let ttxo = self.view.get::<Ttxos>(&(after.entity, after.ttxo))?;
        let holding = ttxo.map(|ttxo| -> Result<_, ReadError> {
            let token = self.token(ttxo.token)?;
            Ok(Holding { owner: self.owner(ttxo.owner), token, amount: ttxo.amount })
        });
        let (would_be, reason) = names::exit_state(after.state);
        Ok(UnconfirmedExit {
            kind: match after.spend.filter(|spend| spend.txid == txid).map(|spend| spend.path) {
                None => UnconfirmedKind::Announcement,
                Some(SpendPath::Key) => UnconfirmedKind::Revocation,
                Some(SpendPath::Script) => UnconfirmedKind::Claim,
            },
            txid,
            first_seen_time,
            exit_id: exit.to_string(),
            outpoint: OutPoint { txid: exit.txid.into(), vout: after.bitcoin_vout.into() },
            entity: self.entity(after.entity)?,
            ttxo: after.ttxo,
            holding: holding.transpose()?,
            state: before.map(|state| names::exit_state(state).0),
            would_be,
            reason,
        })
    }
}
