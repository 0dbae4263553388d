//! The local executor.
//!
//! A query is parsed, planned and run on one thread, which starts others to read and group a large dataset. Each has a stack of 32 MiB, as
//! expressions nest up to 1,000 deep and are walked recursively. [`Analytics::run`] waits for the first thread; the async
//! [`QueryExecutor::query`] gets its answer by a channel, and a dropped future sets a flag that all of them look at. Nothing is kept between
//! queries: there is no cache of plans or answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_channel::oneshot;

use super::analyze::analyze;
use super::answer::Values;
use super::exec::{Budget, Run, Selected, scan_request};
use super::explain::explain;
use super::parse::parse;
use super::plan::{Select, Statement};
use super::thread::{no_thread, on_its_stack, thread};
use super::vector::Vector;
use super::{Answer, AnswerColumn, Format, Query, QueryExecutor, QueryStats, ScanSource, Type};
use crate::{Error, ErrorKind, Result};

/// Memory limit of a query that none can be set above, as texts of one column are kept together.
const MAX_MEMORY: usize = 1 << 30;

/// Bounds of the queries of [`Analytics`].
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use std::time::Duration;
///
/// use isobar_analytics::ErrorKind;
/// use isobar_analytics::memory::MemorySink;
/// use isobar_analytics::query::{Analytics, MemoryDatasets, Query, QueryOptions};
///
/// let options = QueryOptions::default().with_memory_bytes(16 << 20).with_time_limit(Some(Duration::ZERO));
/// let datasets = MemoryDatasets::new().with_dataset("web", MemorySink::new());
/// let error = Analytics::new(datasets).with_options(options).run(&Query::new("SELECT count() FROM web")).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::TimedOut);
/// # }
/// ```
///
/// The bounds are of one query. How many run at once is the caller's to bound: each has its memory and a thread. While it groups a
/// dataset of `local` with at least 131,072 compacted points, it has one thread for each processor that the process may use
/// ([`std::thread::available_parallelism`]), at most 8, each with a batch of rows. A CPU affinity or a quota of the container makes
/// them fewer; `count(DISTINCT ...)` and what does not group have one thread. Sums and averages of doubles are added up by part:
/// with another number of threads their last digits may differ.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct QueryOptions {
    /// Memory in bytes for the values, groups and sorted rows of a query, and for its answer, also as text. Besides it a query has, on each of its
    /// threads, a batch of the rows that it reads, and its text. Default: 256 MiB; at most 1 GiB.
    pub memory_bytes: usize,
    /// Longest time of a query. Default: 60 s; `None` for no limit.
    pub time_limit: Option<Duration>,
    /// The time of `now()` and `today()`. Default: the time at which the query begins.
    ///
    /// Whole seconds.
    pub now: Option<DateTime<Utc>>,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self { memory_bytes: 256 << 20, time_limit: Some(Duration::from_secs(60)), now: None }
    }
}

impl QueryOptions {
    /// Sets the memory of a query in bytes.
    ///
    /// Default: 256 MiB; more than 1 GiB counts as 1 GiB. A query beyond it fails with [`ErrorKind::MemoryLimit`] and nothing else happens: memory
    /// is counted before it is taken.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_analytics::ErrorKind;
    /// use isobar_analytics::query::{Analytics, MemoryDatasets, Query, QueryOptions};
    ///
    /// let small = QueryOptions::default().with_memory_bytes(1024);
    /// let analytics = Analytics::new(MemoryDatasets::new()).with_options(small);
    /// let long = Query::new("SELECT $1").with("x".repeat(2000));
    /// assert_eq!(analytics.run(&long).unwrap_err().kind(), ErrorKind::MemoryLimit);
    /// # }
    /// ```
    #[must_use]
    pub fn with_memory_bytes(mut self, bytes: usize) -> Self {
        self.memory_bytes = bytes.min(MAX_MEMORY);
        self
    }

