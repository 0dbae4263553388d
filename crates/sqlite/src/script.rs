//! As much of SQL as must be understood without running it: where statements end, and which parameters they have.
//!
//! A tokenizer that follows SQLite's own (`tokenize.c`), and on it small functions that look at tokens. Everything
//! is linear in the text, but for [`parameter_names`] and [`number_parameters`], whose time also grows with the
//! number of names.
//!
//! Where there is SQLite, SQLite is asked; this stands in for it on wasm32, for D1 from outside, and where a guess
//! is enough. It is held against SQLite's own tail over random scripts (`scripts.rs`, in tests).

use std::borrow::Cow;

/// A lexical token and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    pub(crate) start: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Word,
    Parameter,
    Semicolon,
    Space,
    /// Strings, quoted names, numbers, operators.
    Other,
}

/// The name in double quotes, as an identifier of SQL.
///
/// ```
/// assert_eq!(isobar_sqlite::script::quoted("order \"by\""), "\"order \"\"by\"\"\"");
/// ```
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The text in single quotes, as a literal of SQL.
///
/// ```
/// assert_eq!(isobar_sqlite::script::literal("it's"), "'it''s'");
/// ```
#[must_use]
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The name of an identifier as it stands in SQL, in any of the quotes that SQLite takes, or in none.
///
/// ```
/// use isobar_sqlite::script::unquoted;
///
/// assert_eq!(unquoted("\"order \"\"by\"\"\""), "order \"by\"");
/// assert_eq!(["`a`", "[a]", "'a'", "a"].map(unquoted), ["a"; 4]);
/// ```
#[must_use]
pub fn unquoted(name: &str) -> String {
    let inner = |open: char, close: char| name.strip_prefix(open)?.strip_suffix(close);
    let doubled = ['"', '`', '\''].into_iter().find_map(|quote| Some((inner(quote, quote)?, quote)));
    if let Some((inner, quote)) = doubled {
        return inner.replace(&format!("{quote}{quote}"), &quote.to_string());
    }
    // Brackets have no escape.
    inner('[', ']').unwrap_or(name).to_owned()
}

/// The SQL with the comment that it ends with closed: what is written behind it is then not part of the comment.
///
/// ```
/// use isobar_sqlite::script::closed;
///
/// assert_eq!(closed("SELECT 1 -- one"), "SELECT 1 -- one\n");
/// assert_eq!(closed("SELECT 1 /* one"), "SELECT 1 /* one*/");
/// assert_eq!(closed("SELECT '-- one'"), "SELECT '-- one'");
/// ```
#[must_use]
pub fn closed(sql: &str) -> Cow<'_, str> {
    let last = tokens(sql).last().filter(|token| token.kind == Kind::Space);
    let end = match last.map(|token| token.text) {
        Some(text) if text.starts_with("--") && !text.ends_with('\n') => "\n",
        Some(text) if is_open_comment(text) => "*/",
        _ => return Cow::Borrowed(sql),
    };
    Cow::Owned(format!("{sql}{end}"))
}

/// Returns whether a space is a comment that began with `/*` and has no end.
fn is_open_comment(space: &str) -> bool {
    space.starts_with("/*") && !(space.len() >= 4 && space.ends_with("*/"))
}

/// The statements of a script, in order, trimmed and without the semicolon. Statements of comments alone are left out.
///
/// They end where SQLite ends them: a trigger's body belongs to its trigger, up to `END` after a semicolon, however its
/// columns are named, and semicolons in strings, quoted names and comments do not count.
///
/// ```
/// let script = "CREATE TABLE t (a, begin); -- one; two\nCREATE TRIGGER r AFTER INSERT ON t begin SELECT new.begin; end;";
/// let statements: Vec<_> = isobar_sqlite::script::split(script).collect();
/// assert_eq!(statements.len(), 2);
/// assert!(statements[1].ends_with("end"));
/// ```
pub fn split(script: &str) -> impl Iterator<Item = &str> {
    pieces(script).filter(|piece| piece.has_code).map(|piece| piece.text)
}

