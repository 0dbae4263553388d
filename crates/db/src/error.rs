//! The crate's error, with D1's prefixes and SQLite's names.
//!
//! [`Error`] is D1's error as a Rust value: `Display` gives the text that a Worker's JavaScript would see, so that programs that match on
//! D1's texts work unchanged, and [`ErrorKind`] is what new code decides by. Places within a statement, a batch or a script are kept as
//! numbers and shown where a person reads them ([`Error::in_file`]).
//!
//! The SQL is kept without its parameters, which may be a user's secrets: errors are logged. SQLite's own message may quote a part of
//! one all the same: of a `MATCH` expression, a path of JSON.

use std::error::Error as StdError;
use std::fmt;

use isobar_base::error::Parts;
use isobar_base::random::NoRandomness;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Kind of an error, for code that decides by it.
///
/// | kind | the caller's next step |
/// |---|---|
/// | `Sql`, `NotAuthorized`, `TooBig`, `Decode`, `ColumnNotFound` | correct the program: a retry fails again |
/// | `Constraint` | show it to the user, see [`Error::violation`] |
/// | `Conflict`, `Unavailable` | try again, after a wait ([`Error::is_retryable`]) |
/// | `StorageFull` | make room; reads go on, and writes do when there is room |
/// | `PermissionDenied`, `Corrupt`, `Sealed`, `Migration`, `History` | an operator looks at it |
/// | `Unsupported` | use another backend, or do without ([`Capabilities`](crate::Capabilities)) |
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{Constraint, ErrorKind, QueryableExt, SqliteDatabase};
///
/// let db = SqliteDatabase::memory().await?;
/// db.run_script("CREATE TABLE users (email TEXT UNIQUE); INSERT INTO users VALUES ('ada@example.com');").await?;
/// let added = db.prepare("INSERT INTO users VALUES (?)").bind("ada@example.com").run().await;
/// let status = match added.map_err(|error| error.kind()) {
///     Ok(_) => 201,
///     Err(ErrorKind::Constraint(Constraint::Unique)) => 409,
///     Err(ErrorKind::Unavailable) => 503,
///     Err(_) => 500,
/// };
/// assert_eq!(status, 409);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The SQL is wrong: syntax, unknown tables or columns, the number of parameters.
    Sql,
    /// A constraint does not hold.
    Constraint(Constraint),
    /// D1 does not allow it: ATTACH, transactions, temporary objects, most PRAGMAs, `_cf_` names.
    NotAuthorized,
    /// A statement, value or row is over a limit.
    TooBig,
    /// A row or value does not convert to the caller's type.
    Decode,
    /// There is no column of that name.
    ColumnNotFound,
    /// A sealed value does not open, or the keyring does not fit: see the `vault` module (feature `vault`).
    Sealed,
    /// A migration cannot be read or applied.
    Migration,
    /// An optimistic [transaction](mod@crate::transaction) was overtaken by others in each of its attempts. Nothing is written.
    Conflict,
    /// A history does not reach a point: a bookmark of another database, a time before its beginning or in a gap.
    History,
    /// The backend lacks the capability; see [`Capabilities`](crate::Capabilities).
    Unsupported,
    /// The database is busy, out of time, failed at the disk, or cannot be reached at the moment.
    Unavailable,
    /// The database file cannot be opened or written.
    PermissionDenied,
    /// The disk is full, or less is free than its reserve. HTTP's 507.
    StorageFull,
    /// The file is not a database, or is damaged.
    Corrupt,
    /// Anything else.
    Internal,
}

/// The constraint that does not hold.
///
/// A `RAISE(ABORT, ...)` of a trigger is [`Other`](Self::Other), and a rowid that is taken is [`PrimaryKey`](Self::PrimaryKey).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "SQL's names")]
pub enum Constraint {
    Unique,
    PrimaryKey,
    NotNull,
    ForeignKey,
    Check,
    Other,
}

/// D1's name of an error, with which its text begins.
#[derive(Debug, Clone, Copy)]
enum Prefix {
    None,
    Error,
    /// Of `exec`, which has its own words.
    #[cfg(any(
        feature = "cloudflare-binding",
        feature = "cloudflare-http",
        all(any(feature = "memory", feature = "local", feature = "postgres"), not(target_arch = "wasm32"))
    ))]
    Exec,
    ColumnNotFound,
}

/// Names of a violated constraint that a backend reports beside its message: the cause of the error.
#[cfg(all(feature = "postgres", not(target_arch = "wasm32")))]
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) table: Option<String>,
    pub(crate) columns: Vec<String>,
    pub(crate) name: Option<String>,
}

