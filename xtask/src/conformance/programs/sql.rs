//! Random SQL over a few tables: a `?` stands for a random value, which is bound.

use serde_json::{Value as Json, json};

use crate::random::Random;

/// Tables, and what belongs to them, of which a program makes some.
const SCHEMA: [&str; 9] = [
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b TEXT UNIQUE, c INTEGER CHECK (c < 100), d REAL DEFAULT 1.5)",
    "CREATE TABLE u (id INTEGER PRIMARY KEY AUTOINCREMENT, t REFERENCES t(id) ON DELETE CASCADE, n NOT NULL)",
    "CREATE TABLE w (k TEXT PRIMARY KEY, v ANY) STRICT, WITHOUT ROWID",
    "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)",
    "CREATE TABLE log (what TEXT, n); CREATE TRIGGER t_log AFTER INSERT ON t BEGIN INSERT INTO log VALUES ('t', new.id); END",
    "CREATE TRIGGER u_stop BEFORE DELETE ON u WHEN old.n = 1 BEGIN SELECT RAISE(ABORT, 'kept'); END",
    "CREATE VIEW s AS SELECT t.id, u.n FROM t JOIN u ON u.t = t.id",
    "CREATE VIRTUAL TABLE f USING fts5(x)",
    "CREATE INDEX t_a ON t (a)",
];
const WRITES: [&str; 36] = [
    "INSERT INTO t (a, b) VALUES (?, ?)",
    "INSERT INTO t (a, b) VALUES (?, ?)",
    "INSERT INTO t (a) VALUES (?)",
    "INSERT INTO t (id, a) VALUES (?, ?)",
    "INSERT INTO t (a, c) VALUES (?, ?) RETURNING id, a, typeof(a), c, d",
    "INSERT OR IGNORE INTO t (id, b) VALUES (1, ?)",
    "INSERT OR REPLACE INTO t (id, b) VALUES (1, ?)",
    "INSERT OR FAIL INTO t (id, b) VALUES (7, ?), (1, 'x'), (8, 'y')",
    "INSERT OR ABORT INTO t (id, b) VALUES (9, ?), (1, 'x')",
    "INSERT INTO t (id, b, c) VALUES (1, 'x', ?) ON CONFLICT (id) DO UPDATE SET c = excluded.c + 1 RETURNING *",
    "INSERT INTO u (t, n) VALUES (?, ?)",
    "INSERT INTO u (t, n) SELECT id, a FROM t LIMIT 2",
    "INSERT INTO w VALUES (?, ?)",
    "REPLACE INTO w VALUES ('k', ?)",
    "INSERT INTO p DEFAULT VALUES",
    "INSERT INTO c VALUES (?)",
    "INSERT INTO c VALUES (1)",
    "INSERT INTO f VALUES (?)",
    "UPDATE t SET a = ? WHERE id < 3",
    "UPDATE t SET c = c + ? RETURNING id, c",
    "UPDATE t SET b = ?",
    "UPDATE t SET a = a || ? ORDER BY id DESC LIMIT 1",
    "UPDATE u SET t = ?",
    "UPDATE OR IGNORE t SET id = id + 1",
    "UPDATE w SET v = ? RETURNING k, typeof(v)",
    "UPDATE p SET id = id + 10",
    "DELETE FROM t WHERE id = ?",
    "DELETE FROM t",
    "DELETE FROM p",
    "DELETE FROM c",
    "DELETE FROM u WHERE n = ? RETURNING *",
    "DELETE FROM f WHERE x = ?",
    "DELETE FROM t ORDER BY id LIMIT 1",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) INSERT INTO t (a) SELECT i FROM n",
    "INSERT INTO s VALUES (1, 2)",
    "INSERT INTO log SELECT 'own', count(*) FROM t",
];
const READS: [&str; 22] = [
    "SELECT changes(), last_insert_rowid()",
    "SELECT changes(), last_insert_rowid()",
    "SELECT * FROM t ORDER BY id",
    "SELECT * FROM t ORDER BY id",
    "SELECT typeof(a), quote(a), hex(b) FROM t ORDER BY id",
    "SELECT count(*), sum(c), avg(c), min(a), max(b), total(d) FROM t",
    "SELECT t.id, u.n FROM t LEFT JOIN u ON u.t = t.id ORDER BY 1, 2",
    "SELECT id, row_number() OVER (ORDER BY id DESC) FROM t",
    "SELECT x FROM f WHERE f MATCH 'a' ORDER BY x",
    "SELECT key, value, type FROM json_each(?)",
    "SELECT type, name FROM sqlite_master WHERE name NOT LIKE '~_%' ESCAPE '~' AND name <> 'sqlite_sequence' ORDER BY name",
    "SELECT name, seq FROM sqlite_sequence ORDER BY name",
    "SELECT what, n FROM log ORDER BY rowid",
    "SELECT 1 AS a, 2 AS a, ? AS \"b c\"",
    "VALUES (1, ?), (2, 'b')",
    "SELECT * FROM s ORDER BY 1, 2",
    "SELECT k, v, typeof(v) FROM w ORDER BY k",
    "SELECT group_concat(a, ',') FROM (SELECT a FROM t ORDER BY id)",
    "SELECT * FROM u WHERE t IN (SELECT id FROM t WHERE a = ?) ORDER BY id",
    "SELECT id FROM t WHERE b LIKE ? OR a GLOB 'a*' ORDER BY id",
    "SELECT json_group_array(a) FROM t",
    "SELECT a, count(*) FROM t GROUP BY a HAVING count(*) > ? ORDER BY a",
];
const EXPRESSIONS: [&str; 24] = [
    "?",
    "typeof(?)",
    "quote(?)",
    "hex(?)",
    "? + 1",
    "-?",
    "? || 'x'",
    "CAST(? AS TEXT)",
    "CAST(? AS INTEGER)",
    "length(?)",
    "abs(?)",
    "round(?, 1)",
    "upper(?)",
    "? = 1",
    "? < 'b'",
    "coalesce(?, 'none')",
    "json(?)",
    "json_quote(?)",
    "printf('%d|%s|%.2f', ?1, ?1, ?1)",
    "? / 2",
    "? % 3",
    "iif(?, 'yes', 'no')",
    "substr(?, 2)",
    "unicode(?)",
];
const DEFINITIONS: [&str; 14] = [
    "ALTER TABLE t ADD COLUMN e DEFAULT 'e'",
    "ALTER TABLE t RENAME COLUMN a TO aa",
    "ALTER TABLE t DROP COLUMN d",
    "ALTER TABLE u RENAME TO u2",
    "DROP TABLE t",
    "DROP TABLE IF EXISTS u",
    "DROP TABLE p",
    "DROP INDEX t_a",
    "DROP VIEW s",
    "DROP TRIGGER IF EXISTS t_log",
    "CREATE TABLE IF NOT EXISTS t (other)",
    "CREATE UNIQUE INDEX t_u ON t (c)",
    "CREATE TABLE copied AS SELECT * FROM t",
    "REINDEX",
];
const PRAGMAS: [&str; 10] = [
    "PRAGMA foreign_keys = OFF",
    "PRAGMA foreign_keys",
    "PRAGMA defer_foreign_keys = ON",
    "PRAGMA table_info(t)",
    "PRAGMA foreign_key_list(u)",
    "PRAGMA index_list(t)",
    "PRAGMA foreign_key_check",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA case_sensitive_like = ON",
    "PRAGMA user_version",
];
const WRONG: [&str; 25] = [
    "SELEC 1",
    "SELECT * FROM nope WHERE a = ?",
    "SELECT nope FROM t WHERE a = ?",
    "SELECT ?, nope(?)",
    "INSERT INTO t (a, b) VALUES (?)",
    "INSERT INTO t VALUES (?, ?)",
    "SELECT * FROM t WHERE a = ? ORDER BY 99",
    "SELECT (SELECT 1, 2)",
    "SELECT ? FROM t, t",
    "SELECT count(*, 1)",
    "CREATE TABLE t (a)",
    "CREATE TABLE _cf_x (a)",
    "SELECT * FROM _cf_KV",
    "DROP TABLE _cf_KV",
    "BEGIN",
    "COMMIT",
    "SAVEPOINT a",
    "ATTACH ':memory:' AS x",
    "VACUUM",
    "CREATE TEMP TABLE x (a)",
    "",
    "-- nothing",
    "SELECT 'open",
    "SELECT ?1, ?3",
    "SELECT :a, @b",
];

