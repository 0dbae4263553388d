//! The databases that doors serve.
//!
//! Clients of D1 name a database by its id, a UUID, and people by its name: [`DatabaseCatalog::find`]
//! takes either, an id before a name.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use isobar_db::Database;

use super::CatalogError;

/// A database as a catalog lists it.
///
/// ```
/// use isobar_gateway::catalog::DatabaseInfo;
///
/// let orders = DatabaseInfo::new("6f1c2b3a-0000-4000-8000-000000000001", "orders", chrono::Utc::now());
/// assert_eq!(orders.name, "orders");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatabaseInfo {
    /// Id: a UUID, which stays the same for as long as the database exists; clients keep it in their
    /// configuration.
    pub id: String,
    /// Name.
    pub name: String,
    /// Time of its creation, which clients show.
    pub created: DateTime<Utc>,
}

impl DatabaseInfo {
    /// Returns the entry of a database.
    #[must_use]
    pub fn new(id: impl Into<String>, name: impl Into<String>, created: DateTime<Utc>) -> Self {
        Self { id: id.into(), name: name.into(), created }
    }
}

/// The databases of a door, by id and name. See [`FixedDatabases`] for a list that does not change, and
/// [`BucketCatalog`](super::BucketCatalog) for the shape of one whose entries clients create.
///
/// ```
/// use std::sync::Arc;
///
/// use isobar_db::{Database, SqliteDatabase};
/// use isobar_gateway::catalog::{CatalogError, DatabaseCatalog, DatabaseInfo};
///
/// const ID: &str = "6f1c2b3a-0000-4000-8000-000000000001";
///
/// /// One database, which clients call `main`.
/// #[derive(Debug)]
/// struct Main(Arc<SqliteDatabase>);
///
/// #[async_trait::async_trait]
/// impl DatabaseCatalog for Main {
///     async fn list(&self) -> Result<Vec<DatabaseInfo>, CatalogError> {
///         Ok(vec![DatabaseInfo::new(ID, "main", chrono::DateTime::UNIX_EPOCH)])
///     }
///     async fn open(&self, id: &str) -> Result<Option<Arc<dyn Database>>, CatalogError> {
///         Ok((id == ID).then(|| Arc::clone(&self.0) as Arc<dyn Database>))
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let catalog = Main(Arc::new(SqliteDatabase::memory().await?));
/// assert!(catalog.find("main").await?.is_some());
/// assert!(catalog.create("other").await.is_err(), "clients create none");
/// # Ok(()) }
/// ```
#[async_trait]
pub trait DatabaseCatalog: Debug + Send + Sync {
    /// Returns every database, in byte order of the names.
    ///
    /// # Errors
    /// [`CatalogErrorKind::Unavailable`](super::CatalogErrorKind::Unavailable).
    async fn list(&self) -> Result<Vec<DatabaseInfo>, CatalogError>;

    /// Returns the database of this id or name, or `None`. Each query asks for it: the default searches the list.
    ///
    /// # Errors
    /// [`CatalogErrorKind::Unavailable`](super::CatalogErrorKind::Unavailable).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::Arc;
    ///
    /// use isobar_db::SqliteDatabase;
    /// use isobar_gateway::catalog::{DatabaseCatalog, FixedDatabases};
    ///
    /// let id = "6f1c2b3a-0000-4000-8000-000000000001";
    /// let databases = FixedDatabases::new().with_database(id, "orders", Arc::new(SqliteDatabase::memory().await?));
    /// assert_eq!(databases.find("orders").await?.map(|found| found.id).as_deref(), Some(id));
    /// assert_eq!(databases.find(id).await?.map(|found| found.name).as_deref(), Some("orders"));
    /// assert_eq!(databases.find("users").await?, None);
    /// # Ok(()) }
    /// ```
    async fn find(&self, id_or_name: &str) -> Result<Option<DatabaseInfo>, CatalogError> {
        let mut found = self.list().await?;
        let by_id = found.iter().position(|database| database.id == id_or_name);
        let place = by_id.or_else(|| found.iter().position(|database| database.name == id_or_name));
        Ok(place.map(|place| found.swap_remove(place)))
    }

    /// Opens the database of this id; `None` where there is none.
    ///
    /// # Errors
    /// [`CatalogErrorKind::Unavailable`](super::CatalogErrorKind::Unavailable) where it cannot be opened.
    async fn open(&self, id: &str) -> Result<Option<Arc<dyn Database>>, CatalogError>;

    /// Creates an empty database.
    ///
    /// # Errors
    /// As [`BucketCatalog::create`](super::BucketCatalog::create).
    async fn create(&self, _name: &str) -> Result<DatabaseInfo, CatalogError> {
        Err(CatalogError::fixed(format_args!("the databases")))
    }

    /// Deletes the database of this id with its data.
    ///
    /// # Errors
    /// [`NotFound`](super::CatalogErrorKind::NotFound), [`Unsupported`](super::CatalogErrorKind::Unsupported),
    /// [`Unavailable`](super::CatalogErrorKind::Unavailable).
    async fn delete(&self, _id: &str) -> Result<(), CatalogError> {
        Err(CatalogError::fixed(format_args!("the databases")))
    }
}

/// A list of databases that does not change.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use isobar_db::SqliteDatabase;
/// use isobar_gateway::catalog::{DatabaseCatalog, FixedDatabases};
///
/// let id = "6f1c2b3a-0000-4000-8000-000000000001";
/// let databases = FixedDatabases::new().with_database(id, "orders", Arc::new(SqliteDatabase::memory().await?));
/// assert_eq!(databases.list().await?[0].name, "orders");
/// assert!(databases.open(id).await?.is_some());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct FixedDatabases {
    databases: Vec<(DatabaseInfo, Arc<dyn Database>)>,
}

impl FixedDatabases {
    /// Returns an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a database, created now as clients see it. One of the same name is replaced.
    #[must_use]
    pub fn with_database(
        mut self,
        id: impl Into<String>,
        name: impl Into<String>,
        database: Arc<dyn Database>,
    ) -> Self {
        let info = DatabaseInfo::new(id, name, Utc::now());
        self.databases.retain(|(known, _)| known.name != info.name);
        self.databases.push((info, database));
        self.databases.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        self
    }
}

#[async_trait]
impl DatabaseCatalog for FixedDatabases {
    async fn list(&self) -> Result<Vec<DatabaseInfo>, CatalogError> {
        Ok(self.databases.iter().map(|(info, _)| info.clone()).collect())
    }

    async fn open(&self, id: &str) -> Result<Option<Arc<dyn Database>>, CatalogError> {
        Ok(self.databases.iter().find(|(info, _)| info.id == id).map(|(_, database)| Arc::clone(database)))
    }
}
