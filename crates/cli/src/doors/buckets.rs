//! The buckets of a place, as a catalog.
//!
//! Buckets of the configuration are those that the application has open: one store for each folder in a
//! process, so that caches and conditions agree. Others are opened when they are first asked for.
//!
//! Lock: `opened` is held across opening, creating and deleting, which are rare and quick, so that no
//! bucket is opened twice, and none while it is deleted. Requests to an open bucket hold it for a
//! lookup.
//!
//! Rules of a bucket are files in its folder `rules`, so that they end with it. They are read for each request, since another process
//! may have changed them.
//!
//! Messages of errors go to clients and name no file; the path is in the source, for the log.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use isobar_base::fs::NamedFiles;
use isobar_gateway::catalog::{BucketCatalog, BucketInfo, CatalogError, CatalogErrorKind, CorsPolicy, LifecyclePolicy};
use isobar_storage::local::{LocalStore, Removal};
use isobar_storage::{ErrorKind, ObjectStore};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::place::{checked, is_here};

/// File of the CORS rules.
const CORS: &str = "cors.json";
/// File of the lifecycle rules.
const LIFECYCLE: &str = "lifecycle.json";

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

    /// The error of a folder that cannot be read.
    fn unlisted(&self, error: io::Error) -> CatalogError {
        unavailable("the buckets cannot be listed", &self.folder, error)
    }

    /// The folder of a bucket that is there.
    fn existing(&self, name: &str) -> Option<PathBuf> {
        let folder = self.folder.join(checked(name).ok()?);
        is_here(&folder).then_some(folder)
    }

    /// The folder of a bucket's rules. `None` for a name that no bucket has.
    fn rules(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.join(checked(name).ok()?).join("rules"))
    }

    /// Reads rules. `None` where none were set, or where there is no such bucket.
    fn read_rules<T: DeserializeOwned>(&self, name: &str, file: &str) -> Result<Option<T>, CatalogError> {
        let Some(folder) = self.rules(name) else { return Ok(None) };
        let unreadable = |error: &dyn Display| {
            unavailable(format!("the rules of the bucket {name} cannot be read"), &folder.join(file), error)
        };
        let Some(text) = NamedFiles::new(&folder).get(file).map_err(|error| unreadable(&error))? else {
            return Ok(None);
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| unreadable(&error))
    }

    /// Replaces rules. Two writes do not overlap, and none overlaps with a deletion: the lock is held.
    async fn write_rules(&self, name: &str, file: &str, rules: &impl Serialize) -> Result<(), CatalogError> {
        let text = serde_json::to_vec(rules).expect("rules are texts and numbers");
        let _opened = self.opened.lock().await;
        let is_there = self.bound.contains_key(name) || self.existing(name).is_some();
        let Some(folder) = self.rules(name).filter(|_| is_there) else { return Err(not_found()) };
        NamedFiles::new(&folder).put(file, &text).map_err(|error| {
            unavailable(format!("the rules of the bucket {name} cannot be written"), &folder.join(file), error)
        })
    }
}

/// The error of a bucket that does not exist, in R2's words.
fn not_found() -> CatalogError {
    CatalogError::new(CatalogErrorKind::NotFound, "The specified bucket does not exist.")
}

#[async_trait]
impl BucketCatalog for LocalBuckets {
    async fn list(&self) -> Result<Vec<BucketInfo>, CatalogError> {
        let mut buckets = BTreeMap::new();
        for name in self.bound.keys() {
            buckets.insert(name.clone(), created(&self.folder.join(name)));
        }
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            entries => Some(entries.map_err(|error| self.unlisted(error))?),
        };
        for entry in entries.into_iter().flatten() {
            let entry = entry.map_err(|error| self.unlisted(error))?;
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
        let store = LocalStore::open(&folder).await;
        let what = || format!("the bucket {name} cannot be opened");
        let store = Arc::new(store.map_err(|error| unavailable(what(), &folder, error))?);
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
        let what = || format!("the bucket {name} cannot be created");
        let store = store.map_err(|error| unavailable(what(), &folder, error))?;
        opened.insert(name.to_owned(), Arc::new(store));
        Ok(BucketInfo::new(name, created(&folder)))
    }