/// The text between two ends of statements.
pub(crate) struct Piece<'a> {
    /// The text, trimmed, without the semicolon.
    pub(crate) text: &'a str,
    /// Where the text begins in the script.
    pub(crate) start: usize,
    /// Where the next piece begins: behind the semicolon.
    pub(crate) end: usize,
    /// Whether there is anything but space and comments.
    pub(crate) has_code: bool,
}

/// How far a statement has come, as far as its end depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Start,
    /// After EXPLAIN, which may stand before a trigger, too.
    Explain,
    /// After CREATE, and TEMP or TEMPORARY.
    Create,
    /// A statement that the next semicolon ends.
    Plain,
    /// In a trigger, whose body has semicolons.
    Trigger,
    /// In a trigger, after a semicolon.
    TriggerSemicolon,
    /// In a trigger, after a semicolon and END: another semicolon ends it.
    TriggerEnd,
}

impl Progress {
    /// The progress after a token that is no space; `None` where it ends the statement.
    fn after(self, token: &Token<'_>) -> Option<Self> {
        let is_word = |keyword| token.kind == Kind::Word && is(token.text, keyword);
        let is_semicolon = token.kind == Kind::Semicolon;
        Some(match self {
            Self::Trigger if is_semicolon => Self::TriggerSemicolon,
            Self::TriggerSemicolon if is_semicolon => self,
            Self::TriggerSemicolon if is_word("END") => Self::TriggerEnd,
            _ if is_semicolon => return None,
            Self::Trigger | Self::TriggerSemicolon | Self::TriggerEnd => Self::Trigger,
            Self::Start if is_word("EXPLAIN") => Self::Explain,
            Self::Start | Self::Explain if is_word("CREATE") => Self::Create,
            // QUERY PLAN may follow.
            Self::Explain if !["EXPLAIN", "TEMP", "TEMPORARY", "TRIGGER", "END"].iter().any(|word| is_word(word)) => {
                self
            }
            Self::Create if is_word("TEMP") || is_word("TEMPORARY") => self,
            Self::Create if is_word("TRIGGER") => Self::Trigger,
            _ => Self::Plain,
        })
    }
}

/// The pieces of a script, comment-only ones included.
pub(crate) fn pieces(script: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut tokens = tokens(script).peekable();
    std::iter::from_fn(move || {
        let start = tokens.peek()?.start;
        let mut end = start;
        let mut next = start;
        let mut has_code = false;
        let mut progress = Progress::Start;
        for token in tokens.by_ref() {
            next = token.start + token.text.len();
            if token.kind != Kind::Space {
                match progress.after(&token) {
                    Some(further) => progress = further,
                    None => break,
                }
                has_code = true;
            }
            end = next;
        }
        let text = &script[start..end];
        let start = start + (text.len() - text.trim_start().len());
        Some(Piece { text: text.trim(), start, end: next, has_code })
    })
}

/// Returns whether the text ends where a statement does, or within none: in no string, comment or trigger.
///
/// ```
/// use isobar_sqlite::script::is_complete;
///
/// assert!(is_complete("SELECT ';';\n-- done\n") && is_complete(""));
/// assert!(!is_complete("SELECT 1") && !is_complete("SELECT 'a;\n") && !is_complete("SELECT 1; /* ;"));
/// assert!(!is_complete("CREATE TRIGGER t AFTER INSERT ON u BEGIN SELECT 1;"));
/// ```
#[must_use]
pub fn is_complete(script: &str) -> bool {
    let mut progress = Progress::Start;
    for token in tokens(script) {
        if token.kind != Kind::Space {
            progress = progress.after(&token).unwrap_or(Progress::Start);
        } else if is_open_comment(token.text) {
            return false;
        }
    }
    progress == Progress::Start
}

