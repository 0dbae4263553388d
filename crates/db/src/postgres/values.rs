//! Values on their way into Postgres and out of it.
//!
//! Postgres has a type for each parameter and column, SQLite a kind for each value. A value goes into a parameter only where it stays what
//! it is; where it would be rounded, parsed or cut, the call fails. What has no kind of its own in SQLite, such as a time or a UUID, is
//! text.

use std::error::Error as StdError;

use bytes::{BufMut, Bytes, BytesMut};
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type};

use super::numeric;
use crate::{Error, ErrorKind, Result, Value};

/// Integers whose doubles are exact.
const EXACT: u64 = 1 << 53;

/// How a value goes into a parameter of a type.
#[derive(Debug, PartialEq)]
pub(super) enum Fit {
    /// It does.
    Exact,
    /// The type was guessed from the text: the statement is to be prepared with this one.
    Declare(Type),
    /// It would not be the same value.
    Refused(&'static str),
}

/// Whether the statement stores what it is given, so that a declared type could be cast on the way into a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Reads,
    Writes,
}

/// Looks whether the value fits into a parameter of this type.
pub(super) fn fit(value: &Value, of: &Type, purpose: Use) -> Fit {
    match value {
        Value::Null => Fit::Exact,
        Value::Real(real) if !real.is_finite() => Fit::Exact,
        Value::Integer(integer) => fit_integer(*integer, of),
        Value::Real(real) => fit_real(*real, of, purpose),
        Value::Text(text) => fit_text(text, of),
        Value::Blob(_) if *of == Type::BYTEA => Fit::Exact,
        Value::Blob(_) if is_text(of) => Fit::Declare(Type::BYTEA),
        Value::Blob(_) => Fit::Refused("a blob goes into BYTEA alone"),
    }
}

fn fit_integer(integer: i64, of: &Type) -> Fit {
    let is_in = |longest: i64| (-longest - 1..=longest).contains(&integer);
    let is_exact = |is_exact: bool, why| if is_exact { Fit::Exact } else { Fit::Refused(why) };
    match *of {
        Type::INT8 | Type::NUMERIC => Fit::Exact,
        Type::INT4 if is_in(i32::MAX.into()) => Fit::Exact,
        Type::INT2 if is_in(i16::MAX.into()) => Fit::Exact,
        Type::INT4 | Type::INT2 => Fit::Declare(Type::INT8),
        Type::FLOAT8 => is_exact(integer.unsigned_abs() <= EXACT, "an integer beyond 2^53 is not exact as a double"),
        Type::FLOAT4 => is_exact(integer.unsigned_abs() <= 1 << 24, "the integer is not exact in 4 bytes"),
        Type::BOOL => is_exact((0..=1).contains(&integer), "0 or 1 is expected for a BOOLEAN"),
        _ if is_text(of) => Fit::Declare(Type::INT8),
        _ => Fit::Refused("an integer does not go into this type: bind a text, or cast in the SQL"),
    }
}

fn fit_real(real: f64, of: &Type, purpose: Use) -> Fit {
    match *of {
        Type::FLOAT8 => Fit::Exact,
        Type::FLOAT4 if f64::from(real as f32) == real => Fit::Exact,
        Type::FLOAT4 => Fit::Refused("the number is not exact in 4 bytes: declare the column DOUBLE PRECISION"),
        Type::NUMERIC => Fit::Refused("a double is not exact as NUMERIC: bind its digits as a text"),
        // Postgres writes 2.0 as 2 where SQLite has 2.0.
        _ if is_text(of) && purpose == Use::Reads => Fit::Declare(Type::FLOAT8),
        _ => {
            Fit::Refused("a double does not go into this type unchanged: bind an integer or a text, or cast in the SQL")
        }
    }
}

fn fit_text(text: &str, of: &Type) -> Fit {
    if text.contains('\0') {
        return Fit::Refused("Postgres has no NUL in a text: bind a blob");
    }
    match *of {
        Type::BYTEA => Fit::Refused("a text is not a BYTEA: bind a blob"),
        Type::INT2 | Type::INT4 | Type::INT8 | Type::FLOAT4 | Type::FLOAT8 | Type::BOOL | Type::OID => {
            Fit::Refused("a text is not a number: bind a number")
        }
        _ => Fit::Exact,
    }
}

/// The type of a NULL in a statement whose parameters are declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nulls {
    /// None, as long as Postgres finds one.
    Unknown,
    Text,
}

