//! D1's limits and authorizer on a connection, and SQLite's names of errors.
//!
//! The only `unsafe` of the workspace: sqlx gives the raw handle but wraps neither `sqlite3_limit` nor
//! `sqlite3_set_authorizer`.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use libsqlite3_sys as ffi;
use sqlx::sqlite::SqliteConnection;

use crate::{Constraint, ErrorKind, limits};

/// workerd's limits (`sqlite.c++`) with D1's documented sizes.
const LIMITS: [(c_int, usize); 11] = [
    (ffi::SQLITE_LIMIT_LENGTH, limits::VALUE_BYTES),
    (ffi::SQLITE_LIMIT_SQL_LENGTH, limits::SQL_BYTES),
    (ffi::SQLITE_LIMIT_COLUMN, limits::COLUMNS),
    (ffi::SQLITE_LIMIT_EXPR_DEPTH, 100),
    (ffi::SQLITE_LIMIT_COMPOUND_SELECT, 5),
    (ffi::SQLITE_LIMIT_VDBE_OP, 25_000),
    (ffi::SQLITE_LIMIT_FUNCTION_ARG, 127),
    (ffi::SQLITE_LIMIT_ATTACHED, 0),
    (ffi::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, limits::PATTERN_BYTES),
    (ffi::SQLITE_LIMIT_VARIABLE_NUMBER, limits::PARAMETERS),
    (ffi::SQLITE_LIMIT_TRIGGER_DEPTH, 10),
];

/// The PRAGMAs that D1 allows, and the one that the engine itself asks, which is refused in users' SQL before it
/// runs: `page_count`.
const PRAGMAS: [&str; 20] = [
    "table_list",
    "table_info",
    "table_xinfo",
    "data_version",
    "page_size",
    "case_sensitive_like",
    "foreign_keys",
    "defer_foreign_keys",
    "ignore_check_constraints",
    "legacy_alter_table",
    "recursive_triggers",
    "reverse_unordered_selects",
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "quick_check",
    "optimize",
    "page_count",
];

const DENIED_FUNCTIONS: [&str; 5] =
    ["load_extension", "sqlite_version", "sqlite_source_id", "sqlite_compileoption_used", "sqlite_compileoption_get"];

const VIRTUAL_TABLES: [&str; 4] = ["fts5", "fts5vocab", "rtree", "rtree_i32"];

/// Puts limits and authorizer on a new connection.
pub(super) async fn install(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut handle = connection.lock_handle().await?;
    let database = handle.as_raw_handle().as_ptr();
    for (limit, value) in LIMITS {
        // SAFETY: the handle is locked, open and ours; the values are far below c_int's maximum.
        unsafe { ffi::sqlite3_limit(database, limit, value as c_int) };
    }
    // SAFETY: the handle is locked and open; the callback is a plain function without state, so it outlives everything.
    unsafe { ffi::sqlite3_set_authorizer(database, Some(authorize), ptr::null_mut()) };
    Ok(())
}

/// Where in its SQL the connection's last error is, if it is anywhere.
pub(super) async fn error_offset(connection: &mut SqliteConnection) -> Option<usize> {
    let mut handle = connection.lock_handle().await.ok()?;
    // SAFETY: the handle is locked and open.
    let offset = unsafe { ffi::sqlite3_error_offset(handle.as_raw_handle().as_ptr()) };
    usize::try_from(offset).ok()
}

/// Whether SQLite has left the transaction by itself, as `INSERT OR ROLLBACK` and a full disk make it.
pub(super) async fn has_left_transaction(connection: &mut SqliteConnection) -> bool {
    match connection.lock_handle().await {
        // SAFETY: the handle is locked and open.
        Ok(mut handle) => unsafe { ffi::sqlite3_get_autocommit(handle.as_raw_handle().as_ptr()) != 0 },
        Err(_) => false,
    }
}

/// What kind of error SQLite's extended code is.
pub(super) fn kind(code: c_int, message: &str) -> ErrorKind {
    match code {
        ffi::SQLITE_CONSTRAINT_UNIQUE => ErrorKind::Constraint(Constraint::Unique),
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            ErrorKind::Constraint(Constraint::PrimaryKey)
        }
        ffi::SQLITE_CONSTRAINT_NOTNULL => ErrorKind::Constraint(Constraint::NotNull),
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ErrorKind::Constraint(Constraint::ForeignKey),
        ffi::SQLITE_CONSTRAINT_CHECK => ErrorKind::Constraint(Constraint::Check),
        _ if message.starts_with("not authorized") => ErrorKind::NotAuthorized,
        _ => match code & 0xff {
            ffi::SQLITE_CONSTRAINT => ErrorKind::Constraint(Constraint::Other),
            ffi::SQLITE_AUTH => ErrorKind::NotAuthorized,
            ffi::SQLITE_TOOBIG => ErrorKind::TooBig,
            ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => ErrorKind::Unavailable,
            ffi::SQLITE_CANTOPEN | ffi::SQLITE_PERM | ffi::SQLITE_READONLY => ErrorKind::PermissionDenied,
            ffi::SQLITE_FULL => ErrorKind::StorageFull,
            ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => ErrorKind::Corrupt,
            ffi::SQLITE_ERROR | ffi::SQLITE_MISMATCH | ffi::SQLITE_RANGE => ErrorKind::Sql,
            _ => ErrorKind::Internal,
        },
    }
}

