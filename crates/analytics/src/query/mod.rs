//! Analytics Engine's SQL over datasets.
//!
//! A [`Query`] is text with parameters; a [`QueryExecutor`] answers it. [`Analytics`] is the local one: it reads a [`ScanSource`],
//! which a backend implements so that its datasets can be queried: it streams arrow record batches with the fixed columns of
//! Analytics Engine's tables ([`schema`]). [`MemoryDatasets`] and, with feature `local`, `LocalDatasets` are the sources that exist.
//! An [`Answer`] is written in Analytics Engine's formats.
//!
//! Within: text -> syntax (`parse`) -> typed plan (`analyze`, `plan`) -> rows (`exec`) -> text (`format`).

mod analyze;
mod answer;
#[cfg(feature = "cloudflare-http")]
mod cloudflare;
mod column;
#[cfg(any(feature = "local", feature = "memory"))]
mod events;
mod exec;
mod executor;
mod explain;
mod format;
#[cfg(feature = "local")]
mod local;
#[cfg(feature = "memory")]
mod memory;
mod names;
mod parameters;
mod parse;
mod plan;
mod scan;
mod time;
mod types;
mod vector;

pub use answer::{Answer, AnswerColumn, Format, QueryStats, UnknownFormat, Value};
pub use column::{Column, schema};
pub use executor::{Analytics, QueryExecutor, QueryOptions};
#[cfg(feature = "local")]
pub use local::LocalDatasets;
#[cfg(feature = "memory")]
pub use memory::MemoryDatasets;
pub use parameters::{Parameter, Query};
pub use scan::{RecordBatches, ScanRequest, ScanSource, Scanned};
pub use types::{Type, Unit, Zone};
