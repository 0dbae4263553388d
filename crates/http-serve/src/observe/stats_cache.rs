//! A cache of statistics: concurrent requests share one reading, which is kept for some seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as SyncMutex};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::lock::Mutex;
use isobar_analytics::{EventSink, Result};
use isobar_base::sync::IgnorePoison;

use super::stats::{Stats, stats};

/// How long statistics serve for further requests.
const FRESH: TimeDelta = TimeDelta::seconds(5);
/// Tenants whose statistics are kept; those that no request waits for are dropped when there are more.
const TENANTS: usize = 256;

/// The statistics of tenants. At any time one request reads events; the others wait, each tenant's for one reading.
#[derive(Debug, Default)]
pub(crate) struct StatsCache {
    tenants: SyncMutex<HashMap<Option<String>, Arc<Entry>>>,
    reading: Mutex<()>,
}

/// A tenant's statistics; held while they are read.
type Entry = Mutex<Option<Kept>>;

/// Statistics of the last hours, and when they were read.
#[derive(Debug)]
struct Kept {
    hours: i64,
    at: DateTime<Utc>,
    stats: Arc<Stats>,
}

impl StatsCache {
    /// Returns the statistics of the last hours: of a tenant by its pseudonym, or of all.
    pub(crate) async fn get(&self, dataset: &dyn EventSink, hours: i64, tenant: Option<String>) -> Result<Arc<Stats>> {
        let entry = self.entry(&tenant);
        let mut kept = entry.lock().await;
        let until = Utc::now();
        if let Some(Kept { hours: of, at, stats }) = &*kept
            && *of == hours
            && (TimeDelta::zero()..FRESH).contains(&(until - at))
        {
            return Ok(Arc::clone(stats));
        }
        let _reading = self.reading.lock().await;
        let read = stats(dataset, until - TimeDelta::hours(hours), until, tenant.as_deref()).await?;
        let stats = Arc::new(read);
        *kept = Some(Kept { hours, at: until, stats: Arc::clone(&stats) });
        Ok(stats)
    }

    fn entry(&self, tenant: &Option<String>) -> Arc<Entry> {
        // Changed in single steps.
        let mut tenants = self.tenants.lock().ignore_poison();
        if tenants.len() >= TENANTS {
            tenants.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        Arc::clone(tenants.entry(tenant.clone()).or_default())
    }
}

#[cfg(all(test, feature = "memory", not(target_arch = "wasm32")))]
mod tests {
    use isobar_analytics::memory::MemorySink;
    use isobar_analytics::mock::MockSink;

    use super::*;

    #[tokio::test]
    async fn concurrent_requests_share_one_reading_per_tenant() {
        let sink = MockSink::new(MemorySink::new());
        let cache = StatsCache::default();
        let ask = |tenant: Option<&str>| cache.get(&sink, 24, tenant.map(str::to_owned));
        let asked = futures_util::future::join_all((0..12).flat_map(|_| [ask(None), ask(Some("a"))])).await;
        assert!(asked.iter().all(Result::is_ok));
        assert_eq!(sink.script().count("read"), 2);
        cache.get(&sink, 48, None).await.unwrap();
        assert_eq!(sink.script().count("read"), 3, "another time");
    }
}
