//! Many rows in one atomic batch, within D1's limits.
//!
//! A statement for each row would be correct and slow, as each is sent, prepared and run by itself. One statement for all rows would be over its limits. So
//! rows are grouped, as many as both limits allow, and groups of equal size have the same SQL, which a backend prepares once.

use std::borrow::Cow;

use crate::limits::{PARAMETERS, SQL_BYTES};
use crate::{Error, ErrorKind, Result, Statement, Value, sql};

/// Bytes that a placeholder takes at most, with the conversion that D1's backends put around it.
///
/// An integer's placeholder becomes `+CAST(? AS INTEGER)` on its way through D1's binding; the number leaves room for longer forms.
const PLACEHOLDER: usize = 24;

/// Rows for a table, for [`QueryableExt::insert_all`](crate::QueryableExt::insert_all): they are split into as few statements as
/// D1's limits of 100 parameters and 100,000 bytes of SQL allow, which run as one batch, all or nothing.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{BulkInsert, QueryableExt, SqliteDatabase, Value};
///
/// let db = SqliteDatabase::memory().await?;
/// db.run_script("CREATE TABLE squares (n INTEGER PRIMARY KEY, square INTEGER, note TEXT)").await?;
/// let mut rows = BulkInsert::new("squares", ["n", "square", "note"]);
/// for n in 0..250_i64 {
///     rows.push([n.into(), (n * n).into(), Value::Null])?;
/// }
/// assert_eq!(rows.clone().into_statements()?.len(), 8, "33 rows of 3 parameters each");
/// assert_eq!(db.insert_all(rows).await?, 250);
///
/// // The same keys once more.
/// let mut again = BulkInsert::new("squares", ["n", "note"]).with_suffix("ON CONFLICT (n) DO UPDATE SET note = excluded.note");
/// again.push([7.into(), "seven".into()])?;
/// db.insert_all(again).await?;
/// assert_eq!(db.prepare("SELECT note FROM squares WHERE n = 7").one::<String>().await?, "seven");
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
///
/// Rows per statement: `100 / columns`, or less where names are so long that the text would be over 100,000 bytes. All rows are in memory
/// until they are sent; D1 itself bounds a batch by its time limit of 30 s, so insert very many rows in several calls.
#[derive(Debug, Clone, PartialEq)]
pub struct BulkInsert {
    table: String,
    columns: Vec<String>,
    suffix: Cow<'static, str>,
    values: Vec<Value>,
}

impl BulkInsert {
    /// No rows yet, for these columns of a table. Names are quoted.
    pub fn new(table: impl Into<String>, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { table: table.into(), columns, suffix: Cow::Borrowed(""), values: Vec::new() }
    }

    /// SQL behind the values: `ON CONFLICT ... DO ...`. It has no parameters.
    ///
    /// It stands behind each of the statements. A `RETURNING` there runs and its rows are dropped by
    /// [`insert_all`](crate::QueryableExt::insert_all); take [`into_statements`](Self::into_statements) for them.
    #[must_use]
    pub fn with_suffix(mut self, suffix: impl Into<Cow<'static, str>>) -> Self {
        self.suffix = suffix.into();
        self
    }

    /// Adds a row: a value for each column.
    ///
    /// ```
    /// use isobar_db::BulkInsert;
    ///
    /// let mut rows = BulkInsert::new("users", ["id", "name"]);
    /// rows.push([1.into(), "Ada".into()])?;
    /// let error = rows.push([2.into()]).unwrap_err();
    /// assert_eq!(error.message(), "row 2 for the table users has 1 values for 2 columns");
    /// assert_eq!(rows.len(), 1);
    /// # Ok::<(), isobar_db::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Sql`] for more or fewer values than columns, with the row's number; nothing is added then.
    pub fn push(&mut self, row: impl IntoIterator<Item = Value>) -> Result<()> {
        let before = self.values.len();
        self.values.extend(row);
        let count = self.values.len() - before;
        if count != self.columns.len() || count == 0 {
            self.values.truncate(before);
            let message = format!(
                "row {} for the table {} has {count} values for {} columns",
                self.len() + 1,
                self.table,
                self.columns.len()
            );
            return Err(Error::new(ErrorKind::Sql, message));
        }
        Ok(())
    }

