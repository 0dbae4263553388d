//! The number of a tenant's rows, and its limit.
//!
//! Rows are counted in `row_counts`, in the transaction that creates or deletes them. Rows that were deleted otherwise, by a cascade
//! or by hand, are noticed at the limit: before a creation is refused, the rows are counted again, at most once a minute.
//!
//! `SELECT count(*)` at each creation would cost a scan of the tenant's rows. A count beside them costs one row, and is
//! written in the same transaction, so neither a crash nor concurrent requests make it wrong:
//!
//! 1. `seed`: without a row of the count, one is made with the number of rows that there are.
//! 2. `add`: the count is raised, if the sum is within the limit.
//! 3. A statement that ends the batch where `add` has changed nothing.
//! 4. The rows themselves.
//!
//! Deletions lower it behind themselves, and never below 0. Rows that are inserted by hand are found by the next recount, or
//! never: a tenant may then have more than its limit, which is the program's own doing.

use http::StatusCode;
use isobar_db::{Error, QueryResult, Queryable, Statement};

use super::scope::Scope;
use super::state::ResourceState;
use crate::Problem;
use crate::batch::{REACHED, is_reached, must_have_changed_or};
use crate::integer::integer;
use crate::time::{now, rfc3339};

/// Least time between two counts of the rows of a tenant at its limit.
const RECOUNTED: chrono::TimeDelta = chrono::TimeDelta::minutes(1);

/// The statements that count new rows, before those that create them; the batch fails where there are too many.
pub(super) fn add(state: &ResourceState, scope: &Scope<'_>, rows: u64) -> Vec<Statement> {
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
    let add = Statement::new(sql).bind(tenant).bind(name).bind(integer(rows)).bind(integer(limit(state, scope)));
    vec![seed.into_statement(), add, must_have_changed_or(REACHED)]
}

/// The statement that counts deleted rows, after those that delete them.
pub(super) fn remove(scope: &Scope<'_>, rows: u64) -> Option<Statement> {
    let tenant = counted(scope).filter(|_| rows > 0)?;
    let sql = "UPDATE row_counts SET count = max(count - ?, 0) WHERE tenant_id = ? AND resource = ?";
    Some(Statement::new(sql).bind(integer(rows)).bind(tenant).bind(scope.resource().name))
}

/// Runs writes as one transaction; once more where a limit ends it that a new count of the rows does not confirm.
pub(super) async fn run(
    state: &ResourceState,
    scope: &Scope<'_>,
    statements: Vec<Statement>,
) -> Result<Vec<QueryResult>, Error> {
    let again = statements.clone();
    match state.api.database.batch(statements).await {
        Err(error) if is_reached(&error) && recount(state, scope).await? => state.api.database.batch(again).await,
        result => result,
    }
}

/// Returns the answer where the limit of rows is reached.
pub(super) fn refused(state: &ResourceState, scope: &Scope<'_>) -> Problem {
    let detail = format!("your team may have {} {}; delete some", limit(state, scope), scope.resource().name);
    Problem::new(StatusCode::INSUFFICIENT_STORAGE).with_detail(detail)
}

/// Counts the rows again, unless they were counted within the last minute. Returns whether they were.
async fn recount(state: &ResourceState, scope: &Scope<'_>) -> Result<bool, Error> {
    let Some(tenant) = counted(scope) else { return Ok(false) };
    let moment = chrono::Utc::now();
    let mut sql = scope.all_of_tenant("UPDATE row_counts SET count = ", |_| {});
    sql.push(", counted_at = ").bind(rfc3339(moment)).push(" WHERE tenant_id = ").bind(tenant);
    sql.push(" AND resource = ").bind(scope.resource().name);
    // A clock that was ahead has written nothing that holds.
    sql.push(" AND NOT counted_at BETWEEN ").bind(rfc3339(moment - RECOUNTED)).push(" AND ").bind(rfc3339(moment));
    Ok(state.api.database.query(sql.into_statement()).await?.meta.changes > 0)
}

fn limit(state: &ResourceState, scope: &Scope<'_>) -> u64 {
    scope.resource().max_rows.unwrap_or(state.api.quotas.rows)
}

/// The tenant whose rows are counted: of a resource that is created by the API.
fn counted(scope: &Scope<'_>) -> Option<isobar_db::Value> {
    let is_created = scope.resource().policies.create != crate::Policy::Nobody;
    scope.tenant().filter(|_| is_created)
}
