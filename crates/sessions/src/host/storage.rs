//! An object's database: SQL with Durable Objects' rules, key-value storage, the alarm's row, and the implicit
//! transaction of a turn.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Batch, Connection, OptionalExtension, Statement, params, params_from_iter};

use crate::context::TransactionBody;
use crate::{Cursor, Error, ErrorKind, KvListOptions, Result, Value, limits};

const ONLY_COMMENTS: &str = "SQL code did not contain a statement.";
const WRONG_BINDINGS: &str = "Wrong number of parameter bindings for SQL query.";
const EARLY_PARAMETER: &str =
    "When executing multiple SQL statements in a single call, only the last statement can have parameters.";
const TRANSACTION: &str = "To execute a transaction, please use transaction() instead of the SQL BEGIN TRANSACTION or \
                           SAVEPOINT statements. It rolls back on errors, and it works with the implicit transaction.";

const LIMITS: [(Limit, usize); 11] = [
    (Limit::SQLITE_LIMIT_LENGTH, limits::VALUE_BYTES),
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

/// The alarm as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AlarmRow {
    /// When it was set for, in milliseconds since 1970.
    pub(super) scheduled: i64,
    /// When it is to run: later than `scheduled` after a failure.
    pub(super) due: i64,
    /// How often it has failed.
    pub(super) retries: u32,
}

/// An object's database, open.
#[derive(Debug)]
pub(super) struct Storage {
    connection: Connection,
    /// Set while the host's own statements are prepared: the authorizer lets them through.
    trusted: Arc<AtomicBool>,
    /// The turn's transaction is open.
    open: Cell<bool>,
    savepoints: Cell<u32>,
}

