//! Named columns: the names of a schema become positions in a query's text.
//!
//! The text is edited token by token, not parsed and written again: it must stay as its author has written it, and this runs inside Workers,
//! which have no parser. Whether a word is a column follows from what stands around it:
//!
//! | a word is not a column where | example |
//! |---|---|
//! | it is a keyword without quotes | `format` |
//! | `(` or `.` follows it | `route(...)`, `t.route` (the `t`) |
//! | it stands after `AS`, or is an alias at the end of an item | `... AS route` |
//! | it is in the `FROM` clause | `FROM route` |
//! | it is a unit | `INTERVAL '1' hour`, `EXTRACT(hour FROM t)` |
//! | it is an alias of the query's own, outside of that alias' expression | `ORDER BY route` |

use std::collections::HashMap;
use std::ops::Range;

use super::lexer::{Token, TokenKind, tokens};
use crate::{Result, Schema};

/// Words that are a column only where they are quoted.
const KEYWORDS: [&str; 32] = [
    "ALL", "AND", "AS", "ASC", "BETWEEN", "BY", "CASE", "DESC", "DISTINCT", "ELSE", "END", "FALSE", "FORMAT", "FROM",
    "GROUP", "HAVING", "ILIKE", "IN", "INTERVAL", "IS", "LIKE", "LIMIT", "NOT", "NULL", "OFFSET", "OR", "ORDER",
    "SELECT", "THEN", "TRUE", "WHEN", "WHERE",
];

/// Returns a query's text with positions in place of the names that the schema of its dataset has, so that it runs where there are no
/// schemas: on Cloudflare, by any executor. The rest of the text stays as it is, byte for byte.
///
/// `schema_of` returns the schema of a dataset; a `SELECT` from a dataset without one is not changed. A column that is selected as it
/// is keeps its name by an alias. An alias of the query's own goes before a column of the same name, except in its own expression, as
/// it does in the language. A column with the name of a keyword stands in quotes.
///
/// ```
/// use isobar_analytics::Schema;
/// use isobar_analytics::query::to_positions;
///
/// let schema = Schema::new("api_requests").with_blobs(["method", "route"]).with_doubles(["ms"]);
/// let schema_of = |dataset: &str| Ok((dataset == schema.dataset).then(|| schema.clone()));
/// let sql = to_positions("SELECT route, max(ms) FROM api_requests GROUP BY route", schema_of)?;
/// assert_eq!(sql, "SELECT blob2 AS route, max(double1) FROM api_requests GROUP BY blob2");
/// # Ok::<(), isobar_analytics::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Query`](crate::ErrorKind::Query) where a text, a quoted name or a comment has no end; the errors of `schema_of`.
pub fn to_positions(sql: &str, schema_of: impl Fn(&str) -> Result<Option<Schema>>) -> Result<String> {
    let tokens = tokens(sql)?;
    let mut edits: HashMap<usize, String> = HashMap::new();
    for select in selects(&tokens) {
        let Some(from) = FromClause::find(&select) else { continue };
        if let Some(schema) = schema_of(&from.dataset)? {
            rewrite(&select, &from, &schema, &mut edits);
        }
    }
    let text = |token: &Token<'_>| edits.get(&token.at).cloned().unwrap_or_else(|| token.text.to_owned());
    Ok(tokens.iter().map(text).collect())
}

/// A token of a `SELECT`, with the number of parentheses around it there.
struct Own<'t> {
    token: Token<'t>,
    depth: usize,
}

/// The tokens of each `SELECT`, without spaces and without those of subqueries.
///
/// A subquery is a `SELECT` of its own, with its own `FROM` and so its own schema: its tokens are not the outer one's.
fn selects<'t>(tokens: &[Token<'t>]) -> Vec<Vec<Own<'t>>> {
    let tokens: Vec<Token<'t>> = tokens.iter().filter(|token| token.kind != TokenKind::Space).copied().collect();
    let mut finished = Vec::new();
    let mut open: Vec<(Vec<Own<'t>>, usize)> = vec![(Vec::new(), 0)];
    for (number, token) in tokens.iter().enumerate() {
        let begins = token.is_symbol("(") && tokens.get(number + 1).is_some_and(|next| next.is_word("SELECT"));
        if token.is_symbol(")")
            && open.len() > 1
            && let Some((own, _)) = open.pop_if(|(_, depth)| *depth == 0)
        {
            finished.push(own);
        }
        let Some((own, depth)) = open.last_mut() else { break };
        if token.is_symbol(")") {
            *depth = depth.saturating_sub(1);
        }
        own.push(Own { token: *token, depth: *depth });
        if token.is_symbol("(") {
            *depth += 1;
        }
        if begins {
            open.push((Vec::new(), 0));
        }
    }
    finished.extend(open.into_iter().map(|(own, _)| own));
    finished
}

/// The `FROM` clause of a `SELECT` from a dataset.
struct FromClause {
    dataset: String,
    /// The tokens of the clause: `FROM`, the dataset's name, an alias.
    clause: Range<usize>,
}

