//! Rules of Durable Objects for an object's SQL: limits, PRAGMAs, and what the authorizer lets through.

use rusqlite::hooks::{AuthAction, AuthContext};
use rusqlite::limits::Limit;

use crate::limits;

/// Bytes of a record's header that come on top of its value, as workerd allows for.
const RECORD_HEADER: usize = 34;

pub(super) const LIMITS: [(Limit, usize); 11] = [
    (Limit::SQLITE_LIMIT_LENGTH, limits::VALUE_BYTES + RECORD_HEADER),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, limits::SQL_BYTES),
    (Limit::SQLITE_LIMIT_COLUMN, limits::COLUMNS),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 5),
    (Limit::SQLITE_LIMIT_VDBE_OP, 25_000),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 127),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, limits::PARAMETERS),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 10),
];

const PRAGMAS: [&str; 19] = [
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
];

/// PRAGMAs that set something on the connection which lasts beyond the transaction.
const SETTINGS: [&str; 6] = [
    "case_sensitive_like",
    "foreign_keys",
    "ignore_check_constraints",
    "legacy_alter_table",
    "recursive_triggers",
    "reverse_unordered_selects",
];

/// The setting that a PRAGMA changes on its connection, and its value.
pub(super) fn setting<'a>(context: &AuthContext<'a>) -> Option<(&'static str, &'a str)> {
    let AuthAction::Pragma { pragma_name, pragma_value: Some(value) } = context.action else { return None };
    SETTINGS.iter().find(|name| name.eq_ignore_ascii_case(pragma_name)).map(|name| (*name, value))
}

/// Returns whether workerd lets an object's SQL do this.
pub(super) fn is_allowed(context: &AuthContext<'_>) -> bool {
    let reserved = |name: &str| name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("_cf_"));
    if context.database_name.is_some_and(|name| name.eq_ignore_ascii_case("temp")) {
        // ALTER TABLE looks for temporary objects that name the table, and there never are any.
        let (AuthAction::Read { table_name, .. } | AuthAction::Update { table_name, .. }) = context.action else {
            return false;
        };
        return ["sqlite_temp_master", "sqlite_temp_schema"].contains(&table_name);
    }
    match context.action {
        AuthAction::Transaction { .. }
        | AuthAction::Savepoint { .. }
        | AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. } => false,
        AuthAction::CreateIndex { index_name: name, .. }
        | AuthAction::CreateTable { table_name: name }
        | AuthAction::CreateTrigger { trigger_name: name, .. }
        | AuthAction::CreateView { view_name: name }
        | AuthAction::DropTable { table_name: name }
        | AuthAction::AlterTable { table_name: name, .. }
        | AuthAction::Read { table_name: name, .. }
        | AuthAction::Insert { table_name: name }
        | AuthAction::Update { table_name: name, .. }
        | AuthAction::Delete { table_name: name } => !reserved(name),
        AuthAction::CreateVtable { table_name, module_name } => {
            !reserved(table_name)
                && ["fts5", "fts5vocab", "rtree", "rtree_i32"].iter().any(|name| name.eq_ignore_ascii_case(module_name))
        }
        AuthAction::Pragma { pragma_name, pragma_value } => {
            let sets_page_size = pragma_name.eq_ignore_ascii_case("page_size") && pragma_value.is_some();
            PRAGMAS.iter().any(|name| name.eq_ignore_ascii_case(pragma_name)) && !sets_page_size
        }
        AuthAction::Function { function_name } => isobar_cloudflare::sql::allows_function(function_name),
        _ => true,
    }
}