    /// Returns the number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.columns.len().max(1)
    }

    /// Returns whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The statements, in the order of the rows; none where there is no row.
    ///
    /// ```
    /// use isobar_db::BulkInsert;
    ///
    /// let mut rows = BulkInsert::new("t", ["a"]);
    /// for number in 0..150_i64 {
    ///     rows.push([number.into()])?;
    /// }
    /// let statements = rows.into_statements()?; // for a batch with other statements
    /// assert_eq!(statements.iter().map(|one| one.parameters().len()).sum::<usize>(), 150);
    /// assert_eq!(statements.len(), 2);
    /// # Ok::<(), isobar_db::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::TooBig`] where not even one row is within the limits: more than 100 columns, or too long a suffix.
    pub fn into_statements(self) -> Result<Vec<Statement>> {
        let columns: Vec<_> = self.columns.iter().map(|column| sql::quoted(column)).collect();
        let head = format!("INSERT INTO {} ({}) VALUES ", sql::quoted(&self.table), columns.join(", "));
        let row_bytes = columns.len() * (PLACEHOLDER + 2) + 4;
        let room = SQL_BYTES.saturating_sub(head.len() + self.suffix.len() + 1) / row_bytes;
        let rows = room.min(PARAMETERS.checked_div(columns.len()).unwrap_or_default());
        if rows == 0 {
            let message = format!(
                "a row of {} columns for the table {} is over D1's limits: {PARAMETERS} parameters and {SQL_BYTES} bytes of SQL",
                columns.len(),
                self.table
            );
            return Err(Error::new(ErrorKind::TooBig, message));
        }
        let row = format!("({})", vec!["?"; columns.len()].join(", "));
        let width = columns.len();
        let mut values = self.values.into_iter().peekable();
        let mut statements = Vec::new();
        while values.peek().is_some() {
            let some: Vec<_> = values.by_ref().take(rows * width).collect();
            let marks = vec![row.as_str(); some.len() / width].join(", ");
            statements
                .push(Statement::new(format!("{head}{marks} {}", self.suffix).trim_end().to_owned()).bind_all(some));
        }
        Ok(statements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(columns: usize, rows: usize) -> BulkInsert {
        let mut bulk = BulkInsert::new("t", (0..columns).map(|column| format!("c{column}")));
        for _ in 0..rows {
            bulk.push(vec![Value::Null; columns]).unwrap();
        }
        bulk
    }

    #[test]
    fn statements_have_at_most_a_hundred_parameters() {
        let parameters = |bulk: BulkInsert| {
            let statements = bulk.into_statements().unwrap();
            statements.iter().map(|statement| statement.parameters().len()).collect::<Vec<_>>()
        };
        assert_eq!(parameters(rows(1, 250)), [100, 100, 50]);
        assert_eq!(parameters(rows(7, 15)), [98, 7]);
        assert_eq!(parameters(rows(100, 2)), [100, 100]);
        assert!(parameters(rows(3, 0)).is_empty());
    }

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        assert_eq!(rows(101, 1).into_statements().unwrap_err().kind(), ErrorKind::TooBig);
        let long = rows(1, 1).with_suffix(" ".repeat(SQL_BYTES));
        assert_eq!(long.into_statements().unwrap_err().kind(), ErrorKind::TooBig);
        let mut bulk = rows(2, 3);
        let error = bulk.push([Value::Null]).unwrap_err();
        assert_eq!(error.message(), "row 4 for the table t has 1 values for 2 columns");
        assert_eq!(bulk.len(), 3);
    }

    #[test]
    fn statements_are_within_the_limit_of_bytes() {
        let name = "n".repeat(2000);
        let mut bulk = BulkInsert::new("t", (0..40).map(|column| format!("{name}{column}")));
        for _ in 0..9 {
            bulk.push(vec![Value::Null; 40]).unwrap();
        }
        let statements = bulk.into_statements().unwrap();
        assert!(statements.iter().all(|statement| statement.sql().len() <= SQL_BYTES));
    }
}
