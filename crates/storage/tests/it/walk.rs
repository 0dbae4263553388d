//! Tests of the entries of a folder that take part, and of those left out or refused by name.

use std::fs;
use std::path::{Path, PathBuf};

use isobar_storage::local::LocalStore;
use isobar_storage::memory::MemoryStore;
use isobar_storage::sync::{ApplyOptions, apply, apply_down, everything, plan, plan_down, plan_down_with, plan_with};
use isobar_storage::walk::{Reason, WalkOptions, create_state_folder, walk};
use isobar_storage::{Key, ObjectStore, ObjectStoreExt};

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A keyring's line: 32 bytes in base64.
const KEY: &str = "first:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";

/// A site with every kind of state beside its two files; the folders that hold state.
async fn project() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write(here, "index.html", "home");
    write(here, ".env.example", "NAME=");
    for secret in [".env", ".env.local", ".dev.vars", ".dev.vars.staging", "keyring", "deep/old.keyring"] {
        write(here, secret, "secret");
    }
    write(here, "notes.txt", KEY);
    write(here, ".git/HEAD", "ref");
    write(here, ".wrangler/state/v3/r2/x", "x");
    write(here, "persisted/v3/r2/miniflare-R2BucketObject/x.sqlite", "x");
    // By its name, by its mark, by its content, and by configuration alone.
    write(here, ".isobar/r2/assets/index.db", "x");
    create_state_folder(here.join("marked")).unwrap();
    write(here, "marked/anything", "x");
    let store = LocalStore::open(here.join("data/r2/assets")).await.unwrap();
    store.write(&Key::new("a").unwrap(), "a").await.unwrap();
    LocalStore::open(here.join("lone")).await.unwrap();
    write(here, "configured/anything", "x");
    write(here, "secrets/ring", "x");
    let state = vec![here.join("configured"), here.join("secrets/ring")];
    (folder, state)
}

#[tokio::test]
async fn state_and_secrets_are_not_uploaded_wherever_and_under_whatever_name_they_are() {
    let (folder, state) = project().await;
    let store = MemoryStore::new();
    store.write(&Key::new(".env").unwrap(), "published by mistake").await.unwrap();
    let options = WalkOptions::default().with_state(state);
    let planned = plan_with(folder.path(), &store, "", &everything, &options).await.unwrap();
    let keys: Vec<&str> = planned.uploads.iter().map(|upload| upload.key.as_str()).collect();
    assert_eq!(keys, [".env.example", "index.html"]);
    assert_eq!(planned.extra, [Key::new(".env").unwrap()], "what is published already may be deleted");
    let left_out = |reason| planned.left_out.iter().filter(|left_out| left_out.reason == reason).count();
    assert_eq!(left_out(Reason::State), 5, "{:?}", planned.left_out);
    assert_eq!(left_out(Reason::WranglerState), 2, "{:?}", planned.left_out);
    assert_eq!(left_out(Reason::Secret), 8, "{:?}", planned.left_out);
    assert_eq!((left_out(Reason::System), planned.ignored), (1, 16));
}

#[tokio::test]
async fn a_folder_inside_state_is_neither_uploaded_nor_written_into() {
    let (folder, state) = project().await;
    let here = folder.path();
    let options = WalkOptions::default().with_state(state);
    write(here, "configured/deep/x", "x");
    for inside in
        [".isobar/r2", "marked", "data/r2/assets", "lone", "lone/packs", "configured/deep", "marked/new/folder"]
    {
        let store = MemoryStore::new();
        store.write(&Key::new("a").unwrap(), "a").await.unwrap();
        let up = plan_with(here.join(inside), &store, "", &everything, &options).await;
        let down = plan_down_with(&store, "", here.join(inside), &everything, &options).await.unwrap_err();
        assert!(up.is_err() && down.to_string().contains("is inside the state folder"), "{inside}: {down}");
    }
    // Where state has its home beside the site, what is beside it may be walked.
    let beside = WalkOptions::default().with_state([here.join("data/r2"), here.join("data/keyring")]);
    write(here, "data/site/index.html", "home");
    let planned = plan_with(here.join("data/site"), &MemoryStore::new(), "", &everything, &beside).await.unwrap();
    assert_eq!(planned.uploads.len(), 1);
    let planned = plan_with(here.join("data"), &MemoryStore::new(), "", &everything, &beside).await.unwrap();
    assert_eq!(planned.uploads.len(), 1);
}

