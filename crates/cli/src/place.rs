//! The configuration in use, and the locations of buckets and databases.
//!
//! Every command asks a [`Place`] where a name leads. A name is looked up in three steps:
//!
//! 1. a binding of the configuration (`STORAGE`) stands for the resource that is bound to it;
//! 2. any other text is a name itself, in or out of the configuration, as in wrangler's local mode; a
//!    database alone has to be configured, since its migrations and its id stand there;
//! 3. the name is checked, since it becomes a file name, and joined to the root.
//!
//! | resource | below the root | exists when |
//! |---|---|---|
//! | bucket | `r2/NAME/` | it has an index, packs or blobs |
//! | database | `d1/NAME.sqlite` | the file is there |
//! | dataset | `analytics/NAME/` | the folder is there |
//! | session objects | `sessions/CLASS/` | the folder is there |
//!
//! The layout is that of `isobar_http_serve`'s `WranglerPlatform`: a command and a running server meet
//! on the same files, and SQLite's and the stores' own locks keep them apart. Nothing here keeps a
//! lock.
//!
//! Looking creates nothing: only [`Access::Write`] and the commands that say so make a root. A typo in
//! a name must not leave an empty bucket behind, which later commands would take for the right one.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Args;
use isobar_cloudflare::wrangler::{Config, D1Database, DEPLOY_CONFIG, FILE_NAMES};
use isobar_db::{SqliteDatabase, SqliteOptions};
use isobar_storage::ObjectStore;
use isobar_storage::local::LocalStore;
use isobar_storage::memory::MemoryStore;
use isobar_storage::signed::Signer;
use isobar_storage::walk::WalkOptions;

use crate::remote::{self, Where};

/// The global options, with the configuration that was read for them.
///
/// The configuration is read once, at the first use, and kept: its warnings are printed once for each
/// command, and every lookup of a command sees the same file, even if it is edited meanwhile.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The wrangler configuration; by default searched for in this folder and its parents
    ///
    /// In each folder wrangler.json is taken before wrangler.jsonc and wrangler.toml. A configuration
    /// that a build tool has written (.wrangler/deploy/config.json) is followed, as by wrangler. Paths
    /// in it are relative to its own folder.
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The environment of the configuration
    ///
    /// Default: CLOUDFLARE_ENV, or else the top level. As in wrangler, an environment inherits neither
    /// bindings nor vars: one without buckets of its own has none.
    #[arg(long, short, global = true, value_name = "NAME")]
    env: Option<String>,
    /// The folder of buckets and databases; by default `.isobar` beside the configuration
    ///
    /// It is created by the first command that writes, with access for its owner alone. Several
    /// projects may share one: resources of the same name are then the same.
    #[arg(long, visible_alias = "persist-to", global = true, value_name = "FOLDER")]
    root: Option<PathBuf>,
    #[arg(skip)]
    read: OnceLock<Option<Config>>,
}

/// Buckets by name: their binding, and whether they exist locally.
///
/// A bucket may be configured and not exist yet, or exist without being configured; either way it is
/// listed, in byte order of the names.
pub(crate) type Buckets = BTreeMap<String, (Option<String>, bool)>;

/// The purpose for which a bucket is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// To list or inspect: a configured bucket that does not exist yet is empty, and is not created.
    Look,
    /// To read all of it: it must exist.
    Existing,
    /// To write: it is created if necessary.
    Write,
}

impl Place {
    /// Returns the configuration; `None` where none was named and none exists.
    ///
    /// # Errors
    /// Those of reading the file; that there is none where `--env` was given, which would otherwise be
    /// ignored.
    pub(crate) fn config(&self) -> Result<Option<Config>, Box<dyn Error>> {
        if let Some(config) = self.read.get() {
            return Ok(config.clone());
        }
        let env = self.env.as_deref();
        let config = match &self.config {
            Some(path) => Some(Config::load(path, env)?),
            None if has_config() || env.is_some() => Some(Config::find(".", env)?),
            None => None,
        };
        // Print the warnings only once.
        if let Some(config) = &config {
            let file = config.path.as_deref().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
            config.warnings.iter().for_each(|warning| eprintln!("warning: {warning} ({file})"));
        }
        Ok(self.read.get_or_init(|| config).clone())
    }

    /// Returns the root: that of `--root`, or `.isobar` beside the configuration, or in this folder
    /// where there is no configuration. It need not exist.
    pub(crate) fn root(&self, config: Option<&Config>) -> PathBuf {
        let beside = || config.map_or_else(|| PathBuf::from(".isobar"), |config| config.resolve_in_project(".isobar"));
        self.root.clone().unwrap_or_else(beside)
    }

