//! Postgres' errors as this crate's, by SQLSTATE and fields.
//!
//! A violated constraint has SQLite's words, so that programs which look at D1's texts go on; other errors have Postgres' own message,
//! with the state behind it. No value of a row is in them: Postgres has those in the detail alone, which is left out.

use std::time::Duration;

use tokio_postgres::error::{DbError, SqlState};

use crate::error::Named;
use crate::{Constraint, Error, ErrorKind};

/// A failure, and whether the whole transaction may be run again.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) remedy: Remedy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    None,
    /// Another transaction was quicker: run it again, after a wait.
    Again,
    /// The statement has to be prepared in another way, which the connection has noted: run it again at once.
    Prepare,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, remedy: Remedy::None }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let overtaken = [&SqlState::T_R_SERIALIZATION_FAILURE, &SqlState::T_R_DEADLOCK_DETECTED];
        let remedy = match error.code() {
            Some(code) if overtaken.contains(&code) => Remedy::Again,
            // Two have created the same table at once: the second finds it next time.
            Some(code) if *code == SqlState::UNIQUE_VIOLATION && is_of_catalog(&error) => Remedy::Again,
            _ if is_stale_plan(&error) => Remedy::Prepare,
            _ => Remedy::None,
        };
        Self { error: of(error), remedy }
    }
}

fn is_of_catalog(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| error.schema() == Some("pg_catalog"))
}

/// Returns whether a table has other columns than when the statement was prepared. The routine is named, as the message may be in another
/// language.
pub(super) fn is_stale_plan(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        *error.code() == SqlState::FEATURE_NOT_SUPPORTED && error.routine() == Some("RevalidateCachedQuery")
    })
}

/// Returns whether the types of the parameters do not follow from the text.
pub(super) fn is_ambiguous(error: &tokio_postgres::Error) -> bool {
    let unclear = [
        &SqlState::AMBIGUOUS_FUNCTION,
        &SqlState::AMBIGUOUS_PARAMETER,
        &SqlState::DATATYPE_MISMATCH,
        &SqlState::INDETERMINATE_DATATYPE,
    ];
    error.code().is_some_and(|code| unclear.contains(&code))
}

/// The remedy where an operand of `||` is of another type than the translation lets through.
const NOT_A_TEXT: &str = " (an operand of || is neither a text nor an integer, and its text may not be SQLite's)";

/// The error of a statement or of a connection.
pub(super) fn of(error: tokio_postgres::Error) -> Error {
    let Some(database) = error.as_db_error() else {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        let kind = if cause.contains("password") { ErrorKind::PermissionDenied } else { ErrorKind::Unavailable };
        return Error::new(kind, format!("{error}{cause}")).with_source(error);
    };
    let state = database.code().code();
    let violated = match state {
        "23505" | "23P01" => Some(unique(database)),
        "23502" => Some(not_null(database)),
        "23503" => Some(foreign_key(database)),
        "23514" => Some(check(database)),
        _ => None,
    };
    if let Some((constraint, message, named)) = violated {
        return Error::new(ErrorKind::Constraint(constraint), message).with_source(named);
    }
    let hint = database.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    let guard = if state == "42846" && database.message().contains(" oid") { NOT_A_TEXT } else { "" };
    Error::new(kind(state), format!("{}{hint}{guard}: {state}", database.message()))
}

fn named(database: &DbError) -> Named {
    let text = |text: Option<&str>| text.map(str::to_owned);
    Named { table: text(database.table()), columns: Vec::new(), name: text(database.constraint()) }
}

