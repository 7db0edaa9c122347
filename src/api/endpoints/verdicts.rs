//! `/v1/exits/{outpoint}/verdict` and `POST /v1/verdicts`

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use axum::response::Response;
use bitcoin::{OutPoint, Txid};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::exits::Exit;
use crate::api::app::App;
use crate::api::body::Body;
use crate::api::error::{ApiError, Code};
use crate::api::names::{self, ExitStateName};
use crate::api::parse;
use crate::api::query::{Ask, Params};
use crate::api::reader::Reader;
use crate::api::schemas;
use crate::api::types::{Answer, EntityName};
use crate::claims::{
    self, Assessment, Claims, DEFAULT_CONFIRMATIONS, Finding, MAX_CONFIRMATIONS, Policy, Reason, Unconfirmed,
    UnconfirmedSpend, Waiting,
};
use crate::ledger::keys::{ExitId, L1OutPoint};
use crate::ledger::reasons::ExitReason;
use crate::ledger::records::ExitRecord;
use crate::ledger::view::{ReadError, View};
use crate::mempool::{self, Contents};
use crate::protocol::SparkOutPoint;

/// Outputs in one request.
const MAX_OUTPOINTS: usize = 1000;

/// Exits that one request may make the server look at. Thousands can name one output.
const MAX_EXITS: usize = 100_000;

/// What a verdict costs, in rows of a list.
const ROWS: usize = 100;

/// May an exit be honoured? The verdict about an L1 output, and every check behind it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct VerdictRow {
    /// The transaction of the output.
    #[schema(value_type = schemas::Txid)]
    pub txid: Txid,
    /// Index of the output.
    pub vout: u32,
    /// `honour`: pay. `wait`: not yet. `refuse`: do not pay.
    pub verdict: claims::Verdict,
    /// The code of the check that decided.
    pub reason: Reason,
    /// The verdict in a sentence for people.
    pub sentence: String,
    /// Whether it stays as it is unless a block with the wanted confirmations leaves the chain.
    pub settled: bool,
    /// Confirmations that were wanted.
    pub confirmations: u32,
    /// What it waits for; empty unless it does.
    pub waits: Vec<Waiting>,
    /// The state of the exit that decided.
    pub state: Option<ExitStateName>,
    /// The exit that decided; `null` if none names the output.
    pub exit: Option<Exit>,
    /// Every check that was made.
    pub checks: Vec<Finding>,
    /// The first 100 other exits that name the output.
    pub other_exits: Vec<OtherExit>,
    /// How many others there are.
    pub other_exits_count: usize,
}

/// An exit that names the same output and did not decide.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OtherExit {
    /// `<txid>:<announcing_vout>:<record>`, as in event lines.
    pub exit_id: String,
    /// The entity.
    #[serde(flatten)]
    pub entity: EntityName,
    /// The TTXO that it names.
    pub ttxo: SparkOutPoint,
    /// Where it stands.
    pub state: ExitStateName,
    /// Why it is invalid.
    pub reason: Option<ExitReason>,
    /// Whether it is valid and no snapshot has reinstated its TTXO.
    pub stands: bool,
}

/// Verdicts, all as of one block.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Verdicts {
    /// One for each output, in the order of the request. An output that no exit names is refused, `no_exit`.
    pub verdicts: Vec<VerdictRow>,
}

/// Which outputs are asked about, and what the issuer wants.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerdictsOf {
    /// The outputs, `<txid>:<vout>`, none twice.
    #[schema(value_type = Vec<schemas::OutPointParam>, min_items = 1, max_items = 1000)]
    outpoints: Vec<String>,
    /// Confirmations that each block which a verdict rests on must have; 6 if left out.
    #[schema(minimum = 1, maximum = 1000)]
    #[serde(default)]
    confirmations: Option<u32>,
    /// Warnings that don't hold a verdict back, by their codes.
    #[serde(default)]
    accept: Vec<String>,
}

/// What the issuer wants.
#[derive(Clone, Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "the document is made from it")]
pub struct Wants {
    /// Confirmations that each block which the verdict rests on must have; 6 if left out.
    #[param(minimum = 1, maximum = 1000)]
    confirmations: Option<u32>,
    /// Codes of warnings that don't hold the verdict back, separated by commas.
    accept: Option<String>,
}

