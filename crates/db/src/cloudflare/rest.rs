//! D1 over Cloudflare's REST API.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use isobar_cloudflare::client::{Account, Idempotency, RestError, RestErrorKind};
use isobar_cloudflare::sql::{is_exact, rewrite_placeholders};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::answer;
use crate::{
    Bookmark, Capabilities, Consistency, Database, DatabaseSession, Dialect, Error, ErrorKind, ExecResult, Meta,
    Operation, QueryResult, Queryable, Result, Row, Statement, TimeTravel, Value, sql,
};

/// A D1 database over Cloudflare's REST API: for native code, tools above all, since each statement is a request. Cheap to
/// clone.
///
/// The API takes parameters as text, so each is sent as text with a conversion around its placeholder; integers and blobs
/// arrive exactly, and offsets in errors count the conversions. On the way back numbers are JSON of JavaScript's making: one
/// that may have been rounded is refused with [`ErrorKind::Decode`] (select `CAST(x AS TEXT)` instead), and a REAL without a
/// fraction comes back as an integer, which every number type takes. Reads are repeated when the API fails; a write only
/// where it certainly did not happen.
///
/// The API has no sessions: every query goes to the primary, so that a session sees everything. It has time travel, without a report of
/// how far the history goes back.
///
/// ```no_run
/// use isobar_cloudflare::client::Account;
/// use isobar_db::QueryableExt;
/// use isobar_db::cloudflare::D1RestDatabase;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let db = D1RestDatabase::new(Account::from_env()?, "2f0a3f1e-0000-4000-8000-000000000001")?;
/// let users: i64 = db.prepare("SELECT count(*) FROM users").one().await?;
/// println!("{users} users");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct D1RestDatabase {
    pub(super) account: Account,
    /// Of the database, below the account.
    pub(super) path: String,
}

/// The API's answer for a statement.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    results: Rows,
    #[serde(default)]
    meta: AnswerMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Json>>,
}

/// Counts are JSON numbers that may come with a fraction.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AnswerMeta {
    served_by: Option<String>,
    served_by_region: Option<String>,
    served_by_colo: Option<String>,
    served_by_primary: Option<bool>,
    duration: Option<f64>,
    changes: Option<f64>,
    last_row_id: Option<f64>,
    changed_db: Option<bool>,
    size_after: Option<f64>,
    rows_read: Option<f64>,
    rows_written: Option<f64>,
    total_attempts: Option<f64>,
}

impl D1RestDatabase {
    /// The database of this id in an account.
    ///
    /// Nothing is sent: a database that does not exist shows with the first query, as an error of the API.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] where it is not an id.
    pub fn new(account: Account, database_id: &str) -> Result<Self> {
        if database_id.is_empty() || !database_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(Error::new(ErrorKind::Internal, format!("{database_id:?} is no id of a D1 database")));
        }
        Ok(Self { account, path: format!("d1/database/{database_id}") })
    }

    async fn ask(&self, idempotency: Idempotency, body: Json) -> Result<Vec<Answer>> {
        let path = format!("{}/raw", self.path);
        self.account.call(idempotency, Method::POST, &path, Some(&body)).await.map_err(failure)
    }

    async fn run(&self, statement: &Statement) -> Result<QueryResult> {
        answer::check_reads(&[statement])?;
        let answers = self.ask(idempotency(&[statement]), wire(statement)).await?;
        // A result for each statement of the SQL, and the rows are the last one's.
        let result = answers.into_iter().next_back().ok_or_else(no_statement)?.into_result()?;
        answer::check_bytes(&[statement], std::slice::from_ref(&result))?;
        Ok(result)
    }

    async fn run_batch(&self, statements: &[Statement]) -> Result<Vec<QueryResult>> {
        let statements: Vec<&Statement> =
            statements.iter().filter(|statement| sql::split(statement.sql()).next().is_some()).collect();
        if statements.is_empty() {
            return Err(no_statement());
        }
        answer::check_reads(&statements)?;
        let batch: Vec<Json> = statements.iter().map(|statement| wire(statement)).collect();
        let answers = self.ask(idempotency(&statements), json!({"batch": batch})).await?;
        if answers.len() != statements.len() {
            let message = format!("{} results came for {} statements", answers.len(), statements.len());
            return Err(Error::new(ErrorKind::Decode, message));
        }
        let results = answers.into_iter().map(Answer::into_result).collect::<Result<Vec<_>>>()?;
        answer::check_bytes(&statements, &results)?;
        Ok(results)
    }
}

