//! Requests with retries where those are safe.
//!
//! Whether a request may be sent twice is the caller's to say ([`Idempotency`](super::Idempotency)): after a timeout nobody knows
//! whether the first one was done. Where the server has certainly done nothing (no connection, 429, 503) any request may be
//! repeated. A body that cannot be made again is sent once.
//!
//! The order within [`Client::send`](super::Client::send): a permit, then the request, so that a signature is not older than the wait for
//! the permit; then the attempt, and the permit is given back before the wait, so that waiting requests do not block others. An unread
//! response is dropped before the wait, too, as it would hold its connection.

use std::sync::Arc;
use std::time::SystemTime;

use http::{Request, Response, StatusCode};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::retry::retry_after;
use super::{Body, Retry, SystemTiming, Timing, Transport, TransportError, TransportErrorKind};

/// Whether a request may be sent twice.
///
/// | outcome of an attempt | [`Idempotent`](Self::Idempotent) | [`Once`](Self::Once) |
/// |---|---|---|
/// | no connection ([`Connect`](TransportErrorKind::Connect)) | retried | retried |
/// | 429, 503 | retried | retried |
/// | 408, 500, 502, 504, 520 to 530 (an origin that did not answer Cloudflare) | retried | returned |
/// | [`Timeout`](TransportErrorKind::Timeout), [`Broken`](TransportErrorKind::Broken) | retried | returned |
/// | any other status; [`Body`](TransportErrorKind::Body), [`Request`](TransportErrorKind::Request) | returned | returned |
///
/// GET, PUT of a whole object and DELETE are idempotent; an SQL statement that inserts is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idempotency {
    /// Sending it twice has the effect of sending it once: retried after every retryable failure.
    Idempotent,
    /// Sending it twice may have another effect: retried only where the server has certainly done nothing: no connection, or a
    /// refusal because of too many requests (429, 503).
    Once,
}

/// Sends requests through a transport and retries them by [`Retry`] and their [`Idempotency`]. Cheap to clone.
///
/// ```no_run
/// use http::Request;
/// use isobar_cloudflare::client::{Body, Client, HttpTransport, Idempotency, Retry};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let client = Client::new(HttpTransport::new()?).with_concurrency(8).with_retry(Retry::default().with_attempts(3));
/// // Called for each attempt, so that each can be signed anew.
/// let request = || Request::get("https://example.com/").body(Body::empty()).ok();
/// let response = client.send(Idempotency::Idempotent, request).await?;
/// println!("{} with {} bytes", response.status(), response.into_body().bytes(1 << 20).await?.len());
/// # Ok(()) }
/// ```
///
/// Waits need tokio's timer unless [`with_timing`](Self::with_timing) replaces it. Dropping the future of [`send`](Self::send) cancels the
/// attempt or the wait in flight; whether the server has done the request is then unknown, as after a timeout.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    retry: Retry,
    timing: Arc<dyn Timing>,
    /// A permit for each request in flight.
    permits: Arc<Semaphore>,
}

/// Default number of concurrent requests.
const CONCURRENCY: usize = 64;

impl Client {
    /// Creates a client over a transport, with the default [`Retry`] and 64 concurrent requests.
    ///
    /// The clock and randomness are [`SystemTiming`]'s.
    pub fn new(transport: impl Transport + 'static) -> Self {
        let permits = Arc::new(Semaphore::new(CONCURRENCY));
        Self { transport: Arc::new(transport), retry: Retry::default(), timing: Arc::new(SystemTiming), permits }
    }

    /// Sets the number of concurrent requests, at least 1. Further requests wait, and timeouts do not count meanwhile. A request
    /// counts until the head of its response arrives, so reading the body slowly does not block others. A request whose own body
    /// comes from a request of the same client needs two. Clones share the limit. Default: 64.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    ///
    /// use http::{Request, Response};
    /// use isobar_cloudflare::client::{Body, Client, Idempotency, Transport, TransportError};
    ///
    /// /// Notes how many requests it has had at once.
    /// #[derive(Debug, Clone, Default)]
    /// struct Crowd {
    ///     now: Arc<AtomicUsize>,
    ///     most: Arc<AtomicUsize>,
    /// }
    ///
    /// #[async_trait::async_trait]
    /// impl Transport for Crowd {
    ///     async fn send(&self, _: Request<Body>) -> Result<Response<Body>, TransportError> {
    ///         let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
    ///         self.most.fetch_max(now, Ordering::Relaxed);
    ///         tokio::task::yield_now().await;
    ///         self.now.fetch_sub(1, Ordering::Relaxed);
    ///         Ok(Response::new(Body::empty()))
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let crowd = Crowd::default();
    /// let client = Client::new(crowd.clone()).with_concurrency(2);
    /// let send = || client.send(Idempotency::Once, || Some(Request::new(Body::empty())));
    /// futures_util::future::join_all((0..10).map(|_| send())).await;
    /// assert_eq!(crowd.most.load(Ordering::Relaxed), 2);
    /// # }
    /// ```
    #[must_use]
    pub fn with_concurrency(mut self, requests: usize) -> Self {
        self.permits = Arc::new(Semaphore::new(requests.clamp(1, Semaphore::MAX_PERMITS)));
        self
    }

