//! Reading of a snapshot: by an object's own SQL rules, and what the host keeps beside it.

use std::ffi::c_int;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use isobar_sqlite::script::quoted;
use isobar_sqlite::{Failure, Product, Text, is_allowed};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::snapshot::{Snapshot, damaged};
use super::time;
use super::types::{QueryBounds, TableDetails, TimerDetails};
use crate::host::convert::{from_sql, to_sql};
use crate::host::fault::failure;
use crate::host::rules::VALUE_BYTES;
use crate::host::storage::AlarmRow;
use crate::{Cursor, Error, ErrorKind, Result, Value};

/// The table of an object's timers, as `crate::timers` names it.
const TIMERS: &str = "_isobar_timers";
/// Timers in the order in which they run, those that are given up last. A failure's text and a payload may have some MiB each.
const EACH_TIMER: &str =
    "SELECT name, scheduled, due_at, cron, retries, substr(failure, 1, 1000), octet_length(payload)
    FROM _isobar_timers ORDER BY due_at IS NULL, due_at, name";
/// Tables of the object's own: neither the host's, nor SQLite's, nor those of timers.
const TABLES: &str = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual')
    AND name NOT LIKE 'sqlite~_%' ESCAPE '~' AND name NOT LIKE '~_cf~_%' ESCAPE '~'
    AND name NOT LIKE '~_isobar~_%' ESCAPE '~' ORDER BY name";

/// A look at the whole file, in errors.
pub(super) const CHECK: &str = "the look at the object's file";
/// Instructions of SQLite's between two looks at the clock.
const INSTRUCTIONS: c_int = 1000;

/// A snapshot, open. Nothing is ever written by it.
#[derive(Debug)]
pub(super) struct Reader {
    connection: Connection,
    /// Set while the host's own statements are prepared: the authorizer lets them through.
    trusted: Arc<AtomicBool>,
    snapshot: Snapshot,
    /// When statements are broken off, and after which time.
    end: Option<(Instant, Duration)>,
}

impl Reader {
    /// Opens the snapshot of the file at this path, which errors name.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] and [`ErrorKind::Storage`].
    pub(super) fn open(snapshot: Snapshot, path: &Path) -> Result<Self> {
        let connection = open_unchanged(snapshot.file()).map_err(|error| damaged(path, &error))?;
        let trusted = Arc::new(AtomicBool::new(false));
        let mut reader = Self { connection, trusted, snapshot, end: None };
        reader.configure().map_err(|error| damaged(path, &error))?;
        Ok(reader)
    }

