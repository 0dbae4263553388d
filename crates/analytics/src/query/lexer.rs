//! The tokens of a query's text, as far as changing a text takes: where texts, quoted names and comments begin and end.
//!
//! Workers change texts, too, and have no sqlparser, which is large and a dependency of the feature `query` alone. The boundaries are
//! those of its ClickHouse dialect, by which the local executor reads a query; a test compares both. A difference would let the value
//! of a parameter end a comment.

use super::position::{Position, error_at};
use crate::Result;

/// A token: a part of the query's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'t> {
    pub(super) kind: TokenKind,
    /// The text as it stands, with quotes and escapes.
    pub(super) text: &'t str,
    /// The first byte of the token in the query's text.
    pub(super) at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// White space, or a comment.
    Space,
    /// A name or keyword without quotes.
    Word,
    /// A name in `"` or backticks.
    QuotedName,
    /// A text in `'`, or between `$tag$` and `$tag$`.
    Text,
    Number,
    /// `$1` or `$name`.
    Parameter,
    /// Any other character.
    Symbol,
}

impl Token<'_> {
    /// Whether this is a word, in which case does not matter.
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether this is the character.
    pub(super) fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == TokenKind::Symbol && self.text == symbol
    }
}

/// Splits a query's text into tokens, which together are the text.
///
/// # Errors
/// [`ErrorKind::Query`](crate::ErrorKind::Query) where a text, a quoted name or a comment has no end, with its place.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let (kind, length) = token(first, rest).map_err(|message| error_at(Position::of(text, at), message))?;
        tokens.push(Token { kind, text: &rest[..length], at });
        at += length;
    }
    Ok(tokens)
}

