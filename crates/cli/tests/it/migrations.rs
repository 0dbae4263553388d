//! `isobar d1 migrations`: create, try, apply, status, undo, baseline.

use std::fs;

use super::{folder, ok, refused};

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn migrations_are_created_tried_applied_and_undone() {
    let folder = folder();
    let here = folder.path();
    let created = ok(here, &["d1", "migrations", "create", "DB", "Add users!", "--down"]);
    assert!(created.contains("0001_add_users.sql") && created.contains("0001_add_users.down.sql"), "{created}");
    fs::write(here.join("migrations/0001_add_users.sql"), "CREATE TABLE users (id INTEGER PRIMARY KEY);\n").unwrap();
    fs::write(here.join("migrations/down/0001_add_users.down.sql"), "DROP TABLE users;\n").unwrap();
    assert!(ok(here, &["d1", "migrations", "create", "DB", "seed"]).contains("0002_seed.sql"));
    assert!(refused(here, &["d1", "migrations", "create", "DB", "!"]).contains("at least one letter"));

    fs::write(here.join("migrations/0002_seed.sql"), "SELECT 1;\nINSERT INTO nobody VALUES (1);").unwrap();
    let told = refused(here, &["d1", "migrations", "apply", "DB", "--dry-run"]);
    assert!(told.contains("0002_seed.sql, line 2: no such table: nobody"), "{told}");
    assert!(!here.join(".isobar").exists(), "a dry run creates no database");
    fs::write(here.join("migrations/0002_seed.sql"), "INSERT INTO users DEFAULT VALUES;").unwrap();
    assert!(ok(here, &["d1", "migrations", "apply", "DB", "--dry-run"]).contains("0002_seed.sql"));
    assert_eq!(json(&ok(here, &["d1", "migrations", "list", "DB", "--json"])).as_array().unwrap().len(), 2);
    // Without a terminal, as wrangler.
    assert!(ok(here, &["d1", "migrations", "apply", "DB"]).contains("0002_seed.sql"));
    assert_eq!(ok(here, &["d1", "migrations", "list", "DB", "--json"]).trim(), "[]");

    let status = json(&ok(here, &["d1", "migrations", "status", "DB", "--drift", "--json"]));
    assert_eq!(status["migrations"][1]["state"], "applied");
    assert_eq!(status["drift"].as_array().unwrap().len(), 0);
    ok(here, &["d1", "execute", "DB", "--command", "ALTER TABLE users ADD COLUMN hurried"]);
    let drifted = ok(here, &["d1", "migrations", "status", "DB", "--drift"]);
    assert!(drifted.contains("column users.hurried is not expected"), "{drifted}");

    let told = refused(here, &["d1", "migrations", "down", "DB", "-y"]);
    assert!(told.contains("0002_seed.down.sql") && told.contains("no migration was undone"), "{told}");
    fs::write(here.join("migrations/down/0002_seed.down.sql"), "DELETE FROM users").unwrap();
    for arguments in [&["down", "DB"][..], &["baseline", "DB"]] {
        let told = refused(here, &[&["d1", "migrations"], arguments].concat());
        assert!(told.contains("there is no terminal to ask") && told.contains("pass --yes"), "{told}");
    }
    let undone = ok(here, &["d1", "migrations", "down", "DB", "--count", "2", "-y"]);
    assert!(undone.find("0002_seed").unwrap() < undone.find("0001_add").unwrap(), "{undone}");
    assert!(refused(here, &["d1", "migrations", "down", "DB", "-y"]).contains("0 are applied"));

    assert!(
        ok(here, &["d1", "migrations", "baseline", "DB", "--up-to", "0001_add_users.sql", "-y"]).contains("0001_add")
    );
    assert!(ok(here, &["d1", "migrations", "list", "DB"]).contains("0002_seed.sql"));
    fs::write(here.join("migrations/0001_add_users.sql"), "CREATE TABLE other (id)").unwrap();
    let told = refused(here, &["d1", "migrations", "apply", "DB", "-y"]);
    assert!(told.contains("0001_add_users.sql changed after being applied"), "{told}");
    assert!(ok(here, &["d1", "migrations", "status", "DB"]).contains("changed after being applied"));
}

#[test]
fn rebuild_writes_a_migration_that_keeps_the_rows_of_children() {
    let folder = folder();
    let here = folder.path();
    let told = refused(here, &["d1", "migrations", "rebuild", "DB", "--sql", "CREATE TABLE t (a)"]);
    assert!(told.contains("there is no database"), "{told}");
    let script = "CREATE TABLE teams (id INTEGER PRIMARY KEY, name, nick); \
                  CREATE TABLE people (team REFERENCES teams (id) ON DELETE CASCADE); \
                  INSERT INTO teams VALUES (1, 'a', 'b'); INSERT INTO people VALUES (1);";
    ok(here, &["d1", "execute", "DB", "--command", script]);
    let definition = "CREATE TABLE teams (id INTEGER PRIMARY KEY, title TEXT NOT NULL)";
    fs::write(here.join("teams.sql"), definition).unwrap();
    let file = here.join("teams.sql");
    let rebuild = ["d1", "migrations", "rebuild", "DB", "--file", file.to_str().unwrap(), "--set", "title = name"];
    assert!(refused(here, &rebuild).contains("teams.nick would be lost"));
    let told = ok(here, &[&rebuild[..], &["--drop", "nick"]].concat());
    assert!(told.contains("0001_rebuild_teams.sql") && told.contains("people"), "{told}");
    ok(here, &["d1", "migrations", "apply", "DB"]);
    let select = "SELECT title, (SELECT count(*) FROM people) AS n FROM teams";
    let rows = json(&ok(here, &["d1", "execute", "DB", "--json", "--command", select]));
    assert_eq!(rows[0]["results"], serde_json::json!([{ "title": "a", "n": 1 }]));
}

#[test]
fn lint_names_file_line_and_column() {
    let folder = folder();
    let here = folder.path();
    fs::create_dir(here.join("migrations")).unwrap();
    let file = here.join("migrations/0001_a.sql");
    fs::write(&file, "CREATE TABLE t (a TEXT,\n  b);\n").unwrap();
    assert_eq!(ok(here, &["d1", "lint", "DB"]).trim(), "nothing found");
    let output = super::run(here, &["d1", "lint", "DB", "--for", "postgres"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.contains("0001_a.sql:2:3: error: column b: a column without a type"), "{printed}");
    assert!(String::from_utf8(output.stderr).unwrap().trim().ends_with("error: 1 error"));

    let output = super::run(here, &["d1", "lint", "DB", "--json", "--command", "SELECT a FROM t; SELECT c FROM t"]);
    let found = json(&String::from_utf8(output.stdout).unwrap());
    assert_eq!((&found[0]["file"], &found[0]["column"]), (&"--command".into(), &25.into()));
    assert!(found.as_array().unwrap().len() == 1 && output.status.code() == Some(1), "{found}");
    fs::write(here.join("drop.sql"), "PRAGMA foreign_keys = OFF;").unwrap();
    let file = here.join("drop.sql");
    let printed = ok(here, &["d1", "lint", "DB", "--file", file.to_str().unwrap()]);
    assert!(printed.contains("drop.sql:1:1: warning: PRAGMA foreign_keys = OFF"), "{printed}");
}