    /// Sets the retry policy.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Sets the clock and the source of randomness.
    ///
    /// ```
    /// use std::pin::Pin;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use std::time::Duration;
    ///
    /// use http::{Request, Response};
    /// use isobar_cloudflare::client::{Body, Client, Idempotency, Timing, Transport, TransportError};
    ///
    /// /// Refuses two requests and answers the third.
    /// #[derive(Debug, Default)]
    /// struct Busy(AtomicU32);
    ///
    /// #[async_trait::async_trait]
    /// impl Transport for Busy {
    ///     async fn send(&self, _: Request<Body>) -> Result<Response<Body>, TransportError> {
    ///         let status = if self.0.fetch_add(1, Ordering::Relaxed) < 2 { 503 } else { 200 };
    ///         Ok(Response::builder().status(status).body(Body::empty()).expect("the head is valid"))
    ///     }
    /// }
    ///
    /// /// Waits for nothing.
    /// #[derive(Debug)]
    /// struct AtOnce;
    ///
    /// impl Timing for AtOnce {
    ///     fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    ///         Box::pin(std::future::ready(()))
    ///     }
    ///     fn chance(&self) -> f64 {
    ///         1.0
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), TransportError> {
    /// let client = Client::new(Busy::default()).with_timing(AtOnce);
    /// let response = client.send(Idempotency::Once, || Some(Request::new(Body::empty()))).await?;
    /// assert_eq!(response.status(), 200);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_timing(mut self, timing: impl Timing + 'static) -> Self {
        self.timing = Arc::new(timing);
        self
    }

    /// Sends the request that `request` creates. It is called for each attempt, as signatures expire, and returns `None` where
    /// there can be no further attempt, as a streamed body is consumed.
    ///
    /// Returns the last response, whatever its status.
    ///
    /// A request with a body that cannot be made again is sent once: `request` hands the body out by `take`, and has none for a second attempt.
    ///
    /// ```no_run
    /// use http::Request;
    /// use isobar_cloudflare::client::{Body, Client, Idempotency, TransportError};
    ///
    /// async fn upload(client: &Client, body: Body) -> Result<u16, TransportError> {
    ///     let mut body = Some(body);
    ///     let request = || Request::put("https://example.com/a").body(body.take()?).ok();
    ///     Ok(client.send(Idempotency::Idempotent, request).await?.status().as_u16())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`TransportError`] where the last attempt had no response.
    pub async fn send(
        &self,
        idempotency: Idempotency,
        mut request: impl FnMut() -> Option<Request<Body>> + Send,
    ) -> Result<Response<Body>, TransportError> {
        let gone = || TransportError::new(TransportErrorKind::Request, "there is no request to send");
        // Create the request after the wait for a permit.
        let mut permit = self.permit().await;
        let mut next = request().ok_or_else(gone)?;
        let mut attempt = 1;
        loop {
            let result = self.transport.send(next).await;
            drop(permit);
            let asked = result.as_ref().ok().and_then(|answer| retry_after(answer.headers(), SystemTime::now()));
            if !may_pass(idempotency, &result) {
                return result;
            }
            let Some(wait) = self.retry.delay(attempt, asked, self.timing.chance()) else { return result };
            let Some(again) = request() else { return result };
            drop(result); // an unread response would hold its connection during the wait
            self.timing.sleep(wait).await;
            permit = self.permit().await;
            next = again;
            attempt += 1;
        }
    }

    async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        self.permits.acquire().await.ok() // the semaphore is never closed
    }
}

