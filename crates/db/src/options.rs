//! Dialects, capabilities, consistency.
//!
//! Plain values without I/O: what a caller may set, with the defaults and their sources. Options are
//! `#[non_exhaustive]`, begin with `Default`, and are changed by `with_*`, so that a new field breaks no program.

use std::fmt;
use std::time::Duration;

/// SQL dialect of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// SQLite's, as D1 has it.
    Sqlite,
    /// PostgreSQL's, into which what is written for SQLite is translated as far as it means the same.
    Postgres,
}

/// Abilities in which backends differ.
///
/// | | local | Postgres | D1 by its binding | D1 over REST |
/// |---|---|---|---|---|
/// | `row_counts` | with feature `row-counts` | no | yes | yes |
/// | `exact_integers` | yes | yes | no | no |
/// | `export` | yes | no | no | no |
/// | `interactive` | yes | yes | no | no |
/// | `sqlite` | yes | no | yes | yes |
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{Database, SqliteDatabase};
///
/// let db = SqliteDatabase::memory().await?;
/// let capabilities = db.capabilities();
/// assert!(capabilities.export && capabilities.has("exact_integers") && !capabilities.has("flight"));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// [`Meta::rows_read`](crate::Meta::rows_read) and `rows_written` are counted.
    pub row_counts: bool,
    /// Integers are exact beyond 2^53.
    pub exact_integers: bool,
    /// [`Database::export`](crate::Database::export) is there.
    pub export: bool,
    /// `Database::begin` is there: interactive transactions. Native targets alone have it.
    pub interactive: bool,
    /// The SQL is SQLite's, with D1's limits and the texts of its errors; [optimistic transactions](mod@crate::transaction), pages and
    /// schemas, which are written in it, are there. Without it a [`dialect`](crate::Database::dialect) of another database is.
    pub sqlite: bool,
}

impl Capabilities {
    /// Returns whether the capability of this name is there: `row_counts`, `exact_integers`, `export`, `interactive`, `sqlite`; and
    /// `interactive_sqlite` for both of the last.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match name {
            "row_counts" => self.row_counts,
            "exact_integers" => self.exact_integers,
            "export" => self.export,
            "interactive" => self.interactive,
            "interactive_sqlite" => self.interactive && self.sqlite,
            "sqlite" => self.sqlite,
            _ => false,
        }
    }
}

/// Options of a SQLite database.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use std::time::Duration;
///
/// use isobar_db::{QueryableExt, SqliteDatabase, SqliteOptions};
///
/// let options = SqliteOptions::default().with_time_limit(Duration::from_secs(5)).with_disk_reserve(256 << 20);
/// let db = SqliteDatabase::memory_with(options).await?;
/// assert_eq!(db.prepare("SELECT 1").one::<i64>().await?, 1);
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// Longest run of a query or a batch, waits for other processes included, and longest wait for its turn before. Default:
    /// 30 s, as D1. One that takes longer is interrupted and rolled back, with D1's words; a commit that has begun is not. Another
    /// process's lock is waited for 30 s at most, however long this is.
    pub time_limit: Duration,
    /// Bytes of the disk that are kept free: below, writes are refused with
    /// [`ErrorKind::StorageFull`](crate::ErrorKind::StorageFull) before they fail. Never more than a twentieth of the file
    /// system; 0 for none. Default: 64 MiB. Checked twice a second, on Unix; without effect in memory.
    pub disk_reserve: u64,
    /// History of a file, for [time travel](crate::TimeTravel). Default: none named, and a database that has one already keeps it on,
    /// with the options of the last time. To end it, delete the folder `FILE-history` while no process has the database open.
    /// Without effect in memory.
    pub history: Option<HistoryOptions>,
    /// Replica for tests of bookmarks. Default: none, and every session sees the newest state.
    pub replica_lag: Option<ReplicaLag>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { time_limit: Duration::from_secs(30), disk_reserve: 64 << 20, history: None, replica_lag: None }
    }
}

