//! Rebuilding tables that others refer to.

use isobar_db::migrations::{Migration, Migrator, RebuildOptions, rebuild};
use isobar_db::{Database, ErrorKind, QueryableExt, SqliteDatabase};

/// Teams with people and their notes, in both directions, with each action, triggers, a view and full text.
const SCHEMA: &str = "
    CREATE TABLE log (entry TEXT);
    CREATE TABLE places (id INTEGER PRIMARY KEY);
    CREATE TABLE teams (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, place INTEGER REFERENCES places (id), above INTEGER REFERENCES teams (id) ON DELETE CASCADE,
        code TEXT, upper_name TEXT AS (upper(name)) STORED, old TEXT
    );
    CREATE UNIQUE INDEX teams_by_code ON teams (code);
    CREATE INDEX teams_by_name ON teams (name DESC) WHERE name IS NOT NULL;
    CREATE TABLE people (name TEXT, team INTEGER REFERENCES teams (id) ON DELETE CASCADE, size AS (length(name)));
    CREATE TABLE notes (id TEXT PRIMARY KEY, team INTEGER REFERENCES teams (id) ON DELETE SET NULL) WITHOUT ROWID;
    CREATE TABLE marks (note TEXT REFERENCES notes (id) ON DELETE CASCADE, mark);
    CREATE TABLE coins (code TEXT REFERENCES teams (code) ON DELETE RESTRICT, team INTEGER REFERENCES teams (id));
    CREATE TRIGGER teams_deleted AFTER DELETE ON teams BEGIN INSERT INTO log VALUES ('team ' || old.id); END;
    CREATE TRIGGER people_deleted AFTER DELETE ON people BEGIN INSERT INTO log VALUES ('person ' || old.name); END;
    CREATE TRIGGER people_came AFTER INSERT ON people BEGIN INSERT INTO log VALUES ('new ' || new.name); END;
    CREATE VIEW crews AS SELECT t.name, p.name AS person FROM teams AS t JOIN people AS p ON p.team = t.id;
    CREATE VIRTUAL TABLE found USING fts5(name, content='people');
";
const ROWS: &str = "
    INSERT INTO places VALUES (1);
    INSERT INTO teams (id, name, place, above, code, old) VALUES (1, 'a', 1, NULL, 'A', 'x'), (2, 'b', 1, 1, 'B', 'y'), (90, 'gone', 1, 1, 'G', 'z');
    INSERT INTO people (rowid, name, team) VALUES (7, 'ada', 1), (9, 'grace', 2);
    INSERT INTO notes VALUES ('n1', 1), ('n2', 2);
    INSERT INTO marks VALUES ('n1', 5), ('n2', x'00ff'), ('n2', 2.0);
    INSERT INTO coins VALUES ('A', 1), ('B', 2);
    INSERT INTO found (found) VALUES ('rebuild');
    DELETE FROM teams WHERE id = 90;
    DELETE FROM log;
";
const DEFINITION: &str = "CREATE TABLE teams (
    id INTEGER PRIMARY KEY AUTOINCREMENT, code TEXT NOT NULL, title TEXT NOT NULL CHECK (title <> ''), place INTEGER REFERENCES places (id),
    above INTEGER REFERENCES teams (id) ON DELETE CASCADE, name TEXT AS (lower(title)), seats INTEGER NOT NULL DEFAULT 4) -- done";

fn options() -> RebuildOptions {
    RebuildOptions::default().with_source("title", "upper(name) -- of old").with_dropped("old")
}

async fn made(scripts: &[&str]) -> SqliteDatabase {
    let db = SqliteDatabase::memory().await.unwrap();
    for script in scripts {
        db.run_script(script).await.unwrap();
    }
    db
}

/// The rows of all tables that are not rebuilt, with their rowids and kinds.
async fn rows(db: &SqliteDatabase) -> Vec<String> {
    let mut all = Vec::new();
    for (table, columns) in [
        ("people", "rowid, name, team, size"),
        ("notes", "0, id, team, 0"),
        ("marks", "rowid, note, typeof(mark), quote(mark)"),
        ("coins", "rowid, code, team, 0"),
        ("log", "rowid, entry, 0, 0"),
        ("crews", "0, name, person, 0"),
        ("found('grace')", "rowid, name, 0, 0"),
    ] {
        let sql = format!("SELECT {columns} FROM {table} ORDER BY 1, 2, 4");
        let found = db.prepare(sql).all::<(i64, Option<String>, isobar_db::Value, isobar_db::Value)>().await.unwrap();
        all.push(format!("{table}: {found:?}"));
    }
    all
}

async fn count(db: &SqliteDatabase, sql: &'static str) -> i64 {
    db.prepare(sql).one().await.unwrap()
}

