//! From a click to a session or a connection.
//!
//! 1. `POST /auth/oauth/{provider}`: a row with the hashes of a random state and of a random cookie, good for 10 minutes. The
//!    answer is the URL of the provider, with a PKCE challenge and, for OpenID Connect, a nonce; both follow from the state,
//!    under a key of the vault.
//! 2. The provider sends the browser back with the state and a code. The row is deleted by the statement that finds it, so that a
//!    state is good once; the cookie shows that it is the same browser, and `iss` that it is the same provider.
//! 3. The code is exchanged for tokens, and the identity is taken from the ID token, or from the provider's API.
//! 4. A sign-in looks for the user who has connected this identity. An address that is the same proves nothing: it connects no
//!    account.

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::{AppendHeaders, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{TimeDelta, Utc};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use isobar_db::{QueryableExt, Statement};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::provider::{Identity, OAuthProvider, Tokens, encode};
use super::{Failure, OAuth};
use crate::auth::session::signed_in;
use crate::auth::throttle::{ClientAddress, Counted, count, network};
use crate::auth::{Auth, session, token};
use crate::id::new_id;
use crate::json::{Body, input};
use crate::time::{now, rfc3339};
use crate::{Principal, Problem};

/// Longest time between the beginning of a flow and its callback.
const LIFETIME: TimeDelta = TimeDelta::minutes(10);
/// Sign-ins that one network may begin within a quarter of an hour.
const TRIES: i64 = 50;
const COOKIE: &str = "__Host-oauth";
/// The page that a failed sign-in leads to.
const LOGIN_PAGE: &str = "/dashboard/login";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Intent {
    Login,
    Connect,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    intent: Intent,
    return_to: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Returned {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// A sign-in that has come back.
#[derive(Debug, Deserialize)]
struct Flow {
    user_id: Option<String>,
    tenant_id: Option<String>,
    return_to: String,
}

/// The reason of a failed sign-in, for the login page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// The user said no, or the provider.
    Denied,
    /// It took too long, or began in another browser.
    Expired,
    /// The provider does not do what it should.
    Failed,
    /// No user has connected this account.
    Unknown,
    /// Another user has connected this account.
    Taken,
}

impl Refusal {
    fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Taken => "taken",
        }
    }
}

/// `GET /auth/oauth`: the providers.
pub(super) async fn providers(State(oauth): State<OAuth>) -> Response {
    let items: Vec<_> = oauth.inner.providers.iter().map(|it| json!({"name": it.name, "title": it.title})).collect();
    axum::Json(json!({ "items": items })).into_response()
}

