//! D1's errors, by their texts.

use isobar_testkit::{Case, cases, ensure, ensure_eq};

use super::{Outcome, Subject, fault, refused, table};
use crate::{Constraint, ErrorKind, QueryableExt};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "errors" => {
            wrong_sql_has_the_error_text_of_d1 if "sqlite",
            repeated_query_of_a_dropped_column_names_its_place if "sqlite",
            constraints_have_kinds_of_their_own if "sqlite",
            bindings_are_counted,
            empty_sql_is_refused if "sqlite",
        }
        "authorizer" => {
            transactions_are_refused,
            sql_that_d1_forbids_is_refused if "sqlite",
            sql_that_d1_allows_runs if "sqlite",
            functions_are_those_that_d1_allows if "sqlite",
            pragma_names_and_keywords_may_name_columns if "sqlite",
            arguments_of_pragmas_are_those_that_d1_takes if "sqlite",
        }
    }
}

/// The prefix, SQLite's text, the offset where there is one, and the name of the code.
async fn wrong_sql_has_the_error_text_of_d1(db: Subject) -> Outcome {
    table(&db, "e_t", "u").await?;
    let table = [
        ("SELEC 1", "near \"SELEC\": syntax error at offset 0: SQLITE_ERROR"),
        ("SELECT * FROM", "incomplete input: SQLITE_ERROR"),
        ("SELECT * FROM nope", "no such table: nope: SQLITE_ERROR"),
        ("SELECT nope FROM e_t", "no such column: nope at offset 7: SQLITE_ERROR"),
        ("SELECT nope(1)", "no such function: nope at offset 7: SQLITE_ERROR"),
        ("CREATE TABLE e_t (a)", "table e_t already exists at offset 13: SQLITE_ERROR"),
        ("SELECT json('{')", "malformed JSON: SQLITE_ERROR"),
    ];
    for (sql, text) in table {
        ensure_eq!((sql, refused(&db, sql).await?), (sql, (ErrorKind::Sql, format!("D1_ERROR: {text}"))));
    }
    Ok(())
}

/// Also where a statement that was kept prepared no longer fits the schema.
async fn repeated_query_of_a_dropped_column_names_its_place(db: Subject) -> Outcome {
    table(&db, "e_dropped", "a, b").await?;
    let sql = "SELECT b FROM e_dropped";
    for _ in 0..3 {
        db.prepare(sql).run().await?;
    }
    db.prepare("ALTER TABLE e_dropped DROP COLUMN b").run().await?;
    for _ in 0..2 {
        let text = "D1_ERROR: no such column: b at offset 7: SQLITE_ERROR";
        ensure_eq!(refused(&db, sql).await?, (ErrorKind::Sql, text.to_owned()));
    }
    Ok(())
}

/// By the extended code.
async fn constraints_have_kinds_of_their_own(db: Subject) -> Outcome {
    table(&db, "e_c", "id INTEGER PRIMARY KEY, u UNIQUE, n NOT NULL DEFAULT 1, c CHECK (c < 10)").await?;
    db.prepare("INSERT INTO e_c VALUES (1, 'x', 1, 1)").run().await?;
    let table = [
        (
            "INSERT INTO e_c (u) VALUES ('x')",
            Constraint::Unique,
            "UNIQUE constraint failed: e_c.u: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)",
        ),
        (
            "INSERT INTO e_c (id) VALUES (1)",
            Constraint::PrimaryKey,
            "UNIQUE constraint failed: e_c.id: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_PRIMARYKEY)",
        ),
        (
            "INSERT INTO e_c (n) VALUES (NULL)",
            Constraint::NotNull,
            "NOT NULL constraint failed: e_c.n: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_NOTNULL)",
        ),
        (
            "INSERT INTO e_c (c) VALUES (10)",
            Constraint::Check,
            "CHECK constraint failed: c < 10: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_CHECK)",
        ),
    ];
    for (sql, constraint, text) in table {
        let want = (ErrorKind::Constraint(constraint), format!("D1_ERROR: {text}"));
        ensure_eq!((sql, refused(&db, sql).await?), (sql, want));
    }
    Ok(())
}

