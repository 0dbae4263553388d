//! Pages by keyset: each begins after the last row of the one before, however many rows there are.
//!
//! `OFFSET` reads and throws away every row before the page, and shows rows twice or not at all where others are inserted meanwhile. A
//! [`Keyset`] instead asks for the rows behind the last one that was seen, by the values of its keys, which an index finds at once.
//!
//! For keys `a, b` the page behind `(1, 2)` has the condition `(a >= ?1) AND (a > ?1 OR (b > ?2))`: the bound on the first key stands
//! alone, since SQLite's planner uses it for the index; row values, `(a, b) > (?1, ?2)`, could not express keys of different directions. One row more than the
//! page is read, and shows whether another page follows.
//!
//! The user's statement stands within another one, as a subquery with its parameters numbered; its own order would be lost there.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::{Error, ErrorKind, FromRow, Queryable, Result, Row, Statement, Value, sql};

/// Order of the rows of a list, by columns of its query. The last one, or all together, must be unique.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::page::{Cursor, Keyset};
/// use isobar_db::{QueryableExt, SqliteDatabase, Statement};
///
/// let db = SqliteDatabase::memory().await?;
/// db.run_script("CREATE TABLE posts (id INTEGER PRIMARY KEY, at TEXT NOT NULL, title TEXT);
///     INSERT INTO posts (at, title) VALUES ('2026-01-01', 'a'), ('2026-01-02', 'b'), ('2026-01-02', 'c'), ('2026-01-03', 'd');").await?;
///
/// let order = Keyset::new().descending("at").not_null().ascending("id").not_null();
/// let posts = || Statement::new("SELECT id, at, title FROM posts WHERE id > ?").bind(0);
/// let first = db.page::<(i64, String, String)>(posts(), &order, 3, None).await?;
/// assert_eq!(first.rows.iter().map(|row| row.2.as_str()).collect::<Vec<_>>(), ["d", "b", "c"]);
///
/// // The cursor is text for a URL.
/// let cursor: Cursor = first.next.expect("there is another page").to_string().parse()?;
/// let last = db.page::<(i64, String, String)>(posts(), &order, 3, Some(&cursor)).await?;
/// assert_eq!((last.rows[0].2.as_str(), last.next), ("a", None));
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
///
/// Where the keys are not unique, rows with equal keys on both sides of a page's end are left out. Add the primary key as the last
/// one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keyset {
    keys: Vec<Key>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    column: String,
    is_descending: bool,
    is_not_null: bool,
}

/// A page of a list.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::page::Keyset;
/// use isobar_db::{QueryableExt, SqliteDatabase, Statement};
///
/// let db = SqliteDatabase::memory().await?;
/// db.run_script("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (2), (3), (4), (5);").await?;
/// let order = Keyset::new().ascending("id").not_null();
/// let mut seen = Vec::new();
/// let mut after = None;
/// loop {
///     let page = db.page::<i64>(Statement::new("SELECT id FROM t"), &order, 2, after.as_ref()).await?;
///     seen.extend(page.rows);
///     after = page.next;
///     if after.is_none() {
///         break;
///     }
/// }
/// assert_eq!(seen, [1, 2, 3, 4, 5]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Page<T> {
    /// The rows, at most as many as were asked for.
    pub rows: Vec<T>,
    /// The cursor of the next page; `None` after the last row.
    pub next: Option<Cursor>,
}

/// A place in a list, behind a row: the row's keys. As text it is URL-safe base64; it is not signed, and shows the keys' values.
///
/// A client can make one that points anywhere in its list, and no further: the query and its own conditions stay the server's. Where the
/// keys' values are secrets, seal the cursor before it goes out.
///
/// ```
/// use isobar_db::ErrorKind;
/// use isobar_db::page::Cursor;
///
/// let wrong = "not a cursor".parse::<Cursor>().unwrap_err();
/// assert_eq!(wrong.kind(), ErrorKind::Decode); // a client's mistake: 400
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    values: Vec<Value>,
}

impl Keyset {
    /// An order by nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column, smallest first; NULL comes before all values, as in SQLite.
    #[must_use]
    pub fn ascending(self, column: impl Into<String>) -> Self {
        self.with(column.into(), false)
    }

