//! Work that goes on when its client goes away.

use crate::Problem;

/// Runs the work to its end, whether or not somebody still waits for its answer: a server drops a request's future when the
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
