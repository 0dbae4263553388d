//! Bindings by name.
//!
//! A platform is a map from the names of wrangler.toml to trait objects, made once and never changed:
//! clones share it, and a lookup is a search in a map of some entries, so that handlers may do it for
//! each request or once at the start.
//!
//! Databases are wrapped on the way in, so that the time that a request waits for them is counted for
//! its event. Nothing else is: buckets and session objects are observed by their own layers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Duration;

use isobar_analytics::EventSink;
use isobar_api::Problem;
use isobar_api::mail::MailSender;
use isobar_db::Database;
#[cfg(feature = "browser")]
use isobar_objects::browser::BrowserEngine;
use isobar_sessions::SessionNamespace;
use isobar_storage::ObjectStore;

use crate::dataset_queries::DatasetQueries;
use crate::observe::MeteredDatabase;
use crate::readiness::ReadyCheck;
use crate::secret::Secret;

/// Longest time that events of session objects may take when the platform is closed.
#[cfg(not(target_arch = "wasm32"))]
const DRAIN: Duration = Duration::from_secs(10);

/// The bindings that an application runs on, by their names in wrangler.toml. Cheap to clone.
///
/// Call [`close`](Self::close) at the end of the process, since datasets buffer.
///
/// | binding | lookup | natively | inside Workers |
/// |---|---|---|---|
/// | `r2_buckets` | [`bucket`](Self::bucket) | a folder | R2 |
/// | `d1_databases` | [`database`](Self::database) | a SQLite file | D1 |
/// | `durable_objects` | [`sessions`](Self::sessions) | objects of this process | Durable Objects |
/// | `analytics_engine_datasets` | [`dataset`](Self::dataset), [`dataset_queries`](Self::dataset_queries) | files | Analytics Engine |
/// | `send_email` | [`mail`](Self::mail) | what the application gives | Email Service |
/// | `vars` | [`var`](Self::var) | the configuration | `env` |
/// | secrets | [`secret`](Self::secret) | `.dev.vars`, and what the application gives | `env` |
#[derive(Clone, Debug, Default)]
pub struct Platform {
    bindings: Arc<Bindings>,
}

#[derive(Clone, Default)]
struct Bindings {
    buckets: BTreeMap<String, Arc<dyn ObjectStore>>,
    databases: BTreeMap<String, Arc<dyn Database>>,
    sessions: BTreeMap<String, Arc<dyn SessionNamespace>>,
    datasets: BTreeMap<String, Arc<dyn EventSink>>,
    queries: BTreeMap<String, DatasetQueries>,
    mail: BTreeMap<String, Arc<dyn MailSender>>,
    #[cfg(feature = "browser")]
    browsers: BTreeMap<String, Arc<dyn BrowserEngine>>,
    vars: BTreeMap<String, serde_json::Value>,
    secrets: BTreeMap<String, Secret>,
    /// The native objects that fire cron triggers.
    triggers: Option<Arc<dyn SessionNamespace>>,
}

/// The names alone: inside Workers a secret is a var like others.
impl fmt::Debug for Bindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { buckets, databases, sessions, datasets, vars, secrets, .. } = self;
        f.debug_struct("Bindings")
            .field("buckets", &buckets.keys())
            .field("databases", &databases.keys())
            .field("sessions", &sessions.keys())
            .field("datasets", &datasets.keys())
            .field("vars", &vars.keys())
            .field("secrets", &secrets.keys())
            .finish()
    }
}

/// There is no binding of this kind and name.
///
/// It displays with the names there are, which helps whoever wrote the name, and is a 500 without them
/// for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingError {
    kind: &'static str,
    name: String,
    /// The names of this kind that there are.
    known: Vec<String>,
    /// Why the one of this name cannot be used.
    broken: Option<String>,
    /// The kind of binding that has the name instead.
    other: Option<&'static str>,
}

impl fmt::Display for BindingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, known, broken, other } = self;
        if let Some(broken) = broken {
            return write!(f, "the {kind} \"{name}\" cannot be used: {broken}");
        }
        match other {
            Some(other) => write!(f, "the binding \"{name}\" is a {other}, not a {kind}")?,
            None => write!(f, "there is no {kind} \"{name}\" among the bindings")?,
        }
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        write!(f, "; {kind}s: {known}")
    }
}

