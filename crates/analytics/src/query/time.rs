//! Calendar arithmetic with time zones, by ClickHouse's rules for local times that do not exist or exist twice.
//!
//! | question | rule |
//! |---|---|
//! | a local time that the clocks skip, read from a text | by the offset that follows the gap |
//! | one that they skip, as the beginning of a day or an hour | the first instant after the gap |
//! | one that they repeat | the first of the two |
//! | a day that a month does not have | the last that it has |
//! | a time outside of 1970 to 2106 | cut to it where a text or a number is read; wraps around in sums |
//! | the years beyond the calendar of `chrono` | the nearest day within it, never a panic |
//!
//! Everything here takes and gives numbers: seconds or days since 1970, and a zone. The rules were taken from ClickHouse's answers, not from
//! its sources; `cargo xtask analytics-sql` compares both on random times.

use std::fmt::Write as _;

use chrono::{
    DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Timelike,
};
use chrono::{MappedLocalTime, Weekday};
use chrono_tz::Tz;

use super::Unit;
use super::plan::{Part, StartOf};

const DAY: i64 = 24 * 60 * 60;

/// The local time of an instant.
pub(super) fn local(seconds: i64, zone: Tz) -> NaiveDateTime {
    let utc = DateTime::from_timestamp(seconds, 0).unwrap_or_default().naive_utc();
    if zone == Tz::UTC { utc } else { utc + offset(&utc, zone) }
}

fn offset(utc: &NaiveDateTime, zone: Tz) -> TimeDelta {
    TimeDelta::seconds(zone.offset_from_utc_datetime(utc).fix().local_minus_utc().into())
}

/// The instant of a local time: the first of two; for one that does not exist, the instant by the offset that follows.
pub(super) fn instant(local: NaiveDateTime, zone: Tz) -> i64 {
    match zone.offset_from_local_datetime(&local) {
        MappedLocalTime::Single(offset) | MappedLocalTime::Ambiguous(offset, _) => {
            (local - TimeDelta::seconds(offset.fix().local_minus_utc().into())).and_utc().timestamp()
        }
        MappedLocalTime::None => {
            let before = offset(&(local - TimeDelta::days(1)), zone);
            (local - offset(&(local - before), zone)).and_utc().timestamp()
        }
    }
}

/// The instant of a local time, or the first one after it that exists.
fn boundary(local: NaiveDateTime, zone: Tz) -> i64 {
    let mut exists = local;
    // No zone has left out more than a day.
    for _ in 0..=96 {
        if !matches!(zone.offset_from_local_datetime(&exists), MappedLocalTime::None) {
            break;
        }
        exists += TimeDelta::minutes(15);
    }
    instant(exists, zone)
}

/// The date of a number of days since 1970.
pub(super) fn date(days: i64) -> NaiveDate {
    DateTime::from_timestamp(days * DAY, 0).unwrap_or_default().date_naive()
}

/// The number of days since 1970.
pub(super) fn days(date: NaiveDate) -> i64 {
    date.and_time(NaiveTime::MIN).and_utc().timestamp().div_euclid(DAY)
}

/// The instant at which a day begins.
pub(super) fn midnight(days: i64, zone: Tz) -> i64 {
    boundary(date(days).and_time(NaiveTime::MIN), zone)
}

/// A part of a local time; the day of the week is 1 for Monday.
pub(super) fn part(part: Part, at: NaiveDateTime) -> i64 {
    match part {
        Part::Year => at.year().into(),
        Part::Month => at.month().into(),
        Part::DayOfMonth => at.day().into(),
        Part::DayOfWeek => at.weekday().number_from_monday().into(),
        Part::Hour => at.hour().into(),
        Part::Minute => at.minute().into(),
        Part::Second => at.second().into(),
        Part::YearMonth => i64::from(at.year()) * 100 + i64::from(at.month()),
    }
}

