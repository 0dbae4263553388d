//! SQL values that pass through JavaScript and JSON, where every number is a double that is bound as REAL.
//!
//! D1's binding and its REST API know one type of number. Two things go wrong on the way, in one direction each:
//!
//! | direction | fault | remedy |
//! |---|---|---|
//! | to the database | `5` is bound as REAL and stored as `5.0` in a column without affinity | [`exact_integers`] casts it back |
//! | from the database | an INTEGER beyond 2^53 arrives as the nearest double | [`is_exact`] says which numbers are in doubt |
//!
//! Both work on the text of a statement or on a number, and need no connection. The text is not parsed: a tokenizer of SQLite's
//! strings, names, comments and placeholders is enough, and never fails. Text that SQLite would refuse goes through as it is, so that the
//! error is SQLite's.

/// 2^53: every integer below it is exactly a double.
const EXACT: u64 = 1 << 53;

/// Whether a number from SQL is exactly the stored one: integers beyond 2^53 are rounded. A number beyond the range of integers
/// can only have been a REAL.
///
/// ```
/// use isobar_cloudflare::sql::is_exact;
///
/// assert!(is_exact(9_007_199_254_740_991.0) && is_exact(0.5) && is_exact(1e300));
/// assert!(!is_exact(9_007_199_254_740_992.0), "the integer above it is read as the same number");
/// ```
#[must_use]
pub fn is_exact(number: f64) -> bool {
    number.fract() != 0.0 || number.abs() < EXACT as f64 || !(-(2f64.powi(63))..2f64.powi(63)).contains(&number)
}

/// Rewrites the placeholders of `sql` that `is_integer` selects (counted from 1) to `+CAST(? AS INTEGER)`, so that a number or
/// a text of digits bound to them is an INTEGER again, and exact. The `+` keeps them without an affinity, as a plain
/// placeholder is.
///
/// ```
/// use isobar_cloudflare::sql::exact_integers;
///
/// let sql = exact_integers("SELECT ?, ?", |number| number == 2);
/// assert_eq!(sql, "SELECT ?, +CAST(? AS INTEGER)");
/// ```
///
/// A value that is not selected stays as the executor binds it. A text that is not a number becomes 0 by the cast: select only what the
/// caller has as an integer.
#[must_use]
pub fn exact_integers(sql: &str, is_integer: impl Fn(usize) -> bool) -> String {
    ExactIntegers::new(sql, is_integer).sql
}

const CAST: &str = "+CAST(";
const AS_INTEGER: &str = " AS INTEGER)";

/// A statement rewritten as by [`exact_integers`], and the way back from what a database says of it to the text of the caller.
///
/// ```
/// use isobar_cloudflare::sql::ExactIntegers;
///
/// let rewritten = ExactIntegers::new("SELECT ?, nope FROM t", |number| number == 1);
/// assert_eq!(rewritten.sql(), "SELECT +CAST(? AS INTEGER), nope FROM t");
/// assert_eq!(rewritten.column("+CAST(? AS INTEGER)"), "?");
/// assert_eq!(rewritten.message("no such column: nope at offset 28"), "no such column: nope at offset 10");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExactIntegers {
    sql: String,
    casts: Vec<Cast>,
}

/// A placeholder that is cast: where the cast begins, counted from the start of its statement in the rewritten text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cast {
    at: usize,
    placeholder: String,
}

impl ExactIntegers {
    /// Rewrites a statement or the last one of a script, whose placeholders `is_integer` selects, counted from 1.
    #[must_use]
    pub fn new(sql: &str, is_integer: impl Fn(usize) -> bool) -> Self {
        let mut casts = Vec::new();
        let sql = rewrite_placeholders(sql, |number, placeholder, out| {
            if is_integer(number) {
                casts.push(Cast { at: out.len(), placeholder: placeholder.to_owned() });
                out.push_str(CAST);
                out.push_str(placeholder);
                out.push_str(AS_INTEGER);
            } else {
                out.push_str(placeholder);
            }
        });
        if let Some(first) = casts.first() {
            let start = statement_start(&sql[..first.at]);
            casts.iter_mut().for_each(|cast| cast.at -= start);
        }
        Self { sql, casts }
    }

