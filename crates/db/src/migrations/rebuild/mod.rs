//! Rebuilding a table under another definition, with the foreign keys of both sides.
//!
//! ALTER TABLE cannot change a constraint, a type or the order of columns, so the table is made anew and its rows are copied. SQLite's
//! documentation has twelve steps for that, which begin with `PRAGMA foreign_keys = OFF`; in D1, and in any transaction, that has no
//! effect. With foreign keys on, three things go wrong that a migration written by hand does not show:
//!
//! | step | happens |
//! |---|---|
//! | `DROP TABLE users` | deletes its rows first: `ON DELETE CASCADE`, `SET NULL` and `SET DEFAULT` of other tables act, also where constraints are deferred, and delete or change rows there |
//! | `ALTER TABLE users_new RENAME TO users` | the violations that the deletion has counted are not counted back: the commit fails |
//! | a table that refers to itself | the new one still refers to the old one, whose deletion acts on it |
//!
//! So [`rebuild`] renames nothing. The rows are put aside into a table without constraints, the old table is dropped and created by its
//! new definition, and the rows are inserted again, by which SQLite counts each violation back; what is left fails the commit. The rows
//! of tables on which the deletion would act are put aside and inserted again, too, with their triggers dropped meanwhile. Each row that
//! is put aside is written twice.

mod script;
mod verify;

use self::script::Script;
use super::Migration;
use crate::schema::{Column, ColumnKind, ForeignKey, Schema, Table, TableKind};
use crate::{Error, ErrorKind, Queryable, QueryableExt, Result, SqliteDatabase, sql};

/// Actions of a foreign key by which the deletion of a row changes others.
const ACTIONS: [&str; 3] = ["CASCADE", "SET NULL", "SET DEFAULT"];

/// Sources of the new table's columns, where names do not say them.
///
/// ```
/// use isobar_db::migrations::RebuildOptions;
///
/// let options = RebuildOptions::default()
///     .with_source("full_name", "first || ' ' || last") // an expression over the old columns
///     .with_dropped("shoe_size"); // its values go
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RebuildOptions {
    /// Columns of the new table with an expression over the old one's columns. Default: a column has the values of the old column of
    /// the same name.
    pub sources: Vec<(String, String)>,
    /// Columns of the old table whose values are given up. Default: none.
    pub dropped: Vec<String>,
}

impl RebuildOptions {
    /// Fills a column by an expression over the old table's columns; by an old column's name, it is renamed.
    #[must_use]
    pub fn with_source(mut self, column: impl Into<String>, expression: impl Into<String>) -> Self {
        self.sources.push((column.into(), expression.into()));
        self
    }

    /// Gives up the values of an old column.
    #[must_use]
    pub fn with_dropped(mut self, column: impl Into<String>) -> Self {
        self.dropped.push(column.into());
        self
    }

    fn source(&self, column: &str) -> Option<&str> {
        self.sources.iter().find(|(name, _)| name.eq_ignore_ascii_case(column)).map(|(_, source)| source.as_str())
    }
}

/// Statements that rebuild a table, for one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rebuild {
    /// The table's name.
    pub table: String,
    /// The other tables whose rows are put aside, since they refer to the table with an action of `ON DELETE`, or to one of these.
    pub put_aside: Vec<String>,
    /// The statements, without semicolons.
    pub statements: Vec<String>,
}

impl Rebuild {
    /// The statements as the text of a migration, each with its semicolon.
    #[must_use]
    pub fn sql(&self) -> String {
        let mut text = format!(
            "-- Rebuilds the table {} (isobar). All of it is one transaction: do not run parts of it.\n",
            self.table.replace('\n', " ")
        );
        for statement in &self.statements {
            text.push_str(&sql::closed(statement));
            text.push_str(";\n");
        }
        text
    }

    /// The statements as a migration of this name.
    #[must_use]
    pub fn into_migration(self, name: impl Into<String>) -> Migration {
        Migration::new(name, self.sql())
    }
}

