//! Cron triggers under a clock that jumps.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use isobar_sessions::local::{Clock, HostOptions, LocalHost};
use isobar_sessions::triggers::{CronTrigger, CronTriggers, ScheduledEvent};
use isobar_sessions::{ErrorKind, SessionNamespaceExt};
use serde_json::Value;

const HOURLY: &str = "0 * * * *";
const DAILY: &str = "30 3 * * *";
const DAY: i64 = 86_400_000;

type Events = Arc<Mutex<Vec<ScheduledEvent>>>;

/// Triggers that note their events; those of the hourly one fail.
fn triggers(crons: &[&str], events: &Events) -> CronTriggers {
    let crons: Vec<_> = crons.iter().map(|cron| (*cron).to_owned()).collect();
    let events = Arc::clone(events);
    let handler = move |event: ScheduledEvent| {
        let fails = event.cron == HOURLY;
        events.lock().unwrap().push(event);
        async move { if fails { Err("no disk") } else { Ok(()) } }
    };
    CronTriggers::new(&crons, handler).unwrap()
}

async fn open(folder: &tempfile::TempDir, triggers: CronTriggers, ahead: &Arc<AtomicI64>) -> LocalHost<CronTrigger> {
    let by = Arc::clone(ahead);
    let clock = Clock::new(move || Utc::now() + TimeDelta::milliseconds(by.load(Ordering::SeqCst)));
    let check = Duration::from_millis(10);
    let options = HostOptions::default().with_threads(1).with_clock(clock).with_clock_check(check);
    let of_each = triggers.clone();
    let host = LocalHost::open(folder.path(), "CronTrigger", &options, move || of_each.clone()).unwrap();
    triggers.start(&host).await.unwrap();
    host
}

async fn report(host: &LocalHost<CronTrigger>, cron: &str) -> Value {
    host.get(&host.id(cron), "/").await.unwrap().into_body().json().await.unwrap()
}

async fn wait_for(events: &Events, count: usize) {
    for _ in 0..250 {
        if events.lock().unwrap().len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn each_trigger_runs_once_for_what_was_missed_also_while_no_host_ran() {
    let folder = tempfile::tempdir().unwrap();
    let events = Events::default();
    let ahead = Arc::new(AtomicI64::new(0));
    let host = open(&folder, triggers(&[HOURLY, DAILY], &events), &ahead).await;
    let next = report(&host, DAILY).await["next"].clone();
    ahead.store(10 * DAY, Ordering::SeqCst);
    wait_for(&events, 2).await;
    let mut crons: Vec<_> = events.lock().unwrap().iter().map(|event| event.cron.clone()).collect();
    crons.sort();
    assert_eq!(crons, [HOURLY, DAILY]);
    let daily = events.lock().unwrap().iter().find(|event| event.cron == DAILY).unwrap().scheduled_time;
    assert_eq!(daily.to_rfc3339(), next.as_str().unwrap(), "the first that was missed");
    let hourly = report(&host, HOURLY).await;
    assert_eq!(hourly["last"]["failure"], "no disk");
    assert!(hourly["next"].is_string(), "a failure is not retried, and the next time comes: {hourly}");

    drop(host);
    ahead.store(20 * DAY, Ordering::SeqCst);
    let host = open(&folder, triggers(&[HOURLY, DAILY], &events), &ahead).await;
    wait_for(&events, 4).await;
    assert_eq!(events.lock().unwrap().len(), 4);
    assert_eq!(report(&host, DAILY).await["last"]["failure"], Value::Null);
}

#[tokio::test]
async fn a_trigger_that_is_no_longer_configured_ends() {
    let folder = tempfile::tempdir().unwrap();
    let events = Events::default();
    let ahead = Arc::new(AtomicI64::new(0));
    drop(open(&folder, triggers(&[HOURLY, DAILY], &events), &ahead).await);
    ahead.store(2 * DAY, Ordering::SeqCst);
    let host = open(&folder, triggers(&[DAILY], &events), &ahead).await;
    wait_for(&events, 1).await;
    assert!(events.lock().unwrap().iter().all(|event| event.cron == DAILY));
    assert_eq!(report(&host, HOURLY).await["next"], Value::Null);
}

#[test]
fn an_invalid_expression_is_refused_at_once() {
    let crons = ["* * * *".to_owned()];
    let error = CronTriggers::new(&crons, |_| async { Ok::<(), String>(()) }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn a_handler_that_panics_has_failed_and_is_not_called_again_for_that_time() {
    let folder = tempfile::tempdir().unwrap();
    let events = Events::default();
    let ahead = Arc::new(AtomicI64::new(0));
    let noted = Arc::clone(&events);
    let handler = move |event: ScheduledEvent| {
        noted.lock().unwrap().push(event.clone());
        async move {
            assert!(event.cron.is_empty(), "the handler panics on purpose");
            Ok::<(), String>(())
        }
    };
    let host = open(&folder, CronTriggers::new(&[DAILY.to_owned()], handler).unwrap(), &ahead).await;
    ahead.store(2 * DAY, Ordering::SeqCst);
    wait_for(&events, 1).await;
    tokio::time::sleep(Duration::from_secs(3)).await; // the wait before an alarm's retry, and more
    assert_eq!(events.lock().unwrap().len(), 1);
    let report = report(&host, DAILY).await;
    assert_eq!(report["last"]["failure"], "the handler panicked");
    assert!(report["next"].is_string(), "{report}");
}