impl std::error::Error for BindingError {}

/// A missing binding is a fault of the deployment, not of the caller.
impl From<BindingError> for Problem {
    fn from(error: BindingError) -> Self {
        Self::ours(http::StatusCode::INTERNAL_SERVER_ERROR, "the service is not configured for this", &error)
    }
}

impl BindingError {
    /// A binding is there, but what it holds cannot be used. `why` must not contain a secret.
    ///
    /// ```
    /// use isobar_http_serve::BindingError;
    ///
    /// let error = BindingError::unusable("bucket", "STORAGE", "the disk is full");
    /// assert_eq!(error.to_string(), "the bucket \"STORAGE\" cannot be used: the disk is full");
    /// ```
    pub fn unusable(kind: &'static str, name: &str, why: impl fmt::Display) -> Self {
        Self { kind, name: name.to_owned(), known: Vec::new(), broken: Some(why.to_string()), other: None }
    }
}

impl Platform {
    /// Returns a builder that takes a platform binding by binding: for tests, and for backends of choice.
    #[must_use]
    pub fn builder() -> PlatformBuilder {
        PlatformBuilder::default()
    }

    /// Returns the bucket of this name.
    ///
    /// ```
    /// use isobar_http_serve::Platform;
    /// use isobar_storage::memory::MemoryStore;
    ///
    /// let platform = Platform::builder().with_bucket("STORAGE", MemoryStore::new()).build();
    /// let bucket = platform.bucket("STORAGE")?; // an Arc<dyn ObjectStore>
    /// # drop(bucket);
    /// # Ok::<(), isobar_http_serve::BindingError>(())
    /// ```
    ///
    /// # Errors
    /// [`BindingError`] where no bucket has this name, with the names of those there are.
    pub fn bucket(&self, name: &str) -> Result<Arc<dyn ObjectStore>, BindingError> {
        self.find("bucket", name, &self.bindings.buckets)
    }

    /// Returns the database of this name.
    ///
    /// ```
    /// # #[cfg(feature = "memory")]
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use isobar_db::{QueryableExt, SqliteDatabase};
    /// use isobar_http_serve::Platform;
    ///
    /// let platform = Platform::builder().with_database("DB", SqliteDatabase::memory().await?).build();
    /// let db = platform.database("DB")?; // an Arc<dyn Database>
    /// assert_eq!(db.prepare("SELECT 1 + 1").one::<i64>().await?, 2);
    /// # Ok(()) }
    /// # #[cfg(not(feature = "memory"))] fn main() {}
    /// ```
    ///
    /// # Errors
    /// As [`bucket`](Self::bucket).
    pub fn database(&self, name: &str) -> Result<Arc<dyn Database>, BindingError> {
        self.find("database", name, &self.bindings.databases)
    }

    /// Returns the session namespace of this name. Its objects run in this process natively;
    /// [`forward_session`](crate::forward_session) sends requests to them.
    ///
    /// # Errors
    /// As [`bucket`](Self::bucket).
    pub fn sessions(&self, name: &str) -> Result<Arc<dyn SessionNamespace>, BindingError> {
        self.find("session namespace", name, &self.bindings.sessions)
    }

    /// Returns the dataset of this name, for writing: that never blocks and never fails, and is durable
    /// at the next flush.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_analytics::DataPoint;
    /// use isobar_analytics::memory::MemorySink;
    /// use isobar_http_serve::Platform;
    ///
    /// let sink = MemorySink::new();
    /// let platform = Platform::builder().with_dataset("EVENTS", sink.clone()).build();
    /// platform.dataset("EVENTS")?.write(DataPoint::new().with_index("tenant-1").with_blob("signed in"));
    /// assert_eq!(sink.points().len(), 1);
    /// # }
    /// # Ok::<(), isobar_http_serve::BindingError>(())
    /// ```
    ///
    /// # Errors
    /// As [`bucket`](Self::bucket).
    pub fn dataset(&self, name: &str) -> Result<Arc<dyn EventSink>, BindingError> {
        self.find("dataset", name, &self.bindings.datasets)
    }

