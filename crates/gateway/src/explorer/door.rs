//! The door: what it serves.

use std::sync::Arc;

use super::operations::Backups;
use crate::catalog::{BackupCatalog, DeployCatalog, SessionCatalog};
use crate::rest::RestDoor;

/// The explorer over everything that a [`RestDoor`] serves, with its keys, limits and audit.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use http::Request;
/// use isobar_db::SqliteDatabase;
/// use isobar_db::vault::Keyring;
/// use isobar_gateway::explorer::ExplorerDoor;
/// use isobar_gateway::keys::KeyStore;
/// use isobar_gateway::rest::RestDoor;
/// use tower::ServiceExt;
///
/// let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
/// let keys = KeyStore::open(Arc::new(SqliteDatabase::memory().await?), keyring).await?;
/// let router = ExplorerDoor::new(RestDoor::new(keys)).into_router();
///
/// let page = router.clone().oneshot(Request::get("/").body(axum::body::Body::empty())?).await?;
/// assert_eq!(page.status(), 200);
/// let data = router.oneshot(Request::get("/explorer/v1/session").body(axum::body::Body::empty())?).await?;
/// assert_eq!(data.status(), 401);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct ExplorerDoor {
    pub(super) rest: RestDoor,
    pub(super) backups: Option<Backups>,
    pub(super) deploys: Option<Arc<dyn DeployCatalog>>,
    pub(super) requests: Option<String>,
    pub(super) sessions: Option<Arc<dyn SessionCatalog>>,
    is_writable: bool,
}

impl ExplorerDoor {
    /// Returns an explorer that only reads.
    #[must_use]
    pub fn new(rest: RestDoor) -> Self {
        Self {
            rest: rest.named("explorer"),
            backups: None,
            deploys: None,
            requests: None,
            sessions: None,
            is_writable: false,
        }
    }

    /// Allows what the caller's token allows: uploads, deletions, statements that write, rollbacks, runs of backups. Default: reading
    /// alone. A door that is [read-only](RestDoor::read_only) stays so.
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
    /// use isobar_gateway::explorer::ExplorerDoor;
    ///
    /// # let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
    /// # let keys = KeyStore::open(Arc::new(SqliteDatabase::memory().await?), keyring).await?;
    /// # let issued = keys.create(NewKey::new("ada", KeyScope::new([Permission::R2Write]))).await?;
    /// # let rest = RestDoor::new(keys);
    /// for (door, is_writable) in [
    ///     (ExplorerDoor::new(rest.clone()), "\"is_writable\":false"),
    ///     (ExplorerDoor::new(rest.clone()).with_writes(), "\"is_writable\":true"),
    /// ] {
    ///     let request = Request::get("/explorer/v1/session");
    /// #     let request = request.header("authorization", format!("Bearer {}", issued.token()));
    ///     let session = door.into_router().oneshot(request.body(Body::empty())?).await?;
    ///     let session = to_bytes(session.into_body(), 4096).await?;
    ///     assert!(String::from_utf8_lossy(&session).contains(is_writable));
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_writes(mut self) -> Self {
        self.is_writable = true;
        self
    }

    /// Shows these backups, to tokens that may read what is backed up; such a token verifies them, and where the door allows writes runs
    /// them, a database's with `d1:write`. Nothing is restored from them. Default: none.
    #[must_use]
    pub fn with_backups(mut self, backups: Arc<dyn BackupCatalog>) -> Self {
        self.backups = Some(Backups::new(backups));
        self
    }

    /// Shows the deploys of this site. Default: none.
    #[must_use]
    pub fn with_deploys(mut self, deploys: Arc<dyn DeployCatalog>) -> Self {
        self.deploys = Some(deploys);
        self
    }

    /// Shows these session objects, for tokens with `sessions:read`; they are only read, also where the
    /// door allows writes. Default: none.
    #[must_use]
    pub fn with_sessions(mut self, sessions: Arc<dyn SessionCatalog>) -> Self {
        self.sessions = Some(sessions);
        self
    }

    /// Shows the requests whose events an application writes to this dataset, one of the [`RestDoor`]'s. Default: none.
    #[must_use]
    pub fn with_requests(mut self, dataset: impl Into<String>) -> Self {
        self.requests = Some(dataset.into());
        self
    }

    /// Returns this door with its access decided, as the router takes it.
    pub(super) fn decided(mut self) -> Self {
        self.rest.is_read_only |= !self.is_writable;
        self
    }
}
