//! A connection with D1's limits and authorizer that a call can interrupt.
//!
//! SQLite calls back every 1,000 instructions, on the thread that runs the statement. The question there is always one of two, by
//! what is set for the thread: whether the call on this thread is abandoned or out of time ([`Turn`]), or whether a statement on
//! the calling task has used its budget ([`Budget`]). A COMMIT is never interrupted: SQLite would report as interrupted what it
//! has committed.
//!
//! The authorizer decides while a statement is prepared; what it learns (that only the writer can answer, that the statement
//! writes, which lasting PRAGMA it sets) is kept beside it for the engine to ask. The engine's own statements pass, by a flag
//! that is set around them. A lasting PRAGMA is set on each other connection before that runs its next statement.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use isobar_base::sync::IgnorePoison;
use isobar_sqlite::{
    DURABLE, Failure, Prepared, Product, StatementCache, Text, WalPages, is_allowed, lasting_setting,
    reads_data_version, runs_optimize, set_limits, sets_something,
};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, OpenFlags};

use super::values::from_sql;
use crate::{limits, sql};

/// Functions that report what the writer has done, so that no reader can answer.
const OF_THE_WRITER: [&str; 3] = ["changes", "last_insert_rowid", "total_changes"];

/// Instructions of SQLite's virtual machine between two checks for an interruption: some tens of microseconds.
const INSTRUCTIONS: i32 = 1000;
/// Checks after which a statement on the calling task has used its budget: at the fourth it has run at least 3,000 instructions,
/// since those of earlier runs count for the first check alone.
const CHECKS: u32 = 4;

/// Statements of users that a connection keeps prepared.
const STATEMENTS: usize = 128;
/// Statements of the engine's own that a connection keeps prepared.
const OWN_STATEMENTS: usize = 16;

/// A call's claim on a connection: whether its caller still waits, and until when it may run.
#[derive(Debug)]
pub(super) struct Call {
    abandoned: AtomicBool,
    limit: Duration,
    /// The calls for all of which it stands; none for one that stands for itself.
    members: Vec<Arc<Self>>,
}

impl Call {
    pub(super) fn new(limit: Duration) -> Self {
        Self { abandoned: AtomicBool::new(false), limit, members: Vec::new() }
    }

    /// A call for several: it is abandoned when all of them are.
    pub(super) fn of_all(members: Vec<Arc<Self>>, limit: Duration) -> Self {
        Self { abandoned: AtomicBool::new(false), limit, members }
    }

    /// Marks the result as not wanted any more: the running statement is interrupted and rolled back.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_abandoned(&self) -> bool {
        let are_all = !self.members.is_empty() && self.members.iter().all(|member| member.is_abandoned());
        are_all || self.abandoned.load(Ordering::Relaxed)
    }
}

thread_local! {
    /// The call that runs on this thread's connection.
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
    /// Checks that are left to the statement on the calling task; `None` where none runs there.
    static BUDGET: Cell<Option<u32>> = const { Cell::new(None) };
    /// A statement of the engine's own that is run to its end, as a COMMIT is, runs on this thread's connection.
    static UNINTERRUPTED: Cell<bool> = const { Cell::new(false) };
}

struct Running {
    call: Arc<Call>,
    start: Instant,
    limit: Duration,
}

impl Running {
    fn is_over(&self) -> bool {
        self.start.elapsed() >= self.limit
    }
}

/// Returns whether the running call is abandoned, out of time or over its budget.
pub(super) fn must_stop() -> bool {
    if let Some(left) = BUDGET.get() {
        let left = left.saturating_sub(1);
        BUDGET.set(Some(left));
        return left == 0;
    }
    RUNNING
        .with_borrow(|running| running.as_ref().is_some_and(|running| running.call.is_abandoned() || running.is_over()))
}

/// Returns whether the running statement is to be interrupted. A COMMIT never is: SQLite asks once more when all is done, and would
/// report what has been committed as interrupted.
fn must_interrupt() -> bool {
    !UNINTERRUPTED.get() && must_stop()
}

/// Marks the call as the one that runs on this thread for as long as the value lives.
///
/// Thread-local, as SQLite's callbacks get no argument of ours: what runs on a thread is that thread's one call.
pub(super) struct Turn(());

impl Turn {
    pub(super) fn start(call: &Arc<Call>) -> Self {
        Self::start_within(call, call.limit)
    }

    /// As [`start`](Self::start), with a limit that is shorter than the call's own.
    pub(super) fn start_within(call: &Arc<Call>, limit: Duration) -> Self {
        let limit = limit.min(call.limit);
        RUNNING.set(Some(Running { call: Arc::clone(call), start: Instant::now(), limit }));
        Self(())
    }

    /// Returns whether the limit has passed.
    pub(super) fn is_over(&self) -> bool {
        RUNNING.with_borrow(|running| running.as_ref().is_some_and(Running::is_over))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        RUNNING.set(None);
    }
}

