//! The answer of a query.
//!
//! The local executor hands over its columns as they are; other executors, and tests, give rows. Both are read by row and column, and written
//! by the same code ([`Answer::to_bytes`], feature `query`) in the bytes of ClickHouse's formats.

#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
mod write;

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};

use crate::query::Type;
#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
use crate::query::vector::{Scalar, Vector};
#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
use crate::query::{format, time};
use crate::{Damage, Error, ErrorKind, Result};

/// The rows of a query. Feature `query` writes them as text: `Answer::to_bytes`.
///
/// ```
/// # #[cfg(all(feature = "memory", feature = "query"))] { (|| {
/// use isobar_analytics::query::{Analytics, Format, MemoryDatasets, Query, Value};
///
/// let analytics = Analytics::new(MemoryDatasets::new());
/// let answer = analytics.run(&Query::new("SELECT 1 + 1 AS two, 'a' AS text"))?;
/// assert_eq!(answer.columns()[0].name, "two");
/// assert_eq!(answer.value(0, 0), Value::UInt(2));
/// assert_eq!(answer.to_bytes(Format::JsonEachRow), b"{\"two\":2,\"text\":\"a\"}\n");
/// # Ok::<(), isobar_analytics::Error>(()) })().unwrap(); }
/// ```
///
/// All of it is in memory. Two columns may have one name, as the SQL allows it.
#[derive(Debug, Clone)]
pub struct Answer {
    pub(super) columns: Vec<AnswerColumn>,
    pub(super) values: Values,
    pub(super) rows: usize,
    pub(super) rows_before_limit_at_least: Option<u64>,
    pub(super) format: Option<Format>,
    pub(super) stats: QueryStats,
}

/// The values of an answer, by column.
#[derive(Debug, Clone)]
pub(super) enum Values {
    Plain(Vec<Vec<Value>>),
    /// As the local executor has them.
    #[cfg(all(feature = "query", not(target_arch = "wasm32")))]
    Vectors(Vec<Vector>),
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AnswerColumn {
    /// The alias, or the expression as ClickHouse writes it: `plus(double1, 1)`.
    pub name: String,
    /// The type of its values.
    pub ty: Type,
}

/// The work of a query, and what it has come across.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueryStats {
    /// Number of rows that were read from datasets.
    ///
    /// Rows of a scan before the filter, and after segments were left out by the query's bounds. 0 where the executor does not know.
    pub rows_read: u64,
    /// Number of segments that were read, where the source counts them.
    pub segments_read: u64,
    /// Number of segments that the query's bounds have excluded unread, where the source counts them.
    pub segments_pruned: u64,
    /// Damaged data that was skipped: the answer is without it.
    ///
    /// None where the executor does not know.
    pub damage: Damage,
}

#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
impl QueryStats {
    /// Adds the work of another part of a query.
    pub(super) fn merge(&mut self, other: Self) {
        let Self { rows_read, segments_read, segments_pruned, damage } = other;
        self.rows_read += rows_read;
        self.segments_read += segments_read;
        self.segments_pruned += segments_pruned;
        self.damage.merge(damage);
    }
}

/// A value of an answer.
///
/// There is no NULL: see the module `query::reference`, "Types".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// An unsigned integer of 8 to 64 bits.
    UInt(u64),
    /// A signed integer of 8 to 64 bits, or the number of units of an interval.
    Int(i64),
    /// A 64-bit float.
    Float(f64),
    /// A text; may be any bytes.
    String(Bytes),
    /// A date.
    Date(NaiveDate),
    /// A time, in seconds.
    DateTime(DateTime<Utc>),
    /// An array.
    Array(Vec<Value>),
}

impl Answer {
    /// Creates an answer of these rows: for executors of other systems, and for tests.
    ///
    /// ```
    /// use isobar_analytics::query::{Answer, Type, Value};
    ///
    /// let columns = [("route", Type::String), ("requests", Type::UInt64)];
    /// let answer = Answer::from_rows(columns, [vec![Value::String("/home".into()), Value::UInt(3)]])?;
    /// assert_eq!(answer.column("requests").map(|column| answer.value(0, column)), Some(Value::UInt(3)));
    /// # Ok::<(), isobar_analytics::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] where a row has another number of values than there are columns, or a value is not of its column's type.
    pub fn from_rows<N: Into<String>>(
        columns: impl IntoIterator<Item = (N, Type)>,
        rows: impl IntoIterator<Item = Vec<Value>>,
    ) -> Result<Self> {
        let columns = columns.into_iter().map(|(name, ty)| AnswerColumn { name: name.into(), ty });
        let columns: Vec<AnswerColumn> = columns.collect();
        let mut values = vec![Vec::new(); columns.len()];
        let mut count = 0;
        for row in rows {
            if row.len() != columns.len() {
                return Err(unexpected(format!("row {count} has {} values for {} columns", row.len(), columns.len())));
            }
            for ((value, column), values) in row.into_iter().zip(&columns).zip(&mut values) {
                if !value.is_of(&column.ty) {
                    let message =
                        format!("row {count} of the column {} has {value:?}, not a {}", column.name, column.ty);
                    return Err(unexpected(message));
                }
                values.push(value);
            }
            count += 1;
        }
        let stats = QueryStats::default();
        let values = Values::Plain(values);
        Ok(Self { columns, values, rows: count, rows_before_limit_at_least: None, format: None, stats })
    }

