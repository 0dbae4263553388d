//! Binding, rows, columns, meta.

use chrono::{DateTime, NaiveDateTime, Utc};
use isobar_testkit::{Case, Failure, cases, ensure, ensure_eq};
use serde::Deserialize;

use super::{Outcome, Subject, fault, refused, table};
use crate::{ErrorKind, FromRow, QueryableExt, Result, Row, Statement, Value};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "queries" => {
            values_round_trip_through_the_database if "sqlite",
            integers_are_exact if "exact_integers",
            integers_are_never_rounded if "sqlite",
            parameters_number_as_in_sqlite,
            rows_convert_to_structs_tuples_and_scalars,
            rows_convert_to_custom_types,
            null_reads_as_none,
            first_yields_the_first_row,
            a_missing_column_is_named,
            duplicate_columns_collapse_to_the_last,
            raw_keeps_duplicate_columns,
            columns_are_known_without_rows,
            several_statements_give_the_last_rows,
            meta_reports_changes if "sqlite",
            returning_yields_rows,
            full_text_search_is_available if "sqlite",
            json_functions_are_available if "sqlite",
            reals_become_text_that_reads_back if "sqlite",
            invalid_utf8_reads_as_the_replacement_character if "sqlite",
            dates_round_trip,
            definitions_change_the_database_where_it_grows if "sqlite",
            dropped_table_gives_its_pages_back if "sqlite",
            failed_insert_shows_in_the_last_row_id if "sqlite",
            delete_and_update_take_order_and_limit if "sqlite",
            limited_statements_find_their_table if "sqlite",
            mathematical_functions_give_numbers_or_null if "sqlite",
        }
    }
}

#[derive(Debug, Deserialize, PartialEq)]
struct User {
    id: i64,
    name: String,
    email: Option<String>,
    active: bool,
    score: f64,
}

async fn users(db: &Subject, name: &str) -> Result<()> {
    table(db, name, "id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT, active INTEGER, score REAL").await?;
    let insert = format!("INSERT INTO {name} (name, email, active, score) VALUES (?, ?, ?, ?)");
    db.prepare(insert.clone()).bind("Ada").bind("ada@example.com").bind(true).bind(1.5).run().await?;
    db.prepare(insert).bind("Bob").bind(None::<String>).bind(false).bind(2.0).run().await?;
    Ok(())
}

/// NULL, REAL, TEXT and BLOB, exactly.
async fn values_round_trip_through_the_database(db: Subject) -> Outcome {
    table(&db, "q_values", "v").await?;
    let values = [Value::Null, Value::Real(1.5), Value::from("text é 🦀"), Value::from(vec![0u8, 1, 255])];
    for value in &values {
        db.prepare("INSERT INTO q_values VALUES (?)").bind(value.clone()).run().await?;
    }
    let (_, rows) = db.prepare("SELECT v FROM q_values ORDER BY rowid").raw().await?;
    ensure_eq!(rows.into_iter().flatten().collect::<Vec<_>>(), values);
    Ok(())
}

/// Of 64 bits, where the backend says so (`exact_integers`): D1 itself passes them through JavaScript.
async fn integers_are_exact(db: Subject) -> Outcome {
    for integer in [0, 1, -1, (1 << 53) + 1, i64::MAX, i64::MIN] {
        let (_, rows) = db.prepare("SELECT ?").bind(integer).raw().await?;
        ensure_eq!(rows, [vec![Value::Integer(integer)]]);
    }
    Ok(())
}

/// They are stored exactly on every backend; one that cannot be read exactly is refused, never rounded.
async fn integers_are_never_rounded(db: Subject) -> Outcome {
    table(&db, "q_integers", "n").await?;
    for integer in [5, -1, (1 << 53) + 1, i64::MAX, i64::MIN] {
        db.prepare("DELETE FROM q_integers").run().await?;
        db.prepare("INSERT INTO q_integers VALUES (?)").bind(integer).run().await?;
        let stored = "SELECT CAST(n AS TEXT), typeof(n) FROM q_integers WHERE n = ?";
        let stored: (String, String) = db.prepare(stored).bind(integer).one().await?;
        ensure_eq!(stored, (integer.to_string(), "integer".to_owned()));
        // What cannot be told exactly is refused.
        match db.prepare("SELECT n FROM q_integers").one::<i64>().await {
            Ok(read) => ensure_eq!(read, integer),
            Err(error) => ensure_eq!((error.kind(), integer.abs_diff(0) > 1 << 53), (ErrorKind::Decode, true)),
        }
    }
    Ok(())
}

