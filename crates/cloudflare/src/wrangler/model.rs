//! The types of a configuration: the keys that isobar supports, named as in wrangler.
//!
//! serde reads every type here by wrangler's names. A new key is a field here, a row of the
//! table `SERVED` in `keys.rs`, and a line of `Source::config` in `read.rs`; without the row it is warned about as not served or unknown.

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
///
/// Made by [`load`](Self::load), [`find`](Self::find) or [`parse`](Self::parse). Names and paths stand as in the file; nothing is looked up
/// on the disk but `404.html` of a Pages project.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Config {
    /// The Worker's name.
    ///
    /// With an environment that names none: `NAME-ENVIRONMENT`, as wrangler calls its Worker. Cloudflare takes lower-case letters, digits, `-` and
    /// `_`; another name gives a warning.
    pub name: Option<String>,
    /// Its entry point.
    ///
    /// A path relative to the configuration's folder.
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
    ///
    /// An environment inherits them.
    pub migrations: Vec<Migration>,
    /// The times at which the application's handler of scheduled events is called.
    ///
    /// An environment inherits them.
    pub triggers: Triggers,
    /// Analytics Engine datasets.
    pub analytics_engine_datasets: Vec<AnalyticsEngineDataset>,
    /// The Browser Rendering binding.
    pub browser: Option<Browser>,
    /// Plain values for the application: strings or JSON. [`secrets`](Config::secrets) of the same names go before them.
    ///
    /// Not inherited by an environment.
    pub vars: BTreeMap<String, serde_json::Value>,
    /// The static site.
    ///
    /// An environment inherits it.
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
    ///
    /// Each is one line without its file's name. They are for the terminal; nothing depends on their text.
    ///
    /// ```
    /// use isobar_cloudflare::wrangler::{Config, Format};
    ///
    /// let text = "name = \"shop\"\ncolour = \"blue\"\n[[kv_namespaces]]\nbinding = \"CACHE\"\n";
    /// let warnings = Config::parse(text, Format::Toml, None)?.warnings;
    /// assert_eq!(warnings[0], "line 2: unexpected key \"colour\"");
    /// assert!(warnings[1].ends_with("\"kv_namespaces\" (CACHE) is not served: the application has no such binding"));
    /// # Ok::<(), isobar_cloudflare::wrangler::Error>(())
    /// ```
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// A `[[d1_databases]]`.
///
/// ```
/// use isobar_cloudflare::wrangler::{Config, Format};
///
/// let text = "[[d1_databases]]\nbinding = \"DB\"\n[[d1_databases]]\nbinding = \"LOG\"\ndatabase_name = \"shop-log\"\n";
/// let databases = Config::parse(text, Format::Toml, None)?.d1_databases;
/// let names: Vec<&str> = databases.iter().map(|database| database.local_name()).collect();
/// assert_eq!(names, ["DB", "shop-log"]);
/// assert_eq!(databases[0].migrations_dir, None); // `migrations`
/// # Ok::<(), isobar_cloudflare::wrangler::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct D1Database {
    /// The binding name in the application.
    pub binding: String,
    /// The database's name.
    #[serde(default)]
    pub database_name: Option<String>,
    /// The database's id on Cloudflare.
    ///
    /// Used by requests to Cloudflare alone; the local file goes by [`local_name`](Self::local_name).
    #[serde(default)]
    pub database_id: Option<String>,
    /// The folder of its migrations. Default: `migrations`.
    ///
    /// Relative to the configuration's folder.
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
    ///
    /// Cloudflare takes 3 to 63 lower-case letters, digits and `-`, with a letter or a digit at both ends; another name gives a warning.
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
    /// The Worker that has the class, if it is another one. Default: this Worker.
    #[serde(default)]
    pub script_name: Option<String>,
}

/// A `[[migrations]]` of classes.
///
/// Cloudflare applies each tag once, in the order of the file.
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
    ///
    /// They are not checked here: what fires them does (`isobar_sessions::triggers`). Default: none.
    pub crons: Vec<String>,
}

/// An `[[analytics_engine_datasets]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct AnalyticsEngineDataset {
    /// The binding name in the application.
    pub binding: String,
    /// The dataset's name.
    ///
    /// Default: the binding's name, see [`local_name`](Self::local_name).
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
///
/// ```
/// use isobar_cloudflare::wrangler::{Browser, Config, Format};
///
/// let browser: Option<Browser> = Config::parse("[browser]\nbinding = \"BROWSER\"", Format::Toml, None)?.browser;
/// assert_eq!(browser.expect("the file has one").binding, "BROWSER");
/// # Ok::<(), isobar_cloudflare::wrangler::Error>(())
/// ```
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
    ///
    /// Relative to the configuration's folder; [`Config::resolve`] makes a path of it.
    pub directory: Option<String>,
    /// The binding name in the application.
    pub binding: Option<String>,
    /// Mapping from paths to HTML files. Default: `auto-trailing-slash`.
    ///
    /// The others are `force-trailing-slash`, `drop-trailing-slash` and `none`; the text is checked where the site is opened.
    pub html_handling: Option<String>,
    /// Answer for a path without a file.
    ///
    /// `404-page` (the nearest `404.html`), `single-page-application` (`/index.html` with 200) or `none`. Default: `none`. Checked where the
    /// site is opened.
    pub not_found_handling: Option<String>,
    /// The requests that the Worker answers before the assets. Default: none.
    pub run_worker_first: RunWorkerFirst,
}

/// `run_worker_first`: for all paths or none, or for those that match.
///
/// ```
/// use isobar_cloudflare::wrangler::{Config, Format, RunWorkerFirst};
///
/// let text = r#"{ "assets": { "directory": "./dist", "run_worker_first": ["/api/*", "!/api/docs/*"] } }"#;
/// let assets = Config::parse(text, Format::Jsonc, None)?.assets.expect("the file has assets");
/// let globs = vec!["/api/*".to_owned(), "!/api/docs/*".to_owned()];
/// assert_eq!(assets.run_worker_first, RunWorkerFirst::Globs(globs));
/// assert_eq!(RunWorkerFirst::default(), RunWorkerFirst::Always(false));
/// # Ok::<(), isobar_cloudflare::wrangler::Error>(())
/// ```
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