    /// Returns the project's folder of dataset schemas, which need not exist.
    pub(crate) fn schemas(&self) -> Result<PathBuf, Box<dyn Error>> {
        Ok(Self::home(self.config()?.as_ref()).join("schemas"))
    }

    /// Returns the project's folder: that of the configuration, or the current one.
    fn home(config: Option<&Config>) -> PathBuf {
        config.map_or_else(|| PathBuf::from("."), |config| config.resolve_in_project("."))
    }

    /// Returns the options for walking folders, which exclude the state of this place.
    pub(crate) fn walk_options(&self, follow_links: bool) -> Result<WalkOptions, Box<dyn Error>> {
        let config = self.config()?;
        let options = isobar_http_serve::walk_options(&Self::home(config.as_ref()), &self.root(config.as_ref()));
        Ok(options.with_follow_links(follow_links))
    }

    /// Creates the root, and marks it as state unless it is the project's folder.
    pub(crate) fn make_root(&self, config: Option<&Config>) -> Result<PathBuf, Box<dyn Error>> {
        let root = self.root(config);
        isobar_http_serve::make_root(&Self::home(config), &root)?;
        Ok(root)
    }

    /// Opens a bucket by name or binding, creating it if necessary. A name that is not in the configuration is used as it is, as in
    /// wrangler, and a note is printed when that creates a bucket.
    ///
    /// The note is printed once: as soon as the bucket exists, its name is no surprise. Where there is
    /// no configuration at all every name is as good as another, and none is printed.
    pub(crate) async fn bucket(&self, name: &str) -> Result<LocalStore, Box<dyn Error>> {
        let is_configured = self.config()?.is_none() || self.configured(name)?;
        if !is_configured && !self.is_here(name)? {
            eprintln!("note: the bucket {name} is new and not in the configuration{}", self.known("; there are")?);
        }
        self.create_bucket(name).await
    }

    /// Creates a bucket, also if it is not in the configuration.
    pub(crate) async fn create_bucket(&self, name: &str) -> Result<LocalStore, Box<dyn Error>> {
        let folder = self.bucket_folder(name)?;
        self.make_root(self.config()?.as_ref())?;
        Ok(LocalStore::open(folder).await?)
    }

    /// Whether a bucket exists locally.
    pub(crate) fn is_here(&self, name: &str) -> Result<bool, Box<dyn Error>> {
        Ok(is_here(&self.bucket_folder(name)?))
    }

    /// Opens a local bucket, or one of the account over S3.
    ///
    /// # Errors
    /// A bucket that is missing and had to exist, with the names of those there are; a missing key for
    /// the account in the environment; those of opening the store.
    pub(crate) async fn store(
        &self,
        name: &str,
        place: &Where,
        access: Access,
    ) -> Result<Arc<dyn ObjectStore>, Box<dyn Error>> {
        if place.is_remote() {
            return Ok(Arc::new(remote::bucket(&self.remote_name(name)?, place)?));
        }
        Ok(match access {
            Access::Write => Arc::new(self.bucket(name).await?),
            Access::Look if self.configured(name)? && !is_here(&self.bucket_folder(name)?) => {
                Arc::new(MemoryStore::new())
            }
            Access::Look | Access::Existing => Arc::new(self.existing_bucket(name).await?),
        })
    }

    /// Returns the name of a bucket on the account.
    ///
    /// A binding needs a `bucket_name` in the configuration there: locally the binding's own name would
    /// do, and on the account it would be another bucket.
    pub(crate) fn remote_name(&self, name: &str) -> Result<String, Box<dyn Error>> {
        let config = self.config()?;
        let bound = config.iter().flat_map(|config| &config.r2_buckets).find(|bucket| bucket.binding == name);
        Ok(match bound {
            Some(bucket) => bucket.bucket_name.clone().ok_or(format!("the binding {name} has no bucket_name"))?,
            None => name.to_owned(),
        })
    }

    /// Returns a signer of URLs for a bucket that `isobar serve` serves at this address.
    ///
    /// The address is only written into URLs: nothing connects to it. The path below it is that under
    /// which `isobar serve` has the bucket, `/r2/NAME`, with the name and not the binding. The secret
    /// is made at the first use and stays with the bucket, so that URLs outlive a restart of the
    /// server.
    ///
    /// # Errors
    /// A bucket that is neither here nor configured; an address that is not a URL; a secret that cannot
    /// be read or made.
    pub(crate) async fn signer(&self, name: &str, base: &str) -> Result<Signer, Box<dyn Error>> {
        let folder = self.bucket_folder(name)?;
        if !is_here(&folder) {
            if !self.configured(name)? {
                return Err(self.no_bucket(name)?.into());
            }
            // The bucket stores the signing key.
            self.create_bucket(name).await?;
        }
        let served = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let secret = LocalStore::signing_secret(&folder).await?;
        Ok(Signer::new(format!("{}/r2/{served}", base.trim_end_matches('/')), secret)?)
    }

