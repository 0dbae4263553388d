//! Analytics Engine: its binding and that of Analytics SQL inside Workers, and its SQL API natively.

#[cfg(feature = "cloudflare-binding")]
mod binding;
#[cfg(all(feature = "cloudflare-http", not(target_arch = "wasm32")))]
mod sql;

#[cfg(feature = "cloudflare-binding")]
pub use binding::{AnalyticsEngineDataset, AnalyticsSqlBinding};
#[cfg(all(feature = "cloudflare-http", not(target_arch = "wasm32")))]
pub use sql::{AnalyticsEngineSql, SqlColumn, SqlResult};
