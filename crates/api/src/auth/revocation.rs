//! Access that ends, and the connections that were opened by it.
//!
//! Triggers write a row of `revocations` in the transaction that ends a session, a key, a membership or an account, whatever ends
//! it: a route, a resource, a cascade, a statement by hand. [`Auth::protect`](super::Auth::protect) delivers the rows before it
//! answers a request that may have written some; [`Auth::deliver_revocations`] delivers what is left.

use std::fmt::Debug;

use async_trait::async_trait;
use isobar_db::{QueryableExt, Statement};

use super::Auth;
use crate::Problem;

/// Largest number of rows in one call of the hook.
const BATCH: i64 = 500;
/// Paths of routes that may end access. Nothing is delivered after a request to another one.
const ENDING: [&str; 5] = ["/auth/", "/memberships", "/tenants", "/users", "/mcp"];

/// A user's access that has ended.
///
/// A connection that it covers is to be closed. Its client may connect again, and is then authenticated again, so that it loses
/// nothing if another of its sessions is valid.
///
/// | ended | user | tenant | session |
/// |---|---|---|---|
/// | a session | its user | its tenant | its id |
/// | an API key is revoked, a membership ends or changes its role | its user | its tenant | `None` |
/// | an account is disabled or deleted | its id | `None` | `None` |
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Revoked {
    /// Id of the user.
    pub user: String,
    /// Id of the tenant; `None` for every tenant.
    pub tenant: Option<String>,
    /// Id of the ended session; `None` for every session and key.
    pub session: Option<String>,
}

/// Closes the open connections (WebSockets, streams) of users whose access has ended.
///
/// ```
/// use isobar_api::Problem;
/// use isobar_api::auth::{Revocations, Revoked};
///
/// #[derive(Debug)]
/// struct Log;
///
/// #[async_trait::async_trait]
/// impl Revocations for Log {
///     async fn revoked(&self, revoked: &[Revoked]) -> Result<(), Problem> {
///         for Revoked { user, tenant, .. } in revoked {
///             println!("close the connections of {user} in {}", tenant.as_deref().unwrap_or("every tenant"));
///         }
///         Ok(())
///     }
/// }
/// let options = isobar_api::AuthOptions::default().with_revocations(std::sync::Arc::new(Log));
/// # drop(options);
/// ```
#[async_trait]
pub trait Revocations: Debug + Send + Sync {
    /// Closes the connections that these cover, at most 500 at a time. The same one may be delivered twice.
    ///
    /// # Errors
    /// When a connection could not be closed. All of them are then delivered again later.
    async fn revoked(&self, revoked: &[Revoked]) -> Result<(), Problem>;
}

/// The id of a row, and what is revoked: user, tenant, session.
type Row = (i64, String, Option<String>, Option<String>);

impl Auth {
    /// Delivers the pending rows to the [`Revocations`] of the options, 500 at a time, and deletes them. Returns the number of rows.
    /// Run it periodically, every minute for example: it delivers the rows that a restart or a failure has left. Rows whose delivery
    /// fails stay for the next run, and those after them are still delivered. Without a hook the rows are deleted.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use isobar_api::{Auth, AuthOptions, Problem};
    /// # use isobar_db::{Database, QueryableExt, SqliteDatabase};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Problem> {
    /// # let database: Arc<dyn Database> = Arc::new(SqliteDatabase::memory().await?);
    /// # database.run_script(isobar_api::auth::SCHEMA).await?;
    /// let auth = Auth::new(database, AuthOptions::default());
    /// assert_eq!(auth.deliver_revocations().await?, 0); // no access has ended
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The database's, as [`Problem`]s, and the hook's last one, once all rows were tried.
    pub async fn deliver_revocations(&self) -> Result<u64, Problem> {
        let Some(hook) = &self.options().revocations else {
            return Ok(self.database().prepare("DELETE FROM revocations").run().await?.changes);
        };
        let mut delivered = 0;
        let mut failed = None;
        let mut after = 0;
        loop {
            let sql = "SELECT id, user_id, tenant_id, session_id FROM revocations WHERE id > ? ORDER BY id LIMIT ?";
            let rows: Vec<Row> = self.database().prepare(sql).bind(after).bind(BATCH).all().await?;
            let Some(last) = rows.last().map(|(id, ..)| *id) else { return failed.map_or(Ok(delivered), Err) };
            match self.deliver(&**hook, rows).await {
                Ok(rows) => delivered += rows,
                Err(problem) => failed = Some(problem),
            }
            after = last;
        }
    }

    /// Delivers these rows, which follow one another, and deletes them. Returns their number.
    async fn deliver(&self, hook: &dyn Revocations, rows: Vec<Row>) -> Result<u64, Problem> {
        let ids = rows.iter().map(|(id, ..)| *id);
        let (Some(first), Some(last)) = (ids.clone().min(), ids.max()) else { return Ok(0) };
        let revoked: Vec<_> =
            rows.into_iter().map(|(_, user, tenant, session)| Revoked { user, tenant, session }).collect();
        hook.revoked(&revoked).await?;
        let delete = Statement::new("DELETE FROM revocations WHERE id >= ? AND id <= ?");
        self.database().query(delete.bind(first).bind(last)).await?;
        Ok(revoked.len() as u64)
    }

    /// Delivers what a request to this path may have ended: the newest rows, at most 500. Others, which have failed before, keep no
    /// request waiting. A failure is logged: the rows stay for the next delivery.
    pub(super) async fn deliver_after(&self, path: &str) {
        let Some(hook) = &self.options().revocations else { return };
        if !ENDING.iter().any(|ending| path.contains(ending)) {
            return;
        }
        let sql = "SELECT id, user_id, tenant_id, session_id FROM revocations ORDER BY id DESC LIMIT ?";
        let delivered = match self.database().prepare(sql).bind(BATCH).all().await {
            Ok(rows) => self.deliver(&**hook, rows).await,
            Err(error) => Err(error.into()),
        };
        if let Err(problem) = delivered {
            tracing::warn!(
                ?problem,
                "connections of ended sessions or memberships were not closed; they are tried again"
            );
        }
    }
}
