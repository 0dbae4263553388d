//! How long a request has waited for its databases.
//!
//! A request's future notes itself as the one that is polled; what it polls in turn adds to it. No runtime is asked, so it is
//! the same inside Workers.
//!
//! The alternative, a task-local of tokio, would not exist inside Workers, and a parameter would go
//! through every handler. Its limit: what a request spawns as a task of its own is not counted, since
//! nothing of the request polls it. Parallel queries count each, so that the sum may be more than the
//! request's duration.

use std::cell::RefCell;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use chrono::Utc;
use isobar_db::dump::{ExportOptions, Report};
use isobar_db::{
    Capabilities, Consistency, Database, DatabaseSession, Dialect, ExecResult, Imported, QueryResult, Queryable,
    Result, Statement, TimeTravel,
};

thread_local! {
    static CURRENT: RefCell<Option<Arc<Meter>>> = const { RefCell::new(None) };
}

/// The resources that a request has used.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    database_microseconds: AtomicU64,
}

impl Meter {
    /// Time so far, in milliseconds.
    pub(crate) fn database_milliseconds(&self) -> f64 {
        self.database_microseconds.load(Ordering::Relaxed) as f64 / 1000.0
    }

    /// The meter of the request that is polled on this thread; `None` outside of one.
    fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }
}

/// A future that what it polls counts for.
pub(crate) struct Metered<F> {
    future: Pin<Box<F>>,
    meter: Arc<Meter>,
}

impl<F: Future> Metered<F> {
    pub(crate) fn new(future: F, meter: Arc<Meter>) -> Self {
        Self { future: Box::pin(future), meter }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let outer = CURRENT.replace(Some(Arc::clone(&self.meter)));
        let polled = self.future.as_mut().poll(cx);
        CURRENT.set(outer);
        polled
    }
}

/// A database whose time counts for the request that asks it.
///
/// Every method is forwarded (`missing_trait_methods` is denied): a default of the trait in place of
/// the backend's own would be a silent loss. Sessions of consistency, interactive
/// transactions that have begun, and time travel are not timed.
#[derive(Debug)]
pub(crate) struct MeteredDatabase(pub(crate) Arc<dyn Database>);

/// Counts the time of some work for the current request. It is found before the work begins, as another
/// may be polled when it ends.
async fn timed<T>(work: impl Future<Output = T>) -> T {
    let Some(meter) = Meter::current() else { return work.await };
    let start = Utc::now(); // not Instant: that has no clock inside Workers
    let done = work.await;
    let elapsed = (Utc::now() - start).num_microseconds().and_then(|elapsed| u64::try_from(elapsed).ok());
    meter.database_microseconds.fetch_add(elapsed.unwrap_or_default(), Ordering::Relaxed);
    done
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Queryable for MeteredDatabase {
    async fn query(&self, statement: Statement) -> Result<QueryResult> {
        timed(self.0.query(statement)).await
    }

    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        timed(self.0.batch(statements)).await
    }

    async fn batch_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        timed(self.0.batch_script(script)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Database for MeteredDatabase {
    fn dialect(&self) -> Dialect {
        self.0.dialect()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn exec(&self, script: &str) -> Result<ExecResult> {
        timed(self.0.exec(script)).await
    }

    async fn health(&self) -> Result<()> {
        self.0.health().await
    }

    async fn export(&self, options: ExportOptions, output: Box<dyn Write + Send>) -> Result<Report> {
        timed(self.0.export(options, output)).await
    }

    async fn import(&self, script: &str) -> Result<Imported> {
        timed(self.0.import(script)).await
    }

    #[cfg(not(target_arch = "wasm32"))]
    async fn begin(
        &self,
        options: isobar_db::InteractiveOptions,
    ) -> Result<Box<dyn isobar_db::InteractiveTransaction>> {
        timed(self.0.begin(options)).await
    }

    fn session(&self, consistency: Consistency) -> Arc<dyn DatabaseSession> {
        self.0.session(consistency)
    }

    fn time_travel(&self) -> Option<&dyn TimeTravel> {
        self.0.time_travel()
    }
}
