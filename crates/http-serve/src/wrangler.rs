//! From a wrangler configuration to a platform on local or memory backends.
//!
//! Local bindings lie below one root, named after the configuration: the layout stands in the guide,
//! "Files". Nothing of it is made before [`WranglerPlatform::local`] is called, and a failure there
//! leaves what was made so far: opening is idempotent.
//!
//! Session objects need the platform and are a part of it. The circle is broken by `DeferredNamespace`:
//! environments get stand-ins for all namespaces, which wait until theirs is open.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isobar_analytics::EventSink;
use isobar_analytics::query::QueryExecutor;
use isobar_cloudflare::wrangler::Config;
#[cfg(feature = "native")]
use isobar_db::slow_queries::SlowQueryOptions;
use isobar_sessions::triggers::{CronTrigger, CronTriggers};
use isobar_sessions::{DeferredNamespace, SessionNamespace, SessionObject};

use crate::app::App;
use crate::dataset_queries::DatasetQueries;
use crate::platform::{BindingError, Platform, PlatformBuilder};
use crate::secret::Secret;
#[cfg(feature = "native")]
use crate::state::make_root;

#[cfg(feature = "native")]
mod databases;
mod error;

pub use error::PlatformError;

/// A platform about to be opened: the configuration, and the classes that its session bindings name.
///
/// ```no_run
/// # #[cfg(feature = "native")]
/// # async fn example() -> Result<(), isobar_http_serve::PlatformError> {
/// use isobar_http_serve::{Platform, Secret};
///
/// // The buckets, databases and datasets of wrangler.toml, kept in .isobar beside it.
/// let platform = Platform::from_wrangler("wrangler.toml")?
///     .secret("TOKEN", Secret::new(std::env::var("TOKEN").unwrap_or_default()))
///     .local(".isobar")
///     .await?;
/// # drop(platform);
/// # Ok(()) }
/// ```
pub struct WranglerPlatform {
    config: Config,
    classes: Vec<(String, Class)>,
    secrets: Vec<(String, Secret)>,
    mail: Vec<(String, Arc<dyn isobar_api::mail::MailSender>)>,
    triggers: Option<TriggeredApp>,
    /// By the datasets' names; those of all others have an empty one.
    #[cfg(feature = "native")]
    events: std::collections::BTreeMap<String, isobar_analytics::local::LocalOptions>,
    #[cfg(feature = "native")]
    history: Option<isobar_db::HistoryOptions>,
    #[cfg(feature = "native")]
    slow_queries: Option<SlowQueryOptions>,
    /// The server of the databases.
    #[cfg(feature = "postgres")]
    postgres: Option<String>,
    #[cfg(feature = "browser")]
    browsers: Option<Arc<dyn isobar_objects::browser::BrowserEngine>>,
}

/// A dataset that was opened.
struct Dataset<S> {
    binding: String,
    /// Its name in queries.
    name: String,
    sink: S,
}

/// Memory of a query over local datasets in bytes.
#[cfg(feature = "query")]
const QUERY_MEMORY: usize = 64 << 20;
/// Longest time of a query over local datasets.
#[cfg(feature = "query")]
const QUERY_TIME: std::time::Duration = std::time::Duration::from_secs(20);
#[cfg(not(feature = "query"))]
const WITHOUT_QUERY: crate::not_configured::NotConfigured = crate::not_configured::NotConfigured(
    std::borrow::Cow::Borrowed("this server is built without the feature `query`, by which datasets are asked"),
);

/// Opens a namespace of one class, given the platform of its environments.
type Class = Box<dyn FnOnce(Target<'_>, &Platform) -> Result<Arc<dyn SessionNamespace>, isobar_sessions::Error>>;

/// Makes the application whose handler cron triggers call.
type TriggeredApp = Box<dyn FnOnce(&Platform) -> Result<App, BindingError>>;

/// Class of the objects that fire cron triggers, which no class of an application can have.
const CRON_CLASS: &str = "isobar.CronTrigger";
/// Number of those that may be awake at once.
#[cfg(feature = "native")]
const CRONS_AWAKE: usize = 16;

/// Where a namespace is kept, and under which name.
enum Target<'a> {
    /// With how many of its objects may be awake at once.
    #[cfg(feature = "native")]
    Folder(&'a Path, &'a str, usize),
    #[cfg(feature = "memory")]
    Memory(&'a str),
}

impl Platform {
    /// Reads a wrangler configuration: a file, or a folder that has one, or is below one that has.
    ///
    /// ```
    /// use isobar_http_serve::Platform;
    ///
    /// let project = tempfile::tempdir()?;
    /// let file = project.path().join("wrangler.toml");
    /// std::fs::write(&file, "name = \"hello\"\nr2_buckets = [{ binding = \"STORAGE\", bucket_name = \"files\" }]\n")?;
    /// let configured = Platform::from_wrangler(project.path())?;
    /// assert_eq!(configured.config().r2_buckets[0].local_name(), "files");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_wrangler(path: impl AsRef<Path>) -> Result<WranglerPlatform, PlatformError> {
        let path = path.as_ref();
        let config = if path.is_dir() { Config::find(path, None)? } else { Config::load(path, None)? };
        Ok(WranglerPlatform::new(config))
    }
}

