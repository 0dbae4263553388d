//! Archives of datasets: a folder, or a prefix in a bucket, below which each dataset has a place of its name.
//!
//! `analytics archive` and `serve --events-archive` move old segments there. The dataset keeps the place, so that every other command finds
//! it: `r2://BUCKET/PREFIX/DATASET` in a bucket of this machine, the same behind `remote:` in one of the account or of any S3 server, or the
//! path of a folder. Keys of a remote bucket come from the environment of each command.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use clap::Args;
use isobar_analytics::local::{ArchiveBody, ArchiveStore, FolderArchive, LocalOptions, StoredSegments};
use isobar_analytics::query::LocalDatasets;
use isobar_analytics::{Error as AnalyticsError, ErrorKind};
use isobar_cloudflare::wrangler::Config;
use isobar_storage::{
    Body, Error as StorageError, ErrorKind as StorageErrorKind, GetOptions, GetResult, Key, ObjectStore, PutOptions,
};
use tokio::runtime::{Builder, Runtime};

use crate::place::{Access, Place, folders};
use crate::remote::Where;
use crate::target::{BUCKET, Base};

/// Beginning of the place of an archive that is in a bucket of the account.
const REMOTE: &str = "remote:";
/// Time between two looks for segments that are old enough.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The archives of datasets, by the datasets' names.
pub(crate) type Archives = BTreeMap<String, Arc<dyn ArchiveStore>>;

/// The archive of a server's events.
#[derive(Debug, Args)]
pub(crate) struct EventArchive {
    /// Move old events to this archive, a folder or r2://BUCKET/PREFIX, where queries go on to find them
    ///
    /// Each dataset of the configuration has its segments in TARGET/DATASET, Parquet files. --events-days counts
    /// there, too; --events-size does not.
    #[arg(long, value_name = "TARGET")]
    events_archive: Option<String>,
    /// The bucket of --events-archive is one of the account, or of any S3 server, as with `isobar d1 backup
    /// --remote`
    #[arg(long, requires = "events_archive")]
    events_archive_remote: bool,
    /// Age in days at which events are moved to the archive, by whole segments, checked every hour. Default: 30
    #[arg(long, value_name = "DAYS", requires = "events_archive")]
    events_archive_days: Option<u64>,
}

impl EventArchive {
    /// Opens the archives of the datasets of a server: those of the option, and for other datasets of the folder those that they have.
    ///
    /// # Errors
    /// Those of opening the archive of the option, also where a dataset has another one.
    pub(crate) async fn open(&self, place: &Place, root: &Path, config: &Config) -> Result<Archives, Box<dyn Error>> {
        let folder = root.join("analytics");
        let mut archives = existing(place, &folder).await;
        let Some(target) = &self.events_archive else { return Ok(archives) };
        for dataset in &config.analytics_engine_datasets {
            let name = dataset.local_name();
            let archive = open(target, self.events_archive_remote, name, place).await?;
            // By what the dataset says, as an archive that cannot be opened now is its own still.
            let own = StoredSegments::of(folder.join(name)).ok().and_then(|segments| segments.archive);
            if let Some(other) = own.filter(|own| *own != archive.location()) {
                let message = format!("--events-archive: the dataset {name} has segments in {other}");
                return Err(message.into());
            }
            archives.insert(name.to_owned(), archive);
        }
        Ok(archives)
    }

    /// Sets the archive of a dataset, and when its segments are moved there.
    pub(crate) fn configure(&self, options: LocalOptions, archive: Option<&Arc<dyn ArchiveStore>>) -> LocalOptions {
        let Some(archive) = archive else { return options };
        let options = options.with_archive(Arc::clone(archive)).with_compact_every(Some(LOOK_EVERY));
        let days = self.events_archive_days.unwrap_or(30);
        let age = Duration::from_secs(days.saturating_mul(DAY.as_secs()));
        options.with_archive_after(self.events_archive.is_some().then_some(age))
    }
}

/// Opens the archive of a dataset in a target.
///
/// # Errors
/// An empty target; a remote one that is a folder; those of opening the bucket.
pub(crate) async fn open(
    target: &str,
    is_remote: bool,
    dataset: &str,
    place: &Place,
) -> Result<Arc<dyn ArchiveStore>, Box<dyn Error>> {
    let reach = Where::default().with_remote(is_remote);
    let base = Box::pin(Base::open(target, place, &reach, Access::Write)).await?;
    of_base(base, target, is_remote, dataset, place)
}

/// Opens the archive that a dataset has; `None` where it has none.
///
/// # Errors
/// Those of opening it.
pub(crate) async fn of_dataset(folder: &Path, place: &Place) -> Result<Option<Arc<dyn ArchiveStore>>, Box<dyn Error>> {
    // A manifest that is damaged is reported by the command itself.
    let Ok(StoredSegments { archive: Some(location), .. }) = StoredSegments::of(folder) else { return Ok(None) };
    let remote = location.strip_prefix(REMOTE);
    let target = remote.unwrap_or(&location);
    let reach = Where::default().with_remote(remote.is_some());
    let base = Box::pin(Base::open(target, place, &reach, Access::Existing)).await?;
    of_base(base, target, remote.is_some(), "", place).map(Some)
}

