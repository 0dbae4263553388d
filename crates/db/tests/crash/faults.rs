//! Syncs fail.

use std::sync::Arc;

use isobar_db::{Database, ErrorKind, QueryableExt};
use isobar_sqlite::journal::SystemDisk;

use crate::script::Content;
use crate::vfs::{self, Fault};
use crate::{folder, script};

#[tokio::test]
async fn after_a_restore_whose_sync_has_failed_nothing_is_written_until_the_database_is_opened_again() {
    vfs::install();
    let root = folder();
    let db = script::open(root.path(), Arc::new(SystemDisk)).await.unwrap();
    db.run_script("CREATE TABLE t (slot INTEGER PRIMARY KEY, n INTEGER, pad BLOB)").await.unwrap();
    let one = script::write(&db, 1, 100).await.unwrap();
    script::write(&db, 2, 100).await.unwrap();
    vfs::set_fault(root.path(), Some(Fault::Sync));
    let error = db.time_travel().unwrap().restore(&one).await.unwrap_err();
    vfs::set_fault(root.path(), None);
    assert!(error.to_string().contains("cannot restore the database"), "{error}");
    let refused = script::write(&db, 3, 100).await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Unavailable && refused.to_string().contains("opened again"), "{refused}");
    drop(db);
    let db = script::open(root.path(), Arc::new(SystemDisk)).await.unwrap();
    script::write(&db, 3, 100).await.unwrap();
    db.time_travel().unwrap().restore(&one).await.unwrap();
    assert_eq!(script::content(&db).await.unwrap(), Content::from([(1, 1)]));
}

#[tokio::test]
async fn an_interactive_commit_whose_sync_fails_is_not_answered_as_done() {
    vfs::install();
    let root = folder();
    let db = script::open(root.path(), Arc::new(SystemDisk)).await.unwrap();
    db.run_script("CREATE TABLE t (slot INTEGER PRIMARY KEY, n INTEGER, pad BLOB)").await.unwrap();
    script::write(&db, 1, 100).await.unwrap();
    let tx = script::begin(&db).await.unwrap();
    tx.query(script::insert(2, 100)).await.unwrap();
    vfs::set_fault(root.path(), Some(Fault::Sync));
    let error = tx.commit().await.unwrap_err();
    vfs::set_fault(root.path(), None);
    assert_eq!((error.operation(), error.is_retryable()), ("commit", false), "{error}");
    assert_eq!(script::content(&db).await.unwrap(), Content::from([(1, 1)]));
    let refused = script::begin(&db).await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Unavailable && refused.to_string().contains("opened again"), "{refused}");
    drop(db);
    let db = script::open(root.path(), Arc::new(SystemDisk)).await.unwrap();
    script::write(&db, 3, 100).await.unwrap();
    let mut found = script::content(&db).await.unwrap();
    // It may have happened all the same.
    found.remove(&2);
    assert_eq!(found, Content::from([(1, 1), (3, 3)]));
}
