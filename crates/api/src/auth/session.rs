//! Sessions of people: rows, and a cookie that names one.
//!
//! A session is a row, and a cookie with a random token of which the row has the hash: who reads the database cannot sign in. The
//! token is replaced while it is used ([`AuthOptions`]); the one before stays good for 60 s, as requests in flight have it. A
//! token that was stolen is so of use for a limited time, or until the session ends. Ending a session deletes its row, and takes
//! effect with the next request.
//!
//! The rights of the request are looked up with the session, in one query: the role that the user has in the tenant now, not when it
//! began.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use isobar_db::{Database, QueryableExt, Statement};

use super::{Auth, AuthOptions, token};
use crate::id::new_id;
use crate::time::{now, rfc3339};
use crate::{Principal, Problem, Role};

/// The `__Host-` prefix makes browsers refuse it without `Secure` and `Path=/`, and from a subdomain.
const COOKIE: &str = "__Host-session";
/// Time for which the token before a rotation is still accepted: requests in flight have it.
const GRACE: chrono::TimeDelta = chrono::TimeDelta::seconds(60);

/// A session that a request's cookie names.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) principal: Principal,
    /// The cookie to set, when the token was rotated.
    pub(super) cookie: Option<HeaderValue>,
}

/// The token in the request's cookie.
pub(super) fn token_of(headers: &HeaderMap) -> Option<&str> {
    cookie_of(headers, COOKIE)
}

/// Whether a `Set-Cookie` is the session's.
pub(super) fn is_session(value: &HeaderValue) -> bool {
    value.as_bytes().strip_prefix(COOKIE.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
}

/// The value of a cookie.
pub(super) fn cookie_of<'h>(headers: &'h HeaderMap, cookie: &str) -> Option<&'h str> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == cookie).map(|(_, token)| token)
}

/// Returns the statement that makes the session of a sign-in, and its cookie.
pub(super) fn create(options: &AuthOptions, user: &str, tenant: &str) -> Result<(Statement, HeaderValue), Problem> {
    create_at(options, user, tenant, &now())
}

/// Returns the statement that makes the session of a sign-in at that moment, and its cookie.
pub(super) fn create_at(
    options: &AuthOptions,
    user: &str,
    tenant: &str,
    authenticated_at: &str,
) -> Result<(Statement, HeaderValue), Problem> {
    let token = token::new()?;
    let now = now();
    let sql = "INSERT INTO sessions (id, user_id, tenant_id, token_hash, rotated_at, expires_at, created_at, authenticated_at) \
               VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    let expires = rfc3339(chrono::Utc::now() + options.session_lifetime);
    let statement = Statement::new(sql).bind(new_id()?).bind(user).bind(tenant).bind(token::hash(&token));
    let statement = statement.bind(&now).bind(expires).bind(&now).bind(authenticated_at);
    Ok((statement, cookie(&token, options.session_lifetime)))
}

/// Refuses a session whose user has not signed in, or entered the password again, within the time of the options.
///
/// # Errors
/// 403 of the type `urn:isobar:problem:reauthenticate`.
pub(super) async fn must_be_recent(auth: &Auth, principal: &Principal) -> Result<(), Problem> {
    let moment = chrono::Utc::now();
    // Not what a clock that was ahead has written.
    let sql = "SELECT count(*) FROM sessions WHERE id = ? AND authenticated_at BETWEEN ? AND ?";
    let query = auth.database().prepare(sql).bind(principal.session());
    let query = query.bind(rfc3339(moment - auth.options().recent_for)).bind(rfc3339(moment + GRACE));
    if query.one::<i64>().await? > 0 {
        return Ok(());
    }
    let detail = "this takes a recent sign-in; enter your password again, or sign in again";
    Err(Problem::new(StatusCode::FORBIDDEN).with_type("urn:isobar:problem:reauthenticate").with_detail(detail))
}

/// Returns the signed-in user, the tenant and the role. An API key is refused: it must not make or end credentials.
pub(super) fn signed_in(principal: &Principal) -> Result<(&str, &str, Role), Problem> {
    match (principal.session(), principal.user(), principal.tenant(), principal.role()) {
        (Some(_), Some(user), Some(tenant), Some(role)) => Ok((user, tenant, role)),
        (_, Some(_), ..) => Err(Problem::new(StatusCode::FORBIDDEN).with_detail("an API key cannot do this; sign in")),
        _ => Err(Problem::new(StatusCode::UNAUTHORIZED)),
    }
}

