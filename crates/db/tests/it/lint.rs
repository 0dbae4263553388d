//! The lint: what it finds, where, and what it leaves alone.

use isobar_db::lint::{Finding, Level, Linter, Target};
use isobar_db::migrations::{RebuildOptions, from_folder, rebuild};
use isobar_db::{QueryableExt, SqliteDatabase};

async fn check(target: Target, script: &str) -> Vec<Finding> {
    Linter::new(target).await.unwrap().check(script).await.unwrap()
}

fn shown(found: &[Finding]) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}

const TABLE: &str = "CREATE TABLE t (a INTEGER, b TEXT);\n";

#[tokio::test]
async fn d1_names_each_construct_and_its_place() {
    let long = format!("SELECT '{}'", "x".repeat(100_000));
    for (statement, column, construct, message) in [
        ("PRAGMA user_version = 1", 1, "PRAGMA user_version", "not authorized"),
        ("CREATE TEMP TABLE x (a)", 1, "CREATE TEMP", "not authorized"),
        ("ATTACH 'x' AS y", 1, "ATTACH", "authorized"),
        ("SAVEPOINT s", 1, "SAVEPOINT s", ""),
        ("SELECT a, sqlite_version() FROM t", 11, "sqlite_version()", "not authorized to use function"),
        ("SELECT nope(1)", 8, "nope()", "no such function: nope"),
        ("SELECT a FROM u", 15, "u", "no such table: u"),
        ("SELECT c FROM t", 8, "c", "no such column: c"),
        ("SELECT a FORM t", 15, "t", "syntax error"),
        ("CREATE TABLE _cf_x (a)", 14, "_cf_x", "not authorized"),
        (long.as_str(), 1, "SELECT", "too"),
    ] {
        let found = check(Target::D1, &format!("{TABLE}-- a comment\n  {statement};\nSELECT 1;")).await;
        let [one] = found.as_slice() else { panic!("{statement:.60}: {found:?}") };
        assert_eq!((one.line, one.column, one.level), (3, column + 2, Level::Error), "{statement:.60}: {one}");
        assert!(one.construct.starts_with(construct) && one.message.contains(message), "{statement:.60}: {one}");
    }
}

#[tokio::test]
async fn d1_accepts_what_d1_runs() {
    let script = "BEGIN TRANSACTION;
        CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, mail UNIQUE, at TEXT DEFAULT (datetime('now')));
        CREATE TRIGGER r AFTER INSERT ON users BEGIN UPDATE users SET at = at WHERE id = new.id; SELECT 1; END;
        INSERT OR REPLACE INTO users (mail) VALUES ('a'), ('a');
        INSERT INTO users (id) VALUES (1), (1);
        SELECT json_extract('{}', ?), ?2 FROM users WHERE mail GLOB 'a*';
        SELECT id FROM users WHERE mail = ? ORDER BY id LIMIT ? OFFSET ?;
        COMMIT;";
    assert_eq!(shown(&check(Target::D1, script).await), [""; 0]);
    let linter = Linter::new(Target::D1).await.unwrap();
    for file in from_folder("tests/migrations").unwrap() {
        assert_eq!(shown(&linter.check(&file.sql).await.unwrap()), [""; 0], "{}", file.name);
    }
}

#[tokio::test]
async fn d1_reports_a_fault_once_and_not_what_follows_from_it() {
    let found =
        check(Target::D1, "CREATE TABLE x (a, nope(1) CHECK);\nINSERT INTO x VALUES (1);\nSELECT * FROM x, y;").await;
    assert_eq!(found.iter().map(|one| one.line).collect::<Vec<_>>(), [1], "{found:?}");
    let found = check(Target::D1, "BEGIN TRANSACTION; COMMIT;\nBEGIN TRANSACTION; COMMIT;").await;
    assert_eq!((found[0].line, found[0].column, found[0].construct.as_str()), (2, 1, "BEGIN TRANSACTION"));
}

