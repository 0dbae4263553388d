//! Values as literals of SQL that every version of SQLite reads back exactly.
//!
//! Exactly means bit by bit: a REAL comes back as the same 64 bits, a text with its NULs, its line ends and its
//! invalid UTF-8. Forms that newer versions of SQLite alone can read are not used.

use std::fmt::Write;

use rusqlite::types::ValueRef;

/// Appends a literal.
pub(super) fn push(sql: &mut String, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => sql.push_str("NULL"),
        ValueRef::Integer(integer) => write!(sql, "{integer}").unwrap_or_default(),
        ValueRef::Real(real) => push_real(sql, real),
        ValueRef::Blob(bytes) => push_blob(sql, bytes),
        // The shell ends a line at a NUL, and drops a carriage return before the end of a line; and a literal must be UTF-8.
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if !bytes.iter().any(|byte| matches!(byte, 0 | b'\r')) => {
                sql.push_str(&crate::sql::literal(text));
            }
            _ => {
                sql.push_str("CAST(");
                push_blob(sql, bytes);
                sql.push_str(" AS TEXT)");
            }
        },
    }
}

fn push_blob(sql: &mut String, bytes: &[u8]) {
    sql.push_str("x'");
    for byte in bytes {
        write!(sql, "{byte:02x}").unwrap_or_default();
    }
    sql.push('\'');
}

/// SQLite reads up to 15 digits exactly; more of them, when there are more, lead to the nearest number.
fn push_real(sql: &mut String, real: f64) {
    if real.is_infinite() {
        sql.push_str(if real > 0.0 { "9e999" } else { "-9e999" });
        return;
    }
    let shortest = format!("{real:?}");
    let digits = shortest.split('e').next().unwrap_or_default().bytes().filter(u8::is_ascii_digit).count();
    if digits <= 15 { sql.push_str(&shortest) } else { write!(sql, "{real:.19e}").unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(value: ValueRef<'_>) -> String {
        let mut sql = String::new();
        push(&mut sql, value);
        sql
    }

    #[test]
    fn values_are_literals() {
        assert_eq!(literal(ValueRef::Null), "NULL");
        assert_eq!(literal(ValueRef::Integer(i64::MIN)), "-9223372036854775808");
        assert_eq!(literal(ValueRef::Text("it's\n;".as_bytes())), "'it''s\n;'");
        assert_eq!(literal(ValueRef::Text(b"a\0b")), "CAST(x'610062' AS TEXT)");
        assert_eq!(literal(ValueRef::Text(b"a\r\n")), "CAST(x'610d0a' AS TEXT)");
        assert_eq!(literal(ValueRef::Text(&[0xff])), "CAST(x'ff' AS TEXT)");
        assert_eq!(literal(ValueRef::Blob(&[0, 255])), "x'00ff'");
        assert_eq!(
            [1.0, 0.5, f64::NEG_INFINITY, 1e300].map(|real| literal(ValueRef::Real(real))),
            ["1.0", "0.5", "-9e999", "1e300"]
        );
    }

    #[test]
    fn reals_are_read_back_to_the_bit() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut read_back = 0;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let real = f64::from_bits(state ^ (state >> 29));
            if !real.is_finite() {
                continue;
            }
            let sql = format!("SELECT {}", literal(ValueRef::Real(real)));
            let back: f64 = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
            assert_eq!(back.to_bits(), real.to_bits(), "{sql}");
            read_back += 1;
        }
        assert!(read_back > 15_000);
    }
}
