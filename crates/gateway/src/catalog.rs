//! Catalogs: the buckets, databases and namespaces that doors serve, by name.
//!
//! A door knows no backend. It asks a catalog for the trait object behind a name, and has it create and delete.
//!
//! | catalog | lists | opens | creates, deletes | for |
//! |---|---|---|---|---|
//! | `BackupCatalog` | databases and classes with a backup | | runs and verifies | `explorer` |
//! | [`BucketCatalog`] | buckets and their rules | `ObjectStore` | yes | `s3`, `rest`, `explorer` |
//! | `DatabaseCatalog` | databases | `Database` | yes | `rest`, `explorer` |
//! | `DeployCatalog` | deploys of one site | | rolls back | `explorer` |
//! | `SessionCatalog` | classes and objects | | no | `rest`, `explorer` |
//!
//! A catalog does not check permissions: doors have asked the key's scope before. It is asked for each
//! request, so that opening has to be quick for what is open already; doors keep nothing of what it
//! gives.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use isobar_storage::ObjectStore;

#[cfg(feature = "explorer")]
mod backups;
mod cors;
#[cfg(feature = "rest")]
mod databases;
#[cfg(feature = "explorer")]
mod deploys;
mod lifecycle;
#[cfg(feature = "rest")]
mod namespaces;
#[cfg(feature = "rest")]
mod sessions;

#[cfg(feature = "explorer")]
pub use backups::{BackupCatalog, BackupInfo, BackupReport, BackupSource, BackupState};
pub use cors::{CorsAllowed, CorsPolicy, CorsRule};
#[cfg(feature = "rest")]
pub use databases::{DatabaseCatalog, DatabaseInfo, FixedDatabases};
#[cfg(feature = "explorer")]
pub use deploys::{DeployCatalog, DeployInfo};
pub use lifecycle::{Expiry, LifecyclePolicy, LifecycleRule};
#[cfg(feature = "rest")]
pub use namespaces::NamespaceEntry;
#[cfg(feature = "rest")]
pub use sessions::{
    SessionCatalog, SessionDetails, SessionInfo, SessionPage, SessionRows, SessionSocket, SessionTable, SessionTimer,
};

/// Kind of a catalog's error.
///
/// | kind | S3 | REST API: buckets, databases |
/// |---|---|---|
/// | [`InvalidName`](Self::InvalidName) | 400 `InvalidBucketName` | 400, code 10005, 7400 |
/// | [`AlreadyExists`](Self::AlreadyExists) | 409 `BucketAlreadyOwnedByYou` | 409, 400, code 10004, 7502 |
/// | [`NotFound`](Self::NotFound) | 404 `NoSuchBucket` | 404, code 10006, 7404 |
/// | [`NotEmpty`](Self::NotEmpty) | 409 `BucketNotEmpty` | 409, code 10008 |
/// | [`InvalidArgument`](Self::InvalidArgument) | 400 `InvalidArgument` | 400, code 7400 |
/// | [`Unsupported`](Self::Unsupported) | 501 `NotImplemented` | 400, code 7400 |
/// | [`Unavailable`](Self::Unavailable) | 503 `ServiceUnavailable` | 500, code 10001 |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CatalogErrorKind {
    /// The name has characters or a length that names may not have.
    InvalidName,
    /// There is a resource of this name.
    AlreadyExists,
    /// There is no resource of this name.
    NotFound,
    /// The bucket has objects.
    NotEmpty,
    /// Something else of the request is not valid: an id, a statement.
    InvalidArgument,
    /// The catalog neither creates nor deletes, or not this resource.
    Unsupported,
    /// The resource cannot be opened now.
    Unavailable,
}

