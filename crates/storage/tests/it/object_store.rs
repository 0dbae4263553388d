//! The public suites of object_store's `integration` feature, over each of our stores.
//!
//! All of them apply but three: `get_nonexistent_object` is a helper of the others, `multipart_race_condition` is run with the
//! last writer winning, as R2 has it, and `response_extensions` is of stores behind HTTP.

use std::sync::Arc;

use isobar_storage::ObjectStore;
use isobar_storage::local::LocalStore;
use isobar_storage::memory::MemoryStore;
use isobar_storage::object_store::Adapter;
use object_store::integration::*;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStoreExt};

async fn suites(store: Arc<dyn ObjectStore>) {
    let store = Adapter::new(store);
    put_get_delete_list(&store).await;
    list_with_offset_exclusivity(&store).await;
    get_opts(&store).await;
    list_uses_directories_correctly(&store).await;
    list_with_delimiter(&store).await;
    rename_and_copy(&store).await;
    copy_if_not_exists(&store).await;
    copy_rename_nonexistent_object(&store).await;
    stream_get(&store).await;
    put_opts(&store, true).await;
    put_get_attributes(&store).await;
    multipart(&store, &store).await;
    multipart_with_opts(&store, &store).await;
    multipart_put_part_out_of_order(&store, &store).await;
    multipart_out_of_order(&store).await;
    multipart_race_condition(&store, true).await;
    list_paginated(&store, &store).await;
}

#[tokio::test]
async fn memory_passes_the_suites_of_object_store() {
    suites(Arc::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn local_passes_the_suites_of_object_store() {
    let folder = tempfile::tempdir().unwrap();
    suites(Arc::new(LocalStore::open(folder.path()).await.unwrap())).await;
}

#[tokio::test]
async fn of_a_stream_of_deletes_each_path_is_answered() {
    let store = Adapter::new(Arc::new(MemoryStore::new()));
    for name in ["a", "b"] {
        store.put(&Path::from(name), name.into()).await.unwrap();
    }
    let broken = object_store::Error::NotSupported { source: "the list broke off".into() };
    let paths = vec![Ok(Path::from("a")), Err(broken), Ok(Path::from("b"))];
    let stream = futures_util::StreamExt::boxed(futures_util::stream::iter(paths));
    let deleted: Vec<_> =
        futures_util::StreamExt::collect(object_store::ObjectStore::delete_stream(&store, stream)).await;
    let told: Vec<_> = deleted.iter().map(|path| path.as_ref().ok().map(AsRef::as_ref)).collect();
    assert_eq!(told, [Some("a"), None, Some("b")]);
    for name in ["a", "b"] {
        assert!(store.head(&Path::from(name)).await.is_err(), "{name} is gone");
    }
}

#[tokio::test]
async fn what_cannot_be_had_is_told() {
    let store = Adapter::new(Arc::new(MemoryStore::new()));
    store.put(&Path::from("a"), "a".into()).await.unwrap();
    let old = GetOptions::new().with_version(Some("1".to_owned()));
    let error = object_store::ObjectStore::get_opts(&store, &Path::from("a"), old).await.unwrap_err();
    assert!(matches!(error, object_store::Error::NotSupported { .. }), "{error}");
    assert_eq!(store.to_string(), "isobar(MemoryStore(1 objects))");
}
