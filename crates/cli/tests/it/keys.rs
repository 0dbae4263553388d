//! Tests of `isobar keys`.

use serde_json::{Value, json};

use crate::{folder, ok, refused, run};

pub(crate) fn created(here: &std::path::Path, arguments: &[&str]) -> Value {
    let printed = ok(here, &[&["keys", "create", "--json"], arguments].concat());
    serde_json::from_str(&printed).unwrap()
}

#[test]
fn key_is_created_listed_and_revoked() {
    let folder = folder();
    let here = folder.path();
    let scope = ["--scope", "r2:read,d1:write", "--bucket", "STORAGE", "--prefix", "static/", "--expires", "30d"];
    let key = created(here, &scope);
    for (name, length) in [("account_id", 32), ("access_key_id", 32), ("secret_access_key", 64)] {
        assert_eq!(key[name].as_str().unwrap().len(), length, "{name}");
    }
    let again = created(here, &["--scope", "d1:read", "--database", "DB", "--name", "reader"]);
    assert_eq!(again["account_id"], key["account_id"]);
    let listed: Value = serde_json::from_str(&ok(here, &["keys", "list", "--json"])).unwrap();
    assert_eq!(listed[0]["scope"]["databases"], json!(["business"]));
    assert_eq!(listed[1]["scope"]["buckets"], json!(["assets"]));
    let id = key["access_key_id"].as_str().unwrap();
    ok(here, &["keys", "revoke", id]);
    let table = ok(here, &["keys", "list"]);
    assert!(table.contains("revoked") && table.contains("reader") && table.contains("static/*"), "{table}");
    for secret in ["secret_access_key", "token"] {
        assert!(!table.contains(key[secret].as_str().unwrap()));
    }
}

#[test]
fn looking_for_keys_creates_nothing() {
    let folder = folder();
    let here = folder.path();
    assert!(ok(here, &["keys", "list"]).starts_with("ID"));
    assert_eq!(ok(here, &["keys", "list", "--json"]).trim(), "[]");
    assert!(refused(here, &["keys", "revoke", "nothing"]).contains("there is no key nothing"));
    assert!(!here.join(".isobar").exists());
}

#[test]
fn key_for_an_unknown_resource_is_created_with_a_note() {
    let folder = folder();
    let here = folder.path();
    for (scope, option, name) in
        [("r2:read", "--bucket", "asets"), ("d1:read", "--database", "D"), ("analytics:read", "--dataset", "visit")]
    {
        let output = run(here, &["keys", "create", "--scope", scope, option, name]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && told.contains(&format!(" {name}, which is neither here")), "{told}");
    }
    let output =
        run(here, &["keys", "create", "--scope", "r2:read,d1:read", "--bucket", "STORAGE", "--database", "DB"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !told.contains("neither here"), "{told}");
}

#[test]
fn wrong_keys_are_refused() {
    let folder = folder();
    let here = folder.path();
    assert!(refused(here, &["keys", "create", "--scope", "r2:all"]).contains("unknown permission \"r2:all\""));
    assert!(refused(here, &["keys", "create"]).contains("--scope"));
    assert!(refused(here, &["keys", "create", "--scope", "d1:read", "--expires", "soon"]).contains("30d"));
    assert!(refused(here, &["keys", "create", "--scope", "d1:read", "--bucket", "STORAGE"]).contains("r2:read"));
    assert!(refused(here, &["keys", "revoke", "nothing"]).contains("there is no key nothing"));
    // A keyring that is gone is not replaced.
    created(here, &["--scope", "d1:read"]);
    std::fs::remove_file(here.join(".isobar/keys/keyring")).unwrap();
    assert!(refused(here, &["keys", "list"]).contains("put it back"));
}

#[test]
#[cfg(unix)]
fn keys_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;

    let folder = folder();
    let here = folder.path();
    assert!(run(here, &["keys", "create", "--scope", "d1:read"]).status.success());
    let mode = |path: &str| std::fs::metadata(here.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(".isobar/keys"), mode(".isobar/keys/keyring"), mode(".isobar/keys/keys.sqlite")),
        (0o700, 0o600, 0o600)
    );
}
