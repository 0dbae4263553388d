//! JavaScript for the bindings: objects that are `Send`, calls that fail with a [`JsError`] instead of a panic, and streams in
//! both directions. Everything here type-checks on the host, and works inside Workers only.
//!
//! Workers run on one thread, so `!Send` JavaScript values are wrapped once, here and in [`send`], and handlers stay ordinary
//! `Send` futures.
//!
//! A Rust panic inside Workers is a trap of the whole module, so that nothing here unwraps what JavaScript says: each call is a `Result`. Natively the types compile, so that the crates above are checked and tested for both targets, and every call panics.

mod error;
mod http;
mod object;
mod stream;

pub use error::JsError;
pub use http::{JsBody, request_from_js, request_to_js, response_from_js, response_to_js};
pub use object::{Function, Object, bytes, date, millis, uint8_array};
pub use stream::{FixedLength, readable, stream_of};
pub use worker;
pub use worker::{js_sys, wasm_bindgen, wasm_bindgen_futures};

#[cfg(all(target_arch = "wasm32", target_feature = "atomics"))]
compile_error!("the bindings require a single thread: build without the target feature `atomics`");

/// Makes a future on JavaScript values `Send`: see the module.
///
/// ```no_run
/// use isobar_cloudflare::binding::{JsError, Object, send};
///
/// /// The future is `Send`, as a handler's must be, though it holds JavaScript values.
/// fn delete(bucket: Object, key: String) -> impl Future<Output = Result<(), JsError>> + Send {
///     send(async move { bucket.ask("delete", &[key.into()]).await.map(drop) })
/// }
/// ```
pub fn send<F: Future>(future: F) -> worker::send::SendFuture<F> {
    worker::send::SendFuture::new(future)
}

/// Completes after this duration, by the runtime's own timer.
///
/// Fractions of a millisecond are cut off; at most 2^31 - 1 ms, about 24 days, as the runtime's `setTimeout` takes no more. Dropping the future clears the timer.
pub fn sleep(duration: std::time::Duration) -> impl Future<Output = ()> + Send {
    send(worker::Delay::from(duration))
}
