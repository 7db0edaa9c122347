//! The REST API: the state, read-only, as JSON.
//!
//! Guarantees: every answer comes from one consistent view of the store and says which block it rests
//! on; every error, whoever makes it, has the same shape and a stable code; no request can hold up
//! synchronisation. It does not authenticate anyone and does not speak TLS: whoever opens it to the
//! world puts a proxy before it.
//!
//! `schema/rest.md` describes the conventions for outsiders, `schema/openapi.json` every path; the latter is
//! made from the annotations of the handlers, which are in `endpoints/`, by [`openapi`].

mod answer;
mod app;
mod at;
mod body;
mod conventions;
pub mod cursor;
mod docs;
mod endpoints;
mod error;
mod feed;
mod health;
mod limits;
mod metrics;
pub mod names;
mod now;
pub mod openapi;
mod origins;
mod page;
mod parse;
mod query;
mod reader;
mod schemas;
mod server;
mod types;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

pub use app::App;
pub use error::{ApiError, Code};
pub use limits::Limits;
pub use server::serve;

/// The paths of the API, ready to be served.
pub fn router(app: App) -> Router {
    let (limits, metrics) = (app.limits(), app.metrics().clone());
    let (routes, _) = endpoints::all().split_for_parts();
    let routes = routes.route("/openapi.json", get(document)).route("/docs", get(page)).with_state(app);
    conventions::add(routes, limits, metrics)
}

/// `GET /openapi.json`
async fn document() -> Response {
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (json, openapi::text()).into_response()
}

/// `GET /docs`
async fn page() -> Response {
    Html(docs::page()).into_response()
}

#[cfg(test)]
mod tests;