    /// Returns the queries of the dataset of this name. Where a platform is opened by a configuration, every dataset has some;
    /// they fail with [`Unsupported`](isobar_analytics::ErrorKind::Unsupported) where nothing to ask is configured.
    ///
    /// # Errors
    /// As [`bucket`](Self::bucket).
    pub fn dataset_queries(&self, name: &str) -> Result<DatasetQueries, BindingError> {
        self.find("queryable dataset", name, &self.bindings.queries)
    }

    /// Returns the browsers of this name.
    ///
    /// # Errors
    /// As [`bucket`](Self::bucket).
    #[cfg(feature = "browser")]
    pub fn browser(&self, name: &str) -> Result<Arc<dyn BrowserEngine>, BindingError> {
        self.find("browser", name, &self.bindings.browsers)
    }

    /// Returns the sender of e-mail of this name. Natively it is there where the application has given
    /// one: see [`WranglerPlatform::mail`](crate::WranglerPlatform::mail).
    ///
    /// # Errors
    /// As [`bucket`](Self::bucket).
    pub fn mail(&self, name: &str) -> Result<Arc<dyn MailSender>, BindingError> {
        self.find("sender of e-mail", name, &self.bindings.mail)
    }

    /// Returns the var of this name: a text, or JSON. Vars may be logged; what must not be is a
    /// [`secret`](Self::secret).
    ///
    /// ```
    /// use isobar_http_serve::Platform;
    ///
    /// let flags = serde_json::json!({"signup": true});
    /// let platform = Platform::builder().with_var("REGION", "weur").with_var("FLAGS", flags).build();
    /// assert_eq!(platform.var("REGION")?, "weur");
    /// assert_eq!(platform.var("FLAGS")?["signup"], true);
    /// # Ok::<(), isobar_http_serve::BindingError>(())
    /// ```
    ///
    /// # Errors
    /// As [`bucket`](Self::bucket).
    pub fn var(&self, name: &str) -> Result<serde_json::Value, BindingError> {
        self.find("var", name, &self.bindings.vars)
    }

    /// Returns the secret of this name. Inside Workers the runtime does not tell secrets from vars, and
    /// a text is both.
    ///
    /// # Errors
    /// As [`bucket`](Self::bucket).
    pub fn secret(&self, name: &str) -> Result<Secret, BindingError> {
        self.find("secret", name, &self.bindings.secrets)
    }

    /// Returns the names of the databases, in alphabetical order.
    ///
    /// For programs that migrate or back up all of them.
    ///
    /// ```
    /// # #[cfg(feature = "memory")]
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use isobar_db::SqliteDatabase;
    /// use isobar_http_serve::Platform;
    ///
    /// let builder = Platform::builder().with_database("USERS", SqliteDatabase::memory().await?);
    /// let platform = builder.with_database("BILLING", SqliteDatabase::memory().await?).build();
    /// assert_eq!(platform.database_names().collect::<Vec<_>>(), ["BILLING", "USERS"]);
    /// # Ok(()) }
    /// # #[cfg(not(feature = "memory"))] fn main() {}
    /// ```
    pub fn database_names(&self) -> impl Iterator<Item = &str> {
        self.bindings.databases.keys().map(String::as_str)
    }

    /// The platform with what fires its cron triggers, which ends with it.
    #[cfg(all(any(feature = "native", feature = "memory"), not(target_arch = "wasm32")))]
    pub(crate) fn with_triggers(&self, triggers: Arc<dyn SessionNamespace>) -> Self {
        Self { bindings: Arc::new(Bindings { triggers: Some(triggers), ..(*self.bindings).clone() }) }
    }

    #[cfg(feature = "workers")]
    pub(crate) fn datasets(&self) -> impl Iterator<Item = &Arc<dyn EventSink>> {
        self.bindings.datasets.values()
    }