    /// Opens an existing bucket.
    ///
    /// # Errors
    /// That there is none, with its location and the names of those there are; those of opening it.
    pub(crate) async fn existing_bucket(&self, name: &str) -> Result<LocalStore, Box<dyn Error>> {
        let folder = self.bucket_folder(name)?;
        if !is_here(&folder) {
            return Err(self.no_bucket(name)?.into());
        }
        Ok(LocalStore::open(folder).await?)
    }

    /// Whether the configuration has a bucket with this name or binding.
    pub(crate) fn configured(&self, name: &str) -> Result<bool, Box<dyn Error>> {
        let config = self.config()?;
        let mut buckets = config.iter().flat_map(|config| &config.r2_buckets);
        Ok(buckets.any(|bucket| bucket.binding == name || bucket.local_name() == name))
    }

    /// Returns the message for a missing bucket, with its location and the existing ones.
    pub(crate) fn no_bucket(&self, name: &str) -> Result<String, Box<dyn Error>> {
        let folder = self.bucket_folder(name)?;
        Ok(format!("there is no bucket {name} here{}; it would be in {}", self.known("; there are")?, folder.display()))
    }

    /// Lists the local and configured buckets with their bindings, after a prefix; empty if there are none.
    fn known(&self, words: &str) -> Result<String, Box<dyn Error>> {
        let shown = |(name, (binding, is_here)): (String, (Option<String>, bool))| match (binding, is_here) {
            (Some(binding), true) => format!("{name} ({binding})"),
            (Some(binding), false) => format!("{name} ({binding}, not used yet)"),
            (None, _) => name,
        };
        let known: Vec<String> = self.buckets()?.into_iter().map(shown).collect();
        Ok(if known.is_empty() { String::new() } else { format!("{words}: {}", known.join(", ")) })
    }

    /// Returns the local and configured buckets.
    ///
    /// # Errors
    /// The folder of buckets cannot be read; one that does not exist is not an error.
    pub(crate) fn buckets(&self) -> Result<Buckets, Box<dyn Error>> {
        let config = self.config()?;
        let mut buckets = BTreeMap::new();
        for bucket in config.iter().flat_map(|config| &config.r2_buckets) {
            buckets.insert(bucket.local_name().to_owned(), (Some(bucket.binding.clone()), false));
        }
        let folder = self.root(config.as_ref()).join("r2");
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(buckets),
            entries => entries.map_err(|error| format!("cannot read {}: {error}", folder.display()))?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Another name is no bucket's: a folder that is being removed has one.
            if checked(&name).is_ok() && is_here(&entry.path()) {
                buckets.entry(name).or_insert((None, true)).1 = true;
            }
        }
        Ok(buckets)
    }

    /// Returns the folder of a bucket, by its name or binding.
    ///
    /// # Errors
    /// A name that could leave the root: see [`checked`].
    pub(crate) fn bucket_folder(&self, name: &str) -> Result<PathBuf, Box<dyn Error>> {
        let config = self.config()?;
        let bound = config.iter().flat_map(|config| &config.r2_buckets).find(|bucket| bucket.binding == name);
        let name = bound.map_or(name, |bucket| bucket.local_name());
        Ok(self.root(config.as_ref()).join("r2").join(checked(name)?))
    }

    /// Returns the folder of a dataset, by its name or binding.
    pub(crate) fn dataset_folder(&self, name: &str) -> Result<PathBuf, Box<dyn Error>> {
        let config = self.config()?;
        let mut datasets = config.iter().flat_map(|config| &config.analytics_engine_datasets);
        let name = datasets.find(|dataset| dataset.binding == name).map_or(name, |dataset| dataset.local_name());
        let name = checked(name).map_err(|_| format!("invalid dataset name {name:?}: use letters, digits, - and _"))?;
        Ok(self.root(config.as_ref()).join("analytics").join(name))
    }

    /// Returns the names of the datasets that exist here, sorted.
    pub(crate) fn datasets(&self) -> Result<Vec<String>, Box<dyn Error>> {
        folders(&self.root(self.config()?.as_ref()).join("analytics"))
    }

    /// Returns a class of session objects, by its name or its binding, and the folder of its objects.
    pub(crate) fn session_class(&self, name: &str) -> Result<(String, PathBuf), Box<dyn Error>> {
        let config = self.config()?;
        let bound = config.iter().flat_map(|config| &config.durable_objects.bindings);
        let class = bound.filter(|binding| binding.name == name).map(|binding| &*binding.class_name).next();
        let class = class.unwrap_or(name);
        let checked = checked(class).map_err(|_| format!("invalid class name {class:?}: use letters, digits, - and _"));
        Ok((checked?.to_owned(), self.root(config.as_ref()).join("sessions").join(class)))
    }

    /// Returns the classes whose session objects are here, sorted.
    pub(crate) fn session_classes(&self) -> Result<Vec<String>, Box<dyn Error>> {
        folders(&self.root(self.config()?.as_ref()).join("sessions"))
    }

    /// Returns the configuration of a database, found by its name or binding, and the path of its file.
    ///
    /// The file need not exist: the caller decides whether a missing one is created, empty, or an
    /// error.
    ///
    /// # Errors
    /// There is no configuration; the name is neither a database's nor a binding's, with the names of
    /// those there are.
    pub(crate) fn known_database(&self, name: &str) -> Result<(PathBuf, D1Database, Config), Box<dyn Error>> {
        let config =
            self.config()?.ok_or("no wrangler configuration in this folder or its parents; name one with --config")?;
        let known =
            || config.d1_databases.iter().map(|database| format!("{} ({})", database.local_name(), database.binding));
        let database = config
            .d1_databases
            .iter()
            .find(|database| database.local_name() == name || database.binding == name)
            .cloned()
            .ok_or_else(|| match known().collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => {
                    format!("there is no database {name}: the configuration has no d1_databases")
                }
                known => format!("there is no database {name} in the configuration; there are: {known}"),
            })?;
        let file = self.root(Some(&config)).join("d1").join(format!("{}.sqlite", checked(database.local_name())?));
        Ok((file, database, config))
    }

    /// Opens a database by name or binding, creating it if necessary, and returns its configuration.
    ///
    /// For commands that write. Those that read take [`existing_database`](Self::existing_database):
    /// SQLite would create an empty file for them, which would then count as the database.
    pub(crate) async fn database(&self, name: &str) -> Result<(SqliteDatabase, D1Database, Config), Box<dyn Error>> {
        let (file, database, config) = self.known_database(name)?;
        self.make_root(Some(&config))?;
        Ok((open_database(&file).await?, database, config))
    }

    /// Opens an existing database.
    pub(crate) async fn existing_database(&self, name: &str) -> Result<(SqliteDatabase, D1Database), Box<dyn Error>> {
        let (file, database, _) = self.known_database(name)?;
        if !file.exists() {
            return Err(no_database(&database, &file).into());
        }
        Ok((open_database(&file).await?, database))
    }
}

