//! Bodies of requests: from JSON to the values of a row, with every mistake named by its field.
//!
//! Checks come in an order that makes the answer useful: unknown fields and wrong types, then missing fields, all of them in one
//! answer; then references, which ask the database, only if nothing else was wrong. Secrets are sealed last, for the very cell
//! that they will stand in.

use axum::extract::rejection::BytesRejection;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use isobar_db::vault::Cell;
use isobar_db::{Constraint, ErrorKind, QueryResult, Queryable, Statement, Value};
use serde_json::{Map, Value as Json};

use super::list::object as row_object;
use super::scope::Scope;
use super::state::ApiState;
use super::validation::ValidationErrors;
use super::{Column, Kind};
use crate::id::is_id;
use crate::{Principal, Problem};

/// The values that a request gives a row.
///
/// Their names are those of declared columns, never of the request.
pub(super) type Values = Vec<(&'static str, Value)>;

/// The body of a request, or the reason why it could not be read.
pub(super) type Body = Result<Bytes, BytesRejection>;

/// Whether a row is made or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Create,
    Update,
}

impl ApiState {
    /// Returns the values of an object, with secrets sealed for the row of this id.
    ///
    /// # Errors
    /// 400 with every invalid field; `path` precedes their names.
    pub(super) async fn values(
        &self,
        scope: &Scope<'_>,
        principal: &Principal,
        object: &Map<String, Json>,
        id: &str,
        purpose: Purpose,
        path: &str,
    ) -> Result<Values, Problem> {
        let mut errors = ValidationErrors::default();
        let mut values = self.checked(scope, object, purpose, path, &mut errors);
        if errors.is_empty() {
            self.check_references(scope, principal, &values, path, &mut errors).await?;
        }
        errors.into_result()?;
        for (name, value) in &mut values {
            let is_secret = scope.resource().find(name).is_some_and(|it| matches!(it.kind, Kind::Secret { .. }));
            if let (true, Value::Text(plain)) = (is_secret, &*value) {
                let vault = self.vault.as_ref().ok_or_else(|| {
                    tracing::error!(resource = scope.resource().name, column = name, "a secret column has no vault");
                    Problem::new(StatusCode::INTERNAL_SERVER_ERROR).with_detail("secrets cannot be stored here")
                })?;
                let cell = Cell::new(scope.resource().table, name, id);
                *value = vault.seal(&cell, plain.as_bytes()).await?.into();
            }
        }
        Ok(values)
    }

    /// Returns the values that are valid, and notes the errors of the others. On creation every declared column gets a value,
    /// its default or null, so that the row does not depend on defaults of the schema; a change has the given columns only.
    fn checked(
        &self,
        scope: &Scope<'_>,
        object: &Map<String, Json>,
        purpose: Purpose,
        path: &str,
        errors: &mut ValidationErrors,
    ) -> Values {
        let resource = scope.resource();
        for name in object.keys() {
            let refused = match resource.shown(name) {
                None => "unknown column",
                Some(column) if column.read_only => "is read-only",
                Some(column) if column.immutable && purpose == Purpose::Update => "cannot be changed after creation",
                Some(_) => continue,
            };
            errors.field(&format!("{path}{name}"), refused.to_owned());
        }
        let mut values = Values::new();
        for column in &resource.columns {
            let given = match (object.get(column.name), purpose) {
                _ if column.read_only && purpose == Purpose::Update => None,
                (Some(given), _) if !column.read_only => Some(given),
                (_, Purpose::Update) => None,
                (_, Purpose::Create) if column.required => {
                    errors.field(&format!("{path}{}", column.name), "is required".to_owned());
                    None
                }
                (_, Purpose::Create) => Some(column.default.as_ref().unwrap_or(&Json::Null)),
            };
            match given.map(|given| column.value(given)) {
                Some(Ok(value)) => values.push((column.name, value)),
                Some(Err(detail)) => errors.field(&format!("{path}{}", column.name), detail),
                None => {}
            }
        }
        values
    }

    /// Checks that referenced rows exist within the principal's scope: another tenant's rows do not.
    async fn check_references(
        &self,
        scope: &Scope<'_>,
        principal: &Principal,
        values: &Values,
        path: &str,
        errors: &mut ValidationErrors,
    ) -> Result<(), Problem> {
        for (name, value) in values {
            let column = scope.resource().find(name);
            let (Some(Kind::Reference(target)), Value::Text(id)) = (column.map(|column| &column.kind), value) else {
                continue;
            };
            let mut sql = Scope::of_reference(self.resource(target), principal)?.select(["id"]);
            sql.push(" AND \"id\" = ").bind(id);
            let found = self.database.query(sql.into_statement().rows_only()).await?;
            if found.rows.is_empty() {
                errors.field(&format!("{path}{name}"), format!("not found among {target}"));
            }
        }
        Ok(())
    }
}

