//! Tests of wrangler's options, and of the messages for mistyped names.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::{CONFIG, folder, ok, refused, run};

#[test]
fn reading_a_misspelt_bucket_creates_none_and_lists_the_existing_ones() {
    let folder = folder();
    let here = folder.path();
    fs::write(here.join("a.txt"), "a").unwrap();
    ok(here, &["r2", "object", "put", "other/a.txt", "--file", "a.txt"]);
    for arguments in [
        &["r2", "object", "list", "asets"][..],
        &["r2", "object", "get", "asets/a.txt"],
        &["r2", "object", "head", "asets/a.txt"],
        &["r2", "object", "delete", "asets/a.txt"],
        &["r2", "object", "copy", "asets/a.txt", "assets/b.txt"],
        &["r2", "presign", "asets/a.txt"],
        &["r2", "presign", "asets/a.txt", "--method", "put"],
        &["r2", "bucket", "info", "asets"],
        &["r2", "bucket", "delete", "asets"],
        &["r2", "fsck", "asets"],
        &["r2", "sync", "asets", "./back"],
        &["deploy", "list", "asets/static"],
        &["deploy", "rollback", "asets/static"],
    ] {
        let told = refused(here, arguments);
        assert!(told.contains("there is no bucket asets here; there are: "), "{arguments:?}: {told}");
        assert!(told.contains("assets (STORAGE, not used yet)") && told.contains("other"), "{arguments:?}: {told}");
        assert!(!here.join(".isobar/r2/asets").exists() && !here.join("back").exists(), "{arguments:?}");
    }
    // A configured bucket that was never used is empty, and reading it does not create it.
    assert_eq!(ok(here, &["r2", "object", "list", "STORAGE"]).lines().filter(|line| line.contains("a.txt")).count(), 0);
    assert!(refused(here, &["r2", "object", "get", "STORAGE/a.txt"]).contains("there is no object STORAGE/a.txt"));
    ok(here, &["r2", "object", "delete", "STORAGE/a.txt"]);
    ok(here, &["r2", "sync", "./", "STORAGE", "--dry-run"]);
    assert!(!here.join(".isobar/r2/assets").exists());
    // Creating a bucket by a write is reported.
    let made = run(here, &["r2", "object", "put", "asets/a.txt", "--file", "a.txt"]);
    let told = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success() && told.contains("note: the bucket asets is new"), "{told}");
}

#[test]
fn reading_before_the_first_write_creates_nothing() {
    let folder = folder();
    let here = folder.path();
    ok(here, &["r2", "object", "list", "assets"]);
    ok(here, &["r2", "bucket", "list"]);
    refused(here, &["r2", "object", "list", "nowhere"]);
    refused(here, &["r2", "object", "put", "assets/a", "--file", "none.txt"]);
    refused(here, &["deploy", "list", "assets/static"]);
    assert!(!here.join(".isobar").exists());
}

#[test]
fn errors_of_files_are_plain_and_name_them() {
    let folder = folder();
    let here = folder.path();
    fs::create_dir(here.join("site")).unwrap();
    fs::write(here.join("file"), "x").unwrap();
    let told = refused(here, &["r2", "object", "put", "assets/a", "--file", "nope.txt"]);
    assert_eq!(told.lines().last().unwrap(), "error: there is no file nope.txt");
    assert!(
        refused(here, &["r2", "object", "put", "assets/a", "--file", "site"]).contains("site is a folder, not a file")
    );
    let told = refused(here, &["deploy", "nope", "STORAGE/static"]);
    assert_eq!(told.lines().last().unwrap(), "error: cannot open nope: no such file or folder");
    let told = refused(here, &["r2", "sync", "./nope", "assets"]);
    assert_eq!(told.lines().last().unwrap(), "error: cannot open ./nope: no such file or folder");
    let told = refused(here, &["--root", "file/below", "r2", "object", "put", "assets/a", "--file", "file"]);
    assert!(told.contains("cannot create the state folder file/below"), "{told}");
    fs::write(here.join("wrangler.toml"), format!("{CONFIG}[assets]\ndirectory = \"nope\"\n")).unwrap();
    let told = refused(here, &["serve", "--port", "0"]);
    assert!(
        told.lines().last().unwrap().ends_with("nope: no such file or folder") && !told.contains("10001"),
        "{told}"
    );
}

