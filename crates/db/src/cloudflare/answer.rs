//! D1's answers, by the binding and over REST alike.
//!
//! D1 answers an error as one text. The kind is read from its end, where SQLite's name of the code stands, or from
//! D1's own words where there is none. Words that are not known are `Internal`, which nobody repeats.
//!
//! `read_only` and `with_result_bytes` have no counterpart in D1: the first is judged by the words before anything
//! is sent, the second when the answer is here.

use crate::statement::VALUE_COUNTS;
use crate::{Constraint, Error, ErrorKind, QueryResult, Result, Statement, Value, sql};

/// Refuses statements that may only read and whose words say that they write: D1 itself would run them.
pub(super) fn check_reads(statements: &[&Statement]) -> Result<()> {
    let writes = |statement: &&&Statement| statement.is_read_only() && !sql::split(statement.sql()).all(sql::is_read);
    match statements.iter().find(writes) {
        None => Ok(()),
        Some(statement) => {
            let message = "not authorized: the statement may only read, and its words say that it writes";
            Err(Error::new(ErrorKind::NotAuthorized, message).with_sql(statement.sql()))
        }
    }
}

/// Refuses an answer whose rows have more bytes than their statements allow.
pub(super) fn check_bytes(statements: &[&Statement], results: &[QueryResult]) -> Result<()> {
    let length = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
        Value::Null | Value::Integer(_) | Value::Real(_) => 0,
    };
    let mut used = 0;
    for (statement, result) in statements.iter().zip(results) {
        let Some(most) = statement.result_bytes() else { continue };
        let values = result.rows.iter().flat_map(|row| row.values());
        used += values.map(|value| VALUE_COUNTS + length(value)).sum::<usize>();
        if used > most {
            let message =
                format!("the rows of the answer have more than {most} bytes, and what was written is written");
            return Err(Error::new(ErrorKind::TooBig, message).with_sql(statement.sql()));
        }
    }
    Ok(())
}

/// The error of a text of D1's: `D1_ERROR: <message>: <SQLite's name of the code>`.
pub(super) fn failure(text: &str) -> Error {
    let (prefix, message) = match text.split_once(": ") {
        Some((prefix, message)) if prefix.starts_with("D1_") => (prefix, message),
        _ => ("D1_ERROR", text),
    };
    let error = Error::new(kind(message), message);
    if prefix == "D1_EXEC_ERROR" { error.with_exec_prefix() } else { error }
}

/// The kind of a text, without its prefix. The order of the questions matters: the extended name, the words of a
/// constraint, refusals, the name of the code, D1's own words.
fn kind(message: &str) -> ErrorKind {
    if let Some((_, extended)) = message.rsplit_once("(extended: SQLITE_CONSTRAINT_") {
        return ErrorKind::Constraint(match extended.trim_end_matches(')') {
            "UNIQUE" => Constraint::Unique,
            "PRIMARYKEY" | "ROWID" => Constraint::PrimaryKey,
            "NOTNULL" => Constraint::NotNull,
            "FOREIGNKEY" => Constraint::ForeignKey,
            "CHECK" => Constraint::Check,
            _ => Constraint::Other,
        });
    }
    // Production D1 leaves the extended name out; SQLite's words say as much.
    if let Some(constraint) = constraint(message) {
        return ErrorKind::Constraint(constraint);
    }
    if message.starts_with("not authorized") || message.contains("To execute a transaction, please use") {
        return ErrorKind::NotAuthorized;
    }
    match message.rsplit_once(": SQLITE_").map(|(_, name)| name) {
        Some("AUTH") => ErrorKind::NotAuthorized,
        Some("TOOBIG") => ErrorKind::TooBig,
        Some("CONSTRAINT") => ErrorKind::Constraint(Constraint::Other),
        Some("BUSY" | "LOCKED" | "INTERRUPT") => ErrorKind::Unavailable,
        Some("FULL") => ErrorKind::StorageFull,
        Some("CORRUPT" | "NOTADB") => ErrorKind::Corrupt,
        Some("ERROR" | "MISMATCH" | "RANGE") => ErrorKind::Sql,
        Some(_) => ErrorKind::Internal,
        None if message.contains("parameter") || message.contains("statement") => ErrorKind::Sql,
        None => unnamed(message),
    }
}