/// The kind of the first token of a text, and its length in bytes.
fn token(first: char, rest: &str) -> Result<(TokenKind, usize), &'static str> {
    Ok(match first {
        '\'' => (TokenKind::Text, quoted(rest, true).ok_or("the text has no end: a ' is missing")?),
        '"' | '`' => (TokenKind::QuotedName, quoted(rest, false).ok_or("the quoted name has no end")?),
        '-' | '#' if ["--", "# ", "#!"].iter().any(|begin| rest.starts_with(begin)) => {
            (TokenKind::Space, rest.find('\n').unwrap_or(rest.len()))
        }
        '/' if rest.starts_with("/*") => {
            (TokenKind::Space, comment(rest).ok_or("the comment has no end: */ is missing")?)
        }
        '$' => dollar(rest)?,
        'A'..='Z' | 'a'..='z' | '_' => {
            (TokenKind::Word, run(rest, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$')))
        }
        '0'..='9' => (TokenKind::Number, number(rest)),
        '.' if rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => (TokenKind::Number, number(rest)),
        space if space.is_whitespace() => {
            (TokenKind::Space, rest.find(|letter: char| !letter.is_whitespace()).unwrap_or(rest.len()))
        }
        other => (TokenKind::Symbol, other.len_utf8()),
    })
}

/// The length of what begins with a quote, up to the same one that is neither doubled nor, where that has a meaning, after a backslash.
fn quoted(rest: &str, has_escapes: bool) -> Option<usize> {
    let bytes = rest.as_bytes();
    let quote = bytes[0];
    let mut at = 1;
    loop {
        match *bytes.get(at)? {
            b'\\' if has_escapes => at += 2,
            byte if byte == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// The length of a comment in `/*` and `*/`, which may have others within it.
fn comment(rest: &str) -> Option<usize> {
    let mut depth = 0;
    let mut at = 0;
    loop {
        match rest.as_bytes().get(at..at + 2)? {
            b"/*" => depth += 1,
            b"*/" if depth == 1 => return Some(at + 2),
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
    }
}

/// A parameter, or a text between `$tag$` and `$tag$`.
fn dollar(rest: &str) -> Result<(TokenKind, usize), &'static str> {
    let name: usize =
        rest[1..].chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').map(char::len_utf8).sum();
    if !rest[1 + name..].starts_with('$') {
        return Ok((TokenKind::Parameter, 1 + name));
    }
    let tag = &rest[..name + 2];
    let end = rest[tag.len()..].find(tag).ok_or("the text between dollar signs has no end")?;
    Ok((TokenKind::Text, end + 2 * tag.len()))
}

fn number(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let digits = |from: usize| run(&rest[from..], |byte| byte.is_ascii_digit() || byte == b'_');
    let mut length = digits(0);
    if rest.starts_with("0x") && length == 1 {
        return 2 + run(&rest[2..], |byte| byte.is_ascii_hexdigit() || byte == b'_');
    }
    if bytes.get(length) == Some(&b'.') {
        length += 1;
        length += digits(length);
    }
    if let Some(b'e' | b'E') = bytes.get(length) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        if bytes.get(length + 1 + sign).is_some_and(u8::is_ascii_digit) {
            length += 1 + sign;
            length += digits(length);
        }
    }
    length
}

/// The number of bytes at the beginning that are of a kind. The kinds are of ASCII, so that it ends between characters.
fn run(text: &str, is_of_kind: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|byte| is_of_kind(*byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_whole_text() {
        let text = "SELECT 'it''s \\' $1', \"a\"\"b\" -- $2\n/* $3 */, $x, .5e-3, 1_000.e, $t$ $4 $t$ é$5";
        let tokens = tokens(text).expect("the text is valid");
        assert_eq!(tokens.iter().map(|token| token.text).collect::<String>(), text);
        let of = |kind| tokens.iter().filter(|token| token.kind == kind).map(|token| token.text).collect::<Vec<_>>();
        assert_eq!(of(TokenKind::Parameter), ["$x", "$5"]);
        assert_eq!(of(TokenKind::Text), ["'it''s \\' $1'", "$t$ $4 $t$"]);
        assert_eq!(of(TokenKind::QuotedName), ["\"a\"\"b\""]);
        assert_eq!(of(TokenKind::Number), [".5e-3", "1_000."]);
        assert_eq!(of(TokenKind::Word), ["SELECT", "e"]);
    }

    #[test]
    fn comments_end_where_their_kind_does() {
        for comment in ["-- it's", "# it's", "#! it's", "/* it's */", "/* /* it's */ it's */", "/*/**/*/", "\u{2003}"] {
            let text = format!("{comment}\n$1");
            let tokens = tokens(&text).expect("the text is valid");
            let last = tokens.iter().find(|token| token.kind != TokenKind::Space);
            assert_eq!(last.map(|token| token.text), Some("$1"), "{text}");
        }
    }

    #[test]
    fn what_has_no_end_is_an_error_with_its_place() {
        for text in
            ["SELECT\n 'a", "SELECT\n 'a\\'", "SELECT\n \"a", "SELECT\n /* a *", "SELECT\n /* /* a */", "SELECT\n $$ a"]
        {
            let error = tokens(text).expect_err("it has no end");
            assert!(error.message().starts_with("line 2, column 2: "), "{text}: {error}");
        }
    }

    /// The texts, quoted names and parameters, by sqlparser: their first character by line and column, and their kind.
    #[cfg(all(feature = "query", not(target_arch = "wasm32")))]
    fn by_sqlparser(text: &str) -> Option<Vec<(Position, TokenKind)>> {
        use sqlparser::tokenizer::Token as T;
        let tokens = crate::query::parse::tokenizer(text).tokenize_with_location().ok()?;
        let kind = |token: &T| match token {
            T::SingleQuotedString(_) | T::DollarQuotedString(_) => Some(TokenKind::Text),
            T::Word(word) if word.quote_style.is_some() => Some(TokenKind::QuotedName),
            T::Word(_) => Some(TokenKind::Word),
            T::Placeholder(name) if name.starts_with('$') => Some(TokenKind::Parameter),
            _ => None,
        };
        let tokens = tokens.into_iter();
        Some(tokens.filter_map(|token| Some((token.span.start.into(), kind(&token.token)?))).collect())
    }

    /// Marks that begin or end tokens, and texts that may stand within them.
    #[cfg(all(feature = "query", not(target_arch = "wasm32")))]
    const PARTS: &[&str] = &[
        "/*", "*/", "/", "*", "--", "-", "# ", "#!", "\n", "\r", " ", "\u{2003}", "'", "''", "\"", "`", "\\", "$1",
        "$a$", "$$", "$", "a1", "\u{e9}", "(", ";",
    ];

    #[cfg(all(feature = "query", not(target_arch = "wasm32")))]
    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(10_000))]
        #[test]
        fn boundaries_are_those_of_sqlparser(
            parts in proptest::collection::vec(proptest::sample::select(PARTS), 0..16)
        ) {
            let text = parts.concat();
            if let Some(expected) = by_sqlparser(&text) {
                let found = tokens(&text).expect("sqlparser reads it");
                let is_compared = |token: &&Token<'_>| {
                    !matches!(token.kind, TokenKind::Space | TokenKind::Number | TokenKind::Symbol)
                };
                let found: Vec<_> = found
                    .iter()
                    .filter(is_compared)
                    .map(|token| (Position::of(&text, token.at), token.kind))
                    .collect();
                proptest::prop_assert_eq!(found, expected);
            }
        }
    }
}