    /// Sets the counts of what was read, and damage.
    #[must_use]
    pub fn with_stats(mut self, stats: QueryStats) -> Self {
        self.stats = stats;
        self
    }

    /// Sets the format of the query's `FORMAT` clause, for executors that take it off.
    ///
    /// ```
    /// use isobar_analytics::query::{Answer, Format, Type};
    ///
    /// let answer = Answer::from_rows([("visits", Type::UInt64)], [])?;
    /// assert_eq!((answer.format(), answer.format_clause()), (Format::Json, None));
    /// let answer = answer.with_format(Some(Format::TabSeparated));
    /// assert_eq!((answer.format(), answer.format_clause()), (Format::TabSeparated, Some(Format::TabSeparated)));
    /// # Ok::<(), isobar_analytics::Error>(())
    /// ```
    #[must_use]
    pub fn with_format(mut self, format: Option<Format>) -> Self {
        self.format = format;
        self
    }

    /// Returns the number of the column of this name; `None` where there is none.
    ///
    /// The first, where several have it.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Returns the columns.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_analytics::query::{Analytics, MemoryDatasets, Query, Type};
    ///
    /// let answer = Analytics::new(MemoryDatasets::new()).run(&Query::new("SELECT 1 + 1, 'a' AS text")).unwrap();
    /// let columns: Vec<_> = answer.columns().iter().map(|column| (column.name.as_str(), &column.ty)).collect();
    /// assert_eq!(columns, [("plus(1, 1)", &Type::UInt16), ("text", &Type::String)]);
    /// # }
    /// ```
    #[must_use]
    pub fn columns(&self) -> &[AnswerColumn] {
        &self.columns
    }

    /// Returns the number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns a lower bound of the number of rows without the LIMIT; `None` where there is no LIMIT.
    ///
    /// Exact where the rows are sorted; without `ORDER BY` the reading ends with the limit.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_analytics::memory::MemorySink;
    /// use isobar_analytics::query::{Analytics, MemoryDatasets, Query};
    /// use isobar_analytics::{DataPoint, EventSink};
    ///
    /// let sink = MemorySink::new();
    /// (1..=3).for_each(|number| sink.write(DataPoint::new().with_double(f64::from(number))));
    /// let analytics = Analytics::new(MemoryDatasets::new().with_dataset("numbers", sink));
    /// let answer = analytics.run(&Query::new("SELECT double1 FROM numbers ORDER BY double1 DESC LIMIT 1")).unwrap();
    /// assert_eq!((answer.rows(), answer.rows_before_limit_at_least(), answer.text(0, 0)), (1, Some(3), "3".to_owned()));
    /// # }
    /// ```
    #[must_use]
    pub fn rows_before_limit_at_least(&self) -> Option<u64> {
        self.rows_before_limit_at_least
    }

    /// Returns the format of the query's `FORMAT` clause, or [`Format::Json`].
    #[must_use]
    pub fn format(&self) -> Format {
        self.format.unwrap_or_default()
    }

    /// Returns the format of the query's `FORMAT` clause; `None` where it has none.
    #[must_use]
    pub fn format_clause(&self) -> Option<Format> {
        self.format
    }

    /// Returns the counts of what was read, and damage.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_analytics::memory::MemorySink;
    /// use isobar_analytics::query::{Analytics, MemoryDatasets, Query};
    /// use isobar_analytics::{DataPoint, EventSink};
    ///
    /// let sink = MemorySink::new();
    /// sink.write(DataPoint::new().with_index("tenant-1"));
    /// sink.write(DataPoint::new().with_index("tenant-2"));
    /// let analytics = Analytics::new(MemoryDatasets::new().with_dataset("visits", sink));
    /// let answer = analytics.run(&Query::new("SELECT count() FROM visits WHERE index1 = 'tenant-2'")).unwrap();
    /// assert_eq!(answer.stats().rows_read, 1, "the other one was left out by its index");
    /// assert!(answer.stats().damage.is_none());
    /// # }
    /// ```
    #[must_use]
    pub fn stats(&self) -> &QueryStats {
        &self.stats
    }

