//! The conformance kit: what every backend of [`ObjectStore`] must do, R2 inside workerd included.
//!
//! | group | cases about |
//! |---|---|
//! | `objects` | put, get, head, delete, copy; keys, bodies, versions |
//! | `metadata` | HTTP and custom metadata, storage classes, their limits |
//! | `checksums` | verified, kept, refused |
//! | `conditions` | `onlyIf` as a table, compare-and-swap under concurrency, the order of checks |
//! | `ranges` | every form, small and large bodies, headers |
//! | `listing` | order, pages, groups, cursors, limits |
//! | `multipart` | parts, their rules and errors, ends of uploads, streams |
//!
//! A case that needs a capability which the store denies is skipped. `ISOBAR_CASE` chooses cases by name. A store is run through it by a
//! test of one line:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use isobar_storage::conformance::{self, Subject};
//! use isobar_storage::memory::MemoryStore;
//! # futures_util::FutureExt::now_or_never(async {
//! let report = conformance::run(async || Arc::new(MemoryStore::new()) as Subject).await;
//! report.assert_green();
//! # });
//! ```

mod conditions;
mod listing;
mod multipart;
mod objects;
mod random;
mod ranges;

use std::sync::Arc;

pub use isobar_testkit::{Case, Failure, Report};

use crate::{Body, Error, ErrorKind, GetOptions, GetResult, Key, ObjectMeta, ObjectStore, ObjectStoreExt, Result};

pub use random::transcript;

/// The store under test; cases of one kit may share it: each keeps to keys of its own.
pub type Subject = Arc<dyn ObjectStore>;

/// Runs the whole kit, each case on the store that `subject` yields.
pub async fn run<F: AsyncFnMut() -> Subject>(mut subject: F) -> Report {
    let capabilities = subject().await.capabilities();
    isobar_testkit::run(&cases(), subject, |name| capabilities.has(name)).await
}

/// Every case, by group.
///
/// ```
/// let cases = isobar_storage::conformance::cases();
/// let skippable = cases.iter().filter(|case| case.needs.is_some()).count();
/// assert!(cases.len() > 60 && skippable < cases.len());
/// ```
#[must_use]
pub fn cases() -> Vec<Case<Subject>> {
    let mut cases = objects::cases();
    cases.extend(conditions::cases());
    cases.extend(ranges::cases());
    cases.extend(listing::cases());
    cases.extend(multipart::cases());
    cases
}

type Outcome = std::result::Result<(), Failure>;

fn key(name: &str) -> Key {
    Key::new(name).expect("the kit's keys are short and not empty")
}

async fn put(store: &Subject, name: &str, body: impl Into<Body> + Send) -> Result<ObjectMeta> {
    store.write(&key(name), body).await
}

async fn get_text(store: &Subject, name: &str, options: GetOptions) -> std::result::Result<String, Failure> {
    match store.get(&key(name), options).await? {
        GetResult::Object { body, .. } => Ok(String::from_utf8_lossy(&body.bytes().await?).into_owned()),
        other => Err(Failure(format!("no body: {other:?}"))),
    }
}

/// The kind and code of the error that must come.
fn fault<T: std::fmt::Debug>(result: Result<T>) -> std::result::Result<(ErrorKind, Option<u32>), Failure> {
    match result {
        Ok(value) => Err(Failure(format!("an error was due, got {value:?}"))),
        Err(error) => Ok((error.kind(), error.code())),
    }
}

/// The text of the error that must come.
fn text<T: std::fmt::Debug>(result: Result<T, Error>) -> std::result::Result<String, Failure> {
    result.map_or_else(|error| Ok(error.to_string()), |value| Err(Failure(format!("an error was due, got {value:?}"))))
}
