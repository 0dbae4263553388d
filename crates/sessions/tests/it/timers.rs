//! Timers under clocks that jump, and handlers that panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use isobar_sessions::conformance::Probe;
use isobar_sessions::local::{Clock, HostOptions, LocalHost};
use isobar_sessions::{Body, SessionNamespaceExt};
use serde_json::{Value, json};

const DAY: i64 = 86_400_000;

async fn act(host: &LocalHost<Probe>, operations: Value) -> Value {
    let answer = host.post(&host.id("timers"), "/act", Body::from(operations.to_string())).await.unwrap();
    answer.into_body().json().await.unwrap()
}

/// A host whose clock is ahead by what the number says, in milliseconds.
fn open(folder: &tempfile::TempDir) -> (LocalHost<Probe>, Arc<AtomicI64>) {
    let ahead = Arc::new(AtomicI64::new(0));
    let by = Arc::clone(&ahead);
    let clock = Clock::new(move || Utc::now() + TimeDelta::milliseconds(by.load(Ordering::SeqCst)));
    let check = Duration::from_millis(10);
    let options = HostOptions::default().with_threads(1).with_clock(clock).with_clock_check(check);
    (LocalHost::open(folder.path(), "Probe", &options, || ()).unwrap(), ahead)
}

async fn fired(host: &LocalHost<Probe>) -> Vec<String> {
    let sql = json!([{"op": "caught", "do": {"op": "sql", "sql": "SELECT name FROM fired"}}]);
    let got = act(host, sql).await;
    let rows = got[0]["ok"]["rows"].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| row[0].as_str().unwrap().to_owned()).collect()
}

async fn eventually(host: &LocalHost<Probe>, seconds: u64, want: impl Fn(&[String]) -> bool) -> Vec<String> {
    for _ in 0..seconds * 50 {
        let fired = fired(host).await;
        if want(&fired) {
            return fired;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{:?} after {seconds} s", fired(host).await);
}

#[tokio::test]
async fn a_cron_expression_runs_once_for_the_times_that_a_jump_ahead_has_missed() {
    let folder = tempfile::tempdir().unwrap();
    let (host, ahead) = open(&folder);
    act(&host, json!([{"op": "every", "name": "hourly", "cron": "0 * * * *"}])).await;
    ahead.store(100 * DAY, Ordering::SeqCst);
    eventually(&host, 5, |fired| fired.len() == 1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(fired(&host).await, ["hourly"]);
    let timers = act(&host, json!([{"op": "timers"}])).await;
    assert!((0..=3_600_000).contains(&timers[0][0]["in"].as_i64().unwrap()), "{timers}");
}

#[tokio::test]
async fn timers_come_right_again_when_the_clock_goes_a_year_ahead_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let (host, ahead) = open(&folder);
    ahead.store(365 * DAY, Ordering::SeqCst);
    let set = json!([
        {"op": "set timer", "name": "soon", "in": 300}, {"op": "set timer", "name": "later", "in": 900},
        {"op": "set timer", "name": "tomorrow", "in": DAY}, {"op": "every", "name": "hourly", "cron": "0 * * * *"}
    ]);
    act(&host, set).await;
    ahead.store(0, Ordering::SeqCst);
    let runs = eventually(&host, 10, |fired| fired.len() >= 2).await;
    assert_eq!(runs, ["soon", "later"]);
    let timers = act(&host, json!([{"op": "timers"}])).await;
    let until = |name: &str| {
        let timers = timers[0].as_array().unwrap();
        timers.iter().find(|timer| timer["name"] == name).unwrap()["in"].as_i64().unwrap()
    };
    assert!((DAY / 2..=DAY).contains(&until("tomorrow")) && (0..=3_600_000).contains(&until("hourly")), "{timers}");
}

#[tokio::test]
async fn a_timer_whose_run_the_host_did_not_survive_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let crashed = tempfile::tempdir().unwrap();
    let (host, _) = open(&folder);
    let slow = json!([{"op": "sleep", "ms": 1000}]);
    act(&host, json!([{"op": "set timer", "name": "slow", "in": 1, "do": slow}])).await;
    eventually(&host, 5, |fired| fired.len() == 1).await;
    super::restart::copy(folder.path(), crashed.path());
    drop(host);
    let (host, _) = open(&crashed);
    eventually(&host, 5, |fired| fired.len() == 2).await;
    let timers = act(&host, json!([{"op": "timers"}])).await;
    assert_eq!(timers[0][0]["retries"], 0, "an end of the host is no failure of the timer: {timers}");
}

#[tokio::test]
async fn a_timer_that_panics_is_retried_alone_and_the_others_run() {
    let folder = tempfile::tempdir().unwrap();
    let (host, _) = open(&folder);
    let panics = json!([{"op": "sleep", "ms": 1}, {"op": "panic"}]);
    act(&host, json!([{"op": "set timer", "name": "bad", "in": 1, "do": panics}, {"op": "set timer", "name": "good", "in": 2}])).await;
    // The alarm's own retries, after 2 and 4 s, tell which timer it is.
    let runs = eventually(&host, 30, |fired| fired.iter().any(|name| name == "good")).await;
    assert!(runs.iter().filter(|name| *name == "bad").count() >= 2, "{runs:?}");
    let timers = act(&host, json!([{"op": "timers"}])).await;
    assert_eq!((&timers[0][0]["name"], &timers[0][0]["retries"]), (&"bad".into(), &1.into()), "{timers}");
    assert!(timers[0][0]["failure"].as_str().unwrap().contains("did not end"), "{timers}");
}
