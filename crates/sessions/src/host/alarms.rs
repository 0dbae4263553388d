//! The host's index of its objects and their alarms, and the thread that wakes them.
//!
//! An object's own database is authoritative for its alarm; the index has the time at which the object is woken. That is never
//! later, as it is written before the object commits; a time that is too early costs a wake-up that finds nothing due.
//!
//! The wall clock may be set at any time. The thread never sleeps for long without looking at it; and an alarm that was set
//! while the clock was ahead is known by the time of its making, which is later than the time now: its object is woken,
//! and sets it anew for as long as it was meant to wait.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use isobar_base::backoff::Backoff;
use isobar_base::sync::IgnorePoison;
use isobar_sqlite::WalPages;
use rusqlite::{Connection, params};

use super::disk;
use super::fault::Fault;
use super::health::Health;
use super::index::{self, Wakeup};
use super::options::Clock;
use super::rebuild;
use super::storage::AlarmRow;
use crate::{AlarmInfo, Error, Result, limits};

/// How far the clock may go back, in milliseconds, before alarms that seem to be made in the future are set anew.
const SLACK: i64 = 10_000;

/// How long after its `retries`-th failure an alarm runs again: 2 s, doubling, with up to a quarter of jitter
/// (`jitter` in 0..=1). `None` when it is given up.
pub(super) fn retry_delay(retries: u32, jitter: f64) -> Option<Duration> {
    const BACKOFF: Backoff = Backoff::new(Duration::from_secs(2), Duration::MAX);
    let base = (retries < limits::ALARM_RETRIES).then(|| BACKOFF.longest(retries + 1))?;
    Some(base.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 4.0))
}

/// The alarm as it is to be when it was made while the clock was ahead of `now`: for as long from now on as it was to wait
/// then. `None` when it was not.
pub(super) fn rebased(row: AlarmRow, now: i64) -> Option<AlarmRow> {
    let made = row.made.filter(|made| *made > now.saturating_add(SLACK))?;
    let from_now = |at: i64| now.saturating_add(at.saturating_sub(made).max(0));
    Some(AlarmRow { scheduled: from_now(row.scheduled), due: from_now(row.due), made: Some(now), ..row })
}

/// Wakes an object by its id and name.
pub(super) type Wake = Box<dyn Fn([u8; 32], Option<String>) + Send>;

/// The index and its schedule.
#[derive(Debug)]
pub(super) struct Alarms {
    state: Mutex<State>,
    changed: Condvar,
    /// The index's file; `None` in memory.
    path: Option<PathBuf>,
    clock: Clock,
    check: Duration,
    health: Arc<Health>,
}

/// The index and the schedule, under one lock.
#[derive(Debug)]
struct State {
    index: Connection,
    wal: WalPages,
    /// Objects that have a file, and whose mark could not be written.
    unmarked: HashSet<[u8; 32]>,
    due: BTreeSet<(i64, [u8; 32])>,
    of: HashMap<[u8; 32], Wakeup>,
    /// The latest time at which one of them was made, or a later one.
    latest: i64,
    stopped: bool,
}

