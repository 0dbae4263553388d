//! workerd's limits and its authorizer.
//!
//! They are enforced by SQLite, not by a look at the words: limits are the connection's, and the authorizer is asked for each
//! action that a statement would take, triggers, views and virtual tables included, before it runs. The lists are workerd's
//! (`sqlite.c++` and `sqlite.h` in its source), and a conformance kit holds them to the real one.
//!
//! | rule | enforced by | error |
//! |---|---|---|
//! | lengths, depths, numbers of things | `sqlite3_limit` ([`set_limits`]) | `too many ...`, `statement too long` |
//! | actions: transactions, ATTACH, temporary objects | the authorizer ([`is_allowed`]) | `not authorized` |
//! | functions | the authorizer | `not authorized to use function: NAME` |
//! | PRAGMAs and their arguments | the authorizer | `not authorized` |
//! | virtual tables | [`drop_modules`](crate::drop_modules), the authorizer | `no such module`, `no such table`, `not authorized` |
//! | bytes of a value | `sqlite3_limit` | `string or blob too big` |

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext};
use rusqlite::limits::Limit;

use crate::functions::allows_function;
use crate::limits;
use crate::pragmas::{is_allowed_pragma, is_reserved};

/// Settings of a file's connection. With FULL, COMMIT returns when the write-ahead log is durable.
pub const DURABLE: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";

/// workerd's limits (`sqlite.c++`) but that of a value's length.
const LIMITS: [(Limit, usize); 10] = [
    (Limit::SQLITE_LIMIT_SQL_LENGTH, limits::SQL_BYTES),
    (Limit::SQLITE_LIMIT_COLUMN, limits::COLUMNS),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 5),
    (Limit::SQLITE_LIMIT_VDBE_OP, 25_000),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 127),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, limits::PATTERN_BYTES),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, limits::PARAMETERS),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 10),
];

const VIRTUAL_TABLES: [&str; 4] = ["fts5", "fts5vocab", "rtree", "rtree_i32"];

/// The product whose rules hold where the two differ.
///
/// | on a table `_cf_x` | `D1` | `DurableObjects` |
/// |---|---|---|
/// | CREATE TABLE, CREATE VIEW | refused | refused |
/// | SELECT, INSERT, UPDATE, DELETE | allowed | refused |
/// | CREATE INDEX, CREATE TRIGGER on it | allowed, unless named `_cf_` themselves | refused |
/// | DROP, ALTER | allowed | refused |
/// | `PRAGMA table_info(_cf_x)` and the like | refused | refused |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// D1: no table may be created under a name that begins with `_cf_`.
    D1,
    /// Durable Objects: nor may a table of such a name be read or written, since the host's own are in the same database.
    DurableObjects,
}

/// Sets workerd's limits, with this one for the bytes of a value or a row.
///
/// # Errors
/// SQLite's.
///
/// ```
/// let connection = rusqlite::Connection::open_in_memory()?;
/// isobar_sqlite::set_limits(&connection, 2_000_000)?; // D1's bytes of a value
/// let long = format!("SELECT '{}' LIKE '%'", "a".repeat(100_000));
/// assert!(connection.prepare(&long).is_err(), "a statement has 100,000 bytes at most");
/// # Ok::<(), rusqlite::Error>(())
/// ```
pub fn set_limits(connection: &Connection, value_bytes: usize) -> rusqlite::Result<()> {
    for (limit, value) in LIMITS.into_iter().chain([(Limit::SQLITE_LIMIT_LENGTH, value_bytes)]) {
        // SQLite's own maxima are far below i32's.
        connection.set_limit(limit, i32::try_from(value).unwrap_or(i32::MAX))?;
    }
    Ok(())
}

