//! Group commit: what waits shares a transaction, and each task is as if it had been alone.

use futures_util::future::join_all;

use super::*;
use crate::Constraint;

const TABLES: &str = "
    CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE);
    CREATE TABLE p (id INTEGER PRIMARY KEY);
    CREATE TABLE c (p REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE r (a);
    CREATE TRIGGER undo AFTER INSERT ON r WHEN new.a = 'undo' BEGIN SELECT RAISE(ROLLBACK, 'undone'); END;";
/// An INSERT that takes for ever.
const FOREVER: &str =
    "INSERT INTO r WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT count(*) FROM n";

struct Fixture {
    engine: Engine,
    folder: tempfile::TempDir,
}

impl Fixture {
    async fn new(limit: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions::default().with_time_limit(limit);
        let engine = Engine::open(Some(&folder.path().join("db.sqlite")), options).await.unwrap();
        engine.run_script(TABLES).await.unwrap();
        Self { engine, folder }
    }

    /// Runs batches that wait together: the writer is held up until all of them are in its queue.
    async fn together(&self, batches: &[&[&'static str]]) -> Vec<Result<Vec<QueryResult>>> {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let hold = self.engine.writer.run(Duration::from_secs(30), move |_| {
            held.recv().unwrap();
            Ok(())
        });
        let run = |batch: &&[&'static str]| self.engine.run(batch.iter().map(|sql| Statement::new(*sql)).collect());
        let all = join_all(batches.iter().map(run));
        let release = async move { release.send(()).unwrap() };
        let (held, results, ()) = tokio::join!(biased; hold, all, release);
        held.unwrap();
        results
    }

    /// Commits in the write-ahead log: frames that name the size of the database.
    fn commits(&self) -> usize {
        let log = std::fs::read(self.folder.path().join("db.sqlite-wal")).unwrap();
        log[32..].chunks_exact(24 + 4096).filter(|frame| frame[4..8] != [0; 4]).count()
    }
}

fn kinds(results: &[Result<Vec<QueryResult>>]) -> Vec<Option<ErrorKind>> {
    results.iter().map(|result| result.as_ref().err().map(Error::kind)).collect()
}

const UNIQUE: Option<ErrorKind> = Some(ErrorKind::Constraint(Constraint::Unique));

#[tokio::test]
async fn waiting_tasks_share_a_commit_and_report_separately() {
    let fixture = Fixture::new(Duration::from_secs(30)).await;
    let before = fixture.commits();
    let results = fixture
        .together(&[
            &["INSERT INTO t VALUES (10, 'a')"],
            &["INSERT INTO t VALUES (20, 'b'), (21, 'c')", "UPDATE t SET a = a || '!' WHERE id >= 20"],
            &["UPDATE t SET a = 'none' WHERE id = 99"],
            &["SELECT last_insert_rowid()", "DELETE FROM t WHERE id = 10"],
        ])
        .await;
    assert_eq!(fixture.commits() - before, 1);
    let metas: Vec<_> = results.into_iter().flat_map(|result| result.unwrap()).collect();
    let reported: Vec<_> = metas.iter().map(|result| (result.meta.changes, result.meta.last_row_id)).collect();
    assert_eq!(reported, [(1, Some(10)), (2, Some(21)), (2, Some(21)), (0, Some(21)), (0, Some(21)), (1, Some(21))]);
    assert_eq!(
        metas.iter().map(|result| result.meta.changed_db).collect::<Vec<_>>(),
        [true, true, true, false, false, true]
    );
    assert_eq!(count(&fixture.engine, "t").await, 2);
}

#[tokio::test]
async fn a_task_that_fails_is_undone_alone() {
    let fixture = Fixture::new(Duration::from_secs(30)).await;
    let before = fixture.commits();
    let results = fixture
        .together(&[
            &["INSERT INTO t VALUES (1, 'a')"],
            &["INSERT INTO t VALUES (2, 'b')", "INSERT INTO t VALUES (3, 'a')"],
            &["INSERT INTO t VALUES (2, 'c')"],
            &["INSERT INTO t VALUES (4, 'd')", "SELECT nope"],
            &["INSERT INTO t VALUES (5, 'b')"],
        ])
        .await;
    assert_eq!(kinds(&results), [None, UNIQUE, None, Some(ErrorKind::Sql), None]);
    assert_eq!(fixture.commits() - before, 1);
    assert_eq!(count(&fixture.engine, "t WHERE (id, a) IN (VALUES (1, 'a'), (2, 'c'), (5, 'b'))").await, 3);
    assert_eq!(count(&fixture.engine, "t").await, 3);
}

#[tokio::test]
async fn a_deferred_foreign_key_fails_its_own_task_alone() {
    let fixture = Fixture::new(Duration::from_secs(30)).await;
    let before = fixture.commits();
    let results = fixture
        .together(&[
            &["INSERT INTO p VALUES (1)"],
            &["INSERT INTO c VALUES (99)"],
            &["INSERT INTO c VALUES (2)", "INSERT INTO p VALUES (2)"],
            &["INSERT INTO c VALUES (1)"],
        ])
        .await;
    let foreign_key = Some(ErrorKind::Constraint(Constraint::ForeignKey));
    assert_eq!(kinds(&results), [None, foreign_key, None, None]);
    let text = results[1].as_ref().unwrap_err().to_string();
    assert!(text.starts_with("D1_ERROR: FOREIGN KEY constraint failed: SQLITE_CONSTRAINT"), "{text}");
    assert_eq!(fixture.commits() - before, 1);
    assert_eq!((count(&fixture.engine, "p").await, count(&fixture.engine, "c").await), (2, 2));
}

#[tokio::test]
async fn a_setting_of_a_transaction_does_not_reach_the_others() {
    let fixture = Fixture::new(Duration::from_secs(30)).await;
    run(&fixture.engine, "CREATE TABLE immediate (p REFERENCES p (id))").await.unwrap();
    let results = fixture
        .together(&[
            &["INSERT INTO p VALUES (1)"],
            &["PRAGMA defer_foreign_keys = ON", "INSERT INTO immediate VALUES (7)", "INSERT INTO p VALUES (7)"],
            &["INSERT INTO immediate VALUES (8)", "INSERT INTO p VALUES (8)"],
        ])
        .await;
    assert_eq!(kinds(&results), [None, None, Some(ErrorKind::Constraint(Constraint::ForeignKey))]);
    assert_eq!(results[2].as_ref().unwrap_err().statement_index(), Some(0));
}

#[tokio::test]
async fn a_rollback_in_a_task_undoes_no_other() {
    for undo in ["INSERT OR ROLLBACK INTO t VALUES (100, 'first')", "INSERT INTO r VALUES ('undo')"] {
        let fixture = Fixture::new(Duration::from_secs(30)).await;
        run(&fixture.engine, "INSERT INTO t VALUES (1, 'first')").await.unwrap();
        let results = fixture
            .together(&[
                &["INSERT INTO p VALUES (7)"],
                &["UPDATE t SET id = 2"],
                &["INSERT INTO t VALUES (50, 'undone')", undo],
                &["DELETE FROM t WHERE id = 99"],
            ])
            .await;
        assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true], "{undo}");
        let rowids: Vec<_> =
            [&results[1], &results[3]].map(|result| result.as_ref().unwrap()[0].meta.last_row_id).into();
        assert_eq!(rowids, [Some(7), Some(7)], "{undo}");
        assert_eq!(results[1].as_ref().unwrap()[0].meta.changes, 1);
        assert_eq!(count(&fixture.engine, "t WHERE id = 2 AND a = 'first'").await, 1);
        assert_eq!((count(&fixture.engine, "t").await, count(&fixture.engine, "p").await), (1, 1));
    }
}

