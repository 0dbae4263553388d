//! Places in a query's text, for errors.

use crate::{Error, ErrorKind, Result};

/// Longest text of a query in bytes. ClickHouse's default.
const MAX_BYTES: usize = 256 * 1024;

/// A place in the query's text, counted from 1 in lines and characters; 0 where it is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl Position {
    /// The place of a byte of the text.
    pub(super) fn of(text: &str, at: usize) -> Self {
        let before = &text[..at];
        let line = before.rfind('\n').map_or(0, |end| end + 1);
        let count = |count: usize| count as u64 + 1;
        Self { line: count(before.matches('\n').count()), column: count(before[line..].chars().count()) }
    }
}

/// Creates an error at a place of the query's text.
pub(super) fn error_at(position: Position, message: impl std::fmt::Display) -> Error {
    let Position { line, column } = position;
    let place = if line == 0 { String::new() } else { format!("line {line}, column {column}: ") };
    Error::new(ErrorKind::Query, format!("{place}{message}")).during("query")
}

/// Fails where a query's text is too long.
pub(super) fn check_length(bytes: usize) -> Result<()> {
    if bytes > MAX_BYTES {
        return Err(error_at(Position::default(), format!("the query is longer than {MAX_BYTES} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let place = |at| {
            let Position { line, column } = Position::of("aé\nb", at);
            (line, column)
        };
        assert_eq!([place(0), place(3), place(4), place(5)], [(1, 1), (1, 3), (2, 1), (2, 2)]);
    }
}
