//! A query's text as ClickHouse reads it.
//!
//! Analytics Engine's SQL is ClickHouse's but for a few words, so that the text is edited token by token and not written anew: its literals
//! stay as they are. The query has been parsed and typed before.
//!
//! | here | ClickHouse |
//! |---|---|
//! | `length(x)`, `substring(x, n)` by code points | `lengthUTF8(x)`, `substringUTF8(x, n)` |
//! | `toLower(x)`, `toUpper(x)` | `lowerUTF8(x)`, `upperUTF8(x)` |
//! | `quantileWeighted(q, x, w)` | `quantileExactWeighted(q)(x, w)` |
//! | `toStartOfWeek(t)` from Monday | `toStartOfWeek(t, 1)` |
//! | `LIMIT ALL` | none |
//! | functions in any case | by their spelling |
//! | a `\` in a quoted name is a letter | `\\`, as it is an escape there |
//!
//! The last one keeps the ends of tokens the same on both sides: else a name could hold SQL that was not checked here.

use std::collections::HashMap;

use super::lexer::{Token, TokenKind, tokens};
use crate::Result;

/// The functions of Analytics Engine that are called as in ClickHouse, by its spelling.
const FUNCTIONS: [&str; 70] = [
    "argMax",
    "argMin",
    "avg",
    "avgIf",
    "bin",
    "bitAnd",
    "bitCount",
    "bitHammingDistance",
    "bitNot",
    "bitOr",
    "bitRotateLeft",
    "bitRotateRight",
    "bitShiftLeft",
    "bitShiftRight",
    "bitTest",
    "bitXor",
    "ceil",
    "count",
    "countIf",
    "empty",
    "endsWith",
    "first_value",
    "floor",
    "format",
    "formatDateTime",
    "hex",
    "if",
    "intDiv",
    "last_value",
    "ln",
    "log",
    "lower",
    "lowerUTF8",
    "max",
    "min",
    "now",
    "position",
    "pow",
    "quantileExactWeighted",
    "round",
    "startsWith",
    "sum",
    "sumIf",
    "toDateTime",
    "toDayOfMonth",
    "toDayOfWeek",
    "toHour",
    "toMinute",
    "toMonth",
    "toSecond",
    "toStartOfDay",
    "toStartOfFifteenMinutes",
    "toStartOfFiveMinutes",
    "toStartOfHour",
    "toStartOfInterval",
    "toStartOfMinute",
    "toStartOfMonth",
    "toStartOfTenMinutes",
    "toStartOfWeek",
    "toStartOfYear",
    "toUInt32",
    "toUInt8",
    "toUnixTimestamp",
    "toYYYYMM",
    "toYear",
    "today",
    "topK",
    "topKWeighted",
    "upper",
    "upperUTF8",
];

/// The functions that have another name in ClickHouse.
const RENAMED: [(&str, &str); 5] = [
    ("length", "lengthUTF8"),
    ("substring", "substringUTF8"),
    ("toLower", "lowerUTF8"),
    ("toUpper", "upperUTF8"),
    ("quantileWeighted", "quantileExactWeighted"),
];

/// Returns the text of a valid query, without a `FORMAT` clause, as ClickHouse reads it.
///
/// # Errors
/// As [`tokens`].
pub(crate) fn to_clickhouse(sql: &str) -> Result<String> {
    let all = tokens(sql)?;
    let words: Vec<Token<'_>> = all.iter().filter(|token| token.kind != TokenKind::Space).copied().collect();
    let mut edits: HashMap<usize, String> = HashMap::new();
    for (number, token) in words.iter().enumerate() {
        let next = words.get(number + 1);
        if token.kind == TokenKind::QuotedName && token.text.contains('\\') {
            edits.insert(token.at, token.text.replace('\\', "\\\\"));
        }
        if let Some(next) = next.filter(|next| token.is_word("LIMIT") && next.is_word("ALL")) {
            edits.insert(token.at, String::new());
            edits.insert(next.at, String::new());
        }
        if token.kind == TokenKind::Word && next.is_some_and(|next| next.is_symbol("(")) {
            call(token, &words[number + 2..], &mut edits);
        }
    }
    let text = |token: &Token<'_>| edits.remove(&token.at).unwrap_or_else(|| token.text.to_owned());
    Ok(all.iter().map(text).collect())
}

/// Edits a call: the name of the function, and what follows its parenthesis.
fn call(name: &Token<'_>, rest: &[Token<'_>], edits: &mut HashMap<usize, String>) {
    let renamed = RENAMED.iter().find(|(here, _)| name.is_word(here)).map(|(_, there)| *there);
    let spelled = renamed.or_else(|| FUNCTIONS.iter().copied().find(|function| name.is_word(function)));
    if let Some(spelled) = spelled {
        edits.insert(name.at, spelled.to_owned());
    }
    let Some(end) = end_of_argument(rest) else { return };
    if name.is_word("quantileWeighted") {
        edits.insert(end.at, ")(".to_owned());
    } else if name.is_word("toStartOfWeek") {
        edits.insert(end.at, format!(", 1{}", end.text));
    }
}

/// The comma or the parenthesis that ends the first argument.
fn end_of_argument<'t>(rest: &[Token<'t>]) -> Option<Token<'t>> {
    let mut depth = 0_usize;
    for token in rest {
        if depth == 0 && (token.is_symbol(",") || token.is_symbol(")")) {
            return Some(*token);
        }
        if token.is_symbol("(") {
            depth += 1;
        } else if token.is_symbol(")") {
            depth -= 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_differ_are_edited_and_nothing_else() {
        for (here, there) in [
            ("SELECT length(blob1), 'length(a)' -- length(b)", "SELECT lengthUTF8(blob1), 'length(a)' -- length(b)"),
            ("SELECT length FROM t LIMIT ALL", "SELECT length FROM t  "),
            ("SELECT QUANTILEWEIGHTED (0.5, if(a, b, c), w)", "SELECT quantileExactWeighted (0.5)( if(a, b, c), w)"),
            ("SELECT COUNT(), SUMIF(a, b), topk(3)(c)", "SELECT count(), sumIf(a, b), topK(3)(c)"),
            (
                "SELECT toStartOfWeek(toStartOfWeek(f(a, b)), 'UTC')",
                "SELECT toStartOfWeek(toStartOfWeek(f(a, b), 1), 1, 'UTC')",
            ),
            ("SELECT substring(toLower(a), 2) AS `length(`", "SELECT substringUTF8(lowerUTF8(a), 2) AS `length(`"),
        ] {
            assert_eq!(to_clickhouse(here).expect("the text is valid"), there);
        }
    }

    #[test]
    fn tokens_end_in_clickhouse_where_they_end_here() {
        for (here, there) in [
            // Its lexer would read one name up to the third quote, and the second name as SQL.
            (
                r#"SELECT 1 AS "a\", 2 AS " FROM url('u') --" FROM t"#,
                r#"SELECT 1 AS "a\\", 2 AS " FROM url('u') --" FROM t"#,
            ),
            (r"SELECT 1 AS `\\`, '\'' FROM t", r"SELECT 1 AS `\\\\`, '\'' FROM t"),
        ] {
            assert_eq!(to_clickhouse(here).expect("the text is valid"), there);
        }
    }
}
