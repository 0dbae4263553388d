//! A lint for SQL: constructs that D1 refuses, or that would not run on Postgres, with their places.
//!
//! For D1 nothing is guessed: each statement runs on an empty database in memory under D1's limits and authorizer, behind those before
//! it. What fails there fails in D1; that there are no rows hides violated constraints alone, which are no matter of the SQL. Beside that
//! stand warnings of what runs and does harm.
//!
//! For Postgres the words are looked at: what the Postgres backend does not translate, and PostgreSQL 15 was seen to refuse, or to answer
//! otherwise. A script that is [written for Postgres](mod@crate::migrations) is not looked at.
//!
//! | kind | constructs |
//! |---|---|
//! | definitions | columns without a type; `DATETIME` and other types; `COLLATE NOCASE`; virtual tables and columns; triggers |
//! | writes | `INSERT OR REPLACE`, `REPLACE`, `ON CONFLICT` in a constraint, `LIMIT` of UPDATE and DELETE |
//! | names and texts | double-quoted texts, `[brackets]`, `rowid` |
//! | operators | `GLOB`, `MATCH`, `REGEXP`, `->`, `IN ()`, `LIMIT a, b`, `LIMIT -1`, `WHERE 1` |
//! | functions | times other than now, `json_set`, `random`, `round` of one argument, `substr` from the end, and others |
//! | statements | `PRAGMA`, `ATTACH`, `BEGIN IMMEDIATE`, `EXPLAIN QUERY PLAN` |
//!
//! Not seen are an integer that overflows, operands of `||` that are neither texts nor integers, comparisons of unlike types, upper
//! case in names of result columns, and names that Postgres reserves: all but the fourth are errors there.

mod d1;
mod definition;
mod postgres;

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::schema::Schema;
use crate::{Queryable, Result, SqliteDatabase, Statement, Value, limits, sql};

/// The database for which SQL is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Target {
    /// Cloudflare D1, and the backends of this crate.
    #[default]
    D1,
    /// The Postgres backend of this crate, on PostgreSQL 15.
    Postgres,
}

/// Whether a construct fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Level {
    /// It runs, with another result or with a side effect.
    Warning,
    /// It fails.
    Error,
}

/// A construct and its place. It displays as `3:14: error: GLOB: use LIKE or ~`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The line in the script, counted from 1.
    pub line: usize,
    /// The column in the line, counted from 1 in characters.
    pub column: usize,
    /// Whether it fails.
    pub level: Level,
    /// The construct: `GLOB`, `json_extract()`, `PRAGMA user_version`.
    pub construct: String,
    /// The reason or the remedy.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, construct, message, .. } = self;
        let level = match self.level {
            Level::Error => "error",
            Level::Warning => "warning",
        };
        write!(f, "{line}:{column}: {level}: {construct}: {message}")
    }
}

/// Part of the error by which inserted rows are undone.
const UNDONE: &str = "isobar_lint_undone";

/// A lint of scripts that run one after the other, such as migrations.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::lint::{Level, Linter, Target};
///
/// let script = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);\nPRAGMA user_version = 2;\nDELETE FROM user;";
/// let found = Linter::new(Target::D1).await?.check(script).await?;
/// let shown: Vec<_> = found.iter().map(|one| one.to_string()).collect();
/// assert_eq!(shown[0], "2:1: error: PRAGMA user_version: not authorized");
/// assert_eq!(shown[1], "3:13: error: user: no such table: user");
///
/// let postgres = Linter::new(Target::Postgres).await?;
/// let found = postgres.check("SELECT json_set(a, '$.x', 0) FROM t\nWHERE b GLOB 'x*'").await?;
/// assert_eq!((found[0].line, found[0].column, found[0].construct.as_str()), (1, 8, "json_set()"));
/// assert_eq!((found[1].line, found[1].column, found[1].level), (2, 9, Level::Error));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Linter {
    target: Target,
    /// The scripts so far have run here.
    database: SqliteDatabase,
}

impl Linter {
    /// A lint that begins with an empty schema.
    ///
    /// # Errors
    /// As [`SqliteDatabase::memory`].
    pub async fn new(target: Target) -> Result<Self> {
        Ok(Self { target, database: SqliteDatabase::memory().await? })
    }

