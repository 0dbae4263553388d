//! The buckets of a place, as a catalog.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use isobar_gateway::catalog::{BucketCatalog, BucketInfo, CatalogError, CatalogErrorKind};
use isobar_storage::local::LocalStore;
use isobar_storage::{ListOptions, ObjectStore};
use tokio::sync::Mutex;

use crate::place::{checked, is_here};

/// The buckets below a root: those that the application has open, and others, which are opened when they are first used.
#[derive(Debug)]
pub(super) struct LocalBuckets {
    folder: PathBuf,
    /// Buckets of the configuration.
    bound: BTreeMap<String, Arc<dyn ObjectStore>>,
    /// The lock is held while one is opened, created or deleted.
    opened: Mutex<BTreeMap<String, Arc<LocalStore>>>,
}

impl LocalBuckets {
    pub(super) fn new(root: &Path, bound: BTreeMap<String, Arc<dyn ObjectStore>>) -> Self {
        Self { folder: root.join("r2"), bound, opened: Mutex::default() }
    }

    /// The folder of a bucket that is there.
    fn existing(&self, name: &str) -> Option<PathBuf> {
        let folder = self.folder.join(checked(name).ok()?);
        is_here(&folder).then_some(folder)
    }
}

#[async_trait]
impl BucketCatalog for LocalBuckets {
    async fn list(&self) -> Result<Vec<BucketInfo>, CatalogError> {
        let mut buckets = BTreeMap::new();
        for name in self.bound.keys() {
            buckets.insert(name.clone(), created(&self.folder.join(name)));
        }
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            entries => Some(entries.map_err(|error| unavailable("the buckets cannot be listed", error))?),
        };
        for entry in entries.into_iter().flatten() {
            let entry = entry.map_err(|error| unavailable("the buckets cannot be listed", error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if self.existing(&name).is_some() {
                buckets.entry(name).or_insert_with(|| created(&entry.path()));
            }
        }
        Ok(buckets.into_iter().map(|(name, created)| BucketInfo::new(name, created)).collect())
    }

    async fn open(&self, name: &str) -> Result<Option<Arc<dyn ObjectStore>>, CatalogError> {
        if let Some(bucket) = self.bound.get(name) {
            return Ok(Some(Arc::clone(bucket)));
        }
        let mut opened = self.opened.lock().await;
        if let Some(bucket) = opened.get(name) {
            return Ok(Some(Arc::clone(bucket) as Arc<dyn ObjectStore>));
        }
        let Some(folder) = self.existing(name) else { return Ok(None) };
        let store = LocalStore::open(folder).await;
        let store = Arc::new(store.map_err(|error| unavailable("the bucket cannot be opened", error))?);
        opened.insert(name.to_owned(), Arc::clone(&store));
        Ok(Some(store))
    }

    async fn create(&self, name: &str) -> Result<BucketInfo, CatalogError> {
        let folder = self
            .folder
            .join(checked(name).map_err(|message| CatalogError::new(CatalogErrorKind::InvalidName, message))?);
        let mut opened = self.opened.lock().await;
        if self.bound.contains_key(name) || is_here(&folder) {
            let message = format!("The bucket {name} already exists");
            return Err(CatalogError::new(CatalogErrorKind::AlreadyExists, message));
        }
        let store = LocalStore::open(&folder).await;
        let store = store.map_err(|error| unavailable("the bucket cannot be created", error))?;
        opened.insert(name.to_owned(), Arc::new(store));
        Ok(BucketInfo::new(name, created(&folder)))
    }

    async fn delete(&self, name: &str) -> Result<(), CatalogError> {
        if self.bound.contains_key(name) {
            let message = format!("the bucket {name} is a binding of this server's configuration, and in use");
            return Err(CatalogError::new(CatalogErrorKind::Unsupported, message));
        }
        let mut opened = self.opened.lock().await;
        let Some(folder) = self.existing(name) else {
            return Err(CatalogError::new(CatalogErrorKind::NotFound, "The specified bucket does not exist."));
        };
        let store = match opened.remove(name) {
            Some(store) => store,
            None => {
                let store = LocalStore::open(&folder).await;
                Arc::new(store.map_err(|error| unavailable("the bucket cannot be opened", error))?)
            }
        };
        let kept = remove(&folder, &store).await;
        if kept.is_err() {
            opened.insert(name.to_owned(), store);
        }
        kept
    }
}

/// Removes an empty bucket that no request uses.
async fn remove(folder: &Path, store: &Arc<LocalStore>) -> Result<(), CatalogError> {
    if Arc::strong_count(store) > 1 {
        return Err(CatalogError::new(CatalogErrorKind::Unavailable, "the bucket is in use: try again"));
    }
    let listed = store.list(ListOptions::default().with_limit(1)).await;
    let listed = listed.map_err(|error| unavailable("the bucket cannot be listed", error))?;
    if !listed.objects.is_empty() {
        let message = "The bucket you tried to delete is not empty";
        return Err(CatalogError::new(CatalogErrorKind::NotEmpty, message));
    }
    if folder.join("lost").exists() {
        let message = "the bucket has salvaged parts of damaged objects in its folder lost: move them away first";
        return Err(CatalogError::new(CatalogErrorKind::NotEmpty, message));
    }
    std::fs::remove_dir_all(folder).map_err(|error| unavailable("the bucket cannot be deleted", error))
}

/// Time of creation, or of the last change where the file system keeps no other.
pub(super) fn created(path: &Path) -> DateTime<Utc> {
    let time = std::fs::metadata(path).and_then(|metadata| metadata.created().or_else(|_| metadata.modified()));
    time.map_or(DateTime::UNIX_EPOCH, DateTime::from)
}

pub(super) fn unavailable(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> CatalogError {
    CatalogError::new(CatalogErrorKind::Unavailable, format!("{what}: {error}")).with_source(error)
}
