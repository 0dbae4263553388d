//! Requests to other services, independent of the HTTP client.

use std::fmt::{self, Debug};

use async_trait::async_trait;
use bytes::Bytes;

/// Sends requests to other services. `isobar_http_serve::http_client` is the implementation for each target.
///
/// An implementation follows no redirects, times out after some seconds, and refuses answers of more than 1 MiB.
///
/// ```
/// use bytes::Bytes;
/// use isobar_api::{HttpClient, HttpClientError};
///
/// /// Answers every request alike, for a test.
/// #[derive(Debug)]
/// struct Always(&'static str);
///
/// #[async_trait::async_trait]
/// impl HttpClient for Always {
///     async fn send(&self, _: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpClientError> {
///         Ok(http::Response::new(Bytes::from_static(self.0.as_bytes())))
///     }
/// }
/// ```
///
/// The API uses it for sign-in at providers ([`OAuth`](crate::auth::OAuth)): for their metadata, tokens and users. It passes
/// URLs with `https` only, but for those of this machine. Requests have no retry: an implementation sends each once, as a code
/// or a refresh token is often valid once.
#[async_trait]
pub trait HttpClient: Debug + Send + Sync {
    /// Sends a request with an absolute URI. A status of any class is an answer.
    ///
    /// # Errors
    /// When there is no answer within the time, or it is too long.
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpClientError>;
}

/// The reason why a request has no answer. Its text contains the host and the path of the request, and nothing else of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpClientError(String);

impl HttpClientError {
    /// An error with this text.
    ///
    /// The text is logged, and reaches operators: it should name host and path, and must not contain a query, a header or a
    /// body, which may hold tokens.
    ///
    /// ```
    /// let error = isobar_api::HttpClientError::new("id.example.com/token: no answer within 10 s");
    /// assert_eq!(error.to_string(), "id.example.com/token: no answer within 10 s");
    /// ```
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for HttpClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HttpClientError {}
