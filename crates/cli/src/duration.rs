//! Durations in options: a whole number and its unit, such as `90d`.

use std::time::Duration;

/// The units, in milliseconds. A day has 24 hours.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a whole number, 0 too, with one of these units. `None` for another form, and beyond 2^64
/// milliseconds: the message is the option's.
pub(crate) fn duration(text: &str, units: &[&str]) -> Option<Duration> {
    let (number, unit) = text.split_at(text.trim_end_matches(|char: char| char.is_ascii_alphabetic()).len());
    let (_, milliseconds) = UNITS.into_iter().find(|(name, _)| *name == unit && units.contains(name))?;
    number.parse::<u64>().ok()?.checked_mul(milliseconds).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_is_a_whole_number_with_an_allowed_unit() {
        let all = ["ms", "s", "m", "h", "d"];
        let read = ["100ms", "90s", "15m", "1h", "7d"].map(|text| duration(text, &all));
        let expected = [100, 90_000, 900_000, 3_600_000, 604_800_000].map(|number| Some(Duration::from_millis(number)));
        assert_eq!(read, expected);
        assert_eq!(duration("0ms", &all), Some(Duration::ZERO));
        for text in ["", "9", "d", "-1d", "1.5h", "9é", "9éd", "9D", "9 d", "18446744073709551615s"] {
            assert_eq!(duration(text, &all), None, "{text}");
        }
        assert_eq!(duration("100ms", &["s", "m"]), None);
    }
}
