//! `/v1/events`

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::api::answer::uncached;
use crate::api::app::App;
use crate::api::error::{ApiError, Code};
use crate::api::feed::rows::FeedItem;
use crate::api::feed::{self, Origin, Position, Wanted};
use crate::api::parse;
use crate::api::query::{LimitRequest, Params};
use crate::api::types::BlockPlace;
use crate::ledger::events::Event;
use crate::protocol::Height;

/// Items that a stream reads at once.
const STREAM_LIMIT: usize = 100;

/// A part of the feed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventPage {
    /// The last applied block; what is known of the feed ends there.
    pub tip: BlockPlace,
    /// What happened, and what is no longer so, in this order.
    pub items: Vec<FeedItem>,
    /// Where to go on: after the last item, or further where nothing came since. Never `null`.
    pub next_cursor: String,
    /// Whether it is worth asking again at once.
    pub more: bool,
}

/// From where, and what, is asked for.
#[derive(Clone, Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FeedRequest {
    /// A cursor of an item or of a page; the place to go on from. From the start height, if left out.
    pub cursor: Option<String>,
    /// Begin with this block instead; at most one above the last applied one.
    pub from: Option<Height>,
    /// Kinds of events, separated by commas; all of them, if left out.
    pub kind: Option<String>,
}

impl FeedRequest {
    fn take(params: &mut Params) -> Result<FeedRequest, ApiError> {
        let (cursor, from) = (params.take("cursor"), params.take("from"));
        if cursor.is_some() && from.is_some() {
            return Err(ApiError::new(
                Code::BadParameter,
                "cursor and from both say where to begin: give one",
            ));
        }
        let from = from.map(|text| parse_height(&text)).transpose()?;
        Ok(FeedRequest { cursor, from, kind: params.take("kind") })
    }

    /// Where to begin: at a cursor, if there is one.
    fn origin(&self, last_event: Option<&str>) -> Result<Origin, ApiError> {
        // A stream that was cut off is asked for again with the query with which it was begun.
        match (last_event.or(self.cursor.as_deref()), self.from) {
            (Some(text), _) => text.parse().map(Origin::Place).map_err(|_| bad_cursor()),
            (None, Some(height)) => Ok(Origin::Block(height)),
            (None, None) => Ok(Origin::Place(Position::start())),
        }
    }

    fn wanted(&self, limit: usize) -> Result<Wanted, ApiError> {
        let kinds = self.kind.as_deref().map(parse_kinds).transpose()?.unwrap_or_default();
        Ok(Wanted { kinds, limit })
    }
}

fn bad_cursor() -> ApiError {
    ApiError::new(Code::BadCursor, "this is no cursor of the feed; leave it out to begin at the start height")
}

fn parse_height(text: &str) -> Result<Height, ApiError> {
    let height = parse::number(text).map(Height);
    height.ok_or_else(|| ApiError::new(Code::BadParameter, "from must be the height of a block"))
}

fn parse_kinds(text: &str) -> Result<Vec<String>, ApiError> {
    let kinds: Vec<String> = text.split(',').map(str::to_owned).collect();
    match kinds.iter().find(|kind| !Event::KINDS.contains(&kind.as_str())) {
        None => Ok(kinds),
        Some(unknown) => {
            let message = format!("kind: there is no '{unknown}'; there are {}", Event::KINDS.join(", "));
            Err(ApiError::new(Code::BadParameter, message))
        }
    }
}

/// The feed of events, page by page
///
/// Everything that happened, in the order that the state hashes commit to, from a cursor on. Where blocks
/// left the best chain after the cursor was given out, what they had brought is taken back first: an item of
/// type `rollback` for each, the newest block first. Whoever stores the cursor of an item together with what
/// he makes of the item, and goes on from there, sees every event of the best chain exactly once. Answers also
/// while blocks of the best chain are still to be applied.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "chain",
    params(FeedRequest, LimitRequest),
    responses((status = 200, description = "A part of the feed", body = EventPage)),
    extensions(
        ("x-errors" = json!([
            "bad_cursor", "bad_parameter", "block_not_found", "cursor_unknown", "catching_up", "store_error"
        ])),
        ("x-example" = json!("/v1/events?from=330&limit=2")),
    ),
)]
pub async fn events(State(app): State<App>, mut params: Params) -> Result<Response, ApiError> {
    let LimitRequest { limit } = params.limit()?;
    let request = FeedRequest::take(&mut params)?;
    params.refuse_rest()?;
    let (from, wanted) = (request.origin(None)?, request.wanted(limit)?);
    let page = app.blocking(move |app| {
        let (part, tip) = feed::read(app, from, &wanted)?;
        let entities = &app.store().rules().entities;
        Ok(EventPage {
            tip: BlockPlace { block_height: tip.height, block_hash: tip.hash, block_time: tip.time },
            items: part.items.into_iter().map(|item| FeedItem::new(item, entities)).collect(),
            next_cursor: part.position.to_string(),
            more: part.more,
        })
    });
    Ok(uncached(Json(page.await?)))
}

/// The feed of events as a stream
///
/// The same as server-sent events, for as long as the client likes. Each has the cursor of the item as its
/// `id`, the type of the item (`event` or `rollback`) as its name and the item as its data. A client that comes
/// back sends the last `id` as `Last-Event-ID`, as browsers do by themselves, or as `cursor`. A comment with an
/// `id` alone moves the cursor past blocks without events; one comes every 15 seconds at the latest. An event
/// of the name `gone` is the last one: its data is an error, and coming back with the same cursor is no use.
#[utoipa::path(
    get,
    path = "/v1/events/stream",
    tag = "chain",
    params(FeedRequest, ("last-event-id" = Option<String>, Header, description = "As `cursor`, and before it")),
    responses((status = 200, description = "The feed", body = FeedItem, content_type = "text/event-stream")),
    extensions(("x-errors" = json!([
        "bad_cursor", "bad_parameter", "block_not_found", "cursor_unknown", "catching_up", "store_error",
        "too_many_streams"
    ]))),
)]
pub async fn event_stream(
    State(app): State<App>,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, ApiError> {
    let last_event = match headers.get("last-event-id") {
        Some(value) => Some(value.to_str().map_err(|_| bad_cursor())?),
        None => None,
    };
    let request = FeedRequest::take(&mut params)?;
    params.refuse_rest()?;
    feed::stream(app, request.origin(last_event)?, request.wanted(STREAM_LIMIT)?).await
}