/// The script without the `BEGIN TRANSACTION` and `COMMIT` around it, as sqlite3's `.dump` writes them and wrangler removes
/// them: the whole script runs in one transaction anyway. Lines and offsets do not change. `None` where the script has several
/// transactions, which wrangler refuses.
///
/// ```
/// use isobar_sqlite::script::without_transaction;
///
/// let dump = "BEGIN TRANSACTION;\nCREATE TABLE t (a);\nCOMMIT;\n";
/// let script = without_transaction(dump).expect("one transaction");
/// assert_eq!((script.trim(), script.len()), ("CREATE TABLE t (a);", dump.len()));
/// assert_eq!(without_transaction("BEGIN TRANSACTION; COMMIT; BEGIN TRANSACTION; COMMIT;"), None);
/// ```
#[must_use]
pub fn without_transaction(script: &str) -> Option<Cow<'_, str>> {
    let words = |piece: &Piece<'_>| {
        let words = tokens(piece.text).filter(|token| token.kind != Kind::Space).take(3);
        words.map(|token| token.text.to_ascii_uppercase()).collect::<Vec<_>>().join(" ")
    };
    if !script.as_bytes().windows(5).any(|window| window.eq_ignore_ascii_case(b"BEGIN")) {
        return Some(Cow::Borrowed(script));
    }
    let mut begins = Vec::new();
    let mut commit = None;
    for piece in pieces(script).filter(|piece| piece.has_code) {
        match words(&piece).as_str() {
            "BEGIN TRANSACTION" => begins.push(piece.start..piece.end),
            "COMMIT" if commit.is_none() && !begins.is_empty() => commit = Some(piece.start..piece.end),
            _ => {}
        }
    }
    let (begin, commit) = match (begins.as_slice(), commit) {
        ([begin], Some(commit)) => (begin.clone(), commit),
        ([], _) | (_, None) => return Some(Cow::Borrowed(script)),
        _ => return None,
    };
    let blank = |range: std::ops::Range<usize>| script[range].replace(|char: char| char != '\n', " ");
    let mut without = String::with_capacity(script.len());
    without.push_str(&script[..begin.start]);
    without.push_str(&blank(begin.clone()));
    without.push_str(&script[begin.end..commit.start]);
    without.push_str(&blank(commit.clone()));
    without.push_str(&script[commit.end..]);
    Some(Cow::Owned(without))
}

/// The byte at which the first token begins that is neither space, a comment nor a semicolon; 0 where there is none.
///
/// ```
/// use isobar_sqlite::script::{first_word, line};
///
/// let script = "-- users\n;\nSELECT 1";
/// assert_eq!(line(script, first_word(script)), 3);
/// ```
#[must_use]
pub fn first_word(sql: &str) -> usize {
    tokens(sql).find(|token| !matches!(token.kind, Kind::Space | Kind::Semicolon)).map_or(0, |token| token.start)
}

