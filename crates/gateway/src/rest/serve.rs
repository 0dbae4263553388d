//! The way of a request through the door.
//!
//! 1. The path: below `/client/v4` or 404.
//! 2. URLs of files, which need no token.
//! 3. The token. Without a good one nothing is told, not even whether a path exists.
//! 4. The route, a door that is read-only, the account, the jurisdiction.
//! 5. The handler, which requires a permission and asks the scope for the resource.
//!
//! A refusal is reported to the audit on its way out, with the key's id where it is known.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};

#[cfg(feature = "analytics")]
use super::analytics;
use super::authenticate::authenticate;
use super::call::Call;
use super::door::RestDoor;
use super::envelope::{Answer, ApiError, code};
use super::route::{self, PREFIX, Route};
use super::{account, buckets, databases, features, graphql, objects, query, rules, sessions, time_travel, transfer};
use crate::keys::{Key, RefusedRequest};

impl RestDoor {
    /// Returns the router. Its paths begin with `/client/v4`; every other one is not found.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use axum::body::Body;
    /// # use http::Request;
    /// # use isobar_db::{SqliteDatabase, vault::Keyring};
    /// # use isobar_gateway::keys::KeyStore;
    /// use isobar_gateway::rest::RestDoor;
    /// use tower::ServiceExt;
    ///
    /// # let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
    /// # let keys = KeyStore::open(Arc::new(SqliteDatabase::memory().await?), keyring).await?;
    /// let router = RestDoor::new(keys).into_router();
    /// let get = |path: &str| Request::get(path).body(Body::empty());
    /// assert_eq!(router.clone().oneshot(get("/elsewhere")?).await?.status(), 404);
    /// // Without a token; with one that is not valid it would be 403.
    /// assert_eq!(router.oneshot(get("/client/v4/accounts")?).await?.status(), 400);
    /// # Ok(()) }
    /// ```
    pub fn into_router(self) -> Router {
        Router::new().fallback(handle).with_state(Arc::new(self))
    }

    /// Answers a request, by the steps of the module. Sets `key` as soon as it is known.
    async fn respond(&self, call: &Call, body: axum::body::Body, key: &mut Option<String>) -> Answer {
        let path = call.path.strip_prefix(PREFIX).filter(|rest| rest.starts_with('/'));
        let path = path.ok_or_else(|| ApiError::no_route(&call.path))?;
        // The URLs of files are their own authorization; nothing else is answered without a token.
        match route::read(&call.method, path) {
            Ok((None, Route::Upload(_))) if self.is_read_only => return Err(ApiError::read_only()),
            Ok((None, Route::Upload(id))) => return transfer::upload(self, &id, body).await,
            Ok((None, Route::Download(id))) => return transfer::download(self, &id).await,
            _ => {}
        }
        let caller = authenticate(&self.keys, &self.attempts, call).await?;
        *key = Some(caller.id.clone());
        let (account, route) = route::read(&call.method, path)?;
        if self.is_read_only && route.writes() {
            return Err(ApiError::read_only());
        }
        if let Some(account) = account.filter(|account| account != self.keys.account_id()) {
            return Err(self.wrong_account(&account));
        }
        buckets::check_jurisdiction(call)?;
        self.dispatch(call, &caller, route, body).await
    }

    /// The error of another account in the path. The right one is not a secret: the token belongs to
    /// it.
    fn wrong_account(&self, account: &str) -> ApiError {
        let message = format!(
            "The given account is not valid or is not authorized to access this service: the account of this server is {}",
            self.keys.account_id()
        );
        let error = ApiError::new(http::StatusCode::FORBIDDEN, code::WRONG_ACCOUNT, message);
        error.refused(format!("the account {account:?} is another one"))
    }