impl Storage {
    /// Opens the file, or a database in memory.
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        let connection = match path {
            Some(path) => Connection::open(path),
            None => Connection::open_in_memory(),
        };
        let connection = connection.map_err(|error| failure(&error))?;
        let trusted = Arc::new(AtomicBool::new(true));
        let mut storage = Self { connection, trusted, open: Cell::new(false), savepoints: Cell::new(0) };
        storage.configure().map_err(|error| failure(&error))?;
        Ok(storage)
    }

    fn configure(&mut self) -> rusqlite::Result<()> {
        let connection = &mut self.connection;
        // FULL: COMMIT answers when the WAL is durable, and nothing leaves the object before COMMIT has answered.
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -512;
             CREATE TABLE IF NOT EXISTS _cf_KV (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS _cf_ALARM (
                 id INTEGER PRIMARY KEY CHECK (id = 1), scheduled INTEGER NOT NULL, due INTEGER NOT NULL,
                 retries INTEGER NOT NULL
             );",
        )?;
        for (limit, value) in LIMITS {
            // All far below i32's maximum.
            connection.set_limit(limit, value as i32)?;
        }
        let trusted = Arc::clone(&self.trusted);
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            if trusted.load(Ordering::Relaxed) || is_allowed(&context) {
                Authorization::Allow
            } else {
                Authorization::Deny
            }
        }))?;
        self.trusted.store(false, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn exec(&self, sql: &str, values: &[Value]) -> Result<Cursor> {
        let wrong = |message: &str| Error::new(ErrorKind::Sql, message);
        let mut batch = Batch::new(&self.connection, sql);
        let (mut cursor, mut bound) = (None, false);
        let single = !sql.trim_end().trim_end_matches(';').contains(';');
        while let Some(mut statement) = batch.next().map_err(|error| failure(&error))? {
            let count = statement.parameter_count();
            bound = count > 0;
            if (bound || single) && count != values.len() {
                return Err(wrong(WRONG_BINDINGS));
            }
            if !statement.readonly() {
                self.begin()?;
            }
            let mut run = |values| run(&self.connection, &mut statement, values).map_err(|error| failure(&error));
            if !bound || single {
                cursor = Some(run(if bound { values } else { &[] })?);
                continue;
            }
            // Whether another statement follows shows only when this one has run: undo it then.
            self.transaction(&mut || {
                cursor = Some(run(values)?);
                let next = batch.next().map_err(|error| failure(&error))?;
                if next.is_some() { Err(wrong(EARLY_PARAMETER)) } else { Ok(()) }
            })?;
            break;
        }
        let cursor = cursor.ok_or_else(|| wrong(ONLY_COMMENTS))?;
        if bound || values.is_empty() { Ok(cursor) } else { Err(wrong(WRONG_BINDINGS)) }
    }

    pub(super) fn transaction(&self, body: TransactionBody<'_>) -> Result<()> {
        self.begin()?;
        let depth = self.savepoints.get() + 1;
        self.own(&format!("SAVEPOINT isobar_{depth}"))?;
        self.savepoints.set(depth);
        let result = body();
        self.savepoints.set(depth - 1);
        let undo = if result.is_err() { format!("ROLLBACK TO isobar_{depth};") } else { String::new() };
        self.own(&format!("{undo} RELEASE isobar_{depth}"))?;
        result
    }

    /// Whether the turn has written.
    pub(super) fn is_dirty(&self) -> bool {
        self.open.get()
    }

    /// Whether SQLite has rolled the turn's transaction back by itself.
    pub(super) fn has_lost_transaction(&self) -> bool {
        self.open.get() && self.connection.is_autocommit()
    }

    /// Ends the turn: commits what it wrote, durably. Where that fails nothing of it remains.
    pub(super) fn commit(&self) -> Result<()> {
        if !self.open.replace(false) {
            return Ok(());
        }
        self.savepoints.set(0);
        self.own("COMMIT").map_err(|error| {
            self.roll_back();
            let message = "Durable Object was reset and rolled back to its last known good state because the \
                           application left the database in a state where constraints were violated";
            match error.kind() {
                ErrorKind::Constraint => Error::new(ErrorKind::Reset, format!("{message}: {error}")),
                _ => Error::new(ErrorKind::Reset, format!("the writes could not be made durable: {error}")),
            }
        })
    }

    /// Undoes what the turn wrote.
    pub(super) fn roll_back(&self) {
        self.open.set(false);
        self.savepoints.set(0);
        if !self.connection.is_autocommit() {
            // A rollback that fails leaves a connection that is dropped next, and SQLite rolls back then.
            drop(self.own("ROLLBACK"));
        }
    }

    pub(super) fn size(&self) -> Result<u64> {
        let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let size: i64 = self.trusted(|connection| connection.query_row(sql, [], |row| row.get(0)))?;
        Ok(size.unsigned_abs())
    }

    pub(super) fn kv_get(&self, key: &str) -> Result<Option<Bytes>> {
        let sql = "SELECT value FROM _cf_KV WHERE key = ?";
        let value: Option<Vec<u8>> =
            self.trusted(|connection| connection.query_row(sql, [key.as_bytes()], |row| row.get(0)).optional())?;
        Ok(value.map(Bytes::from))
    }

    pub(super) fn kv_put(&self, key: &str, value: &[u8]) -> Result<()> {
        self.begin()?;
        let sql = "INSERT OR REPLACE INTO _cf_KV VALUES (?, ?)";
        self.trusted(|connection| connection.execute(sql, params![key.as_bytes(), value])).map(drop)
    }

    pub(super) fn kv_delete(&self, key: &str) -> Result<bool> {
        self.begin()?;
        let sql = "DELETE FROM _cf_KV WHERE key = ?";
        Ok(self.trusted(|connection| connection.execute(sql, [key.as_bytes()]))? > 0)
    }

    pub(super) fn kv_list(&self, options: &KvListOptions) -> Result<Vec<(String, Bytes)>> {
        let KvListOptions { start, start_after, end, prefix, reverse, limit } = options;
        let (mut conditions, mut values) = (vec!["1"], Vec::new());
        let mut and = |condition, value: &Option<String>| {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                conditions.push(condition);
                values.push(value.clone().into_bytes());
            }
        };
        and("key >= ?", start);
        and("key > ?", start_after);
        and("key >= ?", prefix);
        let ends = [end.clone().map(String::into_bytes), prefix.as_deref().and_then(prefix_end)];
        for end in ends.into_iter().flatten() {
            conditions.push("key < ?");
            values.push(end);
        }
        let limit = limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let order = if *reverse { "DESC" } else { "ASC" };
        let sql = format!(
            "SELECT key, value FROM _cf_KV WHERE {} ORDER BY key {order} LIMIT {limit}",
            conditions.join(" AND ")
        );
        self.trusted(|connection| {
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map(params_from_iter(values), |row| {
                Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?))
            })?;
            let mut entries = Vec::new();
            for row in rows {
                let (key, value) = row?;
                entries.push((String::from_utf8_lossy(&key).into_owned(), Bytes::from(value)));
            }
            Ok(entries)
        })
    }

    pub(super) fn alarm(&self) -> Result<Option<AlarmRow>> {
        let row =
            |row: &rusqlite::Row<'_>| Ok(AlarmRow { scheduled: row.get(0)?, due: row.get(1)?, retries: row.get(2)? });
        let sql = "SELECT scheduled, due, retries FROM _cf_ALARM";
        self.trusted(|connection| connection.query_row(sql, [], row).optional())
    }

    pub(super) fn set_alarm(&self, alarm: Option<AlarmRow>) -> Result<()> {
        self.begin()?;
        match alarm {
            Some(AlarmRow { scheduled, due, retries }) => {
                let sql = "INSERT OR REPLACE INTO _cf_ALARM VALUES (1, ?, ?, ?)";
                self.trusted(|connection| connection.execute(sql, params![scheduled, due, retries])).map(drop)
            }
            None => self.trusted(|connection| connection.execute("DELETE FROM _cf_ALARM", [])).map(drop),
        }
    }

    /// Drops what the object has made, and empties what the host has.
    pub(super) fn delete_all(&self) -> Result<()> {
        self.transaction(&mut || {
            let tables = "SELECT type, name FROM sqlite_schema WHERE type IN ('view', 'table') AND name NOT LIKE 'sqlite~_%' ESCAPE '~'
                          AND name NOT LIKE '~_cf~_%' ESCAPE '~' ORDER BY sql LIKE 'CREATE VIRTUAL%' DESC, type DESC";
            let found: Vec<(String, String)> = self.trusted(|connection| {
                let mut statement = connection.prepare(tables)?;
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
            })?;
            self.own("PRAGMA defer_foreign_keys = ON")?;
            for (kind, name) in found {
                // The shadow tables of a virtual table go with it.
                self.own(&format!("DROP {kind} IF EXISTS \"{}\"", name.replace('"', "\"\"")))?;
            }
            self.own("DELETE FROM _cf_KV; DELETE FROM _cf_ALARM")
        })
    }

    /// Opens the turn's transaction with its first write.
    fn begin(&self) -> Result<()> {
        if self.open.get() {
            return Ok(());
        }
        self.own("BEGIN IMMEDIATE")?;
        self.open.set(true);
        Ok(())
    }

    fn own(&self, sql: &str) -> Result<()> {
        self.trusted(|connection| connection.execute_batch(sql))
    }

    fn trusted<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        self.trusted.store(true, Ordering::Relaxed);
        let result = work(&self.connection);
        self.trusted.store(false, Ordering::Relaxed);
        result.map_err(|error| failure(&error))
    }
}

