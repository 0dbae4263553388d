//! Tests of the slow-query log.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use isobar_db::mock::MockDatabase;
use isobar_db::slow_queries::{Outcome, SlowQueries, SlowQuery, SlowQueryOptions};
use isobar_db::{
    Consistency, Constraint, Database, ErrorKind, Operation, Queryable, QueryableExt, SqliteDatabase, SqliteOptions,
    Statement,
};

const FOREVER: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";

/// The reports so far.
#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Vec<SlowQuery>>>);

impl Reports {
    /// A layer over this database that reports what takes so long.
    fn of(&self, database: impl Database + 'static, threshold: Duration) -> SlowQueries {
        let reports = self.clone();
        let report = move |slow: &SlowQuery| reports.0.lock().unwrap().push(slow.clone());
        let options = SlowQueryOptions::default().with_threshold(threshold).with_name("DB").with_report(report);
        SlowQueries::new(database, options)
    }

    fn take(&self) -> Vec<SlowQuery> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn sql(&self) -> Vec<String> {
        self.take().into_iter().map(|slow| slow.sql).collect()
    }
}

#[tokio::test]
async fn each_slow_statement_is_reported_once_without_its_values() {
    let reports = Reports::default();
    let db = reports.of(SqliteDatabase::memory().await.unwrap(), Duration::ZERO);
    db.run_script("BEGIN TRANSACTION; CREATE TABLE t (a); CREATE INDEX i ON t (a); COMMIT;").await.unwrap();
    assert_eq!(reports.sql(), ["CREATE TABLE t (a)", "CREATE INDEX i ON t (a)"]);

    let insert = Statement::new("INSERT INTO t VALUES (?), (?)").bind("secret").bind("x".repeat(2000));
    let select = Statement::new("SELECT a FROM t WHERE a = ?").bind("secret");
    db.batch(vec!["-- empty".into(), insert, select.clone()]).await.unwrap();
    let slow = reports.take();
    assert_eq!((slow.len(), &*slow[0].database), (2, "DB"));
    assert_eq!((slow[0].operation, slow[0].rows, slow[0].changes), (Operation::Batch, 0, 2));
    assert_eq!((&*slow[1].sql, slow[1].rows, slow[1].outcome), ("SELECT a FROM t WHERE a = ?", 1, Outcome::Done));
    assert_eq!(slow[1].plan, Some(vec!["SEARCH t USING COVERING INDEX i (a=?)".to_owned()]));
    assert!(!format!("{slow:?}").contains("secret"), "{slow:?}");

    db.exec("INSERT INTO t VALUES (1)\nINSERT INTO t VALUES (2)").await.unwrap();
    db.import("INSERT INTO t VALUES (3);").await.unwrap();
    let slow = reports.take();
    assert_eq!(slow.iter().map(|slow| slow.operation).collect::<Vec<_>>(), [Operation::Exec, Operation::Import]);
    assert_eq!((&*slow[1].sql, slow[1].changes), ("INSERT INTO t VALUES (3)", 1));

    let session = db.session(Consistency::FirstPrimary);
    session.query(select).await.unwrap();
    assert!(session.bookmark().is_some());
    assert_eq!(reports.sql(), ["SELECT a FROM t WHERE a = ?"]);
}

