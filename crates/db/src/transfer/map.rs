//! The map of a transfer: tables, columns, rules; and the new rows that they make of old ones.
//!
//! Everything here is plain computation on one row: whether a row is there already, and whether the database takes it, is
//! the transfer's part. A rule that cannot be followed for a row is a reason, in words, for skipping it.

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{Error, ErrorKind, Result, Row, Value};

/// Tables and their targets, in the order of the transfer: a table comes before those that refer to it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Map {
    /// The tables.
    #[serde(rename = "table")]
    pub tables: Vec<TableMap>,
}

/// Map of a table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TableMap {
    /// The old table.
    pub from: String,
    /// The new table.
    pub to: String,
    /// The old table's unique key, by which it is read. Default: `id`.
    #[serde(default = "id")]
    pub key: String,
    /// The new table's columns, each with its source. One of them has the new id (`{ id = true }`). A column that is not named gets the
    /// table's own default.
    pub columns: BTreeMap<String, ColumnMap>,
}

/// Source of a new column's value.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum ColumnMap {
    /// The old column of this name, as it is.
    Column(String),
    /// A rule.
    Rule(Rule),
}

/// A rule for one column: exactly one of `column`, `value`, `id` and `reference` with a column.
///
/// | the old value | the new value |
/// |---|---|
/// | null | `default`, or null; `as`, `choices` and `reference` are not asked |
/// | any, with `reference` | the new id of that row; whether it is there only a foreign key checks |
/// | among `choices` | the choice |
/// | not among `choices` | none: the row is skipped |
/// | with `as` | the conversion; the row is skipped where it does not convert |
/// | otherwise | the same |
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Rule {
    /// The old column.
    pub column: Option<String>,
    /// Conversion of the old value. Default: none.
    #[serde(rename = "as")]
    pub conversion: Option<Conversion>,
    /// Value where the old one is null. Default: null.
    pub default: Option<serde_json::Value>,
    /// The same value in every row.
    pub value: Option<serde_json::Value>,
    /// The row's new id.
    pub id: bool,
    /// The new id of the row of this old table whose key stands in `column`.
    pub reference: Option<String>,
    /// New values by old ones; a row with any other old value is skipped.
    pub choices: Option<BTreeMap<String, serde_json::Value>>,
}

/// Conversion of an old value.
///
/// | `as` | old | new |
/// |---|---|---|
/// | `text` | `' Ada '` | `'Ada'` |
/// | `lower` | `' Ada@Example.com'` | `'ada@example.com'` |
/// | `slug` | `'Hello, World!'` | `'hello-world'` |
/// | `integer` | `'42'`, `42.0` | `42` |
/// | `boolean` | `'yes'`, `1`, `'on'`, `'true'` | `1`; `'no'`, `0`, `'off'`, `'false'` and `''` are `0` |
/// | `unix-seconds` | `1767225600` | `'2026-01-01T00:00:00.000Z'` |
/// | `unix-milliseconds` | `1767225600000` | the same |
/// | `sqlite-time` | `'2026-01-01 00:00:00'` | the same |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Conversion {
    /// A text, without space around it.
    Text,
    /// A text in lower case: an e-mail address.
    Lower,
    /// A text of lower-case letters, digits and `-`.
    Slug,
    /// An integer.
    Integer,
    /// 1 or 0.
    Boolean,
    /// Seconds since 1970 as RFC 3339.
    UnixSeconds,
    /// Milliseconds since 1970 as RFC 3339.
    UnixMilliseconds,
    /// A date of SQLite's, `2026-11-01 12:00:00`, as RFC 3339.
    SqliteTime,
}

/// A new row, out of an old one.
pub(super) struct NewRow {
    /// The old row's key, as text.
    pub(super) key: String,
    /// The new id; the map has one in every table.
    pub(super) id: Option<String>,
    /// The new columns and their values.
    pub(super) values: Vec<(String, Value)>,
    /// Old tables and new ids that it refers to, with the old key.
    pub(super) references: Vec<(String, String, String)>,
}

impl Map {
    /// The new table of an old one, and its column of ids.
    pub(super) fn target(&self, from: &str) -> Option<(&str, &str)> {
        let table = self.tables.iter().find(|table| table.from == from)?;
        Some((&table.to, table.id_column()?))
    }
}

impl TableMap {
    /// Refuses a map that contradicts itself, before anything is read.
    pub(super) fn check(&self, map: &Map) -> Result<()> {
        let refused = |column: &str, why: &str| {
            Err(Error::new(ErrorKind::Migration, format!("the map of {} to {}: {column}: {why}", self.from, self.to)))
        };
        for (column, rule) in &self.columns {
            let ColumnMap::Rule(rule) = rule else { continue };
            let sources = [rule.column.is_some(), rule.value.is_some(), rule.id];
            if sources.iter().filter(|is| **is).count() != 1 {
                return refused(column, "give exactly one of column, value and id");
            }
            if let Some(table) = rule.reference.as_ref().filter(|table| map.target(table).is_none()) {
                return refused(column, &format!("it refers to {table}, which the map does not transfer"));
            }
            if rule.reference.is_some() && rule.column.is_none() {
                return refused(column, "a reference takes the column that has the old key");
            }
        }
        if self.id_column().is_none() {
            return refused("id", "one column must be { id = true }, by which a second transfer finds the row");
        }
        Ok(())
    }