/// Bounds the statements that this thread runs for as long as the value lives: by instructions, and they wait for no lock.
pub(super) struct Budget(());

impl Budget {
    pub(super) fn start() -> Self {
        BUDGET.set(Some(CHECKS));
        Self(())
    }

    /// Returns whether a statement was ended because it takes longer.
    pub(super) fn is_exceeded(&self) -> bool {
        BUDGET.get() == Some(0)
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        BUDGET.set(None);
    }
}

/// Waits for another process's lock, as SQLite's own handler does: no longer than the call may run, and no longer than 30 s.
fn wait_for_lock(tries: i32) -> bool {
    const DELAYS: [u64; 8] = [1, 2, 5, 10, 15, 20, 25, 50];
    const TRIES: i32 = 600; // of 50 ms
    if BUDGET.get().is_some() {
        BUDGET.set(Some(0));
        return false;
    }
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
    /// Changes when a value does, under its lock.
    version: AtomicU64,
    values: Mutex<BTreeMap<String, String>>,
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
    /// The statement that is prepared may not write, nor set anything.
    forbids_writes: AtomicBool,
    settings: Arc<Settings>,
}

/// A connection that carries D1's rules.
#[derive(Debug)]
pub(super) struct AuthorizedConnection {
    // Before the connection, which is not closed while a statement of it lives.
    statements: StatementCache,
    own_statements: StatementCache,
    connection: Connection,
    authorizer: Arc<Authorizer>,
    /// The version of the shared settings that it has.
    settings_version: u64,
    wal: WalPages,
}

