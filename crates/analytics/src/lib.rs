//! Analytics events with the semantics of Workers Analytics Engine, natively and inside Workers.
//!
//! [`EventSink`] is the dyn-safe trait: writing never blocks and never fails, and dropped events are counted.
//! Backends: [`memory::MemorySink`] (default), `local::LocalSink` (feature `local`: durable segments in a folder),
//! `clickhouse::ClickHouseSink` (feature `clickhouse`: a table of a ClickHouse server), `cloudflare::AnalyticsEngineDataset` (feature
//! `cloudflare-binding`: inside Workers) and `mock::MockSink` (feature `mock`) over any of them. `layers` (feature `layers`) are sinks over these: several as one, and one that scrubs points.
//!
//! [`query::QueryExecutor`] is the dyn-safe trait of asking a dataset in Analytics Engine's SQL: the local executor (feature `query`),
//! `clickhouse::ClickHouse` (features `clickhouse` and `query`), `cloudflare::AnalyticsEngineSql` (feature `cloudflare-http`) from outside, `cloudflare::AnalyticsSqlBinding` (feature
//! `cloudflare-binding`) inside Workers, and `mock::MockExecutor` (feature `mock`).
//!
//! ```
//! use isobar_analytics::{DataPoint, EventSink, memory::MemorySink};
//! let sink = MemorySink::new();
//! sink.write(DataPoint::new().with_index("tenant-1").with_blob("/home").with_double(12.5));
//! assert_eq!(sink.points()[0].point.blobs[0].as_ref(), b"/home");
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod ext;
mod operation;
mod point;
mod schema;
mod sink;
mod typed;

#[cfg(all(feature = "clickhouse", not(target_arch = "wasm32")))]
pub mod clickhouse;
#[cfg(any(feature = "cloudflare-binding", all(feature = "cloudflare-http", not(target_arch = "wasm32"))))]
pub mod cloudflare;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "layers")]
pub mod layers;
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
pub mod local;
#[cfg(feature = "memory")]
pub mod memory;
#[cfg(feature = "mock")]
pub mod mock;
pub mod query;

pub use error::{Error, ErrorKind, Result};
pub use ext::EventSinkExt;
pub use operation::Operation;
pub use point::{DataPoint, Event, PointRef, Problem};
pub use schema::{Position, Schema};
pub use sink::{Batch, Batches, Damage, DropReason, Drops, EventSink, Scan, ScanOptions, SinkStats};
pub use typed::{BlobField, DoubleField, Scratch, TypedEvent};

#[cfg(feature = "derive")]
pub use isobar_analytics_macros::Event;

/// Limits of Analytics Engine, which every backend enforces. Source: its documentation, "Limits".
pub mod limits {
    /// Most indexes of a data point.
    pub const INDEXES: usize = 1;
    /// Size limit of an index in bytes.
    pub const INDEX_BYTES: usize = 96;
    /// Most blobs of a data point.
    pub const BLOBS: usize = 20;
    /// Most doubles of a data point.
    pub const DOUBLES: usize = 20;
    /// Size limit of all blobs of a data point together, in bytes.
    pub const BLOB_BYTES: usize = 16 * 1024;
    /// Most data points that a Worker may write in one invocation. Not enforced natively.
    ///
    /// Source: the same page.
    pub const POINTS_PER_INVOCATION: usize = 250;
}

/// The quick start of the README, compiled and run as a doctest.
#[cfg(all(doctest, feature = "memory", feature = "derive"))]
#[doc = include_str!("../README.md")]
struct Readme;
