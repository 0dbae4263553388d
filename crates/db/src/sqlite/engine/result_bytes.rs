//! The bound on the rows of a call: see [`Statement::with_result_bytes`].
//!
//! The count is kept while rows are read, so that a result that is too large is never in memory as a whole: the
//! value that goes beyond the bound is not copied, and the statement ends with its row.

use std::cell::Cell;

use isobar_sqlite::Failure;
use rusqlite::ffi;
use rusqlite::types::ValueRef;

use crate::sqlite::values::from_sql;
use crate::statement::VALUE_COUNTS;
use crate::{Statement, Value};

/// Bytes of the rows of a call so far, and the most that the statement at hand lets them have.
#[derive(Debug, Default)]
pub(super) struct ResultBytes {
    used: Cell<usize>,
    most: Cell<Option<usize>>,
}

impl ResultBytes {
    /// Sets the bound of the statement that is run next.
    pub(super) fn begin(&self, statement: &Statement) {
        self.most.set(statement.result_bytes());
    }

    /// Takes a value of a row. One that there is no room for is not copied: `NULL` stands in its place, and [`check`](Self::check) fails.
    pub(super) fn take(&self, value: ValueRef<'_>) -> Value {
        let Some(most) = self.most.get() else { return from_sql(value) };
        let length = match value {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 0,
        };
        let used = self.used.get().saturating_add(VALUE_COUNTS + length);
        self.used.set(used);
        if used > most { Value::Null } else { from_sql(value) }
    }

    /// Fails where the rows so far have more bytes than they may: after each row.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let Some(most) = self.most.get().filter(|most| self.used.get() > *most) else { return Ok(()) };
        let message =
            format!("the rows of the answer have more than {most} bytes: ask for fewer of them, or for less of each");
        Err(Failure { code: ffi::SQLITE_TOOBIG, message, offset: None, system: 0 })
    }
}
