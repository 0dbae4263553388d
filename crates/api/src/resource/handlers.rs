//! The routes of resources.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{self, MethodRouter, get, patch, post};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use isobar_db::vault::Vault;
use isobar_db::{Database, Queryable, Row, Statement};
use serde_json::{Map, Value as Json, json};

use super::idempotency::{Idempotency, Written};
use super::input::{self, Purpose, missing, must_have_changed, nothing_changed, now, refused};
use super::list::ListQuery;
use super::scope::Scope;
use super::{Column, Quotas, Resource, bulk, column, new_id, quota};
use crate::{Caller, Policy, Problem};

/// State shared by the handlers.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) database: Arc<dyn Database>,
    pub(crate) vault: Option<Vault>,
    pub(crate) resources: Arc<[Resource]>,
    pub(crate) quotas: Quotas,
}

impl Served {
    /// A resource that a declaration names: [`Api`](crate::Api) has checked that it is there.
    pub(super) fn resource(&self, name: &str) -> &Resource {
        self.resources.iter().find(|resource| resource.name == name).expect("Api::into_router checks references")
    }
}

type Answer = Result<Response, Problem>;
type Body = Result<Bytes, BytesRejection>;

/// The handlers' state: everything, and which resource is meant.
#[derive(Debug, Clone)]
pub(super) struct At {
    pub(super) served: Served,
    index: usize,
}

impl At {
    pub(super) fn resource(&self) -> &Resource {
        &self.served.resources[self.index]
    }
}

/// The routes of all resources.
pub(crate) fn routes(served: &Served) -> Router {
    let router = all_routes(served);
    // Inside Workers each isolate has few requests, and the runtime sees to it.
    #[cfg(not(target_arch = "wasm32"))]
    let router = router.layer(axum::middleware::from_fn_with_state(
        super::fair_scheduler::Turns::new(),
        super::fair_scheduler::take_turns,
    ));
    router
}

fn all_routes(served: &Served) -> Router {
    served.resources.iter().enumerate().fold(Router::new(), |router, (index, resource)| {
        let at = At { served: served.clone(), index };
        // Methods that no principal may use do not exist: `Allow` lists those that do.
        let policies = &resource.policies;
        let offered = |policy, method| if policy == Policy::Nobody { MethodRouter::new() } else { method };
        let all = offered(policies.read, get(list)).merge(offered(policies.create, post(create)));
        let one = offered(policies.read, get(show)).merge(offered(policies.update, patch(update)));
        let one = one.merge(offered(policies.delete, routing::delete(delete)));
        let written = policies.create != Policy::Nobody || policies.update != Policy::Nobody;
        let many = if written || policies.delete != Policy::Nobody { post(bulk::bulk) } else { MethodRouter::new() };
        let routes = Router::new()
            .route(&format!("/{}", resource.name), all)
            .route(&format!("/{}/bulk", resource.name), many)
            .route(&format!("/{}/{{id}}", resource.name), one);
        router.merge(routes.with_state(at))
    })
}

async fn list(State(at): State<At>, caller: Caller, parameters: Query<Vec<(String, String)>>) -> Answer {
    let scope = Scope::new(at.resource(), &caller, at.resource().policies.read, false)?;
    let query = ListQuery::parse(at.resource(), &parameters)?;
    let rows = at.served.database.query(query.statement(&scope)?.rows_only()).await?.rows;
    let page = query.page(&rows)?;
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(page)).into_response())
}

async fn show(State(at): State<At>, caller: Caller, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let scope = Scope::new(at.resource(), &caller, at.resource().policies.read, false)?;
    let row = input::find(&at.served, &scope, &at.resource().all_shown(), checked_id(&scope, &id)?).await?;
    let etag = etag(row.get("revision").and_then(Json::as_i64).unwrap_or_default());
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).unwrap_or_default();
    // RFC 9110 13.1.2: the comparison is the weak one.
    if known.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag) {
        let headers = [(header::ETAG, etag), (header::CACHE_CONTROL, "private, no-cache".to_owned())];
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    Ok(with_etag(etag, row))
}

async fn create(State(at): State<At>, caller: Caller, headers: HeaderMap, body: Body) -> Answer {
    let resource = at.resource();
    let scope = Scope::new(resource, &caller, resource.policies.create, true)?;
    let body = read(&headers, body)?;
    let idempotency = Idempotency::read(&headers, &caller, &format!("POST {}", resource.name), &body)?;
    if let Some(idempotency) = &idempotency
        && let Some(written) = idempotency.answered(&at.served).await?
    {
        return Ok(written.into_response());
    }
    let object = input::object(&body)?;
    let (id, now) = (new_id()?, now());
    let values = at.served.values(&scope, &caller, &object, &id, Purpose::Create, "").await?;
    let row = new_row(values, &id, &now);
    let written = Written {
        status: 201,
        location: Some(format!("/api/{}/{id}", resource.name)),
        etag: Some(etag(1)),
        body: Json::Object(shown(&resource.all_shown(), &row)).to_string(),
    };
    let mut statements = idempotency.iter().flat_map(|it| it.statements(&written)).collect::<Vec<_>>();
    statements.extend(quota::add(&at, &scope, 1));
    statements.push(scope.insert(row));
    match quota::run(&at, &scope, statements).await {
        Ok(_) => Ok(written.into_response()),
        Err(error) if quota::is_reached(&error) => Err(quota::refused(&at, &scope)),
        Err(error) => already(&at, idempotency, refused(&scope, error)).await,
    }
}

