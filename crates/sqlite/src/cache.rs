//! Prepared statements that are kept for their next run.
//!
//! Preparing a statement costs more than running most of them. A prepared one belongs to its connection: it is taken out to be
//! used, so no two uses meet, and comes back reset and without bindings. SQLite itself notices a changed schema, and prepares it
//! anew.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

use rusqlite::Connection;

use crate::prepared::{Parked, Prepared};

/// Statements of one connection that have run and may run again, by their SQL. When it is full, the one that has not been used for
/// longest goes.
///
/// SQLite prepares a statement anew, authorizer and all, where the schema has changed since. What the authorizer has learnt while
/// a statement was prepared it does not learn again: keep only statements of which that is right.
///
/// Drop it before its connection: one that has statements is not closed.
///
/// ```
/// use isobar_sqlite::{StatementCache, prepare};
///
/// let connection = rusqlite::Connection::open_in_memory()?;
/// let cache = StatementCache::new(16);
/// let sql = "SELECT 'a' AS name";
/// assert!(cache.take(&connection, sql).is_none());
/// let (statement, _) = prepare(&connection, sql).map_err(|failure| failure.message)?;
/// cache.keep(sql, statement.ok_or("a statement")?);
///
/// let mut statement = cache.take(&connection, sql).ok_or("a statement that is kept")?;
/// assert!(statement.step().map_err(|failure| failure.message)?);
/// assert_eq!(*statement.shared_columns(), ["name"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StatementCache {
    capacity: usize,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<Box<str>, Entry>,
    /// Statements that were kept so far.
    clock: u64,
}

struct Entry {
    /// `None` while the statement runs.
    parked: Option<Parked>,
    /// The clock when it was kept last.
    used: u64,
}

impl StatementCache {
    /// A cache of so many statements at most.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, state: RefCell::default() }
    }

    /// Takes the statement of this SQL out; `None` where there is none. It may have run before, and has no bindings.
    pub fn take<'c>(&self, connection: &'c Connection, sql: &str) -> Option<Prepared<'c>> {
        self.state.borrow_mut().entries.get_mut(sql)?.parked.take()?.resume(connection)
    }

    /// Keeps a statement for its next run: one that [`take`](Self::take) gave, or that the SQL was prepared to, whole.
    pub fn keep(&self, sql: &str, statement: Prepared<'_>) {
        let parked = Some(statement.park());
        let mut state = self.state.borrow_mut();
        state.clock += 1;
        let used = state.clock;
        if let Some(entry) = state.entries.get_mut(sql) {
            *entry = Entry { parked, used };
            return;
        }
        if state.entries.len() >= self.capacity {
            let oldest = state.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(sql, _)| sql.clone());
            oldest.map(|sql| state.entries.remove(&sql));
        }
        state.entries.insert(sql.into(), Entry { parked, used });
    }

    /// Finalizes all statements.
    pub fn clear(&self) {
        self.state.borrow_mut().entries.clear();
    }
}

impl fmt::Debug for StatementCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatementCache").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use rusqlite::types::ValueRef;

    use super::*;
    use crate::prepare;

    fn prepared<'c>(connection: &'c Connection, sql: &str) -> Prepared<'c> {
        prepare(connection, sql).unwrap().0.unwrap()
    }

    #[test]
    fn full_cache_drops_the_least_recently_used_statement() {
        let connection = Connection::open_in_memory().unwrap();
        let cache = StatementCache::new(2);
        for sql in ["SELECT 1", "SELECT 2"] {
            cache.keep(sql, prepared(&connection, sql));
        }
        let first = cache.take(&connection, "SELECT 1").unwrap();
        cache.keep("SELECT 1", first);
        cache.keep("SELECT 3", prepared(&connection, "SELECT 3"));
        let kept = ["SELECT 1", "SELECT 2", "SELECT 3"].map(|sql| cache.take(&connection, sql).is_some());
        assert_eq!(kept, [true, false, true]);
    }

    #[test]
    fn a_statement_runs_on_its_own_connection_alone() {
        let connection = Connection::open_in_memory().unwrap();
        let other = Connection::open_in_memory().unwrap();
        let cache = StatementCache::new(2);
        cache.keep("SELECT 1", prepared(&connection, "SELECT 1"));
        assert!(cache.take(&other, "SELECT 1").is_none());
        assert!(cache.take(&connection, "SELECT 1").is_none(), "a statement of another connection is given up");
    }

    #[test]
    fn bindings_and_rows_of_an_earlier_run_are_gone() {
        let connection = Connection::open_in_memory().unwrap();
        let cache = StatementCache::new(2);
        let sql = "SELECT ?1";
        let mut statement = prepared(&connection, sql);
        statement.bind([ValueRef::Integer(7)]).unwrap();
        assert!(statement.step().unwrap());
        cache.keep(sql, statement);
        let mut statement = cache.take(&connection, sql).unwrap();
        assert!(statement.step().unwrap());
        assert_eq!(statement.row(|value| value.as_i64_or_null().unwrap()), [None]);
    }

    #[test]
    fn columns_follow_a_changed_schema() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (a)").unwrap();
        let cache = StatementCache::new(2);
        let sql = "SELECT * FROM t";
        for (change, columns) in [("SELECT 1", &["a"][..]), ("ALTER TABLE t ADD COLUMN b", &["a", "b"])] {
            connection.execute_batch(change).unwrap();
            for _ in 0..2 {
                let mut statement = cache.take(&connection, sql).unwrap_or_else(|| prepared(&connection, sql));
                assert!(!statement.step().unwrap());
                assert_eq!(*statement.shared_columns(), *columns);
                cache.keep(sql, statement);
            }
        }
    }

    #[test]
    fn statement_that_the_schema_no_longer_fits_says_where() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (a, b)").unwrap();
        let cache = StatementCache::new(2);
        let sql = "SELECT b FROM t";
        cache.keep(sql, prepared(&connection, sql));
        connection.execute_batch("ALTER TABLE t DROP COLUMN b").unwrap();
        let mut statement = cache.take(&connection, sql).unwrap();
        let failure = statement.step().unwrap_err();
        assert_eq!((failure.message.as_str(), failure.offset), ("no such column: b", Some(7)));
    }

    #[test]
    fn a_connection_outlives_a_statement_that_is_dropped_late() {
        let cache = StatementCache::new(2);
        let connection = Connection::open_in_memory().unwrap();
        cache.keep("SELECT 1", prepared(&connection, "SELECT 1"));
        let (connection, error) = connection.close().unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
        cache.clear();
        connection.close().unwrap();
    }
}
