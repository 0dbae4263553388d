//! The fluent way to write statements.
//!
//! Blanket methods over [`Queryable`], for `dyn` ones too: the trait has no method of its own that a backend
//! implements. [`Prepared`] is a [`Statement`] beside the database that will run it.

use std::borrow::Cow;

use async_trait::async_trait;

use crate::bulk::BulkInsert;
use crate::page::{self, Cursor, Keyset, Page};
use crate::transaction::{self, Committed, Transaction, TransactionOptions};
use crate::{Error, ErrorKind, FromRow, FromValue, Meta, QueryResult, Queryable, Result, Row, Statement, Value};

/// Convenience over every [`Queryable`]: databases, sessions, mocks, and references to them.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{QueryableExt, SqliteDatabase};
///
/// let db = SqliteDatabase::memory().await?;
/// db.run_script("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT);\nINSERT INTO t (name) VALUES ('Ada');").await?;
/// let id: Option<i64> = db.prepare("SELECT id FROM t WHERE name = ?").bind("Ada").first().await?;
/// assert_eq!(id, Some(1));
/// let changes = db.prepare("DELETE FROM t").run().await?.changes;
/// assert_eq!(changes, 1);
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
#[async_trait]
pub trait QueryableExt: Queryable {
    /// Starts a statement: `db.prepare(sql).bind(x).all::<T>()`.
    ///
    /// Nothing is sent or checked before it is run.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{Queryable, QueryableExt, SqliteDatabase};
    ///
    /// async fn answer(db: &dyn Queryable) -> isobar_db::Result<i64> {
    ///     db.prepare("SELECT ?1 * 2").bind(21).one().await
    /// }
    ///
    /// assert_eq!(answer(&SqliteDatabase::memory().await?).await?, 42);
    /// # Ok(()) }
    /// ```
    fn prepare(&self, sql: impl Into<Cow<'static, str>>) -> Prepared<'_, Self> {
        Prepared { database: self, statement: Statement::new(sql) }
    }

    /// Runs a whole script - statements that span lines, triggers, comments - in one transaction, one result for each
    /// statement: [`Queryable::batch_script`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{QueryableExt, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let results = db.run_script("CREATE TABLE t (a);\nINSERT INTO t VALUES (1);\nSELECT a FROM t;").await?;
    /// assert_eq!(results[2].rows_as::<i64>()?, [1]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Queryable::batch_script`].
    async fn run_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        self.batch_script(script).await
    }

    /// Inserts rows in one batch, all or nothing, within D1's limits of a statement. Returns the number of changed rows, those of
    /// triggers included; without rows nothing is run.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{BulkInsert, QueryableExt, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// db.run_script("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)").await?;
    /// let mut users = BulkInsert::new("users", ["id", "name"]);
    /// for (id, name) in [(1, "Ada"), (2, "Grace")] {
    ///     users.push([id.into(), name.into()])?;
    /// }
    /// assert_eq!(db.insert_all(users).await?, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Queryable::batch`] and [`BulkInsert::into_statements`].
    async fn insert_all(&self, rows: BulkInsert) -> Result<u64> {
        let statements = rows.into_statements()?;
        if statements.is_empty() {
            return Ok(0);
        }
        Ok(self.batch(statements).await?.iter().map(|result| result.meta.changes).sum())
    }

    /// Reads a page of a query's rows in an order, behind a cursor; see [`Keyset`]. The query has no order and no limit of its own,
    /// and yields the columns of the order.
    ///
    /// A `limit` of 0 gives a page without rows and without a cursor. There is no upper bound but D1's on an answer; a
    /// page of some hundred rows at most is usual.
    ///
    /// # Errors
    /// As [`Queryable::query`] and [`FromRow::from_row`]; [`ErrorKind::Decode`] for the cursor of a list with another order.
    async fn page<T: FromRow + Send>(
        &self,
        query: Statement,
        order: &Keyset,
        limit: u32,
        after: Option<&Cursor>,
    ) -> Result<Page<T>> {
        page::read(self, &query, order, limit, after).await
    }

