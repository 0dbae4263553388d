//! Optimistic transactions: reads, decisions in the program, writes, as one, on every backend.
//!
//! D1 has no interactive transactions: its only transaction is the [`batch`](crate::Queryable::batch), whose statements are all
//! known beforehand. A [`Transaction`] reads as often as it likes, collects its writes, and at the end sends one batch whose first
//! statements run each read once more and fail the batch where a result is not the same, byte for byte and row for row. Nothing is
//! locked in between; a transaction that was overtaken runs again.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
//! use isobar_db::{QueryableExt, SqliteDatabase, Statement};
//!
//! let db = SqliteDatabase::memory().await?;
//! db.run_script("CREATE TABLE accounts (id PRIMARY KEY, balance INTEGER); INSERT INTO accounts VALUES ('a', 70), ('b', 0)").await?;
//!
//! let moved = db
//!     .transaction(|tx| async move {
//!         let balance: i64 = tx.prepare("SELECT balance FROM accounts WHERE id = ?").bind("a").one().await?;
//!         let amount = balance / 2;
//!         tx.write(Statement::new("UPDATE accounts SET balance = balance - ? WHERE id = 'a'").bind(amount))?;
//!         tx.write(Statement::new("UPDATE accounts SET balance = balance + ? WHERE id = 'b'").bind(amount))?;
//!         Ok::<_, isobar_db::Error>(amount)
//!     })
//!     .await?;
//! assert_eq!(moved, 35);
//! assert_eq!(db.prepare("SELECT balance FROM accounts ORDER BY id").all::<i64>().await?, [35, 35]);
//! # Ok(()) }
//! # #[cfg(not(feature = "memory"))] fn main() {}
//! ```
//!
//! The work may have errors of its own, which end the transaction without a write. The error type has to take this
//! crate's:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
//! use isobar_db::{QueryableExt, SqliteDatabase, Statement};
//!
//! #[derive(Debug)]
//! enum Refused {
//!     TooLittle { balance: i64 },
//!     Database(isobar_db::Error),
//! }
//! impl From<isobar_db::Error> for Refused {
//!     fn from(error: isobar_db::Error) -> Self {
//!         Self::Database(error)
//!     }
//! }
//!
//! let db = SqliteDatabase::memory().await?;
//! db.run_script("CREATE TABLE accounts (id PRIMARY KEY, balance INTEGER); INSERT INTO accounts VALUES ('a', 70)").await?;
//! let paid = db
//!     .transaction(|tx| async move {
//!         let balance: i64 = tx.prepare("SELECT balance FROM accounts WHERE id = 'a'").one().await?;
//!         if balance < 100 {
//!             return Err(Refused::TooLittle { balance });
//!         }
//!         tx.write(Statement::new("UPDATE accounts SET balance = balance - 100 WHERE id = 'a'"))?;
//!         Ok::<_, Refused>(())
//!     })
//!     .await;
//! assert!(matches!(paid, Err(Refused::TooLittle { balance: 70 })));
//! # Ok(()) }
//! ```
//!
//! | at the end of an attempt | the transaction |
//! |---|---|
//! | the work succeeded, its reads hold | commits the writes in one batch, and answers |
//! | the work succeeded, a read has changed | waits and runs the work again |
//! | the work failed, its reads hold | answers the work's error; nothing is written |
//! | the work failed, a read has changed | waits and runs the work again: the error may come of states that never met |
//! | a write fails | answers its error; nothing is written, and nothing is tried again |
//! | the last attempt was overtaken, too | answers [`ErrorKind::Conflict`] |
//!
//! Costs: a batch for the commit, and for each read one query, or two where its text is new. Every result that was
//! read is sent a second time as hexadecimal text and compared by the database, so read what the decision needs and
//! no more. Where a condition can be written into the statement itself (`UPDATE ... WHERE balance >= 100`), a plain
//! [`batch`](crate::Queryable::batch) is cheaper and never conflicts.

mod read;
mod wait;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use isobar_base::backoff::Backoff;
use isobar_base::sync::IgnorePoison;

use self::read::{Guard, Query};
use crate::{Error, ErrorKind, QueryResult, Queryable, Result, Statement, sql};

