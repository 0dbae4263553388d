//! The schema of a database: tables with columns, indexes and foreign keys, views, triggers; and what two of them differ in.
//!
//! Two uses: to show a schema (the types serialize to JSON), and to [compare](Schema::differences) two of them.
//! Nothing here writes.

mod difference;
mod read;

use serde::Serialize;

pub use self::difference::Difference;
#[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
pub(crate) use self::read::is_reserved;

/// Schema of a database, without SQLite's own tables (`sqlite_*`) and Cloudflare's (`_cf_*`). Objects are in the order in which they
/// were created.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::schema::Schema;
/// use isobar_db::{QueryableExt, SqliteDatabase};
///
/// let db = SqliteDatabase::memory().await?;
/// db.run_script("CREATE TABLE teams (id INTEGER PRIMARY KEY);
///     CREATE TABLE people (id INTEGER PRIMARY KEY, team INTEGER NOT NULL REFERENCES teams (id) ON DELETE CASCADE, mail TEXT UNIQUE)").await?;
/// let schema = Schema::read(&db).await?;
/// let people = schema.table("people").expect("it was created");
/// assert_eq!(people.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["id", "team", "mail"]);
/// assert!(people.columns[1].is_not_null && people.indexes[0].is_unique);
/// assert_eq!((people.foreign_keys[0].table.as_str(), people.foreign_keys[0].on_delete.as_str()), ("teams", "CASCADE"));
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Schema {
    /// The tables, virtual ones and their shadow tables included.
    pub tables: Vec<Table>,
    /// The views.
    pub views: Vec<View>,
    /// The triggers.
    pub triggers: Vec<Trigger>,
}

/// Kind of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TableKind {
    /// A table with rows of its own.
    Table,
    /// A virtual table: FTS5's, an R-tree.
    Virtual,
    /// A table that a virtual one keeps its data in.
    Shadow,
}

/// A table.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::schema::{ColumnKind, Schema};
/// use isobar_db::{QueryableExt, SqliteDatabase};
///
/// let db = SqliteDatabase::memory().await?;
/// db.run_script("CREATE TABLE items (price INTEGER NOT NULL, shown TEXT AS (price || ' cents')) STRICT").await?;
/// let schema = Schema::read(&db).await?;
/// let items = schema.table("ITEMS").expect("names have no case");
/// assert!(items.is_strict && !items.is_without_rowid);
/// assert_eq!(items.column("shown").map(|column| column.kind), Some(ColumnKind::Virtual));
/// assert_eq!(items.column("price").map(|column| column.declared_type.as_str()), Some("INTEGER"));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: TableKind,
    /// The SQL that would create it, as SQLite keeps it.
    pub sql: String,
    /// Whether it is a table `WITHOUT ROWID`.
    pub is_without_rowid: bool,
    /// Whether it is `STRICT`.
    pub is_strict: bool,
    /// The columns in their order, generated and hidden ones included.
    pub columns: Vec<Column>,
    /// The indexes, those of UNIQUE and PRIMARY KEY included.
    pub indexes: Vec<Index>,
    /// The foreign keys.
    pub foreign_keys: Vec<ForeignKey>,
}

/// Whether a column has a value of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ColumnKind {
    /// It is stored as it was written.
    Ordinary,
    /// A hidden column of a virtual table.
    Hidden,
    /// `GENERATED ALWAYS AS ... VIRTUAL`: computed when it is read.
    Virtual,
    /// `GENERATED ALWAYS AS ... STORED`: computed when the row is written.
    Stored,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The declared type as it was written; empty where there is none.
    pub declared_type: String,
    /// Whether it is `NOT NULL`.
    pub is_not_null: bool,
    /// The default, as SQL.
    pub default: Option<String>,
    /// Its place in the primary key, counted from 1; 0 where it is not part of it.
    pub primary_key: u32,
    /// Whether it has a value of its own.
    pub kind: ColumnKind,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Index {
    /// Its name; SQLite's own for those of UNIQUE and PRIMARY KEY.
    pub name: String,
    /// Whether it is unique.
    pub is_unique: bool,
    /// Whether it has a WHERE clause.
    pub is_partial: bool,
    /// The SQL that would create it; `None` for one of UNIQUE or PRIMARY KEY.
    pub sql: Option<String>,
    /// The columns of its key, in their order.
    pub columns: Vec<IndexColumn>,
}

/// A column of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct IndexColumn {
    /// The column's name; `None` for an expression, and for the rowid.
    pub name: Option<String>,
    /// Whether it is sorted from the greatest value to the smallest.
    pub is_descending: bool,
    /// The collation.
    pub collation: String,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ForeignKey {
    /// The columns that refer.
    pub columns: Vec<String>,
    /// The table that is referred to.
    pub table: String,
    /// The columns that are referred to; empty for the table's primary key.
    pub referenced: Vec<String>,
    /// The action: `NO ACTION`, `RESTRICT`, `SET NULL`, `SET DEFAULT`, `CASCADE`.
    pub on_update: String,
    /// The action, as for `on_update`.
    pub on_delete: String,
}

/// A view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct View {
    /// Its name.
    pub name: String,
    /// The SQL that would create it.
    pub sql: String,
}

/// A trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Trigger {
    /// Its name.
    pub name: String,
    /// The table or view that it belongs to.
    pub table: String,
    /// The SQL that would create it.
    pub sql: String,
}

impl Schema {
    /// The table of this name. SQLite's names are the same in upper and lower case (ASCII).
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name.eq_ignore_ascii_case(name))
    }
}

impl Table {
    /// The column of this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }
}
