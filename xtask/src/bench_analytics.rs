//! Compares local queries of analytics with DuckDB, over the same Parquet segments of ten million points, in one run: `cargo xtask bench
//! analytics`.
//!
//! Both take turns, each in a process of its own with the files in the system's cache; the time of a query is the median of all its runs but
//! the first of each process. Their answers must be equal.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Outcome, cargo, readers, run as execute, target};

const SCRIPT: &str = include_str!("../py/bench_analytics.py");
const ROUNDS: usize = 3;
/// Most difference of two numbers that are equal, as a share: sums of doubles depend on their order.
const ROUNDING: f64 = 1e-9;

/// Queries: a name, the text for Analytics Engine's SQL, and that for DuckDB. The points are of 30 days from 2026-09-21 on.
const QUERIES: [(&str, &str, &str); 6] = [
    (
        "count and sum",
        "SELECT count() AS n, sum(double2) AS s FROM requests",
        "SELECT count(*), sum(double2) FROM TABLE",
    ),
    (
        "hourly series",
        "SELECT toStartOfHour(timestamp) AS h, count() AS n FROM requests GROUP BY h ORDER BY h",
        "SELECT strftime(date_trunc('hour', timestamp), '%Y-%m-%d %H:%M:%S') AS h, count(*) FROM TABLE GROUP BY h ORDER BY h",
    ),
    (
        "top 10 routes of 30 days",
        "SELECT blob2 AS r, count() AS n FROM requests WHERE timestamp >= toDateTime('2026-09-21 00:00:00') GROUP BY r ORDER BY n DESC, r LIMIT 10",
        "SELECT blob2 AS r, count(*) AS n FROM TABLE WHERE timestamp >= TIMESTAMPTZ '2026-09-21 00:00:00+00' GROUP BY r ORDER BY n DESC, r LIMIT 10",
    ),
    (
        "p95 by status",
        "SELECT blob3 AS s, quantileExactWeighted(0.95)(double1, _sample_interval) AS p FROM requests GROUP BY s ORDER BY s",
        "SELECT blob3 AS s, quantile_disc(double1, 0.95) AS p FROM TABLE GROUP BY s ORDER BY s",
    ),
    (
        "one customer by day",
        "SELECT toStartOfDay(timestamp) AS d, count() AS n FROM requests WHERE index1 = 'tenant-0100' GROUP BY d ORDER BY d",
        "SELECT strftime(date_trunc('day', timestamp), '%Y-%m-%d %H:%M:%S') AS d, count(*) FROM TABLE WHERE index1 = 'tenant-0100' GROUP BY d ORDER BY d",
    ),
    (
        "one customer, one day",
        "SELECT count() AS n, sum(double2) AS s FROM requests WHERE index1 = 'tenant-0100' \
         AND timestamp >= toDateTime('2026-10-01 00:00:00') AND timestamp < toDateTime('2026-10-02 00:00:00')",
        "SELECT count(*), sum(double2) FROM TABLE WHERE index1 = 'tenant-0100' \
         AND timestamp >= TIMESTAMPTZ '2026-10-01 00:00:00+00' AND timestamp < TIMESTAMPTZ '2026-10-02 00:00:00+00'",
    ),
];

/// The runs of one contender.
#[derive(Default)]
struct Runs {
    /// Milliseconds, by the query's name.
    times: BTreeMap<String, Vec<f64>>,
    answers: BTreeMap<String, String>,
    /// Most memory of a process in MiB.
    memory: u64,
}

impl Runs {
    /// Takes the lines of one process.
    fn add(&mut self, printed: &str) -> Outcome {
        for line in printed.lines().filter(|line| line.starts_with('{')) {
            let run: Value = serde_json::from_str(line)?;
            let name = run["name"].as_str().unwrap_or_default().to_owned();
            let times = run["ms"].as_array().into_iter().flatten().filter_map(Value::as_f64);
            self.times.entry(name.clone()).or_default().extend(times);
            self.answers.insert(name, run["answer"].as_str().unwrap_or_default().to_owned());
            self.memory = self.memory.max(run["memory"].as_u64().unwrap_or_default());
        }
        Ok(())
    }

