//! Statistics of a dataset's events, as they are answered.
//!
//! They are estimates where events were sampled, and say nothing of what was lost before it was
//! written, but for [`Stats::dropped`]. The JSON has the fields' names; an answer has at most 1,000
//! routes and 1,000 events of the product.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use isobar_analytics::Damage;
use serde::Serialize;

/// Statistics of a period.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// The beginning of the period, inclusive; a whole second.
    pub from: DateTime<Utc>,
    /// The end of the period, exclusive; a whole second.
    pub until: DateTime<Utc>,
    /// Whether there are more routes or events of the product than are listed: 1,000 of each.
    pub is_partial: bool,
    /// All requests.
    pub requests: Summary,
    /// Requests by the cache's part in them.
    pub caches: BTreeMap<String, u64>,
    /// Requests by time: 24 steps.
    pub series: Vec<Step>,
    /// Requests by route, the busiest first.
    pub routes: Vec<Route>,
    /// Events of the product, the most frequent first.
    pub events: Vec<Count>,
    /// Stored events that are missing from these numbers, because they are damaged. Its files are named for all events only,
    /// not for one tenant's.
    pub damage: Damage,
    /// Events that were lost since the process began: the buffer was full, or the disk failed or was at its reserve.
    pub dropped: u64,
}

/// Totals of requests. Times are rounded: to 0.1 ms below 100 ms, to 1 ms below 1 s, else to 10 ms.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Requests. Of sampled events each counts with its weight, so this is an estimate then.
    pub count: u64,
    /// Answers of 500 and above.
    pub errors: u64,
    /// Bytes answered, where the length was known beforehand.
    pub bytes: f64,
    /// The median of the time until an answer began, in milliseconds.
    pub median_ms: f64,
    /// The 95th percentile of that time.
    pub p95_ms: f64,
    /// The 99th percentile of that time.
    pub p99_ms: f64,
    /// The mean time that a request waited for databases, in milliseconds.
    pub database_ms: f64,
}

/// A step of a series.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// Its beginning; it lasts a 24th of the period.
    pub at: DateTime<Utc>,
    /// Its requests.
    #[serde(flatten)]
    pub requests: Summary,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Route {
    /// Its pattern: `/api/images/{id}`, or `site`.
    pub route: String,
    /// Its requests.
    #[serde(flatten)]
    pub requests: Summary,
}

/// How often something happened, and by how many different users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Count {
    /// The event's name.
    pub name: String,
    /// How often it was written.
    pub count: u64,
    /// Different users, by their pseudonyms.
    pub users: u64,
}
