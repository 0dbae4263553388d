//! A connection with D1's limits and authorizer that a call can interrupt.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use isobar_base::sync::IgnorePoison;
use isobar_sqlite::{
    DURABLE, Failure, Prepared, Product, Text, WalPages, is_allowed, lasting_setting, reads_data_version,
    runs_optimize, set_limits,
};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, OpenFlags};

use super::values::from_sql;
use crate::limits;

/// Functions that report what the writer has done, so that no reader can answer.
const OF_THE_WRITER: [&str; 3] = ["changes", "last_insert_rowid", "total_changes"];

/// Instructions of SQLite's virtual machine between two checks for an interruption: some tens of microseconds.
const INSTRUCTIONS: i32 = 1000;

/// A call's claim on a connection: whether its caller still waits, and until when it may run.
#[derive(Debug)]
pub(super) struct Call {
    abandoned: AtomicBool,
    limit: Duration,
}

impl Call {
    pub(super) fn new(limit: Duration) -> Self {
        Self { abandoned: AtomicBool::new(false), limit }
    }

    /// Marks the result as not wanted any more: the running statement is interrupted and rolled back.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }
}

thread_local! {
    /// The call that runs on this thread's connection, and its start.
    static RUNNING: RefCell<Option<(Arc<Call>, Instant)>> = const { RefCell::new(None) };
}

/// Returns whether the running call is abandoned or out of time.
pub(super) fn must_stop() -> bool {
    RUNNING.with_borrow(|running| {
        running.as_ref().is_some_and(|(call, start)| call.is_abandoned() || start.elapsed() >= call.limit)
    })
}

/// Marks the call as the one that runs on this thread for as long as the value lives.
pub(super) struct Turn(());

impl Turn {
    pub(super) fn start(call: &Arc<Call>) -> Self {
        RUNNING.set(Some((Arc::clone(call), Instant::now())));
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        RUNNING.set(None);
    }
}

/// Waits for another process's lock, as SQLite's own handler does: no longer than the call may run, and no longer than 30 s.
fn wait_for_lock(tries: i32) -> bool {
    const DELAYS: [u64; 8] = [1, 2, 5, 10, 15, 20, 25, 50];
    const TRIES: i32 = 600; // of 50 ms
    if tries > TRIES || must_stop() {
        return false;
    }
    let delay = usize::try_from(tries).ok().and_then(|tries| DELAYS.get(tries)).unwrap_or(&50);
    thread::sleep(Duration::from_millis(*delay));
    true
}

/// Values of the lasting PRAGMAs, which all connections share.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Changes when a value does.
    version: u64,
    values: BTreeMap<String, String>,
}

/// D1's authorizer of a connection, and the actions that it has seen.
#[derive(Debug)]
struct Authorizer {
    is_reader: bool,
    /// Set while the engine's own statements are prepared.
    trusted: AtomicBool,
    /// A statement was refused because only the writer can run it.
    needs_writer: AtomicBool,
    /// The call is taken for one that only reads: always on a reader.
    is_reading: AtomicBool,
    /// A statement was refused because it writes in spite of its words.
    writes: AtomicBool,
    /// A statement was refused because it begins or ends a transaction.
    transaction: AtomicBool,
    settings: Arc<Mutex<Settings>>,
}

/// A connection that carries D1's rules.
#[derive(Debug)]
pub(super) struct AuthorizedConnection {
    connection: Connection,
    authorizer: Arc<Authorizer>,
    /// The version of the shared settings that it has.
    settings_version: u64,
    wal: WalPages,
}

