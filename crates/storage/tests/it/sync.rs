//! A folder into a bucket.

use std::fs;

use isobar_storage::memory::MemoryStore;
use isobar_storage::sync::{ApplyOptions, apply, apply_across, apply_down, everything, plan, plan_across, plan_down};
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

    let first = plan(folder.path(), &store, "static/", &everything).await.unwrap();
    assert_eq!(names(&first), ["static/Makefile", "static/css/a b.css", "static/empty", "static/index.html"]);
    assert_eq!((first.unchanged, first.ignored, first.bytes(), first.extra.len()), (0, 1, 15, 1));
    let mut seen = 0;
    apply(&first, &store, &ApplyOptions::default(), |_| seen += 1).await.unwrap();
    assert_eq!(seen, 4);
    let meta = store.head(&Key::new("static/css/a b.css").unwrap()).await.unwrap().unwrap();
    assert_eq!(meta.http.content_type.as_deref(), Some("text/css; charset=utf-8"));
    assert!(store.head(&Key::new("static/old.html").unwrap()).await.unwrap().is_some());

    write("index.html", "HOME");
    let second = plan(folder.path(), &store, "static/", &everything).await.unwrap();
    assert_eq!((names(&second), second.unchanged), (vec!["static/index.html"], 3));
    apply(&second, &store, &ApplyOptions::default().with_delete(true), |_| {}).await.unwrap();
    assert!(store.head(&Key::new("static/old.html").unwrap()).await.unwrap().is_none());
    assert!(store.head(&Key::new("other/kept.html").unwrap()).await.unwrap().is_some());
    let third = plan(folder.path(), &store, "static/", &everything).await.unwrap();
    assert!(third.uploads.is_empty() && third.extra.is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let error = plan("/no/such/folder", &MemoryStore::new(), "", &everything).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/folder"), "{error}");
}

#[tokio::test]
async fn a_bucket_comes_into_a_folder_and_back_unchanged() {
    let store = MemoryStore::new();
    let key = |name: &str| Key::new(name).unwrap();
    for (name, text) in [("a.txt", "a"), ("deep/er/b.txt", "b"), ("empty.txt", ""), ("skip.map", "m")] {
        store.write(&key(&format!("site/{name}")), text).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("not/there/yet");
    let filter = |name: &str| !name.ends_with(".map");
    let first = plan_down(&store, "site/", &root, &filter).await.unwrap();
    assert_eq!((first.downloads.len(), first.bytes(), first.ignored, first.unchanged), (3, 2, 1, 0));
    let mut seen = 0;
    apply_down(&first, &store, &ApplyOptions::default(), |_| seen += 1).await.unwrap();
    assert_eq!((seen, fs::read_to_string(root.join("deep/er/b.txt")).unwrap()), (3, "b".to_owned()));

    fs::write(root.join("a.txt"), "changed").unwrap();
    fs::write(root.join("mine.txt"), "mine").unwrap();
    fs::write(root.join("mine.map"), "kept").unwrap();
    let second = plan_down(&store, "site/", &root, &filter).await.unwrap();
    assert_eq!((second.downloads.len(), second.unchanged), (1, 2));
    assert_eq!(second.extra, [root.join("mine.txt")]);
    apply_down(&second, &store, &ApplyOptions::default(), |_| {}).await.unwrap();
    assert!(root.join("mine.txt").exists());
    apply_down(&second, &store, &ApplyOptions::default().with_delete(true), |_| {}).await.unwrap();
    assert!(!root.join("mine.txt").exists() && root.join("mine.map").exists());
    assert_eq!(fs::read_to_string(root.join("a.txt")).unwrap(), "a");
    let names: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "nothing half done is left: {names:?}");

    let up = plan(&root, &store, "site/", &filter).await.unwrap();
    assert!(up.uploads.is_empty() && up.extra.is_empty(), "{up:?}");
}

#[tokio::test]
async fn keys_that_a_folder_cannot_have_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let key = |name: &str| Key::new(name).unwrap();
    for names in [&["../out"][..], &["a//b"], &["a/./b"], &["folder/"], &["/etc/x"], &["a", "a/b"]] {
        let store = MemoryStore::new();
        for name in names {
            store.write(&key(name), "x").await.unwrap();
        }
        let error = plan_down(&store, "", folder.path(), &everything).await.unwrap_err();
        assert_eq!(error.kind(), isobar_storage::ErrorKind::InvalidKey, "{names:?}: {error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_repository_is_not_written_into_nor_what_a_link_leads_to() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let store = MemoryStore::new();
    for name in [".git/hooks/pre-commit", "deep/.git/config", "kept.txt"] {
        store.write(&Key::new(name).unwrap(), "x").await.unwrap();
    }
    let planned = plan_down(&store, "", folder.path(), &everything).await.unwrap();
    assert_eq!((planned.downloads.len(), planned.ignored), (1, 2));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("media")).unwrap();
        store.write(&Key::new("media/a/x").unwrap(), "x").await.unwrap();
        let error = plan_down(&store, "", folder.path(), &everything).await.unwrap_err();
        assert!(error.to_string().contains("media is a link"), "{error}");
        assert!(error.to_string().contains("--follow-links"), "{error}");
    }
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_download_that_breaks_off_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a");
    fs::write(&file, "old").unwrap();
    let store = isobar_storage::mock::MockStore::new(MemoryStore::new());
    store.write(&Key::new("a").unwrap(), "new one").await.unwrap();
    let planned = plan_down(&store, "", folder.path(), &everything).await.unwrap();
    let gone = isobar_storage::Error::new(isobar_storage::ErrorKind::Unavailable, "the cable is out");
    store.script().fail_next("get", gone);
    let error = apply_down(&planned, &store, &ApplyOptions::default(), |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("the cable is out") && error.to_string().contains("/a"), "{error}");
    assert_eq!((fs::read_to_string(&file).unwrap(), fs::read_dir(folder.path()).unwrap().count()), ("old".into(), 1));
}

