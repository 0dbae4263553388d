//! Optimistic transactions.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use isobar_testkit::{Case, cases, ensure, ensure_eq};

use super::{Outcome, Subject, count, fault, table};
use crate::transaction::TransactionOptions;
use crate::{Consistency, Constraint, Error, ErrorKind, Queryable, QueryableExt, Result, Statement, Value};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "optimistic" => {
            concurrent_read_modify_writes_are_all_counted if "sqlite",
            write_skew_is_caught if "sqlite",
            a_phantom_row_is_caught if "sqlite",
            every_difference_of_a_result_is_caught if "sqlite",
            a_value_written_again_is_not_a_conflict if "sqlite",
            a_failing_write_undoes_the_transaction_and_is_not_repeated if "sqlite",
            an_error_of_the_work_writes_nothing if "sqlite",
            reads_that_contradict_each_other_are_read_again if "sqlite",
            a_transaction_that_is_always_overtaken_ends_as_a_conflict if "sqlite",
            read_that_cannot_be_verified_is_refused if "sqlite",
            results_of_writes_come_back if "sqlite",
            a_session_has_transactions if "sqlite",
            a_result_of_99_columns_is_verified if "sqlite",
        }
    }
}

/// No waits: the cases decide who comes first.
fn quick() -> TransactionOptions {
    TransactionOptions::default().with_waits(Duration::ZERO, Duration::ZERO)
}

async fn concurrent_read_modify_writes_are_all_counted(db: Subject) -> Outcome {
    table(&db, "o_counter", "n INTEGER").await?;
    db.prepare("INSERT INTO o_counter VALUES (0)").run().await?;
    let increments = (0..8).map(|_| {
        db.transaction(|tx| async move {
            let n: i64 = tx.prepare("SELECT n FROM o_counter").one().await?;
            tx.write(Statement::new("UPDATE o_counter SET n = ?").bind(n + 1))?;
            Ok::<_, Error>(())
        })
    });
    futures_util::future::try_join_all(increments).await?;
    ensure_eq!(db.prepare("SELECT n FROM o_counter").one::<i64>().await?, 8);
    Ok(())
}

async fn write_skew_is_caught(db: Subject) -> Outcome {
    table(&db, "o_duty", "name TEXT, on_call INTEGER").await?;
    db.prepare("INSERT INTO o_duty VALUES ('ada', 1), ('bob', 1)").run().await?;
    // Each may leave as long as another one stays; each reads before the other writes.
    let leave = |name: &'static str| {
        db.transaction(move |tx| async move {
            let on_call: i64 = tx.prepare("SELECT count(*) FROM o_duty WHERE on_call = 1").one().await?;
            if on_call > 1 {
                tx.write(Statement::new("UPDATE o_duty SET on_call = 0 WHERE name = ?").bind(name))?;
            }
            Ok::<_, Error>(())
        })
    };
    futures_util::future::try_join(leave("ada"), leave("bob")).await?;
    ensure_eq!(db.prepare("SELECT sum(on_call) FROM o_duty").one::<i64>().await?, 1);
    Ok(())
}

/// Runs a transaction that reads, and is overtaken by `change` in its first attempt. Returns the number of attempts.
async fn attempts_when_overtaken(db: &Subject, read: &'static str, change: &'static str) -> Result<u32> {
    let attempt = AtomicU32::new(0);
    let attempt = &attempt;
    let committed = db.transaction_with(quick(), |tx| async move {
        tx.prepare(read).raw().await?;
        if attempt.fetch_add(1, Ordering::Relaxed) == 0 {
            db.run_script(change).await?;
        }
        tx.write("INSERT INTO o_log VALUES (1)")?;
        Ok::<_, Error>(())
    });
    Ok(committed.await?.attempts)
}

async fn a_phantom_row_is_caught(db: Subject) -> Outcome {
    table(&db, "o_log", "a").await?;
    table(&db, "o_phantom", "a").await?;
    let read = "SELECT a FROM o_phantom";
    ensure_eq!(attempts_when_overtaken(&db, read, "INSERT INTO o_phantom VALUES (NULL)").await?, 2);
    ensure_eq!(attempts_when_overtaken(&db, read, "INSERT INTO o_phantom VALUES (NULL)").await?, 2);
    ensure_eq!(attempts_when_overtaken(&db, read, "DELETE FROM o_phantom").await?, 2);
    ensure_eq!(count(&db, "o_log").await?, 3);
    Ok(())
}

