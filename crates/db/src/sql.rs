//! As much of SQL as must be understood without running it: where statements end, and what their parameters are.

use std::borrow::Cow;

/// A lexical token: what it is and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
    start: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Parameter,
    Semicolon,
    Space,
    /// Strings, quoted names, numbers, operators.
    Other,
}

/// The statements of a script, in order, trimmed, without the semicolon; what holds nothing but comments is left out.
///
/// Triggers are kept whole (`BEGIN ... END` in any case, `CASE ... END` within), and so are strings, quoted names and
/// comments with semicolons in them.
///
/// ```
/// let script = "CREATE TABLE t (a); -- one; two\nCREATE TRIGGER r AFTER INSERT ON t begin SELECT 1; end;";
/// let statements: Vec<_> = isobar_db::sql::split(script).collect();
/// assert_eq!(statements.len(), 2);
/// assert!(statements[1].ends_with("end"));
/// ```
pub fn split(script: &str) -> impl Iterator<Item = &str> {
    statements(script).filter(|statement| statement.has_code).map(|statement| statement.text)
}

struct Piece<'a> {
    text: &'a str,
    has_code: bool,
}

/// The pieces between semicolons, comment-only ones included.
fn statements(script: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut tokens = tokens(script).peekable();
    std::iter::from_fn(move || {
        let start = tokens.peek()?.start;
        let mut end = start;
        let (mut has_code, mut words, mut depth) = (false, 0usize, 0usize);
        let (mut creates, mut is_trigger) = (false, false);
        for token in tokens.by_ref() {
            if token.kind == Kind::Semicolon && depth == 0 {
                return Some(Piece { text: script[start..token.start].trim(), has_code });
            }
            end = token.start + token.text.len();
            if token.kind == Kind::Space {
                continue;
            }
            has_code = true;
            if token.kind != Kind::Word {
                continue;
            }
            words += 1;
            // CREATE [TEMP|TEMPORARY] TRIGGER: from its BEGIN on, semicolons belong to the body.
            creates |= words == 1 && is(token.text, "CREATE");
            is_trigger |= creates && words <= 3 && is(token.text, "TRIGGER");
            if is_trigger {
                if is(token.text, "BEGIN") || is(token.text, "CASE") {
                    depth += 1;
                } else if is(token.text, "END") {
                    depth = depth.saturating_sub(1);
                }
            }
        }
        Some(Piece { text: script[start..end].trim(), has_code })
    })
}

/// The upper-case first word of a statement, comments skipped; empty where there is none.
#[must_use]
pub fn keyword(statement: &str) -> String {
    let first = tokens(statement).find(|token| token.kind != Kind::Space);
    first.filter(|token| token.kind == Kind::Word).map(|token| token.text.to_ascii_uppercase()).unwrap_or_default()
}

/// Whether the word stands in the statement outside strings, quoted names and comments.
#[must_use]
pub fn has_word(statement: &str, word: &str) -> bool {
    tokens(statement).any(|token| token.kind == Kind::Word && is(token.text, word))
}

/// Whether a statement can only read. Errs towards writing: what is doubtful is none.
#[must_use]
pub fn is_read(statement: &str) -> bool {
    match keyword(statement).as_str() {
        "SELECT" | "VALUES" => true,
        "WITH" => !["INSERT", "UPDATE", "DELETE", "REPLACE"].iter().any(|verb| has_word(statement, verb)),
        _ => false,
    }
}

/// The statement with every parameter written `?N` - unless all are bare and in order already - and how many values it
/// wants: the highest number.
///
/// A bare `?` is one more than the highest so far; a name gets a number of its own when it is first met.
#[must_use]
pub fn number_parameters(statement: &str) -> (Cow<'_, str>, usize) {
    let (mut names, mut highest, mut edits) = (Vec::<(&str, usize)>::new(), 0usize, Vec::new());
    for token in tokens(statement).filter(|token| token.kind == Kind::Parameter) {
        let number = match token.text.strip_prefix('?') {
            Some("") => highest.saturating_add(1),
            // A number that does not fit is over every limit; SQLite says so itself.
            Some(digits) => digits.parse().unwrap_or(usize::MAX),
            None => match names.iter().find(|(name, _)| *name == token.text) {
                Some((_, number)) => *number,
                None => {
                    names.push((token.text, highest.saturating_add(1)));
                    highest.saturating_add(1)
                }
            },
        };
        highest = highest.max(number);
        if !token.text.starts_with('?') || token.text == "?" {
            edits.push((token, number));
        }
    }
    let all_bare = edits.len() == highest && edits.iter().all(|(token, _)| token.text == "?");
    if edits.is_empty() || all_bare {
        return (Cow::Borrowed(statement), highest);
    }
    let (mut sql, mut from) = (String::with_capacity(statement.len() + 2 * edits.len()), 0);
    for (token, number) in edits {
        sql.push_str(&statement[from..token.start]);
        sql.push_str(&format!("?{number}"));
        from = token.start + token.text.len();
    }
    sql.push_str(&statement[from..]);
    (Cow::Owned(sql), highest)
}

