//! Prepared statements over SQLite's C interface, for what rusqlite does not tell: where a statement of a script ends, and
//! the error of the operating system behind SQLite's.
//!
//! A statement is in one of three hands: prepared and in use ([`Prepared`], which borrows its connection), kept for
//! its next run ([`Parked`], in a [`StatementCache`](crate::StatementCache)), or finalized. Going from one to the
//! other moves the pointer, so nothing is finalized twice.
#![allow(unsafe_code, reason = "SQLite is C")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;
use std::{fmt, mem, ptr, slice};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ffi};

use crate::row_counts::RowCounts;

/// An error as SQLite reports it.
///
/// ```
/// let connection = rusqlite::Connection::open_in_memory()?;
/// let failure = isobar_sqlite::prepare(&connection, "SELECT nope").err().ok_or("an error")?;
/// assert_eq!((failure.message.as_str(), failure.offset), ("no such column: nope", Some(7)));
/// assert_eq!(isobar_sqlite::code_name(failure.code), "SQLITE_ERROR");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Failure {
    /// The extended result code.
    pub code: c_int,
    /// SQLite's text.
    pub message: String,
    /// Where in the prepared text it is, in bytes, if SQLite knows.
    pub offset: Option<usize>,
    /// The operating system's error number; 0 where it has none.
    pub system: i32,
}

/// A statement of a connection, finalized when it is dropped.
pub struct Prepared<'c> {
    connection: &'c Connection,
    statement: *mut ffi::sqlite3_stmt,
    names: Option<Names>,
    is_rewritten: bool,
}

/// The names of a statement's columns, and how often SQLite had prepared it anew when they were read.
struct Names {
    prepared: c_int,
    columns: Arc<[String]>,
}

/// A statement that waits in a cache: reset, without bindings, finalized when it is dropped.
///
/// It keeps its connection from being closed: `sqlite3_close`, which is what rusqlite calls, refuses while a statement lives. So
/// the statement's connection exists for as long as the statement does.
pub(crate) struct Parked {
    statement: *mut ffi::sqlite3_stmt,
    names: Option<Names>,
}

// SAFETY: a statement may be used on any thread, by one at a time, as its connection, which is `Send`, too; whoever has the
// `Parked` has it alone.
unsafe impl Send for Parked {}

/// SQL with a NUL at its end, as SQLite takes it without a length: it then copies nothing, and its limit of a statement's length
/// is that of each statement and not of all that follow it.
///
/// ```
/// let text = isobar_sqlite::Text::new("SELECT 1; SELECT 2");
/// assert_eq!(text.rest(10), "SELECT 2");
/// ```
#[derive(Debug)]
pub struct Text(String);

impl Text {
    /// Copies the SQL.
    #[must_use]
    pub fn new(sql: &str) -> Self {
        let mut text = String::with_capacity(sql.len() + 1);
        text.push_str(sql);
        text.push('\0');
        Self(text)
    }

    /// The SQL from a byte on.
    ///
    /// # Panics
    /// Where no character begins at that byte.
    #[must_use]
    pub fn rest(&self, at: usize) -> &str {
        &self.0[at..self.0.len() - 1]
    }
}

/// Prepares the first statement of `sql`: `None` where there is nothing but space, comments and semicolons. Beside it, the
/// number of bytes that SQLite has read for it.
///
/// ```
/// use isobar_sqlite::prepare;
///
/// let connection = rusqlite::Connection::open_in_memory()?;
/// let sql = "SELECT ?1 AS a; SELECT 2";
/// let (statement, read) = prepare(&connection, sql).map_err(|failure| failure.message)?;
/// let mut statement = statement.ok_or("a statement")?;
/// assert_eq!((statement.parameters(), statement.is_read_only(), &sql[read..]), (1, true, " SELECT 2"));
/// statement.bind([rusqlite::types::ValueRef::Integer(1)]).map_err(|failure| failure.message)?;
/// assert!(statement.step().map_err(|failure| failure.message)?);
/// assert_eq!(statement.row(|value| value.as_i64().ok()), [Some(1)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// SQLite's, among them the authorizer's.
pub fn prepare<'c>(connection: &'c Connection, sql: &str) -> Result<(Option<Prepared<'c>>, usize), Failure> {
    prepare_at(connection, &Text::new(sql), 0)
}