/// An error of a catalog. It displays as its message, which doors answer to clients; the source is for the server's log alone, and may name
/// files of the server.
///
/// ```
/// use std::error::Error;
///
/// use isobar_gateway::catalog::{CatalogError, CatalogErrorKind};
///
/// let error = CatalogError::new(CatalogErrorKind::Unavailable, "the bucket photos cannot be opened")
///     .with_source("/srv/data/r2/photos/index.db: permission denied");
/// assert_eq!(error.to_string(), "the bucket photos cannot be opened"); // for clients
/// assert!(error.source().expect("it was set").to_string().contains("/srv/data")); // for the log
/// assert_eq!(error.kind(), CatalogErrorKind::Unavailable);
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CatalogError {
    kind: CatalogErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl CatalogError {
    /// Returns an error of this kind, with a message for the client: it names no file of the server.
    #[must_use]
    pub fn new(kind: CatalogErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Sets the cause, which clients do not see.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the kind, by which doors choose status and code.
    #[must_use]
    pub fn kind(&self) -> CatalogErrorKind {
        self.kind
    }

    /// Returns the message with its causes, for the log.
    pub(crate) fn with_causes(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    }

    /// The error of a catalog that does not change.
    fn fixed(what: fmt::Arguments<'_>) -> Self {
        Self::new(
            CatalogErrorKind::Unsupported,
            format!("{what} of this server cannot be created or deleted by clients"),
        )
    }

    /// The error of a catalog whose buckets keep their rules.
    fn fixed_rules() -> Self {
        Self::new(CatalogErrorKind::Unsupported, "the rules of this server's buckets cannot be changed by clients")
    }
}

/// A bucket as a catalog lists it.
///
/// ```
/// use isobar_gateway::catalog::BucketInfo;
///
/// let photos = BucketInfo::new("photos", chrono::DateTime::UNIX_EPOCH);
/// assert_eq!((photos.name.as_str(), photos.created.timestamp()), ("photos", 0));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BucketInfo {
    /// Name.
    pub name: String,
    /// Time of its creation, which clients show; 1970 where it is not known.
    pub created: DateTime<Utc>,
}

impl BucketInfo {
    /// Returns the entry of a bucket.
    #[must_use]
    pub fn new(name: impl Into<String>, created: DateTime<Utc>) -> Self {
        Self { name: name.into(), created }
    }
}

/// The buckets of a door, by name. See [`FixedBuckets`] for a list that does not change.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::{Arc, Mutex};
///
/// use async_trait::async_trait;
/// use chrono::{DateTime, Utc};
/// use isobar_gateway::catalog::{BucketCatalog, BucketInfo, CatalogError, CatalogErrorKind};
/// use isobar_storage::ObjectStore;
/// use isobar_storage::memory::MemoryStore;
///
/// /// Buckets in memory, which clients create.
/// #[derive(Debug, Default)]
/// struct Buckets(Mutex<BTreeMap<String, (DateTime<Utc>, MemoryStore)>>);
///
/// #[async_trait]
/// impl BucketCatalog for Buckets {
///     async fn list(&self) -> Result<Vec<BucketInfo>, CatalogError> {
///         Ok(self.0.lock().unwrap().iter().map(|(name, (created, _))| BucketInfo::new(name, *created)).collect())
///     }
///
///     async fn open(&self, name: &str) -> Result<Option<Arc<dyn ObjectStore>>, CatalogError> {
///         let buckets = self.0.lock().unwrap();
///         Ok(buckets.get(name).map(|(_, bucket)| Arc::new(bucket.clone()) as Arc<dyn ObjectStore>))
///     }
///
///     async fn create(&self, name: &str) -> Result<BucketInfo, CatalogError> {
///         let mut buckets = self.0.lock().unwrap();
///         if buckets.contains_key(name) {
///             return Err(CatalogError::new(CatalogErrorKind::AlreadyExists, "there is a bucket of this name"));
///         }
///         let created = Utc::now();
///         buckets.insert(name.to_owned(), (created, MemoryStore::new()));
///         Ok(BucketInfo::new(name, created))
///     }
/// }
///
/// # futures_util::FutureExt::now_or_never(async {
/// let buckets = Buckets::default();
/// buckets.create("photos").await?;
/// assert!(buckets.open("photos").await?.is_some());
/// assert_eq!(buckets.create("photos").await.unwrap_err().kind(), CatalogErrorKind::AlreadyExists);
/// assert_eq!(buckets.delete("photos").await.unwrap_err().kind(), CatalogErrorKind::Unsupported); // the default
/// # Ok::<_, CatalogError>(()) }).unwrap().unwrap();
/// ```
#[async_trait]
pub trait BucketCatalog: Debug + Send + Sync {
    /// Returns every bucket, in byte order of the names.
    ///
    /// # Errors
    /// [`CatalogErrorKind::Unavailable`].
    async fn list(&self) -> Result<Vec<BucketInfo>, CatalogError>;

    /// Returns the bucket of this name, or `None`.
    ///
    /// A name that cannot be a bucket's has none: it is `None` and not an error. Called for every
    /// request to the bucket.
    ///
    /// # Errors
    /// [`CatalogErrorKind::Unavailable`] where it cannot be opened.
    async fn open(&self, name: &str) -> Result<Option<Arc<dyn ObjectStore>>, CatalogError>;

    /// Creates an empty bucket.
    ///
    /// The REST API checks R2's rule for names before; S3 lets any name through, so that a catalog has
    /// to check it. Default: unsupported.
    ///
    /// # Errors
    /// [`CatalogErrorKind::InvalidName`], [`AlreadyExists`](CatalogErrorKind::AlreadyExists),
    /// [`Unsupported`](CatalogErrorKind::Unsupported), [`Unavailable`](CatalogErrorKind::Unavailable).
    async fn create(&self, _name: &str) -> Result<BucketInfo, CatalogError> {
        Err(CatalogError::fixed(format_args!("the buckets")))
    }

    /// Deletes an empty bucket.
    ///
    /// One that a request still uses is [`Unavailable`](CatalogErrorKind::Unavailable), which clients
    /// repeat. Default: unsupported.
    ///
    /// # Errors
    /// [`CatalogErrorKind::NotFound`], [`NotEmpty`](CatalogErrorKind::NotEmpty), [`Unsupported`](CatalogErrorKind::Unsupported),
    /// [`Unavailable`](CatalogErrorKind::Unavailable).
    async fn delete(&self, _name: &str) -> Result<(), CatalogError> {
        Err(CatalogError::fixed(format_args!("the buckets")))
    }

    /// Returns the CORS rules of a bucket: none where there is no such bucket. Asked for every request to the bucket. Default: none.
    ///
    /// # Errors
    /// [`CatalogErrorKind::Unavailable`] where they cannot be read.
    async fn cors(&self, _name: &str) -> Result<CorsPolicy, CatalogError> {
        Ok(CorsPolicy::default())
    }

    /// Replaces the CORS rules of a bucket, which end with the bucket. They are durable when this returns. Default: unsupported.
    ///
    /// # Errors
    /// [`CatalogErrorKind::NotFound`], [`Unsupported`](CatalogErrorKind::Unsupported), [`Unavailable`](CatalogErrorKind::Unavailable).
    async fn set_cors(&self, _name: &str, _policy: CorsPolicy) -> Result<(), CatalogError> {
        Err(CatalogError::fixed_rules())
    }

    /// Returns the lifecycle rules of a bucket, which [`LifecycleSweeper`](crate::lifecycle::LifecycleSweeper) carries out. Default:
    /// R2's default, [`LifecyclePolicy::default`], which is also that of a bucket that does not exist.
    ///
    /// # Errors
    /// [`CatalogErrorKind::Unavailable`] where they cannot be read.
    async fn lifecycle(&self, _name: &str) -> Result<LifecyclePolicy, CatalogError> {
        Ok(LifecyclePolicy::default())
    }

    /// Replaces the lifecycle rules of a bucket, as [`set_cors`](Self::set_cors) does its CORS rules. Default: unsupported.
    ///
    /// # Errors
    /// [`CatalogErrorKind::NotFound`], [`Unsupported`](CatalogErrorKind::Unsupported), [`Unavailable`](CatalogErrorKind::Unavailable).
    async fn set_lifecycle(&self, _name: &str, _policy: LifecyclePolicy) -> Result<(), CatalogError> {
        Err(CatalogError::fixed_rules())
    }
}

/// A list of buckets that does not change, and whose rules clients do not change either.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use std::sync::Arc;
///
/// use isobar_gateway::catalog::{BucketCatalog, CatalogErrorKind, CorsPolicy, CorsRule, FixedBuckets};
/// use isobar_storage::memory::MemoryStore;
///
/// let buckets = FixedBuckets::new().with_bucket("photos", Arc::new(MemoryStore::new()));
/// let buckets = buckets.with_cors("photos", CorsPolicy::new(vec![CorsRule::new(["https://example.com"], ["GET"])])?);
/// assert!(buckets.open("photos").await?.is_some() && buckets.open("backups").await?.is_none());
/// assert_eq!(buckets.cors("photos").await?.rules().len(), 1);
/// assert_eq!(buckets.create("backups").await.unwrap_err().kind(), CatalogErrorKind::Unsupported);
/// # Ok::<_, isobar_gateway::catalog::CatalogError>(()) }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct FixedBuckets {
    buckets: Vec<(BucketInfo, Arc<dyn ObjectStore>)>,
    cors: BTreeMap<String, CorsPolicy>,
    lifecycle: BTreeMap<String, LifecyclePolicy>,
}

