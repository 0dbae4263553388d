//! SQL in D1 and Durable Objects: values that pass through JavaScript and JSON, where every number is a double that is bound as
//! REAL, and the functions that workerd allows.

/// 2^53: every integer below it is exactly a double.
const EXACT: u64 = 1 << 53;

/// Functions that workerd's authorizer lets through, sorted; the `sqlite_` ones are those that ALTER TABLE itself calls. Source:
/// workerd 1.20261117, queried for every name of its SQLite and of SQLite 3.54.1 (`SELECT name(...)`).
const ALLOWED_FUNCTIONS: [&str; 132] = [
    "->",
    "->>",
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "avg",
    "bm25",
    "ceil",
    "changes",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "cos",
    "cosh",
    "count",
    "cume_dist",
    "current_date",
    "current_time",
    "current_timestamp",
    "date",
    "datetime",
    "degrees",
    "dense_rank",
    "exp",
    "first_value",
    "floor",
    "format",
    "glob",
    "group_concat",
    "hex",
    "highlight",
    "ifnull",
    "iif",
    "instr",
    "json",
    "json_array",
    "json_array_length",
    "json_extract",
    "json_group_array",
    "json_group_object",
    "json_insert",
    "json_object",
    "json_patch",
    "json_quote",
    "json_remove",
    "json_replace",
    "json_set",
    "json_type",
    "json_valid",
    "jsonb",
    "jsonb_array",
    "jsonb_extract",
    "jsonb_group_array",
    "jsonb_group_object",
    "jsonb_insert",
    "jsonb_object",
    "jsonb_patch",
    "jsonb_remove",
    "jsonb_replace",
    "jsonb_set",
    "julianday",
    "lag",
    "last_insert_rowid",
    "last_value",
    "lead",
    "length",
    "like",
    "likelihood",
    "likely",
    "ln",
    "log",
    "log2",
    "lower",
    "ltrim",
    "match",
    "max",
    "min",
    "mod",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "percent_rank",
    "pi",
    "pow",
    "printf",
    "quote",
    "radians",
    "random",
    "randomblob",
    "rank",
    "replace",
    "round",
    "row_number",
    "rtreecheck",
    "rtrim",
    "sign",
    "sin",
    "sinh",
    "snippet",
    "sqlite_drop_column",
    "sqlite_rename_column",
    "sqlite_rename_quotefix",
    "sqlite_rename_table",
    "sqlite_rename_test",
    "sqrt",
    "strftime",
    "string_agg",
    "substr",
    "substring",
    "sum",
    "tan",
    "tanh",
    "time",
    "timediff",
    "total",
    "total_changes",
    "trim",
    "trunc",
    "typeof",
    "unhex",
    "unicode",
    "unixepoch",
    "unlikely",
    "upper",
    "zeroblob",
];

/// Functions that workerd's SQLite has and its authorizer refuses, sorted. Every other name is unknown there.
const REFUSED_FUNCTIONS: [&str; 32] = [
    "affinity",
    "ceiling",
    "expr_compare",
    "expr_implies_expr",
    "fts5",
    "fts5_get_locale",
    "fts5_insttoken",
    "fts5_locale",
    "fts5_source_id",
    "if",
    "implies_nonnull_row",
    "json_array_insert",
    "json_error_position",
    "json_pretty",
    "jsonb_array_insert",
    "load_extension",
    "log10",
    "power",
    "rtreedepth",
    "rtreenode",
    "sqlite_add_constraint",
    "sqlite_compileoption_get",
    "sqlite_compileoption_used",
    "sqlite_drop_constraint",
    "sqlite_fail",
    "sqlite_find_constraint",
    "sqlite_log",
    "sqlite_source_id",
    "sqlite_version",
    "subtype",
    "unistr",
    "unistr_quote",
];

/// Whether D1 and Durable Objects allow this SQL function. Letter case does not matter.
///
/// ```
/// use isobar_cloudflare::sql::{allows_function, knows_function};
/// assert!(allows_function("json_extract") && allows_function("POW"));
/// assert!(!allows_function("json_pretty") && knows_function("json_pretty")); // "not authorized to use function"
/// assert!(!allows_function("soundex") && !knows_function("soundex")); // "no such function"
/// ```
#[must_use]
pub fn allows_function(name: &str) -> bool {
    is_listed(&ALLOWED_FUNCTIONS, name)
}

/// Whether workerd's SQLite has this function, allowed or not. Other functions fail there with `no such function`.
#[must_use]
pub fn knows_function(name: &str) -> bool {
    allows_function(name) || is_listed(&REFUSED_FUNCTIONS, name)
}

fn is_listed(sorted: &[&str], name: &str) -> bool {
    let lower = |byte: u8| byte.to_ascii_lowercase();
    sorted.binary_search_by(|listed| listed.bytes().cmp(name.bytes().map(lower))).is_ok()
}

/// Whether a number from SQL is exactly the stored one: integers beyond 2^53 are rounded. A number beyond the range of integers
/// can only have been a REAL.
#[must_use]
pub fn is_exact(number: f64) -> bool {
    number.fract() != 0.0 || number.abs() < EXACT as f64 || !(-(2f64.powi(63))..2f64.powi(63)).contains(&number)
}

/// Rewrites the placeholders of `sql` that `is_integer` selects (counted from 1) to `+CAST(? AS INTEGER)`, so that a number or
/// a text of digits bound to them is an INTEGER again, and exact. The `+` keeps them without an affinity, as a plain
/// placeholder is.
#[must_use]
pub fn exact_integers(sql: &str, is_integer: impl Fn(usize) -> bool) -> String {
    rewrite_placeholders(sql, |number, placeholder, out| {
        if is_integer(number) {
            out.push_str("+CAST(");
            out.push_str(placeholder);
            out.push_str(" AS INTEGER)");
        } else {
            out.push_str(placeholder);
        }
    })
}

/// Replaces each placeholder of `sql` by calling `write(number, placeholder, out)`. Numbers count from 1, as in SQLite.
///
/// Strings, quoted names and comments are left alone; in a script the placeholders are those of the last statement.
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

/// Returns the length of the first token of a text: a string, a comment, a placeholder, a word, or a character.
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
    fn lists_of_functions_are_sorted_and_apart() {
        for list in [&ALLOWED_FUNCTIONS[..], &REFUSED_FUNCTIONS] {
            assert!(list.is_sorted());
            assert!(list.iter().all(|name| *name == name.to_lowercase()));
        }
        assert!(!ALLOWED_FUNCTIONS.iter().any(|name| REFUSED_FUNCTIONS.contains(name)));
        for name in ["->>", "Count", "row_number", "bm25", "mod", "sqlite_rename_table"] {
            assert!(allows_function(name), "{name}");
        }
        for name in ["if", "power", "log10", "ceiling", "unistr", "sqlite_version", "load_extension", "", "é"] {
            assert!(!allows_function(name), "{name}");
        }
    }

    #[test]
    fn only_integers_are_cast() {
        let second = |sql| exact_integers(sql, |number| number == 2);
        assert_eq!(second("INSERT INTO t VALUES (?, ?, ?)"), "INSERT INTO t VALUES (?, +CAST(? AS INTEGER), ?)");
        assert_eq!(second("SELECT ?2, ?1, ?2, ?"), "SELECT +CAST(?2 AS INTEGER), ?1, +CAST(?2 AS INTEGER), ?");
        assert_eq!(second("SELECT :a, :b, :a"), "SELECT :a, +CAST(:b AS INTEGER), :a");
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
