//! Text to syntax tree, by sqlparser, with guards where it reads a text in another way than ClickHouse.
//!
//! sqlparser's ClickHouse dialect reads most of a query as ClickHouse does. Where it does not, a wrong reading would be a wrong
//! answer. So tokens are checked before it sees them (escapes in texts, operators and words that it knows and Analytics Engine
//! does not), the format clause is cut off, and what it would leave unread at the end is an error.

use sqlparser::ast;
use sqlparser::dialect::ClickHouseDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::Format;
use super::position::{Position, check_length, error_at};
use crate::{Error, Result};

/// Most tokens within each other: those of a list's item, of the items that it is within, and of the longest within it. The syntax is no
/// deeper, as each level has a token of its own.
const MAX_NESTED: usize = 10_000;

/// A statement's syntax.
#[derive(Debug)]
pub(super) enum Syntax {
    Select(Box<ast::Query>),
    ShowTables,
    ShowTimezones,
    ShowTimezone,
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Self { line: location.line, column: location.column }
    }
}

/// Reads one statement and its format.
///
/// # Errors
/// [`ErrorKind::Query`](crate::ErrorKind::Query) with the place.
pub(super) fn parse(text: &str) -> Result<(Syntax, Option<Format>)> {
    check_length(text.len())?;
    let mut tokens = tokens(text)?;
    let format = cut_format(&mut tokens)?;
    check_tokens(&tokens)?;
    check_nesting(&tokens)?;
    if let Some(show) = show(&tokens)? {
        return Ok((show, format));
    }
    let first = tokens.first().ok_or_else(|| error_at(Position::default(), "the query is empty"))?;
    if !is_word(first, "SELECT") {
        let message = "expected SELECT or SHOW: Analytics Engine's SQL has no other statements";
        return Err(error_at(first.span.start.into(), message));
    }
    unmark(&mut tokens);
    let end = tokens.last().map(|token| Position::from(token.span.end)).unwrap_or_default();
    let mut parser = Parser::new(&ClickHouseDialect {}).with_tokens_with_locations(close_intervals(tokens));
    let query = parser.parse_query().map_err(|error| syntax_error(error, end))?;
    // sqlparser ends a statement at some words, and says nothing of the rest.
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        return Err(error_at(rest.span.start.into(), format!("unexpected {} after the end of the query", rest.token)));
    }
    Ok((Syntax::Select(query), format))
}

/// The tokens of a query but for spaces, comments and a semicolon at the end.
///
/// Quotes and comments without an end are errors here, with their place.
fn tokens(text: &str) -> Result<Vec<TokenWithSpan>> {
    let tokens = tokenizer(text).tokenize_with_location();
    let mut tokens = tokens.map_err(|error| error_at(error.location.into(), error.message))?;
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    if tokens.last().is_some_and(|token| token.token == Token::SemiColon) {
        tokens.pop();
    }
    Ok(tokens)
}

/// A tokenizer that leaves escapes in texts as they are: sqlparser's are not ClickHouse's.
pub(super) fn tokenizer(text: &str) -> Tokenizer<'_> {
    Tokenizer::new(&ClickHouseDialect {}, text).with_unescape(false)
}

/// Reads the escapes of a text literal as ClickHouse does: an unknown one stays as it is.
pub(super) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        match (first, tail) {
            (b'\'', [b'\'', ..]) => {
                bytes.push(b'\'');
                rest = &tail[1..];
            }
            (b'\\', [b'x', high, low, ..]) if hex(&[*high, *low]).is_some() => {
                bytes.extend(hex(&[*high, *low]));
                rest = &tail[3..];
            }
            (b'\\', [escape, ..]) => {
                rest = &tail[1..];
                match escape {
                    b'b' => bytes.push(b'\x08'),
                    b'f' => bytes.push(b'\x0C'),
                    b'r' => bytes.push(b'\r'),
                    b'n' => bytes.push(b'\n'),
                    b't' => bytes.push(b'\t'),
                    b'0' => bytes.push(b'\0'),
                    b'a' => bytes.push(b'\x07'),
                    b'v' => bytes.push(b'\x0B'),
                    b'e' => bytes.push(b'\x1B'),
                    b'\\' | b'\'' | b'"' | b'`' | b'/' | b'=' => bytes.push(*escape),
                    other => bytes.extend([b'\\', *other]),
                }
            }
            _ => bytes.push(*first),
        }
    }
    bytes
}

fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

