//! Signing up, in and out.

use axum::Extension;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{AppendHeaders, IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use isobar_db::{Database, QueryableExt, Statement};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::throttle::{ClientAddress, Counted, count, forgive, network};
use super::{Auth, SETUP, session, token};
use crate::resource::{must_have_changed, new_id, nothing_changed, now};
use crate::{Caller, Format, Problem, Role};

pub(crate) type Body = Result<axum::Json<serde_json::Value>, JsonRejection>;
type Address = Option<Extension<ClientAddress>>;

/// Tries within a quarter of an hour: of one network for one account, of one network, and for one account.
const PAIR_TRIES: i64 = 5;
const NETWORK_TRIES: i64 = 50;
const ACCOUNT_TRIES: i64 = 50;

/// Fails, and its batch with it, once there is an owner.
const NO_OWNER: &str =
    "SELECT json(CASE WHEN EXISTS (SELECT 1 FROM memberships WHERE role = 'owner') THEN 'taken' ELSE 'true' END)";

/// Whether the caller acts for the operator's tenant: the one that was there first. What belongs to no tenant - everybody's
/// requests, a database from before there were tenants - is its own to see.
///
/// # Errors
/// What the database suffers.
pub async fn is_operator(database: &dyn Database, caller: &Caller) -> Result<bool, Problem> {
    let sql = "SELECT id FROM tenants ORDER BY created_at, id LIMIT 1";
    let first: Option<String> = database.prepare(sql).first().await?;
    Ok(first.is_some() && first.as_deref() == caller.tenant())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignUp {
    email: String,
    password: String,
    name: String,
    tenant: NewTenant,
    /// Of the set-up link.
    token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTenant {
    slug: String,
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogIn {
    email: String,
    password: String,
    /// The slug of the tenant, where the user has several.
    tenant: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    current: String,
    new: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    tenant: String,
}

/// `POST /auth/signup`: a user, and a tenant that is the user's. Where sign-up is closed, only with the set-up link's token.
pub(super) async fn sign_up(State(auth): State<Auth>, address: Address, body: Body) -> Result<Response, Problem> {
    let address = address.as_deref();
    count(auth.database(), &[Counted::new("sign-up", &network(address), NETWORK_TRIES)]).await?;
    let SignUp { email, password, name, tenant, token } = input(body)?;
    let email = email.trim().to_ascii_lowercase();
    check(&email, &password, &name, &tenant)?;
    if token.is_none() && !auth.options().signup {
        let detail = "nobody signs up here without a link; ask an owner";
        return Err(Problem::new(StatusCode::FORBIDDEN).with_detail(detail));
    }
    let password_hash = auth.hasher().hash(password).await?;
    let (user_id, tenant_id, now) = (new_id()?, new_id()?, now());
    let (session, cookie) = session::create(auth.options(), &user_id, &tenant_id)?;
    let mut statements = Vec::new();
    let of_operator = |token: &String| {
        let expected = auth.options().setup_token.as_ref();
        expected.is_some_and(|expected| token::matches(token, &token::hash_bytes(expected.expose())))
    };
    if token.as_ref().is_some_and(of_operator) {
        statements.push(Statement::new(NO_OWNER));
    } else if let Some(token) = &token {
        let sql = "DELETE FROM one_time_tokens WHERE hash = ? AND purpose = ? AND expires_at > ? \
                   AND NOT EXISTS (SELECT 1 FROM memberships WHERE role = 'owner')";
        statements.push(Statement::new(sql).bind(token::hash(token)).bind(SETUP).bind(&now));
        statements.push(must_have_changed());
    }
    let hash = Some(password_hash.as_str());
    statements.extend(Auth::owner(&user_id, &email, &name, hash, &tenant_id, &tenant.slug, &tenant.name)?);
    statements.push(session);
    auth.database().batch(statements).await.map_err(not_created)?;
    let caller = Caller::member(user_id, tenant_id, Role::Owner);
    answer(&auth, &caller, StatusCode::CREATED, Some(cookie)).await
}

impl Auth {
    /// The statements that make a user, and a tenant that is the user's.
    pub(super) fn owner(
        user: &str,
        email: &str,
        name: &str,
        password_hash: Option<&str>,
        tenant: &str,
        slug: &str,
        tenant_name: &str,
    ) -> isobar_db::Result<[Statement; 3]> {
        let (membership, now) = (new_id()?, now());
        let tenants = "INSERT INTO tenants (id, slug, name, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?4)";
        let tenants = Statement::new(tenants).bind_all([tenant, slug, tenant_name, &now]);
        let users = "INSERT INTO users (id, email, name, password_hash, created_at, updated_at) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?5)";
        let users = Statement::new(users).bind(user).bind(email).bind(name).bind(password_hash).bind(&now);
        let members = "INSERT INTO memberships (id, tenant_id, user_id, role, created_at, updated_at) \
                       VALUES (?1, ?2, ?3, 'owner', ?4, ?4)";
        let members = Statement::new(members).bind_all([&membership, tenant, user, &now]);
        Ok([tenants, users, members])
    }
}

/// `POST /auth/login`.
pub(super) async fn log_in(
    State(auth): State<Auth>,
    address: Address,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let LogIn { email, password, tenant } = input(body)?;
    let (email, network) = (email.trim().to_ascii_lowercase(), network(address.as_deref()));
    let counted = login_tries(&email, &network);
    // By itself first: whoever is refused for one account from one network does not go on counting against the account.
    count(auth.database(), &counted[..1]).await?;
    count(auth.database(), &counted[1..]).await?;
    let sql = "SELECT id, password_hash FROM users WHERE email = ? AND disabled = 0";
    let user: Option<(String, Option<String>)> = auth.database().prepare(sql).bind(&email).first().await?;
    let (user, hash) = user.map_or((None, None), |(id, hash)| (Some(id), hash));
    let verified = auth.hasher().verify(password, hash).await?;
    // The same for an unknown address and a wrong password.
    let refused = || Problem::new(StatusCode::UNAUTHORIZED).with_detail("the e-mail address or the password is wrong");
    let user = user.filter(|_| verified).ok_or_else(refused)?;
    forgive(auth.database(), &counted).await?;

    let (tenant, role) = membership(&auth, &user, tenant.as_deref()).await?;
    let (create, cookie) = session::create(auth.options(), &user, &tenant)?;
    // What the browser had before is over: a session that somebody has planted there is worth nothing.
    let old = session::token_of(&headers).map(session::end);
    auth.database().batch(old.into_iter().chain([session::sweep(), create]).collect()).await?;
    answer(&auth, &Caller::member(user, tenant, role), StatusCode::OK, Some(cookie)).await
}

/// What a try at a password counts for: the address from that network, the network, the address.
pub(super) fn login_tries(email: &str, network: &str) -> [Counted; 3] {
    [
        Counted::new("pair", &format!("{email}|{network}"), PAIR_TRIES),
        Counted::new("network", network, NETWORK_TRIES),
        Counted::new("account", email, ACCOUNT_TRIES),
    ]
}

/// `POST /auth/logout`.
pub(super) async fn log_out(State(auth): State<Auth>, headers: HeaderMap) -> Result<Response, Problem> {
    if let Some(token) = session::token_of(&headers) {
        auth.database().query(session::end(token)).await?;
    }
    Ok((StatusCode::NO_CONTENT, AppendHeaders([(header::SET_COOKIE, session::no_cookie())])).into_response())
}

/// `POST /auth/logout-everywhere`.
pub(super) async fn log_out_everywhere(State(auth): State<Auth>, caller: Caller) -> Result<Response, Problem> {
    let (user, ..) = signed_in(&caller)?;
    auth.database().query(session::end_all(user)).await?;
    Ok((StatusCode::NO_CONTENT, AppendHeaders([(header::SET_COOKIE, session::no_cookie())])).into_response())
}

/// `GET /auth/me`.
pub(super) async fn me(State(auth): State<Auth>, caller: Caller) -> Result<Response, Problem> {
    answer(&auth, &caller, StatusCode::OK, None).await
}

/// `POST /auth/password`: every session ends but the one that is answered.
pub(super) async fn password(
    State(auth): State<Auth>,
    caller: Caller,
    address: Address,
    body: Body,
) -> Result<Response, Problem> {
    let (user, tenant, _) = signed_in(&caller)?;
    let counted = [Counted::new("pair", &format!("{user}|{}", network(address.as_deref())), PAIR_TRIES)];
    count(auth.database(), &counted).await?;
    let NewPassword { current, new } = input(body)?;
    let sql = "SELECT password_hash FROM users WHERE id = ?";
    let hash: Option<Option<String>> = auth.database().prepare(sql).bind(user).first_column("password_hash").await?;
    if !auth.hasher().verify(current, hash.flatten()).await? {
        return Err(Problem::new(StatusCode::FORBIDDEN).with_field("current", "is wrong"));
    }
    forgive(auth.database(), &counted).await?;
    if !password_fits(&new) {
        return Err(Problem::bad_request("the password is not valid").with_field("new", PASSWORD));
    }
    let hash = auth.hasher().hash(new).await?;
    let sql = "UPDATE users SET password_hash = ?, updated_at = ?, revision = revision + 1 WHERE id = ?";
    let update = Statement::new(sql).bind(hash).bind(now()).bind(user);
    let (create, cookie) = session::create(auth.options(), user, tenant)?;
    auth.database().batch(vec![update, session::end_all(user), create]).await?;
    answer(&auth, &caller, StatusCode::OK, Some(cookie)).await
}

/// `POST /auth/tenant`: goes on in another tenant of the user's.
pub(super) async fn switch(
    State(auth): State<Auth>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (user, ..) = signed_in(&caller)?;
    let Switch { tenant } = input(body)?;
    let (tenant, role) = membership(&auth, user, Some(&tenant)).await?;
    let (create, cookie) = session::create(auth.options(), user, &tenant)?;
    let old = session::token_of(&headers).map(session::end);
    auth.database().batch(old.into_iter().chain([create]).collect()).await?;
    answer(&auth, &Caller::member(user, tenant, role), StatusCode::OK, Some(cookie)).await
}

/// Whoever is signed in: not an API key, which must not make or end what shows who somebody is.
pub(super) fn signed_in(caller: &Caller) -> Result<(&str, &str, Role), Problem> {
    match (caller.session(), caller.user(), caller.tenant(), caller.role()) {
        (Some(_), Some(user), Some(tenant), Some(role)) => Ok((user, tenant, role)),
        (_, Some(_), ..) => Err(Problem::new(StatusCode::FORBIDDEN).with_detail("an API key cannot do this; sign in")),
        _ => Err(Problem::new(StatusCode::UNAUTHORIZED)),
    }
}

/// The body, with what is wrong in it.
pub(crate) fn input<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let axum::Json(json) = body?;
    // What serde says of a value may have the value in it: a password.
    serde_json::from_value(json).map_err(|error| match error.to_string() {
        text if text.starts_with("missing field") || text.starts_with("unknown field") => Problem::bad_request(text),
        _ => Problem::bad_request("a field of the body is of the wrong type"),
    })
}

pub(super) const PASSWORD: &str = "must be 10 to 256 characters";

pub(super) fn password_fits(password: &str) -> bool {
    (10..=256).contains(&password.chars().count())
}

fn check(email: &str, password: &str, name: &str, tenant: &NewTenant) -> Result<(), Problem> {
    let text = |text: &str| (1..=200).contains(&text.trim().chars().count()) && !text.contains('\0');
    let checks = [
        (email.len() <= 254 && Format::Email.fits(email), "email", "must be an e-mail address"),
        (password_fits(password), "password", PASSWORD),
        (text(name), "name", "must be a text of 1 to 200 characters"),
        (
            tenant.slug.len() <= 64 && Format::Slug.fits(&tenant.slug),
            "tenant.slug",
            "must be 1 to 64 of a-z, 0-9 and -",
        ),
        (text(&tenant.name), "tenant.name", "must be a text of 1 to 200 characters"),
    ];
    let wrong = checks.iter().filter(|(fits, ..)| !fits);
    let problem = Problem::bad_request("the sign-up is not valid; see errors");
    let problem = wrong.fold(problem, |problem, (_, field, detail)| problem.with_field(*field, *detail));
    if checks.iter().all(|(fits, ..)| *fits) { Ok(()) } else { Err(problem) }
}

fn not_created(error: isobar_db::Error) -> Problem {
    if nothing_changed(&error) {
        return Problem::new(StatusCode::FORBIDDEN).with_detail("the link was used, is over, or never was one");
    }
    let message = error.message().to_owned();
    let problem = Problem::from(error);
    match [("users.email", "email"), ("tenants.slug", "tenant.slug")].iter().find(|(name, _)| message.contains(name)) {
        Some((_, field)) if problem.status() == StatusCode::CONFLICT => problem.with_field(*field, "is taken"),
        _ => problem,
    }
}

/// The tenant of this slug, or the one the user was in first, and the user's role there.
async fn membership(auth: &Auth, user: &str, slug: Option<&str>) -> Result<(String, Role), Problem> {
    let sql = "SELECT m.tenant_id, m.role FROM memberships m JOIN tenants t ON t.id = m.tenant_id \
               WHERE m.user_id = ?1 AND (?2 IS NULL OR t.slug = ?2) ORDER BY m.id LIMIT 1";
    let found: Option<(String, Role)> = auth.database().prepare(sql).bind(user).bind(slug).first().await?;
    found.ok_or_else(|| Problem::new(StatusCode::FORBIDDEN).with_detail("you are no member of such a tenant"))
}

/// Who the caller is, as the pages want to know it.
pub(super) async fn answer(
    auth: &Auth,
    caller: &Caller,
    status: StatusCode,
    cookie: Option<HeaderValue>,
) -> Result<Response, Problem> {
    let unknown = || Problem::new(StatusCode::UNAUTHORIZED);
    let (user, tenant) = (caller.user().ok_or_else(unknown)?, caller.tenant().ok_or_else(unknown)?);
    let users = Statement::new("SELECT id, email, name FROM users WHERE id = ?").bind(user);
    let sql = "SELECT t.id, t.slug, t.name, m.role FROM memberships m JOIN tenants t ON t.id = m.tenant_id \
               WHERE m.user_id = ? ORDER BY m.id";
    let results = auth.database().batch(vec![users, Statement::new(sql).bind(user)]).await?;
    let user = results[0].rows.first().ok_or_else(unknown)?.to_json();
    let tenants: Vec<_> = results[1].rows.iter().map(|row| row.to_json()).collect();
    let current = tenants.iter().find(|one| one["id"] == tenant);
    let body = axum::Json(json!({"user": user, "tenant": current, "role": caller.role(), "tenants": tenants}));
    let cookie = cookie.map(|cookie| (header::SET_COOKIE, cookie));
    Ok((status, AppendHeaders(cookie), [(header::CACHE_CONTROL, "no-store")], body).into_response())
}