/// `?`, `?N` and names, in strings and comments not.
async fn parameters_number_as_in_sqlite(db: Subject) -> Outcome {
    let got: (String, String, String) = db
        .prepare("SELECT ?2, ?1, ? -- ?\n, '?'")
        .bind("a")
        .bind("b")
        .bind("c")
        .one::<(String, String, String, String)>()
        .await
        .map(|row| (row.0, row.1, row.2))?;
    ensure_eq!(got, ("b".into(), "a".into(), "c".into()));
    let named: (String, String, String) = db.prepare("SELECT :x, @y, :x").bind("x").bind("y").one().await?;
    ensure_eq!(named, ("x".into(), "y".into(), "x".into()));
    Ok(())
}

/// By names, by order, or as the value of a single column; a wrong type names its column.
async fn rows_convert_to_structs_tuples_and_scalars(db: Subject) -> Outcome {
    users(&db, "q_rows").await?;
    let all: Vec<User> = db.prepare("SELECT * FROM q_rows ORDER BY id").all().await?;
    let ada = User { id: 1, name: "Ada".into(), email: Some("ada@example.com".into()), active: true, score: 1.5 };
    let bob = User { id: 2, name: "Bob".into(), email: None, active: false, score: 2.0 };
    ensure_eq!(all, [ada, bob]);
    let pairs: Vec<(i64, String)> = db.prepare("SELECT id, name FROM q_rows ORDER BY id DESC").all().await?;
    ensure_eq!(pairs, [(2, "Bob".into()), (1, "Ada".into())]);
    let names: Vec<String> = db.prepare("SELECT name FROM q_rows ORDER BY id").all().await?;
    ensure_eq!(names, ["Ada", "Bob"]);
    let wrong = fault(db.prepare("SELECT name AS id FROM q_rows").all::<(i64,)>().await)?;
    ensure_eq!(wrong.kind(), ErrorKind::Decode);
    ensure!(wrong.to_string().contains("column id"), "{wrong}");
    Ok(())
}

#[derive(Debug, PartialEq)]
struct Own(String);

impl FromRow for Own {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self(format!("{}:{}", row.get::<i64>("id")?, row.get::<String>("name")?)))
    }
}

/// By [`FromRow`].
async fn rows_convert_to_custom_types(db: Subject) -> Outcome {
    users(&db, "q_own").await?;
    let first: Option<Own> = db.prepare("SELECT id, name FROM q_own ORDER BY id").first().await?;
    ensure_eq!(first, Some(Own("1:Ada".into())));
    Ok(())
}

/// A NULL where no `Option` was asked for is an error.
async fn null_reads_as_none(db: Subject) -> Outcome {
    let null: Option<Option<i64>> = db.prepare("SELECT NULL AS a").first_column("a").await?;
    ensure_eq!(null, Some(None));
    let not_null = db.prepare("SELECT NULL AS a").first_column::<i64>("a").await;
    ensure_eq!(fault(not_null)?.kind(), ErrorKind::Decode);
    Ok(())
}

/// `None` without a row, also for a column that there is not.
async fn first_yields_the_first_row(db: Subject) -> Outcome {
    users(&db, "q_first").await?;
    let name: Option<String> = db.prepare("SELECT * FROM q_first ORDER BY id").first_column("name").await?;
    ensure_eq!(name.as_deref(), Some("Ada"));
    let none: Option<User> = db.prepare("SELECT * FROM q_first WHERE id = 99").first().await?;
    ensure_eq!(none, None);
    let none: Option<String> = db.prepare("SELECT * FROM q_first WHERE id = 99").first_column("no_column").await?;
    ensure_eq!(none, None);
    Ok(())
}

