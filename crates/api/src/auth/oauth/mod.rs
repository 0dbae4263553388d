//! Signing in, and connecting accounts, by OAuth 2 and OpenID Connect: authorization code with PKCE.
//!
//! The database knows flows in flight by hashes alone; the code verifier and the nonce are derived from the state under
//! the vault's key. A flow belongs to the browser that began it. Tokens are sealed, and refreshed by one request at a time.

mod flow;
mod provider;
mod tokens;

use std::fmt;
use std::sync::Arc;

use axum::routing::{get, post};
use http::StatusCode;
use isobar_db::vault::Vault;
use serde_json::json;

pub use provider::OAuthProvider;

use super::Auth;
use super::documents::operation;
use crate::client::HttpClient;
use crate::{Api, Policy, Problem, Role};

/// The tables of sign-ins and connections, for a migration after those of accounts and of the vault.
pub const SCHEMA: &str = include_str!("schema.sql");

/// Sign-in and connections at providers. Cheap to clone.
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
    /// Accounts at these providers beside the passwords of `auth`.
    pub fn new(auth: Auth, vault: Vault, client: Arc<dyn HttpClient>, providers: Vec<OAuthProvider>) -> Self {
        Self { inner: Arc::new(Inner { auth, vault, client, providers, base_url: None }) }
    }

    /// The URL under which browsers see this service, `https://example.com`; the request's host when not given.
    #[must_use]
    pub fn with_base_url(self, url: &str) -> Self {
        let Inner { auth, vault, client, providers, base_url: _ } = &*self.inner;
        let (auth, vault, client, providers) = (auth.clone(), vault.clone(), Arc::clone(client), providers.clone());
        let base_url = Some(url.trim_end_matches('/').to_owned());
        Self { inner: Arc::new(Inner { auth, vault, client, providers, base_url }) }
    }

    /// Adds the routes under `/auth/oauth`: the providers, the beginning and the end of a sign-in, and the refresh of a
    /// connection's token.
    #[must_use]
    pub fn mount(&self, api: Api) -> Api {
        let (public, known) = (Policy::Public, Policy::AtLeast(Role::Viewer));
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
        api.document("/auth/oauth", json!({"get": operation("list_providers", "Where people may sign in", 200, None)}))
            .document("/auth/oauth/{provider}", json!({"parameters": name, "post": begin}))
            .document("/auth/oauth/connections/{id}/refresh", json!({"parameters": id, "post": refresh}))
            .route("/auth/oauth", public, Policy::Nobody, with(get(flow::providers)))
            .route("/auth/oauth/{provider}", Policy::Nobody, public, with(post(flow::begin)))
            .route("/auth/oauth/{provider}/callback", public, Policy::Nobody, with(get(flow::callback)))
            .route("/auth/oauth/connections/{id}/refresh", Policy::Nobody, known, with(post(tokens::refresh_route)))
    }

    fn provider(&self, name: &str) -> Result<&OAuthProvider, Problem> {
        let found = self.inner.providers.iter().find(|provider| provider.name == name);
        found.ok_or_else(|| Problem::not_found("there is no such provider"))
    }

    fn client(&self) -> &dyn HttpClient {
        &*self.inner.client
    }
}

/// A provider does not do what is needed: for the log, and for the user without its details.
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
        Self::ours(StatusCode::BAD_GATEWAY, "the provider did not answer as it should", &failure)
    }
}
