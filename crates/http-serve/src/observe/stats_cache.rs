//! A cache of statistics: concurrent requests share one answer, which is kept for some seconds.
//!
//! A dashboard asks every few seconds, from several browsers; a query reads a day of events. So an
//! answer serves for 5 s, and a crowd causes one query.
//!
//! Lock order: an entry's `asking`, then the cache's `asking`. The first makes a tenant's requests
//! share one answer; the second lets one query run at a time, so that many tenants cannot take all of
//! the memory that queries may have. The synchronous locks are held for a few instructions and never
//! across an await. A request that is dropped while it asks gives both back, and the next one asks.
//!
//! Memory is bounded by [`TENANTS`]: entries that nobody waits for are dropped when there are more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as SyncMutex};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use futures_util::lock::Mutex;
use isobar_analytics::{EventSink, Result};
use isobar_base::sync::IgnorePoison;

use super::stats::Stats;
use super::stats_queries::stats;
use crate::dataset_queries::DatasetQueries;

/// How long statistics serve for further requests.
const FRESH: TimeDelta = TimeDelta::seconds(5);
/// Tenants whose statistics are kept; those that no request waits for are dropped when there are more.
const TENANTS: usize = 256;

/// The statistics of tenants. At any time one request asks the dataset; the others wait, each tenant's for one answer. Inside Workers
/// they do not wait, as the runtime ties what a request has begun to that request; answers that are there serve all of an isolate's.
#[derive(Debug, Default)]
pub(crate) struct StatsCache {
    tenants: SyncMutex<HashMap<Key, Arc<Entry>>>,
    #[cfg_attr(target_arch = "wasm32", expect(dead_code, reason = "no request waits for another"))]
    asking: Mutex<()>,
}

/// The dataset's name in queries, and the tenant by its pseudonym.
type Key = (String, Option<String>);

#[derive(Debug, Default)]
struct Entry {
    kept: SyncMutex<Option<Kept>>,
    /// Held while the dataset is asked.
    #[cfg_attr(target_arch = "wasm32", expect(dead_code, reason = "no request waits for another"))]
    asking: Mutex<()>,
}

/// Statistics of the last hours, and when they were asked for.
#[derive(Debug)]
struct Kept {
    hours: i64,
    at: DateTime<Utc>,
    stats: Arc<Stats>,
}

impl StatsCache {
    /// Returns the statistics of the last hours: of a tenant by its pseudonym, or of all.
    pub(crate) async fn get(
        &self,
        dataset: &dyn EventSink,
        queries: &DatasetQueries,
        hours: i64,
        tenant: Option<String>,
    ) -> Result<Arc<Stats>> {
        let entry = self.entry((queries.table(), tenant.clone()));
        #[cfg(not(target_arch = "wasm32"))]
        let _asking_for_tenant = entry.asking.lock().await;
        let at = Utc::now();
        if let Some(stats) = entry.fresh(hours, at) {
            return Ok(stats);
        }
        #[cfg(not(target_arch = "wasm32"))]
        let _asking = self.asking.lock().await;
        // With the second that has begun.
        let until = at.trunc_subsecs(0) + TimeDelta::seconds(1);
        let stats = stats(dataset, queries, until - TimeDelta::hours(hours), until, tenant.as_deref()).await?;
        let stats = Arc::new(stats);
        *entry.kept.lock().ignore_poison() = Some(Kept { hours, at, stats: Arc::clone(&stats) });
        Ok(stats)
    }

    /// Returns a tenant's entry, and makes it if there is none.
    fn entry(&self, key: Key) -> Arc<Entry> {
        // Changed in single steps.
        let mut tenants = self.tenants.lock().ignore_poison();
        if tenants.len() >= TENANTS {
            tenants.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        Arc::clone(tenants.entry(key).or_default())
    }
}

impl Entry {
    /// The kept statistics, if they are of as many hours and young enough. A clock that was set back
    /// makes them old.
    fn fresh(&self, hours: i64, now: DateTime<Utc>) -> Option<Arc<Stats>> {
        // Replaced as a whole.
        let kept = self.kept.lock().ignore_poison();
        let kept = kept.as_ref()?;
        let is_fresh = kept.hours == hours && (TimeDelta::zero()..FRESH).contains(&(now - kept.at));
        is_fresh.then(|| Arc::clone(&kept.stats))
    }
}

#[cfg(all(test, feature = "memory", not(target_arch = "wasm32")))]
mod tests {
    use isobar_analytics::memory::MemorySink;
    use isobar_analytics::mock::MockExecutor;
    use isobar_analytics::query::{Answer, Type};

    use super::*;

    #[tokio::test]
    async fn concurrent_requests_share_one_answer_per_tenant() {
        let sink = MemorySink::new();
        let executor = MockExecutor::new(|_| Answer::from_rows([("blob2", Type::String)], []));
        let queries = DatasetQueries::new(executor.clone(), "web");
        let cache = StatsCache::default();
        let ask = |tenant: Option<&str>| cache.get(&sink, &queries, 24, tenant.map(str::to_owned));
        let asked = futures_util::future::join_all((0..12).flat_map(|_| [ask(None), ask(Some("a"))])).await;
        assert!(asked.iter().all(Result::is_ok));
        let count = || {
            let queries = executor.queries();
            let of_tenant = queries.iter().filter(|query| query.text().contains("$tenant")).count();
            (queries.len() - of_tenant, of_tenant)
        };
        assert_eq!(count(), (5, 1));
        cache.get(&sink, &queries, 48, None).await.unwrap();
        assert_eq!(count(), (10, 1), "another time");
    }
}