impl SqliteOptions {
    /// Sets [`time_limit`](Self::time_limit).
    ///
    /// [`Duration::MAX`] is no limit. A limit of a few milliseconds also ends the opening, which has to run within it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use std::time::Duration;
    ///
    /// use isobar_db::{ErrorKind, QueryableExt, SqliteDatabase, SqliteOptions};
    ///
    /// let options = SqliteOptions::default().with_time_limit(Duration::from_secs(1));
    /// let db = SqliteDatabase::memory_with(options).await?;
    /// let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    /// let error = db.prepare(endless).run().await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Unavailable);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Sets [`disk_reserve`](Self::disk_reserve).
    ///
    /// A full disk hurts more than a database that refuses writes: logs cannot be written, other programs fail, and
    /// SQLite needs room even to delete. Reads go on below the reserve.
    #[must_use]
    pub fn with_disk_reserve(mut self, bytes: u64) -> Self {
        self.disk_reserve = bytes;
        self
    }

    /// Sets [`history`](Self::history).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use isobar_db::{Database, HistoryOptions, SqliteDatabase, SqliteOptions};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("app.sqlite");
    /// let options = SqliteOptions::default().with_history(HistoryOptions::default());
    /// assert!(SqliteDatabase::open_with(&path, options).await?.time_travel().is_some());
    /// // It is remembered.
    /// assert!(SqliteDatabase::open(&path).await?.time_travel().is_some());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_history(mut self, history: HistoryOptions) -> Self {
        self.history = Some(history);
        self
    }

    /// Sets [`replica_lag`](Self::replica_lag).
    #[must_use]
    pub fn with_replica_lag(mut self, lag: ReplicaLag) -> Self {
        self.replica_lag = Some(lag);
        self
    }
}

/// Lag of a simulated replica: for tests, which fail with it where a program forgets its bookmark.
///
/// With D1's read replication a [session](crate::Database::session) may read from a copy that is behind the primary. The sessions of a
/// [`SqliteDatabase`](crate::SqliteDatabase) see the newest state unless this option is set, so that a bookmark that was lost on the way
/// goes unnoticed. With it, reads of a session go to a replica that has an older state, as D1 allows:
///
/// | session | its reads |
/// |---|---|
/// | [`FirstUnconstrained`](Consistency::FirstUnconstrained) | from the replica, until the session has written |
/// | [`FirstPrimary`](Consistency::FirstPrimary) | from the primary, and from the replica when that was brought forward since |
/// | a [`Bookmark`](Consistency::Bookmark) | from the replica if that has the bookmark's state, else from the primary |
///
/// A session never goes back: it sees its own writes, and what it has seen before. Writes, what may write (a batch with one write in it,
/// a PRAGMA that sets something), and everything that is not run in a session go to the primary. [`Meta::served_by_primary`] says which of
/// the two has answered. Nothing depends on time or chance.
///
/// The replica is a copy of the whole database in memory; bringing it forward copies all of it twice, during which no write runs. That is
/// for the small databases of tests, not for serving. Settings by PRAGMA do not reach it.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{Consistency, Database, DatabaseSession, QueryableExt, ReplicaLag, SqliteDatabase, SqliteOptions};
///
/// let options = SqliteOptions::default().with_replica_lag(ReplicaLag::UntilAdvanced);
/// let db = SqliteDatabase::memory_with(options).await?;
/// db.run_script("CREATE TABLE users (name TEXT)").await?;
/// db.advance_replica().await?; // the test begins with the schema everywhere
///
/// let session = db.session(Consistency::FirstPrimary);
/// session.prepare("INSERT INTO users VALUES ('Ada')").run().await?;
/// let bookmark = session.bookmark().expect("a query was answered");
///
/// let count = "SELECT count(*) FROM users";
/// let forgetful = db.session(Consistency::FirstUnconstrained);
/// assert_eq!(forgetful.prepare(count).one::<i64>().await?, 0);
/// let mindful = db.session(Consistency::Bookmark(bookmark));
/// assert_eq!(mindful.prepare(count).one::<i64>().await?, 1);
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
///
/// [`Meta::served_by_primary`]: crate::Meta::served_by_primary
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplicaLag {
    /// The replica keeps the state in which the database was opened until it is brought forward:
    /// [`SqliteDatabase::advance_replica`](crate::SqliteDatabase::advance_replica).
    UntilAdvanced,
}

