//! Tests of the files of a folder that `r2 sync`, `deploy` and `serve` include, leave out and refuse.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::site::Served;
use crate::{CONFIG, folder, ok, refused, run};

fn write(here: &Path, name: &str, text: &str) {
    let path = here.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn keys(here: &Path, bucket: &str) -> Vec<String> {
    let listed = ok(here, &["r2", "object", "list", bucket, "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    listed["objects"].as_array().unwrap().iter().map(|object| object["key"].as_str().unwrap().to_owned()).collect()
}

/// A project whose state and secrets are beside its site.
fn project() -> tempfile::TempDir {
    let folder = folder();
    let here = folder.path();
    write(here, "index.html", "home");
    write(here, ".dev.vars", "SECRET=1");
    write(here, ".env", "SECRET=1");
    write(here, ".wrangler/state/v3/x", "x");
    ok(here, &["r2", "object", "put", "other/kept.txt", "--file", "index.html"]);
    ok(here, &["r2", "presign", "STORAGE/a"]);
    write(here, ".isobar/keyring", "secret");
    folder
}

#[test]
fn a_sync_with_delete_keeps_the_state_beside_it() {
    let folder = project();
    let here = folder.path();
    ok(here, &["r2", "object", "put", "assets/a.txt", "--file", "index.html"]);
    let told = refused(here, &["r2", "sync", "assets", ".", "--delete"]);
    assert!(told.contains("state of isobar") && told.contains(".isobar"), "{told}");
    assert!(refused(here, &["r2", "sync", "assets", ".", "--delete", "--dry-run"]).contains("state of isobar"));
    assert!(here.join("index.html").exists() && !here.join("a.txt").exists());
    assert_eq!(keys(here, "other"), ["kept.txt"]);
    // Without --delete it works, and a folder inside state is refused.
    ok(here, &["r2", "sync", "assets", "."]);
    assert!(here.join("a.txt").exists());
    for inside in [".isobar", ".isobar/r2/assets", "./.isobar/new"] {
        let told = refused(here, &["r2", "sync", "assets", inside]);
        assert!(told.contains("is inside the state folder"), "{told}");
    }
    assert!(refused(here, &["r2", "sync", ".isobar", "assets"]).contains("is inside the state folder"));
}

#[test]
fn databases_under_another_root_are_left_out_of_a_sync() {
    let folder = folder();
    let here = folder.path();
    write(here, "index.html", "home");
    write(here, "migrations/0001_t.sql", "CREATE TABLE t (n);");
    ok(here, &["--root", "one", "d1", "execute", "DB", "--command", "CREATE TABLE t (n)"]);
    ok(here, &["--root", "two", "d1", "time-travel", "enable", "DB"]);
    ok(here, &["--root", "three", "d1", "migrations", "apply", "DB"]);
    ok(here, &["r2", "sync", ".", "assets"]);
    assert!(!keys(here, "assets").iter().any(|key| key.contains(".sqlite")), "{:?}", keys(here, "assets"));
    assert!(keys(here, "assets").contains(&"index.html".to_owned()));
}

#[test]
fn state_and_secrets_are_neither_synced_nor_deployed_wherever_the_root_is() {
    for root in [".isobar", "data", "."] {
        let folder = project();
        let here = folder.path();
        fn with<'a>(root: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
            [&["--root", root], arguments].concat()
        }
        let output = run(here, &with(root, &["r2", "sync", ".", "assets/copy"]));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && told.contains("left out: ") && told.contains(".env (a secret)"), "{told}");
        let listed = ok(here, &with(root, &["r2", "object", "list", "assets"]));
        let lines: Vec<&str> = listed.lines().filter(|line| line.starts_with("copy/")).collect();
        assert_eq!(lines.len(), 2, "{root}: {listed}");
        let deployed = ok(here, &with(root, &["deploy", ".", "STORAGE/static"]));
        assert!(deployed.contains("2 files"), "{root}: {deployed}");
        // With another root the first one is still recognised.
        let deployed = ok(here, &["--root", "elsewhere", "deploy", ".", "STORAGE/static"]);
        assert!(deployed.contains("2 files"), "{root}: {deployed}");
    }
}

#[test]
fn a_site_that_is_the_project_serves_no_state_and_does_not_grow() {
    let folder = project();
    let here = folder.path();
    fs::write(here.join("wrangler.toml"), format!("{CONFIG}[assets]\ndirectory = \"./\"\n")).unwrap();
    for _ in 0..2 {
        let server = Served::start(here, &[], &[]);
        assert!(server.get("/").ends_with("home"));
        for path in ["/.isobar/keyring", "/.dev.vars", "/.env", "/.wrangler/state/v3/x"] {
            assert!(server.get(path).starts_with("HTTP/1.1 404"), "{path}");
        }
        drop(server);
    }
    let copied = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let copy = isobar_storage::local::LocalStore::open(here.join(".isobar/assets")).await.unwrap();
        isobar_storage::ObjectStore::list(&copy, Default::default()).await.unwrap().objects
    });
    let keys: Vec<&str> = copied.iter().map(|meta| meta.key.as_str()).collect();
    assert_eq!(keys, ["index.html", "wrangler.toml"]);
}