    /// Calls the handler of a route.
    async fn dispatch(&self, call: &Call, key: &Key, route: Route, body: axum::body::Body) -> Answer {
        match route {
            Route::VerifyToken => account::verify(key),
            Route::User => account::user(),
            Route::Accounts => account::list(self, call),
            Route::Account => account::get(self),
            Route::Memberships => account::memberships(self, call),
            Route::Graphql => graphql::query(self, key, body).await,
            Route::ListBuckets => buckets::list(self, call, key).await,
            Route::CreateBucket => buckets::create(self, key, body).await,
            Route::GetBucket(name) => buckets::get(self, key, &name).await,
            Route::DeleteBucket(name) => buckets::delete(self, key, &name).await,
            Route::EditBucket(name) => buckets::edit(self, call, key, &name).await,
            Route::GetFeature(name, feature) => features::get(self, key, &name, feature).await,
            Route::GetFeatureEntry(name, feature) => features::get_entry(self, key, &name, feature).await,
            Route::SetFeature(name, feature) => features::set(self, key, &name, feature).await,
            Route::GetCors(name) => rules::cors(self, key, &name).await,
            Route::PutCors(name) => rules::set_cors(self, key, &name, body).await,
            Route::DeleteCors(name) => rules::delete_cors(self, key, &name).await,
            Route::GetLifecycle(name) => rules::lifecycle(self, key, &name).await,
            Route::PutLifecycle(name) => rules::set_lifecycle(self, key, &name, body).await,
            Route::ListObjects(bucket) => objects::list(self, call, key, &bucket).await,
            Route::GetObject(bucket, name) => objects::get(self, call, key, &bucket, &name).await,
            Route::PutObject(bucket, name) => objects::put(self, call, key, (&bucket, &name), body).await,
            Route::DeleteObject(bucket, name) => objects::delete(self, key, &bucket, &name).await,
            Route::ListDatabases => databases::list(self, call, key).await,
            Route::CreateDatabase => databases::create(self, key, body).await,
            Route::GetDatabase(id) => databases::get(self, call, key, &id).await,
            Route::DeleteDatabase(id) => databases::delete(self, key, &id).await,
            Route::EditDatabase(id) => databases::edit(self, key, &id, body).await,
            Route::Query(id) => query::run(self, key, &id, query::Shape::Objects, body).await,
            Route::Raw(id) => query::run(self, key, &id, query::Shape::Arrays, body).await,
            Route::Import(id) => transfer::import(self, call, key, &id, body).await,
            Route::Export(id) => transfer::export(self, call, key, &id, body).await,
            Route::Bookmark(id) => time_travel::bookmark(self, call, key, &id).await,
            Route::Restore(id) => time_travel::restore(self, call, key, &id).await,
            Route::ListNamespaces => sessions::list(self, call, key).await,
            Route::ListNamespaceObjects(id) => sessions::objects(self, call, key, &id).await,
            #[cfg(feature = "analytics")]
            Route::Analytics => analytics::query(self, key, body).await,
            // With an account before them they are no routes.
            Route::Upload(_) | Route::Download(_) => Err(ApiError::no_route(&call.path)),
        }
    }
}

/// The router's only handler.
async fn handle(State(door): State<Arc<RestDoor>>, request: Request) -> Response {
    answer(&door, request).await
}

/// Answers a request, which is any below `/client/v4`.
pub(crate) async fn answer(door: &RestDoor, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let call = Call::new(&parts);
    let mut key = None;
    let answer = Box::pin(door.respond(&call, body, &mut key)).await;
    answer.unwrap_or_else(|error| refused(door, &call, key.as_deref(), error))
}

/// Reports an error to the audit where it is a refusal, and answers it.
pub(crate) fn refused(door: &RestDoor, call: &Call, key: Option<&str>, error: ApiError) -> Response {
    if let Some(reason) = &error.refusal {
        door.audit.refused(&RefusedRequest {
            door: door.name,
            key,
            address: call.address(),
            method: call.method.as_str(),
            path: &call.path,
            status: error.status.as_u16(),
            reason,
        });
    }
    error.into_response()
}
