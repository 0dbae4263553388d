//! Transfer of rows from one database into another of a different shape, repeatably.
//!
//! A [`Map`] names the new columns and their sources. A row's new id is made of the old database, table and key, so that
//! a transfer that is repeated finds the rows that are there already: one that broke off is started again and continues, rows added
//! since are added, and changes in the new database stay. Nothing is deleted or changed in either.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use isobar_db::transfer::{Map, transfer};
//! use isobar_db::{Database, QueryableExt, SqliteDatabase};
//!
//! let old = SqliteDatabase::memory().await?;
//! old.exec("CREATE TABLE people (id INTEGER PRIMARY KEY, mail TEXT)\nINSERT INTO people VALUES (1, ' Ada@Example.com')").await?;
//! let new = SqliteDatabase::memory().await?;
//! new.exec("CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT NOT NULL)").await?;
//!
//! // `isobar d1 copy` reads the same from a file of TOML.
//! let map: Map = serde_json::from_value(serde_json::json!({ "table": [{
//!     "from": "people", "to": "users",
//!     "columns": { "id": { "id": true }, "email": { "column": "mail", "as": "lower" } },
//! }] }))?;
//! let report = transfer(&old, "legacy", &new, &map, false, |_| ()).await?;
//! assert_eq!((report.tables[0].copied, report.tables[0].present), (1, 0));
//! let again = transfer(&old, "legacy", &new, &map, false, |_| ()).await?;
//! assert_eq!((again.tables[0].copied, again.tables[0].present), (0, 1));
//! assert_eq!(new.prepare("SELECT email FROM users").one::<String>().await?, "ada@example.com");
//! # Ok(()) }
//! # #[cfg(not(feature = "memory"))] fn main() {}
//! ```

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::sql::quoted;
use crate::{Database, Error, ErrorKind, QueryableExt, Result, Row, Statement, Value};

/// Rows that are read and written at once.
const PAGE: usize = 50;

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

/// Report of a transfer or a dry run, table by table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The tables, in the map's order.
    pub tables: Vec<TableReport>,
}

/// Report of a table's rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TableReport {
    /// The old table.
    pub from: String,
    /// The new table.
    pub to: String,
    /// Rows that were written; in a dry run those that would be.
    pub copied: u64,
    /// Rows that were there already.
    pub present: u64,
    /// Rows that could not be written, each with the reason. The others are not affected.
    pub skipped: Vec<Skipped>,
}

/// A row that was not copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Skipped {
    /// The row's key in the old table.
    pub key: String,
    /// The reason, for people.
    pub reason: String,
}

/// Copies what the map names from one database into another; `source` is the old one's name, which is a part of every new
/// id. `progress` is called with every page. A dry run writes nothing and reports the same rows.
///
/// # Errors
/// [`ErrorKind::Migration`] when a rule is invalid; as [`Queryable::query`](crate::Queryable::query), also when a table or column
/// of the map is missing. Rows written until then stay, and the next transfer continues.
pub async fn transfer(
    from: &dyn Database,
    source: &str,
    to: &dyn Database,
    map: &Map,
    dry_run: bool,
    mut progress: impl FnMut(&TableReport) + Send,
) -> Result<Report> {
    for table in &map.tables {
        table.check(map)?;
    }
    let mut report = Report::default();
    let mut dry = DryRun::default();
    for table in &map.tables {
        let mut transfer = Transfer { from, source, to, map, table, uniques: uniques(to, &table.to).await?, dry_run };
        let mut done = TableReport { from: table.from.clone(), to: table.to.clone(), ..TableReport::default() };
        let mut after = None;
        while let Some(last) = transfer.page(after, &mut done, &mut dry).await? {
            progress(&done);
            after = Some(last);
        }
        report.tables.push(done);
    }
    Ok(report)
}

/// Writes of a dry run: ids by their tables, and values that must be unique.
#[derive(Debug, Default)]
struct DryRun {
    ids: HashSet<(String, String)>,
    unique: HashSet<String>,
}