/// Times that a read is tried while the number of its columns changes.
const SHAPE_ATTEMPTS: usize = 16;

/// Options of a transaction.
///
/// ```
/// use std::time::Duration;
///
/// use isobar_db::transaction::TransactionOptions;
///
/// let patient = TransactionOptions::default().with_attempts(50).with_waits(Duration::from_millis(1), Duration::from_secs(1));
/// assert_eq!(patient.attempts, 50);
/// ```
///
/// After the n-th lost attempt the wait is a random part of `first_wait * 2^(n-1)`, at most of `longest_wait`; with
/// the defaults a transaction that loses every attempt has waited for 2 s at most before it gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransactionOptions {
    /// Number of attempts, the first included. Default: 10; 0 counts as 1. A transaction loses an attempt only to another one that
    /// has been committed, so that this many minus one may write the same rows at once without an error.
    pub attempts: u32,
    /// Longest wait after the first lost attempt. Default: 5 ms. It doubles with each one, and is shortened at random.
    pub first_wait: Duration,
    /// Longest wait after any attempt. Default: 500 ms.
    pub longest_wait: Duration,
}

impl Default for TransactionOptions {
    fn default() -> Self {
        Self { attempts: 10, first_wait: Duration::from_millis(5), longest_wait: Duration::from_millis(500) }
    }
}

impl TransactionOptions {
    /// Sets [`attempts`](Self::attempts).
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets [`first_wait`](Self::first_wait) and [`longest_wait`](Self::longest_wait).
    #[must_use]
    pub fn with_waits(mut self, first: Duration, longest: Duration) -> Self {
        self.first_wait = first;
        self.longest_wait = longest;
        self
    }
}

/// Result of a committed transaction.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Committed<T> {
    /// Value that the work has returned.
    pub value: T,
    /// Results of the writes, in their order: rows of `RETURNING`, `last_row_id`, `changes`.
    pub results: Vec<QueryResult>,
    /// Number of attempts, this one included.
    pub attempts: u32,
}

/// An attempt of an optimistic transaction: see the [module](self). Clones share it.
///
/// As a [`Queryable`] it reads: `tx.prepare(sql).bind(x).one::<T>()`. A read is one `SELECT`, `VALUES` or `WITH` of at most 99
/// columns and 99 parameters, whose result as hexadecimal text is at most D1's 2,000,000 bytes; anything else is refused with
/// [`ErrorKind::Unsupported`]. Its result must depend on the database alone: one with `random()` or the time in it is never the
/// same again. A text of SQL that the transaction has not read yet takes two queries, one for the names of its columns.
///
/// Reads do not see the transaction's own writes, which are run at the end. Several reads may come from different states of the
/// database; where they do, the attempt is run again, errors of the work included, so work must not rely on their agreement for
/// more than its result.
///
/// A read of any other kind is refused before it is sent:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{Error, ErrorKind, QueryableExt, SqliteDatabase};
///
/// let db = SqliteDatabase::memory().await?;
/// let refused = db
///     .transaction(|tx| async move {
///         tx.prepare("DELETE FROM users").run().await?; // a write goes to write()
///         Ok::<_, Error>(())
///     })
///     .await
///     .unwrap_err();
/// assert_eq!(refused.kind(), ErrorKind::Unsupported);
/// # Ok(()) }
/// ```
pub struct Transaction<'a, D: Queryable + ?Sized> {
    database: &'a D,
    attempt: Arc<Mutex<Attempt>>,
    shapes: Shapes,
}

/// Columns of the reads, by their SQL.
type Shapes = Arc<Mutex<HashMap<String, Arc<[String]>>>>;

/// Reads and writes of an attempt.
///
/// `guards` has each read once: one that is repeated with the same parameters has to give the same result, or the
/// attempt is `torn`.
#[derive(Debug, Default)]
struct Attempt {
    guards: Vec<Guard>,
    writes: Vec<Statement>,
    /// The read that gave two results.
    torn: Option<usize>,
    /// A table that was read has got another number of columns meanwhile.
    is_altered: bool,
    has_ended: bool,
}

