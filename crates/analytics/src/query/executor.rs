//! The trait of executors.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Answer, Dialect, Query};
use crate::Result;

/// An executor of queries: over local datasets, or over those of an account on Cloudflare.
///
/// ```
/// # #[cfg(all(feature = "memory", feature = "query"))] {
/// use isobar_analytics::memory::MemorySink;
/// use isobar_analytics::query::{Analytics, MemoryDatasets, Query, QueryExecutor, Value};
/// use isobar_analytics::{DataPoint, EventSink};
///
/// async fn visits(analytics: &dyn QueryExecutor, page: &str) -> isobar_analytics::Result<Value> {
///     let query = Query::new("SELECT count() FROM web WHERE blob1 = $1").with(page);
///     Ok(analytics.query(&query).await?.value(0, 0))
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let sink = MemorySink::new();
/// sink.write(DataPoint::new().with_blob("/home"));
/// let analytics = Analytics::new(MemoryDatasets::new().with_dataset("web", sink));
/// assert_eq!(visits(&analytics, "/home").await?, Value::UInt(1));
/// # Ok::<(), isobar_analytics::Error>(())
/// # }).unwrap(); }
/// ```
///
/// Code that holds a `dyn QueryExecutor` and keeps to the common part of both [dialects](Dialect) runs unchanged over files, inside Workers and
/// against Cloudflare from outside, and against `mock::MockExecutor` in tests.
#[async_trait]
pub trait QueryExecutor: Debug + Send + Sync {
    /// Runs a query to its end. Dropping the future cancels it.
    ///
    /// A query changes nothing, so that one which failed as [retryable](crate::Error::is_retryable) may be asked again.
    ///
    /// # Errors
    /// [`ErrorKind::Query`](crate::ErrorKind::Query) where the query is invalid, with line and column where the executor knows them;
    /// [`MemoryLimit`](crate::ErrorKind::MemoryLimit), [`TimedOut`](crate::ErrorKind::TimedOut),
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied), [`Unavailable`](crate::ErrorKind::Unavailable);
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where nothing to ask is configured; the kinds of reading.
    async fn query(&self, query: &Query) -> Result<Answer>;

    /// Returns the SQL that the executor reads. Default: Analytics Engine's.
    fn dialect(&self) -> Dialect {
        Dialect::AnalyticsEngine
    }
}

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<Q: QueryExecutor + ?Sized> QueryExecutor for $wrapper {
            async fn query(&self, query: &Query) -> Result<Answer> {
                (**self).query(query).await
            }
            fn dialect(&self) -> Dialect {
                (**self).dialect()
            }
        }
    )*};
}
forward!(Arc<Q>, Box<Q>);
