//! SQL as it is written for SQLite and D1, in Postgres' words.
//!
//! Token by token, and only where the meaning is the same; texts and comments are never touched. What would run with another result
//! is refused, and what Postgres does not know fails there. A script behind the comment `/* isobar:postgres */` is taken as it is: its
//! parameters are `$1`, `$2`.
//!
//! | module | translates |
//! |---|---|
//! | this one | scripts, parameters, the kind of a statement |
//! | `concat` | `||` |
//! | `expression` | operators, clauses, the order of NULLs |
//! | `function` | calls |
//! | `definition` | tables, columns, indexes |

mod concat;
mod definition;
mod expression;
mod function;

use std::collections::HashMap;
use std::ops::Range;

use super::lex::{self, Kind, Token};
use crate::{Error, ErrorKind, Result, sql};

/// A comment behind which SQL is Postgres' own.
const NATIVE: &str = "isobar:postgres";

/// Statements of transactions and sessions, which are the backend's.
const CONTROL: [&str; 8] = ["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"];

/// Statements that would change the connection for whoever has it next, or need a protocol of their own.
const SESSION: [&str; 16] = [
    "ATTACH",
    "CLOSE",
    "COPY",
    "DEALLOCATE",
    "DECLARE",
    "DETACH",
    "DISCARD",
    "EXECUTE",
    "FETCH",
    "LISTEN",
    "LOAD",
    "MOVE",
    "PREPARE",
    "RESET",
    "SET",
    "UNLISTEN",
];

/// A statement for Postgres.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// The SQL for Postgres.
    pub(super) sql: String,
    /// Where the values of `$1`, `$2` come from.
    pub(super) sources: Vec<Source>,
    /// Number of values that the caller gives.
    pub(super) count: usize,
    pub(super) verb: Verb,
    /// The SQL as it is written.
    pub(super) text: String,
    /// The byte of the script at which it begins.
    pub(super) start: usize,
}

/// The value of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// One of the caller's, counted from 0.
    Value(usize),
    /// The number of rows that the statement before has changed.
    Changes,
}

/// Parentheses and `CASE` within each other, as many as SQLite's expressions are deep.
const MOST_NESTED: usize = 100;
/// Bytes of a translation, by those of the statement. Some calls write an argument several times, and within each other double each time.
const MOST_TIMES: usize = 64;
/// Bytes that the translation of a short statement may have.
const LONGEST_OF_SHORT: usize = 1 << 20;

/// The kind of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Read,
    /// It changes rows.
    Write,
    /// It changes the schema, or another thing than rows.
    Define,
}

/// The statements of a script.
pub(super) fn script(script: &str) -> Result<Vec<Piece>> {
    let tokens = lex::tokens(script);
    check_comments(&tokens)?;
    check_closed(&tokens)?;
    let mut is_native = false;
    let mut pieces = Vec::new();
    for statement in lex::statements(&tokens) {
        is_native |= statement.iter().any(|token| token.kind == Kind::Comment && token.text.contains(NATIVE));
        let code: Vec<Token<'_>> = statement.iter().copied().filter(Token::is_code).collect();
        let (Some(first), Some(last)) = (code.first(), code.last()) else { continue };
        check_allowed(&code)?;
        let text = &script[first.start..last.start + last.text.len()];
        let mut piece = if is_native { native(&code, text)? } else { Writer::new(&code)?.statement()? };
        text.clone_into(&mut piece.text);
        piece.start = first.start;
        pieces.push(piece);
    }
    Ok(pieces)
}

/// Refuses a comment within another one, which Postgres ends later than SQLite: what stands between would be left out.
fn check_comments(tokens: &[Token<'_>]) -> Result<()> {
    let comments = || tokens.iter().filter(|token| token.kind == Kind::Comment);
    let is_native = comments().any(|comment| comment.text.contains(NATIVE));
    let is_wrong = |comment: &Token<'_>| {
        let count = |mark: &str| comment.text.matches(mark).count();
        comment.text.starts_with("/*") && count("/*") > 1 && !(is_native && count("/*") == count("*/"))
    };
    if comments().any(is_wrong) {
        let message = "a comment begins within a comment: SQLite ends both at the first */, and Postgres the inner one";
        return Err(Error::new(ErrorKind::Sql, message));
    }
    Ok(())
}