impl fmt::Debug for WranglerPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let classes: Vec<_> = self.classes.iter().map(|(name, _)| name).collect();
        f.debug_struct("WranglerPlatform").field("config", &self.config).field("classes", &classes).finish()
    }
}

impl WranglerPlatform {
    /// Takes a configuration; its warnings are logged.
    #[must_use]
    pub fn new(config: Config) -> Self {
        for warning in &config.warnings {
            tracing::warn!("wrangler configuration: {warning}");
        }
        Self {
            config,
            classes: Vec::new(),
            secrets: Vec::new(),
            mail: Vec::new(),
            triggers: None,
            #[cfg(feature = "native")]
            events: Default::default(),
            #[cfg(feature = "native")]
            history: None,
            #[cfg(feature = "native")]
            slow_queries: None,
            #[cfg(feature = "postgres")]
            postgres: None,
            #[cfg(feature = "browser")]
            browsers: None,
        }
    }

    /// Returns the configuration, for what is not a binding: `[assets]`, the name.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Sets a secret, over what `.dev.vars` has: of the environment, or of a file of the operator's.
    /// The later one of a name counts.
    #[must_use]
    pub fn secret(mut self, name: impl Into<String>, secret: Secret) -> Self {
        self.secrets.push((name.into(), secret));
        self
    }

    /// Sets a sender of e-mail under the name of the `send_email` binding. Default: none, and the name
    /// is then no binding.
    #[must_use]
    pub fn mail(mut self, name: impl Into<String>, sender: Arc<dyn isobar_api::mail::MailSender>) -> Self {
        self.mail.push((name.into(), sender));
        self
    }

    /// Sets how the local datasets buffer events, and how long they keep them. Default: the options' own.
    #[cfg(feature = "native")]
    #[must_use]
    pub fn events(mut self, options: isobar_analytics::local::LocalOptions) -> Self {
        self.events.insert(String::new(), options);
        self
    }

    /// Sets the options of one local dataset, by its name in queries. Default: those of [`events`](Self::events).
    #[cfg(feature = "native")]
    #[must_use]
    pub fn events_of(mut self, dataset: impl Into<String>, options: isobar_analytics::local::LocalOptions) -> Self {
        self.events.insert(dataset.into(), options);
        self
    }

    /// Sets the browsers of the `browser` binding: `Chromium`, say. Default: none; the binding is then missing.
    #[cfg(feature = "browser")]
    #[must_use]
    pub fn browsers(mut self, browsers: Option<Arc<dyn isobar_objects::browser::BrowserEngine>>) -> Self {
        self.browsers = browsers;
        self
    }