impl<D: Queryable + ?Sized> Clone for Transaction<'_, D> {
    fn clone(&self) -> Self {
        Self { database: self.database, attempt: Arc::clone(&self.attempt), shapes: Arc::clone(&self.shapes) }
    }
}

impl<D: Queryable + ?Sized> fmt::Debug for Transaction<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempt = self.attempt.lock().ignore_poison();
        write!(f, "Transaction({} reads, {} writes)", attempt.guards.len(), attempt.writes.len())
    }
}

impl<D: Queryable + ?Sized> Transaction<'_, D> {
    /// Adds a statement to those that are run when the work has returned, in their order, if nothing that was read has changed.
    ///
    /// It is not checked here: a fault in its SQL shows at the commit. Results of the writes are in
    /// [`Committed::results`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{Error, QueryableExt, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// db.run_script("CREATE TABLE t (a)").await?;
    /// let seen = db
    ///     .transaction(|tx| async move {
    ///         tx.write("INSERT INTO t VALUES (1)")?;
    ///         let seen: i64 = tx.prepare("SELECT count(*) FROM t").one().await?;
    ///         Ok::<_, Error>(seen) // its own write is not there yet
    ///     })
    ///     .await?;
    /// assert_eq!(seen, 0);
    /// assert_eq!(db.prepare("SELECT count(*) FROM t").one::<i64>().await?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when the attempt has ended: the transaction was carried out of its work.
    pub fn write(&self, statement: impl Into<Statement>) -> Result<()> {
        let mut attempt = self.attempt.lock().ignore_poison();
        attempt.check_open()?;
        attempt.writes.push(statement.into());
        Ok(())
    }

    /// Reads rows. A text of SQL is asked for twice the first time: plain, for its columns, and with digests, which
    /// need their number. Between the two the table may be altered, so that the numbers differ; then it asks again.
    async fn read(&self, statement: &Statement) -> Result<QueryResult> {
        self.attempt.lock().ignore_poison().check_open()?;
        let query = Query::parse(statement)?;
        let mut known = self.shapes.lock().ignore_poison().get(query.sql()).cloned();
        let mut outdated = None;
        for _ in 0..SHAPE_ATTEMPTS {
            let columns = match known.take() {
                Some(columns) => columns,
                None => self.columns(&query, statement).await?,
            };
            match self.verified(&query, &columns).await {
                // The table was altered, or a connection of the backend has not yet noticed that it was.
                Err(error) if read::is_other_shape(&error) => outdated = Some(error),
                result => return result,
            }
        }
        Err(outdated.unwrap_or_else(|| Error::new(ErrorKind::Internal, "a read was not attempted")))
    }

    /// Asks for the columns of a read.
    async fn columns(&self, query: &Query, statement: &Statement) -> Result<Arc<[String]>> {
        let columns: Arc<[String]> = self.database.query(statement.clone().rows_only()).await?.columns.into();
        self.shapes.lock().ignore_poison().insert(query.sql().to_owned(), Arc::clone(&columns));
        Ok(columns)
    }

    /// Reads rows together with their digests, and keeps these.
    async fn verified(&self, query: &Query, columns: &Arc<[String]>) -> Result<QueryResult> {
        let (result, guard) = query.split(self.database.query(query.with_digests(columns.len())).await?, columns)?;
        let mut attempt = self.attempt.lock().ignore_poison();
        attempt.check_open()?;
        match attempt.guards.iter().position(|earlier| earlier.is_same_read(&guard)) {
            Some(index) if attempt.guards[index] == guard => {}
            Some(index) => attempt.torn = Some(index),
            None => attempt.guards.push(guard),
        }
        if attempt.torn.is_some() {
            return Err(attempt.conflict(attempt.torn));
        }
        Ok(result)
    }
}

#[async_trait]
impl<D: Queryable + ?Sized> Queryable for Transaction<'_, D> {
    async fn query(&self, statement: Statement) -> Result<QueryResult> {
        self.read(&statement).await.map_err(|error| error.with_sql(statement.sql()).during("transaction"))
    }

    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        let mut results = Vec::new();
        for statement in statements.into_iter().filter(|statement| sql::split(statement.sql()).next().is_some()) {
            results.push(self.query(statement).await?);
        }
        if results.is_empty() {
            return Err(Error::new(ErrorKind::Sql, "No SQL statements detected.").during("transaction"));
        }
        Ok(results)
    }
}

