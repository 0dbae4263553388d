//! Analytics Engine: its binding inside Workers, and its SQL API natively.

#[cfg(feature = "cloudflare-binding")]
mod binding;
#[cfg(all(feature = "cloudflare-http", not(target_arch = "wasm32")))]
mod sql;

#[cfg(feature = "cloudflare-binding")]
pub use binding::AnalyticsEngineDataset;
#[cfg(all(feature = "cloudflare-http", not(target_arch = "wasm32")))]
pub use sql::{AnalyticsEngineSql, SqlColumn, SqlResult};