/// With D1's text; names keep their case.
async fn a_missing_column_is_named(db: Subject) -> Outcome {
    let error = fault(db.prepare("SELECT 1 AS a").first_column::<i64>("b").await)?;
    ensure_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::ColumnNotFound, "D1_COLUMN_NOTFOUND: Column not found (b)".to_owned())
    );
    let error = fault(db.prepare("SELECT 1 AS a").first_column::<i64>("A").await)?;
    ensure_eq!(error.to_string(), "D1_COLUMN_NOTFOUND: Column not found (A)");
    Ok(())
}

/// As in the objects of JavaScript that D1 answers with.
async fn duplicate_columns_collapse_to_the_last(db: Subject) -> Outcome {
    let result = db.query(Statement::new("SELECT 1 AS a, 2 AS b, 3 AS a")).await?;
    let row = result.rows.first().ok_or_else(|| Failure("no row".into()))?;
    ensure_eq!((row.get::<f64>("a")?, row.get::<f64>("b")?), (3.0, 2.0));
    Ok(())
}

async fn raw_keeps_duplicate_columns(db: Subject) -> Outcome {
    let (columns, rows) = db.prepare("SELECT 'x' AS a, 'y' AS a").raw().await?;
    ensure_eq!(columns, ["a", "a"]);
    ensure_eq!(rows, [[Value::from("x"), Value::from("y")]]);
    Ok(())
}

async fn columns_are_known_without_rows(db: Subject) -> Outcome {
    let (columns, rows) = db.prepare("SELECT 1 AS a, 2 AS b WHERE 1 = 0").raw().await?;
    ensure_eq!((columns, rows.len()), (vec!["a".to_owned(), "b".to_owned()], 0));
    Ok(())
}

async fn several_statements_give_the_last_rows(db: Subject) -> Outcome {
    table(&db, "q_several", "a TEXT").await?;
    let sql = "INSERT INTO q_several VALUES ('one'); INSERT INTO q_several VALUES ('two'); SELECT a FROM q_several WHERE a = ?";
    let found: Vec<String> = db.prepare(sql).bind("two").all().await?;
    ensure_eq!(found, ["two"]);
    let early = fault(db.prepare("SELECT ?; SELECT 1").bind("x").run().await)?;
    ensure!(early.to_string().contains("only the last statement can have parameters"), "{early}");
    Ok(())
}

async fn meta_reports_changes(db: Subject) -> Outcome {
    table(&db, "q_meta", "id INTEGER PRIMARY KEY, a UNIQUE").await?;
    let insert = db.prepare("INSERT INTO q_meta (a) VALUES ('x'), ('y')").run().await?;
    ensure_eq!((insert.changes, insert.last_row_id, insert.changed_db), (2, Some(2), true));
    ensure!(insert.size_after > 0 && insert.served_by_primary && insert.total_attempts == 1);
    let update = db.prepare("UPDATE q_meta SET a = 'z' WHERE a = 'x'").run().await?;
    ensure_eq!((update.changes, update.changed_db), (1, true));
    let nothing = db.prepare("DELETE FROM q_meta WHERE a = 'none'").run().await?;
    ensure_eq!((nothing.changes, nothing.changed_db), (0, false));
    let read = db.prepare("SELECT * FROM q_meta").run().await?;
    ensure_eq!((read.changes, read.changed_db), (0, false));
    let ignored = db.prepare("INSERT OR IGNORE INTO q_meta (a) VALUES ('z')").run().await?;
    ensure_eq!(ignored.changes, 0);
    Ok(())
}

/// Free pages count for nothing in the size, so that a table that is gone changes it.
async fn dropped_table_gives_its_pages_back(db: Subject) -> Outcome {
    db.run_script("DROP TABLE IF EXISTS q_dropped").await?;
    let created = db.prepare("CREATE TABLE q_dropped (a)").run().await?;
    let dropped = db.prepare("DROP TABLE q_dropped").run().await?;
    ensure_eq!((created.changed_db, dropped.changed_db), (true, true));
    ensure_eq!(created.size_after - dropped.size_after, 4096);
    Ok(())
}

