//! Which configuration, and where things are kept.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use isobar_cloudflare::wrangler::{Config, D1Database};
use isobar_db::{SqliteDatabase, SqliteOptions};
use isobar_storage::ObjectStore;
use isobar_storage::cloudflare::{S3Bucket, S3Config};
use isobar_storage::local::LocalStore;
use isobar_storage::signed::Signer;

#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The wrangler configuration; looked for here and above when not given
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The configuration's environment
    #[arg(long, short, global = true, value_name = "NAME")]
    env: Option<String>,
    /// Where buckets and databases are kept; `.isobar` beside the configuration when not given
    #[arg(long, global = true, value_name = "FOLDER")]
    root: Option<PathBuf>,
}

/// Buckets by name: their binding, and whether they are here.
pub(crate) type Buckets = BTreeMap<String, (Option<String>, bool)>;

impl Place {
    /// The configuration; `None` where none was asked for and there is none.
    pub(crate) fn config(&self) -> Result<Option<Config>, Box<dyn Error>> {
        let env = self.env.as_deref();
        let config = match &self.config {
            Some(path) => Some(Config::load(path, env)?),
            None if has_config() || env.is_some() => Some(Config::find(".", env)?),
            None => None,
        };
        for warning in config.iter().flat_map(|config| &config.warnings) {
            eprintln!("warning: {warning}");
        }
        Ok(config)
    }

    pub(crate) fn root(&self, config: Option<&Config>) -> PathBuf {
        let beside = || config.map_or_else(|| PathBuf::from(".isobar"), |config| config.resolve(".isobar"));
        self.root.clone().unwrap_or_else(beside)
    }

    /// A bucket by name or binding. A name that no configuration has is taken as it is: `isobar r2` needs none.
    pub(crate) async fn bucket(&self, name: &str) -> Result<LocalStore, Box<dyn Error>> {
        Ok(LocalStore::open(self.bucket_folder(name)?).await?)
    }

    /// A bucket here, or with `remote` of the account: over S3, by what the environment says.
    /// One that is here is made only for who is to write.
    pub(crate) async fn store(
        &self,
        name: &str,
        remote: bool,
        writes: bool,
    ) -> Result<Arc<dyn ObjectStore>, Box<dyn Error>> {
        match (remote, writes) {
            (true, _) => {}
            (false, true) => return Ok(Arc::new(self.bucket(name).await?)),
            (false, false) => return Ok(Arc::new(self.existing_bucket(name).await?)),
        }
        let config = self.config()?;
        let bound = config.iter().flat_map(|config| &config.r2_buckets).find(|bucket| bucket.binding == name);
        let name = match bound {
            Some(bucket) => bucket.bucket_name.as_deref().ok_or(format!("the binding {name} has no bucket_name"))?,
            None => name,
        };
        Ok(Arc::new(S3Bucket::new(s3_config(name)?)?))
    }

    /// What signs URLs of a bucket that `isobar serve` serves at this address.
    pub(crate) async fn signer(&self, name: &str, base: &str) -> Result<Signer, Box<dyn Error>> {
        let folder = self.bucket_folder(name)?;
        let served = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let secret = LocalStore::signing_secret(&folder).await?;
        Ok(Signer::new(format!("{}/r2/{served}", base.trim_end_matches('/')), secret)?)
    }

    /// A bucket that is there already: who only looks makes none.
    pub(crate) async fn existing_bucket(&self, name: &str) -> Result<LocalStore, Box<dyn Error>> {
        let folder = self.bucket_folder(name)?;
        if !folder.join("index.db").exists() {
            return Err(format!("there is no bucket {name} here; it would be in {}", folder.display()).into());
        }
        Ok(LocalStore::open(folder).await?)
    }

    /// The buckets that are here or in the configuration: their binding, and whether they are here.
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
            if entry.path().join("index.db").exists() {
                buckets.entry(entry.file_name().to_string_lossy().into_owned()).or_insert((None, true)).1 = true;
            }
        }
        Ok(buckets)
    }

    /// Where a bucket is kept, by its name or binding.
    pub(crate) fn bucket_folder(&self, name: &str) -> Result<PathBuf, Box<dyn Error>> {
        let config = self.config()?;
        let bound = config.iter().flat_map(|config| &config.r2_buckets).find(|bucket| bucket.binding == name);
        let name = bound.map_or(name, |bucket| bucket.local_name());
        Ok(self.root(config.as_ref()).join("r2").join(checked(name)?))
    }

    /// What the configuration says of a database, by its name or binding, and the file in which it is kept; `root` in place of
    /// the usual folder.
    pub(crate) fn known_database(
        &self,
        name: &str,
        root: Option<&Path>,
    ) -> Result<(PathBuf, D1Database, Config), Box<dyn Error>> {
        let config =
            self.config()?.ok_or("there is no wrangler configuration here or above; name one with --config")?;
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
        let root = root.map_or_else(|| self.root(Some(&config)), Path::to_owned);
        let file = root.join("d1").join(format!("{}.sqlite", checked(database.local_name())?));
        Ok((file, database, config))
    }

    /// A database by name or binding, made if need be, and what the configuration says of it.
    pub(crate) async fn database(&self, name: &str) -> Result<(SqliteDatabase, D1Database, Config), Box<dyn Error>> {
        let (file, database, config) = self.known_database(name, None)?;
        Ok((open_database(&file).await?, database, config))
    }

    /// A database that is there already: who only looks makes none.
    pub(crate) async fn existing_database(&self, name: &str) -> Result<(SqliteDatabase, D1Database), Box<dyn Error>> {
        let (file, database, _) = self.known_database(name, None)?;
        if !file.exists() {
            let message =
                format!("there is no database {} here yet; it would be {}", database.local_name(), file.display());
            return Err(message.into());
        }
        Ok((open_database(&file).await?, database))
    }
}

/// Opens a database for a person at a terminal: a large import may take its time, and Ctrl-C ends it.
pub(crate) async fn open_database(file: &Path) -> isobar_db::Result<SqliteDatabase> {
    SqliteDatabase::open_with(file, SqliteOptions::default().with_time_limit(Duration::MAX)).await
}

/// Where a remote bucket is, and the key that opens it, as the environment says.
fn s3_config(bucket: &str) -> Result<S3Config, Box<dyn Error>> {
    let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let needed = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| read(name));
        found.ok_or(format!("a remote bucket needs {} (or {}) in the environment", names[0], names[1]))
    };
    let id = needed(["R2_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"])?;
    let secret = needed(["R2_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"])?;
    let config = match read("S3_ENDPOINT") {
        Some(endpoint) => {
            S3Config::new(endpoint, bucket, id, secret).with_region(read("AWS_REGION").unwrap_or("auto".to_owned()))
        }
        None => S3Config::r2(&needed(["CLOUDFLARE_ACCOUNT_ID", "S3_ENDPOINT"])?, bucket, id, secret),
    };
    Ok(match read("AWS_SESSION_TOKEN") {
        Some(token) => config.with_session_token(token),
        None => config,
    })
}

fn has_config() -> bool {
    let here = std::path::absolute(".").unwrap_or_default();
    here.ancestors()
        .any(|folder| isobar_cloudflare::wrangler::FILE_NAMES.iter().any(|name| folder.join(name).is_file()))
}

/// A name that stays in its folder.
fn checked(name: &str) -> Result<&str, String> {
    let fine = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(fine) {
        return Err(format!("{name:?} is no name of a bucket or database: letters, digits, - and _ make one"));
    }
    Ok(name)
}