/// Returns whether workerd's authorizer lets an action through. It is asked while a statement is prepared, also for the
/// actions of triggers and virtual tables.
///
/// ```
/// use isobar_sqlite::{Product, is_allowed};
/// use rusqlite::hooks::{AuthContext, Authorization};
///
/// let mut connection = rusqlite::Connection::open_in_memory()?;
/// connection.authorizer(Some(|context: AuthContext<'_>| match is_allowed(&context, Product::D1) {
///     true => Authorization::Allow,
///     false => Authorization::Deny,
/// }))?;
/// assert!(connection.prepare("SELECT lower('A')").is_ok());
/// assert!(connection.prepare("SELECT load_extension('x')").is_err());
/// # Ok::<(), rusqlite::Error>(())
/// ```
///
/// It is plain code without state, so it may be asked from any thread. Unknown actions of a later SQLite are
/// refused where they are reported as such, and allowed where this crate's list does not name them.
#[must_use]
pub fn is_allowed(context: &AuthContext<'_>, product: Product) -> bool {
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
        | AuthAction::CreateTempView { .. }
        | AuthAction::DropTempIndex { .. }
        | AuthAction::DropTempTable { .. }
        | AuthAction::DropTempTrigger { .. }
        | AuthAction::DropTempView { .. }
        | AuthAction::Unknown { .. } => false,
        AuthAction::CreateTable { table_name: name } | AuthAction::CreateView { view_name: name } => !is_reserved(name),
        // On a table of the host's own they would take part in what the host writes.
        AuthAction::CreateIndex { index_name: name, table_name }
        | AuthAction::CreateTrigger { trigger_name: name, table_name } => {
            !is_reserved(name) && (product == Product::D1 || !is_reserved(table_name))
        }
        AuthAction::DropIndex { table_name, .. } | AuthAction::DropTrigger { table_name, .. } => {
            product == Product::D1 || !is_reserved(table_name)
        }
        AuthAction::DropTable { table_name: name }
        | AuthAction::AlterTable { table_name: name, .. }
        | AuthAction::Read { table_name: name, .. }
        | AuthAction::Insert { table_name: name }
        | AuthAction::Update { table_name: name, .. }
        | AuthAction::Delete { table_name: name } => product == Product::D1 || !is_reserved(name),
        AuthAction::CreateVtable { table_name, module_name } => {
            !is_reserved(table_name) && VIRTUAL_TABLES.iter().any(|listed| listed.eq_ignore_ascii_case(module_name))
        }
        AuthAction::Pragma { pragma_name, pragma_value } => is_allowed_pragma(pragma_name, pragma_value),
        AuthAction::Function { function_name } => allows_function(function_name),
        _ => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use rusqlite::hooks::Authorization;

    use super::*;

    fn connection(product: Product) -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (a TEXT); CREATE TABLE _cf_own (a)").unwrap();
        set_limits(&connection, 10_000).unwrap();
        crate::add_math_functions(&connection).unwrap();
        let judge = move |context: AuthContext<'_>| match is_allowed(&context, product) {
            true => Authorization::Allow,
            false => Authorization::Deny,
        };
        connection.authorizer(Some(judge)).unwrap();
        connection
    }

    #[test]
    fn both_products_refuse_the_same_but_for_the_hosts_own_tables() {
        for product in [Product::D1, Product::DurableObjects] {
            let connection = connection(product);
            let is_refused = |sql: &str| connection.execute_batch(sql).is_err();
            for sql in [
                "BEGIN",
                "SAVEPOINT s",
                "ATTACH ':memory:' AS o",
                "CREATE TEMP TABLE x (a)",
                "CREATE TABLE _CF_x (a)",
                "CREATE VIRTUAL TABLE v USING fts4(a)",
                "PRAGMA user_version",
                "PRAGMA page_size = 512",
                "PRAGMA data_version = 1",
                "PRAGMA table_info",
                "PRAGMA table_info = _cf_own",
                "PRAGMA index_list('_CF_own')",
                "SELECT * FROM pragma_table_info('_cf_own')",
                "PRAGMA foreign_keys = maybe",
                "PRAGMA optimize = on",
                "SELECT json_pretty('{}')",
                "SELECT zeroblob(10001)",
            ] {
                assert!(is_refused(sql), "{product:?}: {sql}");
            }
            for sql in [
                "CREATE TABLE x (a); ALTER TABLE x RENAME COLUMN a TO b; DROP TABLE x",
                "CREATE VIRTUAL TABLE v USING fts5(a); DROP TABLE v",
                "PRAGMA page_size",
                "PRAGMA table_info(t)",
                "PRAGMA table_list(_cf_own)",
                "PRAGMA foreign_keys = nope",
                "PRAGMA optimize(-1)",
                "SELECT pow(2, 3)",
            ] {
                assert!(!is_refused(sql), "{product:?}: {sql}");
            }
            for sql in [
                "SELECT a FROM _cf_own",
                "INSERT INTO _cf_own VALUES (1)",
                "CREATE INDEX i ON _cf_own (a)",
                "CREATE TRIGGER r AFTER INSERT ON _cf_own BEGIN INSERT INTO t VALUES (new.a); END",
                "DROP TABLE _cf_own",
            ] {
                assert_eq!(is_refused(sql), product == Product::DurableObjects, "{product:?}: {sql}");
            }
        }
    }
}
