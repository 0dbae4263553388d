//! Scheduled tasks on the alarm of a session object.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use isobar_sessions::SessionNamespaceExt;
use isobar_sessions::memory::MemoryHost;
use isobar_sessions::scheduler::{ScheduledTask, Scheduler, schedule};

fn task(
    name: &'static str,
    runs: &Arc<AtomicUsize>,
    outcome: std::result::Result<&'static str, &'static str>,
) -> ScheduledTask {
    let runs = Arc::clone(runs);
    ScheduledTask::new(name, TimeDelta::hours(1), move || {
        runs.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { outcome.map(str::to_owned).map_err(str::to_owned) })
    })
}

#[tokio::test]
async fn tasks_run_once_when_they_are_due_and_report_their_outcomes() {
    let runs = Arc::new(AtomicUsize::new(0));
    let tasks = vec![task("sweep", &runs, Ok("3 rows")), task("broken", &runs, Err("no disk"))];
    let host = MemoryHost::<Scheduler>::new("Scheduler", move || tasks.clone()).unwrap();
    schedule(&host, "main").await.unwrap();
    schedule(&host, "main").await.unwrap();
    let report = async || host.get(&host.id("main"), "/").await.unwrap().into_body().text().await.unwrap();
    for _ in 0..200 {
        if report().await.contains("3 rows") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let report = report().await;
    assert!(report.contains(r#""outcome":"3 rows""#), "{report}");
    assert!(report.contains(r#""outcome":"failed: no disk""#), "{report}");
    assert_eq!(runs.load(Ordering::SeqCst), 2, "each task ran once: {report}");
}