/// Whether the zone has been ahead of UTC by a multiple of this many seconds ever since 1970.
///
/// Looks at each month from 1970 to 2039: later ones repeat the last rule. Called by the analysis, once for each call in a query.
fn has_offsets_of(unit: i64, zone: Tz) -> bool {
    // Each change of an offset has lasted for longer than a month.
    let at = |month: i64| DateTime::from_timestamp(month * 30 * DAY, 0).unwrap_or_default().naive_utc();
    (0..12 * 70).all(|month| offset(&at(month), zone).num_seconds() % unit == 0)
}

/// The interval as ClickHouse counts it in a zone: seconds and minutes from 1970, but from the beginning of the day in zones whose
/// offset from UTC is not of whole hours or minutes.
pub(super) fn counted_in(interval: StartOf, zone: Tz) -> StartOf {
    match interval {
        StartOf::Units(count, Unit::Second) if !has_offsets_of(3600, zone) => StartOf::OfDay(count),
        StartOf::Units(count, Unit::Minute) if !has_offsets_of(60, zone) => StartOf::OfDay(count.saturating_mul(60)),
        other => other,
    }
}

/// The start of the interval in which an instant lies: days since 1970 for weeks, months and years, else seconds.
pub(super) fn start_of(interval: StartOf, seconds: i64, zone: Tz) -> i64 {
    let of_hour = |at: NaiveDateTime| i64::from(at.minute() * 60 + at.second());
    match interval {
        StartOf::Units(count, Unit::Second) => seconds - seconds.rem_euclid(count),
        StartOf::Units(count, Unit::Minute) => seconds - seconds.rem_euclid(count.saturating_mul(60)),
        StartOf::OfDay(count) => {
            let day = midnight(days(local(seconds, zone).date()), zone);
            seconds - (seconds - day).rem_euclid(count)
        }
        StartOf::Units(1, Unit::Hour) => seconds - of_hour(local(seconds, zone)),
        StartOf::Units(count, Unit::Hour) => {
            let at = local(seconds, zone);
            let hour = i64::from(at.hour()) / count * count;
            boundary(at.date().and_time(NaiveTime::MIN) + TimeDelta::hours(hour), zone)
        }
        StartOf::Units(count, Unit::Day) => {
            let day = days(local(seconds, zone).date());
            midnight(day - day.rem_euclid(count), zone)
        }
        _ => start_of_date(interval, local(seconds, zone).date()),
    }
}

/// The start of a week, a month or a year, or of several of them, in days since 1970.
pub(super) fn start_of_date(interval: StartOf, date: NaiveDate) -> i64 {
    let first = |year: i64, month: i64| {
        let date = NaiveDate::from_ymd_opt(year as i32, month as u32 + 1, 1);
        date.map_or(0, days)
    };
    let day = match interval {
        StartOf::Week => days(date.week(Weekday::Mon).first_day()),
        StartOf::Units(count, Unit::Month) => {
            let months = i64::from(date.year()) * 12 + i64::from(date.month0());
            let months = months - months.rem_euclid(count);
            first(months.div_euclid(12), months.rem_euclid(12))
        }
        StartOf::Units(count, Unit::Year) => {
            let year = i64::from(date.year());
            first(year - year.rem_euclid(count), 0)
        }
        StartOf::Units(count, Unit::Day) => {
            let day = days(date);
            day - day.rem_euclid(count)
        }
        _ => days(date),
    };
    day.max(0)
}

/// Adds calendar units to an instant.
///
/// Seconds, minutes and hours are lengths; days, months and years keep the local time of day.
pub(super) fn add(seconds: i64, count: i64, unit: Unit, zone: Tz) -> i64 {
    let fixed = |unit: i64| seconds.wrapping_add(count.wrapping_mul(unit));
    match unit {
        Unit::Second => fixed(1),
        Unit::Minute => fixed(60),
        Unit::Hour => fixed(60 * 60),
        Unit::Day | Unit::Month | Unit::Year => {
            let at = local(seconds, zone);
            instant(shift(at.date(), count, unit).and_time(at.time()), zone)
        }
    }
}