#[cfg(all(feature = "postgres", not(target_arch = "wasm32")))]
impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [table, name] = [&self.table, &self.name].map(|text| text.as_deref().unwrap_or("?"));
        write!(f, "constraint {name} of {table} ({})", self.columns.join(", "))
    }
}

#[cfg(all(feature = "postgres", not(target_arch = "wasm32")))]
impl StdError for Named {}

/// An error of a database. One of SQL displays as D1's do: `D1_ERROR: <message>: <SQLite's name of the code>`; one of a file, a
/// migration or the vault has no prefix.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{ErrorKind, QueryableExt, SqliteDatabase};
///
/// let error = SqliteDatabase::memory().await?.prepare("SELECT * FROM users").run().await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Sql);
/// assert_eq!(error.to_string(), "D1_ERROR: no such table: users: SQLITE_ERROR");
/// assert_eq!(error.message(), "no such table: users: SQLITE_ERROR");
/// assert_eq!(error.sql(), Some("SELECT * FROM users"));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Error {
    parts: Parts<ErrorKind>,
    prefix: Prefix,
    // Boxed texts and numbers of 32 bits keep the error small.
    sql: Option<Box<str>>,
    statement: Option<u32>,
    #[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
    offset: Option<u32>,
    line: Option<u32>,
    retryable: bool,
}