/// Prepares the first statement from a byte on, as [`prepare`].
pub(crate) fn prepare_at<'c>(
    connection: &'c Connection,
    text: &Text,
    at: usize,
) -> Result<(Option<Prepared<'c>>, usize), Failure> {
    let sql = text.rest(at);
    let mut statement = ptr::null_mut();
    let mut tail = ptr::null();
    // SAFETY: the connection is open, `sql` is a part of `text` and has the NUL of its end behind it, and the two pointers are ours
    // to write to.
    let code = unsafe {
        ffi::sqlite3_prepare_v3(connection.handle(), sql.as_ptr().cast(), -1, 0, &raw mut statement, &raw mut tail)
    };
    if code == ffi::SQLITE_TOOBIG {
        return Err(Failure::too_big()); // as SQLite itself says of a text with a length
    }
    if code != ffi::SQLITE_OK {
        return Err(Failure::of(connection));
    }
    // SQLite leaves the tail within the text or at its end.
    let read = (tail.addr()).saturating_sub(sql.as_ptr().addr()).min(sql.len());
    let prepared =
        (!statement.is_null()).then_some(Prepared { connection, statement, names: None, is_rewritten: false });
    Ok((prepared, read))
}

impl Failure {
    /// The connection's last error. SQLite knows an offset also where it prepares a statement anew as it runs.
    fn of(connection: &Connection) -> Self {
        // SAFETY: the connection is open; the message is a C string until the next call, and copied here.
        unsafe {
            let handle = connection.handle();
            let message = CStr::from_ptr(ffi::sqlite3_errmsg(handle)).to_string_lossy().into_owned();
            let code = ffi::sqlite3_extended_errcode(handle);
            let system = ffi::sqlite3_system_errno(handle);
            let offset = usize::try_from(ffi::sqlite3_error_offset(handle)).ok();
            Self { code, message, offset: offset.filter(|_| code == ffi::SQLITE_ERROR), system }
        }
    }

    /// The error of SQL that is longer than its limit.
    #[must_use]
    pub fn too_big() -> Self {
        Self { code: ffi::SQLITE_TOOBIG, message: "statement too long".to_owned(), offset: None, system: 0 }
    }
}

impl From<Failure> for rusqlite::Error {
    fn from(failure: Failure) -> Self {
        let error = ffi::Error::new(failure.code);
        match failure.offset.and_then(|offset| c_int::try_from(offset).ok()) {
            Some(offset) => Self::SqlInputError { error, msg: failure.message, sql: String::new(), offset },
            None => Self::SqliteFailure(error, Some(failure.message)),
        }
    }
}

impl fmt::Debug for Prepared<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