impl Attempt {
    fn check_open(&self) -> Result<()> {
        if self.has_ended {
            let message = "the attempt of the transaction has ended: keep the transaction within its work";
            return Err(Error::new(ErrorKind::Internal, message).during("transaction"));
        }
        Ok(())
    }

    /// Takes what the attempt has collected, and ends it.
    fn end(&mut self) -> Self {
        std::mem::replace(self, Self { has_ended: true, ..Self::default() })
    }

    fn conflict(&self, index: Option<usize>) -> Error {
        let message = "another transaction has changed what this one has read";
        let error = Error::new(ErrorKind::Conflict, message).during("transaction");
        match index.and_then(|index| self.guards.get(index)) {
            Some(guard) => error.with_sql(guard.sql()),
            None => error,
        }
    }

    /// Verifies the reads and runs these writes, as one.
    ///
    /// The guards come first, so that a conflict is found before a write has an error of its own (a UNIQUE that another
    /// transaction has filled).
    async fn commit<D: Queryable + ?Sized>(
        &mut self,
        database: &D,
        writes: Vec<Statement>,
        was_altered: bool,
    ) -> Result<Vec<QueryResult>> {
        if self.torn.is_some() {
            return Err(self.conflict(self.torn));
        }
        // One read is of one state of the database; nothing is left to do.
        if writes.is_empty() && self.guards.len() < 2 {
            return Ok(Vec::new());
        }
        // A statement that has no error of its own lets SQLite notice that another process has altered a table.
        let first = was_altered.then(|| Statement::new("SELECT count(*) FROM sqlite_schema"));
        let guards = self.guards.iter().enumerate().map(|(index, guard)| guard.statement(index));
        let before = self.guards.len() + usize::from(was_altered);
        match database.batch(first.into_iter().chain(guards).chain(writes).collect()).await {
            Ok(mut results) => Ok(results.split_off(before.min(results.len()))),
            Err(error) if read::is_other_shape(&error) => {
                self.is_altered = true;
                Err(self.conflict(None))
            }
            Err(error) => Err(match read::changed(&error) {
                Some(index) => self.conflict(Some(index)),
                None => error,
            }),
        }
    }
}

/// Runs work as a transaction: see [`QueryableExt::transaction_with`](crate::QueryableExt::transaction_with).
///
/// `shapes` outlives the attempts, as the columns of a text seldom change; everything else is the attempt's own. A
/// transaction that the work has carried out of its future finds its attempt ended.
pub(crate) async fn run<'a, D, T, E, F, Fut>(
    database: &'a D,
    options: TransactionOptions,
    work: F,
) -> Result<Committed<T>, E>
where
    D: Queryable + ?Sized,
    E: From<Error>,
    F: Fn(Transaction<'a, D>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let shapes = Shapes::default();
    let backoff = Backoff::new(options.first_wait, options.longest_wait);
    let mut attempts = 0;
    let mut was_altered = false;
    loop {
        attempts += 1;
        let shared = Arc::<Mutex<Attempt>>::default();
        let outcome = work(Transaction { database, attempt: Arc::clone(&shared), shapes: Arc::clone(&shapes) }).await;
        let mut attempt = shared.lock().ignore_poison().end();
        let writes = if outcome.is_ok() { std::mem::take(&mut attempt.writes) } else { Vec::new() };
        let committed = attempt.commit(database, writes, was_altered).await;
        was_altered |= attempt.is_altered;
        let conflict = match (outcome, committed) {
            (_, Err(error)) if error.kind() == ErrorKind::Conflict => error,
            (Ok(value), Ok(results)) => return Ok(Committed { value, results, attempts }),
            (Ok(_), Err(error)) => return Err(error.into()),
            // The work's own error, whether or not its reads could be looked at again.
            (Err(error), _) => return Err(error),
        };
        if attempts >= options.attempts.max(1) {
            return Err(conflict.after_attempts(attempts).into());
        }
        let share = isobar_base::random::fraction().unwrap_or(1.0);
        wait::sleep(backoff.jittered(attempts, share)).await;
    }
}