    fn configure(&mut self) -> rusqlite::Result<()> {
        isobar_sqlite::set_limits(&self.connection, VALUE_BYTES)?;
        isobar_sqlite::drop_modules(&self.connection);
        isobar_sqlite::add_math_functions(&self.connection)?;
        let trusted = Arc::clone(&self.trusted);
        self.connection.authorizer(Some(move |context: AuthContext<'_>| {
            // What an object may not read of the host's, its operator may look at.
            let is_look = matches!(context.action, AuthAction::Read { .. }) && is_allowed(&context, Product::D1);
            if trusted.load(Ordering::Relaxed) || is_look || is_allowed(&context, Product::DurableObjects) {
                Authorization::Allow
            } else {
                Authorization::Deny
            }
        }))
    }

    /// Gives what is read from now on this time together; `None` is without end.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when SQLite does not take it.
    pub(super) fn bound(&mut self, time: Option<Duration>) -> Result<()> {
        let end = time.and_then(|time| Some((Instant::now().checked_add(time)?, time)));
        let is_over = move || end.is_some_and(|(at, _)| Instant::now() >= at);
        self.connection.progress_handler(INSTRUCTIONS, Some(is_over)).map_err(|error| failure(&error))?;
        self.end = end;
        Ok(())
    }

    /// Returns the error of a statement that has failed when its time was over.
    pub(super) fn overdue(&self, what: &str) -> Option<Error> {
        let (_, time) = self.end.filter(|(at, _)| Instant::now() >= *at)?;
        Some(Error::new(ErrorKind::Sql, format!("{what} took longer than {time:?}")))
    }

    /// The database's file, without a write-ahead log.
    pub(super) fn file(&self) -> &Path {
        self.snapshot.file()
    }

    /// Whether the file is a copy, and stays as it is whatever happens to the folder.
    pub(super) fn is_copy(&self) -> bool {
        self.snapshot.is_copy()
    }

    /// Runs one statement that reads.
    ///
    /// # Errors
    /// As [`Sql::exec`](crate::Sql::exec); [`ErrorKind::NotAuthorized`] for a statement that writes.
    pub(super) fn query(&mut self, sql: &str, values: &[Value], bounds: QueryBounds) -> Result<Cursor> {
        self.bound(bounds.time)?;
        let failed = |error: Failure| self.overdue("the statement").unwrap_or_else(|| failure(&error.into()));
        let wrong = |message: &str| Error::new(ErrorKind::Sql, message);
        let text = Text::new(sql);
        let next = |at| isobar_sqlite::prepare_next(&self.connection, &self.trusted, &text, at).map_err(failed);
        let mut at = 0;
        let mut statement = loop {
            let (statement, read) = next(at)?;
            at += read;
            match statement {
                Some(statement) => break statement,
                None if read == 0 || text.rest(at).is_empty() => return Err(wrong("the SQL has no statement")),
                None => {}
            }
        };
        let mut rest = at;
        while !text.rest(rest).is_empty() {
            match next(rest)? {
                (None, read) if read > 0 => rest += read,
                _ => return Err(wrong("the SQL has more than one statement: run them one by one")),
            }
        }
        if !statement.is_read_only() {
            return Err(Error::new(ErrorKind::NotAuthorized, "the statement writes, and only reading was asked for"));
        }
        if statement.parameters() != values.len() {
            return Err(wrong("Wrong number of parameter bindings for SQL query."));
        }
        statement.bind(values.iter().map(to_sql)).map_err(failed)?;
        let mut more = statement.step().map_err(failed)?;
        let columns = statement.columns();
        let mut rows = Vec::new();
        let mut bytes = 0;
        while more {
            let row: Vec<Value> = statement.row(from_sql);
            bytes += row.iter().map(size).sum::<usize>();
            if let Some(most) = bounds.bytes.filter(|most| bytes > *most) {
                return Err(wrong(&format!("the rows have more than {most} bytes: ask for fewer")));
            }
            rows.push(row);
            more = statement.step().map_err(failed)?;
        }
        let read = statement.take_row_counts().map(|counts| counts.read);
        Ok(Cursor::new(columns, rows, read, Some(0)))
    }

    /// Returns the damage of the file; `None` when SQLite finds nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Sql`] past the [bound](Self::bound).
    pub(super) fn problem(&self) -> Result<Option<String>> {
        let checked =
            self.own(|connection| connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)));
        match checked {
            Ok(text) if text == "ok" => Ok(None),
            Ok(text) => Ok(Some(text)),
            Err(error) => self.overdue(CHECK).map_or_else(|| Ok(Some(failure(&error).to_string())), Err),
        }
    }

    /// The name that the object was made from, where its file knows it.
    pub(super) fn name(&self) -> rusqlite::Result<Option<String>> {
        Ok(self.metadata::<Option<String>>("name")?.flatten())
    }

    pub(super) fn alarm(&self) -> rusqlite::Result<Option<AlarmRow>> {
        if !self.has_table("_cf_ALARM")? {
            return Ok(None);
        }
        let made = self.metadata::<Option<i64>>("alarm made")?.flatten();
        let sql = "SELECT scheduled, due, retries FROM _cf_ALARM";
        self.own(|connection| {
            let row = |row: &rusqlite::Row<'_>| {
                Ok(AlarmRow { scheduled: row.get(0)?, due: row.get(1)?, retries: row.get(2)?, made })
            };
            connection.query_row(sql, [], row).optional()
        })
    }

    /// The number of timers.
    pub(super) fn timers(&self) -> rusqlite::Result<u64> {
        if self.has_table(TIMERS)? { self.count(TIMERS) } else { Ok(0) }
    }

    /// Shows the timers one by one, until `each` breaks it off.
    pub(super) fn each_timer(&self, mut each: impl FnMut(TimerDetails) -> ControlFlow<()>) -> rusqlite::Result<()> {
        if !self.has_table(TIMERS)? {
            return Ok(());
        }
        self.own(|connection| {
            let mut statement = connection.prepare(EACH_TIMER)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let timer = TimerDetails {
                    name: row.get(0)?,
                    scheduled: time(row.get(1)?),
                    due: row.get::<_, Option<i64>>(2)?.map(time),
                    cron: row.get(3)?,
                    retries: row.get(4)?,
                    failure: row.get(5)?,
                    payload_bytes: row.get::<_, i64>(6)?.unsigned_abs(),
                };
                if each(timer).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The number of keys.
    pub(super) fn keys(&self) -> rusqlite::Result<u64> {
        if self.has_table("_cf_KV")? { self.count("_cf_KV") } else { Ok(0) }
    }

    /// The object's tables, by name.
    pub(super) fn tables(&self) -> rusqlite::Result<Vec<TableDetails>> {
        let names: Vec<String> =
            self.own(|connection| connection.prepare(TABLES)?.query_map([], |row| row.get(0))?.collect())?;
        names.into_iter().map(|name| Ok(TableDetails { rows: self.count(&name)?, name })).collect()
    }

    pub(super) fn has_table(&self, name: &str) -> rusqlite::Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?)";
        self.own(|connection| connection.query_row(sql, [name], |row| row.get(0)))
    }

    pub(super) fn count(&self, table: &str) -> rusqlite::Result<u64> {
        // count(*) is one step of SQLite's, however large the table is, and the clock is looked at between steps.
        let sql = format!("SELECT count(1) FROM {}", quoted(table));
        let count = self.own(|connection| connection.query_row(&sql, [], |row| row.get::<_, i64>(0)))?;
        Ok(count.unsigned_abs())
    }

    fn metadata<T: rusqlite::types::FromSql>(&self, key: &str) -> rusqlite::Result<Option<T>> {
        if !self.has_table("_cf_METADATA")? {
            return Ok(None); // a file of an older version
        }
        let sql = "SELECT value FROM _cf_METADATA WHERE key = ?";
        self.own(|connection| connection.query_row(sql, [key], |row| row.get(0)).optional())
    }

    fn own<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        self.trusted.store(true, Ordering::Relaxed);
        let result = work(&self.connection);
        self.trusted.store(false, Ordering::Relaxed);
        result
    }
}

