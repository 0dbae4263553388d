//! Floats as text.

/// The shortest text of a float that reads as the same one: fixed from 1e-6 on and below 1e21, else with an exponent.
pub(super) fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let size = value.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) { format!("{value}") } else { format!("{value:e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_clickhouse_s() {
        for (value, text) in [
            (1e20, "100000000000000000000"),
            (1e21, "1e21"),
            (1.5e22, "1.5e22"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (-0.0, "-0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(float(value), text);
        }
    }
}
