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
#[cfg(test)]
mod tests;
mod values;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use isobar_base::fs::SqliteFile;
use isobar_base::sync::IgnorePoison;
use isobar_sqlite::journal::{DiskFile, Follower};
use isobar_sqlite::script::quoted;
use isobar_sqlite::{DURABLE, KeptChanges, Product, WalPages, is_allowed, runs_optimize, set_last_insert_rowid};
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthContext, Authorization};
use rusqlite::{Connection, OpenFlags};

use self::memory::Measured;
use super::disk;
use super::fault::{Fault, failure};
use super::health::Health;
use super::log::Log;
use super::rules::{VALUE_BYTES, setting};
use crate::context::{DELETE_IN_TRANSACTION, TransactionBody};
use crate::{Error, ErrorKind, Result};

pub(in crate::host) use self::values::AlarmRow;

const LOST: &str = "the SQL has rolled the object's transaction back, so the object was reset";

/// Pages in a write-ahead log beyond which writes are refused while its checkpoints fail: 64 MiB.
const MAX_WAL_PAGES: u32 = 16 * 1024;
/// Settings of a file whose commits the journal makes durable; no other process may write them, or copy them into the file. SQLite
/// syncs its log when that begins anew, and before it is copied into the file.
const JOURNALED: &str = "PRAGMA synchronous = NORMAL;";
const ALONE: &str = "PRAGMA locking_mode = EXCLUSIVE;";
/// Settings of every connection, beside those of [`DURABLE`]: nothing leaves the object before COMMIT has returned.
const SETTINGS: &str = "PRAGMA foreign_keys = ON; PRAGMA cache_size = -512;";
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
    /// What the object's SQL sees as `changes()`, in which the host's own rows do not count.
    changes: KeptChanges,
    /// Settings that the object has made on its connection, for the one that follows a draft's.
    settings: Arc<Mutex<Vec<(&'static str, String)>>>,
    wal: WalPages,
    measured: Measured,
    /// The journal that makes commits durable, if there is one, and how far it has followed this file.
    log: Option<Rc<Log>>,
    follower: RefCell<Option<Follower>>,
    /// The turn's transaction is open.
    open: Cell<bool>,
    savepoints: Cell<u32>,
    has_metadata: Cell<bool>,
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
    pub(in crate::host) fn memory(health: &Arc<Health>) -> Result<Self> {
        let storage = Self::new(Connection::open_in_memory(), Place::Memory, "", health, None)?;
        storage.create_tables()?;
        Ok(storage)
    }

    /// Opens the object's file, or, while it has stored nothing, a draft in memory. `is_stored` says whether the object is
    /// known to have stored something. Without a log each commit is durable by itself.
    pub(in crate::host) fn open(
        path: &Path,
        health: &Arc<Health>,
        log: Option<&Rc<Log>>,
        is_stored: impl FnOnce() -> Result<bool>,
    ) -> Result<Self> {
        let length = match std::fs::metadata(path) {
            Ok(meta) => Some(meta.len()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(in_file(path, "cannot be opened", error)),
        };
        match length {
            Some(length) if length > 0 => Self::file(path, health, log),
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
                let storage = Self::new(Connection::open_in_memory(), place, "", health, log)?;
                storage.create_tables()?;
                storage.baseline.set(storage.counts()?);
                Ok(storage)
            }
        }
    }

    fn file(path: &Path, health: &Arc<Health>, log: Option<&Rc<Log>>) -> Result<Self> {
        disk::tighten_database(path);
        let name = disk::object_name(path);
        let follower = log.map(|log| log.follow(&name, path)).transpose()?;
        let open = |locking: &str| {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            Self::new(Connection::open_with_flags(path, flags), Place::File(path.to_owned()), locking, health, log)
        };
        let storage = match log {
            Some(_) => open(ALONE),
            None => open("").or_else(|error| match error.kind() {
                // A full disk has no room for the log's index; in memory it serves one process as well, and there is no other.
                ErrorKind::Storage | ErrorKind::StorageFull => open(ALONE).map_err(|_| error),
                _ => Err(error),
            }),
        }?;
        *storage.follower.borrow_mut() = follower;
        if disk::has_log(path) && log.is_none_or(|log| log.may_checkpoint(&name)) {
            storage.copy_log(path)?;
        }
        storage.own(TABLES)?; // nothing is written where they are there
        Ok(storage)
    }

    /// Copies what is in the write-ahead log of a file that has just been opened.
    fn copy_log(&self, path: &Path) -> Result<()> {
        // What a crash has left in the log may be in memory alone, after a sync that failed: write it anew.
        let copied = self.own("PRAGMA wal_checkpoint(TRUNCATE)");
        // Otherwise the log can be read, and the checkpoint of a later commit copies it.
        if self.fault.take() == Some(Fault::Sync) {
            copied?;
        } else if let Err(_error) = copied {
            #[cfg(feature = "tracing")]
            tracing::warn!(path = %path.display(), error = %_error, "the log of a session object is not copied into its file yet");
            #[cfg(not(feature = "tracing"))]
            let _ = path;
        }
        Ok(())
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
            settings: Arc::default(),
            wal: WalPages::default(),
            measured: Measured::default(),
            log: log.cloned(),
            follower: RefCell::new(None),
            open: Cell::new(false),
            savepoints: Cell::new(0),
            has_metadata: Cell::new(false),
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
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            if trusted.load(Ordering::Relaxed) {
                return Authorization::Allow;
            }
            if !is_allowed(&context, Product::DurableObjects) {
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
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name = '_cf_METADATA'";
        self.has_metadata.set(connection.query_row(sql, [], |row| row.get::<_, i64>(0))? > 0);
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
        self.capture()?;
        if self.log.is_none() {
            self.checkpoint();
        }
        Ok(())
    }

    /// Hands the commit to the journal. Where it cannot be taken, the file is closed, and opened anew with what is durable.
    fn capture(&self) -> Result<()> {
        let mut follower = self.follower.borrow_mut();
        let (Some(log), Some(follower)) = (&self.log, follower.as_mut()) else { return Ok(()) };
        let Some(frames) = self.wal.take_committed() else { return Ok(()) };
        log.capture(follower, frames).map_err(|error| {
            self.is_unsound.set(true);
            in_file(Path::new(follower.name()), "has writes that could not be made durable", error)
        })
    }

    /// The journal's batch that the last commit waits for, while it is not durable.
    pub(in crate::host) fn pending(&self) -> Option<u64> {
        let follower = self.follower.borrow();
        self.log.as_ref().zip(follower.as_ref()).and_then(|(log, follower)| log.pending(follower))
    }

    /// The write-ahead log, where the journal follows it.
    pub(in crate::host) fn wal_file(&self) -> Option<Arc<dyn DiskFile>> {
        self.follower.borrow().as_ref().and_then(Follower::wal)
    }

    /// Whether the write-ahead log should be copied into the file.
    pub(in crate::host) fn is_long(&self) -> bool {
        self.wal.is_long()
    }

    /// Copies a long write-ahead log into the file. What was committed is durable in the log, so a failure ends no event: the
    /// host's health reports it. Nothing is copied that the journal has not made durable, as a crash would undo some of it.
    pub(in crate::host) fn checkpoint(&self) {
        let Place::File(path) = &self.place else { return };
        let follower = self.follower.borrow();
        if self.is_unsound.get() || follower.as_ref().is_some_and(Follower::is_behind) || self.pending().is_some() {
            return;
        }
        let Some(done) = self.wal.checkpoint(&self.connection) else { return };
        let failed = done.err().map(rusqlite::Error::from).map(|error| {
            let message =
                format!("the write-ahead log of {} cannot be copied into it: {}", self.name(), failure(&error));
            if Fault::of(&error) == Some(Fault::Sync) {
                self.health.poison(message.clone());
            }
            message
        });
        self.health.mark_checkpoint(path, failed);
    }

    /// Refuses to write while the log is as long as it may become and cannot be shortened.
    fn check_log(&self) -> Result<()> {
        if self.wal.pages() >= MAX_WAL_PAGES {
            if let Some(log) = &self.log {
                log.flush()?;
            }
            self.checkpoint();
        }
        if self.wal.pages() < MAX_WAL_PAGES {
            return Ok(());
        }
        let message =
            format!("writing is refused: {} cannot take up its write-ahead log, which has 64 MiB", self.name());
        Err(Error::new(ErrorKind::Storage, message))
    }

    /// Undoes what the turn wrote.
    pub(in crate::host) fn roll_back(&self) {
        self.open.set(false);
        self.savepoints.set(0);
        if self.metadata_is_new.take() {
            self.has_metadata.set(false);
        }
        if !self.connection.is_autocommit() && self.own("ROLLBACK").is_err() {
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
            self.own("DELETE FROM _cf_KV; DELETE FROM _cf_ALARM")
        })?;
        // As in workerd, where the object goes on with a new database.
        self.changes.set(0);
        set_last_insert_rowid(&self.connection, 0);
        Ok(())
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

impl Drop for Storage {
    fn drop(&mut self) {
        let (Some(log), Some(follower)) = (&self.log, self.follower.get_mut()) else { return };
        let connection = &self.connection;
        let is_whole = log.close(follower, || {
            let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
            self.trusted.store(true, Ordering::Relaxed);
            let ended = connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
            ended && connection.query_row(sql, [], |row| row.get::<_, i64>(0)).is_ok_and(|busy| busy == 0)
        });
        if !is_whole {
            // SQLite would copy what a crash may undo. The option is known, so setting it does not fail.
            drop(connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true));
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
