//! Statistics of a dataset's events.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use isobar_analytics::{Damage, ErrorKind, Event, EventSink, Result, ScanOptions};
use serde::Serialize;

use super::events::{ProductEvent, RequestEvent};

/// Number of events that are summed up, the newest ones.
const NEWEST: usize = 100_000;
/// Steps of a series.
const STEPS: i32 = 24;

/// Statistics of a period.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// The beginning of the period, inclusive.
    pub from: DateTime<Utc>,
    /// The end of the period, exclusive.
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
    /// Stored events that are missing from these numbers, because they are damaged. Its files are named for all events only,
    /// not for one tenant's.
    pub damage: Damage,
    /// Events that were lost since the process began: the buffer was full, or the disk failed or was at its reserve.
    pub dropped: u64,
}

/// Totals of requests.
#[derive(Debug, Clone, PartialEq, Serialize)]
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

/// Sums up a dataset's events of a period: all of them, or those of one tenant, by its pseudonym. Events are read in
/// batches, and of each only what the sums need is kept: some 100 bytes.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use chrono::{TimeDelta, Utc};
/// use isobar_analytics::memory::MemorySink;
/// use isobar_http_serve::stats;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let dataset = MemorySink::new();
/// let day = stats(&dataset, Utc::now() - TimeDelta::days(1), Utc::now(), None).await?;
/// assert_eq!((day.requests.count, day.series.len()), (0, 24));
/// # Ok::<_, isobar_analytics::Error>(()) }).unwrap();
/// # }
/// ```
///
/// # Errors
/// As [`EventSink::read`]: `Unsupported` where events are only written. Events that cannot be flushed are missing, and counted.
pub async fn stats(
    dataset: &dyn EventSink,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    tenant: Option<&str>,
) -> Result<Stats> {
    match dataset.flush().await {
        Err(error) if error.kind() == ErrorKind::Closed => return Err(error),
        // What is stored can be read all the same.
        Err(error) => tracing::warn!(%error, "events were lost"),
        Ok(()) => {}
    }
    let options = ScanOptions::default().with_from(from).with_until(until).with_limit(NEWEST);
    let mut sums = Sums::new(from, until, tenant);
    let mut batches = dataset.read(options).await?;
    while let Some(batch) = batches.try_next().await? {
        batch.events.iter().for_each(|event| sums.add(event));
        sums.damage.merge(batch.damage);
    }
    Ok(sums.into_stats(dataset.stats().dropped))
}

/// Sums kept of events while they are read.
struct Sums<'t> {
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    tenant: Option<&'t str>,
    read: usize,
    all: Samples,
    steps: Vec<Samples>,
    routes: BTreeMap<String, Samples>,
    caches: BTreeMap<String, u64>,
    /// How often each event of the product happened, and to whom.
    events: BTreeMap<String, (u64, BTreeSet<String>)>,
    damage: Damage,
}

impl<'t> Sums<'t> {
    fn new(from: DateTime<Utc>, until: DateTime<Utc>, tenant: Option<&'t str>) -> Self {
        Self {
            from,
            until,
            tenant,
            read: 0,
            all: Samples::default(),
            steps: (0..STEPS).map(|_| Samples::default()).collect(),
            routes: BTreeMap::new(),
            caches: BTreeMap::new(),
            events: BTreeMap::new(),
            damage: Damage::default(),
        }
    }

    fn add(&mut self, event: &Event) {
        self.read += 1;
        // A request's event names no tenant.
        if self.tenant.is_none()
            && let Some(request) = RequestEvent::from_event(event)
        {
            self.all.add(&request);
            let width = ((self.until - self.from) / STEPS).num_milliseconds().max(1);
            let step = usize::try_from((event.timestamp - self.from).num_milliseconds() / width).unwrap_or_default();
            if let Some(samples) = self.steps.get_mut(step) {
                samples.add(&request);
            }
            *self.caches.entry(request.cache.clone()).or_default() += request.weight.round() as u64;
            self.routes.entry(request.route.clone()).or_default().add(&request);
        } else if let Some(event) = ProductEvent::from_event(event)
            && self.tenant.is_none_or(|tenant| event.tenant == tenant)
        {
            let (count, users) = self.events.entry(event.name).or_default();
            *count += 1;
            users.insert(event.user);
        }
    }

    fn into_stats(self, dropped: u64) -> Stats {
        let Self { from, until, tenant, read, all, steps, routes, caches, events, mut damage } = self;
        let width = (until - from) / STEPS;
        let steps = (0..STEPS).zip(steps);
        let series = steps.map(|(step, samples)| Step { at: from + width * step, requests: samples.summary() });
        let routes = routes.into_iter().map(|(route, samples)| Route { route, requests: samples.summary() });
        let mut routes: Vec<Route> = routes.collect();
        routes.sort_by_key(|route| std::cmp::Reverse(route.requests.count));
        if tenant.is_some() {
            damage.files.clear();
        }
        Stats {
            from,
            until,
            is_partial: read == NEWEST,
            requests: all.summary(),
            caches,
            series: series.collect(),
            routes,
            events: counts(events),
            damage,
            dropped,
        }
    }
}

/// The samples of which a summary is made.
#[derive(Default)]
struct Samples {
    /// The time of each event in milliseconds, and its weight.
    times: Vec<(f64, f64)>,
    count: f64,
    errors: f64,
    bytes: f64,
    database: f64,
}

impl Samples {
    fn add(&mut self, request: &RequestEvent) {
        let weight = request.weight;
        self.times.push((request.milliseconds, weight));
        self.count += weight;
        self.errors += if request.status >= 500 { weight } else { 0.0 };
        self.bytes += request.bytes * weight;
        self.database += request.database_milliseconds * weight;
    }

    fn summary(self) -> Summary {
        let Self { mut times, count, errors, bytes, database } = self;
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
        let count = count.round() as u64;
        let errors = errors.round() as u64;
        Summary { count, errors, bytes, median_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99), database_ms }
    }
}

fn counts(events: BTreeMap<String, (u64, BTreeSet<String>)>) -> Vec<Count> {
    let count =
        |(name, (count, users)): (String, (u64, BTreeSet<String>))| Count { name, count, users: users.len() as u64 };
    let mut counts: Vec<_> = events.into_iter().map(count).collect();
    counts.sort_by_key(|count| std::cmp::Reverse(count.count));
    counts
}
