//! Values as text, as ClickHouse and Analytics Engine write them.

use std::io::Write as _;

use super::float::float;
use super::vector::Scalar;
use super::{Type, time};

/// Writes formatted text.
pub(super) fn write_to(into: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    into.write_fmt(text).expect("writing to memory does not fail");
}

/// Writes a value without escapes; those of texts within an array are quoted.
pub(super) fn plain(value: &Scalar, ty: &Type, into: &mut Vec<u8>) {
    match (value, ty) {
        (Scalar::Text(text), _) => into.extend_from_slice(text),
        (Scalar::Float(value), _) => into.extend_from_slice(float(*value).as_bytes()),
        (Scalar::Int(value), Type::Bool) => into.extend_from_slice(if *value == 0 { b"false" } else { b"true" }),
        (Scalar::Int(value), Type::UInt64) => write_to(into, format_args!("{}", *value as u64)),
        (Scalar::Int(value), Type::Date) => into.extend_from_slice(time::show_date(*value).as_bytes()),
        (Scalar::Int(value), Type::DateTime(_)) => into.extend_from_slice(time::show(*value, ty.zone()).as_bytes()),
        (Scalar::Int(value), _) => write_to(into, format_args!("{value}")),
        (Scalar::List(items), Type::Array(of)) => {
            into.push(b'[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    into.push(b',');
                }
                let is_quoted = **of == Type::String || of.is_time();
                if is_quoted {
                    into.push(b'\'');
                }
                match item {
                    Scalar::Text(text) => escape(text, into),
                    item => plain(item, of, into),
                }
                if is_quoted {
                    into.push(b'\'');
                }
            }
            into.push(b']');
        }
        (Scalar::List(_), _) => unreachable!("the analysis has checked the types"),
    }
}

/// Escapes a text for TabSeparated: control characters that have a letter, quotes and backslashes; other bytes stay.
pub(super) fn escape(text: &[u8], into: &mut Vec<u8>) {
    for byte in text {
        let escaped = match byte {
            b'\x08' => b'b',
            b'\x0C' => b'f',
            b'\r' => b'r',
            b'\n' => b'n',
            b'\t' => b't',
            b'\0' => b'0',
            b'\'' | b'\\' => *byte,
            _ => {
                into.push(*byte);
                continue;
            }
        };
        into.extend_from_slice(&[b'\\', escaped]);
    }
}

/// Writes a value as JSON. Bytes that are not UTF-8: as [`json_text`].
pub(super) fn json_value(value: &Scalar, ty: &Type, is_valid: bool, into: &mut Vec<u8>) {
    match (value, ty) {
        (Scalar::Text(text), _) => json_text(text, is_valid, into),
        (Scalar::Float(value), _) if !value.is_finite() => into.extend_from_slice(b"null"),
        (Scalar::List(items), Type::Array(of)) => {
            into.push(b'[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    into.push(b',');
                }
                json_value(item, of, is_valid, into);
            }
            into.push(b']');
        }
        (_, Type::UInt64 | Type::Int64 | Type::Interval(_) | Type::Date | Type::DateTime(_)) => {
            into.push(b'"');
            plain(value, ty, into);
            into.push(b'"');
        }
        _ => plain(value, ty, into),
    }
}

/// Writes a JSON string. Bytes that are not UTF-8 become U+FFFD where the output must be valid, and stay where not.
pub(super) fn json_text(text: &[u8], is_valid: bool, into: &mut Vec<u8>) {
    into.push(b'"');
    for chunk in text.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' | '\\' | '/' => into.extend_from_slice(&[b'\\', letter as u8]),
                '\x08' => into.extend_from_slice(b"\\b"),
                '\x0C' => into.extend_from_slice(b"\\f"),
                '\n' => into.extend_from_slice(b"\\n"),
                '\r' => into.extend_from_slice(b"\\r"),
                '\t' => into.extend_from_slice(b"\\t"),
                '\0'..='\x1F' | '\u{2028}' | '\u{2029}' => write_to(into, format_args!("\\u{:04X}", letter as u32)),
                letter => write_to(into, format_args!("{letter}")),
            }
        }
        if !chunk.invalid().is_empty() {
            into.extend_from_slice(if is_valid { "\u{FFFD}".as_bytes() } else { chunk.invalid() });
        }
    }
    into.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_for_each_format() {
        let text = b"a/b\"\\\n\t\x01\xff'\0";
        let mut json = Vec::new();
        json_text(text, true, &mut json);
        assert_eq!(json, "\"a\\/b\\\"\\\\\\n\\t\\u0001\u{FFFD}'\\u0000\"".as_bytes());
        let mut tab = Vec::new();
        escape(text, &mut tab);
        assert_eq!(tab, b"a/b\"\\\\\\n\\t\x01\xff\\'\\0");
    }
}
