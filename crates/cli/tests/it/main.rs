//! The built command on a fresh folder.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const CONFIG: &str = r#"
name = "test"
colour = "blue"
[[r2_buckets]]
binding = "STORAGE"
bucket_name = "assets"
[[d1_databases]]
binding = "DB"
database_name = "business"
"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("wrangler.toml"), CONFIG).unwrap();
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_isobar"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn objects_are_put_shown_listed_got_and_deleted() {
    let folder = folder();
    let here = folder.path();
    fs::write(here.join("settings.html"), "<p>settings</p>").unwrap();
    ok(
        here,
        &[
            "r2",
            "object",
            "put",
            "assets/static/a/settings.html",
            "--file",
            "settings.html",
            "--content-type",
            "text/x-own",
        ],
    );
    ok(here, &["r2", "object", "put", "STORAGE/static/b.html", "--file", "settings.html"]);
    let head: serde_json::Value =
        serde_json::from_str(&ok(here, &["r2", "object", "head", "assets/static/a/settings.html", "--json"])).unwrap();
    assert_eq!((&head["size"], &head["httpMetadata"]["contentType"]), (&15.into(), &"text/x-own".into()));
    let list = ok(here, &["r2", "object", "list", "assets", "--prefix", "static/", "--delimiter", "/"]);
    assert!(
        list.contains("static/a/") && list.contains("static/b.html") && list.contains("text/html; charset=utf-8"),
        "{list}"
    );
    assert_eq!(ok(here, &["r2", "object", "get", "assets/static/b.html", "--pipe"]), "<p>settings</p>");
    ok(here, &["r2", "object", "get", "assets/static/b.html", "--file", "got.html"]);
    assert_eq!(fs::read_to_string(here.join("got.html")).unwrap(), "<p>settings</p>");
    ok(here, &["r2", "object", "delete", "assets/static/b.html"]);
    assert!(
        refused(here, &["r2", "object", "get", "assets/static/b.html"])
            .contains("there is no object assets/static/b.html")
    );
}