    /// Adds a column, greatest first; NULL comes last.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::page::Keyset;
    /// use isobar_db::{QueryableExt, SqliteDatabase, Statement};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// db.run_script("CREATE TABLE t (id INTEGER PRIMARY KEY, at TEXT); INSERT INTO t VALUES (1, 'x'), (2, NULL), (3, 'y');").await?;
    /// let newest = Keyset::new().descending("at").ascending("id");
    /// let page = db.page::<i64>(Statement::new("SELECT id, at FROM t"), &newest, 10, None).await?;
    /// assert_eq!(page.rows, [3, 1, 2], "NULL is last");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn descending(self, column: impl Into<String>) -> Self {
        self.with(column.into(), true)
    }

    /// Declares that the column that was added last is never NULL, so that an index on the keys finds the page at once; without it a
    /// descending page passes over the rows before it.
    ///
    /// A row whose key is NULL all the same ends its page with [`ErrorKind::Decode`], where that row is the page's last one.
    #[must_use]
    pub fn not_null(mut self) -> Self {
        if let Some(last) = self.keys.last_mut() {
            last.is_not_null = true;
        }
        self
    }

    fn with(mut self, column: String, is_descending: bool) -> Self {
        self.keys.push(Key { column, is_descending, is_not_null: false });
        self
    }

    /// The statement of a page, with one row more than the page has.
    ///
    /// `LIMIT` is the page's rows and one more. The cursor's values are bound behind the query's own parameters, which keep their numbers.
    fn statement(&self, query: &Statement, limit: u32, after: Option<&Cursor>) -> Result<Statement> {
        let mut statements = sql::split(query.sql());
        let (Some(only), None) = (statements.next(), statements.next()) else {
            return Err(Error::new(ErrorKind::Sql, "a page is of exactly one statement").with_sql(query.sql()));
        };
        if self.keys.is_empty() {
            return Err(Error::new(ErrorKind::Sql, "a page needs an order: add a column to the keyset"));
        }
        let (numbered, count) = sql::number_parameters(only);
        let mut parameters = query.parameters().to_vec();
        if parameters.len() != count {
            let message = crate::statement::WRONG_BINDINGS;
            return Err(Error::new(ErrorKind::Sql, message).with_sql(query.sql()));
        }
        let condition = match after {
            Some(cursor) if cursor.values.len() != self.keys.len() => {
                return Err(Error::new(ErrorKind::Decode, "the cursor is one of a list with another order"));
            }
            Some(cursor) => format!("WHERE {} ", follows(&self.keys, &cursor.values, &mut parameters)),
            None => String::new(),
        };
        let order: Vec<_> = self
            .keys
            .iter()
            .map(|key| format!("{}{}", key.name(), if key.is_descending { " DESC" } else { "" }))
            .collect();
        let limit = u64::from(limit) + 1;
        let sql = format!(
            "SELECT * FROM ({}) AS page {condition}ORDER BY {} LIMIT {limit}",
            sql::closed(&numbered),
            order.join(", ")
        );
        Ok(query.rewritten(sql, parameters).rows_only())
    }

    /// The keys are read from the row by name: the query has to yield them under the names of the order.
    fn cursor(&self, row: &Row) -> Result<Cursor> {
        let values = self.keys.iter().map(|key| match row.get(&key.column)? {
            Value::Null if key.is_not_null => Err(Error::new(
                ErrorKind::Decode,
                format!("column {}: NULL, where the keyset says not_null", key.column),
            )),
            value => Ok(value),
        });
        Ok(Cursor { values: values.collect::<Result<_>>()? })
    }
}

impl Key {
    // Qualified, as SQLite would take an unknown quoted name for a text.
    fn name(&self) -> String {
        format!("page.{}", sql::quoted(&self.column))
    }
}