/// The line of a script, counted from 1, in which this byte stands.
#[must_use]
pub fn line(script: &str, offset: usize) -> usize {
    1 + script.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// The upper-case first word of a statement, comments skipped; empty where there is none.
///
/// ```
/// use isobar_sqlite::script::{has_word, keyword};
///
/// assert_eq!(keyword("/* all */ select 1"), "SELECT");
/// assert!(has_word("DELETE FROM t RETURNING a", "returning") && !has_word("SELECT 'returning'", "returning"));
/// ```
#[must_use]
pub fn keyword(statement: &str) -> String {
    let first = tokens(statement).find(|token| token.kind != Kind::Space);
    first.filter(|token| token.kind == Kind::Word).map(|token| token.text.to_ascii_uppercase()).unwrap_or_default()
}

/// Returns whether the word stands in the statement outside strings, quoted names and comments.
#[must_use]
pub fn has_word(statement: &str, word: &str) -> bool {
    tokens(statement).any(|token| token.kind == Kind::Word && is(token.text, word))
}

/// Returns whether a statement can only read: SELECT, VALUES, WITH without a writing verb, a PRAGMA that only reports, and
/// EXPLAIN of anything but another PRAGMA, since it shows a statement and does not run it. In doubt it is `false`, as where the
/// table `pragma_optimize` is named, which writes statistics.
///
/// ```
/// use isobar_sqlite::script::is_read;
/// assert!(is_read("SELECT 1") && is_read("PRAGMA table_info(t)") && is_read("EXPLAIN QUERY PLAN DELETE FROM t"));
/// assert!(!is_read("PRAGMA foreign_keys = OFF") && !is_read("EXPLAIN PRAGMA foreign_keys = OFF"));
/// ```
#[must_use]
pub fn is_read(statement: &str) -> bool {
    let explained = explained(statement);
    match keyword(explained.unwrap_or(statement)).as_str() {
        "PRAGMA" => reports(explained.unwrap_or(statement)),
        _ if explained.is_some() => true,
        "SELECT" | "VALUES" | "WITH" if names_optimize(statement) => false,
        "SELECT" | "VALUES" => true,
        "WITH" => !["INSERT", "UPDATE", "DELETE", "REPLACE"].iter().any(|verb| has_word(statement, verb)),
        _ => false,
    }
}

/// Returns whether the text names the table that runs `PRAGMA optimize`, in whatever quotes.
fn names_optimize(statement: &str) -> bool {
    const TABLE: &[u8] = b"pragma_optimize";
    statement.as_bytes().windows(TABLE.len()).any(|window| window.eq_ignore_ascii_case(TABLE))
}

/// Returns whether a statement is a PRAGMA, or EXPLAIN of one: its answer may depend on the connection.
///
/// ```
/// use isobar_sqlite::script::is_pragma;
///
/// assert!(is_pragma("pragma table_list") && is_pragma("EXPLAIN PRAGMA foreign_keys"));
/// assert!(!is_pragma("SELECT * FROM pragma_table_list"));
/// ```
#[must_use]
pub fn is_pragma(statement: &str) -> bool {
    keyword(explained(statement).unwrap_or(statement)) == "PRAGMA"
}

/// The statement behind EXPLAIN or EXPLAIN QUERY PLAN; `None` where there is no EXPLAIN.
pub(crate) fn explained(statement: &str) -> Option<&str> {
    let mut words = tokens(statement).filter(|token| token.kind != Kind::Space);
    words.next().filter(|token| is(token.text, "EXPLAIN"))?;
    let mut next = words.next();
    if next.is_some_and(|token| is(token.text, "QUERY")) {
        next = words.find(|token| !is(token.text, "PLAN"));
    }
    Some(next.map_or("", |token| &statement[token.start..]))
}

/// Returns whether a PRAGMA reports something and sets nothing.
fn reports(pragma: &str) -> bool {
    /// PRAGMAs that set something when they have an argument.
    const SETTINGS: [&str; 8] = [
        "data_version",
        "defer_foreign_keys",
        "foreign_keys",
        "ignore_check_constraints",
        "legacy_alter_table",
        "page_size",
        "recursive_triggers",
        "reverse_unordered_selects",
    ];
    /// PRAGMAs whose argument selects what they report.
    const REPORTS: [&str; 9] = [
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "quick_check",
        "table_info",
        "table_list",
        "table_xinfo",
    ];
    let words: Vec<_> = tokens(pragma).filter(|token| token.kind != Kind::Space).map(|token| token.text).collect();
    let (name, arguments) = match words.as_slice() {
        [_, _, ".", name, arguments @ ..] | [_, name, arguments @ ..] => (*name, arguments),
        _ => return false,
    };
    let is_in = |list: &[&str]| list.iter().any(|listed| is(name, listed));
    is_in(&REPORTS) || (is_in(&SETTINGS) && arguments.iter().all(|word| *word == ";"))
}

/// The statement with every parameter written `?N`, unless all are bare and in order already, and the number of values it
/// takes: the highest number.
///
/// A bare `?` is one more than the highest so far; a name gets a number of its own when it is first met.
///
/// ```
/// use isobar_sqlite::script::number_parameters;
///
/// assert_eq!(number_parameters("SELECT ?, ?"), ("SELECT ?, ?".into(), 2));
/// assert_eq!(number_parameters("SELECT :a, :b, :a"), ("SELECT ?1, ?2, ?1".into(), 2));
/// ```
#[must_use]
pub fn number_parameters(statement: &str) -> (Cow<'_, str>, usize) {
    let mut names = Vec::<(&str, usize)>::new();
    let mut highest = 0usize;
    let mut edits = Vec::new();
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
    let mut sql = String::with_capacity(statement.len() + 2 * edits.len());
    let mut from = 0;
    for (token, number) in edits {
        sql.push_str(&statement[from..token.start]);
        sql.push_str(&format!("?{number}"));
        from = token.start + token.text.len();
    }
    sql.push_str(&statement[from..]);
    (Cow::Owned(sql), highest)
}

/// The tokens of SQL that are neither space nor comments, as they are written: words, numbers by their digits and dots, operators by
/// their characters.
///
/// ```
/// let words: Vec<_> = isobar_sqlite::script::words("SELECT 'a b', \"c\" -- d").collect();
/// assert_eq!(words, ["SELECT", "'a b'", ",", "\"c\""]);
/// ```
pub fn words(sql: &str) -> impl Iterator<Item = &str> {
    tokens(sql).filter(|token| token.kind != Kind::Space).map(|token| token.text)
}

/// The names of a statement's parameters by their numbers, with the sign before them; `None` for a bare or numbered one. Names
/// get their numbers as in [`number_parameters`].
///
/// ```
/// use isobar_sqlite::script::parameter_names;
///
/// assert_eq!(parameter_names("SELECT :a, ?, @b, :a, ':c'"), [Some(":a"), None, Some("@b")]);
/// ```
#[must_use]
pub fn parameter_names(statement: &str) -> Vec<Option<&str>> {
    let mut names = Vec::new();
    for token in tokens(statement).filter(|token| token.kind == Kind::Parameter) {
        match token.text.strip_prefix('?') {
            Some("") => names.push(None),
            // More than SQLite allows is its error, and takes no memory here.
            Some(digits) => names.resize(names.len().max(digits.parse().unwrap_or(0).min(100_000)), None),
            None if names.contains(&Some(token.text)) => {}
            None => names.push(Some(token.text)),
        }
    }
    names
}

pub(crate) fn is(word: &str, keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword)
}

