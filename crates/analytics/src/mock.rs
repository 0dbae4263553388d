//! Mocks: over any other sink, which records its calls and plays scripted failures, delays and holds; and of an executor of queries.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use isobar_base::sync::IgnorePoison;
pub use isobar_testkit::{Call, Release, Script};

pub use crate::Operation;
use crate::query::{Answer, Dialect, Query, QueryExecutor};
use crate::{Batches, DataPoint, Error, EventSink, PointRef, Result, ScanOptions, SinkStats};

/// A sink with a [`Script`] before every [`Operation`]. A `write` that is scripted to fail drops its point; delays and holds do not
/// apply to it, as writing never waits. A scripted error names the operation that it fails, as a backend's own errors do.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_analytics::memory::MemorySink;
/// use isobar_analytics::mock::{MockSink, Operation};
/// use isobar_analytics::{DataPoint, Error, ErrorKind, EventSink};
/// # futures_util::FutureExt::now_or_never(async {
/// let sink = MockSink::new(MemorySink::new());
/// sink.script().fail_next(Operation::Flush, Error::new(ErrorKind::StorageFull, "the disk is full"));
/// sink.write(DataPoint::new().with_index("tenant-1"));
/// assert_eq!(sink.flush().await.unwrap_err().to_string(), "flush: the disk is full");
/// assert!(sink.flush().await.is_ok());
/// assert_eq!(sink.script().count(Operation::Write), 1);
/// # }).unwrap(); }
/// ```
///
/// A test that waits for a flush to begin holds it (`hold_next`), and looks at what the code under test does meanwhile; see [`Script`].
#[derive(Debug, Clone)]
pub struct MockSink {
    inner: Arc<dyn EventSink>,
    script: Script<Error>,
}

impl MockSink {
    /// Creates a mock over this sink. Without scripted steps it only records.
    ///
    /// Clones share the script and the sink.
    pub fn new(inner: impl EventSink + 'static) -> Self {
        Self { inner: Arc::new(inner), script: Script::new(Operation::ALL) }
    }

    /// Returns the script, which has the record of calls.
    ///
    /// A write is recorded with its index, so that a test can distinguish tenants.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_analytics::memory::MemorySink;
    /// use isobar_analytics::mock::{MockSink, Operation};
    /// use isobar_analytics::{DataPoint, Error, ErrorKind, EventSink};
    ///
    /// let memory = MemorySink::new();
    /// let sink = MockSink::new(memory.clone());
    /// sink.script().fail_next(Operation::Write, Error::new(ErrorKind::StorageFull, "the disk is full"));
    /// sink.write(DataPoint::new().with_index("lost"));
    /// sink.write(DataPoint::new().with_index("stored"));
    /// assert_eq!((sink.script().count(Operation::Write), memory.points().len()), (2, 1));
    /// # }
    /// ```
    #[must_use]
    pub fn script(&self) -> &Script<Error> {
        &self.script
    }

    /// Records a call and plays its step.
    async fn enter(&self, operation: Operation) -> Result<()> {
        self.script.enter(operation, "").await.map_err(|error| error.during(operation))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventSink for MockSink {
    fn write(&self, point: DataPoint) {
        let index = point.indexes.first().map(|index| String::from_utf8_lossy(index).into_owned()).unwrap_or_default();
        if self.script.enter_now(Operation::Write, index).is_ok() {
            self.inner.write(point);
        }
    }
    fn write_ref(&self, point: &PointRef<'_>) {
        let index = String::from_utf8_lossy(point.index.unwrap_or_default()).into_owned();
        if self.script.enter_now(Operation::Write, index).is_ok() {
            self.inner.write_ref(point);
        }
    }
    async fn flush(&self) -> Result<()> {
        self.enter(Operation::Flush).await?;
        self.inner.flush().await
    }
    async fn close(&self) -> Result<()> {
        self.enter(Operation::Close).await?;
        self.inner.close().await
    }
    fn stats(&self) -> SinkStats {
        self.inner.stats()
    }
    async fn health(&self) -> Result<()> {
        self.enter(Operation::Health).await?;
        self.inner.health().await
    }
    async fn read(&self, options: ScanOptions) -> Result<Batches> {
        self.enter(Operation::Read).await?;
        self.inner.read(options).await
    }
}

/// An executor that answers queries by a function, and records them. It knows no SQL.
///
/// ```
/// use isobar_analytics::mock::MockExecutor;
/// use isobar_analytics::query::{Answer, Query, QueryExecutor, Type, Value};
///
/// # futures_util::FutureExt::now_or_never(async {
/// let executor = MockExecutor::new(|_| Answer::from_rows([("requests", Type::UInt64)], [vec![Value::UInt(3)]]));
/// let query = Query::new("SELECT count() AS requests FROM web WHERE blob1 = $1").with("/home");
/// assert_eq!(executor.query(&query).await?.value(0, 0), Value::UInt(3));
/// assert_eq!(executor.queries(), [query]);
/// # Ok::<(), isobar_analytics::Error>(())
/// # }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct MockExecutor {
    answer: Arc<AnswerFn>,
    dialect: Dialect,
    queries: Arc<Mutex<Vec<Query>>>,
}

/// Answers a query.
type AnswerFn = dyn Fn(&Query) -> Result<Answer> + Send + Sync;

impl MockExecutor {
    /// Creates an executor that answers each query by this function.
    ///
    /// The function sees the query as it was asked, with its parameters beside the text. It is called on the thread that polls.
    pub fn new(answer: impl Fn(&Query) -> Result<Answer> + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(answer), dialect: Dialect::default(), queries: Arc::default() }
    }

    /// Sets the SQL that the executor says it reads. Default: Analytics Engine's.
    ///
    /// For code that writes other text for each dialect.
    #[must_use]
    pub fn with_dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// Returns the queries so far, in order.
    ///
    /// ```
    /// use isobar_analytics::mock::MockExecutor;
    /// use isobar_analytics::query::{Answer, Query, QueryExecutor};
    /// use isobar_analytics::{Error, ErrorKind};
    ///
    /// # futures_util::FutureExt::now_or_never(async {
    /// let broken = MockExecutor::new(|_| Err::<Answer, _>(Error::new(ErrorKind::Unavailable, "try again")));
    /// let error = broken.query(&Query::new("SHOW TABLES")).await.unwrap_err();
    /// assert!(error.is_retryable());
    /// assert_eq!(broken.queries()[0].text(), "SHOW TABLES");
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn queries(&self) -> Vec<Query> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Query>> {
        // A list that is only appended to.
        self.queries.lock().ignore_poison()
    }
}

impl fmt::Debug for MockExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockExecutor").field("queries", &self.lock()).finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl QueryExecutor for MockExecutor {
    async fn query(&self, query: &Query) -> Result<Answer> {
        self.lock().push(query.clone());
        (self.answer)(query)
    }
    fn dialect(&self) -> Dialect {
        self.dialect
    }
}