fn unique(database: &DbError) -> (Constraint, String, Named) {
    let mut named = named(database);
    let table = named.table.clone().unwrap_or_default();
    let name = named.name.clone().unwrap_or_default();
    let key = database.detail().and_then(key).filter(|key| !key.contains('('));
    let constraint = if name == format!("{table}_pkey") { Constraint::PrimaryKey } else { Constraint::Unique };
    let Some(key) = key else {
        // As SQLite: an index of expressions is named, and its table is not.
        named.table = None;
        return (constraint, format!("UNIQUE constraint failed: index '{name}'"), named);
    };
    named.columns = key.split(", ").map(|column| column.trim_matches('"').to_owned()).collect();
    let columns: Vec<_> = named.columns.iter().map(|column| format!("{table}.{column}")).collect();
    named.name = None;
    (constraint, format!("UNIQUE constraint failed: {}", columns.join(", ")), named)
}

/// The columns in `Key (tenant, email)=(1, a) already exists.`, in whatever language.
fn key(detail: &str) -> Option<&str> {
    let start = detail.find('(')? + 1;
    let end = start + detail[start..].find(")=(")?;
    Some(&detail[start..end])
}

fn not_null(database: &DbError) -> (Constraint, String, Named) {
    let mut named = named(database);
    let table = named.table.as_deref().unwrap_or_default();
    let column = database.column().unwrap_or_default();
    let message = format!("NOT NULL constraint failed: {table}.{column}");
    named.columns = database.column().map(str::to_owned).into_iter().collect();
    (Constraint::NotNull, message, named)
}

fn foreign_key(database: &DbError) -> (Constraint, String, Named) {
    (Constraint::ForeignKey, "FOREIGN KEY constraint failed".to_owned(), named(database))
}

fn check(database: &DbError) -> (Constraint, String, Named) {
    let message = format!("CHECK constraint failed: {}", database.constraint().unwrap_or_default());
    (Constraint::Check, message, named(database))
}

/// The kind of an error with this SQLSTATE. Source: PostgreSQL's documentation, "PostgreSQL Error Codes".
fn kind(state: &str) -> ErrorKind {
    match state {
        // Another transaction was quicker, or each waits for the other.
        "40001" | "40P01" => ErrorKind::Conflict,
        "25006" => ErrorKind::NotAuthorized,
        "42501" | "3D000" => ErrorKind::PermissionDenied,
        "53100" => ErrorKind::StorageFull,
        "22001" => ErrorKind::TooBig,
        "XX001" | "XX002" => ErrorKind::Corrupt,
        // Cancelled, by the time limit or an operator; a lock that is not free.
        "57014" | "55P03" | "55006" => ErrorKind::Unavailable,
        _ => match state.get(..2).unwrap_or_default() {
            "28" => ErrorKind::PermissionDenied,
            "08" | "53" | "57" | "58" => ErrorKind::Unavailable,
            "54" => ErrorKind::TooBig,
            "23" => ErrorKind::Constraint(Constraint::Other),
            "0A" | "22" | "42" | "21" | "2B" | "2F" | "P0" => ErrorKind::Sql,
            _ => ErrorKind::Internal,
        },
    }
}

/// The error of a query or batch beyond its time limit.
pub(super) fn too_long(limit: Duration) -> Error {
    let message = format!("the statements have taken longer than {limit:?}, their time limit, and were rolled back");
    Error::new(ErrorKind::Unavailable, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_kinds_by_class_where_they_have_none_of_their_own() {
        let kinds = ["40001", "08006", "53300", "53100", "42P01", "22P02", "23000", "28P01", "XX000"].map(kind);
        let other = ErrorKind::Constraint(Constraint::Other);
        use ErrorKind::{Conflict, Internal, PermissionDenied, Sql, StorageFull, Unavailable};
        assert_eq!(
            kinds,
            [Conflict, Unavailable, Unavailable, StorageFull, Sql, Sql, other, PermissionDenied, Internal]
        );
    }

    #[test]
    fn the_columns_of_a_key_are_read_in_any_language() {
        assert_eq!(key("Key (tenant, email)=(1, a) already exists."), Some("tenant, email"));
        assert_eq!(key("Schlüssel »(a)=(1)« existiert bereits."), Some("a"));
        assert_eq!(key("no key"), None);
    }
}
