//! Operators and clauses.

use std::ops::Range;

use super::{Source, Writer};
use crate::postgres::lex::Kind;
use crate::{Result, sql};

/// Words that end `ORDER BY`.
const BEHIND_ORDER: [&str; 11] =
    ["LIMIT", "OFFSET", "FETCH", "FOR", "ROWS", "RANGE", "GROUPS", "UNION", "EXCEPT", "INTERSECT", "RETURNING"];

/// Words behind which an operand begins.
pub(super) const BEFORE_OPERANDS: [&str; 32] = [
    "ALL",
    "AND",
    "AS",
    "BETWEEN",
    "BY",
    "CASE",
    "CHECK",
    "DEFAULT",
    "DISTINCT",
    "ELSE",
    "ESCAPE",
    "FROM",
    "GLOB",
    "HAVING",
    "IN",
    "IS",
    "LIKE",
    "LIMIT",
    "MATCH",
    "NOT",
    "OFFSET",
    "ON",
    "OR",
    "RETURNING",
    "SELECT",
    "SET",
    "THEN",
    "UNION",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE",
];

/// Words that may stand behind `IS` in both.
const TRUTHS: [&str; 7] = ["NULL", "TRUE", "FALSE", "UNKNOWN", "DISTINCT", "DOCUMENT", "NORMALIZED"];

/// The names of what there is, in the place of `sqlite_schema`. It has no `sql` and no `rootpage`.
const CATALOG: &str = "(SELECT CASE WHEN c.relkind IN ('r', 'p') THEN 'table' WHEN c.relkind = 'v' THEN 'view' ELSE 'index' END AS type, \
     CAST(c.relname AS TEXT) AS name, CAST(coalesce(t.relname, c.relname) AS TEXT) AS tbl_name \
     FROM pg_catalog.pg_class AS c LEFT JOIN pg_catalog.pg_index AS i ON i.indexrelid = c.oid \
     LEFT JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid \
     WHERE c.relkind IN ('r', 'p', 'v', 'i', 'I') AND pg_catalog.pg_table_is_visible(c.oid) \
     AND c.relnamespace NOT IN (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname IN ('pg_catalog', 'information_schema'))) \
     AS sqlite_schema";

/// The time of the statement as SQLite writes it, by a pattern of `to_char`.
pub(super) fn now(pattern: &str) -> String {
    format!("(to_char(statement_timestamp() AT TIME ZONE 'UTC', '{pattern}'))")
}

/// SQLite's patterns of its times.
pub(super) const DATETIME: &str = "YYYY-MM-DD HH24:MI:SS";
pub(super) const DATE: &str = "YYYY-MM-DD";
pub(super) const TIME: &str = "HH24:MI:SS";

impl Writer<'_, '_> {
    /// Translates what begins here, and returns where it goes on.
    pub(super) fn token(&mut self, index: usize, end: usize) -> Result<usize> {
        if let Some(behind) = self.concatenation(index, end)? {
            return Ok(behind);
        }
        let token = self.code[index];
        match token.kind {
            Kind::Parameter => {
                let value = self.values.get(&token.start).copied().unwrap_or_default();
                let parameter = self.parameter(Source::Value(value));
                self.put(index, index, &parameter);
                Ok(index + 1)
            }
            Kind::Number => self.number(index),
            Kind::Name if token.text.starts_with('`') => {
                self.put(index, index, &sql::quoted(&sql::unquoted(token.text)));
                Ok(index + 1)
            }
            Kind::Word => self.word(index, end),
            Kind::Text if token.text.starts_with("'$") && self.is_behind_arrow(index) => {
                Err(self.refused(index, "-> and ->> take a key in place of a path: use #>> on jsonb"))
            }
            Kind::Symbol if token.text == "=" && self.is_symbol(index + 1, "=") && self.is_joined(index) => {
                self.put(index, index + 1, "=");
                Ok(index + 2)
            }
            Kind::Symbol if self.is_concat(index, end) => {
                Err(self.refused(index, "put the operands of || in parentheses"))
            }
            _ => {
                self.copy(index);
                Ok(index + 1)
            }
        }
    }

