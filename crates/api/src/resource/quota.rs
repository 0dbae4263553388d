//! Limits of a tenant.
//!
//! Rows are counted in `row_counts`, in the transaction that creates or deletes them. What else deletes rows - a cascade, a statement
//! by hand - is found out at the limit: before a creation is refused, the rows are counted again, at most once a minute.

use http::{HeaderValue, StatusCode};
use isobar_db::{Database, Error, QueryResult, Queryable, QueryableExt, Statement};

use super::handlers::At;
use super::input::{must_have_changed_or, now};
use super::rfc3339;
use super::scope::Scope;
use crate::Problem;

/// Least time between two counts of the rows of a tenant at its limit.
const RECOUNTED: chrono::TimeDelta = chrono::TimeDelta::minutes(1);
/// Text in the error of a batch that a limit ended.
const REACHED: &str = "quota reached";

/// Limits of what one tenant has.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Quotas {
    /// Rows of each resource. Default: 100,000. Beyond it a creation is answered 507. A resource may have a limit of its own.
    pub rows: u64,
    /// Answers that are kept for an `Idempotency-Key`, which are kept for a day. Default: 10,000. Beyond it a request with a new key is
    /// answered 429.
    pub idempotency_keys: u64,
    /// Bytes of those answers. Default: 64 MiB.
    pub idempotency_bytes: u64,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { rows: 100_000, idempotency_keys: 10_000, idempotency_bytes: 64 << 20 }
    }
}

impl Quotas {
    /// Rows of each resource.
    #[must_use]
    pub fn with_rows(mut self, rows: u64) -> Self {
        self.rows = rows;
        self
    }

    /// Answers that are kept for an `Idempotency-Key`, and their bytes.
    #[must_use]
    pub fn with_idempotency(mut self, keys: u64, bytes: u64) -> Self {
        (self.idempotency_keys, self.idempotency_bytes) = (keys, bytes);
        self
    }

    /// Refuses a new `Idempotency-Key` of a tenant that has as many as it may.
    ///
    /// # Errors
    /// 429.
    pub(super) async fn check_keys(&self, database: &dyn Database, tenant: &str, since: &str) -> Result<(), Problem> {
        // A covering index has all of it, and the limit bounds it.
        let sql =
            "SELECT count(*), coalesce(sum(bytes), 0) FROM idempotency_keys WHERE tenant_id = ? AND created_at >= ?";
        let (keys, bytes): (i64, i64) = database.prepare(sql).bind(tenant).bind(since).one().await?;
        if keys < integer(self.idempotency_keys) && bytes < integer(self.idempotency_bytes) {
            return Ok(());
        }
        let detail = format!(
            "your team has used {} Idempotency-Keys within a day, or their answers have {} bytes; send the request without one, \
             or later",
            self.idempotency_keys, self.idempotency_bytes
        );
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS).with_detail(detail);
        Err(problem.with_retry_after(HeaderValue::from_static("3600")))
    }
}

/// The statements that count new rows, before those that create them; the batch fails where there are too many.
pub(super) fn add(at: &At, scope: &Scope<'_>, rows: u64) -> Vec<Statement> {
    let Some(tenant) = counted(scope).filter(|_| rows > 0) else { return Vec::new() };
    let name = scope.resource().name;
    let mut seed =
        scope.all_of_tenant("INSERT INTO row_counts (tenant_id, resource, count, counted_at) SELECT ", |sql| {
            sql.bind(tenant.clone()).push(", ").bind(name).push(", ");
        });
    seed.push(", ")
        .bind(now())
        .push(" WHERE NOT EXISTS (SELECT 1 FROM row_counts WHERE tenant_id = ")
        .bind(tenant.clone());
    seed.push(" AND resource = ").bind(name).push(")");
    let sql = "UPDATE row_counts SET count = count + ?3 WHERE tenant_id = ?1 AND resource = ?2 AND count + ?3 <= ?4";
    let add = Statement::new(sql).bind(tenant).bind(name).bind(integer(rows)).bind(integer(limit(at, scope)));
    vec![seed.into_statement(), add, must_have_changed_or(REACHED)]
}

/// The statement that counts deleted rows, after those that delete them.
pub(super) fn remove(scope: &Scope<'_>, rows: u64) -> Option<Statement> {
    let tenant = counted(scope).filter(|_| rows > 0)?;
    let sql = "UPDATE row_counts SET count = max(count - ?, 0) WHERE tenant_id = ? AND resource = ?";
    Some(Statement::new(sql).bind(integer(rows)).bind(tenant).bind(scope.resource().name))
}

/// Runs writes as one transaction; once more where a limit ends it that a new count of the rows does not confirm.
pub(super) async fn run(at: &At, scope: &Scope<'_>, statements: Vec<Statement>) -> Result<Vec<QueryResult>, Error> {
    let again = statements.clone();
    match at.served.database.batch(statements).await {
        Err(error) if is_reached(&error) && recount(at, scope).await? => at.served.database.batch(again).await,
        result => result,
    }
}

/// Whether an error is that of a limit.
pub(crate) fn is_reached(error: &Error) -> bool {
    error.message().contains(REACHED)
}

/// A statement that fails, and its batch with it, by [`is_reached`], where a condition holds: `CASE WHEN condition`, over a table.
pub(crate) fn must_not(condition: &str, from: &str) -> Statement {
    Statement::new(format!(
        "SELECT json_extract('{{}}', CASE WHEN {condition} THEN '{REACHED}' ELSE '$' END) FROM {from}"
    ))
}

/// Returns the answer where the limit of rows is reached.
pub(super) fn refused(at: &At, scope: &Scope<'_>) -> Problem {
    let detail = format!("your team may have {} {}; delete some", limit(at, scope), scope.resource().name);
    Problem::new(StatusCode::INSUFFICIENT_STORAGE).with_detail(detail)
}

async fn recount(at: &At, scope: &Scope<'_>) -> Result<bool, Error> {
    let Some(tenant) = counted(scope) else { return Ok(false) };
    let moment = chrono::Utc::now();
    let mut sql = scope.all_of_tenant("UPDATE row_counts SET count = ", |_| {});
    sql.push(", counted_at = ").bind(rfc3339(moment)).push(" WHERE tenant_id = ").bind(tenant);
    sql.push(" AND resource = ").bind(scope.resource().name);
    // A clock that was ahead has written nothing that holds.
    sql.push(" AND NOT counted_at BETWEEN ").bind(rfc3339(moment - RECOUNTED)).push(" AND ").bind(rfc3339(moment));
    Ok(at.served.database.query(sql.into_statement()).await?.meta.changes > 0)
}

fn limit(at: &At, scope: &Scope<'_>) -> u64 {
    scope.resource().max_rows.unwrap_or(at.served.quotas.rows)
}

/// The tenant whose rows are counted: of a resource that is created by the API.
fn counted(scope: &Scope<'_>) -> Option<isobar_db::Value> {
    let is_created = scope.resource().policies.create != crate::Policy::Nobody;
    scope.tenant().filter(|_| is_created)
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