/// Too many and too few alike.
async fn bindings_are_counted(db: Subject) -> Outcome {
    let wrong = "D1_ERROR: Wrong number of parameter bindings for SQL query.";
    for (sql, values) in [("SELECT ?", 0), ("SELECT ?", 2), ("SELECT 1", 1), ("SELECT ?2", 1), ("SELECT ?, ?", 1)] {
        let error = fault(db.prepare(sql).bind_all(vec!["x"; values]).run().await)?;
        ensure_eq!((sql, error.to_string()), (sql, wrong.to_owned()));
    }
    db.prepare("SELECT ?2").bind("a").bind("b").run().await?;
    Ok(())
}

/// An empty text and one of comments have different errors in D1.
async fn empty_sql_is_refused(db: Subject) -> Outcome {
    for sql in ["", "  \n", "-- c"] {
        ensure_eq!((sql, refused(&db, sql).await?.1), (sql, "D1_ERROR: No SQL statements detected.".to_owned()));
    }
    for sql in [";", "/* c */"] {
        ensure_eq!(
            (sql, refused(&db, sql).await?.1),
            (sql, "D1_ERROR: SQL code did not contain a statement.".to_owned())
        );
    }
    Ok(())
}

/// In any case, and behind a comment or another statement; D1's text names `batch`.
async fn transactions_are_refused(db: Subject) -> Outcome {
    for sql in
        ["BEGIN", "begin immediate", "/* x */ COMMIT", "END", "ROLLBACK", "SAVEPOINT a", "RELEASE a", "SELECT 1; BEGIN"]
    {
        let (kind, text) = refused(&db, sql).await?;
        ensure_eq!((sql, kind), (sql, ErrorKind::NotAuthorized));
        ensure!(text.starts_with("D1_ERROR: To execute a transaction, please use"), "{text}");
    }
    Ok(())
}

/// `not authorized`.
async fn sql_that_d1_forbids_is_refused(db: Subject) -> Outcome {
    let forbidden = [
        "ATTACH ':memory:' AS x",
        "CREATE TEMP TABLE e_temp (a)",
        "CREATE TABLE _cf_x (a)",
        "CREATE TABLE _CF_X (a)",
        "CREATE VIEW _cf_v AS SELECT 1",
        "PRAGMA user_version",
        "PRAGMA user_version = 1",
        "PRAGMA journal_mode",
        "PRAGMA page_size = 8192",
        "PRAGMA page_count",
        "SELECT * FROM pragma_user_version",
        "PRAGMA writable_schema = ON",
        "CREATE VIRTUAL TABLE e_v USING fts4(a)",
        "SELECT sqlite_version()",
        "SELECT load_extension('x')",
    ];
    for sql in forbidden {
        let (kind, text) = refused(&db, sql).await?;
        ensure_eq!((sql, kind, text.starts_with("D1_ERROR: not authorized")), (sql, ErrorKind::NotAuthorized, true));
    }
    Ok(())
}

/// Among them PRAGMAs as tables, and EXPLAIN QUERY PLAN.
async fn sql_that_d1_allows_runs(db: Subject) -> Outcome {
    table(&db, "e_allowed", "a").await?;
    for sql in [
        "PRAGMA table_info(e_allowed)",
        "SELECT * FROM pragma_table_info('e_allowed')",
        "PRAGMA foreign_keys",
        "PRAGMA optimize",
        "PRAGMA table_list",
        "SELECT name FROM sqlite_master",
        "EXPLAIN QUERY PLAN SELECT 1",
        "SELECT sqrt(2), random() % 1000",
        "ANALYZE",
    ] {
        let done = db.prepare(sql).run().await;
        ensure!(done.is_ok(), "{sql}: {done:?}");
    }
    Ok(())
}

