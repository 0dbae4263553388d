//! The requests of a connection that hyper reads.
//!
//! In this order: one valid host; the client, by trusted proxies' headers, which are removed; a response in memory; the application, on
//! the runtime that serves. The last is given up with the connection.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::{Body, Incoming};
use tokio::task::JoinHandle;

use crate::application::{Application, REQUEST_ID, Refusal, RequestInfo};
use crate::body::{Account, BodyAccount, RequestBody};
use crate::host;
use crate::proxy::Peer;
use crate::shared::Shared;

/// Answers the requests of a connection.
pub(crate) struct Requests<A> {
    shared: Arc<Shared<A>>,
    peer: Peer,
}

impl<A> Requests<A> {
    pub(crate) fn new(shared: Arc<Shared<A>>, peer: Peer) -> Self {
        Self { shared, peer }
    }
}

impl<A: Application> hyper::service::Service<Request<Incoming>> for Requests<A> {
    type Response = Response<A::Body>;
    type Error = Infallible;
    type Future = Answer<A::Body>;

    fn call(&self, mut request: Request<Incoming>) -> Answer<A::Body> {
        let shared = &self.shared;
        let application = &shared.application;
        if let Err(reason) = host::check(&mut request) {
            return Answer::ready(closing(application.refuse(&Refusal::InvalidHost(reason), None)), None);
        }
        let proxies = &shared.options.trusted_proxies;
        let client = proxies.client(self.peer, request.headers_mut());
        if let Some(name) = application.proxy_header().filter(|_| !proxies.is_empty())
            && !self.peer.is_trusted
        {
            request.headers_mut().remove(name);
        }
        let hsts = application.hsts().filter(|_| client.is_https).cloned();
        // What is in memory is answered here, the rest where the application runs.
        if let Some(answer) = application.respond_at_once(&request) {
            return Answer::ready(answer, hsts);
        }
        // Through a trusted proxy that names no client come the bodies of many.
        let counted = client.address.filter(|address| !proxies.contains(*address));
        let account = (!request.body().is_end_stream()).then(|| Account::new(&shared.budget, counted));
        let info = RequestInfo::new(client.address, client.is_https, account.clone().map(BodyAccount::new));
        let request = request.map(|body| RequestBody::new(body, account.as_ref(), &shared.options));
        let responding = respond(Arc::clone(shared), request, info, account);
        Answer { kind: AnswerKind::Routed(Routed(shared.routes.spawn(responding))), hsts }
    }
}

/// Has the application respond; the server itself does where that takes too long, or where the body is given up.
async fn respond<A: Application>(
    shared: Arc<Shared<A>>,
    request: Request<RequestBody>,
    info: RequestInfo,
    account: Option<Arc<Account>>,
) -> Response<A::Body> {
    let application = &shared.application;
    let response = match shared.options.request_timeout {
        None => application.respond(request, info).await,
        Some(limit) => {
            let id = request.headers().get(REQUEST_ID).cloned();
            let in_time = tokio::time::timeout(limit, application.respond(request, info)).await;
            in_time.unwrap_or_else(|_| application.refuse(&Refusal::TimedOut(limit), id))
        }
    };
    match account.and_then(|account| account.failure(response.status())) {
        Some(reason) => {
            let id = response.headers().get(REQUEST_ID).cloned();
            closing(application.refuse(&Refusal::Body(reason), id))
        }
        None => response,
    }
}

/// The last response of its connection. Bytes behind the request are not read: they may belong to another one.
fn closing<B>(mut response: Response<B>) -> Response<B> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The response where the runtime of the application has ended.
fn broken_off<B: From<Bytes>>() -> Response<B> {
    let mut response = Response::new(Bytes::new().into());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

/// A response, and what it is given because of its connection.
pub(crate) struct Answer<B> {
    kind: AnswerKind<B>,
    /// `Strict-Transport-Security`, where the client came by `https`.
    hsts: Option<HeaderValue>,
}

/// A response, in memory or to come.
enum AnswerKind<B> {
    Ready(Option<Response<B>>),
    Routed(Routed<B>),
}

impl<B> Answer<B> {
    fn ready(answer: Response<B>, hsts: Option<HeaderValue>) -> Self {
        Self { kind: AnswerKind::Ready(Some(answer)), hsts }
    }
}

/// A request that the application has; given up with the connection that waits for it.
struct Routed<B>(JoinHandle<Response<B>>);

impl<B> Drop for Routed<B> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Nothing of it is pinned in place.
impl<B> Unpin for Answer<B> {}

impl<B: From<Bytes>> Future for Answer<B> {
    type Output = Result<Response<B>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { kind, hsts } = self.get_mut();
        let mut answer = match kind {
            AnswerKind::Ready(answer) => answer.take().unwrap_or_else(broken_off),
            AnswerKind::Routed(routed) => match ready!(Pin::new(&mut routed.0).poll(cx)) {
                Ok(mut answer) => {
                    // axum's router says 0 of a body that a 304 does not have (RFC 9110 8.6: the length would be the 200's).
                    if answer.status() == StatusCode::NOT_MODIFIED {
                        answer.headers_mut().remove(header::CONTENT_LENGTH);
                    }
                    answer
                }
                // The application has panicked, or its runtime ends.
                Err(_) => broken_off(),
            },
        };
        if let Some(hsts) = hsts.take() {
            secure(answer.headers_mut(), hsts);
        }
        Poll::Ready(Ok(answer))
    }
}

/// Tells browsers to come by `https` only (RFC 6797); what the application says itself stands.
fn secure(headers: &mut HeaderMap, hsts: HeaderValue) {
    headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(hsts);
}
