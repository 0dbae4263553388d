//! The table of a dataset, which has Analytics Engine's columns.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use isobar_cloudflare::client::Idempotency;

use super::ClickHouse;
use super::connection::Failure;
use super::rows::Insert;
use crate::query::Dialect;
use crate::{Error, ErrorKind, Result, limits};

/// A dataset's table on a server.
#[derive(Debug)]
pub(super) struct Table {
    server: ClickHouse,
    dataset: String,
}

impl Table {
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a name with other characters than letters, digits, `_` and `-`.
    pub(super) fn new(server: ClickHouse, dataset: &str) -> Result<Self> {
        if dataset.is_empty() || !dataset.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
            let message = format!("invalid dataset name {dataset:?}: use letters, digits, _ and -");
            return Err(Error::new(ErrorKind::Unsupported, message).during("open"));
        }
        Ok(Self { server, dataset: dataset.to_owned() })
    }

    /// Creates the table unless it exists, with a time after which the server removes points.
    pub(super) async fn create(&self, retain_for: Option<Duration>) -> Result<(), Failure> {
        let sql = Bytes::from(create(&self.dataset, retain_for));
        self.server.send(Idempotency::Idempotent, &[], sql).await.map(drop)
    }

    /// The statement of an insert, whose rows are the request's body.
    pub(super) fn statement(&self, insert: &Insert) -> String {
        let mut columns = "timestamp, index1".to_owned();
        (1..=insert.blobs).for_each(|number| push(&mut columns, format_args!(", blob{number}")));
        (1..=insert.doubles).for_each(|number| push(&mut columns, format_args!(", double{number}")));
        format!("INSERT INTO {} ({columns}) FORMAT RowBinary", name(&self.dataset))
    }

    /// Inserts rows; those of an insert with the same token are there once.
    pub(super) async fn insert(&self, insert: &Insert, token: &str) -> Result<(), Failure> {
        let statement = self.statement(insert);
        let parameters = [
            ("query", statement.as_str()),
            ("insert_deduplicate", "1"),
            ("insert_deduplication_token", token),
            ("async_insert", "0"),
            ("wait_end_of_query", "1"),
        ];
        self.server.send(Idempotency::Idempotent, &parameters, insert.body.clone()).await.map(drop)
    }

    /// Asks whether the server answers these credentials.
    pub(super) async fn probe(&self) -> Result<(), Failure> {
        self.server.send(Idempotency::Idempotent, &[], Bytes::from_static(b"SELECT 1")).await.map(drop)
    }

    pub(super) fn dataset(&self) -> &str {
        &self.dataset
    }
}

/// The name of the dataset's table as it stands in a statement.
fn name(dataset: &str) -> String {
    // Behind INSERT INTO they are keywords.
    if ["function", "table"].iter().any(|keyword| dataset.eq_ignore_ascii_case(keyword)) {
        return format!("\"{dataset}\"");
    }
    Dialect::AnalyticsEngine.table(dataset)
}

/// The statement that creates the table. The columns have the order of `SELECT *` in Analytics Engine.
///
/// Deduplication by tokens is on by default in replicated tables alone: elsewhere it takes a window.
fn create(dataset: &str, retain_for: Option<Duration>) -> String {
    let mut sql = format!(
        "CREATE TABLE IF NOT EXISTS {} (dataset String DEFAULT '{dataset}', timestamp DateTime, \
         _sample_interval UInt32 DEFAULT 1, index1 String",
        name(dataset)
    );
    (1..=limits::BLOBS).for_each(|number| push(&mut sql, format_args!(", blob{number} String")));
    (1..=limits::DOUBLES).for_each(|number| push(&mut sql, format_args!(", double{number} Float64")));
    sql.push_str(") ENGINE = MergeTree PARTITION BY toYYYYMM(timestamp, 'UTC') ORDER BY (index1, timestamp)");
    if let Some(age) = retain_for {
        push(&mut sql, format_args!(" TTL timestamp + toIntervalSecond({})", age.as_secs()));
    }
    sql.push_str(" SETTINGS non_replicated_deduplication_window = 1000");
    sql
}

fn push(sql: &mut String, part: std::fmt::Arguments<'_>) {
    sql.write_fmt(part).expect("a text takes every part");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_the_columns_of_analytics_engine_in_their_order() {
        let sql = create("api-requests", Some(Duration::from_secs(90 * 86_400)));
        let begin =
            "CREATE TABLE IF NOT EXISTS \"api-requests\" (dataset String DEFAULT 'api-requests', timestamp DateTime, ";
        assert!(sql.starts_with(begin), "{sql}");
        let places: Vec<_> = crate::query::Column::all().map(|column| sql.find(&format!("{column} "))).collect();
        assert!(places.is_sorted() && places.iter().all(Option::is_some), "{sql}");
        let end = " TTL timestamp + toIntervalSecond(7776000) SETTINGS non_replicated_deduplication_window = 1000";
        assert!(sql.ends_with(end), "{sql}");
        assert!(!create("a", None).contains("TTL"));
    }

    #[test]
    fn dataset_s_name_is_a_plain_word() {
        let server = || ClickHouse::new("http://host").expect("the URL is valid");
        for name in ["", "a b", "a\"", "a'", "é", "a.b"] {
            assert_eq!(Table::new(server(), name).map(drop).map_err(|error| error.kind()), Err(ErrorKind::Unsupported));
        }
        assert!(Table::new(server(), "api-requests_2").is_ok());
    }

    #[test]
    fn insert_names_the_columns_that_its_rows_have() {
        let table =
            Table::new(ClickHouse::new("http://host").expect("the URL is valid"), "web").expect("the name is valid");
        let insert = Insert { points: 1, blobs: 2, doubles: 1, body: Bytes::new() };
        let statement = table.statement(&insert);
        assert_eq!(statement, "INSERT INTO web (timestamp, index1, blob1, blob2, double1) FORMAT RowBinary");
        assert_eq!((name("Function"), name("functions")), ("\"Function\"".to_owned(), "functions".to_owned()));
    }
}
