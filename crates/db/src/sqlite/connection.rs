//! A connection with D1's limits and authorizer, that a call can interrupt.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::raw::{self, Failure};
use crate::limits;

/// workerd's limits (`sqlite.c++`) with D1's documented sizes.
const LIMITS: [(Limit, usize); 11] = [
    (Limit::SQLITE_LIMIT_LENGTH, limits::VALUE_BYTES),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, limits::SQL_BYTES),
    (Limit::SQLITE_LIMIT_COLUMN, limits::COLUMNS),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 5),
    (Limit::SQLITE_LIMIT_VDBE_OP, 25_000),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 127),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, limits::PATTERN_BYTES),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, limits::PARAMETERS),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 10),
];

/// PRAGMAs that D1 allows.
const PRAGMAS: [&str; 19] = [
    "table_list",
    "table_info",
    "table_xinfo",
    "data_version",
    "page_size",
    "case_sensitive_like",
    "foreign_keys",
    "defer_foreign_keys",
    "ignore_check_constraints",
    "legacy_alter_table",
    "recursive_triggers",
    "reverse_unordered_selects",
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "quick_check",
    "optimize",
];

/// PRAGMAs whose value lasts as long as the connection: D1 has one, so all of ours follow.
const LASTING: [&str; 5] = [
    "case_sensitive_like",
    "ignore_check_constraints",
    "legacy_alter_table",
    "recursive_triggers",
    "reverse_unordered_selects",
];

/// Functions that ask for what the writer has done, so that no reader can answer.
const OF_THE_WRITER: [&str; 3] = ["changes", "last_insert_rowid", "total_changes"];

const VIRTUAL_TABLES: [&str; 4] = ["fts5", "fts5vocab", "rtree", "rtree_i32"];

/// Instructions of SQLite's machine between two looks at whether to go on: some tens of microseconds.
const INSTRUCTIONS: i32 = 1000;
/// Pages in the write-ahead log from which on it is copied into the database: SQLite's default.
const CHECKPOINT_PAGES: i32 = 1000;

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

    /// Nobody waits for the result any more: what runs is interrupted and rolled back.
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

/// Whether the running call is abandoned or out of time.
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

/// State of the authorizer: its rules, and the actions that it has seen.
#[derive(Debug)]
struct Guard {
    is_reader: bool,
    /// Set while the engine's own statements are prepared.
    trusted: AtomicBool,
    /// A statement was refused because only the writer can run it.
    needs_writer: AtomicBool,
    /// A statement was refused because it begins or ends a transaction.
    transaction: AtomicBool,
    settings: Arc<Mutex<Settings>>,
}

/// A connection that carries D1's rules.
#[derive(Debug)]
pub(super) struct Guarded {
    connection: Connection,
    guard: Arc<Guard>,
    /// The version of the shared settings that it has.
    settings_version: u64,
    wal_pages: Arc<AtomicI32>,
}

