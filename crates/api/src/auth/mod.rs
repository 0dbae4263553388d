//! Authentication: accounts, sessions, API keys.
//!
//! People sign in with an e-mail address and a password, and are known by an opaque cookie; programs send an API key as
//! `Authorization: Bearer`. [`Auth::mount`] adds the routes to an [`Api`], [`Auth::protect`] finds out for every request who
//! sends it, and refuses what another site makes a browser send.

mod account;
mod common;
mod devices;
mod documents;
mod invite;
mod keys;
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

pub(crate) use account::{Body, input};
pub use oauth::{OAuth, OAuthProvider, SCHEMA as OAUTH_SCHEMA};
pub use password::PasswordCost;
pub use revocation::{Revocations, Revoked};
pub use setup::{SetupTokenError, is_operator};
pub use throttle::ClientAddress;

use crate::mail::MailSender;
use crate::{Api, Caller, Policy, Problem, Role};
use password::Hasher;
use throttle::{Counted, count, network};

/// The tables of accounts, for a migration: `tenants`, `users`, `memberships`, `sessions`, `api_keys` and what throttles.
pub const SCHEMA: &str = concat!(include_str!("schema.sql"), include_str!("upgrade.sql"));

/// [`SCHEMA`] in the order in which it has grown, each a migration of its own.
pub const MIGRATIONS: [&str; 2] = [include_str!("schema.sql"), include_str!("upgrade.sql")];

/// The largest body of a request to accounts.
const BODY_BYTES: usize = 16 * 1024;
/// Wrong keys from one network within a quarter of an hour.
const KEY_TRIES: i64 = 20;

/// How accounts behave.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AuthOptions {
    /// Whether anybody may sign up, with a tenant of their own, once there is an operator. Default: no.
    pub signup: bool,
    /// The configured set-up token; set by [`with_setup_token`](Self::with_setup_token), which checks it. Default: none.
    setup_token: Option<Secret>,
    /// The sender of e-mail. Default: none; then addresses are not verified and passwords are not reset.
    pub mail: Option<MailOptions>,
    /// The hook that closes connections whose user's access has ended. Default: none; sockets then end by their own time limit.
    pub revocations: Option<Arc<dyn Revocations>>,
    /// The time after a sign-in, or after the password was entered again, within which API keys are made, addresses changed and
    /// accounts elsewhere connected. Default: 10 minutes.
    pub recent_for: chrono::TimeDelta,
    /// The longest life of an API key, and its life where none is given. Default: 365 days.
    pub key_lifetime: chrono::TimeDelta,
    /// Cost of a password's hash. Default: OWASP's, see [`PasswordCost`].
    pub password_cost: PasswordCost,
    /// Longest lifetime of a session. Default: 30 days.
    pub session_lifetime: chrono::TimeDelta,
    /// Lifetime of a session that is not used. Default: 7 days.
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
    /// Whether anybody may sign up.
    #[must_use]
    pub fn with_signup(mut self, signup: bool) -> Self {
        self.signup = signup;
        self
    }

    /// Sets a set-up token, valid while there is no operator, for servers whose output is not read. An empty one counts as not
    /// set. Default: none.
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

    /// Sets the sender of e-mail: confirmations of addresses, links to new passwords, invitations, notices.
    #[must_use]
    pub fn with_mail(mut self, mail: MailOptions) -> Self {
        self.mail = Some(mail);
        self
    }

    /// Sets the hook that closes connections whose user's access has ended.
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

    /// The longest life of an API key, and its life where none is given. Default: 365 days.
    #[must_use]
    pub fn with_key_lifetime(mut self, time: chrono::TimeDelta) -> Self {
        self.key_lifetime = time;
        self
    }

    /// Sets the cost of a password's hash. Within a Worker's CPU time a lower one than the default may be needed.
    #[must_use]
    pub fn with_password_cost(mut self, cost: PasswordCost) -> Self {
        self.password_cost = cost;
        self
    }

    /// Sets the longest lifetime of a session, the one of an unused session, and the time after which it gets a new token.
    #[must_use]
    pub fn with_session(
        mut self,
        lifetime: chrono::TimeDelta,
        idle: chrono::TimeDelta,
        rotation: chrono::TimeDelta,
    ) -> Self {
        (self.session_lifetime, self.session_idle, self.session_rotation) = (lifetime, idle, rotation);
        self
    }
}

/// Options of e-mail.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MailOptions {
    /// The sender.
    pub sender: Arc<dyn MailSender>,
    /// The URL under which people see the service: links begin with it. Never taken from a request, whose `Host` is its sender's.
    pub base_url: String,
    /// The service's name in subjects and texts. Default: the host of the URL.
    pub service: String,
}