/// Whether a retry may succeed and is safe.
fn may_pass(idempotency: Idempotency, result: &Result<Response<Body>, TransportError>) -> bool {
    let (refused, failed) = match result {
        Ok(answer) => {
            let status = answer.status();
            let refused = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            // 520 to 530: Cloudflare's codes for an origin that did not answer.
            (refused, matches!(status.as_u16(), 408 | 500 | 502 | 504 | 520..=530))
        }
        Err(error) => {
            let kind = error.kind();
            let broken = matches!(kind, TransportErrorKind::Timeout | TransportErrorKind::Broken);
            (kind == TransportErrorKind::Connect, broken)
        }
    };
    refused || (failed && idempotency == Idempotency::Idempotent)
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::time::Duration;

    use async_trait::async_trait;

    use super::*;

    type Scripted = Result<(u16, Option<&'static str>), TransportErrorKind>;

    /// Answers from a script and counts the requests.
    #[derive(Debug, Default, Clone)]
    struct Script {
        answers: Arc<Mutex<Vec<Scripted>>>,
        waits: Arc<Mutex<Vec<Duration>>>,
    }

    #[async_trait]
    impl Transport for Script {
        async fn send(&self, _: Request<Body>) -> Result<Response<Body>, TransportError> {
            match self.answers.lock().expect("the lock is not poisoned").remove(0) {
                Ok((status, after)) => {
                    let mut answer = Response::builder().status(status);
                    if let Some(after) = after {
                        answer = answer.header("retry-after", after);
                    }
                    Ok(answer.body(Body::empty()).expect("the head is valid"))
                }
                Err(kind) => Err(TransportError::new(kind, "scripted")),
            }
        }
    }

    impl Timing for Script {
        fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            self.waits.lock().expect("the lock is not poisoned").push(duration);
            Box::pin(std::future::ready(()))
        }
        fn chance(&self) -> f64 {
            1.0
        }
    }

    type Answer = Result<(u16, Option<&'static str>), TransportErrorKind>;

    /// Returns the last status (0 for an error) and the waits in milliseconds.
    async fn run(idempotency: Idempotency, answers: &[Answer]) -> (u16, Vec<u128>) {
        let script = Script::default();
        script.answers.lock().expect("the lock is not poisoned").extend_from_slice(answers);
        let client =
            Client::new(script.clone()).with_timing(script.clone()).with_retry(Retry::default().with_attempts(3));
        let answer = client.send(idempotency, || Some(Request::new(Body::empty()))).await;
        let waits = script.waits.lock().expect("the lock is not poisoned").iter().map(Duration::as_millis).collect();
        (answer.map_or(0, |answer| answer.status().as_u16()), waits)
    }

    #[tokio::test]
    async fn only_retryable_failures_are_retried() {
        use Idempotency::{Idempotent, Once};
        use TransportErrorKind::{Broken, Connect};
        assert_eq!(run(Idempotent, &[Ok((500, None)), Err(Broken), Ok((200, None))]).await, (200, vec![100, 200]));
        assert_eq!(run(Idempotent, &[Ok((502, None)), Ok((504, None)), Ok((500, None))]).await, (500, vec![100, 200]));
        assert_eq!(run(Idempotent, &[Ok((404, None))]).await, (404, vec![]));
        assert_eq!(run(Once, &[Ok((500, None))]).await, (500, vec![]));
        assert_eq!(run(Once, &[Err(Broken)]).await, (0, vec![]));
        assert_eq!(run(Once, &[Err(Connect), Ok((503, None)), Ok((200, None))]).await, (200, vec![100, 200]));
        assert_eq!(run(Once, &[Ok((429, Some("2"))), Ok((200, None))]).await, (200, vec![2100]));
        assert_eq!(run(Idempotent, &[Ok((429, Some("3600")))]).await, (429, vec![]));
    }

    /// Counts concurrent requests.
    #[derive(Debug, Default, Clone)]
    struct Crowd {
        here: Arc<Mutex<(usize, usize)>>,
    }

    #[async_trait]
    impl Transport for Crowd {
        async fn send(&self, _: Request<Body>) -> Result<Response<Body>, TransportError> {
            {
                let mut here = self.here.lock().expect("the lock is not poisoned");
                here.0 += 1;
                here.1 = here.1.max(here.0);
            }
            tokio::task::yield_now().await;
            self.here.lock().expect("the lock is not poisoned").0 -= 1;
            Ok(Response::new(Body::empty()))
        }
    }

    #[tokio::test]
    async fn concurrent_requests_are_limited() {
        let crowd = Crowd::default();
        let client = Client::new(crowd.clone()).with_concurrency(3);
        let send = || client.send(Idempotency::Once, || Some(Request::new(Body::empty())));
        // Each keeps its response, which must not block the others.
        let answers = futures_util::future::join_all((0..20).map(|_| send())).await;
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(crowd.here.lock().expect("the lock is not poisoned").1, 3);
    }

    #[tokio::test]
    async fn consumed_body_is_not_sent_again() {
        let script = Script::default();
        script.answers.lock().expect("the lock is not poisoned").extend([Ok((503, None)), Ok((200, None))]);
        let mut body = Some(Body::empty());
        let answer = Client::new(script.clone())
            .with_timing(script)
            .send(Idempotency::Idempotent, || body.take().map(Request::new))
            .await
            .expect("there is a response");
        assert_eq!(answer.status(), 503);
    }
}