    /// A check of each binding that holds data, by its name: whether it can write now.
    pub(crate) fn ready_checks(&self) -> Vec<(String, ReadyCheck)> {
        let Bindings { buckets, databases, datasets, sessions, triggers, .. } = &*self.bindings;
        let mut checks: Vec<(String, ReadyCheck)> = Vec::new();
        for (name, bucket) in buckets {
            let bucket = Arc::clone(bucket);
            checks.push((format!("bucket {name}"), check(move || keeps(Arc::clone(&bucket)))));
        }
        for (name, database) in databases {
            let database = Arc::clone(database);
            checks.push((format!("database {name}"), check(move || answers(Arc::clone(&database)))));
        }
        for (name, namespace) in sessions {
            let namespace = Arc::clone(namespace);
            checks.push((format!("session namespace {name}"), check(move || hosts(Arc::clone(&namespace)))));
        }
        if let Some(triggers) = triggers {
            let triggers = Arc::clone(triggers);
            checks.push(("cron triggers".to_owned(), check(move || hosts(Arc::clone(&triggers)))));
        }
        for (name, dataset) in datasets {
            let dataset = Arc::clone(dataset);
            checks.push((format!("dataset {name}"), check(move || stores(Arc::clone(&dataset)))));
        }
        checks
    }

    /// Drains the session objects, for 10 s at most, and then flushes and closes the datasets: at the end of the process, after the server
    /// has drained. Events of objects that take longer are broken off when the platform is dropped, which is logged. Data points that are
    /// written later are dropped.
    ///
    /// # Errors
    /// The first failure of a dataset; all are tried.
    pub async fn close(&self) -> Result<(), isobar_analytics::Error> {
        #[cfg(not(target_arch = "wasm32"))]
        self.drain_sessions().await;
        let mut result = Ok(());
        for dataset in self.bindings.datasets.values() {
            result = result.and(dataset.close().await);
        }
        result
    }

    /// Ends the work of the session objects in order.
    #[cfg(not(target_arch = "wasm32"))]
    async fn drain_sessions(&self) {
        let Bindings { sessions, triggers, .. } = &*self.bindings;
        let drained = sessions.values().chain(triggers).map(|namespace| namespace.drain(DRAIN));
        for error in futures_util::future::join_all(drained).await.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "session objects were still at work when their platform was closed");
        }
    }

    /// Looks a name up. Where another kind of binding has it, the error says so: the wrong method is as
    /// likely as the wrong name.
    fn find<T: Clone>(&self, kind: &'static str, name: &str, among: &BTreeMap<String, T>) -> Result<T, BindingError> {
        among.get(name).cloned().ok_or_else(|| BindingError {
            kind,
            name: name.to_owned(),
            known: among.keys().cloned().collect(),
            broken: None,
            other: self.kind_of(name),
        })
    }

    /// The kind of binding that has a name.
    fn kind_of(&self, name: &str) -> Option<&'static str> {
        let Bindings { buckets, databases, sessions, datasets, mail, vars, secrets, .. } = &*self.bindings;
        let kinds = [
            ("bucket", buckets.contains_key(name)),
            ("database", databases.contains_key(name)),
            ("session namespace", sessions.contains_key(name)),
            ("dataset", datasets.contains_key(name)),
            ("sender of e-mail", mail.contains_key(name)),
            ("var", vars.contains_key(name)),
            ("secret", secrets.contains_key(name)),
        ];
        kinds.into_iter().find(|(_, has)| *has).map(|(kind, _)| kind)
    }
}

fn check<F: Future<Output = Result<(), String>> + Send + 'static>(
    run: impl Fn() -> F + Send + Sync + 'static,
) -> ReadyCheck {
    Arc::new(move || Box::pin(run()))
}

/// Whether a bucket takes writes.
async fn keeps(bucket: Arc<dyn ObjectStore>) -> Result<(), String> {
    bucket.health().map_err(|error| error.to_string())
}

/// Whether a database can begin and end a write.
async fn answers(database: Arc<dyn Database>) -> Result<(), String> {
    database.health().await.map_err(|error| error.to_string())
}

/// Whether a namespace's host works.
async fn hosts(namespace: Arc<dyn SessionNamespace>) -> Result<(), String> {
    namespace.health().await.map_err(|error| error.to_string())
}

/// Whether a dataset can store what is written to it.
async fn stores(dataset: Arc<dyn EventSink>) -> Result<(), String> {
    dataset.health().await.map_err(|error| error.to_string())
}

