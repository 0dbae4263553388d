//! Values that are bound to parameters and come back in columns.
//!
//! [`Value`] is the only form in which data crosses the boundary of a backend. Around it stand two ways of conversion: [`From`] into it
//! for what is bound, [`FromValue`] out of it for single columns, and serde for whole rows ([`Row`](crate::Row)). Both refuse what
//! they cannot convert exactly.
//!
//! Times are a special case: SQLite has none, and keeps text. [`rfc3339`] knows the text that SQLite's own functions write, and
//! [`moment`] gives it to chrono's types in the form that they read.

use bytes::Bytes;
use serde::de::value::SeqDeserializer;
use serde::de::{Deserializer, Expected, IntoDeserializer, Visitor};
use serde::{Serialize, Serializer, forward_to_deserialize_any};

use crate::{Error, ErrorKind, Result};

/// A value of SQLite's five kinds.
///
/// Integers are exact to 64 bits. (Through JavaScript, D1 binds every number as REAL and rounds integers beyond 2^53;
/// isobar never rounds.)
///
/// ```
/// use isobar_db::Value;
///
/// assert_eq!(Value::from("Ada"), Value::Text("Ada".to_owned()));
/// assert_eq!(Value::from(true), Value::Integer(1), "SQLite has no booleans");
/// assert_eq!(Value::from(None::<i64>), Value::Null);
/// assert_eq!(Value::from(&[0xff_u8][..]).type_name(), "blob");
/// ```
///
/// Conversions in both directions, by the Rust type:
///
/// | Rust | bound as | read from |
/// |---|---|---|
/// | `i64` | INTEGER | INTEGER |
/// | `i32`, `u32` | INTEGER | INTEGER in the type's range |
/// | `i16`, `u16`, `u8` | INTEGER | by serde alone, in the type's range |
/// | `u64` | not at all: it may be beyond 64 bits with a sign | INTEGER from 0 |
/// | `bool` | INTEGER, 0 or 1 | INTEGER, 0 or 1 |
/// | `f64` | REAL; NaN and infinities become NULL, as in D1 | REAL, or INTEGER within 2^53 |
/// | `f32` | REAL | by serde alone |
/// | `String`, `&str` | TEXT | TEXT |
/// | `Vec<u8>`, `Bytes`, `&[u8]` | BLOB | BLOB |
/// | `DateTime<Utc>` | TEXT, `2026-11-01 12:00:00.000` | TEXT of that form or of RFC 3339 |
/// | `NaiveDateTime` | not at all: it has no zone | the same text, as UTC |
/// | `Option<T>` | NULL, or as `T` | NULL, or as `T` |
///
/// The column's affinity still applies: a REAL without a fraction that is written into a column declared INTEGER is stored as an
/// INTEGER, and text of digits too.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "SQLite's names")]
pub enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Bytes),
}

impl Value {
    /// The kind's name as SQLite's `typeof` has it.
    ///
    /// ```
    /// use isobar_db::Value;
    ///
    /// assert_eq!(Value::from(1.5).type_name(), "real");
    /// assert_eq!(Value::from("1.5").type_name(), "text");
    /// ```
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Integer(_) => "integer",
            Self::Real(_) => "real",
            Self::Text(_) => "text",
            Self::Blob(_) => "blob",
        }
    }

    /// The value in JSON: a blob is an array of its bytes, a number that JSON lacks is null.
    ///
    /// Integers keep all their digits; a reader that keeps numbers as doubles, such as JavaScript, rounds those beyond 2^53.
    ///
    /// ```
    /// use isobar_db::Value;
    /// use serde_json::json;
    ///
    /// assert_eq!(Value::from(&[0_u8, 255][..]).to_json(), json!([0, 255]));
    /// assert_eq!(Value::from(2.0).to_json(), json!(2.0));
    /// assert_eq!(Value::from(f64::NAN).to_json(), json!(null));
    /// ```
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Integer(integer) => (*integer).into(),
            Self::Real(real) => (*real).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Blob(bytes) => bytes.to_vec().into(),
        }
    }

    /// The value as D1 answers it in JSON, to be serialized without a copy: see [`to_d1_json`](Self::to_d1_json).
    ///
    /// ```
    /// use isobar_db::Value;
    ///
    /// let value = Value::from(vec![1_u8, 2]);
    /// assert_eq!(serde_json::to_string(&value.as_d1_json()).unwrap(), "[1,2]");
    /// assert_eq!(serde_json::to_string(&Value::from(3.0).as_d1_json()).unwrap(), "3");
    /// ```
    #[must_use]
    pub fn as_d1_json(&self) -> D1Json<'_> {
        D1Json(self)
    }

    /// The value in JSON as D1 answers it: a REAL without a fraction has none there either, as JavaScript writes numbers.
    ///
    /// That holds for magnitudes below 2^53; a greater REAL keeps the form of a floating-point number.
    ///
    /// ```
    /// use isobar_db::Value;
    ///
    /// assert_eq!(Value::from(2.0).to_d1_json().to_string(), "2");
    /// assert_eq!(Value::from(2.5).to_d1_json().to_string(), "2.5");
    /// ```
    #[must_use]
    pub fn to_d1_json(&self) -> serde_json::Value {
        match self {
            Self::Real(real) if is_whole(*real) => (*real as i64).into(),
            other => other.to_json(),
        }
    }
}

