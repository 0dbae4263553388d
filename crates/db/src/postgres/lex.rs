//! Tokens of SQL that is written for SQLite or for Postgres, and the statements of a script.
//!
//! The tokenizer of `isobar_sqlite` follows SQLite alone, which has no dollar quotes; this one knows both, so that neither a
//! parameter within a text nor a semicolon within a function's body is taken for what it looks like.

/// A token and its place. All tokens together are the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// The byte at which it begins.
    pub(super) start: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    /// A name in double quotes or backticks.
    Name,
    /// A text in single quotes or between `$tag$`.
    Text,
    Number,
    /// `?`, `?1`, `:a`, `@a`, `$a` and `$1`.
    Parameter,
    Symbol,
    Semicolon,
    /// A text or name without an end, which is all of the rest.
    Unterminated,
    Space,
    Comment,
}

impl Token<'_> {
    /// Returns whether it is this word, in any case of its letters.
    pub(super) fn is(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    pub(super) fn is_one_of(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }

    pub(super) fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }

    /// Returns whether it is neither space nor a comment.
    pub(super) fn is_code(&self) -> bool {
        !matches!(self.kind, Kind::Space | Kind::Comment)
    }
}

/// The tokens of a text.
pub(super) fn tokens(sql: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while start < sql.len() {
        let (kind, length) = first(&sql[start..]);
        tokens.push(Token { kind, text: &sql[start..start + length], start });
        start += length;
    }
    tokens
}

/// The kind and the length of the first token of a text that is not empty.
fn first(rest: &str) -> (Kind, usize) {
    let bytes = rest.as_bytes();
    let next = bytes.get(1).copied().unwrap_or_default();
    match bytes[0] {
        byte if byte.is_ascii_whitespace() || byte == 0x0b => {
            (Kind::Space, bytes.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b).count())
        }
        b'-' if next == b'-' => (Kind::Comment, rest.find('\n').map_or(rest.len(), |end| end + 1)),
        b'/' if next == b'*' => (Kind::Comment, comment(bytes)),
        b';' => (Kind::Semicolon, 1),
        b'\'' => closed(Kind::Text, quoted(bytes, b'\''), rest),
        b'"' => closed(Kind::Name, quoted(bytes, b'"'), rest),
        b'`' => closed(Kind::Name, quoted(bytes, b'`'), rest),
        b'e' | b'E' if next == b'\'' => closed(Kind::Text, escaped(&bytes[1..]).map(|length| 1 + length), rest),
        b'?' => (Kind::Parameter, 1 + digits(&bytes[1..])),
        b'$' if next.is_ascii_digit() => (Kind::Parameter, 1 + digits(&bytes[1..])),
        b'$' => dollar(rest),
        b':' if next == b':' => (Kind::Symbol, 2),
        b':' | b'@' if starts_name(next) => (Kind::Parameter, 1 + name(&bytes[1..])),
        b'.' if next.is_ascii_digit() => (Kind::Number, number(bytes)),
        byte if byte.is_ascii_digit() => (Kind::Number, number(bytes)),
        byte if starts_name(byte) => (Kind::Word, name(bytes)),
        _ => (Kind::Symbol, 1),
    }
}

fn starts_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

/// The length of a name.
fn name(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| starts_name(**byte) || byte.is_ascii_digit() || **byte == b'$').count()
}

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The length of a number: digits, a point, an exponent with its sign, letters of a hexadecimal one.
fn number(bytes: &[u8]) -> usize {
    let mut length = 0;
    while let Some(byte) = bytes.get(length) {
        let is_sign = matches!(byte, b'+' | b'-')
            && matches!(bytes[length.saturating_sub(1)], b'e' | b'E')
            && !matches!(bytes.get(1), Some(b'x' | b'X'));
        if !(byte.is_ascii_alphanumeric() || *byte == b'.' || *byte == b'_' || is_sign) {
            break;
        }
        length += 1;
    }
    length
}

/// A token of this length, or one without an end.
fn closed(kind: Kind, length: Option<usize>, rest: &str) -> (Kind, usize) {
    length.map_or((Kind::Unterminated, rest.len()), |length| (kind, length))
}

