//! Tests of interactive transactions of the local backend and of the mock; the conformance kit has what all backends share.

use std::time::{Duration, Instant};

use isobar_db::dump::ExportOptions;
use isobar_db::mock::MockDatabase;
use isobar_db::{
    Database, Error, ErrorKind, HistoryOptions, InteractiveOptions, InteractiveTransaction, Operation, Queryable,
    QueryableExt, SqliteDatabase, SqliteOptions,
};

const COUNT: &str = "SELECT count(*) FROM t";
const INSERT: &str = "INSERT INTO t VALUES (1)";

async fn begun(db: &dyn Database) -> Box<dyn InteractiveTransaction> {
    db.begin(InteractiveOptions::default()).await.unwrap()
}

async fn counted(on: &dyn Queryable) -> i64 {
    on.query(COUNT.into()).await.unwrap().rows_as::<i64>().unwrap()[0]
}

#[tokio::test]
async fn readers_of_a_file_go_on_with_the_state_before() {
    let folder = tempfile::tempdir().unwrap();
    let db = SqliteDatabase::open(folder.path().join("db.sqlite")).await.unwrap();
    db.exec("CREATE TABLE t (a)").await.unwrap();
    let tx = begun(&db).await;
    tx.query(INSERT.into()).await.unwrap();
    let start = Instant::now();
    assert_eq!((counted(&db).await, counted(&tx).await), (0, 1));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    tx.commit().await.unwrap();
    assert_eq!(counted(&db).await, 1);
}

#[tokio::test]
async fn a_commit_is_there_after_reopening_and_what_was_open_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let db = SqliteDatabase::open(&path).await.unwrap();
    db.exec("CREATE TABLE t (a)").await.unwrap();
    let tx = begun(&db).await;
    tx.query(INSERT.into()).await.unwrap();
    tx.commit().await.unwrap();
    let tx = begun(&db).await;
    tx.query(INSERT.into()).await.unwrap();
    // The transaction keeps the database open.
    drop(db);
    assert_eq!(counted(&tx).await, 2);
    drop(tx);
    assert_eq!(counted(&SqliteDatabase::open(&path).await.unwrap()).await, 1);
}

#[tokio::test]
async fn another_opening_waits_for_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let one = SqliteDatabase::open(&path).await.unwrap();
    let two = SqliteDatabase::open(&path).await.unwrap();
    one.exec("CREATE TABLE t (a)").await.unwrap();
    let tx = begun(&one).await;
    tx.query(INSERT.into()).await.unwrap();
    let other = tokio::spawn(async move { two.query(INSERT.into()).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!other.is_finished());
    tx.commit().await.unwrap();
    other.await.unwrap().unwrap();
    assert_eq!(counted(&one).await, 2);
}

#[tokio::test]
async fn a_begin_that_is_dropped_in_the_queue_holds_up_nothing() {
    let db = SqliteDatabase::memory().await.unwrap();
    db.exec("CREATE TABLE t (a)").await.unwrap();
    let tx = begun(&db).await;
    let waiting = db.begin(InteractiveOptions::default());
    assert!(tokio::time::timeout(Duration::from_millis(20), waiting).await.is_err());
    tx.query(INSERT.into()).await.unwrap();
    tx.commit().await.unwrap();
    let start = Instant::now();
    assert_eq!(counted(&db).await, 1);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_call_that_is_dropped_with_its_answer_unread_rolls_back() {
    let db = SqliteDatabase::memory().await.unwrap();
    db.exec("CREATE TABLE t (a)").await.unwrap();
    let tx = begun(&db).await;
    let some = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) \
                INSERT INTO t SELECT i FROM n";
    let mut call = tx.query(some.into());
    assert!(futures_util::future::poll_immediate(&mut call).await.is_none());
    // The answer comes meanwhile.
    std::thread::sleep(Duration::from_millis(500));
    drop(call);
    let error = tx.query(COUNT.into()).await.unwrap_err();
    assert!(error.message().contains("was dropped before its answer"), "{error}");
    assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(counted(&db).await, 0);
}

#[tokio::test]
async fn a_commit_that_is_dropped_is_done_or_rolled_back_and_holds_up_nothing() {
    let db = SqliteDatabase::memory().await.unwrap();
    db.exec("CREATE TABLE t (a)").await.unwrap();
    let start = Instant::now();
    let tx = begun(&db).await;
    tx.batch(vec![INSERT.into(), INSERT.into()]).await.unwrap();
    drop(tx.commit());
    assert_eq!(counted(&db).await, 0, "it was not sent");
    for wait in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(20)] {
        let before = counted(&db).await;
        let tx = begun(&db).await;
        tx.batch(vec![INSERT.into(), INSERT.into()]).await.unwrap();
        let mut commit = tx.commit();
        let answer = futures_util::future::poll_immediate(&mut commit).await;
        std::thread::sleep(wait);
        drop(commit);
        let rows = counted(&db).await - before;
        assert!(rows == 2 || rows == 0 && answer.is_none(), "{rows} rows after {answer:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_begin_that_waits_too_long_is_refused() {
    let options = SqliteOptions::default().with_time_limit(Duration::from_millis(100));
    let db = SqliteDatabase::memory_with(options).await.unwrap();
    let tx = db.begin(InteractiveOptions::default().with_time_limit(Duration::from_millis(300))).await.unwrap();
    let error = db.begin(InteractiveOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, "begin"), "{error}");
    assert!(error.message().contains("queued for too long"), "{error}");
    drop(tx);
}

