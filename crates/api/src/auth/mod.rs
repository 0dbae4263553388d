//! Authentication: accounts, sessions, API keys.
//!
//! People sign in with an e-mail address and a password, and are identified by an opaque cookie; programs send an API key as
//! `Authorization: Bearer`. [`Auth::mount`] adds the routes to an [`Api`]. [`Auth::protect`] identifies the sender of each request,
//! and refuses requests that another site makes a browser send.
//!
//! ```
//! # use std::sync::Arc;
//! # use axum::body::Body;
//! # use http::Request;
//! # use isobar_api::auth::PasswordCost;
//! # use isobar_api::{Api, Auth, AuthOptions};
//! # use isobar_db::{Database, QueryableExt, SqliteDatabase};
//! # use tower::ServiceExt;
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let database: Arc<dyn Database> = Arc::new(SqliteDatabase::memory().await?);
//! # database.run_script(isobar_api::SCHEMA).await?;
//! # database.run_script(isobar_api::auth::SCHEMA).await?;
//! # let options = AuthOptions::default().with_password_cost(PasswordCost { memory: 8, passes: 1 });
//! let auth = Auth::new(Arc::clone(&database), options);
//! let router = auth.protect(auth.mount(Api::new(database)).into_router());
//! let token = auth.setup_token().await?.expect("there is no operator yet");
//! let sign_up = serde_json::json!({
//!     "token": token, "email": "ada@example.com", "password": "correct horse battery", "name": "Ada",
//!     "tenant": {"slug": "acme", "name": "Acme"},
//! });
//! let request = Request::post("/auth/signup").header("content-type", "application/json").body(Body::from(sign_up.to_string()))?;
//! let answer = router.clone().oneshot(request).await?;
//! assert_eq!(answer.status(), 201);
//! // The answer's cookies sign the browser in.
//! let cookie = answer.headers()["set-cookie"].to_str()?.split(';').next().unwrap_or_default().to_owned();
//! let request = Request::get("/auth/me").header("cookie", cookie).body(Body::empty())?;
//! assert_eq!(router.oneshot(request).await?.status(), 200);
//! # Ok(()) }
//! ```
//!
//! # Threats, and the answers to them
//!
//! | threat | answer |
//! |---|---|
//! | Passwords are tried | limits for each account, network and pair of them; argon2id; common passwords are refused |
//! | An account is locked by tries of others | browsers that it has signed in from are counted apart |
//! | Addresses are probed | a wrong address and a wrong password take the same time and have the same answer |
//! | A cookie is stolen | its token is replaced hourly; a recent sign-in is asked for before credentials are made |
//! | Another site makes a browser send requests | `SameSite=Lax`, and writes need `Sec-Fetch-Site: same-origin` or the own `Origin` |
//! | The database is read | it has hashes of passwords, tokens and keys, and sealed tokens of providers |
//! | A role or a membership is taken away | looked up with each request; open connections are closed by [`Revocations`] |

mod account;
mod common;
mod devices;
mod documents;
mod invite;
mod keys;
mod links;
mod mail_options;
mod messages;
mod oauth;
mod password;
mod recovery;
mod revocation;
mod session;
mod setup;
mod throttle;
mod token;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use isobar_db::vault::Secret;
use isobar_db::{Database, Statement};

pub use mail_options::MailOptions;
pub use oauth::{OAuth, OAuthProvider, SCHEMA as OAUTH_SCHEMA};
pub use password::PasswordCost;
pub use revocation::{Revocations, Revoked};
pub use setup::{SetupTokenError, is_operator};
pub use throttle::ClientAddress;

use crate::{Api, Policy, Principal, Problem, Role};
use password::Hasher;
use throttle::{Counted, count, network};

/// The tables of accounts, for a migration: `tenants`, `users`, `memberships`, `sessions`, `api_keys` and those of rate limits, links
/// and revocations.
///
/// `users.disabled` is the program's own to set. It ends the sessions of the account, and revokes its keys, links and invitations, for
/// good: once the account is enabled again, its user signs in again and creates new keys.
pub const SCHEMA: &str = concat!(include_str!("schema.sql"), include_str!("upgrade.sql"), include_str!("disabled.sql"));

/// [`SCHEMA`] in the order in which it has grown, each a migration of its own.
pub const MIGRATIONS: [&str; 3] =
    [include_str!("schema.sql"), include_str!("upgrade.sql"), include_str!("disabled.sql")];

/// Largest body of a request to accounts, in bytes.
const BODY_BYTES: usize = 16 * 1024;
/// Invalid API keys from one network within 15 minutes; further ones are answered 429.
const KEY_TRIES: i64 = 20;

