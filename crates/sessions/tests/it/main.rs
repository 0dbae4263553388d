//! The conformance kit on every host, and what is particular to the local one.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and say what it has measured")]

mod alarms;
mod awake;
mod backup;
mod catalog;
mod drain;
mod faults;
mod flood;
#[cfg(target_os = "linux")]
mod growth;
mod history;
mod journal;
mod overload;
mod restart;
#[cfg(target_os = "linux")]
mod scale;
mod scheduler;
mod sockets;
mod timers;
mod triggers;

use std::sync::Arc;
use std::time::Duration;

use isobar_sessions::conformance::{self, Probe};
use isobar_sessions::local::{HistoryOptions, HostOptions, LocalHost};
use isobar_sessions::memory::MemoryHost;
use isobar_sessions::mock::MockNamespace;
use isobar_sessions::{Body, Error, ErrorKind, Message, SessionNamespace, SessionNamespaceExt};

#[tokio::test]
async fn memory_conforms() {
    let host = MemoryHost::<Probe>::new("Probe", || ()).unwrap();
    conformance::run(async || Arc::new(host.clone()) as _).await.assert_green();
}

#[tokio::test]
async fn local_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let host = LocalHost::<Probe>::open(folder.path(), "Probe", &HostOptions::default(), || ()).unwrap();
    conformance::run(async || Arc::new(host.clone()) as _).await.assert_green();
}

fn with_history() -> HostOptions {
    HostOptions::default().with_history(HistoryOptions::default())
}

#[tokio::test]
async fn memory_with_a_history_conforms() {
    let host = MemoryHost::<Probe>::with_options("Probe", &with_history(), || ()).unwrap();
    let report = conformance::run(async || Arc::new(host.clone()) as _).await;
    assert!(host.capabilities().time_travel);
    assert_eq!(report.passed(), report.outcomes.len(), "{report}");
}

#[tokio::test]
async fn local_with_histories_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let host = LocalHost::<Probe>::open(folder.path(), "Probe", &with_history(), || ()).unwrap();
    let report = conformance::run(async || Arc::new(host.clone()) as _).await;
    assert!(host.capabilities().time_travel);
    assert_eq!(report.passed(), report.outcomes.len(), "{report}");
}

#[tokio::test]
async fn local_conforms_when_objects_hibernate_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let options = HostOptions::default().with_idle(Duration::ZERO);
    let host = LocalHost::<Probe>::open(folder.path(), "Probe", &options, || ()).unwrap();
    let report = conformance::run(async || Arc::new(host.clone()) as _).await;
    // What is in the memory of an instance or of its connection, or belongs to sockets that there are not yet, is gone sooner here;
    // nothing else.
    let failed: Vec<_> = report
        .outcomes
        .iter()
        .filter(|(_, _, outcome)| matches!(outcome, isobar_testkit::Outcome::Failed(_)))
        .map(|(_, name, _)| *name)
        .filter(|name| {
            ![
                "one_instance_answers_all",
                "an_objects_error_reaches_its_caller",
                "events_interleave_at_awaits",
                "an_auto_response_does_not_wake_the_object",
                "changes_count_what_the_object_has_written",
            ]
            .contains(name)
        })
        .collect();
    assert_eq!(failed, Vec::<&str>::new(), "{report}");
}

#[tokio::test]
async fn a_mock_without_a_script_conforms_and_fails_as_scripted() {
    let mock = MockNamespace::new(MemoryHost::<Probe>::new("Probe", || ()).unwrap());
    conformance::run(async || Arc::new(mock.clone()) as _).await.assert_green();
    mock.script().fail_next("fetch", Error::new(ErrorKind::Overloaded, "Durable Object is overloaded."));
    let error = mock.get(&mock.id("a"), "/").await.unwrap_err();
    assert!(error.is_overloaded() && error.is_retryable());
    assert_eq!((error.operation(), error.message()), ("fetch", "Durable Object is overloaded."));
}

#[tokio::test]
async fn a_hosts_error_names_its_operation_and_keeps_the_objects_text() {
    let host = MemoryHost::<Probe>::new("Probe", || ()).unwrap();
    let id = host.id("a");
    let error = host.post(&id, "/act", Body::from("this is no list of operations")).await.unwrap_err();
    assert_eq!((error.operation(), error.to_string().as_str()), ("fetch", error.message()));
    assert_eq!(Error::new(ErrorKind::Internal, "inside an object").operation(), "");
}

#[tokio::test]
async fn too_many_events_are_refused_as_overloaded() {
    let options = HostOptions::default().with_events(4);
    let host = MemoryHost::<Probe>::with_options("Probe", &options, || ()).unwrap();
    let id = host.id("crowd");
    host.post(&id, "/act", Body::from("[]")).await.unwrap(); // started: the start is an event too
    let slow = || host.post(&id, "/act", Body::from(r#"[{"op": "sleep", "ms": 200}]"#));
    let answers = futures_util::future::join_all((0..10).map(|_| slow())).await;
    let refused: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 6);
    assert!(refused.iter().all(Error::is_overloaded));
}

#[tokio::test]
async fn second_host_of_a_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = HostOptions::default().with_threads(1);
    let host = LocalHost::<Probe>::open(folder.path(), "Probe", &options, || ()).unwrap();
    let error = LocalHost::<Probe>::open(folder.path(), "Probe", &options, || ()).unwrap_err();
    assert!(error.to_string().contains("another process hosts"), "{error}");
    drop(host);
    LocalHost::<Probe>::open(folder.path(), "Probe", &options, || ()).unwrap();
}

#[tokio::test]
async fn a_host_that_ends_closes_its_sockets_with_1001() {
    let host = MemoryHost::<Probe>::new("Probe", || ()).unwrap();
    let mut socket = host.connect(&host.id_from_name("ends"), "/socket/a").await.unwrap();
    assert_eq!(socket.receive().await.unwrap().unwrap(), Message::Text("welcome a".into()));
    tokio::task::spawn_blocking(move || drop(host)).await.unwrap();
    assert_eq!(socket.receive().await.unwrap().unwrap_err().code, 1001);
}
