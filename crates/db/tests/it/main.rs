//! The conformance kit on every backend, and what is particular to one.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod backup;
mod dump;
mod embedded;
mod faults;
mod history;
mod interactive;
mod lint;
mod migrations;
mod rebuild;
mod replica;
mod restrictions;
mod row_counts;
mod slow_queries;
mod transactions;
mod transfer;
mod vault;

use std::sync::Arc;

use isobar_db::mock::MockDatabase;
use isobar_db::{Database, Error, ErrorKind, Queryable, QueryableExt, SqliteDatabase, Statement, conformance};

#[tokio::test]
async fn memory_conforms() {
    conformance::run(async || Arc::new(SqliteDatabase::memory().await.unwrap()) as _).await.assert_green();
}

#[tokio::test]
async fn local_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let db = SqliteDatabase::open(folder.path().join("sub/db.sqlite")).await.unwrap();
    conformance::run(async || Arc::new(db.clone()) as _).await.assert_green();
}

/// The kit's databases may have such a table already.
#[tokio::test]
async fn the_first_table_with_autoincrement_counts_the_table_of_numbers_too() {
    let db = SqliteDatabase::memory().await.unwrap();
    for (name, expected) in [("first", (Some(2), Some(4))), ("second", (Some(1), Some(2)))] {
        let sql = format!("CREATE TABLE {name} (id INTEGER PRIMARY KEY AUTOINCREMENT)");
        let meta = db.prepare(sql).run().await.unwrap();
        let expected = if db.capabilities().row_counts { expected } else { (None, None) };
        assert_eq!((meta.rows_read, meta.rows_written), expected, "{name}");
    }
}

#[tokio::test]
async fn a_mock_without_a_script_conforms() {
    let mock = async || Arc::new(MockDatabase::new(SqliteDatabase::memory().await.unwrap())) as _;
    conformance::run(mock).await.assert_green();
}

#[tokio::test]
async fn mock_fails_as_scripted_and_counts_queries_of_sessions() {
    let db = MockDatabase::new(SqliteDatabase::memory().await.unwrap());
    db.script().fail_next("query", Error::new(ErrorKind::Unavailable, "Network connection lost."));
    let error = db.prepare("SELECT 1").run().await.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!((error.operation(), error.to_string().as_str()), ("query", "D1_ERROR: Network connection lost."));
    let session = db.session(Default::default());
    session.prepare("SELECT 1").run().await.unwrap();
    assert_eq!(db.script().count("query"), 2);
}

#[test]
fn an_error_is_small_enough_to_be_returned_by_value() {
    assert!(size_of::<Error>() <= 96, "{} bytes", size_of::<Error>());
}

#[tokio::test]
async fn an_error_names_its_operation_and_sqlites_code() {
    let db = SqliteDatabase::memory().await.unwrap();
    db.exec("CREATE TABLE t (a UNIQUE)\nINSERT INTO t VALUES (1)").await.unwrap();
    let insert = || Statement::new("INSERT INTO t VALUES (1)");
    let errors = [
        ("query", db.query(insert()).await.map(drop)),
        ("batch", db.batch(vec![insert()]).await.map(drop)),
        ("batch", db.batch_script("INSERT INTO t VALUES (1);").await.map(drop)),
        ("exec", db.exec("INSERT INTO t VALUES (1)").await.map(drop)),
    ];
    for (operation, result) in errors {
        let error = result.unwrap_err();
        assert_eq!((error.operation(), error.code()), (operation, Some("SQLITE_CONSTRAINT")), "{error}");
    }
    let code = |message: &str| Error::new(ErrorKind::Internal, message).code().map(str::to_owned);
    assert_eq!(code("no: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_CHECK)").as_deref(), Some("SQLITE_CONSTRAINT"));
    assert_eq!(code("no such column: SQLITE_x"), None);
    assert_eq!(code("Network connection lost."), None);
}

#[tokio::test]
async fn answered_write_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    {
        let db = SqliteDatabase::open(&path).await.unwrap();
        db.exec("CREATE TABLE t (a)\nINSERT INTO t VALUES ('kept')").await.unwrap();
    }
    let db = SqliteDatabase::open(&path).await.unwrap();
    assert_eq!(db.prepare("SELECT a FROM t").all::<String>().await.unwrap(), ["kept"]);
}

#[tokio::test]
async fn two_openings_of_a_file_see_each_others_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let one = SqliteDatabase::open(&path).await.unwrap();
    let two = SqliteDatabase::open(&path).await.unwrap();
    one.exec("CREATE TABLE t (n INTEGER)\nINSERT INTO t VALUES (0)").await.unwrap();
    let mut tasks = Vec::new();
    for _ in 0..20 {
        for db in [one.clone(), two.clone()] {
            tasks.push(tokio::spawn(async move { db.prepare("UPDATE t SET n = n + 1").run().await.unwrap() }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(two.prepare("SELECT n FROM t").one::<i64>().await.unwrap(), 40);
}

#[tokio::test]
async fn another_opening_may_change_a_table_at_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let one = SqliteDatabase::open(&path).await.unwrap();
    let two = SqliteDatabase::open(&path).await.unwrap();
    one.exec("CREATE TABLE t (c0)\nINSERT INTO t VALUES (0)").await.unwrap();
    for columns in 1..20_usize {
        assert_eq!(two.prepare("SELECT * FROM t").raw().await.unwrap().0.len(), columns);
        let written = two.prepare("UPDATE t SET c0 = c0 + 1 RETURNING *").raw().await.unwrap();
        assert_eq!(written.0.len(), columns);
        one.exec(&format!("ALTER TABLE t ADD COLUMN c{columns}")).await.unwrap();
    }
}

#[tokio::test]
async fn a_dropped_batch_is_rolled_back_and_the_database_goes_on() {
    let db = SqliteDatabase::memory().await.unwrap();
    db.exec("CREATE TABLE t (a)").await.unwrap();
    let slow =
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300000) SELECT count(*) FROM c";
    let batch = db.batch(vec!["INSERT INTO t VALUES (1)".into(), slow.into(), "INSERT INTO t VALUES (2)".into()]);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(5), batch).await.is_err());
    assert_eq!(db.prepare("SELECT count(*) FROM t").one::<i64>().await.unwrap(), 0);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    std::fs::write(&path, "this is a text, and longer than a header of a hundred bytes would have to be ".repeat(3))
        .unwrap();
    let error = SqliteDatabase::open(&path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("db.sqlite"), "{error}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("this is a text"));
}

