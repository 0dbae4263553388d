//! The sweep that carries out the lifecycle rules of buckets (features `s3`, `rest`).
//!
//! It lists what a rule may cover, a page at a time, and deletes by the version that it has listed: an object that was written meanwhile
//! stays. The rules are read again before each page is deleted: one that was changed or removed deletes no further page. One bucket follows
//! another, so that a sweep costs little beside requests; what it finds beyond its limit waits for the next.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream};
use isobar_storage::{Clock, ListOptions, ListUploadsOptions, ObjectMeta, ObjectStore, system_clock};

use crate::catalog::{BucketCatalog, CatalogError, CatalogErrorKind, LifecyclePolicy};

/// Most objects and uploads that a sweep removes, unless it is told another number.
const MOST_REMOVED: u64 = 1_000_000;
/// Deletions in flight at a time: stores commit them together.
const AT_ONCE: usize = 32;
/// Entries of a page.
const PAGE: usize = 1000;

/// Removes the objects that have expired by the lifecycle rules of their buckets, and aborts uploads.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use isobar_gateway::catalog::{Expiry, FixedBuckets, LifecyclePolicy, LifecycleRule};
/// use isobar_gateway::lifecycle::LifecycleSweeper;
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Key, ObjectStoreExt};
///
/// let store = MemoryStore::new();
/// store.write(&Key::new("logs/a")?, "1").await?;
/// store.write(&Key::new("photos/a")?, "1").await?;
/// let rule = LifecycleRule::new("logs").with_prefix("logs/").with_expiry(Expiry::Age(0));
/// let buckets = FixedBuckets::new().with_bucket("all", Arc::new(store.clone()));
/// let buckets = buckets.with_lifecycle("all", LifecyclePolicy::new(vec![rule])?);
/// let report = LifecycleSweeper::new(Arc::new(buckets)).sweep().await;
/// assert_eq!((report.deleted, report.failed), (1, 0));
/// assert!(store.read(&Key::new("photos/a")?).await?.is_some());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LifecycleSweeper {
    buckets: Arc<dyn BucketCatalog>,
    clock: Clock,
    most: u64,
}

/// Counts of a sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepReport {
    /// Buckets whose rules asked for something.
    pub buckets: u64,
    /// Objects that had expired, and were deleted.
    pub deleted: u64,
    /// Objects that had expired, and were written anew or deleted before the sweep came to them.
    pub spared: u64,
    /// Uploads that were aborted.
    pub aborted: u64,
    /// Objects and uploads that could not be removed, and buckets that could not be swept, or not to their end. The log says why.
    pub failed: u64,
}

impl SweepReport {
    fn removed(&self) -> u64 {
        self.deleted + self.aborted
    }
}

impl LifecycleSweeper {
    /// Returns a sweeper of these buckets.
    #[must_use]
    pub fn new(buckets: Arc<dyn BucketCatalog>) -> Self {
        Self { buckets, clock: system_clock(), most: MOST_REMOVED }
    }

    /// Takes the time from this clock. Default: the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets how many objects and uploads a sweep removes at most; the others are left to the next. Default: 1,000,000.
    #[must_use]
    pub fn with_limit(mut self, removed: u64) -> Self {
        self.most = removed;
        self
    }

    /// Sweeps now, and then each time when the interval has passed since the last sweep has ended. It never returns: drop it to end it.
    pub async fn run(&self, interval: Duration) {
        loop {
            self.sweep().await;
            tokio::time::sleep(interval).await;
        }
    }

    /// Sweeps every bucket once. A bucket that fails is logged, and the others are swept all the same.
    pub async fn sweep(&self) -> SweepReport {
        let mut report = SweepReport::default();
        let listed = match self.buckets.list().await {
            Ok(listed) => listed,
            Err(error) => {
                let error = error.with_causes();
                tracing::error!(error, "the buckets cannot be listed: no lifecycle rule is carried out");
                report.failed += 1;
                return report;
            }
        };
        for bucket in listed {
            let before = report;
            let bucket = bucket.name.as_str();
            if let Err(error) = self.sweep_bucket(bucket, &mut report).await {
                report.failed += 1;
                let error = error.with_causes();
                tracing::error!(bucket, error, "the lifecycle rules of a bucket are not carried out");
            }
            let deleted = report.deleted - before.deleted;
            let aborted = report.aborted - before.aborted;
            let spared = report.spared - before.spared;
            if deleted + aborted + spared > 0 {
                tracing::info!(bucket, deleted, aborted, spared, "lifecycle rules were carried out");
            }
        }
        report
    }

