//! Rows and their conversions.
//!
//! A [`Row`] knows its columns by an `Arc` that all rows of a result share, and its values either itself or as a slice of the result's
//! one list ([`Values`]). So a result of n rows costs two allocations, not n, and converting all of it ([`Row::convert_all`]) moves its
//! texts into the caller's structs rather than copying them.
//!
//! Conversion goes by serde: [`RowDeserializer`] chooses by the type that is asked for (scalar, tuple or struct), [`Column`] adds the
//! column's name to an error, and [`taken`] is the variant that moves.

mod taken;

use std::sync::Arc;
use std::{fmt, mem};

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use self::taken::TakenRow;
use crate::value::ValueDeserializer;
use crate::{Error, ErrorKind, FromValue, Result, Value};

/// A row of a result.
///
/// ```
/// use std::sync::Arc;
///
/// use isobar_db::{ErrorKind, Row, Value};
///
/// let columns: Arc<[String]> = ["id", "name"].map(str::to_owned).into();
/// let row = Row::new(columns, vec![Value::Integer(1), "Ada".into()]);
/// assert_eq!(row.get::<String>("name")?, "Ada");
/// assert_eq!(row.get::<i64>("age").unwrap_err().kind(), ErrorKind::ColumnNotFound);
/// assert_eq!(row.get::<i64>("name").unwrap_err().message(), "column name: a value of type text is not a i64");
/// assert_eq!(serde_json::Value::from(row.to_json()), serde_json::json!({ "id": 1, "name": "Ada" }));
/// # Ok::<(), isobar_db::Error>(())
/// ```
///
/// Rows compare equal when their columns and values do, whichever result they come from. A clone of a row keeps the values of its whole
/// result in memory; where few rows of a large result are kept for long, keep the converted values instead.
#[derive(Clone)]
pub struct Row {
    columns: Arc<[String]>,
    values: Values,
}

/// The columns of a result, and the values of all its rows, one row after the other.
type AllValues = (Arc<[String]>, Vec<Value>);

/// The values of a row: its own, or a part of those of its result, which cost one allocation for all rows.
///
/// Invariant of `Shared`: `start` is a multiple of the number of columns, and that many values follow it in `all`.
#[derive(Clone)]
enum Values {
    Own(Vec<Value>),
    #[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
    Shared {
        all: Arc<Vec<Value>>,
        start: usize,
    },
}

impl Row {
    /// A row as a backend builds it: as many values as columns.
    ///
    /// # Panics
    /// In debug builds, where the numbers differ. In release builds, reading a column that has no value panics.
    #[must_use]
    pub fn new(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        debug_assert_eq!(columns.len(), values.len());
        Self { columns, values: Values::Own(values) }
    }

    /// The rows of a result, whose values are in order: as many for each row as there are columns.
    ///
    /// A single row gets its values for itself, as sharing them would cost one allocation more. A result without columns has no rows, since
    /// SQLite has no statement that yields rows without columns.
    #[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
    pub(crate) fn of_result(columns: &Arc<[String]>, values: Vec<Value>) -> Vec<Self> {
        let width = columns.len();
        if width == 0 || values.len() <= width {
            let one = (!values.is_empty()).then(|| Self::new(Arc::clone(columns), values));
            return one.into_iter().collect();
        }
        let all = Arc::new(values);
        let row =
            |start| Self { columns: Arc::clone(columns), values: Values::Shared { all: Arc::clone(&all), start } };
        (0..all.len()).step_by(width).map(row).collect()
    }

    /// Converts rows that are not needed any more.
    ///
    /// Values are moved where these rows are the only ones of their result, all of it and in order; otherwise each row is read as it is.
    pub(crate) fn convert_all<T: FromRow>(rows: Vec<Self>) -> Result<Vec<T>> {
        match Self::all_values(rows) {
            Ok((columns, mut values)) => {
                values.chunks_exact_mut(columns.len()).map(|values| T::from_values(&columns, values)).collect()
            }
            Err(rows) => rows.iter().map(T::from_row).collect(),
        }
    }

    /// The values of all rows, one row after the other; the rows where they are not a whole result that nobody else has.
    ///
    /// The reference count tells whether a clone of a row exists elsewhere: it is at least the number of rows, and more means that another
    /// holder would see its values vanish.
    #[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
    fn all_values(mut rows: Vec<Self>) -> Result<AllValues, Vec<Self>> {
        let Some(Self { columns, values: Values::Shared { all, .. } }) = rows.first() else { return Err(rows) };
        let width = columns.len();
        let is_in_place = |(number, row): (usize, &Self)| match &row.values {
            Values::Shared { all: of_row, start } => Arc::ptr_eq(all, of_row) && *start == number * width,
            Values::Own(_) => false,
        };
        let is_whole = rows.len() * width == all.len() && rows.iter().enumerate().all(is_in_place);
        if !is_whole || Arc::strong_count(all) > rows.len() {
            return Err(rows);
        }
        rows.truncate(1);
        match rows.pop() {
            Some(Self { columns, values: Values::Shared { all, start } }) => match Arc::try_unwrap(all) {
                Ok(values) => Ok((columns, values)),
                // Unreachable by the count above, and right all the same: the row and those that are gone are made again.
                Err(all) => Err((0..all.len() / width)
                    .map(|number| Self {
                        columns: Arc::clone(&columns),
                        values: Values::Shared { all: Arc::clone(&all), start: start + number * width },
                    })
                    .collect()),
            },
            other => Err(other.into_iter().collect()),
        }
    }

