//! Reads that can be verified: digests of their rows, and guards that compute them again.
//!
//! A digest is made by SQL itself, of each row: the kind of each value, the bytes of texts and blobs in hexadecimal, all digits
//! of numbers. So it is exact on D1 too, where a value on its way through JavaScript may have been rounded. A guard is the same
//! statement within an expression that fails, with a text of ours, where the digests differ; it stands first in the batch that
//! writes.

use std::sync::Arc;

use crate::{Error, ErrorKind, QueryResult, Result, Row, Statement, Value, sql};

/// Name of the common table expression around a read; no table of a user has it.
const READ: &str = "isobar_read";

/// A read of a transaction.
#[derive(Debug)]
pub(super) struct Query {
    /// The statement alone, with numbered parameters.
    statement: Statement,
}

/// A read's result, as the final batch compares it.
///
/// Its size in the batch is that of the result in hexadecimal, twice the bytes of texts and blobs; D1's limit of a
/// value bounds it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Guard {
    sql: String,
    parameters: Vec<Value>,
    columns: usize,
    /// Digests of the rows in their order; `None` where there is no row.
    digest: Option<String>,
}

impl Query {
    /// Checks that the statement is one that can be run again within another.
    pub(super) fn parse(statement: &Statement) -> Result<Self> {
        let mut statements = sql::split(statement.sql());
        let (Some(only), None) = (statements.next(), statements.next()) else {
            return Err(unsupported("it must be exactly one statement"));
        };
        if !["SELECT", "VALUES", "WITH"].contains(&sql::keyword(only).as_str()) || !sql::is_read(only) {
            return Err(unsupported(
                "only SELECT, VALUES and WITH can be verified; statements that write go to write()",
            ));
        }
        let (numbered, count) = sql::number_parameters(only);
        if count != statement.parameters().len() {
            return Err(Error::new(ErrorKind::Sql, crate::statement::WRONG_BINDINGS));
        }
        Ok(Self { statement: statement.rewritten(numbered.into_owned(), statement.parameters().to_vec()) })
    }

    pub(super) fn sql(&self) -> &str {
        self.statement.sql()
    }

    /// The read with the digest of each row as its last column.
    pub(super) fn with_digests(&self, columns: usize) -> Statement {
        let sql = format!("{} SELECT *, {} FROM {READ}", with(self.sql(), columns), digest(0, columns));
        self.statement.rewritten(sql, self.statement.parameters().to_vec()).rows_only()
    }

    /// Takes the digests out of a result.
    pub(super) fn split(&self, result: QueryResult, columns: &Arc<[String]>) -> Result<(QueryResult, Guard)> {
        let mut rows = Vec::with_capacity(result.rows.len());
        let mut digests = Vec::with_capacity(result.rows.len());
        for row in &result.rows {
            let Some((Value::Text(digest), values)) = row.values().split_last() else {
                return Err(Error::new(ErrorKind::Internal, "a row came without its digest"));
            };
            digests.push(digest.as_str());
            rows.push(Row::new(Arc::clone(columns), values.to_vec()));
        }
        let guard = Guard {
            sql: self.sql().to_owned(),
            parameters: self.statement.parameters().to_vec(),
            columns: columns.len(),
            digest: (!digests.is_empty()).then(|| digests.join(";")),
        };
        Ok((QueryResult::new(columns.to_vec(), rows, result.meta), guard))
    }
}

impl Guard {
    pub(super) fn sql(&self) -> &str {
        &self.sql
    }

    /// Returns whether the other one is of the same statement with the same parameters.
    pub(super) fn is_same_read(&self, other: &Self) -> bool {
        self.sql == other.sql && self.parameters == other.parameters
    }

    /// The statement that fails where the read would have another result now. `json_extract` of a path that is none is the error
    /// that D1 allows and whose text the statement chooses.
    pub(super) fn statement(&self, index: usize) -> Statement {
        let sql = format!(
            "{} SELECT CASE WHEN (SELECT group_concat(digest, ';') FROM (SELECT {} AS digest FROM {READ})) IS ?{} THEN 1 \
             ELSE json_extract('{{}}', '{READ}_{index}_changed') END AS unchanged",
            with(&self.sql, self.columns),
            digest(0, self.columns),
            self.parameters.len() + 1
        );
        Statement::new(sql).bind_all(self.parameters.iter().cloned()).bind(self.digest.clone())
    }
}

/// The number of the guard that failed, if the error is a guard's.
pub(super) fn changed(error: &Error) -> Option<usize> {
    let (_, rest) = error.message().split_once(&format!("{READ}_"))?;
    rest.split_once("_changed")?.0.parse().ok()
}

/// Returns whether the read has another number of columns than it had: its table was altered.
pub(super) fn is_other_shape(error: &Error) -> bool {
    error.kind() == ErrorKind::Sql && error.message().contains(&format!("table {READ} has "))
}

fn unsupported(why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("a transaction cannot read by this statement: {why}"))
}

/// The read under a name, with columns that are numbered.
fn with(sql: &str, columns: usize) -> String {
    let names: Vec<_> = (0..columns).map(|column| format!("c{column}")).collect();
    format!("WITH {READ}({}) AS ({})", names.join(", "), sql::closed(sql))
}

/// The expression of a row's digest: for each column kind and bytes of text and blobs, all digits of numbers. Commas and semicolons
/// are in none of them. It is a balanced tree, since D1 allows a depth of 100.
fn digest(from: usize, to: usize) -> String {
    match to - from {
        0 => "''".to_owned(),
        1 => format!(
            "CASE typeof(c{from}) WHEN 'text' THEN 't'||hex(c{from}) WHEN 'blob' THEN 'b'||hex(c{from}) ELSE quote(c{from}) END"
        ),
        count => {
            let middle = from + count / 2;
            format!("({}||','||{})", digest(from, middle), digest(middle, to))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_cannot_be_run_again_are_refused() {
        for sql in ["SELECT 1; SELECT 2", "", "INSERT INTO t VALUES (1)", "PRAGMA table_info(t)", "EXPLAIN SELECT 1"] {
            assert_eq!(Query::parse(&Statement::new(sql)).unwrap_err().kind(), ErrorKind::Unsupported, "{sql}");
        }
        let unbound = Query::parse(&Statement::new("SELECT ?, ?").bind(1)).unwrap_err();
        assert_eq!(unbound.message(), "Wrong number of parameter bindings for SQL query.");
    }

    #[test]
    fn the_digest_of_a_hundred_columns_is_a_shallow_tree() {
        let depth = digest(0, 99).bytes().fold((0, 0), |(now, most): (i32, i32), byte| match byte {
            b'(' => (now + 1, most.max(now + 1)),
            b')' => (now - 1, most),
            _ => (now, most),
        });
        assert!(depth.1 < 10, "{depth:?}");
        assert!(digest(0, 99).len() < 20_000);
    }

    #[test]
    fn the_error_of_a_guard_is_known_in_the_words_of_every_version_of_sqlite() {
        for text in [
            "bad JSON path: 'isobar_read_3_changed': SQLITE_ERROR",
            "JSON path error near 'isobar_read_3_changed': SQLITE_ERROR",
        ] {
            assert_eq!(changed(&Error::new(ErrorKind::Sql, text)), Some(3));
        }
        assert_eq!(changed(&Error::new(ErrorKind::Sql, "malformed JSON: SQLITE_ERROR")), None);
    }
}