/// Size of a value in memory, in bytes.
fn size(value: &Value) -> usize {
    let beside = match value {
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
        Value::Null | Value::Integer(_) | Value::Real(_) => 0,
    };
    size_of::<Value>() + beside
}

/// Opens a file that nobody changes: SQLite takes no lock and creates nothing beside it.
pub(super) fn open_unchanged(file: &Path) -> rusqlite::Result<Connection> {
    let text = file.to_string_lossy();
    let mut uri = String::from("file:");
    for char in text.chars() {
        match char {
            '%' => uri.push_str("%25"),
            '?' => uri.push_str("%3f"),
            '#' => uri.push_str("%23"),
            _ => uri.push(char),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(uri, flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_and_counts_end_with_their_time_and_are_not_taken_for_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let sql = "CREATE TABLE t (a);
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO t SELECT i FROM n";
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let snapshot = Snapshot::take(&path, false).unwrap().unwrap();
        let mut reader = Reader::open(snapshot, &path).unwrap();
        reader.bound(Some(Duration::ZERO)).unwrap();
        assert_eq!(reader.problem().unwrap_err().kind(), ErrorKind::Sql);
        assert!(reader.count("t").is_err());
        assert!(reader.overdue(CHECK).unwrap().message().contains("took longer than 0ns"));
        reader.bound(None).unwrap();
        assert_eq!(reader.problem().unwrap(), None);
        assert_eq!(reader.count("t").unwrap(), 5000);
        assert!(reader.overdue(CHECK).is_none());
    }
}
