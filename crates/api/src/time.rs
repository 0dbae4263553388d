//! Times as rows and JSON have them: RFC 3339 in UTC, to the millisecond, so that texts sort as their times do.
//!
//! Every time is written by [`rfc3339`], with three digits of milliseconds and `Z`: 24 characters for the years 0 to 9999. For
//! such texts the order of bytes is the order of times, so SQL compares and indexes them as they are (`expires_at <= ?`), and
//! D1 and SQLite need no functions of time. Times from outside pass [`timestamp`], which brings any offset into this form.

/// Returns the current time.
pub(crate) fn now() -> String {
    rfc3339(chrono::Utc::now())
}

/// Parses a time, in any offset. Returns `None` for any other text, and for years outside 0 to 9999.
pub(crate) fn timestamp(text: &str) -> Option<String> {
    let moment = chrono::DateTime::parse_from_rfc3339(text).ok()?.to_utc();
    let in_range = (0..=9999).contains(&chrono::Datelike::year(&moment));
    in_range.then(|| rfc3339(moment))
}

/// Formats a time.
pub(crate) fn rfc3339(moment: chrono::DateTime<chrono::Utc>) -> String {
    moment.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
