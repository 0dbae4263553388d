//! Signing in, and connecting accounts, by OAuth 2 and OpenID Connect: authorization code with PKCE.
//!
//! The database has only hashes of flows in flight; the code verifier and the nonce are derived from the state and the vault's
//! key. A flow belongs to the browser that began it. Tokens are sealed, and refreshed by one request at a time.

mod flow;
mod provider;
mod tokens;

use std::fmt;
use std::sync::Arc;

use axum::routing::{get, post};
use http::StatusCode;
use isobar_db::vault::Vault;
use isobar_db::{QueryableExt, Statement};
use serde_json::json;

pub use provider::OAuthProvider;

use super::Auth;
use super::documents::operation;
use crate::client::HttpClient;
use crate::{Api, Policy, Problem, Role};

/// The tables of sign-ins and connections, for a migration after those of accounts and of the vault.
pub const SCHEMA: &str = include_str!("schema.sql");

/// Sign-in at providers, and connections of their accounts with users. Cheap to clone.
///
/// ```
/// # use bytes::Bytes;
/// # #[derive(Debug)] struct Client;
/// # #[async_trait::async_trait]
/// # impl isobar_api::HttpClient for Client {
/// #     async fn send(&self, _: http::Request<Bytes>) -> Result<http::Response<Bytes>, isobar_api::HttpClientError> {
/// #         Ok(http::Response::new(Bytes::new()))
/// #     }
/// # }
/// use std::sync::Arc;
/// use isobar_api::{Api, Auth, AuthOptions};
/// use isobar_api::auth::{OAuth, OAuthProvider};
/// use isobar_db::{Database, SqliteDatabase};
/// use isobar_db::vault::{Keyring, Secret, Vault};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// let database: Arc<dyn Database> = Arc::new(SqliteDatabase::memory().await?);
/// let keyring: Keyring = Keyring::generate("2026-11")?.expose_text().unwrap_or_default().parse()?;
/// let vault = Vault::new(Arc::clone(&database), "app", keyring);
/// let auth = Auth::new(Arc::clone(&database), AuthOptions::default());
/// let github = OAuthProvider::github("client-id").with_secret(Secret::new("client-secret"));
/// let client = Arc::new(Client); // in a server: isobar_http_serve::http_client
/// let oauth = OAuth::new(auth.clone(), vault, client, vec![github]).with_base_url("https://example.com");
/// let router = auth.protect(oauth.mount(auth.mount(Api::new(database))).into_router());
/// # drop(router);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct OAuth {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    auth: Auth,
    vault: Vault,
    client: Arc<dyn HttpClient>,
    providers: Vec<OAuthProvider>,
    base_url: Option<String>,
}

impl OAuth {
    /// Sign-in at providers, in addition to the passwords of `auth`.
    pub fn new(auth: Auth, vault: Vault, client: Arc<dyn HttpClient>, providers: Vec<OAuthProvider>) -> Self {
        Self { inner: Arc::new(Inner { auth, vault, client, providers, base_url: None }) }
    }

    /// Sets the URL of the service as browsers see it, such as `https://example.com`. Default: the host of each request, with `https`, or
    /// `http` for localhost.
    #[must_use]
    pub fn with_base_url(self, url: &str) -> Self {
        let Inner { auth, vault, client, providers, base_url: _ } = &*self.inner;
        let auth = auth.clone();
        let vault = vault.clone();
        let client = Arc::clone(client);
        let providers = providers.clone();
        let base_url = Some(url.trim_end_matches('/').to_owned());
        Self { inner: Arc::new(Inner { auth, vault, client, providers, base_url }) }
    }

    /// Adds the routes under `/auth/oauth`: the providers, the beginning and the end of a sign-in, and the refresh of a
    /// connection's token.
    #[must_use]
    pub fn mount(&self, api: Api) -> Api {
        let public = Policy::Public;
        let known = Policy::AtLeast(Role::Viewer);
        let with = |routes: axum::routing::MethodRouter<Self>| routes.with_state(self.clone());
        let name = json!([{"name": "provider", "in": "path", "required": true, "schema": {"type": "string"}}]);
        let id = json!([{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}]);
        let begin =
            json!({"intent": {"enum": ["login", "connect"]}, "return_to": {"type": "string", "maxLength": 500}});
        let begin = operation(
            "begin_oauth",
            "Begin a sign-in at a provider: the URL to go to",
            200,
            Some((begin, &["intent"])),
        );
        let refresh = operation("refresh_connection", "Refresh the token of a connection", 200, None);
        api.document("/auth/oauth", json!({"get": operation("list_providers", "The sign-in providers", 200, None)}))
            .document("/auth/oauth/{provider}", json!({"parameters": name, "post": begin}))
            .document("/auth/oauth/connections/{id}/refresh", json!({"parameters": id, "post": refresh}))
            .route("/auth/oauth", public, Policy::Nobody, with(get(flow::providers)))
            .route("/auth/oauth/{provider}", Policy::Nobody, public, with(post(flow::begin)))
            .route("/auth/oauth/{provider}/callback", public, Policy::Nobody, with(get(flow::callback)))
            .route("/auth/oauth/connections/{id}/refresh", Policy::Nobody, known, with(post(tokens::refresh_route)))
    }

    fn provider(&self, name: &str) -> Result<&OAuthProvider, Problem> {
        let found = self.inner.providers.iter().find(|provider| provider.name == name);
        found.ok_or_else(|| Problem::not_found("provider not found"))
    }

    fn client(&self) -> &dyn HttpClient {
        &*self.inner.client
    }
}

/// Returns whether accounts elsewhere can be connected: their tables are a migration of their own.
pub(super) async fn has_tables(auth: &Auth) -> Result<bool, Problem> {
    let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'oauth_connections'";
    Ok(auth.database().prepare(sql).one::<i64>().await? > 0)
}

/// The statement that ends the connections of a user, in every tenant; their tokens go with them.
pub(super) fn end_all(user: &str) -> Statement {
    Statement::new("DELETE FROM oauth_connections WHERE user_id = ?").bind(user)
}

/// The statement that ends the connections of a user in one tenant.
pub(super) fn end_in(user: &str, tenant: &str) -> Statement {
    Statement::new("DELETE FROM oauth_connections WHERE user_id = ? AND tenant_id = ?").bind(user).bind(tenant)
}

/// The failure of a provider. Its details are logged; the user gets 502.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    why: String,
    is_refused: bool,
}

impl Failure {
    fn new(why: String) -> Self {
        Self { why, is_refused: false }
    }

    /// Marks the error of a token that the provider has refused: it is not valid any more.
    fn refused(mut self) -> Self {
        self.is_refused = true;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::ours(StatusCode::BAD_GATEWAY, "the provider did not answer as expected", &failure)
    }
}
