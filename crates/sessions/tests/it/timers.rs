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
    (LocalHost::open(folder.path(), "Probe", &options(&ahead), || ()).unwrap(), ahead)
}

fn options(ahead: &Arc<AtomicI64>) -> HostOptions {
    let by = Arc::clone(ahead);
    let clock = Clock::new(move || Utc::now() + TimeDelta::milliseconds(by.load(Ordering::SeqCst)));
    HostOptions::default().with_threads(1).with_clock(clock).with_clock_check(Duration::from_millis(10))
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
    let panics = json!([{"op": "sleep", "ms": 50}, {"op": "panic"}]); // what is noted of the run commits while it sleeps
    act(&host, json!([{"op": "set timer", "name": "bad", "in": 1, "do": panics}, {"op": "set timer", "name": "good", "in": 2}])).await;
    // The alarm's own retries, after 2 and 4 s, tell which timer it is.
    let runs = eventually(&host, 30, |fired| fired.iter().any(|name| name == "good")).await;
    assert!(runs.iter().filter(|name| *name == "bad").count() >= 2, "{runs:?}");
    let timers = act(&host, json!([{"op": "timers"}])).await;
    assert_eq!((&timers[0][0]["name"], &timers[0][0]["retries"]), (&"bad".into(), &1.into()), "{timers}");
    assert!(timers[0][0]["failure"].as_str().unwrap().contains("did not end"), "{timers}");
}

#[tokio::test]
async fn timer_made_ahead_of_the_clock_does_not_run_early_with_a_later_one() {
    let folder = tempfile::tempdir().unwrap();
    let (host, ahead) = open(&folder);
    ahead.store(365 * DAY, Ordering::SeqCst);
    act(&host, json!([{"op": "set timer", "name": "tomorrow", "in": DAY}])).await;
    ahead.store(0, Ordering::SeqCst);
    act(&host, json!([{"op": "set timer", "name": "soon", "in": 100}])).await;
    eventually(&host, 5, |fired| !fired.is_empty()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(fired(&host).await, ["soon"]);
    let timers = act(&host, json!([{"op": "timers"}])).await;
    assert!((DAY / 2..=DAY).contains(&timers[0][0]["in"].as_i64().unwrap()), "{timers}");
}

#[tokio::test]
async fn cancelled_timer_takes_none_with_it_that_was_made_ahead_of_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let (host, ahead) = open(&folder);
    ahead.store(365 * DAY, Ordering::SeqCst);
    let set =
        json!([{"op": "set timer", "name": "first", "in": 400}, {"op": "set timer", "name": "second", "in": 500}]);
    act(&host, set).await;
    ahead.store(0, Ordering::SeqCst);
    act(&host, json!([{"op": "cancel timer", "name": "first"}])).await;
    assert_eq!(eventually(&host, 10, |fired| !fired.is_empty()).await, ["second"]);
}

#[tokio::test]
async fn cron_time_runs_once_when_the_clock_goes_back_a_little_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let (host, ahead) = open(&folder);
    // A second before a minute begins.
    ahead.store(59_000 - Utc::now().timestamp_millis().rem_euclid(60_000), Ordering::SeqCst);
    let every = json!([{"op": "every", "name": "a", "cron": "* * * * *", "do": [{"op": "sleep", "ms": 500}]}, {"op": "timers"}]);
    let time = act(&host, every).await[1][0]["scheduled"].as_i64().unwrap();
    eventually(&host, 10, |fired| fired.len() == 1).await;
    ahead.fetch_sub(5_000, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1000)).await;
    let timers = act(&host, json!([{"op": "timers"}])).await;
    assert_eq!(timers[0][0]["scheduled"], time + 60_000, "{timers}");
}

#[tokio::test]
async fn no_timer_is_lost_when_more_of_them_panic_than_an_alarm_has_retries() {
    let folder = tempfile::tempdir().unwrap();
    let (host, ahead) = open(&folder);
    let panics = json!([{"op": "sleep", "ms": 50}, {"op": "panic"}]); // what is noted of the run commits while it sleeps
    let bad = |number| json!({"op": "set timer", "name": format!("bad {number}"), "in": 1, "do": panics});
    let mut set: Vec<_> = (0..8).map(bad).collect();
    set.push(json!({"op": "set timer", "name": "good", "in": 2}));
    act(&host, Value::from(set)).await;
    let sql = "SELECT count(*) FROM fired WHERE name = 'good'";
    let count = json!([{"op": "caught", "do": {"op": "sql", "sql": sql}}]);
    for _ in 0..200 {
        ahead.fetch_add(300_000, Ordering::SeqCst); // the waits of the alarm are over
        tokio::time::sleep(Duration::from_millis(50)).await;
        // It may meet the reset of the object.
        let counted = super::faults::try_act(&host, "timers", count.clone()).await;
        if counted.is_ok_and(|counted| counted[0]["ok"]["rows"] == json!([[1]])) {
            return;
        }
    }
    panic!("the last timer is lost: {}", act(&host, json!([{"op": "timers"}, {"op": "alarm"}])).await);
}

#[tokio::test]
async fn timers_wait_while_the_disk_is_at_its_reserve() {
    let folder = tempfile::tempdir().unwrap();
    let (host, ahead) = open(&folder);
    act(&host, json!([{"op": "set timer", "name": "a", "in": 3_600_000}])).await;
    drop(host);
    ahead.store(DAY, Ordering::SeqCst);
    let full = options(&ahead).with_reserve(u64::MAX);
    let host = LocalHost::<Probe>::open(folder.path(), "Probe", &full, || ()).unwrap();
    for _ in 0..20 {
        ahead.fetch_add(300_000, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(host);
    let host = LocalHost::<Probe>::open(folder.path(), "Probe", &options(&ahead), || ()).unwrap();
    ahead.fetch_add(300_000, Ordering::SeqCst);
    assert_eq!(eventually(&host, 10, |fired| !fired.is_empty()).await, ["a"]);
}

#[tokio::test]
async fn alarm_that_an_earlier_turn_has_set_outlives_a_panic_of_the_handler() {
    let folder = tempfile::tempdir().unwrap();
    let (host, _) = open(&folder);
    let later = json!([{"op": "set alarm", "in": 3_600_000}, {"op": "sleep", "ms": 20}, {"op": "panic"}]);
    act(&host, json!([{"op": "put", "key": "in the alarm", "value": later}, {"op": "set alarm", "in": 1}])).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let got = act(&host, json!([{"op": "alarm"}, {"op": "sql", "sql": "SELECT count(*) FROM alarms"}])).await;
    assert_eq!(got[1]["rows"], json!([[1]]), "{got}");
    assert!(got[0].as_i64().is_some_and(|ms| ms > 3_000_000), "{got}");
}
