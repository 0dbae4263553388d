//! Values on their way into SQLite and out of it.
//!
//! Integers, texts and blobs pass unchanged. Two rules are D1's: a REAL that is not finite is bound as NULL, and text
//! that is not UTF-8 is read with U+FFFD in place of what is wrong.

use bytes::Bytes;
use rusqlite::types::ValueRef;

use crate::Value;

/// A value to bind. A REAL that is not finite is NULL, as in D1.
pub(super) fn to_sql(value: &Value) -> ValueRef<'_> {
    match value {
        Value::Null => ValueRef::Null,
        Value::Real(real) if !real.is_finite() => ValueRef::Null,
        Value::Real(real) => ValueRef::Real(*real),
        Value::Integer(integer) => ValueRef::Integer(*integer),
        Value::Text(text) => ValueRef::Text(text.as_bytes()),
        Value::Blob(bytes) => ValueRef::Blob(bytes),
    }
}

/// A value of a row.
pub(super) fn from_sql(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::Integer(integer),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Text(text) => Value::Text(isobar_sqlite::text(text)),
        ValueRef::Blob(bytes) => Value::Blob(Bytes::copy_from_slice(bytes)),
    }
}