    /// Returns a value.
    ///
    /// Both are counted from 0. Texts are shared and not copied where the answer has them as values.
    ///
    /// ```
    /// use isobar_analytics::query::{Answer, Type, Value};
    ///
    /// let rows = [vec![Value::UInt(3)], vec![Value::UInt(5)]];
    /// let answer = Answer::from_rows([("visits", Type::UInt64)], rows)?;
    /// let column = answer.column("visits").expect("the query has named it");
    /// let sum: f64 = (0..answer.rows()).filter_map(|row| answer.value(row, column).as_f64()).sum();
    /// assert_eq!(sum, 8.0);
    /// # Ok::<(), isobar_analytics::Error>(())
    /// ```
    ///
    /// # Panics
    /// If there is no such row or column.
    #[must_use]
    pub fn value(&self, row: usize, column: usize) -> Value {
        assert!(row < self.rows, "row {row} of {} is asked for", self.rows);
        match &self.values {
            Values::Plain(values) => values[column][row].clone(),
            #[cfg(all(feature = "query", not(target_arch = "wasm32")))]
            Values::Vectors(vectors) => value(vectors[column].scalar(row), &self.columns[column].ty),
        }
    }
}

#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
impl Answer {
    /// Returns a value as it stands in TabSeparated, without escapes; what is not UTF-8 is replaced.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_analytics::query::{Analytics, MemoryDatasets, Query};
    ///
    /// let analytics = Analytics::new(MemoryDatasets::new());
    /// let answer = analytics.run(&Query::new("SELECT toDateTime(0), 1.0, true, topK('a')")).unwrap();
    /// let texts: Vec<String> = (0..4).map(|column| answer.text(0, column)).collect();
    /// assert_eq!(texts, ["1970-01-01 00:00:00", "1", "true", "['a']"]);
    /// # }
    /// ```
    ///
    /// # Panics
    /// As [`value`](Self::value).
    #[must_use]
    pub fn text(&self, row: usize, column: usize) -> String {
        assert!(row < self.rows, "row {row} of {} is asked for", self.rows);
        let mut text = Vec::new();
        format::plain(&self.scalar(row, column), &self.columns[column].ty, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Writes the answer in a format. The bytes are UTF-8, but for texts that are not, in the formats by row.
    ///
    /// The format of the query's own clause is [`format`](Self::format), which this does not apply on its own.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_analytics::query::{Analytics, Format, MemoryDatasets, Query};
    ///
    /// let analytics = Analytics::new(MemoryDatasets::new());
    /// let answer = analytics.run(&Query::new("SELECT 'a/b' AS path, 5000000000 AS n, 0 / 0 AS x FORMAT TabSeparated")).unwrap();
    /// assert_eq!(answer.to_bytes(answer.format()), b"a/b\t5000000000\tnan\n");
    /// assert_eq!(answer.to_bytes(Format::JsonEachRow), b"{\"path\":\"a\\/b\",\"n\":\"5000000000\",\"x\":null}\n");
    /// # }
    /// ```
    #[must_use]
    pub fn to_bytes(&self, format: Format) -> Vec<u8> {
        write::write(self, format)
    }

    fn scalar(&self, row: usize, column: usize) -> Scalar {
        match &self.values {
            Values::Plain(values) => scalar(&values[column][row]),
            Values::Vectors(vectors) => vectors[column].scalar(row),
        }
    }
}

impl Value {
    /// Returns a number as a float; `None` for a value of another kind. Integers beyond 2^53 are rounded.
    ///
    /// ```
    /// use isobar_analytics::query::Value;
    ///
    /// assert_eq!((Value::UInt(3).as_f64(), Value::String("3".into()).as_f64()), (Some(3.0), None));
    /// ```
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::UInt(value) => Some(*value as f64),
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns a text that is UTF-8; `None` for any other value.
    ///
    /// ```
    /// use isobar_analytics::query::Value;
    ///
    /// assert_eq!((Value::String("a".into()).as_str(), Value::UInt(1).as_str()), (Some("a"), None));
    /// ```
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }

    /// Whether this is a value of a type. The width of integers is not checked: a backend that says `UInt8` is believed.
    fn is_of(&self, ty: &Type) -> bool {
        match self {
            Self::Bool(_) => *ty == Type::Bool,
            Self::UInt(_) => matches!(ty, Type::UInt8 | Type::UInt16 | Type::UInt32 | Type::UInt64),
            Self::Int(_) => matches!(ty, Type::Int8 | Type::Int16 | Type::Int32 | Type::Int64 | Type::Interval(_)),
            Self::Float(_) => *ty == Type::Float64,
            Self::String(_) => *ty == Type::String,
            Self::Date(_) => *ty == Type::Date,
            Self::DateTime(_) => matches!(ty, Type::DateTime(_)),
            Self::Array(items) => matches!(ty, Type::Array(of) if items.iter().all(|item| item.is_of(of))),
        }
    }
}

/// The error of an answer that is not as a backend's answers are.
pub(super) fn unexpected(message: String) -> Error {
    Error::new(ErrorKind::Internal, message).during("query")
}

#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
fn scalar(value: &Value) -> Scalar {
    match value {
        Value::Bool(value) => Scalar::Int((*value).into()),
        Value::UInt(value) => Scalar::Int(*value as i64),
        Value::Int(value) => Scalar::Int(*value),
        Value::Float(value) => Scalar::Float(*value),
        Value::String(text) => Scalar::Text(text.clone()),
        Value::Date(date) => Scalar::Int(time::days(*date)),
        Value::DateTime(at) => Scalar::Int(at.timestamp()),
        Value::Array(items) => Scalar::List(items.iter().map(scalar).collect()),
    }
}

#[cfg(all(feature = "query", not(target_arch = "wasm32")))]
fn value(scalar: Scalar, ty: &Type) -> Value {
    match (scalar, ty) {
        (Scalar::Int(value), Type::Bool) => Value::Bool(value != 0),
        (Scalar::Int(value), Type::Date) => Value::Date(time::date(value)),
        (Scalar::Int(value), Type::DateTime(_)) => {
            Value::DateTime(DateTime::from_timestamp(value, 0).unwrap_or_default())
        }
        (Scalar::Int(value), Type::UInt8 | Type::UInt16 | Type::UInt32 | Type::UInt64) => Value::UInt(value as u64),
        (Scalar::Int(value), _) => Value::Int(value),
        (Scalar::Float(value), _) => Value::Float(value),
        (Scalar::Text(text), _) => Value::String(text),
        (Scalar::List(items), Type::Array(of)) => Value::Array(items.into_iter().map(|item| value(item, of)).collect()),
        (Scalar::List(_), _) => unreachable!("the analysis has checked the types"),
    }
}

/// A format of answers. Source: Analytics Engine's documentation, "FORMAT clause"; the bytes are ClickHouse's.
///
/// ```
/// use isobar_analytics::query::Format;
///
/// assert_eq!("TabSeparated".parse(), Ok(Format::TabSeparated));
/// assert_eq!(Format::default().to_string(), "JSON");
/// ```
///
/// | format | 64-bit integers | NaN, inf | not UTF-8 | escapes |
/// |---|---|---|---|---|
/// | `JSON` | strings | `null` | U+FFFD | JSON's, and `\/` |
/// | `JSONEachRow` | strings | `null` | as they are | JSON's, and `\/` |
/// | `TabSeparated` | digits | `nan`, `inf` | as they are | `\t \n \r \b \f \0 \' \\` |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// `JSON`: one object with metadata. 64-bit integers are strings; NaN and infinity are null.
    #[default]
    Json,
    /// `JSONEachRow`: an object a line.
    JsonEachRow,
    /// `TabSeparated`: a line a row, without a heading.
    TabSeparated,
}

impl Format {
    /// Returns the media type of the format.
    ///
    /// For the header `Content-Type` of an answer that is sent on.
    ///
    /// ```
    /// use isobar_analytics::query::Format;
    ///
    /// assert_eq!(Format::JsonEachRow.media_type(), "application/x-ndjson; charset=UTF-8");
    /// ```
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json; charset=UTF-8",
            Self::JsonEachRow => "application/x-ndjson; charset=UTF-8",
            Self::TabSeparated => "text/tab-separated-values; charset=UTF-8",
        }
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name {
            "JSON" => Ok(Self::Json),
            "JSONEachRow" => Ok(Self::JsonEachRow),
            "TabSeparated" => Ok(Self::TabSeparated),
            _ => Err(UnknownFormat(name.to_owned())),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::JsonEachRow => "JSONEachRow",
            Self::TabSeparated => "TabSeparated",
        })
    }
}

/// The error of a format that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown format {0}; the formats are JSON, JSONEachRow and TabSeparated")]
pub struct UnknownFormat(String);

impl From<UnknownFormat> for Error {
    fn from(error: UnknownFormat) -> Self {
        Self::new(ErrorKind::Query, error.to_string())
    }
}
