//! Answers out of JSON, as Cloudflare's SQL API and ClickHouse write them.

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::answer::unexpected;
use super::{Answer, Type, Value};
use crate::Result;

/// The format JSON.
#[derive(Deserialize)]
struct Document {
    meta: Vec<Meta>,
    data: Vec<Map<String, Json>>,
    #[serde(default)]
    rows_before_limit_at_least: Option<u64>,
}

#[derive(Deserialize)]
struct Meta {
    name: String,
    #[serde(rename = "type")]
    ty: String,
}

impl Answer {
    /// Reads an answer in Analytics Engine's format JSON. In it inf and NaN are null: they are NaN here.
    ///
    /// ```
    /// use isobar_analytics::query::{Answer, Value};
    ///
    /// let json = br#"{"meta": [{"name": "requests", "type": "UInt64"}], "data": [{"requests": "3"}], "rows": 1}"#;
    /// assert_eq!(Answer::from_json(json)?.value(0, 0), Value::UInt(3));
    /// # Ok::<(), isobar_analytics::Error>(())
    /// ```
    ///
    /// Keys that the format has besides (`rows`, `statistics`) are not looked at, and the counts of what was read stay 0.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) where the text is not of this format, or has a type that is not known here.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let document = serde_json::from_slice::<Document>(json);
        let Document { meta, data, rows_before_limit_at_least } =
            document.map_err(|error| unexpected(format!("the answer is not of the format JSON: {error}")))?;
        let columns = columns(meta.into_iter().map(|Meta { name, ty }| (name, ty)))?;
        let cells = |cells: &Map<String, Json>| row(&columns, |_, name| cells.get(name));
        let rows = data.iter().map(cells).collect::<Result<Vec<_>>>()?;
        Ok(Self { rows_before_limit_at_least, ..Self::from_rows(columns, rows)? })
    }
}

#[cfg(all(feature = "clickhouse", feature = "query", not(target_arch = "wasm32")))]
impl Answer {
    /// Reads an answer in ClickHouse's format JSONCompact, whose columns have these names where there are some.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json).
    pub(crate) fn from_json_compact(json: &[u8], names: Option<Vec<String>>) -> Result<Self> {
        let document = serde_json::from_slice::<Compact>(json);
        let Compact { meta, data, rows_before_limit_at_least } =
            document.map_err(|error| unexpected(format!("the answer is not of the format JSONCompact: {error}")))?;
        let names = names.unwrap_or_else(|| meta.iter().map(|Meta { name, .. }| name.clone()).collect());
        if names.len() != meta.len() {
            return Err(unexpected(format!("the answer has {} columns in place of {}", meta.len(), names.len())));
        }
        let columns = columns(meta.into_iter().zip(names).map(|(Meta { ty, .. }, name)| (name, ty)))?;
        let cells = |cells: &Vec<Json>| row(&columns, |number, _| cells.get(number));
        let rows = data.iter().map(cells).collect::<Result<Vec<_>>>()?;
        Ok(Self { rows_before_limit_at_least, ..Self::from_rows(columns, rows)? })
    }
}

/// The format JSONCompact.
#[cfg(all(feature = "clickhouse", feature = "query", not(target_arch = "wasm32")))]
#[derive(Deserialize)]
struct Compact {
    meta: Vec<Meta>,
    data: Vec<Vec<Json>>,
    #[serde(default)]
    rows_before_limit_at_least: Option<u64>,
}

/// The columns of an answer, by their names and those of their types.
fn columns(meta: impl Iterator<Item = (String, String)>) -> Result<Vec<(String, Type)>> {
    let column = |(name, ty): (String, String)| match Type::from_name(&ty) {
        Some(ty) => Ok((name, ty)),
        None => Err(unexpected(format!("the column {name} has the unknown type {ty}"))),
    };
    meta.map(column).collect()
}

/// The values of a row, each found by the number and the name of its column.
fn row<'j>(columns: &[(String, Type)], find: impl Fn(usize, &str) -> Option<&'j Json>) -> Result<Vec<Value>> {
    let values = columns.iter().enumerate().map(|(number, (name, ty))| {
        let value = find(number, name).and_then(|json| value(json, ty));
        value.ok_or_else(|| unexpected(format!("a value of the column {name} is not a {ty}")))
    });
    values.collect()
}

