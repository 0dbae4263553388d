//! Requests to session objects, WebSocket upgrades included.
//!
//! A request goes to its object as it came, but for its path and the server's own extensions: headers,
//! method and body are the client's. The object is on another thread natively and in another place
//! inside Workers; both answer through the same trait.
//!
//! WebSockets take two ways. Natively the object's answer holds one end of a socket in memory, and
//! `bridge` carries messages between it and the connection. Inside Workers the runtime connects both,
//! and no message passes through here.
//!
//! Checks come before the object is asked: a page of another site, and the paths of typed calls.
//! Whether the user may see the object is the application's to decide, in the handler that calls
//! [`forward_session`].

#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod bridge;
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
mod unfinished;
mod websocket;

use axum::RequestExt;
use axum::extract::Request;
use axum::response::Response;
use isobar_api::Problem;
use isobar_sessions::{ErrorKind, ObjectId, SessionNamespace};

#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
use self::bridge::{connect, upgrade};
use self::websocket::{asks_for_websocket, upgrade_required};

/// Sends a request to a session object under `path` (`/socket?name=Ada`, say) and brings its answer back. A WebSocket that
/// the object accepts is connected with the client's.
///
/// ```
/// use std::sync::Arc;
///
/// use axum::Router;
/// use axum::extract::{Path, Request, State};
/// use axum::response::Response;
/// use axum::routing::any;
/// use isobar_http_serve::{Problem, forward_session};
/// use isobar_sessions::{SessionNamespace, SessionNamespaceExt};
///
/// type Rooms = Arc<dyn SessionNamespace>;
///
/// async fn socket(State(rooms): State<Rooms>, Path(room): Path<String>, request: Request) -> Result<Response, Problem> {
///     forward_session(&*rooms, &rooms.id(&room), "/socket", request).await
/// }
///
/// fn routes(rooms: Rooms) -> Router {
///     Router::new().route("/rooms/{room}/socket", any(socket)).with_state(rooms)
/// }
/// # let _ = routes;
/// ```
///
/// # Errors
/// The object's error, as a [`Problem`]; 400 when `path` is invalid; 426 when the object accepts a WebSocket but the
/// request is not an upgrade; 403 when a browser sends it from another site, since it would carry the user's cookies; 404 for the paths
/// of [typed calls](isobar_sessions::CALL_PATH), which are the application's own.
pub async fn forward_session(
    sessions: &dyn SessionNamespace,
    id: &ObjectId,
    path: &str,
    request: Request,
) -> Result<Response, Problem> {
    if !is_same_origin(request.headers()) {
        return Err(Problem::new(http::StatusCode::FORBIDDEN).with_detail("this request comes from another site"));
    }
    // The application's body limit holds for what the object reads, too.
    let (mut parts, body) = request.with_limited_body().into_parts();
    let is_upgrade = asks_for_websocket(&parts.headers);
    let upgrade = upgrade(&mut parts);
    parts.uri = path.parse().map_err(|error| Problem::bad_request(format!("{path}: {error}")))?;
    if leads_to_calls(parts.uri.path()) {
        return Err(Problem::not_found("the object's calls are not served"));
    }
    parts.extensions.clear(); // the server's own, which mean nothing to the object
    let request = http::Request::from_parts(parts, isobar_sessions::Body::wrap(body));
    match sessions.fetch(id, request).await {
        Ok(answer) => connect(upgrade, answer),
        // The runtime of Workers itself refuses a WebSocket to a request that is not an upgrade.
        Err(error) if error.kind() == ErrorKind::Socket && !is_upgrade => Err(upgrade_required()),
        Err(error) => Err(error.into()),
    }
}

/// Whether a path may be one of the reserved ones. Inside Workers `.`, `..` and `\` are resolved on the way to the object, so no segment may
/// have the name that they begin with.
fn leads_to_calls(path: &str) -> bool {
    let reserved = isobar_sessions::CALL_PATH.split('/').find(|segment| !segment.is_empty());
    path.split(['/', '\\']).any(|segment| reserved == Some(segment))
}

/// Whether a browser's request comes from a page of this host; other clients send no `Origin`.
fn is_same_origin(headers: &http::HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let Some(origin) = headers.get(http::header::ORIGIN) else { return true };
    let host = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    host.is_some() && host == text(http::header::HOST)
}

/// Without the native server the socket stays in the answer, for the server that sends it.
#[cfg(not(all(feature = "native", not(target_arch = "wasm32"))))]
fn upgrade(parts: &mut http::request::Parts) -> bool {
    asks_for_websocket(&parts.headers)
}

#[cfg(not(all(feature = "native", not(target_arch = "wasm32"))))]
fn connect(is_upgrade: bool, answer: isobar_sessions::Response) -> Result<Response, Problem> {
    if answer.status() == http::StatusCode::SWITCHING_PROTOCOLS && !is_upgrade {
        return Err(upgrade_required());
    }
    Ok(answer.map(axum::body::Body::new))
}
