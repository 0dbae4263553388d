//! Queries of a database.
//!
//! # Who may run what
//!
//! | token, door | statements that read | others |
//! |---|---|---|
//! | `d1:read` | run | 403 |
//! | `d1:write` | run | run |
//! | any, a door that is read-only | run | 403 |
//!
//! The first words of a statement decide for the answer; SQLite's authorizer decides for the truth, as
//! a statement of a reader is run read-only whatever its words are.
//!
//! # Values
//!
//! A JSON number is an integer where it is one, to 64 bits, else a REAL; a boolean is 0 or 1; an array
//! of bytes is a BLOB. Answers have numbers exactly, and BLOBs as arrays, as D1's. Several statements
//! run in one transaction, each with a result; a query of a batch has one result, that of its last
//! statement.

use axum::body::Body;
use http::StatusCode;
use isobar_db::{Database, Meta, QueryResult, Row, Statement, Value, sql};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value as Json, json};

use super::call::{self, require};
use super::databases;
use super::door::RestDoor;
use super::envelope::{Answer, ApiError, code, success};
use super::failure::{Kind, failed, kind_of};
use crate::keys::{Key, Permission};

/// Form of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// An object for each row: `query`.
    Objects,
    /// The columns once, and an array for each row: `raw`.
    Arrays,
}

/// One query, or several.
#[derive(Debug, Deserialize)]
struct Asked {
    sql: Option<String>,
    params: Option<Vec<Json>>,
    batch: Option<Vec<Query>>,
}

/// A statement, or several, with parameters for the last.
#[derive(Debug, Deserialize)]
struct Query {
    sql: String,
    params: Option<Vec<Json>>,
}

/// Runs the statements of a request in one transaction, all or nothing, one result for each.
pub(crate) async fn run(door: &RestDoor, key: &Key, id: &str, shape: Shape, body: Body) -> Answer {
    require(key, Permission::D1Read)?;
    let (_, database) = databases::open(door, key, id).await?;
    let statements = call::json::<Asked>(body, door.options.json_bytes).await?.statements()?;
    let kind = kind_of(&statements);
    if kind == Kind::Write {
        if door.is_read_only {
            return Err(ApiError::read_only());
        }
        require(key, Permission::D1Write)?;
    }
    let may_write = !door.is_read_only && key.scope.has(Permission::D1Write);
    let bounded = statements.into_iter().map(|statement| {
        let statement = statement.with_result_bytes(door.options.result_bytes);
        // The words have been judged; SQLite sees what they hide.
        if may_write { statement } else { statement.read_only() }
    });
    let results = execute(&*database, bounded.collect()).await.map_err(|error| failed(&error, kind))?;
    let shown: Vec<_> = results.iter().map(|result| Shown { result, shape }).collect();
    success(&shown)
}

/// Runs statements: one by itself, several as a batch, so that each has D1's semantics.
async fn execute(database: &dyn Database, mut statements: Vec<Statement>) -> isobar_db::Result<Vec<QueryResult>> {
    match statements.len() {
        1 => Ok(vec![database.query(statements.remove(0)).await?]),
        _ => database.batch(statements).await,
    }
}

impl Asked {
    /// The statements of a request.
    fn statements(self) -> Answer<Vec<Statement>> {
        let statements = match self {
            Self { sql: Some(sql), params, batch: None } => Query { sql, params }.statements()?,
            Self { sql: None, params: None, batch: Some(batch) } => {
                batch.into_iter().map(Query::statement).collect::<Answer<_>>()?
            }
            _ => return Err(ApiError::malformed("the body has either sql, with params or without, or batch")),
        };
        if statements.is_empty() {
            return Err(ApiError::new(StatusCode::BAD_REQUEST, code::SQL, "No SQL statements detected."));
        }
        Ok(statements)
    }
}

impl Query {
    /// The SQL's statements, each by itself. The parameters belong to the last one, as in D1.
    fn statements(self) -> Answer<Vec<Statement>> {
        let mut statements: Vec<_> = sql::split(&self.sql).map(|one| Statement::new(one.to_owned())).collect();
        let values = values(self.params)?;
        if let Some(last) = statements.pop() {
            statements.push(last.bind_all(values));
        }
        Ok(statements)
    }

