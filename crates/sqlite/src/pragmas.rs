//! PRAGMAs that workerd allows, each with the arguments that it may have.
//!
//! The lists say what workerd does, which was asked PRAGMA by PRAGMA: the same argument may be allowed for one and
//! refused for the next. The other functions tell the caller what a PRAGMA means for connections beside the one
//! that runs it, since a database here has several and D1 shows one.

use rusqlite::hooks::{AuthAction, AuthContext};

/// The arguments that a PRAGMA may have. To SQLite, `PRAGMA name = argument`, `PRAGMA name(argument)` and
/// `SELECT * FROM pragma_name('argument')` are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Argument {
    Never,
    /// None, or a word or digit that SQLite reads as a truth value.
    Boolean,
    /// None, or a number of 32 bits.
    Number,
    /// A table or an index that is not the host's own.
    Name,
    /// None, or as [`Name`](Self::Name).
    OptionalName,
    Any,
}

/// PRAGMAs that workerd allows. Source: workerd 1.20261117, each run without an argument and with some hundred of them.
const PRAGMAS: [(&str, Argument); 19] = [
    ("table_list", Argument::Any),
    ("table_info", Argument::Name),
    ("table_xinfo", Argument::Name),
    ("data_version", Argument::Never),
    ("page_size", Argument::Never),
    ("case_sensitive_like", Argument::Boolean),
    ("foreign_keys", Argument::Boolean),
    ("defer_foreign_keys", Argument::Boolean),
    ("ignore_check_constraints", Argument::Boolean),
    ("legacy_alter_table", Argument::Boolean),
    ("recursive_triggers", Argument::Boolean),
    ("reverse_unordered_selects", Argument::Boolean),
    ("foreign_key_check", Argument::OptionalName),
    ("foreign_key_list", Argument::Name),
    ("index_info", Argument::Name),
    ("index_list", Argument::Name),
    ("index_xinfo", Argument::Name),
    // A number of errors is not the name of a table of the host's either.
    ("quick_check", Argument::OptionalName),
    ("optimize", Argument::Number),
];

/// Beginnings of the truth values that workerd takes; case does not matter, nor what follows.
const TRUTH_VALUES: [&str; 8] = ["0", "1", "on", "off", "yes", "no", "true", "false"];

/// PRAGMAs whose value lasts as long as the connection, also where they run in a transaction. `foreign_keys` is not among them:
/// it does nothing there.
pub const LASTING: [&str; 5] = [
    "case_sensitive_like",
    "ignore_check_constraints",
    "legacy_alter_table",
    "recursive_triggers",
    "reverse_unordered_selects",
];

/// Returns the PRAGMA of [`LASTING`] that an action sets, with its value.
///
/// ```
/// use std::sync::{Arc, Mutex, PoisonError};
///
/// use isobar_sqlite::lasting_setting;
/// use rusqlite::hooks::{AuthContext, Authorization};
///
/// let mut connection = rusqlite::Connection::open_in_memory()?;
/// let last = Arc::new(Mutex::new(None));
/// let seen = Arc::clone(&last);
/// connection.authorizer(Some(move |context: AuthContext<'_>| {
///     if let Some((name, value)) = lasting_setting(&context) {
///         *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{name} = {value}"));
///     }
///     Authorization::Allow
/// }))?;
/// connection.execute_batch("PRAGMA recursive_triggers = ON; PRAGMA foreign_keys = ON")?;
/// let last = last.lock().unwrap_or_else(PoisonError::into_inner);
/// assert_eq!(last.as_deref(), Some("recursive_triggers = ON"));
/// # Ok::<(), rusqlite::Error>(())
/// ```
#[must_use]
pub fn lasting_setting<'a>(context: &AuthContext<'a>) -> Option<(&'static str, &'a str)> {
    let AuthAction::Pragma { pragma_name, pragma_value: Some(value) } = context.action else { return None };
    LASTING.iter().find(|name| name.eq_ignore_ascii_case(pragma_name)).map(|name| (*name, value))
}

/// Returns whether an action belongs to a statement that runs `PRAGMA optimize`, as such or by its table `pragma_optimize`: it
/// writes statistics, though `sqlite3_stmt_readonly` and a view's or SELECT's words say that it reads.
///
/// A caller that takes a statement for a read has to ask this, too, or a reader writes.
#[must_use]
pub fn runs_optimize(context: &AuthContext<'_>) -> bool {
    is_pragma(context, "optimize")
}

