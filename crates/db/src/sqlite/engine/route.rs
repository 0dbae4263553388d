//! The connection that statements go to, by their words.
//!
//! The words only guess, and a wrong guess costs time, never truth: a read that turns out to write is refused by the reader's
//! authorizer and run by the writer; work for the writer that turns out only to read is correct there. What must be certain is
//! that work in a *shared* transaction concerns rows alone, as a PRAGMA or a definition would concern the other tasks in it: in
//! doubt it runs alone.

use super::run::Access;
use crate::{Statement, sql};

/// The connection that work goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// One of those that read; the writer where only it can answer.
    Reader,
    /// The writer's, for work that only reads: neither a failed sync nor a full disk is in its way.
    ReadOnWriter,
    /// The writer's, in a transaction of its own.
    Writer,
    /// The writer's, for work on rows alone: it may share a transaction with other such work.
    Shared,
}

impl Route {
    /// The route in a transaction of its own.
    pub(super) fn alone(self) -> Self {
        if self == Self::Shared { Self::Writer } else { self }
    }

    /// Whether the work is taken for work that only reads.
    pub(super) fn access(self) -> Access {
        match self {
            Self::Reader | Self::ReadOnWriter => Access::Reads,
            Self::Writer | Self::Shared => Access::Writes,
        }
    }
}

/// The route of statements; `None` where all are empty. Empty ones are removed.
pub(super) fn route(statements: &mut Vec<Statement>) -> Option<Route> {
    let mut route = None;
    let mut previous: Option<(String, Route)> = None;
    statements.retain(|statement| {
        let sql = statement.sql();
        // A batch is often one statement with other values.
        let of_this = match &previous {
            Some((same, known)) if same == sql => Some(*known),
            _ => of_text(sql),
        };
        let Some(of_this) = of_this else { return false };
        route = Some(route.map_or(of_this, |route| joined(route, of_this)));
        if previous.as_ref().is_none_or(|(same, _)| same != sql) {
            previous = Some((sql.to_owned(), of_this));
        }
        true
    });
    route
}

/// The route of two pieces of work together.
fn joined(one: Route, other: Route) -> Route {
    match (one, other) {
        (one, other) if one == other => one,
        (Route::Writer, _) | (_, Route::Writer) => Route::Writer,
        (Route::Shared, other) | (other, Route::Shared) => match other {
            // A PRAGMA's answer may depend on the transaction that it is in.
            Route::ReadOnWriter => Route::Writer,
            _ => Route::Shared,
        },
        _ => Route::ReadOnWriter,
    }
}

/// The route of a text of one or several statements; `None` where D1 takes it as not SQL.
fn of_text(text: &str) -> Option<Route> {
    let keyword = sql::keyword(text);
    if keyword.is_empty() && is_blank(text) {
        return None;
    }
    let changes_rows = ["INSERT", "UPDATE", "DELETE", "REPLACE"].contains(&keyword.as_str());
    if !changes_rows && sql::split(text).all(sql::is_read) {
        // The answer of a PRAGMA is the writer's: only its connection has D1's settings and `data_version`.
        let is_of_the_writer = sql::split(text).any(sql::is_pragma);
        return Some(if is_of_the_writer { Route::ReadOnWriter } else { Route::Reader });
    }
    let works_on_rows = changes_rows || ["WITH", "SELECT", "VALUES"].contains(&keyword.as_str());
    Some(if works_on_rows && !names_more_than_rows(text) { Route::Shared } else { Route::Writer })
}

/// Returns whether a text may hold a statement that concerns more than rows: one behind the first that is not of their kind, or a
/// PRAGMA, whose setting would last until the end of the transaction.
fn names_more_than_rows(text: &str) -> bool {
    const PRAGMA: &[u8] = b"pragma";
    if text.as_bytes().windows(PRAGMA.len()).any(|window| window.eq_ignore_ascii_case(PRAGMA)) {
        return true;
    }
    const OF_ROWS: [&str; 7] = ["INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "SELECT", "VALUES"];
    text.contains(';') && sql::split(text).any(|statement| !OF_ROWS.contains(&sql::keyword(statement).as_str()))
}

/// Returns whether D1 takes the text as not SQL; other comments count as SQL without a statement.
fn is_blank(sql: &str) -> bool {
    sql.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with("--"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&'static str]) -> Option<Route> {
        route(&mut texts.iter().map(|text| Statement::new(*text)).collect())
    }

    #[test]
    fn only_work_on_rows_shares_a_transaction() {
        for (texts, expected) in [
            (&["INSERT INTO t VALUES (1)"][..], Some(Route::Shared)),
            (&["update t set a = 1", "DELETE FROM t", "SELECT 1"], Some(Route::Shared)),
            (&["WITH c AS (SELECT 1) INSERT INTO t SELECT * FROM c"], Some(Route::Shared)),
            (&["INSERT INTO t VALUES (1); SELECT 1"], Some(Route::Shared)),
            (&["INSERT INTO t VALUES (1); DROP TABLE t"], Some(Route::Writer)),
            (&["INSERT INTO t VALUES (1); Pragma defer_foreign_keys = 1"], Some(Route::Writer)),
            (&["PRAGMA defer_foreign_keys = 1", "INSERT INTO t VALUES (1)"], Some(Route::Writer)),
            (&["INSERT INTO t VALUES (1)", "PRAGMA table_info(t)"], Some(Route::Writer)),
            (&["CREATE TABLE t (a)"], Some(Route::Writer)),
            (&["SELECT 1", "INSERT INTO t VALUES (1)", "ANALYZE"], Some(Route::Writer)),
            (&["SELECT * FROM pragma_optimize"], Some(Route::Writer)),
            (&["SELECT 1", "VALUES (2)"], Some(Route::Reader)),
            (&["SELECT 1", "PRAGMA table_list"], Some(Route::ReadOnWriter)),
            (&["EXPLAIN DELETE FROM t"], Some(Route::Reader)),
            (&["/* a comment */"], Some(Route::Reader)),
            (&["", " -- a\n--b"], None),
        ] {
            assert_eq!(of(texts), expected, "{texts:?}");
        }
        let mut statements = vec![Statement::new("-- a"), Statement::new("SELECT 1"), Statement::new("")];
        assert_eq!((route(&mut statements), statements.len()), (Some(Route::Reader), 1));
    }
}