impl MailOptions {
    /// E-mail by this sender, with links to this URL: `https://example.com`.
    pub fn new(sender: Arc<dyn MailSender>, base_url: &str) -> Self {
        let base_url = base_url.trim_end_matches('/').to_owned();
        let service = base_url.split("://").last().unwrap_or_default().to_owned();
        Self { sender, base_url, service }
    }

    /// The service's name in subjects and texts.
    #[must_use]
    pub fn with_service(mut self, name: impl Into<String>) -> Self {
        self.service = name.into();
        self
    }
}

/// Accounts in a database that has the tables of [`SCHEMA`]. Cheap to clone.
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
    /// Accounts in this database.
    ///
    /// # Panics
    /// When argon2 does not take the password's cost.
    pub fn new(database: Arc<dyn Database>, options: AuthOptions) -> Self {
        let hasher = Hasher::new(options.password_cost);
        Self { inner: Arc::new(Inner { database, options, hasher }) }
    }

    /// Adds the routes under `/auth`: `signup`, `setup`, `login`, `logout`, `logout-everywhere`, `me`, `password`,
    /// `reauthenticate`, `email`, `verify`, `forgot`, `reset`, `tenant`, `keys`, `invitations`, `join`, `members`.
    #[must_use]
    pub fn mount(&self, api: Api) -> Api {
        let (public, known) = (Policy::Public, Policy::AtLeast(Role::Viewer));
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

    /// Authenticates each request, and puts its [`Caller`] into its extensions.
    pub fn protect(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), authenticate))
    }

    /// Deletes expired sessions, tries, links and devices. Returns the number of rows.
    ///
    /// # Errors
    /// As [`Queryable::query`](isobar_db::Queryable::query).
    pub async fn sweep(&self) -> isobar_db::Result<u64> {
        let now = crate::resource::now();
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

async fn authenticate(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut cookie = None;
    let caller = match identify(&auth, &parts, &mut cookie).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    parts.extensions.insert(caller);
    let acts = !parts.method.is_safe();
    let path = acts.then(|| parts.uri.path().to_owned());
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if let Some(path) = path {
        auth.deliver_after(&path).await;
    }
    // Answers to a caller must not be cached for others, unless a handler says otherwise.
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(http::HeaderValue::from_static("no-store"));
    // What a handler sets itself, at login or logout, stands.
    if let Some(cookie) = cookie
        && !response.headers().get_all(header::SET_COOKIE).iter().any(session::is_session)
    {
        response.headers_mut().append(header::SET_COOKIE, cookie);
        // With this cookie any answer is for one browser.
        response.headers_mut().insert(header::CACHE_CONTROL, http::HeaderValue::from_static("private, no-store"));
    }
    response
}

async fn identify(auth: &Auth, request: &Parts, cookie: &mut Option<http::HeaderValue>) -> Result<Caller, Problem> {
    let headers = &request.headers;
    if let Some(authorization) = headers.get(header::AUTHORIZATION) {
        let text = authorization.to_str().unwrap_or_default();
        let (scheme, key) = text.split_once(' ').unwrap_or_default();
        let found = match scheme.eq_ignore_ascii_case("bearer") {
            true => keys::find(auth.database(), key.trim()).await?,
            false => None,
        };
        if let Some(caller) = found {
            return Ok(caller);
        }
        let network = network(request.extensions.get::<ClientAddress>());
        count(auth.database(), &[Counted::new("key", &network, KEY_TRIES)]).await?;
        return Err(Problem::new(StatusCode::UNAUTHORIZED).with_detail("the API key is unknown, revoked or expired"));
    }
    let Some(token) = session::token_of(headers) else { return Ok(Caller::anonymous()) };
    // A browser sends the cookie even if another site makes it send the request. A WebSocket is a GET, and no link asks for it.
    let acts = !request.method.is_safe() || headers.contains_key(header::UPGRADE);
    if acts && !is_same_origin(headers) {
        let detail = "this request comes from another site, or does not say where it comes from";
        return Err(Problem::new(StatusCode::FORBIDDEN).with_detail(detail));
    }
    let found = session::find(auth.database(), auth.options(), token).await?;
    Ok(found.map_or_else(Caller::anonymous, |found| {
        *cookie = found.cookie;
        found.caller
    }))
}

/// Browsers say where a request comes from in `Sec-Fetch-Site`, older ones in `Origin`.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &http::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text(&http::HeaderName::from_static("sec-fetch-site")) {
        return site == "same-origin";
    }
    let origin = text(&header::ORIGIN).and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    origin.is_some() && origin == text(&header::HOST)
}
