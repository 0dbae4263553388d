//! Interactive transactions.

use std::time::{Duration, Instant};

use futures_util::future::{Either, join, select};
use isobar_testkit::{Case, cases, ensure, ensure_eq};

use super::{Outcome, Subject, count, fault, table};
use crate::{Constraint, ErrorKind, InteractiveOptions, InteractiveTransaction, Queryable, QueryableExt, Statement};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "interactive" => {
            begin_is_unsupported_where_the_capability_is_missing,
            a_commit_shows_all_writes_and_a_rollback_none if "interactive",
            a_transaction_that_is_dropped_is_rolled_back if "interactive",
            a_transaction_reads_its_own_writes if "interactive",
            a_call_that_fails_is_undone_alone if "interactive",
            a_rollback_by_the_database_ends_the_transaction if "interactive_sqlite",
            a_commit_that_breaks_a_foreign_key_rolls_back if "interactive_sqlite",
            other_writers_wait_for_the_end if "interactive_sqlite",
            a_transaction_is_rolled_back_at_its_time_limit if "interactive_sqlite",
            a_statement_is_interrupted_at_the_time_limit if "interactive",
            a_call_that_is_dropped_rolls_back if "interactive",
            transaction_statements_are_refused_in_a_transaction if "interactive",
        }
    }
}

async fn begun(db: &Subject) -> crate::Result<Box<dyn InteractiveTransaction>> {
    db.begin(InteractiveOptions::default()).await
}

fn insert(table: &str) -> Statement {
    Statement::new(format!("INSERT INTO {table} VALUES (1)"))
}

async fn begin_is_unsupported_where_the_capability_is_missing(db: Subject) -> Outcome {
    let begun = begun(&db).await;
    if db.capabilities().interactive {
        begun?.rollback().await?;
    } else {
        let error = fault(begun.map(drop))?;
        ensure_eq!((error.kind(), error.operation()), (ErrorKind::Unsupported, "begin"));
    }
    Ok(())
}

async fn a_commit_shows_all_writes_and_a_rollback_none(db: Subject) -> Outcome {
    table(&db, "i_commit", "a INTEGER").await?;
    let tx = begun(&db).await?;
    tx.query(insert("i_commit")).await?;
    let results = tx.batch(vec![insert("i_commit"), insert("i_commit")]).await?;
    ensure_eq!((results.len(), results[1].meta.changes), (2, 1));
    tx.run_script("INSERT INTO i_commit VALUES (4); INSERT INTO i_commit VALUES (5);").await?;
    tx.commit().await?;
    ensure_eq!(count(&db, "i_commit").await?, 5);
    let tx = begun(&db).await?;
    tx.run_script("DELETE FROM i_commit; CREATE TABLE i_rolled_back (a INTEGER);").await?;
    tx.rollback().await?;
    ensure_eq!(count(&db, "i_commit").await?, 5);
    ensure!(count(&db, "i_rolled_back").await.is_err());
    Ok(())
}

async fn a_transaction_that_is_dropped_is_rolled_back(db: Subject) -> Outcome {
    table(&db, "i_drop", "a INTEGER").await?;
    let tx = begun(&db).await?;
    tx.query(insert("i_drop")).await?;
    drop(tx);
    db.query(insert("i_drop")).await?;
    ensure_eq!(count(&db, "i_drop").await?, 1);
    Ok(())
}

async fn a_transaction_reads_its_own_writes(db: Subject) -> Outcome {
    table(&db, "i_own", "a INTEGER").await?;
    let tx = begun(&db).await?;
    tx.query(insert("i_own")).await?;
    let own: i64 = tx.prepare("SELECT count(*) FROM i_own WHERE a = ?").bind(1).one().await?;
    ensure_eq!(own, 1);
    let read = Statement::new("DELETE FROM i_own").read_only();
    ensure_eq!(fault(tx.query(read).await)?.kind(), ErrorKind::NotAuthorized);
    tx.prepare("UPDATE i_own SET a = ?").bind(own + 1).run().await?;
    tx.commit().await?;
    ensure_eq!(db.prepare("SELECT a FROM i_own").one::<i64>().await?, 2);
    Ok(())
}

async fn a_call_that_fails_is_undone_alone(db: Subject) -> Outcome {
    table(&db, "i_fail", "a INTEGER UNIQUE").await?;
    let tx = begun(&db).await?;
    tx.query(insert("i_fail")).await?;
    let error = fault(tx.batch(vec!["INSERT INTO i_fail VALUES (2)".into(), insert("i_fail")]).await)?;
    ensure_eq!((error.kind(), error.operation()), (ErrorKind::Constraint(Constraint::Unique), "batch"));
    ensure_eq!(fault(tx.prepare("SELECT x").run().await)?.kind(), ErrorKind::Sql);
    ensure_eq!(fault(tx.query("".into()).await)?.kind(), ErrorKind::Sql);
    tx.prepare("INSERT INTO i_fail VALUES (3)").run().await?;
    tx.commit().await?;
    ensure_eq!(db.prepare("SELECT a FROM i_fail ORDER BY a").all::<i64>().await?, [1, 3]);
    Ok(())
}

async fn a_rollback_by_the_database_ends_the_transaction(db: Subject) -> Outcome {
    table(&db, "i_or", "a UNIQUE").await?;
    let tx = begun(&db).await?;
    tx.query(insert("i_or")).await?;
    let error = fault(tx.prepare("INSERT OR ROLLBACK INTO i_or VALUES (1)").run().await)?;
    ensure_eq!(error.kind(), ErrorKind::Constraint(Constraint::Unique));
    let error = fault(tx.query(insert("i_or")).await)?;
    ensure!(error.message().contains("an earlier call has ended the transaction"), "{error}");
    let error = fault(tx.commit().await)?;
    ensure_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, "commit"));
    ensure_eq!(count(&db, "i_or").await?, 0);
    Ok(())
}