#[tokio::test]
async fn files_of_a_user_that_are_called_as_ours_are_published() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let names = [
        "app/d1/site.sqlite",
        "app/index.html",
        "d1/seed.sqlite",
        "index.db",
        "packs/textures.pack",
        "r2/photos/index.db",
        "search/index.db",
        "search/objects/a",
        "sessions/talks/host.lock",
    ];
    for name in names {
        write(here, name, "a user's");
    }
    let planned = plan(here, &MemoryStore::new(), "", &everything).await.unwrap();
    let keys: Vec<&str> = planned.uploads.iter().map(|upload| upload.key.as_str()).collect();
    assert_eq!(keys, names);
    assert_eq!(planned.left_out, []);
    plan(here.join("app/d1"), &MemoryStore::new(), "", &everything).await.unwrap();
}

#[tokio::test]
async fn databases_in_a_state_folder_are_not_published() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write(here, "index.html", "home");
    create_state_folder(here.join("marked")).unwrap();
    LocalStore::open(here.join("with-bucket/r2/assets")).await.unwrap();
    write(here, "with-sessions/sessions/Room/host.lock", "");
    write(here, "with-sessions/sessions/Room/index.db", "x");
    // A bucket whose index is lost is a bucket all the same.
    LocalStore::open(here.join("lost/r2/assets")).await.unwrap();
    fs::remove_file(here.join("lost/r2/assets/index.db")).unwrap();
    for root in ["marked", ".isobar", "configured", "with-bucket", "with-sessions", "lost"] {
        write(here, &format!("{root}/d1/site.sqlite"), "passwords");
    }
    let options = WalkOptions::default().with_state([here.join("configured")]);
    let planned = plan_with(here, &MemoryStore::new(), "", &everything, &options).await.unwrap();
    let keys: Vec<&str> = planned.uploads.iter().map(|upload| upload.key.as_str()).collect();
    assert_eq!(keys, ["index.html"]);
}

#[tokio::test]
async fn nothing_is_deleted_where_state_is_and_secrets_are_not_overwritten() {
    let (folder, state) = project().await;
    let here = folder.path();
    let options = WalkOptions::default().with_state(state);
    let store = MemoryStore::new();
    for name in ["index.html", ".env", "configured/anything", "lone/index.db", "notes.txt", "new.txt"] {
        store.write(&Key::new(name).unwrap(), "theirs").await.unwrap();
    }
    let planned = plan_down_with(&store, "", here, &everything, &options).await.unwrap();
    let downloads: Vec<&str> = planned.downloads.iter().map(|download| download.key.as_str()).collect();
    assert_eq!(downloads, ["index.html", "new.txt"]);
    assert_eq!(planned.extra, [here.join(".env.example")]);
    let delete = ApplyOptions::default().with_delete(true);
    let error = apply_down(&planned, &store, &delete, |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("state of isobar"), "{error}");
    assert_eq!(fs::read_to_string(here.join("index.html")).unwrap(), "home", "it is refused before anything is done");
    apply_down(&planned, &store, &ApplyOptions::default(), |_| {}).await.unwrap();
    assert_eq!(fs::read_to_string(here.join("new.txt")).unwrap(), "theirs");
    assert_eq!(fs::read_to_string(here.join("configured/anything")).unwrap(), "x");
    assert_eq!(fs::read_to_string(here.join(".env")).unwrap(), "secret");
    // Without a state folder of isobar's in it, all else goes, and secrets stay.
    let folder = tempfile::tempdir().unwrap();
    for name in [".env", "keyring", ".wrangler/x", ".git/HEAD", "gone.txt"] {
        write(folder.path(), name, "x");
    }
    let planned = plan_down(&store, "", folder.path(), &everything).await.unwrap();
    apply_down(&planned, &store, &delete, |_| {}).await.unwrap();
    for name in [".env", "keyring", ".wrangler/x", ".git/HEAD"] {
        assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), "x", "{name}");
    }
    assert!(!folder.path().join("gone.txt").exists());
}

