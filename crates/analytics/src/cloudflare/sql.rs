//! Analytics Engine's SQL API, for reading from outside.
//!
//! One endpoint, `POST /accounts/{account}/analytics_engine/sql`, whose body is the query (Cloudflare's documentation, "Workers Analytics
//! Engine", "SQL API"). A query changes nothing, so that requests are repeated where an answer is missing. A refusal of the SQL is text, not
//! an envelope, and becomes [`ErrorKind::Query`] with Cloudflare's message.

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, NaiveDateTime, SubsecRound, Utc};
use isobar_cloudflare::client::{Account, Idempotency, RestError, RestErrorKind};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::query::{Answer, Query, QueryExecutor, without_format};
use crate::{DataPoint, Error, ErrorKind, Event, Result, ScanOptions, limits};

/// Reads datasets through Analytics Engine's SQL API, for native code. Writing is possible only through the binding. Cheap to
/// clone.
///
/// Results may be sampled: a row stands for `_sample_interval` points.
///
/// ```no_run
/// use isobar_analytics::cloudflare::AnalyticsEngineSql;
/// use isobar_cloudflare::client::Account;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = AnalyticsEngineSql::new(Account::from_env()?);
/// let visits = engine.query("SELECT blob1, SUM(_sample_interval) AS visits FROM web GROUP BY blob1").await?;
/// for row in &visits.rows {
///     println!("{}: {}", row["blob1"], row["visits"]);
/// }
/// # Ok(()) }
/// ```
///
/// Needs a token with the permission "Account Analytics: Read".
#[derive(Debug, Clone)]
pub struct AnalyticsEngineSql {
    account: Account,
}

/// The result of a query.
///
/// ```
/// use isobar_analytics::cloudflare::SqlResult;
///
/// let json = r#"{"meta": [{"name": "visits", "type": "UInt64"}], "data": [{"visits": "3"}], "rows": 1}"#;
/// let result: SqlResult = serde_json::from_str(json)?;
/// assert_eq!((result.columns[0].kind.as_str(), result.rows[0]["visits"].as_str()), ("UInt64", Some("3")));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct SqlResult {
    /// The columns, in order.
    #[serde(rename = "meta")]
    pub columns: Vec<SqlColumn>,
    /// The rows, by column. 64-bit integers are strings, as in the API's JSON, in which numbers would be rounded.
    #[serde(rename = "data")]
    pub rows: Vec<Map<String, Json>>,
    /// Minimum number of rows without the LIMIT, if the API reports it.
    #[serde(default)]
    pub rows_before_limit_at_least: Option<u64>,
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct SqlColumn {
    /// Name of the column.
    pub name: String,
    /// Its ClickHouse type: `DateTime`, `Float64`, `UInt64`, `String`.
    #[serde(rename = "type")]
    pub kind: String,
}

impl AnalyticsEngineSql {
    /// Creates a reader of an account's datasets.
    #[must_use]
    pub fn new(account: Account) -> Self {
        Self { account }
    }

    /// Runs a query: `SELECT` or `SHOW`, without a `FORMAT` clause.
    ///
    /// For typed values, parameters and formats ask by [`QueryExecutor::query`], which reads the same answer into an [`Answer`].
    ///
    /// ```no_run
    /// use isobar_analytics::cloudflare::AnalyticsEngineSql;
    /// use isobar_cloudflare::client::Account;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let engine = AnalyticsEngineSql::new(Account::new("account", "token")?);
    /// let result = engine.query("SELECT SUM(_sample_interval) AS visits FROM web WHERE index1 = 'tenant-1'").await?;
    /// println!("{}", result.rows[0]["visits"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Query`] where the API refuses the SQL, and before it is asked where the SQL has an extension of the local executor
    /// (`WITH FILL`); [`ErrorKind::PermissionDenied`], [`ErrorKind::Unavailable`].
    pub async fn query(&self, sql: &str) -> Result<SqlResult> {
        without_format(sql)?;
        let answer =
            self.account.call_text(Idempotency::Idempotent, "analytics_engine/sql", sql).await.map_err(failure)?;
        serde_json::from_slice(&answer).map_err(|error| {
            let message = format!("the response is not JSON (does the query have a FORMAT clause?): {error}");
            Error::new(ErrorKind::Internal, message).with_source(error).during("query")
        })
    }

    /// Returns the stored events of a dataset, oldest first. The API has a resolution of one second: `from` is rounded down and
    /// `until` up. Trailing unset blobs and doubles are omitted.
    ///
    /// One row is one event. Where rows were sampled, the others are not to be had: [`Event::sample_interval`] says for how many it stands.
    ///
    /// ```no_run
    /// use isobar_analytics::ScanOptions;
    /// use isobar_analytics::cloudflare::AnalyticsEngineSql;
    /// use isobar_cloudflare::client::Account;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let engine = AnalyticsEngineSql::new(Account::from_env()?);
    /// let newest = engine.scan("web", ScanOptions::default().with_limit(10)).await?;
    /// for event in &newest {
    ///     println!("{} {:?}", event.timestamp, event.blob(1));
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn scan(&self, dataset: &str, options: ScanOptions) -> Result<Vec<Event>> {
        let result = self.query(&scan_sql(dataset, &options)?).await?;
        // The query returns the newest first, so that a limit keeps the newest.
        result.rows.iter().rev().map(event).collect()
    }
}