/// The statement that ends the oldest sessions of a user beyond 100.
pub(super) fn trim(user: &str) -> Statement {
    let sql = "DELETE FROM sessions WHERE user_id = ?1 AND id NOT IN \
               (SELECT id FROM sessions WHERE user_id = ?1 ORDER BY created_at DESC, id DESC LIMIT 100)";
    Statement::new(sql).bind(user)
}

/// Finds the session of a token, and rotates the token when it is due.
pub(super) async fn find(
    database: &dyn Database,
    options: &AuthOptions,
    token: &str,
) -> Result<Option<Found>, Problem> {
    let moment = chrono::Utc::now();
    let hash = token::hash(token);
    let sql = "SELECT s.id, s.user_id, s.tenant_id, s.rotated_at, s.expires_at, s.token_hash = ?1 AS current, m.role \
               FROM sessions s JOIN users u ON u.id = s.user_id \
               JOIN memberships m ON m.user_id = s.user_id AND m.tenant_id = s.tenant_id \
               WHERE (s.token_hash = ?1 OR (s.previous_hash = ?1 AND s.rotated_at > ?2)) \
               AND s.expires_at > ?3 AND s.rotated_at > ?4 AND u.disabled = 0";
    let statement = Statement::new(sql)
        .bind(hash.clone())
        .bind(rfc3339(moment - GRACE))
        .bind(rfc3339(moment))
        .bind(rfc3339(moment - options.session_idle));
    let result = database.query(statement.rows_only()).await?;
    let Some(row) = result.rows.first() else { return Ok(None) };
    let id: String = row.get("id")?;
    let role: String = row.get("role")?;
    let role: Role = role.parse().map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR))?;
    let user: String = row.get("user_id")?;
    let tenant: String = row.get("tenant_id")?;
    let principal = Principal::member(user, tenant, role).with_session(id.as_str());
    let is_due = row.get::<String>("rotated_at")? < rfc3339(moment - options.session_rotation);
    let cookie = match is_due && row.get::<bool>("current")? {
        true => rotate(database, &id, hash, &row.get::<String>("expires_at")?).await?,
        false => None,
    };
    Ok(Some(Found { principal, cookie }))
}

/// A new token for a session, unless another request has just made one.
async fn rotate(
    database: &dyn Database,
    id: &str,
    hash: bytes::Bytes,
    expires: &str,
) -> Result<Option<HeaderValue>, Problem> {
    let token = token::new()?;
    let sql = "UPDATE sessions SET token_hash = ?, previous_hash = token_hash, rotated_at = ? \
               WHERE id = ? AND token_hash = ?";
    let statement = Statement::new(sql).bind(token::hash(&token)).bind(now()).bind(id).bind(hash);
    let changed = database.query(statement).await?.meta.changes;
    let left = chrono::DateTime::parse_from_rfc3339(expires).map(|expires| expires.to_utc() - chrono::Utc::now());
    Ok((changed == 1).then(|| cookie(&token, left.unwrap_or_default())))
}

/// The statement that ends the session of a token.
pub(super) fn end(token: &str) -> Statement {
    Statement::new("DELETE FROM sessions WHERE token_hash = ?1 OR previous_hash = ?1").bind(token::hash(token))
}

/// The statement that ends every session of a user.
pub(super) fn end_all(user: &str) -> Statement {
    Statement::new("DELETE FROM sessions WHERE user_id = ?").bind(user)
}

/// The statement that ends the sessions of a user in one tenant.
pub(super) fn end_in(user: &str, tenant: &str) -> Statement {
    Statement::new("DELETE FROM sessions WHERE user_id = ? AND tenant_id = ?").bind(user).bind(tenant)
}

/// The statement that deletes expired sessions.
pub(super) fn sweep() -> Statement {
    Statement::new("DELETE FROM sessions WHERE expires_at <= ?").bind(now())
}

/// The cookie that forgets the session.
pub(super) fn no_cookie() -> HeaderValue {
    cookie("", chrono::TimeDelta::zero())
}

fn cookie(token: &str, age: chrono::TimeDelta) -> HeaderValue {
    cookie_named(COOKIE, token, age)
}

/// A cookie that no script reads and no other site sends: every one of accounts is made here. Names and tokens are our own: letters
/// of base64url.
pub(super) fn cookie_named(name: &str, token: &str, age: chrono::TimeDelta) -> HeaderValue {
    let seconds = age.num_seconds().max(0);
    let text = format!("{name}={token}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={seconds}");
    let mut value = HeaderValue::from_str(&text).expect("base64url and digits make a header");
    value.set_sensitive(true);
    value
}