    #[cfg(not(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32"))))]
    fn all_values(rows: Vec<Self>) -> Result<AllValues, Vec<Self>> {
        Err(rows)
    }

    /// The columns' names, duplicates and all.
    ///
    /// ```
    /// use isobar_db::{Row, Value};
    ///
    /// let row = Row::new(["a", "a"].map(str::to_owned).into(), vec![Value::Integer(1), Value::Integer(2)]);
    /// assert_eq!(row.columns(), ["a", "a"]);
    /// assert_eq!(row.values().len(), 2, "both are there");
    /// assert_eq!(row.get::<i64>("a")?, 2, "by its name it is the last one");
    /// # Ok::<(), isobar_db::Error>(())
    /// ```
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The values in the order of the columns: D1's `raw`.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        match &self.values {
            Values::Own(values) => values,
            #[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
            Values::Shared { all, start } => &all[*start..*start + self.columns.len()],
        }
    }

    /// The value of a column; of columns that share the name, the last, as D1 collapses them.
    ///
    /// Names are compared byte by byte, upper and lower case apart. The search is linear, at most 100 names in D1; to read many columns of
    /// many rows, convert to a struct or a tuple.
    ///
    /// ```
    /// use isobar_db::{ErrorKind, Row, Value};
    ///
    /// let row = Row::new(["id", "name"].map(str::to_owned).into(), vec![Value::Integer(1), Value::Null]);
    /// assert_eq!(row.get::<u32>("id")?, 1);
    /// assert_eq!(row.get::<Option<String>>("name")?, None);
    /// assert_eq!(row.get::<String>("name").unwrap_err().kind(), ErrorKind::Decode);
    /// # Ok::<(), isobar_db::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::ColumnNotFound`], [`ErrorKind::Decode`].
    pub fn get<T: FromValue>(&self, column: &str) -> Result<T> {
        let index =
            self.columns.iter().rposition(|name| name == column).ok_or_else(|| Error::column_not_found(column))?;
        T::from_value(&self.values()[index]).map_err(|error| error.in_column(column))
    }

    /// The row as a JSON object, as D1's `all` gives it.
    ///
    /// ```
    /// use isobar_db::{Row, Value};
    ///
    /// let row = Row::new(["id", "share"].map(str::to_owned).into(), vec![Value::Integer(1), Value::Real(2.0)]);
    /// assert_eq!(serde_json::Value::from(row.to_json()).to_string(), r#"{"id":1,"share":2.0}"#);
    /// // D1 writes numbers as JavaScript does: that is what serializing a row gives.
    /// assert_eq!(serde_json::to_string(&row).unwrap(), r#"{"id":1,"share":2}"#);
    /// ```
    #[must_use]
    pub fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        self.columns.iter().cloned().zip(self.values().iter().map(Value::to_json)).collect()
    }

    /// The entries of an object: of columns that share a name, the first's place and the last's value.
    ///
    /// Its time grows with the square of the number of columns, of which D1 has at most 100.
    fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.columns.iter().enumerate().filter(|(index, name)| !self.columns[..*index].contains(name)).filter_map(
            |(_, name)| {
                let last = self.columns.iter().rposition(|other| other == name)?;
                Some((name.as_str(), &self.values()[last]))
            },
        )
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row").field("columns", &self.columns).field("values", &self.values()).finish()
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.columns == other.columns && self.values() == other.values()
    }
}

/// A JSON object as D1 answers it: in the order of the columns, of duplicates the first's place and the last's value, whole
/// REALs without a fraction.
impl serde::Serialize for Row {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.entries().map(|(name, value)| (name, value.as_d1_json())))
    }
}

