//! `isobar d1 export`, `import`, `list` and `info`.

use std::fs;

use super::{folder, ok, refused};

#[test]
fn a_database_goes_out_and_comes_back() {
    let folder = folder();
    let here = folder.path();
    let schema = "CREATE TABLE users (id INTEGER PRIMARY KEY, big INTEGER, data BLOB);
        INSERT INTO users VALUES (1, 9223372036854775807, x'00ff'), (2, 9007199254740993, NULL);
        CREATE VIEW names AS SELECT id FROM users;";
    assert!(
        refused(here, &["d1", "export", "DB", "--output", "out.sql"])
            .contains("there is no database business here yet")
    );
    assert!(refused(here, &["d1", "info", "DB"]).contains("there is no database business here yet"));
    assert!(ok(here, &["d1", "list"]).contains("not used yet"));
    ok(here, &["d1", "execute", "DB", "--command", schema]);
    assert!(ok(here, &["d1", "export", "DB", "--output", "out.sql"]).contains("1 tables, 2 rows"));
    let sql = fs::read_to_string(here.join("out.sql")).unwrap();
    assert!(
        sql.contains("9223372036854775807") && sql.contains("9007199254740993") && sql.ends_with("COMMIT;\n"),
        "{sql}"
    );
    assert_eq!(ok(here, &["d1", "export", "DB", "--output", "-"]), sql);
    assert!(refused(here, &["d1", "export", "DB", "--output", "-", "--json"]).contains("--json is not for --output -"));
    let rows = ok(here, &["d1", "export", "DB", "--output", "-", "--table", "users", "--no-schema"]);
    assert!(rows.contains("INSERT INTO") && !rows.contains("CREATE"), "{rows}");
    assert!(
        refused(here, &["d1", "export", "DB", "--output", "x.sql", "--table", "none"]).contains("no such table: none")
    );
    assert!(!here.join("x.sql").exists());

    assert!(refused(here, &["d1", "import", "DB", "out.sql"]).contains("the database business exists"));
    let elsewhere = |arguments: &[&'static str]| [&["--root", "elsewhere"][..], arguments].concat();
    let report: serde_json::Value =
        serde_json::from_str(&ok(here, &elsewhere(&["d1", "import", "DB", "out.sql", "--json"]))).unwrap();
    assert_eq!((&report["tables"], &report["rows"]), (&1.into(), &2.into()));
    assert_eq!(ok(here, &elsewhere(&["d1", "export", "DB", "--output", "-"])), sql);

    fs::write(here.join("wrong.sql"), "CREATE TABLE t (a);\nINSERT INTO nope VALUES (1);\n").unwrap();
    let told = refused(here, &["--root", "third", "d1", "import", "DB", "wrong.sql"]);
    assert!(told.contains("wrong.sql: line 2: no such table: nope"), "{told}");
    assert!(!here.join("third/d1/business.sqlite").exists());

    let info: serde_json::Value = serde_json::from_str(&ok(here, &["d1", "info", "DB", "--json"])).unwrap();
    assert_eq!(
        (&info["tables"][0]["name"], &info["tables"][0]["rows"], &info["views"]),
        (&"users".into(), &2.into(), &1.into())
    );
    assert!(ok(here, &["d1", "info", "DB"]).contains("users"));
    let list: serde_json::Value = serde_json::from_str(&ok(here, &["d1", "list", "--json"])).unwrap();
    assert!(list[0]["bytes"].as_u64().unwrap() > 0 && list[0]["binding"] == "DB");
}
