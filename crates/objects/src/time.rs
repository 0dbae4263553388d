//! Time that passes, natively and inside Workers.

use std::time::Duration;

#[cfg(any(feature = "browser", feature = "mcp"))]
use futures_util::future::{Either, select};
#[cfg(any(feature = "browser", feature = "mcp"))]
use futures_util::pin_mut;

/// Returns the output of the future, if it is done within this time.
#[cfg(any(feature = "browser", feature = "mcp"))]
pub(crate) async fn within<T>(duration: Duration, work: impl Future<Output = T>) -> Option<T> {
    let patience = sleep(duration);
    pin_mut!(work, patience);
    match select(work, patience).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

/// Waits for this time.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) async fn sleep(duration: Duration) {
    futures_timer::Delay::new(duration).await;
}

/// Waits for this time, by the runtime's own timer.
#[cfg(all(target_arch = "wasm32", feature = "cloudflare-binding"))]
pub(crate) async fn sleep(duration: Duration) {
    isobar_cloudflare::binding::sleep(duration).await;
}

/// Waits for ever: there is no timer without a runtime.
#[cfg(all(target_arch = "wasm32", not(feature = "cloudflare-binding")))]
pub(crate) async fn sleep(_: Duration) {
    std::future::pending().await
}
