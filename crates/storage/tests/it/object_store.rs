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

async fn named(names: &[&str]) -> (Arc<MemoryStore>, Adapter) {
    let store = Arc::new(MemoryStore::new());
    for name in names {
        let body = if name.ends_with('/') { "" } else { "0123456789" };
        isobar_storage::ObjectStoreExt::write(&*store, &crate::local::key(name), body).await.unwrap();
    }
    (Arc::clone(&store), Adapter::new(store))
}

fn paths(objects: &[object_store::ObjectMeta]) -> Vec<&str> {
    objects.iter().map(|meta| meta.location.as_ref()).collect()
}

#[tokio::test]
async fn folder_markers_are_left_out_of_listings_and_name_no_other_object() {
    use futures_util::TryStreamExt;
    use object_store::ObjectStore;
    use object_store::list::{PaginatedListOptions, PaginatedListStore};
    let (_, store) = named(&["a", "a/", "a/b", "a/c/", "a/c/d"]).await;
    let all: Vec<_> = store.list(None).try_collect().await.unwrap();
    assert_eq!(paths(&all), ["a", "a/b", "a/c/d"]);
    let below: Vec<_> = store.list(Some(&Path::from("a"))).try_collect().await.unwrap();
    assert_eq!(paths(&below), ["a/b", "a/c/d"]);
    let after: Vec<_> = store.list_with_offset(None, &Path::from("a")).try_collect().await.unwrap();
    assert_eq!(paths(&after), ["a/b", "a/c/d"]);
    let page = store.list_with_delimiter(Some(&Path::from("a"))).await.unwrap();
    assert_eq!((paths(&page.objects), page.common_prefixes), (vec!["a/b"], vec![Path::from("a/c")]));
    let page = store.list_paginated(Some("a/"), PaginatedListOptions::default()).await.unwrap();
    assert_eq!(paths(&page.result.objects), ["a/b", "a/c/d"]);
    // An object's own name is no folder.
    let own: Vec<_> = store.list(Some(&Path::from("a/b"))).try_collect().await.unwrap();
    assert_eq!(own, []);
}

#[tokio::test]
async fn keys_that_no_path_can_name_fail_a_listing_rather_than_name_another_object() {
    use futures_util::TryStreamExt;
    use object_store::ObjectStore;
    for name in ["/a", "a//b", "a/../b", "/"] {
        let (_, store) = named(&["a", name]).await;
        let listed = store.list(None).try_collect::<Vec<_>>().await;
        let delimited = store.list_with_delimiter(None).await;
        if name == "/" {
            assert_eq!(paths(&listed.unwrap()), ["a"], "a marker");
        } else {
            listed.unwrap_err();
        }
        assert!(delimited.is_err() || name.starts_with("a/"), "{name}");
    }
}

#[tokio::test]
async fn etags_are_taken_bare_and_quoted_in_every_condition() {
    use object_store::{Error, PutMode, UpdateVersion};
    let (_, store) = named(&["a"]).await;
    let path = Path::from("a");
    let get = async |options: GetOptions| object_store::ObjectStore::get_opts(&store, &path, options).await;
    let etag = store.head(&path).await.unwrap().e_tag.unwrap();
    let other = "0".repeat(32);
    let quoted = format!("\"{etag}\"");
    let other_quoted = format!("\"{other}\"");
    let weak = format!("W/{quoted}");
    let many = format!("{other}, {etag}");
    let quoted_many = format!("{other_quoted}, {quoted}");
    for same in [&etag, &quoted, &many, &quoted_many, &"*".to_owned()] {
        assert!(get(GetOptions::new().with_if_match(Some(same))).await.is_ok(), "{same}");
        let unchanged = get(GetOptions::new().with_if_none_match(Some(same))).await.unwrap_err();
        assert!(matches!(unchanged, Error::NotModified { .. }), "{same}: {unchanged}");
    }
    // A weak etag never matches strongly.
    assert!(matches!(get(GetOptions::new().with_if_match(Some(&weak))).await, Err(Error::Precondition { .. })));
    assert!(matches!(get(GetOptions::new().with_if_none_match(Some(&weak))).await, Err(Error::NotModified { .. })));
    for changed in [&other, &other_quoted] {
        assert!(matches!(get(GetOptions::new().with_if_match(Some(changed))).await, Err(Error::Precondition { .. })));
        assert!(get(GetOptions::new().with_if_none_match(Some(changed))).await.is_ok());
    }
    // If-Match comes first where both fail.
    let both = GetOptions::new().with_if_match(Some(&other_quoted)).with_if_none_match(Some(&quoted));
    assert!(matches!(get(both).await, Err(Error::Precondition { .. })));
    let update = async |etag: &str| {
        let version = UpdateVersion { e_tag: Some(etag.to_owned()), version: None };
        object_store::ObjectStore::put_opts(&store, &path, "new".into(), PutMode::Update(version).into()).await
    };
    assert!(matches!(update(&other_quoted).await, Err(Error::Precondition { .. })));
    let etag = update(&quoted).await.unwrap().e_tag.unwrap();
    update(&etag).await.unwrap();
}

