//! Work that goes on when its client goes away.

use crate::Problem;

/// Runs the work to its end, even if its caller goes away: a server drops a request's future when the
/// connection breaks, and work that has begun to write should end in order.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "work broke off");
        Err(Problem::new(http::StatusCode::INTERNAL_SERVER_ERROR))
    })
}

/// Inside Workers the runtime decides how long a request whose client is gone goes on.
#[cfg(target_arch = "wasm32")]
pub(crate) async fn detached<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    work.await
}

/// Runs work after the answer: an answer that took longer where there is work to do would reveal that there is.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn later(work: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(work));
}

/// Inside Workers: taken over by the entry of the `fetch` event, which hands it to `waitUntil`.
#[cfg(target_arch = "wasm32")]
pub(crate) fn later(work: impl Future<Output = ()> + 'static) {
    LATER.with(|later| later.borrow_mut().push(Box::pin(work)));
}

#[cfg(target_arch = "wasm32")]
thread_local! {
    static LATER: std::cell::RefCell<Vec<std::pin::Pin<Box<dyn Future<Output = ()>>>>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Takes the work that requests have left for after their answers: inside Workers, for `waitUntil`. Without it e-mails are not sent
/// there.
#[cfg(target_arch = "wasm32")]
#[must_use]
pub fn take_later() -> Vec<std::pin::Pin<Box<dyn Future<Output = ()>>>> {
    LATER.with(std::cell::RefCell::take)
}
