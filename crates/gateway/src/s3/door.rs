//! The door: a service that speaks S3.
//!
//! The way of a request: [`guard`](super::guard) looks at the head, and finds the access key that it names;
//! [`session`](super::session) is made for this key and this request alone; s3s verifies the signature and reads the operation;
//! [`screen`](super::screen) refuses what R2 does not have; the operation's handler gets a store from the session, which checks
//! the key's scope. No handler can reach a store in another way. [`cors`](super::cors) answers preflight requests, which are not signed,
//! by the bucket's rules alone, and adds their headers to every other response.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
#[cfg(feature = "keys")]
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use chrono::Utc;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use s3s::config::{S3Config, S3ConfigProvider, StaticConfigProvider};
use s3s::service::S3ServiceBuilder;
use s3s::validation::NameValidation;
use s3s::{S3Error, S3Result};

use super::body::S3Body;
use super::cors::{self, CorsRequest};
use super::error::refusal;
use super::guard;
use super::screen::Screen;
use super::session::{OneKey, Session, unauthorized};
#[cfg(feature = "keys")]
use super::watch::Watch;
use crate::catalog::BucketCatalog;
use crate::keys::{AccessKey, AccessKeys};
#[cfg(feature = "keys")]
use crate::keys::{Audit, FailedAttempts};

/// Largest XML document of a request in bytes: 1,000 keys of 1,024 bytes, each byte escaped.
const XML_BYTES: usize = 8 << 20;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A door that speaks S3: a service of tower's over the buckets of a catalog. Cheap to clone; clones share it.
///
/// A request is answered if it is signed (Signature Version 4, by headers or by a presigned URL) with an access key that is good now,
/// and if the key's scope allows it. It stands at the root of an origin of its own: a bucket is the first segment of the path, and may
/// have any name.
///
/// See the [module](super) for what differs from R2.
///
/// ```
/// use std::sync::Arc;
///
/// use isobar_gateway::catalog::FixedBuckets;
/// use isobar_gateway::keys::{AccessKey, BucketScope, StaticKeys};
/// use isobar_gateway::s3::S3Door;
/// use isobar_storage::memory::MemoryStore;
///
/// let buckets = FixedBuckets::new().with_bucket("photos", Arc::new(MemoryStore::new()));
/// let keys = StaticKeys::new([AccessKey::new("ci", "a long secret", BucketScope::read_write())]);
/// let door = S3Door::new(Arc::new(buckets), Arc::new(keys));
/// // axum's `Router::fallback_service(door)`, or isobar-server's `FromTower::new(door)`.
/// # drop(door);
/// ```
#[derive(Clone)]
pub struct S3Door {
    buckets: Arc<dyn BucketCatalog>,
    keys: Arc<dyn AccessKeys>,
    config: Arc<dyn S3ConfigProvider>,
    #[cfg(feature = "keys")]
    watch: Watch,
}

