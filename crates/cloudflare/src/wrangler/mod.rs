//! The wrangler configuration: `wrangler.toml`, `wrangler.json` and `wrangler.jsonc`, with wrangler's rules.
//!
//! `[env.NAME]` replaces what it names and inherits the rest - except bindings and vars, which wrangler does not inherit:
//! an environment without its own has none. Keys that nobody knows are warned about; a key of the wrong type is an error
//! that names file, line and key.

mod error;
mod model;
mod read;

pub use error::Error;
pub use model::{
    AnalyticsEngineDataset, Assets, Config, D1Database, DurableObjectBinding, DurableObjects, Migration, R2Bucket,
    RunWorkerFirst,
};
pub use read::Format;

/// The names under which a folder's configuration is looked for, in wrangler's order.
pub const FILE_NAMES: [&str; 3] = ["wrangler.json", "wrangler.jsonc", "wrangler.toml"];