/// As in SQLite, the row of an insert that is undone stays the last one.
async fn failed_insert_shows_in_the_last_row_id(db: Subject) -> Outcome {
    table(&db, "q_failed", "id INTEGER PRIMARY KEY").await?;
    db.prepare("INSERT INTO q_failed VALUES (1)").run().await?;
    refused(&db, "INSERT INTO q_failed VALUES (50), (1)").await?;
    ensure_eq!(db.prepare("SELECT * FROM q_failed").run().await?.last_row_id, Some(50));
    Ok(())
}

async fn returning_yields_rows(db: Subject) -> Outcome {
    table(&db, "q_returning", "id INTEGER PRIMARY KEY, a TEXT").await?;
    let result = db.query(Statement::new("INSERT INTO q_returning (a) VALUES (?) RETURNING id, a").bind("x")).await?;
    ensure_eq!(result.rows_as::<(i64, String)>()?, [(1, "x".to_owned())]);
    ensure_eq!(result.meta.changes, 1);
    Ok(())
}

async fn full_text_search_is_available(db: Subject) -> Outcome {
    db.run_script("DROP TABLE IF EXISTS q_fts; CREATE VIRTUAL TABLE q_fts USING fts5(body); INSERT INTO q_fts VALUES ('the quick fox'), ('slow')").await?;
    let found: Vec<String> = db.prepare("SELECT body FROM q_fts WHERE q_fts MATCH ?").bind("quick").all().await?;
    ensure_eq!(found, ["the quick fox"]);
    Ok(())
}