fn is(word: &str, keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword)
}

fn tokens(sql: &str) -> impl Iterator<Item = Token<'_>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = &sql[start..];
        let (kind, length) = token(rest)?;
        let token = Token { kind, text: &rest[..length], start };
        start += length;
        Some(token)
    })
}

/// The first token's kind and length in bytes.
fn token(rest: &str) -> Option<(Kind, usize)> {
    let first = rest.chars().next()?;
    let while_ =
        |skip: usize, test: fn(char) -> bool| skip + rest[skip..].find(|char| !test(char)).unwrap_or(rest.len() - skip);
    Some(match first {
        ';' => (Kind::Semicolon, 1),
        _ if first.is_whitespace() || first == '\u{feff}' => {
            (Kind::Space, while_(0, |char| char.is_whitespace() || char == '\u{feff}'))
        }
        '-' if rest.starts_with("--") => (Kind::Space, rest.find('\n').map_or(rest.len(), |end| end + 1)),
        '/' if rest.starts_with("/*") => (Kind::Space, rest[2..].find("*/").map_or(rest.len(), |end| end + 4)),
        '\'' | '"' | '`' => (Kind::Other, quoted(rest, first)),
        '[' => (Kind::Other, rest.find(']').map_or(rest.len(), |end| end + 1)),
        '?' => (Kind::Parameter, while_(1, |char| char.is_ascii_digit())),
        ':' | '@' | '$' if rest[1..].starts_with(is_name) => (Kind::Parameter, while_(1, is_name)),
        _ if is_name(first) => (Kind::Word, while_(0, is_name)),
        _ => (Kind::Other, first.len_utf8()),
    })
}

fn is_name(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_' || char == '$' || !char.is_ascii()
}

/// The length of a quoted token; a doubled quote stands for itself, an unclosed one runs to the end.
fn quoted(rest: &str, quote: char) -> usize {
    let mut from = 1;
    while let Some(at) = rest[from..].find(quote) {
        let end = from + at + 1;
        if !rest[end..].starts_with(quote) {
            return end;
        }
        from = end + 1;
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(script: &str) -> Vec<&str> {
        split(script).collect()
    }

    #[test]
    fn statements_end_where_sqlite_ends_them() {
        assert_eq!(parts("SELECT 1; SELECT 2"), ["SELECT 1", "SELECT 2"]);
        assert_eq!(
            parts("SELECT ';'; SELECT \"a;\"\"b\"; SELECT [c;d], `e;f`"),
            ["SELECT ';'", "SELECT \"a;\"\"b\"", "SELECT [c;d], `e;f`"]
        );
        assert_eq!(parts("-- a;b\r\nSELECT 1 /* ; */;\r\n"), ["-- a;b\r\nSELECT 1 /* ; */"]);
        assert_eq!(parts("; ;-- nothing\n/* at all */"), Vec::<&str>::new());
        assert_eq!(parts("SELECT 'it''s; fine'; SELECT 'open; end"), ["SELECT 'it''s; fine'", "SELECT 'open; end"]);
    }

    #[test]
    fn triggers_stay_whole() {
        let trigger = "create  Temp trigger t AFTER UPDATE ON a WHEN CASE 1 WHEN 1 THEN 1 END\nBegin\n UPDATE a SET b = CASE WHEN c THEN 1 ELSE 2 END;\n SELECT 1;\nEnD";
        assert_eq!(parts(&format!("{trigger}; SELECT 2;")), [trigger, "SELECT 2"]);
        assert_eq!(parts("CREATE TABLE begin_ (a); SELECT CASE 1 WHEN 1 THEN 2 END; SELECT 3").len(), 3);
        assert_eq!(parts("CREATE TABLE trigger_log (trigger TEXT, \"begin\"); SELECT 1").len(), 2);
    }

    #[test]
    fn parameters_count_as_sqlite_counts_them() {
        let count = |sql| number_parameters(sql).1;
        assert_eq!(count("SELECT ?, ?2, ?, '?', \"?\", -- ?\n?"), 4);
        assert_eq!(count("SELECT ?5, ?"), 6);
        assert_eq!(number_parameters("SELECT :a, @b, :a, $c, ?").0, "SELECT ?1, ?2, ?1, ?3, ?4");
        assert_eq!(number_parameters("SELECT ?, ?").0, "SELECT ?, ?");
        assert_eq!(number_parameters("SELECT ?1 ->> '$.x'"), (Cow::Borrowed("SELECT ?1 ->> '$.x'"), 1));
    }

    #[test]
    fn reads_are_told_from_writes() {
        for read in ["SELECT 1", " /* x */ select 1", "VALUES (1)", "WITH a AS (SELECT 1) SELECT * FROM a"] {
            assert!(is_read(read), "{read}");
        }
        for write in
            ["INSERT INTO t VALUES (1)", "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", "PRAGMA optimize", ""]
        {
            assert!(!is_read(write), "{write}");
        }
    }
}
