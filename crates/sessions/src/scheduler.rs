//! Scheduled tasks on an alarm: the same natively and inside Workers.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! use chrono::TimeDelta;
//! use isobar_sessions::SessionNamespaceExt;
//! use isobar_sessions::memory::MemoryHost;
//! use isobar_sessions::scheduler::{ScheduledTask, Scheduler, schedule};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let sweep = ScheduledTask::new("sweep", TimeDelta::hours(1), || {
//!     Box::pin(async { Ok("3 rows".to_owned()) })
//! });
//! let schedulers = MemoryHost::<Scheduler>::new("Scheduler", move || vec![sweep.clone()])?;
//! schedule(&schedulers, "main").await?;
//! let report = schedulers.get(&schedulers.id("main"), "/").await?.into_body().text().await?;
//! assert!(report.contains("sweep"));
//! # Ok::<_, isobar_sessions::Error>(()) }).unwrap();
//! # }
//! ```
//!
//! For tasks of a program, which are known when it starts; `timers` (feature `timers`) are for those that an object makes as it
//! runs. Tasks run one after the other, each to its end, so one that takes long delays the others. A task's time is counted
//! from the end of its last run, not from a grid of times. Its outcome is stored after it has run: a crash in between runs it
//! again, and so each task has to be one that may run twice. A task that the program no longer has is forgotten when its time
//! comes.

use std::fmt;
use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use futures_util::future::BoxFuture;
use http::{Method, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::{
    AlarmInfo, Body, Request, Response, Result, SessionContext, SessionNamespace, SessionNamespaceExt, SessionObject,
};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS jobs (name TEXT PRIMARY KEY, due_at INTEGER NOT NULL, ran_at TEXT, outcome TEXT) WITHOUT ROWID";
/// How long after a failure a task is tried again, if that is sooner than its next time.
const AGAIN: TimeDelta = TimeDelta::minutes(5);

/// A task, how often it runs, and what it does.
#[derive(Clone)]
pub struct ScheduledTask {
    name: &'static str,
    every: TimeDelta,
    run: Arc<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>,
}

impl fmt::Debug for ScheduledTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScheduledTask({}, every {} s)", self.name, self.every.num_seconds())
    }
}

impl ScheduledTask {
    /// Creates a task that runs `every` so often, the first time at once. It returns what it has done, or why it failed, for the report;
    /// after a failure it runs again in 5 minutes, or at its next time where that is sooner. It may run twice for one time. Its name
    /// is unique among the tasks of its scheduler.
    pub fn new(
        name: &'static str,
        every: TimeDelta,
        run: impl Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync + 'static,
    ) -> Self {
        Self { name, every, run: Arc::new(run) }
    }
}

/// A session object that runs tasks on its alarm. It must not be reachable from outside.
///
/// `POST /start` begins, and has no effect when it has begun already; `GET /` reports when each task ran, and its outcome.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_sessions::SessionNamespaceExt;
/// use isobar_sessions::memory::MemoryHost;
/// use isobar_sessions::scheduler::Scheduler;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let schedulers = MemoryHost::<Scheduler>::new("Scheduler", Vec::new)?;
/// let report = schedulers.get(&schedulers.id("main"), "/").await?.into_body().text().await?;
/// assert_eq!(report, "[]", "it has no tasks");
/// # Ok::<_, isobar_sessions::Error>(()) }).unwrap();
/// # }
/// ```
#[derive(Debug)]
pub struct Scheduler {
    context: SessionContext,
    tasks: Vec<ScheduledTask>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    name: String,
    due_at: i64,
    ran_at: Option<String>,
    outcome: Option<String>,
}

/// Begins the tasks of the scheduler of this name: at the start of a server, or with the first request of a Worker.
///
/// # Errors
/// As [`SessionNamespace::fetch`].
pub async fn schedule(sessions: &dyn SessionNamespace, name: &str) -> Result<()> {
    sessions.post(&sessions.id(name), "/start", Body::empty()).await.map(drop)
}

impl SessionObject for Scheduler {
    type Env = Vec<ScheduledTask>;

    async fn start(context: SessionContext, tasks: Vec<ScheduledTask>) -> Result<Self> {
        context.sql().exec(SCHEMA, ())?;
        Ok(Self { context, tasks })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/start") => {
                let now = Utc::now().timestamp_millis();
                for task in &self.tasks {
                    let sql = "INSERT OR IGNORE INTO jobs (name, due_at) VALUES (?, ?)";
                    self.context.sql().exec(sql, (task.name, now))?;
                }
                if self.context.alarm()?.is_none() {
                    self.wake_for_next()?;
                }
                Ok(Response::new(Body::empty()))
            }
            (&Method::GET, "/") => {
                let rows: Vec<Row> = self
                    .context
                    .sql()
                    .exec("SELECT name, due_at, ran_at, outcome FROM jobs ORDER BY name", ())?
                    .all()?;
                let mut response = Response::new(Body::from(serde_json::to_string(&rows)?));
                let json = http::HeaderValue::from_static("application/json");
                response.headers_mut().insert(header::CONTENT_TYPE, json);
                Ok(response)
            }
            _ => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NOT_FOUND;
                Ok(response)
            }
        }
    }

    async fn alarm(&self, _: AlarmInfo) -> Result<()> {
        let sql = "SELECT name, due_at, ran_at, outcome FROM jobs WHERE due_at <= ?";
        let due: Vec<Row> = self.context.sql().exec(sql, (Utc::now().timestamp_millis(),))?.all()?;
        for Row { name, .. } in due {
            let Some(task) = self.tasks.iter().find(|task| task.name == name) else {
                self.context.sql().exec("DELETE FROM jobs WHERE name = ?", (name,))?; // of an older version
                continue;
            };
            let outcome = (task.run)().await;
            let wait = if outcome.is_ok() { task.every } else { AGAIN.min(task.every) };
            let now = Utc::now();
            let outcome = outcome.unwrap_or_else(|why| {
                #[cfg(feature = "tracing")]
                tracing::warn!(task = task.name, why, "a scheduled task failed");
                format!("failed: {why}")
            });
            let sql = "UPDATE jobs SET due_at = ?, ran_at = ?, outcome = ? WHERE name = ?";
            let values = ((now + wait).timestamp_millis(), now.to_rfc3339(), outcome, task.name);
            self.context.sql().exec(sql, values)?;
        }
        self.wake_for_next()
    }
}

impl Scheduler {
    fn wake_for_next(&self) -> Result<()> {
        let next: Option<i64> = self.context.sql().exec("SELECT min(due_at) FROM jobs", ())?.one()?;
        match next.and_then(chrono::DateTime::from_timestamp_millis) {
            Some(next) => self.context.set_alarm(next),
            None => Ok(()),
        }
    }
}