/// The type of a value by itself, for a statement whose text does not say it.
pub(super) fn own_type(value: &Value, nulls: Nulls) -> Type {
    match value {
        Value::Integer(_) => Type::INT8,
        Value::Real(_) => Type::FLOAT8,
        Value::Blob(_) => Type::BYTEA,
        Value::Text(_) => Type::TEXT,
        Value::Null if nulls == Nulls::Text => Type::TEXT,
        Value::Null => Type::UNKNOWN,
    }
}

fn is_text(of: &Type) -> bool {
    [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME, Type::UNKNOWN].contains(of)
}

/// A value to send. It does not show in logs.
#[derive(Clone, Copy)]
pub(super) struct Bound<'v>(pub(super) &'v Value);

impl std::fmt::Debug for Bound<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.type_name())
    }
}

impl ToSql for Bound<'_> {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self.0 {
            Value::Null => return Ok(IsNull::Yes),
            Value::Real(real) if !real.is_finite() => return Ok(IsNull::Yes),
            Value::Integer(integer) => match *of {
                Type::INT8 => out.put_i64(*integer),
                Type::INT4 => out.put_i32(i32::try_from(*integer)?),
                Type::INT2 => out.put_i16(i16::try_from(*integer)?),
                Type::FLOAT8 => out.put_f64(*integer as f64),
                Type::FLOAT4 => out.put_f32(*integer as f32),
                Type::BOOL => out.put_u8(u8::from(*integer == 1)),
                _ => out.put_slice(integer.to_string().as_bytes()),
            },
            Value::Real(real) if *of == Type::FLOAT4 => out.put_f32(*real as f32),
            Value::Real(real) => out.put_f64(*real),
            Value::Text(text) => out.put_slice(text.as_bytes()),
            Value::Blob(bytes) => out.put_slice(bytes),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        self.to_sql(of, out)
    }

    fn encode_format(&self, of: &Type) -> Format {
        match self.0 {
            Value::Text(_) => Format::Text,
            Value::Integer(_) if *of == Type::NUMERIC => Format::Text,
            _ => Format::Binary,
        }
    }
}

/// The bytes of a column.
pub(super) struct Raw<'r>(Option<&'r [u8]>);

impl<'r> FromSql<'r> for Raw<'r> {
    fn from_sql(_: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// The value of a column.
///
/// # Errors
/// [`ErrorKind::Decode`] for a type without a text of one form, such as an array.
pub(super) fn decode(column: &str, of: &Type, raw: &Raw<'_>) -> Result<Value> {
    let Raw(Some(raw)) = *raw else { return Ok(Value::Null) };
    let of = base(of);
    value(of, raw).ok_or_else(|| {
        let message = format!("column {column} has the type {}: cast it to TEXT in the SQL", of.name());
        Error::new(ErrorKind::Decode, message)
    })
}

/// The type beneath domains.
fn base(mut of: &Type) -> &Type {
    while let Kind::Domain(inner) = of.kind() {
        of = inner;
    }
    of
}

/// Returns whether every value of a type can be decoded. Times may be infinite or out of range.
pub(super) fn always_decodes(of: &Type) -> bool {
    let of = base(of);
    let known = [
        Type::BOOL,
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::OID,
        Type::FLOAT4,
        Type::FLOAT8,
        Type::BYTEA,
        Type::JSON,
        Type::JSONB,
        Type::XML,
        Type::NUMERIC,
        Type::UUID,
        Type::VOID,
    ];
    is_text(of) || known.contains(of) || matches!(of.kind(), Kind::Enum(_))
}

/// `None` where the type is not known, or the bytes are not of it.
fn value(of: &Type, raw: &[u8]) -> Option<Value> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(Value::from);
    match *of {
        Type::BOOL => Some(Value::Integer(i64::from(*raw.first()? != 0))),
        Type::INT2 => Some(Value::Integer(i16::from_be_bytes(raw.try_into().ok()?).into())),
        Type::INT4 => Some(Value::Integer(i32::from_be_bytes(raw.try_into().ok()?).into())),
        Type::INT8 => Some(Value::Integer(i64::from_be_bytes(raw.try_into().ok()?))),
        Type::OID => Some(Value::Integer(u32::from_be_bytes(raw.try_into().ok()?).into())),
        Type::FLOAT4 => Some(Value::Real(f32::from_be_bytes(raw.try_into().ok()?).into())),
        Type::FLOAT8 => Some(Value::Real(f64::from_be_bytes(raw.try_into().ok()?))),
        Type::BYTEA => Some(Value::Blob(Bytes::copy_from_slice(raw))),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::JSON | Type::XML => text(raw),
        Type::CHAR => text(raw),
        Type::JSONB => text(raw.strip_prefix(&[1])?),
        Type::NUMERIC => numeric::value(raw),
        Type::UUID => Some(Value::Text(uuid(raw.try_into().ok()?))),
        Type::TIMESTAMP => time(raw, "%Y-%m-%d %H:%M:%S%.f"),
        Type::TIMESTAMPTZ => time(raw, "%Y-%m-%dT%H:%M:%S%.fZ"),
        Type::DATE => {
            let days = i64::from(i32::from_be_bytes(raw.try_into().ok()?));
            moment(days.checked_mul(86_400_000_000)?, "%Y-%m-%d")
        }
        Type::TIME => time(raw, "%H:%M:%S%.f"),
        Type::VOID => Some(Value::Null),
        _ if matches!(of.kind(), Kind::Enum(_)) => text(raw),
        _ => None,
    }
}

