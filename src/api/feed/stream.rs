//! The feed as server-sent events.
//!
//! A stream is read like pages, a part at a time, whenever the one before was taken by the client and
//! whenever the tip changes. It keeps nothing but its place, and goes on until the client or the server
//! leaves, or the place is lost. When nothing happens a comment says so, with the place, so that a client
//! that comes back does not have to be told again of blocks without events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::rows::FeedItem;
use super::{Origin, Part, Position, Wanted};
use crate::api::app::App;
use crate::api::error::{ApiError, Code};
use crate::api::names::FeedItemType;
use crate::ledger::records::TipRecord;

/// After so long without an event comes a comment: proxies close what is silent for longer, and a client
/// that is gone shows when it is written to.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long to wait where the feed cannot be read for the moment.
const PAUSE: Duration = Duration::from_secs(1);

/// Follows the feed from a place until the client or the server leaves.
pub async fn stream(app: App, from: Origin, wanted: Wanted) -> Result<Response, ApiError> {
    let slot =
        Arc::clone(app.streams()).try_acquire_owned().map_err(|_| ApiError::of(Code::TooManyStreams))?;
    let writes = app.store().writes();
    let seen = wanted.clone();
    // What is wrong with the request is told before the stream begins.
    let (part, tip) = app.blocking(move |app| super::read(app, from, &seen)).await?;
    let place = part.position;
    let mut follower = Follower {
        app,
        wanted,
        place,
        shown: None,
        ready: VecDeque::new(),
        ended: false,
        writes,
        _slot: slot,
    };
    follower.take(part, &tip);
    Ok(Sse::new(stream::unfold(follower, Follower::next)).into_response())
}

/// A client that follows the feed.
struct Follower {
    app: App,
    wanted: Wanted,
    /// How far the feed was read.
    place: Position,
    /// The last cursor that the client was given.
    shown: Option<Position>,
    /// What is to be sent.
    ready: VecDeque<Event>,
    ended: bool,
    writes: watch::Receiver<u64>,
    _slot: OwnedSemaphorePermit,
}

impl Follower {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some((Ok(event), self));
            }
            if self.ended || self.app.stop().requested() {
                return None;
            }
            // A change after this is not missed, and one before it is in what is read.
            self.writes.mark_unchanged();
            let pause = match self.read().await {
                Ok(true) => continue,
                Ok(false) => HEARTBEAT,
                Err(error) if error.retry_after.is_some() => PAUSE,
                Err(error) => {
                    self.end_with(&error);
                    continue;
                }
            };
            tokio::select! {
                () = self.app.stop().wait() => return None,
                written = self.writes.changed() => self.ended = written.is_err(),
                () = tokio::time::sleep(pause) => self.ready.push_back(Event::default().comment("")),
            }
        }
    }

    /// Reads on; whether there is something to send or more to read.
    async fn read(&mut self) -> Result<bool, ApiError> {
        let (from, wanted) = (Origin::Place(self.place), self.wanted.clone());
        let (part, tip) = self.app.blocking(move |app| super::read(app, from, &wanted)).await?;
        let more = part.more;
        self.take(part, &tip);
        Ok(more || !self.ready.is_empty())
    }

    fn take(&mut self, part: Part, tip: &TipRecord) {
        self.place = part.position;
        for item in part.items {
            self.shown = Some(item.position);
            let item = FeedItem::new(item, &self.app.store().rules().entities);
            let name = match item.what {
                FeedItemType::Event => "event",
                FeedItemType::Rollback => "rollback",
            };
            let event = Event::default().id(&item.cursor).event(name);
            match event.json_data(&item) {
                Ok(event) => self.ready.push_back(event),
                Err(error) => return self.end_with(&ApiError::internal(error)),
            }
        }
        if !part.more && self.shown != Some(self.place) {
            self.shown = Some(self.place);
            let tip = format!("tip {} {}", tip.height, tip.hash);
            self.ready.push_back(Event::default().id(self.place.to_string()).comment(tip));
        }
    }

    /// The last event of a stream that cannot go on. EventSource would come back; `gone` tells it not to.
    fn end_with(&mut self, error: &ApiError) {
        if let Some(cause) = &error.cause {
            tracing::error!("a stream ends: {cause}");
        }
        let data = serde_json::json!({ "error": { "code": error.code, "message": error.message } });
        self.ready.push_back(Event::default().event("gone").data(data.to_string()));
        self.ended = true;
    }
}