    /// The SQL as one, whose result is that of its last statement.
    fn statement(self) -> Answer<Statement> {
        Ok(Statement::new(self.sql).bind_all(values(self.params)?))
    }
}

/// The parameters of a query.
fn values(params: Option<Vec<Json>>) -> Answer<Vec<Value>> {
    params.unwrap_or_default().into_iter().map(value).collect()
}

/// A parameter. An array of bytes is a blob, as in D1.
fn value(json: Json) -> Answer<Value> {
    let refused = |what: &str| {
        let message = format!("D1_TYPE_ERROR: Type '{what}' not supported for a parameter");
        ApiError::new(StatusCode::BAD_REQUEST, code::SQL, message)
    };
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(value) => value.into(),
        Json::String(text) => text.into(),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => integer.into(),
            (None, Some(real)) => real.into(),
            (None, None) => return Err(refused("number")),
        },
        Json::Array(bytes) => {
            let byte = |one: &Json| one.as_u64().and_then(|byte| u8::try_from(byte).ok());
            let bytes: Option<Vec<u8>> = bytes.iter().map(byte).collect();
            bytes.ok_or_else(|| refused("array"))?.into()
        }
        Json::Object(_) => return Err(refused("object")),
    })
}

/// A result as D1 answers it.
struct Shown<'a> {
    result: &'a QueryResult,
    shape: Shape,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        match self.shape {
            Shape::Objects => map.serialize_entry("results", &self.result.rows)?,
            Shape::Arrays => map.serialize_entry("results", &Arrays(self.result))?,
        }
        map.serialize_entry("success", &true)?;
        map.serialize_entry("meta", &meta(&self.result.meta))?;
        map.end()
    }
}

/// A result in the form of `raw`.
struct Arrays<'a>(&'a QueryResult);

impl Serialize for Arrays<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("columns", &self.0.columns)?;
        map.serialize_entry("rows", &Rows(&self.0.rows))?;
        map.end()
    }
}

/// Rows as arrays, written without a copy of all of them.
struct Rows<'a>(&'a [Row]);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.0.len()))?;
        for row in self.0 {
            rows.serialize_element(&row.values().iter().map(Value::as_d1_json).collect::<Vec<_>>())?;
        }
        rows.end()
    }
}

/// D1's `meta`. A number that the backend does not count is left out, not zero.
pub(super) fn meta(meta: &Meta) -> Json {
    let duration = meta.duration.as_secs_f64() * 1000.0;
    let mut shown = json!({
        "served_by": meta.served_by,
        "served_by_primary": meta.served_by_primary,
        "duration": duration,
        "timings": {"sql_duration_ms": duration},
        "changes": meta.changes,
        "changed_db": meta.changed_db,
        "size_after": meta.size_after,
        "total_attempts": meta.total_attempts,
    });
    let texts = [("served_by_region", &meta.served_by_region), ("served_by_colo", &meta.served_by_colo)];
    for (name, text) in texts {
        if let Some(text) = text {
            shown[name] = text.as_str().into();
        }
    }
    if let Some(id) = meta.last_row_id {
        shown["last_row_id"] = id.into();
    }
    for (name, count) in [("rows_read", meta.rows_read), ("rows_written", meta.rows_written)] {
        if let Some(count) = count {
            shown[name] = count.into();
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_d1s_types() {
        let of = |json: Json| value(json).map_err(|error| error.message);
        assert_eq!(of(json!(1)), Ok(Value::Integer(1)));
        assert_eq!(of(json!(9_007_199_254_740_993_i64)), Ok(Value::Integer(9_007_199_254_740_993)));
        assert_eq!(of(json!(1.5)), Ok(Value::Real(1.5)));
        assert_eq!(of(json!(true)), Ok(Value::Integer(1)));
        assert_eq!(of(json!(null)), Ok(Value::Null));
        assert_eq!(of(json!([1, 255])), Ok(Value::Blob(vec![1, 255].into())));
        assert!(of(json!([256])).unwrap_err().starts_with("D1_TYPE_ERROR"));
        assert!(of(json!({})).unwrap_err().starts_with("D1_TYPE_ERROR"));
    }
}
