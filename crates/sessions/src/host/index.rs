//! The index's database: the objects of a host, and the times at which they are woken.
//!
//! One row for each object that has stored something: id, name, the time to wake it, the time at which that was set, and
//! whether it has a file. It is a copy of what the objects' files say, for two questions that cannot open a million files:
//! which objects are there, and which is to be woken next. So it may be lost, and it may be behind in one direction only: it
//! wakes too early, never too late.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::Connection;

use super::disk;
use super::fault::{self, Fault};
use crate::{Error, ErrorKind};

/// When to wake an object, in Unix milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wakeup {
    pub(super) at: i64,
    /// Time at which the alarm was set.
    pub(super) made: i64,
}

/// Opens the index's database.
pub(super) fn open(path: Option<&Path>) -> rusqlite::Result<Connection> {
    let index = path.map_or_else(Connection::open_in_memory, Connection::open)?;
    index.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE IF NOT EXISTS objects (id BLOB PRIMARY KEY, name TEXT, alarm INTEGER, made INTEGER, stored INTEGER)
             WITHOUT ROWID;
         CREATE INDEX IF NOT EXISTS objects_alarm ON objects (alarm) WHERE alarm IS NOT NULL;",
    )?;
    for column in ["made", "stored"] {
        let sql = "SELECT count(*) FROM pragma_table_info('objects') WHERE name = ?";
        if index.query_row(sql, [column], |row| row.get::<_, i64>(0))? == 0 {
            index.execute_batch(&format!("ALTER TABLE objects ADD COLUMN {column} INTEGER"))?; // of an older version
        }
    }
    Ok(index)
}

/// Returns the objects to wake, and when.
pub(super) fn wakeups(index: &Connection) -> rusqlite::Result<HashMap<[u8; 32], Wakeup>> {
    let mut statement = index.prepare("SELECT id, alarm, coalesce(made, 0) FROM objects WHERE alarm IS NOT NULL")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, Wakeup { at: row.get(1)?, made: row.get(2)? })))?;
    rows.collect()
}

/// Converts an error of the index, which is under `root`, and names its file.
pub(super) fn failure(error: &rusqlite::Error, root: Option<&Path>) -> Error {
    let place = root.map(|root| format!(" ({})", root.join(disk::INDEX).display())).unwrap_or_default();
    let kind = Fault::of(error).map_or(ErrorKind::Storage, Fault::kind);
    Error::new(kind, format!("the index of session objects{place}: {}", fault::failure(error)))
}