/// May an exit be honoured?
///
/// The question of an issuer to whom somebody presents an exit: honour, wait or refuse, with every check and
/// its inputs. Only an exit that its owner has claimed is honoured; until then it can be revoked.
#[utoipa::path(
    get,
    path = "/v1/exits/{outpoint}/verdict",
    tag = "exits",
    params(("outpoint" = schemas::OutPointParam, Path, description = "`<txid>:<vout>`"), Wants, Ask),
    responses((status = 200, description = "The verdict", body = Answer<VerdictRow>)),
    extensions(
        ("x-errors" = json!(["bad_outpoint", "exit_not_found"])),
        ("x-example" = json!(
            "/v1/exits/308d85c7b4fbe813bd3d35f36179400fde8761c974f2b110ae22dcec6a2ed62f:0/verdict?confirmations=12"
        )),
    ),
)]
pub async fn verdict(
    State(app): State<App>,
    Path(outpoint): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let outpoint = parse::outpoint(&outpoint)?;
    let confirmations = params.take("confirmations").map(|text| {
        let number = parse::number(&text);
        number.ok_or_else(|| wrong_confirmations(&text, Code::BadParameter))
    });
    let accept = params.take("accept");
    let accept = accept.iter().flat_map(|list| list.split(',')).filter(|code| !code.is_empty());
    let policy = policy(confirmations.transpose()?, accept, Code::BadParameter)?;
    let mut ask = Ask { rows: ROWS, ..params.finish()? };
    let mempool = ask.at_the_tip().then(|| Hints::new(&app.mempool(), &[outpoint]));
    // What waits comes and goes between two blocks.
    ask.cacheable &= !mempool.as_ref().is_some_and(Hints::any);
    app.state(ask, move |reader| reader.verdict(outpoint, &policy, mempool.as_ref())).await
}

/// May these exits be honoured?
///
/// Verdicts about up to 1,000 outputs at once, all as of one block.
#[utoipa::path(
    post,
    path = "/v1/verdicts",
    tag = "exits",
    params(Ask),
    request_body = VerdictsOf,
    responses((status = 200, description = "The verdicts", body = Answer<Verdicts>)),
    extensions(
        ("x-errors" = json!(["bad_body", "bad_outpoint", "unsupported_media_type"])),
        ("x-example" = json!("/v1/verdicts")),
        ("x-example-body" = json!({
            "outpoints": [
                "2ce656fdd39bda8fac8fe397ff335833be24a879ed131786908aad0d71dfefb6:0",
                "fbbcb4a751c9c790dd2e623ceb95f850f9509da5bc842ffd263569905d8fce27:0",
            ],
            "confirmations": 12,
        })),
    ),
)]
pub async fn verdict_batch(
    State(app): State<App>,
    params: Params,
    Body(body): Body<VerdictsOf>,
) -> Result<Response, ApiError> {
    let ask = Ask { rows: ROWS * body.outpoints.len(), ..params.finish()? };
    if !(1..=MAX_OUTPOINTS).contains(&body.outpoints.len()) {
        let message = format!("a request is for 1 to {MAX_OUTPOINTS} outputs, not {}", body.outpoints.len());
        return Err(ApiError::new(Code::BadBody, message));
    }
    let policy = policy(body.confirmations, body.accept.iter().map(String::as_str), Code::BadBody)?;
    let mut seen = BTreeSet::new();
    let mut outputs = Vec::with_capacity(body.outpoints.len());
    for (index, text) in body.outpoints.iter().enumerate() {
        let named =
            |error: ApiError| ApiError { message: format!("outpoints[{index}]: {}", error.message), ..error };
        let output = parse::outpoint(text).map_err(named)?;
        if !seen.insert(output) {
            return Err(named(ApiError::new(Code::BadBody, format!("{output} is there twice"))));
        }
        outputs.push(output);
    }
    let mempool = ask.at_the_tip().then(|| Hints::new(&app.mempool(), &outputs));
    app.state(ask, move |reader| reader.verdicts(&outputs, &policy, mempool.as_ref())).await
}

/// What the mempool says about the outputs of a request.
#[derive(Debug)]
struct Hints {
    /// Whether anybody looks.
    watched: bool,
    about: BTreeMap<OutPoint, Unconfirmed>,
}

impl Hints {
    fn new(contents: &Contents, outputs: &[OutPoint]) -> Hints {
        let wanted: BTreeSet<_> = outputs.iter().copied().collect();
        let mut about: BTreeMap<OutPoint, Unconfirmed> = BTreeMap::new();
        for (txid, kept) in &contents.kept {
            for output in kept.messages.named_outpoints().filter(|output| wanted.contains(output)) {
                about.entry(output).or_default().announced = true;
            }
            for spend in kept.messages.spends.iter().filter(|spend| wanted.contains(&spend.outpoint)) {
                let seen = UnconfirmedSpend { txid: (*txid).into(), path: spend.path };
                about.entry(spend.outpoint).or_default().spend = Some(seen);
            }
        }
        Hints { watched: contents.state == mempool::State::Watched, about }
    }

