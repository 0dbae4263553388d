//! Random queries against answers that ClickHouse has given: run by `cargo xtask analytics-sql`.

use isobar_analytics::query::{Format, Query};
use serde_json::Value;

use super::analytics;

/// Differences that are known: a part of ClickHouse's error, or of ours, and the reason.
const KNOWN: [(&str, &str); 1] = [(
    "no common type",
    "ClickHouse makes a Variant of two types without a common one; Analytics Engine's types have none",
)];

#[test]
#[ignore = "needs ISOBAR_ANSWERS, a file of answers: cargo xtask analytics-sql"]
fn random_queries_are_answered_as_by_clickhouse() {
    let path = std::env::var("ISOBAR_ANSWERS").unwrap();
    let analytics = analytics();
    let mut counts = [0; 3];
    let mut different = Vec::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let recorded: Value = serde_json::from_str(line).unwrap();
        let sql = recorded["sql"].as_str().unwrap();
        let recorded = &recorded["JSON"];
        let found = analytics.run(&Query::new(sql)).map(|answer| answer.to_bytes(Format::Json));
        let difference = match (recorded["answer"].as_str(), found) {
            (Some(expected), Ok(found)) => {
                counts[0] += 1;
                difference(sql, expected, std::str::from_utf8(&found).unwrap())
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
    println!(
        "{same} answers, {errors} errors on both sides, {known} known differences, {} unexplained",
        different.len()
    );
    different.truncate(20);
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

fn difference(sql: &str, expected: &str, found: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let rows = |text: &str| {
        let answer: Value = serde_json::from_str(text).unwrap();
        let mut rows: Vec<Value> = answer["data"].as_array().unwrap().iter().map(settled).collect();
        // Only this column has each value once.
        if !sql.contains("ORDER BY double5") {
            rows.sort_by_key(Value::to_string);
        }
        (answer["meta"].clone(), rows, answer["rows_before_limit_at_least"].clone())
    };
    let (expected_meta, expected_rows, expected_limit) = rows(expected);
    let (found_meta, found_rows, found_limit) = rows(found);
    let same = expected_rows.len() == found_rows.len()
        && expected_rows.iter().zip(&found_rows).all(|(expected, found)| is_same(expected, found));
    if expected_meta == found_meta && same && expected_limit == found_limit {
        return None;
    }
    let wrong = expected_rows.iter().zip(&found_rows).find(|(expected, found)| !is_same(expected, found));
    Some(match wrong {
        Some((expected, found)) if expected_meta == found_meta => format!("expected {expected}\nfound    {found}"),
        _ => format!(
            "expected {expected_meta}, {} rows of {expected_limit}\nfound    {found_meta}, {} rows of {found_limit}",
            expected_rows.len(),
            found_rows.len()
        ),
    })
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
        Value::Number(number) => Value::from(number.as_f64().unwrap() + 0.0),
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
