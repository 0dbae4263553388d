//! The crate's error, with D1's prefixes and SQLite's names.

use std::error::Error as StdError;
use std::fmt;

use isobar_base::error::Parts;
use isobar_base::random::NoRandomness;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Kind of an error, for code that decides by it.
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
        all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32"))
    ))]
    Exec,
    ColumnNotFound,
}

/// An error of a database. One of SQL displays as D1's do: `D1_ERROR: <message>: <SQLite's name of the code>`; one of a file, a
/// migration or the vault has no prefix.
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
    #[must_use]
    pub fn during(mut self, operation: impl Into<&'static str>) -> Self {
        self.parts.name_operation(operation);
        self
    }

    /// Attaches the cause.
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
    #[must_use]
    pub fn statement_index(&self) -> Option<usize> {
        self.statement.map(|index| index as usize)
    }

    /// The line of the script in which the fault is, counted from 1, where the backend reports it: the local one does.
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
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// Marks a failure that stays until the database is opened again.
    #[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
    pub(crate) fn for_good(mut self) -> Self {
        self.retryable = false;
        self
    }

    /// `D1_EXEC_ERROR`, in D1's words: it always names the first line, wherever the fault is.
    #[cfg(all(any(feature = "memory", feature = "local", feature = "cloudflare-http"), not(target_arch = "wasm32")))]
    pub(crate) fn in_exec(mut self, script: &str) -> Self {
        self.prefix = Prefix::Exec;
        let first = script.trim().lines().next().unwrap_or_default();
        self.parts.set_message(format!("Error in line 1: {first}: {}", self.message()));
        self
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
    #[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
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

    /// Finds its line in the script; without an offset it is that of the first word after `from`.
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
                all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32"))
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
