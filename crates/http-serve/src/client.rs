//! The client for requests to other services, of the server that this is built for.

use std::sync::Arc;

use isobar_api::{HttpClient, HttpClientError};

/// Returns a client for requests to other services: over a pool of connections natively, by `fetch` inside Workers. A response has at
/// most 1 MiB and must come within 10 s.
///
/// ```no_run
/// # async fn example() -> Result<(), isobar_api::HttpClientError> {
/// use bytes::Bytes;
/// use isobar_http_serve::http_client;
///
/// let client = http_client()?;
/// let request = http::Request::get("https://example.com/status").body(Bytes::new()).expect("the URL is valid");
/// println!("{}", client.send(request).await?.status());
/// # Ok(()) }
/// ```
///
/// A request that fails is not repeated: only the caller knows whether that is safe. Natively each call
/// makes a pool of connections, so call it once and clone the client.
///
/// # Errors
/// When the system's certificates cannot be used, or the crate is built for neither server.
pub fn http_client() -> Result<Arc<dyn HttpClient>, HttpClientError> {
    #[cfg(all(feature = "native", not(target_arch = "wasm32")))]
    return Ok(Arc::new(crate::native::Client::new()?));
    #[cfg(all(feature = "workers", target_arch = "wasm32"))]
    return Ok(Arc::new(crate::workers::Client));
    #[cfg(not(any(
        all(feature = "native", not(target_arch = "wasm32")),
        all(feature = "workers", target_arch = "wasm32")
    )))]
    Err(HttpClientError::new("nothing sends requests here: the features `native` and `workers` have it"))
}
