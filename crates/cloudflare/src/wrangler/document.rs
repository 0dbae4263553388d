//! The text of a configuration: its values and their lines.
//!
//! Each text is read twice, by one parser for values and by another that knows places: serde's values have no lines, and a message without
//! its line is of little use in a long file. TOML's dates become text, as JavaScript's do for wrangler; its infinite numbers become null.

use std::collections::BTreeMap;

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::errors::ParseError;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast, parse_to_serde_value};
use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

use super::Error;

/// The configuration's language.
///
/// ```
/// use isobar_cloudflare::wrangler::{Config, Format};
///
/// let toml = Config::parse("name = \"shop\"", Format::Toml, None)?;
/// let jsonc = Config::parse("{ \"name\": \"shop\" /* its name */, }", Format::Jsonc, None)?;
/// assert_eq!(toml, jsonc);
/// # Ok::<(), isobar_cloudflare::wrangler::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `wrangler.toml`.
    Toml,
    /// `wrangler.json` and `wrangler.jsonc`: JSON with comments and trailing commas.
    Jsonc,
}

/// The top-level table of a text, and its lines.
pub(super) struct Document {
    pub(super) table: Map<String, Value>,
    pub(super) lines: Lines,
}

/// The line of each key, by its path: `name`, `env.staging.d1_databases[1].binding`.
#[derive(Debug, Default)]
pub(super) struct Lines(BTreeMap<String, usize>);

impl Lines {
    /// Returns the line of a key, or of the nearest table around it.
    pub(super) fn of(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(line) = self.0.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// Returns the line as a prefix for a message, if known.
    pub(super) fn shown(&self, path: &str) -> String {
        self.of(path).map(|line| format!("line {line}: ")).unwrap_or_default()
    }
}

/// Parses a text as wrangler does: a byte-order mark is skipped, and JSON may have comments and trailing commas.
///
/// # Errors
/// Syntax errors, control characters in JSON strings, and a top level that is not a table, with the line.
pub(super) fn read(text: &str, format: Format) -> Result<Document, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Finder { starts: line_starts(text), lines: Lines::default() };
    let value = match format {
        Format::Toml => read_toml(text, &mut lines)?,
        Format::Jsonc => read_jsonc(text, &mut lines)?,
    };
    match value {
        Value::Object(table) => Ok(Document { table, lines: lines.lines }),
        _ => Err(Error::new("the top level must be a table").at(Some(1))),
    }
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

struct Finder {
    starts: Vec<usize>,
    lines: Lines,
}

impl Finder {
    fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    fn put(&mut self, path: &str, offset: usize) {
        let line = self.line(offset);
        self.lines.0.entry(path.to_owned()).or_insert(line);
    }
}

/// Returns the path of a key within the table at another path.
pub(super) fn within(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn read_toml(text: &str, lines: &mut Finder) -> Result<Value, Error> {
    let failed = |error: toml::de::Error, lines: &Finder| {
        let line = error.span().map(|span| lines.line(span.start.min(text.len())));
        Error::new(error.message()).at(line)
    };
    let table: toml::Table = toml::from_str(text).map_err(|error| failed(error, lines))?;
    let spanned = DeTable::parse(text).map_err(|error| failed(error, lines))?;
    find_toml("", spanned.get_ref(), lines);
    Ok(json(toml::Value::Table(table)))
}

fn find_toml(path: &str, table: &DeTable<'_>, lines: &mut Finder) {
    for (key, value) in table {
        let path = within(path, key.get_ref());
        match value.get_ref() {
            DeValue::Array(entries) => {
                for (index, entry) in entries.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    // For a `[[table]]`, the line of its header.
                    lines.put(&path, entry.span().start);
                    if let DeValue::Table(table) = entry.get_ref() {
                        find_toml(&path, table, lines);
                    }
                }
            }
            DeValue::Table(table) => find_toml(&path, table, lines),
            _ => {}
        }
        lines.put(&path, key.span().start);
    }
}

/// Converts a TOML value as wrangler does: dates become strings.
fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => Number::from_f64(number).map_or(Value::Null, Value::Number),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(time) => Value::String(date(&time)),
        toml::Value::Array(values) => values.into_iter().map(json).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, json(value))).collect(),
    }
}

/// Formats a date as JavaScript does: with milliseconds if it has a time.
fn date(time: &toml::value::Datetime) -> String {
    let mut parts = Vec::new();
    parts.extend(time.date.map(|date| date.to_string()));
    parts.extend(time.time.map(|time| {
        let millis = time.nanosecond.unwrap_or_default() / 1_000_000;
        format!("{:02}:{:02}:{:02}.{millis:03}", time.hour, time.minute, time.second.unwrap_or_default())
    }));
    let offset = time.offset.map(|offset| offset.to_string()).unwrap_or_default();
    parts.join("T") + &offset
}

fn read_jsonc(text: &str, lines: &mut Finder) -> Result<Value, Error> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let failed = |error: ParseError| Error::new(error.kind().to_string()).at(Some(error.line_display()));
    let tree = parse_to_ast(text, &CollectOptions::default(), &options).map_err(failed)?;
    let Some(tree) = tree.value else { return Ok(Value::Null) };
    find_json("", &tree, text, lines)?;
    let value: Option<Value> = parse_to_serde_value(text, &options).map_err(failed)?;
    Ok(value.unwrap_or_default())
}

fn find_json(path: &str, value: &ast::Value<'_>, text: &str, lines: &mut Finder) -> Result<(), Error> {
    match value {
        ast::Value::Object(object) => {
            for property in &object.properties {
                let path = within(path, property.name.as_str());
                lines.put(&path, property.range().start);
                find_json(&path, &property.value, text, lines)?;
            }
        }
        ast::Value::Array(array) => {
            for (index, entry) in array.elements.iter().enumerate() {
                let path = format!("{path}[{index}]");
                lines.put(&path, entry.range().start);
                find_json(&path, entry, text, lines)?;
            }
        }
        // JSON strings may not contain line ends or other control characters.
        ast::Value::StringLit(literal) if text[literal.range().start..literal.range().end].contains(is_control) => {
            let line = lines.line(literal.range().start);
            return Err(Error::new(format!("\"{path}\" has a control character: write it as \\n, \\t or \\u00XX"))
                .at(Some(line)));
        }
        _ => {}
    }
    Ok(())
}

/// Whether JSON demands an escape for this character in a string; the parser in use takes it without.
fn is_control(char: char) -> bool {
    char < ' '
}
