//! Tests that a missing or different keyring is refused at the start.

use std::path::Path;
use std::process::Command;

use isobar_db::vault::Keyring;
use isobar_db::{QueryableExt, SqliteDatabase};
use serde_json::json;

use crate::harness::Platform;

/// Returns the message of a start that is refused.
fn refusal(root: &Path, keyring: Option<&str>) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_platform"));
    command.args(["--port", "0", "--root"]).arg(root);
    if let Some(keyring) = keyring {
        command.env("ISOBAR_KEYRING", keyring);
    }
    let output = command.output().unwrap();
    assert!(!output.status.success());
    assert!(!String::from_utf8_lossy(&output.stdout).contains("serving"));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_missing_or_another_keyring_is_refused_and_the_right_one_serves_again() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = folder.path().join("keyring");
    let kept = folder.path().join("kept");
    let mut platform = Platform::owned(folder.path());
    // Pseudonyms are derived from the vault's keys.
    assert_eq!(platform.post("/api/analytics/track", &json!({"name": "opened"})).0, 202);
    platform.kill();
    std::fs::rename(&keyring, &kept).unwrap();
    let missing = refusal(folder.path(), None);
    assert!(missing.contains("keyring does not exist") && missing.contains("restore"), "{missing}");
    assert!(!keyring.exists(), "none is made in its place");

    let other = Keyring::generate("other").unwrap();
    let text = other.expose_text().unwrap();
    let told = refusal(folder.path(), Some(text));
    assert!(told.contains("not the one that the database DB was sealed with"), "{told}");
    other.write_new(&keyring).unwrap();
    let told = refusal(folder.path(), None);
    assert!(told.contains("not the one") && told.contains("keyring: "), "{told}");

    std::fs::rename(&kept, &keyring).unwrap();
    let platform = Platform::again(folder.path(), &platform);
    assert_eq!(platform.post("/api/analytics/track", &json!({"name": "opened"})).0, 202);
}

#[tokio::test]
async fn a_database_that_has_lost_its_vault_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    Platform::start(folder.path()).kill();
    let business = std::fs::read_dir(folder.path().join("d1")).unwrap().flatten().map(|entry| entry.path());
    let mut vault = None;
    for path in business.filter(|path| path.extension().is_some_and(|extension| extension == "sqlite")) {
        let database = SqliteDatabase::open(&path).await.unwrap();
        let tables = "SELECT count(*) FROM sqlite_master WHERE name IN ('vault_keys', 'vault_columns')";
        if database.prepare(tables).one::<i64>().await.unwrap() == 2 {
            vault = Some(path);
        }
    }
    let vault = vault.expect("one of the databases has a vault");
    // The last one is also a database whose migrations are in a table of another name.
    for (script, message) in [
        ("DROP TABLE vault_columns", "has lost the table vault_columns: restore it from a backup"),
        ("DROP TABLE vault_keys", "has lost the tables vault_columns and vault_keys, and with vault_keys the keys"),
        ("DROP TABLE d1_migrations", "has lost the tables vault_columns and vault_keys, and with vault_keys the keys"),
    ] {
        SqliteDatabase::open(&vault).await.unwrap().run_script(script).await.unwrap();
        let told = refusal(folder.path(), None);
        assert!(told.contains(message) && told.contains("from a backup"), "{script}: {told}");
    }
}
