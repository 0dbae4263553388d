//! Tests of `isobar serve --rest` and `--s3`.

#[cfg(unix)]
use serde_json::Value;

#[cfg(unix)]
use crate::keys::created;
#[cfg(unix)]
use crate::site::{Served, ask};
#[cfg(unix)]
use crate::{CONFIG, ok};
use crate::{folder, refused};

/// The address of the REST API.
#[cfg(unix)]
fn rest(server: &Served) -> &str {
    let line = server.said.iter().find_map(|line| line.strip_prefix("REST API on http://")).unwrap();
    line.split('/').next().unwrap()
}

/// The status of a check of this token.
#[cfg(unix)]
fn verified(server: &Served, token: &str) -> u16 {
    let address = rest(server);
    let head = format!("GET /client/v4/user/tokens/verify HTTP/1.1\r\nAuthorization: Bearer {token}");
    ask(address, &head, "")[9..12].parse().unwrap()
}

#[test]
#[cfg(unix)]
fn uses_are_written_at_the_end_and_revoked_keys_refused_at_once() {
    let folder = folder();
    let here = folder.path();
    let key = created(here, &["--scope", "d1:read"]);
    let token = key["token"].as_str().unwrap();
    let server = Served::start(here, &["--rest", "127.0.0.1:0"], &[]);
    assert_eq!(verified(&server, token), 200);
    ok(here, &["keys", "revoke", key["access_key_id"].as_str().unwrap()]);
    assert_eq!(verified(&server, token), 401);
    server.terminate();
    let listed: Value = serde_json::from_str(&ok(here, &["keys", "list", "--json"])).unwrap();
    assert_eq!(listed[0]["uses"], 1);
}

#[test]
#[cfg(unix)]
fn slow_queries_are_logged_with_their_plan_and_without_their_values() {
    const ID: &str = "00000000-0000-4000-8000-000000000001";
    let folder = folder();
    let here = folder.path();
    let named = "database_name = \"business\"";
    let config = CONFIG.replace(named, &format!("{named}\ndatabase_id = \"{ID}\""));
    std::fs::write(here.join("wrangler.toml"), config).unwrap();
    let key = created(here, &["--scope", "d1:read"]);
    let path = format!("/client/v4/accounts/{}/d1/database/{ID}/query", key["account_id"].as_str().unwrap());
    let body = r#"{"sql": "SELECT name FROM sqlite_master WHERE name = ?", "params": ["a secret"]}"#;
    let token = key["token"].as_str().unwrap();
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}");
    // The lines of slow queries in the log of a server that was asked once.
    let logged = |arguments: &[&str], variables: &[(&str, &str)]| {
        let server = Served::start(here, &[&["--rest", "127.0.0.1:0"][..], arguments].concat(), variables);
        let answer = ask(rest(&server), &head, body);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let log = server.end();
        log.lines().filter(|line| line.contains("slow query")).map(str::to_owned).collect::<Vec<_>>()
    };
    let all = [("ISOBAR_SLOW_QUERIES", "0ms")];
    for lines in [logged(&["--slow-queries", "0ms"], &[]), logged(&[], &all)] {
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in ["DB", "SELECT name FROM sqlite_master WHERE name = ?", "SCAN sqlite_"] {
            assert!(lines[0].contains(part), "{part}: {lines:?}");
        }
        assert!(!lines[0].contains("a secret"), "{lines:?}");
    }
    assert!(logged(&["--slow-queries", "1m"], &all).is_empty(), "the flag overrides the environment");
}

#[test]
fn an_invalid_threshold_is_refused() {
    let folder = folder();
    for duration in ["100", "ms", "1h", "-1s", "99999999999999999999s"] {
        let told = refused(folder.path(), &["serve", "--port", "0", &format!("--slow-queries={duration}")]);
        assert!(told.contains("use 100ms, 2s or 1m"), "{told}");
    }
}

#[test]
fn options_of_the_doors_need_a_door() {
    let folder = folder();
    for option in ["--keyring", "--audit"] {
        let told = refused(folder.path(), &["serve", "--port", "0", option, "x"]);
        assert!(told.contains(option) && told.contains("it needs --rest, --s3 or --explorer"), "{told}");
    }
}

#[test]
fn backups_need_the_explorer() {
    let folder = folder();
    for options in [&["--backups", "x"][..], &["--rest", "127.0.0.1:0", "--backups", "x"]] {
        let told = refused(folder.path(), &[&["serve", "--port", "0"], options].concat());
        assert!(told.contains("--explorer"), "{told}");
    }
    let missing = ["serve", "--port", "0", "--explorer", "127.0.0.1:0", "--backups", "r2://backups/here"];
    let told = refused(folder.path(), &missing);
    assert!(told.contains("R2_ACCESS_KEY_ID"), "{told}");
}

/// A run that the explorer begins is one of the command's: in its place, and whole.
#[test]
#[cfg(unix)]
fn backup_of_a_database_that_is_served_is_one_of_the_command() {
    let folder = folder();
    let here = folder.path();
    ok(here, &["d1", "execute", "DB", "--command", "CREATE TABLE t (n); INSERT INTO t VALUES (1)"]);
    ok(here, &["d1", "time-travel", "enable", "DB"]);
    let key = created(here, &["--scope", "d1:write"]);
    let options = ["--explorer", "127.0.0.1:0", "--explorer-write", "--backups", "backups"];
    let server = Served::start(here, &options, &[]);
    let line = server.said.iter().find_map(|line| line.strip_prefix("explorer on http://")).unwrap();
    let address = line.split(' ').next().unwrap();
    let token = key["token"].as_str().unwrap();
    let call = |method: &str, path: &str| -> Value {
        let head = format!(
            "{method} /explorer/v1/backups/databases/business{path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: 0"
        );
        let answer = ask(address, &head, "");
        let json: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(json["success"], true, "{answer}");
        json["result"].clone()
    };
    for action in ["run", "verify"] {
        call("POST", &format!("/{action}"));
        let mut status = call("GET", "")["status"].take();
        while !status["in_flight"].is_null() {
            std::thread::sleep(std::time::Duration::from_millis(10));
            status = call("GET", "")["status"].take();
        }
        let report = &status[action]["report"];
        assert!(report["objects"].as_u64() > Some(0) && report["problems"] == serde_json::json!([]), "{status}");
    }
    let backup = call("GET", "");
    assert_eq!(backup["target"], "backups/d1/business");
    let restore = backup["states"][0]["restore"].as_str().unwrap();
    let words: Vec<&str> = restore.split(' ').collect();
    assert_eq!(words[0], "isobar");
    assert!(ok(here, &["d1", "verify", "backups/d1/business"]).contains("the newest state is good"));
    ok(here, &words[1..]); // as it is shown
    let rows = ok(here, &["--root", "restored", "d1", "execute", "DB", "--command", "SELECT n FROM t", "--json"]);
    let rows: Value = serde_json::from_str(&rows).unwrap();
    assert_eq!(rows[0]["results"], serde_json::json!([{"n": 1}]));
    drop(server);
}
