//! The host's index of its objects and their alarms, and the thread that wakes them.
//!
//! An object's own database is the truth about its alarm; the index only says whom to wake, and never later than the
//! truth: it is written before the object commits. What it says too much costs a wake-up that finds nothing to do.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::Utc;
use rusqlite::{Connection, params};

use crate::{AlarmInfo, Error, ErrorKind, Result, limits};

/// How long after its `retries`-th failure an alarm runs again: 2 s, doubling, with up to a quarter of jitter
/// (`jitter` in 0..=1). `None` when it is given up.
pub(super) fn retry_delay(retries: u32, jitter: f64) -> Option<Duration> {
    let base = (retries < limits::ALARM_RETRIES).then(|| 2f64 * f64::from(1u32 << retries))?;
    Some(Duration::from_secs_f64(base * (1.0 + jitter.clamp(0.0, 1.0) / 4.0)))
}

/// What wakes an object.
pub(super) type Wake = Box<dyn Fn([u8; 32], Option<String>) + Send>;

/// The index and its schedule.
#[derive(Debug)]
pub(super) struct Alarms {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    index: Connection,
    due: BTreeSet<(i64, [u8; 32])>,
    of: HashMap<[u8; 32], i64>,
    stopped: bool,
}

impl Alarms {
    pub(super) fn open(path: Option<&Path>) -> Result<Arc<Self>> {
        let open = || {
            let index = path.map_or_else(Connection::open_in_memory, Connection::open)?;
            index.execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 CREATE TABLE IF NOT EXISTS objects (id BLOB PRIMARY KEY, name TEXT, alarm INTEGER) WITHOUT ROWID;
                 CREATE INDEX IF NOT EXISTS objects_alarm ON objects (alarm) WHERE alarm IS NOT NULL;",
            )?;
            let mut statement = index.prepare("SELECT alarm, id FROM objects WHERE alarm IS NOT NULL")?;
            let due: BTreeSet<(i64, [u8; 32])> =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
            drop(statement);
            Ok::<_, rusqlite::Error>((index, due))
        };
        let (index, due) = open().map_err(|error| {
            let place = path.map_or_else(|| "memory".to_owned(), |path| path.display().to_string());
            Error::new(ErrorKind::Storage, format!("the index of objects ({place}): {error}")).with_source(error)
        })?;
        let of = due.iter().map(|(at, id)| (*id, *at)).collect();
        Ok(Arc::new(Self { state: Mutex::new(State { index, due, of, stopped: false }), changed: Condvar::new() }))
    }

    /// Makes durable that the object exists and is to be woken at `alarm`, before the object commits so.
    pub(super) fn announce(&self, id: &[u8; 32], name: Option<&str>, alarm: Option<i64>) -> Result<()> {
        let state = self.lock();
        let earlier = match (alarm, state.of.get(id)) {
            (Some(at), Some(known)) => Some(at.min(*known)),
            (at, known) => at.or(known.copied()),
        };
        let sql = "INSERT INTO objects VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET alarm = ?3, name = coalesce(?2, name)";
        state.index.execute(sql, params![id, name, earlier]).map(drop).map_err(|error| index_failure(&error))
    }

    /// The object has committed that it is to be woken at `alarm`, or not at all.
    pub(super) fn set(&self, id: &[u8; 32], alarm: Option<i64>) {
        let mut state = self.lock();
        if let Some(known) = state.of.remove(id) {
            state.due.remove(&(known, *id));
        }
        if let Some(at) = alarm {
            state.of.insert(*id, at);
            state.due.insert((at, *id));
        }
        // Not durable if the machine stops now; then the index wakes the object too early, which is no harm.
        let updated = state.index.execute("UPDATE objects SET alarm = ?2 WHERE id = ?1", params![id, alarm]);
        drop(updated);
        drop(state);
        self.changed.notify_all();
    }

    /// Every object of the index, with its name.
    pub(super) fn objects(&self) -> Result<Vec<([u8; 32], Option<String>)>> {
        let state = self.lock();
        let mut statement =
            state.index.prepare("SELECT id, name FROM objects ORDER BY id").map_err(|error| index_failure(&error))?;
        let rows =
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(|error| index_failure(&error))?;
        rows.collect::<Result<_, _>>().map_err(|error| index_failure(&error))
    }

    /// Wakes objects when their time comes, until [`stop`](Self::stop): the body of a thread.
    pub(super) fn run(&self, wake: &Wake) {
        let mut state = self.lock();
        while !state.stopped {
            let now = Utc::now().timestamp_millis();
            state = match state.due.first().copied() {
                Some((at, id)) if at <= now => {
                    // It stays in the index until the object says how it went.
                    // And in `of`: whatever the object announces meanwhile must not be later than this.
                    state.due.pop_first();
                    let name = state.name(&id);
                    wake(id, name);
                    state
                }
                // At most an hour at a time: the wall clock may be set meanwhile.
                Some((at, _)) => {
                    let wait = Duration::from_millis((at - now).unsigned_abs().min(3_600_000));
                    self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Set and map are changed together, without anything between that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The name the object was made from, if it was and the index knows.
    fn name(&self, id: &[u8; 32]) -> Option<String> {
        self.index.query_row("SELECT name FROM objects WHERE id = ?", [id], |row| row.get(0)).ok().flatten()
    }
}

fn index_failure(error: &rusqlite::Error) -> Error {
    Error::new(ErrorKind::Storage, format!("the index of objects: {error}"))
}

/// What the handler is told.
pub(super) fn info(scheduled: i64, retries: u32) -> AlarmInfo {
    AlarmInfo::new(chrono::DateTime::from_timestamp_millis(scheduled).unwrap_or_default(), retries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_alarm_is_tried_six_times_ever_more_slowly() {
        let seconds = |retries, jitter| retry_delay(retries, jitter).map(|delay| delay.as_secs_f64());
        let delays: Vec<_> = (0..7).map(|retries| seconds(retries, 0.0)).collect();
        assert_eq!(delays, [Some(2.0), Some(4.0), Some(8.0), Some(16.0), Some(32.0), Some(64.0), None]);
        assert_eq!(seconds(0, 1.0), Some(2.5));
    }
}
