//! The configuration's types: what isobar acts on, field by field as wrangler names it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// A Worker's configuration.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Config {
    /// The Worker's name.
    pub name: Option<String>,
    /// Its entry point.
    pub main: Option<String>,
    /// The date whose runtime behaviour it wants.
    pub compatibility_date: Option<String>,
    /// Runtime behaviours it wants by name.
    pub compatibility_flags: Vec<String>,
    /// Databases.
    pub d1_databases: Vec<D1Database>,
    /// Buckets.
    pub r2_buckets: Vec<R2Bucket>,
    /// Session objects.
    pub durable_objects: DurableObjects,
    /// The classes of session objects, as they came about.
    pub migrations: Vec<Migration>,
    /// Datasets.
    pub analytics_engine_datasets: Vec<AnalyticsEngineDataset>,
    /// Browsers.
    pub browser: Option<Browser>,
    /// Plain values for the application: texts, or JSON.
    pub vars: BTreeMap<String, serde_json::Value>,
    /// The static site.
    pub assets: Option<Assets>,
    /// The folder that a Pages project builds: served as [`assets`](Self::assets) where there are none.
    pub pages_build_output_dir: Option<String>,
    /// The environment that was chosen.
    #[serde(skip)]
    pub environment: Option<String>,
    /// The user's own configuration, where a build tool has written this one.
    #[serde(skip)]
    pub user_path: Option<PathBuf>,
    /// Where the configuration came from: relative paths in it are relative to its folder.
    #[serde(skip)]
    pub path: Option<PathBuf>,
    /// What is odd about the configuration without being wrong.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// A `[[d1_databases]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct D1Database {
    /// The name the application uses.
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
    /// The name under which it is kept locally: the database's, or else the binding's.
    #[must_use]
    pub fn local_name(&self) -> &str {
        self.database_name.as_deref().unwrap_or(&self.binding)
    }
}

/// A `[[r2_buckets]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct R2Bucket {
    /// The name the application uses.
    pub binding: String,
    /// The bucket's name.
    #[serde(default)]
    pub bucket_name: Option<String>,
}

impl R2Bucket {
    /// The name under which it is kept locally: the bucket's, or else the binding's.
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
    /// The name the application uses.
    pub name: String,
    /// The class of its objects.
    pub class_name: String,
    /// The Worker that has the class, where it is another one.
    #[serde(default)]
    pub script_name: Option<String>,
}

/// A `[[migrations]]` of classes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Migration {
    /// Its name.
    pub tag: String,
    /// Classes that came with it, with SQL.
    #[serde(default)]
    pub new_sqlite_classes: Vec<String>,
    /// Classes that came with it, without SQL.
    #[serde(default)]
    pub new_classes: Vec<String>,
}

/// An `[[analytics_engine_datasets]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct AnalyticsEngineDataset {
    /// The name the application uses.
    pub binding: String,
    /// The dataset's name.
    #[serde(default)]
    pub dataset: Option<String>,
}

impl AnalyticsEngineDataset {
    /// The name under which it is kept locally: the dataset's, or else the binding's.
    #[must_use]
    pub fn local_name(&self) -> &str {
        self.dataset.as_deref().unwrap_or(&self.binding)
    }
}

/// `[browser]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Browser {
    /// The name the application uses.
    pub binding: String,
}

/// `[assets]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Assets {
    /// The folder of the site.
    pub directory: Option<String>,
    /// The name the application uses.
    pub binding: Option<String>,
    /// How `.html` and `/` are treated.
    pub html_handling: Option<String>,
    /// What a missing page is answered with.
    pub not_found_handling: Option<String>,
    /// Whether the Worker comes before the assets.
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
