//! The queries of statistics: the same text for every executor, but for the names of datasets and the weights of sampled rows.
//!
//! They run on local datasets and on Analytics Engine, which agree on little more than a core of
//! ClickHouse's SQL: no window functions, no joins, no subqueries are used. Values go as parameters;
//! what is formatted into the text is constant, but for numbers of a period.
//!
//! Each of the five queries reads the period's events once. One query for all would need a column for
//! each step and route.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use isobar_analytics::query::{Answer, Dialect, Query, Value};
use isobar_analytics::{Damage, Error, ErrorKind, EventSink, Result};

use super::events::{PRODUCT, REQUEST};
use super::stats::{Count, Route, Stats, Step, Summary};
use crate::dataset_queries::DatasetQueries;

/// Steps of a series.
const STEPS: usize = 24;

/// Most routes, and most events of the product, in an answer.
const LISTED: usize = 1000;
/// How many requests a row stands for before the dataset samples. Events of older versions have no weight; each stood for itself.
const WEIGHT: &str = "if(double4 = 0, 1.0, double4)";
/// The time of a request, rounded so that a quantile keeps few different values however many rows there are.
const MILLISECONDS: &str = "if(double1 < 100, round(double1 * 10) / 10, \
    if(double1 < 1000, round(double1), round(double1 / 10) * 10))";

/// Asks a dataset for the statistics of a period, over all events that it retains: all of them, or those of one tenant, by its
/// pseudonym. They are five queries in SQL, one for a tenant; the period is widened to whole seconds. What was written to `dataset`
/// before is flushed first.
///
/// ```
/// # #[cfg(all(feature = "memory", feature = "query"))] {
/// use chrono::{TimeDelta, Utc};
/// use isobar_analytics::memory::MemorySink;
/// use isobar_analytics::query::{Analytics, MemoryDatasets};
/// use isobar_http_serve::{DatasetQueries, stats};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let dataset = MemorySink::new();
/// let queries = DatasetQueries::new(Analytics::new(MemoryDatasets::new().with_dataset("web", dataset.clone())), "web");
/// let day = stats(&dataset, &queries, Utc::now() - TimeDelta::days(1), Utc::now(), None).await?;
/// assert_eq!((day.requests.count, day.series.len()), (0, 24));
/// # Ok::<_, isobar_analytics::Error>(()) }).unwrap();
/// # }
/// ```
///
/// # Errors
/// As [`QueryExecutor::query`](isobar_analytics::query::QueryExecutor::query): `Unsupported` where nothing to ask is configured.
/// Events that cannot be flushed are missing, and counted.
pub async fn stats(
    dataset: &dyn EventSink,
    queries: &DatasetQueries,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    tenant: Option<&str>,
) -> Result<Stats> {
    match dataset.flush().await {
        Err(error) if error.kind() == ErrorKind::Closed => return Err(error),
        // What is stored can be asked all the same.
        Err(error) => tracing::warn!(%error, "events were lost"),
        Ok(()) => {}
    }
    let mut ask = StatsQueries::new(queries, from, until);
    let mut requests = Summary::default();
    let mut steps = vec![Summary::default(); STEPS];
    let mut routes = Vec::new();
    let mut caches = BTreeMap::new();
    // A request's event names no tenant.
    if tenant.is_none() {
        requests = ask.total().await?;
        steps = ask.steps(STEPS).await?;
        routes = ask.routes().await?;
        caches = ask.caches().await?;
    }
    let events = ask.events(tenant).await?;
    let StatsQueries { from, until, mut damage, is_partial, .. } = ask;
    if tenant.is_some() {
        damage.files.clear();
    }
    let width = (until - from) / STEPS as i32;
    let series = (0..).zip(steps).map(|(step, requests)| Step { at: from + width * step, requests }).collect();
    let dropped = dataset.stats().dropped;
    Ok(Stats { from, until, is_partial, requests, caches, series, routes, events, damage, dropped })
}

/// Asks a dataset about a period of whole seconds, which is the resolution of timestamps in queries.
#[derive(Debug)]
struct StatsQueries<'q> {
    queries: &'q DatasetQueries,
    /// The beginning, inclusive.
    from: DateTime<Utc>,
    /// The end, exclusive.
    until: DateTime<Utc>,
    /// Damage that a query has come across.
    damage: Damage,
    /// Whether a list has reached its limit.
    is_partial: bool,
}

impl<'q> StatsQueries<'q> {
    /// Asks about a period, widened to whole seconds.
    fn new(queries: &'q DatasetQueries, from: DateTime<Utc>, until: DateTime<Utc>) -> Self {
        let second = TimeDelta::seconds(1);
        let from = from.trunc_subsecs(0);
        let whole = until.trunc_subsecs(0);
        let until = if whole == until { whole } else { whole + second };
        Self { queries, from, until: until.max(from + second), damage: Damage::default(), is_partial: false }
    }

    /// All requests.
    async fn total(&mut self) -> Result<Summary> {
        let rows = self.ask(self.select(&self.summary(), REQUEST, "")).await?;
        if rows.len() == 0 { Ok(Summary::default()) } else { rows.summary(0) }
    }

