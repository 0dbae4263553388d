//! Reading datasets by column, for queries.
//!
//! [`ScanSource`] is what a backend implements so that its datasets can be queried: it streams arrow record batches with the fixed
//! columns of Analytics Engine's tables ([`schema`]). [`MemoryDatasets`] and, with feature `local`, `LocalDatasets` are the sources
//! that exist.

mod column;
mod events;
#[cfg(feature = "local")]
mod local;
#[cfg(feature = "memory")]
mod memory;
mod scan;

pub use column::{Column, schema};
#[cfg(feature = "local")]
pub use local::LocalDatasets;
#[cfg(feature = "memory")]
pub use memory::MemoryDatasets;
pub use scan::{RecordBatches, ScanRequest, ScanSource, Scanned};
