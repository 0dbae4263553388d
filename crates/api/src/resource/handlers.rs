//! Handlers of one resource: list, get, create, change, delete.
//!
//! | request | answer |
//! |---|---|
//! | `GET /things` | a page; see [`list`](super::list) |
//! | `GET /things/{id}` | the row, with its revision as `ETag`; 304 to `If-None-Match` |
//! | `POST /things` | 201 with `Location`; the same answer again to the same `Idempotency-Key` |
//! | `PATCH /things/{id}` | the changed row; needs `If-Match` (428 without, 412 for another revision) |
//! | `DELETE /things/{id}` | 204; with `If-Match` only the row of that revision, else 412 |
//!
//! A row that the principal may not see does not exist: 404, never 403. All statements come from a [`Scope`].
//!
//! Order of the checks, each before the next: policy (404, 401, 403), type and size of the body (415, 413), the
//! `Idempotency-Key` and the answer that is kept under it (400, 422, 429), JSON (400), the row and its revision (404, 412, 428),
//! values (400), constraints and the limit of rows (409, 507). The row comes before the values: otherwise the errors of a body
//! would differ between rows that are there and rows that are not.
//!
//! A PATCH and a DELETE read the revision first and write with it in the `WHERE`, so a change in between makes the write find
//! no row: 412, as if the change had come before. With `If-Match: *` the write has no revision, and the last one wins.

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use isobar_db::{Database, Queryable, Row, Statement};
use serde_json::{Map, Value as Json, json};

use super::idempotency::{Idempotency, Written, replay_or_run};
use super::input::{self, Body, Purpose, checked_id, new_row, read, refused, shown};
use super::list::ListQuery;
use super::row_count;
use super::scope::Scope;
use super::state::ResourceState;
use crate::batch::{is_reached, must_have_changed, nothing_changed};
use crate::id::new_id;
use crate::time::now;
use crate::{Principal, Problem};

type Answer = Result<Response, Problem>;

/// `GET /{resource}`.
pub(super) async fn list(
    State(state): State<ResourceState>,
    principal: Principal,
    parameters: Query<Vec<(String, String)>>,
) -> Answer {
    let scope = Scope::new(state.resource(), &principal, state.resource().policies.read, false)?;
    let query = ListQuery::parse(state.resource(), &parameters)?;
    let rows = state.api.database.query(query.statement(&scope, state.api.database.dialect())?.rows_only()).await?.rows;
    let page = query.page(&rows)?;
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(page)).into_response())
}

/// `GET /{resource}/{id}`.
pub(super) async fn show(
    State(state): State<ResourceState>,
    principal: Principal,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let scope = Scope::new(state.resource(), &principal, state.resource().policies.read, false)?;
    let row = input::find(&state.api, &scope, &state.resource().all_shown(), checked_id(&scope, &id)?).await?;
    let etag = etag(row.get("revision").and_then(Json::as_i64).unwrap_or_default());
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).unwrap_or_default();
    // RFC 9110 13.1.2: the comparison is the weak one.
    if known.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag) {
        let headers = [(header::ETAG, etag), (header::CACHE_CONTROL, "private, no-cache".to_owned())];
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    Ok(with_etag(etag, row))
}

/// `POST /{resource}`.
pub(super) async fn create(
    State(state): State<ResourceState>,
    principal: Principal,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let resource = state.resource();
    let scope = Scope::new(resource, &principal, resource.policies.create, true)?;
    let body = read(&headers, body)?;
    let idempotency = Idempotency::read(&headers, &principal, &format!("POST {}", resource.name), &body)?;
    let work = async {
        let object = input::object(&body)?;
        let id = new_id()?;
        let values = state.api.values(&scope, &principal, &object, &id, Purpose::Create, "").await?;
        let row = new_row(values, &id, &now());
        let written = Written {
            status: 201,
            location: Some(format!("/api/{}/{id}", resource.name)),
            etag: Some(etag(1)),
            body: Json::Object(shown(&resource.all_shown(), &row)).to_string(),
        };
        let mut statements = idempotency.iter().flat_map(|it| it.statements(&written)).collect::<Vec<_>>();
        statements.extend(row_count::add(&state, &scope, 1));
        statements.push(scope.insert(row));
        match row_count::run(&state, &scope, statements).await {
            Ok(_) => Ok(written),
            Err(error) if is_reached(&error) => Err(row_count::refused(&state, &scope)),
            Err(error) => Err(refused(&scope, error)),
        }
    };
    replay_or_run(&state.api, idempotency.as_ref(), work).await
}