    /// The requests of each of so many steps of the period.
    async fn steps(&mut self, steps: usize) -> Result<Vec<Summary>> {
        let from = self.from.timestamp();
        let seconds = (self.until - self.from).num_seconds();
        let step = format!("intDiv((toUnixTimestamp(timestamp) - {from}) * {steps}, {seconds}) AS step");
        let columns = format!("{step}, {}", self.summary());
        let rows = self.ask(self.select(&columns, REQUEST, " GROUP BY step")).await?;
        let mut summaries = vec![Summary::default(); steps];
        for row in 0..rows.len() {
            if let Some(summary) = summaries.get_mut(rows.number(row, "step")? as usize) {
                *summary = rows.summary(row)?;
            }
        }
        Ok(summaries)
    }

    /// The requests of each route, the busiest first.
    async fn routes(&mut self) -> Result<Vec<Route>> {
        let columns = format!("blob2, {}", self.summary());
        let end = format!(" GROUP BY blob2 ORDER BY requests DESC LIMIT {}", LISTED + 1);
        let rows = self.ask(self.select(&columns, REQUEST, &end)).await?;
        let route = |row| Ok(Route { route: rows.text(row, "blob2")?, requests: rows.summary(row)? });
        let mut routes = (0..rows.len()).map(route).collect::<Result<Vec<_>>>()?;
        routes.sort_by(|a, b| b.requests.count.cmp(&a.requests.count).then_with(|| a.route.cmp(&b.route)));
        self.cut(&mut routes);
        Ok(routes)
    }

    /// How many requests each part of the cache's had.
    async fn caches(&mut self) -> Result<BTreeMap<String, u64>> {
        let columns = format!("blob5, sum({}) AS requests", self.queries.dialect().weighted(WEIGHT));
        let rows = self.ask(self.select(&columns, REQUEST, " GROUP BY blob5")).await?;
        let part = |row| Ok((rows.text(row, "blob5")?, rows.count(row, "requests")?));
        (0..rows.len()).map(part).collect()
    }

    /// The events of the product, the most frequent first: all, or those of one tenant by its pseudonym.
    async fn events(&mut self, tenant: Option<&str>) -> Result<Vec<Count>> {
        let weight = self.queries.dialect().weighted("1");
        let columns = format!("blob2, sum({weight}) AS written, count(DISTINCT blob3) AS users");
        let of_tenant = if tenant.is_some() { " AND blob4 = $tenant" } else { "" };
        let end = format!("{of_tenant} GROUP BY blob2 ORDER BY written DESC LIMIT {}", LISTED + 1);
        let mut query = self.select(&columns, PRODUCT, &end);
        if let Some(tenant) = tenant {
            query = query.with_named("tenant", tenant);
        }
        let rows = self.ask(query).await?;
        let count = |row| {
            let name = rows.text(row, "blob2")?;
            Ok(Count { name, count: rows.count(row, "written")?, users: rows.count(row, "users")? })
        };
        let mut events = (0..rows.len()).map(count).collect::<Result<Vec<_>>>()?;
        events.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        self.cut(&mut events);
        Ok(events)
    }

    /// A query of the period's events of a kind; what follows the conditions is a part of its text.
    fn select(&self, columns: &str, kind: &str, end: &str) -> Query {
        let table = self.queries.table();
        let period = "timestamp >= $from AND timestamp < $until";
        Query::new(format!("SELECT {columns} FROM {table} WHERE {period} AND blob1 = $kind{end}"))
            .with_named("from", self.from)
            .with_named("until", self.until)
            .with_named("kind", kind)
    }

    /// The columns of which a summary is made.
    fn summary(&self) -> String {
        let dialect: Dialect = self.queries.dialect();
        let requests = dialect.weighted(WEIGHT);
        let bytes = dialect.weighted(&format!("{WEIGHT} * double2"));
        let database = dialect.weighted(&format!("{WEIGHT} * double3"));
        let weight = format!("toUInt32({} * {WEIGHT})", dialect.sample_interval());
        let quantile = |level: &str| format!("quantileExactWeighted({level})({MILLISECONDS}, {weight})");
        let [median, p95, p99] = ["0.5", "0.95", "0.99"].map(quantile);
        format!(
            "sum({requests}) AS requests, sumIf({requests}, blob4 >= '500') AS errors, sum({bytes}) AS sent, \
             sum({database}) AS waited, {median} AS median, {p95} AS p95, {p99} AS p99"
        )
    }

    /// Runs a query, and keeps what it says of damage: the worst of all, as they read the same events.
    async fn ask(&mut self, query: Query) -> Result<Rows> {
        let answer = self.queries.query(&query).await?;
        // Each query reads the same events, so that damage is not added up.
        let damage = &answer.stats().damage;
        if damage.stretches > self.damage.stretches {
            self.damage.stretches = damage.stretches;
            self.damage.bytes = damage.bytes;
        }
        self.damage.files.extend(damage.files.iter().cloned());
        Ok(Rows(answer))
    }