    /// Returns the median time of a query in milliseconds.
    fn median(&self, name: &str) -> Result<f64, String> {
        let mut times = self.times.get(name).cloned().unwrap_or_default();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().ok_or_else(|| format!("no time of {name:?} was printed"))
    }

    fn answer(&self, name: &str) -> &str {
        self.answers.get(name).map_or("", String::as_str)
    }
}

pub(crate) fn run(arguments: &[String]) -> Outcome {
    if !arguments.is_empty() {
        return Err("`cargo xtask bench analytics` takes no arguments".into());
    }
    let folder = std::path::absolute(target().join("bench-analytics"))?;
    let dataset = folder.join("requests");
    if !folder.join("written").exists() {
        println!("writing the dataset, once, into {}", dataset.display());
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder)?;
        execute(bench("size").env("ISOBAR_DATASET", &dataset))?;
        fs::write(folder.join("written"), "")?;
    }
    let script = folder.join("bench_analytics.py");
    fs::write(&script, SCRIPT)?;
    let python = readers::python()?;
    let mut ours = Runs::default();
    let mut duckdb = Runs::default();
    for _ in 0..ROUNDS {
        ours.add(&ask(&dataset)?)?;
        duckdb.add(&ask_duckdb(&python, &script, &dataset)?)?;
    }
    println!("{:26} {:>10} {:>10} {:>8}", "", "isobar ms", "DuckDB ms", "ratio");
    for (name, _, _) in QUERIES {
        let is_equal = equal(ours.answer(name), duckdb.answer(name));
        if !is_equal {
            return Err(
                format!("{name}: isobar answers\n{}and DuckDB\n{}", ours.answer(name), duckdb.answer(name)).into()
            );
        }
        let times = [ours.median(name)?, duckdb.median(name)?];
        println!("{name:26} {:>10.1} {:>10.1} {:>7.2}x", times[0], times[1], times[0] / times[1]);
    }
    println!("{:26} {:>6} MiB {:>6} MiB", "memory at most", ours.memory, duckdb.memory);
    Ok(())
}

/// The bench of the crate, in one of its modes.
fn bench(mode: &str) -> Command {
    let mut command = cargo();
    command.args([
        "bench",
        "--quiet",
        "--package",
        "isobar-analytics",
        "--all-features",
        "--bench",
        "analytics",
        "--",
        mode,
    ]);
    command
}

/// Runs the queries here, and returns what was printed.
fn ask(dataset: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let mut process =
        bench("ask").env("ISOBAR_DATASET", dataset).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = process.stdin.take().ok_or("the bench has no input")?;
    for (name, sql, _) in QUERIES {
        writeln!(input, "{name}\t{sql}")?;
    }
    drop(input);
    let output = process.wait_with_output()?;
    if !output.status.success() {
        return Err("the bench has failed".into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn ask_duckdb(python: &Path, script: &Path, dataset: &Path) -> Result<String, Box<dyn std::error::Error>> {
    // In the order of the list: a map of serde_json sorts by name, and so would the runs.
    let queries: Vec<String> = QUERIES.iter().map(|(name, _, sql)| format!("{name:?}: {sql:?}")).collect();
    let queries = format!("{{{}}}", queries.join(", "));
    let output = Command::new(python).arg(script).arg(dataset).arg(queries).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Whether two answers have the same cells: equal texts, or numbers that are equal but for rounding.
fn equal(left: &str, right: &str) -> bool {
    let is_same = |(left, right): (&str, &str)| match (left.parse::<f64>(), right.parse::<f64>()) {
        (Ok(left), Ok(right)) => (left - right).abs() <= ROUNDING * left.abs().max(right.abs()),
        _ => left == right,
    };
    left.lines().count() == right.lines().count()
        && left.lines().zip(right.lines()).all(|(left, right)| {
            left.split('\t').count() == right.split('\t').count()
                && left.split('\t').zip(right.split('\t')).all(is_same)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_equal_but_for_the_rounding_of_numbers() {
        assert!(equal("a\t1.0000000000001\n", "a\t1\n"));
        for other in ["a\t1.1\n", "b\t1\n", "a\n", "a\t1\nb\t1\n"] {
            assert!(!equal("a\t1\n", other), "{other:?}");
        }
    }
}