/// Options of accounts.
///
/// ```
/// use isobar_api::AuthOptions;
/// use isobar_api::auth::PasswordCost;
/// let options = AuthOptions::default()
///     .with_signup(true)
///     .with_setup_token("correct horse battery staple")?
///     .with_recent_for(chrono::TimeDelta::minutes(5))
///     .with_password_cost(PasswordCost { memory: 12 * 1024, passes: 3 });
/// assert!(options.signup);
/// # Ok::<(), isobar_api::auth::SetupTokenError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AuthOptions {
    /// Whether anyone may sign up, with a new tenant, once there is an operator. Default: false; then people join by invitation.
    pub signup: bool,
    /// Configured set-up token, set and checked by [`with_setup_token`](Self::with_setup_token). Default: none.
    setup_token: Option<Secret>,
    /// Sender of e-mail. Default: none; then addresses are not verified and passwords cannot be reset.
    pub mail: Option<MailOptions>,
    /// Hook that closes connections of users whose access has ended. Default: none; then sockets end by their own time limit.
    pub revocations: Option<Arc<dyn Revocations>>,
    /// Time after a sign-in, or after the password was entered again, within which API keys can be created, the address changed and
    /// other accounts connected. Default: 10 minutes.
    pub recent_for: chrono::TimeDelta,
    /// Longest lifetime of an API key, and the lifetime of one that is created without an expiry. Default: 365 days.
    pub key_lifetime: chrono::TimeDelta,
    /// Cost of hashing a password. Default: 19 MiB in 2 passes.
    pub password_cost: PasswordCost,
    /// Lifetime of a session from the sign-in. Default: 30 days.
    pub session_lifetime: chrono::TimeDelta,
    /// Lifetime of a session from its last use. Default: 7 days.
    pub session_idle: chrono::TimeDelta,
    /// Time after which a session in use gets a new token. Default: 1 hour.
    pub session_rotation: chrono::TimeDelta,
}

impl Default for AuthOptions {
    fn default() -> Self {
        Self {
            signup: false,
            setup_token: None,
            mail: None,
            revocations: None,
            recent_for: chrono::TimeDelta::minutes(10),
            key_lifetime: chrono::TimeDelta::days(365),
            password_cost: PasswordCost::default(),
            session_lifetime: chrono::TimeDelta::days(30),
            session_idle: chrono::TimeDelta::days(7),
            session_rotation: chrono::TimeDelta::hours(1),
        }
    }
}

impl AuthOptions {
    /// Sets whether anyone may sign up. Default: false.
    #[must_use]
    pub fn with_signup(mut self, signup: bool) -> Self {
        self.signup = signup;
        self
    }

    /// Sets a set-up token, for servers whose output is not visible. It is valid as long as there is no operator. An empty text unsets
    /// it. Default: none; see [`Auth::setup_token`].
    ///
    /// ```
    /// use isobar_api::AuthOptions;
    /// assert!(AuthOptions::default().with_setup_token("correct horse battery staple").is_ok());
    /// let error = AuthOptions::default().with_setup_token("short").expect_err("it can be guessed");
    /// assert_eq!(error.to_string(), "the set-up token is too short: use at least 16 random characters");
    /// ```
    ///
    /// # Errors
    /// [`SetupTokenError`] for a token of fewer than 16 characters.
    pub fn with_setup_token(mut self, token: &str) -> Result<Self, SetupTokenError> {
        if !token.is_empty() && token.trim().chars().count() < setup::TOKEN_CHARACTERS {
            return Err(SetupTokenError(()));
        }
        self.setup_token = (!token.is_empty()).then(|| Secret::new(token));
        Ok(self)
    }

    /// Sets the sender of e-mail: confirmations of addresses, links to new passwords, invitations, notices. Default: none.
    #[must_use]
    pub fn with_mail(mut self, mail: MailOptions) -> Self {
        self.mail = Some(mail);
        self
    }

    /// Sets the hook that closes connections of users whose access has ended. Default: none.
    #[must_use]
    pub fn with_revocations(mut self, revocations: Arc<dyn Revocations>) -> Self {
        self.revocations = Some(revocations);
        self
    }

    /// Sets the time for which a sign-in counts as recent. Default: 10 minutes.
    #[must_use]
    pub fn with_recent_for(mut self, time: chrono::TimeDelta) -> Self {
        self.recent_for = time;
        self
    }

