//! Failed syncs, panics and full disks, as the engine meets them.

mod group;
#[cfg(unix)]
mod history;
#[cfg(unix)]
mod kill;
mod readers;
mod restore;

use std::sync::atomic::AtomicU64;

use isobar_sqlite::Failure;

use super::*;
use crate::{InteractiveTransaction, Queryable, Value};

const MEBIBYTE: u64 = 1 << 20;

async fn opened(path: &Path) -> Engine {
    Engine::open(Some(path), SqliteOptions::default()).await.unwrap()
}

async fn run(engine: &Engine, sql: &str) -> Result<Vec<QueryResult>> {
    engine.run(vec![sql.to_owned().into()]).await
}

async fn count(engine: &Engine, table: &str) -> i64 {
    let results = run(engine, &format!("SELECT count(*) AS n FROM {table}")).await.unwrap();
    results[0].rows[0].get("n").unwrap()
}

fn failed_sync() -> Failure {
    Failure { code: rusqlite::ffi::SQLITE_IOERR_FSYNC, message: "disk I/O error".to_owned(), offset: None, system: 5 }
}

/// Statements that only read, though they do not begin with SELECT.
const READS: [&str; 7] = [
    "PRAGMA table_list",
    "PRAGMA table_info(t)",
    "PRAGMA foreign_keys",
    "PRAGMA quick_check",
    "EXPLAIN SELECT a FROM t",
    "EXPLAIN QUERY PLAN DELETE FROM t WHERE a = 1",
    "EXPLAIN INSERT INTO t VALUES (1)",
];

#[tokio::test]
async fn after_a_failed_sync_nothing_is_written_until_the_database_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let engine = opened(&path).await;
    run(&engine, "CREATE TABLE t (a)").await.unwrap();
    engine.shared.note(&failed_sync());
    let refused = run(&engine, "INSERT INTO t VALUES (1)").await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Unavailable && refused.to_string().contains("opened again"), "{refused}");
    assert!(engine.health().await.is_err());
    assert_eq!(count(&engine, "t").await, 0);
    let again = opened(&path).await;
    run(&again, "INSERT INTO t VALUES (1)").await.unwrap();
    again.health().await.unwrap();
}

#[tokio::test]
async fn errors_of_a_failed_sync_are_not_retryable() {
    let folder = tempfile::tempdir().unwrap();
    let engine = opened(&folder.path().join("db.sqlite")).await;
    let error = fault::of(&failed_sync());
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, false));
    let other = fault::of(&Failure { code: rusqlite::ffi::SQLITE_IOERR_READ, ..failed_sync() });
    assert_eq!((other.kind(), other.is_retryable()), (ErrorKind::Unavailable, true));
    engine.shared.note(&failed_sync());
    let refused = run(&engine, "CREATE TABLE t (a)").await.unwrap_err();
    assert_eq!((refused.kind(), refused.is_retryable()), (ErrorKind::Unavailable, false));
}

#[tokio::test]
async fn pragmas_and_plans_are_read_after_a_failed_sync() {
    let folder = tempfile::tempdir().unwrap();
    let engine = opened(&folder.path().join("db.sqlite")).await;
    run(&engine, "CREATE TABLE t (a)").await.unwrap();
    engine.shared.note(&failed_sync());
    for sql in READS {
        let results = run(&engine, sql).await.unwrap();
        assert!(!results[0].rows.is_empty(), "{sql}");
    }
    run(&engine, "PRAGMA optimize").await.unwrap_err();
    assert_eq!(count(&engine, "t").await, 0);
}

#[tokio::test]
async fn a_pragma_is_answered_by_the_connection_that_writes() {
    let folder = tempfile::tempdir().unwrap();
    let engine = opened(&folder.path().join("db.sqlite")).await;
    let one = async |sql: &str| {
        let rows = run(&engine, sql).await.unwrap().remove(0).rows;
        rows[0].values().to_vec()
    };
    assert_eq!(one("PRAGMA foreign_keys").await, [Value::Integer(1)]);
    let version = one("PRAGMA data_version").await;
    run(&engine, "CREATE TABLE t (a)").await.unwrap();
    assert_eq!(one("PRAGMA data_version").await, version, "the connection's own commits do not count");
    run(&engine, "PRAGMA recursive_triggers = ON").await.unwrap();
    assert_eq!(one("PRAGMA recursive_triggers").await, [Value::Integer(1)]);
}