/// The object in a body.
///
/// # Errors
/// 400 for a body that is not JSON, with the place of the mistake, and for JSON that is not an object.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Json>, Problem> {
    match serde_json::from_slice(body) {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) => Err(Problem::bad_request("the body must be a JSON object")),
        Err(error) => Err(Problem::bad_request(format!("the body is not JSON: {error}"))),
    }
}

/// Reads one row of the scope.
///
/// # Errors
/// 404 as [`missing`].
pub(super) async fn find(
    api: &ApiState,
    scope: &Scope<'_>,
    columns: &[Column],
    id: &str,
) -> Result<Map<String, Json>, Problem> {
    let mut sql = scope.select(columns.iter().map(|column| column.name));
    sql.push(" AND \"id\" = ").bind(id);
    let result = api.database.query(sql.into_statement().rows_only()).await?;
    let row = result.rows.first().ok_or_else(|| missing(scope))?;
    row_object(columns, row)
}

/// The 404 of a row that does not exist, and of one that belongs to another tenant or user.
pub(super) fn missing(scope: &Scope<'_>) -> Problem {
    Problem::not_found(format!("not found among {}", scope.resource().name))
}

/// The names in `UNIQUE constraint failed: tickets.tenant_id, tickets.slug` become fields of the problem.
///
/// Returns the problem of a write that the database has refused: 409 with the fields of a unique constraint, or with the
/// message of a trigger (`RAISE(ABORT, 'a tenant keeps an owner')`), which the schema's author has written for users. All else
/// as `Problem::from`.
pub(super) fn refused(scope: &Scope<'_>, error: isobar_db::Error) -> Problem {
    let resource = scope.resource();
    // The message of a trigger of the schema.
    if let (ErrorKind::Constraint(Constraint::Other), Some((says, _))) =
        (error.kind(), error.message().split_once(": SQLITE_CONSTRAINT"))
    {
        return Problem::new(StatusCode::CONFLICT).with_detail(says);
    }
    let names = error.message().split_once("UNIQUE constraint failed: ").map(|(_, names)| names.to_owned());
    let mut problem = Problem::from(error);
    for name in names.iter().flat_map(|names| names.split([',', ':'])) {
        let column = name.trim().split_once('.').and_then(|(_, column)| resource.find(column));
        if let Some(column) = column {
            problem = problem.with_field(column.name, "a row with this value already exists");
        }
    }
    problem
}

/// Runs writes as one transaction.
pub(super) async fn run(api: &ApiState, statements: Vec<Statement>) -> Result<Vec<QueryResult>, isobar_db::Error> {
    api.database.batch(statements).await
}

/// Returns the row of a creation: the given values, and those of the standard columns.
pub(super) fn new_row(values: Values, id: &str, now: &str) -> Values {
    let standard = [("id", id.into()), ("revision", 1.into()), ("created_at", now.into()), ("updated_at", now.into())];
    values.into_iter().chain(standard).collect()
}

/// Returns a new row as the API shows it.
pub(super) fn shown(columns: &[Column], row: &Values) -> Map<String, Json> {
    let value = |column: &Column| row.iter().find(|(name, _)| *name == column.name).map(|(_, value)| value);
    let entry = |column: &Column| (column.name.to_owned(), value(column).map_or(Json::Null, |it| column.json_of(it)));
    columns.iter().map(entry).collect()
}

/// Returns the body, if its type is JSON, which a form of another site cannot send.
///
/// # Errors
/// 415 for another type; 413 for a body that is too large.
pub(super) fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !["application/json", "application/merge-patch+json"].contains(&essence.as_str()) {
        let detail = "send the body as application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE).with_detail(detail));
    }
    body.map_err(|rejection| Problem::new(rejection.status()).with_detail(rejection.body_text()))
}

/// Returns the id, if the text can be one.
///
/// # Errors
/// 404 otherwise, as for an id of no row.
pub(super) fn checked_id<'i>(scope: &Scope<'_>, id: &'i str) -> Result<&'i str, Problem> {
    if is_id(id) { Ok(id) } else { Err(missing(scope)) }
}
