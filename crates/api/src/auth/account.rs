//! Signing up, in and out.
//!
//! Answers do not reveal whether an address has an account: a wrong address costs the time of a wrong password, and gets the same
//! answer. A try is counted before the password is compared. Signing up writes user, tenant, membership and session in one batch.

use axum::Extension;
use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use isobar_db::{QueryableExt, Statement};
use serde::Deserialize;
use serde_json::json;

use super::devices::PasswordTry;
use super::links::{forget_links, is_address};
use super::session::signed_in;
use super::throttle::{ClientAddress, Counted, OWN_TRIES, SIGN_UPS, count, forgive, network};
use super::{Auth, common, devices, keys, messages::Message, session, setup};
use crate::background::later;
use crate::batch::nothing_changed;
use crate::id::new_id;
use crate::json::{Body, input};
use crate::time::now;
use crate::{Format, Principal, Problem, Role};

type Address = Option<Extension<ClientAddress>>;

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
    /// Whether the user's API keys stay. They are revoked when it is not given.
    #[serde(default)]
    keep_keys: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reauthenticate {
    password: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    tenant: String,
}

/// `POST /auth/signup`: a user, and a tenant that is the user's. With the set-up token the tenant is the operator's. Without it sign-up
/// must be open, and an operator must be there.
pub(super) async fn sign_up(State(auth): State<Auth>, address: Address, body: Body) -> Result<Response, Problem> {
    let address = address.as_deref();
    count(auth.database(), &[Counted::new("sign-up", &network(address), SIGN_UPS)]).await?;
    let SignUp { email, password, name, tenant, token } = input(body)?;
    let email = email.trim().to_ascii_lowercase();
    check(&email, &password, &name, &tenant)?;
    if token.is_none() {
        auth.must_be_open().await?;
    }
    let password_hash = auth.hasher().hash(password).await?;
    let user_id = new_id()?;
    let tenant_id = new_id()?;
    let (session, cookie) = session::create(auth.options(), &user_id, &tenant_id)?;
    let (device, device_cookie) = devices::remember(&user_id)?;
    let mut statements = token.as_deref().map(|token| auth.redeem(token)).unwrap_or_default();
    let hash = Some(password_hash.as_str());
    statements.extend(Auth::owner(&user_id, &email, &name, hash, &tenant_id, &tenant.slug, &tenant.name)?);
    statements.extend(token.is_some().then(|| setup::operator(&tenant_id)).into_iter().flatten());
    statements.push(session);
    statements.extend(device);
    auth.database().batch(statements).await.map_err(not_created)?;
    auth.send_verification(&user_id, &email).await?;
    let principal = Principal::member(user_id, tenant_id, Role::Owner);
    answer(&auth, &principal, StatusCode::CREATED, vec![cookie, device_cookie]).await
}

impl Auth {
    /// Refuses a sign-up without the set-up token.
    ///
    /// # Errors
    /// 403 where sign-up is closed; 503 where it is open and the set-up token was not redeemed yet.
    pub(super) async fn must_be_open(&self) -> Result<(), Problem> {
        if !self.options().signup {
            let detail = "sign-up is closed here; ask an owner for an invitation";
            return Err(Problem::new(StatusCode::FORBIDDEN).with_detail(detail));
        }
        if !self.has_operator().await? {
            let detail =
                "sign-up opens once the operator has used the set-up link, which the server prints when it starts";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE).with_detail(detail));
        }
        Ok(())
    }

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
        let membership = new_id()?;
        let now = now();
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
    let email = email.trim().to_ascii_lowercase();
    let PasswordTry { counted, is_known } =
        devices::count_try(&auth, &headers, &email, &network(address.as_deref())).await?;
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
    // The session that the browser had before ends: one that an attacker has planted there is worth nothing.
    let old = session::token_of(&headers).map(session::end);
    let mut statements: Vec<_> = old.into_iter().chain([session::sweep(), create, session::trim(&user)]).collect();
    let mut cookies = vec![cookie];
    if !is_known {
        let (remember, cookie) = devices::remember(&user)?;
        statements.extend(remember);
        cookies.push(cookie);
    }
    auth.database().batch(statements).await?;
    answer(&auth, &Principal::member(user, tenant, role), StatusCode::OK, cookies).await
}

/// `POST /auth/logout`.
pub(super) async fn log_out(State(auth): State<Auth>, headers: HeaderMap) -> Result<Response, Problem> {
    if let Some(token) = session::token_of(&headers) {
        auth.database().query(session::end(token)).await?;
    }
    Ok((StatusCode::NO_CONTENT, AppendHeaders([(header::SET_COOKIE, session::no_cookie())])).into_response())
}

/// `POST /auth/logout-everywhere`: every session of the user ends, every API key, and every link that was sent: it is what one does
/// after a theft.
pub(super) async fn log_out_everywhere(State(auth): State<Auth>, principal: Principal) -> Result<Response, Problem> {
    let (user, ..) = signed_in(&principal)?;
    // What was sent to change the address or the password may be the thief's.
    let end = [session::end_all(user), keys::revoke_all(user), forget_links(user), devices::forget(user)];
    auth.database().batch(end.to_vec()).await?;
    Ok((StatusCode::NO_CONTENT, AppendHeaders([(header::SET_COOKIE, session::no_cookie())])).into_response())
}

/// `GET /auth/me`.
pub(super) async fn me(State(auth): State<Auth>, principal: Principal) -> Result<Response, Problem> {
    answer(&auth, &principal, StatusCode::OK, Vec::new()).await
}

