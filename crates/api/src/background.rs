//! Work that continues when its client disconnects.
//!
//! | function | natively | inside Workers |
//! |---|---|---|
//! | `detached` | a task of its own, awaited: it ends even if its client goes away | awaited in place: the runtime decides |
//! | `later` | a task of its own, not awaited | kept for `waitUntil`, which the entry point calls with `take_later` |
//!
//! Work that has begun to change something is detached: an upload's parts and its row, the refresh of a token that is valid
//! once. A crash may still end it anywhere; the journal of uploads and the lease of a refresh are there for that. E-mails are
//! sent later, so that the time of an answer does not reveal whether an address has an account; one that is lost in a crash is
//! asked for again.

use crate::Problem;

/// Runs work to its end, even if its caller is dropped: a server drops a request's future when the connection is closed, and work
/// that has begun to write should finish.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a detached task failed");
        Err(Problem::new(http::StatusCode::INTERNAL_SERVER_ERROR))
    })
}

/// Inside Workers the runtime decides how long the request of a disconnected client continues.
#[cfg(target_arch = "wasm32")]
pub(crate) async fn detached<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    work.await
}

/// Runs work after the answer, so that the time of the answer does not reveal whether there was any.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn later(work: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(work));
}

/// Inside Workers: the entry point of the `fetch` event passes the work to `waitUntil`.
#[cfg(target_arch = "wasm32")]
pub(crate) fn later(work: impl Future<Output = ()> + 'static) {
    LATER.with(|later| later.borrow_mut().push(Box::pin(work)));
}

#[cfg(target_arch = "wasm32")]
thread_local! {
    static LATER: std::cell::RefCell<Vec<std::pin::Pin<Box<dyn Future<Output = ()>>>>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Takes the work that requests have deferred until after their answers, to pass it to `waitUntil`. Inside Workers e-mails are sent
/// by it.
#[cfg(target_arch = "wasm32")]
#[must_use]
pub fn take_later() -> Vec<std::pin::Pin<Box<dyn Future<Output = ()>>>> {
    LATER.with(std::cell::RefCell::take)
}