/// The length of a text or name, in which a doubled quote stands for one. `None` where it has no end.
fn quoted(bytes: &[u8], quote: u8) -> Option<usize> {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        if *byte == quote {
            if bytes.get(at) != Some(&quote) {
                return Some(at);
            }
            at += 1;
        }
    }
    None
}

/// The length of a text with backslashes, from its quote on. `None` where it has no end.
fn escaped(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'\\' => at += 1,
            b'\'' if bytes.get(at) == Some(&b'\'') => at += 1,
            b'\'' => return Some(at),
            _ => {}
        }
    }
    None
}

/// The length of a comment, which may have others in it.
fn comment(bytes: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        match &bytes[at..bytes.len().min(at + 2)] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// A text between `$tag$`, or a parameter `$name`.
fn dollar(rest: &str) -> (Kind, usize) {
    let bytes = rest.as_bytes();
    let tag = bytes[1..].iter().take_while(|byte| starts_name(**byte) || byte.is_ascii_digit()).count();
    if bytes.get(1 + tag) == Some(&b'$') {
        let mark = &rest[..tag + 2];
        let end = rest[mark.len()..].find(mark).map(|end| mark.len() + end + mark.len());
        return closed(Kind::Text, end, rest);
    }
    match tag {
        0 => (Kind::Symbol, 1),
        tag => (Kind::Parameter, 1 + tag),
    }
}

/// The statements of a script, each as its tokens, without the semicolon. Those without code are left out.
pub(super) fn statements<'t, 'a>(tokens: &'t [Token<'a>]) -> impl Iterator<Item = &'t [Token<'a>]> {
    tokens.split(|token| token.kind == Kind::Semicolon).filter(|statement| statement.iter().any(Token::is_code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(sql: &str) -> Vec<(Kind, &str)> {
        tokens(sql).into_iter().filter(Token::is_code).map(|token| (token.kind, token.text)).collect()
    }

    #[test]
    fn texts_names_and_comments_are_whole() {
        use Kind::{Name, Parameter, Symbol, Text, Word};
        let sql = "SELECT 'it''s ?', \"a?\", E'\\'?' -- ?\n, $$ ; ? $$, $b$ $$ ; $b$ /* ? /* ? */ ? */, ?";
        let comma = (Symbol, ",");
        let expected = [
            (Word, "SELECT"),
            (Text, "'it''s ?'"),
            comma,
            (Name, "\"a?\""),
            comma,
            (Text, "E'\\'?'"),
            comma,
            (Text, "$$ ; ? $$"),
            comma,
            (Text, "$b$ $$ ; $b$"),
            comma,
            (Parameter, "?"),
        ];
        assert_eq!(code(sql), expected);
    }

    #[test]
    fn texts_and_names_without_an_end_are_kinds_of_their_own() {
        for end in ["'", "'it''s", "'''", "\"a", "`", "`a``", "E'\\'", "$$ a", "$b$ $$"] {
            assert_eq!(code(&format!("a {end}")), [(Kind::Word, "a"), (Kind::Unterminated, end)], "{end}");
        }
        assert_eq!(code("'' ''''"), [(Kind::Text, "''"), (Kind::Text, "''''")]);
    }

    #[test]
    fn parameters_are_told_from_casts_and_operators() {
        let parameters = |sql: &str| {
            let parameters = code(sql).into_iter().filter(|(kind, _)| *kind == Kind::Parameter);
            parameters.map(|(_, text)| text.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(parameters("? ?2 :a @b $c $1 x::int a @> b"), ["?", "?2", ":a", "@b", "$c", "$1"]);
        assert_eq!(parameters("'?' || \":a\" || `@b`"), Vec::<String>::new());
    }

    #[test]
    fn numbers_keep_their_exponent_and_end_before_an_operator() {
        let numbers: Vec<_> =
            code("1.5e-3-2 .5+0x1e+1").into_iter().filter(|(kind, _)| *kind == Kind::Number).collect();
        let texts: Vec<_> = numbers.into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["1.5e-3", "2", ".5", "0x1e", "1"]);
    }

    #[test]
    fn statements_end_at_semicolons_outside_of_texts() {
        let script = "SELECT ';'; -- one; two\n;CREATE FUNCTION f() AS $$ BEGIN; END; $$; /* ; */";
        let tokens = tokens(script);
        assert_eq!(statements(&tokens).count(), 2);
    }
}
