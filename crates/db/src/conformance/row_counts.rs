//! Rows read and written, as D1 counts and bills them.
//!
//! The numbers are those of D1 in workerd. Each statement stands with the rows that it reads and the rows that it writes. Several queries
//! in one text are left out: D1 leaves one of them open, and then drops no table until it starts anew.

use isobar_testkit::{Case, Failure, cases, ensure_eq};

use super::{Outcome, Subject};
use crate::{ErrorKind, QueryableExt, Statement};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "row_counts" => {
            reads_are_counted if "row_counts",
            writes_are_counted if "row_counts",
            definitions_and_triggers_are_counted if "row_counts",
            a_repeated_statement_counts_its_own_rows if "row_counts",
            each_statement_of_a_batch_has_its_counts if "row_counts",
        }
    }
}

/// A statement, the rows that it reads, and the rows that it writes.
type Counted = (&'static str, u64, u64);

/// Tables, indexes, and what they are filled with.
const TABLES: &[Counted] = &[
    ("CREATE TABLE rc_t (id INTEGER PRIMARY KEY, n INTEGER, name TEXT)", 1, 2),
    (
        "INSERT INTO rc_t SELECT value, value % 10, 'name ' || value FROM (WITH RECURSIVE r(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM r WHERE value < 100) SELECT value FROM r)",
        201,
        100,
    ),
    (
        "CREATE TABLE rc_child (id INTEGER PRIMARY KEY, parent INTEGER NOT NULL REFERENCES rc_t (id) ON DELETE CASCADE, points REAL)",
        1,
        2,
    ),
    ("INSERT INTO rc_child (parent, points) SELECT id, n * 1.5 FROM rc_t WHERE id <= 30", 61, 30),
    ("CREATE INDEX rc_child_t ON rc_child (parent)", 62, 31),
    ("CREATE TABLE rc_kv (k TEXT PRIMARY KEY, value) WITHOUT ROWID", 1, 2),
    ("INSERT INTO rc_kv VALUES ('a', 1), ('b', 2), ('c', 3)", 0, 3),
    ("CREATE TABLE rc_u (email TEXT UNIQUE, name TEXT, age INTEGER)", 1, 3),
    ("INSERT INTO rc_u VALUES ('a@b', 'a', 1), ('b@b', 'b', 2), ('c@b', NULL, 3)", 0, 6),
    ("CREATE INDEX rc_u_age ON rc_u (age) WHERE age > 1", 7, 3),
    ("CREATE INDEX rc_u_name ON rc_u (lower(name))", 8, 4),
];

/// Statements that read the tables.
const READS: &[Counted] = &[
    ("SELECT * FROM rc_t", 100, 0),
    ("SELECT * FROM rc_t LIMIT 5", 5, 0),
    ("SELECT * FROM rc_t LIMIT 5 OFFSET 10", 15, 0),
    ("SELECT * FROM rc_t WHERE n = 3", 100, 0),
    ("SELECT * FROM rc_t WHERE id = 5", 1, 0),
    ("SELECT * FROM rc_t WHERE id = 5000", 1, 0),
    ("SELECT * FROM rc_t WHERE id IN (1, 2, 3)", 6, 0),
    ("SELECT * FROM rc_t WHERE id BETWEEN 10 AND 20", 12, 0),
    ("SELECT * FROM rc_t WHERE id = 5 OR id = 6", 4, 0),
    ("SELECT count(*) FROM rc_t", 100, 0),
    ("SELECT count(*) FROM rc_t WHERE n = 3", 100, 0),
    ("SELECT count(n) FROM rc_t", 100, 0),
    ("SELECT max(id) FROM rc_t", 1, 0),
    ("SELECT min(id), max(id) FROM rc_t", 100, 0),
    ("SELECT max(n) FROM rc_t", 100, 0),
    ("SELECT sum(n), avg(n) FROM rc_t", 100, 0),
    ("SELECT n, count(*) FROM rc_t GROUP BY n", 200, 0),
    ("SELECT DISTINCT n FROM rc_t", 100, 0),
    ("SELECT * FROM rc_t ORDER BY n LIMIT 5", 200, 0),
    ("SELECT * FROM rc_t ORDER BY id DESC LIMIT 5", 5, 0),
    ("SELECT * FROM rc_t ORDER BY name", 200, 0),
    ("SELECT rc_t.id, rc_child.points FROM rc_t JOIN rc_child ON rc_child.parent = rc_t.id", 60, 0),
    ("SELECT rc_t.id, rc_child.points FROM rc_t LEFT JOIN rc_child ON rc_child.parent = rc_t.id", 159, 0),
    ("SELECT rc_t.id, rc_child.points FROM rc_t JOIN rc_child ON rc_child.parent = rc_t.id WHERE rc_t.n = 3", 106, 0),
    ("SELECT a.id FROM rc_t a JOIN rc_t b ON a.n = b.n AND a.id < b.id WHERE a.id < 5", 149, 0),
    ("SELECT * FROM rc_t CROSS JOIN rc_kv", 400, 0),
    ("SELECT * FROM rc_kv WHERE k = 'a'", 1, 0),
    ("SELECT * FROM rc_kv WHERE k = 'z'", 0, 0),
    ("SELECT * FROM rc_kv", 3, 0),
    ("SELECT * FROM rc_u WHERE email = 'a@b'", 1, 0),
    ("SELECT * FROM rc_u WHERE email = 'zz'", 0, 0),
    ("SELECT * FROM rc_u WHERE age > 1", 2, 0),
    ("SELECT * FROM rc_u WHERE lower(name) = 'b'", 1, 0),
    ("SELECT * FROM rc_t WHERE EXISTS (SELECT 1 FROM rc_child WHERE rc_child.parent = rc_t.id)", 130, 0),
    ("SELECT * FROM rc_t WHERE id IN (SELECT parent FROM rc_child)", 90, 0),
    ("SELECT (SELECT count(*) FROM rc_child WHERE rc_child.parent = rc_t.id) FROM rc_t WHERE id < 4", 10, 0),
    ("SELECT 1", 0, 0),
    ("SELECT id FROM rc_t UNION SELECT n FROM rc_t", 300, 0),
    ("SELECT id FROM rc_t UNION ALL SELECT n FROM rc_t", 200, 0),
    ("SELECT id FROM rc_t EXCEPT SELECT n FROM rc_t", 300, 0),
    ("SELECT id, row_number() OVER (ORDER BY id) FROM rc_t", 301, 0),
    ("SELECT id, sum(n) OVER (PARTITION BY n) FROM rc_t LIMIT 5", 128, 0),
    ("WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 100) SELECT count(*) FROM r", 101, 0),
    ("WITH m AS MATERIALIZED (SELECT * FROM rc_t) SELECT count(*) FROM m", 200, 0),
    ("SELECT value FROM json_each('[1,2,3]')", 3, 0),
    ("SELECT key FROM json_tree('{\"a\":[1,2]}')", 4, 0),
    ("SELECT * FROM rc_t WHERE id > 50 AND n = 3 ORDER BY name LIMIT 3", 55, 0),
    ("SELECT * FROM rc_t WHERE n = 3 OR name = 'name 5'", 100, 0),
    ("SELECT n FROM rc_t INTERSECT SELECT id FROM rc_t", 209, 0),
    ("SELECT * FROM (VALUES (1), (2)) AS x", 0, 0),
    ("SELECT group_concat(name) FROM rc_t WHERE id < 10", 10, 0),
    ("SELECT * FROM rc_t WHERE id = (SELECT max(id) FROM rc_t)", 2, 0),
    ("SELECT * FROM rc_t WHERE id = 5 AND n = 99", 1, 0),
    ("SELECT * FROM rc_u WHERE rowid = 2", 1, 0),
    ("SELECT rc_t.id FROM rc_t JOIN json_each('[3,4]') AS k ON rc_t.id = k.value", 4, 0),
    ("SELECT count(*) OVER () FROM rc_t LIMIT 2", 203, 0),
    ("SELECT * FROM rc_t WHERE 0", 0, 0),
    ("SELECT * FROM rc_kv WHERE k >= 'b' ORDER BY k", 2, 0),
    ("VALUES (1), (2), (3)", 0, 0),
];

/// Statements that write to the tables, in this order.
const WRITES: &[Counted] = &[
    ("INSERT INTO rc_t VALUES (1000, 1, 'x')", 1, 1),
    ("INSERT INTO rc_t (n) VALUES (1)", 0, 1),
    ("INSERT INTO rc_t (n) VALUES (1), (2), (3)", 0, 3),
    ("INSERT INTO rc_u VALUES ('d@b', 'd', 1)", 0, 3),
    ("INSERT INTO rc_u VALUES ('e@b', 'e', 5)", 0, 4),
    ("INSERT OR REPLACE INTO rc_u VALUES ('e@b', 'ee', 5)", 1, 4),
    ("INSERT OR IGNORE INTO rc_u VALUES ('e@b', 'ee', 5)", 0, 0),
    ("INSERT INTO rc_u VALUES ('e@b', 'x', 7) ON CONFLICT (email) DO UPDATE SET age = excluded.age", 1, 2),
    ("INSERT INTO rc_u VALUES ('e@b', 'x', 7) ON CONFLICT DO NOTHING", 0, 0),
    ("INSERT INTO rc_u VALUES ('f@b', 'x', 7) ON CONFLICT (email) DO UPDATE SET age = excluded.age", 0, 4),
    ("REPLACE INTO rc_t VALUES (1000, 2, 'y')", 2, 1),
    ("INSERT INTO rc_kv VALUES ('d', 4)", 0, 1),
    ("INSERT INTO rc_kv VALUES ('d', 5) ON CONFLICT (k) DO UPDATE SET value = 6", 0, 1),
    ("INSERT INTO rc_t (n) VALUES (7) RETURNING id", 1, 1),
    ("INSERT INTO rc_child (parent, points) VALUES (1, 1)", 1, 2),
    ("UPDATE rc_t SET n = n + 1 WHERE id = 5", 1, 1),
    ("UPDATE rc_t SET n = n WHERE n = 3", 106, 11),
    ("UPDATE rc_t SET id = 2000 WHERE id = 99", 3, 1),
    ("UPDATE rc_u SET name = 'z' WHERE email = 'a@b'", 1, 2),
    ("UPDATE rc_u SET age = age + 1", 6, 12),
    ("UPDATE rc_u SET email = email", 6, 12),
    ("UPDATE rc_t SET name = 'q' WHERE id = 50000", 1, 0),
    ("UPDATE rc_t SET n = 1 WHERE id = 5 RETURNING *", 2, 1),
    (
        "UPDATE rc_t SET n = rc_child.points FROM rc_child WHERE rc_child.parent = rc_t.id AND rc_child.parent < 5",
        19,
        4,
    ),
    ("UPDATE rc_kv SET value = 9 WHERE k = 'a'", 1, 1),
    ("DELETE FROM rc_kv WHERE k = 'b'", 1, 1),
    ("DELETE FROM rc_u WHERE age = 1", 6, 0),
    ("DELETE FROM rc_t WHERE id = 1", 11, 3),
    ("DELETE FROM rc_t WHERE n = 7 RETURNING id", 145, 14),
    ("DELETE FROM rc_child WHERE id IN (5, 6)", 6, 2),
    ("DELETE FROM rc_child", 48, 24),
];

/// Definitions, triggers, generated columns, full-text search, limits and foreign keys, in this order.
const OTHERS: &[Counted] = &[
    ("CREATE TABLE rc_auto (id INTEGER PRIMARY KEY AUTOINCREMENT, a)", 1, 2),
    ("INSERT INTO rc_auto (a) VALUES (1)", 1, 2),
    ("INSERT INTO rc_auto (a) VALUES (2)", 1, 2),
    ("INSERT INTO rc_auto (a) VALUES (3), (4), (5)", 1, 4),
    ("CREATE TABLE rc_log (what TEXT)", 1, 2),
    (
        "CREATE TRIGGER rc_auto_log AFTER INSERT ON rc_auto BEGIN INSERT INTO rc_log VALUES ('in ' || new.id); INSERT INTO rc_log VALUES ('twice'); END",
        0,
        1,
    ),
    ("INSERT INTO rc_auto (a) VALUES (6)", 1, 4),
    (
        "CREATE TRIGGER rc_auto_up BEFORE UPDATE ON rc_auto WHEN new.a > 3 BEGIN UPDATE rc_log SET what = 'up'; END",
        0,
        1,
    ),
    ("UPDATE rc_auto SET a = a + 1", 32, 14),
    ("CREATE VIEW rc_v AS SELECT id, a FROM rc_auto WHERE a > 2", 1, 2),
    ("SELECT * FROM rc_v", 6, 0),
    ("CREATE TRIGGER rc_v_in INSTEAD OF INSERT ON rc_v BEGIN INSERT INTO rc_auto (a) VALUES (new.a); END", 0, 1),
    ("INSERT INTO rc_v (a) VALUES (77)", 1, 4),
    ("CREATE TABLE rc_gen (a INTEGER, b INTEGER GENERATED ALWAYS AS (a * 2) STORED, c INTEGER AS (a + 1))", 1, 2),
    ("CREATE INDEX rc_gen_c ON rc_gen (c)", 2, 1),
    ("INSERT INTO rc_gen (a) VALUES (1), (2)", 0, 4),
    ("UPDATE rc_gen SET a = a + 1", 2, 4),
    ("SELECT * FROM rc_gen WHERE c = 3", 2, 0),
    ("CREATE INDEX rc_t_n ON rc_t (n)", 202, 101),
    ("SELECT * FROM rc_t WHERE n = 3", 11, 0),
    ("SELECT n FROM rc_t WHERE n > 5", 40, 0),
    ("SELECT n, count(*) FROM rc_t GROUP BY n", 100, 0),
    ("SELECT DISTINCT n FROM rc_t", 100, 0),
    ("SELECT * FROM rc_t ORDER BY n LIMIT 5", 5, 0),
    ("SELECT max(n) FROM rc_t", 1, 0),
    ("SELECT count(*) FROM rc_t WHERE n = 3", 11, 0),
    ("UPDATE rc_t SET n = n + 1 WHERE id = 10", 1, 2),
    ("DELETE FROM rc_t WHERE n = 5", 39, 13),
    ("CREATE VIRTUAL TABLE rc_docs USING fts5 (body)", 1, 2),
    ("INSERT INTO rc_docs VALUES ('one two'), ('two three')", 0, 2),
    ("SELECT * FROM rc_docs WHERE rc_docs MATCH 'two'", 2, 0),
    ("SELECT * FROM rc_docs", 2, 0),
    ("DELETE FROM rc_docs WHERE rowid = 1", 0, 1),
    ("INSERT INTO rc_auto SELECT NULL, a FROM rc_auto", 22, 22),
    ("DELETE FROM rc_t", 340, 117),
    ("INSERT INTO rc_auto (a) VALUES (99); SELECT 1", 0, 0),
    ("CREATE TABLE rc_limited (id INTEGER PRIMARY KEY, n INTEGER, UNIQUE (n))", 1, 3),
    ("INSERT INTO rc_limited VALUES (1, 10), (2, 9), (3, 8), (4, 7), (5, 6)", 5, 10),
    ("DELETE FROM rc_limited WHERE n > 5 ORDER BY n LIMIT 2", 8, 2),
    ("UPDATE rc_limited SET n = n + 100 ORDER BY id DESC LIMIT 1", 5, 2),
    ("UPDATE rc_limited SET n = n + 100 LIMIT 2", 10, 4),
    ("DELETE FROM rc_limited LIMIT 1", 4, 1),
    ("CREATE TABLE rc_self (id INTEGER PRIMARY KEY, up INTEGER REFERENCES rc_self (id) ON DELETE CASCADE)", 1, 2),
    ("INSERT INTO rc_self VALUES (1, NULL), (2, 1), (3, 1), (4, 2)", 7, 4),
    ("DELETE FROM rc_self WHERE id = 1", 24, 4),
    ("UPDATE rc_t SET n = n + 1 WHERE id IN (11, 12)", 4, 0),
];

const DROPS: &str = "DROP VIEW IF EXISTS rc_v; DROP TABLE IF EXISTS rc_child; DROP TABLE IF EXISTS rc_t; \
                     DROP TABLE IF EXISTS rc_kv; DROP TABLE IF EXISTS rc_u; DROP TABLE IF EXISTS rc_auto; \
                     DROP TABLE IF EXISTS rc_log; DROP TABLE IF EXISTS rc_gen; DROP TABLE IF EXISTS rc_docs; \
                     DROP TABLE IF EXISTS rc_limited; DROP TABLE IF EXISTS rc_self;";

/// Runs the statements, and compares all counts.
async fn compare(db: &Subject, statements: &[Counted]) -> Outcome {
    let mut wrong = Vec::new();
    for (sql, read, written) in statements {
        let meta = db.prepare(*sql).run().await.map_err(|error| Failure(format!("{sql}: {error}")))?;
        let counted = (meta.rows_read, meta.rows_written);
        if counted != (Some(*read), Some(*written)) {
            wrong.push(format!("{sql}: read and written {counted:?}, expected {read} and {written}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure(wrong.join("; "))) }
}

/// The tables, made anew.
async fn tables(db: &Subject) -> Outcome {
    db.run_script(DROPS).await?;
    compare(db, TABLES).await
}

async fn reads_are_counted(db: Subject) -> Outcome {
    tables(&db).await?;
    compare(&db, READS).await
}

async fn writes_are_counted(db: Subject) -> Outcome {
    tables(&db).await?;
    compare(&db, WRITES).await
}

/// The numbers of AUTOINCREMENT stand in one table for all, which the first such table makes and each insertion searches: other tables
/// of the database would be counted.
const NO_SEQUENCES: &str = "CREATE TABLE IF NOT EXISTS rc_auto (id INTEGER PRIMARY KEY AUTOINCREMENT); DROP TABLE rc_auto; \
                            DELETE FROM sqlite_sequence;";

async fn definitions_and_triggers_are_counted(db: Subject) -> Outcome {
    tables(&db).await?;
    db.run_script(NO_SEQUENCES).await?;
    compare(&db, OTHERS).await
}

/// Backends keep statements prepared; a run that has failed is not counted to the next one.
async fn a_repeated_statement_counts_its_own_rows(db: Subject) -> Outcome {
    tables(&db).await?;
    for _ in 0..3 {
        let meta = db.prepare("SELECT * FROM rc_t WHERE id <= ?").bind(10).run().await?;
        ensure_eq!((meta.rows_read, meta.rows_written), (Some(11), Some(0)));
    }
    let read = "SELECT json(?) FROM rc_t WHERE id <= 5";
    for value in ["{}", "[]", "no JSON", "{}"] {
        match db.prepare(read).bind(value).run().await {
            Ok(meta) => ensure_eq!((value, meta.rows_read, meta.rows_written), (value, Some(6), Some(0))),
            Err(error) => ensure_eq!((value, error.kind()), ("no JSON", ErrorKind::Sql)),
        }
    }
    Ok(())
}

async fn each_statement_of_a_batch_has_its_counts(db: Subject) -> Outcome {
    tables(&db).await?;
    let sql = ["SELECT * FROM rc_t", "DELETE FROM rc_kv", "SELECT * FROM rc_t WHERE id = 1"];
    let results = db.batch(sql.map(Statement::new).to_vec()).await?;
    let counts: Vec<_> = results.iter().map(|result| (result.meta.rows_read, result.meta.rows_written)).collect();
    ensure_eq!(counts, [(Some(100), Some(0)), (Some(0), Some(3)), (Some(1), Some(0))]);
    Ok(())
}