/// Refuses a text or name without an end, in SQLite's words.
fn check_closed(tokens: &[Token<'_>]) -> Result<()> {
    let Some(at) = tokens.iter().position(|token| token.kind == Kind::Unterminated) else { return Ok(()) };
    let is_blob = tokens[at].text.starts_with('\'') && at > 0 && tokens[at - 1].is("x");
    let mark = if is_blob { tokens[at - 1].text } else { "" };
    // The rest of a script may be long.
    let beginning: String = tokens[at].text.chars().take(40).collect();
    Err(Error::new(ErrorKind::Sql, format!("unrecognized token: \"{mark}{beginning}\"")))
}

/// Refuses what belongs to the backend.
fn check_allowed(code: &[Token<'_>]) -> Result<()> {
    let first = &code[0];
    let is_second = |words: &[&str]| code.get(1).is_some_and(|second| second.is_one_of(words));
    if first.is_one_of(&CONTROL) || (first.is("PREPARE") && is_second(&["TRANSACTION"])) {
        let message = "To execute a transaction, please use batch() or begin() instead of the SQL BEGIN TRANSACTION or SAVEPOINT \
                       statements.";
        return Err(Error::new(ErrorKind::NotAuthorized, message));
    }
    let is_temporary = first.is("CREATE") && is_second(&["TEMP", "TEMPORARY"]);
    // These two end with the transaction.
    let is_of_transaction = first.is("SET") && is_second(&["CONSTRAINTS", "LOCAL"]);
    if (first.is_one_of(&SESSION) && !is_of_transaction) || is_temporary {
        let message = format!("not authorized: {} acts on the connection, which others use next", first.text);
        return Err(Error::new(ErrorKind::NotAuthorized, message));
    }
    Ok(())
}

/// A statement that is written for Postgres.
fn native(code: &[Token<'_>], text: &str) -> Result<Piece> {
    let mut count = 0;
    for token in code.iter().filter(|token| token.kind == Kind::Parameter && token.text.starts_with('$')) {
        if let Ok(number) = token.text[1..].parse::<usize>() {
            count = number.max(count);
        }
    }
    let sources = (0..count).map(Source::Value).collect();
    Ok(Piece { sql: text.to_owned(), sources, count, verb: verb(code), text: String::new(), start: 0 })
}

/// The kind of a statement, by its first word, or the first one behind WITH and its parentheses.
fn verb(code: &[Token<'_>]) -> Verb {
    let kind = |token: &Token<'_>| {
        if token.is_one_of(&["INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE"]) {
            Some(Verb::Write)
        } else if token.is_one_of(&["SELECT", "VALUES", "TABLE", "EXPLAIN", "SHOW"]) || token.is_symbol("(") {
            Some(Verb::Read)
        } else {
            None
        }
    };
    if !code[0].is("WITH") {
        return kind(&code[0]).unwrap_or(Verb::Define);
    }
    let mut depth = 0_usize;
    for token in code {
        match token.text {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ if depth == 0 && token.kind == Kind::Word => {
                if let Some(kind) = kind(token) {
                    return kind;
                }
            }
            _ => {}
        }
    }
    Verb::Read
}

/// The translation of one statement, as far as it has come.
struct Writer<'t, 'a> {
    code: &'t [Token<'a>],
    out: String,
    /// The byte behind the token that was written last, where the next one may touch it.
    touches: Option<usize>,
    /// The values of the parameters, by the byte of their token.
    values: HashMap<usize, usize>,
    count: usize,
    sources: Vec<Source>,
    /// `INSERT OR IGNORE`, whose clause is still to be written.
    ignores: bool,
    /// Operands of `||` that are being written, within each other.
    guards: usize,
    /// The bytes that may be written.
    most_bytes: usize,
}

impl<'t, 'a> Writer<'t, 'a> {
    fn new(code: &'t [Token<'a>]) -> Result<Self> {
        let (values, count) = number(code)?;
        let bytes = code.iter().map(|token| token.text.len()).sum::<usize>();
        Ok(Self {
            code,
            out: String::new(),
            touches: None,
            values,
            count,
            sources: Vec::new(),
            ignores: false,
            guards: 0,
            most_bytes: LONGEST_OF_SHORT.max(bytes.saturating_mul(MOST_TIMES)),
        })
    }

    /// Translates all of it.
    fn statement(mut self) -> Result<Piece> {
        self.check_words()?;
        self.check_parentheses()?;
        if !self.definition()? {
            self.range(0..self.code.len())?;
        }
        if self.ignores {
            self.push("ON CONFLICT DO NOTHING");
        }
        let verb = verb(self.code);
        Ok(Piece { sql: self.out, sources: self.sources, count: self.count, verb, text: String::new(), start: 0 })
    }

    /// Refuses statements that Postgres has not, with a reason.
    fn check_words(&self) -> Result<()> {
        let is = |index: usize, word: &str| self.is(index, word);
        let (index, remedy) = if is(0, "PRAGMA") {
            (0, "there are none in Postgres")
        } else if is(0, "REPLACE") {
            (0, "use INSERT ... ON CONFLICT (...) DO UPDATE")
        } else if is(0, "CREATE") && is(1, "VIRTUAL") {
            (1, "there are no virtual tables in Postgres")
        } else if is(0, "CREATE") && is(1, "TRIGGER") {
            (1, "its body has to be a function in Postgres: give the migration a file of its own")
        } else if is(0, "EXPLAIN") && is(1, "QUERY") {
            (1, "use EXPLAIN")
        } else {
            return Ok(());
        };
        Err(self.refused(index, remedy))
    }

    /// Refuses a parenthesis without the other, as the translation would complete what is cut off, and too many within each other.
    fn check_parentheses(&self) -> Result<()> {
        let mut depth = 0_usize;
        let mut cases = 0_usize;
        for token in self.code {
            if token.is_symbol("(") {
                depth += 1;
            } else if token.is_symbol(")") {
                let outer = depth.checked_sub(1);
                depth = outer.ok_or_else(|| Error::new(ErrorKind::Sql, "near \")\": syntax error"))?;
            } else if token.is("CASE") {
                cases += 1;
            } else if token.is("END") {
                cases = cases.saturating_sub(1);
            }
            if depth + cases > MOST_NESTED {
                let message = format!("Expression tree is too large (maximum depth {MOST_NESTED})");
                return Err(Error::new(ErrorKind::Sql, message));
            }
        }
        if depth == 0 { Ok(()) } else { Err(Error::new(ErrorKind::Sql, "incomplete input")) }
    }

    /// The error of a construct that would not mean the same.
    fn refused(&self, index: usize, remedy: &str) -> Error {
        let construct = self.code.get(index).map_or("", |token| token.text).to_ascii_uppercase();
        Error::new(ErrorKind::Sql, format!("{construct} has no equivalent in Postgres: {remedy}"))
    }

    fn is(&self, index: usize, word: &str) -> bool {
        self.code.get(index).is_some_and(|token| token.is(word))
    }

    fn is_one_of(&self, index: usize, words: &[&str]) -> bool {
        self.code.get(index).is_some_and(|token| token.is_one_of(words))
    }

    fn is_symbol(&self, index: usize, symbol: &str) -> bool {
        self.code.get(index).is_some_and(|token| token.is_symbol(symbol))
    }

    /// Returns whether two tokens stand without space between them.
    fn is_joined(&self, index: usize) -> bool {
        matches!((self.code.get(index), self.code.get(index + 1)),
            (Some(one), Some(next)) if one.start + one.text.len() == next.start)
    }

    /// Writes SQL of the translation's own.
    fn push(&mut self, sql: &str) {
        self.gap(sql);
        self.out.push_str(sql);
        self.touches = None;
    }

    /// Writes a token as it is.
    fn copy(&mut self, index: usize) {
        self.put(index, index, self.code[index].text);
    }

    /// Writes SQL in place of these tokens.
    fn put(&mut self, first: usize, last: usize, sql: &str) {
        if self.touches != Some(self.code[first].start) {
            self.gap(sql);
        }
        self.out.push_str(sql);
        let last = &self.code[last];
        self.touches = Some(last.start + last.text.len());
    }

    /// Writes a space, where one belongs before this.
    fn gap(&mut self, next: &str) {
        if !(self.out.is_empty() || self.out.ends_with('(') || next.starts_with([',', ')'])) {
            self.out.push(' ');
        }
    }

    /// The number of a parameter for this value, as it is written.
    fn parameter(&mut self, source: Source) -> String {
        let number = self.sources.iter().position(|known| *known == source).unwrap_or_else(|| {
            self.sources.push(source);
            self.sources.len() - 1
        });
        format!("${}", number + 1)
    }

    /// Translates some of the tokens.
    fn range(&mut self, range: Range<usize>) -> Result<()> {
        let mut index = range.start;
        while index < range.end {
            if self.out.len() > self.most_bytes {
                let message = "the translation is too long: calls stand within too many others";
                return Err(Error::new(ErrorKind::TooBig, message));
            }
            index = self.token(index, range.end)?;
        }
        Ok(())
    }

    /// The index of the parenthesis that closes the one here; the end where there is none.
    fn close(&self, open: usize, end: usize) -> usize {
        let mut depth = 0_usize;
        for index in open..end {
            if self.is_symbol(index, "(") {
                depth += 1;
            } else if self.is_symbol(index, ")") {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index;
                }
            }
        }
        end
    }

    /// The parts between commas, behind an opening parenthesis.
    fn arguments(&self, open: usize, close: usize) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let mut start = open + 1;
        let mut index = start;
        while index < close {
            if self.is_symbol(index, "(") {
                index = self.close(index, close);
            } else if self.is_symbol(index, ",") {
                parts.push(start..index);
                start = index + 1;
            }
            index += 1;
        }
        if start < close {
            parts.push(start..close);
        }
        parts
    }
}

