//! `GET /metrics`: figures for Prometheus, in its text format.
//!
//! Requests are counted as they are answered, by the template of their path, so that the number of series
//! does not grow with what strangers ask for. Everything else is read when it is asked for: progress from
//! synchronisation, what was counted from the state, the rest from RocksDB.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::answer::NEVER;
use super::app::App;
use super::error::ApiError;
use super::query::Params;
use crate::ledger::records::Counter as Message;
use crate::ledger::view::ReadError;
use crate::sync::status::SyncStatus;

/// Bounds of the buckets of latencies, in seconds.
const BUCKETS: [f64; 12] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.5];

/// The text format that Prometheus asks for by this name.
const CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// What is counted while requests are answered.
#[derive(Debug)]
pub struct Metrics {
    requests: Family<Answered, Counter>,
    seconds: Family<Route, Histogram>,
    /// Requests that are being answered.
    pub in_flight: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

impl Metrics {
    pub fn new() -> Self {
        Metrics {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            in_flight: Gauge::default(),
        }
    }

    /// Counts an answer. `route` is the template of the path, `None` for a path that there is not.
    pub fn answered(&self, method: &Method, route: Option<&str>, status: StatusCode, time: Duration) {
        // Methods that nobody has heard of are one series, like paths that there are not.
        let method = match *method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::POST => "POST",
            Method::OPTIONS => "OPTIONS",
            _ => "other",
        };
        let route = route.unwrap_or("other").to_owned();
        self.seconds.get_or_create(&Route { route: route.clone() }).observe(time.as_secs_f64());
        self.requests.get_or_create(&Answered { method, route, status: status.as_u16() }).inc();
    }
}

/// A kind of something that is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

/// Figures for Prometheus
///
/// Progress, reorganisations, what was found in blocks, requests by path, and the database.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "server",
    responses((status = 200, description = "The figures, in the text format of OpenMetrics", body = String,
        content_type = "application/openmetrics-text")),
    extensions(("x-errors" = json!(["store_error", "busy"]))),
)]
pub async fn metrics(State(app): State<App>, params: Params) -> Result<Response, ApiError> {
    params.refuse_rest()?;
    let text = app.blocking(render).await?;
    let headers = [(header::CONTENT_TYPE, CONTENT_TYPE), (header::CACHE_CONTROL, NEVER)];
    Ok((headers, text).into_response())
}

fn render(app: &App) -> Result<String, ApiError> {
    let mut figures = Figures(Registry::with_prefix("btkn"));
    figures.progress(app)?;
    figures.messages(app)?;
    figures.requests(app.metrics());
    for (name, value) in app.store().figures()? {
        figures.gauge(
            &format!("rocksdb_{}", name.replace('-', "_")),
            "See the property of this name of RocksDB",
            value,
        );
    }
    let mut text = String::new();
    text::encode(&mut text, &figures.0).map_err(ApiError::internal)?;
    Ok(text)
}

struct Figures(Registry);

impl Figures {
    fn put(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.0.register(name, help, metric);
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.put(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.put(name, help, ConstCounter::new(value));
    }

    fn counters(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (String, u64)>) {
        let family: Family<Kind, Counter> = Family::default();
        for (kind, value) in values {
            family.get_or_create(&Kind { kind }).inc_by(value);
        }
        self.put(name, help, family);
    }

    fn progress(&mut self, app: &App) -> Result<(), ApiError> {
        let sync = app.sync_status();
        let tip = app.now()?.map(|now| *now.tip());
        self.gauge("synced", "1 if the best block known is applied", u64::from(sync.synced()));
        if let Some(tip) = tip {
            self.gauge("tip_height", "Height of the last applied block", tip.height.0.into());
            self.gauge("tip_time_seconds", "Its header time", tip.time.into());
        }
        if let Some(source) = sync.source_tip {
            let behind = source.height.0.saturating_sub(tip.map_or(0, |tip| tip.height.0));
            self.gauge("source_height", "Height of the best block of the source", source.height.0.into());
            self.gauge("lag_blocks", "Blocks that are still to be applied", behind.into());
        }
        self.totals(&sync);
        Ok(())
    }

    fn totals(&mut self, sync: &SyncStatus) {
        let totals = sync.totals.read();
        self.counter("blocks_applied", "Blocks applied since the start", totals.blocks);
        self.counter("reorganisations", "Reorganisations since the start", totals.reorganisations);
        self.counter("blocks_undone", "Blocks taken back by them", totals.undone);
        self.gauge(
            "reorganisation_depth_last",
            "Blocks taken back by the last one",
            totals.last_depth.into(),
        );
        self.gauge("reorganisation_depth_max", "Blocks taken back by the deepest one", totals.deepest.into());
        let events = totals.events.into_iter().map(|(kind, count)| (kind.to_owned(), count));
        self.counters("events", "Events of the blocks applied since the start, by kind", events);
    }

    fn messages(&mut self, app: &App) -> Result<(), ReadError> {
        let counters = super::endpoints::counters(&app.store().view())?;
        let by_name = |(message, count): (Message, u64)| {
            let name = serde_json::to_value(message).ok().and_then(|name| name.as_str().map(str::to_owned));
            (name.unwrap_or_default(), count)
        };
        let help = "Messages of the whole chain that were counted and had no other effect, by kind";
        self.counters("messages_without_effect", help, counters.into_iter().map(by_name));
        Ok(())
    }

    fn requests(&mut self, metrics: &Metrics) {
        self.put("http_requests", "Requests answered", metrics.requests.clone());
        self.put(
            "http_request_seconds",
            "Time from the request to the head of its answer",
            metrics.seconds.clone(),
        );
        self.put("http_requests_in_flight", "Requests that are being answered", metrics.in_flight.clone());
    }
}
