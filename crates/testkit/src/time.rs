//! Sleeping, natively and inside Workers.

use std::time::Duration;

/// Completes after this duration, by the runtime's timers inside Workers and by a thread elsewhere. Needs no async runtime. Dropping it
/// ends the wait.
pub async fn sleep(duration: Duration) {
    #[cfg(target_arch = "wasm32")]
    isobar_cloudflare::binding::sleep(duration).await;
    #[cfg(not(target_arch = "wasm32"))]
    futures_timer::Delay::new(duration).await;
}
