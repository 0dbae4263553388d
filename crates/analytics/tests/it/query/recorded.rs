//! Every function and clause against answers that ClickHouse has given: `cargo xtask analytics-sql record` writes them anew.

use isobar_analytics::query::{Format, Query};
use serde_json::Value;

use super::analytics;

#[test]
fn answers_are_clickhouse_s_byte_for_byte_in_each_format() {
    let analytics = analytics();
    let mut different = Vec::new();
    for line in include_str!("answers.jsonl").lines() {
        let recorded: Value = serde_json::from_str(line).unwrap();
        let sql = recorded["sql"].as_str().unwrap();
        for format in [Format::Json, Format::JsonEachRow, Format::TabSeparated] {
            let expected = &recorded[format.to_string()]["answer"];
            let expected = expected.as_str().unwrap_or_else(|| panic!("{sql}: {recorded}"));
            let found = match analytics.run(&Query::new(format!("{sql} FORMAT {format}"))) {
                Ok(answer) => String::from_utf8(answer.to_bytes(answer.format())).unwrap(),
                Err(error) => error.to_string(),
            };
            if found != expected {
                different.push(format!("{sql} FORMAT {format}\nexpected {expected}\nfound    {found}"));
            }
        }
    }
    assert!(different.is_empty(), "{} are different:\n{}", different.len(), different.join("\n\n"));
}