    /// Fires the configuration's `triggers.crons` at the [handler](App::scheduled) of this application, for as long as the platform lives:
    /// in UTC, by the rules of Cloudflare's cron triggers. Each expression has a session object of its own, locally in `sessions/isobar.CronTrigger`, so
    /// times that were missed while no process ran are made up for, by one event for all of them. Default: none, and a warning is logged
    /// where the configuration has cron triggers.
    ///
    /// ```no_run
    /// # #[cfg(feature = "native")]
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use isobar_http_serve::{App, BindingError, Platform};
    ///
    /// fn app(_: &Platform) -> Result<App, BindingError> {
    ///     Ok(App::new().scheduled(|event| async move {
    ///         println!("{}", event.cron);
    ///         Ok::<(), String>(())
    ///     }))
    /// }
    ///
    /// let platform = Platform::from_wrangler("wrangler.toml")?.triggers(app).local(".isobar").await?;
    /// let service = app(&platform)?.into_service();
    /// # drop(service);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn triggers(mut self, app: impl FnOnce(&Platform) -> Result<App, BindingError> + 'static) -> Self {
        self.triggers = Some(Box::new(app));
        self
    }

    /// Registers the type of a class that a session binding names; `env` makes the environment of its objects from the platform's
    /// bindings. Session namespaces are among them, so that objects can call others: what they are asked waits until all are open. A binding whose class is not registered is [`PlatformError::UnknownClass`].
    ///
    /// ```no_run
    /// # use isobar_http_serve::{PlatformError, WranglerPlatform};
    /// use isobar_sessions::scheduler::Scheduler;
    ///
    /// # fn example(platform: WranglerPlatform) -> WranglerPlatform {
    /// platform.session_class::<Scheduler>("Scheduler", |_| Vec::new())
    /// # }
    /// ```
    #[must_use]
    pub fn session_class<O: SessionObject>(
        mut self,
        class: impl Into<String>,
        env: impl Fn(&Platform) -> O::Env + Send + Sync + 'static,
    ) -> Self {
        let open: Class = Box::new(move |target, platform| {
            let platform = platform.clone();
            open_class::<O>(target, move || env(&platform))
        });
        self.classes.push((class.into(), open));
        self
    }

    /// Opens every binding on local backends under `root`: buckets in `r2/`, databases in `d1/`, objects in `sessions/`,
    /// datasets in `analytics/`. What is not there is created; a root of its own is marked as state ([`make_root`](crate::make_root)).
    /// With feature `query` the datasets [are asked](Platform::dataset_queries), each query in 64 MiB and 20 s.
    ///
    /// # Errors
    /// Which binding cannot be opened, and why.
    #[cfg(feature = "native")]
    pub async fn local(mut self, root: impl AsRef<Path>) -> Result<Platform, PlatformError> {
        let root = root.as_ref();
        make_root(&self.config.resolve_in_project("."), root).map_err(PlatformError::Root)?;
        let limit = isobar_server::DescriptorLimit::raise();
        tracing::debug!(files = limit.files, "the limit of open files");
        let bindings = &self.config.durable_objects.bindings;
        let classes =
            bindings.iter().map(|binding| &binding.class_name).collect::<std::collections::BTreeSet<_>>().len();
        let awake = (limit.session_objects() / classes.max(1)).max(1);
        let mut builder = self.plain()?;
        for bucket in &self.config.r2_buckets {
            let folder = root.join("r2").join(file_name(&bucket.binding, bucket.local_name())?);
            let store = isobar_storage::local::LocalStore::open(folder).await;
            let store = store.map_err(|error| PlatformError::Bucket(bucket.binding.clone(), error))?;
            gc_in_background(&store);
            builder = builder.with_bucket(&bucket.binding, store);
        }
        let builder = self.local_databases(builder, root).await?;
        let builder = self.local_datasets(builder, &root.join("analytics"))?;
        let sessions = root.join("sessions");
        let crons = std::mem::take(&mut self.config.triggers.crons);
        let app = self.triggers.take();
        let platform = self.sessions(
            builder,
            |class| Ok(sessions.join(file_name(class, class)?)),
            |folder, class| Target::Folder(folder, class, awake),
        )?;
        let folder = sessions.join(CRON_CLASS);
        with_triggers(platform, &crons, app, Target::Folder(&folder, CRON_CLASS, CRONS_AWAKE)).await
    }

    /// Opens every binding in memory: for tests. Nothing outlives the platform, but vars, secrets and
    /// cron triggers work as they do locally.
    ///
    /// ```
    /// use isobar_cloudflare::wrangler::{Config, Format};
    /// use isobar_http_serve::WranglerPlatform;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = "name = \"hello\"\nvars = { REGION = \"weur\" }\nd1_databases = [{ binding = \"DB\", database_name = \"app\" }]";
    /// let config = Config::parse(config, Format::Toml, None)?;
    /// let platform = WranglerPlatform::new(config).memory().await?;
    /// assert!(platform.database("DB").is_ok());
    /// assert_eq!(platform.var("REGION")?, "weur");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`local`](Self::local).
    #[cfg(feature = "memory")]
    pub async fn memory(mut self) -> Result<Platform, PlatformError> {
        let mut builder = self.plain()?;
        for bucket in &self.config.r2_buckets {
            builder = builder.with_bucket(&bucket.binding, isobar_storage::memory::MemoryStore::new());
        }
        for database in &self.config.d1_databases {
            let opened = isobar_db::SqliteDatabase::memory().await;
            let opened = opened.map_err(|error| PlatformError::Database(database.binding.clone(), error))?;
            builder = builder.with_database(&database.binding, opened);
        }
        let builder = self.memory_datasets(builder);
        let crons = std::mem::take(&mut self.config.triggers.crons);
        let app = self.triggers.take();
        let platform = self.sessions(builder, |_| Ok(PathBuf::new()), |_, class| Target::Memory(class))?;
        with_triggers(platform, &crons, app, Target::Memory(CRON_CLASS)).await
    }

    /// Opens the datasets, each in its folder below this one.
    #[cfg(feature = "native")]
    fn local_datasets(&self, builder: PlatformBuilder, folder: &Path) -> Result<PlatformBuilder, PlatformError> {
        let mut datasets = Vec::new();
        for dataset in &self.config.analytics_engine_datasets {
            let name = file_name(&dataset.binding, dataset.local_name())?;
            let options = self.events.get(name).or_else(|| self.events.get("")).cloned().unwrap_or_default();
            let sink = isobar_analytics::local::LocalSink::open_with(folder.join(name), options);
            let sink = sink.map_err(|error| PlatformError::Dataset(dataset.binding.clone(), error))?;
            datasets.push(Dataset { binding: dataset.binding.clone(), name: name.to_owned(), sink });
        }
        #[cfg(feature = "query")]
        let executor = executor(
            datasets
                .iter()
                .fold(isobar_analytics::query::LocalDatasets::open(folder), |source, Dataset { name, sink, .. }| {
                    source.with_sink(name, sink.clone())
                }),
        );
        #[cfg(not(feature = "query"))]
        let executor = WITHOUT_QUERY;
        Ok(with_datasets(builder, datasets, executor))
    }

    /// Opens the datasets in memory.
    #[cfg(feature = "memory")]
    fn memory_datasets(&self, builder: PlatformBuilder) -> PlatformBuilder {
        let datasets = self.config.analytics_engine_datasets.iter().map(|dataset| Dataset {
            binding: dataset.binding.clone(),
            name: dataset.local_name().to_owned(),
            sink: isobar_analytics::memory::MemorySink::new(),
        });
        let datasets: Vec<_> = datasets.collect();
        #[cfg(feature = "query")]
        let executor = executor(
            datasets
                .iter()
                .fold(isobar_analytics::query::MemoryDatasets::new(), |source, Dataset { name, sink, .. }| {
                    source.with_dataset(name, sink.clone())
                }),
        );
        #[cfg(not(feature = "query"))]
        let executor = WITHOUT_QUERY;
        with_datasets(builder, datasets, executor)
    }

    /// Vars, secrets and what was bound by hand.
    fn plain(&self) -> Result<PlatformBuilder, PlatformError> {
        let mut builder = Platform::builder();
        for (name, value) in &self.config.vars {
            builder = builder.with_var(name, value.clone());
        }
        for (name, sender) in &self.mail {
            builder = builder.with_mail(name, Arc::clone(sender));
        }
        #[cfg(feature = "browser")]
        if let (Some(binding), Some(browsers)) = (&self.config.browser, &self.browsers) {
            builder = builder.with_browser(&binding.binding, Arc::clone(browsers));
        }
        for (name, secret) in self.secrets()?.into_iter().chain(self.secrets.clone()) {
            builder = builder.with_secret(name, secret);
        }
        Ok(builder)
    }

    /// The secrets that the project keeps for local runs: see [`Config::secrets`].
    fn secrets(&self) -> Result<Vec<(String, Secret)>, PlatformError> {
        let secrets = self.config.secrets()?;
        Ok(secrets.into_iter().map(|(name, value)| (name, Secret::new(value))).collect())
    }

    /// Opens the namespaces, one for each class: bindings of one class share it.
    ///
    /// # Errors
    /// A class that is not registered; one whose folder cannot be used.
    fn sessions(
        self,
        mut builder: PlatformBuilder,
        folder: impl Fn(&str) -> Result<PathBuf, PlatformError>,
        target: impl for<'a> Fn(&'a Path, &'a str) -> Target<'a>,
    ) -> Result<Platform, PlatformError> {
        let Self { config, mut classes, .. } = self;
        let classes_of = config.durable_objects.bindings.iter().map(|binding| binding.class_name.as_str());
        let deferred: BTreeMap<_, _> = classes_of.map(|class| (class, DeferredNamespace::new(class))).collect();
        // Objects are made before the namespaces that they call are open.
        let with_deferred = config.durable_objects.bindings.iter().fold(builder.clone(), |builder, binding| {
            builder.with_sessions(&binding.name, deferred[binding.class_name.as_str()].clone())
        });
        let others = with_deferred.build();
        let mut opened: Vec<(String, Arc<dyn SessionNamespace>)> = Vec::new();
        for binding in &config.durable_objects.bindings {
            let name = &binding.name;
            let class = &binding.class_name;
            let namespace = match opened.iter().find(|(known, _)| known == class) {
                Some((_, namespace)) => Arc::clone(namespace),
                None => {
                    let known = || classes.iter().map(|(class, _)| class.clone()).collect::<Vec<_>>().join(", ");
                    let position = classes.iter().position(|(known, _)| known == class).ok_or_else(|| {
                        PlatformError::UnknownClass { binding: name.clone(), class: class.clone(), known: known() }
                    })?;
                    let (_, open) = classes.swap_remove(position);
                    let folder = folder(class)?;
                    let namespace = open(target(&folder, class), &others);
                    let namespace = namespace.map_err(|error| PlatformError::Sessions(name.clone(), error))?;
                    deferred[class.as_str()].set(&namespace);
                    opened.push((class.clone(), Arc::clone(&namespace)));
                    namespace
                }
            };
            builder = builder.with_sessions(name, namespace);
        }
        Ok(builder.build())
    }
}