    async fn delete(&self, name: &str) -> Result<(), CatalogError> {
        if self.bound.contains_key(name) {
            let message = format!("the bucket {name} is a binding of this server's configuration, and in use");
            return Err(CatalogError::new(CatalogErrorKind::Unsupported, message));
        }
        let mut opened = self.opened.lock().await;
        let Some(folder) = self.existing(name) else { return Err(not_found()) };
        let in_use = || format!("the bucket {name} is in use: try again");
        if let Some(store) = opened.remove(name) {
            if Arc::strong_count(&store) > 1 {
                opened.insert(name.to_owned(), store);
                return Err(CatalogError::new(CatalogErrorKind::Unavailable, in_use()));
            }
            // Closed here: it is removed only where nobody has it open.
            drop(store);
        }
        let removed = LocalStore::remove(&folder).await.map_err(|error| match error.kind() {
            ErrorKind::Unavailable => unavailable(in_use(), &folder, error),
            _ => unavailable(format!("the bucket {name} cannot be deleted"), &folder, error),
        })?;
        let kept = match removed {
            Removal::HasObjects => "The bucket you tried to delete is not empty",
            Removal::HasRemains => {
                "the bucket has salvaged parts of damaged objects in its folder lost: move them away first"
            }
            _ => return Ok(()),
        };
        Err(CatalogError::new(CatalogErrorKind::NotEmpty, kept))
    }

    async fn cors(&self, name: &str) -> Result<CorsPolicy, CatalogError> {
        Ok(self.read_rules(name, CORS)?.unwrap_or_default())
    }

    async fn set_cors(&self, name: &str, policy: CorsPolicy) -> Result<(), CatalogError> {
        self.write_rules(name, CORS, &policy).await
    }

    async fn lifecycle(&self, name: &str) -> Result<LifecyclePolicy, CatalogError> {
        Ok(self.read_rules(name, LIFECYCLE)?.unwrap_or_default())
    }

    async fn set_lifecycle(&self, name: &str, policy: LifecyclePolicy) -> Result<(), CatalogError> {
        self.write_rules(name, LIFECYCLE, &policy).await
    }
}

/// Time of creation, or of the last change where the file system keeps no other.
///
/// Clients show it and sort by it, and nothing depends on it: 1970 where the folder is gone meanwhile.
pub(super) fn created(path: &Path) -> DateTime<Utc> {
    let time = std::fs::metadata(path).and_then(|metadata| metadata.created().or_else(|_| metadata.modified()));
    time.map_or(DateTime::UNIX_EPOCH, DateTime::from)
}

