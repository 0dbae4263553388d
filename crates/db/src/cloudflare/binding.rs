//! D1 by its binding.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use isobar_cloudflare::binding::wasm_bindgen::{JsCast, JsValue};
use isobar_cloudflare::binding::{JsError, Object, bytes, js_sys, send, uint8_array};
use isobar_cloudflare::sql::{exact_integers, is_exact};

use super::answer;
use crate::{
    Bookmark, Capabilities, Consistency, Database, DatabaseSession, Dialect, Error, ErrorKind, ExecResult, Meta,
    Operation, QueryResult, Queryable, Result, Row, Statement, Value,
};

/// A D1 database by its binding: for code inside Workers.
///
/// Integers are bound exactly, beyond JavaScript's 2^53 as well (as text, with a `CAST` around the parameter; offsets in
/// errors count it). On the way back JavaScript rounds them, so a number that may have been rounded is refused with
/// [`ErrorKind::Decode`]: select `CAST(x AS TEXT)` instead. The statement has been run by then, and its message says so. A REAL
/// without a fraction comes back as an integer, which every number type takes. A request for rows alone has no [`Meta`]; with
/// `Meta` the columns are those of the first row, and columns that share a name are one.
///
/// ```
/// use isobar_cloudflare::binding::Object;
/// use isobar_db::cloudflare::D1Database;
/// use isobar_db::{QueryableExt, Result};
///
/// /// `env` is the object that the Worker's handler was called with.
/// async fn count_users(env: &Object) -> Result<i64> {
///     D1Database::new(env.object("DB"))?.prepare("SELECT count(*) FROM users").one().await
/// }
/// ```
///
/// Its futures are `Send` as the trait demands, and run on the Worker's one thread. Dropping one does not end the
/// query.
#[derive(Debug, Clone)]
pub struct D1Database {
    database: Object,
}

/// A session: D1's object for one has the methods of the database.
#[derive(Debug)]
struct Session(D1Database);

impl D1Database {
    /// The database behind a binding: `env.DB`.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when the value is not a D1 database.
    pub fn new(binding: impl Into<Object>) -> Result<Self> {
        let database = binding.into();
        if database.is_nothing() || database.method("prepare").is_err() || database.method("batch").is_err() {
            let message = format!("the binding is not a D1 database but {:?}", database.class());
            return Err(Error::new(ErrorKind::Internal, message));
        }
        Ok(Self { database })
    }

    fn prepare(&self, statement: &Statement) -> Result<Object> {
        let sql = statement.sql();
        let values = statement.parameters();
        let is_integer = |number: usize| matches!(values.get(number - 1), Some(Value::Integer(_)));
        let sql = if values.iter().any(|value| matches!(value, Value::Integer(_))) {
            exact_integers(sql, is_integer)
        } else {
            sql.to_owned()
        };
        let prepared = Object::from(self.database.call("prepare", &[sql.into()]).map_err(|error| failure(&error))?);
        if values.is_empty() {
            return Ok(prepared);
        }
        let values: Vec<JsValue> = values.iter().map(bound).collect();
        Ok(prepared.call("bind", &values).map_err(|error| failure(&error))?.into())
    }

    async fn run(&self, statement: &Statement) -> Result<QueryResult> {
        answer::check_reads(&[statement])?;
        let answer = self.ask(statement).await?;
        answer::check_bytes(&[statement], std::slice::from_ref(&answer))?;
        Ok(answer)
    }

    async fn ask(&self, statement: &Statement) -> Result<QueryResult> {
        let prepared = self.prepare(statement)?;
        if statement.is_rows_only() {
            let options = Object::empty().with("columnNames", true);
            let rows = prepared.ask("raw", &[options.into()]).await.map_err(|error| failure(&error))?;
            return raw_result(&Object::from(rows));
        }
        let answer = prepared.ask("all", &[]).await.map_err(|error| failure(&error))?;
        result(&Object::from(answer))
    }

    async fn run_batch(&self, statements: &[Statement]) -> Result<Vec<QueryResult>> {
        let asked: Vec<&Statement> = statements.iter().collect();
        answer::check_reads(&asked)?;
        let prepared: Vec<Object> = statements.iter().map(|one| self.prepare(one)).collect::<Result<_>>()?;
        let prepared: js_sys::Array = prepared.into_iter().map(JsValue::from).collect();
        let answer = self.database.ask("batch", &[prepared.into()]).await.map_err(|error| failure(&error))?;
        let results = Object::from(answer).elements().into_iter().map(|one| result(&one.into()));
        let results = results.collect::<Result<Vec<_>>>()?;
        answer::check_bytes(&asked, &results)?;
        Ok(results)
    }
}

#[async_trait]
impl Queryable for D1Database {
    async fn query(&self, statement: Statement) -> Result<QueryResult> {
        send(self.run(&statement)).await.map_err(|error| error.with_sql(statement.sql()).during(Operation::Query))
    }

    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        send(self.run_batch(&statements)).await.map_err(|error| error.during(Operation::Batch))
    }
}