    /// Sets the longest time of a query; `None` for no limit.
    ///
    /// Default: 60 s. It is looked at between batches, between functions, and within a long `LIKE`, so that a query ends some milliseconds late.
    #[must_use]
    pub fn with_time_limit(mut self, limit: Option<Duration>) -> Self {
        self.time_limit = limit;
        self
    }

    /// Sets the time of `now()`, for tests.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_analytics::query::{Analytics, MemoryDatasets, Query, QueryOptions};
    ///
    /// let options = QueryOptions::default().with_now("2026-11-24T01:02:03Z".parse().unwrap());
    /// let analytics = Analytics::new(MemoryDatasets::new()).with_options(options);
    /// let answer = analytics.run(&Query::new("SELECT now() - INTERVAL '1' DAY")).unwrap();
    /// assert_eq!(answer.text(0, 0), "2026-11-23 01:02:03");
    /// # }
    /// ```
    #[must_use]
    pub fn with_now(mut self, now: DateTime<Utc>) -> Self {
        self.now = Some(now);
        self
    }
}

/// The local executor: answers queries over a source's datasets. Clones share the source.
///
/// Values, types and formats are Analytics Engine's, and, where those are not documented, ClickHouse's. Differences from ClickHouse,
/// as Analytics Engine documents them: 64-bit integers are strings in JSON, `length` and `substring` count code points, weeks begin on
/// Monday. `topK` is exact, where ClickHouse's is approximate.
///
/// The language, function by function: [`reference`](super::reference). Cheap to clone; queries run beside each other.
#[derive(Debug, Clone)]
pub struct Analytics {
    source: Arc<dyn ScanSource>,
    options: QueryOptions,
}

impl Analytics {
    /// Answers queries over these datasets.
    pub fn new(source: impl ScanSource + 'static) -> Self {
        Self { source: Arc::new(source), options: QueryOptions::default() }
    }

    /// Sets the bounds.
    #[must_use]
    pub fn with_options(mut self, options: QueryOptions) -> Self {
        self.options = options;
        self
    }