    /// Takes SQL as it is: nothing in it is cast.
    #[must_use]
    pub fn unchanged(sql: &str) -> Self {
        Self { sql: sql.to_owned(), casts: Vec::new() }
    }

    /// Returns the rewritten text.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Returns the name of a column as it would be without the casts: that of an expression without an alias is its text.
    #[must_use]
    pub fn column(&self, name: &str) -> String {
        let mut name = name.to_owned();
        for Cast { placeholder, .. } in &self.casts {
            name = name.replace(&format!("{CAST}{placeholder}{AS_INTEGER}"), placeholder);
        }
        name
    }

    /// Returns a message of the database with the offset, if it has one, that is meant in the text of the caller.
    #[must_use]
    pub fn message(&self, text: &str) -> String {
        const OFFSET: &str = " at offset ";
        let Some((before, after)) = text.rsplit_once(OFFSET) else { return text.to_owned() };
        let digits = after.find(|char: char| !char.is_ascii_digit()).unwrap_or(after.len());
        let Ok(offset) = after[..digits].parse() else { return text.to_owned() };
        format!("{before}{OFFSET}{}{}", self.offset(offset), &after[digits..])
    }

    /// The offset in the caller's statement of one in the rewritten statement; one within a cast is that of its placeholder.
    fn offset(&self, offset: usize) -> usize {
        let mut added = 0;
        for Cast { at, placeholder } in &self.casts {
            let length = CAST.len() + placeholder.len() + AS_INTEGER.len();
            if offset <= *at {
                break;
            }
            if offset < at + length {
                return at - added;
            }
            added += CAST.len() + AS_INTEGER.len();
        }
        offset - added
    }
}

/// Where the last statement of a text begins.
fn statement_start(text: &str) -> usize {
    let mut start = 0;
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        at += token(&text[at..], first);
        if first == ';' {
            start = at;
        }
    }
    start + (text[start..].len() - text[start..].trim_start().len())
}

/// Replaces each placeholder of `sql` by calling `write(number, placeholder, out)`. Numbers count from 1, as in SQLite.
///
/// Strings, quoted names and comments are left alone; in a script the placeholders are those of the last statement.
///
/// A placeholder without a number gets one more than the highest so far, a named one keeps the number of its first use: the rule of
/// SQLite's documentation, "SQL Language Expressions", "Parameters". `?0` is left for SQLite to report. Time and memory are in proportion to
/// the text.
///
/// ```
/// use isobar_cloudflare::sql::rewrite_placeholders;
///
/// let sql = rewrite_placeholders("SELECT ?, '?', ?7, ?, :a, :a", |number, _, out| out.push_str(&format!("${number}")));
/// assert_eq!(sql, "SELECT $1, '?', $7, $8, $9, $9");
/// ```
#[must_use]
pub fn rewrite_placeholders(sql: &str, mut write: impl FnMut(usize, &str, &mut String)) -> String {
    let mut out = String::with_capacity(sql.len() + 32);
    let mut rest = sql;
    let mut highest = 0usize;
    let mut names: Vec<(&str, usize)> = Vec::new();
    while let Some(first) = rest.chars().next() {
        let length = token(rest, first);
        let (token, tail) = rest.split_at(length);
        rest = tail;
        let number = match first {
            '?' => token[1..].parse().unwrap_or(highest.saturating_add(1)),
            ':' | '@' | '$' if length > 1 => match names.iter().find(|(name, _)| *name == token) {
                // A named parameter keeps the number of its first use; unnamed ones in between count as well.
                Some((_, known)) => *known,
                None => {
                    names.push((token, highest.saturating_add(1)));
                    highest.saturating_add(1)
                }
            },
            _ => {
                out.push_str(token);
                continue;
            }
        };
        highest = highest.max(number);
        if number > 0 {
            write(number, token, &mut out);
        } else {
            out.push_str(token); // SQLite reports the invalid ?0 itself
        }
    }
    out
}

