//! Reads the Parquet segments of a local dataset with DuckDB, chDB (ClickHouse) and pyarrow, compares random queries with chDB,
//! and writes to chDB and asks it over HTTP.

use std::fs;
use std::process::Command;

use isobar_analytics::local::{CompactionOptions, LocalOptions, LocalSink};
use isobar_analytics::{DataPoint, EventSink};
use serde_json::{Value, json};

use crate::readers::READERS;
use crate::{Outcome, analytics_clickhouse, analytics_sql, readers, target};

const SCRIPT: &str = include_str!("../py/analytics.py");
/// Number of random queries, which take some ten seconds, and their seed.
const QUERIES: [&str; 2] = ["2000", "1"];
/// Points of the dataset, in two segments.
const POINTS: u64 = 100_000;
const TENANTS: u64 = 97;
const ROUTES: u64 = 41;
/// Time of the first point, in milliseconds; the others follow it each 700 ms.
const BEGIN: i64 = 1_790_000_000_123;
/// The types of time, text and number, by reader.
const TYPES: [(&str, [&str; 3]); 3] = [
    ("duckdb", ["TIMESTAMP WITH TIME ZONE", "VARCHAR", "DOUBLE"]),
    ("chdb", ["DateTime64(3, 'UTC')", "String", "Float64"]),
    ("pyarrow", ["timestamp[ms, tz=UTC]", "string", "double"]),
];

pub(crate) fn run() -> Outcome {
    let folder = std::path::absolute(target().join("analytics-segments"))?;
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let dataset = folder.join("requests");
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(write(&dataset))?;
    let script = folder.join("analytics.py");
    fs::write(&script, SCRIPT)?;
    let output = Command::new(readers::python()?).arg(script).arg(&dataset).arg(tenant(17)).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let found = String::from_utf8(output.stdout)?;
    let found = found.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    if found.len() != READERS.len() {
        return Err(format!("{} of {} readers have answered", found.len(), READERS.len()).into());
    }
    let seconds: i64 = (0..POINTS as i64).map(|number| (BEGIN + 700 * number).div_euclid(1000)).sum();
    let bytes: u64 = (0..POINTS).map(|number| number % 5000).sum();
    let sums = json!([POINTS, POINTS, seconds, TENANTS, ROUTES, bytes, POINTS.div_ceil(2)]);
    let one = json!([(0..POINTS).filter(|number| number % TENANTS == 17).count(), "404"]);
    for found in &found {
        let reader = found["reader"].as_str().unwrap_or_default();
        let types = TYPES.iter().find(|(name, _)| *name == reader).map(|(_, types)| json!([types]));
        let expected = [("sums", &sums), ("one", &one), ("types", &types.unwrap_or_default()), ("files", &json!(2))];
        for (what, expected) in expected {
            if found[what] != *expected {
                return Err(format!("{reader} reads {what} as {}, expected {expected}", found[what]).into());
            }
        }
    }
    println!("{POINTS} points in 2 Parquet segments read alike by DuckDB, chDB and pyarrow");
    let [count, seed] = QUERIES;
    analytics_sql::compare(count, seed)?;
    analytics_clickhouse::run()
}

/// Writes the dataset and compacts it.
async fn write(folder: &std::path::Path) -> Outcome {
    let count = std::sync::atomic::AtomicI64::new(0);
    let clock = move || {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        chrono::DateTime::from_timestamp_millis(BEGIN + 700 * number).expect("the time is in this century")
    };
    let options = LocalOptions::default().with_buffer(POINTS as usize).with_clock(clock);
    let sink = LocalSink::open_with(folder, options)?;
    for number in 0..POINTS {
        let status = if number % 100 == 0 { "404" } else { "200" };
        sink.write(
            DataPoint::new()
                .with_index(tenant(number))
                .with_blob(if number % 2 == 0 { "GET" } else { "POST" })
                .with_blob(format!("/api/é/{}", number % ROUTES))
                .with_blob(status)
                .with_double(number as f64 / 8.0)
                .with_double((number % 5000) as f64),
        );
        if number == POINTS / 2 {
            sink.compact(CompactionOptions::default()).await?;
        }
    }
    sink.compact(CompactionOptions::default()).await?;
    match sink.stats().dropped {
        0 => Ok(()),
        dropped => Err(format!("{dropped} points were dropped").into()),
    }
}

fn tenant(number: u64) -> String {
    format!("tenant-{:02}", number % TENANTS)
}