/// SQL that makes some of the tables.
pub(super) fn schema(random: &mut Random) -> String {
    let chosen: Vec<&str> = SCHEMA.into_iter().filter(|_| !random.one_in(3)).collect();
    chosen.join("; ")
}

/// SQL, and its parameters.
pub(super) fn script(random: &mut Random) -> (String, Vec<Json>) {
    let mut sql = statement(random);
    let mut values: Vec<Json> = (0..parameters(&sql)).map(|_| value(random)).collect();
    match random.below(40) {
        0 => drop(values.pop()),
        1 => values.push(value(random)),
        // Earlier statements take no parameters, which is an error of its own.
        2..8 => sql = format!("{}; {sql}", statement(random)),
        8 => sql = format!("{sql}; {}", statement(random)),
        _ => {}
    }
    (sql, values)
}

fn statement(random: &mut Random) -> String {
    match random.below(50) {
        0..20 => (*random.pick(&WRITES)).to_owned(),
        20..34 => (*random.pick(&READS)).to_owned(),
        34..42 => {
            let expressions: Vec<&str> = (0..=random.below(3)).map(|_| *random.pick(&EXPRESSIONS)).collect();
            // One with numbers stands alone: the others are counted.
            match expressions.iter().find(|expression| expression.contains("?1")) {
                Some(numbered) => format!("SELECT {numbered}"),
                None => format!("SELECT {}", expressions.join(", ")),
            }
        }
        42..45 => (*random.pick(&DEFINITIONS)).to_owned(),
        45 => (*random.pick(&PRAGMAS)).to_owned(),
        46 => (*random.pick(&SCHEMA)).to_owned(),
        _ => (*random.pick(&WRONG)).to_owned(),
    }
}

