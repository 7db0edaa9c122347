//! One module for each noun: its handlers, annotated for the document of the API, and the shapes of its
//! answers. A new path is a handler there and a line in [`all`].
//!
//! A handler parses strictly, then says what is to be read. Three extensions of an annotation are not of
//! OpenAPI, and `openapi.rs` turns them into what is:
//!
//! - `x-errors`: codes of errors beyond those of every path, of every read of the state, and of every list;
//! - `x-example`: a request whose answer, on the chain of `fixtures/regtest`, becomes the example of the path;
//! - `x-example-body`: the body of that request.

mod activity;
mod batch;
mod blocks;
mod diff;
mod entities;
mod events;
mod exit_filter;
mod exits;
mod health;
mod manifests;
mod mempool;
mod notices;
mod owners;
mod snapshots;
mod status;
mod tokens;
mod ttxos;
mod verdicts;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{App, metrics, openapi};

pub use status::counters;
pub use tokens::{HolderOrder, Token};

/// Every path of the API.
pub fn all() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(status::status))
        .routes(routes!(entities::entities))
        .routes(routes!(blocks::blocks))
        .routes(routes!(blocks::block))
        .routes(routes!(events::events))
        .routes(routes!(events::event_stream))
        .routes(routes!(notices::notices))
        .routes(routes!(tokens::tokens))
        .routes(routes!(tokens::token))
        .routes(routes!(tokens::holders))
        .routes(routes!(diff::diff))
        .routes(routes!(owners::balances))
        .routes(routes!(owners::owner_ttxos))
        .routes(routes!(exits::owner_exits))
        .routes(routes!(activity::activity))
        .routes(routes!(batch::balance_batch))
        .routes(routes!(ttxos::ttxo))
        .routes(routes!(exits::exits))
        .routes(routes!(exits::exits_of_output))
        .routes(routes!(verdicts::verdict))
        .routes(routes!(verdicts::verdict_batch))
        .routes(routes!(mempool::mempool))
        .routes(routes!(snapshots::snapshots))
        .routes(routes!(snapshots::snapshots_of_sequence))
        .routes(routes!(manifests::manifest))
        .routes(routes!(manifests::manifest_chunks))
        .routes(routes!(manifests::equivocations))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::metrics))
}