/// Adds days, months or years to a date; what is past the calendar stays near its last day, so that a zone's offset does not lead out of it.
pub(super) fn shift(date: NaiveDate, count: i64, unit: Unit) -> NaiveDate {
    let size = count.unsigned_abs();
    let months = |size: u64| Months::new(u32::try_from(size).unwrap_or(u32::MAX));
    let shifted = match (unit, count < 0) {
        (Unit::Month, false) => date.checked_add_months(months(size)),
        (Unit::Month, true) => date.checked_sub_months(months(size)),
        (Unit::Year, false) => date.checked_add_months(months(size.saturating_mul(12))),
        (Unit::Year, true) => date.checked_sub_months(months(size.saturating_mul(12))),
        (_, false) => date.checked_add_days(Days::new(size)),
        (_, true) => date.checked_sub_days(Days::new(size)),
    };
    let room = Days::new(2);
    let shifted = shifted.unwrap_or(if count < 0 { NaiveDate::MIN } else { NaiveDate::MAX });
    shifted.clamp(NaiveDate::MIN + room, NaiveDate::MAX - room)
}

/// Reads `YYYY-MM-DD hh:mm:ss`, `YYYY-MM-DD`, or seconds since 1970; what is outside of 1970 to 2106 is cut to it.
pub(super) fn parse(text: &[u8], zone: Tz) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let seconds = if (9..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()?
    } else if let Some(date) = parse_date(text.as_bytes()) {
        boundary(date.and_time(NaiveTime::MIN), zone)
    } else {
        let (day, time) = text.split_at_checked(10)?;
        let time = time.strip_prefix(' ').or_else(|| time.strip_prefix('T')).filter(|time| time.len() == 8)?;
        let time = NaiveTime::parse_from_str(time, "%H:%M:%S").ok().filter(|time| time.nanosecond() == 0)?;
        instant(parse_date(day.as_bytes())?.and_time(time), zone)
    };
    Some(seconds.clamp(0, u32::MAX.into()))
}

/// Reads `YYYY-MM-DD`.
pub(super) fn parse_date(text: &[u8]) -> Option<NaiveDate> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = |at: usize, length: usize| {
        let part = text.get(at..at + length).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
        part.parse::<u32>().ok()
    };
    let is_dashed = text.len() == 10 && text.get(4..5) == Some("-") && text.get(7..8) == Some("-");
    if !is_dashed {
        return None;
    }
    NaiveDate::from_ymd_opt(digits(0, 4)? as i32, digits(5, 2)?, digits(8, 2)?)
}

