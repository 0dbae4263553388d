use super::*;

fn translated(sql: &str) -> String {
    let pieces = script(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let texts: Vec<_> = pieces.into_iter().map(|piece| piece.sql).collect();
    texts.join("; ")
}

fn refusal(sql: &str) -> String {
    script(sql).map(|pieces| format!("{pieces:?}")).expect_err(sql).message().to_owned()
}

#[test]
fn parameters_are_numbered_as_in_sqlite() {
    let numbered = |sql: &str| {
        let piece = script(sql).unwrap().remove(0);
        let values: Vec<_> = piece
            .sources
            .iter()
            .map(|source| match source {
                Source::Value(index) => *index,
                Source::Changes => usize::MAX,
            })
            .collect();
        (piece.sql, values, piece.count)
    };
    assert_eq!(numbered("SELECT ?, ?5, ?, ?1"), ("SELECT $1, $2, $3, $1".to_owned(), vec![0, 4, 5], 6));
    assert_eq!(numbered("SELECT :a, @b, :a, ?"), ("SELECT $1, $2, $1, $3".to_owned(), vec![0, 1, 2], 3));
    assert_eq!(numbered("SELECT '?', \"?\" -- ?\n, $$?$$"), ("SELECT '?', \"?\", $$?$$".to_owned(), vec![], 0));
    assert!(refusal("SELECT ?0").contains("variable number"));
}

#[test]
fn expressions_keep_their_meaning() {
    for (sql, expected) in [
        ("SELECT a == 1", "SELECT a = 1"),
        ("SELECT a IS b, a IS NOT ?, a IS NULL", "SELECT a IS NOT DISTINCT FROM b, a IS DISTINCT FROM $1, a IS NULL"),
        ("SELECT 1.5, 2, 0x10", "SELECT CAST(1.5 AS DOUBLE PRECISION), 2, (16)"),
        ("SELECT 9223372036854775807, -9223372036854775808", "SELECT 9223372036854775807, -9223372036854775808"),
        ("SELECT x'0aFF'", "SELECT CAST('\\x0aFF' AS BYTEA)"),
        ("SELECT `a``b`", "SELECT \"a`b\""),
        ("WHERE a LIKE '%' || '_' AND b", "WHERE a COLLATE \"C\" ILIKE ('%' || '_') ESCAPE '' AND b"),
        ("WHERE a NOT LIKE b ESCAPE '!'", "WHERE a COLLATE \"C\" NOT ILIKE b ESCAPE '!'"),
        ("SELECT a ORDER BY a, b DESC LIMIT 1", "SELECT a ORDER BY a NULLS FIRST, b DESC NULLS LAST LIMIT 1"),
        ("SELECT a ORDER BY a NULLS LAST", "SELECT a ORDER BY a NULLS LAST"),
        ("SELECT (SELECT a ORDER BY f(b, c)) x", "SELECT (SELECT a ORDER BY f(b, c) NULLS FIRST) x"),
        ("INSERT OR IGNORE INTO t VALUES (?)", "INSERT INTO t VALUES ($1) ON CONFLICT DO NOTHING"),
        ("INSERT OR IGNORE INTO t SELECT 1 RETURNING a", "INSERT INTO t SELECT 1 ON CONFLICT DO NOTHING RETURNING a"),
    ] {
        assert_eq!(translated(sql), expected, "{sql}");
    }
}

#[test]
fn operands_of_a_concatenation_are_texts_or_integers() {
    let guarded =
        |sql: &str| format!("(CASE WHEN TRUE THEN CAST({sql} AS TEXT) ELSE CAST(CAST({sql} AS OID) AS TEXT) END)");
    let [a, b, parameter] = ["a", "t.b", "$1"].map(guarded);
    let case = guarded("CASE WHEN a = 1 THEN 'b' END");
    for (sql, expected) in [
        ("SELECT 'a' || 'b'", "SELECT ('a' || 'b')".to_owned()),
        ("SELECT a || ('x') || t.b", format!("SELECT ({a} || ('x') || {b})")),
        ("SELECT 'x' || ? + 2", format!("SELECT ('x' || {parameter}) + 2")),
        (
            "SELECT lower(a || 'x') || upper(c)",
            format!("SELECT (lower((({a} || 'x')) COLLATE \"C\") || upper((c) COLLATE \"C\"))"),
        ),
        ("SELECT ('x' || 'y') || 'z', b", "SELECT ((('x' || 'y')) || 'z'), b".to_owned()),
        ("SELECT CASE WHEN a = 1 THEN 'b' END || 'x'", format!("SELECT ({case} || 'x')")),
        ("SELECT 0X10 || 'a'", format!("SELECT ({} || 'a')", guarded("(16)"))),
        ("SELECT 1 || -2", format!("SELECT ({} || {})", guarded("1"), guarded("-2"))),
    ] {
        assert_eq!(translated(sql), expected, "{sql}");
    }
    for sql in ["'a' || 1.0", "(2e3) || 'a'", "'a' || TRUE", "a -> 'b' || 'c'", "a IN (1) || 'c'", "a || AND"] {
        assert!(refusal(&format!("SELECT {sql}")).contains("||"), "{sql}");
    }
    let deep = |depth: usize| format!("SELECT {}a{}", "f(b || ".repeat(depth), ")".repeat(depth));
    assert!(script(&deep(5)).is_ok());
    assert!(refusal(&deep(40)).contains("too many"));
}

#[test]
fn functions_keep_their_meaning() {
    for (sql, expected) in [
        ("SELECT ifnull(a, ?)", "SELECT coalesce(a, $1)"),
        ("SELECT iif(a, 1, 2)", "SELECT (CASE WHEN a THEN 1 ELSE 2 END)"),
        ("SELECT lower(a)", "SELECT lower((a) COLLATE \"C\")"),
        ("SELECT CAST(a AS INTEGER)", "SELECT CAST(div(CAST(a AS NUMERIC), 1) AS BIGINT)"),
        ("SELECT CAST(a AS TEXT)", "SELECT CAST(a AS TEXT)"),
        ("SELECT changes()", "SELECT CAST($1 AS BIGINT)"),
        (
            "SELECT datetime('now')",
            "SELECT (to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'))",
        ),
        ("SELECT count(*), sum(a), max(b)", "SELECT count(*), sum(a), max(b)"),
        ("SELECT max(a, ?)", "SELECT (CASE WHEN (a) IS NOT NULL AND ($1) IS NOT NULL THEN greatest(a, $1) END)"),
    ] {
        assert_eq!(translated(sql), expected, "{sql}");
    }
}

#[test]
fn definitions_have_types_of_the_same_values() {
    let sql = "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT NOT NULL, b REAL DEFAULT 1.5, c BLOB, \
               d INT, e TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL, f VARCHAR(3), PRIMARY KEY (a, d)) STRICT";
    let expected = "CREATE TABLE IF NOT EXISTS t (id BIGINT GENERATED BY DEFAULT AS IDENTITY CONSTRAINT isobar_ids CHECK (\"id\" \
                    <= coalesce(pg_catalog.pg_sequence_last_value(CAST(pg_catalog.pg_get_serial_sequence(CAST(CAST(tableoid AS \
                    REGCLASS) AS TEXT), (pg_catalog.pg_identify_object_as_address(CAST('pg_catalog.pg_class' AS REGCLASS), \
                    tableoid, 1)).object_names[3]) AS REGCLASS)), 0) OR pg_catalog.setval(CAST(\
                    pg_catalog.pg_get_serial_sequence(CAST(CAST(tableoid AS REGCLASS) AS TEXT), \
                    (pg_catalog.pg_identify_object_as_address(CAST('pg_catalog.pg_class' AS REGCLASS), tableoid, 1))\
                    .object_names[3]) AS REGCLASS), \"id\") > 0) PRIMARY KEY, \
                    a TEXT COLLATE \"C\" NOT NULL, b DOUBLE PRECISION DEFAULT CAST(1.5 AS DOUBLE PRECISION), c BYTEA, \
                    d BIGINT, e TEXT COLLATE \"C\" DEFAULT (to_char(statement_timestamp() AT TIME ZONE 'UTC', \
                    'YYYY-MM-DD HH24:MI:SS')) NOT NULL, f VARCHAR(3) COLLATE \"C\", PRIMARY KEY (a, d))";
    assert_eq!(translated(sql), expected);
    let quoted = translated("CREATE TABLE t (a TEXT, \"Id'\" INTEGER PRIMARY KEY)");
    assert!(quoted.contains("CHECK (\"Id'\" <=") && quoted.contains("tableoid, 2)"), "{quoted}");
    assert!(translated("CREATE TABLE t (Id INTEGER PRIMARY KEY)").contains("CHECK (\"id\" <="));
    assert_eq!(translated("ALTER TABLE t ADD COLUMN n INTEGER"), "ALTER TABLE t ADD COLUMN n BIGINT");
    let index = "CREATE UNIQUE INDEX i ON t (a, b DESC) WHERE a IS NOT NULL";
    assert_eq!(translated(index), "CREATE UNIQUE INDEX i ON t (a NULLS FIRST, b DESC NULLS LAST) WHERE a IS NOT NULL");
}

#[test]
fn what_would_differ_is_refused_with_its_construct() {
    for (sql, construct) in [
        ("PRAGMA foreign_keys", "PRAGMA"),
        ("REPLACE INTO t VALUES (1)", "REPLACE"),
        ("INSERT OR REPLACE INTO t VALUES (1)", "REPLACE"),
        ("SELECT random()", "RANDOM"),
        ("SELECT round(a)", "ROUND"),
        ("SELECT substr(a, -2)", "SUBSTR"),
        ("SELECT json_extract(a, '$[0]')", "JSON_EXTRACT"),
        ("SELECT date(a, '+1 day')", "DATE"),
        ("SELECT a GLOB 'x*'", "GLOB"),
        ("SELECT a ->> '$.b'", "'$.B'"),
        ("SELECT 9223372036854775808", "9223372036854775808"),
        ("SELECT a - 9223372036854775808", "9223372036854775808"),
        ("SELECT -9223372036854775809", "9223372036854775809"),
        ("SELECT 0x10000000000000000", "0X10000000000000000"),
        ("SELECT 1_000", "1_000"),
        ("SELECT a -> '$.b'", "'$.B'"),
        ("CREATE TABLE t (a)", "A"),
        ("CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; END", "TRIGGER"),
    ] {
        let message = refusal(sql);
        assert!(message.starts_with(&format!("{construct} has no equivalent")), "{sql}: {message}");
    }
}

#[test]
fn sql_that_is_cut_off_is_not_completed() {
    for sql in
        ["CREATE TABLE t (a INTEGER", "SELECT lower(a", "SELECT 1 ORDER BY (a", "SELECT a IN (SELECT (b) ORDER BY f(c"]
    {
        assert_eq!(refusal(sql), "incomplete input", "{sql}");
    }
    assert_eq!(refusal("SELECT a) ORDER BY (b"), "near \")\": syntax error");
}

#[test]
fn statements_whose_translation_would_not_end_are_refused() {
    let nested =
        |open: &str, close: &str, depth: usize| format!("SELECT {}a{}", open.repeat(depth), close.repeat(depth));
    for (open, close) in [("(", ")"), ("lower(", ")"), ("CASE WHEN a THEN ", " END")] {
        assert!(script(&nested(open, close, 100)).is_ok(), "{open}");
        assert!(refusal(&nested(open, close, 101)).contains("maximum depth 100"), "{open}");
    }
    for (open, close) in [("max(", ", 1)"), ("avg(", ")"), ("json_extract(", ", '$.b')")] {
        assert!(script(&nested(open, close, 3)).is_ok(), "{open}");
        assert!(refusal(&nested(open, close, 30)).contains("too long"), "{open}");
    }
    let signs = format!("SELECT {}1", "-+".repeat(100_000));
    assert_eq!(translated(&signs), signs);
    assert!(translated("SELECT - + a || 'x'").contains("CAST(- + a AS TEXT)"));
}

#[test]
fn texts_names_and_blobs_without_an_end_are_reported() {
    for end in ["`a", "`a``", "`", "x'", "X'00", "x'0", "'a", "\"a", "'it''s"] {
        assert_eq!(refusal(&format!("SELECT {end}")), format!("unrecognized token: \"{end}\""), "{end}");
        assert!(refusal(&format!("CREATE TABLE t ({end}; SELECT 1")).starts_with("unrecognized token: "), "{end}");
    }
    for blob in ["x''''", "x'0'", "x'0''0'", "x'zz'"] {
        assert!(refusal(&format!("SELECT {blob}")).contains("odd number of digits"), "{blob}");
    }
    assert_eq!(translated("SELECT x'', ```a`"), "SELECT CAST('\\x' AS BYTEA), \"`a\"");
}

#[test]
fn nothing_behind_a_comment_within_a_comment_is_left_out() {
    assert!(refusal("SELECT 1; /* one /* two */ DELETE FROM t").contains("comment"));
    assert!(refusal("SELECT 1; /* one /* two */ */ DELETE FROM t").contains("comment"));
    assert_eq!(translated("/* isobar:postgres */ /* one /* two */ */ SELECT 1"), "SELECT 1");
    assert!(refusal("/* isobar:postgres */ SELECT 1; /* one /* two */ SELECT 2").contains("comment"));
}

#[test]
fn statements_of_transactions_and_connections_are_refused() {
    for sql in [
        "BEGIN",
        "/* x */ commit",
        "SELECT 1; ROLLBACK",
        "PREPARE TRANSACTION 'a'",
        "SET x = 1",
        "CREATE TEMP TABLE t (a INT)",
    ] {
        assert_eq!(script(sql).map(drop).expect_err(sql).kind(), ErrorKind::NotAuthorized, "{sql}");
    }
    assert_eq!(translated("SET CONSTRAINTS ALL DEFERRED"), "SET CONSTRAINTS ALL DEFERRED");
}

#[test]
fn a_script_for_postgres_is_taken_as_it_is() {
    let sql = "INSERT INTO t VALUES (1.5); /* isobar:postgres */ CREATE FUNCTION f() AS $$ BEGIN; $$; SELECT a ? 'x', $2 ORDER BY a";
    let pieces = script(sql).unwrap();
    assert_eq!(pieces.len(), 3);
    assert!(pieces[0].sql.contains("DOUBLE"));
    assert_eq!(pieces[1].sql, "CREATE FUNCTION f() AS $$ BEGIN; $$");
    assert_eq!((pieces[2].sql.as_str(), pieces[2].count), ("SELECT a ? 'x', $2 ORDER BY a", 2));
}

#[test]
fn kinds_are_those_of_the_outer_statement() {
    let verb = |sql: &str| script(sql).unwrap()[0].verb;
    assert_eq!(verb("WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x"), Verb::Read);
    assert_eq!(verb("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x"), Verb::Write);
    assert_eq!([verb("DROP TABLE t"), verb("VALUES (1)")], [Verb::Define, Verb::Read]);
}