#[tokio::test]
async fn objects_that_stand_for_folders_make_folders_and_are_not_extra() {
    let folder = tempfile::tempdir().unwrap();
    let store = MemoryStore::new();
    for name in ["site/", "site/media/", "site/media/deep/", "site/a/", "site/a/b.txt"] {
        store.write(&Key::new(name).unwrap(), if name.ends_with(".txt") { "b" } else { "" }).await.unwrap();
    }
    let planned = plan_down(&store, "site/", folder.path(), &everything).await.unwrap();
    assert_eq!((planned.downloads.len(), planned.folders.len()), (1, 3));
    apply_down(&planned, &store, &ApplyOptions::default().with_delete(true), |_| {}).await.unwrap();
    assert!(folder.path().join("media/deep").is_dir() && folder.path().join("a/b.txt").is_file());
    let again = plan_down(&store, "site/", folder.path(), &everything).await.unwrap();
    assert_eq!((again.downloads.len(), again.folders.len(), again.extra.len()), (0, 0, 0));
    let up = plan(folder.path(), &store, "site/", &everything).await.unwrap();
    assert!(up.extra.is_empty() && up.uploads.is_empty(), "{up:?}");
    fs::remove_dir_all(folder.path().join("media")).unwrap();
    let up = plan(folder.path(), &store, "site/", &everything).await.unwrap();
    assert_eq!(up.extra.len(), 2, "a folder that is gone: {up:?}");
}

#[tokio::test]
async fn names_longer_than_a_file_may_have_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = MemoryStore::new();
    store.write(&Key::new("a.txt").unwrap(), "a").await.unwrap();
    store.write(&Key::new("n".repeat(256)).unwrap(), "n").await.unwrap();
    let error = plan_down(&store, "", folder.path(), &everything).await.unwrap_err();
    assert!(error.to_string().contains("255 bytes"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    plan_down(&store, "", folder.path(), &|name| name.len() < 100).await.unwrap();
}

#[tokio::test]
async fn a_file_that_appears_after_the_plan_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let store = MemoryStore::new();
    store.write(&Key::new("a.txt").unwrap(), "theirs").await.unwrap();
    let planned = plan_down(&store, "", folder.path(), &everything).await.unwrap();
    // As it is where the file system takes `A.txt` and `a.txt` for one.
    fs::write(folder.path().join("a.txt"), "mine").unwrap();
    let error = apply_down(&planned, &store, &ApplyOptions::default(), |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("a.txt") && error.to_string().contains("in case"), "{error}");
    assert_eq!(fs::read_to_string(folder.path().join("a.txt")).unwrap(), "mine");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_bucket_is_synced_into_another_with_its_metadata() {
    let one = MemoryStore::new();
    let other = MemoryStore::new();
    let key = |name: &str| Key::new(name).unwrap();
    let options = isobar_storage::PutOptions::default().with_content_type("text/x-own");
    one.write_with(&key("site/a"), "a", options).await.unwrap().stored().unwrap();
    one.write(&key("site/deep/b.txt"), "b").await.unwrap();
    one.write(&key("site/c.map"), "c").await.unwrap();
    other.write(&key("copy/old"), "old").await.unwrap();
    let filter = |name: &str| !name.ends_with(".map");
    let planned = plan_across(&one, "site/", &other, "copy/", &filter).await.unwrap();
    assert_eq!((planned.transfers.len(), planned.bytes(), planned.extra.len(), planned.ignored), (2, 2, 1, 1));
    apply_across(&planned, &one, &other, &ApplyOptions::default().with_delete(true), |_| {}).await.unwrap();
    let meta = other.head(&key("copy/a")).await.unwrap().unwrap();
    assert_eq!(meta.http.content_type.as_deref(), Some("text/x-own"));
    assert!(other.head(&key("copy/old")).await.unwrap().is_none());
    let again = plan_across(&one, "site/", &other, "copy/", &filter).await.unwrap();
    assert_eq!((again.transfers.len(), again.unchanged, again.extra.len()), (0, 2, 0));
}