#[cfg(unix)]
mod unix {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[tokio::test]
    async fn links_inside_are_followed_and_links_out_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let here = folder.path();
        write(here, "images/a.png", "a");
        write(outside.path(), "secret.txt", "secret");
        symlink("images/a.png", here.join("first.png")).unwrap();
        symlink(here.join("images"), here.join("media")).unwrap();
        let store = MemoryStore::new();
        let planned = plan(here, &store, "", &everything).await.unwrap();
        let keys: Vec<&str> = planned.uploads.iter().map(|upload| upload.key.as_str()).collect();
        assert_eq!(keys, ["first.png", "images/a.png", "media/a.png"]);
        apply(&planned, &store, &ApplyOptions::default(), |_| {}).await.unwrap();
        assert_eq!(store.read(&Key::new("media/a.png").unwrap()).await.unwrap().unwrap().1, "a");

        symlink(outside.path().join("secret.txt"), here.join("pw.txt")).unwrap();
        symlink(outside.path(), here.join("out")).unwrap();
        symlink("nowhere", here.join("dangling")).unwrap();
        let error = plan(here, &store, "", &everything).await.unwrap_err().to_string();
        for part in ["pw.txt is a link out", "out is a link out", "dangling is a link to nowhere", "--follow-links"] {
            assert!(error.contains(part), "{error}");
        }
        // What a filter leaves out is not refused.
        let filter = |name: &str| !["pw.txt", "out/", "dangling"].contains(&name);
        assert_eq!(plan(here, &store, "", &filter).await.unwrap().ignored, 3);
        let follow = WalkOptions::default().with_follow_links(true);
        let planned = plan_with(here, &store, "", &|name| name != "dangling", &follow).await.unwrap();
        apply(&planned, &store, &ApplyOptions::default(), |_| {}).await.unwrap();
        assert_eq!(store.read(&Key::new("out/secret.txt").unwrap()).await.unwrap().unwrap().1, "secret");
    }

    #[tokio::test]
    async fn loops_of_links_end() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        write(here, "a/b/x.txt", "x");
        symlink("..", here.join("a/b/up")).unwrap();
        symlink(".", here.join("self")).unwrap();
        symlink("../other", here.join("a/other")).unwrap();
        write(here, "other/y.txt", "y");
        symlink("../a", here.join("other/a")).unwrap();
        let found = walk(here, &WalkOptions::default()).await.unwrap();
        assert!(found.left_out.iter().all(|left_out| left_out.reason == Reason::Loop), "{:?}", found.left_out);
        assert!(found.left_out.iter().any(|left_out| left_out.name == "self"));
        let names: Vec<&str> = found.files.keys().map(String::as_str).collect();
        assert_eq!(names, ["a/b/x.txt", "a/other/y.txt", "other/a/b/x.txt", "other/y.txt"]);
        symlink("knot", here.join("knot")).unwrap();
        assert_eq!(walk(here, &WalkOptions::default()).await.unwrap().refused.len(), 1);
        // Out and in again.
        fs::remove_file(here.join("knot")).unwrap();
        symlink(here.parent().unwrap(), here.join("out")).unwrap();
        let found = walk(here, &WalkOptions::default()).await.unwrap();
        assert_eq!(found.refused.len(), 1, "{:?}", found.refused);
    }

    #[tokio::test]
    async fn a_link_to_state_is_left_out_under_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let here = folder.path();
        write(here, ".isobar/keyring", KEY);
        write(here, ".env", "secret");
        create_state_folder(outside.path().join("state")).unwrap();
        write(&outside.path().join("state"), "r2/x", "x");
        symlink(".isobar", here.join("pub")).unwrap();
        symlink(".isobar/keyring", here.join("ring.html")).unwrap();
        symlink(".env", here.join("env.txt")).unwrap();
        symlink(outside.path().join("state/r2"), here.join("far")).unwrap();
        fs::hard_link(here.join(".isobar/keyring"), here.join("hard.html")).unwrap();
        let options = WalkOptions::default().with_follow_links(true).with_state([here.join(".isobar/keyring")]);
        let found = walk(here, &options).await.unwrap();
        assert!(found.files.is_empty() && found.refused.is_empty(), "{found:?}");
        assert_eq!(found.left_out.len(), 7);
    }

    #[tokio::test]
    async fn fifos_and_sockets_are_left_out_and_nothing_waits_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        write(here, "index.html", "home");
        assert!(std::process::Command::new("mkfifo").arg(here.join("pipe")).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(here.join("socket")).unwrap();
        symlink("pipe", here.join("to-pipe")).unwrap();
        let planned = plan(here, &MemoryStore::new(), "", &everything).await.unwrap();
        let shown: Vec<String> = planned.left_out.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["pipe (a FIFO)", "socket (a socket)", "to-pipe (a FIFO)"]);
        let opened = isobar_storage::sync::open_file(here.join("pipe")).await;
        assert!(opened.unwrap_err().to_string().contains("not a regular file"));
        let store = isobar_storage::directory::Directory::open(here).await.unwrap();
        assert!(store.read(&Key::new("pipe").unwrap()).await.unwrap().is_none());
        assert_eq!(store.list(Default::default()).await.unwrap().objects.len(), 1);
    }

    #[tokio::test]
    async fn names_that_are_not_utf8_and_folders_that_cannot_be_read_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        write(here, "index.html", "home");
        fs::write(here.join(std::ffi::OsStr::from_bytes(b"caf\xe9.html")), "x").unwrap();
        let error = plan(here, &MemoryStore::new(), "", &everything).await.unwrap_err().to_string();
        assert!(error.contains("the name of caf\u{fffd}.html is not UTF-8"), "{error}");
        plan(here, &MemoryStore::new(), "", &|name| !name.starts_with("caf")).await.unwrap();
        write(here, "private/x", "x");
        fs::set_permissions(here.join("private"), fs::Permissions::from_mode(0o000)).unwrap();
        if fs::read_dir(here.join("private")).is_err() {
            let error = plan(here, &MemoryStore::new(), "", &everything).await.unwrap_err().to_string();
            assert!(error.contains("private cannot be read"), "{error}");
        }
        fs::set_permissions(here.join("private"), fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[tokio::test]
    async fn a_link_that_comes_between_plan_and_upload_is_not_followed_out() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let here = folder.path();
        write(here, "deep/a.txt", "a");
        write(outside.path(), "a.txt", "s");
        let store = MemoryStore::new();
        let planned = plan(here, &store, "", &everything).await.unwrap();
        fs::remove_dir_all(here.join("deep")).unwrap();
        symlink(outside.path(), here.join("deep")).unwrap();
        let error = apply(&planned, &store, &ApplyOptions::default(), |_| {}).await.unwrap_err();
        assert!(error.to_string().contains("deep/a.txt"), "{error}");
        assert!(store.head(&Key::new("deep/a.txt").unwrap()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_link_that_comes_between_plan_and_download_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let here = folder.path();
        write(here, "deep/gone.txt", "x");
        write(outside.path(), "gone.txt", "x");
        let store = MemoryStore::new();
        store.write(&Key::new("deep/a.txt").unwrap(), "a").await.unwrap();
        let planned = plan_down(&store, "", here, &everything).await.unwrap();
        fs::remove_dir_all(here.join("deep")).unwrap();
        symlink(outside.path(), here.join("deep")).unwrap();
        let delete = ApplyOptions::default().with_delete(true);
        assert!(apply_down(&planned, &store, &delete, |_| {}).await.is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        assert!(outside.path().join("gone.txt").exists());
    }

    #[tokio::test]
    async fn a_download_goes_through_links_inside_and_deletes_nothing_behind_them() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        write(here, "images/a.png", "a");
        symlink("images", here.join("media")).unwrap();
        symlink("images/a.png", here.join("first.png")).unwrap();
        let store = MemoryStore::new();
        store.write(&Key::new("images/a.png").unwrap(), "a").await.unwrap();
        store.write(&Key::new("media/b.png").unwrap(), "b").await.unwrap();
        let planned = plan_down(&store, "", here, &everything).await.unwrap();
        assert_eq!(planned.extra, [here.join("first.png")]);
        apply_down(&planned, &store, &ApplyOptions::default().with_delete(true), |_| {}).await.unwrap();
        assert_eq!(fs::read_to_string(here.join("images/a.png")).unwrap(), "a");
        assert_eq!(fs::read_to_string(here.join("images/b.png")).unwrap(), "b");
        assert!(here.join("first.png").symlink_metadata().is_err());
    }
}
