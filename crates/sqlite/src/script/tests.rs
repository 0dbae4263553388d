//! Where statements end, and which parameters they have.

use super::*;

fn parts(script: &str) -> Vec<&str> {
    split(script).collect()
}

#[test]
fn statements_end_where_sqlite_ends_them() {
    assert_eq!(parts("SELECT 1; SELECT 2"), ["SELECT 1", "SELECT 2"]);
    assert_eq!(
        parts("SELECT ';'; SELECT \"a;\"\"b\"; SELECT [c;d], `e;f`"),
        ["SELECT ';'", "SELECT \"a;\"\"b\"", "SELECT [c;d], `e;f`"]
    );
    assert_eq!(parts("-- a;b\r\nSELECT 1 /* ; */;\r\n"), ["-- a;b\r\nSELECT 1 /* ; */"]);
    assert_eq!(parts("; ;-- nothing\n/* at all */"), Vec::<&str>::new());
    assert_eq!(parts("SELECT 'it''s; fine'; SELECT 'open; end"), ["SELECT 'it''s; fine'", "SELECT 'open; end"]);
}

#[test]
fn triggers_stay_whole() {
    let trigger = "create  Temp trigger t AFTER UPDATE ON a WHEN CASE 1 WHEN 1 THEN 1 END\nBegin\n UPDATE a SET b = CASE WHEN c THEN 1 ELSE 2 END;\n SELECT 1;\nEnD";
    assert_eq!(parts(&format!("{trigger}; SELECT 2;")), [trigger, "SELECT 2"]);
    assert_eq!(parts("CREATE TABLE begin_ (a); SELECT CASE 1 WHEN 1 THEN 2 END; SELECT 3").len(), 3);
    assert_eq!(
        parts("CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT NEW.begin, NEW.end; SELECT begin; END; SELECT 4").len(),
        2
    );
    assert_eq!(parts("EXPLAIN QUERY PLAN CREATE TRIGGER t DELETE ON a BEGIN SELECT 1; END; SELECT 2").len(), 2);
    assert_eq!(parts("CREATE TRIGGER t DELETE ON a BEGIN SELECT 1; /* c */ end -- c\n; SELECT 2").len(), 2);
    assert_eq!(parts("CREATE TABLE trigger_log (trigger TEXT, \"begin\"); SELECT 1").len(), 2);
}

#[test]
fn transaction_of_a_dump_is_removed_and_lines_stay() {
    let dump = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t (a);\nINSERT INTO t VALUES ('BEGIN TRANSACTION;');\nCOMMIT;\n";
    let without = without_transaction(dump).unwrap();
    assert_eq!(without.len(), dump.len());
    assert_eq!(
        parts(&without),
        ["PRAGMA foreign_keys=OFF", "CREATE TABLE t (a)", "INSERT INTO t VALUES ('BEGIN TRANSACTION;')"]
    );
    assert_eq!(line(&without, without.find("CREATE").unwrap()), 3);
    for script in ["SELECT 1", "BEGIN; SELECT 1; COMMIT", "BEGIN TRANSACTION; SELECT 1", "COMMIT; SELECT 'BEGIN'"] {
        assert!(matches!(without_transaction(script), Some(Cow::Borrowed(_))), "{script}");
    }
    assert_eq!(without_transaction("BEGIN TRANSACTION; COMMIT; begin transaction; COMMIT;"), None);
}

#[test]
fn parameters_count_as_sqlite_counts_them() {
    let count = |sql| number_parameters(sql).1;
    assert_eq!(count("SELECT ?, ?2, ?, '?', \"?\", -- ?\n?"), 4);
    assert_eq!(count("SELECT ?5, ?"), 6);
    assert_eq!(number_parameters("SELECT :a, @b, :a, $c, ?").0, "SELECT ?1, ?2, ?1, ?3, ?4");
    assert_eq!(number_parameters("SELECT ?, ?").0, "SELECT ?, ?");
    assert_eq!(number_parameters("SELECT ?1 ->> '$.x'"), (Cow::Borrowed("SELECT ?1 ->> '$.x'"), 1));
}

#[test]
fn reads_are_distinguished_from_writes() {
    for read in [
        "SELECT 1",
        " /* x */ select 1",
        "VALUES (1)",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "EXPLAIN INSERT INTO t VALUES (1)",
        "explain -- c\n query plan WITH a AS (SELECT 1) DELETE FROM t",
        "PRAGMA table_list",
        "pragma main.Table_Info(\"t\")",
        "PRAGMA quick_check = 5",
        "PRAGMA foreign_keys",
        "EXPLAIN PRAGMA recursive_triggers;",
        "EXPLAIN SELECT * FROM pragma_optimize",
        "SELECT * FROM pragma_table_info('t')",
    ] {
        assert!(is_read(read), "{read}");
    }
    for write in [
        "INSERT INTO t VALUES (1)",
        "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
        "PRAGMA optimize",
        "SELECT * FROM pragma_optimize",
        "WITH a AS (SELECT * FROM main.[Pragma_Optimize](-1)) SELECT * FROM a",
        "PRAGMA foreign_keys = ON",
        "PRAGMA main.recursive_triggers(1)",
        "EXPLAIN PRAGMA case_sensitive_like = 1",
        "PRAGMA incremental_vacuum",
        "PRAGMA",
        "",
    ] {
        assert!(!is_read(write), "{write}");
    }
    assert!(is_pragma("explain pragma page_size") && !is_pragma("SELECT 'PRAGMA'"));
}

#[test]
fn closed_sql_leaves_what_follows_it_alone() {
    for sql in [
        "SELECT 1",
        "SELECT 1 -- a",
        "SELECT 1 --",
        "SELECT 1 /* a",
        "SELECT 1 /*/",
        "SELECT 1 /* a */",
        "SELECT '/* a'",
    ] {
        assert_eq!(parts(&format!("{};SELECT 2", closed(sql))).last(), Some(&"SELECT 2"), "{sql}");
    }
    for sql in ["SELECT 1 /* a */", "SELECT 1 -- a\n", "SELECT '--'", "SELECT 1 -- a\n+ 1", ""] {
        assert_eq!(closed(sql), sql);
    }
}
