//! What holds for every path, whatever its handler does: limits, names of errors, request ids, figures,
//! origins.

use std::any::Any;
use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use futures_util::FutureExt;
use tower::{Layer, Service};

use super::error::{ApiError, Code, Named};
use super::metrics::Metrics;
use super::{Limits, origins};

/// Names a request in the log; the client's own is kept.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A longer id of a client is replaced.
const MAX_REQUEST_ID: usize = 128;

/// Adds the conventions to routes.
pub fn add(routes: Router, limits: Limits, metrics: Arc<Metrics>) -> Router {
    routes.layer(Conventions(Arc::new(Gate { limits, metrics })))
}

/// The id of a request: its own, or a new one.
fn id_of(request: &Request) -> HeaderValue {
    // Begins anywhere, so that ids of two threads or two runs are not mixed up.
    thread_local!(static NEXT: Cell<u64> = Cell::new(RandomState::new().hash_one(0)));
    let own = request.headers().get(REQUEST_ID).filter(|id| id.len() <= MAX_REQUEST_ID).cloned();
    own.unwrap_or_else(|| HeaderValue::from(NEXT.replace(NEXT.get().wrapping_add(1))))
}

/// A request as the log names it. Each line takes it along: a span would be made for all those requests that
/// nothing is logged of.
struct Asked {
    id: HeaderValue,
    method: Method,
    uri: Uri,
}

impl Asked {
    fn new(request: &Request) -> Self {
        Asked { id: id_of(request), method: request.method().clone(), uri: request.uri().clone() }
    }

    fn log(&self, response: &Response, took: Duration) {
        let (id, path) = (self.id.to_str().unwrap_or_default(), self.uri.path());
        if let Some(cause) = response.extensions().get::<Named>().and_then(|named| named.cause.as_ref()) {
            tracing::error!(id, method = %self.method, path, "{cause}");
        }
        let (status, milliseconds) = (response.status().as_u16(), took.as_millis() as u64);
        tracing::debug!(id, method = %self.method, path, status, milliseconds, "answered");
    }
}

/// One layer for all of them: each that wraps the answers costs about as much as a read of the database.
#[derive(Clone)]
struct Conventions(Arc<Gate>);

impl Layer<Route> for Conventions {
    type Service = Passing;

    fn layer(&self, route: Route) -> Passing {
        Passing { gate: Arc::clone(&self.0), route }
    }
}

/// A route behind the gate.
#[derive(Clone)]
struct Passing {
    gate: Arc<Gate>,
    route: Route,
}

impl Service<Request> for Passing {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.route, cx)
    }

    /// Names a request, lets it in if it is within the limits, gives every error its body, and counts and
    /// logs the answer.
    fn call(&mut self, request: Request) -> Self::Future {
        let started = Instant::now();
        let asked = Asked::new(&request);
        let matched = request.extensions().get::<MatchedPath>().cloned();
        let counted = InFlight::enter(&self.gate);
        let run = counted.admit(&request).map(|()| match asked.method {
            Method::OPTIONS => None,
            _ => Some(self.route.call(request)),
        });
        Box::pin(async move {
            let gate = &counted.gate;
            let mut response = match run {
                Ok(Some(run)) => guarded(gate.limits.request_time, run).await,
                Ok(None) => StatusCode::OK.into_response(),
                Err(error) => error.into_response(),
            };
            let (status, took) = (response.status(), started.elapsed());
            gate.metrics.answered(&asked.method, matched.as_ref().map(MatchedPath::as_str), status, took);
            asked.log(&response, took);
            let headers = response.headers_mut();
            origins::allow(&asked.method, headers);
            headers.insert(REQUEST_ID, asked.id);
            Ok(response)
        })
    }
}

/// The answer of a handler, or that there is none: it took too long, or panicked.
async fn guarded(limit: Duration, run: impl Future<Output = Result<Response, Infallible>>) -> Response {
    match within(limit, AssertUnwindSafe(run).catch_unwind()).await {
        Some(Ok(Ok(response))) => name_error(response),
        Some(Ok(Err(never))) => match never {},
        Some(Err(panic)) => {
            ApiError::internal(format!("a handler panicked: {}", message(&*panic))).into_response()
        }
        None => ApiError::of(Code::Timeout).into_response(),
    }
}

/// Waits for so long. What is there at once, as most answers are, needs no timer.
async fn within<T>(limit: Duration, run: impl Future<Output = T>) -> Option<T> {
    let mut run = pin!(run);
    match poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx))).await {
        Poll::Ready(output) => Some(output),
        Poll::Pending => tokio::time::timeout(limit, run).await.ok(),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

struct Gate {
    limits: Limits,
    metrics: Arc<Metrics>,
}

/// Counts a request while it is there, also one whose client goes away.
struct InFlight {
    gate: Arc<Gate>,
    /// Those that were there before.
    before: i64,
}

impl InFlight {
    fn enter(gate: &Arc<Gate>) -> Self {
        InFlight { gate: Arc::clone(gate), before: gate.metrics.in_flight.inc() }
    }

    fn admit(&self, request: &Request) -> Result<(), ApiError> {
        let limits = &self.gate.limits;
        let uri = request.uri().path_and_query().map_or(0, |text| text.as_str().len());
        let headers: usize =
            request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if uri > limits.uri_bytes {
            return Err(ApiError::of(Code::UriTooLong));
        }
        if headers > limits.header_bytes {
            return Err(ApiError::of(Code::HeadersTooLarge));
        }
        // Of a body without a length, the handler that reads it stops at the limit.
        let body = request.headers().get(header::CONTENT_LENGTH);
        let body = body.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if body.is_some_and(|length| length > limits.body_bytes as u64) {
            return Err(ApiError::of(Code::PayloadTooLarge));
        }
        if usize::try_from(self.before).is_ok_and(|before| before >= limits.requests) {
            return Err(ApiError::retry(Code::Busy, Code::Busy.meaning(), 1));
        }
        Ok(())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gate.metrics.in_flight.dec();
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
