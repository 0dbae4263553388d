//! Removing a store with its folder.

use isobar_storage::local::{LocalStore, Removal};
use isobar_storage::{ErrorKind, Key, MultipartOptions, ObjectStore, ObjectStoreExt};

#[tokio::test]
async fn store_that_is_open_is_not_removed() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("bucket");
    let open = LocalStore::open(&folder).await.unwrap();
    let error = LocalStore::remove(&folder).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, "remove"), "{error}");
    open.write(&Key::new("a").unwrap(), "still a store").await.unwrap();
    drop(open);
    assert_eq!(LocalStore::remove(&folder).await.unwrap(), Removal::HasObjects);
    let store = LocalStore::open(&folder).await.unwrap();
    assert_eq!(store.read(&Key::new("a").unwrap()).await.unwrap().unwrap().1, "still a store");
}

#[tokio::test]
async fn remains_of_damaged_objects_are_kept() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("bucket");
    drop(LocalStore::open(&folder).await.unwrap());
    std::fs::create_dir(folder.join("lost")).unwrap();
    assert_eq!(LocalStore::remove(&folder).await.unwrap(), Removal::HasRemains);
    assert!(folder.join("lost").is_dir() && folder.join("index.db").is_file());
}

#[tokio::test]
async fn empty_store_leaves_nothing_and_takes_what_a_crash_has_left() {
    let home = tempfile::tempdir().unwrap();
    let broken_off = home.path().join(".removed-0123456789abcdef0123456789abcdef");
    std::fs::create_dir_all(broken_off.join("packs")).unwrap();
    let folder = home.path().join("bucket");
    let store = LocalStore::open(&folder).await.unwrap();
    let key = Key::new("a").unwrap();
    store.create_multipart(&key, MultipartOptions::default()).await.unwrap();
    store.write(&key, "x").await.unwrap();
    store.delete(&[key]).await.unwrap();
    drop(store);
    assert_eq!(LocalStore::remove(&folder).await.unwrap(), Removal::Removed);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    let error = LocalStore::remove(&folder).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(!folder.exists(), "looking for a store makes none");
}
