//! Optimistic transactions of many tasks.

use isobar_db::page::Keyset;
use isobar_db::{Error, ErrorKind, QueryableExt, SqliteDatabase, Statement, TransactionOptions, mock::MockDatabase};

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_transfers_of_32_tasks_keep_the_sum() {
    let folder = tempfile::tempdir().unwrap();
    let db = SqliteDatabase::open(folder.path().join("db.sqlite")).await.unwrap();
    db.run_script("CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER CHECK (balance >= 0));")
        .await
        .unwrap();
    for id in 0..4 {
        db.prepare("INSERT INTO accounts VALUES (?, 100)").bind(id).run().await.unwrap();
    }
    let options = TransactionOptions::default().with_attempts(1000);
    let mut tasks = Vec::new();
    for number in 0..32_i64 {
        let db = db.clone();
        tasks.push(tokio::spawn(async move {
            let from = number % 4;
            let to = (number / 4 + number + 1) % 4;
            let moved = db.transaction_with(options, |tx| async move {
                let balance = |id: i64| tx.prepare("SELECT balance FROM accounts WHERE id = ?").bind(id).one::<i64>();
                let amount = balance(from).await?.min(7);
                let there = balance(to).await?;
                // Absolute values: any lost update would lose or make money.
                let set =
                    |id: i64, to: i64| Statement::new("UPDATE accounts SET balance = ? WHERE id = ?").bind(to).bind(id);
                if from != to {
                    tx.write(set(from, balance(from).await? - amount))?;
                    tx.write(set(to, there + amount))?;
                }
                Ok::<_, Error>(amount)
            });
            moved.await.unwrap().attempts
        }));
    }
    let mut attempts = 0;
    for task in tasks {
        attempts += task.await.unwrap();
    }
    assert!(attempts >= 32);
    assert_eq!(db.prepare("SELECT sum(balance) FROM accounts").one::<i64>().await.unwrap(), 400);
}

#[tokio::test]
async fn transaction_whose_answer_was_lost_is_not_run_again() {
    let db = MockDatabase::new(SqliteDatabase::memory().await.unwrap());
    db.run_script("CREATE TABLE t (a)").await.unwrap();
    db.script().fail_next("batch", Error::new(ErrorKind::Unavailable, "Network connection lost."));
    let lost = db.transaction(|tx| async move {
        tx.prepare("SELECT a FROM t").all::<i64>().await?;
        tx.write("INSERT INTO t VALUES (1)")
    });
    assert_eq!(lost.await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(db.script().count("batch"), 2);
}

#[tokio::test]
async fn transaction_used_after_its_work_is_refused() {
    let db = SqliteDatabase::memory().await.unwrap();
    let escaped = db.transaction(|tx| async move { Ok::<_, Error>(tx) }).await.unwrap();
    assert_eq!(escaped.write("CREATE TABLE t (a)").unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(escaped.prepare("SELECT 1").one::<i64>().await.unwrap_err().kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn query_that_ends_with_a_comment_is_verified_and_paged() {
    let db = SqliteDatabase::memory().await.unwrap();
    db.run_script("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (2)").await.unwrap();
    for sql in ["SELECT id FROM t -- all", "SELECT id FROM t /* all", "SELECT id FROM t /* all */"] {
        let ids = db.transaction(|tx| async move { tx.prepare(sql).all::<i64>().await }).await.unwrap();
        assert_eq!(ids, [1, 2], "{sql}");
        let page = db.page::<i64>(Statement::new(sql), &Keyset::new().ascending("id"), 1, None).await.unwrap();
        assert_eq!(page.rows, [1], "{sql}");
    }
}
