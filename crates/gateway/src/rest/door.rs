//! The door: what it serves, and its limits.

use std::sync::Arc;
use std::time::Duration;

use super::jobs::Jobs;
use super::room::{NewFile, Room};
use crate::catalog::{BucketCatalog, DatabaseCatalog, FixedBuckets, FixedDatabases, NamespaceEntry, SessionCatalog};
use crate::keys::{Audit, FailedAttempts, KeyStore};

/// Limits of the door.
///
/// ```
/// let options = isobar_gateway::rest::RestOptions::default().with_import_bytes(16 << 20);
/// assert_eq!(options.json_bytes, 8 << 20);
/// ```
///
/// The most memory that requests take together is not bounded by these, but by them times the requests
/// in flight, which the server limits; only files of imports and exports share one bound.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestOptions {
    /// Most bytes of a request of JSON, a query's above all. Default: 8 MiB.
    pub json_bytes: usize,
    /// Most bytes of the rows that a query answers: of each value 32, and its text or blob. Their JSON is in memory beside them, with up
    /// to six bytes for one of a text, and four for one of a blob. Default: 32 MiB.
    pub result_bytes: usize,
    /// Most bytes of an import's file, and of an export's. Each is in memory as a whole. Default: 128 MiB.
    pub import_bytes: usize,
    /// Most bytes of all files of imports and exports together, from their first byte on; an import that runs counts twice, as the
    /// database has a copy of its file. Default: 256 MiB.
    pub transfer_bytes: usize,
    /// Time for which an import or an export and its file are kept. Default: an hour, as with D1.
    pub transfer_time: Duration,
}

impl Default for RestOptions {
    fn default() -> Self {
        Self {
            json_bytes: 8 << 20,
            result_bytes: 32 << 20,
            import_bytes: 128 << 20,
            transfer_bytes: 256 << 20,
            transfer_time: Duration::from_secs(60 * 60),
        }
    }
}

impl RestOptions {
    /// Sets [`json_bytes`](Self::json_bytes). A longer body is answered 413.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use http::Request;
    /// # use isobar_db::{SqliteDatabase, vault::Keyring};
    /// # use isobar_gateway::catalog::FixedDatabases;
    /// # use isobar_gateway::keys::{KeyScope, KeyStore, NewKey, Permission};
    /// use isobar_gateway::rest::{RestDoor, RestOptions};
    /// use tower::ServiceExt;
    ///
    /// # let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
    /// # let keys = KeyStore::open(Arc::new(SqliteDatabase::memory().await?), keyring).await?;
    /// # let issued = keys.create(NewKey::new("ci", KeyScope::new([Permission::D1Write]))).await?;
    /// # let id = "6f1c2b3a-0000-4000-8000-000000000001";
    /// # let databases = FixedDatabases::new().with_database(id, "orders", Arc::new(SqliteDatabase::memory().await?));
    /// # let url = format!("/client/v4/accounts/{}/d1/database/{id}/query", keys.account_id());
    /// # let door = RestDoor::new(keys).with_databases(Arc::new(databases));
    /// let router = door.with_options(RestOptions::default().with_json_bytes(10)).into_router();
    /// # let request = Request::post(url).header("authorization", format!("Bearer {}", issued.token()));
    /// let request = request.body(axum::body::Body::from(r#"{"sql": "SELECT 1"}"#))?;
    /// assert_eq!(router.oneshot(request).await?.status(), 413);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_json_bytes(mut self, bytes: usize) -> Self {
        self.json_bytes = bytes;
        self
    }

    /// Sets [`result_bytes`](Self::result_bytes). A query with more is an error of SQL.
    #[must_use]
    pub fn with_result_bytes(mut self, bytes: usize) -> Self {
        self.result_bytes = bytes;
        self
    }

    /// Sets [`import_bytes`](Self::import_bytes). A longer file is answered 413, and a longer export
    /// ends with an error.
    #[must_use]
    pub fn with_import_bytes(mut self, bytes: usize) -> Self {
        self.import_bytes = bytes;
        self
    }

    /// Sets [`transfer_bytes`](Self::transfer_bytes). A file for which there is no room is answered
    /// 400: clients would repeat it at once after a 5xx.
    #[must_use]
    pub fn with_transfer_bytes(mut self, bytes: usize) -> Self {
        self.transfer_bytes = bytes;
        self
    }

    /// Sets [`transfer_time`](Self::transfer_time), which counts from the job's beginning.
    #[must_use]
    pub fn with_transfer_time(mut self, time: Duration) -> Self {
        self.transfer_time = time;
        self
    }
}