#[async_trait]
impl Queryable for D1RestDatabase {
    async fn query(&self, statement: Statement) -> Result<QueryResult> {
        self.run(&statement).await.map_err(|error| error.with_sql(statement.sql()).during(Operation::Query))
    }

    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        self.run_batch(&statements).await.map_err(|error| error.during(Operation::Batch))
    }
}

#[async_trait]
impl Database for D1RestDatabase {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { row_counts: true, sqlite: true, ..Capabilities::default() }
    }

    async fn exec(&self, script: &str) -> Result<ExecResult> {
        let lines = script.lines().filter(|line| sql::split(line).next().is_some());
        let lines: Vec<Statement> = lines.map(|line| Statement::new(line.to_owned())).collect();
        let count = lines.len();
        let results = self.run_batch(&lines).await.map_err(|error| error.in_exec(script).during(Operation::Exec))?;
        Ok(ExecResult::new(count, results.iter().map(|result| result.meta.duration).sum()))
    }

    fn session(&self, _: Consistency) -> Arc<dyn DatabaseSession> {
        Arc::new(Session(self.clone()))
    }

    fn time_travel(&self) -> Option<&dyn TimeTravel> {
        Some(self)
    }
}

/// The primary sees everything.
#[derive(Debug)]
struct Session(D1RestDatabase);

#[async_trait]
impl Queryable for Session {
    async fn query(&self, statement: Statement) -> Result<QueryResult> {
        self.0.query(statement).await
    }

    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        self.0.batch(statements).await
    }
}

impl DatabaseSession for Session {
    fn bookmark(&self) -> Option<Bookmark> {
        None
    }
}

/// Whether statements may be sent again, by the words: a SELECT that calls nothing but functions of SQL reads. In
/// doubt it is a write, which is not repeated.
fn idempotency(statements: &[&Statement]) -> Idempotency {
    let reads = statements.iter().flat_map(|statement| sql::split(statement.sql())).all(sql::is_read);
    if reads { Idempotency::Idempotent } else { Idempotency::Once }
}

/// A statement as the API takes it: every parameter a text, its type in the SQL.
fn wire(statement: &Statement) -> Json {
    let values = statement.parameters();
    let plain = values.iter().all(|value| matches!(value, Value::Text(_)));
    let sql = if plain { statement.sql().to_owned() } else { typed(statement.sql(), values) };
    let params: Vec<String> = values.iter().map(text).collect();
    if params.is_empty() { json!({"sql": sql}) } else { json!({"sql": sql, "params": params}) }
}

fn typed(sql: &str, values: &[Value]) -> String {
    rewrite_placeholders(sql, |number, placeholder, out| {
        // Writing to a string does not fail.
        match values.get(number - 1) {
            Some(Value::Integer(_)) => write!(out, "+CAST({placeholder} AS INTEGER)").ok(),
            Some(Value::Real(real)) if real.is_finite() => write!(out, "+CAST({placeholder} AS REAL)").ok(),
            // Two placeholders of one number, so that the count stays what it was.
            Some(Value::Null | Value::Real(_)) => write!(out, "NULLIF(?{number}, ?{number})").ok(),
            Some(Value::Blob(_)) => write!(out, "unhex({placeholder})").ok(),
            Some(Value::Text(_)) | None => write!(out, "{placeholder}").ok(),
        };
    })
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Integer(integer) => integer.to_string(),
        // As D1: NaN and infinities are NULL. The shortest digits that read back as the same number, with an exponent.
        Value::Real(real) if !real.is_finite() => String::new(),
        Value::Real(real) => format!("{real:e}"),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").ok();
            hex
        }),
    }
}

impl Answer {
    fn into_result(self) -> Result<QueryResult> {
        let Rows { columns, rows } = self.results;
        let shared: Arc<[String]> = columns.clone().into();
        let row = |values: Vec<Json>| {
            let values = values.into_iter().map(value).collect::<Result<Vec<_>>>()?;
            Ok(Row::new(Arc::clone(&shared), values))
        };
        let rows = rows.into_iter().map(row).collect::<Result<_>>()?;
        Ok(QueryResult::new(columns, rows, self.meta.into_meta()))
    }
}