/// And tables: those that workerd's SQLite does not have are unknown, not refused.
async fn functions_are_those_that_d1_allows(db: Subject) -> Outcome {
    for (call, name) in [
        ("json_pretty('{}')", "json_pretty"),
        ("if(1, 2, 3)", "if"),
        ("power(2, 3)", "power"),
        ("log10(10)", "log10"),
        ("ceiling(1.5)", "ceiling"),
        ("unistr('a')", "unistr"),
        ("json_error_position('{')", "json_error_position"),
        ("sqlite_version()", "sqlite_version"),
    ] {
        let text = format!("D1_ERROR: not authorized to use function: {name} at offset 7: SQLITE_ERROR");
        ensure_eq!((call, refused(&db, &format!("SELECT {call}")).await?), (call, (ErrorKind::NotAuthorized, text)));
    }
    let unknown = "D1_ERROR: no such function: soundex at offset 7: SQLITE_ERROR".to_owned();
    ensure_eq!(refused(&db, "SELECT soundex('a')").await?, (ErrorKind::Sql, unknown));
    for table in ["dbstat", "sqlite_stmt", "bytecode('SELECT 1')", "generate_series(1, 3)"] {
        let (kind, text) = refused(&db, &format!("SELECT * FROM {table}")).await?;
        let name = table.split('(').next().unwrap_or_default();
        ensure_eq!((kind, text), (ErrorKind::Sql, format!("D1_ERROR: no such table: {name}: SQLITE_ERROR")));
    }
    for call in [
        "pow(2, 3)",
        "iif(1, 2, 3)",
        "log2(8)",
        "ceil(1.5)",
        "mod(7, 4)",
        "pi()",
        "octet_length('a')",
        "total_changes()",
    ] {
        db.prepare(format!("SELECT {call}")).run().await?;
    }
    let each: Vec<i64> = db.prepare("SELECT value FROM json_each('[1, 2]')").all().await?;
    ensure_eq!(each, [1, 2]);
    let rank: Vec<i64> = db.prepare("SELECT row_number() OVER () FROM json_each('[5, 6]')").all().await?;
    ensure_eq!(rank, [1, 2]);
    Ok(())
}

/// Rules go by what SQLite would do, not by words: these are names of tables and columns.
async fn pragma_names_and_keywords_may_name_columns(db: Subject) -> Outcome {
    table(&db, "page_count", "pragma_page_count, begin, \"end\"").await?;
    db.prepare("INSERT INTO page_count VALUES (1, 2, 3)").run().await?;
    let sum: f64 = db.prepare("SELECT pragma_page_count + begin + \"end\" FROM page_count").one().await?;
    ensure_eq!(sum, 6.0);
    db.prepare("DROP TABLE page_count").run().await?;
    Ok(())
}

/// workerd's list says for each PRAGMA which arguments it may have.
async fn arguments_of_pragmas_are_those_that_d1_takes(db: Subject) -> Outcome {
    table(&db, "e_pragma", "a UNIQUE").await?;
    let refused_arguments: [(&str, &[&str]); 6] = [
        ("table_info", &["", "(_cf_KV)", " = _cf_x", "('_CF_x')"]),
        ("foreign_key_list", &["", "(_cf_KV)"]),
        ("index_list", &["", "(_cf_KV)", " = '_cf_x'"]),
        ("data_version", &[" = 1", "(1)", "(e_pragma)"]),
        ("foreign_keys", &[" = maybe", "(2)", "(-1)", " = ''", " = 2147483648"]),
        ("optimize", &[" = on", "(1.5)", "('')", "(2147483648)", "('1 ')"]),
    ];
    for (name, arguments) in refused_arguments {
        for argument in arguments {
            let sql = format!("PRAGMA {name}{argument}");
            let text = "D1_ERROR: not authorized: SQLITE_AUTH".to_owned();
            ensure_eq!((&sql, refused(&db, &sql).await?), (&sql, (ErrorKind::NotAuthorized, text)));
        }
    }
    for sql in ["SELECT * FROM pragma_table_info", "SELECT * FROM pragma_index_list('_cf_x')"] {
        let (kind, _) = refused(&db, sql).await?;
        ensure_eq!((sql, kind), (sql, ErrorKind::NotAuthorized));
    }
    for sql in [
        "PRAGMA table_xinfo(_cf)",
        "PRAGMA table_list(_cf_x)",
        "PRAGMA index_info(sqlite_autoindex__cf_KV_1)",
        "PRAGMA foreign_key_check",
        "PRAGMA quick_check(5)",
        "PRAGMA quick_check = e_pragma",
        "PRAGMA data_version",
        "PRAGMA main.foreign_keys = TRUE",
        "PRAGMA foreign_keys = nope",
        "PRAGMA foreign_keys(10)",
        "PRAGMA optimize(-1)",
        "PRAGMA optimize = '0x10002'",
        "SELECT * FROM pragma_optimize",
        "SELECT * FROM pragma_optimize(' 1')",
        "SELECT name FROM pragma_table_info('e_pragma', 'main')",
    ] {
        let done = db.prepare(sql).run().await;
        ensure!(done.is_ok(), "{sql}: {done:?}");
    }
    Ok(())
}
