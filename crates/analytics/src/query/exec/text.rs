//! Functions of texts.
//!
//! Texts are bytes, and need not be UTF-8: a function never fails for that. Code points are counted by the bytes that do not continue one, so
//! that of invalid bytes each counts or not by its form alone, as in ClickHouse. Patterns are read once where they are constants.

use super::failure::Failure;
use crate::Result;
use crate::query::Type;
use crate::query::format::plain;
use crate::query::vector::{Scalar, Texts, Vector};

/// The number of code points; a byte that does not continue one counts.
pub(super) fn length(text: &[u8]) -> i64 {
    text.iter().filter(|byte| starts(**byte)).count() as i64
}

/// Whether a byte begins a code point.
fn starts(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}

/// The part of a text from a code point on, counted from 1, or from the end if negative; a negative length leaves out the end.
pub(super) fn substring(text: &[u8], offset: i64, length_wanted: Option<i64>) -> &[u8] {
    let count = length(text);
    let (begin, missing) = match offset {
        0 => return b"",
        1.. => (offset - 1, 0),
        _ if offset.unsigned_abs() <= count as u64 => (count + offset, 0),
        _ => (0, offset.saturating_add(count).saturating_neg()),
    };
    let end = match length_wanted {
        None => count,
        Some(length) if length < 0 => count.saturating_add(length),
        Some(length) => begin.saturating_add(length.saturating_sub(missing)).min(count),
    };
    if begin >= end {
        return b"";
    }
    let at = |point: i64| {
        let mut begins = text.iter().enumerate().filter(|(_, byte)| starts(**byte)).map(|(at, _)| at);
        begins.nth(point as usize).unwrap_or(text.len())
    };
    &text[at(begin)..at(end)]
}

/// The position of a needle in bytes, counted from 1; 0 where it is not.
pub(super) fn position(text: &[u8], needle: &[u8]) -> i64 {
    if needle.is_empty() {
        return 1;
    }
    memchr::memmem::find(text, needle).map_or(0, |at| at as i64 + 1)
}

/// Changes the UTF-8 of a text, and keeps what is not UTF-8.
///
/// Letters may change their length: `ß` becomes `SS`.
pub(super) fn change(text: &[u8], change: impl Fn(&str) -> String) -> Vec<u8> {
    let mut changed = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        changed.extend_from_slice(change(chunk.valid()).as_bytes());
        changed.extend_from_slice(chunk.invalid());
    }
    changed
}

/// One piece of a pattern of `LIKE`.
#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Byte(u8),
    AnyPoint,
    Anything,
}

/// A pattern of `LIKE`.
pub(super) struct Pattern {
    pieces: Vec<Piece>,
    ignores_case: bool,
}

impl Pattern {
    /// # Errors
    /// A backslash at the end.
    pub(super) fn new(pattern: &[u8], ignores_case: bool) -> Result<Self, String> {
        let folded;
        let pattern = if ignores_case {
            folded = change(pattern, str::to_lowercase);
            &folded
        } else {
            pattern
        };
        let mut pieces = Vec::with_capacity(pattern.len());
        let mut bytes = pattern.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            pieces.push(match (byte, bytes.peek()) {
                (b'%', _) => Piece::Anything,
                (b'_', _) => Piece::AnyPoint,
                (b'\\', Some(b'%' | b'_' | b'\\')) => Piece::Byte(bytes.next().expect("it has been peeked at")),
                (b'\\', None) => return Err("a pattern of LIKE must not end with a backslash".to_owned()),
                (byte, _) => Piece::Byte(byte),
            });
        }
        pieces.dedup_by(|a, b| *a == Piece::Anything && *b == Piece::Anything);
        Ok(Self { pieces, ignores_case })
    }

    pub(super) fn matches(&self, text: &[u8], steps: &mut Steps<'_>) -> Result<bool> {
        if self.ignores_case {
            self.matches_bytes(&change(text, str::to_lowercase), steps)
        } else {
            self.matches_bytes(text, steps)
        }
    }

    /// Goes on from the last `%` where a piece does not match, so that the time is at most pattern times text.
    ///
    /// The classic algorithm with one point of return, without recursion: after a later `%` the earlier ones need not be tried again. A query that
    /// is over ends within a text, as one of megabytes may take minutes.
    fn matches_bytes(&self, text: &[u8], steps: &mut Steps<'_>) -> Result<bool> {
        let step = |at: usize| at + 1 + text[at + 1..].iter().take_while(|byte| !starts(**byte)).count();
        let mut at = 0;
        let mut piece = 0;
        let mut retry: Option<(usize, usize)> = None;
        loop {
            steps.take()?;
            match self.pieces.get(piece) {
                Some(Piece::Anything) => {
                    piece += 1;
                    retry = Some((piece, at));
                    continue;
                }
                Some(Piece::AnyPoint) if at < text.len() => {
                    at = step(at);
                    piece += 1;
                    continue;
                }
                Some(Piece::Byte(byte)) if text.get(at) == Some(byte) => {
                    at += 1;
                    piece += 1;
                    continue;
                }
                None if at == text.len() => return Ok(true),
                _ => {}
            }
            match retry {
                Some((then, from)) if from < text.len() => {
                    piece = then;
                    at = step(from);
                    retry = Some((then, at));
                }
                _ => return Ok(false),
            }
        }
    }
}

