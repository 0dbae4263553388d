//! What the events of a dataset come to.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use isobar_analytics::{EventSink, Result, ScanOptions};
use serde::Serialize;

use crate::{ProductEvent, RequestEvent};

/// The newest so many events are summed up.
const NEWEST: usize = 100_000;
/// Steps of a series.
const STEPS: i32 = 24;

/// What happened within a time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// From then on.
    pub from: DateTime<Utc>,
    /// Until then.
    pub until: DateTime<Utc>,
    /// Whether there were more events than are summed up: the newest 100,000.
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
}

/// What requests come to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "their names say it")]
pub struct Summary {
    pub count: u64,
    /// Answers of 500 and above.
    pub errors: u64,
    pub bytes: f64,
    pub median_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    /// The mean time that databases took.
    pub database_ms: f64,
}

/// A step of a series.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// When it begins.
    pub at: DateTime<Utc>,
    /// Its requests.
    #[serde(flatten)]
    pub requests: Summary,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Route {
    /// Its pattern.
    pub route: String,
    /// Its requests.
    #[serde(flatten)]
    pub requests: Summary,
}

/// How often something happened, and by how many different users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "their names say it")]
pub struct Count {
    pub name: String,
    pub count: u64,
    pub users: u64,
}

/// Sums up what the dataset has of a time: of everybody, or the events of one tenant's, by its pseudonym.
///
/// # Errors
/// As [`EventSink::scan`]: `Unsupported` where events are only written.
pub async fn stats(
    dataset: &dyn EventSink,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    tenant: Option<&str>,
) -> Result<Stats> {
    dataset.flush().await?;
    let options = ScanOptions::default().with_from(from).with_until(until).with_limit(NEWEST);
    let events = dataset.scan(options).await?;
    // A request's event does not tell whose it was.
    let of_all = events.iter().filter(|_| tenant.is_none());
    let requests: Vec<(DateTime<Utc>, RequestEvent)> =
        of_all.filter_map(|event| Some((event.timestamp, RequestEvent::from_event(event)?))).collect();
    let width = (until - from) / STEPS;
    let steps = (0..STEPS).map(|step| {
        let (begin, end) = (from + width * step, from + width * (step + 1));
        let within = requests.iter().filter(|(at, _)| (begin..end).contains(at)).map(|(_, request)| request);
        Step { at: begin, requests: summary(within) }
    });
    let series = steps.collect();
    let (mut routes, mut caches) = (BTreeMap::<&str, Vec<&RequestEvent>>::new(), BTreeMap::new());
    for (_, request) in &requests {
        routes.entry(&request.route).or_default().push(request);
        *caches.entry(request.cache.clone()).or_default() += request.weight.round() as u64;
    }
    let route = |(route, requests): (&str, Vec<&RequestEvent>)| Route {
        route: route.to_owned(),
        requests: summary(requests.into_iter()),
    };
    let mut routes: Vec<Route> = routes.into_iter().map(route).collect();
    routes.sort_by_key(|route| std::cmp::Reverse(route.requests.count));
    let all = summary(requests.iter().map(|(_, request)| request));
    let is_partial = events.len() == NEWEST;
    let is_told = |event: &ProductEvent| tenant.is_none_or(|tenant| event.tenant == tenant);
    let events = counts(events.iter().filter_map(ProductEvent::from_event).filter(is_told));
    Ok(Stats { from, until, is_partial, requests: all, caches, series, routes, events })
}

fn summary<'e>(requests: impl Iterator<Item = &'e RequestEvent>) -> Summary {
    let (mut times, mut count, mut errors, mut bytes, mut database) = (Vec::new(), 0.0, 0.0, 0.0, 0.0);
    for request in requests {
        let weight = request.weight;
        times.push((request.milliseconds, weight));
        count += weight;
        errors += if request.status >= 500 { weight } else { 0.0 };
        bytes += request.bytes * weight;
        database += request.database_milliseconds * weight;
    }
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    // The time of the first request with so many before it and itself.
    let at = |part: f64| {
        let mut before = 0.0;
        let found = times.iter().find(|(_, weight)| {
            before += weight;
            before >= count * part
        });
        found.or(times.last()).map(|(time, _)| *time).unwrap_or_default()
    };
    let database_ms = if count == 0.0 { 0.0 } else { database / count };
    let (count, errors) = (count.round() as u64, errors.round() as u64);
    Summary { count, errors, bytes, median_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99), database_ms }
}

fn counts(events: impl Iterator<Item = ProductEvent>) -> Vec<Count> {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    events.for_each(|event| names.entry(event.name).or_default().push(event.user));
    let count = |(name, mut users): (String, Vec<String>)| {
        let count = users.len() as u64;
        users.sort_unstable();
        users.dedup();
        Count { name, count, users: users.len() as u64 }
    };
    let mut counts: Vec<_> = names.into_iter().map(count).collect();
    counts.sort_by_key(|count| std::cmp::Reverse(count.count));
    counts
}
