//! Bar charts in the terminal.
//!
//! Bars are made of block characters of an eighth of a column, so that 50 columns show 400 steps.
//! Values stand beside them: a bar is for the eye. Control characters in labels are replaced, as in
//! tables.

use isobar_analytics::query::{Answer, Type};

use crate::{Outcome, say, table};

/// Width of the longest bar in columns.
const WIDTH: f64 = 50.0;
/// An eighth to eight eighths of a column.
const EIGHTHS: [&str; 9] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"];

/// Prints a bar for each row: the value of its last numeric column, labelled with the other columns.
///
/// # Errors
/// No column is numeric; standard output is closed.
///
/// Bars begin at 0 and the longest has the full width; rows keep the order of the answer, so that
/// `ORDER BY` decides it. `NULL` counts as 0.
pub(crate) fn print(answer: &Answer) -> Outcome {
    let columns = answer.columns().len();
    let number = (0..columns).rev().find(|column| is_number(&answer.columns()[*column].ty));
    let Some(number) = number else {
        let known: Vec<&str> = answer.columns().iter().map(|column| column.name.as_str()).collect();
        return Err(format!("--chart needs a numeric column; the answer has {}", known.join(", ")).into());
    };
    let label = |row| {
        let others = (0..columns).filter(|column| *column != number).map(|column| answer.text(row, column));
        table::one_line(&others.collect::<Vec<_>>().join(" "))
    };
    let labels: Vec<String> = (0..answer.rows()).map(label).collect();
    let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or_default();
    let values: Vec<f64> =
        (0..answer.rows()).map(|row| answer.value(row, number).as_f64().unwrap_or_default()).collect();
    let most = values.iter().copied().filter(|value| value.is_finite()).fold(0.0, f64::max);
    for (row, label) in labels.iter().enumerate() {
        let space = " ".repeat(width - label.chars().count());
        say!("{label}{space}  {} {}", bar(values[row], most), answer.text(row, number));
    }
    Ok(())
}

/// Whether values of a column can be drawn. Times and texts are labels.
fn is_number(ty: &Type) -> bool {
    use Type as T;
    matches!(ty, T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 | T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Float64)
}

/// A bar whose length is in proportion to the greatest value; empty for values that are not greater than 0.
fn bar(value: f64, most: f64) -> String {
    if !value.is_finite() || value <= 0.0 || most <= 0.0 {
        return String::new();
    }
    let eighths = (value / most * WIDTH * 8.0).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion() {
        assert_eq!(bar(10.0, 10.0).chars().count(), 50);
        assert_eq!(bar(1.0, 100.0), "▌");
        assert_eq!(
            (bar(-1.0, 10.0), bar(f64::NAN, 10.0), bar(0.0, 0.0)),
            (String::new(), String::new(), String::new())
        );
    }
}