#[test]
fn objects_are_put_and_got_with_wranglers_options() {
    let folder = folder();
    let here = folder.path();
    fs::write(here.join("a.txt"), "a").unwrap();
    let put = ["r2", "object", "put", "assets/a.txt", "--file", "a.txt", "--local", "-y", "--persist-to", "state"];
    ok(here, &[&put[..], &["--expires", "Wed, 21 Oct 2026 07:28:00 GMT", "--cl", "en", "--cd", "inline"]].concat());
    let head = ok(here, &["r2", "object", "head", "assets/a.txt", "--json", "--persist-to", "state"]);
    let head: serde_json::Value = serde_json::from_str(&head).unwrap();
    assert_eq!(head["httpMetadata"]["cacheExpiry"], "2026-10-21T07:28:00Z", "{head}");
    assert_eq!(head["httpMetadata"]["contentLanguage"], "en");
    assert!(here.join("state/r2/assets").exists() && !here.join(".isobar").exists());
    ok(here, &["r2", "object", "delete", "assets/a.txt", "--local", "--force", "--persist-to", "state"]);

    let mut piped = Command::new(env!("CARGO_BIN_EXE_isobar"))
        .args(["r2", "object", "put", "assets/in.txt", "--file", "-"])
        .current_dir(here)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    piped.stdin.take().unwrap().write_all(b"piped").unwrap();
    assert!(piped.wait().unwrap().success());
    assert_eq!(ok(here, &["r2", "object", "get", "assets/in.txt", "--file", "-"]), "piped");
    ok(here, &["r2", "object", "get", "assets/in.txt", "--file", "deep/er/in.txt"]);
    assert_eq!(fs::read_to_string(here.join("deep/er/in.txt")).unwrap(), "piped");
    // A link stays a link, and a special file is written to.
    std::os::unix::fs::symlink("deep/er/in.txt", here.join("link.txt")).unwrap();
    ok(here, &["r2", "object", "get", "assets/in.txt", "--file", "link.txt"]);
    assert!(here.join("link.txt").is_symlink());
    ok(here, &["r2", "object", "get", "assets/in.txt", "--file", "/dev/null"]);
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
    let remote = refused(here, &["r2", "object", "get", "assets/in.txt", "--remote"]);
    assert!(remote.contains("needs R2_ACCESS_KEY_ID"), "{remote}");
    assert!(
        refused(here, &["r2", "object", "get", "assets/in.txt", "--remote", "--local"]).contains("cannot be used with")
    );
}