async fn update(
    State(at): State<At>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let resource = at.resource();
    let scope = Scope::new(resource, &caller, resource.policies.update, true)?;
    let id = checked_id(&scope, &id)?;
    let object = input::object(&read(&headers, body)?)?;
    // Looked up first, so that an answer reveals nothing of another tenant's rows.
    let revision = expected(&at, &scope, id, &headers).await?.ok_or_else(|| {
        let detail = "send If-Match with the ETag of what you change, or * for whatever is there";
        Problem::new(StatusCode::PRECONDITION_REQUIRED).with_detail(detail)
    })?;
    let mut values = at.served.values(&scope, &caller, &object, id, Purpose::Update, "").await?;
    values.push(("updated_at", now().into()));
    let columns = resource.all_shown();
    let mut sql = scope.update(id, revision.number(), values);
    sql.push(" RETURNING ");
    for (index, column) in columns.iter().enumerate() {
        sql.push(if index == 0 { "" } else { ", " }).name(column.name);
    }
    let result = at.served.database.query(sql.into_statement()).await.map_err(|error| refused(&scope, error))?;
    let row: &Row = result.rows.first().ok_or_else(changed)?;
    let row = super::list::object(&columns, row)?;
    let etag = etag(row.get("revision").and_then(Json::as_i64).unwrap_or_default());
    Ok(with_etag(etag, row))
}

async fn delete(State(at): State<At>, caller: Caller, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let resource = at.resource();
    let scope = Scope::new(resource, &caller, resource.policies.delete, true)?;
    let id = checked_id(&scope, &id)?;
    let revision = expected(&at, &scope, id, &headers).await?.and_then(Revision::number);
    let mut statements: Vec<Statement> = vec![scope.delete(id, revision).into_statement(), must_have_changed()];
    statements.extend(quota::remove(&scope, 1));
    match input::run(&at.served, statements).await {
        Ok(_) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(error) if nothing_changed(&error) => Err(changed()),
        Err(error) => Err(refused(&scope, error)),
    }
}

/// Answers a request whose key another transaction has just taken as that one was.
pub(super) async fn already(at: &At, idempotency: Option<Idempotency>, problem: Problem) -> Answer {
    if let Some(idempotency) = idempotency
        && problem.status() == StatusCode::CONFLICT
        && let Some(written) = idempotency.answered(&at.served).await?
    {
        return Ok(written.into_response());
    }
    Err(problem)
}

/// The row of a creation: what was given, and what the API writes.
pub(super) fn new_row(values: input::Values, id: &str, now: &str) -> input::Values {
    let standard = [("id", id.into()), ("revision", 1.into()), ("created_at", now.into()), ("updated_at", now.into())];
    values.into_iter().chain(standard).collect()
}

pub(super) fn shown(columns: &[Column], row: &input::Values) -> Map<String, Json> {
    let value = |column: &Column| row.iter().find(|(name, _)| *name == column.name).map(|(_, value)| value);
    let entry = |column: &Column| (column.name.to_owned(), value(column).map_or(Json::Null, |it| column.json_of(it)));
    columns.iter().map(entry).collect()
}

/// The body, which must say that it is JSON: a form of another site cannot.
pub(super) fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !["application/json", "application/merge-patch+json"].contains(&essence.as_str()) {
        let detail = "send the body as application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE).with_detail(detail));
    }
    body.map_err(|rejection| Problem::new(rejection.status()).with_detail(rejection.body_text()))
}

/// A text that cannot be an id is the id of nothing.
pub(super) fn checked_id<'i>(scope: &Scope<'_>, id: &'i str) -> Result<&'i str, Problem> {
    if column::is_id(id) { Ok(id) } else { Err(missing(scope)) }
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
async fn expected(at: &At, scope: &Scope<'_>, id: &str, headers: &HeaderMap) -> Result<Option<Revision>, Problem> {
    let columns: Vec<_> = at.resource().shown("revision").into_iter().collect();
    let row = input::find(&at.served, scope, &columns, id).await?;
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

fn changed() -> Problem {
    let detail = "it has changed since the ETag in If-Match; get it again";
    Problem::new(StatusCode::PRECONDITION_FAILED).with_detail(detail)
}

fn etag(revision: i64) -> String {
    format!("\"{revision}\"")
}

fn with_etag(etag: String, row: Map<String, Json>) -> Response {
    let headers = [(header::ETAG, etag), (header::CACHE_CONTROL, "private, no-cache".to_owned())];
    (headers, axum::Json(json!(row))).into_response()
}
