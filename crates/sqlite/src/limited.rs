//! `DELETE` and `UPDATE` with `ORDER BY ... LIMIT`, which workerd's SQLite has and the bundled one was not generated for
//! (`SQLITE_ENABLE_UPDATE_DELETE_LIMIT` changes the grammar).
//!
//! Only what SQLite has refused is written anew, and only where its parser stopped at the ORDER or LIMIT of a DELETE or
//! UPDATE: `... WHERE key IN (SELECT key FROM table WHERE ... ORDER BY ... LIMIT ...)`, which is what SQLite makes of such a
//! statement itself. UPDATE ... FROM and parameters in RETURNING are left refused.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ffi};

use crate::prepared::{self, Failure, Prepared, Text, text};
use crate::script::{self, Kind, Token};

type Found<'c> = Result<(Option<Prepared<'c>>, usize), Failure>;

/// Prepares a user's next statement, from a byte of the text on: `None` where there is nothing but space, comments and
/// semicolons. Beside it, the number of bytes that SQLite has read for it; 0 where a NUL is in the way.
///
/// `trusted` lets this crate's own statements past the connection's authorizer while it is set.
///
/// ```
/// use std::sync::atomic::AtomicBool;
///
/// use isobar_sqlite::{Text, prepare_next};
///
/// let connection = rusqlite::Connection::open_in_memory()?;
/// connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2), (3)")?;
/// let text = Text::new("DELETE FROM t ORDER BY a DESC LIMIT 1; SELECT 1");
/// let trusted = AtomicBool::new(false);
/// let (statement, read) = prepare_next(&connection, &trusted, &text, 0).map_err(|failure| failure.message)?;
/// statement.ok_or("a statement")?.step().map_err(|failure| failure.message)?;
/// assert_eq!(connection.query_row("SELECT max(a) FROM t", [], |row| row.get::<_, i64>(0))?, 2);
/// assert_eq!(text.rest(read).trim(), "SELECT 1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// SQLite's, among them the authorizer's.
pub fn prepare_next<'c>(connection: &'c Connection, trusted: &AtomicBool, text: &Text, at: usize) -> Found<'c> {
    prepared::prepare_at(connection, text, at).or_else(|failure| {
        let limited = prepare(connection, trusted, text.rest(at), &failure);
        limited.unwrap_or(Err(failure))
    })
}

/// Prepares the first statement of `rest`, which failed so, in its other form; `None` where it has none.
fn prepare<'c>(connection: &'c Connection, trusted: &AtomicBool, rest: &str, failure: &Failure) -> Option<Found<'c>> {
    let stopped = ["near \"ORDER\": syntax error", "near \"LIMIT\": syntax error"];
    if !stopped.iter().any(|message| message.eq_ignore_ascii_case(&failure.message)) {
        return None;
    }
    let piece = script::pieces(rest).find(|piece| piece.has_code)?;
    let at = failure.offset?.checked_sub(piece.start)?;
    let parts = Parts::of(piece.text, at)?;
    let wrong = |message: String| Some(Err(Failure { code: ffi::SQLITE_ERROR, message, offset: None, system: 0 }));
    if let Some(verb) = parts.unlimited {
        return wrong(format!("ORDER BY without LIMIT on {verb}"));
    }
    let key = match key(connection, trusted, &parts.name)? {
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
    Some(match prepared::prepare(connection, &rewritten) {
        Ok((prepared, _)) => Ok((prepared.map(Prepared::rewritten), piece.end)),
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
        let tokens = outer_tokens(text);
        let word = |index: usize, word: &str| tokens.get(index).is_some_and(|token| is_word(token, word));
        let start = match script::explained(text).map(|explained| text.len() - explained.len()) {
            Some(explained) => tokens.iter().position(|token| token.start == explained)?,
            None => 0,
        };
        let first = tokens.iter().position(|token| is_word(token, "DELETE") || is_word(token, "UPDATE"))?;
        if first > start && !word(start, "WITH") {
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
        let name = script::unquoted(tokens.get(index - 1)?.text);
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
        let place = |word: &str| between.iter().find(|token| is_word(token, word)).map(|token| token.start);
        let returning = place("RETURNING").unwrap_or(clause);
        let condition = place("WHERE").unwrap_or(returning);
        let is_parameter = |token: Token<'_>| token.kind == Kind::Parameter;
        if script::tokens(&text[returning..clause]).any(is_parameter) {
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

/// The words and signs of a statement that no parentheses enclose.
fn outer_tokens(text: &str) -> Vec<Token<'_>> {
    let mut depth = 0_usize;
    let is_outer = |token: &Token<'_>| {
        match token.text {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => return depth == 0 && token.kind != Kind::Space,
        }
        false
    };
    script::tokens(text).filter(is_outer).collect()
}

/// Where the last word of a clause ends, comments behind it left out; `None` where its parentheses are not its own, so that it would
/// mean something else within others.
fn end_of_clause(clause: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut end = 0;
    for token in script::tokens(clause).filter(|token| token.kind != Kind::Space) {
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
    token.kind == Kind::Word && script::is(token.text, word)
}

/// How the rows of a table are told apart.
enum Key {
    /// By the rowid, under a name that no column has, or the columns of the primary key.
    Columns(String),
    /// Not at all: it is a view.
    View,
}

/// Asks the schema how a table's rows are told apart; `None` where nothing of it can be used. The PRAGMAs that it
/// runs are this crate's own, so `trusted` is set around them.
fn key(connection: &Connection, trusted: &AtomicBool, table: &str) -> Option<Key> {
    let ask = |sql: &str| {
        trusted.store(true, Ordering::Relaxed);
        let rows = rows(connection, sql, table);
        trusted.store(false, Ordering::Relaxed);
        rows.ok()
    };
    let kind = ask("SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE")?;
    let keyed = match kind.first().map(Vec::as_slice) {
        Some([kind, _]) if kind == "view" => return Some(Key::View),
        Some([_, without_rowid]) => without_rowid != "0",
        // There is no such table, and SQLite says so.
        _ => false,
    };
    // Beside each name, the column's place in the primary key; 0 where it has none.
    let columns = ask("SELECT name, pk FROM pragma_table_xinfo(?1) ORDER BY pk")?;
    if !keyed {
        let taken = |name: &&&str| columns.iter().any(|row| row[0].eq_ignore_ascii_case(name));
        return ["rowid", "_rowid_", "oid"]
            .iter()
            .find(|name| !taken(name))
            .map(|name| Key::Columns((*name).to_owned()));
    }
    let key = columns.iter().filter(|row| row[1] != "0").map(|row| script::quoted(&row[0]));
    Some(Key::Columns(key.collect::<Vec<_>>().join(", ")))
}

/// The rows of a query about a table, as text.
fn rows(connection: &Connection, sql: &str, table: &str) -> Result<Vec<Vec<String>>, Failure> {
    let (Some(mut statement), _) = prepared::prepare(connection, sql)? else { return Ok(Vec::new()) };
    statement.bind([ValueRef::Text(table.as_bytes())])?;
    let mut rows = Vec::new();
    while statement.step()? {
        rows.push(statement.row(|value| match value {
            ValueRef::Text(bytes) => text(bytes),
            ValueRef::Integer(integer) => integer.to_string(),
            _ => String::new(),
        }));
    }
    Ok(rows)
}