impl Error {
    /// Creates an error of this kind; the backend names the operation ([`during`](Self::during)).
    ///
    /// For backends and for implementers of [`FromRow`](crate::FromRow) and [`FromValue`](crate::FromValue). The kind decides the prefix of the
    /// text and whether the error [is retryable](Self::is_retryable).
    ///
    /// ```
    /// use isobar_db::{Error, ErrorKind};
    ///
    /// let busy = Error::new(ErrorKind::Unavailable, "the database is busy");
    /// assert_eq!((busy.to_string().as_str(), busy.is_retryable()), ("D1_ERROR: the database is busy", true));
    /// let file = Error::new(ErrorKind::Migration, "0002_posts.sql is not UTF-8");
    /// assert_eq!((file.to_string().as_str(), file.is_retryable()), ("0002_posts.sql is not UTF-8", false));
    /// ```
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let prefix = match kind {
            ErrorKind::ColumnNotFound => Prefix::ColumnNotFound,
            ErrorKind::Sealed | ErrorKind::Migration | ErrorKind::Conflict | ErrorKind::History => Prefix::None,
            _ => Prefix::Error,
        };
        Self {
            parts: Parts::new(kind, message),
            prefix,
            sql: None,
            statement: None,
            #[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
            offset: None,
            line: None,
            retryable: matches!(kind, ErrorKind::Unavailable | ErrorKind::Conflict),
        }
    }

    /// Names the operation, an [`Operation`](crate::Operation) or one of a helper's own, unless a deeper layer has already done so.
    ///
    /// ```
    /// use isobar_db::{Error, ErrorKind, Operation};
    ///
    /// let error = Error::new(ErrorKind::Internal, "no rows").during(Operation::Query).during("page");
    /// assert_eq!(error.operation(), "query");
    /// ```
    #[must_use]
    pub fn during(mut self, operation: impl Into<&'static str>) -> Self {
        self.parts.name_operation(operation);
        self
    }

    /// Attaches the cause.
    ///
    /// ```
    /// use std::error::Error as _;
    ///
    /// use isobar_db::{Error, ErrorKind};
    ///
    /// let cause = std::io::Error::other("no route to host");
    /// let error = Error::new(ErrorKind::Unavailable, "cannot reach the backup").with_source(cause);
    /// assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("no route to host"));
    /// ```
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.parts.set_source(source);
        self
    }

    /// Names the SQL that failed, for [`sql`](Self::sql); it does not show in the text, which may reach users.
    #[must_use]
    pub fn with_sql(mut self, sql: &str) -> Self {
        self.sql.get_or_insert_with(|| sql.into());
        self
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.parts.kind()
    }

    /// Returns the name of the operation that failed: that of an [`Operation`](crate::Operation), or one of a helper's own. Empty
    /// where none is named, as for a row that does not convert. The text does not show it, as D1's does not.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.parts.operation()
    }

    /// Returns the message without D1's prefix.
    #[must_use]
    pub fn message(&self) -> &str {
        self.parts.message()
    }

    /// Returns SQLite's name of the error, with which D1's text ends: `SQLITE_CONSTRAINT`. `None` where the text has none.
    ///
    /// ```
    /// # #[cfg(feature = "memory")]
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{QueryableExt, SqliteDatabase};
    ///
    /// let error = SqliteDatabase::memory().await?.prepare("SELECT x").run().await.unwrap_err();
    /// assert_eq!((error.operation(), error.code()), ("query", Some("SQLITE_ERROR")));
    /// # Ok(()) }
    /// # #[cfg(not(feature = "memory"))] fn main() {}
    /// ```
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        // D1 may name the extended code behind it: `... SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_CHECK)`.
        let message = self.message().split(" (extended: ").next()?;
        let code = message.rsplit(": ").next()?.trim_end();
        let is_code = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        code.strip_prefix("SQLITE_").is_some_and(is_code).then_some(code)
    }

    /// The SQL that failed, without its parameters.
    #[must_use]
    pub fn sql(&self) -> Option<&str> {
        self.sql.as_deref()
    }

    /// The statement of the batch or script that failed, counted from 0, where the backend reports it: the local one does.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{Queryable, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let script = "CREATE TABLE t (a);\n-- two values for one column\nINSERT INTO t VALUES (1, 2);";
    /// let error = db.batch_script(script).await.unwrap_err();
    /// assert_eq!((error.statement_index(), error.line()), (Some(1), Some(3)));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn statement_index(&self) -> Option<usize> {
        self.statement.map(|index| index as usize)
    }

    /// The line of the script in which the fault is, counted from 1, where the backend reports it: the local one does.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{Queryable, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let error = db.batch_script("CREATE TABLE t (a);\n\nDELETE FROM nope;").await.unwrap_err();
    /// assert_eq!(error.line(), Some(3));
    /// assert_eq!(error.in_file("clean.sql").to_string().lines().next(), Some("clean.sql, line 3: no such table: nope: SQLITE_ERROR"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.line.map(|line| line as usize)
    }

    /// Returns whether the same call may succeed later: for errors of kind [`Conflict`](ErrorKind::Conflict), and of kind
    /// [`Unavailable`](ErrorKind::Unavailable), but for two. After a failed sync nothing is written until the database is opened again, and after a lost database in memory
    /// nothing is read either; a retry on the same database fails again.
    ///
    /// A write that failed has changed nothing, with two exceptions: one on a remote backend, and the one whose own sync failed,
    /// may have happened all the same.
    ///
    /// A retry belongs behind a wait that grows, with a part of it at random: [`transaction`](crate::QueryableExt::transaction) does so for its
    /// own conflicts. Repeat a write only where doing it twice does no harm, for the two exceptions'
    /// sake: an `INSERT` with a key of the caller's, an `UPDATE` to a fixed value.
    ///
    /// ```
    /// use isobar_db::{Error, ErrorKind};
    ///
    /// assert!(Error::new(ErrorKind::Unavailable, "the database is busy").is_retryable());
    /// assert!(!Error::new(ErrorKind::StorageFull, "the disk is full").is_retryable());
    /// ```
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// Marks a failure that stays until the database is opened again.
    #[cfg(all(any(feature = "memory", feature = "local", feature = "postgres"), not(target_arch = "wasm32")))]
    pub(crate) fn for_good(mut self) -> Self {
        self.retryable = false;
        self
    }

    /// `D1_EXEC_ERROR`, in D1's words: it always names the first line, wherever the fault is.
    #[cfg(all(
        any(feature = "memory", feature = "local", feature = "cloudflare-http", feature = "postgres"),
        not(target_arch = "wasm32")
    ))]
    pub(crate) fn in_exec(mut self, script: &str) -> Self {
        self.prefix = Prefix::Exec;
        let first = script.trim().lines().next().unwrap_or_default();
        self.parts.set_message(format!("Error in line 1: {first}: {}", self.message()));
        self
    }

    /// The names of a violated constraint, where the backend reports them beside the message.
    #[cfg(all(feature = "postgres", not(target_arch = "wasm32")))]
    pub(crate) fn named(&self) -> Option<&Named> {
        self.parts.source()?.downcast_ref()
    }

    /// Marks an answer of D1's `exec`, which has its own words.
    #[cfg(any(feature = "cloudflare-binding", feature = "cloudflare-http"))]
    pub(crate) fn with_exec_prefix(mut self) -> Self {
        self.prefix = Prefix::Exec;
        self
    }

    pub(crate) fn column_not_found(column: &str) -> Self {
        Self::new(ErrorKind::ColumnNotFound, format!("Column not found ({column})"))
    }

    /// Names the number of attempts after which a transaction has been given up.
    pub(crate) fn after_attempts(mut self, attempts: u32) -> Self {
        self.parts.set_message(format!("{}, in each of {attempts} attempts", self.message()));
        self
    }

    pub(crate) fn in_column(mut self, column: &str) -> Self {
        self.parts.set_message(format!("column {column}: {}", self.message()));
        self
    }

    /// Puts a file before the message, in place of D1's prefix, with the [line](Self::line) and the statement where they are
    /// known: for people.
    ///
    /// ```
    /// use isobar_db::{Error, ErrorKind};
    ///
    /// let error = Error::new(ErrorKind::Sql, "no such table: t").with_sql("SELECT *\n  FROM t").in_file("0001_users.sql");
    /// assert_eq!(error.to_string(), "0001_users.sql: no such table: t\n  in: SELECT * FROM t");
    /// ```
    #[must_use]
    pub fn in_file(mut self, file: &str) -> Self {
        let line = self.line.map(|line| format!(", line {line}")).unwrap_or_default();
        let statement = self.sql.as_deref().map(|sql| format!("\n  in: {}", shortened(sql))).unwrap_or_default();
        self.parts.set_message(format!("{file}{line}: {}{statement}", self.message()));
        self.prefix = Prefix::None;
        self
    }

    /// Finds the line of the fault in the script in which the failed statement begins at this byte: without an offset it is that of
    /// the statement's first word.
    ///
    /// For backends that report no line: D1 names the statement at most. `start` is a byte of the script, so the error shows the line of the
    /// script even where the statement was run by itself.
    pub(crate) fn in_script(mut self, script: &str, start: usize) -> Self {
        let first_word = isobar_sqlite::script::first_word(&script[start..]);
        #[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
        let within = self.offset.map_or(first_word, |offset| offset as usize);
        #[cfg(not(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32"))))]
        let within = first_word;
        self.line = u32::try_from(isobar_sqlite::script::line(script, start + within)).ok();
        self
    }

    /// Names the statement of the batch or script, counted from 0.
    #[cfg(all(any(feature = "memory", feature = "local", feature = "postgres"), not(target_arch = "wasm32")))]
    pub(crate) fn with_statement(mut self, index: usize) -> Self {
        self.statement = self.statement.or(u32::try_from(index).ok());
        self
    }

    /// Names the place in the script, in bytes.
    #[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
    pub(crate) fn with_offset(mut self, offset: Option<usize>) -> Self {
        self.offset = self.offset.or(offset.and_then(|offset| u32::try_from(offset).ok()));
        self
    }

    /// The byte of the SQL in which the fault is, where SQLite knows it.
    #[cfg(all(feature = "memory", not(target_arch = "wasm32")))]
    pub(crate) fn offset(&self) -> Option<usize> {
        self.offset.map(|offset| offset as usize)
    }

    /// Finds its line in the script; without an offset it is that of the first word after `from`.
    ///
    /// An offset that [`with_offset`](Self::with_offset) has set before is one of the whole script, not of the statement.
    #[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
    pub(crate) fn with_position(mut self, script: &str, from: usize) -> Self {
        let offset = self.offset.map(|offset| offset as usize);
        let offset = offset.unwrap_or_else(|| from + isobar_sqlite::script::first_word(&script[from..]));
        self.line = self.line.or(u32::try_from(isobar_sqlite::script::line(script, offset)).ok());
        self
    }
}

/// The first lines of a statement, for people.
fn shortened(sql: &str) -> String {
    const CHARS: usize = 200;
    let words = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{} ...", &words[..end]),
        None => words,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.prefix {
            Prefix::None => "",
            Prefix::Error => "D1_ERROR: ",
            #[cfg(any(
                feature = "cloudflare-binding",
                feature = "cloudflare-http",
                all(any(feature = "memory", feature = "local", feature = "postgres"), not(target_arch = "wasm32"))
            ))]
            Prefix::Exec => "D1_EXEC_ERROR: ",
            Prefix::ColumnNotFound => "D1_COLUMN_NOTFOUND: ",
        };
        write!(f, "{prefix}{}", self.message())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.parts.source()
    }
}

impl From<NoRandomness> for Error {
    fn from(error: NoRandomness) -> Self {
        Self::new(ErrorKind::Internal, error.to_string()).with_source(error)
    }
}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(ErrorKind::Decode, message.to_string())
    }
}
