//! The same application inside Cloudflare Workers: bindings out of `env`, requests out of the `fetch` event, session objects
//! as Durable Object classes.
//!
//! ```ignore
//! use isobar_http_serve::workers::{Context, Env, Request, Response, ScheduleContext, ScheduledEvent, event};
//!
//! isobar_http_serve::session_class!(IamSession => IamSession, |_platform| ());
//!
//! #[event(fetch)]
//! async fn fetch(request: Request, env: Env, context: Context) -> worker::Result<Response> {
//!     isobar_http_serve::workers::serve(app, request, env, &context).await
//! }
//!
//! #[event(scheduled)]
//! async fn scheduled(event: ScheduledEvent, env: Env, _: ScheduleContext) {
//!     isobar_http_serve::workers::scheduled(app, event, env).await;
//! }
//! ```
//!
//! # The way of a request
//!
//! 1. The data centre's cache is asked, for plain `GET` without credentials (see `cache`). A hit does
//!    not reach the application.
//! 2. The bindings of `env` are recognised by their classes (see `env`), and the application is made on
//!    them: for each request, since the runtime ties bindings to the request that they came with.
//! 3. The request is converted without its body being read, and answered by the router.
//! 4. The response is converted; a WebSocket that a session object has accepted goes along as the
//!    runtime's own object.
//! 5. After the answer, within `waitUntil`: the cache is filled, e-mail is sent, datasets are flushed.
//!
//! Everything here type-checks on the host, so that `cargo clippy --all-features` sees it; it runs in
//! workerd alone, where the conformance Worker and the site's tests exercise it.

mod cache;
mod client;
mod env;
mod mail;
mod sql_api;

use std::fmt;

use axum::Router;
use axum::body::Body;
use isobar_api::Problem;
use isobar_cloudflare::binding::wasm_bindgen::{JsCast, JsValue};
use isobar_cloudflare::binding::worker::{self, web_sys};
use isobar_cloudflare::binding::{JsError, Object, request_from_js, response_to_js};
use isobar_sessions::cloudflare::socket_of;
use isobar_sessions::triggers::ScheduledHandler;
use isobar_site::CacheOptions;
use tower::ServiceExt;

pub use client::Client;
pub use isobar_cloudflare::binding::worker::{Context, Env, Request, Response, ScheduleContext, ScheduledEvent, event};
pub use mail::SendEmail;
pub use sql_api::SqlApi;

use crate::app::App;
use crate::observe::Country;
use crate::platform::{BindingError, Platform};

/// An application for [`serve`]: a router, or an [`App`].
pub struct Application {
    router: Router,
    cache: Option<CacheOptions>,
    hsts: Option<http::HeaderValue>,
    scheduled: Option<ScheduledHandler>,
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { router, cache, hsts, scheduled } = self;
        let mut debug = f.debug_struct("Application");
        debug.field("router", router).field("cache", cache).field("hsts", hsts);
        debug.field("is_scheduled", &scheduled.is_some()).finish()
    }
}

impl From<Router> for Application {
    fn from(router: Router) -> Self {
        Self { router, cache: None, hsts: None, scheduled: None }
    }
}

impl From<App> for Application {
    fn from(app: App) -> Self {
        let scheduled = app.scheduled.clone();
        Self { cache: app.cache.clone(), hsts: app.hsts.clone(), router: app.into_router(), scheduled }
    }
}

/// Internals of the expansion of [`session_class!`](crate::session_class); not a public API.
#[doc(hidden)]
pub mod __private {
    pub use isobar_cloudflare::binding::JsError;
    pub use isobar_sessions::durable_object;
}

/// Exports a session object as the Durable Object class of this name; the function makes the object's
/// [`Env`](isobar_sessions::SessionObject::Env) from the platform, as `session_class` does natively.
#[macro_export]
macro_rules! session_class {
    ($class:ident => $object:ty, $env:expr) => {
        $crate::workers::__private::durable_object!($class => $object, |env| {
            let platform = $crate::Platform::from_env(env.value())
                .map_err(|error| $crate::workers::__private::JsError::new(error.to_string()))?;
            let make: fn(&$crate::Platform) -> _ = $env;
            Ok(make(&platform))
        });
    };
}

