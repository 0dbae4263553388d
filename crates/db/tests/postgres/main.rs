//! The Postgres backend on a real server, at the URL of `ISOBAR_POSTGRES_URL`: `cargo xtask postgres` starts one and runs these.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{Either, join, join_all, select};
use isobar_db::migrations::{Migrator, State, from_pattern_for};
use isobar_db::{
    Constraint, Database, Dialect, Error, ErrorKind, InteractiveOptions, Isolation, PostgresDatabase, PostgresOptions,
    Queryable, QueryableExt, Statement, Value, conformance,
};

fn url() -> String {
    std::env::var("ISOBAR_POSTGRES_URL").expect("ISOBAR_POSTGRES_URL names a server: run cargo xtask postgres")
}

async fn connect() -> PostgresDatabase {
    PostgresDatabase::connect(&url()).await.unwrap()
}

/// A fresh table.
async fn table(db: &PostgresDatabase, name: &str, columns: &str) {
    db.run_script(&format!("DROP TABLE IF EXISTS {name}; CREATE TABLE {name} ({columns})")).await.unwrap();
}

async fn refused(db: &PostgresDatabase, statement: impl Into<Statement>) -> Error {
    db.query(statement.into()).await.unwrap_err()
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn postgres_conforms() {
    let db = connect().await;
    conformance::run(async || Arc::new(db.clone()) as _).await.assert_green();
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn values_are_stored_and_read_unchanged() {
    let db = connect().await;
    table(
        &db,
        "p_values",
        "id INTEGER PRIMARY KEY AUTOINCREMENT, i INTEGER, r REAL, t TEXT, b BLOB, y BOOLEAN, n NUMERIC",
    )
    .await;
    let row = [
        Value::Integer(i64::MAX),
        Value::Real(0.1 + 0.2),
        Value::from("é 🦀 \\ '"),
        Value::from(&[0_u8, 255][..]),
        Value::Integer(1),
        Value::from("1234567890.0987654321"),
    ];
    let insert = Statement::new("INSERT INTO p_values (i, r, t, b, y, n) VALUES (?, ?, ?, ?, ?, ?) RETURNING id");
    let first: i64 = db.query(insert.clone().bind_all(row.clone())).await.unwrap().rows_as::<i64>().unwrap()[0];
    db.query(insert.bind_all(vec![Value::Null; 6])).await.unwrap();
    let (_, rows) = db.prepare("SELECT i, r, t, b, y, n FROM p_values ORDER BY id").raw().await.unwrap();
    assert_eq!((first, rows), (1, vec![row.to_vec(), vec![Value::Null; 6]]));
    let own = db.prepare("SELECT ?, ?, ?, ?").bind(1_i64 << 40).bind(2.5).bind("x").bind(vec![1_u8]);
    let own: (i64, f64, String, Value) = own.one().await.unwrap();
    assert_eq!(own, (1 << 40, 2.5, "x".to_owned(), vec![1_u8].into()));
    assert_eq!(db.prepare("SELECT ? + ?").bind(1_i64 << 40).bind(1).one::<i64>().await.unwrap(), (1 << 40) + 1);
    assert_eq!(db.prepare("SELECT sum(i) FROM p_values").one::<i64>().await.unwrap(), i64::MAX);
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn values_that_would_change_are_refused() {
    let db = connect().await;
    table(&db, "p_refused", "i INTEGER, n NUMERIC, t TEXT, y BOOLEAN").await;
    for (column, value) in [
        ("i", Value::from("1")),
        ("i", Value::Real(2.5)),
        ("n", Value::Real(0.1)),
        ("t", Value::Real(2.0)),
        ("t", Value::from("a\0b")),
        ("y", Value::Integer(2)),
    ] {
        let insert = Statement::new(format!("INSERT INTO p_refused ({column}) VALUES (?)")).bind(value.clone());
        let error = refused(&db, insert).await;
        assert_eq!(error.kind(), ErrorKind::Sql, "{column} {value:?}: {error}");
        assert!(error.message().starts_with("parameter 1 is of type"), "{error}");
    }
    let array = refused(&db, "SELECT ARRAY(SELECT 1) AS a").await;
    assert_eq!(array.kind(), ErrorKind::Decode);
    assert!(array.message().contains("column a has the type _int4"), "{array}");
    assert_eq!(db.prepare("SELECT count(*) FROM p_refused").one::<i64>().await.unwrap(), 0);
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn a_statement_whose_row_cannot_be_read_is_not_committed() {
    let db = connect().await;
    table(&db, "p_unread", "a INTEGER").await;
    for row in ["ARRAY(SELECT 1) AS a", "CAST('infinity' AS TIMESTAMP) AS a"] {
        let error = refused(&db, format!("INSERT INTO p_unread VALUES (1) RETURNING {row}")).await;
        assert_eq!(error.kind(), ErrorKind::Decode, "{row}: {error}");
        assert_eq!(db.prepare("SELECT count(*) FROM p_unread").one::<i64>().await.unwrap(), 0, "{row}");
    }
    let read: String = db.prepare("SELECT CAST('2000-01-02' AS TIMESTAMP) AS a").one().await.unwrap();
    assert_eq!(read, "2000-01-02 00:00:00");
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn ids_follow_those_that_are_inserted() {
    let db = connect().await;
    db.run_script("DROP TABLE IF EXISTS p_renamed").await.unwrap();
    table(&db, "p_ids", "Id INTEGER PRIMARY KEY AUTOINCREMENT, n TEXT UNIQUE").await;
    let insert = async |sql: &str| db.prepare(sql.to_owned()).all::<i64>().await.unwrap();
    assert_eq!(insert("INSERT INTO p_ids (n) VALUES ('a') RETURNING id").await, [1]);
    assert_eq!(insert("INSERT INTO p_ids VALUES (2, 'b'), (40, 'c'), (-7, 'd') RETURNING id").await, [2, 40, -7]);
    assert_eq!(insert("INSERT OR IGNORE INTO p_ids (n) VALUES ('e') RETURNING id").await, [41]);
    db.run_script("ALTER TABLE p_ids RENAME TO p_renamed; ALTER TABLE p_renamed RENAME COLUMN id TO \"Key\"")
        .await
        .unwrap();
    db.prepare("INSERT INTO p_renamed VALUES (?, ?)").bind(90).bind("f").run().await.unwrap();
    assert_eq!(insert("INSERT INTO p_renamed (n) VALUES ('g') RETURNING \"Key\"").await, [91]);
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn violations_name_table_columns_and_constraint() {
    let db = connect().await;
    db.run_script(
        "DROP TABLE IF EXISTS p_child; DROP TABLE IF EXISTS p_parent;
         CREATE TABLE p_parent (id INTEGER PRIMARY KEY, a TEXT, b TEXT NOT NULL, n INTEGER CONSTRAINT small CHECK (n < 10), UNIQUE (a, b));
         CREATE TABLE p_child (p INTEGER CONSTRAINT of_parent REFERENCES p_parent (id));
         CREATE UNIQUE INDEX p_lower ON p_parent (lower(a));
         INSERT INTO p_parent (id, a, b) VALUES (1, 'x', 'y')",
    )
    .await
    .unwrap();
    for (sql, constraint, names) in [
        ("INSERT INTO p_parent (id, b) VALUES (1, 'z')", Constraint::PrimaryKey, "p_parent id -"),
        ("INSERT INTO p_parent (id, a, b) VALUES (2, 'x', 'y')", Constraint::Unique, "p_parent a|b -"),
        ("INSERT INTO p_parent (id, a, b) VALUES (2, 'X', 'z')", Constraint::Unique, "-  p_lower"),
        ("INSERT INTO p_parent (id) VALUES (2)", Constraint::NotNull, "p_parent b -"),
        ("INSERT INTO p_parent (id, b, n) VALUES (2, 'z', 10)", Constraint::Check, "p_parent  small"),
        ("INSERT INTO p_child VALUES (7)", Constraint::ForeignKey, "p_child  of_parent"),
    ] {
        let error = refused(&db, sql).await;
        let violation = error.violation().unwrap();
        let [table, name] = [violation.table, violation.name].map(|name| name.unwrap_or("-"));
        let found = format!("{table} {} {name}", violation.columns.join("|"));
        assert_eq!((violation.constraint, found.as_str()), (constraint, names), "{sql}: {error}");
        assert!(!format!("{error:?}").contains("Failing row"), "{error:?}");
    }
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn sql_of_sqlite_means_the_same() {
    let db = connect().await;
    table(&db, "p_same", "id INTEGER PRIMARY KEY, t TEXT, n INTEGER, r REAL").await;
    db.run_script(
        "INSERT INTO p_same VALUES (1, 'b', NULL, 1.5), (2, 'B', 2, 2.0), (3, 'a\\c', 4, NULL), (4, 'É', 5, 0.1)",
    )
    .await
    .unwrap();
    for (sql, expected) in [
        ("SELECT group_concat(id) FROM (SELECT CAST(id AS TEXT) AS id FROM p_same ORDER BY n, id) s", "1,2,3,4"),
        ("SELECT group_concat(id) FROM (SELECT CAST(id AS TEXT) AS id FROM p_same ORDER BY n DESC, id) s", "4,3,2,1"),
        ("SELECT group_concat(id) FROM (SELECT CAST(id AS TEXT) AS id FROM p_same ORDER BY t, id) s", "2,3,1,4"),
        ("SELECT group_concat(t) FROM p_same WHERE t LIKE 'B' AND id < 2 + 0", "b"),
        ("SELECT t FROM p_same WHERE t LIKE '%\\%'", "a\\c"),
        ("SELECT lower(t) FROM p_same WHERE id = 4", "É"),
        ("SELECT CAST(CAST(2.9 AS INTEGER) AS TEXT) || CAST(CAST(-2.9 AS INTEGER) AS TEXT)", "2-2"),
        ("SELECT iif(n IS NULL, 'null', 'value') FROM p_same WHERE id == 1", "null"),
        ("SELECT ifnull(CAST(n AS TEXT), 'none') FROM p_same WHERE n IS ? AND id = 1", "none"),
        ("SELECT json_extract('{\"a\": \"x\"}', '$.a')", "x"),
        ("SELECT 'x' || id || t || -7 || (id + 1) FROM p_same WHERE id = 1", "x1b-72"),
        ("SELECT CAST(max(n, 3) AS TEXT) FROM p_same WHERE id = 2", "3"),
    ] {
        let statement = db.prepare(sql);
        let statement = if sql.contains('?') { statement.bind(None::<i64>) } else { statement };
        assert_eq!(
            statement.one::<String>().await.map_err(|error| format!("{sql}: {error}")).unwrap(),
            expected,
            "{sql}"
        );
    }
    for operand in ["r", "n = 2", "avg(n)", "x'00'"] {
        let error = refused(&db, format!("SELECT 'a' || ({operand}) FROM p_same GROUP BY r, n")).await;
        assert!(error.message().contains("operand of ||"), "{operand}: {error}");
    }
    let double = refused(&db, Statement::new("SELECT 'a' || ?").bind(2.0)).await;
    assert!(double.message().contains("operand of ||"), "{double}");
    assert_eq!(db.prepare("SELECT 'a' || ?").bind(2).one::<String>().await.unwrap(), "a2");
    let least: i64 = db.prepare("SELECT -9223372036854775808").one().await.unwrap();
    assert_eq!(least, i64::MIN);
    assert_eq!(refused(&db, "SELECT 9223372036854775808").await.kind(), ErrorKind::Sql);
    let average: f64 = db.prepare("SELECT avg(n) FROM p_same").one().await.unwrap();
    assert_eq!(average, 11.0 / 3.0);
    let now: String = db.prepare("SELECT datetime('now')").one().await.unwrap();
    assert_eq!(now.len(), 19);
    let ignored = db.prepare("INSERT OR IGNORE INTO p_same (id) VALUES (1), (9)").run().await.unwrap();
    assert_eq!(ignored.changes, 1);
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn changes_of_the_statement_before_decide_a_batch() {
    let db = connect().await;
    table(&db, "p_changes", "a INTEGER").await;
    let must = "SELECT json_extract('{}', CASE changes() WHEN 0 THEN 'nothing' ELSE '$' END)";
    let update = |a: i64| Statement::new("UPDATE p_changes SET a = a + 1 WHERE a = ?").bind(a);
    db.query("INSERT INTO p_changes VALUES (1)".into()).await.unwrap();
    db.batch(vec![update(1), must.into()]).await.unwrap();
    let error = db.batch(vec![update(2), update(7), must.into()]).await.unwrap_err();
    assert!(error.message().contains("nothing"), "{error}");
    assert_eq!(error.statement_index(), Some(2));
    assert_eq!(db.prepare("SELECT a FROM p_changes").all::<i64>().await.unwrap(), [2]);
    assert_eq!(refused(&db, must).await.kind(), ErrorKind::Sql);
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn a_dropped_call_is_cancelled_on_the_server() {
    let db = connect().await;
    let active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%p_sleeper%' AND pid <> pg_backend_pid()";
    {
        let sleeping = Box::pin(db.prepare("SELECT pg_sleep(60), 'p_sleeper' AS t").run());
        let seen = Box::pin(async {
            while db.prepare(active).one::<i64>().await.unwrap() == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(matches!(select(sleeping, seen).await, Either::Right(_)));
    }
    let start = Instant::now();
    while db.prepare(active).one::<i64>().await.unwrap() > 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "the statement runs on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn a_statement_ends_at_the_time_limit() {
    let options = PostgresOptions::default().with_time_limit(Duration::from_secs(1)).with_max_connections(1);
    let db = PostgresDatabase::connect_with(&url(), options).await.unwrap();
    let error = refused(&db, "SELECT pg_sleep(60)").await;
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true), "{error}");
    assert_eq!(db.prepare("SELECT 1").one::<i64>().await.unwrap(), 1);
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn calls_wait_for_a_connection_as_long_as_they_may() {
    let options = PostgresOptions::default().with_connect_limit(Duration::from_secs(1)).with_max_connections(1);
    let db = PostgresDatabase::connect_with(&url(), options).await.unwrap();
    let held = db.begin(InteractiveOptions::default()).await.unwrap();
    assert_eq!(refused(&db, "SELECT 1").await.kind(), ErrorKind::Unavailable);
    held.rollback().await.unwrap();
    db.query("SELECT 1".into()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn interactive_transactions_that_are_overtaken_fail_as_conflicts() {
    let db = connect().await;
    table(&db, "p_skew", "a INTEGER").await;
    db.query("INSERT INTO p_skew VALUES (1), (2)".into()).await.unwrap();
    let one = db.begin(InteractiveOptions::default()).await.unwrap();
    let other = db.begin(InteractiveOptions::default()).await.unwrap();
    for tx in [&one, &other] {
        assert_eq!(tx.prepare("SELECT sum(a) FROM p_skew").one::<i64>().await.unwrap(), 3);
    }
    one.prepare("INSERT INTO p_skew VALUES (3)").run().await.unwrap();
    let second = other.prepare("INSERT INTO p_skew VALUES (3)").run().await.map(drop);
    one.commit().await.unwrap();
    let error = match second {
        Ok(()) => other.commit().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Conflict, true), "{error}");
    assert_eq!(db.prepare("SELECT count(*) FROM p_skew").one::<i64>().await.unwrap(), 3);
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn an_idle_transaction_is_rolled_back_at_its_time_limit() {
    let db = connect().await;
    table(&db, "p_idle", "a INTEGER").await;
    let tx = db.begin(InteractiveOptions::default().with_time_limit(Duration::from_secs(1))).await.unwrap();
    tx.prepare("LOCK TABLE p_idle IN EXCLUSIVE MODE").run().await.unwrap();
    tx.prepare("INSERT INTO p_idle VALUES (1)").run().await.unwrap();
    // It waits for the lock, which goes with the transaction.
    db.prepare("INSERT INTO p_idle VALUES (2)").run().await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(error.message().contains("longer than 1s"), "{error}");
    assert_eq!(db.prepare("SELECT a FROM p_idle").all::<i64>().await.unwrap(), [2]);
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn batches_that_overtake_each_other_all_succeed() {
    let db = connect().await;
    table(&db, "p_race", "n INTEGER").await;
    db.query("INSERT INTO p_race VALUES (0)".into()).await.unwrap();
    let add = || async {
        let read = Statement::new("SELECT n FROM p_race");
        db.batch(vec![read, Statement::new("UPDATE p_race SET n = n + 1")]).await
    };
    let (some, others) = join(join_all((0..8).map(|_| add())), join_all((0..8).map(|_| add()))).await;
    some.into_iter().chain(others).collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(db.prepare("SELECT n FROM p_race").one::<i64>().await.unwrap(), 16);
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn the_isolation_is_the_one_that_is_asked_for() {
    for (isolation, name) in [(Isolation::Serializable, "serializable"), (Isolation::ReadCommitted, "read committed")] {
        let options = PostgresOptions::default().with_isolation(isolation);
        let db = PostgresDatabase::connect_with(&url(), options).await.unwrap();
        assert_eq!(db.prepare("SHOW transaction_isolation").one::<String>().await.unwrap(), name);
    }
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn migrations_take_their_file_for_postgres() {
    let db = connect().await;
    db.run_script("DROP TABLE IF EXISTS p_versions; DROP TABLE IF EXISTS p_versions_checksums; DROP TABLE IF EXISTS p_log; DROP TABLE IF EXISTS p_of_file")
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, sql: &str| std::fs::write(folder.path().join(name), sql).unwrap();
    std::fs::create_dir(folder.path().join("postgres")).unwrap();
    write(
        "1_table.sql",
        "CREATE TABLE p_of_file (a INTEGER); CREATE TABLE p_log (what TEXT DEFAULT CURRENT_TIMESTAMP)",
    );
    write("2_trigger.sql", "CREATE TRIGGER p AFTER INSERT ON p_of_file BEGIN INSERT INTO p_log VALUES ('x'); END");
    write(
        "postgres/2_trigger.postgres.sql",
        "CREATE OR REPLACE FUNCTION p_note() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN INSERT INTO p_log VALUES ('it''s; done'); RETURN NULL; END $$;
         CREATE TRIGGER p AFTER INSERT ON p_of_file FOR EACH ROW EXECUTE FUNCTION p_note()",
    );
    let files = from_pattern_for(folder.path(), "*.sql", Dialect::Postgres).unwrap();
    let migrator = Migrator::default().with_table("p_versions").with_checksums();
    assert_eq!(migrator.apply(&db, &files).await.unwrap(), ["1_table.sql", "2_trigger.sql"]);
    assert!(migrator.apply(&db, &files).await.unwrap().is_empty());
    let status = migrator.status(&db, &files).await.unwrap();
    assert!(status.iter().all(|one| one.state == State::Applied), "{status:?}");
    db.query("INSERT INTO p_of_file VALUES (1)".into()).await.unwrap();
    assert_eq!(db.prepare("SELECT what FROM p_log").one::<String>().await.unwrap(), "it's; done");
}

#[tokio::test]
#[ignore = "needs a server: cargo xtask postgres"]
async fn what_is_not_there_says_so() {
    let db = connect().await;
    assert_eq!(db.dialect(), Dialect::Postgres);
    let export = db.export(Default::default(), Box::new(std::io::sink())).await.unwrap_err();
    assert_eq!((export.kind(), export.operation()), (ErrorKind::Unsupported, "export"));
    let optimistic = db.transaction(|tx| async move {
        tx.prepare("SELECT 1").one::<i64>().await?;
        Ok::<_, Error>(())
    });
    assert!(optimistic.await.is_err());
    let error = PostgresDatabase::connect("postgres://nobody@/none?host=/no/such/folder").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(PostgresDatabase::connect("mysql://").await.unwrap_err().kind(), ErrorKind::PermissionDenied);
}
