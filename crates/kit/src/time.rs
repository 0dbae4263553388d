//! Time passing, wherever a kit runs.

use std::time::Duration;

/// Done after this long, by the runtime's timers inside Workers and by a thread's elsewhere: no runtime is asked for.
pub async fn sleep(duration: Duration) {
    #[cfg(target_arch = "wasm32")]
    isobar_cloudflare::binding::sleep(duration).await;
    #[cfg(not(target_arch = "wasm32"))]
    futures_timer::Delay::new(duration).await;
}