/// Returns the executor of a platform's local queries.
#[cfg(feature = "query")]
fn executor(source: impl isobar_analytics::query::ScanSource + 'static) -> isobar_analytics::query::Analytics {
    let options = isobar_analytics::query::QueryOptions::default()
        .with_memory_bytes(QUERY_MEMORY)
        .with_time_limit(Some(QUERY_TIME));
    isobar_analytics::query::Analytics::new(source).with_options(options)
}

/// Binds datasets, and their queries by an executor.
fn with_datasets<S: EventSink + 'static>(
    builder: PlatformBuilder,
    datasets: Vec<Dataset<S>>,
    executor: impl QueryExecutor + 'static,
) -> PlatformBuilder {
    let executor: Arc<dyn QueryExecutor> = Arc::new(executor);
    datasets.into_iter().fold(builder, |builder, Dataset { binding, name, sink }| {
        let queries = DatasetQueries::new(Arc::clone(&executor), name);
        builder.with_dataset_queries(&binding, queries).with_dataset(&binding, sink)
    })
}

/// Opens a namespace of one class.
fn open_class<O: SessionObject>(
    target: Target<'_>,
    env: impl Fn() -> O::Env + Send + Sync + 'static,
) -> Result<Arc<dyn SessionNamespace>, isobar_sessions::Error> {
    Ok(match target {
        #[cfg(feature = "native")]
        Target::Folder(folder, name, awake) => {
            let options = isobar_sessions::local::HostOptions::default().with_open_objects(awake);
            Arc::new(isobar_sessions::local::LocalHost::<O>::open(folder, name, &options, env)?)
        }
        #[cfg(feature = "memory")]
        Target::Memory(name) => Arc::new(isobar_sessions::memory::MemoryHost::<O>::new(name, env)?),
    })
}

