//! The REST API: the state, read-only, as JSON.
//!
//! Guarantees: every answer comes from one consistent view of the store and says which block it rests
//! on; every error, whoever makes it, has the same shape and a stable code; no request can hold up
//! synchronisation. It does not authenticate anyone and does not speak TLS: whoever opens it to the
//! world puts a proxy before it.
//!
//! `schema/rest.md` describes it for outsiders; the shapes of answers are in [`types`].

mod app;
mod chain;
pub mod cursor;
mod error;
mod handlers;
mod health;
mod limits;
pub mod names;
mod page;
mod query;
mod reader;
mod server;
mod tokens;
mod ttxos;
pub mod types;

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{Any, CorsLayer};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

pub use app::App;
pub use error::ApiError;
pub use limits::Limits;
pub use server::serve;

use error::Named;

/// The paths of the API, ready to be served.
pub fn router(app: App) -> Router {
    let limits = app.limits();
    let routes = Router::new()
        .route("/v1/status", get(handlers::status))
        .route("/v1/blocks/{block}", get(handlers::block))
        .route("/v1/tokens", get(handlers::tokens))
        .route("/v1/tokens/{token}", get(handlers::token))
        .route("/v1/tokens/{token}/holders", get(handlers::holders))
        .route("/v1/owners/{owner}/balances", get(handlers::balances))
        .route("/v1/owners/{owner}/ttxos", get(handlers::owner_ttxos))
        .route("/v1/ttxos/{outpoint}", get(handlers::ttxo))
        .route("/v1/exits", get(handlers::exits))
        .route("/v1/exits/{outpoint}", get(handlers::exits_of_output))
        .route("/v1/snapshots", get(handlers::snapshots))
        .route("/v1/snapshots/{sequence}", get(handlers::snapshots_of_sequence))
        .route("/v1/notices", get(handlers::notices))
        .route("/health/live", get(handlers::live))
        .route("/health/ready", get(handlers::ready))
        .with_state(app);
    with_conventions(routes, limits)
}

/// What holds for every path, whatever its handler does. The last layer is the outermost.
fn with_conventions(routes: Router, limits: Limits) -> Router {
    routes
        .layer(RequestBodyLimitLayer::new(limits.body_bytes))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, limits.request_time))
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn_with_state(limits, limit_head))
        .layer(middleware::map_response(name_error))
        .layer(TraceLayer::new_for_http().on_failure(()))
        .layer(cors())
}

/// Everyone may read from everywhere: there are no cookies and no secrets.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD, Method::OPTIONS])
        .allow_headers([header::ACCEPT, header::CONTENT_TYPE, header::IF_NONE_MATCH])
        .expose_headers([
            header::ETAG,
            header::RETRY_AFTER,
            app::HEIGHT_HEADER,
            app::BLOCK_HASH_HEADER,
            app::SYNCED_HEADER,
        ])
        .max_age(Duration::from_secs(24 * 60 * 60))
}

async fn limit_head(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let uri = request.uri().path_and_query().map_or(0, |text| text.as_str().len());
    let headers: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if uri > limits.uri_bytes {
        ApiError::of_status(StatusCode::URI_TOO_LONG).into_response()
    } else if headers > limits.header_bytes {
        ApiError::of_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE).into_response()
    } else {
        next.run(request).await
    }
}

/// Gives errors that did not come from a handler of ours (unknown paths, limits, panics) their body.
async fn name_error(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.extensions().get::<Named>().is_some() {
        return response;
    }
    let mut named = ApiError::of_status(status).into_response();
    for (name, value) in response.headers() {
        if name != header::CONTENT_LENGTH && !named.headers().contains_key(name) {
            named.headers_mut().insert(name.clone(), value.clone());
        }
    }
    named
}

#[cfg(test)]
mod tests;
