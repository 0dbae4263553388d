//! The deploys of the site that is served.

use std::fmt::Debug;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::CatalogError;

/// A deploy as a catalog lists it.
///
/// ```
/// use isobar_gateway::catalog::DeployInfo;
///
/// let mut deploy = DeployInfo::new("20261128T093000-1f2e3d4c", chrono::Utc::now(), 12, 48_000);
/// deploy.message = Some("new themes".to_owned());
/// deploy.is_current = true;
/// assert_eq!(serde_json::to_value(&deploy)?["bytes"], 48_000);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeployInfo {
    /// Id, by which [`DeployCatalog::rollback`] finds it.
    pub id: String,
    /// Time of its creation.
    pub created: DateTime<Utc>,
    /// Number of its files.
    pub files: u64,
    /// Size of its files in bytes.
    pub bytes: u64,
    /// Message that it was given, if any. Default: none.
    pub message: Option<String>,
    /// Whether it is the one that is served. Default: false.
    pub is_current: bool,
}

impl DeployInfo {
    /// Returns the entry of a deploy without a message, which is not the current one.
    #[must_use]
    pub fn new(id: impl Into<String>, created: DateTime<Utc>, files: u64, bytes: u64) -> Self {
        Self { id: id.into(), created, files, bytes, message: None, is_current: false }
    }
}

/// The deploys of one site, which is stored below a prefix of a bucket: who may read there may list them, and who may write there may
/// roll back.
///
/// ```
/// use async_trait::async_trait;
/// use isobar_gateway::catalog::{CatalogError, CatalogErrorKind, DeployCatalog, DeployInfo};
///
/// #[derive(Debug)]
/// struct NeverDeployed;
///
/// #[async_trait]
/// impl DeployCatalog for NeverDeployed {
///     fn bucket(&self) -> &str {
///         "assets"
///     }
///     fn prefix(&self) -> &str {
///         "static/"
///     }
///     async fn list(&self) -> Result<Vec<DeployInfo>, CatalogError> {
///         Ok(Vec::new())
///     }
///     async fn rollback(&self, id: &str) -> Result<DeployInfo, CatalogError> {
///         Err(CatalogError::new(CatalogErrorKind::NotFound, format!("there is no deploy {id}")))
///     }
/// }
/// ```
#[async_trait]
pub trait DeployCatalog: Debug + Send + Sync {
    /// Returns the name of the bucket.
    fn bucket(&self) -> &str;

    /// Returns the prefix of the site's keys.
    fn prefix(&self) -> &str;

    /// Returns every deploy, the newest first.
    ///
    /// # Errors
    /// [`CatalogErrorKind::Unavailable`](super::CatalogErrorKind::Unavailable).
    async fn list(&self) -> Result<Vec<DeployInfo>, CatalogError>;

    /// Serves the deploy of this id, and returns it.
    ///
    /// # Errors
    /// [`CatalogErrorKind::NotFound`](super::CatalogErrorKind::NotFound),
    /// [`CatalogErrorKind::Unavailable`](super::CatalogErrorKind::Unavailable).
    async fn rollback(&self, id: &str) -> Result<DeployInfo, CatalogError>;
}