/// Cloudflare's REST API v4 over catalogs of buckets and databases, and over namespaces of session objects.
///
/// Every route needs a bearer token of the [`KeyStore`] and checks its scope, but two: the URLs of an import's and an export's file,
/// which have 128 random bits in them and end with [`transfer_time`](RestOptions::transfer_time), or earlier with the key that asked for
/// them. The server that runs the router puts a [`ClientInfo`](crate::ClientInfo) among the request's extensions; without one there is
/// no limit on failed attempts, and these URLs begin with `http`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use http::{Request, header};
/// use isobar_db::SqliteDatabase;
/// use isobar_db::vault::Keyring;
/// use isobar_gateway::catalog::FixedDatabases;
/// use isobar_gateway::keys::{KeyScope, KeyStore, NewKey, Permission};
/// use isobar_gateway::rest::RestDoor;
/// use tower::ServiceExt;
///
/// let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
/// let keys = KeyStore::open(Arc::new(SqliteDatabase::memory().await?), keyring).await?;
/// let issued = keys.create(NewKey::new("ci", KeyScope::new([Permission::D1Write]))).await?;
///
/// let id = "6f1c2b3a-0000-4000-8000-000000000001";
/// let databases = FixedDatabases::new().with_database(id, "orders", Arc::new(SqliteDatabase::memory().await?));
/// let router = RestDoor::new(keys.clone()).with_databases(Arc::new(databases)).into_router();
///
/// let query = format!("/client/v4/accounts/{}/d1/database/{id}/query", keys.account_id());
/// let request = Request::post(query).header(header::AUTHORIZATION, format!("Bearer {}", issued.token()));
/// let body = axum::body::Body::from(r#"{"sql": "SELECT ?", "params": ["a"]}"#);
/// let response = router.oneshot(request.body(body)?).await?;
/// assert_eq!(response.status(), 200);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct RestDoor {
    pub(crate) keys: KeyStore,
    pub(crate) buckets: Arc<dyn BucketCatalog>,
    pub(super) databases: Arc<dyn DatabaseCatalog>,
    pub(super) namespaces: Arc<[NamespaceEntry]>,
    /// Session objects in their files, with the name of their program.
    pub(super) sessions: Option<(String, Arc<dyn SessionCatalog>)>,
    #[cfg(feature = "analytics")]
    pub(crate) datasets: Option<Arc<dyn isobar_analytics::query::ScanSource>>,
    pub(crate) options: RestOptions,
    pub(super) jobs: Arc<Jobs>,
    pub(super) room: Arc<Room>,
    pub(crate) attempts: Arc<FailedAttempts>,
    pub(super) audit: Audit,
    /// Name in events.
    pub(super) name: &'static str,
    pub(crate) is_read_only: bool,
}

impl RestDoor {
    /// Returns a door to the keys' account, without resources.
    #[must_use]
    pub fn new(keys: KeyStore) -> Self {
        Self {
            keys,
            buckets: Arc::new(FixedBuckets::new()),
            databases: Arc::new(FixedDatabases::new()),
            namespaces: Arc::new([]),
            sessions: None,
            #[cfg(feature = "analytics")]
            datasets: None,
            options: RestOptions::default(),
            jobs: Arc::default(),
            room: Arc::default(),
            attempts: Arc::default(),
            audit: Audit::new(),
            name: "rest",
            is_read_only: false,
        }
    }

