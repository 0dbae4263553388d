//! The wrangler configuration: `wrangler.toml`, `wrangler.json` and `wrangler.jsonc`, with wrangler's rules.
//!
//! `[env.NAME]` replaces what it names and inherits the rest - except bindings and vars, which wrangler does not inherit:
//! an environment without its own has none. Unknown keys, and keys that wrangler supports and
//! isobar does not, give warnings. A key of the wrong type and a binding name that is used twice are errors that name file, line
//! and key.
//!
//! | what the file has | what comes of it |
//! |---|---|
//! | a key that isobar supports | a field of [`Config`] |
//! | one of the wrong type, or a binding without its name | an [`Error`] with the line |
//! | two bindings of one name, or a binding and a var | an [`Error`], as the application could reach only one |
//! | a key that wrangler has and isobar does not serve (`kv_namespaces`, `queues`) | a warning that names its bindings |
//! | a key that neither knows (`d1_database`) | a warning, also within tables |
//! | a Worker's or a bucket's name that Cloudflare refuses | a warning: it works here, and not there |
//! | a binding at the top level that the chosen environment lacks | a warning, as it is not inherited |
//!
//! The rules are those of wrangler 4: its documentation, "Configuration", and where that is silent, its behaviour.

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
    AnalyticsEngineDataset, Assets, Browser, Config, D1Database, DurableObjectBinding, DurableObjects, Migration,
    R2Bucket, RunWorkerFirst, Triggers,
};

/// File names of a configuration, in wrangler's order of lookup.
pub const FILE_NAMES: [&str; 3] = ["wrangler.json", "wrangler.jsonc", "wrangler.toml"];

/// The file, relative to the folder of the user's configuration, in which a build tool names the configuration that it has written.
pub const DEPLOY_CONFIG: &str = ".wrangler/deploy/config.json";

#[cfg(test)]
mod tests;