/// A value of a type; 64-bit integers and times are strings, and doubles may be.
fn value(json: &Json, ty: &Type) -> Option<Value> {
    Some(match ty {
        Type::Bool => Value::Bool(json.as_bool().or_else(|| json.as_u64().map(|value| value != 0))?),
        Type::Float64 if json.is_null() => Value::Float(f64::NAN),
        Type::Float64 => Value::Float(json.as_f64().or_else(|| json.as_str()?.parse().ok())?),
        Type::String => Value::String(Bytes::from(json.as_str()?.to_owned())),
        Type::Date => Value::Date(date(json.as_str()?)?),
        Type::DateTime(_) => Value::DateTime(date_time(json.as_str()?, ty)?),
        Type::Array(of) => Value::Array(json.as_array()?.iter().map(|item| value(item, of)).collect::<Option<_>>()?),
        Type::UInt8 | Type::UInt16 | Type::UInt32 | Type::UInt64 => {
            Value::UInt(json.as_u64().or_else(|| json.as_str()?.parse().ok())?)
        }
        _ => Value::Int(json.as_i64().or_else(|| json.as_str()?.parse().ok())?),
    })
}

fn date(text: &str) -> Option<NaiveDate> {
    let mut parts = text.splitn(3, '-');
    NaiveDate::from_ymd_opt(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?)
}

fn date_time(text: &str, ty: &Type) -> Option<DateTime<Utc>> {
    #[cfg(all(feature = "query", not(target_arch = "wasm32")))]
    if let Type::DateTime(Some(zone)) = ty {
        return DateTime::from_timestamp(super::time::parse(text.as_bytes(), zone.tz())?, 0);
    }
    // Without the database of zones there is no type with one.
    debug_assert_eq!(*ty, Type::DateTime(None));
    let (day, time) = text.split_once(' ')?;
    let mut parts = time.splitn(3, ':');
    let [hour, minute, second] =
        [parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?];
    Some(date(day)?.and_hms_opt(hour, minute, second)?.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_by_their_types() {
        let json = r#"{"meta": [{"name": "n", "type": "UInt64"}, {"name": "i", "type": "Int64"}, {"name": "x", "type": "Float64"},
            {"name": "b", "type": "Bool"}, {"name": "d", "type": "Date"}, {"name": "t", "type": "DateTime"},
            {"name": "a", "type": "Array(UInt8)"}],
            "data": [{"n": "18446744073709551615", "i": "-3", "x": null, "b": 1, "d": "2026-11-24", "t": "2026-11-24 01:02:03",
            "a": [1, 2]}], "rows": 1, "rows_before_limit_at_least": 7}"#;
        let answer = Answer::from_json(json.as_bytes()).expect("the answer is valid");
        assert_eq!((answer.value(0, 0), answer.value(0, 1)), (Value::UInt(u64::MAX), Value::Int(-3)));
        assert!(matches!(answer.value(0, 2), Value::Float(value) if value.is_nan()));
        assert_eq!(answer.value(0, 3), Value::Bool(true));
        let at = "2026-11-24T01:02:03Z".parse::<DateTime<Utc>>().expect("the time is valid");
        assert_eq!((answer.value(0, 4), answer.value(0, 5)), (Value::Date(at.date_naive()), Value::DateTime(at)));
        assert_eq!(answer.value(0, 6), Value::Array(vec![Value::UInt(1), Value::UInt(2)]));
        assert_eq!((answer.rows(), answer.rows_before_limit_at_least()), (1, Some(7)));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let message = |json: &str| Answer::from_json(json.as_bytes()).expect_err("it is invalid").message().to_owned();
        assert!(message("1\t2\n").contains("not of the format JSON"));
        let answer = |ty: &str, value: &str| {
            message(&format!(r#"{{"meta": [{{"name": "n", "type": "{ty}"}}], "data": [{{"n": {value}}}]}}"#))
        };
        assert_eq!(answer("Decimal(9, 2)", "1"), "the column n has the unknown type Decimal(9, 2)");
        assert_eq!(answer("UInt8", "\"x\""), "a value of the column n is not a UInt8");
        assert_eq!(answer("DateTime", "\"yesterday\""), "a value of the column n is not a DateTime");
    }
}
