//! `/v1/owners/{owner}/activity`

use std::cmp::Reverse;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::app::App;
use crate::api::cursor::List;
use crate::api::error::ApiError;
use crate::api::names::{self, ExitStateName};
use crate::api::page::{Page, table_page};
use crate::api::parse;
use crate::api::query::{Ask, PageRequest, Params};
use crate::api::reader::Reader;
use crate::api::schemas;
use crate::api::types::{Answer, BlockPlace, EntityName, Owner, TokenName};
use crate::ledger::activity::{Activity, ExitStep, Flow};
use crate::ledger::keys::KeyPart;
use crate::ledger::reasons::ExitReason;
use crate::ledger::tables::Activities;
use crate::ledger::view::{ReadError, View};
use crate::protocol::{Amount, Height, OwnerKey};

/// What happened to the TTXOs of an owner.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ActivityList {
    /// Which owner.
    #[serde(flatten)]
    pub owner: Owner,
    /// The newest block first; within a block, snapshots before exits.
    pub activity: Vec<ActivityRow>,
    /// Continues the list; `null` at its end.
    pub next_cursor: Option<String>,
}

/// Something that happened: either `snapshot` or `exit` is there, the other is `null`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ActivityRow {
    /// Its block.
    #[serde(flatten)]
    pub block: BlockPlace,
    /// The token.
    #[serde(flatten)]
    #[schema(value_type = TokenName)]
    pub token: Arc<TokenName>,
    /// A snapshot activated that declared or dropped some.
    pub snapshot: Option<SnapshotActivity>,
    /// An exit of one went a step further.
    pub exit: Option<ExitActivity>,
}

/// What a snapshot did to the TTXOs of an owner and a token.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SnapshotActivity {
    /// The entity.
    #[serde(flatten)]
    pub entity: EntityName,
    /// Sequence of the snapshot.
    pub snapshot_sequence: u64,
    /// What it declared.
    pub declared: FlowRow,
    /// What it dropped.
    pub dropped: FlowRow,
}

/// TTXOs that went the same way.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FlowRow {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub amount: Amount,
}

/// A step in the life of an exit.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExitActivity {
    /// `<txid>:<announcing_vout>:<record>`
    pub exit_id: String,
    /// What happened.
    pub step: ExitStepName,
    /// Where it stood then; `null` for a reinstatement, which leaves the state as it is.
    pub state: Option<ExitStateName>,
    /// Why it is invalid.
    pub reason: Option<ExitReason>,
    /// Sequence of the snapshot that made its TTXO live again.
    pub reinstated_by: Option<u64>,
}

/// A step in the life of an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExitStepName {
    /// It was judged.
    Judged,
    /// The owner may claim from now on.
    Matured,
    /// Its bond was spent.
    Spent,
    /// A snapshot made its TTXO live again.
    Reinstated,
}

/// Activity of an owner
///
/// What snapshots declared and dropped, and each step of exits; the newest block first.
#[utoipa::path(
    get,
    path = "/v1/owners/{owner}/activity",
    tag = "owners",
    params(
        ("owner" = schemas::OwnerParam, Path, description = "Public key or Spark address"),
        PageRequest,
        Ask,
    ),
    responses((status = 200, description = "A page of the list", body = Answer<ActivityList>)),
    extensions(
        ("x-errors" = json!(["bad_owner"])),
        ("x-example" = json!(
            "/v1/owners/0356bfba743a7a6e85cabdcf9d7e88d10010ed9a22aa01c78061d8fdcfdf874ce8/activity?limit=3"
        )),
    ),
)]
pub async fn activity(
    State(app): State<App>,
    Path(owner): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let (owner, page) = (parse::owner(&app, &owner)?, params.page()?);
    app.state(params.finish()?, move |reader| reader.activity(owner, &page)).await
}

impl<V: View> Reader<'_, V> {
    fn activity(&self, owner: OwnerKey, page: &PageRequest) -> Result<ActivityList, ApiError> {
        let range = (&(owner, Reverse::LOWEST, u32::LOWEST), &(owner, Reverse::HIGHEST, u32::HIGHEST));
        let Page { rows, next_cursor } =
            table_page::<Activities>(&self.view, &self.tip, List::Activities, range, page)?;
        let rows =
            rows.into_iter().map(|((_, Reverse(height), _), activity)| self.activity_row(height, activity));
        let activity = rows.collect::<Result<_, _>>()?;
        Ok(ActivityList { owner: self.owner(owner), activity, next_cursor })
    }

    fn activity_row(&self, height: Height, activity: Activity) -> Result<ActivityRow, ReadError> {
        let block = self.block(height)?;
        Ok(match activity {
            Activity::Snapshot { entity, sequence, token, declared, dropped } => {
                let entity = self.entity(entity)?;
                let (declared, dropped) = (flow(declared), flow(dropped));
                let snapshot = SnapshotActivity { entity, snapshot_sequence: sequence, declared, dropped };
                ActivityRow { block, token: self.token(token)?, snapshot: Some(snapshot), exit: None }
            }
            Activity::Exit { exit, token, step } => {
                let exit = exit_activity(exit.to_string(), step);
                ActivityRow { block, token: self.token(token)?, snapshot: None, exit: Some(exit) }
            }
        })
    }
}

fn flow(flow: Flow) -> FlowRow {
    FlowRow { count: flow.count, amount: flow.amount }
}

fn exit_activity(exit_id: String, step: ExitStep) -> ExitActivity {
    let (step, state, reinstated_by) = match step {
        ExitStep::Judged(state) => (ExitStepName::Judged, Some(names::exit_state(state)), None),
        ExitStep::Matured => (ExitStepName::Matured, Some((ExitStateName::Matured, None)), None),
        ExitStep::Spent(state) => (ExitStepName::Spent, Some(names::exit_state(state)), None),
        ExitStep::Reinstated(sequence) => (ExitStepName::Reinstated, None, Some(sequence)),
    };
    let (state, reason) = state.unzip();
    ExitActivity { exit_id, step, state, reason: reason.flatten(), reinstated_by }
}