/// The condition of the rows behind these values. A bound on the first key comes first, for the index.
///
/// Recursive over the keys: behind the values means beyond the first key's, or equal in it and behind in the others. NULL counts as the
/// smallest, so for `ascending` everything follows it, and for `descending` nothing but ties.
fn follows(keys: &[Key], values: &[Value], parameters: &mut Vec<Value>) -> String {
    let ([key, later @ ..], [value, rest @ ..]) = (keys, values) else { return "0".to_owned() };
    let name = key.name();
    let number = parameters.len() + 1;
    if *value != Value::Null {
        parameters.push(value.clone());
    }
    let rest = (!later.is_empty()).then(|| follows(later, rest, parameters));
    let or_null = if key.is_descending && !key.is_not_null { format!(" OR {name} IS NULL") } else { String::new() };
    let sign = if key.is_descending { '<' } else { '>' };
    match (value, key.is_descending, rest) {
        (Value::Null, false, None) => format!("{name} IS NOT NULL"),
        (Value::Null, false, Some(rest)) => format!("({name} IS NOT NULL OR ({rest}))"),
        (Value::Null, true, None) => "0".to_owned(),
        (Value::Null, true, Some(rest)) => format!("({name} IS NULL AND ({rest}))"),
        (_, _, None) => format!("({name} {sign} ?{number}{or_null})"),
        (_, _, Some(rest)) => {
            format!("({name} {sign}= ?{number}{or_null}) AND ({name} {sign} ?{number}{or_null} OR ({rest}))")
        }
    }
}

/// Reads a page: see [`QueryableExt::page`](crate::QueryableExt::page).
pub(crate) async fn read<D: Queryable + ?Sized, T: FromRow>(
    database: &D,
    query: &Statement,
    order: &Keyset,
    limit: u32,
    after: Option<&Cursor>,
) -> Result<Page<T>> {
    let mut rows = database.query(order.statement(query, limit, after)?).await?.rows;
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| has_more).map(|last| order.cursor(last)).transpose()?;
    Ok(Page { rows: rows.iter().map(T::from_row).collect::<Result<_>>()?, next })
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |value: &Value| match value {
            Value::Null => "n".to_owned(),
            Value::Integer(integer) => format!("i{integer}"),
            Value::Real(real) => format!("r{:016x}", real.to_bits()),
            Value::Text(text) => format!("t{text}"),
            Value::Blob(bytes) => format!("b{}", URL_SAFE_NO_PAD.encode(bytes)),
        };
        let parts: Vec<_> = self.values.iter().map(part).collect();
        let text = serde_json::to_vec(&parts).map_err(|_| fmt::Error)?;
        f.write_str(&URL_SAFE_NO_PAD.encode(text))
    }
}

impl FromStr for Cursor {
    type Err = Error;

    /// Reads a cursor's text.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] for any other text.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::new(ErrorKind::Decode, "the text is not a page's cursor");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
        let parts: Vec<String> = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        let value = |part: &String| {
            let kind = part.chars().next()?;
            let rest = &part[kind.len_utf8()..];
            Some(match kind {
                'n' if rest.is_empty() => Value::Null,
                'i' => Value::Integer(rest.parse().ok()?),
                'r' => Value::Real(f64::from_bits(u64::from_str_radix(rest, 16).ok()?)),
                't' => Value::Text(rest.to_owned()),
                'b' => Value::Blob(URL_SAFE_NO_PAD.decode(rest).ok()?.into()),
                _ => return None,
            })
        };
        let values: Option<Vec<Value>> = parts.iter().map(value).collect();
        Ok(Self { values: values.ok_or_else(wrong)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_round_trip_as_text() {
        let cursor = Cursor {
            values: vec![
                Value::Null,
                Value::Integer(i64::MIN),
                Value::Real(-0.1),
                Value::Text("a'\0\u{e9}".into()),
                Value::Blob(vec![0, 255].into()),
            ],
        };
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        for text in ["", "!", "e30", "WyJ4Il0", "WyJpIl0", "WyIiXQ"] {
            assert_eq!(text.parse::<Cursor>().unwrap_err().kind(), ErrorKind::Decode, "{text}");
        }
    }

    #[test]
    fn a_page_without_order_or_of_two_statements_is_refused() {
        let order = Keyset::new().ascending("id");
        for (order, sql) in [(&Keyset::new(), "SELECT 1"), (&order, "SELECT 1; SELECT 2"), (&order, "SELECT ?")] {
            assert_eq!(order.statement(&Statement::new(sql), 1, None).unwrap_err().kind(), ErrorKind::Sql, "{sql}");
        }
        let other = Cursor { values: Vec::new() };
        let error = order.statement(&Statement::new("SELECT 1"), 1, Some(&other)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
    }
}