/// Number of parameters that a statement takes.
fn parameters(sql: &str) -> usize {
    match sql {
        "SELECT ?1, ?3" => 3,
        "SELECT :a, @b" => 2,
        _ if sql.contains("?1") => 1,
        _ => sql.matches('?').count(),
    }
}

/// A value to bind. Integers are within those that JavaScript's numbers hold.
pub(super) fn value(random: &mut Random) -> Json {
    match random.below(16) {
        0 | 1 => Json::Null,
        2..8 => json!(*random.pick(&[0_i64, 1, 2, 3, -1, 42, 99, 100, -2_147_483_649, 9_007_199_254_740_991])),
        8..10 => json!(*random.pick(&[0.5, -1.25, 0.1, 10_000_000_000.5, 1e-7])),
        10..14 => {
            json!(*random.pick(&["", "a", "b", "é", "a'b", "x", "10", "1.50", "[1, {\"a\": null}]", "🦀 a", "a\u{0}b"]))
        }
        14 => json!({"blob": *random.pick(&["", "00", "ff61", "f09fa680"])}),
        _ => json!(random.one_in(2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_those_that_a_statement_names() {
        assert_eq!(parameters("INSERT INTO t (a, b) VALUES (?, ?)"), 2);
        assert_eq!(parameters("SELECT printf('%d|%s|%.2f', ?1, ?1, ?1)"), 1);
        assert_eq!(parameters("SELECT ?1, ?3"), 3);
    }
}
