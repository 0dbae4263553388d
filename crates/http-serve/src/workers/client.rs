//! Requests to other services, from inside a Worker: the global `fetch`.
//!
//! As natively, an exchange has 10 s and an answer 1 MiB. The runtime gives no timeout for `fetch`: a
//! timer races it, and the loser is dropped.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use isobar_api::{HttpClient, HttpClientError};
use isobar_cloudflare::binding::{JsError, Object, request_to_js, response_from_js, send, sleep};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
const ANSWER_BYTES: usize = 1024 * 1024;

/// Sends requests by the runtime's `fetch`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Client;

#[async_trait]
impl HttpClient for Client {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpClientError> {
        let late = || HttpClientError::new(format!("no answer within {} s", PATIENCE.as_secs()));
        let exchange = send(exchange(request));
        let patience = sleep(PATIENCE);
        futures_util::pin_mut!(exchange, patience);
        match futures_util::future::select(exchange, patience).await {
            futures_util::future::Either::Left((answer, _)) => answer,
            futures_util::future::Either::Right(_) => Err(late()),
        }
    }
}

/// Sends a request, and reads the answer up to its limit.
async fn exchange(request: Request<Bytes>) -> Result<Response<Bytes>, HttpClientError> {
    let failed = |error: JsError| HttpClientError::new(error.to_string());
    let url = request.uri().to_string();
    let request = request_to_js(&url, request.map(Full::new)).await.map_err(failed)?;
    let answer = Object::global().ask("fetch", &[request.into()]).await.map_err(failed)?;
    let (parts, body) = response_from_js(&Object::from(answer)).map_err(failed)?.into_parts();
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk.map_err(failed)?);
        if bytes.len() > ANSWER_BYTES {
            return Err(HttpClientError::new("the answer has more than a MiB"));
        }
    }
    Ok(Response::from_parts(parts, bytes.into()))
}