#[tokio::test]
async fn below_the_reserve_writes_are_refused_and_everything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(100 * MEBIBYTE));
    let reported = Arc::clone(&free);
    let room = move |_: &Path| {
        Some(isobar_base::fs::Space { free: reported.load(Ordering::SeqCst), total: 10_000 * MEBIBYTE })
    };
    let options = SqliteOptions::default().with_disk_reserve(64 * MEBIBYTE);
    let engine =
        Engine::open_with(Some(&folder.path().join("db.sqlite")), options, room, Arc::new(SystemDisk)).await.unwrap();
    run(&engine, "CREATE TABLE t (a)").await.unwrap();
    for round in 1..3 {
        free.store(64 * MEBIBYTE - 1, Ordering::SeqCst);
        tokio::time::sleep(disk::FRESH_FOR + Duration::from_millis(100)).await;
        for _ in 0..2 {
            let refused = run(&engine, "INSERT INTO t VALUES (1)").await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::StorageFull, "{refused}");
            assert!(refused.to_string().contains("in reserve"), "{refused}");
            assert_eq!(engine.health().await.unwrap_err().kind(), ErrorKind::StorageFull);
            assert_eq!(engine.run_script("DELETE FROM t").await.unwrap_err().kind(), ErrorKind::StorageFull);
        }
        for sql in READS {
            run(&engine, sql).await.unwrap();
        }
        assert_eq!(count(&engine, "t").await, round - 1);
        // The next write after room has been made succeeds at once.
        free.store(64 * MEBIBYTE, Ordering::SeqCst);
        engine.health().await.unwrap();
        run(&engine, "INSERT INTO t VALUES (1)").await.unwrap();
    }
}

#[tokio::test]
async fn below_the_reserve_an_open_transaction_writes_nothing_more_but_reads_and_commits() {
    let folder = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(100 * MEBIBYTE));
    let reported = Arc::clone(&free);
    let room = move |_: &Path| {
        Some(isobar_base::fs::Space { free: reported.load(Ordering::SeqCst), total: 10_000 * MEBIBYTE })
    };
    let options = SqliteOptions::default().with_disk_reserve(64 * MEBIBYTE);
    let path = folder.path().join("db.sqlite");
    let engine = Arc::new(Engine::open_with(Some(&path), options, room, Arc::new(SystemDisk)).await.unwrap());
    run(&engine, "CREATE TABLE t (a)").await.unwrap();
    let tx = engine.begin(Duration::from_secs(60)).await.unwrap();
    tx.query("INSERT INTO t VALUES (1)".into()).await.unwrap();
    free.store(64 * MEBIBYTE - 1, Ordering::SeqCst);
    tokio::time::sleep(disk::FRESH_FOR + Duration::from_millis(100)).await;
    let refused = tx.query("INSERT INTO t VALUES (2)".into()).await.unwrap_err();
    assert!(refused.kind() == ErrorKind::StorageFull && refused.to_string().contains("in reserve"), "{refused}");
    assert_eq!(tx.batch_script("DELETE FROM t").await.unwrap_err().kind(), ErrorKind::StorageFull);
    tx.query("SELECT a FROM t".into()).await.unwrap();
    Box::new(tx).commit().await.unwrap();
    assert_eq!(count(&engine, "t").await, 1);
}

#[tokio::test]
async fn panicking_job_drops_only_its_own_connection() {
    let folder = tempfile::tempdir().unwrap();
    let engine = opened(&folder.path().join("db.sqlite")).await;
    let limit = engine.shared.options.time_limit;
    let panicked = engine.writer.run::<()>(limit, |slot| {
        slot.connection()?.own_statement("BEGIN IMMEDIATE").map_err(|failure| fault::of(&failure))?;
        panic!("a bug")
    });
    assert_eq!(panicked.await.unwrap_err().kind(), ErrorKind::Internal);
    run(&engine, "CREATE TABLE t (a)").await.unwrap();
}

