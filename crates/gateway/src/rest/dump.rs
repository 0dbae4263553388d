//! A database as a script of SQL, as D1's export writes it.
//!
//! Integers are exact, REALs have the digits that read back as the same number, infinities are `9e999`, blobs hexadecimal, and a NUL in
//! a text is written as `char(0)`.

use std::fmt::Write as _;

use isobar_db::sql::{self, quoted};
use isobar_db::{Database, Error, ErrorKind, QueryResult, Result, Row, Statement, Value};
use serde::Deserialize;

/// Attempts to read schema and rows of one state, before a database whose schema changes all the time is given up.
const ATTEMPTS: usize = 5;
/// Statement for the objects that are exported, in the order of its creation; without the tables of SQLite and D1 themselves.
const SCHEMA: &str = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL \
                      AND name NOT LIKE 'sqlite~_%' ESCAPE '~' AND name NOT LIKE '~_cf~_%' ESCAPE '~' ORDER BY rowid";
const COLUMNS: &str = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid";
const HAS_SEQUENCES: &str = "SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_sequence'";

/// Options of an export.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct DumpOptions {
    no_data: Option<bool>,
    no_schema: Option<bool>,
    tables: Option<Vec<String>>,
}

/// A table, index, trigger or view.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Object {
    r#type: String,
    name: String,
    tbl_name: String,
    sql: String,
}

/// A table with the columns that have values of their own.
struct Table<'a> {
    object: &'a Object,
    columns: Vec<String>,
}

/// Writes the script, of at most `most` bytes. Schema and rows are of one state.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for virtual tables, as in D1; [`ErrorKind::TooBig`]; those of the database.
pub(super) async fn dump(database: &dyn Database, options: &DumpOptions, most: usize) -> Result<String> {
    for _ in 0..ATTEMPTS {
        let schema = database.query(Statement::new(SCHEMA).rows_only()).await?.rows_as()?;
        if let Some(dump) = dump_as(database, &schema, options, most).await? {
            return Ok(dump);
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "the schema changes while it is exported"))
}

/// Writes the script by this schema; `None` where the schema has changed since.
async fn dump_as(
    database: &dyn Database,
    schema: &[Object],
    options: &DumpOptions,
    most: usize,
) -> Result<Option<String>> {
    // wrangler sends an empty list for every table.
    let only = options.tables.as_deref().unwrap_or_default();
    let chosen = |table: &str| only.is_empty() || only.iter().any(|name| name == table);
    let chosen: Vec<&Object> = schema.iter().filter(|object| chosen(&object.tbl_name)).collect();
    let is_virtual = |object: &&&Object| object.sql.to_ascii_uppercase().starts_with("CREATE VIRTUAL");
    if let Some(object) = chosen.iter().find(is_virtual) {
        let message = format!("cannot export databases with virtual tables (fts5): {}", object.name);
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let tables = tables(database, &chosen).await?;
    let has_sequences: Vec<i64> = database.query(Statement::new(HAS_SEQUENCES).rows_only()).await?.rows_as()?;
    let has_sequences = has_sequences != [0];
    let mut statements = vec![Statement::new(SCHEMA)];
    if options.no_data != Some(true) {
        statements.extend(tables.iter().map(select));
        if has_sequences {
            statements.push(Statement::new("SELECT name, seq FROM sqlite_sequence ORDER BY name"));
        }
    }
    let statements = statements.into_iter().map(Statement::rows_only).collect();
    let mut results = database.batch(statements).await?.into_iter();
    let now: Vec<Object> = results.next().map(|result| result.rows_as()).transpose()?.unwrap_or_default();
    if now != schema {
        return Ok(None);
    }
    let mut script = Script { text: String::new(), most };
    script.push(format_args!("PRAGMA defer_foreign_keys=TRUE;\n"))?;
    write(&mut script, &chosen, &tables, results, options.no_schema != Some(true))?;
    Ok(Some(script.text))
}

async fn tables<'a>(database: &dyn Database, chosen: &[&'a Object]) -> Result<Vec<Table<'a>>> {
    let mut tables = Vec::new();
    for object in chosen.iter().filter(|object| object.r#type == "table") {
        let columns = Statement::new(COLUMNS).bind(&object.name).rows_only();
        let columns = database.query(columns).await?.rows_as()?;
        tables.push(Table { object, columns });
    }
    Ok(tables)
}

fn select(table: &Table<'_>) -> Statement {
    Statement::new(format!("SELECT {} FROM {}", quoted_list(&table.columns), quoted(&table.object.name)))
}

fn write(
    script: &mut Script,
    chosen: &[&Object],
    tables: &[Table<'_>],
    mut results: impl Iterator<Item = QueryResult>,
    with_schema: bool,
) -> Result<()> {
    for table in tables {
        if with_schema {
            script.push(format_args!("{};\n", sql::closed(&table.object.sql)))?;
        }
        let Some(result) = results.next() else { continue };
        let head = format!("INSERT INTO {} ({}) VALUES(", quoted(&table.object.name), quoted_list(&table.columns));
        for row in &result.rows {
            script.push(format_args!("{head}{});\n", literals(row)))?;
        }
    }
    if let Some(sequences) = results.next() {
        script.push(format_args!("DELETE FROM sqlite_sequence;\n"))?;
        let is_dumped = |row: &&Row| {
            row.get::<String>("name").is_ok_and(|name| tables.iter().any(|table| table.object.name == name))
        };
        for row in sequences.rows.iter().filter(is_dumped) {
            script.push(format_args!("INSERT INTO sqlite_sequence VALUES({});\n", literals(row)))?;
        }
    }
    if with_schema {
        // A trigger may stand on a view.
        for kind in ["index", "view", "trigger"] {
            for object in chosen.iter().filter(|object| object.r#type == kind) {
                script.push(format_args!("{};\n", sql::closed(&object.sql)))?;
            }
        }
    }
    Ok(())
}

/// A text of bounded length.
struct Script {
    text: String,
    most: usize,
}

impl Script {
    fn push(&mut self, part: std::fmt::Arguments<'_>) -> Result<()> {
        self.text.write_fmt(part).expect("writing to a string does not fail");
        if self.text.len() > self.most {
            let message = format!("the export has more than {} bytes", self.most);
            return Err(Error::new(ErrorKind::TooBig, message));
        }
        Ok(())
    }
}

fn quoted_list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(",")
}

fn literals(row: &Row) -> String {
    row.values().iter().map(literal).collect::<Vec<_>>().join(",")
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        // The digits of the least integer alone are one too large for it.
        Value::Integer(i64::MIN) => "(-9223372036854775807-1)".to_owned(),
        Value::Integer(integer) => integer.to_string(),
        Value::Real(real) if real.is_infinite() => if *real > 0.0 { "9e999" } else { "-9e999" }.to_owned(),
        // The exponent makes it a REAL.
        Value::Real(real) => format!("{real:e}"),
        Value::Text(text) => {
            let quoted = sql::literal(text);
            if quoted.contains('\0') { format!("({})", quoted.replace('\0', "'||char(0)||'")) } else { quoted }
        }
        Value::Blob(bytes) => format!("X'{}'", hex::encode_upper(bytes)),
    }
}
