//! The wrangler configuration: `wrangler.toml`, `wrangler.json` and `wrangler.jsonc`, with wrangler's rules.
//!
//! `[env.NAME]` replaces what it names and inherits the rest - except bindings and vars, which wrangler does not inherit:
//! an environment without its own has none. Keys that wrangler does not know are warned about, and so is what it binds and
//! isobar does not serve; a key of the wrong type, or a binding's name that stands twice, is an error that names file, line
//! and key.

mod document;
mod error;
mod keys;
mod model;
mod read;
mod secrets;

pub use error::Error;
pub use model::{
    AnalyticsEngineDataset, Assets, Config, D1Database, DurableObjectBinding, DurableObjects, Migration, R2Bucket,
    RunWorkerFirst,
};
pub use read::Format;

/// The names under which a folder's configuration is looked for, in wrangler's order.
pub const FILE_NAMES: [&str; 3] = ["wrangler.json", "wrangler.jsonc", "wrangler.toml"];

/// The file in which a build tool names the configuration that it has written, below the folder of the user's own.
pub const DEPLOY_CONFIG: &str = ".wrangler/deploy/config.json";

#[cfg(test)]
mod tests;
