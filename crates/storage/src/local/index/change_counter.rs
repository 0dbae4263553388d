//! Whether anything has changed, by this process or by another.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

/// How long another process's write may go unnoticed.
const MAX_DELAY: Duration = Duration::from_millis(50);

/// Counts changes: this process's as they are committed, another's when it is time to look.
#[derive(Debug)]
pub(super) struct ChangeCounter {
    count: AtomicU64,
    since: Instant,
    /// When to look again, in milliseconds since the start.
    next: AtomicU64,
    other: Mutex<Other>,
}

#[derive(Debug)]
struct Other {
    connection: Connection,
    /// What SQLite said of the file when it was looked at; `None` where it could not say.
    version: Option<i64>,
}

impl ChangeCounter {
    pub(super) fn new(connection: Connection) -> Self {
        let other = Mutex::new(Other { version: version(&connection), connection });
        Self { count: AtomicU64::new(1), since: Instant::now(), next: AtomicU64::new(0), other }
    }

    /// This process has changed something.
    pub(super) fn note(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn count(&self) -> u64 {
        let now = self.since.elapsed().as_millis() as u64; // half a billion years fit
        if now >= self.next.load(Ordering::Relaxed) {
            // Who comes meanwhile takes what is known: it is not much older.
            if let Ok(mut other) = self.other.try_lock() {
                let version = version(&other.connection);
                if version.is_none() || version != other.version {
                    other.version = version;
                    self.note();
                }
                self.next.store(now + MAX_DELAY.as_millis() as u64, Ordering::Relaxed);
            }
        }
        self.count.load(Ordering::Acquire)
    }
}

/// A number of SQLite's that changes with every commit of another connection.
fn version(connection: &Connection) -> Option<i64> {
    connection.prepare_cached("PRAGMA data_version").ok()?.query_row([], |row| row.get(0)).ok()
}