/// SQLite's words of a constraint that does not hold.
fn constraint(message: &str) -> Option<Constraint> {
    if !message.ends_with("SQLITE_CONSTRAINT") {
        return None;
    }
    let table = [
        ("UNIQUE constraint failed", Constraint::Unique),
        ("NOT NULL constraint failed", Constraint::NotNull),
        ("FOREIGN KEY constraint failed", Constraint::ForeignKey),
        ("CHECK constraint failed", Constraint::Check),
    ];
    table.iter().find(|(words, _)| message.contains(words)).map(|(_, constraint)| *constraint)
}

/// D1's own words, which carry no name of SQLite's. Source: D1's documentation, "Debug D1", "Error list".
fn unnamed(message: &str) -> ErrorKind {
    let passing = [
        "Network connection lost",
        "caused object to be reset",
        "reset because its code was updated",
        "Cannot resolve D1 DB due to transient issue",
        "Can't read from request stream because client disconnected",
        "D1 DB is overloaded",
        "D1 DB reset because",
    ];
    // The same query would do so again: it must become smaller.
    let too_much = ["exceeded its CPU time limit", "exceeded its memory limit", "Exceeded maximum DB size"];
    if too_much.iter().any(|text| message.contains(text)) {
        ErrorKind::TooBig
    } else if passing.iter().any(|text| message.contains(text)) {
        ErrorKind::Unavailable
    } else if message.contains("No SQL statements detected") {
        ErrorKind::Sql
    } else {
        ErrorKind::Internal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_d1_have_kinds() {
        let table = [
            ("D1_ERROR: near \"SELEC\": syntax error at offset 0: SQLITE_ERROR", ErrorKind::Sql),
            ("D1_ERROR: No SQL statements detected.", ErrorKind::Sql),
            ("D1_ERROR: Wrong number of parameter bindings for SQL query.", ErrorKind::Sql),
            ("D1_ERROR: not authorized to use function: x at offset 7: SQLITE_ERROR", ErrorKind::NotAuthorized),
            ("D1_ERROR: statement too long: SQLITE_TOOBIG", ErrorKind::TooBig),
            (
                "D1_ERROR: x: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_CHECK)",
                ErrorKind::Constraint(Constraint::Check),
            ),
            (
                "D1_ERROR: UNIQUE constraint failed: users.email: SQLITE_CONSTRAINT",
                ErrorKind::Constraint(Constraint::Unique),
            ),
            ("D1_ERROR: Network connection lost.", ErrorKind::Unavailable),
            (
                "D1_ERROR: D1 DB storage operation exceeded timeout which caused object to be reset.",
                ErrorKind::Unavailable,
            ),
            ("D1_ERROR: Cannot resolve D1 DB due to transient issue on remote node.", ErrorKind::Unavailable),
            ("D1_ERROR: D1 DB exceeded its CPU time limit and was reset.", ErrorKind::TooBig),
            ("D1_ERROR: Your account has exceeded D1's maximum account storage limit", ErrorKind::Internal),
            ("internal error; reference = abc", ErrorKind::Internal),
        ];
        for (text, kind) in table {
            assert_eq!((text, failure(text).kind()), (text, kind));
        }
        let exec = "D1_EXEC_ERROR: Error in line 1: SELEC: near \"SELEC\": syntax error at offset 0: SQLITE_ERROR";
        assert_eq!((failure(exec).to_string().as_str(), failure(exec).kind()), (exec, ErrorKind::Sql));
    }
}
