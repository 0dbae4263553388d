//! Prometheus metrics.
//!
//! Labels are bounded, since each combination is a series that stays: routes are patterns and never
//! paths, methods are those of HTTP or `other`, the cache's part is one of a few words. Names follow
//! OpenMetrics: a unit at the end, `_total` for counters.
//!
//! Counting takes a lock of the family for reading, and for writing at the first request of a series.
//! Cache and dataset are asked when the metrics are read.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use http::header;
use isobar_analytics::EventSink;
use isobar_base::sync::IgnorePoison;
use isobar_site::Site;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder, text,
};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::events::{Noted, standard};

/// OpenMetrics, as Prometheus reads it.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The histogram's bounds, in seconds: from 100 µs to 10 s.
const SECONDS: [f64; 11] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// Metrics of requests for Prometheus. Clones share the counters.
///
/// - `http_requests_total` by `route`, `method`, `status` and `cache`;
/// - `http_request_duration_seconds` by `route`: a histogram from 100 µs to 10 s;
/// - `http_response_bytes_total` by `route`, where the length is known beforehand;
/// - `http_connections`: those that are open;
/// - `site_cache_bytes`, `site_cache_entries`: what of the site is in memory;
/// - `analytics_events_written_total`, `analytics_events_dropped_total`, `analytics_events_sampled_out_total`, of the dataset.
///
/// They are not meant for the public: serve [`router`](Self::router) by a server of its own, on an
/// address that only Prometheus reaches.
///
/// ```no_run
/// # async fn example(app: isobar_http_serve::App) -> Result<(), isobar_http_serve::native::ServerError> {
/// use isobar_http_serve::Metrics;
/// use isobar_http_serve::native::{Server, shutdown_signal};
///
/// let metrics = Metrics::new();
/// let server = Server::bind(([127, 0, 0, 1], 9090).into()).await?;
/// tokio::spawn(server.serve(metrics.router(), shutdown_signal()));
/// let app = app.metrics(metrics);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Mutex<Registry>,
    requests: Family<Request, Counter>,
    seconds: Family<Route, Histogram>,
    bytes: Family<Route, Counter>,
    connections: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: Pattern,
    method: &'static str,
    status: u16,
    cache: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: Pattern,
}

/// A route's pattern, as events have it: to note a request copies nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pattern(Bytes);

impl EncodeLabelValue for Pattern {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Returns metrics at zero.
    ///
    /// ```
    /// use isobar_http_serve::Metrics;
    ///
    /// let text = Metrics::new().text();
    /// assert!(text.contains("# TYPE http_connections gauge\nhttp_connections 0\n") && text.ends_with("# EOF\n"));
    /// ```
    #[must_use]
    pub fn new() -> Self {
        let inner = Inner {
            registry: Mutex::default(),
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            bytes: Family::default(),
            connections: Gauge::default(),
        };
        {
            let mut registry = inner.registry.lock().ignore_poison();
            registry.register("http_requests", "Requests answered", inner.requests.clone());
            let help = "How long answers took";
            registry.register_with_unit("http_request_duration", help, Unit::Seconds, inner.seconds.clone());
            registry.register("http_response_bytes", "Bytes answered, where known beforehand", inner.bytes.clone());
            registry.register("http_connections", "Connections that are open", inner.connections.clone());
        }
        Self(Arc::new(inner))
    }

    /// Returns the route `GET /metrics`, in the text form of OpenMetrics 1.0.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use axum::body::Body;
    /// use tower::ServiceExt;
    ///
    /// let router = isobar_http_serve::Metrics::new().router();
    /// let answer = router.oneshot(http::Request::get("/metrics").body(Body::empty()).unwrap()).await.unwrap();
    /// assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    /// # });
    /// ```
    pub fn router(&self) -> Router {
        let metrics = self.clone();
        Router::new().route(
            "/metrics",
            get(move || {
                let metrics = metrics.clone();
                async move { ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.text()).into_response() }
            }),
        )
    }

    /// Returns all of it as text of OpenMetrics, for a handler of one's own. It takes time in
    /// proportion to the series.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.0.registry.lock().ignore_poison();
        if text::encode(&mut text, &registry).is_err() {
            tracing::error!("the metrics could not be written");
        }
        text
    }

    /// Reads the site's cache and the dataset's counts whenever the metrics are read.
    pub(crate) fn watch(&self, site: Option<Site>, dataset: Option<Arc<dyn EventSink>>) {
        let mut registry = self.0.registry.lock().ignore_poison();
        registry.register_collector(Box::new(Sources { site, dataset }));
    }

    /// Counts a request that has ended.
    pub(crate) fn note(&self, noted: &Noted) {
        let route = Pattern(noted.route.clone());
        // A label must not have a value for each method that a client makes up.
        let method = standard(&noted.method).unwrap_or("other");
        let request = Request { route: route.clone(), method, status: noted.status.as_u16(), cache: noted.cache };
        self.0.requests.get_or_create(&request).inc();
        let route = Route { route };
        self.0.seconds.get_or_create(&route).observe(noted.milliseconds / 1000.0);
        self.0.bytes.get_or_create(&route).inc_by(noted.bytes as u64);
    }

    /// Counts a connection as long as what is answered lives.
    pub(crate) fn connection(&self) -> OpenConnection {
        self.0.connections.inc();
        OpenConnection(self.clone())
    }
}

/// An open connection.
#[derive(Debug)]
pub struct OpenConnection(Metrics);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.0.connections.dec();
    }
}

/// Sources that are read whenever the metrics are.
#[derive(Debug)]
struct Sources {
    site: Option<Site>,
    dataset: Option<Arc<dyn EventSink>>,
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut put =
            |name: &str, help: &str, metric: &dyn Fn(&mut DescriptorEncoder<'_>, &str, &str) -> fmt::Result| {
                metric(&mut encoder, name, help)
            };
        let gauge = |value: u64| {
            move |encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str| {
                let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
                gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
            }
        };
        let counter = |value: u64| {
            move |encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str| {
                let counter = ConstCounter::new(value);
                counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
            }
        };
        if let Some(stats) = self.site.as_ref().and_then(Site::cache_stats) {
            put("site_cache_entries", "Answers of the site in memory", &gauge(stats.entries as u64))?;
            put("site_cache_bytes", "Size of the answers of the site in memory", &gauge(stats.bytes))?;
        }
        if let Some(stats) = self.dataset.as_ref().map(|dataset| dataset.stats()) {
            put("analytics_events_written", "Events taken by the dataset", &counter(stats.written))?;
            put("analytics_events_dropped", "Events that it could not take", &counter(stats.dropped + stats.invalid))?;
            put("analytics_events_sampled_out", "Events for which others stand", &counter(stats.sampled_out))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
