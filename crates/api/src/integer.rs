//! Counts and sizes as SQLite's integers.
//!
//! Columns of limits and sizes are `INTEGER`, which SQLite holds as 64 bits with a sign. A limit above that admits everything.

/// Converts a count or a size to an integer of SQLite's, which has a sign. Returns the largest integer for a larger number.
pub(crate) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