impl S3Door {
    /// Returns a door to these buckets, for these keys.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::Arc;
    ///
    /// use axum::body::Body;
    /// use http::Request;
    /// use isobar_gateway::catalog::FixedBuckets;
    /// use isobar_gateway::keys::StaticKeys;
    /// use isobar_gateway::s3::S3Door;
    /// use tower::ServiceExt;
    ///
    /// let door = S3Door::new(Arc::new(FixedBuckets::new()), Arc::new(StaticKeys::default()));
    /// // A request that is not signed is refused before anything is read.
    /// let answer = door.oneshot(Request::get("/photos/sunrise.jpg").body(Body::empty())?).await?;
    /// assert_eq!(answer.status(), 400);
    /// assert!(answer.headers().contains_key("x-amz-request-id"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn new(buckets: Arc<dyn BucketCatalog>, keys: Arc<dyn AccessKeys>) -> Self {
        let mut config = S3Config::default();
        config.xml_max_body_size = XML_BYTES;
        Self {
            buckets,
            keys,
            config: Arc::new(StaticConfigProvider::new(Arc::new(config))),
            #[cfg(feature = "keys")]
            watch: Watch::default(),
        }
    }

    /// Reports each request that is refused: with 401 or 403, for its form where it names no key, of an address with too many failed
    /// attempts, and a DeleteObjects for the objects that the key may not delete. Default: none is reported.
    #[cfg(feature = "keys")]
    #[must_use]
    pub fn with_audit(mut self, audit: Audit) -> Self {
        self.watch.audit = Some(audit);
        self
    }

    /// Sets the limit on failed attempts, which doors may share. Default: none.
    ///
    /// An address with too many of them is answered by `SlowDown` (503), but to preflight requests, and for keys with which it has signed
    /// well before; unknown keys and wrong signatures are failed attempts. The server that runs the door puts
    /// [`ClientInfo`](crate::ClientInfo) among the extensions of requests; without one there is no limit.
    #[cfg(feature = "keys")]
    #[must_use]
    pub fn with_attempts(mut self, attempts: Arc<FailedAttempts>) -> Self {
        self.watch.attempts = Some(attempts);
        self
    }

    /// Answers a request, and lets scripts read the response where the bucket's CORS rules say so, an error as well.
    ///
    /// A client that waits for `100 Continue` and gets a response in its place, as to an empty body or an error, gets the end of the
    /// connection with it: botocore 1.43, of which awscli 1.46 has a copy, loses the headers of the next response on such a connection.
    async fn respond<B>(self, request: Request<B>) -> Response<S3Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let expects = request.version() < http::Version::HTTP_2 && request.headers().contains_key(header::EXPECT);
        let is_empty = request.body().is_end_stream();
        let (head, body) = request.into_parts();
        if head.method == http::Method::OPTIONS {
            return self.preflight(&head).await;
        }
        let cors = CorsRequest::of(&head);
        let buckets = Arc::clone(&self.buckets);
        let mut response = self.respond_signed(head, body).await;
        if expects && (is_empty || !response.status().is_success()) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(cors) = cors {
            cors.allow(&*buckets, &mut response).await;
        }
        response
    }

    /// Answers a preflight request, which is not signed. One of a blocked address, too: it guesses at no key, and the request behind it may
    /// be of a key that the address has used before.
    async fn preflight(&self, head: &http::request::Parts) -> Response<S3Body> {
        let mut response = match cors::preflight(&*self.buckets, head).await {
            Ok(headers) => {
                let mut response = Response::new(s3s::Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                *response.headers_mut() = headers;
                response
            }
            Err(error) => of_error(error),
        };
        cors::vary_preflight(response.headers_mut());
        finish(response, false).await
    }

    /// Answers a request that has to be signed, by the steps of the module. A key is looked up before the
    /// signature is verified, since its secret is needed for that.
    async fn respond_signed<B>(self, head: http::request::Parts, body: B) -> Response<S3Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let is_head = head.method == http::Method::HEAD;
        let id = guard::access_key_id(&head, Utc::now());
        #[cfg(feature = "keys")]
        let seen = Watch::see(&head, id.as_ref().ok().cloned());
        #[cfg(feature = "keys")]
        if let Some(blocked) = self.watch.blocked(&seen) {
            let response = of_error(blocked);
            self.watch.report(&seen, &response);
            return finish(response, is_head).await;
        }
        let key = match id {
            Ok(id) => self.key(&id).await,
            Err(error) => Err(error),
        };
        let is_verified = Arc::new(AtomicBool::new(false));
        let response = match key {
            Ok(key) => {
                let body = s3s::Body::http_body_unsync(body.map_err(Into::into));
                self.operate(key, Request::from_parts(head, body), &is_verified).await
            }
            Err(error) => of_error(error),
        };
        #[cfg(feature = "keys")]
        if is_verified.load(Ordering::Relaxed) {
            self.watch.remember(&seen);
        }
        #[cfg(feature = "keys")]
        self.watch.note(&seen, &response);
        finish(response, is_head).await
    }

    /// Returns the key of this id, if it is good now.
    async fn key(&self, id: &str) -> S3Result<AccessKey> {
        let found = self.keys.find(id).await.map_err(|error| {
            tracing::error!(target: "isobar_gateway", %error, "the store of keys has failed");
            refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "Access keys cannot be read now; try again")
        })?;
        found.filter(|key| !key.is_expired(Utc::now())).ok_or_else(unauthorized)
    }

    /// Has s3s verify and read the request, and call the operation of a session that is made for this
    /// key alone.
    async fn operate(
        &self,
        key: AccessKey,
        request: Request<s3s::Body>,
        is_verified: &Arc<AtomicBool>,
    ) -> Response<s3s::Body> {
        let mut builder = S3ServiceBuilder::new(Session { buckets: Arc::clone(&self.buckets), key: key.clone() });
        builder.set_auth(OneKey(key));
        builder.set_access(Screen { keys: Arc::clone(&self.keys), is_verified: Arc::clone(is_verified) });
        builder.set_validation(AnyName);
        builder.set_config(Arc::clone(&self.config));
        builder.build().call(request).await.unwrap_or_else(|error| {
            tracing::error!(target: "isobar_gateway", ?error, "a response of S3's cannot be written");
            of_error(refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalError",
                "The server has failed; its log says why",
            ))
        })
    }
}