async fn every_difference_of_a_result_is_caught(db: Subject) -> Outcome {
    table(&db, "o_log", "a").await?;
    table(&db, "o_exact", "id INTEGER PRIMARY KEY, a, rank INTEGER").await?;
    db.prepare("INSERT INTO o_exact VALUES (1, NULL, 1), (2, 'x', 2)").run().await?;
    // Each change is from the state that the one before it has left.
    for change in [
        "UPDATE o_exact SET a = '' WHERE id = 1",
        "UPDATE o_exact SET a = x'' WHERE id = 1",
        "UPDATE o_exact SET a = x'78' WHERE id = 1",
        "UPDATE o_exact SET a = 'x' WHERE id = 1",
        "UPDATE o_exact SET a = 'X' WHERE id = 1",
        "UPDATE o_exact SET a = 'X ' WHERE id = 1",
        "UPDATE o_exact SET a = 'X' || char(0) || 'a' WHERE id = 1",
        "UPDATE o_exact SET a = 'X' || char(0) || 'b' WHERE id = 1",
        "UPDATE o_exact SET a = 1 WHERE id = 1",
        "UPDATE o_exact SET a = 1.0 WHERE id = 1",
        "UPDATE o_exact SET a = '1' WHERE id = 1",
        "UPDATE o_exact SET a = 0.1 WHERE id = 1",
        "UPDATE o_exact SET a = 0.1 + 1e-17 WHERE id = 1",
        "UPDATE o_exact SET a = 9e999 WHERE id = 1",
        "UPDATE o_exact SET a = -9e999 WHERE id = 1",
        "UPDATE o_exact SET a = 'NULL' WHERE id = 1",
        "UPDATE o_exact SET a = 'a,b;c' WHERE id = 1",
        // The order alone, by a column that is not read.
        "UPDATE o_exact SET rank = 3 - rank",
    ] {
        let attempts = attempts_when_overtaken(&db, "SELECT id, a FROM o_exact ORDER BY rank", change).await?;
        ensure_eq!((change, attempts), (change, 2));
    }
    Ok(())
}

async fn a_value_written_again_is_not_a_conflict(db: Subject) -> Outcome {
    table(&db, "o_log", "a").await?;
    table(&db, "o_same", "a, b").await?;
    db.prepare("INSERT INTO o_same VALUES (?, 1)").bind(Value::Blob(vec![0, 255].into())).run().await?;
    let read = "SELECT a AS twice, a AS twice, 0.1 FROM o_same -- all of it";
    ensure_eq!(attempts_when_overtaken(&db, read, "UPDATE o_same SET a = a, b = 2").await?, 1);
    Ok(())
}

async fn a_failing_write_undoes_the_transaction_and_is_not_repeated(db: Subject) -> Outcome {
    table(&db, "o_unique", "a UNIQUE").await?;
    let attempts = AtomicU32::new(0);
    let attempt = &attempts;
    let failed = db.transaction(|tx| async move {
        attempt.fetch_add(1, Ordering::Relaxed);
        let n: i64 = tx.prepare("SELECT count(*) FROM o_unique").one().await?;
        tx.write(Statement::new("INSERT INTO o_unique VALUES (?)").bind(n))?;
        tx.write(Statement::new("INSERT INTO o_unique VALUES (?)").bind(n))?;
        Ok::<_, Error>(())
    });
    ensure_eq!(fault(failed.await)?.kind(), ErrorKind::Constraint(Constraint::Unique));
    ensure_eq!((attempts.load(Ordering::Relaxed), count(&db, "o_unique").await?), (1, 0));
    Ok(())
}

async fn an_error_of_the_work_writes_nothing(db: Subject) -> Outcome {
    table(&db, "o_refused", "a").await?;
    let refused = db.transaction(|tx| async move {
        tx.write("INSERT INTO o_refused VALUES (1)")?;
        Err::<(), _>(Error::new(ErrorKind::Internal, "not enough"))
    });
    ensure_eq!(fault(refused.await)?.message(), "not enough");
    ensure_eq!(count(&db, "o_refused").await?, 0);
    Ok(())
}

async fn reads_that_contradict_each_other_are_read_again(db: Subject) -> Outcome {
    table(&db, "o_pair", "a INTEGER, b INTEGER").await?;
    db.prepare("INSERT INTO o_pair VALUES (1, -1)").run().await?;
    let attempts = AtomicU32::new(0);
    let attempt = &attempts;
    let other = &db;
    // The sum is always 0, but not that of two reads with a write in between.
    let sum = db.transaction(|tx| async move {
        let a: i64 = tx.prepare("SELECT a FROM o_pair").one().await?;
        if attempt.fetch_add(1, Ordering::Relaxed) == 0 {
            other.prepare("UPDATE o_pair SET a = 5, b = -5").run().await?;
        }
        let b: i64 = tx.prepare("SELECT b FROM o_pair").one().await?;
        if a + b == 0 { Ok(a) } else { Err(Error::new(ErrorKind::Internal, format!("{a} and {b}"))) }
    });
    ensure_eq!((sum.await?, attempts.load(Ordering::Relaxed)), (5, 2));
    Ok(())
}

