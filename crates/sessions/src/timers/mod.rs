//! Many named timers, and cron expressions, over the one alarm of an object: the same natively, in memory and inside Durable Objects.
//!
//! Timers are kept in the object's database, in the table `_isobar_timers`; names that begin with `_isobar_` are reserved. The alarm is
//! theirs: an object that has timers sets no alarm of its own, but a timer.
//!
//! - A timer runs at its time or later, at least once. One that runs when its object is reset or the machine stops runs again.
//! - A handler's failure is retried as an alarm's is: after 2 s, doubling, with up to a quarter of jitter, 6 times. A timer that has failed
//!   7 times is given up: it is kept with its failure until it is set again or cancelled, and a cron expression goes on with its next
//!   time. Other timers are not affected. A panic is a failure, too. Where the object does not even start, its host gives up the
//!   alarm after 7 tries; the timers wait then until one is set, or [`every`](Timers::every) is called.
//! - After a long sleep, or when the clock jumps ahead, a cron expression runs **once** for all the times that were missed, and goes on
//!   with the next one to come. A timer that was set while the clock was ahead, and is put right, waits for as long as it was meant to.
//!
//! ```
//! # #[cfg(not(feature = "memory"))]
//! # fn main() {}
//! # #[cfg(feature = "memory")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> isobar_sessions::Result<()> {
//! use chrono::TimeDelta;
//! use isobar_sessions::memory::MemoryHost;
//! use isobar_sessions::timers::Timers;
//! use isobar_sessions::{AlarmInfo, Request, Response, Result, SessionContext, SessionNamespaceExt, SessionObject};
//!
//! /// Reminders: each has a name, a time and a text, and there is a report every morning.
//! struct Reminders {
//!     context: SessionContext,
//!     timers: Timers,
//! }
//!
//! impl SessionObject for Reminders {
//!     type Env = ();
//!
//!     async fn start(context: SessionContext, _: ()) -> Result<Self> {
//!         let timers = Timers::new(&context);
//!         Ok(Self { context, timers })
//!     }
//!
//!     async fn fetch(&self, request: Request) -> Result<Response> {
//!         if request.method() == "POST" {
//!             let at = self.context.now() + TimeDelta::milliseconds(5);
//!             self.timers.set("tea", at, &"it is ready")?;
//!             self.timers.every("report", "0 7 * * *", &"good morning")?;
//!         }
//!         Ok(Response::new(self.context.kv().get::<String>("said")?.unwrap_or_default().into()))
//!     }
//!
//!     async fn alarm(&self, info: AlarmInfo) -> Result<()> {
//!         self.timers.run(&info, async |timer| self.context.kv().put("said", &timer.payload::<String>()?)).await
//!     }
//! }
//!
//! let reminders = MemoryHost::<Reminders>::new("Reminders", || ())?;
//! let ada = reminders.id("ada");
//! reminders.post(&ada, "/", "".into()).await?;
//! loop {
//!     let said = reminders.get(&ada, "/").await?.into_body().text().await?;
//!     if said == "it is ready" {
//!         break;
//!     }
//!     tokio::time::sleep(std::time::Duration::from_millis(5)).await;
//! }
//! # Ok(())
//! # }
//! ```

mod cron;
mod table;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::table::{Row, Table};
use crate::{AlarmInfo, Error, ErrorKind, Result, SessionContext, limits};

pub use cron::Cron;
pub use table::TABLE;

/// Timers that are run before the alarm is set again for those that are left.
const BATCH: usize = 1000;

/// The timers of an object: see the [module](self).
#[derive(Debug, Clone)]
pub struct Timers {
    table: Table,
}

