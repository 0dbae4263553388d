//! Calls of functions.

use std::ops::Range;

use super::expression::{DATE, DATETIME, TIME, now};
use super::{Source, Writer};
use crate::Result;

/// Words behind which a name with parentheses is not a call.
const BEFORE_TABLES: [&str; 8] = ["EXISTS", "INDEX", "INTO", "ON", "REFERENCES", "TABLE", "VIEW", "WITH"];

/// Functions that both have, with other results.
const OTHERWISE: [(&str, &str); 7] = [
    ("format", "its patterns are others"),
    ("json", "cast to JSON"),
    ("last_insert_rowid", "use RETURNING"),
    ("random", "it is a fraction below 1 in Postgres"),
    ("strftime", "only the time of now in SQLite's own forms is translated: use to_char, or bind the time"),
    ("total_changes", "take the count of changed rows from the answer"),
    ("unixepoch", "only the time of now is translated: bind the time"),
];

/// The path that `json_extract` finds in `{}`, behind the words of its error.
const WRONG_PATH: &str = "bad JSON path: ";

impl Writer<'_, '_> {
    /// Translates a call whose name is here; `None` where it is to be written as it stands.
    pub(super) fn function(&mut self, index: usize, end: usize) -> Result<Option<usize>> {
        if index > 0 && self.is_one_of(index - 1, &BEFORE_TABLES) {
            return Ok(None);
        }
        let open = index + 1;
        let close = self.close(open, end);
        let arguments = self.arguments(open, close);
        let name = self.code[index].text.to_ascii_lowercase();
        if let Some(time) = self.time(&name, &arguments) {
            self.push(&time);
            return Ok(Some(close + 1));
        }
        if let Some(remedy) = self.remedy(&name, &arguments) {
            return Err(self.refused(index, remedy));
        }
        match (name.as_str(), arguments.as_slice()) {
            ("ifnull", [_, _]) => self.call("coalesce", &arguments)?,
            ("instr", [_, _]) => self.call("strpos", &arguments)?,
            ("iif", [_, _, _]) => self.condition(&arguments)?,
            ("lower" | "upper", [text]) => self.ascii(&name, text)?,
            ("group_concat", [joined]) => {
                self.push("string_agg(");
                self.range(joined.clone())?;
                self.push(", ',')");
            }
            ("group_concat", [_, _]) => self.call("string_agg", &arguments)?,
            ("avg", [values]) => self.average(values)?,
            ("cast", [cast]) => return Ok(self.cast(cast.clone())?.then_some(close + 1)),
            ("changes", []) => {
                let parameter = self.parameter(Source::Changes);
                self.push(&format!("CAST({parameter} AS BIGINT)"));
            }
            ("max", [_, _, ..]) => self.extreme("greatest", &arguments)?,
            ("min", [_, _, ..]) => self.extreme("least", &arguments)?,
            ("json_extract", [object, path]) if self.is_text(object, "'{}'") => self.failing_path(path)?,
            ("json_extract", [object, path]) => {
                let Some(key) = self.key(path) else {
                    return Err(self.refused(index, "of paths, '$.key' alone is translated: use #>> on jsonb"));
                };
                self.text_of_key(object, &key)?;
            }
            _ => return Ok(None),
        }
        Ok(Some(close + 1))
    }