/// Numbers the parameters as SQLite does: `?` is one more than the highest so far, a name the first number that it has got.
fn number(code: &[Token<'_>]) -> Result<(HashMap<usize, usize>, usize)> {
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut values = HashMap::new();
    let mut highest = 0;
    for token in code.iter().filter(|token| token.kind == Kind::Parameter) {
        let number = match token.text.strip_prefix(['?', '$']).map(|digits| (digits, digits.parse::<usize>())) {
            Some(("", _)) => highest + 1,
            Some((_, Ok(number @ 1..=32_766))) => number,
            Some((_, Err(_))) if token.text.starts_with('$') => *names.entry(token.text).or_insert(highest + 1),
            Some(_) => return Err(Error::new(ErrorKind::Sql, "variable number must be between ?1 and ?32766")),
            None => *names.entry(token.text).or_insert(highest + 1),
        };
        highest = highest.max(number);
        values.insert(token.start, number - 1);
    }
    Ok((values, highest))
}

/// The script without the `BEGIN TRANSACTION` and `COMMIT` around it.
///
/// A script for Postgres is left as it is: functions have such words in their bodies.
pub(super) fn without_transaction(script: &str) -> Result<std::borrow::Cow<'_, str>> {
    if script.contains(NATIVE) { Ok(script.into()) } else { sql::without_transaction(script) }
}

#[cfg(test)]
mod tests;