#[tokio::test]
async fn what_is_copied_or_renamed_onto_itself_stays() {
    use object_store::{CopyMode, CopyOptions, Error, ObjectStore, RenameOptions, RenameTargetMode};
    let (_, store) = named(&["a"]).await;
    let path = Path::from("a");
    let gone = Path::from("gone");
    let before = store.head(&path).await.unwrap();
    store.rename(&path, &path).await.unwrap();
    store.copy(&path, &path).await.unwrap();
    assert_eq!(store.head(&path).await.unwrap(), before);
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "0123456789");
    let create = RenameOptions::new().with_target_mode(RenameTargetMode::Create);
    assert!(matches!(store.rename_opts(&path, &path, create).await, Err(Error::AlreadyExists { .. })));
    let create = CopyOptions::new().with_mode(CopyMode::Create);
    assert!(matches!(store.copy_opts(&path, &path, create).await, Err(Error::AlreadyExists { .. })));
    assert!(matches!(store.rename(&gone, &gone).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.copy(&gone, &gone).await, Err(Error::NotFound { .. })));
    store.rename(&path, &Path::from("b")).await.unwrap();
    assert!(store.head(&path).await.is_err() && store.head(&Path::from("b")).await.is_ok());
}

#[tokio::test]
async fn ranges_at_and_past_the_end_are_those_of_object_stores_own_memory() {
    use object_store::{GetRange, ObjectStore};
    let ours = named(&["a"]).await.1;
    let theirs = object_store::memory::InMemory::new();
    theirs.put(&Path::from("a"), "0123456789".into()).await.unwrap();
    for store in [&ours as &dyn ObjectStore, &theirs] {
        store.put(&Path::from("empty"), "".into()).await.unwrap();
    }
    let ranges = [
        GetRange::Bounded(5..100),
        GetRange::Bounded(9..10),
        GetRange::Bounded(10..11),
        GetRange::Bounded(11..12),
        GetRange::Bounded(3..3),
        GetRange::Offset(9),
        GetRange::Offset(10),
        GetRange::Offset(0),
        GetRange::Suffix(0),
        GetRange::Suffix(3),
        GetRange::Suffix(100),
    ];
    for name in ["a", "empty", "gone"] {
        for range in &ranges {
            let read = async |store: &dyn ObjectStore| {
                let options = GetOptions::new().with_range(Some(range.clone()));
                let found = store.get_opts(&Path::from(name), options).await.ok()?;
                let range = found.range.clone();
                Some((range, found.bytes().await.unwrap()))
            };
            assert_eq!(read(&ours).await, read(&theirs).await, "{range:?} of {name}");
        }
    }
    let ranges = [0..3, 8..100, 2..4];
    let ours = ours.get_ranges(&Path::from("a"), &ranges).await;
    let theirs = theirs.get_ranges(&Path::from("a"), &ranges).await;
    assert_eq!(ours.unwrap(), theirs.unwrap());
}
