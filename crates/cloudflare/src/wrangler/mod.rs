//! The wrangler configuration: `wrangler.toml`, `wrangler.json` and `wrangler.jsonc`, with wrangler's rules.
//!
//! `[env.NAME]` replaces what it names and inherits the rest - except bindings and vars, which wrangler does not inherit:
//! an environment without its own has none. Unknown keys, and keys that wrangler supports and
//! isobar does not, give warnings. A key of the wrong type and a binding name that is used twice are errors that name file, line
//! and key.

mod document;
mod error;
mod expand;
mod keys;
mod model;
mod read;
mod secrets;

pub use document::Format;
pub use error::Error;
pub use model::{
    AnalyticsEngineDataset, Assets, Config, D1Database, DurableObjectBinding, DurableObjects, Migration, R2Bucket,
    RunWorkerFirst, Triggers,
};

/// File names of a configuration, in wrangler's order of lookup.
pub const FILE_NAMES: [&str; 3] = ["wrangler.json", "wrangler.jsonc", "wrangler.toml"];

/// The file, relative to the folder of the user's configuration, in which a build tool names the configuration that it has written.
pub const DEPLOY_CONFIG: &str = ".wrangler/deploy/config.json";

#[cfg(test)]
mod tests;