    /// Cuts a list to what is answered, and notes that it was longer. Queries ask for one more than
    /// that.
    fn cut<T>(&mut self, list: &mut Vec<T>) {
        self.is_partial |= list.len() > LISTED;
        list.truncate(LISTED);
    }
}

/// The rows of an answer. Numbers may be texts, as 64-bit integers are in JSON.
struct Rows(Answer);

impl Rows {
    fn len(&self) -> usize {
        self.0.rows()
    }

    /// The value of a column by its name.
    fn value(&self, row: usize, name: &str) -> Result<Value> {
        let missing = || unexpected(format!("the answer has no column {name}"));
        self.0.column(name).map(|column| self.0.value(row, column)).ok_or_else(missing)
    }

    /// Returns a number; that of no rows, which is NaN, is 0.
    fn number(&self, row: usize, name: &str) -> Result<f64> {
        let value = self.value(row, name)?;
        let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
        let number =
            number.ok_or_else(|| unexpected(format!("the column {name} has {value:?} in place of a number")))?;
        Ok(if number.is_nan() { 0.0 } else { number })
    }

    /// A number as a count, rounded: weighted sums are floats.
    fn count(&self, row: usize, name: &str) -> Result<u64> {
        Ok(self.number(row, name)?.round() as u64)
    }

    /// A text; bytes that are not UTF-8 are replaced.
    fn text(&self, row: usize, name: &str) -> Result<String> {
        match self.value(row, name)? {
            Value::String(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
            other => Err(unexpected(format!("the column {name} has {other:?} in place of a text"))),
        }
    }

    /// The totals of a row, with the mean of the databases' time by request.
    fn summary(&self, row: usize) -> Result<Summary> {
        let requests = self.number(row, "requests")?;
        let waited = self.number(row, "waited")?;
        Ok(Summary {
            count: requests.round() as u64,
            errors: self.count(row, "errors")?,
            bytes: self.number(row, "sent")?,
            median_ms: self.number(row, "median")?,
            p95_ms: self.number(row, "p95")?,
            p99_ms: self.number(row, "p99")?,
            database_ms: if requests == 0.0 { 0.0 } else { waited / requests },
        })
    }
}

/// An answer that is not what was asked for: a fault of the executor.
fn unexpected(message: String) -> Error {
    Error::new(ErrorKind::Internal, message).during("query")
}

#[cfg(test)]
mod tests {
    use isobar_analytics::mock::MockExecutor;
    use isobar_analytics::query::Type;

    use super::*;

    /// The texts and values of the queries about a tenant and about everything.
    async fn asked(dialect: Dialect) -> Vec<Query> {
        let executor = MockExecutor::new(|_| Answer::from_rows([("blob2", Type::String)], [])).with_dialect(dialect);
        let queries = DatasetQueries::new(executor.clone(), "web-1");
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let mut ask = StatsQueries::new(&queries, at("2026-11-24T01:02:03.9Z"), at("2026-11-24T02:02:03.1Z"));
        ask.total().await.unwrap();
        ask.steps(24).await.unwrap();
        ask.routes().await.unwrap();
        ask.caches().await.unwrap();
        ask.events(Some("' OR 1=1 --")).await.unwrap();
        executor.queries()
    }

    #[tokio::test]
    async fn values_are_bound_and_a_tenant_s_pseudonym_cannot_end_its_text() {
        let asked = asked(Dialect::AnalyticsEngine).await;
        let sql = asked[4].to_sql().unwrap();
        assert!(
            sql.ends_with(
                "FROM \"web-1\" WHERE timestamp >= toDateTime('2026-11-24 01:02:03') AND timestamp < \
                 toDateTime('2026-11-24 02:02:04') AND blob1 = 'event' AND blob4 = '\\' OR 1=1 --' GROUP BY blob2 \
                 ORDER BY written DESC LIMIT 1001"
            ),
            "{sql}"
        );
        assert!(asked[1].text().contains("toUnixTimestamp(timestamp) - 1795482123) * 24, 3601) AS step"), "{asked:?}");
    }

    #[tokio::test]
    async fn sampled_rows_are_weighed_once_in_each_sql() {
        let count = |queries: &[Query], column: &str| {
            queries.iter().map(|query| query.text().matches(column).count()).collect::<Vec<_>>()
        };
        let engine = asked(Dialect::AnalyticsEngine).await;
        assert_eq!(count(&engine, "_sample_interval * "), [7, 7, 7, 1, 1], "sums and quantiles");
        let sql = asked(Dialect::AnalyticsSql).await;
        assert_eq!(count(&sql, "_sample_interval"), [0; 5]);
        assert_eq!(count(&sql, "sampleInterval * "), [3, 3, 3, 0, 0], "quantiles alone");
        assert!(
            sql.iter()
                .all(|query| query.text().contains(" FROM events.analyticsEngine.\"web-1\" WHERE timestamp >= $from"))
        );
    }
}