/// The error of a resource that cannot be had now. Clients are told what it is; the log has its path and the cause.
pub(super) fn unavailable(what: impl Into<String>, path: &Path, error: impl Display) -> CatalogError {
    CatalogError::new(CatalogErrorKind::Unavailable, what).with_source(format!("{}: {error}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::error::Error;

    use isobar_gateway::catalog::{CorsRule, Expiry, LifecycleRule};
    use isobar_gateway::lifecycle::LifecycleSweeper;

    use super::*;

    #[tokio::test]
    async fn damaged_bucket_is_named_to_clients_and_its_path_to_operators() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("r2/photos");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("index.db"), "not a database, and longer than the head of one is".repeat(20))
            .unwrap();
        let buckets = LocalBuckets::new(home.path(), BTreeMap::new());
        for error in [buckets.open("photos").await.map(drop), buckets.delete("photos").await].map(Result::unwrap_err) {
            let shown = error.to_string();
            assert!(shown.contains("the bucket photos cannot be") && !shown.contains('/'), "{shown}");
            let cause = error.source().unwrap().to_string();
            assert!(cause.contains(&folder.display().to_string()), "{cause}");
        }
        assert!(folder.join("index.db").is_file());
    }

    #[tokio::test]
    async fn rules_outlive_the_process_and_end_with_the_bucket() {
        let home = tempfile::tempdir().unwrap();
        let open = || LocalBuckets::new(home.path(), BTreeMap::new());
        let policy = CorsPolicy::new(vec![CorsRule::new(["https://example.com"], ["GET"])]).unwrap();
        let buckets = open();
        for name in ["photos", "..", ""] {
            let missing = buckets.set_cors(name, policy.clone()).await.unwrap_err();
            assert_eq!(missing.kind(), CatalogErrorKind::NotFound, "{name}");
            assert_eq!(buckets.cors(name).await.unwrap(), CorsPolicy::default(), "{name}");
        }
        assert!(!home.path().join("r2/photos").exists(), "rules create no bucket");
        buckets.create("photos").await.unwrap();
        buckets.set_cors("photos", policy.clone()).await.unwrap();
        let none = LifecyclePolicy::new(Vec::new()).unwrap();
        buckets.set_lifecycle("photos", none.clone()).await.unwrap();
        drop(buckets);
        let buckets = open();
        assert_eq!(buckets.cors("photos").await.unwrap(), policy);
        assert_eq!(buckets.lifecycle("photos").await.unwrap(), none, "removed rules stay removed");
        buckets.delete("photos").await.unwrap();
        buckets.create("photos").await.unwrap();
        assert_eq!(buckets.cors("photos").await.unwrap(), CorsPolicy::default());
        assert_eq!(buckets.lifecycle("photos").await.unwrap(), LifecyclePolicy::default());
    }

    #[tokio::test]
    async fn lifecycle_rules_are_carried_out_in_buckets_that_are_not_open() {
        let home = tempfile::tempdir().unwrap();
        let open = || Arc::new(LocalBuckets::new(home.path(), BTreeMap::new()));
        let buckets = open();
        let key = isobar_storage::Key::new("logs/a").unwrap();
        for name in ["photos", "backups"] {
            buckets.create(name).await.unwrap();
            let store = buckets.open(name).await.unwrap().unwrap();
            store.put(&key, "x".into(), isobar_storage::PutOptions::default()).await.unwrap().stored().unwrap();
        }
        let rule = LifecycleRule::new("logs").with_prefix("logs/").with_expiry(Expiry::Age(0));
        buckets.set_lifecycle("photos", LifecyclePolicy::new(vec![rule]).unwrap()).await.unwrap();
        drop(buckets);
        let buckets = open();
        let report = LifecycleSweeper::new(buckets.clone()).sweep().await;
        assert_eq!((report.buckets, report.deleted, report.failed), (1, 1, 0));
        assert_eq!(buckets.opened.lock().await.keys().collect::<Vec<_>>(), ["photos"]);
        assert!(buckets.open("photos").await.unwrap().unwrap().head(&key).await.unwrap().is_none());
        assert!(buckets.open("backups").await.unwrap().unwrap().head(&key).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn damaged_rules_are_an_error_and_not_none() {
        let home = tempfile::tempdir().unwrap();
        let buckets = LocalBuckets::new(home.path(), BTreeMap::new());
        buckets.create("photos").await.unwrap();
        buckets.set_cors("photos", CorsPolicy::default()).await.unwrap();
        std::fs::write(home.path().join("r2/photos/rules/cors.json"), "{\"rules\": [").unwrap();
        let error = buckets.cors("photos").await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().contains('/')), (CatalogErrorKind::Unavailable, false));
    }

    #[tokio::test]
    async fn bucket_is_deleted_where_it_is_empty_and_nobody_has_it_open() {
        let home = tempfile::tempdir().unwrap();
        let buckets = LocalBuckets::new(home.path(), BTreeMap::new());
        buckets.create("photos").await.unwrap();
        let kind = async || buckets.delete("photos").await.map_err(|error| error.kind());
        let elsewhere = LocalStore::open(home.path().join("r2/photos")).await.unwrap();
        assert_eq!(kind().await, Err(CatalogErrorKind::Unavailable));
        let key = isobar_storage::Key::new("a").unwrap();
        elsewhere.put(&key, "x".into(), isobar_storage::PutOptions::default()).await.unwrap().stored().unwrap();
        drop(elsewhere);
        assert_eq!(kind().await, Err(CatalogErrorKind::NotEmpty));
        buckets.open("photos").await.unwrap().unwrap().delete(&[key]).await.unwrap();
        assert_eq!(kind().await, Ok(()));
        assert!(buckets.list().await.unwrap().is_empty() && buckets.open("photos").await.unwrap().is_none());
    }
}
