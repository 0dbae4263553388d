//! Many writes in one request: all of them or none.
//!
//! The operations are planned first, each with its own policy and checks, and then run in one batch, in which each change is
//! followed by a statement that fails where nothing was changed. So they happen together or not at all. Only where the batch has
//! failed are the rows looked up again, to name the operations that have found no row of their revision.
//!
//! Limits: 50 operations, each with a value that the limits of the columns admit. All operations are of one resource, and run in
//! the order of the request. An update or a deletion names the `revision` that it expects, in place of `If-Match`; there is none
//! without it.
//!
//! Rows are counted by the difference of creations and deletions, so that a request at the limit may replace rows. The count
//! that grows is checked before the work, as its statement ends the batch; one that shrinks is written after it.

use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use isobar_db::{Queryable, Statement};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::idempotency::{Idempotency, Written, replay_or_run};
use super::input::{Purpose, checked_id, new_row, read, refused};
use super::row_count;
use super::scope::Scope;
use super::state::ResourceState;
use crate::batch::{is_reached, must_have_changed, nothing_changed};
use crate::id::new_id;
use crate::time::now;
use crate::{Principal, Problem};

/// Operations of one request.
///
/// Each is at most two statements of the batch.
const MAX_OPERATIONS: usize = 50;

/// The body: `{"operations": [...]}`. Unknown names are refused, as a misspelt one would be lost silently.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bulk {
    operations: Vec<Operation>,
}

/// An operation, by its member `op`: `create`, `update` or `delete`.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
enum Operation {
    Create { value: Map<String, Json> },
    Update { id: String, revision: i64, value: Map<String, Json> },
    Delete { id: String, revision: i64 },
}

/// `POST /{resource}/bulk`: 200 with a result for each operation, in their order.
///
/// Errors: 400 for an invalid operation, with its index in the field's name; 403 for an operation that its policy does not
/// permit; 409 where a row was not found in its revision; 507 at the limit of rows. Nothing was changed after any of them.
pub(super) async fn bulk(
    State(state): State<ResourceState>,
    principal: Principal,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let resource = state.resource();
    let policies = &resource.policies;
    // A principal without any permission learns nothing of the form.
    let first =
        [policies.create, policies.update, policies.delete].map(|it| Scope::new(resource, &principal, it, true));
    if first.iter().all(Result::is_err) {
        let [first, ..] = first;
        return Err(first.expect_err("all are"));
    }
    let body = read(&headers, body)?;
    let idempotency = Idempotency::read(&headers, &principal, &format!("POST {}/bulk", resource.name), &body)?;
    replay_or_run(&state.api, idempotency.as_ref(), run(&state, &principal, &body, idempotency.as_ref())).await
}

/// Runs the operations of a body in one transaction, and keeps their answer with them.
async fn run(
    state: &ResourceState,
    principal: &Principal,
    body: &[u8],
    idempotency: Option<&Idempotency>,
) -> Result<Written, Problem> {
    let Bulk { operations } = serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(format!("the body is not a bulk request: {error}")))?;
    if operations.is_empty() || operations.len() > MAX_OPERATIONS {
        let detail = format!("must be 1 to {MAX_OPERATIONS}");
        return Err(Problem::bad_request("the request is not valid; see errors").with_field("operations", detail));
    }

    let mut work = Vec::new();
    let mut results = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        let (statements, result) = plan(state, principal, index, operation).await?;
        work.extend(statements);
        results.push(result);
    }
    let body = json!({ "results": results }).to_string();
    let written = Written { status: 200, location: None, etag: None, body };
    let mut statements = idempotency.iter().flat_map(|it| it.statements(&written)).collect::<Vec<_>>();
    let scope = Scope::of_reference(state.resource(), principal)?;
    let of_kind = |kind: fn(&Operation) -> bool| operations.iter().filter(|it| kind(it)).count() as u64;
    let created = of_kind(|it| matches!(it, Operation::Create { .. }));
    let deleted = of_kind(|it| matches!(it, Operation::Delete { .. }));
    statements.extend(row_count::add(state, &scope, created.saturating_sub(deleted)));
    statements.extend(work);
    statements.extend(row_count::remove(&scope, deleted.saturating_sub(created)));
    match row_count::run(state, &scope, statements).await {
        Ok(_) => Ok(written),
        Err(error) if is_reached(&error) => Err(row_count::refused(state, &scope)),
        Err(error) if nothing_changed(&error) => Err(conflict(state, principal, &operations).await?),
        Err(error) => Err(refused(&scope, error)),
    }
}

/// The statements of an operation, and what it is answered with.
async fn plan(
    state: &ResourceState,
    principal: &Principal,
    index: usize,
    operation: &Operation,
) -> Result<(Vec<Statement>, Json), Problem> {
    let resource = state.resource();
    let now = now();
    let path = format!("operations[{index}].value.");
    Ok(match operation {
        Operation::Create { value } => {
            let scope = Scope::new(resource, principal, resource.policies.create, true)?;
            let id = new_id()?;
            let values = state.api.values(&scope, principal, value, &id, Purpose::Create, &path).await?;
            (vec![scope.insert(new_row(values, &id, &now))], json!({"id": id, "revision": 1}))
        }
        Operation::Update { id, revision, value } => {
            let scope = Scope::new(resource, principal, resource.policies.update, true)?;
            let id = checked_id(&scope, id)?;
            let mut values = state.api.values(&scope, principal, value, id, Purpose::Update, &path).await?;
            values.push(("updated_at", now.into()));
            let update = scope.update(id, Some(*revision), values).into_statement();
            (vec![update, must_have_changed()], json!({"id": id, "revision": revision.saturating_add(1)}))
        }
        Operation::Delete { id, revision } => {
            let scope = Scope::new(resource, principal, resource.policies.delete, true)?;
            let id = checked_id(&scope, id)?;
            (vec![scope.delete(id, Some(*revision)).into_statement(), must_have_changed()], json!({"id": id}))
        }
    })
}

/// Which operations found no row of the revision they name.
async fn conflict(state: &ResourceState, principal: &Principal, operations: &[Operation]) -> Result<Problem, Problem> {
    let scope = Scope::of_reference(state.resource(), principal)?;
    let detail = "nothing was changed: a row was not found, or has changed; see errors";
    let mut problem = Problem::new(StatusCode::CONFLICT).with_detail(detail);
    for (index, operation) in operations.iter().enumerate() {
        let (Operation::Update { id, revision, .. } | Operation::Delete { id, revision }) = operation else { continue };
        let mut sql = scope.select(["id"]);
        sql.push(" AND \"id\" = ").bind(id).push(" AND \"revision\" = ").bind(*revision);
        if state.api.database.query(sql.into_statement().rows_only()).await?.rows.is_empty() {
            problem = problem.with_field(format!("operations[{index}]"), "not found, or of another revision");
        }
    }
    Ok(problem)
}