    /// Returns whether `->` or `->>` stands before a token.
    pub(super) fn is_behind_arrow(&self, index: usize) -> bool {
        let is = |back: usize, symbol: &str| index.checked_sub(back).is_some_and(|at| self.is_symbol(at, symbol));
        is(1, ">") && (is(2, "-") || (is(2, ">") && is(3, "-")))
    }

    /// A number with a point is a double in SQLite, and one in hexadecimal digits an integer.
    fn number(&mut self, index: usize) -> Result<usize> {
        let text = self.code[index].text;
        let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        if let Some(digits) = hexadecimal {
            let Ok(number) = u64::from_str_radix(digits, 16) else {
                return Err(self.refused(index, "it is not an integer of 64 bits"));
            };
            self.put(index, index, &format!("({})", number as i64));
        } else if text.contains('_') {
            return Err(self.refused(index, "write the number without underscores"));
        } else if text.contains(['.', 'e', 'E']) {
            self.put(index, index, &format!("CAST({text} AS DOUBLE PRECISION)"));
        } else if text.parse::<i64>().is_err() && !self.is_least(index) {
            return Err(self.refused(index, "it is not an integer of 64 bits: write a double with a point"));
        } else {
            self.copy(index);
        }
        Ok(index + 1)
    }

    /// Returns whether a number is that of the least integer, behind its sign.
    fn is_least(&self, index: usize) -> bool {
        let is_signed = index > 0 && self.is_symbol(index - 1, "-") && self.is_sign(index - 1);
        is_signed && self.code[index].text.trim_start_matches('0') == "9223372036854775808"
    }

    /// Returns whether `-`, `+` or `~` stands before an operand and behind none.
    pub(super) fn is_sign(&self, index: usize) -> bool {
        let is_symbol = ["-", "+", "~"].iter().any(|sign| self.is_symbol(index, sign));
        is_symbol
            && index.checked_sub(1).is_none_or(|before| match self.code[before].kind {
                Kind::Symbol => !self.is_symbol(before, ")"),
                Kind::Word => self.is_one_of(before, &BEFORE_OPERANDS),
                _ => false,
            })
    }

    fn word(&mut self, index: usize, end: usize) -> Result<usize> {
        let token = self.code[index];
        let is_qualified = index > 0 && self.is_symbol(index - 1, ".");
        if !is_qualified
            && self.is_symbol(index + 1, "(")
            && let Some(next) = self.function(index, end)?
        {
            return Ok(next);
        }
        let is = |ahead: usize, word: &str| self.is(index + ahead, word);
        if token.is("x") && self.is_joined(index) && self.code[index + 1].kind == Kind::Text {
            return self.blob(index);
        } else if token.is("INSERT") && is(1, "OR") {
            return self.insert_or(index);
        } else if token.is("UPDATE") && is(1, "OR") {
            return Err(self.refused(index + 2, "use INSERT ... ON CONFLICT (...) DO UPDATE"));
        } else if token.is("RETURNING") && self.ignores && end == self.code.len() {
            self.ignores = false;
            self.push("ON CONFLICT DO NOTHING");
        } else if token.is("ORDER") && is(1, "BY") {
            self.push("ORDER BY");
            return self.terms(index + 2, end);
        } else if token.is("LIKE") && index > 0 {
            return self.like(index, "COLLATE \"C\" ILIKE", end);
        } else if token.is("NOT") && is(1, "LIKE") {
            return self.like(index + 1, "COLLATE \"C\" NOT ILIKE", end);
        } else if token.is("IS") {
            return self.is_operator(index);
        } else if token.is_one_of(&["sqlite_schema", "sqlite_master"])
            && index > 0
            && self.is_one_of(index - 1, &["FROM", "JOIN"])
        {
            self.put(index, index, CATALOG);
            return Ok(index + 1);
        } else if token.is("GLOB") && index > 0 {
            return Err(self.refused(index, "use LIKE"));
        } else if token.is("CURRENT_TIMESTAMP") {
            self.put(index, index, &now(DATETIME));
            return Ok(index + 1);
        } else if token.is("CURRENT_DATE") {
            self.put(index, index, &now(DATE));
            return Ok(index + 1);
        } else if token.is("CURRENT_TIME") {
            self.put(index, index, &now(TIME));
            return Ok(index + 1);
        } else if token.is("COLLATE") && is(1, "BINARY") {
            self.push("COLLATE \"C\"");
            return Ok(index + 2);
        }
        self.copy(index);
        Ok(index + 1)
    }

