//! A folder into a bucket.

use std::fs;

use isobar_storage::memory::MemoryStore;
use isobar_storage::sync::{ApplyOptions, apply, plan};
use isobar_storage::{Key, ObjectStore, ObjectStoreExt};

fn names(plan: &isobar_storage::sync::Plan) -> Vec<&str> {
    plan.uploads.iter().map(|upload| upload.key.as_str()).collect()
}

#[tokio::test]
async fn only_what_changed_is_uploaded_and_extra_objects_go_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (name, text) in
        [("index.html", "home"), ("css/a b.css", "body {}"), (".DS_Store", "x"), ("Makefile", "all:"), ("empty", "")]
    {
        write(name, text);
    }
    let store = MemoryStore::new();
    store.write(&Key::new("static/old.html").unwrap(), "old").await.unwrap();
    store.write(&Key::new("other/kept.html").unwrap(), "kept").await.unwrap();

    let first = plan(folder.path(), &store, "static/").await.unwrap();
    assert_eq!(names(&first), ["static/Makefile", "static/css/a b.css", "static/empty", "static/index.html"]);
    assert_eq!((first.unchanged, first.ignored, first.bytes(), first.extra.len()), (0, 1, 15, 1));
    let mut seen = 0;
    apply(&first, &store, &ApplyOptions::default(), |_| seen += 1).await.unwrap();
    assert_eq!(seen, 4);
    let meta = store.head(&Key::new("static/css/a b.css").unwrap()).await.unwrap().unwrap();
    assert_eq!(meta.http.content_type.as_deref(), Some("text/css; charset=utf-8"));
    assert!(store.head(&Key::new("static/old.html").unwrap()).await.unwrap().is_some());

    write("index.html", "HOME");
    let second = plan(folder.path(), &store, "static/").await.unwrap();
    assert_eq!((names(&second), second.unchanged), (vec!["static/index.html"], 3));
    apply(&second, &store, &ApplyOptions::default().with_delete(true), |_| {}).await.unwrap();
    assert!(store.head(&Key::new("static/old.html").unwrap()).await.unwrap().is_none());
    assert!(store.head(&Key::new("other/kept.html").unwrap()).await.unwrap().is_some());
    let third = plan(folder.path(), &store, "static/").await.unwrap();
    assert!(third.uploads.is_empty() && third.extra.is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let error = plan("/no/such/folder", &MemoryStore::new(), "").await.unwrap_err();
    assert!(error.to_string().contains("/no/such/folder"), "{error}");
}
