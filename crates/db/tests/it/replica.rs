//! Tests of sessions on a replica that stays behind.

use std::sync::Arc;

use isobar_db::{
    Bookmark, Consistency, Database, ErrorKind, HistoryOptions, Queryable, QueryableExt, ReplicaLag, SqliteDatabase,
    SqliteOptions, Statement, conformance,
};

const COUNT: &str = "SELECT count(*) FROM t";

fn options() -> SqliteOptions {
    SqliteOptions::default().with_replica_lag(ReplicaLag::UntilAdvanced)
}

/// Databases with a replica, each with an empty table `t` on both sides: in memory, in a file, in a file with a history.
async fn databases() -> (Vec<SqliteDatabase>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let with_history = options().with_history(HistoryOptions::default());
    let databases = vec![
        SqliteDatabase::memory_with(options()).await.unwrap(),
        SqliteDatabase::open_with(folder.path().join("a.sqlite"), options()).await.unwrap(),
        SqliteDatabase::open_with(folder.path().join("b.sqlite"), with_history).await.unwrap(),
    ];
    for db in &databases {
        db.exec("CREATE TABLE t (a)").await.unwrap();
        db.advance_replica().await.unwrap();
    }
    (databases, folder)
}

async fn insert(on: &dyn Queryable) {
    on.query(Statement::new("INSERT INTO t VALUES (1)")).await.unwrap();
}

/// The number of rows, and whether the primary has counted them.
async fn counted(on: &dyn Queryable) -> (i64, bool) {
    let result = on.query(Statement::new(COUNT)).await.unwrap();
    (result.rows_as::<i64>().unwrap()[0], result.meta.served_by_primary)
}

#[tokio::test]
async fn a_reader_that_forgets_its_bookmark_sees_an_older_state() {
    let (databases, _folder) = databases().await;
    for db in databases {
        let writer = db.session(Consistency::FirstPrimary);
        insert(&writer).await;
        let bookmark = writer.bookmark().unwrap();
        assert_eq!(counted(&db.session(Consistency::FirstUnconstrained)).await, (0, false), "{db:?}");
        assert_eq!(counted(&db.session(Consistency::Bookmark(bookmark.clone()))).await, (1, true), "{db:?}");
        assert_eq!(counted(&db.session(Consistency::FirstPrimary)).await, (1, true), "{db:?}");
        assert_eq!(counted(&db).await, (1, true), "without a session: {db:?}");

        assert!(db.advance_replica().await.unwrap() >= bookmark);
        assert_eq!(counted(&db.session(Consistency::Bookmark(bookmark.clone()))).await, (1, false), "{db:?}");
        insert(&db).await;
        assert_eq!(counted(&db.session(Consistency::Bookmark(bookmark))).await, (1, false), "an old one: {db:?}");
    }
}

#[tokio::test]
async fn a_session_never_goes_back() {
    let (databases, _folder) = databases().await;
    for db in databases {
        let session = db.session(Consistency::FirstUnconstrained);
        insert(&db).await;
        assert_eq!(counted(&session).await, (0, false), "{db:?}");
        let of_replica = session.bookmark().unwrap();
        insert(&session).await;
        assert!(session.bookmark().unwrap() > of_replica);
        assert_eq!(counted(&session).await, (2, true), "its own write: {db:?}");
        assert_eq!(counted(&db.session(Consistency::Bookmark(of_replica))).await, (0, false), "{db:?}");
        db.advance_replica().await.unwrap();
        assert_eq!(counted(&session).await, (2, false), "{db:?}");

        let first_primary = db.session(Consistency::FirstPrimary);
        assert_eq!(counted(&first_primary).await, (2, true), "{db:?}");
        db.advance_replica().await.unwrap();
        assert_eq!(counted(&first_primary).await, (2, false), "{db:?}");
    }
}

#[tokio::test]
async fn what_may_write_goes_to_the_primary() {
    let (databases, _folder) = databases().await;
    for db in databases {
        let session = || db.session(Consistency::FirstUnconstrained);
        let mixed = session().batch(vec!["INSERT INTO t VALUES (1)".into(), COUNT.into()]).await.unwrap();
        assert_eq!(mixed[1].rows_as::<i64>().unwrap(), [1], "{db:?}");
        assert!(mixed.iter().all(|result| result.meta.served_by_primary));
        let reads = session().batch(vec![COUNT.into(), COUNT.into()]).await.unwrap();
        assert!(reads.iter().all(|result| !result.meta.served_by_primary), "{db:?}");
        assert_eq!(reads[0].rows_as::<i64>().unwrap(), [0], "{db:?}");
        let script = session().batch_script("SELECT 1; SELECT count(*) FROM t;").await.unwrap();
        assert_eq!(script[1].rows_as::<i64>().unwrap(), [0], "{db:?}");
        let returned = session().query("INSERT INTO t VALUES (2) RETURNING a".into()).await.unwrap();
        assert_eq!((returned.rows.len(), returned.meta.served_by_primary), (1, true));
        assert_eq!(counted(&db).await.0, 2, "{db:?}");
    }
}

#[tokio::test]
async fn a_replica_begins_with_the_state_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let db = SqliteDatabase::open(&path).await.unwrap();
    db.exec("CREATE TABLE t (a)\nINSERT INTO t VALUES (1)").await.unwrap();
    drop(db);
    let db = SqliteDatabase::open_with(&path, options()).await.unwrap();
    let session = db.session(Consistency::FirstUnconstrained);
    assert_eq!(counted(&session).await, (1, false));
    db.exec("CREATE TABLE later (a)").await.unwrap();
    let error = session.prepare("SELECT a FROM later").all::<i64>().await.unwrap_err();
    assert!(error.message().contains("no such table: later"), "{error}");
}

#[tokio::test]
async fn a_session_sees_no_less_while_the_replica_is_brought_forward() {
    let (databases, _folder) = databases().await;
    for db in databases {
        let writer = db.clone();
        let writing = tokio::spawn(async move {
            for _ in 0..100 {
                insert(&writer).await;
            }
        });
        let mut advancing = Vec::new();
        for _ in 0..2 {
            let db = db.clone();
            advancing.push(tokio::spawn(async move {
                for _ in 0..20 {
                    db.advance_replica().await.unwrap();
                }
            }));
        }
        let mut before = 0;
        let mut bookmark = Bookmark::new("");
        while !writing.is_finished() || !advancing.iter().all(tokio::task::JoinHandle::is_finished) {
            // Each request goes on from the bookmark of the one before.
            let session = db.session(Consistency::Bookmark(bookmark));
            let (now, _) = counted(&session).await;
            assert!(now >= before, "{now} after {before}: {db:?}");
            before = now;
            bookmark = session.bookmark().unwrap();
            tokio::task::yield_now().await;
        }
        writing.await.unwrap();
        for task in advancing {
            task.await.unwrap();
        }
        db.advance_replica().await.unwrap();
        assert_eq!(counted(&db.session(Consistency::FirstUnconstrained)).await, (100, false));
    }
}

#[tokio::test]
async fn a_database_without_a_replica_cannot_bring_one_forward() {
    let db = SqliteDatabase::memory().await.unwrap();
    let error = db.advance_replica().await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unsupported, "advance_replica"));
}

#[tokio::test]
async fn databases_with_a_replica_conform() {
    let (databases, _folder) = databases().await;
    for db in databases {
        conformance::run(async || Arc::new(db.clone()) as _).await.assert_green();
    }
}
