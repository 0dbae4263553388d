//! Statements: SQL and its bound parameters.

use std::borrow::Cow;

use crate::Value;

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
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    sql: Cow<'static, str>,
    parameters: Vec<Value>,
    rows_only: bool,
}

impl Statement {
    /// A statement without parameters yet.
    pub fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self { sql: sql.into(), parameters: Vec::new(), rows_only: false }
    }

    /// Binds the next parameter.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.parameters.push(value.into());
        self
    }

    /// Binds the next parameters.
    #[must_use]
    pub fn bind_all<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.parameters.extend(values.into_iter().map(Into::into));
        self
    }

    /// Marks the result's [`Meta`](crate::Meta) as not needed: a backend may leave it out, as D1's `raw` does.
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
