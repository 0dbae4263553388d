//! SQL values, and what can be bound.

use bytes::Bytes;

/// A value of SQLite's five kinds.
///
/// | Rust | bound as |
/// |---|---|
/// | `i32`, `u32`, `i64`, `bool` | integer; a boolean is 0 or 1 |
/// | `f64` | real; a NaN is null |
/// | `&str`, `String` | text |
/// | `Bytes`, `Vec<u8>` | blob |
/// | `Option<T>` | the value, or null |
///
/// There is no conversion from `u64`, which SQLite's integers do not hold.
///
/// ```
/// use isobar_sessions::Value;
/// assert_eq!(Value::from(true), Value::Integer(1));
/// assert_eq!(Value::from(None::<&str>), Value::Null);
/// ```
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
    /// Returns the value as JSON; a blob is an array of its bytes.
    ///
    /// It is the form in which [`Cursor`](crate::Cursor) gives rows to serde, so a blob is read into a `Vec<u8>`.
    ///
    /// ```
    /// use isobar_sessions::Value;
    /// assert_eq!(Value::Blob(vec![1_u8, 2].into()).to_json(), serde_json::json!([1, 2]));
    /// assert_eq!(Value::Real(f64::INFINITY).to_json(), serde_json::Value::Null); // JSON has no infinity
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
    bool => value => Self::Integer(value.into()),
    f64 => value => Self::Real(value),
    String => value => Self::Text(value),
    &String => value => Self::Text(value.clone()),
    &str => value => Self::Text(value.to_owned()),
    Bytes => value => Self::Blob(value),
    Vec<u8> => value => Self::Blob(value.into()),
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Parameters of a statement: `()`, tuples of up to eight values, or a list of [`Value`]s.
///
/// ```
/// use isobar_sessions::{Parameters, Value};
///
/// let values = (17, "Ada", None::<f64>).into_values();
/// assert_eq!(values, [Value::Integer(17), Value::Text("Ada".into()), Value::Null]);
/// ```
pub trait Parameters {
    /// Returns the values, in order.
    fn into_values(self) -> Vec<Value>;
}

impl Parameters for () {
    fn into_values(self) -> Vec<Value> {
        Vec::new()
    }
}

impl Parameters for Vec<Value> {
    fn into_values(self) -> Vec<Value> {
        self
    }
}

macro_rules! tuples {
    ($(($($name:ident)+))*) => {$(
        impl<$($name: Into<Value>),+> Parameters for ($($name,)+) {
            #[allow(non_snake_case, reason = "the type parameters name the fields")]
            fn into_values(self) -> Vec<Value> {
                let ($($name,)+) = self;
                vec![$($name.into()),+]
            }
        }
    )*};
}
tuples! { (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H) }