#[tokio::test]
async fn rebuild_keeps_rows_of_all_tables_whatever_refers_to_them() {
    let db = made(&[SCHEMA, ROWS]).await;
    let before = rows(&db).await;
    let made = rebuild(&db, DEFINITION, &options()).await.unwrap();
    assert_eq!(made.put_aside, ["people", "notes", "marks"]);
    assert_eq!(rows(&db).await, before, "writing the statements changes nothing");
    Migrator::default().apply(&db, &[made.into_migration("1_rebuild.sql")]).await.unwrap();
    assert_eq!(rows(&db).await, before);
    let teams = "SELECT id, code, title, name, seats FROM teams ORDER BY id";
    let teams: Vec<(i64, String, String, String, i64)> = db.prepare(teams).all().await.unwrap();
    let team =
        |id: i64, code: &str, title: &str, name: &str| (id, code.to_owned(), title.to_owned(), name.to_owned(), 4_i64);
    assert_eq!(teams, [team(1, "A", "A", "a"), team(2, "B", "B", "b")]);
    assert_eq!(count(&db, "SELECT count(*) FROM pragma_foreign_key_check").await, 0);
    assert_eq!(count(&db, "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'isobar%'").await, 0);
    assert_eq!(count(&db, "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'teams_by_%'").await, 2);
    // The counter of AUTOINCREMENT is beyond the greatest id that is left, and triggers and actions work again.
    let next = "INSERT INTO teams (code, title) VALUES ('C', 'c') RETURNING id";
    assert_eq!(count(&db, next).await, 91);
    db.exec("DELETE FROM coins\nDELETE FROM teams WHERE id = 1").await.unwrap();
    assert_eq!(count(&db, "SELECT count(*) FROM people").await, 0);
    assert_eq!(count(&db, "SELECT count(*) FROM log").await, 4);
}

#[tokio::test]
async fn rebuild_by_hand_loses_rows_that_the_helper_keeps() {
    let tables = "CREATE TABLE p (id INTEGER PRIMARY KEY, a); CREATE TABLE c (p REFERENCES p (id) ON DELETE CASCADE);
        INSERT INTO p VALUES (1, 2); INSERT INTO c VALUES (1);";
    let by_hand = "PRAGMA defer_foreign_keys = ON; CREATE TABLE n (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO n SELECT * FROM p;
        DROP TABLE p; ALTER TABLE n RENAME TO p;";
    let db = made(&[tables, by_hand]).await;
    assert_eq!(count(&db, "SELECT count(*) FROM c").await, 0, "the premise of the helper");
    let db = made(&[tables]).await;
    let rebuilt = rebuild(&db, "CREATE TABLE p (id INTEGER PRIMARY KEY, a TEXT)", &RebuildOptions::default()).await;
    db.run_script(&rebuilt.unwrap().sql()).await.unwrap();
    assert_eq!(count(&db, "SELECT count(*) FROM c").await, 1);
    assert_eq!(count(&db, "SELECT a = '2' FROM p").await, 1);
}

#[tokio::test]
async fn rebuild_keeps_rowids_and_tables_without_them() {
    let db = made(&["CREATE TABLE words (word TEXT); INSERT INTO words (rowid, word) VALUES (3, 'x'), (8, 'y');
        CREATE TABLE keyed (a, b, PRIMARY KEY (a, b)) WITHOUT ROWID; INSERT INTO keyed VALUES (1, 2);"])
    .await;
    for definition in
        ["CREATE TABLE words (word TEXT NOT NULL)", "CREATE TABLE keyed (b, a, PRIMARY KEY (b)) WITHOUT ROWID"]
    {
        let rebuilt = rebuild(&db, definition, &RebuildOptions::default()).await.unwrap();
        db.run_script(&rebuilt.sql()).await.unwrap();
    }
    assert_eq!(count(&db, "SELECT sum(rowid) FROM words").await, 11);
    assert_eq!(count(&db, "SELECT a * 10 + b FROM keyed WHERE b = 2").await, 12);
}

#[tokio::test]
async fn rebuild_refuses_what_would_lose_or_break_something() {
    let db = made(&[SCHEMA, "CREATE TABLE isobar_rebuild_9 (a)"]).await;
    let none = RebuildOptions::default();
    let cases = [
        ("CREATE TABLE teams (id INTEGER PRIMARY KEY, code TEXT UNIQUE)", none.clone(), "teams.name would be lost"),
        (
            DEFINITION,
            none.clone().with_dropped("old").with_dropped("name"),
            "teams.title is NOT NULL without a default",
        ),
        (DEFINITION, options().with_source("nope", "1"), "no column nope"),
        (DEFINITION, options().with_source("name", "1"), "no column name"),
        (DEFINITION, options().with_dropped("nope"), "no column nope to drop"),
        ("CREATE TABLE nope (a)", none.clone(), "there is no table nope"),
        ("CREATE VIRTUAL TABLE found USING fts5(name)", none.clone(), "the definition has to be one CREATE TABLE"),
        ("CREATE TABLE found (name)", none.clone(), "it is a virtual table"),
        ("CREATE TABLE log (entry); CREATE INDEX i ON log (entry)", none.clone(), "one CREATE TABLE"),
        ("CREATE TABLE log (entries)", none.clone().with_dropped("entry"), "no column of the new log has values"),
        (
            "CREATE TABLE log (entry)",
            none.clone().with_source("entry", "max(entry)"),
            "the sources of log give 1 rows in place of 0",
        ),
        ("CREATE TABLE log (entry, more)", none.clone(), "the new log breaks another object"),
        ("CREATE TABLE people (name, team INTEGER REFERENCES teams (name))", none.clone(), "mismatch"),
        ("CREATE TABLE log (e)", none.clone().with_source("e", "'entry'"), "the values of log.entry would be lost"),
    ];
    for (definition, options, expected) in cases {
        let error = rebuild(&db, definition, &options).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Migration && error.message().contains(expected), "{definition}: {error}");
    }
    let error = rebuild(&db, "CREATE TABLE log (entry", &none).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Sql);
    db.exec("CREATE VIEW broken AS SELECT nope FROM log").await.unwrap();
    let error = rebuild(&db, "CREATE TABLE log (entry)", &none).await.unwrap_err();
    assert!(error.message().contains("the schema is broken already"), "{error}");
}

