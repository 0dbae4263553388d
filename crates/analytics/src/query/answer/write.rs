//! Answers as bytes.

use super::{Answer, Format};
use crate::query::format::{escape, json_text, json_value, plain, write_to};
use crate::query::vector::Scalar;

/// Writes an answer in a format.
pub(super) fn write(answer: &Answer, format: Format) -> Vec<u8> {
    let mut into = Vec::new();
    match format {
        Format::Json => json(answer, &mut into),
        Format::JsonEachRow => json_each_row(answer, &mut into),
        Format::TabSeparated => tab_separated(answer, &mut into),
    }
    into
}

fn json(answer: &Answer, into: &mut Vec<u8>) {
    into.extend_from_slice(b"{\n\t\"meta\":\n\t[\n");
    for (number, column) in answer.columns.iter().enumerate() {
        into.extend_from_slice(if number == 0 { b"\t\t{\n\t\t\t\"name\": " } else { b",\n\t\t{\n\t\t\t\"name\": " });
        json_text(column.name.as_bytes(), true, into);
        into.extend_from_slice(b",\n\t\t\t\"type\": ");
        json_text(column.ty.to_string().as_bytes(), true, into);
        into.extend_from_slice(b"\n\t\t}");
    }
    into.extend_from_slice(b"\n\t],\n\n\t\"data\":\n\t[\n");
    for row in 0..answer.rows {
        into.extend_from_slice(if row == 0 { b"\t\t{" } else { b",\n\t\t{" });
        for (number, column) in answer.columns.iter().enumerate() {
            into.extend_from_slice(if number == 0 { b"\n\t\t\t" } else { b",\n\t\t\t" });
            json_text(column.name.as_bytes(), true, into);
            into.extend_from_slice(b": ");
            json_value(&answer.scalar(row, number), &column.ty, true, into);
        }
        into.extend_from_slice(b"\n\t\t}");
    }
    write_to(into, format_args!("\n\t],\n\n\t\"rows\": {}", answer.rows));
    if let Some(rows) = answer.rows_before_limit_at_least {
        write_to(into, format_args!(",\n\n\t\"rows_before_limit_at_least\": {rows}"));
    }
    into.extend_from_slice(b"\n}\n");
}

fn json_each_row(answer: &Answer, into: &mut Vec<u8>) {
    for row in 0..answer.rows {
        for (number, column) in answer.columns.iter().enumerate() {
            into.push(if number == 0 { b'{' } else { b',' });
            json_text(column.name.as_bytes(), false, into);
            into.push(b':');
            json_value(&answer.scalar(row, number), &column.ty, false, into);
        }
        into.extend_from_slice(b"}\n");
    }
}

fn tab_separated(answer: &Answer, into: &mut Vec<u8>) {
    for row in 0..answer.rows {
        for (number, column) in answer.columns.iter().enumerate() {
            if number > 0 {
                into.push(b'\t');
            }
            match answer.scalar(row, number) {
                Scalar::Text(text) => escape(&text, into),
                value => plain(&value, &column.ty, into),
            }
        }
        into.push(b'\n');
    }
}