    /// Looks at a script, and runs it for those behind it. Findings are in the order of their places.
    ///
    /// A script is cut and run as a migration is. Parameters are NULL, or 0 where that is refused, as by `LIMIT ?`.
    ///
    /// # Errors
    /// Those of the database in memory; what is wrong with the script is a finding.
    pub async fn check(&self, script: &str) -> Result<Vec<Finding>> {
        let mut found = match self.target {
            Target::D1 => d1::check(&self.database, script).await?,
            Target::Postgres => {
                if script.trim_start().starts_with("/* isobar:postgres */") {
                    return Ok(Vec::new());
                }
                // What the script drops is a name, too.
                let mut known = names(&Schema::read(&self.database).await?);
                for statement in sql::split(script) {
                    // What SQLite refuses is not asked here: the schema is only needed for names.
                    drop(run(&self.database, statement).await);
                }
                known.extend(names(&Schema::read(&self.database).await?));
                sql::split(script).flat_map(|statement| postgres::check(script, statement, &known)).collect()
            }
        };
        found.sort_by_key(|one| (one.line, one.column));
        Ok(found)
    }
}

/// Runs a statement, with NULL for its parameters, or with 0 where NULL does not fit.
async fn run(database: &SqliteDatabase, statement: &str) -> Result<()> {
    let parameters = sql::number_parameters(statement).1.min(limits::PARAMETERS);
    match run_with(database, statement, vec![Value::Null; parameters]).await {
        Err(error) if parameters > 0 && error.message().contains("datatype mismatch") => {
            run_with(database, statement, vec![Value::Integer(0); parameters]).await
        }
        result => result,
    }
}

/// Runs a statement with these parameters. Rows that it inserts are undone: by them a `DROP TABLE` behind it could violate a foreign key
/// that is only broken until the script's end.
async fn run_with(database: &SqliteDatabase, statement: &str, parameters: Vec<Value>) -> Result<()> {
    let inserts = ["INSERT", "REPLACE", "WITH"].contains(&sql::keyword(statement).as_str());
    let statement = Statement::new(statement.to_owned()).bind_all(parameters);
    if inserts {
        let undo = Statement::new(format!("SELECT json_extract('{{}}', '{UNDONE}')"));
        let batch = database.batch(vec![statement.clone(), undo]).await;
        if batch.is_err_and(|error| error.message().contains(UNDONE)) {
            return Ok(());
        }
        // By itself it fails again, with its place.
    }
    database.query(statement).await.map(drop)
}

/// All names of a schema, in lower case.
fn names(schema: &Schema) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for table in &schema.tables {
        names.insert(table.name.to_ascii_lowercase());
        names.extend(table.columns.iter().map(|column| column.name.to_ascii_lowercase()));
        names.extend(table.indexes.iter().map(|index| index.name.to_ascii_lowercase()));
    }
    names.extend(schema.views.iter().map(|view| view.name.to_ascii_lowercase()));
    names.extend(schema.triggers.iter().map(|trigger| trigger.name.to_ascii_lowercase()));
    names
}

/// A token that is neither space nor a comment, and its byte in the script.
#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    text: &'a str,
    start: usize,
}

impl Token<'_> {
    fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }

    fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether it is a word or a number, and neither quoted nor an operator.
    fn is_word(&self) -> bool {
        self.text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_' || !first.is_ascii())
    }

    /// The name, without quotes.
    fn name(&self) -> String {
        sql::unquoted(self.text)
    }
}

/// The tokens of a statement, which is a part of the script.
fn tokens<'a>(script: &'a str, statement: &'a str) -> Vec<Token<'a>> {
    let token = |text: &'a str| Token { text, start: text.as_ptr().addr() - script.as_ptr().addr() };
    sql::words(statement).map(token).collect()
}

/// The findings of a statement so far.
struct Rules<'a> {
    script: &'a str,
    found: Vec<Finding>,
}

impl Rules<'_> {
    fn error(&mut self, at: &Token<'_>, construct: &str, message: &str) {
        self.found.push(finding(self.script, at.start, Level::Error, construct, message));
    }

    fn warning(&mut self, at: &Token<'_>, construct: &str, message: &str) {
        self.found.push(finding(self.script, at.start, Level::Warning, construct, message));
    }
}

/// A finding at a byte of the script.
fn finding(
    script: &str,
    offset: usize,
    level: Level,
    construct: impl Into<String>,
    message: impl Into<String>,
) -> Finding {
    let before = script.get(..offset).unwrap_or(script);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    Finding {
        line: sql::line(script, offset),
        column: before[line_start..].chars().count() + 1,
        level,
        construct: construct.into(),
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_1() {
        let script = "SELECT 'é', x;\n  y";
        let place = |offset| {
            let found = finding(script, offset, Level::Error, "", "");
            (found.line, found.column)
        };
        assert_eq!([0, 13, 18].map(place), [(1, 1), (1, 13), (2, 3)]);
    }
}