/// Opens the archives of the datasets below a folder. One that cannot be opened is a warning: queries of other datasets do not need it.
pub(crate) async fn existing(place: &Place, folder: &Path) -> Archives {
    let mut archives = Archives::new();
    // A folder that cannot be read is reported by the command itself.
    for name in folders(folder).unwrap_or_default() {
        match of_dataset(&folder.join(&name), place).await {
            Ok(Some(archive)) => drop(archives.insert(name, archive)),
            Ok(None) => {}
            Err(error) => eprintln!("warning: the archive of the dataset {name} cannot be opened: {error}"),
        }
    }
    archives
}

/// Returns the datasets below a folder, with these archives.
pub(crate) fn datasets(folder: PathBuf, archives: Archives) -> LocalDatasets {
    let datasets = LocalDatasets::open(folder);
    archives.into_iter().fold(datasets, |datasets, (name, archive)| datasets.with_archive(name, archive))
}

fn of_base(
    base: Base,
    target: &str,
    is_remote: bool,
    dataset: &str,
    place: &Place,
) -> Result<Arc<dyn ArchiveStore>, Box<dyn Error>> {
    let (store, prefix) = match base {
        Base::Folder(folder) if dataset.is_empty() => return Ok(Arc::new(FolderArchive::new(folder))),
        Base::Folder(folder) => return Ok(Arc::new(FolderArchive::new(folder.join(dataset)))),
        Base::Bucket { store, prefix } => (store, prefix),
    };
    let prefix = if dataset.is_empty() { prefix } else { format!("{prefix}{dataset}/") };
    let bucket = target.strip_prefix(BUCKET).unwrap_or(target);
    let bucket = bucket.split_once('/').map_or(bucket, |(bucket, _)| bucket);
    // By its name, as a binding may change.
    let location = if is_remote {
        format!("{REMOTE}{BUCKET}{}/{prefix}", place.remote_name(bucket)?)
    } else {
        let folder = place.bucket_folder(bucket)?;
        format!("{BUCKET}{}/{prefix}", folder.file_name().unwrap_or_default().to_string_lossy())
    };
    let location = location.trim_end_matches('/').to_owned();
    Ok(Arc::new(BucketArchive { store, prefix, location }))
}

/// An archive in a bucket.
///
/// Its requests run on a runtime of their own: the threads of a dataset have none, and block until they are over.
#[derive(Debug)]
struct BucketArchive {
    store: Arc<dyn ObjectStore>,
    /// With a slash at its end.
    prefix: String,
    location: String,
}

impl BucketArchive {
    fn key(&self, name: &str) -> Result<Key, AnalyticsError> {
        Key::new(format!("{}{name}", self.prefix)).map_err(failed)
    }

    /// Runs requests, and waits for their end.
    async fn run<T: Send + 'static>(
        &self,
        requests: impl Future<Output = Result<T, StorageError>> + Send + 'static,
    ) -> Result<T, AnalyticsError> {
        let ended = runtime()?.spawn(requests).await;
        ended.map_err(|error| AnalyticsError::new(ErrorKind::Internal, error.to_string()))?.map_err(failed)
    }
}

/// The runtime of archives, as long as the process runs.
fn runtime() -> Result<&'static Runtime, AnalyticsError> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let build = || Builder::new_multi_thread().worker_threads(1).thread_name("isobar-archive").enable_all().build();
    let failed = |error: &std::io::Error| {
        AnalyticsError::new(ErrorKind::Unavailable, format!("cannot start the threads of the archive: {error}"))
    };
    RUNTIME.get_or_init(build).as_ref().map_err(failed)
}

fn failed(error: StorageError) -> AnalyticsError {
    let kind = match error.kind() {
        StorageErrorKind::StorageFull => ErrorKind::StorageFull,
        StorageErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::Unavailable,
    };
    AnalyticsError::new(kind, error.to_string()).with_source(error)
}

#[async_trait]
impl ArchiveStore for BucketArchive {
    fn location(&self) -> String {
        self.location.clone()
    }

    async fn put(&self, name: &str, bytes: u64, body: ArchiveBody) -> Result<(), AnalyticsError> {
        let key = self.key(name)?;
        let store = Arc::clone(&self.store);
        let body = Body::wrap_stream(bytes, body);
        let put = async move { store.put(&key, body, PutOptions::default()).await.map(drop) };
        self.run(put).await
    }

    async fn size(&self, name: &str) -> Result<Option<u64>, AnalyticsError> {
        let key = self.key(name)?;
        let store = Arc::clone(&self.store);
        let head = async move { store.head(&key).await };
        Ok(self.run(head).await?.map(|meta| meta.size))
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>, AnalyticsError> {
        let key = self.key(name)?;
        let store = Arc::clone(&self.store);
        let length = range.end.saturating_sub(range.start);
        let part = isobar_storage::Range::From { offset: range.start, length: Some(length) };
        let get = async move {
            match store.get(&key, GetOptions::default().with_range(part)).await {
                Ok(GetResult::Object { body, .. }) => body.bytes().await.map(Some),
                Ok(_) => Ok(None),
                // The object ends before the range.
                Err(error) if error.kind() == StorageErrorKind::InvalidRange => Ok(Some(Bytes::new())),
                Err(error) => Err(error),
            }
        };
        self.run(get).await
    }

    async fn delete(&self, name: &str) -> Result<(), AnalyticsError> {
        let key = self.key(name)?;
        let store = Arc::clone(&self.store);
        let delete = async move { store.delete(&[key]).await };
        self.run(delete).await
    }
}