#[async_trait]
impl Database for D1Database {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { row_counts: true, sqlite: true, ..Capabilities::default() }
    }

    async fn exec(&self, script: &str) -> Result<ExecResult> {
        let answer = send(async { self.database.ask("exec", &[script.into()]).await.map(Object::from) }).await;
        let answer = answer.map_err(|error| failure(&error).during(Operation::Exec))?;
        let count = answer.number("count").unwrap_or_default() as usize;
        Ok(ExecResult::new(count, duration(answer.number("duration"))))
    }

    fn session(&self, consistency: Consistency) -> Arc<dyn DatabaseSession> {
        let start = match &consistency {
            Consistency::FirstUnconstrained => "first-unconstrained",
            Consistency::FirstPrimary => "first-primary",
            Consistency::Bookmark(bookmark) => bookmark.as_str(),
        };
        let database = match self.database.method("withSession") {
            // A failure shows in the session's queries: an empty object has none.
            Ok(method) => method.call(&[start.into()]).map_or_else(|_| Object::empty(), Object::from),
            // A binding of before 2025 has one copy of the data, and every query sees it all.
            Err(_) => self.database.clone(),
        };
        Arc::new(Session(Self { database }))
    }
}

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
        self.0.database.call("getBookmark", &[]).ok()?.as_string().map(Bookmark::new)
    }
}

fn bound(value: &Value) -> JsValue {
    match value {
        Value::Null => JsValue::NULL,
        Value::Integer(integer) => integer.to_string().into(),
        // As D1: NaN and infinities are NULL.
        Value::Real(real) if !real.is_finite() => JsValue::NULL,
        Value::Real(real) => (*real).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Blob(bytes) => uint8_array(bytes),
    }
}

fn value(value: &JsValue) -> Result<Value> {
    if let Some(number) = value.as_f64() {
        if !is_exact(number) {
            let message = format!(
                "JavaScript may have rounded an integer to {number}: select it as CAST(... AS TEXT) (what the statement \
                 wrote is written)"
            );
            return Err(Error::new(ErrorKind::Decode, message));
        }
        let is_integer = number.fract() == 0.0 && number.abs() < 2f64.powi(63);
        return Ok(if is_integer { Value::Integer(number as i64) } else { Value::Real(number) });
    }
    if let Some(text) = value.as_string() {
        return Ok(Value::Text(text));
    }
    if value.is_null() || value.is_undefined() {
        return Ok(Value::Null);
    }
    if value.is_instance_of::<js_sys::Array>() || value.is_instance_of::<js_sys::ArrayBuffer>() {
        return Ok(Value::Blob(bytes(value)));
    }
    Err(Error::new(ErrorKind::Decode, format!("D1 answered a value of no known type: {value:?}")))
}

/// `{results, meta}`: rows as objects.
fn result(answer: &Object) -> Result<QueryResult> {
    let objects: Vec<Object> = answer.object("results").elements().into_iter().map(Object::from).collect();
    let names = |object: &Object| object.entries().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let columns = objects.first().map(names).unwrap_or_default();
    let shared: Arc<[String]> = columns.clone().into();
    let row = |object: &Object| {
        let values = object.entries().iter().map(|(_, one)| value(one)).collect::<Result<Vec<_>>>()?;
        Ok(Row::new(Arc::clone(&shared), values))
    };
    let rows = objects.iter().map(row).collect::<Result<_>>()?;
    Ok(QueryResult::new(columns, rows, meta(&answer.object("meta"))))
}

/// A list of names, then lists of values.
fn raw_result(answer: &Object) -> Result<QueryResult> {
    let mut lists = answer.elements().into_iter().map(Object::from);
    let names = lists.next().map(|names| names.elements()).unwrap_or_default();
    let columns: Vec<String> = names.iter().filter_map(JsValue::as_string).collect();
    let shared: Arc<[String]> = columns.clone().into();
    let row = |list: Object| {
        let values = list.elements().iter().map(value).collect::<Result<Vec<_>>>()?;
        Ok(Row::new(Arc::clone(&shared), values))
    };
    let rows = lists.map(row).collect::<Result<_>>()?;
    Ok(QueryResult::new(columns, rows, Meta::default()))
}

fn meta(js: &Object) -> Meta {
    let count = |name| js.number(name).map(|number| number as u64);
    Meta {
        served_by: js.text("served_by").unwrap_or_default(),
        served_by_region: js.text("served_by_region"),
        served_by_colo: js.text("served_by_colo"),
        served_by_primary: js.get("served_by_primary").is_truthy(),
        duration: duration(js.number("duration")),
        changes: count("changes").unwrap_or_default(),
        last_row_id: js.number("last_row_id").filter(|id| is_exact(*id)).map(|id| id as i64),
        changed_db: js.get("changed_db").is_truthy(),
        size_after: count("size_after").unwrap_or_default(),
        rows_read: count("rows_read"),
        rows_written: count("rows_written"),
        total_attempts: count("total_attempts").unwrap_or(1) as u32,
    }
}

fn duration(milliseconds: Option<f64>) -> Duration {
    // A negative or non-finite number of milliseconds counts as zero.
    Duration::try_from_secs_f64(milliseconds.unwrap_or_default() / 1000.0).unwrap_or_default()
}

fn failure(error: &JsError) -> Error {
    answer::failure(&error.message).with_source(error.clone())
}
