//! The built command on a fresh folder.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod analytics;
mod doors;
mod dump;
mod keys;
mod migrations;
mod options;
mod query;
mod sessions;
mod site;
mod time_travel;
mod walk;

use std::fs;
use std::io::Write;
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
fn bucket_that_is_in_use_or_has_objects_is_not_deleted() {
    let folder = folder();
    let here = folder.path();
    ok(here, &["r2", "object", "put", "assets/a", "--file", "wrangler.toml"]);
    assert!(refused(here, &["r2", "bucket", "delete", "assets"]).contains("is not empty"));
    ok(here, &["r2", "object", "delete", "assets/a"]);
    ok(here, &["r2", "bucket", "delete", "assets"]);
    assert_eq!(fs::read_dir(here.join(".isobar/r2")).unwrap().count(), 0);
    assert!(refused(here, &["r2", "bucket", "delete", "assets"]).contains("there is no bucket assets"));
}

#[test]
fn wrong_usage_is_reported() {
    let folder = folder();
    let here = folder.path();
    assert!(refused(here, &["r2", "object", "put", "assets", "--file", "wrangler.toml"]).contains("is not BUCKET/KEY"));
    assert!(refused(here, &["r2", "object", "put", "assets/a", "--file", "none.txt"]).contains("none.txt"));
    assert!(refused(here, &["r2", "object", "list", "../x"]).contains("invalid bucket or database name"));
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
fn a_bucket_is_synced_into_a_folder_by_globs() {
    let folder = folder();
    let here = folder.path();
    for (name, text) in [("a.html", "a"), ("deep/b.css", "b"), ("deep/b.css.map", "m"), ("notes.tmp", "t")] {
        let path = here.join("site").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let up = ok(here, &["r2", "sync", "site", "assets/static", "--exclude", "*.tmp"]);
    assert!(up.starts_with("3 uploaded") && up.contains("1 ignored"), "{up}");
    let dry = ok(here, &["r2", "sync", "assets/static", "./back", "--exclude", "deep/*.map", "--dry-run"]);
    assert!(dry.contains("get     assets/static/deep/b.css into") && !dry.contains(".map"), "{dry}");
    assert!(!here.join("back").exists());
    let down: serde_json::Value = serde_json::from_str(&ok(
        here,
        &["r2", "sync", "assets/static", "./back", "--exclude", "deep/*.map", "--json"],
    ))
    .unwrap();
    assert_eq!((&down["downloaded"], &down["bytes"]), (&2.into(), &2.into()));
    assert_eq!(fs::read_to_string(here.join("back/deep/b.css")).unwrap(), "b");
    fs::write(here.join("back/mine.txt"), "mine").unwrap();
    let only = ["r2", "sync", "assets/static", "./back", "--include", "*.html", "--delete"];
    assert!(ok(here, &only).starts_with("0 uploaded (0 B), 0 deleted, 1 unchanged"));
    assert!(here.join("back/mine.txt").exists(), "what takes no part is not deleted");
    assert!(ok(here, &["r2", "sync", "assets/static", "back", "--delete"]).contains("1 downloaded (1 B), 1 deleted"));
    assert!(!here.join("back/mine.txt").exists());
    assert!(refused(here, &["r2", "sync", "asets/static", "./back", "--delete"]).contains("there is no bucket asets"));
    assert!(here.join("back/a.html").exists() && !here.join(".isobar/r2/asets").exists());
    assert!(refused(here, &["r2", "sync", "site", "./back"]).contains("both folders"));
    assert!(refused(here, &["r2", "sync", "nowhere", "assets"]).contains("begin its path with ./"));
    assert!(refused(here, &["r2", "sync", "site", "assets", "--include", "[z"]).contains("[z"));
}

#[test]
fn buckets_are_listed_counted_copied_and_checked() {
    let folder = folder();
    let here = folder.path();
    assert!(refused(here, &["r2", "bucket", "info", "STORAGE"]).contains("there is no bucket STORAGE here"));
    let list = ok(here, &["r2", "bucket", "list"]);
    assert!(list.contains("assets") && list.contains("STORAGE") && list.contains("not used yet"), "{list}");
    fs::write(here.join("large.bin"), vec![7; 100_000]).unwrap();
    ok(here, &["r2", "object", "put", "STORAGE/large.bin", "--file", "large.bin", "--cache-control", "no-store"]);
    ok(here, &["r2", "object", "copy", "assets/large.bin", "assets/copy.bin"]);
    ok(here, &["r2", "object", "copy", "assets/large.bin", "other/far.bin"]);
    let copied: serde_json::Value =
        serde_json::from_str(&ok(here, &["r2", "object", "head", "other/far.bin", "--json"])).unwrap();
    assert_eq!(copied["httpMetadata"]["cacheControl"], "no-store");
    assert!(
        refused(here, &["r2", "object", "copy", "assets/large.bin", "other/far.bin", "--no-overwrite"])
            .contains("already exists")
    );
    ok(here, &["r2", "object", "copy", "other/far.bin", "assets/moved.txt", "--move"]);
    assert!(refused(here, &["r2", "object", "head", "other/far.bin"]).contains("there is no object"));
    let same = ["r2", "object", "copy", "STORAGE/large.bin", "assets/large.bin", "--move"];
    assert!(refused(here, &same).contains("are the same object"));
    ok(here, &["r2", "object", "head", "assets/large.bin"]);
    assert!(
        refused(here, &["r2", "object", "copy", "assets/none", "assets/x"]).contains("there is no object assets/none")
    );
    let info: serde_json::Value =
        serde_json::from_str(&ok(here, &["r2", "bucket", "info", "STORAGE", "--json"])).unwrap();
    assert_eq!((&info["objects"], &info["bytes"]), (&3.into(), &300_000.into()));
    assert_eq!(info["extensions"]["bin"]["objects"], 2);
    assert!(ok(here, &["r2", "bucket", "info", "STORAGE"]).starts_with("3 objects, "));
    let listed: serde_json::Value = serde_json::from_str(&ok(here, &["r2", "bucket", "list", "--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().iter().filter(|bucket| bucket["created"] == true).count(), 2);

    assert!(ok(here, &["r2", "fsck", "STORAGE"]).contains("3 objects, 292.97 KiB"));
    let blobs = here.join(".isobar/r2/assets/blobs");
    let first = fs::read_dir(&blobs).unwrap().flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap()).next();
    fs::write(first.unwrap().unwrap().path(), vec![8; 100_000]).unwrap();
    assert!(ok(here, &["r2", "fsck", "STORAGE", "--quick"]).contains("no problems"));
    assert!(refused(here, &["r2", "fsck", "STORAGE"]).contains("repair them with --repair"));
    let mended = ok(here, &["r2", "fsck", "STORAGE", "--repair"]);
    assert!(mended.contains("is not what was stored") && mended.contains("lost"), "{mended}");
    let clean: serde_json::Value =
        serde_json::from_str(&ok(here, &["r2", "fsck", "STORAGE", "--json", "--exclusive"])).unwrap();
    assert_eq!(clean["findings"].as_array().unwrap().len(), 0, "{clean}");

    // A bucket without its index is neither empty nor missing.
    fs::remove_file(here.join(".isobar/r2/assets/index.db")).unwrap();
    for command in [&["r2", "object", "list", "STORAGE"][..], &["r2", "fsck", "STORAGE"]] {
        let told = refused(here, command);
        assert!(told.contains("no index.db") && told.contains("--rebuild"), "{told}");
    }
    let made = ok(here, &["r2", "fsck", "STORAGE", "--rebuild"]);
    let left = format!("{} objects, ", clean["objects"]);
    assert!(made.contains(&left), "{made}");
    assert!(ok(here, &["r2", "fsck", "STORAGE"]).contains(&left));
}

#[test]
fn databases_are_migrated_and_queried() {
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
fn reading_a_database_creates_none() {
    let folder = folder();
    let here = folder.path();
    fs::create_dir(here.join("migrations")).unwrap();
    fs::write(here.join("migrations/0001_a.sql"), "CREATE TABLE t (a)").unwrap();
    refused(here, &["d1", "execute", "business2", "--command", "SELECT 1"]);
    ok(here, &["d1", "execute", "DB", "--command", "SELECT 1"]);
    ok(here, &["d1", "migrations", "list", "DB"]);
    assert!(refused(here, &["vault", "status", "DB", "--keyring", "keyring"]).contains("keyring"));
    fs::write(here.join("map.toml"), "table = []").unwrap();
    assert!(
        refused(here, &["d1", "copy", "DB", "DB", "--map", "map.toml"])
            .contains("there is no database business here yet")
    );
    assert!(!here.join(".isobar").exists());
}

#[test]
fn migrations_follow_the_configuration_as_in_wrangler() {
    let folder = folder();
    let here = folder.path();
    let config = CONFIG.replace(
        "binding = \"DB\"",
        "binding = \"DB\"\nmigrations_dir = \"drizzle\"\nmigrations_pattern = \"./drizzle/*/migration.sql\"\n\
         migrations_table = \"applied files\"",
    );
    fs::write(here.join("wrangler.toml"), config).unwrap();
    for (name, sql) in [
        ("10_b/migration.sql", "INSERT INTO t VALUES (1, 2);"),
        ("2_a/migration.sql", "CREATE TABLE t (z, a);"),
        ("2_a/._migration.sql", "\u{0}\u{5}\u{16}"),
        (".hidden/migration.sql", "no"),
        ("3_other.sql", "no"),
    ] {
        let path = here.join("drizzle").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, sql).unwrap();
    }
    // Concurrent runs: each file is applied once, and no run fails.
    let apply = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_isobar"));
        command.args(["d1", "migrations", "apply", "DB", "-y", "--local"]).current_dir(here);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let processes: Vec<_> = (0..4).map(|_| apply()).collect();
    let mut said = String::new();
    for process in processes {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        said.push_str(&String::from_utf8_lossy(&output.stdout));
    }
    assert_eq!(said.matches("/migration.sql").count(), 2, "{said}");
    let json =
        ok(here, &["d1", "execute", "DB", "--json", "-y", "--command", "SELECT z, a, 2.0 AS r, 0.5 AS h FROM t"]);
    assert!(json.split_whitespace().collect::<String>().contains(r#"[{"z":1,"a":2,"r":2,"h":0.5}]"#), "{json}");
    let names = ok(here, &["d1", "execute", "DB", "--command", "SELECT name FROM \"applied files\" ORDER BY id"]);
    assert!(names.find("2_a/migration.sql").unwrap() < names.find("10_b/migration.sql").unwrap(), "{names}");

    // An error names file, line and statement.
    fs::create_dir(here.join("drizzle/11_c")).unwrap();
    let wrong = "-- first\nCREATE TABLE u (a);\n\nINSERT INTO\n  nope VALUES (1);\n";
    fs::write(here.join("drizzle/11_c/migration.sql"), wrong).unwrap();
    let told = refused(here, &["d1", "migrations", "apply", "DB", "-y"]);
    assert!(told.contains("drizzle/11_c/migration.sql, line 4: no such table: nope"), "{told}");
    assert!(
        told.contains("in: INSERT INTO nope VALUES (1)") && !told.contains("D1_ERROR") && !told.contains("offset"),
        "{told}"
    );
    fs::write(here.join("wrong.sql"), "SELECT 1;\nSELECT\n  nope;").unwrap();
    let told = refused(here, &["d1", "execute", "DB", "--file", "wrong.sql"]);
    assert!(told.contains("wrong.sql, line 3: no such column: nope"), "{told}");
}

#[test]
fn a_dump_comes_from_the_standard_input_and_databases_from_another_folder() {
    let folder = folder();
    let here = folder.path();
    let arguments = ["d1", "execute", "DB", "--file", "-", "--persist-to", "elsewhere", "--local"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_isobar"));
    command.args(arguments).current_dir(here).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut execute = command.spawn().unwrap();
    let dump =
        "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t(a);\nINSERT INTO t VALUES('x');\nCOMMIT;\n";
    execute.stdin.take().unwrap().write_all(dump.as_bytes()).unwrap();
    let output = execute.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(here.join("elsewhere/d1/business.sqlite").exists() && !here.join(".isobar").exists());
    let read = ["d1", "execute", "DB", "--command", "SELECT a FROM t", "--persist-to", "elsewhere"];
    assert!(ok(here, &read).contains("(1 rows)"));
    assert!(refused(here, &["d1", "execute", "DB", "--command", "SELECT 1", "--remote"]).contains("database_id"));
    let both = ["d1", "execute", "DB", "--command", "SELECT 1", "--remote", "--local"];
    assert!(refused(here, &both).contains("cannot be used with"));
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

#[cfg(unix)]
#[test]
fn a_vault_is_rotated_and_shows_its_state() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let here = folder.path();
    assert!(refused(here, &["vault", "keygen", "a b"]).contains("letters"));
    let keygen = |name: &str| ok(here, &["vault", "keygen", name]);
    fs::write(here.join("schema.sql"), isobar_db::vault::SCHEMA).unwrap();
    ok(here, &["d1", "execute", "DB", "--file", "schema.sql"]);
    let declare = "CREATE TABLE tokens (id INTEGER PRIMARY KEY, secret BLOB); \
        INSERT INTO tokens (secret) VALUES (NULL), ('plain'); \
        INSERT INTO vault_columns (table_name, column_name) VALUES ('tokens', 'secret')";
    ok(here, &["d1", "execute", "DB", "--command", declare]);
    assert!(refused(here, &["vault", "status", "DB"]).contains("ISOBAR_KEYRING"));
    let first = keygen("first");
    let keyring = here.join("keyring");
    let write = |text: &str| {
        fs::write(&keyring, text).unwrap();
        fs::set_permissions(&keyring, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write(&first);
    let status = || -> serde_json::Value {
        serde_json::from_str(&ok(here, &["vault", "status", "DB", "--keyring", "keyring", "--json"])).unwrap()
    };
    // Reading the status creates no key.
    assert_eq!((&status()["keys"], &status()["active_key"]), (&serde_json::json!([]), &0.into()));
    assert_eq!(status()["columns"][0]["outdated"], 1);

    // Values that are not sealed are named, and the command fails.
    write(&(keygen("second") + &first));
    let failed = refused(here, &["vault", "rotate", "DB", "--keyring", "keyring"]);
    assert!(failed.contains("tokens.secret of 2") && !failed.contains("plain"), "{failed}");
    ok(here, &["d1", "execute", "DB", "--command", "DELETE FROM tokens WHERE id = 2"]);
    let done = ok(here, &["vault", "rotate", "DB", "--keyring", "keyring", "--resume"]);
    assert!(done.contains("data key 3 is active: 0 values"), "{done}");
    assert_eq!(status()["keys"], serde_json::json!([[2, "second"], [3, "second"]]));
    write(fs::read_to_string(&keyring).unwrap().lines().next().unwrap());
    assert!(ok(here, &["vault", "status", "DB", "--keyring", "keyring"]).contains("DATA KEY"));

    // Another keyring is refused with its own message; a renamed table stops a rotation before it creates a key.
    let right = fs::read_to_string(&keyring).unwrap();
    write(&keygen("third"));
    let other = refused(here, &["vault", "status", "DB", "--keyring", "keyring"]);
    assert!(other.contains("\"second\", which the keyring lacks") && !other.contains("D1_ERROR"), "{other}");
    let missing = refused(here, &["vault", "status", "DB", "--keyring", "nothing"]);
    assert!(missing.contains("cannot read the keyring nothing") && !missing.contains("D1_ERROR"), "{missing}");
    write(&right);
    ok(here, &["d1", "execute", "DB", "--command", "ALTER TABLE tokens RENAME TO secrets"]);
    for _ in 0..2 {
        let refused = refused(here, &["vault", "rotate", "DB", "--keyring", "keyring"]);
        assert!(refused.contains("tokens.secret") && refused.contains("isobar vault rebind"), "{refused}");
    }
    assert_eq!(status()["missing"][0]["table_name"], "tokens");
    let names = ["--from", "tokens.secret", "--to", "secrets.secret"];
    ok(here, &[&["vault", "rebind", "DB", "--keyring", "keyring"], &names[..]].concat());
    assert_eq!((&status()["missing"], status()["keys"].as_array().unwrap().len()), (&serde_json::json!([]), 2));
    ok(here, &["vault", "rotate", "DB", "--keyring", "keyring"]);
}

#[test]
fn rows_are_copied_by_a_map() {
    let folder = folder();
    let here = folder.path();
    let config = format!("{CONFIG}[[d1_databases]]\nbinding = \"OLD\"\ndatabase_name = \"legacy\"\n");
    fs::write(here.join("wrangler.toml"), config).unwrap();
    let old = "CREATE TABLE people (id INTEGER PRIMARY KEY, mail TEXT); \
        INSERT INTO people VALUES (1, 'Ada@example.com'), (2, 'ada@example.com'), (3, 'bob@example.com')";
    ok(here, &["d1", "execute", "OLD", "--command", old]);
    let new = "CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE)";
    let map = "[[table]]\nfrom = \"people\"\nto = \"users\"\n[table.columns]\nid = { id = true }\n\
        email = { column = \"mail\", as = \"lower\" }\n";
    fs::write(here.join("map.toml"), map).unwrap();
    run(here, &["d1", "copy", "OLD", "DB", "--map", "map.toml", "--dry-run"]);
    assert!(!here.join(".isobar/d1/business.sqlite").exists(), "a dry run creates no database");
    ok(here, &["d1", "execute", "DB", "--command", new]);
    let copy = |more: &[&str]| ok(here, &[&["d1", "copy", "OLD", "DB", "--map", "map.toml"], more].concat());
    let dry = copy(&["--dry-run"]);
    assert!(dry.contains("WOULD COPY") && dry.contains("people 2: UNIQUE constraint failed: users.email"), "{dry}");
    assert!(
        ok(here, &["d1", "execute", "DB", "--command", "SELECT count(*) AS n FROM users", "--json"])
            .contains("\"n\": 0")
    );
    let report: serde_json::Value = serde_json::from_str(&copy(&["--json"])).unwrap();
    assert_eq!((&report["tables"][0]["copied"], &report["tables"][0]["skipped"][0]["key"]), (&2.into(), &"2".into()));
    let report: serde_json::Value = serde_json::from_str(&copy(&["--json"])).unwrap();
    assert_eq!((&report["tables"][0]["copied"], &report["tables"][0]["present"]), (&0.into(), &2.into()));
    assert!(refused(here, &["d1", "copy", "DB", "DB", "--map", "map.toml"]).contains("into itself"));
    fs::write(here.join("map.toml"), "tables = 1").unwrap();
    assert!(refused(here, &["d1", "copy", "OLD", "DB", "--map", "map.toml"]).contains("map.toml: "));
}
