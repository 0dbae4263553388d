//! Waiting for other processes' locks.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

/// How long a connection waits for another process's write.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long it sleeps between two looks. Who writes without a pause leaves the lock for a moment between two transactions, and
/// holds it for less than a millisecond in each: who looked seldom would hardly ever find it free.
const SLEEP: Duration = Duration::from_micros(300);

thread_local! {
    /// When the wait of this thread began.
    static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Makes a connection wait.
pub(super) fn set(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(|looks| {
        if looks == 0 {
            SINCE.set(Some(Instant::now()));
        }
        sleep();
        SINCE.get().is_some_and(|since| since.elapsed() < TIMEOUT)
    }))
}

/// Does something again for which SQLite itself does not wait: it does not while a log is made or gone through.
pub(super) fn retry<T>(mut work: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let since = Instant::now();
    loop {
        match work() {
            Err(error) if is_busy(&error) && since.elapsed() < TIMEOUT => sleep(),
            outcome => return outcome,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn sleep() {
    std::thread::sleep(SLEEP);
}
