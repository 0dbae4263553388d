//! `DELETE` and `UPDATE` with `ORDER BY ... LIMIT`, which workerd's SQLite has and the bundled one was not generated for
//! (`SQLITE_ENABLE_UPDATE_DELETE_LIMIT` changes the grammar).
//!
//! Only what SQLite has refused is written anew, and only where its parser stopped at the ORDER or LIMIT of a DELETE or
//! UPDATE: `... WHERE key IN (SELECT key FROM table WHERE ... ORDER BY ... LIMIT ...)`, which is what SQLite makes of such a
//! statement itself. UPDATE ... FROM and parameters in RETURNING are left refused.

use std::ops::Range;

use rusqlite::ffi;

use super::connection::Guarded;
use super::raw::{self, Failure, Prepared};
use crate::Value;
use crate::sql::{self, Kind, Token};

type Found<'c> = Result<(Option<Prepared<'c>>, usize), Failure>;

/// Prepares the first statement of `rest`, which failed so, in its other form; `None` where it has none.
pub(super) fn prepare<'c>(connection: &'c Guarded, rest: &str, failure: &Failure) -> Option<Found<'c>> {
    let stopped = ["near \"ORDER\": syntax error", "near \"LIMIT\": syntax error"];
    if !stopped.iter().any(|message| message.eq_ignore_ascii_case(&failure.message)) {
        return None;
    }
    let piece = sql::pieces(rest).find(|piece| piece.has_code)?;
    let at = failure.offset?.checked_sub(piece.start)?;
    let parts = Parts::of(piece.text, at)?;
    let wrong = |message: String| Some(Err(Failure { code: ffi::SQLITE_ERROR, message, offset: None, system: 0 }));
    if let Some(verb) = parts.unlimited {
        return wrong(format!("ORDER BY without LIMIT on {verb}"));
    }
    let key = match key(connection, &parts.name)? {
        Key::Columns(columns) => columns,
        Key::View => return wrong(format!("cannot modify {} because it is a view", parts.name)),
    };
    let before = format!("WHERE ({key}) IN (SELECT {key} FROM {} ", &piece.text[parts.target.clone()]);
    let [head, condition, returning, clause] =
        [0..parts.condition.start, parts.condition.clone(), parts.returning.clone(), parts.clause.clone()]
            .map(|range| &piece.text[range]);
    let rewritten = format!("{head} {before}{condition} {clause}) {returning}");
    let moved = |offset: usize| {
        let inner = offset.checked_sub(head.len() + 1 + before.len())?;
        if inner < condition.len() {
            return Some(piece.start + parts.condition.start + inner);
        }
        let inner = inner.checked_sub(condition.len() + 1).filter(|inner| *inner < clause.len())?;
        Some(piece.start + parts.clause.start + inner)
    };
    Some(match raw::prepare(connection.connection(), &rewritten) {
        Ok((prepared, _)) => Ok((prepared, piece.end)),
        Err(failure) => {
            let same = |offset: usize| (offset < head.len()).then_some(piece.start + offset);
            let offset = failure.offset.and_then(|offset| same(offset).or_else(|| moved(offset)));
            Err(Failure { offset, ..failure })
        }
    })
}

/// A limited statement, taken apart. Ranges are bytes of its text.
struct Parts {
    /// The table's name.
    name: String,
    /// The table with its schema, alias and index.
    target: Range<usize>,
    /// From WHERE on; empty where there is none.
    condition: Range<usize>,
    /// From RETURNING on; empty where there is none.
    returning: Range<usize>,
    /// From ORDER or LIMIT on.
    clause: Range<usize>,
    /// DELETE or UPDATE, where there is an ORDER BY without a LIMIT.
    unlimited: Option<&'static str>,
}

