//! A plain folder as a bucket: it answers as a bucket does that has the same objects.

use std::fs;

use isobar_storage::directory::{Directory, DirectoryOptions};
use isobar_storage::memory::MemoryStore;
use isobar_storage::sync::{apply, everything, plan};
use isobar_storage::{
    Conditions, ErrorKind, GetOptions, GetResult, Key, ListOptions, ObjectStore, ObjectStoreExt, Range,
};

use crate::local::key;

const FILES: [(&str, &str); 6] =
    [("a.html", "<p>a"), ("a/b.css", "b{}"), ("a/c/d.js", "d"), ("a-b.txt", ""), ("ü.txt", "ü"), ("z", "last")];

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in FILES {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

#[tokio::test]
async fn it_lists_and_reads_as_a_bucket_of_the_same_objects_does() {
    let folder = folder();
    let store = Directory::open(folder.path()).await.unwrap();
    let bucket = MemoryStore::new();
    let planned = plan(folder.path(), &bucket, "", &everything).await.unwrap();
    apply(&planned, &bucket, &Default::default(), |_| {}).await.unwrap();
    for options in [
        ListOptions::default(),
        ListOptions::default().with_prefix("a"),
        ListOptions::default().with_delimiter("/"),
        ListOptions::default().with_limit(2),
        ListOptions::default().with_start_after("a.html"),
        ListOptions::default().with_prefix("a/").with_delimiter("/").with_limit(1),
    ] {
        let mut here = options.clone();
        let mut there = options;
        loop {
            let ours = store.list(here.clone()).await.unwrap();
            let theirs = bucket.list(there.clone()).await.unwrap();
            let shown = |page: &isobar_storage::ListPage| {
                page.objects.iter().map(|meta| (meta.key.clone(), meta.size, meta.etag.clone())).collect::<Vec<_>>()
            };
            assert_eq!(
                (shown(&ours), &ours.prefixes, &ours.cursor),
                (shown(&theirs), &theirs.prefixes, &theirs.cursor)
            );
            let Some(cursor) = ours.cursor else { break };
            here = here.with_cursor(cursor.clone());
            there = there.with_cursor(cursor);
        }
    }
    for (name, text) in FILES {
        let (meta, bytes) = store.read(&key(name)).await.unwrap().unwrap();
        assert_eq!((bytes, meta.etag), (text.into(), bucket.head(&key(name)).await.unwrap().unwrap().etag));
    }
    assert_eq!(
        store.head(&key("a/b.css")).await.unwrap().unwrap().http.content_type.as_deref(),
        Some("text/css; charset=utf-8")
    );
    let some = GetOptions::default().with_range(Range::Suffix(2));
    assert_eq!(store.get(&key("z"), some).await.unwrap().into_object().unwrap().1.bytes().await.unwrap(), "st");
    let beyond = GetOptions::default().with_range(Range::From { offset: 4, length: None });
    assert_eq!(store.get(&key("z"), beyond).await.unwrap_err().kind(), ErrorKind::InvalidRange);
}

#[tokio::test]
async fn a_changed_file_is_another_object() {
    let folder = folder();
    let store = Directory::open(folder.path()).await.unwrap();
    let before = store.head(&key("z")).await.unwrap().unwrap();
    let same = GetOptions::default().with_conditions(Conditions::if_etag(before.etag.clone()).unwrap());
    assert!(matches!(store.get(&key("z"), same.clone()).await.unwrap(), GetResult::Object { .. }));
    fs::write(folder.path().join("z"), "later").unwrap();
    assert!(matches!(store.get(&key("z"), same).await.unwrap(), GetResult::ConditionFailed(_)));
    let after = store.head(&key("z")).await.unwrap().unwrap();
    assert!(after.etag != before.etag && after.version != before.version);
}

#[tokio::test]
async fn nothing_outside_is_read_and_nothing_is_written() {
    let outer = tempfile::tempdir().unwrap();
    let folder = folder();
    fs::write(outer.path().join("secret"), "secret").unwrap();
    let store = Directory::open(folder.path()).await.unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(outer.path().join("secret"), folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("z"), folder.path().join("within")).unwrap();
        assert!(store.head(&key("link")).await.unwrap().is_none());
        assert_eq!(store.read(&key("within")).await.unwrap().unwrap().1, "last");
        // What a listing would miss in silence it names.
        let error = store.list(ListOptions::default().with_prefix("link")).await.unwrap_err();
        assert!(error.to_string().contains("link is a link out of the folder"), "{error}");
        let options = DirectoryOptions::default().with_take(|name| name != "link");
        let store = Directory::open_with(folder.path(), options).await.unwrap();
        assert_eq!(store.list(ListOptions::default().with_prefix("link")).await.unwrap().objects.len(), 0);
        assert_eq!(store.list(ListOptions::default().with_prefix("within")).await.unwrap().objects.len(), 1);
    }
    for name in ["../secret", "a/../z", "a//b.css", "/etc/passwd", "a/", "a", "./z", "none", "z/none", "\0"] {
        assert!(store.read(&Key::new(name).unwrap()).await.unwrap().is_none(), "{name:?}");
    }
    assert_eq!(store.write(&key("new"), "x").await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(store.delete(&[key("z")]).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert!(folder.path().join("z").exists() && !folder.path().join("new").exists());
    let error = Directory::open(folder.path().join("none")).await.unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
}

#[tokio::test]
async fn state_and_secrets_are_no_objects() {
    let folder = folder();
    for name in [".isobar/keyring", ".env", ".dev.vars", "keyring", ".env.example"] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    let bucket = isobar_storage::local::LocalStore::open(folder.path().join("data/r2/assets")).await.unwrap();
    bucket.write(&key("a"), "a").await.unwrap();
    let store = Directory::open(folder.path()).await.unwrap();
    let listed = store.list(ListOptions::default()).await.unwrap().objects;
    let keys: Vec<&str> = listed.iter().map(|meta| meta.key.as_str()).collect();
    assert_eq!(keys, [".env.example", "a-b.txt", "a.html", "a/b.css", "a/c/d.js", "z", "ü.txt"]);
    for name in [".isobar/keyring", ".env", ".dev.vars", "keyring", "data/r2/assets/index.db"] {
        assert!(store.read(&key(name)).await.unwrap().is_none(), "{name}");
        assert!(store.head(&key(name)).await.unwrap().is_none(), "{name}");
    }
    let error = Directory::open(folder.path().join("data/r2/assets")).await.unwrap_err();
    assert!(error.to_string().contains("is inside the state folder"), "{error}");
}
