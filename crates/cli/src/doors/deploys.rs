//! The deploys of the site that is served, as a catalog.
//!
//! The explorer lists them, and rolls back where it may write. They exist where the site comes from a
//! bucket: a folder that is served has none.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use isobar_gateway::catalog::{CatalogError, CatalogErrorKind, DeployCatalog, DeployInfo};
use isobar_site::{Deploy, Deploys};
use isobar_storage::{Error, ErrorKind, ObjectStore};

use super::buckets::unavailable;

/// The deploys below the site's prefix in its bucket.
#[derive(Debug)]
pub(crate) struct SiteDeploys {
    bucket: String,
    prefix: String,
    deploys: Deploys,
}

impl SiteDeploys {
    /// Returns the deploys of a site by the name of its bucket.
    pub(crate) fn new(bucket: impl Into<String>, store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { bucket: bucket.into(), prefix: prefix.to_owned(), deploys: Deploys::new(store, prefix) }
    }

    /// Names the bucket, in place of a path, in the log.
    fn unavailable(&self, what: &str, error: &Error) -> CatalogError {
        unavailable(what, Path::new(&self.bucket), error)
    }
}

#[async_trait]
impl DeployCatalog for SiteDeploys {
    fn bucket(&self) -> &str {
        &self.bucket
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }

    async fn list(&self) -> Result<Vec<DeployInfo>, CatalogError> {
        let deploys = self.deploys.list().await;
        let deploys = deploys.map_err(|error| self.unavailable("the deploys cannot be listed", &error))?;
        Ok(deploys.into_iter().map(info).collect())
    }

    async fn rollback(&self, id: &str) -> Result<DeployInfo, CatalogError> {
        match self.deploys.rollback(Some(id)).await {
            Ok(deploy) => Ok(info(deploy)),
            Err(error) if error.kind() == ErrorKind::InvalidArgument => {
                Err(CatalogError::new(CatalogErrorKind::NotFound, error.message()).with_source(error))
            }
            Err(error) => Err(self.unavailable("the deploy cannot be served", &error)),
        }
    }
}

fn info(deploy: Deploy) -> DeployInfo {
    let mut info = DeployInfo::new(deploy.id, deploy.created, deploy.files as u64, deploy.bytes);
    info.message = deploy.message;
    info.is_current = deploy.is_current;
    info
}
