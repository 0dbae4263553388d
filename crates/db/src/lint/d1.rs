//! Statements under D1's rules.

use std::collections::BTreeSet;

use super::{Finding, Level, Token, finding, run, tokens};
use crate::schema::{ForeignKey, Schema};
use crate::{Error, ErrorKind, Result, SqliteDatabase, sql};

/// Runs the statements of a script, each by itself so that all faults are found.
pub(super) async fn check(database: &SqliteDatabase, script: &str) -> Result<Vec<Finding>> {
    let cleaned = match sql::without_transaction(script) {
        Ok(cleaned) => cleaned,
        Err(error) => return Ok(vec![transactions(script, &error)]),
    };
    let mut found = Vec::new();
    let mut failed: Vec<&str> = Vec::new();
    let mut emptied = BTreeSet::new();
    for statement in sql::split(&cleaned) {
        let tokens = tokens(&cleaned, statement);
        found.extend(setting_without_effect(&cleaned, &tokens));
        found.extend(deletion_by_drop(&cleaned, &tokens, database, &emptied).await?);
        emptied.extend(emptied_table(&tokens));
        let Err(error) = run(database, statement).await else { continue };
        match error.kind() {
            ErrorKind::Constraint(_) => {}
            ErrorKind::Sql | ErrorKind::NotAuthorized | ErrorKind::TooBig => {
                if !follows(&error, &failed) {
                    let start = statement.as_ptr().addr() - cleaned.as_ptr().addr();
                    found.push(fault(&cleaned, start, &tokens, &error));
                }
                failed.push(statement);
            }
            // The linter's own: out of memory, or out of time.
            _ => return Err(error),
        }
    }
    Ok(found)
}

/// Several transactions in one script, which wrangler refuses.
fn transactions(script: &str, error: &Error) -> Finding {
    let begin = sql::split(script).filter(|statement| sql::keyword(statement) == "BEGIN").nth(1).unwrap_or(script);
    let place = tokens(script, begin).first().map_or(0, |token| token.start);
    finding(script, place, Level::Error, "BEGIN TRANSACTION", error.message())
}

/// Returns whether a statement fails because one before it has: it names what that one was to create.
fn follows(error: &Error, failed: &[&str]) -> bool {
    let Some(name) = missing(error) else { return false };
    let makes = |statement: &&&str| ["CREATE", "ALTER"].contains(&sql::keyword(statement).as_str());
    failed.iter().filter(makes).any(|statement| sql::words(statement).any(|word| is_name(word, name)))
}

/// SQLite's message, without its place in the statement and the name of its code.
fn shown(error: &Error) -> &str {
    let message = error.message();
    let message = message.rsplit_once(": SQLITE_").map_or(message, |(message, _)| message);
    message.rsplit_once(" at offset ").map_or(message, |(message, _)| message)
}

/// The name in `no such table: main.users`.
fn missing(error: &Error) -> Option<&str> {
    let mut parts = shown(error).split(": ");
    parts.next().filter(|what| what.starts_with("no such "))?;
    parts.next().and_then(|name| name.rsplit('.').next())
}

fn is_name(word: &str, name: &str) -> bool {
    sql::unquoted(word).eq_ignore_ascii_case(name)
}

/// The finding for an error: at the place that SQLite names, else at the construct, else at the statement's first word.
fn fault(script: &str, start: usize, tokens: &[Token<'_>], error: &Error) -> Finding {
    let Some(first) = tokens.first() else { return finding(script, 0, Level::Error, "SQL", shown(error)) };
    let function = shown(error).split("function: ").nth(1);
    if let Some(name) = function {
        let called = tokens.windows(2).find(|two| is_name(two[0].text, name) && two[1].text == "(");
        let place = called.map_or(first.start, |two| two[0].start);
        return finding(script, place, Level::Error, format!("{name}()"), shown(error));
    }
    if let Some(offset) = error.offset() {
        let at = tokens.iter().find(|token| token.end() > start + offset).unwrap_or(first);
        return finding(script, at.start, Level::Error, at.name(), shown(error));
    }
    let named = missing(error).and_then(|name| tokens.iter().find(|token| is_name(token.text, name)));
    if let Some(named) = named {
        return finding(script, named.start, Level::Error, named.name(), shown(error));
    }
    let reserved = tokens.iter().find(|token| token.name().to_ascii_lowercase().starts_with("_cf_"));
    if let Some(reserved) = reserved {
        return finding(script, reserved.start, Level::Error, reserved.name(), shown(error));
    }
    let second = tokens.get(1).filter(|second| second.is_word());
    let construct = match second {
        Some(second) if !first.is("SELECT") => format!("{} {}", first.text.to_ascii_uppercase(), second.text),
        _ => first.text.to_ascii_uppercase(),
    };
    finding(script, first.start, Level::Error, construct, shown(error))
}

/// `PRAGMA foreign_keys = OFF`, which does nothing in a transaction.
fn setting_without_effect(script: &str, tokens: &[Token<'_>]) -> Option<Finding> {
    let [pragma, name, sign, value, ..] = tokens else { return None };
    let is_off = ["OFF", "0", "NO", "FALSE"].iter().any(|off| value.is(off));
    let is_setting = pragma.is("PRAGMA") && name.is("foreign_keys") && ["=", "("].contains(&sign.text);
    (is_setting && is_off).then(|| {
        let message =
            "foreign keys are always on in D1: use PRAGMA defer_foreign_keys = ON, or isobar d1 migrations rebuild";
        finding(script, pragma.start, Level::Warning, "PRAGMA foreign_keys = OFF", message)
    })
}

/// `DROP TABLE` of a table by whose deleted rows others lose theirs.
async fn deletion_by_drop(
    script: &str,
    tokens: &[Token<'_>],
    database: &SqliteDatabase,
    emptied: &BTreeSet<String>,
) -> Result<Option<Finding>> {
    let [drop, table, rest @ ..] = tokens else { return Ok(None) };
    if !(drop.is("DROP") && table.is("TABLE")) {
        return Ok(None);
    }
    let Some(name) = rest.last().map(Token::name) else { return Ok(None) };
    let acts = |key: &&ForeignKey| {
        key.table.eq_ignore_ascii_case(&name)
            && ["CASCADE", "SET NULL", "SET DEFAULT"].contains(&key.on_delete.as_str())
    };
    let schema = Schema::read(database).await?;
    let is_other = |child: &str| !child.eq_ignore_ascii_case(&name) && !emptied.contains(&child.to_ascii_lowercase());
    let children = schema.tables.iter().filter(|child| is_other(&child.name));
    let acting = children.filter_map(|child| Some((&child.name, child.foreign_keys.iter().find(acts)?)));
    let acting: Vec<_> = acting.map(|(child, key)| format!("{child} (ON DELETE {})", key.on_delete)).collect();
    Ok((!acting.is_empty()).then(|| {
        let message = format!(
            "it deletes the rows first, which changes those of {}, also where constraints are deferred: see isobar d1 migrations \
             rebuild",
            acting.join(", ")
        );
        finding(script, drop.start, Level::Warning, format!("DROP TABLE {name}"), message)
    }))
}

/// The table whose rows a statement deletes, all of them.
fn emptied_table(tokens: &[Token<'_>]) -> Option<String> {
    match tokens {
        [delete, from, name] if delete.is("DELETE") && from.is("FROM") => Some(name.name().to_ascii_lowercase()),
        _ => None,
    }
}