impl Parts {
    /// Takes the statement apart at `clause`, where the parser has stopped.
    fn of(text: &str, clause: usize) -> Option<Self> {
        let mut depth = 0_usize;
        let outer = |token: &Token<'_>| {
            match token.text {
                "(" => depth += 1,
                ")" => depth = depth.saturating_sub(1),
                _ => return depth == 0 && token.kind != Kind::Space,
            }
            false
        };
        // Everything in parentheses is left out.
        let tokens: Vec<Token<'_>> = sql::tokens(text).filter(outer).collect();
        let word = |index: usize, word: &str| tokens.get(index).is_some_and(|token| is_word(token, word));
        let first = tokens.iter().position(|token| is_word(token, "DELETE") || is_word(token, "UPDATE"))?;
        if first > 0 && !word(0, "WITH") {
            return None;
        }
        let verb = if word(first, "DELETE") { "DELETE" } else { "UPDATE" };
        let mut index = match verb {
            "DELETE" if word(first + 1, "FROM") => first + 2,
            "UPDATE" if word(first + 1, "OR") => first + 3,
            "UPDATE" => first + 1,
            _ => return None,
        };
        let table = index;
        index += 1;
        if tokens.get(index)?.text == "." {
            index += 2;
        }
        let name = unquoted(tokens.get(index - 1)?.text);
        let ends = ["SET", "WHERE", "RETURNING", "ORDER", "LIMIT"];
        // An alias and an index may follow.
        while !ends.iter().any(|end| word(index, end)) {
            index += 1;
            tokens.get(index)?;
        }
        let last = tokens.get(index - 1)?;
        let target = tokens.get(table)?.start..last.start + last.text.len();
        let stop = tokens.iter().position(|token| token.start == clause)?;
        let between = tokens.get(index..stop)?;
        // IS DISTINCT FROM is an operator.
        let is_from =
            |index: usize| is_word(&between[index], "FROM") && !(index > 0 && is_word(&between[index - 1], "DISTINCT"));
        if verb == "UPDATE" && (0..between.len()).any(is_from) {
            return None;
        }
        let end = clause + end_of_clause(&text[clause..])?;
        let start = |word: &str| between.iter().find(|token| is_word(token, word)).map(|token| token.start);
        let returning = start("RETURNING").unwrap_or(clause);
        let condition = start("WHERE").unwrap_or(returning);
        let is_parameter = |token: Token<'_>| token.kind == Kind::Parameter;
        if sql::tokens(&text[returning..clause]).any(is_parameter) {
            return None;
        }
        let unlimited = !tokens[stop..].iter().any(|token| is_word(token, "LIMIT"));
        Some(Self {
            name,
            target,
            condition: condition..returning,
            returning: returning..clause,
            clause: clause..end,
            unlimited: unlimited.then_some(verb),
        })
    }
}

/// Where the last word of a clause ends, comments behind it left out; `None` where its parentheses are not its own, so that it would
/// mean something else within others.
fn end_of_clause(clause: &str) -> Option<usize> {
    let (mut depth, mut end) = (0_usize, 0);
    for token in sql::tokens(clause).filter(|token| token.kind != Kind::Space) {
        match token.text {
            "(" => depth += 1,
            ")" => depth = depth.checked_sub(1)?,
            _ => {}
        }
        end = token.start + token.text.len();
    }
    (depth == 0).then_some(end)
}

fn is_word(token: &Token<'_>, word: &str) -> bool {
    token.kind == Kind::Word && sql::is(token.text, word)
}

fn unquoted(name: &str) -> String {
    let inner = |open: char, close: char| name.strip_prefix(open)?.strip_suffix(close);
    let quotes = [('"', '"'), ('`', '`'), ('[', ']'), ('\'', '\'')];
    quotes
        .iter()
        .find_map(|(open, close)| Some(inner(*open, *close)?.replace(&format!("{close}{close}"), &close.to_string())))
        .unwrap_or_else(|| name.to_owned())
}

/// How the rows of a table are told apart.
enum Key {
    /// By the rowid, under a name that no column has, or the columns of the primary key.
    Columns(String),
    /// Not at all: it is a view.
    View,
}

fn key(connection: &Guarded, table: &str) -> Option<Key> {
    let ask = |sql: &str| {
        connection.own(|connection| {
            let (Some(mut statement), _) = raw::prepare(connection, sql)? else { return Ok(Vec::new()) };
            statement.bind(&[table.into()])?;
            let mut rows = Vec::new();
            while statement.step()? {
                rows.push(statement.row());
            }
            Ok(rows)
        })
    };
    let kind = ask("SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE").ok()?;
    let keyed = match kind.first().map(Vec::as_slice) {
        Some([Value::Text(kind), Value::Integer(without_rowid)]) => {
            if kind == "view" {
                return Some(Key::View);
            }
            *without_rowid != 0
        }
        // There is no such table, and SQLite says so.
        _ => false,
    };
    let columns = ask("SELECT name, pk FROM pragma_table_xinfo(?1) ORDER BY pk").ok()?;
    let text = |row: &Vec<Value>| match row.first() {
        Some(Value::Text(name)) => name.clone(),
        _ => String::new(),
    };
    if !keyed {
        let taken = |name: &&&str| columns.iter().any(|row| text(row).eq_ignore_ascii_case(name));
        return ["rowid", "_rowid_", "oid"]
            .iter()
            .find(|name| !taken(name))
            .map(|name| Key::Columns((*name).to_owned()));
    }
    let quoted = |name: String| format!("\"{}\"", name.replace('"', "\"\""));
    let key = columns.iter().filter(|row| row.get(1) != Some(&Value::Integer(0))).map(|row| quoted(text(row)));
    Some(Key::Columns(key.collect::<Vec<_>>().join(", ")))
}
