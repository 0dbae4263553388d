//! The dataset of the queries that are compared with ClickHouse: by the tests, and by `cargo xtask analytics-sql`.

use chrono::{DateTime, NaiveDateTime, Utc};
use isobar_analytics::query::{Analytics, MemoryDatasets, QueryOptions};
use isobar_analytics::{DataPoint, Event};
use serde_json::Value;

/// The events of the recorded answers.
pub(crate) fn events() -> Vec<Event> {
    let event = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        let list = |name: &str| event[name].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut point = DataPoint::new().with_index(text(&event["index"]));
        point.blobs = list("blobs").iter().map(|blob| text(blob).into()).collect();
        let double = |double: &Value| double.as_f64().unwrap_or_else(|| text(double).parse().unwrap());
        point.doubles = list("doubles").iter().map(double).collect();
        let timestamp =
            NaiveDateTime::parse_from_str(event["timestamp"].as_str().unwrap(), "%Y-%m-%d %H:%M:%S").unwrap();
        Event::new(timestamp.and_utc(), point)
    };
    include_str!("events.jsonl").lines().map(event).collect()
}

/// The time of `now()`.
fn now() -> DateTime<Utc> {
    "2024-04-01T00:00:00Z".parse().unwrap()
}

/// The executor over the events.
pub(crate) fn analytics() -> Analytics {
    let datasets = MemoryDatasets::new().with_events("events", events());
    Analytics::new(datasets).with_options(QueryOptions::default().with_now(now()))
}