    /// Serves these buckets. Default: none.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use axum::body::{Body, to_bytes};
    /// # use http::Request;
    /// # use isobar_db::{SqliteDatabase, vault::Keyring};
    /// # use isobar_gateway::keys::{KeyScope, KeyStore, NewKey, Permission};
    /// # use isobar_gateway::rest::RestDoor;
    /// # use tower::ServiceExt;
    /// use isobar_gateway::catalog::FixedBuckets;
    /// use isobar_storage::memory::MemoryStore;
    ///
    /// # let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
    /// # let keys = KeyStore::open(Arc::new(SqliteDatabase::memory().await?), keyring).await?;
    /// # let issued = keys.create(NewKey::new("ci", KeyScope::new([Permission::R2Read]))).await?;
    /// let buckets = FixedBuckets::new().with_bucket("photos", Arc::new(MemoryStore::new()));
    /// let router = RestDoor::new(keys.clone()).with_buckets(Arc::new(buckets)).into_router();
    /// let request = Request::get(format!("/client/v4/accounts/{}/r2/buckets", keys.account_id()));
    /// # let request = request.header("authorization", format!("Bearer {}", issued.token()));
    /// let listed = router.oneshot(request.body(Body::empty())?).await?;
    /// let listed = to_bytes(listed.into_body(), 4096).await?;
    /// assert!(String::from_utf8_lossy(&listed).contains(r#""name":"photos""#));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_buckets(mut self, buckets: Arc<dyn BucketCatalog>) -> Self {
        self.buckets = buckets;
        self
    }

    /// Serves these databases. Default: none.
    #[must_use]
    pub fn with_databases(mut self, databases: Arc<dyn DatabaseCatalog>) -> Self {
        self.databases = databases;
        self
    }

    /// Lists these namespaces of session objects. Default: none.
    #[must_use]
    pub fn with_namespaces(mut self, namespaces: impl IntoIterator<Item = NamespaceEntry>) -> Self {
        self.namespaces = namespaces.into_iter().collect();
        self
    }

    /// Lists the session objects of a catalog, too: each of its classes is a namespace of this program's, whose id is made from both
    /// names. Default: none.
    #[must_use]
    pub fn with_sessions(mut self, program: impl Into<String>, sessions: Arc<dyn SessionCatalog>) -> Self {
        self.sessions = Some((program.into(), sessions));
        self
    }

    /// Answers Analytics Engine's SQL over these datasets. Default: none.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use axum::body::Body;
    /// # use http::Request;
    /// # use isobar_db::{SqliteDatabase, vault::Keyring};
    /// # use isobar_gateway::keys::{KeyScope, KeyStore, NewKey, Permission};
    /// # use isobar_gateway::rest::RestDoor;
    /// # use tower::ServiceExt;
    /// use isobar_analytics::memory::MemorySink;
    /// use isobar_analytics::query::MemoryDatasets;
    ///
    /// # let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
    /// # let keys = KeyStore::open(Arc::new(SqliteDatabase::memory().await?), keyring).await?;
    /// # let issued = keys.create(NewKey::new("ci", KeyScope::new([Permission::AnalyticsRead]))).await?;
    /// let datasets = MemoryDatasets::new().with_dataset("visits", MemorySink::new());
    /// let router = RestDoor::new(keys.clone()).with_datasets(Arc::new(datasets)).into_router();
    /// let request = Request::post(format!("/client/v4/accounts/{}/analytics_engine/sql", keys.account_id()));
    /// # let request = request.header("authorization", format!("Bearer {}", issued.token()));
    /// let answer = router.oneshot(request.body(Body::from("SELECT count() AS n FROM visits"))?).await?;
    /// assert_eq!(answer.status(), 200);
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "analytics")]
    #[must_use]
    pub fn with_datasets(mut self, datasets: Arc<dyn isobar_analytics::query::ScanSource>) -> Self {
        self.datasets = Some(datasets);
        self
    }

    /// Sets the limits. Default: [`RestOptions::default`].
    #[must_use]
    pub fn with_options(mut self, options: RestOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets the limit on failed attempts, which doors may share. Default: that of [`FailedAttempts::default`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use std::time::Duration;
    /// # use http::Request;
    /// # use isobar_db::{SqliteDatabase, vault::Keyring};
    /// # use isobar_gateway::keys::KeyStore;
    /// # use isobar_gateway::rest::RestDoor;
    /// # use tower::ServiceExt;
    /// use isobar_gateway::ClientInfo;
    /// use isobar_gateway::keys::FailedAttempts;
    ///
    /// # let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
    /// # let keys = KeyStore::open(Arc::new(SqliteDatabase::memory().await?), keyring).await?;
    /// let attempts = Arc::new(FailedAttempts::new(1, Duration::from_secs(60)));
    /// let router = RestDoor::new(keys).with_attempts(attempts).into_router();
    /// let guess = || {
    ///     let client = ClientInfo::new(Some([203, 0, 113, 7].into()), true);
    ///     Request::get("/client/v4/accounts").header("authorization", "Bearer guessed").extension(client)
    /// };
    /// assert_eq!(router.clone().oneshot(guess().body(axum::body::Body::empty())?).await?.status(), 403);
    /// assert_eq!(router.oneshot(guess().body(axum::body::Body::empty())?).await?.status(), 429);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_attempts(mut self, attempts: Arc<FailedAttempts>) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets where refused requests are reported. Default: as warnings alone.
    #[must_use]
    pub fn with_audit(mut self, audit: Audit) -> Self {
        self.audit = audit;
        self
    }

    /// Refuses every request that writes (403), whatever its token may do. Default: the token's permissions decide.
    ///
    /// Statements run with SQLite's own protection against writes, whatever they look like.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use axum::body::Body;
    /// # use http::Request;
    /// # use isobar_db::{SqliteDatabase, vault::Keyring};
    /// # use isobar_gateway::catalog::FixedDatabases;
    /// # use isobar_gateway::keys::{KeyScope, KeyStore, NewKey, Permission};
    /// # use isobar_gateway::rest::RestDoor;
    /// # use tower::ServiceExt;
    /// # let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
    /// # let keys = KeyStore::open(Arc::new(SqliteDatabase::memory().await?), keyring).await?;
    /// # let issued = keys.create(NewKey::new("ci", KeyScope::new([Permission::D1Write]))).await?;
    /// # let id = "6f1c2b3a-0000-4000-8000-000000000001";
    /// # let databases = FixedDatabases::new().with_database(id, "orders", Arc::new(SqliteDatabase::memory().await?));
    /// # let url = format!("/client/v4/accounts/{}/d1/database/{id}/query", keys.account_id());
    /// let router = RestDoor::new(keys).with_databases(Arc::new(databases)).read_only().into_router();
    /// let query = |sql: &str| {
    ///     let request = Request::post(url.as_str()).header("authorization", format!("Bearer {}", issued.token()));
    ///     request.body(Body::from(format!(r#"{{"sql": "{sql}"}}"#)))
    /// };
    /// assert_eq!(router.clone().oneshot(query("SELECT 1")?).await?.status(), 200);
    /// assert_eq!(router.oneshot(query("CREATE TABLE t (a)")?).await?.status(), 403);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.is_read_only = true;
        self
    }

    /// Begins a file of an import or an export.
    pub(super) fn new_file(&self) -> NewFile {
        NewFile::new(&self.room, self.options.import_bytes, self.options.transfer_bytes)
    }

    /// Sets the name of the door in events.
    #[cfg(feature = "explorer")]
    pub(crate) fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }
}