/// Returns whether a REAL is a whole number within 2^53, so that the integer is the same number.
fn is_whole(real: f64) -> bool {
    real.fract() == 0.0 && real.abs() < 9_007_199_254_740_992.0
}

/// A value that serializes as D1 answers it: see [`Value::as_d1_json`].
#[derive(Debug, Clone, Copy)]
pub struct D1Json<'v>(&'v Value);

impl Serialize for D1Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Integer(integer) => serializer.serialize_i64(*integer),
            Value::Real(real) if is_whole(*real) => serializer.serialize_i64(*real as i64),
            Value::Real(real) => serializer.serialize_f64(*real),
            Value::Text(text) => serializer.serialize_str(text),
            // As a tree of JSON each byte would take 32.
            Value::Blob(bytes) => serializer.collect_seq(bytes.iter()),
        }
    }
}

macro_rules! from {
    ($($from:ty => $value:ident => $into:expr),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $into
            }
        }
    )*};
}
from! {
    i64 => value => Self::Integer(value),
    i32 => value => Self::Integer(value.into()),
    u32 => value => Self::Integer(value.into()),
    i16 => value => Self::Integer(value.into()),
    u16 => value => Self::Integer(value.into()),
    u8 => value => Self::Integer(value.into()),
    bool => value => Self::Integer(value.into()),
    f64 => value => Self::Real(value),
    f32 => value => Self::Real(value.into()),
    String => value => Self::Text(value),
    &String => value => Self::Text(value.clone()),
    &str => value => Self::Text(value.to_owned()),
    Bytes => value => Self::Blob(value),
    Vec<u8> => value => Self::Blob(value.into()),
    &[u8] => value => Self::Blob(Bytes::copy_from_slice(value)),
    // As D1's own CURRENT_TIMESTAMP writes it, to the millisecond: sortable and readable by SQLite's date functions.
    chrono::DateTime<chrono::Utc> => value => Self::Text(value.format("%Y-%m-%d %H:%M:%S%.3f").to_string()),
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A type that a column's value converts to exactly: nothing is rounded or parsed.
///
/// ```
/// use isobar_db::{Error, ErrorKind, FromValue, Result, Value};
///
/// #[derive(Debug, PartialEq)]
/// enum Role {
///     Owner,
///     Member,
/// }
///
/// impl FromValue for Role {
///     fn from_value(value: &Value) -> Result<Self> {
///         match String::from_value(value)?.as_str() {
///             "owner" => Ok(Self::Owner),
///             "member" => Ok(Self::Member),
///             other => Err(Error::new(ErrorKind::Decode, format!("{other:?} is not a role"))),
///         }
///     }
/// }
///
/// assert_eq!(Role::from_value(&"owner".into())?, Role::Owner);
/// assert_eq!(Role::from_value(&7.into()).unwrap_err().kind(), ErrorKind::Decode);
/// # Ok::<(), Error>(())
/// ```
///
/// An implementation for `T` gives one for `Option<T>`, in which NULL is `None`. For `T` alone NULL is an error like every other kind that
/// does not fit.
pub trait FromValue: Sized {
    /// Converts the value.
    ///
    /// ```
    /// use isobar_db::{ErrorKind, FromValue, Value};
    ///
    /// assert_eq!(u32::from_value(&Value::Integer(7))?, 7);
    /// assert_eq!(Option::<u32>::from_value(&Value::Null)?, None);
    /// // Nothing is parsed, and nothing is cut off.
    /// assert_eq!(u32::from_value(&"7".into()).unwrap_err().kind(), ErrorKind::Decode);
    /// assert_eq!(u32::from_value(&Value::Integer(-1)).unwrap_err().kind(), ErrorKind::Decode);
    /// # Ok::<(), isobar_db::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when the value is of another kind or out of range.
    fn from_value(value: &Value) -> Result<Self>;
}

fn mismatch<T>(value: &Value) -> Error {
    let message = format!("a value of type {} is not a {}", value.type_name(), std::any::type_name::<T>());
    Error::new(ErrorKind::Decode, message)
}

macro_rules! from_value {
    ($($into:ty => $pattern:pat => $some:expr),* $(,)?) => {$(
        impl FromValue for $into {
            fn from_value(value: &Value) -> Result<Self> {
                match value {
                    $pattern => $some.ok_or_else(|| mismatch::<Self>(value)),
                    _ => Err(mismatch::<Self>(value)),
                }
            }
        }
    )*};
}
from_value! {
    i64 => Value::Integer(integer) => Some(*integer),
    u64 => Value::Integer(integer) => u64::try_from(*integer).ok(),
    i32 => Value::Integer(integer) => i32::try_from(*integer).ok(),
    u32 => Value::Integer(integer) => u32::try_from(*integer).ok(),
    bool => Value::Integer(integer @ (0 | 1)) => Some(*integer == 1),
    String => Value::Text(text) => Some(text.clone()),
    Bytes => Value::Blob(bytes) => Some(bytes.clone()),
    Vec<u8> => Value::Blob(bytes) => Some(bytes.to_vec()),
}

impl FromValue for f64 {
    fn from_value(value: &Value) -> Result<Self> {
        match value {
            Value::Real(real) => Ok(*real),
            // SQLite stores a whole REAL as an integer, so a REAL column may come back as one.
            Value::Integer(integer) if integer.unsigned_abs() <= 1 << 53 => Ok(*integer as f64),
            _ => Err(mismatch::<Self>(value)),
        }
    }
}

impl FromValue for Value {
    fn from_value(value: &Value) -> Result<Self> {
        Ok(value.clone())
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Result<Self> {
        if *value == Value::Null { Ok(None) } else { T::from_value(value).map(Some) }
    }
}

impl FromValue for chrono::DateTime<chrono::Utc> {
    fn from_value(value: &Value) -> Result<Self> {
        let Value::Text(text) = value else { return Err(mismatch::<Self>(value)) };
        let rfc3339 = rfc3339(text).unwrap_or_else(|| text.clone());
        let parsed = chrono::DateTime::parse_from_rfc3339(&rfc3339);
        parsed.map(|moment| moment.to_utc()).map_err(|error| {
            let message = format!("{text:?} is not a time of SQLite's (2026-11-01 12:00:00.000) or RFC 3339: {error}");
            Error::new(ErrorKind::Decode, message)
        })
    }
}

impl FromValue for chrono::NaiveDateTime {
    fn from_value(value: &Value) -> Result<Self> {
        chrono::DateTime::<chrono::Utc>::from_value(value).map(|moment| moment.naive_utc())
    }
}

/// A time as SQLite's functions and `DEFAULT CURRENT_TIMESTAMP` write it, and as times are bound, in the form of RFC 3339, in
/// UTC; `None` for every other text.
///
/// It judges by the form alone: `2026-99-99 12:00:00` passes, and chrono refuses it afterwards with a message of its own. A date without
/// a time does not pass, since no one time is meant by it.
pub(crate) fn rfc3339(text: &str) -> Option<String> {
    let date = text.get(..10)?;
    let time = text.get(11..)?;
    let is_digits = |text: &str, separator: u8, places: [usize; 2]| {
        text.bytes()
            .enumerate()
            .all(|(at, byte)| if places.contains(&at) { byte == separator } else { byte.is_ascii_digit() })
    };
    let clock = time.get(..8)?;
    let fraction = time.get(8..)?;
    let has_fraction =
        fraction.len() > 1 && fraction.starts_with('.') && fraction[1..].bytes().all(|byte| byte.is_ascii_digit());
    let fits = is_digits(date, b'-', [4, 7])
        && text.as_bytes()[10] == b' '
        && is_digits(clock, b':', [2, 5])
        && (fraction.is_empty() || has_fraction);
    fits.then(|| format!("{date}T{time}Z"))
}

/// The text as a visitor of chrono's reads it where the column has a time of SQLite's: it expects RFC 3339, and names that in
/// its expectation. Every other visitor gets the text unchanged.
///
/// The expectation's text is all that a visitor shows of its type, so a chrono release that words it otherwise makes such columns
/// unreadable as times; the tests of rows would show it.
fn moment(text: &str, visitor: &dyn Expected) -> Option<String> {
    let moment = rfc3339(text)?;
    let expected = visitor.to_string();
    if expected.contains("RFC 3339") {
        return Some(moment);
    }
    // A time without a zone.
    expected.contains("formatted date and time").then(|| moment.trim_end_matches('Z').to_owned())
}

/// A value as it is, within a row's struct or tuple.
impl<'de> serde::Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl Visitor<'_> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("null, a number, a text or bytes")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> std::result::Result<Value, E> {
        i64::try_from(value)
            .map(Value::Integer)
            .map_err(|_| E::custom(format!("{value} is beyond 64 bits with a sign")))
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> std::result::Result<Value, E> {
        Ok(value.into())
    }
}

/// Serde's way to a value.
///
/// It borrows, so a text is copied once, by the type that keeps it. `TakenRow` is the way without the copy. Two methods differ from
/// `deserialize_any`: a `bool` has to be 0 or 1 (serde would refuse the integer), and a sequence is read from a blob's bytes, so that
/// `Vec<u8>` works without `serde_bytes`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ValueDeserializer<'a>(pub(crate) &'a Value);

impl<'de> Deserializer<'de> for ValueDeserializer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Integer(integer) => visitor.visit_i64(*integer),
            Value::Real(real) => visitor.visit_f64(*real),
            Value::Text(text) => match moment(text, &visitor) {
                Some(moment) => visitor.visit_str(&moment),
                None => visitor.visit_str(text),
            },
            Value::Blob(bytes) => visitor.visit_bytes(bytes),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_bool(bool::from_value(self.0)?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if *self.0 == Value::Null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.0 {
            Value::Blob(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.0 {
            Value::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            other => Err(mismatch::<&str>(other)),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for ValueDeserializer<'_> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_sqlite_are_known_by_their_form() {
        assert_eq!(rfc3339("2026-11-01 12:00:00").as_deref(), Some("2026-11-01T12:00:00Z"));
        assert_eq!(rfc3339("2026-11-01 12:00:00.123").as_deref(), Some("2026-11-01T12:00:00.123Z"));
        for other in [
            "2026-11-01",
            "2026-11-01T12:00:00Z",
            "2026-11-01 12:00",
            "2026-11-01 12:00:00.",
            "2026-11-01 12:00:00 x",
            "\u{e9}26-11-01 12:00:00",
            "",
        ] {
            assert_eq!(rfc3339(other), None, "{other}");
        }
    }

    #[test]
    fn whole_reals_are_written_as_javascript_writes_them() {
        let json = |real: f64| Value::Real(real).to_d1_json().to_string();
        assert_eq!([1.0, -0.0, 1.5, 9_007_199_254_740_991.0].map(json), ["1", "0", "1.5", "9007199254740991"]);
        assert_eq!(json(f64::INFINITY), "null");
    }
    #[test]
    fn values_serialize_as_their_json() {
        let texts = ["", "it's \"quoted\"\u{1}"].map(Value::from);
        let numbers = [Value::Null, i64::MAX.into(), 1.0.into(), 0.5.into(), f64::NAN.into()];
        for value in texts.into_iter().chain(numbers).chain([Value::Blob(vec![0, 255].into())]) {
            let written = serde_json::to_string(&value.as_d1_json()).expect("a value is JSON");
            assert_eq!(written, value.to_d1_json().to_string());
        }
    }
}
