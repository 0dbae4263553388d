//! Cron triggers where no runtime sends them: a session object for each expression calls a handler at its times.
//!
//! On Cloudflare the runtime sends a `scheduled` event for each of the configuration's `triggers.crons`. A native host runs a
//! [`CronTrigger`] for each, on the object's alarm: at least once, and once for all times that were missed while no host ran. As there, a
//! handler's failure, or its panic, is logged and not retried, and one expression does not wait for the handler of another.
//!
//! ```
//! # #[cfg(not(feature = "memory"))]
//! # fn main() {}
//! # #[cfg(feature = "memory")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> isobar_sessions::Result<()> {
//! use std::sync::Arc;
//!
//! use isobar_sessions::SessionNamespaceExt;
//! use isobar_sessions::memory::MemoryHost;
//! use isobar_sessions::triggers::{CronTrigger, CronTriggers, ScheduledEvent};
//!
//! let crons = ["*/5 * * * *".to_owned(), "0 3 * * *".to_owned()];
//! let handler = |event: ScheduledEvent| async move {
//!     println!("{} at {}", event.cron, event.scheduled_time);
//!     Ok::<(), String>(())
//! };
//! let triggers = CronTriggers::new(&crons, handler)?;
//! let of_each = triggers.clone();
//! let host = MemoryHost::<CronTrigger>::new("CronTrigger", move || of_each.clone())?;
//! triggers.start(&host).await?;
//! let report = host.get(&host.id("0 3 * * *"), "/").await?.into_body().text().await?;
//! assert!(report.contains("next"));
//! # Ok(())
//! # }
//! ```

use std::fmt::{self, Display};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Method, StatusCode};
use serde_json::json;

use crate::timers::{Cron, Timer, Timers};
use crate::{
    AlarmInfo, Body, Request, Response, Result, SessionContext, SessionNamespace, SessionNamespaceExt, SessionObject,
};

/// Name of the one timer of a trigger.
const TIMER: &str = "trigger";

/// The time of a cron trigger has come: what Workers' `scheduled` handler gets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScheduledEvent {
    /// The expression, as the configuration has it.
    pub cron: String,
    /// Time for which the event is. Where times were missed, natively, it is the first of them.
    pub scheduled_time: DateTime<Utc>,
}

impl ScheduledEvent {
    /// Creates an event, for hosts and tests.
    ///
    /// ```
    /// use chrono::{DateTime, Utc};
    /// use isobar_sessions::triggers::ScheduledEvent;
    /// let at: DateTime<Utc> = "2026-11-29T03:00:00Z".parse().unwrap();
    /// let event = ScheduledEvent::new("0 3 * * *", at);
    /// assert_eq!((event.cron.as_str(), event.scheduled_time), ("0 3 * * *", at));
    /// ```
    #[must_use]
    pub fn new(cron: impl Into<String>, scheduled_time: DateTime<Utc>) -> Self {
        Self { cron: cron.into(), scheduled_time }
    }
}

/// A handler of cron triggers: it returns why it has failed, if it has.
pub type ScheduledHandler = Arc<dyn Fn(ScheduledEvent) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Expressions and their handler: the environment of [`CronTrigger`]s.
#[derive(Clone)]
pub struct CronTriggers {
    crons: Arc<[String]>,
    handler: ScheduledHandler,
}

impl fmt::Debug for CronTriggers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CronTriggers").field(&self.crons).finish()
    }
}

impl CronTriggers {
    /// Creates triggers for these expressions.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for an expression that is not [one](Cron).
    pub fn new<E: Display, F>(
        crons: &[String],
        handler: impl Fn(ScheduledEvent) -> F + Send + Sync + 'static,
    ) -> Result<Self>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        Self::with_handler(crons, boxed(handler))
    }

    /// As [`new`](Self::new), for a handler that is boxed already.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_handler(crons: &[String], handler: ScheduledHandler) -> Result<Self> {
        for cron in crons {
            cron.parse::<Cron>()?;
        }
        Ok(Self { crons: crons.into(), handler })
    }

    /// Starts the triggers in a namespace of [`CronTrigger`]s whose environment they are: at the start of a program. Those that have
    /// started before go on.
    ///
    /// # Errors
    /// As [`SessionNamespace::fetch`].
    pub async fn start(&self, namespace: &dyn SessionNamespace) -> Result<()> {
        for cron in &*self.crons {
            namespace.post(&namespace.id(cron), "/start", Body::from(cron.clone())).await?;
        }
        Ok(())
    }
}