/// SQLite's name of a code, as D1 writes it.
pub(super) fn code_name(code: c_int) -> String {
    let primary = match code & 0xff {
        ffi::SQLITE_ERROR => "SQLITE_ERROR",
        ffi::SQLITE_PERM => "SQLITE_PERM",
        ffi::SQLITE_BUSY => "SQLITE_BUSY",
        ffi::SQLITE_LOCKED => "SQLITE_LOCKED",
        ffi::SQLITE_NOMEM => "SQLITE_NOMEM",
        ffi::SQLITE_READONLY => "SQLITE_READONLY",
        ffi::SQLITE_INTERRUPT => "SQLITE_INTERRUPT",
        ffi::SQLITE_IOERR => "SQLITE_IOERR",
        ffi::SQLITE_CORRUPT => "SQLITE_CORRUPT",
        ffi::SQLITE_FULL => "SQLITE_FULL",
        ffi::SQLITE_CANTOPEN => "SQLITE_CANTOPEN",
        ffi::SQLITE_TOOBIG => "SQLITE_TOOBIG",
        ffi::SQLITE_CONSTRAINT => "SQLITE_CONSTRAINT",
        ffi::SQLITE_MISMATCH => "SQLITE_MISMATCH",
        ffi::SQLITE_AUTH => "SQLITE_AUTH",
        ffi::SQLITE_NOTADB => "SQLITE_NOTADB",
        _ => return format!("SQLITE_UNKNOWN ({code})"),
    };
    let extended = match code {
        ffi::SQLITE_CONSTRAINT_CHECK => "CHECK",
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => "FOREIGNKEY",
        ffi::SQLITE_CONSTRAINT_NOTNULL => "NOTNULL",
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY => "PRIMARYKEY",
        ffi::SQLITE_CONSTRAINT_TRIGGER => "TRIGGER",
        ffi::SQLITE_CONSTRAINT_UNIQUE => "UNIQUE",
        ffi::SQLITE_CONSTRAINT_ROWID => "ROWID",
        ffi::SQLITE_CONSTRAINT_DATATYPE => "DATATYPE",
        _ => return primary.to_owned(),
    };
    format!("{primary} (extended: {primary}_{extended})")
}

/// D1's authorizer: asked while a statement is prepared, also for what triggers and virtual tables do.
unsafe extern "C" fn authorize(
    _: *mut c_void,
    action: c_int,
    first: *const c_char,
    second: *const c_char,
    database: *const c_char,
    _: *const c_char,
) -> c_int {
    // SAFETY: SQLite passes null or C strings that live as long as the call.
    let [first, second, database] = [first, second, database].map(|text| unsafe { text_of(text) });
    if is_allowed(action, first, second, database) { ffi::SQLITE_OK } else { ffi::SQLITE_DENY }
}

/// # Safety
/// `text` is null or a C string that lives for `'a`.
unsafe fn text_of<'a>(text: *const c_char) -> &'a str {
    if text.is_null() {
        return "";
    }
    // SAFETY: not null, so a C string by the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap_or_default()
}

fn is_allowed(action: c_int, first: &str, second: &str, database: &str) -> bool {
    let listed = |list: &[&str], name: &str| list.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
    let reserved = |name: &str| name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("_cf_"));
    if database.eq_ignore_ascii_case("temp") {
        // ALTER TABLE looks for temporary objects that name the table, and there never are any.
        let schema = ["sqlite_temp_master", "sqlite_temp_schema"].contains(&first);
        return schema && matches!(action, ffi::SQLITE_READ | ffi::SQLITE_UPDATE);
    }
    match action {
        ffi::SQLITE_ATTACH
        | ffi::SQLITE_DETACH
        | ffi::SQLITE_CREATE_TEMP_INDEX
        | ffi::SQLITE_CREATE_TEMP_TABLE
        | ffi::SQLITE_CREATE_TEMP_TRIGGER
        | ffi::SQLITE_CREATE_TEMP_VIEW
        | ffi::SQLITE_DROP_TEMP_INDEX
        | ffi::SQLITE_DROP_TEMP_TABLE
        | ffi::SQLITE_DROP_TEMP_TRIGGER
        | ffi::SQLITE_DROP_TEMP_VIEW => false,
        ffi::SQLITE_CREATE_TABLE | ffi::SQLITE_CREATE_INDEX | ffi::SQLITE_CREATE_TRIGGER | ffi::SQLITE_CREATE_VIEW => {
            !reserved(first)
        }
        ffi::SQLITE_CREATE_VTABLE => !reserved(first) && listed(&VIRTUAL_TABLES, second),
        ffi::SQLITE_PRAGMA => {
            listed(&PRAGMAS, first) && (second.is_empty() || !first.eq_ignore_ascii_case("page_size"))
        }
        ffi::SQLITE_FUNCTION => !listed(&DENIED_FUNCTIONS, second),
        _ => true,
    }
}