#[tokio::test]
async fn rebuild_refuses_a_quoted_name_that_would_become_a_text() {
    let table = "CREATE TABLE t (a, b); CREATE TABLE log (entry); CREATE VIEW texts AS SELECT \"no column\" FROM log;";
    let drops = RebuildOptions::default().with_dropped("a");
    for (object, is_refused) in [
        ("CREATE VIEW v AS SELECT \"a\" FROM t", true),
        ("CREATE TRIGGER v AFTER INSERT ON t BEGIN INSERT INTO log SELECT \"a\" FROM t; END", true),
        ("CREATE VIEW v AS SELECT \"b\" FROM t", false),
    ] {
        let db = made(&[table, object]).await;
        let made = rebuild(&db, "CREATE TABLE t (b)", &drops).await;
        let error = made.err().map(|error| error.message().to_owned()).unwrap_or_default();
        assert_eq!(error.contains("in v a name in double quotes"), is_refused, "{object}: {error}");
        assert!(is_refused || error.is_empty(), "{object}: {error}");
    }
}

#[tokio::test]
async fn rebuild_whose_rows_do_not_fit_changes_nothing() {
    let db = made(&[SCHEMA, ROWS, "INSERT INTO people (rowid, name) VALUES (10, 'ada')"]).await;
    let cases = [
        ("CREATE TABLE people (name TEXT UNIQUE, team)", "UNIQUE constraint failed"),
        ("CREATE TABLE people (name TEXT UNIQUE ON CONFLICT REPLACE, team)", "1 rows of people would be lost"),
        ("CREATE TABLE people (name TEXT, team REFERENCES places (id))", "a row of people refers to no row of places"),
    ];
    for (definition, expected) in cases {
        let before = rows(&db).await;
        let made = rebuild(&db, definition, &RebuildOptions::default()).await.unwrap();
        let error = db.run_script(&made.sql()).await.unwrap_err();
        assert!(error.message().contains(expected), "{definition}: {error}");
        assert_eq!(rows(&db).await, before);
    }
}

#[tokio::test]
async fn rebuild_refuses_a_schema_that_has_changed_since() {
    let base = "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p (id) ON DELETE CASCADE);
        INSERT INTO p VALUES (1); INSERT INTO c VALUES (1);";
    let definition = "CREATE TABLE p (id INTEGER PRIMARY KEY, a)";
    for (change, expected) in [
        ("ALTER TABLE p ADD COLUMN b", "the table p has changed"),
        ("ALTER TABLE c ADD COLUMN b", "the table c has changed"),
        ("CREATE INDEX i ON p (id)", "the index i has come or changed"),
        ("CREATE TRIGGER r AFTER DELETE ON c BEGIN SELECT 1; END", "the trigger r has come or changed"),
        ("CREATE TABLE d (p REFERENCES P (id) ON DELETE SET NULL)", "the table d has come to refer to P"),
    ] {
        let db = made(&[base]).await;
        let file = rebuild(&db, definition, &RebuildOptions::default()).await.unwrap().into_migration("1_p.sql");
        db.run_script(change).await.unwrap();
        let error = Migrator::default().apply(&db, &[file]).await.unwrap_err();
        assert!(error.message().contains(expected), "{change}: {error}");
        assert_eq!(count(&db, "SELECT count(*) FROM c").await, 1);
    }
    let indexed = "CREATE INDEX i ON p (id); CREATE INDEX j ON p (id DESC);";
    let db = made(&[base, indexed]).await;
    let file = rebuild(&db, definition, &RebuildOptions::default()).await.unwrap().into_migration("1_p.sql");
    db.run_script("DROP INDEX j").await.unwrap();
    let error = Migrator::default().apply(&db, &[file]).await.unwrap_err();
    assert!(error.message().contains("the index j has gone"), "{error}");
    // What does not matter to the rebuild may change.
    let db = made(&[base]).await;
    let file = rebuild(&db, definition, &RebuildOptions::default()).await.unwrap().into_migration("1_p.sql");
    db.run_script("CREATE TABLE d (p REFERENCES p (id)); INSERT INTO d VALUES (1);").await.unwrap();
    let files: [Migration; 1] = [file];
    Migrator::default().apply(&db, &files).await.unwrap();
    assert_eq!(count(&db, "SELECT count(*) FROM d, c, p").await, 1);
}
