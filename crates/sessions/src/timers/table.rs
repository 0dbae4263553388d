//! The table of timers, and the alarm that is set for the first of them.
//!
//! A row has two guards against what happens while its handler runs. `revision` is random, and another one each time that the
//! timer is set: the end of a run changes the row only while it has the revision that has run, so a handler that sets its own
//! timer anew, or another event that cancels it, is not undone. `running` is written once the alarm itself has failed: it is the
//! alarm's count of retries at the begin of a run, so the next run of the alarm that finds it knows which timer has panicked, and
//! fails that one rather than all.
//!
//! Setting and cancelling end with [`arm`](Table::arm) in the same transaction, so the alarm and the first row never disagree. A
//! run of the alarm arms once, at its end; a crash before that makes the host run the alarm again.
//!
//! The table is made with the first timer: an object without timers has none of this in its database.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use isobar_base::backoff::Backoff;
use serde::Deserialize;

use super::{Cron, Timer, next};
use crate::{Result, SessionContext, limits};

/// Name of the table in an object's database that has its timers. Its column `made` says when the row's time was written.
pub const TABLE: &str = "_isobar_timers";

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS _isobar_timers (
    name TEXT PRIMARY KEY, scheduled INTEGER NOT NULL, due_at INTEGER, cron TEXT, payload TEXT NOT NULL,
    retries INTEGER NOT NULL, failure TEXT, made INTEGER NOT NULL, revision INTEGER NOT NULL, running INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS _isobar_timers_due ON _isobar_timers (due_at) WHERE due_at IS NOT NULL";
const COLUMNS: &str = "name, scheduled, due_at, cron, payload, retries, failure, revision, running, made";
/// The same of many rows, without payloads and failures: each may have some MiB.
const BRIEF: &str = "name, scheduled, due_at, cron, '' AS payload, retries, NULL AS failure, revision, running, made";
/// How far the clock may go back, in milliseconds, before timers that seem to be made in the future are set anew.
pub(super) const SLACK: i64 = 10_000;
/// Revisions are random, of as many bits as a number of JavaScript's has exactly.
const REVISION_BITS: u64 = (1 << 52) - 1;

/// A timer as it is stored; times are Unix milliseconds.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) scheduled: i64,
    /// `None` once it is given up.
    pub(super) due_at: Option<i64>,
    pub(super) cron: Option<String>,
    pub(super) payload: String,
    pub(super) retries: u32,
    pub(super) failure: Option<String>,
    /// Another one each time that the timer is set.
    pub(super) revision: i64,
    /// The alarm's count of retries when a run was begun that has not ended.
    pub(super) running: Option<u32>,
    /// When `due_at` was written.
    made: i64,
}

impl Row {
    pub(super) fn into_timer(self) -> Timer {
        let time = |millis| DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let Self { name, scheduled, due_at, cron, payload, retries, failure, .. } = self;
        Timer { name, scheduled: time(scheduled), due: due_at.map(time), cron, retries, failure, payload }
    }
}

/// When a timer runs again after this number of failures; `None` when it is given up.
pub(super) fn retry_at(now: i64, failures: u32) -> Option<i64> {
    const BACKOFF: Backoff = Backoff::new(Duration::from_secs(2), Duration::MAX);
    if failures > limits::ALARM_RETRIES {
        return None;
    }
    let jitter = isobar_base::random::fraction().unwrap_or(0.0) / 4.0;
    let delay = BACKOFF.longest(failures).mul_f64(1.0 + jitter);
    Some(now + i64::try_from(delay.as_millis()).unwrap_or(i64::MAX - now))
}

/// The table of an object.
#[derive(Debug, Clone)]
pub(super) struct Table {
    context: SessionContext,
    /// Latest time at which no timer was made ahead of the clock.
    sound_at: Rc<Cell<i64>>,
}

impl Table {
    pub(super) fn new(context: SessionContext) -> Self {
        Self { context, sound_at: Rc::new(Cell::new(i64::MAX)) }
    }

