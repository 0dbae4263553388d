//! The types of a configuration: the keys that isobar supports, named as in wrangler.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// A Worker's configuration. A key that the file does not have is `None`, empty or `false`, unless its field names another default.
///
/// ```
/// use isobar_cloudflare::wrangler::{Config, Format};
///
/// let text = r#"
///     name = "shop"
///     [[d1_databases]]
///     binding = "DB"
///     database_name = "shop"
///     [env.staging]
///     vars = { GREETING = "hello" }
/// "#;
/// let config = Config::parse(text, Format::Toml, None)?;
/// assert_eq!(config.d1_databases[0].local_name(), "shop");
///
/// // Bindings are not inherited by an environment, as with wrangler.
/// let staging = Config::parse(text, Format::Toml, Some("staging"))?;
/// assert!(staging.d1_databases.is_empty());
/// assert_eq!(staging.vars["GREETING"], "hello");
/// # Ok::<(), isobar_cloudflare::wrangler::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Config {
    /// The Worker's name.
    pub name: Option<String>,
    /// Its entry point.
    pub main: Option<String>,
    /// The date that selects the runtime's behaviour, as `YYYY-MM-DD`. isobar itself behaves the same for every date.
    pub compatibility_date: Option<String>,
    /// Flags that select the runtime's behaviour.
    pub compatibility_flags: Vec<String>,
    /// D1 databases.
    pub d1_databases: Vec<D1Database>,
    /// R2 buckets.
    pub r2_buckets: Vec<R2Bucket>,
    /// Session objects (Durable Objects).
    pub durable_objects: DurableObjects,
    /// Migrations of the classes of session objects, in order.
    pub migrations: Vec<Migration>,
    /// The times at which the application's handler of scheduled events is called.
    pub triggers: Triggers,
    /// Analytics Engine datasets.
    pub analytics_engine_datasets: Vec<AnalyticsEngineDataset>,
    /// The Browser Rendering binding.
    pub browser: Option<Browser>,
    /// Plain values for the application: strings or JSON. [`secrets`](Config::secrets) of the same names go before them.
    pub vars: BTreeMap<String, serde_json::Value>,
    /// The static site.
    pub assets: Option<Assets>,
    /// The output folder of a Pages project, served as [`assets`](Self::assets) if there are none.
    pub pages_build_output_dir: Option<String>,
    /// The selected environment: a name of `[env.NAME]`. `None` for the top level.
    #[serde(skip)]
    pub environment: Option<String>,
    /// The user's own configuration, if a build tool has written this one.
    #[serde(skip)]
    pub user_path: Option<PathBuf>,
    /// The file of the configuration; `None` for one that was [parsed](Config::parse) from a text. Paths in it are relative to its folder.
    #[serde(skip)]
    pub path: Option<PathBuf>,
    /// Warnings about the configuration, for people, with the line where it is known: unknown keys, and keys that isobar ignores.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// A `[[d1_databases]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct D1Database {
    /// The binding name in the application.
    pub binding: String,
    /// The database's name.
    #[serde(default)]
    pub database_name: Option<String>,
    /// The database's id on Cloudflare.
    #[serde(default)]
    pub database_id: Option<String>,
    /// The folder of its migrations. Default: `migrations`.
    #[serde(default)]
    pub migrations_dir: Option<String>,
    /// The table that records which migrations were applied. Default: `d1_migrations`.
    #[serde(default)]
    pub migrations_table: Option<String>,
    /// The glob of its migrations, relative to the configuration's folder. Default: `MIGRATIONS_DIR/*.sql`.
    #[serde(default)]
    pub migrations_pattern: Option<String>,
}

impl D1Database {
    /// Returns the name under which it is stored locally: the database's, or else the binding's.
    #[must_use]
    pub fn local_name(&self) -> &str {
        self.database_name.as_deref().unwrap_or(&self.binding)
    }
}

/// A `[[r2_buckets]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct R2Bucket {
    /// The binding name in the application.
    pub binding: String,
    /// The bucket's name.
    #[serde(default)]
    pub bucket_name: Option<String>,
}

impl R2Bucket {
    /// Returns the name under which it is stored locally: the bucket's, or else the binding's.
    #[must_use]
    pub fn local_name(&self) -> &str {
        self.bucket_name.as_deref().unwrap_or(&self.binding)
    }
}

/// `[durable_objects]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DurableObjects {
    /// The bindings.
    pub bindings: Vec<DurableObjectBinding>,
}

/// A `[[durable_objects.bindings]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct DurableObjectBinding {
    /// The binding name in the application.
    pub name: String,
    /// The class of its objects.
    pub class_name: String,
    /// The Worker that has the class, if it is another one.
    #[serde(default)]
    pub script_name: Option<String>,
}

/// A `[[migrations]]` of classes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Migration {
    /// Name of the migration.
    pub tag: String,
    /// New classes with SQL storage.
    #[serde(default)]
    pub new_sqlite_classes: Vec<String>,
    /// New classes without SQL storage.
    #[serde(default)]
    pub new_classes: Vec<String>,
}

/// `[triggers]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Triggers {
    /// Cron expressions in UTC, as written: minute, hour, day of the month, month, day of the week.
    pub crons: Vec<String>,
}

/// An `[[analytics_engine_datasets]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct AnalyticsEngineDataset {
    /// The binding name in the application.
    pub binding: String,
    /// The dataset's name.
    #[serde(default)]
    pub dataset: Option<String>,
}

impl AnalyticsEngineDataset {
    /// Returns the name under which it is stored locally: the dataset's, or else the binding's.
    #[must_use]
    pub fn local_name(&self) -> &str {
        self.dataset.as_deref().unwrap_or(&self.binding)
    }
}

/// `[browser]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Browser {
    /// The binding name in the application.
    pub binding: String,
}

/// `[assets]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Assets {
    /// The folder of the site.
    pub directory: Option<String>,
    /// The binding name in the application.
    pub binding: Option<String>,
    /// Mapping from paths to HTML files. Default: `auto-trailing-slash`.
    pub html_handling: Option<String>,
    /// Answer for a path without a file.
    pub not_found_handling: Option<String>,
    /// The requests that the Worker answers before the assets. Default: none.
    pub run_worker_first: RunWorkerFirst,
}

/// `run_worker_first`: for all paths or none, or for those that match.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum RunWorkerFirst {
    /// For all, or none.
    Always(bool),
    /// For paths that match a glob; `!` before one excludes.
    Globs(Vec<String>),
}

impl Default for RunWorkerFirst {
    fn default() -> Self {
        Self::Always(false)
    }
}