    /// Sets the longest lifetime of an API key, which is also that of one without an expiry. Default: 365 days.
    ///
    /// Keys that exist keep the expiry that they were created with.
    #[must_use]
    pub fn with_key_lifetime(mut self, time: chrono::TimeDelta) -> Self {
        self.key_lifetime = time;
        self
    }

    /// Sets the cost of hashing a password. Default: 19 MiB in 2 passes. A Worker's CPU time may need a lower one.
    #[must_use]
    pub fn with_password_cost(mut self, cost: PasswordCost) -> Self {
        self.password_cost = cost;
        self
    }

    /// Sets the lifetime of a session from the sign-in, its lifetime from its last use, and the time after which its token is replaced.
    /// Default: 30 days, 7 days, 1 hour.
    ///
    /// Whichever ends first ends the session. A token that was replaced is accepted for 60 s more, for requests in flight.
    /// Idle time is counted from the last replacement of the token, so that reading a session writes nothing: it is exact to
    /// the rotation.
    ///
    /// ```
    /// use chrono::TimeDelta;
    /// use isobar_api::AuthOptions;
    /// let options = AuthOptions::default().with_session(TimeDelta::days(1), TimeDelta::hours(8), TimeDelta::minutes(15));
    /// assert_eq!(options.session_idle, TimeDelta::hours(8));
    /// ```
    #[must_use]
    pub fn with_session(
        mut self,
        lifetime: chrono::TimeDelta,
        idle: chrono::TimeDelta,
        rotation: chrono::TimeDelta,
    ) -> Self {
        self.session_lifetime = lifetime;
        self.session_idle = idle;
        self.session_rotation = rotation;
        self
    }
}

/// Accounts in a database that has the tables of [`SCHEMA`]. Cheap to clone.
///
/// ```
/// use std::sync::Arc;
/// use isobar_api::{Api, Auth, AuthOptions};
/// use isobar_db::{Database, QueryableExt, SqliteDatabase};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// let database: Arc<dyn Database> = Arc::new(SqliteDatabase::memory().await?);
/// database.run_script(isobar_api::SCHEMA).await?;
/// database.run_script(isobar_api::auth::SCHEMA).await?;
/// let auth = Auth::new(Arc::clone(&database), AuthOptions::default());
/// let router = auth.protect(auth.mount(Api::new(database)).into_router());
/// // The first tenant that redeems this token is the operator.
/// assert!(auth.setup_token().await?.is_some());
/// # drop(router);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Auth {
    inner: Arc<Inner>,
}

struct Inner {
    database: Arc<dyn Database>,
    options: AuthOptions,
    hasher: Hasher,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { database, options, hasher: _ } = &*self.inner;
        f.debug_struct("Auth").field("database", database).field("options", options).finish_non_exhaustive()
    }
}

impl Auth {
    /// Accounts in a database.
    ///
    /// It starts nothing: call [`sweep`](Self::sweep) and [`deliver_revocations`](Self::deliver_revocations) periodically.
    ///
    /// # Panics
    /// When argon2 does not accept the cost of the options.
    pub fn new(database: Arc<dyn Database>, options: AuthOptions) -> Self {
        let hasher = Hasher::new(options.password_cost);
        Self { inner: Arc::new(Inner { database, options, hasher }) }
    }

