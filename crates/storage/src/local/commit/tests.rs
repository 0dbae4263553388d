//! Tests of batches of which a task fails, and of locks that are not free.

use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use rusqlite::{Connection, Transaction};

use super::*;
use crate::local::SystemDisk;
use crate::local::index::TxError;
use crate::local::packs::Packs;

/// A writer of a new database with one table, which waits for its lock for this long.
fn writer(folder: &Path, patience: Duration) -> Writer {
    let path = folder.join("index.db");
    let connection = Connection::open(&path).expect("a new database");
    let sql = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE t (n INTEGER);
        CREATE TABLE packs (id, bytes, last); INSERT INTO packs VALUES (1, 0, 7)";
    connection.execute_batch(sql).expect("a new table");
    connection.busy_timeout(patience).expect("a time");
    let wal = Wal::open(path.with_extension("db-wal"), Arc::new(SystemDisk)).expect("it is there");
    let appender = Appender::new(Packs::new(&folder.join("packs"), Arc::new(SystemDisk), 1 << 20));
    let hooks = Hooks { before: |_, _| Ok(()), after: Box::new(|_, _| {}), committed: Box::new(|| {}) };
    Writer::start(connection, appender, wal, hooks).expect("a thread")
}

/// Runs `work` with 0 to 9 as tasks of one batch: they are all there before the task in front of them is over.
async fn commit_batch(writer: &Writer, work: fn(&Transaction<'_>, i64) -> Result<()>) -> Vec<bool> {
    let gate = Arc::new(Barrier::new(2));
    let was_held = Arc::new(AtomicBool::new(false));
    let opens = Arc::clone(&gate);
    let waits = gate;
    let held = writer.write(move |_| {
        if !was_held.swap(true, Ordering::SeqCst) {
            waits.wait();
        }
        Ok(())
    });
    let tasks = join_all((0..10).map(|number| writer.write(move |transaction| work(transaction, number))));
    let open = async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        opens.wait();
    };
    let (held, tasks, ()) = tokio::join!(held, tasks, open);
    held.expect("it does nothing");
    tasks.into_iter().map(|task| task.is_ok()).collect()
}

fn insert(transaction: &Transaction<'_>, number: i64) -> Result<()> {
    transaction.execute("INSERT INTO t VALUES (?)", [number])?;
    Ok(())
}

fn rows(folder: &Path) -> Vec<i64> {
    let connection = Connection::open(folder.join("index.db")).expect("the database");
    let mut statement = connection.prepare("SELECT n FROM t ORDER BY n").expect("the table");
    let rows = statement.query_map([], |row| row.get(0)).expect("rows").collect::<rusqlite::Result<_>>();
    rows.expect("numbers")
}

fn failure() -> TxError {
    Error::new(ErrorKind::InvalidArgument, "as the test wants it").into()
}

#[tokio::test]
async fn a_job_that_fails_half_way_leaves_nothing_and_takes_nobody_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let writer = writer(folder.path(), Duration::from_secs(1));
    let outcomes = commit_batch(&writer, |transaction, number| {
        insert(transaction, number)?;
        if number % 3 == 0 { Err(failure()) } else { Ok(()) }
    });
    let expected: Vec<bool> = (0..10).map(|number| number % 3 != 0).collect();
    assert_eq!(outcomes.await, expected);
    assert_eq!(rows(folder.path()), [1, 2, 4, 5, 7, 8]);
}

#[tokio::test]
async fn a_transaction_that_sqlite_gives_up_is_done_again_and_nothing_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let writer = writer(folder.path(), Duration::from_secs(1));
    let outcomes = commit_batch(&writer, |transaction, number| {
        if number == 5 {
            // As SQLite does by itself where the disk is full: nothing was changed, and nothing is left.
            transaction.execute_batch("ROLLBACK")?;
            return Err(failure());
        }
        insert(transaction, number)
    });
    assert_eq!(outcomes.await, (0..10).map(|number| number != 5).collect::<Vec<_>>());
    assert_eq!(rows(folder.path()), [0, 1, 2, 3, 4, 6, 7, 8, 9]);
}

#[tokio::test]
async fn a_lock_that_is_not_had_is_waited_for_once_by_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let patience = Duration::from_millis(300);
    let writer = writer(folder.path(), patience);
    let other = Connection::open(folder.path().join("index.db")).expect("the database");
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    let from = Instant::now();
    let tasks = (0..50).map(|number| writer.write(move |transaction| insert(transaction, number)));
    let outcomes = join_all(tasks).await;
    let kinds = outcomes.into_iter().map(|outcome| outcome.expect_err("it has no lock").kind());
    assert!(kinds.into_iter().all(|kind| kind == ErrorKind::Unavailable));
    // Those that came together wait together, however many batches the first of them made.
    assert!(from.elapsed() < patience * 6, "{:?}", from.elapsed());
    other.execute_batch("ROLLBACK").expect("it has begun");
    writer.write(|transaction| insert(transaction, 1)).await.expect("the lock is free");
    assert_eq!(rows(folder.path()), [1]);
}