#[tokio::test]
async fn no_report_has_a_bound_value_however_its_statement_ends() {
    let reports = Reports::default();
    let db = reports.of(SqliteDatabase::memory().await.unwrap(), Duration::ZERO);
    let schema = "CREATE TABLE t (a TEXT COLLATE NOCASE UNIQUE); CREATE VIRTUAL TABLE f USING fts5 (a);";
    db.run_script(schema).await.unwrap();
    reports.take();
    let bound = |sql: &'static str| Statement::new(sql).bind("secret");
    db.query(bound("INSERT INTO t VALUES (?)")).await.unwrap();
    // SQLite looks at the values of these when it plans.
    db.query(bound("SELECT a FROM t WHERE a LIKE ?")).await.unwrap();
    db.query(bound("SELECT a FROM f WHERE f MATCH ?")).await.unwrap();
    db.query(bound("INSERT INTO t VALUES (?)")).await.unwrap_err();
    let error = db.query(bound("SELECT a FROM f WHERE f MATCH ? || ':x'")).await.unwrap_err();
    assert!(error.message().contains("no such column: secret"), "SQLite's message has it: {error}");
    let endless = bound("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT 1 FROM c WHERE n = ?");
    assert!(tokio::time::timeout(Duration::from_millis(50), db.query(endless)).await.is_err());

    let slow = reports.take();
    let outcomes: Vec<_> = slow.iter().map(|slow| slow.outcome).collect();
    let unique = Outcome::Failed(ErrorKind::Constraint(Constraint::Unique));
    let syntax = Outcome::Failed(ErrorKind::Sql);
    assert_eq!(outcomes, [Outcome::Done, Outcome::Done, Outcome::Done, unique, syntax, Outcome::Dropped]);
    assert!(slow[..3].iter().all(|slow| slow.plan.is_some()), "{slow:?}");
    assert!(!format!("{slow:?}").contains("secret"), "{slow:?}");
}

#[tokio::test]
async fn statements_below_the_threshold_are_not_reported_nor_explained() {
    let reports = Reports::default();
    let mock = MockDatabase::new(SqliteDatabase::memory().await.unwrap());
    let db = reports.of(mock.clone(), Duration::from_secs(60));
    db.prepare("SELECT 1").one::<i64>().await.unwrap();
    db.prepare("SELECT x").run().await.unwrap_err();
    db.exec("CREATE TABLE t (a)").await.unwrap();
    assert_eq!((reports.take(), mock.script().count(Operation::Query)), (Vec::new(), 2));
}

#[tokio::test]
async fn a_plan_is_asked_for_once_a_minute() {
    let reports = Reports::default();
    let mock = MockDatabase::new(SqliteDatabase::memory().await.unwrap());
    mock.exec("CREATE TABLE t (a)").await.unwrap();
    let db = reports.of(mock.clone(), Duration::ZERO);
    for _ in 0..3 {
        db.prepare("SELECT a FROM t").all::<i64>().await.unwrap();
    }
    let plans: Vec<_> = reports.take().into_iter().map(|slow| slow.plan).collect();
    assert_eq!(plans, [Some(vec!["SCAN t".to_owned()]), None, None]);
    assert_eq!(mock.script().count(Operation::Query), 4);
}

#[tokio::test]
async fn a_plan_shows_its_levels() {
    let reports = Reports::default();
    let db = reports.of(SqliteDatabase::memory().await.unwrap(), Duration::ZERO);
    db.exec("CREATE TABLE t (a)").await.unwrap();
    db.prepare("SELECT 1 FROM t UNION SELECT 2 FROM t").run().await.unwrap();
    let plan = reports.take().remove(1).plan.unwrap();
    assert!(!plan[0].starts_with(' ') && plan[1].starts_with("  "), "{plan:?}");
    assert!(plan.iter().any(|line| line == "    SCAN t"), "{plan:?}");
}

#[tokio::test]
async fn the_plan_of_a_write_is_asked_for_and_writes_nothing() {
    let reports = Reports::default();
    let folder = tempfile::tempdir().unwrap();
    for inner in
        [SqliteDatabase::memory().await.unwrap(), SqliteDatabase::open(folder.path().join("db.sqlite")).await.unwrap()]
    {
        let db = reports.of(inner, Duration::ZERO);
        db.run_script("CREATE TABLE t (a); INSERT INTO t VALUES (1);").await.unwrap();
        reports.take();
        db.prepare("UPDATE t SET a = a + ?").bind(1).run().await.unwrap();
        assert_eq!(reports.take().remove(0).plan, Some(vec!["SCAN t".to_owned()]));
        assert_eq!(db.prepare("SELECT a FROM t").all::<i64>().await.unwrap(), [2], "it ran once");
    }
}