/// `POST /auth/reauthenticate`: the password once more, for what takes a recent sign-in.
pub(super) async fn reauthenticate(
    State(auth): State<Auth>,
    principal: Principal,
    body: Body,
) -> Result<StatusCode, Problem> {
    signed_in(&principal)?;
    let Reauthenticate { password } = input(body)?;
    auth.must_know(&principal, password, "password").await?;
    let sql = "UPDATE sessions SET authenticated_at = ? WHERE id = ?";
    auth.database().prepare(sql).bind(now()).bind(principal.session()).run().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /auth/password`: every session ends but the one that is answered, every link that was sent, and every API key unless
/// `keep_keys` is sent.
pub(super) async fn password(State(auth): State<Auth>, principal: Principal, body: Body) -> Result<Response, Problem> {
    let (user, tenant, _) = signed_in(&principal)?;
    let NewPassword { current, new, keep_keys } = input(body)?;
    auth.must_know(&principal, current, "current").await?;
    let sql = "SELECT email, name FROM users WHERE id = ?";
    let (email, name): (String, String) = auth.database().prepare(sql).bind(user).one().await?;
    if let Some(refusal) = common::refusal(&new, &[&email, &name]) {
        return Err(Problem::bad_request("the password is not valid").with_field("new", refusal));
    }
    let hash = auth.hasher().hash(new).await?;
    let sql = "UPDATE users SET password_hash = ?, updated_at = ?, revision = revision + 1 WHERE id = ?";
    let update = Statement::new(sql).bind(hash).bind(now()).bind(user);
    let (create, cookie) = session::create(auth.options(), user, tenant)?;
    let mut statements = vec![update, session::end_all(user), forget_links(user), devices::forget(user), create];
    statements.extend((!keep_keys).then(|| keys::revoke_all(user)));
    auth.database().batch(statements).await?;
    let notify = auth.clone();
    later(async move { notify.notify(&email, Message::PasswordChanged).await });
    answer(&auth, &principal, StatusCode::OK, vec![cookie]).await
}

/// `POST /auth/tenant`: switches the session to another tenant of the user.
pub(super) async fn switch(
    State(auth): State<Auth>,
    principal: Principal,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (user, ..) = signed_in(&principal)?;
    let Switch { tenant } = input(body)?;
    let (tenant, role) = membership(&auth, user, Some(&tenant)).await?;
    // Not a sign-in: the new session is as recently authenticated as the old one.
    let sql = "SELECT authenticated_at FROM sessions WHERE id = ?";
    let at: Option<String> = auth.database().prepare(sql).bind(principal.session()).first().await?;
    let (create, cookie) = session::create_at(auth.options(), user, &tenant, &at.unwrap_or_default())?;
    let old = session::token_of(&headers).map(session::end);
    auth.database().batch(old.into_iter().chain([create]).collect()).await?;
    answer(&auth, &Principal::member(user, tenant, role), StatusCode::OK, vec![cookie]).await
}

impl Auth {
    /// Checks the password of the signed-in user. Tries are counted for the user on all networks together, so that a stolen
    /// session does not reveal the password.
    ///
    /// # Errors
    /// 403 with the field for a wrong password, 429 after too many.
    async fn must_know(&self, principal: &Principal, password: String, field: &str) -> Result<(), Problem> {
        let (user, ..) = signed_in(principal)?;
        let counted = [Counted::new("own", user, OWN_TRIES)];
        count(self.database(), &counted).await?;
        let sql = "SELECT password_hash FROM users WHERE id = ?";
        let hash: Option<Option<String>> =
            self.database().prepare(sql).bind(user).first_column("password_hash").await?;
        if !self.hasher().verify(password, hash.flatten()).await? {
            return Err(Problem::new(StatusCode::FORBIDDEN).with_field(field, "is wrong"));
        }
        forgive(self.database(), &counted).await
    }
}

fn check(email: &str, password: &str, name: &str, tenant: &NewTenant) -> Result<(), Problem> {
    let refusal = common::refusal(password, &[email, name]);
    let text = |text: &str| (1..=200).contains(&text.trim().chars().count()) && !text.contains('\0');
    let checks = [
        (is_address(email), "email", "must be an e-mail address"),
        (refusal.is_none(), "password", refusal.unwrap_or_default()),
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
        return setup::over();
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
    found.ok_or_else(|| Problem::new(StatusCode::FORBIDDEN).with_detail("you are not a member of this tenant"))
}

/// Answers with the principal's user, tenants and role, as the pages need them.
pub(super) async fn answer(
    auth: &Auth,
    principal: &Principal,
    status: StatusCode,
    cookies: Vec<HeaderValue>,
) -> Result<Response, Problem> {
    let unknown = || Problem::new(StatusCode::UNAUTHORIZED);
    let user = principal.user().ok_or_else(unknown)?;
    let tenant = principal.tenant().ok_or_else(unknown)?;
    let users = Statement::new("SELECT id, email, name, email_verified_at FROM users WHERE id = ?").bind(user);
    let sql = "SELECT t.id, t.slug, t.name, m.role FROM memberships m JOIN tenants t ON t.id = m.tenant_id \
               WHERE m.user_id = ? ORDER BY m.id";
    let results = auth.database().batch(vec![users, Statement::new(sql).bind(user)]).await?;
    let user = results[0].rows.first().ok_or_else(unknown)?.to_json();
    let tenants: Vec<_> = results[1].rows.iter().map(|row| row.to_json()).collect();
    let current = tenants.iter().find(|one| one["id"] == tenant);
    let body = axum::Json(json!({"user": user, "tenant": current, "role": principal.role(), "tenants": tenants}));
    let cookies = cookies.into_iter().map(|cookie| (header::SET_COOKIE, cookie));
    Ok((status, AppendHeaders(cookies), [(header::CACHE_CONTROL, "no-store")], body).into_response())
}