impl Guarded {
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
            // FULL: COMMIT answers when the log is durable. The log is copied by `checkpoint`, whose errors count.
            connection.execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;",
            )?;
        }
        connection.execute_batch(if is_reader { "PRAGMA query_only = ON" } else { "PRAGMA foreign_keys = ON" })?;
        for (limit, value) in LIMITS {
            // All far below i32's maximum.
            connection.set_limit(limit, value as i32)?;
        }
        raw::drop_modules(&connection);
        let wal_pages = Arc::new(AtomicI32::new(0));
        let pages = Arc::clone(&wal_pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count: i32| {
            pages.store(count, Ordering::Relaxed);
            Ok(())
        }))?;
        connection.progress_handler(INSTRUCTIONS, Some(must_stop))?;
        let guard = Arc::new(Guard {
            is_reader,
            trusted: AtomicBool::new(false),
            needs_writer: AtomicBool::new(false),
            transaction: AtomicBool::new(false),
            settings: Arc::clone(settings),
        });
        let asked = Arc::clone(&guard);
        connection.authorizer(Some(move |context: AuthContext<'_>| asked.judge(&context)))?;
        Ok(Self { connection, guard, settings_version: 0, wal_pages })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs the engine's own SQL, past the authorizer.
    pub(super) fn own<T>(&self, run: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, Failure> {
        self.guard.trusted.store(true, Ordering::Relaxed);
        let result = run(&self.connection);
        self.guard.trusted.store(false, Ordering::Relaxed);
        result
    }

    /// Runs one statement of the engine's own; the first column of its row, if it has one.
    pub(super) fn own_statement(&self, sql: &str) -> Result<Option<crate::Value>, Failure> {
        self.own(|connection| {
            let (Some(mut statement), _) = raw::prepare(connection, sql)? else { return Ok(None) };
            Ok(if statement.step()? { statement.row().into_iter().next() } else { None })
        })
    }

    /// Gives the connection the settings that others have been given since.
    pub(super) fn follow_settings(&mut self) -> Result<(), Failure> {
        let settings = self.guard.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if settings.version == self.settings_version {
            return Ok(());
        }
        self.settings_version = settings.version;
        let values = settings.values.clone();
        drop(settings);
        for (name, value) in values {
            self.own_statement(&format!("PRAGMA {name} = '{}'", value.replace('\'', "''")))?;
        }
        Ok(())
    }

    /// Whether a statement was refused since the last question because only the writer can run it.
    pub(super) fn took_to_writer(&self) -> bool {
        self.guard.needs_writer.swap(false, Ordering::Relaxed)
    }

    /// Whether a statement was refused since the last question because it begins or ends a transaction.
    pub(super) fn refused_transaction(&self) -> bool {
        self.guard.transaction.swap(false, Ordering::Relaxed)
    }

    /// Copies the write-ahead log into the database when it has grown long.
    pub(super) fn checkpoint(&self) -> Result<(), Failure> {
        if self.wal_pages.load(Ordering::Relaxed) < CHECKPOINT_PAGES {
            return Ok(());
        }
        self.wal_pages.store(0, Ordering::Relaxed);
        raw::checkpoint(&self.connection)
    }

    /// Ends an open transaction by undoing it. `false` where the connection stays in one: it can only be dropped then.
    pub(super) fn roll_back(&self) -> bool {
        if !self.connection.is_autocommit() {
            // An error shows in what is asked next.
            drop(self.own_statement("ROLLBACK"));
        }
        self.connection.is_autocommit()
    }
}

impl Guard {
    /// D1's authorizer: asked while a statement is prepared, also for what triggers and virtual tables do.
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
            AuthAction::Pragma { pragma_name, pragma_value: Some(value) } if is_listed(&LASTING, pragma_name) => {
                let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
                settings.values.insert(pragma_name.to_ascii_lowercase(), value.to_owned());
                settings.version += 1;
            }
            _ => {}
        }
        if is_allowed(context) { Authorization::Allow } else { Authorization::Deny }
    }
}

fn is_listed(list: &[&str], name: &str) -> bool {
    list.iter().any(|listed| listed.eq_ignore_ascii_case(name))
}

fn is_allowed(context: &AuthContext<'_>) -> bool {
    let reserved = |name: &str| name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("_cf_"));
    if context.database_name.is_some_and(|name| name.eq_ignore_ascii_case("temp")) {
        // ALTER TABLE looks for temporary objects that name the table, and there never are any.
        let schema = |table: &str| ["sqlite_temp_master", "sqlite_temp_schema"].contains(&table);
        return match context.action {
            AuthAction::Read { table_name, .. } | AuthAction::Update { table_name, .. } => schema(table_name),
            _ => false,
        };
    }
    match context.action {
        AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. }
        | AuthAction::DropTempIndex { .. }
        | AuthAction::DropTempTable { .. }
        | AuthAction::DropTempTrigger { .. }
        | AuthAction::DropTempView { .. }
        | AuthAction::Unknown { .. } => false,
        AuthAction::CreateTable { table_name: name }
        | AuthAction::CreateIndex { index_name: name, .. }
        | AuthAction::CreateTrigger { trigger_name: name, .. }
        | AuthAction::CreateView { view_name: name } => !reserved(name),
        AuthAction::CreateVtable { table_name, module_name } => {
            !reserved(table_name) && is_listed(&VIRTUAL_TABLES, module_name)
        }
        AuthAction::Pragma { pragma_name, pragma_value } => {
            is_listed(&PRAGMAS, pragma_name)
                && (pragma_value.is_none() || !pragma_name.eq_ignore_ascii_case("page_size"))
        }
        AuthAction::Function { function_name } => isobar_cloudflare::sql::allows_function(function_name),
        _ => true,
    }
}