    pub(super) fn context(&self) -> &SessionContext {
        &self.context
    }

    /// The host's time, in Unix milliseconds.
    pub(super) fn now(&self) -> i64 {
        self.context.now().timestamp_millis()
    }

    /// Sets a timer.
    pub(super) fn put(&self, name: &str, at: i64, cron: Option<&str>, payload: &str) -> Result<()> {
        let random = u64::from_le_bytes(isobar_base::random::bytes()?) & REVISION_BITS;
        let sql =
            format!("INSERT OR REPLACE INTO {TABLE} ({COLUMNS}) VALUES (?1, ?2, ?2, ?3, ?4, 0, NULL, ?5, NULL, ?6)");
        self.context.transaction(|| {
            if !self.exists()? {
                self.context.sql().exec(SCHEMA, ())?;
            }
            self.context.sql().exec(&sql, (name, at, cron, payload, random.cast_signed(), self.now()))?;
            self.arm()
        })
    }

    pub(super) fn remove(&self, name: &str) -> Result<bool> {
        if !self.exists()? {
            return Ok(false);
        }
        self.context.transaction(|| {
            let sql = format!("DELETE FROM {TABLE} WHERE name = ? RETURNING name");
            let is_removed = !self.context.sql().exec(&sql, (name,))?.raw().is_empty();
            if is_removed {
                self.arm()?;
            }
            Ok(is_removed)
        })
    }

    pub(super) fn find(&self, name: &str) -> Result<Option<Row>> {
        if !self.exists()? {
            return Ok(None);
        }
        let sql = format!("SELECT {COLUMNS} FROM {TABLE} WHERE name = ?");
        self.context.sql().exec(&sql, (name,))?.next()
    }