/// A timer.
///
/// | state | `due` | `retries` | `failure` |
/// |---|---|---|---|
/// | waits | its time | 0 | `None`; of a cron expression that was given up once, that failure |
/// | has failed | the time of its next run | 1 to 6 | the last failure |
/// | is given up | `None` | 7 | the last failure |
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Timer {
    /// Its name.
    pub name: String,
    /// Time for which it was set; of a cron expression the first that has not run yet.
    pub scheduled: DateTime<Utc>,
    /// Time at which it runs: later than `scheduled` after a failure; `None` once it is given up.
    pub due: Option<DateTime<Utc>>,
    /// The cron expression of a timer that runs again and again.
    pub cron: Option<String>,
    /// Number of runs for this time that have failed, 0 to 7.
    pub retries: u32,
    /// Text of the last failure, until a run succeeds.
    pub failure: Option<String>,
    payload: String,
}

impl Timer {
    /// Returns the timer's payload.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when it is not a `T`.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_str(&self.payload)?)
    }
}

impl Timers {
    /// Takes the timers of an object. Nothing is stored before the first is set.
    #[must_use]
    pub fn new(context: &SessionContext) -> Self {
        Self { table: Table::new(context.clone()) }
    }

    /// Sets a timer, in place of the one of this name; a time in the past means now. The payload is stored as JSON.
    ///
    /// ```
    /// use chrono::{DateTime, Utc};
    /// use isobar_sessions::Result;
    /// use isobar_sessions::timers::Timers;
    ///
    /// /// Reminds of an appointment an hour before it; a second call moves the reminder.
    /// fn remind(timers: &Timers, appointment: u64, at: DateTime<Utc>) -> Result<()> {
    ///     timers.set(&format!("appointment/{appointment}"), at - chrono::TimeDelta::hours(1), &appointment)
    /// }
    /// # let _ = remind;
    /// ```
    ///
    /// # Errors
    /// Those of the storage.
    pub fn set(&self, name: &str, at: DateTime<Utc>, payload: &impl Serialize) -> Result<()> {
        let payload = serde_json::to_string(payload)?;
        self.table.put(name, at.timestamp_millis(), None, &payload)
    }

    /// Sets a timer that runs at each time of a [cron expression](Cron), in UTC, in place of another one of this name. With the same
    /// expression and payload as it has already it stays as it is, so it may be set with each start of the object.
    ///
    /// ```
    /// use isobar_sessions::timers::Timers;
    /// use isobar_sessions::{Result, SessionContext, SessionObject};
    /// # use isobar_sessions::{AlarmInfo, Request, Response};
    /// # struct Reports(Timers);
    /// # impl SessionObject for Reports {
    /// #     type Env = ();
    /// async fn start(context: SessionContext, _: ()) -> Result<Self> {
    ///     let timers = Timers::new(&context);
    ///     timers.every("report", "0 7 * * MON-FRI", &())?; // at each start: it is set once
    ///     Ok(Self(timers))
    /// }
    /// #     async fn fetch(&self, _: Request) -> Result<Response> { Ok(Response::default()) }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an invalid expression, and for one whose time never comes; those of the storage.
    pub fn every(&self, name: &str, cron: &str, payload: &impl Serialize) -> Result<()> {
        let parsed: Cron = cron.parse()?;
        let payload = serde_json::to_string(payload)?;
        let known = self.table.find(name)?;
        if known.is_some_and(|row| row.cron.as_deref() == Some(cron) && row.payload == payload && row.due_at.is_some())
        {
            return self.table.arm(); // the host may have given the alarm up
        }
        let next = next(&parsed, self.table.now())?;
        self.table.put(name, next, Some(cron), &payload)
    }

    /// Cancels a timer. Returns whether there was one of this name.
    ///
    /// ```
    /// use isobar_sessions::Result;
    /// use isobar_sessions::timers::Timers;
    ///
    /// /// Whether the reminder was still to come.
    /// fn call_off(timers: &Timers, appointment: u64) -> Result<bool> {
    ///     timers.cancel(&format!("appointment/{appointment}"))
    /// }
    /// # let _ = call_off;
    /// ```
    ///
    /// # Errors
    /// Those of the storage.
    pub fn cancel(&self, name: &str) -> Result<bool> {
        self.table.remove(name)
    }

    /// Returns the timer of this name.
    ///
    /// # Errors
    /// Those of the storage.
    pub fn get(&self, name: &str) -> Result<Option<Timer>> {
        Ok(self.table.find(name)?.map(Row::into_timer))
    }

