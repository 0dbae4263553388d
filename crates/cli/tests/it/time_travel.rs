//! `isobar d1 time-travel`, `backup`, `restore` and `verify`.

use serde_json::Value;

use super::{folder, ok, refused};

fn json(here: &std::path::Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&ok(here, &[arguments, &["--json"]].concat())).unwrap()
}

#[test]
fn a_database_goes_back_and_forth() {
    let folder = folder();
    let here = folder.path();
    let travel = |arguments: &[&'static str]| [&["d1", "time-travel"][..], arguments].concat();
    assert!(refused(here, &travel(&["info", "DB"])).contains("there is no database business here yet"));
    ok(here, &["d1", "execute", "DB", "--command", "CREATE TABLE t (n); INSERT INTO t VALUES (1)"]);
    let told = refused(here, &travel(&["info", "DB"]));
    assert!(told.contains("keeps no history") && told.contains("time-travel enable business"), "{told}");
    assert!(ok(here, &travel(&["enable", "DB", "--days", "7"])).contains("kept for 7 days"));

    let one = json(here, &travel(&["info", "DB"]))["bookmark"].as_str().unwrap().to_owned();
    ok(here, &["d1", "execute", "DB", "--command", "INSERT INTO t VALUES (2)"]);
    let shown = json(here, &travel(&["info", "DB"]));
    let two = shown["bookmark"].as_str().unwrap();
    assert!(*two > *one);
    assert_eq!(shown["history"]["newest"]["bookmark"], two);
    assert_eq!(shown["history"]["gaps"], serde_json::json!([]));
    let told = ok(here, &travel(&["info", "business"]));
    assert!(told.contains(&format!("the current bookmark is {two}")) && told.contains("1 snapshots"), "{told}");

    let numbers = || {
        let rows = json(here, &["d1", "execute", "DB", "--command", "SELECT n FROM t"]);
        rows[0]["results"].as_array().unwrap().iter().map(|row| row["n"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let restore = ["d1", "time-travel", "restore", "DB", "--bookmark", &one];
    assert!(refused(here, &restore).contains("pass --yes"));
    assert_eq!(numbers(), [1, 2]);
    let told = ok(here, &[&restore[..], &["--yes"]].concat());
    assert!(told.contains(&format!("to undo it: isobar d1 time-travel restore DB --bookmark {two}")), "{told}");
    assert_eq!(numbers(), [1]);
    let answer = json(here, &["d1", "time-travel", "restore", "DB", "--bookmark", two]);
    assert!(answer["bookmark"].as_str().unwrap() > answer["previous_bookmark"].as_str().unwrap());
    assert_eq!(numbers(), [1, 2]);

    let told = refused(here, &travel(&["restore", "DB", "--bookmark", "nonsense", "--yes"]));
    assert!(told.contains("invalid bookmark"), "{told}");
    let told = refused(here, &travel(&["info", "DB", "--timestamp", "2020-01-01T00:00:00Z"]));
    assert!(told.contains("begins later"), "{told}");
    assert!(refused(here, &travel(&["info", "DB", "--timestamp", "soon"])).contains("RFC 3339"));
    let told = refused(here, &travel(&["restore", "DB"]));
    assert!(told.contains("--bookmark") && told.contains("--timestamp"), "{told}");
    assert_eq!(numbers(), [1, 2]);

    assert!(refused(here, &travel(&["disable", "DB"])).contains("pass --yes"));
    ok(here, &travel(&["disable", "DB", "--yes"]));
    assert!(refused(here, &travel(&["info", "DB"])).contains("keeps no history"));
    assert!(!here.join(".isobar/d1/business.sqlite-history").exists());
    assert_eq!(numbers(), [1, 2]);
}

#[test]
fn a_database_is_backed_up_into_a_folder_and_a_bucket_and_comes_back_elsewhere() {
    let folder = folder();
    let here = folder.path();
    ok(here, &["d1", "execute", "DB", "--command", "CREATE TABLE t (n); INSERT INTO t VALUES (1)"]);
    assert!(refused(here, &["d1", "backup", "DB", "saved"]).contains("time-travel enable business"));
    ok(here, &["d1", "time-travel", "enable", "DB"]);
    for (number, target) in [(2, "saved"), (3, "r2://assets/backups/business")] {
        ok(here, &["d1", "execute", "DB", "--command", &format!("INSERT INTO t VALUES ({number})")]);
        let report = json(here, &["d1", "backup", "DB", target]);
        assert!(report["objects"].as_u64().unwrap() > 0);
        let told = ok(here, &["d1", "backup", "DB", target]);
        assert!(told.contains("0 objects") && told.contains(report["bookmark"].as_str().unwrap()), "{told}");
        assert!(ok(here, &["d1", "verify", target]).contains("the newest state is good"));
        assert!(refused(here, &["d1", "restore", "DB", target]).contains("is restored into a new file"));

        let root = format!("elsewhere{number}");
        let elsewhere = |arguments: &[&'static str]| [&["--root", &root][..], arguments].concat();
        if target == "saved" {
            ok(here, &elsewhere(&["d1", "restore", "DB", "saved"]));
            let rows =
                ok(here, &elsewhere(&["d1", "execute", "DB", "--command", "SELECT count(*) AS c FROM t", "--json"]));
            assert!(rows.contains("\"c\": 2"), "{rows}");
        }
    }
    assert!(refused(here, &["d1", "verify", "nowhere"]).contains("nowhere: there is no backup"));
    let told = refused(here, &["--root", "new", "d1", "restore", "DB", "nowhere"]);
    assert!(told.contains("nowhere: there is no backup"), "{told}");
    assert!(refused(here, &["d1", "backup", "DB", ""]).contains("the target is empty"));
    assert!(refused(here, &["d1", "backup", "DB", "saved", "--remote"]).contains("--remote needs a bucket"));
}