    pub(super) fn all(&self) -> Result<Vec<Row>> {
        if !self.exists()? {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT {COLUMNS} FROM {TABLE} ORDER BY due_at IS NULL, due_at, name");
        self.context.sql().exec(&sql, ())?.all()
    }

    /// The timers whose time has come, the first one first, without their payloads.
    pub(super) fn due(&self, limit: usize) -> Result<Vec<Row>> {
        if !self.exists()? {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT {BRIEF} FROM {TABLE} WHERE due_at <= ? ORDER BY due_at, name LIMIT {limit}");
        self.context.sql().exec(&sql, (self.now(),))?.all()
    }

    /// Removes a timer that has run, unless it was set anew meanwhile.
    pub(super) fn end(&self, row: &Row) -> Result<()> {
        let sql = format!("DELETE FROM {TABLE} WHERE name = ? AND revision = ?");
        self.unless_gone(&sql, row, Vec::new())
    }

    /// Sets a timer for the next time of its expression, with the failure of the one that it was given up for.
    pub(super) fn advance(&self, row: &Row, next: i64, failure: Option<&str>) -> Result<()> {
        let sql = format!(
            "UPDATE {TABLE} SET scheduled = ?3, due_at = ?3, retries = 0, failure = ?4, made = ?5, running = NULL
             WHERE name = ?1 AND revision = ?2"
        );
        self.unless_gone(&sql, row, vec![next.into(), failure.into(), self.now().into()])
    }

    /// Sets when a timer runs again that has failed; never once it is given up.
    pub(super) fn postpone(&self, row: &Row, due: Option<i64>, retries: u32, why: &str) -> Result<()> {
        let sql = format!(
            "UPDATE {TABLE} SET due_at = ?3, retries = ?4, failure = ?5, made = ?6, running = NULL
             WHERE name = ?1 AND revision = ?2"
        );
        self.unless_gone(&sql, row, vec![due.into(), retries.into(), why.into(), self.now().into()])
    }

    /// Remembers that a timer runs.
    pub(super) fn mark_running(&self, row: &Row, retries: u32) -> Result<()> {
        let sql = format!("UPDATE {TABLE} SET running = ?3 WHERE name = ?1 AND revision = ?2");
        self.unless_gone(&sql, row, vec![retries.into()])
    }

    /// Changes a timer of this revision, if it is there: the object may have deleted all meanwhile.
    fn unless_gone(&self, sql: &str, row: &Row, values: Vec<crate::Value>) -> Result<()> {
        if !self.exists()? {
            return Ok(());
        }
        let mut parameters = vec![row.name.as_str().into(), row.revision.into()];
        parameters.extend(values);
        self.context.sql().exec(sql, parameters).map(drop)
    }

    /// Puts timers right that were made while the clock was ahead: each waits for as long as it was meant to, from now on, and an
    /// expression for its next time. Where the alarm has come for the first of them, as its host has put that right already, they
    /// wait from the time of the first.
    pub(super) fn rebase(&self, is_alarm: bool) -> Result<()> {
        if !self.exists()? {
            return Ok(());
        }
        let now = self.now();
        let latest = now.saturating_add(SLACK);
        let sql = format!("SELECT {BRIEF} FROM {TABLE} WHERE made > ? AND due_at IS NOT NULL ORDER BY due_at");
        let ahead: Vec<Row> = self.context.sql().exec(&sql, (latest,))?.all()?;
        let Some(first) = ahead.first().and_then(|row| row.due_at) else {
            self.sound_at.set(now);
            return Ok(());
        };
        let sql = format!("SELECT min(due_at) FROM {TABLE} WHERE made <= ?");
        let other: Option<i64> = self.context.sql().exec(&sql, (latest,))?.one()?;
        let is_of_first = is_alarm && other.is_none_or(|other| other > first);
        for row in &ahead {
            let due = row.due_at.unwrap_or(first);
            match &row.cron {
                Some(cron) if row.retries == 0 => self.advance(row, next(&cron.parse::<Cron>()?, now)?, None)?,
                _ => {
                    let from = if is_of_first { first } else { row.made };
                    let due = now.saturating_add(due.saturating_sub(from).max(0));
                    let sql = format!("UPDATE {TABLE} SET due_at = ?3, made = ?4 WHERE name = ?1 AND revision = ?2");
                    self.unless_gone(&sql, row, vec![due.into(), now.into()])?;
                }
            }
        }
        Ok(())
    }

    /// Sets an alarm that remains should the one that runs now be given up, as this is its last run.
    pub(super) fn arm_beyond(&self) -> Result<()> {
        match retry_at(self.now(), limits::ALARM_RETRIES).and_then(DateTime::from_timestamp_millis) {
            Some(at) if self.exists()? => self.context.set_alarm(at),
            _ => Ok(()),
        }
    }

    /// Sets the alarm for the first timer. Without one the alarm is removed.
    pub(super) fn arm(&self) -> Result<()> {
        if !self.exists()? {
            return Ok(());
        }
        // Looking through all timers takes its time: once, and when the clock has gone back.
        let now = self.now();
        if self.sound_at.get() > now.saturating_add(SLACK) {
            self.rebase(false)?;
        }
        self.sound_at.set(self.sound_at.get().max(now));
        let sql = format!("SELECT min(due_at) FROM {TABLE}");
        let first: Option<i64> = self.context.sql().exec(&sql, ())?.one()?;
        let current = self.context.alarm()?.map(|at| at.timestamp_millis());
        match first {
            None if current.is_some() => self.context.delete_alarm(),
            None => Ok(()),
            Some(first) => {
                let first = first.max(now);
                if current.is_some_and(|current| current.max(now) == first) {
                    return Ok(()); // setting an alarm costs a write of the host's index
                }
                self.context.set_alarm(DateTime::from_timestamp_millis(first).unwrap_or(DateTime::<Utc>::MAX_UTC))
            }
        }
    }

    /// Whether the table is there: an object without timers has none.
    fn exists(&self) -> Result<bool> {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name = ?";
        Ok(self.context.sql().exec(sql, (TABLE,))?.one::<i64>()? > 0)
    }
}
