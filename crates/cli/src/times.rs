//! Times as they are given on the command line, and as they are shown.

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};

/// Seconds of a day.
pub(crate) const DAY: u64 = 24 * 60 * 60;

/// A time as wrangler takes it: RFC 3339, with or without seconds, or seconds or milliseconds since 1970.
///
/// A number of up to ten characters is of seconds, which lasts until 2286; a longer one is of
/// milliseconds.
///
/// # Errors
/// Any other text. A date without a time is refused: it would be a guess which of its moments is meant.
pub(crate) fn timestamp(text: &str) -> Result<DateTime<Utc>, String> {
    let of_number = |number: i64| match text.len() {
        ..=10 => Utc.timestamp_opt(number, 0).single(),
        _ => Utc.timestamp_millis_opt(number).single(),
    };
    let of_text = || {
        let whole = DateTime::parse_from_rfc3339(text);
        let time = whole.or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M%:z"));
        let time = time.or_else(|_| DateTime::parse_from_str(&text.replace('Z', "+00:00"), "%Y-%m-%dT%H:%M%:z"));
        time.ok().map(|time| time.with_timezone(&Utc))
    };
    let time = text.parse().ok().and_then(of_number).or_else(of_text);
    time.ok_or_else(|| "use RFC 3339, such as 2026-07-13T08:46:42Z, or seconds since 1970".to_owned())
}

/// A time as it is shown: RFC 3339, to the millisecond.
pub(crate) fn shown(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_or_numbers_since_1970() {
        for (text, expected) in [
            ("2023-07-13T08:46:42.228Z", "2023-07-13T08:46:42.228Z"),
            ("2023-07-13T10:46:42+02:00", "2023-07-13T08:46:42.000Z"),
            ("2023-07-13T10:46+02:00", "2023-07-13T08:46:00.000Z"),
            ("2023-07-13T08:46Z", "2023-07-13T08:46:00.000Z"),
            ("1689238002", "2023-07-13T08:46:42.000Z"),
            ("1689238002228", "2023-07-13T08:46:42.228Z"),
        ] {
            assert_eq!(shown(timestamp(text).unwrap()), expected, "{text}");
        }
        for text in ["", "yesterday", "2023-07-13", "2023-07-13 08:46:42", "99999999999999999999"] {
            assert!(timestamp(text).unwrap_err().contains("RFC 3339"), "{text}");
        }
    }
}
