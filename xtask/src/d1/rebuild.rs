//! The migration that `isobar d1 migrations rebuild` writes, on D1 in workerd as on the local database.

use isobar_db::migrations::{RebuildOptions, rebuild};
use isobar_db::{QueryableExt, SqliteDatabase};
use serde_json::Value as Json;
use tokio::runtime::Runtime;

use super::{Call, D1, Mode, Result, local, shortened};

/// The database of the runtime that the cases leave free.
const DATABASE: u64 = 0;

const SCHEMA: &str = "
    CREATE TABLE log (entry TEXT);
    CREATE TABLE teams (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, above INTEGER REFERENCES teams (id) ON DELETE CASCADE,
        code TEXT, upper_name TEXT AS (upper(name)) STORED, old TEXT);
    CREATE UNIQUE INDEX teams_by_code ON teams (code);
    CREATE INDEX teams_by_name ON teams (name DESC) WHERE name IS NOT NULL;
    CREATE TABLE people (name TEXT, team INTEGER REFERENCES teams (id) ON DELETE CASCADE, size AS (length(name)));
    CREATE TABLE notes (id TEXT PRIMARY KEY, team INTEGER REFERENCES teams (id) ON DELETE SET NULL) WITHOUT ROWID;
    CREATE TABLE marks (note TEXT REFERENCES notes (id) ON DELETE CASCADE, mark);
    CREATE TABLE coins (code TEXT REFERENCES teams (code) ON DELETE RESTRICT, team INTEGER REFERENCES teams (id));
    CREATE TRIGGER teams_deleted AFTER DELETE ON teams BEGIN INSERT INTO log VALUES ('team ' || old.id); END;
    CREATE TRIGGER people_deleted AFTER DELETE ON people BEGIN INSERT INTO log VALUES ('person ' || old.name); END;
    CREATE VIEW crews AS SELECT t.name, p.name AS person FROM teams AS t JOIN people AS p ON p.team = t.id;";
const ROWS: &str = "
    INSERT INTO teams (id, name, above, code, old) VALUES (1, 'a', NULL, 'A', 'x'), (2, 'b', 1, 'B', 'y'), (90, 'gone', 1, 'G', 'z');
    INSERT INTO people (rowid, name, team) VALUES (7, 'ada', 1), (9, 'grace', 2);
    INSERT INTO notes VALUES ('n1', 1), ('n2', 2);
    INSERT INTO marks VALUES ('n1', 5), ('n2', x'00ff'), ('n2', 2.0);
    INSERT INTO coins VALUES ('A', 1), ('B', 2);
    DELETE FROM teams WHERE id = 90;";
const DEFINITION: &str = "CREATE TABLE teams (id INTEGER PRIMARY KEY AUTOINCREMENT, code TEXT NOT NULL, \
                          title TEXT NOT NULL CHECK (title <> ''), above INTEGER REFERENCES teams (id) ON DELETE CASCADE, \
                          name TEXT AS (lower(title)), seats INTEGER NOT NULL DEFAULT 4)";
const READS: [&str; 10] = [
    "SELECT *, typeof(seats) FROM teams",
    "SELECT rowid, * FROM people",
    "SELECT * FROM notes",
    "SELECT note, quote(mark), typeof(mark) FROM marks",
    "SELECT * FROM coins",
    "SELECT * FROM log",
    "SELECT * FROM crews",
    "SELECT * FROM sqlite_sequence",
    "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE '\\_cf\\_%' ESCAPE '\\' ORDER BY name",
    "PRAGMA foreign_key_check",
];

/// Applies the migration on either side as wrangler does, and compares all rows and definitions.
pub(super) fn check(d1: &D1, runtime: &Runtime) -> Result<()> {
    let script = runtime.block_on(script())?;
    let mut calls = vec![
        Call::of(Mode::Run, SCHEMA.to_owned(), Vec::new()),
        Call::of(Mode::Run, ROWS.to_owned(), Vec::new()),
        Call {
            mode: Mode::Batch,
            statements: vec![(script, Vec::new()), ("INSERT INTO log VALUES ('applied')".to_owned(), Vec::new())],
        },
    ];
    calls.extend(READS.map(|sql| Call::of(Mode::Raw, sql.to_owned(), Vec::new())));
    calls.push(Call::of(Mode::Run, "DELETE FROM teams WHERE id = 1".to_owned(), Vec::new()));
    let theirs = d1.run(DATABASE, &calls)?;
    let ours = runtime.block_on(local::in_memory(&calls))?;
    for ((call, theirs), ours) in calls.iter().zip(&theirs).zip(&ours) {
        let theirs = without_meta(theirs);
        let ours = without_meta(ours);
        if theirs != ours {
            let message = format!("{}\n    D1: {}\n    local: {}", call.shown(), shortened(&theirs), shortened(&ours));
            return Err(format!("a rebuilt table differs on D1: {message}").into());
        }
    }
    let refused: Vec<_> = theirs[..calls.len() - 1].iter().filter(|outcome| outcome.get("error").is_some()).collect();
    if !refused.is_empty() {
        return Err(format!("D1 refuses the migration of a rebuilt table: {refused:?}").into());
    }
    println!("a table that others refer to is rebuilt on D1 as locally");
    Ok(())
}

/// The migration's SQL.
async fn script() -> Result<String> {
    let db = SqliteDatabase::memory().await?;
    db.run_script(SCHEMA).await?;
    db.run_script(ROWS).await?;
    let options = RebuildOptions::default().with_source("title", "upper(name)").with_dropped("old");
    Ok(rebuild(&db, DEFINITION, &options).await?.sql())
}

/// The outcome without its counts: a script of many statements reports its last one.
fn without_meta(outcome: &Json) -> Json {
    let mut outcome = outcome.clone();
    if let Some(fields) = outcome.as_object_mut() {
        fields.remove("meta");
        fields.remove("results");
    }
    outcome
}