#[test]
fn pipes_stream_and_may_close_early() {
    let folder = folder();
    let here = folder.path();
    let mut put = Command::new(env!("CARGO_BIN_EXE_isobar"))
        .args(["r2", "object", "put", "assets/data.bin", "--pipe"])
        .current_dir(here)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let data: Vec<u8> = (0..20_u32 << 20).map(|byte| (byte % 251) as u8).collect();
    put.stdin.take().unwrap().write_all(&data).unwrap();
    assert!(put.wait().unwrap().success());
    ok(here, &["r2", "object", "get", "assets/data.bin"]);
    assert!(fs::read(here.join("data.bin")).unwrap() == data);
    assert_eq!(fs::read_dir(here).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count(), 2);
    for arguments in [&["r2", "object", "get", "assets/data.bin", "--pipe"][..], &["r2", "object", "list", "assets"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_isobar"))
            .args(arguments)
            .current_dir(here)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(command.stdout.take());
        let output = command.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(!complaint.contains("panic") && !complaint.contains("error") && output.status.success(), "{complaint}");
    }
}

#[test]
fn wrong_use_is_told() {
    let folder = folder();
    let here = folder.path();
    assert!(refused(here, &["r2", "object", "put", "assets", "--file", "wrangler.toml"]).contains("is not BUCKET/KEY"));
    assert!(refused(here, &["r2", "object", "put", "assets/a", "--file", "none.txt"]).contains("none.txt"));
    assert!(refused(here, &["r2", "object", "list", "../x"]).contains("is no name of a bucket"));
    let long = format!("assets/{}", "k".repeat(1025));
    assert!(refused(here, &["r2", "object", "head", &long]).contains("(10020)"));
    assert!(refused(here, &["d1", "execute", "NONE", "--command", "SELECT 1"]).contains("there are: business (DB)"));
    assert!(refused(here, &["d1", "execute", "DB", "--command", "SELEC 1"]).contains("near \"SELEC\": syntax error"));
    assert!(refused(here, &["d1", "migrations", "list", "DB"]).contains("migrations"));
    assert!(
        refused(here, &["--config", "none.toml", "d1", "execute", "DB", "--command", "SELECT 1"])
            .contains("none.toml: cannot be read")
    );
}

#[test]
fn a_folder_is_synced() {
    let folder = folder();
    let here = folder.path();
    fs::create_dir_all(here.join("site/css")).unwrap();
    fs::write(here.join("site/index.html"), "home").unwrap();
    fs::write(here.join("site/css/a.css"), "a {}").unwrap();
    let dry = ok(here, &["r2", "sync", "site", "assets/static/", "--dry-run"]);
    assert!(
        dry.contains("put     assets/static/css/a.css (text/css; charset=utf-8)")
            && dry.contains("2 would be uploaded"),
        "{dry}"
    );
    assert!(!ok(here, &["r2", "object", "list", "assets"]).contains("index.html"));
    let first: serde_json::Value =
        serde_json::from_str(&ok(here, &["r2", "sync", "site", "assets/static", "--json"])).unwrap();
    assert_eq!((&first["uploaded"], &first["bytes"]), (&2.into(), &8.into()));
    fs::remove_file(here.join("site/css/a.css")).unwrap();
    let second: serde_json::Value =
        serde_json::from_str(&ok(here, &["r2", "sync", "site", "assets/static", "--delete", "--json"])).unwrap();
    assert_eq!((&second["uploaded"], &second["unchanged"], &second["deleted"]), (&0.into(), &1.into(), &1.into()));
    assert!(refused(here, &["r2", "sync", "none", "assets"]).contains("none"));
}

#[test]
fn databases_are_migrated_and_asked() {
    let folder = folder();
    let here = folder.path();
    fs::create_dir(here.join("migrations")).unwrap();
    fs::write(here.join("migrations/0001_users.sql"), "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);")
        .unwrap();
    fs::write(here.join("migrations/0002_seed.sql"), "INSERT INTO users (name) VALUES ('Ada'), (NULL);").unwrap();
    assert!(ok(here, &["d1", "migrations", "list", "DB"]).contains("0002_seed.sql"));
    assert!(ok(here, &["d1", "migrations", "apply", "business"]).contains("0001_users.sql"));
    assert!(ok(here, &["d1", "migrations", "apply", "DB"]).contains("nothing to apply"));
    let table = ok(here, &["d1", "execute", "DB", "--command", "SELECT * FROM users"]);
    assert!(
        table.contains("id  name") && table.contains(" 1  Ada") && table.contains("NULL") && table.contains("(2 rows)"),
        "{table}"
    );
    fs::write(here.join("more.sql"), "INSERT INTO users (name) VALUES ('Bob'); SELECT count(*) AS n FROM users;")
        .unwrap();
    let json: serde_json::Value =
        serde_json::from_str(&ok(here, &["d1", "execute", "DB", "--file", "more.sql", "--json"])).unwrap();
    assert_eq!((&json[0]["meta"]["changes"], &json[1]["results"][0]["n"]), (&1.into(), &3.into()));
}

#[test]
fn the_site_of_a_configuration_is_served() {
    let folder = folder();
    let here = folder.path();
    fs::create_dir(here.join("public")).unwrap();
    fs::write(here.join("public/index.html"), "from the assets").unwrap();
    fs::write(here.join("wrangler.toml"), format!("{CONFIG}[assets]\ndirectory = \"public\"\n")).unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_isobar"))
        .args(["serve", "--port", "0"])
        .current_dir(here)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map_while(Result::ok);
    let address =
        lines.find_map(|line| Some(line.strip_prefix("serving on http://")?.split(' ').next()?.to_owned())).unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("from the assets"), "{answer}");
}

#[test]
fn unknown_keys_are_warned_about_and_help_has_examples() {
    let folder = folder();
    let output = run(folder.path(), &["r2", "object", "list", "assets"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("warning: line 3: unexpected key \"colour\""));
    for arguments in [&["--help"][..], &["r2", "sync", "--help"], &["d1", "execute", "--help"], &["serve", "--help"]] {
        assert!(ok(folder.path(), arguments).contains("Examples:"), "{arguments:?}");
    }
}
