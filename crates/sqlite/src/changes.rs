//! SQL's `changes()` for a program whose host changes the connection.
#![allow(unsafe_code, reason = "SQLite is C")]

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::{Connection, ffi};

/// The value for a number that is not kept.
const LIVE: i64 = -1;

/// Number that SQL's `changes()` gives on a connection: SQLite's own, or for a while another one. A host that gives a program another
/// connection, or another database, sets the number that the program is to see, until the program has written again.
///
/// ```
/// use isobar_sqlite::KeptChanges;
///
/// let connection = rusqlite::Connection::open_in_memory()?;
/// let changes = KeptChanges::install(&connection)?;
/// let seen = || connection.query_row("SELECT changes()", [], |row| row.get::<_, i64>(0));
/// changes.set(2);
/// assert_eq!(seen()?, 2);
/// connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)")?;
/// changes.release();
/// assert_eq!(seen()?, 1);
/// # Ok::<(), rusqlite::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct KeptChanges(Arc<AtomicI64>);

impl KeptChanges {
    /// Replaces SQL's `changes()` on a connection. No number is kept.
    ///
    /// # Errors
    /// SQLite's: there is no memory.
    pub fn install(connection: &Connection) -> rusqlite::Result<Self> {
        let kept = Arc::new(AtomicI64::new(LIVE));
        let own = Arc::into_raw(Arc::clone(&kept)).cast_mut().cast::<c_void>();
        let flags = ffi::SQLITE_UTF8 | ffi::SQLITE_INNOCUOUS;
        let name = c"changes".as_ptr();
        // SAFETY: the connection is open, the name is a C string, and `call` and `release` take the counted pointer that they get as what
        // it is. SQLite releases it when the connection is closed, and where this fails.
        let code = unsafe {
            let handle = connection.handle();
            ffi::sqlite3_create_function_v2(handle, name, 0, flags, own, Some(call), None, None, Some(release))
        };
        if code != ffi::SQLITE_OK {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        }
        Ok(Self(kept))
    }

    /// Returns the number that `changes()` gives.
    #[must_use]
    pub fn get(&self, connection: &Connection) -> u64 {
        u64::try_from(self.0.load(Ordering::Relaxed)).unwrap_or_else(|_| connection.changes())
    }

    /// Sets the number that `changes()` gives until it is released.
    pub fn set(&self, changes: u64) {
        self.0.store(i64::try_from(changes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Returns whether a number is set.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.0.load(Ordering::Relaxed) != LIVE
    }

    /// Gives SQLite's own number again.
    pub fn release(&self) {
        self.0.store(LIVE, Ordering::Relaxed);
    }
}

/// Runs `changes()` for SQLite.
unsafe extern "C" fn call(context: *mut ffi::sqlite3_context, _: c_int, _: *mut *mut ffi::sqlite3_value) {
    // SAFETY: the user data is the pointer that `install` has given, and the context is that of this call.
    unsafe {
        let kept = &*ffi::sqlite3_user_data(context).cast::<AtomicI64>();
        let changes = match kept.load(Ordering::Relaxed) {
            LIVE => ffi::sqlite3_changes64(ffi::sqlite3_context_db_handle(context)),
            kept => kept,
        };
        ffi::sqlite3_result_int64(context, changes);
    }
}

/// Drops what `install` has given to SQLite.
unsafe extern "C" fn release(own: *mut c_void) {
    // SAFETY: the pointer is that of `Arc::into_raw`, and SQLite calls this once.
    drop(unsafe { Arc::from_raw(own.cast_const().cast::<AtomicI64>()) });
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_kept_number_shows_in_triggers_and_views_until_it_is_released() {
        let connection = Connection::open_in_memory().unwrap();
        let changes = KeptChanges::install(&connection).unwrap();
        let seen = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        connection
            .execute_batch("CREATE TABLE t (a); CREATE VIEW v AS SELECT changes(); INSERT INTO t VALUES (1), (2), (3)")
            .unwrap();
        assert_eq!((seen("SELECT changes()"), seen("SELECT * FROM v"), changes.is_kept()), (3, 3, false));
        changes.set(changes.get(&connection));
        connection.execute_batch("DELETE FROM t WHERE a = 1").unwrap();
        assert_eq!((seen("SELECT changes()"), seen("SELECT * FROM v"), changes.get(&connection)), (3, 3, 3));
        changes.release();
        assert_eq!(seen("SELECT changes()"), 1);
    }

    #[test]
    fn the_number_is_shared_with_the_connection_and_outlives_it() {
        let connection = Connection::open_in_memory().unwrap();
        let changes = KeptChanges::install(&connection).unwrap();
        assert_eq!(Arc::strong_count(&changes.0), 2);
        drop(connection);
        assert_eq!(Arc::strong_count(&changes.0), 1);
    }
}