/// Answers a request with the application on the bindings of `env`.
///
/// Bodies stream both ways. A WebSocket that a session object accepts goes to the client as it is, without passing through
/// here. What the application caches publicly is kept in the data centre's cache, and what its site answers is as
/// [`App::cache`] says; an answer out of it does not reach the application, so it is no event. Datasets are flushed after the
/// answer.
///
/// # Errors
/// The runtime's, where it refuses the answer. An invalid request or a missing binding is answered, and is not an error here.
///
/// ```ignore
/// use isobar_http_serve::workers::{Context, Env, Request, Response, event, serve};
/// use isobar_http_serve::{App, BindingError, Platform};
///
/// fn app(platform: &Platform) -> Result<App, BindingError> {
///     Ok(App::new().observe(platform.dataset("EVENTS")?))
/// }
///
/// #[event(fetch)]
/// async fn fetch(request: Request, env: Env, context: Context) -> worker::Result<Response> {
///     serve(app, request, env, &context).await
/// }
/// ```
pub async fn serve<A: Into<Application>>(
    app: impl FnOnce(&Platform) -> Result<A, BindingError>,
    request: Request,
    env: Env,
    context: &Context,
) -> worker::Result<Response> {
    let platform = Platform::from_env(&JsValue::from(env));
    let request = Object::from(JsValue::from(request.inner()));
    let answer = match platform {
        Ok(platform) => {
            let answer = respond(app, &platform, &request, context).await;
            // What requests have left for after their answers: e-mail. And the datasets.
            #[cfg(target_arch = "wasm32")]
            context.wait_until(async move { drop(futures_util::future::join_all(isobar_api::take_later()).await) });
            context.wait_until(async move { platform.flush().await });
            answer
        }
        Err(error) => problem(&error).await,
    };
    let answer = answer.map_err(|error| worker::Error::RustError(error.to_string()))?;
    Ok(JsValue::from(answer).unchecked_into::<web_sys::Response>().into())
}

/// Hands a `scheduled` event of the runtime's, for one of the configuration's `triggers.crons`, to the application's
/// [handler](App::scheduled). Datasets are flushed after it. A failure is logged, and so is an application without a handler.
///
/// Cloudflare does not repeat a scheduled event that has failed; the log is where it shows.
pub async fn scheduled<A: Into<Application>>(
    app: impl FnOnce(&Platform) -> Result<A, BindingError>,
    event: ScheduledEvent,
    env: Env,
) {
    let cron = event.cron();
    let handled = async {
        let platform = Platform::from_env(&JsValue::from(env)).map_err(|error| error.to_string())?;
        let Application { scheduled, .. } = app(&platform).map_err(|error| error.to_string())?.into();
        let handler = scheduled.ok_or("the application has no handler for cron triggers")?;
        // Milliseconds since 1970, far below what a float has exactly.
        let time = chrono::DateTime::from_timestamp_millis(event.schedule() as i64).unwrap_or_default();
        let outcome = handler(isobar_sessions::triggers::ScheduledEvent::new(cron.clone(), time)).await;
        platform.flush().await;
        outcome
    };
    if let Err(why) = handled.await {
        tracing::error!(cron, why, "a cron trigger failed");
    }
}

/// Answers a request: from the cache, or by the application.
async fn respond<A: Into<Application>>(
    app: impl FnOnce(&Platform) -> Result<A, BindingError>,
    platform: &Platform,
    request: &Object,
    context: &Context,
) -> Result<Object, JsError> {
    let cache = cache::Lookup::of(request);
    if let Some(hit) = cache.find().await {
        return Ok(hit);
    }
    let Application { router, cache: options, hsts, .. } = match app(platform) {
        Ok(app) => app.into(),
        Err(error) => return problem(&error).await,
    };
    let (mut parts, body) = match request_from_js(request) {
        Ok(request) => request.into_parts(),
        Err(error) => return answer(Problem::bad_request(error.to_string())).await,
    };
    let hsts = hsts.filter(|_| parts.uri.scheme() == Some(&http::uri::Scheme::HTTPS));
    // As natively: a path, and the authority in the Host header.
    parts.uri = parts.uri.path_and_query().cloned().map_or_else(http::Uri::default, http::Uri::from);
    // The runtime's own header: a client's of this name does not come through.
    let address = parts.headers.get("cf-connecting-ip").and_then(|address| address.to_str().ok()?.parse().ok());
    if let Some(address) = address {
        parts.extensions.insert(isobar_api::auth::ClientAddress(address));
    }
    let country = request.object("cf").text("country");
    if let Some(country) = country.and_then(|country| Country::read(country.as_bytes())) {
        parts.extensions.insert(country);
    }
    let request = http::Request::from_parts(parts, Body::new(body));
    // A router's error is `Infallible`.
    let mut response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
    if let Some(hsts) = hsts {
        response.headers_mut().entry(http::header::STRICT_TRANSPORT_SECURITY).or_insert(hsts);
    }
    let socket = socket_of(response.extensions_mut());
    let keeping = cache.keeping(&response, options.as_ref());
    let answer = response_to_js(response, socket).await?;
    if let Some(keeping) = keeping
        && let Err(error) = cache.keep(&answer, &keeping, context)
    {
        tracing::warn!(%error, "an answer was not cached");
    }
    Ok(answer)
}

/// The bindings are not what the application was written for.
async fn problem(error: &BindingError) -> Result<Object, JsError> {
    // What bindings there are is not the client's to know.
    tracing::error!(%error, "the application cannot start");
    answer(Problem::new(http::StatusCode::INTERNAL_SERVER_ERROR)).await
}

/// A problem as the runtime's response.
async fn answer(problem: Problem) -> Result<Object, JsError> {
    response_to_js(crate::response::unsniffed(problem), None).await
}