#[tokio::test]
async fn a_statement_has_the_time_limit_of_the_database_too() {
    let options = SqliteOptions::default().with_time_limit(Duration::from_millis(100));
    let db = SqliteDatabase::memory_with(options).await.unwrap();
    db.exec("CREATE TABLE t (a)").await.unwrap();
    let tx = begun(&db).await;
    tx.query(INSERT.into()).await.unwrap();
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let error = tx.query(endless.into()).await.unwrap_err();
    assert!(error.message().contains("exceeded timeout"), "{error}");
    tx.commit().await.unwrap();
    assert_eq!(counted(&db).await, 1);
}

#[tokio::test]
async fn a_commit_is_a_point_of_the_history_and_a_rollback_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::default().with_history(HistoryOptions::default());
    let db = SqliteDatabase::open_with(folder.path().join("db.sqlite"), options).await.unwrap();
    db.exec("CREATE TABLE t (a)").await.unwrap();
    let travel = db.time_travel().unwrap();
    let before = travel.bookmark(None).await.unwrap();
    let tx = begun(&db).await;
    tx.query(INSERT.into()).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(travel.bookmark(None).await.unwrap(), before);
    let tx = begun(&db).await;
    tx.batch(vec![INSERT.into(), INSERT.into()]).await.unwrap();
    tx.commit().await.unwrap();
    assert!(travel.bookmark(None).await.unwrap() > before);
    travel.restore(&before).await.unwrap();
    assert_eq!(counted(&db).await, 0);
}

#[tokio::test]
async fn history_and_export_see_nothing_of_an_open_transaction_and_a_restore_waits() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::default().with_history(HistoryOptions::default());
    let db = SqliteDatabase::open_with(folder.path().join("db.sqlite"), options).await.unwrap();
    db.exec("CREATE TABLE t (a)").await.unwrap();
    let travel = db.time_travel().unwrap();
    let before = travel.bookmark(None).await.unwrap();
    let tx = db.begin(InteractiveOptions::default().with_time_limit(Duration::from_secs(60))).await.unwrap();
    tx.query(INSERT.into()).await.unwrap();
    assert_eq!(travel.bookmark(None).await.unwrap(), before);
    let report = db.export(ExportOptions::default(), Box::new(std::io::sink())).await.unwrap();
    assert_eq!((report.tables, report.rows), (1, 0));
    let restore = travel.restore(&before);
    assert!(tokio::time::timeout(Duration::from_millis(300), restore).await.is_err());
    tx.commit().await.unwrap();
    assert_eq!(counted(&db).await, 1);
}

#[tokio::test]
async fn the_size_of_the_database_does_not_count_what_was_rolled_back() {
    let db = SqliteDatabase::memory().await.unwrap();
    db.exec("CREATE TABLE t (a)").await.unwrap();
    let size = async || db.query(COUNT.into()).await.unwrap().meta.size_after;
    let before = size().await;
    let tx = begun(&db).await;
    let grown = tx.prepare("INSERT INTO t VALUES (zeroblob(100000))").run().await.unwrap();
    assert!(grown.size_after > before);
    tx.rollback().await.unwrap();
    assert_eq!(size().await, before);
}

#[tokio::test]
async fn a_mock_records_a_transaction_and_lets_its_steps_fail() {
    let db = MockDatabase::new(SqliteDatabase::memory().await.unwrap());
    db.exec("CREATE TABLE t (a)").await.unwrap();
    let script = db.script();
    script.fail_next(Operation::Begin, Error::new(ErrorKind::Unavailable, "busy"));
    let error = db.begin(InteractiveOptions::default()).await.unwrap_err();
    assert_eq!((error.operation(), error.message()), ("begin", "busy"));

    script.fail_next(Operation::Commit, Error::new(ErrorKind::Unavailable, "lost"));
    let tx = begun(&db).await;
    tx.query(INSERT.into()).await.unwrap();
    assert_eq!(tx.commit().await.unwrap_err().operation(), "commit");
    assert_eq!(counted(&db).await, 0);

    let tx = begun(&db).await;
    tx.batch(vec![INSERT.into()]).await.unwrap();
    tx.rollback().await.unwrap();
    let counts = [Operation::Begin, Operation::Commit, Operation::Rollback].map(|operation| script.count(operation));
    assert_eq!(counts, [3, 1, 1]);
}