impl Prepared<'_> {
    /// The highest number of a parameter: how many values it takes.
    #[must_use]
    pub fn parameters(&self) -> usize {
        // SAFETY: the statement lives.
        let count = unsafe { ffi::sqlite3_bind_parameter_count(self.statement) };
        usize::try_from(count).unwrap_or_default()
    }

    /// Returns whether it was prepared from the words as they were given. One from other words, which depend on the schema, must be
    /// prepared again for its next run.
    #[must_use]
    pub fn is_as_written(&self) -> bool {
        !self.is_rewritten
    }

    /// Marks it as prepared from other words than were given.
    pub(crate) fn rewritten(mut self) -> Self {
        self.is_rewritten = true;
        self
    }

    /// Returns whether SQLite says that it writes nothing to the database.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        // SAFETY: the statement lives.
        unsafe { ffi::sqlite3_stmt_readonly(self.statement) != 0 }
    }

    /// Returns whether it is an EXPLAIN, which shows a statement and does not run it.
    #[must_use]
    pub fn is_explain(&self) -> bool {
        // SAFETY: the statement lives.
        unsafe { ffi::sqlite3_stmt_isexplain(self.statement) != 0 }
    }

    /// Binds the values to the parameters 1, 2, 3 and so on. A REAL that is not a number becomes NULL, as SQLite has it.
    ///
    /// ```
    /// use rusqlite::types::ValueRef;
    ///
    /// let connection = rusqlite::Connection::open_in_memory()?;
    /// let (statement, _) = isobar_sqlite::prepare(&connection, "SELECT ?1 || ?2").map_err(|failure| failure.message)?;
    /// let mut statement = statement.ok_or("a statement")?;
    /// statement.bind([ValueRef::Text(b"a"), ValueRef::Text(b"b")]).map_err(|failure| failure.message)?;
    /// assert!(statement.step().map_err(|failure| failure.message)?);
    /// let row = statement.row(|value| value.as_str().map(str::to_owned).unwrap_or_default());
    /// assert_eq!(row, ["ab"]);
    /// assert!(!statement.step().map_err(|failure| failure.message)?, "there is one row");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// SQLite's: a value over the limit, more values than parameters.
    pub fn bind<'v>(&mut self, values: impl IntoIterator<Item = ValueRef<'v>>) -> Result<(), Failure> {
        for (index, value) in (1..).zip(values) {
            self.check(self.bind_one(index, value))?;
        }
        Ok(())
    }

    fn bind_one(&self, index: c_int, value: ValueRef<'_>) -> c_int {
        let statement = self.statement;
        // SAFETY: the statement lives and has not been stepped; SQLite copies texts and blobs (SQLITE_TRANSIENT).
        unsafe {
            match value {
                ValueRef::Null => ffi::sqlite3_bind_null(statement, index),
                ValueRef::Real(real) => ffi::sqlite3_bind_double(statement, index, real),
                ValueRef::Integer(integer) => ffi::sqlite3_bind_int64(statement, index, integer),
                ValueRef::Text(text) => {
                    let start = text.as_ptr().cast();
                    let length = text.len() as u64;
                    let encoding = ffi::SQLITE_UTF8 as u8;
                    ffi::sqlite3_bind_text64(statement, index, start, length, ffi::SQLITE_TRANSIENT(), encoding)
                }
                // An empty blob may have no pointer, and SQLite would take that for NULL.
                ValueRef::Blob([]) => ffi::sqlite3_bind_zeroblob(statement, index, 0),
                ValueRef::Blob(bytes) => {
                    let start = bytes.as_ptr().cast();
                    let length = bytes.len() as u64;
                    ffi::sqlite3_bind_blob64(statement, index, start, length, ffi::SQLITE_TRANSIENT())
                }
            }
        }
    }

    /// Goes to the next row. Returns whether there is one.
    ///
    /// After an error the statement has ended, and so has the transaction for some of them (a full disk): ask the
    /// connection.
    ///
    /// # Errors
    /// SQLite's.
    pub fn step(&mut self) -> Result<bool, Failure> {
        // SAFETY: the statement lives.
        match unsafe { ffi::sqlite3_step(self.statement) } {
            ffi::SQLITE_ROW => Ok(true),
            ffi::SQLITE_DONE => Ok(false),
            _ => Err(Failure::of(self.connection)),
        }
    }

    /// The names of the result's columns. They are exact once it has been stepped: another connection may have changed the
    /// schema since it was prepared.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        (0..self.column_count())
            .map(|index| {
                // SAFETY: the statement lives and has the column; the name is a C string, and copied here.
                let name = unsafe { ffi::sqlite3_column_name(self.statement, index) };
                // SAFETY: as above; null where memory has run out.
                let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) });
                name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
            })
            .collect()
    }

    /// The names as [`columns`](Self::columns), shared with earlier runs of the statement that had the same.
    pub fn shared_columns(&mut self) -> Arc<[String]> {
        // SAFETY: the statement lives; the counter is read and not reset.
        let prepared = unsafe { ffi::sqlite3_stmt_status(self.statement, ffi::SQLITE_STMTSTATUS_REPREPARE, 0) };
        if let Some(names) = self.names.as_ref().filter(|names| names.prepared == prepared) {
            return Arc::clone(&names.columns);
        }
        let columns: Arc<[String]> = self.columns().into();
        self.names = Some(Names { prepared, columns: Arc::clone(&columns) });
        columns
    }

    /// Takes the rows that its runs have read and written since this was called last; `None` where they are
    /// [not counted](crate::COUNTS_ROWS).
    pub fn take_row_counts(&mut self) -> Option<RowCounts> {
        #[cfg(isobar_counts_rows)]
        {
            unsafe extern "C" {
                fn isobar_sqlite_take_rows(statement: *mut ffi::sqlite3_stmt, rows: *mut [i64; 2]);
            }
            let mut rows = [0; 2];
            // SAFETY: the statement lives, and the two numbers are ours to write to.
            unsafe { isobar_sqlite_take_rows(self.statement, &raw mut rows) };
            let [read, written] = rows.map(i64::unsigned_abs);
            Some(RowCounts { read, written })
        }
        #[cfg(not(isobar_counts_rows))]
        None
    }

    /// Resets the statement, forgets its bindings and lets its connection go.
    pub(crate) fn park(mut self) -> Parked {
        // A run that has failed is not counted to the next one.
        let _ = self.take_row_counts();
        // SAFETY: the statement lives. The code is the last step's, which has been returned.
        unsafe {
            ffi::sqlite3_reset(self.statement);
            ffi::sqlite3_clear_bindings(self.statement);
        }
        Parked { statement: mem::replace(&mut self.statement, ptr::null_mut()), names: self.names.take() }
    }

    fn column_count(&self) -> c_int {
        // SAFETY: the statement lives.
        unsafe { ffi::sqlite3_column_count(self.statement) }
    }

    /// The row's values as `read` takes them, after a [`step`](Self::step) that found a row.
    pub fn row<T>(&self, read: impl Fn(ValueRef<'_>) -> T) -> Vec<T> {
        (0..self.column_count()).map(|index| read(self.value(index))).collect()
    }

    /// Adds the row's values to others, as [`row`](Self::row).
    pub fn read_row<T>(&self, read: impl Fn(ValueRef<'_>) -> T, into: &mut Vec<T>) {
        into.extend((0..self.column_count()).map(|index| read(self.value(index))));
    }

    fn value(&self, index: c_int) -> ValueRef<'_> {
        let statement = self.statement;
        // SAFETY: the statement stands on a row that has the column.
        unsafe {
            match ffi::sqlite3_column_type(statement, index) {
                ffi::SQLITE_INTEGER => ValueRef::Integer(ffi::sqlite3_column_int64(statement, index)),
                ffi::SQLITE_FLOAT => ValueRef::Real(ffi::sqlite3_column_double(statement, index)),
                ffi::SQLITE_TEXT => ValueRef::Text(self.bytes(index, ffi::sqlite3_column_text(statement, index))),
                ffi::SQLITE_BLOB => {
                    ValueRef::Blob(self.bytes(index, ffi::sqlite3_column_blob(statement, index).cast()))
                }
                _ => ValueRef::Null,
            }
        }
    }

    /// # Safety
    /// `start` is the pointer that SQLite has just given for the column of the row on which the statement stands.
    unsafe fn bytes(&self, index: c_int, start: *const u8) -> &[u8] {
        // SAFETY: by the caller's promise; the length belongs to that pointer, and null has none.
        let length = unsafe { ffi::sqlite3_column_bytes(self.statement, index) };
        match usize::try_from(length) {
            Ok(length) if !start.is_null() => {
                // SAFETY: as above; the bytes stay until the statement is stepped or finalized, which takes `&mut`.
                unsafe { slice::from_raw_parts(start, length) }
            }
            _ => &[],
        }
    }

    fn check(&self, code: c_int) -> Result<(), Failure> {
        if code == ffi::SQLITE_OK { Ok(()) } else { Err(Failure::of(self.connection)) }
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        // SAFETY: the statement lives, or is null after `park`, and is not used afterwards. The code is the last step's, which has
        // been returned.
        unsafe { ffi::sqlite3_finalize(self.statement) };
    }
}

