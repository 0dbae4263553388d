//! Readers: short statements on the calling task, long ones elsewhere.

use std::pin::pin;
use std::task::Poll;

use futures_util::poll;

use super::*;

const FOREVER: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";

async fn filled(path: &Path) -> Engine {
    let options = SqliteOptions::default().with_time_limit(Duration::from_secs(2));
    let engine = Engine::open(Some(path), options).await.unwrap();
    engine
        .run_script("CREATE TABLE t (id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 'one'), (2, 'two')")
        .await
        .unwrap();
    // The first statement finds no connection, and has one opened.
    run(&engine, "SELECT 1").await.unwrap();
    engine
}

fn by_id(id: i64) -> Statement {
    Statement::new("SELECT a FROM t WHERE id = ?").bind(id)
}

#[tokio::test]
async fn a_short_statement_is_answered_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let engine = filled(&folder.path().join("db.sqlite")).await;
    for (id, expected) in [(1, "one"), (2, "two"), (1, "one")] {
        let Poll::Ready(result) = poll!(pin!(engine.query(by_id(id)))) else { panic!("the task waits") };
        assert_eq!(result.unwrap().rows[0].get::<String>("a").unwrap(), expected);
    }
    let both = pin!(engine.run(vec![by_id(1), by_id(2)]));
    let Poll::Ready(results) = poll!(both) else { panic!("the task waits") };
    assert_eq!(results.unwrap().len(), 2);
    let wrong = engine.query(Statement::new("SELECT a FROM t WHERE id = ?")).await.unwrap_err();
    assert!(wrong.to_string().contains("Wrong number of parameter bindings"), "{wrong}");
}

#[tokio::test]
async fn a_long_statement_leaves_the_calling_task_and_short_ones_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let engine = filled(&folder.path().join("db.sqlite")).await;
    run(&engine, "SELECT a FROM t WHERE id = 1").await.unwrap();
    for _ in 0..2 {
        let mut long: Vec<_> = (0..6).map(|_| Box::pin(run(&engine, FOREVER))).collect();
        let start = Instant::now();
        for query in &mut long {
            assert!(poll!(query).is_pending());
        }
        let Poll::Ready(short) = poll!(pin!(engine.query(by_id(2)))) else { panic!("the task waits") };
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        assert_eq!(short.unwrap().rows[0].get::<String>("a").unwrap(), "two");
        drop(long);
    }
    let late = run(&engine, FOREVER).await.unwrap_err();
    assert!(late.to_string().contains("exceeded timeout"), "{late}");
}

#[tokio::test]
async fn a_read_sees_every_write_that_was_answered_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = filled(&folder.path().join("db.sqlite")).await;
    for number in 0..200 {
        run(&engine, &format!("UPDATE t SET a = '{number}' WHERE id = 1")).await.unwrap();
        let seen = engine.query(by_id(1)).await.unwrap();
        assert_eq!(seen.rows[0].get::<String>("a").unwrap(), number.to_string());
    }
}

#[tokio::test]
async fn a_kept_statement_follows_what_its_names_mean() {
    let folder = tempfile::tempdir().unwrap();
    let engine = filled(&folder.path().join("db.sqlite")).await;
    let read = async || run(&engine, "SELECT * FROM v").await.unwrap().remove(0);
    run(&engine, "CREATE VIEW v AS SELECT id FROM t").await.unwrap();
    for _ in 0..3 {
        assert_eq!((read().await.columns, read().await.rows.len()), (vec!["id".to_owned()], 2));
    }
    // Only the writer knows this.
    engine.run_script("DROP VIEW v; CREATE VIEW v AS SELECT last_insert_rowid() AS last").await.unwrap();
    for id in 50..53_i64 {
        run(&engine, &format!("INSERT INTO t VALUES ({id}, 'more')")).await.unwrap();
        assert_eq!(read().await.rows[0].get::<i64>("last").unwrap(), id);
    }
    engine.run_script("DROP VIEW v; CREATE VIEW v AS SELECT a, id FROM t LIMIT 1").await.unwrap();
    for _ in 0..3 {
        assert_eq!(read().await.columns, ["a", "id"]);
    }
    run(&engine, "DROP VIEW v").await.unwrap();
    let gone = run(&engine, "SELECT * FROM v").await.unwrap_err();
    assert!(gone.to_string().contains("no such table: v"), "{gone}");
}

#[tokio::test]
async fn statements_of_a_batch_share_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let engine = filled(&folder.path().join("db.sqlite")).await;
    run(&engine, "UPDATE t SET a = 0").await.unwrap();
    let write = async {
        for _ in 0..100 {
            run(&engine, "UPDATE t SET a = a + 1").await.unwrap();
        }
    };
    let read = async {
        for _ in 0..300 {
            let results = engine.run(vec![by_id(1), by_id(2)]).await.unwrap();
            let seen: Vec<i64> = results.iter().map(|result| result.rows[0].get("a").unwrap()).collect();
            assert_eq!(seen[0], seen[1]);
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(write, read);
}

#[tokio::test]
async fn a_kept_statement_follows_a_setting() {
    let folder = tempfile::tempdir().unwrap();
    let engine = filled(&folder.path().join("db.sqlite")).await;
    run(&engine, "CREATE TABLE k (a CHECK (a > 0))").await.unwrap();
    let insert = async |a: i64| engine.run(vec![Statement::new("INSERT INTO k VALUES (?)").bind(a)]).await;
    let like =
        async || run(&engine, "SELECT 'a' LIKE 'A' AS same").await.unwrap()[0].rows[0].get::<bool>("same").unwrap();
    for _ in 0..2 {
        for _ in 0..2 {
            insert(1).await.unwrap();
            insert(-1).await.unwrap_err();
            assert!(like().await);
        }
        run(&engine, "PRAGMA ignore_check_constraints = ON").await.unwrap();
        run(&engine, "PRAGMA case_sensitive_like = ON").await.unwrap();
        insert(-1).await.unwrap();
        assert!(!like().await);
        run(&engine, "PRAGMA ignore_check_constraints = OFF").await.unwrap();
        run(&engine, "PRAGMA case_sensitive_like = OFF").await.unwrap();
    }
    assert_eq!(count(&engine, "k").await, 6);
}