impl AuthorizedConnection {
    /// Opens the file, or a database in memory.
    pub(super) fn open(path: Option<&Path>, is_reader: bool, settings: &Arc<Settings>) -> rusqlite::Result<Self> {
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
        isobar_sqlite::add_math_functions(&connection)?;
        let wal = WalPages::count(&mut connection)?;
        connection.progress_handler(INSTRUCTIONS, Some(must_interrupt))?;
        let authorizer = Arc::new(Authorizer {
            is_reader,
            trusted: AtomicBool::new(false),
            needs_writer: AtomicBool::new(false),
            is_reading: AtomicBool::new(is_reader),
            writes: AtomicBool::new(false),
            transaction: AtomicBool::new(false),
            forbids_writes: AtomicBool::new(false),
            settings: Arc::clone(settings),
        });
        let asked = Arc::clone(&authorizer);
        connection.authorizer(Some(move |context: AuthContext<'_>| asked.judge(&context)))?;
        Ok(Self {
            statements: StatementCache::new(STATEMENTS),
            own_statements: StatementCache::new(OWN_STATEMENTS),
            connection,
            authorizer,
            settings_version: 0,
            wal,
        })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Prepares a user's next statement: see [`isobar_sqlite::prepare_next`].
    pub(super) fn prepare_next(&self, text: &Text, at: usize) -> Result<(Option<Prepared<'_>>, usize), Failure> {
        isobar_sqlite::prepare_next(&self.connection, &self.authorizer.trusted, text, at)
    }

    /// Takes a user's statement that has run before and [is kept](Self::keep).
    pub(super) fn kept(&self, sql: &str) -> Option<Prepared<'_>> {
        self.statements.take(&self.connection, sql)
    }

    /// Keeps a user's statement for its next run: one of which the authorizer's answer is the same then.
    pub(super) fn keep(&self, sql: &str, statement: Prepared<'_>) {
        self.statements.keep(sql, statement);
    }

    /// Runs one statement of the engine's own, past the authorizer. Returns the first column of its first row, if it has one.
    pub(super) fn own_statement(&self, sql: &str) -> Result<Option<crate::Value>, Failure> {
        let run = || {
            let mut statement = match self.own_statements.take(&self.connection, sql) {
                Some(statement) => statement,
                None => match isobar_sqlite::prepare(&self.connection, sql)?.0 {
                    Some(statement) => statement,
                    None => return Ok(None),
                },
            };
            let first = if statement.step()? { statement.row(from_sql).into_iter().next() } else { None };
            self.own_statements.keep(sql, statement);
            Ok(first)
        };
        self.authorizer.trusted.store(true, Ordering::Relaxed);
        let result = run();
        self.authorizer.trusted.store(false, Ordering::Relaxed);
        result
    }

    /// Begins a transaction, by one of SQLite's statements for that. It waits for another process's lock while its call may run, and is not
    /// interrupted otherwise: what fails has not begun.
    pub(super) fn begin(&self, sql: &str) -> Result<(), Failure> {
        self.own_uninterrupted(sql)
    }

    /// Commits the open transaction. It is not interrupted, whether its caller has gone or its time is over: what succeeds is done, and
    /// what fails is not.
    pub(super) fn commit(&self) -> Result<(), Failure> {
        self.own_uninterrupted("COMMIT")
    }

    /// Runs one statement of the engine's own to its end, whether its caller has gone or its time is over.
    fn own_uninterrupted(&self, sql: &str) -> Result<(), Failure> {
        UNINTERRUPTED.set(true);
        let done = self.own_statement(sql);
        UNINTERRUPTED.set(false);
        done.map(drop)
    }

    /// Runs something of the engine's own on the connection, past the authorizer.
    pub(super) fn trusted<T>(&self, run: impl FnOnce(&Connection) -> T) -> T {
        self.authorizer.trusted.store(true, Ordering::Relaxed);
        let result = run(&self.connection);
        self.authorizer.trusted.store(false, Ordering::Relaxed);
        result
    }

    /// Says whether what follows may neither write nor set anything: SQLite itself refuses writes then. A reader never writes.
    pub(super) fn forbid_writes(&self, forbids: bool) -> Result<(), Failure> {
        if !self.authorizer.is_reader {
            self.own_uninterrupted(if forbids { "PRAGMA query_only = ON" } else { "PRAGMA query_only = OFF" })?;
        }
        self.authorizer.forbids_writes.store(forbids, Ordering::Relaxed);
        Ok(())
    }

    /// Gives the connection the settings that others have been given since. Where one cannot be applied, the next call tries
    /// all of them again.
    pub(super) fn follow_settings(&mut self) -> Result<(), Failure> {
        let settings = &self.authorizer.settings;
        if settings.version.load(Ordering::Acquire) == self.settings_version {
            return Ok(());
        }
        let (version, values) = {
            let values = settings.values.lock().ignore_poison();
            (settings.version.load(Ordering::Acquire), values.clone())
        };
        for (name, value) in values {
            self.own_statement(&format!("PRAGMA {name} = {}", sql::literal(&value)))?;
        }
        self.settings_version = version;
        Ok(())
    }

    pub(super) fn is_reader(&self) -> bool {
        self.authorizer.is_reader
    }

    /// Forgets for what reasons statements were refused.
    pub(super) fn forget_refusals(&self) {
        self.authorizer.needs_writer.store(false, Ordering::Relaxed);
        self.authorizer.writes.store(false, Ordering::Relaxed);
        self.authorizer.transaction.store(false, Ordering::Relaxed);
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

    /// Leaves the write-ahead log as it is when the connection is closed: the history's keeper copies it.
    pub(super) fn leave_log(&self) -> rusqlite::Result<()> {
        self.connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
    }

    /// Makes the connection usable after a panic. Returns `false` where it can only be dropped.
    pub(super) fn reset(&self) -> bool {
        self.authorizer.trusted.store(false, Ordering::Relaxed);
        self.forget_refusals();
        self.forbid_writes(false).is_ok() && self.roll_back()
    }

    /// Ends an open transaction by undoing it. Returns `false` where the connection stays in one and can only be dropped.
    ///
    /// A ROLLBACK fails only on a disk that fails; the connection is then dropped, which undoes the transaction by the
    /// log.
    pub(super) fn roll_back(&self) -> bool {
        if !self.connection.is_autocommit() {
            // A failure shows in the state that is returned.
            drop(self.own_statement("ROLLBACK"));
        }
        self.connection.is_autocommit()
    }
}

/// For the history.
#[cfg(feature = "local")]
impl AuthorizedConnection {
    /// Returns the number of pages in the write-ahead log, if a commit has written some since this was last asked.
    pub(super) fn take_committed(&self) -> Option<u32> {
        self.wal.take_committed()
    }

    pub(super) fn log_pages(&self) -> u32 {
        self.wal.pages()
    }

    /// Has the commit of a copy by SQLite's backup counted, which tells its place with the next statement: not what other processes have
    /// committed since.
    pub(super) fn count_copy(&self) -> Result<(), Failure> {
        self.begin("BEGIN").and_then(|()| self.commit())
    }

    pub(super) fn has_long_log(&self) -> bool {
        self.wal.is_long()
    }

    /// Copies the write-ahead log into the database.
    pub(super) fn checkpoint_now(&self) -> Result<(), Failure> {
        self.wal.checkpoint_now(&self.connection)
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
        if self.forbids_writes.load(Ordering::Relaxed) && (runs_optimize(context) || sets_something(context)) {
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
            let mut values = self.settings.values.lock().ignore_poison();
            values.insert(name.to_owned(), value.to_owned());
            self.settings.version.fetch_add(1, Ordering::Release);
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
        let settings = Arc::<Settings>::default();
        let writer = AuthorizedConnection::open(None, false, &settings).unwrap();
        assert!(writer.prepare_next(&Text::new("PRAGMA temp.case_sensitive_like = ON"), 0).is_err());
        assert_eq!(settings.version.load(Ordering::Acquire), 0);
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
