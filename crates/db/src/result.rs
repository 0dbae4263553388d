//! Results: rows and D1's `meta`.
//!
//! A backend builds [`QueryResult`]s; [`QueryableExt`](crate::QueryableExt) takes them apart. The `meta` follows D1's documentation,
//! "Return objects", field by field; what a backend cannot know is `None` rather than 0.

use std::time::Duration;

use serde::Serialize;

use crate::{FromRow, Result, Row};

/// Result of a statement: its rows, and D1's `meta`. Most programs let [`QueryableExt`](crate::QueryableExt) convert the rows and
/// never see it; it is for programs that show any result, and for backends.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{Queryable, SqliteDatabase, Statement};
///
/// let db = SqliteDatabase::memory().await?;
/// let result = db.query(Statement::new("SELECT 1 AS a UNION ALL SELECT 2")).await?;
/// assert_eq!((result.columns.as_slice(), result.rows.len()), (&["a".to_owned()][..], 2));
/// assert_eq!(result.rows_as::<i64>()?, [1, 2]);
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct QueryResult {
    /// The columns' names, also where there is no row.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Row>,
    /// Report of the execution.
    pub meta: Meta,
}

impl QueryResult {
    /// A result as a backend builds it.
    ///
    /// ```
    /// use isobar_db::{Meta, QueryResult, Row, Value};
    ///
    /// // As a test's double, or a cache, would answer.
    /// let columns = vec!["n".to_owned()];
    /// let row = Row::new(columns.clone().into(), vec![Value::Integer(1)]);
    /// let result = QueryResult::new(columns, vec![row], Meta::default());
    /// assert_eq!(result.rows_as::<i64>()?, [1]);
    /// # Ok::<(), isobar_db::Error>(())
    /// ```
    #[must_use]
    pub fn new(columns: Vec<String>, rows: Vec<Row>, meta: Meta) -> Self {
        Self { columns, rows, meta }
    }

    /// The rows as `T`.
    ///
    /// All rows convert, or none: the first error ends it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{ErrorKind, Queryable, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let result = db.query("SELECT 1 AS n UNION ALL SELECT 'two'".into()).await?;
    /// let error = result.rows_as::<i64>().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Decode);
    /// assert_eq!(result.rows_as::<(isobar_db::Value,)>()?.len(), 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`FromRow::from_row`].
    pub fn rows_as<T: FromRow>(&self) -> Result<Vec<T>> {
        self.rows.iter().map(T::from_row).collect()
    }

    /// The rows as `T`, without a copy of their texts where they are not needed any more.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{Queryable, SqliteDatabase, Statement};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct User {
    ///     name: String,
    /// }
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let result = db.query(Statement::new("SELECT 'Ada' AS name")).await?;
    /// let users: Vec<User> = result.into_rows_as()?; // the texts are moved
    /// assert_eq!(users[0].name, "Ada");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`FromRow::from_row`].
    pub fn into_rows_as<T: FromRow>(self) -> Result<Vec<T>> {
        Row::convert_all(self.rows)
    }
}