impl FromClause {
    /// `None` for a `SELECT` without `FROM`, and for one from a subquery. The last part of `events.analyticsEngine.web` is the dataset.
    fn find(select: &[Own<'_>]) -> Option<Self> {
        let from = select.iter().position(|own| own.depth == 0 && own.token.is_word("FROM"))?;
        let token = |at: usize| select.get(at).map(|own| &own.token);
        let mut name = from + 1;
        while token(name + 1).is_some_and(|token| token.is_symbol(".")) {
            name += 2;
        }
        let dataset = token(name).and_then(name_of)?;
        let end = match token(name + 1) {
            Some(next) if next.is_word("AS") => name + 3,
            Some(next) if name_of(next).is_some() && !is_keyword(next) => name + 2,
            _ => name + 1,
        };
        Some(Self { dataset, clause: from..end })
    }
}

/// An item of a `SELECT`'s list.
struct Item {
    tokens: Range<usize>,
    /// The token that is the item's alias.
    alias: Option<usize>,
}

/// The items between `SELECT` and `FROM`.
fn items(select: &[Own<'_>], from: usize) -> Vec<Item> {
    let is_distinct = select.get(1).is_some_and(|own| own.token.is_word("DISTINCT"));
    let first = 1 + usize::from(is_distinct);
    let mut begin = first;
    let mut items = Vec::new();
    for at in first..=from {
        if at == from || (select[at].depth == 0 && select[at].token.is_symbol(",")) {
            items.push(Item { tokens: begin..at, alias: alias(select, begin..at) });
            begin = at + 1;
        }
    }
    items
}

/// The alias at the end of an item: after `AS`, or after what can end an expression.
fn alias(select: &[Own<'_>], item: Range<usize>) -> Option<usize> {
    let last = item.end.checked_sub(1).filter(|last| *last > item.start)?;
    let token = &select[last].token;
    let before = &select[last - 1].token;
    name_of(token)?;
    if before.is_word("AS") {
        return Some(last);
    }
    let ends = match before.kind {
        TokenKind::Word => {
            !is_keyword(before) || ["END", "NULL", "TRUE", "FALSE"].iter().any(|word| before.is_word(word))
        }
        TokenKind::Symbol => before.is_symbol(")"),
        _ => true,
    };
    (ends && !is_keyword(token) && !is_unit(select, last)).then_some(last)
}

/// Collects the edits of a `SELECT`, by the places of their tokens.
fn rewrite(select: &[Own<'_>], from: &FromClause, schema: &Schema, edits: &mut HashMap<usize, String>) {
    let items = items(select, from.clause.start);
    let aliases = items.iter().filter_map(|item| Some((name_of(&select[item.alias?].token)?, item)));
    let aliases: HashMap<String, &Item> = aliases.collect();
    for (at, Own { token, .. }) in select.iter().enumerate() {
        if from.clause.contains(&at) || !is_reference(select, at) || items.iter().any(|item| item.alias == Some(at)) {
            continue;
        }
        let Some(name) = name_of(token) else { continue };
        let Some(position) = schema.position(&name) else { continue };
        if aliases.get(&name).is_some_and(|item| !item.tokens.contains(&at)) {
            continue;
        }
        // Alone in its item, with or without the name of its table before it.
        let is_alone = items.iter().any(|item| {
            let has_table = item.tokens.len() == 3 && select[at - 1].token.is_symbol(".");
            item.alias.is_none() && item.tokens.end == at + 1 && (item.tokens.len() == 1 || has_table)
        });
        let alias = if is_alone { format!(" AS {}", token.text) } else { String::new() };
        edits.insert(token.at, format!("{position}{alias}"));
    }
}

/// Whether a name stands where a column may stand: it is not a keyword, a function, a table, an alias or a unit of time.
fn is_reference(select: &[Own<'_>], at: usize) -> bool {
    let token = &select[at].token;
    let is_next = |symbol: &str| select.get(at + 1).is_some_and(|next| next.token.is_symbol(symbol));
    let is_after_as = at > 0 && select[at - 1].token.is_word("AS");
    !is_keyword(token)
        && !is_next(".")
        && !is_next("(")
        && !is_after_as
        && !is_unit(select, at)
        && !is_of_fill(select, at)
}

/// Whether this is one of the words of `WITH FILL FROM 1 TO 9 STEP 2`.
fn is_of_fill(select: &[Own<'_>], at: usize) -> bool {
    let begins = |at: usize| {
        select[at].token.is_word("WITH") && select.get(at + 1).is_some_and(|next| next.token.is_word("FILL"))
    };
    let Own { token, depth } = &select[at];
    let is_part = *depth == 0 && (token.is_word("TO") || token.is_word("STEP"));
    let is_next_key = |own: &Own<'_>| own.depth == 0 && own.token.is_symbol(",");
    begins(at)
        || at.checked_sub(1).is_some_and(begins)
        || (is_part && (0..at).rev().take_while(|before| !is_next_key(&select[*before])).any(begins))
}

/// Whether this is the unit of `INTERVAL '1' DAY` or of `EXTRACT(DAY FROM ...)`.
fn is_unit(select: &[Own<'_>], at: usize) -> bool {
    let Some(before) = at.checked_sub(2).map(|at| &select[at].token) else { return false };
    before.is_word("INTERVAL") || (before.is_word("EXTRACT") && select[at - 1].token.is_symbol("("))
}

fn is_keyword(token: &Token<'_>) -> bool {
    KEYWORDS.iter().any(|word| token.is_word(word))
}

/// The name that a token is, without its quotes.
fn name_of(token: &Token<'_>) -> Option<String> {
    match token.kind {
        TokenKind::Word => Some(token.text.to_owned()),
        TokenKind::QuotedName => {
            let quote = &token.text[..1];
            let inner = &token.text[1..token.text.len() - 1];
            Some(inner.replace(&quote.repeat(2), quote))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, ErrorKind};

    fn positions(sql: &str) -> String {
        let schema = Schema::new("api").with_index("tenant").with_blobs(["method", "route", "format"]);
        let schema = schema.with_doubles(["ms", "length", "hour"]);
        let schema_of = |dataset: &str| Ok((dataset == "api").then(|| schema.clone()));
        to_positions(sql, schema_of).expect("the text is valid")
    }

    #[test]
    fn names_become_positions_and_columns_keep_their_names() {
        for (sql, expected) in [
            ("SELECT route, count() FROM api GROUP BY route", "SELECT blob2 AS route, count() FROM api GROUP BY blob2"),
            (
                "SELECT avg(ms), t.\"route\" FROM api AS t WHERE tenant = 'route' AND t.ms > $ms ORDER BY ms",
                "SELECT avg(double1), t.blob2 AS \"route\" FROM api AS t WHERE index1 = 'route' AND t.double1 > $ms ORDER BY double1",
            ),
            (
                "SELECT length(method), length, `format` FROM events.analyticsEngine.\"api\" LIMIT 3 FORMAT JSON",
                "SELECT length(blob1), double2 AS length, blob3 AS `format` FROM events.analyticsEngine.\"api\" LIMIT 3 FORMAT JSON",
            ),
            (
                "SELECT extract(hour FROM timestamp) + hour h, now() - INTERVAL '1' hour FROM api -- hour",
                "SELECT extract(hour FROM timestamp) + double3 h, now() - INTERVAL '1' hour FROM api -- hour",
            ),
            ("SELECT topK(3)(route), route IN ('a') FROM api", "SELECT topK(3)(blob2), blob2 IN ('a') FROM api"),
        ] {
            assert_eq!(positions(sql), expected);
        }
    }

    #[test]
    fn an_alias_goes_before_a_column_except_in_its_own_expression() {
        for (sql, expected) in [
            (
                "SELECT lower(route) AS route, sum(ms) ms FROM api GROUP BY route HAVING ms > 1",
                "SELECT lower(blob2) AS route, sum(double1) ms FROM api GROUP BY route HAVING ms > 1",
            ),
            ("SELECT method AS route, route AS other FROM api", "SELECT blob1 AS route, route AS other FROM api"),
        ] {
            assert_eq!(positions(sql), expected);
        }
    }

    #[test]
    fn only_what_is_selected_from_the_dataset_is_changed() {
        for sql in [
            "SELECT route FROM other",
            "SHOW TABLES",
            "SELECT 1 AS route",
            "",
            ")",
            "SELECT route FROM",
            "SELECT FROM api",
        ] {
            assert_eq!(positions(sql), sql);
        }
        assert_eq!(
            positions(
                "SELECT route, n FROM (SELECT route, count() AS n FROM api GROUP BY (route)) WHERE route != '' AND (n > 1)"
            ),
            "SELECT route, n FROM (SELECT blob2 AS route, count() AS n FROM api GROUP BY (blob2)) WHERE route != '' AND (n > 1)"
        );
    }

    #[test]
    fn words_of_a_fill_are_not_columns() {
        let schema = Schema::new("api").with_blobs(["step", "to", "with", "fill"]);
        let sql = "SELECT step, to FROM api ORDER BY hour with fill FROM 1 to 5 step 2, step LIMIT 3";
        let positions = to_positions(sql, |_| Ok(Some(schema.clone()))).expect("the text is valid");
        assert_eq!(
            positions,
            "SELECT blob1 AS step, blob2 AS to FROM api ORDER BY hour with fill FROM 1 to 5 step 2, blob1 LIMIT 3"
        );
    }

    #[test]
    fn the_error_of_a_schema_is_passed_on() {
        let broken = |_: &str| Err(Error::new(ErrorKind::Schema, "broken"));
        let error = to_positions("SELECT a FROM b", broken).expect_err("the schema is broken");
        assert_eq!(error.kind(), ErrorKind::Schema);
    }
}