#[tokio::test]
async fn rows_before_the_one_that_fails_are_undone_too() {
    let fixture = Fixture::new(Duration::from_secs(30)).await;
    let fail = "INSERT OR FAIL INTO t VALUES (1, 'a'), (2, 'b'), (3, 'a'), (4, 'c')";
    let results = fixture.together(&[&["INSERT INTO p VALUES (1)"], &[fail], &["INSERT INTO p VALUES (2)"]]).await;
    assert_eq!(kinds(&results), [None, UNIQUE, None]);
    assert_eq!((count(&fixture.engine, "t").await, count(&fixture.engine, "p").await), (0, 2));
}

#[tokio::test]
async fn long_task_delays_no_other_and_has_its_own_limit() {
    let fixture = Fixture::new(Duration::from_millis(1500)).await;
    let start = Instant::now();
    let results = fixture
        .together(&[
            &["INSERT INTO p VALUES (1)"],
            &["INSERT INTO p VALUES (2)", FOREVER],
            &["INSERT INTO p VALUES (3)"],
        ])
        .await;
    assert!(start.elapsed() >= Duration::from_millis(1500));
    let text = results[1].as_ref().unwrap_err().to_string();
    assert!(text.contains("exceeded timeout"), "{text}");
    assert_eq!(kinds(&results), [None, Some(ErrorKind::Unavailable), None]);
    assert_eq!(count(&fixture.engine, "p").await, 2);
}

