//! The inspector of alarms and timers.

use std::ops::ControlFlow;
use std::path::Path;

use chrono::{TimeDelta, Utc};
use isobar_sessions::local::{AlarmListOptions, Catalog, ObjectAlarm, TimerDetails};
use serde_json::{Value, json};

use super::catalog::{catalog, file, state};
use super::faults::{act, open, put};

const HOUR: i64 = 3_600_000;

/// Makes objects whose alarms are these numbers of hours from now, and one without an alarm.
async fn fill(folder: &Path, hours: &[i64]) {
    let host = open(folder);
    for hour in hours {
        act(&host, &format!("in {hour}"), json!([{"op": "set alarm", "in": hour * HOUR}])).await;
    }
    act(&host, "none", put("k")).await;
}

/// The names of all objects of a list, in pages of this size.
fn names(catalog: &Catalog, options: &AlarmListOptions, limit: usize) -> Vec<String> {
    let mut options = options.clone().with_limit(limit);
    let mut names = Vec::new();
    loop {
        let page = catalog.alarms(&options).unwrap();
        assert!(page.objects.len() <= limit);
        names.extend(page.objects.iter().map(|found| found.entry.id.name().unwrap().to_owned()));
        match page.cursor {
            None => return names,
            cursor => options = options.with_after(cursor),
        }
    }
}

fn timers(catalog: &Catalog, name: &str, most: usize) -> Vec<TimerDetails> {
    let mut timers = Vec::new();
    let is_there = catalog.timers(&catalog.id(name), |timer| {
        timers.push(timer);
        if timers.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert!(is_there.unwrap(), "{name}");
    timers
}

#[tokio::test]
async fn alarms_are_listed_by_their_time_in_pages_with_an_index_and_without() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &[7, 2, 9, 4, 1, 8, 3]).await;
    let before = state(folder.path());
    let look = || catalog(folder.path());
    let all = AlarmListOptions::default();
    let expected = ["in 1", "in 2", "in 3", "in 4", "in 7", "in 8", "in 9"];
    for limit in [1, 3, 7, 100] {
        assert_eq!(names(&look(), &all, limit), expected, "{limit}");
    }
    let soon = AlarmListOptions::default().with_until(Utc::now() + TimeDelta::minutes(150));
    assert_eq!(names(&look(), &soon, 100), expected[..2]);
    let page = look().alarms(&all).unwrap();
    let alarm = page.objects[0].alarm.as_ref().unwrap();
    assert_eq!((alarm.scheduled, alarm.retries, page.objects[0].timers), (alarm.due, 0, 0));
    assert_eq!(page.objects[0].entry.alarm, Some(alarm.due));
    let brief = look().alarms(&AlarmListOptions::default().without_files()).unwrap().objects;
    assert!(brief.len() == 7 && brief.iter().all(|found| found.alarm.is_none() && found.entry.alarm.is_some()));
    let one = |name: &str| look().alarm(&look().id(name)).unwrap();
    assert_eq!(one("in 1").as_ref(), page.objects.first());
    assert_eq!(one("none").map(|found| (found.alarm, found.entry.alarm)), Some((None, None)));
    assert_eq!(one("nobody"), None);
    assert!(state(folder.path()) == before, "looking has changed the folder");

    std::fs::remove_file(folder.path().join("index.db")).unwrap();
    let before = state(folder.path());
    for limit in [1, 3, 100] {
        assert_eq!(names(&look(), &all, limit), expected, "{limit}");
    }
    assert_eq!(names(&look(), &soon, 100), expected[..2]);
    assert!(state(folder.path()) == before, "looking has changed the folder");
}

#[tokio::test]
async fn alarms_of_a_running_host_are_listed_with_their_failures_and_without_those_that_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let host = open(folder.path());
    for name in ["fails", "later", "deleted"] {
        act(&host, name, json!([{"op": "set alarm", "in": HOUR}])).await;
    }
    act(&host, "deleted", json!([{"op": "delete alarm"}])).await;
    let fail = json!([{"op": "fail", "text": "timer boom"}]);
    act(&host, "fails", json!([{"op": "set timer", "name": "boom", "in": 1, "do": fail}])).await;
    let found = |name: &str| -> ObjectAlarm {
        let catalog = catalog(folder.path());
        catalog.alarm(&catalog.id(name)).unwrap().unwrap()
    };
    for _ in 0..200 {
        if timers(&catalog(folder.path()), "fails", 10)[0].retries > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let timer = &timers(&catalog(folder.path()), "fails", 10)[0];
    assert_eq!((timer.name.as_str(), timer.failure.as_deref()), ("boom", Some("timer boom")));
    assert!(timer.retries >= 1 && timer.due > Some(timer.scheduled), "{timer:?}");
    assert_eq!((found("fails").timers, found("later").timers), (1, 0));
    assert_eq!(names(&catalog(folder.path()), &AlarmListOptions::default(), 100), ["fails", "later"]);
}

#[tokio::test]
async fn timers_of_an_object_come_in_the_order_in_which_they_run() {
    let folder = tempfile::tempdir().unwrap();
    let payload: Value = json!([{"op": "put", "key": "k", "value": "é"}]);
    let set = json!([
        {"op": "set timer", "name": "late", "in": 2 * HOUR}, {"op": "set timer", "name": "soon", "in": HOUR / 2, "do": payload},
        {"op": "every", "name": "yearly", "cron": "0 0 1 1 *"}
    ]);
    act(&open(folder.path()), "Ada", set).await;
    let before = state(folder.path());
    let catalog = catalog(folder.path());
    let listed = timers(&catalog, "Ada", 10);
    let mut names: Vec<_> = listed.iter().map(|timer| timer.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["late", "soon", "yearly"]);
    assert!(listed.is_sorted_by_key(|timer| timer.due));
    let named = |name: &str| listed.iter().find(|timer| timer.name == name).unwrap();
    assert_eq!(named("soon").payload_bytes, payload.to_string().len() as u64);
    let yearly = named("yearly");
    assert_eq!((yearly.cron.as_deref(), yearly.due), (Some("0 0 1 1 *"), Some(yearly.scheduled)));
    assert_eq!(timers(&catalog, "Ada", 1).len(), 1, "it is broken off");
    let found = catalog.alarm(&catalog.id("Ada")).unwrap().unwrap();
    assert_eq!((found.timers, found.alarm.unwrap().due), (3, listed[0].due.unwrap()));
    assert!(!catalog.timers(&catalog.id("nobody"), |_| ControlFlow::Continue(())).unwrap());
    assert!(state(folder.path()) == before, "looking has changed the folder");
}

#[tokio::test]
async fn alarm_of_a_damaged_object_is_listed_with_the_damage() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &[1, 2]).await;
    let catalog = catalog(folder.path());
    std::fs::write(file(folder.path(), &catalog, "in 1"), vec![b'x'; 9000]).unwrap();
    let objects = catalog.alarms(&AlarmListOptions::default()).unwrap().objects;
    let damaged: Vec<_> = objects.iter().map(|found| found.entry.damage.is_some()).collect();
    assert_eq!((damaged, objects[0].alarm.is_none()), (vec![true, false], true));
    let error = catalog.timers(&catalog.id("in 1"), |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(error.kind(), isobar_sessions::ErrorKind::Damaged);
}