impl AuthorizedConnection {
    /// Opens the file, or a database in memory.
    pub(super) fn open(
        path: Option<&Path>,
        is_reader: bool,
        settings: &Arc<Mutex<Settings>>,
    ) -> rusqlite::Result<Self> {
        let create = if is_reader { OpenFlags::empty() } else { OpenFlags::SQLITE_OPEN_CREATE };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
        let mut connection = match path {
            Some(path) => Connection::open_with_flags(path, flags)?,
            None => Connection::open_in_memory()?,
        };
        connection.busy_handler(Some(wait_for_lock))?;
        if path.is_some() {
            connection.execute_batch(DURABLE)?;
            // The log is copied by `checkpoint`, whose errors count.
            connection.execute_batch("PRAGMA wal_autocheckpoint = 0")?;
        }
        connection.execute_batch("PRAGMA foreign_keys = ON")?;
        if is_reader {
            connection.execute_batch("PRAGMA query_only = ON")?;
        }
        set_limits(&connection, limits::VALUE_BYTES)?;
        isobar_sqlite::drop_modules(&connection);
        let wal = WalPages::count(&mut connection)?;
        connection.progress_handler(INSTRUCTIONS, Some(must_stop))?;
        let authorizer = Arc::new(Authorizer {
            is_reader,
            trusted: AtomicBool::new(false),
            needs_writer: AtomicBool::new(false),
            is_reading: AtomicBool::new(is_reader),
            writes: AtomicBool::new(false),
            transaction: AtomicBool::new(false),
            settings: Arc::clone(settings),
        });
        let asked = Arc::clone(&authorizer);
        connection.authorizer(Some(move |context: AuthContext<'_>| asked.judge(&context)))?;
        Ok(Self { connection, authorizer, settings_version: 0, wal })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Prepares a user's next statement: see [`isobar_sqlite::prepare_next`].
    pub(super) fn prepare_next(&self, text: &Text, at: usize) -> Result<(Option<Prepared<'_>>, usize), Failure> {
        isobar_sqlite::prepare_next(&self.connection, &self.authorizer.trusted, text, at)
    }

    /// Runs one statement of the engine's own, past the authorizer. Returns the first column of its first row, if it has one.
    pub(super) fn own_statement(&self, sql: &str) -> Result<Option<crate::Value>, Failure> {
        let run = || {
            let (Some(mut statement), _) = isobar_sqlite::prepare(&self.connection, sql)? else { return Ok(None) };
            Ok(if statement.step()? { statement.row(from_sql).into_iter().next() } else { None })
        };
        self.authorizer.trusted.store(true, Ordering::Relaxed);
        let result = run();
        self.authorizer.trusted.store(false, Ordering::Relaxed);
        result
    }

    /// Gives the connection the settings that others have been given since. Where one cannot be applied, the next call tries
    /// all of them again.
    pub(super) fn follow_settings(&mut self) -> Result<(), Failure> {
        let (version, values) = {
            let settings = self.authorizer.settings.lock().ignore_poison();
            if settings.version == self.settings_version {
                return Ok(());
            }
            (settings.version, settings.values.clone())
        };
        for (name, value) in values {
            self.own_statement(&format!("PRAGMA {name} = '{}'", value.replace('\'', "''")))?;
        }
        self.settings_version = version;
        Ok(())
    }

    /// Returns whether a statement was refused since the last call because only the writer can run it.
    pub(super) fn took_to_writer(&self) -> bool {
        self.authorizer.needs_writer.swap(false, Ordering::Relaxed)
    }

    /// Says whether what follows is taken for reading: a statement that writes all the same is then refused.
    pub(super) fn expect_reads(&self, reads: bool) {
        self.authorizer.is_reading.store(reads, Ordering::Relaxed);
    }

    /// Returns whether a statement was refused since the last call because it writes, though the call was taken for reading.
    pub(super) fn refused_write(&self) -> bool {
        self.authorizer.writes.swap(false, Ordering::Relaxed)
    }

    /// Returns whether a statement was refused since the last call because it begins or ends a transaction.
    pub(super) fn refused_transaction(&self) -> bool {
        self.authorizer.transaction.swap(false, Ordering::Relaxed)
    }

    /// Copies the write-ahead log into the database when it has grown long.
    pub(super) fn checkpoint(&self) -> Result<(), Failure> {
        self.wal.checkpoint(&self.connection).unwrap_or(Ok(()))
    }

    /// Makes the connection usable after a panic. Returns `false` where it can only be dropped.
    pub(super) fn reset(&self) -> bool {
        self.authorizer.trusted.store(false, Ordering::Relaxed);
        self.authorizer.needs_writer.store(false, Ordering::Relaxed);
        self.authorizer.writes.store(false, Ordering::Relaxed);
        self.authorizer.transaction.store(false, Ordering::Relaxed);
        self.roll_back()
    }

    /// Ends an open transaction by undoing it. Returns `false` where the connection stays in one and can only be dropped.
    pub(super) fn roll_back(&self) -> bool {
        if !self.connection.is_autocommit() {
            // A failure shows in the state that is returned.
            drop(self.own_statement("ROLLBACK"));
        }
        self.connection.is_autocommit()
    }
}

impl Authorizer {
    /// D1's authorizer. It is asked while a statement is prepared, also for the actions of triggers and virtual tables.
    fn judge(&self, context: &AuthContext<'_>) -> Authorization {
        if self.trusted.load(Ordering::Relaxed) {
            return Authorization::Allow;
        }
        match context.action {
            AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => {
                self.transaction.store(true, Ordering::Relaxed);
                return Authorization::Deny;
            }
            AuthAction::Function { function_name } if self.is_reader && is_listed(&OF_THE_WRITER, function_name) => {
                self.needs_writer.store(true, Ordering::Relaxed);
                return Authorization::Deny;
            }
            _ => {}
        }
        if !is_allowed(context, Product::D1) {
            return Authorization::Deny;
        }
        if self.is_reading.load(Ordering::Relaxed) && runs_optimize(context) {
            self.writes.store(true, Ordering::Relaxed);
            return Authorization::Deny;
        }
        if self.is_reader && reads_data_version(context) {
            self.needs_writer.store(true, Ordering::Relaxed);
            return Authorization::Deny;
        }
        if let Some((name, value)) = lasting_setting(context) {
            let mut settings = self.settings.lock().ignore_poison();
            settings.values.insert(name.to_owned(), value.to_owned());
            settings.version += 1;
        }
        Authorization::Allow
    }
}

fn is_listed(list: &[&str], name: &str) -> bool {
    list.iter().any(|listed| listed.eq_ignore_ascii_case(name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use rusqlite::limits::Limit;

    use super::*;

    #[test]
    fn a_refused_pragma_changes_no_setting() {
        let settings = Arc::default();
        let writer = AuthorizedConnection::open(None, false, &settings).unwrap();
        assert!(writer.prepare_next(&Text::new("PRAGMA temp.case_sensitive_like = ON"), 0).is_err());
        assert_eq!(settings.lock().unwrap().version, 0);
    }

    #[test]
    fn a_setting_that_could_not_be_applied_is_tried_again() {
        let settings = Arc::default();
        let writer = AuthorizedConnection::open(None, false, &settings).unwrap();
        let mut other = AuthorizedConnection::open(None, false, &settings).unwrap();
        writer.prepare_next(&Text::new("PRAGMA case_sensitive_like = ON"), 0).unwrap();
        other.connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, 5).unwrap();
        assert_eq!(other.follow_settings().unwrap_err().code, rusqlite::ffi::SQLITE_TOOBIG);
        set_limits(&other.connection, limits::VALUE_BYTES).unwrap();
        assert_eq!(other.own_statement("SELECT 'a' LIKE 'A'").unwrap(), Some(crate::Value::Integer(1)));
        other.follow_settings().unwrap();
        assert_eq!(other.own_statement("SELECT 'a' LIKE 'A'").unwrap(), Some(crate::Value::Integer(0)));
    }
}
