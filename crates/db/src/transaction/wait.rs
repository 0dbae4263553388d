//! Waits between two attempts.
//!
//! Natively by a timer that needs no runtime, as the crate's futures run on any executor; in Workers by
//! `setTimeout`.

use std::time::Duration;

/// Waits for this time. Needs no async runtime.
#[cfg(not(target_arch = "wasm32"))]
pub(super) async fn sleep(duration: Duration) {
    futures_timer::Delay::new(duration).await;
}

/// Waits for this time, by the runtime's own timer.
#[cfg(all(target_arch = "wasm32", feature = "cloudflare-binding"))]
pub(super) async fn sleep(duration: Duration) {
    isobar_cloudflare::binding::sleep(duration).await;
}

/// Lets others run, and does not wait: there is no timer without a runtime.
#[cfg(all(target_arch = "wasm32", not(feature = "cloudflare-binding")))]
pub(super) async fn sleep(_: Duration) {
    let mut has_yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