    /// Runs reads, decisions and writes as one transaction, on every backend: see [`transaction`](mod@crate::transaction). The work
    /// is run again when another transaction was quicker, so it must have no other effects than those on the database.
    ///
    /// On a conflict it waits, at random within a time that doubles from 5 ms to 500 ms, and tries 10 times in all:
    /// [`TransactionOptions`]. Dropping the future between attempts leaves nothing behind, as nothing is locked.
    ///
    /// # Errors
    /// As [`transaction_with`](Self::transaction_with).
    async fn transaction<'a, T, E, F, Fut>(&'a self, work: F) -> Result<T, E>
    where
        T: Send,
        E: From<Error> + Send,
        F: Fn(Transaction<'a, Self>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        Ok(transaction::run(self, TransactionOptions::default(), work).await?.value)
    }

    /// [`transaction`](Self::transaction) with options, and with the results of the writes.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{QueryableExt, SqliteDatabase, Statement, TransactionOptions};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// db.run_script("CREATE TABLE numbers (n INTEGER PRIMARY KEY)").await?;
    /// let options = TransactionOptions::default().with_attempts(3);
    /// let committed = db
    ///     .transaction_with(options, |tx| async move {
    ///         let last: Option<i64> = tx.prepare("SELECT max(n) FROM numbers").one().await?;
    ///         let next = last.unwrap_or(0) + 1;
    ///         tx.write(Statement::new("INSERT INTO numbers VALUES (?) RETURNING n").bind(next))?;
    ///         Ok::<_, isobar_db::Error>(next)
    ///     })
    ///     .await?;
    /// assert_eq!((committed.value, committed.attempts), (1, 1));
    /// assert_eq!(committed.results[0].rows_as::<i64>()?, [1]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of the work; [`ErrorKind::Conflict`] when every attempt was overtaken; as [`Queryable::batch`] for the writes. Nothing
    /// is written then, except that one of kind [`Unavailable`](ErrorKind::Unavailable) from a remote database may have happened; it
    /// is not run again.
    async fn transaction_with<'a, T, E, F, Fut>(
        &'a self,
        options: TransactionOptions,
        work: F,
    ) -> Result<Committed<T>, E>
    where
        T: Send,
        E: From<Error> + Send,
        F: Fn(Transaction<'a, Self>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        transaction::run(self, options, work).await
    }
}

impl<D: Queryable + ?Sized> QueryableExt for D {}

/// A statement about to run on a database.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{ErrorKind, QueryableExt, SqliteDatabase};
///
/// let db = SqliteDatabase::memory().await?;
/// db.run_script("CREATE TABLE t (name TEXT, n INTEGER); INSERT INTO t VALUES ('a', 1), ('b', 2);").await?;
/// let above = |n: i64| db.prepare("SELECT name, n FROM t WHERE n > ? ORDER BY n").bind(n);
///
/// assert_eq!(above(0).all::<(String, i64)>().await?.len(), 2);
/// assert_eq!(above(0).first_column::<i64>("n").await?, Some(1));
/// assert_eq!(above(9).first::<String>().await?, None);
/// assert_eq!(above(9).one::<String>().await.unwrap_err().kind(), ErrorKind::Decode);
/// let (columns, rows) = above(1).raw().await?;
/// assert_eq!((columns, rows.len()), (vec!["name".to_owned(), "n".to_owned()], 1));
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
///
/// | method | without a row | with several rows |
/// |---|---|---|
/// | [`all`](Self::all) | an empty list | all |
/// | [`first`](Self::first) | `None` | the first; the others are read and dropped |
/// | [`one`](Self::one) | [`ErrorKind::Decode`] | the first |
/// | [`raw`](Self::raw) | the columns' names alone | all, as values |
/// | [`run`](Self::run) | `meta` | `meta` |
///
/// The whole result is in memory: put a `LIMIT` into statements that may have many rows, or read them by
/// [`page`](QueryableExt::page).
#[derive(Debug)]
#[must_use = "a statement does nothing until it is run"]
pub struct Prepared<'a, D: Queryable + ?Sized> {
    database: &'a D,
    statement: Statement,
}

