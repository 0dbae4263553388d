//! Bodies of requests: from JSON to the values of a row, with every mistake named by its field.

use isobar_db::vault::Cell;
use isobar_db::{Constraint, ErrorKind, QueryResult, Queryable, Statement, Value};
use serde_json::{Map, Value as Json};

use super::list::Wrong;
use super::scope::Scope;
use super::{Kind, Served, column};
use crate::{Caller, Problem};

/// The values that a request gives a row.
pub(super) type Values = Vec<(&'static str, Value)>;

/// Whether a row is made or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Create,
    Update,
}

impl Served {
    /// The values of an object, secrets sealed for the row of this id.
    ///
    /// `path` stands before the names of fields in problems.
    pub(super) async fn values(
        &self,
        scope: &Scope<'_>,
        caller: &Caller,
        object: &Map<String, Json>,
        id: &str,
        purpose: Purpose,
        path: &str,
    ) -> Result<Values, Problem> {
        let mut wrong = Wrong::default();
        let mut values = self.checked(scope, object, purpose, path, &mut wrong);
        if wrong.is_empty() {
            self.check_references(scope, caller, &values, path, &mut wrong).await?;
        }
        wrong.into_result()?;
        for (name, value) in &mut values {
            let is_secret = scope.resource().find(name).is_some_and(|it| matches!(it.kind, Kind::Secret { .. }));
            if let (true, Value::Text(plain)) = (is_secret, &*value) {
                let vault = self.vault.as_ref().ok_or_else(|| {
                    tracing::error!(resource = scope.resource().name, column = name, "a secret column without a vault");
                    Problem::new(http::StatusCode::INTERNAL_SERVER_ERROR).with_detail("secrets cannot be kept here")
                })?;
                let cell = Cell::new(scope.resource().table, name, id);
                *value = vault.seal(&cell, plain.as_bytes()).await?.into();
            }
        }
        Ok(values)
    }

    fn checked(
        &self,
        scope: &Scope<'_>,
        object: &Map<String, Json>,
        purpose: Purpose,
        path: &str,
        wrong: &mut Wrong,
    ) -> Values {
        let resource = scope.resource();
        for name in object.keys() {
            let refused = match resource.shown(name) {
                None => "there is no such column",
                Some(column) if column.read_only => "the service alone writes it",
                Some(column) if column.immutable && purpose == Purpose::Update => "it is given once, at creation",
                Some(_) => continue,
            };
            wrong.field(&format!("{path}{name}"), refused.to_owned());
        }
        let mut values = Values::new();
        for column in &resource.columns {
            let given = match (object.get(column.name), purpose) {
                _ if column.read_only && purpose == Purpose::Update => None,
                (Some(given), _) if !column.read_only => Some(given),
                (_, Purpose::Update) => None,
                (_, Purpose::Create) if column.required => {
                    wrong.field(&format!("{path}{}", column.name), "is required".to_owned());
                    None
                }
                (_, Purpose::Create) => Some(column.default.as_ref().unwrap_or(&Json::Null)),
            };
            match given.map(|given| column.value(given)) {
                Some(Ok(value)) => values.push((column.name, value)),
                Some(Err(detail)) => wrong.field(&format!("{path}{}", column.name), detail),
                None => {}
            }
        }
        values
    }

    /// Checks that referenced rows exist within the caller's scope: another tenant's rows do not.
    async fn check_references(
        &self,
        scope: &Scope<'_>,
        caller: &Caller,
        values: &Values,
        path: &str,
        wrong: &mut Wrong,
    ) -> Result<(), Problem> {
        for (name, value) in values {
            let column = scope.resource().find(name);
            let (Some(Kind::Reference(target)), Value::Text(id)) = (column.map(|column| &column.kind), value) else {
                continue;
            };
            let mut sql = Scope::of_reference(self.resource(target), caller)?.select(["id"]);
            sql.push(" AND \"id\" = ").bind(id);
            let found = self.database.query(sql.into_statement().rows_only()).await?;
            if found.rows.is_empty() {
                wrong.field(&format!("{path}{name}"), format!("not found among {target}"));
            }
        }
        Ok(())
    }
}

/// The object in a body.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Json>, Problem> {
    match serde_json::from_slice(body) {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) => Err(Problem::bad_request("the body must be a JSON object")),
        Err(error) => Err(Problem::bad_request(format!("the body is not JSON: {error}"))),
    }
}

/// Now, as rows have it.
pub(crate) fn now() -> String {
    column::rfc3339(chrono::Utc::now())
}

/// A statement that fails, and its batch with it, when the one before it changed nothing.
pub(crate) fn must_have_changed() -> Statement {
    "SELECT json(CASE changes() WHEN 0 THEN 'nothing changed' ELSE 'true' END)".into()
}

/// As [`must_have_changed`], with an error that has this word in it.
pub(super) fn must_have_changed_or(word: &str) -> Statement {
    Statement::new(format!("SELECT json_extract('{{}}', CASE changes() WHEN 0 THEN '{word}' ELSE '$' END)"))
}

/// Whether an error is that of [`must_have_changed`].
pub(crate) fn nothing_changed(error: &isobar_db::Error) -> bool {
    error.message().contains("malformed JSON")
}

/// Reads one row of the scope.
pub(super) async fn find(
    served: &Served,
    scope: &Scope<'_>,
    columns: &[super::Column],
    id: &str,
) -> Result<Map<String, Json>, Problem> {
    let mut sql = scope.select(columns.iter().map(|column| column.name));
    sql.push(" AND \"id\" = ").bind(id);
    let result = served.database.query(sql.into_statement().rows_only()).await?;
    let row = result.rows.first().ok_or_else(|| missing(scope))?;
    super::list::object(columns, row)
}

/// The same for what is not there and for what is another's.
pub(super) fn missing(scope: &Scope<'_>) -> Problem {
    Problem::not_found(format!("not found among {}", scope.resource().name))
}

/// The names in `UNIQUE constraint failed: tickets.tenant_id, tickets.slug` become fields of the problem.
pub(super) fn refused(scope: &Scope<'_>, error: isobar_db::Error) -> Problem {
    let resource = scope.resource();
    // A trigger of the schema says itself what does not go.
    if let (ErrorKind::Constraint(Constraint::Other), Some((says, _))) =
        (error.kind(), error.message().split_once(": SQLITE_CONSTRAINT"))
    {
        return Problem::new(http::StatusCode::CONFLICT).with_detail(says);
    }
    let names = error.message().split_once("UNIQUE constraint failed: ").map(|(_, names)| names.to_owned());
    let mut problem = Problem::from(error);
    for name in names.iter().flat_map(|names| names.split([',', ':'])) {
        let column = name.trim().split_once('.').and_then(|(_, column)| resource.find(column));
        if let Some(column) = column {
            problem = problem.with_field(column.name, "there is one with this value already");
        }
    }
    problem
}

/// Runs writes as one transaction.
pub(super) async fn run(served: &Served, statements: Vec<Statement>) -> Result<Vec<QueryResult>, isobar_db::Error> {
    served.database.batch(statements).await
}