/// Takes `FORMAT name` off the end: sqlparser does not read it after all statements.
///
/// `FORMAT` alone is a name, as in `SELECT format`; it is a clause where a word follows it and something is before it.
fn cut_format(tokens: &mut Vec<TokenWithSpan>) -> Result<Option<Format>> {
    let at = tokens.len().saturating_sub(2);
    let [word, name] = &tokens[at..] else { return Ok(None) };
    let Token::Word(found) = &name.token else { return Ok(None) };
    if !is_word(word, "FORMAT") || at == 0 {
        return Ok(None);
    }
    let format = found.value.parse::<Format>().map_err(|error| error_at(name.span.start.into(), error))?;
    tokens.truncate(at);
    Ok(Some(format))
}

/// Refuses what sqlparser reads in another way than ClickHouse: `0b11` as 0 with the alias b11, and the like.
fn check_tokens(tokens: &[TokenWithSpan]) -> Result<()> {
    for pair in tokens.windows(2) {
        let [first, second] = pair else { continue };
        let is_joined = first.span.end == second.span.start;
        if let (Token::Number(number, _), Token::Word(word)) = (&first.token, &second.token)
            && is_joined
        {
            let message = format!("{number}{word} is not a number; write it in decimal digits");
            return Err(error_at(first.span.start.into(), message));
        }
    }
    for token in tokens {
        let refused = match &token.token {
            Token::HexStringLiteral(_) => "a hexadecimal number is not supported; write it in decimal digits",
            Token::SemiColon => "one statement is taken at a time",
            Token::Placeholder(_) => "this parameter has no value",
            _ => continue,
        };
        return Err(error_at(token.span.start.into(), refused));
    }
    Ok(())
}

/// Refuses what nests too deeply without parentheses, which sqlparser reads without a limit: `1 + 1 + 1` and so on.
fn check_nesting(tokens: &[TokenWithSpan]) -> Result<()> {
    /// A list: the tokens of its current item, the most within that, and the most of the items before.
    #[derive(Default)]
    struct List {
        tokens: usize,
        within: usize,
        before: usize,
    }
    impl List {
        fn most(&self) -> usize {
            self.before.max(self.tokens + self.within)
        }
    }
    let mut list = List::default();
    let mut around: Vec<List> = Vec::new();
    // The tokens of the items that the list is within.
    let mut outside = 0;
    for token in tokens {
        list.tokens += 1;
        match token.token {
            Token::Comma => list = List { before: list.most(), ..List::default() },
            Token::LParen | Token::LBracket | Token::LBrace => {
                outside += list.tokens;
                around.push(std::mem::take(&mut list));
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                if let Some(mut outer) = around.pop() {
                    outside -= outer.tokens;
                    outer.within = outer.within.max(list.most());
                    list = outer;
                }
            }
            _ => {}
        }
        if outside + list.tokens + list.within > MAX_NESTED {
            let message = format!(
                "an expression has more than {MAX_NESTED} words and signs without a comma; use IN in place of OR, or shorter sums"
            );
            return Err(error_at(token.span.start.into(), message));
        }
    }
    Ok(())
}

/// Makes names of words that sqlparser has a syntax of its own for: END, which ends its statement, is an alias, and functions keep the
/// spelling by which their column is named.
fn unmark(tokens: &mut [TokenWithSpan]) {
    for token in tokens {
        if let Token::Word(word) = &mut token.token
            && matches!(word.keyword, Keyword::END | Keyword::CEIL | Keyword::FLOOR | Keyword::SUBSTRING)
        {
            word.keyword = Keyword::NoKeyword;
        }
    }
}

/// Puts parentheses around an interval before `TO`, which ends a bound of `WITH FILL`: sqlparser would read a range of units there
/// (`INTERVAL '1' DAY TO HOUR`), which neither ClickHouse nor Analytics Engine has.
fn close_intervals(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is_before_to = |run: &[TokenWithSpan]| match run {
        [interval, value, unit, to, ..] => {
            is_word(interval, "INTERVAL")
                && matches!(value.token, Token::Number(..) | Token::SingleQuotedString(_))
                && matches!(unit.token, Token::Word(_))
                && is_word(to, "TO")
        }
        _ => false,
    };
    if !tokens.windows(4).any(is_before_to) {
        return tokens;
    }
    let mut closed = Vec::with_capacity(tokens.len() + 2);
    let mut unit = None;
    for (at, token) in tokens.iter().enumerate() {
        if is_before_to(&tokens[at..]) {
            closed.push(TokenWithSpan::new(Token::LParen, token.span));
            unit = Some(at + 2);
        }
        closed.push(token.clone());
        if unit == Some(at) {
            closed.push(TokenWithSpan::new(Token::RParen, token.span));
        }
    }
    closed
}

