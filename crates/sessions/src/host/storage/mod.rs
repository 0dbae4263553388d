//! An object's database: SQL with Durable Objects' rules, key-value storage, the alarm's row, and the implicit
//! transaction of a turn.
//!
//! Three places: a file; a draft, which is a database in memory until its object has stored something ([`draft`]); and memory,
//! for a host without a folder. The first statement of a turn that writes opens a transaction, and [`commit`](Storage::commit)
//! ends it. Savepoints are the transactions of the object.
//!
//! Two kinds of SQL run on the connection. The object's own passes the authorizer and the limits of Durable Objects; the host's
//! (keys, metadata, the alarm's row) is trusted, by a flag that is set around it. Tables whose names begin with `_cf_` are the
//! host's, and the object neither reads nor writes them.
//!
//! **Faults.** After each operation [`verdict`](Storage::verdict) says whether the file has failed. A full disk fails the turn,
//! and the connection goes on; a failed sync, damage, or a rollback that did not succeed make the connection one that must not be
//! used again.

mod draft;
mod exec;
mod memory;
mod past;
#[cfg(test)]
mod tests;
mod values;
mod wal;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use isobar_base::fs::SqliteFile;
use isobar_base::sync::IgnorePoison;
use isobar_sqlite::journal::Follower;
use isobar_sqlite::script::quoted;
use isobar_sqlite::{
    DURABLE, KeptChanges, LASTING, Product, WalPages, is_allowed, runs_optimize, set_last_insert_rowid,
};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, OpenFlags};

use self::memory::Measured;
use self::past::Past;
use super::disk;
use super::fault::{Fault, failure};
use super::health::Health;
use super::history::Histories;
use super::log::Log;
use super::rules::{VALUE_BYTES, setting};
use crate::context::{DELETE_IN_TRANSACTION, TransactionBody};
use crate::{Error, ErrorKind, Result};

pub(in crate::host) use self::values::AlarmRow;

const LOST: &str = "the SQL has rolled the object's transaction back, so the object was reset";