    /// Adds the routes under `/auth`: `signup`, `setup`, `login`, `logout`, `logout-everywhere`, `me`, `password`,
    /// `reauthenticate`, `email`, `verify`, `forgot`, `reset`, `tenant`, `keys`, `invitations`, `join`, `members`.
    ///
    /// All take and give JSON, of at most 16 KiB. A body with an unknown field is answered 400.
    ///
    /// | route | for | effect |
    /// |---|---|---|
    /// | `POST /auth/signup` | everyone, where open or with the set-up token | a user, and a tenant that is the user's |
    /// | `POST /auth/login`, `/auth/logout` | everyone | a session begins, or ends |
    /// | `POST /auth/logout-everywhere` | sessions | every session, key and sent link of the user ends |
    /// | `GET /auth/me` | sessions and keys | the user, with tenants and role |
    /// | `POST /auth/password` | sessions | a new password; other sessions end, and keys unless `keep_keys` is sent |
    /// | `POST /auth/reauthenticate` | sessions | the sign-in counts as recent again |
    /// | `POST /auth/setup` | owners, by a session | the tenant is the operator's |
    /// | `POST /auth/forgot`, `/auth/reset` | everyone | a link to a new password, and the new password by it |
    /// | `POST /auth/verify`, `/auth/verify/send` | everyone; sessions | an address is proved; its link is sent again |
    /// | `POST /auth/email` | sessions, recent | a link to another address |
    /// | `POST /auth/tenant` | sessions | a session in another tenant of the user |
    /// | `GET, POST /auth/keys`, `DELETE /auth/keys/{id}` | sessions; to create, recent | API keys, at most 100 of a user in a tenant |
    /// | `GET /auth/members`, `POST /auth/invitations` | admins | the members; an invitation, for 7 days |
    /// | `POST /auth/invitations/read`, `/auth/join` | bearers of an invitation | its contents; a membership |
    ///
    /// Where no [`MailOptions`] are set, the routes that send e-mail are answered 501, and an invitation's token is in the
    /// answer.
    #[must_use]
    pub fn mount(&self, api: Api) -> Api {
        let public = Policy::Public;
        let known = Policy::AtLeast(Role::Viewer);
        let add = |api: Api, path: &str, policy, routes: axum::routing::MethodRouter<Self>| {
            api.route(path, policy, policy, routes.layer(DefaultBodyLimit::max(BODY_BYTES)).with_state(self.clone()))
        };
        let api = add(api, "/auth/signup", public, post(account::sign_up));
        let api = add(api, "/auth/login", public, post(account::log_in));
        let api = add(api, "/auth/logout", public, post(account::log_out));
        let api = add(api, "/auth/logout-everywhere", known, post(account::log_out_everywhere));
        let api = add(api, "/auth/me", known, get(account::me));
        let api = add(api, "/auth/password", known, post(account::password));
        let api = add(api, "/auth/reauthenticate", known, post(account::reauthenticate));
        let api = add(api, "/auth/setup", known, post(setup::set_up));
        let api = add(api, "/auth/forgot", public, post(recovery::forgot));
        let api = add(api, "/auth/reset", public, post(recovery::reset));
        let api = add(api, "/auth/verify", public, post(recovery::verify));
        let api = add(api, "/auth/verify/send", known, post(recovery::send_again));
        let api = add(api, "/auth/email", known, post(recovery::change_address));
        let api = add(api, "/auth/tenant", known, post(account::switch));
        let api = add(api, "/auth/keys", known, get(keys::list).post(keys::create));
        let api = add(api, "/auth/keys/{id}", known, delete(keys::revoke));
        let admin = Policy::AtLeast(Role::Admin);
        let api = add(api, "/auth/members", admin, get(invite::members));
        let api = add(api, "/auth/invitations", admin, post(invite::invite));
        let api = add(api, "/auth/invitations/read", public, post(invite::read));
        let api = add(api, "/auth/join", public, post(invite::join));
        documents::all().into_iter().fold(api, |api, (path, item)| api.document(path, item))
    }

    /// Adds a layer that authenticates each request, and puts its [`Principal`] into the extensions. A request with an invalid
    /// API key is answered 401, one that another site made a browser send 403, one without a session or a key is anonymous.
    ///
    /// | request | principal |
    /// |---|---|
    /// | `Authorization: Bearer` with a valid key | the key's user, limited by its role and scopes; the cookie is not looked at |
    /// | `Authorization` with anything else | none: 401, and 429 after 20 of one network within 15 minutes |
    /// | a session's cookie | the session's user; the answer may set the next token |
    /// | a session's cookie that has ended or expired | anonymous |
    /// | a write, or a WebSocket, with a cookie from another origin | none: 403 |
    /// | neither | anonymous |
    ///
    /// An answer without `Cache-Control` gets `no-store`. One query looks a session or a key up, with the role that the user
    /// has now.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use axum::body::Body;
    /// # use http::Request;
    /// # use isobar_api::{Api, Auth, AuthOptions};
    /// # use isobar_db::{Database, QueryableExt, SqliteDatabase};
    /// # use tower::ServiceExt;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database: Arc<dyn Database> = Arc::new(SqliteDatabase::memory().await?);
    /// # database.run_script(isobar_api::auth::SCHEMA).await?;
    /// let auth = Auth::new(Arc::clone(&database), AuthOptions::default());
    /// let router = auth.protect(Api::new(database).into_router());
    /// let request = Request::get("/openapi.json").header("authorization", "Bearer iso_unknown_key").body(Body::empty())?;
    /// assert_eq!(router.oneshot(request).await?.status(), 401);
    /// # Ok(()) }
    /// ```
    pub fn protect(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), authenticate))
    }

    /// Deletes expired sessions, rate limits, links and known browsers. Returns the number of rows. Run it periodically, every hour for
    /// example.
    ///
    /// Rows that have expired are without effect before they are deleted. Concurrent calls do no harm.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use isobar_api::{Auth, AuthOptions};
    /// # use isobar_db::{Database, QueryableExt, SqliteDatabase};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// # let database: Arc<dyn Database> = Arc::new(SqliteDatabase::memory().await?);
    /// # database.run_script(isobar_api::auth::SCHEMA).await?;
    /// let auth = Auth::new(database, AuthOptions::default());
    /// assert_eq!(auth.sweep().await?, 0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Queryable::query`](isobar_db::Queryable::query).
    pub async fn sweep(&self) -> isobar_db::Result<u64> {
        let now = crate::time::now();
        let over = |sql: &'static str| Statement::new(sql).bind(&now);
        let statements = vec![
            over("DELETE FROM sessions WHERE expires_at <= ?"),
            over("DELETE FROM auth_attempts WHERE window_ends_at <= ?"),
            over("DELETE FROM one_time_tokens WHERE expires_at <= ?"),
            over("DELETE FROM known_devices WHERE expires_at <= ?"),
        ];
        let results = isobar_db::Queryable::batch(self.database(), statements).await?;
        Ok(results.iter().map(|result| result.meta.changes).sum())
    }

    fn database(&self) -> &dyn Database {
        &*self.inner.database
    }

    fn options(&self) -> &AuthOptions {
        &self.inner.options
    }

    fn hasher(&self) -> &Hasher {
        &self.inner.hasher
    }
}

