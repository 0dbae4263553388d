//! An object's own SQL.

use std::sync::atomic::Ordering;

use isobar_sqlite::script::keyword;
use isobar_sqlite::{Failure, Prepared, Text};

use super::Storage;
use crate::host::convert::{from_sql, to_sql};
use crate::host::fault::TRANSACTION;
use crate::{Cursor, Error, ErrorKind, Result, Value, limits};

const ONLY_COMMENTS: &str = "SQL code did not contain a statement.";
const WRONG_BINDINGS: &str = "Wrong number of parameter bindings for SQL query.";
const EARLY_PARAMETER: &str =
    "When executing multiple SQL statements in a single call, only the last statement can have parameters.";

/// Characters that workerd skips between statements.
const SPACE: [char; 6] = [' ', '\t', '\n', '\r', '\u{b}', '\u{c}'];

const NUL: &str = "the SQL has a NUL in it: SQLITE_ERROR";

impl Storage {
    pub(in crate::host) fn exec(&self, sql: &str, values: &[Value]) -> Result<Cursor> {
        let wrong = |message: &str| Error::new(ErrorKind::Sql, message);
        if sql.len() > limits::SQL_BYTES {
            return Err(self.failed(&Failure::too_big().into())); // the limit is that of the whole script, as in workerd
        }
        let mut script = Script { storage: self, text: Text::new(sql), last: 0, at: 0 };
        while let Some(mut statement) = script.next()? {
            let count = statement.parameters();
            let is_last = script.is_at_end();
            if count > 0 && !is_last {
                return Err(wrong(EARLY_PARAMETER));
            }
            if is_last && count != values.len() {
                return Err(wrong(WRONG_BINDINGS));
            }
            if !statement.is_read_only() || self.writes.load(Ordering::Relaxed) {
                self.begin()?;
            }
            // The statement's own changes count, also where it fails; of definitions those that run statements of their own.
            let may_count = self.changes.is_kept() && !statement.is_read_only();
            let numbers = || (self.connection.changes(), self.connection.total_changes());
            let before = numbers();
            let ran = self.run(&mut statement, if is_last { values } else { &[] });
            if may_count && (script.counts() || numbers() != before) {
                self.changes.release();
            }
            if is_last {
                return ran;
            }
            ran?;
        }
        // A comment that follows a semicolon is taken for one more statement, as in workerd.
        Err(wrong(ONLY_COMMENTS))
    }

    fn run(&self, statement: &mut Prepared<'_>, values: &[Value]) -> Result<Cursor> {
        let failed = |failure: Failure| self.failed(&failure.into());
        statement.bind(values.iter().map(to_sql)).map_err(failed)?;
        let writes = !statement.is_read_only();
        let before = self.connection.total_changes();
        let mut more = statement.step().map_err(failed)?;
        let columns = statement.columns();
        let mut rows = Vec::new();
        while more {
            rows.push(statement.row(from_sql));
            more = statement.step().map_err(failed)?;
        }
        if let Some(counts) = statement.take_row_counts() {
            return Ok(Cursor::new(columns, rows, Some(counts.read), Some(counts.written)));
        }
        let written = if writes { self.connection.total_changes() - before } else { 0 };
        Ok(Cursor::new(columns, rows, None, Some(written)))
    }
}

/// A script that SQLite cuts into statements, each as it is needed: the next may use a table that this one creates.
struct Script<'s> {
    storage: &'s Storage,
    text: Text,
    /// Where the statement that was prepared last begins.
    last: usize,
    at: usize,
}

impl<'s> Script<'s> {
    fn next(&mut self) -> Result<Option<Prepared<'s>>> {
        let storage = self.storage;
        if self.at > 0 {
            // As in workerd: offsets in the errors of a later statement count from its first character.
            let rest = self.text.rest(self.at);
            self.at += rest.len() - rest.trim_start_matches(SPACE).len();
        }
        while !self.text.rest(self.at).is_empty() {
            storage.writes.store(false, Ordering::Relaxed);
            storage.controls.store(false, Ordering::Relaxed);
            let found = isobar_sqlite::prepare_next(&storage.connection, &storage.trusted, &self.text, self.at);
            let (statement, read) = found.map_err(|failure| match storage.controls.load(Ordering::Relaxed) {
                true => Error::new(ErrorKind::NotAuthorized, TRANSACTION),
                false => storage.failed(&failure.into()),
            })?;
            if read == 0 {
                return Err(Error::new(ErrorKind::Sql, NUL));
            }
            self.last = self.at;
            self.at += read;
            if statement.is_some() {
                return Ok(statement);
            }
        }
        Ok(None)
    }

    /// Returns whether the statement that was prepared last counts in `changes()` if it writes. One that defines something does not.
    fn counts(&self) -> bool {
        const COUNTED: [&str; 5] = ["INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"];
        COUNTED.contains(&keyword(self.text.rest(self.last)).as_str())
    }

    /// Returns whether nothing but space follows.
    fn is_at_end(&self) -> bool {
        self.text.rest(self.at).trim_start_matches(SPACE).is_empty()
    }
}
