//! Noticing changes, by this process and by others.
//!
//! This process's own commits count at once. For those of others SQLite's `PRAGMA data_version` is read, on a connection of its
//! own that never writes, and at most every 50 ms: a request of a site asks for the number each time, and must not cost a query.
//! One thread at a time looks; the others take the number that is known.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

/// Longest time for which another process's write goes unnoticed.
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
    /// SQLite's data version at the last look; `None` where it could not be read.
    version: Option<i64>,
}

impl ChangeCounter {
    pub(super) fn new(connection: Connection) -> Self {
        let other = Mutex::new(Other { version: version(&connection), connection });
        Self { count: AtomicU64::new(1), since: Instant::now(), next: AtomicU64::new(0), other }
    }

    /// Counts a change by this process.
    pub(super) fn note(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn count(&self) -> u64 {
        let now = self.since.elapsed().as_millis() as u64; // half a billion years fit
        if now >= self.next.load(Ordering::Relaxed) {
            // Callers that come meanwhile take the known count: it is not much older.
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