/// The layer of [`Auth::protect`]. Revocations are delivered before the answer to a write, so that a client that reads
/// "revoked" finds its connections closed.
async fn authenticate(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut cookie = None;
    let principal = match identify(&auth, &parts, &mut cookie).await {
        Ok(principal) => principal,
        Err(problem) => return problem.into_response(),
    };
    parts.extensions.insert(principal);
    let acts = !parts.method.is_safe();
    let path = acts.then(|| parts.uri.path().to_owned());
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if let Some(path) = path {
        auth.deliver_after(&path).await;
    }
    // Answers must not be cached for other principals, unless a handler permits it.
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(http::HeaderValue::from_static("no-store"));
    // A cookie that a handler has set, at login or logout, stays.
    if let Some(cookie) = cookie
        && !response.headers().get_all(header::SET_COOKIE).iter().any(session::is_session)
    {
        response.headers_mut().append(header::SET_COOKIE, cookie);
        // With this cookie the answer is for one browser.
        response.headers_mut().insert(header::CACHE_CONTROL, http::HeaderValue::from_static("private, no-store"));
    }
    response
}

/// Returns the principal of a request, and the cookie to set where a session's token was rotated.
///
/// # Errors
/// 401 for an invalid key, 429 for too many of them, 403 for a write with a cookie that comes from another origin.
async fn identify(auth: &Auth, request: &Parts, cookie: &mut Option<http::HeaderValue>) -> Result<Principal, Problem> {
    let headers = &request.headers;
    if let Some(authorization) = headers.get(header::AUTHORIZATION) {
        let text = authorization.to_str().unwrap_or_default();
        let (scheme, key) = text.split_once(' ').unwrap_or_default();
        let found = match scheme.eq_ignore_ascii_case("bearer") {
            true => keys::find(auth.database(), key.trim()).await?,
            false => None,
        };
        if let Some(principal) = found {
            return Ok(principal);
        }
        let network = network(request.extensions.get::<ClientAddress>());
        count(auth.database(), &[Counted::new("key", &network, KEY_TRIES)]).await?;
        return Err(Problem::new(StatusCode::UNAUTHORIZED).with_detail("the API key is unknown, revoked or expired"));
    }
    let Some(token) = session::token_of(headers) else { return Ok(Principal::anonymous()) };
    // A browser sends the cookie even if another site makes it send the request. A WebSocket is a GET that no link requests.
    let acts = !request.method.is_safe() || headers.contains_key(header::UPGRADE);
    if acts && !is_same_origin(headers) {
        let detail = "this request comes from another site, or has neither Sec-Fetch-Site nor Origin";
        return Err(Problem::new(StatusCode::FORBIDDEN).with_detail(detail));
    }
    let found = session::find(auth.database(), auth.options(), token).await?;
    Ok(found.map_or_else(Principal::anonymous, |found| {
        *cookie = found.cookie;
        found.principal
    }))
}

/// Whether a browser's request comes from a page of this origin: by `Sec-Fetch-Site`, or `Origin` of older browsers.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &http::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text(&http::HeaderName::from_static("sec-fetch-site")) {
        return site == "same-origin";
    }
    let origin = text(&header::ORIGIN).and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    origin.is_some() && origin == text(&header::HOST)
}
