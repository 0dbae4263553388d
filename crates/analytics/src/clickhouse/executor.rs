//! Queries in Analytics Engine's SQL, answered by the server.
//!
//! The query is parsed and typed here, by the front end of the local executor: what that refuses is not sent, so that no text reaches the
//! server that is not a `SELECT` of Analytics Engine's SQL. Then the words that ClickHouse spells otherwise are edited. The answer comes as
//! JSONCompact with integers and doubles as texts, of which no digit is lost, and is written in the three formats by the code that writes
//! those of the local executor.

use async_trait::async_trait;
use http::HeaderMap;
use isobar_cloudflare::client::Idempotency;
use serde_json::Value as Json;

use super::ClickHouse;
use crate::query::{Answer, Elsewhere, Query, QueryExecutor, QueryStats, read_elsewhere, to_clickhouse};
use crate::{ErrorKind, Result};

/// The tables of the database.
const TABLES: &str =
    "SELECT name FROM system.tables WHERE database = currentDatabase() AND NOT is_temporary ORDER BY name";

/// Settings by which values, types and times are Analytics Engine's.
const SETTINGS: [(&str, &str); 10] = [
    ("default_format", "JSONCompact"),
    ("output_format_json_quote_64bit_integers", "1"),
    ("output_format_json_quote_64bit_floats", "1"),
    ("output_format_json_quote_denormals", "1"),
    ("output_format_json_validate_utf8", "1"),
    ("output_format_write_statistics", "0"),
    ("session_timezone", "Etc/UTC"),
    // With it min(x - 1) of no rows is min(x) - 1.
    ("optimize_arithmetic_operations_in_aggregate_functions", "0"),
    // An error that comes late is not behind the head of an answer.
    ("wait_end_of_query", "1"),
    ("max_execution_time", "60"),
];

/// Queries over the tables of the database, in the language of the local executor, `WITH FILL` among it. The server needs to let the user
/// change settings (`readonly` 0 or 2). A query ends after 60 s, and `now()` is the server's.
///
/// Differences from the local executor: `topK` is approximate past three times as many values; `ORDER BY` before `first_value` without groups,
/// and `bitTest` of doubles, are errors; a text that is not UTF-8 has U+FFFD in each format. An answer has at most 32 MiB as
/// JSON. Of what was read, the number of rows is reported.
#[async_trait]
impl QueryExecutor for ClickHouse {
    async fn query(&self, query: &Query) -> Result<Answer> {
        let (read, format) = read_elsewhere(query).await?;
        let (sql, names) = match read {
            Elsewhere::Answered(answer) => return Ok(answer),
            Elsewhere::ShowTables => (TABLES.to_owned(), None),
            Elsewhere::Select { sql, names } => (to_clickhouse(&sql)?, Some(names)),
        };
        let answer = self.send(Idempotency::Once, &SETTINGS, sql.into()).await;
        let (headers, body) = answer.map_err(|failure| failure.into_error(ErrorKind::Query).during("query"))?;
        let stats = QueryStats { rows_read: rows_read(&headers), ..QueryStats::default() };
        Ok(Answer::from_json_compact(&body, names)?.with_format(format).with_stats(stats))
    }
}

/// The number of rows that the server has read; 0 where it does not say.
fn rows_read(headers: &HeaderMap) -> u64 {
    let summary =
        headers.get("x-clickhouse-summary").and_then(|summary| serde_json::from_slice(summary.as_bytes()).ok());
    let rows = summary.as_ref().and_then(|summary: &Json| summary["read_rows"].as_str()?.parse().ok());
    rows.unwrap_or_default()
}