#[tokio::test]
async fn d1_warns_of_a_drop_that_deletes_rows_of_other_tables() {
    let tables = "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p (id) ON DELETE CASCADE);";
    let found = check(Target::D1, &format!("{tables}\nPRAGMA foreign_keys = OFF;\nDROP TABLE IF EXISTS \"p\";")).await;
    let places: Vec<_> = found.iter().map(|one| (one.line, one.level, one.construct.as_str())).collect();
    assert_eq!(places, [(2, Level::Warning, "PRAGMA foreign_keys = OFF"), (3, Level::Warning, "DROP TABLE p")]);
    assert!(found[1].message.contains("c (ON DELETE CASCADE)"), "{}", found[1]);
    let found = check(Target::D1, &format!("{tables} DROP TABLE c; DROP TABLE p;")).await;
    assert_eq!(shown(&found), [""; 0]);

    // What the helper writes is found to be safe.
    let db = SqliteDatabase::memory().await.unwrap();
    db.run_script(tables).await.unwrap();
    let rebuilt = rebuild(&db, "CREATE TABLE p (id INTEGER PRIMARY KEY, a)", &RebuildOptions::default()).await.unwrap();
    assert_eq!(shown(&check(Target::D1, &format!("{tables}\n{}", rebuilt.sql())).await), [""; 0]);
}

#[tokio::test]
async fn d1_accepts_a_rebuild_of_a_table_whose_rows_come_from_migrations() {
    let tables = "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p (id));
        INSERT INTO p VALUES (1); WITH one (n) AS (VALUES (1)) INSERT INTO c SELECT n FROM one;";
    let db = SqliteDatabase::memory().await.unwrap();
    db.run_script(tables).await.unwrap();
    let rebuilt = rebuild(&db, "CREATE TABLE p (id INTEGER PRIMARY KEY, a)", &RebuildOptions::default()).await.unwrap();
    let linter = Linter::new(Target::D1).await.unwrap();
    assert_eq!(shown(&linter.check(tables).await.unwrap()), [""; 0]);
    assert_eq!(shown(&linter.check(&rebuilt.sql()).await.unwrap()), [""; 0]);
    db.run_script(&rebuilt.sql()).await.unwrap();
}

#[tokio::test]
async fn postgres_names_each_construct_and_its_place() {
    for (statement, column, construct) in [
        ("CREATE TABLE x (a INTEGER, b)", 28, "column b"),
        ("ALTER TABLE t ADD COLUMN c", 26, "column c"),
        ("CREATE TABLE x (a TEXT COLLATE NOCASE)", 24, "COLLATE NOCASE"),
        ("CREATE TABLE x (a TEXT UNIQUE ON CONFLICT REPLACE)", 31, "ON CONFLICT"),
        ("CREATE TABLE x (a TEXT DEFAULT (datetime('now', 'utc')))", 33, "datetime()"),
        ("CREATE TABLE x (a DATETIME NOT NULL)", 19, "DATETIME"),
        ("CREATE TABLE x (a TEXT, b TEXT GENERATED ALWAYS AS (a))", 49, "VIRTUAL"),
        ("CREATE TABLE x (a TEXT, b TEXT AS (a) STORED)", 32, "AS"),
        ("CREATE VIRTUAL TABLE x USING fts5(a)", 1, "CREATE VIRTUAL TABLE"),
        ("CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT ifnull(1, 2); END", 1, "CREATE TRIGGER"),
        ("INSERT OR REPLACE INTO t VALUES (1, 'x')", 1, "INSERT OR REPLACE"),
        ("REPLACE INTO t VALUES (1, 'x')", 1, "REPLACE"),
        ("SELECT a FROM t WHERE b = \"text\"", 27, "\"text\""),
        ("SELECT [a] FROM t", 8, "[a]"),
        ("SELECT a FROM t WHERE b GLOB 'x*'", 25, "GLOB"),
        ("SELECT a FROM t WHERE a IN ()", 25, "IN ()"),
        ("SELECT a FROM t WHERE 1", 17, "WHERE 1"),
        ("SELECT a FROM t LIMIT 1, 2", 17, "LIMIT a, b"),
        ("SELECT a FROM t LIMIT -1", 17, "LIMIT -1"),
        ("DELETE FROM t LIMIT 1", 15, "LIMIT"),
        ("SELECT json_extract(b, '$[0]') FROM t", 8, "json_extract()"),
        ("SELECT random() FROM t", 8, "random()"),
        ("SELECT round(a) FROM t", 8, "round()"),
        ("SELECT substr(b, -2) FROM t", 8, "substr()"),
        ("SELECT rowid FROM t", 8, "rowid"),
        ("SELECT a - 99999999999999999999 FROM t", 12, "99999999999999999999"),
        ("PRAGMA table_info(t)", 1, "PRAGMA"),
    ] {
        let found = check(Target::Postgres, &format!("{TABLE}\n -- é\n  {statement};\nSELECT 1;")).await;
        let [one] = found.as_slice() else { panic!("{statement}: {found:?}") };
        let place = (one.line, one.column, one.level, one.construct.as_str());
        assert_eq!(place, (4, column + 2, Level::Error, construct), "{statement}");
    }
}