fn time(raw: &[u8], form: &str) -> Option<Value> {
    moment(i64::from_be_bytes(raw.try_into().ok()?), form)
}

/// A time of microseconds since 2000, in UTC.
fn moment(micros: i64, form: &str) -> Option<Value> {
    const EPOCH: i64 = 946_684_800_000_000;
    let time = chrono::DateTime::from_timestamp_micros(micros.checked_add(EPOCH)?)?;
    Some(Value::Text(time.format(form).to_string()))
}

fn uuid(bytes: [u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_only_where_they_stay_the_same() {
        let exact = |value: Value, of: Type| fit(&value, &of, Use::Writes) == Fit::Exact;
        assert!(exact(i64::MAX.into(), Type::INT8) && exact(i64::MAX.into(), Type::NUMERIC));
        assert!(exact(1.into(), Type::BOOL) && !exact(2.into(), Type::BOOL));
        assert!(!exact((EXACT as i64 + 1).into(), Type::FLOAT8));
        assert!(
            exact(0.5.into(), Type::FLOAT4) && !exact(0.1.into(), Type::FLOAT4) && !exact(0.1.into(), Type::NUMERIC)
        );
        assert!(
            !exact("1".into(), Type::INT8) && exact("1.50".into(), Type::NUMERIC) && !exact("a\0".into(), Type::TEXT)
        );
        assert!(
            !exact("a".into(), Type::BYTEA) && exact(Value::Null, Type::BYTEA) && exact(f64::NAN.into(), Type::INT4)
        );
        assert_eq!(fit(&1.into(), &Type::TEXT, Use::Writes), Fit::Declare(Type::INT8));
        assert_eq!(fit(&(1_i64 << 40).into(), &Type::INT4, Use::Writes), Fit::Declare(Type::INT8));
        assert_eq!(fit(&2.5.into(), &Type::TEXT, Use::Reads), Fit::Declare(Type::FLOAT8));
    }

    #[test]
    fn types_whose_values_may_not_be_readable_are_known() {
        assert!([Type::TEXT, Type::INT8, Type::NUMERIC, Type::UUID].iter().all(always_decodes));
        assert!(![Type::TIMESTAMP, Type::DATE, Type::INT4_ARRAY, Type::INTERVAL].iter().any(always_decodes));
    }

    #[test]
    fn times_and_ids_are_read_as_text() {
        let micros = |micros: i64, of: Type| value(&of, &micros.to_be_bytes()).unwrap();
        assert_eq!(micros(0, Type::TIMESTAMP), "2000-01-01 00:00:00".into());
        assert_eq!(micros(-1, Type::TIMESTAMP), "1999-12-31 23:59:59.999999".into());
        assert_eq!(micros(1_500_000, Type::TIMESTAMPTZ), "2000-01-01T00:00:01.500Z".into());
        assert_eq!(value(&Type::TIMESTAMP, &i64::MAX.to_be_bytes()), None, "infinity has no text of SQLite's");
        assert_eq!(value(&Type::DATE, &366_i32.to_be_bytes()), Some("2001-01-01".into()));
        let id = value(&Type::UUID, &[0x12; 16]);
        assert_eq!(id, Some("12121212-1212-1212-1212-121212121212".into()));
    }
}
