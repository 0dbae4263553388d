//! Cron expressions, as Cloudflare's cron triggers have them.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use croner::parser::{CronParser, Seconds, Year};

use crate::{Error, ErrorKind, Result};

/// A cron expression in UTC, by the rules of Cloudflare's cron triggers: minute, hour, day of the month, month, day of the week.
///
/// Days of the week are 1 (Sunday) to 7 (Saturday), or SUN to SAT; months 1 to 12, or JAN to DEC. Beside `*`, lists, ranges and steps
/// there are `L` and `W` for days of the month, and `L` and `#` for days of the week. Where both a day of the month and one of the week
/// are given, either is enough. Refused, where Cloudflare takes them: a day before the last one (`L-3`), ranges that end before
/// they begin. Source: Cloudflare's documentation, "Cron Triggers", and its parser saffron.
///
/// ```
/// use chrono::{DateTime, Utc};
/// use isobar_sessions::timers::Cron;
///
/// let fridays: Cron = "30 18 * * FRI".parse()?;
/// let now: DateTime<Utc> = "2026-11-29T12:00:00Z".parse().unwrap();
/// assert_eq!(fridays.next_after(now).unwrap().to_rfc3339(), "2026-12-04T18:30:00+00:00");
/// assert!("61 * * * *".parse::<Cron>().is_err());
/// # Ok::<(), isobar_sessions::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Cron {
    text: String,
    cron: croner::Cron,
}

impl Cron {
    /// Returns the first time after this one, in whole minutes; `None` when there is none until the year 5000.
    ///
    /// ```
    /// use chrono::{DateTime, Utc};
    /// use isobar_sessions::timers::Cron;
    /// let quarter: Cron = "*/15 * * * *".parse()?;
    /// let now: DateTime<Utc> = "2026-11-29T12:15:00Z".parse().unwrap();
    /// assert_eq!(quarter.next_after(now).unwrap().to_rfc3339(), "2026-11-29T12:30:00+00:00"); // not the same minute
    /// let never: Cron = "0 0 31 2 *".parse()?;
    /// assert_eq!(never.next_after(now), None);
    /// # Ok::<(), isobar_sessions::Error>(())
    /// ```
    #[must_use]
    pub fn next_after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.cron.find_next_occurrence(&time, false).ok()
    }

    /// Returns the expression as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Cron {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when it is not such an expression.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = |why: &str| {
            let message = format!("invalid cron expression {text:?}: {why}");
            Error::new(ErrorKind::InvalidArgument, message)
        };
        let fields: Vec<_> = text.split_whitespace().collect();
        let [_, _, day, _, weekdays] = fields[..] else {
            return Err(invalid("use five fields: minute, hour, day of the month, month, day of the week"));
        };
        // Of other dialects.
        if let Some(foreign) = text.chars().find(|char| "?+@".contains(*char)) {
            return Err(invalid(&format!("{foreign:?} has no meaning")));
        }
        if day.to_ascii_uppercase().contains("L-") {
            return Err(invalid("a day before the last one of a month is not supported"));
        }
        if !weekdays.split([',', '-']).all(is_weekday) {
            return Err(invalid("days of the week are 1 (Sunday) to 7 (Saturday), or SUN to SAT"));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .alternative_weekdays(true)
            .sloppy_ranges(true)
            .build();
        let cron = parser.parse(text).map_err(|error| invalid(&error.to_string()))?;
        Ok(Self { text: text.to_owned(), cron })
    }
}

/// Whether the number of a part of the last field is one of a day; what is no number the parser judges.
fn is_weekday(part: &str) -> bool {
    let number = part.split(['/', '#', 'L', 'l']).next().unwrap_or_default();
    number.parse::<u32>().map_or(true, |number| (1..=7).contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(cron: &str, after: &str, count: usize) -> Vec<String> {
        let cron: Cron = cron.parse().unwrap();
        let mut time: DateTime<Utc> = after.parse().unwrap();
        let mut times = Vec::new();
        for _ in 0..count {
            time = cron.next_after(time).unwrap();
            times.push(time.format("%a %Y-%m-%d %H:%M:%S").to_string());
        }
        times
    }

    #[test]
    fn expressions_mean_what_cloudflare_has_them_mean() {
        let after = "2026-11-29T12:00:00Z"; // a Sunday
        for (cron, expected) in [
            ("* * * * *", ["Sun 2026-11-29 12:01:00", "Sun 2026-11-29 12:02:00"]),
            ("*/30 * * * *", ["Sun 2026-11-29 12:30:00", "Sun 2026-11-29 13:00:00"]),
            ("5/20 * * * *", ["Sun 2026-11-29 12:05:00", "Sun 2026-11-29 12:25:00"]),
            ("45 17 * * *", ["Sun 2026-11-29 17:45:00", "Mon 2026-11-30 17:45:00"]),
            ("0 17 * * sun", ["Sun 2026-11-29 17:00:00", "Sun 2026-12-06 17:00:00"]),
            ("0 17 * * 1", ["Sun 2026-11-29 17:00:00", "Sun 2026-12-06 17:00:00"]),
            ("10 7 * * mon-fri", ["Mon 2026-11-30 07:10:00", "Tue 2026-12-01 07:10:00"]),
            ("10 7 * * 7", ["Sat 2026-12-05 07:10:00", "Sat 2026-12-12 07:10:00"]),
            ("0 15 1 * *", ["Tue 2026-12-01 15:00:00", "Fri 2027-01-01 15:00:00"]),
            ("0 18 * * 6L", ["Fri 2026-12-25 18:00:00", "Fri 2027-01-29 18:00:00"]),
            ("59 23 LW * *", ["Mon 2026-11-30 23:59:00", "Thu 2026-12-31 23:59:00"]),
            ("0 0 L * *", ["Mon 2026-11-30 00:00:00", "Thu 2026-12-31 00:00:00"]),
            ("0 0 15W * *", ["Tue 2026-12-15 00:00:00", "Fri 2027-01-15 00:00:00"]),
            ("0 0 * * mon#2", ["Mon 2026-12-14 00:00:00", "Mon 2027-01-11 00:00:00"]),
            ("0 0 13 * fri", ["Fri 2026-12-04 00:00:00", "Fri 2026-12-11 00:00:00"]),
            ("0 0 29 feb *", ["Tue 2028-02-29 00:00:00", "Sun 2032-02-29 00:00:00"]),
        ] {
            assert_eq!(times(cron, after, 2), expected, "{cron}");
        }
    }

    #[test]
    fn what_is_not_an_expression_is_refused_and_what_never_comes_has_no_time() {
        for wrong in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 13 *",
            "* * * * 0",
            "* * * * 8",
            "@daily",
            "0 0 ? * 1",
            "0 0 * * +1",
            "a * * * *",
            "*/0 * * * *",
            "5-1 * * * *",
            "0 0 L-3 * *",
        ] {
            let error = wrong.parse::<Cron>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{wrong}");
            assert!(error.to_string().contains(&format!("{wrong:?}")), "{error}");
        }
        let never: Cron = "0 0 31 feb *".parse().unwrap();
        assert_eq!(never.next_after(Utc::now()), None);
    }
}