/// The message of a database that is not on this machine yet.
pub(crate) fn no_database(database: &D1Database, file: &Path) -> String {
    format!("there is no database {} here yet; it would be {}", database.local_name(), file.display())
}

/// Opens a database without a time limit for statements: a large import may take long, and Ctrl-C ends it.
///
/// The limit of 30 s that D1 has for a statement guards a server against its clients; an
/// operator waits for as long as it takes.
pub(crate) async fn open_database(file: &Path) -> isobar_db::Result<SqliteDatabase> {
    SqliteDatabase::open_with(file, SqliteOptions::default().with_time_limit(Duration::MAX)).await
}

/// Returns the names of the folders in a folder, sorted; none where there is no such folder.
pub(crate) fn folders(folder: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| format!("cannot read {}: {error}", folder.display()))?,
    };
    let folders = entries.flatten().filter(|entry| entry.path().is_dir());
    let mut names: Vec<_> = folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// Whether a folder is a bucket.
///
/// One of three entries is enough: a bucket whose index was lost still has packs, and `r2 fsck
/// --rebuild` has to find it.
pub(crate) fn is_here(folder: &Path) -> bool {
    ["index.db", "packs", "blobs"].iter().any(|name| folder.join(name).exists())
}

/// Whether this folder or one above it has a configuration. [`Config::find`] fails where there is none;
/// here that is not an error, as buckets can be used without one.
fn has_config() -> bool {
    let here = std::path::absolute(".").unwrap_or_default();
    here.ancestors().any(|folder| FILE_NAMES.iter().chain([&DEPLOY_CONFIG]).any(|name| folder.join(name).is_file()))
}

/// Checks that a name stays within its folder.
///
/// Neither a separator nor a beginning dot is allowed, so that `..`, absolute paths and hidden files
/// cannot be named; control characters and blanks are not, so that names can be printed and written in
/// a shell as they are.
pub(crate) fn checked(name: &str) -> Result<&str, String> {
    if !isobar_base::fs::is_plain_name(name) {
        return Err(format!("invalid bucket or database name {name:?}: use letters, digits, - and _"));
    }
    Ok(name)
}
