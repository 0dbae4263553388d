//! Compares queries of Analytics Engine's SQL with ClickHouse (chDB), which Analytics Engine runs on.

#[path = "../../crates/analytics/tests/it/query/events.rs"]
#[allow(clippy::unwrap_used, reason = "it is a part of tests")]
pub(crate) mod events;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

use isobar_analytics::query::{Format, Query};
use serde_json::Value;

use crate::{Outcome, readers, target};

const SCRIPT: &str = include_str!("../py/analytics_sql.py");
/// Folder of the events, the recorded queries and their answers.
pub(crate) const RECORDED: &str = "crates/analytics/tests/it/query";
/// Number of random queries where none is given.
const QUERIES: &str = "5000";
/// Differences that are known: a part of the error here, and the reason.
const KNOWN: [(&str, &str); 1] = [(
    "no common type",
    "ClickHouse makes a Variant of two types without a common one; Analytics Engine's types have none",
)];

pub(crate) fn run(arguments: &[String]) -> Outcome {
    match arguments {
        [mode] if mode == "record" => {
            let queries = Path::new(RECORDED).join("queries.sql");
            let queries = queries.to_str().ok_or("the path is not UTF-8")?;
            fs::write(Path::new(RECORDED).join("answers.jsonl"), answers("record", &[queries])?)?;
            println!("recorded; look at the difference");
            Ok(())
        }
        [] | [_] | [_, _] => {
            let count = arguments.first().map_or(QUERIES, String::as_str);
            compare(count, arguments.get(1).map_or("1", String::as_str))
        }
        _ => Err("usage: cargo xtask analytics-sql [record | COUNT [SEED]]".into()),
    }
}

/// Compares the answers of this many random queries, made from this seed.
pub(crate) fn compare(count: &str, seed: &str) -> Outcome {
    let answers = String::from_utf8(answers("random", &[count, seed])?)?;
    let executor = events::analytics();
    let mut counts = [0; 3];
    let mut different = Vec::new();
    for line in answers.lines() {
        let recorded: Value = serde_json::from_str(line)?;
        let sql = recorded["sql"].as_str().ok_or("a line has no query")?;
        let recorded = &recorded["JSON"];
        let found = executor.run(&Query::new(sql)).map(|answer| answer.to_bytes(Format::Json));
        let difference = match (recorded["answer"].as_str(), found) {
            (Some(expected), Ok(found)) => {
                counts[0] += 1;
                difference(sql, expected, std::str::from_utf8(&found)?)?
            }
            (None, Err(_)) => {
                counts[1] += 1;
                None
            }
            (Some(_), Err(error)) if KNOWN.iter().any(|(known, _)| error.message().contains(known)) => {
                counts[2] += 1;
                None
            }
            (Some(expected), Err(error)) => Some(format!("expected {expected}\nfound the error {error}")),
            (None, Ok(found)) => Some(format!("expected {recorded}\nfound {}", String::from_utf8_lossy(&found))),
        };
        different.extend(difference.map(|difference| format!("{sql}\n{difference}")));
    }
    let [same, errors, known] = counts;
    if same == 0 || !different.is_empty() {
        let unexplained = different.len();
        different.truncate(20);
        return Err(
            format!("{}\n\n{unexplained} of {count} queries are answered otherwise", different.join("\n\n")).into()
        );
    }
    println!(
        "{count} random queries are answered as by ClickHouse: {same} answers, {errors} errors on both sides, {known} known differences"
    );
    Ok(())
}

/// The output of the script.
fn answers(mode: &str, rest: &[&str]) -> Result<Vec<u8>, Box<dyn Error>> {
    let folder = target().join("analytics-sql");
    fs::create_dir_all(&folder)?;
    let script = folder.join("analytics_sql.py");
    fs::write(&script, SCRIPT)?;
    let mut command = Command::new(readers::python()?);
    let output = command.arg(&script).arg(mode).arg(Path::new(RECORDED).join("events.jsonl")).args(rest).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(output.stdout)
}

/// The difference of two answers, if there is one.
fn difference(sql: &str, expected: &str, found: &str) -> Result<Option<String>, Box<dyn Error>> {
    if expected == found {
        return Ok(None);
    }
    let rows = |text: &str| -> Result<_, Box<dyn Error>> {
        let answer: Value = serde_json::from_str(text)?;
        let mut rows: Vec<Value> =
            answer["data"].as_array().ok_or("an answer has no rows")?.iter().map(settled).collect();
        // Only this column has each value once.
        if !sql.contains("ORDER BY double5") {
            rows.sort_by_key(Value::to_string);
        }
        Ok((answer["meta"].clone(), rows, answer["rows_before_limit_at_least"].clone()))
    };
    let (expected_meta, expected_rows, expected_limit) = rows(expected)?;
    let (found_meta, found_rows, found_limit) = rows(found)?;
    let same = expected_rows.len() == found_rows.len()
        && expected_rows.iter().zip(&found_rows).all(|(expected, found)| is_same(expected, found));
    if expected_meta == found_meta && same && expected_limit == found_limit {
        return Ok(None);
    }
    let wrong = expected_rows.iter().zip(&found_rows).find(|(expected, found)| !is_same(expected, found));
    Ok(Some(match wrong {
        Some((expected, found)) if expected_meta == found_meta => format!("expected {expected}\nfound    {found}"),
        _ => format!(
            "expected {expected_meta}, {} rows of {expected_limit}\nfound    {found_meta}, {} rows of {found_limit}",
            expected_rows.len(),
            found_rows.len()
        ),
    }))
}

/// The value without what is open: the order of values that are as frequent, and which of 0 and -0 a quantile is.
fn settled(value: &Value) -> Value {
    match value {
        Value::Object(row) => row.iter().map(|(name, value)| (name.clone(), settled(value))).collect(),
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(settled).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        Value::Number(number) => number.as_f64().map_or_else(|| value.clone(), |number| Value::from(number + 0.0)),
        other => other.clone(),
    }
}

/// Whether two values are the same; floats, up to the last digits, as logarithms and powers are not correctly rounded.
fn is_same(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            expected.iter().zip(found).all(|((a, expected), (b, found))| a == b && is_same(expected, found))
        }
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len()
                && expected.iter().zip(found).all(|(expected, found)| is_same(expected, found))
        }
        (Value::Number(a), Value::Number(b)) => {
            let (Some(a), Some(b)) = (a.as_f64(), b.as_f64()) else { return false };
            a == b || (a - b).abs() <= 1e-13 * a.abs().max(b.abs())
        }
        _ => expected == found,
    }
}