impl FixedBuckets {
    /// Returns an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a bucket, created now as clients see it. One of the same name is replaced.
    #[must_use]
    pub fn with_bucket(mut self, name: impl Into<String>, bucket: Arc<dyn ObjectStore>) -> Self {
        let info = BucketInfo::new(name, Utc::now());
        self.buckets.retain(|(known, _)| known.name != info.name);
        self.buckets.push((info, bucket));
        self.buckets.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        self
    }

    /// Sets the CORS rules of a bucket. Default: none.
    #[must_use]
    pub fn with_cors(mut self, name: impl Into<String>, policy: CorsPolicy) -> Self {
        self.cors.insert(name.into(), policy);
        self
    }

    /// Sets the lifecycle rules of a bucket, for a [`LifecycleSweeper`](crate::lifecycle::LifecycleSweeper). Default: R2's default.
    #[must_use]
    pub fn with_lifecycle(mut self, name: impl Into<String>, policy: LifecyclePolicy) -> Self {
        self.lifecycle.insert(name.into(), policy);
        self
    }
}

#[async_trait]
impl BucketCatalog for FixedBuckets {
    async fn list(&self) -> Result<Vec<BucketInfo>, CatalogError> {
        Ok(self.buckets.iter().map(|(info, _)| info.clone()).collect())
    }

    async fn open(&self, name: &str) -> Result<Option<Arc<dyn ObjectStore>>, CatalogError> {
        Ok(self.buckets.iter().find(|(info, _)| info.name == name).map(|(_, bucket)| Arc::clone(bucket)))
    }

    async fn cors(&self, name: &str) -> Result<CorsPolicy, CatalogError> {
        Ok(self.cors.get(name).cloned().unwrap_or_default())
    }

    async fn lifecycle(&self, name: &str) -> Result<LifecyclePolicy, CatalogError> {
        Ok(self.lifecycle.get(name).cloned().unwrap_or_default())
    }
}
