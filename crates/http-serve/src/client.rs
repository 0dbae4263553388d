//! The client for requests to other services, of the server that this is built for.

use std::sync::Arc;

use isobar_api::{HttpClient, HttpClientError};

/// Sends requests to other services: over a pool of connections natively, by `fetch` inside Workers.
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
