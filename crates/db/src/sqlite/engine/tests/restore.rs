//! Restoring, as the engine does it.

use super::*;
use crate::HistoryOptions;

#[tokio::test]
async fn what_another_process_commits_at_once_is_not_taken_for_the_restores_own_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let options = SqliteOptions::default().with_history(HistoryOptions::default());
    let engine = Engine::open(Some(path.as_path()), options).await.unwrap();
    engine.run_script("CREATE TABLE t (a); INSERT INTO t VALUES (1)").await.unwrap();
    let one = engine.bookmark();
    run(&engine, "INSERT INTO t VALUES (2)").await.unwrap();
    let ready = engine.shared.recorder.get().unwrap().prepare(&one).unwrap();
    let mut connection = AuthorizedConnection::open(Some(path.as_path()), false, &Arc::default()).unwrap();
    connection.leave_log().unwrap();
    ready.copy_into(connection.connection_mut(), || false).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    let frames = || other.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get::<_, u32>(1)).unwrap();
    let own = frames();
    other.execute_batch("INSERT INTO t VALUES (3)").unwrap();
    assert!(frames() > own);
    connection.count_copy().unwrap();
    assert_eq!(connection.take_committed(), Some(own));
    assert_eq!(count(&engine, "t").await, 2);
}