/// `PATCH /{resource}/{id}`.
pub(super) async fn update(
    State(state): State<ResourceState>,
    principal: Principal,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let resource = state.resource();
    let scope = Scope::new(resource, &principal, resource.policies.update, true)?;
    let id = checked_id(&scope, &id)?;
    let object = input::object(&read(&headers, body)?)?;
    // Looked up first, so that no answer reveals another tenant's rows.
    let revision = expected(&state, &scope, id, &headers).await?.ok_or_else(|| {
        let detail = "send If-Match with the ETag of the row, or * for any";
        Problem::new(StatusCode::PRECONDITION_REQUIRED).with_detail(detail)
    })?;
    let mut values = state.api.values(&scope, &principal, &object, id, Purpose::Update, "").await?;
    values.push(("updated_at", now().into()));
    let columns = resource.all_shown();
    let mut sql = scope.update(id, revision.number(), values);
    sql.push(" RETURNING ");
    for (index, column) in columns.iter().enumerate() {
        sql.push(if index == 0 { "" } else { ", " }).name(column.name);
    }
    let result = state.api.database.query(sql.into_statement()).await.map_err(|error| refused(&scope, error))?;
    let row: &Row = result.rows.first().ok_or_else(changed)?;
    let row = super::row_object(&columns, row)?;
    let etag = etag(row.get("revision").and_then(Json::as_i64).unwrap_or_default());
    Ok(with_etag(etag, row))
}

/// `DELETE /{resource}/{id}`.
pub(super) async fn delete(
    State(state): State<ResourceState>,
    principal: Principal,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let resource = state.resource();
    let scope = Scope::new(resource, &principal, resource.policies.delete, true)?;
    let id = checked_id(&scope, &id)?;
    let revision = expected(&state, &scope, id, &headers).await?.and_then(Revision::number);
    let mut statements: Vec<Statement> = vec![scope.delete(id, revision).into_statement(), must_have_changed()];
    statements.extend(row_count::remove(&scope, 1));
    match input::run(&state.api, statements).await {
        Ok(_) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(error) if nothing_changed(&error) => Err(changed()),
        Err(error) => Err(refused(&scope, error)),
    }
}

/// The revision that a write expects the row to have.
#[derive(Debug, Clone, Copy)]
enum Revision {
    Any,
    Is(i64),
}

impl Revision {
    fn number(self) -> Option<i64> {
        match self {
            Self::Any => None,
            Self::Is(revision) => Some(revision),
        }
    }
}

/// Returns the revision that a request expects of an existing row; 412 when the row is not the one that `If-Match` names.
///
/// `None` where the request names no revision. Weak tags match no row: a write needs the strong comparison.
async fn expected(
    state: &ResourceState,
    scope: &Scope<'_>,
    id: &str,
    headers: &HeaderMap,
) -> Result<Option<Revision>, Problem> {
    let columns: Vec<_> = state.resource().shown("revision").into_iter().collect();
    let row = input::find(&state.api, scope, &columns, id).await?;
    let current = row.get("revision").and_then(Json::as_i64).unwrap_or_default();
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(Some(Revision::Any));
    }
    let mut tags = text.split(',').map(str::trim);
    let is_tag = |tag: &str| {
        let opaque = tag.strip_prefix("W/").unwrap_or(tag);
        opaque.len() >= 2 && opaque.starts_with('"') && opaque.ends_with('"')
    };
    if !tags.clone().all(is_tag) {
        let detail = "must be * or ETags, each in quotes";
        return Err(Problem::bad_request("If-Match is not valid").with_field("If-Match", detail));
    }
    // RFC 9110 13.1.1: the comparison is the strong one.
    let matches = tags.any(|tag| tag == etag(current));
    if matches { Ok(Some(Revision::Is(current))) } else { Err(changed()) }
}

/// The 412 of a write to a row that has another revision by now.
fn changed() -> Problem {
    let detail = "the row has changed since the ETag in If-Match; get it again";
    Problem::new(StatusCode::PRECONDITION_FAILED).with_detail(detail)
}

/// The strong validator of a row: its revision in quotes.
fn etag(revision: i64) -> String {
    format!("\"{revision}\"")
}

/// The answer with one row. A browser may keep it, and has to ask whether it is still good.
fn with_etag(etag: String, row: Map<String, Json>) -> Response {
    let headers = [(header::ETAG, etag), (header::CACHE_CONTROL, "private, no-cache".to_owned())];
    (headers, axum::Json(json!(row))).into_response()
}