impl AnswerMeta {
    fn into_meta(self) -> Meta {
        let count = |number: Option<f64>| number.map(|number| number as u64);
        Meta {
            served_by: self.served_by.unwrap_or_default(),
            served_by_region: self.served_by_region,
            served_by_colo: self.served_by_colo,
            served_by_primary: self.served_by_primary.unwrap_or_default(),
            duration: Duration::try_from_secs_f64(self.duration.unwrap_or_default() / 1000.0).unwrap_or_default(),
            changes: count(self.changes).unwrap_or_default(),
            last_row_id: self.last_row_id.filter(|id| is_exact(*id)).map(|id| id as i64),
            changed_db: self.changed_db.unwrap_or_default(),
            size_after: count(self.size_after).unwrap_or_default(),
            rows_read: count(self.rows_read),
            rows_written: count(self.rows_written),
            total_attempts: count(self.total_attempts).unwrap_or(1) as u32,
        }
    }
}

fn value(json: Json) -> Result<Value> {
    let unknown = |json: &Json| Error::new(ErrorKind::Decode, format!("D1 answered a value of no known type: {json}"));
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(bool) => Value::Integer(bool.into()),
        Json::String(text) => Value::Text(text),
        Json::Number(number) => {
            let double = number.as_f64().unwrap_or(f64::NAN);
            if !is_exact(double) {
                let message = format!(
                    "JavaScript may have rounded an integer to {number}: select it as CAST(... AS TEXT) (what the \
                     statement wrote is written)"
                );
                return Err(Error::new(ErrorKind::Decode, message));
            }
            let is_integer = double.fract() == 0.0 && double.abs() < 2f64.powi(63);
            if is_integer { Value::Integer(double as i64) } else { Value::Real(double) }
        }
        Json::Array(ref bytes) => {
            let byte = |one: &Json| one.as_u64().and_then(|byte| u8::try_from(byte).ok());
            let bytes: Option<Vec<u8>> = bytes.iter().map(byte).collect();
            Value::Blob(bytes.ok_or_else(|| unknown(&json))?.into())
        }
        Json::Object(_) => return Err(unknown(&json)),
    })
}

fn no_statement() -> Error {
    Error::new(ErrorKind::Sql, "No SQL statements detected.")
}

pub(super) fn failure(error: RestError) -> Error {
    // SQL's own errors are in the message, whatever the status: 400 of the API, 500 of its local stand-in.
    let said = error.messages().first().map(|first| answer::failure(&first.message));
    match said {
        Some(said) if said.kind() != ErrorKind::Internal => said,
        _ => {
            let kind = match error.kind() {
                RestErrorKind::Unavailable => ErrorKind::Unavailable,
                RestErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                RestErrorKind::Decode => ErrorKind::Decode,
                _ => ErrorKind::Internal,
            };
            Error::new(kind, error.to_string())
        }
    }
    .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_go_as_text_with_their_type_in_the_sql() {
        let statement = Statement::new("INSERT INTO t VALUES (?, ?, ?, ?2, ?, ?)")
            .bind(i64::MAX)
            .bind(Value::Null)
            .bind(0.1)
            .bind("it's")
            .bind(Value::Blob(vec![0, 255].into()));
        let wire = wire(&statement);
        assert_eq!(
            wire["sql"],
            "INSERT INTO t VALUES (+CAST(? AS INTEGER), NULLIF(?2, ?2), +CAST(? AS REAL), NULLIF(?2, ?2), ?, unhex(?))"
        );
        assert_eq!(wire["params"], json!(["9223372036854775807", "", "1e-1", "it's", "00ff"]));
    }

    #[test]
    fn values_round_trip() {
        assert_eq!(value(json!(1.5)).expect("good"), Value::Real(1.5));
        assert_eq!(value(json!(-3)).expect("good"), Value::Integer(-3));
        assert_eq!(value(json!([1, 2])).expect("good"), Value::Blob(vec![1, 2].into()));
        assert_eq!(value(json!(9_007_199_254_740_993_i64)).expect_err("rounded").kind(), ErrorKind::Decode);
        assert_eq!(value(json!([256])).expect_err("no byte").kind(), ErrorKind::Decode);
    }

    #[test]
    fn only_reads_are_repeated() {
        let of = |sql: &'static str| idempotency(&[&Statement::new(sql)]);
        assert_eq!(of("SELECT 1; SELECT 2"), Idempotency::Idempotent);
        assert_eq!(of("SELECT 1; DELETE FROM t"), Idempotency::Once);
        assert_eq!(of("INSERT INTO t VALUES (1)"), Idempotency::Once);
    }
}