async fn a_commit_that_breaks_a_foreign_key_rolls_back(db: Subject) -> Outcome {
    db.run_script("DROP TABLE IF EXISTS i_child; DROP TABLE IF EXISTS i_parent;").await?;
    db.run_script("CREATE TABLE i_parent (id INTEGER PRIMARY KEY); CREATE TABLE i_child (p REFERENCES i_parent (id));")
        .await?;
    let tx = begun(&db).await?;
    tx.prepare("PRAGMA defer_foreign_keys = ON").run().await?;
    tx.prepare("INSERT INTO i_child VALUES (7)").run().await?;
    let error = fault(tx.commit().await)?;
    ensure_eq!((error.kind(), error.operation()), (ErrorKind::Constraint(Constraint::ForeignKey), "commit"));
    ensure_eq!(count(&db, "i_child").await?, 0);
    let tx = begun(&db).await?;
    tx.prepare("PRAGMA defer_foreign_keys = ON").run().await?;
    tx.prepare("INSERT INTO i_child VALUES (7)").run().await?;
    tx.prepare("INSERT INTO i_parent VALUES (7)").run().await?;
    tx.commit().await?;
    ensure_eq!(count(&db, "i_child").await?, 1);
    Ok(())
}

/// Adds one to the number, by a read and a write.
async fn increment(db: &Subject) -> crate::Result<()> {
    let tx = begun(db).await?;
    let n: i64 = tx.prepare("SELECT n FROM i_wait").one().await?;
    futures_timer::Delay::new(Duration::from_millis(5)).await;
    tx.prepare("UPDATE i_wait SET n = ?").bind(n + 1).run().await?;
    tx.commit().await
}

async fn other_writers_wait_for_the_end(db: Subject) -> Outcome {
    table(&db, "i_wait", "n").await?;
    db.prepare("INSERT INTO i_wait VALUES (0)").run().await?;
    let transactions = futures_util::future::join_all((0..5).map(|_| increment(&db)));
    let others = futures_util::future::join_all((0..5).map(|_| db.query("UPDATE i_wait SET n = n + 1".into())));
    let (transactions, others) = join(transactions, others).await;
    transactions.into_iter().collect::<crate::Result<Vec<_>>>()?;
    others.into_iter().collect::<crate::Result<Vec<_>>>()?;
    ensure_eq!(db.prepare("SELECT n FROM i_wait").one::<i64>().await?, 10);
    Ok(())
}

async fn a_transaction_is_rolled_back_at_its_time_limit(db: Subject) -> Outcome {
    table(&db, "i_limit", "a").await?;
    ensure_eq!(InteractiveOptions::default().time_limit, Duration::from_secs(5));
    let start = Instant::now();
    let tx = db.begin(InteractiveOptions::default().with_time_limit(Duration::from_millis(200))).await?;
    tx.query(insert("i_limit")).await?;
    // The transaction is idle: the other write waits for its limit.
    db.query(insert("i_limit")).await?;
    ensure!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
    for _ in 0..2 {
        let error = fault(tx.query(insert("i_limit")).await)?;
        ensure_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, false));
        ensure!(error.message().contains("longer than 200ms"), "{error}");
    }
    ensure!(fault(tx.commit().await)?.message().contains("longer than 200ms"));
    ensure_eq!(count(&db, "i_limit").await?, 1);
    Ok(())
}

async fn a_statement_is_interrupted_at_the_time_limit(db: Subject) -> Outcome {
    table(&db, "i_long", "a INTEGER").await?;
    let tx = db.begin(InteractiveOptions::default().with_time_limit(Duration::from_millis(200))).await?;
    tx.query(insert("i_long")).await?;
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let error = fault(tx.prepare(endless).run().await)?;
    ensure!(error.message().contains("longer than 200ms"), "{error}");
    ensure_eq!(fault(tx.rollback().await)?.operation(), "rollback");
    ensure_eq!(count(&db, "i_long").await?, 0);
    Ok(())
}

async fn a_call_that_is_dropped_rolls_back(db: Subject) -> Outcome {
    table(&db, "i_gone", "a INTEGER").await?;
    // It is dropped before it runs, perhaps, and while it does.
    for wait in [Duration::ZERO, Duration::from_millis(20)] {
        let tx = begun(&db).await?;
        tx.query(insert("i_gone")).await?;
        {
            let long =
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO i_gone SELECT i FROM n";
            let call = Box::pin(tx.prepare(long).run());
            let delay = futures_timer::Delay::new(wait);
            ensure!(matches!(select(call, delay).await, Either::Right(_)));
        }
        let error = fault(tx.query(insert("i_gone")).await)?;
        ensure!(error.message().contains("was dropped before its answer"), "{error}");
        drop(tx);
        ensure_eq!(count(&db, "i_gone").await?, 0);
    }
    Ok(())
}

async fn transaction_statements_are_refused_in_a_transaction(db: Subject) -> Outcome {
    table(&db, "i_words", "a INTEGER").await?;
    let tx = begun(&db).await?;
    tx.query(insert("i_words")).await?;
    for sql in ["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s", "RELEASE isobar"] {
        ensure_eq!(fault(tx.prepare(sql).run().await)?.kind(), ErrorKind::NotAuthorized);
    }
    tx.rollback().await?;
    ensure_eq!(count(&db, "i_words").await?, 0);
    Ok(())
}