/// The same queries on Cloudflare. What was read is not reported.
#[async_trait]
impl QueryExecutor for AnalyticsEngineSql {
    async fn query(&self, query: &Query) -> Result<Answer> {
        let (sql, format) = query.to_sql_and_format()?;
        let answer = self.account.call_text(Idempotency::Idempotent, "analytics_engine/sql", &sql).await;
        Ok(Answer::from_json(&answer.map_err(failure)?)?.with_format(format))
    }
}

fn scan_sql(dataset: &str, options: &ScanOptions) -> Result<String> {
    if dataset.is_empty() || !dataset.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        let message = format!("invalid dataset name {dataset:?}: use letters, digits and _");
        return Err(Error::new(ErrorKind::Query, message).during("scan"));
    }
    let ScanOptions { from, until, limit } = options;
    let second = |at: DateTime<Utc>| format!("toDateTime('{}')", at.format("%Y-%m-%d %H:%M:%S"));
    let until = until.map(|at| if at == at.trunc_subsecs(0) { at } else { at + chrono::Duration::seconds(1) });
    let conditions: Vec<String> =
        [from.map(|at| format!("timestamp >= {}", second(at))), until.map(|at| format!("timestamp < {}", second(at)))]
            .into_iter()
            .flatten()
            .collect();
    let condition = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    let limit = limit.map_or_else(|| "ALL".to_owned(), |limit| limit.to_string());
    let columns: Vec<String> = (1..=limits::BLOBS)
        .map(|number| format!("blob{number}"))
        .chain((1..=limits::DOUBLES).map(|number| format!("double{number}")))
        .collect();
    let columns = columns.join(", ");
    Ok(format!(
        "SELECT timestamp, _sample_interval, index1, {columns} FROM {dataset}{condition} ORDER BY timestamp DESC LIMIT {limit}"
    ))
}

/// Reads a row with all columns. The API has no unset values: trailing empty blobs and zeros are taken as unset.
fn event(row: &Map<String, Json>) -> Result<Event> {
    let wrong = |column: &str| {
        Error::new(ErrorKind::Internal, format!("the column {column} has an unexpected value")).during("scan")
    };
    let text = |column: &str| row.get(column).and_then(Json::as_str).ok_or_else(|| wrong(column));
    let timestamp = NaiveDateTime::parse_from_str(text("timestamp")?, "%Y-%m-%d %H:%M:%S");
    let timestamp = timestamp.map_err(|error| wrong("timestamp").with_source(error))?.and_utc();
    let mut point = DataPoint::new();
    let index = text("index1")?;
    if !index.is_empty() {
        point = point.with_index(index.to_owned());
    }
    for number in 1..=limits::BLOBS {
        point.blobs.push(Bytes::from(text(&format!("blob{number}"))?.to_owned()));
    }
    for number in 1..=limits::DOUBLES {
        let column = format!("double{number}");
        point.doubles.push(row.get(&column).and_then(Json::as_f64).ok_or_else(|| wrong(&column))?);
    }
    let set = point.blobs.iter().rposition(|blob| !blob.is_empty()).map_or(0, |last| last + 1);
    point.blobs.truncate(set);
    let set = point.doubles.iter().rposition(|double| *double != 0.0).map_or(0, |last| last + 1);
    point.doubles.truncate(set);
    let interval = row.get("_sample_interval").and_then(Json::as_u64).and_then(|interval| u32::try_from(interval).ok());
    Ok(Event::new(timestamp, point).with_sample_interval(interval.ok_or_else(|| wrong("_sample_interval"))?))
}

/// Converts an error of the API; its first code other than 0 is kept.
fn failure(error: RestError) -> Error {
    let kind = match error.kind() {
        RestErrorKind::Unavailable => ErrorKind::Unavailable,
        RestErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        RestErrorKind::Refused => ErrorKind::Query,
        _ => ErrorKind::Internal,
    };
    let code = error.messages().iter().map(|message| message.code).find(|code| *code != 0);
    Error::new(kind, error.to_string()).with_code(code).with_source(error).during("query")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scan_is_written_as_sql_of_the_api() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("the time is valid");
        let options = ScanOptions::default()
            .with_from(at("2026-11-24T01:02:03.4Z"))
            .with_until(at("2026-11-24T02:00:00.1Z"))
            .with_limit(7);
        let sql = scan_sql("inneranimalmedia", &options).expect("the input is valid");
        assert!(sql.starts_with("SELECT timestamp, _sample_interval, index1, blob1, blob2, "), "{sql}");
        assert!(
            sql.ends_with(
                "double20 FROM inneranimalmedia WHERE timestamp >= toDateTime('2026-11-24 01:02:03') AND \
                 timestamp < toDateTime('2026-11-24 02:00:01') ORDER BY timestamp DESC LIMIT 7"
            ),
            "{sql}"
        );
        assert!(
            scan_sql("x", &ScanOptions::default())
                .expect("the input is valid")
                .ends_with(" FROM x ORDER BY timestamp DESC LIMIT ALL")
        );
        assert_eq!(scan_sql("x; DROP", &ScanOptions::default()).map_err(|error| error.kind()), Err(ErrorKind::Query));
    }
}