async fn json_functions_are_available(db: Subject) -> Outcome {
    let value: String = db.prepare("SELECT ? ->> '$.a[1]'").bind(r#"{"a":["x","y"]}"#).one().await?;
    ensure_eq!(value, "y");
    Ok(())
}

async fn reals_become_text_that_reads_back(db: Subject) -> Outcome {
    let table = [
        ("0.1 + 0.2", "0.30000000000000004"),
        ("2.0 / 3", "0.66666666666666663"),
        ("5e-324", "4.9406564584124654e-324"),
        ("1e21", "1.0e+21"),
        ("100.0", "100.0"),
        ("123456789012345680.0", "1.2345678901234568e+17"),
        ("0.00001", "1.0e-05"),
        ("-0.0", "0.0"),
    ];
    for (real, text) in table {
        let read: String = db.prepare(format!("SELECT CAST({real} AS TEXT)")).one().await?;
        ensure_eq!((real, read.as_str()), (real, text));
    }
    let in_json: String = db.prepare("SELECT json_array(0.1 + 0.2)").one().await?;
    ensure_eq!(in_json, "[0.30000000000000004]");
    Ok(())
}

async fn invalid_utf8_reads_as_the_replacement_character(db: Subject) -> Outcome {
    for (blob, text) in [
        ("61ff62", "a\u{fffd}b"),
        ("61eda08062", "a\u{fffd}\u{fffd}\u{fffd}b"),
        ("f09f98", "\u{fffd}"),
        ("610062", "a\0b"),
    ] {
        let sql = format!("SELECT CAST(x'{blob}' AS TEXT) AS t, hex(CAST(x'{blob}' AS TEXT)) AS h");
        let read: (String, String) = db.prepare(sql).one().await?;
        ensure_eq!(read, (text.to_owned(), blob.to_uppercase()));
    }
    Ok(())
}

#[derive(Debug, Deserialize, PartialEq)]
struct Dated {
    at: DateTime<Utc>,
    made: NaiveDateTime,
    never: Option<DateTime<Utc>>,
    text: String,
}

async fn dates_round_trip(db: Subject) -> Outcome {
    table(&db, "q_dates", "at TEXT, made TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, never TEXT").await?;
    let at = DateTime::from_timestamp_millis(1_795_000_000_123).unwrap_or_default();
    db.prepare("INSERT INTO q_dates (at) VALUES (?)").bind(at).run().await?;
    ensure_eq!(db.prepare("SELECT at FROM q_dates").one::<DateTime<Utc>>().await?, at);
    ensure_eq!(db.prepare("SELECT at FROM q_dates").first_column::<DateTime<Utc>>("at").await?, Some(at));
    ensure_eq!(
        db.prepare("SELECT at FROM q_dates").one::<String>().await?,
        at.format("%Y-%m-%d %H:%M:%S%.3f").to_string()
    );
    let row: Dated = db.prepare("SELECT at, made, never, at AS text FROM q_dates").one().await?;
    ensure_eq!((row.at, row.never, row.text.len()), (at, None, 23));
    let made: DateTime<Utc> = db.prepare("SELECT made FROM q_dates").one().await?;
    ensure_eq!(made.naive_utc(), row.made);
    ensure!(made > DateTime::UNIX_EPOCH, "{made}");
    let rfc: DateTime<Utc> = db.prepare("SELECT '2026-11-01T12:00:00+01:00'").one().await?;
    ensure_eq!(rfc.to_rfc3339(), "2026-11-01T11:00:00+00:00");
    let wrong = fault(db.prepare("SELECT 'tomorrow' AS at").one::<(DateTime<Utc>,)>().await)?;
    ensure_eq!(wrong.kind(), ErrorKind::Decode);
    Ok(())
}

/// D1 tells by the size whether a definition has changed the database.
async fn definitions_change_the_database_where_it_grows(db: Subject) -> Outcome {
    db.run_script("DROP VIEW IF EXISTS q_view; DROP TABLE IF EXISTS q_defined; DROP TABLE IF EXISTS q_other;").await?;
    let definitions = [
        "CREATE TABLE q_defined (a, b)",
        "CREATE TABLE IF NOT EXISTS q_defined (a, b)",
        "CREATE INDEX q_index ON q_defined (a)",
        "CREATE VIEW q_view AS SELECT a FROM q_defined",
        "DROP VIEW q_view",
        "CREATE TRIGGER q_trigger AFTER INSERT ON q_defined BEGIN SELECT NEW.a; END",
        "ALTER TABLE q_defined RENAME COLUMN b TO c",
        "ALTER TABLE q_defined ADD COLUMN d",
        "DROP TRIGGER q_trigger",
        "CREATE TABLE q_other AS SELECT 1 AS a",
        "DROP INDEX q_index",
        "DROP TABLE q_other",
        "DROP TABLE IF EXISTS q_other",
    ];
    for sql in definitions {
        let before = db.prepare("SELECT 1").run().await?.size_after;
        let meta = db.prepare(sql).run().await?;
        ensure_eq!((sql, meta.changed_db), (sql, meta.size_after != before));
        ensure_eq!((sql, meta.changes), (sql, 0));
    }
    Ok(())
}

/// workerd's SQLite has these clauses, with the errors that it gives.
async fn delete_and_update_take_order_and_limit(db: Subject) -> Outcome {
    table(&db, "q_limited", "a INTEGER PRIMARY KEY, b").await?;
    db.prepare("INSERT INTO q_limited (b) VALUES (1), (2), (3), (4), (5), (6)").run().await?;
    let rows = async || db.prepare("SELECT a, b FROM q_limited ORDER BY a").all::<(i64, i64)>().await;
    let deleted = db.prepare("DELETE FROM q_limited ORDER BY a DESC LIMIT 1").run().await?;
    ensure_eq!(deleted.changes, 1);
    db.prepare("UPDATE q_limited SET b = 9 ORDER BY a LIMIT 1").run().await?;
    db.prepare("DELETE FROM q_limited ORDER BY a DESC LIMIT 1 OFFSET 1").run().await?;
    ensure_eq!(rows().await?, [(1, 9), (2, 2), (3, 3), (5, 5)]);
    // Parameters keep their order, in every clause.
    let update = "UPDATE q_limited SET b = b + ? WHERE a > ? ORDER BY b DESC LIMIT ?";
    let done = db.prepare(update).bind(10).bind(1).bind(2).run().await?;
    ensure_eq!((done.changes, rows().await?), (2, vec![(1, 9), (2, 2), (3, 13), (5, 15)]));
    db.prepare("delete from q_limited where b in (select b from q_limited order by b limit 3) limit 1;").run().await?;
    ensure_eq!(rows().await?.len(), 3);
    db.run_script("DROP VIEW IF EXISTS q_limited_view; CREATE VIEW q_limited_view AS SELECT 1 AS a").await?;
    for (sql, text) in [
        (
            "DELETE FROM q_limited_view LIMIT 1",
            "D1_ERROR: cannot modify q_limited_view because it is a view: SQLITE_ERROR",
        ),
        ("DELETE FROM q_none ORDER BY a LIMIT 1", "D1_ERROR: no such table: q_none: SQLITE_ERROR"),
        ("DELETE FROM q_limited WHERE nope = 1 LIMIT 1", "D1_ERROR: no such column: nope at offset 28: SQLITE_ERROR"),
        ("DELETE FROM q_limited ORDER BY nope LIMIT 1", "D1_ERROR: no such column: nope at offset 31: SQLITE_ERROR"),
        ("UPDATE q_limited SET b = 7 ORDER BY a", "D1_ERROR: ORDER BY without LIMIT on UPDATE: SQLITE_ERROR"),
        ("DELETE FROM q_limited ORDER BY a", "D1_ERROR: ORDER BY without LIMIT on DELETE: SQLITE_ERROR"),
        (
            "DELETE FROM q_limited WHERE a > 0 LIMIT 1 RETURNING a",
            "D1_ERROR: near \"RETURNING\": syntax error at offset 42: SQLITE_ERROR",
        ),
    ] {
        ensure_eq!((sql, refused(&db, sql).await?.1.as_str()), (sql, text));
    }
    ensure_eq!(rows().await?.len(), 3);
    Ok(())
}

/// With a quoted name, an alias, a column called rowid, and a key of several columns.
async fn limited_statements_find_their_table(db: Subject) -> Outcome {
    table(&db, "\"q order\"", "rowid, \"limit\", oid TEXT").await?;
    db.prepare("INSERT INTO \"q order\" VALUES (7, 2, 'x'), (7, 1, 'y'), (7, 3, 'z')").run().await?;
    db.prepare("DELETE FROM \"q order\" AS o WHERE o.rowid = 7 ORDER BY o.\"limit\" LIMIT 1").run().await?;
    ensure_eq!(db.prepare("SELECT oid FROM \"q order\" ORDER BY 1").all::<String>().await?, ["x", "z"]);
    db.run_script("DROP TABLE IF EXISTS q_keyed; CREATE TABLE q_keyed (b, a, v, PRIMARY KEY (a, b)) WITHOUT ROWID;")
        .await?;
    db.prepare("INSERT INTO q_keyed VALUES (1, 1, 'one'), (2, 1, 'two'), (1, 2, 'three')").run().await?;
    let returned = "WITH x(n) AS (SELECT 1) UPDATE OR IGNORE q_keyed SET v = v || '!' WHERE a = (SELECT n FROM x) \
                    RETURNING v ORDER BY b DESC LIMIT 1";
    ensure_eq!(db.prepare(returned).all::<String>().await?, ["two!"]);
    ensure_eq!(db.prepare("SELECT v FROM q_keyed ORDER BY a, b").all::<String>().await?, ["one", "two!", "three"]);
    Ok(())
}

/// As SQLite's own.
async fn mathematical_functions_give_numbers_or_null(db: Subject) -> Outcome {
    for (call, result) in [
        ("sqrt(16)", "real 4.0"),
        ("ceil(3)", "integer 3"),
        ("ceil(' 2.5 ')", "real 3.0"),
        ("trunc(-2.5)", "real -2.0"),
        ("log(100)", "real 2.0"),
        ("log(2, '8x')", "real 3.0"),
        ("mod(7, -4)", "real 3.0"),
        ("pow(2, -1)", "real 0.5"),
        ("exp(1000)", "real Inf"),
        ("degrees(pi())", "real 180.0"),
        ("sqrt(-1)", "null"),
        ("ln(0)", "null"),
        ("acosh(0.5)", "null"),
        ("mod(1, 0)", "null"),
        ("pow('x', 2)", "null"),
        ("floor(x'32')", "null"),
    ] {
        let got: String = db.prepare(format!("SELECT typeof({call}) || coalesce(' ' || {call}, '')")).one().await?;
        ensure_eq!((call, got.as_str()), (call, result));
    }
    Ok(())
}