#[test]
fn links_have_one_policy_for_sync_deploy_and_serve() {
    let folder = folder();
    let here = folder.path();
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "secret.txt", "secret");
    write(here, "site/index.html", "home");
    write(here, "site/images/a.txt", "picture");
    symlink("images", here.join("site/media")).unwrap();
    symlink("index.html", here.join("site/first.html")).unwrap();
    fs::write(here.join("wrangler.toml"), format!("{CONFIG}[assets]\ndirectory = \"site\"\n")).unwrap();
    assert!(ok(here, &["r2", "sync", "site", "assets"]).starts_with("4 uploaded"));
    assert!(ok(here, &["deploy", "site", "STORAGE/static"]).contains("4 files"));
    assert!(Served::start(here, &[], &[]).get("/media/a.txt").ends_with("picture"));

    symlink(outside.path().join("secret.txt"), here.join("site/pw.txt")).unwrap();
    symlink(outside.path(), here.join("site/out")).unwrap();
    symlink("nowhere", here.join("site/dangling")).unwrap();
    for arguments in
        [&["r2", "sync", "site", "assets"][..], &["deploy", "site", "STORAGE/static"], &["serve", "--port", "0"]]
    {
        let told = refused(here, arguments);
        for part in [
            "pw.txt is a link out of the folder",
            "out is a link out",
            "dangling is a link to nowhere, which does not exist",
        ] {
            assert!(told.contains(part), "{arguments:?}: {told}");
        }
    }
    fs::remove_file(here.join("site/dangling")).unwrap();
    let exclude = ["r2", "sync", "site", "assets", "--exclude", "pw.txt", "--exclude", "out/**"];
    assert!(ok(here, &exclude).contains("2 ignored"));
    assert!(ok(here, &["r2", "sync", "site", "assets", "--follow-links"]).starts_with("2 uploaded"));
    assert!(ok(here, &["deploy", "site", "STORAGE/static", "--follow-links"]).contains("6 files"));
    assert!(Served::start(here, &["--follow-links"], &[]).get("/out/secret.txt").ends_with("secret"));
}

#[test]
fn fifos_and_names_that_are_not_utf8_are_named_and_nothing_hangs() {
    use std::os::unix::ffi::OsStrExt;
    let folder = folder();
    let here = folder.path();
    write(here, "site/index.html", "home");
    assert!(std::process::Command::new("mkfifo").arg(here.join("site/pipe")).status().unwrap().success());
    fs::write(here.join("wrangler.toml"), format!("{CONFIG}[assets]\ndirectory = \"site\"\n")).unwrap();
    for arguments in [&["r2", "sync", "site", "assets"][..], &["deploy", "site", "STORAGE/static"]] {
        let output = run(here, arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && told.contains("left out: pipe (a FIFO)"), "{told}");
    }
    assert!(Served::start(here, &[], &[]).get("/").ends_with("home"));
    fs::write(here.join("site").join(std::ffi::OsStr::from_bytes(b"caf\xe9.html")), "x").unwrap();
    for arguments in
        [&["r2", "sync", "site", "assets"][..], &["deploy", "site", "STORAGE/static"], &["serve", "--port", "0"]]
    {
        assert!(refused(here, arguments).contains("is not UTF-8"), "{arguments:?}");
    }
}

