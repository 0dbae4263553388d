//! Functions of SQL that workerd allows, refuses, and does not have.
//!
//! Three answers are possible, and programs see the difference: a function runs, is `not authorized to use
//! function: NAME`, or is `no such function: NAME`. The bundled SQLite has functions that workerd's lacks and the
//! other way round, so both lists are kept by name rather than taken from either.

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

/// Returns whether D1 and Durable Objects run this function of SQL. Letters may have any case.
///
/// ```
/// use isobar_sqlite::{allows_function, knows_function};
/// assert!(allows_function("json_extract") && allows_function("POW"));
/// assert!(!allows_function("json_pretty") && knows_function("json_pretty")); // "not authorized to use function"
/// assert!(!allows_function("soundex") && !knows_function("soundex")); // "no such function"
/// ```
#[must_use]
pub fn allows_function(name: &str) -> bool {
    is_sorted_in(&ALLOWED_FUNCTIONS, name)
}

/// Returns whether workerd's SQLite has this function, allowed or not. Any other name is `no such function` there.
///
/// ```
/// use isobar_sqlite::knows_function;
///
/// assert!(knows_function("upper") && knows_function("LOAD_EXTENSION"));
/// assert!(!knows_function("soundex"), "the bundled SQLite has it, workerd's has not");
/// ```
#[must_use]
pub fn knows_function(name: &str) -> bool {
    allows_function(name) || is_sorted_in(&REFUSED_FUNCTIONS, name)
}

/// Binary search without a copy of the name in lower case: it is asked for each function of each statement.
fn is_sorted_in(sorted: &[&str], name: &str) -> bool {
    let lower = |byte: u8| byte.to_ascii_lowercase();
    sorted.binary_search_by(|listed| listed.bytes().cmp(name.bytes().map(lower))).is_ok()
}

/// Returns the function's name where SQLite has refused a function that workerd's SQLite does not have: the error is
/// `no such function` there.
///
/// ```
/// use isobar_sqlite::unknown_function;
///
/// assert_eq!(unknown_function("not authorized to use function: soundex"), Some("soundex"));
/// assert_eq!(unknown_function("not authorized to use function: load_extension"), None);
/// ```
#[must_use]
pub fn unknown_function(message: &str) -> Option<&str> {
    message.strip_prefix("not authorized to use function: ").filter(|name| !knows_function(name))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_refused_function_is_unknown_where_workerd_lacks_it() {
        assert_eq!(unknown_function("not authorized to use function: soundex"), Some("soundex"));
        assert_eq!(unknown_function("not authorized to use function: json_pretty"), None);
        assert_eq!(unknown_function("not authorized"), None);
    }
}