    fn any(&self) -> bool {
        !self.about.is_empty()
    }

    /// `None` where nobody looks, and so nothing can be said.
    fn of(&self, output: OutPoint) -> Option<Unconfirmed> {
        let seen = self.about.get(&output).copied();
        seen.or(self.watched.then(Unconfirmed::default))
    }
}

fn policy<'c>(
    confirmations: Option<u32>,
    accept: impl Iterator<Item = &'c str>,
    wrong: Code,
) -> Result<Policy, ApiError> {
    let confirmations = confirmations.unwrap_or(DEFAULT_CONFIRMATIONS);
    if !(1..=MAX_CONFIRMATIONS).contains(&confirmations) {
        return Err(wrong_confirmations(&confirmations.to_string(), wrong));
    }
    let accept = accept.map(|code| {
        let warning = Reason::warning(code);
        warning.ok_or_else(|| ApiError::new(wrong, format!("accept names '{code}', which is no warning")))
    });
    Ok(Policy { confirmations, accept: accept.collect::<Result<_, _>>()? })
}

fn wrong_confirmations(text: &str, code: Code) -> ApiError {
    let message = format!("confirmations must be a number from 1 to {MAX_CONFIRMATIONS}, not '{text}'");
    ApiError::new(code, message)
}

impl<V: View> Reader<'_, V> {
    fn verdict(
        &self,
        output: OutPoint,
        policy: &Policy,
        mempool: Option<&Hints>,
    ) -> Result<VerdictRow, ApiError> {
        let hint = mempool.and_then(|mempool| mempool.of(output));
        let output = L1OutPoint::from(output);
        let assessment = self.claims().assess(output, policy, hint)?;
        if assessment.reason == Reason::NoExit {
            let message =
                format!("no withdrawal announcement of a followed entity names the output {output}");
            return Err(ApiError::new(Code::ExitNotFound, message));
        }
        Ok(self.verdict_row(assessment, policy)?)
    }

    fn verdicts(
        &self,
        outputs: &[OutPoint],
        policy: &Policy,
        mempool: Option<&Hints>,
    ) -> Result<Verdicts, ApiError> {
        let mut claims = self.claims();
        let mut looked_at = 0;
        let mut verdicts = Vec::with_capacity(outputs.len());
        for output in outputs {
            let hint = mempool.and_then(|mempool| mempool.of(*output));
            let assessment = claims.assess((*output).into(), policy, hint)?;
            looked_at += assessment.others_count;
            if looked_at > MAX_EXITS {
                let message =
                    format!("more than {MAX_EXITS} exits name these outputs: ask for fewer at once");
                return Err(ApiError::new(Code::BadBody, message));
            }
            verdicts.push(self.verdict_row(assessment, policy)?);
        }
        Ok(Verdicts { verdicts })
    }

    fn claims(&self) -> Claims<'_, &V> {
        Claims::new(&self.view, self.entities, self.tip)
    }

    fn verdict_row(&self, assessment: Assessment, policy: &Policy) -> Result<VerdictRow, ReadError> {
        let exit = assessment.exit.map(|(id, exit)| self.exit_row(id, &exit)).transpose()?;
        let others = assessment.others.iter().map(|(id, exit)| self.other_exit(*id, exit));
        Ok(VerdictRow {
            txid: assessment.output.txid.into(),
            vout: assessment.output.vout,
            verdict: assessment.verdict,
            reason: assessment.reason,
            sentence: assessment.sentence,
            settled: assessment.settled,
            confirmations: policy.confirmations,
            waits: assessment.waits,
            state: assessment.exit.map(|(_, exit)| names::exit_state(exit.state).0),
            exit,
            checks: assessment.checks,
            other_exits: others.collect::<Result<_, _>>()?,
            other_exits_count: assessment.others_count,
        })
    }

    fn other_exit(&self, id: ExitId, exit: &ExitRecord) -> Result<OtherExit, ReadError> {
        let (state, reason) = names::exit_state(exit.state);
        Ok(OtherExit {
            exit_id: id.to_string(),
            entity: self.entity(exit.entity)?,
            ttxo: exit.ttxo,
            state,
            reason,
            stands: exit.state.is_valid() && exit.reinstated.is_none(),
        })
    }
}