#[tokio::test]
async fn open_refuses_the_log_of_a_missing_database_and_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let db = SqliteDatabase::open(folder.path().join("db.sqlite")).await.unwrap();
    db.exec("CREATE TABLE t (a)\nINSERT INTO t VALUES ('in the log alone')").await.unwrap();
    for (name, is_empty) in [("missing.sqlite", false), ("empty.sqlite", true)] {
        let path = folder.path().join(name);
        let log = folder.path().join(format!("{name}-wal"));
        std::fs::copy(folder.path().join("db.sqlite-wal"), &log).unwrap();
        let bytes = std::fs::read(&log).unwrap();
        if is_empty {
            std::fs::write(&path, "").unwrap();
        }
        let error = SqliteDatabase::open(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(
            error.message().contains(&format!("{name}-wal")) && error.message().contains("move it away"),
            "{error}"
        );
        assert_eq!(std::fs::read(&log).unwrap(), bytes);
        std::fs::rename(&log, folder.path().join("away")).unwrap();
        SqliteDatabase::open(&path).await.unwrap();
    }
}

#[tokio::test]
async fn migrations_come_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    for (name, sql) in
        [("0002_b.sql", "INSERT INTO t VALUES ('b')"), ("0001_a.sql", "CREATE TABLE t (a)"), ("notes.txt", "no")]
    {
        std::fs::write(folder.path().join(name), sql).unwrap();
    }
    let files = isobar_db::migrations::from_folder(folder.path()).unwrap();
    let db = SqliteDatabase::memory().await.unwrap();
    assert_eq!(isobar_db::migrations::apply(&db, &files).await.unwrap(), ["0001_a.sql", "0002_b.sql"]);
    let missing = isobar_db::migrations::from_folder(folder.path().join("none")).unwrap_err();
    assert!(missing.to_string().contains("none"), "{missing}");
}

#[tokio::test]
async fn a_script_may_be_longer_than_a_statement() {
    let db = SqliteDatabase::memory().await.unwrap();
    let mut script = "CREATE TABLE t (a TEXT);\n".to_owned();
    for number in 0..5000 {
        script.push_str(&format!("INSERT INTO t VALUES ('row number {number}, and some more of it');\n"));
    }
    assert!(script.len() > 250_000);
    assert_eq!(db.batch_script(&script).await.unwrap().len(), 5001);
    assert_eq!(db.prepare("SELECT count(*) FROM t").one::<i64>().await.unwrap(), 5000);
    let long = format!("INSERT INTO t VALUES ('a'); INSERT INTO t VALUES ('{}')", "x".repeat(100_000));
    let error = db.batch_script(&long).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooBig, "{error}");
    assert_eq!(db.prepare("SELECT count(*) FROM t").one::<i64>().await.unwrap(), 5000);
}

#[tokio::test]
async fn a_limited_delete_deletes_no_more_than_it_says() {
    let db = SqliteDatabase::memory().await.unwrap();
    db.exec(
        "CREATE TABLE t (a, b)\nINSERT INTO t VALUES (1, 1)\nINSERT INTO t VALUES (2, 2)\nINSERT INTO t VALUES (3, 3)",
    )
    .await
    .unwrap();
    let rows = async || db.prepare("SELECT a FROM t ORDER BY a").all::<i64>().await.unwrap();
    for unbalanced in
        ["DELETE FROM t LIMIT 1) OR (1=1", "DELETE FROM t LIMIT (1", "DELETE FROM t LIMIT 1) RETURNING (a"]
    {
        db.prepare(unbalanced).run().await.unwrap_err();
        assert_eq!(rows().await, [1, 2, 3], "{unbalanced}");
    }
    db.prepare("DELETE FROM t ORDER BY a LIMIT 1 -- the oldest").run().await.unwrap();
    assert_eq!(rows().await, [2, 3]);
    db.prepare("DELETE FROM t ORDER BY a LIMIT (1) /* one more").run().await.unwrap();
    assert_eq!(rows().await, [3]);
    db.prepare("UPDATE t SET a = 9 WHERE b IS DISTINCT FROM ? LIMIT 1").bind(1).run().await.unwrap();
    assert_eq!(rows().await, [9]);
}

#[tokio::test]
async fn migrations_without_anything_to_do_write_nothing() {
    let db = SqliteDatabase::memory().await.unwrap();
    assert!(isobar_db::migrations::apply(&db, &[]).await.unwrap().is_empty());
    let tables = "SELECT count(*) FROM sqlite_master WHERE name = 'd1_migrations'";
    assert_eq!(db.prepare(tables).one::<i64>().await.unwrap(), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_several_share_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mode = || std::fs::metadata(folder.path()).unwrap().permissions().mode() & 0o7777;
    for shared in [0o1777, 0o2770, 0o775] {
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(shared)).unwrap();
        SqliteDatabase::open(folder.path().join(format!("{shared}.sqlite"))).await.unwrap();
        assert_eq!(mode(), shared);
    }
}