#[tokio::test]
async fn a_long_script_is_cut_into_statements_once() {
    let reports = Reports::default();
    let db = reports.of(SqliteDatabase::memory().await.unwrap(), Duration::ZERO);
    db.exec("CREATE TABLE t (a)").await.unwrap();
    let script = "INSERT INTO t VALUES (1);\n".repeat(20_000);
    let start = std::time::Instant::now();
    db.batch_script(&script).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let sql = reports.sql();
    assert!(sql.len() == 20_001 && sql[1..].iter().all(|sql| sql == "INSERT INTO t VALUES (1)"));
}

#[tokio::test]
async fn a_report_that_panics_fails_its_call_and_not_the_process() {
    let options = SlowQueryOptions::default().with_threshold(Duration::ZERO);
    let options = options.with_report(|slow| assert!(slow.sql.is_empty(), "a bug of the report"));
    let db = SlowQueries::new(SqliteDatabase::memory().await.unwrap(), options);
    let same = db.clone();
    let call = tokio::spawn(async move { same.batch(vec!["SELECT 1".into(), "SELECT 2".into()]).await });
    assert!(call.await.unwrap_err().is_panic());
    db.health().await.unwrap();
}

#[tokio::test]
async fn several_statements_in_one_text_run_once_and_have_no_plan() {
    let reports = Reports::default();
    let db = reports.of(SqliteDatabase::memory().await.unwrap(), Duration::ZERO);
    db.exec("CREATE TABLE t (a)").await.unwrap();
    db.prepare("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)").run().await.unwrap();
    assert_eq!(reports.take().remove(1).plan, None);
    assert_eq!(db.prepare("SELECT count(*) FROM t").one::<i64>().await.unwrap(), 2);
}

#[tokio::test]
async fn a_plan_that_does_not_come_is_waited_for_a_second_at_most() {
    let reports = Reports::default();
    let mock = MockDatabase::new(SqliteDatabase::memory().await.unwrap());
    let db = reports.of(mock.clone(), Duration::ZERO);
    mock.script().delay_next(Operation::Query, Duration::ZERO);
    let held = mock.script().hold_next(Operation::Query);
    let start = std::time::Instant::now();
    assert_eq!(db.prepare("SELECT 1").one::<i64>().await.unwrap(), 1);
    assert!(start.elapsed() >= Duration::from_secs(1) && mock.script().unplayed().is_empty());
    assert_eq!(reports.take().remove(0).plan, None);
    held.release();
}

#[tokio::test]
async fn statements_that_fail_or_are_dropped_late_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::default().with_time_limit(Duration::from_millis(200));
    let inner = SqliteDatabase::open_with(folder.path().join("db.sqlite"), options).await.unwrap();
    let reports = Reports::default();
    let db = reports.of(inner, Duration::from_millis(50));
    db.prepare(FOREVER).run().await.unwrap_err();
    let slow = reports.take().remove(0);
    assert_eq!((&*slow.sql, slow.outcome), (FOREVER, Outcome::Failed(ErrorKind::Unavailable)));
    assert!(slow.duration >= Duration::from_millis(200) && slow.plan.is_some(), "{slow:?}");

    let batch = db.batch(vec!["SELECT 1".into(), FOREVER.into()]);
    assert!(tokio::time::timeout(Duration::from_millis(100), batch).await.is_err());
    let slow = reports.take().remove(0);
    assert_eq!((slow.sql, slow.outcome), (format!("SELECT 1; {FOREVER}"), Outcome::Dropped));
}

#[tokio::test]
async fn a_database_with_the_log_conforms() {
    let slow = async || Reports::default().of(SqliteDatabase::memory().await.unwrap(), Duration::ZERO);
    isobar_db::conformance::run(async || Arc::new(slow().await) as _).await.assert_green();
}
