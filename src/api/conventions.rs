//! What holds for every path, whatever its handler does: limits, names of errors, request ids, figures,
//! origins.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{Any, CorsLayer};
use tracing::Instrument;

use super::error::{ApiError, Code, Named};
use super::metrics::Metrics;
use super::{Limits, answer};

/// Names a request in the log; the client's own is kept.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Where a client of a stream goes on; only what is no browser has to ask for permission.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A longer id of a client is replaced.
const MAX_REQUEST_ID: usize = 128;

/// Adds the conventions to routes, the outermost first.
pub fn add(routes: Router, limits: Limits, metrics: Arc<Metrics>) -> Router {
    let gate = Gate { limits, metrics, slots: Arc::new(Semaphore::new(limits.requests)) };
    let body_limit = DefaultBodyLimit::max(limits.body_bytes);
    // Few layers, and as one: each that wraps the answers costs about as much as a read of the database.
    routes.layer((cors(), middleware::from_fn_with_state(gate, pass), body_limit, CatchPanicLayer::new()))
}

/// Everyone may read from everywhere: there are no cookies and no secrets.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::OPTIONS])
        .allow_headers([
            header::ACCEPT,
            header::CONTENT_TYPE,
            header::IF_NONE_MATCH,
            LAST_EVENT_ID,
            REQUEST_ID,
        ])
        .expose_headers([
            header::ETAG,
            header::RETRY_AFTER,
            REQUEST_ID,
            answer::HEIGHT_HEADER,
            answer::BLOCK_HASH_HEADER,
            answer::SYNCED_HEADER,
        ])
        .max_age(Duration::from_secs(24 * 60 * 60))
}

/// The id of a request: its own, or a new one.
fn id_of(request: &Request) -> HeaderValue {
    /// Differs from process to process, so that ids of two runs are not mixed up.
    static RUN: LazyLock<u32> = LazyLock::new(|| RandomState::new().hash_one(0) as u32);
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let own = request.headers().get(REQUEST_ID).filter(|id| id.len() <= MAX_REQUEST_ID).cloned();
    own.unwrap_or_else(|| {
        let id = format!("{:08x}-{:x}", *RUN, NUMBER.fetch_add(1, Ordering::Relaxed));
        HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
    })
}

/// What a line of the log says about the request that it belongs to.
fn span(id: &HeaderValue, request: &Request) -> tracing::Span {
    let id = id.to_str().unwrap_or_default();
    tracing::error_span!("request", id, method = %request.method(), path = request.uri().path())
}

#[derive(Clone)]
struct Gate {
    limits: Limits,
    metrics: Arc<Metrics>,
    slots: Arc<Semaphore>,
}

/// Names a request, lets it in if it is within the limits, gives every error its body, and counts and logs
/// the answer.
async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let (id, method) = (id_of(&request), request.method().clone());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = span(&id, &request);
    let answered = async {
        let _counted = InFlight::new(&gate.metrics);
        let mut response = match gate.admit(&request) {
            Ok(_slot) => match tokio::time::timeout(gate.limits.request_time, next.run(request)).await {
                Ok(response) => name_error(response),
                Err(_) => ApiError::of(Code::Timeout).into_response(),
            },
            Err(error) => error.into_response(),
        };
        let (status, took) = (response.status(), started.elapsed());
        gate.metrics.answered(&method, route.as_ref().map(MatchedPath::as_str), status, took);
        tracing::debug!(status = status.as_u16(), milliseconds = took.as_millis() as u64, "answered");
        response.headers_mut().insert(REQUEST_ID, id);
        response
    };
    answered.instrument(span).await
}

/// Counts a request while it is there, also one whose client goes away.
struct InFlight<'a>(&'a Metrics);

impl<'a> InFlight<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.in_flight.inc();
        InFlight(metrics)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

impl Gate {
    fn admit(&self, request: &Request) -> Result<tokio::sync::SemaphorePermit<'_>, ApiError> {
        let uri = request.uri().path_and_query().map_or(0, |text| text.as_str().len());
        let headers: usize =
            request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if uri > self.limits.uri_bytes {
            return Err(ApiError::of(Code::UriTooLong));
        }
        if headers > self.limits.header_bytes {
            return Err(ApiError::of(Code::HeadersTooLarge));
        }
        // Of a body without a length, the handler that reads it stops at the limit.
        let body = request.headers().get(header::CONTENT_LENGTH);
        let body = body.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if body.is_some_and(|length| length > self.limits.body_bytes as u64) {
            return Err(ApiError::of(Code::PayloadTooLarge));
        }
        self.slots.try_acquire().map_err(|_| ApiError::retry(Code::Busy, Code::Busy.meaning(), 1))
    }
}

/// Gives errors that did not come from a handler of ours (unknown paths, limits, panics) their body.
fn name_error(response: Response) -> Response {
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