    /// Runs a query, and blocks the calling thread until it is answered.
    ///
    /// For command lines, tests, and threads that may block; async code awaits [`QueryExecutor::query`]. It cannot be cancelled but by its time
    /// limit.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_analytics::memory::MemorySink;
    /// use isobar_analytics::query::{Analytics, MemoryDatasets, Query, Value};
    /// use isobar_analytics::{DataPoint, EventSink};
    ///
    /// let sink = MemorySink::new();
    /// sink.write(DataPoint::new().with_blob("/home").with_double(12.5));
    /// sink.write(DataPoint::new().with_blob("/home").with_double(7.5));
    /// let analytics = Analytics::new(MemoryDatasets::new().with_dataset("visits", sink));
    /// let query = Query::new("SELECT blob1, avg(double1) FROM visits WHERE double1 > $least GROUP BY blob1").with_named("least", 5);
    /// let answer = analytics.run(&query).unwrap();
    /// assert_eq!((answer.value(0, 0), answer.value(0, 1)), (Value::String("/home".into()), Value::Float(10.0)));
    /// assert_eq!(answer.stats().rows_read, 2);
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`QueryExecutor::query`]. A panic of the query, its source included, is [`ErrorKind::Internal`].
    pub fn run(&self, query: &Query) -> Result<Answer> {
        on_its_stack(|| self.run_until(query, Arc::default()))
    }

    /// Returns the plan of a query as text, for people: what is computed in which order, which columns are read, and within which
    /// bounds. Long expressions are cut off.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] { (|| {
    /// use isobar_analytics::query::{Analytics, MemoryDatasets, Query};
    ///
    /// let analytics = Analytics::new(MemoryDatasets::new());
    /// let plan = analytics.explain(&Query::new("SELECT blob1, count() FROM web WHERE index1 = 'a' GROUP BY blob1"))?;
    /// assert!(plan.ends_with("where Equal(index1, 'a')\n  scan web: index1, blob1; 1 values of index1\n"), "{plan}");
    /// # Ok::<(), isobar_analytics::Error>(()) })().unwrap(); }
    /// ```
    ///
    /// No dataset is read, nor need it exist. The text is not stable.
    ///
    /// # Errors
    /// [`ErrorKind::Query`] where the query is invalid.
    pub fn explain(&self, query: &Query) -> Result<String> {
        on_its_stack(|| {
            let (plan, _) = self.plan(query, &self.budget(Arc::default()))?;
            Ok(explain(&plan, scan_request))
        })
    }

    fn budget(&self, is_cancelled: Arc<AtomicBool>) -> Budget {
        Budget::new(self.options.memory_bytes.min(MAX_MEMORY), self.options.time_limit, is_cancelled)
    }

    fn plan(&self, query: &Query, budget: &Budget) -> Result<(Statement, Option<Format>)> {
        let (syntax, format) = parse(&query.to_sql()?)?;
        let now = self.options.now.unwrap_or_else(Utc::now).timestamp();
        Ok((analyze(&syntax, now, budget)?, format))
    }

    fn run_until(&self, query: &Query, is_cancelled: Arc<AtomicBool>) -> Result<Answer> {
        let budget = self.budget(is_cancelled);
        let (plan, format) = self.plan(query, &budget)?;
        match &plan {
            Statement::Select(select) => self.select(select, format, &budget),
            Statement::ShowTables => {
                Ok(list("name", self.source.datasets().map_err(|error| error.during("query"))?, format))
            }
            Statement::ShowTimezones => Ok(list("time_zone", chrono_tz::TZ_VARIANTS.map(|zone| zone.name()), format)),
            Statement::ShowTimezone => Ok(list("timezone()", ["Etc/UTC"], format)),
        }
    }

    fn select(&self, select: &Select, format: Option<Format>, budget: &Budget) -> Result<Answer> {
        let mut run = Run { source: &*self.source, budget, stats: QueryStats::default() };
        let Selected { vectors, rows, rows_before_limit, share: _share } = run.select(select)?;
        let columns: Vec<AnswerColumn> = select
            .output
            .iter()
            .map(|output| AnswerColumn { name: output.name.clone(), ty: output.expr.ty.clone() })
            .collect();
        // As text each row has its constants, and in JSON the names of its columns.
        let constants = vectors.iter().map(|vector| match vector {
            Vector::Const(scalar) => scalar.outside(),
            _ => 0,
        });
        let row = constants.chain(columns.iter().map(|column| column.name.len())).fold(0, usize::saturating_add);
        budget.take(row.saturating_mul(rows))?;
        Ok(Answer {
            columns,
            values: Values::Vectors(vectors),
            rows,
            rows_before_limit_at_least: select.limit.map(|_| rows_before_limit),
            format,
            stats: run.stats,
        })
    }
}

/// An answer of one column of texts.
pub(super) fn list<T: AsRef<str>>(name: &str, items: impl IntoIterator<Item = T>, format: Option<Format>) -> Answer {
    let items: Vec<T> = items.into_iter().collect();
    let columns = vec![AnswerColumn { name: name.to_owned(), ty: Type::String }];
    let names = Vector::from_texts(items.iter().map(|item| item.as_ref().as_bytes()));
    Answer {
        columns,
        values: Values::Vectors(vec![names]),
        rows: items.len(),
        rows_before_limit_at_least: None,
        format,
        stats: QueryStats::default(),
    }
}

/// Cancels a run when it is dropped.
struct Cancel(Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl QueryExecutor for Analytics {
    /// Runs the query on a thread of its own.
    ///
    /// Needs no runtime. A panic of its threads is [`ErrorKind::Internal`].
    async fn query(&self, query: &Query) -> Result<Answer> {
        let cancel = Cancel(Arc::default());
        let is_cancelled = Arc::clone(&cancel.0);
        let (sender, receiver) = oneshot::channel();
        let analytics = self.clone();
        let query = query.clone();
        let work = move || drop(sender.send(analytics.run_until(&query, is_cancelled)));
        thread().spawn(work).map_err(|error| no_thread(&error))?;
        let answer = receiver.await;
        drop(cancel);
        answer.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Internal, "the query's thread has ended early").during("query"))
        })
    }
}