/// Boxes a handler of cron triggers.
pub fn boxed<E: Display, F>(handler: impl Fn(ScheduledEvent) -> F + Send + Sync + 'static) -> ScheduledHandler
where
    F: Future<Output = Result<(), E>> + Send + 'static,
{
    Arc::new(move |event| {
        let handled = handler(event);
        Box::pin(async move { handled.await.map_err(|error| error.to_string()) })
    })
}

/// A session object that calls the handler at the times of one expression. It must not be reachable from outside.
///
/// `POST /start` with the expression begins, `GET /` reports the last run and the next one. A trigger whose expression is no longer among
/// those of its environment ends.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_sessions::SessionNamespaceExt;
/// use isobar_sessions::memory::MemoryHost;
/// use isobar_sessions::triggers::{CronTrigger, CronTriggers};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let triggers = CronTriggers::new(&["0 3 * * *".to_owned()], |_| async { Ok::<(), String>(()) })?;
/// let env = triggers.clone();
/// let namespace = MemoryHost::<CronTrigger>::new("CronTrigger", move || env.clone())?;
/// triggers.start(&namespace).await?;
/// let report = namespace.get(&namespace.id("0 3 * * *"), "/").await?.into_body().text().await?;
/// assert!(report.contains("T03:00:00"), "the next run");
/// # Ok::<_, isobar_sessions::Error>(()) }).unwrap();
/// # }
/// ```
#[derive(Debug)]
pub struct CronTrigger {
    context: SessionContext,
    timers: Timers,
    triggers: CronTriggers,
}

impl SessionObject for CronTrigger {
    type Env = CronTriggers;

    async fn start(context: SessionContext, triggers: CronTriggers) -> Result<Self> {
        let timers = Timers::new(&context);
        Ok(Self { context, timers, triggers })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/start") => {
                let cron = request.into_body().text().await?;
                self.timers.every(TIMER, &cron, &())?;
                Ok(Response::default())
            }
            (&Method::GET, "/") => {
                let timer = self.timers.get(TIMER)?;
                let next = timer.as_ref().and_then(|timer| timer.due).map(|due| due.to_rfc3339());
                let last = self.context.kv().get::<serde_json::Value>("last")?;
                let report = json!({"cron": timer.and_then(|timer| timer.cron), "next": next, "last": last});
                Ok(Response::new(Body::from(report.to_string())))
            }
            _ => {
                let mut response = Response::default();
                *response.status_mut() = StatusCode::NOT_FOUND;
                Ok(response)
            }
        }
    }

    async fn alarm(&self, info: AlarmInfo) -> Result<()> {
        self.timers.run(&info, async |timer| self.fire(timer).await).await
    }
}

impl CronTrigger {
    async fn fire(&self, timer: Timer) -> Result<()> {
        let cron = timer.cron.unwrap_or_default();
        if !self.triggers.crons.contains(&cron) {
            return self.timers.cancel(TIMER).map(drop); // of an earlier configuration
        }
        let handler = Arc::clone(&self.triggers.handler);
        let event = ScheduledEvent::new(cron, timer.scheduled);
        // What it leaves behind is the application's, as that of a request whose handler panics.
        let outcome = AssertUnwindSafe(async move { handler(event).await }).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| Err("the handler panicked".to_owned()));
        #[cfg(feature = "tracing")]
        if let Err(why) = &outcome {
            tracing::warn!(cron = self.context.id().name(), why, "a cron trigger failed");
        }
        let scheduled = timer.scheduled.to_rfc3339();
        let ended = self.context.now().to_rfc3339();
        self.context.kv().put("last", &json!({"scheduled": scheduled, "ended": ended, "failure": outcome.err()}))
    }
}
