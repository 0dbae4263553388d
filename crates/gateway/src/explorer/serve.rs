//! The way of a request through the door.
//!
//! 1. A file of the page, for GET and HEAD.
//! 2. Below `/explorer/v1` a route of its own; a link needs no token.
//! 3. All else goes to the REST door, under this door's name in the audit and with its access.
//! 4. Every answer but the page's files is sealed.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::door::ExplorerDoor;
use super::operations::Action;
use super::route::{self, PREFIX, Route};
use super::{backups, databases, deploys, links, page, sessions};
use crate::keys::Key;
use crate::rest::parts::{Answer, ApiError, Call, answer, authenticate, refused, success};

impl ExplorerDoor {
    /// Returns the router. Every path is its own: it needs a listener, or a host name, of its own.
    ///
    /// The page's paths are absolute, and its storage is its origin's: another site beside it would
    /// share both.
    pub fn into_router(self) -> Router {
        Router::new().fallback(handle).with_state(Arc::new(self.decided()))
    }

    /// Answers a request below `/explorer/v1`. Sets `key` as soon as it is known.
    async fn respond(&self, call: &Call, query: &str, body: Body, key: &mut Option<String>) -> Answer {
        // A link is its own authorization; nothing else is answered without a token.
        let route = match route::read(&call.method, &call.path) {
            Ok(Route::Link(link)) => return links::open(self, call, query, &link).await,
            route => route,
        };
        let caller = authenticate(&self.rest.keys, &self.rest.attempts, call).await.map_err(unauthorized)?;
        *key = Some(caller.id.clone());
        match route? {
            Route::Session => self.session(&caller),
            Route::Schema(id) => databases::schema(self, &caller, &id).await,
            Route::Explain(id) => databases::explain(self, &caller, &id, body).await,
            Route::Read(id) => databases::read(self, &caller, &id, body).await,
            Route::History(id) => databases::history(self, &caller, &id).await,
            Route::SignLink => links::sign(self, &caller, body).await,
            Route::Deploys => deploys::list(self, &caller).await,
            Route::Rollback(_) | Route::BeginBackup(_, Action::Run) if self.rest.is_read_only => {
                Err(ApiError::read_only())
            }
            Route::Classes => sessions::classes(self, &caller).await,
            Route::Objects(class) => sessions::list(self, call, &caller, &class).await,
            Route::Object(class, id) => sessions::details(self, &caller, &class, &id).await,
            Route::QueryObject(class, id) => sessions::query(self, &caller, (&class, &id), body).await,
            Route::Rollback(id) => deploys::rollback(self, &caller, &id).await,
            Route::Backups => backups::list(self, &caller).await,
            Route::Backup(path) => backups::describe(self, &caller, &path).await,
            Route::BeginBackup(path, action) => backups::begin(self, &caller, &path, action).await,
            // Opened above.
            Route::Link(_) => Err(ApiError::no_route(&call.path)),
        }
    }

    /// The caller's key, and what the page shows it.
    fn session(&self, key: &Key) -> Answer {
        let requests = self.requests.as_ref().filter(|dataset| key.scope.can_read_dataset(dataset));
        success(&json!({
            "account_id": self.rest.keys.account_id(),
            "version": env!("CARGO_PKG_VERSION"),
            "is_writable": !self.rest.is_read_only,
            "key": {"id": key.id, "name": key.name, "expires_on": key.expires},
            "scope": key.scope,
            "has_backups": self.backups.is_some(),
            "has_sessions": self.sessions.is_some(),
            "has_datasets": self.rest.datasets.is_some(),
            "requests": requests,
            "deploys": deploys::place(self, key),
        }))
    }
}

/// The router's only handler.
async fn handle(State(door): State<Arc<ExplorerDoor>>, request: Request) -> Response {
    let path = request.uri().path();
    if let Some(file) = page::find(request.method(), path) {
        return file;
    }
    let is_own = path.strip_prefix(PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let response = if is_own { own(&door, request).await } else { answer(&door.rest, request).await };
    page::sealed(response)
}

/// Answers a request below `/explorer/v1`, or its refusal.
async fn own(door: &ExplorerDoor, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let call = Call::new(&parts);
    let mut key = None;
    let answer = Box::pin(door.respond(&call, parts.uri.query().unwrap_or_default(), body, &mut key)).await;
    answer.unwrap_or_else(|error| {
        let is_unauthorized = error.status == StatusCode::UNAUTHORIZED;
        let mut response = refused(&door.rest, &call, key.as_deref(), error);
        if is_unauthorized {
            // RFC 9110, 11.6.1. Browsers ask nobody for a scheme that they do not know.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    })
}

/// A token that is missing or not valid is 401 here, by which the page knows that it has to ask for another one; Cloudflare's API
/// has 400 and 403.
fn unauthorized(mut error: ApiError) -> ApiError {
    if matches!(error.status, StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN) {
        error.status = StatusCode::UNAUTHORIZED;
    }
    error
}