impl Parked {
    /// The statement on its connection; `None` where it is another connection's.
    pub(crate) fn resume(mut self, connection: &Connection) -> Option<Prepared<'_>> {
        // SAFETY: the statement lives, and so does its connection; the connection that is given is open.
        let is_its_own = unsafe { ffi::sqlite3_db_handle(self.statement) == connection.handle() };
        is_its_own.then(|| {
            let statement = mem::replace(&mut self.statement, ptr::null_mut());
            Prepared { connection, statement, names: self.names.take(), is_rewritten: false }
        })
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        // SAFETY: the statement lives, or is null after `resume`, and is not used afterwards.
        unsafe { ffi::sqlite3_finalize(self.statement) };
    }
}

/// Returns whether a foreign key of the connection's open transaction does not hold yet, so that its COMMIT would fail.
///
/// ```
/// let connection = rusqlite::Connection::open_in_memory()?;
/// let tables = "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED)";
/// connection.execute_batch(tables)?;
/// connection.execute_batch("PRAGMA foreign_keys = ON; BEGIN; INSERT INTO c VALUES (1)")?;
/// assert!(isobar_sqlite::breaks_foreign_keys(&connection));
/// connection.execute_batch("INSERT INTO p VALUES (1)")?;
/// assert!(!isobar_sqlite::breaks_foreign_keys(&connection));
/// # Ok::<(), rusqlite::Error>(())
/// ```
#[must_use]
pub fn breaks_foreign_keys(connection: &Connection) -> bool {
    let mut broken = 0;
    let mut highest = 0;
    // SAFETY: the connection is open, and the two numbers are ours to write to.
    let code = unsafe {
        let operation = ffi::SQLITE_DBSTATUS_DEFERRED_FKS;
        ffi::sqlite3_db_status(connection.handle(), operation, &raw mut broken, &raw mut highest, 0)
    };
    code != ffi::SQLITE_OK || broken != 0
}