/// Returns the length in bytes of the first token of a text: a string, a comment, a placeholder, a word, or a character. At least 1.
///
/// A doubled quote within a string reads as the end of one string and the start of another, which comes to the same here. A string, a name or
/// a comment without an end takes the rest of the text.
fn token(text: &str, first: char) -> usize {
    let until = |end: &str, from: usize| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    let word = |from: usize| {
        let is_word = |char: char| char.is_alphanumeric() || char == '_' || char == '$';
        text[from..].find(|char| !is_word(char)).map_or(text.len(), |at| from + at)
    };
    match first {
        '\'' | '"' | '`' => until(&text[..1], 1), // a doubled quote is the start of another string
        '[' => until("]", 1),
        '-' if text.starts_with("--") => until("\n", 2),
        '/' if text.starts_with("/*") => until("*/", 2),
        '?' => text[1..].find(|char: char| !char.is_ascii_digit()).map_or(text.len(), |at| 1 + at),
        ':' | '@' | '$' => word(1),
        _ if first.is_alphanumeric() || first == '_' => word(first.len_utf8()),
        _ => first.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(sql: &str) -> String {
        exact_integers(sql, |_| true).replace("+CAST(", "<").replace(" AS INTEGER)", ">")
    }

    #[test]
    fn placeholders_are_found_and_nothing_else() {
        assert_eq!(all("SELECT ?, ?2, ?"), "SELECT <?>, <?2>, <?>");
        assert_eq!(
            all("SELECT '?', \"?\", `?`, [?], 'it''s ?', ? -- ?\n, ? /* ? */"),
            "SELECT '?', \"?\", `?`, [?], 'it''s ?', <?> -- ?\n, <?> /* ? */"
        );
        assert_eq!(all("SELECT :a, @b, $c, :a"), "SELECT <:a>, <@b>, <$c>, <:a>");
        assert_eq!(all("SELECT 'unclosed ?"), "SELECT 'unclosed ?");
        assert_eq!(all("SELECT a$b, é?"), "SELECT a$b, é<?>");
    }

    #[test]
    fn only_integers_are_cast() {
        let second = |sql| exact_integers(sql, |number| number == 2);
        assert_eq!(second("INSERT INTO t VALUES (?, ?, ?)"), "INSERT INTO t VALUES (?, +CAST(? AS INTEGER), ?)");
        assert_eq!(second("SELECT ?2, ?1, ?2, ?"), "SELECT +CAST(?2 AS INTEGER), ?1, +CAST(?2 AS INTEGER), ?");
        assert_eq!(second("SELECT :a, :b, :a"), "SELECT :a, +CAST(:b AS INTEGER), :a");
    }

    #[test]
    fn offsets_and_names_lead_back_to_the_text_of_the_caller() {
        let rewritten = ExactIntegers::new("INSERT INTO t VALUES (1, ';'); SELECT ?, a, ?2, b FROM t", |_| true);
        let last = "SELECT +CAST(? AS INTEGER), a, +CAST(?2 AS INTEGER), b FROM t";
        assert_eq!(rewritten.sql(), format!("INSERT INTO t VALUES (1, ';'); {last}"));
        let caller = "SELECT ?, a, ?2, b FROM t";
        for name in ["SELECT", " a", " b", "FROM t"] {
            let at = |text: &str| text.find(name).expect("the name is in both texts");
            assert_eq!(rewritten.offset(at(last)), at(caller), "{name}");
        }
        assert_eq!(rewritten.offset(9), 7);
        assert_eq!(rewritten.column("+CAST(?2 AS INTEGER) || +CAST(? AS INTEGER)"), "?2 || ?");
        let unchanged = ExactIntegers::new("SELECT ?, a", |_| false);
        assert_eq!(
            unchanged.message("no such column: a at offset 10: SQLITE_ERROR"),
            "no such column: a at offset 10: SQLITE_ERROR"
        );
        assert_eq!(rewritten.message("UNIQUE constraint failed"), "UNIQUE constraint failed");
    }

    #[test]
    fn huge_placeholder_numbers_are_left_to_sqlite() {
        let huge = format!("SELECT ?{}, ?", usize::MAX);
        assert_eq!(exact_integers(&huge, |_| false), huge);
    }

    #[test]
    fn numbers_that_javascript_rounds_are_not_exact() {
        assert!(is_exact(9_007_199_254_740_991.0) && is_exact(0.5) && is_exact(1e300) && is_exact(-1e19));
        assert!(!is_exact(9_007_199_254_740_992.0) && !is_exact(-9e18));
    }
}