pub(crate) fn tokens(sql: &str) -> impl Iterator<Item = Token<'_>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = &sql[start..];
        let (kind, length) = token(rest)?;
        let token = Token { kind, text: &rest[..length], start };
        start += length;
        Some(token)
    })
}

/// The first token's kind and length in bytes, as SQLite's tokenizer has them.
fn token(rest: &str) -> Option<(Kind, usize)> {
    let first = rest.chars().next()?;
    let while_ =
        |skip: usize, test: fn(char) -> bool| skip + rest[skip..].find(|char| !test(char)).unwrap_or(rest.len() - skip);
    Some(match first {
        ';' => (Kind::Semicolon, 1),
        '\u{feff}' => (Kind::Space, first.len_utf8()),
        _ if is_space(first) => (Kind::Space, while_(0, is_space)),
        '-' if rest.starts_with("--") => (Kind::Space, rest.find('\n').map_or(rest.len(), |end| end + 1)),
        // At the very end it is a division and a star.
        '/' if rest.starts_with("/*") && rest.len() > 2 => {
            (Kind::Space, rest[2..].find("*/").map_or(rest.len(), |end| end + 4))
        }
        '\'' | '"' | '`' => (Kind::Other, quoted_length(rest, first)),
        '[' => (Kind::Other, rest.find(']').map_or(rest.len(), |end| end + 1)),
        '?' => (Kind::Parameter, while_(1, |char| char.is_ascii_digit())),
        ':' | '@' | '$' | '#' => match parameter(rest) {
            0 => (Kind::Other, 1),
            length => (Kind::Parameter, length),
        },
        _ if is_name(first) => (Kind::Word, while_(0, is_name)),
        _ => (Kind::Other, first.len_utf8()),
    })
}

/// The length of a named parameter; 0 where there is no name. As in Tcl it may have `::` in it, and end with something in
/// parentheses that may be anything but space.
fn parameter(rest: &str) -> usize {
    let mut at = 1;
    let mut named = false;
    loop {
        match rest[at..].chars().next() {
            Some(char) if is_name(char) => {
                at += char.len_utf8();
                named = true;
            }
            Some('(') if named => {
                let end = rest[at..].find(|char| is_space(char) || char == '\u{b}' || char == ')');
                return end.map_or(rest.len(), |end| at + end + usize::from(rest[at + end..].starts_with(')')));
            }
            Some(':') if rest[at..].starts_with("::") => at += 2,
            _ => return if named { at } else { 0 },
        }
    }
}

fn is_space(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\n' | '\u{c}' | '\r')
}

fn is_name(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_' || char == '$' || !char.is_ascii()
}

/// The length of a quoted token; a doubled quote stands for itself, an unclosed one runs to the end.
fn quoted_length(rest: &str, quote: char) -> usize {
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
mod tests;