#[test]
fn assetsignore_matches_names_in_another_case() {
    let folder = folder();
    let here = folder.path();
    write(here, "site/index.html", "home");
    write(here, "site/README.md", "internal");
    write(here, "site/Secret/plan.html", "internal");
    write(here, "site/.assetsignore", "\u{feff}readme.md\r\nsecret/\r\n_*\r\n");
    write(here, "site/_headers", "/*\n  X-Site: ours\n");
    fs::write(here.join("wrangler.toml"), format!("{CONFIG}[assets]\ndirectory = \"site\"\n")).unwrap();
    let server = Served::start(here, &[], &[]);
    for path in ["/README.md", "/Secret/plan"] {
        assert!(server.get(path).starts_with("HTTP/1.1 404"), "{path}");
    }
    assert!(server.get("/").contains("x-site: ours"), "rules are read whatever .assetsignore says");
    assert!(ok(here, &["deploy", "site", "STORAGE/static"]).contains("1 files"));
    write(here, "site/_worker.js", "code");
    ok(here, &["deploy", "site", "STORAGE/static"]);
    fs::remove_file(here.join("site/.assetsignore")).unwrap();
    assert!(
        refused(here, &["deploy", "site", "STORAGE/static"])
            .contains("_worker.js is server code that would become public")
    );
    fs::write(here.join("site/.assetsignore"), b"caf\xe9\n").unwrap();
    assert!(refused(here, &["deploy", "site", "STORAGE/static"]).contains("not UTF-8"));
}

/// Repeats a request until the response is as expected.
fn seen(server: &Served, path: &str, is: impl Fn(&str) -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    let mut answer = server.get(path);
    while !is(&answer) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
        answer = server.get(path);
    }
    assert!(is(&answer), "{path}: {answer}");
}

#[test]
fn edits_new_and_deleted_files_reach_the_served_site() {
    let folder = folder();
    let here = folder.path();
    write(here, "site/index.html", "first");
    write(here, "site/gone.html", "gone");
    fs::write(here.join("wrangler.toml"), format!("{CONFIG}[assets]\ndirectory = \"site\"\n")).unwrap();
    let server = Served::start(here, &[], &[]);
    assert!(server.get("/").ends_with("first") && server.get("/gone").ends_with("gone"));
    write(here, "site/index.html", "second");
    write(here, "site/new/page.html", "new");
    fs::remove_file(here.join("site/gone.html")).unwrap();
    seen(&server, "/", |answer| answer.ends_with("second"));
    seen(&server, "/new/page", |answer| answer.ends_with("new"));
    seen(&server, "/gone", |answer| answer.starts_with("HTTP/1.1 404"));
    write(here, "site/.assetsignore", "NEW\n");
    seen(&server, "/new/page", |answer| answer.starts_with("HTTP/1.1 404"));
    // A secret created while serving is not served.
    write(here, "site/.env", "SECRET=1");
    write(here, "site/index.html", "third");
    seen(&server, "/", |answer| answer.ends_with("third"));
    assert!(server.get("/.env").starts_with("HTTP/1.1 404"));
}

#[test]
fn two_servers_of_one_project_have_a_copy_each() {
    let folder = folder();
    let here = folder.path();
    write(here, "site/index.html", "home");
    fs::write(here.join("wrangler.toml"), format!("{CONFIG}[assets]\ndirectory = \"site\"\n")).unwrap();
    write(here, "other/index.html", "other");
    fs::write(here.join("other.toml"), format!("{CONFIG}[assets]\ndirectory = \"other\"\n")).unwrap();
    let one = Served::start(here, &[], &[]);
    let two = Served::start(here, &["--config", "other.toml"], &[]);
    assert!(one.get("/").ends_with("home") && two.get("/").ends_with("other"));
    write(here, "other/index.html", "another");
    seen(&two, "/", |answer| answer.ends_with("another"));
    assert!(one.get("/").ends_with("home"));
    assert!(here.join(".isobar/assets").is_dir() && here.join(".isobar/assets-2").is_dir());
}

#[test]
fn markers_of_folders_do_not_stop_a_download() {
    let folder = folder();
    let here = folder.path();
    write(here, "empty", "");
    write(here, "a.txt", "a");
    ok(here, &["r2", "object", "put", "assets/media/", "--file", "empty"]);
    ok(here, &["r2", "object", "put", "assets/media/a.txt", "--file", "a.txt"]);
    ok(here, &["r2", "object", "put", "assets/none/", "--file", "empty"]);
    assert!(ok(here, &["r2", "sync", "assets", "./back", "--delete"]).starts_with("1 downloaded"));
    assert!(here.join("back/media/a.txt").is_file() && here.join("back/none").is_dir());
}