    /// The time of now, where a call is that.
    fn time(&self, name: &str, arguments: &[Range<usize>]) -> Option<String> {
        const SECONDS: &str = "CAST(extract(epoch FROM date_trunc('second', statement_timestamp())) AS BIGINT)";
        let (form, time) = match arguments {
            [] => (None, None),
            [time] => (None, Some(time)),
            [form, time] => (Some(form), Some(time)),
            _ => return None,
        };
        if !time.is_none_or(|time| self.is_text(time, "'now'")) {
            return None;
        }
        let is_form = |text: &str| form.is_some_and(|form| self.is_text(form, text));
        match name {
            "datetime" if form.is_none() => Some(now(DATETIME)),
            "date" if form.is_none() => Some(now(DATE)),
            "time" if form.is_none() => Some(now(TIME)),
            "unixepoch" if form.is_none() => Some(SECONDS.to_owned()),
            "strftime" if is_form("'%s'") => Some(format!("CAST({SECONDS} AS TEXT)")),
            "strftime" if is_form("'%Y-%m-%dT%H:%M:%fZ'") => Some(now("YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"")),
            _ => None,
        }
    }

    /// The remedy for a call that means something else in Postgres.
    fn remedy(&self, name: &str, arguments: &[Range<usize>]) -> Option<&'static str> {
        match (name, arguments) {
            ("round", [_]) => Some("halves are rounded to even in Postgres: cast to NUMERIC first"),
            ("substr" | "substring", [_, from, ..]) if self.is_symbol(from.start, "-") => {
                Some("a negative start does not count from the end: use right")
            }
            ("date" | "datetime" | "time", [_, ..]) => Some("only the time of now is translated: bind the time"),
            _ => OTHERWISE.iter().find(|(other, _)| *other == name).map(|(_, remedy)| *remedy),
        }
    }

    /// A call by another name.
    fn call(&mut self, name: &str, arguments: &[Range<usize>]) -> Result<()> {
        self.push(&format!("{name}("));
        for (number, argument) in arguments.iter().enumerate() {
            if number > 0 {
                self.push(",");
            }
            self.range(argument.clone())?;
        }
        self.push(")");
        Ok(())
    }

    fn condition(&mut self, arguments: &[Range<usize>]) -> Result<()> {
        for (word, argument) in ["(CASE WHEN", "THEN", "ELSE"].iter().zip(arguments) {
            self.push(word);
            self.range(argument.clone())?;
        }
        self.push("END)");
        Ok(())
    }

    /// SQLite changes the letters of ASCII alone.
    fn ascii(&mut self, name: &str, text: &Range<usize>) -> Result<()> {
        self.push(&format!("{name}(("));
        self.range(text.clone())?;
        self.push(") COLLATE \"C\")");
        Ok(())
    }

    /// The sum as a double, by the number of values, as SQLite has it; Postgres has a NUMERIC of some digits.
    fn average(&mut self, values: &Range<usize>) -> Result<()> {
        self.push("(CAST(sum(");
        self.range(values.clone())?;
        self.push(") AS DOUBLE PRECISION) / nullif(count(");
        self.range(values.clone())?;
        self.push("), 0))");
        Ok(())
    }

    /// `CAST(x AS type)`. To an integer a fraction is cut off, where Postgres rounds.
    fn cast(&mut self, cast: Range<usize>) -> Result<bool> {
        let Some(at) = cast.clone().rev().find(|index| self.is(*index, "AS")) else { return Ok(false) };
        let of = at + 1..cast.end;
        let is = |word: &str| of.len() == 1 && self.is(of.start, word);
        if is("INTEGER") || is("INT") {
            self.push("CAST(div(CAST(");
            self.range(cast.start..at)?;
            self.push("AS NUMERIC), 1) AS BIGINT)");
        } else if is("REAL") || is("FLOAT") || is("DOUBLE") {
            self.push("CAST(");
            self.range(cast.start..at)?;
            self.push("AS DOUBLE PRECISION)");
        } else if is("BLOB") {
            return Err(self.refused(of.start, "use convert_to(x, 'UTF8') for a text"));
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// The greatest or least of several. One that is NULL makes it NULL in SQLite.
    fn extreme(&mut self, name: &str, arguments: &[Range<usize>]) -> Result<()> {
        for (number, argument) in arguments.iter().enumerate() {
            self.push(if number == 0 { "(CASE WHEN (" } else { "AND (" });
            self.range(argument.clone())?;
            self.push(") IS NOT NULL");
        }
        self.push("THEN");
        self.call(name, arguments)?;
        self.push("END)");
        Ok(())
    }

    /// The key of a path `'$.key'`, as a text of SQL.
    fn key(&self, path: &Range<usize>) -> Option<String> {
        let text = if path.len() == 1 { self.code[path.start].text } else { return None };
        let key = text.strip_prefix("'$.")?.strip_suffix('\'')?;
        let is_plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_plain.then(|| format!("'{key}'"))
    }

    /// `json_extract(object, '$.key')` of a text, or NULL. What is a number or an object in the JSON is an error: Postgres gives texts
    /// alone.
    fn text_of_key(&mut self, object: &Range<usize>, key: &str) -> Result<()> {
        let found = |writer: &mut Self, operator: &str| -> Result<()> {
            writer.push("(CAST(");
            writer.range(object.clone())?;
            writer.push(&format!("AS JSON) {operator} {key})"));
            Ok(())
        };
        self.push("(CASE coalesce(json_typeof(");
        found(self, "->")?;
        self.push("), 'null') WHEN 'null' THEN NULL WHEN 'string' THEN");
        found(self, "->>")?;
        self.push(&format!("ELSE CAST(CAST(concat('json_extract of {} is not a text: ',", key.trim_matches('\'')));
        found(self, "->>")?;
        self.push(") AS INTEGER) AS TEXT) END)");
        Ok(())
    }

    fn is_text(&self, argument: &Range<usize>, text: &str) -> bool {
        argument.len() == 1 && self.code[argument.start].text.eq_ignore_ascii_case(text)
    }

    /// `json_extract('{}', path)`: `{}` for the path `$`, and an error with the path in it for any other. `concat` keeps Postgres from
    /// computing the error of a branch that is not taken.
    fn failing_path(&mut self, path: &Range<usize>) -> Result<()> {
        self.push(&format!("coalesce(CAST(CAST(nullif(concat('{WRONG_PATH}',"));
        self.range(path.clone())?;
        self.push(&format!("), '{WRONG_PATH}$') AS INTEGER) AS TEXT), '{{}}')"));
        Ok(())
    }
}