    pub(super) fn id_column(&self) -> Option<&str> {
        let is_id = |map: &ColumnMap| matches!(map, ColumnMap::Rule(rule) if rule.id);
        self.columns.iter().find(|(_, map)| is_id(map)).map(|(name, _)| name.as_str())
    }

    /// The new row, or the reason why there is none.
    pub(super) fn row(&self, source: &str, row: &Row, key: &str) -> Result<NewRow, String> {
        let mut new = NewRow { key: key.to_owned(), id: None, values: Vec::new(), references: Vec::new() };
        for (name, map) in &self.columns {
            let value = match map {
                ColumnMap::Column(column) => row.get(column).map_err(|error| error.message().to_owned())?,
                ColumnMap::Rule(rule) => {
                    let value = rule.value(source, &self.from, row, key).map_err(|why| format!("{name}: {why}"))?;
                    if rule.id {
                        new.id = Some(text(&value));
                    }
                    if let (Some(_), Some(column), Value::Text(id)) = (&rule.reference, &rule.column, &value) {
                        let old: Value = row.get(column).map_err(|error| error.message().to_owned())?;
                        let table = rule.reference.clone().unwrap_or_default();
                        new.references.push((table, id.clone(), text(&old)));
                    }
                    value
                }
            };
            new.values.push((name.clone(), value));
        }
        Ok(new)
    }
}

impl Rule {
    fn value(&self, source: &str, table: &str, row: &Row, key: &str) -> Result<Value, String> {
        if self.id {
            return Ok(new_id(source, table, key).into());
        }
        if let Some(value) = &self.value {
            return Ok(of_json(value));
        }
        let column = self.column.as_deref().unwrap_or_default();
        let old: Value = row.get(column).map_err(|error| error.message().to_owned())?;
        if old == Value::Null {
            return Ok(self.default.as_ref().map_or(Value::Null, of_json));
        }
        if let Some(reference) = &self.reference {
            return Ok(new_id(source, reference, &text(&old)).into());
        }
        if let Some(choices) = &self.choices {
            let found = choices.get(&text(&old));
            return found.map(of_json).ok_or_else(|| format!("{:?} is not among the map's choices", text(&old)));
        }
        self.conversion.map_or(Ok(old.clone()), |conversion| conversion.convert(&old))
    }
}

impl Conversion {
    fn convert(self, old: &Value) -> Result<Value, String> {
        let whole = || match old {
            Value::Integer(integer) => Ok(*integer),
            Value::Real(real) if real.fract() == 0.0 && real.abs() < 9e15 => Ok(*real as i64),
            other => text(other).trim().parse().map_err(|_| format!("{:?} is not an integer", text(other))),
        };
        let moment = |milliseconds: Option<i64>| {
            let moment = milliseconds.and_then(chrono::DateTime::from_timestamp_millis);
            let moment = moment.ok_or_else(|| format!("{:?} is not a time", text(old)))?;
            Ok(moment.to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into())
        };
        match self {
            Self::Text => Ok(text(old).trim().into()),
            Self::Lower => Ok(text(old).trim().to_lowercase().into()),
            Self::Slug => Ok(slug(&text(old)).into()),
            Self::Integer => whole().map(Value::Integer),
            Self::Boolean => match text(old).trim().to_ascii_lowercase().as_str() {
                "1" | "true" | "yes" | "on" => Ok(1.into()),
                "0" | "false" | "no" | "off" | "" => Ok(0.into()),
                other => Err(format!("{other:?} is neither true nor false")),
            },
            Self::UnixSeconds => moment(whole()?.checked_mul(1000)),
            Self::UnixMilliseconds => moment(Some(whole()?)),
            Self::SqliteTime => {
                let text = text(old);
                let parsed = chrono::NaiveDateTime::parse_from_str(text.trim(), "%Y-%m-%d %H:%M:%S%.f");
                moment(parsed.ok().map(|time| time.and_utc().timestamp_millis()))
            }
        }
    }
}

/// The new id of an old row: always the same, in the form of a UUID of version 8 (RFC 9562).
///
/// It is the SHA-256 of the three, cut to 122 bits: two old rows get the same id with a probability that does not
/// matter, and who knows all three can compute it, so it is no secret.
///
/// ```
/// use isobar_db::transfer::new_id;
///
/// let id = new_id("legacy", "people", "1");
/// assert_eq!((id.len(), id.as_bytes()[14]), (36, b'8'));
/// assert_eq!(id, new_id("legacy", "people", "1"));
/// assert_ne!(id, new_id("legacy", "people", "2"));
/// ```
#[must_use]
pub fn new_id(source: &str, table: &str, key: &str) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(format!("{source}\0{table}\0{key}").as_bytes())[..16]);
    bytes[6] = 0x80 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn slug(text: &str) -> String {
    let letters = text.to_lowercase();
    let parts = letters.split(|char: char| !char.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-")
}

/// A value as text: a key in reports, and what rules look at.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Integer(integer) => integer.to_string(),
        Value::Null => String::new(),
        other => other.to_json().to_string(),
    }
}

fn of_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(bool) => (*bool).into(),
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Number(number) => {
            number.as_i64().map_or_else(|| Value::Real(number.as_f64().unwrap_or_default()), Value::Integer)
        }
        other => other.to_string().into(),
    }
}

fn id() -> String {
    "id".to_owned()
}