/// Sets what `last_insert_rowid()` returns, as after work that is undone and does not count.
///
/// ```
/// let connection = rusqlite::Connection::open_in_memory()?;
/// isobar_sqlite::set_last_insert_rowid(&connection, 7);
/// assert_eq!(connection.last_insert_rowid(), 7);
/// # Ok::<(), rusqlite::Error>(())
/// ```
pub fn set_last_insert_rowid(connection: &Connection, rowid: i64) {
    // SAFETY: the connection is open.
    unsafe { ffi::sqlite3_set_last_insert_rowid(connection.handle(), rowid) };
}

/// A text of SQLite's. Invalid UTF-8 reads as U+FFFD, as in workerd.
///
/// ```
/// assert_eq!(isobar_sqlite::text(b"a\xffb"), "a\u{fffd}b");
/// ```
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    // The check of valid text is faster than the search for what is not.
    match str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Removes the virtual tables that workerd does not have, so that their names are unknown here, too. FTS5 and R*Tree are
/// named in CREATE VIRTUAL TABLE, the JSON ones in FROM.
///
/// ```
/// let connection = rusqlite::Connection::open_in_memory()?;
/// isobar_sqlite::drop_modules(&connection);
/// assert!(connection.execute_batch("CREATE VIRTUAL TABLE notes USING fts5 (body)").is_ok());
/// assert!(connection.execute_batch("CREATE VIRTUAL TABLE notes4 USING fts4 (body)").is_err());
/// # Ok::<(), rusqlite::Error>(())
/// ```
pub fn drop_modules(connection: &Connection) {
    let kept =
        [c"fts5", c"fts5vocab", c"rtree", c"rtree_i32", c"json_each", c"json_tree", c"jsonb_each", c"jsonb_tree"];
    let mut names: Vec<*const c_char> = kept.iter().map(|name| name.as_ptr()).collect();
    names.push(ptr::null());
    // SAFETY: the connection is open; the list ends with null and is not kept.
    unsafe { ffi::sqlite3_drop_modules(connection.handle(), names.as_mut_ptr()) };
}

/// Has `told` hear, after each commit of the connection, how many pages its write-ahead log has, until the connection is closed or this
/// is called again. SQLite's own checkpoints end with this.
///
/// rusqlite's `wal_hook` takes a closure from 0.41 on only.
///
/// # Errors
/// SQLite's: there is no memory.
pub(crate) fn on_commit<F: Fn(u32) + Send + 'static>(connection: &mut Connection, told: F) -> Result<(), Failure> {
    /// # Safety
    /// `state` is the `F` that the connection keeps.
    unsafe extern "C" fn committed<F: Fn(u32)>(
        state: *mut c_void,
        _: *mut ffi::sqlite3,
        _: *const c_char,
        pages: c_int,
    ) -> c_int {
        // SAFETY: by the caller's promise; SQLite calls it on the thread that commits, and that thread has the connection alone.
        let told = unsafe { &*state.cast::<F>() };
        told(u32::try_from(pages).unwrap_or_default());
        ffi::SQLITE_OK
    }
    /// # Safety
    /// `state` is an `F` in a box that nothing else has.
    unsafe extern "C" fn forget<F>(state: *mut c_void) {
        // SAFETY: by the caller's promise.
        drop(unsafe { Box::from_raw(state.cast::<F>()) });
    }
    let state = Box::into_raw(Box::new(told)).cast::<c_void>();
    // SAFETY: the connection is open and not in use, and the name is a C string, which is copied. The connection owns `state` from
    // here on: it drops it when it is closed, when another takes its place, and where there is no memory. The hook that had the one
    // before is gone by then.
    unsafe {
        let handle = connection.handle();
        ffi::sqlite3_wal_hook(handle, None, ptr::null_mut());
        let code = ffi::sqlite3_set_clientdata(handle, c"isobar_on_commit".as_ptr(), state, Some(forget::<F>));
        if code != ffi::SQLITE_OK {
            return Err(Failure::of(connection));
        }
        ffi::sqlite3_wal_hook(handle, Some(committed::<F>), state);
    }
    Ok(())
}

/// Copies the write-ahead log into the database as far as readers and writers let it, and waits for none of them.
///
/// # Errors
/// SQLite's, among them that of a failed sync.
pub(crate) fn checkpoint(connection: &Connection) -> Result<(), Failure> {
    // SAFETY: the connection is open; null means every database of it, and no counts are asked for.
    let code = unsafe {
        ffi::sqlite3_wal_checkpoint_v2(
            connection.handle(),
            ptr::null(),
            ffi::SQLITE_CHECKPOINT_PASSIVE,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(Failure::of(connection)) }
}
