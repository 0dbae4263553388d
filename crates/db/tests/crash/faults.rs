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
