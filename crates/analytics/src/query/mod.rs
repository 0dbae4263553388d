//! Analytics Engine's SQL over datasets.
//!
//! A [`Query`] is text with parameters; a [`QueryExecutor`] answers it by an [`Answer`]. These are always compiled, so that code which
//! asks knows no executor. The executors: `Analytics` (feature `query`), which is local; `cloudflare::AnalyticsEngineSql` (feature
//! `cloudflare-http`), Cloudflare's SQL API from outside; `cloudflare::AnalyticsSqlBinding` (feature `cloudflare-binding`), inside
//! Workers; `clickhouse::ClickHouse` (features `clickhouse` and `query`), over the tables of a server; `mock::MockExecutor` (feature
//! `mock`), which answers by a script.
//!
//! `Analytics` reads a `ScanSource`, which a backend implements so that its datasets can be queried: it streams arrow record batches
//! with the fixed columns of Analytics Engine's tables. `MemoryDatasets` and, with feature `local`, `LocalDatasets` are the sources
//! that exist. An [`Answer`] is written in Analytics Engine's formats. The module `reference` has the language, function by function.
//!
//! Within: text -> syntax (`parse`) -> typed plan (`analyze`, `plan`) -> rows (`exec`) -> text (`format`).

#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
mod analytics;
#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
mod analyze;
mod answer;
#[cfg(all(feature = "clickhouse", feature = "query", not(target_arch = "wasm32")))]
mod clickhouse;
mod column;
mod dialect;
#[cfg(all(feature = "clickhouse", feature = "query", not(target_arch = "wasm32")))]
mod elsewhere;
#[cfg(all(feature = "query", any(feature = "local", feature = "memory"), not(target_arch = "wasm32")))]
mod events;
#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
mod exec;
mod executor;
#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
mod explain;
mod float;
#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
mod format;
mod format_clause;
#[cfg(any(
    feature = "cloudflare-http",
    feature = "cloudflare-binding",
    all(feature = "clickhouse", feature = "query", not(target_arch = "wasm32"))
))]
mod json;
mod lexer;
#[cfg(all(feature = "query", feature = "local", not(target_arch = "wasm32")))]
mod local;
#[cfg(all(feature = "query", feature = "memory", not(target_arch = "wasm32")))]
mod memory;
mod named;
#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
mod names;
mod parameters;
#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
mod parse;
#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
mod plan;
mod position;
#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
pub mod reference;
#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
mod scan;
#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
mod thread;
#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
mod time;
mod types;
#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
mod vector;

#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
pub use analytics::{Analytics, QueryOptions};
pub use answer::{Answer, AnswerColumn, Format, QueryStats, UnknownFormat, Value};
#[cfg(all(feature = "clickhouse", feature = "query", not(target_arch = "wasm32")))]
pub(crate) use clickhouse::to_clickhouse;
pub use column::Column;
#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
pub use column::schema;
pub use dialect::Dialect;
#[cfg(all(feature = "clickhouse", feature = "query", not(target_arch = "wasm32")))]
pub(crate) use elsewhere::{Elsewhere, read as read_elsewhere};
pub use executor::QueryExecutor;
#[cfg(any(feature = "cloudflare-binding", all(feature = "cloudflare-http", not(target_arch = "wasm32"))))]
pub(crate) use format_clause::without_format;
#[cfg(all(feature = "query", feature = "local", not(target_arch = "wasm32")))]
pub use local::LocalDatasets;
#[cfg(all(feature = "query", feature = "memory", not(target_arch = "wasm32")))]
pub use memory::MemoryDatasets;
pub use named::to_positions;
pub use parameters::{Parameter, Query};
#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
pub use scan::{RecordBatches, ScanRequest, ScanSource, Scanned};
pub use types::{Type, Unit, Zone};
