//! Counts and sizes as SQLite's integers.

/// Converts a count or a size to an integer of SQLite's, which has a sign. Returns the largest integer for a larger number.
pub(crate) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