async fn a_transaction_that_is_always_overtaken_ends_as_a_conflict(db: Subject) -> Outcome {
    table(&db, "o_busy", "n INTEGER").await?;
    db.prepare("INSERT INTO o_busy VALUES (0)").run().await?;
    let other = &db;
    let overtaken = db.transaction_with(quick().with_attempts(3), |tx| async move {
        let n: i64 = tx.prepare("SELECT n FROM o_busy").one().await?;
        other.prepare("UPDATE o_busy SET n = n + 1").run().await?;
        tx.write(Statement::new("UPDATE o_busy SET n = ?").bind(n + 100))?;
        Ok::<_, Error>(())
    });
    let error = fault(overtaken.await)?;
    ensure_eq!(error.kind(), ErrorKind::Conflict);
    ensure!(error.is_retryable() && error.message().contains("in each of 3 attempts"), "{error}");
    ensure_eq!(error.sql(), Some("SELECT n FROM o_busy"));
    ensure_eq!(db.prepare("SELECT n FROM o_busy").one::<i64>().await?, 3);
    Ok(())
}

async fn read_that_cannot_be_verified_is_refused(db: Subject) -> Outcome {
    table(&db, "o_verified", "a").await?;
    for sql in ["INSERT INTO o_verified VALUES (1) RETURNING a", "PRAGMA table_info(o_verified)", "SELECT 1; SELECT 2"]
    {
        let refused = db.transaction(|tx| async move { tx.prepare(sql).raw().await });
        ensure_eq!((sql, fault(refused.await)?.kind()), (sql, ErrorKind::Unsupported));
    }
    let unbalanced = db.transaction(|tx| async move { tx.prepare("SELECT 1) AS (SELECT 2").raw().await });
    ensure_eq!(fault(unbalanced.await)?.kind(), ErrorKind::Sql);
    ensure_eq!(count(&db, "o_verified").await?, 0);
    Ok(())
}

async fn results_of_writes_come_back(db: Subject) -> Outcome {
    table(&db, "o_results", "id INTEGER PRIMARY KEY, a").await?;
    let committed = db
        .transaction_with(quick(), |tx| async move {
            let parameters = tx.prepare("SELECT ?2, ?1 UNION ALL SELECT :c, 'd'").bind("a").bind("b").bind("c");
            let read: Vec<(String, String)> = parameters.all().await?;
            tx.write(Statement::new("INSERT INTO o_results (a) VALUES (?), (?) RETURNING id").bind(1).bind(2))?;
            tx.write("DELETE FROM o_results WHERE id = 1")?;
            Ok::<_, Error>(read)
        })
        .await?;
    let pair = |one: &str, two: &str| (one.to_owned(), two.to_owned());
    ensure_eq!(committed.value, [pair("b", "a"), pair("c", "d")]);
    ensure_eq!(committed.results.len(), 2);
    ensure_eq!(committed.results[0].rows_as::<i64>()?, [1, 2]);
    ensure_eq!(committed.results[1].meta.changes, 1);
    Ok(())
}

async fn a_session_has_transactions(db: Subject) -> Outcome {
    table(&db, "o_session", "n INTEGER").await?;
    let session = db.session(Consistency::FirstPrimary);
    let read = session.transaction(|tx| async move {
        let rows = tx.batch(vec!["SELECT count(*) FROM o_session".into(), "SELECT n FROM o_session".into()]).await?;
        tx.write("INSERT INTO o_session VALUES (1)")?;
        Ok::<_, Error>(rows.len())
    });
    ensure_eq!(read.await?, 2);
    ensure_eq!(session.prepare("SELECT n FROM o_session").one::<i64>().await?, 1);
    Ok(())
}

async fn a_result_of_99_columns_is_verified(db: Subject) -> Outcome {
    table(&db, "o_log", "a").await?;
    let columns = (0..99).map(|number| format!("c{number}")).collect::<Vec<_>>().join(", ");
    table(&db, "o_wide", &columns).await?;
    db.prepare("INSERT INTO o_wide (c98) VALUES (1)").run().await?;
    ensure_eq!(attempts_when_overtaken(&db, "SELECT * FROM o_wide", "UPDATE o_wide SET c98 = 2").await?, 2);
    let altered = "ALTER TABLE o_wide DROP COLUMN c0";
    ensure_eq!(attempts_when_overtaken(&db, "SELECT * FROM o_wide", altered).await?, 2);
    Ok(())
}