/// Writes the statements that give a table another definition and keep its rows, indexes and triggers, and the rows of tables that refer
/// to it. Nothing is changed: the statements are for a [`Migration`], here, on D1, by wrangler.
///
/// `definition` is a `CREATE TABLE` of the table under its own name. The statements hold for the schema from which they were made: they
/// begin with checks of it, and fail where it has changed. They end with a check of the foreign keys and of the number of rows. Before
/// they are returned they have run on a copy of the schema in memory, without rows.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::migrations::{self, RebuildOptions};
/// use isobar_db::{QueryableExt, SqliteDatabase};
///
/// let db = SqliteDatabase::memory().await?;
/// db.run_script("CREATE TABLE users (id INTEGER PRIMARY KEY, mail TEXT);
///     CREATE TABLE posts (id INTEGER PRIMARY KEY, author INTEGER REFERENCES users (id) ON DELETE CASCADE);
///     INSERT INTO users VALUES (1, 'ada@example.com'); INSERT INTO posts VALUES (7, 1);").await?;
///
/// let definition = "CREATE TABLE users (id INTEGER PRIMARY KEY, mail TEXT NOT NULL UNIQUE, name TEXT)";
/// let rebuild = migrations::rebuild(&db, definition, &RebuildOptions::default()).await?;
/// assert_eq!(rebuild.put_aside, ["posts"]);
/// migrations::apply(&db, &[rebuild.into_migration("0002_rebuild_users.sql")]).await?;
/// assert_eq!(db.prepare("SELECT count(*) FROM posts").one::<i64>().await?, 1);
/// # Ok(()) }
/// ```
///
/// Kept are rowids where neither definition names them, the counter of AUTOINCREMENT, indexes and triggers as they are. Views and the
/// triggers of other tables stay.
///
/// # Errors
/// [`ErrorKind::Migration`] where the table does not exist or is virtual, an old column would be lost without
/// [`RebuildOptions::dropped`], a column that is `NOT NULL` has neither a source nor a default, the schema has a broken view or trigger,
/// or would have one, or a foreign key that matches no key; [`ErrorKind::Sql`] for a definition that SQLite refuses; those of reading
/// the schema.
pub async fn rebuild(
    database: &(impl Queryable + ?Sized),
    definition: &str,
    options: &RebuildOptions,
) -> Result<Rebuild> {
    let new = defined(definition).await?;
    let schema = Schema::read(database).await?;
    let old = schema.table(&new.name).ok_or_else(|| refused(format!("there is no table {} to rebuild", new.name)))?;
    if [old, &new].iter().any(|table| table.kind != TableKind::Table) {
        return Err(refused(format!("cannot rebuild {}: it is a virtual table", old.name)));
    }
    let columns = columns(old, &new, options)?;
    let put_aside = acted_on(&schema, old);
    let script = Script { schema: &schema, old, new: &new, columns: &columns, put_aside: &put_aside };
    let rebuild = Rebuild {
        table: old.name.clone(),
        put_aside: put_aside.iter().map(|table| table.name.clone()).collect(),
        statements: script.statements()?,
    };
    verify::verify(&schema, &new, &rebuild).await?;
    Ok(rebuild)
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Migration, message)
}

/// The table of a definition, as SQLite understands it.
async fn defined(definition: &str) -> Result<Table> {
    let database = SqliteDatabase::memory().await?;
    database.run_script(definition).await?;
    let mut schema = Schema::read(&database).await?;
    let others = schema.views.len() + schema.triggers.len();
    match (schema.tables.pop(), schema.tables.len() + others) {
        (Some(table), 0) if table.indexes.iter().all(|index| index.sql.is_none()) => Ok(table),
        _ => Err(refused(
            "the definition has to be one CREATE TABLE: indexes and triggers are kept as they are".to_owned(),
        )),
    }
}

/// A column that is filled, and the expression over the old table for it.
struct Filled<'a> {
    name: &'a str,
    source: String,
}

/// The columns that are filled; an error where values would be lost, or missing.
fn columns<'n>(old: &Table, new: &'n Table, options: &RebuildOptions) -> Result<Vec<Filled<'n>>> {
    let table = &old.name;
    let is_ordinary = |column: &Column| column.kind == ColumnKind::Ordinary;
    for (name, _) in &options.sources {
        if !new.column(name).is_some_and(is_ordinary) {
            return Err(refused(format!("the new {table} has no column {name} that could have a source")));
        }
    }
    if let Some(name) = options.dropped.iter().find(|name| old.column(name).is_none()) {
        return Err(refused(format!("{table} has no column {name} to drop")));
    }
    let mut filled = Vec::new();
    for column in new.columns.iter().filter(|column| is_ordinary(column)) {
        match (options.source(&column.name), old.column(&column.name)) {
            (Some(source), _) => {
                filled.push(Filled { name: &column.name, source: format!("({})", sql::closed(source)) });
            }
            (None, Some(old)) => filled.push(Filled { name: &column.name, source: sql::quoted(&old.name) }),
            (None, None) if column.is_not_null && column.default.is_none() => {
                let message = format!("{table}.{} is NOT NULL without a default: give it a source", column.name);
                return Err(refused(message));
            }
            (None, None) => {}
        }
    }
    for column in old.columns.iter().filter(|column| is_ordinary(column)) {
        // What stands in single quotes is a text here.
        let name = |word: &str| !word.starts_with('\'') && sql::unquoted(word).eq_ignore_ascii_case(&column.name);
        let is_used = filled.iter().any(|one| sql::words(&one.source).any(name));
        if !is_used && !options.dropped.iter().any(|dropped| dropped.eq_ignore_ascii_case(&column.name)) {
            let message =
                format!("the values of {table}.{} would be lost: use it in a source, or drop it", column.name);
            return Err(refused(message));
        }
    }
    if filled.is_empty() {
        return Err(refused(format!("no column of the new {table} has values")));
    }
    Ok(filled)
}

/// The tables on whose rows the deletion of a table's rows acts, in the order of their distance from it.
fn acted_on<'s>(schema: &'s Schema, table: &'s Table) -> Vec<&'s Table> {
    let mut found = vec![table];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        let acts = |key: &ForeignKey| {
            key.table.eq_ignore_ascii_case(&parent.name) && ACTIONS.contains(&key.on_delete.as_str())
        };
        for child in &schema.tables {
            if child.foreign_keys.iter().any(acts) && !found.iter().any(|one| one.name == child.name) {
                found.push(child);
            }
        }
    }
    found.remove(0);
    found
}
