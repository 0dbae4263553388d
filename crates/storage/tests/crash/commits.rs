//! A commit fails, by a full or broken disk beneath SQLite: what was acknowledged stays, and the store works on when the disk does.

use futures_util::future::join_all;
use isobar_storage::local::{FsckOptions, LocalStore};
use isobar_storage::{ErrorKind, Key, ObjectStore, ObjectStoreExt};

use crate::vfs::{self, Fault};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// Tries each kind of write, many at once; what came of it.
async fn write_everything(store: &LocalStore, round: usize) -> Vec<Result<(), isobar_storage::Error>> {
    let small =
        join_all((0..20).map(async |number| store.write(&key(&format!("{round}/{number}")), "small").await.map(drop)));
    let large = async { store.write(&key("large"), vec![round as u8; 100_000]).await.map(drop) };
    let create = async { store.multipart(&key("parts"), Default::default()).await.map(drop) };
    let copy = async { store.copy(&key("kept"), &key("copy"), Default::default()).await.map(drop) };
    let delete = async { store.delete(&[key("deleted")]).await };
    let (mut all, large, create, copy, delete) = tokio::join!(small, large, create, copy, delete);
    all.extend([large, create, copy, delete]);
    all
}

#[tokio::test]
async fn a_commit_that_fails_loses_nothing_and_the_next_one_works() {
    vfs::install();
    for (fault, kind) in [(Fault::Full, ErrorKind::StorageFull), (Fault::Write, ErrorKind::Internal)] {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).await.unwrap();
        for name in ["kept", "deleted"] {
            store.write(&key(name), name).await.unwrap();
        }
        store.write(&key("large"), vec![9; 100_000]).await.unwrap();
        for round in 0..3 {
            vfs::set_fault(folder.path(), Some(fault));
            for outcome in write_everything(&store, round).await {
                assert_eq!(outcome.unwrap_err().kind(), kind, "{fault:?}");
            }
            // What is read meanwhile is what was acknowledged.
            assert_eq!(store.read(&key("kept")).await.unwrap().unwrap().1, "kept");
            vfs::set_fault(folder.path(), None);
            assert!(store.head(&key("deleted")).await.unwrap().is_some() || round > 0);
            store.health().unwrap();
            for outcome in write_everything(&store, round).await {
                outcome.unwrap();
            }
            assert_eq!(store.read(&key("large")).await.unwrap().unwrap().1, vec![round as u8; 100_000]);
        }
        drop(store);
        let store = LocalStore::open(folder.path()).await.unwrap();
        for name in ["kept", "copy", "0/0", "2/19"] {
            assert!(store.read(&key(name)).await.unwrap().is_some(), "{name}");
        }
        assert!(store.head(&key("deleted")).await.unwrap().is_none());
        assert!(!store.fsck(FsckOptions::default(), |_| {}).await.unwrap().has_loss());
    }
}

#[tokio::test]
async fn a_sync_that_fails_within_sqlite_is_treated_as_any_other() {
    vfs::install();
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    store.write(&key("kept"), "kept").await.unwrap();
    // The log begins anew once it was copied into the database: its head is synced then, within a commit.
    let index = rusqlite::Connection::open(folder.path().join("index.db")).unwrap();
    index.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
    vfs::set_fault(folder.path(), Some(Fault::Sync));
    let mut failed = None;
    for round in 0..3000 {
        if let Err(error) = store.write(&key("new"), format!("{round}")).await {
            failed = Some(error);
            break;
        }
    }
    vfs::set_fault(folder.path(), None);
    assert!(failed.is_some(), "SQLite has synced its log");
    for error in [store.write(&key("new"), "x").await.unwrap_err(), store.health().unwrap_err()] {
        assert!(error.to_string().contains("open the store anew"), "{error}");
    }
    drop((store, index));
    let store = LocalStore::open(folder.path()).await.unwrap();
    store.health().unwrap();
    assert_eq!(store.read(&key("kept")).await.unwrap().unwrap().1, "kept");
    store.write(&key("new"), "x").await.unwrap();
}
