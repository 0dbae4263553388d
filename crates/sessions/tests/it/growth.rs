//! Commits and checkpoints that fail, in a process of their own where files may not grow: a write then fails as on a broken disk
//! (EFBIG).

use std::time::Duration;

use isobar_sessions::{ErrorKind, SessionNamespace, SessionNamespaceExt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use super::faults::{act, open, put};

const CHILD: &str = "ISOBAR_TEST_OF_FAILED_WRITES";

/// Runs the test of this name in a process of its own. Returns whether this is the process.
fn is_child(test: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    // The signal that comes with the error would end the process.
    let script = format!("trap '' XFSZ; exec \"$0\" --exact growth::{test}");
    let child = std::process::Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&child.stderr));
    false
}

/// Sets the size that files may have in this process; `None` lifts the limit.
fn limit(bytes: Option<u64>) {
    let allowed = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(allowed.maximum), ..allowed }).unwrap();
}

#[tokio::test]
async fn an_alarm_whose_end_was_not_stored_runs_again_and_its_object_works_at_once() {
    if !is_child("an_alarm_whose_end_was_not_stored_runs_again_and_its_object_works_at_once") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let host = open(folder.path());
    let handler = json!([{"op": "sleep", "ms": 1000}]);
    let set = json!([{"op": "put", "key": "in the alarm", "value": handler}, {"op": "set alarm", "in": 100}]);
    act(&host, "a", set).await;
    let count = json!([{"op": "caught", "do": {"op": "sql", "sql": "SELECT count(*) FROM alarms"}}]);
    let runs = async |least: i64| {
        let counted = async {
            while act(&host, "a", count.clone()).await[0]["ok"]["rows"][0][0].as_i64().unwrap_or_default() < least {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), counted).await.expect("the alarm runs");
    };
    runs(1).await;
    limit(Some(1024));
    tokio::time::sleep(Duration::from_millis(1500)).await; // the handler ends, and its end cannot be stored
    limit(None);
    act(&host, "a", put("after")).await;
    runs(2).await;
}

#[tokio::test]
async fn a_failed_checkpoint_shows_in_the_health_until_it_succeeds() {
    if !is_child("a_failed_checkpoint_shows_in_the_health_until_it_succeeds") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let host = open(folder.path());
    let large = |key: &str| json!([{"op": "put", "key": key, "value": "x".repeat(3 << 20)}]);
    for key in ["a", "b", "c", "d"] {
        act(&host, "large", large(key)).await;
    }
    host.evict(&host.id("large")).await.unwrap(); // all of it is in the file, and the log is empty
    host.health().await.unwrap();
    // The log fits, and the end of the file cannot be written.
    limit(Some(10 << 20));
    for key in ["e", "f"] {
        act(&host, "large", large(key)).await;
    }
    // The log is copied behind the answer.
    let health = async |is_well: bool| {
        for _ in 0..200 {
            let health = host.health().await;
            if health.is_ok() == is_well {
                return health;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the health does not change");
    };
    let error = health(false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.to_string().contains("write-ahead log") && error.to_string().contains(".db"), "{error}");
    limit(None);
    act(&host, "large", put("small")).await;
    health(true).await.unwrap();
    let got = act(&host, "large", json!([{"op": "get", "key": "small"}, {"op": "list"}])).await;
    assert_eq!(got, json!([1, ["a", "b", "c", "d", "e", "f", "small"]]));
}