#[derive(Debug)]
struct Transfer<'a> {
    from: &'a dyn Database,
    source: &'a str,
    to: &'a dyn Database,
    map: &'a Map,
    table: &'a TableMap,
    /// The new table's unique indexes, by their columns.
    uniques: Vec<Vec<String>>,
    dry_run: bool,
}

struct NewRow {
    key: String,
    id: Option<String>,
    values: Vec<(String, Value)>,
    /// Old tables and new ids that it refers to, with the old key.
    references: Vec<(String, String, String)>,
}

impl Transfer<'_> {
    /// Copies the page after a key. Returns its last key.
    async fn page(&mut self, after: Option<Value>, done: &mut TableReport, dry: &mut DryRun) -> Result<Option<Value>> {
        let TableMap { from, key, .. } = self.table;
        let from = quoted(from);
        let key = quoted(key);
        let follows = if after.is_some() { format!("WHERE {key} > ?1") } else { String::new() };
        let sql = format!("SELECT * FROM {from} {follows} ORDER BY {key} LIMIT {PAGE}");
        let statement = Statement::new(sql).bind_all(after).rows_only();
        let rows = self.from.query(statement).await?.rows;
        let mut made = Vec::new();
        for row in &rows {
            let key: Value = row.get(&self.table.key)?;
            match self.table.row(self.source, row, &text(&key)) {
                Ok(new) => made.push(new),
                Err(reason) => done.skipped.push(Skipped { key: text(&key), reason }),
            }
        }
        let present = self.present(&made).await?;
        let (old, new): (Vec<_>, Vec<_>) =
            made.into_iter().partition(|row| row.id.as_ref().is_some_and(|id| present.contains(id)));
        done.present += old.len() as u64;
        dry.ids.extend(old.into_iter().filter_map(|row| Some((self.table.to.clone(), row.id?))));
        self.write(new, done, dry).await?;
        rows.last().map(|row| row.get(&self.table.key)).transpose()
    }

    /// Ids of the page that the new table already has.
    async fn present(&self, rows: &[NewRow]) -> Result<HashSet<String>> {
        let ids: Vec<_> = rows.iter().filter_map(|row| row.id.clone()).collect();
        let Some(column) = self.table.id_column().filter(|_| !ids.is_empty()) else { return Ok(HashSet::new()) };
        let marks = vec!["?"; ids.len()].join(", ");
        let column = quoted(column);
        let sql = format!("SELECT {column} FROM {} WHERE {column} IN ({marks})", quoted(&self.table.to));
        let found: Vec<String> = self.to.prepare(sql).bind_all(ids).all().await?;
        Ok(found.into_iter().collect())
    }

    async fn write(&self, rows: Vec<NewRow>, done: &mut TableReport, dry: &mut DryRun) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        // All at once, and one by one where one of them is refused.
        if !self.dry_run {
            let batch = rows.iter().map(|row| self.insert(row)).collect();
            match self.to.batch(batch).await {
                Ok(_) => {
                    done.copied += rows.len() as u64;
                    return Ok(());
                }
                Err(error) if matches!(error.kind(), ErrorKind::Constraint(_)) => {}
                Err(error) => return Err(error),
            }
        }
        for row in rows {
            match self.write_one(&row, dry).await {
                Ok(()) => done.copied += 1,
                Err(error) if matches!(error.kind(), ErrorKind::Constraint(_) | ErrorKind::TooBig) => {
                    done.skipped.push(Skipped { key: row.key, reason: error.message().to_owned() });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn write_one(&self, row: &NewRow, dry: &mut DryRun) -> Result<()> {
        if !self.dry_run {
            self.to.query(self.insert(row)).await?;
            return Ok(());
        }
        self.check_dry_run(row, dry).await?;
        // It is written and rolled back by a statement that fails; a row that it refers to may exist in the dry run alone.
        let defer = Statement::new("PRAGMA defer_foreign_keys = ON");
        let refuse = Statement::new("SELECT json('taken back')");
        match self.to.batch(vec![defer, self.insert(row), refuse]).await {
            Err(error) if !error.message().contains("malformed JSON") => return Err(error),
            _ => {}
        }
        for columns in &self.uniques {
            dry.unique.insert(self.unique_key(columns, row));
        }
        dry.ids.extend(row.id.clone().map(|id| (self.table.to.clone(), id)));
        Ok(())
    }

    /// The constraint that would fail if the writes of the dry run were in the database.
    async fn check_dry_run(&self, row: &NewRow, dry: &DryRun) -> Result<()> {
        let refused = |message: String| Error::new(ErrorKind::Constraint(crate::Constraint::Other), message);
        for (old, id, key) in &row.references {
            let Some((table, column)) = self.map.target(old) else { continue };
            let sql = format!("SELECT count(*) FROM {} WHERE {} = ?", quoted(table), quoted(column));
            let known = dry.ids.contains(&(table.to_owned(), id.clone()));
            if !known && self.to.prepare(sql).bind(id).one::<i64>().await? == 0 {
                return Err(refused(format!("FOREIGN KEY constraint failed: {table} has no row of the old key {key}")));
            }
        }
        for columns in &self.uniques {
            let null = |column: &String| row.values.iter().any(|(name, value)| name == column && *value == Value::Null);
            if !columns.iter().any(null) && dry.unique.contains(&self.unique_key(columns, row)) {
                let names: Vec<_> = columns.iter().map(|column| format!("{}.{column}", self.table.to)).collect();
                return Err(refused(format!("UNIQUE constraint failed: {}", names.join(", "))));
            }
        }
        Ok(())
    }

    fn unique_key(&self, columns: &[String], row: &NewRow) -> String {
        let value = |column: &String| row.values.iter().find(|(name, _)| name == column).map(|(_, value)| value);
        format!("{} {columns:?} {:?}", self.table.to, columns.iter().map(value).collect::<Vec<_>>())
    }

    fn insert(&self, row: &NewRow) -> Statement {
        let names: Vec<_> = row.values.iter().map(|(name, _)| quoted(name)).collect();
        let marks = vec!["?"; names.len()].join(", ");
        let sql = format!("INSERT INTO {} ({}) VALUES ({marks})", quoted(&self.table.to), names.join(", "));
        Statement::new(sql).bind_all(row.values.iter().map(|(_, value)| value.clone()))
    }
}

impl Map {
    /// The new table of an old one, and its column of ids.
    fn target(&self, from: &str) -> Option<(&str, &str)> {
        let table = self.tables.iter().find(|table| table.from == from)?;
        Some((&table.to, table.id_column()?))
    }
}

impl TableMap {
    fn check(&self, map: &Map) -> Result<()> {
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

    fn id_column(&self) -> Option<&str> {
        let is_id = |map: &ColumnMap| matches!(map, ColumnMap::Rule(rule) if rule.id);
        self.columns.iter().find(|(_, map)| is_id(map)).map(|(name, _)| name.as_str())
    }

    /// The new row, or the reason why there is none.
    fn row(&self, source: &str, row: &Row, key: &str) -> Result<NewRow, String> {
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
#[must_use]
pub fn new_id(source: &str, table: &str, key: &str) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(format!("{source}\0{table}\0{key}").as_bytes())[..16]);
    bytes[6] = 0x80 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// The columns of a table's unique indexes.
async fn uniques(database: &dyn Database, table: &str) -> Result<Vec<Vec<String>>> {
    let list = format!("PRAGMA index_list({})", quoted(table));
    let mut uniques = Vec::new();
    for row in database.query(list.into()).await?.rows {
        if row.get::<i64>("unique")? == 1 && row.get::<i64>("partial")? == 0 {
            let info = format!("PRAGMA index_info({})", quoted(&row.get::<String>("name")?));
            let rows = database.query(info.into()).await?.rows;
            uniques.push(rows.iter().map(|row| row.get("name")).collect::<Result<_>>()?);
        }
    }
    Ok(uniques)
}

fn slug(text: &str) -> String {
    let letters = text.to_lowercase();
    let parts = letters.split(|char: char| !char.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-")
}

fn text(value: &Value) -> String {
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