/// Builds a [`Platform`] binding by binding: for tests, and for backends of one's choice. A name that is bound twice has the
/// later binding.
///
/// ```
/// use isobar_http_serve::{Platform, Secret};
/// use isobar_storage::memory::MemoryStore;
///
/// let platform = Platform::builder()
///     .with_bucket("STORAGE", MemoryStore::new())
///     .with_var("REGION", "weur")
///     .with_secret("TOKEN", Secret::new("s3cret"))
///     .build();
/// assert_eq!(platform.var("REGION")?, "weur");
/// assert_eq!(platform.secret("TOKEN")?.expose(), "s3cret");
/// let wrong = platform.database("STORAGE").unwrap_err();
/// assert_eq!(wrong.to_string(), "the binding \"STORAGE\" is a bucket, not a database; databases: none");
/// # Ok::<(), isobar_http_serve::BindingError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct PlatformBuilder {
    bindings: Bindings,
}

impl PlatformBuilder {
    /// Binds a bucket.
    #[must_use]
    pub fn with_bucket(mut self, name: impl Into<String>, bucket: impl ObjectStore + 'static) -> Self {
        self.bindings.buckets.insert(name.into(), Arc::new(bucket));
        self
    }

    /// Binds a database. The time that a request waits for it is counted for the request's event.
    #[must_use]
    pub fn with_database(mut self, name: impl Into<String>, database: impl Database + 'static) -> Self {
        // What its requests wait for it counts for them.
        let metered = MeteredDatabase(Arc::new(database));
        self.bindings.databases.insert(name.into(), Arc::new(metered));
        self
    }

    /// Binds a session namespace.
    ///
    /// ```
    /// # #[cfg(feature = "memory")]
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use isobar_http_serve::{Platform, Scheduler};
    /// use isobar_sessions::memory::MemoryHost;
    ///
    /// let schedulers = MemoryHost::<Scheduler>::new("Scheduler", Vec::new)?;
    /// let platform = Platform::builder().with_sessions("SCHEDULER", schedulers).build();
    /// assert!(platform.sessions("SCHEDULER").is_ok());
    /// # Ok(()) }
    /// # #[cfg(not(feature = "memory"))] fn main() {}
    /// ```
    #[must_use]
    pub fn with_sessions(mut self, name: impl Into<String>, sessions: impl SessionNamespace + 'static) -> Self {
        self.bindings.sessions.insert(name.into(), Arc::new(sessions));
        self
    }

    /// Binds a dataset.
    #[must_use]
    pub fn with_dataset(mut self, name: impl Into<String>, dataset: impl EventSink + 'static) -> Self {
        self.bindings.datasets.insert(name.into(), Arc::new(dataset));
        self
    }

    /// Binds the queries of a dataset, by the dataset's name.
    #[must_use]
    pub fn with_dataset_queries(mut self, name: impl Into<String>, queries: DatasetQueries) -> Self {
        self.bindings.queries.insert(name.into(), queries);
        self
    }

    /// Binds a sender of e-mail.
    #[must_use]
    pub fn with_mail(mut self, name: impl Into<String>, sender: Arc<dyn MailSender>) -> Self {
        self.bindings.mail.insert(name.into(), sender);
        self
    }

    /// Binds browsers.
    #[cfg(feature = "browser")]
    #[must_use]
    pub fn with_browser(mut self, name: impl Into<String>, browsers: Arc<dyn BrowserEngine>) -> Self {
        self.bindings.browsers.insert(name.into(), browsers);
        self
    }

    /// Binds a var: a text, or JSON.
    #[must_use]
    pub fn with_var(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.bindings.vars.insert(name.into(), value.into());
        self
    }

    /// Binds a secret, which shows in no log, error or debug output.
    #[must_use]
    pub fn with_secret(mut self, name: impl Into<String>, secret: Secret) -> Self {
        self.bindings.secrets.insert(name.into(), secret);
        self
    }

    /// Returns a platform with the bindings so far; those that are added later are not on it.
    #[must_use]
    pub fn build(&self) -> Platform {
        Platform { bindings: Arc::new(self.bindings.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_has_no_values() {
        let builder = Platform::builder().with_var("KEY", "hidden").with_secret("TOKEN", Secret::new("hidden"));
        let shown = format!("{:?} {builder:?}", builder.build());
        assert!(shown.contains("KEY") && shown.contains("TOKEN") && !shown.contains("hidden"), "{shown}");
    }
}
