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
//!
//! A map as a file of TOML, the form that `isobar d1 copy` takes:
//!
//! ```
//! use isobar_db::transfer::Map;
//!
//! let map: Map = toml::from_str(r#"
//!     [[table]]
//!     from = "people"
//!     to = "users"
//!     [table.columns]
//!     id = { id = true }
//!     name = "full_name"                                # as it is
//!     email = { column = "mail", as = "lower" }
//!     role = { column = "level", choices = { "1" = "member", "2" = "owner" } }
//!     created_at = { column = "ts", as = "unix-seconds" }
//!     imported = { value = true }
//!
//!     [[table]]
//!     from = "notes"
//!     to = "posts"
//!     [table.columns]
//!     id = { id = true }
//!     author = { column = "person", reference = "people" } # that person's new id
//!     text = { column = "body", default = "" }
//! "#)?;
//! assert_eq!(map.tables.len(), 2);
//! # Ok::<(), toml::de::Error>(())
//! ```
//!
//! Pages of 50 rows are read by the old key and written as one batch; where a row is refused, its page is written
//! row by row, so that one bad row does not hold up the others. A row whose id is there already counts as present
//! and is not compared.

mod map;

use std::collections::HashSet;

use serde::Serialize;

pub use self::map::{ColumnMap, Conversion, Map, Rule, TableMap, new_id};
use self::map::{NewRow, text};
use crate::sql::quoted;
use crate::{Database, Error, ErrorKind, QueryableExt, Result, Statement, Value};

/// Rows that are read and written at once.
const PAGE: usize = 50;

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
/// A dry run writes each row and rolls it back, so that constraints and triggers of the new database speak; rows
/// that only exist in the dry run count for foreign keys and unique columns. It takes about as long as the
/// transfer.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use isobar_db::transfer::{Map, transfer};
/// use isobar_db::{QueryableExt, SqliteDatabase};
///
/// let old = SqliteDatabase::memory().await?;
/// old.run_script("CREATE TABLE people (id INTEGER PRIMARY KEY, mail TEXT); INSERT INTO people VALUES (1, 'a'), (2, NULL)").await?;
/// let new = SqliteDatabase::memory().await?;
/// new.run_script("CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT NOT NULL)").await?;
/// let map: Map = toml::from_str(
///     "[[table]]\nfrom = 'people'\nto = 'users'\n[table.columns]\nid = { id = true }\nemail = 'mail'",
/// )?;
///
/// let report = transfer(&old, "legacy", &new, &map, true, |_| ()).await?;
/// let users = &report.tables[0];
/// assert_eq!((users.copied, users.skipped.len()), (1, 1));
/// assert_eq!(users.skipped[0].key, "2"); // NOT NULL constraint failed: users.email
/// assert_eq!(new.prepare("SELECT count(*) FROM users").one::<i64>().await?, 0, "nothing is written");
/// # Ok(()) }
/// ```
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
