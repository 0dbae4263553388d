//! Statements: SQL and its bound parameters.
//!
//! A [`Statement`] is data: it belongs to no database, and is not prepared. Backends keep prepared statements by their text, so programs
//! gain nothing by holding one, and a statement that is cloned with other values costs what it copies: a `&'static str` is not copied.

use std::borrow::Cow;

use crate::{Error, ErrorKind, Result, Value, sql};

/// Bytes that a value counts for, besides the length of a text or blob, where the rows of a result have a bound.
#[cfg(any(
    feature = "cloudflare-binding",
    all(
        any(feature = "cloudflare-http", feature = "memory", feature = "local", feature = "postgres"),
        not(target_arch = "wasm32")
    )
))]
pub(crate) const VALUE_COUNTS: usize = 32;

/// D1's words for too few values and for too many.
pub(crate) const WRONG_BINDINGS: &str = "Wrong number of parameter bindings for SQL query.";

/// Returns the statements of D1's `exec`: one on each line that is neither empty nor a comment.
#[cfg(all(any(feature = "memory", feature = "local", feature = "postgres"), not(target_arch = "wasm32")))]
pub(crate) fn of_lines(script: &str) -> Vec<Statement> {
    let lines = script.trim().lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("--"));
    lines.map(|line| Statement::new(line.to_owned())).collect()
}

/// SQL with its bound parameters: `?`, `?N`, or names, which D1 fills by position.
///
/// As in D1, the SQL may hold several statements; the parameters belong to the last, and so do the rows.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{Database, Queryable, SqliteDatabase, Statement};
///
/// let db = SqliteDatabase::memory().await?;
/// db.exec("CREATE TABLE users (name TEXT, age INTEGER)").await?;
/// let insert = Statement::new("INSERT INTO users VALUES (?, ?)");
/// db.batch(vec![insert.clone().bind("Ada").bind(36), insert.bind("Alan").bind(41)]).await?;
///
/// let older = Statement::new("SELECT name FROM users WHERE age > ?").bind(40).rows_only();
/// assert_eq!(db.query(older).await?.rows_as::<String>()?, ["Alan"]);
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
///
/// Values belong into parameters, never into the text: there they cannot be mistaken for SQL. Names of tables and columns cannot be
/// parameters; [`sql::quoted`](crate::sql::quoted) writes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    sql: Cow<'static, str>,
    parameters: Vec<Value>,
    rows_only: bool,
    read_only: bool,
    result_bytes: Option<usize>,
}

