//! Requests to other services, independent of the HTTP client.

use std::fmt::{self, Debug};

use async_trait::async_trait;
use bytes::Bytes;

/// Sends requests to other services: `isobar_http_serve` has one for each server.
///
/// It follows no redirects, gives up after some seconds, and takes answers of at most a MiB.
#[async_trait]
pub trait HttpClient: Debug + Send + Sync {
    /// Sends a request with an absolute URI; a status of any kind is an answer.
    ///
    /// # Errors
    /// When no answer came, or it is too long.
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpClientError>;
}

/// The reason why there is no answer. Of the request it contains the host and the path alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpClientError(String);

impl HttpClientError {
    /// An error with this text.
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