impl Alarms {
    /// Opens the index under this folder, or one in memory. One that is missing or damaged is made anew from the objects.
    pub(super) fn open(root: Option<&Path>, clock: Clock, check: Duration, health: &Arc<Health>) -> Result<Arc<Self>> {
        let (mut database, unmarked) = match root {
            Some(root) => rebuild::open_index(root, health, clock.millis())?,
            None => (index::open(None).map_err(|error| index::failure(&error, None))?, HashSet::new()),
        };
        let wal = WalPages::count(&mut database).map_err(|error| index::failure(&error, root))?;
        let of = index::wakeups(&database).map_err(|error| index::failure(&error, root))?;
        let due = of.iter().map(|(id, wakeup)| (wakeup.at, *id)).collect();
        let latest = of.values().map(|wakeup| wakeup.made).max().unwrap_or(i64::MIN);
        let path = root.map(|root| root.join(disk::INDEX));
        let state = State { index: database, wal, unmarked, due, of, latest, stopped: false };
        Ok(Arc::new(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            path,
            clock,
            check,
            health: Arc::clone(health),
        }))
    }

    /// Returns the time.
    pub(super) fn now(&self) -> i64 {
        self.clock.millis()
    }

    /// Records durably that the object exists and is to be woken at `alarm`, before the object commits so.
    pub(super) fn record_wakeup(&self, id: &[u8; 32], name: Option<&str>, alarm: Option<i64>) -> Result<()> {
        let now = self.now();
        let state = self.lock();
        let earlier = match (alarm, state.of.get(id)) {
            (Some(at), Some(known)) => Some(at.min(known.at)),
            (at, known) => at.or(known.map(|known| known.at)),
        };
        let sql = "INSERT INTO objects (id, name, alarm, made) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (id) DO UPDATE SET alarm = ?3, made = ?4, name = coalesce(?2, name)";
        state.index.execute(sql, params![id, name, earlier, now]).map_err(|error| self.failed(&error))?;
        self.checkpoint(&state);
        Ok(())
    }

    /// The object has committed that it is to be woken at `alarm`, or not at all. The next start of the host wakes it at `recorded`.
    pub(super) fn set(&self, id: &[u8; 32], alarm: Option<i64>, recorded: Option<i64>) {
        let now = self.now();
        let mut state = self.lock();
        if let Some(known) = state.of.remove(id) {
            state.due.remove(&(known.at, *id));
        }
        if let Some(at) = alarm {
            state.of.insert(*id, Wakeup { at, made: now });
            state.due.insert((at, *id));
            state.latest = state.latest.max(now);
        }
        // Not durable if the machine stops now; then the index wakes the object too early, which does no harm.
        let sql = "UPDATE objects SET alarm = ?2, made = ?3 WHERE id = ?1";
        let updated = state.unsynced(sql, params![id, recorded, now]);
        self.checkpoint(&state);
        drop(state);
        self.note(updated);
        self.changed.notify_all();
    }

    /// Marks the object as one that has a file: should that be gone one day, it was lost. The mark is durable with the next
    /// synced write; the next start makes up for one that the machine's power has taken.
    pub(super) fn set_stored(&self, id: &[u8; 32]) {
        let mut state = self.lock();
        let updated = state.unsynced("UPDATE objects SET stored = 1 WHERE id = ?1", params![id]);
        if updated.is_err() {
            state.unmarked.insert(*id);
        }
        self.checkpoint(&state);
        drop(state);
        self.note(updated);
    }

    /// Whether the object is known to have had a file.
    pub(super) fn is_stored(&self, id: &[u8; 32]) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM objects WHERE id = ? AND stored = 1)";
        let state = self.lock();
        if state.unmarked.contains(id) {
            return Ok(true);
        }
        state.index.query_row(sql, [id], |row| row.get(0)).map_err(|error| self.failed(&error))
    }

    /// Copies a long log into the index. A failure loses nothing, and is reported by the host's health.
    fn checkpoint(&self, state: &State) {
        if let (Some(path), Some(done)) = (&self.path, state.wal.checkpoint(&state.index)) {
            self.health.mark_checkpoint(path, done.err().map(|error| self.failed(&error.into()).to_string()));
        }
    }

    /// Every object of the index, with its name.
    pub(super) fn objects(&self) -> Result<Vec<([u8; 32], Option<String>)>> {
        let state = self.lock();
        let rows = || {
            let mut statement = state.index.prepare("SELECT id, name FROM objects ORDER BY id")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<_, _>>()
        };
        rows().map_err(|error| self.failed(&error))
    }

    /// Wakes objects when their time comes, until [`stop`](Self::stop): the body of a thread.
    pub(super) fn run(&self, wake: &Wake) {
        let mut state = self.lock();
        while !state.stopped {
            let now = self.now();
            if state.latest > now.saturating_add(SLACK) {
                state.hasten(now);
            }
            state = match state.due.first().copied() {
                Some((at, id)) if at <= now => {
                    // It stays in the index until the object says how it went.
                    // And in `of`: whatever the object records meanwhile must not be later than this.
                    state.due.pop_first();
                    let name = state.name(&id);
                    wake(id, name);
                    state
                }
                // The wall clock may be set meanwhile, without notice.
                Some((at, _)) => {
                    let wait = Duration::from_millis((at - now).unsigned_abs()).min(self.check);
                    self.changed.wait_timeout(state, wait).ignore_poison().0
                }
                None => self.changed.wait(state).ignore_poison(),
            };
        }
    }

    /// Ends [`run`](Self::run).
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Locks the state.
    fn lock(&self) -> MutexGuard<'_, State> {
        // Set and map are changed together, without anything between that could panic.
        self.state.lock().ignore_poison()
    }

    /// Converts an error of the index. After a failed sync the host writes no more.
    fn failed(&self, error: &rusqlite::Error) -> Error {
        let failure = index::failure(error, None);
        if Fault::of(error) == Some(Fault::Sync) {
            self.health.poison(failure.to_string());
        }
        failure
    }

    /// A failure that does no harm, but must be seen.
    fn note(&self, result: rusqlite::Result<()>) {
        if let Err(error) = result {
            let _error = self.failed(&error);
            #[cfg(feature = "tracing")]
            tracing::warn!(error = %_error, "the index of session objects was not brought up to date");
        }
    }
}

impl State {
    /// The name the object was made from, if it was and the index knows.
    fn name(&self, id: &[u8; 32]) -> Option<String> {
        self.index.query_row("SELECT name FROM objects WHERE id = ?", [id], |row| row.get(0)).ok().flatten()
    }

    /// Wakes now the objects whose alarms were set while the clock was ahead.
    fn hasten(&mut self, now: i64) {
        for (id, wakeup) in &mut self.of {
            if wakeup.made > now.saturating_add(SLACK) {
                self.due.remove(&(wakeup.at, *id));
                *wakeup = Wakeup { at: now, made: now };
                self.due.insert((now, *id));
            }
        }
        self.latest = now;
    }

