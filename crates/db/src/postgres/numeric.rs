//! NUMERIC, which Postgres sends as digits to the base of 10,000.

use crate::Value;

/// The value: an integer where it has no fraction and fits in 64 bits, else its digits as text. Nothing is rounded. `None` where the
/// bytes are not of a NUMERIC.
pub(super) fn value(raw: &[u8]) -> Option<Value> {
    let word = |at: usize| raw.get(at * 2..at * 2 + 2)?.try_into().ok().map(i16::from_be_bytes);
    let count = usize::try_from(word(0)?).ok()?;
    let weight = i32::from(word(1)?);
    let sign = word(2)? as u16;
    let scale = usize::try_from(word(3)?).ok()?;
    let digits: Vec<i16> = (4..4 + count).map(word).collect::<Option<_>>()?;
    let sign = match sign {
        0x0000 => "",
        0x4000 => "-",
        0xc000 => return Some("NaN".into()),
        0xd000 => return Some("Infinity".into()),
        0xf000 => return Some("-Infinity".into()),
        _ => return None,
    };
    let digit =
        |place: i32| usize::try_from(place).ok().and_then(|place| digits.get(place)).copied().unwrap_or_default();
    let whole: String = (0..=weight).map(|place| format!("{:04}", digit(place))).collect();
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    if scale == 0 {
        let text = format!("{sign}{whole}");
        return Some(text.parse().map_or(Value::Text(text), Value::Integer));
    }
    let groups = i32::try_from(scale.div_ceil(4)).ok()?;
    let fraction: String = (1..=groups).map(|group| format!("{:04}", digit(weight + group))).collect();
    Some(Value::Text(format!("{sign}{whole}.{}", &fraction[..scale])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(weight: i16, sign: u16, scale: i16, digits: &[i16]) -> Value {
        let mut raw = Vec::new();
        for word in [digits.len() as i16, weight, sign as i16, scale].iter().chain(digits) {
            raw.extend(word.to_be_bytes());
        }
        value(&raw).unwrap()
    }

    #[test]
    fn numbers_keep_every_digit() {
        assert_eq!(numeric(0, 0, 0, &[]), 0.into());
        assert_eq!(numeric(1, 0x4000, 0, &[1]), (-10_000).into());
        assert_eq!(numeric(0, 0, 2, &[12, 3400]), "12.34".into());
        assert_eq!(numeric(-2, 0, 8, &[1234]), "0.00001234".into());
        assert_eq!(numeric(0, 0, 6, &[5]), "5.000000".into());
        assert_eq!(numeric(4, 0, 0, &[922, 3372, 368, 5477, 5807]), i64::MAX.into());
        assert_eq!(numeric(4, 0, 0, &[922, 3372, 368, 5477, 5808]), "9223372036854775808".into());
        assert_eq!(numeric(0, 0xc000, 0, &[]), "NaN".into());
    }

    #[test]
    fn bytes_that_are_cut_off_are_not_a_number() {
        assert_eq!(value(&[0, 1, 0, 0]), None);
        assert_eq!(value(&[0, 1, 0, 0, 0, 0, 0, 0]), None);
    }
}