/// Counts the steps of what may take long, and asks now and then whether the query may go on.
pub(super) struct Steps<'c> {
    check: &'c dyn Fn() -> Result<()>,
    left: u32,
}

impl<'c> Steps<'c> {
    /// Steps between two checks: some hundred microseconds.
    const MOST: u32 = 1 << 16;

    pub(super) fn new(check: &'c dyn Fn() -> Result<()>) -> Self {
        Self { check, left: Self::MOST }
    }

    fn take(&mut self) -> Result<()> {
        self.left -= 1;
        if self.left == 0 {
            self.left = Self::MOST;
            (self.check)()?;
        }
        Ok(())
    }
}

/// Applies `LIKE` and its kin.
///
/// # Errors
/// An invalid pattern.
pub(super) fn like(
    texts: &Vector,
    patterns: &Vector,
    is_negated: bool,
    ignores_case: bool,
    len: usize,
    steps: &mut Steps<'_>,
) -> Result<Vector, Failure> {
    let texts = texts.texts();
    let mut matched = |pattern: &Pattern, row: usize| -> Result<i64, Failure> {
        Ok(i64::from(pattern.matches(texts.get(row), steps)? != is_negated))
    };
    let values: Result<Vec<i64>, Failure> = match patterns.texts() {
        Texts::One(pattern) => {
            let pattern = Pattern::new(pattern, ignores_case)?;
            (0..len).map(|row| matched(&pattern, row)).collect()
        }
        many => (0..len).map(|row| matched(&Pattern::new(many.get(row), ignores_case)?, row)).collect(),
    };
    values.map(Vector::from_ints)
}

/// A piece of a pattern of `format`.
enum Field {
    Text(String),
    Argument(usize),
}

/// Reads a pattern of `format`: `{}` or `{0}` for arguments, `{{` and `}}` for the characters.
///
/// # Errors
/// A brace without its other one, both forms in one pattern, an invalid number, or the number of an argument that does not exist.
fn fields(pattern: &str, arguments: usize) -> Result<Vec<Field>, String> {
    let mut fields = Vec::new();
    let mut text = String::new();
    let mut next = 0;
    let mut is_numbered = None;
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if tail.starts_with(&rest[at..=at]) {
            text.push_str(&rest[at..=at]);
            rest = &tail[1..];
            continue;
        }
        if rest[at..].starts_with('}') {
            return Err("a } without { in the pattern of format; write }} for the character".to_owned());
        }
        let end = tail.find('}').ok_or("a { without } in the pattern of format; write {{ for the character")?;
        let number = &tail[..end];
        if is_numbered.replace(!number.is_empty()).is_some_and(|before| before == number.is_empty()) {
            return Err("the pattern of format mixes {} with {0}".to_owned());
        }
        let argument = if number.is_empty() {
            next += 1;
            next - 1
        } else {
            number.parse().map_err(|_| format!("{{{number}}} in the pattern of format is not a number"))?
        };
        if argument >= arguments {
            return Err(format!("the pattern of format uses more than the {arguments} arguments that follow it"));
        }
        fields.extend([Field::Text(std::mem::take(&mut text)), Field::Argument(argument)]);
        rest = &tail[end + 1..];
    }
    text.push_str(rest);
    fields.push(Field::Text(text));
    Ok(fields)
}

/// A bound of the size in bytes of what [`format`] makes; 0 for an invalid pattern.
pub(super) fn formatted_bytes(arguments: &[Vector], types: &[&Type], len: usize) -> usize {
    /// Most characters of a number or a time.
    const LONGEST: usize = 32;
    let pattern = String::from_utf8_lossy(arguments[0].texts().get(0)).into_owned();
    let Ok(fields) = fields(&pattern, arguments.len() - 1) else { return 0 };
    let argument = |number: usize| match types[number] {
        Type::String => arguments[number].bytes(len),
        // Quoted, and with escapes.
        Type::Array(_) => arguments[number].bytes(len).saturating_mul(2).saturating_add(len.saturating_mul(LONGEST)),
        _ => len.saturating_mul(LONGEST),
    };
    let sizes = fields.iter().map(|field| match field {
        Field::Text(text) => len.saturating_mul(text.len()),
        Field::Argument(number) => argument(number + 1),
    });
    sizes.fold(0, usize::saturating_add)
}