/// D1's `meta`. A number that the backend does not count is `None`.
///
/// | field | local | D1 by its binding and over REST |
/// |---|---|---|
/// | `served_by` | `isobar.sqlite` | D1's |
/// | `served_by_region`, `served_by_colo` | `None` | D1's, where it says so |
/// | `rows_read`, `rows_written` | as D1 counts with feature `row-counts`, else `None` | counted; Cloudflare bills by them |
/// | `last_row_id` | exact | `None` beyond 2^53 |
/// | `total_attempts` | 1 | D1's, where it says so |
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{QueryableExt, SqliteDatabase};
///
/// let db = SqliteDatabase::memory().await?;
/// db.prepare("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)").run().await?;
/// let meta = db.prepare("INSERT INTO users (name) VALUES ('Ada'), ('Grace')").run().await?;
/// assert_eq!((meta.changes, meta.last_row_id, meta.changed_db), (2, Some(2), true));
/// assert!(meta.size_after > 0);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Meta {
    /// Name of the server that answered; `isobar.sqlite` for the local backend.
    pub served_by: String,
    /// The region that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_by_region: Option<String>,
    /// The data centre that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_by_colo: Option<String>,
    /// Whether the primary answered.
    pub served_by_primary: bool,
    /// Duration of the SQL; serialized in milliseconds.
    #[serde(rename = "duration", serialize_with = "milliseconds")]
    pub duration: Duration,
    /// Rows inserted, updated and deleted, those of triggers included.
    pub changes: u64,
    /// The rowid of the last insert on the connection; `None` where JavaScript may have rounded it.
    pub last_row_id: Option<i64>,
    /// Whether the database was changed.
    pub changed_db: bool,
    /// Size of the database afterwards, in bytes, without free pages. In a batch, the local backend may report for a statement the size after later ones.
    pub size_after: u64,
    /// Rows read, where the backend counts them: of tables and indexes, but also of lists, sorters and other tables that a statement
    /// makes for itself.
    pub rows_read: Option<u64>,
    /// Rows written and deleted, and entries written to indexes, where the backend counts them.
    pub rows_written: Option<u64>,
    /// Attempts, the successful one included.
    pub total_attempts: u32,
}

fn milliseconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64() * 1000.0)
}

/// Result of [`Database::import`](crate::Database::import).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{Database, SqliteDatabase};
///
/// let db = SqliteDatabase::memory().await?;
/// let imported = db.import("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2); INSERT INTO t VALUES (3);").await?;
/// assert_eq!((imported.statements, imported.meta.changes), (3, 3));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Imported {
    /// Statements that were run.
    pub statements: u64,
    /// Their reports together: durations and counts are sums, the others those of the last statement.
    pub meta: Meta,
}

impl Imported {
    /// The result of these statements, as a backend builds it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{Imported, Queryable, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let results = db.batch_script("CREATE TABLE t (a); INSERT INTO t VALUES (1); INSERT INTO t VALUES (2);").await?;
    /// let imported = Imported::of(&results);
    /// assert_eq!((imported.statements, imported.meta.changes), (3, 2));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn of(results: &[QueryResult]) -> Self {
        let mut imported = Self::default();
        results.iter().for_each(|result| imported.add(result.meta.clone()));
        imported
    }

    /// Adds the report of the next statement. A count that a backend has not for each statement is not known.
    ///
    /// The first report is taken whole; `statements` says whether there was one.
    pub(crate) fn add(&mut self, next: Meta) {
        let before = std::mem::replace(&mut self.meta, next);
        let sum = |one: Option<u64>, other: Option<u64>| Some(one? + other?);
        if self.statements > 0 {
            self.meta.duration += before.duration;
            self.meta.changes += before.changes;
            self.meta.changed_db |= before.changed_db;
            self.meta.rows_read = sum(before.rows_read, self.meta.rows_read);
            self.meta.rows_written = sum(before.rows_written, self.meta.rows_written);
        }
        self.statements += 1;
    }
}

/// Result of `exec`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{Database, SqliteDatabase};
///
/// let db = SqliteDatabase::memory().await?;
/// let result = db.exec("CREATE TABLE a (x); CREATE TABLE b (x)\nCREATE TABLE c (x)").await?;
/// assert_eq!(result.count, 2, "two lines");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ExecResult {
    /// Lines with statements: two on one line count as one, as in D1.
    pub count: usize,
    /// Their duration; serialized in milliseconds.
    #[serde(serialize_with = "milliseconds")]
    pub duration: Duration,
}

impl ExecResult {
    /// A result as a backend builds it.
    #[must_use]
    pub fn new(count: usize, duration: Duration) -> Self {
        Self { count, duration }
    }
}

/// Progress and result of an export or an import.
///
/// Given to the progress of [`dump::export`](mod@crate::dump) and [`dump::import`](mod@crate::dump) again and again, growing, and returned at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Tables so far.
    pub tables: u64,
    /// Rows so far.
    pub rows: u64,
    /// Bytes of SQL so far.
    pub bytes: u64,
}
