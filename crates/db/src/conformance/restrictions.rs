//! Statements of others: those that may not write, and whose rows are bounded; scripts and exports.

use std::io::Write;
use std::sync::{Arc, Mutex};

use isobar_base::sync::IgnorePoison;
use isobar_testkit::{Case, cases, ensure, ensure_eq};

use super::{Outcome, Subject, count, fault, table};
use crate::dump::ExportOptions;
use crate::{ErrorKind, Queryable, Statement};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "restrictions" => {
            statement_that_may_only_read_reads if "sqlite",
            statement_that_may_only_read_does_not_write if "sqlite",
            batch_with_a_forbidden_write_is_undone,
            rows_over_their_bytes_are_refused,
            import_counts_its_statements,
            import_is_all_or_nothing,
            export_has_the_tables_that_are_named if "export",
        }
    }
}

async fn statement_that_may_only_read_reads(db: Subject) -> Outcome {
    table(&db, "r_read", "a").await?;
    for sql in [
        "SELECT a FROM r_read",
        "WITH x AS (SELECT a FROM r_read) SELECT * FROM x",
        "VALUES (1)",
        "PRAGMA table_info(r_read)",
        "SELECT 1; SELECT 2",
    ] {
        db.query(Statement::new(sql).read_only()).await?;
    }
    let batch = ["SELECT 1", "SELECT a FROM r_read"].map(|sql| Statement::new(sql).read_only());
    ensure_eq!(db.batch(batch.into()).await?.len(), 2);
    Ok(())
}

async fn statement_that_may_only_read_does_not_write(db: Subject) -> Outcome {
    table(&db, "r_write", "a UNIQUE").await?;
    db.query("INSERT INTO r_write VALUES (1)".into()).await?;
    for sql in [
        "INSERT INTO r_write VALUES (2)",
        "INSERT INTO r_write VALUES (2) RETURNING a",
        "REPLACE INTO r_write VALUES (2)",
        "UPDATE r_write SET a = 2",
        "DELETE FROM r_write",
        "WITH x AS (SELECT 2) INSERT INTO r_write SELECT * FROM x",
        "SELECT 1; DELETE FROM r_write",
        "CREATE TABLE r_other (a)",
        "DROP TABLE r_write",
        "ALTER TABLE r_write ADD COLUMN b",
        "ANALYZE",
        "PRAGMA foreign_keys = OFF",
        "PRAGMA case_sensitive_like = ON",
        "PRAGMA optimize",
    ] {
        let error = fault(db.query(Statement::new(sql).read_only()).await)?;
        ensure!(error.kind() == ErrorKind::NotAuthorized, "{sql}: {error}");
    }
    let rows = db.query("SELECT a, 'a' LIKE 'A' FROM r_write".into()).await?.rows_as::<(i64, bool)>()?;
    ensure_eq!(rows, [(1, true)]);
    // It is the statement that may not, and not the database.
    db.query("INSERT INTO r_write VALUES (2)".into()).await?;
    ensure_eq!(count(&db, "r_write").await?, 2);
    Ok(())
}

async fn batch_with_a_forbidden_write_is_undone(db: Subject) -> Outcome {
    table(&db, "r_batch", "a INTEGER").await?;
    let allowed = Statement::new("INSERT INTO r_batch VALUES (1)");
    let forbidden = Statement::new("INSERT INTO r_batch VALUES (2)").read_only();
    let error = fault(db.batch(vec![allowed.clone(), forbidden]).await)?;
    ensure_eq!(error.kind(), ErrorKind::NotAuthorized);
    ensure_eq!(count(&db, "r_batch").await?, 0);
    let read = Statement::new("SELECT a FROM r_batch").read_only();
    let results = db.batch(vec![allowed.clone(), read, allowed]).await?;
    ensure_eq!(results[1].rows_as::<i64>()?, [1]);
    ensure_eq!(count(&db, "r_batch").await?, 2);
    Ok(())
}

async fn rows_over_their_bytes_are_refused(db: Subject) -> Outcome {
    let select = |most: usize| Statement::new("SELECT ?").bind("x".repeat(100)).with_result_bytes(most);
    db.query(select(132)).await?;
    ensure_eq!(fault(db.query(select(131)).await)?.kind(), ErrorKind::TooBig);
    ensure_eq!(fault(db.query(select(131).rows_only()).await)?.kind(), ErrorKind::TooBig);
    // Twice the same, so that a statement that is kept prepared is bounded, too.
    ensure_eq!(fault(db.query(select(131)).await)?.kind(), ErrorKind::TooBig);
    db.batch(vec![select(264), select(264)]).await?;
    ensure_eq!(fault(db.batch(vec![select(264), select(263)]).await)?.kind(), ErrorKind::TooBig);
    Ok(())
}

async fn import_counts_its_statements(db: Subject) -> Outcome {
    let script = "DROP TABLE IF EXISTS r_import;\nCREATE TABLE r_import (a TEXT);\nINSERT INTO r_import\n VALUES (1), (';');\n\
                  SELECT a FROM r_import; -- the end";
    let imported = db.import(script).await?;
    ensure_eq!(imported.statements, 4);
    ensure!(imported.meta.changes >= 2 && imported.meta.changed_db, "{imported:?}");
    ensure_eq!(count(&db, "r_import").await?, 2);
    Ok(())
}

async fn import_is_all_or_nothing(db: Subject) -> Outcome {
    table(&db, "r_half", "a INTEGER UNIQUE").await?;
    let error = fault(db.import("INSERT INTO r_half VALUES (1); INSERT INTO r_half VALUES (1);").await)?;
    ensure!(matches!(error.kind(), ErrorKind::Constraint(_)), "{error}");
    ensure_eq!(count(&db, "r_half").await?, 0);
    Ok(())
}

/// An output in memory.
#[derive(Debug, Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().ignore_poison().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn export_has_the_tables_that_are_named(db: Subject) -> Outcome {
    table(&db, "r_export", "a").await?;
    table(&db, "r_left_out", "a").await?;
    db.query("INSERT INTO r_export VALUES ('it''s'), (9223372036854775807)".into()).await?;
    let written = Written::default();
    let options = ExportOptions::default().with_tables(["r_export"]);
    let report = db.export(options, Box::new(written.clone())).await?;
    ensure_eq!((report.tables, report.rows), (1, 2));
    let script = String::from_utf8_lossy(&written.0.lock().ignore_poison()).into_owned();
    ensure!(script.contains("'it''s'") && script.contains("9223372036854775807"), "{script}");
    ensure!(!script.contains("r_left_out"), "{script}");
    let missing = ExportOptions::default().with_tables(["r_missing"]);
    ensure_eq!(fault(db.export(missing, Box::new(Written::default())).await)?.kind(), ErrorKind::Sql);
    Ok(())
}
