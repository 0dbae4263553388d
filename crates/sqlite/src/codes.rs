//! SQLite's names of its result codes.
//!
//! workerd shows the extended name of constraints alone, behind the primary one; that text is part of D1's errors,
//! which programs match on.

use std::ffi::c_int;

use rusqlite::ffi;

/// SQLite's name of an extended result code, as workerd writes it.
///
/// ```
/// use isobar_sqlite::code_name;
/// use rusqlite::ffi;
///
/// assert_eq!(code_name(ffi::SQLITE_BUSY_SNAPSHOT), "SQLITE_BUSY");
/// assert_eq!(code_name(ffi::SQLITE_CONSTRAINT_CHECK), "SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_CHECK)");
/// ```
#[must_use]
pub fn code_name(code: c_int) -> String {
    let primary = match code & 0xff {
        ffi::SQLITE_ERROR => "SQLITE_ERROR",
        ffi::SQLITE_INTERNAL => "SQLITE_INTERNAL",
        ffi::SQLITE_PERM => "SQLITE_PERM",
        ffi::SQLITE_ABORT => "SQLITE_ABORT",
        ffi::SQLITE_BUSY => "SQLITE_BUSY",
        ffi::SQLITE_LOCKED => "SQLITE_LOCKED",
        ffi::SQLITE_NOMEM => "SQLITE_NOMEM",
        ffi::SQLITE_READONLY => "SQLITE_READONLY",
        ffi::SQLITE_INTERRUPT => "SQLITE_INTERRUPT",
        ffi::SQLITE_IOERR => "SQLITE_IOERR",
        ffi::SQLITE_CORRUPT => "SQLITE_CORRUPT",
        ffi::SQLITE_FULL => "SQLITE_FULL",
        ffi::SQLITE_CANTOPEN => "SQLITE_CANTOPEN",
        ffi::SQLITE_PROTOCOL => "SQLITE_PROTOCOL",
        ffi::SQLITE_SCHEMA => "SQLITE_SCHEMA",
        ffi::SQLITE_TOOBIG => "SQLITE_TOOBIG",
        ffi::SQLITE_CONSTRAINT => "SQLITE_CONSTRAINT",
        ffi::SQLITE_MISMATCH => "SQLITE_MISMATCH",
        ffi::SQLITE_MISUSE => "SQLITE_MISUSE",
        ffi::SQLITE_AUTH => "SQLITE_AUTH",
        ffi::SQLITE_RANGE => "SQLITE_RANGE",
        ffi::SQLITE_NOTADB => "SQLITE_NOTADB",
        _ => return format!("SQLITE_UNKNOWN ({code})"),
    };
    let extended = match code {
        ffi::SQLITE_CONSTRAINT_CHECK => "CHECK",
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => "FOREIGNKEY",
        ffi::SQLITE_CONSTRAINT_NOTNULL => "NOTNULL",
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY => "PRIMARYKEY",
        ffi::SQLITE_CONSTRAINT_TRIGGER => "TRIGGER",
        ffi::SQLITE_CONSTRAINT_UNIQUE => "UNIQUE",
        ffi::SQLITE_CONSTRAINT_ROWID => "ROWID",
        ffi::SQLITE_CONSTRAINT_DATATYPE => "DATATYPE",
        _ => return primary.to_owned(),
    };
    format!("{primary} (extended: {primary}_{extended})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extended_code_is_named_beside_the_primary_one() {
        assert_eq!(code_name(ffi::SQLITE_CONSTRAINT_UNIQUE), "SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)");
        assert_eq!(code_name(ffi::SQLITE_IOERR_FSYNC), "SQLITE_IOERR");
        assert_eq!(code_name(99), "SQLITE_UNKNOWN (99)");
    }
}
