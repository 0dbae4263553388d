//! Requests to other services, natively.
//!
//! The transport is that of `isobar-cloudflare`, the one HTTP client of the tree: its pool, its
//! certificates and its limits. What is added here is one time for the whole exchange, and a bound on
//! the answer, since both come from a server that somebody else runs.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use isobar_api::{HttpClient, HttpClientError};
use isobar_cloudflare::client::{Body, HttpTransport, Transport};

const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_BYTES: usize = 1024 * 1024;

/// Sends requests over HTTP/1.1 and HTTP/2 with a pool of connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client(HttpTransport);

impl Client {
    /// Returns a client with a pool of its own.
    ///
    /// # Errors
    /// When the system's certificates cannot be used.
    pub fn new() -> Result<Self, HttpClientError> {
        HttpTransport::new().map(Self).map_err(|error| HttpClientError::new(error.to_string()))
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpClientError> {
        let exchange = async {
            let answer = self.0.send(request.map(Body::from)).await;
            let (parts, body) = answer.map_err(|error| HttpClientError::new(error.to_string()))?.into_parts();
            let bytes = body.bytes(ANSWER_BYTES).await.map_err(|error| HttpClientError::new(error.to_string()))?;
            Ok(Response::from_parts(parts, bytes))
        };
        let late = || HttpClientError::new(format!("no answer within {} s", PATIENCE.as_secs()));
        tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| late())?
    }
}