/// Options of an interactive transaction.
///
/// ```
/// use std::time::Duration;
///
/// use isobar_db::InteractiveOptions;
///
/// let options = InteractiveOptions::default().with_time_limit(Duration::from_millis(500));
/// assert_eq!(options.time_limit, Duration::from_millis(500));
/// ```
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct InteractiveOptions {
    /// Longest time from the begin to the commit, after which the transaction is rolled back; a commit that has begun is not. It
    /// bounds how long others wait with their writes. Default: 5 s. At most 1 hour.
    pub time_limit: Duration,
}

#[cfg(not(target_arch = "wasm32"))]
impl Default for InteractiveOptions {
    fn default() -> Self {
        Self { time_limit: Duration::from_secs(5) }
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl InteractiveOptions {
    /// Longest time limit of a transaction.
    #[cfg(any(feature = "memory", feature = "local", feature = "postgres"))]
    pub(crate) const LONGEST: Duration = Duration::from_secs(60 * 60);

    /// Sets [`time_limit`](Self::time_limit).
    #[must_use]
    pub fn with_time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }
}

/// Bounds of a local database's history, which is kept in the folder `FILE-history` beside its file.
///
/// It costs a thread, a read of what each commit has written to SQLite's log (from the page cache, after the answer), the writing of its
/// compressed difference, two syncs for each 1,000 pages written, and now and then a compressed copy of the database.
///
/// ```
/// use std::time::Duration;
///
/// use isobar_db::{HistoryOptions, SqliteOptions};
///
/// let week = HistoryOptions::default().with_max_age(Duration::from_secs(7 * 24 * 60 * 60)).with_max_bytes(256 << 20);
/// let options = SqliteOptions::default().with_history(week);
/// assert_eq!(options.history.map(|history| history.max_bytes), Some(256 << 20));
/// ```
///
/// Both bounds hold at once: a state is kept while it is younger than `max_age` and the whole is smaller than
/// `max_bytes`. The thread removes whole files, so it is the oldest snapshot and its commits that go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryOptions {
    /// Age up to which states are kept, at least; they go an eighth of it later at the latest, when a commit comes. Default: 30 days.
    pub max_age: Duration,
    /// Bytes on the disk. The oldest states go first; the newest snapshot and the commits since are kept even where they alone are
    /// more. Default: 1 GiB.
    pub max_bytes: u64,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self { max_age: Duration::from_secs(30 * 24 * 60 * 60), max_bytes: 1 << 30 }
    }
}

impl HistoryOptions {
    /// Sets [`max_age`](Self::max_age).
    #[must_use]
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }
}

/// State that a session sees at first: D1's `withSession`.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{Consistency, Database, QueryableExt, SqliteDatabase};
///
/// let db = SqliteDatabase::memory().await?;
/// let session = db.session(Consistency::FirstPrimary);
/// session.prepare("CREATE TABLE t (a)").run().await?;
/// // A later request, perhaps at another place, sees at least what this one has seen.
/// let seen = session.bookmark().map_or(Consistency::FirstPrimary, Consistency::Bookmark);
/// assert!(db.session(seen).prepare("SELECT a FROM t").all::<i64>().await?.is_empty());
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
///
/// | | D1 | local |
/// |---|---|---|
/// | `FirstUnconstrained` | the nearest copy answers, perhaps with an older state | there is one copy, which has the newest state; a test may ask for a [replica](ReplicaLag) that lags |
/// | `FirstPrimary` | the first query sees the newest state | as above |
/// | `Bookmark` | a copy that has this state answers | as above; the bookmark is what [`bookmark`](crate::DatabaseSession::bookmark) begins with |
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Any replica will do: `first-unconstrained`.
    #[default]
    FirstUnconstrained,
    /// The first query goes to the primary: `first-primary`.
    FirstPrimary,
    /// At least the state of this bookmark.
    Bookmark(Bookmark),
}