/// A type that a row converts to. Every `serde` type is one: a struct by the columns' names, a tuple by their order, a
/// single value from the first column. A type that does not implement `Deserialize` may implement this itself.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{FromRow, QueryableExt, Result, Row, SqliteDatabase};
///
/// #[derive(Debug, PartialEq, serde::Deserialize)]
/// struct User {
///     name: String,
///     age: Option<u8>,
/// }
///
/// /// Built by hand, as it has no `Deserialize`.
/// struct Greeting(String);
///
/// impl FromRow for Greeting {
///     fn from_row(row: &Row) -> Result<Self> {
///         Ok(Self(format!("hello, {}", row.get::<String>("name")?)))
///     }
/// }
///
/// let db = SqliteDatabase::memory().await?;
/// let query = || db.prepare("SELECT 'Ada' AS name, 36 AS age");
/// assert_eq!(query().one::<User>().await?, User { name: "Ada".into(), age: Some(36) });
/// assert_eq!(query().one::<(String, i64)>().await?, ("Ada".into(), 36));
/// assert_eq!(query().one::<Greeting>().await?.0, "hello, Ada");
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
///
/// How a row is read, by the type:
///
/// | type | read from |
/// |---|---|
/// | struct, map | columns by their names; of those that share a name, the last |
/// | tuple, tuple struct, `Vec<T>` | columns in their order; a longer row than the tuple is cut, a shorter one is an error |
/// | number, `bool`, `String`, `Option<T>`, enum of unit variants | the first column |
/// | struct of one unnamed field | as its field |
///
/// A field that no column has is an error unless it is an `Option` or has `#[serde(default)]`; a column that no field has is ignored unless
/// the struct says `#[serde(deny_unknown_fields)]`.
///
/// A [`Value`] of unknown kind is read within a tuple or a struct: `one::<(Value,)>()`. Alone it would be a map, like every type that
/// takes anything.
pub trait FromRow: Sized {
    /// Converts the row.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] with the column's name.
    fn from_row(row: &Row) -> Result<Self>;

    /// Converts a row whose values are not needed any more, so that their texts need not be copied. By default as
    /// [`from_row`](Self::from_row), on a row of them.
    ///
    /// For implementers: `values` has one value for each column. They may be taken (`std::mem::replace`), since nothing reads them
    /// afterwards. It must convert as `from_row` does, or [`all`](crate::Prepared::all) and [`first`](crate::Prepared::first) disagree.
    ///
    /// # Errors
    /// As [`from_row`](Self::from_row).
    fn from_values(columns: &Arc<[String]>, values: &mut [Value]) -> Result<Self> {
        Self::from_row(&Row::new(
            Arc::clone(columns),
            values.iter_mut().map(|value| mem::replace(value, Value::Null)).collect(),
        ))
    }
}

impl<T: DeserializeOwned> FromRow for T {
    fn from_row(row: &Row) -> Result<Self> {
        T::deserialize(RowDeserializer(row))
    }

    fn from_values(columns: &Arc<[String]>, values: &mut [Value]) -> Result<Self> {
        T::deserialize(TakenRow { columns, values })
    }
}

/// Serde's view of a borrowed row: see the table at [`FromRow`].
///
/// `deserialize_any` is a map: a type that takes anything, such as `serde_json::Value`, becomes an object.
#[derive(Clone, Copy)]
struct RowDeserializer<'a>(&'a Row);

impl<'a> RowDeserializer<'a> {
    fn first(self) -> Result<ValueDeserializer<'a>> {
        let first = self.0.values().first().map(ValueDeserializer);
        first.ok_or_else(|| Error::new(ErrorKind::Decode, "the row has no column"))
    }
}

/// Scalars read the first column; maps and structs the names; sequences and tuples the order.
macro_rules! first_column {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.first()?.$method(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for RowDeserializer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let entries = self.0.entries().map(|(name, value)| (name, Column(name, value)));
        visitor.visit_map(MapDeserializer::new(entries))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        // A struct that has the columns in their order, as most do: no name stands twice.
        let is_same = |(name, field): (&String, &&str)| name == field;
        if fields.len() == self.0.columns.len() && self.0.columns.iter().zip(fields).all(is_same) {
            let entries = self.0.columns.iter().zip(self.0.values());
            let entries = entries.map(|(name, value)| (name.as_str(), Column(name, value)));
            return visitor.visit_map(MapDeserializer::new(entries));
        }
        self.deserialize_map(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let columns = self.0.columns.iter().zip(self.0.values());
        visitor.visit_seq(SeqDeserializer::new(columns.map(|(name, value)| Column(name, value))))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, _: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.first()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    first_column! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
        deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_option
    }

    forward_to_deserialize_any! { unit identifier ignored_any }
}

/// A value that names its column where it does not fit.
struct Column<'a>(&'a str, &'a Value);

macro_rules! in_column {
    ($($method:ident($($name:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value> {
            ValueDeserializer(self.1).$method($($name,)* visitor).map_err(|error| error.in_column(self.0))
        }
    )*};
}

impl<'de> Deserializer<'de> for Column<'_> {
    type Error = Error;
    in_column! {
        deserialize_any() deserialize_bool() deserialize_option() deserialize_seq()
        deserialize_newtype_struct(name: &'static str)
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }
    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct map struct identifier ignored_any
    }
}

impl<'de, 'a> IntoDeserializer<'de, Error> for Column<'a> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}
