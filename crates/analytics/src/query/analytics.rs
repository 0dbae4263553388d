//! The local executor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_channel::oneshot;

use super::analyze::analyze;
use super::answer::Values;
use super::exec::{Bounds, Run, scan_request};
use super::explain::explain;
use super::parse::parse;
use super::plan::Statement;
use super::vector::Vector;
use super::{Answer, AnswerColumn, Format, Query, QueryExecutor, QueryStats, ScanSource, Type};
use crate::{Error, ErrorKind, Result};

/// Memory limit of a query that none can be set above, as texts of one column are kept together.
const MAX_MEMORY: usize = 1 << 30;

/// Bounds of the queries of [`Analytics`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct QueryOptions {
    /// Memory for groups, sorted rows and the answer of a query in bytes. Default: 256 MiB; at most 1 GiB.
    pub memory_bytes: usize,
    /// Longest time of a query. Default: 60 s; `None` for no limit.
    pub time_limit: Option<Duration>,
    /// The time of `now()` and `today()`. Default: the time at which the query begins.
    pub now: Option<DateTime<Utc>>,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self { memory_bytes: 256 << 20, time_limit: Some(Duration::from_secs(60)), now: None }
    }
}

impl QueryOptions {
    /// Sets the memory of a query in bytes.
    #[must_use]
    pub fn with_memory_bytes(mut self, bytes: usize) -> Self {
        self.memory_bytes = bytes.min(MAX_MEMORY);
        self
    }

    /// Sets the longest time of a query; `None` for no limit.
    #[must_use]
    pub fn with_time_limit(mut self, limit: Option<Duration>) -> Self {
        self.time_limit = limit;
        self
    }

    /// Sets the time of `now()`, for tests.
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

    /// Runs a query on the calling thread, which it blocks.
    ///
    /// # Errors
    /// As [`QueryExecutor::query`].
    pub fn run(&self, query: &Query) -> Result<Answer> {
        self.run_until(query, &AtomicBool::new(false))
    }

    /// Returns the plan of a query as text, for people: what is computed in which order, which columns are read, and within which
    /// bounds.
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
    /// # Errors
    /// [`ErrorKind::Query`] where the query is invalid.
    pub fn explain(&self, query: &Query) -> Result<String> {
        let (plan, _) = self.plan(query)?;
        Ok(explain(&plan, scan_request))
    }

    fn plan(&self, query: &Query) -> Result<(Statement, Option<Format>)> {
        let (syntax, format) = parse(&query.to_sql()?)?;
        let now = self.options.now.unwrap_or_else(Utc::now).timestamp();
        Ok((analyze(&syntax, now)?, format))
    }

    fn run_until(&self, query: &Query, is_cancelled: &AtomicBool) -> Result<Answer> {
        let (plan, format) = self.plan(query)?;
        let time_limit = self.options.time_limit;
        let deadline = time_limit.and_then(|limit| Instant::now().checked_add(limit));
        let memory_bytes = self.options.memory_bytes.min(MAX_MEMORY);
        let bounds = Bounds { memory_bytes, time_limit, deadline, is_cancelled };
        let mut run = Run { source: &*self.source, bounds, stats: QueryStats::default() };
        let answer = match &plan {
            Statement::Select(select) => {
                let selected = run.select(select)?;
                let columns = select
                    .output
                    .iter()
                    .map(|output| AnswerColumn { name: output.name.clone(), ty: output.expr.ty.clone() });
                Answer {
                    columns: columns.collect(),
                    values: Values::Vectors(selected.vectors),
                    rows: selected.rows,
                    rows_before_limit_at_least: select.limit.map(|_| selected.rows_before_limit),
                    format,
                    stats: run.stats,
                }
            }
            Statement::ShowTables => {
                list("name", self.source.datasets().map_err(|error| error.during("query"))?, format)
            }
            Statement::ShowTimezones => list("time_zone", chrono_tz::TZ_VARIANTS.map(|zone| zone.name()), format),
            Statement::ShowTimezone => list("timezone()", ["Etc/UTC"], format),
        };
        Ok(answer)
    }
}

/// An answer of one column of texts.
fn list<T: AsRef<str>>(name: &str, items: impl IntoIterator<Item = T>, format: Option<Format>) -> Answer {
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
    async fn query(&self, query: &Query) -> Result<Answer> {
        let cancel = Cancel(Arc::default());
        let is_cancelled = Arc::clone(&cancel.0);
        let (sender, receiver) = oneshot::channel();
        let analytics = self.clone();
        let query = query.clone();
        let thread = std::thread::Builder::new().name("isobar-analytics-query".to_owned());
        let thread = thread.spawn(move || drop(sender.send(analytics.run_until(&query, &is_cancelled))));
        thread.map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("cannot start a thread: {error}")).during("query")
        })?;
        let answer = receiver.await;
        drop(cancel);
        answer.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Internal, "the query's thread has ended early").during("query"))
        })
    }
}