    /// Sweeps a bucket. One whose rules ask for nothing is not opened.
    async fn sweep_bucket(&self, name: &str, report: &mut SweepReport) -> Result<(), CatalogError> {
        let policy = self.buckets.lifecycle(name).await?;
        let now = (self.clock)();
        let expiring = policy.expiring(now);
        let aborting = policy.aborting();
        if expiring.is_empty() && aborting.is_empty() {
            return Ok(());
        }
        // Deleted since it was listed.
        let Some(store) = self.buckets.open(name).await? else { return Ok(()) };
        policy.check_store(store.capabilities())?;
        report.buckets += 1;
        let rules = Rules { buckets: &*self.buckets, name, policy: &policy, now, most: self.most };
        for prefix in expiring {
            rules.expire(&*store, prefix, report).await?;
        }
        for prefix in aborting {
            rules.abort(&*store, prefix, report).await?;
        }
        Ok(())
    }
}

impl fmt::Debug for LifecycleSweeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LifecycleSweeper")
            .field("buckets", &self.buckets)
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

/// The rules of a bucket at the time of a sweep.
struct Rules<'a> {
    buckets: &'a dyn BucketCatalog,
    name: &'a str,
    policy: &'a LifecyclePolicy,
    now: DateTime<Utc>,
    most: u64,
}

impl Rules<'_> {
    /// Whether the bucket still has these rules. Where it has others, the next sweep carries them out.
    async fn are_current(&self) -> Result<bool, CatalogError> {
        Ok(self.buckets.lifecycle(self.name).await? == *self.policy)
    }

    /// Deletes the expired objects with a prefix.
    async fn expire(
        &self,
        store: &dyn ObjectStore,
        prefix: &str,
        report: &mut SweepReport,
    ) -> Result<(), CatalogError> {
        let mut options = ListOptions::default().with_prefix(prefix).with_limit(PAGE);
        loop {
            let page = store.list(options.clone()).await.map_err(of_storage)?;
            let left = usize::try_from(self.most.saturating_sub(report.removed())).unwrap_or(usize::MAX);
            let expired = page.objects.into_iter().filter(|object| self.policy.is_expired(object, self.now));
            let expired: Vec<ObjectMeta> = expired.take(left).collect();
            if !expired.is_empty() && !self.are_current().await? {
                return Ok(());
            }
            self.delete(store, expired, report).await;
            match page.cursor {
                Some(cursor) if report.removed() < self.most => options = options.with_cursor(cursor),
                _ => return Ok(()),
            }
        }
    }

    /// Deletes objects as they were listed, several at a time. One that fails is logged and counted.
    async fn delete(&self, store: &dyn ObjectStore, expired: Vec<ObjectMeta>, report: &mut SweepReport) {
        let deletions = expired.into_iter().map(|object| async move {
            let deleted = store.delete_version(&object.key, &object.version).await;
            (object, deleted)
        });
        let mut deletions = stream::iter(deletions).buffer_unordered(AT_ONCE);
        while let Some((object, deleted)) = deletions.next().await {
            let bucket = self.name;
            let key = object.key.as_str();
            match deleted {
                Ok(true) => {
                    report.deleted += 1;
                    tracing::debug!(bucket, key, etag = %object.etag, "an expired object was deleted");
                }
                Ok(false) => report.spared += 1,
                Err(error) => {
                    report.failed += 1;
                    tracing::error!(bucket, key, %error, "an expired object cannot be deleted");
                }
            }
        }
    }

    /// Aborts the abandoned uploads of keys with a prefix.
    async fn abort(&self, store: &dyn ObjectStore, prefix: &str, report: &mut SweepReport) -> Result<(), CatalogError> {
        let mut options = ListUploadsOptions::default().with_prefix(prefix).with_limit(PAGE);
        loop {
            let page = store.list_uploads(options.clone()).await.map_err(of_storage)?;
            let last = page.last().filter(|_| page.len() == PAGE).map(|last| (last.key.clone(), last.id.clone()));
            let abandoned = page.into_iter().filter(|upload| self.policy.is_abandoned(upload, self.now));
            let abandoned: Vec<_> = abandoned.collect();
            if !abandoned.is_empty() && !self.are_current().await? {
                return Ok(());
            }
            for upload in abandoned {
                if report.removed() >= self.most {
                    return Ok(());
                }
                let bucket = self.name;
                let key = upload.key.as_str();
                match store.abort_multipart(&upload.key, &upload.id).await {
                    Ok(()) => {
                        report.aborted += 1;
                        tracing::debug!(bucket, key, upload = %upload.id, "an upload was aborted");
                    }
                    Err(error) => {
                        report.failed += 1;
                        tracing::error!(bucket, key, %error, "an upload cannot be aborted");
                    }
                }
            }
            let Some((key, id)) = last else { return Ok(()) };
            options = options.with_after(key.as_str(), Some(id));
        }
    }
}

/// A failure of a store in the middle of a sweep.
fn of_storage(error: isobar_storage::Error) -> CatalogError {
    CatalogError::new(CatalogErrorKind::Unavailable, "the bucket cannot be listed").with_source(error)
}