#[tokio::test]
async fn postgres_accepts_what_runs_alike() {
    let script = "CREATE TABLE IF NOT EXISTS \"users\" (id INTEGER NOT NULL, \"name\" VARCHAR(20) NOT NULL DEFAULT '', total REAL,
            score DOUBLE PRECISION, up TEXT GENERATED ALWAYS AS (upper(name)) STORED, PRIMARY KEY (id), UNIQUE (name, total));
        CREATE TABLE total (id INTEGER REFERENCES users (id) ON DELETE CASCADE, CHECK (id > 0));
        CREATE INDEX IF NOT EXISTS by_name ON users (name) WHERE total IS NOT NULL;
        INSERT INTO total (id) VALUES (?) ON CONFLICT DO NOTHING;
        UPDATE users SET \"name\" = ?2, total = coalesce(total, 0) + 1 WHERE id = ?1 RETURNING \"total\";
        SELECT u.\"name\" AS \"who\", max(total) FROM users AS u WHERE id IN (SELECT id FROM total LIMIT 1) AND (total IS NULL OR total IS NOT
            DISTINCT FROM 1) GROUP BY \"who\" ORDER BY 1 LIMIT 5 OFFSET 2;
        ALTER TABLE users ADD COLUMN mail TEXT; DROP TABLE total; -- datetime('now') in a comment, and \"text\"
        SELECT 'GLOB json_set(1) \"x\" [y]', ifnull(name, ''), max(score, 1), unixepoch(), json_extract(mail, '$.a'), x'00' FROM users
            WHERE name LIKE ?1 || '%' AND id IS ?2 AND id == 1;
        CREATE TABLE logs (id INTEGER NOT NULL, at DATETIME DEFAULT CURRENT_TIMESTAMP, b BLOB, r DOUBLE) STRICT;
        CREATE TABLE notes (id INTEGER NOT NULL, at DATETIME NOT NULL DEFAULT (datetime('now')));
        SELECT -9223372036854775808, 0.12345678901234567890;
        CREATE TABLE kept (`key` TEXT PRIMARY KEY) WITHOUT ROWID;";
    assert_eq!(shown(&check(Target::Postgres, script).await), [""; 0]);
    let linter = Linter::new(Target::Postgres).await.unwrap();
    for script in [TABLE, "UPDATE t SET b = \"a\"; ALTER TABLE t DROP COLUMN \"a\""] {
        assert_eq!(shown(&linter.check(script).await.unwrap()), [""; 0], "{script}");
    }
}

#[tokio::test]
async fn postgres_warns_of_what_gives_something_else() {
    let script = "CREATE TABLE x (id INTEGER PRIMARY KEY, at TEXT);\nINSERT OR IGNORE INTO x VALUES (1, NULL); SELECT at -> 'a' FROM x";
    let found = check(Target::Postgres, script).await;
    assert!(found.iter().all(|one| one.level == Level::Warning), "{found:?}");
    let constructs: Vec<_> = found.iter().map(|one| one.construct.as_str()).collect();
    assert_eq!(constructs, ["INTEGER PRIMARY KEY", "INSERT OR IGNORE", "->"]);
}
