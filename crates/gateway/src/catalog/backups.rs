//! Backups of databases and of session objects, in a target that an operator has named.
//!
//! Clients choose what is backed up, looked at and verified, and never where: a target is the server's own. Nothing here restores: a
//! backup goes into a place of its own, by the command line of its state, and a running database goes back by its own history.

use std::fmt::Debug;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::CatalogError;

/// A resource with a backup.
///
/// ```
/// use isobar_gateway::catalog::BackupSource;
///
/// assert_eq!(BackupSource::Database("orders".to_owned()).name(), "orders");
/// assert_eq!(BackupSource::Sessions("Room".to_owned()).name(), "Room");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BackupSource {
    /// The database of this name.
    Database(String),
    /// The session objects of this class.
    Sessions(String),
}

impl BackupSource {
    /// Returns the name of the database, or of the class.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Database(name) | Self::Sessions(name) => name,
        }
    }
}

/// A state in a backup, or several without a gap between them.
///
/// ```
/// use isobar_gateway::catalog::BackupState;
///
/// let mut state = BackupState::new("0000000001-20261128T093000Z-1f2e3d4c", 12, "isobar sessions restore Room /mnt/backup");
/// state.bytes = Some(48_000);
/// assert_eq!(serde_json::to_value(&state)?["objects"], 12);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BackupState {
    /// Id of the newest state: a bookmark, or the name of a run.
    pub id: String,
    /// Time of the oldest state. Default: none, there is one state.
    pub since: Option<DateTime<Utc>>,
    /// Time of the newest state, where that is known. Default: none.
    pub time: Option<DateTime<Utc>>,
    /// Number of objects: those of the target that have a database's states, or the session objects of a run.
    pub objects: u64,
    /// Size of the data in bytes, where that is known. Default: none.
    pub bytes: Option<u64>,
    /// Reason for which it cannot be restored, or not all of it. Default: none, nothing is known to be wrong.
    pub problem: Option<String>,
    /// Command line that restores the newest state.
    pub restore: String,
}

impl BackupState {
    /// Returns the entry of a state with this id, number of objects and command line.
    #[must_use]
    pub fn new(id: impl Into<String>, objects: u64, restore: impl Into<String>) -> Self {
        Self { id: id.into(), since: None, time: None, objects, bytes: None, problem: None, restore: restore.into() }
    }
}

/// The backup of a resource, as its target has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BackupInfo {
    /// The target, as commands name it.
    pub target: String,
    /// Its states, the newest first; empty where nothing is backed up yet.
    pub states: Vec<BackupState>,
}

impl BackupInfo {
    /// Returns the entry of a backup with these states, the newest first.
    #[must_use]
    pub fn new(target: impl Into<String>, states: Vec<BackupState>) -> Self {
        Self { target: target.into(), states }
    }
}

/// Result of a run, or of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BackupReport {
    /// Id of the newest state that was put, or verified. Default: none, there is none.
    pub state: Option<String>,
    /// Time of that state, where it is known. Default: none.
    pub time: Option<DateTime<Utc>>,
    /// Number of objects that were put, or read. Default: 0.
    pub objects: u64,
    /// Their bytes. Default: 0.
    pub bytes: u64,
    /// Damage, and objects that could not be read. Default: none, all is well.
    pub problems: Vec<String>,
}

/// The backups of a server's databases and session objects.
///
/// ```
/// use async_trait::async_trait;
/// use isobar_gateway::catalog::{BackupCatalog, BackupInfo, BackupReport, BackupSource, CatalogError};
///
/// #[derive(Debug)]
/// struct NeverBackedUp;
///
/// #[async_trait]
/// impl BackupCatalog for NeverBackedUp {
///     async fn sources(&self) -> Result<Vec<BackupSource>, CatalogError> {
///         Ok(vec![BackupSource::Database("orders".to_owned())])
///     }
///     async fn describe(&self, _source: &BackupSource) -> Result<BackupInfo, CatalogError> {
///         Ok(BackupInfo::new("/mnt/backup/orders", Vec::new()))
///     }
///     async fn run(&self, _source: &BackupSource) -> Result<BackupReport, CatalogError> {
///         Ok(BackupReport::default())
///     }
///     async fn verify(&self, _source: &BackupSource) -> Result<BackupReport, CatalogError> {
///         Ok(BackupReport::default())
///     }
/// }
/// ```
#[async_trait]
pub trait BackupCatalog: Debug + Send + Sync {
    /// Returns all that can be backed up, databases before session objects, each in byte order of the names. The other operations are asked
    /// for nothing else.
    ///
    /// # Errors
    /// [`CatalogErrorKind::Unavailable`](super::CatalogErrorKind::Unavailable).
    async fn sources(&self) -> Result<Vec<BackupSource>, CatalogError>;

    /// Returns the states that the target has, without reading them.
    ///
    /// # Errors
    /// [`CatalogErrorKind::Unavailable`](super::CatalogErrorKind::Unavailable) where the target cannot be listed.
    async fn describe(&self, source: &BackupSource) -> Result<BackupInfo, CatalogError>;

    /// Puts what is new into the target. It may take minutes; dropped, it leaves a backup of an older state. The explorer runs one at a
    /// time.
    ///
    /// # Errors
    /// [`InvalidArgument`](super::CatalogErrorKind::InvalidArgument) for a resource that cannot be backed up, with the reason;
    /// [`Unavailable`](super::CatalogErrorKind::Unavailable).
    async fn run(&self, source: &BackupSource) -> Result<BackupReport, CatalogError>;

    /// Reads the newest state, and checks it. It may take as long as restoring. Damage is in the report.
    ///
    /// # Errors
    /// [`NotFound`](super::CatalogErrorKind::NotFound) where there is no backup; [`Unavailable`](super::CatalogErrorKind::Unavailable).
    async fn verify(&self, source: &BackupSource) -> Result<BackupReport, CatalogError>;
}