/// Returns whether an action is that of a PRAGMA with a value that it sets.
///
/// For statements that may only read: with [`runs_optimize`] it covers every PRAGMA of the list that changes
/// anything.
///
/// ```
/// use isobar_sqlite::sets_something;
/// use rusqlite::hooks::{AuthContext, Authorization};
///
/// let mut connection = rusqlite::Connection::open_in_memory()?;
/// connection.authorizer(Some(|context: AuthContext<'_>| match sets_something(&context) {
///     true => Authorization::Deny,
///     false => Authorization::Allow,
/// }))?;
/// assert!(connection.execute_batch("PRAGMA foreign_keys; PRAGMA table_info(t)").is_ok());
/// assert!(connection.execute_batch("PRAGMA foreign_keys = OFF").is_err());
/// # Ok::<(), rusqlite::Error>(())
/// ```
#[must_use]
pub fn sets_something(context: &AuthContext<'_>) -> bool {
    let AuthAction::Pragma { pragma_name, pragma_value: Some(_) } = context.action else { return false };
    PRAGMAS.iter().any(|(name, argument)| *argument == Argument::Boolean && name.eq_ignore_ascii_case(pragma_name))
}

/// Returns whether an action belongs to a statement that reads `data_version`, which is another number on each connection.
///
/// Only one connection of a database can answer it consistently.
#[must_use]
pub fn reads_data_version(context: &AuthContext<'_>) -> bool {
    is_pragma(context, "data_version")
}

/// Returns whether an action is that of a PRAGMA or reads its table, in a view, too.
fn is_pragma(context: &AuthContext<'_>, name: &str) -> bool {
    match context.action {
        AuthAction::Pragma { pragma_name, .. } => pragma_name.eq_ignore_ascii_case(name),
        AuthAction::Read { table_name, .. } => {
            let read = table_name.get(..7).filter(|start| start.eq_ignore_ascii_case("pragma_"));
            read.is_some() && table_name[7..].eq_ignore_ascii_case(name)
        }
        _ => false,
    }
}

/// Returns whether workerd runs the PRAGMA with this argument.
pub(crate) fn is_allowed_pragma(name: &str, argument: Option<&str>) -> bool {
    let Some((_, allowed)) = PRAGMAS.iter().find(|(listed, _)| listed.eq_ignore_ascii_case(name)) else {
        return false;
    };
    match (allowed, argument) {
        (Argument::Any, _) => true,
        (Argument::Never, argument) => argument.is_none(),
        (Argument::Name, None) => false,
        (Argument::Boolean | Argument::Number | Argument::OptionalName, None) => true,
        (Argument::Boolean, Some(value)) => TRUTH_VALUES.iter().any(|start| starts_with(value, start)),
        (Argument::Number, Some(value)) => is_number(value),
        (Argument::Name | Argument::OptionalName, Some(name)) => !is_reserved(name),
    }
}

/// Returns whether a name is of those that the host keeps for itself.
pub(crate) fn is_reserved(name: &str) -> bool {
    starts_with(name, "_cf_")
}

fn starts_with(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start))
}

/// Returns whether workerd reads the text as an integer of 32 bits, decimal or `0x` and hexadecimal.
fn is_number(text: &str) -> bool {
    let sign = if text.starts_with('-') { "-" } else { "" };
    let digits = &text[sign.len()..];
    match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => {
            let is_hex = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_hex && i32::from_str_radix(&format!("{sign}{hex}"), 16).is_ok()
        }
        None => text.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']).parse::<i32>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_those_that_workerd_takes() {
        for (name, allowed, refused) in [
            ("table_info", &["t", "1", "", "_cf", " _cf_KV"][..], &["_cf_KV", "_CF_x", "_cf_"][..]),
            ("INDEX_INFO", &["sqlite_autoindex__cf_KV_1"], &["_cf_KV"]),
            ("table_list", &["t", "_cf_KV"], &[]),
            ("foreign_key_check", &["t"], &["_cf_KV"]),
            ("quick_check", &["t", "1", "-1"], &["_cf_KV"]),
            ("data_version", &[], &["1", "t", ""]),
            ("page_size", &[], &["4096"]),
            (
                "foreign_keys",
                &["on", "OFF", "tRuE", "no", "nosuch", "1x", "10", "0x1", "1.5", "18446744073709551615"],
                &["", "-0", " 1", "2", "99", "maybe", "n", "y", "tr", ".5", "default", "é"],
            ),
            (
                "optimize",
                &["1", "-1", "+1", " 1", "08", "0x10002", "-0x1", "0x7fffffff", "-2147483648"],
                &["", "on", "1.5", "1 ", "1x", "0x", "+0x1", "--1", "0x-1", "0x80000000", "2147483648", "99999999999"],
            ),
            ("user_version", &[], &["1"]),
        ] {
            for argument in allowed {
                assert!(is_allowed_pragma(name, Some(argument)), "{name}({argument})");
            }
            for argument in refused {
                assert!(!is_allowed_pragma(name, Some(argument)), "{name}({argument})");
            }
        }
        for (name, argument) in PRAGMAS {
            assert_eq!(is_allowed_pragma(name, None), argument != Argument::Name, "{name}");
        }
    }
}