#[tokio::test]
async fn dropped_task_leaves_the_others_of_its_group_committed() {
    let fixture = Fixture::new(Duration::from_secs(30)).await;
    let (release, held) = std::sync::mpsc::channel::<()>();
    let hold = fixture.engine.writer.run(Duration::from_secs(30), move |_| {
        held.recv().unwrap();
        Ok(())
    });
    let leaves = tokio::time::timeout(Duration::from_millis(200), run(&fixture.engine, FOREVER));
    let stays = join_all([1, 2].map(async |id| run(&fixture.engine, &format!("INSERT INTO p VALUES ({id})")).await));
    let (held, left, stayed, ()) = tokio::join!(biased; hold, leaves, stays, async move { release.send(()).unwrap() });
    held.unwrap();
    assert!(left.is_err());
    assert!(stayed.iter().all(Result::is_ok), "{stayed:?}");
    assert_eq!((count(&fixture.engine, "p").await, count(&fixture.engine, "r").await), (2, 0));
}

#[tokio::test]
async fn after_a_failed_sync_no_task_of_a_group_is_written() {
    let fixture = Fixture::new(Duration::from_secs(30)).await;
    fixture.engine.shared.note(&failed_sync());
    let results = fixture.together(&[&["INSERT INTO p VALUES (1)"], &["INSERT INTO p VALUES (2)"]]).await;
    assert!(results.iter().all(|result| result.as_ref().is_err_and(|error| !error.is_retryable())), "{results:?}");
    assert_eq!(count(&fixture.engine, "p").await, 0);
}

#[tokio::test]
async fn commit_that_is_done_is_never_answered_as_interrupted() {
    let engine = Engine::open(None, SqliteOptions::default()).await.unwrap();
    run(&engine, "CREATE TABLE n (n)").await.unwrap();
    let shared = Arc::clone(&engine.shared);
    let answered = engine.writer.run(Duration::from_secs(30), move |slot| {
        let mut done = 0;
        let mut failed = 0;
        for _ in 0..3000 {
            // Its time is over: every statement that SQLite looks at is interrupted.
            let call = Arc::new(Call::new(Duration::ZERO));
            let (answer, mut answered) = oneshot::channel();
            let task =
                WriteTask::new(Work::Batch(vec!["INSERT INTO n VALUES (1)".into()]), Route::Writer, call, answer);
            shared.write_all(slot, vec![(task, Instant::now())]);
            match answered.try_recv().unwrap() {
                Ok(_) => done += 1,
                Err(_) => failed += 1,
            }
        }
        Ok((done, failed))
    });
    let (done, failed) = answered.await.unwrap();
    assert_eq!(count(&engine, "n").await, done);
    assert!(failed > 0, "no statement was looked at");
}

#[tokio::test]
async fn group_that_waits_for_a_lock_ends_when_all_its_callers_have_gone() {
    let fixture = Fixture::new(Duration::from_secs(30)).await;
    let other = rusqlite::Connection::open(fixture.folder.path().join("db.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let batches: &[&[&'static str]] = &[&["INSERT INTO p VALUES (1)"], &["INSERT INTO p VALUES (2)"]];
    let together = tokio::time::timeout(Duration::from_millis(300), fixture.together(batches));
    assert!(together.await.is_err(), "they wait for the other process");
    let start = Instant::now();
    drop(fixture); // waits for its threads
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