/// Reads the `SHOW` statements.
///
/// sqlparser would take more after them.
fn show(tokens: &[TokenWithSpan]) -> Result<Option<Syntax>> {
    let [first, rest @ ..] = tokens else { return Ok(None) };
    if !is_word(first, "SHOW") {
        return Ok(None);
    }
    let syntax = match rest {
        [word] if is_word(word, "TABLES") => Syntax::ShowTables,
        [word] if is_word(word, "TIMEZONES") => Syntax::ShowTimezones,
        [word] if is_word(word, "TIMEZONE") => Syntax::ShowTimezone,
        _ => {
            let message = "expected SHOW TABLES, SHOW TIMEZONES or SHOW TIMEZONE";
            return Err(error_at(first.span.start.into(), message));
        }
    };
    Ok(Some(syntax))
}

/// Its own limit of recursion is a count of 50, which a parenthesis takes one of and a subquery more.
fn syntax_error(error: ParserError, end: Position) -> Error {
    match error {
        ParserError::RecursionLimitExceeded => {
            error_at(Position::default(), "the query nests deeper than 46 parentheses or 20 subqueries")
        }
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
            // The place is part of sqlparser's message, except at the end of the text.
            let place = message.rsplit_once(" at Line: ").and_then(|(message, place)| {
                let (line, column) = place.split_once(", Column: ")?;
                Some((message, Position { line: line.parse().ok()?, column: column.parse().ok()? }))
            });
            let (message, position) = place.unwrap_or((&message, end));
            error_at(position, format!("syntax error: {message}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        parse(text).map(|_| ()).map_err(|error| error.message().to_owned()).err().unwrap_or_default()
    }

    #[test]
    fn what_sqlparser_reads_in_another_way_is_refused_with_its_place() {
        assert!(message("SELECT a FROM t) WHERE x").starts_with("line 1, column 16: unexpected"));
        assert_eq!(message("SELECT a end FROM t WHERE x"), "", "an alias");
        assert!(message("SELECT 0b11").starts_with("line 1, column 8: 0b11 is not"));
        assert!(message("SELECT\n 0x1F").starts_with("line 2, column 2: a hexadecimal"));
        assert!(message("SELECT 1; SELECT 2").starts_with("line 1, column 9: one statement"));
        assert!(message("DELETE FROM t").starts_with("line 1, column 1: expected SELECT"));
        assert!(message("").contains("empty"));
        assert!(message("SELECT a,").contains("syntax error"));
        assert!(message(&format!("SELECT {}1{}", "(".repeat(60), ")".repeat(60))).contains("nests deeper"));
        let long = message(&format!("SELECT 1 {}", "+ 1".repeat(6000)));
        assert!(long.starts_with("line 1, column 15007: an expression has more than 10000 words"), "{long}");
        let sum = format!("{})", " + 1".repeat(300));
        let deep = message(&format!("SELECT {}1{}", "(".repeat(20), sum.repeat(20)));
        assert!(deep.contains("more than 10000 words"), "{deep}");
        assert!(message(&"(".repeat(200_000)).contains("more than 10000 words"));
        assert_eq!(message(&format!("SELECT 1 IN (1 {})", ", 1".repeat(20_000))), "", "a list is not deep");
        assert!(message("SELECT 1 FORMAT CSV").starts_with("line 1, column 17: unknown format CSV"));
    }

    #[test]
    fn interval_before_to_ends_at_its_unit() {
        let query =
            "SELECT t FROM v ORDER BY t WITH FILL FROM now() - INTERVAL '5' MINUTE TO now() STEP INTERVAL 1 MINUTE";
        assert_eq!(message(query), "");
        assert_ne!(message("SELECT a FROM t WHERE timestamp > now() - INTERVAL '1' MINUTE TO SECOND"), "");
    }

    #[test]
    fn formats_are_read_after_every_statement() {
        for text in
            ["SELECT 1 FORMAT JSONEachRow", "SHOW TABLES FORMAT JSONEachRow;", "SELECT now() FORMAT JSONEachRow"]
        {
            assert_eq!(parse(text).unwrap().1, Some(Format::JsonEachRow), "{text}");
        }
        assert!(parse("SELECT 1").unwrap().1.is_none());
    }
}
