//! Waiting for other processes' locks.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

/// Longest wait for another process's write.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Sleep between two looks. A busy writer leaves the lock for a moment between two transactions, and holds it for less than a
/// millisecond in each: a seldom look would hardly ever find it free.
const SLEEP: Duration = Duration::from_micros(300);

thread_local! {
    /// When the wait of this thread began.
    static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Sets the busy handler of a connection.
pub(super) fn set(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(|looks| {
        if looks == 0 {
            SINCE.set(Some(Instant::now()));
        }
        sleep();
        SINCE.get().is_some_and(|since| since.elapsed() < TIMEOUT)
    }))
}

/// Retries work for which SQLite itself does not wait: it does not while a log is made or recovered.
pub(super) fn retry<T>(mut work: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let since = Instant::now();
    loop {
        match work() {
            Err(error) if is_busy(&error) && since.elapsed() < TIMEOUT => sleep(),
            outcome => return outcome,
        }
    }
}

/// Whether another connection holds a lock.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn sleep() {
    std::thread::sleep(SLEEP);
}
