//! Observation of requests: ids, events of a dataset and their statistics, Prometheus metrics, traces, the log.
//!
//! | module | what it has |
//! |---|---|
//! | `observer` | the layer: it sees each request begin and end |
//! | `request_id`, `meter` | ids; the time that a request waits for databases |
//! | `events` | the columns of a dataset's events, written and read |
//! | `stats`, `stats_queries`, `stats_cache` | statistics of them, by SQL, kept for some seconds |
//! | `product_events` | routes of the API that write events and report statistics |
//! | `metrics`, `traces`, `log` | Prometheus, OpenTelemetry, standard error |
//!
//! All of it is told about a request once, by `observer`, so that they agree: what Prometheus counts is
//! what the dataset has, but for sampling. Nothing of it blocks a request or fails one.

mod events;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod log;
mod meter;
#[cfg(feature = "metrics")]
mod metrics;
mod observer;
mod product_events;
mod request_id;
mod stats;
mod stats_cache;
mod stats_queries;
#[cfg(feature = "otel")]
mod traces;

#[cfg(feature = "workers")]
pub(crate) use events::Country;
pub use events::{ProductEvent, RequestEvent};
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
pub use log::init_log;
pub(crate) use meter::MeteredDatabase;
#[cfg(feature = "metrics")]
pub use metrics::Metrics;
#[cfg(feature = "metrics")]
pub(crate) use metrics::OpenConnection;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
pub(crate) use observer::cache_part;
pub(crate) use observer::{EventRate, Observer, observe};
pub use product_events::Analytics;
pub use request_id::REQUEST_ID;
pub(crate) use request_id::RandomId;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
pub(crate) use request_id::random_request_id;
#[cfg(any(feature = "workers", all(feature = "native", not(target_arch = "wasm32"))))]
pub(crate) use request_id::request_id;
pub use stats::Stats;
pub use stats_queries::stats;
#[cfg(feature = "otel")]
pub use traces::{Telemetry, TelemetryError};
#[cfg(feature = "otel")]
pub(crate) use traces::{answered, request_span};
