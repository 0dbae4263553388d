//! Traces for OpenTelemetry: a span for each request, as a child of the client's.
//!
//! | attribute | value |
//! |---|---|
//! | name | `GET /api/images/{id}` |
//! | `http.request.method`, `http.route`, `url.path`, `http.response.status_code` | of the request, by OpenTelemetry's semantic conventions |
//! | status | `ERROR` for 500 and above |
//!
//! Spans of storage, databases and sessions (features `tracing` of their crates) are children of the
//! request's. Export happens in a thread of OpenTelemetry's, in batches: a collector that is slow or
//! gone costs spans, never requests.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use isobar_cloudflare::client::{Body, HttpTransport, Transport};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::log::log_layer;

/// The longest answer of a collector that is read, in bytes.
const ANSWER_BYTES: usize = 1 << 20;

/// How long what is left may take to be sent at the end.
const LAST: Duration = Duration::from_secs(5);

/// The reason why traces cannot be sent: a variable of the environment that cannot be read, or an HTTP
/// client that does not start.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be sent: {0}")]
pub struct TelemetryError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Traces on their way to a collector; [`close`](Self::close) sends what is left.
#[derive(Debug)]
#[must_use = "what was not sent yet is lost without close"]
pub struct Telemetry(SdkTracerProvider);

impl Telemetry {
    /// Whether the environment names a collector.
    ///
    /// ```
    /// use isobar_http_serve::Telemetry;
    /// use isobar_http_serve::native::init_log;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let telemetry = if Telemetry::is_wanted() { Some(Telemetry::init()?) } else { None };
    /// if telemetry.is_none() {
    ///     init_log();
    /// }
    /// // serve, until the end
    /// if let Some(telemetry) = telemetry {
    ///     telemetry.close().await;
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_wanted() -> bool {
        ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
            .iter()
            .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
    }

    /// Writes the log as [`init_log`](crate::native::init_log) does, and sends a span for each request to a collector of
    /// OpenTelemetry, by OTLP over HTTP (protobuf). Where to, and what else there is to set, is in the environment, as
    /// OpenTelemetry has it: `OTEL_EXPORTER_OTLP_ENDPOINT` (`http://localhost:4318`), `OTEL_EXPORTER_OTLP_HEADERS`,
    /// `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`. A request that comes with a `traceparent` goes on
    /// with that trace.
    ///
    /// # Errors
    /// When there is something else in these variables, or the HTTP client does not start.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn init() -> Result<Self, TelemetryError> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| TelemetryError(error);
        let transport = HttpTransport::new().map_err(|error| failed(error.into()))?;
        let client = Client { transport: Arc::new(transport), runtime: Handle::current() };
        let exporter = SpanExporter::builder().with_http().with_http_client(client).build();
        let exporter = exporter.map_err(|error| failed(error.into()))?;
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
        // A subscriber that is set up already stays; nothing is sent then.
        drop(tracing_subscriber::registry().with(log_layer()).with(layer(&provider)).try_init());
        Ok(Self(provider))
    }

    /// Sends what is left, for 5 s at most. Call it after the server has drained; a failure is logged.
    pub async fn close(self) {
        let closing = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(LAST)).await;
        if let Ok(Err(error)) = closing {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Sends the spans of isobar; not those that are the log's.
pub(crate) fn layer<S: tracing::Subscriber + for<'s> LookupSpan<'s>>(provider: &SdkTracerProvider) -> impl Layer<S> {
    let ours = filter_fn(|metadata| {
        let target = metadata.target();
        let is_log = target.starts_with("isobar_http_serve") || target.starts_with("isobar_server");
        target.starts_with("isobar") && !is_log
    });
    tracing_opentelemetry::layer().with_tracer(provider.tracer("isobar")).with_filter(ours)
}

/// The span of a request, of the trace that the request comes with; by the names that OpenTelemetry has for what it says.
pub(crate) fn request_span(headers: &HeaderMap, method: &Method, path: &str, route: &str) -> Span {
    let span = tracing::info_span!(
        target: "isobar_trace",
        "request",
        otel.kind = "server",
        otel.name = format_args!("{method} {route}"),
        http.request.method = %method,
        http.route = route,
        url.path = path,
        http.response.status_code = tracing::field::Empty,
        otel.status_code = tracing::field::Empty,
    );
    if !span.is_disabled() {
        let context = TraceContextPropagator::new().extract(&Headers(headers));
        if context.span().span_context().is_valid() {
            // Without a layer of OpenTelemetry there is nothing that would go on.
            drop(span.set_parent(context));
        }
    }
    span
}

/// Notes how a request has ended: its status, and for 500 and above that it is an error.
pub(crate) fn answered(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// Sends by the HTTP client that isobar has already: OpenTelemetry's thread has no runtime.
#[derive(Debug)]
struct Client {
    transport: Arc<HttpTransport>,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let transport = Arc::clone(&self.transport);
        let sent = self.runtime.spawn(async move {
            let (parts, body) = transport.send(request.map(Body::from)).await?.into_parts();
            Ok::<_, HttpError>(Response::from_parts(parts, body.bytes(ANSWER_BYTES).await?))
        });
        sent.await?
    }
}