/// The first key beyond all that start with the prefix, in byte order.
fn prefix_end(prefix: &str) -> Option<Vec<u8>> {
    let mut end = prefix.as_bytes().to_vec();
    // UTF-8 has no byte 0xff: the last one can be raised.
    *end.last_mut()? += 1;
    Some(end)
}

fn run(connection: &Connection, statement: &mut Statement<'_>, values: &[Value]) -> rusqlite::Result<Cursor> {
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let (writes, before) = (!statement.readonly(), connection.total_changes());
    let mut rows = statement.query(params_from_iter(values.iter().map(to_sql)))?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push((0..columns.len()).map(|index| from_sql(row.get_ref(index)?)).collect::<Result<_, _>>()?);
    }
    let written = if writes { connection.total_changes() - before } else { 0 };
    Ok(Cursor::new(columns, all, None, Some(written)))
}

fn to_sql(value: &Value) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(match value {
        Value::Null => ValueRef::Null,
        Value::Integer(integer) => ValueRef::Integer(*integer),
        Value::Real(real) if real.is_nan() => ValueRef::Null,
        Value::Real(real) => ValueRef::Real(*real),
        Value::Text(text) => ValueRef::Text(text.as_bytes()),
        Value::Blob(bytes) => ValueRef::Blob(bytes),
    })
}