    /// `x'00ff'`, which is a string of bits in Postgres.
    fn blob(&mut self, index: usize) -> Result<usize> {
        let text = self.code[index + 1].text;
        let digits = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap_or(text);
        if !digits.len().is_multiple_of(2) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(self.refused(index, "the blob has an odd number of digits, or others than hexadecimal ones"));
        }
        self.put(index, index + 1, &format!("CAST('\\x{digits}' AS BYTEA)"));
        Ok(index + 2)
    }

    /// `INSERT OR IGNORE`. A row that violates NOT NULL or CHECK is an error in Postgres, and left out in SQLite.
    fn insert_or(&mut self, index: usize) -> Result<usize> {
        let has_clause = (index..self.code.len()).any(|at| self.is(at, "ON") && self.is(at + 1, "CONFLICT"));
        if !self.is(index + 2, "IGNORE") || has_clause {
            return Err(self.refused(index + 2, "use INSERT ... ON CONFLICT (...) DO ..."));
        }
        self.ignores = true;
        self.copy(index);
        self.touches = None;
        Ok(index + 3)
    }

    /// The terms of `ORDER BY` and of an index. NULLs come first in SQLite, and last in descending order.
    pub(super) fn terms(&mut self, start: usize, end: usize) -> Result<usize> {
        let mut from = start;
        let mut index = start;
        loop {
            let ends = index >= end || self.is_symbol(index, ")") || self.is_one_of(index, &BEHIND_ORDER);
            if ends || self.is_symbol(index, ",") {
                self.term(from..index)?;
                if ends {
                    return Ok(index);
                }
                self.copy(index);
                from = index + 1;
            } else if self.is_symbol(index, "(") {
                index = self.close(index, end).min(end - 1);
            }
            index += 1;
        }
    }

    fn term(&mut self, term: Range<usize>) -> Result<()> {
        if term.is_empty() {
            return Ok(());
        }
        let has_nulls = term.clone().any(|index| self.is(index, "NULLS"));
        let is_descending = self.is(term.end - 1, "DESC");
        self.range(term)?;
        if !has_nulls {
            self.push(if is_descending { "NULLS LAST" } else { "NULLS FIRST" });
        }
        Ok(())
    }

    /// `LIKE`, which tells no upper from lower case of ASCII and has no escape in SQLite.
    fn like(&mut self, index: usize, operator: &str, end: usize) -> Result<usize> {
        self.push(operator);
        let behind = self.operand(index + 1, end);
        self.range(index + 1..behind)?;
        if !self.is(behind, "ESCAPE") {
            self.push("ESCAPE ''");
        }
        Ok(behind)
    }

    /// The end of the operand that begins here: what `||` joins.
    fn operand(&self, start: usize, end: usize) -> usize {
        let mut index = start;
        loop {
            if self.is_symbol(index, "(") {
                index = self.close(index, end) + 1;
            } else {
                index += 1;
                while self.is_symbol(index, ".") {
                    index += 2;
                }
                if self.is_symbol(index, "(") {
                    index = self.close(index, end) + 1;
                }
            }
            if !(self.is_symbol(index, "|") && self.is_symbol(index + 1, "|")) {
                return index.min(end);
            }
            index += 2;
        }
    }

    /// `IS` between values.
    fn is_operator(&mut self, index: usize) -> Result<usize> {
        let not = usize::from(self.is(index + 1, "NOT"));
        if self.is_one_of(index + 1 + not, &TRUTHS) {
            self.copy(index);
            return Ok(index + 1);
        }
        self.push(if not == 1 { "IS DISTINCT FROM" } else { "IS NOT DISTINCT FROM" });
        Ok(index + 1 + not)
    }
}