#[tokio::test]
async fn a_database_in_memory_survives_a_panic_without_the_open_transaction() {
    let engine = Engine::open(None, SqliteOptions::default()).await.unwrap();
    run(&engine, "CREATE TABLE t (a)").await.unwrap();
    run(&engine, "INSERT INTO t VALUES ('kept')").await.unwrap();
    let limit = engine.shared.options.time_limit;
    let panicked = engine.writer.run::<()>(limit, |slot| {
        let connection = slot.connection()?;
        for sql in ["BEGIN IMMEDIATE", "INSERT INTO t VALUES ('undone')"] {
            connection.own_statement(sql).map_err(|failure| fault::of(&failure))?;
        }
        panic!("a bug")
    });
    assert_eq!(panicked.await.unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(count(&engine, "t").await, 1);
    run(&engine, "INSERT INTO t VALUES ('after')").await.unwrap();
    assert_eq!(count(&engine, "t").await, 2);
    engine.health().await.unwrap();
}

#[tokio::test]
async fn a_database_in_memory_that_is_lost_is_not_replaced_by_an_empty_one() {
    let engine = Engine::open(None, SqliteOptions::default()).await.unwrap();
    run(&engine, "CREATE TABLE t (a)").await.unwrap();
    let limit = engine.shared.options.time_limit;
    let discarded = engine.writer.run(limit, |slot| {
        slot.discard();
        slot.discard();
        Ok(())
    });
    discarded.await.unwrap();
    for sql in ["SELECT 1", "CREATE TABLE t (a)"] {
        let error = run(&engine, sql).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, false));
        assert!(error.to_string().contains("in memory is lost"), "{error}");
    }
    assert!(engine.health().await.is_err());
}

#[tokio::test]
async fn a_long_log_is_copied_into_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let engine = opened(&path).await;
    run(&engine, "CREATE TABLE t (a)").await.unwrap();
    let fill = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1500) \
                INSERT INTO t SELECT randomblob(4000) FROM c";
    run(&engine, fill).await.unwrap();
    engine.run(vec!["SELECT count(*) FROM t".into(), "DELETE FROM t WHERE 0".into()]).await.unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() > 5_000_000);
}

#[tokio::test]
async fn optimize_by_a_table_or_a_view_is_a_write() {
    let folder = tempfile::tempdir().unwrap();
    for engine in
        [opened(&folder.path().join("db.sqlite")).await, Engine::open(None, SqliteOptions::default()).await.unwrap()]
    {
        run(&engine, "CREATE VIEW v AS SELECT * FROM pragma_optimize(0x10002)").await.unwrap();
        // By their words both read, and the PRAGMA takes them to the writer.
        let both: Vec<Statement> = vec!["PRAGMA foreign_keys".into(), "SELECT * FROM v".into()];
        let ways =
            [vec!["SELECT * FROM v".into()], vec!["SELECT * FROM pragma_optimize(0x10002)".into()], both.clone()];
        for (number, way) in ways.into_iter().enumerate() {
            run(&engine, &format!("CREATE TABLE t{number} (a UNIQUE)")).await.unwrap();
            run(&engine, &format!("INSERT INTO t{number} VALUES (1)")).await.unwrap();
            engine.run(way.clone()).await.unwrap();
            assert_eq!(count(&engine, &format!("sqlite_stat1 WHERE tbl = 't{number}'")).await, 1, "{way:?}");
        }
        engine.shared.note(&failed_sync());
        assert!(run(&engine, "SELECT * FROM v").await.is_err());
        assert!(engine.run(both).await.is_err(), "nothing is written after a failed sync");
        assert_eq!(count(&engine, "t0").await, 1);
    }
}

#[tokio::test]
async fn data_version_is_the_writers_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let engine = opened(&folder.path().join("db.sqlite")).await;
    run(&engine, "CREATE TABLE t (a)").await.unwrap();
    run(&engine, "CREATE VIEW v AS SELECT data_version FROM pragma_data_version").await.unwrap();
    for _ in 0..2 {
        for sql in ["PRAGMA data_version", "SELECT data_version FROM pragma_data_version", "SELECT * FROM v"] {
            let results = run(&engine, sql).await.unwrap();
            assert_eq!(results[0].rows[0].get::<i64>("data_version").unwrap(), 2, "{sql}");
            run(&engine, "INSERT INTO t VALUES (1)").await.unwrap();
        }
    }
}
