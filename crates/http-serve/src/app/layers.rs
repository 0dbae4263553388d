//! The layers around an application's routes that are its own.

use std::any::Any;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use isobar_api::Problem;
use isobar_site::{FromSite, Site, WorkerFirst};

use crate::readiness::is_health;
use crate::response::unsniffed;

/// A page of another site must not make a visitor's browser write here (RFC 9110 9.2.1 names the safe methods).
pub(super) async fn refuse_cross_site(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let cross = request.headers().get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    if cross && !request.method().is_safe() {
        let detail = "this request comes from another site";
        return Problem::new(StatusCode::FORBIDDEN).with_detail(detail).into_response();
    }
    next.run(request).await
}

/// Adds `nosniff` to the responses of routes; those of the site follow its own rules.
///
/// The site is told by an extension of the response, which [`FromSite`] is: a path does not tell, as
/// routes and files share them.
pub(super) async fn no_sniffing(response: Response) -> Response {
    if response.extensions().get::<FromSite>().is_some() { response } else { unsniffed(response) }
}

/// Lets the site answer its requests.
///
/// Where the store fails, the site is let answer: it says so, and a route behind it would only hide
/// that.
pub(super) async fn site_first(
    State(both): State<Arc<(Site, WorkerFirst)>>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    let (site, worker_first) = &*both;
    if is_health(request.uri().path()) {
        return next.run(request).await;
    }
    // Only the head is looked at, and may be held on to.
    let (parts, body) = request.into_parts();
    let head = http::Request::from_parts(parts, ());
    // The site itself answers a store's failure.
    let should_serve = site.should_serve(&head, worker_first).await.unwrap_or(true);
    if should_serve {
        return site.respond(&head).await.map(axum::body::Body::new);
    }
    next.run(head.map(|()| body)).await
}

/// Answers a panic with 500, and logs its text. The connection and the process go on; what the handler
/// had locked may be poisoned.
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(panic = text, "a handler panicked");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR).with_detail("the handler failed").into_response()
}