/// Applies `format`, whose first argument is a constant.
///
/// # Errors
/// An invalid pattern.
pub(super) fn format(arguments: &[Vector], types: &[&Type], len: usize) -> Result<Vector, String> {
    let pattern = String::from_utf8_lossy(arguments[0].texts().get(0)).into_owned();
    let fields = fields(&pattern, arguments.len() - 1)?;
    Ok(Vector::from_texts((0..len).map(|row| {
        let mut text = Vec::new();
        for field in &fields {
            match field {
                Field::Text(more) => text.extend_from_slice(more.as_bytes()),
                Field::Argument(number) => plain(&arguments[number + 1].scalar(row), types[number + 1], &mut text),
            }
        }
        text
    })))
}

/// Shows the bytes of a value in base 16 or 2, as `hex` and `bin` do: integers without leading zero bytes, floats as they lie in
/// memory.
pub(super) fn digits(value: &Scalar, ty: &Type, is_binary: bool) -> Vec<u8> {
    let (bytes, is_trimmed) = match value {
        Scalar::Text(text) => (text.to_vec(), false),
        Scalar::Float(value) => (value.to_le_bytes().to_vec(), false),
        Scalar::Int(value) => {
            let bits = match ty {
                Type::DateTime(_) => 32,
                Type::Date => 16,
                _ => ty.integer().map_or(64, |(bits, _)| bits),
            };
            (value.to_be_bytes()[8 - bits as usize / 8..].to_vec(), true)
        }
        Scalar::List(_) => unreachable!("the analysis has checked the types"),
    };
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len().saturating_sub(1));
    let bytes = if is_trimmed { &bytes[zeros..] } else { &bytes[..] };
    let mut digits = Vec::with_capacity(bytes.len() * if is_binary { 8 } else { 2 });
    for byte in bytes {
        if is_binary {
            digits.extend((0..8).rev().map(|bit| b'0' + (byte >> bit & 1)));
        } else {
            digits.extend([byte >> 4, byte & 15].map(|digit| b"0123456789ABCDEF"[usize::from(digit)]));
        }
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_a_byte_are_two_or_eight() {
        for byte in 0..=u8::MAX {
            let value = Scalar::Text(vec![byte].into());
            assert_eq!(digits(&value, &Type::String, false), format!("{byte:02X}").as_bytes());
            assert_eq!(digits(&value, &Type::String, true), format!("{byte:08b}").as_bytes());
        }
    }

    #[test]
    fn substrings_are_clickhouse_s() {
        let part = |offset, length| String::from_utf8_lossy(substring("héllo".as_bytes(), offset, length)).into_owned();
        for (offset, length, expected) in [
            (2, None, "éllo"),
            (2, Some(2), "él"),
            (0, Some(2), ""),
            (-2, None, "lo"),
            (-3, Some(2), "ll"),
            (10, None, ""),
            (2, Some(-1), "éll"),
            (-10, Some(7), "hé"),
            (-10, None, "héllo"),
            (-4, Some(-2), "él"),
            (i64::MIN, Some(i64::MAX), "héll"),
        ] {
            assert_eq!(part(offset, length), expected, "{offset} {length:?}");
        }
    }

    fn matches(pattern: &Pattern, text: &[u8]) -> bool {
        pattern.matches(text, &mut Steps::new(&|| Ok(()))).unwrap()
    }

    #[test]
    fn long_match_ends_with_the_query() {
        let pattern = Pattern::new(format!("%{}b", "a".repeat(100_000)).as_bytes(), false).unwrap();
        let ended = || -> Result<()> { Err(crate::Error::new(crate::ErrorKind::TimedOut, "its time is over")) };
        let error = pattern.matches(&[b'a'; 200_000], &mut Steps::new(&ended)).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::TimedOut);
    }

    #[test]
    fn like_takes_code_points_and_backslashes() {
        let like =
            |text: &str, pattern: &str| matches(&Pattern::new(pattern.as_bytes(), false).unwrap(), text.as_bytes());
        assert!(like("é", "_") && like("a%b", "a\\%b") && like("a\\b", "a\\b") && like("a\nb", "a%b") && like("", "%"));
        assert!(!like("ab", "a\\b") && !like("abc", "a_") && !like("", "_") && like("aab", "%ab") && !like("ab", "b%"));
        assert!(matches(&Pattern::new("É%".as_bytes(), true).unwrap(), "éa".as_bytes()));
        assert!(Pattern::new(b"a\\", false).is_err());
    }
}