/// A point in a database's history, from [`DatabaseSession::bookmark`](crate::DatabaseSession::bookmark). A session that begins
/// with it sees at least what was seen there. It is text, to be handed to the client and back in a header or a cookie; bookmarks
/// compare as text, and the greater one is later. Source: D1's documentation, "Read replication".
///
/// The local backend's have D1's form, four hexadecimal numbers with `-` between; those of a database with a
/// history name a commit, others grow with time alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bookmark(String);

impl Bookmark {
    /// A bookmark in D1's form that grows with the time, in microseconds since 1970.
    #[cfg(all(any(feature = "memory", feature = "local", feature = "postgres"), not(target_arch = "wasm32")))]
    pub(crate) fn of_time(micros: i64) -> Self {
        Self(format!("{:08x}-{:08x}-00000000-{:032x}", (micros >> 32) as u32, micros as u32, 0))
    }

    /// A bookmark kept as text; D1 takes any.
    ///
    /// ```
    /// use isobar_db::{Bookmark, Consistency};
    ///
    /// let from_cookie = "00000001-00000002-00000000-00000000000000000000000000000000";
    /// let consistency = Consistency::Bookmark(Bookmark::new(from_cookie));
    /// assert!(Bookmark::new("00000001-00000003") > Bookmark::new(from_cookie));
    /// # let _ = consistency;
    /// ```
    pub fn new(bookmark: impl Into<String>) -> Self {
        Self(bookmark.into())
    }

    /// The bookmark as text.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{Consistency, Database, QueryableExt, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let session = db.session(Consistency::FirstPrimary);
    /// session.prepare("SELECT 1").run().await?;
    /// let cookie = session.bookmark().map(|seen| format!("bookmark={}; HttpOnly", seen.as_str()));
    /// assert!(cookie.is_some_and(|cookie| cookie.len() > 50));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Options of an export.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> isobar_db::Result<()> {
/// use isobar_db::dump::{Content, ExportOptions};
/// use isobar_db::{Database, SqliteDatabase};
///
/// let db = SqliteDatabase::memory().await?;
/// db.import("CREATE TABLE a (x); CREATE TABLE b (x); INSERT INTO a VALUES (1);").await?;
/// let rows_of_a = ExportOptions::default().with_tables(["a"]).with_content(Content::Rows);
/// let report = db.export(rows_of_a, Box::new(std::io::sink())).await?;
/// assert_eq!((report.tables, report.rows), (1, 1));
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportOptions {
    /// Tables to export, with their indexes and triggers. Default: none named, which is all, and the views.
    pub tables: Vec<String>,
    /// Rows to export. Default: all of them.
    pub content: Content,
}

/// Parts of a database that an export has.
///
/// `Schema` without rows makes an empty copy; `Rows` fills one whose tables come from migrations. An export of the
/// rows alone names no columns' types, so the target has to have the same ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// Schema and rows.
    #[default]
    All,
    /// The schema alone.
    Schema,
    /// The rows alone.
    Rows,
}

impl ExportOptions {
    /// Sets [`tables`](Self::tables).
    ///
    /// Upper and lower case (ASCII) do not matter. A name that is no table's is [`ErrorKind::Sql`](crate::ErrorKind::Sql);
    /// SQLite's and Cloudflare's own tables are never exported. Called again it replaces the names of before.
    #[must_use]
    pub fn with_tables(mut self, tables: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tables = tables.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`content`](Self::content).
    #[must_use]
    pub fn with_content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }
}
