//! The conformance kit: what every backend of [`Database`] must do, D1 inside workerd included.
//!
//! | group | holds a backend to |
//! |---|---|
//! | `queries` | rows, types, `meta`, conversions, parameters |
//! | `transactions`, `exec`, `sessions`, `migrations` | batches and scripts are all or nothing; bookmarks |
//! | `optimistic` | transactions that are verified at their commit |
//! | `interactive` | transactions that stay open, where the backend has them |
//! | `convenience` | what stands on the trait: names of parameters, bulk inserts, pages, schemas |
//! | `errors`, `authorizer` | D1's texts, and what it forbids |
//! | `limits` | D1's numbers |
//! | `row_counts` | rows read and written, where the backend counts them |
//! | `restrictions` | statements that may only read, bounded results, imports and exports |
//!
//! Cases share a database, so each makes tables of its own name. One that needs a [capability](crate::Capabilities)
//! names it and is skipped, visibly, where the backend denies it.

mod convenience;
mod errors;
#[cfg(not(target_arch = "wasm32"))]
mod interactive;
mod limits;
mod optimistic;
mod queries;
mod restrictions;
mod row_counts;
mod transactions;

use std::sync::Arc;

use isobar_testkit::{Case, Failure, Report};

use crate::{Database, Error, ErrorKind, QueryableExt};

/// The database under test; each case makes tables of its own name, and drops what an earlier run left.
pub type Subject = Arc<dyn Database>;

/// Runs the whole kit, each case on the database that `subject` yields. `ISOBAR_CASE` chooses cases by `group/name`.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use isobar_db::{SqliteDatabase, conformance};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// let db = SqliteDatabase::memory().await?;
/// conformance::run(async || Arc::new(db.clone()) as conformance::Subject).await.assert_green();
/// # Ok(()) }
/// ```
///
/// The report shows each failed case with its place and both values; `assert_green` panics with it.
pub async fn run<F: AsyncFnMut() -> Subject>(mut subject: F) -> Report {
    let capabilities = subject().await.capabilities();
    isobar_testkit::run(&cases(), subject, |name| capabilities.has(name)).await
}

/// Every case, by group.
#[must_use]
pub fn cases() -> Vec<Case<Subject>> {
    let mut cases = queries::cases();
    cases.extend(transactions::cases());
    cases.extend(optimistic::cases());
    #[cfg(not(target_arch = "wasm32"))]
    cases.extend(interactive::cases());
    cases.extend(convenience::cases());
    cases.extend(errors::cases());
    cases.extend(limits::cases());
    cases.extend(restrictions::cases());
    cases.extend(row_counts::cases());
    cases
}

type Outcome = std::result::Result<(), Failure>;

/// A fresh table of this name and columns.
async fn table(db: &Subject, name: &str, columns: &str) -> crate::Result<()> {
    db.run_script(&format!("DROP TABLE IF EXISTS {name}; CREATE TABLE {name} ({columns});")).await.map(drop)
}

async fn count(db: &Subject, table: &str) -> crate::Result<i64> {
    db.prepare(format!("SELECT count(*) FROM {table}")).one().await
}

/// The error that must come.
fn fault<T: std::fmt::Debug>(result: crate::Result<T>) -> std::result::Result<Error, Failure> {
    result.map_or_else(Ok, |value| Err(Failure(format!("an error was due, got {value:?}"))))
}

/// Runs SQL that must fail; kind and text.
async fn refused(db: &Subject, sql: &str) -> std::result::Result<(ErrorKind, String), Failure> {
    let error =
        fault(db.prepare(sql.to_owned()).run().await).map_err(|Failure(why)| Failure(format!("{sql}: {why}")))?;
    Ok((error.kind(), error.to_string()))
}
