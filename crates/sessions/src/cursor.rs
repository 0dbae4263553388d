//! The rows of a statement.

use std::collections::VecDeque;

use serde::de::DeserializeOwned;

use crate::{Error, ErrorKind, Result, Value};

/// Rows of a statement, from [`Sql::exec`](crate::Sql::exec). All of them are in memory: the statement has run to its end.
///
/// ```
/// use isobar_sessions::{Cursor, ErrorKind, Value};
///
/// let columns = vec!["name".to_owned(), "points".to_owned()];
/// let row = |name: &str, points| vec![Value::Text(name.to_owned()), Value::Integer(points)];
/// let mut cursor = Cursor::new(columns, vec![row("Ada", 3), row("Bob", 1)], None, None);
/// assert_eq!(cursor.next::<(String, i64)>()?, Some(("Ada".to_owned(), 3)));
/// assert_eq!(cursor.all::<(String, i64)>()?, [("Bob".to_owned(), 1)]);
///
/// // `one` is for exactly one row.
/// let none = Cursor::new(vec!["name".to_owned()], Vec::new(), None, None);
/// assert_eq!(none.one::<String>().unwrap_err().kind(), ErrorKind::Decode);
/// # Ok::<(), isobar_sessions::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Cursor {
    columns: Vec<String>,
    rows: VecDeque<Vec<Value>>,
    rows_read: Option<u64>,
    rows_written: Option<u64>,
}

impl Cursor {
    /// Creates a cursor, for hosts.
    #[must_use]
    pub fn new(columns: Vec<String>, rows: Vec<Vec<Value>>, rows_read: Option<u64>, rows_written: Option<u64>) -> Self {
        Self { columns, rows: rows.into(), rows_read, rows_written }
    }

    /// Returns the names of the columns in their order; two columns may have the same.
    #[must_use]
    pub fn column_names(&self) -> &[String] {
        &self.columns
    }

    /// Returns the number of rows read, as Durable Objects count them; `None` where the host does not: native ones count with feature
    /// `row-counts` alone.
    #[must_use]
    pub fn rows_read(&self) -> Option<u64> {
        self.rows_read
    }

    /// Returns the number of rows written; `None` where the host does not count them. Native hosts count entries of indexes, as
    /// Durable Objects do, with feature `row-counts` alone, and the changed rows without it.
    #[must_use]
    pub fn rows_written(&self) -> Option<u64> {
        self.rows_written
    }

    /// Returns the only row as `T`: a struct by the names of the columns, a tuple by their order, or the value of a single column.
    ///
    /// ```
    /// use isobar_sessions::{Cursor, Value};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Player {
    ///     name: String,
    ///     points: i64,
    /// }
    ///
    /// let columns = vec!["points".to_owned(), "name".to_owned()];
    /// let row = vec![Value::Integer(3), Value::Text("Ada".to_owned())];
    /// let player: Player = Cursor::new(columns, vec![row], None, None).one()?;
    /// assert_eq!((player.name.as_str(), player.points), ("Ada", 3));
    /// # Ok::<(), isobar_sessions::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when there is no row, or more than one, or the row is not a `T`.
    pub fn one<T: DeserializeOwned>(self) -> Result<T> {
        match self.rows.len() {
            1 => Ok(self.all()?.swap_remove(0)),
            0 => Err(decode("Expected exactly one result from SQL query, but got no results.")),
            _ => Err(decode("Expected exactly one result from SQL query, but got multiple results.")),
        }
    }

    /// Returns the remaining rows as `T`, as for [`one`](Self::one): Durable Objects' `toArray`.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when a row is not a `T`.
    pub fn all<T: DeserializeOwned>(self) -> Result<Vec<T>> {
        let Self { columns, rows, .. } = self;
        rows.into_iter().map(|row| take(&columns, &row)).collect()
    }

    /// Returns the remaining rows as values in the order of the columns.
    ///
    /// ```
    /// use isobar_sessions::{Cursor, Value};
    /// let cursor = Cursor::new(vec!["n".to_owned()], vec![vec![Value::Integer(1)], vec![Value::Null]], None, None);
    /// assert_eq!(cursor.column_names(), ["n"]);
    /// assert_eq!(cursor.raw(), [[Value::Integer(1)], [Value::Null]]);
    /// ```
    pub fn raw(self) -> Vec<Vec<Value>> {
        self.rows.into()
    }

    /// Returns the next row as `T`, as for [`one`](Self::one); `None` after the last.
    ///
    /// ```
    /// use isobar_sessions::{Cursor, Value};
    /// let mut cursor = Cursor::new(vec!["n".to_owned()], vec![vec![Value::Integer(1)], vec![Value::Integer(2)]], None, None);
    /// let mut sum = 0;
    /// while let Some(number) = cursor.next::<i64>()? {
    ///     sum += number;
    /// }
    /// assert_eq!(sum, 3);
    /// # Ok::<(), isobar_sessions::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when the value is not a `T`.
    #[allow(clippy::should_implement_trait, reason = "the name is Durable Objects'; the row's type is the caller's")]
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        self.rows.pop_front().map(|row| take(&self.columns, &row)).transpose()
    }
}

/// A row as `T`: by names where `T` has some; else its only column's value, or all in order.
///
/// Two tries, as serde does not say beforehand which form a type wants: as an object, then by order. The error is that of the
/// first, which names the field.
fn take<T: DeserializeOwned>(columns: &[String], row: &[Value]) -> Result<T> {
    let object = columns.iter().cloned().zip(row.iter().map(Value::to_json)).collect();
    let by_name = serde_json::from_value(serde_json::Value::Object(object));
    let error = match by_name {
        Ok(row) => return Ok(row),
        Err(error) => error,
    };
    let by_order = match row {
        [value] => value.to_json(),
        _ => row.iter().map(Value::to_json).collect(),
    };
    serde_json::from_value(by_order).map_err(|_| decode(&format!("a row of {columns:?}: {error}")))
}

fn decode(message: &str) -> Error {
    Error::new(ErrorKind::Decode, message)
}
