//! `||`, whose operands have the same text in both or are refused.
//!
//! A double and a truth value have another text in Postgres (1 for 1.0, true for 1), and the types of columns and parameters are
//! known to the server alone. So an operand is also cast to OID, in a branch that is never taken: texts and integers have such a cast,
//! and for other types the server refuses the statement.

use std::ops::Range;

use super::Writer;
use super::expression::BEFORE_OPERANDS;
use crate::Result;
use crate::postgres::lex::Kind;

/// Functions whose result is a text.
const TEXTS: [&str; 3] = ["lower", "replace", "upper"];

/// Operands within operands. Each is written twice.
const MOST: usize = 5;

impl Writer<'_, '_> {
    /// Translates `a || b` that begins here, and returns where it goes on; `None` where there is none. It is in parentheses, since
    /// `||` binds more tightly in SQLite than arithmetic does.
    pub(super) fn concatenation(&mut self, index: usize, end: usize) -> Result<Option<usize>> {
        if index > 0 && self.is_sign(index - 1) {
            return Ok(None); // the operand begins with its signs
        }
        let Some(first) = self.operand_end(index, end).filter(|first| self.is_concat(*first, end)) else {
            return Ok(None);
        };
        let follows_operator = index > 0
            && (self.is_behind_arrow(index)
                || self.is_symbol(index - 1, "::")
                || (self.is_symbol(index, "(") && self.is(index - 1, "IN")));
        if follows_operator {
            return Err(self.refused(first, "put what is before || in parentheses"));
        }
        self.push("(");
        self.concat_operand(index..first)?;
        let mut at = first;
        while self.is_concat(at, end) {
            let Some(next) = self.operand_end(at + 2, end) else {
                return Err(self.refused(at, "put what is behind || in parentheses"));
            };
            self.push("||");
            self.concat_operand(at + 2..next)?;
            at = next;
        }
        self.push(")");
        Ok(Some(at))
    }

    /// Returns whether `||` stands here.
    pub(super) fn is_concat(&self, index: usize, end: usize) -> bool {
        index + 1 < end && self.is_symbol(index, "|") && self.is_symbol(index + 1, "|") && self.is_joined(index)
    }

    /// The end of the operand that begins here.
    fn operand_end(&self, start: usize, end: usize) -> Option<usize> {
        let index = (start..end).find(|index| !self.is_sign(*index))?;
        let token = &self.code[index];
        let is_blob = token.is("x") && self.is_joined(index) && self.code[index + 1].kind == Kind::Text;
        let mut behind = match token.kind {
            Kind::Symbol if token.text == "(" => self.close(index, end) + 1,
            Kind::Word if token.is("CASE") => self.case_end(index, end)?,
            Kind::Word if is_blob => index + 2,
            Kind::Word if self.is_one_of(index, &BEFORE_OPERANDS) => return None,
            Kind::Word | Kind::Name => self.call_end(index, end),
            Kind::Text | Kind::Number | Kind::Parameter => index + 1,
            _ => return None,
        };
        while self.is(behind, "COLLATE") {
            behind += 2;
        }
        (behind <= end).then_some(behind)
    }

    /// The end of a name or a call.
    fn call_end(&self, start: usize, end: usize) -> usize {
        let mut index = start + 1;
        while self.is_symbol(index, ".") {
            index += 2;
        }
        if !self.is_symbol(index, "(") {
            return index;
        }
        index = self.close(index, end) + 1;
        if self.is(index, "FILTER") && self.is_symbol(index + 1, "(") {
            index = self.close(index + 1, end) + 1;
        }
        if self.is(index, "OVER") {
            index = if self.is_symbol(index + 1, "(") { self.close(index + 1, end) + 1 } else { index + 2 };
        }
        index
    }

    fn case_end(&self, start: usize, end: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for index in start..end {
            if self.is(index, "CASE") {
                depth += 1;
            } else if self.is(index, "END") {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(index + 1);
                }
            }
        }
        None
    }

    fn concat_operand(&mut self, operand: Range<usize>) -> Result<()> {
        let inner = self.without_parentheses(operand.clone());
        if inner.len() == 1 {
            let token = self.code[inner.start];
            let is_double =
                token.kind == Kind::Number && token.text.parse::<i64>().is_err() && !token.text.contains(['x', 'X']);
            if is_double || token.is_one_of(&["TRUE", "FALSE"]) {
                return Err(self.refused(inner.start, "as an operand of || it has another text there: write a text"));
            }
        }
        if self.is_text_in_both(inner) {
            return self.range(operand);
        }
        if self.guards == MOST {
            return Err(self.refused(operand.start, "|| stands within too many others: use several columns"));
        }
        self.guards += 1;
        self.push("(CASE WHEN TRUE THEN CAST(");
        self.range(operand.clone())?;
        self.push("AS TEXT) ELSE CAST(CAST(");
        self.range(operand)?;
        self.push("AS OID) AS TEXT) END)");
        self.guards -= 1;
        Ok(())
    }

    /// The tokens within the parentheses around all of them.
    fn without_parentheses(&self, mut range: Range<usize>) -> Range<usize> {
        while range.len() > 2 && self.is_symbol(range.start, "(") && self.close(range.start, range.end) + 1 == range.end
        {
            range = range.start + 1..range.end - 1;
        }
        range
    }

    /// Returns whether an operand is a text by its form: a literal, some calls, another concatenation.
    fn is_text_in_both(&self, operand: Range<usize>) -> bool {
        if operand.len() == 1 {
            return self.code[operand.start].kind == Kind::Text;
        }
        let mut at = self.operand_end(operand.start, operand.end);
        if at == Some(operand.end) {
            return self.is_one_of(operand.start, &TEXTS) && self.is_symbol(operand.start + 1, "(");
        }
        while let Some(behind) = at.filter(|at| self.is_concat(*at, operand.end)) {
            at = self.operand_end(behind + 2, operand.end);
        }
        at == Some(operand.end)
    }
}