/// Settings of a file whose commits the journal makes durable; no other process may write them, or copy them into the file. SQLite
/// syncs its log when that begins anew, and before it is copied into the file.
const JOURNALED: &str = "PRAGMA synchronous = NORMAL;";
const ALONE: &str = "PRAGMA locking_mode = EXCLUSIVE;";
/// Settings of every connection, beside those of [`DURABLE`]: nothing leaves the object before COMMIT has returned.
const SETTINGS: &str = "PRAGMA foreign_keys = ON; PRAGMA cache_size = -512;";
/// The one of them that an object may change.
const FOREIGN_KEYS: &str = "PRAGMA foreign_keys = ON;";
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS _cf_KV (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS _cf_ALARM (
        id INTEGER PRIMARY KEY CHECK (id = 1), scheduled INTEGER NOT NULL, due INTEGER NOT NULL, retries INTEGER NOT NULL
    );";
/// Metadata that the host keeps: `name`, the object's name, and `alarm made`, when the alarm was set.
const METADATA: &str = "CREATE TABLE IF NOT EXISTS _cf_METADATA (key TEXT PRIMARY KEY, value) WITHOUT ROWID";

/// Where an object's database is.
#[derive(Debug, Clone)]
enum Place {
    /// In memory for good: the host is.
    Memory,
    /// In memory until something is stored, and then in this file.
    Draft(PathBuf),
    File(PathBuf),
}

/// An object's database, open.
#[derive(Debug)]
pub(in crate::host) struct Storage {
    connection: Connection,
    place: Place,
    health: Arc<Health>,
    /// Set while the host's own statements are prepared: the authorizer lets them through.
    trusted: Arc<AtomicBool>,
    /// The statement that was prepared last writes, though SQLite says that it reads.
    writes: Arc<AtomicBool>,
    /// The statement that was refused last begins or ends a transaction.
    controls: Arc<AtomicBool>,
    /// The number that the object's SQL sees as `changes()`.
    changes: KeptChanges,
    /// Settings that the object has made on its connection, for the one that follows a draft's.
    settings: Arc<Mutex<Vec<(&'static str, String)>>>,
    wal: WalPages,
    measured: Measured,
    /// The journal that makes commits durable, if there is one, and how far it has followed this file.
    log: Option<Rc<Log>>,
    follower: RefCell<Option<Follower>>,
    /// Histories of the host, for a draft that becomes a file.
    histories: Option<Arc<Histories>>,
    /// The object's history, where one is kept. It is dropped after the connection.
    past: Option<Past>,
    /// The turn's transaction is open.
    open: Cell<bool>,
    savepoints: Cell<u32>,
    has_metadata: Cell<bool>,
    /// All was deleted in this turn: with its end the settings of the connection are those of a new one.
    is_renewed: Cell<bool>,
    /// The table of metadata is of this turn: undone with it.
    metadata_is_new: Cell<bool>,
    /// The file has failed since the last time that was asked.
    fault: Cell<Option<Fault>>,
    /// A rollback has failed, or what is in memory is not what is to be kept: the connection is not used again.
    is_unsound: Cell<bool>,
    /// Changes and schema of a draft as its start has left them.
    baseline: Cell<(u64, i64)>,
}

impl Storage {
    /// Opens a database in memory, for a host in memory.
    pub(in crate::host) fn memory(health: &Arc<Health>, histories: Option<&Arc<Histories>>) -> Result<Self> {
        let mut storage = Self::new(Connection::open_in_memory(), Place::Memory, "", health, None)?;
        storage.create_tables()?;
        storage.begin_past(histories)?;
        Ok(storage)
    }

    /// Opens the object's file, or, while it has stored nothing, a draft in memory. `is_stored` says whether the object is
    /// known to have stored something. Without a log each commit is durable by itself. Where histories are kept, that of the object is kept
    /// on.
    pub(in crate::host) fn open(
        path: &Path,
        health: &Arc<Health>,
        log: Option<&Rc<Log>>,
        histories: Option<&Arc<Histories>>,
        is_stored: impl FnOnce() -> Result<bool>,
    ) -> Result<Self> {
        let length = match std::fs::metadata(path) {
            Ok(meta) => Some(meta.len()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(in_file(path, "cannot be opened", error)),
        };
        match length {
            Some(length) if length > 0 => Self::file(path, health, log, histories),
            _ if is_stored()? => {
                let what = length.map_or("is missing", |_| "is empty");
                let message = format!(
                    "the session object's file {} {what}, though the object has stored something: restore it from a \
                     backup; to give it up, stop the host and delete its index.db, which is made anew from what is there",
                    path.display()
                );
                Err(Error::new(ErrorKind::Damaged, message))
            }
            _ if disk::has_log(path) => {
                let message = format!(
                    "the session object's log {} is there without its file: restore the file from a backup; to give it up, \
                     move the log away",
                    SqliteFile::Wal.beside(path).display()
                );
                Err(Error::new(ErrorKind::Damaged, message))
            }
            _ => {
                let place = Place::Draft(path.to_owned());
                let mut storage = Self::new(Connection::open_in_memory(), place, "", health, log)?;
                storage.histories = histories.cloned();
                storage.create_tables()?;
                storage.baseline.set(storage.counts()?);
                Ok(storage)
            }
        }
    }

    fn file(
        path: &Path,
        health: &Arc<Health>,
        log: Option<&Rc<Log>>,
        histories: Option<&Arc<Histories>>,
    ) -> Result<Self> {
        disk::tighten_database(path);
        let name = disk::object_name(path);
        let follower = log.map(|log| log.follow(&name, path)).transpose()?;
        let open = |locking: &str| {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            Self::new(Connection::open_with_flags(path, flags), Place::File(path.to_owned()), locking, health, log)
        };
        // Another process would copy what is not in the history.
        let mut storage = match (log, histories) {
            (Some(_), _) | (_, Some(_)) => open(ALONE),
            (None, None) => open("").or_else(|error| match error.kind() {
                // A full disk has no room for the log's index; in memory it serves one process as well, and there is no other.
                ErrorKind::Storage | ErrorKind::StorageFull => open(ALONE).map_err(|_| error),
                _ => Err(error),
            }),
        }?;
        *storage.follower.borrow_mut() = follower;
        storage.begin_past(histories)?;
        // After a failed sync what the log has may be in memory alone: the history would be ahead of the file.
        let is_certain = histories.is_none() || health.check_poison().is_ok();
        if disk::has_log(path) && is_certain && log.is_none_or(|log| log.may_checkpoint(&name)) {
            match storage.archive() {
                Ok(()) => storage.copy_log(path)?,
                Err(error) => health.mark_checkpoint(path, Some(error.to_string())),
            }
        }
        storage.mark_past()?;
        storage.own(TABLES)?; // nothing is written where they are there
        Ok(storage)
    }

    fn new(
        connection: rusqlite::Result<Connection>,
        place: Place,
        locking: &str,
        health: &Arc<Health>,
        log: Option<&Rc<Log>>,
    ) -> Result<Self> {
        let described = |error: &rusqlite::Error| match &place {
            Place::File(path) => {
                let failure = failure(error);
                let message = format!("the session object's file {} cannot be opened: {failure}", path.display());
                Error::new(failure.kind(), message)
            }
            _ => failure(error),
        };
        let connection = connection.map_err(|error| described(&error))?;
        let changes = KeptChanges::install(&connection).map_err(|error| described(&error))?;
        let mut storage = Self {
            connection,
            changes,
            place: place.clone(),
            health: Arc::clone(health),
            trusted: Arc::new(AtomicBool::new(true)),
            writes: Arc::default(),
            controls: Arc::default(),
            settings: Arc::default(),
            wal: WalPages::default(),
            measured: Measured::default(),
            log: log.cloned(),
            follower: RefCell::new(None),
            histories: None,
            past: None,
            open: Cell::new(false),
            savepoints: Cell::new(0),
            has_metadata: Cell::new(false),
            is_renewed: Cell::new(false),
            metadata_is_new: Cell::new(false),
            fault: Cell::new(None),
            is_unsound: Cell::new(false),
            baseline: Cell::new((0, 0)),
        };
        storage.configure(locking).map_err(|error| described(&error))?;
        Ok(storage)
    }

    fn configure(&mut self, locking: &str) -> rusqlite::Result<()> {
        let connection = &mut self.connection;
        let durability = if self.log.is_some() { JOURNALED } else { "" };
        for settings in [locking, DURABLE, durability, SETTINGS] {
            connection.execute_batch(settings)?;
        }
        self.wal = WalPages::count(connection)?;
        isobar_sqlite::set_limits(connection, VALUE_BYTES)?;
        isobar_sqlite::drop_modules(connection);
        isobar_sqlite::add_math_functions(connection)?;
        let trusted = Arc::clone(&self.trusted);
        let settings = Arc::clone(&self.settings);
        let writes = Arc::clone(&self.writes);
        let controls = Arc::clone(&self.controls);
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            if trusted.load(Ordering::Relaxed) {
                return Authorization::Allow;
            }
            if !is_allowed(&context, Product::DurableObjects) {
                let is_control =
                    matches!(context.action, AuthAction::Transaction { .. } | AuthAction::Savepoint { .. });
                controls.store(is_control, Ordering::Relaxed);
                return Authorization::Deny;
            }
            if runs_optimize(&context) {
                writes.store(true, Ordering::Relaxed);
            }
            if let Some((name, value)) = setting(&context) {
                settings.lock().ignore_poison().push((name, value.to_owned()));
            }
            Authorization::Allow
        }))?;
        self.has_metadata.set(has_table(connection, "_cf_METADATA")?);
        self.trusted.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Creates the host's own tables in a new database.
    fn create_tables(&self) -> Result<()> {
        self.own(TABLES)?;
        self.own(METADATA)?;
        self.has_metadata.set(true);
        Ok(())
    }

    pub(in crate::host) fn transaction(&self, body: TransactionBody<'_>) -> Result<()> {
        self.begin()?;
        let depth = self.savepoints.get() + 1;
        self.own(&format!("SAVEPOINT isobar_{depth}"))?;
        self.savepoints.set(depth);
        let result = body();
        if self.savepoints.get() < depth {
            // The body has ended the instance: its turn was rolled back, this savepoint with it.
            return result.and_then(|()| Err(Error::new(ErrorKind::Reset, "the object was reset")));
        }
        self.savepoints.set(depth - 1);
        let undo = if result.is_err() { format!("ROLLBACK TO isobar_{depth};") } else { String::new() };
        if let Err(error) = self.own(&format!("{undo} RELEASE isobar_{depth}")) {
            // The savepoint is still there, with writes that are to be undone: nothing of the turn may be committed.
            self.is_unsound.set(true);
            return Err(error);
        }
        result
    }

    /// Whether the turn has written.
    pub(in crate::host) fn is_dirty(&self) -> bool {
        self.open.get()
    }

    /// Whether the object has stored nothing yet.
    pub(in crate::host) fn is_draft(&self) -> bool {
        matches!(self.place, Place::Draft(_))
    }

    /// Whether this is a file's connection, and not in memory.
    pub(in crate::host) fn is_file(&self) -> bool {
        matches!(self.place, Place::File(_))
    }

    /// Whether the connection must not be used again.
    pub(in crate::host) fn is_unsound(&self) -> bool {
        self.is_unsound.get()
    }

    /// Never uses the connection again.
    pub(in crate::host) fn condemn(&self) {
        self.is_unsound.set(true);
    }

    /// Why the instance cannot go on after what it has just done: the file has failed, or the turn's transaction is lost. What
    /// the turn writes from there on would stand outside of any.
    pub(in crate::host) fn verdict(&self) -> Option<Error> {
        let lost = (self.open.get() && self.connection.is_autocommit()) || self.is_unsound.get();
        let fault = self.fault.take();
        match fault {
            Some(Fault::Full) if !lost => None,
            Some(fault) => {
                if fault != Fault::Full {
                    self.is_unsound.set(true);
                }
                let why = match fault {
                    Fault::Sync => "could not be made durable",
                    Fault::Full => "could not be written: the disk is full",
                    Fault::Damaged => "is damaged",
                    Fault::Io => "could not be read or written",
                };
                Some(Error::new(fault.kind(), format!("{} {why}", self.name())))
            }
            None if lost => Some(Error::new(ErrorKind::Reset, LOST)),
            None => None,
        }
    }

    /// Ends the turn: commits what it wrote, durably. Where that fails nothing of it remains.
    pub(in crate::host) fn commit(&self) -> Result<()> {
        if !self.open.replace(false) {
            return Ok(());
        }
        self.savepoints.set(0);
        self.own_again("COMMIT").map_err(|error| {
            self.roll_back();
            let message = "Durable Object was reset and rolled back to its last known good state because the \
                           application left the database in a state where constraints were violated";
            match error.kind() {
                ErrorKind::Constraint => Error::new(ErrorKind::Reset, format!("{message}: {error}")),
                ErrorKind::Sql => Error::new(ErrorKind::Reset, format!("the writes could not be committed: {error}")),
                kind => Error::new(kind, format!("the writes could not be made durable: {error}")),
            }
        })?;
        self.metadata_is_new.set(false);
        self.note_commit()?;
        self.capture()?;
        if self.is_renewed.take() {
            self.own(FOREIGN_KEYS)?; // the others were set when all was deleted; the turn may have gone on since
        }
        if self.log.is_none() {
            self.checkpoint();
        }
        Ok(())
    }

    /// Undoes what the turn wrote.
    pub(in crate::host) fn roll_back(&self) {
        self.open.set(false);
        self.savepoints.set(0);
        if self.metadata_is_new.take() {
            self.has_metadata.set(false);
        }
        self.is_renewed.set(false);
        let is_undone = self.connection.is_autocommit() || self.own("ROLLBACK").is_ok();
        // The next instance may go on with the connection.
        if !is_undone || self.renew().is_err() {
            // SQLite rolls back when the connection is dropped.
            self.is_unsound.set(true);
        }
    }

    /// Drops what the object has made, and empties what the host has.
    pub(in crate::host) fn delete_all(&self) -> Result<()> {
        if self.savepoints.get() > 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, DELETE_IN_TRANSACTION));
        }
        self.transaction(&mut || {
            let tables = "SELECT type, name FROM sqlite_schema WHERE type IN ('view', 'table') AND name NOT LIKE 'sqlite~_%' ESCAPE '~'
                          AND name NOT LIKE '~_cf~_%' ESCAPE '~' ORDER BY sql LIKE 'CREATE VIRTUAL%' DESC, type DESC";
            let found: Vec<(String, String)> = self.trusted(|connection| {
                let mut statement = connection.prepare(tables)?;
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
            })?;
            self.own("PRAGMA defer_foreign_keys = ON")?;
            for (kind, name) in found {
                // The shadow tables of a virtual table go with it.
                self.own(&format!("DROP {kind} IF EXISTS {}", quoted(&name)))?;
            }
            self.own("DELETE FROM _cf_KV; DELETE FROM _cf_ALARM; DELETE FROM _cf_METADATA WHERE key = 'alarm made'")
        })?;
        // As in workerd, where the object goes on with a new database.
        self.is_renewed.set(true);
        self.renew()
    }

    /// Makes the connection as a new one is: its settings, and what SQL sees of earlier changes. In a transaction `foreign_keys` stays as
    /// it is.
    pub(in crate::host) fn renew(&self) -> Result<()> {
        self.settings.lock().ignore_poison().clear();
        self.changes.set(0);
        set_last_insert_rowid(&self.connection, 0);
        let settings: String = LASTING.iter().map(|name| format!("PRAGMA {name} = OFF;")).collect();
        self.own(&format!("{settings} {FOREIGN_KEYS}"))
    }

    /// Opens the turn's transaction with its first write.
    fn begin(&self) -> Result<()> {
        if self.open.get() {
            return Ok(());
        }
        if self.is_file() {
            self.health.check_write()?;
            self.check_log()?;
        }
        self.begin_at_once()
    }

    fn begin_at_once(&self) -> Result<()> {
        if self.open.get() {
            return Ok(());
        }
        self.own_again("BEGIN IMMEDIATE")?;
        self.open.set(true);
        if !self.has_metadata.get() {
            // A file of an older version.
            self.own(METADATA)?;
            self.has_metadata.set(true);
            self.metadata_is_new.set(true);
        }
        Ok(())
    }

    fn own(&self, sql: &str) -> Result<()> {
        self.trusted(|connection| connection.execute_batch(sql))
    }

    /// As [`own`](Self::own), for one statement that is run often.
    fn own_again(&self, sql: &str) -> Result<()> {
        self.trusted(|connection| connection.prepare_cached(sql)?.execute([]).map(drop))
    }

    fn trusted<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        self.trusted.store(true, Ordering::Relaxed);
        let result = work(&self.connection);
        self.trusted.store(false, Ordering::Relaxed);
        result.map_err(|error| self.failed(&error))
    }

    /// The error, and where a fault of the file is noted for [`verdict`](Self::verdict), and named.
    fn failed(&self, error: &rusqlite::Error) -> Error {
        let failure = failure(error);
        let Some(fault) = Fault::of(error) else { return failure };
        if self.fault.get() != Some(Fault::Sync) {
            self.fault.set(Some(fault));
        }
        let message = format!("{} failed: {failure}", self.name());
        if fault == Fault::Sync {
            self.health.poison(message.clone());
        }
        Error::new(failure.kind(), message)
    }

    fn name(&self) -> String {
        match &self.place {
            Place::File(path) | Place::Draft(path) => format!("the session object's file {}", path.display()),
            Place::Memory => "the session object's database in memory".to_owned(),
        }
    }
}

/// A failure of an object's file, by its name.
fn in_file(path: &Path, what: &str, error: std::io::Error) -> Error {
    let kind = match isobar_base::io::Class::of(&error) {
        isobar_base::io::Class::Full => ErrorKind::StorageFull,
        _ => ErrorKind::Storage,
    };
    Error::new(kind, format!("the session object's file {} {what}: {error}", path.display())).with_source(error)
}

/// Whether a database has a table of this name.
fn has_table(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?)", [name], |row| row.get(0))
}
