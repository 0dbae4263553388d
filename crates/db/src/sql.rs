//! As much of SQL as must be understood without running it: where statements end, and which parameters they have.

use std::borrow::Cow;

#[doc(inline)]
pub use isobar_sqlite::script::{
    closed, has_word, is_complete, is_pragma, is_read, keyword, line, literal, number_parameters, parameter_names,
    quoted, split, unquoted, words,
};

use crate::{Error, ErrorKind, Result};

/// Words that end a column's type.
#[cfg(all(any(feature = "memory", feature = "postgres"), not(target_arch = "wasm32")))]
pub(crate) const BEHIND_TYPE: [&str; 13] = [
    "AS",
    "CHECK",
    "COLLATE",
    "CONSTRAINT",
    "DEFAULT",
    "DEFERRABLE",
    "GENERATED",
    "NOT",
    "NULL",
    "ON",
    "PRIMARY",
    "REFERENCES",
    "UNIQUE",
];

/// Words of the time in a default.
#[cfg(all(any(feature = "memory", feature = "postgres"), not(target_arch = "wasm32")))]
pub(crate) const NOW: [&str; 6] = ["CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME", "DATETIME", "DATE", "TIME"];

/// Words that begin a constraint of the table. `EXCLUDE` is Postgres'.
#[cfg(all(any(feature = "memory", feature = "postgres"), not(target_arch = "wasm32")))]
pub(crate) const OF_THE_TABLE: [&str; 6] = ["CHECK", "CONSTRAINT", "EXCLUDE", "FOREIGN", "PRIMARY", "UNIQUE"];

/// The script without the `BEGIN TRANSACTION` and `COMMIT` around it, as sqlite3's `.dump` writes them and wrangler removes
/// them: the whole script runs in one transaction anyway. Lines and offsets do not change.
///
/// ```
/// use isobar_db::sql::without_transaction;
///
/// let dump = "BEGIN TRANSACTION;\nCREATE TABLE t (a);\nCOMMIT;";
/// let script = without_transaction(dump)?;
/// assert_eq!((script.trim(), script.len()), ("CREATE TABLE t (a);", dump.len()));
/// # Ok::<(), isobar_db::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::NotAuthorized`] where the script has several transactions, as wrangler.
pub fn without_transaction(script: &str) -> Result<Cow<'_, str>> {
    isobar_sqlite::script::without_transaction(script).ok_or_else(|| {
        let message = "the script holds several transactions, and all of it runs in one already: take BEGIN TRANSACTION and \
                       COMMIT out";
        Error::new(ErrorKind::NotAuthorized, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_of_several_transactions_is_refused() {
        let twice = without_transaction("BEGIN TRANSACTION; COMMIT; begin transaction; COMMIT;").unwrap_err();
        assert_eq!(twice.kind(), ErrorKind::NotAuthorized);
        assert!(twice.to_string().contains("several transactions"), "{twice}");
    }
}
