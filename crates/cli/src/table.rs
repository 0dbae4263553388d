//! Tables for terminals.
//!
//! Cells come from data that others may have written: names of objects, values of rows. They are
//! printed on one line each and without control characters, so that a value can neither break the table
//! nor send a sequence to the terminal. Programs read `--json`, in which values are exact.

use crate::{Outcome, say};

/// Prints rows under headings in aligned columns, with numbers to the right.
///
/// All rows are in memory, as their widths decide the columns'; commands whose result has no bound
/// (`sessions list`, `analytics tail`) print lines of fixed columns, or JSON, as they read.
///
/// A width is counted in characters: wide and combining ones, of Chinese or of emoji, shift what
/// follows them.
pub(crate) fn print(headings: &[String], rows: &[Vec<String>]) -> Outcome {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).chain(headings.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..headings.len()).map(width).collect();
    let line = |cells: &[String]| {
        let cells: Vec<_> = cells.iter().zip(&widths).map(|(cell, width)| pad(cell, *width)).collect();
        cells.join("  ").trim_end().to_owned()
    };
    say!("{}", line(headings));
    say!("{}", widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().join("  "));
    for row in rows {
        say!("{}", line(row));
    }
    Ok(())
}

/// Returns a text of one line without control characters: data must not command the terminal.
pub(crate) fn one_line(text: &str) -> String {
    let shown = |letter: char| match letter {
        '\n' | '\r' | '\t' => ' ',
        letter if letter.is_control() => char::REPLACEMENT_CHARACTER,
        letter => letter,
    };
    text.chars().map(shown).collect()
}

/// Fills a cell up to a width: a number from the left, any other text from the right.
fn pad(cell: &str, width: usize) -> String {
    let cell = one_line(cell);
    let space = " ".repeat(width.saturating_sub(cell.chars().count()));
    if cell.parse::<f64>().is_ok() { space + &cell } else { cell + &space }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_does_not_command_the_terminal() {
        assert_eq!(pad("\x1b[31mé\n\u{9b}", 10), "\u{FFFD}[31mé \u{FFFD}  ");
        assert_eq!(one_line("a\tb\x07"), "a b\u{FFFD}");
    }
}
