//! The same application inside Cloudflare Workers: bindings out of `env`, requests out of the `fetch` event, session objects
//! as Durable Object classes.
//!
//! ```ignore
//! use isobar_http_serve::workers::{Context, Env, Request, Response, event};
//!
//! isobar_http_serve::session_class!(IamSession => IamSession, |_platform| ());
//!
//! #[event(fetch)]
//! async fn fetch(request: Request, env: Env, context: Context) -> worker::Result<Response> {
//!     isobar_http_serve::workers::serve(app, request, env, &context).await
//! }
//! ```

mod cache;
mod client;
mod env;
mod mail;
mod sql_api;

use axum::Router;
use axum::body::Body;
use isobar_api::Problem;
use isobar_cloudflare::binding::wasm_bindgen::{JsCast, JsValue};
use isobar_cloudflare::binding::worker::{self, web_sys};
use isobar_cloudflare::binding::{JsError, Object, request_from_js, response_to_js};
use isobar_sessions::cloudflare::socket_of;
use isobar_site::CacheOptions;
use tower::ServiceExt;

pub use client::Client;
pub use isobar_cloudflare::binding::worker::{Context, Env, Request, Response, event};
pub use mail::SendEmail;
pub use sql_api::SqlApi;

use crate::app::App;
use crate::observe::Country;
use crate::platform::{BindingError, Platform};

/// An application for [`serve`]: a router, or an [`App`].
#[derive(Debug)]
pub struct Application {
    router: Router,
    cache: Option<CacheOptions>,
    hsts: Option<http::HeaderValue>,
}

impl From<Router> for Application {
    fn from(router: Router) -> Self {
        Self { router, cache: None, hsts: None }
    }
}

impl From<App> for Application {
    fn from(app: App) -> Self {
        Self { cache: app.cache.clone(), hsts: app.hsts.clone(), router: app.into_router() }
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
    let Application { router, cache: options, hsts } = match app(platform) {
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

async fn answer(problem: Problem) -> Result<Object, JsError> {
    response_to_js(crate::response::unsniffed(problem), None).await
}
