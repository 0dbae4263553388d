//! State that survives the end of the host.

use isobar_sessions::conformance::Probe;
use isobar_sessions::local::{HostOptions, LocalHost};
use isobar_sessions::{Body, SessionNamespace, SessionNamespaceExt};
use serde_json::{Value, json};

async fn act(host: &LocalHost<Probe>, name: &str, operations: Value) -> Value {
    let answer = host.post(&host.id(name), "/act", Body::from(operations.to_string())).await.unwrap();
    answer.into_body().json().await.unwrap()
}

fn open(folder: &tempfile::TempDir) -> LocalHost<Probe> {
    LocalHost::open(folder.path(), "Probe", &HostOptions::default().with_threads(2), || ()).unwrap()
}

#[tokio::test]
async fn storage_ids_and_list_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let id = {
        let host = open(&folder);
        act(
            &host,
            "kept",
            json!([{"op": "put", "key": "k", "value": "v"}, {"op": "sql", "sql": "CREATE TABLE t (a)"}]),
        )
        .await;
        host.id("kept").to_string()
    };
    let host = open(&folder);
    assert_eq!(act(&host, "kept", json!([{"op": "get", "key": "k"}])).await, json!(["v"]));
    assert_eq!(host.parse_id(&id).unwrap(), host.id("kept"));
    let listed = host.list().await.unwrap();
    assert_eq!(listed.iter().map(|object| object.id.name()).collect::<Vec<_>>(), [Some("kept")]);
}

#[tokio::test]
async fn an_alarm_that_came_due_meanwhile_runs_after_the_restart() {
    let folder = tempfile::tempdir().unwrap();
    {
        let host = open(&folder);
        act(&host, "alarm", json!([{"op": "set alarm", "in": 300}])).await;
        act(&host, "late", json!([{"op": "set alarm", "in": 3_600_000}])).await;
    }
    std::thread::sleep(std::time::Duration::from_millis(400));
    let host = open(&folder);
    let entries = json!([{"op": "caught", "do": {"op": "sql", "sql": "SELECT count(*) FROM alarms"}}]);
    for _ in 0..100 {
        if act(&host, "alarm", entries.clone()).await[0]["ok"]["rows"] == json!([[1]]) {
            assert!(act(&host, "late", json!([{"op": "alarm"}])).await[0].as_i64().unwrap() > 3_000_000);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the alarm did not run");
}

/// Copies a folder as a crash would leave it: whatever is on disk at this moment.
pub(super) fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

#[tokio::test]
async fn an_alarm_that_was_running_when_the_host_crashed_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let crashed = tempfile::tempdir().unwrap();
    let host = open(&folder);
    let in_the_alarm = json!([{"op": "put", "key": "began", "value": true}, {"op": "sleep", "ms": 600}]);
    act(&host, "alarm", json!([{"op": "put", "key": "in the alarm", "value": in_the_alarm}])).await;
    // Dormant, so that the alarm wakes an object that has not announced itself.
    act(&host, "alarm", json!([{"op": "set alarm", "in": 100}])).await;
    host.evict(&host.id("alarm")).await.unwrap();
    std::thread::sleep(std::time::Duration::from_millis(400));
    copy(folder.path(), crashed.path());
    let host = open(&crashed);
    let entries = json!([{"op": "sql", "sql": "SELECT count(*) FROM alarms"}]);
    for _ in 0..100 {
        if act(&host, "alarm", entries.clone()).await[0]["rows"] == json!([[2]]) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the alarm did not run again");
}