impl Statement {
    /// A statement without parameters yet.
    ///
    /// ```
    /// use isobar_db::{Statement, sql};
    ///
    /// let table = "order"; // a keyword of SQL
    /// let statement = Statement::new(format!("SELECT count(*) FROM {}", sql::quoted(table)));
    /// assert_eq!(statement.sql(), "SELECT count(*) FROM \"order\"");
    /// assert_eq!(Statement::from("SELECT 1"), Statement::new("SELECT 1"));
    /// ```
    pub fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self { sql: sql.into(), parameters: Vec::new(), rows_only: false, read_only: false, result_bytes: None }
    }

    /// Binds the next parameter.
    ///
    /// ```
    /// use isobar_db::{Statement, Value};
    ///
    /// let statement = Statement::new("INSERT INTO t VALUES (?, ?, ?)").bind(7).bind("Ada").bind(None::<f64>);
    /// assert_eq!(statement.parameters(), [Value::Integer(7), "Ada".into(), Value::Null]);
    /// ```
    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.parameters.push(value.into());
        self
    }

    /// Binds the next parameters.
    ///
    /// Their number is checked when the statement is run: [`ErrorKind::Sql`], `Wrong number of parameter bindings for SQL query.`
    ///
    /// ```
    /// use isobar_db::Statement;
    ///
    /// let ids = [3_i64, 5, 8];
    /// let marks = vec!["?"; ids.len()].join(", ");
    /// let statement = Statement::new(format!("DELETE FROM t WHERE id IN ({marks})")).bind_all(ids);
    /// assert_eq!((statement.sql(), statement.parameters().len()), ("DELETE FROM t WHERE id IN (?, ?, ?)", 3));
    /// ```
    #[must_use]
    pub fn bind_all<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.parameters.extend(values.into_iter().map(Into::into));
        self
    }

    /// Binds every parameter of the last statement by its name, without the `:`, `@` or `$` before it. D1 knows no names and takes
    /// values by position: the names are resolved here, and the SQL is left as it is. [`params!`](crate::params) writes the list.
    ///
    /// ```
    /// use isobar_db::{Statement, Value, params};
    ///
    /// let statement = Statement::new("UPDATE users SET name = :name WHERE id = :id OR name = :name");
    /// let statement = statement.bind_named(params! { id: 7, name: "Ada" })?;
    /// assert_eq!(statement.parameters(), [Value::from("Ada"), Value::from(7)]);
    ///
    /// let error = Statement::new("SELECT :a").bind_named(params! { b: 1 }).unwrap_err();
    /// assert_eq!(error.message(), "no value is given for the parameter :a");
    /// # Ok::<(), isobar_db::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Sql`] for a parameter without a value, one without a name, a value that no parameter has, and one that is given
    /// twice.
    pub fn bind_named<N: AsRef<str>, V: Into<Value>>(
        mut self,
        values: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self> {
        let wrong = |message: String, sql: &str| Err(Error::new(ErrorKind::Sql, message).with_sql(sql));
        let mut given: Vec<(String, Value)> = Vec::new();
        for (name, value) in values {
            let name = name.as_ref();
            if given.iter().any(|(other, _)| other == name) {
                return wrong(format!("the parameter {name} is given twice"), &self.sql);
            }
            given.push((name.to_owned(), value.into()));
        }
        let mut parameters = Vec::new();
        for (index, name) in sql::parameter_names(sql::split(&self.sql).last().unwrap_or_default()).iter().enumerate() {
            let Some(name) = name else {
                return wrong(format!("parameter {} has no name: bind it by position", index + 1), &self.sql);
            };
            // `:a` and `@a` are two parameters, which take the same value.
            match given.iter().position(|(other, _)| *other == name[1..]) {
                Some(found) => parameters.push(found),
                None => return wrong(format!("no value is given for the parameter {name}"), &self.sql),
            }
        }
        if let Some(unused) = (0..given.len()).find(|index| !parameters.contains(index)) {
            return wrong(format!("the statement has no parameter {}", given[unused].0), &self.sql);
        }
        self.parameters = parameters.iter().map(|found| given[*found].1.clone()).collect();
        Ok(self)
    }

    /// Marks the result's [`Meta`](crate::Meta) as not needed: a backend may leave it out, as D1's `raw` does.
    ///
    /// [`Prepared`](crate::Prepared) sets it for `all`, `first`, `one` and `raw`. The binding of D1 answers such a request with columns as they
    /// are, duplicates and all; the local backend answers with `meta` all the same.
    ///
    /// ```
    /// use isobar_db::{QueryableExt, Statement};
    ///
    /// let statement = Statement::new("SELECT name FROM users").rows_only();
    /// assert!(statement.is_rows_only() && !statement.is_read_only());
    /// assert_eq!(statement.result_bytes(), None);
    /// ```
    #[must_use]
    pub fn rows_only(mut self) -> Self {
        self.rows_only = true;
        self
    }

    /// Returns whether only rows are needed: for backends.
    #[must_use]
    pub fn is_rows_only(&self) -> bool {
        self.rows_only
    }

    /// Forbids the statement to write: for SQL of others, who may read. One that would write is refused with
    /// [`ErrorKind::NotAuthorized`], and so is a PRAGMA that sets something.
    ///
    /// The local backend has SQLite enforce it, whatever the words say. D1 has nothing of the kind: its backends judge by the words of the
    /// SQL ([`sql::is_read`](crate::sql::is_read)) before they send it, and a view over `pragma_optimize` gets past them.
    ///
    /// ```
    /// # #[cfg(feature = "memory")]
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{Database, ErrorKind, Queryable, SqliteDatabase, Statement};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// db.exec("CREATE TABLE users (name TEXT)").await?;
    /// db.query(Statement::new("SELECT name FROM users").read_only()).await?;
    /// let error = db.query(Statement::new("DELETE FROM users").read_only()).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotAuthorized);
    /// # Ok(()) }
    /// # #[cfg(not(feature = "memory"))] fn main() {}
    /// ```
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Returns whether the statement may not write: for backends.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Sets the most bytes that the rows may take: 32 for each value, and the length of each text and blob, together with the rows of
    /// earlier statements of the batch that have such a limit. Default: none. Beyond it the call fails with [`ErrorKind::TooBig`].
    ///
    /// The local backend counts while it reads, keeps no more, and has written nothing when it fails. D1's backends have the whole answer
    /// when they count, and what the call has written is written.
    ///
    /// ```
    /// # #[cfg(feature = "memory")]
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{ErrorKind, Queryable, SqliteDatabase, Statement};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let select = Statement::new("SELECT zeroblob(1000)");
    /// db.query(select.clone().with_result_bytes(1032)).await?;
    /// let error = db.query(select.with_result_bytes(1031)).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TooBig);
    /// # Ok(()) }
    /// # #[cfg(not(feature = "memory"))] fn main() {}
    /// ```
    #[must_use]
    pub fn with_result_bytes(mut self, bytes: usize) -> Self {
        self.result_bytes = Some(bytes);
        self
    }

    /// Returns the most bytes of the rows: for backends.
    #[must_use]
    pub fn result_bytes(&self) -> Option<usize> {
        self.result_bytes
    }

    /// Returns a statement that does the same in other words: what holds for this one holds for it.
    ///
    /// Its bounds are kept, so a helper that wraps a statement (a page, a read of a transaction) does not lose `read_only` on the way.
    pub(crate) fn rewritten(&self, sql: String, parameters: Vec<Value>) -> Self {
        let Self { rows_only, read_only, result_bytes, .. } = *self;
        Self { sql: sql.into(), parameters, rows_only, read_only, result_bytes }
    }

    /// The SQL.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// The bound parameters.
    #[must_use]
    pub fn parameters(&self) -> &[Value] {
        &self.parameters
    }
}

impl<S: Into<Cow<'static, str>>> From<S> for Statement {
    fn from(sql: S) -> Self {
        Self::new(sql)
    }
}

/// A list of names and values, for [`Statement::bind_named`].
///
/// ```
/// use isobar_db::{QueryableExt, SqliteDatabase, params};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// let db = SqliteDatabase::memory().await?;
/// let sum = db.prepare("SELECT :a + :b + :a").bind_named(params! { a: 1, b: 40 })?;
/// assert_eq!(sum.one::<i64>().await?, 42);
/// # Ok(()) }
/// ```
///
/// Values are converted one by one by [`Value::from`](crate::Value), so they may be of different types.
#[macro_export]
macro_rules! params {
    ($($name:ident: $value:expr),* $(,)?) => {
        [$((stringify!($name), $crate::Value::from($value))),*]
    };
}
