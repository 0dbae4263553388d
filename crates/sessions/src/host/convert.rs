//! Values of SQL, to SQLite and back.
//!
//! Text is copied, as SQLite's own is valid until the next step only. The rules are those of workerd: a NaN is stored as NULL,
//! and text that is not UTF-8, which SQL can make by a cast of a blob, reads with U+FFFD.

use bytes::Bytes;
use rusqlite::types::ValueRef;

use crate::Value;

/// A value as SQLite is given it. A REAL that is not a number is NULL.
pub(super) fn to_sql(value: &Value) -> ValueRef<'_> {
    match value {
        Value::Null => ValueRef::Null,
        Value::Integer(integer) => ValueRef::Integer(*integer),
        Value::Real(real) if real.is_nan() => ValueRef::Null,
        Value::Real(real) => ValueRef::Real(*real),
        Value::Text(text) => ValueRef::Text(text.as_bytes()),
        Value::Blob(bytes) => ValueRef::Blob(bytes),
    }
}

/// A value as SQLite gives it. Invalid UTF-8 reads as U+FFFD.
pub(super) fn from_sql(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::Integer(integer),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Text(text) => Value::Text(isobar_sqlite::text(text)),
        ValueRef::Blob(bytes) => Value::Blob(Bytes::copy_from_slice(bytes)),
    }
}
