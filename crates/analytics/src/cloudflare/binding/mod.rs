//! Bindings inside Workers: a dataset of Analytics Engine, and Analytics SQL.

mod dataset;
mod sql;

pub use dataset::AnalyticsEngineDataset;
pub use sql::AnalyticsSqlBinding;