impl fmt::Debug for S3Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("S3Door");
        shown.field("buckets", &self.buckets).field("keys", &self.keys);
        #[cfg(feature = "keys")]
        shown.field("watch", &self.watch);
        shown.finish_non_exhaustive()
    }
}

impl<B> tower_service::Service<Request<B>> for S3Door
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<S3Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let door = self.clone();
        Box::pin(async move { Ok(door.respond(request).await) })
    }
}

/// Any name of a bucket: the catalog knows which there are.
struct AnyName;

impl NameValidation for AnyName {
    fn validate_bucket_name(&self, name: &str) -> bool {
        !name.is_empty()
    }
}

/// The response of an error.
fn of_error(error: S3Error) -> Response<s3s::Body> {
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = Response::new(s3s::Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// Sets what every response has, and mends what s3s writes otherwise than HTTP and XML have it.
async fn finish(response: Response<s3s::Body>, is_head: bool) -> Response<S3Body> {
    let (mut head, body) = response.into_parts();
    if let Ok(id) = isobar_base::random::hex_id()
        && let Ok(id) = HeaderValue::try_from(id)
    {
        head.headers.insert("x-amz-request-id", id);
    }
    // s3s answers every HeadObject by 200, that of a part, too.
    if is_head && head.status == StatusCode::OK && head.headers.contains_key(header::CONTENT_RANGE) {
        head.status = StatusCode::PARTIAL_CONTENT;
    }
    if is_head || head.status == StatusCode::NOT_MODIFIED {
        if head.status.is_client_error() || head.status.is_server_error() || head.status == StatusCode::NOT_MODIFIED {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        return Response::from_parts(head, S3Body::default());
    }
    let is_xml =
        head.headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/xml"));
    let whole = if is_xml { body.bytes() } else { None };
    let body = match whole.as_deref().and_then(escape_controls) {
        Some(escaped) => {
            head.headers.remove(header::CONTENT_LENGTH);
            S3Body::from(escaped)
        }
        None => S3Body::new(body),
    };
    Response::from_parts(head, body)
}

/// Writes the control characters of keys in a document as references, as S3 does: unescaped, a carriage return would be read as a line
/// feed, and others would end the reading. Returns `None` where there are none.
fn escape_controls(xml: &[u8]) -> Option<Bytes> {
    let is_control = |byte: u8| byte < 0x20 && !matches!(byte, b'\t' | b'\n');
    if !xml.iter().any(|byte| is_control(*byte)) {
        return None;
    }
    let mut escaped = Vec::with_capacity(xml.len() + 64);
    for byte in xml {
        if is_control(*byte) {
            escaped.extend_from_slice(format!("&#{byte};").as_bytes());
        } else {
            escaped.push(*byte);
        }
    }
    Some(escaped.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escape_controls(b"<Key>a\tb</Key>\n"), None);
        assert_eq!(escape_controls(b"a\rb\x01").as_deref(), Some(&b"a&#13;b&#1;"[..]));
    }
}