/// `POST /auth/oauth/{provider}`: the URL to go to. A POST, so that no link begins it.
pub(super) async fn begin(
    State(oauth): State<OAuth>,
    Path(name): Path<String>,
    principal: Principal,
    address: Option<Extension<ClientAddress>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let provider = oauth.provider(&name)?;
    let auth = &oauth.inner.auth;
    count(auth.database(), &[Counted::new("oauth", &network(address.as_deref()), TRIES)]).await?;
    let Begin { intent, return_to } = input(body)?;
    let return_to = return_to.unwrap_or_else(|| "/dashboard/".to_owned());
    // A path of this site and nothing else: `//host` and `/\host` are other sites to a browser.
    let is_path = return_to.starts_with('/') && !return_to[1..].starts_with(['/', '\\']);
    if !is_path || return_to.len() > 500 || !return_to.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Problem::bad_request("the sign-in is not valid").with_field("return_to", "must be a path"));
    }
    let owner = match intent {
        Intent::Login => None,
        // A credential like an API key: the other account can sign in by it.
        Intent::Connect => {
            let (user, tenant, _) = signed_in(&principal)?;
            session::must_be_recent(auth, &principal).await?;
            Some((user, tenant))
        }
    };
    let metadata = provider.metadata(oauth.client()).await?;
    let state = token::new()?;
    let browser = token::new()?;
    let (verifier, nonce) = oauth.secrets(&state).await?;
    let sql = "INSERT INTO oauth_flows (state_hash, browser_hash, provider, user_id, tenant_id, return_to, expires_at) \
               VALUES (?, ?, ?, ?, ?, ?, ?)";
    let insert = Statement::new(sql).bind(token::hash(&state)).bind(token::hash(&browser)).bind(&name);
    let insert = insert.bind(owner.map(|(user, _)| user)).bind(owner.map(|(_, tenant)| tenant));
    let insert = insert.bind(return_to).bind(rfc3339(Utc::now() + LIFETIME));
    let sweep = Statement::new("DELETE FROM oauth_flows WHERE expires_at <= ?").bind(now());
    auth.database().batch(vec![sweep, insert]).await?;

    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
    let redirect = oauth.redirect_uri(&name, &headers);
    let parameters = [
        ("response_type", "code"),
        ("client_id", &provider.client_id),
        ("redirect_uri", &redirect),
        ("scope", &provider.scopes),
        ("state", &state),
        ("nonce", &nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    let more = provider.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let all = parameters.iter().map(|(name, value)| (*name, *value)).chain(more);
    let query: Vec<_> = all.map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let separator = if metadata.authorization_endpoint.contains('?') { '&' } else { '?' };
    let url = format!("{}{separator}{}", metadata.authorization_endpoint, query.join("&"));
    let headers = [(header::SET_COOKIE, cookie(&browser, LIFETIME)), (header::CACHE_CONTROL, no_store())];
    Ok((AppendHeaders(headers), axum::Json(json!({ "url": url }))).into_response())
}

/// `GET /auth/oauth/{provider}/callback`: a browser comes back. The answer is a page in any case.
pub(super) async fn callback(
    State(oauth): State<OAuth>,
    Path(name): Path<String>,
    returned: Result<Query<Returned>, axum::extract::rejection::QueryRejection>,
    principal: Principal,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let provider = oauth.provider(&name)?;
    let Query(returned) = returned.map_err(|_| Problem::bad_request("the query cannot be read"))?;
    let ended = oauth.end(provider, returned, &principal, &headers).await?;
    let forget = (header::SET_COOKIE, cookie("", TimeDelta::zero()));
    let (location, session) = match ended {
        Ok((location, session)) => (location, session),
        Err(refusal) => (format!("{LOGIN_PAGE}#oauth={}", refusal.as_str()), None),
    };
    let location = HeaderValue::from_str(&location).unwrap_or(HeaderValue::from_static(LOGIN_PAGE));
    let mut set = vec![forget, (header::LOCATION, location), (header::CACHE_CONTROL, no_store())];
    set.extend(session.map(|session| (header::SET_COOKIE, session)));
    Ok((StatusCode::SEE_OTHER, AppendHeaders(set)).into_response())
}

/// Where a sign-in ends well, and the session's cookie.
type Ended = Result<(String, Option<HeaderValue>), Refusal>;

impl OAuth {
    async fn end(
        &self,
        provider: &OAuthProvider,
        returned: Returned,
        principal: &Principal,
        headers: &HeaderMap,
    ) -> Result<Ended, Problem> {
        let (Some(state), Some(browser)) = (returned.state, cookie_of(headers)) else {
            return Ok(Err(Refusal::Expired));
        };
        // Good once, in the browser that began it.
        let sql = "DELETE FROM oauth_flows WHERE state_hash = ? AND browser_hash = ? AND provider = ? AND expires_at > ? \
                   RETURNING user_id, tenant_id, return_to";
        let delete = Statement::new(sql).bind(token::hash(&state)).bind(token::hash(browser)).bind(&provider.name);
        let found = self.auth().database().query(delete.bind(now())).await?;
        let Some(flow) = found.rows_as::<Flow>()?.pop() else { return Ok(Err(Refusal::Expired)) };
        let Some(code) = returned.code.filter(|_| returned.error.is_none()) else { return Ok(Err(Refusal::Denied)) };

        let (tokens, identity) = match self.identify(provider, &state, &code, returned.iss.as_deref(), headers).await {
            Ok(known) => known,
            Err(failure) => {
                tracing::warn!(%failure, "a sign-in failed");
                return Ok(Err(Refusal::Failed));
            }
        };
        match (&flow.user_id, &flow.tenant_id) {
            (Some(user), Some(tenant)) => {
                // A session that has ended or changed its user meanwhile connects nothing.
                if principal.user() != Some(user) || principal.tenant() != Some(tenant) {
                    return Ok(Err(Refusal::Expired));
                }
                let connected = self.connect(provider, user, tenant, &identity, &tokens).await?;
                Ok(connected.map(|()| (flow.return_to, None)))
            }
            _ => self.log_in(provider, &identity, &tokens, flow.return_to, headers).await,
        }
    }

    async fn identify(
        &self,
        provider: &OAuthProvider,
        state: &str,
        code: &str,
        issuer: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(Tokens, Identity), Failure> {
        let metadata = provider.metadata(self.client()).await?;
        if !provider.is_issuer(&metadata, issuer) {
            return Err(provider.failure("the answer is another provider's"));
        }
        let (verifier, nonce) = self.secrets(state).await.map_err(|error| provider.failure(error))?;
        let redirect = self.redirect_uri(&provider.name, headers);
        let grant = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &redirect),
            ("code_verifier", &verifier),
        ];
        let tokens = provider.exchange(self.client(), &metadata, &grant).await?;
        let identity = provider.identity(self.client(), &metadata, &tokens, &nonce).await?;
        Ok((tokens, identity))
    }

    /// Connects an account elsewhere with a user here.
    async fn connect(
        &self,
        provider: &OAuthProvider,
        user: &str,
        tenant: &str,
        identity: &Identity,
        tokens: &Tokens,
    ) -> Result<Result<(), Refusal>, Problem> {
        let sql = "SELECT id, user_id FROM oauth_connections WHERE tenant_id = ? AND provider = ? AND subject = ?";
        let query = self.auth().database().prepare(sql).bind(tenant).bind(&provider.name).bind(&identity.subject);
        let known: Option<(String, String)> = query.first().await?;
        let id = match known {
            Some((_, owner)) if owner != user => return Ok(Err(Refusal::Taken)),
            Some((id, _)) => Some(id),
            None => None,
        };
        let statements = self.kept(provider, user, tenant, id, identity, tokens).await?;
        self.auth().database().batch(statements).await?;
        Ok(Ok(()))
    }

    /// Signs in the user that has connected this account. Without such a user, and if sign-up is open, creates one.
    async fn log_in(
        &self,
        provider: &OAuthProvider,
        identity: &Identity,
        tokens: &Tokens,
        return_to: String,
        headers: &HeaderMap,
    ) -> Result<Ended, Problem> {
        let auth = self.auth();
        let sql = "SELECT c.id, c.user_id, c.tenant_id FROM oauth_connections c JOIN users u ON u.id = c.user_id \
                   JOIN memberships m ON m.user_id = c.user_id AND m.tenant_id = c.tenant_id \
                   WHERE c.provider = ? AND c.subject = ? AND u.disabled = 0 ORDER BY c.id LIMIT 1";
        let query = auth.database().prepare(sql).bind(&provider.name).bind(&identity.subject);
        let known: Option<(String, String, String)> = query.first().await?;
        let mut statements = Vec::new();
        let (connection, user, tenant) = match known {
            Some((connection, user, tenant)) => (Some(connection), user, tenant),
            None => match self.new_user(identity, &mut statements).await? {
                Some((user, tenant)) => (None, user, tenant),
                None => return Ok(Err(Refusal::Unknown)),
            },
        };
        statements.extend(self.kept(provider, &user, &tenant, connection, identity, tokens).await?);
        let (create, cookie) = session::create(auth.options(), &user, &tenant)?;
        // What the browser had before is over, as at every sign-in.
        statements.extend(session::token_of(headers).map(session::end));
        statements.push(create);
        match auth.database().batch(statements).await {
            Ok(_) => Ok(Ok((return_to, Some(cookie)))),
            // The e-mail address has just been taken.
            Err(error) if matches!(error.kind(), isobar_db::ErrorKind::Constraint(_)) => Ok(Err(Refusal::Unknown)),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns a new user and tenant, if sign-up is open and no user has the e-mail address that the provider has verified. An
    /// existing user is never signed in by the address alone: the user has to sign in and connect the account.
    async fn new_user(
        &self,
        identity: &Identity,
        statements: &mut Vec<Statement>,
    ) -> Result<Option<(String, String)>, Problem> {
        let auth = self.auth();
        // As with a password: where sign-up is open, and there is an operator.
        let Some(email) = identity.email.as_ref().filter(|_| auth.options().signup) else { return Ok(None) };
        if !auth.has_operator().await? {
            return Ok(None);
        }
        let sql = "SELECT count(*) FROM users WHERE email = ?";
        if !crate::Format::Email.fits(email) || auth.database().prepare(sql).bind(email).one::<i64>().await? > 0 {
            return Ok(None);
        }
        let user = new_id()?;
        let tenant = new_id()?;
        let name: String = identity.name.chars().filter(|it| !it.is_control()).take(200).collect();
        let name = if name.trim().is_empty() { email.clone() } else { name };
        let slug = format!("t-{}", &tenant[..18]);
        statements.extend(Auth::owner(&user, email, &name, None, &tenant, &slug, &name)?);
        // The provider has verified it: an identity has no other address.
        let verified = "UPDATE users SET email_verified_at = created_at WHERE id = ?";
        statements.push(Statement::new(verified).bind(&user));
        Ok(Some((user, tenant)))
    }

    fn auth(&self) -> &Auth {
        &self.inner.auth
    }

    /// The code verifier and the nonce of a state.
    async fn secrets(&self, state: &str) -> isobar_db::Result<(String, String)> {
        let verifier = self.inner.vault.mac("oauth code verifier", state.as_bytes()).await?;
        let nonce = self.inner.vault.mac("oauth nonce", state.as_bytes()).await?;
        Ok((URL_SAFE_NO_PAD.encode(verifier), URL_SAFE_NO_PAD.encode(nonce)))
    }

    fn redirect_uri(&self, name: &str, headers: &HeaderMap) -> String {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let is_local = ["localhost", "127.0.0.1", "[::1]"]
            .iter()
            .any(|local| host.strip_prefix(local).is_some_and(|rest| rest.is_empty() || rest.starts_with(':')));
        let scheme = if is_local { "http" } else { "https" };
        let base = self.inner.base_url.clone().unwrap_or_else(|| format!("{scheme}://{host}"));
        format!("{base}/api/auth/oauth/{name}/callback")
    }
}

fn cookie(browser: &str, age: TimeDelta) -> HeaderValue {
    session::cookie_named(COOKIE, browser, age)
}

fn cookie_of(headers: &HeaderMap) -> Option<&str> {
    session::cookie_of(headers, COOKIE)
}

fn no_store() -> HeaderValue {
    HeaderValue::from_static("no-store")
}