impl<D: Queryable + ?Sized> Prepared<'_, D> {
    /// Binds the next parameter.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{QueryableExt, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// // A value is never read as SQL.
    /// let odd = "'; DROP TABLE users; --";
    /// assert_eq!(db.prepare("SELECT ?").bind(odd).one::<String>().await?, odd);
    /// # Ok(()) }
    /// ```
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.statement = self.statement.bind(value);
        self
    }

    /// Binds the next parameters.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{QueryableExt, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let sum: i64 = db.prepare("SELECT ? + ? + ?").bind_all([1, 2, 3]).one().await?;
    /// assert_eq!(sum, 6);
    /// # Ok(()) }
    /// ```
    pub fn bind_all<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.statement = self.statement.bind_all(values);
        self
    }

    /// Binds every parameter by its name: see [`Statement::bind_named`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{QueryableExt, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let full = db.prepare("SELECT :first || ' ' || :last").bind_named([("last", "Lovelace"), ("first", "Ada")])?;
    /// assert_eq!(full.one::<String>().await?, "Ada Lovelace");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Statement::bind_named`].
    pub fn bind_named<N: AsRef<str>, V: Into<Value>>(
        mut self,
        values: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self> {
        self.statement = self.statement.bind_named(values)?;
        Ok(self)
    }

    /// The statement, for a [`batch`](Queryable::batch).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{Queryable, QueryableExt, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let one = db.prepare("SELECT ?").bind(1).into_statement();
    /// let two = db.prepare("SELECT ?").bind(2).into_statement();
    /// assert_eq!(db.batch(vec![one, two]).await?.len(), 2);
    /// # Ok(()) }
    /// ```
    pub fn into_statement(self) -> Statement {
        self.statement
    }

    /// All rows as `T`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{QueryableExt, SqliteDatabase};
    ///
    /// #[derive(Debug, PartialEq, serde::Deserialize)]
    /// struct Point {
    ///     x: i64,
    ///     label: Option<String>,
    /// }
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let points: Vec<Point> = db.prepare("SELECT 1 AS x, NULL AS label UNION ALL SELECT 2, 'b'").all().await?;
    /// assert_eq!(points[0], Point { x: 1, label: None });
    /// assert_eq!(points[1].label.as_deref(), Some("b"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Queryable::query`] and [`FromRow::from_row`].
    pub async fn all<T: FromRow>(self) -> Result<Vec<T>> {
        self.database.query(self.statement.rows_only()).await?.into_rows_as()
    }

    /// The first row as `T`, or `None`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{QueryableExt, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// db.run_script("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES (1, 'Ada');").await?;
    /// let name = async |id: i64| db.prepare("SELECT name FROM users WHERE id = ?").bind(id).first::<String>().await;
    /// assert_eq!(name(1).await?.as_deref(), Some("Ada"));
    /// assert_eq!(name(2).await?, None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Queryable::query`] and [`FromRow::from_row`].
    pub async fn first<T: FromRow>(self) -> Result<Option<T>> {
        self.database.query(self.statement.rows_only()).await?.rows.first().map(T::from_row).transpose()
    }

    /// A column of the first row, or `None` where there is no row.
    ///
    /// Where several columns share the name, it is the last of them, as D1 collapses them.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{ErrorKind, QueryableExt, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let query = || db.prepare("SELECT 1 AS id, 'Ada' AS name");
    /// assert_eq!(query().first_column::<String>("name").await?.as_deref(), Some("Ada"));
    /// let error = query().first_column::<String>("email").await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::ColumnNotFound);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Queryable::query`]; [`ErrorKind::ColumnNotFound`], [`ErrorKind::Decode`].
    pub async fn first_column<T: FromValue>(self, column: &str) -> Result<Option<T>> {
        self.database.query(self.statement.rows_only()).await?.rows.first().map(|row: &Row| row.get(column)).transpose()
    }

    /// The rows as lists of values, duplicate columns kept; the columns' names beside them.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{QueryableExt, SqliteDatabase, Value};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let (columns, rows) = db.prepare("SELECT 1 AS id, 2 AS id").raw().await?;
    /// assert_eq!(columns, ["id", "id"], "a join may well have two");
    /// assert_eq!(rows, [[Value::Integer(1), Value::Integer(2)]]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Queryable::query`].
    pub async fn raw(self) -> Result<(Vec<String>, Vec<Vec<Value>>)> {
        let QueryResult { columns, rows, .. } = self.database.query(self.statement.rows_only()).await?;
        Ok((columns, rows.iter().map(|row| row.values().to_vec()).collect()))
    }

    /// Runs it for its effect.
    ///
    /// Rows that it yields are dropped; take [`all`](Self::all) for those of `RETURNING`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{QueryableExt, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// db.prepare("CREATE TABLE t (id INTEGER PRIMARY KEY, a)").run().await?;
    /// let id = db.prepare("INSERT INTO t (a) VALUES ('x')").run().await?.last_row_id;
    /// assert_eq!(id, Some(1));
    /// assert_eq!(db.prepare("UPDATE t SET a = 'y' WHERE id = 9").run().await?.changes, 0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Queryable::query`].
    pub async fn run(self) -> Result<Meta> {
        Ok(self.database.query(self.statement).await?.meta)
    }

    /// Exactly one row as `T`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{ErrorKind, QueryableExt, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let (least, most): (i64, i64) = db.prepare("SELECT min(n), max(n) FROM (SELECT 3 AS n UNION SELECT 9)").one().await?;
    /// assert_eq!((least, most), (3, 9));
    /// let none = db.prepare("SELECT 1 WHERE 0").one::<i64>().await.unwrap_err();
    /// assert_eq!(none.kind(), ErrorKind::Decode);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`first`](Self::first); [`ErrorKind::Decode`] where there is none.
    pub async fn one<T: FromRow>(self) -> Result<T> {
        let sql = self.statement.sql().to_owned();
        let missing = || Error::new(ErrorKind::Decode, "the query gave no row where one was expected").with_sql(&sql);
        self.first().await?.ok_or_else(missing)
    }
}