/// Starts the cron triggers of a platform, if there are any, for the handler of this application.
async fn with_triggers(
    platform: Platform,
    crons: &[String],
    app: Option<TriggeredApp>,
    target: Target<'_>,
) -> Result<Platform, PlatformError> {
    if crons.is_empty() {
        return Ok(platform);
    }
    let Some(app) = app else {
        tracing::warn!(?crons, "the cron triggers are not served: no application with a handler was given");
        return Ok(platform);
    };
    // The application gets the platform without its triggers: they hold the application.
    let handler = app(&platform).map_err(PlatformError::TriggeredApp)?.scheduled.ok_or(PlatformError::NoHandler)?;
    let triggers = CronTriggers::with_handler(crons, handler).map_err(PlatformError::Triggers)?;
    let of_each = triggers.clone();
    let namespace = open_class::<CronTrigger>(target, move || of_each.clone()).map_err(PlatformError::Triggers)?;
    triggers.start(&*namespace).await.map_err(PlatformError::Triggers)?;
    Ok(platform.with_triggers(namespace))
}

/// Refuses a name that would lead out of the folder, or is not valid on some file system.
#[cfg(feature = "native")]
fn file_name<'a>(binding: &str, name: &'a str) -> Result<&'a str, PlatformError> {
    if !isobar_base::fs::is_plain_name(name) {
        return Err(PlatformError::Name(binding.to_owned(), name.to_owned()));
    }
    Ok(name)
}

/// Collects the garbage that crashes have left, in the background beside the first requests.
#[cfg(feature = "native")]
fn gc_in_background(store: &isobar_storage::local::LocalStore) {
    let store = store.clone();
    tokio::spawn(async move {
        match store.gc().await {
            Ok(removed) => tracing::debug!(?store, ?removed, "garbage was collected"),
            // The process ends before the collection could begin: the next start collects it.
            Err(error) if error.kind() == isobar_storage::ErrorKind::Unavailable => {
                tracing::debug!(?store, %error, "garbage was not collected");
            }
            Err(error) => tracing::warn!(?store, %error, "garbage collection failed"),
        }
    });
}