/// Shows an instant as `YYYY-MM-DD hh:mm:ss`.
pub(super) fn show(seconds: i64, zone: Tz) -> String {
    local(seconds, zone).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Shows a number of days since 1970 as `YYYY-MM-DD`.
pub(super) fn show_date(days: i64) -> String {
    date(days).format("%Y-%m-%d").to_string()
}

/// Formats a local time, this many seconds ahead of UTC, as `formatDateTime` does.
///
/// # Errors
/// The letter after `%` that has no meaning, or `%` at the end.
pub(super) fn format(at: NaiveDateTime, ahead: i64, format: &str) -> Result<String, String> {
    let mut text = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let letter = letters.next().ok_or("a % stands at the end of the format; write %% for the character")?;
        let pattern = match letter {
            'a' => "%a",
            'b' => "%b",
            'c' | 'm' => "%m",
            'C' => "%C",
            'd' => "%d",
            'D' => "%m/%d/%y",
            'e' => "%-d",
            'F' => "%Y-%m-%d",
            'g' => "%g",
            'G' => "%G",
            'h' | 'I' => "%I",
            'H' | 'k' => "%H",
            'i' => "%M",
            'j' => "%j",
            'l' => "%I",
            'M' => "%B",
            'n' => "\n",
            'p' => "%p",
            'r' => "%I:%M %p",
            'R' => "%H:%M",
            's' | 'S' => "%S",
            't' => "\t",
            'T' => "%H:%M:%S",
            'u' => "%u",
            'V' => "%V",
            'w' => "%w",
            'W' => "%A",
            'y' => "%y",
            'Y' => "%Y",
            '%' => "%%",
            'f' => "000000",
            'Q' => {
                write!(text, "{}", at.month0() / 3 + 1).expect("writing to a text does not fail");
                continue;
            }
            'z' => {
                let minutes = ahead.abs() / 60;
                let sign = if ahead < 0 { '-' } else { '+' };
                write!(text, "{sign}{:02}{:02}", minutes / 60, minutes % 60).expect("writing to a text does not fail");
                continue;
            }
            other => return Err(format!("%{other} is not a part of a time; see formatDateTime of ClickHouse")),
        };
        write!(text, "{}", at.format(pattern)).expect("the pattern is one of the list");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_times_around_a_change_of_the_clock_are_clickhouse_s() {
        let zone = Tz::Europe__Berlin;
        let at = |text: &str| parse(text.as_bytes(), zone).expect("the time is valid");
        assert_eq!(show(at("2024-03-31 02:30:00"), Tz::UTC), "2024-03-31 00:30:00", "does not exist");
        assert_eq!(show(at("2024-10-27 02:30:00"), Tz::UTC), "2024-10-27 00:30:00", "the first of two");
        let hours = StartOf::Units(2, Unit::Hour);
        let start = |text: &str| show(start_of(hours, at(text), zone), zone);
        assert_eq!(start("2024-03-31 04:30:00"), "2024-03-31 04:00:00");
        assert_eq!(start("2024-03-31 03:30:00"), "2024-03-31 03:00:00");
        assert_eq!(start("2024-10-27 03:30:00"), "2024-10-27 02:00:00");
        let seconds = |zone| {
            let at = parse(b"2024-03-31 10:05:03", zone).expect("the time is valid");
            show(start_of(counted_in(StartOf::Units(7, Unit::Second), zone), at, zone), zone)
        };
        assert_eq!(seconds(Tz::Asia__Kathmandu), "2024-03-31 10:05:02", "of the day");
        assert_eq!(seconds(Tz::America__New_York), "2024-03-31 10:04:57", "since 1970");
        assert_eq!(show(add(at("2024-03-30 02:30:00"), 1, Unit::Day, zone), zone), "2024-03-31 01:30:00");
    }

    #[test]
    fn intervals_beyond_the_calendar_end_within_it() {
        for zone in [Tz::UTC, Tz::America__New_York, Tz::Europe__Berlin, Tz::Pacific__Kiritimati] {
            for unit in [Unit::Second, Unit::Minute, Unit::Hour, Unit::Day, Unit::Month, Unit::Year] {
                for count in [i64::MIN, -(1 << 40), -262_000, 262_000, 1 << 40, i64::MAX] {
                    add(1_700_000_000, count, unit, zone);
                    shift(date(19_000), count, unit);
                    if count > 0 {
                        start_of(counted_in(StartOf::Units(count, unit), zone), 1_700_000_000, zone);
                        start_of_date(StartOf::Units(count, unit), date(19_000));
                    }
                }
            }
        }
        let far = add(1_700_000_000, 1 << 40, Unit::Year, Tz::America__New_York);
        assert!(local(far, Tz::UTC).date().year() > 262_000);
    }

    #[test]
    fn times_of_other_forms_are_not_read() {
        for text in
            ["", "a", "2024-1-1", "2024-01-01T00:00:00Z", "2024-01-01 00:00", "2024-02-30", "2024-01-01 25:00:00", "12"]
        {
            assert_eq!(parse(text.as_bytes(), Tz::UTC), None, "{text}");
        }
        assert_eq!(parse(b"1960-01-01", Tz::UTC), Some(0));
        assert_eq!(parse(b"355924804", Tz::UTC), Some(355_924_804));
    }
}