    /// Returns all timers, the next one first, and those that are given up last.
    ///
    /// All payloads are in memory at once.
    ///
    /// ```
    /// use isobar_sessions::Result;
    /// use isobar_sessions::timers::Timers;
    ///
    /// /// Names of the timers that were given up, each with its last failure.
    /// fn given_up(timers: &Timers) -> Result<Vec<(String, String)>> {
    ///     let all = timers.list()?.into_iter();
    ///     let over = all.filter(|timer| timer.due.is_none());
    ///     Ok(over.map(|timer| (timer.name, timer.failure.unwrap_or_default())).collect())
    /// }
    /// # let _ = given_up;
    /// ```
    ///
    /// # Errors
    /// Those of the storage.
    pub fn list(&self) -> Result<Vec<Timer>> {
        Ok(self.table.all()?.into_iter().map(Row::into_timer).collect())
    }

    /// Runs the timers that are due, one after the other: the object's [`alarm`](crate::SessionObject::alarm) passes its information on.
    /// Writes of the handler after its last await are committed with the end of its timer, together or not at all.
    ///
    /// # Errors
    /// Those of the storage. A handler's error is the timer's, and retried.
    pub async fn run(&self, info: &AlarmInfo, mut handler: impl AsyncFnMut(Timer) -> Result<()>) -> Result<()> {
        let table = &self.table;
        if info.retry_count >= limits::ALARM_RETRIES {
            table.arm_beyond()?;
            table.context().durable().await?;
        }
        table.rebase(true)?;
        for due in table.due(BATCH)? {
            // Another one's handler may have cancelled it, or set it anew.
            let Some(row) = table.find(&due.name)?.filter(|row| row.revision == due.revision) else { continue };
            if row.running.is_some_and(|retries| info.retry_count > retries) {
                self.fail(&row, "the run did not end: it panicked, or the object was reset")?;
                continue;
            }
            // After a failure of the alarm itself, by a panic for example, it must be known which timer was running.
            if info.retry_count > 0 {
                table.mark_running(&row, info.retry_count)?;
                table.context().durable().await?;
            }
            match handler(row.clone().into_timer()).await {
                Ok(()) => self.conclude(&row)?,
                Err(error) => {
                    #[cfg(feature = "tracing")]
                    tracing::warn!(object = %table.context().id(), timer = row.name, %error, "a timer failed");
                    self.fail(&row, error.message())?;
                }
            }
        }
        table.arm()
    }

    /// Ends a run that has succeeded.
    fn conclude(&self, row: &Row) -> Result<()> {
        match &row.cron {
            None => self.table.end(row),
            Some(cron) => self.table.advance(row, self.next_of(row, cron)?, None),
        }
    }

    /// Ends a run that has failed.
    fn fail(&self, row: &Row, why: &str) -> Result<()> {
        let retries = row.retries + 1;
        match (table::retry_at(self.table.now(), retries), &row.cron) {
            (Some(due), _) => self.table.postpone(row, Some(due), retries, why),
            (None, Some(cron)) => self.table.advance(row, self.next_of(row, cron)?, Some(why)),
            (None, None) => self.table.postpone(row, None, retries, why),
        }
    }

    /// The expression's time after the one that has run: not that one again, where the clock went back a little meanwhile.
    fn next_of(&self, row: &Row, cron: &str) -> Result<i64> {
        let now = self.table.now();
        let is_ahead = row.scheduled > now.saturating_add(table::SLACK);
        next(&cron.parse()?, if is_ahead { now } else { now.max(row.scheduled) })
    }
}

/// The expression's next time, in Unix milliseconds.
fn next(cron: &Cron, now: i64) -> Result<i64> {
    let now = DateTime::from_timestamp_millis(now).unwrap_or_default();
    let next = cron.next_after(now).map(|next| next.timestamp_millis());
    next.ok_or_else(|| {
        Error::new(ErrorKind::InvalidArgument, format!("the time of the cron expression \"{cron}\" never comes"))
    })
}