    /// Writes what may be lost with the machine's power: a sync would only cost time.
    fn unsynced(&self, sql: &str, values: impl rusqlite::Params) -> rusqlite::Result<()> {
        self.index.execute_batch("PRAGMA synchronous = NORMAL")?;
        let updated = self.index.execute(sql, values).map(drop);
        self.index.execute_batch("PRAGMA synchronous = FULL")?;
        updated
    }
}

/// Information about a run for the alarm's handler.
pub(super) fn info(scheduled: i64, retries: u32) -> AlarmInfo {
    AlarmInfo::new(chrono::DateTime::from_timestamp_millis(scheduled).unwrap_or_default(), retries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_alarm_is_retried_six_times_with_backoff() {
        let seconds = |retries, jitter| retry_delay(retries, jitter).map(|delay| delay.as_secs_f64());
        let delays: Vec<_> = (0..7).map(|retries| seconds(retries, 0.0)).collect();
        assert_eq!(delays, [Some(2.0), Some(4.0), Some(8.0), Some(16.0), Some(32.0), Some(64.0), None]);
        assert_eq!(seconds(0, 1.0), Some(2.5));
    }

    #[test]
    fn an_index_of_an_older_version_is_opened_with_what_it_knows() {
        let folder = tempfile::tempdir().unwrap();
        let old = Connection::open(folder.path().join(disk::INDEX)).unwrap();
        old.execute_batch("CREATE TABLE objects (id BLOB PRIMARY KEY, name TEXT, alarm INTEGER) WITHOUT ROWID")
            .unwrap();
        old.execute("INSERT INTO objects VALUES (?, 'Ada', 17)", [[7u8; 32]]).unwrap();
        drop(old);
        let health = Arc::new(Health::new(None, None));
        let index = Alarms::open(Some(folder.path()), Clock::default(), Duration::from_secs(15), &health).unwrap();
        assert_eq!(index.objects().unwrap(), [([7; 32], Some("Ada".to_owned()))]);
        assert_eq!(index.lock().due.first(), Some(&(17, [7; 32])));
        assert!(!index.is_stored(&[7; 32]).unwrap(), "an older index does not say who has a file");
        index.set_stored(&[7; 32]);
        assert!(index.is_stored(&[7; 32]).unwrap());
    }

    #[test]
    fn lost_mark_is_restored_from_the_objects_file() {
        let folder = tempfile::tempdir().unwrap();
        let health = Arc::new(Health::new(None, None));
        let open = || Alarms::open(Some(folder.path()), Clock::default(), Duration::from_secs(15), &health).unwrap();
        let ids: [[u8; 32]; 2] = [[7; 32], [8; 32]];
        let index = open();
        ids.iter().for_each(|id| index.record_wakeup(id, None, None).unwrap());
        // The file of the first is durable, and its unsynced mark is not.
        let file = disk::object_file(&folder.path().join(disk::OBJECTS), &ids[0]);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "an object").unwrap();
        drop(index);
        let index = open();
        assert_eq!(ids.map(|id| index.is_stored(&id).unwrap()), [true, false]);
        std::fs::remove_file(&file).unwrap();
        drop(index);
        assert!(open().is_stored(&ids[0]).unwrap(), "a file that is lost later is known to be lost");
    }

    #[test]
    fn host_starts_though_a_mark_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let health = Arc::new(Health::new(None, None));
        let open = || Alarms::open(Some(folder.path()), Clock::default(), Duration::from_secs(15), &health);
        open().unwrap().record_wakeup(&[7; 32], None, None).unwrap();
        let file = disk::object_file(&folder.path().join(disk::OBJECTS), &[7; 32]);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "an object").unwrap();
        let sql = "CREATE TRIGGER refuse BEFORE UPDATE OF stored ON objects BEGIN SELECT RAISE(ABORT, 'no room'); END";
        Connection::open(folder.path().join(disk::INDEX)).unwrap().execute_batch(sql).unwrap();
        let index = open().unwrap();
        assert!(index.is_stored(&[7; 32]).unwrap(), "it is known all the same");
        index.record_wakeup(&[8; 32], None, None).unwrap();
    }

    #[test]
    fn alarm_of_a_clock_that_was_ahead_keeps_its_delay() {
        let row = |made| AlarmRow { scheduled: 1_000_500, due: 1_002_500, retries: 1, made };
        let ahead = rebased(row(Some(1_000_000)), 5_000);
        assert_eq!(ahead, Some(AlarmRow { scheduled: 5_500, due: 7_500, retries: 1, made: Some(5_000) }));
        assert_eq!(rebased(row(Some(1_000_000)), 995_000), None, "the clock may be put right by seconds");
        assert_eq!(rebased(row(None), 5_000), None, "one of an older version says nothing");
    }
}