fn from_sql(value: ValueRef<'_>) -> rusqlite::Result<Value> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::Integer(integer),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(Bytes::copy_from_slice(bytes)),
    })
}

/// What workerd lets an object's SQL do.
fn is_allowed(context: &AuthContext<'_>) -> bool {
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
        AuthAction::Function { function_name } => ![
            "load_extension",
            "sqlite_version",
            "sqlite_source_id",
            "sqlite_compileoption_used",
            "sqlite_compileoption_get",
        ]
        .contains(&function_name),
        _ => true,
    }
}

/// rusqlite's error as ours, in workerd's words.
fn failure(error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let (code, message, offset) = match error {
        rusqlite::Error::SqlInputError { error, msg, offset, .. } => {
            (*error, msg.clone(), usize::try_from(*offset).ok())
        }
        rusqlite::Error::SqliteFailure(code, message) => {
            (*code, message.clone().unwrap_or_else(|| code.to_string()), None)
        }
        other => return Error::new(ErrorKind::Sql, other.to_string()),
    };
    let kind = match code.code {
        ErrorCode::ConstraintViolation => ErrorKind::Constraint,
        ErrorCode::AuthorizationForStatementDenied => ErrorKind::NotAuthorized,
        ErrorCode::DiskFull | ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
            ErrorKind::Storage
        }
        ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => ErrorKind::Storage,
        _ if message.starts_with("not authorized") => ErrorKind::NotAuthorized,
        _ => ErrorKind::Sql,
    };
    let offset =
        offset.filter(|_| code.extended_code == 1).map(|offset| format!(" at offset {offset}")).unwrap_or_default();
    if kind == ErrorKind::NotAuthorized && message == "not authorized" {
        return Error::new(kind, format!("not authorized: SQLITE_AUTH. {TRANSACTION}"));
    }
    Error::new(kind, format!("{message}{offset}: {}", code_name(code.extended_code)))
}

fn code_name(code: i32) -> String {
    let primary = match code & 0xff {
        1 => "SQLITE_ERROR",
        5 => "SQLITE_BUSY",
        6 => "SQLITE_LOCKED",
        8 => "SQLITE_READONLY",
        10 => "SQLITE_IOERR",
        11 => "SQLITE_CORRUPT",
        13 => "SQLITE_FULL",
        14 => "SQLITE_CANTOPEN",
        18 => "SQLITE_TOOBIG",
        19 => "SQLITE_CONSTRAINT",
        20 => "SQLITE_MISMATCH",
        23 => "SQLITE_AUTH",
        26 => "SQLITE_NOTADB",
        _ => return format!("SQLITE_UNKNOWN ({code})"),
    };
    let extended = match code {
        275 => "CHECK",
        787 => "FOREIGNKEY",
        1299 => "NOTNULL",
        1555 => "PRIMARYKEY",
        1811 => "TRIGGER",
        2067 => "UNIQUE",
        2579 => "ROWID",
        3091 => "DATATYPE",
        _ => return primary.to_owned(),
    };
    format!("{primary} (extended: {primary}_{extended})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_waits_for_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(Some(&folder.path().join("object.sqlite"))).unwrap();
        let pragma = |name: &str| storage.connection.pragma_query_value(None, name, |row| row.get::<_, String>(0));
        storage.trusted.store(true, Ordering::Relaxed);
        assert_eq!(pragma("journal_mode").unwrap(), "wal");
        let synchronous = storage.connection.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0));
        assert_eq!(synchronous.unwrap(), 2, "2 is FULL: SQLite syncs the WAL with each commit");
    }
}