#[test]
fn bulk_put_stores_the_objects_of_a_list() {
    let folder = folder();
    let here = folder.path();
    for name in ["a.css", "b.css"] {
        fs::write(here.join(name), name).unwrap();
    }
    fs::write(here.join("list.json"), r#"[{"key": "static/a.css", "file": "a.css"}, {"key": "b", "file": "./b.css"}]"#)
        .unwrap();
    let told =
        ok(here, &["r2", "bulk", "put", "assets", "--filename", "list.json", "--cc", "no-store", "--concurrency", "5"]);
    assert!(told.starts_with("put 2 objects into assets"), "{told}");
    assert_eq!(ok(here, &["r2", "object", "get", "assets/b", "--pipe"]), "b.css");
    assert!(ok(here, &["r2", "object", "head", "assets/static/a.css"]).contains("no-store"));
    for (list, part) in [
        (r#"[{"key": "x", "file": "none"}]"#, "entry 1: there is no file none"),
        (r#"[{"key": "x", "file": "."}]"#, "is not a file"),
        (r#"[{"key": "x"}]"#, "missing field `file`"),
        ("{", "is not a list of objects"),
    ] {
        fs::write(here.join("list.json"), list).unwrap();
        let told = refused(here, &["r2", "bulk", "put", "assets", "-f", "list.json"]);
        assert!(told.contains(part), "{list}: {told}");
    }
}

#[test]
fn buckets_are_made_and_deleted() {
    let folder = folder();
    let here = folder.path();
    fs::write(here.join("a.txt"), "a").unwrap();
    ok(here, &["r2", "bucket", "create", "media", "--storage-class", "Standard"]);
    assert!(refused(here, &["r2", "bucket", "create", "media"]).contains("the bucket media already exists"));
    assert!(ok(here, &["r2", "bucket", "list"]).contains("media"));
    ok(here, &["r2", "object", "put", "media/a.txt", "--file", "a.txt"]);
    assert!(refused(here, &["r2", "bucket", "delete", "media"]).contains("is not empty"));
    ok(here, &["r2", "object", "delete", "media/a.txt"]);
    ok(here, &["r2", "bucket", "delete", "media"]);
    assert!(!here.join(".isobar/r2/media").exists());
    assert!(refused(here, &["r2", "bucket", "create", "../x"]).contains("invalid bucket or database name"));
    let told = refused(here, &["r2", "bucket", "create", "x", "--remote"]);
    assert!(told.contains("CLOUDFLARE_ACCOUNT_ID"), "{told}");
}

#[test]
fn a_bucket_is_synced_into_another_and_within_itself() {
    let folder = folder();
    let here = folder.path();
    fs::write(here.join("a.txt"), "a").unwrap();
    ok(here, &["r2", "object", "put", "assets/static/a.txt", "--file", "a.txt", "--cc", "no-store"]);
    let dry = ok(here, &["r2", "sync", "STORAGE/static", "backup/copy", "--dry-run"]);
    assert!(
        dry.contains("copy    STORAGE/static/a.txt to backup/copy/a.txt") && dry.contains("1 would be copied"),
        "{dry}"
    );
    assert!(!here.join(".isobar/r2/backup").exists());
    assert!(ok(here, &["r2", "sync", "STORAGE/static", "local:backup/copy", "--delete"]).starts_with("1 copied"));
    assert!(ok(here, &["r2", "object", "head", "backup/copy/a.txt"]).contains("no-store"));
    assert!(ok(here, &["r2", "sync", "assets/static", "STORAGE/other"]).starts_with("1 copied"));
    assert!(ok(here, &["r2", "sync", "assets/static", "STORAGE/other"]).contains("1 unchanged"));
    assert!(
        refused(here, &["r2", "sync", "assets", "STORAGE/other"]).contains("overlap: neither may contain the other")
    );
    assert!(refused(here, &["r2", "sync", "nowhere", "assets"]).contains("there is no folder nowhere"));
    assert!(refused(here, &["r2", "sync", "remote:assets", "backup"]).contains("needs R2_ACCESS_KEY_ID"));
    assert!(refused(here, &["r2", "sync", ".", "assets", "--remote"]).contains("needs R2_ACCESS_KEY_ID"));
}

#[test]
fn dry_deploy_prints_and_changes_nothing() {
    let folder = folder();
    let here = folder.path();
    fs::create_dir(here.join("dist")).unwrap();
    assert!(refused(here, &["deploy", "dist", "STORAGE/static", "--dry-run"]).contains("no files to deploy"));
    fs::write(here.join("dist/index.html"), "home").unwrap();
    fs::write(here.join("dist/_headers"), "/*\n  X-A: b\n").unwrap();
    fs::write(here.join("dist/.env"), "SECRET=1").unwrap();
    let output = run(here, &["deploy", "dist", "STORAGE/static", "--dry-run", "-y", "--local"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("deploy  index.html (4 B)") && told.contains("1 files (4 B) would be deployed"), "{told}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("left out: .env (a secret)"));
    assert!(!here.join(".isobar").exists());
}

#[test]
fn a_served_bucket_without_a_site_is_warned_about() {
    let folder = folder();
    let here = folder.path();
    fs::write(here.join("wrangler.toml"), CONFIG).unwrap();
    let warned = crate::site::Served::start(here, &[], &[]).end();
    assert!(warned.contains("has nothing under \"static/\"") && warned.contains("isobar deploy"), "{warned}");
    fs::write(here.join("a.html"), "a").unwrap();
    ok(here, &["r2", "object", "put", "assets/static/a.html", "--file", "a.html"]);
    assert!(!crate::site::Served::start(here, &[], &[]).end().contains("has nothing under"));
}

#[test]
fn sql_that_reads_a_missing_database_is_run_with_a_note() {
    let folder = folder();
    let here = folder.path();
    let output = run(here, &["d1", "execute", "DB", "--command", "PRAGMA quick_check"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("note: there is no database business here yet"), "{told}");
    assert!(!here.join(".isobar").exists());
}
