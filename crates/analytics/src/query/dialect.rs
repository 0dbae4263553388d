//! The two SQLs in which Cloudflare's datasets are asked.
//!
//! | | Analytics Engine's SQL | Analytics SQL |
//! |---|---|---|
//! | where | local, `/analytics_engine/sql` | the newer SQL API, and its binding inside Workers |
//! | a dataset | `visits` | `events.analyticsEngine.visits` |
//! | sampling | the query weighs by `_sample_interval` | the service weighs |
//! | parameters | put into the text here | sent beside the text |
//! | `SHOW` | yes | no |

use crate::schema::is_identifier;

/// The SQL that an executor reads. Sources: Cloudflare's documentation, "Workers Analytics Engine SQL Reference" and "SQL API".
///
/// A query that is the same in both names its dataset by [`table`](Self::table), weighs its sums by
/// [`weighted`](Self::weighted), bounds `timestamp` from below, has a `LIMIT` beside its `ORDER BY`, and binds its texts and times as
/// parameters.
///
/// ```
/// use isobar_analytics::query::Dialect;
///
/// let requests = |dialect: Dialect| {
///     let weight = dialect.weighted("double1");
///     format!("SELECT sum({weight}) FROM {} WHERE timestamp >= $from", dialect.table("api-requests"))
/// };
/// assert_eq!(
///     requests(Dialect::AnalyticsEngine),
///     "SELECT sum(_sample_interval * double1) FROM \"api-requests\" WHERE timestamp >= $from"
/// );
/// assert_eq!(
///     requests(Dialect::AnalyticsSql),
///     "SELECT sum(double1) FROM events.analyticsEngine.\"api-requests\" WHERE timestamp >= $from"
/// );
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// Analytics Engine's SQL, of the local executor and of `/accounts/{account}/analytics_engine/sql`.
    #[default]
    AnalyticsEngine,
    /// The SQL of Cloudflare's newer Analytics SQL API and of its binding inside Workers, which weighs sampled rows by itself.
    AnalyticsSql,
}

impl Dialect {
    /// Returns the name of a dataset as it stands in a query: quoted unless it is a plain word.
    ///
    /// Any text is safe: quotes within it are doubled.
    ///
    /// ```
    /// use isobar_analytics::query::Dialect;
    ///
    /// assert_eq!(Dialect::AnalyticsEngine.table("visits"), "visits");
    /// assert_eq!(Dialect::AnalyticsSql.table("api-requests"), "events.analyticsEngine.\"api-requests\"");
    /// ```
    #[must_use]
    pub fn table(self, dataset: &str) -> String {
        let name =
            if is_identifier(dataset) { dataset.to_owned() } else { format!("\"{}\"", dataset.replace('"', "\"\"")) };
        match self {
            Self::AnalyticsEngine => name,
            Self::AnalyticsSql => format!("events.analyticsEngine.{name}"),
        }
    }

    /// Returns an expression that is the argument of `sum`, `sumIf` or `avg` so that a sampled row counts for all that it stands for.
    ///
    /// The expression stands in a product: put a sum in parentheses.
    ///
    /// ```
    /// use isobar_analytics::query::Dialect;
    ///
    /// assert_eq!(Dialect::AnalyticsEngine.weighted("double1"), "_sample_interval * double1");
    /// assert_eq!(Dialect::AnalyticsSql.weighted("double1"), "double1");
    /// ```
    #[must_use]
    pub fn weighted(self, expression: &str) -> String {
        match self {
            Self::AnalyticsEngine => format!("_sample_interval * {expression}"),
            Self::AnalyticsSql => expression.to_owned(),
        }
    }

    /// Returns the column that says how many points a row stands for.
    #[must_use]
    pub fn sample_interval(self) -> &'static str {
        match self {
            Self::AnalyticsEngine => "_sample_interval",
            Self::AnalyticsSql => "sampleInterval",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_s_name_cannot_end_its_quotes() {
        let names = ["web_1", "1web", "", "a\" OR 1=1", "t\u{fc}r"].map(|name| Dialect::AnalyticsEngine.table(name));
        assert_eq!(names, ["web_1", "\"1web\"", "\"\"", "\"a\"\" OR 1=1\"", "\"t\u{fc}r\""]);
    }
}
