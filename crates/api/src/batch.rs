//! Statements that end a batch with an error, and the recognition of those errors.
//!
//! A batch is a transaction of statements that are all known beforehand: D1 has no transaction that a program could steer. So
//! a condition has to be a statement of its own that fails, by asking SQLite's `json_extract` for what is not a path (isobar's Postgres
//! backend has the same). `changes()` is the number of rows that the statement just before has changed, and so the check stands right behind
//! the statement that it is for.
//!
//! | check | fails when | recognized by |
//! |---|---|---|
//! | [`must_have_changed`] | the statement before changed no row | [`nothing_changed`] |
//! | [`must_have_changed_or`] | the same, with a word of its own in the error | the word |
//! | [`must_not`] | a condition holds for a row | [`is_reached`] |
//!
//! The texts of the errors come from SQLite, are the same in D1, and have the word in Postgres. No value of a request is in them.

use isobar_db::{Error, Statement};

/// Text in the error of a batch whose statement changed no row.
const NOTHING: &str = "nothing changed";

/// Text in the error of a batch that a limit ended.
pub(crate) const REACHED: &str = "quota reached";

/// A statement that fails, and its batch with it, when the statement before it changed no row. See [`nothing_changed`].
pub(crate) fn must_have_changed() -> Statement {
    must_have_changed_or(NOTHING)
}

/// As [`must_have_changed`], with an error that contains `word`.
pub(crate) fn must_have_changed_or(word: &str) -> Statement {
    Statement::new(format!("SELECT json_extract('{{}}', CASE changes() WHEN 0 THEN '{word}' ELSE '$' END)"))
}

/// Whether an error is that of [`must_have_changed`].
pub(crate) fn nothing_changed(error: &Error) -> bool {
    error.message().contains(NOTHING)
}

/// A statement that fails, and its batch with it, where a condition holds for a row of `from`. See [`is_reached`].
pub(crate) fn must_not(condition: &str, from: &str) -> Statement {
    Statement::new(format!(
        "SELECT json_extract('{{}}', CASE WHEN {condition} THEN '{REACHED}' ELSE '$' END) FROM {from}"
    ))
}

/// Whether an error is that of a limit: of [`must_not`], or of [`must_have_changed_or`] with [`REACHED`].
pub(crate) fn is_reached(error: &Error) -> bool {
    error.message().contains(REACHED)
}
